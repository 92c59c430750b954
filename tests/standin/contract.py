"""The calls that CuPy 14.2.0 accepts: its names and parameters, and the kind of each argument, before NumPy runs the
call.

The table holds names only, neither defaults nor positional-only marks: required arguments are known for `clip` alone.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("cupy_api_14.2.0.json").read_text(encoding="utf-8"))

# The parameters that the table lists as **kwargs.
_SPELLED_OUT = {
    "einsum": ["*operands", "dtype", "optimize"],
    "meshgrid": ["*xi", "indexing", "sparse", "copy"],
    "pad": ["array", "pad_width", "mode", "stat_length", "constant_values", "end_values", "reflect_type"],
}
_REQUIRED = {"clip": 3}

# Parameters that take a device array (or a number, except for the first), never a Python list ...
_ARRAYS = frozenset(
    "self a b m f v x y z A a1 a2 x1 x2 ar ar1 ar2 arr arr1 arr2 ary array prototype dst src condition mask values "
    "vals indices ind weights element test_elements sorter".split()
)
# ... and those that are read on the host, where a device number does not convert (CuPy arrays have no __index__).
_HOST = frozenset(
    "shape newshape new_shape axis axes axis1 axis2 source destination dtype order casting keepdims reps decimals ddof "
    "n N k offset num pad_width mode window_shape strides optimize copy minlength kth side size "
    "indices_or_sections".split()
)
_NUMBERS_FIRST = {"allclose", "array_equal", "array_equiv", "isclose"}
_ANYTHING = {"iscomplexobj", "isrealobj", "isscalar", "iterable", "ndim", "shape", "size"}


def unexpected_keyword(function: str, keyword: str) -> TypeError:
    return TypeError(f"{function}() got an unexpected keyword argument '{keyword}' (CuPy {TABLE['cupy_version']})")


class Contract:
    """One function's parameters, compared once with those of its NumPy twin.

    kind(position) is the kind of that argument: 'first' a device array, 'array' one or a number, 'arrays' a list of
    them, 'host' a value that only the host reads, 'any' a value without host arrays.
    """

    def __init__(self, name: str, params: list[str], twin: Callable[..., Any]) -> None:
        params = _SPELLED_OUT.get(name, params)
        self.name = name
        self.required = _REQUIRED.get(name, 0)
        named = [param for param in params if not param.startswith("*")]
        self.kind_of = {param: self._kind(param) for param in named}
        self.numpy_name = {param: param for param in named}
        star = next((i for i, p in enumerate(params) if p.startswith("*") and not p.startswith("**")), None)
        self.rest = None if star is None else self._kind(params[star][1:])
        self.leading = [self.kind_of[param] for param in (named if star is None else params[:star])]
        if self.leading and self.leading[0] == "array" and name not in _NUMBERS_FIRST:
            self.leading[0] = "first"
        try:
            theirs = list(inspect.signature(twin).parameters.values())
        except ValueError:  # written in C without a signature: assume that NumPy's parameters equal CuPy's
            return
        if star is None and not any(p.kind is p.VAR_POSITIONAL for p in theirs):
            self._pair(named, theirs)
        names = {p.name for p in theirs}
        if not any(p.kind is p.VAR_KEYWORD for p in theirs):
            self.numpy_name = {ours: their if their in names else "" for ours, their in self.numpy_name.items()}

    def _kind(self, param: str) -> str:
        if self.name in _ANYTHING:
            return "any"
        if param == "tup":
            return "arrays"
        return "array" if param in _ARRAYS else "host" if param in _HOST else "any"

    def _pair(self, named: list[str], theirs: list[inspect.Parameter]) -> None:
        """Pair by position up to the first with another meaning: argmax's third is dtype in CuPy, out in NumPy."""
        names = {p.name for p in theirs}
        positional = [p for p in theirs if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD]
        same = 0
        for ours, their in zip(named, positional, strict=False):
            if ours != their.name and (ours in names or their.name in named):
                break
            if their.kind is their.POSITIONAL_OR_KEYWORD:
                self.numpy_name[ours] = their.name
            same += 1
        self.leading = self.leading[:same]

    def kinds(self, given: int, keywords: int) -> list[str]:
        """The kinds of the positional arguments of a call; TypeError where there are too many or too few."""
        if given + keywords < self.required:
            raise TypeError(f"{self.name}() needs {self.required} arguments in CuPy, got {given + keywords}")
        if given <= len(self.leading):
            return self.leading
        if self.rest is None:
            raise TypeError(
                f"{self.name}() got {given} positional arguments; CuPy and NumPy agree on the order of the "
                f"first {len(self.leading)} only: pass the others by keyword"
            )
        return self.leading + [self.rest] * (given - len(self.leading))

    def numpy_keyword(self, keyword: str) -> str:
        """The NumPy twin's name of this CuPy keyword; TypeError where CuPy has none."""
        if keyword not in self.numpy_name:
            raise unexpected_keyword(self.name, keyword)
        if not self.numpy_name[keyword]:
            raise NotImplementedError(f"NumPy has no counterpart of CuPy's {self.name}({keyword}=)")
        return self.numpy_name[keyword]
