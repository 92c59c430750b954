"""Scores from CSV files of any origin: runs.csv of `minifa compare`, table.csv and curves.csv of `minifa reproduce`,
sweep.csv, survey.csv, or any file with the columns rule (or row), seed and score.

The files are not trusted: every line is checked, and the message of an error names it.
"""

from __future__ import annotations

__all__ = ["FileScores", "read_scores"]

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataFileError
from ..registry import unknown
from ..storage import csv_files
from ..storage.atomic import expanded, read_bytes
from ..text import listed
from ..validation import check_type
from .results_archive import ENGINE, Key, Measure, RowScores

LARGEST_FILE = 1 << 25  # bytes
LONGEST_CELL = 200  # characters of a name
MOST_RUNS = 10_000  # of a row
LARGEST_SCORE = 1e100  # its square is finite, too
ROWS = ("row", "case", "rule")  # the first that the file has; likewise below
SEEDS = ("seed", "training.seed")
COLUMNS = ("score", "test_accuracy", "accuracy", "test_error", "error")
LOSS_COLUMNS = ("score", "test_loss", "loss")
RATES = ("rate", "lr", "optimizer.lr")
MEAN, SD, RUNS = "mean", "sd", "seeds"  # of a table without single runs, as table.csv of `minifa reproduce`
UNITS = {"share": 1.0, "percent": 100.0}
Line = tuple[int, Mapping[str, str]]  # number in the file, column to cell


@dataclass(frozen=True)
class FileScores:
    """The scores in a file.

    Attributes:
        scores: by network ("" if there is a single one) and row.
        column: the column of the scores.
        unit: the unit in which its values were read: "share", "percent" or, for a loss, "".
        epochs: the last epochs of the runs; empty if the file has no epochs.
        notes: what was left out, in sentences.
    """

    scores: Mapping[Key, RowScores]
    column: str
    unit: str
    epochs: Sequence[int]
    notes: Sequence[str]


def read_scores(path: str | Path, measure: Measure, column: str | None = None, unit: str | None = None) -> FileScores:
    """Read the scores of a CSV file. In a history, with a column ``epoch``, the last epoch of each run counts.

    Args:
        path: path of the file.
        measure: what the scores are converted to: accuracy and error into each other, shares and percent. A column
            whose name says neither accuracy, error nor loss has this measure.
        column: column of the scores; None: the first of score, test_accuracy, accuracy, test_error and error (for
            losses: score, test_loss and loss) that the file has, else the column mean of a table without single runs.
        unit: "share" for values between 0 and 1, "percent" for values between 0 and 100; None: percent if one is above
            1. Losses have no unit.

    Raises:
        TypeError: not a path or not a measure.
        OSError: the file cannot be read.
        DataFileError: it is too large, not in CSV, lacks a column, has a cell without the expected number, or two
            lines of one run.
        ValueError: there is no such column or unit, or it does not fit the measure.
    """
    place = expanded(path)
    check_type(measure, Measure, "measure must be a Measure, as table.measure")
    columns, lines = _read(place)
    row = _first(ROWS, columns, place)
    _check_unit(unit, measure)
    chosen = _score_column(place, columns, measure, column)
    lines, notes = _measured(lines, chosen)
    if not lines:
        raise DataFileError(f"'{place}' has no line with a value in the column {chosen}: there is nothing to compare")
    if chosen == MEAN and not set(SEEDS) & set(columns):
        lines = list(_by_key(place, lines, row).values())  # one line for each row
        values, read_unit = _converted(place, lines, chosen, measure, unit)
        factor = measure.full / UNITS[read_unit] if read_unit else 1.0
        keys = [_key(place, line, row) for line in lines]
        rates = _rates(zip(keys, lines, strict=True))
        scores = {
            key: _summary(place, line, value, factor, rates[key])
            for key, line, value in zip(keys, lines, values, strict=True)
        }
        return FileScores(scores, chosen, read_unit, _epochs(place, lines, "epochs"), notes)
    runs = _by_run(place, lines, row, _first(SEEDS, columns, place))
    values, read_unit = _converted(place, list(runs.values()), chosen, measure, unit)
    by_key: dict[Key, dict[int, float]] = {}
    for (key, seed), value in zip(runs, values, strict=True):
        by_key.setdefault(key, {})[seed] = value
    notes += ["of each run the last epoch in the file counts"] if "epoch" in columns else []
    notes += _diverged(runs.values())
    rates = _rates((key, line) for (key, _), line in runs.items())
    scores = {key: RowScores.of(by_seed, rates[key]) for key, by_seed in by_key.items()}
    return FileScores(scores, chosen, read_unit, _epochs(place, runs.values(), "epoch", "epochs"), notes)


