"""A run folder: what was asked for, what was measured, and the network as it ended.

config.json     the experiment, with versions and machine
history.csv     a row per epoch
network.npz     every parameter, running statistic and feedback matrix, by name; no pickle
figures/        pictures
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy

from . import backend, experiments
from .data import load
from .data.base import DataFileError
from .data.npz import read_arrays, write_arrays
from .network import Network
from .rules.base import Rule
from .training import History

FORMAT = 1


def new_folder(path: str | Path) -> Path:
    """Make a folder that is not there yet: the path itself, or with -2, -3, ... behind it. Nothing is ever overwritten.

    Raises:
        OSError: the folder cannot be made.
    """
    wanted = Path(path)
    candidate, number = wanted, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
            candidate = wanted.with_name(f"{wanted.name}-{number}")
    (candidate / "figures").mkdir()
    return candidate


def drop_empty(folder: Path) -> bool:
    """Remove a run folder into which nothing was written. Returns whether there was nothing."""
    written = [path for path in folder.rglob("*") if path.is_file()]
    if not written:
        (folder / "figures").rmdir()
        folder.rmdir()
    return not written


def environment() -> dict[str, Any]:
    """What a number depends on beside its configuration: versions, backend, threads, machine, date."""
    from . import __version__

    return {
        "minifa": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "backend": backend.name(),
        "dtype": str(backend.dtype()),
        "threads": backend.threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def save(folder: Path, experiment: experiments.Experiment, history: History, net: Network, rule: Rule) -> None:
    """Write config.json, history.csv and network.npz into the folder."""
    write_config(folder, {"experiment": experiment.as_config()})
    history.save_csv(folder / "history.csv")
    arrays = {f"network/{key}": array for key, array in net.state().items()}
    arrays.update({f"rule/{key}": array for key, array in rule.state().items()})
    write_arrays(folder / "network.npz", arrays)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """config.json with the format's number and the environment beside what is given."""
    text = json.dumps({"format": FORMAT, **config, "environment": environment()}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def open_run(folder: str | Path) -> tuple[Network, Rule, experiments.Experiment]:
    """The network and rule of a finished run, as they ended, with the experiment they came from.

    Raises:
        FileNotFoundError: this is no run folder. DataFileError: a file in it is damaged or of another format.
    """
    path = Path(folder)
    for name in ("config.json", "network.npz"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is no folder of a finished run: it has no {name}")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        experiment = experiments.Experiment(**config["experiment"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(f"{path / 'config.json'} is not the configuration of a run ({error})") from error
    state = read_arrays(path / "network.npz")
    net, rule, _, _ = experiments.build(experiment, load(experiment.data, experiment.data_dir))
    for part, owner in (("network/", net), ("rule/", rule)):
        owner.load_state({key.removeprefix(part): a for key, a in state.items() if key.startswith(part)})
    return net, rule, experiment
