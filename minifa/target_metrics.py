"""Targets beside those of backpropagation and of the Gauss-Newton method, and the two conditions under which target
propagation with a fixed map learns.

For a layer with the activity h, a batch of n examples, the output error n e of each example, and the derivatives
J = d(outputs)/dh of each example (`minifa.jacobians`), all at the same weights:

    h - t               the rule's step against its target: n eta delta
    n e @ J             backpropagation's direction: its delta for one example
    n e @ pinv(J).T     the Gauss-Newton direction: the shortest step of h that removes n e, to first order

The Hessian of the loss is left out, as in the code of Meulemans et al. 2020, "A theoretical framework for target
propagation"; a damping d gives n e @ (J J.T + d I)^-1 @ J. With the J of all layers side by side, the same formula is
the minimum-norm direction of Meulemans et al. 2021, "Credit assignment in neural networks through deep feedback
control". For one example, the Gauss-Newton direction at a weighted layer's output times its input is the Gauss-Newton
step of its weights times the squared norm of that input; for a batch this does not hold.

The conditions are those of Shibuya et al. 2023, "Fixed-weight difference target propagation". With the derivatives J_f
of a block and J_g of the map that sends its targets down, at the activities of each example:

    weak      trace(J_f J_g) > 0
    strict    every eigenvalue of J_f J_g has a positive real part
"""

from __future__ import annotations

__all__ = ["feedback_conditions", "gauss_newton", "minimum_norm", "target_alignment"]

import math
from collections.abc import Sequence
from typing import Any

import numpy

from . import backend
from .backend import Array, xp
from .jacobians import jacobians
from .layers.activations import Activation
from .layers.base import A_RULE, Listen, Pass
from .layers.linear import Linear
from .layers.observer import Observer, observing
from .losses import Loss
from .metrics import mean_angle, to_float
from .network import A_NETWORK, Network
from .rules.backprop import BP
from .rules.base import A_LOSS, Rule, check_parts
from .rules.blocks import Block, caches_restored
from .rules.difference_targets import FWDTP
from .rules.recorded_targets import activities_and_errors
from .validation import check_between, check_list, check_type

QUANTITIES = ("bp_angle", "gn_angle", "target_size")
SMALL = 1 << 28  # bytes: smaller derivatives are not checked against the free memory
PER_ENTRY = 40  # bytes for each entry of the derivatives: their two copies in float64, and the decomposition


@backend.quietly
def target_alignment(
    net: Network, rule: Rule, x: Array, y: Any, loss: Loss, damping: float = 0.0
) -> dict[str, dict[str, float | None]]:
    """The rule's targets beside those of backpropagation and Gauss-Newton, at every layer of `Rule.targets`.

    From one pass under the rule, one under backpropagation, and n_out backward passes. Nothing is changed.

    Args:
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.
        damping: as for `gauss_newton`.

    Returns:
        By layer name: ``bp_angle`` and ``gn_angle``, the angle in degrees of h - t to backpropagation's and to the
        Gauss-Newton direction, and ``target_size``, norm(h - t) / norm(h). Each is a mean over the examples in which it
        is defined (neither vector is zero); None if there are none. Empty for rules that compute no errors, and without
        layers that a rule teaches with other rows than those of x (`minifa.rules.ForwardForward`).

    Raises:
        TypeError: an argument that is not a Network, Rule or Loss.
        ValueError: as for `gauss_newton`.

    >>> net = mf.Network([mf.Linear(2, 3), mf.Tanh(), mf.Linear(3, 2)])
    >>> rule, x = mf.rules.BP().attach(net), mf.asarray([[1.0, 2.0], [0.0, 1.0]])
    >>> aligned = mf.target_metrics.target_alignment(net, rule, x, [0, 1], mf.SoftmaxCrossEntropy())
    >>> list(aligned), aligned["tanh1"]["bp_angle"]
    (['tanh1', 'linear2'], 0.0)
    """
    check_parts(net, rule, loss)
    pairs = activities_and_errors(rule, net, x, y, loss)
    own = {name: (h, delta) for name, (h, delta) in pairs.items() if len(h) == len(x)}
    if not own:
        return {}
    true = activities_and_errors(BP().attach(net), net, x, y, loss, own)
    directions = gauss_newton(net, x, y, loss, list(own), damping)
    values = {
        name: (
            mean_angle(delta, true[name][1] if name in true else None),
            mean_angle(delta, directions[name]),
            mean_ratio((rule.eta * len(h)) * delta, h),
        )
        for name, (h, delta) in own.items()
    }
    return {name: dict(zip(QUANTITIES, map(to_float, row), strict=True)) for name, row in values.items()}


