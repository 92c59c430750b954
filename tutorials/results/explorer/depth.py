"""The picture of test accuracy against depth, from runs.csv in this folder.

    python tutorials/results/explorer/depth.py tutorials/results/explorer/depth.png

A mark is a seed, a line joins the means over the seeds. The depths are evenly spaced; at each of them the rules stand
side by side, so that equal accuracies do not hide each other. PyTorch's runs are left out; the table has them.
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path
from typing import Any

from minifa.experiments import Experiment, load_data
from minifa.explorer.grid import FAMILIES, RULES, Family
from minifa.figures.style import apart, drawing, look, muted, name_at_end

RUNS = Path(__file__).with_name("runs.csv")
LOOKS = {"bp": 0, "usf": 1, "frsf": 2, "fa": 3, "shallow": 4, "dfa": 5}  # as in the pictures of `minifa compare`
STEP = 0.09  # between rules at one depth
GAP = 0.042  # between labels


def accuracies(lines: list[dict[str, str]], family: str, rule: str, depth: int) -> list[float]:
    """The last test accuracy of every seed."""
    wanted = {"engine": "minifa", "family": family, "rule": rule, "depth": str(depth)}
    return [float(line["accuracy"].split()[-1]) for line in lines if wanted.items() <= line.items()]


def draw_family(axes: Any, lines: list[dict[str, str]], name: str, family: Family, chance: float) -> None:
    ends = []
    for i, rule in enumerate(RULES):
        style = look(LOOKS[rule])
        style["linestyle"] = "--" if rule == "shallow" else "-"
        scores = [accuracies(lines, name, rule, depth) for depth in family.depths]
        at = [place + STEP * (i - (len(RULES) - 1) / 2) for place in range(len(scores))]
        means = [statistics.fmean(some) for some in scores]
        axes.plot(at, means, color=style["color"], linestyle=style["linestyle"], linewidth=1.6)
        for x, some in zip(at, scores, strict=True):
            dot = {"color": style["color"], "marker": style["marker"], "s": 26, "alpha": 0.8, "linewidths": 0}
            axes.scatter([x] * len(some), some, **dot, zorder=3)
        ends.append(means[-1])
    axes.axhline(chance, color=muted(), linestyle=":", linewidth=1.2)
    axes.set_xticks(range(len(family.depths)), [str(depth) for depth in family.depths])
    axes.set(title=family.title, xlabel=family.units, ylim=(0, 1.03), xlim=(-0.4, len(family.depths) - 0.7))
    for rule, end, height in zip(RULES, ends, apart(ends, GAP, top=1.01), strict=True):
        name_at_end(axes, rule, end, height, look(LOOKS[rule])["color"], size=9)
    axes.annotate("chance", (-0.35, chance + 0.015), color=muted(), va="bottom", fontsize=9)


def main() -> None:
    with open(RUNS, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    data = load_data(Experiment())
    title = "Test accuracy against depth, on the digits"
    facts = (
        "Every rule at its own learning rate, 15 epochs. Marks: three seeds, side by side for each depth.\n"
        "Dashed: shallow, the control, which trains only the output layer."
    )
    with drawing(4.0, title, facts, dark=False, width=10.5) as figure:
        panels = figure.subplots(1, len(FAMILIES), sharey=True)
        for axes, (name, family) in zip(panels, FAMILIES.items(), strict=True):
            draw_family(axes, lines, name, family, 1 / data.n_out)
        panels[0].set_ylabel("test accuracy")
        figure.savefig(sys.argv[1])


if __name__ == "__main__":
    main()
