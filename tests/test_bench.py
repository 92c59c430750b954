"""The bench measures what it says. How fast anything is, no test asserts."""

import pytest

from minifa import bench
from minifa.layers import Conv2d, Linear
from minifa.network import Network


def test_ratios_pair_the_steps_of_one_round():
    a, b = bench.Timing("a", [1.0, 2.0, 9.0], 1e9, 0), bench.Timing("torch", [2.0, 4.0, 3.0], 1e9, 1 << 20)
    text = bench.table("mlp", [a, b], 128, rate=1e10)
    first, second = (line.split() for line in text.splitlines()[3:])
    assert first == ["a", "2000.00", "64", "5%", "-", "1.00", "0.50"]
    assert second == ["torch", "3000.00", "43", "3%", "1", "2.00", "1.00"]


def test_matrix_work_counts_three_products_and_two_where_nothing_is_sent_down():
    net = Network([Conv2d(1, 2, 3), Conv2d(2, 3, 3)], input_shape=(6, 6, 1))
    first = 2 * 2 * 4 * 16 * 18  # multiply and add, forward and gradient, 4 images, 16 positions, 18 weights
    second = 2 * 3 * 4 * 4 * 54
    assert bench.matrix_work(net, batch_size=4) == first + second
    assert bench.matrix_work(Network([Linear(5, 7)]), batch_size=2) == 2 * 2 * 2 * 35


def test_a_small_bench_runs(monkeypatch):
    monkeypatch.setitem(bench.SHAPES, "mlp", ("mlp", (784,), {"hidden": (8, 8)}))
    monkeypatch.setattr(bench, "_peak_bytes", lambda *a: 0)
    timings = bench.measure("mlp", ["bp", "dfa"], batch_size=4, repeats=2)
    assert [t.label for t in timings][:2] == ["minifa bp", "minifa dfa"]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    assert timings[1].flops < timings[0].flops  # direct feedback carries nothing


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="unknown bench network vgg"):
        bench.report(["vgg"], ["bp"])
