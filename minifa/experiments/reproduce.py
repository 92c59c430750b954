"""Reproducing published tables: every row is run under every seed and compared with the published value.

    difference = mean over our seeds - published
    its standard error = sd sqrt(1/n + 1),   sd = max(sd over our n seeds, sqrt(p (1 - p) / N))

The published value is treated as a single run with the same variance as ours. The sd of a few seeds is unreliable, so
the sampling error of a score p on N test examples is used as a lower bound. Each run has its own folder
(`minifa.experiments.resume.run_in_folder`): finished runs are skipped, and interrupted runs are resumed.
"""

from __future__ import annotations

__all__: list[str] = []

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import environment, imports
from ..data.base import Dataset
from ..registry import unknown
from ..storage.atomic import expanded, plain, refuse_link, write_atomic
from ..text import lines_of, printable, table
from ..training import History
from ..training.history import Row
from . import class_tables, resume, row_differences, run_folder, target_tables
from .experiment import Experiment, Result, content_name, data_key, describe_options, load_data
from .recipes import Recipe, TableRow
from .study import Outcome, Task, attempt, folder_of, in_folder
from .tables import in_force, sample_sd

NOTES_WIDE = 80  # characters per line of the notes
COLUMNS = ("row", "rule", "rate", "seeds", "published", "here", "difference", "s.e.", "reached", "minutes")


def plan(recipe: Recipe, folder: str | Path, rows: Sequence[str] = (), seeds: int | None = None) -> list[Task]:
    """The runs of a table, seeds outermost, so that an interrupted table has all rows.

    Args:
        recipe: a recipe with a table.
        folder: parent of the run folders, ``ROW-seed0``.
        rows: names of the rows to run; empty: all.
        seeds: number of seeds per row; None: as in the recipe.

    Raises:
        ValueError: the recipe has no table or no row of that name, or a change has no effect on any row.

    >>> from minifa.experiments import recipes, reproduce
    >>> recipe = recipes.read("lillicrap")
    >>> [task.folder.name for task in reproduce.plan(recipe, "runs", rows=["bp"], seeds=2)]
    ['bp-seed0', 'bp-seed1']
    """
    if not recipe.rows:
        raise ValueError(f"the recipe {recipe.name!r} has no table to reproduce; minifa train --recipe runs it")
    known = [row.name for row in recipe.rows]
    for name in rows:
        if name not in known:
            raise ValueError(unknown(known, name, f"row of {recipe.name!r}"))
    chosen = [row for row in recipe.rows if not rows or row.name in rows]
    for change in recipe.changes:
        name = change.partition("=")[0].strip()
        if all(name in row.own for row in chosen):
            raise ValueError(f"{change} changes nothing: every row of {recipe.name!r} has a {name} of its own")
    most = max(row.seeds for row in chosen) if seeds is None else seeds
    return [
        _task(row, seed, expanded(folder))
        for seed in range(most)
        for row in chosen
        if seed < (row.seeds if seeds is None else seeds)
    ]


def _task(row: TableRow, seed: int, folder: Path) -> Task:
    experiment = replace(row.experiment, seed=row.experiment.seed + seed)
    return Task(experiment, folder / f"{row.name}-seed{experiment.seed}", name=row.name)


def finished(recipe: Recipe, folder: str | Path) -> list[Outcome]:
    """The finished runs in the folder of a table, of any row and seed.

    Args:
        recipe: the recipe with the table.
        folder: folder of the table; it need not exist.

    Raises:
        ValueError: the folder holds runs with other settings, another dtype, other data or more epochs.
        OSError: a run folder is a link, or something in it is not a regular file.
    """
    outcomes = []
    known: dict[tuple[Any, ...], Dataset | None] = {}
    for row in recipe.rows:
        for place in sorted(expanded(folder).glob(f"{row.name}-seed*")):
            number = place.name.removeprefix(f"{row.name}-seed")
            if not number.isdecimal():
                continue
            refuse_link(place)
            saved = resume.saved_run(place)
            if saved is None:  # missing or damaged: reported when the run is made
                continue
            task = Task(replace(row.experiment, seed=int(number)), place, name=row.name)
            here = _contents(task.experiment, saved, known)
            _refuse_another(task, saved, here)
            if saved.result is not None and saved.experiment.get("epochs") == task.experiment.epochs:
                compared = bool(here) and here.keys() - imports.digests().keys() <= saved.contents.keys()
                outcomes.append(Outcome(task, dict(saved.result), made_by=saved.made_by, compared=compared))
    return outcomes


def _contents(
    experiment: Experiment, saved: resume.SavedRun, known: dict[tuple[Any, ...], Dataset | None]
) -> dict[str, str]:
    """Current digests of the run's files; empty if no digests were stored with the run, or the files are missing: a
    table can be shown without its data."""
    if not saved.contents:
        return {}
    where = data_key(experiment)
    if where not in known:
        known.clear()  # keep one data set at a time in memory
        try:
            known[where] = load_data(experiment)
        except (OSError, ValueError):
            known[where] = None
    data = known[where]
    try:
        return {} if data is None else resume.contents(experiment, data)
    except OSError:  # of the file of initial weights
        return {}


