"""Deep feedback control: a controller at the output drives the whole network towards the output's target, and each
layer learns to do without it.

    v_l = z_{l-1} @ W_l + b_l + u @ Q_l.T,   z_l = f_l(v_l),   z_0 = x      the controlled network, u held
    u = (t_L - h_L) @ (J Q + leak I)^-T,     t_L = h_L - eta n e            the steady state of the controller
    delta_l = (1 + leak) (f_l(v_l - u @ Q_l.T) - f_l(v_l)) / (n eta)        at W_l's output
    dW_l = z_{l-1}.T @ delta_l

u (n_out) is one signal for each example; J_l = dh_L / da_l, a_l at W_l's output, J Q the sum of J_l @ Q_l over the
layers, and Q_L = I. Only this closed form needs J and with it W; a controller that runs in time does not. The feedback
weights Q_l (units, n_out) are learned or computed:

    learned    dQ_l = rate (xi_l.T @ (y~ - y) / (n sigma^2) - Q_l)    Q_l -> mean of J_l^T; y~ with noise xi on all v_l
    product    Q_l = W_{l+1} W_{l+2} ... W_L                           = J_l^T in a linear net

Meulemans, Tristany Farinha, Garcia Ordonez, Vilimelis Aceituno, Sacramento & Grewe 2021, "Credit assignment in neural
networks through deep feedback control": its closed form (DFC-SSA). u solves the controller's equation linearised at the
forward pass; then the network runs once with this u. In their code the controller is also simulated, feedback learns
before training starts, and learning rates are divided by eta. The factor 1 + leak is ours: a network of one Linear then
receives e for every leak, and learning rates of backpropagation can be used. The output layer learns from u, too.

In a linear net with Q = J^T leak slides the errors from the smallest change of all activities that reaches the target
(leak -> 0) to backpropagation (leak -> infinity). No controller reaches u if the `stability` number is not negative. A
fixed random Q is not offered, because then it often is not; Q starts small for the same reason. With activations
product needs a large leak.
"""

from __future__ import annotations

__all__ = ["DFC", "stability"]

from collections.abc import Mapping
from typing import Any

import numpy

from .. import extension_checks
from ..backend import Array, blas_limit, quietly, to_host, xp
from ..jacobians import jacobians, of_last_pass
from ..layers.base import Layer, Pass
from ..layers.linear import Linear
from ..layers.weighted import Weighted
from ..linalg import solve
from ..losses import Loss
from ..network import Network
from ..parallel.chunks import matmul, with_one_thread
from ..validation import check_choice, check_positive, check_type
from .base import Rule
from .blocks import Block, blocks_of, run
from .direct import draw_direct
from .noise import white_noise


class Control(Rule):
    """The base class of `DFC`: one pass of the controlled network.

    Attributes:
        u: the control signal of the last pass, (N, n_out).
        free, controlled: the outputs f_l(v_l - u @ Q_l.T) and f_l(v_l) of the last pass, by the name of layer W_l.
    """

    crosses_weights = False
    one_backward_pass = False
    accepts = "networks of Linear layers and activations"
    gives_output_error = False
    leak = 0.1  # of the controller

    def draw(self, net: Network) -> None:
        self.blocks = blocks_of(net, self.label)
        self.layers = [linear(block.layer, self.label) for block in self.blocks]
        self.u: Array | None = None
        self.free: dict[str, Array] = {}
        self.controlled: dict[str, Array] = {}

    def feedback_weights(self) -> dict[str, Array]:
        """Q_l (units, n_out) of every block but the last, by the name of its last layer, as in `Rule.B`."""
        raise extension_checks.not_implemented(self, "feedback_weights", "(self): Q of every hidden layer")

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        rows = self.check_batch(net, x, y, loss)
        output = net.forward(x, self.training_pass(net))
        value = self.compute_error(output, rows, loss)
        self._B.update(self.feedback_weights())
        self._versions = {layer.name: layer.version for layer in net.weighted}  # `B` shows these until they change
        self.u = control(self, net, output)
        net.clear_gradients()
        scale, z = (1 + self.leak) / (len(x) * self.eta), self.layers[0].cached()
        with blas_limit():
            for layer, block in zip(self.layers, self.blocks, strict=True):
                a, Q = layer.project(z, layer.W, layer.b), self._B.get(block.end.name)
                v = a + (self.u if Q is None else matmul(self.u, Q.T))
                free, controlled = (run(block.after, one, net.step) for one in (a, v))
                self.free[layer.name], self.controlled[layer.name] = free, controlled
                layer.store_gradients((free - controlled) * scale, z)
                z = controlled
        return value

    def teaches(self, layer: Layer) -> bool:
        return any(layer is block.end for block in self.blocks)

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"h": f"rule.free.{layer.name}", "z": f"rule.controlled.{layer.name}"}
        return "delta = (h - z) * (1 + leak) / (n * eta)", {**names, "leak": "rule.leak", "eta": "rule.eta"}

    def feedback(self, layer: Weighted) -> None:
        self._B.update(self.feedback_weights())  # so that `B` shows the products of weights that were assigned


