"""Phaseless alignment learning: noise rides on the activity of a batch, and a high-pass filter recovers the answer.

    y = (x + xi) @ W,   x the layer's input in this batch,   xi ~ N(0, sigma^2)
    seen = xi.T @ highpass(y) / (n sigma^2),   E[seen] = W

A weight mirror without phases of its own: for the noise, the signal is the noise. What the filter leaves of it adds to
the variance of an entry of seen, (P / sigma^2 + (fan_in + 1) mean W^2) / n, where P is the mean square of what is left:

    highpass="mean"      y - its mean over the batch, n - 1 for n     P = variance of x @ W over the batch
    highpass="raw"       y                                            P = mean square of x @ W
    highpass="clean"     y - x @ W = xi @ W                           P = 0: exactly a mirror's phase

The noise does not enter the forward pass from which the weights learn. Noise before an activation f would be multiplied
by f' on its way to y, and B would converge to diag(E f') W. The rows of a convolution are patches: a clean output
position, plus a patch of noise times W, so that zeros at the border do not bias B.

Max et al. 2022, "Learning efficient backprojections across cortical hierarchies in real time". (reading) In the paper
noise and filter are processes in time, dB = eta (xi highpass(r) - alpha B); here a batch takes the place of the time
over which the filter averages.
"""

from __future__ import annotations

__all__ = ["PAL"]

import itertools
from collections.abc import Iterator

import numpy

from ..backend import Array, xp
from ..layers.base import Listen, Pass
from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul
from ..validation import check_choice, check_int, check_positive
from .asap import weighted_layers
from .feedback_from_noise import FeedbackFromNoise, show_noise
from .noise import drawn_noise


class PAL(FeedbackFromNoise):
    """Phaseless alignment learning: B is the correlation of noise on the batch's activity with the layer's output.

    Args:
        seed, rate: as for `WeightMirror`.
        samples: how many examples of a batch are used at most, at least 2; of a convolution as many positions, drawn.
        sigma: standard deviation of the noise, above 0; where it is large, the signal disturbs less.
        highpass: "mean", "raw" or "clean", see above. With "mean" a batch of one example leaves B as it is.

    Raises:
        TypeError, ValueError: an option of the wrong type, or outside its range.

    >>> net, x = mf.Network([mf.Linear(4, 30), mf.Tanh(), mf.Linear(30, 20)]), mf.asarray(np.eye(64, 4))
    >>> rule, targets = mf.rules.PAL().attach(net), mf.asarray(np.zeros((64, 20)))
    >>> for step in range(300):
    ...     value = rule.gradients(net, x, targets, mf.HalfSquaredError())
    ...     mf.SGD(lr=0.0).step(net, rule)
    >>> bool(mf.metrics.angle(net["linear2"].W, rule.B["linear2"]) < 8)  # degrees
    True
    """

    name = "pal"
    title = "phaseless alignment learning"
    equation = "dB = eta (xi^T highpass((x + xi) W) / sigma^2 - B), xi noise"
    paper = "Max et al. 2022"
    needs = "noise on every unit's activity, known at its synapse, and a high-pass filter above; no phases"
    update_equation = "B_new = (1 - rate) * B + rate * xi.T @ highpass((x + xi) @ W) / ((n - 1) * sigma^2)"

    def __init__(
        self, seed: int = 0, rate: float = 0.02, samples: int = 128, sigma: float = 1.0, highpass: str = "mean"
    ) -> None:
        super().__init__(seed, rate, check_int(samples, "samples", least=2), every=1, warmup_phases=0)
        self.sigma = check_positive(sigma, "sigma")
        self.highpass = check_choice(highpass, "highpass", ("mean", "raw", "clean"))

    def draw(self, net: Network) -> None:
        super().draw(net)
        self.inputs = {layer.name: below for layer, below, _ in weighted_layers(net.layers)}
        self.heard: dict[str, Array] = {}  # by name of a layer that such a layer reads: its output in the last pass

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen([self.inputs[name] for name in self.memory], True, net.step, update_statistics)
        self.heard = listen.outputs
        return listen

    def update_feedback(self, net: Network) -> None:
        if len(self.require(self.error)) > 1 or self.highpass != "mean":
            super().update_feedback(net)

    def seen(self, layer: Weighted, rng: numpy.random.Generator) -> Iterator[tuple[Array, float]]:
        assert self.batch is not None
        below = self.inputs[layer.name]
        x = self.heard[below] if below else self.batch.x
        for W, y in clean_outputs(layer, x, self.samples, rng):
            xi = drawn_noise(rng, (len(y), len(W)), self.sigma, y.dtype)
            show_noise(layer, "xi", xi)
            total, count = correlation(xi, y, matmul(xi, W), self.highpass)
            yield total, count * self.sigma**2


def clean_outputs(layer: Weighted, x: Array, samples: int, rng: numpy.random.Generator) -> list[tuple[Array, Array]]:
    """Each of the layer's matrices with its outputs, without the bias, for a batch: at most ``samples`` rows."""
    matrices = layer.matrices(layer.W)
    ends = list(itertools.accumulate(W.shape[1] for W in matrices))
    y = layer.project(x[:samples], layer.W).reshape(-1, ends[-1])
    if len(y) > samples:
        y = y[xp.asarray(rng.choice(len(y), samples, replace=False))]
    return [(W, y[:, end - W.shape[1] : end]) for W, end in zip(matrices, ends, strict=True)]


def correlation(xi: Array, clean: Array, moved: Array, highpass: str = "mean") -> tuple[Array, int]:
    """xi.T @ highpass(clean + moved), and the number of degrees of freedom by which it is to be divided.

    Args:
        xi: the noise (n, fan_in).
        clean: the layer's output without the noise, (n, fan_out).
        moved: how the noise changes it.
        highpass: as for `PAL`.
    """
    if highpass == "clean":
        return matmul(xi.T, moved), len(xi)
    y = clean + moved
    if highpass == "raw":
        return matmul(xi.T, y), len(xi)
    return matmul(xi.T, y - y.mean(axis=0)), len(xi) - 1
