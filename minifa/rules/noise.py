"""Gaussian noise from which rules learn: keyed by the rule's seed, a name and the step, like every draw."""

from __future__ import annotations

__all__: list[str] = []

from typing import Any

from ..backend import Array, xp
from ..rng import gaussian, generator


def white_noise(seed: int, name: str, step: int, shape: tuple[int, ...], sigma: float, dtype: Any) -> Array:
    """sigma xi, xi ~ N(0, 1), of this shape. Each name and step has its own random stream."""
    return xp.asarray(gaussian(generator(seed, "noise", name, step), shape, sigma).astype(dtype))
