"""Where things stand on the explorer's page: no text on another or outside its drawing, no sideways scrolling."""

from __future__ import annotations

import pytest
from page_checks import CHAPTERS, misplaced, states

SIZES = [(1920, 1080), (1280, 900), (640, 450), (390, 844), (320, 256)]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_texts_have_room_in_every_state_of_a_chapter(window, pages, chapter):
    problems = []
    for width, height in SIZES if window.name == "Chromium" else SIZES[1:4:2]:
        window.resize(width, height)
        window.open(f"{pages('default')}#chapter-{chapter}")
        window.settle()
        for state in states(window, f"chapter {chapter}, {width} x {height},"):
            problems += [f"{state}: {problem}" for problem in misplaced(window)]
    assert not problems, "\n".join(problems)