def _refuse_another(task: Task, saved: resume.SavedRun, here: Mapping[str, str]) -> None:
    differ, epochs = resume.run_differences(saved, task.experiment, here), saved.experiment.get("epochs")
    if not isinstance(epochs, int) or epochs > task.experiment.epochs:  # a run with fewer epochs is resumed
        differ.append(f"epochs {epochs} and not {task.experiment.epochs}")
    if differ:
        raise ValueError(
            f"{task.folder} holds a run with {', '.join(differ)}: name another --out, or use the settings of that run"
        )


def make(task: Task) -> Outcome:
    """Make one run in this process. The outcome of a failed run has the reason."""
    return attempt(in_folder, task)


def epochs_done(tasks: Sequence[Task]) -> int:
    """Number of finished epochs of these runs, from their histories."""
    return sum(min(_lines(folder_of(task) / "history.csv"), task.experiment.epochs) for task in tasks)


def _lines(path: Path) -> int:
    """Number of lines of a history, without the header and the row before training."""
    try:
        with open(path, "rb", opener=plain) as file:
            return max(0, sum(1 for _ in file) - 2)
    except OSError:  # missing, or just being written
        return 0


# The table


def rows_of(recipe: Recipe, outcomes: Sequence[Outcome]) -> list[Row]:
    """One row of numbers for every row of the table that was run: mean and sd over seeds, published value, difference
    and its standard error, in the recipe's measure.

    Args:
        recipe: the recipe with the table.
        outcomes: outcomes of its runs, in any order.
    """
    rows = []
    for row in recipe.rows:
        mine = sorted((one for one in outcomes if one.task.name == row.name), key=lambda one: one.task.experiment.seed)
        fine = [one.result for one in mine if one.result is not None]
        if not mine:
            continue
        experiment = mine[0].task.experiment
        summary: Row = {
            "row": row.name,
            "rule": experiment.label,
            "lr": in_force(experiment, Experiment.rate),
            "weight_decay": in_force(experiment, Experiment.decay),
            "epochs": experiment.epochs,
            "seeds": len(fine),
        }
        if row.published is not None:
            summary["published"] = row.published
        if fine:
            summary.update(
                _compare(
                    [row_differences.score(one, recipe.measure) for one in fine], fine[0], recipe.measure, row.published
                )
            )
            if recipe.reach is not None:
                summary["reached"] = " ".join(
                    _epoch_of(one.task, recipe.reach) for one in mine if one.result is not None
                )
            summary["seconds"] = statistics.fmean(one["seconds"] for one in fine)
            summary["diverged"] = sum(bool(one["diverged"]) for one in fine)
            if versions := dict.fromkeys(one.made_by for one in mine if one.made_by):
                summary["made_by"] = "; ".join(versions)
        errors = [f"seed {one.task.experiment.seed}: {one.error}" for one in mine if one.error is not None]
        if errors:
            summary["error"] = "; ".join(errors)
        rows.append(summary)
    return rows


def _epoch_of(task: Task, accuracy: float) -> str:
    """The first epoch with this accuracy on the validation examples (without these: on the test set); "-" if none."""
    column = "validation_accuracy" if task.experiment.validation else "test_accuracy"
    history = History.read_csv(folder_of(task) / "history.csv")
    return next((str(row["epoch"]) for row in history if row.get(column, 0.0) >= accuracy), "-")


def _compare(scores: Sequence[float], result: Row, measure: str, published: float | None) -> Row:
    mean = statistics.fmean(scores)
    numbers: Row = {"mean": mean}
    if (sd := sample_sd(scores)) is not None:
        numbers["sd"] = sd
    if published is not None:
        numbers["difference"] = mean - published
        if measure != "loss":
            p = mean / 100
            least = 100 * math.sqrt(max(p * (1 - p), 0.0) / result["test_examples"])
            spread = max(numbers.get("sd", 0.0), least)
            if spread > 0:  # with 0 or 100 % the variance is unknown
                numbers["standard_error"] = spread * math.sqrt(1 / len(scores) + 1)
    return numbers


