"""The base class of normalisation layers: their scale gamma and shift beta, either of which may be absent. Groups of
neighbouring channels."""

from __future__ import annotations

__all__: list[str] = []

import math

import numpy

from ..validation import Shape, check_float, check_int
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


class ChannelGroups(Layer):
    """The part of layers that treat groups of neighbouring channels of (N, num_channels) or (N, H, W, num_channels)."""

    def set_groups(self, num_groups: int, num_channels: int) -> None:
        """Store both numbers. Raises TypeError, ValueError unless num_channels is a multiple of num_groups."""
        self.num_groups = check_int(num_groups, f"num_groups of {self}")
        self.num_channels = check_int(num_channels, f"num_channels of {self}")
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"num_channels of {self} must be a multiple of num_groups, got {num_channels} channels and "
                f"{num_groups} groups"
            )

    def infer(self, shape: Shape) -> Shape:
        if len(shape) not in (1, 3) or shape[-1] != self.num_channels:
            raise self.shape_error(f"{self.num_channels} features or images of {self.num_channels} channels", shape)
        return shape
