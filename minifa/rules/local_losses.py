"""The base class of rules whose hidden layers have a loss of their own, of their own activity: no error travels from
layer to layer.

    delta at h_l = dL_l/dh_l          L_l: the loss of taught layer l, of its activity h_l and the targets of the batch

The output layer receives the true error of the network's loss. All layers are updated together, after the pass.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Container, Mapping, Sequence
from typing import Any

from .. import extension_checks
from ..backend import Array
from ..layers.base import Layer, Listen, Pass
from ..layers.weighted import Weighted
from ..network import Network
from .base import Rule
from .direct import PLACES
from .taught_layers import taught_layers


class LocalLosses(Rule):
    """The base class of rules with local losses. A subclass implements `local_loss`.

    Attributes:
        taught: the layers with a loss of their own, by name, in forward order.
        heard: their activities in the last pass, by name.
    """

    crosses_weights = False
    B_is_local = True
    explanations: Mapping[str, str] = {
        "teach": "The error of the layer's own loss. The error from the layers above is not used.",
        "feedback": "No error is carried through this layer: the layers below have losses of their own.",
    }
    at = "activation"  # where each hidden weighted layer is taught: a key of `minifa.rules.direct.PLACES`

    def draw(self, net: Network) -> None:
        places = {layer.name: layer for layer in taught_layers(net.layers, net.output_layer, PLACES[self.at])}
        used = serving(net.layers, places)
        self.taught = {name: layer for name, layer in places.items() if name in used}
        self.heard: dict[str, Array] = {}

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen(self.taught, True, net.step, update_statistics)
        self.heard = listen.outputs
        return listen

    def local_loss(self, layer: Layer, h: Array) -> tuple[Any, Any, Array]:
        """The loss of a taught layer with the activity h (N, ...).

        Returns:
            The mean loss, a scalar on the backend; the accuracy of a prediction made from h, or None; dL/dh, of h's
            shape, including the 1/N of the batch mean.
        """
        contract = "(self, layer, h): loss, accuracy or None, and dL/dh of this layer"
        raise extension_checks.not_implemented(self, "local_loss", contract)

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.taught

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer.name not in self.taught:
            return delta
        loss, accuracy, error = self.local_loss(layer, self.heard[layer.name])
        self.local[layer.name] = {"loss": loss, "accuracy": accuracy}
        return error

    def feedback(self, layer: Weighted) -> None:
        return None


def serving(layers: Sequence[Layer], places: Container[str]) -> set[str]:
    """The places whose error reaches a layer that learns, if no error crosses a weight. The others serve frozen layers
    only: their losses would train nothing but their own heads."""
    used: set[str] = set()

    def walk_back(layers: Sequence[Layer], sources: set[str]) -> set[str]:
        for layer in reversed(layers):
            sources = {layer.name} if layer.name in places else sources
            if layer.trainable:
                used.update(sources)
            branches = [walk_back(inner, sources) for _, inner in layer.children()]
            if branches:
                sources = set().union(*branches)
            elif isinstance(layer, Weighted):
                sources = set()
        return sources

    walk_back(layers, set())
    return used
