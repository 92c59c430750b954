"""Learning curves, alignment, targets and kernels per layer over the epochs, and comparisons of rules."""

from __future__ import annotations

__all__ = [
    "alignment_curves",
    "comparison",
    "kernel_curves",
    "learning_curves",
    "survey",
    "target_curves",
    "training_curves",
]

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..chance import Band
from ..experiments import Result
from ..experiments.chance_levels import Levels, known_rule, levels_of
from ..experiments.tables import all_layers, finished_by_rule, layers_with, mean_at_end
from ..rules.base import Rule
from ..training.history import History, Row
from ..training.phases import starts_of
from ..validation import check_type
from .style import SMALL, WIDTH, apart, bare, drawing, hatched, look, missing, muted, name_at_end, readable_on, shade

IN_ONE_PANEL = 8  # maximum number of rules that can be told apart as lines
LAYERS = 8  # maximum number of layers shown side by side
IN_ROW = 4  # maximum number of panels whose phases are named
LABELLED = 8  # maximum number of curves that are labelled at their ends
LABEL = 14  # maximum length of such a label
NAMED = 2  # maximum number of rules named in a sentence
NEAR = 0.05  # norm ratios that stay this close to 1 are not drawn
ALIGNMENT = {
    "weight_angle": "angle of\nW and B",
    "norm_ratio": "norm(B) /\nnorm(W)",
    "true_angle": "angle of error\nand bp's error",
}
TARGETS = {
    "bp_angle": "angle of target\nand bp's",
    "gn_angle": "angle of target and\nGauss-Newton's",
    "target_size": "norm(h - t) /\nnorm(h)",
}
KERNELS = {
    "nhsic_input": "nHSIC with\nthe inputs",
    "nhsic_label": "nHSIC with\nthe labels",
    "cka_label": "CKA with\nthe labels",
}
A_RUN = "result must be a minifa.experiments.Result, as returned by run, or a minifa.training.History"
Groups = Mapping[str, Sequence[Result]]


