"""Normalisation of each example by itself: layer normalisation (Ba, Kiros & Hinton 2016) and group normalisation (Wu &
He 2018). Mean and variance are those of one group of an example's values, the same in training and evaluation.

    xhat = (x - mean) / sqrt(var + eps)          y = gamma * xhat + beta
    dL/dgamma = sum(delta * xhat)                dL/dbeta = sum(delta)
    g = gamma * delta                            dL/dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)

The groups: LayerNorm has one for each position before the normalised axes; GroupNorm has ``num_groups`` per example,
each of num_channels / num_groups neighbouring channels at all positions. The derivative is exact under every rule.
"""

from __future__ import annotations

__all__ = ["GroupNorm", "LayerNorm"]

import math
from collections.abc import Sequence
from typing import Any

from ..backend import Array, quietly, xp
from ..parallel.chunks import by_rows, each_chunk, sum_chunks, sum_rows
from ..validation import Shape, check_bool, check_int, example_shape, format_shape
from .base import Pass, Teacher
from .normalisation import ChannelGroups, Norm


class ExampleNorm(Norm):
    """The base class of both layers. Subclasses arrange an example's values in groups."""

    def _grouped(self, x: Array) -> Array:
        """(N, ...) as (N, groups, values of one group)."""
        raise NotImplementedError

    def _restored(self, values: Array, shape: Shape) -> Array:
        """The inverse of `_grouped`; shape is that of the batch."""
        return values.reshape(shape)

    @property
    def error_equation(self) -> str:  # type: ignore[override]  # it depends on the parameters
        g = "gamma * delta" if "gamma" in self.parameter_names else "delta"
        return f"g = {g}\ndelta_below = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps){self.gradient_equation}"

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        y = xp.empty(x.shape, x.dtype)
        groups = self._grouped(x[:1]).shape[1]
        mean, inverse = (xp.empty((len(x), groups, 1), x.dtype) for _ in range(2))

        def piece(rows: slice) -> None:
            values = self._grouped(x[rows])
            mean[rows], var = moments(values)
            inverse[rows] = 1 / xp.sqrt(var + self.eps)
            out = self._normalised(x[rows], mean[rows], inverse[rows]).reshape(-1, self.width)
            if self.gamma is not None:
                by_rows(lambda out, gamma: xp.multiply(out, gamma, out=out), (out,), (self.gamma.reshape(-1),))
            if self.beta is not None:
                by_rows(lambda out, beta: xp.add(out, beta, out=out), (out,), (self.beta.reshape(-1),))
            y[rows] = out.reshape(y[rows].shape)

        each_chunk(len(x), 4 * x.nbytes // len(x), piece)
        self.cache = (x, mean, inverse) if ctx.training else None
        return y

    @property
    def width(self) -> int:
        """Number of entries of gamma, with which the last axes of an example are multiplied."""
        return math.prod(self.parameter_shape)

    def _normalised(self, x: Array, mean: Array, inverse: Array) -> Array:
        """xhat, in x's shape, as a new array."""
        values = self._grouped(x) - mean
        values *= inverse
        return self._restored(values, x.shape)

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        x, mean, inverse = self.cached()
        self.check_error(delta, x.shape)
        below = xp.empty(x.shape, x.dtype) if self.needs_input_gradient else None

        def piece(rows: slice) -> Array:
            xhat = self._normalised(x[rows], mean[rows], inverse[rows])
            if below is not None:
                g = self._grouped(delta[rows] if self.gamma is None else delta[rows] * self.gamma)
                values = self._grouped(xhat)
                along = (g * values).mean(axis=2, keepdims=True)
                error = g - g.mean(axis=2, keepdims=True)
                error -= values * along
                error *= inverse[rows]
                below[rows] = self._restored(error, xhat.shape)
            flat = delta[rows].reshape(-1, self.width)
            return xp.stack([sum_rows(flat, xhat.reshape(-1, self.width)), sum_rows(flat)])

        sums = sum_chunks(len(x), 6 * x.nbytes // len(x), piece)
        if not self.frozen:
            both = dict(zip(("gamma", "beta"), sums.reshape(2, *self.parameter_shape), strict=True))
            self.grads = {key: both[key] for key in self.parameter_names}
        return below

    def symbols(self) -> dict[str, Any]:
        if self.cache is None:
            return {}
        _, mean, inverse = self.cache
        mu, var = mean[..., 0], (1 / inverse**2 - self.eps)[..., 0]  # (N, groups)
        return {"mu": mu, "var": var, "eps": self.eps, "xhat": self._normalised(*self.cache)}


def moments(values: Array) -> tuple[Array, Array]:
    """Mean and biased variance along the last axis, which is kept. The mean of the centred values corrects the rounding
    in the sum of values that are far from zero, as in `minifa.layers.batch_norm`."""
    mean = values.mean(axis=-1, keepdims=True)
    centred = values - mean
    mean = mean + centred.mean(axis=-1, keepdims=True)
    xp.subtract(values, mean, out=centred)
    centred *= centred
    return mean, centred.mean(axis=-1, keepdims=True)


class LayerNorm(ExampleNorm):
    """Layer normalisation over the last axes of each example, with the parameters of PyTorch.

    With an int, the features of (N, features) are normalised or, in images (N, H, W, C), the channels of each pixel: as
    PyTorch's LayerNorm on channels-last images. With (H, W, C), the whole image is normalised: as PyTorch's
    ``LayerNorm((C, H, W))``, with gamma and beta in minifa's order of axes.

    Args:
        normalized_shape: number of features or channels, or the shape (H, W, C) of whole images.
        eps: added to the variance.
        elementwise_affine: whether the layer has gamma and beta.
        bias: whether it has beta; without ``elementwise_affine`` it has none.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a size below 1, another number of axes, eps not above 0; in use, inputs of a different shape.

    >>> layer = mf.LayerNorm(2)
    >>> [round(float(one), 3) for one in layer.forward(mf.asarray([[10.0, 14.0]]), mf.Pass())[0]]
    [-1.0, 1.0]
    """

    kind = "layernorm"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(eps, name)
        self.elementwise_affine = check_bool(elementwise_affine, f"elementwise_affine of {self}")
        self.bias = check_bool(bias, f"bias of {self}")
        what = f"normalized_shape of {self}"
        if isinstance(normalized_shape, (tuple, list)):
            self.normalized_shape = example_shape(normalized_shape, what)
        else:
            self.normalized_shape = (check_int(normalized_shape, what),)
        if len(self.normalized_shape) not in (1, 3):
            raise ValueError(
                f"{what} must be the number of features or channels, or the shape (height, width, channels) of whole "
                f"images, got {normalized_shape!r}"
            )
        self._create_parameters(self.normalized_shape, elementwise_affine, elementwise_affine and bias)

    def infer(self, shape: Shape) -> Shape:
        if tuple(shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            *_, channels = self.normalized_shape
            images = len(self.normalized_shape) == 3
            expected = f"{channels} features or images of {channels} channels"
            raise self.shape_error(f"images of {format_shape(self.normalized_shape)}" if images else expected, shape)
        return shape

    def _grouped(self, x: Array) -> Array:
        return x.reshape(len(x), -1, self.width)


class GroupNorm(ChannelGroups, ExampleNorm):
    """Group normalisation of inputs (N, num_channels) or images (N, H, W, num_channels), with PyTorch's parameters.

    Args:
        num_groups: number of groups of neighbouring channels; each has one mean and variance per example, over its
            channels and all positions. 1: the whole example; num_channels: instance normalisation.
        num_channels: number of channels or features, a multiple of num_groups.
        eps: added to the variance.
        affine: whether the layer has gamma and beta, (num_channels,).
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a number below 1, num_channels that is not a multiple of num_groups, eps not above 0; in use, inputs
            of a different width.

    >>> layer = mf.GroupNorm(num_groups=2, num_channels=4)
    >>> [round(float(one), 3) for one in layer.forward(mf.asarray([[10.0, 14.0, 0.0, 9.0]]), mf.Pass())[0]]
    [-1.0, 1.0, -1.0, 1.0]
    """

    kind = "groupnorm"

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, name: str | None = None
    ) -> None:
        super().__init__(eps, name)
        self.set_groups(num_groups, num_channels)
        self.affine = check_bool(affine, f"affine of {self}")
        self._create_parameters((self.num_channels,), affine, affine)

    def _grouped(self, x: Array) -> Array:
        n, each = len(x), self.num_channels // self.num_groups
        return x.reshape(n, -1, self.num_groups, each).swapaxes(1, 2).reshape(n, self.num_groups, -1)

    def _restored(self, values: Array, shape: Shape) -> Array:
        n, each = shape[0], self.num_channels // self.num_groups
        return values.reshape(n, self.num_groups, -1, each).swapaxes(1, 2).reshape(shape)
