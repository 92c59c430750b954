"""The layers at whose output direct rules teach."""

from __future__ import annotations

__all__: list[str] = []

import itertools
from collections.abc import Sequence

from ..layers.activations import Activation
from ..layers.base import Layer
from ..layers.weighted import Weighted


def taught_layers(layers: Sequence[Layer], output_layer: Layer, places: tuple[type[Layer], ...]) -> list[Layer]:
    """The layers at whose output direct rules teach, in forward order.

    For each hidden weighted layer and each residual sum: the first layer of a type in ``places`` before the next
    weighted layer or block; else the first activation; else the layer itself. The end of a residual branch is not
    taught: it receives the error of its sum. A layer is left out if the error would reach only frozen layers.
    """
    ends = stage_ends(layers, output_layer, places)
    return [layer for layer in ends if layer.trainable or layer.needs_input_gradient]


def stage_ends(layers: Sequence[Layer], output_layer: Layer, places: tuple[type[Layer], ...]) -> list[Layer]:
    """As `taught_layers`, with the layers whose error would reach only frozen layers."""
    taught: list[Layer] = []
    for i, layer in enumerate(layers):
        branches = [inner for _, inner in layer.children()]
        for inner in branches:
            taught += stage_ends(inner, output_layer, places)
        if _contains(layer, output_layer):
            break  # the following layers receive the true error
        if not (isinstance(layer, Weighted) or branches):
            continue
        after = _until_next_weighted(layers[i + 1 :])
        ends_branch = "." in layer.name and i + 1 + len(after) == len(layers)
        chosen = _first(after, places) or _first(after, Activation)
        if chosen is not None:
            taught.append(chosen)
        elif not ends_branch:
            taught.append(layer)
    return taught


def _contains(layer: Layer, other: Layer) -> bool:
    return layer is other or any(_contains(one, other) for _, inner in layer.children() for one in inner)


def _until_next_weighted(layers: Sequence[Layer]) -> list[Layer]:
    """The layers before the next weighted layer or block."""
    return list(
        itertools.takewhile(lambda layer: not isinstance(layer, Weighted) and not any(layer.children()), layers)
    )


def _first(layers: Sequence[Layer], kind: type[Layer] | tuple[type[Layer], ...]) -> Layer | None:
    return next((layer for layer in layers if isinstance(layer, kind)), None)
