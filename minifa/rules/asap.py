"""Activation sharing with asymmetric paths (ASAP): Kolen-Pollack learning from an earlier layer's activity.

    dW = columns(s).T @ delta      s: the activity that a group of k layers shares, fitted to the shape of the input
    dB = dW                        B carries the error; both with the optimizer's weight decay, which shrinks W - B

Woo, Park, Hong & Jeon 2021, "Activation sharing with asymmetric paths solves weight transport problem without
bidirectional connection". In Kolen-Pollack learning the same activity changes W and B, so that neurons of the forward
and the backward path must be connected in both directions; a layer that learns from another layer's activity needs no
such pair.

Groups. The first weighted layer and the output layer learn from their own input. The others are counted from 0 in
forward order, convolutions and linear layers separately; the layers of a shortcut are counted like those beside them.
Layer i learns from the input of layer k floor((i - lag) / k), or of layer 0. With lag = 1, as in the authors' ResNet
(resnet.py, ASBasicBlock, k = 2), the second layer of a block and the first layer of the next block share the input of
the former block, and only layer 0 learns from its own input. With lag = 0 the first layer of each group does, and k = 1
is `KolenPollack`.

Fitting, as in the authors' code (building_blocks.py, Conv2d_FA_LW): the channels are tiled (a b c, a b c, ...) and cut
off at the required number, the positions are max-pooled. Where the sizes do not divide, the windows are those of
PyTorch's adaptive pooling; the authors' networks have no such layer.

The authors' fully connected layers keep a fixed B (feedback alignment), and their first convolution does not learn;
here every layer learns and every B receives dW.
"""

from __future__ import annotations

__all__ = ["ASAP"]

from collections.abc import Iterator, Sequence
from typing import Any

from ..backend import Array, xp
from ..layers.base import Layer, Listen, Pass
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..validation import check_int
from .kolen_pollack import KolenPollack


class ASAP(KolenPollack):
    """Groups of layers learn from one activity that they share. Use an optimizer with weight decay.

    It is meant for residual networks: shortcuts keep the activities of neighbouring layers in a common basis, so that
    the activity of one of them says much about that of another. In a chain of layers without shortcuts the shared
    activity has little in common with a layer's own input: with eight layers of 64 ReLUs on the digits it reaches a
    held-out accuracy of 0.17, `KolenPollack` 0.37, each at the best rate of ``minifa tune``.

    Args:
        seed: keys the random stream of B.
        k: number of layers in a group.
        lag: number of layers by which the groups start later: 1 as published, or 0. With k = 1 it has no effect.

    Raises:
        TypeError: an option that is not an int.
        ValueError: k below 1, or a lag other than 0 and 1.

    >>> block = [mf.Linear(2, 2), mf.Tanh(), mf.Linear(2, 2)]
    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Residual(block), mf.Linear(2, 1)])
    >>> mf.rules.ASAP().attach(net).sources  # both layers of the block learn from the block's input
    {'residual1.body.linear2': 'tanh1'}
    """

    name = "asap"
    title = "activation sharing with asymmetric paths"
    equation = "dW = s^T delta, s shared by k layers; dB = dW, decay"
    paper = "Woo et al. 2021"
    explanations = {
        "gradients": "The gradient of the parameters, computed from the error at the layer's output and its input, or "
        "in its place the activity that the layer's group shares."
    }
    needs = "one activity for each group of layers, the same update at both synapses, and weight decay at both"

    def __init__(self, seed: int = 0, k: int = 2, lag: int = 1) -> None:
        super().__init__(seed)
        self.k, self.lag = check_int(k, "k"), check_int(lag, "lag", least=0, most=1)

    def draw(self, net: Network) -> None:
        super().draw(net)
        self.inputs = {layer.name: below for layer, below, _ in weighted_layers(net.layers)}
        self.sources = sources(net, self.k, min(self.lag, self.k - 1))
        self.heard: dict[str, Array] = {}  # by name of a layer: its output in the last pass
        self.presynaptic = {}

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen({*self.inputs.values()}, True, net.step, update_statistics)
        self.heard = listen.outputs
        return listen

    def compute_error(self, output: Array, y: Any, loss: Loss) -> Array:
        h = self.heard
        self.presynaptic = {name: fitted(h[s], h[self.inputs[name]].shape) for name, s in self.sources.items()}
        return super().compute_error(output, y, loss)


def weighted_layers(layers: Sequence[Layer], below: str = "", depth: int = 0) -> Iterator[tuple[Weighted, str, int]]:
    """The weighted layers in forward order, each with the name of the layer whose output it reads ("" for the network's
    input) and the number of weighted layers before it on its path; of parallel branches the longest counts."""
    for layer in layers:
        if isinstance(layer, Weighted):
            yield layer, below, depth
            depth += 1
        start = depth
        for _, inner in layer.children():
            found = list(weighted_layers(inner, below, start))
            yield from found
            depth = max([depth, *(one + 1 for *_, one in found)])
        below = layer.name


def sources(net: Network, k: int, lag: int) -> dict[str, str]:
    """By name of each layer that learns from another activity than its input: the layer whose output it is."""
    places = [place for place in weighted_layers(net.layers) if place[2] > 0 and place[0] is not net.output_layer]
    inputs: dict[type[Layer], dict[int, str]] = {}  # of the layers of each kind, by depth
    for layer, below, depth in places:
        inputs.setdefault(type(layer), {}).setdefault(depth, below)
    found: dict[str, str] = {}
    for layer, below, depth in places:
        depths = sorted(of_kind := inputs[type(layer)])
        source = of_kind[depths[max(depths.index(depth) - lag, 0) // k * k]]
        if source != below:
            found[layer.name] = source
    return found


def fitted(shared: Array, shape: tuple[int, ...]) -> Array:
    """The activity (N, ..., C) in the shape (N, ..., c): channel i is channel i mod C, positions are max-pooled."""
    for axis in range(1, len(shape) - 1):
        if shared.shape[axis] != shape[axis]:
            shared = adaptive_max(shared, axis, shape[axis])
    if shared.shape[-1] == shape[-1]:
        return shared
    return shared[..., xp.arange(shape[-1]) % shared.shape[-1]]


def adaptive_max(x: Array, axis: int, size: int) -> Array:
    """Maxima over ``size`` windows along an axis; the windows are those of PyTorch's adaptive pooling."""
    length, x = x.shape[axis], x.swapaxes(0, axis)
    windows = [x[i * length // size : -(-(i + 1) * length // size)] for i in range(size)]
    return xp.stack([window.max(axis=0) for window in windows]).swapaxes(0, axis)
