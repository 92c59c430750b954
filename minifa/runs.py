"""A run folder: what was asked for, what was measured, and the network as it ended.

    config.json     the experiment, with versions and machine, and the way to its files
    history.csv     a row per epoch, and log.jsonl, a line per event (see `minifa.logs`)
    last.ckpt       where training stands, with last.ckpt.previous and best.ckpt (see `minifa.checkpoints`)
    network.npz     every parameter, running statistic and feedback matrix, by name; no pickle
    figures/        pictures
    .lock           held by the process that writes here

A folder that is there is never written over, except by going on with its own run.
"""

from __future__ import annotations

__all__ = [
    "DamagedConfig",
    "RunInUse",
    "environment",
    "new_folder",
    "open_run",
    "read_experiment",
    "read_results",
    "save",
    "version",
    "write_config",
]

import contextlib
import functools
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy

from . import backend, experiments, locks
from .data.base import DataFileError
from .data.npz import read_arrays, write_arrays
from .files import expanded, is_same, move_into_place, plain, read_bytes, write_whole
from .network import Network
from .rules.base import A_RULE, Rule
from .scalars import by_name, instance_of, list_of
from .training import History, Row

FORMAT = 1
LOCK = ".lock"
COMMIT = 7  # digits


class RunInUse(OSError):
    """Another process is writing into this run folder."""


class DamagedConfig(DataFileError):
    """A config.json that is empty, or not the configuration of a run."""


def new_folder(path: str | Path, config: Mapping[str, Any] | None = None) -> Path:
    """Make a folder that is not there yet: the path itself, or with -2, -3, ... behind it. Nothing is ever overwritten.

    Args:
        path: of the folder.
        config: as for `appear`.

    Raises:
        ValueError: a path without a name, as "." and "/".
        OSError: the folder cannot be made.
    """
    wanted = expanded(path)
    if not wanted.name:
        raise ValueError(f"'{path}' has no name of its own: name a new folder in it")
    candidate, number = wanted, 1
    while not appear(candidate, config):
        number += 1
        candidate = wanted.with_name(f"{wanted.name}-{number}")
    return candidate


def appear(folder: Path, config: Mapping[str, Any] | None = None) -> bool:
    """Make a run folder that is there whole or not at all: with ``figures`` in it and, where it is given, config.json.
    It is made beside its place, where a kill may leave it as ``.minifa-....new``, and renamed.

    Args:
        folder: its place.
        config: as for `write_config`.

    Returns:
        Whether it was made; False: something is in its place.

    Raises:
        OSError: it cannot be made.
    """
    if os.path.lexists(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".minifa-{secrets.token_hex(4)}.new")
    try:
        (beside / "figures").mkdir(parents=True)
        if config is not None:
            write_config(beside, config)
        move_into_place(beside, folder)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError) and os.path.lexists(folder):  # another process was quicker
            return False
        raise
    return True


def drop_empty(folder: Path) -> bool:
    """Remove a run folder into which nothing was written but the lock. Returns whether there was nothing."""
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    if not written:
        with contextlib.suppress(FileNotFoundError):  # somebody was quicker
            (folder / LOCK).unlink(missing_ok=True)
            (folder / "figures").rmdir()
            folder.rmdir()
    return not written


@functools.cache
def commit() -> str | None:
    """The first digits of the commit that minifa's checkout was at when it was first asked for; None where minifa does
    not run from one."""
    git = Path(__file__).resolve().parents[1] / ".git"
    try:
        if git.is_file():  # of a second working tree
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head[:COMMIT]
        name, shared = head.removeprefix("ref: "), git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
        if (common / name).is_file():
            return (common / name).read_text(encoding="utf-8")[:COMMIT]
        packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line[:COMMIT] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, UnicodeDecodeError):
        return None


def version(environment: Mapping[str, Any] | None = None) -> str:
    """minifa's version, with its commit where that is known, as ``0.1.0 (619e373)``.

    Args:
        environment: that was kept of a run; None: this one.
    """
    from . import __version__

    known = {"minifa": __version__, "commit": commit()} if environment is None else environment
    by_name(known, "an environment")
    number, of_commit = str(known.get("minifa", "?")), known.get("commit")
    return f"{number} ({of_commit})" if of_commit else number


