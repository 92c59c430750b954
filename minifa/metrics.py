"""Alignment of the feedback with the weights, and of a rule's errors and gradients with backpropagation's. The
gradient of a loss by the inputs. The confusion matrix of a classifier.

For a layer with weights W, feedback B and the error delta at its output:

    weight_angle     between W and B as vectors
    sign_agreement   fraction of entries with the same sign (1/2 is chance)
    norm_ratio       norm(B) / norm(W)
    local_angle      between the errors that B and W carry down from the *same* delta
    true_angle       between this rule's delta and the delta of a full backpropagation pass
    gradient_angle   between this rule's dW and backpropagation's

Angles are in degrees; 90 is chance. Angles between errors are means over examples, without the examples in which one
of the two errors is zero. Quantities that a rule does not define (a direct rule carries no error through W) are None.
"""

from __future__ import annotations

__all__ = [
    "NoInputGradient",
    "alignment",
    "angle",
    "confusion",
    "errors",
    "gradient_signs",
    "input_gradient",
    "mean_angle",
    "sample_angles",
    "sign_agreement",
    "unexplained_variance",
]

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy

from .array_checks import require_float, require_like
from .backend import Array, numbers_of, quietly, xp
from .layers.base import Layer
from .layers.observer import Observer, observing
from .layers.weighted import Weighted
from .linalg import norm
from .losses import Loss, check_classes
from .network import Network
from .registry import constructor_arguments
from .rules.backprop import BP
from .rules.base import Rule, check_parts
from .validation import check_choice, check_int

QUANTITIES = ("weight_angle", "sign_agreement", "norm_ratio", "local_angle", "true_angle", "gradient_angle")
Alignment = dict[str, dict[str, "float | None"]]
PATHS = ("rule", "true")  # of an error to the inputs: through the rule's feedback, or through the weights


class NoInputGradient(ValueError):
    """A rule carries no error to the inputs, or its answer is not the network's output."""


