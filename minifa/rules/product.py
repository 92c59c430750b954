"""Product feedback: two matrices carry the error, and their product aligns with W.

    B = R @ P.T        delta_below = delta @ P @ R.T        dR = dW @ P, with W's weight decay:  R -> W P
    R (fan_in, n_mid) learned,  P (n_out, n_mid) fixed,  n_mid = ratio * n_out

Li & Benna 2024, "Feedback alignment with product feedback" (arXiv 2405.20594): B aligns with W, but single
synapses do not match, not even in sign. P is Gaussian with P P^T = I on average, "orthogonal" (ratio 1), or "identity"
(ratio 1), which is Kolen-Pollack. At convergence cos(W, B) = 1 / sqrt(1 + n_out / n_mid) for the Gaussian P.
The error is carried with the product B, which equals carrying with P and then R at a lower cost. In a convolution with
groups every group has an R and a P of its own; n_out and n_mid are then those of a group.
"""

from __future__ import annotations

__all__ = ["Product"]

import math

import numpy

from ..backend import Array, xp
from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul, with_one_thread
from ..rng import gaussian, generator
from ..validation import check_choice, check_int
from .base import Rule


class Product(Rule):
    """Product feedback. R is updated like the weights, with an optimizer state of its own; use weight decay.

    Args:
        seed: keys the random streams of P and R.
        ratio: n_mid / n_out, an int of at least 1 (for "gaussian"; default 10).
        fixed: kind of P: "gaussian", "orthogonal" or "identity"; the last two require ratio 1.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown kind of P, a ratio below 1, or a ratio that P does not support.

    >>> net = mf.Network([mf.Linear(4, 3), mf.Linear(3, 2)])
    >>> rule = mf.rules.Product(ratio=5).attach(net)
    >>> {name: array.shape for name, array in rule.memory.items()}, rule.B["linear2"].shape
    ({'linear2/P': (2, 10), 'linear2/R': (3, 10)}, (3, 2))
    """

    name = "product"
    title = "product feedback"
    equation = "B = R P^T, dR = dW P, decay"
    paper = "Li & Benna 2024"
    needs = "the forward update, projected through fixed synapses, at the feedback synapse; no synapse-wise symmetry"
    weight_decay = 0.01

    def __init__(self, seed: int = 0, ratio: int | None = None, fixed: str = "gaussian") -> None:
        super().__init__(seed)
        self.fixed = check_choice(fixed, "fixed", ("gaussian", "orthogonal", "identity"))
        self.ratio = (10 if fixed == "gaussian" else 1) if ratio is None else check_int(ratio, "ratio")
        if fixed != "gaussian" and self.ratio != 1:
            raise ValueError(f"ratio must be 1 for fixed={fixed!r}, got {ratio}: only a gaussian P can be wider")

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            widths = [W.shape[1] for W in layer.matrices(layer.W)]  # n_out of each matrix
            sd = layer.init.sd(*layer.fans)  # so that the initial B = R P^T has the variance of the initial W
            rng_P, rng_R = (generator(self.seed, "feedback", f"{layer.name}/{key}") for key in "PR")
            P = numpy.concatenate([draw_fixed(self.fixed, rng_P, n_out, self.ratio * n_out) for n_out in widths])
            R = gaussian(rng_R, (*layer.weight_shape[:-1], self.ratio * layer.weight_shape[-1]), sd)
            self.memory[f"{layer.name}/P"] = xp.asarray(P.astype(layer.W.dtype))
            self.memory[f"{layer.name}/R"] = xp.asarray(R.astype(layer.W.dtype))

    def feedback(self, layer: Weighted) -> Array:
        R, P = factors(self, layer)
        return times(layer, R, P.swapaxes(1, 2))

    def start_angle(self, layer: Weighted) -> float:
        return 90.0

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return "B = R @ P.T", {**super().feedback_equation(layer)[1], "R": f"{layer.name}.R", "P": f"{layer.name}.P"}

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        assert self.net is not None
        parameters = {}
        for layer in self.layers_with_feedback(self.net):
            if layer.grads["W"] is not None:
                R, P = factors(self, layer)
                parameters[f"{layer.name}/R"] = R, times(layer, layer.grads["W"], P)
        return parameters


def factors(rule: Product, layer: Weighted) -> tuple[Array, Array]:
    """R, and P as (matrices of the layer, n_out, n_mid) with the sizes of one matrix."""
    R, P = rule.memory[f"{layer.name}/R"], rule.memory[f"{layer.name}/P"]
    return R, P.reshape(len(layer.matrices(layer.W)), -1, P.shape[1])


def times(layer: Weighted, array: Array, P: Array) -> Array:
    """array @ P, for each of the layer's matrices."""
    return layer.joined([matmul(one, P[i]) for i, one in enumerate(layer.matrices(array))])


def draw_fixed(kind: str, rng: numpy.random.Generator, n_out: int, n_mid: int) -> numpy.ndarray:
    """Draw P (n_out, n_mid) of this kind."""
    if kind == "identity":
        return numpy.eye(n_out)
    drawn = gaussian(rng, (n_out, n_mid), 1 / math.sqrt(n_mid))
    return with_one_thread(lambda: numpy.linalg.qr(drawn)[0]) if kind == "orthogonal" else drawn
