"""`minifa reproduce`: reproduce a published table and print it beside the published numbers."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..console import print_stderr
from ..experiments import reading, recipes, reproduce, row_differences, study
from ..experiments.study import Outcome, folder_of
from ..experiments.tables import layers_with
from ..signals import exit_code
from ..storage.atomic import expanded
from ..text import lines_of, terminal_width, wrap
from . import pictures
from .exit_codes import FAILED, OK
from .options import add_changes, at_least_one, seeds
from .progress import follow

CURVES, TARGETS, INDENT = "curves.png", "targets.png", "    "
DEPENDENCE, INFORMATION = "dependence.png", "information.png"


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "table", nargs="?", help=f"one of {', '.join(recipes.shipped())}, or a .toml file; none: all are listed"
    )
    command.add_argument(
        "--out", help="folder of the runs and the table (default: runs/reproduce-TABLE); a run there is resumed"
    )
    command.add_argument("--rows", default="", help="comma-separated names of the rows to run (default: all)")
    command.add_argument("--seeds", type=seeds, help="runs of each row (default: as the recipe says)")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    add_changes(command)


def run(options: argparse.Namespace) -> int:
    if options.table is None:
        return _list()
    recipe = recipes.read(options.table, options.changes)
    folder = expanded(options.out or f"runs/reproduce-{recipe.name}")
    chosen = [name.strip() for name in options.rows.split(",") if name.strip()]
    planned = reproduce.plan(recipe, folder, chosen, options.seeds)
    finished = reproduce.finished(recipe, folder)  # of every row and seed, so that the table never shrinks
    if unknown := sum(not one.compared for one in finished):
        print_stderr(
            f"note: the data of {unknown} of {len(finished)} finished runs were not kept, or are not here: not compared"
        )
    there = {one.task.folder for one in finished}
    tasks = [task for task in planned if task.folder not in there]
    recipes.check([task.experiment for task in tasks], recipe.name)  # keeps no data set: the workers load them
    folder.mkdir(parents=True, exist_ok=True)
    new: list[Outcome] = []
    drawn = False

    def save(outcome: Outcome) -> str:
        new.append(outcome)
        return f"{folder_of(outcome.task).name} {'failed' if outcome.error else 'done'}"

    stop = follow(
        lambda tick: study.run_all(study.in_folder, tasks, options.jobs, tick),
        save,
        position=lambda: reproduce.epochs_done(tasks),
        total=sum(task.experiment.epochs for task in tasks),
        initial=reproduce.epochs_done(tasks),
        unit="epoch",
        quiet=options.quiet,
    )
    names = [row.name for row in recipe.rows]
    outcomes = sorted(finished + new, key=lambda one: (one.task.experiment.seed, names.index(one.task.name)))
    if outcomes:
        if count := row_differences.to_classify(recipe, outcomes):
            runs = "run" if count == 1 else "runs"
            print_stderr(
                f"note: the test examples of {count} finished {runs} are classified again, once, to compare rows"
            )
        text = reproduce.write(recipe, folder, outcomes)
        reading_of_table = reading.read_table(reproduce.rows_of(recipe, outcomes), recipe.measure)
        print(wrap(f"{text}\n\n{reading_of_table}\n"))
        drawn = _draw(folder, outcomes, recipe)
        pictures.write_page(folder)
    where = f"the runs are in {folder}"
    if stop is not None:
        done = len(planned) - len(tasks) + sum(one.error is None for one in new)
        print_stderr(f"interrupted, {done} of {len(planned)} runs finished; {where}. The same command resumes")
        return exit_code(stop)
    print(where)
    if drawn:
        pictures.show(folder / CURVES)
    return FAILED if any(one.error is not None for one in new) else OK


def _list() -> int:
    for name in recipes.shipped():
        recipe = recipes.read(name)
        rows = f"rows {', '.join(row.name for row in recipe.rows)}"
        print("\n".join(lines_of(f"{name}: {recipe.title}", terminal_width(), "", INDENT)))
        for text in (rows, recipe.source):
            print("\n".join(lines_of(text, terminal_width(), INDENT, INDENT)))
        print()
    print(wrap("minifa reproduce NAME runs a table; minifa train --recipe NAME its first line alone"))
    return OK


def _draw(folder: Path, outcomes: Sequence[Outcome], recipe: recipes.Recipe) -> bool:
    """Draw the learning curves and, if they were measured, targets and kernels. Returns whether the former were
    drawn."""
    if all(one.result is None for one in outcomes):
        return False
    results = reproduce.results_of(outcomes)
    again = f"the numbers are in {folder / 'curves.csv'}, and the same command draws it again"
    drawn = pictures.draw(folder / CURVES, lambda figures: figures.learning_curves(results, recipe.title), again)
    if any(layers_with(row, "target_size") for one in results for row in one.history):
        pictures.draw(folder / TARGETS, lambda figures: figures.target_curves(results, recipe.title), again)
    if any(layers_with(row, "nhsic_label") for one in results for row in one.history):
        pictures.draw(folder / DEPENDENCE, lambda figures: figures.kernel_curves(results, recipe.title), again)
        pictures.draw(folder / INFORMATION, lambda figures: figures.information_plane(results, recipe.title), again)
    return drawn
