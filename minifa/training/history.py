"""The history of a training: one row of measurements per epoch."""

from __future__ import annotations

__all__ = ["History"]

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import representations
from ..errors import DataFileError
from ..frames import to_frame
from ..storage import csv_files

Row = dict[str, Any]
SHOWN = ("train_loss", "train_accuracy", "validation_accuracy", "test_accuracy")  # in the `repr` of a history


class History(list[Row], representations.HtmlRepr):
    """One row per epoch: a dictionary of measurements. ``diverged`` is 1 in the row of an epoch whose loss was not
    finite or that was useless (see `minifa.training.divergence`), ``stopped_early`` in the row of an epoch with which a
    callback ended training, ``phase`` the name of the epoch's phase (see `minifa.Trainer.begin_phase`). Rules with
    local losses (``minifa.rules.Rule.local``) add the means over the epoch's examples, ``relu1.local_loss`` and
    ``relu1.local_accuracy``.

    >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
    >>> history.columns(), history.column("train_loss")
    (['epoch', 'train_loss'], [None, 0.5])
    """

    def __repr__(self) -> str:
        if not self:
            return "<History: no epochs>"
        row = self[-1]
        measured = [f"{key} {row[key]:.4g}" for key in SHOWN if isinstance(row.get(key), (int, float))]
        epoch = f"epoch {row.get('epoch', len(self) - 1)}"
        return f"<History: {', '.join([epoch, *measured])}>"

    def columns(self) -> list[str]:
        """All column names, in order of first appearance."""
        return list(dict.fromkeys(key for row in self for key in row))

    def column(self, name: str) -> list[Any]:
        """The values of one column over the epochs; None where it was not measured."""
        return [row.get(name) for row in self]

    @property
    def diverged(self) -> bool:
        """Whether the last epoch diverged: its loss was not finite, or it was useless.

        >>> rows = {"epoch": 0}, {"epoch": 1, "train_loss": 7e9, "diverged": 1}, {"epoch": 2, "train_loss": 0.5}
        >>> mf.training.History(rows).diverged, mf.training.History(rows[:2]).diverged
        (False, True)
        """
        return bool(self) and bool(self[-1].get("diverged", not math.isfinite(self[-1].get("train_loss", 0.0))))

    @property
    def stopped_early(self) -> bool:
        """Whether a callback, such as `minifa.training.EarlyStopping`, ended training with the last epoch."""
        return bool(self) and bool(self[-1].get("stopped_early", False))

    def plot(self, columns: Sequence[str] | None = None, title: str = "", *, dark: bool = False) -> Any:
        """The curves over the epochs as a matplotlib Figure, drawn by `minifa.figures.history_curves`.

        Args:
            columns: what is drawn: quantities, such as ``"loss"``, ``"accuracy"``, ``"lr"`` or ``"weight_angle"``,
                which stand for all columns of their kind, or single columns, ``"linear2.weight_angle"``. None: loss and
                accuracy.
            title: a heading.
            dark: whether to draw for a dark background.

        Raises:
            TypeError: columns that are not a list of names.
            ValueError: no epochs, or a column that the history does not have.

        >>> history = mf.training.History([{"epoch": 0, "train_loss": 0.7}, {"epoch": 1, "train_loss": 0.5}])
        >>> [axes.get_title(loc="left") for axes in history.plot().axes]
        ['Loss']
        """
        return representations.figure(self, columns=columns, title=title, dark=dark)

    def to_frame(self) -> Any:
        """The epochs as a ``pandas.DataFrame``, one row each; a list of dictionaries where pandas is not installed.

        >>> len(mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}]).to_frame())
        2
        """
        return to_frame(self)

    def save_csv(self, path: str | Path) -> None:
        """Write a CSV file with a header and one line per epoch; cells without a measurement are empty."""
        csv_files.write(path, self.columns(), self)

    @classmethod
    def read_csv(cls, path: str | Path) -> History:
        """Read a file written by `save_csv`: numbers as int or float, other cells as str, empty cells without an entry.
        An incomplete last line, as left by a crash, is ignored.

        Raises:
            FileNotFoundError: the file does not exist.
            DataFileError: the file is not such a table: damaged, or with lines that do not match its header.
        """
        lines = csv_files.read(path)
        if not lines:
            raise DataFileError(f"'{path}' is not a table of epochs: it has no complete line")
        columns = lines.pop(0)
        if len(set(columns)) < len(columns) or any(len(line) != len(columns) for line in lines):
            raise DataFileError(
                f"'{path}' is not a table of epochs: it has a duplicate column or a line that does not match its header"
            )
        return cls({key: _read_cell(cell) for key, cell in zip(columns, line, strict=True) if cell} for line in lines)

    def continues(self, rows: Sequence[Row]) -> bool:
        """Whether the rows belong to the same training at an earlier or later time: all common values are equal.

        >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
        >>> history.continues(history[:1]), history.continues([{"epoch": 0}, {"epoch": 1, "train_loss": 0.25}])
        (True, False)
        """
        both = list(zip(self, rows, strict=False))
        return bool(both) and all(
            _are_alike(mine[key], theirs[key]) for mine, theirs in both for key in mine.keys() & theirs.keys()
        )


def best_row(rows: Sequence[Row]) -> Row | None:
    """The first row with the best validation accuracy (without classes: validation loss) of the last phase; None if
    there is none.

    >>> from minifa.training.history import best_row
    >>> best_row([{"epoch": 0, "validation_loss": 3.0}, {"epoch": 1, "validation_loss": 2.0}])["epoch"]
    1
    """
    key, sign = ("validation_accuracy", 1) if "validation_accuracy" in rows[-1] else ("validation_loss", -1)
    phase = [row for row in rows if row.get("phase") == rows[-1].get("phase")]
    measured = [row for row in phase if not math.isnan(row.get(key, math.nan))]
    return max(measured, key=lambda row: sign * row[key], default=None)


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two cells are equal; one of them may have been written with float32 precision."""
    try:
        return math.isclose(one, other, rel_tol=1e-6) or str(one) == str(other)
    except TypeError:  # strings
        return str(one) == str(other)


def _read_cell(cell: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(cell)
        except ValueError:
            continue
    return cell
