"""What the app may not import before its first page stands: torch alone takes longer than all the rest."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.stem for path in (ROOT / "dashboard" / "components").glob("*.py"))
# In one process, since to start one for each takes minutes: what a component brings is told from what was there before.
IMPORT = """
import importlib, json, sys
brought = {}
for name in sys.argv[1:]:
    importlib.import_module(f"dashboard.components.{name}")
    for heavy in ("torch", "transformers"):
        if heavy in sys.modules:
            brought.setdefault(heavy, name)
print(json.dumps(brought))
"""


def test_no_component_imports_anything_heavy():
    assert "cache" in COMPONENTS
    command = [sys.executable, "-c", IMPORT, *COMPONENTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}
