"""Run folders: configuration, measurements and trained network of a run.

    config.json     the experiment, with versions, machine and relative paths of its files
    history.csv     one row per epoch, and log.jsonl, one line per event (see `minifa.training.logs`)
    last.ckpt       state of training, with last.ckpt.previous and best.ckpt (see `minifa.checkpoints`)
    network.npz     every parameter, running statistic and feedback matrix, by name; no pickle
    figures/        figures
    index.html      a page that shows all of this (see `minifa.experiments.run_page`)
    .lock           lock file of the process that writes here

An existing folder is never overwritten, except by resuming its own run.
"""

from __future__ import annotations

__all__ = [
    "DamagedConfig",
    "RunInUse",
    "new_folder",
    "open_run",
    "read_experiment",
    "read_results",
    "save",
    "write_config",
]

import contextlib
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import imports
from ..environment import environment
from ..errors import DataFileError
from ..metrics import QUANTITIES
from ..network import Network
from ..rules.base import A_RULE, Rule
from ..storage import locks
from ..storage.atomic import expanded, is_same, move_into_place, plain, read_bytes, write_atomic
from ..storage.npz import read_arrays, write_arrays
from ..training import History
from ..training.history import Row
from ..validation import check_list, check_mapping, check_type
from .experiment import AN_EXPERIMENT, Experiment, Result, build, files_of, final_row, load_data, score_of

FORMAT = 1
LOCK = ".lock"
KINDS = ("accuracy", "loss")  # of a measured column


class RunInUse(OSError):
    """Another process is writing to this run folder."""


class DamagedConfig(DataFileError):
    """A config.json is empty, or is not the configuration of a run."""


def new_folder(path: str | Path, config: Mapping[str, Any] | None = None) -> Path:
    """Create a new folder: the path itself or, if it exists, the path with suffix -2, -3, ... Nothing is overwritten.

    Args:
        path: path of the folder.
        config: as for `appear`.

    Raises:
        ValueError: a path without a name, such as "." or "/".
        OSError: the folder cannot be made.
    """
    wanted = expanded(path)
    if not wanted.name:
        raise ValueError(f"'{path}' has no name of its own: name a new folder in it")
    return wanted if appear(wanted, config) else _next_number(wanted, config, first=2)


def numbered_folder(path: str | Path, config: Mapping[str, Any] | None = None) -> Path:
    """Create a new folder: the path with suffix -1 or, if that exists, -2, -3, ... Nothing is overwritten.

    Args:
        path: path of the folder, without the number.
        config: as for `appear`.

    Raises:
        OSError: the folder cannot be made.
    """
    return _next_number(expanded(path), config, first=1)


def _next_number(path: Path, config: Mapping[str, Any] | None, first: int) -> Path:
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(first))
    return next(folder for folder in numbered if appear(folder, config))


