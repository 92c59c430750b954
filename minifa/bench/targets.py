"""Performance targets of minifa: each is measured in this run and reported as "pass" or "missed".

Because machines are shared and noisy, the candidates are measured alternately, and medians and their ratios are
reported.
"""

from __future__ import annotations

__all__: list[str] = []

import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .. import backend, environment, models, rules, text
from ..console import bar
from ..layers import Conv2d, Pass
from ..layers.weighted import Weighted
from ..losses import SoftmaxCrossEntropy
from ..network import Network
from ..optim import SGD
from ..parallel import chunks
from . import networks, step_time

BIOTORCH_RULES = ("fa", "usf", "brsf", "frsf", "dfa")
SIGN_RULES = ("usf", "frsf", "brsf")
TARGET_RULES = {"fwdtp": 1.25, "dtp": 2.0}  # and the required products per step, relative to backpropagation's


@dataclass(frozen=True)
class Target:
    """One measured quantity and its target.

    Attributes:
        what: description of the quantity.
        measured: its value; None if it could not be measured.
        required: the required value.
        desired: the desired value; None if there is none.
        at_least: whether larger values are better.
        why: the reason if `measured` is None.
    """

    what: str
    measured: float | None
    required: float
    desired: float | None = None
    at_least: bool = False
    why: str = ""

    def row(self) -> tuple[str, ...]:
        sign = ">=" if self.at_least else "<="
        desired = "-" if self.desired is None else f"{self.desired:g}"
        if self.measured is None:
            return self.what, "-", f"{sign} {self.required:g}", desired, f"not measured: {self.why}"
        passed = self.measured >= self.required if self.at_least else self.measured <= self.required
        return self.what, f"{self.measured:.2f}", f"{sign} {self.required:g}", desired, "pass" if passed else "missed"


def report(against: Sequence[str], repeats: int, batch_size: int = 128, progress: bool = True) -> str:
    """The table of all targets; takes a few minutes. ``against``: "torch", "biotorch" or both; ``progress``: whether to
    show a bar."""
    groups: list[Callable[[], Iterator[Target]]] = []
    if "torch" in against:
        groups.append(lambda: _compare_with_torch(repeats, batch_size))
    if "biotorch" in against:
        groups.append(lambda: _compare_with_biotorch(repeats, batch_size))
    groups += [lambda: _rules(repeats, batch_size), lambda: _rules_with_targets(batch_size)]
    groups += [lambda: _convolutions(repeats, batch_size), _memory]
    groups += [lambda: _scaling(repeats), lambda: _small_network(repeats), _start_up]
    targets: list[Target] = []
    for group in bar(groups, desc="bench", unit="group", hidden=not progress):
        targets += group()
    facts = ", ".join(f"{key} {value}" for key, value in environment.environment().items())
    head = ("ratio or quantity", "measured", "required", "desired", "")
    return f"{facts}\n\n{text.table([head, *(target.row() for target in targets)], right_from=9)}"


# Groups of targets


def _compare_with_torch(repeats: int, batch_size: int) -> Iterator[Target]:
    required = {"mlp": (1.1, None), "cnn": (1.15, 1.6), "resnet20": (1.4, 1.9)}
    for model, (default, channels_last) in required.items():
        timings = {t.label: t for t in step_time.measure(model, ["bp"], batch_size, repeats, ("torch",), memory=False)}
        own = timings["minifa bp"]
        for label, limit, desired in (("torch", default, 1.0), ("torch channels_last", channels_last, 1.3)):
            if limit is not None:
                yield Target(
                    f"{model}: bp / {label}", _ratio(own, timings.get(label)), limit, desired, why="no PyTorch"
                )


def _compare_with_biotorch(repeats: int, batch_size: int) -> Iterator[Target]:
    for model in ("mlp", "cnn"):
        for rule in BIOTORCH_RULES:
            required, desired = (0.9, 0.7) if rule == "dfa" else (1.15, 1.0)
            timings = step_time.measure(model, [rule], batch_size, repeats, (f"biotorch {rule}",), memory=False)
            other = timings[1] if len(timings) > 1 else None
            yield Target(
                f"{model}: {rule} / biotorch {rule}", _ratio(timings[0], other), required, desired, why="no BioTorch"
            )


