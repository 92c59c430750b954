"""A sweep's runs made, and what they come to: one line for each in the ``sweep.csv`` of its folder.

Only the process that started the sweep writes the table, line by line (see `minifa.ledgers`), wherever the runs are
made. What has a line is finished, and not made again when the same command is given once more. A line is a run's by its
``id``; ``run`` is the number that it had in the sweep when it was made. Readers take the last line of an id.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from . import backend, checkpoints, experiments, keeping, ledgers, runs
from .data.base import DataFileError, Dataset
from .experiments import Experiment
from .files import expanded, read_bytes
from .sweeps import SEED, Run, Sweep, write_value
from .terminal import tell
from .text import one_line, printable, table
from .training import Callback, History, RecordAlignment, Row, Trainer
from .workers import Stopped

TABLE = "sweep.csv"
SCORES = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")  # what runs are judged by: the first
MEASURED = (*SCORES, "epochs", "best_epoch", "weight_angle", "true_angle", "seconds", "diverged")
RESULTS = (*MEASURED, "error")
SECONDS_TO_LOOK = 0.5  # again whether a run's folder is free
SECONDS_TO_TELL = 5.0  # after which is told who is waited for
Line = dict[str, str]  # of the table: column to cell


# One run


@dataclass(frozen=True)
class Task:
    """One run to make.

    Attributes:
        run: of a sweep.
        folder: where it is kept while it goes on; None: it is not, and is made in memory.
        contents: what its files hold, as `minifa.keeping.contents` found it; another process may find others.
    """

    run: Run
    folder: Path | None = None
    contents: Mapping[str, str] = field(default_factory=dict)


def make(task: Task) -> Row:
    """Make one run, here.

    Returns:
        Of `RESULTS` what it has: scores of the network that was best on held-out examples (without those: the one at
        the end) and its epoch, angles at the end, seconds of training. Where it fails, ``error`` alone, which says why.
    """
    try:
        experiment = task.run.experiment
        dataset = keeping.load_once(experiment.data, experiment.data_dir, **experiment.data_options)
        keeping.require_contents(task.contents, experiment, dataset)
        return _in_folder(task.folder, experiment, dataset) if task.folder else _in_memory(experiment, dataset)
    except Stopped:
        raise
    except Exception as error:  # whatever it is, it is this run's own result, and the others go on
        return {"error": f"{type(error).__name__}: {error}"}


class _KeepBest(Callback):
    """The network as it was when it was best on held-out examples, as `minifa.checkpoints.SaveCheckpoints` has it."""

    def __init__(self) -> None:
        self.epoch, self.state = 0, dict[str, numpy.ndarray]()

    def on_recorded(self, trainer: Trainer) -> None:
        if checkpoints.is_best(trainer.history):
            state = trainer.net.state()
            if all(numpy.isfinite(array).all() for array in state.values()):
                self.epoch, self.state = trainer.epoch, state


def _in_memory(experiment: Experiment, dataset: Dataset) -> Row:
    """What `_in_folder` gives, without its files, and measured at the end alone."""
    best = _KeepBest()
    trainer = experiments.trainer_for(experiment, dataset)
    trainer.callbacks = [best] if experiment.validation else []
    train, held_out = experiments.parts(experiment, dataset)
    trainer.fit(train, experiment.epochs, experiment.batch_size, held_out)
    at_end = dict(trainer.history[-1])
    if experiment.alignment:
        RecordAlignment(dataset.train.head(experiments.MEASURED_ON)).on_epoch(trainer, at_end)
    epochs = best_epoch = at_end["epoch"]
    if best.state:
        best_epoch = best.epoch
        trainer.net.load_state(best.state)
    measured = {f"test_{key}": value for key, value in trainer.evaluate(dataset.test).items()}
    seconds = sum(row.get("seconds", 0.0) for row in trainer.history)
    facts = {"epochs": epochs, "best_epoch": best_epoch, "seconds": seconds, "diverged": trainer.diverged}
    lowest = trainer.net.weighted[0].name
    return {**measured, **facts, **_held_out(trainer.history, best_epoch), **_angles(at_end, lowest)}


def _in_folder(folder: Path, experiment: Experiment, dataset: Dataset) -> Row:
    result, started, told = None, time.monotonic(), False
    while result is None:
        try:
            result = keeping.run_in(folder, experiment, dataset)
        except runs.RunInUse as error:  # a worker of a parent that was killed makes this very run: its result is ours
            if not told and time.monotonic() - started >= SECONDS_TO_TELL:
                tell(f"waiting: {error}")
                told = True
            time.sleep(SECONDS_TO_LOOK)
    history = History.read_csv(folder / "history.csv")
    lowest = experiments.build(experiment, dataset)[0].weighted[0].name
    found = {**result, **_held_out(history, result["best_epoch"]), **_angles(history[-1], lowest)}
    return {key: value for key, value in found.items() if key in RESULTS}


def _held_out(history: Sequence[Row], epoch: int) -> Row:
    (row,) = (one for one in history if one["epoch"] == epoch)
    return {key: row[key] for key in ("validation_loss", "validation_accuracy") if key in row}


def _angles(row: Row, lowest: str) -> Row:
    """Between W and B, the mean over layers; between this rule's error and backpropagation's, at the lowest layer."""
    weight_angles = [value for key, value in row.items() if key.endswith(".weight_angle")]
    found = {"true_angle": row[f"{lowest}.true_angle"]} if f"{lowest}.true_angle" in row else {}
    return {**found, "weight_angle": statistics.fmean(weight_angles)} if weight_angles else found


# The table


def columns(sweep: Sweep) -> list[str]:
    """The head of a sweep's table."""
    return ["run", "id", *sweep.varied, *RESULTS]