def _read(place: Path) -> tuple[list[str], list[Line]]:
    """The columns, and the lines that are not empty."""
    size = place.stat().st_size if place.is_file() else 0
    if size > LARGEST_FILE:
        raise DataFileError(
            f"'{place}' has {size:,} bytes; expected at most {LARGEST_FILE:,}: keep the last epoch of every run only"
        )
    numbered = [(number, cells) for number, cells in csv_files.parse(read_bytes(place.resolve()), place) if any(cells)]
    if len(numbered) < 2:
        raise DataFileError(
            f"'{place}' has {len(numbered)} lines; expected the names of the columns and a line for every run"
        )
    columns = [name.strip() for name in numbered[0][1]]
    if len(columns) == 1:
        raise DataFileError(f"'{place}' has the single column {listed(columns)}: expected columns separated by commas")
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise DataFileError(f"'{place}' has more than one column named {listed(repeated[:1])!r}: remove all but one")
    for number, cells in numbered:
        if len(cells) != len(columns):
            raise DataFileError(
                f"'{place}', line {number}, must have {len(columns)} cells, as the header, got {len(cells)}: correct "
                "or remove the line"
            )
    return columns, [(number, dict(zip(columns, map(str.strip, cells), strict=True))) for number, cells in numbered[1:]]


def _first(known: Sequence[str], columns: Sequence[str], place: Path) -> str:
    """The first of these columns that the file has."""
    for name in known:
        if name in columns:
            return name
    raise DataFileError(
        f"'{place}' has no column {' or '.join(known)}; expected the columns rule (or row), seed and score, got "
        f"{listed(columns)}"
    )


def _score_column(place: Path, columns: Sequence[str], measure: Measure, column: str | None) -> str:
    if column is not None:
        if column not in columns:
            raise ValueError(f"'{place}': {unknown(columns, column, 'column')}")
        return column
    known = LOSS_COLUMNS if measure.kind == "loss" else COLUMNS
    if {MEAN, RUNS} <= set(columns) and not set(known) & set(columns) - {"error"}:  # error: why a row's runs failed
        return MEAN
    try:
        return _first(known, columns, place)
    except DataFileError as error:
        raise DataFileError(f"{error}; name the column of the scores ({measure.name}) with --score") from None


def _measured(lines: Sequence[Line], column: str) -> tuple[list[Line], list[str]]:
    """The lines with a score, and a note on the others."""
    reasons = {"error", "not_run"} - {column}  # of a sweep and of a survey
    failed = [line for line in lines if any(line[1].get(reason) for reason in reasons) and not line[1][column]]
    numbers = {number for number, _ in failed}
    empty = [line for line in lines if not line[1][column] and line[0] not in numbers]
    peers = [line for line in lines if line[1].get("engine", ENGINE) != ENGINE]
    peers = peers if len(peers) < len(lines) else []  # a file of another engine alone is compared
    counted = (
        (failed, "of runs that failed or were refused"),
        (empty, f"without a value in the column {column}"),
        (peers, f"of other engines than {ENGINE}"),
    )
    notes = [f"left out: {len(some)} line{'s' * (len(some) > 1)} {why}" for some, why in counted if some]
    left_out = {number for some in (failed, empty, peers) for number, _ in some}
    return [line for line in lines if line[0] not in left_out], notes


def _key(place: Path, line: Line, row: str) -> Key:
    number, cells = line
    name, network = cells[row], cells.get("network", "")
    if not name or max(len(name), len(network)) > LONGEST_CELL:
        given = "none" if not name else f"one of {max(len(name), len(network))} characters"
        raise DataFileError(
            f"'{place}', line {number}, must have a name of at most {LONGEST_CELL} characters in the column {row}, got "
            f"{given}: correct or remove the line"
        )
    return network, name


def _by_key(place: Path, lines: Sequence[Line], row: str) -> dict[Key, Line]:
    """The only line of every row."""
    found: dict[Key, Line] = {}
    for line in lines:
        earlier = found.setdefault(_key(place, line, row), line)
        if earlier is not line:
            raise _twice(place, earlier, line, f"{row} {listed([line[1][row]])}")
    return found


def _by_run(place: Path, lines: Sequence[Line], row: str, seed: str) -> dict[tuple[Key, int], Line]:
    """The line of every run, that of its last epoch in a history."""
    runs: dict[tuple[Key, int], dict[int, Line]] = {}
    for line in lines:
        run = _key(place, line, row), _whole(place, line, seed)
        epoch = _whole(place, line, "epoch") if line[1].get("epoch") else 0
        earlier = runs.setdefault(run, {}).setdefault(epoch, line)
        if earlier is not line:
            of_epoch = f", epoch {epoch}" * ("epoch" in line[1])
            raise _twice(place, earlier, line, f"{row} {listed([line[1][row]])} and {seed} {run[1]}{of_epoch}")
    return {run: by_epoch[max(by_epoch)] for run, by_epoch in runs.items()}


def _twice(place: Path, one: Line, other: Line, what: str) -> DataFileError:
    return DataFileError(
        f"'{place}', lines {one[0]} and {other[0]}, both have {what}; expected one line for each: keep the runs of one "
        "setting only"
    )


