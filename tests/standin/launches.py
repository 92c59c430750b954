"""What one training step would launch on a GPU: calls of xp on the stand-in, and the bytes they read and write.

    PYTHONPATH=.:tests python -m standin.launches                              the tables, in about a minute
    PYTHONPATH=.:tests python -m standin.launches --models cnn --lines 20      also the most numerous source lines
    PYTHONPATH=.:tests python -m standin.launches --out tutorials/results/gpu  also as Markdown and CSV

Counted is every ufunc, function, method and operator on device arrays; an operator in place is one call. Views (slices,
reshaped and transposed arrays) and `empty` are none, nothing is fused. A call is not always one kernel: CuPy runs
einsum, matmul of transposed arrays and mean as one or several. Bytes are those of the operands and of the result, each
once; an array counts with its elements, or with the memory it spans if that is less (a broadcast vector, overlapping
windows). Copies from the host and reads by the host are counted apart. The counted step is the third.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import minifa
from minifa import backend, environment, rules
from minifa.bench.networks import CLASSES, SHAPES, batch
from minifa.layers import Layer
from minifa.losses import Loss, SoftmaxCrossEntropy
from minifa.models import MODELS
from minifa.network import Network
from minifa.optim import OPTIMIZERS, Optimizer
from minifa.rules.base import Rule
from minifa.text import table

from .counters import counters
from .namespace import make_cupy

RULES, OPTIMIZERS_USED = ("bp", "fa", "dfa"), {"sgd": {"lr": 1e-4, "momentum": 0.9}, "adam": {"lr": 1e-4}}
SMALL = (4, 8)  # batches
WARM_UP = 2  # steps: the first one makes the optimizer's state
NO_LAUNCH = {"empty", "empty_like", "result_type", "ndim", "shape", "size", "may_share_memory", "shares_memory"}
HELPERS = ("parallel", "backend.py")  # the line that counts is the one that called them
PACKAGE = os.path.dirname(minifa.__file__) + os.sep


@dataclass(frozen=True)
class Call:
    """One call: where (kind of layer, "optimizer", "loss" or "rule"), in which pass, by which line, and its bytes."""

    place: str
    direction: str
    function: str
    line: str
    bytes: int


@dataclass
class Step:
    """The calls of one training step, and its copies from the host and reads by the host."""

    calls: list[Call] = field(default_factory=list)
    from_host: int = 0
    reads: Counter[str] = field(default_factory=Counter)

    @property
    def megabytes(self) -> float:
        return sum(call.bytes for call in self.calls) / 1e6

    def log(self, name: str, arguments: Any, result: Any, written: bool) -> None:
        """As `counters.log`: record a call unless its result is a view or an allocation."""
        operands, results = list(_arrays(() if name.endswith("_like") else arguments)), list(_arrays(result))
        is_view = results and all(any(np.may_share_memory(one, other) for other in operands) for one in results)
        if name in NO_LAUNCH or (is_view and not written):
            return
        self.calls.append(Call(*_caller(), name, _line(), sum(map(_bytes, operands + results))))


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, (np.ndarray, np.generic)):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _arrays(one)


def _bytes(array: Any) -> int:
    """The elements of an array, at most the memory that it spans."""
    if array.size == 0 or not isinstance(array, np.ndarray):
        return int(array.nbytes)
    low, high = np.lib.array_utils.byte_bounds(array)
    return min(array.nbytes, high - low)


def _frames() -> Iterator[FrameType]:
    """The frames of minifa's code, from the innermost outwards."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            yield frame
        frame = frame.f_back


def _caller() -> tuple[str, str]:
    """The kind of the innermost object that is a layer, a loss, an optimizer or a rule, and the pass."""
    place = ""
    for frame in _frames():
        one, function = frame.f_locals.get("self"), frame.f_code.co_name
        if not place:
            names = {Layer: type(one).__name__, Loss: "loss", Optimizer: "optimizer", Rule: "rule"}
            place = next((name for kind, name in names.items() if isinstance(one, kind)), "")
        if place and isinstance(one, Layer) and function in ("forward", "backward"):
            return place, function
    return place or "other", ""


