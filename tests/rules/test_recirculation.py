"""Recirculation against its equations, its known answers, the networks that it accepts, and autoencoders as a task."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close, gradients

import minifa as mf
from minifa import BatchNorm, Conv2d, Dropout, Flatten, Linear, Network, ReLU, Sigmoid, Tanh
from minifa.cli import options, program
from minifa.experiments import Experiment, experiment, recipes, run, run_folder, tuning
from minifa.rules import make
from minifa.testing.examples import autoencoder_network, network

HALF = mf.HalfSquaredError()
RNG = np.random.default_rng(3)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def pair(n_in=12, n_hidden=7, *after, seed=0):
    """An encoder with a sigmoid and its decoder; their weights have the size of W's initialiser."""
    return network([Linear(n_in, n_hidden), Sigmoid(), Linear(n_hidden, n_in), *after], (n_in,), seed=seed)


def parts_of(net):
    return [array for layer in net.weighted for array in (layer.W, layer.b)]


# --- the equations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regression", [0.0, 0.75, 0.9])
def test_the_gradients_are_those_of_the_two_rounds(regression, float64):
    net, x0 = pair(), RNG.standard_normal((5, 12))
    W, b, V, c = parts_of(net)
    h1 = sigmoid(x0 @ W + b)
    r = h1 @ V + c
    x2 = regression * x0 + (1 - regression) * r
    h3 = regression * h1 + (1 - regression) * sigmoid(x2 @ W + b)
    encoder, decoder = (h3 - h1) / (1 - regression) ** 2 / 5, (r - x0) / 5
    expected = {"linear1.W": x2.T @ encoder, "linear1.b": encoder.sum(0), "linear2.W": h1.T @ decoder}
    expected["linear2.b"] = decoder.sum(0)
    assert_close(gradients(net, make(f"recirculation:regression={regression}").attach(net), x0, x0, HALF), expected)


def test_each_pair_of_a_deep_autoencoder_learns_as_an_autoencoder_of_its_own_input(float64):
    net, x = autoencoder_network(), RNG.standard_normal((5, 2, 2, 1))
    rule = make("recirculation").attach(net)
    got = gradients(net, rule, x, x.reshape(5, 4), HALF)
    below = x.reshape(5, 4)
    for encoder, decoder in (("linear1", "linear4"), ("linear2", "linear3")):
        after = [Tanh()] if decoder == "linear3" else []
        sizes = net[encoder].weight_shape
        one = Network([Linear(*sizes), Tanh(), Linear(*sizes[::-1]), *after], input_shape=sizes[:1])
        for inner, outer in (("linear1", encoder), ("linear2", decoder)):
            one[inner].W, one[inner].b = net[outer].W, net[outer].b
        expected = gradients(one, make("recirculation").attach(one), below, below, HALF)
        names = {"linear1": encoder, "linear2": decoder}
        for key, gradient in expected.items():
            name, _, symbol = key.partition(".")
            np.testing.assert_allclose(got[f"{names[name]}.{symbol}"], gradient, rtol=1e-12, atol=1e-15)
        loss = HALF(one.forward(below), below)[0].mean()
        assert rule.local[decoder] == {"loss": pytest.approx(loss, rel=1e-12), "accuracy": None}
        below = np.tanh(below @ net[encoder].W + net[encoder].b)


def test_no_derivative_of_an_output_activation_is_used(float64):
    net, x = pair(6, 4, Sigmoid()), RNG.random((5, 6))
    got = gradients(net, make("recirculation").attach(net), x, x, HALF)
    W, b, V, c = parts_of(net)
    h1 = sigmoid(x @ W + b)
    e = (sigmoid(h1 @ V + c) - x) / 5
    np.testing.assert_allclose(got["linear2.W"], h1.T @ e, rtol=1e-12)
    x2 = x + 0.1 * 5 * e
    np.testing.assert_allclose(got["linear1.W"], x2.T @ (sigmoid(x2 @ W + b) - h1) / (0.1 * 5), rtol=1e-12)


def test_frozen_layers_are_left_out():
    net, x = autoencoder_network(), mf.asarray(RNG.standard_normal((5, 2, 2, 1)))
    net.freeze("linear2", "linear3")
    rule = make("recirculation").attach(net)
    rule.gradients(net, x, x.reshape(5, 4), HALF)
    got = net.gradients()
    assert {key.partition(".")[0] for key, g in got.items() if g is not None} == {"linear1", "linear4"}
    assert rule.local.keys() == {"linear4"} and rule.B.keys() == {"linear4"}
    net.freeze("linear1")
    rule.attach(net).gradients(net, x, x.reshape(5, 4), HALF)
    assert {key for key, g in net.gradients().items() if g is not None} == {"linear4.W", "linear4.b"} and not rule.B


# --- known answers ----------------------------------------------------------------------------------------------------