@quietly
def alignment(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> Alignment:
    """The quantities above for every weighted layer, from one forward pass and two backward passes.

    The passes use training statistics. Running statistics, gradients, caches and the rule's state are not changed.

    Args:
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.

    Raises:
        TypeError: an argument that is not a Network, Rule or Loss.
    """
    check_parts(net, rule, loss)
    with net.preserved(), rule.preserved():
        by_rule, by_bp = _passes(net, rule, x, y, loss)
        # A direct rule's matrices are keyed by the layer they teach and do not correspond to its W, even if the shapes
        # are equal.
        matrices = dict(rule.B) if rule.B_corresponds_to_W else {}
        values = {
            layer.name: _layer_alignment(layer, matrices.get(layer.name), by_rule, by_bp) for layer in net.weighted
        }
    return {name: dict(zip(QUANTITIES, map(to_float, row), strict=True)) for name, row in values.items()}


def _layer_alignment(layer: Weighted, B: Array | None, by_rule: _Recorder, by_bp: _Recorder) -> list[Array | None]:
    """The values of `QUANTITIES` for one layer, as arrays; None if undefined."""
    name, W = layer.name, layer.W
    carried, delta, gradient = by_rule.carried.get(name), by_rule.delta.get(name), by_rule.gradients[name]
    return [
        *_matrix_alignment(W, B),
        None if carried is None else mean_angle(carried, layer.carry(delta, W)),
        mean_angle(delta, by_bp.delta.get(name)),
        None if gradient is None else angle(gradient, by_bp.gradients[name]),
    ]


@quietly
def errors(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, tuple[Array | None, Array | None]]:
    """The errors at the output of every weighted layer, under this rule and under backpropagation, for the same batch
    and weights.

    The passes are those of `alignment` and do not change any state either.

    Args:
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.

    Returns:
        By layer name, a pair (the rule's delta, backpropagation's delta). Each has the shape of the layer's output,
        (N, ...), and includes the 1/N of the batch mean; None where no error arrives.

    Raises:
        TypeError: an argument that is not a Network, Rule or Loss.
        ValueError: the rule has no backward pass (pepita, the perturbation rules) and therefore no deltas.
    """
    check_parts(net, rule, loss)
    if not rule.one_backward_pass:
        raise ValueError(
            f"the rule {rule.label!r} has no backward pass and no errors to compare with backpropagation's: "
            "compare its gradients with metrics.alignment"
        )
    with net.preserved(), rule.preserved():
        by_rule, by_bp = _backward_passes(net, rule, x, y, loss)
    return {layer.name: (by_rule.delta.get(layer.name), by_bp.delta.get(layer.name)) for layer in net.weighted}


@quietly
def gradient_signs(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, float | None]:
    """For every weighted layer, the fraction of correct signs in the gradients of W for single examples: of all entries
    that are not 0 under backpropagation, those with the same sign under this rule. None if there is no such entry.

    Two passes for each example, which change as little as those of `alignment`. Some rules have a theorem about these
    signs (`minifa.rules.GEVB`); chance is 1/2.

    Args:
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.

    Raises:
        TypeError: an argument that is not a Network, Rule or Loss, or an invalid batch.
        RuntimeError: the rule is not attached to this network.
        ValueError: a batch or targets that do not match the network; batch norm, which needs more than one example.

    >>> net = mf.Network(mf.models.vector_mlp((4,), 3, hidden=(8, 8)), input_shape=(4,))
    >>> rule, x = mf.rules.GEVB().attach(net), mf.asarray(np.eye(4))
    >>> mf.metrics.gradient_signs(net, rule, x, [0, 1, 2, 0], mf.SoftmaxCrossEntropy())
    {'linear1': 1.0, 'vectorlinear1': 1.0, 'vectorlinear2': 1.0}
    """
    check_parts(net, rule, loss)
    agree, count = ({layer.name: 0.0 for layer in net.weighted} for _ in range(2))
    with net.preserved(), rule.preserved():
        rows = rule.check_batch(net, x, y, loss)
        for i in range(len(x)):
            by_rule, by_bp = _passes(net, rule, x[i : i + 1], rows[i : i + 1], loss)
            for name, true in by_bp.gradients.items():
                if true is not None and (own := by_rule.gradients[name]) is not None:
                    agree[name] += float(((xp.sign(own) == xp.sign(true)) & (true != 0)).sum())
                    count[name] += float((true != 0).sum())
    return {name: agree[name] / count[name] if count[name] else None for name in agree}


def _passes(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> tuple[_Recorder, _Recorder]:
    """What a pass under the rule and one under backpropagation record. Rules without a backward pass make passes of
    their own, of which only the gradients are recorded."""
    if rule.one_backward_pass:
        return _backward_passes(net, rule, x, y, loss)
    by_rule, by_bp = _Recorder(), _Recorder()
    for recorder, one in ((by_rule, rule), (by_bp, BP().attach(net))):
        one.gradients(net, x, y, loss)
        recorder.store_gradients(net)
    return by_rule, by_bp


def _backward_passes(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> tuple[_Recorder, _Recorder]:
    """One forward pass, then backward passes under the rule and under backpropagation."""
    rows = rule.check_batch(net, x, y, loss)
    output = net.forward(x, rule.training_pass(net, update_statistics=False))
    rule.compute_error(output, rows, loss)
    by_rule, by_bp = _Recorder(), _Recorder()
    for recorder, one in ((by_rule, rule), (by_bp, BP())):
        net.clear_gradients()
        with observing(recorder):
            net.backward(rule.error, one)
        recorder.store_gradients(net)
    return by_rule, by_bp


# The gradient by the inputs


@quietly
def input_gradient(net: Network, rule: Rule, x: Array, y: Any, loss: Loss, path: str) -> Array:
    """The gradient of each example's loss by its input, dL/dx (N, ...), without the 1/N of a batch mean; under a rule,
    what the rule computes in its place.

    The network is in evaluation mode: batch norm uses its running statistics, and dropout is inactive. Running
    statistics, gradients, caches and the rule's state are not changed, and feedback that is redrawn at every update
    (`minifa.rules.BRSF`) is not redrawn. A network made without ``input_error`` is accepted: the matrices of the
    layers below which no layer learns are drawn for these passes as `Rule.attach` draws them.

    Args:
        rule: the attached rule.
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.
        loss: a loss, or `minifa.attacks.Margin`.
        path: of the error to the inputs. "rule": through the rule's feedback, in every layer with weights, the lowest
            one included. "true": through the weights (backpropagation).

    Raises:
        TypeError: an argument of the wrong type, or an invalid batch.
        RuntimeError: the rule is not attached to this network.
        ValueError: another path; a batch or targets that do not match the network.
        NoInputGradient: "rule": the rule has no backward pass, carries no error to the inputs (direct rules, targets,
            local losses), or has no matrix for the lowest layer that could be drawn now (learned feedback, or
            feedback that depends on the initial weights, in a network made without ``input_error``). "true": the
            rule's answer is not the network's output (`minifa.rules.ForwardForward`).

    >>> net = mf.Network([mf.Linear(1, 1)])
    >>> net["linear1"].W, loss = mf.asarray([[3.0]]), mf.HalfSquaredError()
    >>> rule, x, y = mf.rules.BP().attach(net), mf.asarray([[1.0], [2.0]]), mf.asarray([[1.0], [0.0]])
    >>> mf.metrics.input_gradient(net, rule, x, y, loss, "true").tolist()  # (3 x - y) W
    [[6.0], [18.0]]
    """
    with input_gradients(net, rule, loss, path) as gradient:
        return gradient(x, y)


@contextlib.contextmanager
def input_gradients(net: Network, rule: Rule, loss: Loss, path: str) -> Iterator[Callable[[Array, Any], Array]]:
    """Context manager for many calls of `input_gradient`, which share its arguments and exceptions: a function that
    takes a batch and its targets. Everything is restored when the block ends."""
    check_parts(net, rule, loss)
    if rule.net is not net:
        raise RuntimeError(f"the rule {rule.label!r} is not attached to this network: call rule.attach(net) first")
    check_choice(path, "path", PATHS)
    with net.preserved(), rule.preserved(), observing(Observer()):
        teacher = _with_all_matrices(net, rule) if path == "rule" else _backpropagation(net, rule)

        @quietly
        def gradient(x: Array, y: Any) -> Array:
            rows = teacher.check_batch(net, x, y, loss)
            output = net.forward(x, teacher.training_pass(net, update_statistics=False))
            teacher.output, teacher.target = output, loss.target(rows, output)
            teacher.error = loss(output, teacher.target)[1]
            below = net.backward(teacher.error, teacher)
            if below is None:
                raise NoInputGradient(_carries_none(rule))
            return below

        with flags(net, frozen=True, needs_input_gradient=True):
            yield gradient


def _backpropagation(net: Network, rule: Rule) -> Rule:
    if type(rule).predict_batch is not Rule.predict_batch:
        raise NoInputGradient(
            f"under the rule {rule.label!r} the answer is not the network's output (Rule.predict_batch), and "
            "backpropagation computes no gradient of it"
        )
    return BP().attach(net)


def _with_all_matrices(net: Network, rule: Rule) -> Rule:
    """A rule with the feedback of this one in all layers with weights: the rule itself or, in a network made without
    ``input_error``, a copy with the missing matrices."""
    if not rule.one_backward_pass:
        raise NoInputGradient(f"the rule {rule.label!r} has no backward pass, and so no error at the inputs")
    if not rule.crosses_weights:
        raise NoInputGradient(_carries_none(rule))
    if net.input_error:
        return rule
    with flags(net, needs_input_gradient=True):
        copy = type(rule)(**constructor_arguments(rule)).attach(net)
    missing = sorted({key.partition("/")[0] for key in copy.memory.keys() - rule.memory.keys()})
    for key, array in rule.memory.items():
        again = copy.memory[key]
        if key.endswith(rule.statistics):
            again[...] = array
        elif missing and not bool((again == array).all()):  # learned, set, or drawn from the weights at the start
            raise NoInputGradient(
                f"the rule {rule.label!r} has no matrix for {', '.join(missing)}, through which the error would reach "
                "the inputs, and its feedback is learned, was set, or depends on the initial weights, so that the "
                "matrix cannot be drawn now: create the network with input_error=True before training"
            )
    return copy if missing else rule


def _carries_none(rule: Rule) -> str:
    return f"the rule {rule.label!r} carries no error to the inputs: the error of the lowest layer is not sent down"


@contextlib.contextmanager
def flags(layers: Iterable[Layer], **values: bool) -> Iterator[None]:
    """Set attributes of these layers inside the block. A frozen layer does in training what it does in evaluation, and
    stores no gradients."""
    before = [(layer, {key: getattr(layer, key) for key in values}) for layer in layers]
    try:
        for layer, _ in before:
            vars(layer).update(values)
        yield
    finally:
        for layer, saved in before:
            vars(layer).update(saved)


class _Recorder(Observer):
    """Records the errors at every weighted layer, the errors carried below it and the gradients of W."""

    def __init__(self) -> None:
        self.delta: dict[str, Array] = {}
        self.carried: dict[str, Array] = {}
        self.gradients: dict[str, Array | None] = {}

    def on_teach(self, layer: Layer, delta: Array | None, taught: Array | None) -> None:
        if isinstance(layer, Weighted) and taught is not None:
            self.delta[layer.name] = taught

    def on_carry(self, layer: Weighted, delta: Array, below: Array | None) -> None:
        if below is not None:
            self.carried[layer.name] = below

    def store_gradients(self, net: Network) -> None:
        self.gradients = {layer.name: layer.grads["W"] for layer in net.weighted}


def _matrix_alignment(W: Array, B: Array | None) -> tuple[Array | None, ...]:
    """Weight angle, sign agreement and norm ratio; None if the shapes of B and W differ (dense maps, direct
    matrices)."""
    if B is None or B.shape != W.shape:
        return None, None, None
    size = norm(W)
    ratio = norm(B) / xp.where(size > 0, size, xp.ones_like(size))
    return angle(W, B), sign_agreement(W, B), xp.where(size > 0, ratio, math.nan)


def _check_pair(a: Array, b: Array) -> None:
    """Raise TypeError or ValueError unless both are float arrays of the same shape."""
    require_float(a, "a comparison")
    require_like(b, a.shape, "a comparison", "a second array")


@quietly
def angle(a: Array, b: Array) -> Array:
    """Angle in degrees between two arrays as flattened vectors, a scalar on the backend; NaN if one of them is zero.

    Raises:
        TypeError, ValueError: arguments that are not arrays of the backend, or have different shapes.
    """
    _check_pair(a, b)
    return _angles(a.reshape(1, -1), b.reshape(1, -1))[0]


@quietly
def sample_angles(a: Array, b: Array) -> Array:
    """Angle in degrees between two errors (N, ...) for each example: (N,), NaN where one of the two is zero.

    Raises:
        TypeError, ValueError: as for `angle`.
    """
    _check_pair(a, b)
    return _angles(a.reshape(len(a), -1), b.reshape(len(b), -1))


@quietly
def mean_angle(a: Array | None, b: Array | None) -> Array | None:
    """Mean over examples of the angle between two errors (N, ...), without examples in which one error is zero."""
    if a is None or b is None:
        return None
    angles = sample_angles(a, b)
    defined = ~xp.isnan(angles)
    count = defined.sum()
    mean = xp.where(defined, angles, xp.zeros_like(angles)).sum() / xp.maximum(count, 1)
    return xp.where(count > 0, mean, math.nan)


def _angles(a: Array, b: Array) -> Array:
    """Angles in degrees between the rows of two matrices; NaN where a row is zero.

    Computed as 2 atan2(|u - v|, |u + v|) of the unit vectors (Kahan), which is accurate for small angles; the arc
    cosine loses half of the digits there.
    """
    u, v = _units(a), _units(b)
    angles = 2 * xp.arctan2(xp.sqrt(((u - v) ** 2).sum(axis=1)), xp.sqrt(((u + v) ** 2).sum(axis=1)))
    both = (xp.abs(u).max(axis=1) > 0) & (xp.abs(v).max(axis=1) > 0)
    return xp.where(both, angles * (180 / math.pi), xp.full_like(angles, math.nan))


def _units(rows: Array) -> Array:
    """The rows scaled to norm 1; zero rows stay zero. They are first divided by their largest entry, so that no square
    overflows."""
    rows = _divided(rows, xp.abs(rows).max(axis=1, keepdims=True))
    return _divided(rows, xp.sqrt((rows * rows).sum(axis=1, keepdims=True)))


def _divided(rows: Array, sizes: Array) -> Array:
    """rows / sizes; rows of size 0 are not changed."""
    return rows / xp.where(sizes > 0, sizes, xp.ones_like(sizes))


@quietly
def sign_agreement(a: Array, b: Array) -> Array:
    """Fraction of entries with the same sign, a scalar on the backend; zeros agree with zeros.

    Raises:
        TypeError, ValueError: as for `angle`.
    """
    _check_pair(a, b)
    return (xp.sign(a) == xp.sign(b)).mean()


@quietly
def unexplained_variance(output: Array, target: Array) -> Array:
    """The fraction of the targets' variance that the outputs leave unexplained, a scalar on the backend:
    sum((output - target)^2) / sum((target - mean)^2), with the mean of each output over the examples. 0: no error; 1:
    no better than the mean; 1 minus it is R^2 (scikit-learn's r2_score with multioutput="variance_weighted"). NaN or
    infinity if all targets are equal.

    Args:
        output, target: rows (N, n_out) on the backend.

    Raises:
        TypeError, ValueError: arguments that are not arrays of the backend, or have different shapes.

    >>> target = mf.asarray([[0.0, 1.0], [2.0, 1.0]])
    >>> float(mf.metrics.unexplained_variance(target + 0.5, target))  # 4 * 0.25 / (1 + 1)
    0.5
    """
    _check_pair(output, target)
    deviation = target - target.mean(axis=0)
    return ((output - target) ** 2).sum() / (deviation * deviation).sum()


def confusion(y: Any, predicted: Any, classes: int | None = None) -> numpy.ndarray:
    """The confusion matrix (classes, classes), integers on the host: entry [i, j] is the number of examples of class i
    that were classified as j, as in scikit-learn. Its diagonal divided by its row sums is the accuracy of each class.

    Args:
        y: the true classes, integers (N,) from 0.
        predicted: the predicted classes (N,), as `minifa.Network.classify` returns them.
        classes: number of classes; None: up to the largest index in y and predicted.

    Raises:
        TypeError: classes that are not integers.
        ValueError: different numbers of examples, none, or a class outside 0..classes-1.

    >>> mf.metrics.confusion([0, 0, 1, 2], [0, 1, 1, 0])
    array([[1, 1, 0],
           [0, 1, 0],
           [1, 0, 0]])
    """
    true, found = numbers_of(y, "the true classes"), numbers_of(predicted, "the predicted classes")
    for what, given in (("true", true), ("predicted", found)):
        if given.dtype.kind not in "iu" or not given.size:
            raise TypeError(f"the {what} classes must be integers (N,), got {given.dtype} of shape {given.shape}")
    largest = max(int(true.max()), int(found.max()))
    n = largest + 1 if classes is None else check_int(classes, "the number of classes")
    for given in (true, found):
        check_classes(given, true.size, n)
    matrix = numpy.zeros((n, n), int)
    numpy.add.at(matrix, (true, found), 1)
    return matrix


def to_float(value: Array | None) -> float | None:
    """Convert to a Python float; None for an undefined value (None, or NaN: an angle with a zero vector)."""
    number = math.nan if value is None else float(value)
    return None if math.isnan(number) else number
