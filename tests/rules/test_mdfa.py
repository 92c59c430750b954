"""mDFA: the signs of its gradients, its weights, the networks that it accepts, and two classes with one output."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits, gradients

import minifa as mf
from minifa import GELU, BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool, Network, ReLU, Residual, Sigmoid, Tanh
from minifa.cli import options, program
from minifa.experiments.experiment import run
from minifa.losses import classes_of
from minifa.rules import make
from minifa.rules.recorded_targets import activities_and_errors
from minifa.testing.examples import batch, inputs

CE, BINARY = mf.SoftmaxCrossEntropy(), mf.SigmoidCrossEntropy()


def monotone(sizes, n_out=1, init="nonnegative_normal", seed=0):
    """Tanh layers of these widths; the weights above the first layer are not negative."""
    layers = mf.models.mlp(sizes[:1], n_out, sizes[1:], activation="tanh", init=init, first_init="he_normal")
    return Network(layers, seed=seed, input_shape=sizes[:1])


def weight_gradients(net, name, x, y, loss, seed=0):
    got = gradients(net, make(name, seed=seed).attach(net), x, y, loss)
    return {key: array for key, array in got.items() if key.endswith("W")}


# --- signs ------------------------------------------------------------------------------------------------------------


def disagreements(n_out, init="nonnegative_normal"):
    """(entries of the gradients of W whose sign is not backpropagation's, all entries) in the hidden layers, and the
    number of entries with the output layer's, in 20 networks 12-30-30-30-n_out with one example each."""
    differ, hidden, total = 0, 0, 0
    for seed in range(20):
        net = monotone((12, 30, 30, 30), n_out, init, seed)
        x, y = np.random.default_rng(seed).standard_normal((1, 12)), [seed % max(2, n_out)]
        loss = BINARY if n_out == 1 else CE
        ours, true = (weight_gradients(net, name, x, y, loss, seed) for name in ("mdfa", "bp"))
        for name, gradient in ours.items():
            differ += (np.sign(gradient) != np.sign(true[name])).sum()
            hidden += gradient.size * (name != "linear4.W")
            total += gradient.size
    return differ, hidden, total


@pytest.mark.parametrize("init", ["nonnegative_normal", "nonnegative_uniform"])
def test_with_one_output_every_gradient_has_the_sign_of_backpropagation_s(init, float64):
    # M1: none of 43,800 entries disagrees
    differ, _, total = disagreements(1, init)
    assert (differ, total) == (0, 43_800)


def test_with_more_outputs_the_signs_agree_by_chance_only(float64):
    # M1 with three outputs: about half of the hidden layers' entries disagree (51 %)
    differ, hidden, _ = disagreements(3)
    assert 0.45 < differ / hidden < 0.57


def test_the_signs_hold_in_convolutions_pooling_and_residual_blocks_and_during_training(float64):
    """With weight decay, which leaves the weights above 0, and momentum, which does not."""
    init = "nonnegative_normal"
    layers = [
        *(Conv2d(2, 4, 3, padding=1), Tanh(), MaxPool(2), Dropout(0.1)),
        *(Residual([Conv2d(4, 4, 3, padding=1, init=init), Sigmoid(), Conv2d(4, 4, 1, init=init)]), mf.LeakyReLU(0.1)),
        *(mf.AvgPool(2), Flatten(), Linear(16, 6, init=init), mf.ELU(), Linear(6, 1, init=init)),
    ]
    net = Network(layers, input_shape=(8, 8, 2))
    rule, optimizer = make("mdfa").attach(net), mf.SGD(0.2, momentum=0.9, weight_decay=0.01)
    start = net.state()
    for step in range(8):
        rule.gradients(net, *batch(16, classes=2, seed=step), BINARY)
        optimizer.step(net, rule)
    least = {layer.name: layer.W.min() for layer in net.weighted}
    assert least["conv1"] < 0 and min(W for name, W in least.items() if name != "conv1") == 1e-6  # some met the bound
    assert all((net.state()[f"{layer.name}.W"] != start[f"{layer.name}.W"]).any() for layer in net.weighted)
    x, _ = batch(1)
    ours, true = (activities_and_errors(one, net, x, [1], BINARY, least) for one in (rule, make("bp").attach(net)))
    assert ours.keys() == true.keys() == least.keys()
    for name in least:  # backpropagation's error is 0 below units that dropout has switched off
        signs = np.sign(ours[name][1] * true[name][1])
        assert signs.min() >= 0 and signs.max() == 1, name


def test_the_cosine_with_backpropagation_below_the_read_out(float64):
    # M2: of two vectors of positive numbers 2 / pi if half-normal, 3 / 4 if uniform
    for family, init, expected in (
        ("gaussian", "nonnegative_normal", 2 / math.pi),
        ("uniform", "nonnegative_uniform", 0.75),
    ):
        net = monotone((3, 20_000), init=init)
        F, W = make(f"mdfa:family={family}").attach(net).B["tanh1"].ravel(), net["linear2"].W.ravel()
        assert abs(F @ W / np.linalg.norm(F) / np.linalg.norm(W) - expected) < 0.01
        assert F.min() >= 0


@pytest.mark.parametrize("options", ["", ":family=gaussian,sd=0.2", ":shared=true", ":recompute=true"])
def test_it_is_direct_feedback_with_the_absolute_values_of_F(options, engine):
    net, x, y = monotone((4, 5, 6), 3), inputs((4,), 8), np.arange(8) % 3
    dfa = make("dfa" + options, seed=3).attach(net)
    for key, F in dfa.memory.items():
        dfa.set_feedback(key, abs(F))
    expected = gradients(net, dfa, x, y, CE)
    mdfa = make("mdfa" + options, seed=3).attach(net)
    got = gradients(net, mdfa, x, y, CE)
    for ours, theirs in ((mdfa.B, dfa.B), (got, expected)):
        assert_same_bits({k: mf.to_host(a) for k, a in ours.items()}, {k: mf.to_host(a) for k, a in theirs.items()})


# --- weights ----------------------------------------------------------------------------------------------------------


def test_only_the_weights_that_learn_are_bounded(engine):
    net, x = monotone((4, 5, 6)), inputs((4,), 8)
    net.freeze("linear2")
    rule, start = make("mdfa").attach(net), net.state()
    net["linear2"].W = -net["linear2"].W  # a user's business: it is frozen
    net["linear3"].W = -net["linear3"].W
    net["linear3"].b = mf.asarray([-1.0])
    rule.gradients(net, x, np.arange(8) % 2, BINARY)
    mf.SGD(1e-9).step(net, rule)
    assert (net.state()["linear2.W"] == -start["linear2.W"]).all()
    assert (net.state()["linear3.W"] == np.float32(1e-6)).all() and float(net["linear3"].b[0]) < -0.9
    assert (net.state()["linear1.W"] < 0).any()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Linear(4, 6), Tanh(), Linear(6, 3)], "Linear 'linear2' has negative weights: create it with init='nonneg"),
        ([Linear(4, 3), GELU(), Linear(3, 1, init="nonnegative_normal")], "must be monotone, and GELU 'gelu1' is not"),
        ([Linear(4, 3), mf.ELU(-1.0), Linear(3, 1, init="nonnegative_normal")], "and ELU 'elu1' is not"),
        ([Linear(4, 3), BatchNorm(3), ReLU(), Linear(3, 1, init="nonnegative_normal")], "BatchNorm 'batchnorm1' is"),
        ([Linear(4, 3), Residual([mf.SiLU()]), Linear(3, 1, init="nonnegative_normal")], "SiLU 'residual1.body.silu1'"),
    ],
)
def test_other_networks_are_refused_by_name(layers, message):
    with pytest.raises(ValueError, match=message):
        make("mdfa").attach(Network(layers, input_shape=(4,)))


