"""Classification: the confusion matrix of a classifier, and its accuracy on several kinds of splits."""

from __future__ import annotations

__all__ = ["confusion", "split_accuracies"]

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import backend
from ..experiments.tables import names_of_classes
from ..training.history import Row
from ..validation import check_between, check_list
from .style import SMALL, bare, drawing, look, muted, readable_on

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


def split_accuracies(rows: Sequence[Row], chances: Sequence[float], title: str = "", *, dark: bool = False) -> Figure:
    """Accuracy of a classifier for each kind of split and set of features, as `minifa which-rule` reports it; in a
    second panel with the merged classes, if there are any. Bars: one sd of the random splits.

    Args:
        rows: rows of `minifa.experiments.which_rule.classify`.
        chances: the accuracy of chance in each panel, one or two numbers.
        title: a heading.

    Raises:
        TypeError: rows that are not a list of dictionaries, or chances that are not numbers.
        ValueError: no rows, or a row without one of the entries.

    >>> row = {"features": "both", "points": "all", "split": "75/25", "splits": 10, "accuracy": 0.7, "sd": 0.1}
    >>> len(mf.figures.split_accuracies([row], [0.25]).axes)
    1
    """
    rows = check_list(rows, dict, "rows must be a list of dictionaries, as minifa.experiments.which_rule gives them")
    chances = check_list(chances, (int, float), "chances must be a list of one or two accuracies")
    panels = [("", "All classes"), ("merged_", "With merged classes")][: len(chances)]
    if not rows or not panels or len(chances) > len(panels):
        raise ValueError(f"rows and one or two accuracies of chance are needed, got {len(rows)} and {len(chances)}")
    chances = [check_between(one, "an accuracy of chance", 0, 1) for one in chances]
    needed = ("features", "points", "split", *(f"{prefix}accuracy" for prefix, _ in panels))
    if missing := [key for row in rows for key in needed if key not in row]:
        raise ValueError(f"a row must have {', '.join(needed)}; one has no {missing[0]}")
    splits = list(dict.fromkeys(row["split"] for row in rows))
    with drawing(0.62 * len(splits) + 1.3, title, dark=dark) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for one, (prefix, name), chance in zip(axes, panels, chances, strict=True):
            _draw_accuracies(one, rows, splits, prefix, dark)
            one.axvline(chance, color=muted(), linestyle=":", label="chance")
            one.set(xlim=(0, 1.02), xlabel="accuracy")
            one.set_title(name)
        axes[0].set_yticks(range(len(splits)), [name.replace("_", " ") for name in splits])
        axes[0].set_ylim(len(splits) - 0.5, -0.5)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_accuracies(axes: Axes, rows: Sequence[Row], splits: Sequence[str], prefix: str, dark: bool) -> None:
    """A marker for each row: the kind of split up, the accuracy across; sets of features below each other."""
    sets = list(dict.fromkeys((row["features"], row["points"]) for row in rows))
    for number, (kind, points) in enumerate(sets):
        some = [row for row in rows if (row["features"], row["points"]) == (kind, points)]
        heights = [splits.index(row["split"]) + 0.6 * ((number + 0.5) / len(sets) - 0.5) for row in some]
        label = kind if points == "all" else f"{kind}, {points} point{'s' * ('and' in points)}"
        appearance = look(number, dark=dark)
        axes.plot([row[f"{prefix}accuracy"] for row in some], heights, **{**appearance, "linestyle": ""}, label=label)
        for row, height in zip(some, heights, strict=True):
            if "/" in row["split"] and row.get(f"{prefix}sd"):
                axes.errorbar(
                    row[f"{prefix}accuracy"], height, xerr=row[f"{prefix}sd"], color=appearance["color"], fmt="none"
                )
