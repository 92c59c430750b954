"""Trace of one training step: an ordered list of moments that can be inspected and printed.

The trace observes the actual training code. During one step, hooks are placed on the methods of the network's layers,
the rule and the optimizer. They are removed afterwards, so training without a trace has no overhead.
"""

from __future__ import annotations

__all__ = ["Moment", "Trace", "trace"]

import contextlib
import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import numpy.typing as npt

from .. import backend, metrics
from ..backend import Array
from ..layers.base import Layer
from ..layers.observer import Observer, observing
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..optim import AN_OPTIMIZER, Optimizer
from ..representations import HtmlRepr
from ..rules.backprop import BP
from ..rules.base import A_RULE, Rule, check_parts
from ..validation import check_float, check_list, check_type
from .equations import with_numbers

Host = npt.NDArray[Any]

W_AND_B, ERRORS = "W and B", "this delta and backpropagation's"  # names of angles
WHY = {
    "batch": "Before the step: the examples and their targets. Nothing is computed yet.",
    "forward": "The layer computes its output from its input.",
    "noise": "The rule adds noise to the layer's output and measures how the loss changes.",
    "loss": "The loss of the outputs and its gradient. The factor 1/n makes e the gradient of the batch's mean loss.",
    "teach": "The rule's own teaching signal replaces the error from the layer above.",
    "gradients": "The gradient of the parameters, computed from the layer's input and the error at its output.",
    "feedback": "The matrix that carries the error to the layer below distinguishes the rules.",
    "carry": "The error is carried to the layer below. Backpropagation would carry it through W.",
    "backward": "The exact derivative of the layer, the same under every rule.",
    "clip": "All gradients are scaled by the same factor, so that their joint norm is at most clip_norm.",
    "update": "The optimizer changes the parameter against its gradient, scaled by the learning rate.",
    "constrain": "The optimizer restores the signs and norms that its options keep constant.",
    "feedback_update": "The rule or the optimizer updates the feedback.",
}


