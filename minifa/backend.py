"""Where the arrays live, and how the processor's cores share the work.

This is the only file that imports CuPy. Everything else writes ``xp.exp(x)`` and means NumPy or CuPy, whichever `use`
chose. On the CPU, work is cut into chunks that follow from shapes alone and never from the number of threads, and
BLAS is held to one thread inside a chunk: so the same seed gives the same bits on one core and on sixteen. On a GPU
one chunk is the whole batch.

What is chosen belongs to a thread: two may train side by side, in different dtypes as well. BLAS's number of threads is
mostly the process's: from the first work that is cut to the end of a pass, NumPy's products in other threads have one
thread, too; afterwards as many as before.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "asarray",
    "cupy_status",
    "device_facts",
    "dtype",
    "name",
    "synchronise",
    "threads",
    "to_host",
    "use",
    "using",
    "xp",
]

import contextlib
import contextvars
import functools
import importlib
import math
import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy

from .text import install
from .threads import pool as _pool

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Array = Any  # numpy.ndarray or cupy.ndarray: the engine never asks which

CHUNK_BYTES = 1 << 22  # measured best on two cores: larger ones leave the cache, smaller ones wait for the interpreter
LANES = 8  # chunks are summed in at most this many accumulators, whatever the number of threads
INNER = 1 << 13  # numbers in a row from which NumPy's inner loop is quick; rows of 32 took three times as long
SUMMED = 1 << 11  # the same for sums over rows: a row of totals stays in the nearest cache
SQUARED = 1 << 16  # numbers whose squares stay in the cache until they are added
SMALL_PRODUCT = 1 << 18  # multiply-adds; below this a matrix product runs on one thread anyway
SMALL_DOT = 10_000  # the same for two vectors
PRODUCT_BLOCK = 1 << 22  # multiply-adds of a product's block; for less, a second thread does not pay


class BackendError(RuntimeError):
    """The backend asked for cannot be used here; the message says what is missing and what to install."""


@dataclass(frozen=True, eq=False)
class _Choice:
    """What `use` or `using` chose."""

    module: Any  # numpy or cupy
    cpu_chunks: bool  # cut batches into the CPU's chunks; the tests also force it on the stand-in
    dtype: numpy.dtype

    def changed(self, module: Any, cpu_chunks: bool, dtype: Any = None) -> _Choice:
        choice = _Choice(module, cpu_chunks, self.dtype if dtype is None else numpy.dtype(dtype))
        _look_at_modules(choice)
        return choice


class _ArrayModule:
    """Stands for ``numpy`` or ``cupy``, whichever is chosen where it is asked. Names are kept while no one has chosen
    the other, so that ``xp.exp`` costs what ``numpy.exp`` does."""

    def __getattr__(self, name: str) -> Any:
        kept = self.__dict__  # before the look at the choice: with one of another module, `xp` gets a new one
        module = _choice().module
        value = getattr(module, name)
        if _modules == [module]:
            kept[name] = value
        return value


xp: Any = _ArrayModule()
_default = _Choice(numpy, True, numpy.dtype("float32"))  # the process's
_chosen: ContextVar[_Choice | None] = ContextVar("what minifa.using chose", default=None)
_choices: weakref.WeakSet[_Choice] = weakref.WeakSet([_default])  # that anyone has
_modules: list[Any] = [numpy]  # of those
_looking = threading.RLock()  # again, where an abandoned block of `using` is collected meanwhile


def _choice() -> _Choice:
    """That of `using` around us; or else the thread's own: the process's when the thread first asked."""
    choice = _chosen.get()
    if choice is None:
        thread = _pool.caller()
        choice = thread.choice = thread.choice or _default
    return choice


def _look_at_modules(new: _Choice | None = None) -> None:
    """Find out whether all choices, with a new one that nobody has yet, are of one module."""
    global _modules
    with _looking:
        if new is not None:
            _choices.add(new)
        modules = list({id(one.module): one.module for one in _choices}.values())
        if modules != _modules:
            _modules = modules
            xp.__dict__ = {}


def use(backend: str, dtype: str | numpy.dtype | None = None, threads: int | None = None) -> None:
    """Choose where arrays live and their floating-point type, for every network made from now on: in this thread, and
    in those that begin to use minifa later. Another thread that computes already keeps what it has.

    Args:
        backend: ``"numpy"`` or ``"cupy"``.
        dtype: ``"float32"`` (the default at start) or ``"float64"`` (checks, teaching). None keeps the present one.
        threads: threads of the CPU that share the work of the whole process; None keeps the present number (at start
            `MINIFA_THREADS`, else every core).

    Raises:
        TypeError: a dtype or a number of threads of another kind.
        ValueError: an unknown backend or dtype, or fewer than one thread.
        BackendError: CuPy was asked for, and its package, the driver or a device is missing.

    >>> mf.use("torch")
    Traceback (most recent call last):
    ValueError: unknown backend 'torch': expected 'numpy' or 'cupy'
    """
    module = _module_of(backend, dtype)
    if threads is not None:
        _pool.resize(threads)
    _install(module, cpu_chunks=backend == "numpy", dtype=dtype)


def chosen_by_environment() -> str:
    """The backend that `MINIFA_BACKEND` names; ``"numpy"`` where it is not set."""
    return os.environ.get("MINIFA_BACKEND") or "numpy"


def _module_of(backend: str, dtype: Any) -> Any:
    if not isinstance(backend, str) or backend not in ("numpy", "cupy"):
        raise ValueError(f"unknown backend {backend!r}: expected 'numpy' or 'cupy'")
    if dtype is not None and str(_known_dtype(dtype)) not in ("float32", "float64"):
        raise ValueError(f"dtype {str(dtype)!r} is not supported: expected 'float32' or 'float64'")
    return numpy if backend == "numpy" else _load_cupy()


def _known_dtype(dtype: Any) -> numpy.dtype:
    """As a dtype of NumPy. Raises TypeError, ValueError for what is none, or one of objects or words."""
    known = None
    if isinstance(dtype, (str, type, numpy.dtype)):
        with contextlib.suppress(TypeError, ValueError, SyntaxError):  # what NumPy raises for what is none
            known = numpy.dtype(dtype)
    if known is None or known.kind not in "fiub":
        raise TypeError(f"dtype is the name of a type of real numbers, as 'float32', got {dtype!r}")
    return known


def _install(module: Any, cpu_chunks: bool, dtype: Any = None) -> None:
    """For the process, this thread, and the rest of a block of `using`. Each keeps its dtype where none is given."""
    global _default
    thread, block = _pool.caller(), _chosen.get()
    _default = _default.changed(module, cpu_chunks, dtype)
    thread.choice = (thread.choice or _default).changed(module, cpu_chunks, dtype)
    if block is not None:
        _chosen.set(block.changed(module, cpu_chunks, dtype))
    del block
    _look_at_modules()  # for what nobody has any more


def _load_cupy() -> Any:
    """The cupy module, or a BackendError that says which of package, driver and device is missing."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise BackendError(
            "the backend 'cupy' needs the package CuPy, which cannot be imported here "
            f"({error}): {install('cuda13')}, or [cuda12] for an older CUDA driver"
        ) from error
    if not cupy.is_available():
        raise BackendError(_why_no_device(cupy))
    return cupy


