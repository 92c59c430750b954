"""Sliding windows over images: im2col, which turns a convolution into a matrix product, and its adjoint col2im.

Images are NHWC. Each fast function has a readable reference implementation in loops (``*_plain``); the tests check that
both are equal.
"""

from __future__ import annotations

__all__: list[str] = []

import functools

from ..backend import Array, xp
from ..parallel.chunks import gather_runs
from ..validation import Shape, check_int, format_shape

Pair = tuple[int, int]


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


@functools.lru_cache(maxsize=1024)  # it is called for every chunk
def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Number of window positions: floor((size + 2 padding - kernel) / stride) + 1; positions that the stride leaves
    over are ignored.

    >>> mf.layers.windows.output_size((28, 28), kernel=(3, 3), stride=(2, 2), padding=(1, 1))
    (14, 14)
    """
    height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return height, width


def checked_output_size(layer: object, shape: Shape, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """`output_size` for an example of this shape (H, W, C). Raises ValueError, naming the layer, if the window is
    larger than the padded image."""
    height, width, _ = shape
    size = output_size((height, width), kernel, stride, padding)
    if min(size) < 1:
        padded = height + 2 * padding[0], width + 2 * padding[1]
        raise ValueError(
            f"kernel_size of {layer} must be at most the padded input, {format_shape(padded)}, got "
            f"{format_shape(kernel)} for an input of {format_shape(shape)} per example"
        )
    return size


def pad(x: Array, padding: Pair, value: float = 0.0) -> Array:
    """Pad each image with a border of ``value``."""
    p, q = padding
    if p == q == 0:
        return x
    n, height, width, channels = x.shape
    shape = n, height + 2 * p, width + 2 * q, channels
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


def taps(padded: Array, kernel: Pair, stride: Pair, size: Pair) -> list[Array]:
    """One view (N, OH, OW, C) per window element, in row-major order: its values at all positions."""
    (oh, ow), (sh, sw) = size, stride
    return [padded[:, i : i + sh * oh : sh, j : j + sw * ow : sw] for i in range(kernel[0]) for j in range(kernel[1])]


def columns(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """im2col: each patch becomes one row, (N, H, W, C) to ``(N*OH*OW, kH*kW*C)``.

    The patches are a strided view of the padded images; one copy makes them contiguous.
    """
    n, height, width, channels = x.shape
    oh, ow = output_size((height, width), kernel, stride, padding)
    if kernel == stride == (1, 1) and padding == (0, 0):
        return x.reshape(-1, channels)
    padded = xp.ascontiguousarray(pad(x, padding))
    s_n, s_h, s_w, _ = padded.strides
    starts = (n, oh, ow, kernel[0]), (s_n, s_h * stride[0], s_w * stride[1], s_h)
    run = kernel[1] * channels  # a row of a window is contiguous in memory, because channels come last
    return gather_runs(padded, *starts, run).reshape(n * oh * ow, -1)


def uncolumns(rows: Array, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """col2im, the adjoint of `columns`: add each patch back to its pixels. Returns ``shape`` = (N, H, W, C)."""
    n, height, width, channels = shape
    if kernel == stride == (1, 1) and padding == (0, 0):
        return rows.reshape(shape)
    size = output_size((height, width), kernel, stride, padding)
    (p, q), area = padding, kernel[0] * kernel[1]
    padded = xp.zeros((n, height + 2 * p, width + 2 * q, channels), rows.dtype)
    patches = rows.reshape(n, *size, area, channels)
    for k, element in enumerate(taps(padded, kernel, stride, size)):
        element += patches[:, :, :, k]
    return padded[:, p : p + height, q : q + width]


def columns_plain(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Reference implementation of `columns`: for each image and position, copy the window."""
    n, height, width, channels = x.shape
    oh, ow = output_size((height, width), kernel, stride, padding)
    padded = pad(x, padding)
    rows = xp.zeros((n * oh * ow, kernel[0] * kernel[1] * channels), x.dtype)
    for image in range(n):
        for i in range(oh):
            for j in range(ow):
                top, left = i * stride[0], j * stride[1]
                window = padded[image, top : top + kernel[0], left : left + kernel[1]]
                rows[(image * oh + i) * ow + j] = window.reshape(-1)
    return rows


def uncolumns_plain(rows: Array, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """Reference implementation of `uncolumns`: for each image and position, add the window back."""
    n, height, width, channels = shape
    oh, ow = output_size((height, width), kernel, stride, padding)
    (p, q) = padding
    padded = xp.zeros((n, height + 2 * p, width + 2 * q, channels), rows.dtype)
    for image in range(n):
        for i in range(oh):
            for j in range(ow):
                top, left = i * stride[0], j * stride[1]
                window = rows[(image * oh + i) * ow + j].reshape(*kernel, channels)
                padded[image, top : top + kernel[0], left : left + kernel[1]] += window
    return padded[:, p : p + height, q : q + width]
