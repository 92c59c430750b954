"""One training step as a film: the moments of a trace, with their arrays in a table."""

from __future__ import annotations

__all__ = ["describe_rule", "film"]

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from .. import rules
from ..chance import Band, unrelated_entries, weight_band
from ..rules.base import Rule
from ..tracing.recorder import ERRORS, W_AND_B, Moment, Trace
from .arrays import ArrayTable, Json, number


def film(trace: Trace, bands: Mapping[str, Band], table: ArrayTable) -> list[Json]:
    indices: dict[str, int] = {}  # current array of every name
    moments = []
    for moment, (kind, layer, count) in zip(trace, trace.keys, strict=True):
        before = dict(indices)
        indices.update({name: table.index(numpy.asarray(moment.arrays[name])) for name in moment.new})
        terms = {symbol: _term(moment, symbol, value, indices, before, table) for symbol, value in moment.terms.items()}
        moments.append(
            {
                "kind": kind,
                "layer": layer,
                "key": f"{kind} {layer} {count}",
                "title": moment.title,
                "why": moment.why,
                "equation": moment.equation,
                "terms": {symbol: term for symbol, term in terms.items() if term is not None},
                "new": {name: indices[name] for name in moment.new},
                "angles": moment.angles,
                "chance": _chance_of(moment, bands),
            }
        )
    return moments


def _chance_of(moment: Moment, bands: Mapping[str, Band]) -> Json:
    """The angles that chance gives, [lowest, highest], for the angles of this moment where they are known."""
    known: dict[str, Band | None] = {}
    B = moment.arrays.get(f"{moment.layer}.B")
    if W_AND_B in moment.angles and B is not None:
        known[W_AND_B] = weight_band(unrelated_entries(B))
    if ERRORS in moment.angles:
        known[ERRORS] = bands.get(next(name for name in moment.new if name.endswith(".delta")).removesuffix(".delta"))
    return {label: [band.low, band.high] for label, band in known.items() if band is not None}


def _term(
    moment: Moment, symbol: str, value: Any, indices: Mapping[str, int], before: Mapping[str, int], table: ArrayTable
) -> Any:
    """A number, or the index and name of an array."""
    if value is None or not numpy.shape(value):
        return number(value)
    index = table.index(value)
    names = [name for name, other in [*indices.items(), *before.items()] if other == index]
    return {"array": index, "name": _best_name(moment, symbol, names)}


def _best_name(moment: Moment, symbol: str, names: Sequence[str]) -> str:
    """The name that fits the symbol best among arrays with equal values (under backpropagation W is B)."""
    here = f"{moment.layer}.{symbol}" if moment.layer else symbol
    bare = re.sub(r"_(\d+|below|above|new)$", "", symbol)

    def fit(name: str) -> tuple[bool, ...]:
        return name == here, name == symbol, name.rpartition(".")[2] == bare, name in moment.new, "@" not in name

    return max(names, key=fit, default="")


def describe_rule(name: str, rule: Rule | None = None) -> Json:
    """What a page shows of a rule; without one, of the registered rule of this name."""
    rule = rules.make(name) if rule is None else rule
    texts = {key: getattr(rule, key) for key in ("title", "equation", "paper", "needs")}
    return {"name": name, **texts, "paired": rule.B_corresponds_to_W}
