"""`minifa sweep`: run one recipe under many settings, with one line of a table per run."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..console import print_stderr
from ..experiments import dask_cluster, recipes, study, sweep_results, sweeps
from ..experiments.experiment import renamed, with_whole_paths
from ..experiments.study import Outcome, Task
from ..experiments.sweep_results import Results
from ..experiments.sweeps import Sweep
from ..signals import exit_code
from ..storage.atomic import expanded, make_folder, write_atomic
from ..text import install, table, wrap
from . import pictures
from .exit_codes import FAILED, OK
from .options import add_changes, at_least_one
from .progress import follow

ERRORS = 10  # maximum number printed; the table contains all


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Run one recipe under many settings: a section [over] lists the varied settings, [sweep] "
        "the method (see minifa/experiments/sweeps.py). "
        "Each finished run is a line in OUT/sweep.csv, and is not run again when the same command is given once more."
    )
    command.add_argument("sweep", metavar="SWEEP.toml", help="a recipe with a section [over], or with [[case]]")
    command.add_argument("--out", help="folder of the table (default: runs/sweep-NAME); a run there is resumed")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument("--dry-run", action="store_true", help="check everything, print the runs, and run none")
    command.add_argument("--retry-failed", action="store_true", help="run those again whose line says why they failed")
    command.add_argument(
        "--keep-runs",
        action="store_true",
        help="keep every run in a folder of its own, OUT/runs/ID, with checkpoints, from which it is resumed",
    )
    command.add_argument(
        "--dask",
        metavar="WHERE",
        help="make the runs on the Dask cluster whose scheduler is at tcp://HOST:PORT (one that you trust), or with "
        f"'local' on one that is started here (needs {install('cluster')}); --threads are those of each run there",
    )
    add_changes(command)


def run(options: argparse.Namespace) -> int:
    if options.dask:
        dask_cluster.check_place(options.dask)
        if options.jobs and options.dask != dask_cluster.LOCAL:
            raise ValueError("--jobs are processes of this machine: a cluster has the workers that were started for it")
    sweep = sweeps.read(options.sweep, options.changes)
    folder = expanded(options.out or f"runs/sweep-{sweep.name}")
    notes, contents = sweeps.check(sweep)  # keeps no data set in memory: the workers load them
    if options.dry_run:
        return _print_plan(sweep, folder, contents)
    with sweep_results.opened(sweep, folder, contents) as results:
        for note in results.notes:
            print_stderr(f"note: {note}")
        left = results.left(options.retry_failed)
        if not options.quiet:
            print(wrap(f"{describe_sweep(sweep)}; {len(left)} to run, the table is {results.path}"), flush=True)
        run_folders = make_folder(folder.resolve() / "runs") if options.keep_runs else None
        tasks = [sweep_results.task_of(one, run_folders and run_folders / one.id, contents) for one in left]
        if options.dask:
            tasks = [_for_workers(task) for task in tasks]

        def start(tick: Callable[[], None]) -> Generator[Outcome, None, None]:
            # With a tick, even a single job runs in a separate process, so that its death fails only its run.
            return study.run_all(
                sweep_results.measure, tasks, options.jobs, tick, options.dask or None, options.threads
            )

        def save(outcome: Outcome) -> str:
            line = results.add(outcome)
            return f"run {line['run']} {'failed' if line['error'] else 'done'}"

        total = len(sweep.runs)
        stop = follow(start, save, total=total, initial=total - len(tasks), unit="run", quiet=options.quiet)
        return _report(results, notes, stop)


def _for_workers(task: Task) -> Task:
    """The task with absolute paths, because a Dask worker may have another working directory."""
    whole = with_whole_paths(task.experiment)
    return replace(task, experiment=whole, contents=renamed(task.contents, task.experiment, whole))


def describe_sweep(sweep: Sweep) -> str:
    """A sweep in one line: its number of runs, and over what."""
    values = {name: len({str(run.settings[name]) for run in sweep.runs}) for name in sweep.varied}
    repeated = f" ({sweep.repeated} more drew what others had drawn)" if sweep.repeated else ""
    over = ", ".join(f"{name} ({count})" for name, count in values.items())
    return f"sweep {sweep.name}: {len(sweep.runs)} runs{repeated} over {over}"


def _print_plan(sweep: Sweep, folder: Path, contents: Mapping[str, str]) -> int:
    lines = {line["id"]: line for line in sweep_results.lines_in(sweep, folder, contents)}
    rows = [("run", "id", *sweep.varied, "state")]
    for one in sweep.runs:
        state = "to run" if one.id not in lines else "failed" if lines[one.id]["error"] else "finished"
        rows.append((str(one.number), one.id, *map(recipes.write_value, one.settings.values()), state))
    print(f"{table(rows, right_from=len(rows[0]))}\n\n{wrap(describe_sweep(sweep))}; none was run")
    return OK


def _report(results: Results, notes: Sequence[str], stop: KeyboardInterrupt | None) -> int:
    lines, runs = results.of_sweep(), results.sweep.runs
    text = sweep_results.summary(results.sweep, lines, notes)
    if text:
        write_atomic(results.path.with_name("summary.txt"), text + "\n")
        print(f"\n{wrap(text)}\n")
    pictures.write_page(results.path.parent)
    failed = print_errors(results)
    if stop is not None:
        print_stderr(f"interrupted, {len(lines)} of {len(runs)} runs are in the table. The same command resumes")
        return exit_code(stop)
    print(f"written to {results.path.parent}")
    return FAILED if failed else OK


def print_errors(results: Results) -> int:
    """Print why runs failed, on standard error. Returns the number of failed runs."""
    failed = [line for line in results.of_sweep() if line["error"]]
    for line in failed[:ERRORS]:
        print_stderr(f"run {line['run']}: {line['error']}")
    if len(failed) > ERRORS:
        print_stderr(f"and {len(failed) - ERRORS} more: see {results.path}")
    return len(failed)
