"""The base class of learning rules.

A rule determines two things in the backward pass: the error at the output of a layer (`Rule.teach`), and the matrix
that carries the error down through a weight (`Rule.feedback`). Everything else has a default: one forward pass, one
backward pass, feedback that does not learn.
"""

from __future__ import annotations

__all__ = ["Rule"]

import contextlib
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy

from .. import backend, extension_checks
from ..backend import Array, xp
from ..layers.base import A_RULE, Layer, Pass
from ..layers.observer import active
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import A_NETWORK, Network, check_state
from ..registry import Constructed, as_call
from ..representations import HtmlRepr
from ..rng import check_seed, generator
from ..validation import check_str, check_type
from .feedback_matrices import FeedbackMatrices
from .recorded_targets import Batch, recorded

if TYPE_CHECKING:
    from ..initialisers import Initialiser


A_LOSS = "the loss must be a minifa.losses.Loss, for example minifa.SoftmaxCrossEntropy()"


def check_parts(net: Network, rule: Rule, loss: Loss) -> None:
    """Raise TypeError unless the arguments are a `Network`, a `Rule` and a `Loss`."""
    check_type(net, Network, A_NETWORK)
    check_type(rule, Rule, A_RULE)
    check_type(loss, Loss, A_LOSS)


def count_outputs(net: Network) -> int:
    """The number of outputs of each example, that is, of numbers in its target."""
    return math.prod(net.layers[-1].output_shape or net.output_layer.weight_shape[-1:])


