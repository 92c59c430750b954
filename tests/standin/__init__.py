"""A strict stand-in for CuPy 14.2.0, so that every engine test runs on a machine without a GPU.

NumPy does the arithmetic, so results are bit-equal to NumPy's for the same calls. The stand-in adds errors: an
operation that CuPy would refuse, or would accept with a hidden cost, raises here. Arrays wrap a NumPy array and are not
NumPy arrays themselves, so no NumPy function accepts one by accident. Names and keywords come from a table dumped from
the real package (cupy_api_14.2.0.json): an unknown name is an AttributeError, an unknown keyword a TypeError, and a
name that exists but is not imitated a NotImplementedError.

Stricter than CuPy on purpose: host arrays and lists as indices or assigned values (hidden copies), duplicate indices in
an assignment of several values (undefined winner), out-of-bounds indices (CuPy wraps silently), any `np.` function on a
device array, Python lists instead of arrays, pickling. `empty` holds NaN or the largest integer. Boolean masks,
`nonzero`, `unique` and the like count as host reads, because CuPy counts their True values on the host.

Properties that a passing run cannot prove, because no device takes part:
- values from real kernels, rounding, the order of reductions, atomics; unsupported dtypes or layouts of single kernels;
- broadcasting, stride and contiguity differences; errors that surface asynchronously, races, streams;
- memory limits and the pool's growth; missing CUDA libraries; compile failures; the bodies of raw or fused kernels;
- speed, synchronisation hidden inside CuPy's functions beyond those named above, and the quality of its random numbers.

    cupy = standin.make_cupy()
    with standin.no_host_reads(cupy), standin.forbid_float64(cupy):
        ...                                     # one training step
    assert cupy.counters.h2d == 2               # images and labels
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from .namespace import make_cupy

__all__ = ["HEADER", "forbid_float64", "make_cupy", "no_host_reads"]

HEADER = "CuPy stand-in (NumPy underneath): a green run is not a GPU run"


@contextmanager
def no_host_reads(cupy: ModuleType) -> Iterator[None]:
    """Raise AssertionError, naming the operation, when the host reads a device array inside the block."""
    yield from _raised(cupy, "reads_are_errors")


@contextmanager
def forbid_float64(cupy: ModuleType) -> Iterator[None]:
    """Raise AssertionError when an operation inside the block makes a float64 array on the device."""
    yield from _raised(cupy, "float64_is_an_error")


def _raised(cupy: ModuleType, flag: str) -> Iterator[None]:
    before = getattr(cupy.counters, flag)
    setattr(cupy.counters, flag, True)
    try:
        yield
    finally:
        setattr(cupy.counters, flag, before)
