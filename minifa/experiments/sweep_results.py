"""Running a sweep: its runs, their results in ``sweep.csv`` (one line per run), and the summary.

Only the process that started the sweep writes the table, line by line (see `minifa.storage.csv_files`), wherever the
runs are made. A run with a line is finished, and is skipped when the same command is given again. A line belongs to the
run with its ``id``; ``run`` is the number of the run in the sweep when it was made. The last line of an id counts.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from .. import backend, checkpoints
from ..console import print_stderr
from ..data.base import Dataset
from ..errors import DataFileError
from ..storage import csv_files
from ..storage.atomic import expanded
from ..text import one_line, printable, table, wrap
from ..training import Callback, History, RecordAlignment, Trainer
from ..training.history import Row
from . import resume, run_folder, study
from .experiment import MEASURED_ON, Experiment, MeasureTest, build, final_row, train_phases, trainer_for
from .recipes import write_value
from .study import Outcome, Task
from .sweeps import SEED, Run, Sweep
from .tables import sample_sd

TABLE = "sweep.csv"
SCORES = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")  # runs are ranked by the first
MEASURED = (*SCORES, "epochs", "best_epoch", "weight_angle", "true_angle", "seconds", "diverged")
RESULTS = (*MEASURED, "error")
SECONDS_TO_LOOK = 0.5  # between two checks whether a run's folder is free
SECONDS_TO_TELL = 5.0  # before a message about waiting is printed
Line = dict[str, str]  # of the table, column to cell


# One run


def task_of(run: Run, folder: Path | None = None, contents: Mapping[str, str] | None = None) -> Task:
    """The task of a run of a sweep.

    Args:
        run: a run of a sweep.
        folder: its run folder; None: the run is made in memory.
        contents: expected digests of its files.
    """
    return Task(run.experiment, folder, contents or {}, run.id)


def measure(task: Task) -> Outcome:
    """Make one run in this process. The result has the available entries of `MEASURED`: scores of the network that was
    best on the validation examples (or of the final one, if there are none) and its epoch, final angles, and seconds of
    training."""
    dataset = study.load(task)
    if task.folder is None:
        return Outcome(task, _in_memory(task.experiment, dataset))
    return Outcome(task, _in_folder(task.folder, task.experiment, dataset))


class _KeepBest(Callback):
    """Keeps the network that was best on the validation examples, chosen as in `minifa.checkpoints.SaveCheckpoints`."""

    def __init__(self) -> None:
        self.epoch, self.state = 0, dict[str, numpy.ndarray]()

    def on_recorded(self, trainer: Trainer) -> None:
        if checkpoints.is_best(trainer.history):
            state = trainer.net.state()
            if all(numpy.isfinite(array).all() for array in state.values()):
                self.epoch, self.state = trainer.epoch, state


def _in_memory(experiment: Experiment, dataset: Dataset) -> Row:
    """The same results as `_in_folder` without files; test scores and angles are measured only at the end."""
    best = _KeepBest()
    trainer = trainer_for(experiment, dataset)
    if experiment.stops_early:  # the angles are those of the best epoch
        trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, MeasureTest)]
    else:
        trainer.callbacks = []
    trainer.callbacks += [best] if experiment.validation else []
    train_phases(experiment, dataset, trainer)
    at_end = dict(final_row(experiment, trainer.history))
    if experiment.alignment and not experiment.stops_early:
        RecordAlignment(dataset.train.head(MEASURED_ON)).on_epoch(trainer, at_end)
    epochs = best_epoch = trainer.history[-1]["epoch"]
    if best.state:
        best_epoch = best.epoch
        trainer.net.load_state(best.state)
    measured = {f"test_{key}": value for key, value in trainer.evaluate(dataset.test).items()}
    seconds = sum(row.get("seconds", 0.0) for row in trainer.history)
    facts = {"epochs": epochs, "best_epoch": best_epoch, "seconds": seconds, "diverged": trainer.diverged}
    lowest = trainer.net.weighted[0].name
    return {**measured, **facts, **_held_out(trainer.history, best_epoch), **angles_of(at_end, lowest)}


def _in_folder(folder: Path, experiment: Experiment, dataset: Dataset) -> Row:
    result, started, printed = None, time.monotonic(), False
    while result is None:
        try:
            result = resume.run_in_folder(folder, experiment, dataset)
        except run_folder.RunInUse as error:  # an orphaned worker still makes this run: use its result
            if not printed and time.monotonic() - started >= SECONDS_TO_TELL:
                print_stderr(f"waiting: {error}")
                printed = True
            time.sleep(SECONDS_TO_LOOK)
    history = History.read_csv(folder / "history.csv")
    lowest = build(experiment, dataset)[0].weighted[0].name
    measured = {
        **result,
        **_held_out(history, result["best_epoch"]),
        **angles_of(final_row(experiment, history), lowest),
    }
    return {key: value for key, value in measured.items() if key in MEASURED}


def _held_out(history: Sequence[Row], epoch: int) -> Row:
    (row,) = (one for one in history if one["epoch"] == epoch)
    return {key: row[key] for key in ("validation_loss", "validation_accuracy") if key in row}


def angles_of(row: Row, lowest: str) -> Row:
    """The angles in a row of the history: the weight angle between W and B, mean over layers, and the true angle
    between the rule's error and backpropagation's, at the lowest layer."""
    weight_angles = [value for key, value in row.items() if key.endswith(".weight_angle")]
    angles = {"true_angle": row[f"{lowest}.true_angle"]} if f"{lowest}.true_angle" in row else {}
    return {**angles, "weight_angle": statistics.fmean(weight_angles)} if weight_angles else angles


# The table


def columns(sweep: Sweep) -> list[str]:
    """The column names of a sweep's table."""
    return ["run", "id", *sweep.varied, *RESULTS]


