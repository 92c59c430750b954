"""Activation functions with their derivatives. The derivative is exact under every learning rule."""

from __future__ import annotations

__all__ = ["LeakyReLU", "ReLU", "Sigmoid", "Tanh"]

import math
from typing import Any

from .. import extension_checks
from ..array_checks import require_float
from ..backend import Array, quietly, xp
from ..parallel.chunks import elementwise
from ..validation import check_float
from .base import Layer, Pass, Teacher


class Activation(Layer):
    """The base class of elementwise activations y = f(x). Subclasses implement `f` and `times_slope`."""

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        if not ctx.inputs_checked:
            require_float(x, self)
        y = elementwise(self.f, x)
        self.cache = y if ctx.training else None
        return y

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        y = self.cached()
        self.check_error(delta, y.shape)
        return elementwise(self.times_slope, delta, y)

    def f(self, y: Array, x: Array) -> None:
        """Write f(x) into y."""
        raise extension_checks.not_implemented(self, "f", "(self, y, x): f(x), written into y")

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        """Write delta * f'(x) into below; f' is computed from the output y = f(x)."""
        contract = "(self, below, delta, y): delta * f'(x), written into below, with f' computed from y = f(x)"
        raise extension_checks.not_implemented(self, "times_slope", contract)


class ReLU(Activation):
    """f(x) = max(x, 0); f'(x) = 1 where x > 0, else 0 (also at x = 0).

    >>> relu = mf.ReLU()
    >>> relu.forward(mf.asarray([[-3.0, 0.0, 2.0]]), mf.Pass(training=True)).tolist()
    [[0.0, 0.0, 2.0]]
    >>> relu.backward(mf.asarray([[5.0, 5.0, 5.0]]), mf.rules.BP()).tolist()
    [[0.0, 0.0, 5.0]]
    """

    kind = "relu"
    equation = "y = max(x, 0)"
    error_equation = "delta_below = delta * (y > 0)"

    def f(self, y: Array, x: Array) -> None:
        x.clip(0.0, math.inf, out=y)  # NumPy's maximum with a scalar takes three times as long

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        xp.multiply(delta, y > 0, out=below)


class LeakyReLU(Activation):
    """f(x) = x where x > 0, else a * x; f'(x) = 1 where x > 0, else a.

    Args:
        negative_slope: the slope a for x <= 0; above 0, so that the output has the sign of x.
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: a is not above 0.

    >>> mf.LeakyReLU(0.25).forward(mf.asarray([[-8.0, 8.0]]), mf.Pass()).tolist()
    [[-2.0, 8.0]]
    """

    kind = "leakyrelu"
    equation = "y = where(x > 0, x, a * x)"
    error_equation = "delta_below = delta * where(y > 0, 1, a)"

    def __init__(self, negative_slope: float = 0.01, name: str | None = None) -> None:
        super().__init__(name)
        if not 0 < check_float(negative_slope, f"negative_slope of {self}") < math.inf:
            raise ValueError(f"negative_slope of {self} must be above 0, got {negative_slope}: for 0 use ReLU")
        self.negative_slope = float(negative_slope)

    def symbols(self) -> dict[str, Any]:
        return {"a": self.negative_slope}

    def f(self, y: Array, x: Array) -> None:
        xp.multiply(x, self._slope(x), out=y)

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        xp.multiply(delta, self._slope(y), out=below)

    def _slope(self, sign: Array) -> Array:
        return xp.where(sign > 0, sign.dtype.type(1), sign.dtype.type(self.negative_slope))


class Tanh(Activation):
    """f(x) = tanh(x); f'(x) = 1 - tanh(x)^2.

    >>> tanh = mf.Tanh()
    >>> tanh.forward(mf.asarray([[0.0, 100.0]]), mf.Pass(training=True)).tolist()
    [[0.0, 1.0]]
    >>> tanh.backward(mf.asarray([[5.0, 5.0]]), mf.rules.BP()).tolist()  # not where saturated
    [[5.0, 0.0]]
    """

    kind = "tanh"
    equation = "y = tanh(x)"
    error_equation = "delta_below = delta * (1 - y^2)"

    def f(self, y: Array, x: Array) -> None:
        xp.tanh(x, out=y)

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        xp.multiply(delta, 1 - y * y, out=below)


class Sigmoid(Activation):
    """f(x) = 1 / (1 + exp(-x)), computed without overflow and accurate for large negative x; f' = f (1 - f).

    >>> mf.Sigmoid().forward(mf.asarray([[-1000.0, 0.0, 1000.0]]), mf.Pass()).tolist()
    [[0.0, 0.5, 1.0]]
    """

    kind = "sigmoid"
    equation = "y = 1 / (1 + exp(-x))"
    error_equation = "delta_below = delta * y * (1 - y)"

    def f(self, y: Array, x: Array) -> None:
        xp.exp(xp.minimum(x, 0), out=y)
        y /= 1 + xp.exp(-xp.abs(x))

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        xp.multiply(delta, y * (1 - y), out=below)
