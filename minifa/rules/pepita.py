"""PEPITA: instead of a backward pass, a second forward pass with the error projected onto the input.

    pass 1           h, and e = dL/d(output) per example
    pass 2           h_err, on x + e @ F.T           F (n_in, n_out) drawn once
    hidden layers    delta = (h - h_err) / n         at the activation's input (no derivative), with pass 2's activity
    output layer     the true error                  from pass 1 (as published) or pass 2 (the authors' NumPy code)

Dellaferrera & Kreiman 2022, "Error-driven input modulation"; F is 0.05 * He-uniform as in the authors' code. To first
order h - h_err = -f'(a) * (e @ F.T @ W_1) in the first layer: direct feedback with the learned matrix -F.T W_1.
"""

from __future__ import annotations

__all__ = ["PEPITA"]

import math
from collections.abc import Sequence
from typing import Any

from ..backend import Array, quietly, xp
from ..layers.activations import Activation
from ..layers.base import Layer, Pass
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..parallel.chunks import matmul
from ..rng import generator, uniform
from ..validation import check_choice, check_positive
from .base import Rule
from .direct import PLACES
from .taught_layers import taught_layers


class PEPITA(Rule):
    """Error-driven input modulation.

    Args:
        seed: keys the random stream of F.
        scale: F ~ scale * U[-sqrt(6 / n_in), sqrt(6 / n_in)].
        output: the pass whose error trains the output layer, "first" (as published) or "second" (the authors' NumPy
            code).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown option; at `attach`, an input of unknown size, or layers after the output layer.

    The only feedback matrix projects onto the input:

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 2)])
    >>> {name: F.shape for name, F in mf.rules.PEPITA().attach(net).B.items()}
    {'input': (9, 2)}
    """

    name = "pepita"
    title = "error-driven input modulation"
    equation = "delta = (h(x) - h(x + e F^T)) / n"
    paper = "Dellaferrera & Kreiman 2022"
    needs = "a second forward pass, and the error at the input; no backward path at all"
    crosses_weights = False
    one_backward_pass = False

    def __init__(self, seed: int = 0, scale: float = 0.05, output: str = "first") -> None:
        super().__init__(seed)
        self.scale, self.output_pass = (
            check_positive(scale, "scale"),
            check_choice(output, "output", ("first", "second")),
        )

    def draw(self, net: Network) -> None:
        if net.layers[-1] is not net.output_layer:
            raise ValueError(
                f"PEPITA needs the error where the outputs are, and {net.layers[-1]} follows {net.output_layer}: "
                "use a loss that has the output's activation in it"
            )
        if net.input_shape is None:
            raise ValueError("PEPITA projects the error onto the input: make the network with input_shape=")
        n_in, n_out = math.prod(net.input_shape), net.output_layer.weight_shape[-1]
        sd = self.scale * math.sqrt(2.0 / n_in)  # of scale * U[-sqrt(6 / n_in), sqrt(6 / n_in)]
        drawn = uniform(generator(self.seed, "feedback", "input"), (n_in, n_out), sd)
        self.memory["input"] = xp.asarray(drawn.astype(net.dtype))
        self._B["input"] = self.memory["input"]
        heard = taught_layers(net.layers, net.output_layer, PLACES["activation"])
        self.heard_at = _before(net.layers, {layer.name for layer in heard})

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.heard_at

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        first, second = _Keep(self, net.step, True), _Keep(self, net.step, False)
        value = self.compute_error(net.forward(x, first), rows, loss)
        nudge = matmul(self.known(self.error) * len(x), self.memory["input"].T).reshape(x.shape)
        output = net.forward(x + nudge, second)
        if self.output_pass == "second":
            self.error = loss(output, self.target)[1] / len(x)
        self.change = {name: (first.kept[name] - second.kept[name]) / len(x) for name in first.kept}
        net.clear_gradients()
        net.backward(self.error, self)
        return value

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        return self.change[self.heard_at[layer.name]] if layer.name in self.heard_at else delta

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        heard = self.heard_at[layer.name]
        return "delta = (h - h_err) / n", {"h": f"{heard}.y", "h_err": f"{heard}.y@2"}

    def feedback(self, layer: Weighted) -> None:
        return None


class _Keep(Pass):
    """A training pass that records the activities that are compared."""

    def __init__(self, rule: PEPITA, step: int, update_statistics: bool) -> None:
        super().__init__(training=True, step=step, update_statistics=update_statistics)
        self.names = set(rule.heard_at.values())
        self.kept: dict[str, Array] = {}

    def after(self, layer: Layer, y: Array) -> Array:
        if layer.name in self.names:
            self.kept[layer.name] = y
        return y


def _before(layers: Sequence[Layer], heard: set[str]) -> dict[str, str]:
    """Map the layer at which each activity difference is taught to the layer where it is recorded: the layer before an
    activation, or the recorded layer itself."""
    found: dict[str, str] = {}
    for i, layer in enumerate(layers):
        for _, inner in layer.children():
            found.update(_before(inner, heard))
        if layer.name in heard:
            at = layers[i - 1] if isinstance(layer, Activation) else layer
            found[at.name] = layer.name
    return found
