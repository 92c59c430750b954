"""The bench measures the documented quantities. No test asserts a speed."""

import functools
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from types import ModuleType

import numpy as np
import pytest
from conftest import install

import minifa
from minifa import backend, cli, environment
from minifa.bench import alternating, every_rule, memory, networks, step_time, targets
from minifa.layers import Conv2d, Flatten, Linear, ReLU
from minifa.losses import SoftmaxCrossEntropy
from minifa.network import Network
from minifa.optim import SGD
from minifa.parallel import chunks
from minifa.rules import BP, RULES


def body(table):
    """The lines of a table below its header, which may have several lines."""
    lines = table.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("--")) + 1 :]


def assert_describes(facts):
    """The machine, the settings, the date, and the load where the system tells it."""
    now = environment.environment()
    settings = ", ".join(f"{key} {value}" for key, value in now.items() if key != "date")
    load = r", load \d+\.\d" if hasattr(os, "getloadavg") else ""
    found = re.fullmatch(f"{re.escape(settings)}, date (.*? UTC){load}", " ".join(facts.split()))
    assert found
    then, until = (datetime.strptime(date, "%Y-%m-%d %H:%M UTC") for date in (found[1], now["date"]))
    assert timedelta(0) <= until - then <= timedelta(minutes=10)  # a minute may pass between the two calls


def test_ratios_pair_the_steps_of_one_round():
    a, b = (
        step_time.Timing("a", [1.0, 2.0, 9.0], 1e9, 0),
        step_time.Timing("torch", [2.0, 4.0, 3.0], 2e9, 1 << 20, 2.5e-4),
    )
    product = step_time.Timing("matrix product", [1.0, 1.0, 1.0], 1e10, 0)
    text = step_time.table("mlp", [a, b, product], 128)
    assert text.splitlines()[0].endswith("batch 128, medians of 3")
    assert text.splitlines()[1:3] == [
        "matrix products run at 10 GFLOP/s (2048 x 2048, all threads)",
        "quartiles in ms: a 1500.00-5500.00, torch 2500.00-3500.00",
    ]
    first, second = (line.split() for line in body(text))
    assert first == ["a", "2000.00", "64", "1.00", "5%", "0.00", "-", "1.00", "0.50"]
    assert second == ["torch", "3000.00", "43", "2.00", "7%", "0.25", "1", "2.00", "1.00"]


def test_products_are_counted_as_they_are_computed():
    """Forward, gradient and carry: three products per layer, two in the lowest layer; in chunks or at once."""
    net = Network([Conv2d(1, 2, 3), Conv2d(2, 3, 3), Flatten(), Linear(12, 2)], input_shape=(6, 6, 1))
    rule = BP().attach(net)
    x = np.ones((4, 6, 6, 1), "float32")
    with chunks.counting_products() as products:
        rule.gradients(net, x, np.zeros(4, int), SoftmaxCrossEntropy())
    assert sum(products) == 2 * 4 * 16 * 18 + 3 * 4 * 4 * 54 + 3 * 4 * 24
    rule.gradients(net, x, np.zeros(4, int), SoftmaxCrossEntropy())
    assert len(products) == 8  # the list is closed


def test_a_small_bench_measures_every_rule(engine, monkeypatch):
    monkeypatch.setitem(networks.SHAPES, "mlp", ("mlp", (784,), {"hidden": (32, 32)}))
    monkeypatch.setattr(step_time, "peak_bytes", lambda *a: 0)
    monkeypatch.setattr(step_time, "MATRIX", 64)
    timings = step_time.measure("mlp", ["bp", "dfa"], batch_size=4, repeats=2)
    assert [t.label for t in timings][:2] == ["minifa bp", "minifa dfa"]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    assert timings[1].flops < timings[0].flops  # direct feedback carries no error
    *_, product = step_time.measure("mlp", ["bp"], batch_size=4, repeats=1, against=(), memory=False, product=True)
    assert product.label == "matrix product" and product.flops == 2 * 64**3


