"""The base class of rules whose feedback learns the weights from answers to noise.

    B <- (1 - rate) B + rate * seen       seen: the rule's estimate of W from n patterns of noise

A rule of this family is its `seen`. In equilibrium the estimates of 2 / rate phases are averaged: with an unbiased
estimate whose error has the mean square v, B has the mean squared error v rate / (2 - rate), so that the tangent of the
angle between B and W is sqrt(v rate / (2 - rate) / mean W^2). Half the angle takes a quarter of the rate.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Iterator

import numpy

from ..backend import Array
from ..layers.observer import active
from ..layers.weighted import Weighted
from ..network import Network
from ..rng import generator
from ..validation import check_int, check_positive
from .learned_feedback import LearnedFeedback


class FeedbackFromNoise(LearnedFeedback):
    """After every ``every``-th weight update, each layer has one phase of noise, in which its B moves towards W.

    Args:
        seed: keys the random streams of the initial B and of the noise.
        rate: fraction by which one phase moves B towards its estimate of W, in (0, 1].
        samples: noise patterns per phase.
        every: weight updates between phases.
        warmup_phases: phases before training starts.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.
    """

    def __init__(self, seed: int, rate: float, samples: int, every: int, warmup_phases: int) -> None:
        super().__init__(seed)
        self.rate = check_positive(rate, "rate", most=1)
        self.samples, self.every = check_int(samples, "samples"), check_int(every, "every")
        self.warmup_phases = check_int(warmup_phases, "warmup_phases", least=0)

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            for i in range(self.warmup_phases):
                self.phase(layer, generator(self.seed, "noise", f"{layer.name}/start{i}", net.step))

    def start_angle(self, layer: Weighted) -> float | None:
        return None if self.warmup_phases else super().start_angle(layer)  # the phases have aligned B already

    def update_feedback(self, net: Network) -> None:
        if net.step % self.every == 0:
            for layer in self.layers_with_feedback(net):
                self.phase(layer, generator(self.seed, "noise", layer.name, net.step))

    def phase(self, layer: Weighted, rng: numpy.random.Generator) -> None:
        """One phase of one layer: move B towards the estimate."""
        matrices = layer.matrices(self.memory[layer.name])
        for B, (total, count) in zip(matrices, self.seen(layer, rng), strict=True):
            B *= 1 - self.rate
            B += self.rate / count * total

    def seen(self, layer: Weighted, rng: numpy.random.Generator) -> Iterator[tuple[Array, float]]:
        """For each of the layer's matrices, in the order of `minifa.layers.Weighted.matrices`, the estimate of W as a
        sum over patterns of noise, of W's shape, and the number that the sum is to be divided by."""
        raise NotImplementedError


def by_matrix(layer: Weighted, noise: Array) -> list[tuple[Array, Array]]:
    """Each of the layer's matrices with the noise on its own inputs: columns of the noise, `noise_shape`."""
    matrices = layer.matrices(layer.W)
    fan_in = len(matrices[0])
    return [(W, noise[:, i * fan_in : (i + 1) * fan_in]) for i, W in enumerate(matrices)]


def show_noise(layer: Weighted, symbol: str, noise: Array) -> None:
    """Let a trace show the noise from which the feedback of this layer learns, by its symbol in the rule's equation."""
    if (observer := active.get()) is not None:
        observer.on_noise(layer, symbol, noise)


def noise_shape(layer: Weighted, samples: int) -> tuple[int, int]:
    """(samples, inputs of all the layer's matrices): the inputs of a convolution are the elements of a patch."""
    matrices = layer.matrices(layer.W)
    return samples, len(matrices) * len(matrices[0])
