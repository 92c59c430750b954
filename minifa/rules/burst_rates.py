"""The rates of units with bursts (`minifa.rules.burst` has their equations), and what traces show of them."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Mapping

from ..backend import Array, quietly, xp
from ..layers.activations import Sigmoid, write_sigmoid
from ..layers.base import Layer
from ..layers.weighted import Weighted
from ..parallel.chunks import elementwise
from ..validation import check_str
from .kolen_pollack import KolenPollack

SMALLEST = 1e-30  # in place of a zero in a denominator


class BurstRates(KolenPollack):
    """The part of `minifa.rules.burst` that computes rates for users and traces.

    Attributes:
        top: the layer at whose output the teacher acts.
        units: the names of the hidden Sigmoids.
        heard: the outputs of these layers in the last pass, by name.
        arrived: what arrived at hidden units in the last pass: v, bursts from above (None with inhibition), and delta.
    """

    baseline: float
    kappa: float
    inhibition: bool
    top: Layer
    units: list[str]
    heard: dict[str, Array]
    arrived: dict[str, tuple[Array | None, Array]]
    explanations: Mapping[str, str] = {
        "teach": "The teacher changes p to p_t and b to b_t. The error is the difference, at a Sigmoid divided by the "
        "slope that follows. At hidden units v arrives through B from the bursts above, and dv is its change."
    }

    def teaches(self, layer: Layer) -> bool:
        return layer is self.top or layer.name in self.units

    @quietly
    def rates(self, name: str) -> dict[str, Array]:
        """The rates of a layer's units in the last pass, each (N, ...), by symbol: h, p, p_t, b and b_t; of hidden
        units also dv and, without inhibition, v.

        Args:
            name: of a Sigmoid, or of the last layer.

        Raises:
            TypeError: a name that is not a str.
            ValueError: the last pass has no rates of a layer of this name; before the first one.
        """
        arriving: dict[str, Array] = {}
        if check_str(name, "the name of a layer") in self.arrived:
            v, delta = self.arrived[name]
            h, dv = self.heard[name], -len(delta) * delta
            p, p_t, _ = hidden_probabilities(h, v, dv)
            arriving = {"dv": dv} if v is None else {"v": v, "dv": dv}
        elif self.target is not None and name == self.top.name:
            h = event_rates(self.top, self.heard[name])
            p, p_t = output_probabilities(self, h, self.target)
        else:
            raise ValueError(f"the rule {self.label!r} has taught no units at {name!r} in the last pass")
        return {**arriving, "h": h, "p": p, "p_t": p_t, "b": p * h, "b_t": p_t * h}

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        return self.rates(layer.name) if self.teaches(layer) else {}

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"t": "t", "a": "output", "p_b": "rule.baseline", "kappa": "rule.kappa"}
        return "\n".join(teach_equations(self, layer)), names if layer is self.top else {}

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feedback_equation(layer)
        return equation if self.feedback_learns else "B = the matrix drawn at the start", names


def hidden_probabilities(h: Array, v: Array | None, dv: Array) -> tuple[Array, Array, Array]:
    """p, p_t and p_t - p of hidden units, by the identity

        p_t - p = tanh((u_t - u) / 2) (p (1 - p_t) + p_t (1 - p))

    which keeps all digits of a small difference (the difference itself loses about four in float32). v: see
    `BurstRates.rates`; None: inhibition.
    """
    u = xp.zeros_like(h) if v is None else (1 - h) * v
    du = (1 - h) * dv
    p, p_t = elementwise(write_sigmoid, u), elementwise(write_sigmoid, u + du)
    return p, p_t, xp.tanh(du / 2) * (p * (1 - p_t) + p_t * (1 - p))


def event_rates(top: Layer, output: Array) -> Array:
    """h of the output units: the output of a Sigmoid, else its softmax."""
    if isinstance(top, Sigmoid):
        return output
    h = xp.exp(output - output.max(axis=1, keepdims=True))
    return h / h.sum(axis=1, keepdims=True)


def output_probabilities(rule: BurstRates, h: Array, t: Array) -> tuple[Array, Array]:
    """p and p_t of the output units."""
    p = xp.full_like(h, rule.baseline)
    if isinstance(rule.top, Sigmoid):
        return p, p * (1 + (t - h) * (1 - h))
    return p, xp.minimum(p * (1 + rule.kappa * (t / xp.maximum(h, SMALLEST) - 1)), 1)


def teach_equations(rule: BurstRates, layer: Layer) -> list[str]:
    """The lines of `Rule.teach_equation` for the output units or hidden units of this layer."""
    rates = ["b = p * h", "b_t = p_t * h"]
    slope_follows = "delta = (b - b_t) / (n * h * (1 - h))"  # the Sigmoid multiplies it by h * (1 - h)
    if layer is not rule.top:
        p = "p = 1 / 2" if rule.inhibition else "p = sigmoid((1 - h) * v)"
        p_t = "p_t = sigmoid((1 - h) * dv)" if rule.inhibition else "p_t = sigmoid((1 - h) * (v + dv))"
        return [p, p_t, *rates, slope_follows]
    if isinstance(layer, Sigmoid):
        return ["p = p_b", "p_t = p_b * (1 + (t - h) * (1 - h))", *rates, slope_follows]
    p_t = "p_t = min(p_b * (1 + kappa * (t - h) / h), 1)"
    return ["h = softmax(a)", "p = p_b", p_t, *rates, "delta = (b - b_t) / (kappa * n)"]
