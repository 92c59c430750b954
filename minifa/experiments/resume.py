"""Runs that can be resumed: saving a run to its folder during training, and resuming it.

>>> from minifa.experiments import resume, run_folder
>>> from minifa.experiments import Experiment, fit, trainer_for
>>> import pathlib, tempfile
>>> temporary = tempfile.TemporaryDirectory()
>>> folder, data = pathlib.Path(temporary.name), mf.data.load("xor")
>>> for epochs in (5, 8):  # the second time as another process would
...     experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=epochs)
...     trainer = trainer_for(experiment, data)
...     with run_folder.locked(folder):
...         print(resume.resume_training(folder, experiment, data, trainer) if epochs == 8 else "new")
...         resume.attach_callbacks(folder, experiment, trainer)
...         result = fit(experiment, data, trainer)
new
<Checkpoint of bp after epoch 5, step 5>
>>> [row["epoch"] for row in run_folder.read_results(folder)[0].history]
[0, 1, 2, 3, 4, 5, 6, 7, 8]
>>> temporary.cleanup()
"""

from __future__ import annotations

__all__ = [
    "SavedRun",
    "attach_callbacks",
    "finished",
    "open_checkpoint",
    "resume_training",
    "run_in_folder",
    "saved_experiment",
    "saved_run",
]

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy

from .. import backend, checkpoints, environment, imports, signals
from ..checkpoints import Checkpoint, CheckpointError, DamagedCheckpoint, SaveCheckpoints
from ..data import is_file, load
from ..data.base import Dataset
from ..data.user_files import paths_of
from ..errors import DataFileError
from ..network import Network
from ..rules.base import Rule
from ..storage import atomic
from ..storage.atomic import expanded, make_folder, read_bytes, refuse_link, write_atomic
from ..training import Trainer, logs
from ..training.history import Row
from ..training.logs import TensorBoard, WriteLogs
from ..training.position import describe_layout, layout
from ..validation import check_bool, check_mapping, check_type
from . import correct_examples, run_folder, run_page
from .experiment import (
    A_DATASET,
    AN_EXPERIMENT,
    Experiment,
    begin_phase,
    content_name,
    data_for,
    files_of,
    fit,
    input_names,
    load_data,
    parts,
    trainer_for,
)
from .processes import Stopped

CHANGEABLE = ("epochs", "data_dir")  # when a run is resumed
NOTHING = "(nothing)"  # stands for a missing entry in messages
RESULT = "result.json"
RESULT_KINDS: dict[str, Any] = {
    **dict.fromkeys(("test_loss", "seconds"), (int, float)),
    **dict.fromkeys(("test_examples", "epochs", "best_epoch"), int),
    "diverged": bool,
    "note": str,
}
DEFAULTS = {one.name: getattr(Experiment(), one.name) for one in fields(Experiment)}


def load_once(name: str, folder: str | None = None, **options: Any) -> Dataset:
    """`minifa.data.load` with a cache, for a process that makes many runs. A file that has changed is loaded again.

    >>> from minifa.experiments import resume
    >>> resume.load_once("xor") is resume.load_once("xor")
    True
    """
    files = paths_of(expanded(name), options.get("label")) if is_file(name) else []
    return _load_once(name, folder, tuple(sorted(options.items())), tuple(map(_stamp, files)))


@functools.lru_cache(maxsize=2)  # two: comparisons of data sets need two at a time
def _load_once(name: str, folder: str | None, options: tuple[tuple[str, Any], ...], stamp: object) -> Dataset:
    return load(name, folder, **dict(options))


