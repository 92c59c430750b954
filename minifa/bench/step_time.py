"""Benchmark of a training step: minifa's rules, and PyTorch's backpropagation and BioTorch's rules if installed.

The candidates are measured alternately, and medians and their ratios are reported. The upper limit is the machine's
rate of matrix products: a large product is measured in the same rounds.
"""

from __future__ import annotations

__all__: list[str] = []

import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from .. import backend, rules, text
from ..backend import Array, xp
from ..experiments.processes import end_with_parent
from ..losses import Loss, SoftmaxCrossEntropy
from ..models import MODELS
from ..network import Network
from ..optim import SGD
from ..parallel import chunks
from ..validation import format_shape
from .alternating import alternately, facts, quartile_range, ratios
from .networks import CLASSES, SHAPES, Step, batch

CONSECUTIVE_STEPS = 3  # timed steps of one candidate in a row
MATRIX = 2048  # rows and columns of the matrices whose product is the upper limit


@dataclass(frozen=True)
class Timing:
    """One candidate: seconds per step, matrix-product operations of a step, and peak memory in a separate process."""

    label: str
    seconds: list[float]
    flops: float
    bytes: int
    feedback: float = 0.0  # seconds per step of the feedback's own learning, outside the passes

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def report(models: Sequence[str], rule_names: Sequence[str], batch_size: int = 128, repeats: int = 15) -> str:
    """The benchmark tables, one per network. Raises ValueError for an unknown network."""
    unknown = sorted(set(models) - SHAPES.keys())
    if unknown:
        raise ValueError(f"unknown bench network {', '.join(unknown)}: known are {', '.join(SHAPES)}")
    about = facts()
    tables = [
        table(model, measure(model, rule_names, batch_size, repeats, product=True), batch_size) for model in models
    ]
    return "\n\n".join([about, *tables])


def measure(
    model: str,
    rule_names: Sequence[str],
    batch_size: int,
    repeats: int,
    against: Sequence[str] = ("torch",),
    memory: bool = True,
    product: bool = False,
    consecutive: int = CONSECUTIVE_STEPS,
) -> list[Timing]:
    """Time the candidates alternately.

    Args:
        against: "torch" (both memory layouts), "biotorch fa" etc.; libraries that are not installed are omitted.
        memory: whether to measure each candidate's peak memory, in a separate process.
        product: whether to measure a large matrix product too, the last of the results.
        consecutive: timed steps in a row.
    """
    steps = {f"minifa {name}": _minifa_step(model, name, batch_size) for name in rule_names}
    flops = _minifa_step(model, "bp", batch_size)[1]
    for other in against:
        for label, step in _other_steps(model, other, batch_size).items():
            steps[label] = step, flops, []
    peaks = {label: peak_bytes(model, label, batch_size) if memory else 0 for label in steps}
    if product:
        steps["matrix product"] = matrix_product()
    # A penalty tuned for another network may make B diverge here; only the arithmetic is timed, not the learning.
    with backend.quiet():
        works = {label: step for label, (step, _, _) in steps.items()}
        seconds = alternately(works, repeats, consecutive, wait=bool(against))
    return [
        Timing(
            *(label, seconds[label], flops, peaks.get(label, 0)),
            statistics.median(feedback_seconds) if feedback_seconds else 0.0,
        )
        for label, (_, flops, feedback_seconds) in steps.items()
    ]


def table(model: str, timings: Sequence[Timing], batch_size: int) -> str:
    """Medians, and ratios to the first candidate and to PyTorch. The last timing is that of a matrix product.

    Column "products": multiply-adds of all matrix products relative to the first candidate's. Column "feedback ms":
    time per step of the feedback's own learning (noise phases, local penalties).
    """
    *timings, product = timings
    torch = next((t for t in timings if t.label == "torch"), None)
    head = (
        "step",
        "ms",
        "images/s",
        "products",
        "of matrix rate",
        "feedback ms",
        "peak MiB",
        f"/ {timings[0].label}",
        "/ torch",
    )
    rows = [head]
    for timing in timings:
        rows.append(
            (
                timing.label,
                f"{timing.median * 1e3:.2f}",
                f"{batch_size / timing.median:,.0f}",
                f"{timing.flops / timings[0].flops:.2f}",
                f"{share_of_rate(timing, product):.0%}",
                f"{timing.feedback * 1e3:.2f}",
                f"{timing.bytes / 2**20:.0f}" if timing.bytes else "-",
                f"{ratio(timing, timings[0]):.2f}",
                f"{ratio(timing, torch):.2f}" if torch else "-",
            )
        )
    name, shape, _ = SHAPES[model]
    title = f"{model}: {name} on {format_shape(shape)}, batch {batch_size}, medians of {len(product.seconds)}"
    rate = f"{product.flops / product.median / 1e9:.0f} GFLOP/s ({MATRIX} x {MATRIX}, all threads)"
    noise = ", ".join(f"{one.label} {quartile_range([1e3 * seconds for seconds in one.seconds])}" for one in timings)
    lines = title, f"matrix products run at {rate}", f"quartiles in ms: {noise}", text.table(rows, right_from=1)
    return "\n".join(lines)


