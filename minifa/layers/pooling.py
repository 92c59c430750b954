"""Max and average pooling over windows as in a convolution. The derivative is exact under every learning rule.

The fast implementations loop over the elements of the window; the reference implementations (``*_plain``) loop over the
positions.
"""

from __future__ import annotations

__all__ = ["AvgPool", "GlobalAvgPool", "MaxPool"]

from collections.abc import Callable

from ..array_checks import require_float
from ..backend import Array, xp
from ..parallel.chunks import each_chunk
from ..validation import Shape
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

    sends_targets = True

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
            raise ValueError(f"padding of {self} must be at most half of kernel_size {self.kernel}, got {self.padding}")

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise self.shape_error("images of height x width x channels", shape)
        size = windows.checked_output_size(self, shape, self.kernel, self.stride, self.padding)
        return (*size, shape[2])

    def new_output(self, x: Array) -> Array:
        """An uninitialised output for the batch x, which is validated."""
        require_float(x, self)
        return xp.empty((len(x), *self.infer(x.shape[1:])), x.dtype)

    def elements(self, x: Array, size: Pair) -> list[Array]:
        """One view (n, OH, OW, C) of the padded images x per window element."""
        return windows.taps(x, self.kernel, self.stride, size)

    def scatter(self, below: Array, size: Pair, share: Callable[[int, Array | None], Array]) -> None:
        """Scatter the error of each window to its elements and sum it in ``below`` (n, H, W, C).

        ``share(k, out)`` returns the error of the k-th window element, (n, OH, OW, C), written into ``out`` if given.
        """
        n, height, width, channels = below.shape
        if self.padding == (0, 0) and all(s >= k for s, k in zip(self.stride, self.kernel, strict=True)):
            if self.stride != self.kernel or (size[0] * self.kernel[0], size[1] * self.kernel[1]) != (height, width):
                below[...] = 0  # pixels outside all windows
            for k, element in enumerate(self.elements(below, size)):
                share(k, element)  # windows do not overlap, so there is nothing to sum
            return
        p, q = self.padding
        padded = xp.zeros((n, height + 2 * p, width + 2 * q, channels), below.dtype)
        for k, element in enumerate(self.elements(padded, size)):
            element += share(k, None)
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
    equation = "y = max of each window of x"
    error_equation = "delta_below = delta at the maximum of each window, 0 elsewhere"

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = self.new_output(x)
        size = y.shape[1:3]
        small = self.kernel[0] * self.kernel[1] < 256
        argmax = xp.empty(y.shape, "uint8" if small else "int32") if ctx.training else None

        def piece(rows: slice) -> None:
            padded, largest = windows.pad(x[rows], self.padding, -xp.inf), y[rows]
            elements = self.elements(padded, size)
            largest[...] = elements[0]
            for element in elements[1:]:
                xp.maximum(largest, element, out=largest)
            if argmax is not None:
                windows.fill_border(padded, self.padding, xp.nan)  # NaN equals nothing: no tie with it, even at -inf
                _first_equal(largest, elements, argmax[rows])
                if self.padding != (0, 0):  # an output of NaN equals nothing, so its index may lie in the border
                    last = windows.last_inside(padded, self.kernel, self.stride, self.padding, size)
                    xp.minimum(argmax[rows], last.astype(argmax.dtype), out=argmax[rows])

        each_chunk(len(x), 3 * x.nbytes // len(x), piece)
        self.cache = None if argmax is None else (x.shape, argmax)
        return y

    def backward(self, delta: Array, rule: Teacher) -> Array:
        shape, argmax = self.cached()
        self.check_error(delta, argmax.shape)
        below = xp.empty(shape, delta.dtype)

        def piece(rows: slice) -> None:
            index, error = argmax[rows], delta[rows]
            self.scatter(below[rows], delta.shape[1:3], lambda k, out: xp.multiply(error, index == k, out=out))

        each_chunk(len(below), 4 * below.nbytes // len(below), piece)
        return below


def _first_equal(largest: Array, elements: list[Array], index: Array) -> None:
    """Write into ``index`` the first element equal to ``largest``: the number of unequal elements before it."""
    unequal = elements[0] != largest
    index[...] = unequal
    for element in elements[1:-1]:
        unequal &= element != largest
        index += unequal.view("uint8")  # one byte each: added without a conversion


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
    error_equation = "delta_below = delta / size at each element of the window"

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = self.new_output(x)
        size, area = y.shape[1:3], self.kernel[0] * self.kernel[1]

        def piece(rows: slice) -> None:
            _add_up(y[rows], self.elements(windows.pad(x[rows], self.padding), size))
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
            self.scatter(below[rows], delta.shape[1:3], lambda k, out: xp.divide(delta[rows], area, out=out))

        each_chunk(len(below), 3 * below.nbytes // len(below), piece)
        return below


class GlobalAvgPool(Layer):
    """The mean of each channel over all positions: (N, H, W, C) to (N, C).

    >>> image = mf.asarray([[[[1.0, 10.0], [3.0, 20.0]]]])  # 1 x 2 pixels of two channels
    >>> mf.GlobalAvgPool().forward(image, mf.Pass()).tolist()
    [[2.0, 15.0]]
    """

    kind = "globalavgpool"
    sends_targets = True
    equation = "y = mean of each channel of x"
    error_equation = "delta_below = delta / size at each position of the map"

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


def _add_up(total: Array, elements: list[Array]) -> None:
    """Write the sum of the elements into ``total``, pairwise for many elements, to limit rounding errors."""
    if len(elements) > IN_A_ROW:
        half, rest = len(elements) // 2, xp.empty_like(total)
        _add_up(total, elements[:half])
        _add_up(rest, elements[half:])
        total += rest
        return
    total[...] = elements[0]
    for element in elements[1:]:
        total += element


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
