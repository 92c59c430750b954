"""Dual propagation: each unit has two states, nudged in opposite directions; their difference is its error.

    output     z+_L = a_L - (1 - alpha) beta n e,        z-_L = a_L + alpha beta n e
    hidden     z+_l = f(a_l + (1 - alpha) s_l),          z-_l = f(a_l - alpha s_l),       s_l = D_{l+1} @ W_{l+1}.T
    each       D_l = z+_l - z-_l,                        z_l = alpha z+_l + (1 - alpha) z-_l
    delta_l = -D_l / (n beta),  dW_l = z_{l-1}.T @ delta_l

D_l is nearly f'(a_l) s_l, an error at a_l. One sweep down after the forward pass; W learns with the mean states z_{l-1}
after the sweep. Two things differ from backpropagation: the secant D_l / s_l stands for f', and the mean state for h. A
linear net has backpropagation's gradients for every alpha and beta, as a net with ReLU has for beta below a threshold.
Else the difference is of order beta^2 for alpha = 1/2, and of order beta for 0 and 1. In float32 it is smallest for
beta from 0.01 to 0.1; below that, D_l loses digits.

Hoier, Staudt & Zach 2023, "Dual propagation: accelerating contrastive Hebbian learning with dyadic neurons"
(alpha = 1/2); Hoier & Zach 2024, "Two tales of single-phase contrastive Hebbian learning" (the Lagrangian form above,
stable for every alpha). The output is linearised: n e at a_L instead of the published closed form for the squared
error. Pooling sends s_l on as it sends an error: max pooling to the maxima of the forward pass.
"""

from __future__ import annotations

__all__ = ["DualProp"]

from ..backend import Array
from ..layers.activations import Activation
from ..layers.base import Layer, Pass
from ..parallel.chunks import elementwise
from ..validation import check_float, check_positive
from .activity_differences import ActivityDifferences
from .blocks import Block


class DualProp(ActivityDifferences):
    """Dual propagation.

    Args:
        seed: not used; nothing is drawn.
        alpha: weight of z+ in the mean state, from 0 to 1.
        beta: strength of the nudge of the output, per example.

    Attributes:
        differences: D_l at the output of each weighted layer in the last pass, (N, ...), by layer name.

    Raises:
        TypeError: an option that is not a number.
        ValueError: an option out of range; at `attach`, a layer that sends no targets (norm layers, dropout, residual
            blocks).

    The smaller beta, the nearer are the gradients to backpropagation's:

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> x, y, loss = mf.asarray([[1.0, 2.0, 3.0]]), [0], mf.SoftmaxCrossEntropy()
    >>> for beta in (10.0, 0.1):
    ...     rule = mf.rules.DualProp(beta=beta).attach(net)
    ...     print(mf.metrics.alignment(net, rule, x, y, loss)["linear1"]["gradient_angle"] < 0.1)
    False
    True
    """

    name = "dualprop"
    title = "dual propagation"
    equation = "delta = (z- - z+) / (n beta)"
    paper = "Hoier et al. 2023"
    needs = "two states in each unit (or two compartments), and weight transport; one sweep down, no relaxation"

    def __init__(self, seed: int = 0, alpha: float = 0.5, beta: float = 0.1) -> None:
        super().__init__(seed)
        self.alpha, self.beta = check_float(alpha, "alpha"), check_positive(beta, "beta")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        self.eta = self.beta

    def learn(self, error: Array) -> None:
        self.differences: dict[str, Array] = {}
        difference = -self.beta * error
        for block, below in zip(self.blocks[:0:-1], self.blocks[-2::-1], strict=True):
            nudge = self.carry(block.layer, difference)
            lower, mean = two_states(self, below, nudge)
            self.learn_block(block, difference, mean)
            difference = lower
        self.learn_block(self.blocks[0], difference, None)

    def learn_block(self, block: Block, difference: Array, x: Array | None) -> None:
        self.differences[block.layer.name] = difference
        self.store(block, difference * (-1 / (len(difference) * self.beta)), x)

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        return "delta = -D / (n * beta)", {"D": f"rule.differences.{layer.name}", "beta": "rule.beta"}


def two_states(rule: DualProp, block: Block, nudge: Array) -> tuple[Array, Array]:
    """D_l at the output of the block's weights, and the mean state z_l at the block's output.

    Args:
        nudge: s_l at the block's output, (N, ...).
    """
    alpha, mean = rule.alpha, None
    for i, layer in reversed(list(enumerate(block.after))):
        if isinstance(layer, Activation):
            a = rule.heard[block.layers[i].name]
            plus = elementwise(layer.f, a + (1 - alpha) * nudge)
            minus = elementwise(layer.f, a - alpha * nudge)
            nudge = plus - minus
            if mean is None:  # of two activations in a block, the states are those of the upper one
                mean = alpha * plus + (1 - alpha) * minus
                for above in block.after[i + 1 :]:
                    mean = above.forward(mean, Pass(training=True))
        else:
            nudge = layer.backward(nudge, rule)
    return nudge, rule.heard[block.end.name] if mean is None else mean
