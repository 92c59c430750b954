"""One look for all pictures: colours, fonts and the diverging map, for light and for dark pages."""

from __future__ import annotations

__all__ = ["COLOURS", "DARK", "MARKERS", "STYLE", "diverging", "look"]

import contextlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from cycler import cycler
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from ..layers.base import format_shape
from ..scalars import flag, whole, word

# Okabe & Ito's colours, with a marker each, so that no reader depends on colour alone. On dark pages the same hues,
# lighter.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
DARK_COLOURS = ("#4FA8E0", "#F08A45", "#2EC4A0", "#DE9CC4", "#F2BE4A", "#A5DBFF", "#EEEEEE", "#C6C668")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
WIDTH = 9.0  # inches: a notebook's column, where a point of text keeps its size
SMALL = 8.5  # points: the smallest text of a picture

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": 120,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.06,
}
PLAIN: Any = {"text.usetex": False}  # the texts are not written for TeX, and it may not be there
DARK: Any = STYLE | {
    "axes.prop_cycle": cycler(color=DARK_COLOURS),
    "figure.facecolor": "#16191e",
    "axes.facecolor": "#16191e",
    "savefig.facecolor": "#16191e",
    "text.color": "#e8e8e8",
    "axes.labelcolor": "#e8e8e8",
    "axes.titlecolor": "#e8e8e8",
    "axes.edgecolor": "#8a9199",
    "xtick.color": "#b9bfc6",
    "ytick.color": "#b9bfc6",
    "grid.color": "#3a4048",
}


class Picture(Figure):
    """A Figure that a notebook shows even where pyplot was never imported, drawn without the help of programs."""

    def draw(self, renderer: Any) -> None:
        with rc_context(PLAIN):  # labels of ticks are made only now
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@contextlib.contextmanager
def drawing(height: float, title: str = "", facts: str = "", *, dark: bool, width: float = WIDTH) -> Iterator[Figure]:
    """A figure in the house style; what is drawn inside the with-block is in that style too.

    Args:
        height, width: in inches; the heading comes on top of the height.
        title: the heading, in bold. facts: what the numbers say, beneath it.
    """
    dark = flag(dark, "dark")
    title, facts = (
        "\n".join(textwrap.fill(line, int(letters * width)) for line in text.splitlines())
        for text, letters in (
            (word(title, "a title"), 9),
            (word(facts, "facts"), 13),
        )  # letters in an inch, at 12 points bold and at 10 points
    )
    lines = [len(text.splitlines()) for text in (title, facts)]
    with rc_context((DARK if dark else STYLE) | PLAIN):
        figure = Picture(figsize=(width, height + 0.22 * sum(lines)), layout="constrained")
        if title:
            heading = figure.suptitle(title + "\n" * lines[1], x=0.01, ha="left", fontsize=12, fontweight="bold")
            # The facts stand in the lines that the heading keeps free.
            note = Annotation(facts, (0, 0), xycoords=heading, fontsize=10, va="bottom", linespacing=1.3)
            note.set_in_layout(False)
            figure.add_artist(note)
        elif facts:
            figure.suptitle(facts, x=0.01, ha="left", fontsize=10, linespacing=1.3)
        yield figure


def look(i: int, dark: bool = False) -> dict[str, Any]:
    """Colour and marker of the i-th rule in a picture; line styles set apart those beyond the palette.
    Raises TypeError, ValueError for what is no whole number from 0 up."""
    i = whole(i, "the number of a rule", least=0)
    colours = DARK_COLOURS if flag(dark, "dark") else COLOURS
    return {
        "color": colours[i % len(colours)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[(i // len(colours)) % len(LINES)],
    }


def colour(i: int) -> str:
    """The i-th colour of the style in force."""
    return rcParams["axes.prop_cycle"].by_key()["color"][i]


def muted() -> str:
    """The colour of what stands back: marks, notes, numbers at the axes."""
    return "#555555" if _is_light(rcParams["axes.facecolor"]) else "#b9bfc6"


def diverging() -> Colormap:
    """Blue for negative, orange for positive, as strong as far from zero, and zero in the page's own colour. What is no
    number is grey."""
    page = rcParams["axes.facecolor"]
    ends = (
        ("#08386b", "#2f80bd", "#a9cfe8", "#ffffff", "#f5c396", "#cf6a1c", "#6b2c05")
        if _is_light(page)
        else ("#bfe6ff", "#4fa8e0", "#1f4f75", page, "#80441b", "#f08a45", "#ffdcb8")
    )
    return LinearSegmentedColormap.from_list("minifa", ends).with_extremes(bad=rcParams["grid.color"])


def missing(axes: Axes, words: str) -> None:
    """What does not exist, drawn as such: hatched, with words; never as zeros."""
    axes.patch.set(hatch="////", edgecolor=rcParams["grid.color"], linewidth=0)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    box = {"boxstyle": "round,pad=0.5", "facecolor": rcParams["axes.facecolor"], "edgecolor": "none"}
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=SMALL, color=muted(), bbox=box
    )


def readable_on(background: Any) -> str:
    """Black or white, whichever stands out against this colour."""
    return "black" if _is_light(background) else "white"


def _is_light(shade: Any) -> bool:
    red, green, blue = to_rgb(shade)
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def size(shape: Sequence[int]) -> str:
    """``144 × 16``, as shapes are written in pictures."""
    return format_shape(shape).replace("x", "×")


def bare(axes: Axes) -> None:
    """For images: no grid over them, a faint frame around them."""
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=rcParams["grid.color"])
    axes.tick_params(length=0)
