"""The size of a feedback matrix: Frobenius norms, and the normalisations that keep B as large as W.

strict    B * norm(W_t) / norm(B)      W as it is now (Moskovitz, Litwin-Kumar & Abbott 2018)
init      B * norm(W_0) / norm(B)      W as it was when the rule was attached
"""

from __future__ import annotations

from ..backend import Array, elementwise, sum_chunks, xp
from ..layers.base import Weighted
from ..scalars import one_of


def norm(matrix: Array) -> Array:
    """Frobenius norm of the whole kernel, a number on the backend."""
    return norm_and_count(matrix)[0]


def norm_and_count(matrix: Array) -> tuple[Array, Array]:
    """Frobenius norm, and how many entries are not zero, from one pass; numbers on the backend."""
    flat = matrix.reshape(-1)

    def piece(part: slice) -> Array:  # no dot product: BLAS shares long ones between threads, and the bits with them
        entries = flat[part]
        count = xp.asarray(xp.count_nonzero(entries != 0))  # of booleans: four times as fast as of numbers
        return xp.stack([(entries * entries).sum(), count.astype(flat.dtype)])

    totals = sum_chunks(flat.size, 2 * flat.dtype.itemsize, piece)
    return xp.sqrt(totals[0]), totals[1]


def rescaled(matrix: Array, to: Array) -> Array:
    """The matrix with another Frobenius norm; a zero matrix stays zero, without a division by zero.

    >>> mf.rules.scaling.rescaled(mf.asarray([[3.0, -4.0]]), to=10.0).tolist()
    [[6.0, -8.0]]
    """
    size = norm(matrix)
    factor = to / xp.where(size > 0, size, xp.ones_like(size))
    return elementwise(lambda out, entries: xp.multiply(entries, factor, out=out), matrix)


def check_normalise(normalise: str | None) -> str | None:
    """The option as given. Raises ValueError for an unknown one."""
    return one_of(normalise, "normalise", (None, "strict", "init"))


def keep_start_norm(memory: dict[str, Array], layer: Weighted, normalise: str | None) -> None:
    """Remember norm(W_0) where "init" will ask for it."""
    if normalise == "init":
        memory[f"{layer.name}/start_norm"] = norm(layer.W).reshape(1)


def normalised(matrix: Array, normalise: str | None, layer: Weighted, memory: dict[str, Array]) -> Array:
    """The matrix in the size that the option asks for."""
    if normalise is None:
        return matrix
    return rescaled(matrix, norm(layer.W) if normalise == "strict" else memory[f"{layer.name}/start_norm"])
