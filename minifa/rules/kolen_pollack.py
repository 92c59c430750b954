"""Kolen-Pollack learning: the feedback receives the weight's own update, and decay makes them meet.

::

    dW = columns(x).T @ delta      dB = dW           both with the optimizer's decay: W - B shrinks by its factor
    direct form                    dF = h.T @ e      h the taught layer's activity, the same decay

Kolen & Pollack 1994, "Backpropagation without weight transport"; Akrout et al. 2019, "Deep learning without weight
transport"; the direct form: Webster, Choi & Ahn 2021, "Learning the connections in direct feedback alignment". Without
weight decay W - B is conserved, and the angle falls only because the part that both share grows.
"""

from __future__ import annotations

from ..backend import Array, matmul
from ..layers.base import Layer, Walk, Weighted
from ..network import Network
from .base import Rule
from .direct import DFA


class KolenPollack(Rule):
    """B starts at random and moves as W does, by the same optimizer with its own state. Give the optimizer a weight
    decay."""

    name = "kolen_pollack"
    title = "Kolen-Pollack"
    equation = "dB = dW, both decay"
    paper = "Kolen & Pollack 1994; Akrout et al. 2019"
    needs = "the forward synapse's update at the feedback synapse, and weight decay at both; no transport of weights"
    weight_decay = 0.01

    def draw(self, net: Network) -> None:
        for layer in self.senders(net):
            self.memory[layer.name] = self.draw_matrix(layer)

    def feedback(self, layer: Weighted) -> Array:
        return self.recall(layer)

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        assert self.net is not None
        learning = [layer for layer in self.senders(self.net) if layer.grads["W"] is not None]
        return {layer.name: (self.memory[layer.name], layer.grads["W"]) for layer in learning}


class DirectKolenPollack(DFA):
    """Direct feedback whose matrices learn: dF = h.T @ e, by the optimizer with its decay, as the weights do."""

    name = "direct_kolen_pollack"
    title = "direct Kolen-Pollack"
    equation = "delta = e F^T, dF = h^T e, decay"
    paper = "Webster et al. 2021"
    needs = "the output's error at every layer, and each unit's activity at its feedback synapses"
    weight_decay = 0.01

    def __init__(self, seed: int = 0, at: str = "activation", family: str = "uniform", sd: float | None = None) -> None:
        super().__init__(seed, at, family, sd)  # learned matrices cannot be slices of one

    def walk(self, net: Network, update_statistics: bool = True) -> Walk:
        self.activity: dict[str, Array] = {}
        return _Remember(self, net.step, update_statistics)

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        error = self.known(self.arriving)
        return {name: (F, matmul(self.activity[name].reshape(len(error), -1).T, error)) for name, F in self.F.items()}


class _Remember(Walk):
    """A training pass that keeps what the taught layers say."""

    def __init__(self, rule: DirectKolenPollack, step: int, update_statistics: bool) -> None:
        super().__init__(training=True, step=step, update_statistics=update_statistics)
        self.rule = rule

    def after(self, layer: Layer, y: Array) -> Array:
        if self.rule.teaches(layer):
            self.rule.activity[layer.name] = y
        return y
