"""Numerical self-test: every layer, rule, loss and optimizer is run on this machine and compared with a reference.

NumPy is compared with itself: gradients with central differences, optimised functions with their reference
implementations, float32 with float64, one thread with all threads. CuPy, if usable, is compared with NumPy from the
same seed. Differences are relative to the largest magnitude in the reference array.
"""

from __future__ import annotations

__all__ = ["Check", "Finding", "Report", "examine"]

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy

from .. import backend, environment, rules
from ..backend import Array
from ..layers import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxPool,
    Pass,
    ReLU,
    windows,
)
from ..layers.local_response_norm import response_plain
from ..layers.locally_connected import products_plain
from ..layers.pooling import pool_plain, unpool_max_plain
from ..losses import LOSSES, SoftmaxCrossEntropy
from ..network import Network
from ..optim import OPTIMIZERS, SGD
from ..parallel.threads import pool
from ..text import entries, table
from ..validation import check_list
from .differences import TOLERANCES, largest_difference
from .examples import LAYERS, inputs, network, network_for, numbers, small_convnet
from .gradient_check import slopes
from .runs import passes, tolerance_factor, update

Arrays = Mapping[str, Any]
Step = Callable[[], Arrays]
Both = tuple[Arrays, Arrays]

# By comparison: the tolerance, relative to the largest magnitude in the array, and a description.
COMPARISONS = {
    "slopes": (1e-6, "gradients beside central differences, in float64"),
    "plain": (1e-12, "the fast form beside its slow plain twin, in float64"),
    "float64": (TOLERANCES["float64"], "beside NumPy, in float64"),
    "float32": (TOLERANCES["float32"], "beside NumPy in the same type; NumPy's own beside float64"),
    "again": (0.0, "a second run (NumPy's on one thread): the same bits"),
}
UPDATES = 2
TIMED = 5


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        kind, name: such as "layer" and "Tanh".
        prepare: builds the object from its seed on the current backend and returns a function that runs one step and
            returns its arrays by name; None for a check of NumPy only.
        own: by comparison, a function that returns two sets of arrays, which NumPy must compute alike in float64.
        grows: factor by which the tolerance is multiplied (see `minifa.testing.runs.tolerance_factor`).
    """

    kind: str
    name: str
    prepare: Callable[[], Step] | None = None
    own: Mapping[str, Callable[[], Both]] = field(default_factory=dict)
    grows: float = 1.0


@dataclass
class Finding:
    """The result of one check on one backend.

    Attributes:
        kind, name, backend: the check and the backend.
        differences: the largest relative difference, by comparison.
        wrong: one message per failed comparison.
        seconds: median time of one step; None if it was not timed.
    """

    kind: str
    name: str
    backend: str
    differences: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float | None = None


@dataclass
class Report:
    """All findings and the environment.

    Attributes:
        facts: versions, machine, threads, BLAS, device.
        findings: one per check and backend; the checks of reference implementations run on NumPy only.
    """

    facts: dict[str, str]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether all comparisons passed."""
        return not any(finding.wrong for finding in self.findings)

    def text(self) -> str:
        """The report as text, to be read or attached to a bug report."""
        parts = [entries(self.facts)]
        for name in dict.fromkeys(finding.backend for finding in self.findings):
            parts.append(_table(name, [finding for finding in self.findings if finding.backend == name]))
        parts.append(
            "\n".join(f"{key:7}  {COMPARISONS[key][1]}; at most {COMPARISONS[key][0]:g}" for key in self._made())
        )
        wrong = [f"{one.backend}, {one.kind} {one.name}: {text}" for one in self.findings for text in one.wrong]
        verdict = "\n".join([f"{len(wrong)} of the comparisons failed:", *wrong]) if wrong else "everything agrees"
        return "\n\n".join([*parts, verdict])

    def _made(self) -> list[str]:
        """The comparisons that were made."""
        return [key for key in COMPARISONS if any(key in one.differences for one in self.findings)]

    def as_dict(self) -> dict[str, Any]:
        """The report as a dictionary for JSON. Differences that are not finite are given as strings."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        for one in findings:
            one["differences"] = {
                key: value if math.isfinite(value) else str(value) for key, value in one["differences"].items()
            }
        return {"healthy": self.healthy, "facts": self.facts, "tolerances": COMPARISONS, "findings": findings}


def examine(backends: Sequence[str], progress: Callable[[], object] = lambda: None) -> Report:
    """Run every check on these backends.

    Args:
        backends: a list of "numpy" and "cupy".
        progress: callback after each check on each backend; called ``len(checks()) * len(backends)`` times.

    Raises:
        TypeError: backends is not a list of names, or progress is not callable.
        BackendError: a backend cannot be used on this machine.
    """
    backends = check_list(backends, str, "backends must be a list of names, as ['numpy']")
    if not callable(progress):
        raise TypeError(f"progress is called after each check, got {progress!r}")
    facts = _facts(backends)
    findings = []
    for name in backends:
        for check in checks():
            if check.prepare or name == "numpy":
                findings.append(_examine(check, name))
            progress()
    return Report(facts, findings)


def checks() -> list[Check]:
    """All checks: the layers of `LAYERS`, every registered rule, loss and optimizer, the reference implementations, and
    a batch large enough to be processed in chunks.

    >>> from minifa.testing.doctor import checks
    >>> [check.name for check in checks() if check.kind == "loss"]
    ['softmax_cross_entropy', 'sigmoid_cross_entropy', 'mean_squared_error', 'half_squared_error']
    """
    layers = [
        Check("layer", name, partial(_layer, *one), {"slopes": partial(_layer_slopes, *one)})
        for name, one in LAYERS.items()
    ]
    described = [*rules.RULES, "fa:conv=dense", "dfa:recompute=true"]
    learning = [
        Check("rule", name, partial(_rule, name), grows=tolerance_factor(rules.make(name))) for name in described
    ]
    losses = [Check("loss", name, partial(_loss, name), {"slopes": partial(_loss_slopes, name)}) for name in LOSSES]
    optimizers = [Check("optimizer", name, partial(_optimizer, name)) for name in OPTIMIZERS]
    twins = [Check("twin", name, own={"plain": both}) for name, both in TWINS.items()]
    return [*layers, *learning, *losses, *optimizers, *twins, Check("net", "large batch", _large)]


# The computations


def _layer_net(make: Callable[[], list[Layer]], shape: tuple[int, ...]) -> tuple[Network, Array, Array]:
    """(a network of these layers, a batch, an output error)."""
    net = network(make(), shape, input_error=True)
    return net, inputs(shape, n=6), inputs(net.output_shape or (), n=6, seed=1)


def _layer(make: Callable[[], list[Layer]], shape: tuple[int, ...]) -> Step:
    net, x, error = _layer_net(make, shape)

    return lambda: passes(net, x, error)


def _layer_slopes(make: Callable[[], list[Layer]], shape: tuple[int, ...]) -> Both:
    """For the input and each parameter, the directional derivative of sum(error * output): by the backward pass, and by
    central differences of two forward passes."""
    net, x, error = _layer_net(make, shape)
    ctx = Pass(training=True, step=1, update_statistics=False)
    net.forward(x, ctx)
    gradients = {"the input": net.backward(error, rules.BP()), **net.gradients()}
    return slopes({"the input": x, **net.parameters()}, gradients, lambda: float((error * net.forward(x, ctx)).sum()))


def _rule(description: str) -> Step:
    """One update under this rule: the loss, every gradient, the feedback matrices, the updated parameters, and the
    rule's memory."""
    net = network_for(description, batch_norm=False)
    rule, loss, optimizer = rules.make(description, seed=1).attach(net), SoftmaxCrossEntropy(), SGD(0.05, momentum=0.9)
    x, y = numbers((8, *(net.input_shape or ()))), numpy.arange(8) % 3

    return lambda: update(net, rule, x, y, loss, optimizer)


