"""`check_rule`: the checks that every learning rule of minifa passes, for user-defined rules."""

from __future__ import annotations

__all__ = ["check_rule"]

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy

from .. import backend
from ..backend import Array
from ..layers import Layer
from ..losses import Loss, SoftmaxCrossEntropy
from ..network import Network
from ..optim import SGD
from ..rng import check_seed
from ..rules import Rule
from ..training import local_numbers
from ..validation import check_mapping, check_type
from .differences import TOLERANCES
from .examples import inputs, mlp, small_convnet
from .failures import checking, on_host, require_array, require_equal
from .read_only import read_only
from .runs import learned, tolerance_factor, update

Formula = Callable[[Network, Rule, Array, Any, Loss], Mapping[str, Array]]
A_MAKER = "the rule must be a class derived from minifa.rules.Rule, or a function of the seed that makes one"
EXAMPLES = 8
UPDATES = 2


def check_rule(
    rule: Callable[[int], Rule],
    *,
    net: Callable[[], Network] | None = None,
    seed: int = 0,
    formula: Formula | None = None,
) -> None:
    """Check a learning rule: its gradients in float32 and float64, its feedback, its state.

    The rule is run on NumPy for two updates of SGD with momentum under the softmax cross-entropy, on a dense network
    and on a convolutional network with residual blocks, or on the given network. The checks, in this order:

    - attach: `Rule.attach` returns the rule, and the matrices of `Rule.B` fit the layers that they carry errors
      through;
    - gradients: those of every layer that learns exist and are finite, with the shape and dtype of the parameter (of
      the output layer only, if the class sets ``requires_errors = False``); weights, input, targets and errors are not
      written to; `Rule.memory` keeps its shapes and dtype when the optimizer updates the feedback; `Rule.local` has a
      number or None as the loss and the accuracy of a layer;
    - formula, if one is given: its gradients are those of the rule, before and after an update, in float64;
    - repetition: a second rule of the same seed, and a second `Rule.attach` of the same rule, give the same bits;
    - measuring: `Rule.activities` and `Rule.targets`, predictions, and another batch inside `Rule.preserved`, between a
      pass and its update, change nothing;
    - the predictions: `Rule.predict` gives finite rows, which do not depend on the batches;
    - the constraints, of a class that overrides `Rule.constrain`: a frozen layer keeps its weights;
    - state: a new rule that loads the state gives the same bits;
    - backend: on another backend than NumPy (`minifa.use`), the numbers of NumPy.

    Args:
        rule: a class, or a function that makes a rule from a seed, as ``lambda seed: minifa.rules.FA(seed,
            init="zero")``.
        net: a function that makes a network with known ``input_shape``; called several times.
        seed: of the rule.
        formula: the rule as written in a paper, called as ``formula(net, rule, x, y, loss)`` with the attached rule
            after its pass, with class indices y; it returns the expected gradients by name, those of weights under
            the layer's name (``{"linear1": dW1}``) or all under the names of `Network.gradients`.

    Raises:
        AssertionError: a check fails; the message names the check, the network, the expected and the computed result.
        TypeError: an argument of the wrong type, or a function that does not return what it should.
        ValueError: a seed out of range, a network whose ``input_shape`` is not known, or a formula of a layer that the
            network does not have.

    >>> from minifa.testing import check_rule
    >>> class Half(mf.rules.Rule):
    ...     def feedback(self, layer):
    ...         return layer.W / 2
    >>> def formula(net, rule, x, y, loss):
    ...     delta = rule.error @ net["linear3"].W.T / 2 * (1 - net["tanh2"].cache ** 2)
    ...     return {"linear3": net["tanh2"].cache.T @ rule.error, "linear2": net["tanh1"].cache.T @ delta}
    >>> def dense():
    ...     return mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 6), mf.Tanh(), mf.Linear(6, 3)])
    >>> check_rule(Half)
    >>> check_rule(Half, net=dense, formula=formula)
    >>> check_rule(mf.rules.FA, net=dense, formula=formula)
    Traceback (most recent call last):
    AssertionError: the formula of FA 'fa' on the given network in float64: linear2.W differs by ...
    """
    if not callable(rule) or (isinstance(rule, type) and not issubclass(rule, Rule)):
        raise TypeError(f"{A_MAKER}, got {rule!r}")
    if net is not None and (not callable(net) or isinstance(net, (type, Network))):  # a network is callable, too
        raise TypeError(f"net must be a function that makes a minifa.Network, got {net!r}")
    if formula is not None and (not callable(formula) or isinstance(formula, type)):
        raise TypeError(f"formula must be a function of (net, rule, x, y, loss), got {formula!r}")
    seed = check_seed(seed)

    def make() -> Rule:
        return check_type(rule(seed), Rule, A_MAKER)

    networks: dict[str, Callable[[], Network]] = {
        "a dense network": mlp,
        "a convolutional network": partial(small_convnet, batch_norm=False),
    }
    for where, make_net in networks.items() if net is None else [("the given network", net)]:
        for dtype in ("float32", "float64"):
            with backend.using("numpy", dtype):
                _check(_Example(make, make_net, f"{where} in {dtype}"), formula if dtype == "float64" else None)
        if backend.name() != "numpy":
            _check_backend(_Example(make, make_net, f"{where} on the backend {backend.name()}"))


