"""The engine on a real GPU against NumPy. Skipped, with the reason, where CuPy cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import Pass, backend
from minifa.bench import step_time, targets
from minifa.rules import BP, make
from minifa.testing.examples import ALL_RULES, GEOMETRIES, batch, inputs, network, network_for, small_convnet

STATUS = backend.cupy_status()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(STATUS.startswith("not usable"), reason=STATUS)]


def on_both(compute, dtype="float64"):
    """The results of ``compute()`` on the GPU and on the CPU: two dictionaries of host arrays."""
    results = []
    for name in ("cupy", "numpy"):
        with mf.using(name, dtype):
            results.append({key: mf.to_host(array) for key, array in compute().items() if array is not None})
    return results


def assert_alike(gpu, cpu, tolerance):
    assert gpu.keys() == cpu.keys()
    for key in cpu:
        assert type(gpu[key]) is np.ndarray and gpu[key].dtype == cpu[key].dtype
        np.testing.assert_allclose(gpu[key], cpu[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_layers(name):
    def passes():
        layers, shape = GEOMETRIES[name]
        net, x = network(layers(), shape, input_error=True), inputs(shape)
        y = net.forward(x, Pass(training=True))
        c = mf.asarray(np.random.default_rng(1).standard_normal(y.shape))
        return {"output": y, "below": net.backward(c, BP()), **net.gradients(), "evaluated": net.forward(x)}

    assert_alike(*on_both(passes), tolerance=1e-9)


@pytest.mark.parametrize("description", ALL_RULES)
def test_training_steps(description):
    def train():
        net, loss = network_for(description), mf.SoftmaxCrossEntropy()
        rule, optimizer = make(description).attach(net), mf.SGD(0.05, momentum=0.9, weight_decay=1e-3, clip_norm=5.0)
        values = []
        for seed in range(3):
            values.append(float(rule.gradients(net, *batch(shape=net.input_shape, seed=seed), loss)))
            optimizer.step(net, rule)
        return {**net.state(), **rule.state(), **optimizer.state(), "losses": np.array(values)}

    assert_alike(*on_both(train), tolerance=1e-8)


@pytest.mark.parametrize("optimizer", [mf.SGD, mf.Adam, mf.AdamW, mf.RMSprop])
def test_optimizers(optimizer):
    def train():
        net = small_convnet()
        rule, one = make("fa").attach(net), optimizer(0.01)
        for seed in range(3):
            rule.gradients(net, *batch(seed=seed), mf.SoftmaxCrossEntropy())
            one.step(net, rule)
        return net.state()

    assert_alike(*on_both(train), tolerance=1e-7)


def test_single_precision_stays_single():
    def train():
        net = small_convnet()
        rule = make("usf").attach(net)
        rule.gradients(net, *batch(), mf.SoftmaxCrossEntropy())
        return {**net.gradients(), "error": rule.error}

    assert_alike(*on_both(train, "float32"), tolerance=1e-3)


@pytest.mark.parametrize("loss", mf.losses.LOSSES)
def test_losses(loss):
    def values():
        one, output = mf.losses.LOSSES[loss](), inputs((3,), n=5)
        per_example, errors = one(output, one.target(np.array([0, 1, 2, 1, 0]), output))
        return {"values": per_example, "errors": errors}

    assert_alike(*on_both(values), tolerance=1e-12)


def test_metrics_and_predictions():
    def measure():
        net = small_convnet()
        angles = mf.metrics.alignment(net, make("fa").attach(net), *batch(), mf.SoftmaxCrossEntropy())
        numbers = {
            f"{layer}.{key}": np.array(value)
            for layer, row in angles.items()
            for key, value in row.items()
            if value is not None
        }
        return {**numbers, "predicted": net.predict(np.random.default_rng(0).standard_normal((5, 8, 8, 2)))}

    assert_alike(*on_both(measure), tolerance=1e-6)


def test_the_same_seed_gives_the_same_bits():
    """Sums on the device have a fixed order too: no atomic additions in the engine's path."""

    def train():
        net = small_convnet()
        rule, optimizer = make("fa").attach(net), mf.Adam()
        for seed in range(5):
            rule.gradients(net, *batch(32, seed=seed), mf.SoftmaxCrossEntropy())
            optimizer.step(net, rule)
        return net.state()

    with mf.using("cupy", "float32"):
        first, second = train(), train()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_the_bench_and_its_targets():
    with mf.using("cupy", "float32"):
        own, *_ = step_time.measure("mlp", ["bp"], batch_size=32, repeats=2, memory=True)
        assert own.bytes > 4 * 1_800_000 and min(own.seconds) > 0  # the weights alone
        assert [target.measured is None for target in targets._memory()][-1]