def _loss(name: str) -> Step:
    loss, output = LOSSES[name](), numbers((8, 5))

    def step() -> Arrays:
        values, errors = loss(output, loss.target(numpy.arange(8) % 5, output))
        return {"values": values, "errors": errors}

    return step


def _loss_slopes(name: str) -> Both:
    loss, output = LOSSES[name](), numbers((8, 5))
    target = loss.target(numpy.arange(8) % 5, output)
    _, errors = loss(output, target)
    return slopes({"output": output}, {"output": errors}, lambda: float(loss(output, target)[0].sum()))


def _optimizer(name: str) -> Step:
    net, optimizer = small_convnet(batch_norm=False), OPTIMIZERS[name](0.01, weight_decay=0.01, clip_norm=1.0)
    rule, x, y = rules.BP().attach(net), numbers((8, 8, 8, 2)), numpy.arange(8) % 3
    rule.gradients(net, x, y, SoftmaxCrossEntropy())

    def step() -> Arrays:
        optimizer.step(net)
        return {**net.parameters(), **{key: array for slot in optimizer.arrays.values() for key, array in slot.items()}}

    return step


def _large() -> Step:
    """A batch that the CPU divides into chunks for its threads, and matrix products that it divides into blocks."""
    layers: list[Layer] = [Conv2d(8, 8, 3, 1, 1, bias=False), BatchNorm(8), ReLU(), MaxPool(2), LocalResponseNorm(3)]
    net = Network([*layers, Flatten(), Linear(2048, 64)], seed=0, input_shape=(32, 32, 8), input_error=True)
    x, error = numbers((64, 32, 32, 8)), numbers((64, 64), seed=1)
    return lambda: passes(net, x, error)


