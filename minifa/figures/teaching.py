"""Pictures for teaching: a matrix product with its shapes to scale, and matrices at several times of training."""

from __future__ import annotations

__all__ = ["products", "snapshots"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..registry import unknown
from ..validation import check_list, check_mapping, check_str
from .matrices import Host, host
from .style import SMALL, WIDTH, bare, colour, diverging, drawing, muted, size

SIGNS = ("@", "=", "+", "-", "∝", "≈")
LARGEST_CELL, SMALLEST_CELL = 0.07, 0.003  # inches: the side of an entry
SLOT, SIGN = 0.6, 0.34  # inches: the least width of a matrix with its name, and the width of a sign
ABOVE, LINE = 0.42, 0.3  # inches: the name and shape above a matrix, and a heading
HEIGHT = 7.0  # inches: the largest height of all equations together


def products(equations: Mapping[str, str], arrays: Mapping[str, Any], title: str = "", *, dark: bool = False) -> Figure:
    """Matrix equations as pictures: every matrix as a box of its shape, to scale, with its entries in colour. Each has
    its own colour scale: blue is negative, orange positive.

    Args:
        equations: a heading for every equation, and the equation as in the code: names of ``arrays``, with ``.T`` for
            the transpose, and the signs @ = + - ∝ ≈, all separated by spaces.
        arrays: the matrices by name, (rows, columns), on the host or the backend. The arithmetic is not checked.
        title: a heading for the figure.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an unknown name in an equation, no equation, an array that is not a matrix, or matrices that do not
            fit on a page.

    >>> x, W = np.eye(2), np.ones((2, 3))
    >>> figure = mf.figures.products({"forward": "h = x @ W"}, {"x": x, "W": W, "h": x @ W})
    >>> [text.get_text() for text in figure.axes[0].texts][1:3]
    ['h\\n2 × 3', '=']
    """
    known = {check_str(name, "a name"): _matrix(array, name) for name, array in check_mapping(arrays, "arrays").items()}
    rows = {
        check_str(heading, "a heading"): _terms(check_str(equation, "an equation"), known)
        for heading, equation in check_mapping(equations, "equations").items()
    }
    if not rows:
        raise ValueError("equations must have at least one equation, got none")
    cell = _cell(list(rows.values()))
    heights = [_height(terms, cell) for terms in rows.values()]
    with drawing(sum(heights) + LINE * (len(rows) - 1) + 0.1, check_str(title, "a title"), dark=dark) as figure:
        axes = figure.subplots()
        axes.axis("off")
        top = 0.0
        for (heading, terms), height in zip(rows.items(), heights, strict=True):
            axes.text(0, top, heading, va="top", fontweight="bold", color=colour(0))
            _draw_row(axes, terms, top - LINE - ABOVE, cell)
            top -= height + LINE
        axes.set(xlim=(-0.05, WIDTH - 0.25), ylim=(top + LINE - 0.05, 0.05), aspect="equal")
    return figure


def snapshots(
    matrices: Mapping[str, Sequence[Any]],
    times: Sequence[str],
    notes: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    *,
    dark: bool = False,
) -> Figure:
    """Matrices at several times of training: a row of pictures for each matrix, a column for each time. Each picture
    has its own colour scale, so that patterns can be compared although the entries grow.

    Args:
        matrices: for each name the matrices (rows, columns), one for each time, on the host or the backend.
        times: a heading for every column.
        notes: for some of the names a text below each picture, one for each time.
        title: a heading.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: no matrix or no time, an array that is not a matrix, a row whose matrices differ in shape, notes for
            an unknown name, or a number of matrices or notes other than the number of times.

    >>> W = [np.eye(3), 2 * np.eye(3)]
    >>> figure = mf.figures.snapshots({"W": W}, ["before", "after"], {"W": ["norm 1.7", "norm 3.5"]})
    >>> [panel.get_title() for panel in figure.axes]
    ['before', 'after']
    """
    times = check_list(times, str, "the times")
    rows = {
        check_str(name, "a name"): [
            _matrix(array, name) for array in check_list(row, object, f"the matrices of {name}")
        ]
        for name, row in check_mapping(matrices, "matrices").items()
    }
    texts = {
        name: check_list(row, str, f"the notes of {name}") for name, row in check_mapping(notes or {}, "notes").items()
    }
    if not rows or not times:
        raise ValueError(f"need at least one matrix and one time, got {len(rows)} and {len(times)}")
    for name in texts:
        if name not in rows:
            raise ValueError(unknown(rows, name, "matrix"))
    for name, row in (*rows.items(), *texts.items()):
        if len(row) != len(times):
            raise ValueError(f"{name!r} has {len(row)} entries for {len(times)} times")
    for name, row in rows.items():
        if len({matrix.shape for matrix in row}) > 1:
            raise ValueError(
                f"the matrices of {name!r} must have one shape, got {[size(matrix.shape) for matrix in row]}"
            )
    down, across = (max(row[0].shape[axis] for row in rows.values()) for axis in (0, 1))
    cell = min((WIDTH - 0.9) / len(times) / across - 0.1 / across, 3.0 / down)
    lines = [row[0].shape[0] for row in rows.values()]
    height = sum(lines) * cell + LINE * (1 + len(rows)) + 0.1
    with drawing(height, check_str(title, "a title"), dark=dark) as figure:
        panels = figure.subplots(len(rows), len(times), squeeze=False, gridspec_kw={"height_ratios": lines})
        for (name, row), line in zip(rows.items(), panels, strict=True):
            for matrix, axes, note in zip(row, line, texts.get(name, [""] * len(times)), strict=True):
                limit = _largest(matrix)
                bare(axes)
                axes.imshow(matrix, cmap=diverging(), vmin=-limit, vmax=limit, interpolation="nearest")
                axes.set(xticks=[], yticks=[], anchor="N")
                axes.set_xlabel(note, fontsize=SMALL)
            line[0].set_ylabel(f"{name}\n{size(row[0].shape)}")
        for axes, time in zip(panels[0], times, strict=True):
            axes.set_title(time, loc="center", fontsize=10)
    return figure


def _matrix(array: Any, name: str) -> Host:
    matrix = host(array)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"{name!r} must be a matrix (rows, columns) with entries, got the shape {size(matrix.shape)}")
    return matrix


