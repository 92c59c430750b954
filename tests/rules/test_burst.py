"""Burst-dependent learning: its published equations, feedback alignment as its limit, the saturation of the teacher,
convolutions, and the networks and losses that it accepts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from checks import HALF, assert_close, gradients

import minifa as mf
from minifa import BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool, Network, ReLU, Residual, Sigmoid
from minifa.cli import pictures, program
from minifa.experiments import Experiment
from minifa.rules import make
from minifa.rules.burst_rates import hidden_probabilities
from minifa.testing.examples import sigmoid_chain

CE = mf.SoftmaxCrossEntropy()
SIZES = 12, 10, 9, 4
P_B = 0.2


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(a):
    return np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)


def network(end=(Sigmoid,), sizes=SIZES, seed=1):
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (Linear(a, b), Sigmoid())]
    return Network([*layers[:-1], *(one() for one in end)], seed=seed, input_shape=sizes[:1])


def with_normal_feedback(net, *descriptions):
    """These rules, attached, with the same B ~ N(0, 1) for each layer."""
    rules = [make(one, seed=1).attach(net) for one in descriptions]
    rng = np.random.default_rng(2)
    for layer in net.weighted[1:]:
        B = rng.standard_normal(layer.weight_shape)
        for rule in rules:
            if layer.name in rule.memory:
                rule.set_feedback(layer.name, B)
    return rules


def batch(net, distance=0.5, n=6):
    """Inputs, and targets at this distance from the outputs; those of a softmax sum to 1."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, *net.input_shape))
    output, direction = net(mf.asarray(x)), rng.uniform(-1, 1, (n, 4))
    if isinstance(net.layers[-1], Sigmoid):
        return mf.asarray(x), output + distance * direction * np.minimum(output, 1 - output)
    return mf.asarray(x), softmax(output) + distance * (direction - direction.mean(axis=1, keepdims=True)) / 8


def published(net, B, x, t, inhibition=False, kappa=None):
    """The authors' equations, per example and averaged; kappa: with a softmax at the end. Nothing avoids
    cancellation."""
    h = [x]
    for layer in net.weighted:
        h.append(sigmoid(h[-1] @ layer.W + layer.b))
    if kappa is None:
        b, b_t = P_B * h[-1], P_B * (1 + (t - h[-1]) * (1 - h[-1])) * h[-1]
        scale = 1.0
    else:
        h[-1] = softmax(h[-2] @ net.weighted[-1].W + net.weighted[-1].b)
        b, b_t = P_B * h[-1], np.minimum(P_B * (1 + kappa * (t - h[-1]) / h[-1]), 1) * h[-1]
        scale = 1 / kappa
    found = {}
    for i in range(len(net.weighted), 0, -1):
        name, delta = net.weighted[i - 1].name, scale * (b - b_t) / len(x)
        found |= {f"{name}.W": h[i - 1].T @ delta, f"{name}.b": delta.sum(axis=0)}
        if i > 1:
            v, dv = b @ B[name].T, scale * (b_t - b) @ B[name].T
            u = 0 if inhibition else (1 - h[i - 1]) * v
            b, b_t, scale = (sigmoid(u + (1 - h[i - 1]) * change) * h[i - 1] for change in (0 * dv, dv)), None, 1.0
            b, b_t = b
    return found


# --- equations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inhibition", [False, True])
def test_the_gradients_are_those_of_the_published_equations(inhibition, float64):
    net = network()
    rule, bp = with_normal_feedback(net, f"burst:inhibition={inhibition}".lower(), "bp")
    x, t = batch(net)
    got = gradients(net, rule, x, t)
    assert_close(got, published(net, rule.B, x, t, inhibition), 1e-12)
    # known answer 1: with a Sigmoid at the end the output's gradient is p_b times backpropagation's
    np.testing.assert_allclose(got["linear3.W"], P_B * gradients(net, bp, x, t)["linear3.W"], rtol=1e-14, atol=4e-17)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_below_a_softmax_the_gradients_are_those_of_the_published_equations(kappa, limited, float64):
    """Also where the teacher's burst probability is limited to 1: here at the least likely class."""
    net = network(end=())
    (rule,) = with_normal_feedback(net, f"burst:kappa={kappa}")
    x, t = batch(net)
    if limited:
        net["linear3"].W = 4 * net["linear3"].W
        t = np.eye(4)[net(x).argmin(axis=1)]
    assert_close(gradients(net, rule, x, t, CE), published(net, rule.B, x, t, kappa=kappa), 1e-12)
    assert (rule.rates("linear3")["p_t"] == 1).any() == limited


