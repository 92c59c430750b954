"""Weights W and feedback B: as matrices, as kernels, and by sign agreement."""

from __future__ import annotations

__all__ = ["kernels", "matrices", "signs"]

import math
import re
from typing import Any

import numpy
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from .. import backend, chance, metrics
from ..linalg import as_matrix
from .style import SMALL, bare, colour, diverging, drawing, muted, readable_on, size

Host = numpy.ndarray
KERNELS = 8  # maximum number of kernels shown along each side of a sheet
NUMBERED = 8  # maximum number of rows and columns of a matrix whose values are printed
SHOWN = 128  # maximum number of rows and columns of a matrix: cells of more would be smaller than a pixel
DOTS = 4000  # maximum number of entries in a scatter plot
UNTIED = 6  # axes of the W of a locally connected layer: its positions, then those of a kernel
LONG = 3  # matrices with a larger aspect ratio are drawn horizontally and stacked


def matrices(W: Any, B: Any, title: str = "", *, dark: bool = False) -> Figure:
    """W, B and their difference side by side on one colour scale, and the entries of B against those of W (if there are
    more than can be printed as numbers). The text has the angle, the share of equal signs and the ratio of the norms,
    with the values that chance gives.

    Long matrices are drawn horizontally, one above the other. If W has more rows than columns, these are the transposed
    matrices; the titles, the text and the axis labels say so.

    Args:
        W: (..., n_in, n_out), on the host or the backend; a kernel is shown as its matrix (fan_in, n_out). Only the
            first `SHOWN` rows and columns are shown; if there are more, the text says so.
        B: of W's shape. If there is none (None), or if it equals W, W is drawn alone, and the text says why.
        title: a heading above the text.

    Raises:
        ValueError: W and B have different shapes, or are not matrices or kernels.
    """
    w, b = _pair(W, B)
    alone = "No B of W's shape: the rule uses none, or has not computed it yet." if b is None else ""
    if b is not None and numpy.array_equal(w, b):
        b, alone = None, "B equals W."
    shape = as_matrix(w).shape
    rows, columns = (min(count, SHOWN) for count in shape)
    long, transposed = max(rows, columns) > LONG * min(rows, columns), rows > LONG * columns
    limit, clipped = _limit(w, b)
    height = _height(rows, columns, 6.3 if long else 2.0)
    facts = " ".join(filter(None, (alone, _describe(w, b), _describe_drawing(w, transposed))))
    shown = {"W": w} if b is None else {"W": w, "B": b, "W − B": w - b}
    with drawing((len(shown) if long else 1) * (height + 0.35) + 0.4, title, facts, dark=dark) as figure:
        panels, cloud = _panels(figure, len(shown), long, clouded=b is not None and max(shape) > NUMBERED)
        for axes, (name, array) in zip(panels, shown.items(), strict=True):
            _show(axes, as_matrix(array)[:SHOWN, :SHOWN], limit, transposed)
            name = re.sub(r"([WB])", r"$\\mathbf{\1}^{\\top}$", name) if transposed else name
            axes.set_title(f"{name}  {size(shape[::-1] if transposed else shape)}")
        _label_axes(panels[-1:] if long else panels, panels if long else panels[:1], transposed)
        _add_colour_bar(figure, panels, clipped)
        if cloud is not None and b is not None:
            _draw_cloud(cloud, w, b, limit)
    return figure


def _panels(figure: Figure, count: int, long: bool, clouded: bool) -> tuple[Any, Axes | None]:
    """Panels that share their axes, and at their right one for the scatter plot, or None."""
    ratios = ((5, 1.1) if long else (3.6, 1)) if clouded else (1,)
    grid = figure.add_gridspec(1, len(ratios), width_ratios=ratios)
    rows, columns = (count, 1) if long else (1, count)
    panels = grid[0].subgridspec(rows, columns).subplots(sharex=True, sharey=True, squeeze=False).ravel()
    return panels, figure.add_subplot(grid[1]) if clouded else None


def _draw_cloud(axes: Axes, w: Host, b: Host, limit: float) -> None:
    """A dot for every entry, evenly chosen if there are many: W across, B up."""
    step = math.ceil(w.size / DOTS)
    axes.scatter(w.ravel()[::step], b.ravel()[::step], s=4, color=muted(), alpha=0.5, linewidth=0)
    for line in (axes.axhline, axes.axvline):
        line(0, color=rcParams["axes.edgecolor"], linewidth=0.6)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="W", ylabel="B", anchor="N")
    axes.set_title("Entries" if step == 1 else f"1 of {step} entries")
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3, symmetric=True))


def _describe_drawing(w: Host, transposed: bool) -> str:
    """How the array is drawn, if not as it is."""
    rows, columns = as_matrix(w).shape
    parts = [f"The kernel {size(w.shape)} is shown as its matrix {size((rows, columns))}."] if w.ndim > 2 else []
    if w.ndim == UNTIED:
        each = f"{size(w.shape[:2])} positions, {size((math.prod(w.shape[2:-1]), columns))} each"
        parts = [f"The matrices of {each}, are shown one below the other."]
    parts += [f"Transposed to fit: W is {size((rows, columns))}."] if transposed else []
    counts = [f"{SHOWN} of {n:,} {what}" for n, what in ((rows, "inputs"), (columns, "outputs")) if n > SHOWN]
    parts += [f"Shown: the first {' and '.join(counts)}."] if counts else []
    return " ".join(parts)


