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

from ..backend import Array, xp
from ..layers.weighted import Weighted
from ..linalg import as_matrix
from ..network import Network
from ..parallel.chunks import matmul
from ..rng import gaussian, generator
from ..validation import above_zero, whole
from .base import Rule


class WeightMirror(Rule):
    """Weight mirror. After every ``every``-th weight update, each layer has one noise phase (a look).

    Args:
        seed: keys the random streams of the initial B and the noise.
        rate: fraction by which one look moves B towards its estimate of W, in (0, 1].
        samples: noise patterns per look.
        sigma: standard deviation of the noise; it cancels because the map is linear.
        every: weight updates between looks.
        first_looks: looks before training starts.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    The angle between B and W decreases without any training:

    >>> net = mf.Network([mf.Linear(1, 30), mf.Linear(30, 20)])
    >>> for looks in (0, 20):
    ...     B = mf.rules.WeightMirror(first_looks=looks).attach(net).B["linear2"]
    ...     print(round(float(mf.metrics.angle(net["linear2"].W, B)), -1))
    90.0
    10.0
    """

    name = "weight_mirror"
    title = "weight mirror"
    equation = "dB = eta x^T (x W) - lambda B, x noise"
    paper = "Akrout et al. 2019"
    needs = "phases in which noise alone drives each layer; no transport of weights"

    def __init__(
        self,
        seed: int = 0,
        rate: float = 0.1,
        samples: int = 128,
        sigma: float = 1.0,
        every: int = 1,
        first_looks: int = 10,
    ) -> None:
        super().__init__(seed)
        self.rate, self.sigma = above_zero(rate, "rate"), above_zero(sigma, "sigma")
        if rate > 1:
            raise ValueError(f"rate must be at most 1, got {rate}")
        self.samples, self.every = whole(samples, "samples"), whole(every, "every")
        self.first_looks = whole(first_looks, "first_looks", least=0)

    def draw(self, net: Network) -> None:
        for layer in self.senders(net):
            self.memory[layer.name] = self.draw_matrix(layer)
            for i in range(self.first_looks):
                self.look(layer, f"/start{i}", net.step)

    def feedback(self, layer: Weighted) -> Array:
        return self.recall(layer)

    def feeding(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return "B = what it has learned so far", super().feeding(layer)[1]

    def update_feedback(self, net: Network) -> None:
        if net.step % self.every == 0:
            for layer in self.senders(net):
                self.look(layer, "", net.step)

    def look(self, layer: Weighted, phase: str, step: int) -> None:
        """One noise phase of one layer: B <- (1 - rate) B + rate * x.T @ (x @ W) / (n sigma^2)."""
        B, W = as_matrix(self.memory[layer.name]), as_matrix(layer.W)
        rng = generator(self.seed, "noise", layer.name + phase, step)
        x = xp.asarray(gaussian(rng, (self.samples, len(W)), self.sigma).astype(W.dtype))  # (n, fan_in)
        seen = matmul(x.T, matmul(x, W))
        B *= 1 - self.rate
        B += self.rate / (self.samples * self.sigma**2) * seen
