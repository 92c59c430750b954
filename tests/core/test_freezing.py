"""Frozen layers keep every bit of their parameters; the others learn as before; errors are propagated to the lowest
learning layer."""

from __future__ import annotations

import re

import numpy as np
import pytest
from checks import update

import minifa as mf
from minifa import BatchNorm, Linear, Network, Pass, ReLU, Residual, Tanh
from minifa.testing.examples import ALL_RULES, batch, inputs, network, network_for, small_convnet
from minifa.testing.gradient_check import check_gradients

FROZEN = ("conv1", "batchnorm1", "residual1", "linear1")


def owned(name, layers=FROZEN):
    return any(name.startswith(f"{layer}.") for layer in layers)


OPTIMIZERS = {
    "momentum and decay": lambda: mf.SGD(0.05, momentum=0.9, weight_decay=0.1),
    "adamw": lambda: mf.AdamW(0.01),
    "held": lambda: mf.SGD(0.05, clip_norm=0.5, manhattan=True, constrain_weights=True, freeze_signs=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("description", ALL_RULES)
def test_frozen_layers_keep_every_bit_and_the_others_are_updated(description, optimizer, engine):
    net = network_for(description)
    frozen = [layer.name for layer in net.layers if layer.name in FROZEN]
    net.freeze(*frozen)
    rule, loss, optimizer = (
        mf.rules.make(description, seed=1).attach(net),
        mf.SoftmaxCrossEntropy(),
        OPTIMIZERS[optimizer](),
    )
    mf.metrics.alignment(net, rule, *batch(shape=net.input_shape), loss)  # of the learning layers; changes nothing
    before = net.state()
    for step in range(2):
        x, y = batch(shape=net.input_shape, seed=step)
        update(net, rule, x, y, loss, optimizer)
    for name, array in net.state().items():
        moved = not np.array_equal(array, before[name])
        learns = not owned(name) and not name.endswith(".t")  # a gate's t is fixed
        assert moved == (learns and (description != "shallow" or name.startswith("linear2"))), name
    assert not [name for name in optimizer.state() if owned(name.split("/")[-1]) and not name.startswith("start/")]


@pytest.mark.parametrize("description", ["kolen_pollack", "product"])
def test_learned_feedback_is_constant_for_a_frozen_layer_and_learns_for_the_others(description):
    net = Network([Linear(3, 4), Tanh(), Linear(4, 4), Tanh(), Linear(4, 2)], seed=0)
    net.freeze("linear2")
    rule, optimizer = mf.rules.make(description).attach(net), mf.SGD(0.1)
    before = rule.state()
    update(net, rule, *batch(shape=(3,), classes=2), mf.SoftmaxCrossEntropy(), optimizer)
    learned = "linear3" if description == "kolen_pollack" else "linear3/R"
    assert [name for name, array in rule.state().items() if not np.array_equal(array, before[name])] == [learned]


def test_a_frozen_layer_is_not_perturbed():
    net = Network([Linear(3, 4), Tanh(), Linear(4, 4), Tanh(), Linear(4, 2)], seed=0)
    net.freeze("linear2")
    trace = mf.trace(
        net,
        mf.rules.make("node_perturbation").attach(net),
        *batch(shape=(3,), classes=2),
        mf.SoftmaxCrossEntropy(),
        mf.SGD(0.1),
    )
    assert [moment.layer for moment in trace if moment.kind == "noise"] == ["linear1", "linear3"]


def test_the_other_layers_get_the_same_gradients_as_before_freezing():
    x, y = batch()
    free, partly = small_convnet(batch_norm=False), small_convnet(batch_norm=False)
    partly.freeze("conv1", "residual2", "linear1")
    for net in (free, partly):
        mf.rules.BP().attach(net).gradients(net, x, y, mf.SoftmaxCrossEntropy())
    for name, gradient in partly.gradients().items():
        if owned(name, ("conv1", "residual2", "linear1")):
            assert gradient is None, name
        else:
            np.testing.assert_array_equal(gradient, free.gradients()[name], err_msg=name)


def test_errors_are_propagated_only_to_the_lowest_learning_layer():
    layers = [Linear(3, 3), Tanh(), Residual([Linear(3, 3), Tanh()]), Linear(3, 3), Tanh(), Linear(3, 2)]
    net = Network(layers, seed=0)
    net.freeze("linear1")
    assert {layer.name: layer.needs_input_gradient for layer in net.weighted} == {
        "linear1": False,
        "residual1.body.linear1": False,
        "linear2": True,
        "linear3": True,
    }
    net.freeze("residual1", "linear3")
    assert [layer.name for layer in net.weighted if layer.needs_input_gradient] == ["linear3"]
    assert list(mf.rules.FA().attach(net).B) == ["linear3"]  # it is frozen, and the error crosses it
    net.unfreeze("linear1")
    assert [layer.name for layer in net.weighted if layer.needs_input_gradient] == [
        "residual1.body.linear1",
        "linear2",
        "linear3",
    ]


def test_a_network_asked_for_the_input_s_error_sends_it_through_frozen_layers():
    net = network([Linear(3, 3), Tanh(), Linear(3, 2)], (3,), input_error=True)
    x = inputs((3,))
    rule, loss = mf.rules.BP().attach(net), mf.HalfSquaredError()
    rule.gradients(net, x, np.ones((3, 2)), loss)
    below = net.backward(rule.error, rule)
    net.freeze("linear1", "linear2")
    rule.gradients(net, x, np.ones((3, 2)), loss)
    np.testing.assert_array_equal(net.backward(rule.error, rule), below)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "description, layer", [("fa", "Linear 'linear2'"), ("dtp", "Linear 'linear2'"), ("ddtp", "Tanh 'tanh1'")]
)
def test_unfrozen_layers_learn_again_once_a_rule_is_attached_again(description, layer):
    net = Network([Linear(4, 4), Tanh(), Linear(4, 4), Tanh(), Linear(4, 3)], seed=0)
    net.freeze("linear1")
    rule, loss, optimizer = mf.rules.make(description).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1)
    x, y = inputs((4,)), np.array([0, 1, 2])
    update(net, rule, x, y, loss, optimizer)
    net.unfreeze("linear1")
    with pytest.raises(RuntimeError, match=f"has no matrix for {layer}: .* again after net.unfreeze"):
        rule.gradients(net, x, y, loss)
    before = net.state()
    update(net, rule.attach(net), x, y, loss, optimizer)
    assert (net.state()["linear1.W"] != before["linear1.W"]).any()


