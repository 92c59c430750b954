"""Feedback that node perturbation teaches: the formula, the expected update, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from checks import data, linear_net

import minifa as mf
from minifa import Conv2d, Flatten, LeakyReLU, Linear, MaxPool, Network, Residual, Tanh
from minifa.layers.observer import Observer, observing
from minifa.rng import generator
from minifa.rules import PerturbedFeedback, make, perturbed_feedback
from minifa.testing.examples import batch, mlp, network

pytestmark = pytest.mark.usefixtures("float64")

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()


def degrees(net, rule, name):
    return float(mf.metrics.angle(net[name].W, rule.B[name]))


def test_perturbed_feedback_by_hand():
    net, (x, y), n = mlp(), data(), 8
    net.step = 7
    rule = make("perturbed_feedback:sigma=0.1,rate=0.5", seed=4).attach(net)
    B2, B3 = (rule.B[name].copy() for name in ("linear2", "linear3"))
    (W1, b1), (W2, b2), (W3, b3) = ((layer.W.copy(), layer.b.copy()) for layer in net.weighted)
    rule.gradients(net, x, y, HALF)
    cached = net["linear3"].cache
    mf.SGD(0.3).step(net, rule)
    xi2, xi3 = (
        0.1 * generator(4, "noise", name, 7).standard_normal((n, width))
        for name, width in (("linear2", 5), ("linear3", 6))
    )

    def passed(noise):
        h1 = np.tanh(x @ W1 + b1)
        h2 = np.tanh((h1 + noise * xi2) @ W2 + b2)
        return h1, h2, (h2 + noise * xi3) @ W3 + b3

    (h1, h2, output), noisy = passed(0), passed(1)[-1]
    np.testing.assert_allclose(cached, h2, rtol=1e-12)  # of the pass without noise
    # feedback alignment for the weights
    d3 = (output - y) / n
    d2 = d3 @ B3.T * (1 - h2**2)
    d1 = d2 @ B2.T * (1 - h1**2)
    for layer, W, h, d in zip(net.weighted, (W1, W2, W3), (x, h1, h2), (d1, d2, d3), strict=True):
        np.testing.assert_allclose(layer.W, W - 0.3 * h.T @ d, rtol=1e-12)
    # lambda = (L(xi) - L) / sigma^2 xi, of each example;  r = n delta B^T - lambda;  dB = r^T (n delta) / n
    rise = (((noisy - y) ** 2 - (output - y) ** 2).sum(axis=1) / 2)[:, None]
    for name, B, d, xi in (("linear2", B2, d2, xi2), ("linear3", B3, d3, xi3)):
        r = n * d @ B.T - rise / 0.1**2 * xi
        np.testing.assert_allclose(rule.B[name], B - 0.5 * r.T @ (n * d) / n, rtol=1e-11)


class Carried(Observer):
    """What each layer's weights carry down."""

    def __init__(self):
        self.below = {}

    def on_carry(self, layer, delta, below):
        self.below[layer.name] = below


def residual_maps():
    block = Residual([Conv2d(2, 3, 3, stride=2, padding=1), Tanh(), Conv2d(3, 3, 1)], [Conv2d(2, 3, 1, stride=2)])
    layers = [Conv2d(1, 2, 3, padding=1), Tanh(), block, LeakyReLU(0.2), MaxPool(2), Flatten(), Linear(6, 3)]
    return network(layers, (4, 8, 1))


@pytest.mark.parametrize("make_net", [mlp, residual_maps])
def test_the_loss_rises_by_the_noise_times_the_error_that_each_layer_carries(make_net):
    # the noise on a layer's input measures what its own weights carry, also where a shortcut reads the same input
    net = make_net()
    x, y = batch(shape=net.input_shape)
    rule = make("perturbed_feedback:sigma=1e-6").attach(net)
    rule.gradients(net, x, y, CE)
    with observing(carried := Carried()):
        make("bp").attach(net).gradients(net, x, y, CE)
    assert rule.xi.keys() == rule.B.keys() == carried.below.keys()
    expected = sum((len(x) * carried.below[name] * xi).reshape(len(x), -1).sum(axis=1) for name, xi in rule.xi.items())
    np.testing.assert_allclose(rule.rise, expected, rtol=1e-4, atol=1e-10)


def test_the_update_is_the_gradient_of_the_squared_error_of_the_estimate():
    net = residual_maps()
    rule = make("perturbed_feedback:sigma=0.1,rate=1").attach(net)
    rule.gradients(net, *batch(shape=net.input_shape), CE)
    before, step = rule.state(), np.random.default_rng(0)

    def squared_error(layer, B):
        delta, _ = rule.carried[layer.name]
        r = len(delta) * layer.carry(delta, B) - perturbed_feedback.estimate(rule, layer)
        return (r * r).sum() / (2 * len(delta))

    slopes = {}
    for layer in rule.layers_with_feedback(net):  # it is quadratic in B: differences of any size are exact
        B, D = before[layer.name], step.standard_normal(layer.weight_shape)
        slopes[layer.name] = D, (squared_error(layer, B + D) - squared_error(layer, B - D)) / 2
    rule.update_feedback(net)
    for name, (D, slope) in slopes.items():
        assert ((before[name] - rule.B[name]) * D).sum() == pytest.approx(slope, rel=1e-9), name


