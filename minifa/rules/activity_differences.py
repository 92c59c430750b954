"""The base class of rules that represent the error of each layer by a difference of activities.

    a_l = h_{l-1} @ W_l + b_l,  h_l = f_l(a_l)     the forward pass; f_l: the layers after W_l (`blocks`); L is the last
    n e                                            the error of each example at a_L, from which the rule starts
    dW_l = z_{l-1}.T @ delta_l                     delta_l, at a_l, and the activity z_{l-1} are the rule's

Such rules are the NGRAD hypothesis of Lillicrap, Santoro, Marris, Akerman & Hinton 2020, "Backpropagation and the
brain". Errors go down through the weights themselves: B = W, the weight transport of backpropagation.
"""

from __future__ import annotations

__all__: list[str] = []

from typing import Any

from .. import extension_checks
from ..backend import Array, blas_limit, quietly
from ..layers.base import Listen, Pass, backward_chain
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from .base import Rule
from .blocks import ACCEPTED, Block, blocks_of, caches_restored


class ActivityDifferences(Rule):
    """The base class of rules that read errors from differences of activities. A subclass implements `learn`.

    Attributes:
        blocks: the blocks of the attached network.
        heard: the outputs of the blocks' layers in the last forward pass, by layer name.
    """

    one_backward_pass = False
    accepts = ACCEPTED

    def draw(self, net: Network) -> None:
        self.blocks = blocks_of(net, self.label)
        self.names = {layer.name for block in self.blocks for layer in block.layers}
        self.below = net.layers[: net.layers.index(self.blocks[0].layer)]
        self.heard: dict[str, Array] = {}

    def layers_with_feedback(self, net: Network) -> list[Weighted]:
        """Every weighted layer above another one: activities change below frozen layers, too."""
        return [layer for i, layer in enumerate(net.weighted) if i > 0 or layer.needs_input_gradient]

    def feedback(self, layer: Weighted) -> Array:
        return layer.W

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen(self.names, True, net.step, update_statistics)
        self.heard = listen.outputs
        return listen

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        value = self.compute_error(net.forward(x, self.training_pass(net)), rows, loss)
        net.clear_gradients()
        after = [layer for block in self.blocks for layer in block.after]
        with blas_limit(), caches_restored(after):
            self.learn(len(x) * self.blocks[-1].activation_error(self.require(self.error), self))
        return value

    def learn(self, error: Array) -> None:
        """Store the gradients of all blocks, from the last to the first.

        Args:
            error: n e, the error of each example at the output of the last weighted layer, (N, ...).
        """
        raise extension_checks.not_implemented(self, "learn", "(self, error): the gradients of all blocks")

    def store(self, block: Block, delta: Array, x: Array | None) -> None:
        """Store a block's gradients for the error delta and the presynaptic activity x, (N, ...). The first block
        reads the network's input; the layers below it receive the error that goes down through its weights."""
        if block is self.blocks[0]:
            backward_chain(self.below, block.layer.backward(delta, self), self)
        else:
            block.layer.store_gradients(delta, x)
