"""What the hidden layers represent: the information plane of rules, and which examples are alike in each layer."""

from __future__ import annotations

__all__ = ["information_plane", "similarities"]

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import backend
from ..backend import Array
from ..experiments import Result
from ..experiments.tables import finished_by_rule, layers_with
from ..kernel_metrics import dependence, hidden_activities, target_rows
from ..kernels import Cosine, Gaussian
from ..losses import Loss
from ..network import Network
from .style import SMALL, bare, diverging, drawing, look, muted, size

LAYERS = 8  # maximum number of layers that can be told apart as lines
ACROSS = 4  # maximum number of rules side by side
PICTURES = 5  # maximum number of kernels side by side
SHOWN = 256  # maximum number of examples between which kernels are drawn
LEAST_SPAN = 0.1  # of an axis of the information plane, relative to its largest value
AXES = {"nhsic_input": "nHSIC with the inputs", "nhsic_label": "nHSIC with the labels"}


def information_plane(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """The information plane: nHSIC with the labels against nHSIC with the inputs, a panel for each rule. Each hidden
    layer has a line from its value before training (an open mark) to that after it (a filled one), the mean over seeds.
    An axis covers at least a tenth of its largest value, so that small changes look small.

    If there are more than `LAYERS` layers, `LAYERS` evenly spaced ones are shown, and the text says so.

    Args:
        results: results of `minifa.experiments.run_many`, or a list of results of `minifa.experiments.run`, with
            kernels measured (`minifa.experiments.Experiment.kernels`).
        title: a heading.

    Raises:
        ValueError: no run has finished, or none measured kernels.
    """
    groups = finished_by_rule(results)
    if not groups:
        raise ValueError("the results must contain a finished run")
    layers = max((layers_with(run.history[0], "nhsic_label") for runs in groups.values() for run in runs), key=len)
    if not layers:
        raise ValueError("the results must contain kernels: these runs measured none (the setting training.kernels)")
    count = min(LAYERS, len(layers))
    shown = [layers[round(i * (len(layers) - 1) / max(1, count - 1))] for i in range(count)]
    facts = "To the right: depends more on the inputs; upwards: more on the labels."
    facts += f" {count} of {len(layers)} layers." if count < len(layers) else ""
    down = math.ceil(len(groups) / ACROSS)
    across = math.ceil(len(groups) / down)
    with drawing(0.6 + 2.7 * down, title, facts, dark=dark) as figure:
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, (name, runs) in zip(panels.flat, groups.items(), strict=False):
            axes.set_title(name)
            for i, layer in enumerate(shown):
                style = look(i, dark)
                path = [_means(runs, f"{layer}.{quantity}") for quantity in AXES]
                axes.plot(*path, color=style["color"], linewidth=1.4, markersize=2, marker=".")
                for place, face in ((0, axes.get_facecolor()), (-1, style["color"])):
                    ends = [values[place : place + 1 or None] for values in path]
                    axes.plot(*ends, style["marker"], color=style["color"], markersize=7, markerfacecolor=face)
        for axes in panels.flat[len(groups) :]:
            axes.set_visible(False)
        _widen(panels.flat[0])
        for axes in panels[:, 0]:
            axes.set_ylabel(AXES["nhsic_label"])
        for axes in panels.flat[len(groups) - across : len(groups)]:  # those with no panel below
            axes.set_xlabel(AXES["nhsic_input"])
            axes.tick_params(labelbottom=True)
        handles = [Line2D([], [], label=layer, markersize=6, **look(i, dark)) for i, layer in enumerate(shown)]
        plain: dict[str, Any] = {"color": muted(), "marker": "o", "linestyle": "none"}
        handles.append(Line2D([], [], label="before training", markerfacecolor="none", **plain))
        handles.append(Line2D([], [], label="after training", **plain))
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
        figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(handles) / 5))
    return figure


def _widen(axes: Axes) -> None:
    """Let each axis cover at least `LEAST_SPAN` of its largest value."""
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        missing = LEAST_SPAN * max(abs(low), abs(high)) - (high - low)
        if missing > 0:
            limit(low - missing / 2, high + missing / 2)


def _means(runs: Sequence[Result], column: str) -> list[float]:
    """The mean over seeds of a column at each epoch; NaN where no run has it."""
    rows = [[row.get(column) for row in run.history] for run in runs]
    by_epoch = [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows)))]
    known = [[value for value in values if value is not None] for values in by_epoch]
    return [statistics.fmean(values) if values else math.nan for values in known]


def similarities(net: Network, x: Array, y: Any, loss: Loss, title: str = "", *, dark: bool = False) -> Figure:
    """Which examples are alike: the kernel between the examples, sorted by class, of the inputs, of the activities of
    each hidden layer, and of the targets. Orange: alike; blue: opposite. Below each, its linear CKA with the targets.

    The kernel is the cosine of values without their mean over the units (`minifa.kernels.Cosine`); that of targets of a
    single output is Gaussian. Only the first `SHOWN` examples are shown.

    Args:
        x: a batch (N, ...) on the backend. y: class indices (N,) or rows of targets.
        loss: the loss function, which defines the targets of class indices.
        title: a heading.

    Raises:
        TypeError, ValueError: an argument of the wrong type, a batch or targets that do not fit the network.
    """
    rows = target_rows(net, x, y, loss)[:SHOWN]
    x = x[:SHOWN]
    order = numpy.lexsort(backend.to_host(rows).T)
    activities = {"inputs": x, **hidden_activities(net, x)}
    kernel = Cosine()
    pictures = {name: backend.to_host(kernel.matrix(z)) for name, z in activities.items()}
    pictures["targets"] = backend.to_host((kernel if rows.shape[1] > 1 else Gaussian(1.0)).matrix(rows))
    measured = dependence(net, x, rows, loss)
    across = min(PICTURES, len(pictures))
    down = math.ceil(len(pictures) / across)
    by = "class" if rows.shape[1] > 1 else "target"
    facts = f"{len(x)} examples, sorted by {by}. Orange: alike; blue: opposite. CKA: on these examples."
    with drawing(0.3 + 10.4 / across * down if across > 3 else 0.3 + 2.6 * down, title, facts, dark=dark) as figure:
        panels = figure.subplots(down, across, squeeze=False)
        for axes, (name, K) in zip(panels.flat, pictures.items(), strict=False):
            bare(axes)
            image = axes.imshow(K[order][:, order], cmap=diverging(), vmin=-1, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.set_title(name if name in ("inputs", "targets") else f"{name}  {size(activities[name].shape[1:])}")
            cka = measured.get(name, {}).get("cka_label")
            axes.set_xlabel("" if cka is None else f"CKA with the targets {cka:.2f}", fontsize=SMALL)
        for axes in panels.flat[len(pictures) :]:
            axes.set_visible(False)
        bar = figure.colorbar(image, ax=panels, ticks=(-1, 0, 1), aspect=30 * down, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=SMALL)
    return figure
