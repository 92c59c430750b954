"""Normalisation of feedback matrices: rescaling of B to the Frobenius norm of W.

strict    B * norm(W_t) / norm(B)      the current W (Moskovitz, Litwin-Kumar & Abbott 2018)
init      B * norm(W_0) / norm(B)      W when the rule was attached
"""

from __future__ import annotations

__all__: list[str] = []

from ..backend import Array
from ..layers.weighted import Weighted
from ..linalg import norm, rescaled
from ..validation import check_choice


def check_normalise(normalise: str | None) -> str | None:
    """Return the option. Raises ValueError for an unknown one."""
    return check_choice(normalise, "normalise", (None, "strict", "init"))


def store_start_norm(memory: dict[str, Array], layer: Weighted, normalise: str | None) -> None:
    """Store norm(W_0) in ``memory`` if the option is "init"."""
    if normalise == "init":
        memory[f"{layer.name}/start_norm"] = norm(layer.W).reshape(1)


def normalised(matrix: Array, normalise: str | None, layer: Weighted, memory: dict[str, Array]) -> Array:
    """The matrix with the norm that the option selects."""
    if normalise is None:
        return matrix
    return rescaled(matrix, norm(layer.W) if normalise == "strict" else memory[f"{layer.name}/start_norm"])