def _stamp(path: Path) -> object:
    """Identity of a data set's file (path, inode, size, time), which changes with it; None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns


# Identity of a run besides its settings


def contents(experiment: Experiment, data: Dataset) -> dict[str, str]:
    """Digests, by name, of an experiment's inputs: its data set, its file of initial weights if there is one, and the
    files that were imported with ``--import``.

    >>> from minifa.experiments import resume
    >>> from minifa.experiments import Experiment
    >>> resume.contents(Experiment(data="xor"), mf.data.load("xor"))
    {'xor': 'd72c85b400f5ddfe'}
    """
    digests = {content_name(vars(experiment)): data.digest, **imports.digests()}
    if experiment.weights is not None:
        digests[experiment.weights] = atomic.digest(expanded(experiment.weights))
    return digests


def config_of(experiment: Experiment, data: Dataset | None = None) -> dict[str, Any]:
    """The entries of config.json for a run; without ``data``, digests are left out."""
    about = {"experiment": experiment.as_config()}
    return about if data is None else {**about, "contents": contents(experiment, data)}


@dataclass(frozen=True)
class SavedRun:
    """Description of a run as stored in its folder, as far as it can be read.

    Attributes:
        experiment: as returned by `Experiment.as_config`.
        contents: as returned by `contents`; empty: unknown, because an earlier version made the run.
        dtype: the float dtype; "": unknown.
        made_by: the versions of minifa that trained it, in the format of `minifa.experiments.environment.version`.
        result: the result; None if the run is not finished.
    """

    experiment: dict[str, Any]
    contents: dict[str, str]
    dtype: str
    made_by: str
    result: Row | None


def saved_run(folder: str | Path) -> SavedRun | None:
    """Read the description of a run from its folder; None if there is none that can be read.

    Raises:
        OSError: one of its files is not a regular file, but a link, for example.

    >>> from minifa.experiments import resume
    >>> print(resume.saved_run("nowhere"))
    None
    """
    path = expanded(folder)
    config, finished = _read_object(path / "config.json"), _read_object(path / RESULT)
    if finished.pop("sha256", None) != _checksum(finished):
        finished = {}  # damaged: the result can be computed again
    about = config if isinstance(config.get("experiment"), dict) else finished
    experiment, wrote = about.get("experiment"), config.get("environment")
    if not isinstance(experiment, dict):
        return None
    wrote = wrote if isinstance(wrote, dict) else {}
    content, result = about.get("contents"), finished.get("result")
    content = dict(content) if isinstance(content, dict) else {}
    if (name := str(experiment.get("data"))) in content:  # an earlier version stored the name without the options
        content[content_name(experiment)] = content.pop(name)
    is_its_own = finished.get("experiment") == experiment and _is_result(result)  # else of another run
    return SavedRun(
        experiment,
        content,
        str(finished.get("dtype") or wrote.get("dtype", "")),
        str(finished.get("made_by") or (environment.version(wrote) if wrote else "")),
        result if is_its_own else None,
    )


def _is_result(result: Any) -> bool:
    """Whether this has the form of a result of `run_in_folder`; a file with a valid checksum may still hold
    anything."""
    if not isinstance(result, dict) or not all(isinstance(result.get(key), kind) for key, kind in RESULT_KINDS.items()):
        return False
    return result["test_examples"] > 0 and isinstance(result.get("test_accuracy", 0.0), (int, float))


def _read_object(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; empty if the file is missing or damaged."""
    try:
        value = json.loads(read_bytes(path).decode())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def run_differences(saved: SavedRun, experiment: Experiment, here: Mapping[str, str]) -> list[str]:
    """Describe how a stored run differs from this one: settings (except those that may change), dtype and contents.

    Args:
        saved: as returned by `saved_run`.
        experiment: the requested experiment.
        here: its `contents`; entries known to only one of the two are not compared.
    """
    differences, dtype = setting_differences(saved.experiment, experiment), str(backend.dtype())
    if saved.dtype and saved.dtype != dtype:
        differences.append(f"dtype {saved.dtype} and not {dtype}")
    return differences + content_differences(saved.contents, here)