class _Example:
    """A rule and a network, made anew for every check, and one batch.

    Args:
        make, make_net: make the rule and the network.
        where: the network and the dtype, for messages.
    """

    def __init__(self, make: Callable[[], Rule], make_net: Callable[[], Network], where: str) -> None:
        self.make, self.make_net = make, make_net
        rule, net = make(), self.network()
        self.title = f"{type(rule).__name__} {rule.label!r} on {where}"
        self.x = inputs(net.input_shape or (), EXAMPLES)
        self.y = numpy.arange(EXAMPLES) % math.prod(net.output_shape or ())
        self.loss = SoftmaxCrossEntropy()

    def network(self) -> Network:
        net = check_type(self.make_net(), Network, "net must be a function that makes a minifa.Network")
        if net.input_shape is None:
            raise ValueError("the network of a check must know its input_shape: minifa.Network(..., input_shape=...)")
        return net

    def attached(self) -> tuple[Network, Rule]:
        net = self.network()
        return net, self.make().attach(net)

    def train(self, net: Network, rule: Rule, between: Callable[[], None] = lambda: None) -> dict[str, numpy.ndarray]:
        """Two updates: all arrays, on the host."""
        results, optimizer = {}, SGD(0.01, momentum=0.9)
        for number in range(1, UPDATES + 1):
            arrays = update(net, rule, self.x, self.y, self.loss, optimizer, between)
            results.update({f"{name}, update {number}": array for name, array in on_host(arrays).items()})
        return results


def _check(example: _Example, formula: Formula | None) -> None:
    with checking("attach", example.title):
        _check_attach(example)
    with checking("the gradients", example.title):
        _check_gradients(example)
    if formula is not None:
        _check_formula(example, formula)
    with checking("the repetition", example.title):
        _check_repetition(example)
    with checking("measuring", example.title):
        _check_preserved(example)
    with checking("the predictions", example.title):
        _check_predictions(example)
    with checking("the constraints", example.title):
        _check_constraints(example)
    with checking("the state", example.title):
        _check_state(example)


def _check_attach(example: _Example) -> None:
    net, rule = example.network(), example.make()
    if rule.attach(net) is not rule:
        raise AssertionError("attach returned another object, expected the rule: end it with return self")
    _check_feedback(net, rule)


def _check_feedback(net: Network, rule: Rule) -> None:
    shapes = {layer.name: rule.feedback_shape(layer) for layer in rule.layers_with_feedback(net)}
    for name, B in rule.B.items():
        advice = "it carries the error through this layer and has the shape of its W"
        require_array(B, shapes.get(name), net.dtype, f"B of {name}", advice)
    for name, array in rule.memory.items():
        if array.dtype.kind == "f":
            require_array(array, None, net.dtype, f"memory of {name}", "the feedback stays finite")


def _check_gradients(example: _Example) -> None:
    net, rule = example.attached()
    _protect_errors(rule)
    x, y, optimizer = read_only(example.x), read_only(example.y), SGD(0.01, momentum=0.9)
    learning = [layer for layer in net if layer.trainable] if rule.requires_errors else [net.output_layer]
    shapes = {name: array.shape for name, array in rule.memory.items()}
    for _ in range(UPDATES):
        before = on_host(net.parameters())
        value = rule.gradients(net, x, y, example.loss)
        if not math.isfinite(value):
            raise AssertionError(
                f"gradients returned the loss {value}, expected a finite number: the batch's mean loss"
            )
        require_equal(net.parameters(), before, "gradients leaves the weights as they are; the optimizer updates them")
        local_numbers.add({}, rule, EXAMPLES)
        for layer in learning:
            for key, array in layer.parameters().items():
                advice = "an error must reach every layer that learns, or the class sets requires_errors = False"
                require_array(layer.grads.get(key), array.shape, net.dtype, f"gradient of {layer.name}.{key}", advice)
        _check_feedback(net, rule)
        for name, (array, gradient) in rule.parameters().items():
            advice = "parameters returns pairs (array, gradient)"
            require_array(gradient, array.shape, net.dtype, f"gradient of the feedback {name}", advice)
        optimizer.step(net, rule)
        _check_feedback(net, rule)
        if shapes != {name: array.shape for name, array in rule.memory.items()}:
            raise AssertionError("an update changed the names or shapes in memory: draw all of its arrays in draw")


