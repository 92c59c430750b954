"""Every rule on several networks, as `minifa survey` measures them."""

from __future__ import annotations

__all__ = ["survey_of_networks"]

import statistics
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from ..experiments.survey_results import REFERENCE, Found, Survey, counted
from ..validation import check_type
from .curves import in_lines
from .style import SMALL, colour, drawing, literal, muted

ROW, HEADING = 0.21, 1.6  # inches for a rule; rows for the heading of a group


def survey_of_networks(survey: Survey, title: str = "", *, dark: bool = False) -> Figure:
    """Final accuracies of a survey: a panel for each network, a row for each rule, grouped by how an error reaches the
    layers; one dot per seed, a bar at the mean. Vertical lines mark backpropagation's mean and the share of the most
    frequent class. A rule that was not run has the reason in a word; survey.csv has it in full.

    Args:
        survey: as `minifa.experiments.survey_results.read` returns it.
        title: a heading.
        dark: whether to draw for a dark background.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a survey without lines of networks that `minifa survey` trains.
    """
    check_type(survey, Survey, "the survey must be a minifa.experiments.survey_results.Survey, as read returns it")
    if not survey.networks:
        raise ValueError("the survey has no lines to draw, of networks that minifa survey trains")
    places, headings = _places(survey)
    rows = max(places.values()) + 1
    facts = (
        f"Test accuracy after {counted(survey.epochs, 'epoch')}, one dot per seed, each rule at its own learning rate."
    )
    with drawing(1.1 + ROW * rows, title, facts, dark=dark) as figure:
        panels = figure.subplots(1, len(survey.networks), sharey=True, squeeze=False)[0]
        for axes, network in zip(panels, survey.networks, strict=True):
            reference = survey.find(network, REFERENCE).accuracies
            if reference:
                axes.axvline(statistics.fmean(reference.values()), color=colour(1), linewidth=1, linestyle="--")
            axes.axvline(survey.chance, color=muted(), linewidth=1, linestyle=":")
            for name, place in places.items():
                _draw(axes, survey.find(network, name), place)
            axes.set(xlim=(-0.04, 1.04), ylim=(rows - 0.4, -HEADING), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))
            axes.set_title(network)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
        panels[0].set_yticks(list(places.values()), [literal(in_lines(name)) for name in places])
        _write_headings(figure, panels[0], headings)
        figure.legend(handles=_explained(), loc="outside lower center", ncols=4)
    return figure


def _places(survey: Survey) -> tuple[dict[str, float], dict[str, float]]:
    """The rows of the rules, and those of the headings of their groups."""
    places, headings, row = dict[str, float](), dict[str, float](), 0.0
    for way, names in survey.by_way.items():
        headings[way] = row - 0.9
        for name in names:
            places[name] = row
            row += 1
        row += HEADING
    return places, headings


def _write_headings(figure: Figure, axes: Axes, headings: dict[str, float]) -> None:
    """Write the headings from the left edge of the figure on, over the lines of the first panel."""
    where = blended_transform_factory(figure.transFigure, axes.transData)
    box = {"facecolor": rcParams["axes.facecolor"], "edgecolor": "none", "pad": 1.5}
    for heading, place in headings.items():
        text = axes.text(
            0.01, place, literal(heading), transform=where, va="center", fontweight="bold", fontsize=9, bbox=box
        )
        text.set_in_layout(False)  # else the panels would make room for it


def _draw(axes: Axes, found: Found, place: float) -> None:
    scores = list(found.accuracies.values())
    if not scores:
        axes.text(0.55, place, literal(found.kind), fontsize=SMALL, color=muted(), ha="center", va="center")
        return
    axes.axhline(place, color=muted(), linewidth=0.4, alpha=0.35, zorder=0)
    mean = statistics.fmean(scores)
    axes.plot([mean, mean], [place - 0.32, place + 0.32], color=colour(0), linewidth=2)
    face = "none" if found.diverged else colour(0)
    axes.scatter(scores, [place] * len(scores), s=16, facecolor=face, edgecolor=colour(0), alpha=0.75, zorder=3)


def _explained() -> list[Line2D]:
    dot: dict[str, Any] = {"marker": "o", "markersize": 4.5, "linestyle": "none"}
    return [
        Line2D([], [], label="a seed", color=colour(0), **dot),
        Line2D([], [], label="of a rule with a diverged run", color=colour(0), markerfacecolor="none", **dot),
        Line2D([], [], label="mean of bp", color=colour(1), linewidth=1, linestyle="--"),
        Line2D([], [], label="the most frequent class", color=muted(), linewidth=1, linestyle=":"),
    ]
