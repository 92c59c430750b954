"""Layers that reshape or pad activities: Flatten and PadChannels."""

from __future__ import annotations

__all__ = ["Flatten", "PadChannels"]

import math

from ..array_checks import require_float
from ..backend import Array, xp
from ..validation import Shape, check_int
from .base import Layer, Pass, Teacher


class Flatten(Layer):
    """Flatten each example to one row: (N, H, W, C) to (N, H W C), channels fastest.

    >>> images = mf.asarray(np.zeros((5, 4, 4, 3)))
    >>> mf.Flatten().forward(images, mf.Pass()).shape
    (5, 48)
    """

    kind = "flatten"
    sends_targets = True
    equation = "y = each example of x as one row"
    error_equation = "delta_below = delta in the shape of x"

    def infer(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, x: Array, ctx: Pass) -> Array:
        require_float(x, self)
        self.cache = x.shape if ctx.training else None
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, delta: Array, rule: Teacher) -> Array:
        shape = self.cached()
        self.check_error(delta, (shape[0], math.prod(shape[1:])))
        return delta.reshape(shape)


class PadChannels(Layer):
    """Append channels of zeros: (N, H, W, C) to (N, H, W, channels). The parameter-free shortcut of He et al. 2016 for
    blocks that increase the number of channels.

    Args:
        channels: number of output channels.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: channels that is not an int.
        ValueError: fewer than one channel; in use, an input with more channels or one that is not an image.

    >>> pixel = mf.asarray([[[[5.0, 7.0]]]])  # one image of one pixel, two channels
    >>> mf.PadChannels(3).forward(pixel, mf.Pass()).tolist()
    [[[[5.0, 7.0, 0.0]]]]
    """

    kind = "padchannels"
    sends_targets = True
    equation = "y = x with appended channels of zeros"
    error_equation = "delta_below = delta without the appended channels"

    def __init__(self, channels: int, name: str | None = None) -> None:
        super().__init__(name)
        self.channels = check_int(channels, f"the number of channels of {self}")

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[2] > self.channels:
            raise self.shape_error(f"images of at most {self.channels} channels", shape)
        return (*shape[:2], self.channels)

    def forward(self, x: Array, ctx: Pass) -> Array:
        require_float(x, self)
        y = xp.zeros((len(x), *self.infer(x.shape[1:])), x.dtype)
        y[..., : x.shape[3]] = x
        self.cache = x.shape if ctx.training else None
        return y

    def backward(self, delta: Array, rule: Teacher) -> Array:
        *others, channels = self.cached()
        self.check_error(delta, (*others, self.channels))
        return xp.ascontiguousarray(delta[..., :channels])
