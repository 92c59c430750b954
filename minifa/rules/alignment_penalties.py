"""Feedback that minimises a local penalty: a sum of primitives. Each of the five is a function headed by its formula.

    dB = -rate * (sum of coefficient * gradient of a primitive by B)

    symmetric_alignment      decay + self            weight transport as a penalty (control)
    activation_alignment     sparse + amp            local
    information_alignment    amp + null + decay      local

Kunin et al. 2020, "Two routes to scalable credit assignment without weight symmetry", their primitives and default
coefficients. In minifa's convention y = x @ W + b; gradients with respect to B only, everything else constant; n is the
number of examples, and positions of a convolution are summed. For a convolution, x stands for columns(x), and y @ B.T
for columns(uncolumns(y @ B.T)).
"""

from __future__ import annotations

__all__ = ["ActivationAlignment", "InformationAlignment", "SymmetricAlignment"]

from collections.abc import Callable

from ..backend import Array
from ..layers.weighted import Weighted
from ..network import Network
from ..validation import check_positive
from .learned_feedback import LearnedFeedback

Primitive = Callable[[Weighted, Array, Array, Array], Array]  # layer, B, x, y -> gradient by B, of W's shape


def decay(layer: Weighted, B: Array, x: Array, y: Array) -> Array:
    """||B||^2:  2 B."""
    return 2 * B


def self_alignment(layer: Weighted, B: Array, x: Array, y: Array) -> Array:
    """-sum(W * B):  -W."""
    return -layer.W


def amp(layer: Weighted, B: Array, x: Array, y: Array) -> Array:
    """-mean(y . (x @ B)):  -x.T @ y / n."""
    return layer.weight_gradient(x, y) * (-1 / len(x))


def sparse(layer: Weighted, B: Array, x: Array, y: Array) -> Array:
    """mean ||x @ B + b||^2:  2 x.T @ (x @ B + b) / n."""
    output = layer.project(x, B, layer.b)
    return layer.weight_gradient(x, output) * (2 / len(x))


def null(layer: Weighted, B: Array, x: Array, y: Array) -> Array:
    """mean ||y @ B.T||^2:  2 (y @ B.T).T @ y / n."""
    return layer.weight_gradient(layer.carry(y, B), y) * (2 / len(x))


class LocalAlignment(LearnedFeedback):
    """The base class of the three rules: B is drawn at random and takes a gradient step after each weight update.

    Args:
        seed: keys the random stream of the initial B.
        rate: learning rate of B's gradient descent, above 0. With ten times the default, training diverges in some or
            all seeds (``minifa compare --rules activation_alignment:rate=1,information_alignment:rate=0.1 --lr 0.001``,
            three seeds), except for the symmetric rule, where B moves by the fraction 2e-3 * rate towards W.

    Raises:
        TypeError: a rate that is not a number.
        ValueError: a rate that is not above 0.

    The three rules from B = 0, with W = 4, x = 1 and y = 4; the last converges to x y / (y^2 + 1):

    >>> net = mf.Network([mf.Linear(1, 1)], input_error=True)
    >>> net["linear1"].W = mf.asarray([[4.0]])
    >>> y = net.forward(mf.asarray([[1.0]]), mf.Pass(training=True))
    >>> for name in ("symmetric_alignment", "activation_alignment", "information_alignment"):
    ...     rule = mf.rules.make(f"{name}:rate=50").attach(net)
    ...     rule.set_feedback("linear1", [[0.0]])
    ...     for step in range(200):
    ...         rule.update_feedback(net)
    ...     print(name, round(rule.B["linear1"].item(), 4))
    symmetric_alignment 4.0
    activation_alignment 4.0
    information_alignment 0.2353
    """

    paper = "Kunin et al. 2020"
    terms: tuple[tuple[float, Primitive], ...] = ()  # (coefficient, primitive); the authors' defaults
    default_rate = 1.0

    def __init__(self, seed: int = 0, rate: float | None = None) -> None:
        super().__init__(seed)
        self.rate = self.default_rate if rate is None else check_positive(rate, "rate")

    def update_feedback(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            B, x = self.memory[layer.name], layer.cached()
            y = layer.project(x, layer.W, layer.b)
            gradients = [coefficient * primitive(layer, B, x, y) for coefficient, primitive in self.terms]
            for gradient in gradients:
                B -= self.rate * gradient


class SymmetricAlignment(LocalAlignment):
    """decay + self: B converges to W."""

    name = "symmetric_alignment"
    title = "symmetric alignment"
    equation = "dB = -rate (1e-3 * 2B - 2e-3 * W)"
    needs = "every forward weight at its feedback synapse (weight transport, in small steps)"
    terms = ((1e-3, decay), (2e-3, self_alignment))
    default_rate = 10.0


class ActivationAlignment(LocalAlignment):
    """sparse + amp: B is trained to map activity as W does."""

    name = "activation_alignment"
    title = "activation alignment"
    equation = "dB = -rate (1e-3 * 2 x^T(xB+b) - 2e-3 * x^T y) / n"
    needs = "both layers' activities at the feedback synapse; no weight transport"
    terms = ((1e-3, sparse), (2e-3, amp))
    default_rate = 0.1


class InformationAlignment(LocalAlignment):
    """amp + null + decay: y @ B.T is trained to reconstruct x, with a bounded norm."""

    name = "information_alignment"
    title = "information alignment"
    equation = "dB = -rate (-2e-3 x^T y/n + 1e-3 * 2(y B^T)^T y/n + 1e-3 * 2B)"
    needs = "both layers' activities and their reconstruction by the feedback; no weight transport"
    terms = ((2e-3, amp), (1e-3, null), (1e-3, decay))
    default_rate = 0.01
