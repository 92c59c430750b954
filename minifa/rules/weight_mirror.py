"""Weight mirrors: the feedback learns the weights from the correlation of noise inputs with their outputs.

    y = x @ W,  x ~ N(0, sigma^2)        dB = eta x.T @ y / n - lambda B,   lambda = eta sigma^2
    E[x.T @ y / n] = sigma^2 W           so B -> W

Akrout et al. 2019, "Deep learning without weight transport". Differences from the authors' code: the mirror uses
only the linear map (no bias, activation or norm), the mean over the batch, and a decay that keeps the norm of B (theirs
has none). With rate = eta sigma^2 this is B <- (1 - rate) B + rate * x.T @ y / (n sigma^2). A convolution's noise is
drawn on patches: on zero-padded images B would be biased, because the outer elements of a kernel multiply zeros at the
border.

Where the noise of different inputs is correlated, E[x.T @ y / n] = sigma^2 C W with the matrix C of correlations, and
B -> C @ W: an input gets a part of the effect of every input with which it is active (see `rdd`).
"""

from __future__ import annotations

__all__ = ["WeightMirror"]

from collections.abc import Iterator

import numpy

from ..backend import Array
from ..layers.weighted import Weighted
from ..parallel.chunks import matmul
from ..validation import check_between, check_choice, check_positive
from .feedback_from_noise import FeedbackFromNoise, by_matrix, noise_shape, show_noise
from .noise import correlated_noise


class WeightMirror(FeedbackFromNoise):
    """Weight mirror. After every ``every``-th weight update, each layer has one mirror phase, driven by noise.

    Args:
        seed: keys the random streams of the initial B and the noise.
        rate: fraction by which one phase moves B towards its estimate of W, in (0, 1].
        samples: noise patterns per phase.
        sigma: standard deviation of the noise; it cancels because the map is linear.
        every: weight updates between phases.
        warmup_phases: mirror phases before training starts.
        correlation: c of the Gaussian noise of any two inputs, at least 0 and below 1.
        noise: "gaussian", or "spikes": sigma times its sign, a spike or none with the mean subtracted. Two inputs then
            have the correlation 2/pi arcsin(c).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    The angle between B and W decreases without any training:

    >>> net = mf.Network([mf.Linear(1, 30), mf.Linear(30, 20)])
    >>> for phases in (0, 20):
    ...     B = mf.rules.WeightMirror(warmup_phases=phases).attach(net).B["linear2"]
    ...     print(round(float(mf.metrics.angle(net["linear2"].W, B)), -1))
    90.0
    10.0
    """

    name = "weight_mirror"
    title = "weight mirror"
    equation = "dB = eta x^T (x W) - lambda B, x noise"
    paper = "Akrout et al. 2019"
    needs = "phases in which only noise drives each layer; no weight transport"

    def __init__(
        self,
        seed: int = 0,
        rate: float = 0.1,
        samples: int = 128,
        sigma: float = 1.0,
        every: int = 1,
        warmup_phases: int = 10,
        correlation: float = 0.0,
        noise: str = "gaussian",
    ) -> None:
        super().__init__(seed, rate, samples, every, warmup_phases)
        self.sigma, self.correlation = check_positive(sigma, "sigma"), check_between(correlation, "correlation", 0, 1)
        self.noise = check_choice(noise, "noise", ("gaussian", "spikes"))

    def seen(self, layer: Weighted, rng: numpy.random.Generator) -> Iterator[tuple[Array, float]]:
        shape = noise_shape(layer, self.samples)
        noise = correlated_noise(rng, shape, self.sigma, self.correlation, layer.W.dtype)
        if self.noise == "spikes":
            noise = self.sigma * (2 * (noise >= 0).astype(noise.dtype) - 1)
        show_noise(layer, "x", noise)
        for W, x in by_matrix(layer, noise):
            yield matmul(x.T, matmul(x, W)), self.samples * self.sigma**2
