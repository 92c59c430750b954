"""The device array of the stand-in: a NumPy array in a wrapper without implicit conversions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .contract import TABLE, Contract
from .counters import counters
from .cuda import Device

_INDICES = (int, np.integer, slice)
NUMBERS = (int, float, complex, np.number, np.bool_)
_FLOAT64 = np.dtype(np.float64)
_SYNCHRONISING = frozenset(
    "argwhere bincount compress extract flatnonzero nonzero trim_zeros unique unique_all unique_counts unique_inverse "
    "unique_values".split()
)
# NumPy returns a Python number for these, CuPy a 0-d array.
_ANSWERED_ON_THE_DEVICE = {"allclose", "array_equal", "array_equiv", "count_nonzero"}


def unsupported(value: object) -> TypeError:
    return TypeError(f"Unsupported type {type(value)}")


def operand(value: Any) -> Any:
    """A device array's NumPy array, or a number unchanged: the operands that CuPy's arithmetic accepts."""
    if type(value) is ndarray:
        return value._a
    if isinstance(value, NUMBERS):
        return value
    raise unsupported(value)


def array_of(value: Any) -> np.ndarray:
    """The NumPy array of a device array; TypeError for other values."""
    if type(value) is not ndarray:
        raise unsupported(value)
    return value._a


def wrap(result: Any) -> ndarray:
    """A NumPy result as a device array; CuPy's reductions are 0-d arrays where NumPy's are numbers."""
    if type(result) is not np.ndarray:
        result = np.asarray(result)
    if counters.float64_is_an_error and result.dtype == _FLOAT64:
        raise AssertionError(f"a float64 array of shape {result.shape} appeared on the device")
    wrapped = _new(ndarray)
    wrapped._a = result
    return wrapped


def lower(value: Any, kind: str) -> Any:
    """An argument for NumPy, checked against what CuPy accepts at its position (the kinds of contract.Contract)."""
    if type(value) is ndarray:
        if kind == "host":
            raise TypeError("'cupy.ndarray' object cannot be interpreted as an integer")
        return value._a
    if isinstance(value, np.ndarray) or (kind == "first" and isinstance(value, NUMBERS)):
        raise unsupported(value)
    if isinstance(value, (list, tuple)):
        if kind in ("array", "first"):
            raise unsupported(value)
        if kind == "arrays" and not all(type(item) is ndarray for item in value):
            raise TypeError("Only cupy arrays can be concatenated")
        return (
            [lower(item, kind) for item in value]
            if isinstance(value, list)
            else tuple(lower(item, kind) for item in value)
        )
    return value


def lift(result: Any, arguments: tuple[Any, ...] = ()) -> Any:
    """NumPy's result as CuPy returns it: arrays wrapped, an `out` argument returned as the same object."""
    if isinstance(result, np.ndarray):
        for argument in arguments:
            if type(argument) is ndarray and argument._a is result:
                return argument
        return wrap(result)
    if isinstance(result, np.generic):
        return wrap(result)
    if isinstance(result, (list, tuple)):  # also a named tuple: CuPy's fields are not in the table
        return (list if isinstance(result, list) else tuple)(lift(item, arguments) for item in result)
    return result


def refuse_duplicates(positions: np.ndarray, size: int) -> None:
    if positions.size and np.bincount(positions.ravel(), minlength=size).max() > 1:
        raise IndexError(
            "duplicate indices in an assignment of several values: on a GPU any of them may win (add.at sums them)"
        )


def _check_put_along_axis(arr: np.ndarray, indices: np.ndarray, values: Any, axis: int) -> None:
    if getattr(values, "size", 1) > 1:
        places = np.arange(arr.size).reshape(arr.shape)
        refuse_duplicates(np.take_along_axis(places, indices, axis), arr.size)


def imitate(name: str, params: list[str], twin: Callable[..., Any]) -> Callable[..., Any]:
    """CuPy's function `name`, its arguments checked against its parameters, computed by its NumPy twin."""
    contract = Contract(name, params, twin)
    check: Callable[..., None] | None = _check_put_along_axis if name == "put_along_axis" else None
    synchronises, on_device = name in _SYNCHRONISING, name in _ANSWERED_ON_THE_DEVICE

    def call(*args: Any, **kwargs: Any) -> Any:
        kinds = contract.kinds(len(args), len(kwargs))
        plain = [
            value._a if type(value) is ndarray and kind != "host" else lower(value, kind)
            for value, kind in zip(args, kinds, strict=False)
        ]
        named = {contract.numpy_keyword(key): lower(value, contract.kind_of[key]) for key, value in kwargs.items()}
        if synchronises or (name == "where" and len(args) == 1):
            counters.read(name)
        if check:
            check(*plain, **named)
        result = twin(*plain, **named)
        if counters.log:
            _log_function(name, plain, named, result)
        return wrap(result) if on_device else lift(result, (*args, *kwargs.values()))

    call.__name__ = name
    return call


