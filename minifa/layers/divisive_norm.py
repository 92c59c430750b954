"""Divisive normalisation (Pogodin & Latham 2020, "Kernelized information bottleneck leads to biologically plausible
3-factor Hebbian learning in deep networks"): each value is centred and divided by a power of the variance of its group.

    c = x - mean(x),  v = mean(c^2) + delta / n          over the n values of one group of one example
    y = c / v^p
    dL/dx = (g - mean(g)) / v^p - 2 p y mean(g y) v^(p - 1),  g = dL/dy

The equation is that of the authors' code, whose delta is called ``smoothing`` here. Their groups cut the values of an
example in order; here, as in `minifa.layers.layer_norm.GroupNorm`, a group has neighbouring channels at all positions.
With p = 1/2 and delta / n as its eps this is GroupNorm without parameters. The derivative is exact under every rule.
"""

from __future__ import annotations

__all__ = ["DivisiveNorm"]

import math
from typing import Any

from ..backend import Array, quietly, xp
from ..parallel.chunks import each_chunk
from ..validation import check_between, check_positive
from .base import Pass, Teacher
from .normalisation import ChannelGroups


class DivisiveNorm(ChannelGroups):
    """Divisive normalisation of inputs (N, num_channels) or images (N, H, W, num_channels).

    Args:
        num_groups: number of groups of neighbouring channels.
        num_channels: number of channels or features, a multiple of num_groups.
        power: p, at least 0; 0: each group is only centred.
        smoothing: delta, above 0: added to a group's sum of squares.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a number below 1, num_channels that is not a multiple of num_groups, a power below 0, a
            smoothing that is not above 0; in use, inputs of a different width.

    >>> layer = mf.DivisiveNorm(num_groups=2, num_channels=4, power=0.5, smoothing=2.0)
    >>> x = mf.asarray([[1.0, -1.0, 7.0, 7.0]])
    >>> [round(float(one), 4) for one in layer.forward(x, mf.Pass())[0]]  # v = 1 + 2 / 2 in the first group
    [0.7071, -0.7071, 0.0, 0.0]
    """

    kind = "divisivenorm"
    equation = "c = x - mean(x)\nv = mean(c^2) + delta / n\ny = c / v^p"
    error_equation = "delta_below = (g - mean(g)) / v^p - 2 * p * y * mean(g * y) * v^(p - 1)"

    def __init__(
        self, num_groups: int, num_channels: int, power: float = 0.2, smoothing: float = 1.0, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.set_groups(num_groups, num_channels)
        self.power = check_between(power, f"power of {self}", 0, math.inf)
        self.smoothing = check_positive(smoothing, f"smoothing of {self}")

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        y, variance = xp.empty(x.shape, x.dtype), xp.empty((len(x), 1, self.num_groups, 1), x.dtype)

        def piece(rows: slice) -> None:
            centred, variance[rows] = group_variance(x[rows], self.num_groups, self.smoothing)
            centred *= xp.power(variance[rows], -self.power)
            y[rows] = centred.reshape(y[rows].shape)

        each_chunk(len(x), 4 * x.nbytes // len(x), piece)
        self.cache = (y, variance) if ctx.training else None
        return y

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        y, variance = self.cached()
        self.check_error(delta, y.shape)
        below = xp.empty(y.shape, y.dtype)

        def piece(rows: slice) -> None:
            v, shape = variance[rows], (len(y[rows]), -1, self.num_groups, self.num_channels // self.num_groups)
            g, values = delta[rows].reshape(shape), y[rows].reshape(shape)
            along = (g * values).mean(axis=(1, 3), keepdims=True)
            error = g - g.mean(axis=(1, 3), keepdims=True)
            error *= xp.power(v, -self.power)
            error -= values * (2 * self.power * along * xp.power(v, self.power - 1))
            below[rows] = error.reshape(y[rows].shape)

        each_chunk(len(y), 6 * y.nbytes // len(y), piece)
        return below

    def symbols(self) -> dict[str, Any]:
        if self.cache is None:
            return {}
        y, variance = self.cache
        v, n = variance[:, 0, :, 0], math.prod(y.shape[1:]) // self.num_groups
        c = y.reshape(len(y), -1, self.num_groups, y.shape[-1] // self.num_groups) * xp.power(variance, self.power)
        return {"c": c.reshape(y.shape), "v": v, "p": self.power, "delta": self.smoothing, "n": n}


def group_variance(x: Array, groups: int, smoothing: float) -> tuple[Array, Array]:
    """The values without the mean of their group, (N, positions, groups, channels of a group), and the variance plus
    smoothing / n of each group of n values, (N, 1, groups, 1)."""
    values = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = values - values.mean(axis=(1, 3), keepdims=True)
    n = values.shape[1] * values.shape[3]
    return centred, (centred * centred).mean(axis=(1, 3), keepdims=True) + smoothing / n
