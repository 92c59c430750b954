"""The training loop. It knows no rule, no layer and no data set; what happens around it is done by named callbacks."""

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
SOME = 256  # examples from whose targets the scale of the loss is taken
LARGEST_COUNT = 1 << 53  # of epochs or examples; none comes near it
LARGEST_RATE = float(numpy.finfo(numpy.float32).max)
NUMBERS = (  # of a row
    *("lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("seconds", "images_per_second", "diverged"),
)


class History(list[Row]):
    """One row per epoch: a dictionary of what was measured. ``diverged`` is 1 in the row of an epoch from which nothing
    came: its loss was not finite, or useless (see `minifa.divergence`).

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

    @property
    def diverged(self) -> bool:
        """Whether the last epoch was one from which nothing came.

        >>> rows = {"epoch": 0}, {"epoch": 1, "train_loss": 7e9, "diverged": 1}, {"epoch": 2, "train_loss": 0.5}
        >>> mf.training.History(rows).diverged, mf.training.History(rows[:2]).diverged
        (False, True)
        """
        return bool(self) and bool(self[-1].get("diverged", not math.isfinite(self[-1].get("train_loss", 0.0))))

    def save_csv(self, path: str | Path) -> None:
        """Write the table: a header, then a line per epoch; empty where nothing was measured."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        write_whole(path, text.getvalue())

    @classmethod
    def read_csv(cls, path: str | Path) -> History:
        """What `save_csv` wrote: numbers as numbers, words as words, and no entry where nothing was measured. A last
        line without its end, which a crash may leave, is left out.

        Raises:
            FileNotFoundError: there is no such file.
            DataFileError: it is no such table: damaged, or with other lines than its header announces.
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
        """Whether the rows are of this very training, at an earlier or a later time: what both have is equal.

        >>> history = mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}])
        >>> history.continues(history[:1]), history.continues([{"epoch": 0}, {"epoch": 1, "train_loss": 0.25}])
        (True, False)
        """
        both = list(zip(self, rows, strict=False))
        return bool(both) and all(
            _are_alike(mine[key], theirs[key]) for mine, theirs in both for key in mine.keys() & theirs.keys()
        )


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two cells are equal, one of which may have been written with the digits of a float32."""
    try:
        return math.isclose(one, other, rel_tol=1e-6) or str(one) == str(other)
    except TypeError:  # words
        return str(one) == str(other)


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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        extensions.guard(cls, Callback, {})

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        """Before the first epoch."""

    def on_step(self, trainer: Trainer, examples: int) -> None:
        """After every weight update, with the number of examples in its batch."""

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        """After every epoch (number 0: before the first update), with its row; what is put into it is kept in the
        history."""

    def on_recorded(self, trainer: Trainer) -> None:
        """When the epoch's row is complete and in the history."""

    def on_done(self, trainer: Trainer) -> None:
        """Before `Trainer.fit` returns: trained, stopped or diverged, but not failed."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when training failed or was broken off."""


