"""A survey: every rule on a few networks, each at the learning rate that was searched for it there.

The runs are lines of ``survey.csv``, which grows line by line (see `minifa.storage.csv_files`): a run with a line is
finished, and is skipped when the same command is given again. A rule that refuses a network, or for which no rate was
searched there, has a line without a seed, with the reason. If a rate has changed since, its lines stay, and the last
rate of a rule on a network counts. `minifa.experiments.survey_results` reads the table.
"""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import backend
from ..data.base import Dataset
from ..errors import DataFileError
from ..parallel import chunks
from ..registry import unknown
from ..rules.base import Rule
from ..storage import csv_files
from ..text import one_line
from ..training import RecordAlignment
from . import study
from .chance_levels import levels_of
from .experiment import MEASURED_ON, Experiment, Result, build, shipped_rate, train_phases, trainer_for
from .study import Outcome, Task
from .sweep_results import angles_of, cell_of

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {  # model and its options
    "mlp": ("mlp", {}),
    "deep-mlp": ("mlp", {"hidden": (64,) * 8}),
    "cnn": ("cnn", {}),
    "cnn-batch-norm": ("cnn", {"batch_norm": True}),
}
TABLE = "survey.csv"
NUMBERS = (
    *("test_accuracy", "epochs_to_90", "true_angle", "chance_low", "chance_high", "weight_angle", "products"),
    *("feedback_numbers", "seconds", "diverged"),
)
NAMES = ("network", "rule", "lr", "seed")  # of a run
COLUMNS = (*NAMES, *NUMBERS, "not_run", "error")
GOOD = 0.9  # test accuracy that `epochs_to_90` waits for
REFUSED, NO_RATE = "refused", "no rate"
Line = dict[str, str]  # of the table, column to cell


def split(text: str) -> list[str]:
    """The networks in an option, separated by commas. Raises ValueError for an unknown one, for none, or for one that
    is given twice."""
    names = [name.strip() for name in text.split(",") if name.strip()] if text != "all" else list(NETWORKS)
    for name in names:
        if name not in NETWORKS:
            raise ValueError(unknown(NETWORKS, name, "network"))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--networks names no network, or one twice: {text!r}")
    return names


# Which runs to make


@dataclass(frozen=True)
class Cell:
    """A rule on a network.

    Attributes:
        network: a name in `NETWORKS`.
        experiment: its experiment, with the rule and its learning rate on this network.
        not_run: why it is not run, after "refused: " or "no rate: "; empty: it is run.
    """

    network: str
    experiment: Experiment
    not_run: str = ""

    @property
    def rule(self) -> str:
        """The description of its rule."""
        return self.experiment.rule


def plan(base: Experiment, networks: Sequence[str], names: Sequence[str], data: Dataset) -> list[Cell]:
    """Every rule on every network, rules outermost.

    Args:
        base: the experiment; rule, model and learning rate are set here.
        networks: names in `NETWORKS`.
        names: descriptions of rules.
        data: the data set of the experiment.
    """
    return [_cell(base, network, name, data) for name in names for network in networks]


def _cell(base: Experiment, network: str, name: str, data: Dataset) -> Cell:
    model, options = NETWORKS[network]
    experiment = replace(base, model=model, model_options=options, rule=name, lr=None)
    try:
        build(experiment, data)
    except ValueError as error:
        return Cell(network, experiment, f"{REFUSED}: {one_line(str(error))}")
    row = shipped_rate(experiment)
    if row is None:
        return Cell(network, experiment, f"{NO_RATE}: none was searched for this rule and network")
    return Cell(network, replace(experiment, lr=float(row["lr"])))


def tasks_of(cells: Sequence[Cell], seeds: int, contents: Mapping[str, str] | None = None) -> list[Task]:
    """The runs of these cells, seeds outermost, so that an interrupted survey has every rule.

    Args:
        cells: as `plan` returns them.
        seeds: number of seeds; the first is that of the experiments.
        contents: digests of the data files, as `minifa.experiments.resume.contents` returns them.
    """
    return [
        Task(replace(cell.experiment, seed=cell.experiment.seed + i), None, contents or {}, cell.network)
        for i in range(seeds)
        for cell in cells
        if not cell.not_run
    ]


# One run


def measure(task: Task) -> Outcome:
    """Make one run in this process. The result has the `NUMBERS` that the rule defines.

    - test_accuracy: after the last epoch;
    - epochs_to_90: the first epoch with a test accuracy of at least 0.9;
    - true_angle: between the error and backpropagation's at the lowest layer, in degrees, at the end, on 256 training
      examples; chance_low, chance_high: mean ± 2 sd of this angle for random feedback, as the figures show it;
    - weight_angle: between W and B, mean over the layers;
    - products: multiply-adds of a training step relative to backpropagation's on the same network;
    - feedback_numbers: numbers that the rule keeps for the way back, besides W;
    - seconds: of training.
    """
    experiment, data = replace(task.experiment, alignment=False), study.load(task)
    trainer = trainer_for(experiment, data)
    train_phases(experiment, data, trainer)
    history, lowest = trainer.history, trainer.net.weighted[0].name
    at_end = dict(history[-1])
    RecordAlignment(data.train.head(MEASURED_ON)).on_epoch(trainer, at_end)
    reached = (row["epoch"] for row in history if row.get("test_accuracy", 0.0) >= GOOD)
    angles = angles_of(at_end, lowest)
    if "true_angle" in angles and (band := _chance(experiment).get(lowest)) is not None:
        angles |= {"chance_low": band.low, "chance_high": band.high}
    result = {
        "test_accuracy": at_end["test_accuracy"],
        "epochs_to_90": next(reached, None),
        **angles,
        "products": step_products(experiment, data) / step_products(replace(experiment, rule="bp"), data),
        "feedback_numbers": feedback_numbers(trainer.rule),
        "seconds": sum(row.get("seconds", 0.0) for row in history),
        "diverged": trainer.diverged,
    }
    return Outcome(task, {key: round(value, 4) if type(value) is float else value for key, value in result.items()})


