"""Layers that only rearrange or drop: Flatten and Dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..backend import Array, require_float, xp
from ..streams import generator
from .base import Layer, Shape, Walk

if TYPE_CHECKING:
    from ..rules.base import Rule


class Flatten(Layer):
    """Each example as one row: (N, H, W, C) to (N, H*W*C), channels fastest."""

    kind = "flatten"
    equation = "y = each example of x as one row"
    error_equation = "delta_below = delta in the shape of x"

    def infer(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, x: Array, walk: Walk) -> Array:
        self.cache = x.shape if walk.training else None
        return x.reshape(len(x), -1)

    def backward(self, delta: Array, rule: Rule) -> Array:
        return delta.reshape(self.cached())


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014): in training each number is zeroed with probability p, the others
    divided by 1 - p.

    The mask is drawn on the host for (seed, layer, step): a second pass of the same step meets the same mask.

    Args:
        p: probability of dropping, from 0 up to but not 1.
    """

    kind = "dropout"
    equation = "y = x * mask / (1 - p)"
    error_equation = "delta_below = delta * mask / (1 - p)"

    def __init__(self, p: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        if not 0 <= p < 1:
            raise ValueError(f"{self} needs a probability p from 0 up to but not 1, got {p}")
        self.p = p
        self.seed = 0

    def initialise(self, seed: int) -> None:
        self.seed = seed

    def forward(self, x: Array, walk: Walk) -> Array:
        require_float(x, str(self))
        self.cache = None
        if not walk.training:
            return x
        rng = generator(self.seed, "dropout", self.name, walk.step)
        keep = xp.asarray(rng.random(x.shape, dtype="float32") >= self.p)
        self.cache = keep.astype(x.dtype) / (1 - self.p)
        return x * self.cache

    def backward(self, delta: Array, rule: Rule) -> Array:
        return delta * self.cached()