class Results:
    """A sweep's table, open for writing (see `opened`).

    Args:
        sweep: its sweep.
        path: path of the file.
        lines: existing lines.
        notes: remarks on the existing lines.

    Attributes:
        lines: the last line of every run, by the run's id; may include runs that are no longer in the sweep.
    """

    def __init__(self, sweep: Sweep, path: Path, lines: Sequence[Line], notes: Sequence[str] = ()) -> None:
        self.sweep, self.path, self.notes = sweep, path, notes
        self.runs = {run.id: run for run in sweep.runs}
        self.lines = {line["id"]: line for line in lines}

    def add(self, outcome: Outcome) -> Line:
        """Write the line of a run.

        Args:
            outcome: outcome of a task of `task_of`, for a run of this sweep.
        """
        run = self.runs[outcome.task.name]
        result = {"error": outcome.error} if outcome.error is not None else outcome.result
        varied = {name: write_value(value) for name, value in run.settings.items()}
        measured = {key: cell_of(result.get(key)) for key in RESULTS}
        line = {"run": str(run.number), "id": run.id, **varied, **measured}
        csv_files.append(self.path, [line[key] for key in columns(self.sweep)])
        self.lines[run.id] = line
        return line

    def left(self, retry_failed: bool = False) -> list[Run]:
        """The runs without a line; with ``retry_failed`` also those whose last line is an error."""
        return [run for run in self.sweep.runs if self._is_left(self.lines.get(run.id), retry_failed)]

    def _is_left(self, line: Line | None, retry_failed: bool) -> bool:
        return line is None or (retry_failed and bool(line["error"]))

    def of_sweep(self) -> list[Line]:
        """The lines of the sweep's runs, one per run, in the order of the runs."""
        return [self.lines[run.id] for run in self.sweep.runs if run.id in self.lines]


def cell_of(value: Any) -> str:
    """The cell of a table for a result; "" for None."""
    if isinstance(value, str):  # an error message may have line breaks
        return one_line(value)
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


@contextlib.contextmanager
def opened(sweep: Sweep, folder: str | Path, contents: Mapping[str, str] | None = None) -> Iterator[Results]:
    """Create or continue the table in a sweep's folder, and keep other processes from writing to it.

    Args:
        sweep: the sweep to run.
        folder: folder of the table, created if it does not exist.
        contents: digests of the sweep's input files, from `minifa.experiments.sweeps.check`.

    Raises:
        RunInUse: another process is writing to the folder.
        ValueError: the folder holds another sweep, or one on other data.
        DataFileError: the folder holds something else, or the table is damaged.
        OSError: the folder is not writable.
    """
    place = expanded(folder)
    place.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(place):
        notes = study.claim_folder(place, "sweep", _shared(sweep), contents or {}, exists=(place / TABLE).exists())
        lines = csv_files.open_table(place / TABLE, columns(sweep))
        _check_numbers(lines, place / TABLE)
        yield Results(sweep, place / TABLE, lines, notes if lines else ())


def lines_in(sweep: Sweep, folder: str | Path, contents: Mapping[str, str] | None = None) -> list[Line]:
    """The current lines of a sweep's table, which another process may be writing; [] if there is no table.

    Args:
        sweep: the sweep of the table.
        folder: folder of the table.
        contents: as for `opened`.

    Raises:
        ValueError, DataFileError, OSError: as in `opened`.
    """
    place = expanded(folder)
    if not (place / TABLE).is_file():
        return []
    study.check_same_table(place, "sweep", _shared(sweep), contents or {})
    lines = csv_files.read_table(place / TABLE, columns(sweep))
    _check_numbers(lines, place / TABLE)
    return lines


def _check_numbers(lines: Sequence[Line], path: Path) -> None:
    """Raise DataFileError unless all measured cells are numbers or empty, and each line has a test loss or an error."""
    for number, line in enumerate(lines, start=2):
        wrong = [
            f"{key} is {line[key][:100]!r}, and no number" for key in MEASURED if not csv_files.is_number(line[key])
        ]
        if not line["test_loss"] and not line["error"]:
            wrong.append("it has no test_loss and no error")
        if wrong:
            raise DataFileError(f"'{path}', line {number}: {wrong[0]}. Mend the line, or take it out")