class Results:
    """A sweep's table, open for writing (see `opened`).

    Args:
        sweep: whose it is.
        path: of the file.
        lines: that it has.
        notes: what must be said of them.

    Attributes:
        lines: the last line of every run that has one, by the run's id; some may be of runs that are no longer in the
            sweep.
    """

    def __init__(self, sweep: Sweep, path: Path, lines: Sequence[Line], notes: Sequence[str] = ()) -> None:
        self.sweep, self.path, self.notes = sweep, path, notes
        self.lines = {line["id"]: line for line in lines}

    def add(self, run: Run, answer: Any) -> Line:
        """Write the line of a run.

        Args:
            run: of the sweep.
            answer: of `make`; or what there is instead, in words, where its process ended early.
        """
        result = answer if isinstance(answer, dict) else {"error": str(answer)}
        varied = {name: write_value(value) for name, value in run.settings.items()}
        measured = {key: _cell(result.get(key)) for key in RESULTS}
        line = {"run": str(run.number), "id": run.id, **varied, **measured}
        ledgers.append(self.path, [line[key] for key in columns(self.sweep)])
        self.lines[run.id] = line
        return line

    def left(self, retry_failed: bool = False) -> list[Run]:
        """The runs that have no line yet; with ``retry_failed`` those whose last line is an error, too."""
        return [run for run in self.sweep.runs if self._is_left(self.lines.get(run.id), retry_failed)]

    def _is_left(self, line: Line | None, retry_failed: bool) -> bool:
        return line is None or (retry_failed and bool(line["error"]))

    def of_sweep(self) -> list[Line]:
        """The lines of this sweep's runs, in their order, each once."""
        return [self.lines[run.id] for run in self.sweep.runs if run.id in self.lines]


def _cell(value: Any) -> str:
    if isinstance(value, str):  # an error: whatever is in it, it stands in one line
        return one_line(value)
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


@contextlib.contextmanager
def opened(sweep: Sweep, folder: str | Path, contents: Mapping[str, str] | None = None) -> Iterator[Results]:
    """The table in a sweep's folder, begun or gone on with; other processes are kept from writing into it.

    Args:
        sweep: what is run.
        folder: made where it is not there yet.
        contents: what the sweep's files hold, of `minifa.sweeps.check`.

    Raises:
        RunInUse: another process writes into it.
        ValueError: it holds another sweep, or one on other data.
        DataFileError: it holds something else, or is damaged.
        OSError: it cannot be written into.
    """
    place = expanded(folder)
    place.mkdir(parents=True, exist_ok=True)
    with runs.locked(place):
        notes = claim(place, "sweep", _shared(sweep), contents or {}, begun=(place / TABLE).exists())
        lines = ledgers.open_table(place / TABLE, columns(sweep))
        _check_numbers(lines, place / TABLE)
        yield Results(sweep, place / TABLE, lines, notes if lines else ())


