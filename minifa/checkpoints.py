"""Checkpoints: the complete state of a training in one file, from which it resumes with bit-identical results.

    minifa-checkpoint.json    format, environment, experiment, components and settings, and progress of the training
    network/..., rule/..., optimizer/..., callbacks/NAME/...    one .npy for every array that changes; no pickle
    the last 64 bytes         SHA-256 of everything before them

The file is a zip archive that NumPy and other tools can read. Random draws are keyed by seed and position (see
`minifa.rng`), so no random state is saved. A checkpoint is written to a temporary file next to its path and renamed
once it is on disk; the one before it is kept as ``NAME.previous``.

>>> data = mf.data.load("xor")
>>> def fresh():
...     net = mf.Network(mf.models.tiny(data.input_shape, data.n_out), seed=0)
...     rule, loss = mf.rules.KolenPollack(seed=0).attach(net), mf.SoftmaxCrossEntropy()
...     return mf.Trainer(net, rule, loss, mf.Adam(lr=0.1))
>>> import pathlib, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> path = pathlib.Path(folder.name, "xor.ckpt")
>>> one, other = fresh(), fresh()
>>> history = one.fit(data.train, epochs=3)
>>> mf.checkpoints.save(path, one)
>>> mf.checkpoints.load(path, other)
<Checkpoint of kolen_pollack after epoch 3, step 3>
>>> one.fit(data.train, epochs=2)[-1]["train_loss"] == other.fit(data.train, epochs=2)[-1]["train_loss"]
True
>>> folder.cleanup()
"""

from __future__ import annotations

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DamagedCheckpoint",
    "SaveCheckpoints",
    "load",
    "newest",
    "read",
    "restore",
    "save",
]

import contextlib
import copy
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from . import schedules
from .environment import environment
from .layers.base import Layer
from .network import check_state
from .registry import constructor_settings, plain_settings
from .storage import archive
from .storage.atomic import expanded, free_name, read_bytes, write_atomic
from .training import Callback, History, Trainer
from .training.history import best_row
from .training.position import LARGEST_COUNT, check_ranges
from .validation import check_bool, check_choice, check_float, check_int, check_mapping, check_type

A_TRAINER = "the trainer must be a minifa.Trainer"
FORMAT = 1
MANIFEST = "minifa-checkpoint.json"
PARTS = {"network": "net", "rule": "rule", "optimizer": "optimizer"}  # part of a checkpoint to attribute of the trainer
NOT_NEGATIVE = ("optimizer/square/", "optimizer/start/norm/")  # prefixes of arrays
MISSING = "(none)"  # stands for a missing setting in messages
EPOCH_PAUSE = 1.0  # seconds: shorter epochs are not all saved
DERIVED = {"update", "slots"}  # derived from other settings, or text that may change between versions
ADDED_LATER = {"schedule", "augmentation"}  # missing in checkpoints of the first version, and then not compared
DEFAULTS: dict[str, dict[str, Any]] = {  # of settings that older checkpoints do not have
    "optimizer": {"decay_bias": True, "lr_factors": {}, "share_weights": ""},
    "rule": {"correlation": 0.0, "noise": "gaussian"},  # of weight_mirror
}
CALLBACKS = "callbacks"  # prefix of the arrays of callbacks
COUNTS = "count/"  # update counts of an optimizer
KEYS = {"format", "environment", "experiment", "made_of", "step", "training", archive.LIST}


class CheckpointError(ValueError):
    """A file is not a checkpoint, is damaged, or belongs to another training; the message names it.

    Args:
        message: the message.
        previous: the previous checkpoint, if it is valid and this one is not.
    """

    def __init__(self, message: str, previous: Path | None = None) -> None:
        super().__init__(message)
        self.previous = previous