def _protect_errors(rule: Rule) -> None:
    """Make every error of the backward pass read-only: a residual block hands one array to two branches."""
    teach = rule.teach

    def protected(layer: Layer, delta: Array | None) -> Array | None:
        if delta is not None:
            delta.flags.writeable = False
        taught = teach(layer, delta)
        if taught is not None:
            taught.flags.writeable = False
        return taught

    vars(rule)["teach"] = protected


def _check_formula(example: _Example, formula: Formula) -> None:
    net, rule = example.attached()
    optimizer = SGD(0.01)
    for _ in range(UPDATES):
        rule.gradients(net, example.x, example.y, example.loss)
        written = check_mapping(formula(net, rule, example.x, example.y, example.loss), "the result of formula")
        computed = net.gradients()
        expected = {
            name if name in computed else f"{name}.W": backend.numbers_of(gradient, f"the formula of {name}")
            for name, gradient in written.items()
        }
        if not expected or not expected.keys() <= computed.keys():
            known = ", ".join(layer.name for layer in net.weighted)
            raise ValueError(f"formula returns gradients by the names of layers, {known}; got {[*written]}")
        with checking("the formula", example.title):
            advice = "the rule and its written formula compute different gradients"
            require_equal({name: computed[name] for name in expected}, expected, advice, TOLERANCES["float64"])
        optimizer.step(net, rule)


def _check_repetition(example: _Example) -> None:
    net, rule = example.attached()
    first = example.train(net, rule)
    advice = "draw random numbers with self.draw_matrix, or from minifa.rng.generator with self.seed and net.step"
    require_equal(example.train(*example.attached()), first, f"a second rule of the same seed; {advice}")
    net = example.network()
    advice = "draw sets everything that the rule keeps, in self.memory"
    require_equal(example.train(net, rule.attach(net)), first, f"a second attach; {advice}")


def _check_preserved(example: _Example) -> None:
    net, rule = example.attached()

    def measure() -> None:
        activities, advice = rule.activities, "a target belongs to an activity, and stays finite"
        for name, target in rule.targets.items():
            require_array(target, activities[name].shape, net.dtype, f"target of {name}", advice)
        rule.predict(net, -example.x)
        with net.preserved(), rule.preserved():
            rule.gradients(net, -example.x[1:], example.y[1:], example.loss)

    advice = "an array in self.memory that a pass changes must be replaced by a new one, not written to"
    require_equal(example.train(net, rule, measure), example.train(*example.attached()), advice)


def _check_predictions(example: _Example) -> None:
    net, rule = example.attached()
    example.train(net, rule)
    whole = backend.asarray(rule.predict(net, example.x), net.dtype)
    require_array(whole, (EXAMPLES, *whole.shape[1:]), net.dtype, "predict", "one row of outputs for each example")
    single = {"predict": rule.predict(net, example.x, batch_size=1)}
    advice = "the outputs for an example must not depend on the others in its batch"
    require_equal(single, {"predict": whole}, advice, TOLERANCES[str(net.dtype)])


def _check_constraints(example: _Example) -> None:
    net, rule = example.network(), example.make()
    if not rule.constrains:
        return
    lowest = net.weighted[0]
    net.freeze(lowest.name)
    before = on_host(lowest.parameters())
    example.train(net, rule.attach(net))
    require_equal(lowest.parameters(), before, f"constrain must leave the weights of frozen layers: skip {lowest}")


def _check_state(example: _Example) -> None:
    net, rule = example.attached()
    example.train(net, rule)
    other, loaded = example.attached()
    other.load_state(net.state())
    other.step = net.step
    loaded.load_state(rule.state())
    for one, its_rule in ((net, rule), (other, loaded)):
        its_rule.gradients(one, example.x, example.y, example.loss)
    advice = "keep learned feedback in self.memory, which state and load_state copy"
    require_equal(learned(other, loaded), learned(net, rule), advice)


def _check_backend(example: _Example) -> None:
    dtype = str(backend.dtype())
    net, rule = example.attached()
    results = example.train(net, rule)
    with backend.using("numpy", dtype):
        on_numpy = _Example(example.make, example.make_net, "")
        expected = on_numpy.train(*on_numpy.attached())
    tolerance = TOLERANCES[dtype] * tolerance_factor(rule)
    with checking("the comparison with NumPy", example.title):
        require_equal(results, expected, "compute with minifa.backend.xp instead of numpy", tolerance)
