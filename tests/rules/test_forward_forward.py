"""Forward-forward against its formulas and by hand, its control, and the layer UnitLength between its layers."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import BatchNorm, Conv2d, Linear, Network, ReLU, Residual, UnitLength
from minifa.cli import program
from minifa.rules import ForwardForward, Shallow, make
from minifa.testing.examples import batch, inputs, network, unit_length_net

CE = mf.SoftmaxCrossEntropy()
pytestmark = pytest.mark.usefixtures("float64")


def dense(hidden=(5, 6)):
    """A dense network from 4 inputs to 3 classes, with UnitLength between its hidden layers."""
    return network(mf.models.mlp((4,), 3, hidden, unit_length=True), (4,))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- the equations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_one_update_by_hand(kind):
    net, (x, y) = dense(), batch(shape=(4,))
    rule = ForwardForward(seed=3, mark=2.0, goodness=kind).attach(net)
    value = rule.gradients(net, x, y, CE)
    wrong = rule.wrong(np.eye(3)[y], step=0)
    rows = np.concatenate([np.hstack([2 * labels, x[:, 3:]]) for labels in (np.eye(3)[y], wrong)])
    pos = np.repeat([1.0, 0.0], len(x))
    h = rows
    for name, relu in (("linear1", "relu1"), ("linear2", "relu2")):
        below, layer = h, net[name]
        h = np.maximum(below @ layer.W + layer.b, 0)
        u = h.shape[1]
        g, theta = (h * h).mean(axis=1), 1.0
        if kind == "sum":
            g, theta = u * g, u
        p = sigmoid(g - theta)
        error = (p - pos)[:, None] * (2 / u if kind == "mean" else 2) * h / len(rows)
        np.testing.assert_allclose(layer.grads["W"], below.T @ (error * (h > 0)), rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(layer.grads["b"], (error * (h > 0)).sum(axis=0), rtol=1e-12, atol=1e-16)
        entropy = np.mean(np.logaddexp(0, g - theta) - pos * (g - theta))  # -mean(log p), and log(1 - p) of negatives
        np.testing.assert_allclose(rule.local[relu]["loss"], entropy, rtol=1e-12)
        assert rule.local[relu]["accuracy"] == np.mean((g > theta) == (pos == 1))
        h = h / np.sqrt((h * h).mean(axis=1, keepdims=True) + 1e-8)
    neutral = np.hstack([np.zeros((len(x), 3)), x[:, 3:]])
    output = net.predict(neutral)
    np.testing.assert_allclose(
        net["linear3"].grads["b"], (CE(output, np.eye(3)[y])[1] / len(x)).sum(axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(value, CE(output, np.eye(3)[y])[0].mean(), rtol=1e-12)
    assert list(rule.local) == ["relu1", "relu2"] and rule.B == {} and rule.output.shape == (len(x), 3)


@pytest.mark.parametrize("description", ["forward_forward", "forward_forward:goodness=sum,theta=3"])
def test_each_gradient_is_the_slope_of_the_layers_own_loss(description):
    """By central differences, also in a convolution, whose goodness is over all values of its map."""
    net, (x, y) = unit_length_net(), batch(shape=(5, 5, 2))
    rule = make(description, seed=1).attach(net)
    rng, eps = np.random.default_rng(0), 1e-5

    def losses():
        value = rule.gradients(net, x, y, CE)
        return {"conv1": rule.local["relu1"]["loss"], "linear1": rule.local["leakyrelu1"]["loss"], "linear2": value}

    losses()
    gradients = {name: array.copy() for name, array in net.gradients().items()}
    for name, array in net.parameters().items():
        direction, kept = rng.standard_normal(array.shape), array.copy()
        array[...] = kept + eps * direction
        above = losses()[name.partition(".")[0]]
        array[...] = kept - eps * direction
        slope = (above - losses()[name.partition(".")[0]]) / (2 * eps)
        array[...] = kept
        np.testing.assert_allclose((gradients[name] * direction).sum(), slope, rtol=1e-7, atol=1e-10, err_msg=name)
    for name, delta in rule.deltas.items():  # in the direction of the activity, for each example by itself
        d, h = (array.reshape(len(delta), -1) for array in (delta, rule.activities[name]))
        np.testing.assert_allclose(
            d * (h * h).sum(axis=1, keepdims=True), h * (d * h).sum(axis=1, keepdims=True), rtol=1e-10, atol=1e-18
        )


def test_at_the_threshold_the_probability_is_one_half():
    net = Network([Linear(4, 2, init="zero"), ReLU(), Linear(2, 3)])
    net["linear1"].b = [1.0, 1.0]  # g = theta = 1 for every example
    rule = ForwardForward().attach(net)
    rule.gradients(net, inputs((4,), 5), np.array([0, 1, 2, 0, 1]), CE)
    np.testing.assert_allclose(rule.deltas["relu1"], np.repeat([-0.5, 0.5], 5)[:, None] / (2 * 5) * np.ones(2))
    np.testing.assert_allclose(rule.local["relu1"]["loss"], np.log(2))


def test_the_threshold_of_the_sum_is_the_number_of_units():
    """Both kinds of goodness put the same examples on the right side: sum(h^2) > u if mean(h^2) > 1."""
    net, (x, y) = unit_length_net(), batch(n=40, shape=(5, 5, 2))
    mean, total = (ForwardForward(goodness=kind).attach(net) for kind in ("mean", "sum"))
    for rule in (mean, total):
        rule.gradients(net, x, y, CE)
    assert mean.thetas == {"relu1": 1.0, "leakyrelu1": 1.0} and total.thetas == {"relu1": 12.0, "leakyrelu1": 4.0}
    for name, units in total.units.items():
        assert 0 < mean.local[name]["accuracy"] == total.local[name]["accuracy"] < 1
        np.testing.assert_allclose(total.g[name], units * mean.g[name])
    assert ForwardForward(theta=2).attach(net).thetas == {"relu1": 2.0, "leakyrelu1": 2.0}


# --- labels -----------------------------------------------------------------------------------------------------------


def test_wrong_labels_are_uniform_among_the_others_and_keyed_by_the_step():
    rule, y = ForwardForward(seed=2).attach(dense()), np.repeat([0, 1, 2], 3000)
    wrong = rule.wrong(np.eye(3)[y], step=7)
    pairs = mf.metrics.confusion(y, wrong.argmax(axis=1))
    assert (wrong.sum(axis=1) == 1).all() and (np.diag(pairs) == 0).all()
    assert abs(pairs[~np.eye(3, dtype=bool)] - 1500).max() < 4 * (3000 / 4) ** 0.5
    np.testing.assert_array_equal(rule.wrong(np.eye(3)[y], step=7), wrong)
    assert (rule.wrong(np.eye(3)[y], step=8) != wrong).any()
    assert (ForwardForward(seed=3).attach(dense()).wrong(np.eye(3)[y], step=7) != wrong).any()


def test_labels_are_written_into_the_first_values_of_an_image_and_nothing_else_changes():
    net, x = unit_length_net(), inputs((5, 5, 2), 2)
    rule, before = ForwardForward(mark=7.0).attach(net), x.copy()
    marked = rule.marked(x, np.eye(3)[[2, 1]])
    assert marked.reshape(2, -1)[:, :3].tolist() == [[0, 0, 7], [0, 7, 0]]
    assert rule.unmarked(x).reshape(2, -1)[:, :3].tolist() == [[0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(marked.reshape(2, -1)[:, 3:], x.reshape(2, -1)[:, 3:])
    np.testing.assert_array_equal(x, before)


def test_class_indices_and_one_hot_rows_are_the_same_and_other_targets_are_refused():
    net, (x, y) = dense(), batch(shape=(4,))
    rule = ForwardForward().attach(net)
    results = []
    for targets in (y, y.tolist(), np.eye(3)[y]):
        rule.gradients(net, x, targets, CE)
        results.append({name: array.copy() for name, array in net.gradients().items()})
    assert_same_bits(*results[:2])
    assert_same_bits(*results[1:])
    for targets in (np.eye(3)[y] * 0.9, np.ones((8, 3)), np.zeros((8, 3))):
        with pytest.raises(ValueError, match="'forward_forward' needs classes, whose labels it writes into the input"):
            rule.gradients(net, x, targets, mf.HalfSquaredError())


# --- predictions ------------------------------------------------------------------------------------------------------


def test_the_prediction_is_the_goodness_of_each_label_without_the_first_layer():
    net, (x, _) = dense((5, 6, 7)), batch(shape=(4,))
    totals = {}
    for label in range(3):
        listen = mf.Listen({"relu1", "relu2", "relu3"})
        net.forward(np.hstack([np.tile(3.0 * np.eye(3)[label], (8, 1)), x[:, 3:]]), listen)
        totals[label] = [(listen.outputs[name] ** 2).mean(axis=1) for name in ("relu1", "relu2", "relu3")]
    for first, default in ((1, False), (2, True), (3, False)):
        expected = np.stack([sum(totals[label][first - 1 :]) for label in range(3)], axis=1)
        rule = ForwardForward(from_layer=None if default else first).attach(net)
        np.testing.assert_allclose(rule.predict(net, x), expected, rtol=1e-12)
    assert ForwardForward().attach(dense((5,))).counted == ["relu1"]  # the only one
    with pytest.raises(ValueError, match="from_layer must be at most 3, the number of hidden layers, got 4"):
        ForwardForward(from_layer=4).attach(net)


def test_the_readout_is_the_output_for_inputs_without_a_label():
    net, (x, _) = dense(), batch(shape=(4,))
    rule = ForwardForward(prediction="readout").attach(net)
    np.testing.assert_array_equal(rule.predict(net, x), net.predict(np.hstack([np.zeros((8, 3)), x[:, 3:]])))


def test_it_learns_the_digits_and_nothing_from_shuffled_labels():
    """Evaluation, training and classification ask the rule."""
    data = mf.data.load("digits")
    labels = {"right": data.train.y, "shuffled": np.random.default_rng(0).permutation(data.train.y)}
    accuracy = {}
    with mf.using("numpy", "float32"):
        for name, y in labels.items():
            net = Network(mf.models.mlp((8, 8, 1), 10, (48, 48), unit_length=True), input_shape=(8, 8, 1))
            rule = ForwardForward().attach(net)
            trainer = mf.Trainer(net, rule, CE, mf.Adam(0.005))
            history = trainer.fit(mf.data.Examples(data.train.x, y), epochs=6, batch_size=50, validation=data.test)
            accuracy[name] = history[-1]["validation_accuracy"]
            assert accuracy[name] == mf.evaluate(net, data.test, rule=rule)["accuracy"]
            assert accuracy[name] == (net.classify(data.test.x, rule=rule) == data.test.y).mean()
            accuracy[f"{name}, second layer"] = history[-1]["relu2.local_accuracy"]
    assert accuracy["right"] > 0.8 and accuracy["right, second layer"] > 0.75, accuracy
    assert accuracy["shuffled"] < 0.25 and accuracy["shuffled, second layer"] < 0.65, accuracy


def test_hidden_layers_see_each_example_twice_so_that_only_the_outputs_target_is_compared():
    net, (x, y) = dense(), batch(shape=(4,))
    rule = ForwardForward().attach(net)
    rule.gradients(net, x, y, CE)
    assert {name: len(h) for name, h in rule.activities.items()} == {"relu1": 16, "relu2": 16, "linear3": 8}
    assert list(mf.target_metrics.target_alignment(net, rule, x, y, CE)) == ["linear3"]


def test_with_frozen_hidden_layers_it_is_shallow_on_inputs_without_labels():
    """The control: the same read-out on random features."""
    results = []
    for rule, frozen in ((ForwardForward(), ("linear1", "linear2")), (Shallow(), ())):
        net, (x, y) = dense(), batch(shape=(4,))
        net.freeze(*frozen)
        rule.attach(net)
        value = rule.gradients(net, np.hstack([np.zeros((8, 3)), x[:, 3:]]), y, CE)
        results.append({"value": value, **{key: a for key, a in net.gradients().items() if a is not None}})
    assert_same_bits(*results)
    assert results[0].keys() == {"value", "linear3.W", "linear3.b"}


def test_the_command_line_trains_it_and_writes_what_each_layer_measures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network_options = ["--data", "digits", "--model", "mlp", "--hidden", "8,8"]
    training = ["--rule", "forward_forward", "--lr", "0.1", "--epochs", "1", "--quiet", "--out", "run"]
    with mf.using("numpy", "float32"):
        assert program.main(["train", *network_options, "--unit-length", *training]) == 0
    columns = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"relu1.local_loss", "relu1.local_accuracy", "relu2.local_loss", "relu2.local_accuracy"} <= {*columns}


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_after_unit_length_every_example_has_the_same_goodness():
    x = np.random.default_rng(0).standard_normal((6, 50)) * np.logspace(-2, 3, 6)[:, None]
    y = UnitLength().forward(x, mf.Pass())
    np.testing.assert_allclose((y * y).mean(axis=1), 1, rtol=2e-4)  # eps = 1e-8 beside mean squares from 1e-4 on
    np.testing.assert_allclose((y * y).mean(axis=1)[3:], 1, rtol=1e-8)


def test_inactive_examples_are_no_trouble(engine):
    """All units off, as a large negative bias makes them: zeros and finite numbers everywhere."""
    net, (x, y) = dense(), batch(shape=(4,))
    for name in ("linear1", "linear2"):
        net[name].b = np.full(net[name].b.shape, -1e3)
    rule = ForwardForward().attach(net)
    value = rule.gradients(net, x, y, CE)
    gradients = {name: mf.to_host(array) for name, array in net.gradients().items()}
    assert np.isfinite(float(value)) and all(np.isfinite(array).all() for array in gradients.values())
    assert not gradients["linear1.W"].any() and not gradients["linear2.W"].any() and gradients["linear3.b"].any()
    assert float(rule.local["relu1"]["accuracy"]) == 0.5  # the negative rows are on the right side


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            lambda: [Linear(4, 5), ReLU(), Linear(5, 6), ReLU(), Linear(6, 3)],
            (4,),
            "Linear 'linear2' would receive the length of its input, .* goodness of 'relu1'.*put a UnitLength",
        ),
        (
            lambda: [Linear(4, 5), BatchNorm(5), ReLU(), Linear(5, 3)],
            (4,),
            "BatchNorm 'batchnorm1' mixes right and wrong",
        ),
        (lambda: [Residual([Linear(4, 4), ReLU()]), Linear(4, 3)], (4,), "Residual 'residual1' has a shortcut"),
        (lambda: [Linear(4, 5), ReLU(), Linear(5, 4)], (4,), "more inputs than classes.* has 4 inputs and 4 outputs"),
        (lambda: [Linear(4, 5), ReLU(), Linear(5, 1)], (4,), "has 4 inputs and 1 outputs"),
        (lambda: [Linear(4, 3)], (4,), "teaches hidden layers, and the network has none"),
        (lambda: [Conv2d(1, 2, 3), ReLU(), mf.GlobalAvgPool(), Linear(2, 2)], None, "the input size must be known"),
    ],
)
def test_networks_that_cannot_learn_so_are_refused_with_the_remedy(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        ForwardForward().attach(Network(layers(), input_shape=shape))


@pytest.mark.parametrize(
    "option", ["goodness=max", "theta=0", "mark=0", "prediction=output", "from_layer=0", "from_layer=1.5"]
)
def test_invalid_options_are_refused_by_name(option):
    with pytest.raises((ValueError, TypeError), match=option.partition("=")[0]):
        make(f"forward_forward:{option}")
