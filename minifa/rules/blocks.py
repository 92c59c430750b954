"""A chain of layers as blocks: each weighted layer with the layers that follow it, up to the next weighted layer.

Rules that send targets, relax activities or steer them see a network as h_l = f_l(h_{l-1} @ W_l + b_l), where f_l
stands for the layers after W_l: activations, pooling, Flatten.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import backend
from ..backend import Array
from ..layers.activations import Activation
from ..layers.base import Layer, Pass, Teacher, forward_chain
from ..layers.weighted import Weighted
from ..network import Network

ACCEPTED = "networks of Linear, Conv2d, LocallyConnected2d, activations, pooling and Flatten"


class Block(NamedTuple):
    """A weighted layer and the layers ``after`` it up to the next weighted layer."""

    layer: Weighted
    after: list[Layer]

    @property
    def layers(self) -> list[Layer]:
        return [self.layer, *self.after]

    @property
    def end(self) -> Layer:
        """The layer whose output h_l the next block reads."""
        return self.layers[-1]

    @property
    def activations(self) -> list[Activation]:
        return [layer for layer in self.after if isinstance(layer, Activation)]

    def activate(self, a: Array) -> Array:
        """f_l(a), (N, ...), of the layers after the weights. Their caches are then those of this pass."""
        for layer in self.after:
            a = layer.forward(a, Pass(training=True))
        return a

    def activation_error(self, delta: Array, rule: Teacher) -> Array:
        """The error at the output of the weights, f_l'(a) * delta, for the a of the caches.

        Args:
            delta: the error at the block's output, (N, ...).
            rule: the learning rule, which `Layer.backward` requires and does not ask here.
        """
        for layer in reversed(self.after):
            delta = layer.backward(delta, rule)
        return delta


def blocks_of(net: Network, label: str) -> list[Block]:
    """The blocks of a network, in forward order. The layers before the first weighted layer belong to none.

    Args:
        label: of the rule, for the message.

    Raises:
        ValueError: a layer through which no target can be sent (see `Layer.sends_targets`): a norm layer, dropout, a
            residual block; the message names it.
    """
    blocks: list[Block] = []
    for layer in net.layers:
        if isinstance(layer, Weighted):
            blocks.append(Block(layer, []))
        elif blocks:
            if not layer.sends_targets:
                raise ValueError(f"the rule {label!r} can send no target through {layer}: it accepts {ACCEPTED}")
            blocks[-1].after.append(layer)
    return blocks


@backend.quietly
def run(layers: Sequence[Layer], x: Array, step: int, keep: bool = False) -> Array:
    """The output of these layers for the activity x below them, as in training. The caches of the last training pass
    stay as they are unless ``keep`` is set.

    Args:
        step: the number of weight updates so far, as in `Pass`.
    """
    with backend.blas_limit():
        return forward_chain(layers, x, Pass(training=True, step=step, update_statistics=False, keep=keep))


@contextlib.contextmanager
def caches_restored(layers: Sequence[Layer]) -> Iterator[None]:
    """Context manager: after passes inside the block, the layers have the caches that they have now."""
    before = [layer.cache for layer in layers]
    try:
        yield
    finally:
        for layer, cache in zip(layers, before, strict=True):
            layer.cache = cache
