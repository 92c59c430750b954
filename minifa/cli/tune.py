"""`minifa tune`: a grid search of the learning rate of every rule, evaluated on held-out examples."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import backend, rules
from ..console import print_stderr
from ..errors import DataFileError
from ..experiments import Experiment, resume, run_folder, tables, tuning
from ..experiments.study import claim_folder
from ..experiments.tuning import Trial
from ..signals import exit_code
from ..storage import csv_files
from ..storage.atomic import expanded, write_atomic
from ..training import History
from ..training.history import Row
from . import pictures
from .descriptions import label
from .exit_codes import FAILED, OK
from .options import add_setting, at_least_one, count, make_fitting_experiment, possible_rules
from .progress import follow

COLUMNS = ("rule", "lr", "seed", "score", "diverged", "error")
# Fields of an experiment that the search sets, or that have no effect on it.
OWN = ("rule", "lr", "seed", "validation", "alignment", "targets", "kernels", "statistics", "data_dir")


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Search the learning rate of every rule: half-decade steps under two seeds, then the best and its neighbours "
        "under five, on held-out training examples. The same command resumes a search that was interrupted."
    )
    add_setting(command)
    command.add_argument(
        "--rules",
        default="all",
        help=f"comma-separated, or 'all': {', '.join(rules.RULES)}; with options: fa:sparsity=0.5",
    )
    command.add_argument(
        "--rates",
        type=rate_range,
        metavar="LOWEST:HIGHEST",
        help="tried first (default: 1e-5:1); widened where the best is at its edge",
    )
    command.add_argument(
        "--seeds",
        type=count(tuning.FEW_SEEDS),
        default=tuning.MANY_SEEDS,
        help=f"of the best rate and its neighbours; the others have {tuning.FEW_SEEDS}",
    )
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument(
        "--out", help="folder of the tables (default: runs/tune-DATA-MODEL); a search there is resumed"
    )


def rate_range(text: str) -> range:
    """The exponents of the rates in a range such as ``1e-4:1e-2``; both ends are rates of the grid, 1eN or 3eN."""
    try:
        lowest, highest = (tuning.EXPONENTS[float(part)] for part in text.split(":"))
    except (ValueError, KeyError):
        lowest, highest = 1, 0
    if lowest > highest:
        raise argparse.ArgumentTypeError(f"expected two rates as 1e-4:3e-2, of 1 or 3 times a power of ten, got {text}")
    return range(lowest, highest + 1)


def run(options: argparse.Namespace) -> int:
    names = rules.split(options.rules)
    base, dataset = make_fitting_experiment(options, names[0])
    names = possible_rules(base, names, dataset, options.rules == "all")
    folder = expanded(options.out or f"runs/tune-{label(base)}")
    folder.mkdir(parents=True, exist_ok=True)
    with run_folder.locked(folder):
        contents = resume.contents(base, dataset)
        trials, stop = search_in(
            folder, base, names, contents, options.jobs, options.rates, options.seeds, quiet=options.quiet
        )
        rates = tuning.rate_table(trials)
        if rates:
            text = tables.grid_table(rates) + (f"\n{dataset.note}" if dataset.note else "")
            write_atomic(folder / "table.txt", text + "\n")
            print(text)
            pictures.write_page(folder)
    failed = [trial for trial in trials if trial.error is not None]
    for trial in failed:
        print_stderr(f"{trial.experiment.rule}, rate {trial.experiment.rate():g}: {trial.error}")
    if stop is not None:
        print_stderr(f"interrupted: {len(trials)} runs are in {folder}. The same command resumes")
        return exit_code(stop)
    print(f"written to {folder}")
    return FAILED if failed else OK


def search_in(
    folder: Path,
    base: Experiment,
    names: Sequence[str],
    contents: Mapping[str, str],
    jobs: int | None,
    first: Sequence[int] | None = None,
    seeds: int = tuning.MANY_SEEDS,
    *,
    quiet: bool,
) -> tuple[list[Trial], KeyboardInterrupt | None]:
    """Run the search; after every trial, write it to ``trials.csv`` and the table of rates to ``rates.csv``.

    Args:
        folder: an existing folder; trials in it are not run again.
        contents: the digests of the data set and the weights file, as `minifa.experiments.resume.contents` returns
            them.
        base, names, jobs, first, seeds: as for `minifa.experiments.tuning.search`.
        quiet: show no progress bar.

    Returns:
        The trials, and the interrupt (Ctrl-C or SIGTERM) that ended the search, or None.

    Raises:
        ValueError: the folder contains the search of another setting, or on other data.
        DataFileError: its table is damaged.
    """
    trials = _open(folder, base, contents)
    rates = {rule: _rates_of(rule, trials) for rule in dict.fromkeys(trial.experiment.rule for trial in trials)}

    def save(trial: Trial) -> str:
        trials.append(trial)
        _save_trial(folder, trials, rates)
        return f"{trial.experiment.rule} lr {trial.experiment.rate():g}: {trial.score:.3f}"

    search = tuning.search(base, names, list(trials), jobs, first, seeds)
    stop = follow(lambda _: search, save, desc="tune", unit="run", initial=len(trials), quiet=quiet)
    return trials, stop


def _rates_of(rule: str, trials: Sequence[Trial]) -> list[Row]:
    return tuning.rate_table([trial for trial in trials if trial.experiment.rule == rule])


def _save_trial(folder: Path, trials: Sequence[Trial], rates: dict[str, list[Row]]) -> None:
    """Append the last trial to trials.csv and write rates.csv. Only the rows of its rule, among those of all rules in
    ``rates``, are computed again."""
    e, trial = trials[-1].experiment, trials[-1]
    error = " ".join((trial.error or "").split())
    csv_files.append(
        folder / "trials.csv",
        [e.rule, repr(e.rate()), str(e.seed), repr(trial.score), str(int(trial.diverged)), error],
    )
    rates[e.rule] = _rates_of(e.rule, trials)
    History(row for rows in rates.values() for row in rows).save_csv(folder / "rates.csv")


def _open(folder: Path, base: Experiment, contents: Mapping[str, str]) -> list[Trial]:
    """The trials of an interrupted search in the folder; a new search is started if there is none."""
    table = folder / "trials.csv"
    about = {**_shared(base), "dtype": str(backend.dtype())}
    for note in claim_folder(folder, "tune", about, contents, exists=table.exists(), defaults=_shared(Experiment())):
        print_stderr(f"note: {note}")
    return [_read(base, line, table) for line in csv_files.open_table(table, COLUMNS)]


def _shared(base: Experiment) -> dict[str, Any]:
    return {key: value for key, value in base.settings().items() if key not in OWN}


def _read(base: Experiment, line: Mapping[str, str], table: Path) -> Trial:
    try:
        experiment = tuning.run_of(base, line["rule"], tuning.EXPONENTS[float(line["lr"])], int(line["seed"]))
        return Trial(experiment, float(line["score"]), bool(int(line["diverged"])), line["error"] or None)
    except (ValueError, KeyError) as error:
        raise DataFileError(f"'{table}' has a line that is not a trial: {dict(line)}") from error
