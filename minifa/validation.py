"""Validation of arguments that are not arrays: ints, floats, bools, strings, instances of a class.

Each function returns the value to store; ``what`` names it in the error message. Numbers are converted to Python's
types, because the effect of NumPy scalars on the dtype of float32 arrays depends on their type.
"""

from __future__ import annotations

__all__: list[str] = []

import math
import numbers
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

Shape = tuple[int, ...]

LARGEST = (1 << 31) - 1  # far above any array size


PYTHON_TYPES = {"b": bool, "i": int, "u": int, "f": float}


def as_python_number(value: Any) -> Any:
    """Convert a real number of any type (NumPy scalar, device scalar, 0-d array, fraction) to a Python number; return
    anything else as is.

    >>> from minifa.validation import as_python_number
    >>> [as_python_number(value) for value in (np.float32(0.5), np.array(3), "half")]
    [0.5, 3, 'half']
    """
    if type(value) in (float, int, bool):
        return value
    if getattr(value, "ndim", None) == 0:
        return PYTHON_TYPES.get(getattr(value.dtype, "kind", ""), lambda other: other)(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value


def check_int(value: Any, what: str, least: int = 1, most: int | None = None) -> int:
    """The value as an int. Raises TypeError if it is not an int, ValueError outside ``least`` to ``most``.

    >>> from minifa.validation import check_int
    >>> check_int(np.int64(3), "a stride")
    3
    >>> check_int(2.5, "a stride")
    Traceback (most recent call last):
    TypeError: a stride must be an int, got 2.5
    """
    limit = LARGEST if most is None else most
    if type(value) is int and least <= value <= limit:  # fast path for training steps
        return value
    value = as_python_number(value)
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, got {value!r}")
    if number < least or number > limit:
        upper = f" and at most {limit:,}" if number > limit or limit < LARGEST else ""
        raise ValueError(f"{what} must be at least {least}{upper}, got {number}")
    return number


def check_batch_size(value: Any) -> int:
    """The batch size as an int: from 1 to sys.maxsize.

    >>> from minifa.validation import check_batch_size
    >>> check_batch_size(-5)
    Traceback (most recent call last):
    ValueError: the batch size must be at least 1, got -5
    """
    return check_int(value, "the batch size", most=sys.maxsize)


def check_float(value: Any, what: str) -> float:
    """The value as a float. Raises TypeError if it is not a real number, ValueError if it overflows a float.

    >>> from minifa.validation import check_float
    >>> check_float("fast", "lr")
    Traceback (most recent call last):
    TypeError: lr must be a number, got 'fast'
    """
    try:
        number = as_python_number(value)
        if type(number) in (float, int):
            return float(number)
    except OverflowError:
        raise ValueError(f"{what} must be at most {sys.float_info.max:.2g}, got a larger integer") from None
    raise TypeError(f"{what} must be a number, got {value!r}")


def check_positive(value: Any, what: str, most: float | None = None) -> float:
    """The value as a float. Raises TypeError if it is not a number, ValueError unless it is finite and above 0, and at
    most ``most``.

    >>> from minifa.validation import check_positive
    >>> check_positive(0, "sigma")
    Traceback (most recent call last):
    ValueError: sigma must be above 0, got 0
    """
    number = check_float(value, what)
    if not number > 0:
        raise ValueError(f"{what} must be above 0, got {value}")
    if number == math.inf:
        raise ValueError(f"{what} must be a finite number above 0, got {value}")
    if most is not None and number > most:
        raise ValueError(f"{what} must be at most {most}, got {value}")
    return number


def check_between(value: Any, what: str, low: float, high: float) -> float:
    """The value as a float. Raises TypeError if it is not a number, ValueError unless low <= value < high.

    >>> from minifa.validation import check_between
    >>> check_between(1, "momentum", 0, 1)
    Traceback (most recent call last):
    ValueError: momentum must be at least 0 and below 1, got 1.0
    """
    number = check_float(value, what)
    if not low <= number < high:
        upper = "finite" if high == math.inf else f"below {high}"
        raise ValueError(f"{what} must be at least {low} and {upper}, got {number}")
    return number


def check_choice(value: Any, what: str, known: Sequence[str | None]) -> Any:
    """Return the value. Raises ValueError unless it is one of ``known``.

    >>> from minifa.validation import check_choice
    >>> check_choice("sideways", "at", ("activation", "stage"))
    Traceback (most recent call last):
    ValueError: at must be 'activation' or 'stage', got 'sideways'
    """
    if (value is None or isinstance(value, str)) and value in known:
        return value
    *others, last = map(repr, known)
    raise ValueError(f"{what} must be {', '.join(others)} or {last}, got {value!r}")


def check_bool(value: Any, what: str) -> bool:
    """The value as a bool. Raises TypeError if it is neither True nor False.

    >>> from minifa.validation import check_bool
    >>> check_bool("no", "bias")
    Traceback (most recent call last):
    TypeError: bias must be a bool, got 'no'
    """
    if value is True or value is False:
        return value
    if not isinstance(value, numpy.bool_):
        raise TypeError(f"{what} must be a bool, got {value!r}")
    return bool(value)


def check_type(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return the value. Raises TypeError, with a message that starts with ``what``, unless it is an instance of
    ``kind``.

    >>> from minifa.validation import check_type
    >>> check_type("mlp", mf.Network, "net must be a minifa.Network")
    Traceback (most recent call last):
    TypeError: net must be a minifa.Network, got 'mlp'
    """
    if not isinstance(value, kind):
        is_class = isinstance(value, type) and issubclass(value, kind)
        hint = f": pass an instance, {value.__name__}(...)" if is_class else ""
        raise TypeError(f"{what}, got {value!r}{hint}")
    return value


def check_str(value: Any, what: str) -> str:
    """Return the value. Raises TypeError if it is not a str.

    >>> from minifa.validation import check_str
    >>> check_str(7, "a title")
    Traceback (most recent call last):
    TypeError: a title must be a str, got 7
    """
    return check_type(value, str, f"{what} must be a str")


def check_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return the value. Raises TypeError if it is not a mapping with str keys.

    >>> from minifa.validation import check_mapping
    >>> check_mapping([("lr", 0.1)], "the configuration")
    Traceback (most recent call last):
    TypeError: the configuration must be a dict with str keys, got [('lr', 0.1)]
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{what} must be a dict with str keys, got {value!r}")
    return value


def check_list(values: Any, kind: type | tuple[type, ...], what: str) -> list[Any]:
    """The values of any iterable as a list. Raises TypeError, with a message that starts with ``what``, unless each one
    is an instance of ``kind``. A str or bytes is not accepted as an iterable.

    >>> from minifa.validation import check_list
    >>> check_list("bp", str, "rules must be a list of names")
    Traceback (most recent call last):
    TypeError: rules must be a list of names, got 'bp'
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{what}, got {values!r}")
    items = list(values)
    for item in items:
        if not isinstance(item, kind):
            raise TypeError(f"{what}, got the item {item!r}")
    return items


def example_shape(shape: Sequence[int], what: str) -> Shape:
    """The shape of one example as a tuple, () for a single number. Raises TypeError for an object that is not a shape,
    ValueError for sizes below 1."""
    check_type(shape, (list, tuple), f"{what} must be the shape of one example, a tuple such as (784,) or (32, 32, 3)")
    return tuple(check_int(size, f"every size in {what}") for size in shape)


def format_shape(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape) if shape else "a single number"
