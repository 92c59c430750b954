"""Feedback learned by perturbation: a scalar, the change of the loss under noise, teaches B; B teaches the weights.

    delta_below = delta @ B.T                      feedback alignment, with a B that learns
    lambda = (L(xi) - L) / sigma^2 * xi            estimates n delta_below of backpropagation, for each example
    r      = n delta_below - lambda
    dB     = r.T @ (n delta) / n                   least squares of lambda on n delta; B -= rate dB

xi ~ N(0, sigma^2) is noise on the input of this layer, (x + xi) W, in a second forward pass that perturbs all layers
with a B at once. Under the top layer the expected update is (B - W) C with C = mean (n delta)^T (n delta), so that B
converges to W; under the others it is B C - W C', C' = mean (n delta_bp)^T (n delta), with backpropagation's delta_bp
(linear networks, sigma -> 0). For a convolution r.T stands for columns(r).T, as in the gradient of its W.

Lansdell, Prakash & Kording 2020, "Learning to solve the credit assignment problem". L is the loss of the example: with
the sum over the batch, as in node perturbation of their first classes, the noise of the other examples hides the
gradient, and B does not align. The noise is on the layer's input, not on the activation below it: the two are the same
in a chain, but in a residual block only the first estimates the error through this layer alone.
"""

from __future__ import annotations

__all__ = ["PerturbedFeedback"]

from collections.abc import Iterable
from typing import Any

from ..backend import Array, quietly
from ..layers.base import Layer, Pass
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..validation import check_positive
from .learned_feedback import LearnedFeedback
from .noise import white_noise
from .perturbation import require_independent_examples


class PerturbedFeedback(LearnedFeedback):
    """Feedback alignment with a B that learns by node perturbation.

    Args:
        seed: keys the random streams of the initial B and of the noise.
        sigma: standard deviation of the noise, above 0.
        rate: learning rate of B, above 0. With 0.3, B comes nearer to W in networks of one to three hidden layers, and
            training diverges in one of eight, at every learning rate of W.

    Raises:
        TypeError, ValueError: an option that is not a number above 0; ValueError at `attach`: a network with batch
            norm, or a layer whose input size is not known.

    B aligns with W from a scalar for each example, here while W does not learn:

    >>> net, targets = mf.Network([mf.Linear(4, 8), mf.Linear(8, 5)]), np.random.default_rng(0).normal(size=(100, 5))
    >>> rule, x = mf.rules.PerturbedFeedback().attach(net), mf.asarray(np.eye(100, 4))
    >>> for step in range(50):
    ...     value = rule.gradients(net, x, mf.asarray(targets), mf.HalfSquaredError())
    ...     mf.SGD(lr=0.0).step(net, rule)
    >>> round(float(mf.metrics.angle(net["linear2"].W, rule.B["linear2"])), -1)
    10.0
    """

    name = "perturbed_feedback"
    title = "feedback learned by perturbation"
    equation = "dB = (n delta B^T - lambda)^T (n delta) / n"
    paper = "Lansdell, Prakash & Kording 2020"
    needs = "a feedback path for every weight, a second, noisy forward pass, and a global scalar per example"
    accepts = "networks without batch norm"
    explanations = {"noise": "The noise on the input, times W. The rule measures how it changes the loss."}
    update_equation = "B_new = B - rate * r.T @ delta\nr = n * delta_below - (L(xi) - L) / sigma^2 * xi"

    def __init__(self, seed: int = 0, sigma: float = 0.01, rate: float = 0.1) -> None:
        super().__init__(seed)
        self.sigma, self.rate = check_positive(sigma, "sigma"), check_positive(rate, "rate")

    def draw(self, net: Network) -> None:
        check_network(net, self.layers_with_feedback(net), self.title)
        super().draw(net)
        self.carried: dict[str, tuple[Array, Array]] = {}  # by layer: delta and delta_below of the last pass

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        value = super().gradients(net, x, y, loss)
        perturbed = _PerturbedInputs(self, net.step)
        noisy, self.xi = net.forward(x, perturbed), perturbed.noise
        self.rise = loss(noisy, self.target)[0] - loss(self.output, self.target)[0]  # (N,)
        return value

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        self.carried[layer.name] = delta, layer.carry(delta, self.record_feedback(layer))
        return self.carried[layer.name][1]

    def update_feedback(self, net: Network) -> None:
        self.require(self.error)
        for layer in self.layers_with_feedback(net):
            delta, below = self.carried[layer.name]
            r = len(delta) * below - estimate(self, layer)
            self.memory[layer.name] -= self.rate * layer.weight_gradient(r, delta)


def estimate(rule: PerturbedFeedback, layer: Weighted) -> Array:
    """lambda, (N, ...): the estimate of n delta_below of backpropagation, from the change of each example's loss."""
    xi = rule.xi[layer.name]
    return xi * (rule.rise * (1 / rule.sigma**2)).reshape(-1, *(1,) * (xi.ndim - 1))


class _PerturbedInputs(Pass):
    """A training pass with noise on the input of each layer that has a B. The caches stay those of the clean pass."""

    def __init__(self, rule: PerturbedFeedback, step: int) -> None:
        super().__init__(training=True, step=step, update_statistics=False, keep=False)
        self.rule = rule
        self.noise: dict[str, Array] = {}

    def after(self, layer: Layer, y: Array) -> Array:
        if not isinstance(layer, Weighted) or layer.name not in self.rule.memory:
            return y
        shape = len(y), *(layer.input_shape or ())
        xi = white_noise(self.rule.seed, layer.name, self.step, shape, self.rule.sigma, y.dtype)
        self.noise[layer.name] = xi
        return y + layer.project(xi, layer.W)  # (x + xi) @ W + b


def check_network(net: Network, layers: Iterable[Weighted], title: str) -> None:
    """Raise ValueError for a network with batch norm, and unless the input shape of each of these layers is known."""
    require_independent_examples(net, title)
    for layer in layers:
        if layer.input_shape is None:
            raise ValueError(f"the input size of {layer} must be known: create the network with input_shape=")
