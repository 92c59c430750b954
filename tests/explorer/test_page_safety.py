"""What the page must not do: reach a network, run what is data, write to the console, or grow."""

from __future__ import annotations

import re

import pytest
from explorer_pages import HOSTILE, hostile_page
from page_checks import CHAPTERS

from minifa.explorer import page as explorer

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize(
    ("name", "largest"), [("default", 2.0), ("cnn", 5.0), pytest.param("deep", 5.0, marks=pytest.mark.long)]
)
def test_pages_are_within_their_budgets(text_of, name, largest):
    assert len(text_of(name)) / 1e6 <= largest  # MB


def test_the_page_names_no_address(text_of):
    text = text_of("default")
    assert POLICY in text
    spaces = {"2000/svg", "1998/Math/MathML", "1999/xhtml"}  # names of formats, which are not fetched
    assert set(re.findall(r"[a-z]{2,6}://[\w./]*", text)) <= {f"http://www.w3.org/{space}" for space in spaces}
    assert set(re.findall(r"\b(?:src|href)=[\"']?([^\"'\s>$]*)", text.partition("<script")[0])) == {"data:,"}


def test_the_page_loads_nothing(window, pages):
    """The fixture asserts an empty console, too: a request that the policy stops would be there."""
    for chapter in CHAPTERS:
        window.open(f"{pages('default')}#chapter-{chapter}")
        window.settle()
        loaded = window.run("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []


def test_the_policy_stops_what_would_leave_the_machine(chromium, pages):
    chromium.open(pages("tiny"))
    stopped = chromium.run(
        """const tries = [() => fetch("http://127.0.0.1:9/"), () => import("data:text/javascript,export default 1"),
          () => new Promise((done, fail) => { const one = new Image(); one.onload = done; one.onerror = fail;
                                              one.src = "http://127.0.0.1:9/x.png" })];
        const results = await Promise.allSettled(tries.map(async (one) => one()));
        return results.map((one) => one.status)"""
    )
    assert stopped == ["rejected"] * 3
    assert all("violates" in message for message in chromium.hear("violates", times=3))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return explorer.write(hostile_page(), tmp_path_factory.mktemp("hostile") / "page.html").as_uri()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_hostile_names_are_shown_literally(window, hostile, chapter):
    window.open(f"{hostile}#chapter-{chapter}")
    window.wait("document.querySelector('h1')?.textContent")
    window.settle()
    assert window.run("return document.querySelectorAll('img').length") == 0
    assert window.run("return document.querySelectorAll('script').length") == 2


def test_a_hostile_name_is_the_title_of_its_moments(window, hostile):
    window.open(f"{hostile}#step/fa/2")
    window.wait("document.querySelector('.moment h2')")
    for moment in range(2, 12):
        window.run("location.hash = arguments[0]", f"step/fa/{moment}")
        window.settle()
    window.run("location.hash = 'step/fa/2'")
    window.wait("document.querySelector('.moment h2').textContent === arguments[0]", f"Forward through {HOSTILE}")
    assert window.run("return document.querySelectorAll('img').length") == 0