def content_differences(stored: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Describe the inputs whose content has changed, and the imported files that are missing here.

    >>> from minifa.experiments.resume import content_differences
    >>> content_differences({"my.npz": "02ab", "old.npz": "77fe"}, {"my.npz": "c4d1"})
    ['other data: my.npz has the digest c4d1, and had 02ab']
    """
    changed = [name for name in stored if name in here and stored[name] != here[name] and not imports.is_import(name)]
    return imports.differences(stored) + [
        f"other data: {name} has the digest {here[name]}, and had {stored[name]}" for name in changed
    ]


def require_contents(expected: Mapping[str, str], experiment: Experiment, data: Dataset) -> None:
    """Raise DataFileError if this process reads other contents than the process that assigned the work."""
    changed = content_differences(expected, contents(experiment, data)) if expected else []
    if changed:
        raise DataFileError("; ".join(changed))


# In the run folder


def attach_callbacks(
    folder: str | Path,
    experiment: Experiment,
    trainer: Trainer,
    every_seconds: float = 60.0,
    every_steps: int | None = None,
    tensorboard: bool = False,
    data: Dataset | None = None,
) -> None:
    """Write config.json now, and add callbacks that write logs and checkpoints to the folder during training.

    Args:
        folder: an existing folder, locked by `minifa.experiments.run_folder.locked`.
        experiment: the experiment of the trainer.
        trainer: the callbacks are added to it.
        every_seconds, every_steps: as for `minifa.checkpoints.SaveCheckpoints`.
        tensorboard: whether event files are written too.
        data: its data set, whose digest is stored so that changed data are detected; None: no digest is stored.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an option is out of range, or the package that writes event files is missing.
        OSError: the folder is not writable.
    """
    path = expanded(folder)
    config = check_type(experiment, Experiment, AN_EXPERIMENT).as_config()
    check_type(trainer, Trainer, checkpoints.A_TRAINER)
    about = config_of(experiment, None if data is None else data_for(experiment, data))
    save_checkpoints = SaveCheckpoints(path, config, every_seconds, every_steps, replace=True)
    tensorboard = check_bool(tensorboard, "tensorboard")
    make_folder(path / "figures")
    events = [TensorBoard(make_folder(path / "tensorboard"), replace=True)] if tensorboard else []
    trainer.callbacks += [
        WriteLogs(path, replace=True),
        *events,
        save_checkpoints,
    ]  # logs are written before checkpoints
    run_folder.write_config(path, about)


def resume_training(
    folder: str | Path,
    experiment: Experiment,
    data: Dataset,
    trainer: Trainer,
    previous: bool = False,
    same_version: bool = False,
) -> Checkpoint | None:
    """Restore the trainer from the last checkpoint of the folder.

    Args:
        folder: run folder.
        experiment: the experiment of the run; its number of epochs and the location of its data may have changed.
        data: its data set.
        trainer: made for the experiment, not yet trained.
        previous: whether to use the checkpoint before the last.
        same_version: whether to reject a checkpoint of another version of minifa, so that one version makes a result.

    Returns:
        The checkpoint; None if the run ended before it wrote one, and starts from the beginning.

    Raises:
        TypeError: an argument has the wrong type.
        CheckpointError: the checkpoint is damaged, or belongs to another experiment, other data or another version.
        OSError: as in `saved_run`.
    """
    last = expanded(folder) / "last.ckpt"
    data_for(experiment, check_type(data, Dataset, A_DATASET))
    check_type(trainer, Trainer, checkpoints.A_TRAINER)
    previous, same_version = check_bool(previous, "previous"), check_bool(same_version, "same_version")
    place = checkpoints.previous_of(last) if previous else checkpoints.newest(last)
    if place is None:
        return None
    checkpoint, saved = checkpoints.read(place), saved_run(folder)
    settings, known = _with_current_paths(checkpoint.experiment, saved, experiment, folder)
    other_code = imports.differences(known)
    if other_code:
        raise CheckpointError(f"'{place}' cannot be resumed: {'; '.join(other_code)}")
    differ = setting_differences(settings, experiment)
    if differ:
        raise CheckpointError(f"'{place}' is of another experiment than {folder} describes: it has {'; '.join(differ)}")
    train, there = parts(experiment, data)[0], checkpoint.training.get("layout")
    stage = experiment.stage(_phase_of(checkpoint, experiment))
    here = layout(train, stage.batch_size, stage.drop_last)
    changed = content_differences(known, contents(experiment, data)) if known else []
    if there != here or changed:
        now = "; ".join(changed) or describe_layout(here)
        raise CheckpointError(f"'{place}' was trained on other data than {data.name} is now: {now}")
    wrote, ours = checkpoint.environment.get("minifa"), environment.environment()["minifa"]
    if same_version and wrote != ours:
        raise CheckpointError(
            f"'{place}' was written by minifa {wrote}, and this is minifa {ours}: resume it with that version, or with "
            f"this one by minifa train --resume {folder}, or remove {folder} to start again"
        )
    _restore(checkpoint, experiment, data, trainer)
    return checkpoint


def _phase_of(checkpoint: Checkpoint, experiment: Experiment) -> str:
    """The phase that the checkpoint was written in; "" without phases. Raises CheckpointError if the experiment does
    not have it."""
    phase = checkpoint.training.get("phase", "")
    try:
        experiment.number_of(phase)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"'{checkpoint.path}' belongs to another training: {error}") from error
    return phase


def _restore(checkpoint: Checkpoint, experiment: Experiment, data: Dataset, trainer: Trainer) -> None:
    """Restore a trainer of this experiment, in whatever phase, from a checkpoint."""
    phase = _phase_of(checkpoint, experiment)
    if experiment.phases and phase != trainer.phase:
        begin_phase(experiment, phase, data, trainer, is_restored=True)
    checkpoints.restore(checkpoint, trainer)


def _with_current_paths(
    settings: Mapping[str, Any], saved: SavedRun | None, experiment: Experiment, folder: str | Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """(settings of a checkpoint, stored contents), renamed to the experiment's paths: files are compared by content,
    not by location."""
    renamed, known = dict(settings), dict(saved.contents if saved else {})
    with contextlib.suppress(TypeError, ValueError):  # from another version: it differs in any case
        renamed = run_folder.from_here(Experiment(**settings), folder).as_config()
    here = input_names(vars(experiment))
    for key, name in files_of(vars(experiment)).items():
        names = {input_names(one).get(key) for one in (settings, saved.experiment if saved else {})}
        compared = [one for one in names if one in known]
        for one in compared:
            known[here[key]] = known.pop(one)
        if compared or (key == "data" and is_file(str(settings.get(key)))):  # else: by layout
            renamed[key] = name
    return renamed, known


def run_in_folder(folder: str | Path, experiment: Experiment, data: Dataset | None = None) -> Row:
    """Run an experiment in its own folder: from the start, from its last checkpoint or, if it is finished, not at all.
    The network that was best on the validation examples (without these: the final one) is evaluated on the test set,
    and the result is saved in ``result.json``. With classes, ``test_correct.npz`` says which test examples it
    classifies correctly (see `minifa.experiments.correct_examples`).

    Args:
        folder: run folder, created if it does not exist.
        experiment: the experiment to run.
        data: its data set, if already loaded.

    Returns:
        ``test_loss``, ``test_accuracy`` and ``class_accuracies`` (with classes), ``test_examples``, ``epochs``,
        ``best_epoch`` (the epoch whose network was evaluated), ``seconds`` of training, ``diverged``, and the data
        set's ``note``.

    Raises:
        Stopped: a signal was received; the state is saved.
        CheckpointError: the folder holds another experiment, other data, an unfinished run of another version, or more
            epochs than requested.
        ValueError, OSError, ...: as raised by the components of the experiment.

    >>> from minifa.experiments import resume
    >>> from minifa.experiments import Experiment
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...     folder = pathlib.Path(temporary, "run")
    ...     first = resume.run_in_folder(folder, Experiment(data="xor", model="tiny", lr=0.5, epochs=20))
    ...     again = resume.run_in_folder(folder, Experiment(data="xor", model="tiny", lr=0.5, epochs=20))
    >>> first["test_accuracy"], first["best_epoch"], first == again
    (1.0, 20, True)
    """
    path = expanded(folder)
    data = data_for(experiment, data)
    here = contents(experiment, data)
    refuse_link(path)
    run_folder.appear(path, config_of(experiment, data))
    make_folder(path / "figures")
    with run_folder.locked(path):
        result = finished(path, experiment, here)
        if result is not None:
            return result
        trainer = trainer_for(experiment, data)
        _resume_from_valid_checkpoint(path, experiment, data, trainer)
        if trainer.epoch > experiment.epochs:  # an unfinished epoch has changed the network, too
            raise CheckpointError(
                f"{path} holds {trainer.epoch} epochs, more than the {experiment.epochs} that are asked for: name "
                "another folder, or ask for as many"
            )
        attach_callbacks(path, experiment, trainer, data=data)
        with signals.stopping(trainer, verbose=False):
            fit(experiment, data, trainer)
        if trainer.stopped:
            run_page.write(path)
            raise Stopped(f"{path} is saved in epoch {trainer.epoch}")
        run_folder.save(path, experiment, trainer.history, trainer.net, trainer.rule)
        result = _measure(path, experiment, data, trainer)
        origin = {"dtype": str(backend.dtype()), "made_by": logs.versions_of(path / "log.jsonl")}
        entries = {**config_of(experiment, data), **origin, "result": result}
        write_atomic(path / RESULT, json.dumps({**entries, "sha256": _checksum(entries)}, indent=2, default=str) + "\n")
        run_page.write(path)
    return result


def _resume_from_valid_checkpoint(path: Path, experiment: Experiment, data: Dataset, trainer: Trainer) -> None:
    """Resume from the last checkpoint or, if that is damaged, from a valid one before it, with bit-identical
    results."""
    try:
        resume_training(path, experiment, data, trainer, same_version=True)
    except DamagedCheckpoint as error:
        if error.previous is None:
            way = f"without the folder '{path}' the same command makes this run again"
            raise CheckpointError(f"{error}; {way}") from error
        resume_training(path, experiment, data, trainer, previous=True, same_version=True)


def saved_experiment(folder: str | Path) -> Experiment:
    """The experiment of a run folder, from its config.json or, if that is damaged, from its checkpoint.

    Args:
        folder: folder of `minifa train` or of `run_in_folder`.

    Raises:
        FileNotFoundError: the folder is not a run folder.
        DataFileError: config.json and the checkpoints are damaged, or config.json does not describe exactly one run.
    """
    try:
        return run_folder.read_experiment(folder)
    except run_folder.DamagedConfig as error:
        last = expanded(folder) / "last.ckpt"
        for place in (last, checkpoints.previous_of(last)):
            with contextlib.suppress(TypeError, ValueError, OSError):
                settings = checkpoints.read(place).experiment
                if settings:
                    return run_folder.from_here(Experiment(**settings), folder)
        raise run_folder.DamagedConfig(
            f"{error}, and no checkpoint in '{folder}' says what it was: move the folder away, and make the run again"
        ) from error


def finished(folder: str | Path, experiment: Experiment, here: Mapping[str, str] | None = None) -> Row | None:
    """The result of the folder's finished run of this experiment, as `run_in_folder` returns it. None if the run is not
    finished or is another run: with other settings, another dtype or, if both are known, other contents.

    Args:
        folder: run folder.
        experiment: the requested experiment.
        here: its `contents`.

    Raises:
        OSError: as in `saved_run`.

    >>> from minifa.experiments import resume
    >>> from minifa.experiments import Experiment
    >>> print(resume.finished("nowhere", Experiment()))
    None
    """
    check_type(experiment, Experiment, AN_EXPERIMENT)
    here = {} if here is None else check_mapping(here, "contents")
    saved = saved_run(folder)
    if saved is None or saved.result is None or run_differences(saved, experiment, here):
        return None
    return dict(saved.result) if saved.experiment.get("epochs") == experiment.epochs else None


def _checksum(entries: dict[str, Any]) -> str:
    """Checksum of the other entries of result.json, because a number with one changed digit is still valid JSON."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True, default=str).encode()).hexdigest()


def _measure(folder: Path, experiment: Experiment, data: Dataset, trainer: Trainer) -> Row:
    history, diverged = trainer.history, trainer.diverged
    seconds = sum(row.get("seconds", 0.0) for row in history)
    epochs = best = history[-1]["epoch"]
    if experiment.validation:
        checkpoint = checkpoints.read(reported_checkpoint(folder, experiment))
        _restore(checkpoint, experiment, data, trainer)
        best = checkpoint.training["epoch"]
    measured = {f"test_{key}": value for key, value in trainer.evaluate(data.test).items()}
    by_class = [None if one is None else round(one, 6) for one in trainer.class_accuracies(data.test)]
    facts = {"test_examples": len(data.test), "epochs": epochs, "best_epoch": best, "seconds": round(seconds, 1)}
    classes = {"class_accuracies": by_class} if by_class else {}
    if by_class:
        correct_examples.keep(folder, trainer.is_correct(data.test))
    return {**measured, **classes, **facts, "diverged": diverged, "note": data.note}


def open_checkpoint(path: str | Path) -> tuple[Network, Rule, Experiment]:
    """The network and rule of a checkpoint in a run folder, such as ``best.ckpt``, with their experiment.

    Args:
        path: path of the file.

    Raises:
        CheckpointError: the file is damaged, or is not a checkpoint of an experiment.
        OSError: the file, or the data of the experiment, cannot be opened.
        ValueError: as in `minifa.experiments.run_folder.read_experiment`.
    """
    trainer, experiment, _ = _open_trainer(path)
    return trainer.net, trainer.rule, experiment


def correct_from_checkpoint(folder: str | Path) -> numpy.ndarray:
    """Whether the network whose scores ``result.json`` reports classifies each test example correctly, computed from
    its checkpoint: bool (N,).

    Args:
        folder: folder of a finished run.

    Raises:
        CheckpointError, OSError, ValueError: as in `open_checkpoint`.
    """
    trainer, _, data = _open_trainer(reported_checkpoint(folder, saved_experiment(folder)))
    return trainer.is_correct(data.test)


def reported_checkpoint(folder: str | Path, experiment: Experiment) -> Path:
    """The path of the checkpoint whose network `run_in_folder` evaluates on the test set."""
    return expanded(folder) / ("best.ckpt" if experiment.validation else "last.ckpt")


def _open_trainer(path: str | Path) -> tuple[Trainer, Experiment, Dataset]:
    checkpoint, saved = checkpoints.read(path), saved_run(expanded(path).parent)
    imports.require_same(saved.contents if saved else {}, path)
    try:
        experiment = run_folder.from_here(Experiment(**checkpoint.experiment), expanded(path).parent)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"'{path}' has an experiment that this minifa does not know: {error}") from error
    if not checkpoint.experiment:
        raise CheckpointError(f"'{path}' keeps no experiment: make the trainer, and use minifa.checkpoints.load")
    data = load_data(experiment)
    trainer = trainer_for(experiment, data)
    _restore(checkpoint, experiment, data, trainer)
    return trainer, experiment, data