def _rules(repeats: int, batch_size: int) -> Iterator[Target]:
    names = ["bp", *SIGN_RULES, "dfa:at=activation", "dfa"]
    bp, *others = step_time.measure("cnn", names, batch_size, repeats, (), memory=False)
    ratios = dict(zip(names[1:], (step_time.ratio(one, bp) for one in others), strict=True))
    yield Target("cnn: dfa / bp, taught per activation", ratios["dfa:at=activation"], 0.78)
    yield Target("cnn: dfa / bp, taught per stage", ratios["dfa"], 0.85)
    # fa and bp differ only in the matrix used. Many rounds narrow the confidence interval.
    bp, fa = step_time.measure("cnn", ["bp", "fa"], batch_size, 4 * repeats, (), memory=False)
    yield Target("cnn: fa / bp, upper 95 % bound", upper_bound(fa, bp), 1.05)
    for name in SIGN_RULES:
        yield Target(f"cnn: {name} / bp", ratios[name], 1.08)


def _rules_with_targets(batch_size: int) -> Iterator[Target]:
    """Their steps, the learning of the feedback included, in multiply-adds."""
    bp, *others = step_time.measure("mlp", ["bp", *TARGET_RULES], batch_size, 1, (), memory=False)
    for (name, required), timing in zip(TARGET_RULES.items(), others, strict=True):
        yield Target(f"mlp: {name} / bp, multiply-adds of the matrix products", timing.flops / bp.flops, required)


def _convolutions(repeats: int, batch_size: int) -> Iterator[Target]:
    """The three matrix products of every convolution, relative to the machine's matrix rate."""
    _, shape, options = networks.SHAPES["cnn"]
    net = Network(models.bench_cnn(shape, networks.CLASSES, **options), input_shape=shape)
    forward = backward = 0.0
    forward_work = backward_work = 0
    for layer in net.weighted:
        if not isinstance(layer, Conv2d):
            continue
        assert layer.input_shape is not None and layer.output_shape is not None
        x, delta = (_numbers((batch_size, *size)) for size in (layer.input_shape, layer.output_shape))
        ctx = Pass(training=True)

        def forward_pass(layer: Weighted = layer, x: Any = x, ctx: Pass = ctx) -> None:
            layer.forward(x, ctx)

        def backward_pass(layer: Weighted = layer, delta: Any = delta) -> None:
            layer.store_gradients(delta)
            if layer.needs_input_gradient:
                layer.carry(delta, layer.W)

        for work in (forward_pass, backward_pass):
            work()
        with chunks.counting_products() as products:
            forward_pass()
        forward_work += 2 * sum(products)
        with chunks.counting_products() as products:
            backward_pass()
        backward_work += 2 * sum(products)
        forward += _median_seconds(forward_pass, repeats)
        backward += _median_seconds(backward_pass, repeats)
    rate = step_time.matrix_rate()
    yield Target("convolutions forward, share of the matrix rate", forward_work / forward / rate, 0.55, at_least=True)
    yield Target(
        "convolutions backward, share of the matrix rate", backward_work / backward / rate, 0.55, at_least=True
    )


def _memory() -> Iterator[Target]:
    own = step_time.peak_bytes("cnn", "minifa bp", 128)
    try:
        other = step_time.peak_bytes("cnn", "torch", 128)
    except KeyError:
        other = 0
    measured = own / other if own and other else None
    yield Target("cnn: peak memory / torch", measured, 1.0, why="no PyTorch, or memory is not reported by the system")
    growth = "a convolution's working memory, batch 2048 / 512"
    if backend.name() == "cupy":
        yield Target(growth, None, 1.25, why="on a GPU one chunk is the whole batch")
        return
    small, large = (_extra_bytes(batch) for batch in (512, 2048))  # large enough that all chunks have full size
    yield Target(growth, large / small, 1.25)  # not exactly 1, because chunks consist of whole examples


def _extra_bytes(batch: int) -> int:
    """Peak memory in bytes of one convolution's forward and backward products, beyond their results."""
    net = Network([Conv2d(32, 64, 3, padding=1)], input_shape=(16, 16, 32), input_error=True)
    layer = net.weighted[0]
    x, delta, ctx = _numbers((batch, 16, 16, 32)), _numbers((batch, 16, 16, 64)), Pass(training=True)

    peaks = []
    for work, result in (
        (lambda: layer.forward(x, ctx), delta.nbytes),
        (lambda: layer.store_gradients(delta), layer.W.nbytes),
        (lambda: layer.carry(delta, layer.W), x.nbytes),
    ):
        work()
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1] - result)
        tracemalloc.stop()
    return max(peaks)


