"""The bench measures what it says. How fast anything is, no test asserts."""

import numpy as np
import pytest

from minifa import backend, bench, cli, marks, memory
from minifa.layers import Conv2d, Flatten, Linear, ReLU
from minifa.losses import SoftmaxCrossEntropy
from minifa.network import Network
from minifa.optim import SGD
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


def test_a_small_bench_runs(engine, monkeypatch):
    monkeypatch.setitem(bench.SHAPES, "mlp", ("mlp", (784,), {"hidden": (32, 32)}))
    monkeypatch.setattr(bench, "peak_bytes", lambda *a: 0)
    timings = bench.measure("mlp", ["bp", "dfa"], batch_size=4, repeats=2)
    assert [t.label for t in timings][:2] == ["minifa bp", "minifa dfa"]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    assert timings[1].flops < timings[0].flops  # direct feedback carries nothing
    assert bench.matrix_rate(size=64) > 0


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="unknown bench network vgg"):
        bench.report(["vgg"], ["bp"])


# Memory


def test_the_table_of_memory_is_in_mib():
    peaks = {"bp": {8: 3 << 20, 16: 6 << 20}, "dfa:recompute=true": {8: 1 << 19, 16: 1 << 19}}
    head, _, *rows = (line.split() for line in memory.table(peaks).splitlines())
    assert head == ["MiB", "at", "depth", "8", "16"]
    assert rows == [["bp", "3.0", "6.0"], ["dfa:recompute=true", "0.5", "0.5"]]


def test_memory_is_measured_by_rule_and_depth_and_drawn(tmp_path, capsys):
    picture = tmp_path / "memory.png"
    command = ["bench", "--memory", "--depths", "4,2", "--batch-size", "4", "--out", str(picture)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "batch 4, float32" in printed and f"written to {picture}" in printed
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line[:2] in ("bp", "df")}
    assert list(rows) == list(memory.RULES)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    told = []
    peaks = memory.measure([2, 4], memory.RULES, 4, lambda: told.append(1))
    assert len(told) == 6 and [list(found) for found in peaks.values()] == 3 * [[2, 4]]
    for name, row in rows.items():
        assert [float(cell) for cell in row] == pytest.approx([size / 2**20 for size in peaks[name].values()], abs=0.1)


def test_what_memory_cannot_do_is_refused(capsys):
    assert cli.main(["bench", "--out", "picture.png"]) == 2
    assert "--out needs it" in capsys.readouterr().err
    assert cli.main(["bench", "--memory", "--rules", "dfa:recomputed=true"]) == 2
    assert "did you mean recompute?" in capsys.readouterr().err
    assert [len(memory.deep_cnn(depth).weighted) for depth in (1, 5)] == [2, 6]


# The marks


def test_a_mark_says_pass_or_short():
    assert marks.Mark("a", 1.0, 1.1, 1.0).row() == ("a", "1.00", "<= 1.1", "1", "pass")
    assert marks.Mark("a", 1.2, 1.1).row() == ("a", "1.20", "<= 1.1", "-", "short")
    assert marks.Mark("share", 0.5, 0.55, at_least=True).row()[2:] == (">= 0.55", "-", "short")
    assert marks.Mark("a", None, 1.1, why="no PyTorch").row()[-1] == "not measured: no PyTorch"


def test_the_upper_bound_lies_above_the_median_and_below_the_worst():
    rng = np.random.default_rng(0)
    a, b = (bench.Timing(name, list(1 + 0.1 * rng.random(40)), 1.0, 0) for name in "ab")
    ratios = [x / y for x, y in zip(a.seconds, b.seconds, strict=True)]
    assert np.median(ratios) < marks.upper_bound(a, b) < max(ratios)
    same = bench.Timing("c", [2.0 * s for s in a.seconds], 1.0, 0)
    assert marks.upper_bound(same, a) == pytest.approx(2.0)


def test_the_hand_written_step_is_minifa_s():
    net = Network([Linear(64, 32), ReLU(), Linear(32, 10)])
    x, y = np.random.default_rng(0).standard_normal((16, 64)).astype("float32"), np.arange(16) % 10
    parameters = [a.copy() for a in net.parameters().values()]
    rule, optimizer = BP().attach(net), SGD(0.1)
    for _ in range(3):
        value = rule.gradients(net, x, y, SoftmaxCrossEntropy())
        optimizer.step(net, rule)
        assert marks.by_hand(x, y, parameters, 0.1) == pytest.approx(float(value), rel=1e-5)
    for ours, theirs in zip(net.parameters().values(), parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_convolution_s_working_memory_is_bounded_by_its_chunks():
    small, large = (marks._extra_bytes(batch) for batch in (512, 2048))  # many chunks, so that all are of full size
    assert 0 < small < 8 * backend.CHUNK_BYTES * backend.threads()
    assert large < 1.25 * small


def test_unknown_contestants_are_refused(capsys):
    assert cli.main(["bench", "--against", "torhc"]) == 2
    assert "did you mean torch" in capsys.readouterr().err


@pytest.mark.parametrize("model", bench.SHAPES)
def test_pytorch_s_bench_networks_have_minifa_s_parameters(model):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from minifa import bench_torch, models

    name, shape, options = bench.SHAPES[model]
    ours = Network(models.MODELS[name](shape, 10, **options), input_shape=shape)
    theirs = bench_torch.network(model)
    assert sorted(a.size for a in ours.parameters().values()) == sorted(p.numel() for p in theirs.parameters())
