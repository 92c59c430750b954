"""The im2col diagram: a convolution as one matrix product on patches, with numbers computed by the engine."""

from __future__ import annotations

__all__ = ["im2col"]

from dataclasses import dataclass, replace

import numpy
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import backend
from ..layers.conv import Conv2d
from ..layers.windows import Pair, pad
from ..validation import check_int
from .matrices import Host, host
from .style import SMALL, WIDTH, colour, drawing, muted, readable_on, size

ROWS = 9  # maximum number of patches shown; if there are more, the first and the last ones
MAX_CELL = 0.36  # inches: the maximum side of a cell
GAP = 1.4  # cells between two grids
WIDE_CELL = 1.5  # cells: column width of y and of the maps, whose numbers have more digits


def im2col(
    height: int = 4,
    width: int = 4,
    kernel_size: int | Pair = 3,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    title: str = "",
    *,
    dark: bool = False,
) -> Figure:
    """A convolution as a matrix product: the windows of an image, flattened to rows, times the kernels as columns gives
    the maps. One kernel computes the sum, the other the right column minus the left one.

    All numbers are computed by the engine's own layer and can be checked by hand.

    Args:
        height, width: of the image, which has one channel and the pixels 1, 2, 3, ...
        kernel_size, stride, padding: as for `minifa.Conv2d`.
        title: a heading.

    Raises:
        ValueError: a kernel larger than the padded image, or an argument that `minifa.Conv2d` rejects.
    """
    height, width = check_int(height, "the height of an image"), check_int(width, "the width of an image")
    layer = Conv2d(1, 2, kernel_size, stride, padding, bias=False)
    rows, columns, _ = layer.infer((height, width, 1))
    layer.W = backend.asarray(_sum_and_difference(layer.kernel), layer.dtype)
    x = backend.asarray(numpy.arange(1.0, height * width + 1).reshape(1, height, width, 1), layer.dtype)
    image, patches = host(pad(x, layer.window[2], extra=layer.window[4]))[0, :, :, 0], host(layer.columns(x))
    W, maps = host(layer.W).reshape(-1, 2), host(layer.project(x, layer.W))[0]
    y = maps.reshape(-1, 2)

    grids = [
        _Grid("x", (height, width), image, tinted=True),
        _Grid("columns(x)", patches.shape, _shortened(patches), "→", tinted=True),
        _Grid("W", W.shape, W, "·"),
        _Grid("y", y.shape, _shortened(y), "=", cell_width=WIDE_CELL),
        _Grid("maps", maps.shape, maps[:, :, 0], "→", cell_width=WIDE_CELL, middle=-(rows + 1) / 2),
    ]
    right = 0.0
    for grid in grids:
        grid.left = right + (GAP if grid.sign else 0)
        right = grid.left + grid.across
    second = replace(grids[-1], name="", sign="", values=maps[:, :, 1], middle=(rows + 1) / 2)
    down = max(2 * rows + 1, *(len(grid.values) for grid in grids))
    cell = min(MAX_CELL, (WIDTH - 0.3) / right)
    facts = "Each window of x is a row of columns(x), each kernel a column of W, each column of y a map"
    with drawing(cell * down + 0.6, title, facts, dark=dark) as figure:
        axes = figure.subplots()
        axes.axis("off")
        axes.set(xlim=(-0.1, (WIDTH - 0.25) / cell), ylim=(down / 2 + 0.1, -down / 2 - 0.5 / cell), aspect="equal")
        for grid in (*grids, second):
            grid.draw(axes, cell)
        x_grid, patches_grid, _, y_grid, first = grids
        # The first and the last window are marked in every grid.
        for number, shade in {0: colour(1), len(patches) - 1: colour(2)}.items():
            i, j = divmod(number, columns)
            line = len(y_grid.values) - 1 if number else 0
            x_grid.frame(axes, (i * layer.stride[0], j * layer.stride[1]), layer.kernel, shade)
            patches_grid.frame(axes, (line, 0), (1, patches.shape[1]), shade)
            y_grid.frame(axes, (line, 0), (1, 2), shade)
            for grid in (first, second):
                grid.frame(axes, (i, j), (1, 1), shade)
    return figure


def _sum_and_difference(kernel: Pair) -> Host:
    W = numpy.zeros((*kernel, 1, 2))
    W[..., 0] = 1
    W[:, 0, :, 1] -= 1
    W[:, -1, :, 1] += 1
    return W


def _shortened(rows: Host) -> Host:
    """The rows if there are at most `ROWS`; else the first and the last, with a row of NaN for those omitted."""
    if len(rows) <= ROWS:
        return rows
    gap = numpy.full((1, rows.shape[1]), numpy.nan)
    return numpy.concatenate([rows[: ROWS // 2], gap, rows[ROWS // 2 - ROWS + 1 :]])


@dataclass
class _Grid:
    """A grid of numbers with a heading, in units of a cell; vertically centred at ``middle``, with ``sign`` (an
    operator) to its left."""

    name: str
    shape: tuple[int, ...]
    values: Host
    sign: str = ""
    tinted: bool = False
    cell_width: float = 1.0
    middle: float = 0.0
    left: float = 0.0

    @property
    def across(self) -> float:
        return self.values.shape[1] * self.cell_width

    @property
    def top(self) -> float:
        return self.middle - len(self.values) / 2

    def draw(self, axes: Axes, cell: float) -> None:
        """Draw the grid. ``cell`` is the side of a cell in inches; numbers are omitted if the longest does not fit."""
        texts = numpy.vectorize("{:g}".format)(self.values)
        fits = self.cell_width * cell > 0.07 * max(map(len, texts.flat)) + 0.03
        page = rcParams["axes.facecolor"]
        tints = LinearSegmentedColormap.from_list("tints", [page, colour(0)])
        for (i, j), value in numpy.ndenumerate(self.values):
            left, top = self.left + j * self.cell_width, self.top + i
            centre = {"x": left + self.cell_width / 2, "y": top + 0.5, "ha": "center", "va": "center"}
            if numpy.isnan(value):
                axes.text(s="⋮", color=muted(), **centre)
                continue
            shade = tints(0.7 * value / numpy.nanmax(self.values)) if self.tinted else page
            axes.add_patch(
                Rectangle((left, top), self.cell_width, 1, facecolor=shade, edgecolor=rcParams["grid.color"])
            )
            if fits:
                axes.text(s=texts[i, j].replace("-", "−"), fontsize=SMALL, color=readable_on(shade), **centre)
        if self.sign:
            axes.text(self.left - GAP / 2, 0, self.sign, ha="center", va="center", fontsize=13)
        if self.name:
            axes.annotate(
                f"{self.name}\n", (self.left, self.top), (0, 4), textcoords="offset points", fontweight="bold"
            )
            axes.annotate(
                size(self.shape), (self.left, self.top), (0, 4), textcoords="offset points", fontsize=9, color=muted()
            )

    def frame(self, axes: Axes, corner: tuple[int, int], extent: tuple[int, int], shade: str) -> None:
        """Draw a thick frame around a block of cells; corner and extent in rows and columns."""
        place = self.left + corner[1] * self.cell_width, self.top + corner[0]
        axes.add_patch(
            Rectangle(
                place, extent[1] * self.cell_width, extent[0], fill=False, edgecolor=shade, linewidth=2.2, zorder=3
            )
        )