class DamagedCheckpoint(CheckpointError):
    """A checkpoint cannot be read, independently of the training it is loaded into."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        path: path of its file.
        environment: versions, backend and machine that wrote it.
        experiment: the configuration passed to `save`; empty if there was none.
        components: names and settings of network, rule, loss, optimizer, trainer (with the callbacks that have a
            state), schedule and augmentation.
        step: number of weight updates made.
        training: as returned by `minifa.training.Trainer.state`.
        arrays: all arrays by name, such as ``"network/linear1.W"``.
    """

    path: Path
    environment: dict[str, Any]
    experiment: dict[str, Any]
    components: dict[str, dict[str, Any]]
    step: int
    training: dict[str, Any]
    arrays: dict[str, numpy.ndarray]

    def part(self, name: str) -> dict[str, numpy.ndarray]:
        """The arrays of ``"network"``, ``"rule"`` or ``"optimizer"``, under the names used in their states. Raises
        ValueError for another name."""
        return _below(self.arrays, check_choice(name, "a part of a checkpoint", tuple(PARTS)))

    def position(self) -> str:
        """Human-readable progress of the training.

        >>> mf.checkpoints.Checkpoint("", {}, {}, {}, 7, {"epoch": 2, "batch": 3, "unfinished": True}, {}).position()
        'in epoch 2 after 3 batches, step 7'
        """
        epoch, batch = self.training.get("epoch"), self.training.get("batch")
        if self.training.get("unfinished"):
            return f"in epoch {epoch} after {batch} batch{'es' * (batch != 1)}, step {self.step}"
        return f"after epoch {epoch}, step {self.step}"

    def __repr__(self) -> str:
        rule = self.components.get("rule")
        return f"<Checkpoint of {rule.get('name') if isinstance(rule, dict) else '?'} {self.position()}>"


def _below(arrays: Mapping[str, numpy.ndarray], prefix: str) -> dict[str, numpy.ndarray]:
    """The arrays whose names start with ``prefix/``, without it."""
    return {key.removeprefix(f"{prefix}/"): a for key, a in arrays.items() if key.startswith(f"{prefix}/")}


# Writing


