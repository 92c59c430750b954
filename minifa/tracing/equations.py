"""Formats equations as text with their values inserted. Small arrays are printed as blocks of lines, larger ones as
their shape."""

from __future__ import annotations

__all__: list[str] = []

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import numpy.typing as npt

Block = list[str]
INDENT = "    "  # of the blocks that continue below
MOST_ROWS, MOST_COLUMNS = 8, 10  # larger matrices are shown by their shape
SYMBOL = re.compile(r"[A-Za-z]\w*(?:\.T)?")


def with_numbers(equation: str, terms: Mapping[str, Any], width: int = 100) -> str:
    """The equation with every known symbol replaced by its value, in lines of at most ``width`` characters. Arrays that
    are not in the equation are listed below it.

    Args:
        equation: lines of text with symbols, ``"y = x @ W + b"``; ``W.T`` is printed transposed.
        terms: arrays or numbers by symbol. Symbols that are missing or None are not replaced.
        width: maximum length of a line in characters.

    >>> x, W = np.array([[1.0, 2.0]]), np.array([[3.0], [2.0]])
    >>> print(mf.tracing.equations.with_numbers("y = x @ W", {"y": x @ W, "x": x, "W": W}))
    [7] = [1 2] @ [3]
                  [2]
    """
    mentioned = {match.group().removesuffix(".T") for match in SYMBOL.finditer(equation)}
    known = {symbol for symbol in mentioned if terms.get(symbol) is not None}
    lines = [_flow(_blocks(line, terms, width), width) for line in equation.split("\n")] if known else []
    others = [
        [[f"{symbol} ="], matrix(value, width)]
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


def matrix(array: npt.NDArray[Any], width: int = 100) -> Block:
    """An array of at most two dimensions as lines in brackets; other or too large arrays as their shape."""
    if array.ndim == 0:
        return [_cell(float(array), _format(array))]
    shape = ["<" + " x ".join(map(str, array.shape)) + ">"]
    if array.ndim > 2 or array.size == 0 or len(array) > MOST_ROWS or array.shape[-1] > MOST_COLUMNS:
        return shape
    style = _format(array)
    cells = [[_cell(float(value), style) for value in row] for row in numpy.atleast_2d(array)]
    wide = max(len(cell) for row in cells for cell in row)
    lines = ["[" + " ".join(cell.rjust(wide) for cell in row) + "]" for row in cells]
    return lines if len(lines[0]) <= width - len(INDENT) else shape


def _blocks(line: str, terms: Mapping[str, Any], width: int) -> Iterator[Block]:
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
        yield matrix(array.T if match.group().endswith(".T") else array, width)
    if text := line[end:].strip():
        yield [text]


def _flow(blocks: Iterator[Block], width: int) -> Iterator[str]:
    """Lay out blocks side by side, vertically centred. Blocks that do not fit continue below, indented and, where it
    fits, starting with the preceding operator."""
    row: list[Block] = []
    indent = ""
    for block in blocks:
        if row and len(indent) + sum(len(one[0]) + 1 for one in row) + len(block[0]) > width:
            operator = len(row) > 1 and not row[-1][0].startswith("[")
            fits = len(INDENT) + len(row[-1][0]) + 1 + len(block[0]) <= width
            leads = [row.pop()] if operator and fits else []
            yield from _side_by_side(row, indent)
            row, indent = leads, INDENT
        row.append(block)
    yield from _side_by_side(row, indent)


def _side_by_side(row: list[Block], indent: str) -> Iterator[str]:
    height = max(map(len, row))
    for i in range(height):
        parts = []
        for block in row:
            at = i - (height - len(block)) // 2
            parts.append(block[at] if 0 <= at < len(block) else " " * len(block[0]))
        yield (indent + " ".join(parts)).rstrip()