@pytest.fixture
def tiny(monkeypatch):
    """Small versions of the bench's networks, and a small matrix product; no waiting."""
    monkeypatch.setitem(networks.SHAPES, "mlp", ("mlp", (8,), {"hidden": (16, 16)}))
    monkeypatch.setitem(networks.SHAPES, "cnn", ("bench_cnn", (8, 8, 3), {"channels": (2, 3, 4)}))
    monkeypatch.setitem(networks.SHAPES, "resnet20", ("resnet20", (8, 8, 3), {"blocks": 1}))
    monkeypatch.setattr(step_time, "MATRIX", 64)
    monkeypatch.setattr(alternating, "wait_for_idle_threads", lambda: None)
    monkeypatch.setattr(every_rule, "HIDDEN", (16, 16))
    monkeypatch.setattr(every_rule, "INPUTS", 20)


def test_the_command_prints_the_machine_and_a_table_with_its_limit_per_network(tiny, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(step_time, "peak_bytes", lambda *contestant: asked.append(contestant) or 3 << 20)
    monkeypatch.setattr(step_time, "_other_steps", lambda model, other, batch_size: {other: lambda: sum(range(2000))})
    assert cli.main(["bench", "--models", "mlp,cnn", "--rules", "bp,dfa", "--batch-size", "4", "--repeats", "2"]) == 0
    machine, *tables = capsys.readouterr().out.strip().split("\n\n")
    assert_describes(machine)
    titles = ["mlp: mlp on 8, batch 4, medians of 2", "cnn: bench_cnn on 8 x 8 x 3, batch 4, medians of 2"]
    for table, title in zip(tables, titles, strict=True):
        first, limit, noise, *_ = table.splitlines()
        assert first == title and noise.startswith("quartiles in ms: minifa bp ")
        assert re.fullmatch(r"matrix products run at \d+ GFLOP/s \(64 x 64, all threads\)", limit)
    for model, table in zip(("mlp", "cnn"), tables, strict=True):
        flops = [step_time._minifa_step(model, rule, 4)[1] for rule in ("bp", "dfa")]
        bp, dfa, torch = (re.split(r"  +", line) for line in body(table))
        assert [bp[0], dfa[0], torch[0]] == ["minifa bp", "minifa dfa", "torch"]
        assert [bp[3], dfa[3], torch[3]] == ["1.00", f"{flops[1] / flops[0]:.2f}", "1.00"] and flops[0] != flops[1]
        assert bp[6] == torch[6] == "3" and bp[7] == torch[8] == "1.00" and "-" not in dfa
    labels = ("minifa bp", "minifa dfa", "torch")
    assert asked == [(model, label, 4) for model in ("mlp", "cnn") for label in labels]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process its peak memory")
def test_peak_memory_is_that_of_a_separate_process():
    """This process has held more before; a thousand more examples cost at least their inputs and activations."""
    few, many = (step_time.peak_bytes("mlp", "minifa bp", batch_size) for batch_size in (4, 2004))
    assert few < many
    assert 2000 * (784 + 2000) * 4 < many - few < 400 << 20


def test_peak_memory_comes_from_the_device_or_the_system_or_is_omitted(tiny, monkeypatch):
    monkeypatch.setattr(step_time.sys, "platform", "darwin")
    assert step_time._peak_of_this_process("mlp", "minifa bp", 2, "numpy", 1) == 0
    monkeypatch.setattr(step_time.backend, "use", lambda name, threads: None)
    monkeypatch.setattr(step_time.backend, "device_bytes", lambda: 77)
    assert step_time._peak_of_this_process("mlp", "minifa bp", 2, "cupy", 1) == 77


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="unknown bench network vgg"):
        step_time.report(["vgg"], ["bp"])


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
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if re.fullmatch(r"\S+( +[\d.]+)+", line)}
    assert list(rows) == list(memory.RULES)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    calls = []
    peaks = memory.measure([2, 4], memory.RULES, 4, lambda: calls.append(1))
    assert len(calls) == 6 and [list(curve) for curve in peaks.values()] == 3 * [[2, 4]]
    for name, row in rows.items():
        assert [float(cell) for cell in row] == pytest.approx([size / 2**20 for size in peaks[name].values()], abs=0.1)


