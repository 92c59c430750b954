"""Monotone direct feedback alignment (mDFA): in a monotone network the broadcast error has the right signs.

    delta at a taught layer = e @ F.T                F >= 0 drawn once; e = dL/da at the output layer
    W = max(W, 1e-6) after each step                 in every weighted layer above the first; f' >= 0

With these weights and activations no output decreases with the activity of a unit above the first weights. If the
network has one output, the error that backpropagation carries to such a unit therefore has the sign of e, and so has
e F: for each example every error has the sign of backpropagation's, at any depth, and so has every entry of a linear
layer's gradient (that of a convolution is a sum over positions). With more outputs errors of both signs are summed, and
the signs agree by chance only: in networks of three outputs with random weights in 49 % of the hidden layers' entries.
The author reports that the accuracy falls with the number of classes.

Lechner 2020, "Learning representations for binary-classification without backpropagation". In the author's code
(fa_model.py) the weights start from U[0, v) and F from the same family; the first layer keeps both signs.
"""

from __future__ import annotations

__all__ = ["MDFA"]

from ..backend import Array, xp
from ..layers.activations import ELU, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from ..layers.base import Layer
from ..layers.dropout import Dropout
from ..layers.pooling import GlobalAvgPool, Pool
from ..layers.residual import Residual
from ..layers.shape import Flatten, PadChannels
from ..layers.weighted import Weighted
from ..network import Network
from .direct import DFA
from .nonnegative import clamp, first_negative

LEAST = 1e-6  # the smallest weight after a step, as in the author's code
MONOTONE = (Weighted, ReLU, LeakyReLU, Tanh, Sigmoid, Softplus, ELU, Pool, GlobalAvgPool, Flatten, PadChannels, Dropout)


class MDFA(DFA):
    """Monotone direct feedback alignment, for networks with one output: binary classification with
    `minifa.SigmoidCrossEntropy`. With more outputs it is allowed, but the signs of its errors are not guaranteed.

    The weights above the first layer must start without negative entries: initialise them with "nonnegative_normal" or
    "nonnegative_uniform" (U[0, 1/sqrt(fan_in)), as published).

    Args:
        seed, at, shared, recompute: as for `DFA`.
        family: "uniform" or "gaussian"; the entries of F are the absolute values of such numbers.
        sd: root mean square of F; None: as for `DFA`, 1 / sqrt(3 d).

    Raises:
        TypeError, ValueError: as for `DFA`; ValueError at `attach`: a negative weight above the first layer, or a layer
            there that is not monotone, such as GELU or batch norm.

    >>> init = "nonnegative_normal"
    >>> net = mf.Network([mf.Linear(4, 3), mf.Tanh(), mf.Linear(3, 1, init=init)])
    >>> x, loss, gradients = mf.asarray([[1.0, 2.0, 3.0, 4.0]]), mf.SigmoidCrossEntropy(), []
    >>> for rule in (mf.rules.MDFA(), mf.rules.BP()):
    ...     value = rule.attach(net).gradients(net, x, [1], loss)
    ...     gradients.append(net["linear1"].grads["W"])
    >>> bool((gradients[0] * gradients[1] > 0).all())  # the same signs
    True
    """

    name = "mdfa"
    title = "monotone direct feedback alignment"
    equation = "delta = e F^T, F >= 0 drawn once; W >= 0 above the first layer"
    paper = "Lechner 2020"
    needs = "the output's error at every layer (a global signal), and excitatory synapses only above the first layer"
    accepts = (
        "networks of monotone layers without negative weights above the first one; the errors have backpropagation's "
        "signs if there is one output"
    )

    def draw(self, net: Network) -> None:
        check_monotone(net)
        super().draw(net)

    def _draw_matrix(self, name: str, units: int, n_out: int, net: Network) -> Array:
        return xp.abs(super()._draw_matrix(name, units, n_out, net))

    def constrain(self, net: Network) -> None:
        clamp(net, LEAST)


def check_monotone(net: Network) -> None:
    """Raise ValueError unless the output of every layer above the first weights does not decrease with its inputs."""
    layers, first = list(net), net.weighted[0]
    for layer in layers[layers.index(first) + 1 :]:
        if not is_monotone(layer):
            raise ValueError(
                f"under mdfa every layer above the first weights must be monotone, and {layer} is not: use activations "
                "such as Tanh, ReLU or Sigmoid, and no normalisation"
            )
    if (negative := first_negative(net)) is not None:
        raise ValueError(
            f"under mdfa no weight above the first layer may be negative, and {negative} has negative weights: create "
            "it with init='nonnegative_normal' (--model mlp --init nonnegative_normal --first-init he_normal)"
        )


def is_monotone(layer: Layer) -> bool:
    """Whether no output decreases with an input, given weights that are not negative."""
    return isinstance(layer, (*MONOTONE, Residual)) and getattr(layer, "alpha", 0) >= 0  # ELU's alpha
