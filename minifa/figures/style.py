"""The style of all figures: colours, fonts and the diverging colour map, for light and dark backgrounds."""

from __future__ import annotations

__all__ = ["COLOURS", "DARK", "MARKERS", "STYLE", "diverging", "look"]

import contextlib
import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from cycler import cycler
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from matplotlib.text import Annotation
from matplotlib.transforms import ScaledTranslation

from ..validation import check_bool, check_int, check_str, format_shape

# Okabe & Ito's colours, each with a marker, so that no reader depends on colour alone. On dark backgrounds the same
# hues, lighter.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
DARK_COLOURS = ("#4FA8E0", "#F08A45", "#2EC4A0", "#DE9CC4", "#F2BE4A", "#A5DBFF", "#EEEEEE", "#C6C668")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
WIDTH = 9.0  # inches: the column width of a notebook, so that text is not rescaled
SMALL = 8.5  # points: the smallest text of a figure

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
PLAIN: Any = {"text.usetex": False}  # the texts are not valid TeX, and TeX may not be installed
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
    """A Figure that notebooks display even without pyplot, drawn without external programs (TeX)."""

    def draw(self, renderer: Any) -> None:
        with rc_context(PLAIN):  # tick labels are created while drawing
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@contextlib.contextmanager
def drawing(
    height: float, title: str = "", facts: str = "", *, dark: bool, width: float = WIDTH, equations: bool = False
) -> Iterator[Figure]:
    """Context manager: a figure in this style, which also applies to everything drawn inside the with-block.

    Args:
        height, width: in inches; the heading is added to the height.
        title: the heading, in bold.
        facts: a summary of the numbers, printed below the title.
        dark: whether to draw for a dark background.
        equations: whether the facts hold equations to be typeset.
    """
    dark = check_bool(dark, "dark")
    title, facts = (
        "\n".join(textwrap.fill(line, int(letters * width)) for line in text.splitlines())
        for text, letters in (
            (check_str(title, "a title"), 9),
            (check_str(facts, "facts"), 13),
        )  # characters per inch, at 12 points bold and at 10 points
    )
    facts = typeset(facts) if equations else facts
    lines = [len(text.splitlines()) for text in (title, facts)]
    with rc_context((DARK if dark else STYLE) | PLAIN):
        figure = Picture(figsize=(width, height + 0.22 * sum(lines)), layout="constrained")
        if title:
            heading = figure.suptitle(title + "\n" * lines[1], x=0.01, ha="left", fontsize=12, fontweight="bold")
            # The facts are placed in the blank lines at the end of the heading.
            note = Annotation(facts, (0, 0), xycoords=heading, fontsize=10, va="bottom", linespacing=1.3)
            note.set_in_layout(False)
            figure.add_artist(note)
        elif facts:
            figure.suptitle(facts, x=0.01, ha="left", fontsize=10, linespacing=1.3)
        yield figure


def literal(text: str) -> str:
    """A name that was read from a file, for matplotlib, which typesets what is between dollar signs as a formula and
    stops if it is none.

    >>> from minifa.figures.style import literal
    >>> print(literal("$x_$"))
    \\$x_\\$
    """
    return text.replace("$", r"\$")


SYMBOLS = {name: rf"\{name}" for name in ("beta", "delta", "eta", "lambda", "mu", "sigma", "xi")}
# A symbol of the rules' equations: a Greek name, a d before a matrix, one letter; with an index or a transpose.
SYMBOL = re.compile(rf"(?<![\w^])(?:(d?)([A-Z])|({'|'.join(SYMBOLS)})|([a-zL]))(?:_(\w+))?(\^T|\^2)?(?!\w)")

WRITTEN = {  # the rest of an equation
    r"\b1e-(\d+)": r"$10^{-\1}$",
    r"\b(\d)e-(\d+)": r"\1·$10^{-\2}$",
    r"\)\^T": r")$^{\\top}$",
    r"\bsum_(\w)": r"$\\sum_\1$",
    r" \* ": " · ",
    r" @ ": " ",
    r"(?<![\w{])-(?=[\s\w])": "−",
}


def typeset(text: str) -> str:
    """An equation of a rule in matplotlib's mathtext: Greek letters, indices and transposes are typeset, operators and
    words are unchanged.

    >>> from minifa.figures.style import typeset
    >>> print(typeset("delta = e F^T, F drawn once"))
    $\\delta$ = $e$ $F^{\\top}$, $F$ drawn once
    """

    def symbol(match: re.Match[str]) -> str:
        prefix, capital, greek, letter, index, power = match.groups()
        if letter == "a":  # the article
            return match.group()
        name = rf"\mathrm{{{prefix}}}{capital}" if prefix else capital or letter or SYMBOLS[greek]
        exponent = {"^T": r"^{\top}", "^2": "^{2}", None: ""}[power]
        return f"${name}{f'_{{{index}}}' if index else ''}{exponent}$"

    text = re.sub(r"\b(\d+|[a-ce-z])(?=[A-Z]\b)", r"\1 ", text.replace("$", r"\$"))  # "2B" and "xB" are products
    text = SYMBOL.sub(symbol, text)
    for pattern, formula in WRITTEN.items():
        text = re.sub(pattern, formula, text)
    return text