def test_freezing_discards_the_gradients_of_a_layer():
    net = Network([Linear(4, 3)])
    rule, x = mf.rules.BP().attach(net), inputs((4,))
    rule.gradients(net, x, np.array([0, 1, 2]), mf.SoftmaxCrossEntropy())
    net.freeze("linear1")
    before = net.state()
    mf.SGD(1.0, weight_decay=0.1).step(net, rule)
    np.testing.assert_array_equal(net.state()["linear1.W"], before["linear1.W"])


class IgnoresFrozen(mf.rules.BP):
    """A user-defined rule that stores a gradient in every layer, frozen or not."""

    def gradients(self, net, x, y, loss):
        value = super().gradients(net, x, y, loss)
        for layer in net.weighted:
            layer.grads["W"] = mf.asarray(np.full(layer.W.shape, 100.0))
        return value


def test_gradients_for_frozen_layers_are_neither_applied_nor_counted_in_the_clipped_norm():
    net = Network([Linear(4, 4), Tanh(), Linear(4, 3, bias=False)], seed=0)
    net.freeze("linear1")
    before = net.state()
    update(
        net,
        IgnoresFrozen().attach(net),
        inputs((4,)),
        np.array([0, 1, 2]),
        mf.SoftmaxCrossEntropy(),
        mf.SGD(1, clip_norm=1),
    )
    np.testing.assert_array_equal(net.state()["linear1.W"], before["linear1.W"])
    moved = before["linear2.W"] - net.state()["linear2.W"]
    assert np.linalg.norm(moved) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(4,), (3, 2, 4)], ids=["features", "images"])
