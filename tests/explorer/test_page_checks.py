"""The checks of the page find what they look for: a page with one fault of each kind."""

from __future__ import annotations

import pytest
from browsers import Keys, Missing, picture_by_command
from page_checks import colours, differ, misplaced, states
from PIL import Image

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>faults</title>
<style>body { margin: 0; height: 2000px } p, svg { position: absolute; margin: 0; font: 16px/1 sans-serif }</style>
<main>%s</main>"""
GOOD = """<p style="left: 20px; top: 20px">one</p><p style="left: 20px; top: 38px">two</p>
<svg style="left: 200px" width="90" height="40"><text x="5" y="20">inside</text></svg>
<p style="left: 20px; top: 80px; width: 60px; overflow: hidden; white-space: nowrap">a long clipped line of text</p>
<p style="left: 100px; top: 80px">beside</p>"""
FAULTS = {
    "'one' and 'over'": '<p style="left: 35px; top: 26px">over</p>',
    "'far out' is": '<svg style="left: 400px" width="30" height="40"><text x="-20" y="20">far out</text></svg>',
    "px wider than the window": '<p style="left: 1200px; width: 300px">wide</p>',
}


@pytest.fixture
def opened(window, tmp_path):
    def open_page(body):
        path = tmp_path / "page.html"
        path.write_text(PAGE % body, encoding="utf-8")
        window.open(path.as_uri())
        return window

    return open_page


def test_a_page_without_faults_passes(opened):
    assert misplaced(opened(GOOD)) == []


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_found(opened, message):
    found = misplaced(opened(GOOD + FAULTS[message]))
    assert len(found) == 1 and message in found[0]


def test_states_go_through_every_choice_and_the_ends_of_sliders(opened):
    choice = "".join(f'<label><input type="radio" name="r" value="{value}">{value}</label>' for value in "ab")
    page = opened(f'{choice}<label>rate<input type="range" min="1" max="9"></label><details><p>more</p></details>')
    seen = [(state, page.run("return document.querySelector('[type=range]').value")) for state in states(page, "page")]
    assert [state for state, _ in seen] == [
        "page as it opens",
        "page unfolded",
        "page after the choice of a",
        "page after the choice of b",
        "page with rate at its max",
        "page with rate at its min",
    ]
    assert [value for _, value in seen] == ["5", "5", "5", "5", "9", "1"]


def test_keys_pointer_and_colours(opened):
    page = opened(
        """<button id="a" style="all: unset; position: absolute; top: 90px; width: 90px; height: 40px; background: red"
        onclick="this.style.background = 'blue'">x</button><input id="b" style="position: absolute; top: 200px">"""
    )
    before = colours(page, "#a")
    assert before[255, 0, 0] > 3000 and before[0, 0, 255] == 0
    page.click_on("#a")
    after = colours(page, "#a")
    assert differ(before, after) and not differ(after, colours(page, "#a"))
    page.click_on("#b")
    page.press("a", "b", Keys.LEFT, "c")
    page.press(Keys.HOME, holding=Keys.SHIFT)
    assert page.run("const {value, selectionStart, selectionEnd} = arguments[0] ? document.querySelector(arguments[0]) "
                    ": null; return [value, selectionStart, selectionEnd]", "#b") == ["acb", 0, 2]  # fmt: skip


def test_messages_of_the_console_are_heard(opened):
    page = opened("<script>console.warn('a warning'); setTimeout(() => { throw new Error('late') }, 10)</script>")
    heard = " ".join(page.hear("late"))
    assert "a warning" in heard
    with pytest.raises(AssertionError, match="'never' not heard 1 times in .* after 0.1 s: \\[\\]"):
        page.hear("never", seconds=0.1)


@pytest.mark.long
def test_firefox_takes_a_picture_without_being_driven(pages, tmp_path):
    path = tmp_path / "picture.png"
    try:
        picture_by_command(pages("tiny"), path, 640, 450)
    except Missing as reason:
        pytest.skip(str(reason))
    with Image.open(path) as picture:
        assert picture.size == (640, 450) and len(picture.convert("RGB").getcolors(1 << 20)) > 10
