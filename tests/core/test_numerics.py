"""Numbers near the limits of float32: results equal PyTorch's or are more accurate.

Expected values are constants, PyTorch's results, or computed in float64. A program may set NumPy to raise on underflow,
overflow and invalid values (`numpy.seterr`): the engine still computes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import standin
from conftest import CUPY, install

import minifa as mf
from minifa import backend, linalg
from minifa.layers.activations import Activation
from minifa.layers.normalisation import Norm
from minifa.layers.pooling import unpool_max_plain
from minifa.parallel import chunks
from minifa.rules import BP
from minifa.testing.examples import ALL_RULES, GEOMETRIES, inputs, network, network_for, small_convnet

INF, NAN = math.inf, math.nan
QUIET = (Activation, Norm, mf.LocalResponseNorm)  # also alone; the others within a network


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the comparison with PyTorch needs the package torch")


def host(array):
    return np.asarray(mf.to_host(array))


def values_and_errors(loss, output, target):
    """Values and errors for these rows, on the host."""
    output = mf.asarray(np.array(output, np.float32))
    with np.errstate(all="raise"):
        return [host(one) for one in loss(output, loss.target(np.array(target), output))]


def values_and_errors_of_torch(torch, loss, output, target):
    """The same from a function of PyTorch's that returns the value of every example."""
    output = torch.tensor(output, dtype=torch.float32, requires_grad=True)
    values = loss(output, target)
    values.sum().backward()
    return values.detach().numpy(), output.grad.numpy()