class Rule(Constructed, HtmlRepr):
    """The base class of learning rules. Attach the rule to a network, then call `gradients` for each batch.

    Args:
        seed: of the rule's random draws; each layer has its own stream, derived from the seed and the layer's name.

    Attributes:
        memory: arrays that the rule keeps between passes (drawn or learned), by name; B is computed from them.
        error: dL/d(output) of the last pass, (N, n_out), including the 1/N of the batch mean; None before the first.
        output, target: the outputs and the targets of the last pass as rows, (N, n_out); None before the first.
        batch: the arguments of the last `gradients`, ``(net, x, rows, loss, step, of_classes)``; None before it.
        local: what layers with a loss of their own measured in the last pass, by layer name: ``{"loss": mean over the
            batch, "accuracy": fraction or None}``, numbers or scalars on the backend. Empty for rules without such
            losses. A pass sets it; the history has its means over each epoch.
        presynaptic: the activities (N, ...), by the name of a weighted layer, from which the layer's gradient is
            computed in place of its own input.
        attachment: a new object after each `attach`; an optimizer uses it to detect that its feedback state is stale.

    A subclass must define `feedback`; a rule that only overrides `teach` returns None from it. Here, `feedback`:

    >>> class Uphill(mf.rules.Rule):
    ...     def feedback(self, layer):
    ...         return -layer.W
    >>> net = mf.Network([mf.Linear(1, 2), mf.Tanh(), mf.Linear(2, 1)])
    >>> bool((Uphill().attach(net).B["linear2"] == -net["linear2"].W).all())
    True
    """

    name = ""
    title = ""
    equation = ""  # one line, in the convention y = x @ W, delta @ B.T
    paper = ""
    needs = ""  # what a physical implementation (brain, hardware) must provide
    crosses_weights = True  # False if `feedback` is always None: only layers that `teaches` names get errors
    B_corresponds_to_W = True  # whether B[name] takes the place of that layer's W; default: as crosses_weights
    B_is_local = False  # whether B[name] is part of the layer, as a head is: nothing is sent through it from elsewhere
    B_receives_updates = False  # whether memory[name] receives all updates of that layer's W, averages of kernels too
    rounding = 1.0  # how much more than other rules this one amplifies rounding errors, for comparisons
    one_backward_pass = True  # whether an update is one backward pass, comparable with backpropagation's
    presynaptic: Mapping[str, Array] = MappingProxyType({})  # see `Attributes`; default: none
    statistics: tuple[str, ...] = ("/start_norm",)  # endings of names in `memory` that are no feedback, as counted
    weight_decay = 0.0  # the optimizer's default in `minifa.experiments`: some rules need it to align
    requires_errors = True  # whether `attach` requires that an error reaches every layer that learns
    gives_output_error = True  # whether the output layer receives the true error e
    accepts = ""  # the networks that `attach` accepts; "": all
    explanations: Mapping[str, str] = {}  # of moments in a trace, by kind, where `minifa.trace`'s do not hold
    update_equation = ""  # of `update_feedback`, for traces; "": `equation`
    eta = 1.0  # step size of `targets`: delta = (activity - target) / (n eta)
    feedback_learns = False  # whether the optimizer's step updates the feedback; set from the overridden methods
    overrides_teach = False  # whether the class overrides `teach`; set by `__init_subclass__`, too
    constrains = False  # whether it overrides `constrain`; likewise

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.feedback_learns = cls.parameters is not Rule.parameters or cls.update_feedback is not Rule.update_feedback
        cls.overrides_teach = cls.teach is not Rule.teach
        cls.constrains = cls.constrain is not Rule.constrain
        if "crosses_weights" in vars(cls):
            cls.B_corresponds_to_W = vars(cls).get("B_corresponds_to_W", cls.crosses_weights)
        if "predict" in vars(cls):
            raise TypeError(
                f"{cls.__name__} must override predict_batch(self, net, x) instead of predict: every evaluation, in "
                "training too, calls it for each batch"
            )
        extension_checks.guard(cls, Rule, extension_checks.RULE_CHECKS)

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_seed(seed)
        self.net: Network | None = None
        self.attachment: object = None
        self._B: dict[str, Array] = {}
        self._versions: dict[str, int] | None = None  # `Layer.version` of the layers in B since the last pass
        self.memory: dict[str, Array] = {}
        self.error: Array | None = None
        self.output: Array | None = None
        self.target: Array | None = None
        self.batch: Batch | None = None
        self.local: dict[str, dict[str, Any]] = {}

    @property
    def label(self) -> str:
        """The name used in messages: ``name``, or the class name if the class does not define one."""
        return vars(type(self)).get("name") or type(self).__name__

    @property
    def B(self) -> Mapping[str, Array]:
        """The matrices that carry the error, by layer name: the same arrays as in the last pass. Before the first pass,
        and for weights or feedback assigned or loaded since the last one: the matrices of the next pass. Matrices of a
        module that computes the error at a layer's output have its name and a symbol, ``"tanh1/A"``.

        Read-only; `set_feedback` replaces a matrix.
        """
        versions, self._versions = self._versions, None  # None: prevents recursion if `feedback` reads `B`
        if versions is not None and self.net is not None:
            try:
                for layer in self.layers_with_feedback(self.net):
                    if versions.get(layer.name) != layer.version:
                        self.record_feedback(layer)
            finally:
                self._versions = versions
        return FeedbackMatrices(self._B, self.net)

    # Attach

    @backend.quietly
    def attach(self, net: Network) -> Rule:
        """Attach the rule to a network and draw its feedback. Returns the rule.

        Raises:
            TypeError: an object that is not a Network.
            ValueError: the rule cannot teach a layer of this network; the message names the layer. The rule is then
                not attached to any network.
        """
        check_type(net, Network, A_NETWORK)
        extension_checks.require_init(self, "memory")
        net.output_layer  # noqa: B018  raises if the network has no layer that can learn
        try:
            self._attach(net)
        except BaseException:
            self.net, self._versions = None, None
            raise
        return self

    def _attach(self, net: Network) -> None:
        self.net, self.error, self.output, self.target, self.batch, self.local = net, None, None, None, None, {}
        self.attachment, self._B, self._versions, self.memory = object(), {}, None, {}
        self.draw(net)
        if self.requires_errors and (unreached := self._unreached(net)):
            raise ValueError(
                f"the rule {self.label!r} would carry no error to {', '.join(unreached)}: put an activation after it, "
                "or, in a user-defined rule, override teaches(layer) for the layers that teach serves"
            )
        for layer in self.layers_with_feedback(net):
            self.record_feedback(layer)
        self._versions = {}

    def draw(self, net: Network) -> None:
        """Draw the arrays in `memory`. Default: none."""

    def layers_with_feedback(self, net: Network) -> list[Weighted]:
        """The weighted layers through which an error must be carried: those with layers below them that learn."""
        return [layer for layer in net.weighted if layer.needs_input_gradient]

    def teaches(self, layer: Layer) -> bool:
        """Whether this rule replaces the error at this layer's output."""
        return False

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        """How `feedback` computes the matrix, for traces and figures: the equation, and for each symbol the name that
        `minifa.trace` gives its array."""
        return self.equation, {"B": f"{layer.name}.B", "W": f"{layer.name}.W"}

    def carry_equation(self, layer: Weighted) -> str:
        """The equation of `carry`, for traces and figures."""
        return layer.error_equation

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        """How `teach` computes the error at a taught layer, for traces and figures.

        Returns:
            The equation, and for each symbol the name that `minifa.trace` gives its array (``"linear2.delta"``,
            ``"tanh1.B"``), or ``"rule.name"`` for an attribute of the rule.
        """
        return "delta = the error that the rule's method teach returns", {}

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        """What a trace shows with the error at this layer's output, by symbol; ``"t"`` of ``tanh1`` becomes the array
        ``"tanh1.t"``. Default: nothing."""
        return {}

    def start_angle(self, layer: Weighted) -> float | None:
        """The theoretical angle in degrees between B and W before the first update, in the limit of many entries; None
        if unknown."""
        return None

    def _unreached(self, net: Network) -> list[str]:
        """The layers with parameters that no error would reach, from a symbolic backward pass."""
        unreached: list[str] = []

        def walk_back(layers: list[Layer], arrives: bool) -> bool:
            for layer in reversed(layers):
                arrives = arrives or self.teaches(layer)
                branches = [walk_back(inner, arrives) for _, inner in layer.children()]
                if layer.trainable and not arrives:
                    unreached.append(repr(layer.name))
                if branches:
                    arrives = any(branches)
                elif isinstance(layer, Weighted):
                    arrives = arrives and self.crosses_weights
            return arrives

        walk_back(net.layers, arrives=True)
        return unreached[::-1]

    def draw_matrix(self, layer: Weighted, init: Initialiser | None = None, step: int = 0, key: str = "") -> Array:
        """Draw a feedback matrix of W's shape for this layer, from ``init`` or by default from W's initialiser."""
        rng = generator(self.seed, "feedback", layer.name + key, step)
        return xp.asarray((init or layer.init).draw(rng, layer.weight_shape, *layer.fans).astype(layer.W.dtype))

    # Forward and backward

    @backend.quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        """Compute the ``grads`` of every layer for this batch. Default: one forward pass, one backward pass.

        Args:
            net: the network that the rule was attached to.
            x: batch (N, ...) on the backend.
            y: class indices (N,) on the host, or rows (N, n_out).
            loss: the loss function.

        Returns:
            The mean loss, a scalar on the backend (``float(...)`` synchronises with the device).

        Raises:
            RuntimeError: the rule is not attached to this network.
            ValueError, TypeError: a batch or targets that do not match the network. Nothing is changed then.

        >>> net = mf.Network([mf.Linear(1, 1, init="zero")])  # its output is 0
        >>> rule, x, y = mf.rules.BP().attach(net), mf.asarray([[2.0]]), mf.asarray([[3.0]])
        >>> float(rule.gradients(net, x, y, mf.HalfSquaredError()))  # (0 - 3)^2 / 2
        4.5
        >>> net["linear1"].grads["W"].tolist()  # x (0 - 3)
        [[-6.0]]
        """
        rows = self.check_batch(net, x, y, loss)
        output = net.forward(x, self.training_pass(net))
        value = self.compute_error(output, rows, loss)
        net.clear_gradients()
        net.backward(self.error, self)
        return value

    def check_batch(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        """Validate the arguments of `gradients` before anything is changed. Returns the targets as rows (N, n_out)."""
        if self.net is not net:
            raise RuntimeError(f"the rule {self.label!r} is not attached to this network: call rule.attach(net) first")
        if not isinstance(loss, Loss):
            check_type(loss, Loss, A_LOSS)
        net.check_input(x)
        # As count_outputs, without its call in every step:
        n_out = math.prod(net.layers[-1].output_shape or net.output_layer.weight_shape[-1:])
        rows = loss.rows(y, len(x), n_out, net.dtype)
        net.learning_rule = self.label if self.feedback_learns else ""
        of_classes = getattr(y, "ndim", 1) == 1
        self.batch, self.local = Batch(net, x, rows, loss, net.step, of_classes), {}
        return rows

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        """The `Pass` of an update's forward pass. Rules that need activities return a subclass that records them."""
        return Pass(training=True, step=net.step, update_statistics=update_statistics)

    def compute_error(self, output: Array, y: Any, loss: Loss) -> Array:
        """Set target and error for these outputs; the factor 1/N of the batch mean is applied only here. Returns the
        mean loss."""
        self.output, self.target = output, loss.target(y, output)
        values, errors = loss(output, self.target)
        self.error = errors / len(output)
        value = values.sum() / len(values)
        if (observer := active.get()) is not None:
            observer.on_error(self, loss, output, value)
        return value

    def require(self, array: Array | None) -> Array:
        """The array (error, output or target). Raises RuntimeError if it is None, before the first pass."""
        if array is None:
            raise RuntimeError(f"the rule {self.label!r} has not computed a batch yet: call rule.gradients first")
        return array

    def predict(self, net: Network, x: Any, batch_size: int = 256) -> numpy.ndarray:
        """The outputs for an input, as the rule defines them: ``net.predict(x, batch_size, rule)``, with the arguments
        and errors of `minifa.Network.predict`."""
        return check_type(net, Network, A_NETWORK).predict(x, batch_size, self)

    def predict_batch(self, net: Network, x: Array) -> Array:
        """The outputs (N, n_out) for a batch x (N, ...) on the backend, in evaluation mode. Default: a forward pass.

        Every evaluation calls it: `predict`, `minifa.Trainer.evaluate`, `minifa.evaluate`. A rule whose answer is
        another one than the network's output overrides it:

        >>> class Ensemble(mf.rules.BP):
        ...     def predict_batch(self, net, x):
        ...         return (net.forward(x) + net.forward(-x)) / 2
        >>> net = mf.Network([mf.Linear(1, 2)])
        >>> Ensemble().attach(net).predict(net, [[3.0]]).tolist()  # W cancels, and the bias is 0
        [[0.0, 0.0]]
        """
        return net.forward(x)

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        """The error at this layer's output. Default: the error from above."""
        return delta

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        """The error at this weighted layer's input; None if no error is carried. Default: `Weighted.carry`,
        delta @ B.T in the layer's geometry, with the matrix B of `feedback`."""
        matrix = self.record_feedback(layer)
        return None if matrix is None else layer.carry(delta, matrix)

    def record_feedback(self, layer: Weighted) -> Array | None:
        """Call `feedback` and record its matrix, which `B` then shows."""
        matrix = self.feedback(layer)
        if matrix is not None:
            self._B[layer.name] = matrix
        if self._versions is not None:
            self._versions[layer.name] = layer.version
        return matrix

    def feedback(self, layer: Weighted) -> Array | None:
        """The matrix, of W's shape, that carries the error down through this layer; None if no error is carried.

        Raises:
            NotImplementedError: the class does not implement it.
        """
        contract = "(self, layer): the matrix, of W's shape, that carries the error below the layer, or None"
        raise extension_checks.not_implemented(self, "feedback", contract)

    def feedback_shape(self, layer: Weighted) -> tuple[int, ...] | None:
        """The required shape of `feedback` for this layer; None: any, because the class overrides `carry`."""
        return layer.weight_shape if type(self).carry is Rule.carry else None

    def constrain(self, net: Network) -> None:
        """Restore in place what the rule requires of the weights, after they have moved: called by the optimizer after
        its own constraints and before `update_feedback`. The weights of frozen layers must stay. Default: nothing."""

    def update_feedback(self, net: Network) -> None:
        """Update the feedback by the rule's own equation; called by the optimizer after the weight update. Default: no
        update."""

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        """Feedback that the optimizer updates: name to (array, gradient). Default: none."""
        return {}

    # Targets

    @property
    def activities(self) -> dict[str, Array]:
        """The outputs, (N, ...), of the layers at which this rule teaches, in the last pass, by layer name. Rules that
        carry an error down: of the first activation after each weighted layer, else of the weighted layer itself.

        Computed from a repetition of that pass each time the attribute is read; the network does not change.

        Raises:
            RuntimeError: before the first pass, or after an update of the weights.
        """
        return {name: activity for name, (activity, _) in recorded(self).items()}

    @property
    def targets(self) -> dict[str, Array]:
        """What the layers in `activities` should have put out: activity - n eta delta, where delta is the error at the
        layer's output under this rule (the batch of n examples) and ``eta`` the rule's step size. With the default
        eta = 1 the target is one step down the gradient of the example's loss. Computed and raises as `activities`.

        >>> net = mf.Network([mf.Linear(1, 2, init="zero"), mf.Tanh(), mf.Linear(2, 1, init="zero")])
        >>> rule, x = mf.rules.BP().attach(net), mf.asarray([[1.0]])
        >>> value = rule.gradients(net, x, mf.asarray([[3.0]]), mf.HalfSquaredError())
        >>> {name: target.tolist() for name, target in rule.targets.items()}
        {'tanh1': [[0.0, 0.0]], 'linear2': [[3.0]]}
        """
        return {name: target for name, (_, target) in recorded(self).items()}

    # State

    def set_feedback(self, name: str, matrix: Any) -> None:
        """Replace the matrix of a layer, or another array in `memory`, with given values.

        Raises:
            ValueError: `memory` has no array of that name (the rule derives B, or carries no error there), a different
                shape, or entries that are not finite.

        >>> rule = mf.rules.FA().attach(mf.Network([mf.Linear(3, 2), mf.Linear(2, 1)]))
        >>> rule.set_feedback("linear2", [[0.5], [-2.0]])
        >>> rule.B["linear2"].tolist()
        [[0.5], [-2.0]]
        """
        if check_str(name, "the name of a matrix") not in self.memory:
            raise ValueError(
                f"the rule {self.label!r} stores no matrix {name!r} that can be set: "
                f"it has {', '.join(self.memory) or 'none'}"
            )
        array = backend.asarray(matrix, self.memory[name].dtype)
        check_state({name: self.memory[name]}, {name: array}, f"the rule {self.label!r}")
        self._store(name, array)
        self._versions = {}

    def carry_over(self, before: Rule) -> list[str]:
        """Copy arrays of the rule that trained this network before into `memory`: those of the same name and shape. Of
        a rule of another class only matrices that both rules use as their B as they are, because only these have the
        same meaning. Returns the names of the copied arrays. Raises TypeError if ``before`` is not a Rule.

        >>> net = mf.Network([mf.Linear(3, 2), mf.Linear(2, 1)])
        >>> learned = mf.rules.KolenPollack(seed=1).attach(net)
        >>> fixed = mf.rules.FA(seed=0).attach(net)
        >>> fixed.carry_over(learned), bool((fixed.B["linear2"] == learned.B["linear2"]).all())
        (['linear2'], True)
        """
        check_type(before, Rule, A_RULE)
        both = [
            name for name, array in self.memory.items() if getattr(before.memory.get(name), "shape", ()) == array.shape
        ]
        if type(self) is not type(before):
            both = [name for name in both if all(rule._B.get(name) is rule.memory[name] for rule in (self, before))]
        for name in both:
            self.set_feedback(name, before.memory[name])
        return both

    def _store(self, name: str, array: Array) -> None:
        """Copy an array that is set or loaded, of the right shape, into `memory`."""
        self.memory[name][...] = array

    def show_feedback(self, matrices: Mapping[str, Array]) -> None:
        """Show these matrices, those of a saved rule's last pass, as `B` until the next pass. Raises TypeError,
        ValueError unless they have the names and shapes of `B`."""
        check_state(self.B, matrices, f"the rule {self.label!r}")
        self._B.update(matrices)
        self._versions = {layer.name: layer.version for layer in self.net or ()}

    def stored_matrix(self, layer: Layer) -> Array:
        """The matrix in `memory` for this layer. Raises RuntimeError if the rule is not attached to its network."""
        if layer.name not in self.memory:
            raise RuntimeError(
                f"the rule {self.label!r} has no matrix for {layer}: attach the rule to the layer's network, and again "
                "after net.unfreeze"
            )
        return self.memory[layer.name]

    def feedback_size(self, layer: Layer) -> int:
        """Number of feedback entries that the rule keeps for this layer."""
        own = {key: array for key, array in self.memory.items() if key.split("/")[0] == layer.name}
        return sum(array.size for key, array in own.items() if not key.endswith(self.statistics))

    def state(self) -> dict[str, numpy.ndarray]:
        """Copies of `memory` on the host, by name."""
        return {key: numpy.array(backend.to_host(array)) for key, array in self.memory.items()}

    @backend.quietly
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load a result of `state`. It is validated first: on a ValueError nothing is changed."""
        check_state(self.memory, state, f"the rule {self.label!r}")
        for key, array in self.memory.items():
            self._store(key, backend.asarray(state[key], array.dtype))
        self._versions = {}

    @contextlib.contextmanager
    def preserved(self) -> Iterator[None]:
        """Context manager: restore error, output, target, B, memory and activities after passes inside the block."""
        before = self.snapshot()
        try:
            yield
        finally:
            self.restore(before)

    def snapshot(self) -> dict[str, Any]:
        """The rule's attributes at this moment, by name; arrays are not copied."""
        return _with_copied_dicts(vars(self))

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Restore a result of `snapshot` and delete attributes added since then."""
        vars(self).clear()
        vars(self).update(_with_copied_dicts(snapshot))

    def __repr__(self) -> str:
        net = getattr(self, "net", None)
        return f"<{as_call(self)}, {'not attached' if net is None else f'attached to {net!r}'}>"


def _with_copied_dicts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes by name, with a copy of each dictionary."""
    return {name: dict(value) if type(value) is dict else value for name, value in attributes.items()}
