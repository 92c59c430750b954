"""Formats equations as text with their values inserted. Small arrays are printed as blocks of lines, in full or as the
columns that fit; larger ones as their shape."""

from __future__ import annotations

__all__: list[str] = []

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy
import numpy.typing as npt

from ..text import shown_length

Paint = Callable[[str, float, str], str]  # symbol, value and text of a cell to its text with colours
Block = list[str]
INDENT = "    "  # of the blocks that continue below
MOST_ROWS, MOST_COLUMNS = 8, 10  # larger matrices are shown by their shape
SYMBOL = re.compile(r"[A-Za-z]\w*(?:\.T)?")
CUT = re.compile(r" \.\.\. \d+ more\]")  # ends the first line of a matrix of which some columns are left out


def plain(symbol: str, value: float, text: str) -> str:
    return text


def with_numbers(equation: str, terms: Mapping[str, Any], width: int = 100, paint: Paint = plain) -> str:
    """The equation with every known symbol replaced by its value, in lines of at most ``width`` characters. Arrays that
    are not in the equation are listed below it.

    Args:
        equation: lines of text with symbols, ``"y = x @ W + b"``; ``W.T`` is printed transposed.
        terms: arrays or numbers by symbol. Symbols that are missing or None are not replaced.
        width: maximum length of a line in characters.
        paint: adds colours to the text of a cell.

    >>> x, W = np.array([[1.0, 2.0]]), np.array([[3.0], [2.0]])
    >>> print(mf.tracing.equations.with_numbers("y = x @ W", {"y": x @ W, "x": x, "W": W}))
    [7] = [1 2] @ [3]
                  [2]
    """
    mentioned = {match.group().removesuffix(".T") for match in SYMBOL.finditer(equation)}
    known = {symbol for symbol in mentioned if terms.get(symbol) is not None}
    lines = [_flow(_blocks(line, terms, width, paint), width) for line in equation.split("\n")] if known else []
    others = [
        [[f"{symbol} ="], matrix(value, width, symbol, paint)]
        for symbol, value in terms.items()
        if symbol not in mentioned and isinstance(value, numpy.ndarray)
    ]
    if others:
        lines.append(_flow((block for pair in others for block in pair), width))
    return "\n\n".join("\n".join(line) for line in lines)


def _format(array: npt.NDArray[Any]) -> str:
    """The format of the numbers: integers without decimals, otherwise three decimals, or three significant digits if
    the largest number is below 0.01 or at least 1000."""
    largest = float(numpy.abs(array).max())
    if largest < 1000 and (array == numpy.round(array)).all():
        return ".0f"
    return ".3f" if 0.01 <= largest < 1000 else ".2e"


def _cell(value: float, style: str) -> str:
    text = format(value, style)
    return text if float(text) else text.removeprefix("-")  # no "-0.000"


def matrix(array: npt.NDArray[Any], width: int = 100, symbol: str = "", paint: Paint = plain) -> Block:
    """An array of at most two dimensions as lines in brackets. Columns beyond the width are left out and counted;
    arrays with other dimensions or too many rows or columns are shown by their shape."""
    if array.ndim == 0:
        value = float(array)
        return [paint(symbol, value, _cell(value, _format(array)))]
    shape = ["<" + " x ".join(map(str, array.shape)) + ">"]
    if array.ndim > 2 or array.size == 0 or len(array) > MOST_ROWS or array.shape[-1] > MOST_COLUMNS:
        return shape
    style = _format(array)
    rows = numpy.atleast_2d(array)
    cells = [[_cell(float(value), style) for value in row] for row in rows]
    wide = max(len(cell) for row in cells for cell in row)
    columns = rows.shape[1]
    shown, more = _fitting(columns, wide, width - len(INDENT))
    if not shown:
        return shape
    rest = " ...".ljust(len(more)) if more else ""
    return [
        "["
        + " ".join(paint(symbol, float(row[k]), texts[k].rjust(wide)) for k in range(shown))
        + (rest if i else more)
        + "]"
        for i, (row, texts) in enumerate(zip(rows, cells, strict=True))
    ]


def _fitting(columns: int, wide: int, room: int) -> tuple[int, str]:
    """How many columns of this width fit into the room, and the text that counts the others."""
    for shown in range(columns, 0, -1):
        more = f" ... {columns - shown} more" if shown < columns else ""
        if 1 + shown * (wide + 1) + len(more) <= room:
            return shown, more
    return 0, ""


def _blocks(line: str, terms: Mapping[str, Any], width: int, paint: Paint) -> Iterator[Block]:
    """Split the line at its symbols. Yields values for known symbols and text for the rest."""
    end = 0
    for match in SYMBOL.finditer(line):
        name = match.group().removesuffix(".T")
        if terms.get(name) is None:
            continue
        if text := line[end : match.start()].strip():
            yield [text]
        end = match.end()
        array = numpy.asarray(terms[name])
        yield matrix(array.T if match.group().endswith(".T") else array, width, name, paint)
    if text := line[end:].strip():
        yield [text]


def _flow(blocks: Iterable[Block], width: int) -> Iterator[str]:
    """Lay out blocks side by side, vertically centred. Blocks that do not fit continue below, indented and, where it
    fits, starting with the preceding operator. What closes a block, as ``)`` or ``^2)``, stays on its line."""
    row: list[Block] = []
    indent = ""
    all_blocks = list(blocks)
    for block, following in zip(all_blocks, [*all_blocks[1:], [""]], strict=True):
        needed = _length(block) + (_length(following) + 1 if following[0].startswith((")", "^")) else 0)
        used = len(indent) + sum(_length(one) + 1 for one in row)
        if row and used + needed > width:
            operator = len(row) > 1 and not row[-1][0].startswith("[")
            fits = len(INDENT) + _length(row[-1]) + 1 + needed <= width
            leads = [row.pop()] if operator and fits else []
            yield from _side_by_side(row, indent)
            row, indent = leads, INDENT
        row.append(block)
    yield from _side_by_side(row, indent)


def _length(block: Block) -> int:
    return shown_length(block[0])


def _side_by_side(row: list[Block], indent: str) -> Iterator[str]:
    height = max(map(len, row))
    for i in range(height):
        parts = []
        for block in row:
            at = i - (height - len(block)) // 2
            parts.append(block[at] if 0 <= at < len(block) else " " * _length(block))
        yield (indent + " ".join(parts)).rstrip()
