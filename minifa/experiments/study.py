"""Running many experiments: the runs of a comparison, a search, a sweep or a published table.

A `Task` is one run, in memory or in a run folder; its `Outcome` is the result, or the reason why there is none. A
function such as `in_memory` or `in_folder` makes the run of a task. `run_all` makes all of them, in worker processes or
on a Dask cluster.
"""

from __future__ import annotations

__all__ = ["FailedRun", "grid_of_rules", "run_many"]

import contextlib
import functools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import environment, registry, schedules
from ..console import bar
from ..data.base import Dataset
from ..errors import DataFileError
from ..storage.atomic import read_bytes
from ..training import Callback, Trainer
from ..training.history import Row
from ..validation import check_bool, check_int, check_list, check_type
from . import dask_cluster, processes, resume, run_folder
from .experiment import AN_EXPERIMENT, MOST_SEEDS, Experiment, Result, fit, load_data, run, trainer_for
from .recipes import write_value


class FailedRun(RuntimeWarning):
    """One of many runs failed; the message says which, and why."""


@dataclass(frozen=True)
class Task:
    """One run to make.

    Attributes:
        experiment: its experiment.
        folder: its run folder; None: the run is made in memory.
        contents: expected digests of its files, as returned by `minifa.experiments.resume.contents`, so that another
            process detects other data; empty: they are not compared.
        name: the row of a published table, or the id of the run in a sweep; may be empty.
    """

    experiment: Experiment
    folder: Path | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        task: the run.
        result: its result, of the type that the function has which made the run; None: the run failed.
        error: reason of the failure; None: the run did not fail.
        made_by: the versions of minifa that trained it; "": unknown.
        compared: whether its data are known to equal the current data.
    """

    task: Task
    result: Any = None
    error: str | None = None
    made_by: str = ""
    compared: bool = True


Work = Callable[[Task], Outcome]


def in_memory(task: Task, progress: Path | None = None) -> Outcome:
    """Make a run in memory. The result is a `Result`.

    Args:
        task: the run.
        progress: folder in which the run counts its epochs (see `EpochCount`); None: it does not.
    """
    if progress is None:
        return Outcome(task, run(task.experiment)[0])
    experiment, data = task.experiment, load_data(task.experiment)
    trainer = trainer_for(experiment, data)
    trainer.callbacks.append(_CountEpochs(progress))
    return Outcome(task, fit(experiment, data, trainer))


class _CountEpochs(Callback):
    """Writes a byte for every epoch, because a run in another process cannot call a function of this one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}"

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        if row["epoch"]:  # 0: the measurement before training
            with contextlib.suppress(OSError), open(self.path, "ab") as file:
                file.write(b".")


