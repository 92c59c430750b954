"""What can be measured of a page in a browser: places of texts, controls, names, colours of a part of the screen."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from browsers import Window
from PIL import Image

WEB = Path(__file__).parents[2] / "minifa" / "explorer" / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
CHAPTERS = range(6)

# The boxes of all visible texts: clipped by what scrolls, without the margins that fonts have above and below letters.
BOXES = """
const clippedBy = (one, box) => {
  for (let a = one; a && a !== document.documentElement; a = a.parentElement) {
    const style = getComputedStyle(a);
    if (style.clipPath !== "none") return null;
    if (a.matches("svg, svg *") || (style.overflowX === "visible" && style.overflowY === "visible")) continue;
    const room = a.getBoundingClientRect();
    box = {left: Math.max(box.left, room.left), right: Math.min(box.right, room.right),
           top: Math.max(box.top, room.top), bottom: Math.min(box.bottom, room.bottom)};
  }
  return box.right - box.left > 1 && box.bottom - box.top > 1 ? box : null;
};
const layerOf = (one) => {
  for (let a = one; a; a = a.parentElement)
    if (a.matches("dialog") || ["fixed", "sticky"].includes(getComputedStyle(a).position)) return a;
  return null;
};
const boxes = (root) => {
  const found = [];
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const one = node.parentElement;
    const text = node.textContent.trim();
    if (!text || one.closest("script, style, noscript, option, title")) continue;
    if (!one.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const {left, right, top, bottom} of range.getClientRects()) {
      const margin = 0.2 * (bottom - top);
      const box = clippedBy(one, {left: left + 0.5, right: right - 0.5, top: top + margin, bottom: bottom - margin});
      if (box) found.push({...box, text, one, layer: layerOf(one), whole: one.closest("math, .eq, [data-one-text]")});
    }
  }
  return found;
};
const overlapping = (found) => {
  const pairs = new Set();
  found.sort((a, b) => a.left - b.left);
  found.forEach((a, i) => {
    for (let k = i + 1; k < found.length && found[k].left < a.right - 1; k++) {
      const b = found[k];
      if (a.one === b.one || a.layer !== b.layer || (a.whole && a.whole === b.whole)) continue;
      if (Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        pairs.add(`'${a.text.slice(0, 40)}' and '${b.text.slice(0, 40)}' at ${b.left | 0}, ${b.top | 0}`);
    }
  });
  return [...pairs];
};
const outside = (found) => found.flatMap(({left, right, top, bottom, text, one}) => {
  const svg = one.closest("svg");
  if (!svg) return [];
  const room = svg.getBoundingClientRect();
  const over = Math.max(room.left - left, right - room.right, room.top - top, bottom - room.bottom);
  return over > 1 ? [`'${text}' is ${over.toFixed(0)} px outside its svg`] : [];
});
"""
MISPLACED = (
    BOXES
    + """
const found = boxes(document.body);
const wide = document.documentElement.scrollWidth - innerWidth;
return [...overlapping(found), ...outside(found), ...(wide > 0 ? [`the page is ${wide} px wider than the window`] : [])]
"""
)
VISIBLE = """
const shown = (css) => [...document.querySelectorAll(css)].filter((one) =>
  one.checkVisibility({visibilityProperty: true}) && !one.disabled);
"""


def misplaced(window: Window) -> list[str]:
    """Texts that overlap or stand outside their svg, and a page wider than the window."""
    return window.run(MISPLACED)


def go(window: Window, place: str) -> None:
    """To another place of the open page, as a link does."""
    window.run("location.hash = arguments[0]", place)
    window.settle()


def states(window: Window, place: str) -> Iterator[str]:
    """The chapter as it opens, with everything unfolded, after each of its choices, and at the ends of its sliders."""
    yield f"{place} as it opens"
    if window.run(
        """const closed = [...document.querySelectorAll("main details:not([open])")];
        for (const one of closed) one.open = true;
        return closed.length"""
    ):
        window.settle()
        yield f"{place} unfolded"
    names = window.run(VISIBLE + "return shown('main input[type=radio]').map((one) => one.value)")
    for number, name in enumerate(names):
        known = window.run(
            VISIBLE + "const one = shown('main input[type=radio]')[arguments[0]]; one?.click(); return Boolean(one)",
            number,
        )
        if known:
            window.settle()
            yield f"{place} after the choice of {name}"
    for number in range(window.run(VISIBLE + "return shown('main input[type=range]').length")):
        for end in ("max", "min"):
            label = window.run(
                VISIBLE
                + """const one = shown('main input[type=range]')[arguments[0]];
                if (!one) return null;
                Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(one, one[arguments[1]]);
                one.dispatchEvent(new Event("input", {bubbles: true}));
                return one.labels[0]?.textContent ?? one.getAttribute("aria-label")""",
                number,
                end,
            )
            if label is not None:
                window.settle()
                yield f"{place} with {label} at its {end}"


def axe_violations(window: Window) -> list[str]:
    """What axe-core finds: rule, impact, and the first element."""
    if not window.run("return Boolean(window.axe)"):
        window.run(AXE.read_text(encoding="utf-8") + "\nreturn null")
    return window.run(
        """const options = {runOnly: {type: "tag", values: arguments[0]}, resultTypes: ["violations"]};
        const {violations} = await axe.run(document, options);
        return violations.map(({id, impact, nodes}) =>
          `${id} (${impact}, ${nodes.length}): ${nodes[0].html.slice(0, 160)} ${nodes[0].any[0]?.message ?? ""}`)""",
        AXE_TAGS,
    )


def colours(window: Window, css: str, number: int = 0) -> Counter[tuple[int, ...]]:
    """How many pixels of an element, with 3 px around it, have each colour."""
    window.middle(css, number)  # in view
    box = window.run(
        VISIBLE
        + """const {left, top, right, bottom} = shown(arguments[0])[arguments[1]].getBoundingClientRect();
        return [left - 3, top - 3, right + 3, bottom + 3].map(Math.round)""",
        css,
        number,
    )
    picture = Image.open(io.BytesIO(window.picture())).convert("RGB").crop(tuple(box))
    return Counter(map(tuple, np.asarray(picture).reshape(-1, 3).tolist()))


def differ(a: Counter[Any], b: Counter[Any], pixels: int = 40) -> bool:
    """Whether one picture has clearly more of some colour than the other; letters alone have few pixels of a colour."""
    return any(abs(a[colour] - b[colour]) > pixels for colour in {*a, *b})
