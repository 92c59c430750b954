"""Learning rules, one file each. To add one: write its file, and add its line to `RULES`."""

from __future__ import annotations

import inspect

from ..registry import lookup, unknown
from .backprop import BP, Shallow
from .base import Rule
from .direct import DFA
from .feedback_alignment import FA, Sham
from .sign_concordant import BRSF, FRSF, USF

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (BP, Shallow, Sham, FA, USF, FRSF, BRSF, DFA)}


def make(description: str, seed: int = 0) -> Rule:
    """A rule from its name and options, as written on the command line: ``"fa"``, ``"usf:scale=init"``, ``"fa:conv=dense,sparsity=0.5"``.

    Raises:
        ValueError: an unknown rule or option (with the nearest known ones), or a value that the rule refuses.
    """
    name, _, written = description.partition(":")
    rule = lookup(RULES, name, "rule")
    known = [key for key in inspect.signature(rule).parameters if key != "seed"]
    options = {}
    for item in filter(None, written.split(",")):
        key, equals, value = item.partition("=")
        if key not in known:
            raise ValueError(
                f"{unknown(known, key, f'option of rule {name!r}')}" if known else f"the rule {name!r} takes no options"
            )
        if not equals:
            raise ValueError(f"an option of a rule is written key=value, got {item!r}")
        options[key] = _read_value(value)
    return rule(seed=seed, **options)


def _read_value(text: str) -> str | float | bool | None:
    """The value of an option: true, false, none, a number, or a word."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


__all__ = ["BP", "BRSF", "DFA", "FA", "FRSF", "RULES", "Rule", "Sham", "Shallow", "USF", "make"]
