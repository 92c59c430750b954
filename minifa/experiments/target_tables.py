"""The table of targets that `minifa reproduce` adds for rows that measured them (training.targets): the scores with
their standard errors, and the angles of the targets to backpropagation's and to the Gauss-Newton direction."""

from __future__ import annotations

__all__: list[str] = []

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..text import table
from ..training import History
from ..training.history import Row
from .study import Outcome, folder_of
from .tables import layers_with

# Column of the table: the quantity and the epoch (-1: the last) of its angles.
ANGLES = {
    "bp: start": ("bp_angle", 0),
    "epoch 1": ("bp_angle", 1),
    "end": ("bp_angle", -1),
    "GN: end": ("gn_angle", -1),
}
NOTE = (
    "mean ± standard error over seeds; bp, GN: angles in degrees of h - t to those of backpropagation and of "
    "Gauss-Newton, of the layers below the output, lowest first (at the activations, or, under rules that compute "
    "their errors there, at the weighted layers); seconds: of training, without measurements, per run"
)


def rows_of(summary: Sequence[Row], outcomes: Sequence[Outcome]) -> list[Row]:
    """One row for each row of the table whose runs measured targets, with means over seeds: ``mean`` and
    ``standard_error`` of the score, ``seconds`` of training per run, and for each layer below the output
    ``LAYER.QUANTITY.EPOCH``, as ``tanh1.bp_angle.0``; the last epoch is called ``end``.

    Args:
        summary: rows of `minifa.experiments.reproduce.rows_of`.
        outcomes: outcomes of the runs.
    """
    histories: dict[str, list[History]] = {}
    for one in outcomes:
        if one.result is not None and one.task.experiment.targets:
            histories.setdefault(one.task.name, []).append(History.read_csv(folder_of(one.task) / "history.csv"))
    rows = []
    for line in summary:
        if some := histories.get(line["row"]):
            row = {key: line[key] for key in ("row", "rule", "seeds", "mean")}
            if "sd" in line:
                row["standard_error"] = line["sd"] / math.sqrt(line["seeds"])
            row["seconds"] = statistics.fmean(sum(one.get("seconds", 0.0) for one in history) for history in some)
            rows.append(row | _angles(some))
    return rows


def _angles(histories: Sequence[History]) -> Row:
    """Means over seeds of the angles; those that no seed has are left out."""
    means = {}
    measured = (layers_with(row, "target_size") for history in histories for row in history)
    for layer in max(measured, key=len)[:-1]:  # outputs of zero, as of initial weights of zero, have no size
        for quantity, epoch in ANGLES.values():
            column = f"{layer}.{quantity}"
            known = [history[epoch][column] for history in histories if column in history[epoch]]
            if known:
                means[f"{column}.{'end' if epoch < 0 else epoch}"] = statistics.fmean(known)
    return means


def text_of(rows: Sequence[Row], measure: str) -> str:
    """Format the rows of `rows_of`; `NOTE` explains the columns.

    Args:
        rows: at least one row.
        measure: of the table, as "error".
    """
    lines = [("row", measure, *ANGLES, "seconds")]
    for row in rows:
        score = f"{row['mean']:.2f}" + (f" ± {row['standard_error']:.2f}" if "standard_error" in row else "")
        angles = (_cell(row, quantity, epoch) for quantity, epoch in ANGLES.values())
        lines.append((row["row"], score, *angles, f"{row['seconds']:.1f}"))
    return table(lines, right_from=1)


def _cell(row: Mapping[str, Any], quantity: str, epoch: int) -> str:
    """The angles of the layers, lowest first: ``89 91 90``; "-" if there are none."""
    ending = f".{quantity}.{'end' if epoch < 0 else epoch}"
    return " ".join(f"{value:.0f}" for key, value in row.items() if key.endswith(ending)) or "-"
