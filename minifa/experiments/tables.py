"""Text tables of results: comparisons of rules, histories, and grids of learning rates."""

from __future__ import annotations

__all__ = [
    "angle_table",
    "confusion_table",
    "grid_table",
    "history_table",
    "mean_sd",
    "ms_per_step",
    "sampling_error",
    "summary_table",
]

import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..backend import numbers_of
from ..data.base import Dataset
from ..text import table
from ..training import History
from ..training.history import Row
from ..validation import check_float, check_int, check_list, check_type
from .experiment import Experiment, Result, describe_options

RESULTS = "results must be a list of minifa.experiments.Result, as run_many gives them"
RATES = {"rule", "lr", "mean", "chosen"}  # required keys of a row of the grid
SAME = 0.1  # degrees: angles below are 0 but for rounding
WHY = 30  # characters of an error in a table; the full message was a warning
SUMMARY_COLUMNS = ("rule", "lr", "score", "weight angle", "true angle", "ms/step")


def describe_setting(experiment: Experiment, dataset: Dataset) -> str:
    """The data, model and training of an experiment in one line, without rule, rate and seed."""
    options = describe_options(experiment.model_options)
    model = f"model {experiment.model}{' ' + options if options else ''}"
    images = f", {experiment.augmentation}" if experiment.augmentation else ""
    examples = f"{dataset.name} ({len(dataset.train)} training, {len(dataset.test)} test examples)"
    if experiment.phases:
        return f"{examples}, {model}, {_epochs(experiment)} in {len(experiment.phases)} phases"
    return f"{examples}, {model}{images}, {_describe_training(experiment)}"


def _epochs(experiment: Experiment) -> str:
    at_most = "at most " if experiment.stops_early else ""
    return f"{at_most}{experiment.epochs} epoch{'s' * (experiment.epochs > 1)}"


def _describe_training(experiment: Experiment) -> str:
    patience = "" if experiment.patience is None else f" (patience {experiment.patience})"
    dropped = " (a smaller last one is dropped)" if experiment.drop_last else ""
    return f"{_epochs(experiment)}{patience}, batch {experiment.batch_size}{dropped}, {experiment.optimizer}"


def describe_phases(experiment: Experiment) -> list[str]:
    """Each phase of an experiment in a line: what it trains, and how.

    >>> from minifa.experiments import Experiment, tables
    >>> phases = [{"name": "all", "epochs": 2, "lr": 0.1}, {"name": "rest", "epochs": 1, "lr": 0.2, "freeze": "conv1"}]
    >>> print("\\n".join(tables.describe_phases(Experiment(phases=phases))))
    phase 1, all: rule bp, 2 epochs, batch 64, sgd, rate 0.1
    phase 2, rest: rule bp, 1 epoch, batch 64, sgd, rate 0.2, frozen: conv1
    """
    lines = []
    for number, (phase, stage) in enumerate(zip(experiment.phases, experiment.stages(), strict=False), start=1):
        parts = [f"rule {stage.rule}", _describe_training(stage), f"rate {stage.rate():g}"]
        parts += [] if stage.schedule == "constant" else [f"schedule {stage.schedule}"]
        parts += [] if stage.augmentation is None else [stage.augmentation]
        parts += [] if stage.freeze is None else [f"frozen: {stage.freeze}"]
        parts += [] if phase.get("carry", True) else ["all arrays of the rule drawn anew"]
        lines.append(f"phase {number}, {phase['name']}: {', '.join(parts)}")
    return lines


def in_force(experiment: Experiment, value: Callable[[Experiment], float]) -> float | str:
    """A number of an experiment, such as its learning rate; with phases, those of all phases as a text."""
    if not experiment.phases:
        return value(experiment)
    return " then ".join(f"{value(stage):g}" for stage in experiment.stages())


def summary_table(results: Sequence[Result]) -> str:
    """Table of rules: learning rate, score (mean ± sd over seeds), final angles, and time per step."""
    rows = [SUMMARY_COLUMNS]
    for rule, some in by_rule(results).items():
        fine = [r for r in some if r.error is None]
        if not fine:
            rows.append((rule, "", textwrap.shorten(f"failed: {some[0].error}", WHY, placeholder=" ..."), "", "", ""))
            continue
        rows.append(
            (
                rule,
                _general(in_force(fine[0].experiment, Experiment.rate)),
                mean_sd([r.score for r in fine]) + _remarks(fine, len(some)),
                _angle(fine, "weight_angle"),
                _angle(fine, "true_angle", first_only=True),
                f"{statistics.median(ms_per_step(r) for r in fine):.1f}",
            )
        )
    return table(rows, right_from=len(SUMMARY_COLUMNS))