def _line() -> str:
    for frame in _frames():
        path = Path(frame.f_code.co_filename.removeprefix(PACKAGE))
        if path.parts[0] not in HELPERS:
            return f"{path.as_posix()}:{frame.f_lineno}"
    return ""


@contextmanager
def on_the_stand_in() -> Iterator[Any]:
    """The stand-in as the backend, with whole batches as on a GPU; the previous backend afterwards."""
    choice, free_bytes = backend._choice(), backend.free_bytes
    cupy = make_cupy()
    backend._install(cupy, cpu_chunks=False, dtype="float32")
    backend.free_bytes = lambda: 8 << 30  # the stand-in's device has no memory
    try:
        yield cupy
    finally:
        backend.free_bytes = free_bytes
        backend._install(choice.module, choice.cpu_chunks, choice.dtype)


def training_step(model: str, rule_name: str, optimizer_name: str, batch_size: int) -> Callable[[], None]:
    """A step of a network of the benchmark on the current backend, after WARM_UP steps.

    Args:
        model: "mlp", "cnn" or "resnet20".
        rule_name: as for `minifa.rules.make`.
        optimizer_name: "sgd" (momentum 0.9) or "adam".
    """
    name, shape, options = SHAPES[model]
    net = Network(MODELS[name](shape, CLASSES, **options), seed=0, input_shape=shape)
    rule, loss = rules.make(rule_name).attach(net), SoftmaxCrossEntropy()
    optimizer = OPTIMIZERS[optimizer_name](**OPTIMIZERS_USED[optimizer_name])
    x, y = batch(shape, batch_size)
    x = backend.asarray(x)

    def train() -> None:
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)

    for _ in range(WARM_UP):
        train()
    return train


def count(model: str, rule_name: str, optimizer_name: str, batch_size: int = 128) -> Step:
    """The calls of one `training_step`. It is counted at the two sizes of SMALL: the calls must be the same, and the
    bytes of each grow by a constant amount with every example, which gives those at ``batch_size``.

    Raises:
        RuntimeError: the calls depend on the size of the batch.
    """
    small, large = (counted(model, rule_name, optimizer_name, size) for size in SMALL)
    sequences = [
        [(call.place, call.direction, call.function, call.line) for call in one.calls] for one in (small, large)
    ]
    if sequences[0] != sequences[1]:
        raise RuntimeError(f"{model} under {rule_name}: the calls differ between batches of {SMALL[0]} and {SMALL[1]}")
    factor = (batch_size - SMALL[0]) / (SMALL[1] - SMALL[0])
    pairs = zip(small.calls, large.calls, strict=True)
    calls = [replace(a, bytes=round(a.bytes + factor * (b.bytes - a.bytes))) for a, b in pairs]
    return replace(small, calls=calls)


def counted(model: str, rule_name: str, optimizer_name: str, batch_size: int) -> Step:
    """The calls of one `training_step` at this batch size."""
    with on_the_stand_in():
        return logged(training_step(model, rule_name, optimizer_name, batch_size))


def logged(work: Callable[[], object]) -> Step:
    """What ``work()`` does on the stand-in. Nothing is logged afterwards, also if it fails."""
    step = Step()
    counters.reset()
    counters.log = step.log
    try:
        work()
    finally:
        counters.log = None
    step.from_host, step.reads = counters.h2d, counters.operand.copy()
    return step


# Tables

Key = tuple[str, str, str]  # network, rule, optimizer
HEAD = (
    "network",
    "rule",
    "optimizer",
    "calls",
    "MB",
    "from host",
    "host reads",
    "PyTorch operators",
    "calls / operators",
)