def save(path: str | Path, trainer: Trainer, experiment: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint; an existing file becomes ``NAME.previous``.

    Args:
        path: path of the file, in an existing folder.
        trainer: the trainer, between two updates (in a callback, or after `fit` has returned).
        experiment: its configuration, JSON-serialisable.

    Raises:
        TypeError: ``trainer`` is not a Trainer, or ``experiment`` is not JSON-serialisable.
        CheckpointError: an array is not finite, so that training could not be resumed.
        OSError: the file cannot be written; an existing file is left unchanged.
    """
    arrays = arrays_of(check_type(trainer, Trainer, A_TRAINER))
    experiment = {} if experiment is None else check_mapping(experiment, "the experiment of a checkpoint")
    wrong = [key for key, array in arrays.items() if not numpy.isfinite(array).all()]
    if wrong:
        raise CheckpointError(f"'{path}' is not written: {', '.join(wrong[:3])} must contain only finite numbers")
    manifest = {
        "format": FORMAT,
        "environment": environment(),
        "experiment": dict(experiment),
        "made_of": components_of(trainer),
        "step": trainer.net.step,
        "training": trainer.state(),
        archive.LIST: archive.listed(arrays),
    }
    write_atomic(path, pack(manifest, arrays), previous=previous_of(path))


def arrays_of(trainer: Trainer) -> dict[str, numpy.ndarray]:
    """Host copies of every array that training changes."""
    arrays = {f"{part}/{key}": a for part, own in PARTS.items() for key, a in getattr(trainer, own).state().items()}
    for name, callback in callbacks_of(trainer).items():
        for key, value in check_mapping(callback.on_save(trainer), f"the state of {name} (on_save)").items():
            array = arrays[f"{CALLBACKS}/{name}/{key}"] = numpy.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"the state of {name} (on_save) must consist of numbers, got {value!r} as {key!r}")
    return arrays


def callbacks_of(trainer: Trainer) -> dict[str, Callback]:
    """The callbacks with a state (those that define `Callback.on_save`), by class name; a further one of a class has a
    number behind it."""
    named: dict[str, Callback] = {}
    for callback in trainer.callbacks:
        if type(callback).on_save is not Callback.on_save:
            kind = type(callback).__name__
            number = 1 + sum(type(one).__name__ == kind for one in named.values())
            named[kind if number == 1 else f"{kind}-{number}"] = callback
    return named


def components_of(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Types, seeds and settings that must be equal when training is resumed."""
    rule, loss, optimizer = (
        {"name": getattr(one, "name", "") or type(one).__name__, **_settings(one)}
        for one in (trainer.rule, trainer.loss, trainer.optimizer)
    )
    layers = [_layer(layer) for layer in trainer.net]
    images = trainer.augmentation
    return {
        "network": {"seed": trainer.net.seed, "dtype": str(trainer.net.dtype), "layers": layers},
        "rule": rule,
        "loss": loss,
        "optimizer": {
            **optimizer,
            "lr": float(trainer.initial_lr),  # the current rate is in `training`
            "lr_factors": trainer.optimizer.lr_factors or {},
            "share_weights": "" if (sharing := trainer.optimizer.share_weights) is None else repr(sharing),
        },
        "trainer": {
            "seed": trainer.seed,
            **{name: constructor_settings(one) for name, one in callbacks_of(trainer).items()},
        },
        "schedule": schedules.describe(trainer.schedule),
        "augmentation": {"name": "none"} if images is None else {"name": type(images).__name__, **_settings(images)},
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {**constructor_settings(layer), "kind": type(layer).__name__, "name": layer.name, "frozen": layer.frozen}


def _settings(owner: Any) -> dict[str, Any]:
    return {key: value for key, value in plain_settings(owner).items() if key not in DERIVED}


def pack(manifest: Mapping[str, Any], arrays: Mapping[str, numpy.ndarray]) -> bytes:
    """The bytes of a checkpoint."""
    return archive.pack(MANIFEST, manifest, arrays, default=_plain)


def _plain(value: Any) -> Any:
    """Convert NumPy scalars to Python numbers."""
    if isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(
        f"the experiment of a checkpoint must consist of numbers, strings, lists and dictionaries, got {value!r}"
    )


# Reading


def previous_of(path: str | Path) -> Path:
    """The path of the previous checkpoint. Raises ValueError for a path without a name.

    >>> mf.checkpoints.previous_of("run/last.ckpt").name
    'last.ckpt.previous'
    """
    place = expanded(path)
    if not place.name:
        raise ValueError(f"'{path}' is not a file name: name the file of a checkpoint")
    return place.with_name(place.name + ".previous")


def newest(path: str | Path) -> Path | None:
    """The path of the checkpoint or, if the process was killed between two renames, of the previous one; None if
    neither exists."""
    return next((place for place in (expanded(path), previous_of(path)) if place.is_file()), None)


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint and verify all of it; nothing is unpickled.

    Raises:
        CheckpointError: the file is damaged, or is not a checkpoint. If the previous one is valid, the message says so.
        OSError: the file cannot be opened.
    """
    place = expanded(path)
    try:
        return _unpack(place, read_bytes(place))
    except CheckpointError as error:
        previous = previous_of(place)
        try:
            valid = _unpack(previous, read_bytes(previous))
        except (CheckpointError, OSError):
            raise error from None
        hint = f"the previous checkpoint, '{previous}', is valid ({valid.position()})"
        raise DamagedCheckpoint(f"{error}; {hint}", previous) from error


def _unpack(path: Path, content: bytes) -> Checkpoint:
    try:
        manifest, arrays = archive.unpack(MANIFEST, content, _check_manifest)
    except archive.Foreign as error:
        raise DamagedCheckpoint(f"'{path}' is not a checkpoint of minifa: {error}") from error
    except archive.Damaged as error:
        raise DamagedCheckpoint(f"'{path}' is damaged or incomplete: {error}") from error
    except ValueError as error:
        raise DamagedCheckpoint(f"'{path}' is not a valid checkpoint: {error}") from error
    return Checkpoint(
        path, manifest["environment"], manifest["experiment"], manifest["made_of"], manifest["step"],
        manifest["training"], arrays,
    )  # fmt: skip


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise ValueError(f"its {MANIFEST} has no format")
    if manifest["format"] != FORMAT:
        written = manifest.get("environment", {}).get("minifa", "?")
        raise ValueError(
            f"its format is {manifest['format']} (minifa {written}), but this version of minifa reads format {FORMAT}"
        )
    if manifest.keys() != KEYS:
        raise ValueError(f"its {MANIFEST} has missing or unknown entries: {sorted(manifest.keys() ^ KEYS)}")
    wrong = [key for key in KEYS - {"format", "step"} if not isinstance(manifest[key], dict)]
    if wrong or type(manifest["step"]) is not int or not 0 <= manifest["step"] <= LARGEST_COUNT:
        raise ValueError(f"its {MANIFEST} has entries of the wrong type: {sorted(wrong) or 'step'}")
    check_ranges(manifest["training"])


def load(path: str | Path, trainer: Trainer) -> Checkpoint:
    """Restore a trainer from a checkpoint: the next `fit` gives results bit-identical to those of an uninterrupted one.

    The number of further epochs may differ, and so may the learning rate: set ``trainer.optimizer.lr`` after loading.

    Args:
        path: path of the file.
        trainer: made like the one that was saved: same network (layers, frozen layers, dtype), rule, loss, optimizer
            with its options and initial rate, schedule, augmentation, seeds and callbacks with a state (such as
            `minifa.training.EarlyStopping`). A user-defined schedule is compared by its values at epochs 0, 1, 2, 5,
            ... 500, without a history.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: as in `read`, or the checkpoint belongs to another training; the trainer is then unchanged.
        OSError: the file cannot be opened.
    """
    check_type(trainer, Trainer, A_TRAINER)
    checkpoint = read(path)
    restore(checkpoint, trainer)
    return checkpoint


def restore(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Restore a trainer from a checkpoint that was already read, as in `load`. Raises TypeError, CheckpointError."""
    check_type(
        checkpoint,
        Checkpoint,
        "the checkpoint must be a minifa.checkpoints.Checkpoint, as minifa.checkpoints.read returns",
    )
    check_type(trainer, Trainer, A_TRAINER)
    net, rule, optimizer = trainer.net, trainer.rule, trainer.optimizer
    try:
        _check_components(checkpoint.components, components_of(trainer))
        check_state(net.state(), checkpoint.part("network"), "this network")
        check_state(rule.state(), checkpoint.part("rule"), f"the rule {rule.name!r}")
        _check_dtypes(checkpoint, trainer)
        copy.copy(optimizer).load_state(checkpoint.part("optimizer"), net, rule)  # on a copy: only validates
        for name, callback in callbacks_of(trainer).items():
            copy.copy(callback).on_load(trainer, _below(checkpoint.arrays, f"{CALLBACKS}/{name}"))
        trainer.load_state(checkpoint.training)  # validates first; the last step that can fail
    except ValueError as error:
        raise CheckpointError(f"'{checkpoint.path}' belongs to another training: {error}") from error
    net.step = checkpoint.step  # first: some feedback depends on it
    net.load_state(checkpoint.part("network"))
    rule.load_state(checkpoint.part("rule"))
    optimizer.load_state(checkpoint.part("optimizer"), net, rule)
    for name, callback in callbacks_of(trainer).items():
        callback.on_load(trainer, _below(checkpoint.arrays, f"{CALLBACKS}/{name}"))


def _check_components(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for part in expected:
        settings, own = saved.get(part), dict(expected[part])
        if settings is None and part in ADDED_LATER:
            continue
        if not isinstance(settings, dict):
            raise ValueError(f"its description of the {part} is missing or invalid")
        later = {key: value for key, value in DEFAULTS.get(part, {}).items() if key in own}
        settings = {key: value for key, value in {**later, **settings}.items() if key not in DERIVED}
        layers = settings.pop("layers", None), own.pop("layers", None)
        if part == "optimizer" and "lr" not in settings:  # written by a version that did not save it
            del own["lr"]
        for key in sorted(own.keys() | settings.keys(), key=lambda key: (key != "name", key)):
            _require_same(f"its {part}", key, settings, own)
        if None not in layers:
            _check_layers(*layers)


def _require_same(whose: str, key: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    if theirs.get(key, MISSING) != ours.get(key, MISSING):
        raise ValueError(
            f"{whose} has {key} {theirs.get(key, MISSING)!r}, but this training has {ours.get(key, MISSING)!r}"
        )


def _check_layers(saved: Any, expected: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError if a layer differs; options that were added in a later version are not compared."""
    if not isinstance(saved, list) or not all(isinstance(layer, dict) for layer in saved):
        raise ValueError("its description of the layers is missing or invalid")
    for number, (theirs, ours) in enumerate(zip(saved, expected, strict=False), start=1):
        if theirs.get("kind") != ours["kind"]:
            raise ValueError(f"its layer {number} is a {theirs.get('kind')}, but this training has a {ours['kind']}")
    if len(saved) != len(expected):
        raise ValueError(f"the number of its layers is {len(saved)}, but this training has {len(expected)}")
    for number, (theirs, ours) in enumerate(zip(saved, expected, strict=True), start=1):
        if theirs.get("name") != ours["name"]:
            raise ValueError(
                f"its layer {number} is named {theirs.get('name')!r}, but this training has {ours['name']!r}"
            )
        for key in sorted(theirs.keys() & ours.keys()):
            _require_same(f"its {ours['kind']} {ours['name']!r}", key, theirs, ours)


def _check_dtypes(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Raise ValueError if an array has another dtype than in this training, or negative values where none can be."""
    like = {
        f"{part}/{key}": a for part in ("network", "rule") for key, a in getattr(trainer, PARTS[part]).state().items()
    }
    for key, array in checkpoint.arrays.items():
        is_count = key.startswith(f"optimizer/{COUNTS}")
        expected = like[key].dtype if key in like else numpy.int64 if is_count else trainer.net.dtype
        if array.dtype != expected and not key.startswith(f"{CALLBACKS}/"):  # those check their own arrays
            raise ValueError(f"{key!r} must be {numpy.dtype(expected)} in this training, got {array.dtype}")
        if (is_count or key.startswith(NOT_NEGATIVE) or key.endswith(".running_var")) and (array < 0).any():
            raise ValueError(f"{key!r} must not contain numbers below 0")


# Callback


class SaveCheckpoints(Callback):
    """Writes ``last.ckpt`` during training and, if there are validation examples, ``best.ckpt``.

    ``last.ckpt`` is written at regular intervals, at the end of an epoch (at most once a second), and when training
    ends or is stopped. ``best.ckpt`` is written at the end of every epoch whose validation accuracy (without classes:
    loss) is better than in all previous epochs. Nothing is written once a value is not finite. Checkpoints that another
    training wrote to the same folder are kept as ``last-1.ckpt`` and ``best-1.ckpt``.

    Args:
        folder: folder of the files, which must exist.
        experiment: saved in every checkpoint, as for `save`.
        every_seconds: seconds between two checkpoints within an epoch, above 0.
        every_steps: weight updates between two checkpoints, at least 1; replaces ``every_seconds``.
        replace: whether existing checkpoints belong to an earlier attempt of this training and may be replaced.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        experiment: Mapping[str, Any] | None = None,
        every_seconds: float = 60.0,
        every_steps: int | None = None,
        replace: bool = False,
    ) -> None:
        seconds = check_float(every_seconds, "every_seconds")
        if not seconds > 0:
            raise ValueError(f"every_seconds must be above 0, got {every_seconds}")
        steps = None if every_steps is None else check_int(every_steps, "every_steps", most=sys.maxsize)
        self.last, self.best = expanded(folder) / "last.ckpt", expanded(folder) / "best.ckpt"
        self.experiment = None if experiment is None else check_mapping(experiment, "the experiment of a checkpoint")
        self.every_seconds, self.every_steps, self.replace = seconds, steps, check_bool(replace, "replace")
        self.writes_for: Trainer | None = None

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        if self.writes_for is not trainer and not self.replace:
            self._rename_foreign(trainer)
        self.writes_for = trainer
        self.written = time.monotonic()
        self.changed = False  # since the last checkpoint

    def on_step(self, trainer: Trainer, examples: int) -> None:
        self.changed = True
        if self.every_steps is None:
            due = time.monotonic() - self.written >= self.every_seconds
        else:
            due = trainer.net.step % self.every_steps == 0
        if due:
            self._save_last(trainer)

    def on_recorded(self, trainer: Trainer) -> None:
        self.changed = True
        if is_best(trainer.history):
            self._save(self.best, trainer)
        if time.monotonic() - self.written >= EPOCH_PAUSE or len(trainer.history) == 1:
            self._save_last(trainer)

    def on_done(self, trainer: Trainer) -> None:
        if self.changed:
            self._save_last(trainer)

    def _rename_foreign(self, trainer: Trainer) -> None:
        existing = [path for path in (self.last, self.best) if newest(path) is not None]
        with contextlib.suppress(CheckpointError):  # damaged: its training is unknown
            if not existing or trainer.history.continues(read(newest(existing[0]) or existing[0]).training["history"]):
                return
        for path in existing:
            free = free_name(path)
            for old, new in ((path, free), (previous_of(path), previous_of(free))):
                if old.exists():
                    os.replace(old, new)

    def _save_last(self, trainer: Trainer) -> None:
        self._save(self.last, trainer)
        self.written, self.changed = time.monotonic(), False

    def _save(self, path: Path, trainer: Trainer) -> None:
        with contextlib.suppress(CheckpointError):  # not finite: the previous checkpoint is kept
            save(path, trainer, self.experiment)


def is_best(history: History) -> bool:
    """Whether the last epoch's validation accuracy (without classes: loss) is better than in all previous epochs.

    >>> from minifa.training import History
    >>> [mf.checkpoints.is_best(History({"validation_loss": x} for x in loss)) for loss in ([3, 2], [3, 3])]
    [True, False]
    """
    return best_row(history) is history[-1]
