"""What is measured of a model or a run besides running it; one class a file, found by itself."""

from core.discovery import import_all
from core.measurements.base import Measurement

import_all(__name__, __path__)

__all__ = ["Measurement"]
