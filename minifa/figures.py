"""Pictures: every function returns a matplotlib Figure, in one style that is safe for colour-blind readers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .experiments import Result
from .tables import all_layers, finished_by_rule, layers_with, mean_at_end

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, with a marker each, so that no reader depends on colour alone.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 120,
}


def comparison(results: Sequence[Result], title: str = "") -> Figure:
    """Who learned how well, and how each feedback aligned: learning curves, final scores, and the angles per layer.

    Args:
        results: of `minifa.experiments.run_many`; every rule with the same seeds.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups = finished_by_rule(results)
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 7.6), layout="constrained")
        axes = figure.subplots(2, 2)
        _learning_curves(axes[0, 0], groups)
        _final_scores(axes[0, 1], groups)
        for place, quantity, name in (
            (axes[1, 0], "weight_angle", "Feedback against weights, after training"),
            (axes[1, 1], "true_angle", "Error against backpropagation's, after training"),
        ):
            _angles(place, groups, quantity, name)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(8, len(labels)))
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def survey(results: Sequence[Result], title: str = "") -> Figure:
    """Many rules at a glance, a line each: final scores, and the angles of every layer as heat maps.

    Args:
        results: as for `comparison`, which draws up to eight rules in more detail.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    groups = finished_by_rule(results)
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 1.6 + 0.34 * len(groups)), layout="constrained")
        scores, weights, errors = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
        _final_scores(scores, groups)
        _heat_map(weights, groups, "weight_angle", "Feedback against weights")
        image = _heat_map(errors, groups, "true_angle", "Error against backpropagation's")
        bar = figure.colorbar(image, ax=errors, ticks=(0, 30, 60, 90), format="%d°", aspect=40, pad=0.02)
        bar.outline.set_visible(False)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _heat_map(axes: Axes, groups: Mapping[str, Sequence[Result]], quantity: str, title: str) -> Any:
    """Rules by layers, lowest layer at the left; an angle that a rule does not have stays empty."""
    layers = all_layers(groups)
    means = [[mean_at_end(some, f"{layer}.{quantity}") for layer in layers] for some in groups.values()]
    image = axes.imshow(means, cmap="cividis", vmin=0, vmax=90, aspect="auto")
    for y, row in enumerate(means):
        for x, angle in enumerate(row):
            if not math.isnan(angle):
                axes.text(
                    x, y, f"{angle:.0f}", ha="center", va="center", fontsize=8, color="black" if angle > 50 else "white"
                )
    axes.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 5 else 0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return image


def look(i: int) -> dict[str, Any]:
    """Colour and marker of the i-th rule in a picture; line styles set apart those beyond the palette."""
    styles = ("-", "--", ":", "-.")
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": styles[(i // len(COLOURS)) % len(styles)],
    }


def _quantity(some: Sequence[Result]) -> str:
    return (
        f"{some[0].measured}_accuracy"
        if some[0].history[0].get(f"{some[0].measured}_accuracy") is not None
        else f"{some[0].measured}_loss"
    )


def _learning_curves(axes: Axes, groups: Mapping[str, Sequence[Result]]) -> None:
    """Mean over seeds with a band from the lowest to the highest seed."""
    for i, (rule, some) in enumerate(groups.items()):
        quantity = _quantity(some)
        epochs = min(len(r.history) for r in some)
        curves = [[r.history[e][quantity] for r in some] for e in range(epochs)]
        style = look(i)
        axes.plot(
            range(epochs), [statistics.fmean(c) for c in curves], label=rule, markersize=3.5, linewidth=1.6, **style
        )
        axes.fill_between(
            range(epochs),
            [min(c) for c in curves],
            [max(c) for c in curves],
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )
        axes.set_title(f"{quantity.replace('_', ' ').capitalize()} while training")
    axes.set_xlabel("epoch")
    if _quantity(next(iter(groups.values()))).endswith("accuracy"):
        axes.set_ylim(0, 1.02)


def _final_scores(axes: Axes, groups: Mapping[str, Sequence[Result]]) -> None:
    """A dot per seed and a line at their mean."""
    names = list(groups)
    for i, some in enumerate(groups.values()):
        scores = [r.score for r in some]
        style = look(i)
        axes.scatter(
            scores, [i] * len(scores), color=style["color"], marker=style["marker"], s=30, alpha=0.75, zorder=3
        )
        mean = statistics.fmean(scores)
        axes.plot([mean, mean], [i - 0.3, i + 0.3], color=style["color"], linewidth=2.5)
        left = _is_accuracy(some) and mean > 0.5 and min(scores) > 0.2  # where there is room for the number
        axes.annotate(
            f"{mean:.3f}", (min(scores) if left else max(scores), i), xytext=(-9 if left else 9, 0),
            textcoords="offset points", va="center", ha="right" if left else "left", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    some = next(iter(groups.values()))
    if _is_accuracy(some):
        axes.set_xlim(-0.02, 1.04)
    seeds = max(len(s) for s in groups.values())
    what = f"{some[0].measured} {'accuracy' if _is_accuracy(some) else 'score (minus loss)'}"
    axes.set_title(f"Final {what}: {seeds} seed{'s' if seeds > 1 else ''} and their mean")


def _is_accuracy(some: Sequence[Result]) -> bool:
    return _quantity(some).endswith("accuracy")


def _angles(axes: Axes, groups: Mapping[str, Sequence[Result]], quantity: str, title: str) -> None:
    """An angle per layer, lowest layer at the left: mean over seeds, with 90 degrees (chance) marked."""
    layers = all_layers(groups)
    for i, some in enumerate(groups.values()):
        means = [mean_at_end(some, f"{layer}.{quantity}") for layer in layers]
        if not all(map(math.isnan, means)):
            axes.plot(range(len(layers)), means, markersize=5, linewidth=1.4, **look(i))
    axes.axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "chance", (1, 90), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=8, color="#555555", annotation_clip=False,
    )  # fmt: skip
    axes.set_xticks(range(len(layers)), layers, rotation=30 if len(layers) > 5 else 0)
    axes.set_xlim(-0.3, len(layers) - 0.7)
    axes.set_yticks(range(0, 121, 30), [f"{a}°" for a in range(0, 121, 30)])
    axes.set_ylim(-5, max(100.0, 10 * math.ceil(axes.dataLim.y1 / 10 + 0.5)))
    axes.set_title(title)


def training_curves(result: Result, title: str = "") -> Figure:
    """One run: its loss, its accuracy, and the angle between W and B of every layer over the epochs."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    history = result.history
    epochs = [row["epoch"] for row in history]
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.8), layout="constrained")
        panels = figure.subplots(1, 3)
        for axes, ending in ((panels[0], "_loss"), (panels[1], "_accuracy")):
            kinds = [
                k for k in dict.fromkeys(key for row in history for key in row) if k.endswith(ending) and "." not in k
            ]
            for i, key in enumerate(kinds):
                axes.plot(
                    epochs,
                    [row.get(key, math.nan) for row in history],
                    label=key.removesuffix(ending),
                    markersize=3.5,
                    **look(i),
                )
            axes.set_title(ending[1:].capitalize())
            axes.set_xlabel("epoch")
            if kinds:
                axes.legend()
        axes = panels[2]
        for i, layer in enumerate(layers_with(history[-1], "weight_angle")):
            axes.plot(
                epochs,
                [row.get(f"{layer}.weight_angle", math.nan) for row in history],
                label=layer,
                markersize=3.5,
                **look(i),
            )
        axes.axhline(90, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title("Angle between W and B (degrees)")
        axes.set_xlabel("epoch")
        if axes.get_legend_handles_labels()[1]:
            axes.legend()
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure
