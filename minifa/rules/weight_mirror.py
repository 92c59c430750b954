"""Weight mirrors: the feedback learns the weights from the correlation of noise inputs with their outputs.

    y = x @ W,  x ~ N(0, sigma^2)        dB = eta x.T @ y / n - lambda B,   lambda = eta sigma^2
    E[x.T @ y / n] = sigma^2 W           so B -> W

Akrout et al. 2019, "Deep learning without weight transport". Differences from the authors' code: the mirror uses
only the linear map (no bias, activation or norm), the mean over the batch, and a decay that keeps the norm of B (theirs
has none). With rate = eta sigma^2 this is B <- (1 - rate) B + rate * x.T @ y / (n sigma^2). A convolution's noise is
drawn on patches: on zero-padded images B would be biased, because the outer elements of a kernel multiply zeros at the
border.
"""

from __future__ import annotations

__all__ = ["WeightMirror"]

from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul
from ..validation import check_int, check_positive
from .learned_feedback import LearnedFeedback
from .noise import white_noise


class WeightMirror(LearnedFeedback):
    """Weight mirror. After every ``every``-th weight update, each layer has one mirror phase, driven by noise.

    Args:
        seed: keys the random streams of the initial B and the noise.
        rate: fraction by which one phase moves B towards its estimate of W, in (0, 1].
        samples: noise patterns per phase.
        sigma: standard deviation of the noise; it cancels because the map is linear.
        every: weight updates between phases.
        warmup_phases: mirror phases before training starts.

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
    ) -> None:
        super().__init__(seed)
        self.rate, self.sigma = check_positive(rate, "rate"), check_positive(sigma, "sigma")
        if rate > 1:
            raise ValueError(f"rate must be at most 1, got {rate}")
        self.samples, self.every = check_int(samples, "samples"), check_int(every, "every")
        self.warmup_phases = check_int(warmup_phases, "warmup_phases", least=0)

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            for i in range(self.warmup_phases):
                mirror_phase(self, layer, f"/start{i}", net.step)

    def start_angle(self, layer: Weighted) -> None:
        return None  # the warm-up phases have aligned B already

    def update_feedback(self, net: Network) -> None:
        if net.step % self.every == 0:
            for layer in self.layers_with_feedback(net):
                mirror_phase(self, layer, "", net.step)


def mirror_phase(rule: WeightMirror, layer: Weighted, phase: str, step: int) -> None:
    """One noise phase of one layer: B <- (1 - rate) B + rate * x.T @ (x @ W) / (n sigma^2)."""
    pairs = list(zip(layer.matrices(rule.memory[layer.name]), layer.matrices(layer.W), strict=True))  # by group
    fan_in = layer.fans[0]
    shape = rule.samples, len(pairs) * fan_in
    noise = white_noise(rule.seed, layer.name + phase, step, shape, rule.sigma, layer.W.dtype)
    for i, (B, W) in enumerate(pairs):
        x = noise[:, i * fan_in : (i + 1) * fan_in]
        correlation = matmul(x.T, matmul(x, W))
        B *= 1 - rule.rate
        B += rule.rate / (rule.samples * rule.sigma**2) * correlation
