"""The curves of one training, or of several, over the epochs."""

from __future__ import annotations

__all__ = ["history_curves"]

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..registry import unknown
from ..training.history import History
from ..validation import check_list, check_type
from .curves import _fit_losses, _format_angles, _format_epochs, _format_local_losses, mark_phases
from .style import LINES, drawing, look, muted

A_HISTORY = "histories must be a minifa.training.History, a list of them, or a dictionary from label to History"
DEFAULT = ("loss", "accuracy")
PARTS = ("train", "validation", "test")
ACROSS = 3  # panels side by side


def history_curves(
    histories: History | Sequence[History] | Mapping[str, History],
    columns: Sequence[str] | None = None,
    title: str = "",
    *,
    dark: bool = False,
) -> Figure:
    """Measurements over the epochs: a panel for each quantity. With one history, a line for each of its columns; with
    several, a colour for each history and a line style for each column.

    Args:
        histories: a history, a list of histories (labelled 0, 1, ...), or a dictionary from label to history.
        columns: what is drawn: quantities, such as ``"loss"``, ``"accuracy"``, ``"lr"`` or ``"weight_angle"``, which
            stand for all columns of their kind, or single columns, ``"linear2.weight_angle"``. None: loss and accuracy.
        title: a heading.

    Raises:
        TypeError: something else than histories, or columns that are not a list of names.
        ValueError: no history, no epochs, or a column that no history has.

    >>> one = mf.training.History([{"epoch": 0, "train_loss": 0.7}, {"epoch": 1, "train_loss": 0.5, "lr": 0.1}])
    >>> figure = mf.figures.history_curves({"bp": one, "fa": one}, columns=["loss", "lr"])
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Loss', 'Lr']
    """
    by_label = _labelled(histories)
    panels = _panels(by_label, columns)
    down = math.ceil(len(panels) / ACROSS)
    with drawing(2.9 * down, title, dark=dark) as figure:
        grid = figure.subplots(down, min(len(panels), ACROSS), squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, (quantity, names) in zip(grid, panels.items(), strict=False):
            _draw(axes, by_label, quantity, names, dark)
        if len(by_label) > 1:
            handles = [Line2D([], [], label=label, **look(i, dark)) for i, label in enumerate(by_label)]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure


def _labelled(histories: Any) -> dict[str, History]:
    if isinstance(histories, History):
        histories = {"": histories}
    elif not isinstance(histories, Mapping):
        histories = dict(enumerate(check_list(histories, History, A_HISTORY)))
    by_label = {str(label): check_type(history, History, A_HISTORY) for label, history in histories.items()}
    if not any(by_label.values()):
        raise ValueError("there is no epoch to draw: the histories are empty")
    return by_label


def _panels(histories: Mapping[str, History], columns: Sequence[str] | None) -> dict[str, list[str]]:
    """The columns of each panel, by quantity."""
    known: dict[str, list[str]] = {}
    for column in dict.fromkeys(name for history in histories.values() for name in history.columns()):
        if column != "epoch" and any(_is_measured(value) for h in histories.values() for value in h.column(column)):
            known.setdefault(quantity_of(column), []).append(column)
    if not known:
        raise ValueError("the histories have no number to draw but the epoch")
    if columns is None:
        return {quantity: known[quantity] for quantity in DEFAULT if quantity in known} or known
    single = [column for group in known.values() for column in group]
    chosen: dict[str, list[str]] = {}
    for name in check_list(columns, str, "the columns of a figure must be a list of names, as ['loss', 'lr']"):
        if name not in known and name not in single:
            raise ValueError(unknown([*known, *single], name, "column"))
        chosen.setdefault(quantity_of(name), []).extend(known.get(name, [name]))
    if not chosen:
        raise ValueError("the list of columns must not be empty: name a quantity, or leave it out")
    return {quantity: list(dict.fromkeys(group)) for quantity, group in chosen.items()}


def quantity_of(column: str) -> str:
    """The quantity that a column measures, without its layer or its part of the data.

    >>> from minifa.figures.history import quantity_of
    >>> [quantity_of(column) for column in ("train_loss", "linear2.weight_angle", "images_per_second")]
    ['loss', 'weight_angle', 'images_per_second']
    """
    layer, _, quantity = column.rpartition(".")
    part, _, measured = column.partition("_")
    return quantity if layer else measured if part in PARTS else column


def _draw(axes: Axes, histories: Mapping[str, History], quantity: str, columns: Sequence[str], dark: bool) -> None:
    several, last = len(histories) > 1, 1
    for i, history in enumerate(histories.values()):
        epochs = [row.get("epoch", number) for number, row in enumerate(history)]
        last, every = max(last, *epochs, 1), math.ceil(len(epochs) / 20)
        for j, column in enumerate(columns):
            values = [value if _is_measured(value) else math.nan for value in history.column(column)]
            if not all(map(math.isnan, values)):
                style = look(i, dark) | _line(j) if several else look(j, dark)
                axes.plot(epochs, values, label=_line_name(column), markersize=3.5, markevery=every, **style)
    axes.set(title=quantity.replace("_", " ").capitalize(), xlabel="epoch")
    _format_epochs(axes, last)
    mark_phases(axes, histories.values())
    if quantity == "loss":
        _fit_losses(axes, [history[0] for history in histories.values() if history])
    elif quantity == "local_loss":
        _format_local_losses(axes)
    elif quantity in ("accuracy", "local_accuracy"):
        axes.set_ylim(0, 1.02)
    elif quantity.endswith("_angle"):
        _format_angles([axes])
    if len(columns) > 1:
        handles = axes.get_lines()[: len(columns)]
        if several:  # the colours stand for the histories
            handles = [
                Line2D([], [], color=muted(), label=_line_name(one), **_line(j)) for j, one in enumerate(columns)
            ]
        axes.legend(handles=handles, ncols=2 if len(columns) > 5 else 1)


def _line(j: int) -> dict[str, Any]:
    """The line style of the j-th column."""
    return {"linestyle": LINES[j % len(LINES)]}


def _line_name(column: str) -> str:
    """The layer, or the part of the data, that a column belongs to."""
    quantity = quantity_of(column)
    return column.removesuffix(f".{quantity}").removesuffix(f"_{quantity}")


def _is_measured(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)
