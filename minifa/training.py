"""The training loop. It knows no rule, no layer and no data set; what happens around it is done by named callbacks."""

from __future__ import annotations

import contextlib
import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from . import backend, metrics
from .backend import Array, xp
from .data.augment import Augmentation, shown
from .data.base import Examples
from .data.batches import Batches
from .layers.base import infer_chain
from .layers.norm import BatchNorm
from .losses import Loss
from .network import Network
from .optim import Optimizer
from .rules.base import Rule
from .schedules import Schedule, constant

Row = dict[str, Any]


class History(list[Row]):
    """One row per epoch: a dictionary of what was measured.

    >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
    >>> history.columns(), history.column("train_loss")
    (['epoch', 'train_loss'], [None, 0.5])
    """

    def columns(self) -> list[str]:
        """Every column that occurs, in order of first appearance."""
        return list(dict.fromkeys(key for row in self for key in row))

    def column(self, name: str) -> list[Any]:
        """One quantity over the epochs; None where it was not measured."""
        return [row.get(name) for row in self]

    def save_csv(self, path: str | Path) -> None:
        """Write the table: a header, then a line per epoch; empty where nothing was measured."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self)

    @classmethod
    def read_csv(cls, path: str | Path) -> History:
        """What `save_csv` wrote: numbers as numbers, words as words, and no entry where nothing was measured.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return cls({key: _read_cell(cell) for key, cell in row.items() if cell} for row in rows)


