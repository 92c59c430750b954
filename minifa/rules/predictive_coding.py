"""Predictive coding: the activities relax towards a given output, and each layer learns from its prediction error.

    mu_l  = f(x_{l-1}) @ W_l + b_l                                prediction of the value node x_l; f(x_0) is the input
    eps_l = x_l - mu_l                                            prediction error; energy sum_l |eps_l|^2 / 2
    x_l  += gamma (f'(x_l) * (eps_{l+1} @ W_{l+1}.T) - eps_l)     inference, from x_l = a_l of the forward pass
    delta_l = -eps_l / n,  dW_l = f(x_{l-1}).T @ delta_l          the presynaptic activity is the inferred one

    zil            gamma 1, x_L = a_L - n e; layer L - k learns at step k, before the nodes move: backpropagation
    pc             x_L = a_L - n e (clamped); all layers learn after T steps, from errors computed anew
    pc with beta   x_L is free, with the energy beta |x_L - (a_L - n e)|^2 / 2 (nudged); delta_l = -eps_l / (n beta)

With another gamma, layer l of zil learns gamma^(L-l) times backpropagation's gradient. At equilibrium, the eps_l of a
clamped net are the smallest perturbations of its layers, by their sum of squares, that give the output a_L - n e; those
of a nudged net give backpropagation for beta -> 0. A clamp nearer to a_L does not.

Song, Lukasiewicz, Xu & Bogacz 2020, "Can the brain do backpropagation? - Exact implementation of backpropagation in
predictive coding networks" (zil); Whittington & Bogacz 2017, "An approximation of the error backpropagation algorithm
in a predictive coding network with local Hebbian synaptic plasticity" (pc). The choices here: value nodes are at the
outputs of the weighted layers, before f; all nodes move at once; the predictions follow the nodes (fixed ones give
backpropagation, Millidge et al. 2020); the maxima of max pooling follow them, too. With n e at the output the energy
serves any loss. With ReLU or LeakyReLU a node may step to and fro over the kink of f: there is no equilibrium then, at
any gamma. Without targets the forward pass has no prediction error, so that evaluation needs no inference.
"""

from __future__ import annotations

__all__ = ["PC", "ZIL"]

from ..backend import Array, xp
from ..layers.base import Layer
from ..validation import check_int, check_positive
from .activity_differences import ActivityDifferences


class PredictiveCoding(ActivityDifferences):
    """The base class of `ZIL` and `PC`: value nodes, prediction errors, one step of inference.

    Args:
        seed: not used; nothing is drawn.
        gamma: step size of inference.

    Attributes:
        nodes, predictions: x_l and mu_l, (N, ...), when the layer learned in the last pass, by the layer's name.
    """

    def __init__(self, seed: int = 0, gamma: float = 0.1) -> None:
        super().__init__(seed)
        self.gamma = check_positive(gamma, "gamma")

    def start(self) -> None:
        """Set the value nodes to the activities of the forward pass. They are stored as x_l - a_l: if they were stored
        as x_l, float32 would round away small errors."""
        self.nodes: dict[str, Array] = {}
        self.predictions: dict[str, Array] = {}
        self.a = [self.heard[block.layer.name] for block in self.blocks]
        self.h = [self.heard[block.end.name] for block in self.blocks[:-1]]
        self.shifts = [xp.zeros_like(a) for a in self.a]

    def prediction_errors(self) -> list[Array]:
        """eps_l of all blocks. Sets ``inputs``, f(x_l) of all but the last, and the caches for f'(x_l).

        The prediction is a_l + (f(x_{l-1}) - h_{l-1}) @ W_l: exactly a_l while the node below has not moved."""
        errors, self.inputs = [self.shifts[0]], []
        for i, block in enumerate(self.blocks[1:]):
            h = self.blocks[i].activate(self.a[i] + self.shifts[i])
            self.inputs.append(h)
            errors.append(self.shifts[i + 1] - block.layer.project(h - self.h[i], block.layer.W))
        return errors

    def move(self, errors: list[Array]) -> None:
        """One step of inference of all nodes but the last."""
        for i, block in enumerate(self.blocks[1:]):
            pull = self.blocks[i].activation_error(self.carry(block.layer, errors[i + 1]), self)
            self.shifts[i] = self.shifts[i] + self.gamma * (pull - errors[i])

    def learn_layer(self, i: int, error: Array) -> None:
        """Store the gradients of block i for its prediction error."""
        name, n = self.blocks[i].layer.name, len(error)
        self.nodes[name] = self.a[i] + self.shifts[i]
        self.predictions[name] = self.nodes[name] - error
        self.local[name] = {"loss": (error * error).sum() / (2 * n), "accuracy": None}
        self.store(self.blocks[i], error * (-1 / (n * self.eta)), self.inputs[i - 1] if i else None)

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        return "delta = (mu - x) / n", {"mu": f"rule.predictions.{layer.name}", "x": f"rule.nodes.{layer.name}"}


