"""Arrays that raise an error when they are written to, on NumPy: a layer or rule that changes an array that others use
is detected."""

from __future__ import annotations

__all__: list[str] = []

from typing import Any

import numpy

from ..backend import Array
from ..layers import Layer, Pass
from ..rules import BP


def read_only(array: Any) -> numpy.ndarray:
    """A read-only copy."""
    copied = numpy.array(array)
    copied.flags.writeable = False
    return copied


class ReadOnlyPass(Pass):
    """A pass in which the output of every layer is read-only."""

    def after(self, layer: Layer, y: Array) -> Array:
        y.flags.writeable = False
        return super().after(layer, y)


class ReadOnlyErrors(BP):
    """Backpropagation in which every error is read-only."""

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if delta is not None:
            delta.flags.writeable = False
        return delta
