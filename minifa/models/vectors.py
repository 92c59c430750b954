"""Vector networks of Clark, Abbott & Chung 2021: each unit is a vector with a component for each output. Each function
takes ``input_shape``, the shape of one example, and ``n_out``, the number of outputs.

The authors scale inputs to the range from -1 to 1; the data sets of minifa have mean 0 and standard deviation 1.
"""

from __future__ import annotations

__all__ = ["vector_mlp"]

import math

from ..layers import Flatten, Gate, Linear, VectorLinear, Vectors
from ..validation import Shape, check_choice, check_int, check_type
from .base import Model, example

SIGNS = {"nonnegative": ("onoff_input", "onoff"), "mixed": ("lecun_normal", "he_normal")}  # initialisers by sign


def vector_mlp(
    input_shape: Shape, n_out: int, hidden: tuple[int, ...] = (128, 64), signs: str = "nonnegative"
) -> Model:
    """Fully connected layers of vector units with a `Gate` after each hidden layer; the vectors have n_out components.

    The first layer computes the n_out components of its units with an ordinary `Linear`, which equals the authors'
    weight vector for n_out copies of the input. Of the other weights a unit has as many as in an ordinary network; a
    forward pass takes n_out times the work.

    Args:
        hidden: numbers of units of the hidden layers.
        signs: of the weights above the first layer at the start. "nonnegative": ON/OFF weights; the widths must then be
            even. The network computes what a network of half the widths with weights of mixed sign computes.
            "mixed": normally distributed.

    Raises:
        TypeError: a width that is not an int.
        ValueError: a width below 1 or an odd one with "nonnegative"; unknown signs.
    """
    first, others = SIGNS[check_choice(signs, "signs of the model 'vector_mlp'", tuple(SIGNS))]
    check_int(n_out, "n_out of the model 'vector_mlp'")
    check_type(hidden, (tuple, list), "hidden of the model 'vector_mlp' must be a tuple of widths, such as (128, 64)")
    for width in hidden:
        if check_int(width, "a width of the model 'vector_mlp'") % 2 and signs == "nonnegative":
            raise ValueError(
                f"the widths of the model 'vector_mlp' must be even with signs='nonnegative', got {width}: the units "
                "form ON/OFF pairs"
            )
    input_shape = example(input_shape, "vector_mlp")
    layers: Model = [Flatten()] if len(input_shape) > 1 else []
    size = math.prod(input_shape)
    if not hidden:
        return [*layers, Linear(size, n_out, init="lecun_normal")]
    layers += [Linear(size, n_out * hidden[0], init=first), Vectors(n_out)]
    for below, width in zip(hidden, (*hidden[1:], 1), strict=True):
        layers += [Gate(below, n_out), VectorLinear(below, width, n_out, init=others)]
    return [*layers, Flatten()]
