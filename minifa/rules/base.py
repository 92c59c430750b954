"""What a learning rule is: the answers to two questions that the network asks on its way back.

*What error does this layer's output receive?* (`Rule.teach`) and *what carries the error down through this weight?*
(`Rule.feedback`). Everything else has a default: one forward pass, one backward pass, feedback that does not learn.
"""

from __future__ import annotations

__all__ = ["Matrices", "Rule"]

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from .. import backend, extensions
from ..backend import Array, xp
from ..layers.base import Layer, Walk, Weighted
from ..losses import Loss
from ..network import Network, check_state
from ..registry import KnownOptions
from ..scalars import by_name, instance_of, word
from ..streams import check_seed, generator

if TYPE_CHECKING:
    from ..initialisers import Initialiser


A_RULE = "the rule is a minifa.rules.Rule, as minifa.rules.make('fa') makes one"
A_LOSS = "the loss is a minifa.losses.Loss, as minifa.SoftmaxCrossEntropy()"


def check_parts(net: Network, rule: Rule, loss: Loss) -> None:
    """Raise TypeError unless each is what it is called."""
    instance_of(net, Network, "the network is a minifa.Network")
    instance_of(rule, Rule, A_RULE)
    instance_of(loss, Loss, A_LOSS)


class Matrices(Mapping[str, Array]):
    """What `Rule.B` shows: the matrices that carried the error, by name. The rule alone enters them."""

    def __init__(self, matrices: Mapping[str, Array] | None = None) -> None:
        self._matrices = {} if matrices is None else dict(by_name(matrices, "the matrices by name"))

    def __getitem__(self, name: str) -> Array:
        return self._matrices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)

    def __repr__(self) -> str:
        return repr(self._matrices)

    def __setitem__(self, name: str, matrix: Array) -> None:
        raise TypeError(
            f"B shows what carried the error; to carry with a matrix of your own: rule.set_feedback({name!r}, matrix)"
        )

    def note(self, name: str, matrix: Array) -> None:
        """What the rule itself enters."""
        self._matrices[name] = matrix


