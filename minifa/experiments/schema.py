"""Validation of values in files: each check returns the value to use or raises ValueError. `Problems` collects all
errors, so that they are reported together."""

from __future__ import annotations

__all__: list[str] = []

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..data.scaling import SCALES
from ..registry import unknown

Check = Callable[[Any], Any]


class Problems(list[str]):
    """The problems found so far, without duplicates.

    >>> from minifa.experiments.schema import Problems, integer
    >>> problems = Problems()
    >>> problems.attempt("epochs", integer(1), 3), problems.attempt("runs", integer(1), 0)
    (3, None)
    >>> problems
    ['runs: a whole number from 1 up is expected, got 0']
    """

    def add(self, where: str, what: object) -> None:
        """Add a problem; ``where`` is the name of the setting it is about, and may be empty."""
        problem = f"{where}: {what}" if where else str(what)
        if problem not in self:
            self.append(problem)

    def attempt(self, where: str, check: Check, value: Any, default: Any = None) -> Any:
        """Return ``check(value)``; if it raises ValueError, add a problem and return the default."""
        try:
            return check(value)
        except ValueError as error:
            self.add(where, error)
            return default

    def entries(self, where: str, section: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
        """Validate the entries of a section with the checks of the same name; entries without a check are problems."""
        values = {}
        for key, value in section.items():
            if key not in checks:
                self.add(f"{where}.{key}", unknown(checks, key, "entry"))
            else:
                values[key] = self.attempt(f"{where}.{key}", checks[key], value)
        return values


def string(value: Any) -> str:
    """A non-empty string without null characters, so that it can be a path."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"a word is expected, got {value!r}")
    return value


def strings(value: Any) -> dict[str, str]:
    """A non-empty mapping of strings to strings."""
    if not isinstance(value, dict) or not value or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f'words by their names are expected, {{"features.0" = "conv1"}}, got {value!r}')
    return value


def boolean(value: Any) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false is expected, got {value!r}")
    return value


def integer(least: int, most: int | None = None) -> Callable[[Any], int]:
    """An int from ``least`` to ``most``; None: no upper limit."""

    def check(value: Any) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):
            upper = "up" if most is None else f"to {most}"
            raise ValueError(f"a whole number from {least} {upper} is expected, got {value!r}")
        return value

    return check


def number(least: float, below: float = math.inf) -> Callable[[Any], float]:
    """A finite number, at least ``least`` and below ``below``."""

    def check(value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value < below or abs(value) > sys.float_info.max:
            lower = "finite number" if least == -math.inf else f"number from {least:g} up"
            upper = "" if below == math.inf else f" and below {below:g}"
            raise ValueError(f"a {lower}{upper} is expected, got {value!r}")
        return float(value)

    return check


def fraction(value: Any) -> float:
    """A number above 0 and at most 1, or a quotient as text, such as "1/255"."""
    above, slash, below = str(value).partition("/")
    try:
        quotient = float(above) / float(below if slash else 1)
    except (ValueError, ZeroDivisionError):
        quotient = math.nan
    if isinstance(value, bool) or not 0 < quotient <= 1:
        raise ValueError(
            f"{' or '.join(SCALES)} or a number above 0 and at most 1 is expected, as 1/255, got {value!r}"
        )
    return quotient


def scale(value: Any) -> float | str:
    """The scale of a file's inputs: one of `SCALES`, or a `fraction`."""
    return value if value in SCALES else fraction(value)


def choice(table: Iterable[str], what: str) -> Callable[[Any], str]:
    """A name in the table."""

    def check(value: Any) -> str:
        if string(value) not in table:
            raise ValueError(unknown(table, value, what))
        return value

    return check


def description(make: Callable[[str], Any]) -> Callable[[Any], str]:
    """A description "name:key=value" that ``make`` accepts."""

    def check(value: Any) -> str:
        make(string(value))
        return value

    return check