class ZIL(PredictiveCoding):
    """Control: Z-IL, predictive coding in which each layer learns at the step when the error reaches it.

    Args:
        seed: not used; nothing is drawn.
        gamma: step size of inference. With 1 the gradients are backpropagation's.

    Raises:
        TypeError: a gamma that is not a number.
        ValueError: a gamma that is not above 0; at `attach`, a layer that sends no targets (norm layers, dropout,
            residual blocks).

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> x, loss, gradients = mf.asarray([[1.0, 2.0, 3.0]]), mf.SoftmaxCrossEntropy(), []
    >>> for rule in (mf.rules.BP(), mf.rules.ZIL(), mf.rules.ZIL(gamma=0.5)):
    ...     value = rule.attach(net).gradients(net, x, [0], loss)
    ...     gradients.append(net["linear1"].grads["W"])
    >>> [round(float(mf.metrics.angle(gradients[0], gradient)), 2) for gradient in gradients[1:]]
    [0.0, 0.0]
    >>> round(float(gradients[2].sum() / gradients[0].sum()), 4)
    0.5
    """

    name = "zil"
    title = "Z-IL, equal to backpropagation (control)"
    equation = "delta = (mu - x) / n, layer L - k at step k"
    paper = "Song et al. 2020"
    needs = (
        "value nodes and error nodes in each layer, weight transport, and a clock: each layer learns at its own step"
    )

    def __init__(self, seed: int = 0, gamma: float = 1.0) -> None:
        super().__init__(seed, gamma)

    def learn(self, error: Array) -> None:
        self.start()
        self.shifts[-1] = -error
        for i in reversed(range(len(self.blocks))):
            errors = self.prediction_errors()
            self.learn_layer(i, errors[i])
            self.move(errors)


class PC(PredictiveCoding):
    """Predictive coding with inference learning: all layers learn after some steps of inference.

    Args:
        seed: not used; nothing is drawn.
        gamma: step size of inference. Too large a step makes the nodes diverge; large weights need a smaller one.
        steps: steps of inference per batch.
        beta: strength of the nudge of the output towards a_L - n e; None: the output is clamped there.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option out of range; at `attach`, a layer that sends no targets (norm layers, dropout, residual
            blocks).

    The energy of each layer is in ``rule.local``. At first the output layer has all of it; inference lowers the sum:

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> x, energies = mf.asarray([[1.0, 2.0, 3.0]]), []
    >>> for steps in (1, 20):
    ...     rule = mf.rules.PC(steps=steps).attach(net)
    ...     value = rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    ...     energies.append(float(sum(local["loss"] for local in rule.local.values())))
    >>> energies[1] < energies[0]
    True
    """

    name = "pc"
    title = "predictive coding (inference learning)"
    equation = "delta = (mu - x) / n, x relaxed by T steps"
    paper = "Whittington & Bogacz 2017"
    needs = "value nodes and error nodes in each layer, weight transport, and time to relax before learning"
    gives_output_error = False

    def __init__(self, seed: int = 0, gamma: float = 0.1, steps: int = 20, beta: float | None = None) -> None:
        super().__init__(seed, gamma)
        self.steps = check_int(steps, "steps")
        self.beta = None if beta is None else check_positive(beta, "beta")
        self.eta = self.beta or 1.0

    def learn(self, error: Array) -> None:
        self.start()
        if self.beta is None:
            self.shifts[-1] = -error
        for _ in range(self.steps):
            errors = self.prediction_errors()
            self.move(errors)
            if self.beta is not None:
                nudge = self.beta * (self.shifts[-1] + error)
                self.shifts[-1] = self.shifts[-1] - self.gamma * (errors[-1] + nudge)
        errors = self.prediction_errors()
        for i in reversed(range(len(self.blocks))):
            self.learn_layer(i, errors[i])

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        equation, names = super().teach_equation(layer)
        if self.beta is None:
            return equation, names
        return "delta = (mu - x) / (n * beta)", {**names, "beta": "rule.beta"}
