"""`cupy.random`: only the methods CuPy has, on a stream that is not NumPy's.

On a device the same seed gives other numbers than on the host; the salt ensures this here, so that no test relies on
equal draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import lift, lower
from .contract import TABLE, unexpected_keyword
from .counters import counters

_SALT = 0xC0B1
_NUMPY_NAME = {("permutation", "a"): "x", ("shuffle", "a"): "x"}


class _Source:
    """CuPy's methods by name; where NumPy draws in one dtype only, the draw is converted afterwards."""

    _table: dict[str, Any]
    _own_dtype: frozenset[str]
    _numpy: Any

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self._table:
            raise AttributeError(f"'cupy.random.{type(self).__name__}' object has no attribute '{name}'")
        params = self._table[name]["params"][1:]

        def call(*args: Any, **kwargs: Any) -> Any:
            shape = args if params[:1] == ["*size"] else ()
            if not shape and len(args) > len(params):
                raise TypeError(f"{name}() takes at most {len(params)} arguments, got {len(args)}")
            named = {**({} if shape else dict(zip(params, args, strict=False))), **kwargs}
            for key in named:
                if key not in params and not (key == "dtype" and params[-1] == "**kwarg"):
                    raise unexpected_keyword(name, key)
            dtype = None if name in self._own_dtype else named.pop("dtype", None)
            plain = {_NUMPY_NAME.get((name, key), key): lower(value, "any") for key, value in named.items()}
            result = getattr(self._numpy, name)(*shape, **plain)
            if counters.log:
                counters.log(name, [], result, True)
            return result if result is None else lift(np.asarray(result, dtype), tuple(named.values()))

        return call


class Generator(_Source):
    """CuPy's, without normal, permutation, shuffle and choice: draw those on the host."""

    _table = TABLE["cupy.random.Generator"]
    _own_dtype = frozenset({"integers", "random", "standard_exponential", "standard_gamma", "standard_normal"})

    def __init__(self, bit_generator: int | None = None) -> None:
        self._numpy = np.random.default_rng(_salted(bit_generator))


class RandomState(_Source):
    """CuPy's legacy source; its default dtype is float64."""

    _table = TABLE["cupy.random.RandomState"]
    _own_dtype = frozenset({"randint"})

    def __init__(self, seed: int | None = None, method: int = 100) -> None:
        self.seed(seed)

    def seed(self, seed: int | None = None) -> None:
        self._numpy = np.random.RandomState(None if seed is None else np.random.MT19937(_salted(seed)))


def _salted(seed: int | None) -> np.random.SeedSequence:
    if seed is not None and not isinstance(seed, (int, np.integer)):
        raise TypeError(f"cupy.random is seeded with an integer or None here, got {type(seed)}")
    return np.random.SeedSequence(None if seed is None else (_SALT, int(seed)))


def random_values() -> dict[str, Any]:
    """The attributes of `cupy.random`: the module's functions draw from one RandomState."""
    state = RandomState()
    values = {name: getattr(state, name) for name in TABLE["cupy.random"] if name in TABLE["cupy.random.RandomState"]}
    values |= dict.fromkeys(("random", "sample", "ranf"), state.random_sample)
    return values | {"default_rng": Generator, "Generator": Generator, "RandomState": RandomState}
