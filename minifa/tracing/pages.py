"""The moments of a trace as text, under one rule or under two beside each other."""

from __future__ import annotations

__all__ = ["compared", "page"]

import itertools
from collections.abc import Sequence
from typing import Any

import numpy

from .. import backend, metrics
from ..text import lines_of, printable, shown_length
from ..validation import check_bool, check_int, check_type
from . import colours
from .equations import CUT, plain, with_numbers
from .recorder import Moment, Trace

MOST_LAYERS = 12  # maximum number of layers in the position line
TWO_COLUMNS = 100  # characters of a line from which two rules stand side by side
A_TRACE = "the trace must be a minifa.Trace, as minifa.trace returns"

Section = list[str]  # lines


def page(trace: Trace, i: int, width: int = 80, color: bool = False) -> str:
    """One moment as text: position, title, explanation, equation, the equation with its values, angles and new arrays.

    Args:
        trace: a trace.
        i: the index of the moment.
        width: the most characters of a line, at least 1.
        color: whether to colour the values by sign and size, for a terminal with 256 colours.

    Raises:
        TypeError, ValueError: an invalid argument.
    """
    moment = _moment(trace, i)
    width, color = check_int(width, "the width of a page"), check_bool(color, "color")
    return _joined(_sections(trace, i, width, colours.sizes(moment.terms) if color else None))


def compared(one: Trace, other: Trace, i: int, width: int = 80, color: bool = False) -> str:
    """The same moment under two rules, side by side in at least `TWO_COLUMNS` characters, else one below the other;
    below them the angles between the arrays that are new in both.

    Args:
        one: the trace whose moment is shown.
        other: a trace of the same network from the same weights.
        i: the index of the moment in ``one``.
        width, color: as for `page`. The two rules share the scale of the colours.

    Raises:
        TypeError, ValueError: an invalid argument.
    """
    moment, j = _moment(one, i), check_type(other, Trace, A_TRACE).matching_index(one, i)
    width, color = check_int(width, "the width of a page"), check_bool(color, "color")
    largest = colours.sizes(moment.terms, other[j].terms) if color else None
    beside = width >= TWO_COLUMNS
    column = (width - 3) // 2 if beside else width
    sections = [_sections(one, i, column, largest), _sections(other, j, column, largest)]
    if beside:
        both = _joined([_beside(left, right, column) for left, right in zip(*sections, strict=True)])
    else:  # what is equal under both rules stands once
        first, second = sections
        second = [[] if a == b else b for a, b in zip(first, second, strict=True)]
        both = _joined(first) + "\n\n" + _joined(second)
    between = [line for text in _between(one, i, other, j) for line in lines_of(text, width)]
    return both + "\n\n" + "\n".join(between)


def show(traces: Sequence[Trace], i: int, width: int, color: bool) -> str:
    """The page of one trace, or the comparison of two; arguments as for `compared`."""
    if len(traces) == 1:
        return page(traces[0], i, width, color)
    return compared(traces[0], traces[1], i, width, color)


def _moment(trace: Trace, i: int) -> Moment:
    check_type(trace, Trace, A_TRACE)
    moment: Moment = trace[check_int(i, "the index of a moment", least=0, most=len(trace) - 1)]
    return moment


def _joined(sections: Sequence[Section]) -> str:
    """The sections with an empty line between; none between title and position."""
    title, position, *others = sections
    return "\n\n".join("\n".join(section) for section in ([*title, *position], *others) if section)


def _sections(trace: Trace, i: int, width: int, largest: dict[str, float] | None) -> list[Section]:
    """Title, position, explanation, equation, values, and angles with new arrays; some may be empty. Names are
    printable, because text with colours does not pass through `text.Printable`."""
    moment = trace[i]
    title = _wrap(f"{trace.rule} · {i + 1} of {len(trace)} · {moment.title}", width)
    paint = plain if largest is None else colours.painter(largest)
    terms = {printable(symbol): value for symbol, value in moment.terms.items()}
    numbers = with_numbers(printable(moment.equation), terms, width, paint)
    angles = [f"angle of {name}: {_degrees(angle)}" for name, angle in moment.angles.items()]
    new = ", ".join(f"{name} {describe_shape(moment.arrays[name])}" for name in moment.new)
    return [
        title if largest is None else [f"{colours.BOLD}{line}{colours.RESET}" for line in title],
        _position(trace, moment, width),
        _wrap(moment.why, width),
        [part for line in moment.equation.split("\n") for part in _wrap(line, width, indent=4)],
        numbers.split("\n") if numbers else [],
        [line for text in [*angles, *(["new: " + new] if new else [])] for line in _wrap(text, width)],
    ]


def _position(trace: Trace, moment: Moment, width: int) -> list[str]:
    """The layers in a row, the current one in brackets; arrows show the direction of the pass."""
    arrow = " -> " if moment.kind in ("batch", "forward", "noise", "loss") else " <- "
    if moment.kind in ("update", "feedback_update", "clip", "constrain"):
        arrow = "    "
    names = ["x", *(name for name, _, _ in trace.net_layers), "loss"]
    here = {"batch": "x", "loss": "loss"}.get(moment.kind, moment.layer)
    if len(names) > MOST_LAYERS:  # show only the neighbouring layers
        at = names.index(here) if here in names else len(names) - 1
        around = names[max(0, at - 3) : at + 4]
        names = [*(["..."] if at > 3 else []), *around, *(["..."] if at + 4 < len(names) else [])]
    return _wrap(arrow.join(f"[{name}]" if name == here else name for name in names), width)


def _beside(left: Section, right: Section, column: int) -> Section:
    lines = itertools.zip_longest(left, right, fillvalue="")
    return [f"{a}{' ' * (column - shown_length(a))} | {b}".rstrip() for a, b in lines]


def _between(one: Trace, i: int, other: Trace, j: int) -> list[str]:
    """How the arrays that are new in both moments differ, as sentences."""
    names = f"{one.rule} and {other.rule}"
    if one.keys[i] != other.keys[j]:
        return [f"{other.rule} has no such moment: its last moment before is shown."]
    mine, theirs = one[i], other[j]
    equal, lines = [], []
    for name in [name for name in mine.new if name in theirs.new]:
        a, b = mine.arrays[name], theirs.arrays[name]
        if a.dtype == b.dtype and numpy.array_equal(a, b):
            equal.append(name)
        elif a.dtype.kind == "f" and a.shape == b.shape:
            angle = metrics.to_float(metrics.angle(backend.asarray(a), backend.asarray(b)))
            lines.append(f"angle of {name} between {names}: {_degrees(angle)}")
    return [*lines, *([f"equal under {names}: {', '.join(equal)}"] if equal else [])]


def is_cut(text: str) -> bool:
    """Whether a page leaves out columns of a matrix."""
    return CUT.search(text) is not None


def _wrap(text: str, width: int, indent: int = 0) -> list[str]:
    return lines_of(printable(text), width, " " * indent, " " * 2 * indent)


def _degrees(angle: float | None) -> str:
    return "not defined" if angle is None else f"{angle:.1f} degrees"


def describe_shape(array: Any) -> str:
    return "not computed yet" if array is None else "x".join(map(str, array.shape)) or "a number"
