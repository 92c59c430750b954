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
from ..layers.base import Layer, Listen
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
        output: the pass whose error trains the output layer, "first" (as published) or "second" (the authors' code).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown option; at `attach`, an input of unknown size, or layers after the output layer.

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 2)])
    >>> {name: F.shape for name, F in mf.rules.PEPITA().attach(net).B.items()}  # the only F projects onto the input
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
        self.scale = check_positive(scale, "scale")
        self.output_pass = check_choice(output, "output", ("first", "second"))

    def draw(self, net: Network) -> None:
        self.memory["input"] = self._B["input"] = draw_projection(net, self.seed, self.scale)
        self.compared = _taught_at(net.layers, taught_layers(net.layers, net.output_layer, PLACES["activation"]))

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows, names = self.check_batch(net, x, y, loss), set(self.compared.values())
        first, second = (Listen(names, True, net.step, update_statistics) for update_statistics in (True, False))
        value = self.compute_error(net.forward(x, first), rows, loss)
        modulation = matmul(self.require(self.error) * len(x), self.memory["input"].T).reshape(x.shape)
        output = net.forward(x + modulation, second)
        if self.output_pass == "second":
            self.error = loss(output, self.target)[1] / len(x)
        self.change = {name: (h - second.outputs[name]) / len(x) for name, h in first.outputs.items()}
        net.clear_gradients()
        net.backward(self.error, self)
        return value

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.compared

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        return self.change[self.compared[layer.name]] if layer.name in self.compared else delta

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        compared = self.compared[layer.name]
        return "delta = (h - h_err) / n", {"h": f"{compared}.y", "h_err": f"{compared}.y@2"}

    def feedback(self, layer: Weighted) -> None:
        return None


def draw_projection(net: Network, seed: int, scale: float) -> Array:
    """Draw F (n_in, n_out). Raises ValueError if the network's input size is unknown or its last layer is not the
    output layer."""
    if net.layers[-1] is not net.output_layer:
        raise ValueError(
            f"under PEPITA the last layer must be the output layer, {net.output_layer}, got {net.layers[-1]}: "
            "use a loss that contains the output's activation"
        )
    if net.input_shape is None:
        raise ValueError("under PEPITA the input size must be known: create the network with input_shape=")
    n_in, n_out = math.prod(net.input_shape), net.output_layer.weight_shape[-1]
    sd = scale * math.sqrt(2.0 / n_in)  # of scale * U[-sqrt(6 / n_in), sqrt(6 / n_in)]
    return xp.asarray(uniform(generator(seed, "feedback", "input"), (n_in, n_out), sd).astype(net.dtype))


def _taught_at(layers: Sequence[Layer], compared: Sequence[Layer]) -> dict[str, str]:
    """Map the layer at which each activity difference is taught to the layer whose activity is compared: the layer
    before an activation, or the compared layer itself."""
    taught: dict[str, str] = {}
    for i, layer in enumerate(layers):
        for _, inner in layer.children():
            taught.update(_taught_at(inner, compared))
        if layer in compared:
            at = layers[i - 1] if isinstance(layer, Activation) else layer
            taught[at.name] = layer.name
    return taught
