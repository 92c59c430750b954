"""Targets beside backpropagation's and Gauss-Newton's: known answers, undefined values, no side effects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import Invertible

import minifa as mf
from minifa import Flatten, Linear, Network, ReLU, Tanh
from minifa.jacobians import jacobians
from minifa.metrics import angle, mean_angle
from minifa.rules import BP, make
from minifa.target_metrics import feedback_conditions, gauss_newton, minimum_norm, target_alignment
from minifa.testing.examples import CHAIN_RULES, batch, chain, mlp, network, small_convnet

CE = mf.SoftmaxCrossEntropy()


def inverse(y):
    """x of y = x + tanh(x) / 2, by Newton's method."""
    x = y / 1.5
    for _ in range(50):
        x = x - (x + np.tanh(x) / 2 - y) / (1.5 - np.tanh(x) ** 2 / 2)
    return x


# --- known answers ----------------------------------------------------------------------------------------------------


def test_targets_through_exact_inverses_have_the_gauss_newton_direction(float64):
    """t_{l-1} = the exact inverse of block l at t_l: the angle is O(eta), while backpropagation's stays."""
    rng, loss = np.random.default_rng(0), mf.HalfSquaredError()
    layers = [Linear(8, 8), Invertible(), Linear(8, 8), Invertible(), Linear(8, 8), Invertible(), Linear(8, 8)]
    net, x, y = Network(layers), rng.normal(size=(5, 8)), rng.normal(size=(5, 8))
    for layer in net.weighted:
        layer.W = np.eye(8) + 0.2 * rng.normal(size=(8, 8))
    names = ["invertible1", "invertible2", "invertible3"]
    listen = mf.Listen(names)
    output, directions = net.forward(x, listen), gauss_newton(net, x, y, loss, names)
    angles = {}
    for eta in (1e-3, 1e-4):
        a = output - eta * (output - y)  # the target of block i + 1's weighted sum, from the last down
        for i, name in reversed(list(enumerate(names))):
            t = np.linalg.solve(net.weighted[i + 1].W.T, (a - net.weighted[i + 1].b).T).T
            a = inverse(t)
            angles[name, eta] = float(mean_angle(listen.outputs[name] - t, directions[name]))
    true = BP().attach(net)
    true.gradients(net, x, y, loss)
    for name in names:
        assert angles[name, 1e-3] < 0.1 and angles[name, 1e-4] < 0.11 * angles[name, 1e-3] + 1e-6
        assert float(mean_angle(true.activities[name] - true.targets[name], directions[name])) > 10


def test_the_gauss_newton_step_of_one_examples_weights(float64):
    """In the activities a = h @ W + b: h times pinv(J_a) e is the step of the weights, times the sum of squares of h
    (and 1 for the bias)."""
    net = mlp()
    x, y = batch(n=1, shape=(4,))
    step = gauss_newton(net, x, y, CE, ["linear2"])["linear2"]
    J = jacobians(net, x, ["linear2"])["linear2"][0]  # (n_out, units)
    h = np.append(np.tanh(x @ net["linear1"].W + net["linear1"].b), 1.0)
    by_weights = np.einsum("i,kj->kij", h, J).reshape(len(J), -1)
    output = net.forward(x, mf.Pass())
    error = CE(output, CE.target(CE.rows(y, 1, 3, output.dtype), output))[1][0]
    solved = np.linalg.pinv(by_weights) @ error
    outer = np.outer(h, step[0]).reshape(-1)
    assert float(angle(outer, solved)) < 1e-6
    assert np.linalg.norm(outer) / np.linalg.norm(solved) == pytest.approx((h * h).sum(), rel=1e-9)


def test_the_direction_of_a_narrow_layer_and_of_a_damped_one(float64):
    """2 units below 3 outputs: least squares; a large damping gives backpropagation's direction."""
    net = network([Linear(4, 2), Tanh(), Linear(2, 3)], (4,))
    x, y = batch(shape=(4,))
    bp = BP().attach(net)
    bp.gradients(net, x, y, CE)
    error, W = bp.error * len(x), net["linear2"].W
    expected = np.linalg.lstsq(W.T, error.T, rcond=None)[0].T
    np.testing.assert_allclose(gauss_newton(net, x, y, CE, ["tanh1"])["tanh1"], expected, rtol=1e-9)
    damped = gauss_newton(net, x, y, CE, ["tanh1"], damping=1e9)["tanh1"]
    np.testing.assert_allclose(1e9 * damped, error @ W.T, rtol=1e-6)


def test_the_minimum_norm_direction_removes_the_error_with_the_joint_step(float64):
    net = mlp()
    x, y = batch(shape=(4,))
    names = ["linear1", "linear2", "linear3"]
    steps, J = minimum_norm(net, x, y, CE, names), jacobians(net, x, names)
    bp = BP().attach(net)
    bp.gradients(net, x, y, CE)
    removed = sum(np.einsum("nku,nu->nk", J[name], steps[name]) for name in names)
    np.testing.assert_allclose(removed, bp.error * len(x), atol=1e-12)
    joint = np.concatenate([J[name] for name in names], axis=2)
    expected = np.einsum("nuk,nk->nu", np.linalg.pinv(joint), bp.error * len(x))
    np.testing.assert_allclose(np.concatenate(list(steps.values()), axis=1), expected, atol=1e-12)