def learning_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """Accuracy (for classification) and loss during training: one line per rule, the mean over seeds, with a band from
    the lowest to the highest seed. A cross marks the epoch at which a run diverged, a bar the one at which it stopped
    early; from there on the mean is over the remaining seeds only, and after a divergence biased in favour of the rule.
    A dashed line marks the accuracy of the most frequent class, if the data are available.

    Args:
        results: results of `minifa.experiments.run_many`, or a list of results of `minifa.experiments.run`.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    measured = next(iter(groups.values()))[0].measured
    kinds = [kind for kind in ("accuracy", "loss") if _has(groups, f"{measured}_{kind}")]
    levels = levels_of(groups)
    with drawing(3.3, title, dark=dark) as figure:
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            _draw_measured(axes, groups, f"{measured}_{kind}", levels, dark)
        _draw_legend(figure, groups, dark, [*_explain_seeds(groups), *_explain_chance(levels)])
    return figure


def alignment_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """For every layer, over the epochs: the angle between W and B, norm(B) / norm(W) (if it is not always near 1), and
    the angle between the rule's error and backpropagation's. Mean over seeds, with a band from the lowest to the
    highest. A grey band marks the angles that chance gives; the text says where it comes from.

    A diamond before epoch 0 marks the theoretical initial angle between W and B, if the rule defines one
    (`Rule.start_angle`). If there are more than `LAYERS` layers, `LAYERS` evenly spaced ones are shown, and the text
    says so.

    Args:
        results: as for `learning_curves`, with alignment measured.

    Raises:
        ValueError: no run has finished, or none measured an alignment.
    """
    groups = _finished(results)
    layers = all_layers(groups)
    shown, facts = _shown(layers)
    quantities = [one for one in ALIGNMENT if _has(groups, *(f"{layer}.{one}" for layer in layers))]
    if not quantities:
        raise ValueError("the results must contain an alignment: these runs measured none, or their rules define none")
    if "norm_ratio" in quantities and all(abs(ratio - 1) <= NEAR for ratio in _norm_ratios(groups, layers)):
        quantities.remove("norm_ratio")
        facts.append(f"norm(B) / norm(W) stays within {100 * NEAR:.0f} % of 1.")
    levels = levels_of(groups)
    facts.append(levels.describe(*quantities))
    with drawing(1.45 * len(quantities) + 0.9, title, " ".join(filter(None, facts)), dark=dark) as figure:
        panels = _draw_layers(figure, groups, shown, {one: ALIGNMENT[one] for one in quantities}, levels, dark)
        handles = _explain_seeds(groups)
        if quantities[0] == "weight_angle" and _mark_starts(panels[0], shown, groups, levels, dark):
            handles.append(Line2D([], [], label="start, by theory", color=muted(), linestyle="none", **HOLLOW))
        _draw_legend(figure, groups, dark, [*handles, *_explain_chance(levels, *quantities)])
    return figure


def target_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """For every layer with a target, over the epochs: the angles of h - t to backpropagation's and to the Gauss-Newton
    direction, and norm(h - t) / norm(h) (`minifa.target_metrics`). Mean over seeds, with a band from the lowest to the
    highest. A grey band marks the angles that chance gives.

    If there are more than `LAYERS` layers, `LAYERS` evenly spaced ones are shown, and the text says so.

    Args:
        results: as for `learning_curves`, with targets measured (`minifa.experiments.Experiment.targets`).

    Raises:
        ValueError: no run has finished, or none measured targets.
    """
    groups = _finished(results)
    layers, levels = _measured_layers(groups, "target_size"), levels_of(groups)
    if not layers:
        raise ValueError(
            "the results must contain targets: these runs measured none (the setting training.targets), or their "
            "rules have none"
        )
    order = list(levels.angles.get("bp_angle", {}))  # of the network, if it is known
    layers = sorted(layers, key=lambda one: order.index(one) if one in order else 0)
    return _layer_curves(groups, layers, TARGETS, levels, title, dark)


def kernel_curves(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """For every hidden layer, over the epochs: how much its activities depend on the inputs (nHSIC) and on the labels
    (nHSIC and linear CKA; see `minifa.kernel_metrics`). Mean over seeds, with a band from the lowest to the highest.

    If there are more than `LAYERS` layers, `LAYERS` evenly spaced ones are shown, and the text says so.

    Args:
        results: as for `learning_curves`, with kernels measured (`minifa.experiments.Experiment.kernels`).

    Raises:
        ValueError: no run has finished, or none measured kernels.
    """
    groups = _finished(results)
    layers = _measured_layers(groups, "nhsic_label")
    if not layers:
        raise ValueError("the results must contain kernels: these runs measured none (the setting training.kernels)")
    return _layer_curves(groups, layers, KERNELS, Levels(), title, dark)


def _layer_curves(
    groups: Groups, layers: Sequence[str], labels: Mapping[str, str], levels: Levels, title: str, dark: bool
) -> Figure:
    """A figure with a row for each quantity of ``labels`` and a column for each layer, at most `LAYERS` of them."""
    shown, facts = _shown(layers)
    facts.append(levels.describe(*labels))
    with drawing(1.45 * len(labels) + 0.9, title, " ".join(filter(None, facts)), dark=dark) as figure:
        _draw_layers(figure, groups, shown, labels, levels, dark)
        _draw_legend(figure, groups, dark, [*_explain_seeds(groups), *_explain_chance(levels, *labels)])
    return figure


def _shown(layers: Sequence[str]) -> tuple[list[str], list[str]]:
    """At most `LAYERS` of these layers, evenly spaced, and the sentence that says so if they are not all."""
    shown = _evenly_spaced(layers, LAYERS)
    return shown, [f"{len(shown)} of {len(layers)} layers."] if len(shown) < len(layers) else []


def has_kernels(results: Sequence[Result]) -> bool:
    """Whether the results contain kernels that `kernel_curves` can draw."""
    return bool(_measured_layers(finished_by_rule(results), "nhsic_label"))


def _draw_layers(
    figure: Figure, groups: Groups, layers: Sequence[str], labels: Mapping[str, str], levels: Levels, dark: bool
) -> Any:
    """Draw a panel for each quantity of ``labels`` (a row) and layer (a column), with the bands of chance. Returns the
    panels."""
    panels = figure.subplots(len(labels), len(layers), sharex=True, sharey="row", squeeze=False)
    for row, (quantity, label) in zip(panels, labels.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, layer in zip(row, layers, strict=True):
            if _draw_curves(axes, groups, f"{layer}.{quantity}", dark):
                if layer in (bands := levels.angles.get(quantity, {})):
                    axes.axhspan(bands[layer].low, bands[layer].high, **shade())
            else:
                axes.text(
                    0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL,
                    color=muted(),
                )  # fmt: skip
        if quantity.endswith("_angle"):
            _format_angles(row)
        else:
            row[0].set_ylim(0, 1.1 * max(axes.dataLim.y1 for axes in row))
    for axes, layer in zip(panels[0], layers, strict=True):
        axes.set_title(layer.replace(".", "\n", 1), fontsize=10)
    panels[-1, 0].set_xlabel("epoch")
    return panels


def has_targets(results: Sequence[Result]) -> bool:
    """Whether the results contain targets that `target_curves` can draw."""
    return bool(_measured_layers(finished_by_rule(results), "target_size"))


def _measured_layers(groups: Groups, quantity: str) -> list[str]:
    """The layers for which a run measured this quantity, those of the rule with the most of them first."""
    rows = [row for runs in groups.values() for result in runs for row in result.history]
    found = sorted((layers_with(row, quantity) for row in rows), key=len, reverse=True)
    return list(dict.fromkeys(layer for layers in found for layer in layers))


def has_alignment(results: Sequence[Result]) -> bool:
    """Whether the results contain an alignment that `alignment_curves` can draw."""
    groups = finished_by_rule(results)
    return _has(groups, *(f"{layer}.{quantity}" for layer in all_layers(groups) for quantity in ALIGNMENT))


def comparison(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """Comparison of rules: learning curves, final scores, and the final angles per layer. Bands and bars are explained
    below, the grey bands of chance above. If rules score below the control that trains only the output layer, the text
    says so.

    Args:
        results: results of `minifa.experiments.run_many`; every rule with the same seeds.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    levels = levels_of(groups)
    angles = ("weight_angle", "Final angle of W and B"), ("true_angle", "Final angle of error and bp's error")
    facts = "\n".join(filter(None, (_lesson(groups), levels.describe(*(quantity for quantity, _ in angles)))))
    with drawing(6.4, title, facts, dark=dark) as figure:
        panels = figure.subplots(2, 2)
        _draw_measured(panels[0, 0], groups, _quantity(groups), levels, dark)
        _draw_scores(panels[0, 1], groups, levels, dark)
        panels[0, 1].set_yticks(range(len(groups)), list(map(in_lines, groups)))
        for axes, (quantity, name) in zip(panels[1], angles, strict=True):
            _draw_angles(axes, groups, quantity, name, levels.angles.get(quantity, {}), dark)
        explained = [*_explain_seeds(groups), _mean_bar(groups), *_explain_chance(levels, "weight_angle", "true_angle")]
        _draw_legend(figure, groups, dark, explained)
    return figure


