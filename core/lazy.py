"""torch, imported when it is first used.

A page needs a method's fields, not its maths. Importing torch takes longer than everything else the first page needs
(``python -X importtime`` says how long), so the files that define what forms show take it from here.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _Torch:
        def __getattr__(self, name: str) -> Any:
            # Inner loops come here too: import_module takes three times as long to find what is imported.
            return getattr(sys.modules.get("torch") or import_module("torch"), name)

    torch = _Torch()
