"""The training loop. It is independent of rules, layers and data sets; callbacks add everything else."""

from __future__ import annotations

__all__ = ["Callback", "Trainer"]

import contextlib
import functools
import itertools
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy

from .. import backend, extension_checks
from ..backend import Array, xp
from ..data.augment import Augmentation, for_evaluation
from ..data.base import Dataset, Examples
from ..data.batches import Batches, count_batches
from ..layers.base import set_shapes
from ..layers.batch_norm import BatchNorm
from ..losses import Loss, classes_of
from ..network import Network
from ..optim import AN_OPTIMIZER, Optimizer
from ..registry import KnownOptions
from ..rng import check_seed
from ..rules.base import Rule, check_parts
from ..schedules import A_SCHEDULE, Schedule, constant, factor_of, make
from ..validation import (
    as_python_number,
    check_batch_size,
    check_bool,
    check_float,
    check_int,
    check_mapping,
    check_type,
)
from . import local_numbers, phases
from .divergence import PATIENCE, Divergence, DivergenceMonitor, Useless, is_useless, start_of
from .history import History, Row
from .position import check_ranges, describe_layout, is_like, layout

REFERENCE_TARGETS = 256  # number of targets from which the reference loss is computed

LATER = {"first_loss": 0.0, "local_sums": {}, "phase": "", "phase_start": 0}  # entries that older states do not have
ATTRIBUTES = {"begun": "order_key"}  # attributes with another name than their key in `Trainer.state`


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
        extension_checks.guard(cls, Callback, {})

    def on_phase(self, trainer: Trainer, carried: phases.Carried) -> None:
        """Called when a phase begins (see `Trainer.begin_phase`), with what it has from the phase before."""

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        """Called before the first epoch."""

    def on_step(self, trainer: Trainer, examples: int) -> None:
        """Called after every weight update, with the number of examples in its batch."""

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        """Called after every epoch, with its row (epoch 0: before the first update). Entries added to the row are kept
        in the history; ``row["stopped_early"] = 1`` ends training with this epoch."""

    def on_recorded(self, trainer: Trainer) -> None:
        """Called when the epoch's row is complete and has been added to the history."""

    def on_done(self, trainer: Trainer) -> None:
        """Called before `Trainer.fit` returns after finished, stopped or diverged training, but not after an
        exception."""

    def on_end(self, trainer: Trainer) -> None:
        """Called after the last epoch, also after an exception or an interruption."""

    def on_save(self, trainer: Trainer) -> Mapping[str, numpy.ndarray]:
        """Called when a checkpoint is written (see `minifa.checkpoints`). Returns, by name, the arrays that the
        callback needs when training is resumed, on the host; all numbers must be finite. Default: none."""
        return {}

    def on_load(self, trainer: Trainer, arrays: Mapping[str, numpy.ndarray]) -> None:
        """Called with the arrays of `on_save` when a checkpoint is restored, first on a copy of the callback to
        validate them. Sets attributes of the callback only; raises ValueError if the arrays do not fit."""