def overview(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """`comparison` or, for more rules than can be told apart as lines, `survey`."""
    few = len({result.experiment.label for result in results}) <= IN_ONE_PANEL
    return (comparison if few else survey)(results, title, dark=dark)


def survey(results: Sequence[Result], title: str = "", *, dark: bool = False) -> Figure:
    """An overview of many rules, one row each: final scores, and the angles of every layer as heat maps. Angles outside
    the band of chance are printed in bold; cells without an angle are hatched, with the reason below.

    Args:
        results: as for `comparison`, which draws up to eight rules in more detail.

    Raises:
        ValueError: no run has finished.
    """
    groups = _finished(results)
    levels = levels_of(groups)
    facts = [_lesson(groups), levels.describe("weight_angle", "true_angle").replace("Grey: angles", "Not bold: angles")]
    with drawing(1.4 + 0.27 * len(groups), title, "\n".join(filter(None, facts)), dark=dark) as figure:
        scores, weights, errors = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.2))
        _draw_scores(scores, groups, levels, dark)
        for axes, quantity, name, without in (
            (weights, "weight_angle", "Angle of W and B", "no B of W's shape"),
            (errors, "true_angle", "Angle of errors", "no error, or no backward pass"),
        ):
            image = _draw_heat_map(axes, groups, quantity, name, levels.angles.get(quantity, {}))
            if numpy.isnan(numpy.ma.filled(image.get_array(), numpy.nan)).any():
                axes.set_xlabel(f"hatched: {without}", fontsize=SMALL)
        bar = figure.colorbar(image, ax=errors, ticks=(0, 30, 60, 90), format="%d°", aspect=40, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=SMALL)
        _draw_legend(figure, {}, dark, [_mean_bar(groups), *_explain_chance(levels)])
    return figure


