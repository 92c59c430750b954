"""Learning curves, alignment per layer over the epochs, and comparisons of rules."""

from __future__ import annotations

__all__ = ["alignment_curves", "comparison", "learning_curves", "survey", "training_curves"]

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .. import experiments, rules
from ..experiments import Result
from ..experiments.tables import all_layers, finished_by_rule, layers_with, mean_at_end
from ..layers.weighted import Weighted
from ..training.history import Row
from ..validation import check_type
from .style import SMALL, WIDTH, bare, drawing, look, missing, muted, readable_on

LAYERS = 8  # maximum number of layers shown side by side
ALIGNMENT = {
    "weight_angle": "angle of\nW and B",
    "norm_ratio": "norm(B) /\nnorm(W)",
    "true_angle": "angle of error\nand bp's error",
}
Groups = Mapping[str, Sequence[Result]]


def learning_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """Accuracy (for classification) and loss during training: one line per rule, the mean over seeds, with a band from
    the lowest to the highest seed. A cross marks the epoch at which a run diverged, a bar the one at which it stopped
    early; from there on the mean is over the remaining seeds only, and after a divergence biased in favour of the rule.

    Args:
        results: results of `minifa.experiments.run_many`, or a list of results of `minifa.experiments.run`.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    measured = next(iter(groups.values()))[0].measured
    kinds = [kind for kind in ("accuracy", "loss") if _has(groups, f"{measured}_{kind}")]
    with drawing(3.3, title, dark=dark) as figure:
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            _draw_measured(axes, groups, f"{measured}_{kind}", dark)
        _draw_legend(figure, groups, dark)
    return figure


def alignment_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """For every layer, over the epochs: the angle between W and B, norm(B) / norm(W), and the angle between the rule's
    error and backpropagation's. Mean over seeds, with a band from the lowest to the highest.

    A diamond at epoch 0 marks the theoretical initial angle between W and B, if the rule defines one
    (`Rule.start_angle`). If there are more than `LAYERS` layers, `LAYERS` evenly spaced ones are shown, and the heading
    says so.

    Args:
        results: as for `learning_curves`, with alignment measured.

    Raises:
        ValueError: no run has finished, or none measured an alignment.
    """
    groups = _finished(results)
    layers = all_layers(groups)
    shown = _evenly_spaced(layers, LAYERS)
    quantities = [one for one in ALIGNMENT if _has(groups, *(f"{layer}.{one}" for layer in layers))]
    if not quantities:
        raise ValueError("the results must contain an alignment: these runs measured none, or their rules define none")
    facts = f"{len(shown)} of {len(layers)} layers" if len(shown) < len(layers) else ""
    with drawing(1.45 * len(quantities) + 0.9, title, facts, dark=dark) as figure:
        panels = figure.subplots(len(quantities), len(shown), sharex=True, sharey="row", squeeze=False)
        for row, quantity in zip(panels, quantities, strict=True):
            row[0].set_ylabel(ALIGNMENT[quantity])
            for axes, layer in zip(row, shown, strict=True):
                if not _draw_curves(axes, groups, f"{layer}.{quantity}", dark):
                    axes.text(
                        0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL,
                        color=muted(),
                    )  # fmt: skip
            if quantity == "norm_ratio":
                row[0].set_ylim(0, 1.1 * max(axes.dataLim.y1 for axes in row))
            else:
                _format_angles(row)
        for axes, layer in zip(panels[0], shown, strict=True):
            axes.set_title(layer.replace(".", "\n", 1), fontsize=10)
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
        marked = quantities[0] == "weight_angle" and _mark_starts(
            dict(zip(shown, panels[0], strict=True)), groups, dark
        )
        _draw_legend(figure, groups, dark, marked)
    return figure


def has_alignment(results: Sequence[Result]) -> bool:
    """Whether the results contain an alignment that `alignment_curves` can draw."""
    groups = finished_by_rule(results)
    return _has(groups, *(f"{layer}.{quantity}" for layer in all_layers(groups) for quantity in ALIGNMENT))


def comparison(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """Comparison of rules: learning curves, final scores, and the final angles per layer.

    Args:
        results: results of `minifa.experiments.run_many`; every rule with the same seeds.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    with drawing(6.4, title, dark=dark) as figure:
        panels = figure.subplots(2, 2)
        _draw_measured(panels[0, 0], groups, _quantity(groups), dark)
        _draw_scores(panels[0, 1], groups, dark)
        for axes, quantity, name in (
            (panels[1, 0], "weight_angle", "Final angle of W and B"),
            (panels[1, 1], "true_angle", "Final angle of error and bp's error"),
        ):
            _draw_angles(axes, groups, quantity, name, dark)
        _draw_legend(figure, groups, dark)
    return figure


