"""Convolution as a linear layer on patches: the geometry, and the three products of `Weighted` in chunks."""

from __future__ import annotations

__all__ = ["Conv2d"]

import math

from ..backend import Array, xp
from ..initialisers import Initialiser
from ..linalg import as_matrix
from ..parallel.chunks import by_rows, each_chunk, join_chunks, matmul, reduce_chunks, sum_rows
from ..validation import Shape
from . import windows
from .weighted import Weighted
from .windows import Pair

GATHER_UP_TO = 1.3  # ratio of input to output positions; above it, gathering multiplies too many border zeros


class Conv2d(Weighted):
    """2D convolution over NHWC images: ``columns(x) @ W + b``, with W of shape (kH, kW, in_channels, out_channels).

    Args:
        in_channels, out_channels: channels per pixel.
        kernel_size, stride, padding: one int or (height, width). As in PyTorch, positions that the stride leaves over
            are ignored.
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name.
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: sizes below 1; in use, an unexpected number of channels or a kernel larger than the padded input.
        TypeError: sizes that are not ints.

    `columns` returns the patches as rows:

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
            raise self.shape_error(f"images of height x width x {self.weight_shape[2]} channels", shape)
        size = windows.checked_output_size(self, shape, self.kernel, self.stride, self.padding)
        return (*size, self.weight_shape[3])

    def columns(self, x: Array) -> Array:
        """The patches of x as rows, (positions, fan_in)."""
        return windows.columns(x, self.kernel, self.stride, self.padding)

    def uncolumns(self, columns: Array, shape: Shape) -> Array:
        """The adjoint of `columns`: add each row back to the positions it was read from; shape is the batch's input
        shape."""
        return windows.uncolumns(columns, shape, self.kernel, self.stride, self.padding)

    def positions(self, x_shape: Shape) -> Shape:
        """Output positions (N, H, W) of a batch with this input shape."""
        return (x_shape[0], *windows.output_size((x_shape[1], x_shape[2]), self.kernel, self.stride, self.padding))

    def bytes_each(self, x: Array) -> int:
        """Bytes of working memory for the patches of one example."""
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

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array]:
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
        """The error below. With stride 1 it is gathered instead of scattered: each pixel receives a patch of delta
        times the kernel rotated by 180 degrees. This takes one copy; `uncolumns` takes kH * kW additions. If the
        padding does not keep the size of the map, scattering is used, because gathering would cost more in extra
        products than it saves in copies.
        """
        x = self.cached()
        border = (self.kernel[0] - 1 - self.padding[0], self.kernel[1] - 1 - self.padding[1])
        shrinks = math.prod(x.shape[1:3]) > GATHER_UP_TO * math.prod(delta.shape[1:3])
        if self.stride != (1, 1) or min(border) < 0 or shrinks:
            return self._scatter(delta, as_matrix(matrix))
        return self._gather(delta, matrix.reshape(*self.weight_shape[:3], -1), border)

    def _scatter(self, delta: Array, matrix: Array) -> Array:
        """uncolumns(delta @ matrix.T)."""
        x = self.cached()

        def piece(rows: slice) -> Array:
            return self.uncolumns(matmul(as_matrix(delta[rows]), matrix.T), x[rows].shape)

        return join_chunks(x.shape, delta.dtype, self.bytes_each(x), piece)

    def _gather(self, delta: Array, kernel: Array, border: Pair) -> Array:
        """columns(delta, padded by ``border``) @ the kernel (kH, kW, C_in, width), rotated by 180 degrees."""
        x = self.cached()
        rotated = as_matrix(xp.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3)))  # (kH * kW * width, C_in)
        below = xp.empty(x.shape, delta.dtype)

        def piece(rows: slice) -> None:
            matmul(windows.columns(delta[rows], self.kernel, (1, 1), border), rotated, out=as_matrix(below[rows]))

        each_chunk(len(x), math.prod(x.shape[1:3]) * len(rotated) * delta.dtype.itemsize, piece)
        return below
