"""Rules that read errors from differences of activities, against their equations and backpropagation: predictive
coding and dual propagation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_close, data, gradients, linear_net

import minifa as mf
from minifa import Conv2d, Flatten, Linear, MaxPool, Network, ReLU, Tanh
from minifa.rules import DFC, PC, ZIL, DualProp, make
from minifa.testing import check_rule
from minifa.testing.examples import CHAIN_RULES, chain, mlp, network

pytestmark = pytest.mark.usefixtures("float64")

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()
NETS = {"dense": (mlp, (4,)), "convolutions and pooling": (chain, (8, 8, 2))}
RELAXATION = [one for one in CHAIN_RULES if make(one).name in ("zil", "pc", "dualprop")]


def tanh_net(activation=Tanh, sizes=(6, 10, 8, 7, 4), gain=1.0):
    """A dense net with weights N(0, gain^2 / fan_in)."""
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [Linear(a, b, init=f"gaussian({gain / math.sqrt(a)})"), activation()]
    return network(layers[:-1], sizes[:1], seed=2)


def weight_gradients(net, rule, x, y, loss=CE):
    rule.attach(net)
    return {name: g for name, g in gradients(net, rule, x, y, loss).items() if name.endswith("W")}


def relative_errors(net, rule, x, y, loss=CE):
    """Of each weight gradient, relative to backpropagation's."""
    true, own = (weight_gradients(net, one, x, y, loss) for one in (mf.rules.BP(), rule))
    return [float(np.linalg.norm(own[name] - true[name]) / np.linalg.norm(true[name])) for name in true]


def angles(net, rule, x, y, loss=CE):
    """Of each weight gradient to backpropagation's, in degrees."""
    found = mf.metrics.alignment(net, rule.attach(net), x, y, loss)
    return [found[layer.name]["gradient_angle"] for layer in net.weighted]


# --- Z-IL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("loss", [CE, HALF])
def test_z_il_is_backpropagation(kind, loss):
    make_net, shape = NETS[kind]
    assert max(relative_errors(make_net(), ZIL(), *data(shape, n=7), loss)) < 1e-14


def test_z_il_is_backpropagation_in_an_unusual_chain():
    """A norm below the first weights, a block without and one with two activations, a frozen layer, an activation at
    the output."""
    layers = [mf.BatchNorm(4), Linear(4, 5), Linear(5, 6), Tanh(), ReLU(), Linear(6, 3), Tanh()]
    net = network(layers, (4,))
    net.freeze("linear2")
    x, y = data()
    results = []
    for rule in (mf.rules.BP(), ZIL()):
        rule.attach(net).gradients(net, x, y, HALF)
        results.append({name: g for name, g in net.gradients().items() if g is not None})
    assert {"batchnorm1.gamma", "linear1.b"} <= results[1].keys() and "linear2.W" not in results[1]
    assert_close(*results)


def test_with_another_gamma_z_il_scales_each_layer_by_its_power():
    net, (x, y) = chain(), data((8, 8, 2))
    true, own = (gradients(net, rule.attach(net), x, y) for rule in (mf.rules.BP(), ZIL(gamma=0.5)))
    for depth, layer in enumerate(reversed(net.weighted)):
        for key in ("W", "b"):
            name = f"{layer.name}.{key}"
            np.testing.assert_allclose(own[name], 0.5**depth * true[name], rtol=1e-12, atol=1e-15)


def test_small_errors_keep_their_digits_in_float32():
    """An error 1e-6 of the activities: x - mu of rounded value nodes would have one digit."""
    with mf.backend.using("numpy", "float32"):
        net = mlp()
        x = mf.asarray(data()[0])
        y = net.forward(x) + np.float32(1e-6)
        assert max(relative_errors(net, ZIL(), x, y, HALF)) < 1e-5


# --- predictive coding ------------------------------------------------------------------------------------------------


