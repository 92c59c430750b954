"""The bench measures what it says. How fast anything is, no test asserts."""

import numpy as np
import pytest

from minifa import backend, bench
from minifa.layers import Conv2d, Flatten, Linear
from minifa.losses import SoftmaxCrossEntropy
from minifa.network import Network
from minifa.rules import BP


def test_ratios_pair_the_steps_of_one_round():
    a, b = bench.Timing("a", [1.0, 2.0, 9.0], 1e9, 0), bench.Timing("torch", [2.0, 4.0, 3.0], 2e9, 1 << 20, 2.5e-4)
    text = bench.table("mlp", [a, b], 128, rate=1e10)
    first, second = (line.split() for line in text.splitlines()[3:])
    assert first == ["a", "2000.00", "64", "1.00", "5%", "0.00", "-", "1.00", "0.50"]
    assert second == ["torch", "3000.00", "43", "2.00", "7%", "0.25", "1", "2.00", "1.00"]


def test_products_are_counted_as_they_are_made():
    """Forward, gradient and carry: three products per layer, two where nothing is sent down; in chunks or whole."""
    net = Network([Conv2d(1, 2, 3), Conv2d(2, 3, 3), Flatten(), Linear(12, 2)], input_shape=(6, 6, 1))
    rule = BP().attach(net)
    x = np.ones((4, 6, 6, 1), "float32")
    with backend.counting_products() as products:
        rule.gradients(net, x, np.zeros(4, int), SoftmaxCrossEntropy())
    assert sum(products) == 2 * 4 * 16 * 18 + 3 * 4 * 4 * 54 + 3 * 4 * 24
    rule.gradients(net, x, np.zeros(4, int), SoftmaxCrossEntropy())
    assert len(products) == 8  # the list is closed


def test_a_small_bench_runs(monkeypatch):
    monkeypatch.setitem(bench.SHAPES, "mlp", ("mlp", (784,), {"hidden": (32, 32)}))
    monkeypatch.setattr(bench, "_peak_bytes", lambda *a: 0)
    timings = bench.measure("mlp", ["bp", "dfa"], batch_size=4, repeats=2)
    assert [t.label for t in timings][:2] == ["minifa bp", "minifa dfa"]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    assert timings[1].flops < timings[0].flops  # direct feedback carries nothing


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="unknown bench network vgg"):
        bench.report(["vgg"], ["bp"])
