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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import numpy.typing as npt

from .. import backend, metrics
from ..backend import Array
from ..layers.base import Layer, Pass
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..optim import AN_OPTIMIZER, Optimizer
from ..rules.backprop import BP
from ..rules.base import A_RULE, Rule, check_parts
from ..validation import check_float, check_list, check_type
from .equations import with_numbers

Host = npt.NDArray[Any]

WHY = {
    "batch": "Before the step: the examples and their targets. Nothing is computed yet.",
    "forward": "Activity goes up.",
    "noise": "The rule shakes this layer, to see whether the loss rises or falls.",
    "loss": "How wrong the outputs are, and in which direction they should not go. The 1/n makes e the gradient of the "
    "batch's mean loss.",
    "teach": "The rule puts its own teaching signal in the place of whatever came from above.",
    "gradients": "What a synapse needs to change: its own input and the error that arrived at its output.",
    "feedback": "The question that tells the rules apart.",
    "carry": "The error goes down one layer. Backpropagation would have sent it through W.",
    "backward": "The layer's own exact derivative, under every rule.",
    "clip": "All gradients are scaled down together, so that their joint norm is not too large.",
    "update": "Against the gradient that the rule gave, as far as the learning rate says.",
    "constrain": "Signs and norms go back to where the optimizer's options hold them.",
    "feedback_update": "The feedback's turn to learn.",
}


@dataclass(frozen=True)
class Moment:
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
    >>> film = mf.trace(net, rule, [[10.0, 1.0]], mf.asarray([[0.0]]), loss, optimizer)
    >>> moment = film[1]
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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every term that is an array."""
        return {symbol: value.shape for symbol, value in self.terms.items() if isinstance(value, numpy.ndarray)}


class Trace(Sequence[Moment]):
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
    >>> film = mf.trace(net, rule, [[1.0, 2.0]], [0], loss, optimizer)
    >>> [moment.layer for moment in film if moment.kind == "gradients"]  # on the way back
    ['linear2', 'linear1']
    >>> [moment.arrays["linear1.dW"] is None for moment in (film[0], film[-1])]
    [True, False]
    """

    def __init__(self, moments: Sequence[Moment], net: Network, rule: Rule, value: float) -> None:
        self.moments = check_list(moments, Moment, "a trace is made of minifa.Moments")
        check_type(net, Network, "the network is a minifa.Network")
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

    def place_of(self, other: Trace, i: int) -> int:
        """The index in this trace that corresponds to moment i of ``other``, a trace of the same network under another
        rule: the moment with the same key, or the last earlier one whose key both have."""
        places = {key: place for place, key in enumerate(self.keys)}
        return next(places[key] for key in reversed(other.keys[: i + 1]) if key in places)

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
    W of linear1 moves
    b of linear1 moves
    The feedback learns nothing in this step
    >>> net["linear1"].W.tolist()  # the step has been made
    [[1.0]]
    """
    check_parts(net, rule, loss)
    check_type(optimizer, Optimizer, AN_OPTIMIZER)
    x = backend.asarray(x, net.dtype)
    rule.check_batch(net, x, y, loss)
    film = _Recorder(net, rule, loss, optimizer, _true_errors(net, rule, x, y, loss))
    film.start(x, y)
    with film.watching():
        value = rule.gradients(net, x, y, loss)
        film.look_for_gradients()
        optimizer.step(net, rule)
    return Trace(film.develop(), net, rule, float(value))


class _Listening(BP):
    """Backpropagation that records the error of every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, Array] = {}

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if delta is not None:
            self.errors[layer.name] = delta
        return delta


def _true_errors(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Array]:
    """The errors of backpropagation at every layer's output for this batch."""
    true = _Listening()
    with net.preserved(), rule.preserved():
        true.attach(net).gradients(net, x, y, loss)
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
    gave: Any = None  # the error sent by this moment, by which its receiver finds the sender