def by_hand(net, x, y, steps, gamma, beta):
    """The value nodes' equations as they are written: nodes, predictions and weight gradients after the last step."""
    W, b = [layer.W for layer in net.weighted], [layer.b for layer in net.weighted]
    nodes = [x]
    for i in range(len(W)):
        nodes.append((np.tanh(nodes[-1]) if i else x) @ W[i] + b[i])
    goal = nodes[-1] - (nodes[-1] - y)  # a - n e of the half squared error
    if beta is None:
        nodes[-1] = goal

    def predict():
        h = [x, *(np.tanh(node) for node in nodes[1:-1])]
        return h, [h[i] @ W[i] + b[i] for i in range(len(W))]

    for _ in range(steps):
        _, mu = predict()
        eps = [node - one for node, one in zip(nodes[1:], mu, strict=True)]
        moved = [x]
        for i in range(len(W) - 1):
            slope = 1 - np.tanh(nodes[i + 1]) ** 2
            moved.append(nodes[i + 1] + gamma * (slope * (eps[i + 1] @ W[i + 1].T) - eps[i]))
        top = nodes[-1] if beta is None else nodes[-1] - gamma * (eps[-1] + beta * (nodes[-1] - goal))
        nodes = [*moved, top]
    h, mu = predict()
    scale = len(x) * (beta or 1)
    return nodes[1:], mu, [below.T @ (one - node) / scale for below, one, node in zip(h, mu, nodes[1:], strict=True)]


@pytest.mark.parametrize("beta", [None, 0.5])
def test_predictive_coding_by_hand(beta):
    net, (x, y) = mlp(), data()
    rule = PC(gamma=0.3, steps=5, beta=beta).attach(net)
    own = gradients(net, rule, x, y)
    nodes, mu, dW = by_hand(net, x, y, 5, 0.3, beta)
    for layer, node, prediction, gradient in zip(net.weighted, nodes, mu, dW, strict=True):
        assert_close({"x": rule.nodes[layer.name], "mu": rule.predictions[layer.name]}, {"x": node, "mu": prediction})
        np.testing.assert_allclose(own[f"{layer.name}.W"], gradient, rtol=1e-11, atol=1e-13)
        energy = float(((node - prediction) ** 2).sum()) / (2 * len(x))
        assert float(rule.local[layer.name]["loss"]) == pytest.approx(energy, rel=1e-11)
        target = rule.activities[layer.name] + node - prediction  # of the forward pass, by the prediction error
        np.testing.assert_allclose(rule.targets[layer.name], target, rtol=1e-11)


@pytest.mark.parametrize("beta", [None, 2.0, 0.1])
def test_the_equilibrium_of_a_linear_net(beta):
    """eps_L = r (S + I / beta)^-1, S = sum of P_l^T P_l over the layers; the clamp is beta -> infinity."""
    net, (x, y) = linear_net(5, 6, 4, 3, init="gaussian(0.4)"), data((5,))
    rule = PC(gamma=0.3, steps=600, beta=beta)
    rule.attach(net).gradients(net, x, y, HALF)
    P = [np.eye(3)]
    for layer in reversed(net.weighted[1:]):
        P.insert(0, layer.W @ P[0])  # W_{l+1} .. W_L
    S, r = sum(one.T @ one for one in P), y - net.forward(x)
    eps = r @ np.linalg.inv(S + (0 if beta is None else np.eye(3) / beta))
    for layer, one in zip(net.weighted, P, strict=True):
        error = rule.nodes[layer.name] - rule.predictions[layer.name]
        np.testing.assert_allclose(error, eps @ one.T, atol=1e-13)
    energy = sum(float(local["loss"]) for local in rule.local.values())
    assert energy == pytest.approx((eps @ S * eps).sum() / (2 * len(x)), rel=1e-12)


@pytest.mark.parametrize(("leak", "eta"), [(0.2, 0.1), (5.0, 1.0)])
def test_in_a_linear_net_deep_feedback_control_is_nudged_predictive_coding(leak, eta):
    """With beta = 1 / leak the errors differ by the factor (1 + leak) / leak. The weight gradients do so for eta = 1:
    with a smaller eta the controlled activities are nearer to the forward pass than the inferred ones."""
    net, (x, y) = linear_net(5, 6, 4, 3, init="gaussian(0.4)"), data((5,))
    control, coding = DFC(eta=eta, leak=leak, weights="product"), PC(gamma=0.2, steps=700, beta=1 / leak)
    own, inferred = (weight_gradients(net, rule, x, y, HALF) for rule in (control, coding))
    for layer in net.weighted:
        error = (control.free[layer.name] - control.controlled[layer.name]) / eta  # of dfc, divided by 1 + leak
        np.testing.assert_allclose(error, coding.predictions[layer.name] - coding.nodes[layer.name], atol=1e-10)
    equal = [np.allclose(own[name], (1 + leak) / leak * one, rtol=0, atol=1e-10) for name, one in inferred.items()]
    assert equal == ([True, True, True] if eta == 1 else [True, False, False])  # the first layer's input is x


