"""Recirculation: an autoencoder learns from a second round of its activities; the encoder is the decoder's feedback.

    h1 = f(x0 @ W + b),  r = h1 @ V + c                           round 1
    x2 = lambda x0 + (1 - lambda) r                               round 2: regressed, mostly the activity of round 1
    h3 = lambda h1 + (1 - lambda) f(x2 @ W + b)
    dV = h1.T @ (r - x0) / n                                      and dc, db: the sums of these errors
    dW = x2.T @ (h3 - h1) / (1 - lambda)^2 / n

Hinton & McClelland 1988, "Learning representations by recirculation". The targets are the x0 and h1 of round 1. No
derivative is computed, and no error leaves its layer: a weight changes by the activities of the two units that it
connects. dV is the gradient of half the squared error. To first order in 1 - lambda,

    (h3 - h1) / (1 - lambda)^2 = f'(a) * ((r - x0) @ W)           feedback alignment with B = W.T, of V's shape

which is the gradient where V = W.T. The division by (1 - lambda)^2 makes the learning rate that of backpropagation.

The error enters round 2 as x2 = x0 + (1 - lambda) n e, where e is dL/dr of the network's loss. With the inputs as
targets and half the squared error this is the x2 above; it also holds for other losses and targets (those of a
denoising autoencoder). If an activation g follows the decoder, r = g(h1 @ V + c), and dV has no g' either.

In a deep autoencoder each encoder and the decoder opposite learn to reconstruct the encoder's input from its output,
all pairs at the same time (freeze the others to train one after the other). Only the outermost pair sees the network's
loss and targets, and no pair the network's output, for which the decoders follow one another: each decodes the output
of its own encoder.

The text of 1988 was not at hand: this is a reading of it in batches, after Tavakoli, Sadowski & Baldi 2021,
"Tourbillon", who stack such pairs.
"""

from __future__ import annotations

__all__ = ["Recirculation"]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..backend import Array, quietly
from ..layers.activations import Activation
from ..layers.base import Layer, Listen
from ..layers.linear import Linear
from ..layers.shape import Flatten
from ..layers.weighted import Weighted
from ..losses import HalfSquaredError, Loss
from ..network import Network
from ..validation import check_between
from .base import Rule
from .blocks import Block, run

EXPLANATIONS = {
    "teach": "The layer's own error: of a decoder that of its reconstruction, of an encoder the change of its output "
    "in the second round. Neither comes from another layer, and none contains a derivative."
}
ACCEPTED = "autoencoders of mirrored pairs of Linear layers with activations (minifa.models.autoencoder)"


class Recirculation(Rule):
    """Recirculation in mirrored autoencoders: of every encoder W and its decoder V, W is the feedback of V.

    Args:
        seed: not used: nothing is drawn.
        regression: the lambda of the equations, at least 0 and below 1: how much of round 1 remains in round 2
            (published: 0.75). The nearer to 1, the nearer to the first order above.

    Raises:
        TypeError: a regression that is not a number.
        ValueError: a regression outside its range; at `attach`, a network that is not such an autoencoder.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Sigmoid(), mf.Linear(2, 3)])
    >>> bool((mf.rules.Recirculation().attach(net).B["linear2"] == net["linear1"].W.T).all())
    True
    """

    name = "recirculation"
    title = "recirculation"
    equation = "dW = x_2^T (h_3 - h_1) / m^2, m = 1 - lambda"
    paper = "Hinton & McClelland 1988"
    needs = "a second round of activities; the encoder as feedback; no derivative, no error that leaves its layer"
    accepts = ACCEPTED
    weight_decay = 0.001  # without it W.T and V align less
    one_backward_pass = False
    requires_errors = False  # every layer computes its own
    explanations = EXPLANATIONS

    def __init__(self, seed: int = 0, regression: float = 0.9) -> None:
        super().__init__(seed)
        self.regression = check_between(regression, "regression", 0, 1)

    def draw(self, net: Network) -> None:
        self.pairs = mirrored_pairs(net, self.label)
        self.decoder_errors: dict[str, Array] = {}

    def layers_with_feedback(self, net: Network) -> list[Weighted]:
        return [pair.decoder.layer for pair in reversed(self.pairs) if pair.encoder.layer.trainable]

    def feedback(self, layer: Weighted) -> Array | None:
        return next((pair.encoder.layer.W.T for pair in self.pairs if pair.decoder.layer is layer), None)

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        first = Listen({block.end.name for pair in self.pairs for block in pair}, True, net.step)
        value = self.compute_error(net.forward(x, first), rows, loss)
        net.clear_gradients()
        learn_pairs(self, x.reshape(len(x), -1), loss, first.outputs)
        return value

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        return own_error(self.pairs, layer)

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        errors = self.decoder_errors
        return {"e_own": errors[layer.name]} if layer.name in errors else {}


