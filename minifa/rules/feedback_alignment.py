"""Feedback alignment: a fixed random matrix carries the error, and the weights can align with it.

    delta_below = delta @ B.T                        B drawn once, of W's shape; fixed

    correlation    B = rho W_0 + sqrt(1 - rho^2) M   Bordelon & Pehlevan 2022
    angle          B = cos(a) W_0 + sin(a) N         N orthogonal to W_0, with its norm
    sparsity       B = mask * M / sqrt(1 - q)        a fraction q of the entries is zero
    normalise      B = M * norm(W) / norm(M)         "strict": the current W; "init": W_0

Lillicrap, Cownden, Tweed & Akerman 2016, "Random synaptic feedback weights support error backpropagation for deep
learning"; the normalisations after Moskovitz, Litwin-Kumar & Abbott 2018. For a convolution B is a kernel of W's shape
(``conv="kernel"``) or a dense matrix between the flattened maps (``conv="dense"``): the two variants of feedback
alignment for convolutions in Lance & Kieu 2026 ("Toeplitz" and "Random").
"""

from __future__ import annotations

__all__ = ["FA", "Sham"]

import math

from ..backend import Array, xp
from ..initialisers import Initialiser, find
from ..layers.weighted import Weighted
from ..layers.windowed import Windowed
from ..network import Network
from ..rng import generator
from ..validation import check_between, check_bool, check_choice, check_float
from . import angled_feedback, dense_kernel
from .base import Rule
from .scaling import check_normalise, normalised, store_start_norm


class StoredFeedback(Rule):
    """The base class of `FA`: a matrix B in `memory` carries the error, normalised or not. For a convolution it is a
    kernel of W's shape or a dense matrix.

    Args:
        seed: keys the random stream of B.
        normalise, conv: as for `FA`.
    """

    angle: float | None = None  # between B and W(0), an option of `FA`

    def __init__(self, seed: int, normalise: str | None, conv: str) -> None:
        super().__init__(seed)
        self.normalise = check_normalise(normalise)
        self.conv = check_choice(conv, "conv", ("kernel", "dense"))

    def is_dense(self, layer: Weighted) -> bool:
        """Whether B of this layer is a dense matrix between maps."""
        return self.conv == "dense" and isinstance(layer, Windowed)

    def feedback(self, layer: Weighted) -> Array:
        matrix = self.stored_matrix(layer)
        return matrix if self.normalise is None else normalised(matrix, self.normalise, layer, self.memory)

    def feedback_shape(self, layer: Weighted) -> tuple[int, ...]:
        return self.memory[layer.name].shape if self.is_dense(layer) else layer.weight_shape

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feedback_equation(layer)
        if self.normalise is not None:
            size = "norm(W)" if self.normalise == "strict" else "norm(W_0)"
            equation, names = f"B = M * {size} / norm(M)", {**names, "M": f"{layer.name}.M"}
        return (equation, names) if self.angle is None else angled_feedback.equation(equation, names)

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        if self.conv == "kernel" or not self.is_dense(layer):
            return super().carry(layer, delta)
        return dense_kernel.carry(layer, delta, self.record_feedback(layer))

    def carry_equation(self, layer: Weighted) -> str:
        return dense_kernel.EQUATION if self.is_dense(layer) else super().carry_equation(layer)


class FA(StoredFeedback):
    """Feedback alignment with a fixed B.

    Args:
        seed: keys the random stream of B.
        init: initialiser of B or its name, for example "gaussian(0.01)"; None: W's initialiser.
        normalise: None, "strict" (B has the norm of the current W) or "init" (the norm of the initial W).
        sparsity: fraction of the entries of B set to zero, in [0, 1).
        rescale_sparse: divide a sparse B by sqrt(1 - sparsity), so that the carried error keeps its scale.
        conv: "kernel" or "dense"; "dense" cannot be combined with ``correlation``, ``angle`` or ``normalise``.
        correlation: correlation of B with W(0), from -1 to 1.
        angle: degrees between W(0) and a B of its norm, 0 to 180, without ``correlation`` and ``sparsity``. None: any.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range; at `attach`, a dense matrix that exceeds the free memory (the message
            gives its bytes) or maps of unknown size.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, loss = mf.rules.FA(seed=0).attach(net), mf.SoftmaxCrossEntropy()
    >>> W, B = net["linear2"].W.copy(), rule.B["linear2"].copy()
    >>> value = rule.gradients(net, mf.asarray([[1.0, 2.0, 3.0]]), [0], loss)
    >>> mf.SGD(lr=0.1).step(net, rule)  # W is updated, B is fixed
    >>> bool((net["linear2"].W == W).any()), bool((rule.B["linear2"] == B).all())
    (False, True)
    """

    name = "fa"
    title = "feedback alignment"
    equation = f"B = {angled_feedback.DRAWN}"
    paper = "Lillicrap et al. 2016"
    needs = "a fixed random feedback path for every weight"

    def __init__(
        self,
        seed: int = 0,
        init: str | Initialiser | None = None,
        normalise: str | None = None,
        sparsity: float = 0.0,
        rescale_sparse: bool = True,
        conv: str = "kernel",
        correlation: float = 0.0,
        angle: float | None = None,
    ) -> None:
        super().__init__(seed, normalise, conv)
        self.init = None if init is None else find(init)
        self.sparsity = check_between(sparsity, "sparsity", 0, 1)
        self.rescale_sparse = check_bool(rescale_sparse, "rescale_sparse")
        self.correlation = check_within(correlation, "correlation", -1, 1)
        self.angle = None if angle is None else check_within(angle, "angle", 0, 180)
        check_combination(self)

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            self.memory[layer.name] = draw_feedback(self, layer)
            store_start_norm(self.memory, layer, self.normalise)

    def start_angle(self, layer: Weighted) -> float | None:
        return expected_start_angle(self, layer)


