"""Rules that teach each layer through the kernel of its activities: which examples are alike, and which should be.

K (n, n) is the kernel between the activities of the n examples of a batch, K_y that of their targets, K_x that of the
inputs (`minifa.kernels`, with the derivatives dK/dz).

    phsic    L = pHSIC(K, K) - gamma pHSIC(K_y, K),   pHSIC(A, B) = mean_ij (A_ij - mean(A)) B_ij
             dL/dK = Q = (2 (K - mean(K)) - gamma (K_y - mean(K_y))) / n^2
    hsic     L = nHSIC(K_x, K) - lambda nHSIC(K_y, K),   lambda is called ``balance``
             nHSIC(A, B) = trace(At Bt),   At = H A H (H A H + eps n I)^-1, and Kt_x, Kt_y likewise,  H = I - 11^T / n
             dL/dK = Q = H (eps n R M R) H,   M = Kt_x - lambda Kt_y,  R = (H K H + eps n I)^-1

Pogodin & Latham 2020, "Kernelized information bottleneck leads to biologically plausible 3-factor Hebbian learning in
deep networks" (phsic): dW = -sum_ij Q_ij dK_ij/dW has three factors, of which Q_ij is one number for a pair of
examples, the present and a remembered one, for all synapses of the layer. Ma, Lewis & Kleijn 2020, "The HSIC
bottleneck: deep learning without back-propagation" (hsic).

The choices here: all layers learn at once, from one pass; in the authors' codes layer after layer, hsic's with a fresh
pass for each. The output layer receives the true error meanwhile, not in a second phase. The cosine is that of
activities without their mean over the units; the authors' has it for targets and for groups only. Gaussian kernels
divide squared distances by the number of values, as in the code of hsic. That of phsic does not: with 1024 units its
sigma of 5 is 0.16 here, with 128 it is 0.44. (With a sigma of 5 relative to 128 units all kernels are close to 1, and
phsic learns no more than shallow on the digits: 0.94 against 0.97 with 0.5.)
"""

from __future__ import annotations

__all__ = ["HSIC", "PHSIC"]

import math
from collections.abc import Mapping
from typing import Any

from .. import extension_checks
from ..backend import Array
from ..kernels import EPS, KERNELS, Cosine, Gaussian, Grouped, Kernel, centred, normalised
from ..layers.base import Layer
from ..losses import Loss
from ..network import Network
from ..parallel.chunks import matmul
from ..validation import check_choice, check_int, check_positive, format_shape
from .base import count_outputs
from .local_losses import LocalLosses


class KernelLosses(LocalLosses):
    """The base class of both rules. A subclass sets both kernels and implements `objective`.

    Attributes:
        z_kernel, y_kernel: the kernels of activities and of targets.
        K, Q: the kernel of each taught layer in the last pass, and dL/dK, by the layer's name.
        K_y: the kernel of the targets in the last pass.
    """

    z_kernel: Kernel
    y_kernel: Kernel
    K_y: Array
    Q_equation = ""
    symbols: Mapping[str, str] = {}  # of Q_equation: the attributes of the rule
    explanations = {
        "teach": "The layer's own loss compares the kernel K of its activities with the kernel of the targets.",
        "feedback": "No error is carried through this layer: the layers below have losses of their own.",
    }

    def compute_error(self, output: Array, y: Any, loss: Loss) -> Array:
        value = super().compute_error(output, y, loss)
        self.K_y = self.y_kernel.matrix(self.require(self.target))
        self.K: dict[str, Array] = {}
        self.Q: dict[str, Array] = {}
        return value

    def objective(self, K: Array) -> tuple[Array, Array]:
        """The loss of a layer with the kernel K, and dL/dK."""
        raise extension_checks.not_implemented(self, "objective", "(self, K): the loss of a layer, and dL/dK")

    def local_loss(self, layer: Layer, h: Array) -> tuple[Array, None, Array]:
        K = self.z_kernel.matrix(h)
        loss, Q = self.objective(K)
        self.K[layer.name], self.Q[layer.name] = K, Q
        return loss, None, self.z_kernel.error(h, K, Q)

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        symbols = {"h": f"{layer.name}.y", **{symbol: f"rule.{name}" for symbol, name in self.symbols.items()}}
        return f"{self.Q_equation}\ndelta = the derivative of sum(Q * K) by h", symbols

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        return {"K": self.K[layer.name], "Q": self.Q[layer.name]} if layer.name in self.K else {}