def test_a_small_nudge_is_backpropagation_and_a_near_clamp_is_not():
    """With the nudge beta the angle to backpropagation falls in proportion to beta. With a clamp beta times as near it
    stays."""
    net, (x, direction) = tanh_net(sizes=(4, 5, 4, 3)), data()
    output, nudged, clamped = net.forward(x), [], []
    for beta in (0.1, 0.01, 0.001):
        nudged.append(max(angles(net, PC(gamma=0.4, steps=100, beta=beta), x, output - direction, HALF)))
        clamped.append(max(angles(net, PC(gamma=0.4, steps=100), x, output - beta * direction, HALF)))
    assert nudged[1:] == pytest.approx([nudged[0] / 10, nudged[0] / 100], rel=0.3) and nudged[2] < 0.3
    assert min(clamped) > 10 and clamped[1] == pytest.approx(clamped[2], rel=0.02)


class FixedPrediction(PC):
    """Predictions, slopes and presynaptic activities stay those of the forward pass (Millidge et al. 2020)."""

    def prediction_errors(self):
        self.inputs = self.h
        return list(self.shifts)


@pytest.mark.parametrize("options", [{"gamma": 1.0, "steps": 3}, {"gamma": 0.5, "steps": 90}])
def test_with_fixed_predictions_the_fixed_point_is_backpropagation(options):
    """With gamma 1 it is reached after L - 1 steps."""
    net, (x, y) = chain(), data((8, 8, 2))
    assert max(relative_errors(net, FixedPrediction(**options), x, y, HALF)) < 1e-13


# --- dual propagation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "order"), [(0.5, 2), (0.0, 1), (1.0, 1)])
def test_dual_propagation_approaches_backpropagation_by_its_order(alpha, order):
    net, (x, y) = tanh_net(), data((6,), n_out=4)
    errors = [max(relative_errors(net, DualProp(alpha=alpha, beta=beta), x, y, HALF)) for beta in (0.1, 0.01, 0.001)]
    slopes = -np.diff(np.log10(errors))
    assert slopes == pytest.approx([order, order], abs=0.05)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_in_a_linear_net_dual_propagation_is_backpropagation_for_every_beta(alpha):
    layers = [Conv2d(2, 3, 3), mf.AvgPool(2), Conv2d(3, 2, 2), Flatten(), Linear(8, 3)]
    net, (x, y) = network(layers, (8, 8, 2)), data((8, 8, 2))
    assert max(relative_errors(net, DualProp(alpha=alpha, beta=100.0), x, y, HALF)) < 1e-13


def test_with_relu_dual_propagation_is_backpropagation_below_a_threshold():
    """Until a nudge moves a unit over its kink."""
    net, (x, y) = tanh_net(ReLU), data((6,), n_out=4)
    exact, far = (relative_errors(net, DualProp(beta=beta), x, y, HALF) for beta in (1e-4, 1.0))
    assert max(exact) < 1e-10 and max(far) > 1e-3


@pytest.mark.parametrize("layers", ["activation, pooling", "pooling, activation", "two activations"])
def test_dual_propagation_approaches_backpropagation_in_convolutional_nets(layers):
    middle = {
        "activation, pooling": [Tanh(), MaxPool(2)],
        "pooling, activation": [MaxPool(2), Tanh()],
        "two activations": [Tanh(), mf.Sigmoid(), MaxPool(2)],
    }[layers]
    net = network([Conv2d(2, 3, 3), *middle, Conv2d(3, 2, 2), Tanh(), Flatten(), Linear(8, 3), Tanh()], (8, 8, 2))
    x, y = data((8, 8, 2))
    far, near = (max(relative_errors(net, DualProp(beta=beta), x, y, HALF)) for beta in (0.01, 0.001))
    assert far < 1e-3 and far / near == pytest.approx(100, rel=0.05)