def look(i: int, dark: bool = False) -> dict[str, Any]:
    """Colour, marker and line style of the i-th rule in a figure; line styles distinguish rules beyond the palette.
    Raises TypeError, ValueError unless i is an int >= 0."""
    i = check_int(i, "the index of a rule", least=0)
    colours = DARK_COLOURS if check_bool(dark, "dark") else COLOURS
    return {
        "color": colours[i % len(colours)],
        "marker": MARKERS[(i + i // len(colours)) % len(MARKERS)],  # a colour returns with another marker
        "linestyle": LINES[(i // len(colours)) % len(LINES)],
    }


def apart(ends: Sequence[float], gap: float, top: float = math.inf) -> list[float]:
    """The heights of the labels of curves with these ends: not below the end where ``top`` allows that, and at least
    ``gap`` apart. The highest is at most ``top``."""
    order = sorted(range(len(ends)), key=lambda i: (ends[i], i))
    heights, lowest = [0.0] * len(ends), -math.inf
    for above, i in zip(reversed(range(len(ends))), order, strict=True):
        heights[i] = min(max(ends[i], lowest), top - gap * above)
        lowest = heights[i] + gap
    return heights


def name_at_end(axes: Axes, name: str, end: float, place: float, color: Any, size: float = SMALL) -> None:
    """Write the name of a curve right of the panel at the height ``place``, and join it to the curve's end."""
    edge = axes.get_yaxis_transform()  # x: share of the panel, y: data
    beside = edge + ScaledTranslation(6 / 72, 0, axes.figure.dpi_scale_trans)
    joint = ConnectionPatch((1, end), (1, place), coordsA=edge, coordsB=beside, color=color, linewidth=0.8, alpha=0.7)
    joint.set_in_layout(False)
    axes.add_artist(joint)
    axes.annotate(
        name, (1, place), (7, 0), xycoords=edge, textcoords="offset points", va="center", fontsize=size, color=color,
        annotation_clip=False,
    )  # fmt: skip


def colour(i: int) -> str:
    """The i-th colour of the active style."""
    return rcParams["axes.prop_cycle"].by_key()["color"][i]


def muted() -> str:
    """The colour of secondary elements: marks, notes, tick labels."""
    return "#555555" if _is_light(rcParams["axes.facecolor"]) else "#b9bfc6"


def diverging() -> Colormap:
    """The diverging colour map: blue for negative, orange for positive, the background colour for zero, grey for
    NaN."""
    page = rcParams["axes.facecolor"]
    ends = (
        ("#08386b", "#2f80bd", "#a9cfe8", "#ffffff", "#f5c396", "#cf6a1c", "#6b2c05")
        if _is_light(page)
        else ("#bfe6ff", "#4fa8e0", "#1f4f75", page, "#80441b", "#f08a45", "#ffdcb8")
    )
    return LinearSegmentedColormap.from_list("minifa", ends).with_extremes(bad=rcParams["grid.color"])


def hatched() -> dict[str, Any]:
    """The pattern of missing values."""
    return {"hatch": "////", "edgecolor": rcParams["grid.color"], "linewidth": 0}


def shade() -> dict[str, Any]:
    """The area of the angles that chance gives."""
    return {"color": muted(), "alpha": 0.18, "linewidth": 0}


def missing(axes: Axes, text: str) -> None:
    """Mark a panel as missing: hatched, with a text; missing arrays are never drawn as zeros."""
    axes.patch.set(**hatched())
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    box = {"boxstyle": "round,pad=0.5", "facecolor": rcParams["axes.facecolor"], "edgecolor": "none"}
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=SMALL, color=muted(), bbox=box
    )


def readable_on(background: Any) -> str:
    """Black or white, whichever has more contrast with this colour."""
    return "black" if _is_light(background) else "white"


def _is_light(shade: Any) -> bool:
    red, green, blue = to_rgb(shade)
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def size(shape: Sequence[int]) -> str:
    """The shape as written in figures, ``144 × 16``."""
    return format_shape(shape).replace("x", "×")


def bare(axes: Axes) -> None:
    """Format axes for an image: no grid, a faint frame."""
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=rcParams["grid.color"])
    axes.tick_params(length=0)
