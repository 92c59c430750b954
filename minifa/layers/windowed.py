"""The base class of layers with weights that read an image through a window."""

from __future__ import annotations

__all__: list[str] = []

from ..backend import Array
from ..validation import Shape
from . import windows
from .weighted import Weighted
from .windows import Pair


class Windowed(Weighted):
    """A weighted layer on NHWC images: a row of `columns` is the patch of one window position. A subclass calls
    `set_window` before the constructor of `Weighted`."""

    def set_window(
        self, kernel_size: int | Pair, stride: int | Pair, padding: int | Pair | str, dilation: int | Pair = 1
    ) -> None:
        """Set the window from a constructor's arguments, with the errors of `minifa.layers.windows.window_of`."""
        self.window = windows.window_of(kernel_size, stride, padding, dilation)
        self.kernel, self.stride, border, self.dilation, _ = self.window
        self.padding = padding if padding == "same" else border

    @property
    def repeated(self) -> str:
        """The last words of the equations: how often their products are made."""
        return ""

    @property
    def equation(self) -> str:  # type: ignore[override]  # it depends on the layer's arguments
        return super().equation + self.repeated

    @property
    def gradient_equation(self) -> str:
        product, *bias = super().gradient_equation.split("\n")
        return "\n".join([product + self.repeated, *bias])

    @property
    def error_equation(self) -> str:  # type: ignore[override]
        return super().error_equation + self.repeated

    def columns(self, x: Array) -> Array:
        """The patches of x as rows, (positions, kH * kW * channels of x)."""
        return windows.columns(x, *self.window)

    def uncolumns(self, columns: Array, shape: Shape) -> Array:
        """The adjoint of `columns`: add each row back to the positions it was read from; shape is the batch's input
        shape."""
        return windows.uncolumns(columns, shape, *self.window)

    def positions(self, x_shape: Shape) -> Shape:
        """Output positions (N, H, W) of a batch with this input shape."""
        return (x_shape[0], *windows.output_size((x_shape[1], x_shape[2]), *self.window))