def test_dual_propagation_by_hand():
    net, (x, y) = mlp(hidden=(5,)), data()
    rule = DualProp(alpha=0.3, beta=2.0).attach(net)
    own = gradients(net, rule, x, y)
    (W1, W2), (b1, b2) = zip(*((layer.W, layer.b) for layer in net.weighted), strict=True)
    a = x @ W1 + b1
    D2 = -2.0 * (np.tanh(a) @ W2 + b2 - y)
    s = D2 @ W2.T
    plus, minus = np.tanh(a + 0.7 * s), np.tanh(a - 0.3 * s)
    n = len(x)
    expected = {
        "linear2.W": (0.3 * plus + 0.7 * minus).T @ D2 / (-2 * n),
        "linear2.b": D2.sum(axis=0) / (-2 * n),
        "linear1.W": x.T @ (plus - minus) / (-2 * n),
        "linear1.b": (plus - minus).sum(axis=0) / (-2 * n),
    }
    assert_close(own, expected)
    assert_close(rule.differences, {"linear2": D2, "linear1": plus - minus})
    np.testing.assert_allclose(rule.targets["linear1"], a + plus - minus, rtol=1e-12)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", RELAXATION)
def test_the_common_checks_of_rules(description):
    check_rule(lambda seed: make(description, seed), net=chain)


@pytest.mark.parametrize("name", ["zil", "pc", "dualprop"])
def test_layers_that_send_no_targets_are_refused_by_name(name):
    for layer in (mf.BatchNorm(5), mf.Dropout(0.5), mf.Residual([Linear(5, 5), Tanh()])):
        net = Network([Linear(4, 5), layer, Tanh(), Linear(5, 3)])
        with pytest.raises(ValueError, match=f"the rule '{name}' can send no target through .*'{layer.name}'"):
            make(name).attach(net)


@pytest.mark.parametrize("description", RELAXATION)
def test_a_trace_shows_the_equation_of_each_layer_with_its_numbers(description):
    """The equations of the error and of the gradient give the stored arrays; the steps of inference are not shown."""
    net, (x, y) = mlp(), data()
    rule = make(description).attach(net)
    trace = mf.trace(net, rule, x, y, HALF, mf.SGD(lr=0.0))
    assert [moment.layer for moment in trace if moment.kind == "forward"] == [layer.name for layer in net]
    learned = {moment.layer: moment for moment in trace if moment.kind == "gradients"}
    for moment in trace:
        if moment.kind == "teach":
            left, right = moment.equation.split(" = ")
            terms = learned[moment.layer].terms
            np.testing.assert_allclose(moment.terms[left], eval(right, {}, moment.terms), rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(terms["delta"], moment.terms[left])
            np.testing.assert_allclose(terms["dW"], terms["x"].T @ terms["delta"], rtol=1e-12)
            del learned[moment.layer]
    assert not learned


def test_the_output_error_is_given_where_the_rule_says_so():
    net, (x, y) = mlp(), data()
    for description in RELAXATION:
        rule = make(description).attach(net)
        rule.gradients(net, x, y, HALF)
        given = np.allclose(net["linear3"].grads["b"], rule.error.sum(axis=0), rtol=1e-9)
        assert given == rule.gives_output_error, description


@pytest.mark.parametrize("description", RELAXATION)
def test_the_caches_stay_those_of_the_forward_pass(description):
    net, (x, y) = mlp(), data()
    make(description).attach(net).gradients(net, x, y, HALF)
    caches = [layer.cache for layer in net]
    net.forward(x, mf.Pass(training=True))
    for layer, cache in zip(net, caches, strict=True):
        np.testing.assert_array_equal(layer.cache, cache)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, math.nan])
def test_alpha_must_be_a_weight(alpha):
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        DualProp(alpha=alpha)


@pytest.mark.long
def test_error_rates_on_the_digits():
    """64-64-64-64-10 tanh, SGD 0.02 with momentum 0.9, 5 epochs, one seed: Z-IL and dual propagation follow
    backpropagation; predictive coding, which does not relax fully in 20 steps, learns more slowly."""
    images, wrong = mf.data.load("digits"), {}
    for description in ("bp", "zil", "dualprop", "pc"):
        with mf.backend.using("numpy", "float32"):
            hidden = [part for _ in range(3) for part in (Linear(64, 64, init="gaussian(0.125)"), Tanh())]
            net = Network([Flatten(), *hidden, Linear(64, 10, init="gaussian(0.125)")], input_shape=(8, 8, 1))
            trainer = mf.Trainer(net, make(description).attach(net), CE, mf.SGD(lr=0.02, momentum=0.9))
            trainer.fit(images.train, epochs=5, batch_size=32)
            wrong[description] = round(360 * (1 - trainer.evaluate(images.test)["accuracy"]))  # of 360
    assert wrong["bp"] < 13 and abs(wrong["zil"] - wrong["bp"]) <= 1 and abs(wrong["dualprop"] - wrong["bp"]) <= 1
    assert 15 < wrong["pc"] < 27