def _shared(sweep: Sweep) -> dict[str, Any]:
    settings = {key: value for key, value in sweep.base.items() if key != "data.folder"}
    return {"varied": list(sweep.varied), "dtype": str(backend.dtype()), **settings}


# The summary

BEST, GROUPS = 10, 30  # maximum number of lines shown
FORMS = {"weight_angle": ".1f", "true_angle": ".1f", "diverged": ".0f"}
ANGLES = ("weight_angle", "true_angle", "diverged")


def summary(sweep: Sweep, lines: Sequence[Line], notes: Sequence[str] = ()) -> str:
    """Format the best runs and, if seeds are varied, mean and sd over seeds, with remarks on the numbers.

    Args:
        sweep: the sweep.
        lines: lines of its table, one per run.
        notes: notes of the data sets.
    """
    fine = [line for line in lines if not line["error"]]
    score = next((key for key in SCORES if all(line[key] for line in fine)), None) if fine else None
    parts = [sweep.title] if sweep.title else []
    if score is not None:
        best = sorted(fine, key=lambda line: _rank([line], score))[:BEST]
        kind = score.partition("_")[2]
        shown = (*(key for key in SCORES if key.endswith(kind)), *ANGLES)
        parts.append(_table([("run", *sweep.varied, *shown), *(_cells_of_run(sweep, line, shown) for line in best)]))
        groups = sorted(_groups(sweep, fine), key=lambda some: _rank(some, score))
        if len(groups) < len(fine):
            parts.append(_over_seeds(sweep, groups, shown))
        parts.append(wrap("\n".join(_remarks(sweep, lines, score, notes))))
    return printable("\n\n".join(parts))


def _rank(lines: Sequence[Line], score: str) -> float:
    """Sort key: the best lines first, NaN last."""
    mean = statistics.fmean(float(line[score]) for line in lines)
    return math.inf if math.isnan(mean) else -mean if score.endswith("accuracy") else mean


def _cells_of_run(sweep: Sweep, line: Line, shown: Sequence[str]) -> tuple[str, ...]:
    measured = (format(float(line[key]), FORMS.get(key, ".4f")) if line[key] else "" for key in shown)
    return line["run"], *(line[name] for name in sweep.varied), *measured


def _groups(sweep: Sweep, lines: Sequence[Line]) -> list[list[Line]]:
    """Group lines that differ only in the seed."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in sweep.varied if name != SEED), []).append(line)
    return list(groups.values())


def _over_seeds(sweep: Sweep, groups: Sequence[Sequence[Line]], shown: Sequence[str]) -> str:
    names = [name for name in sweep.varied if name != SEED]
    rows = [
        (*(some[0][name] for name in names), str(len(some)), *(_mean_sd(some, key) for key in shown))
        for some in groups[:GROUPS]
    ]
    more = f"\nand {len(groups) - GROUPS} more" if len(groups) > GROUPS else ""
    return _table([(*names, "seeds", *shown), *rows]) + more


def _mean_sd(lines: Sequence[Line], key: str) -> str:
    """``mean ± sd`` of a score, the mean of another quantity, or the number of diverged runs; "" if a line lacks it."""
    if not all(line[key] for line in lines):
        return ""
    values = [float(line[key]) for line in lines]
    if key == "diverged":
        return f"{sum(values):.0f}"
    mean = format(statistics.fmean(values), FORMS.get(key, ".4f"))
    sd = sample_sd(values) if key in SCORES else None
    return mean if sd is None else f"{mean} ± {sd:.4f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Format a table without its empty columns; a column of diverged runs that is all 0 counts as empty."""
    nothing = {"diverged": {"", "0"}}
    used = [i for i, name in enumerate(rows[0]) if {row[i] for row in rows[1:]} - nothing.get(name, {""})]
    shown = [[row[i] for i in used] for row in rows]
    return table([[cell.replace("_", " ") for cell in shown[0]], *shown[1:]], right_from=0)


def _remarks(sweep: Sweep, lines: Sequence[Line], score: str, notes: Sequence[str]) -> list[str]:
    fine = [line for line in lines if not line["error"]]
    measured, _, what = score.partition("_")
    remarks = [f"{len(fine)} of {len(sweep.runs)} runs, best first by {measured} {what}; sweep.csv has every column"]
    if measured == "test":
        remarks.append(
            "no examples were held out (data.validation): the first lines are chosen on the test set, and flatter"
        )
    else:
        remarks.append("test scores: of the network that was best on the held-out examples")
    if any(line["weight_angle"] for line in fine):
        remarks.append(
            "weight angle: between W and B, mean over layers; true angle: between this rule's error and "
            "backpropagation's at the lowest layer; both at the end, in degrees, 90 is chance"
        )
    failed = len(lines) - len(fine)
    if failed:
        remarks.append(f"failed: {failed}; their errors are in the table, and --retry-failed runs them again")
    return remarks + ([sweep.note] if sweep.note else []) + list(notes)
