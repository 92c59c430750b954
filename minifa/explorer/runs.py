"""A short training run as snapshots: matrices, angles, loss and accuracy at some updates.

    snapshot = {"update", "loss", "accuracy": number | null,
                "layers": {layer: {"W": matrix, "weight_angle", "true_angle", "sign_agreement", "gradient_angle",
                                   "targets": {"at", "angle", "size"},
                                   "local_error": {"at", "angle", "size"},
                                   "local_loss": number, "local_accuracy": number}},
                "feedback": {layer: matrix}}
    matrix   = {"array": index, "moved": relative change since the start, "of": shape}

A page keeps only a part of large matrices (`minifa.explorer.excerpts`); "of" is then the shape of the whole one, and
is left out otherwise. "moved" and all angles are those of the whole matrices. A layer also has "b", the index of its
bias, where a page computes outputs itself.

What a rule has at a hidden layer besides or in place of B, left out where it has none: the targets of the layer "at"
which it teaches (angle of h - t to backpropagation's direction in degrees, size norm(h - t) / norm(h)), or the error
that it computes there (angle to backpropagation's, size relative to backpropagation's norm), and a loss of the layer's
own. They stand with the weighted layer below. Angles and sizes are None if they are not defined.
"""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import numpy.typing as npt

from .. import backend, experiments, metrics
from ..chance import bands_in_time, unrelated_entries, weight_band
from ..data.augment import for_evaluation
from ..data.base import Dataset, Examples
from ..experiments import Experiment
from ..experiments.experiment import MEASURED_ON, augmentation_of
from ..network import Network
from ..rules.base import Rule
from ..tracing.stepper import Replay, make_update
from ..training import Trainer
from . import layer_teaching
from .arrays import ArrayTable, Json, number
from .excerpts import Excerpt
from .films import FROM_DRAWS, FROM_ENTRIES

SNAPSHOTS = 25  # with 36 of them the default page would have more than 2 MB
ANGLES = ("weight_angle", "true_angle", "sign_agreement", "gradient_angle")  # from `metrics.alignment`
CHANCE_HOW = {"weight_angle": FROM_ENTRIES, "true_angle": FROM_DRAWS}
TESTED_ON = 1000  # maximum number of test examples for loss and accuracy at every snapshot


def snapshot_updates(updates: int) -> list[int]:
    """The numbers of updates at which a snapshot is taken: 0, then geometrically spaced from 1 to the last one."""
    spaced = numpy.geomspace(1, updates, min(SNAPSHOTS - 1, updates)).round().astype(int)
    return [0, *sorted({int(one) for one in spaced})]


def run(
    experiment: Experiment,
    data: Dataset,
    updates: int,
    table: ArrayTable,
    progress: Callable[[], object],
    excerpt: Excerpt = Excerpt(),  # noqa: B008  it cannot change
) -> list[Json]:
    """The snapshots of a training run, which ends early if the loss is not finite."""
    trainer = Trainer(*experiments.build(experiment, data), augmentation=augmentation_of(experiment))
    return list(train(Snapshots(trainer, data, table, excerpt), Replay(experiment, data).batch_of, updates, progress))


def train(
    snapshots: Snapshots, batch: Callable[[int], Examples], updates: int, progress: Callable[[], object]
) -> Iterator[Json]:
    """Train and take a snapshot at every update of `snapshot_updates`; ends early if the loss is no longer finite.

    Args:
        snapshots: of the network that is trained, by the parts of its trainer.
        batch: the batch of each update, counted from 0.
        updates: number of updates.
        progress: called before every update. What it raises ends the training.

    Raises:
        ValueError: the loss is not finite before the first update.
    """
    at, trainer = set(snapshot_updates(updates)), snapshots.trainer
    parts = trainer.net, trainer.rule, trainer.loss, trainer.optimizer
    first = snapshots.take()
    if not math.isfinite(first["loss"]):
        raise ValueError(f"the loss must be finite before the first update, got {first['loss']}: check the weights")
    yield {"update": 0, **first}
    for update in range(1, updates + 1):
        progress()
        make_update(*parts, batch(update - 1))
        if update in at:
            snapshot = snapshots.take()
            if not math.isfinite(snapshot["loss"]):
                return
            yield {"update": update, **snapshot}