def _read_cell(cell: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(cell)
        except ValueError:
            continue
    return cell


class Callback:
    """Told by name what happens in training. Override what you need.

    >>> class Norm(mf.training.Callback):
    ...     def on_epoch(self, trainer, row):
    ...         row["norm"] = float(np.linalg.norm(trainer.net.state()["linear1.W"]))
    >>> data = mf.data.load("xor")
    >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
    >>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(constrain_weights=True)
    >>> rule = mf.rules.BP().attach(net)
    >>> trainer = mf.Trainer(net, rule, loss, optimizer, callbacks=[Norm()])
    >>> norms = trainer.fit(data.train, epochs=2).column("norm")
    >>> [round(norm / norms[0], 4) for norm in norms]
    [1.0, 1.0, 1.0]
    """

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        """Before the first epoch."""

    def on_step(self, trainer: Trainer, examples: int) -> None:
        """After every weight update, with the number of examples in its batch."""

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        """After every epoch (number 0: before the first update), with its row; what is put into it is kept in the
        history."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when training was interrupted."""


class Trainer:
    """Trains one network under one rule.

    Args:
        net, rule, loss, optimizer: what is trained and how; the rule must be attached to the network.
        schedule: what the learning rate is multiplied by, as a function of the epoch; default constant.
        seed: keys the order of the examples, drawn anew for every epoch, and again by the next trainer of the network.
        callbacks: told what happens, in this order.
        augmentation: done to the inputs of every training batch; what is only measured is shown as it says. None:
            nothing.

    Attributes:
        history: a row per finished epoch, row 0 before the first update.
        diverged: whether training ended early because the loss was no longer finite.

    >>> data = mf.data.load("xor")
    >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
    >>> rule, loss = mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy()
    >>> schedule = mf.schedules.step_decay(2, gamma=0.5)
    >>> trainer = mf.Trainer(net, rule, loss, mf.SGD(lr=0.5), schedule)
    >>> trainer.fit(data.train, epochs=4).column("lr")
    [None, 0.5, 0.5, 0.25, 0.25]
    >>> sorted(trainer.evaluate(data.test))
    ['accuracy', 'loss']
    """

    def __init__(
        self,
        net: Network,
        rule: Rule,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        augmentation: Augmentation | None = None,
    ) -> None:
        self.net, self.rule, self.loss, self.optimizer = net, rule, loss, optimizer
        self.schedule, self.seed, self.callbacks = schedule or constant(), seed, list(callbacks)
        self.augmentation = augmentation
        self.base_lr = optimizer.lr
        self.epoch = 0
        self.begun = f"from {net.step}" if net.step else ""  # a second trainer meets other orders than the first
        self.total: Any = 0.0  # summed loss of this epoch's examples, on the backend
        self.seen = 0
        self.history = History()
        self.diverged = False

    def fit(self, train: Examples, epochs: int, batch_size: int = 64, validation: Examples | None = None) -> History:
        """Train for so many epochs more and return the history.

        Args:
            train: examples to learn from.
            epochs: passes through them, from 1 up.
            batch_size: examples per weight update; a smaller last batch is used as well.
            validation: examples measured after every epoch, never learnt from.

        Raises:
            ValueError: fewer than one epoch or example per batch; a last batch on which batch norm could not train.
        """
        if epochs < 1 or batch_size < 1:
            raise ValueError(f"training needs at least 1 epoch and 1 example per batch, got {epochs} and {batch_size}")
        if self.net.input_shape is None:  # the examples tell every layer its shapes, and what does not fit is told now
            infer_chain(self.net.layers, shown(train.x[:1], self.augmentation).shape[1:], source="the examples")
        self._check_last_batch(len(train), batch_size)
        batches = math.ceil(len(train) / batch_size)
        self.base_lr = self.optimizer.lr
        self._tell("on_start", epochs, batches)
        try:
            if not self.history:
                self._finish_epoch({"epoch": 0}, validation)
            for _ in range(epochs):
                self.epoch += 1
                self._finish_epoch(self._train_epoch(train, batch_size, batches), validation)
                if self.diverged:
                    break
        finally:
            self.optimizer.lr = self.base_lr
            self._tell("on_end")
        return self.history

    def _check_last_batch(self, n: int, batch_size: int) -> None:
        last = n % batch_size or min(n, batch_size)
        for layer in self.net:
            if isinstance(layer, BatchNorm) and not layer.varies(last):
                raise ValueError(
                    f"{n} examples in batches of {batch_size} leave a last batch of {last}, on which {layer} cannot "
                    "train (one value per feature has no variance): choose another batch size"
                )

    def _train_epoch(self, train: Examples, batch_size: int, batches: int) -> Row:
        made = Batches(train, batch_size, self.seed, self.epoch, self.begun, self.augmentation, self.net.dtype)
        started = time.perf_counter()
        self.total, self.seen, correct = 0.0, 0, 0
        # NumPy's warnings are silenced because the loop itself reports divergence.
        with (
            numpy.errstate(over="ignore", invalid="ignore", divide="ignore"),
            contextlib.closing(made.ahead()) as ahead,
        ):
            for i, (x, y) in enumerate(ahead):
                self.optimizer.lr = self.base_lr * self.schedule(self.epoch - 1 + i / batches)
                x = backend.asarray(x, self.net.dtype)
                self.total = self.total + self.rule.gradients(self.net, x, y, self.loss) * len(y)
                self.seen += len(y)
                if y.ndim == 1:
                    correct = correct + count_correct(self.rule.output, self.rule.target)
                self.optimizer.step(self.net, self.rule)
                self._tell("on_step", len(y))
        seconds = time.perf_counter() - started
        row: Row = {"epoch": self.epoch, "lr": self.optimizer.lr, "train_loss": self.running_loss()}
        if train.y.ndim == 1:
            row["train_accuracy"] = int(correct) / len(train)
        self.diverged = not math.isfinite(row["train_loss"])
        return {**row, "seconds": seconds, "images_per_second": len(train) / seconds}

    def running_loss(self) -> float:
        """Mean loss of the examples seen so far in this epoch. Reading it waits for the device."""
        return float(self.total) / max(1, self.seen)

    def _finish_epoch(self, row: Row, validation: Examples | None) -> None:
        if validation is not None:
            row.update({f"validation_{key}": value for key, value in self.evaluate(validation).items()})
        self._tell("on_epoch", row)
        self.history.append(row)

    def _tell(self, event: str, *facts: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *facts)

    def evaluate(self, examples: Examples, batch_size: int = 256) -> dict[str, float]:
        """Mean loss, and accuracy where there are classes. Changes nothing in the network."""
        total: Any = 0.0
        correct: Any = 0
        with self.net.preserved(), numpy.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(examples), batch_size):
                x, y = (part[start : start + batch_size] for part in (examples.x, examples.y))
                output = self.net.forward(backend.asarray(shown(x, self.augmentation), self.net.dtype))
                target = self.loss.target(y, output)
                total = total + self.loss(output, target)[0].sum()
                correct = correct + count_correct(output, target)
        found = {"loss": float(total) / len(examples)}
        if examples.y.ndim == 1:
            found["accuracy"] = int(correct) / len(examples)
        return found


