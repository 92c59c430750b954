"""The array backend: NumPy or CuPy.

This is the only file that imports CuPy. All other files call ``xp.exp(x)``, where ``xp`` is NumPy or CuPy as selected
by `use`. How work is split over CPU cores is in `minifa.parallel`.

Backend and dtype are selected per thread: two threads can train in parallel, also with different dtypes. The number of
BLAS threads usually belongs to the process: from the first work that is split until the end of a pass, NumPy's products
in other threads also use one thread. The previous number is restored afterwards.
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
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy

from .parallel.threads import pool as _pool
from .text import install

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Array = Any  # numpy.ndarray or cupy.ndarray


class BackendError(RuntimeError):
    """The requested backend is not available; the message names the missing part and the package to install."""


@dataclass(frozen=True, eq=False)
class _Choice:
    """Backend and dtype selected by `use` or `using`."""

    module: Any  # numpy or cupy
    cpu_chunks: bool  # split batches into chunks; the tests also enable it on the CuPy stand-in
    dtype: numpy.dtype

    def changed(self, module: Any, cpu_chunks: bool, dtype: Any = None) -> _Choice:
        choice = _Choice(module, cpu_chunks, self.dtype if dtype is None else numpy.dtype(dtype))
        _update_modules(choice)
        return choice


class _ArrayModule:
    """Proxy for ``numpy`` or ``cupy``, as selected in the calling context. Names are cached while only one of the two
    is selected anywhere, so that ``xp.exp`` costs as much as ``numpy.exp``."""

    def __getattr__(self, name: str) -> Any:
        cache = self.__dict__  # read before the choice: _update_modules replaces it if another module is selected
        module = _choice().module
        value = getattr(module, name)
        if _modules == [module]:
            cache[name] = value
        return value


xp: Any = _ArrayModule()
_default = _Choice(numpy, True, numpy.dtype("float32"))  # of the process
_chosen: ContextVar[_Choice | None] = ContextVar("minifa.using", default=None)
_choices: weakref.WeakSet[_Choice] = weakref.WeakSet([_default])  # all that are in use
_modules: list[Any] = [numpy]  # the modules of _choices
_modules_lock = threading.RLock()  # reentrant: the garbage collector may end an abandoned `using` block meanwhile


def _choice() -> _Choice:
    """The choice of the enclosing `using` block, otherwise that of the thread, which is initialised from the process's
    default at first use."""
    choice = _chosen.get()
    if choice is None:
        thread = _pool.caller()
        choice = thread.choice = thread.choice or _default
    return choice


def _update_modules(new: _Choice | None = None) -> None:
    """Update ``_modules`` from all choices, including a new one, and clear the cache of `xp` if it changed."""
    global _modules
    with _modules_lock:
        if new is not None:
            _choices.add(new)
        modules = list({id(choice.module): choice.module for choice in _choices}.values())
        if modules != _modules:
            _modules = modules
            xp.__dict__ = {}


def use(backend: str, dtype: str | numpy.dtype | None = None, threads: int | None = None) -> None:
    """Select the backend and the floating-point dtype of networks created from now on.

    This applies to the current thread and to threads that first use minifa later. Other threads that already use
    minifa keep their selection.

    Args:
        backend: ``"numpy"`` or ``"cupy"``.
        dtype: ``"float32"`` (the initial default) or ``"float64"`` (checks, teaching). None keeps the current dtype.
        threads: number of CPU threads for the whole process; None keeps the current number (initially
            `MINIFA_THREADS`, otherwise all cores).

    Raises:
        TypeError: a dtype or number of threads of the wrong type.
        ValueError: an unknown backend or dtype, or fewer than one thread.
        BackendError: CuPy was requested, but its package, the driver or a device is missing.

    >>> mf.use("torch")
    Traceback (most recent call last):
    ValueError: unknown backend 'torch': expected 'numpy' or 'cupy'
    """
    module = _module_of(backend, dtype)
    if threads is not None:
        _pool.resize(threads)
    _install(module, cpu_chunks=backend == "numpy", dtype=dtype)


def chosen_by_environment() -> str:
    """The backend named by `MINIFA_BACKEND`; ``"numpy"`` if it is not set."""
    return os.environ.get("MINIFA_BACKEND") or "numpy"


def _module_of(backend: str, dtype: Any) -> Any:
    if not isinstance(backend, str) or backend not in ("numpy", "cupy"):
        raise ValueError(f"unknown backend {backend!r}: expected 'numpy' or 'cupy'")
    if dtype is not None and str(_real_dtype(dtype)) not in ("float32", "float64"):
        raise ValueError(f"dtype {str(dtype)!r} is not supported: expected 'float32' or 'float64'")
    return numpy if backend == "numpy" else _load_cupy()


def _real_dtype(dtype: Any) -> numpy.dtype:
    """Convert to a NumPy dtype. Raises TypeError if it is not the dtype of real numbers (objects or strings, for
    example)."""
    known = None
    if isinstance(dtype, (str, type, numpy.dtype)):
        with contextlib.suppress(TypeError, ValueError, SyntaxError):  # raised by NumPy for an invalid dtype
            known = numpy.dtype(dtype)
    if known is None or known.kind not in "fiub":
        raise TypeError(f"dtype must be a dtype of real numbers, such as 'float32', got {dtype!r}")
    return known


def _install(module: Any, cpu_chunks: bool, dtype: Any = None) -> None:
    """Set the choice of the process, this thread and the rest of an enclosing `using` block. Without a dtype, each
    keeps its own."""
    global _default
    thread, block = _pool.caller(), _chosen.get()
    _default = _default.changed(module, cpu_chunks, dtype)
    thread.choice = (thread.choice or _default).changed(module, cpu_chunks, dtype)
    if block is not None:
        _chosen.set(block.changed(module, cpu_chunks, dtype))
    del block
    _update_modules()  # drops modules that are no longer selected


def _load_cupy() -> Any:
    """Import cupy. Raises BackendError if the package, the driver or a device is missing; the message says which."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise BackendError(
            "the backend 'cupy' needs the package CuPy, which cannot be imported "
            f"({error}): {install('cuda13')}, or [cuda12] for an older CUDA driver"
        ) from error
    if not cupy.is_available():
        raise BackendError(_no_device_message(cupy))
    return cupy


