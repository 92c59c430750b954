"""CuPy's ufuncs: fewer features than NumPy's, with the same values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import array_of, key_of, lift, lower, ndarray, operand, wrap
from .contract import TABLE
from .counters import counters

_AT_DTYPES = [np.dtype(code) for code in ("i4", "i8", "f2", "f4", "f8", "u4", "u8")]


class Ufunc:
    """CuPy's ufunc: only out, casting and dtype, and only the methods that CuPy has."""

    def __init__(self, name: str, params: list[str]) -> None:
        self.__name__ = name
        self._numpy = twin = getattr(np, name)
        self.nin, self.nout = twin.nin, twin.nout
        self._params = frozenset(params) - {"args"}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = [value._a if type(value) is ndarray else operand(value) for value in args]
        out = args[self.nin :]
        if kwargs:
            if not self._params.issuperset(kwargs):
                raise TypeError(f"Wrong arguments {kwargs}")
            given = kwargs.pop("out", None)
            if given is not None:
                out = given if isinstance(given, tuple) else (given,)
                kwargs["out"] = tuple(map(array_of, out))
        for value in out:
            array_of(value)
        result = self._numpy(*plain, **kwargs)
        if counters.log:
            counters.log(self.__name__, plain[: self.nin], result, bool(out))
        if out:
            return out[0] if self.nout == 1 else out
        return wrap(result) if self.nout == 1 else lift(result)

    def _must_have(self, method: str, table: str) -> None:
        if self.__name__ not in TABLE[table]:
            raise NotImplementedError(f"`cupy_{self.__name__}.{method}` is not supported yet")

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        self._must_have("at", "ufunc_at")
        if array_of(a).dtype not in _AT_DTYPES:
            raise TypeError(f"cupy.{self.__name__}.at has no kernel for {a.dtype}")
        where = key_of(indices)
        self._numpy.at(a._a, where, operand(b))
        if counters.log:
            counters.log(f"{self.__name__}.at", [a._a[where], where, operand(b)], a._a[where], True)

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._run("reduce", array, out, axis=lower(axis, "host"), dtype=dtype, keepdims=keepdims)

    def accumulate(self, array: ndarray, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return self._run("accumulate", array, out, axis=lower(axis, "host"), dtype=dtype)

    def reduceat(self, array: ndarray, indices: ndarray, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return self._run("reduceat", array, out, indices=array_of(indices), axis=lower(axis, "host"), dtype=dtype)

    def _run(self, method: str, array: ndarray, out: Any, **arguments: Any) -> Any:
        self._must_have(method, f"ufunc_{method}")
        plain, target = array_of(array), None if out is None else array_of(out)
        result = getattr(self._numpy, method)(plain, out=target, **arguments)
        if counters.log:
            counters.log(f"{self.__name__}.{method}", [plain, arguments.get("indices")], result, out is not None)
        return lift(result, (out,))
