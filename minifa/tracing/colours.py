"""Colours of numbers in a terminal, as on the explorer's page: blue below zero, orange above, by size."""

from __future__ import annotations

__all__: list[str] = []

import math
import os
import re
from collections.abc import Mapping
from typing import Any, TextIO

import numpy

from .equations import Paint

# Numbers of the 256-colour palette: negative, small to large; zero; positive, small to large. The sizes of equal
# steps have about the same luminance. Every cell sets its own background, so either row can be read on any terminal.
DARK = ((24, 32, 39, 81), 236, (94, 166, 208, 215))
LIGHT = ((153, 75, 32, 24), 255, (223, 208, 166, 94))
BLACK, WHITE = 16, 231
RESET, BOLD = "\x1b[0m", "\x1b[1m"
LEVELS = (0, 95, 135, 175, 215, 255)  # of red, green and blue in the colours 16 to 231
CHOICES = ("auto", "always", "never")
MONOCHROME = re.compile(r"$|dumb|unknown|vt\d")  # values of $TERM


def wanted(choice: str, stream: TextIO) -> bool:
    """Whether to print colours to a stream. "auto": to a terminal that shows them, unless $NO_COLOR is set."""
    if choice != "auto":
        return choice == "always"
    shows = "WT_SESSION" in os.environ if os.name == "nt" else not MONOCHROME.match(os.environ.get("TERM", ""))
    return shows and not os.environ.get("NO_COLOR") and stream.isatty()


def sizes(*all_terms: Mapping[str, Any]) -> dict[str, float]:
    """The largest magnitude in the arrays of every symbol. Symbols of one quantity share it: W, W_new and B; delta,
    delta_below and delta_bp."""
    largest: dict[str, float] = {}
    for symbol, value in (item for terms in all_terms for item in terms.items()):
        array = numpy.asarray(value)
        if array.dtype.kind == "f" and array.ndim:
            finite = numpy.abs(array[numpy.isfinite(array)])
            largest[_quantity(symbol)] = max(largest.get(_quantity(symbol), 0.0), float(finite.max(initial=0.0)))
    return largest


def _quantity(symbol: str) -> str:
    name = symbol.partition("_")[0]
    return "W" if name in ("B", "F") else name


def painter(largest: Mapping[str, float]) -> Paint:
    """Paints the cells of float arrays by sign and size; other cells, such as labels, are not painted.

    Args:
        largest: the magnitude of the strongest colour for each quantity, as `sizes` returns it.
    """
    ramp = _ramp()

    def paint(symbol: str, value: float, text: str) -> str:
        limit = largest.get(_quantity(symbol))
        if limit is None or math.isnan(value):
            return text
        colour = _colour(value, limit, ramp)
        return f"\x1b[38;5;{ink(colour)};48;5;{colour}m{text}{RESET}"

    return paint


def _ramp() -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """The colours for the terminal's background, where it tells ($COLORFGBG ends with its number)."""
    return LIGHT if os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else DARK


def _colour(value: float, limit: float, ramp: tuple[tuple[int, ...], int, tuple[int, ...]]) -> int:
    negative, zero, positive = ramp
    if not value:
        return zero
    steps = negative if value < 0 else positive
    share = min(1.0, abs(value) / limit) if limit else 1.0
    return steps[max(0, math.ceil(share * len(steps)) - 1)]


def ink(colour: int) -> int:
    """Black or white, whichever has the higher contrast with a colour of the palette: 4.5 to 1 or more."""
    light = luminance(colour)
    return BLACK if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else WHITE


def luminance(colour: int) -> float:
    """The relative luminance, from 0 to 1, of a colour from 16 to 255 (WCAG 2.2)."""
    if colour >= 232:
        channels = [8 + 10 * (colour - 232)] * 3
    else:
        channels = [LEVELS[(colour - 16) // step % 6] for step in (36, 6, 1)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in (c / 255 for c in channels)]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def legend() -> str:
    """One line that explains the colours."""
    negative, zero, positive = _ramp()
    ramp = [*reversed(negative), zero, *positive]
    return "negative " + "".join(f"\x1b[48;5;{colour}m  " for colour in ramp) + f"{RESET} positive"