def is_another_version(one: str) -> bool:
    """Whether a version, as `version` gives it, is not this one; a commit counts where both are known.

    >>> from minifa import runs
    >>> runs.is_another_version("0.0.9"), runs.is_another_version(mf.__version__)
    (True, False)
    """
    (number, _, of_commit), (here, _, commit_here) = one.partition(" "), version().partition(" ")
    return number != here or bool(of_commit and commit_here and of_commit != commit_here)


def environment() -> dict[str, Any]:
    """What a number depends on beside its configuration: versions, backend, threads, machine, date; the commit where
    minifa runs from a checkout."""
    from . import __version__

    of_commit = commit()
    return {
        "minifa": __version__,
        **({"commit": of_commit} if of_commit else {}),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "backend": backend.name(),
        "dtype": str(backend.dtype()),
        "threads": backend.threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def save(folder: str | Path, experiment: experiments.Experiment, history: History, net: Network, rule: Rule) -> None:
    """Write history.csv and network.npz into the folder, and config.json where there is none. Raises TypeError
    for what is none of these, OSError where nothing can be written."""
    place = expanded(folder)
    instance_of(experiment, experiments.Experiment, experiments.AN_EXPERIMENT)
    instance_of(history, History, "a history is a minifa.training.History")
    instance_of(net, Network, "the network is a minifa.Network")
    instance_of(rule, Rule, A_RULE)
    if not (place / "config.json").is_file():
        write_config(place, {"experiment": experiment.as_config()})
    history.save_csv(place / "history.csv")
    arrays = {f"network/{key}": array for key, array in net.state().items()}
    arrays.update({f"rule/{key}": array for key, array in rule.state().items()})
    write_arrays(place / "network.npz", arrays)


def write_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    """config.json with the format's number and the way to the experiment's files beside what is given, and this
    environment where none is."""
    config = by_name(config, "a configuration")
    described = [*list_of(config.get("experiments", []), Mapping, "experiments are described by dictionaries")]
    described.append(by_name(config.get("experiment", {}), "an experiment"))
    ways = _ways(expanded(folder), described[0])
    whole = {"format": FORMAT, **({"files": ways} if ways else {}), "environment": environment(), **config}
    try:
        text = json.dumps(whole, indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a configuration holds what JSON can hold: {error}") from error
    write_whole(expanded(folder) / "config.json", text + "\n")


def _ways(folder: Path, described: Mapping[str, Any]) -> dict[str, str]:
    """From the run's folder to the experiment's files, which may be described from where the run was started: a way
    stays where both are moved together, and where a command is given from another folder."""
    return {key: _way(expanded(path), folder) for key, path in experiments.files_of(described).items()}


def _way(path: Path, start: Path) -> str:
    try:
        return os.path.relpath(path.absolute(), start.resolve())
    except ValueError:  # on another drive of Windows
        return str(path.absolute())


def from_here(experiment: experiments.Experiment, folder: str | Path) -> experiments.Experiment:
    """An experiment that was kept in a run's folder, with the paths of its files as they lead to them from the working
    folder. A file that is found nowhere keeps its path.

    Args:
        experiment: as it was described where the run was started.
        folder: of the run.
    """
    try:
        config = json.loads(read_bytes(expanded(folder) / "config.json").decode())
    except (OSError, ValueError, RecursionError):
        config = {}
    return _along(_kept_ways(config), experiment, expanded(folder).resolve())


def _kept_ways(config: Any) -> dict[str, Any]:
    ways = config.get("files") if isinstance(config, dict) else None
    return ways if isinstance(ways, dict) else {}


def _along(ways: Mapping[str, Any], experiment: experiments.Experiment, path: Path) -> experiments.Experiment:
    found: dict[str, Any] = {}
    for key, written in experiments.files_of(vars(experiment)).items():
        here = expanded(written)
        if key in ways:
            places = [path / str(ways[key]), here]
        else:  # a run from before the ways were written down: most were started in a folder above theirs
            places = [here, *(above / here for above in path.parents)]
        place = next((one for one in places if os.path.exists(one)), here)
        if not is_same(place, here):
            found[key] = _way(place, Path())
    return replace(experiment, **found)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other processes from writing into this run folder (see `minifa.locks`); the file ``.lock`` carries the lock.

    Raises:
        RunInUse: another process holds it.
    """
    with locks.locked(
        expanded(folder) / LOCK, lambda holder: RunInUse(f"{folder} is being written by {holder}: let it end first")
    ):
        yield


def read_experiment(folder: str | Path) -> experiments.Experiment:
    """What a folder of `minifa train` was asked for, whether it is finished or not.

    Raises:
        FileNotFoundError: this is no run folder.
        DataFileError: its config.json is damaged, or describes no single run.
    """
    path = expanded(folder)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path} is no folder of a run: it has no config.json")
    described = _read_experiments(path)
    if len(described) != 1:
        raise DataFileError(f"{path} holds {len(described)} experiments, and only a single run can be gone on with")
    return described[0]


def read_results(folder: str | Path) -> list[experiments.Result]:
    """What was measured in a folder of `minifa train` (one result) or of `minifa compare` (one for every run that did
    not fail), with the epochs as they were written.

    Raises:
        FileNotFoundError: this is neither.
        DataFileError: a file in it is damaged or of another format.
    """
    path = expanded(folder)
    _require(path, "config.json")
    described = _read_experiments(path)
    if (path / "history.csv").is_file():
        return [found for experiment in described for found in read_run(path, experiment)]
    _require(path, "runs.csv")
    rows = History.read_csv(path / "runs.csv")
    found = []
    for experiment in described:
        history = [row for row in rows if (row.get("rule"), row.get("seed")) == (experiment.rule, experiment.seed)]
        if history:
            found.append(_read_result(experiment, history, path))
    return found


def read_run(folder: str | Path, experiment: experiments.Experiment) -> list[experiments.Result]:
    """What was measured in the folder of a run of this experiment; nothing where no epoch was written.

    Raises:
        FileNotFoundError, DataFileError: as `minifa.training.History.read_csv`.
    """
    path = Path(folder)
    history = History.read_csv(path / "history.csv")
    return [_read_result(experiment, history, path)] if history else []


def _read_result(experiment: experiments.Experiment, history: list[Row], path: Path) -> experiments.Result:
    measured, last = "validation" if experiment.validation else "test", history[-1]
    _check_rows(history, measured, path)
    try:
        score = experiments.score_of(last, measured)
    except KeyError as error:
        raise DataFileError(f"the epochs in {path} have no column {error}") from error
    layers = dict.fromkeys(key.rpartition(".")[0] for row in history for key in row if "." in key)
    diverged = History(history).diverged
    return experiments.Result(experiment, history, score, measured, 0.0, tuple(layers), diverged)


def _check_rows(history: list[Row], measured: str, path: Path) -> None:
    """Raise DataFileError unless what is made of these epochs is made of numbers."""
    numbers = {"train_loss", "diverged", f"{measured}_accuracy", f"{measured}_loss"}
    for row in history:
        if type(row.get("epoch")) is not int:
            raise DataFileError(f"the epochs in {path} have no number, or one that is none: {row.get('epoch')!r}")
        for key, value in row.items():
            if isinstance(value, str) and (key in numbers or "." in key):
                raise DataFileError(f"epoch {row['epoch']} in {path} has no number as its {key}, but {value[:100]!r}")


def _require(path: Path, *names: str) -> None:
    for name in names:
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is no folder of a finished run: it has no {name}")


def _read_experiments(path: Path) -> list[experiments.Experiment]:
    """The experiments of a folder: one of a run, all of a comparison."""
    try:
        text = read_bytes(path / "config.json").decode()
        if not text.strip():
            raise ValueError("it is empty")
        config = json.loads(text)
        described = config["experiments"] if "experiments" in config else [config["experiment"]]
        ways, whole = _kept_ways(config), path.resolve()
        return [_along(ways, experiments.Experiment(**one), whole) for one in described]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedConfig(f"{path / 'config.json'} is not the configuration of a run ({error})") from error


def open_run(folder: str | Path) -> tuple[Network, Rule, experiments.Experiment]:
    """The network and rule of a finished run, as they ended, with the experiment they came from.

    Raises:
        FileNotFoundError: this is no run folder.
        DataFileError: a file in it is damaged or of another format.
    """
    path = expanded(folder)
    _require(path, "config.json", "network.npz")
    experiment = _read_experiments(path)[0]
    state = read_arrays(path / "network.npz", plain)
    as_it_ended = replace(experiment, weights=None, weights_names={})  # what it started from is not needed
    try:
        net, rule, _, _ = experiments.build(as_it_ended, experiments.load_data(experiment))
        for part, owner in (("network/", net), ("rule/", rule)):
            owner.load_state({key.removeprefix(part): a for key, a in state.items() if key.startswith(part)})
    except ValueError as error:
        raise DataFileError(f"{path} cannot be opened: {error}") from error
    return net, rule, experiment
