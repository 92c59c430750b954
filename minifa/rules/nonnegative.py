"""Weights of at least 0 above the first layer, which some rules require: their signs when a rule is attached, and the
constraint after each update."""

from __future__ import annotations

__all__: list[str] = []

from ..backend import xp
from ..layers.weighted import Weighted
from ..network import Network


def first_negative(net: Network) -> Weighted | None:
    """The lowest layer above the first weighted one that has a negative weight; None if there is none."""
    return next((layer for layer in net.weighted[1:] if bool((layer.W < 0).any())), None)


def clamp(net: Network, least: float) -> None:
    """Set the weights above the first weighted layer that are below ``least`` to it, except those of frozen layers."""
    for layer in net.weighted[1:]:
        if not layer.frozen:
            xp.maximum(layer.W, least, out=layer.W)
