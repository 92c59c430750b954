"""Chapters 0 and 5 of the page in a browser: what the slider, the settings, the cells of B and a drawing change."""

from __future__ import annotations

import re

import pytest
from browsers import Keys

import minifa as mf
from minifa.explorer import grid

RUN_SECONDS = 60  # for a whole run on a busy machine


@pytest.fixture
def show(window, pages):
    """Opens a chapter of the default page, without animations."""

    def at(address):
        window.open(f"{pages('default')}#{address}")
        window.wait("document.querySelector('main .story')")
        return window

    return at


def story(window):
    return window.text("main .story")


def trained(window, words="After 1,080 updates"):
    window.wait("document.querySelector('main .story').innerText.includes(arguments[0])", words, seconds=RUN_SECONDS)
    return story(window)


def set_slider(window, label, value):
    """As a reader moves it: with one event."""
    window.run(
        """const label = [...document.querySelectorAll("label")].find((one) => one.innerText === arguments[0]);
        const slider = document.getElementById(label.htmlFor);
        slider.value = arguments[1];
        slider.dispatchEvent(new Event("input", {bubbles: true}))""",
        label,
        value,
    )


def accuracies(window):
    return [int(one) for one in re.findall(r"(\d+) %", story(window))]


def test_both_networks_learn_and_the_needle_falls(show):
    window = show("chapter-0")
    window.wait("/^(Both|Update)/.test(document.querySelector('main .story').innerText)", seconds=RUN_SECONDS)
    window.click_on("[aria-label=Last]")
    words = trained(window)
    backprop, alignment = accuracies(window)
    assert backprop >= 94 and alignment >= 90 and "from 90.0° to 5" in words
    gauges = window.run("return [...document.querySelectorAll('.gauge svg')].map((one) => one.ariaLabel)")
    assert "0.0°" in gauges[0] and re.search(r"5\d\.\d°, below chance: 80\.9° to 99\.1°", gauges[1])
    note = window.text(".hero > .note")
    assert f"agrees with minifa {mf.__version__} to" in note
    if "Output layer only" in note:  # the control is trained after the two networks
        assert f"it has {grid.WIDTH} hidden units instead of 16" in note
    assert "0.0°: B is W" in window.text(".side .gauge")


def test_the_slider_changes_B_and_what_happens(show):
    window = show("chapter-0")
    set_slider(window, "How wrong is B?", 180)
    window.wait("document.querySelector('main .story').innerText.includes('180.0° away')", seconds=RUN_SECONDS)
    window.click_on("[aria-label=Last]")
    opposite = trained(window)
    set_slider(window, "How wrong is B?", 0)
    window.wait(
        "document.querySelector('main .story').innerText.includes('a copy of W at the start')", seconds=RUN_SECONDS
    )
    window.click_on("[aria-label=Last]")
    same = trained(window)
    assert "from 180.0° to 8" in opposite and "W has left it" in same


def test_the_playground_trains_and_says_when_training_diverges(show):
    window = show("chapter-5")
    learned = trained(window)
    assert "under feedback alignment" in learned and accuracies(window)[0] > 80
    set_slider(window, "Learning rate", 0)  # the logarithm of 1
    trained(window, "Training diverged")
    assert "learning rate 1 is too large" in story(window)
    window.wait("location.hash.includes('rate=1')")


@pytest.mark.parametrize("rubbish", ["rule=%zz/rate=1e999", "hidden=9,8/seed=-1/paint.linear9=1:5p", "%", "rate=<b>"])
def test_rubbish_in_the_address_trains_the_standard_network(show, rubbish):
    window = show(f"chapter-5/{rubbish}")
    if "Learning through" not in window.text("h1"):  # an address that cannot be read opens chapter 0
        assert "under feedback alignment" in trained(window)


def test_cells_of_B_are_set_by_pointer_and_keyboard(show):
    window = show("chapter-5/rule=fa/rate=0.02/hidden=8")
    trained(window)
    x, y = window.middle(".paint canvas")
    window.drag([(x, y), (x, y + 20), (x, y + 40)])
    window.wait("/paint\\.linear2=0?\\.\\d+:\\d+p/.test(location.hash)")
    window.run("document.querySelector('.paint .name').focus()")
    before = window.run("return location.hash")
    window.press(Keys.RIGHT, Keys.UP, Keys.ENTER)  # from the last cell under the pointer
    window.wait("location.hash.length > arguments[0].length", before)
    count = int(re.search(r"Undo (\d+) cells", window.text(".playground")).group(1))
    code = window.run("return document.querySelector('pre').textContent")
    assert count >= 3 and code.count(": 0.") == count and 'rule.set_feedback("linear2", B)' in code
    trained(window)
    window.run("[...document.querySelectorAll('button')].find((one) => one.innerText.startsWith('Undo')).click()")
    window.wait("!location.hash.includes('paint')")


def test_all_cells_of_B_are_set_to_0_and_the_value_of_the_others_is_said(show):
    window = show("chapter-5/rule=fa/rate=0.02/hidden=8/epochs=1")
    trained(window, "After 180 updates")
    assert re.search(
        r"\+ and - set a cell to the size of a typical entry: ±0\.\d+ in linear2\.", window.text(".results")
    )
    window.run("[...document.querySelectorAll('button')].find((one) => one.innerText === 'All cells to 0').click()")
    window.wait("document.querySelector('.playground').innerText.includes('Undo 80 cells')")
    window.wait("/paint\\.linear2=[\\d.]+:(\\d+z){80}/.test(location.hash)")


def test_a_drawn_digit_is_classified(show):
    window = show("chapter-5/rule=bp/rate=0.05/hidden=32")
    trained(window)
    window.run("document.querySelector('.pad').scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y = window.middle(".pad")
    window.drag([(x, y - 60), (x, y - 30), (x, y), (x, y + 30), (x, y + 60)])
    window.wait("document.querySelector('.digits .story').innerText.startsWith('The network says 1')")
    chances = window.run(
        "return [...document.querySelectorAll('.bars li')].map((one) => parseInt(one.innerText.split('\\n').at(-1)))"
    )
    assert len(chances) == 10 and 97 <= sum(chances) <= 103
    window.run("[...document.querySelectorAll('button')].find((one) => one.innerText === 'Next test digit').click()")
    window.wait("document.querySelector('.digits .story').innerText.includes('of the test set')")
