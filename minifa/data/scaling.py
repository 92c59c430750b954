"""Scaling of inputs by statistics of the training part: ``scale="standard"`` and ``scale="unit"``."""

from __future__ import annotations

__all__ = ["Scaling"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
SCALES = ("standard", "unit")
PIXELS = (np.uint8, np.uint16)  # types of pixels whose range is that of the type


@dataclass(frozen=True)
class Scaling:
    """The map x -> (x - shift) * factor.

    Attributes:
        shift, factor: float32, one number each, or one for each feature or channel.
    """

    shift: Array
    factor: Array

    def __call__(self, x: Array) -> Array:
        """The scaled x, float32."""
        scaled: Array = x - self.shift
        scaled *= self.factor
        return scaled


def of_fractions(scaling: Scaling, largest: float) -> Scaling:
    """The same scaling of x / largest."""
    return Scaling((scaling.shift / largest).astype(np.float32), (scaling.factor * largest).astype(np.float32))


def normalisation(mean: npt.ArrayLike, std: npt.ArrayLike) -> Scaling:
    """The map x -> (x - mean) / std."""
    return Scaling(np.asarray(mean, np.float32), (1 / np.asarray(std)).astype(np.float32))


def fit(scale: float | str | None, x: Array, given: np.dtype[Any]) -> Scaling | None:
    """The scaling that maps the training inputs to the wanted range; None for no scaling.

    - "standard": mean 0 and standard deviation 1, of each feature, or of each channel of images.
    - "unit": from 0 to 1. Pixels of type uint8 or uint16 are divided by 255 or 65535. Of other numbers the smallest
      becomes 0 and the largest 1: of each feature, or of all pixels of images together.
    - a number: the factor.

    A constant feature becomes 0.

    Args:
        scale: one of these, or None.
        x: training inputs, float32.
        given: their dtype as given by the user.
    """
    if scale is None or not isinstance(scale, str):
        return None if scale is None else Scaling(np.float32(0), np.float32(scale))
    if scale == "unit" and given in PIXELS:
        return Scaling(np.float32(0), np.float32(1 / np.iinfo(given).max))
    axes = (0,) if x.ndim == 2 else (0, 1, 2) if scale == "standard" else (0, 1, 2, 3)
    low, high = x.min(axis=axes), x.max(axis=axes)
    if scale == "unit":
        shift, width = low, np.subtract(high, low, dtype=np.float64)
    else:
        shift, width = x.mean(axis=axes, dtype=np.float64), x.std(axis=axes, dtype=np.float64)
    constant = low == high  # compared exactly: a mean may be rounded
    factor = 1 / np.where(constant, 1, width)
    return Scaling(np.where(constant, low, shift).astype(np.float32), factor.astype(np.float32))
