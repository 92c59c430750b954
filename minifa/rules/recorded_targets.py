"""Activities and targets of a rule's last pass, for every rule.

    target = activity - n eta delta        delta: the error at the layer's output, which contains the 1/n of the mean

A rule that sends targets has delta = (activity - target) / (n eta). The same equation read the other way gives every
rule its targets: those of backpropagation, with eta = 1, are one step down the gradient of each example's loss.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Container
from typing import Any, NamedTuple

from ..backend import Array
from ..layers.activations import Activation
from ..layers.base import Layer
from ..layers.observer import Observer, observing
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from .taught_layers import taught_layers


class Batch(NamedTuple):
    """The arguments of a rule's last `gradients`, with the targets as rows (N, n_out), the network's step then, and
    whether the targets were class indices."""

    net: Network
    x: Array
    rows: Array
    loss: Loss
    step: int
    of_classes: bool


class _Recorder(Observer):
    """Records each layer's output in its first pass, the errors at all outputs, and those of weight gradients."""

    def __init__(self) -> None:
        self.outputs: dict[str, Array] = {}
        self.taught: dict[str, Array] = {}
        self.learned: dict[str, Array] = {}

    def on_forward(self, layer: Layer, x: Array, y: Array) -> None:
        self.outputs.setdefault(layer.name, y)

    def on_teach(self, layer: Layer, delta: Array | None, taught: Array | None) -> None:
        if taught is not None:
            self.taught[layer.name] = taught

    def on_gradients(self, layer: Weighted, x: Array, delta: Array) -> None:
        self.learned[layer.name] = delta


def recorded(rule: Any) -> dict[str, tuple[Array, Array]]:
    """The pairs (activity, target) of the last pass, which is repeated, by layer name in forward order.

    Args:
        rule: a `minifa.rules.Rule`, whose module imports this one.

    Raises:
        RuntimeError: before the first pass, or after an update of the weights.
    """
    if rule.batch is None:
        raise RuntimeError(f"the rule {rule.label!r} has not computed a batch yet: call rule.gradients first")
    net, x, rows, loss, step, _ = rule.batch
    if net.step != step:
        raise RuntimeError(
            "the weights were updated after the last pass: read activities and targets between rule.gradients and "
            "optimizer.step"
        )
    pairs = activities_and_errors(rule, net, x, rows, loss)
    return {name: (h, h - (rule.eta * len(h)) * delta) for name, (h, delta) in pairs.items()}


def activities_and_errors(
    rule: Any, net: Network, x: Array, y: Any, loss: Loss, names: Container[str] = ()
) -> dict[str, tuple[Array, Array]]:
    """The pairs (activity, error), both (N, ...), of a pass on this batch, by layer name in forward order. Network and
    rule do not change.

    Rules without a backward pass that compute the error of each weight gradient themselves have the pairs of the
    weighted layers; rules that compute no error at any layer have none.

    Args:
        rule: as for `recorded`.
        names: of the layers; empty: those at which the rule has targets (`minifa.rules.Rule.targets`).
    """
    recorder = _Recorder()
    with net.preserved(), rule.preserved(), observing(recorder):
        rule.gradients(net, x, y, loss)
    places = [layer for layer in net if rule.teaches(layer)]
    places = places or taught_layers(net.layers, net.output_layer, (Activation,))
    names = names or {*(layer.name for layer in places), net.layers[-1].name}
    deltas = {name: delta for name, delta in recorder.taught.items() if name in names} or recorder.learned
    pairs = {}
    for layer in net:
        if layer.name in deltas:
            h = recorder.outputs[layer.name]
            pairs[layer.name] = h, deltas[layer.name].reshape(h.shape)
    return pairs
