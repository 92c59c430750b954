"""Activation memory of a training step, by depth and rule: ``minifa bench --memory``.

Backpropagation stores the activations of every layer until its backward pass, and so do common implementations of
direct feedback. With ``recompute=true`` (MEM-DFA), direct feedback stores those of one block only.
"""

from __future__ import annotations

__all__: list[str] = []

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from .. import backend, rules, text
from ..backend import Array
from ..layers import BatchNorm, Conv2d, GlobalAvgPool, Layer, Linear, ReLU
from ..losses import Loss, SoftmaxCrossEntropy
from ..network import Network
from ..rules.base import Rule
from ..validation import format_shape
from . import networks

RULES = ("bp", "dfa", "dfa:recompute=true")
DEPTHS = (8, 16, 32, 64)
BATCH_SIZE = 32
SHAPE = (16, 16, 3)
CHANNELS = 16
Peaks = dict[str, dict[int, int]]  # by rule and depth, bytes


def deep_cnn(depth: int, batch_norm: bool = True) -> Network:
    """``depth`` times [3x3 convolution of 16 channels, BatchNorm, ReLU] on images of 16 x 16, with maps of constant
    size, then global average pooling: a network in which every layer's activations take the same memory."""
    layers: list[Layer] = []
    for below in (SHAPE[-1], *[CHANNELS] * (depth - 1)):
        norm = [BatchNorm(CHANNELS)] if batch_norm else []
        layers += [Conv2d(below, CHANNELS, 3, padding=1), *norm, ReLU()]
    return Network([*layers, GlobalAvgPool(), Linear(CHANNELS, networks.CLASSES)], input_shape=SHAPE)


def all_accept_batch_norm(rule_names: Sequence[str]) -> bool:
    """Whether every rule can be attached to `deep_cnn` with batch norm. Raises ValueError for an unknown rule."""
    for rule in map(rules.make, rule_names):
        try:
            rule.attach(deep_cnn(1))
        except ValueError:
            return False
    return True


def activation_bytes(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> int:
    """The peak memory of ``rule.gradients`` beyond what persists between steps (parameters, gradients, feedback, the
    batch). It consists of the activations stored for the backward pass, the errors, and the working memory of one
    layer, which grows with the number of threads. The states of network and rule are restored.

    Args:
        net, rule, x, y, loss: as for `minifa.rules.Rule.gradients`.

    Returns:
        Bytes, as NumPy reports them to tracemalloc.

    Raises:
        ValueError: the backend is not NumPy.

    The cost of ten more layers, in units of one layer's output (256 rows of 100 numbers), stored and recomputed:

    >>> from minifa.bench.memory import activation_bytes
    >>> def peak(depth, recompute):
    ...     hidden = [one for _ in range(depth) for one in (mf.Linear(100, 100), mf.Tanh())]
    ...     net = mf.Network([*hidden, mf.Linear(100, 2)])
    ...     rule = mf.rules.DFA(recompute=recompute).attach(net)
    ...     x, y = mf.asarray(np.ones((256, 100))), np.zeros(256, int)
    ...     return activation_bytes(net, rule, x, y, mf.SoftmaxCrossEntropy()) / x.nbytes
    >>> [round(peak(20, recompute) - peak(10, recompute)) for recompute in (False, True)]
    [10, 0]
    """
    if backend.name() != "numpy":
        raise ValueError(f"the backend must be 'numpy' to measure activation memory, got {backend.name()!r}")
    was_tracing = tracemalloc.is_tracing()
    peaks = []
    with net.preserved(), rule.preserved():
        tracemalloc.start()
        try:
            with rule.preserved():
                rule.gradients(net, x, y, loss)  # allocates the gradients, which the next step replaces
            for _ in range(2):
                for layer in net:
                    layer.cache = None
                before = tracemalloc.get_traced_memory()[0]
                tracemalloc.reset_peak()
                with rule.preserved():
                    rule.gradients(net, x, y, loss)
                    peaks.append(tracemalloc.get_traced_memory()[1] - before)
            return min(peaks)  # an internal table of the interpreter occasionally grows by a MiB in between
        finally:
            if not was_tracing:
                tracemalloc.stop()


def measure(
    depths: Sequence[int] = DEPTHS,
    rule_names: Sequence[str] = RULES,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[], object] = lambda: None,
) -> Peaks:
    """The activation memory of `deep_cnn` under every rule; without batch norm if one of them does not accept it.

    Args:
        depths: numbers of convolutions, at least 1.
        rule_names: rules with their options as for `minifa.rules.make`, such as ``"dfa:recompute=true"``.
        batch_size: examples in the measured step.
        progress: called after every measurement, for a progress bar.

    Raises:
        ValueError: an unknown rule, a rule that cannot teach this network, or a backend that is not NumPy.
    """
    x, y = networks.batch(SHAPE, batch_size)
    batch_norm = all_accept_batch_norm(rule_names)
    peaks: Peaks = {name: {} for name in rule_names}
    for depth in sorted(set(depths)):
        for name in rule_names:
            net = deep_cnn(depth, batch_norm)
            rule = rules.make(name).attach(net)
            peaks[name][depth] = activation_bytes(net, rule, backend.asarray(x), y, SoftmaxCrossEntropy())
            progress()
    return peaks


def describe(batch_size: int, rule_names: Sequence[str]) -> str:
    """A one-line description of the measurement."""
    norm = "BatchNorm, " if all_accept_batch_norm(rule_names) else ""
    return (
        f"[convolution 3x3, {norm}ReLU] on {format_shape((*SHAPE[:2], CHANNELS))}, batch {batch_size}, "
        f"{backend.dtype()}, threads {backend.threads()}"
    )


def table(peaks: Peaks) -> str:
    """A text table of MiB by rule and depth."""
    depths = list(next(iter(peaks.values())))
    rows = [("MiB at depth", *map(str, depths))]
    rows += [(name, *(f"{sizes[depth] / 2**20:.1f}" for depth in depths)) for name, sizes in peaks.items()]
    return text.table(rows, right_from=1)


def read(peaks: Peaks) -> str:
    """Two sentences: which rules need the least and the most memory, and how it grows with the depth."""
    depths = sorted(next(iter(peaks.values())))
    low, deep = depths[0], depths[-1]
    at_depth = {name: sizes[deep] for name, sizes in peaks.items()}
    least, most = min(at_depth, key=at_depth.__getitem__), max(at_depth, key=at_depth.__getitem__)
    sentences = [f"At depth {deep} {least} needs the least memory, {at_depth[least] / 2**20:.1f} MiB"]
    if most != least:
        sentences[0] += f", and {most} {at_depth[most] / at_depth[least]:.1f} times as much"
    if deep > low:
        growth = ", ".join(f"{name} {sizes[deep] / sizes[low]:.1f} times" for name, sizes in peaks.items())
        sentences.append(f"From depth {low} to {deep} the memory grows: {growth}")
    return ". ".join(sentences) + "."
