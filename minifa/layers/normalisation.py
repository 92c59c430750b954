"""The base class of normalisation layers: their scale gamma and shift beta, either of which may be absent."""

from __future__ import annotations

__all__: list[str] = []

import math

import numpy

from ..validation import Shape, check_float
from .base import Layer, array_property


class Norm(Layer):
    """y = gamma * xhat + beta, with xhat the normalised input. Subclasses compute xhat and call `_create_parameters`.

    Args:
        eps: added to the variance.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: eps is not above 0.
    """

    parameter_names: tuple[str, ...] = ("gamma", "beta")
    gamma = array_property("gamma", "The scale of each normalised feature, or None; assigning copies, as `Linear.W`.")
    beta = array_property("beta", "The shift of each normalised feature, or None; assigned like `gamma`.")

    def __init__(self, eps: float, name: str | None) -> None:
        super().__init__(name)
        self.eps = check_float(eps, f"eps of {self}")
        if not 0 < self.eps < math.inf:
            raise ValueError(f"{self} must have eps > 0, got eps={eps}")

    def _create_parameters(self, shape: Shape, scale: bool, shift: bool) -> None:
        """Create gamma if ``scale``, and beta if ``shift``, of this shape."""
        self.parameter_shape = shape
        self.parameter_names = ("gamma",) * scale + ("beta",) * shift
        self._gamma = self._beta = None
        self.initialise(seed=0)

    @property
    def equation(self) -> str:  # type: ignore[override]  # it depends on the parameters
        scaled = "gamma * xhat" if "gamma" in self.parameter_names else "xhat"
        shifted = " + beta" if "beta" in self.parameter_names else ""
        return f"xhat = (x - mu) / sqrt(var + eps)\ny = {scaled}{shifted}"

    @property
    def gradient_equation(self) -> str:
        """The equations of the parameters' gradients, each on a new line; "" if there are none."""
        lines = {"gamma": "\ndgamma = sum(delta * xhat)", "beta": "\ndbeta = sum(delta)"}
        return "" if self.frozen else "".join(lines[key] for key in self.parameter_names)

    def initialise(self, seed: int) -> None:
        if "gamma" in self.parameter_names:
            self.gamma = numpy.ones(self.parameter_shape)
        if "beta" in self.parameter_names:
            self.beta = numpy.zeros(self.parameter_shape)
        self.grads = dict.fromkeys(self.parameter_names)