def mean_ratio(a: Array, b: Array) -> Array:
    """Mean over examples of norm(a) / norm(b), without the examples in which b is zero."""
    above, below = (xp.sqrt((rows * rows).sum(axis=1)) for rows in (a.reshape(len(a), -1), b.reshape(len(b), -1)))
    defined = below > 0
    ratios = xp.where(defined, above / xp.where(defined, below, xp.ones_like(below)), xp.zeros_like(above))
    return xp.where(defined.any(), ratios.sum() / xp.maximum(defined.sum(), 1), math.nan)


@backend.quietly
def gauss_newton(
    net: Network, x: Array, y: Any, loss: Loss, names: Sequence[str], damping: float = 0.0
) -> dict[str, Array]:
    """The Gauss-Newton direction of every example at the outputs of these layers: n e @ pinv(J).T.

    Computed in float64. Singular values of J below the rounding errors of the network's dtype count as 0.

    Args:
        x: a batch (N, ...) on the backend. y: its targets, as for `Rule.gradients`.
        names: names of the layers.
        damping: d >= 0 of n e @ (J J.T + d I)^-1 @ J, in the units of squared singular values of J.

    Returns:
        By layer name, an array of the shape of the layer's output, (N, ...); NaN for examples whose derivatives or
        errors are not finite. A target in this direction is h - eta times it.

    Raises:
        TypeError: an argument of the wrong type.
        KeyError: an unknown layer.
        ValueError: a negative damping; batch norm, as for `minifa.jacobians.jacobians`; derivatives that exceed the
            free memory.

    With one linear layer above h, J is W.T for every example:

    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1)])
    >>> net["linear2"].W, x, y = mf.asarray([[4.0]]), mf.asarray([[0.0]]), mf.asarray([[-2.0]])
    >>> mf.target_metrics.gauss_newton(net, x, y, mf.HalfSquaredError(), ["linear1"])["linear1"].tolist()  # 2 / 4
    [[0.5]]
    """
    J, error, shapes = _derivatives(net, x, y, loss, names)
    damping = check_between(damping, "damping", 0, math.inf)
    return {name: _least_squares(J[name], error, damping).reshape(shapes[name]) for name in J}


@backend.quietly
def minimum_norm(
    net: Network, x: Array, y: Any, loss: Loss, names: Sequence[str], damping: float = 0.0
) -> dict[str, Array]:
    """The minimum-norm direction of every example: the joint step of the outputs of all these layers, each moved in
    addition to what the layers below it change, that removes the output error n e with the smallest total norm.

    Args:
        net, x, y, loss, names, damping: as for `gauss_newton`; at least one name.

    Returns:
        As for `gauss_newton`. For a single layer it is the Gauss-Newton direction.

    Raises:
        TypeError, KeyError, ValueError: as for `gauss_newton`; no names.

    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1)])
    >>> net["linear2"].W, x, y = mf.asarray([[2.0]]), mf.asarray([[0.0]]), mf.asarray([[-5.0]])
    >>> both = mf.target_metrics.minimum_norm(net, x, y, mf.HalfSquaredError(), ["linear1", "linear2"])
    >>> [step.round(6).tolist() for step in both.values()]  # 2 * 2 + 1 * 1 = 5
    [[[2.0]], [[1.0]]]
    """
    J, error, shapes = _derivatives(net, x, y, loss, names)
    damping = check_between(damping, "damping", 0, math.inf)
    if not J:
        raise ValueError("names must name at least one layer, whose outputs are moved, got none")
    joint = _least_squares(xp.concatenate(list(J.values()), axis=2), error, damping)
    steps, first = {}, 0
    for name, part in J.items():
        units = part.shape[2]
        steps[name] = joint[:, first : first + units].reshape(shapes[name])
        first += units
    return steps