# --- in a program that sets NumPy to raise ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ALL_RULES)
def test_training_continues_although_numpy_is_set_to_raise(rule, monkeypatch):
    """On inputs so small, and so large, that products under- and overflow; also in worker threads."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 13)
    rng, loss = np.random.default_rng(0), mf.SoftmaxCrossEntropy()
    for size in (1e-30, 1e25):
        net = network_for(rule)
        x = (size * rng.standard_normal((8, *net.input_shape))).astype(np.float32)
        data = mf.data.Examples(x, np.arange(8) % 3)
        with np.errstate(all="raise"):
            one = mf.rules.make(rule).attach(net)
            look = mf.training.RecordAlignment(data)
            trainer = mf.Trainer(net, one, loss, mf.SGD(0.1, momentum=0.9, clip_norm=1.0), callbacks=[look])
            trainer.fit(data, epochs=1, batch_size=4, validation=data)
        assert net.step > 0


def test_the_first_net_of_the_readme_trains_although_numpy_is_set_to_raise():
    data = mf.data.load("digits")
    with np.errstate(all="raise"):
        net = mf.Network(mf.models.cnn(data.input_shape, data.n_out, depth=2), seed=0)
        rule, loss = mf.rules.FA(seed=0).attach(net), mf.SoftmaxCrossEntropy()
        history = mf.train(net, rule, data.train, loss, mf.SGD(0.1, momentum=0.9), epochs=2, progress=False)
    assert math.isfinite(history[-1]["train_loss"])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("make", [mf.SGD, mf.Adam, mf.AdamW, mf.RMSprop])
def test_a_manual_step_continues_although_numpy_is_set_to_raise(make):
    net = small_convnet()
    rule, loss, x = mf.rules.FA().attach(net), mf.SoftmaxCrossEntropy(), inputs((8, 8, 2))
    for size in (1e-25, 1e25):
        with np.errstate(all="raise"):
            optimizer = make(constrain_weights=True, weight_decay=1e-30, clip_norm=1e-20)
            rule.gradients(net, x * np.float32(size), np.array([0, 1, 2]), loss)
            optimizer.step(net, rule)
            net.predict(host(x) * 1e-50)
            mf.metrics.alignment(net, rule, x, np.array([0, 1, 2]), loss)
            mf.trace(net, rule, x, np.array([0, 1, 2]), loss, optimizer)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", [name for name, (make, _) in GEOMETRIES.items() if isinstance(make()[0], QUIET)])
def test_single_layers_compute_although_numpy_is_set_to_raise(name):
    make, shape = GEOMETRIES[name]
    net, x = network(make(), shape), inputs(shape)
    (layer,) = net.layers
    for size in (1e-30, 1e25):
        given = x * np.float32(size)
        with np.errstate(all="raise"):
            y = layer.forward(given, mf.Pass(training=True))
            layer.backward(y * 2, BP())


@pytest.mark.usefixtures("engine")
def test_comparisons_and_conversions_compute_although_numpy_is_set_to_raise():
    tiny, none = mf.asarray(np.full((2, 3), 1e-40)), mf.asarray(np.full((2, 3), NAN))
    with np.errstate(all="raise"):
        assert host(mf.asarray(np.array([1e-60]))) == 0
        for other in (tiny, none):
            mf.metrics.angle(tiny, other)
            mf.metrics.mean_angle(tiny, other)
            mf.metrics.sign_agreement(tiny, other)


def test_the_numpy_settings_of_the_caller_are_restored_after_every_call(monkeypatch):
    monkeypatch.setattr(backend, "_QUIET_SETTINGS", [])  # a NumPy that stores its settings elsewhere
    tiny = np.float32(-200)
    for vanishes in (mf.SoftmaxCrossEntropy(), backend.quietly(lambda output, target: np.exp(tiny))):
        with np.errstate(all="raise"):
            vanishes(np.float32([[0, -200]]), np.float32([[0, 1]]))
            assert set(np.geterr().values()) == {"raise"}
            with pytest.raises(FloatingPointError, match="underflow"):
                np.exp(tiny)


def test_values_beyond_the_range_of_floats_are_still_reported():
    with pytest.warns(RuntimeWarning, match="overflow encountered in cast"):
        mf.asarray(np.array([1e60]))


# --- losses -----------------------------------------------------------------------------------------------------------

SOFT = {  # logits of three classes, the first being right: value, errors
    "an impossible class": ([0, -INF, 1], math.log(1 + math.e), [-0.7310586, 0, 0.7310586]),
    "the right class impossible": ([-INF, 0, 1], INF, [-1, 0.2689414, 0.7310586]),
    "one class left": ([0, -INF, -INF], 0, [0, 0, 0]),
    "far below": ([0, -200, 0], math.log(2), [-0.5, 0, 0.5]),
    "huge and right": ([3e38, -3e38, 0], 0, [0, 0, 0]),
    "huge and wrong": ([-3e38, 3e38, 0], INF, [-1, 1, 0]),
    "huge and undecided": ([3e38, 3e38, 3e38], math.log(3), [-2 / 3, 1 / 3, 1 / 3]),
    "infinite": ([0, INF, 1], NAN, [NAN, NAN, NAN]),
    "nothing possible": ([-INF, -INF, -INF], NAN, [NAN, NAN, NAN]),
    "no number": ([0, NAN, 0], NAN, [NAN, NAN, NAN]),
}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("logits, value, errors", SOFT.values(), ids=SOFT)
def test_softmax_cross_entropy_of_extreme_logits(logits, value, errors):
    result = values_and_errors(mf.SoftmaxCrossEntropy(), [logits], [0])
    np.testing.assert_allclose(result[0], [value], rtol=1e-6)
    np.testing.assert_allclose(result[1], [errors], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_cross_entropy_of_extreme_logits_is_pytorch_s(smoothing, torch):
    rows, classes = [logits for logits, _, _ in SOFT.values()], [0] * len(SOFT)

    def theirs(output, target):
        return torch.nn.functional.cross_entropy(
            output, torch.tensor(target), reduction="none", label_smoothing=smoothing
        )

    ours = values_and_errors(mf.SoftmaxCrossEntropy(smoothing), rows, classes)
    for a, b in zip(ours, values_and_errors_of_torch(torch, theirs, rows, classes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


SIGMOID = {  # logit, target: value, error (the limits; PyTorch's value is NaN at most infinite logits)
    "-inf, 0": (-INF, 0, 0, 0),
    "-inf, 1": (-INF, 1, INF, -1),
    "-inf, 1/2": (-INF, 0.5, INF, -0.5),
    "inf, 0": (INF, 0, INF, 1),
    "inf, 1": (INF, 1, 0, 0),
    "-3e38, 0": (-3e38, 0, 0, 0),
    "-3e38, 1": (-3e38, 1, 3e38, -1),
    "3e38, 0": (3e38, 0, 3e38, 1),
    "3e38, 1": (3e38, 1, 0, 0),
    "3e38, 1/2": (3e38, 0.5, 1.5e38, 0.5),
    "-20, 0": (-20, 0, math.log1p(math.exp(-20)), math.exp(-20) / (1 + math.exp(-20))),
    "-80, 0": (-80, 0, math.exp(-80), math.exp(-80)),
    "20, 1": (20, 1, math.log1p(math.exp(-20)), 0),
    "nan, 0": (NAN, 0, NAN, NAN),
    "nan, 1": (NAN, 1, NAN, NAN),
}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("logit, target, value, error", SIGMOID.values(), ids=SIGMOID)
def test_sigmoid_cross_entropy_of_extreme_logits(logit, target, value, error):
    result = values_and_errors(mf.SigmoidCrossEntropy(), [[logit]], [[float(target)]])
    np.testing.assert_allclose(result[0], [value], rtol=1e-6)
    np.testing.assert_allclose(result[1], [[error]], rtol=1e-6)


def test_sigmoid_cross_entropy_of_extreme_logits_is_pytorch_s_but_for_its_nan(torch):
    rows, targets = ([[float(one[i])] for one in SIGMOID.values()] for i in (0, 1))

    def theirs(output, target):
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        return loss(output, torch.tensor(target), reduction="none").sum(dim=1)

    values, errors = values_and_errors(mf.SigmoidCrossEntropy(), rows, targets)
    their_values, their_errors = values_and_errors_of_torch(torch, theirs, rows, targets)
    finite = np.isfinite(np.array(rows)[:, 0])
    np.testing.assert_allclose(values[finite], their_values[finite], rtol=1e-6, atol=1e-8)  # PyTorch's 2e-9 is 0
    np.testing.assert_allclose(errors, their_errors, rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("a, t", [(1e30, 0), (1.9e19, 0), (3e38, -3e38), (-INF, 0), (-INF, -INF), (1e-30, 0), (NAN, 0)])
def test_squared_errors_of_huge_outputs(a, t):
    """The square is infinite where it overflows; the error is finite up to the overflow of the difference itself."""
    a, t = np.float32(a), np.float32(t)
    with np.errstate(all="ignore"):
        square, difference = (a - t) * (a - t), a - t
    for loss, value, error in (
        (mf.MeanSquaredError(), square, 2 * difference),
        (mf.HalfSquaredError(), square / 2, difference),
    ):
        result = values_and_errors(loss, [[a]], [[t]])
        np.testing.assert_allclose(result[0], [value], rtol=1e-6)
        np.testing.assert_allclose(result[1], [[error]], rtol=1e-6)


def test_squared_errors_of_huge_outputs_are_pytorch_s(torch):
    rows = [[1e30, 0], [3e38, -3e38], [INF, 0], [1e-30, 0], [1e19, 1e-25], [NAN, 0]]
    targets = [[0.0, 0], [-3e38, 3e38], [0, 0], [0, 0], [0, 0], [0, 0]]

    def theirs(output, target):
        return torch.nn.functional.mse_loss(output, torch.tensor(target), reduction="none").mean(dim=1)

    pairs = zip(
        values_and_errors(mf.MeanSquaredError(), rows, targets),
        values_and_errors_of_torch(torch, theirs, rows, targets),
        strict=True,
    )
    for ours, result in pairs:
        np.testing.assert_allclose(ours, result, rtol=1e-6)


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-7), ("float64", 5e-16)])
@pytest.mark.parametrize("name", ["numpy", "standin"])
def test_sigmoid_is_exact_in_its_tail(name, dtype, tolerance):
    install(name, dtype)
    x = np.array([[-1, -10, -15, -17, -20, -37, -50, -80, -87, 0, 1, 17, 40]], dtype)
    small = np.exp(-abs(x.astype(np.longdouble)))
    y = np.where(x < 0, small, 1) / (1 + small)
    slope = small / (1 + small) ** 2
    layer = mf.Sigmoid()
    with np.errstate(all="raise"):
        result = host(layer.forward(mf.asarray(x), mf.Pass(training=True)))
        slopes = host(layer.backward(mf.asarray(np.ones_like(x)), BP()))
    assert result.dtype == dtype
    np.testing.assert_allclose(result, y.astype(dtype), rtol=tolerance)
    left = x <= 0  # on the right 1 - y loses its digits, as PyTorch's does, because y is cached
    np.testing.assert_allclose(slopes[left], slope.astype(dtype)[left], rtol=2 * tolerance)


@pytest.mark.usefixtures("engine")
def test_sigmoid_is_accurate_down_to_the_smallest_floats():
    """exp(-100) is a subnormal float32; PyTorch's is 0."""
    x = mf.asarray(np.array([[-100.0, -103, -200, 200, -INF, INF, NAN]]))
    y = host(mf.Sigmoid().forward(x, mf.Pass()))[0]
    np.testing.assert_allclose(y, [np.exp(-100), np.exp(-103), 0, 1, 0, 1, NAN], rtol=1e-5, atol=1.5e-45)


