"""The explorer's page without a mouse, without sight, with other colours and without motion."""

from __future__ import annotations

import pytest
from browsers import Keys
from page_checks import AXE, CHAPTERS, VISIBLE, axe_violations, colours, differ, go

SIZES = [(1280, 900), (1920, 1080), (640, 450), (320, 256)]

# What the keyboard must reach by Tab: every control, where one of a group of radio buttons stands for all, and one cell
# of a grid; arrow keys reach the others.
CONTROLS = (
    VISIBLE
    + """
const controls = () => shown("button, a[href], input, select, textarea, summary, [tabindex='0']")
  .filter((one) => !one.closest("dialog:not([open]), details:not([open]) > :not(summary)"))
  .filter((one) => one.tabIndex >= 0 || !one.closest("[role=grid]"));
const reached = (one) => visited.has(one) || (one.type === "radio" && [...visited].some((a) => a.name === one.name));
const html = (one) => one.outerHTML.slice(0, 120);
"""
)
VISIT = """
const one = document.activeElement;
if (!one || one === document.body || one === document.documentElement || visited.has(one)) return null;
visited.add(one);
const rings = [one, one.nextElementSibling].filter(Boolean).map((a) => getComputedStyle(a));
return rings.some((a) => a.outlineStyle !== "none" && parseFloat(a.outlineWidth) >= 2) ? "" : html(one);
"""


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm ci in minifa/explorer/web)")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_axe_finds_nothing(chromium, pages, chapter, theme):
    chromium.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
    chromium.open(f"{pages('default')}#chapter-{chapter}")
    found = []
    for width, height in SIZES:
        chromium.resize(width, height)
        chromium.settle()
        found += [f"{width} x {height}: {violation}" for violation in axe_violations(chromium)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_control_is_reached_by_the_tab_key_and_shows_the_focus(window, pages, chapter):
    window.open(f"{pages('default')}#chapter-{chapter}")
    window.settle()
    window.run("window.visited = new Set()")
    hidden = []
    for _ in range(200):
        window.press(Keys.TAB)
        unmarked = window.run(CONTROLS + VISIT)
        if unmarked is None:
            break
        hidden += [unmarked] if unmarked else []
    missed = window.run(CONTROLS + "return controls().filter((one) => !reached(one)).map(html)")
    assert not missed, "not reached:\n" + "\n".join(missed)
    assert not hidden, "no outline around:\n" + "\n".join(hidden)


def test_the_keyboard_alone_goes_through_all_chapters(window, pages):
    window.open(pages("default"))
    window.settle()
    chapters = window.run("return [...document.querySelectorAll('nav[aria-label=Chapters] a')].map((a) => a.hash)")
    visited = [window.run("return document.querySelector('h1').textContent")]
    for link in chapters[1:]:
        for _ in range(40):
            window.press(Keys.TAB)
            if window.run("return document.activeElement.hash === arguments[0]", link):
                break
        window.press(Keys.ENTER)
        window.wait("location.hash.startsWith(arguments[0])", link)
        window.settle()
        assert window.run("return document.activeElement.tagName") == "H1"  # reading goes on at the new chapter
        visited.append(window.run("return document.activeElement.textContent"))
        window.open(f"{pages('default')}{link}")
    assert len(set(visited)) == len(chapters)


def test_forced_colours_show_what_is_chosen(chromium, pages):
    chromium.media(forced_colors="active")
    for chapter in CHAPTERS:
        chromium.open(f"{pages('default')}#chapter-{chapter}")
        chromium.settle()
        assert chromium.run("return matchMedia('(forced-colors: active)').matches")
        groups = chromium.run(VISIBLE + "return [...new Set(shown('main input[type=radio]').map((one) => one.name))]")
        for group in groups:
            radio = f"label:has(> input[type=radio][name='{group}']"
            chosen, other = (colours(chromium, f"{radio}{state})") for state in (":checked", ":not(:checked)"))
            assert differ(chosen, other, 200), f"chapter {chapter}, {group}: the chosen option looks like the others"
        link = "nav[aria-label=Chapters] a"
        chosen, other = (colours(chromium, f"{link}{state}") for state in ("[aria-current]", ":not([aria-current])"))
        assert differ(chosen, other), f"chapter {chapter}: the current chapter looks like the others"
        for number in range(chromium.run(VISIBLE + "return shown('main input[type=range]').length")):
            common = colours(chromium, "main input[type=range]", number).most_common(3)
            assert len(common) == 3 and common[2][1] > 40, (
                f"chapter {chapter}: slider {number} has no track or no thumb"
            )


def test_the_current_moment_is_marked_in_forced_colours(chromium, pages):
    chromium.media(forced_colors="active")
    chromium.open(f"{pages('default')}#step/fa/11")
    chromium.settle()
    current = "main [aria-current=step]"
    assert chromium.run("return document.querySelectorAll(arguments[0]).length", current) == 1
    others = "nav.moments button:not([aria-current])"
    assert differ(colours(chromium, current), colours(chromium, others), 200)


def test_reduced_motion_is_obeyed(chromium, pages):
    for chapter in CHAPTERS:
        chromium.media(prefers_reduced_motion="reduce")
        chromium.open(f"{pages('default')}#chapter-{chapter}")
        chromium.settle()
        running = chromium.run("return document.getAnimations().map((one) => one.animationName ?? 'transition')")
        assert running == [], f"chapter {chapter}"


def test_a_screen_reader_hears_of_changes_in_one_place_that_stays(window, pages):
    window.open(f"{pages('default')}#step/fa/11")
    window.settle()
    window.run("window.kept = document.querySelector('[role=status]')")
    for place in ("step/fa/12", "step/bp/12", "chapter-3", "chapter-0"):
        go(window, place)
        assert window.run("return kept.isConnected && document.querySelectorAll('[role=status]').length === 1")