def test_the_teacher_of_a_softmax_saturates_below_the_published_bound(float64):
    """Above the bound the error is p_b (h - t), whatever kappa is; below it the error is that of p_t = 1."""
    for kappa in (0.25, 0.5, 1.0):
        bound = kappa * P_B / (1 - P_B + kappa * P_B)
        rule, net = make(f"burst:kappa={kappa}"), Network([Linear(2, 2, bias=False)])
        net["linear1"].W = [[1.0, 0.0], [0.0, 0.0]]
        for h, limited in ((1.01 * bound, False), (0.99 * bound, True)):
            x = mf.asarray([[np.log(h / (1 - h)), 0.0]])
            rule.attach(net).gradients(net, x, [0], CE)
            error = net["linear1"].grads["W"][0] / x[0, 0]
            expected = -(1 - P_B) * h / kappa if limited else P_B * (h - 1)
            np.testing.assert_allclose(error, [expected, P_B * (1 - h)], rtol=1e-12)


# --- feedback alignment -----------------------------------------------------------------------------------------------


def test_for_small_errors_it_is_feedback_alignment_times_p_times_1_minus_p(float64):
    """Known answer 2: the relative residual falls with the distance of the targets."""
    net = network()
    rule, fa = with_normal_feedback(net, "burst", "fa")
    residuals = []
    for distance in (1.0, 0.1, 0.01):
        x, t = batch(net, distance)
        got = gradients(net, rule, x, t)
        p1, p2 = (rule.rates(f"sigmoid{i}")["p"] for i in (1, 2))
        assert max(p1.max(), p2.max()) < 1 and min(p1.min(), p2.min()) > 0
        gradients(net, fa, x, t)
        h1, h2 = (net[f"sigmoid{i}"].cache for i in (1, 2))
        delta = P_B * fa.error * net["sigmoid3"].cache * (1 - net["sigmoid3"].cache)
        delta = (delta @ fa.B["linear3"].T) * h2 * (1 - h2) * p2 * (1 - p2)
        delta = (delta @ fa.B["linear2"].T) * h1 * (1 - h1) * p1 * (1 - p1)
        expected = x.T @ delta
        residuals.append(np.linalg.norm(got["linear1.W"] - expected) / np.linalg.norm(expected))
    assert residuals[0] < 2e-2
    assert 0.05 < residuals[1] / residuals[0] < 0.2 and 0.05 < residuals[2] / residuals[1] < 0.2


@pytest.mark.parametrize("end", [(Sigmoid,), ()])
def test_with_inhibition_the_factor_is_a_quarter_for_each_hidden_layer(end, float64):
    """Known answer 3, and the same with convolutions and pooling, which have no part in the factor."""
    pooling = [Conv2d(2, 3, 3), Sigmoid(), MaxPool(2), Conv2d(3, 3, 2), mf.AvgPool(2), Sigmoid(), Flatten()]
    convolutions = Network([*pooling, Linear(3, 4), *(one() for one in end)], input_shape=(8, 8, 2))
    for net in (network(end), convolutions):
        rule, fa = with_normal_feedback(net, "burst:inhibition=true", "fa")
        x, t = batch(net, 1e-3)
        got, ours = (gradients(net, one, x, t, HALF if end else CE) for one in (rule, fa))
        layers = net.weighted[::-1]
        for k, layer in enumerate(layers):
            a, b = got[f"{layer.name}.W"], ours[f"{layer.name}.W"]
            np.testing.assert_allclose(a, P_B * 0.25**k * b, rtol=1e-3, atol=1e-3 * abs(a).max())