def survey(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """An overview of many rules, one row each: final scores, and the angles of every layer as heat maps.

    Args:
        results: as for `comparison`, which draws up to eight rules in more detail.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    with drawing(1.2 + 0.27 * len(groups), title, dark=dark) as figure:
        scores, weights, errors = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
        _draw_scores(scores, groups, dark)
        _draw_heat_map(weights, groups, "weight_angle", "Angle of W and B")
        image = _draw_heat_map(errors, groups, "true_angle", "Angle of errors")
        bar = figure.colorbar(image, ax=errors, ticks=(0, 30, 60, 90), format="%d°", aspect=40, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=SMALL)
    return figure


def training_curves(result: Result, title: str = "", *, dark: bool = False) -> Figure:
    """One run over the epochs: loss, accuracy, and the angle between W and B of every layer.

    Args:
        result: a result of `minifa.experiments.run` with at least one epoch.
        title: a heading.
    """
    history = check_type(result, Result, "result must be a minifa.experiments.Result, as returned by run").history
    epochs = [row["epoch"] for row in history]
    columns = list(dict.fromkeys(key for row in history for key in row))
    with drawing(3.4, title, dark=dark) as figure:
        panels = figure.subplots(1, 3)
        for axes, ending in ((panels[0], "_loss"), (panels[1], "_accuracy")):
            kinds = [key for key in columns if key.endswith(ending) and "." not in key]
            for i, key in enumerate(kinds):
                values = [row.get(key, math.nan) for row in history]
                axes.plot(epochs, values, label=key.removesuffix(ending), markersize=3.5, **look(i, dark))
            axes.set_title(ending[1:].capitalize())
        panels[1].set_ylim(0, 1.02)
        layers = layers_with(history[0], "weight_angle")
        for i, layer in enumerate(layers):
            values = [row.get(f"{layer}.weight_angle", math.nan) for row in history]
            panels[2].plot(epochs, values, label=layer, markersize=3.5, **look(i, dark))
        panels[2].set_title("Angle of W and B")
        if layers:
            _format_angles(panels[2:])
        _fit_losses(panels[0], history[:1])
        for axes in panels:
            if not axes.lines:
                missing(axes, "not measured,\nor not defined by this rule")
                continue
            axes.set_xlabel("epoch")
            _format_epochs(axes, epochs[-1])
            if axes.get_legend_handles_labels()[1]:
                axes.legend(ncols=2 if len(axes.get_lines()) > 5 else 1)
    return figure


def _finished(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups = finished_by_rule(results)
    if not groups:
        raise ValueError("the results must contain a finished run")
    return groups


def _has(groups: Groups, *columns: str) -> bool:
    """Whether any run measured any of these columns."""
    rows = [row for runs in groups.values() for r in runs for row in r.history]
    return any(row.get(column) is not None for row in rows for column in columns)


def _evenly_spaced(layers: Sequence[str], most: int) -> list[str]:
    """At most ``most`` of the layers, evenly spaced, including the first and the last."""
    count = min(most, len(layers))
    return [layers[round(i * (len(layers) - 1) / max(1, count - 1))] for i in range(count)]


# Curves over the epochs

# Runs that end before the others: the mark of their last epoch, with its meaning and whether a result has it.
ENDS: dict[str, tuple[str, Callable[[Result], bool]]] = {
    "x": ("diverged", lambda result: result.diverged),
    "|": ("stopped early", lambda result: bool(result.history[-1].get("stopped_early"))),
}


def _draw_curves(axes: Axes, groups: Groups, column: str, dark: bool) -> bool:
    """Draw a line per rule with its band, and the marks of `ENDS`. Returns whether any rule has this column."""
    _format_epochs(axes, max(row["epoch"] for runs in groups.values() for r in runs for row in r.history))
    drawn = False
    for i, (rule, runs) in enumerate(groups.items()):
        by_epoch: dict[int, list[float]] = {}
        for result in runs:
            known = [(row["epoch"], row[column]) for row in result.history if _is_number(row.get(column))]
            for epoch, value in known:
                by_epoch.setdefault(epoch, []).append(value)
            for marker in (mark for mark, (_, has_ended) in ENDS.items() if has_ended(result) and known):
                axes.scatter(*known[-1], s=45, color=look(i, dark)["color"], marker=marker, linewidth=2, zorder=4)
        if not by_epoch:
            continue
        drawn = True
        epochs, values = zip(*sorted(by_epoch.items()), strict=True)
        means = [statistics.fmean(seeds) for seeds in values]
        every = math.ceil(len(epochs) * len(axes.figure.axes) / 30)  # fewer markers in smaller panels
        axes.plot(epochs, means, label=rule, markersize=3.5, markevery=every, linewidth=1.6, **look(i, dark))
        if len(runs) > 1:
            lowest, highest = [min(seeds) for seeds in values], [max(seeds) for seeds in values]
            axes.fill_between(epochs, lowest, highest, color=look(i, dark)["color"], alpha=0.15, linewidth=0)
    return drawn


def _format_epochs(axes: Axes, last: int) -> None:
    """Set the x axis to integers from 0 to the last epoch."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlim(-0.04 * max(last, 1), 1.04 * max(last, 1))


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _draw_measured(axes: Axes, groups: Groups, column: str, dark: bool) -> None:
    """Draw an accuracy or a loss, with its title."""
    _draw_curves(axes, groups, column, dark)
    axes.set(title=f"{column.replace('_', ' ').capitalize()} during training", xlabel="epoch")
    if column.endswith("accuracy"):
        axes.set_ylim(0, 1.02)
    else:
        _fit_losses(axes, [r.history[0] for runs in groups.values() for r in runs])


def _fit_losses(axes: Axes, starts: Sequence[Row]) -> None:
    """Limit the y axis to 1.5 times the largest initial loss, so that diverging runs do not determine the scale."""
    losses = [value for row in starts for key, value in row.items() if key.endswith("_loss") and _is_number(value)]
    if losses and axes.dataLim.y1 > 1.5 * max(losses):
        axes.set_ylim(top=1.5 * max(losses))
    axes.set_ylim(bottom=0)


def _draw_legend(figure: Figure, groups: Groups, dark: bool, starts: bool = False) -> None:
    """Draw the legend in a separate area below all panels."""
    handles = [
        Line2D([], [], label=rule, markersize=4, linewidth=1.6, **look(i, dark)) for i, rule in enumerate(groups)
    ]
    plain: dict[str, Any] = {"color": muted(), "linestyle": "none"}
    if starts:
        handles.append(Line2D([], [], label="start, by theory", **plain, **HOLLOW))
    for marker, (end, has_ended) in ENDS.items():
        ended = [runs for runs in groups.values() if any(map(has_ended, runs))]
        if ended:
            alone = all(len(runs) == 1 for runs in ended)
            label = end if alone else f"{end}: from there, the mean of the other seeds"
            handles.append(Line2D([], [], label=label, marker=marker, markersize=6, markeredgewidth=2, **plain))
    widths = [0.55 + 0.075 * len(str(handle.get_label())) for handle in handles]  # inches, approximately
    columns = len(handles) if sum(widths) < WIDTH else int(WIDTH / max(widths))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(handles) / columns))