def training_curves(result: Result | History, title: str = "", *, dark: bool = False) -> Figure:
    """One run over the epochs: loss, accuracy (with that of the most frequent class), and for every layer the angle
    between W and B with the band of chance, and the local loss of rules that have one.

    Args:
        result: a result of `minifa.experiments.run`, or a history, with at least one epoch. For several histories see
            `minifa.figures.history_curves`.
        title: a heading.

    Raises:
        TypeError: neither a result nor a history.
        ValueError: no epoch.
    """
    history = result if isinstance(result, History) else check_type(result, Result, A_RUN).history
    if not history:
        raise ValueError("there is no epoch to draw: the history is empty")
    epochs = [row["epoch"] for row in history]
    columns = list(dict.fromkeys(key for row in history for key in row))
    ends = history[0], history[-1]  # in phases, different layers have an angle or a loss of their own
    layers, local = (
        list(dict.fromkeys(layer for row in ends for layer in layers_with(row, quantity)))
        for quantity in ("weight_angle", "local_loss")
    )
    by_layer = [("weight_angle", "Angle of W and B", layers)] if layers or not local else []
    by_layer += [("local_loss", "Local loss", local)] if local else []
    levels, facts = Levels(), []  # a history has no experiment, whose network and data they come from
    if isinstance(result, Result):
        levels = levels_of({result.experiment.label: [result]})
        if not _trains_output_only(result):
            facts.append("For the contribution of the hidden layers, compare with the rule shallow.")
        if _predicts_otherwise(result):
            facts.append("Test: of what the rule predicts; train: of the output layer.")
        if layers:
            facts.append(levels.describe("weight_angle"))
    many = len(by_layer) > 1
    with drawing(6.6 if many else 3.6, title, " ".join(facts), dark=dark) as figure:
        panels = (figure.subplots(2, 2) if many else figure.subplots(1, 3)).ravel()
        for axes, ending in ((panels[0], "_loss"), (panels[1], "_accuracy")):
            kinds = [key for key in columns if key.endswith(ending) and "." not in key]
            for i, key in enumerate(kinds):
                values = [row.get(key, math.nan) for row in history]
                axes.plot(epochs, values, label=key.removesuffix(ending), markersize=3.5, **look(i, dark))
            axes.set_title(ending[1:].capitalize())
        panels[1].set_ylim(0, 1.02)
        if panels[1].lines:
            _mark_accuracy(panels[1].axhline, levels)
        for axes, (quantity, name, measured) in zip(panels[2:], by_layer, strict=True):
            for i, layer in enumerate(measured):
                values = [row.get(f"{layer}.{quantity}", math.nan) for row in history]
                axes.plot(epochs, values, label=layer, markersize=3.5, **look(i, dark))
            axes.set_title(name)
        if local:
            _format_local_losses(panels[-1])
        if layers:
            _format_angles(panels[2:3])
            bands = levels.angles.get("weight_angle", {})
            widest = max((bands[layer] for layer in layers if layer in bands), key=lambda one: one.sd, default=None)
            if widest is not None:  # of the smallest matrix
                panels[2].axhspan(widest.low, widest.high, label="chance (smallest B)", **shade())
        _fit_losses(panels[0], history[:1])
        for axes in panels:
            if not axes.lines:
                missing(axes, "not measured,\nor not defined by this rule")
                continue
            axes.set_xlabel("epoch")
            _format_epochs(axes, epochs[-1])
            mark_phases(axes, [history])
            if names := axes.get_legend_handles_labels()[1]:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2 if len(names) > 1 else 1)
    return figure


