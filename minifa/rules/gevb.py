"""Global error-vector broadcasting: in a network of vector units every unit receives the error vector itself.

    y = h @ W + b, gate = 1[t . y >= 0]         each unit i a vector over the K outputs (`minifa.layers.vectors`);
                                                t (K) of its gate: numbers -1 and 1, drawn once
    dW_ji = sum_n gate_ni (e_n . h_nj)          e_n (K) the output error of example n, h_nj (K) the activity of unit j
    db_ki = sum_n gate_ni e_nk

Clark, Abbott & Chung 2021, "Credit assignment through broadcasting a global error vector". The error at the output of
every gate is e, the same for all m units: direct feedback alignment with F = I_K (x) 1_m, the rows of I_K each repeated
m times ((x) is the Kronecker product). No feedback is drawn or learned.

Backpropagation's error at the gates is e (x) g, with a number g for each example and unit. If all weights above the
first layer are at least 0, so is g: for a single example every entry of the gradient then has the sign of
backpropagation's, where that is not 0. The rule therefore clamps these weights at 0 after each update (a version of the
authors' code takes their magnitude). With ON/OFF weights (units in pairs with opposite t and opposite activities,
`minifa.models.vector_mlp`) the angle to backpropagation's gradient tends to 0 with the width, except in the last hidden
layer, where its cosine tends to 1 / sqrt(pi).
"""

from __future__ import annotations

__all__ = ["GEVB"]

from ..backend import Array, xp
from ..layers.base import Layer
from ..layers.vectors import Gate, VectorLinear
from ..network import Network
from ..validation import check_bool
from .direct import PLACES, Direct, count_units
from .nonnegative import clamp, first_negative
from .taught_layers import taught_layers


class GEVB(Direct):
    """Global error-vector broadcasting.

    Args:
        seed: not used: nothing is drawn.
        nonnegative: clamp the weights above the first layer at 0 after each update, and refuse a network in which one
            of them is below 0. False: weights of mixed sign, without the guarantee of the gradients' signs.
        recompute: recompute the activations of the forward pass block by block instead of keeping them: bitwise the
            same gradients (`minifa.rules.direct_recompute`).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: at `attach`, a network of other units than K-vectors for its K outputs; with ``nonnegative``, a
            negative weight above the first layer. The message names the layer.

    >>> layers = [mf.Linear(2, 6), mf.Vectors(3), mf.Gate(2, 3), mf.VectorLinear(2, 1, 3, init="onoff"), mf.Flatten()]
    >>> mf.rules.GEVB().attach(mf.Network(layers)).B["gate1"].tolist()  # rows: two units for each output
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """

    name = "gevb"
    title = "global error-vector broadcasting"
    equation = "delta = e F^T, F gives e to every unit"
    paper = "Clark, Abbott & Chung 2021"
    needs = "vector units, the error vector of the output at each of them (a global signal), and no backward path"
    accepts = "vector networks (minifa.models.vector_mlp)"

    def __init__(self, seed: int = 0, nonnegative: bool = True, recompute: bool = False) -> None:
        super().__init__(seed)
        self.nonnegative = check_bool(nonnegative, "nonnegative")
        self.recompute = check_bool(recompute, "recompute")

    def draw(self, net: Network) -> None:
        super().draw(net)
        K = count_units(net.output_layer)
        taught = taught_layers(net.layers, net.output_layer, PLACES["activation"])
        check_vectors(self, net, K, taught)
        if self.nonnegative:
            check_signs(self, net)
        self.F = {layer.name: error_to_units(K, count_units(layer) // K, net) for layer in taught}
        self._B.update(self.F)

    def constrain(self, net: Network) -> None:
        if self.nonnegative:
            clamp(net, 0.0)

    def feedback_size(self, layer: Layer) -> int:
        return 0


def error_to_units(K: int, m: int, net: Network) -> Array:
    """F = I_K (x) 1_m, (K m, K): component k of each of m units receives entry k of the error."""
    return xp.repeat(xp.eye(K, dtype=net.dtype), m, axis=0)


def check_vectors(rule: GEVB, net: Network, K: int, taught: list[Layer]) -> None:
    """Raise ValueError, with the layer's name, unless every layer above the first has units of K components."""
    for layer in net.weighted[1:]:
        if not isinstance(layer, VectorLinear) or layer.dimension != K:
            raise ValueError(
                f"the rule {rule.label!r} needs units that are vectors of {K} components, one for each output, above "
                f"the first layer with weights, got {layer!r}: use VectorLinear with dimension={K}, or the model "
                "vector_mlp"
            )
    for gate in taught:
        if not isinstance(gate, Gate) or gate.dimension != K:
            raise ValueError(
                f"the rule {rule.label!r} teaches at a Gate of {K} components behind every hidden layer with weights, "
                f"got {gate}: put Vectors({K}) behind the first of these layers, then a Gate, or use the model "
                "vector_mlp"
            )


def check_signs(rule: GEVB, net: Network) -> None:
    """Raise ValueError, with the layer's name, if a weight above the first layer is below 0."""
    if (layer := first_negative(net)) is not None:
        smallest = float(layer.W.min())
        raise ValueError(
            f"the rule {rule.label!r} needs weights of at least 0 above the first layer, got {smallest:.3g} in "
            f"{layer}: create it with init='onoff' (in the model vector_mlp signs='nonnegative'), or make the rule "
            "with nonnegative=False"
        )
