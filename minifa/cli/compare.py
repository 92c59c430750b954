"""`minifa compare`: the same network and data under several rules and seeds: a table and a figure."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import shlex
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import data, experiments, imports, rules, signals
from ..console import print_stderr
from ..experiments import (
    Experiment,
    Result,
    chance_levels,
    processes,
    reading,
    resume,
    run_folder,
    study,
    tables,
    tuning,
)
from ..storage.atomic import write_atomic
from ..text import printable, wrap
from ..training import History
from . import pictures, tune
from .descriptions import describe_rates, describe_setting, label
from .exit_codes import DIVERGED, FAILED, OK
from .options import (
    add_early_stopping,
    add_measurements,
    add_setting,
    at_least_one,
    make_fitting_experiment,
    possible_rules,
    seeds,
)
from .progress import follow

DEFAULT_RULES = "bp,usf,frsf,fa,shallow"
SEEDS, QUICK_EPOCHS = 3, 10
QUICK = f"A quick look: one seed shows no spread. Without --quick: {SEEDS} seeds and {Experiment().epochs} epochs."


def describe(command: argparse.ArgumentParser) -> None:
    add_setting(command)
    add_early_stopping(command)
    add_measurements(command)
    command.add_argument(
        "--rules",
        default=DEFAULT_RULES,
        help=f"comma-separated, or 'all': {', '.join(rules.RULES)}; with options: bp,fa:normalise=strict,sparsity=0.5",
    )
    command.add_argument("--seeds", type=seeds, help=f"runs of each rule (default: {SEEDS})")
    command.add_argument(
        "--quick",
        action="store_true",
        help=f"a quick first result: one seed and {QUICK_EPOCHS} epochs, unless --seeds or --epochs is given",
    )
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument(
        "--tune",
        action="store_true",
        help="first search the rate of every rule, as `minifa tune` does, and keep the search in the folder",
    )
    command.add_argument(
        "--out", help="folder (default: runs/compare-DATA-MODEL-1, -2, ...; an existing one is never overwritten)"
    )


def run(options: argparse.Namespace) -> int:
    asked = rules.split(options.rules)
    if options.quick:
        options.epochs = getattr(options, "epochs", QUICK_EPOCHS)
    options.seeds = options.seeds or (1 if options.quick else SEEDS)
    base, dataset = make_fitting_experiment(options, asked[0])
    names = possible_rules(base, asked, dataset, leave_out=options.rules == "all")
    if options.out is None:
        folder = run_folder.numbered_folder(f"runs/compare-{label(base)}")
    else:
        folder = run_folder.new_folder(options.out)
    try:
        return _compare_in(folder, base, names, dataset, options)
    except (KeyboardInterrupt, OSError) as error:
        if (folder / "runs.csv").is_file() and not isinstance(error, BrokenPipeError):
            command = shlex.join(["minifa", "figures", str(folder), *imports.options()])
            print_stderr(f"\nfinished runs are kept in {folder}; to draw them: {command}")
        raise
    finally:
        run_folder.drop_empty(folder)


def _compare_in(
    folder: Path, base: Experiment, names: Sequence[str], dataset: data.Dataset, options: argparse.Namespace
) -> int:
    chosen: dict[str, float] = {}
    if options.tune:
        trials, stop = tune.search_in(
            folder, base, names, resume.contents(base, dataset), options.jobs, quiet=options.quiet
        )
        rates = tuning.rate_table(trials)
        print(tables.grid_table(rates) + (f"\n{wrap(dataset.note)}" if dataset.note else "") + "\n", flush=True)
        if stop is not None:
            raise stop
        chosen = {row["rule"]: row["lr"] for row in rates if row["chosen"]}
    grid = [
        replace(e, lr=chosen[e.rule]) if e.rule in chosen else e
        for e in experiments.grid_of_rules(base, names, options.seeds)
    ]
    print(wrap(_describe_grid(grid, names, base, dataset, options)) + "\n", flush=True)
    by_number: dict[int, Result] = {}

    def save(result: Result) -> str:
        by_number[grid.index(result.experiment)] = result
        _save_runs(folder, _in_order(by_number))  # after each run, so that a killed process loses none
        e = result.experiment
        return f"{e.rule} seed {e.seed} lr {e.rate():g}: {result.score:.3f}{' (diverged)' * result.diverged}"

    with study.EpochCount() as count:

        def start(tick: Callable[[], None]) -> Generator[Result, None, None]:
            if options.quiet or not sys.stderr.isatty():  # no bar, for which a single job would need its own process
                return experiments.run_many(grid, options.jobs, progress=False)
            return study.run_counted(grid, options.jobs, count.folder, tick)

        total = sum(one.epochs for one in grid)
        stop = follow(start, save, count.epochs, total=total, desc="compare", unit="epoch", quiet=options.quiet)
    results = _in_order(by_number)
    if stop is not None:
        _save_runs(folder, results)  # the interrupt may have come before the last result was kept
    if results:
        picture = _report(folder, results, dataset)
        if options.quick and options.seeds == 1:
            print(wrap(f"{QUICK}\n"))
        print(f"written to {folder}")
        if picture is not None:
            pictures.show(picture)
    failed = [r for r in results if r.error is not None]
    for result in failed:
        print_stderr(f"{result.experiment.rule}, seed {result.experiment.seed}: {result.error}")
    if stop is not None:
        finished = len(results) - len(failed)
        print_stderr(f"interrupted: {finished} of {len(grid)} runs were finished and kept")
        return signals.exit_code(stop)
    if failed:
        return FAILED
    return DIVERGED if results and all(r.diverged for r in results) else OK


def _describe_grid(
    grid: Sequence[Experiment],
    names: Sequence[str],
    base: Experiment,
    dataset: data.Dataset,
    options: argparse.Namespace,
) -> str:
    """The setting, and how many runs will be made: the first thing that the command prints."""
    last = base.seed + options.seeds - 1
    seeds = f"seeds {base.seed} to {last}" if last > base.seed else f"seed {last}"
    jobs = processes.at_once(options.jobs, len(grid))
    runs = f"{len(grid)} run{'s' * (len(grid) > 1)}, {jobs} at a time: {', '.join(names)}"
    return f"{describe_setting(base, dataset)}, {seeds}, {describe_rates(grid)}\n{runs}"


def _in_order(by_number: Mapping[int, Result]) -> list[Result]:
    return [by_number[number] for number in sorted(by_number)]


def _save_runs(folder: Path, results: Sequence[Result]) -> None:
    """Write every epoch of every run to runs.csv, and the experiments to config.json."""
    rows = []
    for r in (r for some in tables.by_rule(results).values() for r in some):
        run = {
            "rule": r.experiment.rule,
            "seed": r.experiment.seed,
            "rate": r.experiment.rate(),
            "diverged": int(r.diverged),
        }
        rows += [{**run, **row} for row in r.history]
    History(rows).save_csv(folder / "runs.csv")
    run_folder.write_config(
        folder, {"experiments": [r.experiment.as_config() for r in results], "contents": imports.digests()}
    )


def _report(folder: Path, results: Sequence[Result], dataset: data.Dataset) -> Path | None:
    """Print the table and what it shows, write both to table.txt, and draw the figure. Returns the path of the figure,
    or None if it could not be drawn."""
    first = results[0].experiment
    table = f"{tables.summary_table(results)}\n\n{tables.angle_table(results)}"
    part = "test" if first.measured == "test" else "held-out"
    when = "" if first.patience is None else " at the epoch that was best on held-out examples"
    finished = tables.finished_by_rule(results)
    bands = chance_levels.levels_of(finished).angles.get("true_angle", {}) if finished else {}
    legend = [
        f"score: {part} {'accuracy' if dataset.classes else 'minus loss'}{when}, mean ± sd over seeds; weight angle: "
        "between W and B, mean over layers; true angle: between this rule's error and backpropagation's at the lowest "
        "layer." + (f" {tables.sampling_error(len(dataset.test))}." if dataset.classes and part == "test" else ""),
        dataset.note,
        reading.read_comparison(results, len(dataset.test), bool(dataset.classes), bands),
        reading.lesson(results, len(dataset.classes), bands),
    ]
    setting = describe_setting(first, dataset)
    text = "\n\n".join([table, *(wrap(part) for part in legend if part)])
    write_atomic(folder / "table.txt", printable(f"{setting}\n\n{text}\n"))
    print(f"{text}\n")
    picture = folder / "figures" / "comparison.png"
    drawn = pictures.draw(
        picture,
        lambda figures: figures.curves.overview(results, setting),
        pictures.how_to_redraw(folder, "runs.csv"),
    )
    pictures.write_page(folder)
    return picture if drawn else None