def rows_of(steps: dict[Key, Step], operators: dict[tuple[str, str], int]) -> list[tuple[str, ...]]:
    """The rows below HEAD. PyTorch has backpropagation only: its number stands in every row of network and
    optimizer."""
    rows = []
    for (model, rule, optimizer), step in steps.items():
        theirs = operators.get((model, optimizer))
        beside = ("-", "-") if theirs is None else (str(theirs), f"{len(step.calls) / theirs:.2f}")
        numbers = str(len(step.calls)), f"{step.megabytes:.1f}", str(step.from_host), str(sum(step.reads.values()))
        rows.append((model, rule, optimizer, *numbers, *beside))
    return rows


def places(step: Step) -> list[tuple[str, str, str, str]]:
    """(place, pass, calls, MB) of one step, the most numerous first."""
    calls, sizes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for call in step.calls:
        calls[call.place, call.direction] += 1
        sizes[call.place, call.direction] += call.bytes
    return [(*where, str(number), f"{sizes[where] / 1e6:.1f}") for where, number in calls.most_common()]


PLACES = ("place", "pass", "calls", "MB")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def write(folder: Path, steps: dict[Key, Step], operators: dict[tuple[str, str], int], about: str, note: str) -> None:
    """launches.md, launches.csv (one row per network, rule and optimizer) and places.csv in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(steps, operators)
    parts = ["# Calls and bytes of a training step", about, textwrap.fill(f"{note}.", 120), markdown([HEAD, *rows])]
    for (model, rule, optimizer), step in steps.items():
        if rule == "bp":  # places.csv has the others
            parts += [f"## {model}, {rule}, {optimizer}: by place", markdown([PLACES, *places(step)])]
    (folder / "launches.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_csv(folder / "launches.csv", [HEAD, *rows])
    by_place = [(*key, *row) for key, step in steps.items() for row in places(step)]
    write_csv(folder / "places.csv", [(*HEAD[:3], *PLACES), *by_place])


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="standin.launches", description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(SHAPES), help="mlp, cnn, resnet20, small, or several")
    parser.add_argument("--rules", default=",".join(RULES), help="rules to count")
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS_USED), help="sgd (momentum 0.9), adam")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lines", type=int, default=0, help="print that many of the most numerous source lines")
    parser.add_argument("--out", type=Path, help="folder for launches.md, launches.csv and places.csv")
    options = parser.parse_args(arguments)
    keys = keys_of(options)
    steps = {key: count(*key, options.batch_size) for key in keys}
    operators, note = operators_of(sorted({(model, optimizer) for model, _, optimizer in keys}))
    facts = environment.environment()
    command = " ".join(["PYTHONPATH=.:tests python -m standin.launches", *(arguments or sys.argv[1:])])
    about = f"`{command}`, minifa {environment.version(facts)}, NumPy {facts['numpy']}, batch {options.batch_size}"
    about += f", float32, {facts['date']}"
    print(f"{about}\n{note}\n\n{table([HEAD, *rows_of(steps, operators)], right_from=3)}")
    for key, step in steps.items():
        print(f"\n{', '.join(key)}\n{table([PLACES, *places(step)], right_from=2)}")
        lines = Counter((call.line, call.function) for call in step.calls).most_common(options.lines)
        if lines:
            print(table([("line", "function", "calls"), *((*line, str(n)) for line, n in lines)], right_from=2))
    if options.out:
        write(options.out, steps, operators, about, note)


def keys_of(options: argparse.Namespace) -> list[Key]:
    """Every combination of the options' networks, rules and optimizers."""
    return [*itertools.product(*(one.split(",") for one in (options.models, options.rules, options.optimizers)))]


def operators_of(pairs: Iterable[tuple[str, str]]) -> tuple[dict[tuple[str, str], int], str]:
    """PyTorch's operators by network and optimizer, and how they are counted; none if it is not installed."""
    try:
        from . import operators
    except ImportError:
        return {}, "PyTorch is not installed: its operators were not counted"
    return {pair: sum(operators.count(*pair).values()) for pair in pairs}, operators.NOTE


if __name__ == "__main__":
    main()
