"""The base class of rules that teach with targets: what each block should have put out, instead of an error.

    h_l = f_l(h_{l-1} @ W_l + b_l)         the output of block l: a weighted layer with what follows it; L is the last
    t_L = h_L - eta n e                    one small step of the outputs; n e is the error of each example
    delta at h_l = (h_l - t_l) / (n eta)   the local error: of the loss sum((h_l - t_l)^2) / (2 n eta)

The output layer receives e for every eta, so that the learning rates of backpropagation can be used; the published
codes do not divide by eta. Targets start from n e: in float32, targets made from e lose up to two more digits.
"""

from __future__ import annotations

__all__: list[str] = []

from .. import extension_checks
from ..backend import Array
from ..layers.base import Layer, Listen, Pass
from ..layers.weighted import Weighted
from ..network import Network
from ..validation import check_positive
from .blocks import ACCEPTED, blocks_of
from .noise import white_noise
from .target_trace import TracedTargets


class TargetRule(TracedTargets):
    """The base class of rules with targets. A subclass implements `target_of`.

    Args:
        seed: of the rule's random draws.
        eta: size of the step from the output h_L to its target t_L, per example.

    Attributes:
        blocks: the blocks of the attached network.
        heard: the outputs h_l of the blocks in the last pass, by the name of the block's last layer.
        sent: their targets t_l, under the same names.
    """

    crosses_weights = False
    accepts = ACCEPTED
    sigma = 0.0  # standard deviation of the noise from which maps learn

    def __init__(self, seed: int = 0, eta: float = 0.1) -> None:
        super().__init__(seed)
        self.eta = check_positive(eta, "eta")

    def draw(self, net: Network) -> None:
        self.blocks = blocks_of(net, self.label)
        self.ends = {block.end.name: i for i, block in enumerate(self.blocks)}
        self.heard: dict[str, Array] = {}
        self.sent: dict[str, Array] = {}

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen(self.ends, True, net.step, update_statistics)
        self.heard, self.sent = listen.outputs, {}
        return listen

    def target_of(self, i: int) -> Array:
        """The target of the output of block i, (N, ...); the targets of the blocks above are in `sent`."""
        raise extension_checks.not_implemented(self, "target_of", "(self, i): the target of block i's output")

    def teaches(self, layer: Layer) -> bool:
        i = self.ends.get(layer.name)
        return i is not None and i < len(self.blocks) - 1 and self.blocks[i + 1].layer.needs_input_gradient

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        name = layer.name
        if layer is self.blocks[-1].end:
            error = self.require(self.error)
            self.sent[name] = self.heard[name] - (self.eta * len(error)) * error.reshape(self.heard[name].shape)
        if not self.teaches(layer):
            return delta
        h, t = self.heard[name], self.target_of(self.ends[name])
        self.sent[name], n = t, len(h)
        difference = h - t
        self.local[name] = {"loss": (difference * difference).sum() / (2 * n), "accuracy": None}
        return difference * (1 / (n * self.eta))

    def feedback(self, layer: Weighted) -> None:
        return None

    def noise(self, like: Array, key: str, step: int) -> Array:
        """sigma xi, xi ~ N(0, 1), of the shape and dtype of the array, from which a map learns. Each key and step has
        its own random stream."""
        return white_noise(self.seed, key, step, like.shape, self.sigma, like.dtype)
