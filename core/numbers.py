"""Figures that may turn out infinite or not a number, written so that every database takes their JSON."""

import math
from typing import Annotated

from pydantic import PlainSerializer


def plain(value: float) -> float | str:
    """The figure as JSON can hold it."""
    return value if math.isfinite(value) else str(value)


Figure = Annotated[float, PlainSerializer(plain, when_used="json")]
"""A float whose JSON form is "inf" or "nan" where JSON has no number for it; pydantic reads both back."""
