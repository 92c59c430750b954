"""Gaussian noise from which rules learn: keyed by the rule's seed, a name and the step, like every draw."""

from __future__ import annotations

__all__: list[str] = []

import math
from typing import Any

import numpy

from ..backend import Array, xp
from ..rng import gaussian, generator


def white_noise(seed: int, name: str, step: int, shape: tuple[int, ...], sigma: float, dtype: Any) -> Array:
    """sigma xi, xi ~ N(0, 1), of this shape. Each name and step has its own random stream."""
    return drawn_noise(generator(seed, "noise", name, step), shape, sigma, dtype)


def drawn_noise(rng: numpy.random.Generator, shape: tuple[int, ...], sigma: float, dtype: Any) -> Array:
    """The same, from a generator."""
    return xp.asarray(gaussian(rng, shape, sigma).astype(dtype))


def correlated_noise(
    rng: numpy.random.Generator, shape: tuple[int, int], sigma: float, correlation: float, dtype: Any
) -> Array:
    """Rows of normally distributed numbers with mean 0 and standard deviation ``sigma``, in which any two columns have
    this correlation: sigma (sqrt(1 - c) g + sqrt(c) g0), with one g0 for each row."""
    noise = gaussian(rng, shape, sigma)
    if correlation:
        noise *= math.sqrt(1 - correlation)
        noise += gaussian(rng, (shape[0], 1), sigma * math.sqrt(correlation))
    return xp.asarray(noise.astype(dtype))
