"""Eleven rules in one chart: told apart by colour, dash, marker and name, in light and dark; no curve is cut off."""

from __future__ import annotations

import itertools
import math

import pytest
from explorer_pages import ELEVEN

CURVES = """
const colourOf = (css) => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d");
  pen.fillStyle = css;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const curvesOf = (svg) => [...svg.querySelectorAll("g:has(> .curve)")].map((one) => {
  const curve = one.querySelector(".curve");
  const {stroke, strokeDasharray} = getComputedStyle(curve);
  const [box, room] = [curve, svg].map((a) => a.getBoundingClientRect());
  return {
    name: one.querySelector("text")?.textContent, colour: colourOf(stroke), dash: strokeDasharray,
    marker: one.querySelector(".marker").getAttribute("d"),
    over: Math.max(room.top - box.top, box.bottom - room.bottom, room.left - box.left, box.right - room.right),
  };
});
return [...document.querySelectorAll(".chart svg")].map(curvesOf);
"""


def lab(colour):
    """CIE Lab of an sRGB colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows]
    x, y, z = (
        v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (xyz[0] / 0.9505, xyz[1], xyz[2] / 1.089)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_eleven_rules_are_told_apart(chromium, pages, theme):
    chromium.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
    chromium.open(f"{pages('rules')}#training/fa/linear2/100")
    chromium.wait("document.querySelector('.chart .curve')")
    chromium.settle()
    charts = [chart for chart in chromium.run(CURVES) if {one["name"] for one in chart} & set(ELEVEN)]
    assert max(len(chart) for chart in charts) == len(ELEVEN)
    for chart in charts:
        names = [one["name"] for one in chart]
        assert len(set(names)) == len(names) and set(names) <= set(ELEVEN)  # each curve has its name
        assert all(one["over"] <= 1 for one in chart)
        for a, b in itertools.combinations(chart, 2):
            apart = [
                math.dist(lab(a["colour"]), lab(b["colour"])) > 20,
                a["dash"] != b["dash"],
                a["marker"] != b["marker"],
            ]
            assert sum(apart) >= 2, f"{a['name']} and {b['name']} differ in colour, dash, marker: {apart}"


def test_a_rule_has_the_same_style_in_every_chart(chromium, pages):
    chromium.open(f"{pages('rules')}#training/fa/linear2/100")
    chromium.wait("document.querySelector('.chart .curve')")
    styles = {}
    charts = [chart for chart in chromium.run(CURVES) if len({one["name"] for one in chart} & set(ELEVEN)) > 2]
    for one in itertools.chain(*charts):
        styles.setdefault(one["name"], set()).add((*one["colour"], one["dash"]))
    assert len(charts) > 1 and set(styles) == set(ELEVEN)
    assert all(len(kinds) == 1 for kinds in styles.values())


def test_a_rule_has_the_same_style_in_every_chapter(chromium, pages):
    chromium.media(prefers_reduced_motion="reduce")
    styles = {"bp": set(), "fa": set()}
    names = {"backpropagation": "bp", "feedback alignment": "fa"}
    for place in ("chapter-0", "training/fa/linear2/100", "chapter-4/mlp/8/all"):
        chromium.open(f"{pages('default')}#{place}")
        chromium.wait("document.querySelector('.chart .curve')")
        chromium.settle()
        for one in itertools.chain(*chromium.run(CURVES)):
            name = names.get(one["name"], one["name"])
            if name in styles:
                styles[name].add((*one["colour"], one["dash"]))
    assert all(len(kinds) == 1 for kinds in styles.values()), styles
    assert styles["bp"] != styles["fa"]
