"""Max and average pooling over windows as in a convolution. The derivative is exact under every learning rule.

The fast implementations loop over the elements of the window; the reference implementations (``*_plain``) loop over the
positions.
"""

from __future__ import annotations

__all__ = ["AvgPool", "GlobalAvgPool", "MaxPool"]

from collections.abc import Callable

from ..backend import Array, require_float, xp
from ..parallel.chunks import each_chunk
from ..validation import Shape, format_shape
from . import windows
from .base import Layer, Pass, Teacher
from .windows import Pair

IN_A_ROW = 16  # length of a sequential sum; longer sums are split to limit rounding errors


class Pool(Layer):
    """The base class of `MaxPool` and `AvgPool`: window, stride, padding and the scatter of the error.

    Args:
        kernel_size: size of the window, one int or (height, width).
        stride: default: the window's size, so that windows are adjacent; with a smaller stride they overlap.
        padding: width of the border around the image; at most half the window, as in PyTorch.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: sizes that are not ints.
        ValueError: sizes out of range; in use, a window larger than its padded input or an input that is not an image.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.kernel = windows.pair(kernel_size, "kernel_size", least=1)
        self.stride = self.kernel if stride is None else windows.pair(stride, "stride", least=1)
        self.padding = windows.pair(padding, "padding", least=0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise ValueError(f"{self} takes a padding of at most half its window {self.kernel}, got {self.padding}")

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise self.shape_error("images of height x width x channels", shape)
        size = windows.output_size((shape[0], shape[1]), self.kernel, self.stride, self.padding)
        if min(size) < 1:
            raise ValueError(
                f"{self} has a window of {format_shape(self.kernel)}, "
                f"larger than its input of {format_shape(shape)} per example"
            )
        return (*size, shape[2])

    def checked_output(self, x: Array) -> Array:
        require_float(x, self)
        return xp.empty((len(x), *self.infer(x.shape[1:])), x.dtype)

    def spread(self, below: Array, size: Pair, share: Callable[[int, Array | None], Array]) -> None:
        """Scatter the error of each window to its elements and sum it in ``below`` (n, H, W, C).

        ``share(k, out)`` returns the error of the k-th window element, (n, OH, OW, C), written into ``out`` if given.
        """
        n, height, width, channels = below.shape
        if self.padding == (0, 0) and all(s >= k for s, k in zip(self.stride, self.kernel, strict=True)):
            if self.stride != self.kernel or (size[0] * self.kernel[0], size[1] * self.kernel[1]) != (height, width):
                below[...] = 0  # pixels outside all windows
            for k, place in enumerate(windows.taps(below, self.kernel, self.stride, size)):
                share(k, place)  # windows do not overlap, so there is nothing to sum
            return
        p, q = self.padding
        padded = xp.zeros((n, height + 2 * p, width + 2 * q, channels), below.dtype)
        for k, place in enumerate(windows.taps(padded, self.kernel, self.stride, size)):
            place += share(k, None)
        below[...] = padded[:, p : p + height, q : q + width]


class MaxPool(Pool):
    """The maximum of each window; the error goes to the maximum, in a tie to the first one.

    If a window contains NaN, its output is NaN and the error goes to its last element (in PyTorch to its last NaN).

    Args:
        kernel_size, stride, padding, name: as for `minifa.layers.pooling.Pool`.

    >>> image = mf.asarray([[[[1.0], [7.0]], [[7.0], [3.0]]]])  # one image, 2 x 2
    >>> pool = mf.MaxPool(2)
    >>> pool.forward(image, mf.Pass(training=True)).tolist()
    [[[[7.0]]]]
    >>> pool.backward(mf.asarray([[[[5.0]]]]), mf.rules.BP()).tolist()
    [[[[0.0], [5.0]], [[0.0], [0.0]]]]
    """

    kind = "maxpool"
    equation = "y = the largest of each window of x"
    error_equation = "delta_below = delta, at the largest of each window"

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = self.checked_output(x)
        size = y.shape[1:3]
        won_by = (
            xp.empty(y.shape, "uint8" if self.kernel[0] * self.kernel[1] < 256 else "int32") if ctx.training else None
        )

        def piece(rows: slice) -> None:
            padded = windows.pad(x[rows], self.padding, -xp.inf)
            places = windows.taps(padded, self.kernel, self.stride, size)
            best = y[rows]
            best[...] = places[0]
            for place in places[1:]:
                xp.maximum(best, place, out=best)
            if won_by is not None:
                windows.fill_border(padded, self.padding, xp.nan)  # NaN equals nothing: no tie with it, even at -inf
                _first_equal(best, places, won_by[rows])
                if self.padding != (0, 0):  # an output of NaN equals nothing, so its index may lie in the border
                    last = windows.last_inside(padded, self.kernel, self.stride, self.padding, size)
                    xp.minimum(won_by[rows], last.astype(won_by.dtype), out=won_by[rows])

        each_chunk(len(x), 3 * x.nbytes // len(x), piece)
        self.cache = None if won_by is None else (x.shape, won_by)
        return y

    def backward(self, delta: Array, rule: Teacher) -> Array:
        shape, won_by = self.cached()
        self.check_error(delta, won_by.shape)
        below = xp.empty(shape, delta.dtype)

        def piece(rows: slice) -> None:
            winner, error = won_by[rows], delta[rows]
            self.spread(below[rows], delta.shape[1:3], lambda k, out: xp.multiply(error, winner == k, out=out))

        each_chunk(len(below), 4 * below.nbytes // len(below), piece)
        return below


def _first_equal(best: Array, places: list[Array], index: Array) -> None:
    """Write into ``index`` the first place equal to ``best``: the number of unequal places before it."""
    missed = places[0] != best
    index[...] = missed
    for place in places[1:-1]:
        missed &= place != best
        index += missed.view("uint8")  # one byte each: added without a conversion


class AvgPool(Pool):
    """The mean of each window; padded zeros are included, as by default in PyTorch.

    Args:
        kernel_size, stride, padding, name: as for `minifa.layers.pooling.Pool`.

    >>> image = mf.asarray([[[[1.0], [7.0]], [[7.0], [3.0]]]])  # one image, 2 x 2
    >>> mf.AvgPool(2).forward(image, mf.Pass()).tolist()
    [[[[4.5]]]]
    """

    kind = "avgpool"
    equation = "y = mean of each window of x"
    error_equation = "delta_below = delta / size, to all of each window"

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = self.checked_output(x)
        size, area = y.shape[1:3], self.kernel[0] * self.kernel[1]

        def piece(rows: slice) -> None:
            places = windows.taps(windows.pad(x[rows], self.padding), self.kernel, self.stride, size)
            _add_up(y[rows], places)
            y[rows] /= area

        each_chunk(len(x), 3 * x.nbytes // len(x), piece)
        self.cache = x.shape if ctx.training else None
        return y

    def backward(self, delta: Array, rule: Teacher) -> Array:
        n, *image = self.cached()
        self.check_error(delta, (n, *self.infer(tuple(image))))
        below = xp.empty((n, *image), delta.dtype)
        area = self.kernel[0] * self.kernel[1]

        def piece(rows: slice) -> None:
            self.spread(below[rows], delta.shape[1:3], lambda k, out: xp.divide(delta[rows], area, out=out))

        each_chunk(len(below), 3 * below.nbytes // len(below), piece)
        return below


class GlobalAvgPool(Layer):
    """The mean of each channel over all positions: (N, H, W, C) to (N, C).

    >>> image = mf.asarray([[[[1.0, 10.0], [3.0, 20.0]]]])  # 1 x 2 pixels of two channels
    >>> mf.GlobalAvgPool().forward(image, mf.Pass()).tolist()
    [[2.0, 15.0]]
    """

    kind = "globalavgpool"
    equation = "y = mean of each channel of x"
    error_equation = "delta_below = delta / size, to all of each map"

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise self.shape_error("images of height x width x channels", shape)
        return shape[2:]

    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        self.cache = x.shape if ctx.training else None
        n, height, width, channels = x.shape
        return _sum_positions(x.reshape(n, -1, channels)) / (height * width)

    def backward(self, delta: Array, rule: Teacher) -> Array:
        n, height, width, channels = self.cached()
        self.check_error(delta, (n, channels))
        each = (delta / (height * width)).reshape(n, 1, 1, channels)
        return xp.ascontiguousarray(xp.broadcast_to(each, (n, height, width, channels)))


def _add_up(total: Array, places: list[Array]) -> None:
    """Write the sum of the places into ``total``, pairwise for many places, to limit rounding errors."""
    if len(places) > IN_A_ROW:
        half, rest = len(places) // 2, xp.empty_like(total)
        _add_up(total, places[:half])
        _add_up(rest, places[half:])
        total += rest
        return
    total[...] = places[0]
    for place in places[1:]:
        total += place


def _sum_positions(maps: Array) -> Array:
    """Sum (n, positions, channels) to (n, channels). Maps above 8 x 8 are summed in blocks and the blocks pairwise, as
    NumPy does along the last axis: a sequential float32 sum over the 50,000 positions of a large map loses two digits.
    """
    n, positions, channels = maps.shape
    if positions <= 64:
        return maps.sum(axis=1)
    whole = positions // IN_A_ROW * IN_A_ROW
    blocks = maps[:, :whole].reshape(n, -1, IN_A_ROW, channels).sum(axis=2)
    return xp.ascontiguousarray(blocks.swapaxes(1, 2)).sum(axis=2) + maps[:, whole:].sum(axis=1)


def pool_plain(x: Array, kernel: Pair, stride: Pair, padding: Pair, border: float, summary: str) -> Array:
    """Reference implementation of pooling: ``summary`` ("max" or "mean") of each window; ``border`` fills the
    padding."""
    n, height, width, channels = x.shape
    oh, ow = windows.output_size((height, width), kernel, stride, padding)
    padded = windows.pad(x, padding, border)
    y = xp.zeros((n, oh, ow, channels), x.dtype)
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride[0], j * stride[1]
            window = padded[:, top : top + kernel[0], left : left + kernel[1]]
            y[:, i, j] = getattr(window, summary)(axis=(1, 2))
    return y


def unpool_max_plain(x: Array, delta: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Reference implementation of the error below `MaxPool`: the error of each window goes to its first maximum."""
    below = xp.zeros(x.shape, delta.dtype)
    for image in range(len(x)):
        for i in range(delta.shape[1]):
            for j in range(delta.shape[2]):
                for channel in range(x.shape[3]):
                    top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
                    bottom, right = top + kernel[0], left + kernel[1]
                    top, left = max(top, 0), max(left, 0)
                    window = x[image, top:bottom, left:right, channel]
                    row, column = divmod(int(window.argmax()), window.shape[1])
                    below[image, top + row, left + column, channel] += delta[image, i, j, channel]
    return below