def ratio(a: Timing, b: Timing) -> float:
    """Median of the ratios of times from the same round."""
    return statistics.median(ratios(a.seconds, b.seconds))


def share_of_rate(timing: Timing, product: Timing) -> float:
    """The rate of a step's matrix products, relative to that of a large product in the same rounds."""
    return timing.flops / product.flops * ratio(product, timing)


def matrix_product() -> tuple[Step, float, list[float]]:
    """As `minifa_step`: a large matrix product on all threads, and its operations; a multiply-add counts as two."""
    a = xp.ones((MATRIX, MATRIX), backend.dtype())

    def step() -> None:
        chunks.matmul(a, a)
        backend.synchronise()

    return step, 2.0 * MATRIX**3, []


def _minifa_step(model: str, rule_name: str, batch_size: int) -> tuple[Step, float, list[float]]:
    """`minifa_step` on a network of the benchmark."""
    name, shape, options = SHAPES[model]
    net = Network(MODELS[name](shape, CLASSES, **options), seed=0, input_shape=shape)
    x, y = batch(shape, batch_size)
    return minifa_step(net, rule_name, backend.asarray(x), y, SoftmaxCrossEntropy())


def minifa_step(net: Network, rule_name: str, x: Array, y: Any, loss: Loss) -> tuple[Step, float, list[float]]:
    """(a step, the operations of its matrix products, a list that collects the seconds of the feedback's own
    learning)."""
    rule = rules.make(rule_name).attach(net)
    optimizer = SGD(lr=1e-4, momentum=0.9)

    def step() -> None:
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)
        backend.synchronise()

    feedback_seconds: list[float] = []
    learn = rule.update_feedback

    def timed(net: Network) -> None:
        started = time.perf_counter()
        learn(net)
        feedback_seconds.append(time.perf_counter() - started)

    rule.update_feedback = timed  # type: ignore[method-assign]
    with chunks.counting_products() as products:
        step()
    return step, 2.0 * sum(products), feedback_seconds


def _other_steps(model: str, other: str, batch_size: int) -> dict[str, Step]:
    """Steps of another library on the same network, by label: PyTorch in its default layout and channels last, or a
    rule of BioTorch. Empty if the library is not installed."""
    name, _, rule = other.partition(" ")
    try:
        from . import torch_steps

        if name == "biotorch":
            return {other: torch_steps.biotorch_step(model, rule, batch_size)}
        steps = {"torch": torch_steps.torch_step(model, batch_size)}
        if len(SHAPES[model][1]) == 3:
            steps["torch channels_last"] = torch_steps.torch_step(model, batch_size, channels_last=True)
        return steps
    except ImportError:
        return {}


def peak_bytes(model: str, label: str, batch_size: int) -> int:
    """Peak memory in bytes of a new process that runs three steps of one candidate (device memory under CuPy); 0 if
    the system does not report it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        setting = backend.name(), backend.threads()
        return pool.submit(_peak_of_this_process, model, label, batch_size, *setting).result()


def _peak_of_this_process(model: str, label: str, batch_size: int, backend_name: str, threads: int) -> int:
    backend.use(backend_name, threads=threads)
    library, _, rule = label.partition(" ")
    if library == "minifa":
        step = _minifa_step(model, rule, batch_size)[0]
    else:
        step = _other_steps(model, "torch", batch_size)[label]
    for _ in range(3):
        step()
    if backend_name == "cupy":
        if library == "minifa":
            return backend.device_bytes()
        from .torch_steps import device_bytes

        return device_bytes()
    if not sys.platform.startswith("linux"):
        return 0
    with open("/proc/self/status", encoding="ascii") as lines:  # getrusage includes the parent's peak
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