class PHSIC(KernelLosses):
    """The plausible HSIC bottleneck: three-factor Hebbian learning.

    Args:
        seed: not used; nothing is drawn.
        kernel: "cosine" or "gaussian".
        sigma: width of Gaussian kernels, relative to the root of the number of values.
        gamma: weight of the targets' kernel.
        labels: kernel of the targets, "cosine" (as published) or "gaussian".
        groups: number of groups of neighbouring units or channels, each of which is one value for the kernel:
            (variance + 1 / size of the group)^power. None: each unit is one.
        power: of the groups. Published: 0.5, and 0.8 with `minifa.DivisiveNorm` after the activations.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range; at `attach`, channels that are not a
            multiple of ``groups``, or a single output, between whose targets the cosine is always 0.

    >>> net = mf.Network([mf.Linear(2, 3), mf.Tanh(), mf.Linear(3, 2)])
    >>> rule, x = mf.rules.PHSIC().attach(net), mf.asarray([[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0]])
    >>> value = rule.gradients(net, x, [0, 0, 1], mf.SoftmaxCrossEntropy())
    >>> rule.K_y.round(6).tolist()  # two examples of one class, one of another
    [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """

    name = "phsic"
    title = "plausible HSIC bottleneck: local losses of kernels"
    equation = "delta = d/dh (pHSIC(K, K) - gamma pHSIC(K_y, K))"
    paper = "Pogodin & Latham 2020"
    needs = "the similarity of the targets of two examples at every layer (a global signal); no backward path"
    at = "stage"
    Q_equation = "Q = (2 * (K - mean(K)) - gamma * (K_y - mean(K_y))) / n^2"
    symbols = {"gamma": "gamma", "K_y": "K_y"}

    def __init__(
        self,
        seed: int = 0,
        kernel: str = "cosine",
        sigma: float = 0.5,
        gamma: float = 2.0,
        labels: str = "cosine",
        groups: int | None = None,
        power: float = 0.5,
    ) -> None:
        super().__init__(seed)
        self.sigma, self.gamma = check_positive(sigma, "sigma"), check_positive(gamma, "gamma")
        self.kernel = check_choice(kernel, "kernel", tuple(KERNELS))
        self.labels = check_choice(labels, "labels", tuple(KERNELS))
        self.groups = None if groups is None else check_int(groups, "groups")
        self.power = check_positive(power, "power")
        known: dict[str, Kernel] = {"cosine": Cosine(), "gaussian": Gaussian(sigma)}
        z, self.y_kernel = known[kernel], known[labels]
        self.z_kernel = z if self.groups is None else Grouped(z, self.groups, self.power)

    def draw(self, net: Network) -> None:
        super().draw(net)
        check_sizes(self, net)

    def objective(self, K: Array) -> tuple[Array, Array]:
        own, targets = K - K.mean(), self.gamma * (self.K_y - self.K_y.mean())
        return ((own - targets) * K).mean(), (2 * own - targets) * (1 / K.size)


def check_sizes(rule: PHSIC, net: Network) -> None:
    """Raise ValueError for the cosine of a single output, or for groups that do not divide a taught layer."""
    if rule.labels == "cosine" and count_outputs(net) == 1:
        raise ValueError(
            "phsic compares targets without their mean over the outputs, and this network has one output: use "
            "labels='gaussian'"
        )
    for layer in rule.taught.values():
        shape = layer.output_shape
        if rule.groups and shape and (shape[-1] % rule.groups or math.prod(shape) == rule.groups):
            raise ValueError(
                f"the channels of {layer} must be a multiple of groups, with at least two values in each group, got "
                f"outputs of {format_shape(shape)} and {rule.groups} groups"
            )


class HSIC(KernelLosses):
    """The HSIC bottleneck.

    Args:
        seed: not used; nothing is drawn.
        balance: lambda, the weight of the targets against the inputs.
        sigma: width of the Gaussian kernels, relative to the root of the number of values.
        eps: of nHSIC (`minifa.kernels.nhsic`). A smaller one makes the kernels ill-conditioned in float32.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    >>> net = mf.Network([mf.Linear(2, 3), mf.Tanh(), mf.Linear(3, 2)])
    >>> rule, x = mf.rules.HSIC(balance=2.0).attach(net), mf.asarray([[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0]])
    >>> value = rule.gradients(net, x, [0, 0, 1], mf.SoftmaxCrossEntropy())
    >>> nHSIC = mf.kernels.nhsic
    >>> loss = nHSIC(rule.K_x, rule.K["tanh1"]) - 2 * nHSIC(rule.K_y, rule.K["tanh1"])
    >>> abs(float(loss - rule.local["tanh1"]["loss"])) < 1e-3
    True
    """

    name = "hsic"
    title = "HSIC bottleneck: local losses of kernels"
    equation = "delta = d/dh (nHSIC(K_x, K) - lambda nHSIC(K_y, K))"
    paper = "Ma et al. 2020"
    needs = "a whole batch of inputs and of targets at every layer; no backward path"
    Q_equation = "Q = H (eps n R M R) H\nM = Kt_x - lambda Kt_y\nR = (H K H + eps n I)^-1"
    symbols = {"M": "M", "lambda": "balance", "eps": "eps"}
    rounding = 300.0  # R multiplies those of K by up to 1 / eps, where the examples of a small batch are much alike

    def __init__(self, seed: int = 0, balance: float = 50.0, sigma: float = 5.0, eps: float = EPS) -> None:
        super().__init__(seed)
        self.balance, self.sigma = check_positive(balance, "balance"), check_positive(sigma, "sigma")
        self.eps = check_positive(eps, "eps")
        self.z_kernel = self.y_kernel = Gaussian(sigma)

    def compute_error(self, output: Array, y: Any, loss: Loss) -> Array:
        value = super().compute_error(output, y, loss)
        self.K_x = self.z_kernel.matrix(self.require(None if self.batch is None else self.batch.x))
        inputs, targets = (normalised(K, self.eps)[0] for K in (self.K_x, self.K_y))
        self.M = inputs - self.balance * targets
        return value

    def objective(self, K: Array) -> tuple[Array, Array]:
        Kt, R = normalised(K, self.eps)
        return (self.M * Kt).sum(), centred(matmul(matmul(R, self.M), R)) * (self.eps * len(K))