def _log_function(name: str, arguments: list[Any], named: dict[str, Any], result: Any) -> None:
    """A function that writes into an argument has it as `out`, or returns None and writes into the first."""
    assert counters.log
    out = named.get("out")
    if out is None and result is None:
        out, arguments = arguments[0], arguments[1:]
    rest = [value for key, value in named.items() if key != "out"]
    counters.log(name, [*arguments, *rest], result if out is None else out, out is not None)


def key_of(key: Any) -> tuple[Any, ...]:
    """An index for NumPy; the trailing Ellipsis makes x[0] of a vector the 0-d view it is in CuPy."""
    parts = key if isinstance(key, tuple) else (key,)
    plain, masks = [], 0
    for part in parts:
        if type(part) is ndarray:
            part = part._a
            if part.dtype.kind not in "iub":
                raise IndexError("arrays used as indices must be of integer or boolean type")
            masks += part.dtype.kind == "b"
        elif not (part is None or part is Ellipsis or isinstance(part, _INDICES)) or isinstance(part, bool):
            raise TypeError(
                f"an index is an integer, a slice or a device array, got {type(part)}: CuPy would copy it "
                f"to the device at each call"
            )
        plain.append(part)
    if masks > 1:
        raise ValueError("CuPy currently supports only one boolean array per index")
    if masks:
        counters.read("boolean mask as an index")
    if not any(part is Ellipsis for part in plain):
        plain.append(Ellipsis)
    return tuple(plain)


