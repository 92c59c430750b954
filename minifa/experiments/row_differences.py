"""The differences that `minifa reproduce` adds to a table: every row minus the reference row, paired by seed, with
standard errors from the seeds and from the common test examples (see `minifa.experiments.differences`), and the
published claims judged by them."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import DataFileError
from ..text import table
from ..training.history import Row
from . import correct_examples, resume
from .differences import image_error, paired
from .experiment import data_key
from .recipes import Claim, Recipe
from .study import Outcome, folder_of

Runs = Mapping[int, Outcome]  # the finished runs of a row, by seed
NO_WIDTH = "no width"
HEAD = ("row", "mean", "pairs", "s.e. (seeds)", "s.e. (images)", "95 % interval", "df")


def score(result: Row, measure: str) -> float:
    """The score of a run in the measure of its table, accuracy and error in %."""
    if measure == "loss":
        return float(result["test_loss"])
    share = 100 * float(result["test_accuracy"])
    return 100 - share if measure == "error" else share


def rows_of(recipe: Recipe, outcomes: Sequence[Outcome]) -> list[Row]:
    """The difference of each row from the reference: ``row``, ``reference``, ``mean``, ``pairs``; with several seeds
    ``sd``, ``standard_error``, ``df``, ``low`` and ``high``; ``diverged``, how many of these runs did, if any; and
    ``image_error``, if it is known for every run which test examples it classifies correctly. Rows that have no seed in
    common with the reference are left out.

    Args:
        recipe: the recipe with the table.
        outcomes: outcomes of its runs. A file ``test_correct.npz`` that is missing in a run folder is made from the
            checkpoint.
    """
    theirs, rows = _compared(recipe, outcomes)
    known: dict[int, np.ndarray | None] = {}
    return [_difference(recipe, name, runs, theirs, known) for name, runs in rows.items()]


def _compared(recipe: Recipe, outcomes: Sequence[Outcome]) -> tuple[Runs, dict[str, Runs]]:
    """The finished runs of the reference, and those of every row that has a seed in common with it."""
    runs: dict[str, dict[int, Outcome]] = {}
    for one in outcomes:
        if one.result is not None:
            runs.setdefault(one.task.name, {})[one.task.experiment.seed] = one
    theirs = runs.pop(recipe.reference, {})
    names = [row.name for row in recipe.rows if runs.get(row.name, {}).keys() & theirs.keys()]
    return theirs, {name: runs[name] for name in names}


def _difference(recipe: Recipe, name: str, mine: Runs, theirs: Runs, known: dict[int, np.ndarray | None]) -> Row:
    """The row of a difference. ``known`` keeps which test examples the reference classifies correctly, by seed."""
    scores = [{seed: score(run.result, recipe.measure) for seed, run in runs.items()} for runs in (mine, theirs)]
    d = paired(*scores)
    row: Row = {"row": name, "reference": recipe.reference, "mean": d.mean, "pairs": d.n}
    numbers = {"sd": d.sd, "standard_error": d.standard_error, "df": d.df, "low": d.low, "high": d.high}
    row.update({key: value for key, value in numbers.items() if value is not None})
    common = sorted(mine.keys() & theirs.keys())
    if diverged := sum(bool(runs[seed].result.get("diverged")) for runs in (mine, theirs) for seed in common):
        row["diverged"] = diverged
    if recipe.measure == "loss" or any(_test_set(mine[seed]) != _test_set(theirs[seed]) for seed in common):
        return row
    for seed in common:
        if seed not in known:
            known[seed] = correct_of(theirs[seed])
    both = [(correct_of(mine[seed]), known[seed]) for seed in common]
    complete = [(a, b) for a, b in both if a is not None and b is not None]
    if len(complete) == len(common) and len(complete[0][0]) > 1:
        row["image_error"] = 100 * image_error(*map(np.stack, zip(*complete, strict=True)))
    return row


def _test_set(run: Outcome) -> tuple[object, ...]:
    return (*data_key(run.task.experiment), run.result["test_examples"])


def correct_of(run: Outcome) -> np.ndarray | None:
    """Which test examples a finished run classifies correctly: bool (N,), from its folder or, once, from its
    checkpoint; None if neither is there, or the data are others or unknown."""
    folder = folder_of(run.task)
    kept = correct_examples.read(folder, run.result)
    if kept is not None or not has_checkpoint(run):
        return kept
    try:
        correct = resume.correct_from_checkpoint(folder)
    except (OSError, ValueError, DataFileError):
        return None
    if not correct_examples.belongs(correct, run.result):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        correct_examples.keep(folder, correct)
    return correct


def has_checkpoint(run: Outcome) -> bool:
    """Whether the examples of a run can be classified again by the network of its result, on the same data."""
    return run.compared and resume.reported_checkpoint(folder_of(run.task), run.task.experiment).is_file()


def to_classify(recipe: Recipe, outcomes: Sequence[Outcome]) -> int:
    """The number of finished runs that `rows_of` classifies again, because an earlier version made them.

    Args:
        recipe, outcomes: as for `rows_of`.
    """
    if recipe.measure == "loss":
        return 0
    theirs, rows = _compared(recipe, outcomes)
    needed: dict[tuple[str, int], Outcome] = {}
    for name, mine in rows.items():
        for seed in mine.keys() & theirs.keys():
            needed |= {(name, seed): mine[seed], (recipe.reference, seed): theirs[seed]}
    return sum(
        correct_examples.read(folder_of(one.task), one.result) is None and has_checkpoint(one)
        for one in needed.values()
    )


# As text


def text_of(recipe: Recipe, rows: Sequence[Row]) -> str:
    """Format the differences; `notes` explains the columns.

    Args:
        recipe: the recipe with the table.
        rows: of `rows_of`, at least one.
    """
    unit = "in test loss" if recipe.measure == "loss" else f"in points of test {recipe.measure}"
    lines = [list(HEAD)] + [
        [
            row["row"],
            _signed(row["mean"], recipe.measure),
            str(row["pairs"]),
            _number(row, "standard_error", recipe.measure),
            _number(row, "image_error", recipe.measure),
            _interval(row, recipe.measure),
            f"{row['df']:g}" if "df" in row else "",
        ]
        for row in rows
    ]
    used = [i for i in range(len(HEAD)) if any(line[i] for line in lines[1:])]
    shown = [[line[i] for i in used] for line in lines]
    return f"differences from {recipe.reference}, paired by seed, {unit}\n\n{table(shown, right_from=1)}"


def _signed(value: float, measure: str) -> str:
    return f"{value:+.4g}" if measure == "loss" else f"{value:+.2f}"


def _number(row: Row, key: str, measure: str) -> str:
    return "" if key not in row else f"{row[key]:.3g}" if measure == "loss" else f"{row[key]:.2f}"


def _interval(row: Row, measure: str) -> str:
    if "low" not in row:
        return ""
    return (
        NO_WIDTH if row["low"] == row["high"] else f"{_signed(row['low'], measure)} to {_signed(row['high'], measure)}"
    )


def notes(recipe: Recipe, rows: Sequence[Row]) -> list[str]:
    """What the columns mean, and the claims of the recipe on these rows.

    Args:
        recipe: the recipe with the table.
        rows: of `rows_of`.
    """
    texts = []
    if any("standard_error" in row for row in rows):
        texts += [
            "s.e. (seeds): what other initial weights, orders of examples and feedback matrices would change, on these "
            "test examples: sd of the differences / sqrt(pairs)",
            "95 % interval: over seeds, from Student's t with df = pairs - 1",
        ]
    if any("low" in row and row["low"] == row["high"] for row in rows):
        texts.append(f"{NO_WIDTH}: the difference is the same under every seed, from which no interval follows")
    if diverged := [row["row"] for row in rows if "diverged" in row]:
        texts.append(f"diverged, in {', '.join(diverged)} or the reference: such runs count with their last score")
    if any("image_error" in row for row in rows):
        texts.append(
            "s.e. (images): what other test examples would change, for these trained networks: sd over the test "
            "examples of the difference in being correct (1 or 0, mean over seeds) / sqrt(examples)"
        )
    lacking = [row["row"] for row in rows if "image_error" not in row]
    if lacking and recipe.measure != "loss":
        texts.append(
            f"no s.e. (images) for {', '.join(lacking)}: the folder of a run, or of the reference, has neither "
            f"{correct_examples.FILE} nor a checkpoint of its result, or not these data"
        )
    by_name = {row["row"]: row for row in rows}
    return texts + [
        f"claim: {_judged(claim, by_name[name], recipe)}"
        for claim in recipe.claims
        for name in claim.rows
        if name in by_name
    ]


def _judged(claim: Claim, row: Row, recipe: Recipe) -> str:
    """A claim on a row, its outcome, and the numbers that decide it."""
    unit = "" if recipe.measure == "loss" else " points"
    size = f"{claim.size:g}{unit}"
    words = f"within {size} of" if claim.bound == "within" else f"at least {size} behind"
    mean = _signed(row["mean"], recipe.measure)
    sentence = f"{row['row']} {words} {row['reference']}"
    if row["pairs"] == 1:
        images = f", s.e. from the images {_number(row, 'image_error', recipe.measure)}" if "image_error" in row else ""
        return f"{sentence}: {mean}{images}; not decided, because one seed gives no interval"
    if "low" not in row:
        return f"{sentence}: {mean}; not decided, because a run diverged"
    degrees = f"{row['df']:g} degree{'s' * (row['df'] != 1)} of freedom"
    numbers = f"({mean}, 95 % interval {_interval(row, recipe.measure)}, {degrees})"
    return f"{sentence}: {outcome_of(claim, row['low'], row['high'], recipe.measure)} {numbers}"


def outcome_of(claim: Claim, low: float, high: float, measure: str) -> str:
    """What the interval of a difference says about a claim: "holds" if all of it lies where the claim says, "does not
    hold" if none of it does, otherwise, or if it has no width, "not decided by these seeds".

    Args:
        claim: the claim.
        low, high: limits of the interval of the difference, in the measure.
        measure: "accuracy", of which more is better, "error" or "loss".

    >>> from minifa.experiments.recipes import Claim
    >>> from minifa.experiments.row_differences import outcome_of
    >>> claim, intervals = Claim(("fa",), "behind", 15), [(-40, -20), (-20, -9), (-9, 1)]
    >>> [outcome_of(claim, low, high, "accuracy") for low, high in intervals]
    ['holds', 'not decided by these seeds', 'does not hold']
    """
    if measure != "accuracy":  # less is better
        low, high = -high, -low
    least, most = (-claim.size, claim.size) if claim.bound == "within" else (-math.inf, -claim.size)
    if low < high and least <= low and high <= most:
        return "holds"
    if low < high and (high < least or low > most):
        return "does not hold"
    return "not decided by these seeds"
