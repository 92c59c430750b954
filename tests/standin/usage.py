"""The uses of CuPy in minifa's source, found by parsing it, and whether CuPy has them.

Checked are the names and calls that begin with `xp` or `cupy`, and, in a file that uses `xp`, the decidable uses of an
array's methods: methods that NumPy's arrays have and CuPy's lack, and keywords that CuPy's do not accept. Whether an
array is on the host is unknown there, so such a file uses NumPy's functions for operations that only host arrays have.
CuPy's names come from one of two sources: the table, or the installed package.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .contract import _REQUIRED, _SPELLED_OUT, TABLE

Parameters = list[str]  # "*operands" and "**kwargs" accept any argument

_ARRAY_NAMES = {name for name in dir(np.ndarray) if not name.startswith("_")}
_NUMPY_ONLY = _ARRAY_NAMES - set(TABLE["cupy.ndarray"])
_SHARED = _ARRAY_NAMES & set(TABLE["cupy.ndarray"])
_UFUNC_METHODS = {
    "reduce": ["array", "axis", "dtype", "out", "keepdims"],
    "accumulate": ["array", "axis", "dtype", "out"],
    "reduceat": ["array", "indices", "axis", "dtype", "out"],
    "at": ["a", "indices", "b"],
}


@dataclass(frozen=True)
class Use:
    """A name of CuPy that the source uses, and the call's keywords; keywords is None if it is not called."""

    path: str  # "linalg.norm"; an array's method is "ndarray.sum"
    line: int
    positional: int = 0
    keywords: tuple[str, ...] | None = None


class Api(Protocol):
    """A source of CuPy's names."""

    def parameters(self, path: str) -> Parameters | None:
        """The parameters of a function; None if it is not a function, or they are unknown. Raises LookupError for an
        unknown name."""


# Reading


def uses(source: str) -> list[Use]:
    """Every use of CuPy in a file's text, in the order of its lines."""
    nodes = list(ast.walk(ast.parse(source)))
    result = list(_names(nodes))
    if any(isinstance(node, ast.Name) and node.id == "xp" for node in nodes):
        result += _methods(nodes)
    return sorted(result, key=lambda use: (use.line, use.path))


def _names(nodes: list[ast.AST]) -> Iterator[Use]:
    """xp.linalg.norm as "linalg.norm", at its full length; names that begin with _ are minifa's own."""
    called = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    parts_of_longer = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and id(node) not in parts_of_longer:
            root, *names = _chain(node) or [""]
            if root in ("xp", "cupy") and not names[0].startswith("_"):
                yield _use(".".join(names), node, called.get(id(node)))


def _chain(node: ast.expr) -> list[str]:
    """The parts of a dotted name; empty for other expressions, such as xp.f(x).shape."""
    if isinstance(node, ast.Name):
        return [node.id]
    before = _chain(node.value) if isinstance(node, ast.Attribute) else []
    return [*before, node.attr] if before and isinstance(node, ast.Attribute) else []


def _use(path: str, node: ast.expr, call: ast.Call | None) -> Use:
    if call is None:
        return Use(path, node.lineno)
    positional = [one for one in call.args if not isinstance(one, ast.Starred)]
    return Use(path, node.lineno, len(positional), tuple(one.arg for one in call.keywords if one.arg is not None))


