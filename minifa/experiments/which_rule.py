"""Which rule was this? A classifier predicts the rule of a network from statistics recorded in its training.

After Nayebi, Srivastava, Ganguli & Yamins 2020, "Identifying learning rules from neural network observables". A sweep
(see `minifa.experiments.sweeps`) trains networks in several cases: rules, with their optimizers and learning rates. The
statistics of every hidden layer at every epoch (`minifa.layer_statistics`) are the features of a run, its case is the
class, and the classifier is a softmax regression. A feature that is not defined in one of the runs is dropped for all.

Runs are split in several ways into those that the classifier is fitted to and those that it predicts:

    75/25       ten times at random, a quarter is predicted
    unseen X    for each setting X that all cases vary: all runs with one of its values are predicted, each value in
                turn. Values are counted within a case: "unseen lr" leaves out the lower, then the higher rate of each.

Runs of one seed start from the same weights under all rules. At random, most runs that start as a predicted run does
are fitted. Where the rules have led to different networks, the known start helps to tell these apart. Where they have
not, the answer is worse than a guess: the fitted runs with the same start are more often of other classes, because the
predicted run is missing in its own. The first point alone, before training, is the control: its features say nothing
about the rule, so it is below chance at random. At unseen seeds no fitted run starts as a predicted one does, and there
is neither effect. The first and the last point say how far a network moved, but not how.

A folder has the table of a sweep (see `minifa.experiments.sweep_results`), and in histories/ID.csv the statistics of
the run with this id, written before its line. `minifa which-rule` is the command.
"""

from __future__ import annotations

__all__: list[str] = []

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from ..layer_statistics import QUANTITIES
from ..rng import generator
from ..storage import csv_files
from ..storage.atomic import make_folder
from ..text import lines_of, printable, table
from ..training import History
from ..training.history import Row
from . import study, sweeps
from .experiment import final_row, train_phases, trainer_for
from .recipes import RecipeError, write_value
from .softmax_regression import SoftmaxRegression
from .study import Outcome, Task
from .sweep_results import SCORES, Results
from .sweeps import CASE, Run, Sweep
from .tables import sample_sd

KINDS = {"weights": ("weight",), "activities": ("activity",), "both": ("weight", "activity")}
ALL, FIRST, ENDS = "all", "first", "first and last"  # points of training
ROWS = (("weights", ALL), ("activities", ALL), ("both", ALL), ("both", FIRST), ("both", ENDS))
RANDOM, SPLITS, TEST_SHARE = "75/25", 10, 0.25
SEEDS = "unseen seed"
WIDTH = 80  # characters per line of the notes
Split = tuple[numpy.ndarray, numpy.ndarray]  # numbers of the runs that are fitted, and that are predicted


# Runs


def read(name_or_path: str | Path, changes: Sequence[str] = ()) -> Sweep:
    """Read a sweep, as `minifa.experiments.sweeps.read` does, whose runs can be classified.

    Raises:
        ValueError, FileNotFoundError: as for that function.
        RecipeError: also if the sweep has fewer than two cases, or a case fewer than two runs of its own, or if the
            runs record no statistics.
    """
    sweep = sweeps.read(name_or_path, changes)
    problems = []
    if len(sweep.cases) < 2:
        problems.append(f"case: at least two sections [[case]] are classes to tell apart, got {len(sweep.cases)}")
    counts = Counter(run.settings.get(CASE) for run in sweep.runs)
    for case in sweep.cases:
        if counts[case] < 2:
            problems.append(
                f"case {case}: it has {'1 run' if counts[case] else 'no run that is not one of another case'}, and at "
                "least two are needed to tell cases apart: some are fitted, and the others predicted"
            )
    if not all(run.experiment.statistics for run in sweep.runs):
        problems.append("training.statistics: it must be true, because the statistics of each run are its features")
    if problems:
        raise RecipeError(sweep.place, problems)
    return sweep


def measure(task: Task) -> Outcome:
    """Make one run in memory. The result has the scores, as in the table of a sweep, and the ``history``."""
    experiment, data = task.experiment, study.load(task)
    trainer = trainer_for(experiment, data)
    train_phases(experiment, data, trainer)
    last, history = final_row(experiment, trainer.history), trainer.history
    scores = {key: last[key] for key in SCORES if key in last}
    scores.update({f"test_{key}": value for key, value in trainer.evaluate(data.test).items()})
    seconds = sum(row.get("seconds", 0.0) for row in history)
    facts = {"epochs": history[-1]["epoch"], "seconds": seconds, "diverged": trainer.diverged, "history": history}
    return Outcome(task, {**scores, **facts})


def left(results: Results, retry_failed: bool = False) -> list[Run]:
    """The runs that are still to be made: without a line in the table, or without a file of statistics."""
    missing = {run.id for run in results.left(retry_failed)}
    lines, folder = results.lines, results.path.parent
    return [
        run
        for run in results.sweep.runs
        if run.id in missing or (not lines[run.id]["error"] and not history_of(folder, run).is_file())
    ]


