"""Dynamic inversion: the error goes down through an inverse of the weights, to which a recurrent circuit settles.

    di     B = M (W^T M + leak I)^-1 = (M W^T + leak I)^-1 M        M = W, W_0 or random; of W's shape, as B is
    pbp    B = pinv(W)^T                                            the limit of leak -> 0 for M = W (pseudobackprop)

For the error delta at the layer's output, delta @ B.T is the steady state x of the circuit

    dx/dt = -x - y @ M.T        dy/dt = -leak y + x @ W - delta

Podlaski & Machens 2020, "Biological credit assignment through dynamic inversion of feedforward networks". Here the
steady state is computed ("non-dynamic inversion", ndi, in the authors' code, where -M^T is called B), and errors are
multiplied by f' once (one of their scripts does so twice for all rules but di).

The circuit reaches the steady state if its `stability` number is negative. With M = W it always does. With M = W_0 it
does before W moves. With a random M and weights of variance 1 / fan_in it needs a leak of about 1 or more: `attach`
refuses weights M with which no circuit would reach the computed B. After the first update of W stability is not
checked again, not even when the rule is attached, as to a network that was saved.

A large leak gives the direction of backpropagation, B = W / leak; a small one, a layer by itself, that of Gauss-Newton.
Compare leak with the squared singular values of W. For a convolution neither equation inverts the map: patches overlap.
"""

from __future__ import annotations

__all__ = ["DI", "PBP", "stability"]

import math
from typing import Any

import numpy

from ..backend import Array, numbers_of, xp
from ..layers.linear import Linear
from ..layers.weighted import Weighted
from ..linalg import pinv, solve
from ..network import Network
from ..parallel.chunks import matmul, with_one_thread
from ..validation import check_between, check_choice, check_positive
from .base import Rule


class Inversion(Rule):
    """The base class of both rules, for networks in which an error must be carried through Linear layers only."""

    accepts = "networks that have only Linear layers above the lowest layer that learns"

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            if not isinstance(layer, Linear):
                raise ValueError(
                    f"the rule {self.label!r} cannot invert {layer}: it inverts the weights of Linear layers (the "
                    "patches of a convolution overlap: the inverse of its weights is not that of its map). Use Linear "
                    "layers above the lowest layer that learns"
                )


class PBP(Inversion):
    """Pseudobackprop: the transposed pseudo-inverse of the weights carries the error.

    Args:
        seed: not used by this rule.

    Raises:
        ValueError: at `attach`, a layer above the lowest one that learns is not Linear; at any time, an ill-conditioned
            W, which has no reliable pseudo-inverse.

    If the columns of W are orthogonal, with norm s, then B = W / s^2, and the errors have backpropagation's direction:

    >>> net = mf.Network([mf.Linear(1, 2), mf.Linear(2, 2)])
    >>> net["linear2"].W = mf.asarray([[0.0, 2.0], [-2.0, 0.0]])
    >>> mf.rules.PBP().attach(net).B["linear2"].tolist()
    [[0.0, 0.5], [-0.5, 0.0]]
    """

    name = "pbp"
    title = "pseudobackprop"
    equation = "B = pinv(W)^T"
    paper = "Podlaski & Machens 2020"
    needs = "the pseudo-inverse of every weight matrix at its feedback connection"

    def feedback(self, layer: Weighted) -> Array:
        return pinv(layer.W, f"W of {layer}", "use the rule 'di', in which a leak regularises the inverse").T

    def start_angle(self, layer: Weighted) -> float | None:
        return inverse_angle(layer, leak=0.0)

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return "B = pinv(W).T", super().feedback_equation(layer)[1]


class DI(Inversion):
    """Dynamic inversion.

    Args:
        seed: keys the random stream of M, for ``weights="random"``.
        leak: of the circuit's unit for each output, above 0.
        weights: the feedback weights M of the circuit: "live" (the current W), "initial" (W at `attach`) or "random"
            (drawn from W's initialiser).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: a leak that is not above 0, unknown weights; at `attach`, a layer above the lowest one that learns
            is not Linear, or the circuit is not stable; at any time, an ill-conditioned system.

    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1)])
    >>> net["linear2"].W = mf.asarray([[2.0]])
    >>> mf.rules.DI(leak=4.0).attach(net).B["linear2"].tolist()  # 2 / (2^2 + 4)
    [[0.25]]
    """

    name = "di"
    title = "dynamic inversion"
    equation = "B = M (W^T M + leak I)^-1, M = W, W_0 or random"
    paper = "Podlaski & Machens 2020"
    needs = "a circuit at every layer that settles before the error goes on, through W and through feedback weights M"

    def __init__(self, seed: int = 0, leak: float = 0.1, weights: str = "live") -> None:
        super().__init__(seed)
        self.leak = check_positive(leak, "leak")
        self.weights = check_choice(weights, "weights", ("live", "initial", "random"))

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            if self.weights != "live":
                initial = self.weights == "initial"
                self.memory[layer.name] = layer.W.copy() if initial else stable_draw(self, layer)

    def feedback(self, layer: Weighted) -> Array:
        W, M = layer.W, layer.W if self.weights == "live" else self.stored_matrix(layer)
        remedy = "increase the option leak"
        if W.shape[0] < W.shape[1]:  # the smaller of two systems with the same solution
            A = with_leak(matmul(M, W.T), self.leak)
            return solve(A, M, f"M W^T + leak I of {layer}", remedy)
        A = with_leak(matmul(M.T, W), self.leak)
        return solve(A, M.T, f"W^T M + leak I of {layer}", remedy).T

    def start_angle(self, layer: Weighted) -> float | None:
        return None if self.weights == "random" else inverse_angle(layer, self.leak)

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        M = f"{layer.name}.W" if self.weights == "live" else f"{layer.name}.M"
        names = {**super().feedback_equation(layer)[1], "M": M, "leak": "rule.leak"}
        return "B = M @ inv(W.T @ M + leak * I)", names