class EpochCount:
    """Context manager: a temporary folder in which runs in other processes count their epochs.

    Attributes:
        folder: its path.
    """

    def __enter__(self) -> EpochCount:
        self._folder = tempfile.TemporaryDirectory(prefix="minifa-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def epochs(self) -> int:
        """The number of epochs that all runs have finished."""
        with contextlib.suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0


def in_folder(task: Task) -> Outcome:
    """Make a run in its folder. The result is that of `minifa.experiments.resume.run_in_folder`."""
    folder = folder_of(task)
    result = resume.run_in_folder(folder, task.experiment, load(task))
    saved = resume.saved_run(folder)
    return Outcome(task, result, made_by=saved.made_by if saved else "")


def folder_of(task: Task) -> Path:
    """The run folder of a task. Raises ValueError if it has none."""
    if task.folder is None:
        raise ValueError("a run in memory has no folder")
    return task.folder


def load(task: Task) -> Dataset:
    """The data set of a task, cached in this process.

    Raises:
        DataFileError: the files do not have the expected contents.
    """
    experiment = task.experiment
    data = resume.load_once(experiment.data, experiment.data_dir, **experiment.data_options)
    resume.require_contents(task.contents, experiment, data)
    return data


def attempt(work: Work, task: Task) -> Outcome:
    """Make a run. Any error is the outcome of this run, so that the other runs continue."""
    try:
        return work(task)
    except processes.Stopped:
        raise
    except Exception as error:
        return Outcome(task, error=f"{type(error).__name__}: {error}")


def run_all(
    work: Work,
    tasks: Sequence[Task],
    jobs: int | None = None,
    tick: Callable[[], None] | None = None,
    dask: str | None = None,
    threads: int | None = None,
) -> Generator[Outcome, None, None]:
    """Make the runs in parallel, and yield their outcomes as they arrive. If the process of a run ends early, the
    outcome has the reason. Closing the iterator stops the runs.

    Args:
        work: an importable function that makes the run of a task.
        tasks: the runs.
        jobs, tick: as for `minifa.experiments.processes.spread`.
        dask: where a Dask cluster makes the runs, as for `minifa.experiments.dask_cluster.side_by_side`; None: worker
            processes of this machine make them.
        threads: threads per run on a Dask cluster, as for that function.

    Raises:
        RuntimeError: no process can be started.
        ImportError, OSError: as for `minifa.experiments.dask_cluster.side_by_side`.
    """
    make = functools.partial(attempt, work)
    if dask is not None:
        parts: list[Generator[tuple[Task, Any], None, None]] = [
            dask_cluster.side_by_side(make, tasks, dask, jobs, threads)
        ]
    else:
        elsewhere, here = _by_process(tasks, jobs)
        parts = [processes.spread(make, elsewhere, jobs, tick), processes.spread(make, here, 1)]
    for part in parts:
        with contextlib.closing(part) as answers:
            for task, answer in answers:
                yield answer if isinstance(answer, Outcome) else Outcome(task, error=str(answer))


def _by_process(tasks: Sequence[Task], jobs: int | None) -> tuple[list[Task], list[Task]]:
    """(the runs for worker processes, the runs that only this process can make)."""
    elsewhere, here, names = list[Task](), list[Task](), dict[str, None]()
    for task in tasks:
        local_names = defined_in_this_process(task.experiment)
        names.update(dict.fromkeys(local_names))
        (here if local_names else elsewhere).append(task)
    if here and processes.at_once(jobs, len(tasks)) > 1:
        warnings.warn(
            f"{', '.join(names)}: defined in a notebook, at the prompt or inside a function, where worker processes "
            "cannot import it. Its runs are made in this process, one after the other; defined in a module of its own, "
            "they run in worker processes",
            stacklevel=5,  # the caller of `run_many`
        )
    return elsewhere, here


def defined_in_this_process(experiment: Experiment) -> list[str]:
    """Descriptions of the experiment's user-defined components that other processes cannot import."""
    named = [
        (what, description)
        for stage in experiment.stages()
        for what, description in (
            ("data set", stage.data),
            ("augmentation", stage.augmentation),
            ("model", stage.model),
            ("rule", stage.rule),
            ("loss", stage.loss),
            ("optimizer", stage.optimizer),
            ("schedule", stage.schedule),
        )
    ]
    names = [
        (what, part.partition(":")[0])
        for what, description in dict.fromkeys(named)
        for part in (description or "").split(schedules.THEN)
    ]
    return [f"the {what} {name!r}" for what, name in names if registry.only_here(what, name)]


def run_many(
    experiments: Sequence[Experiment], jobs: int | None = None, progress: bool = True
) -> Generator[Result, None, None]:
    """Run experiments in ``jobs`` worker processes and yield each result as it arrives. If a run fails, or its process
    is killed, a `FailedRun` warning and the result give the reason, and the other runs continue.

    User-defined rules, models and so on are available in the workers if they are defined in an importable module.
    Otherwise (in a notebook or inside a function), their runs are made in this process, after the others.

    Closing the iterator (Ctrl-C in the caller) stops the workers. They also end when this process is killed.

    Args:
        experiments: the experiments to run.
        jobs: number of processes; 1: run everything in this process. None: one per core.
        progress: whether to show a progress bar, in a terminal or a notebook.

    Raises:
        TypeError: an item is not an Experiment.
        RuntimeError: no process can be started.
    """
    check_type(experiments, (list, tuple), "experiments must be a list of minifa.experiments.Experiment")
    for one in experiments:
        check_type(one, Experiment, AN_EXPERIMENT)
    jobs = None if jobs is None else check_int(jobs, "the number of processes (jobs)")
    hidden = not check_bool(progress, "progress")
    runs = run_all(in_memory, [Task(one) for one in experiments], jobs)
    with (
        contextlib.closing(_results(runs)) as results,
        bar(total=len(experiments), desc="runs", unit="run", hidden=hidden) as shown,
    ):
        for result in results:
            shown.update()
            yield result


def run_counted(
    experiments: Sequence[Experiment], jobs: int | None, folder: Path, tick: Callable[[], None]
) -> Generator[Result, None, None]:
    """As `run_many`, with a count of the epochs (see `EpochCount`).

    Args:
        experiments, jobs: as for `run_many`.
        folder: that of the `EpochCount`.
        tick: called about twice a second.
    """
    work = functools.partial(in_memory, progress=folder)
    yield from _results(run_all(work, [Task(one) for one in experiments], jobs, tick))


def _results(runs: Generator[Outcome, None, None]) -> Generator[Result, None, None]:
    """The results of runs in memory, and a warning for each that failed."""
    with contextlib.closing(runs) as outcomes:
        for outcome in outcomes:
            experiment, error = outcome.task.experiment, outcome.error
            if error is not None:
                warnings.warn(
                    f"the run of {experiment.label}, seed {experiment.seed}, failed: {error}", FailedRun, stacklevel=3
                )
            yield outcome.result if error is None else failed(experiment, error)


def failed(experiment: Experiment, error: str) -> Result:
    """The result of an experiment that failed."""
    return Result(experiment, [], math.nan, "test", 0.0, error=error)


def grid_of_rules(base: Experiment, rule_names: Iterable[str], seeds: int) -> list[Experiment]:
    """The same experiment under every rule and seed, seeds outermost, so that an interrupted comparison has all rules.

    Raises:
        TypeError: ``base`` is not an Experiment, ``rule_names`` not a list of names, or ``seeds`` not an int.
        ValueError: a negative number of seeds, or more than 10,000.

    >>> from minifa.experiments import Experiment, grid_of_rules
    >>> [(one.rule, one.seed) for one in grid_of_rules(Experiment(), ["bp", "fa"], seeds=2)]
    [('bp', 0), ('fa', 0), ('bp', 1), ('fa', 1)]
    """
    check_type(base, Experiment, "the base must be a minifa.experiments.Experiment")
    names = check_list(rule_names, str, "rules must be a list of names, as ['bp', 'fa']")
    seeds = check_int(seeds, "the number of seeds", least=0, most=MOST_SEEDS)
    return [replace(base, rule=name, seed=base.seed + i) for i in range(seeds) for name in names]


# Whether a folder holds the same experiments


def claim_folder(
    place: Path,
    kind: str,
    about: Mapping[str, Any],
    contents: Mapping[str, str],
    exists: bool,
    defaults: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write or validate config.json, which holds what all lines of a folder's table share. A table that differs in that
    cannot be continued.

    Args:
        place: the folder.
        kind: kind of table, the key of its entry in config.json.
        about: settings shared by its lines.
        contents: digests of its input files, by name.
        exists: whether the table exists.
        defaults: values of entries that a table of an earlier version may lack.

    Returns:
        Remarks on the existing lines.

    Raises:
        ValueError: the folder holds another table of this kind, or one on other data.
        DataFileError: the folder holds something else.
    """
    if not exists and not (place / "config.json").exists():
        run_folder.write_config(place, {kind: about, "contents": contents})
        return []
    config = check_same_table(place, kind, about, contents, defaults or {})
    notes, known, written_by = [], dict(config.get("contents", {})), config.get("environment")
    if contents and "contents" not in config:
        notes.append("the data on which it was started are unknown: its lines are taken for lines on these")
    if isinstance(written_by, dict) and environment.is_another_version(version := environment.version(written_by)):
        notes.append(f"it was started by minifa {version}, and this is minifa {environment.version()}: its lines stay")
    if contents.keys() - known.keys():
        run_folder.write_config(place, {**config, "contents": {**known, **contents}})
    return [f"the table in {place}: {note}" for note in notes]


def check_same_table(
    place: Path,
    kind: str,
    about: Mapping[str, Any],
    contents: Mapping[str, str],
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read config.json. The arguments and errors are those of `claim_folder`."""
    try:
        config = json.loads(read_bytes(place / "config.json").decode())
        changed = resume.changed_settings({**(defaults or {}), **config[kind]}, about)
        replaced = resume.content_differences(dict(config.get("contents", {})), contents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataFileError(
            f"{place} is not a folder of a {kind} ({type(error).__name__}: {error}): name another"
        ) from error
    if changed or replaced:
        settings = [f"{key} {_shown(asked)} (there: {_shown(stored)})" for key, (stored, asked) in changed.items()]
        raise ValueError(
            f"{place} holds another {kind}: {'; '.join([*settings, *replaced])}. Name another folder, or use the "
            "settings and data it was started with"
        )
    return config


def _shown(value: Any) -> str:
    return "not set" if value == resume.NOTHING else write_value(value)
