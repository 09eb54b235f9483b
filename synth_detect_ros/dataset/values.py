"""Values of JSON as they are checked, and as messages show them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from synth_detect_ros.documents import short


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number that float64 holds to better than 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e15 and math.isfinite(value)


def shown(value: Any) -> str:
    """Return a value of a file for a message, in short."""
    return short(repr(value)[:500])