def check_within(value: float, what: str, low: float, high: float) -> float:
    """Return the option as a float. Raises TypeError if it is not a number, ValueError outside low to high."""
    number = check_float(value, what)
    if not low <= number <= high:
        raise ValueError(f"{what} must lie in [{low}, {high}], got {value}")
    return number


def check_combination(rule: FA) -> None:
    """Raise ValueError for options that exclude each other."""
    if rule.conv == "dense" and (rule.correlation != 0 or rule.normalise is not None or rule.angle is not None):
        raise ValueError(
            "a dense B is not of W's shape: correlation, angle and normalise need conv='kernel', got "
            f"correlation={rule.correlation}, angle={rule.angle}, normalise={rule.normalise!r}"
        )
    if rule.angle is not None and (rule.correlation != 0 or rule.sparsity != 0):
        raise ValueError(
            "the angle between B and W is exact only without correlation and sparsity, got "
            f"angle={rule.angle}, correlation={rule.correlation}, sparsity={rule.sparsity}: give the angle alone"
        )


def draw_feedback(rule: FA, layer: Weighted) -> Array:
    """Draw B of one layer, at an angle to W(0) or correlated with it, and sparse, as the options require."""
    if rule.is_dense(layer):
        matrix = dense_kernel.draw(layer, rule.seed, rule.init)
    else:
        matrix = rule.draw_matrix(layer, rule.init)
    if rule.angle is not None:
        return angled_feedback.matrix_at_angle(layer, matrix, rule.angle)
    if rule.correlation:
        matrix = rule.correlation * layer.W + math.sqrt(1 - rule.correlation**2) * matrix
    if rule.sparsity:
        keep = generator(rule.seed, "feedback", layer.name + "/mask").random(matrix.shape) >= rule.sparsity
        scale = 1 / math.sqrt(1 - rule.sparsity) if rule.rescale_sparse else 1.0
        matrix = matrix * xp.asarray((keep * scale).astype(matrix.dtype))
    return matrix


def expected_start_angle(rule: FA, layer: Weighted) -> float | None:
    """The option ``angle``; without it the arc cosine of rho sqrt(1 - q) if B is drawn with W's standard deviation, 90
    degrees for rho = 0. None if W is drawn without negative entries."""
    if rule.angle is not None:
        return rule.angle
    sd_drawn, sd = (init.sd(*layer.fans) for init in (rule.init or layer.init, layer.init))
    if rule.is_dense(layer) or sd == 0 or layer.init.is_nonnegative:
        return None
    shared = rule.correlation / math.hypot(rule.correlation, math.sqrt(1 - rule.correlation**2) * sd_drawn / sd)
    return math.degrees(math.acos(shared * math.sqrt(1 - rule.sparsity)))


class Sham(FA):
    """Control: the implementation of `FA` with B = W before each pass. It must equal backpropagation.

    >>> net, gradients = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)]), []
    >>> x, loss = mf.asarray([[1.0, 2.0, 3.0]]), mf.SoftmaxCrossEntropy()
    >>> for rule in (mf.rules.BP(), mf.rules.Sham()):
    ...     value = rule.attach(net).gradients(net, x, [0], loss)
    ...     gradients.append(net["linear1"].grads["W"])
    >>> bool((gradients[0] == gradients[1]).all())
    True
    """

    name = "sham"
    title = "sham feedback (control)"
    equation = "B = copy of W"
    paper = "control, as in Xiao et al. 2018"
    needs = "weight transport: it is backpropagation by another path"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)

    def feedback(self, layer: Weighted) -> Array:
        self.memory[layer.name] = layer.W.copy()  # a new array: references to the last pass's B stay unchanged
        return self.memory[layer.name]

    def start_angle(self, layer: Weighted) -> float:
        return 0.0
