"""The confusion matrix of a classifier."""

from __future__ import annotations

__all__ = ["confusion"]

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.figure import Figure

from .. import backend
from ..experiments.tables import names_of_classes
from .style import SMALL, bare, drawing, readable_on

NUMBERED = 20  # maximum number of classes whose counts are printed in the cells
NAMED = 40  # maximum number of classes whose names are printed
PER_INCH = 12  # characters of the names below the matrix; more are rotated


def confusion(matrix: Any, class_names: Sequence[str] = (), title: str = "", *, dark: bool = False) -> Figure:
    """A confusion matrix: the colour of a cell is the share of its row, the true class; the number is the count.

    Args:
        matrix: counts (C, C) as of `minifa.metrics.confusion`, with the true classes as rows.
        class_names: C names, such as ``data.classes``; empty: the numbers 0..C-1.
        title: a heading above the accuracy.

    Raises:
        TypeError: counts that are not numbers; names that are not strings.
        ValueError: the matrix is not square, has negative or no counts, or the number of names is not C.

    >>> figure = mf.figures.confusion(mf.metrics.confusion([0, 0, 1], [0, 1, 1]), ["cat", "dog"])
    """
    counts = backend.numbers_of(matrix, "a confusion matrix")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"a confusion matrix must have shape (C, C), got {counts.shape}")
    if not numpy.isfinite(counts).all() or (counts < 0).any() or not counts.any():
        raise ValueError("a confusion matrix must hold counts of at least one example, none below 0")
    n = len(counts)
    names = names_of_classes(class_names, n)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / numpy.where(totals > 0, totals, 1)
    facts = f"accuracy {numpy.trace(counts) / counts.sum():.3f}, {counts.sum():,} examples"
    side = 2.2 + 0.28 * min(n, NUMBERED)
    with drawing(side, title, facts, dark=dark, width=side + 1.4) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        bare(axes)
        axes.set(xlabel="predicted class", ylabel="true class")
        places = range(0, n, -(-n // NAMED))
        rotation = 90 if len(places) * max(map(len, names)) > PER_INCH * side else 0
        axes.set_xticks(places, [names[i] for i in places], rotation=rotation)
        axes.set_yticks(places, [names[i] for i in places])
        if n <= NUMBERED:
            shades = image.to_rgba(shares)
            for row, column in zip(*numpy.nonzero(counts), strict=True):
                colour = readable_on(shades[row, column])
                text = f"{counts[row, column]:g}"
                axes.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=colour)
        figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    return figure
