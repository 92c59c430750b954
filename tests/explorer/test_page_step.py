"""Chapter 2 in a browser: its numbers against the trace, its controls, its addresses, and what stays in its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from browsers import Keys
from explorer_pages import PAGES
from page_checks import go

from minifa import data
from minifa.experiments import Experiment
from minifa.tracing import stepper

TITLE = ".moment h2"
WHERE = ".player .where"


@pytest.fixture(scope="module")
def replay():
    """The step that the default page shows."""
    experiment = Experiment(
        data="digits", model="mlp", model_options={"hidden": (16, 12)}, lr=0.02, batch_size=8,
        optimizer_options={"momentum": 0.0},
    )  # fmt: skip
    return stepper.Replay(experiment, data.load("digits"))


@pytest.fixture
def at(window, pages):
    """Opens the default page at a place."""

    def open_at(place):
        window.open(f"{pages('default')}#{place}")
        window.wait("document.querySelector(arguments[0])", TITLE if place.startswith("step") else "h1")
        return window

    return open_at


def carry_in(trace):
    """The number, counted from 1, of the moment in which the error is carried through the output layer."""
    return 1 + next(i for i, moment in enumerate(trace) if moment.kind == "carry")


def is_shown(page, trace, i):
    page.settle()
    assert page.text(TITLE) == trace[i].title
    assert page.text(WHERE) == f"{i + 1} of {len(trace)}"
    assert page.text("nav.moments [aria-current=step]") == trace[i].title


def point_at(page, symbol, row, column, shape):
    """The mouse over a cell of the last matrix with this symbol: the rule's own, right of backpropagation's."""
    x, y, width, height = page.run(
        """const found = [...document.querySelectorAll(".matrix")].filter((one) => one.dataset.symbol === arguments[0]);
        const canvas = found.at(-1).querySelector("canvas");
        canvas.scrollIntoView({block: "center", behavior: "instant"});
        const {left, top, width, height} = canvas.getBoundingClientRect();
        return [left, top, width, height]""",
        symbol,
    )
    page.point(x + (column + 0.5) * width / shape[1], y + (row + 0.5) * height / shape[0])
    page.settle()


def readouts(page, name):
    """The texts under the pointer that name this array."""
    texts = page.run("return [...document.querySelectorAll('.readout .worked')].map((one) => one.innerText)")
    return [text.replace("−", "-") for text in texts if name in text]


def value_in(text):
    return re.search(r"\] = (\S+)", text)[1]


def test_a_step_is_navigated_with_keys_buttons_slider_and_list(at, replay):
    trace = replay.trace("fa")
    page = at("step/fa/1")
    is_shown(page, trace, 0)
    page.press(Keys.RIGHT, Keys.RIGHT)
    is_shown(page, trace, 2)
    page.press(Keys.LEFT)
    is_shown(page, trace, 1)
    page.press(Keys.END)
    is_shown(page, trace, len(trace) - 1)
    page.press(Keys.HOME)
    is_shown(page, trace, 0)
    for label, place in (("Next", 1), ("Next", 2), ("Previous", 1), ("Last", len(trace) - 1), ("First", 0)):
        page.click_on(f".player button[aria-label={label}]")
        is_shown(page, trace, place)
    page.run("document.querySelector('.player input[type=range]').focus()")
    page.press(Keys.RIGHT, Keys.RIGHT)
    is_shown(page, trace, 2)
    page.click_on("nav.moments button", 8)
    is_shown(page, trace, 8)
    assert page.run("return location.hash") == "#step/fa/9"


def test_the_back_button_returns_to_the_moment_before(at, replay):
    trace = replay.trace("fa")
    page = at("step/fa/1")
    page.click_on("nav.moments button", 8)
    is_shown(page, trace, 8)
    page.run("history.back()")
    page.wait("document.querySelector(arguments[0]).textContent === arguments[1]", TITLE, trace[0].title)


def test_playing_advances_pauses_and_ends(at, replay):
    count = len(replay.trace("fa"))
    page = at(f"step/fa/{count - 2}")
    page.run(
        """const speed = document.querySelector(".player select");
        speed.value = "4";
        speed.dispatchEvent(new Event("change", {bubbles: true}))"""
    )
    page.press(" ")
    page.wait("document.querySelector('.player [aria-label=Pause]')")
    page.press(" ")
    page.wait("document.querySelector('.player [aria-label=Play]')")
    page.click_on(".player [aria-label=Play]")
    page.wait("document.querySelector(arguments[0]).textContent === arguments[1]", WHERE, f"{count} of {count}")
    page.wait("document.querySelector('.player [aria-label=Play]')")


def test_choosing_a_moment_pauses(at, replay):
    page = at("step/fa/2")
    page.click_on(".player [aria-label=Play]")
    page.click_on("nav.moments button", 8)
    page.wait("document.querySelector('.player [aria-label=Play]')")
    is_shown(page, replay.trace("fa"), 8)


def test_another_rule_keeps_the_moment(at, replay):
    carry = carry_in(replay.trace("fa"))
    page = at(f"step/fa/{carry}")

    def choose(rule):
        page.click_on(f".choices label:has(input[value={rule}])")
        page.settle()

    title = replay.trace("fa")[carry - 1].title
    choose("usf")
    assert page.text(TITLE) == title
    choose("dfa")  # carries no error: the last earlier moment that both rules have
    trace = replay.trace("dfa")
    is_shown(page, trace, trace.matching_index(replay.trace("fa"), carry - 1))
    choose("fa")
    assert page.text(TITLE) == title
    page.press(Keys.RIGHT)  # after a click on a rule the arrow keys still control the film
    is_shown(page, replay.trace("fa"), carry)


@pytest.mark.parametrize("symbol", ["delta_below", "delta", "B.T"])
def test_the_exact_number_is_shown_under_the_pointer(at, replay, symbol):
    trace = replay.trace("fa")
    carry = carry_in(trace)
    page = at(f"step/fa/{carry}")
    array = trace[carry - 1].terms[symbol.removesuffix(".T")]
    name = {"delta_below": "relu2.delta", "delta": "linear3.delta", "B.T": "linear3.B"}[symbol]
    last = (len(array) - 1, array.shape[1] - 1)
    for row, column in [(0, 0), (3, 7), last] if symbol == "B.T" else [(0, 0), (0, 7)]:  # the first example is shown
        shown = (column, row, array.shape[::-1]) if symbol == "B.T" else (row, column, (1, array.shape[1]))
        point_at(page, symbol, *shown)
        (text,) = (text for text in readouts(page, f"{name}[{row}, {column}]") if text.startswith("fa"))
        assert np.float32(value_in(text)) == array[row, column]
        assert len(value_in(text)) <= len(repr(float(array[row, column])))


def test_the_sum_behind_a_product_is_shown_under_both_rules(window, pages):
    options = PAGES["tiny"]
    experiment = Experiment(data=options[1], model="tiny", lr=0.5, batch_size=4, optimizer_options={"momentum": 0.0})
    trace, bp = (stepper.Replay(experiment, data.load("xor")).trace(rule) for rule in ("fa", "bp"))
    carry = carry_in(trace)
    window.open(f"{pages('tiny')}#step/fa/{carry}")
    window.wait("document.querySelector(arguments[0])", TITLE)
    below = trace[carry - 1].terms["delta_below"]
    point_at(window, "delta_below", 0, 3, (1, below.shape[1]))
    texts = readouts(window, "[0, 3]")
    assert len(texts) == 2
    for text, one in zip(texts, (bp, trace), strict=True):
        terms = one[carry - 1].terms
        factors = [
            float(number) for number in re.findall(r"-?\d+\.\d+", text.partition("=")[2].partition("=")[2] or text)
        ]
        products = [(terms["delta"][0, k], terms["B"][3, k]) for k in range(terms["delta"].shape[1])]
        for pair in products:
            for number in pair:
                assert min(abs(number - factor) for factor in factors) < 5e-4, text


def test_one_scale_holds_for_both_columns_where_their_moments_differ(chromium, pages, replay):
    trace = replay.trace("dfa")
    number, moment = next((i, one) for i, one in enumerate(trace, 1) if one.kind == "teach")
    F = moment.terms["F"]
    B = next(one for one in replay.trace("bp") if one.kind == "carry").terms["B"]  # what the left column shows then
    chromium.open(f"{pages('default')}#step/dfa/{number}")
    chromium.wait("document.querySelector(arguments[0])", TITLE)
    chromium.settle()
    told = re.search(r"weights and feedback: [^\d]*([\d.]+)", chromium.text(".moment .scale"))
    assert float(told[1]) >= max(np.abs(F).max(), np.abs(B).max()) - 5e-4
    assert np.abs(B).max() > 2 * np.abs(F).max()


def test_the_arrow_keys_read_a_matrix_that_has_the_focus(at, replay):
    trace = replay.trace("fa")
    carry = carry_in(trace)
    page = at(f"step/fa/{carry}")
    B = trace[carry - 1].terms["B"]
    page.run(
        """const all = [...document.querySelectorAll(".matrix[data-symbol='B.T'] button.name")];
        all.at(-1).focus()"""
    )
    page.press(Keys.RIGHT, Keys.RIGHT, Keys.RIGHT, Keys.DOWN)
    page.settle()
    (text,) = (text for text in readouts(page, "linear3.B[2, 1]") if text.startswith("fa"))
    assert np.float32(value_in(text)) == B[2, 1]
    page.wait("document.querySelector('[role=status]').textContent.includes('linear3.B[2, 1]')")
    assert page.text(WHERE) == f"{carry} of {len(trace)}"  # the film does not move


def test_every_matrix_is_also_a_table(at, replay):
    trace = replay.trace("fa")
    carry = carry_in(trace)
    page = at(f"step/fa/{carry}")
    page.run("[...document.querySelectorAll(\".matrix[data-symbol='B.T'] button.name\")].at(-1).focus()")
    page.press(Keys.ENTER)
    page.wait("document.querySelector('dialog[open] td')")
    rows = page.run(
        """return [...document.querySelectorAll("dialog tbody tr")].map((row) =>
        [...row.querySelectorAll("td")].map((one) => one.textContent.replace("−", "-")))"""
    )
    assert np.array_equal(np.array(rows, np.float32), trace[carry - 1].terms["B"])
    heads = page.run("return document.querySelectorAll('dialog th[scope=col], dialog th[scope=row]').length")
    assert heads == sum(trace[carry - 1].terms["B"].shape)
    page.press(Keys.ESCAPE)
    page.wait("!document.querySelector('dialog[open]')")


def test_arrays_that_are_not_computed_yet_are_drawn_as_missing(at, replay):
    trace = replay.trace("fa")
    page = at("step/fa/1")

    def missing(place):
        go(page, place)
        page.run("document.querySelector('details.board').open = true")
        page.settle()
        return page.run(
            "return [...document.querySelectorAll('.board .missing')].map((a) => a.getAttribute('aria-label'))"
        )

    first = missing("step/fa/1")
    assert "linear3.delta: not computed yet" in first and "linear3.W: not computed yet" not in first
    loss = missing(f"step/fa/{1 + [moment.kind for moment in trace].index('loss')}")
    assert "linear3.delta: not computed yet" not in loss and "linear2.delta: not computed yet" in loss
    assert missing(f"step/fa/{len(trace)}") == []


def test_all_moments_of_all_rules_have_their_titles(at, replay):
    page = at("step/bp/1")
    for rule in ("bp", "fa", "usf", "dfa"):
        trace = replay.trace(rule)
        shown = []
        for i in range(len(trace)):
            go(page, f"step/{rule}/{i + 1}")
            shown.append(page.text(TITLE))
        assert shown == [moment.title for moment in trace]


# What stays in its place


@pytest.mark.parametrize("name", ["default", "tiny", "cnn"])
def test_gauges_and_player_stand_still_and_in_view_through_the_film(window, pages, name):
    window.open(f"{pages(name)}#step/fa/1")
    window.wait("document.querySelector(arguments[0])", TITLE)
    places = set()
    for rule in ("fa", "bp"):
        go(window, f"step/{rule}/1")
        for _ in range(int(window.text(WHERE).split()[-1])):
            places.add(
                tuple(
                    window.run(
                        """return [".angles", ".player", ".moment"].map((css) => {
                        const {top, bottom} = document.querySelector(css).getBoundingClientRect();
                        return [Math.round(top), css === ".moment" ? null : Math.round(bottom)]}).flat()"""
                    )
                )
            )
            window.press(Keys.RIGHT)
            window.settle()
    assert len(places) == 1, places
    ((angles_top, angles_bottom, player_top, player_bottom, *_),) = places
    assert 0 <= angles_top and angles_bottom < 450 and player_top >= 600 and player_bottom <= 900


def lists(window):
    """The lists of moments that a reader sees and can use."""
    return window.run(
        """return ["nav.moments", ".moments-narrow select"].filter((css) => {
        const one = document.querySelector(css);
        const {width, height} = one.getBoundingClientRect();
        return one.checkVisibility({visibilityProperty: true}) && width > 60 && height > 20})"""
    )


@pytest.mark.parametrize("start", [640, 1280])
def test_the_list_of_moments_survives_every_change_of_width(at, window, start):
    window.resize(start, 900)
    at("step/fa/5")
    for width in (1280, 640, 320, 640, 1280, 390, 1920):
        window.resize(width, 900)
        window.settle()
        assert len(lists(window)) == 1, width


def test_a_rule_without_texts_leaves_no_empty_sentence(pages, chromium, tmp_path):
    text = Path(unquote(urlparse(pages("default")).path)).read_text(encoding="utf-8")
    before, content, after = re.split(
        r'(?<=<script type="application/json" id="data">)(.*?)(?=</script>)', text, flags=re.S
    )
    changed = json.loads(content)
    changed["rules"][1].update(title="a rule of your own", equation="", paper="", needs="", mathml=[])
    page = tmp_path / "own.html"
    page.write_text(before + json.dumps(changed).replace("<", "\\u003c") + after, encoding="utf-8")
    for place, css in (("step/fa/1", ".about"), ("training/fa/linear2/0", ".rule-line")):
        chromium.open(f"{page.as_uri()}#{place}")
        chromium.wait("document.querySelector(arguments[0])", css)
        assert chromium.text(css).strip().removesuffix(" (fa)") == "a rule of your own"


CUT = """const room = document.querySelector(".angles").getBoundingClientRect();
return [...document.querySelectorAll(".angles figcaption")].filter((one) => {
  const words = document.createRange();
  words.selectNodeContents(one);
  const {top, bottom} = words.getBoundingClientRect();
  return top < room.top - 1 || bottom > room.bottom + 1;
}).map((one) => one.textContent)"""


@pytest.mark.parametrize(("name", "width"), [("rules", 1280), ("rules", 1000), ("default", 1000), ("default", 830)])
def test_the_words_beside_the_dials_are_not_cut(pages, chromium, name, width):
    chromium.resize(width, 900)
    chromium.open(f"{pages(name)}#step/fa/9")
    chromium.wait("document.querySelector('.angles figcaption')")
    for _ in range(8):
        chromium.settle()
        assert chromium.run(CUT) == []
        chromium.press(Keys.RIGHT)


def test_the_charts_of_a_narrow_place_are_wide_enough_to_read(pages, chromium):
    """A notebook gives the page a part of a wide window."""
    chromium.open(f"{pages('default')}#chapter-5")
    chromium.run("document.querySelector('.mf').style.width = '800px'")
    chromium.wait("document.querySelectorAll('.charts .chart').length === 3")
    chromium.settle()
    widths = chromium.run("return [...document.querySelectorAll('.charts .chart')].map((one) => one.clientWidth)")
    assert min(widths) >= 200


@pytest.mark.parametrize("name", ["default", "rules"])
@pytest.mark.parametrize("size", [(1280, 900), (1920, 1080), (1000, 720)])
def test_the_current_moment_of_the_list_is_not_behind_the_player(pages, chromium, name, size):
    chromium.resize(*size)
    chromium.open(f"{pages(name)}#step/fa/1")
    chromium.wait("document.querySelector('nav.moments')")
    for _ in range(24):
        chromium.settle()
        bottom, player = chromium.run(
            """const box = (css) => document.querySelector(css).getBoundingClientRect();
            return [box("nav.moments [aria-current=step]").bottom, box(".dock").top]"""
        )
        assert bottom <= player
        chromium.press(Keys.RIGHT)


@pytest.mark.parametrize("size", [(640, 450), (320, 256)])
def test_the_moment_is_in_view_at_a_zoom_of_200_and_400_percent(at, window, size):
    """A window of 1280 x 900 has this size then; what is sticky must not cover all of it."""
    window.resize(*size)
    at("step/fa/11")
    window.run("document.querySelector(arguments[0]).scrollIntoView({block: 'start', behavior: 'instant'})", TITLE)
    window.settle()
    free = window.run(
        """let free = 0;
        for (let y = 0; y < innerHeight; y++)
          if (document.elementFromPoint(innerWidth / 2, y)?.closest(".moment")) free++;
        return free"""
    )
    assert free >= 0.55 * size[1]


def test_what_has_the_focus_is_not_hidden_behind_the_player(at, window):
    window.resize(640, 450)
    at("step/fa/11")
    for _ in range(40):
        window.press(Keys.TAB)
        hidden = window.run(
            """const one = document.activeElement;
            if (!one || one === document.body) return null;
            const {left, right, top, bottom} = one.getBoundingClientRect();
            const seen = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
            return seen && (one.contains(seen) || seen.contains(one) || seen.closest("label")?.contains(one))
              ? null : one.outerHTML.slice(0, 120)"""
        )
        assert hidden is None


# Addresses


@pytest.mark.parametrize(
    "place",
    ["step/nobody/99999/%3Cb%3E", "step/%E0%A4%A/1", "training/fa/nowhere/-1", "chapter-9", "chapter-2/x", "%", "step"],
)
def test_a_wrong_address_still_shows_a_chapter(window, pages, place):
    window.open(f"{pages('default')}#{place}")
    window.wait("document.querySelector('h1')?.textContent")
    assert window.run("return document.querySelector('main').innerText.length") > 100


def test_old_addresses_open_their_places(at, replay):
    page = at("step/dfa/3")
    is_shown(page, replay.trace("dfa"), 2)
    go(page, "training/fa/linear2/100")
    page.wait("document.querySelector('h1').textContent === 'Why it works'")
    assert "100" in page.run("return document.querySelector('main').innerText")


@pytest.mark.parametrize("chapter", range(6))
def test_one_chapter_can_be_embedded(window, pages, chapter):
    window.open(f"{pages('default')}?only={chapter}")
    window.wait("document.querySelector('h1')?.textContent")
    assert window.run("return document.querySelectorAll('nav[aria-label=Chapters], .onward').length") == 0
    assert window.run("return document.querySelector('main').id") == f"chapter-{chapter}-main"
    assert Path(window.run("return location.pathname")).suffix == ".html"
