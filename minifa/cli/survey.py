"""`minifa survey`: every rule on four networks, each at the learning rate that was searched for it there."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from .. import backend, rules
from ..console import print_stderr
from ..experiments import Experiment, load_data, processes, resume, run_folder, study, survey_results, surveys
from ..experiments.study import Outcome
from ..experiments.survey_results import Survey, counted
from ..experiments.surveys import Cell, Lines
from ..signals import exit_code
from ..storage.atomic import expanded, make_folder, write_atomic
from ..text import wrap
from . import pictures
from .exit_codes import FAILED, OK
from .options import at_least_one, seed, seeds
from .progress import follow

SEEDS, EPOCHS, QUICK_EPOCHS = 3, Experiment().epochs, 5
# Fields of an experiment that the survey sets, or that have no effect on it.
OWN = ("rule", "lr", "seed", "model", "model_options", "alignment", "data_dir")


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Train every rule on four networks on the digits, each at the learning rate that ships with minifa for it: a "
        "table, with the reason where a rule refuses a network. Each finished run is a line in OUT/survey.csv, and is "
        "not run again when the same command is given once more with the same --out."
    )
    command.add_argument(
        "--rules",
        default="all",
        help=f"comma-separated, or 'all': {', '.join(rules.RULES)}; with options: local:loss=pred",
    )
    command.add_argument("--networks", default="all", help=f"comma-separated, or 'all': {', '.join(surveys.NETWORKS)}")
    command.add_argument("--seeds", type=seeds, help=f"runs of each rule on each network (default: {SEEDS})")
    command.add_argument("--seed", type=seed, default=0, help="the first seed")
    command.add_argument("--epochs", type=at_least_one, help=f"passes through the training set (default: {EPOCHS})")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument(
        "--quick",
        action="store_true",
        help=f"a quick first result: one seed and {QUICK_EPOCHS} epochs, unless --seeds or --epochs is given",
    )
    command.add_argument("--out", help="folder (default: runs/survey-1, -2, ...); a survey in it is resumed")


def run(options: argparse.Namespace) -> int:
    names, networks = rules.split(options.rules), surveys.split(options.networks)
    n_seeds = options.seeds or (1 if options.quick else SEEDS)
    base = Experiment(epochs=options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS), seed=options.seed)
    data = load_data(base)
    cells = surveys.plan(base, networks, names, data)
    if options.out is None:
        folder = run_folder.numbered_folder("runs/survey")
    else:
        folder = expanded(options.out)
        folder.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(folder):
        contents = resume.contents(base, data)
        lines = open_lines(folder, base, contents)
        lines.add_reasons(cells)
        tasks = surveys.tasks_of(cells, n_seeds, contents)
        left = lines.left(tasks)
        if not options.quiet:
            print(wrap(_describe(cells, len(tasks), len(left), options.jobs)) + "\n", flush=True)

        def start(tick: Callable[[], None]) -> Generator[Outcome, None, None]:
            return study.run_all(surveys.measure, left, options.jobs, tick)

        def save(outcome: Outcome) -> str:
            line = lines.add(outcome)
            return f"{line['rule']} on {line['network']} {'failed' if line['error'] else line['test_accuracy'][:5]}"

        stop = follow(
            start,
            save,
            desc="survey",
            unit="run",
            total=len(tasks),
            initial=len(tasks) - len(left),
            quiet=options.quiet,
        )
        if lines.lines:
            _report(folder, survey_results.of_lines(lines.lines, base.epochs, data))
    return _ending(folder, lines, tasks, stop)


def _report(folder: Path, survey: Survey) -> None:
    """Print the table and write it to table.txt; draw the picture, and write the page."""
    text = survey_results.summary(survey)
    write_atomic(folder / "table.txt", text + "\n")
    print(f"{text}\n")
    picture = folder / "figures" / "survey.png"
    make_folder(picture.parent)
    drawn = pictures.draw(
        picture,
        lambda figures: figures.of_run(folder)["survey"],
        pictures.how_to_redraw(folder, surveys.TABLE),
    )
    pictures.write_page(folder)
    if drawn:
        pictures.show(picture)


def _ending(folder: Path, lines: Lines, tasks: Sequence[study.Task], stop: KeyboardInterrupt | None) -> int:
    failed = lines.failed(tasks)
    for line in failed:
        print_stderr(f"{line['rule']} on {line['network']}, seed {line['seed']}: {line['error']}")
    if failed:
        print_stderr(f"to make failed runs again, remove their lines from {lines.path}")
    if stop is not None:
        made = len(tasks) - len(lines.left(tasks))
        print_stderr(f"interrupted: {made} of {len(tasks)} runs are in {folder}. The same command with --out resumes")
        return exit_code(stop)
    print(f"written to {folder}")
    return FAILED if failed else OK


def open_lines(folder: Path, base: Experiment, contents: dict[str, str]) -> Lines:
    """The table of a survey in a folder, which is created if there is none.

    Raises:
        ValueError: the folder contains a survey with other settings, or on other data.
        DataFileError: its table is damaged, or the folder holds something else.
    """
    table = folder / surveys.TABLE
    shared = {key: value for key, value in base.settings().items() if key not in OWN}
    about = {**shared, "dtype": str(backend.dtype())}
    for note in study.claim_folder(folder, "survey", about, contents, exists=table.exists()):
        print_stderr(f"note: {note}")
    return Lines(table)


def _describe(cells: Sequence[Cell], runs: int, left: int, jobs: int | None) -> str:
    """How many runs will be made: the first thing that the command prints."""
    of_cells = [cell.not_run.partition(":")[0] for cell in cells]
    refused, no_rate = of_cells.count(surveys.REFUSED), of_cells.count(surveys.NO_RATE)
    rules_shown, networks = ({getattr(cell, name) for cell in cells} for name in ("rule", "network"))
    at_once = processes.at_once(jobs, max(left, 1))
    return (
        f"{counted(len(rules_shown), 'rule')} on {counted(len(networks), 'network')}; of these combinations the rule "
        f"refuses {refused}, and for {no_rate} no learning rate was searched. {counted(runs, 'run')}, {left} to make, "
        f"{at_once} at a time"
    )
