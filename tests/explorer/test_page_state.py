"""What the page keeps and what it forgets when the reader goes elsewhere in it."""

from __future__ import annotations

import pytest


def test_a_table_closes_when_the_reader_goes_back_to_another_chapter(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-4")
    chromium.wait("document.querySelector('.fails')")
    chromium.run("location.hash = 'step/fa/11'")
    chromium.wait("document.querySelector('.matrix button.name')")
    chromium.click_on(".matrix button.name")
    chromium.wait("document.querySelector('dialog[open] td')")
    chromium.run("history.back()")
    chromium.wait("document.querySelector('.fails') && !document.querySelector('dialog[open]')")


def test_the_page_stands_still_when_the_run_of_chapter_3_starts_to_play(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-3")
    chromium.wait("document.querySelector('.training [aria-label=Play]')")
    chromium.run("document.querySelector('.training .player').scrollIntoView({block: 'center'})")
    chromium.settle()
    before = chromium.run("return scrollY")
    chromium.click_on(".training [aria-label=Play]")
    chromium.wait("location.hash.startsWith('#training/')")
    chromium.settle()
    assert chromium.run("return scrollY") == before


def test_a_drawn_digit_is_seen_in_the_other_theme(chromium, pages):
    chromium.open(f"{pages('default')}#chapter-5")
    chromium.wait("document.querySelector('.pad')", seconds=60)
    chromium.run("document.querySelector('.pad').scrollIntoView({block: 'center'})")
    x, y = chromium.middle(".pad")
    chromium.drag([(x, y - 40), (x, y + 40)])
    ink = """const copy = new OffscreenCanvas(168, 168).getContext("2d", {willReadFrequently: true});
        copy.drawImage(document.querySelector(".pad"), 0, 0);
        return [...copy.getImageData(84, 84, 1, 1).data]"""
    light = chromium.run(ink)
    chromium.click_on("button.theme")
    chromium.settle()
    dark = chromium.run(ink)
    assert light[3] == dark[3] == 255 and sum(light[:3]) < 200 < 550 < sum(dark[:3])


@pytest.mark.parametrize("link", ["nav a:not([aria-current])", ".onward a"])
def test_a_link_with_the_control_key_leaves_the_page_where_it_is(chromium, pages, link):
    """The browser opens it elsewhere."""
    chromium.open(f"{pages('default')}#chapter-2")
    chromium.wait("document.querySelector('.onward a')")
    taken = chromium.run(
        """let taken;
        const look = (event) => { taken = event.defaultPrevented; event.preventDefault(); };
        addEventListener("click", look, {once: true});
        const click = new MouseEvent("click", {bubbles: true, cancelable: true, ctrlKey: true});
        document.querySelector(arguments[0]).dispatchEvent(click);
        return taken""",
        link,
    )
    assert taken is False and chromium.run("return location.hash") == "#chapter-2"
