"""Architectures of linear layers. Each function takes ``input_shape``, the shape of one example, and ``n_out``, the
number of outputs."""

from __future__ import annotations

__all__ = ["autoencoder", "linear_task", "mlp", "tiny"]

import functools
import math
from collections.abc import Callable

from ..initialisers import uniform
from ..layers import (
    ELU,
    GELU,
    BatchNorm,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    UnitLength,
)
from ..validation import Shape, check_bool, check_choice, check_float, check_int, check_type
from .base import Model, example

ACTIVATIONS = {layer.kind: layer for layer in (ReLU, LeakyReLU, ELU, GELU, SiLU, Softplus, Tanh, Sigmoid)}


def mlp(
    input_shape: Shape,
    n_out: int,
    hidden: tuple[int, ...] = (500,),
    batch_norm: bool = False,
    activation: str = "relu",
    init: str = "he_normal",
    first_init: str | None = None,
    unit_length: bool = False,
    dropout: float = 0.0,
    output_activation: str | None = None,
) -> Model:
    """Linear layers with an activation between them; by default 784-500-10 on MNIST.

    Args:
        hidden: widths of the hidden layers.
        batch_norm: whether a BatchNorm follows every hidden linear layer.
        activation: "relu", "leakyrelu", "elu", "gelu", "silu", "softplus", "tanh" or "sigmoid", with its defaults.
        init: name of the initialiser of the weights.
        first_init: name of the initialiser of the first layer's weights; None: as ``init``. Under the rule `mdfa` only
            the first layer has weights of both signs.
        unit_length: whether a UnitLength follows every activation, as the rule `forward_forward` requires.
        dropout: probability with which the Dropout after every hidden layer sets a value to zero; 0: no such layers.
        output_activation: the activation after the last linear layer, of the same names; None: there is none, as the
            cross-entropies require. A "sigmoid" is for outputs from 0 to 1 with a squared error.

    Raises:
        TypeError: a width that is not an int.
        ValueError: a width below 1, an unknown activation or initialiser.
    """
    make = ACTIVATIONS[check_choice(activation, "activation of the model 'mlp'", tuple(ACTIVATIONS))]
    check_choice(output_activation, "output_activation of the model 'mlp'", (None, *ACTIVATIONS))
    check_type(hidden, (tuple, list), "hidden of the model 'mlp' must be a tuple of widths, such as (100, 50)")
    input_shape = example(input_shape, "mlp")
    before = [BatchNorm] if check_bool(batch_norm, "batch_norm of the model 'mlp'") else []
    after: list[Callable[[], Layer]] = [UnitLength] if check_bool(unit_length, "unit_length of the model 'mlp'") else []
    if check_float(dropout, "dropout of the model 'mlp'"):
        after.append(functools.partial(Dropout, dropout))
    layers: Model = [Flatten()] if len(input_shape) > 1 else []
    size = math.prod(input_shape)
    chosen = first_init or init
    for width in hidden:
        layers += [
            Linear(size, width, init=chosen),
            *(norm(width) for norm in before),
            make(),
            *(layer() for layer in after),
        ]
        size, chosen = width, init
    end = [ACTIVATIONS[output_activation]()] if output_activation else []
    return [*layers, Linear(size, n_out, init=chosen), *end]


def autoencoder(
    input_shape: Shape,
    n_out: int,
    hidden: tuple[int, ...] = (32,),
    activation: str = "sigmoid",
    output_activation: str | None = None,
    init: str = "he_normal",
) -> Model:
    """A mirrored autoencoder of linear layers: 64-32-64, or with ``hidden=(32, 16)`` 64-32-16-32-64. Its targets are
    its inputs: load the data with ``reconstruct=True`` (``--reconstruct``).

    Args:
        hidden: widths of the encoder's layers, of which the last one is the code; the decoder mirrors the others.
        activation: follows every hidden layer, as for `mlp`.
        output_activation: follows the last layer, for inputs in its range ("sigmoid": from 0 to 1); None: none.
        init: name of the initialiser of the weights.

    Raises:
        TypeError: a width that is not an int.
        ValueError: no hidden layer, a width below 1, an unknown activation or initialiser, other than as many outputs
            as inputs.

    >>> [layer.kind for layer in mf.models.autoencoder((64,), 64)]
    ['linear', 'sigmoid', 'linear']
    """
    size = math.prod(example(input_shape, "autoencoder"))
    if check_int(n_out, "n_out of the model 'autoencoder'") != size:
        raise ValueError(
            f"the model 'autoencoder' has as many outputs as inputs, {size}, but the targets have {n_out}: load the "
            "data with their inputs as targets, data.load(..., reconstruct=True) or --reconstruct"
        )
    check_type(hidden, (tuple, list), "hidden of the model 'autoencoder' must be a tuple of widths, such as (32, 16)")
    if not hidden:
        raise ValueError("hidden of the model 'autoencoder' must have at least one width, that of the code")
    known = (None, *ACTIVATIONS)
    last = check_choice(output_activation, "output_activation of the model 'autoencoder'", known)
    check_choice(activation, "activation of the model 'autoencoder'", tuple(ACTIVATIONS))
    widths = *hidden, *hidden[-2::-1]
    return mlp(input_shape, n_out, widths, activation=activation, output_activation=last, init=init)


def linear_task(input_shape: Shape, n_out: int, hidden: int = 20) -> Model:
    """Lillicrap et al. 2016, task 1: two linear layers without biases (30-20-10), W initialised small and uniform.

    Args:
        hidden: number of hidden units.
    """
    small = uniform(0.01)
    return [
        Linear(math.prod(example(input_shape, "linear_task")), hidden, bias=False, init=small),
        Linear(hidden, n_out, bias=False, init=small),
    ]


def tiny(input_shape: Shape, n_out: int, hidden: int = 4) -> Model:
    """A network small enough to inspect every number: one tanh layer of ``hidden`` units."""
    input_shape = example(input_shape, "tiny")
    size = math.prod(input_shape)
    return [*([Flatten()] if len(input_shape) > 1 else []), Linear(size, hidden), Tanh(), Linear(hidden, n_out)]
