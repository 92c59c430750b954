"""The largest relative difference between two sets of arrays."""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Mapping
from typing import Any

import numpy

TOLERANCES = {"float32": 1e-3, "float64": 1e-8}  # of the same computation on another backend
SMALLEST = 1e-3  # lower limit of the scale of relative differences: nearly zero arrays have no significant digits


def largest_difference(these: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[float, str]:
    """(the largest difference relative to the largest magnitude in the other array, the name of its array). Infinite if
    shapes or names differ, or if a number is not finite."""
    if these.keys() != others.keys():
        return math.inf, f"the list of arrays ({', '.join(sorted(these.keys() ^ others.keys()))})"
    return max(((_difference(these[name], others[name]), name) for name in these), default=(0.0, ""))


def _difference(this: Any, other: Any) -> float:
    this, other = numpy.asarray(this, "float64"), numpy.asarray(other, "float64")
    if this.shape != other.shape or not (numpy.isfinite(this).all() and numpy.isfinite(other).all()):
        return math.inf
    return float(abs(this - other).max() / max(abs(other).max(), SMALLEST))
