"""The calls of functions and of array operations in one training step, which take most of the time of a small network,
and the literal products that those of convolutions and of linear layers must equal."""

import sys
from pathlib import Path

import numpy as np
import pytest
from standin import launches
from standin.counters import counters

import minifa as mf
from minifa import joined
from minifa.layers import BatchNorm, Conv2d, Linear, ReLU, Tanh
from minifa.layers.weighted import Weighted

PACKAGE = str(Path(mf.__file__).parent)
MOST_CALLS = 87  # 152 before checks ran only once a step, 101 before small parameters were updated together


def calls_of(function):
    """The number of calls of functions of minifa in a call of ``function``."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 on, comprehensions are not calls")
def test_a_step_checks_once():
    net = mf.Network([Linear(64, 32), Tanh(), Linear(32, 10)], seed=0)
    rule, loss, optimizer = mf.rules.FA(seed=0).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1)
    x, y = mf.asarray(np.random.default_rng(0).normal(size=(32, 64))), np.arange(32) % 10

    def step():
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)

    step()
    assert 50 < calls_of(step) <= MOST_CALLS


def array_operations(layers, optimizer, rule="fa", features=64, n=16):
    """The array operations on the stand-in in the third step: what a GPU would launch."""
    with launches.on_the_stand_in():
        net = mf.Network(layers, input_shape=(features,), seed=0)
        rule, loss = mf.rules.make(rule).attach(net), mf.SoftmaxCrossEntropy()
        x, y = mf.asarray(np.random.default_rng(0).normal(size=(n, features))), np.arange(n) % 10

        def step():
            rule.gradients(net, x, y, loss)
            optimizer.step(net, rule)

        step()
        step()
        return launches.logged(step)


@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: mf.SGD(0.1), 33), (lambda: mf.SGD(0.1, momentum=0.9), 35), (mf.Adam, 44), (mf.RMSprop, 40)],
    ids=["sgd", "momentum", "adam", "rmsprop"],
)
@pytest.mark.parametrize("rule", ["bp", "fa", "dfa"])
def test_the_array_operations_of_a_small_step(make, most, rule):
    """The forward and backward passes take 12, the loss 18, and the optimizer what one parameter takes and a join."""
    for n in (8, 16):
        layers = [Linear(64, 32), ReLU(), Linear(32, 10)]
        assert len(array_operations(layers, make(), rule, n=n).calls) == most


@pytest.mark.parametrize("make", [mf.SGD, mf.Adam])
def test_the_operations_of_the_optimizer_do_not_grow_with_the_number_of_small_parameters(make, monkeypatch):
    def operations(depth):
        blocks = [layer for _ in range(depth) for layer in (Linear(16, 16), BatchNorm(16), ReLU())]
        step = array_operations([*blocks, Linear(16, 10)], make(0.1), features=16)
        return sum(int(calls) for place, _, calls, _ in launches.places(step) if place == "optimizer")

    assert 0 < operations(1) == operations(4)
    monkeypatch.setattr(joined, "SMALL", 0)  # each alone
    assert 2 * operations(1) < operations(4)


def test_a_failed_count_logs_nothing_afterwards():
    class Failing(mf.SGD):
        def step(self, net, rule=None):
            if counters.log is not None:
                raise ArithmeticError

    with pytest.raises(ArithmeticError):
        array_operations([Linear(64, 10)], Failing(0.1))
    assert counters.log is None


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "shape"),
    [(3, 1, 1, (6, 5)), (3, 2, 1, (7, 6)), (2, 1, 0, (4, 4)), ((1, 3), (2, 1), (0, 2), (5, 4))],
)
def test_a_convolution_equals_its_three_literal_products(kernel, stride, padding, shape, float64):
    """`Conv2d` computes them in chunks, and gathers the error of its input instead of scattering it."""
    rng = np.random.default_rng(0)
    conv = Conv2d(2, 3, kernel, stride, padding)
    x = rng.normal(size=(3, *shape, 2))
    y = conv.forward(x, mf.Pass(training=True))
    delta, B = rng.normal(size=y.shape), rng.normal(size=conv.W.shape)
    np.testing.assert_allclose(y, Weighted.project(conv, x, conv.W, conv.b), rtol=1e-12, atol=1e-12)
    for chunked, literal in zip(
        conv.weight_and_bias_gradients(x, delta), Weighted.weight_and_bias_gradients(conv, x, delta), strict=True
    ):
        np.testing.assert_allclose(chunked, literal, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(conv.carry(delta, B), Weighted.carry(conv, delta, B), rtol=1e-12, atol=1e-12)


def test_a_linear_layer_equals_its_three_literal_products(engine):
    rng = np.random.default_rng(0)
    layer = mf.Network([Linear(4, 3)], seed=0).layers[0]
    x, delta, B = (mf.asarray(rng.normal(size=size)) for size in ((5, 4), (5, 3), (4, 3)))
    y = layer.forward(x, mf.Pass(training=True))
    short = y, *layer.weight_and_bias_gradients(x, delta), layer.carry(delta, B)
    literal = (
        Weighted.project(layer, x, layer.W, layer.b),
        *Weighted.weight_and_bias_gradients(layer, x, delta),
        Weighted.carry(layer, delta, B),
    )
    for ours, theirs in zip(short, literal, strict=True):
        assert (mf.to_host(ours) == mf.to_host(theirs)).all()
