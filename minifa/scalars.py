"""What a layer, an optimizer or an augmentation is given beside arrays: a whole number, a number, True or False.

Each function returns the value to keep; ``what`` names it in the sentence that refuses another.
"""

from __future__ import annotations

import numbers
import operator
import sys
from typing import Any

import numpy

LARGEST = (1 << 31) - 1  # no size of an array comes near it


def whole(value: Any, what: str, least: int = 1, most: int | None = None) -> int:
    """The value as an int. Raises TypeError for what is no whole number, ValueError outside ``least`` to ``most``.

    >>> from minifa.scalars import whole
    >>> whole(np.int64(3), "a stride")
    3
    >>> whole(2.5, "a stride")
    Traceback (most recent call last):
    TypeError: a stride is a whole number, got 2.5
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{what} is a whole number, got {value!r}")
    if number < least or number > (LARGEST if most is None else most):
        at_most = LARGEST if most is None and number > LARGEST else most
        raise ValueError(
            f"{what} must be at least {least}{f' and at most {at_most:,}' if at_most else ''}, got {number}"
        )
    return number


def real(value: Any, what: str) -> float:
    """The value as a float. Raises TypeError for what is no number, ValueError for one that no float can hold.

    >>> from minifa.scalars import real
    >>> real("fast", "lr")
    Traceback (most recent call last):
    TypeError: lr is a number, got 'fast'
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} is a number, got {value!r}")
    if isinstance(value, numbers.Integral) and abs(int(value)) > sys.float_info.max:
        raise ValueError(f"{what} is a number that a float can hold, got one beyond {sys.float_info.max:.2g}")
    return float(value)


def flag(value: Any, what: str) -> bool:
    """The value as a bool. Raises TypeError for what is neither True nor False.

    >>> from minifa.scalars import flag
    >>> flag("no", "bias")
    Traceback (most recent call last):
    TypeError: bias is True or False, got 'no'
    """
    if not isinstance(value, (bool, numpy.bool_)):
        raise TypeError(f"{what} is True or False, got {value!r}")
    return bool(value)
