"""Difference target propagation whose maps g_l learn, in each block by itself, the transposed Jacobian of the block.

    df = f_l(h + dx) - f_l(h),  dx, dy ~ N(0, sigma^2)              h = h_{l-1}
    loss = (-2 dx . (g_l(f_l(h) + df) - g_l(f_l(h))) + |g_l(f_l(h) + dy) - g_l(f_l(h))|^2) / (n sigma^2)

The map g_l that minimises it has the transposed Jacobian of f_l (L-DRL: the local difference reconstruction loss). Then
the targets are those of backpropagation for eta -> 0. For g linear in B, with v the part of g above B (`way_back`),

    dB = 2 rate (dx.T @ dv_x - u.T @ dv_y) / m                      u = dv_y @ B.T,  E[m] = n sigma^2
    dv_x = v(f_l(h) + df) - v(f_l(h)),  dv_y = v(f_l(h) + dy) - v(f_l(h))

Ernoult, Normandin, Moudgil, Spinney, Belilovsky, Rish, Richards & Bengio 2022, "Towards scaling difference target
propagation by learning backprop targets". Differences from their code: the loss is divided by sigma^2; m is |dy|^2 per
channel after dy's way back through pooling, which also counts the positions of a convolution, so that one rate serves
all layers (their layers have a rate each); the default map is "gated", because with "first", theirs, a network of ReLUs
does not follow backpropagation even with B = W, whatever eta; B learns after the weights, with plain gradient descent.
f' and the maxima of pooling in g are those at the clean h, through the moved weights.

Known answers: where f_l is linear, dB = 2 rate (W - B) in the mean, the weight mirror's equation; with g gated B -> W
in any network as sigma -> 0, with g linear column j of B -> column j of W times the mean of f'_j.
"""

from __future__ import annotations

__all__ = ["LDRL"]

from .blocks import caches_restored, run
from .difference_targets import DTP
from .way_back import LINEAR_IN_B, curvature, to_weights


class LDRL(DTP):
    """Difference target propagation with the local difference reconstruction loss.

    Args:
        seed: keys the random streams of B and of the noise.
        eta: step from the outputs to their targets, per example.
        g: form of the maps: "gated", "first" or "linear" (`minifa.rules.way_back`).
        rate: learning rate of B: the mean of B - W shrinks by 1 - 2 rate per step in a linear network. A layer with
            d outputs needs a rate below n / (n + d + 1), with batches of n examples or n positions of a convolution.
        sigma: standard deviation of the noise.
        steps: updates of B per weight update.

    Raises:
        TypeError, ValueError: as for `FWDTP`.

    The angle between B and W decreases:

    >>> net = mf.Network([mf.Linear(30, 20), mf.Tanh(), mf.Linear(20, 20)])
    >>> rule, x = mf.rules.LDRL().attach(net), mf.asarray(np.eye(30))
    >>> for steps in (0, 40):
    ...     for _ in range(steps):
    ...         value = rule.gradients(net, x, np.arange(30) % 20, mf.SoftmaxCrossEntropy())
    ...         mf.SGD(lr=0.01).step(net, rule)
    ...     print(round(float(mf.metrics.angle(net["linear2"].W, rule.B["linear2"])), -1))
    90.0
    20.0
    """

    name = "ldrl"
    title = "local difference reconstruction loss"
    equation = "t = h + g(t_above) - g(h_above), g' learns f'^T"
    paper = "Ernoult et al. 2022"
    needs = "a feedback path that learns from noise at each layer and at its input, and targets sent down"
    update_equation = "B_new = B + 2 * rate * (dx.T @ dv_x - u.T @ dv_y) / m, repeated steps times"
    forms = LINEAR_IN_B

    def __init__(
        self,
        seed: int = 0,
        eta: float = 0.1,
        g: str = "gated",
        rate: float = 0.05,
        sigma: float = 0.1,
        steps: int = 1,
    ) -> None:
        super().__init__(seed, eta, g, rate, sigma, steps)

    def learn_map(self, i: int, key: str, step: int) -> None:
        block, h = self.blocks[i], self.heard[self.blocks[i - 1].end.name]
        layer, B = block.layer, self.memory[block.layer.name]
        with caches_restored(block.layers):  # f' and the maxima of pooling: at the clean h, with the moved weights
            y = run(block.layers, h, step, keep=True)
            dx, dy = self.noise(h, f"{key}/x", step), self.noise(y, f"{key}/y", step)
            df = run(block.layers, h + dx, step) - y
            v = to_weights(block, y, self.g, self)
            dv_x = to_weights(block, y + df, self.g, self) - v
            dv_y = to_weights(block, y + dy, self.g, self) - v
            u = layer.carry(dv_y, B)
            m = curvature(to_weights(block, dy, "linear", self)) / layer.weight_shape[-1]
        B += (2 * self.rate / m) * (layer.weight_gradient(dx, dv_x) - layer.weight_gradient(u, dv_y))
