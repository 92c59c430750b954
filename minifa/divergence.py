"""Training that came to nothing: where it stopped being finite (which layer, in which update, in its outputs, its error
or its weights), and whether, while all stays finite, it is useless.

The summed loss of an epoch is the flag. It lives on the device, and once a number that is not finite has been added to
it, it never becomes finite again; so it need not be read after every update. Now and then the network, the rule and the
optimizer are copied. When the flag is found raised, they are put back to the last copy, the updates since then are made
again, and every layer is listened to until the first number that is not finite.

An epoch is useless whose mean loss is more than a thousand times what training began with and, where there are classes,
whose accuracy is not above that of naming the commonest class every time. The loss alone does not tell: under feedback
alignment at too large a rate it rises to 1e5 and more while the network learns to classify, and the first steps of
RMSprop do the same under backpropagation. Nor does one such epoch: of 300 trainings at rates from 0.1 to 1000, those
that found their way back did so within 70 updates. Training ends after many more (`PATIENCE`), or with its last epoch
where that is useless.
"""

from __future__ import annotations

__all__ = ["Divergence", "Useless"]

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from . import backend
from .backend import Array, xp
from .layers.base import Layer
from .losses import Loss
from .network import Network
from .optim import Optimizer
from .rules.base import Rule
from .scalars import whole

COPY_EVERY = 50  # updates between two copies: as many at most, twice, are made again
FAR_ABOVE = 1000.0  # times the loss at the start
PATIENCE = (5, 1000)  # useless epochs in a row, and updates in them, after which training ends
Batch = tuple[Array, Any]


@dataclass(frozen=True)
class Divergence:
    """What was the first to be not finite.

    Attributes:
        update: in which update, counted from 1 over the network's life.
        what: "output", "error sent down", "gradient", "weights", "feedback", "loss"; "input" of the network.
        layer: whose; "" for the loss, or where it could not be found again.

    >>> print(mf.divergence.Divergence(12, "error sent down", "conv3"))
    in update 12 the error sent down of 'conv3' was the first to be not finite
    """

    update: int
    what: str
    layer: str = ""

    def __str__(self) -> str:
        whose = f" of {self.layer!r}" if self.layer else ""
        return f"in update {self.update} the {self.what}{whose} was the first to be not finite"


@dataclass(frozen=True)
class Useless:
    """An epoch from which nothing came although all stayed finite.

    Attributes:
        epoch: which.
        loss: its mean loss.
        start: what it is measured against (see `start_of`).
        accuracy: of its training examples; None: there are no classes.

    >>> print(mf.divergence.Useless(3, 1.8e23, 2.303, 0.102))
    in epoch 3 the loss was 1.8e+23, with 2.3 at the start, and the accuracy 0.102, no better than chance
    """

    epoch: int
    loss: float
    start: float
    accuracy: float | None = None

    def __str__(self) -> str:
        chance = "" if self.accuracy is None else f", and the accuracy {self.accuracy:.3g}, no better than chance"
        return f"in epoch {self.epoch} the loss was {self.loss:.2g}, with {self.start:.2g} at the start{chance}"


def start_of(value: float, loss: Loss, y: numpy.ndarray, output: Array | None) -> float:
    """What a training's losses are measured against: the loss of its first batch or, where that is larger, what a
    network comes to whose outputs are all zero (the logarithm of the number of classes). 0: that is not finite.

    Args:
        value: of the first batch.
        loss: what is minimised.
        y: targets of some examples.
        output: the network's, of any batch; None: not known.
    """
    if output is not None:
        zeros = xp.zeros((len(y), output.shape[1]), output.dtype)
        value = max(value, float(loss(zeros, loss.target(y, zeros))[0].mean()))
    return value if math.isfinite(value) else 0.0


def is_useless(loss: float, start: float, y: numpy.ndarray, accuracy: float | None) -> bool:
    """Whether an epoch was useless.

    Args:
        loss: its mean.
        start: of `start_of`.
        y: the training set's targets.
        accuracy: on the epoch's examples; None: there are no classes.

    >>> from minifa.divergence import is_useless
    >>> y = np.arange(100) % 10
    >>> [is_useless(5000.0, 2.3, y, accuracy) for accuracy in (0.1, 0.9, None)], is_useless(2000.0, 2.3, y, 0.1)
    ([True, False, True], False)
    """
    if not loss > FAR_ABOVE * start > 0:
        return False
    if accuracy is None:
        return True
    chance = numpy.bincount(y).max() / len(y)
    return bool(accuracy < chance + 2 * math.sqrt(chance * (1 - chance) / len(y)))  # two standard errors