def _windows_twins() -> Both:
    x, window = numbers((2, 6, 5, 3)), ((3, 2), (2, 1), (1, 1), (1, 2), (0, 1))  # dilated, with an extra column
    rows = windows.columns(x, *window)
    fast, slow = windows.uncolumns(rows, x.shape, *window), windows.uncolumns_plain(rows, x.shape, *window)
    return {"columns": rows, "uncolumns": fast}, {"columns": windows.columns_plain(x, *window), "uncolumns": slow}


def _pooling_twins() -> Both:
    x, window = numbers((2, 7, 6, 3)), ((3, 3), (2, 2), (1, 1))
    largest, mean = MaxPool(*window), AvgPool(*window)
    fast = {"max": largest.forward(x, Pass(training=True)), "mean": mean.forward(x, Pass())}
    delta = numbers(fast["max"].shape, seed=1)
    slow = {
        "max": pool_plain(x, *window, -math.inf, "max"),
        "mean": pool_plain(x, *window, 0.0, "mean"),
        "error below max": unpool_max_plain(x, delta, *window),
    }
    return {**fast, "error below max": largest.backward(delta, rules.BP())}, slow


def _locally_connected_twins() -> Both:
    layer, x = LocallyConnected2d(2, 3, (3, 2), (2, 1), (1, 1), input_size=(6, 5), bias=False), numbers((2, 6, 5, 2))
    y = layer.forward(x, Pass(training=True))
    delta, B = numbers(y.shape, seed=1), numbers(layer.W.shape, seed=2)
    fast = y, layer.weight_gradient(x, delta), layer.carry(delta, B)
    names = "output", "gradient of W", "error below"
    return dict(zip(names, fast, strict=True)), dict(zip(names, products_plain(layer, x, delta, B), strict=True))


def _response_twins() -> Both:
    x, options = numbers((2, 3, 3, 6)), (4, 0.9, 0.75, 2.0)
    return {"output": LocalResponseNorm(*options).forward(x, Pass())}, {"output": response_plain(x, *options)}


