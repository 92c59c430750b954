"""A locally connected layer: a convolution with untied weights, that is with a kernel of its own at each position.

    y_p = columns(x)_p @ W_p + b          W_p: the kernel of output position p, as a matrix (kH * kW * C_in, C_out)
    dW_p = columns(x)_p.T @ delta_p       a convolution's gradient is the sum of these over the positions
    delta_below = uncolumns(delta_p @ B_p.T)

Pogodin, Mehta, Lillicrap & Latham 2021, "Towards biologically plausible convolutional networks". Neurons cannot share
weights; `minifa.sharing` averages the kernels instead.
"""

from __future__ import annotations

__all__ = ["LocallyConnected2d"]

import math
from collections.abc import Sequence

import numpy

from ..backend import Array, xp
from ..initialisers import Initialiser, find
from ..linalg import as_matrix
from ..parallel.chunks import by_rows, each_chunk, join_chunks, stacked_matmul, sum_rows
from ..validation import Shape, check_bool, check_int, format_shape
from . import windows
from .windowed import Windowed
from .windows import Pair

LARGER = 16  # how much larger the chunks of `carry` are than others, because each chunk reads all of B


class OfOneKernel(Initialiser):
    """Draws one kernel for all positions of a locally connected layer."""

    def draw(self, rng: numpy.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> numpy.ndarray:
        drawn = super().draw(rng, shape[2:] if len(shape) == 6 else shape, fan_in, fan_out)
        return numpy.ascontiguousarray(numpy.broadcast_to(drawn, shape))


class LocallyConnected2d(Windowed):
    """A 2D convolution over NHWC images with untied weights: W (oH, oW, kH, kW, in_channels, out_channels) has a kernel
    for each of the oH x oW output positions. The bias (out_channels,) is shared by the positions, as a convolution's.

    W, its gradient, the optimizer's state and B each take oH * oW times the memory of a convolution's. Rules have a
    matrix B_p for each position.

    Args:
        in_channels, out_channels: channels per pixel.
        kernel_size, stride, padding: as for `minifa.Conv2d`.
        input_size: height and width of the images, one int or (height, width).
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name, with the fans of one kernel. Each kernel is drawn independently.
        equal_start: one kernel is drawn for all positions, as `minifa.ShareWeights` needs. Rules that draw B from
            W's initialiser then draw one for all positions as well; `brsf` and `product` draw in another way.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: sizes that are not ints.
        ValueError: sizes below 1, a kernel larger than the padded image, padding="same" with a stride, weights that
            exceed the free memory; in use, images of another size.

    >>> layer = mf.LocallyConnected2d(1, 1, kernel_size=1, input_size=2, bias=False)
    >>> layer.W = np.reshape([1, 2, 3, 4], layer.W.shape)
    >>> layer.forward(mf.asarray(np.full((1, 2, 2, 1), 10.0)), mf.Pass()).tolist()
    [[[[10.0], [20.0]], [[30.0], [40.0]]]]

    With equal kernels it is a convolution:

    >>> conv, untied = mf.Conv2d(2, 3, 3, padding=1), mf.LocallyConnected2d(2, 3, 3, padding=1, input_size=(4, 5))
    >>> for W in untied.matrices(untied.W):
    ...     W[...] = conv.matrices(conv.W)[0]
    >>> x = mf.asarray(np.random.default_rng(0).random((7, 4, 5, 2)))
    >>> bool(abs(conv.forward(x, mf.Pass()) - untied.forward(x, mf.Pass())).max() < 1e-5)
    True
    """

    kind = "locallyconnected"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        *,
        input_size: int | Pair,
        bias: bool = True,
        init: str | Initialiser = "he_normal",
        equal_start: bool = False,
        name: str | None = None,
    ) -> None:
        self.equal_start = check_bool(equal_start, "equal_start")
        init = OfOneKernel(**vars(find(init))) if equal_start else init
        self.set_window(kernel_size, stride, padding)
        self.input_size = windows.pair(input_size, "input_size", least=1)
        image = *self.input_size, check_int(in_channels, "in_channels")
        self.size = windows.checked_output_size(f"a {type(self).__name__}", image, *self.window)
        super().__init__(
            (*self.size, *self.kernel, image[2], check_int(out_channels, "out_channels")), bias, init, name
        )

    @property
    def smaller(self) -> str:  # type: ignore[override]  # it gives numbers
        return (
            f"fewer channels, a larger stride, or a Conv2d: its {format_shape(self.weight_shape[2:])} weights are "
            f"shared by all {format_shape(self.size)} positions"
        )

    @property
    def repeated(self) -> str:
        return f", at each of {math.prod(self.size)} positions"

    @property
    def fans(self) -> tuple[int, int]:
        """(fan_in, fan_out) of one kernel, as those of a convolution."""
        *_, height, width, n_in, n_out = self.weight_shape
        return height * width * n_in, height * width * n_out

    def infer(self, shape: Shape) -> Shape:
        expected = *self.input_size, self.weight_shape[4]
        if shape != expected:
            raise self.shape_error(f"images of {format_shape(expected)}", shape)
        return *self.size, self.weight_shape[5]

    def matrices(self, array: Array) -> list[Array]:
        return list(self._stacked(array))

    def joined(self, matrices: Sequence[Array]) -> Array:
        return xp.stack(matrices).reshape(*self.weight_shape[:-1], -1)

    def _stacked(self, array: Array) -> Array:
        """W, or another array of its fan_in (..., k), as (positions, fan_in, k)."""
        return array.reshape(math.prod(self.size), self.fans[0], array.shape[-1])

    def _patches(self, padded: Array, rows: slice) -> Array:
        """The patches of these rows of output positions, (positions, N, fan_in), as a view."""
        first, last = rows.start * self.stride[0], (rows.stop - 1) * self.stride[0] + self.kernel[0]
        columns = windows.columns(padded[:, first:last], self.kernel, self.stride, windows.NONE)
        return columns.reshape(len(padded), -1, self.fans[0]).swapaxes(0, 1)

    def _row_of_patches(self, x: Array) -> int:
        """Bytes of the patches of one row of output positions, in all examples."""
        return len(x) * self.size[1] * self.fans[0] * x.dtype.itemsize

    # The products of the forward pass and of the gradient are made in chunks of output positions: no two chunks read or
    # write the same part of W. Patches overlap, so the error below is computed in chunks of examples.

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        y = xp.empty((len(x), *self.size, matrix.shape[-1]), x.dtype)
        padded, rows_of_matrix = self._padded(x), matrix.reshape(self.size[0], self.size[1], self.fans[0], -1)

        def piece(rows: slice) -> None:
            W = rows_of_matrix[rows].reshape(-1, *rows_of_matrix.shape[2:])
            out = stacked_matmul(self._patches(padded, rows), W)  # (positions, N, k)
            if bias is not None:
                by_rows(lambda out, b: xp.add(out, b, out=out), (as_matrix(out),), (bias,))
            y[:, rows] = out.swapaxes(0, 1).reshape(y[:, rows].shape)

        each_chunk(self.size[0], self._row_of_patches(x), piece)
        return y

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array | None]:
        product = xp.empty((*self.size, self.fans[0], delta.shape[-1]), x.dtype)
        padded = self._padded(x)

        def piece(rows: slice) -> None:
            error = delta[:, rows].reshape(len(x), -1, delta.shape[-1]).swapaxes(0, 1)
            dW = stacked_matmul(self._patches(padded, rows).swapaxes(1, 2), error)
            product[rows] = dW.reshape(product[rows].shape)

        each_chunk(self.size[0], self._row_of_patches(x), piece)
        product = product.reshape(*self.weight_shape[:-1], -1)
        return product, sum_rows(as_matrix(delta)) if self.has_bias else None

    def carry(self, delta: Array, matrix: Array) -> Array:
        x, transposed = self.cached(), self._stacked(matrix).swapaxes(1, 2)

        def piece(rows: slice) -> Array:
            error = delta[rows].reshape(-1, len(transposed), delta.shape[-1]).swapaxes(0, 1)
            columns = stacked_matmul(error, transposed).swapaxes(0, 1)  # (N, positions, fan_in)
            return self.uncolumns(columns, (len(columns), *x.shape[1:]))

        bytes_each = self.size[0] * self._row_of_patches(x[:1])
        return join_chunks(x.shape, delta.dtype, bytes_each // LARGER, piece)

    def _padded(self, x: Array) -> Array:
        """The images with their border."""
        return windows.pad(x, self.window[2], extra=self.window[4])


def products_plain(layer: LocallyConnected2d, x: Array, delta: Array, B: Array) -> tuple[Array, Array, Array]:
    """Reference implementation of the three products without the bias, in a loop over the positions: the output, the
    gradient of W, and the error below that B carries."""
    padded = windows.pad(x, layer.window[2], extra=layer.window[4])
    y, dW, below = xp.zeros_like(delta), xp.zeros_like(layer.W), xp.zeros_like(padded)
    for i in range(layer.size[0]):
        for j in range(layer.size[1]):
            down, across = windows.window_at(i, j, layer.kernel, layer.stride, windows.ONE)
            patches, error = padded[:, down, across].reshape(len(x), -1), delta[:, i, j]
            y[:, i, j] = patches @ as_matrix(layer.W[i, j])
            dW[i, j] = (patches.T @ error).reshape(layer.weight_shape[2:])
            below[:, down, across] += (error @ as_matrix(B[i, j]).T).reshape(len(x), *layer.kernel, -1)
    (p, q), (height, width) = layer.window[2], layer.input_size
    return y, dW, below[:, p : p + height, q : q + width]