def _whole(place: Path, line: Line, column: str) -> int:
    number, cells = line
    try:
        value = float(cells[column])
        if value.is_integer() and 0 <= value < 1 << 53:
            return int(value)
    except ValueError:
        pass
    raise DataFileError(
        f"'{place}', line {number}: {column} must be a whole number from 0 up, got {listed([cells[column]])!r}"
    )


def _number(place: Path, line: Line, column: str) -> float:
    number, cells = line
    try:
        value = float(cells[column])
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST_SCORE:
        raise DataFileError(
            f"'{place}', line {number}: {column} must be a finite number, got {listed([cells[column]])!r}: correct or "
            "remove the line, or name another column with --score"
        )
    return value


# Units


def _check_unit(unit: str | None, measure: Measure) -> None:
    if unit is not None and check_type(unit, str, "a unit must be a str") not in UNITS:
        raise ValueError(f"a unit must be {' or '.join(UNITS)}, got {unit!r}")
    if unit is not None and measure.kind == "loss":
        raise ValueError(f"a loss has no unit, got {unit!r}: leave --unit out")


def _converted(
    place: Path, lines: Sequence[Line], column: str, measure: Measure, unit: str | None
) -> tuple[list[float], str]:
    """The values of a column in a table's measure, and the unit in which they were read."""
    kind = next((kind for kind in ("accuracy", "error", "loss") if kind in column), measure.kind)
    if (kind == "loss") != (measure.kind == "loss"):
        raise ValueError(
            f"the scores of the table are its {measure.name}, those of the column {column!r} are not: name another "
            "column with --score, or another table"
        )
    values = [_number(place, line, column) for line in lines]
    if kind == "loss":
        return values, ""
    read_unit = unit or _unit_of(place, lines, values, column, kind)
    full = UNITS[read_unit]
    for (number, _), value in zip(lines, values, strict=True):
        if not 0 <= value <= full:
            raise DataFileError(
                f"'{place}', line {number}: {column} ({read_unit}) must lie between 0 and {full:g}, got {value:g}"
            )
    shares = [value / full for value in values]
    return [measure.from_accuracy(share if kind == "accuracy" else 1 - share) for share in shares], read_unit


def _unit_of(place: Path, lines: Sequence[Line], values: Sequence[float], column: str, kind: str) -> str:
    """Whether values are shares or percent: percent if one is above 1. Raises DataFileError where this is not clear."""
    choose = "give --unit share or --unit percent"
    above = [(number, value) for (number, _), value in zip(lines, values, strict=True) if value > 1]
    below = [(number, value) for (number, _), value in zip(lines, values, strict=True) if 0 < value < 1]
    if above and below and kind == "accuracy":
        raise DataFileError(
            f"'{place}': {column} is {below[0][1]:g} in line {below[0][0]} and {above[0][1]:g} in line {above[0][0]}; "
            f"expected only shares between 0 and 1 or only percent: correct the file, or {choose}"
        )
    if not above and kind == "error":
        raise DataFileError(f"'{place}': no {column} is above 1, which may be a share or percent: {choose}")
    return "percent" if above else "share"


def _summary(place: Path, line: Line, mean: float, factor: float, rate: str) -> RowScores:
    """The scores of a row of which only mean and sd are known; ``factor`` converts the sd."""
    runs, sd = _whole(place, line, RUNS), line[1].get(SD, "")
    spread = _number(place, line, SD) if runs > 1 and sd else 0.0
    if not 1 <= runs <= MOST_RUNS or (runs > 1 and not sd) or spread < 0:
        raise DataFileError(
            f"'{place}', line {line[0]}: expected {RUNS} from 1 to {MOST_RUNS:,}, and {SD} from 0 up with more than "
            f"one, got {RUNS} {runs} and {SD} {listed([sd])!r}"
        )
    return RowScores({}, mean, factor * spread if runs > 1 else None, runs, rate)


# Remarks


def _epochs(place: Path, lines: Iterable[Line], *columns: str) -> list[int]:
    """The last epochs of the runs, from the first of these columns with a value."""
    found = set()
    for line in lines:
        for column in columns:
            if line[1].get(column):
                found.add(_whole(place, line, column))
                break
    return sorted(found)


def _rates(lines: Iterable[tuple[Key, Line]]) -> dict[Key, str]:
    """The learning rate of every row; "" if it is unknown, or if the row has several. In a history, lr is the rate of
    the epoch, and only rate counts."""
    found: dict[Key, set[str]] = {}
    for key, (_, cells) in lines:
        known = RATES[:1] if "epoch" in cells else RATES
        found.setdefault(key, set()).add(next((cells[name] for name in known if cells.get(name)), ""))
    return {key: rates.pop() if len(rates) == 1 else "" for key, rates in found.items()}


def _diverged(lines: Iterable[Line]) -> list[str]:
    count = sum(cells.get("diverged", "") not in ("", "0", "False") for _, cells in lines)
    return [f"{count} run{'s' * (count > 1)} diverged"] if count else []