@pytest.mark.parametrize("dtype, digits", [("float32", 4e-6), ("float64", 6e-14)])
@pytest.mark.parametrize("name", ["numpy", "standin"])
def test_gelu_keeps_its_digits_in_the_tail(name, dtype, digits):
    """In float32 PyTorch's is 0 below -5.6. The error is that of exp(-x^2 / 2)."""
    install(name, dtype)
    x = np.array([[-12.5, -10, -6, -3, -1, -1e-3, 0, 0.5, 4]], dtype)
    phi = [math.erfc(-one / math.sqrt(2)) / 2 for one in x[0].astype(float)]
    layer = mf.GELU()
    y = host(layer.forward(mf.asarray(x), mf.Pass(training=True)))[0]
    assert y.dtype == dtype
    np.testing.assert_allclose(y, x[0] * phi, rtol=digits, atol=1e-43)
    below = host(layer.backward(mf.asarray(np.ones_like(x)), BP()))[0]
    density = np.exp(-(x[0].astype(float) ** 2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(below, phi + x[0] * density, rtol=digits, atol=1e-43)


def test_activations_of_extreme_numbers_are_pytorch_s(torch):
    x = np.array([[-INF, -3e38, -100, -87, -20, -10, -1e-40, 0, 1e-40, 1, 10, 3e38, INF, NAN]], np.float32)
    for layer, theirs in (
        (mf.ReLU(), torch.relu),
        (mf.LeakyReLU(0.1), lambda one: torch.nn.functional.leaky_relu(one, 0.1)),
        (mf.Tanh(), torch.tanh),
        (mf.Sigmoid(), torch.sigmoid),
        (mf.ELU(0.7), lambda one: torch.nn.functional.elu(one, 0.7)),
        (mf.Softplus(), torch.nn.functional.softplus),
    ):
        given = torch.tensor(x, requires_grad=True)
        y = theirs(given)
        y.sum().backward()
        np.testing.assert_allclose(
            layer.forward(x, mf.Pass(training=True)), y.detach(), rtol=1e-6, atol=1e-43, err_msg=str(layer)
        )
        below = layer.backward(np.ones_like(x), BP())
        known = ~np.isnan(x)
        np.testing.assert_allclose(below[known], given.grad[known], rtol=1e-6, atol=1e-43, err_msg=str(layer))


def pooled(layer, x):
    """Its output, and the error below for errors 1, 2, 3, ... (images of one channel, without their last axis)."""
    x = mf.asarray(np.asarray(x, np.float32)[..., None])
    y = layer.forward(x, mf.Pass(training=True))
    delta = mf.asarray(np.arange(1.0, 1 + y.size).reshape(y.shape))
    return host(y)[..., 0], host(layer.backward(delta, BP()))[..., 0]


@pytest.mark.usefixtures("engine")
def test_the_padding_of_a_max_pool_never_wins_a_tie():
    """Not even against -inf, its padding value: the error goes to the first position of the image."""
    y, below = pooled(mf.MaxPool(3, stride=2, padding=1), np.full((1, 3, 3), -INF))
    np.testing.assert_array_equal(y, np.full((1, 2, 2), -INF))
    np.testing.assert_array_equal(below, [[[1, 2, 0], [3, 4, 0], [0, 0, 0]]])


@pytest.mark.usefixtures("engine")
def test_every_window_with_a_nan_gives_nan_and_no_error_is_lost():
    """PyTorch's error goes to the last NaN of the window; here to the last position of the window inside the image."""
    y, below = pooled(mf.MaxPool(2, padding=1), np.full((1, 2, 2), NAN))
    assert np.isnan(y).all()
    np.testing.assert_array_equal(below, [[[1, 2], [3, 4]]])
    y, below = pooled(mf.MaxPool(2), [[[1, NAN], [2, 3]]])
    assert np.isnan(y).all()
    np.testing.assert_array_equal(below, [[[0, 0], [0, 1]]])


@pytest.mark.parametrize(
    "kernel, stride, padding", [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 1, 1), ((2, 5), (1, 2), (1, 2))]
)
def test_max_pooling_of_extreme_numbers_is_pytorch_s(kernel, stride, padding, torch):
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-INF, -INF, -INF, -3e38, -0.0, 0, 3e38, INF], np.float32), (40, 5, 6))
    layer = mf.MaxPool(kernel, stride, padding)
    y, below = pooled(layer, x)
    given = torch.tensor(x[:, None], requires_grad=True)
    theirs = torch.nn.functional.max_pool2d(given, kernel, stride, padding)
    theirs.backward(torch.arange(1.0, 1 + theirs.numel()).reshape(theirs.shape))
    np.testing.assert_array_equal(y, theirs.detach()[:, 0])
    np.testing.assert_array_equal(below, given.grad[:, 0])
    delta = np.arange(1.0, 1 + y.size).reshape(*y.shape, 1)
    plain = unpool_max_plain(x[..., None], delta, layer.kernel, layer.stride, layer.padding)
    np.testing.assert_array_equal(below, plain[..., 0])

    x[rng.random(x.shape) < 0.2] = NAN
    y, below = pooled(layer, x)
    np.testing.assert_array_equal(
        y, torch.nn.functional.max_pool2d(torch.tensor(x[:, None]), kernel, stride, padding)[:, 0]
    )
    assert below.sum() == pytest.approx(np.arange(1.0, 1 + y.size).sum())  # no error is lost


