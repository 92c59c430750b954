"""A dense feedback matrix for a convolution: B (inputs, outputs) between the flattened maps.

    delta_below = rows(delta) @ B.T in the shape of x       rows: one flattened map (H * W * C) for each example

An option of `minifa.rules.FA` (``conv="dense"``): the error reaches every position of the map below, without the
kernel's shared weights and local patches.
"""

from __future__ import annotations

__all__: list[str] = []

import math

from .. import backend
from ..backend import Array, xp
from ..initialisers import Initialiser
from ..layers.weighted import Weighted
from ..parallel.chunks import matmul
from ..rng import gaussian, generator
from ..validation import format_shape

EQUATION = "delta_below = rows(delta) @ B.T in the shape of x"


def draw(layer: Weighted, seed: int, init: Initialiser | None) -> Array:
    """Draw B, by default scaled so that the carried error has the same size as with W. Raises ValueError if the layer's
    map sizes are not known, or if B takes more memory than is free."""
    if layer.input_shape is None or layer.output_shape is None:
        raise ValueError(f"the map sizes of {layer} must be known for a dense B: create the network with input_shape=")
    shape = math.prod(layer.input_shape), math.prod(layer.output_shape)
    size = shape[0] * shape[1] * layer.W.dtype.itemsize
    if size > backend.free_bytes():
        raise ValueError(
            f"a dense B for {layer} between maps of {format_shape(layer.input_shape)} and "
            f"{format_shape(layer.output_shape)} would take {size:,} bytes, more than is free: use conv='kernel'"
        )
    sd = math.sqrt(2.0 / shape[1])  # each unit below sums shape[1] errors: He initialisation in mode "fan_out"
    rng = generator(seed, "feedback", layer.name)
    drawn = init.draw(rng, shape, *shape) if init else gaussian(rng, shape, sd)
    return xp.asarray(drawn.astype(layer.W.dtype))


def carry(layer: Weighted, delta: Array, matrix: Array) -> Array:
    """The error below: delta (N, ...) as rows, times B.T, in the shape of the layer's input."""
    return matmul(delta.reshape(len(delta), -1), matrix.T).reshape(layer.cached().shape)
