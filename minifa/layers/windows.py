"""Sliding windows over images: im2col, which turns a convolution into a matrix product, and its adjoint col2im.

Images are NHWC. Each fast function has a readable reference implementation in loops (``*_plain``); the tests check that
both are equal.

A window is described by five pairs (height, width): kernel and stride; padding, the width of the border on each side;
dilation, the distance of neighbouring elements of the window; and extra, the number of rows and columns that the border
has more at the end (less, if it is negative).
"""

from __future__ import annotations

__all__: list[str] = []

import functools

from ..backend import Array, xp
from ..parallel.chunks import gather_runs
from ..validation import Shape, check_choice, check_int, format_shape

Pair = tuple[int, int]
Window = tuple[Pair, Pair, Pair, Pair, Pair]  # kernel, stride, padding, dilation, extra
ONE, NONE = (1, 1), (0, 0)  # the defaults of dilation and extra


def pair(value: int | Pair, what: str, least: int) -> Pair:
    """Expand a size, one int or a pair, to (height, width). Raises ValueError below ``least``, TypeError for
    non-integers."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    try:
        sizes = tuple(check_int(size, what, least) for size in sizes)
    except TypeError:
        sizes = ()
    if len(sizes) != 2:
        raise TypeError(f"{what} must be an int or a pair (height, width), got {value!r}")
    return sizes


def window_of(
    kernel_size: int | Pair, stride: int | Pair, padding: int | Pair | str, dilation: int | Pair = 1
) -> Window:
    """The window that a layer's arguments describe. Raises as `pair` does, and ValueError for an unknown padding or
    padding="same" with a stride.

    >>> mf.layers.windows.window_of(kernel_size=2, stride=1, padding="same")
    ((2, 2), (1, 1), (0, 0), (1, 1), (1, 1))
    """
    kernel, strides = pair(kernel_size, "kernel_size", least=1), pair(stride, "stride", least=1)
    dilations = pair(dilation, "dilation", least=1)
    if not isinstance(padding, str):
        return kernel, strides, pair(padding, "padding", least=0), dilations, NONE
    if check_choice(padding, "padding", ("same", "valid")) == "valid":
        return kernel, strides, NONE, dilations, NONE
    if strides != ONE:
        raise ValueError(f"stride must be 1 for padding='same', got {strides}: give the padding as a number")
    height, width = (d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    return kernel, strides, (height // 2, width // 2), dilations, (height % 2, width % 2)


@functools.lru_cache(maxsize=1024)  # it is called for every chunk
def output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = ONE, extra: Pair = NONE
) -> Pair:
    """Number of window positions: floor((size + 2 padding + extra - dilation (kernel - 1) - 1) / stride) + 1; positions
    that the stride leaves over are ignored.

    >>> mf.layers.windows.output_size((28, 28), kernel=(3, 3), stride=(2, 2), padding=(1, 1))
    (14, 14)
    """
    sides = zip(size, kernel, stride, padding, dilation, extra, strict=True)
    height, width = ((n + 2 * p + e - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, e in sides)
    return height, width


def checked_output_size(
    layer: object, shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = ONE, extra: Pair = NONE
) -> Pair:
    """`output_size` for an example of this shape (H, W, C). Raises ValueError, naming the layer, if the window is
    larger than the padded image."""
    height, width, _ = shape
    size = output_size((height, width), kernel, stride, padding, dilation, extra)
    if min(size) < 1:
        padded = padded_size((height, width), padding, extra)
        dilated = "" if dilation == ONE else f" with dilation {format_shape(dilation)}"
        raise ValueError(
            f"kernel_size of {layer} must be at most the padded input, {format_shape(padded)}, got "
            f"{format_shape(kernel)}{dilated} for an input of {format_shape(shape)} per example"
        )
    return size


def padded_size(size: Pair, padding: Pair, extra: Pair) -> Pair:
    """Height and width of an image with its border."""
    return size[0] + 2 * padding[0] + extra[0], size[1] + 2 * padding[1] + extra[1]


def pad(x: Array, padding: Pair, value: float = 0.0, extra: Pair = NONE) -> Array:
    """Pad each image with a border of ``value``."""
    p, q = padding
    if p == q == 0 and extra == NONE:
        return x
    n, height, width, channels = x.shape
    shape = n, *padded_size((height, width), padding, extra), channels
    padded = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
    padded[:, p : p + height, q : q + width] = x
    return padded


def fill_border(padded: Array, padding: Pair, value: float) -> None:
    """Overwrite the border that `pad` added."""
    p, q = padding
    if p:
        padded[:, :p] = padded[:, -p:] = value
    if q:
        padded[:, :, :q] = padded[:, :, -q:] = value


def last_inside(padded: Array, kernel: Pair, stride: Pair, padding: Pair, size: Pair) -> Array:
    """For each position, the index of the last window element that is not in the border, (OH, OW, 1)."""
    rows, columns = (
        xp.minimum(k - 1, length - p - 1 - s * xp.arange(n))
        for length, k, s, p, n in zip(padded.shape[1:3], kernel, stride, padding, size, strict=True)
    )
    return (rows[:, None] * kernel[1] + columns)[:, :, None]


def taps(padded: Array, kernel: Pair, stride: Pair, size: Pair, dilation: Pair = ONE) -> list[Array]:
    """One view (N, OH, OW, C) per window element, in row-major order: its values at all positions."""
    (oh, ow), (sh, sw) = size, stride
    rows, columns = (range(0, k * d, d) for k, d in zip(kernel, dilation, strict=True))
    return [padded[:, i : i + sh * oh : sh, j : j + sw * ow : sw] for i in rows for j in columns]


def columns(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = ONE, extra: Pair = NONE) -> Array:
    """im2col: each patch becomes one row, (N, H, W, C) to ``(N*OH*OW, kH*kW*C)``.

    The patches are a strided view of the padded images; one copy makes them contiguous.
    """
    n, height, width, channels = x.shape
    oh, ow = output_size((height, width), kernel, stride, padding, dilation, extra)
    if kernel == stride == (1, 1) and padding == extra == (0, 0):
        return x.reshape(-1, channels)
    padded = xp.ascontiguousarray(pad(x, padding, extra=extra))
    s_n, s_h, s_w, _ = padded.strides
    starts = (n, oh, ow, kernel[0]), (s_n, s_h * stride[0], s_w * stride[1], s_h * dilation[0])
    run = kernel[1] * channels  # a row of a window is contiguous in memory, because channels come last
    if dilation[1] == 1:
        return gather_runs(padded, *starts, run).reshape(n * oh * ow, -1)
    pixels = (*starts[0], kernel[1]), (*starts[1], s_w * dilation[1])  # a dilated row of a window is not
    return gather_runs(padded, *pixels, channels).reshape(n * oh * ow, -1)


def uncolumns(
    rows: Array,
    shape: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = ONE,
    extra: Pair = NONE,
) -> Array:
    """col2im, the adjoint of `columns`: add each patch back to its pixels. Returns ``shape`` = (N, H, W, C)."""
    n, height, width, channels = shape
    if kernel == stride == (1, 1) and padding == extra == (0, 0):
        return rows.reshape(shape)
    size = output_size((height, width), kernel, stride, padding, dilation, extra)
    (p, q), area = padding, kernel[0] * kernel[1]
    padded = xp.zeros((n, *padded_size((height, width), padding, extra), channels), rows.dtype)
    patches = rows.reshape(n, *size, area, channels)
    for k, element in enumerate(taps(padded, kernel, stride, size, dilation)):
        element += patches[:, :, :, k]
    return padded[:, p : p + height, q : q + width]


def columns_plain(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = ONE, extra: Pair = NONE
) -> Array:
    """Reference implementation of `columns`: for each image and position, copy the window."""
    n, height, width, channels = x.shape
    oh, ow = output_size((height, width), kernel, stride, padding, dilation, extra)
    padded = pad(x, padding, extra=extra)
    rows = xp.zeros((n * oh * ow, kernel[0] * kernel[1] * channels), x.dtype)
    for image in range(n):
        for i in range(oh):
            for j in range(ow):
                down, across = window_at(i, j, kernel, stride, dilation)
                window = padded[image, down, across]
                rows[(image * oh + i) * ow + j] = window.reshape(-1)
    return rows


def uncolumns_plain(
    rows: Array,
    shape: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = ONE,
    extra: Pair = NONE,
) -> Array:
    """Reference implementation of `uncolumns`: for each image and position, add the window back."""
    n, height, width, channels = shape
    oh, ow = output_size((height, width), kernel, stride, padding, dilation, extra)
    (p, q) = padding
    padded = xp.zeros((n, *padded_size((height, width), padding, extra), channels), rows.dtype)
    for image in range(n):
        for i in range(oh):
            for j in range(ow):
                window = rows[(image * oh + i) * ow + j].reshape(*kernel, channels)
                down, across = window_at(i, j, kernel, stride, dilation)
                padded[image, down, across] += window
    return padded[:, p : p + height, q : q + width]


def window_at(i: int, j: int, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[slice, slice]:
    """The rows and columns of the window at position (i, j) of a padded image."""
    top, left = i * stride[0], j * stride[1]
    (kh, kw), (dh, dw) = kernel, dilation
    return slice(top, top + dh * (kh - 1) + 1, dh), slice(left, left + dw * (kw - 1) + 1, dw)
