"""Learning rules, one file each. To add one: write its file, and add its line to `RULES`."""

from __future__ import annotations

import inspect

from ..registry import lookup, unknown
from .alignment import ActivationAlignment, InformationAlignment, SymmetricAlignment
from .backprop import BP, Shallow
from .base import Rule
from .dense import Dense
from .direct import DFA, DRTP, SignDFA
from .feedback_alignment import FA, Sham
from .kolen_pollack import DirectKolenPollack, KolenPollack
from .pepita import PEPITA
from .perturbation import NodePerturbation, WeightPerturbation
from .product import Product
from .sign_concordant import BRSF, FRSF, USF
from .weight_mirror import WeightMirror

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        BP,
        Shallow,
        Sham,
        FA,
        USF,
        FRSF,
        BRSF,
        KolenPollack,
        WeightMirror,
        Product,
        SymmetricAlignment,
        ActivationAlignment,
        InformationAlignment,
        DFA,
        SignDFA,
        DRTP,
        DirectKolenPollack,
        Dense,
        PEPITA,
        NodePerturbation,
        WeightPerturbation,
    )
}


def make(description: str, seed: int = 0) -> Rule:
    """A rule from its name and options, as written on the command line: ``"fa"``, ``"usf:scale=init"``,
    ``"fa:conv=dense,sparsity=0.5"``.

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
    try:
        return rule(seed=seed, **options)
    except TypeError as error:
        raise ValueError(f"the rule {name!r} cannot take the options {written!r}: {error}") from error


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


__all__ = [
    "ActivationAlignment",
    "BP",
    "BRSF",
    "DFA",
    "DRTP",
    "Dense",
    "DirectKolenPollack",
    "FA",
    "FRSF",
    "InformationAlignment",
    "KolenPollack",
    "NodePerturbation",
    "PEPITA",
    "Product",
    "RULES",
    "Rule",
    "Sham",
    "Shallow",
    "SignDFA",
    "SymmetricAlignment",
    "USF",
    "WeightMirror",
    "WeightPerturbation",
    "make",
]
