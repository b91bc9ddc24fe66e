"""How an attempt stands."""

from __future__ import annotations

from typing import Literal

Status = Literal["queued", "running", "finished", "failed", "cancelled", "interrupted"]
ACTIVE: frozenset[Status] = frozenset({"queued", "running"})