def test_any_layer_may_be_below_the_first_weights():
    layers = [GELU(), Linear(4, 3), Tanh(), Linear(3, 1, init="nonnegative_normal")]
    assert list(make("mdfa").attach(Network(layers, input_shape=(4,))).B) == ["tanh1"]


def test_nonnegative_initialisers():
    for name, largest, rms in (
        ("nonnegative_normal", 1, math.sqrt(2) / 400),
        ("nonnegative_uniform", 0.05, 0.05 / math.sqrt(3)),
    ):
        W = Linear(400, 300, init=name).W
        assert 0 <= W.min() and W.max() < largest and abs(math.sqrt((W * W).mean()) / rms - 1) < 0.02
    net = monotone((4, 5, 6))
    assert [bool((layer.W < 0).any()) for layer in net.weighted] == [True, False, False]
    for name in ("fa", "kolen_pollack", "dtp"):  # two matrices of positive numbers are not orthogonal
        assert make(name).attach(net).start_angle(net["linear2"]) is None


# --- two classes with one output --------------------------------------------------------------------------------------


def test_the_parity_of_the_digits_is_a_task_of_one_output():
    data, digits = mf.data.load("digits_parity"), mf.data.load("digits")
    assert data.n_out == 1 and data.classes == ("even", "odd") and data.digest != digits.digest
    assert (data.test.x == digits.test.x).all() and (data.test.y == digits.test.y % 2).all()
    given = "train --data digits_parity --model mlp --hidden 16,16 --activation tanh --rule mdfa --lr 0.3 --epochs 6"
    given = [*given.split(), "--init", "nonnegative_normal", "--first-init", "he_normal"]
    result, trainer = run(options.make_experiment(program.make_parser().parse_args(given)), data)
    assert trainer.loss.name == "sigmoid_cross_entropy" and trainer.net.output_shape == (1,)
    accuracy = result.score
    outputs = trainer.net.predict(data.test.x)[:, 0]
    assert accuracy == ((outputs > 0) == data.test.y).mean() > 0.9
    assert (trainer.net.classify(data.test.x) == (outputs > 0)).all()
    assert mf.evaluate(trainer.net, data.test) == {"accuracy": accuracy}
    by_class = trainer.class_accuracies(data.test)
    assert by_class == [((outputs > 0) == k)[data.test.y == k].mean() for k in (0, 1)]
    assert mf.metrics.confusion(data.test.y, trainer.net.classify(data.test.x)).sum() == 360


def test_one_output_stands_for_two_classes_under_sigmoid_cross_entropy_only(engine):
    output = mf.asarray([[2.0], [-1.0], [0.0]])
    assert BINARY.target([1, 0, 1], output).tolist() == [[1.0], [0.0], [1.0]]
    assert classes_of(output).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="class indices must lie in 0..1, got 0..2"):
        BINARY.target([1, 0, 2], output)
    for loss in (CE, mf.MeanSquaredError()):
        with pytest.raises(ValueError, match="a single output stands for two classes under SigmoidCrossEntropy only"):
            loss.target([1, 0, 1], output)
    two = mf.asarray([[2.0, -1.0]])
    assert BINARY.target([1], two).tolist() == [[0.0, 1.0]]  # as before: one output for each class
    with pytest.raises(ValueError, match="single_output needs two classes, the data set 'digits' has 10"):
        replace(mf.data.load("digits"), single_output=True)
