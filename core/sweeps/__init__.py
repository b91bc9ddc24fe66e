"""Sweeps: many runs that differ along a few axes, each of them a run of its own."""

from core.sweeps.axis import Axis
from core.sweeps.sweep import LeftOut, Sweep

__all__ = ["Axis", "LeftOut", "Sweep"]
