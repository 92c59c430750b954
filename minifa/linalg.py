"""Arrays as matrices, their Frobenius norms, rescaling to another norm; systems of equations and pseudo-inverses."""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Sequence

import numpy

from .backend import Array, quietly, xp
from .parallel.chunks import elementwise, sum_chunks, sum_of_squares, with_one_thread


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


# LAPACK runs on one thread: the result must not depend on their number. On a device these functions wait for it.


@quietly
def solve(A: Array, B: Array, what: str, remedy: str) -> Array:
    """The solution X of A @ X = B, for one or a batch of square matrices A (..., k, k) and B (..., k, m). NaN if an
    entry of A is not finite.

    Args:
        what: what A is, for the message. remedy: the end of the message, which says what to do.

    Raises:
        ValueError: the condition number of an A leaves less than one correct digit.

    >>> from minifa.linalg import solve
    >>> solve(mf.asarray([[2.0, 0.0], [0.0, 4.0]]), mf.asarray([[2.0], [2.0]]), "A", "").tolist()
    [[1.0], [0.5]]
    """
    if not bool(xp.isfinite(A).all()):
        return xp.full(B.shape, math.nan, B.dtype)
    m = B.shape[-1]
    right = xp.concatenate([B, xp.broadcast_to(xp.eye(A.shape[-1], dtype=A.dtype), A.shape)], axis=-1)
    try:
        found = with_one_thread(lambda: xp.linalg.solve(A, right), solve_products(A, right))
    except numpy.linalg.LinAlgError:  # an exactly singular matrix; CuPy returns numbers that are not finite
        found = xp.full(right.shape, math.nan, right.dtype)
    sizes, inverses = (xp.abs(one).sum(axis=-2).max(axis=-1) for one in (A, found[..., m:]))
    _check_condition(sizes * inverses, what, remedy)
    return xp.ascontiguousarray(found[..., :m])


@quietly
def pinv(A: Array, what: str, remedy: str) -> Array:
    """The pseudo-inverse (..., m, n) of one or a batch of matrices A (..., n, m) of full rank. NaN if an entry of A is
    not finite.

    Args:
        what, remedy: as for `solve`.

    Raises:
        ValueError: the condition number of an A leaves less than one correct digit.

    >>> from minifa.linalg import pinv
    >>> pinv(mf.asarray([[2.0], [0.0]]), "A", "").tolist()
    [[0.5, 0.0]]
    """
    if not bool(xp.isfinite(A).all()):
        return xp.full((*A.shape[:-2], A.shape[-1], A.shape[-2]), math.nan, A.dtype)
    small, large = sorted(A.shape[-2:])
    decomposition = A.size // large * (7 * small * large + 4 * small**2)  # of Golub & Reinsch
    U, s, V = with_one_thread(lambda: xp.linalg.svd(A, full_matrices=False), decomposition)
    _check_condition(s[..., 0] / s[..., -1], what, remedy)
    product = A.size * small
    return with_one_thread(lambda: xp.matmul(V.swapaxes(-1, -2) / s[..., None, :], U.swapaxes(-1, -2)), product)


def solve_products(A: Array, B: Array) -> int:
    """The multiply-adds of a solution of A @ X = B by elimination, for `minifa.parallel.chunks.counting_products`."""
    k = A.shape[-1]
    return A.size * k // 3 + B.size * k


def _check_condition(numbers: Array, what: str, remedy: str) -> None:
    """Raise ValueError unless the largest of these condition numbers leaves a correct digit in their dtype."""
    largest, most = float(numbers.max()), 0.1 / float(xp.finfo(numbers.dtype).eps)
    if not largest <= most:
        size = f"{largest:.1e}" if largest < math.inf else "infinite"
        raise ValueError(
            f"{what} is ill-conditioned: its condition number is {size}, and with {numbers.dtype} it may be at most "
            f"{most:.1e}: {remedy}"
        )
