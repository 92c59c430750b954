"""Work on a batch in chunks, and sums and matrix products that do not depend on the number of threads.

On the CPU, work is split into chunks that depend on shapes alone, and BLAS is limited to one thread inside a chunk. The
same seed therefore gives bitwise equal results on any number of cores. On a GPU the whole batch is one chunk.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy

from .. import backend
from ..backend import Array, xp
from .threads import pool

T = TypeVar("T")

CHUNK_BYTES = 1 << 22  # fastest on two cores: larger chunks exceed the cache, smaller ones add interpreter overhead
LANES = 8  # chunks are summed in at most this many accumulators, independent of the number of threads
INNER = 1 << 13  # row length from which NumPy's inner loop is fast; rows of 32 took three times as long
SUMMED = 1 << 11  # the same for sums over rows: a row of totals stays in the L1 cache
SQUARED = 1 << 16  # number of squares that stay in the cache until they are added
SMALL_PRODUCT = 1 << 18  # multiply-adds; BLAS computes smaller matrix products on one thread
SMALL_DOT = 10_000  # the same for two vectors
PRODUCT_BLOCK = 1 << 22  # multiply-adds per block of a product; for smaller blocks a second thread is not worthwhile


def _lanes(n: int, bytes_each: int) -> list[list[slice]]:
    """Split n examples into chunks of at most CHUNK_BYTES, in at most LANES lanes. Depends on shapes alone.

    The number of chunks is a power of two or a multiple of LANES, so that 2, 4 or 8 threads get equal shares.
    """
    size = max(1, CHUNK_BYTES // max(1, bytes_each))
    count = math.ceil(n / size)
    count = min(n, 1 << (count - 1).bit_length() if count <= LANES else math.ceil(count / LANES) * LANES)
    edges = [n * i // count for i in range(count + 1)]  # equal pieces, without a small last one
    chunks = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    lanes = min(LANES, count)
    return [chunks[count * i // lanes : count * (i + 1) // lanes] for i in range(lanes)]


def _is_split(n: int, bytes_each: int) -> bool:
    """Whether to split this work: on the CPU, not already inside a chunk, and larger than one chunk."""
    return n * bytes_each > CHUNK_BYTES and backend.cpu_chunks() and not pool.in_chunk()


def each_chunk(n: int, bytes_each: int, work: Callable[[slice], None]) -> None:
    """Call ``work(rows)`` for slices that together cover ``range(n)``. Chunks run in parallel and must not write to the
    same memory.

    Args:
        n: number of examples. bytes_each: working memory of one example in bytes; it determines the size of a chunk.
    """
    if not _is_split(n, bytes_each):
        work(slice(0, n))
        return
    pool.run([functools.partial(work, rows) for lane in _lanes(n, bytes_each) for rows in lane])


def join_chunks(shape: tuple[int, ...], dtype: Any, bytes_each: int, work: Callable[[slice], Array]) -> Array:
    """An array of this shape whose rows are ``work(rows)``, computed in chunks. A single chunk is returned without a
    copy."""
    if not _is_split(shape[0], bytes_each):
        return work(slice(0, shape[0]))
    result = xp.empty(shape, dtype)

    def fill(rows: slice) -> None:
        result[rows] = work(rows)

    each_chunk(shape[0], bytes_each, fill)
    return result


def elementwise(write: Callable[..., Any], *arrays: Array) -> Array:
    """Return a new array of the first array's shape and dtype, filled piece by piece by ``write(out, *arrays)``."""
    first = arrays[0]
    result = xp.empty(first.shape, first.dtype)
    if first.nbytes * (1 + len(arrays)) <= CHUNK_BYTES:  # as `each_piece`, without its call
        write(result, *arrays)
    else:
        each_piece(write, result, *arrays)
    return result


def each_piece(write: Callable[..., Any], *arrays: Array) -> None:
    """Call the elementwise function ``write(*arrays)`` piece by piece on arrays of the same shape. Arrays that are
    written to must be contiguous."""
    n, bytes_each = arrays[0].size, len(arrays) * arrays[0].dtype.itemsize
    if n * bytes_each <= CHUNK_BYTES or not _is_split(n, bytes_each):  # small arrays: without a further call
        write(*arrays)
        return
    flat = [array.reshape(-1) for array in arrays]
    each_chunk(n, bytes_each, lambda part: write(*(one[part] for one in flat)))


def by_rows(write: Callable[..., Any], matrices: Sequence[Array], vectors: Sequence[Array]) -> None:
    """Call the elementwise function ``write(*matrices, *vectors)``, with vectors (k,) broadcast over the rows of
    matrices (n, k).

    NumPy's inner loop runs along a row. Short rows are joined into long ones, with the vectors repeated, which gives
    the same result faster. Matrices that are written to must be contiguous.
    """
    n, k = matrices[0].shape
    joined = math.ceil(INNER / k)
    if n < joined or not backend.cpu_chunks():
        write(*matrices, *vectors)
        return
    end = n // joined * joined
    write(*(a[:end].reshape(-1, joined * k) for a in matrices), *(xp.tile(v, joined) for v in vectors))
    if end < n:
        write(*(a[end:] for a in matrices), *vectors)


def sum_rows(matrix: Array, times: Array | None = None) -> Array:
    """``(matrix * times).sum(axis=0)``, or ``matrix.sum(axis=0)`` without ``times``: (n, k) to (k,), in one pass
    without a temporary array.

    Short rows are joined into long ones, as in `by_rows`. Runs on one thread, so that it can be used inside
    `reduce_chunks`.
    """
    if matrix.size < SUMMED or not backend.cpu_chunks():
        return xp.add.reduce(matrix, axis=0) if times is None else _sum_rows(matrix, times)
    n, k = matrix.shape
    joined = math.ceil(SUMMED / k)
    end = n // joined * joined
    wide = [None if one is None else one[:end].reshape(-1, joined * k) for one in (matrix, times)]
    totals = _sum_rows(*wide).reshape(joined, k).sum(axis=0)
    totals += _sum_rows(matrix[end:], None if times is None else times[end:])
    return totals