def test_a_frozen_batch_norm_computes_as_in_evaluation(shape):
    layer = BatchNorm(4)
    net = network([layer], shape, input_error=True)
    net.forward(inputs(shape, n=5) * 3 + 1, Pass(training=True))  # its statistics are not those it starts with
    net.freeze("batchnorm1")
    x, before = inputs(shape, n=4, seed=1), net.state()
    y = net.forward(x, Pass(training=True))
    np.testing.assert_array_equal(y, net.forward(x))
    net.forward(x, Pass(training=True))
    c, step = np.random.default_rng(0).standard_normal(y.shape), inputs(shape, n=4, seed=2)
    slope = (c * (net.forward(x + step) - y)).sum()  # it is a linear map: differences of any size are exact
    net.forward(x, Pass(training=True))
    np.testing.assert_allclose((net.backward(c, mf.rules.BP()) * step).sum(), slope, rtol=1e-10)
    for name, array in net.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.usefixtures("float64")
def test_gradients_after_frozen_layers_are_correct():
    """The checker compares every parameter: here those before and after frozen layers."""
    net = network([Linear(4, 5), Tanh(), Linear(5, 5), BatchNorm(5), Tanh(), Linear(5, 3)], (4,), input_error=True)
    net.freeze("linear2", "batchnorm1")
    learning = {name: array for name, array in net.parameters().items() if name[:7] in ("linear1", "linear3")}
    net.parameters = lambda: learning
    check_gradients(net, inputs((4,), n=5))


def test_a_frozen_batch_norm_accepts_a_last_batch_of_one():
    net = Network([Linear(2, 3), BatchNorm(3), ReLU(), Linear(3, 2)], seed=0)
    net.freeze("batchnorm1")
    train = mf.data.Examples(np.random.default_rng(0).standard_normal((5, 2)).astype("float32"), np.arange(5) % 2)
    trainer = mf.Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1))
    assert len(trainer.fit(train, epochs=1, batch_size=4)) == 2


@pytest.mark.usefixtures("engine")
def test_the_summary_and_a_trace_show_the_frozen_layers():
    net = Network([Linear(2, 3), Tanh(), Linear(3, 3), BatchNorm(3), Linear(3, 2)], seed=0)
    net.freeze("linear2", "batchnorm1")
    assert [re.split("  +", line)[1] for line in net.summary().splitlines() if "frozen" in line] == [
        "Linear, frozen",
        "BatchNorm, frozen",
    ]
    parts = net, mf.rules.FA().attach(net), inputs((2,)), np.array([0, 1, 1])
    trace = mf.trace(*parts, mf.SoftmaxCrossEntropy(), mf.SGD(0.1))
    moments = {(moment.kind, moment.layer) for moment in trace}
    assert ("gradients", "linear1") in moments and ("gradients", "linear2") not in moments
    assert (
        ("update", "linear1") in moments
        and ("update", "linear2") not in moments
        and ("update", "batchnorm1") not in moments
    )
    assert ("carry", "linear2") in moments


@pytest.mark.usefixtures("engine")
def test_freezing_an_invalid_layer_is_refused_and_changes_nothing():
    net = Network([Linear(2, 3), Tanh(), Linear(3, 2)])
    with pytest.raises(ValueError, match="unknown layer to freeze 'linaer2': did you mean linear2"):
        net.freeze("linear1", "linaer2")
    with pytest.raises(ValueError, match="Tanh 'tanh1' has no parameters to freeze"):
        net.freeze("linear1", "tanh1")
    assert not any(layer.frozen for layer in net) and net["linear2"].needs_input_gradient


def test_experiments_freeze_the_named_layers(tmp_path):
    from minifa.experiments import Experiment, run

    experiment = Experiment(
        data="xor", model="mlp", model_options={"hidden": (4, 4)}, freeze="linear1, linear2", epochs=2
    )
    _, trainer = run(experiment)
    assert [layer.name for layer in trainer.net if layer.frozen] == ["linear1", "linear2"]
    start = Network(mf.models.mlp((2,), 2, hidden=(4, 4)), seed=0).state()
    moved = {name for name, array in trainer.net.state().items() if not np.array_equal(array, start[name])}
    assert moved == {"linear3.W", "linear3.b"}