def _scaling(repeats: int) -> Iterator[Target]:
    by_batch = {batch: _cnn_step(batch, (32, 32, 3)) for batch in (32, 128, 512, 1024)}
    by_size = {size: _cnn_step(64, (size, size, 3)) for size in (16, 32, 64)}
    per_image = [seconds / batch for batch, seconds in _measure_alternately(by_batch, max(3, repeats // 3)).items()]
    per_pixel = [seconds / size**2 for size, seconds in _measure_alternately(by_size, max(3, repeats // 3)).items()]
    yield Target("cnn: ms per image, batch 32 to 1024, largest / smallest", max(per_image) / min(per_image), 1.25)
    yield Target("cnn: ms per pixel, 16x16 to 64x64, largest / smallest", max(per_pixel) / min(per_pixel), 1.25)


def _cnn_step(batch: int, shape: tuple[int, ...]) -> Callable[[], None]:
    net = Network(models.bench_cnn(shape, networks.CLASSES), input_shape=shape)
    return _step_of(net, _numbers((batch, *shape)), numpy.zeros(batch, int))


def _step_of(net: Network, x: Any, y: Any) -> Callable[[], None]:
    rule, loss, optimizer = rules.make("bp").attach(net), SoftmaxCrossEntropy(), SGD(1e-4)

    def step() -> None:
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)
        backend.synchronise()

    return step


def _small_network(repeats: int) -> Iterator[Target]:
    """The engine's overhead: a small network, compared with the same arithmetic in one NumPy function."""
    net = Network(models.mlp((64,), 10, hidden=(32,)))
    x, y = _numbers((16, 64)), numpy.arange(16) % 10
    parameters = [backend.to_host(a).copy() for a in net.parameters().values()]
    host = backend.to_host(x)
    candidates = {"minifa": _step_of(net, x, y), "numpy": lambda: numpy_step(host, y, parameters, 1e-4)}
    medians = _measure_alternately(candidates, 20 * repeats, consecutive=50)
    yield Target("mlp 64-32-10, batch 16: bp / one NumPy function", medians["minifa"] / medians["numpy"], 1.3)


def numpy_step(x: numpy.ndarray, y: numpy.ndarray, parameters: list[numpy.ndarray], lr: float) -> float:
    """One SGD step, in place, on a network of two linear layers with a ReLU in between. Returns the loss."""
    W1, b1, W2, b2 = parameters
    n = len(x)
    h = numpy.maximum(x @ W1 + b1, 0)
    a = h @ W2 + b2
    shifted = a - a.max(axis=1, keepdims=True)
    log_softmax = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
    value = -log_softmax[numpy.arange(n), y].mean()
    delta = numpy.exp(log_softmax)
    delta[numpy.arange(n), y] -= 1
    delta /= n
    below = (delta @ W2.T) * (h > 0)
    W2 -= lr * (h.T @ delta)
    b2 -= lr * delta.sum(axis=0)
    W1 -= lr * (x.T @ below)
    b1 -= lr * below.sum(axis=0)
    return float(value)


def _start_up() -> Iterator[Target]:
    """The start-up times of a user: the import and the first comparison, each in a separate process."""
    seconds: dict[str, list[float]] = {"numpy": [], "minifa": []}
    for _ in range(9):
        for name, times in seconds.items():
            times.append(_process_seconds(["-c", f"import {name}"]))
    beyond = statistics.median(a - b for a, b in zip(seconds["minifa"], seconds["numpy"], strict=True))
    yield Target("import minifa beyond numpy, s", beyond, 0.15)
    with tempfile.TemporaryDirectory() as folder:
        yield Target("minifa compare, s", _process_seconds(["-m", "minifa", "compare", "--out", f"{folder}/run"]), 20)


def _process_seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


# Arithmetic


def _ratio(own: step_time.Timing, other: step_time.Timing | None) -> float | None:
    return None if other is None else step_time.ratio(own, other)


def upper_bound(a: step_time.Timing, b: step_time.Timing, draws: int = 2000) -> float:
    """The upper end of the 95 % bootstrap interval of the median ratio (percentile method)."""
    pairs = numpy.array([x / y for x, y in zip(a.seconds, b.seconds, strict=True)])
    chosen = numpy.random.default_rng(0).integers(0, len(pairs), (draws, len(pairs)))
    return float(numpy.quantile(numpy.median(pairs[chosen], axis=1), 0.975))


def _numbers(shape: tuple[int, ...]) -> Any:
    return backend.asarray(numpy.random.default_rng(0).standard_normal(shape, dtype="float32"))


def _median_seconds(work: Callable[[], None], repeats: int) -> float:
    return _measure_alternately({"": work}, repeats)[""]


def _measure_alternately(
    candidates: dict[Any, Callable[[], Any]], rounds: int, consecutive: int = 1
) -> dict[Any, float]:
    """The median seconds of each candidate, measured alternately."""
    seconds: dict[Any, list[float]] = {key: [] for key in candidates}
    for work in candidates.values():
        work()
    for _ in range(rounds):
        for key, work in candidates.items():
            started = time.perf_counter()
            for _ in range(consecutive):
                work()
            seconds[key].append((time.perf_counter() - started) / consecutive)
    return {key: statistics.median(times) for key, times in seconds.items()}