def _largest(matrix: Host) -> float:
    """The limit of a matrix's own colour scale."""
    return float(numpy.abs(matrix[numpy.isfinite(matrix)]).max(initial=0)) or 1.0


def _terms(equation: str, known: Mapping[str, Host]) -> list[tuple[str, Host | None]]:
    """The terms of an equation: a sign with None, or a name with its matrix."""
    terms: list[tuple[str, Host | None]] = []
    for term in equation.split():
        name = term.removesuffix(".T")
        if term in SIGNS:
            terms.append((term, None))
        elif name in known:
            terms.append((term.replace(".T", "ᵀ"), known[name].T if term.endswith(".T") else known[name]))
        else:
            raise ValueError(unknown(known, name, "name in an equation"))
    if all(matrix is None for _, matrix in terms):
        raise ValueError(f"an equation must have at least one matrix, got {equation!r}")
    return terms


def _width(terms: Sequence[tuple[str, Host | None]], cell: float) -> float:
    return sum(SIGN if matrix is None else max(SLOT, cell * matrix.shape[1]) for _, matrix in terms)


def _height(terms: Sequence[tuple[str, Host | None]], cell: float) -> float:
    return LINE + ABOVE + cell * max(len(matrix) for _, matrix in terms if matrix is not None)


def _cell(rows: Sequence[Sequence[tuple[str, Host | None]]]) -> float:
    """The largest side of an entry for which all rows fit on a page, in inches."""
    for cell in numpy.linspace(LARGEST_CELL, SMALLEST_CELL, 100).tolist():
        if (
            max(_width(terms, cell) for terms in rows) <= WIDTH - 0.35
            and sum(_height(terms, cell) for terms in rows) <= HEIGHT
        ):
            return float(cell)
    raise ValueError("the equations do not fit on a page: use smaller matrices, or fewer of them")


def _draw_row(axes: Axes, terms: Sequence[tuple[str, Host | None]], top: float, cell: float) -> None:
    """Draw the terms of an equation from the left; the matrices hang down from ``top``."""
    left = 0.0
    for name, matrix in terms:
        width = _width([(name, matrix)], cell)
        if matrix is None:
            axes.text(left + width / 2, top - 0.14, name, ha="center", va="center", fontsize=13)
        else:
            rows, columns = matrix.shape
            at = left + (width - cell * columns) / 2
            limit = _largest(matrix)
            axes.imshow(
                matrix, extent=(at, at + cell * columns, top - cell * rows, top), cmap=diverging(), vmin=-limit,
                vmax=limit, interpolation="nearest",
            )  # fmt: skip
            axes.add_patch(
                Rectangle(
                    (at, top - cell * rows), cell * columns, cell * rows, fill=False, edgecolor=muted(), linewidth=0.8
                )
            )
            axes.text(
                left + width / 2, top + 0.05, f"{name}\n{size(matrix.shape)}", ha="center", va="bottom", fontsize=9
            )
        left += width
