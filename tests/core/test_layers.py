"""Every layer's derivative against central differences; no input is changed in place; error messages are full
sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_same_bits
from conftest import install

import minifa as mf
from minifa import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Pass,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
    backend,
)
from minifa.layers import conv, windows
from minifa.layers.local_response_norm import response_plain
from minifa.layers.locally_connected import products_plain
from minifa.parallel import chunks
from minifa.rules import BP
from minifa.testing.examples import GEOMETRIES, inputs, network
from minifa.testing.gradient_check import check_gradients
from minifa.testing.read_only import ReadOnlyErrors, ReadOnlyPass, read_only

pytestmark = pytest.mark.usefixtures("float64")

# convolutions that gather the error of their input: stride 1, with maps hardly larger than the input
GATHERED = (
    *("Conv2d 1x1", "Conv2d 3x3", "Conv2d 3x3, no bias"),
    *("Conv2d 5x5, padding 2", "Conv2d 3x5, padding (1, 2)", "Conv2d 3x3, dilation 2", "Conv2d 3x3, 2 groups"),
    *("Conv2d 3x3, depthwise", "Conv2d 2x4, padding same, dilation (3, 1)", "Conv2d 1x1, 2 groups"),
)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradients(name):
    layers, shape = GEOMETRIES[name]
    check_gradients(network(layers(), shape, input_error=True), inputs(shape, n=4))


# --- the gradient checker must detect errors --------------------------------------------------------------------------


class WrongSlope(Tanh):
    def times_slope(self, below, delta, y):
        below[...] = delta * (1 - y * y) * 1.001


class ForgottenBias(Linear):
    def store_gradients(self, delta):
        super().store_gradients(delta)
        self.grads["b"] = np.zeros_like(self.b)


class OneWrongEntry(Linear):
    def store_gradients(self, delta):
        super().store_gradients(delta)
        self.grads["W"][1, 2] += 1e-3


class WrongShape(Linear):
    def store_gradients(self, delta):
        super().store_gradients(delta)
        self.grads["b"] = self.grads["b"][:1]


@pytest.mark.parametrize(
    "layer, complaint",
    [
        (lambda: WrongSlope(), r"(?s)wrong gradient of input.*ratio 1\.001"),
        (lambda: ForgottenBias(5, 5), r"(?s)wrong gradient of linear1\.b.*gradient \+0\.0+e\+00"),
        (
            lambda: OneWrongEntry(5, 5),
            r"(?s)wrong gradient of linear1\.W.*20 worst of 25 entries.*\n  \(.*1.*2.*\): gradient",
        ),
        (lambda: WrongShape(5, 5), r"grads\['b'\], returned an array of shape \(1,\), expected \(5,\), that of b"),
    ],
    ids=["a slope too large by a thousandth", "a forgotten bias", "one wrong entry", "a wrong shape"],
)
def test_gradient_checker_fails_on_a_wrong_gradient(layer, complaint):
    with pytest.raises((AssertionError, ValueError), match=complaint):
        check_gradients(network([layer()], (5,), input_error=True), inputs((5,)))


def test_gradient_checker_refuses_to_step_over_a_kink_and_to_work_in_float32():
    net = network([ReLU()], (3,), input_error=True)
    with pytest.raises(AssertionError, match="a kink of ReLU 'relu1' lies within the step"):
        check_gradients(net, np.array([[1.0, 1e-9, -1.0]]))
    with mf.using("numpy", "float32"), pytest.raises(AssertionError, match="checked in float64"):
        check_gradients(network([ReLU()], (3,), input_error=True), np.ones((1, 3), np.float32))


# --- nothing is changed in place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_inputs_and_errors_may_be_read_only(name, training):
    """A residual sum passes the same array to two branches: a write in one branch would change the error of the
    other."""
    layers, shape = GEOMETRIES[name]
    net = network(layers(), shape, input_error=True)
    x = read_only(inputs(shape))
    y = net.forward(x, ReadOnlyPass(training=training))
    if training:
        net.backward(read_only(np.ones_like(y)), ReadOnlyErrors())
        assert all(gradient is not None for gradient in net.gradients().values())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_infer_predicts_the_output_shape_and_the_dtype_is_kept(name):
    layers, shape = GEOMETRIES[name]
    with mf.using("numpy", "float32"):
        net = network(layers(), shape, input_error=True)
        own = [*net.parameters().values(), *(array for layer in net for array in layer.buffers().values())]
        assert {array.dtype for array in own} <= {np.dtype("float32")}
        for training in (True, False):
            y = net.forward(inputs(shape), Pass(training))
            assert y.shape == (3, *net.output_shape) and y.dtype == np.float32
            assert np.isfinite(y).all()
        net.forward(inputs(shape), Pass(True))
        below = net.backward(np.ones_like(y), BP())
        assert below.shape == (3, *shape) and below.dtype == np.float32
        assert {g.dtype for g in net.gradients().values()} <= {np.dtype("float32")}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_layer_gives_the_same_result_in_chunks_and_in_the_same_dtype(name, monkeypatch):
    layers, shape = GEOMETRIES[name]
    with mf.using("numpy", "float32"):
        results = []
        for limit in (chunks.CHUNK_BYTES, 1):
            monkeypatch.setattr(chunks, "CHUNK_BYTES", limit)
            net = network(layers(), shape, input_error=True)
            y = net.forward(inputs(shape, n=9), Pass(True))
            below = net.backward(inputs(y.shape[1:], n=9, seed=1), BP())
            results.append({"y": y, "below": below, **net.gradients(), **net.state()})
            caches = [one for layer in net for one in (layer.cache if type(layer.cache) is tuple else [layer.cache])]
            floats = [one for one in (y, below, *caches) if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
            assert {one.dtype for one in floats} == {np.dtype("float32")}
        for key, array in results[0].items():
            np.testing.assert_allclose(results[1][key], array, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if " network" not in name])
def test_inputs_of_a_wrong_dtype_are_refused_with_the_name_of_the_layer(name):
    layers, shape = GEOMETRIES[name]
    net = network(layers(), shape)
    with pytest.raises(
        TypeError, match=f"{net.layers[0].name.rstrip('1')}.*expects floating-point numbers, got dtype i"
    ):
        net.layers[0].forward(np.ones((2, *shape), int), Pass(True))


def test_assigned_weights_are_rounded_to_the_precision_of_the_network():
    """That of the network, not the current dtype of the engine."""
    net = mf.Network([Linear(1, 1), Linear(1, 1)])  # made in float64
    fa = mf.rules.FA().attach(net)
    close = np.array([[1 + 1e-12]])
    with mf.using("numpy", "float32"):
        net["linear1"].W = close
        fa.set_feedback("linear2", close)
        state = fa.state()
        fa.load_state(state)
        adam = mf.Adam()
        adam.load_state({f"{slot}/linear1.W": close for slot in adam.slots} | {"count/linear1.W": np.array(1)}, net)
        assert all(array == close for array in adam.arrays["linear1.W"].values())
    assert net["linear1"].W == close and fa.feedback(net["linear2"]) == close
    with mf.using("numpy", "float32"):
        layer = Linear(1, 1)
        layer.W = close
        assert layer.W.dtype == np.float32


def test_a_block_with_no_learning_layer_below_returns_no_error():
    net = network([Residual([Linear(3, 3)], [Linear(3, 3)])], (3,))
    y = net.forward(inputs((3,)), Pass(True))
    assert net.layers[0].backward(np.ones_like(y), BP()) is None


# --- layer by layer ---------------------------------------------------------------------------------------------------


def test_activations_are_their_formulas():
    x = np.array([[-800.0, -1.0, 0.0, 0.5, 800.0]])
    one = x[0, 1:4]
    for layer, middle, ends in (
        (ReLU(), [0, 0, 0.5], (0, 800)),
        (LeakyReLU(0.1), [-0.1, 0, 0.5], (-80, 800)),
        (Tanh(), np.tanh(one), (-1, 1)),
        (Sigmoid(), 1 / (1 + np.exp(-one)), (0, 1)),
        (mf.SiLU(), one / (1 + np.exp(-one)), (0, 800)),
        (mf.ELU(0.1), [0.1 * np.expm1(-1), 0, 0.5], (-0.1, 800)),
        (mf.Softplus(2.0), np.log1p(np.exp(2 * one)) / 2, (0, 800)),
        (mf.GELU(), [one_x * (1 + math.erf(one_x / math.sqrt(2))) / 2 for one_x in one], (0, 800)),
    ):
        y = layer.forward(x, Pass())[0]
        np.testing.assert_allclose(y[1:4], middle, rtol=1e-14)
        np.testing.assert_allclose(y[[0, 4]], ends, atol=1e-300)


def test_the_derivative_of_relu_at_zero_is_zero():
    layer = ReLU()
    layer.forward(np.array([[-1.0, 0.0, 1.0]]), Pass(True))
    np.testing.assert_array_equal(layer.backward(np.full((1, 3), 7.0), BP()), [[0, 0, 7]])


def test_the_error_of_tied_maxima_goes_to_the_first_maximum():
    layer = MaxPool(2)
    layer.forward(np.ones((1, 2, 2, 1)), Pass(True))
    np.testing.assert_array_equal(layer.backward(np.full((1, 1, 1, 1), 3.0), BP())[0, :, :, 0], [[3, 0], [0, 0]])


def test_batchnorm_normalises_and_updates_its_running_statistics():
    # running <- (1 - m) running + m batch, the running variance with 1/(n-1)
    x = inputs((3, 2, 4), n=5) * 3 + 2
    layer = BatchNorm(4, eps=1e-12, momentum=0.3)
    y = layer.forward(x, Pass(True))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, rtol=1e-9)
    np.testing.assert_allclose(layer.running_mean, 0.3 * x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, 0.7 + 0.3 * x.var(axis=(0, 1, 2), ddof=1), rtol=1e-12)
    before = layer.running_mean.copy(), layer.running_var.copy()
    layer.forward(x, Pass(True, update_statistics=False))
    evaluated = layer.forward(x, Pass())
    np.testing.assert_array_equal(before, (layer.running_mean, layer.running_var))
    # evaluation: (x - running_mean) / sqrt(running_var + eps)
    np.testing.assert_allclose(evaluated, (x - before[0]) / np.sqrt(before[1] + 1e-12), rtol=1e-12)


def test_batchnorm_of_a_constant_channel_stays_finite():
    layer = BatchNorm(2)
    x = np.stack([np.full(6, 5.0), np.arange(6.0)], axis=1)
    y = layer.forward(x, Pass(True))
    below = layer.backward(np.ones_like(x), BP())
    assert (y[:, 0] == 0).all() and np.isfinite(y).all() and np.isfinite(below).all()


def test_batchnorm_is_accurate_far_from_zero():
    """The variance is summed about the mean: E[x^2] - E[x]^2 would lose it."""
    x = (1e4 + np.random.default_rng(0).standard_normal((1000, 1))).astype(np.float32)
    with mf.using("numpy", "float32"):
        y = BatchNorm(1).forward(x, Pass(True))
    assert abs(y.std() - 1) < 1e-2


@pytest.mark.parametrize(
    "shape, trains", [((1, 3), False), ((1, 1, 1, 3), False), ((1, 1, 2, 3), True), ((2, 3), True)], ids=str
)
def test_batchnorm_refuses_only_batches_without_variance(shape, trains):
    layer, x = BatchNorm(3), np.random.default_rng(0).standard_normal(shape)
    if trains:
        assert np.isfinite(layer.forward(x, Pass(True))).all()
    else:
        with pytest.raises(ValueError, match="BatchNorm 'batchnorm' must have two or more values per feature, got one"):
            layer.forward(x, Pass(True))
        assert layer.forward(x, Pass()).shape == shape


@pytest.mark.parametrize(
    "shape, batch, frozen, varies",
    [((3,), 1, False, False), ((3,), 2, False, True), ((2, 1, 3), 1, False, True), ((3,), 1, True, True)],
    ids=["one row", "two rows", "one image of two pixels", "one row, frozen"],
)
def test_batchnorm_predicts_whether_a_batch_has_a_variance(shape, batch, frozen, varies):
    net = mf.Network([BatchNorm(3)], input_shape=shape)
    if frozen:
        net.freeze("batchnorm1")
    assert net["batchnorm1"].varies(batch) is varies
    assert BatchNorm(3).varies(batch) is (batch > 1)  # a layer without a network: one position


def test_a_batch_norm_without_parameters_can_be_frozen():
    net = mf.Network([BatchNorm(3, affine=False), Linear(3, 2)])
    net.freeze("batchnorm1")
    before = net["batchnorm1"].running_mean.copy()
    y = net["batchnorm1"].forward(inputs((3,)), Pass(True))
    np.testing.assert_allclose(y, inputs((3,)), rtol=1e-4)  # the initial statistics: mean 0, variance 1
    np.testing.assert_array_equal(net["batchnorm1"].running_mean, before)
    assert net["batchnorm1"].gamma is None
    with pytest.raises(ValueError, match="BatchNorm 'batchnorm1' was created without gamma: assign None"):
        net["batchnorm1"].gamma = np.ones(3)


def test_a_frozen_layer_norm_carries_the_error_and_has_no_gradients():
    free, frozen = (mf.Network([mf.LayerNorm(3)], input_error=True) for _ in range(2))
    frozen.freeze("layernorm1")
    assert "dgamma" in free["layernorm1"].error_equation and "dgamma" not in frozen["layernorm1"].error_equation
    errors = []
    for net in (free, frozen):
        net.forward(inputs((3,)), Pass(True))
        errors.append(net.backward(inputs((3,), seed=1), BP()))
    np.testing.assert_array_equal(*errors)
    assert frozen["layernorm1"].grads == {"gamma": None, "beta": None}


def test_norms_of_examples_are_those_of_each_example_alone():
    x = inputs((3, 2, 4), n=5)
    for layer, axes in ((mf.LayerNorm(4), -1), (mf.LayerNorm((3, 2, 4)), (1, 2, 3)), (mf.GroupNorm(4, 4), (1, 2))):
        layer.eps = 1e-12
        y = layer.forward(x, Pass(True))
        np.testing.assert_allclose(y.mean(axis=axes), 0, atol=1e-12)
        np.testing.assert_allclose(y.var(axis=axes), 1, rtol=1e-7)
        np.testing.assert_allclose(layer.forward(x[:1], Pass()), y[:1], rtol=1e-12)


def test_divisive_normalisation_with_the_power_of_a_half_is_group_normalisation():
    x = inputs((3, 2, 4), n=5)
    divisive, group = mf.DivisiveNorm(2, 4, power=0.5, smoothing=1.2), mf.GroupNorm(2, 4, eps=0.1, affine=False)
    np.testing.assert_allclose(divisive.forward(x, Pass()), group.forward(x, Pass()), rtol=1e-12, atol=1e-14)


def test_batchnorm_s_statistics_are_constant_with_zero_momentum():
    layer = BatchNorm(2, momentum=0)
    layer.forward(inputs((2,), n=5), Pass(True))
    np.testing.assert_array_equal((layer.running_mean, layer.running_var), [(0, 0), (1, 1)])


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name.startswith("Conv2d")])
def test_the_chunks_of_a_convolution_count_the_memory_of_its_patches(name, monkeypatch):
    """It sets the chunks of the forward and backward passes: by the patches of x, or of the error if those are
    gathered."""
    layers, shape = GEOMETRIES[name]
    net, x, cut = network(layers(), shape), inputs(shape, n=2), []
    layer = net.layers[0]
    assert layer.bytes_each(x) == layer.columns(x).nbytes // 2 // layer.groups
    y = net.forward(x, Pass(True))
    columns, each_chunk = windows.columns, conv.each_chunk
    monkeypatch.setattr(conv, "each_chunk", lambda n, size, piece: cut.append(size) or each_chunk(n, size, piece))
    monkeypatch.setattr(windows, "columns", lambda *given: cut.append(columns(*given).nbytes // 2) or columns(*given))
    layer.carry(y, layer.W)
    assert len(cut) in (0, 1 + layer.groups) and len(set(cut)) <= 1  # none where errors are spread
    assert bool(cut) == (name in GATHERED)


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name.startswith("LocallyConnected2d")])
@pytest.mark.parametrize("chunk_bytes", [1 << 22, 1], ids=["whole", "in chunks"])
def test_a_locally_connected_layer_equals_its_plain_reference(name, chunk_bytes, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    layers, shape = GEOMETRIES[name]
    (layer,), x, rng = layers(), inputs(shape, n=4), np.random.default_rng(1)
    y = layer.forward(x, Pass(True))
    delta, B = rng.standard_normal(y.shape), rng.standard_normal(layer.W.shape)
    plain = products_plain(layer, x, delta, B)
    for ours, theirs in zip((y, layer.weight_gradient(x, delta), layer.carry(delta, B)), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(layer.joined(layer.matrices(B)), B)


def test_a_locally_connected_layer_has_the_same_bits_on_any_number_of_threads():
    """Of its products one position alone has more multiply-adds than BLAS computes on one thread."""
    layer, rng = mf.LocallyConnected2d(16, 32, 3, padding=1, input_size=16), np.random.default_rng(1)
    x, delta = rng.standard_normal((64, 16, 16, 16)), rng.standard_normal((64, 16, 16, 32))
    results, before = [], backend.threads()
    for threads in (1, 3):
        backend.use("numpy", "float64", threads=threads)
        y = layer.forward(x, Pass(True))
        results.append({"y": y, "dW": layer.weight_gradient(x, delta), "below": layer.carry(delta, layer.W)})
    backend.use("numpy", "float64", threads=before)
    assert_same_bits(*results)


@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2}], ids=str)
def test_a_convolution_is_a_locally_connected_layer_with_equal_kernels(options):
    """And its gradient is the sum of the gradients at the positions."""
    conv, untied = Conv2d(2, 3, 3, **options), mf.LocallyConnected2d(2, 3, 3, **options, input_size=(5, 6))
    untied.W = np.broadcast_to(conv.W, untied.W.shape)
    x, rng = inputs((5, 6, 2)), np.random.default_rng(1)
    y = conv.forward(x, Pass(True))
    np.testing.assert_allclose(untied.forward(x, Pass(True)), y, atol=1e-15)
    delta = rng.standard_normal(y.shape)
    for ours, theirs in zip(
        untied.weight_and_bias_gradients(x, delta), conv.weight_and_bias_gradients(x, delta), strict=True
    ):
        np.testing.assert_allclose(ours.sum(axis=(0, 1)) if ours.ndim == 6 else ours, theirs, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(untied.carry(delta, untied.W), conv.carry(delta, conv.W), rtol=1e-13, atol=1e-14)
    assert untied.fans == conv.fans


@pytest.mark.parametrize("size, alpha, beta, k", [(1, 1.0, 1.0, 1.0), (4, 0.5, 0.6, 2.0), (9, 1.0, 0.75, 1.0)])
def test_response_normalisation_equals_its_plain_reference(size, alpha, beta, k):
    x = inputs((3, 2, 6), n=4)
    y = LocalResponseNorm(size, alpha, beta, k).forward(x, Pass())
    np.testing.assert_allclose(y, response_plain(x, size, alpha, beta, k), rtol=1e-13)


def test_response_normalisation_runs_on_every_engine(engine):
    net, x = network([LocalResponseNorm(4, alpha=0.5)], (3, 2, 6), input_error=True), inputs((3, 2, 6))
    y = net.forward(x, Pass(True))
    np.testing.assert_allclose(mf.to_host(y), mf.to_host(response_plain(x, 4, 0.5, 0.75, 1.0)), rtol=1e-5)
    below = mf.to_host(net.backward(y, BP()))
    assert below.dtype == np.float32 and np.isfinite(below).all()


NEW_GEOMETRIES = ("dilation", "groups", "padding", "depthwise", "affine", "Norm", "LU", "Softplus")


def test_layers_give_the_same_bits_on_the_stand_in():
    for name in (name for name in GEOMETRIES if any(part in name for part in NEW_GEOMETRIES)):
        results = []
        for engine in ("numpy", "standin"):
            install(engine)
            layers, shape = GEOMETRIES[name]
            net = network(layers(), shape, input_error=True)
            y = net.forward(inputs(shape), Pass(True))
            results.append({"y": y, "below": net.backward(y, BP()), **net.gradients()})
        assert_same_bits(*({key: np.asarray(mf.to_host(a)) for key, a in one.items()} for one in results))


def test_dropout_drops_a_fraction_p_keeps_the_mean_and_repeats_its_mask():
    layer, x = Dropout(0.3), np.ones((100, 500))
    y = layer.forward(x, Pass(True, step=3))
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert abs((y == 0).mean() - 0.3) < 4 * (0.21 / y.size) ** 0.5
    np.testing.assert_array_equal(layer.backward(x, BP()), y)  # the same mask in the backward pass
    np.testing.assert_array_equal(layer.forward(x, Pass(True, step=3)), y)
    assert (layer.forward(x, Pass(True, step=4)) != y).any()
    np.testing.assert_array_equal(layer.forward(x, Pass()), x)
    np.testing.assert_array_equal(Dropout(0.0).forward(x, Pass(True)), x)


def test_two_dropout_layers_of_one_network_have_different_masks():
    net = mf.Network([Dropout(0.5), Dropout(0.5)], input_shape=(1000,))
    net.forward(np.ones((1, 1000)), Pass(True))
    assert (net["dropout1"].cache != net["dropout2"].cache).any()


def test_a_layer_is_shown_by_its_kind_and_name():
    net = mf.Network([mf.Linear(2, 3), mf.ReLU()])
    assert [repr(layer) for layer in net.layers] == ["<Linear 'linear1': W 2 x 3, b 3>", "<ReLU 'relu1'>"]


def test_flatten_keeps_channels_fastest():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(Flatten().forward(x, Pass()), np.arange(12.0).reshape(1, 12))


def test_residual_adds_and_its_error_goes_through_both_branches():
    # y = f(x) + x, dL/dx = f'(x)^T delta + delta
    net = network([Residual([Linear(3, 3)])], (3,), input_error=True)
    x, delta = inputs((3,)), inputs((3,), seed=1)
    linear = net["residual1.body.linear1"]
    np.testing.assert_allclose(net.forward(x, Pass(True)), x @ linear.W + linear.b + x, rtol=1e-14)
    np.testing.assert_allclose(net.backward(delta, BP()), delta @ linear.W.T + delta, rtol=1e-14)


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name.startswith(("Conv2d", "Linear", "Locally"))])
def test_carry_is_the_adjoint_of_project_for_any_matrix(name):
    """<project(x, B), d> = <x, carry(d, B)>: B = W gives backpropagation, any other B feedback alignment."""
    layers, shape = GEOMETRIES[name]
    net = network(layers(), shape)
    layer, x = net.layers[0], inputs(shape)
    y = net.forward(x, Pass(True))
    rng = np.random.default_rng(3)
    B, d = rng.standard_normal(layer.W.shape), rng.standard_normal(y.shape)
    np.testing.assert_allclose((layer.project(x, B) * d).sum(), (x * layer.carry(d, B)).sum(), rtol=1e-11)
    # and <project(x, B), d> = <B, correlate(x, d)>: the gradient of W
    np.testing.assert_allclose((layer.project(x, B) * d).sum(), (B * layer.weight_gradient(x, d)).sum(), rtol=1e-11)


# --- error messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Linear(0, 3), "every size of Linear 'linear' must be at least 1, got 0"),
        (lambda: Linear(2, 3, init="he_norml"), "unknown initialiser 'he_norml': did you mean he_normal"),
        (lambda: Conv2d(1, 1, 0), "kernel_size must be at least 1, got 0"),
        (lambda: Conv2d(1, 0, 3), "out_channels must be at least 1, got 0"),
        (lambda: Conv2d(4, 6, 3, groups=4), "multiples of groups, got 4 and 6 channels in 4 groups"),
        (lambda: Conv2d(1, 1, 3, stride=2, padding="same"), r"stride must be 1 for padding='same', got \(2, 2\)"),
        (lambda: Conv2d(1, 1, 3, padding="full"), "padding must be 'same' or 'valid', got 'full'"),
        (lambda: Conv2d(1, 1, 3, dilation=0), "dilation must be at least 1, got 0"),
        (
            lambda: mf.LocallyConnected2d(1, 1, 5, input_size=(4, 6)),
            "kernel_size of a LocallyConnected2d must be at most the padded input, 4 x 6, got 5 x 5",
        ),
        (lambda: mf.LocallyConnected2d(1, 1, 3, input_size=0), "input_size must be at least 1, got 0"),
        (
            lambda: mf.LocallyConnected2d(512, 512, 3, padding=1, input_size=512),
            "would take 4,947,802,324,992 bytes, more than is free: use fewer channels, a larger stride, or a Conv2d: "
            "its 3 x 3 x 512 x 512 weights are shared by all 512 x 512 positions",
        ),
        (lambda: BatchNorm(0), "features of BatchNorm 'batchnorm' must be at least 1, got 0"),
        (
            lambda: mf.LayerNorm((2, 3)),
            r"normalized_shape of LayerNorm 'layernorm' must be the number of .* got \(2, 3\)",
        ),
        (lambda: mf.LayerNorm(0), "normalized_shape of LayerNorm 'layernorm' must be at least 1, got 0"),
        (
            lambda: mf.GroupNorm(2, 5),
            "num_channels of GroupNorm .* a multiple of num_groups, got 5 channels and 2 groups",
        ),
        (lambda: mf.GELU("erf"), "approximate of GELU 'gelu' must be 'none' or 'tanh', got 'erf'"),
        (lambda: mf.ELU(math.inf), "alpha of ELU 'elu' must be a finite number, got inf"),
        (lambda: mf.Softplus(0), "Softplus 'softplus' must have beta > 0 and a finite threshold, got beta=0"),
        (lambda: BatchNorm(2, eps=0), r"eps > 0, got eps=0"),
        (lambda: BatchNorm(2, momentum=1.5), r"momentum in \[0, 1\]"),
        (lambda: Dropout(1.0), "probability p .* must be at least 0 and below 1, got 1.0"),
        (lambda: LocalResponseNorm(0), "size of LocalResponseNorm 'localresponse' must be at least 1, got 0"),
        (lambda: LocalResponseNorm(3, k=0.0), r"k > 0, got .* k=0\.0"),
        (lambda: LeakyReLU(0), "negative_slope of LeakyReLU .* must be above 0, got 0: for 0 use ReLU"),
        (lambda: Residual([]), "the body of Residual 'residual' must have at least one layer"),
        (lambda: mf.Vectors(0), "the dimension of Vectors 'vectors' must be at least 1, got 0"),
        (lambda: mf.VectorLinear(3, 2, 0), "the dimension of a VectorLinear must be at least 1, got 0"),
        (lambda: mf.Gate(0, 3), "the number of features of Gate 'gate' must be at least 1, got 0"),
    ],
)
def test_impossible_layers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (lambda: Linear(4, 2, name="readout"), (5,), "Linear 'readout' expects 4 inputs per example, got 5"),
        (lambda: Linear(4, 2), (2, 2, 1), "got 2 x 2 x 1: put a Flatten before it"),
        (
            lambda: Conv2d(3, 2, 3),
            (5, 5, 2),
            "expects images of height x width x 3 channels, got 5 x 5 x 2 per example",
        ),
        (lambda: Conv2d(3, 2, 3), (75,), "got 75 per example"),
        (lambda: Conv2d(4, 2, 3, groups=2), (5, 5, 2), "height x width x 4 channels, got 5 x 5 x 2"),
        (
            lambda: Conv2d(1, 2, 3, dilation=3),
            (5, 9, 1),
            "at most the padded input, 5 x 9, got 3 x 3 with dilation 3 x 3 for",
        ),
        (lambda: Conv2d(1, 2, 5, padding=1), (2, 4, 1), "at most the padded input, 4 x 6, got 5 x 5"),
        (
            lambda: mf.LocallyConnected2d(1, 2, 3, input_size=5),
            (5, 6, 1),
            "expects images of 5 x 5 x 1, got 5 x 6 x 1 per example",
        ),
        (lambda: BatchNorm(3), (4,), "expects 3 features or images of 3 channels"),
        (lambda: mf.LayerNorm(3), (2, 2, 4), "LayerNorm 'layernorm' expects 3 features or images of 3 channels"),
        (lambda: mf.LayerNorm((2, 2, 3)), (2, 2, 4), "expects images of 2 x 2 x 3, got 2 x 2 x 4 per example"),
        (lambda: mf.GroupNorm(1, 3), (4,), "GroupNorm 'groupnorm' expects 3 features or images of 3 channels"),
        (lambda: MaxPool(3), (2, 5, 1), "at most the padded input, 2 x 5, got 3 x 3"),
        (lambda: mf.Vectors(3), (7,), "Vectors 'vectors' expects a multiple of 3 features, got 7 per example"),
        (lambda: mf.VectorLinear(4, 2, 3), (12,), "expects 3 components x 4 units, got 12 .*: put Vectors.3. before"),
        (lambda: mf.Gate(4, 3), (4, 3), "Gate 'gate' expects 3 components x 4 units, got 4 x 3 per example"),
        (lambda: MaxPool(3), (9,), "expects images"),
        (lambda: GlobalAvgPool(), (9,), "expects images"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_the_layer_itself(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer().forward(np.zeros((2, *shape)), Pass(True))


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if not name.startswith(("Residual", "a "))])
def test_backward_without_a_training_pass_is_refused(name):
    layers, shape = GEOMETRIES[name]
    (layer,) = layers()
    layer.forward(inputs(shape), Pass())  # evaluation caches nothing
    with pytest.raises(RuntimeError, match="has no cached forward pass"):
        layer.backward(np.ones((3, *layer.infer(shape))), BP())
