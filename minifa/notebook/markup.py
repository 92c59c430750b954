"""Parts of an HTML representation: headings, tables, and pictures with the bytes of a PNG file in them."""

from __future__ import annotations

__all__: list[str] = []

import base64
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..text import one_line

LONGEST = 80  # characters of a name
LONGEST_LINE = 300  # of a title, an equation or a remark
CELL = "padding:2px 10px 2px 0;border:0;vertical-align:middle;text-align:"
HEAD = "font-weight:600;border-bottom:1px solid rgba(128,128,128,.6);"
NOTE = "opacity:.75;font-size:90%;margin:2px 0"


def escaped(text: object, longest: int = LONGEST) -> str:
    """A text as HTML: on one line, truncated, with all special characters escaped."""
    import html  # here: its table of entities takes longer to import than this package

    return html.escape(one_line(str(text), longest))


def block(title: str, *parts: str) -> str:
    """A representation: a bold title, a text, above its parts, which are HTML."""
    heading = f'<div style="font-weight:600">{escaped(title, LONGEST_LINE)}</div>'
    return f'<div style="margin:4px 0">{heading}{"".join(parts)}</div>'


def note(text: str) -> str:
    """A remark in smaller letters."""
    return f'<div style="{NOTE}">{escaped(text, LONGEST_LINE)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right_from: int, last_is_total: bool = False) -> str:
    """A table.

    Args:
        head: the column titles, texts.
        rows: the cells, which are HTML.
        right_from: the index of the first column that is aligned to the right.
        last_is_total: whether a line separates the last row from the others.
    """

    def row(cells: Sequence[str], tag: str, style: str = "") -> str:
        sides = ("left" if i < right_from else "right" for i in range(len(cells)))
        inner = (f'<{tag} style="{style}{CELL}{s}">{c}</{tag}>' for c, s in zip(cells, sides, strict=True))
        return f'<tr style="background:none">{"".join(inner)}</tr>'

    lines = [row(cells, "td") for cells in rows]
    if last_is_total:
        lines[-1] = row(rows[-1], "td", "border-top:1px solid rgba(128,128,128,.6);")
    header = row([escaped(title) for title in head], "th", HEAD)
    return f'<table style="border-collapse:collapse;margin:4px 0"><thead>{header}</thead>{"".join(lines)}</table>'


def png(pixels: numpy.ndarray, palette: numpy.ndarray | None = None) -> bytes:
    """A PNG file (ISO 15948) of pixels in uint8: (H, W) grey, or indices into a palette (256, 3), or (H, W, 3) colours.
    Written here, because a strip of examples does not need matplotlib, which takes a second to import."""
    height, width = pixels.shape[:2]
    kind = 3 if palette is not None else 0 if pixels.ndim == 2 else 2
    rows = pixels.reshape(height, -1)
    lines = numpy.concatenate([numpy.zeros((height, 1), numpy.uint8), rows], axis=1)  # filter 0: the bytes themselves
    header = struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0)
    colours = [] if palette is None else [(b"PLTE", palette.astype(numpy.uint8).tobytes())]
    chunks = [(b"IHDR", header), *colours, (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def image(file: bytes, alt: str, width: int | None = None, enlarged: bool = False) -> str:
    """An <img> with the bytes of a PNG file.

    Args:
        file: its bytes.
        alt: a description for readers who cannot see it.
        width: on the page, in CSS pixels; None: the width of the file, at most that of the page.
        enlarged: whether it is a map of few pixels, which keep sharp edges.
    """
    size = "max-width:100%" if width is None else f"width:{width}px;max-width:none"
    edges = ";image-rendering:pixelated" if enlarged else ""
    data = base64.b64encode(file).decode("ascii")
    style = f"{size}{edges};border-radius:2px;display:inline-block;margin:0;vertical-align:middle"
    return f'<img src="data:image/png;base64,{data}" alt="{escaped(alt, LONGEST_LINE)}" style="{style}">'


def drawn(make: Callable[[], str]) -> str:
    """The HTML that ``make`` returns. If it cannot draw (matplotlib cannot be imported, or raises an error), a line
    with the reason, so that the numbers are shown in any case."""
    try:
        return make()
    except Exception as error:  # of matplotlib, its settings or its fonts
        return note(f"The picture could not be drawn: {type(error).__name__}: {error}")


def figure_file(figure: Any) -> bytes:
    """The bytes of a matplotlib figure as a PNG file, on a background of its own."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
