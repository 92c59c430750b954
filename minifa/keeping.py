"""A run in its folder: what is kept while it goes on, and going on with it.

>>> from minifa import keeping, runs
>>> from minifa.experiments import Experiment, fit, trainer_for
>>> import pathlib, tempfile
>>> temporary = tempfile.TemporaryDirectory()
>>> folder, data = pathlib.Path(temporary.name), mf.data.load("xor")
>>> for epochs in (5, 8):  # the second time as another process would
...     experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=epochs)
...     trainer = trainer_for(experiment, data)
...     with runs.locked(folder):
...         print(keeping.go_on(folder, experiment, data, trainer) if epochs == 8 else "new")
...         keeping.keep(folder, experiment, trainer)
...         result = fit(experiment, data, trainer)
new
<Checkpoint of bp after epoch 5, step 5>
>>> [row["epoch"] for row in runs.read_results(folder)[0].history]
[0, 1, 2, 3, 4, 5, 6, 7, 8]
>>> temporary.cleanup()
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import checkpoints, experiments, interrupts, runs
from .checkpoints import Checkpoint, CheckpointError, SaveCheckpoints
from .data import load
from .data.base import Dataset
from .experiments import Experiment
from .files import expanded, write_whole
from .logs import TensorBoard, WriteLogs
from .network import Network
from .rules.base import Rule
from .training import Row, Trainer, describe_layout, layout
from .workers import Stopped

MAY_CHANGE = ("epochs", "data_dir")  # when a run is gone on with
NOTHING = "(nothing)"  # in the place of an entry that is not there
RESULT = "result.json"


@functools.lru_cache(maxsize=2)  # two, where data sets are compared
def load_once(name: str, folder: str | None = None) -> Dataset:
    """`minifa.data.load`, once for a process that makes many runs, and not for every one of them.

    >>> from minifa import keeping
    >>> keeping.load_once("xor") is keeping.load_once("xor")
    True
    """
    return load(name, folder)


def keep(
    folder: str | Path,
    experiment: Experiment,
    trainer: Trainer,
    every_seconds: float = 60.0,
    every_steps: int | None = None,
    tensorboard: bool = False,
) -> None:
    """Write config.json now, and let the trainer write logs and checkpoints into the folder as it goes on.

    Args:
        folder: it is there, and locked (`minifa.runs.locked`).
        experiment: what the trainer was made for.
        trainer: it is given the callbacks.
        every_seconds, every_steps: as for `minifa.checkpoints.SaveCheckpoints`.
        tensorboard: whether event files are written too.

    Raises:
        ValueError: an option outside its range, or event files without the package that writes them.
        OSError: the folder cannot be written into.
    """
    path = expanded(folder)
    config = experiment.as_config()
    callbacks = [WriteLogs(path), *([TensorBoard(path / "tensorboard")] if tensorboard else [])]
    trainer.callbacks += [*callbacks, SaveCheckpoints(path, config, every_seconds, every_steps)]  # logs come first
    runs.write_config(path, {"experiment": config})


def go_on(
    folder: str | Path, experiment: Experiment, data: Dataset, trainer: Trainer, previous: bool = False
) -> Checkpoint | None:
    """Put the trainer where the folder's last checkpoint stands.

    Args:
        folder: of the run.
        experiment: what the run was asked for; more epochs may be asked for, and its data lie elsewhere.
        data: its data set.
        trainer: made for the experiment, not yet trained.
        previous: whether it is to be the checkpoint before the last.

    Returns:
        The checkpoint; None where the run ended before it wrote one, and begins anew.

    Raises:
        CheckpointError: the checkpoint is damaged, or belongs to another experiment or other data.
    """
    last = expanded(folder) / "last.ckpt"
    place = checkpoints.previous_of(last) if previous else checkpoints.newest(last)
    if place is None:
        return None
    checkpoint = checkpoints.read(place)
    differ = differences(checkpoint.experiment, experiment)
    if differ:
        raise CheckpointError(f"'{place}' is of another experiment than {folder} describes: it has {'; '.join(differ)}")
    train, there = experiments.parts(experiment, data)[0], checkpoint.training.get("layout")
    here = layout(train, experiment.batch_size)
    if there != here:
        raise CheckpointError(f"'{place}' was trained on other data than {data.name} is now: {describe_layout(here)}")
    checkpoints.restore(checkpoint, trainer)
    return checkpoint


def run_in(folder: str | Path, experiment: Experiment, data: Dataset | None = None) -> Row:
    """Run an experiment in a folder of its own from wherever it stands: from the start, from its last checkpoint, or,
    where it is finished, not at all. Afterwards the network that was best on held-out examples (without those: the one
    at the end) is measured on the test set, and ``result.json`` keeps what came of it.

    Args:
        folder: made where it is not there yet.
        experiment: what to run.
        data: its data set, where it is loaded already.

    Returns:
        ``test_loss``, ``test_accuracy`` and ``class_accuracies`` (with classes), ``test_examples``, ``epochs``,
        ``best_epoch`` (the epoch whose network was measured), ``seconds`` of training, ``diverged``, and the data set's
        ``note``.

    Raises:
        Stopped: a signal came; all is saved.
        CheckpointError: the folder holds another experiment, or more epochs than were asked for.
        ValueError, OSError, ...: as the experiment's parts.

    >>> from minifa import keeping
    >>> from minifa.experiments import Experiment
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...     folder = pathlib.Path(temporary, "run")
    ...     first = keeping.run_in(folder, Experiment(data="xor", model="tiny", lr=0.5, epochs=20))
    ...     again = keeping.run_in(folder, Experiment(data="xor", model="tiny", lr=0.5, epochs=20))
    >>> first["test_accuracy"], first["best_epoch"], first == again
    (1.0, 20, True)
    """
    path = expanded(folder)
    (path / "figures").mkdir(parents=True, exist_ok=True)
    with runs.locked(path):
        kept = finished(path, experiment)
        if kept is not None:
            return kept
        data = data or experiments.load_data(experiment)
        trainer = experiments.trainer_for(experiment, data)
        go_on(path, experiment, data, trainer)
        if trainer.finished > experiment.epochs:
            raise CheckpointError(
                f"{path} holds {trainer.finished} epochs, more than the {experiment.epochs} that are asked for: name "
                "another folder, or ask for as many"
            )
        keep(path, experiment, trainer)
        with interrupts.stopping(trainer, aloud=False):
            experiments.fit(experiment, data, trainer)
        if trainer.stopped:
            raise Stopped(f"{path} is saved in epoch {trainer.epoch}")
        runs.save(path, experiment, trainer.history, trainer.net, trainer.rule)
        result = _measure(path, experiment, data, trainer)
        kept = {"experiment": experiment.as_config(), "result": result}
        write_whole(path / RESULT, json.dumps({**kept, "sha256": _checksum(kept)}, indent=2, default=str) + "\n")
    return result


def finished(folder: str | Path, experiment: Experiment) -> Row | None:
    """What the folder's finished run of this experiment came to, as `run_in` would return it; None: it is not finished,
    or of another experiment.

    >>> from minifa import keeping
    >>> from minifa.experiments import Experiment
    >>> print(keeping.finished("nowhere", Experiment()))
    None
    """
    try:
        kept = json.loads((expanded(folder) / RESULT).read_text(encoding="utf-8"))
        asked = _as_json(experiment.as_config())
        whole = kept.pop("sha256") == _checksum(kept)
        same = {**kept["experiment"], "data_dir": None} == {**asked, "data_dir": None}
        return dict(kept["result"]) if whole and same else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # damaged: it can be made again


def _checksum(kept: dict[str, Any]) -> str:
    """Of what result.json holds beside it: a number in which a digit was changed is a number still."""
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def _measure(folder: Path, experiment: Experiment, data: Dataset, trainer: Trainer) -> Row:
    history, diverged = trainer.history, trainer.diverged
    seconds = sum(row.get("seconds", 0.0) for row in history)
    epochs = best = history[-1]["epoch"]
    if experiment.validation:
        best = checkpoints.load(folder / "best.ckpt", trainer).training["epoch"]
    measured = {f"test_{key}": value for key, value in trainer.evaluate(data.test).items()}
    by_class = [None if one is None else round(one, 6) for one in trainer.class_accuracies(data.test)]
    facts = {"test_examples": len(data.test), "epochs": epochs, "best_epoch": best, "seconds": round(seconds, 1)}
    classes = {"class_accuracies": by_class} if by_class else {}
    return {**measured, **classes, **facts, "diverged": diverged, "note": data.note}


def open_checkpoint(path: str | Path) -> tuple[Network, Rule, Experiment]:
    """The network and rule of a checkpoint that was written in a run folder, ``best.ckpt`` say, with the experiment
    they came from.

    Args:
        path: of the file.

    Raises:
        CheckpointError: it is damaged, or no checkpoint of an experiment.
        OSError: it, or the experiment's data, cannot be opened.
    """
    checkpoint = checkpoints.read(path)
    try:
        experiment = Experiment(**checkpoint.experiment)
    except TypeError as error:
        raise CheckpointError(f"'{path}' has an experiment that this minifa does not know: {error}") from error
    if not checkpoint.experiment:
        raise CheckpointError(f"'{path}' keeps no experiment: make the trainer, and use minifa.checkpoints.load")
    trainer = experiments.trainer_for(experiment, experiments.load_data(experiment))
    checkpoints.restore(checkpoint, trainer)
    return trainer.net, trainer.rule, experiment


def differences(kept: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """In what a kept configuration is of another experiment than this, in words; what may change is left out.

    >>> from minifa.experiments import Experiment
    >>> from minifa.keeping import differences
    >>> differences(Experiment(lr=0.1, epochs=3).as_config(), Experiment(lr=0.2, epochs=9))
    ['lr 0.1 and not 0.2']
    """
    there, asked = _as_json(kept), _as_json(experiment.as_config())
    return [
        f"{key} {there.get(key, NOTHING)} and not {asked.get(key, NOTHING)}"
        for key in {**there, **asked}
        if key not in MAY_CHANGE and there.get(key, NOTHING) != asked.get(key, NOTHING)
    ]


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read back: lists for tuples."""
    return dict(json.loads(json.dumps(config, default=str)))