def _sum_rows(matrix: Array, times: Array | None) -> Array:
    return xp.add.reduce(matrix, axis=0) if times is None else xp.einsum("nk,nk->k", matrix, times)


def sum_of_squares(vector: Array, scale: Array) -> Array:
    """``((scale * vector) ** 2).sum()``. A dot product is not used: BLAS splits long ones over threads, so the rounding
    would depend on their number.

    A long vector is summed by halves, as NumPy does itself: the result is bitwise equal and the data stay in the cache.
    """
    n = len(vector)
    if n > SQUARED and backend.cpu_chunks():
        half = n // 16 * 8  # where NumPy's pairwise summation splits
        return sum_of_squares(vector[:half], scale) + sum_of_squares(vector[half:], scale)
    scaled = vector * scale
    scaled *= scaled
    return scaled.sum()


def sum_chunks(n: int, bytes_each: int, work: Callable[[slice], Array]) -> Array:
    """The sum of ``work(rows)`` over slices that cover ``range(n)``, always added in the same order."""
    return reduce_chunks(n, bytes_each, work, operator.iadd)


def add_each(totals: list[Array], parts: list[Array]) -> list[Array]:
    """Add each part to its total, in place: for `reduce_chunks`."""
    for total, part in zip(totals, parts, strict=True):
        total += part
    return totals


def reduce_chunks(n: int, bytes_each: int, work: Callable[[slice], T], join: Callable[[T, T], T]) -> T:
    """Reduce all ``work(rows)`` over slices that cover ``range(n)`` with ``join``, always in the same order."""
    if not _is_split(n, bytes_each):
        return work(slice(0, n))
    lanes = _lanes(n, bytes_each)
    totals: list[Any] = [None] * len(lanes)

    def add_up(i: int) -> None:
        totals[i] = functools.reduce(join, map(work, lanes[i]))

    pool.run([functools.partial(add_up, i) for i in range(len(lanes))])
    return functools.reduce(join, totals)


_products: list[int] | None = None


@contextlib.contextmanager
def counting_products() -> Iterator[list[int]]:
    """Context manager that yields a list of the multiply-adds of every `matmul`, and of every call of LAPACK that says
    how many it makes, in the with-block, in all threads."""
    global _products
    products: list[int] = []
    _products = products
    try:
        yield products
    finally:
        _products = None


def with_one_thread(work: Callable[[], T], multiply_adds: int = 0) -> T:
    """Run ``work()`` with BLAS limited to one thread. For LAPACK calls, whose rounding depends on the thread count.
    ``multiply_adds``: of LAPACK's algorithm, for `counting_products`."""
    if multiply_adds and (products := _products) is not None:
        products.append(multiply_adds)
    results: list[T] = []
    pool.run([lambda: results.append(work())])
    return results[0]


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """``a @ b`` of two matrices. A large product is split along its longer side, so that the result is bitwise equal
    for every number of cores."""
    columns = b.shape[1]
    work = a.size * columns  # multiply-adds
    if (products := _products) is not None:  # read once: another thread may end the counting
        products.append(work)
    small = work <= SMALL_PRODUCT and (columns > 1 or len(a) > 1 or work <= SMALL_DOT)
    if small or not backend.cpu_chunks() or pool.in_chunk():
        return xp.matmul(a, b, out=out)
    rows = len(a)
    result = xp.empty((rows, columns), a.dtype) if out is None else out
    long, by_rows = max(rows, columns), rows > columns
    count = min(LANES, math.ceil(long / 256), math.ceil(work / PRODUCT_BLOCK))
    edges = [long * i // count for i in range(count + 1)]

    def block(i: int) -> None:
        part = slice(edges[i], edges[i + 1])
        if by_rows:
            xp.matmul(a[part], b, out=result[part])
        else:
            xp.matmul(a, b[:, part], out=result[:, part])

    pool.run([functools.partial(block, i) for i in range(count)])
    return result


def stacked_matmul(a: Array, b: Array) -> Array:
    """The products of two stacks of matrices, (k, rows, inner) @ (k, inner, columns), each on one thread, so that the
    result is bitwise equal for every number of cores."""
    count, rows, inner = a.shape
    columns = b.shape[2]
    if (products := _products) is not None:
        products.append(count * rows * inner * columns)
    small = rows * inner * columns <= SMALL_PRODUCT and (rows > 1 or columns > 1 or inner <= SMALL_DOT)
    if small or not backend.cpu_chunks() or pool.in_chunk():
        return xp.matmul(a, b)
    return with_one_thread(lambda: xp.matmul(a, b))


def gather_runs(array: Array, shape: tuple[int, ...], strides: tuple[int, ...], length: int) -> Array:
    """Copy runs of ``length`` consecutive numbers of a contiguous array; the starts are given by shape and strides.
    Returns an array (*shape, length).

    For NumPy each run is one item of many bytes. Copying items instead of numbers is up to twice as fast for short
    runs.
    """
    size = array.dtype.itemsize
    if backend.name() == "numpy":
        items = numpy.ndarray(shape, numpy.dtype((numpy.void, length * size)), array, 0, strides)
        return numpy.ascontiguousarray(items).view(array.dtype).reshape(*shape, length)
    return xp.ascontiguousarray(xp.lib.stride_tricks.as_strided(array, (*shape, length), (*strides, size)))
