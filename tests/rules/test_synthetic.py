"""Synthetic gradients: the formula, results that are known exactly, static modules, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close, assert_same_bits, data, gradients, linear_net, update

import minifa as mf
from minifa import Conv2d, Dropout, Flatten, Linear, MaxPool, Network, ReLU, Tanh
from minifa.rules import make
from minifa.testing.examples import batch, mlp

pytestmark = pytest.mark.usefixtures("float64")

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()


def gradients_of_modules(rule):
    return {key: gradient.copy() for key, (_, gradient) in rule.parameters().items()}


def set_exact_modules(net, rule):
    """A = P P.T and C = -P.T with P = W_{l+1} ... W_L for every layer of a linear network."""
    P = np.eye(net.weighted[-1].W.shape[1])
    for layer, above in reversed(list(zip(net.weighted, net.weighted[1:], strict=False))):
        P = above.W @ P
        rule.set_feedback(f"{layer.name}/A", P @ P.T)
        rule.set_feedback(f"{layer.name}/C", -P.T)


@pytest.mark.parametrize("condition", [True, False])
def test_synthetic_gradients_by_hand(condition):
    layers = [Linear(4, 5), Tanh(), Dropout(0.4), Linear(5, 6), Tanh(), Linear(6, 3)]
    net, (x, y), n = Network(layers, seed=2), data(), 8
    rule = make(f"synthetic:init=he_normal,condition={condition}", seed=1).attach(net)
    for name in ("tanh1", "tanh2"):
        rule.set_feedback(f"{name}/c", np.linspace(-1, 1, rule.memory[f"{name}/c"].size))
    got, learned, m = gradients(net, rule, x, y), gradients_of_modules(rule), rule.memory
    # p = h A + t C + c, from the activity before dropout;  delta = p / n
    (W1, b1), (W2, b2), (W3, b3) = ((layer.W, layer.b) for layer in net.weighted)
    h1 = np.tanh(x @ W1 + b1)
    dropped = net["linear2"].cache
    h2 = np.tanh(dropped @ W2 + b2)
    e = (h2 @ W3 + b3 - y) / n
    p1, p2 = (
        h @ m[f"{name}/A"] + (y @ m[f"{name}/C"] if condition else 0) + m[f"{name}/c"]
        for name, h in (("tanh1", h1), ("tanh2", h2))
    )
    d1, d2 = p1 / n * (1 - h1**2), p2 / n * (1 - h2**2)
    assert (dropped == 0).any()
    assert_close(
        got,
        {f"{name}.W": h.T @ d for name, h, d in (("linear1", x, d1), ("linear2", dropped, d2), ("linear3", h2, e))}
        | {f"{name}.b": d.sum(0) for name, d in (("linear1", d1), ("linear2", d2), ("linear3", e))},
    )
    # the module learns from the error that arrives, from the synthetic one of the layer above
    arrives = {"tanh1": (d2 @ W2.T) * np.where(dropped == 0, 0, 1 / 0.6), "tanh2": e @ W3.T}
    for name, h, p in (("tanh1", h1, p1), ("tanh2", h2, p2)):
        miss = p - n * arrives[name]
        expected = {"A": h.T @ miss / n, "c": miss.mean(0)} | ({"C": y.T @ miss / n} if condition else {})
        assert_close({key: learned.pop(f"{name}/{key}") for key in expected}, expected)
        assert rule.local[name]["loss"] == pytest.approx((miss**2).sum() / (2 * n), rel=1e-12)
    assert not learned


def test_the_exact_modules_of_a_linear_network_give_backpropagation():
    # p = h P P^T - t P^T = (output - t) P^T, and nothing is left to learn
    net, (x, y) = linear_net(5, 6, 7, 3), data((5,))
    rule = make("synthetic").attach(net)
    set_exact_modules(net, rule)
    assert_close(gradients(net, rule, x, y), gradients(net, make("bp").attach(net), x, y), tolerance=1e-14)
    rule.gradients(net, x, y, HALF)
    assert max(abs(one).max() for one in gradients_of_modules(rule).values()) < 1e-14


def test_modules_converge_to_the_exact_ones_if_the_weights_stay():
    net, rng = linear_net(4, 4, 2), np.random.default_rng(0)
    net["linear1"].W = np.eye(4)
    x, y, rule = rng.standard_normal((200, 4)), rng.standard_normal((200, 2)), make("synthetic").attach(net)
    for _ in range(800):
        rule.gradients(net, x, y, HALF)
        for array, gradient in rule.parameters().values():
            array -= 0.2 * gradient
    W = net["linear2"].W
    np.testing.assert_allclose(rule.B["linear1/A"], W @ W.T, atol=1e-12)
    np.testing.assert_allclose(rule.B["linear1/C"], -W.T, atol=1e-12)


def test_from_zero_the_error_takes_one_step_for_each_layer():
    # bootstrapping: a module above that predicts nothing has nothing to teach the one below
    net, (x, y), steps = mlp(hidden=(5, 5, 5)), batch(shape=(4,)), []
    rule, optimizer = make("synthetic").attach(net), mf.SGD(0.1)
    for _ in range(4):
        rule.gradients(net, x, y, CE)
        taught = [bool(net[f"linear{i}"].grads["W"].any()) for i in (3, 2, 1)]
        learning = [bool(rule.parameters()[f"tanh{i}/C"][1].any()) for i in (3, 2, 1)]
        steps.append((taught.count(True), learning.count(True)))
        optimizer.step(net, rule)
    assert steps == [(0, 1), (1, 2), (2, 3), (3, 3)]


def pooled_maps():
    return Network([Conv2d(1, 2, 3), ReLU(), MaxPool(2), Flatten(), Linear(8, 3)], input_shape=(6, 6, 1))


@pytest.mark.parametrize("make_net", [mlp, pooled_maps])
@pytest.mark.parametrize("at", ["stage", "activation"])
def test_direct_random_targets_are_a_static_module(make_net, at):
    # A = 0, c = 0, C = F^T
    net = make_net()
    x, y = batch(shape=net.input_shape)
    drtp, static = make(f"drtp:at={at}").attach(net), make(f"synthetic:static=true,at={at}").attach(net)
    assert {f"{name}/C" for name in drtp.B} == {key for key in static.B if key.endswith("C")}
    for name, F in drtp.B.items():
        static.set_feedback(f"{name}/C", F.T)
    assert_same_bits(gradients(net, static, x, y, CE), gradients(net, drtp, x, y, CE))


def test_a_static_module_computes_as_the_one_that_learned_and_stays():
    net, (x, y) = mlp(), batch(shape=(4,))
    rule, optimizer = make("synthetic").attach(net), mf.SGD(0.1)
    for _ in range(5):
        update(net, rule, x, y, CE, optimizer)
    static = make("synthetic:static=true").attach(net)
    static.load_state(rule.state())
    assert_same_bits(gradients(net, static, x, y, CE), gradients(net, rule, x, y, CE))
    # no weight carries an error, no module learns, and the optimizer need not know the rule
    assert static.parameters() == {} and static.local == {} and not static.feedback_learns
    assert static.B.keys() == {f"tanh{i}/{key}" for i in (1, 2) for key in "AC"}
    before = static.state()
    gradients(net, static, x, y, CE)
    optimizer.step(net)
    assert_same_bits(static.state(), before)


def test_the_gradients_of_modules_do_not_depend_on_the_size_of_the_batch():
    # p is the error of an example, without 1/n: the same examples twice change nothing
    net, (x, y) = mlp(), batch(shape=(4,))
    rule = make("synthetic:init=he_normal").attach(net)
    results = []
    for repeat in (1, 2):
        got = gradients(net, rule, np.tile(x, (repeat, 1)), np.tile(y, repeat), CE)
        results.append({**got, **gradients_of_modules(rule), "loss": rule.local["tanh1"]["loss"]})
    assert_close(*results)


def test_a_module_is_drawn_only_where_the_error_reaches_a_layer_that_learns():
    net = mlp(hidden=(5, 5, 5))
    net.freeze("linear1")
    assert {key.split("/")[0] for key in make("synthetic").attach(net).memory} == {"tanh2", "tanh3"}
    assert set(make("synthetic:condition=false").attach(mlp(hidden=(5,))).memory) == {"tanh1/A", "tanh1/c"}


@pytest.mark.parametrize("at, name, units", [("stage", "maxpool1", 8), ("activation", "relu1", 32)])
def test_a_module_reads_maps_as_one_row(at, name, units):
    net = pooled_maps()
    rule = make(f"synthetic:at={at}").attach(net)
    modules = {key: array.shape for key, array in rule.memory.items()}
    assert modules == {f"{name}/A": (units, units), f"{name}/C": (3, units), f"{name}/c": (units,)}
    assert rule.feedback_size(net[name]) == units * (units + 3 + 1)


def test_modules_that_do_not_fit_into_memory_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr(mf.backend, "free_bytes", lambda: 100)
    with pytest.raises(ValueError, match=f"would take {(5 * 9 + 6 * 10) * 8:,} bytes, .* most of them at 'tanh2'"):
        make("synthetic").attach(mlp())


@pytest.mark.long
def test_a_deep_network_needs_modules_that_read_the_target():
    # 64-128x4-10 on the digits, Adam 1e-3, 20 epochs: 0.957 with the label, 0.865 without; shallow 0.868
    digits = mf.data.load("digits")
    accuracies = {}
    with mf.using("numpy", "float32"):
        for description in ("synthetic", "synthetic:condition=false"):
            layers = [layer for i in range(4) for layer in (Linear(64 if i == 0 else 128, 128), ReLU())]
            net = Network([Flatten(), *layers, Linear(128, 10)], input_shape=(8, 8, 1))
            trainer = mf.Trainer(net, make(description).attach(net), CE, mf.Adam(lr=1e-3))
            trainer.fit(digits.train, epochs=20, batch_size=64)
            accuracies[description] = trainer.evaluate(digits.test)["accuracy"]
    assert accuracies["synthetic"] > 0.93 > 0.9 > accuracies["synthetic:condition=false"]