def with_leak(A: Array, leak: float) -> Array:
    """A + leak I, in A's dtype."""
    return A + xp.eye(len(A), dtype=A.dtype) * A.dtype.type(leak)


def stable_draw(rule: DI, layer: Weighted) -> Array:
    """Draw M of this layer. Raises ValueError if the circuit does not settle with it and with W before training."""
    M = rule.draw_matrix(layer)
    number = stability(layer.W, M, rule.leak)
    if number >= 0 and rule.net is not None and rule.net.step == 0:
        raise ValueError(
            f"the circuit of {layer} does not settle with random feedback weights: its stability number is "
            f"{number:.2g} and must be below 0. Increase the option leak, {rule.leak}, or use weights='live'"
        )
    return M


def stability(W: Any, M: Any, leak: float) -> float:
    """The stability number of the circuit: the largest real part of the eigenvalues of its linear dynamics

        d(x, y)/dt = (x, y) @ [[-I, W], [-M.T, -leak I]]

    Below 0 the circuit settles, and the more slowly the nearer to 0 the number is.

    Args:
        W, M: the weights of a Linear layer and the feedback weights, (fan_in, fan_out) each.
        leak: at least 0.

    Raises:
        TypeError: W or M are not real numbers, leak is not a number.
        ValueError: W and M are not finite matrices of the same shape; leak is negative or not finite.

    >>> from minifa.rules.dynamic_inversion import stability
    >>> stability([[1.0]], [[-2.0]], leak=0.5)  # unstable: x is amplified by -W M = 2
    0.686140...
    """
    host_W, host_M = (numbers_of(array, name).astype(float) for array, name in ((W, "W"), (M, "M")))
    leak = check_between(leak, "leak", 0, math.inf)
    if host_W.ndim != 2 or host_M.shape != host_W.shape or not host_W.size:
        raise ValueError(f"W and M must be matrices of the same shape, got {host_W.shape} and {host_M.shape}")
    if not (numpy.isfinite(host_W).all() and numpy.isfinite(host_M).all()):
        raise ValueError("W and M must hold finite numbers, got NaN or inf")
    fan_in, fan_out = host_W.shape
    product = host_M.T @ host_W if fan_in > fan_out else host_M @ host_W.T
    mu = with_one_thread(lambda: numpy.linalg.eigvals(product)).astype(complex)
    # (number + 1) (number + leak) + mu = 0; beside these, -1 for each input or -leak for each output that is left over
    numbers = (numpy.sqrt((1 + leak) ** 2 - 4 * (leak + mu)).real - 1 - leak) / 2
    return float(max(numbers.max(), -1.0 if fan_in > fan_out else -leak if fan_in < fan_out else -math.inf))


def inverse_angle(layer: Weighted, leak: float) -> float | None:
    """Angle in degrees between W and W (W^T W + leak I)^-1 for W with independent entries, in the limit of many; None
    for a W of zeros.

    The eigenvalues s of W^T W follow the law of Marchenko & Pastur; the cosine, mean(s / (s + leak)) divided by
    sqrt(mean(s) mean(s / (s + leak)^2)), has a closed form. For leak 0 it is sqrt(1 - q) with q = fan_out / fan_in (or
    its inverse, if that is smaller).
    """
    small, large = sorted(layer.fans)
    variance = large * layer.init.sd(*layer.fans) ** 2  # the mean of the eigenvalues
    if variance == 0:
        return None
    q, a = small / large, leak / variance
    root = math.sqrt(a + (1 + math.sqrt(q)) ** 2) * math.sqrt(a + (1 - math.sqrt(q)) ** 2)
    if root == 0:
        return 90.0
    shared = (2 * a * (1 + q) + (1 - q) ** 2) / (root + a) + 1 - q
    size = (a * (1 + q) + (1 - q) ** 2) / root + 1 - q
    return math.degrees(math.acos(min(1.0, shared / math.sqrt(2 * size))))