def table_text(recipe: Recipe, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> str:
    """Format the table, with notes on its numbers.

    Args:
        recipe: the recipe with the table.
        rows: from `rows_of`.
        outcomes: outcomes of its runs.
    """
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    unused = {i for i, name in enumerate(COLUMNS) if i > 3 and not any(line[i] for line in lines[1:])}
    shown = [[cell for i, cell in enumerate(line) if i not in unused] for line in lines]
    head = "\n".join(text for text in (recipe.title, _setting(recipe, outcomes)) if text)
    return printable(f"{head}\n\n{table(shown, right_from=2)}\n\n" + "\n".join(_notes(recipe, rows, outcomes)))


def _cells(row: Row) -> list[str]:
    def number(key: str, form: str = ".2f") -> str:
        return format(row[key], form) if key in row else ""

    here = number("mean") + (f" ± {row['sd']:.2f}" if "sd" in row else "")
    here += " diverged" if row.get("diverged") else ""
    minutes = f"{row['seconds'] / 60:.1f}" if "seconds" in row else ""
    return [
        row["row"],
        row["rule"],
        row["lr"] if isinstance(row["lr"], str) else f"{row['lr']:g}",
        str(row["seeds"]),
        number("published"),
        here or "failed",
        number("difference", "+.2f"),
        number("standard_error"),
        row.get("reached", ""),
        minutes,
    ]


def _setting(recipe: Recipe, outcomes: Sequence[Outcome]) -> str:
    e = outcomes[0].task.experiment
    options = describe_options(e.model_options)
    parts = [content_name(vars(e)), f"model {e.model}{' ' + options if options else ''}", e.augmentation or ""]
    epochs = f"{e.epochs} epoch{'s' * (e.epochs > 1)}"
    return ", ".join(filter(None, [*parts, epochs, f"batch {e.batch_size}", e.optimizer, _schedule(e)]))


def _schedule(experiment: Experiment) -> str:
    return "" if experiment.schedule == "constant" else experiment.schedule


def _notes(recipe: Recipe, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> list[str]:
    measured = "test loss" if recipe.measure == "loss" else f"test {recipe.measure} in %"
    held_out = outcomes[0].task.experiment.validation
    which = "at the epoch that was best on held-out examples" if held_out else "after the last epoch"
    notes = [f"here: {measured} {which}, mean ± sd over seeds; minutes: of training, per run"]
    if any("standard_error" in row for row in rows):
        notes.append(
            "s.e.: of the difference, from the spread of our seeds (at least a test score's own), taken as theirs too"
        )
    if recipe.reach is not None:
        notes.append(f"reached: the first epoch with an accuracy of {recipe.reach:g}, seed by seed; -: not reached")
    if recipe.published_by:
        notes.append(f"published: {recipe.published_by}")
    if recipe.changes:
        notes.append(f"changed from the recipe: {', '.join(recipe.changes)}")
    notes += [recipe.note] if recipe.note else []
    notes += sorted({one.result["note"] for one in outcomes if one.result and one.result["note"]})
    notes += _versions(outcomes)
    notes += [f"{row['row']}: {row['error']}" for row in rows if "error" in row]
    return [_wrapped(note) for note in notes]


def _wrapped(note: str) -> str:
    return "\n".join(lines_of(note, NOTES_WIDE, hanging="  "))


def _versions(outcomes: Sequence[Outcome]) -> list[str]:
    """The runs made by other versions of minifa, one line per version."""
    by_version: dict[str, dict[str, list[str]]] = {}
    for one in outcomes:
        if one.result is not None and one.made_by and environment.is_another_version(one.made_by):
            by_version.setdefault(one.made_by, {}).setdefault(one.task.name, []).append(str(one.task.experiment.seed))
    return [
        f"made by minifa {made_by}: {', '.join(f'{row} (seed {chr(32).join(seeds)})' for row, seeds in rows.items())}"
        for made_by, rows in by_version.items()
    ]


def write(recipe: Recipe, folder: str | Path, outcomes: Sequence[Outcome]) -> str:
    """Write ``table.txt``, ``table.csv`` and ``curves.csv`` (every epoch of every run) to the folder; where there is
    something to write, ``differences.csv`` (see `minifa.experiments.row_differences`), ``classes.csv`` (see
    `minifa.experiments.class_tables`) and ``targets.csv`` (see `minifa.experiments.target_tables`).

    Args:
        recipe: the recipe with the table.
        folder: existing folder.
        outcomes: outcomes of its runs.

    Returns:
        The table as text.
    """
    place, rows = expanded(folder), rows_of(recipe, outcomes)
    text = table_text(recipe, rows, outcomes)
    if differences := row_differences.rows_of(recipe, outcomes):
        History(differences).save_csv(place / "differences.csv")
        notes = "\n".join(map(_wrapped, row_differences.notes(recipe, differences)))
        text += f"\n\n{row_differences.text_of(recipe, differences)}\n\n{notes}"
    if classes := class_tables.rows_of(recipe, outcomes):
        History(classes).save_csv(place / "classes.csv")
    if targets := target_tables.rows_of(rows, outcomes):
        History(targets).save_csv(place / "targets.csv")
        text += f"\n\n{target_tables.text_of(targets, recipe.measure)}\n\n{_wrapped(target_tables.NOTE)}"
    write_atomic(place / "table.txt", text + "\n")
    History(rows).save_csv(place / "table.csv")
    curves = [
        {"row": one.task.name, "seed": one.task.experiment.seed, **epoch}
        for one in outcomes
        if one.result is not None
        for epoch in History.read_csv(folder_of(one.task) / "history.csv")
    ]
    History(curves).save_csv(place / "curves.csv")
    return text


def results_of(outcomes: Sequence[Outcome]) -> list[Result]:
    """The results for `minifa.figures` (`learning_curves`, `alignment_curves`, ...), named by their rows."""
    results = []
    for one in outcomes:
        if one.result is not None:
            for result in run_folder.read_run(folder_of(one.task), one.task.experiment):
                results.append(replace(result, name=one.task.name))
    return results
