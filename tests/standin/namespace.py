"""The module-like object: CuPy's names, each computed by its NumPy twin after a check, or refused with a reason."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import creation
from .array import imitate, ndarray
from .contract import TABLE
from .counters import counters
from .cuda import CUDARuntimeError, cuda_values, memory_pool
from .draws import random_values
from .ufunc import Ufunc

_TWIN_CLASSES = (np.dtype, np.finfo, np.iinfo, np.ndindex)
_CONSTANTS = {"e", "euler_gamma", "inf", "index_exp", "nan", "newaxis", "pi", "s_"}
# Files and texts (save host arrays), functions that take functions, and put, which wraps out-of-bounds indices.
_NOT_IMITATED = {"array2string", "array_repr", "array_str", "piecewise", "put", "require"}
_NOT_IMITATED_FAMILIES = ("apply_", "from", "genfrom", "load", "save")
_NEEDS_NO_DEVICE = {"can_cast", "isdtype", "isscalar", "issubdtype", "promote_types", "result_type"}


class Namespace(ModuleType):
    """A module that looks its names up in the table once; the object built for a name is stored as an attribute."""

    def __init__(self, name: str, numpy_twin: Any, device_count: int, values: dict[str, Any]) -> None:
        super().__init__(name, "Stand-in: NumPy underneath, no device.")
        self.__dict__.update(values, _twin=numpy_twin, _device_count=device_count)

    def __getattr__(self, name: str) -> Any:
        known = TABLE[self.__name__]
        if name not in known:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}' (CuPy {TABLE['cupy_version']})")
        value = self._imitated(name, known[name], getattr(self._twin, name, None))
        setattr(self, name, value)
        return value

    def _imitated(self, name: str, entry: dict[str, Any], twin: Any) -> Any:
        kind = entry["kind"]
        if kind in ("function", "ufunc", "gufunc"):
            if not self._device_count and name not in _NEEDS_NO_DEVICE:
                return _no_device
            if isinstance(twin, np.ufunc):
                return Ufunc(name, entry["params"])
            if callable(twin) and name not in _NOT_IMITATED and not name.startswith(_NOT_IMITATED_FAMILIES):
                return imitate(name, ["x"] if kind == "ufunc" else entry["params"], twin)
        elif isinstance(twin, type):
            if issubclass(twin, np.generic) or twin in _TWIN_CLASSES or name == "LinAlgError":
                return twin
        elif name in _CONSTANTS:
            return twin
        raise NotImplementedError(f"{self.__name__}.{name} exists in CuPy but is not imitated here")


def _no_device(*args: Any, **kwargs: Any) -> None:
    raise CUDARuntimeError


def make_cupy(device_count: int = 1) -> Namespace:
    """A stand-in for the module `cupy`; with device_count=0 CuPy is installed but finds no device.

    All stand-ins share one ndarray class and one `cupy.counters`: they are views of one imitated device.
    """
    n = device_count
    lib = ModuleType("cupy.lib")
    vars(lib)["stride_tricks"] = Namespace("cupy.lib.stride_tricks", np.lib.stride_tricks, n, {})
    values: dict[str, Any] = {
        "__version__": TABLE["cupy_version"],
        "ndarray": ndarray,
        "ufunc": Ufunc,
        "counters": counters,
        "lib": lib,
        "cuda": Namespace("cupy.cuda", None, 1, cuda_values(n)),
        "random": Namespace("cupy.random", None, n, random_values() if n else {}),
        "linalg": Namespace("cupy.linalg", np.linalg, n, {}),
        "fft": Namespace("cupy.fft", np.fft, n, {}),
        "is_available": lambda: n > 0,
        "asnumpy": creation.asnumpy,
        "get_default_memory_pool": lambda: memory_pool(n),
        "get_default_pinned_memory_pool": lambda: memory_pool(n),
    }
    if n:
        made = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "empty", "empty_like")
        values |= {name: getattr(creation, name) for name in made}
    cupy = Namespace("cupy", np, n, values)
    vars(cupy)["get_array_module"] = lambda *arrays: cupy if any(type(a) is ndarray for a in arrays) else np
    return cupy