def _finished(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups = finished_by_rule(results)
    if not groups:
        raise ValueError("the results must contain a finished run")
    return groups


def _norm_ratios(groups: Groups, layers: Sequence[str]) -> list[float]:
    """All ratios norm(B) / norm(W) of these layers."""
    rows = [row for runs in groups.values() for r in runs for row in r.history]
    return [row[key] for row in rows for key in (f"{layer}.norm_ratio" for layer in layers) if row.get(key) is not None]


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
    mark_phases(axes, [result.history for runs in groups.values() for result in runs])
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


def mark_phases(axes: Axes, histories: Iterable[Sequence[Row]]) -> None:
    """Draw a vertical line at the start of each phase after the first, with its name where there are few panels.
    Nothing is drawn if the histories have different phases."""
    found = {tuple(starts_of(history)) for history in histories}
    for epoch, name in found.pop() if len(found) == 1 else ():
        axes.axvline(epoch, color=muted(), linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        if len(axes.figure.axes) <= IN_ROW:
            axes.annotate(
                name, (epoch, 0.5), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
                rotation=90, va="center", fontsize=SMALL, color=muted(),
            )  # fmt: skip


def _format_epochs(axes: Axes, last: int) -> None:
    """Set the x axis to integers from 0 to the last epoch."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlim(-0.04 * max(last, 1), 1.04 * max(last, 1))


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _draw_measured(axes: Axes, groups: Groups, column: str, levels: Levels, dark: bool) -> None:
    """Draw an accuracy or a loss, with its title; few curves are labelled at their ends."""
    _draw_curves(axes, groups, column, dark)
    axes.set(title=f"{column.replace('_', ' ').capitalize()} during training", xlabel="epoch")
    if column.endswith("accuracy"):
        axes.set_ylim(0, 1.02)
        _mark_accuracy(axes.axhline, levels)
    else:
        _fit_losses(axes, [r.history[0] for runs in groups.values() for r in runs])
    if len(groups) <= LABELLED:
        _label_ends(axes, [line for line in axes.lines if line.get_label() in groups])


def _label_ends(axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write the names of the curves at their ends, moved apart so that they do not overlap."""
    low, high = axes.get_ylim()
    ends = [min(max(float(numpy.asarray(line.get_ydata())[-1]), low), high) for line in lines]
    gap = 0.065 * (high - low)
    top = min(high + 0.02 * (high - low), max(ends, default=high) + gap * len(ends))
    for line, end, height in zip(lines, ends, apart(ends, gap, top), strict=True):
        name = str(line.get_label())
        shown = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
        name_at_end(axes, shown, end, height, color=line.get_color())


def _mark_accuracy(draw_line: Callable[..., Line2D], levels: Levels) -> None:
    """Mark the accuracy of the most frequent class, if it is known."""
    if levels.accuracy is not None:
        draw_line(levels.accuracy, color=muted(), linewidth=1, linestyle=(0, (4, 3)), zorder=1, label="chance")


def _fit_losses(axes: Axes, starts: Sequence[Row]) -> None:
    """Limit the y axis to 1.5 times the largest initial loss, so that diverging runs do not determine the scale; the
    largest loss is written where curves leave the picture."""
    losses = [value for row in starts for key, value in row.items() if key.endswith("_loss") and _is_number(value)]
    if losses and (highest := axes.dataLim.y1) > 1.5 * max(losses):
        axes.set_ylim(top=1.5 * max(losses))
        corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(0.98, 0.98, f"cut: losses up to {highest:.3g}", fontsize=SMALL, color=muted(), **corner)
    axes.set_ylim(bottom=0)


def _format_local_losses(axes: Axes) -> None:
    """Set a logarithmic y axis where the losses of layers differ by orders of magnitude; not for losses that may be
    negative. Otherwise the axis is linear, from 0 for losses above it."""
    box = axes.dataLim
    if not 0 < box.minposy < math.inf or box.y0 < 0:
        return
    if box.y1 > 10 * box.minposy:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * box.y1)


def _draw_legend(figure: Figure, groups: Groups, dark: bool, explained: Sequence[Line2D | Patch]) -> None:
    """Draw the legend in a separate area below all panels: the rules, then the explained marks."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], label=rule, markersize=4, linewidth=1.6, **look(i, dark)) for i, rule in enumerate(groups)
    ]
    handles += explained
    plain: dict[str, Any] = {"color": muted(), "linestyle": "none"}
    for marker, (end, has_ended) in ENDS.items():
        ended = [runs for runs in groups.values() if any(map(has_ended, runs))]
        if ended:
            alone = all(len(runs) == 1 for runs in ended)
            label = end if alone else f"{end}: from there, the mean of the other seeds"
            handles.append(Line2D([], [], label=label, marker=marker, markersize=6, markeredgewidth=2, **plain))
    widths = [0.55 + 0.075 * len(str(handle.get_label())) for handle in handles]  # inches, approximately
    columns = len(handles) if sum(widths) < WIDTH else max(1, int(WIDTH / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(handles) / columns))


def _explain_seeds(groups: Groups) -> list[Line2D | Patch]:
    """The legend of the bands, if there are any."""
    several = any(len(runs) > 1 for runs in groups.values())
    return [Patch(color=muted(), alpha=0.3, linewidth=0, label="band: lowest to highest seed")] if several else []


def _mean_bar(groups: Groups) -> Line2D:
    seeds = max(map(len, groups.values()))
    style: dict[str, Any] = {"marker": "|", "markersize": 11, "markeredgewidth": 2.5, "linestyle": "none"}
    return Line2D([], [], color=muted(), label=f"bar: mean over {seeds} seed{'s' * (seeds > 1)}", **style)


def _explain_chance(levels: Levels, *quantities: str) -> list[Line2D | Patch]:
    """The legend of the dashed lines and of the grey bands of these quantities, if there are any."""
    marks: list[Line2D | Patch] = []
    if levels.accuracy is not None:
        marks.append(Line2D([], [], color=muted(), linewidth=1, linestyle=(0, (4, 3)), label="dashed: chance"))
    if any(levels.angles.get(quantity) for quantity in quantities):
        marks.append(Patch(**shade(), label="grey: chance, ± 2 sd"))
    return marks


HOLLOW: dict[str, Any] = {"marker": "D", "markersize": 6, "fillstyle": "none", "markeredgewidth": 1.2}


def _mark_starts(panels: Sequence[Axes], shown: Sequence[str], groups: Groups, levels: Levels, dark: bool) -> bool:
    """Draw diamonds left of epoch 0 for the theoretical angles between W and B. Returns whether there are any."""
    marked = False
    left = panels[0].get_xlim()[0]
    for i, (name, runs) in enumerate(groups.items()):
        rule = known_rule(runs[0].experiment.stages()[0].rule)
        for layer, axes in zip(shown, panels, strict=True):
            angle = rule.start_angle(levels.layers[layer]) if rule and layer in levels.layers else None
            if angle is not None and _has({name: runs}, f"{layer}.weight_angle"):
                axes.plot(2 * left, angle, color=look(i, dark)["color"], clip_on=False, zorder=5, **HOLLOW)
                marked = True
    if marked:
        panels[0].set_xlim(left=3.5 * left)
    return marked


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


def _lesson(groups: Groups) -> str:
    """One sentence on the rules that score below the control that trains only the output layer, under every seed."""
    controls = [runs for runs in groups.values() if _trains_output_only(runs[0])]
    if not controls:
        return ""
    control = controls[0][0].experiment.label
    worst = min(r.score for r in controls[0])
    below = [name for name, runs in groups.items() if max(r.score for r in runs) < worst]
    if not below:
        return ""
    mean = statistics.fmean(r.score for r in controls[0])
    if len(below) > NAMED:
        scores = f"{len(below)} of {len(groups)} rules score"
    else:
        several = len(below) > 1
        every = [f"{name} ({statistics.fmean(r.score for r in groups[name]):.3f})" for name in below]
        scores = f"{' and '.join(every)} {'score' if several else 'scores'}"
    return f"{scores} below {control} ({mean:.3f}), which trains only the output layer, each at its own learning rate."


def _trains_output_only(result: Result) -> bool:
    """Whether the rule is the control under which hidden layers keep their initial weights."""
    rule = None if result.experiment.phases else known_rule(result.experiment.rule)
    return rule is not None and rule.one_backward_pass and not rule.crosses_weights and not rule.requires_errors


def _predicts_otherwise(result: Result) -> bool:
    """Whether the rule has a prediction of its own: the loss and accuracy in training are still the output layer's."""
    rule = known_rule(result.experiment.rule)
    return rule is not None and type(rule).predict_batch is not Rule.predict_batch


def _draw_scores(axes: Axes, groups: Groups, levels: Levels, dark: bool) -> None:
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
        _mark_accuracy(axes.axvline, levels)
    measured = next(iter(groups.values()))[0].measured
    axes.set_title(f"Final {measured} {'accuracy' if accurate else 'score (minus loss)'}")


def in_lines(rule: str, width: int = 24) -> str:
    """The description of a rule in lines of at most this width, broken before options: otherwise long descriptions
    beside a panel leave it no room."""
    lines = [""]
    for part in re.findall(r"[^:,]+[:,]?", rule):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _draw_angles(axes: Axes, groups: Groups, quantity: str, title: str, bands: Mapping[str, Band], dark: bool) -> None:
    """Draw the mean angle over seeds per layer, lowest layer at the left, with the band of chance of each layer."""
    layers = all_layers(groups)
    for i, runs in enumerate(groups.values()):
        means = [mean_at_end(runs, f"{layer}.{quantity}") for layer in layers]
        if not all(map(math.isnan, means)):
            axes.plot(range(len(layers)), means, markersize=5, linewidth=1.4, **look(i, dark))
    for place, layer in enumerate(layers):
        if layer in bands and _has(groups, f"{layer}.{quantity}"):
            axes.bar(place, bands[layer].high - bands[layer].low, 0.9, bands[layer].low, zorder=1, **shade())
    axes.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 5 else 0)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_title(title)
    _format_angles([axes])