def _why_no_device(cupy: Any) -> str:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError; its class is reachable only where CUDA's libraries are
        return f"CuPy {cupy.__version__} is installed, but the NVIDIA driver is missing or too old for it ({error})"
    return f"CuPy {cupy.__version__} and the NVIDIA driver are there, but no usable device is visible ({count} found)"


def cupy_status() -> str:
    """One line for `minifa info`: whether CuPy can be used here, and if not, why."""
    try:
        cupy = _load_cupy()
    except BackendError as error:
        return f"not usable: {error}"
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"CuPy {cupy.__version__} on {name}"


def device_facts() -> dict[str, str]:
    """What a bug report should tell of the GPU and what drives it. Raises BackendError where there is none."""
    cupy = _load_cupy()
    runtime = cupy.cuda.runtime
    about, (free, total) = runtime.getDeviceProperties(0), runtime.memGetInfo()
    return {
        "device": f"{about['name'].decode()}, compute capability {about['major']}.{about['minor']}",
        "memory": f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free on the device",
        "cuda": f"driver for {_version(runtime.driverGetVersion())}, runtime {_version(runtime.runtimeGetVersion())}",
    }


def _version(number: int) -> str:
    """CUDA's way to write a version: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def name() -> str:
    """``"numpy"`` or ``"cupy"``."""
    return _choice().module.__name__


def dtype() -> numpy.dtype:
    """The floating-point type of networks made from now on."""
    return _choice().dtype


@contextlib.contextmanager
def using(backend: str, dtype: str | None = None) -> Iterator[None]:
    """Choose for a with-block alone: what was chosen before comes back afterwards, and other threads and coroutines do
    not see it. The engine's own threads follow whoever asks them for work. A thread that you start has the choice of
    `use`; to have this one, let it run in ``contextvars.copy_context()``.

    Args:
        backend, dtype: as for `use`.

    >>> with mf.using("numpy", "float64"):
    ...     exact = mf.Linear(2, 1)
    >>> str(exact.W.dtype), str(mf.Linear(2, 1).W.dtype)
    ('float64', 'float32')
    """
    token = _chosen.set(_choice().changed(_module_of(backend, dtype), backend == "numpy", dtype))
    try:
        yield
    finally:
        _chosen.reset(token)
        _look_at_modules()


def asarray(array: Any, dtype: Any = None) -> Array:
    """Put numbers from anywhere (lists, NumPy, the device) on the chosen backend, floats in the engine's dtype.

    This is the explicit move to the device; it copies only where it must.

    Args:
        array: numbers.
        dtype: another type, for floats and integers alike; None: floats get the engine's, integers keep theirs.

    Raises:
        TypeError: what are no real numbers, or no type of them.
        ValueError: rows of unequal length.

    >>> mf.asarray([[1.0, 2.0]]).dtype.name, mf.asarray([1, 2]).dtype.kind
    ('float32', 'i')
    """
    if dtype is not None:
        dtype = _known_dtype(dtype)
    if is_numeric(array):
        return array if dtype is None and array.dtype.kind != "f" else _cast(array, dtype or _choice().dtype)
    host = numbers_of(array, "what is put on the backend")
    if dtype is None and host.dtype.kind == "f":
        dtype = _choice().dtype
    return xp.asarray(host if dtype is None else _cast(host, dtype))


def _cast(array: Any, dtype: Any) -> Any:
    if array.dtype == dtype:
        return array
    with numpy.errstate(under="ignore"):  # too small becomes 0; too large is for the program to see
        return array.astype(dtype)


def is_numeric(array: Any) -> bool:
    """Whether this is an array of real numbers on the backend; a masked one is not what it seems."""
    return isinstance(array, xp.ndarray) and array.dtype.kind in "fiub" and not isinstance(array, numpy.ma.MaskedArray)


def to_host(array: Any) -> Any:
    """The explicit move back: a NumPy array. Copies from the device; a host ``array`` is returned as it is.

    >>> isinstance(mf.to_host(mf.asarray([1.0])), np.ndarray)
    True
    """
    return array.get() if type(array).__module__.split(".")[0] == "cupy" else array


def synchronise() -> None:
    """Wait until the device has done all it was asked to; nothing to wait for on the CPU."""
    if name() == "cupy":
        xp.cuda.Stream.null.synchronize()


def device_bytes() -> int:
    """The most memory that arrays have taken on the device so far, in bytes; 0 on the CPU."""
    return int(xp.get_default_memory_pool().total_bytes()) if name() == "cupy" else 0


def numbers_of(array: Any, what: str) -> numpy.ndarray:
    """Numbers from anywhere as a host array. Raises TypeError for what are no real numbers, ValueError for rows of
    unequal length; ``what`` begins the sentence."""
    try:
        host = numpy.asarray(to_host(array))
    except ValueError as error:
        raise ValueError(f"{what} must be a regular array of numbers ({error})") from None
    if host.dtype.kind not in "fiub" or isinstance(array, numpy.ma.MaskedArray):
        raise TypeError(f"{what} must be real numbers, got {type(array).__name__} of dtype {host.dtype}")
    return host


def require_like(array: Any, shape: tuple[int, ...], who: object, what: str) -> None:
    """`require_float`, and a ValueError for another shape: what NumPy could broadcast would be a wrong answer.

    Args:
        array: what was given. shape: that it must have.
        who, what: begin the sentence, a layer say, which is put into words only then, and ``"an error"``.
    """
    require_float(array, who)
    if array.shape != shape:
        raise ValueError(f"{who} expects {what} of shape {shape}, got {array.shape}")


def require_float(array: Any, who: object) -> None:
    """Refuse what the engine cannot compute with, in a sentence.

    Raises:
        TypeError: the array lives on the other side (host or device), or is no floating-point array.
        ValueError: it is empty, or a single number.
    """
    if not isinstance(array, xp.ndarray) or isinstance(array, numpy.ma.MaskedArray):
        given = f"{type(array).__module__}.{type(array).__name__}"
        raise TypeError(
            f"{who} expects an array of the backend {name()!r}, got {given}: move it with minifa.asarray(x)"
        )
    if array.dtype.kind != "f":
        raise TypeError(
            f"{who} expects floating-point numbers, got dtype {array.dtype}: convert it with x.astype({str(dtype())!r})"
        )
    if array.size == 0 or array.ndim == 0:
        raise ValueError(f"{who} expects a batch (N, ...) of at least one example, got an array of shape {array.shape}")


# Work in chunks


def free_bytes() -> int:
    """Memory that an array may still take on the backend, in bytes. Where the system does not say: all that is
    installed."""
    if name() == "cupy":
        return int(xp.cuda.runtime.memGetInfo()[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else 8 << 30


def threads() -> int:
    """Threads that share the work on the CPU."""
    return _pool.size()


def one_pass() -> contextlib.AbstractContextManager[None]:
    """Around a pass through a network: what the parallel pieces inside need of BLAS is arranged once, not for each."""
    caller = _pool.caller()
    if caller.choice is None:
        _choice()  # from its first pass on a thread keeps its backend
    return caller


def quiet() -> numpy.errstate:
    """A with-block of arithmetic as on a GPU, whatever the program asks of `numpy.seterr`.

    In it exp(-200) is 0 in float32 and an overflow is infinite, and neither is a fault; of a loss that is no longer
    finite training tells in words. Threads that help out are as quiet: they work in a copy of the caller's context.
    """
    return numpy.errstate(all="ignore")


def _set_by_quiet() -> list[tuple[contextvars.ContextVar[Any], Any]]:
    """The context variables that `quiet` sets, with their values: one, of NumPy's."""
    before = contextvars.copy_context()
    with quiet():
        inside = contextvars.copy_context()
    return [(name, value) for name, value in inside.items() if before.get(name) is not value]