class Watch:
    """Keeps what is needed to make the last updates again, and makes them.

    Args:
        net, rule, loss, optimizer: as for `minifa.Trainer`.
        check_every: updates between two looks at the flag, from 1 up; None: 1 on the CPU, 50 on a GPU.

    Raises:
        ValueError: fewer than one.
    """

    def __init__(
        self, net: Network, rule: Rule, loss: Loss, optimizer: Optimizer, check_every: int | None = None
    ) -> None:
        if check_every is not None:
            check_every = whole(check_every, "check_every, a number of updates,")
        self.net, self.rule, self.loss, self.optimizer = net, rule, loss, optimizer
        self.check_every = check_every or (50 if backend.name() == "cupy" else 1)
        self.unchecked = 0
        # (copy from before an update, it and the updates after it); the loss has been seen finite behind the first
        # copy, and once it has been so behind the second as well, the first is dropped.
        self.kept: list[tuple[_Copy, list[tuple[Callable[[], Batch], float]]]] = []

    def forget(self) -> None:
        """What was kept is no way back any more: somebody else may have changed the network."""
        self.kept.clear()
        self.unchecked = 0

    def keep(self, make_batch: Callable[[], Batch]) -> None:
        """Before every update: remember how its batch is made, and copy everything where the last copy is old.

        Args:
            make_batch: gives the same batch (inputs on the backend, targets) whenever it is called.
        """
        if not self.kept or (len(self.kept) == 1 and len(self.kept[-1][1]) >= COPY_EVERY):
            self.kept.append((_Copy(self.net, self.rule, self.optimizer), []))
        self.kept[-1][1].append((make_batch, self.optimizer.lr))
        self.unchecked += 1

    def is_due(self, last: bool) -> bool:
        """After every update: whether it is time to read the flag. last: the epoch's last update, when it always is."""
        if self.unchecked < self.check_every and not last:
            return False
        self.unchecked = 0
        return True

    def passed(self) -> None:
        """The flag was read, and all was finite."""
        del self.kept[:-1]

    def find(self) -> Divergence:
        """Make the updates since the last good copy again and say what was the first to be not finite. Network, rule
        and optimizer end as they were."""
        now = _Copy(self.net, self.rule, self.optimizer)
        lr, made = self.optimizer.lr, self.net.step
        try:
            with self.net.preserved(), backend.quiet():
                self.kept[0][0].put_back()
                for make_batch, rate in [step for _, steps in self.kept for step in steps]:
                    self.optimizer.lr = rate
                    found = self._again(*make_batch())
                    if found is not None:
                        return found
            return Divergence(made, "loss")
        finally:
            self.optimizer.lr = lr
            now.put_back()

    def _again(self, x: Array, y: Any) -> Divergence | None:
        number = self.net.step + 1
        try:
            self._require_finite(x, "input")
            for layer in self.net:
                self._require_finite_weights(layer)
            with self._listening():
                value = self.rule.gradients(self.net, x, y, self.loss)
            self._require_finite(value, "loss")
            for layer in self.net:  # those that a rule has set itself; a layer's own were heard
                for gradient in layer.grads.values():
                    self._require_finite(gradient, "gradient", layer.name)
            self.optimizer.step(self.net, self.rule)
            for layer in self.net:
                self._require_finite_weights(layer)
            for name, array in self.rule.memory.items():
                self._require_finite(array, "feedback", name)
        except _NotFiniteError as error:
            return Divergence(number, *error.args)
        return None

    def _require_finite_weights(self, layer: Layer) -> None:
        """Of the trained ones: batch norm's running statistics may overflow long before, and training does not read
        them."""
        for array in layer.parameters().values():
            self._require_finite(array, "weights", layer.name)

    def _require_finite(self, array: Array | None, what: str, layer: str = "") -> None:
        if array is not None and not bool(xp.isfinite(array).all()):
            raise _NotFiniteError(what, layer)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Every layer's outputs, errors and gradients are looked at as they come."""
        with contextlib.ExitStack() as listeners:
            for layer in self.net:
                for method, hear in (("forward", self._hear_forward), ("backward", self._hear_backward)):
                    setattr(layer, method, functools.partial(hear, layer, getattr(layer, method)))
                    listeners.callback(delattr, layer, method)
            yield

    def _hear_forward(self, layer: Layer, forward: Callable[..., Array], *arguments: Any) -> Array:
        y = forward(*arguments)
        self._require_finite(y, "output", layer.name)
        return y

    def _hear_backward(self, layer: Layer, backward: Callable[..., Array | None], *arguments: Any) -> Array | None:
        below = backward(*arguments)
        for gradient in layer.grads.values():
            self._require_finite(gradient, "gradient", layer.name)
        self._require_finite(below, "error sent down", layer.name)
        return below


class _NotFiniteError(Exception):
    """Raised with (what, layer) at the first number that is not finite."""


class _Copy:
    """Network, rule and optimizer as they are now, on the device."""

    def __init__(self, net: Network, rule: Rule, optimizer: Optimizer) -> None:
        self.net, self.rule, self.optimizer = net, rule, optimizer
        self.step = net.step
        self.facts = rule.facts()
        self.slots = {name: dict(slots) for name, slots in optimizer.arrays.items()}
        self.start, self.counts = dict(optimizer.start), dict(optimizer.counts)
        statistics = [array for layer in net for array in layer.statistics().values()]
        slots = [array for one in self.slots.values() for array in one.values()]
        live = [*net.parameters().values(), *statistics, *rule.memory.values(), *slots]
        self.arrays = [(array, array.copy()) for array in live]

    def put_back(self) -> None:
        """Every array in its place, and what came since then forgotten."""
        self.net.step = self.step
        self.rule.put_back(self.facts)
        self.optimizer.arrays = {name: dict(slots) for name, slots in self.slots.items()}
        self.optimizer.start, self.optimizer.counts = dict(self.start), dict(self.counts)
        for array, kept in self.arrays:
            array[...] = kept