# Means and statistics of large maps, beside float64 and PyTorch's in its own layout, NCHW (in ours it is up to a
# hundred times as far off).


def relative(result, true):
    """The largest error, by the largest number."""
    return abs(np.asarray(result, float) - true).max() / abs(true).max()


@pytest.mark.parametrize("offset", [0.5, 1000])
@pytest.mark.parametrize("shape", [(2, 224, 224, 64), (2, 224, 224, 3), (3, 33, 35, 5), (2, 9, 8, 4)], ids=str)
def test_the_mean_of_large_maps(shape, offset, engine):
    x = (np.random.default_rng(0).random(shape) - 0.5 + offset).astype(np.float32)
    true = x.mean(axis=(1, 2), dtype=float)
    result = host(mf.GlobalAvgPool().forward(mf.asarray(x), mf.Pass()))
    assert result.dtype == np.float32 and relative(result, true) < 2e-7  # PyTorch: 1.2e-7 to 1.8e-7
    if shape[-1] < 16:
        result = host(mf.AvgPool(shape[1:3]).forward(mf.asarray(x), mf.Pass()))[:, 0, 0]
        assert relative(result, true) < 2.5e-7  # PyTorch: 2.3e-6


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("size", [(8, 8), (1, 64), (3, 5)])
def test_means_of_small_maps_keep_the_bits_they_had(size):
    x = inputs((*size, 6), n=4)
    for layer in (mf.GlobalAvgPool(), mf.AvgPool(size)) if math.prod(size) <= 16 else (mf.GlobalAvgPool(),):
        total = np.zeros((4, 6), np.float32)
        for i, j in np.ndindex(*size):  # one after the other
            total += host(x)[:, i, j]
        np.testing.assert_array_equal(
            host(layer.forward(x, mf.Pass())).reshape(4, 6), total / np.float32(math.prod(size))
        )