def measured(regression, transposed):
    """(angle to backpropagation's dW, to that of FA with B = W.T, ratio of its norm to FA's, the largest difference of
    dV from the gradient), 12-7-12 with a sigmoid, W ~ N(0, 0.3^2), biases 0."""
    net, rng = Network([Linear(12, 7), Sigmoid(), Linear(7, 12)]), np.random.default_rng(0)
    x = rng.standard_normal((200, 12))
    net["linear1"].W = 0.3 * rng.standard_normal((12, 7))
    net["linear2"].W = net["linear1"].W.T if transposed else 0.3 * rng.standard_normal((7, 12))
    fa = make("fa").attach(net)
    fa.set_feedback("linear2", net["linear1"].W.T)
    rules = make(f"recirculation:regression={regression}"), make("bp"), None
    ours, true, aligned = (gradients(net, fa if rule is None else rule.attach(net), x, x, HALF) for rule in rules)
    dW = ours["linear1.W"]
    between = [float(mf.metrics.angle(dW, other["linear1.W"])) for other in (true, aligned)]
    ratio = np.linalg.norm(dW) / np.linalg.norm(aligned["linear1.W"])
    return *between, ratio, abs(ours["linear2.W"] - true["linear2.W"]).max()


def test_with_transposed_weights_it_tends_to_the_gradient(float64):
    # K1: 44, 5.2, .47, .046 degrees; ratios of the norms .64, .91, .991, .999
    angles, _, ratios, _ = zip(*(measured(one, transposed=True) for one in (0.5, 0.9, 0.99, 0.999)), strict=True)
    np.testing.assert_allclose(angles[1:], [5.2, 0.47, 0.046], rtol=0.02)
    np.testing.assert_allclose(ratios, [0.638, 0.908, 0.991, 0.999], atol=0.001)
    assert 40 < angles[0] < 50 and angles[2] / angles[3] == pytest.approx(10, rel=0.03)


def test_with_other_weights_it_tends_to_feedback_alignment_by_the_encoder(float64):
    to_bp, to_fa, ratio, _ = measured(0.999, transposed=False)  # K2
    assert to_bp > 90 and to_fa < 0.2 and ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("regression", [0.0, 0.5, 0.999])
def test_the_decoder_s_gradient_is_exact_at_every_regression(regression, float64):
    assert all(measured(regression, transposed)[-1] < 1e-15 for transposed in (True, False))  # K3


def test_a_constant_autoencoder_is_not_at_rest(float64):
    """Targets are the activities of round 1. With those of round 2 as targets (a public port), a network that puts out
    the same for every input has both losses exactly 0."""
    x, net = np.random.default_rng(1).random((20, 6)), pair(6, 4)
    net["linear1"].W, net["linear2"].W, net["linear2"].b = np.zeros((6, 4)), np.zeros((4, 6)), np.full(6, 0.25)
    W, b, V, c = parts_of(net)
    h1 = sigmoid(x @ W + b)
    r = h1 @ V + c
    h3 = sigmoid(r @ W + b)
    assert abs(h3 - h1).max() == 0 and abs((h3 @ V + c) - r).max() == 0  # round 2 against round 1
    got = gradients(net, make("recirculation").attach(net), x, x, HALF)
    np.testing.assert_allclose(got["linear2.b"], (r - x).mean(0), rtol=1e-12)
    assert abs(got["linear2.W"]).min() > 0.01


def test_the_encoder_of_a_trained_autoencoder_has_turned_towards_its_decoder():
    data = mf.data.load("digits", reconstruct=True)
    setting = {"data_options": {"reconstruct": True}, "model": "autoencoder", "epochs": 5, "lr": 0.03}
    ends = {}
    for rule in ("recirculation", "shallow"):
        result, trainer = run(Experiment(rule=rule, **setting), data)
        output = mf.asarray(trainer.net.predict(data.test.x))
        ends[rule] = float(mf.metrics.unexplained_variance(output, mf.asarray(data.test.y)))
        if rule == "recirculation":
            angles = [row["linear2.weight_angle"] for row in result.history]
            assert angles[0] > 80 and angles[-1] < 70
            assert result.final["linear2.local_loss"] == pytest.approx(result.final["train_loss"], rel=1e-5)
        assert result.score == pytest.approx(-ends[rule] * 16.459, rel=1e-4)  # half the variance of the test part
    assert ends["recirculation"] < 0.7 * ends["shallow"]


# --- networks and options ---------------------------------------------------------------------------------------------

