"""Convolution as a linear layer on patches: the geometry, and the three products of `Weighted` in chunks.

With groups, the input and output channels are split into equal parts, and each part has a convolution of its own. W
has the shape (kH, kW, in_channels / groups, out_channels); its columns are the outputs of the first group, the second,
and so on. The three products are computed group by group, and B has the shape and the groups of W.
"""

from __future__ import annotations

__all__ = ["Conv2d"]

import math
from collections.abc import Sequence

from ..backend import Array, xp
from ..initialisers import Initialiser
from ..linalg import as_matrix, side_by_side
from ..parallel.chunks import add_each, by_rows, each_chunk, join_chunks, matmul, reduce_chunks, sum_rows
from ..validation import Shape, check_int
from . import windows
from .windowed import Windowed
from .windows import Pair

GATHER_UP_TO = 1.3  # ratio of input to output positions; above it, gathering multiplies too many border zeros


class Conv2d(Windowed):
    """2D convolution over NHWC images: ``columns(x) @ W + b``, with W of shape (kH, kW, in_channels / groups,
    out_channels) and PyTorch's parameters in PyTorch's order.

    Args:
        in_channels, out_channels: channels per pixel.
        kernel_size, stride: one int or (height, width). As in PyTorch, positions that the stride leaves over are
            ignored.
        padding: width of the border, one int or (height, width); "valid", no border; or "same", which keeps the size of
            the map and needs stride 1. Where "same" needs an odd number of rows or columns, the additional one is added
            at the end.
        dilation: distance of neighbouring elements of the kernel in the image, one int or (height, width).
        groups: number of equal parts of the channels; an output channel reads only the input channels of its part.
            groups = in_channels: a depthwise convolution. Groups are computed one after the other; on the CPU 64 groups
            of one channel take about three times as long as 64 channels without groups.
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name.
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: sizes below 1, channels that are not multiples of groups, padding="same" with a stride; in use, an
            unexpected number of channels or a kernel larger than the padded input.
        TypeError: sizes that are not ints.

    `columns` returns the patches as rows:

    >>> image = mf.asarray(np.arange(9.0).reshape(1, 3, 3, 1))  # 0 1 2 / 3 4 5 / 6 7 8
    >>> mf.Conv2d(1, 1, kernel_size=2).columns(image).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]]
    >>> mf.Conv2d(1, 1, kernel_size=2, dilation=2).columns(image).tolist()
    [[0.0, 2.0, 6.0, 8.0]]
    >>> mf.Conv2d(4, 6, kernel_size=3, groups=2).W.shape
    (3, 3, 2, 6)
    """

    kind = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: str | Initialiser = "he_normal",
        name: str | None = None,
    ) -> None:
        self.set_window(kernel_size, stride, padding, dilation)
        self.groups = check_int(groups, "groups")
        channels = check_int(in_channels, "in_channels"), check_int(out_channels, "out_channels")
        if any(count % self.groups for count in channels):
            raise ValueError(
                f"in_channels and out_channels must be multiples of groups, got {channels[0]} and {channels[1]} "
                f"channels in {groups} groups"
            )
        super().__init__((*self.kernel, channels[0] // self.groups, channels[1]), bias, init, name)

    @property
    def repeated(self) -> str:
        return f", in each of {self.groups} groups of channels" if self.groups > 1 else ""

    def infer(self, shape: Shape) -> Shape:
        channels = self.weight_shape[2] * self.groups
        if len(shape) != 3 or shape[-1] != channels:
            raise self.shape_error(f"images of height x width x {channels} channels", shape)
        size = windows.checked_output_size(self, shape, *self.window)
        return (*size, self.weight_shape[3])

    def bytes_each(self, x: Array) -> int:
        """Bytes of working memory for the patches of one example, in one group."""
        _, oh, ow = self.positions(x.shape)
        return oh * ow * self.fans[0] * x.dtype.itemsize

    def matrices(self, array: Array) -> list[Array]:
        return self._parts(as_matrix(array))

    def joined(self, matrices: Sequence[Array]) -> Array:
        return super().joined([side_by_side(matrices)])

    def _parts(self, array: Array) -> list[Array]:
        """The parts of the last axis that belong to the groups, as views."""
        if self.groups == 1:
            return [array]
        width = array.shape[-1] // self.groups
        return [array[..., i * width : (i + 1) * width] for i in range(self.groups)]

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        y, matrices = xp.empty((*self.positions(x.shape), matrix.shape[-1]), x.dtype), self.matrices(matrix)

        def piece(rows: slice) -> None:
            out = as_matrix(y[rows])
            for inputs, part, result in zip(self._parts(x[rows]), matrices, self._parts(out), strict=True):
                matmul(self.columns(inputs), part, out=result)
            if bias is not None:
                by_rows(lambda out, b: xp.add(out, b, out=out), (out,), (bias,))

        each_chunk(len(x), self.bytes_each(x), piece)
        return y

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array | None]:
        def piece(rows: slice) -> list[Array]:
            error = as_matrix(delta[rows])
            pairs = zip(self._parts(x[rows]), self._parts(error), strict=True)
            product = self.joined([matmul(self.columns(inputs).T, part) for inputs, part in pairs])
            return [product, sum_rows(error)] if self.has_bias else [product]

        product, *total = reduce_chunks(len(x), self.bytes_each(x), piece, add_each)
        return product, total[0] if total else None

    def carry(self, delta: Array, matrix: Array) -> Array:
        """The error below. With stride 1 it is gathered instead of scattered: each pixel receives a patch of delta
        times the kernel rotated by 180 degrees. This takes one copy; `uncolumns` takes kH * kW additions. If the
        padding does not keep the size of the map, scattering is used, because gathering would cost more in extra
        products than it saves in copies.
        """
        x = self.cached()
        kernel, _, (p, q), (dh, dw), (more_rows, more_columns) = self.window
        border, extra = (dh * (kernel[0] - 1) - p, dw * (kernel[1] - 1) - q), (-more_rows, -more_columns)
        shrinks = math.prod(x.shape[1:3]) > GATHER_UP_TO * math.prod(delta.shape[1:3])
        if self.stride != (1, 1) or min(border) < 0 or shrinks:
            return self._scatter(delta, self.matrices(matrix))
        return self._gather(delta, self.matrices(matrix), (kernel, (1, 1), border, self.dilation, extra))

    def _scatter(self, delta: Array, matrices: list[Array]) -> Array:
        """uncolumns(delta @ matrix.T), for each group."""
        x = self.cached()

        def piece(rows: slice) -> Array:
            parts = zip(self._parts(as_matrix(delta[rows])), matrices, self._parts(x[rows]), strict=True)
            return side_by_side([self.uncolumns(matmul(error, part.T), inputs.shape) for error, part, inputs in parts])

        return join_chunks(x.shape, delta.dtype, self.bytes_each(x), piece)

    def _gather(self, delta: Array, matrices: list[Array], window: tuple[Pair, ...]) -> Array:
        """columns(delta, by the window) @ the kernel (kH, kW, C_in, width), rotated by 180 degrees, for each group."""
        x = self.cached()
        kernels = (part.reshape(*self.weight_shape[:3], -1)[::-1, ::-1].swapaxes(2, 3) for part in matrices)
        rotated = [as_matrix(xp.ascontiguousarray(kernel)) for kernel in kernels]  # (kH * kW * width, C_in)
        below = xp.empty(x.shape, delta.dtype)

        def piece(rows: slice) -> None:
            parts = zip(self._parts(delta[rows]), rotated, self._parts(as_matrix(below[rows])), strict=True)
            for error, part, result in parts:
                matmul(windows.columns(error, *window), part, out=result)

        each_chunk(len(x), math.prod(x.shape[1:3]) * len(rotated[0]) * delta.dtype.itemsize, piece)
        return below