def lines_in(sweep: Sweep, folder: str | Path, contents: Mapping[str, str] | None = None) -> list[Line]:
    """The lines of a sweep's table as it stands, of a process that may be writing it; none where there is none.

    Args:
        sweep: what is run.
        folder: of the table.
        contents: as for `opened`.

    Raises:
        ValueError, DataFileError, OSError: as `opened`.
    """
    place = expanded(folder)
    if not (place / TABLE).is_file():
        return []
    _refuse_another(place, "sweep", _shared(sweep), contents or {})
    lines = ledgers.read_table(place / TABLE, columns(sweep))
    _check_numbers(lines, place / TABLE)
    return lines


def _check_numbers(lines: Sequence[Line], path: Path) -> None:
    """Raise DataFileError unless the summary's numbers are numbers, in every line that is no error's."""
    for number, line in enumerate(lines, start=2):
        wrong = [f"{key} is {line[key][:100]!r}, and no number" for key in MEASURED if not _is_number(line[key])]
        if not line["test_loss"] and not line["error"]:
            wrong.append("it has no test_loss and no error")
        if wrong:
            raise DataFileError(f"'{path}', line {number}: {wrong[0]}. Mend the line, or take it out")


def _is_number(cell: str) -> bool:
    """Whether a cell holds one, or nothing."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def claim(
    place: Path,
    kind: str,
    about: Mapping[str, Any],
    contents: Mapping[str, str],
    begun: bool,
    defaults: Mapping[str, Any] | None = None,
) -> list[str]:
    """config.json says what all lines of a folder's table share: what differs in that does not continue here.

    Args:
        place: the folder.
        kind: of the table, the entry of config.json.
        about: what its lines share.
        contents: the digests of the files that they read, by name.
        begun: whether the table is there already.
        defaults: of entries that a table of an earlier version may lack.

    Returns:
        What must be said of the lines that are there already.

    Raises:
        ValueError: the folder holds another table of this kind, or one on other data.
        DataFileError: it holds something else.
    """
    if not begun and not (place / "config.json").exists():
        runs.write_config(place, {kind: about, "contents": contents})
        return []
    config = _refuse_another(place, kind, about, contents, defaults or {})
    notes, known, wrote = [], dict(config.get("contents", {})), config.get("environment")
    if contents and "contents" not in config:
        notes.append("what data it was begun on was not kept: its lines are taken for lines on these")
    if isinstance(wrote, dict) and runs.is_another_version(made_by := runs.version(wrote)):
        notes.append(f"it was begun by minifa {made_by}, and this is minifa {runs.version()}: its lines stay")
    if contents.keys() - known.keys():
        runs.write_config(place, {**config, "contents": {**known, **contents}})
    return [f"the table in {place}: {note}" for note in notes]


def _shared(sweep: Sweep) -> dict[str, Any]:
    settings = {key: value for key, value in sweep.base.items() if key != "data.folder"}
    return {"varied": list(sweep.varied), "dtype": str(backend.dtype()), **settings}


def _refuse_another(
    place: Path,
    kind: str,
    about: Mapping[str, Any],
    contents: Mapping[str, str],
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What config.json says; refused as `claim` says."""
    try:
        config = json.loads(read_bytes(place / "config.json").decode())
        kept = {**json.loads(json.dumps(defaults or {}, default=str)), **config[kind]}
        asked = json.loads(json.dumps(about, default=str))
        differ = [key for key in {**kept, **asked} if kept.get(key) != asked.get(key)]
        changed = keeping.other_contents(dict(config.get("contents", {})), contents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataFileError(
            f"{place} is no folder of a {kind} ({type(error).__name__}: {error}): name another"
        ) from error
    if differ or changed:
        told = "; ".join([*(f"{key} {_told(asked, key)} (there: {_told(kept, key)})" for key in differ), *changed])
        raise ValueError(
            f"{place} holds another {kind}: {told}. Name another folder, or ask for what it was begun with"
        )
    return config


def _told(settings: Mapping[str, Any], key: str) -> str:
    return write_value(settings[key]) if key in settings else "not set"


# The summary

BEST, GROUPS = 10, 30  # lines that are shown
FORMS = {"best_epoch": ".0f", "weight_angle": ".1f", "true_angle": ".1f", "seconds": ".1f", "diverged": ".0f"}
SHOWN = (*SCORES, "best_epoch", "weight_angle", "true_angle", "seconds", "diverged")


def summary(sweep: Sweep, lines: Sequence[Line], notes: Sequence[str] = ()) -> str:
    """The best runs, and where seeds are varied the mean and sd over them, with all that must be said of the numbers.

    Args:
        sweep: what was run.
        lines: of its table, each run once.
        notes: of the data sets.
    """
    fine = [line for line in lines if not line["error"]]
    score = next((key for key in SCORES if all(line[key] for line in fine)), None) if fine else None
    parts = [sweep.title] if sweep.title else []
    if score is not None:
        best = sorted(fine, key=lambda line: _rank([line], score))[:BEST]
        parts.append(_table([("run", *sweep.varied, *SHOWN), *(_cells_of_run(sweep, line) for line in best)]))
        groups = sorted(_groups(sweep, fine), key=lambda some: _rank(some, score))
        if len(groups) < len(fine):
            parts.append(_over_seeds(sweep, groups))
        parts.append("\n".join(_remarks(sweep, lines, score, notes)))
    return printable("\n\n".join(parts))


def _rank(lines: Sequence[Line], score: str) -> float:
    """The smaller the better."""
    mean = statistics.fmean(float(line[score]) for line in lines)
    return math.inf if math.isnan(mean) else -mean if score.endswith("accuracy") else mean


def _cells_of_run(sweep: Sweep, line: Line) -> tuple[str, ...]:
    measured = (format(float(line[key]), FORMS.get(key, ".4f")) if line[key] else "" for key in SHOWN)
    return line["run"], *(line[name] for name in sweep.varied), *measured


def _groups(sweep: Sweep, lines: Sequence[Line]) -> list[list[Line]]:
    """Lines that differ in the seed alone."""
    found: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        found.setdefault(tuple(line[name] for name in sweep.varied if name != SEED), []).append(line)
    return list(found.values())


def _over_seeds(sweep: Sweep, groups: Sequence[Sequence[Line]]) -> str:
    names = [name for name in sweep.varied if name != SEED]
    rows = [
        (*(some[0][name] for name in names), str(len(some)), *(_mean_sd(some, key) for key in SHOWN))
        for some in groups[:GROUPS]
    ]
    more = f"\nand {len(groups) - GROUPS} more" if len(groups) > GROUPS else ""
    return _table([(*names, "seeds", *SHOWN), *rows]) + more


def _mean_sd(lines: Sequence[Line], key: str) -> str:
    """``mean ± sd`` of a score, the mean of what else there is, how many diverged; "" where not all have it."""
    if not all(line[key] for line in lines):
        return ""
    values = [float(line[key]) for line in lines]
    if key == "diverged":
        return f"{sum(values):.0f}"
    mean = format(statistics.fmean(values), FORMS.get(key, ".4f"))
    spread = key in SCORES and len(values) > 1 and all(map(math.isfinite, values))
    return f"{mean} ± {statistics.stdev(values):.4f}" if spread else mean


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Without the columns in which nothing stands: nothing measured, no epoch chosen, none diverged."""
    nothing = {"diverged": {"", "0"}}
    used = [i for i, name in enumerate(rows[0]) if {row[i] for row in rows[1:]} - nothing.get(name, {""})]
    shown = [[row[i] for i in used] for row in rows]
    return table([[cell.replace("_", " ") for cell in shown[0]], *shown[1:]], right_from=0)


def _remarks(sweep: Sweep, lines: Sequence[Line], score: str, notes: Sequence[str]) -> list[str]:
    fine = [line for line in lines if not line["error"]]
    measured, _, what = score.partition("_")
    found = [f"{len(fine)} of {len(sweep.runs)} runs, best first by {measured} {what}; seconds: of training"]
    if measured == "test":
        found.append(
            "no examples were held out (data.validation): the first lines are chosen on the test set, and flatter"
        )
    else:
        found.append("test scores and best epoch: of the network that was best on the held-out examples")
    if any(line["weight_angle"] for line in fine):
        found.append(
            "weight angle: between W and B, mean over layers; true angle: between this rule's error and\n"
            "backpropagation's at the lowest layer; both at the end, in degrees, 90 is chance"
        )
    failed = len(lines) - len(fine)
    if failed:
        found.append(f"failed: {failed}; their errors are in the table, and --retry-failed runs them again")
    return found + ([sweep.note] if sweep.note else []) + list(notes)