class _Recorder:
    """Records one step. Each `_hear_...` hook wraps the method in its name: it calls that method once and returns its
    result."""

    def __init__(self, net: Network, rule: Rule, loss: Loss, optimizer: Optimizer, true: Mapping[str, Array]) -> None:
        self.net, self.rule, self.loss, self.optimizer, self.true = net, rule, loss, optimizer, true
        self.takes: list[_PendingMoment] = []
        self.board: dict[str, Host] = {}  # current value of all arrays, by name
        self.passes: Counter[str] = Counter()  # forward passes of each layer so far
        self.outputs: dict[str, Host] = {}  # of each layer's last forward pass
        self.n = 0
        self.listeners = contextlib.ExitStack()  # closing it removes all hooks

    # Start and end

    def start(self, x: Array, y: Any) -> None:
        self.n = len(x)
        arrays = {"x": x, **self.net.parameters(), **self._statistics(), **self._kept()}
        arrays["targets"] = numpy.asarray(backend.to_host(y))
        self.take("batch", "", f"A batch of {self.n}", "x, targets", {"x": x, "targets": arrays["targets"]}, arrays)

    def develop(self) -> list[Moment]:
        """The list of moments. Each one has all array names of the step, with None for arrays not computed yet."""
        known: dict[str, Host | None] = dict.fromkeys(name for take in self.takes for name in take.arrays)
        moments = []
        for take in self.takes:
            known = {**known, **take.arrays}
            why = take.why or WHY[take.kind]
            moments.append(
                Moment(
                    take.kind,
                    take.layer,
                    take.title,
                    why,
                    take.equation,
                    take.terms,
                    known,
                    tuple(take.arrays),
                    take.angles,
                )  # fmt: skip
            )
        return moments

    # Recording

    def take(
        self, kind: str, layer: str, title: str, equation: str, terms: Mapping[str, Any], new: Mapping[str, Any]
    ) -> _PendingMoment:
        take = _PendingMoment(kind, layer, title, equation, {symbol: _copied(value) for symbol, value in terms.items()})
        self.takes.append(take)
        self.note(take, new)
        return take

    def note(self, take: _PendingMoment, new: Mapping[str, Any]) -> None:
        """Add new arrays to this moment and to the board."""
        for name, array in new.items():
            self.board[name] = take.arrays[name] = _copied(array)

    def known(self, equation: str, names: Mapping[str, str]) -> dict[str, Any]:
        """The values of the symbols of an equation, looked up by name on the board, or as attributes of the rule
        (``"rule.sigma"``, ``"rule.xi.linear1.W"``)."""
        found = {}
        for symbol, name in names.items():
            if name.startswith("rule."):
                _, attribute, *key = name.split(".", 2)
                value = getattr(self.rule, attribute)
                found[symbol] = value[key[0]] if key else value
            elif re.search(rf"\b{symbol}\b", equation) or symbol in ("W", "B"):
                found[symbol] = self.board.get(name)
        return found

    def _statistics(self) -> dict[str, Array]:
        return {f"{layer.name}.{key}": a for layer in self.net for key, a in layer.buffers().items()}

    def _kept(self) -> dict[str, Array]:
        """The feedback matrices and all other arrays in the rule's memory."""
        matrices = {f"{name}.B": B for name, B in self.rule.B.items()}
        shown = {id(B) for B in matrices.values()}
        others = {key: a for key, a in self.rule.memory.items() if id(a) not in shown}
        return {**matrices, **{key.replace("/", ".") if "/" in key else f"{key}.M": a for key, a in others.items()}}

    def _changed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays that differ from their value on the board."""
        return {
            name: array
            for name, array in arrays.items()
            if name not in self.board or not numpy.array_equal(self.board[name], backend.to_host(array))
        }

    # Hooks

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        with self.listeners:
            for layer in self.net:
                self._listen(layer, "forward", functools.partial(self._hear_forward, layer))
                if isinstance(layer, Weighted):
                    self._listen(layer, "store_gradients", functools.partial(self._hear_store_gradients, layer))
                else:
                    self._listen(layer, "backward", functools.partial(self._hear_backward, layer))
            for method in ("compute_error", "teach", "carry", "update_feedback"):
                self._listen(self.rule, method, getattr(self, f"_hear_{method}"))
            for method in ("clip", "move", "constrain"):
                self._listen(self.optimizer, method, getattr(self, f"_hear_{method}"))
            yield

    def _listen(self, owner: Any, method: str, hear: Callable[..., Any]) -> None:
        """Wrap the method of this object with `hear` until `listeners` closes."""
        before = vars(owner).get(method)  # a user-defined method of this instance
        setattr(owner, method, functools.partial(hear, getattr(owner, method)))
        if before is None:
            self.listeners.callback(delattr, owner, method)
        else:
            self.listeners.callback(setattr, owner, method, before)

    def _hear_forward(self, layer: Layer, forward: Callable[..., Array], x: Array, ctx: Pass) -> Array:
        if "after" not in vars(ctx):
            self._listen(ctx, "after", self._hear_after)
        heard = {"x": _copied(x), **{key: _copied(a) for key, a in layer.parameters().items()}}
        y = forward(x, ctx)
        self.passes[layer.name] += 1
        number = self.passes[layer.name]
        again = "" if number == 1 else f"@{number}"
        self.outputs[layer.name] = _copied(y)
        shaken = any(not numpy.array_equal(heard[key], self.board[f"{layer.name}.{key}"]) for key in layer.parameters())
        how = ", its parameters shaken" if shaken else ""
        new = {f"{layer.name}.y{again}": y, **self._changed(self._statistics())}
        if again and layer is self.net.layers[0]:
            new = {f"x{again}": x, **new}
        self.take(
            "forward", layer.name, f"Forward through {layer.name}{how}" + (f", pass {number}" if again else ""),
            layer.equation, {**heard, **layer.symbols(), "y": y}, new,
        )  # fmt: skip
        return y

    def _hear_after(self, after: Callable[..., Array], layer: Layer, y: Array) -> Array:
        heard = after(layer, y)
        if heard is not y:
            terms = {"y_shaken": heard, "y": y, "xi": heard - y}
            name = next(reversed(self.takes[-1].arrays))
            new = {name: heard, f"{layer.name}.xi": heard - y}
            self.take("noise", layer.name, f"{layer.name} is shaken", "y_shaken = y + xi", terms, new)
        return heard

    def _hear_compute_error(self, compute_error: Callable[..., Array], output: Array, y: Any, loss: Loss) -> Array:
        value = compute_error(output, y, loss)
        rule = self.rule
        terms = {"L": value, "a": output, "t": rule.target, "e": rule.error, "n": self.n, "n_out": output.shape[-1]}
        self.take(
            "loss", "", "The loss and its error", f"{loss.equation}\n{loss.error_equation}", terms,
            {"output": output, "t": rule.target, "loss": value, "e": rule.error},
        ).gave = rule.error  # fmt: skip
        return value

    def _hear_teach(self, teach: Callable[..., Array | None], layer: Layer, delta: Array | None) -> Array | None:
        taught = teach(layer, delta)
        if taught is None:
            return None
        if taught is delta:  # unchanged: assign the error to the moment that sent it
            sender = next((take for take in reversed(self.takes) if take.gave is delta), None)
            if sender is None:
                sender = self.take("loss", "", "The error that learning starts from", "e", {"e": delta}, {"e": delta})
                sender.gave = delta
            self._note_error(sender, layer, taught)
            if layer.name in self.true and sender.kind in ("carry", "backward"):
                sender.terms.setdefault("delta_bp", _copied(self.true[layer.name]))
        else:
            self._take_teaching(layer, taught)
        return taught

    def _take_teaching(self, layer: Layer, taught: Array) -> None:
        equation, names = self.rule.teach_equation(layer)
        terms = {**self.known(equation, names), "delta": taught, "n": self.n, "delta_bp": self.true.get(layer.name)}
        take = self.take("teach", layer.name, f"The rule teaches {layer.name}", equation, terms, {})
        take.gave = taught
        self._note_error(take, layer, taught)

    def _note_error(self, take: _PendingMoment, layer: Layer, delta: Array) -> None:
        """Record the error at this layer's output and backpropagation's error with the moment that produced it."""
        self.note(take, {f"{layer.name}.delta": delta})
        if layer.name in self.true:
            self.note(take, {f"{layer.name}.delta_bp": self.true[layer.name]})
            found = metrics.mean_angle(delta, self.true[layer.name])
            take.angles.setdefault("this delta and backpropagation's", metrics.to_float(found))

    def _hear_store_gradients(self, layer: Weighted, store_gradients: Callable[..., None], delta: Array) -> None:
        if f"{layer.name}.delta" not in self.board:  # the rule computes its own error here
            self._take_teaching(layer, delta)
        store_gradients(delta)
        if layer.frozen:
            return
        self._take_gradients(layer, layer.gradient_equation, {"x": layer.cached(), "delta": delta})

    def _take_gradients(self, layer: Layer, equation: str, terms: Mapping[str, Any]) -> _PendingMoment:
        grads = {f"d{key}": grad for key, grad in layer.grads.items() if grad is not None}
        new = {f"{layer.name}.{key}": grad for key, grad in grads.items()}
        return self.take("gradients", layer.name, f"The gradient of {layer.name}", equation, {**terms, **grads}, new)

    def look_for_gradients(self) -> None:
        """Record gradients that the rule has set itself, without a layer's `learn` or `backward`."""
        for layer in self.net:
            if any(g is not None and f"{layer.name}.d{key}" not in self.board for key, g in layer.grads.items()):
                equation, names = self.rule.teach_equation(layer)
                take = self._take_gradients(layer, equation, self.known(equation, names))
                take.why = "No error arrived: the rule has set this gradient itself."

    def _hear_carry(self, carry: Callable[..., Array | None], layer: Weighted, delta: Array) -> Array | None:
        below = carry(layer, delta)
        B = self.rule.B.get(layer.name) if self.rule.crosses_weights else None
        title = f"What carries the error down through {layer.name}? "
        asked = self.take(
            "feedback", layer.name, title + ("Nothing." if B is None else "B."), self.rule.equation, {}, {}
        )
        if B is not None:
            self.note(asked, {f"{layer.name}.B": B})
            asked.equation, names = self.rule.feedback_equation(layer)
            asked.terms.update(self.known(asked.equation, names))
        if B is None or below is None:
            asked.why = "No error crosses this weight: the layers below are taught directly, or not at all."
            return below
        if B.shape == layer.W.shape:
            asked.angles["W and B"] = metrics.to_float(metrics.angle(layer.W, B))
        taken = self.take(
            "carry", layer.name, f"Down through {layer.name}", self.rule.carry_equation(layer),
            {"delta_below": below, "delta": delta, "B": B, "W": layer.W}, {},
        )  # fmt: skip
        taken.gave = below
        if B is layer.W:
            taken.why = "The error goes down one layer, through the transpose of the weights themselves."
        by_weights = layer.carry(delta, layer.W)
        taken.angles["what B and W carry"] = metrics.to_float(metrics.mean_angle(below, by_weights))
        return below

    def _hear_backward(
        self, layer: Layer, backward: Callable[..., Array | None], delta: Array, rule: Rule
    ) -> Array | None:
        below = backward(delta, rule)
        grads = {f"d{key}": grad for key, grad in layer.grads.items() if grad is not None}
        terms = {"delta": delta, "delta_below": below, "y": self.outputs[layer.name], **grads}
        new = {f"{layer.name}.{key}": grad for key, grad in grads.items()}
        take = self.take(
            "backward", layer.name, f"Back through {layer.name}", layer.error_equation,
            {**terms, **layer.symbols(), **layer.parameters()}, new,
        )  # fmt: skip
        take.gave = below
        if any(True for _ in layer.children()):
            take.why = "What the branches of this block sent down is added where they part."
        return below

    # Optimizer

    def _hear_clip(self, clip: Callable[..., None], net: Network) -> None:
        clip(net)
        gradients = {f"{layer.name}.d{key}": g for layer in net for key, g in layer.grads.items() if g is not None}
        if changed := self._changed(gradients):
            equation = "every g = g * min(1, clip_norm / norm_of_all)"
            size = math.sqrt(sum(float((self.board[name].astype(float) ** 2).sum()) for name in gradients))
            terms = {"clip_norm": self.optimizer.clip_norm, "norm_of_all": size}
            self.take("clip", "", "Gradients are clipped", equation, terms, changed)

    def _hear_move(self, move: Callable[..., None], name: str, array: Array, gradient: Array) -> None:
        slots = {slot: _copied(a) for slot, a in self.optimizer.arrays.get(name, {}).items()}
        before = {slot: slots.get(slot, numpy.zeros(array.shape, array.dtype)) for slot in self.optimizer.slots}
        before["W"] = _copied(array)
        move(name, array, gradient)
        after = {"W_new": array, **{f"{slot}_new": a for slot, a in self.optimizer.arrays[name].items()}}
        terms = {**before, "dW": gradient, **after, "k": self.optimizer.counts[name]}
        options = {key: value for key, value in vars(self.optimizer).items() if isinstance(value, float)}
        options.update(zip(("beta1", "beta2"), getattr(self.optimizer, "betas", ()), strict=False))
        owner, _, key = name.removeprefix("feedback/").replace("/", ".").rpartition(".")
        feedback = name.startswith("feedback/")
        symbol = key if owner else "B"
        layer = owner or key
        self.take(
            "feedback_update" if feedback else "update",
            layer,
            f"{symbol} of {layer} moves" + (", as a weight does" if feedback else ""),
            _renamed(self.optimizer.equation, symbol),
            {**options, **{_renamed(one, symbol): value for one, value in terms.items()}},
            {f"{layer}.{symbol}": array},
        )

    def _hear_constrain(self, constrain: Callable[..., None], net: Network) -> None:
        constrain(net)
        if changed := self._changed(net.parameters()):
            self.take("constrain", "", "Weights are held", "signs and norms as the options say", changed, changed)

    def _hear_update_feedback(self, update_feedback: Callable[..., None], net: Network) -> None:
        before = dict(self.board)
        update_feedback(net)
        own = {id(array) for array in self.rule.memory.values()}  # excludes backpropagation's B, which is W
        changed = self._changed({name: array for name, array in self._kept().items() if id(array) in own})
        for name, array in changed.items():
            layer, _, symbol = name.rpartition(".")
            terms = {f"{symbol}_new": array, symbol: before.get(name)}
            self.take("feedback_update", layer, f"{symbol} of {layer} learns", self.rule.equation, terms, {name: array})
        if not changed and not self.rule.parameters():
            title = "The feedback learns nothing in this step"
            rests = self.take("feedback_update", "", title, self.rule.equation, {}, {})
            rests.why = "The next error will go as the equation says."


def _copied(value: Any) -> Any:
    """Copy arrays to the host; return numbers and None as they are."""
    return numpy.array(backend.to_host(value)) if hasattr(value, "shape") else value


def _renamed(text: str, symbol: str) -> str:
    """Replace W by another parameter in an equation."""
    return re.sub(r"\b(d?)W(_new)?\b", rf"\g<1>{symbol}\g<2>", text)
