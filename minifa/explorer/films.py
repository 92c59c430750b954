"""One training step as a film: the moments of a trace, with their arrays in a table.

    moment = {"kind", "layer", "key", "title", "why", "equation": text,
              "mathml": [MathML of each line of the equation],
              "terms": {symbol: number | text | {"array": index, "name": name, "of": shape, "partial": true}},
              "new": {name: index},   "cut": {name: shape},
              "angles": {label: degrees | null},
              "chance": {label: [lowest, highest]},   "chance_how": {label: words}}

A page keeps only a part of large arrays (`minifa.explorer.excerpts`). A term that was cut has the shape of the whole
array ("of"), and a moment lists the shapes of its new arrays that were cut ("cut"; left out if there are none). Of
feature maps the first examples are kept. A term is "partial" if the equation needs more of it than was kept, so that it
cannot be worked out from the page: a part of a matrix always, some of the examples where the equation sums over them.
"""

from __future__ import annotations

__all__: list[str] = []

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from .. import rules
from ..chance import DRAWS, Band, unrelated_entries, weight_band
from ..rules.base import Rule
from ..tracing.recorder import ERRORS, W_AND_B, Moment, Trace
from . import mathml
from .arrays import ArrayTable, Json, number
from .excerpts import Excerpt

FROM_ENTRIES, FROM_DRAWS = "from the number of entries", f"from {DRAWS} other draws of B"
OWN_RULE = "a rule of your own"  # the title of a rule that has none
OVER_EXAMPLES = re.compile(r"\b(mean|sum|var)\b")


def film(trace: Trace, bands: Mapping[str, Band], table: ArrayTable, excerpt: Excerpt = Excerpt()) -> list[Json]:  # noqa: B008
    """The moments of a trace as JSON.

    Args:
        trace: the step.
        bands: by layer, the angles between errors that chance gives (see `minifa.chance.error_bands`).
        table: takes the arrays.
        excerpt: which part of the arrays is kept.
    """
    indices: dict[str, int] = {}  # current array of every name
    moments = []
    for moment, (kind, layer, count) in zip(trace, trace.keys, strict=True):
        before = dict(indices)
        new = {name: numpy.asarray(moment.arrays[name]) for name in moment.new}
        indices.update({name: table.index(excerpt.of(array)) for name, array in new.items()})
        cut = {name: array.shape for name, array in new.items() if excerpt.of(array).shape != array.shape}
        terms = {
            symbol: _term(moment, symbol, value, indices, before, table, excerpt)
            for symbol, value in moment.terms.items()
        }
        moments.append(
            {
                "kind": kind,
                "layer": layer,
                "key": f"{kind} {layer} {count}",
                "title": moment.title,
                "why": moment.why,
                "equation": moment.equation,
                "mathml": mathml.lines(moment.equation, moment.terms),
                "terms": {symbol: term for symbol, term in terms.items() if term is not None},
                "new": {name: indices[name] for name in moment.new},
                **({"cut": cut} if cut else {}),
                "angles": moment.angles,
                **_chance_of(moment, bands),
            }
        )
    return moments


def _chance_of(moment: Moment, bands: Mapping[str, Band]) -> Json:
    """The angles that chance gives, and how they were found, for the angles of this moment where they are known."""
    known: dict[str, Band | None] = {}
    W, B = (moment.arrays.get(f"{moment.layer}.{symbol}") for symbol in "WB")
    if W_AND_B in moment.angles and W is not None:
        known[W_AND_B] = weight_band(unrelated_entries(W, B))
    if ERRORS in moment.angles:
        known[ERRORS] = bands.get(next(name for name in moment.new if name.endswith(".delta")).removesuffix(".delta"))
    how = {W_AND_B: FROM_ENTRIES, ERRORS: FROM_DRAWS}
    found = {label: band for label, band in known.items() if band is not None}
    return {
        "chance": {label: [band.low, band.high] for label, band in found.items()},
        "chance_how": {label: how[label] for label in found},
    }


def _term(
    moment: Moment,
    symbol: str,
    value: Any,
    indices: Mapping[str, int],
    before: Mapping[str, int],
    table: ArrayTable,
    excerpt: Excerpt,
) -> Any:
    """A number, or the index and name of an array."""
    if value is None or not numpy.shape(value):
        return number(value)
    kept = excerpt.of(value)
    index = table.index(kept)
    names = [name for name, other in [*indices.items(), *before.items()] if other == index]
    term = {"array": index, "name": _best_name(moment, symbol, names)}
    if kept.shape != value.shape:
        term["of"] = value.shape
        if not excerpt.is_map(value) or moment.kind == "gradients" or OVER_EXAMPLES.search(moment.equation):
            term["partial"] = True
    return term


def _best_name(moment: Moment, symbol: str, names: Sequence[str]) -> str:
    """The name that fits the symbol best among arrays with equal values (under backpropagation W is B)."""
    here = f"{moment.layer}.{symbol}" if moment.layer else symbol
    bare = re.sub(r"_(\d+|below|above|new)$", "", symbol)

    def fit(name: str) -> tuple[bool, ...]:
        return name == here, name == symbol, name.rpartition(".")[2] == bare, name in moment.new, "@" not in name

    return max(names, key=fit, default="")


def describe_rule(name: str, rule: Rule | None = None) -> Json:
    """Name, texts and equation of a rule; without one, of the registered rule of this name, with its options. Raises
    ValueError for an unknown name."""
    rule = rules.make(name) if rule is None else rule
    texts = {key: getattr(rule, key) for key in ("title", "equation", "paper", "needs")}
    texts["title"] = texts["title"] or OWN_RULE
    return {"name": name, **texts, "mathml": mathml.lines(rule.equation), "paired": rule.B_corresponds_to_W}
