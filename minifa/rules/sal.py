"""Spike-based alignment learning: both directions of a pair of synapses act, and the feedback learns their difference.

    x, v ~ N(0, 1)      y = x @ W + v answers to x,      x' = v @ B.T answers to v
    dB = eta (x.T @ y - x'.T @ v) / n                    what follows a unit's activity minus what precedes it
    E[dB] = eta (W - B)                                  so B -> W

There is no decay and no constant for the size of B: it follows from the ratio of the two noises, here 1. The estimate
is noisier than a mirror's, because v is added to y: at B = W the variance of dB / eta is ((fan_in + 1) w2 + (fan_out +
1) w2 + 1) / n, w2 = mean W^2, about twice the mirror's with He's initialisation.

Gierlich, Baumbach, Kungl, Max & Petrovici 2025, "Spike-based alignment learning solves the weight transport problem".
(reading) The paper's abstract describes Hebbian and anti-Hebbian parts that are driven by noise; its equations could
not be had. This is the open loop, in which each direction answers once. In the closed loop x(t+1) = y(t) @ B.T + xi,
y(t+1) = x(t) @ W + zeta, dB = eta (x(t).T @ y(t+1) - x(t+1).T @ y(t)) / n, B = W is a fixed point for equal noises and
spectral norms below 1; unequal noises push B to (sd x / sd y)^2 W, and beyond a gain of 1 the loop diverges.
"""

from __future__ import annotations

__all__ = ["SAL"]

from collections.abc import Iterator

import numpy

from ..backend import Array
from ..layers.weighted import Weighted
from ..parallel.chunks import matmul
from .feedback_from_noise import FeedbackFromNoise, by_matrix, noise_shape, show_noise
from .noise import drawn_noise


class SAL(FeedbackFromNoise):
    """Spike-based alignment learning, open loop: B changes by what follows minus what precedes.

    Args:
        seed, samples, every, warmup_phases: as for `WeightMirror`.
        rate: eta, in (0, 1].

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    >>> net = mf.Network([mf.Linear(1, 30), mf.Linear(30, 20)])
    >>> B = mf.rules.SAL(warmup_phases=300).attach(net).B["linear2"]
    >>> bool(mf.metrics.angle(net["linear2"].W, B) < 8)  # degrees
    True
    """

    name = "sal"
    title = "spike-based alignment learning"
    equation = "dB = eta (x^T (x W + v) - (v B^T)^T v), x and v noise"
    paper = "Gierlich et al. 2025"
    needs = "phases of equal noise on both sides of each pair of synapses; no weight transport"
    update_equation = "B_new = B + rate * (x.T @ (x @ W + v) - (v @ B.T).T @ v) / samples"

    def __init__(
        self, seed: int = 0, rate: float = 0.02, samples: int = 128, every: int = 1, warmup_phases: int = 10
    ) -> None:
        super().__init__(seed, rate, samples, every, warmup_phases)

    def seen(self, layer: Weighted, rng: numpy.random.Generator) -> Iterator[tuple[Array, float]]:
        dtype, n = layer.W.dtype, self.samples
        noise = drawn_noise(rng, noise_shape(layer, n), 1.0, dtype)
        show_noise(layer, "x", noise)
        for B, (W, x) in zip(layer.matrices(self.memory[layer.name]), by_matrix(layer, noise), strict=True):
            v = drawn_noise(rng, (n, W.shape[1]), 1.0, dtype)
            show_noise(layer, "v", v)
            yield n * B + asymmetry(x, matmul(x, W) + v, matmul(v, B.T), v), n


def asymmetry(x: Array, y_after: Array, x_after: Array, y: Array) -> Array:
    """x.T @ y_after - x_after.T @ y: the correlation of x with what follows it, minus that with what precedes it."""
    return matmul(x.T, y_after) - matmul(x_after.T, y)