def _no_device_message(cupy: Any) -> str:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError, which can be imported only if the CUDA libraries are present
        return f"CuPy {cupy.__version__} is installed, but the NVIDIA driver is missing or too old for it ({error})"
    return (
        f"CuPy {cupy.__version__} and the NVIDIA driver are installed, but no usable device is visible ({count} found)"
    )


def cupy_status() -> str:
    """One line for `minifa info`: whether CuPy is usable, and the reason if not."""
    try:
        cupy = _load_cupy()
    except BackendError as error:
        return f"not usable: {error}"
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"CuPy {cupy.__version__} on {name}"


def device_facts() -> dict[str, str]:
    """Facts about the GPU, its memory, driver and runtime for a bug report. Raises BackendError if CuPy is not
    usable."""
    cupy = _load_cupy()
    runtime = cupy.cuda.runtime
    about, (free, total) = runtime.getDeviceProperties(0), runtime.memGetInfo()
    return {
        "device": f"{about['name'].decode()}, compute capability {about['major']}.{about['minor']}",
        "memory": f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free on the device",
        "cuda": f"driver for {_version(runtime.driverGetVersion())}, runtime {_version(runtime.runtimeGetVersion())}",
    }


def _version(number: int) -> str:
    """Convert CUDA's version number to a string: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def name() -> str:
    """Name of the selected backend, ``"numpy"`` or ``"cupy"``."""
    return _choice().module.__name__


def dtype() -> numpy.dtype:
    """The floating-point dtype of networks created from now on."""
    return _choice().dtype


@contextlib.contextmanager
def using(backend: str, dtype: str | None = None) -> Iterator[None]:
    """Select backend and dtype for a with-block. The previous selection is restored afterwards.

    Other threads and coroutines are not affected. The engine's worker threads use the selection of the calling thread.
    A thread that you start uses the selection of `use`; run it in ``contextvars.copy_context()`` to inherit this one.

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
        _update_modules()


def asarray(array: Any, dtype: Any = None) -> Array:
    """Convert numbers (lists, host or device arrays, PyTorch tensors) to an array of the selected backend, floats in
    the engine's dtype.

    This is the explicit transfer to the device. It copies only if necessary. A tensor is detached from its graph.

    Args:
        array: real numbers.
        dtype: dtype of the result. None: floats get the engine's dtype, integers keep theirs.

    Raises:
        TypeError: the input is not real numbers, or the dtype is not one of real numbers.
        ValueError: rows of unequal length.

    >>> mf.asarray([[1.0, 2.0]]).dtype.name, mf.asarray([1, 2]).dtype.kind
    ('float32', 'i')
    """
    if dtype is not None:
        dtype = _real_dtype(dtype)
    if is_numeric(array):
        return array if dtype is None and array.dtype.kind != "f" else _cast(array, dtype or _choice().dtype)
    host = numbers_of(array, "the input of asarray")
    if dtype is None and host.dtype.kind == "f":
        dtype = _choice().dtype
    return xp.asarray(host if dtype is None else _cast(host, dtype))


