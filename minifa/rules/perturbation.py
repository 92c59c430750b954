"""Learning from a scalar: perturb the network with noise, and correlate the change of the loss with the noise.

    node      delta = (L(xi) - L) / sigma^2 * xi / n     xi ~ N(0, sigma^2) on weighted layers' outputs, per example
    weight    dW = mean(L(xi) - L) / sigma^2 * xi        xi ~ N(0, sigma^2) on the parameters, one draw for the batch

Both are unbiased estimates of backpropagation's gradient (as sigma -> 0). Their variance grows with the number of
perturbed units or weights: after n samples of d units the cosine with the gradient is 1 / sqrt(1 + (d + 1) / n).
Werfel, Xie & Seung 2005, "Learning curves for stochastic gradient descent in linear feedforward networks". All layers
are perturbed, including the output layer: only the loss is fed back.
"""

from __future__ import annotations

__all__ = ["NodePerturbation", "WeightPerturbation"]

from typing import Any

from ..backend import Array, quietly
from ..layers.base import Layer, Pass
from ..layers.batch_norm import BatchNorm
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..validation import check_positive
from .base import Rule
from .noise import white_noise


class Perturbation(Rule):
    """The base class of both rules.

    Args:
        seed: keys the noise.
        sigma: standard deviation of the noise, above 0.

    Raises:
        TypeError: a sigma that is not a number.
        ValueError: a sigma that is not above 0.
    """

    paper = "Werfel, Xie & Seung 2005"
    crosses_weights = False
    one_backward_pass = False
    requires_errors = False  # no error is carried to any layer, yet all layers learn

    def __init__(self, seed: int = 0, sigma: float = 1e-3) -> None:
        super().__init__(seed)
        self.sigma = check_positive(sigma, "sigma")

    def feedback(self, layer: Weighted) -> None:
        return None

    def noise(self, name: str, shape: tuple[int, ...], step: int, like: Array) -> Array:
        """The noise xi of one layer or parameter at one step."""
        return white_noise(self.seed, name, step, shape, self.sigma, like.dtype)


class NodePerturbation(Perturbation):
    """Node perturbation: noise on the outputs of the weighted layers that learn.

    `attach` raises ValueError for a network with batch norm, where the noise of one example affects the loss of others.

    The mean over many examples approximates backpropagation's gradient, here x (0 - t) = -1:

    >>> net, ones = mf.Network([mf.Linear(1, 1, init="zero")]), mf.asarray(np.ones((10000, 1)))
    >>> rule = mf.rules.NodePerturbation(seed=0).attach(net)
    >>> value = rule.gradients(net, ones, ones, mf.HalfSquaredError())
    >>> round(net["linear1"].grads["W"].item(), 1)
    -1.0
    """

    name = "node_perturbation"
    accepts = "networks without batch norm"
    title = "node perturbation"
    equation = "delta = (L(xi) - L) xi / sigma^2"
    needs = "a second, noisy forward pass and a global scalar per example; no backward path"

    def draw(self, net: Network) -> None:
        require_independent_examples(net, self.title)

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        perturbed = _PerturbedPass(self, net.step)
        noisy = net.forward(x, perturbed)
        clean = net.forward(x, self.training_pass(net))  # the later pass, so that the caches hold its activities
        value = self.compute_error(clean, rows, loss)
        self.rise = (loss(noisy, self.target)[0] - loss(clean, self.target)[0]).reshape(-1, 1)
        scale = self.rise * (1 / (self.sigma**2 * len(x)))
        net.clear_gradients()
        for layer in (layer for layer in net.weighted if layer.trainable):
            xi = perturbed.noise[layer.name]
            layer.store_gradients(xi * scale.reshape(-1, *(1,) * (xi.ndim - 1)))
        return value

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"rise": "rule.rise", "xi": f"{layer.name}.xi", "sigma": "rule.sigma"}
        return "delta = rise * xi / sigma^2 / n", names


def require_independent_examples(net: Network, title: str) -> None:
    """Raise ValueError for a network with batch norm, in which the noise of one example affects the loss of others."""
    for layer in net:
        if isinstance(layer, BatchNorm):
            raise ValueError(
                f"under {title} the examples must be independent, and {layer} mixes the batch: "
                "use a network without batch norm, for example with LayerNorm or GroupNorm"
            )


class _PerturbedPass(Pass):
    """A training pass that adds noise to the output of each weighted layer that learns."""

    def __init__(self, rule: NodePerturbation, step: int) -> None:
        super().__init__(training=True, step=step, update_statistics=False)
        self.rule = rule
        self.noise: dict[str, Array] = {}

    def after(self, layer: Layer, y: Array) -> Array:
        if not isinstance(layer, Weighted) or not layer.trainable:
            return y
        self.noise[layer.name] = self.rule.noise(layer.name, y.shape, self.step, y)
        return y + self.noise[layer.name]


class WeightPerturbation(Perturbation):
    """Weight perturbation: noise on all parameters that are not frozen, including those of batch norm.

    With a single parameter the sign of the estimate is always correct; with more it is correct on average:

    >>> net = mf.Network([mf.Linear(1, 1, bias=False, init="zero")])
    >>> rule, one = mf.rules.WeightPerturbation(seed=0).attach(net), mf.asarray([[1.0]])
    >>> value = rule.gradients(net, one, one, mf.HalfSquaredError())
    >>> net["linear1"].grads["W"].item() < 0  # backpropagation's is -1
    True
    """

    name = "weight_perturbation"
    title = "weight perturbation"
    equation = "dW = mean(L(W + xi) - L) xi / sigma^2"
    needs = "a second forward pass with perturbed weights and one global scalar; no backward path"

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        learning = [layer for layer in net if layer.trainable]
        perturbed = {f"{layer.name}.{key}": array for layer in learning for key, array in layer.parameters().items()}
        self.xi = {name: self.noise(name, array.shape, net.step, array) for name, array in perturbed.items()}
        before = {name: array.copy() for name, array in perturbed.items()}
        for name, array in perturbed.items():
            array += self.xi[name]
        try:
            noisy = net.forward(x, Pass(training=True, step=net.step, update_statistics=False))
        finally:
            for name, array in perturbed.items():
                array[...] = before[name]
        value = self.compute_error(net.forward(x, self.training_pass(net)), rows, loss)
        self.rise = loss(noisy, self.target)[0].mean() - value
        for layer in learning:
            layer.grads = {
                key: self.xi[f"{layer.name}.{key}"] * (self.rise / self.sigma**2) for key in layer.parameters()
            }
        return value

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"rise": "rule.rise", "sigma": "rule.sigma"}
        names.update({f"xi_{key}": f"rule.xi.{layer.name}.{key}" for key in layer.parameters()})
        return "\n".join(f"d{key} = rise * xi_{key} / sigma^2" for key in layer.parameters()), names