def appear(folder: Path, config: Mapping[str, Any] | None = None) -> bool:
    """Create a run folder atomically, with ``figures`` and, if given, config.json in it. It is created next to its
    final path and renamed; if the process is killed in between, ``.minifa-....new`` may remain.

    Args:
        folder: path of the folder.
        config: as for `write_config`.

    Returns:
        Whether it was created; False: the path already exists.

    Raises:
        OSError: it cannot be created.
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
        if isinstance(error, OSError) and os.path.lexists(folder):  # another process created it first
            return False
        raise
    return True


def drop_empty(folder: Path) -> bool:
    """Remove a run folder that holds no file but the lock. Returns whether it was empty in this sense."""
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    if not written:
        with contextlib.suppress(FileNotFoundError):  # another process removed it first
            (folder / LOCK).unlink(missing_ok=True)
            (folder / "figures").rmdir()
            folder.rmdir()
    return not written


def save(folder: str | Path, experiment: Experiment, history: History, net: Network, rule: Rule) -> None:
    """Write history.csv and network.npz to the folder, and config.json if it does not exist. Raises TypeError for an
    argument of the wrong type, OSError if a file cannot be written."""
    place = expanded(folder)
    check_type(experiment, Experiment, AN_EXPERIMENT)
    check_type(history, History, "a history must be a minifa.training.History")
    check_type(net, Network, "the network must be a minifa.Network")
    check_type(rule, Rule, A_RULE)
    if not (place / "config.json").is_file():
        write_config(place, {"experiment": experiment.as_config()})
    history.save_csv(place / "history.csv")
    arrays = {f"network/{key}": array for key, array in net.state().items()}
    arrays.update({f"rule/{key}": array for key, array in rule.state().items()})
    write_arrays(place / "network.npz", arrays)


def write_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write config.json: the given configuration with the format number, the relative paths of the experiment's files
    and, unless given, the current environment."""
    config = check_mapping(config, "a configuration")
    described = [*check_list(config.get("experiments", []), Mapping, "experiments are described by dictionaries")]
    described.append(check_mapping(config.get("experiment", {}), "an experiment"))
    ways = _ways(expanded(folder), described[0])
    whole = {"format": FORMAT, **({"files": ways} if ways else {}), "environment": environment(), **config}
    try:
        text = json.dumps(whole, indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a configuration holds what JSON can hold: {error}") from error
    write_atomic(expanded(folder) / "config.json", text + "\n")


def _ways(folder: Path, described: Mapping[str, Any]) -> dict[str, str]:
    """Paths of the experiment's files relative to the run folder. They stay valid if both are moved together, and when
    a command is started in another working directory."""
    return {key: _way(expanded(path), folder) for key, path in files_of(described).items()}


def _way(path: Path, start: Path) -> str:
    try:
        return os.path.relpath(path.absolute(), start.resolve())
    except ValueError:  # another drive on Windows
        return str(path.absolute())


def from_here(experiment: Experiment, folder: str | Path) -> Experiment:
    """An experiment stored in a run folder, with the paths of its files relative to the current working directory. The
    path of a missing file is left unchanged.

    Args:
        experiment: as stored, with paths relative to the directory in which the run was started.
        folder: run folder.
    """
    try:
        config = json.loads(read_bytes(expanded(folder) / "config.json").decode())
    except (OSError, ValueError, RecursionError):
        config = {}
    return _along(_kept_ways(config), experiment, expanded(folder).resolve())


def _kept_ways(config: Any) -> dict[str, Any]:
    ways = config.get("files") if isinstance(config, dict) else None
    return ways if isinstance(ways, dict) else {}


def _along(ways: Mapping[str, Any], experiment: Experiment, path: Path) -> Experiment:
    paths: dict[str, Any] = {}
    for key, written in files_of(vars(experiment)).items():
        here = expanded(written)
        if key in ways:
            places = [path / str(ways[key]), here]
        else:  # runs of earlier versions stored no paths; most were started in a parent of their folder
            places = [here, *(above / here for above in path.parents)]
        place = next((one for one in places if os.path.exists(one)), here)
        if not is_same(place, here):
            paths[key] = _way(place, Path())
    return replace(experiment, **paths)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other processes from writing to this run folder with the lock file ``.lock`` (see `minifa.storage.locks`).

    Raises:
        RunInUse: another process holds it.
    """
    with locks.locked(
        expanded(folder) / LOCK,
        lambda holder: RunInUse(f"{folder} is being written by {holder}: wait until it has finished"),
    ):
        yield


def read_experiment(folder: str | Path) -> Experiment:
    """The experiment of a folder of `minifa train`, finished or not.

    Raises:
        FileNotFoundError: the folder is not a run folder.
        DataFileError: its config.json is damaged, or does not describe exactly one run.
        ValueError: a file that the run imported is missing in this process, or has another content (see
            `minifa.imports`).
    """
    path = expanded(folder)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path} is not a folder of a run: it has no config.json")
    described = _read_experiments(path)
    if len(described) != 1:
        raise DataFileError(f"{path} holds {len(described)} experiments, and only a single run can be resumed")
    return described[0]


def read_results(folder: str | Path) -> list[Result]:
    """The results in a folder of `minifa train` (one result) or `minifa compare` (one for every run that did not fail),
    with the epochs as recorded.

    Raises:
        FileNotFoundError: the folder is neither of these.
        DataFileError: a file in it is damaged or has another format.
        ValueError: as in `read_experiment`.
    """
    path = expanded(folder)
    _require(path, "config.json")
    described = _read_experiments(path)
    if (path / "history.csv").is_file():
        return [result for experiment in described for result in read_run(path, experiment)]
    _require(path, "runs.csv")
    rows = History.read_csv(path / "runs.csv")
    results = []
    for experiment in described:
        history = [row for row in rows if (row.get("rule"), row.get("seed")) == (experiment.rule, experiment.seed)]
        if history:
            results.append(_read_result(experiment, history, path))
    return results


def read_run(folder: str | Path, experiment: Experiment) -> list[Result]:
    """The result in the folder of a run of this experiment; an empty list if no epoch was recorded.

    Raises:
        FileNotFoundError, DataFileError: as in `minifa.training.History.read_csv`.
    """
    path = Path(folder)
    history = History.read_csv(path / "history.csv")
    return [_read_result(experiment, history, path)] if history else []


def _read_result(experiment: Experiment, history: list[Row], path: Path) -> Result:
    measured = experiment.measured
    _check_rows(history, measured, path)
    try:
        score = score_of(final_row(experiment, history), measured)
    except KeyError as error:
        raise DataFileError(f"the epochs in {path} have no column {error}") from error
    except (TypeError, ValueError) as error:  # of the phase
        raise DataFileError(f"the epochs in {path} do not belong to its experiment: {error}") from error
    columns = [key.rpartition(".") for row in history for key in row]
    layers = dict.fromkeys(layer for layer, _, quantity in columns if quantity in QUANTITIES)  # the weighted ones
    diverged = History(history).diverged
    return Result(experiment, history, score, measured, 0.0, tuple(layers), diverged)


def _check_rows(history: list[Row], measured: str, path: Path) -> None:
    """Raise DataFileError unless all columns that results are computed from hold numbers."""
    numbers = {"train_loss", "diverged", *(f"{part}_{kind}" for part in (measured, "validation") for kind in KINDS)}
    for row in history:
        if type(row.get("epoch")) is not int:
            raise DataFileError(f"the epochs in {path} have no number, or one that is none: {row.get('epoch')!r}")
        for key, value in row.items():
            if isinstance(value, str) and (key in numbers or "." in key):
                raise DataFileError(f"epoch {row['epoch']} in {path} has no number as its {key}, but {value[:100]!r}")


def _require(path: Path, *names: str) -> None:
    for name in names:
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is not a folder of a finished run: it has no {name}")


def _read_experiments(path: Path) -> list[Experiment]:
    """The experiments of a folder: one for a run, all for a comparison. Every function that opens a folder calls this,
    so that none computes with other code than the run."""
    try:
        text = read_bytes(path / "config.json").decode()
        if not text.strip():
            raise ValueError("it is empty")
        config = json.loads(text)
        described = config["experiments"] if "experiments" in config else [config["experiment"]]
        ways, whole = _kept_ways(config), path.resolve()
        contents = config.get("contents", {})
        experiments = [_along(ways, Experiment(**one), whole) for one in described]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedConfig(f"{path / 'config.json'} is not the configuration of a run ({error})") from error
    imports.require_same(contents if isinstance(contents, dict) else {}, path)
    return experiments


def last_stage(folder: str | Path, experiment: Experiment) -> Experiment:
    """The experiment of the phase with which a finished run ended; without phases, the experiment itself.

    Raises:
        FileNotFoundError, DataFileError: as in `minifa.training.History.read_csv`; or the phase is unknown.
    """
    if not experiment.phases:
        return experiment
    rows = History.read_csv(expanded(folder) / "history.csv")
    try:
        return experiment.stage(rows[-1].get("phase") if rows else None)
    except (TypeError, ValueError) as error:
        raise DataFileError(f"the epochs in {folder} do not belong to its experiment: {error}") from error


def open_run(folder: str | Path) -> tuple[Network, Rule, Experiment]:
    """The trained network and rule of a finished run, with its experiment.

    Raises:
        FileNotFoundError: the folder is not a run folder.
        DataFileError: a file in it is damaged or has another format.
        ValueError: as in `read_experiment`.
    """
    path = expanded(folder)
    _require(path, "config.json", "network.npz")
    experiment = _read_experiments(path)[0]
    state = read_arrays(path / "network.npz", plain)
    ended = last_stage(path, experiment)
    as_it_ended = replace(ended, weights=None, weights_names={})  # initial weights are not needed
    try:
        net, rule, _, _ = build(as_it_ended, load_data(experiment))
        for part, owner in (("network/", net), ("rule/", rule)):
            owner.load_state({key.removeprefix(part): a for key, a in state.items() if key.startswith(part)})
    except ValueError as error:
        raise DataFileError(f"{path} cannot be opened: {error}") from error
    return net, rule, experiment
