"""Figures as text, each with its unit and with as many digits as are worth reading."""

from __future__ import annotations

import re
from math import isfinite, isnan
from typing import Any

NOTHING = "\u2013"
# Control characters, half characters, and those that turn the direction of what follows them around.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def number(value: Any) -> float | None:
    """``value`` as a finite number; None for anything else (records read back hold NaN as text)."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if isfinite(found) else None


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.0f}"


def plural(n: int, noun: str) -> str:
    """``1 column``, ``2 columns``."""
    return f"{count(n)} {noun}" + ("" if n == 1 else "s")


def percent(share: Any) -> str:
    """A share (0 to 1) as a percentage that never rounds to none or to all."""
    found = number(share)
    if found is None:
        return NOTHING
    if 0 < found < 0.0001:
        return "< 0.01 %"
    if 0.9999 < found < 1:
        return "> 99.99 %"
    digits = 0 if found in (0, 1) else 2 if found < 0.01 or 0.999 < found < 1 else 1
    return f"{100 * found:.{digits}f} %"


def points(delta: Any) -> str:
    """A difference of two percentages."""
    found = number(delta)
    return NOTHING if found is None else f"{figure(found)} percentage points"


def days(value: Any) -> str:
    """Seconds between two moments, as days."""
    found = number(value)
    return NOTHING if found is None else f"{figure(found / 86_400)} days"


def seconds(value: Any) -> str:
    """Seconds with two decimals below ten and one above."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.{2 if abs(found) < 10 else 1}f} s"


def size(value: Any) -> str:
    """Bytes in decimal units."""
    found = number(value)
    if found is None:
        return NOTHING
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(found) < 1000:
            return f"{found:,.0f} {unit}" if unit == "bytes" else f"{found:,.1f} {unit}"
        found /= 1000
    return f"{found:,.1f} TB"


def figure(value: Any) -> str:
    """A measured number with about three significant digits."""
    found = number(value)
    if found is None:
        return NOTHING
    if found == 0 or abs(found) >= 100:
        return f"{found:,.0f}"
    return f"{found:.3g}" if abs(found) >= 0.001 else f"{found:.1e}"


def decimals(value: Any) -> str:
    """A measured number with three decimals, to stand in a column of its like."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.3f}"


def clip(value: Any, limit: int = 120) -> str:
    """Any value as text of at most ``limit`` characters; None and NaN as a dash, what cannot be seen as \ufffd."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return NOTHING
    text = f"{value:.6g}" if isinstance(value, float) else str(value)[: limit + 1]
    text = _UNSEEN.sub("\ufffd", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
