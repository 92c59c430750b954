"""The parameters of a page's requests, validated: types, ranges and sizes, before any work is done."""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..registry import option_names, read_options, unknown
from ..rules import RULES
from ..validation import check_float, check_int, check_list, check_mapping, check_positive, check_str

MOST_UPDATES = 20_000  # of one run
MOST_UPDATES_BEFORE = 10_000  # before the step of a film
MOST_SEED = 2**31 - 1
MOST_LAYERS, MOST_WIDTH = 8, 1024  # hidden layers and units in each
MOST_WEIGHTS = 2_000_000  # of all layers; 8 MB in single precision, as many for gradients and for B
MOST_PAINTED = 100_000  # entries of B in one request
LARGEST_PAINTED = 1e6  # absolute value of such an entry
LONGEST_RULE = 200  # characters of a rule with its options
MOST_OPTION = 1000  # of an int among them, such as the steps of one update, which nothing interrupts

Painted = dict[str, dict[int, float]]  # layer: {index in the flattened matrix: value}


@dataclass(frozen=True)
class FilmParameters:
    """What a page asks of a film."""

    rule: str
    updates: int


@dataclass(frozen=True)
class RunParameters:
    """What a page asks of a run; None: the session's own value."""

    rule: str
    updates: int
    lr: float | None = None
    hidden: tuple[int, ...] | None = None
    seed: int | None = None
    noise: float = 0.0
    angle: float | None = None
    feedback: Painted = field(default_factory=dict)


def read_film(params: Any, rules: Sequence[str], updates: int) -> FilmParameters:
    """Validate the parameters of a film.

    Args:
        params: of the request.
        rules: those of the session. The first one is used if the request names none.
        updates: number of updates if the request has none.

    Raises:
        TypeError, ValueError: a parameter that is not known, of the wrong type or out of range.
    """
    given = _known(params, ("rule", "updates"))
    return FilmParameters(
        _rule(given.get("rule", rules[0]), rules),
        check_int(given.get("updates", updates), "updates", least=0, most=MOST_UPDATES_BEFORE),
    )


def read_run(params: Any, rules: Sequence[str], updates: int) -> RunParameters:
    """Validate the parameters of a run, as `read_film`."""
    given = _known(params, ("rule", "updates", "lr", "hidden", "seed", "noise", "angle", "feedback"))
    given = {key: value for key, value in given.items() if value is not None}  # JSON's null: as if it was missing
    return RunParameters(
        rule=_rule(given.get("rule", rules[0]), rules),
        updates=check_int(given.get("updates", updates), "updates", least=1, most=MOST_UPDATES),
        lr=check_positive(given["lr"], "the learning rate lr") if "lr" in given else None,
        hidden=_widths(given["hidden"]) if "hidden" in given else None,
        seed=check_int(given["seed"], "the seed", least=0, most=MOST_SEED) if "seed" in given else None,
        noise=_within(given.get("noise", 0.0), "noise, the share of wrong labels,", 1),
        angle=_within(given["angle"], "the angle between B and the initial W, in degrees,", 180)
        if "angle" in given
        else None,
        feedback=_painted(given.get("feedback", {})),
    )


def check_weights(sizes: Sequence[int]) -> None:
    """Raise ValueError if a network of layers of these sizes, from inputs to outputs, has too many weights."""
    weights = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"a network of {'-'.join(map(str, sizes))} has {weights:,} weights; this page can have at most "
            f"{MOST_WEIGHTS:,}: choose smaller widths"
        )


def _known(params: Any, names: Sequence[str]) -> Mapping[str, Any]:
    given = check_mapping({} if params is None else params, "the parameters")
    for key in given:
        if key not in names:
            raise ValueError(unknown(names, key[:LONGEST_RULE], "parameter"))
    return given


def _rule(value: Any, own: Sequence[str]) -> str:
    """A rule with its options, which are bounded unless the session has this rule of its own."""
    text = check_str(value, "the rule")
    if len(text) > LONGEST_RULE:
        raise ValueError(f"the rule must have at most {LONGEST_RULE} characters, got {len(text)}")
    name, _, written = text.partition(":")
    if text not in own and name in RULES:
        options = read_options(written, option_names(RULES[name]), "rule", name)  # type: ignore[arg-type]  # a class can be hashed
        for key, option in options.items():
            if isinstance(option, int) and abs(option) > MOST_OPTION:
                raise ValueError(f"the option {key} of the rule {name!r} must be at most {MOST_OPTION:,}, got {option}")
    return text


def _within(value: Any, what: str, most: float) -> float:
    number = check_float(value, what)
    if not 0 <= number <= most:
        raise ValueError(f"{what} must lie from 0 to {most}, got {number}")
    return number


def _widths(value: Any) -> tuple[int, ...]:
    widths = check_list(value, int, "hidden must be a list of widths, such as [16, 12]")
    if len(widths) > MOST_LAYERS:
        raise ValueError(f"hidden must have at most {MOST_LAYERS} widths, got {len(widths)}")
    return tuple(check_int(width, "the width of a hidden layer", most=MOST_WIDTH) for width in widths)


def _painted(value: Any) -> Painted:
    painted: Painted = {}
    for layer, cells in check_mapping(value, "feedback").items():
        pairs = check_list(
            cells, (list, tuple), f"feedback of {layer[:LONGEST_RULE]!r} must be a list [[index, value]]"
        )
        painted[layer] = dict(_cell(pair) for pair in pairs)
    if sum(map(len, painted.values())) > MOST_PAINTED:
        raise ValueError(f"feedback must have at most {MOST_PAINTED:,} entries")
    return painted


def _cell(pair: Sequence[Any]) -> tuple[int, float]:
    if len(pair) != 2:
        raise ValueError(f"an entry of feedback must be [index, value], got {len(pair)} items")
    number = check_float(pair[1], "a value in feedback")
    if not math.isfinite(number) or abs(number) > LARGEST_PAINTED:
        raise ValueError(f"a value in feedback must be a number from -{LARGEST_PAINTED:g} to {LARGEST_PAINTED:g}")
    return check_int(pair[0], "an index in feedback", least=0), number