class Trainer(KnownOptions):
    """Trains one network under one rule.

    Args:
        net, rule, loss, optimizer: the network to train and how to train it; the rule must be attached to the network.
        schedule: factor of the learning rate as a function of the epoch, or of epoch and history (see
            `minifa.schedules.with_history`), or its description for `minifa.schedules.make`
            (``"cosine:epochs=10"``); constant by default.
        seed: seed of the order of the examples, which differs between epochs and between successive trainers of the
            same network.
        callbacks: callbacks, called in this order.
        augmentation: transformation of the inputs of every training batch; it also defines how inputs are presented in
            evaluation. None: no augmentation.
        check_every: updates between two checks that the loss is finite; a check waits for the device. Default: 1 on
            the CPU, 50 on a GPU.
        phase: name of the first phase of a training with several (see `begin_phase`); "": it has none.

    Attributes:
        history: one row per finished epoch; row 0 is before the first update. If training diverges, the last row is
            that epoch, with the values up to that point.
        diverged: whether training ended with a loss that is not finite, or with a useless epoch.
        divergence: if diverged, the origin of the first number that is not finite (a
            `minifa.training.divergence.Divergence`), or a description of the useless epoch (a
            `minifa.training.divergence.Useless`); otherwise None.
        stopped: whether `fit` was interrupted by `stop`; ``history.stopped_early``: whether a callback, such as
            `minifa.training.EarlyStopping`, ended training after an epoch.
        epoch, batch: the current or last finished epoch, and the number of updates made in it.
        unfinished: whether that epoch is not finished and has no row yet; `fit` resumes it.
        phase, phase_start: name of the current phase ("": none was named), and the number of epochs before it.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a description of a schedule with an unknown name or option, or an invalid name of a phase.

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
        schedule: Schedule | str | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        check_every: int | None = None,
        augmentation: Augmentation | None = None,
        phase: str = "",
    ) -> None:
        check_parts(net, rule, loss)
        self.net, self.seed, self.check_every = net, check_seed(seed), check_every
        self._set_parts(rule, loss, optimizer, schedule, augmentation)
        check_type(callbacks, (list, tuple), "callbacks must be a list of minifa.training.Callback")
        self.callbacks = [
            check_type(one, Callback, "a callback must be a minifa.training.Callback") for one in callbacks
        ]
        self.phase = phases.check_name(phase) if phase != "" else ""
        self.phase_start = 0
        self.epoch = 0
        self.order_key = f"from {net.step}" if net.step else ""  # a second trainer draws other orders than the first
        self.batch, self.unfinished = 0, False
        self.total: Any = 0.0  # summed loss of this epoch's examples, on the backend, in double precision
        self.correct: Any = 0  # number of correct examples in this epoch, on the backend
        self.local_sums: local_numbers.Sums = {}  # of the rule's local numbers in this epoch
        self.seen, self.seconds = 0, 0.0
        self.layout: dict[str, Any] = {}  # examples and batches, which must not change within an epoch
        self.history = History()
        self.diverged = self.stopping = self.stopped = False
        self.divergence: Divergence | Useless | None = None

    def _set_parts(
        self,
        rule: Rule,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule | str | None,
        augmentation: Augmentation | None,
        afresh: bool = False,
    ) -> None:
        """Validate and set all that a phase has of its own; on an error nothing is changed. ``afresh``: the optimizer
        loses its state."""
        check_type(optimizer, Optimizer, AN_OPTIMIZER)
        schedule = make(schedule) if isinstance(schedule, str) else constant() if schedule is None else schedule
        if not callable(schedule):
            raise TypeError(f"a schedule must be {A_SCHEDULE}, or a str such as 'cosine:epochs=10', got {schedule!r}")
        if augmentation is not None:
            check_type(augmentation, Augmentation, "augmentation must be a minifa.data.Augmentation")
        optimizer.net = None if afresh else optimizer.net
        optimizer.bind(self.net, rule)  # here, because a checkpoint may be written before the first step
        self.rule, self.loss, self.optimizer = rule, loss, optimizer
        self.schedule, self.augmentation = schedule, augmentation
        self.base_lr = self.initial_lr = optimizer.lr
        self.first_loss = 0.0  # reference for useless losses; 0: not known yet
        self.monitor = DivergenceMonitor(self.net, rule, loss, optimizer, self.check_every)

    def begin_phase(
        self,
        name: str,
        rule: Rule,
        optimizer: Optimizer,
        loss: Loss | None = None,
        schedule: Schedule | str | None = None,
        augmentation: Augmentation | None = None,
        carry: bool = True,
    ) -> phases.Carried:
        """Begin another phase: the next `fit` trains the same network under this rule, with this optimizer.

        Everything in the network is kept (parameters, batch norm's running statistics and other buffers, the number of
        updates), and so are arrays in the rule's memory where both rules have them (`minifa.rules.Rule.carry_over`).
        The optimizer's state starts afresh. The schedule counts the epochs of the phase. Epochs, random draws and
        history run on; a column ``phase`` has the names of the phases.

        To change which layers are trained, call `minifa.Network.freeze` before, and attach the rule after that. To
        continue from a checkpoint of a later phase, begin that phase, then load the checkpoint.

        Args:
            name: name of the phase: letters, digits, "-", "_" and spaces.
            rule: its rule, attached to the network.
            optimizer: its optimizer.
            loss: its loss; None: the same as before.
            schedule, augmentation: as for the constructor: constant and none by default.
            carry: whether arrays of the previous rule are carried over.

        Returns:
            What was carried over.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: an invalid name, or a rule that is not attached to this network.
            RuntimeError: an epoch is not finished.

        >>> data = mf.data.load("xor")
        >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
        >>> rule, loss = mf.rules.KolenPollack().attach(net), mf.SoftmaxCrossEntropy()
        >>> trainer = mf.Trainer(net, rule, loss, mf.SGD(lr=0.5, weight_decay=0.01), phase="learned")
        >>> history = trainer.fit(data.train, epochs=2)
        >>> print(trainer.begin_phase("fixed", mf.rules.FA().attach(net), mf.SGD(lr=0.1)))
        carried over: all 4 arrays of the network; of the rule linear2; the optimizer and the schedule start afresh
        >>> trainer.fit(data.train, epochs=2).column("phase")
        ['learned', 'learned', 'learned', 'fixed', 'fixed']
        """
        name, carry = phases.check_name(name), check_bool(carry, "carry")
        check_parts(self.net, rule, self.loss if loss is None else loss)
        if rule.net is not self.net:
            raise ValueError(f"the rule {rule.label!r} must be attached to the trainer's network: rule.attach(net)")
        if self.unfinished:
            raise RuntimeError(f"epoch {self.epoch} must be finished before another phase begins: call fit")
        before = self.rule
        self._set_parts(rule, loss or self.loss, optimizer, schedule, augmentation, afresh=True)
        kept = [] if not carry else list(rule.memory) if rule is before else rule.carry_over(before)
        self.net.clear_gradients()
        self.phase, self.phase_start = name, self.epoch
        drawn = tuple(key for key in rule.memory if key not in kept)
        carried = phases.Carried(tuple(self.net.state()), tuple(kept), drawn)
        self._notify("on_phase", carried)
        return carried

    def __repr__(self) -> str:
        where = f"in epoch {self.epoch} after {self.batch} batches" if self.unfinished else f"after epoch {self.epoch}"
        return f"<Trainer: rule {self.rule.label!r}, {where}{', diverged' if self.diverged else ''}>"

    def fit(
        self,
        train: Examples,
        epochs: int,
        batch_size: int = 64,
        validation: Examples | None = None,
        drop_last: bool = False,
    ) -> History:
        """Train for ``epochs`` more epochs and return the history. An unfinished epoch (stopped, or loaded from a
        checkpoint) is resumed and counts as the first of them.

        Args:
            train: training examples.
            epochs: number of epochs, at least 1.
            batch_size: examples per weight update; a smaller last batch is also used, unless ``drop_last`` is set.
            validation: examples evaluated after every epoch; not used for training.
            drop_last: whether a smaller last batch of an epoch is left out (PyTorch's DataLoader). Its examples, others
                in every epoch, do not count in the measurements of the epoch.

        Raises:
            TypeError: examples of the wrong type; a number of epochs or a batch size that is not an int; a
                ``drop_last`` that is not a bool.
            ValueError: fewer than one epoch or example per batch; a last batch on which batch norm cannot train; no
                batch left by ``drop_last``; other examples or batches than before within an unfinished epoch.
        """
        for examples in (train, *([] if validation is None else [validation])):
            check_examples(examples)
        epochs = check_int(epochs, "the number of epochs", most=sys.maxsize)
        batch_size = check_batch_size(batch_size)
        if self.net.input_shape is None:  # infer all shapes from the examples and check them
            set_shapes(self.net.layers, for_evaluation(train.x[:1], self.augmentation).shape[1:], source="the examples")
        drop_last = check_bool(drop_last, "drop_last")
        batches = count_batches(len(train), batch_size, drop_last)
        self._check_last_batch(len(train), batch_size, batches)
        self._set_layout(train, batch_size, drop_last)
        self.monitor.reset()
        self.optimizer.bind(self.net, self.rule)
        self.base_lr = self.optimizer.lr
        self.diverged, self.divergence = False, None
        self._notify("on_start", epochs, batches)
        try:
            if not self.history:
                self._finish_epoch(self._new_row(), validation)
            for _ in range(epochs):
                if not self.unfinished:
                    self._begin_epoch()
                row = self._train_epoch(train, batch_size, drop_last)
                if row is not None:
                    self._finish_epoch(row, validation)
                if self.diverged or self.stopping or self.cannot_continue or self.history.stopped_early:
                    break
            self.stopped = self.stopping
            if not self.stopped:
                self._check_last_epoch()
            self._notify("on_done")
        except BaseException:
            self.unfinished = False  # the update may be incomplete: the next fit begins a new epoch
            raise
        finally:
            self.stopping = False
            self.optimizer.lr = self.base_lr
            self._notify("on_end")
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
    def cannot_continue(self) -> bool:
        """Whether training cannot continue: the loss is not finite, or there were too many useless epochs in a row (see
        `minifa.training.divergence`)."""
        if not self.history.diverged:
            return False
        useless = len(list(itertools.takewhile(lambda row: row.get("diverged"), reversed(self.history))))
        finite = math.isfinite(self.history[-1].get("train_loss", math.nan))
        return not finite or (useless >= PATIENCE[0] and useless * self.batch >= PATIENCE[1])

    def _check_last_epoch(self) -> None:
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
            "begun": self.order_key,
            "total": float(self.total),
            "correct": int(self.correct),
            "local_sums": {column: [float(total), examples] for column, (total, examples) in self.local_sums.items()},
            "seen": self.seen,
            "seconds": self.seconds,
            "first_loss": self.first_loss,
            "phase": self.phase,
            "phase_start": self.phase_start,
            "base_lr": self.base_lr,
            "layout": self.layout,
            "history": list(self.history),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state`. Validated first; nothing is changed on a ValueError."""
        check_mapping(state, "the state of a trainer")
        expected, state = self.state(), {**LATER, **state}
        wrong = [key for key, value in expected.items() if not is_like(state.get(key), value)]
        if wrong or state.keys() != expected.keys():
            keys = ", ".join(wrong or sorted(state.keys() ^ expected.keys()))
            raise ValueError(f"this is not the state of a trainer: {keys} is missing, unknown or of the wrong type")
        check_ranges(state)
        if state["phase"] != self.phase:
            raise ValueError(
                f"the state is one of the phase {state['phase']!r}, but this training is in the phase {self.phase!r}: "
                "call begin_phase before loading"
            )
        self.history[:] = state["history"]
        for key in expected.keys() - {"history"}:
            setattr(self, ATTRIBUTES.get(key, key), type(expected[key])(state[key]))
        self.optimizer.lr = self.base_lr
        self.diverged, self.divergence, self.stopped = False, None, False
        self._check_last_epoch()

    def _set_layout(self, train: Examples, batch_size: int, drop_last: bool) -> None:
        wanted = layout(train, batch_size, drop_last)
        if self.unfinished and wanted != self.layout:
            raise ValueError(
                f"epoch {self.epoch} was started with {describe_layout(self.layout)} "
                f"and cannot be finished with {describe_layout(wanted)}"
            )
        self.layout = wanted

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self.batch, self.unfinished = 0, True
        self.total, self.correct, self.local_sums, self.seen, self.seconds = 0.0, 0, {}, 0, 0.0

    def _check_last_batch(self, n: int, batch_size: int, batches: int) -> None:
        last = min(batch_size, n - (batches - 1) * batch_size)
        hint = ", or drop_last=True" if last < batch_size < n else ""
        for layer in self.net:
            if isinstance(layer, BatchNorm) and not layer.varies(last):
                raise ValueError(
                    f"{n} examples in batches of {batch_size} leave a last batch of {last}, on which {layer} cannot "
                    f"train (one value per feature has no variance): choose another batch size{hint}"
                )

    def _train_epoch(self, train: Examples, batch_size: int, drop_last: bool) -> Row | None:
        """Train the rest of the current epoch. Returns its row, or None if it was stopped."""
        batch_source = Batches(
            train, batch_size, self.seed, self.epoch, self.order_key, self.augmentation, self.net.dtype, drop_last
        )
        batches = len(batch_source)
        started = time.perf_counter() - self.seconds
        with backend.quiet(), contextlib.closing(batch_source.prefetch(self.batch)) as ahead:
            for i, (x, y) in enumerate(ahead, start=self.batch):
                self.optimizer.lr = self._rate(i, batches)
                self.monitor.remember(functools.partial(self._recreate_batch, batch_source, i))
                x = backend.asarray(x, self.net.dtype)
                value = self.rule.gradients(self.net, x, y, self.loss)
                if not self.first_loss:
                    self.first_loss = start_of(float(value), self.loss, train.y[:REFERENCE_TARGETS], self.rule.output)
                self.total = self.total + xp.asarray(value, dtype="float64") * len(y)
                self.seen += len(y)
                if self.rule.local:
                    local_numbers.add(self.local_sums, self.rule, len(y))
                if y.ndim == 1:
                    self.correct = self.correct + count_correct(self.rule.output, self.rule.target)
                self.optimizer.step(self.net, self.rule)
                self.batch, self.seconds = i + 1, time.perf_counter() - started
                self._notify("on_step", len(y))
                if self.monitor.is_check_due(last=i == batches - 1):
                    if not math.isfinite(float(self.total)):
                        self.divergence = self.monitor.locate()
                        break
                    self.monitor.check_passed()
                if self.stopping:
                    return None
        loss = self.running_loss()  # waits for the device, so read it before the time
        self.seconds = time.perf_counter() - started
        row = {**self._new_row(), "lr": self._rate(self.batch - 1, batches), "train_loss": loss}
        if train.y.ndim == 1:
            row["train_accuracy"] = int(self.correct) / self.seen
        self.diverged = not math.isfinite(loss)
        row.update(seconds=self.seconds, images_per_second=self.seen / self.seconds)
        row.update(local_numbers.means(self.local_sums, self.net))
        if self.diverged or is_useless(loss, self.first_loss, train.y, row.get("train_accuracy")):
            row["diverged"] = 1
        return row

    def _new_row(self) -> Row:
        return {"epoch": self.epoch, **({"phase": self.phase} if self.phase else {})}

    def _rate(self, batch: int, batches: int) -> float:
        """The learning rate for a batch of this epoch."""
        factor = factor_of(self.schedule, self.epoch - 1 + batch / batches, self.history, self.phase_start)
        rate = self.base_lr * check_float(factor, "the value of the schedule")
        if not rate >= 0:
            raise ValueError(f"the learning rate of the schedule must be at least 0, got {rate} in epoch {self.epoch}")
        return rate

    def _recreate_batch(self, batch_source: Batches, number: int) -> tuple[Array, numpy.ndarray]:
        """Recreate an earlier batch from the same random draws, on the backend."""
        x, y = batch_source.make(number)
        return backend.asarray(x, self.net.dtype), y

    def running_loss(self) -> float:
        """Mean loss of the examples seen so far in this epoch. Waits for the device."""
        return float(self.total) / max(1, self.seen)

    def _finish_epoch(self, row: Row, validation: Examples | None) -> None:
        if validation is not None:
            row.update({f"validation_{key}": value for key, value in self.evaluate(validation).items()})
        self._notify("on_epoch", row)
        row.update({key: as_python_number(value) for key, value in row.items()})  # callbacks may add any numeric type
        self.history.append(row)
        self.unfinished = False
        self._notify("on_recorded")

    def _notify(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)

    def evaluate(self, examples: Examples, batch_size: int = 256) -> dict[str, float]:
        """The mean loss, and the accuracy if the targets are classes, of the outputs that the rule computes
        (`minifa.rules.Rule.predict_batch`). The network is not modified.

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
        measures = {"loss": float(total) / len(examples)}
        if examples.y.ndim == 1:
            measures["accuracy"] = int(correct) / len(examples)
        return measures

    def class_accuracies(self, examples: Examples, batch_size: int = 256) -> list[float | None]:
        """The accuracy on the examples of each class, by class index; None for a class without examples. Empty if the
        targets are not classes. The network is not modified.

        Args:
            examples, batch_size: as for `evaluate`.

        Raises:
            TypeError, ValueError: as for `evaluate`.
        """
        check_examples(examples)
        batch_size = check_batch_size(batch_size)
        if examples.y.ndim != 1:
            return []
        predicted, count = self._predicted(examples, batch_size)
        correct = predicted == examples.y
        members = [correct[examples.y == k] for k in range(count)]
        return [float(one.mean()) if len(one) else None for one in members]

    def is_correct(self, examples: Examples, batch_size: int = 256) -> numpy.ndarray:
        """Whether each example is classified correctly: bool (N,). The network is not modified.

        Args:
            examples: examples with classes as targets.
            batch_size: as for `evaluate`.

        Raises:
            TypeError: as for `evaluate`.
            ValueError: as for `evaluate`, or targets that are not classes.
        """
        check_examples(examples)
        batch_size = check_batch_size(batch_size)
        if examples.y.ndim != 1:
            raise ValueError(f"is_correct needs classes as targets, (N,), got targets of shape {examples.y.shape}")
        return self._predicted(examples, batch_size)[0] == examples.y

    def _predicted(self, examples: Examples, batch_size: int) -> tuple[numpy.ndarray, int]:
        """(the predicted class of every example, the number of classes)."""
        predicted: list[numpy.ndarray] = []
        count = 0
        with backend.quiet():
            for output, _ in self._outputs(examples, batch_size):
                predicted.append(backend.to_host(classes_of(output)))
                count = max(2, output.shape[1])
        return numpy.concatenate(predicted), count

    def _outputs(self, examples: Examples, batch_size: int) -> Iterator[tuple[Array, numpy.ndarray]]:
        """Yield the outputs in evaluation mode, as the rule defines them, with their targets, batch by batch."""
        check_examples(examples)
        batch_size = check_batch_size(batch_size)
        with self.net.preserved(), self.rule.preserved():
            for start in range(0, len(examples), batch_size):
                x, y = (part[start : start + batch_size] for part in (examples.x, examples.y))
                x = backend.asarray(for_evaluation(x, self.augmentation), self.net.dtype)
                yield self.rule.predict_batch(self.net, x), y


def check_examples(examples: Any) -> None:
    if isinstance(examples, Dataset):
        raise TypeError(
            f"the examples must be one part of a data set, data.train or data.test, got all of {examples.name!r}"
        )
    if not isinstance(examples, Examples) or not len(examples):
        shapes = [
            getattr(one, "shape", None) for one in (examples if isinstance(examples, (list, tuple)) else [examples])
        ]
        given = f"arrays of shape {' and '.join(map(str, shapes))}" if all(shapes) and shapes else repr(examples)[:100]
        raise TypeError(
            f"the examples must be minifa.data.Examples, such as minifa.data.from_arrays(x, y).train, got {given}"
        )


def count_correct(output: Array, target: Array) -> Array:
    """Number of rows of the same class in output and target, a scalar on the backend."""
    return (classes_of(output) == classes_of(target)).sum()
