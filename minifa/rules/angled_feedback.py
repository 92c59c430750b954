"""Feedback at a given angle to the initial weights.

    B = cos(a) W_0 + sin(a) N            N orthogonal to W_0 as a flattened vector, with W_0's norm

An option of `minifa.rules.FA` (``angle``). N is the part of a random M that is orthogonal to W_0, so that the angle is
a and the norm is W_0's, whatever the size of the matrix. With a = 0 the first update is backpropagation's, at 90
degrees B is unrelated to W_0, and at 180 degrees it is -W_0.
"""

from __future__ import annotations

__all__: list[str] = []

import math

import numpy

from ..backend import Array, to_host, xp
from ..layers.weighted import Weighted

DRAWN = "M, M drawn once"  # of B without an angle and a norm


def equation(scaled: str, names: dict[str, str]) -> tuple[str, dict[str, str]]:
    """How B is computed at an angle, for traces (see `Rule.feedback_equation`), from the equation without an angle, in
    which B may have another norm."""
    at_angle = "cos(angle) * W_0 + sin(angle) * N"
    text = f"B = {at_angle}" if scaled == f"B = {DRAWN}" else f"M = {at_angle}\n{scaled}"
    return text, {**names, "angle": "rule.angle"}


def matrix_at_angle(layer: Weighted, drawn: Array, degrees: float) -> Array:
    """B at this angle to the layer's W, in the direction of ``drawn``. Computed in double precision from N, and rounded
    once. Raises ValueError as `orthogonal_part`."""
    W, a = to_host(layer.W).astype("float64"), math.radians(degrees)
    N = orthogonal_part(layer, drawn).astype("float64")
    return xp.asarray((math.cos(a) * W + math.sin(a) * N).astype(layer.W.dtype))


def orthogonal_part(layer: Weighted, drawn: Array) -> numpy.ndarray:
    """N, on the host: what remains of ``drawn`` without its part along the layer's W, with the norm of W and its dtype.

    Raises:
        ValueError: W is zero, or nothing remains, as with a single entry: there is then no such direction.
    """
    W, M = (to_host(array).astype("float64") for array in (layer.W, drawn))
    size = float(numpy.linalg.norm(W))
    rest = M - (M * W).sum() / (size**2 or 1.0) * W
    left = float(numpy.linalg.norm(rest))
    if size == 0 or left <= 1e-9 * float(numpy.linalg.norm(M)):
        raise ValueError(
            f"no B has an angle to the W of {layer}, which "
            f"{'is zero' if size == 0 else 'has a single direction'}: leave out the option angle of the rule 'fa'"
        )
    return (rest * (size / left)).astype(layer.W.dtype)
