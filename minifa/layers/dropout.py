"""Dropout: units that are set to zero at random during training."""

from __future__ import annotations

__all__ = ["Dropout"]

from typing import Any

from ..array_checks import require_float
from ..backend import Array, xp
from ..rng import generator
from ..validation import check_between
from .base import Layer, Pass, Teacher


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014): in training each value is zeroed with probability p, and the
    others are divided by 1 - p.

    The mask is drawn on the host and depends on (seed, layer, step): a second pass of the same step has the same mask.
    With ``frozen``, which `minifa.Network.freeze` does not set here, nothing is dropped in training either.

    Args:
        p: probability of dropping, in [0, 1).
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: p outside its range.

    >>> layer, x = mf.Dropout(p=0.5), mf.asarray(np.ones((1, 100)))
    >>> np.unique(mf.to_host(layer.forward(x, mf.Pass(training=True)))).tolist()
    [0.0, 2.0]
    >>> bool((layer.forward(x, mf.Pass()) == x).all())  # in evaluation nothing is dropped
    True
    """

    kind = "dropout"
    equation = "y = x * mask / (1 - p)"
    error_equation = "delta_below = delta * mask / (1 - p)"

    def __init__(self, p: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        self.p = check_between(p, f"the probability p of {self}", 0, 1)
        self.seed = 0

    def initialise(self, seed: int) -> None:
        self.seed = seed

    def forward(self, x: Array, ctx: Pass) -> Array:
        require_float(x, self)
        self.cache = None
        if not ctx.training or self.frozen:
            return x
        rng = generator(self.seed, "dropout", self.name, ctx.step)
        keep = xp.asarray(rng.random(x.shape, dtype="float32") >= self.p)
        self.cache = keep.astype(x.dtype) / (1 - self.p)
        return x * self.cache

    def symbols(self) -> dict[str, Any]:
        return {} if self.cache is None else {"mask": self.cache * (1 - self.p), "p": self.p}

    def backward(self, delta: Array, rule: Teacher) -> Array:
        if self.frozen:
            return delta
        factors = self.cached()
        self.check_error(delta, factors.shape)
        return delta * factors
