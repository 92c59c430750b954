"""GELU, the Gaussian error linear unit (Hendrycks & Gimpel 2016), and the distribution function of the normal
distribution, which neither NumPy nor CuPy's main namespace has.

    y = x Phi(x)                          Phi(x) = (1 + erf(x / sqrt(2))) / 2
    dy/dx = Phi(x) + x phi(x)             phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
    approximate="tanh"                    Phi(x) = (1 + tanh(u)) / 2,  u = sqrt(2 / pi) (x + 0.044715 x^3)

For z >= 0 the tail is Phi(-z) = exp(-z^2 / 2) / (1 + z) * p(t), with t = (z - 5) / (z + 5) and p a sum of Chebyshev
polynomials: the form of Shepherd & Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in
0 <= x < infinity". The coefficients were computed with 40 digits; the relative error is that of exp(-z^2 / 2).
"""

from __future__ import annotations

__all__ = ["GELU"]

import functools
import math
from typing import Any

from ..backend import Array, xp
from ..validation import check_choice
from .activations import Activation, write_sigmoid

TAIL = (
    *(0.461974212072185681, -0.0651652023949126306, -0.00545878150113656722, 0.0122961990455634396),
    *(-0.00647087291570368799, 0.00224073552241683054, -5.63862377465197372e-4, 9.98403108292581157e-5),
    *(-9.84951484316849337e-6, -4.03249423304521713e-7, 2.99023962013034016e-7, -3.03207074844281387e-8),
    *(-4.61766571392902726e-9, 1.32982880083826921e-9, 3.00724271901904484e-11, -4.42995372553281566e-11),
    *(1.39998571470181507e-12, 1.47189570289125704e-12, -9.32595311916537195e-14, -5.29468116906769519e-14),
    *(3.95818841441451708e-15, 2.10482146429631938e-15, -1.34567128613614392e-16, -9.09761491449583242e-17),
)
TERMS = {4: 13, 8: 24}  # terms of p that are used, by the bytes of a number: for float32 13 are enough
FARTHEST = 40.0  # Phi(-40) is 0 in float64; it also avoids inf - inf


class GELU(Activation):
    """f(x) = x Phi(x), with Phi the distribution function of the standard normal distribution.

    For x far below 0, f(x) is computed from Phi's tail and keeps its digits; PyTorch's float32 is 0 below about -5.6.

    Args:
        approximate: "none", or "tanh" for the approximation by a tanh.
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: an unknown approximation.

    >>> [round(float(y), 4) for y in mf.GELU().forward(mf.asarray([[-2.0, 0.0, 2.0]]), mf.Pass())[0]]
    [-0.0455, 0.0, 1.9545]
    """

    kind = "gelu"
    slope_of_input = True

    def __init__(self, approximate: str = "none", name: str | None = None) -> None:
        super().__init__(name)
        self.approximate = check_choice(approximate, f"approximate of {self}", ("none", "tanh"))

    @property
    def equation(self) -> str:  # type: ignore[override]  # it depends on the approximation
        if self.approximate == "tanh":
            return "y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2"
        return "y = x * (1 + erf(x / sqrt(2))) / 2"

    @property
    def error_equation(self) -> str:  # type: ignore[override]
        if self.approximate == "tanh":
            return (
                "s = (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2\n"
                "delta_below = delta * (s + x * 2 * s * (1 - s) * sqrt(2 / pi) * (1 + 0.134145 * x^2))"
            )
        return "delta_below = delta * ((1 + erf(x / sqrt(2))) / 2 + x * exp(-x^2 / 2) / sqrt(2 * pi))"

    def symbols(self) -> dict[str, Any]:
        return {**super().symbols(), "pi": math.pi}

    def f(self, y: Array, x: Array) -> None:
        (_tanh_gate if self.approximate == "tanh" else _normal_gate)(y, x)
        y *= x

    def times_slope(self, below: Array, delta: Array, x: Array) -> None:
        slope = (_tanh_gate if self.approximate == "tanh" else _normal_gate)(below, x)
        below += x * slope
        below *= delta


@functools.cache
def _tail_in_powers(terms: int) -> list[float]:
    """The coefficients of p in powers of t."""
    from numpy.polynomial.chebyshev import cheb2poly  # here: it takes longer to import than all layers

    return [float(a) for a in cheb2poly(TAIL[:terms])]


def _normal_gate(gate: Array, x: Array) -> Array:
    """Write Phi(x) into ``gate`` and return its derivative, phi(x)."""
    z = xp.minimum(xp.abs(x), FARTHEST)
    density = xp.exp(-0.5 * z * z)
    t = (z - 5) / (z + 5)
    *others, last = _tail_in_powers(TERMS[z.dtype.itemsize])
    tail = xp.full_like(z, last)
    for a in reversed(others):  # Horner's scheme
        tail *= t
        tail += a
    tail *= density / (1 + z)
    gate[...] = xp.where(x > 0, 1 - tail, tail)
    return density * (1 / math.sqrt(2 * math.pi))


def _tanh_gate(gate: Array, x: Array) -> Array:
    """Write (1 + tanh(u)) / 2 = sigmoid(2 u) into ``gate`` and return its derivative."""
    near = x.clip(-FARTHEST, FARTHEST)  # beyond, the gate is 0 or 1, and x^3 would overflow
    factor = 2 * math.sqrt(2 / math.pi)
    write_sigmoid(gate, factor * (near + 0.044715 * near * near * near))
    return gate * (1 - gate) * (factor * (1 + 0.134145 * near * near))