def _methods(nodes: list[ast.AST]) -> Iterator[Use]:
    """The methods of everything that may be an array; imported objects are not arrays."""
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {(one.asname or one.name).split(".")[0] for node in imports for one in node.names}

    def may_be_array(node: ast.expr) -> bool:
        return _chain(node)[:1] == [] or _chain(node)[0] not in imported

    for node in nodes:
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield Use("ndarray.__imatmul__", node.lineno)
        elif isinstance(node, ast.Attribute) and node.attr in _NUMPY_ONLY and may_be_array(node.value):
            yield Use(f"ndarray.{node.attr}", node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SHARED:
            if node.keywords and may_be_array(node.func.value):
                yield _use(f"ndarray.{node.func.attr}", node.func, node)


# Looking up


class Table:
    """CuPy 14.2.0 as recorded in the table; deeper modules (cuda.runtime) are not in it."""

    def parameters(self, path: str) -> Parameters | None:
        place, entry = "cupy", {"kind": "module"}
        for name in path.split("."):
            if entry["kind"] == "ufunc":
                return self._ufunc_method(place.removeprefix("cupy."), name)
            if place in TABLE:
                if name not in TABLE[place]:
                    raise LookupError(path)
                entry = TABLE[place][name]
            place = f"{place}.{name}"
        if entry["kind"] == "ufunc":
            return [f"x{i + 1}" for i in range(entry["nin"])] + entry["params"]
        if entry["kind"] == "gufunc":
            return ["*args", *entry["params"][1:]]
        return _SPELLED_OUT.get(path, entry.get("params"))

    def _ufunc_method(self, ufunc: str, method: str) -> Parameters:
        if method not in _UFUNC_METHODS or ufunc not in TABLE[f"ufunc_{method}"]:
            raise LookupError(f"{ufunc}.{method}")
        return _UFUNC_METHODS[method]


class Installed:
    """The installed CuPy; no GPU is needed. Only the table has the ufuncs that can reduce."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy

    def parameters(self, path: str) -> Parameters | None:
        place = self.cupy
        for name in path.split("."):
            if not hasattr(place, name):
                raise LookupError(path)
            place = getattr(place, name)
        if not callable(place) or isinstance(place, type):
            return None
        return _SPELLED_OUT.get(path) or _signature(place)


def _signature(function: Any) -> Parameters | None:
    """A function's parameters: from the first line of its docstring where it is written in C and inspect is silent."""
    try:
        params = list(inspect.signature(function).parameters.values())
    except ValueError:
        return _written_signature(function.__doc__ or "")
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(param.kind, "") + param.name for param in params if param.name != "self"]


def _written_signature(doc: str) -> Parameters | None:
    """ "_ndarray_base.sum(self, axis=None) -> _ndarray_base" gives axis; None for a signature with C types."""
    written = re.match(r"\s*[\w.]+(\(.*\))", doc)
    if written is None or re.search(r"\(\w+ \w|, \w+ \w", written[1]):
        return None
    plain = re.sub(r"[\[\]]", "", written[1]).replace("\\*", "*")  # optional parts are in brackets
    (function,) = ast.parse(f"def f{plain}: pass").body
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    names = [one.arg for one in [*given.posonlyargs, *given.args]] + ([f"*{given.vararg.arg}"] if given.vararg else [])
    names += [one.arg for one in given.kwonlyargs] + ([f"**{given.kwarg.arg}"] if given.kwarg else [])
    return [name for name in names if name != "self"]


def complaints(source: str, api: Api) -> list[str]:
    """A message for every use in a file's text that CuPy does not support."""
    result = []
    for use in uses(source):
        try:
            params = api.parameters(use.path)
        except LookupError:
            result.append(f"line {use.line}: CuPy has no {use.path}")
            continue
        if params is not None and use.keywords is not None:
            result += [f"line {use.line}: {use.path} {wrong}" for wrong in _mismatches(use, use.keywords, params)]
    return result


def _mismatches(use: Use, keywords: tuple[str, ...], params: Parameters) -> Iterator[str]:
    if not any(param.startswith("**") for param in params):
        yield from (f"takes no {keyword}= in CuPy" for keyword in keywords if keyword not in params)
    if not any(param.startswith("*") for param in params) and use.positional > len(params):
        yield f"takes {len(params)} arguments in CuPy, got {use.positional}"
    least = _REQUIRED.get(use.path, 0)
    if use.positional + len(keywords) < least:
        yield f"needs {least} arguments in CuPy"