def test_the_targets_of_backpropagation_are_one_step_down_the_gradient(float64):
    """t = h - n delta: the angle is 0 and the size n norm(delta) / norm(h), a mean over examples."""
    net = mlp()
    x, y = batch(shape=(4,))
    rule = BP().attach(net)
    rule.gradients(net, x, y, CE)
    h, t = rule.activities["tanh2"], rule.targets["tanh2"]
    delta = rule.error @ net["linear3"].W.T
    np.testing.assert_allclose((h - t) / len(x), delta, atol=1e-15)
    measured = target_alignment(net, rule, x, y, CE)
    sizes = len(x) * np.linalg.norm(delta, axis=1) / np.linalg.norm(h, axis=1)
    assert list(measured) == ["tanh1", "tanh2", "linear3"]
    assert measured["tanh2"]["target_size"] == pytest.approx(sizes.mean())
    assert {layer["bp_angle"] for layer in measured.values()} == {0.0}
    assert measured["linear3"]["gn_angle"] == pytest.approx(0, abs=1e-6)  # J is the identity
    assert 1 < measured["tanh2"]["gn_angle"] < 90


def test_the_angles_of_feedback_alignment_by_hand(float64):
    net = mlp()
    x, y = batch(shape=(4,))
    rule = make("fa").attach(net)
    rule.gradients(net, x, y, CE)
    error, W, B = rule.error, net["linear3"].W, rule.B["linear3"]
    measured = target_alignment(net, rule, x, y, CE)["tanh2"]
    assert measured["bp_angle"] == pytest.approx(float(mean_angle(error @ B.T, error @ W.T)))
    assert measured["gn_angle"] == pytest.approx(float(mean_angle(error @ B.T, error @ np.linalg.pinv(W))))


@pytest.mark.parametrize("eta", [1.0, 0.01])
def test_angles_do_not_depend_on_the_step_of_linear_targets(eta, float64):
    net, (x, y) = mlp(), batch(shape=(4,))
    measured = target_alignment(net, make(f"fwdtp:g=linear,eta={eta}").attach(net), x, y, CE)["tanh1"]
    reference = target_alignment(net, make("fwdtp:g=linear,eta=0.1").attach(net), x, y, CE)["tanh1"]
    assert measured["gn_angle"] == pytest.approx(reference["gn_angle"])
    assert measured["target_size"] == pytest.approx(10 * eta * reference["target_size"])


# --- the conditions of fixed maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["fa", "fwdtp:g=linear"])
def test_the_trace_of_linear_maps_is_the_sum_of_the_products_of_their_entries(description, float64):
    net = Network([Linear(4, 6), Linear(6, 5), Linear(5, 3)])
    rule = make(description).attach(net)
    for name, measured in feedback_conditions(net, rule, batch(shape=(4,))[0]).items():
        W, B = net[name].W, rule.B[name]
        values = np.linalg.eigvals(W.T @ B)
        assert measured["trace"] == pytest.approx((W * B).sum(), abs=1e-15)
        assert measured["cosine"] == pytest.approx(math.cos(math.radians(float(angle(W, B)))), abs=1e-14)
        assert measured["weak"] == float((W * B).sum() > 0)
        assert measured["strict"] == pytest.approx((values.real > 0).mean())


@pytest.mark.parametrize("g", ["last", "first", "gated"])
def test_the_derivatives_of_each_form_of_the_maps(g, float64):
    """The trace from difference quotients of the block and of the map."""
    net, (x, _) = mlp(), batch(n=2, shape=(4,))
    rule = make(f"fwdtp:g={g}").attach(net)
    rule.gradients(net, x, np.array([0, 1]), CE)
    h, y, step = rule.heard["tanh1"], rule.heard["tanh2"], 1e-6
    layer = net["linear2"]

    def f(h):
        return np.tanh(h @ layer.W + layer.b)

    def quotients(function, at):
        sides = [[function(at + sign * step * row) for sign in (1, -1)] for row in np.eye(at.shape[1])]
        return np.stack([(high - low) / (2 * step) for high, low in sides], axis=2)  # (N, out, in)

    Jf, Jg = quotients(f, h), quotients(lambda y: rule.send(1, y), y)
    measured = feedback_conditions(net, rule, x)
    assert list(measured) == ["linear2", "linear3"]
    assert measured["linear2"]["trace"] == pytest.approx(np.trace(Jf @ Jg, axis1=1, axis2=2).mean(), rel=1e-6)
    values = np.linalg.eigvals(Jg @ Jf)  # 5 x 5; the larger product has a sixth eigenvalue, 0
    assert measured["linear2"]["strict"] == pytest.approx((values.real > 0).mean())