def _derivatives(
    net: Network, x: Array, y: Any, loss: Loss, names: Sequence[str]
) -> tuple[dict[str, Array], Array, dict[str, tuple[int, ...]]]:
    """By layer name J (N, n_out, units), the output error n e (N, n_out), and by layer name the shapes (N, ...)."""
    check_type(net, Network, A_NETWORK)
    check_type(loss, Loss, A_LOSS)
    for name in check_list(names, str, "names must be a list of layers' names"):
        net[name]  # raises KeyError
    bp, listen = BP().attach(net), Listen(names, True, net.step, update_statistics=False)
    with net.preserved(), observing(Observer()):
        rows = bp.check_batch(net, x, y, loss)
        bp.compute_error(net.forward(x, listen), rows, loss)
    error = bp.require(bp.error).reshape(len(x), -1) * len(x)
    shapes = {name: activity.shape for name, activity in listen.outputs.items()}
    units = sum(math.prod(shape[1:]) for shape in shapes.values())
    _check_memory(error.size * units, f"the derivatives of the outputs by the activities of {', '.join(names)}", len(x))
    return jacobians(net, x, names, net.step), error, shapes


def _check_memory(entries: int, what: str, examples: int) -> None:
    """Raise ValueError if arrays of this many entries exceed the free memory."""
    needed = PER_ENTRY * entries
    if needed > SMALL and needed > backend.free_bytes():
        raise ValueError(
            f"{what}, for {examples} examples, would take {needed:,} bytes, more than is free: use fewer examples"
        )


def _least_squares(J: Array, error: Array, damping: float) -> Array:
    """error @ (J J.T + damping I)^-1 @ J for each example, (N, units); without damping error @ pinv(J).T."""
    finite = xp.isfinite(J).all(axis=(1, 2)) & xp.isfinite(error).all(axis=1)
    rounding = xp.finfo(J.dtype).eps * max(J.shape[1:])
    J64 = xp.where(finite[:, None, None], J, xp.zeros_like(J)).astype("float64")
    with backend.blas_limit():
        U, s, Vt = xp.linalg.svd(J64, full_matrices=False)
        known = s > rounding * s.max(axis=1, keepdims=True)
        squares = xp.where(known, s * s + damping, xp.ones_like(s))
        factors = xp.where(known, s / squares, xp.zeros_like(s))
        along = (error.astype("float64")[:, None, :] @ U)[:, 0] * factors
        direction = (along[:, None, :] @ Vt)[:, 0]
    return xp.where(finite[:, None], direction, math.nan).astype(J.dtype)


# The conditions of difference target propagation


@backend.quietly
def feedback_conditions(net: Network, rule: Rule, x: Array) -> dict[str, dict[str, float | None]]:
    """The weak and the strict condition at every layer through which the rule sends targets or errors.

    For a rule with maps g (`minifa.rules.way_back`): J_f of the block and J_g of g, at the activities of each example.
    Blocks with other layers than Linear and activations are left out. For other rules with a B of W's shape: the linear
    maps alone, J_f = W.T and J_g = B (for each group of a convolution's kernel), for which the trace is the sum of
    W * B.

    Args:
        rule: a rule that is attached to the network.
        x: a batch (N, ...) on the backend; used for maps g only.

    Returns:
        By the name of the weighted layer: ``trace``, the mean over examples of trace(J_f J_g); ``cosine``, the mean of
        trace(J_f J_g) / (norm(J_f) norm(J_g)), None if one of them is zero for all examples; ``weak``, the share of
        examples with a positive trace; ``strict``, the share of eigenvalues with a positive real part. Where J_f J_g is
        the larger of the two products, the eigenvalues are those of J_g J_f: all but zeros are the same.

    Raises:
        TypeError: an argument that is not a Network or Rule; a batch as for `Network.forward`.
        RuntimeError: the rule is not attached to this network.
        ValueError: a batch that does not fit the network; derivatives that exceed the free memory.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Linear(2, 2)])
    >>> rule = mf.rules.FA().attach(net)
    >>> rule.set_feedback("linear2", -net["linear2"].W)
    >>> conditions = mf.target_metrics.feedback_conditions(net, rule, mf.asarray([[1.0, 2.0, 3.0]]))
    >>> conditions["linear2"]["weak"], round(conditions["linear2"]["cosine"], 6)
    (0.0, -1.0)
    """
    check_type(net, Network, A_NETWORK)
    if check_type(rule, Rule, A_RULE).net is not net:
        raise RuntimeError(f"the rule {rule.label!r} is not attached to this network: call rule.attach(net) first")
    net.check_input(x)
    with net.preserved(), rule.preserved(), backend.blas_limit():
        if isinstance(rule, FWDTP):
            net.forward(x, rule.training_pass(net, update_statistics=False))
            return {
                block.layer.name: _condition(*_block_derivatives(rule, below, block))
                for below, block in zip(rule.blocks, rule.blocks[1:], strict=False)
                if block.layer.name in rule.memory and _is_elementwise(block)
            }
        matrices = dict(rule.B) if rule.B_corresponds_to_W else {}
        conditions = {}
        for layer in net.weighted:
            B = matrices.get(layer.name)
            if B is not None and B.shape == layer.weight_shape:
                groups = zip(layer.matrices(layer.W), layer.matrices(B), strict=True)
                Jf, Jg = (xp.stack(parts) for parts in zip(*((W.T, M) for W, M in groups), strict=True))
                conditions[layer.name] = _condition(Jf, Jg)
        return conditions