BATCHES = [(64, 100), (64, 8, 8, 16), (2, 224, 224, 8), (8, 56, 56, 3)]


@pytest.mark.parametrize("shape", BATCHES, ids=str)
@pytest.mark.parametrize("offset", [0, 10, 1000])
def test_batch_norm_far_from_zero(shape, offset, engine):
    """mean / sd = 1000 in float32: the mean, and all values computed from it, are accurate to the last digit."""
    errors = batch_norm_errors(shape, offset, normalised_here)
    assert errors["running_mean"] < (8e-8 if offset == 1000 else 1e-6)
    assert errors["running_var"] < 1e-6 and errors["beta"] < 1e-6
    limit = 6e-7 + 6e-8 * offset  # the last digit of x itself, in standard deviations
    assert errors["y"] < limit and errors["below"] < limit / 4 + 6e-7 and errors["gamma"] < 4 * limit


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "make", [lambda c: mf.LayerNorm(c), lambda c: mf.GroupNorm(1, c), lambda c: mf.GroupNorm(c, c)]
)
def test_norms_of_examples_far_from_zero(make):
    """mean / sd = 1000 in float32: the error is that of the last digit of x, in standard deviations."""
    rng = np.random.default_rng(0)
    x, delta = rng.standard_normal((3, 33, 35, 64)) + 1000, rng.standard_normal((3, 33, 35, 64))
    with mf.using("numpy", "float64"):
        true = outputs(make(64), x.astype(np.float32), delta.astype(np.float32))
    for result, exact in zip(outputs(make(64), x, delta), true, strict=True):
        assert relative(result, exact) < 7e-5


