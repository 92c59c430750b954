"""Alignment of the feedback with the weights, and of a rule's errors and gradients with backpropagation's.

For a layer with weights W, feedback B and the error delta at its output:

    weight_angle     between W and B as vectors
    sign_agreement   fraction of entries with the same sign (1/2 is chance)
    norm_ratio       norm(B) / norm(W)
    local_angle      between the errors that B and W send down from the *same* delta
    true_angle       between this rule's delta and the delta of a full backpropagation pass
    gradient_angle   between this rule's dW and backpropagation's

Angles are in degrees; 90 is chance. Angles between errors are means over examples, without the examples in which one
of the two errors is zero. Quantities that a rule does not define (a direct rule sends nothing through W) are None.
"""

from __future__ import annotations

__all__ = ["alignment", "angle", "errors", "mean_angle", "sample_angles", "sign_agreement"]

import math
from typing import Any

from .backend import Array, quietly, require_float, require_like, xp
from .layers.base import Layer
from .layers.weighted import Weighted
from .linalg import norm
from .losses import Loss
from .network import Network
from .rules.backprop import BP
from .rules.base import Rule, check_parts

QUANTITIES = ("weight_angle", "sign_agreement", "norm_ratio", "local_angle", "true_angle", "gradient_angle")
Alignment = dict[str, dict[str, "float | None"]]


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
    own, true = _Listener(rule), _Listener(BP())
    with net.preserved(), rule.preserved():
        if rule.one_backward_pass:
            own_grads, true_grads = _both_ways(net, rule, x, y, loss, own, true)
        else:
            rule.gradients(net, x, y, loss)
            own_grads = _weight_gradients(net)
            BP().attach(net).gradients(net, x, y, loss)
            true_grads = _weight_gradients(net)
        # A direct rule's matrices are keyed by the layer they teach and do not correspond to its W, even if the shapes
        # are equal.
        used = dict(rule.B) if rule.crosses_weights else {}
        found: dict[str, tuple[Array, ...]] = {}
        for layer in net.weighted:
            B = used.get(layer.name)
            found[layer.name] = (
                *_matrices(layer.W, B),
                mean_angle(own.sent.get(layer.name), _true_carry(layer, own)),
                mean_angle(own.delta.get(layer.name), true.delta.get(layer.name)),
                None if own_grads[layer.name] is None else angle(own_grads[layer.name], true_grads[layer.name]),
            )
    return {
        name: {key: None if value is None else as_number(value) for key, value in zip(QUANTITIES, values, strict=True)}
        for name, values in found.items()
    }


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
            f"the rule {rule.name!r} makes no backward pass: it has no errors to set beside backpropagation's "
            "(its gradients can be compared: metrics.alignment)"
        )
    own, true = _Listener(rule), _Listener(BP())
    with net.preserved(), rule.preserved():
        _both_ways(net, rule, x, y, loss, own, true)
    return {layer.name: (own.delta.get(layer.name), true.delta.get(layer.name)) for layer in net.weighted}


def _both_ways(
    net: Network, rule: Rule, x: Array, y: Any, loss: Loss, own: _Listener, true: _Listener
) -> tuple[dict[str, Array | None], dict[str, Array | None]]:
    """One forward pass, then backward passes under the rule and under backpropagation. Returns both gradients of every
    W."""
    output = net.forward(x, rule.training_pass(net, update_statistics=False))
    rule.compute_error(output, y, loss)
    return _walk_back(net, own, rule.error), _walk_back(net, true, rule.error)


class _Listener:
    """Forwards `teach` and `carry` to the rule and records the results at every weighted layer."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.delta: dict[str, Array] = {}
        self.sent: dict[str, Array] = {}

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        delta = self.rule.teach(layer, delta)
        if isinstance(layer, Weighted) and delta is not None:
            self.delta[layer.name] = delta
        return delta

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        below = self.rule.carry(layer, delta)
        if below is not None:
            self.sent[layer.name] = below
        return below


def _walk_back(net: Network, listener: _Listener, error: Array | None) -> dict[str, Array | None]:
    net.clear_gradients()
    net.backward(error, listener)
    return _weight_gradients(net)


def _weight_gradients(net: Network) -> dict[str, Array | None]:
    return {layer.name: layer.grads["W"] for layer in net.weighted}


def _true_carry(layer: Weighted, own: _Listener) -> Array | None:
    """The error that W would send down from the rule's delta at this layer."""
    return layer.carry(own.delta[layer.name], layer.W) if layer.name in own.sent else None


def _matrices(W: Array, B: Array | None) -> tuple[Array | None, ...]:
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
    counts = ~xp.isnan(angles)
    known = counts.sum()
    mean = xp.where(counts, angles, xp.zeros_like(angles)).sum() / xp.maximum(known, 1)
    return xp.where(known > 0, mean, math.nan)


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
    for sizes in (
        lambda x: xp.abs(x).max(axis=1, keepdims=True),
        lambda x: xp.sqrt((x * x).sum(axis=1, keepdims=True)),
    ):
        size = sizes(rows)
        rows = rows / xp.where(size > 0, size, xp.ones_like(size))
    return rows


@quietly
def sign_agreement(a: Array, b: Array) -> Array:
    """Fraction of entries with the same sign, a scalar on the backend; zeros agree with zeros.

    Raises:
        TypeError, ValueError: as for `angle`.
    """
    _check_pair(a, b)
    return (xp.sign(a) == xp.sign(b)).mean()


def as_number(value: Array) -> float | None:
    """Convert to a Python float; None for an undefined value (NaN: an angle with a zero vector)."""
    number = float(value)
    return None if math.isnan(number) else number