def chance_of_run(experiment: Experiment, data: Dataset) -> Json:
    """By layer and angle: the angles that chance gives, [lowest, highest], for the errors before training."""
    trainer = Trainer(*experiments.build(experiment, data), augmentation=augmentation_of(experiment))
    return Snapshots(trainer, data, ArrayTable()).chance()


class Snapshots:
    """Takes snapshots of a network during training, always measured on the same examples."""

    def __init__(
        self,
        trainer: Trainer,
        data: Dataset,
        table: ArrayTable,
        excerpt: Excerpt = Excerpt(),  # noqa: B008  it cannot change
        biases: bool = False,
    ) -> None:
        self.trainer, self.table, self.excerpt, self.biases = trainer, table, excerpt, biases
        self.measured, self.tested = data.train.head(MEASURED_ON), data.test.head(TESTED_ON)
        self.start: dict[str, npt.NDArray[Any]] = {}

    @backend.quietly
    def take(self) -> Json:
        """A snapshot: loss, accuracy (None without classes), and for every matrix its index and its relative change,
        norm(matrix - start) / norm(start). Layers also have their angles and the fraction of agreeing signs of W and
        B."""
        net, rule = self.trainer.net, self.trainer.rule
        x, y, loss = self._inputs(), self.measured.y, self.trainer.loss
        aligned = metrics.alignment(net, rule, x, y, loss)
        taught = layer_teaching.measured(net, rule, x, y, loss)
        layers = {
            layer.name: {
                "W": self._matrix(f"{layer.name}.W", layer.W),
                **({"b": self.table.index(backend.to_host(layer.b))} if self.biases and layer.b is not None else {}),
                **{key: aligned[layer.name][key] for key in ANGLES},
                **taught.get(layer.name, {}),
            }
            for layer in net.weighted
        }
        feedback = {name: self._matrix(f"{name}.B", B) for name, B in _feedback(net, rule).items()}
        score = self.trainer.evaluate(self.tested)
        return {"loss": score["loss"], "accuracy": score.get("accuracy"), "layers": layers, "feedback": feedback}

    def chance(self) -> Json:
        """By layer and angle: the angles that chance gives, [lowest, highest], for the errors at this moment."""
        net, rule, loss = self.trainer.net, self.trainer.rule, self.trainer.loss
        errors = bands_in_time(net, rule, self._inputs(), self.measured.y, loss)
        bands = {
            layer.name: {
                "weight_angle": weight_band(unrelated_entries(layer.W, rule.B.get(layer.name))),
                "true_angle": errors.get(layer.name),
            }
            for layer in net.weighted
        }
        return {
            layer: {angle: [band.low, band.high] for angle, band in both.items() if band is not None}
            for layer, both in bands.items()
        }

    def _inputs(self) -> Any:
        """The inputs of the examples that are measured, on the backend."""
        return backend.asarray(for_evaluation(self.measured.x, self.trainer.augmentation), self.trainer.net.dtype)

    def _matrix(self, name: str, array: Any) -> Json:
        matrix = numpy.array(backend.to_host(array))
        start = self.start.setdefault(name, matrix)
        norm = float(numpy.linalg.norm(start))
        moved = float(numpy.linalg.norm(matrix - start)) / norm if norm else None
        kept = self.excerpt.of(matrix)
        whole = {} if kept.shape == matrix.shape else {"of": matrix.shape}
        return {"array": self.table.index(kept), "moved": None if moved is None else number(moved), **whole}


def _feedback(net: Network, rule: Rule) -> dict[str, Any]:
    """The current feedback matrices (after an update, `Rule.B` still holds those of the last pass)."""
    with rule.preserved():
        current = {layer.name: rule.feedback(layer) for layer in rule.layers_with_feedback(net)}
    return {**rule.B, **{name: B for name, B in current.items() if B is not None}}
