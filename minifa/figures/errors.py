"""The errors computed by a rule, compared with those of backpropagation."""

from __future__ import annotations

__all__ = ["angle_histogram", "deltas"]

import textwrap
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import metrics
from ..backend import Array
from ..losses import Loss
from ..network import Network
from ..rules.base import Rule
from .matrices import Host, host
from .style import SMALL, bare, colour, diverging, drawing, missing, muted, size

EXAMPLES, UNITS = 16, 128  # maximum number shown of a batch's errors


def deltas(net: Network, rule: Rule, x: Array, y: Any, loss: Loss, title: str = "", *, dark: bool = False) -> Figure:
    """For every weighted layer, the rule's error at its output beside backpropagation's, for the same batch and
    weights. The output layer is on top.

    A row is an example, a column a unit (maps are shown channel by channel). Each row is normalised separately, because
    magnitudes differ by orders between examples and layers, while the angle depends on direction only. The angle (mean
    over the batch's examples) and the ratio of the norms (over the batch) are printed beside each pair.

    Args:
        net, rule, x, y, loss: as for `minifa.metrics.errors`.

    Raises:
        ValueError: the rule makes no backward pass, so it has no errors to show.
    """
    errors = metrics.errors(net, rule, x, y, loss)
    facts = (
        f"Rows: {min(EXAMPLES, len(x))} examples, each normalised separately. Columns: up to {UNITS} units. "
        f"Angles: mean over {len(x)} examples"
    )
    with drawing(0.4 + 0.85 * len(errors), title, facts, dark=dark) as figure:
        rows = figure.subplots(len(errors), 2, squeeze=False)
        for axes, name in zip(rows[0], (textwrap.fill(rule.title, 36), "backpropagation"), strict=True):
            axes.set_title(name)
        for (left, right), (name, both) in zip(rows, reversed(errors.items()), strict=True):
            for axes, matrix in zip((left, right), both, strict=True):
                _show_errors(axes, matrix)
            left.set_ylabel(_describe(name, both), rotation=0, ha="right", va="center", fontsize=9)
            right.text(1.02, 0.5, _compare(*both), transform=right.transAxes, va="center", fontsize=9, linespacing=1.4)
    return figure


def _show_errors(axes: Axes, errors: Array | None) -> None:
    if errors is None:
        missing(axes, "no error arrives")
        return
    shown = flattened(host(errors))[:EXAMPLES]
    largest = abs(shown).max(axis=1, keepdims=True)
    shown = shown / numpy.where(largest > 0, largest, 1.0)
    axes.imshow(shown, cmap=diverging(), vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    bare(axes)
    axes.set(xticks=[], yticks=[])


def flattened(errors: Host) -> Host:
    """Errors (N, ...) as a matrix (N, units) with at most `UNITS` columns, maps channel by channel. Only whole channels
    of maps are shown, unless a single one is too large."""
    if errors.ndim == 4:
        n, height, width, _ = errors.shape
        errors = errors[..., : max(1, UNITS // (height * width))].transpose(0, 3, 1, 2)
    return errors.reshape(len(errors), -1)[:, :UNITS]


def _describe(name: str, both: tuple[Array | None, Array | None]) -> str:
    shape = next((errors.shape[1:] for errors in both if errors is not None), ())
    return f"{name}\n{size(shape)}" if shape else name


def _compare(rule_errors: Array | None, bp_errors: Array | None) -> str:
    if rule_errors is None or bp_errors is None:
        return ""
    angles = _angles(rule_errors, bp_errors)
    if not angles.size:
        return "angle undefined: zero\nor not finite"
    norms = [numpy.linalg.norm(host(errors)) for errors in (rule_errors, bp_errors)]
    return f"{angles.mean():.1f}°\nnorm × {norms[0] / norms[1]:#.2g}"


def _angles(rule_errors: Array, bp_errors: Array) -> Host:
    """The angle per example in degrees, without the examples whose angle is undefined."""
    angles = host(metrics.sample_angles(rule_errors, bp_errors))
    return angles[~numpy.isnan(angles)]


def angle_histogram(
    net: Network, rule: Rule, x: Array, y: Any, loss: Loss, title: str = "", *, dark: bool = False
) -> Figure:
    """For every weighted layer, a histogram over examples of the angle between the rule's error and backpropagation's;
    the output layer is on top. 90 degrees is chance level: the two errors are unrelated.

    Args:
        net, rule, x, y, loss: as for `minifa.metrics.errors`.

    Raises:
        ValueError: the rule makes no backward pass, so it has no errors to compare.
    """
    errors = metrics.errors(net, rule, x, y, loss)
    with drawing(0.7 + 0.62 * len(errors), title, dark=dark) as figure:
        column = figure.subplots(len(errors), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, (rule_errors, bp_errors)) in zip(column, reversed(errors.items()), strict=True):
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
            axes.set(yticks=[])
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.axvline(90, color=muted(), linewidth=1, linestyle=(0, (4, 3)))
            values = numpy.empty(0) if rule_errors is None or bp_errors is None else _angles(rule_errors, bp_errors)
            axes.hist(values, bins=numpy.arange(0, 181, 2), color=colour(0), alpha=0.85)
            if rule_errors is None or bp_errors is None:
                text = "no error arrives"
            else:
                text = f"mean {values.mean():.1f}°" if values.size else "angle undefined: zero or not finite"
            axes.text(1, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9)
        column[0].annotate(
            "chance", (90, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            fontsize=SMALL, color=muted(),
        )  # fmt: skip
        column[-1].set(xlim=(0, 180), xticks=range(0, 181, 30))
        column[-1].set_xticklabels([f"{a}°" for a in range(0, 181, 30)])
        column[-1].set_xlabel(f"angle per example between the errors of {rule.name} and backpropagation")
    return figure
