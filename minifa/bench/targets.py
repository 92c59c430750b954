"""Performance targets of minifa: each is measured in this run and reported as "pass" or "missed".

Because machines are shared and noisy, the candidates are measured alternately, and medians of the ratios within rounds
are reported, with their quartiles.
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

from .. import backend, models, rules, text
from ..console import bar
from ..layers import Conv2d, Pass
from ..layers.weighted import Weighted
from ..losses import SoftmaxCrossEntropy
from ..network import Network
from ..optim import SGD
from ..parallel import chunks
from . import every_rule, networks, step_time
from .alternating import alternately, facts, quartile_range, ratios

TORCH = {  # the required and the desired ratio of bp to PyTorch, in its default layout and channels last
    "mlp": {"torch": (0.95, 0.8)},
    "cnn": {"torch": (0.95, 0.8), "torch channels_last": (1.15, 1.0)},
    "resnet20": {"torch": (1.05, 0.9), "torch channels_last": (1.2, 1.0)},
}
SMALL, SMALL_BATCH, SMALL_STEPS = "mlp 64-32-10, batch 16", 16, 50  # its steps are timed 50 at a time
BIOTORCH_RULES = ("fa", "usf", "brsf", "frsf", "dfa")
SIGN_RULES = ("usf", "frsf", "brsf")
TARGET_RULES = {"fwdtp": 1.25, "dtp": 2.0}  # and the required products per step, relative to backpropagation's


@dataclass(frozen=True)
class Target:
    """One measured quantity and its target.

    Attributes:
        what: description of the quantity.
        measured: its value in every round, of which the median counts, or one value; None if it could not be measured.
        required: the required value; None if there is none.
        desired: the desired value; None if there is none.
        at_least: whether larger values are better.
        why: the reason if `measured` is None.
    """

    what: str
    measured: Sequence[float] | float | None
    required: float | None
    desired: float | None = None
    at_least: bool = False
    why: str = ""

    @property
    def median(self) -> float | None:
        """The measured value."""
        return statistics.median(self.measured) if isinstance(self.measured, Sequence) else self.measured

    def row(self) -> tuple[str, ...]:
        sign = ">=" if self.at_least else "<="
        required = "-" if self.required is None else f"{sign} {self.required:g}"
        desired = "-" if self.desired is None else f"{self.desired:g}"
        if (value := self.median) is None:
            return self.what, "-", "-", required, desired, f"not measured: {self.why}"
        quartiles = quartile_range(self.measured) if isinstance(self.measured, Sequence) else "-"
        return self.what, f"{value:.2f}", quartiles, required, desired, self._verdict(value)

    def _verdict(self, value: float) -> str:
        if self.required is None:
            return "-"
        return "pass" if (value >= self.required if self.at_least else value <= self.required) else "missed"


def report(against: Sequence[str], repeats: int, batch_size: int = 128, progress: bool = True) -> str:
    """The table of all targets; takes a few minutes. ``against``: "torch", "biotorch" or both; ``progress``: whether to
    show a bar."""
    groups: list[Callable[[], Iterator[Target]]] = []
    if "torch" in against:
        groups.append(lambda: _compare_with_torch(repeats, batch_size))
    if "biotorch" in against:
        groups.append(lambda: _compare_with_biotorch(repeats, batch_size))
    groups += [lambda: _rules(repeats, batch_size), lambda: _rules_with_targets(batch_size)]
    groups += [lambda: _every_rule(repeats, batch_size), lambda: _convolutions(repeats, batch_size), _memory]
    groups += [lambda: _scaling(repeats), lambda: _small_network(repeats), _start_up, _elsewhere]
    about, targets = facts(), list[Target]()
    for group in bar(groups, desc="bench", unit="group", hidden=not progress):
        targets += group()
    head = ("ratio or quantity", "measured", "quartiles", "required", "desired", "")
    return f"{about}\n\n{text.table([head, *(target.row() for target in targets)], right_from=9)}"


# Groups of targets


def _compare_with_torch(repeats: int, batch_size: int) -> Iterator[Target]:
    for model, required in TORCH.items():
        timings = {t.label: t for t in step_time.measure(model, ["bp"], batch_size, repeats, ("torch",), memory=False)}
        for label, limits in required.items():
            measured = _ratios(timings["minifa bp"], timings.get(label))
            yield Target(f"{model}: bp / {label}", measured, *limits, why="no PyTorch")
    own, *others = step_time.measure(
        "small", ["bp"], SMALL_BATCH, 4 * repeats, ("torch",), memory=False, consecutive=SMALL_STEPS
    )
    measured = _ratios(own, others[0] if others else None)
    yield Target(f"{SMALL}: bp / torch", measured, None, why="no PyTorch")


def _compare_with_biotorch(repeats: int, batch_size: int) -> Iterator[Target]:
    for model in ("mlp", "cnn"):
        for rule in BIOTORCH_RULES:
            required, desired = (0.9, 0.7) if rule == "dfa" else (1.15, 1.0)
            timings = step_time.measure(model, [rule], batch_size, repeats, (f"biotorch {rule}",), memory=False)
            other = timings[1] if len(timings) > 1 else None
            yield Target(
                f"{model}: {rule} / biotorch {rule}", _ratios(timings[0], other), required, desired, why="no BioTorch"
            )


def _rules(repeats: int, batch_size: int) -> Iterator[Target]:
    names = ["bp", *SIGN_RULES, "dfa:at=activation", "dfa"]
    bp, *others = step_time.measure("cnn", names, batch_size, repeats, (), memory=False)
    measured = dict(zip(names[1:], (_ratios(one, bp) for one in others), strict=True))
    yield Target("cnn: dfa / bp, taught per activation", measured["dfa:at=activation"], 0.75, 0.71)
    yield Target("cnn: dfa / bp, taught per stage", measured["dfa"], 0.78, 0.71)
    # fa and bp differ only in the matrix used. Many rounds narrow the confidence interval.
    bp, fa = step_time.measure("cnn", ["bp", "fa"], batch_size, 4 * repeats, (), memory=False)
    yield Target("cnn: fa / bp, upper 95 % bound", upper_bound(fa, bp), 1.05)
    for name in SIGN_RULES:
        yield Target(f"cnn: {name} / bp", measured[name], 1.08)


def _every_rule(repeats: int, batch_size: int) -> Iterator[Target]:
    """The rule that takes the most time for its products; ``minifa bench --rules all`` prints the others too."""
    measured = every_rule.measure(batch_size, max(3, repeats // 3))
    most = max(measured, key=lambda one: one.median_excess)
    yield Target(f"time / products, largest of {len(measured)} rules: {most.rule}", most.excess, every_rule.MOST)


def _rules_with_targets(batch_size: int) -> Iterator[Target]:
    """Their steps, the learning of the feedback included, in multiply-adds."""
    bp, *others = step_time.measure("mlp", ["bp", *TARGET_RULES], batch_size, 1, (), memory=False)
    for (name, required), timing in zip(TARGET_RULES.items(), others, strict=True):
        yield Target(f"mlp: {name} / bp, multiply-adds of the matrix products", timing.flops / bp.flops, required)


def _convolutions(repeats: int, batch_size: int) -> Iterator[Target]:
    """The three matrix products of every convolution, relative to a large matrix product in the same rounds."""
    _, shape, options = networks.SHAPES["cnn"]
    net = Network(models.bench_cnn(shape, networks.CLASSES, **options), input_shape=shape)
    passes = {(layer.name, way): work for layer in net.weighted for way, work in _passes(layer, batch_size)}
    operations = {}
    for key, work in passes.items():
        with chunks.counting_products() as products:
            work()
        operations[key] = 2 * sum(products)
    product, product_operations, _ = step_time.matrix_product()
    seconds = alternately({**passes, "product": product}, repeats, wait=False)
    rates = [product_operations / one for one in seconds["product"]]
    for way in ("forward", "backward"):
        keys = [key for key in passes if key[1] == way]
        total = sum(operations[key] for key in keys)
        shares = [total / sum(seconds[key][i] for key in keys) / rate for i, rate in enumerate(rates)]
        yield Target(f"convolutions {way}, share of the matrix rate", shares, 0.65, at_least=True)


def _passes(layer: Weighted, batch_size: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """The passes of a convolution, by "forward" and "backward"; none of another layer."""
    if not isinstance(layer, Conv2d):
        return
    assert layer.input_shape is not None and layer.output_shape is not None
    x, delta = (_numbers((batch_size, *size)) for size in (layer.input_shape, layer.output_shape))
    ctx = Pass(training=True)

    def forward() -> None:
        layer.forward(x, ctx)
        backend.synchronise()

    def backward() -> None:
        layer.store_gradients(delta)
        if layer.needs_input_gradient:
            layer.carry(delta, layer.W)
        backend.synchronise()

    yield "forward", forward
    yield "backward", backward


def _memory() -> Iterator[Target]:
    for model, required in (("cnn", 1.0), ("resnet20", 0.6)):
        own = step_time.peak_bytes(model, "minifa bp", 128)
        try:
            other = step_time.peak_bytes(model, "torch", 128)
        except KeyError:
            other = 0
        measured = own / other if own and other else None
        why = "no PyTorch, or memory is not reported by the system"
        yield Target(f"{model}: peak memory / torch", measured, required, why=why)
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
    per_image = [seconds / batch for batch, seconds in _medians(by_batch, max(3, repeats // 3)).items()]
    per_pixel = [seconds / size**2 for size, seconds in _medians(by_size, max(3, repeats // 3)).items()]
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
    _, shape, options = networks.SHAPES["small"]
    net = Network(models.mlp(shape, networks.CLASSES, **options))
    x, y = _numbers((SMALL_BATCH, *shape)), numpy.arange(SMALL_BATCH) % networks.CLASSES
    parameters = [backend.to_host(a).copy() for a in net.parameters().values()]
    host = backend.to_host(x)
    candidates = {"minifa": _step_of(net, x, y), "numpy": lambda: numpy_step(host, y, parameters, 1e-4)}
    seconds = alternately(candidates, 20 * repeats, SMALL_STEPS, wait=False)
    yield Target(f"{SMALL}: bp / one NumPy function", ratios(seconds["minifa"], seconds["numpy"]), 1.5, 1.3)


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
    beyond = [a - b for a, b in zip(seconds["minifa"], seconds["numpy"], strict=True)]
    yield Target("import minifa beyond numpy, s", beyond, 0.1)
    with tempfile.TemporaryDirectory() as folder:
        yield Target("minifa compare, s", _process_seconds(["-m", "minifa", "compare", "--out", f"{folder}/run"]), 20)


def _process_seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def _elsewhere() -> Iterator[Target]:
    """What a copy of the repository measures."""
    yield Target("launches of a step / PyTorch's", None, 1.0, why="see tests/standin/launches.py")
    yield Target("all tests, minutes", None, 5.0, why="run python -m pytest -q -n auto")


# Arithmetic


def _ratios(own: step_time.Timing, other: step_time.Timing | None) -> list[float] | None:
    return None if other is None else ratios(own.seconds, other.seconds)


def upper_bound(a: step_time.Timing, b: step_time.Timing, draws: int = 2000) -> float:
    """The upper end of the 95 % bootstrap interval of the median ratio (percentile method)."""
    pairs = numpy.array(ratios(a.seconds, b.seconds))
    chosen = numpy.random.default_rng(0).integers(0, len(pairs), (draws, len(pairs)))
    return float(numpy.quantile(numpy.median(pairs[chosen], axis=1), 0.975))


def _numbers(shape: tuple[int, ...]) -> Any:
    return backend.asarray(numpy.random.default_rng(0).standard_normal(shape, dtype="float32"))


def _medians(candidates: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    return {key: statistics.median(times) for key, times in alternately(candidates, rounds, wait=False).items()}
