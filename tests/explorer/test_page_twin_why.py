"""Chapters 1 and 3 of the explorer's page in a browser: what they say and draw against NumPy, the engine and theory."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from browsers import Keys

from minifa import theory

TWIN, SHARE = ".twin-side input[type=range]", 1  # the sliders: the chosen twin, how many are wrong
START = ".plane [role=slider]"
ARROW = ".bowl [role=slider]"


def content_of(address):
    text = Path(unquote(urlparse(address).path)).read_text(encoding="utf-8")
    content = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    tables = content["arrays"]

    def array(term):
        shape, kind, packed, *table = tables[term["array"]]
        values = np.frombuffer(base64.b64decode(packed), "u1" if table else "<" + kind)
        return (
            np.frombuffer(base64.b64decode(table[0]), "<f4")[values].reshape(shape) if table else values.reshape(shape)
        )

    return content, array


def slide(window, css, number, value):
    """Set a slider as the reader does; the value that it has then."""
    script = """const one = document.querySelectorAll(arguments[0])[arguments[1]];
        one.value = arguments[2];
        one.dispatchEvent(new Event("input", {bubbles: true}));
        return Number(one.value)"""
    value = window.run(script, css, number, value)
    window.settle()
    return value


def focus(window, css):
    window.run("document.querySelector(arguments[0]).focus()", css)


def needle(window):
    """The angle that the gauge of chapter 1 shows."""
    return window.run("return document.querySelector('.twin-side .gauge .big').textContent")


def angle(a, b):
    return math.degrees(math.acos(np.clip((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()), -1, 1)))


# Chapter 1


def test_the_error_through_a_cut_twin_is_the_product_with_the_engine_s_numbers(chromium, pages):
    content, array = content_of(pages("default"))
    carry = next(one for one in content["films"]["bp"] if one["kind"] == "carry")
    W, delta, below = (array(carry["terms"][key]).astype("f8") for key in ("W", "delta", "delta_below"))
    chromium.open(f"{pages('default')}#chapter-1")
    chromium.settle()
    assert "agree with minifa's own error" in chromium.text("main")
    assert needle(chromium) == "0.0°"
    i, j = map(
        int, re.search(r"unit (\d+) to (?:class|unit) (\d+)", chromium.text(".twin-side .slider label")).groups()
    )
    x = array(
        next(one for one in content["films"]["bp"] if (one["kind"], one["layer"]) == ("forward", "linear3"))["terms"][
            "x"
        ]
    )
    assert x[0, i] and np.abs(W * (x[0] != 0)[:, None]).argmax() == i * W.shape[1] + j  # the largest of an active unit
    for share in (-1, -0.5, 0.25, 1):
        copies = W.copy()
        copies[i, j] = slide(chromium, TWIN, 0, share * np.abs(W).max())
        assert needle(chromium) == f"{angle(delta[0] @ copies.T, below[0]):.1f}°"
        assert "One wrong twin of 120" in chromium.text(".twin-side .story")
    chromium.click_on(".twin-side button", 1)
    chromium.settle()
    assert needle(chromium) == "0.0°"


def test_of_a_large_layer_the_chapter_shows_the_part_that_the_page_holds(chromium, pages, tmp_path):
    """The page may hold fewer rows of W than errors below it."""
    text = Path(unquote(urlparse(pages("default")).path)).read_text(encoding="utf-8")
    before, packed, after = re.split(
        r'(?<=<script type="application/json" id="data">)(.*?)(?=</script>)', text, flags=re.S
    )
    content = json.loads(packed)
    carry = next(one for one in content["films"]["bp"] if one["kind"] == "carry")
    W = content_of(pages("default"))[1](carry["terms"]["W"])
    rows, columns = W.shape
    part = W[:-2].astype("<f4")
    content["arrays"].append([list(part.shape), "f4", base64.b64encode(part.tobytes()).decode()])
    carry["terms"]["W"] |= {"array": len(content["arrays"]) - 1, "of": [rows, columns]}
    page = tmp_path / "part.html"
    page.write_text(before + json.dumps(content).replace("<", "\\u003c") + after, encoding="utf-8")
    chromium.open(f"{page.as_uri()}#chapter-1")
    chromium.settle()
    assert f"The page holds the first {rows - 2} of the {rows} units below" in chromium.text("main")
    assert "agree with minifa's own error" in chromium.text("main")
    assert needle(chromium) == "0.0°"


def test_more_wrong_twins_turn_the_error_to_chance_and_nothing_moves(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-1")
    chromium.settle()
    places, told = set(), []
    for wrong in (0, 1, 40, 80, 120):
        slide(chromium, TWIN, SHARE, wrong)
        told.append(float(needle(chromium).rstrip("°")))
        places.add(
            tuple(chromium.run("return [...document.querySelectorAll(arguments[0])].map((a) => a.offsetTop)", TWIN))
        )
    assert told[0] == 0 and told[1] < told[-1] and told[-1] > 45
    assert len(places) == 1
    assert "120 of 120 twins are wrong" in chromium.text(".twin-side .story")
    chromium.click_on(".twin-side button", 3)
    chromium.settle()
    assert needle(chromium) == "0.0°"


def test_the_arrow_keys_choose_a_synapse(window, pages):
    window.open(f"{pages('default')}#chapter-1")
    window.settle()
    focus(window, ".net")
    window.press(*[Keys.UP] * 12, *[Keys.LEFT] * 12)
    window.settle()
    assert "from unit 0 to class 0" in window.text(".twin-side .slider label")
    window.press(Keys.DOWN, Keys.DOWN, Keys.RIGHT)
    window.settle()
    assert "from unit 2 to class 1" in window.text(".twin-side .slider label")


# Chapter 3


def test_the_share_of_the_best_descent_is_the_cosine(window, pages):
    window.open(f"{pages('default')}#chapter-3")
    window.settle()
    focus(window, ARROW)
    window.press(Keys.HOME)
    for degrees in range(0, 181, 15):
        window.settle()
        assert window.run("return document.querySelector(arguments[0]).ariaValueNow", ARROW) == str(
            degrees - 360 * (degrees == 180)
        )
        told = window.text(".why-side .story")
        if 0 < degrees < 90:
            assert f"cos {degrees}° = {100 * math.cos(math.radians(degrees)):.0f} %" in told
        assert ("goes uphill" in told) == (degrees > 90)
        window.press(*[Keys.UP] * 3)


def test_a_drag_turns_the_arrow_and_takes_the_steps(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-3")
    chromium.settle()
    x, y = chromium.middle(ARROW)
    before = chromium.run("return document.querySelector(arguments[0]).ariaValueNow", ARROW)
    chromium.drag([(x, y), (x - 60, y - 20), (x - 110, y - 30)])
    assert chromium.run("return document.querySelector(arguments[0]).ariaValueNow", ARROW) != before
    chromium.wait("document.querySelectorAll('.bowl .stop').length < 14")  # the ball starts again
    chromium.wait("document.querySelectorAll('.bowl .stop').length === 14")


def test_trajectories_end_where_theory_says(window, pages):
    window.open(f"{pages('default')}#chapter-3")
    window.settle()
    window.click_on(".why-part:has(.plane) button", 0)
    w1 = 2 ** (1 / 3)  # from zero: w1 = (2 b)^(1/3), w2 = w1^2 / 2 b
    window.wait(
        f"document.querySelector('.story.four').innerText.includes('ends at w₁ = {w1:.2f}, w₂ = {w1 * w1 / 2:.2f}')"
    )
    assert "backpropagation stays where it is" in window.text(".story.four")
    window.click_on(".why-part:has(.plane) button", 1)
    worst = 0.5 * (1 + (2 / 3) ** 1.5) ** 2  # the largest loss on w2 = w1^2 / 2 - 1 (tutorial 04)
    window.wait(f"document.querySelector('.story.four').innerText.includes('rises from 0.50 to {worst:.2f}')")


def test_half_of_the_target_is_learned_when_theory_says(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-3")
    chromium.settle()
    chromium.click_on(".why-part:has(.plane) button", 0)
    chromium.settle()
    curve = chromium.run("return document.querySelector('.why-part:has(.plane) .chart .this .curve').getAttribute('d')")
    points = np.array([[float(one) for one in pair.split(",")] for pair in re.findall(r"[-\d.]+,[-\d.]+", curve)])
    ticks = """return [...document.querySelectorAll(".why-part:has(.plane) .chart [text-anchor=middle]")]
        .map((one) => Number(one.textContent)).filter(Number.isFinite)"""
    end = max(chromium.run(ticks))  # the chart ends where the loss is flat
    time = end * (points[:, 0] - points[0, 0]) / (points[-1, 0] - points[0, 0])
    loss = 0.5 * (points[:, 1] - points[-1, 1]) / (points[0, 1] - points[-1, 1])  # from 1/2 to 0
    assert np.interp(theory.fa_learning_time(1.0, 1.0, 0.5), time, loss) == pytest.approx(0.125, abs=0.01)


def test_the_start_moves_by_keys_and_stays_inside(window, pages):
    window.open(f"{pages('default')}#chapter-3")
    window.settle()
    focus(window, START)
    window.press(*[Keys.RIGHT] * 60, *[Keys.UP] * 60)
    window.settle()
    assert window.run("return document.querySelector(arguments[0]).ariaValueText", START) == "w₁ = 2.40, w₂ = 2.20"
    window.press(Keys.LEFT, Keys.DOWN)
    window.settle()
    assert window.run("return document.querySelector(arguments[0]).ariaValueText", START) == "w₁ = 2.30, w₂ = 2.10"


def test_the_training_run_has_its_address_and_nothing_moves(window, pages):
    content, _ = content_of(pages("default"))
    window.open(f"{pages('default')}#training/fa/linear2/0")
    window.settle()
    window.wait("scrollY > 0 && Math.abs(document.querySelector('#why-3').getBoundingClientRect().top) < 40")
    places = set()
    for update in content["at"][:6]:
        window.settle()
        assert window.run("return location.hash") == f"#training/fa/linear2/{update}"
        places.add(
            tuple(
                window.run(
                    """return [".training .player", ".turning", ".weight-readout", ".run-charts"]
                .map((a) => document.querySelector(a).getBoundingClientRect().top)"""
                )
            )
        )
        window.run("document.querySelector('.training [aria-label=Next]').click()")
    assert len(places) == 1
    snapshot = content["runs"]["fa"][-1]["layers"]["linear2"]
    window.run("document.querySelector('.training [aria-label=Last]').click()")
    window.settle()
    assert f"to {snapshot['weight_angle']:.1f}°" in window.text(".training .story")
    window.run("[...document.querySelectorAll('.training input[type=radio]')].find((a) => a.value === 'bp').click()")
    window.wait("location.hash.startsWith('#training/bp/linear2/')")
    window.run("history.back()")
    window.wait("location.hash.startsWith('#training/fa/linear2/')")


def test_one_scale_for_w_b_and_their_difference_and_exact_numbers(chromium, pages):
    content, array = content_of(pages("default"))
    pairs = [(one["layers"]["linear2"]["W"], one["feedback"]["linear2"]) for one in content["runs"]["fa"]]
    W, B = map(array, pairs[-1])
    largest = max(np.abs(array(one)).max() for pair in pairs for one in pair)
    chromium.open(f"{pages('default')}#training/fa/linear2/1000")
    chromium.settle()
    assert chromium.text(".training .scale").replace("\n", " ").split() == (
        f"W, B and W - B of this run: -{largest:.3f} {largest:.3f}".split()
    )
    box = """const field = document.querySelectorAll(".turning .field")[2];
        field.scrollIntoView({block: "center"});
        const box = field.getBoundingClientRect();
        return [box.x, box.y, box.width, box.height]"""
    x, y, width, height = chromium.run(box)
    chromium.point(x + width * 4.5 / W.shape[1], y + height * 7.5 / W.shape[0])
    chromium.settle()
    numbers = dict(re.findall(r"([WB])\[7, 4\] = (-?[\d.e-]+)", chromium.text(".weight-readout")))
    assert np.float32(numbers["W"]) == W[7, 4] and np.float32(numbers["B"]) == B[7, 4]


def test_the_story_says_what_carries_the_error_before_the_first_update(chromium, pages):
    chromium.open(f"{pages('default')}#training/bp/linear2/0")
    chromium.settle()
    assert "W itself carries the error" in chromium.text(".training .story")
    chromium.open(f"{pages('default')}#training/dfa/linear2/0")
    chromium.settle()
    assert "its own scale" in chromium.text(".turning")
    assert {"F"} == set(
        chromium.run(
            "return [...document.querySelectorAll('.heats [data-role=feedback] .name')].map((a) => a.innerText[0])"
        )
    )
    chromium.open(f"{pages('default')}#training/fa/linear3/0")
    chromium.settle()
    assert "0 by definition" in chromium.text(".gauges")


def test_eleven_rules_are_named_and_told_apart_in_every_chart(window, pages):
    window.open(f"{pages('rules')}#training/dfa/linear2/100")
    window.settle()
    charts = window.run(
        """return [...document.querySelectorAll(".run-charts .chart")].map((chart) =>
        [...chart.querySelectorAll("g:has(> .curve)")]
        .map((one) => [one.querySelector("text").textContent,
                       one.querySelector(".curve").getAttribute("stroke-dasharray"),
                       one.querySelector(".marker").getAttribute("d"), one.style.getPropertyValue("--curve")]))"""
    )
    assert [len(one) for one in charts][2:4] == [11, 11]  # accuracy and loss
    assert "size of the layer's own error, relative to backpropagation's" in window.text(".layer-numbers")
    for chart in charts:
        assert len({name for name, *_ in chart}) == len(chart)
        marks = [(dash, colour) for _, dash, _, colour in chart]
        assert len(set(marks)) == len(chart)


def test_the_chart_below_the_bowl_shows_the_side_to_which_the_arrow_points(chromium, pages):
    """A step at -60 degrees is worth more than one at 60: the loss is no circle."""
    start = np.array([2.5, 1.15])
    slope = np.array([0.6, 2]) * start

    def loss(degrees):
        """Of 0.3 u^2 + v^2 after a step with the rate 0.25."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        u, v = start - 0.25 * np.array([[cos, -sin], [sin, cos]]) @ slope
        return 0.3 * u**2 + v**2

    before = 0.3 * start[0] ** 2 + start[1] ** 2
    chromium.open(f"{pages('default')}#chapter-3")
    chromium.wait("document.querySelector('.why-side .this .curve')")
    for degrees in (60, -60):
        chromium.run(
            """const slider = document.querySelector('.why-side .slider input');
            slider.value = arguments[0];
            slider.dispatchEvent(new Event("input", {bubbles: true}))""",
            degrees,
        )
        chromium.wait(
            "document.querySelector('.why-side output').innerText === arguments[0]", f"{degrees}°".replace("-", "−")
        )
        told = float(re.search(r"takes the loss from 3\.20 to (\d\.\d\d)", chromium.text(".why-side .story"))[1])
        assert told == pytest.approx(loss(degrees), abs=0.006)
        shown = chromium.run(
            """const chart = document.querySelector(".why-side .chart");
            const at = Number(chart.querySelector(".cursor").getAttribute("x1"));
            const curve = chart.querySelector(".this .curve").getAttribute("d").slice(1).split("L");
            const points = curve.map((one) => one.split(",").map(Number));
            const y = points.reduce((best, one) => Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best)[1];
            const rows = [...chart.querySelectorAll("g:has(> .grid)")];
            const row = (text) => rows.find((one) => one.querySelector("text").textContent === text);
            const heightOf = (text) => Number(row(text).querySelector("line").getAttribute("y1"));
            return 100 * (y - heightOf("0")) / (heightOf("1") - heightOf("0"))"""
        )
        assert abs(shown - 100 * (before - loss(degrees)) / (before - loss(0))) < 1, degrees
