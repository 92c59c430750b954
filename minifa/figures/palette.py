"""The diverging colour map as a palette of 256 colours, for maps that are written without a figure."""

from __future__ import annotations

__all__: list[str] = []

import functools

import numpy
from matplotlib import rc_context

from .style import STYLE, diverging

MISSING = 255  # index of grey, for an entry that is missing or not finite; 0 to 254 are negative to positive


@functools.cache
def diverging_palette() -> numpy.ndarray:
    """The colours (256, 3), uint8, for a light background."""
    with rc_context(STYLE | {"axes.facecolor": "white"}):
        colours = diverging()(numpy.linspace(0, 1, MISSING))[:, :3]
    grey = numpy.full((1, 3), 0.8)
    return numpy.round(255 * numpy.concatenate([colours, grey])).astype(numpy.uint8)