HOLLOW: dict[str, Any] = {"marker": "D", "markersize": 8, "fillstyle": "none", "markeredgewidth": 1.2}


def _mark_starts(panels: Mapping[str, Axes], groups: Groups, dark: bool) -> bool:
    """Draw diamonds at epoch 0 for the theoretical angles between W and B. Returns whether there are any."""
    layers = _starting_layers(next(iter(groups.values()))[0])
    marked = False
    for i, (name, runs) in enumerate(groups.items()):
        rule = rules.make(runs[0].experiment.rule)
        for layer, axes in panels.items():
            angle = rule.start_angle(layers[layer]) if layer in layers else None
            if angle is not None and _has({name: runs}, f"{layer}.weight_angle"):
                axes.plot(0, angle, color=look(i, dark)["color"], clip_on=False, zorder=5, **HOLLOW)
                marked = True
    return marked


def _starting_layers(result: Result) -> dict[str, Weighted]:
    """The weighted layers of this result's network by name, which give the initial weight distributions; empty if the
    data that determine the network's shape are not available."""
    experiment = replace(result.experiment, rule="bp")
    try:
        net = experiments.build(experiment, experiments.load_data(experiment))[0]
    except (OSError, ValueError):
        return {}
    return {layer.name: layer for layer in net.weighted}


