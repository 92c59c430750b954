"""Direct feedback: the output's error is broadcast to every hidden layer through a matrix of its own. Nothing crosses a weight.

::

    delta at a taught layer = e @ F.T          F (units, n_out) drawn once; e = dL/d(output), (N, n_out)

Nokland 2016, "Direct feedback alignment provides learning in deep neural networks", eq. 7. The taught error replaces whatever came from
above. F ~ U[-1/sqrt(d), 1/sqrt(d)] with d the number of units fed, as in the author's code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import backend
from ..backend import Array, xp
from ..layers.activations import Activation
from ..layers.base import Layer, Weighted
from ..layers.pooling import GlobalAvgPool, Pool
from ..network import Network
from ..streams import gaussian, generator, uniform
from .base import Rule

FAMILIES = {"uniform": uniform, "gaussian": gaussian}
PLACES: dict[str, tuple[type[Layer], ...]] = {"activation": (Activation,), "stage": (Pool, GlobalAvgPool)}


class DFA(Rule):
    """Direct feedback alignment.

    Args:
        seed: keys the draw of F.
        at: "activation": taught are the first activation after each hidden weighted layer or residual sum; where none comes before
            the next weighted layer, that layer's own output. "stage": the pooling that closes the stage (Nokland's layout), where
            one comes before the next weighted layer.
        family: "uniform" or "gaussian".
        sd: standard deviation of F; None: Nokland's, 1 / sqrt(3 d).

    Raises:
        ValueError: an unknown option; at `attach`, a layer that no error would reach, or maps of unknown size.
    """

    name = "dfa"
    title = "direct feedback alignment"
    equation = "delta = e F^T, F drawn once"
    paper = "Nokland 2016"
    needs = "the output's error at every layer (a global signal), and no backward path"
    crosses_weights = False

    def __init__(self, seed: int = 0, at: str = "activation", family: str = "uniform", sd: float | None = None) -> None:
        super().__init__(seed)
        if at not in PLACES:
            raise ValueError(f"at is 'activation' or 'stage', got {at!r}")
        if family not in FAMILIES:
            raise ValueError(f"family is 'uniform' or 'gaussian', got {family!r}")
        if sd is not None and not sd > 0:
            raise ValueError(f"sd must be above 0, got {sd}")
        self.at, self.family, self.sd = at, family, sd
        self.taught: list[Layer] = []

    def draw(self, net: Network) -> None:
        self.taught = taught_layers(net.layers, net.output_layer, PLACES[self.at])
        n_out = net.output_layer.weight_shape[-1]
        for layer in self.taught:
            self.memory[layer.name] = self.draw_direct(layer, n_out)
        self.B = self.memory

    def draw_direct(self, layer: Layer, n_out: int) -> Array:
        """F (units, n_out) for one taught layer."""
        units = count_units(layer)
        sd = 1 / math.sqrt(3 * units) if self.sd is None else self.sd
        drawn = FAMILIES[self.family](generator(self.seed, "feedback", layer.name), (units, n_out), sd)
        return xp.asarray(drawn.astype(backend.dtype()))

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.memory

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer.name not in self.memory:
            return delta
        return self.broadcast(self.memory[layer.name]).reshape(-1, *layer.output_shape)

    def broadcast(self, F: Array) -> Array:
        """The teaching signal (N, units): e @ F.T."""
        return backend.matmul(self.error, F.T)

    def feedback(self, layer: Weighted) -> None:
        return None


def count_units(layer: Layer) -> int:
    """Numbers in one example's output. Raises ValueError where the map's size is not known."""
    if layer.output_shape is None:
        raise ValueError(f"the size of {layer}'s output is not known: make the network with input_shape=")
    return math.prod(layer.output_shape)


def taught_layers(layers: Sequence[Layer], output_layer: Layer, places: tuple[type[Layer], ...]) -> list[Layer]:
    """The layers at whose output direct rules teach, in forward order.

    For each hidden weighted layer and each residual sum: the first layer of a wanted kind before the next of them; else the first
    activation; else its own output. The end of a residual branch needs none: it receives what its sum is taught.
    """
    taught: list[Layer] = []
    for i, layer in enumerate(layers):
        branches = [inner for _, inner in layer.children()]
        for inner in branches:
            taught += taught_layers(inner, output_layer, places)
        if not (isinstance(layer, Weighted) or branches) or _holds(layer, output_layer):
            continue
        after = _until_next_weighted(layers[i + 1 :])
        ends_branch = "." in layer.name and i + 1 + len(after) == len(layers)
        choices = [one for one in after if isinstance(one, places)] or [
            one for one in after if isinstance(one, Activation)
        ]
        if choices:
            taught.append(choices[0])
        elif not ends_branch:
            taught.append(layer)
    return taught


def _holds(layer: Layer, sought: Layer) -> bool:
    return layer is sought or any(_holds(one, sought) for _, inner in layer.children() for one in inner)


def _until_next_weighted(layers: Sequence[Layer]) -> list[Layer]:
    """The layers before the next weighted layer or block."""
    found = []
    for layer in layers:
        if isinstance(layer, Weighted) or list(layer.children()):
            break
        found.append(layer)
    return found
