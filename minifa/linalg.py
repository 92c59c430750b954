"""Arrays as matrices, their Frobenius norms, and rescaling to another norm."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Sequence

from .backend import Array, xp
from .parallel.chunks import elementwise, sum_chunks, sum_of_squares


def as_matrix(array: Array) -> Array:
    """Reshape (..., k) to (rows, k)."""
    return array.reshape(-1, array.shape[-1])


def side_by_side(parts: Sequence[Array]) -> Array:
    """The parts joined along their last axis. A single part is returned without a copy."""
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=-1)


def near_one(*arrays: Array) -> Array:
    """The power of two that scales the largest magnitude of all entries close to 1. Scaling by it is exact, and the
    squares of scaled entries neither overflow nor vanish."""
    peak = xp.stack([xp.maximum(array.max(), -array.min()) for array in arrays]).max()
    _, exponent = xp.frexp(peak)
    return xp.ldexp(xp.ones_like(peak), -xp.maximum(exponent, -126))  # 2^126 avoids overflow in float32


def norm(matrix: Array) -> Array:
    """Frobenius norm of the whole matrix or kernel, a scalar on the backend."""
    flat, scale = matrix.reshape(-1), near_one(matrix)
    total = sum_chunks(flat.size, 2 * flat.dtype.itemsize, lambda part: sum_of_squares(flat[part], scale))
    return xp.sqrt(total) / scale


def norm_and_count(matrix: Array) -> tuple[Array, Array]:
    """Frobenius norm and number of nonzero entries, in one pass; scalars on the backend."""
    flat, scale = matrix.reshape(-1), near_one(matrix)

    def piece(part: slice) -> Array:
        entries = flat[part]
        count = xp.asarray(xp.count_nonzero(entries != 0))  # four times as fast on booleans as on numbers
        return xp.stack([sum_of_squares(entries, scale), count.astype(flat.dtype)])

    totals = sum_chunks(flat.size, 2 * flat.dtype.itemsize, piece)
    return xp.sqrt(totals[0]) / scale, totals[1]


def rescaled(matrix: Array, to: Array) -> Array:
    """Rescale the matrix to the Frobenius norm ``to``; a zero matrix stays zero, without a division by zero.

    >>> from minifa.linalg import rescaled
    >>> rescaled(mf.asarray([[3.0, -4.0]]), to=10.0).tolist()
    [[6.0, -8.0]]
    """
    size = norm(matrix)
    factor = to / xp.where(size > 0, size, xp.ones_like(size))
    factor = xp.minimum(factor, xp.finfo(size.dtype).max)  # for a tiny matrix the factor could be infinite
    return elementwise(lambda out, entries: xp.multiply(entries, factor, out=out), matrix)
