"""Short names for rules, losses, optimizers, models and data sets: the same in Python and on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of that name.

    Raises:
        ValueError: there is none; the message names the nearest known ones, or all of them.
    """
    if name in table:
        return table[name]
    raise ValueError(unknown(table, name, what))


def unknown(names: Iterable[str], name: object, what: str) -> str:
    """The sentence for a name that is not known."""
    known = sorted(names)
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}: {hint}"
