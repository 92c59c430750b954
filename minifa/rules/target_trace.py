"""What a trace shows of a rule with targets: the target t of each layer, its distance from the output h, and how t and
the local error were computed."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable, Mapping

from ..backend import Array
from ..layers.base import Layer
from ..layers.weighted import Weighted
from ..linalg import norm
from .base import Rule
from .blocks import Block

EQUATIONS = {"linear": "y @ B.T", "last": "f(y @ B.T)", "first": "f(y) @ B.T", "gated": "(y * f'(a)) @ B.T"}  # of g(y)


class TracedTargets(Rule):
    """The part of `minifa.rules.target_rule.TargetRule` that traces read. A rule overrides `target_equation`.

    Attributes:
        heard, sent, ends: as in `TargetRule`.
    """

    heard: dict[str, Array]
    sent: dict[str, Array]
    ends: dict[str, int]
    explanations: Mapping[str, str] = {
        "teach": "The target of the layer's output. The difference between the two is the local error.",
        "feedback": "No error is carried through this layer: the layers below receive targets.",
    }

    def target_equation(self, i: int) -> tuple[str, dict[str, str]]:
        """The equation of `target_of` and the names of its symbols, as `teach_equation` gives them."""
        return "t = the target that the rule's method target_of returns", {}

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"h": f"{layer.name}.y", "eta": "rule.eta"}
        relative = "ratio = norm(t - h) / norm(h)"
        if not self.teaches(layer):
            return f"t = h - eta * n * e\n{relative}", {**names, "e": "e"}
        equation, others = self.target_equation(self.ends[layer.name])
        return f"{equation}\n{relative}\ndelta = (h - t) / (n * eta)", {**names, **others}

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        if layer.name not in self.sent:
            return {}
        h, t = self.heard[layer.name], self.sent[layer.name]
        return {"t": t, "ratio": norm(t - h) / norm(h)}


class TracedMaps(TracedTargets):
    """The same for rules whose targets go down through maps g, with a matrix B for each layer.

    Attributes:
        g: the form of the maps, as in `minifa.rules.way_back`.
        blocks, send: as in `TargetRule` and `minifa.rules.difference_targets.FWDTP`.
    """

    g: str
    blocks: list[Block]
    send: Callable[[int, Array], Array]

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return f"g(y) = {EQUATIONS[self.g]}", super().feedback_equation(layer)[1]

    def target_equation(self, i: int) -> tuple[str, dict[str, str]]:
        g, above = EQUATIONS[self.g], self.blocks[i + 1]
        lines = [f"g_{symbol} = {g.replace('y', f'{symbol}_above')}" for symbol in ("t", "h")]
        end, B = above.end.name, f"{above.layer.name}.B"
        return "\n".join([*lines, "t = h + g_t - g_h"]), {"t_above": f"{end}.t", "h_above": f"{end}.y", "B": B}

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        arrays = super().trace_arrays(layer)
        if self.teaches(layer):
            i = self.ends[layer.name] + 1
            above = self.blocks[i].end.name
            arrays |= {"g_t": self.send(i, self.sent[above]), "g_h": self.send(i, self.heard[above])}
        return arrays
