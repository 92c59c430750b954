"""Regression discontinuity: the feedback learns the causal effect of a unit's spike, at its threshold.

    u ~ N(0, C),  s = 1[u >= theta],  y = s @ W      d = u - theta: the drive of a unit, from its threshold
    B_ij = lim E[y_j | d_i], d_i -> 0 from above  -  the same limit from below

Just above and just below its threshold a unit differs in nothing but its spike, so that the jump of y is the spike's
own effect, also where its drive is correlated with that of other units (`weight_mirror` then converges to another
matrix). On each side, from the patterns with |d| < window, the limit is the intercept of a regression of y on d:

    (S2 T0 - S1 T1) / (S0 S2 - S1^2)      S_k = mean of m d^k,  T_k = mean of (m d^k).T @ y,  m = 1 on this side, else 0

The moments S0, S1, S2, T0, T1 of each side are averaged over phases: M <- (1 - rate) M + rate * (those of this phase).
They start at zero: a common factor cancels in the intercept, and the first phases count alike. (If the first one
counted fully, its noise would stay in B for 1 / rate phases.) A unit without two different d on a side keeps its row of
B. B needs no scale and no decay. At theta = 0 with white noise an entry has the variance 8 v / m, v the variance of y
from the other units and m the number of patterns on a side; the difference of the two sides' means (``fit="constant"``)
has 2 v / m, and is biased by the slope of correlated drives.

Guerguiev, Kording & Richards 2019, "Spike-based causal inference for weight alignment". (reading) The paper has
leaky integrate-and-fire units and fits the lines by gradient descent; its u is the largest drive in a window of time
without the reset, its y the mean post-synaptic potential. Here a pattern takes one step, and the lines are fitted by
least squares. A regression on u instead of d would be nearly singular for thresholds that are large beside the window.
"""

from __future__ import annotations

__all__ = ["RDD"]

import numpy

from ..backend import Array, xp
from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul
from ..validation import check_between, check_choice, check_positive
from .base import Rule
from .feedback_from_noise import FeedbackFromNoise, by_matrix, noise_shape, show_noise
from .noise import correlated_noise


class RDD(FeedbackFromNoise):
    """Regression discontinuity design: B is the jump of the layer's output where a unit's drive crosses its threshold.

    Args:
        seed, rate, samples, every, warmup_phases: as for `WeightMirror`; here the rate is that of the moments, from
            which each phase computes B: a B that is set or carried over from another rule lasts until the next phase.
        correlation: of any two units' drives, at least 0 and below 1.
        theta, window: threshold of the drive, in [-4, 4), and how far from it patterns count, above 0; the sd is 1.
        fit: "line", a regression on each side; "constant", a mean.

    Raises:
        TypeError, ValueError: an option of the wrong type, or outside its range.

    >>> net = mf.Network([mf.Linear(1, 30), mf.Linear(30, 20)])
    >>> B = mf.rules.RDD(warmup_phases=200, correlation=0.6).attach(net).B["linear2"]
    >>> bool(mf.metrics.angle(net["linear2"].W, B) < 15)  # degrees; of a mirror with this noise: 70
    True
    """

    name = "rdd"
    title = "regression discontinuity"
    equation = "B = jump of E[y] where the drive u crosses theta, y = (u >= theta) W"
    paper = "Guerguiev et al. 2019"
    needs = "phases of noise, and at each synapse the drive before and the activity after; no weight transport"
    update_equation = "moments_new = (1 - rate) * moments + rate * those of this phase\nB = jump at theta"
    statistics = (*Rule.statistics, "/moments")

    def __init__(
        self,
        seed: int = 0,
        rate: float = 0.02,
        samples: int = 128,
        every: int = 1,
        warmup_phases: int = 10,
        correlation: float = 0.0,
        theta: float = 0.0,
        window: float = 0.5,
        fit: str = "line",
    ) -> None:
        super().__init__(seed, rate, samples, every, warmup_phases)
        self.correlation = check_between(correlation, "correlation", 0, 1)
        self.theta = check_between(theta, "theta", -4, 4)
        self.window, self.fit = check_positive(window, "window"), check_choice(fit, "fit", ("line", "constant"))

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            W = layer.matrices(layer.W)
            shape = len(W), 2, len(W[0]), 3 + 2 * W[0].shape[1]  # by matrix and side: S0, S1, S2 as columns, T0, T1
            self.memory[f"{layer.name}/moments"] = xp.zeros(shape, layer.W.dtype)
        super().draw(net)

    def phase(self, layer: Weighted, rng: numpy.random.Generator) -> None:
        d = distances(self, layer, rng)
        matrices = layer.matrices(self.memory[layer.name])
        for i, (B, (W, own)) in enumerate(zip(matrices, by_matrix(layer, d), strict=True)):
            M = self.memory[f"{layer.name}/moments"][i]
            M *= 1 - self.rate
            M += self.rate * moments(own, W, self.window)
            jump, known = fitted_jump(M, self.fit)
            B[...] = xp.where(known, jump, B)


def distances(rule: RDD, layer: Weighted, rng: numpy.random.Generator) -> Array:
    """Random drives u of all inputs, without the threshold theta: (samples, inputs)."""
    u = correlated_noise(rng, noise_shape(layer, rule.samples), 1.0, rule.correlation, layer.W.dtype)
    show_noise(layer, "u", u)
    return u - rule.theta


def moments(d: Array, W: Array, window: float) -> Array:
    """S0, S1, S2 (columns), T0 and T1 of the patterns just above and just below the threshold, (2, fan_in, 3 + 2
    fan_out)."""
    spikes = d >= 0
    y = matmul(spikes.astype(d.dtype), W)
    sides = []
    for side in (spikes & (d < window), ~spikes & (d >= -window)):
        m = side.astype(d.dtype)
        md = m * d
        S = xp.stack([m.mean(axis=0), md.mean(axis=0), (md * d).mean(axis=0)], axis=1)
        sides.append(xp.concatenate([S, matmul(m.T, y) / len(y), matmul(md.T, y) / len(y)], axis=1))
    return xp.stack(sides)


def fitted_jump(M: Array, fit: str = "line") -> tuple[Array, Array]:
    """The difference (fan_in, fan_out) of the fits above and below at the threshold, and for each row whether both
    sides have the patterns that the fit needs, (fan_in, 1)."""
    S0, S1, S2 = M[..., 0:1], M[..., 1:2], M[..., 2:3]
    T0, T1 = xp.split(M[..., 3:], 2, axis=-1)
    if fit == "constant":
        S1, S2 = xp.zeros_like(S1), xp.ones_like(S2)
    determinant = S0 * S2 - S1 * S1
    known = determinant > 1e-4 * S0 * S2  # equal d leave rounding errors
    fits = (S2 * T0 - S1 * T1) / xp.where(known, determinant, xp.ones_like(determinant))
    return fits[0] - fits[1], known[0] & known[1]
