"""minifa reproduce: a published table made again, beside the published numbers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import recipes, reproduce
from ..exits import FAILED, OK
from ..files import save_picture
from ..interrupts import exit_code
from ..options import add_changes, at_least_one, seeds


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "table", nargs="?", help=f"one of {', '.join(recipes.shipped())}, or a .toml file; none: all are listed"
    )
    command.add_argument("--out", help="folder of the runs and the table (default: runs/reproduce-TABLE); gone on with")
    command.add_argument("--rows", default="", help="comma-separated names of the rows to run (default: all)")
    command.add_argument("--seeds", type=seeds, help="runs of each row (default: as the recipe says)")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    add_changes(command)


def run(options: argparse.Namespace) -> int:
    if options.table is None:
        return _list()
    recipe = recipes.read(options.table, options.changes)
    folder = Path(options.out or f"runs/reproduce-{recipe.name}")
    names = [name.strip() for name in options.rows.split(",") if name.strip()]
    tasks = reproduce.plan(recipe, folder, names, options.seeds)
    recipes.check([task.experiment for task in tasks], recipe.name)  # the data sets are let go again: workers load them
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, stop = _run_all(tasks, options.jobs)
    if outcomes:
        text = reproduce.write(recipe, folder, outcomes)
        print(text, end="\n\n")
        _draw(folder, outcomes, recipe)
    where = f"the runs are in {folder}"
    if stop is not None:
        print(f"interrupted, {len(outcomes)} of {len(tasks)} runs finished; {where}. The same command goes on")
        return exit_code(stop)
    print(where)
    failed = [one for one in outcomes if one.error is not None]
    for one in failed:
        print(f"{one.task.folder.name}: {one.error}", file=sys.stderr)
    return FAILED if failed else OK


def _list() -> int:
    for name in recipes.shipped():
        recipe = recipes.read(name)
        print(f"{name}: {recipe.title}\n    rows {', '.join(row.name for row in recipe.rows)}\n    {recipe.source}\n")
    print("minifa reproduce NAME runs a table; minifa train --recipe NAME its first line alone")
    return OK


def _run_all(tasks: list[reproduce.Task], jobs: int | None) -> tuple[list[reproduce.Outcome], KeyboardInterrupt | None]:
    """What came of every run, in the table's order, and what cut it short, Ctrl-C or SIGTERM."""
    from tqdm import tqdm

    outcomes: list[reproduce.Outcome] = []
    with tqdm(total=sum(task.experiment.epochs for task in tasks), unit="epoch", disable=None) as bar:

        def tick() -> None:
            bar.update(reproduce.epochs_done(tasks) - bar.n)

        tick()
        bar.initial = bar.n  # what was there before: the time that is left is judged without it
        try:
            for outcome in reproduce.run(tasks, jobs, tick):
                outcomes.append(outcome)
                bar.set_postfix_str(f"{outcome.task.folder.name} {'failed' if outcome.error else 'done'}")
        except KeyboardInterrupt as stop:
            return _in_order(outcomes, tasks), stop
    return _in_order(outcomes, tasks), None


def _in_order(outcomes: list[reproduce.Outcome], tasks: list[reproduce.Task]) -> list[reproduce.Outcome]:
    return sorted(outcomes, key=lambda one: tasks.index(one.task))


def _draw(folder: Path, outcomes: list[reproduce.Outcome], recipe: recipes.Recipe) -> None:
    results = reproduce.results_of(outcomes)
    if results:
        from .. import figures  # here, because matplotlib takes longer to import than all the rest

        save_picture(figures.learning_curves(results, recipe.title), folder / "curves.png")