def history_of(folder: Path, run: Run) -> Path:
    """The path of a run's statistics."""
    return folder / "histories" / f"{run.id}.csv"


def add(results: Results, outcome: Outcome) -> dict[str, str]:
    """Write the statistics of a run, then its line in the table, which is returned."""
    if outcome.error is None:
        make_folder(results.path.parent / "histories")
        path = history_of(results.path.parent, results.runs[outcome.task.name])
        History(outcome.result["history"]).save_csv(path)
    return results.add(outcome)


# Features


@dataclass(frozen=True)
class Features:
    """The features of the runs of a sweep that were trained to their end.

    Attributes:
        sweep: their sweep.
        runs: its runs that were trained to their end, n of them.
        names: d names ``EPOCH.LAYER.KIND_STATISTIC``, such as ``10.linear1.weight_mean``.
        x: their values (n, d).
        y: the number of each run's case, ints (n,).
        points: the epochs that every run has, in order.
        dropped: number of features that are not defined in one of the runs.
    """

    sweep: Sweep
    runs: tuple[Run, ...]
    names: tuple[str, ...]
    x: numpy.ndarray
    y: numpy.ndarray
    points: tuple[str, ...]
    dropped: int

    def columns(self, kind: str, points: str) -> numpy.ndarray:
        """Whether each feature is of a kind (a key of `KINDS`) and of the points `ALL`, `FIRST` or `ENDS`."""
        chosen = {ALL: self.points, FIRST: self.points[:1], ENDS: (self.points[0], self.points[-1])}[points]
        return numpy.array(
            [
                name.partition(".")[0] in chosen and name.rpartition(".")[2].startswith(KINDS[kind])
                for name in self.names
            ]
        )

    def save(self, path: Path) -> None:
        """Write them as a CSV file with a line for each run: its id, its settings, and its features."""
        rows = []
        for run, x in zip(self.runs, self.x.tolist(), strict=True):
            settings = {key: write_value(value) for key, value in run.settings.items()}
            rows.append({"id": run.id, **settings, **dict(zip(self.names, x, strict=True))})
        csv_files.write(path, ["id", *self.sweep.varied, *self.names], rows)


def collect(results: Results) -> Features:
    """The features of all finished runs; those that failed or diverged are left out.

    Raises:
        ValueError: fewer than two runs of a case are finished, or no feature is defined in all runs.
        DataFileError, OSError: a file of statistics is damaged or missing.
    """
    sweep, folder = results.sweep, results.path.parent
    lines = {line["id"]: line for line in results.of_sweep()}
    runs = [run for run in sweep.runs if run.id in lines]
    runs = [run for run in runs if not lines[run.id]["error"] and lines[run.id]["diverged"] != "1"]
    y = numpy.array([sweep.cases.index(run.settings[CASE]) for run in runs], int)
    for number, case in enumerate(sweep.cases):
        if (count := int((y == number).sum())) < 2:
            raise ValueError(f"each case needs at least two finished runs to be told apart, {case!r} has {count}")
    found = [_features(History.read_csv(history_of(folder, run))) for run in runs]
    known = dict.fromkeys(name for one in found for name in one)
    names = tuple(name for name in known if all(name in one for one in found))
    if not names:
        raise ValueError("no statistic is defined in all runs: their networks have other layers or numbers of epochs")
    x = numpy.array([[one[name] for name in names] for one in found])
    points = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    return Features(sweep, tuple(runs), names, x, y, points, len(known) - len(names))


def _features(history: History) -> dict[str, float]:
    endings = tuple(f".{kind}_{quantity}" for kind in KINDS["both"] for quantity in QUANTITIES)
    return {
        f"{row['epoch']}.{key}": float(value) for row in history for key, value in row.items() if key.endswith(endings)
    }


# Splits


def splits(features: Features) -> dict[str, list[Split]]:
    """By name, the splits into fitted and predicted runs (see the top of this file)."""
    n = len(features.runs)
    count = max(1, round(TEST_SHARE * n))
    orders = [generator(0, "data", "splits", number).permutation(n) for number in range(SPLITS)]
    found: dict[str, list[Split]] = {RANDOM: [(order[count:], order[:count]) for order in orders]}
    for setting in features.sweep.varied:
        values = _places(features, setting)
        if setting != CASE and min(len(set(values[features.y == k])) for k in set(features.y)) > 1:
            held_out = [values == value for value in sorted(set(values))]
            folds = [(numpy.flatnonzero(~one), numpy.flatnonzero(one)) for one in held_out]
            found[f"unseen {setting.rpartition('.')[2]}"] = folds
    return found