def setting_differences(stored: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Describe how a stored configuration differs from this experiment, except in settings that may change.

    >>> from minifa.experiments import Experiment
    >>> from minifa.experiments.resume import setting_differences
    >>> setting_differences(Experiment(lr=0.1, epochs=3).as_config(), Experiment(lr=0.2, epochs=9))
    ['lr 0.1 and not 0.2']
    """
    # Settings that an earlier version did not have count as their defaults.
    changed = changed_settings({**DEFAULTS, **stored}, {**DEFAULTS, **experiment.as_config()})
    return [f"{key} {there} and not {asked}" for key, (there, asked) in changed.items() if key not in CHANGEABLE]


def changed_settings(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ, with both values; `NOTHING` stands for a missing one. They are
    compared as JSON restores them, with lists for tuples.

    >>> from minifa.experiments.resume import changed_settings
    >>> changed_settings({"lr": 0.1, "hidden": [5]}, {"lr": 0.2, "hidden": (5,)})
    {'lr': (0.1, 0.2)}
    """
    there, here = (json.loads(json.dumps(config, default=str)) for config in (stored, asked))
    both = {key: (there.get(key, NOTHING), here.get(key, NOTHING)) for key in {**there, **here}}
    return {key: (old, new) for key, (old, new) in both.items() if old != new}