def _format_angles(panels: Sequence[Axes]) -> None:
    """Format panels that share an axis in degrees; mark chance level."""
    highest = max(axes.dataLim.y1 for axes in panels)  # negative if nothing is drawn
    for axes in panels:
        axes.axhline(90, color=muted(), linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    panels[0].set_yticks(range(0, 181, 30), [f"{angle}°" for angle in range(0, 181, 30)])
    panels[0].set_ylim(-5, min(185.0, max(100.0, highest + 10)))
    panels[-1].annotate(
        "chance", (1, 90), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL, color=muted(), annotation_clip=False,
    )  # fmt: skip


# Final values


def _quantity(groups: Groups) -> str:
    """The column that contains the scores."""
    measured = next(iter(groups.values()))[0].measured
    return f"{measured}_accuracy" if _has(groups, f"{measured}_accuracy") else f"{measured}_loss"


def _draw_scores(axes: Axes, groups: Groups, dark: bool) -> None:
    """Draw a dot per seed and a line at the mean."""
    accurate = _quantity(groups).endswith("accuracy")
    for i, runs in enumerate(groups.values()):
        scores = [r.score for r in runs]
        style = look(i, dark)
        axes.scatter(
            scores, [i] * len(scores), color=style["color"], marker=style["marker"], s=30, alpha=0.75, zorder=3
        )
        mean = statistics.fmean(scores)
        axes.plot([mean, mean], [i - 0.3, i + 0.3], color=style["color"], linewidth=2.5)
        left = accurate and mean > 0.5 and min(scores) > 0.2  # whether there is room for the number at the left
        axes.annotate(
            f"{mean:.3f}", (min(scores) if left else max(scores), i), xytext=(-9 if left else 9, 0),
            textcoords="offset points", va="center", ha="right" if left else "left", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if accurate:
        axes.set_xlim(-0.02, 1.04)
    runs = max(groups.values(), key=len)
    what = f"{runs[0].measured} {'accuracy' if accurate else 'score (minus loss)'}"
    axes.set_title(f"Final {what}, {len(runs)} seed{'s' if len(runs) > 1 else ''}")


def _draw_angles(axes: Axes, groups: Groups, quantity: str, title: str, dark: bool) -> None:
    """Draw the mean angle over seeds per layer, lowest layer at the left."""
    layers = all_layers(groups)
    for i, runs in enumerate(groups.values()):
        means = [mean_at_end(runs, f"{layer}.{quantity}") for layer in layers]
        if not all(map(math.isnan, means)):
            axes.plot(range(len(layers)), means, markersize=5, linewidth=1.4, **look(i, dark))
    axes.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 5 else 0)
    axes.set_xlim(-0.3, len(layers) - 0.7)
    axes.set_title(title)
    _format_angles([axes])


def _draw_heat_map(axes: Axes, groups: Groups, quantity: str, title: str) -> Any:
    """Draw the angles as rules by layers, lowest layer at the left; undefined angles are left empty."""
    layers = all_layers(groups)
    means = [[mean_at_end(runs, f"{layer}.{quantity}") for layer in layers] for runs in groups.values()]
    image = axes.imshow(means, cmap="cividis", vmin=0, vmax=90, aspect="auto", interpolation="nearest")
    shades = image.to_rgba(numpy.array(means))
    for y, row in enumerate(means):
        for x, angle in enumerate(row):
            if not math.isnan(angle):
                axes.text(
                    x, y, f"{angle:.0f}", ha="center", va="center", fontsize=SMALL,
                    color=readable_on(shades[y, x]),
                )  # fmt: skip
    bare(axes)
    axes.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 5 else 0)
    axes.set_yticks([])
    axes.set_title(title)
    return image