def outputs(layer, x, delta):
    y = layer.forward(mf.asarray(x), mf.Pass(training=True))
    return host(y), host(layer.backward(mf.asarray(delta), BP()))


def test_batch_norm_far_from_zero_on_a_device():
    """On a device the distance from zero is not read: the mean is always corrected, and here the correction matters."""
    x = (np.random.default_rng(0).standard_normal((1, 60, 60, 2)) + [1000, 0]).astype(np.float32)
    install("standin", cpu_chunks=False)
    layer = mf.BatchNorm(2, momentum=1.0)
    with standin.no_host_reads(CUPY):
        layer.forward(mf.asarray(x), mf.Pass(training=True))
    assert relative(host(layer.running_mean), x.mean(axis=(0, 1, 2), dtype=float)) < 8e-8


@pytest.mark.parametrize("shape", BATCHES, ids=str)
def test_batch_norm_far_from_zero_is_about_as_near_as_pytorch_s(shape, torch):
    """PyTorch uses fused multiply-add (y is within twice its error) and sums the variance in float64."""
    ours = batch_norm_errors(shape, 1000, normalised_here)
    theirs = batch_norm_errors(shape, 1000, lambda *given: normalised_there(torch, *given))
    for what, error in ours.items():
        assert error < 2.5 * theirs[what] + 1e-6, (what, error, theirs[what])


def batch_norm_errors(shape, offset, compute):
    """By quantity, the difference of a forward and a backward pass in float32 from float64."""
    rng = np.random.default_rng(0)
    x, delta = (rng.standard_normal(shape) + offset).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    with mf.using("numpy", "float64"):
        true = normalised_here(x.astype(float), delta.astype(float))
    result = compute(x, delta)
    return {what: relative(result[what], true[what]) for what in true}


def normalised_here(x, delta):
    layer = mf.BatchNorm(x.shape[-1], momentum=1.0)
    result = {
        "y": layer.forward(mf.asarray(x), mf.Pass(training=True)),
        "below": layer.backward(mf.asarray(delta), BP()),
    }
    return {key: host(one) for key, one in {**result, **layer.buffers(), **layer.grads}.items()}


def normalised_there(torch, x, delta):
    x, delta = (np.moveaxis(one, -1, 1).copy() for one in (x, delta))
    layer, given = torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d, torch.tensor(x, requires_grad=True)
    layer = layer(x.shape[1], momentum=1.0)
    y = layer(given)
    y.backward(torch.tensor(delta))
    return {
        "y": np.moveaxis(y.detach().numpy(), 1, -1),
        "below": np.moveaxis(given.grad.numpy(), 1, -1),
        "running_mean": layer.running_mean.numpy(),
        "running_var": layer.running_var.numpy(),
        "gamma": layer.weight.grad.numpy(),
        "beta": layer.bias.grad.numpy(),
    }


# --- norms and clipping -----------------------------------------------------------------------------------------------


def clipped(gradients, clip_norm):
    """Gradients of one entry each after clipping."""
    net = mf.Network([mf.Linear(1, 1, bias=False, name=f"l{i}") for i in range(len(gradients))])
    for layer, gradient in zip(net, gradients, strict=True):
        layer.grads["W"] = mf.asarray(np.array([[gradient]]))
    with np.errstate(all="raise"):
        mf.SGD(clip_norm=clip_norm).clip(net)
    return [float(layer.grads["W"][0, 0]) for layer in net]