REFUSED = {
    "no mirror": ([Linear(6, 4), ReLU(), Linear(4, 3)], "opposite <Linear 'linear1'.*got <Linear 'linear2'"),
    "a layer in the middle": ([Linear(6, 4), Linear(4, 4), Linear(4, 6)], "opposite <Linear 'linear2'"),
    "batch norm": ([Linear(6, 4), BatchNorm(4), Linear(4, 6)], "got BatchNorm 'batchnorm1'"),
    "dropout": ([Dropout(0.2), Linear(6, 4), Linear(4, 6)], "got Dropout 'dropout1'"),
    "an activation first": ([Tanh(), Linear(6, 4), Linear(4, 6)], "got Tanh 'tanh1'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_refused_by_name(name):
    layers, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"the rule 'recirculation' accepts autoencoders of mirrored pairs.*{message}"):
        make("recirculation").attach(Network(layers, input_shape=(6,)))


def test_images_and_bad_options_are_refused(engine):
    conv = Network([Conv2d(1, 2, 3), Flatten(), Linear(8, 16)], input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="got Conv2d 'conv1'"):
        make("recirculation").attach(conv)
    for regression in (-0.1, 1, 2):
        with pytest.raises(ValueError, match="regression must be at least 0 and below 1, got"):
            mf.rules.Recirculation(regression=regression)
    with pytest.raises(TypeError, match="regression must be"):
        mf.rules.Recirculation(regression="0.9")


def test_the_equations_of_a_trace_give_its_numbers(float64):
    net, x = autoencoder_network(), RNG.standard_normal((5, 2, 2, 1))
    rule = make("recirculation").attach(net)
    trace = mf.trace(net, rule, x, x.reshape(5, 4), HALF, mf.SGD(0.1))
    taught = [moment for moment in trace if moment.kind == "teach"]
    assert {moment.layer for moment in taught} == {"linear1", "linear2", "linear3", "linear4"}
    for moment in taught:
        left, right = moment.equation.split(" = ")
        value = eval(right.replace("^", "**"), {}, dict(moment.terms))
        np.testing.assert_allclose(moment.terms[left], value, rtol=1e-9, atol=1e-15)
    learned = {moment.layer: moment for moment in trace if moment.kind == "gradients"}
    for moment in learned.values():
        terms = moment.terms
        np.testing.assert_allclose(terms["dW"], terms["x"].T @ terms["delta"], rtol=1e-12)


# --- autoencoders as a task -------------------------------------------------------------------------------------------


def test_the_model_is_mirrored(engine):
    layers = mf.models.autoencoder((4, 4, 1), 16, hidden=(8, 3), activation="tanh", output_activation="sigmoid")
    net = Network(layers, input_shape=(4, 4, 1))
    assert [layer.kind for layer in net][:1] == ["flatten"] and net.layers[-1].kind == "sigmoid"
    assert [layer.weight_shape for layer in net.weighted] == [(16, 8), (8, 3), (3, 8), (8, 16)]
    with pytest.raises(ValueError, match="has as many outputs as inputs, 16, but the targets have 10.*--reconstruct"):
        mf.models.autoencoder((4, 4, 1), 10)
    with pytest.raises(ValueError, match="must have at least one width"):
        mf.models.autoencoder((4,), 4, hidden=())


def test_any_data_set_has_its_inputs_as_targets(tmp_path):
    np.savez(tmp_path / "mine.npz", x=RNG.random((40, 5)), y=np.arange(40) % 2)
    data = mf.data.load(tmp_path / "mine.npz", scale="standard", reconstruct=True)
    assert not data.classes and (data.train.y == data.train.x).all() and data.n_out == 5
    parity = mf.data.load("digits_parity", reconstruct=True)
    assert parity.n_out == 64 and not parity.single_output
    assert parity.digest == mf.data.load("digits", reconstruct=True).digest != mf.data.load("digits").digest


def test_augmentation_that_would_not_reach_the_targets_is_refused():
    one = Experiment(data_options={"reconstruct": True}, model="autoencoder", augmentation="crop_flip")
    with pytest.raises(ValueError, match="augmentation 'crop_flip' would change the inputs and leave their copies"):
        experiment.build(one, mf.data.load("digits", reconstruct=True))


COMMAND = "--data digits --reconstruct --model autoencoder --hidden 6".split()


@pytest.mark.long
def test_the_command_line_trains_resumes_and_compares_autoencoders(tmp_path, capsys):
    train = ["train", *COMMAND, "--rule", "recirculation", "--lr", "0.03", "--out", str(tmp_path / "run")]
    assert program.main([*train, "--epochs", "1"]) == 0
    assert program.main(["train", "--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    (result,) = run_folder.read_results(tmp_path / "run")
    expected, _ = run(Experiment(**{**vars(result.experiment), "epochs": 2}))
    assert result.score == expected.score and result.experiment.data_options == {"reconstruct": True}
    drawn = mf.figures.of_run(tmp_path / "run")
    assert {"training", "alignment", "network", "reconstructions", "unit-weights"} <= drawn.keys()
    compare = ["compare", *COMMAND, "--rules", "recirculation,fa", "--lr", "0.03", "--epochs", "1", "--seeds", "1"]
    assert program.main([*compare, "--jobs", "1", "--out", str(tmp_path / "two")]) == 0
    assert "minus loss" in capsys.readouterr().out


def test_rates_of_classifiers_are_not_those_of_autoencoders():
    one = Experiment(data_options={"reconstruct": True}, model="mlp")
    assert experiment.shipped_rate(Experiment(model="mlp")) is not None and experiment.shipped_rate(one) is None
    row = tuning.rate_table([tuning.Trial(tuning.run_of(one, "bp", -2, 100), -1.0)])[0]
    assert row["data"] == "digits (reconstruct=True)"
    given = program.make_parser().parse_args(["train", *COMMAND])
    described = recipes.parse('model.name = "autoencoder"\nmodel.hidden = [6]\ndata.reconstruct = true').experiment
    assert options.make_experiment(given).settings() == described.settings()
