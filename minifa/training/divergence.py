"""Divergence of training: the first number that is not finite (its update, its layer, and whether it is an output, an
error or a weight), and epochs that are finite but useless.

The flag is the summed loss of an epoch, on the device. Once a number that is not finite is added to it, it never
becomes finite again, so it need not be read after every update. The network, rule and optimizer are copied at
intervals. If the flag is not finite, the last copy is restored and the updates since then are replayed, with the
outputs, errors and gradients of every layer checked until the first number that is not finite.

An epoch is useless if its mean loss is more than 1000 times the loss at the start and, for classification, its accuracy
is not above that of always predicting the most frequent class. The loss alone is not sufficient: under feedback
alignment with too large a learning rate it rises to 1e5 and more while the network learns to classify, and the first
steps of RMSprop do the same under backpropagation. One such epoch is not sufficient either: of 300 training runs at
rates from 0.1 to 1000, those that recovered did so within 70 updates. Training ends after many more (`PATIENCE`), or
is marked as diverged if its last epoch is useless.
"""

from __future__ import annotations

__all__ = ["Divergence", "Useless"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from .. import backend
from ..backend import Array, xp
from ..layers.base import Layer
from ..layers.observer import Observer, observing
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..rules.base import Rule
from ..validation import check_int

COPY_EVERY = 50  # updates between two copies; at most twice as many are replayed
USELESS_RATIO = 1000.0  # of the loss to the loss at the start
PATIENCE = (5, 1000)  # useless epochs in a row, and updates in them, after which training ends
Batch = tuple[Array, Any]


@dataclass(frozen=True)
class Divergence:
    """The first array or number that was not finite.

    Attributes:
        update: the update, counted from 1 over all updates of the network.
        what: "output", "error at the input", "gradient", "weights", "feedback", "loss", or "input" (of the network).
        layer: name of the layer; "" for the input and the loss ("loss" also if replaying the updates did not reproduce
            it).

    >>> print(mf.training.divergence.Divergence(12, "error at the input", "conv3"))
    in update 12 the first non-finite value appeared in the error at the input of 'conv3'
    """

    update: int
    what: str
    layer: str = ""

    def __str__(self) -> str:
        layer = f" of {self.layer!r}" if self.layer else ""
        return f"in update {self.update} the first non-finite value appeared in the {self.what}{layer}"


@dataclass(frozen=True)
class Useless:
    """A useless epoch: all numbers are finite, but the network has not learned anything.

    Attributes:
        epoch: number of the epoch.
        loss: its mean loss.
        start: the reference loss (see `start_of`).
        accuracy: accuracy on its training examples; None without classes.

    >>> print(mf.training.divergence.Useless(3, 1.8e23, 2.303, 0.102))
    in epoch 3 the loss was 1.8e+23 (2.3 at the start) and the accuracy 0.102, no better than chance
    """

    epoch: int
    loss: float
    start: float
    accuracy: float | None = None

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f" and the accuracy {self.accuracy:.3g}, no better than chance"
        return f"in epoch {self.epoch} the loss was {self.loss:.2g} ({self.start:.2g} at the start){accuracy}"


def start_of(value: float, loss: Loss, y: numpy.ndarray, output: Array | None) -> float:
    """The reference loss of a training run: the loss of its first batch or, if larger, the loss of all-zero outputs
    (the logarithm of the number of classes). Returns 0 if it is not finite.

    Args:
        value: loss of the first batch.
        loss: the loss that is minimised.
        y: targets of some examples.
        output: the network's output for any batch; None if not known.
    """
    if output is not None:
        zeros = xp.zeros((len(y), output.shape[1]), output.dtype)
        value = max(value, float(loss(zeros, loss.target(y, zeros))[0].mean()))
    return value if math.isfinite(value) else 0.0


def is_useless(loss: float, start: float, y: numpy.ndarray, accuracy: float | None) -> bool:
    """Whether an epoch was useless.

    Args:
        loss: mean loss of the epoch.
        start: the result of `start_of`.
        y: targets of the training set.
        accuracy: accuracy on the epoch's examples; None without classes.

    >>> from minifa.training.divergence import is_useless
    >>> y = np.arange(100) % 10
    >>> [is_useless(5000.0, 2.3, y, accuracy) for accuracy in (0.1, 0.9, None)], is_useless(2000.0, 2.3, y, 0.1)
    ([True, False, True], False)
    """
    if not loss > USELESS_RATIO * start > 0:
        return False
    if accuracy is None:
        return True
    chance = numpy.bincount(y).max() / len(y)
    return bool(accuracy < chance + 2 * math.sqrt(chance * (1 - chance) / len(y)))  # two standard errors


class DivergenceMonitor:
    """Copies the training state at intervals, and replays the last updates to locate a divergence.

    Args:
        net, rule, loss, optimizer: as for `minifa.Trainer`.
        check_every: updates between two readings of the flag, at least 1; None: 1 on the CPU, 50 on a GPU.

    Raises:
        TypeError: ``check_every`` is not an int.
        ValueError: ``check_every`` is below 1.
    """

    def __init__(
        self, net: Network, rule: Rule, loss: Loss, optimizer: Optimizer, check_every: int | None = None
    ) -> None:
        if check_every is not None:
            check_every = check_int(check_every, "check_every")
        self.net, self.rule, self.loss, self.optimizer = net, rule, loss, optimizer
        self.check_every = check_every or (50 if backend.name() == "cupy" else 1)
        self.updates_since_check = 0
        # Pairs (copy before an update, that update and the following ones). The loss was finite at the first copy. The
        # first copy is dropped once the loss was finite after the second copy as well.
        self.copies: list[tuple[_Copy, list[tuple[Callable[[], Batch], float]]]] = []

    def reset(self) -> None:
        """Drop all copies, because other code may have changed the network."""
        self.copies.clear()
        self.updates_since_check = 0

    def remember(self, make_batch: Callable[[], Batch]) -> None:
        """Call before every update: store how to recreate its batch, and copy the state if the last copy is too old.

        Args:
            make_batch: returns the same batch (inputs on the backend, targets) at every call.
        """
        if not self.copies or (len(self.copies) == 1 and len(self.copies[-1][1]) >= COPY_EVERY):
            self.copies.append((_Copy(self.net, self.rule, self.optimizer), []))
        self.copies[-1][1].append((make_batch, self.optimizer.lr))
        self.updates_since_check += 1

    def is_check_due(self, last: bool) -> bool:
        """Call after every update: whether to read the flag now. Always True for the epoch's last update (``last``)."""
        if self.updates_since_check < self.check_every and not last:
            return False
        self.updates_since_check = 0
        return True

    def check_passed(self) -> None:
        """Call after the flag was read and was finite: drop the copies that are no longer needed."""
        del self.copies[:-1]

    def locate(self) -> Divergence:
        """Replay the updates since the last finite copy and return the first number that is not finite. Network, rule
        and optimizer are restored afterwards."""
        current = _Copy(self.net, self.rule, self.optimizer)
        lr, last = self.optimizer.lr, self.net.step
        try:
            with self.net.preserved(), backend.quiet():
                self.copies[0][0].restore()
                for make_batch, rate in [step for _, steps in self.copies for step in steps]:
                    self.optimizer.lr = rate
                    divergence = self._replay(*make_batch())
                    if divergence is not None:
                        return divergence
            return Divergence(last, "loss")
        finally:
            self.optimizer.lr = lr
            current.restore()

    def _replay(self, x: Array, y: Any) -> Divergence | None:
        number = self.net.step + 1
        try:
            _require_finite(x, "input")
            for layer in self.net:
                self._require_finite_weights(layer)
            with observing(_FiniteChecks()):
                value = self.rule.gradients(self.net, x, y, self.loss)
            _require_finite(value, "loss")
            for layer in self.net:  # gradients set by a rule; those set by layers are checked in the passes
                for gradient in layer.grads.values():
                    _require_finite(gradient, "gradient", layer.name)
            self.optimizer.step(self.net, self.rule)
            for layer in self.net:
                self._require_finite_weights(layer)
            for name, array in self.rule.memory.items():
                _require_finite(array, "feedback", name)
        except _NotFiniteError as error:
            return Divergence(number, *error.args)
        return None

    def _require_finite_weights(self, layer: Layer) -> None:
        """Check the parameters only: batch norm's running statistics may overflow long before, and training does not
        use them."""
        for array in layer.parameters().values():
            _require_finite(array, "weights", layer.name)


def _require_finite(array: Array | None, what: str, layer: str = "") -> None:
    if array is not None and not bool(xp.isfinite(array).all()):
        raise _NotFiniteError(what, layer)


class _FiniteChecks(Observer):
    """Checks the outputs, errors and gradients of every layer during the passes."""

    def on_forward(self, layer: Layer, x: Array, y: Array) -> None:
        _require_finite(y, "output", layer.name)

    def on_backward(self, layer: Layer, delta: Array, below: Array | None) -> None:
        for gradient in layer.grads.values():
            _require_finite(gradient, "gradient", layer.name)
        _require_finite(below, "error at the input", layer.name)


class _NotFiniteError(Exception):
    """Raised with (what, layer) at the first number that is not finite."""


class _Copy:
    """A copy of the state of network, rule and optimizer, on the device."""

    def __init__(self, net: Network, rule: Rule, optimizer: Optimizer) -> None:
        self.net, self.rule, self.optimizer = net, rule, optimizer
        self.step = net.step
        self.rule_state = rule.snapshot()
        self.slots = {name: dict(slots) for name, slots in optimizer.arrays.items()}
        self.start, self.counts = dict(optimizer.start), dict(optimizer.counts)
        statistics = [array for layer in net for array in layer.buffers().values()]
        slots = [array for one in self.slots.values() for array in one.values()]
        live = [*net.parameters().values(), *statistics, *rule.memory.values(), *slots]
        self.arrays = [(array, array.copy()) for array in live]

    def restore(self) -> None:
        """Restore all arrays in place and the remaining state of network, rule and optimizer."""
        self.net.step = self.step
        self.rule.restore(self.rule_state)
        self.optimizer.arrays = {name: dict(slots) for name, slots in self.slots.items()}
        self.optimizer.start, self.optimizer.counts = dict(self.start), dict(self.counts)
        for array, copy in self.arrays:
            array[...] = copy