def _general(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _remarks(fine: Sequence[Result], asked: int) -> str:
    """Remarks on a mean: failed and diverged runs."""
    fewer = f" ({len(fine)} of {asked} runs)" if len(fine) < asked else ""
    return fewer + (" diverged" if any(r.diverged for r in fine) else "")


def by_rule(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group results by name or, without a name, by rule; each group is sorted by seed. Raises TypeError if an item is
    not a Result."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(check_list(results, Result, RESULTS), key=lambda r: r.experiment.seed):
        groups.setdefault(result.name or result.experiment.label, []).append(result)
    return groups


def finished_by_rule(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The runs that did not fail, by rule; rules without such runs are left out."""
    groups = {rule: [r for r in some if r.error is None] for rule, some in by_rule(results).items()}
    return {rule: some for rule, some in groups.items() if some}


def all_layers(groups: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    """Names of the weighted layers of the trained network, lowest first; empty if there are no results."""
    return max((r.layers for some in groups.values() for r in some), key=len, default=())


def mean_at_end(some: Sequence[Result], column: str) -> float:
    """Mean over seeds of a column's last value; NaN if no seed has it."""
    known = [r.final[column] for r in some if r.final.get(column) is not None]
    return statistics.fmean(known) if known else math.nan


def mean_sd(values: Sequence[float], decimals: int = 3) -> str:
    """``mean ± sd`` with this number of decimals; the mean alone where `sample_sd` is None. Raises TypeError if a value
    is not a number or ``decimals`` not an int, ValueError if that is not from 0 to 15, or if there are no values."""
    values = [
        check_float(value, "a value of a mean")
        for value in check_list(values, object, "the values of a mean must be a list")
    ]
    decimals = check_int(decimals, "the number of decimals", least=0, most=15)
    if not values:
        raise ValueError("a mean needs at least one value")
    mean, sd = f"{statistics.fmean(values):.{decimals}f}", sample_sd(values)
    return mean if sd is None else f"{mean} ± {sd:.{decimals}f}"


def sample_sd(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for a single value, or if a value is not finite, as those of diverged runs.

    >>> from minifa.experiments.tables import sample_sd
    >>> sample_sd([1.0, 3.0, 5.0]), sample_sd([1.0]), sample_sd([1.0, float("inf")])
    (2.0, None, None)
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    # A power of two of the size of the largest value: no square of Python 3.10's stdev overflows or underflows.
    unit = 2.0 ** min(math.frexp(max(map(abs, values)))[1], 1023)
    return statistics.stdev(value / unit for value in values) * unit


def sampling_error(examples: int) -> str:
    """Describe the standard error of an accuracy p measured on n test examples, sqrt(p (1 - p) / n).

    >>> from minifa.experiments.tables import sampling_error
    >>> sampling_error(360)
    '360 test examples alone give a score a standard error of 0.007 at 0.98, 0.011 at 0.95, 0.026 at 0.50'
    """
    examples = check_int(examples, "the number of test examples")
    errors = ", ".join(f"{math.sqrt(p * (1 - p) / examples):.3f} at {p:.2f}" for p in (0.98, 0.95, 0.5))
    return f"{examples:,} test examples alone give a score a standard error of {errors}"


def ms_per_step(result: Result) -> float:
    """Median time of a training step in milliseconds, without measurements between epochs."""
    check_type(result, Result, "a result must be a minifa.experiments.Result, as run gives it")
    seconds = [row["seconds"] for row in result.history if "seconds" in row]
    images = [row["images_per_second"] * row["seconds"] for row in result.history if "seconds" in row]
    steps = math.ceil(round(images[0]) / result.experiment.stages()[0].batch_size)
    return 1000 * statistics.median(seconds) / steps


def layers_with(row: Row, quantity: str) -> list[str]:
    """Names of the layers for which a row has this quantity, in forward order."""
    return [key.removesuffix(f".{quantity}") for key in row if key.endswith(f".{quantity}")]


def is_aligned(result: Result) -> bool:
    """Whether all measured angles are 0 throughout: B is W, and the errors are backpropagation's; False if none was
    measured."""
    angles = [row[key] for row in result.history for key in row if key.endswith(("weight_angle", "true_angle"))]
    return bool(angles) and max(angles) < SAME


def _angle(results: Sequence[Result], quantity: str, first_only: bool = False) -> str:
    """Mean over seeds of an angle in the last row: of the first layer, or averaged over layers; "-" if there is
    none."""
    values = [value for result in results for value in final_angles(result, quantity, first_only)]
    return f"{statistics.fmean(values):.1f}°" if values else "-"


def final_angles(result: Result, quantity: str, first_only: bool = False) -> list[float]:
    """An angle in the last row: of every layer, or of the first layer only; empty if there is none."""
    last = result.final if result.history else {}
    layers = layers_with(last, quantity)[: 1 if first_only else None]
    if first_only and layers[:1] != list(result.layers[:1]):
        return []
    return [last[f"{layer}.{quantity}"] for layer in layers]


def angle_table(results: Sequence[Result]) -> str:
    """Table of the final true angle of every layer, in degrees, mean over seeds; "-" if it was not measured."""
    groups = finished_by_rule(results)
    layers = all_layers(groups)
    rows = [["true angle", *layers]]
    for rule, some in groups.items():
        means = [mean_at_end(some, f"{layer}.true_angle") for layer in layers]
        rows.append([rule, *("-" if math.isnan(mean) else f"{mean:.1f}" for mean in means)])
    return table(rows, right_from=1)


def angles_in(row: Row) -> list[float]:
    """The angles between W and B in a row, one for every layer that has one."""
    return [row[f"{layer}.weight_angle"] for layer in layers_with(row, "weight_angle")]


def history_table(history: History) -> str:
    """Table of loss, accuracy and the angles between W and B (mean, smallest and largest over layers) for about a dozen
    epochs. There are no angles if all are 0, as under backpropagation. Raises TypeError if ``history`` is not a
    History, ValueError if it has no epochs."""
    if not check_type(history, History, "a history must be a minifa.training.History"):
        raise ValueError("the history has no epoch to show")
    scores = [key for key in history.columns() if key.endswith(("_loss", "_accuracy")) and "." not in key]
    angles: dict[str, Callable[[list[float]], float]] = {}
    if any(angle >= 0.05 for row in history for angle in angles_in(row)):
        angles = {"angle W,B": statistics.fmean}
        if max(len(angles_in(row)) for row in history) > 1:
            angles = {"mean angle W,B": statistics.fmean, "smallest": min, "largest": max}
    step = max(1, len(history) // 12)
    phases = ["phase"] if "phase" in history.columns() else []
    rows = [["epoch", *phases, *(key.replace("_", " ").replace("validation", "held-out") for key in scores), *angles]]
    for row in [*history[:-1:step], history[-1]]:
        cells = [f"{row[key]:.4f}" if key in row else "" for key in scores]
        cells += [f"{measure(angles_in(row)):.1f}°" if angles_in(row) else "" for measure in angles.values()]
        rows.append([str(row["epoch"]), *(str(row.get(key, "")) for key in phases), *cells])
    return table(rows, right_from=0)


def confusion_table(matrix: Any, class_names: Sequence[str] = ()) -> str:
    """Table of a confusion matrix: one row per true class with the counts of its predicted classes, and its accuracy.

    Args:
        matrix: integers (C, C), as `minifa.metrics.confusion` returns them.
        class_names: C names, such as ``data.classes``; empty: the numbers 0..C-1.

    Raises:
        TypeError, ValueError: the matrix is not square or does not hold integers; another number of names.

    >>> from minifa.experiments import tables
    >>> print(tables.confusion_table(mf.metrics.confusion([0, 0, 1], [0, 1, 1]), ["cat", "dog"]))
    true \\ predicted  cat  dog  accuracy
    ----------------  ---  ---  --------
    cat                 1    1     0.500
    dog                 0    1     1.000
    """
    counts = numbers_of(matrix, "a confusion matrix")
    if counts.dtype.kind not in "iu" or counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix must be integers (C, C), got {counts.dtype} of shape {counts.shape}")
    names = names_of_classes(class_names, len(counts))
    rows = [["true \\ predicted", *names, "accuracy"]]
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        accuracy = f"{row[i] / row.sum():.3f}" if row.sum() else "-"
        rows.append([name, *(str(count) for count in row), accuracy])
    return table(rows, right_from=1)


def names_of_classes(given: Sequence[str], n: int) -> list[str]:
    """The names of n classes; the numbers 0..n-1 if none are given. Raises TypeError, ValueError."""
    names = check_list(given, str, "the names of the classes must be a list of str") or [str(i) for i in range(n)]
    if len(names) != n:
        raise ValueError(f"a confusion matrix of {n} classes needs {n} names, got {len(names)}")
    return names


def grid_table(rates: Sequence[Row]) -> str:
    """Table of the grid: one row per rule, one column per learning rate, the chosen rate marked. Raises TypeError or
    ValueError if ``rates`` are not rows of a grid."""
    rates = check_list(
        rates, dict, "the grid must be a list of rows, as minifa.experiments.tuning.rate_table gives them"
    )
    for row in rates:
        if not RATES <= row.keys():
            raise ValueError(f"a row of the grid has rule, lr, mean and chosen, got {row!r}")
    tried = sorted({row["lr"] for row in rates})
    rows = [["held-out score", *(f"{rate:g} " for rate in tried)]]
    for rule in dict.fromkeys(row["rule"] for row in rates):
        scores = {
            row["lr"]: f"{row['mean']:.3f}{'*' if row['chosen'] else ' '}" for row in rates if row["rule"] == rule
        }
        rows.append([rule, *(scores.get(rate, "") for rate in tried)])
    return table(rows, right_from=1) + "\n* chosen: the best mean, in a tie the smaller rate"