def count_correct(output: Array, target: Array) -> Array:
    """How many rows have their largest number where the target has its own, a number on the backend."""
    return (xp.argmax(output, axis=1) == xp.argmax(target, axis=1)).sum()


class ProgressBar(Callback):
    """A tqdm bar over all updates, with loss, accuracy and images per second; silent where the output is no terminal.

    Args:
        label: shown in front.
        every: seconds between two readings of the running loss (reading waits for the device).
    """

    def __init__(self, label: str = "", every: float = 0.5) -> None:
        self.label, self.every = label, every

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        from tqdm import tqdm  # here, so that importing minifa stays quick

        self.bar = tqdm(total=epochs * batches, desc=self.label, unit="batch", disable=None, leave=True)
        self.facts: dict[str, str] = {}
        self.examples, self.since = 0, time.perf_counter()

    def on_step(self, trainer: Trainer, examples: int) -> None:
        self.examples += examples
        self.bar.update()
        elapsed = time.perf_counter() - self.since
        if self.bar.disable or elapsed < self.every:
            return
        self.facts["loss"] = f"{trainer.running_loss():.3f}"
        self.facts["images/s"] = f"{self.examples / elapsed:,.0f}"
        self.examples, self.since = 0, time.perf_counter()
        self.bar.set_postfix(self.facts, refresh=False)

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        self.facts["epoch"] = str(row["epoch"])
        if "train_loss" in row:
            self.facts["loss"] = f"{row['train_loss']:.3f}"
        for key, shown in (
            ("train_accuracy", "accuracy"),
            ("validation_accuracy", "held-out"),
            ("test_accuracy", "test"),
        ):
            if key in row:
                self.facts[shown] = f"{row[key]:.3f}"
        self.bar.set_postfix(self.facts, refresh=False)

    def on_end(self, trainer: Trainer) -> None:
        self.bar.close()


class RecordAlignment(Callback):
    """Puts the alignment of feedback and weights into every row, as ``<layer>.<quantity>`` (see `minifa.metrics`).

    Args:
        examples: the batch on which errors are compared; the same one in every epoch.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        if trainer.diverged:
            return
        x = backend.asarray(shown(self.examples.x, trainer.augmentation), trainer.net.dtype)
        with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):  # as in training: the loss tells
            found = metrics.alignment(trainer.net, trainer.rule, x, self.examples.y, trainer.loss)
        for layer, quantities in found.items():
            row.update({f"{layer}.{key}": value for key, value in quantities.items() if value is not None})


def train(
    net: Network,
    rule: Rule,
    train: Examples,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 64,
    validation: Examples | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a network under a rule, with a progress bar, and return the history. For more control use `Trainer`.

    Args:
        net, rule, loss, optimizer, seed: as for `Trainer`.
        train, epochs, batch_size, validation: as for `Trainer.fit`.
        progress: whether the bar is shown (never where the output is no terminal).

    Raises:
        ValueError, TypeError, RuntimeError: as `Trainer.fit` and `minifa.rules.Rule.gradients`.

    >>> data = mf.data.load("xor")
    >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out), seed=0)
    >>> rule = mf.rules.FA(seed=0).attach(net)
    >>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
    >>> history = mf.train(net, rule, data.train, loss, optimizer, epochs=100, progress=False)
    >>> history[-1]["train_accuracy"]
    1.0
    """
    callbacks = [ProgressBar(rule.name)] if progress else []
    return Trainer(net, rule, loss, optimizer, seed=seed, callbacks=callbacks).fit(
        train, epochs, batch_size, validation
    )