def test_an_update_is_the_mean_over_the_examples(float64):
    """Published learning rates are for sums over the batch."""
    net = network()
    (rule,) = with_normal_feedback(net, "burst")
    x, t = batch(net)
    of_batch = gradients(net, rule, x, t)
    each = [gradients(net, rule, x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
    assert_close(of_batch, {key: np.mean([one[key] for one in each], axis=0) for key in of_batch})


# --- precision --------------------------------------------------------------------------------------------------------


def test_a_small_error_keeps_its_digits_in_float32():
    """The difference of p_t and p itself would lose four."""
    rng = np.random.default_rng(0)
    h, v, dv = rng.uniform(0.1, 0.9, 500), rng.normal(0, 2, 500), rng.normal(0, 1e-3, 500)
    exact = hidden_probabilities(h, v, dv)[2]
    p, p_t, change = hidden_probabilities(*(one.astype("f4") for one in (h, v, dv)))
    assert abs(change / exact - 1).max() < 5e-6 < 1e-3 < abs((p_t - p) / exact - 1).max()


def test_saturated_units_and_large_bursts_give_finite_errors(engine):
    net = network(end=())
    rule = make("burst").attach(net)
    net["linear1"].W = 1e3 * net["linear1"].W  # events at rates of 0 and 1
    rule.set_feedback("linear2", 1e4 * rule.B["linear2"])
    x = mf.asarray(np.random.default_rng(0).standard_normal((6, 12)).astype("f4"))
    with np.errstate(all="raise", under="ignore"):
        rule.gradients(net, x, np.arange(6) % 4, CE)
    for layer in net.weighted:
        assert bool(abs(layer.grads["W"]).max() < 1e3)  # not NaN either


# --- the way down -----------------------------------------------------------------------------------------------------


def test_bursts_are_carried_through_pooling_as_errors_are(float64):
    """Max pooling sends them to the unit that sent the activity, mean pooling in equal parts."""
    net = sigmoid_chain()
    rule = make("burst").attach(net)
    rule.gradients(net, *mf.testing.examples.batch(shape=net.input_shape), CE)
    top, third, second, first = (rule.rates(name) for name in ("linear2", "sigmoid3", "sigmoid2", "sigmoid1"))
    np.testing.assert_allclose(third["v"], top["b"] @ rule.B["linear2"].T, rtol=1e-12)
    below_flatten = (third["b"] @ rule.B["linear1"].T).reshape(second["v"].shape)
    np.testing.assert_allclose(second["v"], below_flatten, rtol=1e-12)
    pooled, bp = net["avgpool1"].backward(second["b"], rule), make("bp")
    np.testing.assert_allclose(pooled.sum(axis=(1, 2)), second["b"].sum(axis=(1, 2)), rtol=1e-12)
    v = net["maxpool1"].backward(net["conv2"].carry(pooled, rule.B["conv2"]), bp)
    np.testing.assert_allclose(first["v"], v, rtol=1e-12)
    assert ((first["v"] != 0).reshape(8, 4, 2, 4, 2, 3).sum(axis=(2, 4)) <= 1).all()  # one unit of each window


@pytest.mark.parametrize("description", ["burst", "burst:inhibition=true"])
@pytest.mark.parametrize("end", [(Sigmoid,), ()])
def test_the_rates_of_the_last_pass(end, description, engine):
    net = network(end)
    rule = make(description).attach(net)
    with pytest.raises(ValueError, match="taught no units at 'sigmoid1' in the last pass"):
        rule.rates("sigmoid1")
    x = np.random.default_rng(0).standard_normal((6, 12)).astype("f4")
    rule.gradients(net, mf.asarray(x), np.arange(6) % 4, HALF if end else CE)
    for name in ("sigmoid1", "sigmoid2", net.layers[-1].name):
        rates = rule.rates(name)
        assert bool((rates["b"] == rates["p"] * rates["h"]).all() & (rates["b_t"] == rates["p_t"] * rates["h"]).all())
        if name == net.layers[-1].name:
            assert list(rates) == ["h", "p", "p_t", "b", "b_t"] and float(abs(rates["p"] - P_B).max()) < 1e-7
        else:
            assert ("v" in rates) == (description == "burst") and "dv" in rates
            assert description == "burst" or bool((rates["p"] == 0.5).all())
            delta = (rates["b"] - rates["b_t"]) / 6
            below = net[name.replace("sigmoid", "linear")].grads["b"]
            assert float(abs(delta.sum(axis=0) - below).max()) < 1e-6
    assert all(bool((0 <= rates[key]).all() & (rates[key] <= 1).all()) for key in ("h", "p", "p_t", "b", "b_t"))
    with pytest.raises(ValueError, match="'linear1'"):
        rule.rates("linear1")


@pytest.mark.parametrize("description", ["burst", "burst:inhibition=true"])
@pytest.mark.parametrize("end", [(Sigmoid,), ()])
def test_the_equations_of_a_trace_hold_for_its_numbers(end, description, float64):
    net = network(end)
    rule = make(description).attach(net)
    x, t = batch(net)
    trace = mf.trace(net, rule, x, t, HALF if end else CE, mf.SGD(0.1))
    moments = [moment for moment in trace if moment.kind == "teach"]
    biases = {f"{layer.name}.b" for layer in net.weighted}
    assert not any(biases & set(moment.new) for moment in moments)  # a burst rate b is not the bias b
    assert [moment.layer for moment in moments] == [net.layers[-1].name, "sigmoid2", "sigmoid1"]
    for moment in moments:
        known = {"sigmoid": sigmoid, "softmax": softmax, "min": np.minimum, **moment.terms}
        for line in moment.equation.split("\n"):
            symbol, _, formula = line.partition(" = ")
            np.testing.assert_allclose(eval(formula, known) + 0 * known[symbol], known[symbol], rtol=1e-7)  # noqa: S307


# --- learned feedback -------------------------------------------------------------------------------------------------


def test_learned_feedback_receives_the_gradient_of_the_weights_and_decay_removes_the_difference(float64):
    net = network()
    rule, fixed = make("burst:learned=true").attach(net), make("burst")
    x, t = batch(net)
    before = net["linear2"].W - rule.B["linear2"]
    rule.gradients(net, x, t, HALF)
    mf.SGD(0.5, weight_decay=0.1).step(net, rule)
    np.testing.assert_allclose(net["linear2"].W - rule.B["linear2"], (1 - 0.05) * before, rtol=1e-12)
    assert fixed.attach(net).parameters() == {} and not fixed.feedback_learns and rule.feedback_learns
    decays = [Experiment(rule=one).decay() for one in ("burst", "burst:learned=true", "kolen_pollack")]
    assert decays == [rule.weight_decay * one for one in (0, 1, 1)] and rule.weight_decay == 0.01


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers, named",
    [
        (lambda: [Linear(4, 4), ReLU(), Linear(4, 2)], "ReLU 'relu1'"),
        (lambda: [Linear(4, 4), Linear(4, 2)], "Linear 'linear2'"),
        (lambda: [Linear(4, 4), Sigmoid(), Sigmoid(), Linear(4, 2)], "Sigmoid 'sigmoid2'"),
        (lambda: [Linear(4, 4), BatchNorm(4), Sigmoid(), Linear(4, 2)], "BatchNorm 'batchnorm1'"),
        (lambda: [Linear(4, 4), Sigmoid(), Dropout(0.1), Linear(4, 2)], "Dropout 'dropout1'"),
        (lambda: [Residual([Linear(4, 4), Sigmoid()]), Linear(4, 2)], "Residual 'residual1'"),
        (lambda: [Linear(4, 4), Sigmoid(), Linear(4, 2), ReLU()], "ReLU 'relu1'"),
        (lambda: [Conv2d(1, 1, 2), Sigmoid(), Conv2d(1, 2, 2), Sigmoid(), MaxPool(2), Flatten()], "Flatten 'flatten1'"),
    ],
)
def test_other_networks_are_refused_by_name(layers, named, engine):
    with pytest.raises(ValueError, match=f"under the rule 'burst' .*{named}.*"):
        make("burst").attach(Network(layers()))


@pytest.mark.parametrize(
    "end, loss, needed",
    [
        ((Sigmoid,), mf.MeanSquaredError(), "HalfSquaredError, got MeanSquaredError()"),
        ((Sigmoid,), CE, "half_squared_error, or a network that ends without one"),
        ((), HALF, "softmax_cross_entropy, or a network that ends in one (--output-activation sigmoid)"),
        ((), mf.SigmoidCrossEntropy(), "SoftmaxCrossEntropy, got SigmoidCrossEntropy()"),
    ],
)
def test_another_loss_is_refused_before_anything_changes(end, loss, needed, engine):
    net = network(end)
    rule = make("burst").attach(net)
    with pytest.raises(ValueError, match=re.escape(needed)):
        rule.gradients(net, mf.asarray(np.zeros((2, 12))), [0, 1], loss)
    assert rule.batch is None


@pytest.mark.parametrize(
    "option, message",
    [
        ("baseline=0.6", "baseline must be at most 0.5, got 0.6"),
        ("baseline=0", "baseline must be above 0"),
        ("kappa=2", "kappa must be at most 1.0, got 2"),
        ("inhibition=1", "inhibition must be"),
    ],
)
def test_options_outside_their_range_are_refused(option, message, engine):
    with pytest.raises((TypeError, ValueError), match=message):
        make(f"burst:{option}")


def test_the_command_line_trains_with_both_ends(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    given = (
        "train --quiet --data xor --model mlp --activation sigmoid --hidden 3 --rule burst --lr 1 --epochs 1".split()
    )
    assert program.main([*given, "--out", "softmax"]) == 0
    squared = ["--output-activation", "sigmoid", "--loss", "half_squared_error"]
    assert program.main([*given, *squared, "--out", "squared"]) == 0
    assert program.main([*given, *squared[:2], "--out", "refused"]) == 2
    assert "learns from HalfSquaredError" in capsys.readouterr().err
    with pytest.raises(ValueError, match="output_activation of the model 'mlp' must be"):
        mf.models.mlp((4,), 3, output_activation="softmax")
