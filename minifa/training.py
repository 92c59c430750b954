"""The training loop. It is independent of rules, layers and data sets; callbacks add everything else."""

from __future__ import annotations

__all__ = ["Callback", "History", "ProgressBar", "RecordAlignment", "Trainer", "train"]

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import math
import numbers
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from . import backend, extensions, metrics
from .backend import Array, xp
from .data.augment import Augmentation, shown
from .data.base import DataFileError, Dataset, Examples
from .data.batches import Batches
from .divergence import PATIENCE, Divergence, Useless, Watch, is_useless, start_of
from .files import expanded, write_whole
from .files import plain as plain_file
from .layers.base import infer_chain
from .layers.norm import BatchNorm
from .losses import Loss
from .network import Network
from .optim import AN_OPTIMIZER, Optimizer
from .registry import KnownOptions
from .rules.base import Rule, check_parts
from .scalars import by_name, check_batch_size, flag, instance_of, plain, real, whole, word
from .schedules import Schedule, constant
from .streams import check_seed
from .terminal import bar

Row = dict[str, Any]
SOME = 256  # number of targets from which the scale of the loss is computed
LARGEST_COUNT = 1 << 53  # upper limit for epochs and examples
LARGEST_RATE = float(numpy.finfo(numpy.float32).max)
NUMBERS = (  # columns that must be numeric
    *("lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("seconds", "images_per_second", "diverged"),
)


class History(list[Row]):
    """One row per epoch: a dictionary of measurements. ``diverged`` is 1 in the row of an epoch whose loss was not
    finite or that was useless (see `minifa.divergence`).

    >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
    >>> history.columns(), history.column("train_loss")
    (['epoch', 'train_loss'], [None, 0.5])
    """

    def columns(self) -> list[str]:
        """All column names, in order of first appearance."""
        return list(dict.fromkeys(key for row in self for key in row))

    def column(self, name: str) -> list[Any]:
        """The values of one column over the epochs; None where it was not measured."""
        return [row.get(name) for row in self]

    @property
    def diverged(self) -> bool:
        """Whether the last epoch diverged: its loss was not finite, or it was useless.

        >>> rows = {"epoch": 0}, {"epoch": 1, "train_loss": 7e9, "diverged": 1}, {"epoch": 2, "train_loss": 0.5}
        >>> mf.training.History(rows).diverged, mf.training.History(rows[:2]).diverged
        (False, True)
        """
        return bool(self) and bool(self[-1].get("diverged", not math.isfinite(self[-1].get("train_loss", 0.0))))

    def save_csv(self, path: str | Path) -> None:
        """Write a CSV file with a header and one line per epoch; cells without a measurement are empty."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        write_whole(path, text.getvalue())

    @classmethod
    def read_csv(cls, path: str | Path) -> History:
        """Read a file written by `save_csv`: numbers as int or float, other cells as str, empty cells without an entry.
        An incomplete last line, as left by a crash, is ignored.

        Raises:
            FileNotFoundError: the file does not exist.
            DataFileError: the file is not such a table: damaged, or with lines that do not match its header.
        """
        try:
            with open(expanded(path), newline="", encoding="utf-8", opener=plain_file) as file:
                text = "".join(line for line in file if line.endswith("\n"))
            lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataFileError(f"'{path}' is no table of epochs ({error})") from error
        if not lines:
            raise DataFileError(f"'{path}' is no table of epochs: it has not one whole line")
        columns = lines.pop(0)
        if len(set(columns)) < len(columns) or any(len(line) != len(columns) for line in lines):
            raise DataFileError(f"'{path}' has a column twice, or lines of another length than its header")
        return cls({key: _read_cell(cell) for key, cell in zip(columns, line, strict=True) if cell} for line in lines)

    def continues(self, rows: Sequence[Row]) -> bool:
        """Whether the rows belong to the same training at an earlier or later time: all common values are equal.

        >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
        >>> history.continues(history[:1]), history.continues([{"epoch": 0}, {"epoch": 1, "train_loss": 0.25}])
        (True, False)
        """
        both = list(zip(self, rows, strict=False))
        return bool(both) and all(
            _are_alike(mine[key], theirs[key]) for mine, theirs in both for key in mine.keys() & theirs.keys()
        )


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two cells are equal; one of them may have been written with float32 precision."""
    try:
        return math.isclose(one, other, rel_tol=1e-6) or str(one) == str(other)
    except TypeError:  # strings
        return str(one) == str(other)


def _read_cell(cell: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(cell)
        except ValueError:
            continue
    return cell


class Callback:
    """Base class of callbacks. Override the methods you need.

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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        extensions.guard(cls, Callback, {})

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        """Called before the first epoch."""

    def on_step(self, trainer: Trainer, examples: int) -> None:
        """Called after every weight update, with the number of examples in its batch."""

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        """Called after every epoch, with its row (epoch 0: before the first update). Entries added to the row are kept
        in the history."""

    def on_recorded(self, trainer: Trainer) -> None:
        """Called when the epoch's row is complete and has been added to the history."""

    def on_done(self, trainer: Trainer) -> None:
        """Called before `Trainer.fit` returns after finished, stopped or diverged training, but not after an
        exception."""

    def on_end(self, trainer: Trainer) -> None:
        """Called after the last epoch, also after an exception or an interruption."""


class Trainer(KnownOptions):
    """Trains one network under one rule.

    Args:
        net, rule, loss, optimizer: the network to train and how to train it; the rule must be attached to the network.
        schedule: factor of the learning rate as a function of the epoch; constant by default.
        seed: key of the order of the examples, which is drawn anew in every epoch and by every further trainer of the
            same network.
        callbacks: callbacks, called in this order.
        augmentation: transformation of the inputs of every training batch; it also defines how inputs are presented in
            evaluation. None: no augmentation.
        check_every: updates between two checks that the loss is finite; a check waits for the device. Default: 1 on
            the CPU, 50 on a GPU.

    Attributes:
        history: one row per finished epoch; row 0 is before the first update. If training diverges, the last row is
            that epoch, with the values up to that point.
        diverged: whether training ended with a loss that is not finite, or with a useless epoch.
        divergence: if diverged, the origin of the first number that is not finite (a `minifa.divergence.Divergence`),
            or a description of the useless epoch (a `minifa.divergence.Useless`); otherwise None.
        stopped: whether `fit` returned early because `stop` was called.
        epoch, batch: the current or last finished epoch, and the number of updates made in it.
        unfinished: whether that epoch is not finished and has no row yet; `fit` resumes it.

    Raises:
        TypeError: an argument of the wrong type.

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
        check_every: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        check_parts(net, rule, loss)
        self.net, self.rule, self.loss = net, rule, loss
        self.optimizer = instance_of(optimizer, Optimizer, AN_OPTIMIZER)
        self.optimizer.meet(net, rule)  # here, because a checkpoint may be written before the first step
        self.schedule, self.seed = constant() if schedule is None else schedule, check_seed(seed)
        if not callable(self.schedule):
            raise TypeError(f"a schedule is called with the epoch, as minifa.schedules.cosine(10) is, got {schedule!r}")
        instance_of(callbacks, (list, tuple), "callbacks are a list of minifa.training.Callback")
        self.callbacks = [instance_of(one, Callback, "a callback is a minifa.training.Callback") for one in callbacks]
        if augmentation is not None:
            instance_of(augmentation, Augmentation, "augmentation is a minifa.data.Augmentation")
        self.augmentation = augmentation
        self.base_lr = self.made_with_lr = optimizer.lr
        self.epoch = 0
        self.begun = f"from {net.step}" if net.step else ""  # gives a second trainer other orders than the first
        self.batch, self.unfinished = 0, False
        self.total: Any = 0.0  # summed loss of this epoch's examples, on the backend, in double precision
        self.correct: Any = 0  # number of correct examples in this epoch, on the backend
        self.seen, self.seconds = 0, 0.0
        self.first_loss = 0.0  # reference for useless losses; 0: not known yet
        self.layout: dict[str, Any] = {}  # examples and batches, which must stay the same within an epoch
        self.history = History()
        self.diverged = self.stopping = self.stopped = False
        self.divergence: Divergence | Useless | None = None
        self.watch = Watch(net, rule, loss, optimizer, check_every)

    def fit(self, train: Examples, epochs: int, batch_size: int = 64, validation: Examples | None = None) -> History:
        """Train for ``epochs`` more epochs and return the history. An unfinished epoch (stopped, or loaded from a
        checkpoint) is resumed and counts as the first of them.

        Args:
            train: training examples.
            epochs: number of epochs, at least 1.
            batch_size: examples per weight update; a smaller last batch is also used.
            validation: examples evaluated after every epoch; not used for training.

        Raises:
            TypeError: examples of the wrong type; a number of epochs or a batch size that is not an int.
            ValueError: fewer than one epoch or example per batch; a last batch on which batch norm cannot train;
                other examples or batches than before within an unfinished epoch.
        """
        for examples in (train, *([] if validation is None else [validation])):
            _check_examples(examples)
        epochs = whole(epochs, "the number of epochs", most=sys.maxsize)
        batch_size = check_batch_size(batch_size)
        if self.net.input_shape is None:  # infer all shapes from the examples and check them
            infer_chain(self.net.layers, shown(train.x[:1], self.augmentation).shape[1:], source="the examples")
        self._check_last_batch(len(train), batch_size)
        self._lay_out(train, batch_size)
        batches = math.ceil(len(train) / batch_size)
        self.watch.forget()
        self.optimizer.meet(self.net, self.rule)
        self.base_lr = self.optimizer.lr
        self.diverged, self.divergence = False, None
        self._tell("on_start", epochs, batches)
        try:
            if not self.history:
                self._finish_epoch({"epoch": 0}, validation)
            for _ in range(epochs):
                if not self.unfinished:
                    self._begin_epoch()
                row = self._train_epoch(train, batch_size, batches)
                if row is not None:
                    self._finish_epoch(row, validation)
                if self.diverged or self.stopping or self.hopeless:
                    break
            self.stopped = self.stopping
            if not self.stopped:
                self._look_at_the_end()
            self._tell("on_done")
        except BaseException:
            self.unfinished = False  # the update may be incomplete: the next fit begins a new epoch
            raise
        finally:
            self.stopping = False
            self.optimizer.lr = self.base_lr
            self._tell("on_end")
        return self.history

    def stop(self) -> None:
        """Make `fit` return after the current update. May be called from a callback or a signal handler. The next `fit`
        resumes the epoch.

        >>> class Enough(mf.training.Callback):
        ...     def on_step(self, trainer, examples):
        ...         trainer.stop()
        >>> data = mf.data.load("xor")
        >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
        >>> rule, loss = mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy()
        >>> trainer = mf.Trainer(net, rule, loss, mf.SGD(), callbacks=[Enough()])
        >>> history = trainer.fit(data.train, epochs=9, batch_size=1)
        >>> trainer.stopped, trainer.epoch, trainer.batch
        (True, 1, 1)
        """
        self.stopping = True

    @property
    def finished(self) -> int:
        """Number of finished epochs."""
        return self.epoch - int(self.unfinished)

    @property
    def hopeless(self) -> bool:
        """Whether training cannot continue: the loss is not finite, or there were too many useless epochs in a row (see
        `minifa.divergence`)."""
        if not self.history.diverged:
            return False
        useless = len(list(itertools.takewhile(lambda row: row.get("diverged"), reversed(self.history))))
        finite = math.isfinite(self.history[-1].get("train_loss", math.nan))
        return not finite or (useless >= PATIENCE[0] and useless * self.batch >= PATIENCE[1])

    def _look_at_the_end(self) -> None:
        if self.history.diverged and not self.diverged:
            row = self.history[-1]
            self.diverged = True
            loss, accuracy = row.get("train_loss", math.nan), row.get("train_accuracy")
            self.divergence = Useless(self.epoch, loss, self.first_loss, accuracy)

    def state(self) -> dict[str, Any]:
        """The position in training as JSON values. Together with the states of network, rule and optimizer and the
        network's ``step`` it suffices to resume training (`minifa.checkpoints` stores all of them)."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "unfinished": self.unfinished,
            "begun": self.begun,
            "total": float(self.total),
            "correct": int(self.correct),
            "seen": self.seen,
            "seconds": self.seconds,
            "first_loss": self.first_loss,
            "base_lr": self.base_lr,
            "layout": self.layout,
            "history": list(self.history),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state`. Validated first; nothing is changed on a ValueError."""
        by_name(state, "the state of a trainer")
        expected, state = self.state(), {"first_loss": 0.0, **state}  # older states have no first_loss
        wrong = [key for key, value in expected.items() if not _is_like(state.get(key), value)]
        if wrong or state.keys() != expected.keys():
            told = ", ".join(wrong or sorted(state.keys() ^ expected.keys()))
            raise ValueError(f"this is not the state of a trainer: {told} is missing, unknown, or of another type")
        _check_ranges(state)
        self.history[:] = state["history"]
        for key in expected.keys() - {"history"}:
            setattr(self, key, type(expected[key])(state[key]))
        self.optimizer.lr = self.base_lr
        self.diverged, self.divergence, self.stopped = False, None, False
        self._look_at_the_end()

    def _lay_out(self, train: Examples, batch_size: int) -> None:
        wanted = layout(train, batch_size)
        if self.unfinished and wanted != self.layout:
            raise ValueError(
                f"epoch {self.epoch} was begun with {describe_layout(self.layout)}, "
                f"and cannot be finished with {describe_layout(wanted)}"
            )
        self.layout = wanted

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self.batch, self.unfinished = 0, True
        self.total, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0

    def _check_last_batch(self, n: int, batch_size: int) -> None:
        last = n % batch_size or min(n, batch_size)
        for layer in self.net:
            if isinstance(layer, BatchNorm) and not layer.varies(last):
                raise ValueError(
                    f"{n} examples in batches of {batch_size} leave a last batch of {last}, on which {layer} cannot "
                    "train (one value per feature has no variance): choose another batch size"
                )

    def _train_epoch(self, train: Examples, batch_size: int, batches: int) -> Row | None:
        """Train the rest of the current epoch. Returns its row, or None if it was stopped."""
        made = Batches(train, batch_size, self.seed, self.epoch, self.begun, self.augmentation, self.net.dtype)
        started = time.perf_counter() - self.seconds
        with backend.quiet(), contextlib.closing(made.ahead(self.batch)) as ahead:
            for i, (x, y) in enumerate(ahead, start=self.batch):
                self.optimizer.lr = self._rate(i, batches)
                self.watch.keep(functools.partial(self._remade, made, i))
                x = backend.asarray(x, self.net.dtype)
                value = self.rule.gradients(self.net, x, y, self.loss)
                if not self.first_loss:
                    self.first_loss = start_of(float(value), self.loss, train.y[:SOME], self.rule.output)
                self.total = self.total + xp.asarray(value, dtype="float64") * len(y)
                self.seen += len(y)
                if y.ndim == 1:
                    self.correct = self.correct + count_correct(self.rule.output, self.rule.target)
                self.optimizer.step(self.net, self.rule)
                self.batch, self.seconds = i + 1, time.perf_counter() - started
                self._tell("on_step", len(y))
                if self.watch.is_due(last=i == batches - 1):
                    if not math.isfinite(float(self.total)):
                        self.divergence = self.watch.find()
                        break
                    self.watch.passed()
                if self.stopping:
                    return None
        loss = self.running_loss()  # waits for the device, so read it before the time
        self.seconds = time.perf_counter() - started
        row: Row = {"epoch": self.epoch, "lr": self._rate(self.batch - 1, batches), "train_loss": loss}
        if train.y.ndim == 1:
            row["train_accuracy"] = int(self.correct) / self.seen
        self.diverged = not math.isfinite(loss)
        row.update(seconds=self.seconds, images_per_second=self.seen / self.seconds)
        if self.diverged or is_useless(loss, self.first_loss, train.y, row.get("train_accuracy")):
            row["diverged"] = 1
        return row

    def _rate(self, batch: int, batches: int) -> float:
        """The learning rate for a batch of this epoch."""
        rate = self.base_lr * real(self.schedule(self.epoch - 1 + batch / batches), "what the schedule gives")
        if not rate >= 0:
            raise ValueError(
                f"the schedule gives a learning rate of {rate} in epoch {self.epoch}: it must be at least 0"
            )
        return rate

    def _remade(self, made: Batches, number: int) -> tuple[Array, numpy.ndarray]:
        """Recreate an earlier batch from the same random draws, on the backend."""
        x, y = made.make(number)
        return backend.asarray(x, self.net.dtype), y

    def running_loss(self) -> float:
        """Mean loss of the examples seen so far in this epoch. Waits for the device."""
        return float(self.total) / max(1, self.seen)

    def _finish_epoch(self, row: Row, validation: Examples | None) -> None:
        if validation is not None:
            row.update({f"validation_{key}": value for key, value in self.evaluate(validation).items()})
        self._tell("on_epoch", row)
        row.update({key: plain(value) for key, value in row.items()})  # callbacks may add any numeric type
        self.history.append(row)
        self.unfinished = False
        self._tell("on_recorded")

    def _tell(self, event: str, *facts: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *facts)

    def evaluate(self, examples: Examples, batch_size: int = 256) -> dict[str, float]:
        """The mean loss, and the accuracy if the targets are classes. The network is not modified.

        Args:
            examples: the examples to evaluate.
            batch_size: examples per forward pass; it limits the memory used.

        Raises:
            TypeError: examples of the wrong type or no examples, or a batch size that is not an int.
            ValueError: a batch size below 1.
        """
        total: Any = 0.0
        correct: Any = 0
        with backend.quiet():
            for output, y in self._outputs(examples, batch_size):
                target = self.loss.target(y, output)
                total = total + self.loss(output, target)[0].sum(dtype="float64")
                correct = correct + count_correct(output, target)
        found = {"loss": float(total) / len(examples)}
        if examples.y.ndim == 1:
            found["accuracy"] = int(correct) / len(examples)
        return found

    def class_accuracies(self, examples: Examples, batch_size: int = 256) -> list[float | None]:
        """The accuracy on the examples of each class, by class index; None for a class without examples. Empty if the
        targets are not classes. The network is not modified.

        Args:
            examples, batch_size: as for `evaluate`.

        Raises:
            TypeError, ValueError: as for `evaluate`.
        """
        _check_examples(examples)
        batch_size = check_batch_size(batch_size)
        if examples.y.ndim != 1:
            return []
        predicted: list[numpy.ndarray] = []
        n_out = 0
        with backend.quiet():
            for output, _ in self._outputs(examples, batch_size):
                predicted.append(backend.to_host(xp.argmax(output, axis=1)))
                n_out = output.shape[1]
        correct = numpy.concatenate(predicted) == examples.y
        members = [correct[examples.y == k] for k in range(n_out)]
        return [float(one.mean()) if len(one) else None for one in members]

    def _outputs(self, examples: Examples, batch_size: int) -> Iterator[tuple[Array, numpy.ndarray]]:
        """Yield the network's outputs in evaluation mode with their targets, batch by batch."""
        _check_examples(examples)
        batch_size = check_batch_size(batch_size)
        with self.net.preserved():
            for start in range(0, len(examples), batch_size):
                x, y = (part[start : start + batch_size] for part in (examples.x, examples.y))
                yield self.net.forward(backend.asarray(shown(x, self.augmentation), self.net.dtype)), y


def _check_examples(examples: Any) -> None:
    if isinstance(examples, Dataset):
        raise TypeError(
            f"training takes the examples of a data set, data.train or data.test, got all of {examples.name!r}"
        )
    if not isinstance(examples, Examples) or not len(examples):
        shapes = [
            getattr(one, "shape", None) for one in (examples if isinstance(examples, (list, tuple)) else [examples])
        ]
        came = f"arrays of shape {' and '.join(map(str, shapes))}" if all(shapes) and shapes else repr(examples)[:100]
        raise TypeError(f"training takes examples, as minifa.data.from_arrays(x, y).train are, got {came}")


def layout(train: Examples, batch_size: int) -> dict[str, Any]:
    """Identify examples and batches by JSON values: the number of examples, the batch size, and a hash of all targets
    and of about 256 evenly spaced inputs."""
    digest = hashlib.sha256(repr((train.x.shape, str(train.x.dtype))).encode())
    digest.update(numpy.ascontiguousarray(train.y).tobytes())
    digest.update(numpy.ascontiguousarray(train.x[:: max(1, len(train) // 256)]).tobytes())
    return {"examples": len(train), "batch_size": batch_size, "digest": digest.hexdigest()[:16]}


def describe_layout(layout: Mapping[str, Any]) -> str:
    return "{examples} examples ({digest}) in batches of {batch_size}".format(**layout)


def _check_ranges(kept: Mapping[str, Any]) -> None:
    """Raise ValueError if a trainer's state has values that are impossible in training. Missing entries and wrong types
    are not checked here (see `Trainer.load_state`)."""

    def whole_number(key: str) -> int | None:
        return kept[key] if type(kept.get(key)) is int else None

    for key in ("epoch", "batch", "seen", "correct"):
        if not 0 <= (whole_number(key) or 0) <= LARGEST_COUNT:
            raise ValueError(f"{key} must lie from 0 to {LARGEST_COUNT}, got {str(kept[key])[:30]}")
    finite = sys.float_info.max
    for key, largest in (("base_lr", LARGEST_RATE), ("seconds", finite), ("first_loss", finite)):
        value = kept.get(key, 0.0)
        if isinstance(value, (int, float)) and not 0 <= value <= largest:
            raise ValueError(f"{key} must be a finite number from 0 up, got {value}")
    if isinstance(kept.get("begun"), str) and not re.fullmatch(r"|from [0-9]{1,16}", kept["begun"]):
        raise ValueError(f"begun is empty or 'from' and a number of updates, got {kept['begun'][:100]!r}")
    _check_counts(kept.get("layout"), bool(kept.get("unfinished")), whole_number)
    _check_history(kept.get("history"), whole_number("epoch"), bool(kept.get("unfinished")))


def _check_counts(layout: Any, unfinished: bool, whole_number: Callable[[str], int | None]) -> None:
    if (whole_number("correct") or 0) > (whole_number("seen") or 0):
        raise ValueError("correct must be at most the number of examples that were seen")
    if not isinstance(layout, dict) or not (layout or unfinished):
        return
    examples, batch_size = (layout[key] if type(layout.get(key)) is int else 0 for key in ("examples", "batch_size"))
    if examples < 1 or batch_size < 1 or not isinstance(layout.get("digest"), str):
        raise ValueError("layout must hold a number of examples, a batch size and a digest")
    if unfinished and (whole_number("batch") or 0) > -(-examples // batch_size):
        raise ValueError(f"batch must be at most the number of batches of {batch_size} in {examples} examples")


def _check_history(rows: Any, epoch: int | None, unfinished: bool) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return
    epochs = [row.get("epoch") for row in rows]
    if not all(type(one) is int and one >= 0 for one in epochs) or epochs != sorted(set(epochs)):
        raise ValueError("history must have one row for each epoch, in order")
    if epochs and epoch is not None and epochs[-1] > epoch - unfinished:
        raise ValueError(f"history has a row for epoch {epochs[-1]}, which is not finished in epoch {epoch}")
    for row in rows:
        wrong = [key for key in NUMBERS if key in row and not isinstance(row[key], numbers.Real)]
        if wrong:
            raise ValueError(f"history must have a number as {wrong[0]} of epoch {row['epoch']}")


def _is_like(value: Any, example: Any) -> bool:
    """Whether a loaded value has the type of the example. An int is accepted for a float, a list must contain
    dictionaries (rows of the history)."""
    if isinstance(example, list):
        return isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return type(value) is type(example) or (type(value) is int and type(example) is float)


def count_correct(output: Array, target: Array) -> Array:
    """Number of rows with equal argmax in output and target, a scalar on the backend."""
    return (xp.argmax(output, axis=1) == xp.argmax(target, axis=1)).sum()


class ProgressBar(Callback):
    """A tqdm progress bar over all updates, with loss, accuracy and images per second; disabled without a terminal.

    Args:
        label: text in front of the bar.
        every: seconds between two readings of the running loss (a reading waits for the device), at least 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: seconds below 0.
    """

    def __init__(self, label: str = "", every: float = 0.5) -> None:
        self.label, self.every = word(label, "the label of a bar"), real(every, "the seconds between two readings")
        if not self.every >= 0:
            raise ValueError(f"the seconds between two readings must be at least 0, got {every}")

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        done = trainer.batch if trainer.unfinished else 0
        self.bar = bar(total=epochs * batches, initial=done, desc=self.label, unit="batch")
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
        for key, words in (
            ("train_accuracy", "accuracy"),
            ("validation_accuracy", "held-out"),
            ("test_accuracy", "test"),
        ):
            if key in row:
                self.facts[words] = f"{row[key]:.3f}"
        self.bar.set_postfix(self.facts, refresh=False)

    def on_end(self, trainer: Trainer) -> None:
        self.bar.close()


class RecordAlignment(Callback):
    """Adds the alignment of feedback and weights to every row, as ``<layer>.<quantity>`` (see `minifa.metrics`).

    Args:
        examples: the batch on which errors are compared; the same batch in every epoch.
    """

    def __init__(self, examples: Examples) -> None:
        _check_examples(examples)
        self.examples = examples

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        if trainer.diverged:
            return
        x = backend.asarray(shown(self.examples.x, trainer.augmentation), trainer.net.dtype)
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
    """Train a network under a rule with a progress bar, and return the history. For more control use `Trainer`.

    Args:
        net, rule, loss, optimizer, seed: as for `Trainer`.
        train, epochs, batch_size, validation: as for `Trainer.fit`.
        progress: whether to show the bar (never shown if the output is not a terminal).

    Raises:
        ValueError, TypeError, RuntimeError: as for `Trainer.fit` and `minifa.rules.Rule.gradients`.

    Warns:
        RuntimeWarning: training diverged (see `History.diverged`).

    >>> data = mf.data.load("xor")
    >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out), seed=0)
    >>> rule = mf.rules.FA(seed=0).attach(net)
    >>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
    >>> history = mf.train(net, rule, data.train, loss, optimizer, epochs=100, progress=False)
    >>> history[-1]["train_accuracy"]
    1.0
    """
    trainer = Trainer(net, rule, loss, optimizer, seed=seed)
    if flag(progress, "progress"):
        trainer.callbacks.append(ProgressBar(rule.label))
    history = trainer.fit(train, epochs, batch_size, validation)
    if trainer.diverged:
        warnings.warn(
            f"training diverged: {trainer.divergence}; try a smaller learning rate", RuntimeWarning, stacklevel=2
        )
    return history
