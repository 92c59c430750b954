"""How much memory the activations of a training step take, by depth and by rule: ``minifa bench --memory``.

Backpropagation keeps what every layer did until the error comes back to it, and so does direct feedback as it is
usually written. With ``recompute=true`` (MEM-DFA) it keeps one block's.
"""

from __future__ import annotations

__all__: list[str] = []

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from . import backend, bench, rules, text
from .backend import Array
from .layers import BatchNorm, Conv2d, GlobalAvgPool, Layer, Linear, ReLU
from .layers.base import format_shape
from .losses import Loss, SoftmaxCrossEntropy
from .network import Network
from .rules.base import Rule

RULES = ("bp", "dfa", "dfa:recompute=true")
DEPTHS = (8, 16, 32, 64)
BATCH_SIZE = 32
SHAPE = (16, 16, 3)
CHANNELS = 16
Peaks = dict[str, dict[int, int]]  # by rule and depth, bytes


def deep_cnn(depth: int) -> Network:
    """``depth`` times [convolution 3x3 of 16 channels, BatchNorm, ReLU] on images of 16 x 16, all maps of one size, and
    a mean over each: a network in which every layer's activations take the same memory."""
    layers: list[Layer] = []
    for below in (SHAPE[-1], *[CHANNELS] * (depth - 1)):
        layers += [Conv2d(below, CHANNELS, 3, padding=1), BatchNorm(CHANNELS), ReLU()]
    return Network([*layers, GlobalAvgPool(), Linear(CHANNELS, bench.CLASSES)], input_shape=SHAPE)


def activation_bytes(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> int:
    """What ``rule.gradients`` takes at its peak beyond all that lies there between two steps: parameters, gradients,
    feedback and the batch. It is what the layers keep for the way back, the errors, and the working memory of one
    layer, which grows with the number of threads. Network and rule end as they were.

    Args:
        net, rule, x, y, loss: as for `minifa.rules.Rule.gradients`.

    Returns:
        Bytes, as NumPy reports them to tracemalloc.

    Raises:
        ValueError: the arrays are not NumPy's.

    Ten layers more, in units of one layer's output (256 rows of 100 numbers), ordinary and recomputed:

    >>> from minifa.memory import activation_bytes
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
        raise ValueError(f"memory is measured as NumPy reports it, and arrays live in {backend.name()!r}: use NumPy")
    in_use = tracemalloc.is_tracing()
    peaks = []
    with net.preserved(), rule.preserved():
        tracemalloc.start()
        try:
            with rule.preserved():
                rule.gradients(net, x, y, loss)  # leaves gradients, which the next step's take the place of
            for _ in range(2):
                for layer in net:
                    layer.cache = None
                before = tracemalloc.get_traced_memory()[0]
                tracemalloc.reset_peak()
                with rule.preserved():
                    rule.gradients(net, x, y, loss)
                    peaks.append(tracemalloc.get_traced_memory()[1] - before)
            return min(peaks)  # now and then a table of the interpreter's own grows meanwhile, by a MiB
        finally:
            if not in_use:
                tracemalloc.stop()


def measure(
    depths: Sequence[int] = DEPTHS,
    rule_names: Sequence[str] = RULES,
    batch_size: int = BATCH_SIZE,
    tell: Callable[[], object] = lambda: None,
) -> Peaks:
    """The peaks of `deep_cnn` under every rule, rules with their options as for `minifa.rules.make`.

    Args:
        depths: numbers of convolutions, from 1 up.
        rule_names: ``"dfa:recompute=true"``.
        batch_size: examples in the step that is measured.
        tell: called after every measurement, for a progress bar.

    Raises:
        ValueError: an unknown rule, or one that cannot teach this network; arrays that are not NumPy's.
    """
    x, y = bench.batch(SHAPE, batch_size)
    peaks: Peaks = {name: {} for name in rule_names}
    for depth in sorted(set(depths)):
        for name in rule_names:
            net = deep_cnn(depth)
            rule = rules.make(name).attach(net)
            peaks[name][depth] = activation_bytes(net, rule, backend.asarray(x), y, SoftmaxCrossEntropy())
            tell()
    return peaks


def describe(batch_size: int) -> str:
    """What was measured, in a line."""
    return (
        f"[convolution 3x3, BatchNorm, ReLU] on {format_shape((*SHAPE[:2], CHANNELS))}, batch {batch_size}, "
        f"{backend.dtype()}, threads {backend.threads()}"
    )


def table(peaks: Peaks) -> str:
    """MiB by rule and depth."""
    depths = list(next(iter(peaks.values())))
    rows = [("MiB at depth", *map(str, depths))]
    rows += [(name, *(f"{found[depth] / 2**20:.1f}" for depth in depths)) for name, found in peaks.items()]
    return text.table(rows, right_from=1)