class ndarray:
    """CuPy's array over a NumPy array `_a`. Its methods come from the table (below), its operators are defined here."""

    __slots__ = ("_a",)
    _a: np.ndarray
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, order: Any = "C") -> None:
        self._a = filled_with_rubbish(np.empty(lower(shape, "host"), dtype, order))

    # NumPy's protocols: refused, except for a NumPy number on the left of an operator.

    def __array__(self, dtype: Any = None, copy: Any = None) -> None:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> ndarray:
        for value in inputs:
            if isinstance(value, np.ndarray):
                raise unsupported(value)
        if method == "__call__" and not kwargs and isinstance(inputs[0], np.generic):
            return wrap(_computed(ufunc, *map(operand, inputs)))
        raise TypeError(f"numpy.{ufunc.__name__} was handed a device array: write xp.{ufunc.__name__}")

    def __array_function__(self, function: Callable[..., Any], *ignored: Any) -> None:
        raise TypeError(f"numpy.{function.__name__} was handed a device array: write xp.{function.__name__}")

    # Indexing

    def __getitem__(self, key: Any) -> ndarray:
        if type(key) is int or type(key) is slice:
            return wrap(self._a[key, ...])
        plain = key_of(key)
        result = self._a[plain]
        if counters.log and not np.may_share_memory(result, self._a):
            counters.log("getitem", [result, plain], result, True)
        return wrap(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        plain, value = key_of(key), operand(value)
        if getattr(value, "size", 1) > 1 and any(isinstance(p, np.ndarray) and p.dtype.kind != "b" for p in plain):
            refuse_duplicates(np.arange(self._a.size).reshape(self._a.shape)[plain], self._a.size)
        self._a[plain] = value
        if counters.log:
            counters.log("setitem", [value, plain], self._a[plain], True)

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Iterator[ndarray]:
        counters.read("iteration")
        return (self[i] for i in range(len(self)))

    # Host reads

    def get(
        self, stream: Any = None, order: Any = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        return self._read(".get()", order, out)

    def _read(self, operation: str, order: Any = "C", out: np.ndarray | None = None) -> np.ndarray:
        counters.read(operation)
        if out is None:
            return np.array(self._a, order=order)
        if type(out) is not np.ndarray or out.dtype != self.dtype or out.shape != self.shape:
            raise ValueError(f"out must be a NumPy array of shape {self.shape} and dtype {self.dtype}")
        out[...] = self._a
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if type(arr) is not np.ndarray or arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"set() takes a NumPy array of shape {self.shape} and dtype {self.dtype}")
        counters.h2d += 1
        self._a[...] = arr

    def item(self) -> Any:
        return self._read("item()").item()

    def tolist(self) -> Any:
        return self._read("tolist()").tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        return self._read("tobytes()").tobytes(order)

    def __float__(self) -> float:
        return float(self._read("float()"))

    def __int__(self) -> int:
        return int(self._read("int()"))

    def __bool__(self) -> bool:
        return bool(self._read("bool()"))

    def __complex__(self) -> complex:
        return complex(self._read("complex()"))

    def __format__(self, spec: str) -> str:
        return format(self._read("format()"), spec)

    def __repr__(self) -> str:
        return repr(self._read("repr()"))

    def __str__(self) -> str:
        return str(self._read("str()"))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a pickled CuPy array needs a GPU to load: save NumPy arrays")

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    @property
    def device(self) -> Device:
        return Device(0)

    @property
    def base(self) -> ndarray | None:
        return None if self._a.base is None else wrap(self._a.base)


_new = object.__new__


def filled_with_rubbish(array: np.ndarray) -> np.ndarray:
    """empty() on a device returns the pool's previous contents; NaN and the largest integer make that visible."""
    kind = array.dtype.kind
    array.fill(True if kind == "b" else np.iinfo(array.dtype).max if kind in "iu" else np.nan)
    return array


def _computed(ufunc: np.ufunc, *operands: Any, out: np.ndarray | None = None) -> Any:
    result = ufunc(*operands) if out is None else ufunc(*operands, out=out)
    if counters.log:
        counters.log(ufunc.__name__, operands, result, out is not None)
    return result


def _forward(ufunc: np.ufunc) -> Callable[..., Any]:
    finish = wrap if ufunc.nout == 1 else lift

    def method(self: ndarray, other: Any) -> Any:
        return finish(_computed(ufunc, self._a, other._a if type(other) is ndarray else operand(other)))

    return method


def _reflected(ufunc: np.ufunc) -> Callable[..., Any]:
    finish = wrap if ufunc.nout == 1 else lift

    def method(self: ndarray, other: Any) -> Any:
        return finish(_computed(ufunc, operand(other), self._a))

    return method


def _in_place(ufunc: np.ufunc) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> ndarray:
        _computed(ufunc, self._a, other._a if type(other) is ndarray else operand(other), out=self._a)
        return self

    return method


def _unary(ufunc: np.ufunc) -> Callable[[ndarray], ndarray]:
    return lambda self: wrap(_computed(ufunc, self._a))


def _property(name: str) -> property:
    read = operator.attrgetter(f"_a.{name}")
    return property((lambda self: wrap(read(self))) if name in ("T", "mT", "imag", "real") else read)


def _not_imitated(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"CuPy's ndarray.{name} is not imitated here")

    return method


def _complete() -> None:
    """Give ndarray CuPy's operators and the table's methods: as in CuPy, no @=, no __index__, no __contains__."""
    infix = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "truediv": np.true_divide,
        "pow": np.power,
        "floordiv": np.floor_divide,
        "mod": np.remainder,
        "divmod": np.divmod,
        "matmul": np.matmul,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "lshift": np.left_shift,
        "rshift": np.right_shift,
    }
    for name, ufunc in infix.items():
        setattr(ndarray, f"__{name}__", _forward(ufunc))
        setattr(ndarray, f"__r{name}__", _reflected(ufunc))
        if f"__i{name}__" in TABLE["cupy.ndarray.dunders"]:
            setattr(ndarray, f"__i{name}__", _in_place(ufunc))
    for name, ufunc in {
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "eq": np.equal,
        "ne": np.not_equal,
    }.items():
        setattr(ndarray, f"__{name}__", _forward(ufunc))
    for name, ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
        setattr(ndarray, f"__{name}__", _unary(ufunc))
    for name, entry in TABLE["cupy.ndarray"].items():
        twin = np.ptp if name == "ptp" else getattr(np.ndarray, name, None)
        if name in ndarray.__dict__:
            continue
        if twin is None or name in ("data", "dump", "dumps", "flat", "put", "tofile"):
            stub = _not_imitated(name)
            setattr(ndarray, name, property(stub) if entry["kind"] == "property" else stub)
        elif entry["kind"] == "property":
            setattr(ndarray, name, _property(name))
        else:
            params = [p for p in entry["params"] if p != "self"]
            setattr(ndarray, name, imitate(name, ["self", *params], twin))


_complete()
