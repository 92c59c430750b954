"""Accuracies under attack, as `minifa.attacks.measure` reports them."""

from __future__ import annotations

__all__ = ["robustness"]

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..attacks import AttackReport, written
from ..validation import check_type
from .style import MARKERS, SMALL, colour, drawing, muted

SHOWN = {  # the quantities of a row, from top to bottom, with their labels; the last four are those of an attack
    "clean": "clean",
    "noise": "random signs",
    "own": "rule's own gradient",
    "true": "true gradient",
    "margin": "true gradient of the margin",
    "transfer": "from {}",
}
HEIGHT = 0.62  # inches for each network


def robustness(report: AttackReport, title: str = "", *, dark: bool = False) -> Figure:
    """The accuracies of a report: a column of panels for each attack, a row for each eps; in a panel, a band for each
    network with one mark for each quantity. At the right is the share of examples whose true gradient is zero: where it
    is high, the mark of the true gradient shows no robustness.

    Args:
        report: as `minifa.attacks.measure` returns it.
        title: a heading.
        dark: whether to draw for a dark background.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a report without rows.
    """
    check_type(
        report, AttackReport, "the report must be a minifa.attacks.AttackReport, as minifa.attacks.measure returns it"
    )
    if not report.rows:
        raise ValueError("the report has no rows to draw")
    runs, sizes = (list(dict.fromkeys(row[key] for row in report.rows)) for key in ("run", "eps"))
    facts = f"{report.rows[0]['examples']:,} examples; eps in {report.units.name}. At the right: the share of examples "
    facts += "whose true gradient is zero."
    height = 0.9 + len(sizes) * (0.7 + HEIGHT * len(runs))
    with drawing(height, title, facts, dark=dark) as figure:
        panels = figure.subplots(len(sizes), len(report.attacks), sharex=True, sharey=True, squeeze=False)
        for line, size in zip(panels, sizes, strict=True):
            rows = [row for row in report.rows if row["eps"] == size]
            for axes, attack in zip(line, report.attacks, strict=True):
                axes.set_title(f"{attack.upper()}, eps {written(report.units, size)}")
                _bands(axes, rows, attack)
                axes.set(yticks=range(len(runs)), yticklabels=runs, ylim=(len(runs) - 0.5, -0.5), xlim=(-0.02, 1.02))
        for axes in panels[-1]:
            axes.set_xlabel("accuracy")
            axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        has_source = any(row[f"{attack}_transfer"] is not None for row in report.rows for attack in report.attacks)
        labels = [label.format(report.source) for key, label in SHOWN.items() if key != "transfer" or has_source]
        handles = [Line2D([], [], label=label, **_mark(i)) for i, label in enumerate(labels)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _bands(axes: Axes, rows: list[dict[str, Any]], attack: str) -> None:
    axes.grid(visible=False, axis="y")
    for place, row in enumerate(rows):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=muted(), alpha=0.08, linewidth=0)
        for i, key in enumerate(SHOWN):
            value = row.get(key, row.get(f"{attack}_{key}"))
            if value is not None:
                axes.plot(value, place + (i - 2.5) * 0.15, **_mark(i))
        zero = row["zero_gradients"]
        text = "" if zero is None else f"{zero:.0%} zero".replace("%", " %")
        end: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
        axes.text(1.01, place, text, fontsize=SMALL, color=muted(), **end)


def _mark(i: int) -> dict[str, Any]:
    """The mark of the i-th quantity: grey for those without a gradient."""
    shade = muted() if i < 2 else colour(i - 2)
    face = "none" if i == 0 else shade
    return {"marker": MARKERS[i], "color": shade, "markerfacecolor": face, "markersize": 6, "linestyle": "none"}