def _places(features: Features, setting: str) -> numpy.ndarray:
    """For each run, the place of its value of a setting among the values of its case, in the order of the sweep."""
    known: dict[str, list[str]] = {case: [] for case in features.sweep.cases}
    for run in features.sweep.runs:
        value = write_value(run.settings[setting])
        if value not in known[run.settings[CASE]]:
            known[run.settings[CASE]].append(value)
    return numpy.array([known[run.settings[CASE]].index(write_value(run.settings[setting])) for run in features.runs])


# Classification


def classify(features: Features) -> Iterator[tuple[Row, numpy.ndarray]]:
    """Fit the classifier to every split, for each line of `ROWS`.

    Yields:
        For each line and each kind of split: (a row with ``features``, ``points``, ``split``, the number of ``splits``,
        the mean ``accuracy`` over these and its ``sd``, and the same with the merged cases of the sweep as one class,
        ``merged_accuracy`` and ``merged_sd``; the counts (C, C) of the predictions, true cases as rows).
    """
    for kind, points in ROWS:
        x = features.x[:, features.columns(kind, points)]
        for name, some in splits(features).items():
            predicted = [SoftmaxRegression(x[fit], features.y[fit]).predict(x[test]) for fit, test in some]
            yield _row(features, kind, points, name, some, predicted)


def _row(
    features: Features, kind: str, points: str, name: str, some: Sequence[Split], predicted: Sequence[numpy.ndarray]
) -> tuple[Row, numpy.ndarray]:
    y, sweep = features.y, features.sweep
    confusion = numpy.zeros((len(sweep.cases), len(sweep.cases)), int)
    row: Row = {"features": kind, "points": points, "split": name, "splits": len(some)}
    scores, merged = [], []
    for (_, test), classes in zip(some, predicted, strict=True):
        numpy.add.at(confusion, (y[test], classes), 1)
        scores.append(float((classes == y[test]).mean()))
        merged.append(float((merge(sweep, classes) == merge(sweep, y[test])).mean()))
    row.update(accuracy=statistics.fmean(scores), sd=sample_sd(scores))
    if sweep.merged:
        row.update(merged_accuracy=statistics.fmean(merged), merged_sd=sample_sd(merged))
    return row, confusion


def merge(sweep: Sweep, y: numpy.ndarray) -> numpy.ndarray:
    """The classes y, with that of the first merged case for all of them."""
    numbers = [sweep.cases.index(name) for name in sweep.merged]
    return numpy.where(numpy.isin(y, numbers), numbers[0], y) if numbers else y


def chances(features: Features) -> list[float]:
    """The share of the most frequent class and, if the sweep merges cases, that with these as one class."""
    y, merged = features.y, merge(features.sweep, features.y)
    return [float(numpy.bincount(one).max() / len(y)) for one in ((y, merged) if features.sweep.merged else (y,))]


# Text


def text_of(features: Features, rows: Sequence[Row]) -> str:
    """Format the accuracies, with notes.

    Args:
        features: the features of the runs.
        rows: all rows of `classify`.
    """
    sweep, chance = features.sweep, chances(features)
    parts = [sweep.title or f"Which rule was this? {sweep.name}", _accuracy_table(rows, "accuracy", "sd", chance[0])]
    if sweep.merged:
        parts += [
            f"{' = '.join(sweep.merged)}: confusing these with each other counts as right",
            _accuracy_table(rows, "merged_accuracy", "merged_sd", chance[1]),
        ]
    notes = [
        f"{len(features.runs)} of {len(sweep.runs)} runs; {len(features.names)} features, {len(features.points)} "
        f"points of training; dropped, because not defined in every run: {features.dropped}",
        f"{RANDOM}: mean ± sd of {SPLITS} random splits; unseen: mean over the values, each left out in turn",
        "chance: always the most frequent class",
        "first: before training, when runs of one seed are equal under all rules",
        f"{RANDOM} fits most runs of the predicted run's seed. Where rules have led to different networks, the known "
        "start helps. Where they have not (first, too), the answer is worse than a guess, because the predicted run "
        "is missing in its own class only. At unseen seeds there is neither effect",
        *([sweep.note] if sweep.note else []),
    ]
    parts.append("\n".join("\n".join(lines_of(note, WIDTH, hanging="  ")) for note in notes))
    return printable("\n\n".join(parts))


def _accuracy_table(rows: Sequence[Row], key: str, sd: str, chance: float) -> str:
    names = list(dict.fromkeys(row["split"] for row in rows))
    lines = [("features", "points", *(name.replace("_", " ") for name in names))]
    for kind, points in ROWS:
        some = {row["split"]: row for row in rows if (row["features"], row["points"]) == (kind, points)}
        cells = (f"{some[name][key]:.2f}" + (f" ± {some[name][sd]:.2f}" if name == RANDOM else "") for name in names)
        lines.append((kind, points, *cells))
    lines.append(("chance", "", *[f"{chance:.2f}"] * len(names)))
    return table(lines, right_from=2)