class Rule(KnownOptions):
    """A learning rule. Attach it to a network, then call `gradients` for every batch.

    Args:
        seed: every draw of the rule (its feedback) is keyed by it and the layer's name.

    Attributes:
        memory: by name, the arrays that the rule keeps from pass to pass (drawn or learned), from which B is made.
        error: dL/d(output) of the last pass, (N, n_out), the 1/N of the batch mean in it; None before.
        output, target: the network's outputs and the targets of the last pass as rows, (N, n_out); None before.
        attachment: another object after every `attach`, by which an optimizer knows whose feedback it has moved.

    A rule of your own needs no more than an answer to one of the two questions:

    >>> class Uphill(mf.rules.Rule):
    ...     def feedback(self, layer):
    ...         return -layer.W
    >>> net = mf.Network([mf.Linear(1, 2), mf.Tanh(), mf.Linear(2, 1)])
    >>> bool((Uphill().attach(net).B["linear2"] == -net["linear2"].W).all())
    True
    """

    name = ""
    title = ""
    equation = ""  # one line, engine's convention: y = x @ W, delta @ B.T
    paper = ""
    needs = ""  # what the rule asks of a brain or a chip, in one sentence
    crosses_weights = True  # whether an error passes from a layer to the one below
    walks_back = True  # whether the rule is one backward pass (its deltas can be compared with backpropagation's)
    weight_decay = 0.0  # what experiments give the optimizer unless told otherwise: some rules align by decay
    checks_reach = True  # whether every layer that learns must be reached by an error on its way back
    feedback_learns = False  # whether the feedback learns in the optimizer's step; seen by what a class overrides
    writes_teach = False  # whether a class has a `teach` of its own; seen alike

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.feedback_learns = cls.parameters is not Rule.parameters or cls.update_feedback is not Rule.update_feedback
        cls.writes_teach = cls.teach is not Rule.teach
        extensions.guard(cls, Rule, extensions.RULE_ANSWERS)

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_seed(seed)
        self.net: Network | None = None
        self.attachment: object = None
        self._B = Matrices()
        self._noted: dict[str, int] | None = None  # what the last pass entered in B, by the layer's edits at the time
        self.memory: dict[str, Array] = {}
        self.error: Array | None = None
        self.output: Array | None = None
        self.target: Array | None = None

    @property
    def label(self) -> str:
        """What sentences call it: its name, or that of its class where this has none of its own."""
        return vars(type(self)).get("name") or type(self).__name__

    @property
    def B(self) -> Matrices:
        """By layer name, the matrices that carry the error: the very ones of the last pass. Before the first, and where
        weights were assigned or loaded, or feedback was set or loaded, since then: those that will."""
        noted, self._noted = self._noted, None  # None: `feedback` itself may ask, and is told what stands there
        if noted is not None and self.net is not None:
            try:
                for layer in self.senders(self.net):
                    if noted.get(layer.name) != layer.edits:
                        self._note(layer, self.feedback(layer))
            finally:
                self._noted = noted
        return self._B

    # Meeting the network

    @backend.quietly
    def attach(self, net: Network) -> Rule:
        """Draw what this rule keeps for this network. Returns the rule.

        Raises:
            TypeError: what is no network.
            ValueError: the rule cannot teach some layer of this network; the message names it. The rule is then
                attached to none.
        """
        instance_of(net, Network, "a rule is attached to a minifa.Network")
        extensions.require_init(self, "memory")
        net.output_layer  # noqa: B018  raises where nothing could learn
        try:
            self._attach(net)
        except BaseException:
            self.net, self._noted = None, None
            raise
        return self

    def _attach(self, net: Network) -> None:
        self.net, self.error, self.output, self.target = net, None, None, None
        self.attachment, self._B, self._noted, self.memory = object(), Matrices(), None, {}
        self.draw(net)
        if self.checks_reach:
            unreached = self._unreached(net)
            if unreached:
                raise ValueError(
                    f"under {self.label!r} no error would reach {', '.join(unreached)}: "
                    "put an activation behind it, where the rule can teach"
                )
        for layer in self.senders(net):
            self._note(layer, self.feedback(layer))
        self._noted = {}

    def draw(self, net: Network) -> None:
        """Fill `memory`. Default: nothing to keep."""

    def senders(self, net: Network) -> list[Weighted]:
        """The weighted layers through which an error must be carried: those with something to teach upstream."""
        return [layer for layer in net.weighted if layer.sends_down]

    def teaches(self, layer: Layer) -> bool:
        """Whether this rule replaces the error at this layer's output."""
        return False

    def feeding(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        """How `feedback` comes to its answer, for those who watch: the equation, and for its symbols the names that
        `minifa.trace` gives their arrays."""
        return self.equation, {"B": f"{layer.name}.B", "W": f"{layer.name}.W"}

    def carrying(self, layer: Weighted) -> str:
        """What `transport` computes, for those who watch."""
        return layer.error_equation

    def teaching(self, layer: Layer) -> tuple[str, dict[str, str]]:
        """How `teach` comes to its answer at a layer it teaches, for those who watch.

        Returns:
            The equation, and for its symbols the names that `minifa.trace` gives their arrays (``"linear2.delta"``,
            ``"tanh1.B"``), or ``"rule.name"`` for what the rule itself holds.
        """
        return "delta = what the rule teaches", {}

    def start_angle(self, layer: Weighted) -> float | None:
        """The angle in degrees at which B stands to W before the first update, where theory gives it: the limit of many
        entries. None where it gives none."""
        return None

    def _unreached(self, net: Network) -> list[str]:
        """The layers with parameters that no error would reach, found by walking back without numbers."""
        lost: list[str] = []

        def walk_back(layers: list[Layer], arrives: bool) -> bool:
            for layer in reversed(layers):
                arrives = arrives or self.teaches(layer)
                branches = [walk_back(inner, arrives) for _, inner in layer.children()]
                if layer.learns and not arrives:
                    lost.append(repr(layer.name))
                if branches:
                    arrives = any(branches)
                elif isinstance(layer, Weighted):
                    arrives = arrives and self.crosses_weights
            return arrives

        walk_back(net.layers, arrives=True)
        return lost[::-1]

    def draw_matrix(self, layer: Weighted, init: Initialiser | None = None, step: int = 0, key: str = "") -> Array:
        """A feedback matrix of W's shape for this layer: from W's own initialiser, or another one."""
        rng = generator(self.seed, "feedback", layer.name + key, step)
        return xp.asarray((init or layer.init).draw(rng, layer.weight_shape, *layer.fans).astype(layer.W.dtype))

    # One update

    @backend.quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        """Fill every layer's grads for this batch. Default: one forward pass, one backward pass.

        Args:
            net: the network that the rule was attached to.
            x: batch (N, ...) on the backend.
            y: class numbers (N,) on the host, or rows (N, n_out).
            loss: what the outputs are judged by.

        Returns:
            The mean loss, a number on the backend (reading it waits for the device).

        Raises:
            RuntimeError: the rule is not attached to this network.
            ValueError, TypeError: a batch or targets that do not fit it. Then nothing has been changed.

        >>> net = mf.Network([mf.Linear(1, 1, init="zero")])  # its output is 0
        >>> rule, x, y = mf.rules.BP().attach(net), mf.asarray([[2.0]]), mf.asarray([[3.0]])
        >>> float(rule.gradients(net, x, y, mf.HalfSquaredError()))  # (0 - 3)^2 / 2
        4.5
        >>> net["linear1"].grads["W"].tolist()  # x (0 - 3)
        [[-6.0]]
        """
        self.begin(net, x, y, loss)
        output = net.forward(x, self.walk(net))
        value = self.receive(output, y, loss)
        net.clear_gradients()
        net.backward(self.error, self)
        return value

    def begin(self, net: Network, x: Array, y: Any, loss: Loss) -> None:
        """Refuse what cannot work before anything has changed."""
        if self.net is not net:
            raise RuntimeError(f"the rule {self.label!r} is not attached to this network: call rule.attach(net) first")
        instance_of(loss, Loss, A_LOSS)
        net.check_input(x)
        loss.check(y, len(x), math.prod(net.output_shape or net.output_layer.weight_shape[-1:]))
        net.learning_rule = self.label if self.feedback_learns else ""

    def walk(self, net: Network, update_statistics: bool = True) -> Walk:
        """The forward pass of an update. Rules that must hear activities return a walk that listens."""
        return Walk(training=True, step=net.step, update_statistics=update_statistics)

    def receive(self, output: Array, y: Any, loss: Loss) -> Array:
        """Set target and error for these outputs; the 1/N of the batch mean enters here, once. Returns the mean
        loss."""
        self.output, self.target = output, loss.target(y, output)
        values, errors = loss(output, self.target)
        self.error = errors / len(output)
        return values.sum() / len(values)

    def known(self, array: Array | None) -> Array:
        """The error, output or target of the pass. Raises RuntimeError before the first one."""
        if array is None:
            raise RuntimeError(f"the rule {self.label!r} has seen no batch yet: call rule.gradients first")
        return array

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        """The error that this layer's output receives. Default: what came from above."""
        return delta

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        """The error below this weighted layer, dL/d(its input). Default: through `feedback`."""
        matrix = self.feedback(layer)
        self._note(layer, matrix)
        return None if matrix is None else self.transport(layer, delta, matrix)

    def feedback(self, layer: Weighted) -> Array | None:
        """What carries the error down through this weight, W's shape; None: nothing crosses.

        Raises:
            NotImplementedError: a class that does not write it.
        """
        told = "(self, layer): what carries the error down through layer.W, of its shape, or None where nothing does"
        raise extensions.not_written(self, "feedback", told)

    def feedback_shape(self, layer: Weighted) -> tuple[int, ...] | None:
        """The shape that `feedback` must have here; None: any, because the rule has a `transport` of its own."""
        return layer.weight_shape if type(self).transport is Rule.transport else None

    def transport(self, layer: Weighted, delta: Array, matrix: Array) -> Array:
        """How the matrix carries it. Default: the layer's own geometry, delta @ B.T."""
        return layer.carry(delta, matrix)

    def _note(self, layer: Weighted, matrix: Array | None) -> None:
        if matrix is not None:
            self._B.note(layer.name, matrix)
        if self._noted is not None:
            self._noted[layer.name] = layer.edits

    def update_feedback(self, net: Network) -> None:
        """How the feedback learns by itself; called by the optimizer after the weights have moved. Default: it does
        not."""

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        """Learned feedback that shares the optimizer: name to (array, gradient). Default: none."""
        return {}

    # Keeping it

    def set_feedback(self, name: str, matrix: Any) -> None:
        """Put numbers of your own in the place of those drawn: the matrix of a layer, or another part of `memory`.

        Raises:
            ValueError: the rule keeps nothing of that name (it derives B, or carries nothing there), or another shape.

        >>> rule = mf.rules.FA().attach(mf.Network([mf.Linear(3, 2), mf.Linear(2, 1)]))
        >>> rule.set_feedback("linear2", [[0.5], [-2.0]])
        >>> rule.B["linear2"].tolist()
        [[0.5], [-2.0]]
        """
        if word(name, "the name of a matrix") not in self.memory:
            raise ValueError(
                f"the rule {self.label!r} keeps no matrix {name!r}; it keeps {', '.join(self.memory) or 'none'}"
            )
        given = backend.asarray(matrix, self.memory[name].dtype)
        if given.shape != self.memory[name].shape:
            raise ValueError(
                f"{name!r} of the rule {self.label!r} has shape {self.memory[name].shape}, got {given.shape}"
            )
        if not bool(xp.isfinite(given).all()):
            raise ValueError(f"{name!r} of the rule {self.label!r} must hold finite numbers")
        self._take(name, given)
        self._noted = {}

    def _take(self, name: str, array: Array) -> None:
        """Enter numbers that were set or loaded, of the right shape, in `memory`."""
        self.memory[name][...] = array

    def recall(self, layer: Weighted) -> Array:
        """The matrix kept for this layer. Raises RuntimeError where the rule was not attached to its network."""
        if layer.name not in self.memory:
            raise RuntimeError(
                f"the rule {self.label!r} keeps no matrix for {layer}: attach it to the layer's network first, "
                "and again when layers that were frozen shall learn"
            )
        return self.memory[layer.name]

    def feedback_size(self, layer: Layer) -> int:
        """How many feedback numbers the rule keeps for this layer."""
        return sum(
            a.size
            for key, a in self.memory.items()
            if key.split("/")[0] == layer.name and not key.endswith("/start_norm")
        )

    def state(self) -> dict[str, numpy.ndarray]:
        """Copies on the host of what the rule keeps, by name."""
        return {key: numpy.array(backend.to_host(array)) for key, array in self.memory.items()}

    @backend.quietly
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave; checked first, so that nothing changes on a ValueError."""
        check_state(self.memory, state, f"the rule {self.label!r}")
        for key, array in self.memory.items():
            self._take(key, backend.asarray(state[key], array.dtype))
        self._noted = {}

    @contextlib.contextmanager
    def preserved(self) -> Iterator[None]:
        """Passes made inside the with-block leave error, output, target, B, memory and activities as they were."""
        before = self.facts()
        try:
            yield
        finally:
            self.put_back(before)

    def facts(self) -> dict[str, Any]:
        """All that the rule holds at this moment, by attribute; arrays are not copied."""
        return {**vars(self), **self._copies(vars(self))}

    def put_back(self, facts: Mapping[str, Any]) -> None:
        """Hold what `facts` gave, and nothing that came since then."""
        vars(self).clear()
        vars(self).update({**facts, **self._copies(facts)})

    @staticmethod
    def _copies(facts: Mapping[str, Any]) -> dict[str, Any]:
        noted = facts["_noted"]
        return {
            "_B": Matrices(facts["_B"]),
            "_noted": None if noted is None else dict(noted),
            "memory": dict(facts["memory"]),
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} seed={self.seed}>"