class DFC(Control):
    """Deep feedback control, in the steady state.

    Args:
        seed: keys the random streams of the initial Q and of the noise.
        eta: size of the step from the outputs to their targets, per example.
        leak: of the controller, above 0.
        weights: the feedback weights Q: "learned" or "product".
        rate: fraction by which one update moves a learned Q towards its estimate, above 0.
        sigma: standard deviation of the noise from which Q is learned.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range; at `attach`, a weighted layer that is not Linear, or a layer after the
            first of them that sends no targets; in a pass, an ill-conditioned J Q + leak I.

    In one Linear u is -eta n e / (1 + leak), so that the error is backpropagation's, e = 2 - 3:

    >>> net = mf.Network([mf.Linear(1, 1)])
    >>> net["linear1"].W, x, y = mf.asarray([[2.0]]), mf.asarray([[1.0]]), mf.asarray([[3.0]])
    >>> value = mf.rules.DFC(leak=0.5).attach(net).gradients(net, x, y, mf.HalfSquaredError())
    >>> net["linear1"].grads["W"].round(3).tolist()
    [[-1.0]]
    """

    name = "dfc"
    title = "deep feedback control"
    equation = "delta = (f(a) - f(a + u Q^T)) (1 + leak) / (n eta)"
    paper = "Meulemans et al. 2021"
    needs = "a controller at the output, whose signal reaches every layer and settles; noise, if Q is learned"

    def __init__(
        self,
        seed: int = 0,
        eta: float = 0.1,
        leak: float = 0.1,
        weights: str = "learned",
        rate: float = 0.02,
        sigma: float = 0.01,
    ) -> None:
        super().__init__(seed)
        self.eta, self.leak = check_positive(eta, "eta"), check_positive(leak, "leak")
        self.weights = check_choice(weights, "weights", ("learned", "product"))
        self.rate, self.sigma = check_positive(rate, "rate"), check_positive(sigma, "sigma")
        self.feedback_learns = weights == "learned"

    def draw(self, net: Network) -> None:
        super().draw(net)
        if self.feedback_learns:
            self.memory.update(draw_Q(self, net))
        self._B.update(self.feedback_weights())

    def feedback_weights(self) -> dict[str, Array]:
        return self.memory if self.feedback_learns else products(self.blocks)

    def update_feedback(self, net: Network) -> None:
        if self.memory and self.batch is not None:
            learn_Q(self, net, self.batch.x)


def learn_Q(rule: DFC, net: Network, x: Array) -> None:
    """One step of every Q towards its estimate from noise, for the inputs x (N, ...)."""
    clean = Pass(training=True, step=net.step, update_statistics=False, keep=False)
    noisy = NoisyPass(rule, net.step)
    change = net.forward(x, noisy) - net.forward(x, clean)
    for name, Q in rule.memory.items():
        Q *= 1 - rule.rate
        Q += rule.rate / (len(x) * rule.sigma**2) * matmul(noisy.noise[name].T, change)


