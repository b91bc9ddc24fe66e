"""Numbers as people read them."""

from __future__ import annotations

import math
import time


def seconds(value: float) -> str:
    """``8 s``, ``2 min 05 s``, ``1 h 10 min``."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def about(value: float) -> str:
    """A predicted time, no finer than a prediction is: ``20 s``, ``2.5 min``, ``1.2 h``."""
    if value < 60:
        return f"{max(5, 5 * round(value / 5))} s"
    return f"{value / 60:.2g} min" if value < 3600 else f"{value / 3600:.2g} h"


def size(value: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def count(value: float) -> str:
    """``134.5 M``."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f} {unit}"
    return f"{value:.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.4g} %"


def perplexity(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def when(timestamp: float) -> str:
    """Local date and time, without the date for today."""
    moment, today = time.localtime(timestamp), time.localtime()
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)
