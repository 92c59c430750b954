"""Callbacks that come with minifa: early stopping, a progress bar, and measurements of feedback, targets,
kernels and layers."""

from __future__ import annotations

__all__ = ["EarlyStopping", "ProgressBar", "RecordAlignment", "RecordKernels", "RecordStatistics", "RecordTargets"]

import math
import time
from collections.abc import Mapping

import numpy

from .. import backend, kernel_metrics, layer_statistics, metrics, target_metrics
from ..backend import Array
from ..console import bar
from ..data.augment import for_evaluation
from ..data.base import Examples
from ..network import check_state
from ..registry import as_call, unknown
from ..schedules import larger_is_better, measured_in_training
from ..validation import check_between, check_bool, check_float, check_int, check_positive, check_str, check_type
from .history import Row
from .phases import Carried
from .trainer import Callback, Trainer, check_examples

KERNEL_SIZE = 512  # maximum number of examples between which kernels are measured


class EarlyStopping(Callback):
    """Ends training after an epoch if a measure has not improved for ``patience`` epochs, and restores the best network
    (Prechelt 1998, "Early stopping - but when?").

    The row with which training ends has the entry ``stopped_early``. The epoch before the first update counts as the
    first value. Each phase of a training has a best network of its own (`Trainer.begin_phase`). Checkpoints contain
    the best network, so that a resumed training ends with the same bits.

    Args:
        measure: column of the history, added by `Trainer.fit` or by a callback before this one. An accuracy must
            increase, everything else decrease. None: the validation accuracy (without classes: the validation loss).
        patience: number of epochs without improvement after which training ends, at least 1.
        min_delta: an improvement must be larger than this, at least 0.
        restore_best: whether the network (with batch norm's statistics) and the rule's feedback of the best epoch are
            loaded when training ends: early, after its last epoch or as diverged, but not when it is interrupted
            (`Trainer.stop`). A further `Trainer.fit` then continues from them.

    Attributes:
        best: the best value so far; None before the first one.
        best_epoch: its epoch; 0 before the first one.
        waited: number of epochs since then.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument out of its range. `Trainer.fit` raises it if the measure is missing in a row, before the
            first update if there are no validation examples.

    >>> data = mf.data.load("digits")
    >>> net = mf.Network(mf.models.mlp(data.input_shape, data.n_out, hidden=(10,)), seed=0)
    >>> rule, loss, stop = mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.training.EarlyStopping(patience=2)
    >>> trainer = mf.Trainer(net, rule, loss, mf.SGD(lr=0.5), callbacks=[stop])
    >>> train, validation = data.hold_out(0.2)
    >>> history = trainer.fit(train, epochs=100, validation=validation)
    >>> history.stopped_early, history[-1]["epoch"] - stop.best_epoch
    (True, 2)
    >>> stop.best == max(history.column("validation_accuracy")) == trainer.evaluate(validation)["accuracy"]
    True
    """

    def __init__(
        self, measure: str | None = None, patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.measure = None if measure is None else check_str(measure, "measure")
        self.patience = check_int(patience, "patience")
        self.min_delta = check_between(min_delta, "min_delta", 0, math.inf)
        self.restore_best = check_bool(restore_best, "restore_best")
        self.trainer: Trainer | None = None  # the trainer that the values belong to
        self._reset()

    def __repr__(self) -> str:
        return as_call(self)

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch = self.waited = 0
        self.arrays: dict[str, numpy.ndarray] = {}  # of the best network and its rule
        self.has_ended = False

    def on_phase(self, trainer: Trainer, carried: Carried) -> None:
        self._reset()

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        if self.trainer is not trainer:
            self._reset()
            self.trainer = trainer
        if trainer.history.stopped_early:  # training goes on nevertheless
            self.waited = 0
        self.has_ended = False

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        default = "validation_accuracy" if "validation_accuracy" in row else "validation_loss"
        column = self.measure or default
        if column not in row:
            if row["epoch"] == 0 and measured_in_training(column):
                return
            raise ValueError(self._missing(row))
        if self._is_better(float(row[column]), larger_is_better(column)):
            arrays = _arrays_of(trainer) if self.restore_best else {}
            if all(numpy.isfinite(array).all() for array in arrays.values()):
                self.best, self.best_epoch, self.waited, self.arrays = float(row[column]), row["epoch"], 0, arrays
                return
        self.waited += row["epoch"] > 0
        if self.waited >= self.patience:
            row["stopped_early"] = 1

    def _missing(self, row: Row) -> str:
        """The message for a row without the measure."""
        no_validation = not any(key.startswith("validation_") for key in row)
        if no_validation and (self.measure or "validation_").startswith("validation_"):
            needed = (
                repr(self.measure) if self.measure else "'validation_accuracy' (without classes: 'validation_loss')"
            )
            return (
                f"EarlyStopping needs {needed} in every row of the history, which has {', '.join(row)}: give fit "
                "validation examples, or EarlyStopping another measure"
            )
        columns = {*row, "train_loss", "train_accuracy"} - {"epoch"}  # training is measured from epoch 1 on
        return (
            f"{unknown(columns, self.measure, 'measure of EarlyStopping')}; it must be a column of the history, of fit "
            "or of a callback before this one"
        )

    def _is_better(self, value: float, larger: bool) -> bool:
        if self.best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > self.best + self.min_delta if larger else value < self.best - self.min_delta

    def on_done(self, trainer: Trainer) -> None:
        self.has_ended = not trainer.stopped

    def on_end(self, trainer: Trainer) -> None:  # after `on_done` of all callbacks: checkpoints hold the last network
        if self.has_ended:
            self.restore(trainer)

    def restore(self, trainer: Trainer) -> None:
        """Load the best network and feedback into the trainer, if there are any and ``restore_best`` is set. `fit` does
        so by itself; call it for a training that was loaded from a checkpoint and is not continued.

        Args:
            trainer: the trainer whose callback this is.

        Raises:
            TypeError: ``trainer`` is not a Trainer.
        """
        check_type(trainer, Trainer, "the trainer must be a minifa.Trainer")
        for part, owner in (("network/", trainer.net), ("rule/", trainer.rule)):
            if self.arrays:
                owner.load_state({key.removeprefix(part): a for key, a in self.arrays.items() if key.startswith(part)})

    def on_save(self, trainer: Trainer) -> dict[str, numpy.ndarray]:
        state = {"waited": numpy.array(self.waited, "int64")}
        if self.best is None:
            return state
        best = {"best": numpy.array(self.best, "float64"), "best_epoch": numpy.array(self.best_epoch, "int64")}
        return {**state, **best, **self.arrays}

    def on_load(self, trainer: Trainer, arrays: Mapping[str, numpy.ndarray]) -> None:
        like = {"waited": numpy.array(0, "int64")}
        if "best" in arrays:
            like.update(best=numpy.array(0.0), best_epoch=numpy.array(0, "int64"))
            like.update(_arrays_of(trainer) if self.restore_best else {})
        check_state(like, arrays, "EarlyStopping")
        for key, array in like.items():
            if arrays[key].dtype != array.dtype:
                raise ValueError(f"{key!r} of EarlyStopping must be {array.dtype}, got {arrays[key].dtype}")
        if min(arrays["waited"], arrays.get("best_epoch", 0)) < 0:
            raise ValueError("waited and best_epoch of EarlyStopping must be at least 0")
        self._reset()
        self.trainer, self.waited = trainer, int(arrays["waited"])
        if "best" in arrays:
            self.best, self.best_epoch = float(arrays["best"]), int(arrays["best_epoch"])
            self.arrays = {key: array for key, array in arrays.items() if "/" in key}


def _arrays_of(trainer: Trainer) -> dict[str, numpy.ndarray]:
    """Host copies of the arrays of network and rule."""
    network, rule = trainer.net.state(), trainer.rule.state()
    return {**{f"network/{key}": a for key, a in network.items()}, **{f"rule/{key}": a for key, a in rule.items()}}


class ProgressBar(Callback):
    """A tqdm progress bar over all updates, with loss, accuracy and images per second, in a terminal or a notebook.

    Args:
        label: text in front of the bar.
        every: seconds between two readings of the running loss (a reading waits for the device), at least 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: seconds below 0.
    """

    def __init__(self, label: str = "", every: float = 0.5) -> None:
        self.label, self.every = (
            check_str(label, "the label of a bar"),
            check_float(every, "the seconds between two readings"),
        )
        if not self.every >= 0:
            raise ValueError(f"the seconds between two readings must be at least 0, got {every}")

    def on_phase(self, trainer: Trainer, carried: Carried) -> None:
        self.label = trainer.phase

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        done = trainer.batch if trainer.unfinished else 0
        self.bar = bar(total=epochs * batches, initial=done, desc=self.label, unit="batch")
        self.values: dict[str, str] = {}
        self.examples, self.since = 0, time.perf_counter()

    def on_step(self, trainer: Trainer, examples: int) -> None:
        self.examples += examples
        self.bar.update()
        elapsed = time.perf_counter() - self.since
        if self.bar.disable or elapsed < self.every:
            return
        self.values["loss"] = f"{trainer.running_loss():.3f}"
        self.values["images/s"] = f"{self.examples / elapsed:,.0f}"
        self.examples, self.since = 0, time.perf_counter()
        self.bar.set_postfix(self.values, refresh=False)

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        self.values["epoch"] = str(row["epoch"])
        if "train_loss" in row:
            self.values["loss"] = f"{row['train_loss']:.3f}"
        for key, label in (
            ("train_accuracy", "accuracy"),
            ("validation_accuracy", "held-out"),
            ("test_accuracy", "test"),
        ):
            if key in row:
                self.values[label] = f"{row[key]:.3f}"
        self.bar.set_postfix(self.values, refresh=False)

    def on_end(self, trainer: Trainer) -> None:
        self.bar.close()


class _RecordLayers(Callback):
    """Adds measurements of every layer to every row, as ``<layer>.<quantity>``. Subclasses implement `_measure`.

    Args:
        examples: the batch on which errors are compared; the same batch in every epoch.
    """

    def __init__(self, examples: Examples) -> None:
        check_examples(examples)
        self.examples = examples

    def _measure(self, trainer: Trainer, x: Array) -> Mapping[str, Mapping[str, float | None]]:
        """By layer name and quantity, the measurements on the inputs x of `examples`."""
        raise NotImplementedError

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        if trainer.diverged:
            return
        x = backend.asarray(for_evaluation(self.examples.x, trainer.augmentation), trainer.net.dtype)
        for layer, quantities in self._measure(trainer, x).items():
            row.update({f"{layer}.{key}": value for key, value in quantities.items() if value is not None})


class RecordAlignment(_RecordLayers):
    """Adds the alignment of feedback and weights to every row, as ``<layer>.<quantity>`` (see `minifa.metrics`).

    Args:
        examples: the batch on which errors are compared; the same batch in every epoch.
    """

    def _measure(self, trainer: Trainer, x: Array) -> Mapping[str, Mapping[str, float | None]]:
        return metrics.alignment(trainer.net, trainer.rule, x, self.examples.y, trainer.loss)


class RecordTargets(_RecordLayers):
    """Adds the rule's targets beside those of backpropagation and Gauss-Newton to every row: ``<layer>.bp_angle``,
    ``<layer>.gn_angle`` and ``<layer>.target_size`` (see `minifa.target_metrics.target_alignment`, whose errors `fit`
    then raises).

    Args:
        examples: the batch on which targets are compared; the same batch in every epoch.
        damping: of the Gauss-Newton direction, at least 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a negative damping.
    """

    def __init__(self, examples: Examples, damping: float = 0.0) -> None:
        super().__init__(examples)
        self.damping = check_between(damping, "damping", 0, math.inf)

    def _measure(self, trainer: Trainer, x: Array) -> Mapping[str, Mapping[str, float | None]]:
        net, rule, loss = trainer.net, trainer.rule, trainer.loss
        return target_metrics.target_alignment(net, rule, x, self.examples.y, loss, self.damping)


class RecordKernels(_RecordLayers):
    """Adds to every row how much each hidden layer depends on the inputs and the labels: ``<layer>.nhsic_input``,
    ``<layer>.nhsic_label``, ``<layer>.cka_input`` and ``<layer>.cka_label`` (see `minifa.kernel_metrics`).

    Args:
        examples: the batch that is measured, the same in every epoch: its first 512 examples.
        sigma: width of the Gaussian kernels, relative to the root of the number of values.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a sigma that is not above 0.
    """

    def __init__(self, examples: Examples, sigma: float = 5.0) -> None:
        check_examples(examples)
        super().__init__(examples.head(KERNEL_SIZE))
        self.sigma = check_positive(sigma, "sigma")

    def _measure(self, trainer: Trainer, x: Array) -> Mapping[str, Mapping[str, float | None]]:
        return kernel_metrics.dependence(trainer.net, x, self.examples.y, trainer.loss, self.sigma)


class RecordStatistics(_RecordLayers):
    """Adds statistics of the weights and activities of each hidden layer to every row: ``<layer>.weight_mean``,
    ``<layer>.activity_mean`` and so on (see `minifa.layer_statistics`). Values that are not defined have no entry.

    Args:
        examples: the batch whose activities are measured, the same in every epoch. Its targets are not used.
    """

    def _measure(self, trainer: Trainer, x: Array) -> Mapping[str, Mapping[str, float | None]]:
        return layer_statistics.hidden_statistics(trainer.net, x)