class NoisyPass(Pass):
    """A training pass that adds noise to the output of every hidden weighted layer and leaves the caches alone."""

    def __init__(self, rule: DFC, step: int) -> None:
        super().__init__(training=True, step=step, update_statistics=False, keep=False)
        self.seed, self.sigma = rule.seed, rule.sigma
        self.ends = {block.layer.name: block.end.name for block in rule.blocks[:-1]}
        self.noise: dict[str, Array] = {}  # by the name of the block's last layer

    def after(self, layer: Layer, y: Array) -> Array:
        if layer.name not in self.ends:
            return y
        xi = white_noise(self.seed, layer.name, self.step, y.shape, self.sigma, y.dtype)
        self.noise[self.ends[layer.name]] = xi
        return y + xi


def linear(layer: Weighted, label: str) -> Linear:
    """The layer. Raises ValueError unless it is Linear."""
    if not isinstance(layer, Linear):
        raise ValueError(
            f"the rule {label!r} controls every unit by a weight of its own for each output, which a convolution does "
            f"not have: it accepts {DFC.accepts}, got {layer}"
        )
    return layer


def draw_Q(rule: DFC, net: Network) -> dict[str, Array]:
    """Draw Q (units, n_out) of every hidden block, like the feedback of `minifa.rules.DFA`."""
    widths = {block.end.name: block.layer.weight_shape[1] for block in rule.blocks}
    *hidden, top = widths
    return {name: draw_direct(rule.seed, name, widths[name], widths[top], net) for name in hidden}


def products(blocks: list[Block]) -> dict[str, Array]:
    """Q_l = W_{l+1} W_{l+2} ... W_L of every block but the last, by the name of its last layer."""
    found: dict[str, Array] = {}
    above: Array | None = None
    for block, upper in zip(blocks[-2::-1], blocks[:0:-1], strict=True):
        above = upper.layer.W if above is None else matmul(upper.layer.W, above)
        found[block.end.name] = above
    return found


def loop(rule: Control, J: Mapping[str, Array]) -> Array:
    """J Q + leak I of every example, (N, n_out, n_out), for the derivatives J_l (N, n_out, units) by layer name."""
    total = J[rule.layers[-1].name]
    for block in rule.blocks[:-1]:
        Q = rule.B[block.end.name]
        total = total + matmul(J[block.layer.name].reshape(-1, len(Q)), Q).reshape(total.shape)
    return total + rule.leak * xp.eye(total.shape[-1], dtype=total.dtype)


def control(rule: Control, net: Network, output: Array) -> Array:
    """The signal u (N, n_out) of the controller in its steady state."""
    error = rule.require(rule.error)
    A = loop(rule, of_last_pass(net, rule.layers, output))
    step = (-rule.eta * len(error)) * error[:, :, None]
    return solve(A, step, "the matrix J Q + leak I of an example", "increase the option leak")[:, :, 0]


@quietly
def stability(rule: Control, x: Array) -> numpy.ndarray:
    """The stability number of the controller for each example: the largest real part of the eigenvalues of
    -(J Q + leak I), which governs du/dt in a network that follows u at once. Below 0 the controller settles.

    Args:
        rule: an attached `DFC`.
        x: a batch (N, ...) on the backend.

    Returns:
        A host array (N,).

    Raises:
        TypeError: a rule that is not a DFC; a batch as for `minifa.Network.forward`.
        RuntimeError: the rule is not attached to a network.

    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1)])
    >>> net["linear2"].W = mf.asarray([[2.0]])
    >>> rule = mf.rules.DFC(leak=0.5).attach(net)
    >>> rule.set_feedback("linear1", [[-3.0]])  # J Q = 2 * -3 + 1
    >>> mf.rules.feedback_control.stability(rule, mf.asarray([[7.0]])).tolist()
    [4.5]
    """
    net = check_type(rule, Control, "the rule must be a minifa.rules.DFC").net
    if net is None:
        raise RuntimeError(f"the rule {rule.label!r} is not attached to a network: call rule.attach(net) first")
    A = to_host(loop(rule, jacobians(net, x, [layer.name for layer in rule.layers])))
    return -with_one_thread(lambda: numpy.linalg.eigvals(A)).real.min(axis=1)
