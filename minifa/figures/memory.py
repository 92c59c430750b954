"""Activation memory as a function of depth."""

from __future__ import annotations

__all__ = ["activation_memory"]

import sys
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..validation import check_int, check_mapping
from .style import SMALL, apart, drawing, look

MIB = 2**20


def activation_memory(
    peaks: Mapping[str, Mapping[int, int]], title: str = "", facts: str = "", *, dark: bool = False
) -> Figure:
    """Peak activation memory of a training step against the depth of the network: one line per rule, with its name and
    last value at its end. Line widths decrease from rule to rule, so that coinciding lines remain visible.

    Args:
        peaks: bytes by rule and depth, as `minifa.bench.memory.measure` returns them.
        title: a heading.
        facts: a description of the measurement, printed below the title.

    Raises:
        TypeError: peaks is not a mapping of such measurements.
        ValueError: there are no measurements.
    """
    for rule, by_depth in check_mapping(peaks, "peaks").items():
        if not isinstance(by_depth, Mapping):
            raise TypeError(f"the measurement of {rule!r} must be a dictionary of bytes by depth, got {by_depth!r}")
        for depth, count in by_depth.items():
            check_int(depth, "a depth"), check_int(count, "a number of bytes", least=0, most=sys.maxsize)
    depths = sorted({depth for by_depth in peaks.values() for depth in by_depth})
    if not depths:
        raise ValueError("peaks must contain a measurement")
    with drawing(3.4, title, facts, dark=dark) as figure:
        axes = figure.subplots()
        for i, by_depth in enumerate(peaks.values()):
            at = sorted(by_depth)
            style = look(i, dark) | {"linewidth": 1.6 + 1.5 * (len(peaks) - 1 - i), "markersize": 5}
            axes.plot(at, [by_depth[depth] / MIB for depth in at], **style)
        axes.set(xlabel="convolutional layers", ylabel="peak memory of a step (MiB)", xticks=depths)
        axes.set_xlim(0, None)
        axes.set_ylim(0, 1.08 * max(max(by_depth.values()) for by_depth in peaks.values()) / MIB)
        axes.grid(axis="x", visible=False)
        _label_ends(axes, peaks, dark)
    return figure


def _label_ends(axes: Axes, peaks: Mapping[str, Mapping[int, int]], dark: bool) -> None:
    """Label the last point of every line with its name and value; labels that would overlap are stacked."""
    ends = [by_depth[max(by_depth)] / MIB for by_depth in peaks.values()]
    heights = apart(ends, 0.07 * axes.get_ylim()[1])
    for i, (name, by_depth) in enumerate(peaks.items()):
        axes.annotate(
            f"{name}  {ends[i]:.1f}", (max(by_depth), heights[i]), (9, 0), textcoords="offset points", va="center",
            fontsize=SMALL + 0.5, color=look(i, dark)["color"], annotation_clip=False,
        )  # fmt: skip
