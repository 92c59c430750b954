"""Activation functions with their derivatives. The derivative is exact under every learning rule."""

from __future__ import annotations

__all__ = ["ELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"]

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

    slope_of_input = False  # whether f' is computed from x, because y does not determine it
    sends_targets = True

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        if not ctx.inputs_checked:
            require_float(x, self)
        y = elementwise(self.f, x)
        self.cache = (x if self.slope_of_input else y) if ctx.training else None
        return y

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        cached = self.cached()
        self.check_error(delta, cached.shape)
        return elementwise(self.times_slope, delta, cached)

    def symbols(self) -> dict[str, Any]:
        return {"x": self.cache} if self.slope_of_input and self.cache is not None else {}

    def f(self, y: Array, x: Array) -> None:
        """Write f(x) into y."""
        raise extension_checks.not_implemented(self, "f", "(self, y, x): f(x), written into y")

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        """Write delta * f'(x) into below; f' is computed from the output y = f(x), or, if `slope_of_input` is set, from
        x, which is then the last argument."""
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
        xp.greater(y, 0, out=below)  # 1 or 0; a product with a Boolean array would copy it first
        below *= delta


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
        write_sigmoid(y, x)

    def times_slope(self, below: Array, delta: Array, y: Array) -> None:
        xp.multiply(delta, y * (1 - y), out=below)


def write_sigmoid(y: Array, x: Array) -> None:
    """y = 1 / (1 + exp(-x))."""
    xp.exp(xp.minimum(x, 0), out=y)
    y /= 1 + xp.exp(-xp.abs(x))


class SiLU(Activation):
    """f(x) = x * sigmoid(x), also called swish; f' = s (1 + x (1 - s)) with s = sigmoid(x).

    >>> [round(float(y), 4) for y in mf.SiLU().forward(mf.asarray([[-2.0, 0.0, 100.0]]), mf.Pass())[0]]
    [-0.2384, 0.0, 100.0]
    """

    kind = "silu"
    equation = "y = x / (1 + exp(-x))"
    error_equation = "s = 1 / (1 + exp(-x))\ndelta_below = delta * s * (1 + x * (1 - s))"
    slope_of_input = True

    def f(self, y: Array, x: Array) -> None:
        write_sigmoid(y, x)
        y *= x

    def times_slope(self, below: Array, delta: Array, x: Array) -> None:
        write_sigmoid(below, x)
        below *= 1 + x * (1 - below)
        below *= delta


class ELU(Activation):
    """f(x) = x where x > 0, else alpha (exp(x) - 1); f' = 1 where x > 0, else alpha exp(x) (Clevert et al. 2016).

    Args:
        alpha: minus the limit of f for x to minus infinity.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: alpha is not a number.
        ValueError: alpha is not finite.

    >>> mf.ELU(alpha=2.0).forward(mf.asarray([[-100.0, 0.0, 8.0]]), mf.Pass()).tolist()
    [[-2.0, 0.0, 8.0]]
    """

    kind = "elu"
    equation = "y = where(x > 0, x, alpha * (exp(x) - 1))"
    error_equation = "delta_below = delta * where(x > 0, 1, alpha * exp(x))"
    slope_of_input = True

    def __init__(self, alpha: float = 1.0, name: str | None = None) -> None:
        super().__init__(name)
        self.alpha = check_float(alpha, f"alpha of {self}")
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha of {self} must be a finite number, got {alpha}")

    def symbols(self) -> dict[str, Any]:
        return {**super().symbols(), "alpha": self.alpha}

    def f(self, y: Array, x: Array) -> None:
        y[...] = xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0)))

    def times_slope(self, below: Array, delta: Array, x: Array) -> None:
        xp.multiply(delta, xp.where(x > 0, x.dtype.type(1), self.alpha * xp.exp(xp.minimum(x, 0))), out=below)


class Softplus(Activation):
    """f(x) = log(1 + exp(beta x)) / beta, a smooth ReLU; f' = sigmoid(beta x).

    Args:
        beta: steepness at x = 0, above 0.
        threshold: where beta x is larger, f(x) = x, as in PyTorch. (The formula is accurate for every x.)
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: beta or threshold is not a number.
        ValueError: beta is not above 0, or threshold is not finite.

    >>> [round(float(y), 4) for y in mf.Softplus().forward(mf.asarray([[-100.0, 0.0, 100.0]]), mf.Pass())[0]]
    [0.0, 0.6931, 100.0]
    """

    kind = "softplus"
    equation = "y = where(beta * x > threshold, x, log(1 + exp(beta * x)) / beta)"
    error_equation = "delta_below = delta * where(beta * x > threshold, 1, 1 / (1 + exp(-beta * x)))"
    slope_of_input = True

    def __init__(self, beta: float = 1.0, threshold: float = 20.0, name: str | None = None) -> None:
        super().__init__(name)
        self.beta, self.threshold = check_float(beta, f"beta of {self}"), check_float(threshold, f"threshold of {self}")
        if not 0 < self.beta < math.inf or not math.isfinite(self.threshold):
            raise ValueError(
                f"{self} must have beta > 0 and a finite threshold, got beta={beta}, threshold={threshold}"
            )

    def symbols(self) -> dict[str, Any]:
        return {**super().symbols(), "beta": self.beta, "threshold": self.threshold}

    def f(self, y: Array, x: Array) -> None:
        scaled = self.beta * x
        y[...] = xp.where(scaled > self.threshold, x, xp.logaddexp(scaled, 0) / self.beta)

    def times_slope(self, below: Array, delta: Array, x: Array) -> None:
        scaled = self.beta * x
        write_sigmoid(below, scaled)
        xp.multiply(delta, xp.where(scaled > self.threshold, x.dtype.type(1), below), out=below)
