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
    behind = net.layers[net.layers.index(output_layer) + 1 :]
    value = rule.compute_error(net.forward(x, _Forgetting(rule.training_pass(net), output_layer)), y, loss)
    net.clear_gradients()
    delta = backward_chain(behind, rule.error, rule)
    taught = rule.teach(output_layer, delta)  # sets e, which the first block needs
    if (observer := active.get()) is not None:
        observer.on_teach(output_layer, delta, taught)
    second = _BlockByBlock(rule, net)
    net.forward(x, second)
    second.go_back("", rule.error)
    return value


def check(net: Network) -> None:
    """Raise ValueError if e cannot be computed before the second pass."""
    if net.output_layer not in net.layers:
        raise ValueError(
            f"recompute needs the error at the output layer before it goes back, and {net.output_layer} is inside a "
            "residual block: put a layer with weights behind the block, or leave recompute out"
        )


class _Forgetting(Pass):
    """The first pass: the rule's pass, with the caches dropped up to and including the output layer's."""

    def __init__(self, heard: Pass, output_layer: Layer) -> None:
        super().__init__(heard.training, heard.step, heard.update_statistics)
        self.heard, self.output_layer = heard, output_layer
        self.keeps = False

    def after(self, layer: Layer, y: Array) -> Array:
        if not self.keeps:
            layer.cache = None
        self.keeps = self.keeps or layer is self.output_layer
        return self.heard.after(layer, y)


class _BlockByBlock(Pass):
    """The second pass: it runs the backward pass of a block after the output of each taught layer. In the backward pass
    it takes the place of the rule."""

    def __init__(self, rule: Rule, net: Network) -> None:
        heard = rule.training_pass(net, update_statistics=False)
        super().__init__(heard.training, heard.step, heard.update_statistics)
        self.heard, self.rule = heard, rule
        self.pending: dict[str, list[Layer]] = defaultdict(list)  # by branch: the layers since the last taught layer
        self.done: set[str] = set()
        branches = [inner for layer in net for _, inner in layer.children() if inner]
        self.open = {inner[0].name for inner in branches if not isinstance(inner[0], Weighted)}
        self.waiting: dict[str, Array | None] = {}  # errors that leave a branch, by its first layer

    def after(self, layer: Layer, y: Array) -> Array:
        y = self.heard.after(layer, y)
        branch = layer.name.rpartition(".")[0]  # "residual1.body"; "" for the network's top-level layers
        self.pending[branch].append(layer)
        if self.rule.teaches(layer):
            self.go_back(branch)
        return y

    def go_back(self, branch: str, delta: Array | None = None) -> None:
        """Backward pass through the branch's layers since the last taught one; their caches are then dropped."""
        block = self.pending.pop(branch)
        if block[0].name in self.open:
            first = block.pop(0)
            self.waiting[first.name] = backward_chain(block, delta, self)  # it implements `teach` and `carry`
        else:
            backward_chain(block, delta, self)
        self.done.update(layer.name for layer in block)
        _forget(block)

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        """`Rule.teach`; None if the backward pass through this layer is already done."""
        if layer.name in self.done:
            return None
        return self.rule.teach(layer, self.waiting.pop(layer.name, delta))

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        return self.rule.carry(layer, delta)


def _forget(layers: list[Layer]) -> None:
    for layer in layers:
        layer.cache = None
        for _, inner in layer.children():
            _forget(inner)