class Trainer(KnownOptions):
    """Trains one network under one rule.

    Args:
        net, rule, loss, optimizer: what is trained and how; the rule must be attached to the network.
        schedule: what the learning rate is multiplied by, as a function of the epoch; default constant.
        seed: keys the order of the examples, drawn anew for every epoch, and again by the next trainer of the network.
        callbacks: told what happens, in this order.
        augmentation: done to the inputs of every training batch; what is only measured is shown as it says. None:
            nothing.
        check_every: updates between two looks at whether the loss is still finite; the look waits for the device.
            Default: 1 on the CPU, 50 on a GPU.

    Attributes:
        history: a row per finished epoch, row 0 before the first update. The epoch in which training diverged is the
            last one, with what was seen of it.
        diverged: whether training ended because the loss was no longer finite, or with an epoch that was useless.
        divergence: then, where that began (a `minifa.divergence.Divergence`), or what that epoch came to (a
            `minifa.divergence.Useless`); else None.
        stopped: whether `fit` returned early because `stop` was called.
        epoch, batch: the epoch in hand or last finished, and the updates made in it.
        unfinished: whether that epoch has no row yet; `fit` goes on inside it.

    Raises:
        TypeError: an argument of another kind.

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
        self.optimizer.meet(net, rule)  # now, and not at the first step: a checkpoint may be written before it
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
        self.begun = f"from {net.step}" if net.step else ""  # a second trainer meets other orders than the first
        self.batch, self.unfinished = 0, False
        self.total: Any = 0.0  # summed loss of this epoch's examples, on the backend, in double precision
        self.correct: Any = 0  # how many of them were right, on the backend
        self.seen, self.seconds = 0, 0.0
        self.first_loss = 0.0  # what losses are measured against; 0: not known yet
        self.layout: dict[str, Any] = {}  # which examples, in which batches: an epoch must be finished with the same
        self.history = History()
        self.diverged = self.stopping = self.stopped = False
        self.divergence: Divergence | Useless | None = None
        self.watch = Watch(net, rule, loss, optimizer, check_every)

    def fit(self, train: Examples, epochs: int, batch_size: int = 64, validation: Examples | None = None) -> History:
        """Train for so many epochs more and return the history. An epoch that was stopped, or loaded, in its middle is
        gone on with, and is the first of them.

        Args:
            train: examples to learn from.
            epochs: passes through them, from 1 up.
            batch_size: examples per weight update; a smaller last batch is used as well.
            validation: examples measured after every epoch, never learnt from.

        Raises:
            TypeError: examples of another kind, epochs or a batch size that are no whole numbers.
            ValueError: fewer than one epoch or example per batch; a last batch on which batch norm could not train;
                other examples or batches in the middle of an epoch.
        """
        for examples in (train, *([] if validation is None else [validation])):
            _check_examples(examples)
        epochs = whole(epochs, "the number of epochs", most=sys.maxsize)
        batch_size = check_batch_size(batch_size)
        if self.net.input_shape is None:  # the examples tell every layer its shapes, and what does not fit is told now
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
            self.unfinished = False  # nobody knows how far the update came: the next fit begins a new epoch
            raise
        finally:
            self.stopping = False
            self.optimizer.lr = self.base_lr
            self._tell("on_end")
        return self.history

    def stop(self) -> None:
        """Let `fit` return after the update that is being made. It may be called from a callback, or from the handler
        of a signal; the next `fit` goes on in the middle of the epoch.

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
        """Epochs that are finished."""
        return self.epoch - int(self.unfinished)

    @property
    def hopeless(self) -> bool:
        """Whether training has ended for good: with a loss that is not finite, or so many useless epochs that no more
        are made (see `minifa.divergence`)."""
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
        """Where training stands, in what JSON can hold: with the states of network, rule and optimizer, and the
        network's ``step``, all that it takes to go on (`minifa.checkpoints` keeps them together)."""
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
        """Take over what `state` gave; checked first, so that nothing changes on a ValueError."""
        by_name(state, "the state of a trainer")
        expected, state = self.state(), {"first_loss": 0.0, **state}  # which was not kept at first
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
        """The epoch from where it stands; its row, or None where it was stopped."""
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
        loss = self.running_loss()  # waits for the device: only now the seconds are all there
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
        """The learning rate of a batch of this epoch."""
        rate = self.base_lr * real(self.schedule(self.epoch - 1 + batch / batches), "what the schedule gives")
        if not rate >= 0:
            raise ValueError(
                f"the schedule gives a learning rate of {rate} in epoch {self.epoch}: it must be at least 0"
            )
        return rate

    def _remade(self, made: Batches, number: int) -> tuple[Array, numpy.ndarray]:
        """A batch that was there before, by the same draws, on the backend."""
        x, y = made.make(number)
        return backend.asarray(x, self.net.dtype), y

    def running_loss(self) -> float:
        """Mean loss of the examples seen so far in this epoch. Reading it waits for the device."""
        return float(self.total) / max(1, self.seen)

    def _finish_epoch(self, row: Row, validation: Examples | None) -> None:
        if validation is not None:
            row.update({f"validation_{key}": value for key, value in self.evaluate(validation).items()})
        self._tell("on_epoch", row)
        row.update({key: plain(value) for key, value in row.items()})  # what callbacks measured, in whatever type
        self.history.append(row)
        self.unfinished = False
        self._tell("on_recorded")

    def _tell(self, event: str, *facts: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *facts)

    def evaluate(self, examples: Examples, batch_size: int = 256) -> dict[str, float]:
        """Mean loss, and accuracy where there are classes. Changes nothing in the network.

        Args:
            examples: what is measured.
            batch_size: examples in one pass; it bounds the memory used.

        Raises:
            TypeError: examples of another kind, a batch size that is no whole number.
            ValueError: no examples, a batch size below 1.
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
        """The accuracy on the examples of each class, by the class's number; None for a class without examples. Empty
        where there are no classes. Changes nothing in the network.

        Args:
            examples, batch_size: as for `evaluate`.

        Raises:
            TypeError, ValueError: as `evaluate` does.
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
        """The network's outputs in evaluation, batch by batch, with the targets."""
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
    """Which examples in which batches, in what JSON can hold: their number, and a hash of all targets and of 256 inputs
    from all over the set."""
    digest = hashlib.sha256(repr((train.x.shape, str(train.x.dtype))).encode())
    digest.update(numpy.ascontiguousarray(train.y).tobytes())
    digest.update(numpy.ascontiguousarray(train.x[:: max(1, len(train) // 256)]).tobytes())
    return {"examples": len(train), "batch_size": batch_size, "digest": digest.hexdigest()[:16]}


def describe_layout(layout: Mapping[str, Any]) -> str:
    return "{examples} examples ({digest}) in batches of {batch_size}".format(**layout)


def _check_ranges(kept: Mapping[str, Any]) -> None:
    """Raise ValueError where a trainer's state holds values that no training comes to. What is missing, or of another
    type, is not looked at (see `Trainer.load_state`)."""

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
    """Whether a value that was read has the type it should have, a whole number where it is a float's; history's rows
    are dictionaries."""
    if isinstance(example, list):
        return isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return type(value) is type(example) or (type(value) is int and type(example) is float)


def count_correct(output: Array, target: Array) -> Array:
    """How many rows have their largest number where the target has its own, a number on the backend."""
    return (xp.argmax(output, axis=1) == xp.argmax(target, axis=1)).sum()


class ProgressBar(Callback):
    """A tqdm bar over all updates, with loss, accuracy and images per second; silent where there is no terminal to show
    it.

    Args:
        label: shown in front.
        every: seconds between two readings of the running loss (reading waits for the device), from 0 up.

    Raises:
        TypeError: an argument of another kind.
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
    """Puts the alignment of feedback and weights into every row, as ``<layer>.<quantity>`` (see `minifa.metrics`).

    Args:
        examples: the batch on which errors are compared; the same one in every epoch.
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
    """Train a network under a rule, with a progress bar, and return the history. For more control use `Trainer`.

    Args:
        net, rule, loss, optimizer, seed: as for `Trainer`.
        train, epochs, batch_size, validation: as for `Trainer.fit`.
        progress: whether the bar is shown (never where the output is no terminal).

    Raises:
        ValueError, TypeError, RuntimeError: as `Trainer.fit` and `minifa.rules.Rule.gradients`.

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
    check_parts(net, rule, loss)
    callbacks = [ProgressBar(rule.label)] if flag(progress, "progress") else []
    trainer = Trainer(net, rule, loss, optimizer, seed=seed, callbacks=callbacks)
    history = trainer.fit(train, epochs, batch_size, validation)
    if trainer.diverged:
        warnings.warn(
            f"training diverged: {trainer.divergence}; try a smaller learning rate", RuntimeWarning, stacklevel=2
        )
    return history