def test_units_that_are_off_have_no_positive_eigenvalue(engine):
    net = Network([Linear(4, 5), ReLU(), Linear(5, 5), ReLU(), Linear(5, 3)])
    net["linear2"].b[...] = -100
    rule = make("fwdtp:g=gated").attach(net)
    measured = feedback_conditions(net, rule, batch(shape=(4,))[0])["linear2"]
    assert measured == {"trace": 0.0, "cosine": None, "weak": 0.0, "strict": 0.0}


def test_conditions_are_those_of_maps_that_are_known():
    """Not of direct rules, and not of convolutions with targets; for errors, of kernels as matrices."""
    net, x = chain(), batch()[0]
    assert feedback_conditions(net, make("dfa").attach(net), x) == {}
    assert list(feedback_conditions(net, make("fwdtp").attach(net), x)) == ["linear1", "linear2"]
    assert list(feedback_conditions(net, make("fa").attach(net), x)) == ["conv2", "linear1", "linear2"]


# --- undefined values, side effects, refusals -------------------------------------------------------------------------


def test_examples_without_a_direction_do_not_count(engine):
    """All hidden units of the first example are off: h, and all directions there, are zero."""
    net = network([Linear(2, 4), ReLU(), Linear(4, 3)], (2,))
    net["linear1"].b[...] = 0
    net["linear1"].W[...] = abs(net["linear1"].W)
    x, y, rule = mf.asarray([[-1.0, -2.0], [1.0, 2.0]]), np.array([0, 1]), make("fa").attach(net)
    both = target_alignment(net, rule, x, y, CE)["relu1"]
    alone = target_alignment(net, rule, x[1:], y[1:], CE)["relu1"]
    assert both["target_size"] == pytest.approx(alone["target_size"], rel=1e-5)
    net["linear2"].W[...] = 0
    measured = target_alignment(net, rule, x, y, CE)["relu1"]
    assert measured["bp_angle"] is None and measured["gn_angle"] is None and measured["target_size"] > 0


def test_examples_that_are_not_finite_have_no_angle():
    net, (x, y) = mlp(), batch(shape=(4,))
    net["linear3"].W[...] = np.inf
    with mf.backend.quiet():
        assert np.isnan(gauss_newton(net, x, y, CE, ["tanh2"])["tanh2"]).all()


def test_rules_without_errors_have_no_targets():
    net, (x, y) = mlp(), batch(shape=(4,))
    assert target_alignment(net, make("weight_perturbation").attach(net), x, y, CE) == {}


@pytest.mark.parametrize("description", ["fa", "dfa", "brsf", "kolen_pollack", *CHAIN_RULES])
def test_measuring_changes_nothing(description, engine):
    """Training gives the same bits with and without a measurement before each update."""
    results = []
    for measured in (False, True):
        net = chain()
        rule, optimizer = make(description).attach(net), mf.SGD(0.1, momentum=0.9)
        for seed in range(2):
            if measured:
                assert target_alignment(net, rule, *batch(n=3, seed=20), CE)
                feedback_conditions(net, rule, batch(n=3, seed=20)[0])
            rule.gradients(net, *batch(n=3, seed=seed), CE)
            optimizer.step(net, rule)
        results.append({**net.state(), **rule.state()})
    for key, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][key])


def test_directions_have_the_shape_of_the_activities():
    net, (x, y) = Network([Flatten(), Linear(128, 6), Tanh(), Linear(6, 3)]), batch()
    net.freeze("linear1")  # no error of backpropagation arrives below linear2
    steps = {**gauss_newton(net, x, y, CE, ["flatten1", "tanh1"]), **gauss_newton(chain(), x, y, CE, ["maxpool1"])}
    assert {name: step.shape for name, step in steps.items()} == {
        "flatten1": (8, 128), "tanh1": (8, 6), "maxpool1": (8, 4, 4, 3),
    }  # fmt: skip


def test_refusals(monkeypatch):
    net, (x, y) = mlp(), batch(shape=(4,))
    with pytest.raises(ValueError, match="damping must be .* 0.*, got -1"):
        gauss_newton(net, x, y, CE, ["tanh1"], damping=-1)
    with pytest.raises(ValueError, match="BatchNorm 'batchnorm1' mixes the batch"):
        target_alignment(small := small_convnet(), BP().attach(small), *batch(), CE)
    with pytest.raises(RuntimeError, match="the rule 'fa' is not attached to this network"):
        feedback_conditions(net, make("fa"), x)
    monkeypatch.setattr("minifa.target_metrics.SMALL", 0)
    monkeypatch.setattr("minifa.backend.free_bytes", lambda: 1000)
    with pytest.raises(ValueError, match="by the activities of tanh1, tanh2, for 8 examples, would take 10,560 bytes"):
        gauss_newton(net, x, y, CE, ["tanh1", "tanh2"])  # 40 * 8 * 3 * (5 + 6)
    with pytest.raises(ValueError, match="the derivatives of Linear 'linear2' and of its map g"):
        feedback_conditions(net, make("fwdtp").attach(net), x)
