"""The base class of rules whose feedback matrices are drawn like the weights and then learn."""

from __future__ import annotations

__all__: list[str] = []

from ..backend import Array
from ..layers.weighted import Weighted
from ..network import Network
from .base import Rule


class LearnedFeedback(Rule):
    """B is drawn from W's initialiser and stored in `memory`; a subclass updates it."""

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            self.memory[layer.name] = self.draw_matrix(layer)

    def feedback(self, layer: Weighted) -> Array:
        return self.stored_matrix(layer)

    def feedback_shape(self, layer: Weighted) -> tuple[int, ...]:
        return layer.weight_shape

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return "B = the matrix after all its updates", super().feedback_equation(layer)[1]

    def start_angle(self, layer: Weighted) -> float | None:
        return None if layer.init.is_nonnegative else 90.0
