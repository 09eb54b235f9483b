"""Values of JSON as they are checked, and as messages show them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from synth_detect_ros.documents import short

_LARGEST = 1e15


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number that float64 holds to better than 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST and math.isfinite(value)


def are_finite(values: list[Any]) -> bool:
    """Return whether `is_finite` holds for all values of a list, which may be long."""
    if not set(map(type, values)) <= {int, float}:
        return False
    # A NaN that `max` passes over is in the sum, which cannot overflow.
    return not values or (max(map(abs, values)) < _LARGEST and math.isfinite(sum(values)))


def shown(value: Any) -> str:
    """Return a value of a file for a message, in short."""
    return short(repr(value)[:500])
