"""The errors computed by a rule, compared with those of backpropagation."""

from __future__ import annotations

__all__ = ["angle_histogram", "deltas"]

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import metrics
from ..backend import Array
from ..chance import DRAWS, Band, bands_in_time
from ..losses import Loss
from ..network import Network
from ..rules.base import Rule
from ..validation import check_mapping, check_type
from .matrices import Host, host
from .style import bare, colour, diverging, drawing, missing, muted, shade, size

EXAMPLES, UNITS = 16, 128  # maximum number shown of a batch's errors


def deltas(
    net: Network,
    rule: Rule,
    x: Array,
    y: Any,
    loss: Loss,
    title: str = "",
    *,
    bands: Mapping[str, Band] | None = None,
    dark: bool = False,
) -> Figure:
    """For every weighted layer, the rule's error at its output beside backpropagation's, for the same batch and
    weights. The output layer is on top.

    A row is an example, a column a unit (maps are shown channel by channel). Each example has one scale for both
    errors, so that their sizes can be compared; the magnitudes differ by orders between examples and layers. The angle
    (mean over the batch's examples), the angles that chance gives and the ratio of the norms (over the batch) are
    printed beside each pair.

    Args:
        net, rule, x, y, loss: as for `minifa.metrics.errors`.
        title: a heading.
        bands: by layer, the angles that chance gives; None: those of `minifa.chance.error_bands`, unless the network
            and the batch are so large that these would take minutes.

    Raises:
        TypeError: bands that are not a dictionary of `minifa.chance.Band`.
        ValueError: the rule makes no backward pass, so it has no errors to show.
    """
    errors = metrics.errors(net, rule, x, y, loss)
    bands = _bands(bands, net, rule, x, y, loss)
    facts = (
        f"Rows: {min(EXAMPLES, len(x))} of {len(x)} examples, each with one scale for both errors. Columns: units. "
        f"Angles: mean over {len(x)} examples. {_describe_bands(bands)}"
    )
    with drawing(0.4 + 0.85 * len(errors), title, facts, dark=dark) as figure:
        rows = figure.subplots(len(errors), 2, squeeze=False)
        for axes, name in zip(rows[0], (textwrap.fill(rule.title, 36), "backpropagation"), strict=True):
            axes.set_title(name)
        for (left, right), (name, both) in zip(rows, reversed(errors.items()), strict=True):
            shown = [None if one is None else flattened(host(one))[:EXAMPLES] for one in both]
            sizes = [abs(one).max(axis=1, keepdims=True) for one in shown if one is not None]
            largest = numpy.max(sizes, axis=0) if sizes else numpy.ones(1)  # none below the lowest layer that learns
            for axes, matrix in zip((left, right), shown, strict=True):
                _show_errors(axes, matrix, numpy.where(largest > 0, largest, 1.0))
            left.set_ylabel(_describe(name, both), rotation=0, ha="right", va="center", fontsize=9)
            text = _compare(*both, bands.get(name))
            right.text(1.02, 0.5, text, transform=right.transAxes, va="center", fontsize=9, linespacing=1.4)
    return figure


def _bands(
    bands: Mapping[str, Band] | None, net: Network, rule: Rule, x: Array, y: Any, loss: Loss
) -> Mapping[str, Band]:
    """The given bands, or those of the errors. Raises TypeError."""
    if bands is None:
        return bands_in_time(net, rule, x, y, loss)
    for name, band in check_mapping(bands, "bands").items():
        check_type(band, Band, f"the band of {name!r} must be a minifa.chance.Band")
    return bands


def _describe_bands(bands: Mapping[str, Band]) -> str:
    return f"Chance: mean ± 2 sd of {DRAWS} other draws of B on the same network and batch." if bands else ""


def _show_errors(axes: Axes, errors: Host | None, largest: Host) -> None:
    if errors is None:
        missing(axes, "no error arrives")
        return
    axes.imshow(errors / largest, cmap=diverging(), vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    bare(axes)
    axes.set(xticks=[], yticks=[])


def flattened(errors: Host) -> Host:
    """Errors (N, ...) as a matrix (N, units) with at most `UNITS` columns, maps channel by channel. Only whole channels
    of maps are shown, unless a single one is too large."""
    if errors.ndim == 4:
        errors = errors[..., : _channels(errors.shape[1:])].transpose(0, 3, 1, 2)
    return errors.reshape(len(errors), -1)[:, :UNITS]


def _channels(shape: Sequence[int]) -> int:
    """Number of channels shown of maps (height, width, channels)."""
    return min(shape[2], max(1, UNITS // (shape[0] * shape[1])))


def _describe(name: str, both: tuple[Array | None, Array | None]) -> str:
    """The layer's name, the shape of its output and, unless all are shown, which units are."""
    shape: tuple[int, ...] = next((errors.shape[1:] for errors in both if errors is not None), ())
    units = math.prod(shape)
    if units <= UNITS:
        return f"{name}\n{size(shape)}" if shape else name
    if len(shape) == 3 and shape[0] * shape[1] <= UNITS:
        return f"{name}\n{size(shape)}\nfirst {_channels(shape)} channels"
    return f"{name}\n{size(shape)}\nfirst {UNITS} units"


def _compare(rule_errors: Array | None, bp_errors: Array | None, band: Band | None) -> str:
    if rule_errors is None or bp_errors is None:
        return ""
    angles = _angles(rule_errors, bp_errors)
    if not angles.size:
        return "angle undefined: zero\nor not finite"
    norms = [numpy.linalg.norm(host(errors)) for errors in (rule_errors, bp_errors)]
    by_chance = f"chance {_range(band)}\n" if band else ""
    return f"{angles.mean():.1f}°\n{by_chance}norm × {norms[0] / norms[1]:#.2g}"


def _range(band: Band) -> str:
    return f"{band.mean:.1f} ± {2 * band.sd:.1f}°"


def _angles(rule_errors: Array, bp_errors: Array) -> Host:
    """The angle per example in degrees, without the examples whose angle is undefined."""
    angles = host(metrics.sample_angles(rule_errors, bp_errors))
    return angles[~numpy.isnan(angles)]


def angle_histogram(
    net: Network,
    rule: Rule,
    x: Array,
    y: Any,
    loss: Loss,
    title: str = "",
    *,
    bands: Mapping[str, Band] | None = None,
    dark: bool = False,
) -> Figure:
    """For every weighted layer, a histogram over examples of the angle between the rule's error and backpropagation's;
    the output layer is on top. A grey band marks the mean angles that chance gives.

    Args:
        net, rule, x, y, loss: as for `minifa.metrics.errors`.
        title: a heading.
        bands: as for `deltas`.

    Raises:
        TypeError: as for `deltas`.
        ValueError: the rule makes no backward pass, so it has no errors to compare.
    """
    errors = metrics.errors(net, rule, x, y, loss)
    bands = _bands(bands, net, rule, x, y, loss)
    facts = f"Grey: the mean angle by chance. {_describe_bands(bands)}" if bands else ""
    with drawing(0.7 + 0.62 * len(errors), title, facts, dark=dark) as figure:
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
            if values.size and name in bands:
                axes.axvspan(bands[name].low, bands[name].high, **shade())
                text += f"\nchance {_range(bands[name])}"
            axes.text(1, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9)
        column[-1].set(xlim=(0, 180), xticks=range(0, 181, 30))
        column[-1].set_xticklabels([f"{a}°" for a in range(0, 181, 30)])
        column[-1].set_xlabel(f"angle per example between the errors of {rule.name} and backpropagation")
    return figure
