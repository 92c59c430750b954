"""Local response normalisation (Krizhevsky, Sutskever & Hinton 2012, section 3.3): each value is divided by a
function of the neighbouring channels at the same pixel.

    s_i = k + alpha / size * sum of x_j^2 over the neighbouring channels j of i       y_i = x_i / s_i^beta
    dL/dx_j = delta_j / s_j^beta - 2 alpha beta / size * x_j * sum of delta_i x_i / s_i^(beta + 1)

The second sum is over the channels i that have j among their neighbours. The derivative is exact under every rule.
"""

from __future__ import annotations

__all__ = ["LocalResponseNorm"]

import math
from typing import Any

from ..backend import Array, quietly, xp
from ..parallel.chunks import each_chunk
from ..validation import Shape, check_float, check_int
from .base import Layer, Pass, Teacher


class LocalResponseNorm(Layer):
    """Local response normalisation over channels (for vectors, over features), with the parameters of PyTorch.

    Args:
        size: number of channels in the sum: the channel itself, size // 2 before it and (size - 1) // 2 after it,
            truncated at the first and last channel.
        alpha: factor of the sum, divided by size. (TensorFlow's alpha is this alpha / size, its depth_radius
            (size - 1) / 2.)
        beta: the exponent.
        k: added to the sum.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: a size that is not an int.
        ValueError: size below 1, alpha or beta below 0, or k not above 0.

    >>> layer = mf.LocalResponseNorm(size=3, alpha=3.0, beta=0.5, k=1.0)
    >>> x = mf.asarray([[[[2.0, 2.0, 4.0]]]])  # one pixel of three channels
    >>> [round(float(one), 4) for one in layer.forward(x, mf.Pass())[0, 0, 0]]  # s = 1 + 8, 1 + 24, 1 + 20
    [0.6667, 0.4, 0.8729]
    """

    kind = "localresponse"
    equation = "s = k + alpha / size * neighbours(x^2)\ny = x / s^beta"
    error_equation = (
        "delta_below = delta / s^beta - 2 * alpha * beta / size * x * back_from_neighbours(delta * x / s^(beta + 1))"
    )

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, name: str | None = None
    ) -> None:
        super().__init__(name)
        size = check_int(size, f"size of {self}")
        alpha, beta, k = (
            check_float(value, f"{what} of {self}") for what, value in (("alpha", alpha), ("beta", beta), ("k", k))
        )
        if not (0 <= alpha < math.inf and 0 <= beta < math.inf and 0 < k < math.inf):
            raise ValueError(
                f"{self} must have finite alpha >= 0, beta >= 0 and k > 0, got alpha={alpha}, beta={beta}, k={k}"
            )
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def infer(self, shape: Shape) -> Shape:
        if not shape:
            raise self.shape_error("images or features", shape)
        return shape

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        y, s = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)

        def piece(rows: slice) -> None:
            part = x[rows]
            s[rows] = self.k + self.alpha / self.size * neighbours(part * part, self.size // 2, (self.size - 1) // 2)
            xp.multiply(part, s[rows] ** -self.beta, out=y[rows])

        each_chunk(len(x), 4 * x.nbytes // len(x), piece)
        self.cache = (x, s) if ctx.training else None
        return y

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        x, s = self.cached()
        self.check_error(delta, x.shape)
        below = xp.empty(x.shape, delta.dtype)

        def piece(rows: slice) -> None:
            direct = delta[rows] * s[rows] ** -self.beta
            shared = neighbours(direct * x[rows] / s[rows], (self.size - 1) // 2, self.size // 2)
            below[rows] = direct - 2 * self.alpha * self.beta / self.size * x[rows] * shared

        each_chunk(len(x), 6 * x.nbytes // len(x), piece)
        return below

    def symbols(self) -> dict[str, Any]:
        options = {"alpha": self.alpha, "beta": self.beta, "k": self.k, "size": self.size}
        return options if self.cache is None else {**options, "x": self.cache[0], "s": self.cache[1]}


def neighbours(x: Array, before: int, after: int) -> Array:
    """For each channel, the sum over itself, ``before`` channels before it and ``after`` channels after it.

    >>> mf.layers.local_response_norm.neighbours(mf.asarray([[1.0, 10.0, 100.0]]), before=1, after=0).tolist()
    [[1.0, 11.0, 110.0]]
    """
    channels = x.shape[-1]
    total = x.copy()
    for shift in range(1, min(before, channels - 1) + 1):
        total[..., shift:] += x[..., :-shift]
    for shift in range(1, min(after, channels - 1) + 1):
        total[..., :-shift] += x[..., shift:]
    return total


def response_plain(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Reference implementation of the forward pass, channel by channel."""
    y = xp.zeros(x.shape, x.dtype)
    for i in range(x.shape[-1]):
        near = x[..., max(0, i - size // 2) : i + (size - 1) // 2 + 1]
        y[..., i] = x[..., i] / (k + alpha / size * (near * near).sum(axis=-1)) ** beta
    return y