@dataclass(frozen=True, repr=False)
class Moment(HtmlRepr):
    """One event of a training step.

    Attributes:
        kind: "batch", "forward", "noise", "loss", "teach", "gradients", "feedback", "carry", "backward", "clip",
            "update", "constrain" or "feedback_update".
        layer: name of the layer; "" if the moment does not belong to a layer.
        title: short description.
        why: one sentence of explanation.
        equation: one or more lines in symbols.
        terms: the array or number of each symbol of the equation; None if it has no value.
        arrays: host arrays by name (``"linear1.W"``, ``"tanh1.y"``, ``"linear2.delta"``, ``"e"``): everything that the
            step computes, with its value after this moment; None if not computed yet.
        new: names of the arrays that were computed or changed in this moment.
        angles: degrees, or None for an undefined angle: "W and B", "what B and W carry", "this delta and
            backpropagation's".

    >>> net = mf.Network([mf.Linear(2, 1)])
    >>> net["linear1"].W = mf.asarray([[2.0], [3.0]])
    >>> rule, loss, optimizer = mf.rules.BP().attach(net), mf.HalfSquaredError(), mf.SGD()
    >>> trace = mf.trace(net, rule, [[10.0, 1.0]], mf.asarray([[0.0]]), loss, optimizer)
    >>> moment = trace[1]
    >>> print(moment.equation)
    y = x @ W + b
    >>> print(moment.numbers())
    [23] = [10  1] @ [2] + [0]
                     [3]
    """

    kind: str
    layer: str
    title: str
    why: str
    equation: str
    terms: dict[str, Any]
    arrays: dict[str, Host | None]
    new: tuple[str, ...]
    angles: dict[str, float | None]

    def numbers(self, width: int = 100) -> str:
        """The equation with its values inserted; large arrays are shown by their shape."""
        return with_numbers(self.equation, self.terms, width)

    def __repr__(self) -> str:
        return f"<Moment {self.kind!r}: {self.title}>"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every term that is an array."""
        return {symbol: value.shape for symbol, value in self.terms.items() if isinstance(value, numpy.ndarray)}


class Trace(Sequence[Moment], HtmlRepr):
    """The moments of one step in order, as created by `trace`.

    Args:
        moments: the moments in order.
        net: the network that was trained.
        rule: the rule of the step.
        value: mean loss of the batch.

    Raises:
        TypeError: an argument of the wrong type.

    Attributes:
        moments: list of the moments.
        net_layers: (name, kind, output shape of one example or None) of every layer, in forward order.
        rule: name of the rule.
        value: mean loss of the batch.
        keys: (kind, layer, number of earlier moments of that kind and layer) of every moment. They identify
            corresponding moments of the same network under different rules.

    >>> net = mf.Network([mf.Linear(2, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, loss, optimizer = mf.rules.FA().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD()
    >>> trace = mf.trace(net, rule, [[1.0, 2.0]], [0], loss, optimizer)
    >>> [moment.layer for moment in trace if moment.kind == "gradients"]  # in the backward pass
    ['linear2', 'linear1']
    >>> [moment.arrays["linear1.dW"] is None for moment in (trace[0], trace[-1])]
    [True, False]
    """

    def __init__(self, moments: Sequence[Moment], net: Network, rule: Rule, value: float) -> None:
        self.moments = check_list(moments, Moment, "the moments of a trace must be minifa.Moment objects")
        check_type(net, Network, "the network must be a minifa.Network")
        self.net_layers = [(layer.name, layer.kind, layer.output_shape) for layer in net]
        self.rule, self.value = check_type(rule, Rule, A_RULE).name, check_float(value, "a loss")
        counts: Counter[tuple[str, str]] = Counter()
        self.keys: list[tuple[str, str, int]] = []
        for moment in self.moments:
            self.keys.append((moment.kind, moment.layer, counts[moment.kind, moment.layer]))
            counts[moment.kind, moment.layer] += 1

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, i: Any) -> Any:
        return self.moments[i]

    def matching_index(self, other: Trace, i: int) -> int:
        """The index in this trace that corresponds to moment i of ``other``, a trace of the same network under another
        rule: the moment with the same key, or the last earlier one whose key both have."""
        indices = {key: index for index, key in enumerate(self.keys)}
        return next(indices[key] for key in reversed(other.keys[: i + 1]) if key in indices)

    def __repr__(self) -> str:
        return f"<Trace of one step under {self.rule!r}: {len(self)} moments, loss {self.value:.4g}>"


@backend.quietly
def trace(net: Network, rule: Rule, x: Any, y: Any, loss: Loss, optimizer: Optimizer) -> Trace:
    """Make one training step and record it. Network, rule and optimizer are changed exactly as by `rule.gradients` and
    `optimizer.step`.

    Args:
        net, rule, loss, optimizer: as for `minifa.Trainer`.
        x: a batch (N, ...), on the backend or the host.
        y: its targets, as for `minifa.rules.Rule.gradients`.

    Returns:
        The moments of the step. Their arrays are host copies.

    Raises:
        ValueError, TypeError, RuntimeError: as for `minifa.rules.Rule.gradients`; nothing is changed in that case.

    >>> net = mf.Network([mf.Linear(1, 1, init="zero")])
    >>> rule, loss = mf.rules.BP().attach(net), mf.HalfSquaredError()
    >>> optimizer = mf.SGD(lr=0.5)
    >>> for moment in mf.trace(net, rule, [[1.0]], mf.asarray([[2.0]]), loss, optimizer):
    ...     print(moment.title)
    A batch of 1
    ...
    Update of linear1.W
    Update of linear1.b
    The feedback is not updated in this step
    >>> net["linear1"].W.tolist()  # the step has been made
    [[1.0]]
    """
    check_parts(net, rule, loss)
    check_type(optimizer, Optimizer, AN_OPTIMIZER)
    x = backend.asarray(x, net.dtype)
    rule.check_batch(net, x, y, loss)
    recorder = _Recorder(net, rule, loss, optimizer, _true_errors(net, rule, x, y, loss))
    recorder.start(x, y)
    with recorder.hooks():
        value = rule.gradients(net, x, y, loss)
        recorder.record_remaining_gradients()
        optimizer.step(net, rule)
    return Trace(recorder.finish(), net, rule, float(value))


class _ErrorRecorder(Observer):
    """Records the error at every layer's output."""

    def __init__(self) -> None:
        self.errors: dict[str, Array] = {}

    def on_teach(self, layer: Layer, delta: Array | None, taught: Array | None) -> None:
        if taught is not None:
            self.errors[layer.name] = taught


def _true_errors(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Array]:
    """The errors of backpropagation at every layer's output for this batch."""
    true = _ErrorRecorder()
    with net.preserved(), rule.preserved(), observing(true):
        BP().attach(net).gradients(net, x, y, loss)
    return true.errors


@dataclass
class _PendingMoment:
    """A moment under construction: `arrays` holds only new arrays."""

    kind: str
    layer: str
    title: str
    equation: str
    terms: dict[str, Any]
    arrays: dict[str, Host] = field(default_factory=dict)
    angles: dict[str, float | None] = field(default_factory=dict)
    why: str = ""
    sent: Any = None  # the error that this moment sends down; identifies the sender of a received error


class _Recorder(Observer):
    """Records one step: the passes as an observer, the update by hooks. A hook `_on_...` wraps the method in its name:
    it calls that method once and returns its result."""

    def __init__(self, net: Network, rule: Rule, loss: Loss, optimizer: Optimizer, true: Mapping[str, Array]) -> None:
        self.net, self.rule, self.loss, self.optimizer, self.true = net, rule, loss, optimizer, true
        self.moments: list[_PendingMoment] = []
        self.known_arrays: dict[str, Host] = {}  # current values by name
        self.passes: Counter[str] = Counter()  # forward passes of each layer so far
        self.outputs: dict[str, Host] = {}  # of each layer's last forward pass
        self.noise: defaultdict[str, dict[str, Host]] = defaultdict(
            dict
        )  # by layer and symbol: feedback learns from it
        self.n = 0
        self.installed = contextlib.ExitStack()  # closing it removes all hooks

    # Start and end

    def start(self, x: Array, y: Any) -> None:
        self.n = len(x)
        arrays = {"x": x, **self.net.parameters(), **self._statistics(), **self._rule_arrays()}
        arrays["targets"] = numpy.asarray(backend.to_host(y))
        self.record("batch", "", f"A batch of {self.n}", "x, targets", {"x": x, "targets": arrays["targets"]}, arrays)

    def finish(self) -> list[Moment]:
        """The list of moments. Each one has all array names of the step, with None for arrays not computed yet."""
        known: dict[str, Host | None] = dict.fromkeys(name for moment in self.moments for name in moment.arrays)
        moments = []
        for moment in self.moments:
            known = {**known, **moment.arrays}
            why = moment.why or self.rule.explanations.get(moment.kind, WHY[moment.kind])
            moments.append(
                Moment(
                    moment.kind, moment.layer, moment.title, why, moment.equation, moment.terms, known,
                    tuple(moment.arrays), moment.angles,
                )
            )  # fmt: skip
        return moments

    # Recording

    def record(
        self, kind: str, layer: str, title: str, equation: str, terms: Mapping[str, Any], new: Mapping[str, Any]
    ) -> _PendingMoment:
        moment = _PendingMoment(
            kind, layer, title, equation, {symbol: _copied(value) for symbol, value in terms.items()}
        )
        self.moments.append(moment)
        self.add_arrays(moment, new)
        return moment

    def add_arrays(self, moment: _PendingMoment, new: Mapping[str, Any]) -> None:
        """Add new arrays to this moment and to `known_arrays`."""
        for name, array in new.items():
            self.known_arrays[name] = moment.arrays[name] = _copied(array)

    def term_values(self, equation: str, names: Mapping[str, str]) -> dict[str, Any]:
        """The values of the symbols of an equation, looked up by name in `known_arrays`, or as attributes of the rule
        (``"rule.sigma"``, ``"rule.xi.linear1.W"``)."""
        values = {}
        for symbol, name in names.items():
            if name.startswith("rule."):
                _, attribute, *key = name.split(".", 2)
                value = getattr(self.rule, attribute)
                values[symbol] = value[key[0]] if key else value
            elif _occurs(symbol, equation) or symbol in ("W", "B"):
                values[symbol] = self.known_arrays.get(name)
        return values

    def _statistics(self) -> dict[str, Array]:
        return {f"{layer.name}.{key}": a for layer in self.net for key, a in layer.buffers().items()}

    def _rule_arrays(self) -> dict[str, Array]:
        """The feedback matrices and all other arrays in the rule's memory."""
        matrices = {_array_name(key, "B"): B for key, B in self.rule.B.items()}
        shown = {id(B) for B in matrices.values()}
        others = {key: a for key, a in self.rule.memory.items() if id(a) not in shown}
        return {**matrices, **{_array_name(key, "M"): a for key, a in others.items()}}

    def _changed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays that differ from their value in `known_arrays`."""
        return {
            name: array
            for name, array in arrays.items()
            if name not in self.known_arrays or not numpy.array_equal(self.known_arrays[name], backend.to_host(array))
        }

    # Hooks

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Context manager: record the passes as an observer, and the update by hooks on its methods."""
        with observing(self), self.installed:
            self._hook(self.rule, "update_feedback", self._on_update_feedback)
            for method in ("clip", "move", "constrain"):
                self._hook(self.optimizer, method, getattr(self, f"_on_{method}"))
            if self.rule.constrains:
                self._hook(self.rule, "constrain", self._on_rule_constrain)
            if self.optimizer.share_weights is not None:
                self._hook(self.optimizer.share_weights, "average", self._on_average)
            yield

    def _hook(self, owner: Any, method: str, hook: Callable[..., Any]) -> None:
        """Wrap the method of this object with `hook` until `installed` is closed."""
        before = vars(owner).get(method)  # a user-defined method of this instance
        setattr(owner, method, functools.partial(hook, getattr(owner, method)))
        if before is None:
            self.installed.callback(delattr, owner, method)
        else:
            self.installed.callback(setattr, owner, method, before)

    # Forward and backward passes

    def on_forward(self, layer: Layer, x: Array, y: Array) -> None:
        inputs = {"x": x, **layer.parameters()}
        self.passes[layer.name] += 1
        number = self.passes[layer.name]
        suffix = "" if number == 1 else f"@{number}"
        self.outputs[layer.name] = _copied(y)
        perturbed = any(
            not numpy.array_equal(backend.to_host(array), self.known_arrays[f"{layer.name}.{key}"])
            for key, array in layer.parameters().items()
        )
        how = ", parameters perturbed" if perturbed else ""
        new = {f"{layer.name}.y{suffix}": y, **self._changed(self._statistics())}
        if suffix and layer is self.net.layers[0]:
            new = {f"x{suffix}": x, **new}
        self.record(
            "forward", layer.name, f"Forward through {layer.name}{how}" + (f", pass {number}" if suffix else ""),
            layer.equation, {**inputs, **layer.symbols(), "y": y}, new,
        )  # fmt: skip

    def on_output(self, layer: Layer, y: Array, changed: Array) -> None:
        terms = {"y_shaken": changed, "y": y, "xi": changed - y}
        name = next(reversed(self.moments[-1].arrays))
        new = {name: changed, f"{layer.name}.xi": changed - y}
        title = f"Noise is added to the output of {layer.name}"
        self.record("noise", layer.name, title, "y_shaken = y + xi", terms, new)

    def on_error(self, rule: Rule, loss: Loss, output: Array, value: Array) -> None:
        terms = {"L": value, "a": output, "t": rule.target, "e": rule.error, "n": self.n, "n_out": output.shape[-1]}
        self.record(
            "loss", "", "The loss and its gradient", f"{loss.equation}\n{loss.error_equation}", terms,
            {"output": output, "t": rule.target, "loss": value, "e": rule.error},
        ).sent = rule.error  # fmt: skip

    def on_teach(self, layer: Layer, delta: Array | None, taught: Array | None) -> None:
        if taught is None:
            return
        sender = next((moment for moment in reversed(self.moments) if moment.sent is taught), None)
        if sender is not None or taught is delta:  # unchanged: assign the error to the moment that sent it
            if sender is None:
                sender = self.record("loss", "", "The error of the outputs", "e", {"e": taught}, {"e": taught})
                sender.sent = taught
            self._record_error(sender, layer, taught)
            true = self.true_error(layer, taught)
            if true is not None and sender.kind in ("carry", "backward"):
                sender.terms.setdefault("delta_bp", _copied(true))
            if arrays := self.rule.trace_arrays(layer):
                self._record_teaching(layer, taught, f"Target of {layer.name}", arrays)
        else:
            arrays = self.rule.trace_arrays(layer)
            self._record_teaching(layer, taught, f"Teaching signal of {layer.name}", arrays)

    def _record_teaching(self, layer: Layer, taught: Array, title: str, arrays: Mapping[str, Array]) -> None:
        equation, names = self.rule.teach_equation(layer)
        terms = {
            **self.term_values(equation, names),
            **{symbol: array for symbol, array in arrays.items() if _occurs(symbol, equation)},
            "delta": taught,
            "n": self.n,
            "delta_bp": self.true_error(layer, taught),
        }
        # A rule's symbol may be that of a parameter (b: a burst rate, a bias), of which traces show the latest array.
        new = {f"{layer.name}.{symbol}": array for symbol, array in arrays.items() if symbol not in layer.grads}
        moment = self.record("teach", layer.name, title, equation, terms, new)
        moment.sent = taught
        self._record_error(moment, layer, taught)

    def _record_error(self, moment: _PendingMoment, layer: Layer, delta: Array) -> None:
        """Record the error at this layer's output and backpropagation's error with the moment that produced it."""
        self.add_arrays(moment, {f"{layer.name}.delta": delta})
        true = self.true_error(layer, delta)
        if true is not None:
            self.add_arrays(moment, {f"{layer.name}.delta_bp": true})
            moment.angles.setdefault(ERRORS, metrics.to_float(metrics.mean_angle(delta, true)))

    def true_error(self, layer: Layer, delta: Array) -> Array | None:
        """Backpropagation's error at this layer's output; None if the rule's is of other examples than the batch's."""
        true = self.true.get(layer.name)
        return true if true is not None and true.shape == delta.shape else None

    def on_gradients(self, layer: Weighted, x: Array, delta: Array) -> None:
        if f"{layer.name}.delta" not in self.known_arrays:  # the rule computes its own error here
            self._record_teaching(layer, delta, f"Teaching signal of {layer.name}", self.rule.trace_arrays(layer))
        self._record_gradients(layer, layer.gradient_equation, {"x": x, "delta": delta})

    def _record_gradients(self, layer: Layer, equation: str, terms: Mapping[str, Any]) -> _PendingMoment:
        grads = {f"d{key}": grad for key, grad in layer.grads.items() if grad is not None}
        new = {f"{layer.name}.{key}": grad for key, grad in grads.items()}
        return self.record("gradients", layer.name, f"The gradient of {layer.name}", equation, {**terms, **grads}, new)

    def record_remaining_gradients(self) -> None:
        """Record gradients that the rule has set itself, without `store_gradients` or `backward` of a layer."""
        for layer in self.net:
            if any(g is not None and f"{layer.name}.d{key}" not in self.known_arrays for key, g in layer.grads.items()):
                equation, names = self.rule.teach_equation(layer)
                moment = self._record_gradients(layer, equation, self.term_values(equation, names))
                moment.why = "The rule sets this gradient directly, without an error at the layer's output."

    def on_carry(self, layer: Weighted, delta: Array, below: Array | None) -> None:
        B = self.rule.B.get(layer.name) if self.rule.B_corresponds_to_W else None
        title = f"Feedback matrix of {layer.name}: "
        feedback = self.record(
            "feedback", layer.name, title + ("none" if B is None else "B"), self.rule.equation, {}, {}
        )
        if B is not None:
            self.add_arrays(feedback, {f"{layer.name}.B": B})
            feedback.equation, names = self.rule.feedback_equation(layer)
            feedback.terms.update(self.term_values(feedback.equation, names))
            if B.shape == layer.W.shape:
                feedback.angles[W_AND_B] = metrics.to_float(metrics.angle(layer.W, B))
        if B is None or below is None:
            feedback.why = self.rule.explanations.get(
                "feedback",
                "No error is carried through this layer: the layers below receive a teaching signal directly, or none.",
            )
            return
        carried = self.record(
            "carry", layer.name, f"Backward through {layer.name}", self.rule.carry_equation(layer),
            {"delta_below": below, "delta": delta, "B": B, "W": layer.W}, {},
        )  # fmt: skip
        carried.sent = below
        if B is layer.W:
            carried.why = "The error is carried to the layer below through the transposed weights."
        by_weights = layer.carry(delta, layer.W)
        carried.angles["what B and W carry"] = metrics.to_float(metrics.mean_angle(below, by_weights))

    def on_backward(self, layer: Layer, delta: Array, below: Array | None) -> None:
        if isinstance(layer, Weighted):
            return  # `on_gradients` and `on_carry` have recorded it
        grads = {f"d{key}": grad for key, grad in layer.grads.items() if grad is not None}
        terms = {"delta": delta, "delta_below": below, "y": self.outputs[layer.name], **grads}
        new = {f"{layer.name}.{key}": grad for key, grad in grads.items()}
        moment = self.record(
            "backward", layer.name, f"Backward through {layer.name}", layer.error_equation,
            {**terms, **layer.symbols(), **layer.parameters()}, new,
        )  # fmt: skip
        moment.sent = below
        if any(True for _ in layer.children()):
            moment.why = "The errors of the branches are added at the input of the block."

    def on_noise(self, layer: Layer, symbol: str, noise: Array) -> None:
        self.noise[layer.name][symbol] = _copied(noise)

    # Optimizer

    def _on_clip(self, clip: Callable[..., None], net: Network) -> None:
        clip(net)
        gradients = {f"{layer.name}.d{key}": g for layer in net for key, g in layer.grads.items() if g is not None}
        if changed := self._changed(gradients):
            equation = "every g = g * min(1, clip_norm / norm_of_all)"
            size = math.sqrt(sum(float((self.known_arrays[name].astype(float) ** 2).sum()) for name in gradients))
            terms = {"clip_norm": self.optimizer.clip_norm, "norm_of_all": size}
            self.record("clip", "", "Gradients are clipped", equation, terms, changed)

    def _on_move(self, move: Callable[..., None], name: str, array: Array, gradient: Array) -> None:
        slots = {slot: _copied(a) for slot, a in self.optimizer.arrays.get(name, {}).items()}
        before = {slot: slots.get(slot, numpy.zeros(array.shape, array.dtype)) for slot in self.optimizer.slots}
        before["W"] = _copied(array)
        move(name, array, gradient)
        after = {"W_new": array, **{f"{slot}_new": a for slot, a in self.optimizer.arrays[name].items()}}
        terms = {**before, "dW": gradient, **after, "k": self.optimizer.counts[name]}
        with self.optimizer.group(name, array):
            options = {key: value for key, value in vars(self.optimizer).items() if isinstance(value, float)}
            equation = self.optimizer.equation
        options.update(zip(("beta1", "beta2"), getattr(self.optimizer, "betas", ()), strict=False))
        feedback = name.startswith("feedback/")
        if feedback:  # of a layer, whose name may have dots, or with a symbol: "feedback/linear1/A"
            layer, _, symbol = name.removeprefix("feedback/").partition("/")
            symbol = symbol or "B"
        else:
            layer, _, symbol = name.rpartition(".")
        self.record(
            "feedback_update" if feedback else "update",
            layer,
            f"Update of {layer}.{symbol}" + (" by the optimizer" if feedback else ""),
            _renamed(equation, symbol),
            {**options, **{_renamed(one, symbol): value for one, value in terms.items()}},
            {f"{layer}.{symbol}": array},
        )

    def _on_constrain(self, constrain: Callable[..., None], net: Network) -> None:
        self._record_constraint(constrain, net, "Weights are constrained", "signs and norms kept by the options")

    def _on_rule_constrain(self, constrain: Callable[..., None], net: Network) -> None:
        moment = self._record_constraint(constrain, net, "The rule constrains the weights", "weights kept by the rule")
        if moment is not None:
            moment.why = "The rule restores what it requires of the weights, for example that none is negative."

    def _on_average(self, average: Callable[..., None], net: Network, rule: Rule) -> None:
        average(net, rule)
        if changed := self._changed({**net.parameters(), **self._rule_arrays()}):
            equation = "W_p = mean of W_q over the positions q of p's group"
            moment = self.record("constrain", "", "Kernels are averaged", equation, changed, changed)
            moment.why = "The optimizer averages the kernels of locally connected layers: its option share_weights."

    def _record_constraint(
        self, constrain: Callable[..., None], net: Network, title: str, equation: str
    ) -> _PendingMoment | None:
        constrain(net)
        changed = self._changed(net.parameters())
        return self.record("constrain", "", title, equation, changed, changed) if changed else None

    def _on_update_feedback(self, update_feedback: Callable[..., None], net: Network) -> None:
        before = dict(self.known_arrays)
        update_feedback(net)
        equation = self.rule.update_equation or self.rule.equation
        options = {name: value for name, value in vars(self.rule).items() if isinstance(value, float)}
        own = {id(array) for array in self.rule.memory.values()}  # excludes backpropagation's B, which is W
        changed = self._changed({name: array for name, array in self._rule_arrays().items() if id(array) in own})
        for name, array in changed.items():
            layer, _, symbol = name.rpartition(".")
            terms = {f"{symbol}_new": array, symbol: before.get(name)}
            terms |= {name: value for name, value in options.items() if _occurs(name, equation)}
            noise = self.noise[layer]
            self.record(
                "feedback_update",
                layer,
                f"Update of {layer}.{symbol} by the rule",
                equation,
                {**terms, **noise},
                {**{f"{layer}.{key}": drawn for key, drawn in noise.items()}, name: array},
            )
        if not changed and not self.rule.parameters():
            title = "The feedback is not updated in this step"
            unchanged = self.record("feedback_update", "", title, self.rule.equation, {}, {})
            unchanged.why = "The equation holds for the next step, too."


def _array_name(key: str, symbol: str) -> str:
    """The name in a trace of an array of the rule: ``"tanh1.A"`` for the key ``"tanh1/A"``, else layer and symbol."""
    return key.replace("/", ".") if "/" in key else f"{key}.{symbol}"


def _occurs(symbol: str, equation: str) -> bool:
    return re.search(rf"\b{symbol}\b", equation) is not None


def _copied(value: Any) -> Any:
    """Copy arrays to the host; return numbers and None as they are."""
    return numpy.array(backend.to_host(value)) if hasattr(value, "shape") else value


def _renamed(text: str, symbol: str) -> str:
    """Replace W by another parameter in an equation."""
    return re.sub(r"\b(d?)W(_new)?\b", rf"\g<1>{symbol}\g<2>", text)