def _is_elementwise(block: Block) -> bool:
    """Whether the block is a Linear with nothing but activations after it."""
    return type(block.layer) is Linear and len(block.activations) == len(block.after)


def _block_derivatives(rule: FWDTP, below: Block, block: Block) -> tuple[Array, Array]:
    """(J_f, J_g) of a block of Linear and activations in the last pass: (N, n_out, n_in) and (N, n_in, n_out)."""
    h, y = rule.heard[below.end.name], rule.heard[block.end.name]
    layer, B = block.layer, rule.memory[block.layer.name]
    _check_memory(2 * len(h) * B.size, f"the derivatives of {layer} and of its map g", len(h))
    slope = _slope(block.activations, layer.project(h, layer.W, layer.b), rule)
    inner = {"gated": slope, "first": _slope(block.activations, y, rule)}.get(rule.g, xp.ones_like(y))
    outer = _slope(below.activations if rule.g == "last" else [], layer.carry(y, B), rule)
    return slope[:, :, None] * layer.W.T, outer[:, :, None] * B * inner[:, None, :]


def _slope(activations: Sequence[Activation], y: Array, rule: Rule) -> Array:
    """The derivative by y of these elementwise functions, one after another; ones if there are none."""
    with caches_restored(activations):
        for activation in activations:
            y = activation.forward(y, Pass(training=True))
        slope = xp.ones_like(y)
        for activation in reversed(activations):
            slope = activation.backward(slope, rule)
    return slope


def _condition(Jf: Array, Jg: Array) -> dict[str, float | None]:
    """The entries of `feedback_conditions` for J_f (N, n_out, n_in) and J_g (N, n_in, n_out)."""
    traces = (Jf * Jg.transpose(0, 2, 1)).sum(axis=(1, 2))
    norms = xp.sqrt((Jf * Jf).sum(axis=(1, 2)) * (Jg * Jg).sum(axis=(1, 2)))
    defined = norms > 0
    cosines = xp.where(defined, traces / xp.where(defined, norms, xp.ones_like(norms)), xp.zeros_like(norms))
    product = backend.to_host(Jf @ Jg if Jf.shape[1] <= Jg.shape[1] else Jg @ Jf)
    strict = math.nan
    if numpy.isfinite(product).all():  # on the host: few versions of CUDA have general eigenvalues
        values = numpy.linalg.eigvals(product)
        rounding = numpy.finfo(product.dtype).eps * product.shape[1] * abs(values).max(axis=1, keepdims=True)
        strict = (values.real > rounding).mean()
    measured = {
        "trace": traces.mean(),
        "cosine": xp.where(defined.any(), cosines.sum() / xp.maximum(defined.sum(), 1), math.nan),
        "weak": (traces > 0).mean(),
        "strict": strict,
    }
    return {key: to_float(value) for key, value in measured.items()}