@pytest.mark.parametrize("name", ["numpy", "standin"])
@pytest.mark.parametrize("dtype, size", [("float32", 1e20), ("float32", 1e37), ("float64", 1e200), ("float64", 1e307)])
def test_huge_gradients_are_clipped_to_the_requested_norm(name, dtype, size):
    """Their squares overflow, and PyTorch sets them to 0."""
    install(name, dtype)
    assert clipped([3 * size, -4 * size], 1.0) == pytest.approx([0.6, -0.8], rel=1e-6)
    assert clipped([3 * size, -4 * size], 2.5 * size) == pytest.approx([1.5 * size, -2 * size], rel=1e-6)


@pytest.mark.usefixtures("engine")
def test_gradients_whose_norm_overflows_are_clipped():
    assert clipped([3e38] * 4, 1.0) == pytest.approx([0.5] * 4, rel=1e-4)


@pytest.mark.usefixtures("engine")
def test_gradients_below_the_limit_keep_their_bits():
    given = [float(np.float32(one)) for one in (1e30, -3.3e37, 0.1, 1e-40, 0)]
    assert clipped(given, 1e38) == given
    given = [float(np.float32(one)) for one in (1e-30, -1e-38, 1e-45)]
    assert clipped(given, 1.0) == given


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("invalid", [INF, -INF, NAN])
def test_clipping_does_not_hide_nan_or_infinity(invalid, torch):
    """As PyTorch: infinite entries become NaN beside zeros, and with NaN all is NaN."""
    given = [torch.tensor([one], requires_grad=True) for one in (invalid, 1.0, -2.0)]
    for one in given:
        one.grad = one.detach().clone()
    torch.nn.utils.clip_grad_norm_(given, 1.0)
    np.testing.assert_array_equal(clipped([invalid, 1.0, -2.0], 1.0), [one.grad.item() for one in given])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("size", [1e-42, 1e-30, 1.0, 1e30, 8e37])
def test_norms_of_huge_and_tiny_matrices(size, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 64)
    matrix = mf.asarray(np.array([3.0, 0, -4, 0] * 10) * size / 10)
    assert float(linalg.norm(matrix)) == pytest.approx(size * math.sqrt(2.5), rel=1e-6 if size > 1e-40 else 1e-3)
    result, count = linalg.norm_and_count(matrix)
    assert float(result) == float(linalg.norm(matrix)) and float(count) == 20
    with backend.quiet():
        again = linalg.rescaled(matrix, to=7.0)
    if size > 1e-38:
        assert float(linalg.norm(again)) == pytest.approx(7, rel=1e-6)
    assert np.isfinite(host(again)).all()  # 1e-42 cannot become 7 in one product, nor must it become infinite


# --- sums over many batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 250])
def test_losses_of_many_batches_are_summed_in_double_precision(batch_size, engine):
    """In float32, 1e8 + 1 is 1e8: a thousand small losses after, or beside, the large one were lost."""
    net = mf.Network([mf.Linear(1, 1, init="zero")])  # puts out 0, so that the loss is half the target's square
    rule, loss = mf.rules.BP().attach(net), mf.HalfSquaredError()
    targets = np.full((1001, 1), math.sqrt(2), np.float32)
    targets[0] = math.sqrt(2e8)
    data = mf.data.Examples(np.zeros((1001, 1), np.float32), targets)
    mean = ((targets.astype(float) ** 2) / 2).mean()
    trainer = mf.Trainer(net, rule, loss, mf.SGD(0.0))
    assert trainer.evaluate(data, batch_size)["loss"] == pytest.approx(mean, rel=1e-7)
    if batch_size == 1:  # the mean of one batch is the rule's, in its own precision
        row = trainer.fit(data, epochs=1, batch_size=1)[-1]
        assert row["train_loss"] == trainer.running_loss() == pytest.approx(mean, rel=1e-7)


def test_the_mean_of_a_constant_loss_is_exact_for_any_number_of_batches(engine):
    class Tenth(mf.HalfSquaredError):
        def __call__(self, output, target):
            values, errors = super().__call__(output, target)
            return values * 0 + values.dtype.type(0.1), errors

    net = mf.Network([mf.Linear(1, 1)])
    trainer = mf.Trainer(net, mf.rules.BP().attach(net), Tenth(), mf.SGD(0.1))
    data = mf.data.Examples(np.zeros((3000, 1), np.float32), np.zeros((3000, 1), np.float32))
    assert trainer.evaluate(data, batch_size=1)["loss"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)
    assert trainer.fit(data, epochs=1, batch_size=1)[-1]["train_loss"] == pytest.approx(
        float(np.float32(0.1)), rel=1e-12
    )
