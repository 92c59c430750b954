"""Networks: stable names, early shape checks with clear messages, state that is restored completely or not at all."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Network,
    Pass,
    ReLU,
    Residual,
    Tanh,
)
from minifa.testing.examples import batch, inputs, network, small_convnet


def blocks():
    return Network(
        [
            Conv2d(1, 2, 3, padding=1),
            Residual([Conv2d(2, 2, 3, padding=1)]),
            Residual([Conv2d(2, 2, 3, padding=1), ReLU(), Residual([Conv2d(2, 2, 1)])], [Conv2d(2, 2, 1, name="skip")]),
            GlobalAvgPool(),
            Linear(2, 3, name="readout"),
        ],
        input_shape=(4, 4, 1),
    )


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_paths_in_forward_order():
    net = blocks()
    assert [layer.name for layer in net] == [
        "conv1",
        "residual1",
        "residual1.body.conv1",
        "residual2",
        "residual2.body.conv1",
        "residual2.body.relu1",
        "residual2.body.residual1",
        "residual2.body.residual1.body.conv1",
        "residual2.shortcut.skip",
        "globalavgpool1",
        "readout",
    ]
    assert net["residual2.body.conv1"].weight_shape == (3, 3, 2, 2)
    assert net.output_layer is net["readout"] and len(net) == 11
    assert [layer.name for layer in net.weighted][-2:] == ["residual2.shortcut.skip", "readout"]


@pytest.mark.usefixtures("engine")
def test_an_unknown_name_suggests_known_ones():
    with pytest.raises(KeyError, match="unknown layer 'readuot': did you mean readout"):
        blocks()["readuot"]


@pytest.mark.usefixtures("engine")
def test_impossible_networks_are_refused():
    layer = Linear(2, 2)
    Network([layer])
    for layers, error, message in (
        ([], ValueError, "at least one layer"),
        ([Linear(2, 2, name="a"), Linear(2, 2, name="a")], ValueError, "the name 'a' belongs to two layers"),
        ([Linear(2, 2, name="linear2"), Linear(2, 2)], ValueError, "the name 'linear2' belongs to two layers"),
        ([layer], ValueError, "Linear 'linear1' is already in a network"),
        ([Residual([layer])], ValueError, "is already in a network"),
        ([Linear(2, 2), "relu"], TypeError, "each layer must be a minifa.layers.Layer, got 'relu'"),
    ):
        with pytest.raises(error, match=message):
            Network(layers)
    with pytest.raises(ValueError, match="the network has no weighted layer"):
        mf.rules.BP().attach(Network([ReLU()]))


def test_weights_depend_on_seed_and_name_alone():
    one, other = Network([Linear(3, 3), Linear(3, 3)], seed=1), Network([Linear(3, 3), ReLU(), Linear(3, 3)], seed=1)
    np.testing.assert_array_equal(one["linear2"].W, other["linear2"].W)
    assert (one["linear1"].W != one["linear2"].W).all()
    assert (Network([Linear(3, 3)], seed=2)["linear1"].W != one["linear1"].W).all()


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "layers, shape, message",
    [
        (
            lambda: [Linear(3, 4), Linear(5, 2)],
            None,
            r"Linear 'linear2' expects 5 inputs per example, got 4 \(its input comes from 'linear1'\)",
        ),
        (
            lambda: [Linear(3, 4)],
            (5,),
            r"Linear 'linear1' expects 3 .* got 5 \(its input comes from the network's input\)",
        ),
        (
            lambda: [Conv2d(1, 2, 3), MaxPool(2), Linear(8, 2)],
            (6, 6, 1),
            r"got 2 x 2 x 2: put a Flatten before it \(.* 'maxpool1'\)",
        ),
        (
            lambda: [Flatten(), BatchNorm(9)],
            (2, 2, 2),
            r"BatchNorm 'batchnorm1' expects 9 features.*got 8.*comes from 'flatten1'",
        ),
        (
            lambda: [Linear(4, 4), Residual([Linear(4, 4), Linear(3, 4)])],
            None,
            r"Linear 'residual1.body.linear2' expects 3 .*comes from 'residual1.body.linear1'",
        ),
        (
            lambda: [Linear(4, 4), Residual([Linear(4, 3)])],
            None,
            r"body and shortcut of Residual 'residual1' must have the same output shape, got 3 and 4 per example",
        ),
    ],
)
def test_shapes_that_do_not_fit_name_the_layer_and_its_source(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        Network(layers(), input_shape=shape)


@pytest.mark.usefixtures("engine")
def test_branches_with_different_shapes_are_refused_in_the_forward_pass():
    net = Network([Residual([Conv2d(1, 2, 3)], [Conv2d(1, 2, 1)])])
    with pytest.raises(ValueError, match="must have the same output shape, got 2 x 2 x 2 and 4 x 4 x 2"):
        net.forward(inputs((4, 4, 1)))


def test_inputs_that_do_not_fit_are_refused(engine):
    net = Network([Linear(3, 2)])
    for x, error, message in (
        (
            mf.asarray(np.zeros((2, 4))),
            ValueError,
            r"expects 3 per example, got 4 \(the whole input has shape \(2, 4\)\)",
        ),
        (
            mf.asarray(np.zeros(3)),
            ValueError,
            r"expects a batch \(N, ...\) of at least one example, got an array of shape \(3,\)",
        ),
        (mf.asarray(np.zeros((0, 3))), ValueError, r"at least one example, got an array of shape \(0, 3\)"),
        (
            mf.asarray(np.zeros((2, 3)), "float64"),
            TypeError,
            r"network\'s dtype float32, got float64: .*x.astype\('float32'\)",
        ),
        (mf.asarray(np.zeros((2, 3), int)), TypeError, "expects floating-point numbers, got dtype int64"),
        ([[1.0, 2.0, 3.0]], TypeError, r"got builtins.list: move it with minifa.asarray\(x\)"),
    ):
        with pytest.raises(error, match=message):
            net.forward(x)


def test_no_error_is_propagated_below_the_lowest_learning_layer():
    net = blocks()
    assert [layer.name for layer in net if isinstance(layer, mf.Weighted) and not layer.needs_input_gradient] == [
        "conv1"
    ]
    inside = Network([Residual([Linear(3, 3), Linear(3, 3)], [Linear(3, 3)]), Linear(3, 2)])
    assert [layer.needs_input_gradient for layer in inside.weighted] == [False, True, False, True]
    first = Network([Flatten(), BatchNorm(4), Linear(4, 2)], input_shape=(2, 2, 1))
    assert first["linear1"].needs_input_gradient and not first["batchnorm1"].needs_input_gradient


def test_input_error_asks_for_the_gradient_of_the_input():
    x, y = batch(shape=(4,))
    for input_error in (False, True):
        net = Network([Linear(4, 3)], input_error=input_error)
        rule = mf.rules.BP().attach(net)
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        below = net.backward(rule.error, rule)
        if input_error:
            np.testing.assert_allclose(below, rule.error @ net["linear1"].W.T, rtol=1e-6)
        else:
            assert below is None
        assert ("linear1" in rule.B) == input_error


# --- summary ----------------------------------------------------------------------------------------------------------


def test_summary_shows_every_layer_and_the_feedback_it_costs():
    net = small_convnet()
    text = net.summary(mf.rules.FA().attach(net))
    print(text)
    rows = [line.split() for line in text.splitlines() if not line.startswith("-")]
    assert rows[0] == ["layer", "kind", "output", "parameters", "feedback"]
    by_name = {row[0]: row for row in rows[1:]}
    assert set(by_name) == {layer.name for layer in net} | {"total"}
    # conv1: 3*3*2*4 + 4 parameters; nothing upstream learns, so no feedback
    assert by_name["conv1"] == ["conv1", "Conv2d", "8", "x", "8", "x", "4", "76", "0"]
    assert by_name["residual1.body.conv1"][-2:] == ["148", "144"]
    parameters = sum(array.size for array in net.parameters().values())
    feedback = sum(layer.W.size for layer in net.weighted if layer.name != "conv1")
    assert by_name["total"][1:] == [f"{parameters:,}", f"{feedback:,}"]
    assert "feedback" not in net.summary()
    assert "?" in Network([Conv2d(1, 2, 3)]).summary(), "an unknown shape is not made up"


# --- state ------------------------------------------------------------------------------------------------------------


def test_loading_a_state_makes_two_networks_equal(engine):
    net, other = small_convnet(seed=0), small_convnet(seed=1)
    x, _ = batch()
    net.forward(x, Pass(training=True))  # updates the running statistics
    state = net.state()
    assert all(type(array) is np.ndarray for array in state.values())
    assert {"conv1.W", "conv1.b", "batchnorm1.gamma", "batchnorm1.running_var"} <= state.keys()
    before = mf.to_host(net.forward(x))
    other.load_state(state)
    np.testing.assert_array_equal(mf.to_host(other.forward(x)), before)
    state["conv1.W"][...] = 0
    np.testing.assert_array_equal(mf.to_host(net.forward(x)), before, err_msg="the state is not a copy")


@pytest.mark.parametrize(
    "corrupt, message",
    [
        (lambda s: s.pop("linear2.b"), r"does not belong to this network: missing \['linear2.b'\], unknown nothing"),
        (lambda s: s.update(extra=np.zeros(1)), r"missing nothing, unknown \['extra'\]"),
        (
            lambda s: s.update({"linear2.W": np.zeros((3, 8))}),
            r"'linear2.W' of this network must have shape \(8, 3\), got \(3, 8\)",
        ),
        (
            lambda s: s.update({"linear2.b": np.array([0, np.nan, 0])}),
            "'linear2.b' of this network must hold finite numbers",
        ),
        (
            lambda s: s.update({"linear2.b": np.array(["a", "b", "c"])}),
            "'linear2.b' of this network must hold finite numbers",
        ),
    ],
    ids=["missing", "unknown", "shape", "nan", "text"],
)
def test_a_state_that_does_not_fit_changes_nothing(corrupt, message):
    net, state = small_convnet(), small_convnet(seed=1).state()
    before = net.state()
    corrupt(state)
    with pytest.raises(ValueError, match=message):
        net.load_state(state)
    for key, array in net.state().items():
        np.testing.assert_array_equal(array, before[key])


def test_loading_writes_into_the_live_arrays():
    """References to a weight (in an optimizer, a view in a notebook) show the loaded values."""
    net = small_convnet()
    held = net["linear1"].W
    net.load_state(small_convnet(seed=1).state())
    assert net["linear1"].W is held and (held == small_convnet(seed=1)["linear1"].W).all()


# --- predict ----------------------------------------------------------------------------------------------------------


def test_predict_accepts_host_arrays_in_batches_and_changes_nothing(engine):
    net = small_convnet()
    x = np.random.default_rng(0).standard_normal((7, 8, 8, 2))
    before = net.state()
    whole = net.predict(x)
    assert type(whole) is np.ndarray and whole.shape == (7, 3) and whole.dtype == np.float32
    np.testing.assert_allclose(net.predict(x, batch_size=3), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(whole, mf.to_host(net.forward(mf.asarray(x))))
    for key, array in net.state().items():
        np.testing.assert_array_equal(array, before[key])


def test_predict_accepts_integers_and_lists():
    net = Network([Linear(2, 1)])
    np.testing.assert_array_equal(net.predict([[1, 2]]), net.predict(np.array([[1.0, 2.0]])))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.array([[0.0, np.nan]]), ValueError, "must be finite"),
        (np.array([[0.0, np.inf]]), ValueError, "must be finite"),
        (np.zeros((0, 2)), ValueError, "at least one example"),
        (np.zeros((2, 3)), ValueError, "expects 2 per example, got 3"),
        (np.array([["a", "b"]]), TypeError, "must be real numbers, got ndarray of dtype <U1"),
    ],
)
def test_predict_refuses(x, error, message):
    with pytest.raises(error, match=message):
        Network([Linear(2, 1)]).predict(x)


# --- preserved --------------------------------------------------------------------------------------------------------


def test_preserved_restores_caches_and_gradients(float64):
    net = network([Linear(3, 4), BatchNorm(4), Tanh(), Dropout(0.5), Linear(4, 2)], (3,))
    rule = mf.rules.BP().attach(net)
    rule.gradients(net, inputs((3,)), np.array([0, 1, 0]), mf.SoftmaxCrossEntropy())
    caches = [layer.cache for layer in net]
    gradients = net.gradients()
    with pytest.raises(KeyError), net.preserved():
        rule.gradients(net, inputs((3,), seed=9), np.array([1, 1, 1]), mf.SoftmaxCrossEntropy())
        raise KeyError
    assert all(layer.cache is cache for layer, cache in zip(net, caches, strict=True))
    assert all(gradient is gradients[name] for name, gradient in net.gradients().items())


def test_gradients_are_none_until_computed_and_after_clearing():
    net = small_convnet()
    assert set(net.gradients().values()) == {None}
    x, y = batch()
    mf.rules.BP().attach(net).gradients(net, x, y, mf.SoftmaxCrossEntropy())
    assert all(g is not None and g.shape == net.parameters()[key].shape for key, g in net.gradients().items())
    net.clear_gradients()
    assert set(net.gradients().values()) == {None}


def test_a_pass_receives_every_output_and_may_change_it():
    class Double(Pass):
        def __init__(self):
            super().__init__()
            self.seen = []

        def after(self, layer, y):
            self.seen.append(layer.name)
            return y * 2 if layer.name == "linear1" else y

    net = Network([Linear(2, 3), Residual([Linear(3, 3)]), Linear(3, 1)])
    ctx, x = Double(), mf.asarray(np.ones((1, 2)))
    y = net.forward(x, ctx)
    assert ctx.seen == ["linear1", "residual1.body.linear1", "residual1", "linear2"]
    np.testing.assert_allclose(y, 2 * net.forward(x), rtol=1e-6)  # the biases are zero, so the network is linear


def test_assigned_weights_are_copied_into_place_and_learn():
    """Also from a transposed view (PyTorch's layout): the layer copies it into its own memory and dtype."""
    net = mf.Network([mf.Linear(3, 2)])
    net["linear1"].W = np.arange(6.0).reshape(2, 3).T
    net["linear1"].b = np.arange(4.0)[::2]
    assert net["linear1"].W.flags.c_contiguous and net["linear1"].W.dtype == net.dtype
    rule = mf.rules.BP().attach(net)
    x = np.ones((4, 3), net.dtype)
    before = net.state()
    rule.gradients(net, x, np.zeros(4, int), mf.SoftmaxCrossEntropy())
    mf.SGD(lr=1.0).step(net, rule)
    assert (net.state()["linear1.W"] != before["linear1.W"]).all()
    with pytest.raises(ValueError, match=r"W of Linear 'linear1' must have shape \(3, 2\), got \(2, 3\)"):
        net["linear1"].W = np.zeros((2, 3))


# Checks are made once a pass: what must not be lost by that


def test_a_prediction_between_forward_and_backward_changes_nothing(engine):
    net = mf.Network([mf.Conv2d(1, 2, 3), mf.Flatten(), mf.Linear(8, 3)], seed=0, input_shape=(4, 4, 1))
    rule = mf.rules.BP().attach(net)
    rng = np.random.default_rng(0)
    x, few = (mf.asarray(rng.normal(size=(n, 4, 4, 1))) for n in (8, 3))
    net.forward(x, mf.Pass(training=True))
    net.predict(few)
    with pytest.raises(ValueError, match=r"expects an error of shape \(8, 3\), got \(3, 3\)"):
        net.backward(mf.asarray(rng.normal(size=(3, 3))), rule)
    net.backward(mf.asarray(rng.normal(size=(8, 3))), rule)
    assert net["conv1"].grads["W"].shape == net["conv1"].W.shape


def test_no_input_is_refused_like_any_other(engine):
    with pytest.raises(TypeError, match="the network expects an array of the backend"):
        mf.Network([mf.Linear(4, 3)]).forward(None)


def test_a_batch_is_not_kept_by_a_network_that_has_refused_its_targets():
    net = mf.Network([mf.Linear(4, 3)], seed=0)
    rule = mf.rules.BP().attach(net)
    x = mf.asarray(np.ones((2, 4)))
    with pytest.raises(ValueError, match="class"):
        rule.gradients(net, x, [0, 7], mf.SoftmaxCrossEntropy())
    assert not any(one is x for one in vars(net).values())


def test_a_layer_inside_a_user_defined_layer_checks_its_input(engine):
    class Outer(mf.Layer):
        kind = "outer"

        def __init__(self):
            super().__init__()
            self.inner = mf.BatchNorm(1)

        def forward(self, x, ctx):
            return self.inner.forward(x, ctx)

        def backward(self, delta, rule):
            return delta

    net = mf.Network([mf.Linear(4, 3), Outer()], seed=0)
    with pytest.raises(ValueError, match="expects 1 features"):
        net.forward(mf.asarray(np.ones((2, 4))))


def test_a_prediction_tells_the_layers_of_a_block_no_shapes(engine):
    net = mf.Network([mf.Residual([mf.Conv2d(1, 1, 3, padding=1), mf.ReLU()])], seed=0)
    net.predict(np.ones((2, 5, 5, 1)))
    assert all(layer.input_shape is None and layer.output_shape is None for layer in net)
    known = mf.Network([mf.Residual([mf.Conv2d(1, 1, 3, padding=1), mf.ReLU()])], seed=0, input_shape=(5, 5, 1))
    assert all(layer.input_shape == layer.output_shape == (5, 5, 1) for layer in known)


def test_a_measurement_between_forward_and_backward_of_a_user_defined_layer(engine):
    class Double(mf.Layer):
        kind = "double"

        def forward(self, x, ctx):
            return 2 * x

        def backward(self, delta, rule):
            return 2 * delta

    net = mf.Network([mf.Linear(4, 3), Double()], seed=0)
    rule = mf.rules.BP().attach(net)
    x, delta = mf.asarray(np.ones((8, 4))), mf.asarray(np.ones((8, 3)))
    net.forward(x, mf.Pass(training=True))
    mf.metrics.alignment(net, rule, x[:4], [0, 1, 2, 0], mf.SoftmaxCrossEntropy())
    net.backward(delta, rule)
    assert net["linear1"].grads["W"].shape == (4, 3)