def kernels(W: Any, B: Any = None, title: str = "", *, dark: bool = False) -> Figure:
    """Convolution kernels as tiles with gaps between them: one row of tiles per input channel, one column per output
    channel, numbered as in ``W[:, :, input, output]``. The kernels of B, if given, are drawn beside those of W (below
    them if the sheet is wide) on one colour scale.

    Of a locally connected layer the kernels of all positions from the first input to the first output channel are
    shown, each tile at its position.

    Args:
        W: (kH, kW, C_in, C_out) or, of a locally connected layer, (oH, oW, kH, kW, C_in, C_out); on the host or the
            backend. Only the first `KERNELS` channels (rows and columns of positions) are shown; if there are more, the
            text says so.
        B: of W's shape, or None.
        title: a heading.

    Raises:
        ValueError: W is not a kernel, or W and B have different shapes.
    """
    w, b = _pair(W, B)
    if w.ndim not in (4, UNTIED):
        raise ValueError(f"W must be a kernel (kH, kW, C_in, C_out), with or without positions, got {size(w.shape)}")
    limit, clipped = _limit(w, b)
    shown = {"W": w} if b is None else {"W": w, "B": b}
    rows, columns = tiled(_sheet(w)).shape
    across = 1 if 2 * rows <= columns else len(shown)
    down = len(shown) // across
    facts = " ".join(filter(None, (_describe(w, b), _omitted_kernels(w))))
    with drawing(down * (min(8 / across * rows / columns, 4.4) + 0.35) + 0.25, title, facts, dark=dark) as figure:
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (name, array) in zip(panels, shown.items(), strict=True):
            axes.set_title(f"{name}  {size(array.shape)}")
            _show(axes, tiled(_sheet(array)), limit, numbered=False)
            axes.set(aspect="equal")
            axes.spines[:].set_visible(False)
            _number_tiles(axes, _sheet(array).shape)
        for axes in panels[-across:]:
            axes.set_xlabel("output channel" if w.ndim == 4 else "column of the position")
        for axes in panels[::across]:
            axes.set_ylabel("input channel" if w.ndim == 4 else "row of the position")
        _add_colour_bar(figure, panels, clipped)
    return figure


def _sheet(kernel: Host) -> Host:
    """The kernel (kH, kW, C_in, C_out); of a locally connected layer (kH, kW, oH, oW) for the first channels."""
    return kernel if kernel.ndim == 4 else kernel[..., 0, 0].transpose(2, 3, 0, 1)


def tiled(kernel: Host) -> Host:
    """Kernels (kH, kW, C_in, C_out) as one sheet, of at most `KERNELS` channels per side. Between two kernels there is
    a row or a column of NaN."""
    kernel = kernel[:, :, :KERNELS, :KERNELS]
    height, width, c_in, c_out = kernel.shape
    framed = numpy.full((c_in, height + 1, c_out, width + 1), numpy.nan)
    framed[:, :-1, :, :-1] = kernel.transpose(2, 0, 3, 1)
    return framed.reshape(c_in * (height + 1), c_out * (width + 1))[:-1, :-1]


def _omitted_kernels(kernel: Host) -> str:
    if kernel.ndim == UNTIED:
        rows, columns = (min(count, KERNELS) for count in kernel.shape[:2])
        at = f"{rows * columns} of {math.prod(kernel.shape[:2])} positions"
        return f"Shown: input channel 0 to output channel 0, at {at}."
    c_in, c_out = kernel.shape[2:]
    shown = min(c_in, KERNELS) * min(c_out, KERNELS)
    return f"Shown: {shown} of {c_in * c_out:,} kernels." if shown < c_in * c_out else ""


def _number_tiles(axes: Axes, shape: tuple[int, ...]) -> None:
    """Write the numbers of the channels at the kernels."""
    height, width, c_in, c_out = shape
    for axis, tile, count in ((axes.xaxis, width, c_out), (axes.yaxis, height, c_in)):
        numbers = range(min(count, KERNELS))
        axis.set_ticks(
            [(tile + 1) * number + (tile - 1) / 2 for number in numbers], [str(number) for number in numbers]
        )


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
    rows, columns = (min(count, SHOWN) for count in product.shape)
    transposed = rows > LONG * columns
    facts = (
        f"{100 * _agreement(w, b):.1f} % of {product.size:,} signs agree (chance: {_chance_agreement(w, b)}, two "
        f"standard deviations). {_describe_drawing(w, transposed)}"
    )
    with drawing(_height(rows, columns, 7.4) + 0.7, title, facts, dark=dark) as figure:
        kinds = {  # only agreement has a prominent colour
            "disagree": (-1, "#3d3f3a" if dark else "#e8e4d9"),
            "zero in W or B": (0, colour(3)),
            "agree": (1, colour(2)),
        }
        axes = figure.subplots()
        image = _show(axes, product[:SHOWN, :SHOWN], 1.5, transposed, numbered=False)
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
    entries = chance.unrelated_entries(w, b)
    return (
        f"Angle {angle:.1f}° (chance: 90 ± {2 * chance.angle_sd(entries):.2g}°), {100 * _agreement(w, b):.0f} % of the "
        f"signs agree (chance: {_chance_agreement(w, b)}), norm(B) / norm(W) = {ratio:#.3g}. "
        f"Chance: ± 2 sd for {entries:,} unrelated entries."
    )


def _chance_agreement(w: Host, b: Host) -> str:
    """The share of equal signs of unrelated entries: 50 % and two standard deviations, of 50 % / sqrt(N) each."""
    return f"50 ± {100 / math.sqrt(chance.unrelated_entries(w, b)):.2g} %"


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