class Pair(NamedTuple):
    """An encoder and the decoder opposite, each a linear layer with the activations after it."""

    encoder: Block
    decoder: Block


def learn_pairs(rule: Recirculation, x: Array, loss: Loss, heard: Mapping[str, Array]) -> None:
    """Store the gradients of all pairs, from the outermost to the innermost.

    Args:
        x: the inputs (N, features).
        loss: of the outermost pair.
        heard: the outputs of the blocks in round 1, by name.
    """
    target, net = rule.require(rule.target), rule.net
    assert net is not None
    for pair in rule.pairs:
        h = heard[pair.encoder.end.name]
        if pair.encoder.layer.trainable or pair.decoder.layer.trainable:
            is_innermost = pair is rule.pairs[-1]  # its decoder has received h in the forward pass
            r = heard[pair.decoder.end.name] if is_innermost else run(pair.decoder.layers, h, net.step)
            values, error = loss(r, target)
            rule.local[pair.decoder.layer.name] = {"loss": values.sum() / len(x), "accuracy": None}
            learn(rule, pair, x, h, error, net.step)
        x = target = h
        loss = HalfSquaredError()


def learn(rule: Recirculation, pair: Pair, x0: Array, h1: Array, error: Array, step: int) -> None:
    """Store the gradients of a pair, from the error n e of each example's reconstruction, (N, fan_in)."""
    n, rest = len(x0), 1 - rule.regression
    rule.decoder_errors[pair.decoder.layer.name] = error
    pair.decoder.layer.store_gradients(error / n, h1)
    if pair.encoder.layer.trainable:
        rule.record_feedback(pair.decoder.layer)
        x2 = x0 + rest * error
        # (h3 - h1) / rest^2 is the same number, but h3 loses digits in rounding if rest is small.
        change = run(pair.encoder.layers, x2, step) - h1
        pair.encoder.layer.store_gradients(change * (1 / (rest * n)), x2)


def own_error(pairs: Sequence[Pair], layer: Layer) -> tuple[str, dict[str, str]]:
    """The equation of the error at a layer's output, for traces, and the names of the arrays in it."""
    for encoder, _ in pairs:
        if encoder.layer is layer:  # f_2 is f(x2 @ W + b)
            names = {"h_1": f"{encoder.end.name}.y", "f_2": f"{encoder.end.name}.y@2", "regression": "rule.regression"}
            return "delta = (f_2 - h_1) / (1 - regression) / n", names
    return "delta = e_own / n", {}


def mirrored_pairs(net: Network, label: str) -> list[Pair]:
    """The pairs of an autoencoder, from the outermost to the innermost. Raises ValueError, with the layer's name, for
    another network."""
    blocks: list[Block] = []
    for i, layer in enumerate(net.layers):
        if isinstance(layer, Linear):
            blocks.append(Block(layer, []))
        elif isinstance(layer, Activation) and blocks:
            blocks[-1].after.append(layer)
        elif i > 0 or not isinstance(layer, Flatten):
            raise ValueError(f"the rule {label!r} accepts {ACCEPTED}, got {layer}")
    pairs = [Pair(*two) for two in zip(blocks, reversed(blocks), strict=True)][: (len(blocks) + 1) // 2]
    for (encoder, _), (decoder, _) in pairs:
        if encoder is decoder or decoder.weight_shape != encoder.weight_shape[::-1]:
            raise ValueError(
                f"the rule {label!r} accepts {ACCEPTED}: opposite {encoder!r} it needs a decoder with the transposed "
                f"shape of W, got {decoder!r}. Load the data with their inputs as targets (data.load(..., "
                "reconstruct=True), --reconstruct) and use the model autoencoder"
            )
    return pairs
