"""Normalisation of the length of each example's activity (Hinton 2022, between the layers of forward-forward networks).

    s = sqrt(mean(x^2) + eps)        y = x / s
    dL/dx = (delta - y * mean(delta * y)) / s

The means are over all values of one example. Unlike layer normalisation it subtracts no mean and has no parameters: the
direction of the activity is kept, its length is lost. The derivative is exact under every rule.
"""

from __future__ import annotations

__all__ = ["UnitLength"]

from typing import Any

from ..backend import Array, quietly, xp
from ..validation import check_positive
from .base import Layer, Pass, Teacher


class UnitLength(Layer):
    """Divide the values of each example by their root mean square, so that their mean square becomes 1: the squared
    length divided by the number of values. For features it is PyTorch's RMSNorm without a weight; images (N, H, W, C)
    are divided as a whole. An example whose values are all 0 stays 0.

    Args:
        eps: added to the mean square, above 0.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: eps is not above 0.

    >>> layer = mf.UnitLength()
    >>> y = layer.forward(mf.asarray([[3.0, 4.0], [30.0, 40.0], [0.0, 0.0]]), mf.Pass())  # mean square 12.5, 1250, 0
    >>> [[round(float(one), 4) for one in row] for row in y]
    [[0.8485, 1.1314], [0.8485, 1.1314], [0.0, 0.0]]
    """

    kind = "unitlength"
    equation = "s = sqrt(mean(x^2) + eps)\ny = x / s"
    error_equation = "delta_below = (delta - y * mean(delta * y)) / s"

    def __init__(self, eps: float = 1e-8, name: str | None = None) -> None:
        super().__init__(name)
        self.eps = check_positive(eps, f"eps of {self}")

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        s = xp.sqrt(example_means(x * x) + self.eps)
        y = x / s
        self.cache = (y, s) if ctx.training else None
        return y

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        y, s = self.cached()
        self.check_error(delta, y.shape)
        return (delta - y * example_means(delta * y)) / s

    def symbols(self) -> dict[str, Any]:
        return {"eps": self.eps} if self.cache is None else {"eps": self.eps, "s": self.cache[1]}


def example_means(x: Array) -> Array:
    """The mean of each example's values: (N, ...) in, (N, 1, ...) out."""
    return x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
