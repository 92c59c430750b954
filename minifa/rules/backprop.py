"""Backpropagation, and a control that trains only the output layer.

    bp         delta_below = delta @ W.T
    shallow    no error is carried

Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors". The backward pass needs
the transpose of every forward weight: the weight transport problem (Grossberg 1987). Under `shallow` only the output
layer learns, on the random features of the layers below: the control for whether a rule teaches the hidden layers
anything. Like the rule it is compared with, it is trained for a given number of epochs, which may not reach its
optimum.
"""

from __future__ import annotations

__all__ = ["BP", "Shallow"]

from ..backend import Array
from ..layers.weighted import Weighted
from .base import Rule


class BP(Rule):
    """Backpropagation: the forward weights carry the error.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 1)])
    >>> mf.rules.BP().attach(net).B["linear2"] is net["linear2"].W
    True
    """

    name = "bp"
    title = "backpropagation"
    equation = "B = W"
    paper = "Rumelhart, Hinton & Williams 1986"
    needs = "the transpose of every forward weight at its feedback connection (weight transport)"

    def feedback(self, layer: Weighted) -> Array:
        return layer.W

    def start_angle(self, layer: Weighted) -> float:
        return 0.0


class Shallow(Rule):
    """Control: only the output layer learns; hidden layers keep their initial weights.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, loss = mf.rules.Shallow().attach(net), mf.SoftmaxCrossEntropy()
    >>> value = rule.gradients(net, mf.asarray([[1.0, 2.0, 3.0]]), [0], loss)
    >>> [name for name, gradient in net.gradients().items() if gradient is not None]
    ['linear2.W', 'linear2.b']
    """

    name = "shallow"
    title = "output layer only (control)"
    equation = "B = 0"
    paper = "control"
    needs = "nothing: no error reaches a hidden layer"
    crosses_weights = False
    requires_errors = False

    def feedback(self, layer: Weighted) -> None:
        return None
