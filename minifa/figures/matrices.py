"""Weights W and feedback B: as matrices, as kernels, and by sign agreement."""

from __future__ import annotations

__all__ = ["kernels", "matrices", "signs"]

from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from .. import backend, metrics
from ..linalg import as_matrix
from .style import SMALL, bare, colour, diverging, drawing, missing, readable_on, size

Host = numpy.ndarray
TILES = 16  # maximum number of kernels along each side of a figure
NUMBERED = 8  # maximum number of rows and columns of a matrix whose values are printed
LONG = 3  # matrices with a larger aspect ratio are drawn horizontally and stacked


def matrices(W: Any, B: Any, title: str = "", *, dark: bool = False) -> Figure:
    """W, B and their difference side by side on one colour scale, with angle, sign agreement and norm ratio as text.

    Long matrices are drawn horizontally, W above B above W - B; the axis labels identify input and output.

    Args:
        W: (..., n_in, n_out), on the host or the backend; a kernel is shown as its matrix (fan_in, n_out).
        B: of W's shape; None if there is none, which is marked in the figure.
        title: a heading above the text.

    Raises:
        ValueError: W and B have different shapes, or are not matrices or kernels.
    """
    w, b = _pair(W, B)
    rows, columns = as_matrix(w).shape
    long, transposed = max(rows, columns) > LONG * min(rows, columns), rows > LONG * columns
    limit, clipped = _limit(w, b)
    height = _height(rows, columns, 8.0 if long else 2.6)
    with drawing((3 if long else 1) * (height + 0.35) + 0.4, title, _describe(w, b), dark=dark) as figure:
        panels = figure.subplots(3 if long else 1, 1 if long else 3, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name, array in zip(panels, ("W", "B", "W − B"), (w, b, None if b is None else w - b), strict=True):
            axes.set_title(name if array is None else f"{name}  {size((rows, columns))}")
            if array is not None:
                _show(axes, as_matrix(array), limit, transposed)
            elif name == "B":
                missing(axes, "no B: not computed yet,\nor not used by this rule")
            else:
                missing(axes, "nothing to compare")
        _label_axes(panels[-1:] if long else panels, panels if long else panels[:1], transposed)
        _add_colour_bar(figure, panels, clipped)
    return figure


def kernels(W: Any, B: Any = None, title: str = "", *, dark: bool = False) -> Figure:
    """Convolution kernels as tiles: one row of tiles per input channel, one column per output channel. The kernels of
    B, if given, are drawn beside those of W (below them if the sheet is wide) on one colour scale.

    Args:
        W: (kH, kW, C_in, C_out), on the host or the backend. Only the first `TILES` channels of each side are shown; if
            there are more, the heading says so.
        B: of W's shape, or None.
        title: a heading.

    Raises:
        ValueError: W is not a kernel, or W and B have different shapes.
    """
    w, b = _pair(W, B)
    if w.ndim != 4:
        raise ValueError(f"W must be a kernel (kH, kW, C_in, C_out), got {size(w.shape)}")
    limit, clipped = _limit(w, b)
    shown = {"W": w} if b is None else {"W": w, "B": b}
    rows, columns = tiled(w).shape
    across = 1 if 2 * rows <= columns else len(shown)
    down = len(shown) // across
    facts = ". ".join(filter(None, (_describe(w, b), _omitted_channels(w))))
    with drawing(down * (min(8 / across * rows / columns, 4.4) + 0.35) + 0.25, title, facts, dark=dark) as figure:
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (name, array) in zip(panels, shown.items(), strict=True):
            axes.set_title(f"{name}  {size(array.shape)}")
            _show(axes, tiled(array), limit)
            axes.set(aspect="equal", xticks=[], yticks=[])
            _separate_tiles(axes, array.shape[:2], (rows, columns))
        for axes in panels[-across:]:
            axes.set_xlabel("output channel")
        if w.shape[2] > 1:
            panels[0].set_ylabel("input channel")
        _add_colour_bar(figure, panels, clipped)
    return figure


def tiled(kernel: Host) -> Host:
    """Kernels (kH, kW, C_in, C_out) as one sheet (C_in * kH, C_out * kW), of at most `TILES` channels per side."""
    kernel = kernel[:, :, :TILES, :TILES]
    height, width, c_in, c_out = kernel.shape
    return kernel.transpose(2, 0, 3, 1).reshape(c_in * height, c_out * width)


def _omitted_channels(kernel: Host) -> str:
    sides = zip(("input", "output"), kernel.shape[2:], strict=True)
    parts = [f"{TILES} of {count} {side} channels" for side, count in sides if count > TILES]
    return f"Shown: the first {' and '.join(parts)}" if parts else ""


def _separate_tiles(axes: Axes, tile: tuple[int, ...], sheet: tuple[int, int]) -> None:
    """Draw lines in the background colour between the tiles."""
    for line, step, end in ((axes.axhline, tile[0], sheet[0]), (axes.axvline, tile[1], sheet[1])):
        for place in range(step, end, step):
            line(place - 0.5, color=axes.get_facecolor(), linewidth=2.5)


def signs(W: Any, B: Any, title: str = "", *, dark: bool = False) -> Figure:
    """Sign agreement of W and B: a map of their entries, with the agreeing fraction as text.

    Args:
        W, B: of the same shape (..., n_in, n_out), on the host or the backend; a kernel is shown as its matrix
            (fan_in, n_out).
        title: a heading.

    Raises:
        ValueError: W and B have different shapes, or B is None.
    """
    w, b = _pair(W, B)
    if b is None:
        raise ValueError("B must be an array of W's shape, got None")
    product = as_matrix(numpy.sign(w) * numpy.sign(b))
    rows, columns = product.shape
    transposed = rows > LONG * columns
    facts = f"{100 * _agreement(w, b):.1f} % of {product.size:,} signs agree (chance: 50 %)"
    with drawing(_height(rows, columns, 7.4) + 0.7, title, facts, dark=dark) as figure:
        kinds = {  # only agreement has a prominent colour
            "disagree": (-1, "#3d3f3a" if dark else "#e8e4d9"),
            "zero in W or B": (0, colour(3)),
            "agree": (1, colour(2)),
        }
        axes = figure.subplots()
        image = _show(axes, product, 1.5, transposed, numbered=False)
        image.set_cmap(ListedColormap([shade for _, shade in kinds.values()]))
        _label_axes([axes], [axes], transposed)
        present = [Patch(color=shade, label=kind) for kind, (value, shade) in kinds.items() if (product == value).any()]
        axes.legend(handles=present[::-1], loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)
    return figure


def _pair(W: Any, B: Any) -> tuple[Host, Host | None]:
    """W and B on the host in float64, of the same shape. Raises ValueError."""
    w, b = host(W), None if B is None else host(B)
    if w.ndim < 2:
        raise ValueError(f"W must be a matrix or a kernel (..., n_in, n_out), got {size(w.shape)}")
    if b is not None and b.shape != w.shape:
        raise ValueError(f"W and B must have the same shape, got {size(w.shape)} and {size(b.shape)}")
    return w, b


def host(array: Any) -> Host:
    """An array on the host or the backend as a host array in float64. Raises TypeError, ValueError if not numeric."""
    return backend.numbers_of(array, "an array to draw").astype(float)


def _describe(w: Host, b: Host | None) -> str:
    if b is None:
        return ""
    if not (numpy.isfinite(w).all() and numpy.isfinite(b).all()):
        return "Angle undefined: not all entries are finite"
    if not (w.any() and b.any()):
        return "Angle undefined: W or B is zero"
    angle = float(metrics.angle(backend.asarray(w, "float64"), backend.asarray(b, "float64")))
    ratio = numpy.linalg.norm(b) / numpy.linalg.norm(w)
    return (
        f"Angle {angle:.1f}° (chance: 90°), {100 * _agreement(w, b):.0f} % of the signs agree (chance: 50 %), "
        f"norm(B) / norm(W) = {ratio:#.3g}"
    )


def _agreement(w: Host, b: Host) -> float:
    return float(metrics.sign_agreement(backend.asarray(w, "float64"), backend.asarray(b, "float64")))


def _limit(*arrays: Host | None) -> tuple[float, bool]:
    """(the limit of the colour scale shared by all arrays, whether entries exceed it). Above 1000 entries it is the
    99.5 % quantile, so that a few outliers do not reduce the contrast of the rest."""
    sizes = numpy.abs(numpy.concatenate([a[numpy.isfinite(a)] for a in arrays if a is not None]))
    largest = float(sizes.max(initial=0))
    limit = float(numpy.quantile(sizes, 0.995)) if sizes.size > 1000 else largest
    return limit or largest or 1.0, 0 < limit < largest


def _height(rows: int, columns: int, width: float) -> float:
    """The height in inches of a panel of this width: square entries if the page permits."""
    low, high = sorted((rows, columns))
    if high > LONG * low:
        return min(max(width * low / high, 0.5), 1.6)
    return min(width * rows / columns, 0.5 * rows, 3.0)


def _show(axes: Axes, matrix: Host, limit: float, transposed: bool = False, numbered: bool = True) -> AxesImage:
    shown = matrix.T if transposed else matrix
    bare(axes)
    for axis, count in ((axes.xaxis, shown.shape[1]), (axes.yaxis, shown.shape[0])):
        axis.set_ticks(range(count) if count <= NUMBERED else (0, count - 1))
    image = axes.imshow(shown, cmap=diverging(), vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if numbered and max(shown.shape) <= NUMBERED:
        shades = image.to_rgba(shown)
        for (row, column), value in numpy.ndenumerate(shown):
            axes.text(
                column, row, f"{value:.2f}".replace("-", "−"), ha="center", va="center", fontsize=SMALL,
                color=readable_on(shades[row, column]),
            )  # fmt: skip
    return image


def _label_axes(lowest: Any, leftmost: Any, transposed: bool) -> None:
    across, down = ("input", "output") if transposed else ("output", "input")
    for axes in lowest:
        axes.set_xlabel(across)
    for axes in leftmost:
        axes.set_ylabel(down)


def _add_colour_bar(figure: Figure, panels: Any, clipped: bool) -> None:
    """Draw one colour bar for all panels."""
    bar = figure.colorbar(panels[0].images[0], ax=panels, aspect=30, pad=0.015, extend="both" if clipped else "neither")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=SMALL)
    bar.locator = MaxNLocator(4, symmetric=True)
    bar.update_ticks()
