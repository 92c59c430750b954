"""Phases of a training: the epochs under one rule with one optimizer, after which others may follow."""

from __future__ import annotations

__all__: list[str] = []

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..validation import check_str

PATTERN = r"[A-Za-z][\w -]*"


def check_name(name: str) -> str:
    """The name of a phase, which is a cell of a CSV file and a part of a setting's name. Raises TypeError, ValueError.

    >>> from minifa.training.phases import check_name
    >>> check_name("warm-up")
    'warm-up'
    """
    if not re.fullmatch(PATTERN, check_str(name, "the name of a phase")) or name.endswith(" ") or _is_number(name):
        raise ValueError(
            f"the name of a phase must begin with a letter and consist of letters, digits, '-', '_' and spaces, "
            f"such as 'warm-up', got {name!r}"
        )
    return name


def _is_number(name: str) -> bool:
    """Whether a reader of CSV files takes the name for a number, as "nan"."""
    try:
        return not math.isfinite(float(name))
    except ValueError:
        return False


def starts_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """The starts of the phases after the first one, from the rows of a history: the last epoch before each, and its
    name.

    >>> from minifa.training.phases import starts_of
    >>> starts_of([{"epoch": epoch, "phase": "first" if epoch < 3 else "second"} for epoch in range(5)])
    [(2, 'second')]
    """
    pairs = [(one, other) for one, other in itertools.pairwise(rows) if one.get("phase") != other.get("phase")]
    return [(one["epoch"], other["phase"]) for one, other in pairs if "phase" in other]


@dataclass(frozen=True)
class Carried:
    """What a new phase has from the phase before, by the names of the arrays.

    Attributes:
        network: the parameters and buffers of the network, which are always kept.
        rule: arrays of the rule's memory that were carried over (see `minifa.rules.Rule.carry_over`).
        drawn: the other arrays of the rule's memory: drawn anew.
    """

    network: tuple[str, ...]
    rule: tuple[str, ...]
    drawn: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"all {len(self.network)} arrays of the network"]
        parts += [f"of the rule {', '.join(self.rule)}"] if self.rule else []
        drawn = f"; drawn anew: {', '.join(self.drawn)}" if self.drawn else ""
        return f"carried over: {'; '.join(parts)}{drawn}; the optimizer and the schedule start afresh"
