"""`minifa compare`: the same network and data under several rules and seeds: a table and a figure."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import data, experiments, rules, signals
from ..console import print_stderr
from ..experiments import Experiment, Result, resume, run_folder, tables, tuning
from ..storage.atomic import write_atomic
from ..text import printable
from ..training import History
from . import pictures, tune
from .descriptions import describe_rates, describe_setting, label
from .exit_codes import FAILED, OK
from .options import add_setting, at_least_one, make_experiment, possible_rules, seeds, split_rules
from .progress import follow

DEFAULT_RULES = "bp,usf,frsf,fa,shallow"


def describe(command: argparse.ArgumentParser) -> None:
    add_setting(command)
    command.add_argument(
        "--rules",
        default=DEFAULT_RULES,
        help=f"comma-separated, or 'all': {', '.join(rules.RULES)}; with options: bp,fa:normalise=strict,sparsity=0.5",
    )
    command.add_argument("--seeds", type=seeds, default=3, help="runs of each rule")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument(
        "--tune",
        action="store_true",
        help="first search the rate of every rule, as `minifa tune` does, and keep the search in the folder",
    )
    command.add_argument(
        "--out", help="folder (default: runs/compare-DATA-MODEL; an existing one is never overwritten)"
    )


def run(options: argparse.Namespace) -> int:
    asked = split_rules(options.rules)
    base = make_experiment(options, asked[0])
    dataset = experiments.load_data(base)
    names = possible_rules(base, asked, dataset, leave_out=options.rules == "all")
    folder = run_folder.new_folder(options.out or f"runs/compare-{label(base)}")
    try:
        return _compare_in(folder, base, names, dataset, options)
    except (KeyboardInterrupt, OSError) as error:
        if (folder / "runs.csv").is_file() and not isinstance(error, BrokenPipeError):
            command = shlex.join(["minifa", "figures", str(folder)])
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
        print(tables.grid_table(rates) + (f"\n{dataset.note}" if dataset.note else "") + "\n", flush=True)
        if stop is not None:
            raise stop
        chosen = {row["rule"]: row["lr"] for row in rates if row["chosen"]}
    grid = [
        replace(e, lr=chosen[e.rule]) if e.rule in chosen else e
        for e in experiments.grid_of_rules(base, names, options.seeds)
    ]
    last = base.seed + options.seeds - 1
    seeds = f"seeds {base.seed} to {last}" if last > base.seed else f"seed {last}"
    print(f"{describe_setting(base, dataset)}, {seeds}, {describe_rates(grid)}\n", flush=True)
    by_number: dict[int, Result] = {}

    def save(result: Result) -> str:
        by_number[grid.index(result.experiment)] = result
        _save_runs(folder, _in_order(by_number))  # after each run, so that a killed process loses none
        e = result.experiment
        return f"{e.rule} seed {e.seed} lr {e.rate():g}: {result.score:.3f}"

    stop = follow(
        lambda _: experiments.run_many(grid, options.jobs),
        save,
        total=len(grid),
        desc="compare",
        unit="run",
        quiet=options.quiet,
    )
    results = _in_order(by_number)
    if stop is not None:
        _save_runs(folder, results)  # the interrupt may have come before the last result was kept
    if results:
        _report(folder, results, dataset)
        print(f"written to {folder}")
    failed = [r for r in results if r.error is not None]
    for result in failed:
        print_stderr(f"{result.experiment.rule}, seed {result.experiment.seed}: {result.error}")
    if stop is not None:
        finished = len(results) - len(failed)
        print_stderr(f"interrupted: {finished} of {len(grid)} runs were finished and kept")
        return signals.exit_code(stop)
    return FAILED if failed else OK


def _in_order(by_number: Mapping[int, Result]) -> list[Result]:
    return [by_number[number] for number in sorted(by_number)]


def _save_runs(folder: Path, results: Sequence[Result]) -> None:
    """Write every epoch of every run to runs.csv, and the experiments to config.json."""
    rows = [
        {
            "rule": r.experiment.rule,
            "seed": r.experiment.seed,
            "rate": r.experiment.rate(),
            "diverged": int(r.diverged),
            **row,
        }
        for some in tables.by_rule(results).values()
        for r in some
        for row in r.history
    ]
    History(rows).save_csv(folder / "runs.csv")
    run_folder.write_config(folder, {"experiments": [r.experiment.as_config() for r in results]})


def _report(folder: Path, results: Sequence[Result], dataset: data.Dataset) -> None:
    """Print the table, write it to table.txt, and draw the figure."""
    first = results[0].experiment
    table = f"{tables.summary_table(results)}\n\n{tables.angle_table(results)}"
    note = f"\n\n{dataset.note}" if dataset.note else ""
    legend = (
        f"score: test {'accuracy' if dataset.classes else 'minus loss'}, mean ± sd over seeds; "
        "weight angle: between W and B, mean over layers;\n"
        "true angle: between this rule's error and backpropagation's at the lowest layer; 90° is chance."
        + (f"\n{tables.sampling_error(len(dataset.test))}" if dataset.classes else "")
    )
    setting = describe_setting(first, dataset)
    write_atomic(folder / "table.txt", printable(f"{setting}\n\n{table}\n\n{legend}{note}\n"))
    print(f"{table}\n\n{legend}{note}\n")
    few = len({r.experiment.rule for r in results}) <= 8  # more cannot be distinguished in one panel
    pictures.draw(
        folder / "figures" / "comparison.png",
        lambda figures: (figures.comparison if few else figures.survey)(results, setting),
        pictures.how_to_redraw(folder, "runs.csv"),
    )
