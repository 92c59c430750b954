"""The function calls of one training step, which take most of the time of a small network, and the literal products
that the chunked products of a convolution must equal."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa.layers import Conv2d, Linear, Tanh
from minifa.layers.weighted import Weighted

PACKAGE = str(Path(mf.__file__).parent)
MOST_CALLS = 101  # two thirds of the 152 calls before checks ran only once a step


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