_SET_BY_QUIET = _set_by_quiet()


def quietly(function: F) -> F:
    """Every call of the function in `quiet`, for a fifth of what numpy.errstate takes: a small network's step has ten.

    Where it is quiet already, which is seen from NumPy's own context variable, nothing is done.
    """
    if len(_SET_BY_QUIET) != 1:
        return quiet()(function)
    ((settings, ignoring),) = _SET_BY_QUIET

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        if settings.get(None) is ignoring:
            return function(*args, **kwargs)
        token = settings.set(ignoring)
        try:
            return function(*args, **kwargs)
        finally:
            settings.reset(token)

    return inside  # type: ignore[return-value]


def gather_runs(array: Array, shape: tuple[int, ...], strides: tuple[int, ...], length: int) -> Array:
    """The runs of ``length`` numbers that start where these strides lead in a contiguous array: (*shape, length).

    NumPy is shown each run as one item of so many bytes: it then copies items, not numbers, which is up to twice as
    fast where runs are short.
    """
    size = array.dtype.itemsize
    if _choice().module is numpy:
        items = numpy.ndarray(shape, numpy.dtype((numpy.void, length * size)), array, 0, strides)
        return numpy.ascontiguousarray(items).view(array.dtype).reshape(*shape, length)
    return xp.ascontiguousarray(xp.lib.stride_tricks.as_strided(array, (*shape, length), (*strides, size)))