def _draw_heat_map(axes: Axes, groups: Groups, quantity: str, title: str, bands: Mapping[str, Band]) -> Any:
    """Draw the angles as rules by layers, lowest layer at the left: hatched where undefined, bold outside the band of
    chance."""
    layers = all_layers(groups)
    means = [[mean_at_end(runs, f"{layer}.{quantity}") for layer in layers] for runs in groups.values()]
    axes.patch.set(**hatched())
    image = axes.imshow(means, cmap="cividis", vmin=0, vmax=90, aspect="auto", interpolation="nearest")
    shades = image.to_rgba(numpy.array(means))
    room = 0.35 * (WIDTH - 1 - 0.075 * max(map(len, groups)))  # inches, approximately
    decimals = 1 if 0.36 * len(layers) < room else 0
    for y, row in enumerate(means):
        for x, (layer, angle) in enumerate(zip(layers, row, strict=True)):
            if not math.isnan(angle):
                by_chance = layer in bands and angle in bands[layer]
                axes.text(
                    x, y, f"{angle:.{decimals}f}", ha="center", va="center", fontsize=SMALL,
                    color=readable_on(shades[y, x]), fontweight="normal" if by_chance else "bold",
                )  # fmt: skip
    bare(axes)
    axes.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 3 else 0)
    axes.set_yticks([])
    axes.set_title(title)
    return image
