"""Creation of arrays: from host data, copied and counted, or empty, filled with invalid values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import array_of, filled_with_rubbish, lower, ndarray, wrap
from .counters import counters


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """cupy.array: host data are copied, never shared, and counted; device arrays stay on the device."""
    if type(obj) is ndarray:
        plain = np.array(obj._a, dtype, copy=copy or None, order=order or "K", ndmin=ndmin)
        if counters.log:
            counters.log("array", [obj._a], plain, False)
        return obj if plain is obj._a else wrap(plain)
    if _holds_device_arrays(obj):
        leaves = _lowered_leaves(obj)
        plain = np.array(leaves, dtype, order=order or "K", ndmin=ndmin)
        if counters.log:
            counters.log("array", leaves, plain, False)
        return wrap(plain)
    plain = np.array(obj, dtype, order=order or "K", ndmin=ndmin)
    if plain.dtype.kind not in "biufc" or plain.dtype.char in "gG":
        raise ValueError(f"Unsupported dtype {plain.dtype}")
    counters.h2d += 1
    return wrap(plain)


def _holds_device_arrays(obj: Any) -> bool:
    return isinstance(obj, (list, tuple)) and any(type(item) is ndarray or _holds_device_arrays(item) for item in obj)


def _lowered_leaves(obj: Any) -> Any:
    return [_lowered_leaves(item) for item in obj] if isinstance(obj, (list, tuple)) else array_of(obj)


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, copy, order)


asanyarray = asarray


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "C", ndmin=1)


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "F", ndmin=1)


def asnumpy(
    a: Any, stream: Any = None, order: Any = "C", out: np.ndarray | None = None, *, blocking: bool = True
) -> np.ndarray:
    if type(a) is ndarray:
        return a._read("asnumpy", order, out)
    if out is None:
        return np.asarray(a, order=order)
    np.copyto(out, a)
    return out


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    return wrap(filled_with_rubbish(np.empty(lower(shape, "host"), dtype, order)))


def empty_like(
    prototype: ndarray, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return wrap(filled_with_rubbish(np.empty_like(array_of(prototype), dtype, order, shape=lower(shape, "host"))))
