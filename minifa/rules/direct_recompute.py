"""MEM-DFA: direct feedback without storing the activations of the forward pass.

    pass 1    y = net(x); each cache is dropped at once; batch norm updates its running statistics; e = dL/da
    pass 2    y = net(x) again, block by block; a block ends with a taught layer; after the output of that layer:
              delta = e @ F.T, backward pass through the block, gradients stored, caches dropped

Chu, Mykitiuk, Szewczyk, Wiktor & Wojna 2020, "Training DNNs in O(1) memory with MEM-DFA using random matrices": no
error comes from above, so a layer need not wait for the layers above it. Memory for activations is that of the largest
block instead of all blocks, at the cost of one more forward pass; the gradients are bitwise those of ordinary direct
feedback. Implemented from the paper's abstract; the treatment of residual blocks, batch norm and dropout is minifa's.

Residual blocks: a taught layer inside a branch ends a block there. The layers after it in the branch have no error
until the sum is taught; their caches are kept until then, together with that of the sum. An error that would leave a
branch at its start before that (through a layer without weights) is stored at the branch's first layer and later added
to the error of the other branch.
"""

from __future__ import annotations

__all__: list[str] = []

from collections import defaultdict
from typing import Any

from ..backend import Array
from ..layers.base import Layer, Pass, backward_chain
from ..layers.observer import active
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from .base import Rule


def gradients(rule: Rule, net: Network, x: Array, y: Any, loss: Loss) -> Array:
    """`Rule.gradients` for a rule that carries no error through a weight. Returns the mean loss."""
    output_layer = net.output_layer
    after_output = net.layers[net.layers.index(output_layer) + 1 :]
    value = rule.compute_error(net.forward(x, _CacheFreePass(rule.training_pass(net), output_layer)), y, loss)
    net.clear_gradients()
    delta = backward_chain(after_output, rule.error, rule)
    taught = rule.teach(output_layer, delta)  # sets e, which the first block needs
    if (observer := active.get()) is not None:
        observer.on_teach(output_layer, delta, taught)
    second = _BlockwisePass(rule, net)
    net.forward(x, second)
    second.backward("", rule.error)
    return value


def check(net: Network) -> None:
    """Raise ValueError if e cannot be computed before the second pass."""
    if net.output_layer not in net.layers:
        raise ValueError(
            f"with recompute the output layer must be outside of residual blocks, got {net.output_layer}: "
            "put a layer with weights after the block, or set recompute=False"
        )


class _CacheFreePass(Pass):
    """The first pass: the rule's pass, with the caches dropped up to and including the output layer's."""

    def __init__(self, inner: Pass, output_layer: Layer) -> None:
        super().__init__(inner.training, inner.step, inner.update_statistics)
        self.inner, self.output_layer = inner, output_layer
        self.drops_caches = True

    def after(self, layer: Layer, y: Array) -> Array:
        if self.drops_caches:
            layer.cache = None
        self.drops_caches = self.drops_caches and layer is not self.output_layer
        return self.inner.after(layer, y)


class _BlockwisePass(Pass):
    """The second pass: it runs the backward pass of a block after the output of each taught layer. In the backward pass
    it takes the place of the rule."""

    def __init__(self, rule: Rule, net: Network) -> None:
        inner = rule.training_pass(net, update_statistics=False)
        super().__init__(inner.training, inner.step, inner.update_statistics)
        self.inner, self.rule, self.presynaptic = inner, rule, rule.presynaptic
        self.pending: dict[str, list[Layer]] = defaultdict(list)  # by branch: the layers since the last taught layer
        self.done: set[str] = set()
        branches = [layers for layer in net for _, layers in layer.children() if layers]
        self.unweighted_starts = {layers[0].name for layers in branches if not isinstance(layers[0], Weighted)}
        self.deferred: dict[str, Array | None] = {}  # errors that leave a branch, by its first layer

    def after(self, layer: Layer, y: Array) -> Array:
        y = self.inner.after(layer, y)
        branch = layer.name.rpartition(".")[0]  # "residual1.body"; "" for the network's top-level layers
        self.pending[branch].append(layer)
        if self.rule.teaches(layer):
            self.backward(branch)
        return y

    def backward(self, branch: str, delta: Array | None = None) -> None:
        """Backward pass through the branch's layers since the last taught one; their caches are then dropped."""
        block = self.pending.pop(branch)
        if block[0].name in self.unweighted_starts:
            first = block.pop(0)
            self.deferred[first.name] = backward_chain(block, delta, self)  # it is a `Teacher`
        else:
            backward_chain(block, delta, self)
        self.done.update(layer.name for layer in block)
        _drop_caches(block)

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        """`Rule.teach`; None if the backward pass through this layer is already done."""
        if layer.name in self.done:
            return None
        return self.rule.teach(layer, self.deferred.pop(layer.name, delta))

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        return self.rule.carry(layer, delta)


def _drop_caches(layers: list[Layer]) -> None:
    for layer in layers:
        layer.cache = None
        for _, inner in layer.children():
            _drop_caches(inner)