def test_the_expected_update_of_the_feedback_in_a_linear_network():
    net, (x, y), n = linear_net(4, 6, 5, 3), data((4,), n=8), 8 * 500
    x, y = np.tile(x, (500, 1)), np.tile(y, (500, 1))  # 500 draws of the noise in a batch
    rule = make("perturbed_feedback:rate=1").attach(net)
    B2, B3 = (rule.B[name].copy() for name in ("linear2", "linear3"))
    W2, W3 = net["linear2"].W, net["linear3"].W
    changes = {"linear2": [], "linear3": []}
    for net.step in range(12):
        rule.gradients(net, x, y, HALF)
        rule.update_feedback(net)
        for name, B in (("linear2", B2), ("linear3", B3)):
            changes[name].append(B - rule.B[name])
            rule.set_feedback(name, B)
    d3 = n * rule.error
    d2, true2 = d3 @ B3.T, d3 @ W3.T
    # at the top E[dB] = (B - W) C, C = mean of d^T d;  below E[dB] = B C - W C', C' = mean of d_bp^T d
    expected = {"linear3": (B3 - W3) @ d3.T @ d3 / n, "linear2": (B2 @ d2.T - W2 @ true2.T) @ d2 / n}
    for name, known in expected.items():
        mean = np.mean(changes[name], axis=0)
        assert np.linalg.norm(mean - known) < 0.05 * np.linalg.norm(known), name
    naive = (B2 - W2) @ d2.T @ d2 / n
    assert np.linalg.norm(np.mean(changes["linear2"], axis=0) - naive) > 0.3 * np.linalg.norm(naive)


def test_with_exact_estimates_the_feedback_converges_geometrically(monkeypatch):
    # B - W shrinks by (1 - rate C) at each step of the top layer
    net, (x, y), n = linear_net(6, 8, 4), data((6,), n=64, n_out=4), 64
    monkeypatch.setattr(perturbed_feedback, "estimate", lambda rule, layer: n * layer.carry(rule.error, layer.W))
    rule = make("perturbed_feedback:rate=0.05").attach(net)
    W, difference = net["linear2"].W, rule.B["linear2"] - net["linear2"].W
    for _ in range(20):
        rule.gradients(net, x, y, HALF)
        d = n * rule.error
        difference = difference @ (np.eye(4) - 0.05 * d.T @ d / n)
        mf.SGD(0.0).step(net, rule)
    np.testing.assert_allclose(rule.B["linear2"] - W, difference, atol=1e-13)


class OneScalar(PerturbedFeedback):
    """Control: the sum of the losses of a batch instead of the loss of each example."""

    def gradients(self, net, x, y, loss):
        value = super().gradients(net, x, y, loss)
        self.rise = np.full_like(self.rise, self.rise.sum())
        return value


def test_the_loss_of_each_example_aligns_the_feedback_and_that_of_the_batch_does_not():
    # W is fixed: from about 90 degrees to below 15 in 200 steps
    angles = []
    for rule_class in (PerturbedFeedback, OneScalar):
        net, (x, y) = linear_net(6, 8, 4), data((6,), n=256, n_out=4)
        rule = rule_class(sigma=1e-3, rate=0.02).attach(net)
        start = degrees(net, rule, "linear2")
        for _ in range(200):
            rule.gradients(net, x, y, HALF)
            mf.SGD(0.0).step(net, rule)
        angles.append(degrees(net, rule, "linear2"))
    assert start > 45 and angles[0] < 15 and angles[1] > 40


@pytest.mark.parametrize(
    "layers, message",
    [
        ([Linear(4, 4), mf.BatchNorm(4), Linear(4, 2)], "by perturbation .* independent, and BatchNorm 'batchnorm1'"),
        ([Conv2d(1, 2, 3), Conv2d(2, 2, 3), Flatten(), Linear(8, 2)], "the input size of Conv2d 'conv2' must be known"),
    ],
)
def test_networks_that_cannot_be_perturbed_are_refused_by_name(layers, message):
    with pytest.raises(ValueError, match=message):
        make("perturbed_feedback").attach(Network(layers))


@pytest.mark.long
def test_a_scalar_trains_the_feedback_better_than_the_weights():
    # tanh, SGD 0.1, 20 epochs of the digits: the top B ends 20 degrees nearer to W than under fa
    digits, angles = mf.data.load("digits"), {}
    for description in ("fa", "perturbed_feedback"):
        with mf.using("numpy", "float32"):
            net = Network([Flatten(), Linear(64, 128), Tanh(), Linear(128, 10)], input_shape=(8, 8, 1))
            rule = make(description).attach(net)
            trainer = mf.Trainer(net, rule, CE, mf.SGD(lr=0.1))
            trainer.fit(digits.train, epochs=20, batch_size=64)
            angles[description] = degrees(net, rule, "linear2")
            assert trainer.evaluate(digits.test)["accuracy"] > 0.95
    assert angles["perturbed_feedback"] < 50 < 60 < angles["fa"]