def test_memory_is_measured_without_batch_norm_if_a_rule_does_not_accept_it(capsys):
    assert cli.main(["bench", "--memory", "--rules", "bp,fwdtp", "--depths", "1", "--batch-size", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("[convolution 3x3, ReLU] on ") and "fwdtp" in printed
    assert memory.describe(2, ["bp", "dfa"]).startswith("[convolution 3x3, BatchNorm, ReLU] on ")


def test_invalid_arguments_of_memory_are_refused(capsys):
    assert cli.main(["bench", "--out", "picture.png"]) == 2
    assert "--out needs it" in capsys.readouterr().err
    assert cli.main(["bench", "--memory", "--rules", "dfa:recomputed=true"]) == 2
    assert "did you mean recompute?" in capsys.readouterr().err
    assert [len(memory.deep_cnn(depth).weighted) for depth in (1, 5)] == [2, 6]


# The targets


def test_a_target_is_passed_or_missed():
    assert targets.Target("a", 1.0, 1.1, 1.0).row() == ("a", "1.00", "-", "<= 1.1", "1", "pass")
    assert targets.Target("a", 1.2, 1.1).row() == ("a", "1.20", "-", "<= 1.1", "-", "missed")
    assert targets.Target("share", 0.5, 0.55, at_least=True).row()[3:] == (">= 0.55", "-", "missed")
    assert targets.Target("a", [1, 9, 2, 3, 4], 3).row() == ("a", "3.00", "2.00-4.00", "<= 3", "-", "pass")
    assert targets.Target("a", 2.0, None).row()[3:] == ("-", "-", "-")  # printed, without a requirement
    assert targets.Target("a", None, 1.1, why="no PyTorch").row()[-1] == "not measured: no PyTorch"


def test_the_upper_bound_lies_above_the_median_and_below_the_worst():
    rng = np.random.default_rng(0)
    a, b = (step_time.Timing(name, list(1 + 0.1 * rng.random(40)), 1.0, 0) for name in "ab")
    ratios = [x / y for x, y in zip(a.seconds, b.seconds, strict=True)]
    assert np.median(ratios) < targets.upper_bound(a, b) < max(ratios)
    same = step_time.Timing("c", [2.0 * s for s in a.seconds], 1.0, 0)
    assert targets.upper_bound(same, a) == pytest.approx(2.0)


def test_the_hand_written_step_equals_minifa_s():
    net = Network([Linear(64, 32), ReLU(), Linear(32, 10)])
    x, y = np.random.default_rng(0).standard_normal((16, 64)).astype("float32"), np.arange(16) % 10
    parameters = [a.copy() for a in net.parameters().values()]
    rule, optimizer = BP().attach(net), SGD(0.1)
    for _ in range(3):
        value = rule.gradients(net, x, y, SoftmaxCrossEntropy())
        optimizer.step(net, rule)
        assert targets.numpy_step(x, y, parameters, 0.1) == pytest.approx(float(value), rel=1e-5)
    for ours, theirs in zip(net.parameters().values(), parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_convolution_s_working_memory_is_bounded_by_its_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunks.CHUNK_BYTES // 8)
    small, large = (targets._extra_bytes(batch) for batch in (64, 256))  # many chunks, so that all have the full size
    assert 0 < small < 8 * chunks.CHUNK_BYTES * backend.threads()
    assert large < 1.25 * small


class Clock:
    """A clock that advances only by work and sleep. ``spinning``: seconds for which a thread goes on after work."""

    now = busy = 0.0

    def __init__(self, spinning=0.0):
        self.spinning = spinning

    def perf_counter(self):
        return self.now

    def process_time(self):
        return min(self.now, self.busy)

    def work(self, seconds):
        self.now += seconds
        self.busy = self.now + self.spinning

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The bench's clock. A step of minifa takes a second, 0.75 s under dfa and 1.5 s under usf."""
    clock, cost = Clock(), {"dfa": 0.75, "usf": 1.5}

    def step(model, rule, batch_size):
        return lambda: clock.work(cost.get(rule, 1.0)), 1.0, []

    monkeypatch.setattr(alternating, "time", clock)
    monkeypatch.setattr(step_time, "_minifa_step", step)
    return clock


OTHERS = {"torch": 1.0, "torch channels_last": 0.5, "biotorch dfa": 0.75, "biotorch fa": 2.0}  # seconds of a step


@pytest.fixture
def libraries(clock, monkeypatch):
    """Both other libraries with the times in OTHERS, and 1 s by default."""

    def steps(model, other, batch_size):
        labels = ["torch", "torch channels_last"] if other == "torch" else [other]
        flat = model in ("mlp", "small")
        seconds = {label: OTHERS.get(label, 1.0) for label in labels if not flat or "last" not in label}
        return {label: functools.partial(clock.work, s) for label, s in seconds.items()}

    monkeypatch.setattr(step_time, "_other_steps", steps)


@pytest.fixture
def no_libraries(monkeypatch):
    """Neither library is installed."""
    for name in ("torch", "biotorch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "minifa.bench.torch_steps", raising=False)
    monkeypatch.delattr(minifa.bench, "torch_steps", raising=False)


def verdicts(measured):
    """The measured value and the verdict, by the name of the target."""
    return {row[0]: (row[1], row[5]) for row in (target.row() for target in measured)}


def test_every_existing_layout_of_pytorch_gets_a_target(libraries):
    assert verdicts(targets._compare_with_torch(2, 4)) == {
        "mlp: bp / torch": ("1.00", "missed"),
        "cnn: bp / torch": ("1.00", "missed"),
        "cnn: bp / torch channels_last": ("2.00", "missed"),
        "resnet20: bp / torch": ("1.00", "pass"),
        "resnet20: bp / torch channels_last": ("2.00", "missed"),
        "mlp 64-32-10, batch 16: bp / torch": ("1.00", "-"),
    }


def test_with_biotorch_every_rule_gets_a_target_on_two_networks(libraries):
    targets_by_name = verdicts(targets._compare_with_biotorch(2, 4))
    assert len(targets_by_name) == 2 * len(targets.BIOTORCH_RULES)
    for model in ("mlp", "cnn"):
        assert targets_by_name[f"{model}: dfa / biotorch dfa"] == ("1.00", "missed")  # 0.9 is required
        assert targets_by_name[f"{model}: fa / biotorch fa"] == ("0.50", "pass")
        assert targets_by_name[f"{model}: usf / biotorch usf"] == ("1.50", "missed")


def test_the_rules_are_compared_with_backpropagation(clock):
    assert verdicts(targets._rules(2, 4)) == {
        "cnn: dfa / bp, taught per activation": ("1.00", "missed"),
        "cnn: dfa / bp, taught per stage": ("0.75", "pass"),
        "cnn: fa / bp, upper 95 % bound": ("1.00", "pass"),
        "cnn: usf / bp": ("1.50", "missed"),
        "cnn: frsf / bp": ("1.00", "pass"),
        "cnn: brsf / bp": ("1.00", "pass"),
    }


def test_the_products_of_rules_with_targets_are_counted(tiny):
    """Of an mlp 8-16-16-10: BP's are forward, gradients, and carry above the lowest layer; fwdtp sends both h and t."""
    weights, above = 8 * 16 + 16 * 16 + 16 * 10, 16 * 16 + 16 * 10
    fwdtp, dtp = targets._rules_with_targets(4)
    assert fwdtp.measured == (2 * weights + 2 * above) / (2 * weights + above) < dtp.measured


def test_the_rate_of_convolutions_counts_all_their_products(tiny, monkeypatch):
    """Batch 5: positions * fan_in * channels forward; backward the gradient, and the carry except in the lowest
    layer. The three passes take a second each, the large product 1 s, and 2 s in the second round."""

    def alternately(candidates, rounds, wait):
        assert not wait
        return {key: [1.0, 2.0 if key == "product" else 1.0] for key in candidates}

    monkeypatch.setattr(targets, "alternately", alternately)
    lowest, *others = 64 * 27 * 2, 16 * 18 * 3, 4 * 27 * 4
    forward, back = (target.measured for target in targets._convolutions(2, 5))
    rate = 64**3
    assert forward == pytest.approx([5 * (lowest + sum(others)) / 3 / rate, 10 * (lowest + sum(others)) / 3 / rate])
    assert back[0] == pytest.approx(5 * (lowest + 2 * sum(others)) / 3 / rate)


def test_memory_is_compared_with_pytorch_s_where_both_are_known(monkeypatch):
    known = {"minifa bp": 39 << 20, "torch": 60 << 20}
    monkeypatch.setattr(step_time, "peak_bytes", lambda model, label, batch_size: known[label])
    monkeypatch.setattr(targets, "_extra_bytes", {512: 10, 2048: 13}.get)
    beside, growth = "cnn: peak memory / torch", "a convolution's working memory, batch 2048 / 512"
    deep = "resnet20: peak memory / torch"
    assert verdicts(targets._memory()) == {
        beside: ("0.65", "pass"),
        deep: ("0.65", "missed"),
        growth: ("1.30", "missed"),
    }
    unknown = ("-", "not measured: no PyTorch, or memory is not reported by the system")
    known["torch"] = 0
    assert verdicts(targets._memory())[beside] == unknown
    del known["torch"]
    assert verdicts(targets._memory())[beside] == unknown
    install("standin")
    assert verdicts(targets._memory())[growth] == ("-", "not measured: on a GPU one chunk is the whole batch")


def test_scaling_compares_the_time_per_image_and_per_pixel(monkeypatch):
    """In this test a step takes 1 ms per image, twice that at 1024 images, and the same per pixel at every size."""
    made, rounds = [], []
    monkeypatch.setattr(targets, "_cnn_step", lambda batch, shape: made.append((batch, shape)))

    def alternately(candidates, count, wait):
        rounds.append(count)
        return {key: [{1024: 2.0}.get(key, 1e-3 * key) if 1024 in candidates else key**2] for key in candidates}

    monkeypatch.setattr(targets, "alternately", alternately)
    per_image, per_pixel = targets._scaling(15)
    assert per_image.measured == pytest.approx(2.0 / 1.024) and per_image.row()[-1] == "missed"
    assert per_pixel.measured == 1 and per_pixel.row()[-1] == "pass"
    assert made == [
        *((batch, (32, 32, 3)) for batch in (32, 128, 512, 1024)),
        *((64, (size, size, 3)) for size in (16, 32, 64)),
    ]
    assert rounds == [5, 5]


def test_a_step_of_a_target_is_that_of_the_bench(tiny, monkeypatch):
    """Its products are those of backpropagation on this network."""
    monkeypatch.setitem(networks.SHAPES, "cnn", ("bench_cnn", (8, 8, 3), {}))
    step = targets._cnn_step(2, (8, 8, 3))
    with chunks.counting_products() as products:
        step()
    assert 2.0 * sum(products) == step_time._minifa_step("cnn", "bp", 2)[1]


def test_a_small_network_is_compared_with_the_same_numpy_step(monkeypatch):
    seconds = {"minifa": [2.6, 9.0, 2.6], "numpy": [2.0, 2.0, 2.0]}
    asked = {}

    def alternately(candidates, rounds, consecutive, wait):
        asked.update(rounds=rounds, consecutive=consecutive)
        return {key: seconds[key] for key, work in candidates.items() if work() or True}

    monkeypatch.setattr(targets, "alternately", alternately)
    (target,) = targets._small_network(2)
    assert target.median == pytest.approx(1.3) and asked == {"rounds": 40, "consecutive": 50}


def contestant(clock, order, name, *seconds):
    """A candidate whose calls take these seconds, and which notes its turns."""
    coming = iter(seconds)
    return lambda: order.append(name) or clock.work(next(coming))


def test_candidates_take_turns_forwards_and_backwards(monkeypatch):
    """Each begins with a call that is not timed, in every round."""
    clock, order = Clock(), []
    monkeypatch.setattr(alternating, "time", clock)
    a = contestant(clock, order, "a", 9, 9, 1, 3, 9, 2, 2, 9, 6, 6)
    b = contestant(clock, order, "b", 9, 9, 4, 4, 9, 5, 5, 9, 4, 4)
    assert alternating.alternately({"a": a, "b": b}, 3, consecutive=2) == {"a": [2, 2, 6], "b": [4, 5, 4]}
    assert "".join(order) == "ab" + "aaabbb" + "bbbaaa" + "aaabbb"


@pytest.mark.parametrize(("spinning", "waited"), [(0.0, 0.02), (0.015, 0.04), (0.035, 0.06), (9.0, 0.2)])
def test_a_candidate_waits_until_the_threads_of_the_one_before_it_are_idle(monkeypatch, spinning, waited):
    """At most 0.2 s."""
    clock = Clock(spinning)
    monkeypatch.setattr(alternating, "time", clock)
    clock.work(1.0)
    alternating.wait_for_idle_threads()
    assert clock.now == pytest.approx(1.0 + waited)


def test_every_candidate_waits_unless_that_is_left_out(monkeypatch):
    for wait, waited in ((True, 2 * 0.02), (False, 0)):
        monkeypatch.setattr(alternating, "time", clock := Clock())
        alternating.alternately({"a": functools.partial(clock.work, 1.0)}, 2, wait=wait)
        assert clock.now == pytest.approx(1 + 2 * 2 + waited)


def test_candidates_wait_for_the_threads_of_other_libraries_alone(libraries, monkeypatch):
    waited = []
    monkeypatch.setattr(alternating, "wait_for_idle_threads", lambda: waited.append(1))
    step_time.measure("mlp", ["bp", "dfa"], 4, 3, (), memory=False)
    assert not waited
    step_time.measure("mlp", ["bp"], 4, 3, ("torch",), memory=False)
    assert len(waited) == 2 * 3


def test_quartiles_lie_between_the_values():
    assert alternating.quartiles([5.0]) == (5.0, 5.0)
    assert alternating.quartile_range([1.0, 9.0, 2.0, 3.0, 4.0]) == "2.00-4.00"


# Every rule


def test_every_rule_is_set_beside_backpropagation_on_the_same_network(tiny, monkeypatch):
    asked = []

    def alternately(candidates, rounds, consecutive, wait):
        asked.append(tuple(candidates))
        return {name: [2.0, 2.0] if name == "bp" else [3.0, 6.0] for name in candidates}

    monkeypatch.setattr(every_rule, "alternately", alternately)
    ticks = []
    measured = {one.rule: one for one in every_rule.measure(4, 2, lambda: ticks.append(1))}
    assert ["bp", *measured] == list(RULES) and len(ticks) == len(RULES) - 1
    assert asked == [("bp", rule) for rule in measured]
    fa, dfa = measured["fa"], measured["dfa"]
    assert fa.times == fa.excess == [1.5, 3.0] and fa.products == 1 and fa.model == "mlp"
    weights, above = 20 * 16 + 16 * 16 + 16 * 10, 16 * 16 + 16 * 10
    assert dfa.products == (2 * weights + 2 * 16 * 10) / (2 * weights + above)
    assert dfa.median_excess == pytest.approx(2.25 / dfa.products)
    # Systems that are solved, and pseudo-inverses, are counted: of W2 (16, 16) and W3 (16, 10).
    assert measured["pbp"].products > 1.5 and measured["di"].products > 1.3
    assert measured["recirculation"].model == "autoencoder"
    assert measured["forward_forward"].model == "mlp, unit_length=True"


def test_the_table_of_every_rule_names_those_above_the_limit():
    below = every_rule.Beside("fa", "mlp", [0.002, 0.004], [0.002, 0.002], 1.0)
    above = every_rule.Beside("burst", "mlp, activation=sigmoid", [0.006], [0.002], 1.2)
    text = every_rule.table([below, above], 128)
    assert text.startswith("784 inputs, hidden layers 256-256, batch 128, medians of 2\n")
    printed, ending = text.split("\n\n")
    fa, burst = (line.split() for line in body(printed))
    assert fa == ["fa", "3.00", "2.00", "1.50", "1.00", "1.50", "1.25-1.75"]
    assert burst == ["burst", "6.00", "2.00", "3.00", "1.20", "2.50", "2.50-2.50"]
    networks = "The network is an mlp with ReLU, except under burst (mlp, activation=sigmoid)."
    assert ending == f"{networks} Time / products above 2: burst 2.50."
    assert every_rule.table([below], 128).endswith("an mlp with ReLU. Time / products above 2: none.")


def test_the_command_measures_every_rule_once_where_rules_are_all(tiny, capsys, monkeypatch):
    monkeypatch.setattr(every_rule, "alternately", lambda candidates, *a, **k: dict.fromkeys(candidates, [1.0]))
    assert cli.main(["bench", "--rules", "all", "--batch-size", "4", "--repeats", "1"]) == 0
    facts, table, ending = capsys.readouterr().out.strip().split("\n\n")
    assert [line.split()[0] for line in body(table)] == [name for name in RULES if name != "bp"]
    assert cli.main(["bench", "--rules", "all", "--models", "cnn"]) == 2
    assert "leave out --models" in capsys.readouterr().err


def test_the_rule_with_the_largest_share_of_other_work_is_a_target(monkeypatch):
    measured = [every_rule.Beside(name, "mlp", [seconds], [1.0], 1.0) for name, seconds in (("a", 2.5), ("b", 1.5))]
    monkeypatch.setattr(every_rule, "measure", lambda batch_size, repeats: measured)
    assert verdicts(targets._every_rule(3, 4)) == {"time / products, largest of 2 rules: a": ("2.50", "missed")}


def test_the_start_time_is_measured_beyond_that_of_numpy(monkeypatch):
    took, asked = {"import numpy": 0.1, "import minifa": 0.3, "compare": 12.0}, []

    def seconds(arguments):
        asked.append(arguments)
        return took[arguments[-1] if arguments[0] == "-c" else arguments[2]]

    monkeypatch.setattr(targets, "_process_seconds", seconds)
    imported, compared = targets._start_up()
    assert imported.median == pytest.approx(0.2) and imported.row()[-1] == "missed"
    assert compared.measured == 12 and compared.row()[-1] == "pass"
    assert asked[:3] == [["-c", "import numpy"], ["-c", "import minifa"], ["-c", "import numpy"]]


def test_a_failed_process_gives_no_measurement():
    assert 0 < targets._process_seconds(["-c", "pass"]) < 30
    with pytest.raises(subprocess.CalledProcessError):
        targets._process_seconds(["-c", "raise SystemExit(1)"])


def printed_targets(capsys):
    """The printed targets: the measured, required and desired value and the result, by name."""
    facts, table = capsys.readouterr().out.strip().split("\n\n")
    assert_describes(facts)
    head, _, *rows = (re.split(r"  +", line) for line in table.splitlines())
    assert head == ["ratio or quantity", "measured", "quartiles", "required", "desired"]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def quick(tiny, clock, monkeypatch):
    """Replaces the slow measurements: steps take the clock's time, a process a second."""
    monkeypatch.setattr(targets, "_process_seconds", lambda arguments: 1.0)
    monkeypatch.setattr(targets, "_cnn_step", lambda batch, shape: lambda: sum(range(2000)))
    monkeypatch.setattr(targets, "_extra_bytes", lambda batch: 1 << 20)
    for module in (targets, every_rule):
        monkeypatch.setattr(module, "alternately", lambda candidates, *a, **k: dict.fromkeys(candidates, [1.0]))


def test_without_other_libraries_the_table_gives_the_reason(quick, no_libraries, monkeypatch, capsys):
    def peak(model, label, batch_size):
        return 1 << 20 if label == "minifa bp" else {}[label]

    monkeypatch.setattr(step_time, "peak_bytes", peak)
    monkeypatch.setattr("minifa.text.WIDEST_TABLE", 200)  # a line for each row
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["bench", "--against", "torch,biotorch", "--batch-size", "4", "--repeats", "1"]) == 0
    printed = printed_targets(capsys)
    missing = {name: row[-1] for name, row in printed.items() if row[-1].startswith("not measured")}
    elsewhere = {"launches of a step / PyTorch's": "see tests/standin", "all tests, minutes": "run python -m pytest"}
    assert all(missing.pop(name).startswith(f"not measured: {why}") for name, why in elsewhere.items())
    assert len(missing) == 6 + 10 + 2 and all("torch" in name for name in missing)
    assert missing["resnet20: bp / torch channels_last"] == "not measured: no PyTorch"
    assert missing["mlp: usf / biotorch usf"] == "not measured: no BioTorch"
    assert missing["cnn: peak memory / torch"] == "not measured: no PyTorch, or memory is not reported by the system"
    for name in printed.keys() - missing.keys() - elsewhere.keys():
        assert printed[name][-1] in ("pass", "missed")
    assert printed["import minifa beyond numpy, s"] == ["0.00", "0.00-0.00", "<= 0.1", "-", "pass"]


def test_only_the_given_library_is_measured(quick, libraries, monkeypatch, capsys):
    monkeypatch.setattr(step_time, "peak_bytes", lambda model, label, batch_size: 1 << 20)
    monkeypatch.setattr("minifa.text.WIDEST_TABLE", 200)  # a line for each row
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["bench", "--against", "torch", "--batch-size", "4", "--repeats", "1"]) == 0
    printed = printed_targets(capsys)
    assert printed["mlp: bp / torch"] == ["1.00", "1.00-1.00", "<= 0.95", "0.8", "missed"]
    assert printed["cnn: bp / torch channels_last"] == ["2.00", "2.00-2.00", "<= 1.15", "1", "missed"]
    assert printed["cnn: peak memory / torch"] == ["1.00", "-", "<= 1", "-", "pass"]
    assert not any("biotorch" in name for name in printed)
    assert cli.main(["bench", "--against", "biotorch", "--batch-size", "4", "--repeats", "1"]) == 0
    printed = printed_targets(capsys)
    assert printed["cnn: dfa / biotorch dfa"] == ["1.00", "1.00-1.00", "<= 0.9", "0.7", "missed"]
    assert "mlp: bp / torch" not in printed


def test_unknown_candidates_are_refused(capsys):
    assert cli.main(["bench", "--against", "torhc"]) == 2
    assert "did you mean torch" in capsys.readouterr().err


@pytest.mark.parametrize("model", networks.SHAPES)
def test_pytorch_s_bench_networks_have_minifa_s_parameters(model):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from minifa import models
    from minifa.bench import torch_steps

    name, shape, options = networks.SHAPES[model]
    ours = Network(models.MODELS[name](shape, 10, **options), input_shape=shape)
    theirs = torch_steps.network(model)
    assert sorted(a.size for a in ours.parameters().values()) == sorted(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("model", networks.SHAPES)
def test_pytorch_s_step_changes_its_network_equally_in_both_layouts(model, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from minifa.bench import torch_steps

    made, make = [], torch_steps.network

    def seeded(name):
        torch.manual_seed(0)
        made.append(make(name))
        return made[-1]

    monkeypatch.setattr(torch_steps, "network", seeded)
    steps = step_time._other_steps(model, "torch", 2)
    assert list(steps) == (["torch"] if model in ("mlp", "small") else ["torch", "torch channels_last"])
    assert torch.get_num_threads() == backend.threads()
    before = [p.detach().clone() for p in made[0].parameters()]
    for step in steps.values():
        step()
    for start, *after in zip(before, *(net.parameters() for net in made), strict=True):
        assert start.ndim == 1 or not torch.equal(start, after[0])  # a bias below BatchNorm has no gradient
        for other in after[1:]:
            torch.testing.assert_close(other, after[0], rtol=1e-3, atol=1e-6)
            assert other.ndim < 4 or other.is_contiguous(memory_format=torch.channels_last)


def test_biotorch_receives_the_network_the_mode_and_the_targets(monkeypatch, capsys):
    """BioTorch itself needs an older PyTorch: this module has its interface and trains under backpropagation."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = []

    class BioModule(torch.nn.Module):
        def __init__(self, module, mode, output_dim):
            super().__init__()
            self.module, self.asked = module, (mode, output_dim)
            print("- All the layers have been converted")
            made.append(self)

        def forward(self, x, targets, loss_function):
            self.loss = float(loss_function(self.module(x), targets).detach())
            return self.module(x)

    monkeypatch.setitem(sys.modules, "biotorch", ModuleType("biotorch"))
    monkeypatch.setitem(sys.modules, "biotorch.module", ModuleType("biotorch.module"))
    biomodule = ModuleType("biotorch.module.biomodule")
    biomodule.BioModule = BioModule
    monkeypatch.setitem(sys.modules, "biotorch.module.biomodule", biomodule)
    (label, step), *others = step_time._other_steps("mlp", "biotorch usf", 4).items()
    assert label == "biotorch usf" and not others and capsys.readouterr().out == ""
    (net,) = made
    assert net.asked == ("usf", networks.CLASSES)
    step()
    first = net.loss
    for _ in range(10):
        step()
    assert net.loss < first


def test_a_pytorch_without_a_gpu_is_not_compared_with_cupy(monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(step_time._other_steps("mlp", "torch", 2)) == ["torch"]
    monkeypatch.setattr(backend, "name", lambda: "cupy")
    assert step_time._other_steps("mlp", "torch", 2) == {}
