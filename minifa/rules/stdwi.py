"""Spike-timing-dependent weight inference: the feedback learns from the spikes of the unit above, one bit per pattern.

    x ~ Bernoulli(r) - r,   p = clip(r_out + g * (x @ W), 0, 1),   s ~ Bernoulli(p)
    seen = x.T @ (s - mean s) / ((n - 1) r (1 - r) g),   g = min(r_out, 1 - r_out) / (4 sd of x @ W)

Without clipping E[seen] = W. Each output unit has its own g. It keeps the standard deviation of p at r_out / 4, above
r_out = 1/2 at (1 - r_out) / 4, so that p is clipped beyond four standard deviations only; sd^2 = r (1 - r) sum_i
W_ij^2, computed from W. The n - 1 corrects for the mean of s, which is that of the same patterns. Beside a mirror,
which receives y as a number, a spike costs 16 (1 - r_out) / r_out times the patterns for the same angle (above 1/2 the
inverse of this ratio): 37 at r_out = 0.3.

Ahmad, Ambrogioni & van Gerven 2020, "Overcoming the weight transport problem via spike-timing-dependent weight
inference". (reading) The paper's rule reads at each spike of unit j the difference of a fast and a slow trace of the
spikes of input i, dB_ij = eta (fast - slow - alpha B_ij). Here the time constants are shorter than a step of time: the
fast trace is the input's spike in this step, the slow one its rate.
"""

from __future__ import annotations

__all__ = ["STDWI"]

import math
from collections.abc import Iterator

import numpy

from ..backend import Array, xp
from ..layers.weighted import Weighted
from ..parallel.chunks import matmul
from ..validation import check_between, check_int, check_positive
from .feedback_from_noise import FeedbackFromNoise, by_matrix, noise_shape, show_noise


class STDWI(FeedbackFromNoise):
    """Spike-timing-dependent weight inference: B is the mean input at a spike of the unit above.

    Args:
        seed, rate, every, warmup_phases: as for `WeightMirror`.
        samples: patterns per phase, at least 2.
        r: probability of a spike of an input, above 0 and below 1.
        r_out: mean probability of a spike of an output unit, above 0 and below 1.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    >>> net = mf.Network([mf.Linear(1, 30), mf.Linear(30, 20)])
    >>> B = mf.rules.STDWI(warmup_phases=300).attach(net).B["linear2"]
    >>> round(float(mf.metrics.angle(net["linear2"].W, B)), -1)
    20.0
    """

    name = "stdwi"
    title = "spike-timing-dependent weight inference"
    equation = "dB = eta (x^T (s - mean s) / (r (1 - r) g) - B), s spikes"
    paper = "Ahmad et al. 2020"
    needs = "phases of random spikes, a gain control of each unit, and nothing of the unit above but its spikes"
    update_equation = "B_new = (1 - rate) * B + rate * x.T @ (s - mean s) / ((samples - 1) * r * (1 - r) * g)"

    def __init__(
        self,
        seed: int = 0,
        rate: float = 0.02,
        samples: int = 128,
        every: int = 1,
        warmup_phases: int = 10,
        r: float = 0.2,
        r_out: float = 0.3,
    ) -> None:
        super().__init__(seed, rate, check_int(samples, "samples", least=2), every, warmup_phases)
        self.r = check_between(check_positive(r, "r"), "r", 0, 1)
        self.r_out = check_between(check_positive(r_out, "r_out"), "r_out", 0, 1)

    def seen(self, layer: Weighted, rng: numpy.random.Generator) -> Iterator[tuple[Array, float]]:
        dtype, variance, spread = layer.W.dtype, self.r * (1 - self.r), min(self.r_out, 1 - self.r_out) / 4
        spikes = xp.asarray((rng.random(noise_shape(layer, self.samples)) < self.r).astype(dtype))
        show_noise(layer, "x", spikes - self.r)
        for W, x in by_matrix(layer, spikes - self.r):
            sd = math.sqrt(variance) * xp.sqrt((W * W).sum(axis=0))  # of x @ W; 0: a unit without weights
            p = self.r_out + spread * matmul(x, W) / xp.where(sd > 0, sd, xp.ones_like(sd))
            s = (xp.asarray(rng.random(p.shape).astype(dtype)) < p).astype(dtype)
            trigger = matmul(x.T, s - s.mean(axis=0))
            yield trigger * (sd / spread), (self.samples - 1) * variance
