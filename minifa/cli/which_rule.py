"""`minifa which-rule`: train networks under several rules, and tell the rules apart by what an observer sees."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from pathlib import Path

import numpy

from ..console import bar, print_stderr
from ..experiments import study, sweep_results, sweeps, which_rule
from ..experiments.sweep_results import Results
from ..experiments.which_rule import Features
from ..signals import exit_code
from ..storage import csv_files
from ..storage.atomic import expanded, write_atomic
from ..text import wrap
from ..training import History
from ..training.history import Row
from . import pictures
from .exit_codes import FAILED, OK
from .options import add_changes, at_least_one
from .progress import follow
from .sweep import describe_sweep, print_errors

ACCURACY, CONFUSION = "accuracy", "confusion"


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Train networks under several rules, record statistics of their hidden layers, and predict the rule from these "
        "with a softmax regression, also at learning rates, widths, batch sizes and seeds that it has not seen. A "
        "finished run is not run again when the same command is given once more."
    )
    command.add_argument(
        "sweep",
        nargs="?",
        default="which_rule",
        metavar="SWEEP",
        help=f"{', '.join(sweeps.shipped())}, or a .toml file with sections [[case]], one for each class",
    )
    command.add_argument("--out", help="folder of runs and results (default: runs/which-rule-NAME)")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument("--retry-failed", action="store_true", help="run those again whose line says why they failed")
    add_changes(command)


def run(options: argparse.Namespace) -> int:
    sweep = which_rule.read(options.sweep, options.changes)
    folder = expanded(options.out or f"runs/which-rule-{sweep.name}")
    notes, contents = sweeps.check(sweep)
    with sweep_results.opened(sweep, folder, contents) as results:
        for note in results.notes:
            print_stderr(f"note: {note}")
        tasks = [sweep_results.task_of(one, None, contents) for one in which_rule.left(results, options.retry_failed)]
        if not options.quiet:
            print(wrap(f"{describe_sweep(sweep)}; {len(tasks)} to run"), flush=True)

        def save(outcome: study.Outcome) -> str:
            line = which_rule.add(results, outcome)
            return f"run {line['run']} {'failed' if line['error'] else 'done'}"

        total = len(sweep.runs)
        stop = follow(
            lambda tick: study.run_all(which_rule.measure, tasks, options.jobs, tick),
            save,
            total=total,
            initial=total - len(tasks),
            unit="run",
            quiet=options.quiet,
        )
        failed = print_errors(results)
        if stop is not None:
            print_stderr(f"interrupted, {len(results.of_sweep())} of {total} runs finished. The same command resumes")
            return exit_code(stop)
        _classify(results, folder, notes, options.quiet)
    print(f"written to {folder}")
    if (folder / f"{ACCURACY}.png").is_file():
        pictures.show(folder / f"{ACCURACY}.png")
    return FAILED if failed else OK


def _classify(results: Results, folder: Path, notes: list[str], quiet: bool) -> None:
    """Write features.csv, accuracy.csv, confusion.csv, table.txt and the figures, and print the table."""
    features = which_rule.collect(results)
    features.save(folder / "features.csv")
    rows, counts = list[Row](), list[numpy.ndarray]()
    total = len(which_rule.ROWS) * len(which_rule.splits(features))
    with bar(total=total, desc="classify", hidden=quiet) as progress:
        for row, confusion in which_rule.classify(features):
            rows.append(row)
            counts.append(confusion)
            progress.update()
    split = which_rule.SEEDS if any(row["split"] == which_rule.SEEDS for row in rows) else which_rule.RANDOM
    shown = next(i for i, row in enumerate(rows) if (row["features"], row["split"]) == ("both", split))
    text = "\n".join([which_rule.text_of(features, rows), *notes])
    write_atomic(folder / "table.txt", text + "\n")
    History(rows).save_csv(folder / f"{ACCURACY}.csv")
    _write_confusion(folder, features, counts[shown])
    print(f"\n{text}\n")
    _draw(folder, features, rows, counts[shown], split)
    pictures.write_page(folder)


def _write_confusion(folder: Path, features: Features, counts: numpy.ndarray) -> None:
    names = features.sweep.cases
    lines = ({"true": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, counts, strict=True))
    csv_files.write(folder / f"{CONFUSION}.csv", ["true", *names], lines)


def _draw(folder: Path, features: Features, rows: list[Row], counts: numpy.ndarray, split: str) -> None:
    sweep, chances = features.sweep, which_rule.chances(features)
    again = f"the numbers are in {folder}, and the same command draws it again"
    pictures.draw(
        folder / f"{ACCURACY}.png", lambda figures: figures.split_accuracies(rows, chances, sweep.title), again
    )
    title = f"Weights and activities, {split}"
    pictures.draw(folder / f"{CONFUSION}.png", lambda figures: figures.confusion(counts, sweep.cases, title), again)
