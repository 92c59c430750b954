"""Four forms of the map g_l that sends a target from the output of block l to its input, with a matrix B of W_l's
shape.

    linear    g(y) = y @ B.T
    last      g(y) = f_{l-1}(y @ B.T)              Lee et al. 2015, Meulemans et al. 2020, Shibuya et al. 2023
    first     g(y) = f_l(y) @ B.T                  Ernoult et al. 2022
    gated     g(y) = (y * f_l'(a_l)) @ B.T         the error's own way back, at the activity a_l of the last pass

f_l is the activation after W_l (the output block has none), and f_{l-1} that of the block below, whose output g_l
imitates. With B = W all are backpropagation in a linear network; where f' varies, "gated" alone is. Pooling sends a
target on as it sends an error: max pooling to the maxima of the last training pass, zero elsewhere; Flatten restores
the shape. For a convolution "y @ B.T" is the transposed convolution.
"""

from __future__ import annotations

__all__: list[str] = []

from ..backend import Array, quietly, xp
from ..layers.activations import Activation
from ..layers.base import Pass, Teacher
from ..layers.weighted import Weighted
from ..parallel.chunks import elementwise
from .blocks import Block, caches_restored

FORMS = ("linear", "last", "first", "gated")
LINEAR_IN_B = ("linear", "first", "gated")


@quietly
def send_down(block: Block, below: Block, y: Array, B: Array, form: str, rule: Teacher) -> Array:
    """g(y): the input (N, ...) of a block for its output y (N, ...), through B of its weights' shape.

    Args:
        below: the block whose output is this block's input.
        form: one of `FORMS`.
        rule: the learning rule, which `Layer.backward` requires and does not ask here.
    """
    h = block.layer.carry(to_weights(block, y, form, rule), B)
    if form == "last":
        for activation in below.activations:
            h = elementwise(activation.f, h)
    return h


def to_weights(block: Block, y: Array, form: str, rule: Teacher) -> Array:
    """The part of g above B: from the block's output to the output of its weighted layer."""
    if form == "gated":
        return block.activation_error(y, rule)
    for layer in reversed(block.after):
        if not isinstance(layer, Activation):
            y = layer.backward(y, rule)
        elif form == "first":
            y = elementwise(layer.f, y)
    return y


@quietly
def reconstruction_step(
    block: Block, below: Block, y: Array, wanted: Array, B: Array, form: str, rule: Teacher
) -> Array:
    """The gradient by B, of its shape, of sum((g(y) - wanted)^2) / 2, divided by `curvature`.

    Args:
        wanted: the input of the block (N, ...) that g(y) should reconstruct. The others as for `send_down`.
    """
    v = to_weights(block, y, form, rule)
    u = block.layer.carry(v, B)
    with caches_restored(below.after):
        activations = below.activations if form == "last" else []
        for activation in activations:
            u = activation.forward(u, Pass(training=True))
        error = u - wanted
        for activation in reversed(activations):
            error = activation.backward(error, rule)
    return block.layer.weight_gradient(error, v) / curvature(v, block.layer)


def curvature(v: Array, layer: Weighted | None = None) -> Array:
    """The sum over the batch of |v|^2, never 0: an upper bound of the second derivatives of sum((v @ B.T - wanted)^2)
    / 2 by B. For a convolution, whose B reads each position of v once for each position of the kernel, that often.

    A gradient divided by it (normalised least mean squares, Nagumo & Noda 1967) can be followed with any rate below 2,
    whatever the number of units and positions and the size of the activities.
    """
    reads = 1 if layer is None else layer.fans[0] // layer.weight_shape[-2]
    return reads * (v * v).sum() + xp.finfo(v.dtype).tiny
