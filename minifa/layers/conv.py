"""Convolution: a linear layer on patches. Everything but the geometry is in `Weighted`."""

from __future__ import annotations

__all__ = ["Conv2d"]

import math

from ..backend import Array, by_rows, each_chunk, join_chunks, matmul, reduce_chunks, sum_rows, xp
from ..initialisers import Initialiser
from . import windows
from .base import Shape, Weighted, as_matrix, format_shape
from .windows import Pair

GATHER_UP_TO = 1.3  # times as many input as output positions: beyond, gathering multiplies too many zeros of the border


class Conv2d(Weighted):
    """Slide a kernel over NHWC images: ``columns(x) @ W + b``, with W of shape (kH, kW, in_channels, out_channels).

    Args:
        in_channels, out_channels: channels per pixel.
        kernel_size, stride, padding: one integer or (height, width). What the stride leaves over is not seen, as in
            PyTorch.
        bias: whether b is added; it starts at zero.
        init: an initialiser or its name.
        name: overrides the name that the network would give.

    Raises:
        ValueError: sizes below 1; in use, other channels than expected or a kernel larger than its padded input.
        TypeError: sizes that are no integers.

    A convolution is a linear layer on patches, and these are its rows:

    >>> image = mf.asarray(np.arange(9.0).reshape(1, 3, 3, 1))  # 0 1 2 / 3 4 5 / 6 7 8
    >>> mf.Conv2d(1, 1, kernel_size=2).columns(image).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]]
    """

    kind = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        init: str | Initialiser = "he_normal",
        name: str | None = None,
    ) -> None:
        self.kernel = windows.pair(kernel_size, "kernel_size", least=1)
        self.stride = windows.pair(stride, "stride", least=1)
        self.padding = windows.pair(padding, "padding", least=0)
        super().__init__((*self.kernel, in_channels, out_channels), bias, init, name)

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[-1] != self.weight_shape[2]:
            raise self.refuse(f"images of height x width x {self.weight_shape[2]} channels", shape)
        size = windows.output_size((shape[0], shape[1]), self.kernel, self.stride, self.padding)
        if min(size) < 1:
            padded = " x ".join(str(n + 2 * p) for n, p in zip(shape, self.padding, strict=False))
            raise ValueError(
                f"{self} has a kernel of {format_shape(self.kernel)}, larger than its padded input of {padded} "
                f"(its input is {format_shape(shape)} per example)"
            )
        return (*size, self.weight_shape[3])

    def columns(self, x: Array) -> Array:
        """Every patch of x as a row, (positions, fan_in)."""
        return windows.columns(x, self.kernel, self.stride, self.padding)

    def uncolumns(self, columns: Array, shape: Shape) -> Array:
        """The adjoint of `columns`: add every row back where it was read from; shape is the batch's input shape."""
        return windows.uncolumns(columns, shape, self.kernel, self.stride, self.padding)

    def positions(self, x_shape: Shape) -> Shape:
        """Output positions (N, H, W) of a batch of this shape."""
        return (x_shape[0], *windows.output_size((x_shape[1], x_shape[2]), self.kernel, self.stride, self.padding))

    def bytes_each(self, x: Array) -> int:
        """Working memory of one example's patches."""
        _, oh, ow = self.positions(x.shape)
        return oh * ow * self.fans[0] * x.dtype.itemsize

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        matrix = as_matrix(matrix)
        y = xp.empty((*self.positions(x.shape), matrix.shape[1]), x.dtype)

        def piece(rows: slice) -> None:
            out = as_matrix(y[rows])
            matmul(self.columns(x[rows]), matrix, out=out)
            if bias is not None:
                by_rows(lambda out, b: xp.add(out, b, out=out), (out,), (bias,))

        each_chunk(len(x), self.bytes_each(x), piece)
        return y

    def correlate_and_sum(self, x: Array, delta: Array) -> tuple[Array, Array]:
        def piece(rows: slice) -> tuple[Array, Array]:
            error = as_matrix(delta[rows])
            return matmul(self.columns(x[rows]).T, error), sum_rows(error)

        def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
            for total, part in zip(a, b, strict=True):
                total += part
            return a

        product, total = reduce_chunks(len(x), self.bytes_each(x), piece, join)
        return product.reshape(*self.weight_shape[:-1], -1), total

    def carry(self, delta: Array, matrix: Array) -> Array:
        """The error below. With stride 1 the same sum is gathered instead of spread: a pixel receives a patch of delta
        times the kernel turned by 180 degrees, which takes one copy where `uncolumns` makes kH * kW additions.
        Where padding does not keep the map's size that would cost more products than it saves copies.
        """
        x, width = self.cached(), matrix.shape[-1]
        matrix = matrix.reshape(*self.weight_shape[:3], width)
        border = (self.kernel[0] - 1 - self.padding[0], self.kernel[1] - 1 - self.padding[1])
        many = math.prod(x.shape[1:3]) > GATHER_UP_TO * math.prod(delta.shape[1:3])
        if self.stride != (1, 1) or min(border) < 0 or many:
            return self._spread(delta, as_matrix(matrix))
        turned = as_matrix(xp.ascontiguousarray(matrix[::-1, ::-1].swapaxes(2, 3)))  # (kH * kW * width, C_in)
        below = xp.empty(x.shape, delta.dtype)

        def piece(rows: slice) -> None:
            matmul(windows.columns(delta[rows], self.kernel, (1, 1), border), turned, out=as_matrix(below[rows]))

        each_chunk(
            len(x), math.prod(x.shape[1:3]) * self.kernel[0] * self.kernel[1] * width * delta.dtype.itemsize, piece
        )
        return below

    def _spread(self, delta: Array, matrix: Array) -> Array:
        """uncolumns(delta @ matrix.T)."""
        x = self.cached()

        def piece(rows: slice) -> Array:
            return self.uncolumns(matmul(as_matrix(delta[rows]), matrix.T), x[rows].shape)

        return join_chunks(x.shape, delta.dtype, self.bytes_each(x), piece)
