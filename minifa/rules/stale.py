"""Stale transport: the feedback is a copy of the weights that is renewed only every k updates.

    B = W at update  k * floor(t / k)

A control defined by minifa, between backpropagation (k = 1) and a fixed copy of the initial weights (k beyond the last
update). It measures how recent transported weights must be. It is still weight transport, k times less often.
"""

from __future__ import annotations

__all__ = ["Stale"]

from ..backend import Array
from ..layers.weighted import Weighted
from ..network import Network
from ..validation import check_int
from .base import Rule


class Stale(Rule):
    """Control: B is copied from W every ``every`` updates.

    Args:
        seed: not used by this rule.
        every: k, an int of at least 1.

    Raises:
        TypeError: a k that is not an int.
        ValueError: k below 1.

    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1, init="zero")])
    >>> rule = mf.rules.Stale(every=2).attach(net)
    >>> for step in range(4):
    ...     net["linear2"].W += 1
    ...     mf.SGD().step(net, rule)
    ...     print(net["linear2"].W.tolist(), rule.feedback(net["linear2"]).tolist())
    [[1.0]] [[0.0]]
    [[2.0]] [[2.0]]
    [[3.0]] [[2.0]]
    [[4.0]] [[4.0]]
    """

    name = "stale"
    title = "stale copies of the weights (control)"
    equation = "B = W of at most k updates ago"
    paper = "control"
    needs = "every forward weight at its feedback synapse, once every k updates (weight transport)"

    def __init__(self, seed: int = 0, every: int = 100) -> None:
        super().__init__(seed)
        self.every = check_int(every, "every")

    def draw(self, net: Network) -> None:
        self.memory = {layer.name: layer.W.copy() for layer in self.layers_with_feedback(net)}

    def feedback(self, layer: Weighted) -> Array:
        return self.stored_matrix(layer)

    def start_angle(self, layer: Weighted) -> float:
        return 0.0

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feedback_equation(layer)
        return equation.replace("W", "W_old, the weights"), names

    def update_feedback(self, net: Network) -> None:
        if net.step % self.every == 0:
            self.draw(net)