def _cast(array: Any, dtype: Any) -> Any:
    if array.dtype == dtype:
        return array
    with numpy.errstate(under="ignore"):  # underflow to 0 is silent; overflow still warns
        return array.astype(dtype)


def is_numeric(array: Any) -> bool:
    """Whether this is an array of real numbers on the backend. Masked arrays are excluded."""
    return isinstance(array, xp.ndarray) and array.dtype.kind in "fiub" and not isinstance(array, numpy.ma.MaskedArray)


def to_host(array: Any) -> Any:
    """The explicit transfer to the host. A device array is copied to a NumPy array; a host ``array`` is returned as is.

    >>> isinstance(mf.to_host(mf.asarray([1.0])), np.ndarray)
    True
    """
    if type(array) is numpy.ndarray:
        return array
    return array.get() if type(array).__module__.split(".")[0] == "cupy" else array


def synchronise() -> None:
    """Wait until the device has finished all queued work; returns immediately on the CPU."""
    if name() == "cupy":
        xp.cuda.Stream.null.synchronize()


def device_bytes() -> int:
    """Peak size of the device's memory pool in bytes; 0 on the CPU."""
    return int(xp.get_default_memory_pool().total_bytes()) if name() == "cupy" else 0


def from_tensor(value: Any, what: str) -> Any:
    """A PyTorch tensor as a host array, detached from its graph; bfloat16 and other floats of fewer than 32 bits become
    float32, exactly. Other values are returned as they are. Raises TypeError, with a message that starts with ``what``,
    for a tensor without numbers in memory (sparse, or on the device "meta")."""
    if not hasattr(value, "detach"):
        return value
    try:
        tensor = value.detach().cpu()
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()  # NumPy has no bfloat16 or float8
        return tensor.numpy()
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} cannot be read as numbers: {error}") from None


def numbers_of(array: Any, what: str) -> numpy.ndarray:
    """Convert numbers (lists, arrays, PyTorch tensors) to a host array. Raises TypeError unless they are real numbers,
    ValueError for rows of unequal length; ``what`` starts the error message."""
    array = from_tensor(array, what)
    try:
        host = numpy.asarray(to_host(array))
    except ValueError as error:
        raise ValueError(f"{what} must be a regular array of numbers ({error})") from None
    if host.dtype.kind not in "fiub" or isinstance(array, numpy.ma.MaskedArray):
        raise TypeError(f"{what} must be real numbers, got {type(array).__name__} of dtype {host.dtype}")
    return host


# Work in chunks


def free_bytes() -> int:
    """Free memory of the backend in bytes. If the system does not report it, the installed memory."""
    if name() == "cupy":
        return int(xp.cuda.runtime.memGetInfo()[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else 8 << 30


def threads() -> int:
    """Number of CPU threads that share the work."""
    return _pool.size()


def blas_limit() -> contextlib.AbstractContextManager[None]:
    """Context manager for a pass through a network. BLAS is limited to one thread once per pass instead of once for
    each parallel piece."""
    caller = _pool.callers.this
    if caller.choice is None:
        _choice()  # fixes the thread's backend at its first pass
    return caller


def quiet() -> numpy.errstate:
    """Context manager that suppresses NumPy's floating-point errors, as on a GPU, regardless of `numpy.seterr`.

    exp(-200) underflows to 0 in float32 and an overflow is infinite, both without a warning; training reports a loss
    that is not finite. Worker threads are covered too: they run in a copy of the caller's context.
    """
    return numpy.errstate(all="ignore")


def _quiet_settings() -> list[tuple[contextvars.ContextVar[Any], Any]]:
    """The context variables that `quiet` sets, with their values: one variable of NumPy."""
    before = contextvars.copy_context()
    with quiet():
        inside = contextvars.copy_context()
    return [(name, value) for name, value in inside.items() if before.get(name) is not value]


_QUIET_SETTINGS = _quiet_settings()


def quietly(function: F) -> F:
    """Decorator that runs every call of the function in `quiet`, at a fifth of the cost of numpy.errstate (a step of a
    small network has ten such calls).

    If NumPy's context variable shows that `quiet` is already active, the function is called directly.
    """
    if len(_QUIET_SETTINGS) != 1:
        return quiet()(function)
    ((settings, quiet_value),) = _QUIET_SETTINGS

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        if settings.get(None) is quiet_value:
            return function(*args, **kwargs)
        token = settings.set(quiet_value)
        try:
            return function(*args, **kwargs)
        finally:
            settings.reset(token)

    return inside  # type: ignore[return-value]


def cpu_chunks() -> bool:
    """Whether work is split into chunks (see `minifa.parallel.chunks`): on the CPU; a device gets whole batches."""
    return _choice().cpu_chunks