def perhaps_any(mask: Array) -> bool:
    """Whether something in it is true; on a device, where the answer would be waited for, always."""
    return not _choice().cpu_chunks or bool(mask.any())


def _lanes(n: int, bytes_each: int) -> list[list[slice]]:
    """Cut n examples into chunks of at most CHUNK_BYTES, dealt to at most LANES lanes. Depends on shapes alone.

    The number of chunks is a power of two or a multiple of LANES, so that 2, 4 or 8 threads have equal shares.
    """
    size = max(1, CHUNK_BYTES // max(1, bytes_each))
    count = math.ceil(n / size)
    count = min(n, 1 << (count - 1).bit_length() if count <= LANES else math.ceil(count / LANES) * LANES)
    edges = [n * i // count for i in range(count + 1)]  # even pieces: no small last one
    chunks = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    lanes = min(LANES, count)
    return [chunks[count * i // lanes : count * (i + 1) // lanes] for i in range(lanes)]


def _cut(n: int, bytes_each: int) -> bool:
    """Whether this work is worth cutting: on the CPU, not inside a chunk already, and larger than one chunk."""
    return n * bytes_each > CHUNK_BYTES and _choice().cpu_chunks and not _pool.working()


def each_chunk(n: int, bytes_each: int, work: Callable[[slice], None]) -> None:
    """Call ``work(rows)`` for slices that together cover ``range(n)``; chunks run in parallel and must not share
    results.

    Args:
        n: examples. bytes_each: working memory of one example, in bytes; it decides how many go into a chunk.
    """
    if not _cut(n, bytes_each):
        work(slice(0, n))
        return
    _pool.run([functools.partial(work, rows) for lane in _lanes(n, bytes_each) for rows in lane])


def join_chunks(shape: tuple[int, ...], dtype: Any, bytes_each: int, work: Callable[[slice], Array]) -> Array:
    """The array of this shape whose rows are ``work(rows)``, made in chunks; a single chunk is returned without a
    copy."""
    if not _cut(shape[0], bytes_each):
        return work(slice(0, shape[0]))
    result = xp.empty(shape, dtype)

    def fill(rows: slice) -> None:
        result[rows] = work(rows)

    each_chunk(shape[0], bytes_each, fill)
    return result


def elementwise(write: Callable[..., Any], *arrays: Array) -> Array:
    """A new array of the first one's shape and dtype, into which ``write(out, *arrays)`` writes piece by piece."""
    result = xp.empty(arrays[0].shape, arrays[0].dtype)
    each_piece(write, result, *arrays)
    return result


def each_piece(write: Callable[..., Any], *arrays: Array) -> None:
    """``write(*arrays)``, which works element by element on arrays of one shape, piece by piece. The arrays that are
    written into must be contiguous."""
    n, bytes_each = arrays[0].size, len(arrays) * arrays[0].dtype.itemsize
    if not _cut(n, bytes_each):
        write(*arrays)
        return
    flat = [array.reshape(-1) for array in arrays]
    each_chunk(n, bytes_each, lambda part: write(*(one[part] for one in flat)))


def by_rows(write: Callable[..., Any], matrices: Sequence[Array], vectors: Sequence[Array]) -> None:
    """``write(*matrices, *vectors)``, where vectors (k,) go along the rows of matrices (n, k), element by element.

    NumPy's inner loop runs along a row. Where rows are short, many are joined into a long one, with the vectors
    repeated: the same numbers, sooner. The matrices that are written into must be contiguous.
    """
    n, k = matrices[0].shape
    joined = math.ceil(INNER / k)
    if n < joined or not _choice().cpu_chunks:
        write(*matrices, *vectors)
        return
    whole = n // joined * joined
    write(*(a[:whole].reshape(-1, joined * k) for a in matrices), *(xp.tile(v, joined) for v in vectors))
    if whole < n:
        write(*(a[whole:] for a in matrices), *vectors)


def sum_rows(matrix: Array, times: Array | None = None) -> Array:
    """``(matrix * times).sum(axis=0)``, or of the matrix alone: (n, k) to (k,), in one pass and without a temporary.

    Where rows are short, many are joined into a long one, as in `by_rows`. On one thread, so that it can be a piece
    of `reduce_chunks`.
    """
    n, k = matrix.shape
    joined = math.ceil(SUMMED / k)
    if n < joined or not _choice().cpu_chunks:
        return _sum_rows(matrix, times)
    whole = n // joined * joined
    wide = [None if one is None else one[:whole].reshape(-1, joined * k) for one in (matrix, times)]
    totals = _sum_rows(*wide).reshape(joined, k).sum(axis=0)
    totals += _sum_rows(matrix[whole:], None if times is None else times[whole:])
    return totals


def _sum_rows(matrix: Array, times: Array | None) -> Array:
    return xp.add.reduce(matrix, axis=0) if times is None else xp.einsum("nk,nk->k", matrix, times)


def sum_of_squares(vector: Array, scale: Array) -> Array:
    """``((scale * vector) ** 2).sum()``. No dot product: BLAS shares long ones between threads, and the bits with them.

    A long vector goes by halves, which is how NumPy adds anyway: the same bits, and what is added is in the cache.
    """
    n = len(vector)
    if n > SQUARED and _choice().cpu_chunks:
        half = n // 16 * 8  # NumPy's own
        return sum_of_squares(vector[:half], scale) + sum_of_squares(vector[half:], scale)
    scaled = vector * scale
    scaled *= scaled
    return scaled.sum()


def sum_chunks(n: int, bytes_each: int, work: Callable[[slice], Array]) -> Array:
    """The sum of ``work(rows)`` over slices that cover ``range(n)``, always added in the same order."""
    return reduce_chunks(n, bytes_each, work, operator.iadd)


def reduce_chunks(n: int, bytes_each: int, work: Callable[[slice], T], join: Callable[[T, T], T]) -> T:
    """``join`` of all ``work(rows)`` over slices that cover ``range(n)``, always joined in the same order."""
    if not _cut(n, bytes_each):
        return work(slice(0, n))
    lanes = _lanes(n, bytes_each)
    totals: list[Any] = [None] * len(lanes)

    def add_up(i: int) -> None:
        totals[i] = functools.reduce(join, map(work, lanes[i]))

    _pool.run([functools.partial(add_up, i) for i in range(len(lanes))])
    return functools.reduce(join, totals)


_products: list[int] | None = None


@contextlib.contextmanager
def counting_products() -> Iterator[list[int]]:
    """A list that receives the multiply-adds of every `matmul` made during the with-block, in whatever thread."""
    global _products
    products: list[int] = []
    _products = products
    try:
        yield products
    finally:
        _products = None


def with_one_thread(work: Callable[[], T]) -> T:
    """``work()`` with BLAS held to one thread, for what LAPACK does: on two it rounds otherwise."""
    found: list[T] = []
    _pool.run([lambda: found.append(work())])
    return found[0]


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """``a @ b`` of two matrices. A large product is cut along its longer side, so that cores share it bit for bit
    alike."""
    rows, inner, columns = a.shape[0], a.shape[1], b.shape[1]
    if (products := _products) is not None:  # another thread may end the counting in between
        products.append(rows * inner * columns)
    small = rows * inner * columns <= SMALL_PRODUCT and (rows > 1 or columns > 1 or inner <= SMALL_DOT)
    if small or not _choice().cpu_chunks or _pool.working():
        return xp.matmul(a, b, out=out)
    result = xp.empty((rows, columns), a.dtype) if out is None else out
    long, by_rows = max(rows, columns), rows > columns
    count = min(LANES, math.ceil(long / 256), math.ceil(rows * inner * columns / PRODUCT_BLOCK))
    edges = [long * i // count for i in range(count + 1)]

    def block(i: int) -> None:
        part = slice(edges[i], edges[i + 1])
        if by_rows:
            xp.matmul(a[part], b, out=result[part])
        else:
            xp.matmul(a, b[:, part], out=result[:, part])

    _pool.run([functools.partial(block, i) for i in range(count)])
    return result