TWINS: dict[str, Callable[[], Both]] = {
    "windows": _windows_twins,
    "pooling": _pooling_twins,
    "locally connected": _locally_connected_twins,
    "response": _response_twins,
}


# The comparisons


def _examine(check: Check, name: str) -> Finding:
    finding = Finding(check.kind, check.name, name)
    for comparison, both in _comparisons(check, name).items():
        try:
            most, where = largest_difference(*both())
        except Exception as error:  # reported as a failure; the next checks still run
            finding.wrong.append(f"{comparison}: {type(error).__name__}: {error}")
            continue
        finding.differences[comparison] = most
        if not most <= check.grows * COMPARISONS[comparison][0]:
            finding.wrong.append(f"{comparison}: {where} differs by {most:.1e}")
    if check.prepare and not finding.wrong:
        finding.seconds = _median_seconds(check.prepare, name)
    return finding


def _comparisons(check: Check, name: str) -> dict[str, Callable[[], Both]]:
    """By comparison, a function that returns the two sets of arrays."""
    own: dict[str, Callable[[], Both]] = {}
    if name == "numpy":
        own.update({key: partial(_exactly, both) for key, both in check.own.items()})
    if check.prepare is None:
        return own
    run = partial(_run, check.prepare)
    if name == "numpy":
        others = {"float32": lambda: (run("numpy", "float32"), run("numpy", "float64"))}
    else:
        others = {
            "float64": lambda: (run(name, "float64"), run("numpy", "float64")),
            "float32": lambda: (run(name, "float32"), run("numpy", "float32")),
        }
    return {**own, **others, "again": lambda: (run(name, "float32"), run(name, "float32", threads=1))}


def _exactly(both: Callable[[], Both]) -> Both:
    with backend.using("numpy", "float64"):
        return both()


def _run(prepare: Callable[[], Step], name: str, dtype: str, threads: int | None = None) -> Arrays:
    """The arrays of the first `UPDATES` steps, on the host. Raises TypeError for a float array of another dtype."""
    before = backend.threads()
    with backend.using(name, dtype):
        try:
            pool.resize(threads or before)
            step, arrays = prepare(), {}
            for number in range(1, UPDATES + 1):
                for key, array in step().items():
                    if array is not None:
                        arrays[f"{key}, step {number}"] = host = numpy.array(backend.to_host(array))
                        if host.dtype.kind == "f" and str(host.dtype) != dtype:
                            raise TypeError(f"{key} is {host.dtype} where the network computes in {dtype}")
            return arrays
        finally:
            pool.resize(before)


def _median_seconds(prepare: Callable[[], Step], name: str) -> float:
    with backend.using(name, "float32"):
        step, times = prepare(), []
        step()
        for _ in range(TIMED):
            backend.synchronise()
            started = time.perf_counter()
            step()
            backend.synchronise()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


# The report


def _facts(backends: Sequence[str]) -> dict[str, str]:
    from threadpoolctl import threadpool_info

    about = {key: str(value) for key, value in environment.environment().items() if key not in ("backend", "dtype")}
    libraries = [
        f"{one['internal_api']} {one['version']}, {one['num_threads']} threads"
        for one in threadpool_info()
        if one["user_api"] == "blas"
    ]
    about["blas"] = "; ".join(libraries) or "unknown"
    about["cupy"] = backend.cupy_status()
    return {**about, **(backend.device_facts() if "cupy" in backends else {})}


def _table(name: str, findings: Sequence[Finding]) -> str:
    columns = [key for key in COMPARISONS if any(key in one.differences for one in findings)]
    rows = [(f"on {name}", "", *columns, "ms", "")]
    for one in findings:
        shown = [f"{one.differences[key]:.0e}" if key in one.differences else "-" for key in columns]
        ms = "-" if one.seconds is None else f"{one.seconds * 1e3:.2f}"
        rows.append((one.kind, one.name, *shown, ms, "FAIL" if one.wrong else "pass"))
    return table(rows, right_from=2)