def _chance(experiment: Experiment) -> Mapping[str, Any]:
    """The bands of chance of the angles between errors, which differ little between rules and seeds: those of random
    feedback in the network with seed 0, cached in this process."""
    random = replace(experiment, rule="fa", seed=0, lr=1.0)
    return levels_of({"": [Result(random, [], math.nan, "test", 0.0)]}).angles.get("true_angle", {})


def step_products(experiment: Experiment, data: Dataset) -> int:
    """Multiply-adds of the matrix products of a training step, the learning of the feedback and solved systems
    included."""
    net, rule, loss, optimizer = build(experiment, data)
    batch = data.train.head(experiment.batch_size)
    with backend.quiet(), chunks.counting_products() as products:
        rule.gradients(net, backend.asarray(batch.x, net.dtype), batch.y, loss)
        optimizer.step(net, rule)
    return sum(products)


def feedback_numbers(rule: Rule) -> int:
    """The number of entries of the arrays that a rule keeps for the way back: matrices, heads, modules."""
    return sum(array.size for key, array in rule.memory.items() if not key.endswith(rule.statistics))


# The table


class Lines:
    """The lines of a survey's table.

    Args:
        path: path of the file, created if it does not exist.

    Raises:
        DataFileError: the table is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [checked(line, path) for line in csv_files.open_table(path, COLUMNS)]

    def add_reasons(self, cells: Sequence[Cell]) -> None:
        """Write the lines of the cells that are not run and have none yet."""
        known = {(line["network"], line["rule"], line["not_run"]) for line in self.lines}
        for cell in cells:
            if cell.not_run and (cell.network, cell.rule, cell.not_run) not in known:
                self._append({"network": cell.network, "rule": cell.rule, "not_run": cell.not_run})

    def left(self, tasks: Sequence[Task]) -> list[Task]:
        """The runs without a line."""
        known = {tuple(line[key] for key in NAMES) for line in self.lines}
        return [task for task in tasks if tuple(_names_of(task).values()) not in known]

    def failed(self, tasks: Sequence[Task]) -> list[Line]:
        """The lines of those of these runs that failed."""
        wanted = [tuple(_names_of(task).values()) for task in tasks]
        return [line for line in self.lines if line["error"] and tuple(line[key] for key in NAMES) in wanted]

    def add(self, outcome: Outcome) -> Line:
        """Write the line of a run."""
        result = {"error": outcome.error} if outcome.error is not None else outcome.result
        return self._append({**_names_of(outcome.task), **{key: cell_of(value) for key, value in result.items()}})

    def _append(self, cells: Mapping[str, str]) -> Line:
        line = {key: cells.get(key, "") for key in COLUMNS}
        csv_files.append(self.path, list(line.values()))
        self.lines.append(line)
        return line


def _names_of(task: Task) -> dict[str, str]:
    experiment = task.experiment
    values = task.name, experiment.rule, repr(experiment.rate()), str(experiment.seed)
    return dict(zip(NAMES, values, strict=True))


def checked(line: Line, path: Path) -> Line:
    """The line. Raises DataFileError unless it is a run with finite numbers, or a rule that was not run."""
    if wrong := next(_wrong(line), ""):
        raise DataFileError(
            f"'{path}', the line of {line['rule']} on {line['network']}, seed {line['seed']}: {wrong}. Correct or "
            "remove the line"
        )
    return line


def _wrong(line: Line) -> Iterator[str]:
    for key in ("lr", *NUMBERS):
        if not (csv_files.is_number(line[key]) and math.isfinite(float(line[key] or 0))):
            yield f"{key} must be a number, got {line[key][:100]!r}"
    seed, is_run = line["seed"], bool(line["test_accuracy"] or line["error"])
    if seed and not (seed.isascii() and seed.isdecimal()):
        yield f"seed must be an int from 0 up, got {seed[:100]!r}"
    if line["network"] not in NETWORKS:
        yield f"the network must be one of {', '.join(NETWORKS)}, got {line['network'][:100]!r}"
    if not 0 <= float(line["test_accuracy"] or 0) <= 1:
        yield f"test_accuracy must lie from 0 to 1, got {line['test_accuracy']!r}"
    if bool(line["chance_low"]) != bool(line["chance_high"]):
        yield "chance_low and chance_high must both be given, or neither"
    if is_run and not (seed and line["lr"]):
        yield "a run needs a learning rate and a seed"
    if not (is_run or line["not_run"]):
        yield "it has no result"
