"""Plain text: tables, line breaks, and escaping of untrusted text.

Titles, file names and table cells come from files and may contain terminal control sequences, which could clear the
screen or overwrite earlier lines. The command line prints through `escaping`, which shows them as escapes.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WIDEST_TABLE = 80  # columns; a wider terminal shows the same table

# Control characters (newline and tab are excluded below), and Unicode characters that change the text direction or end
# a line.
_CONTROL_CODES = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
]
_ESCAPES = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROL_CODES if chr(code) not in "\n\t"
}


def printable(text: str) -> str:
    """Replace control characters by escapes.

    >>> from minifa.text import printable
    >>> print(printable("red \\x1b[31mtitle"))
    red \\x1b[31mtitle
    """
    return text.translate(_ESCAPES)


COLOURS = re.compile(r"\x1b\[[\d;]*m")  # the control sequences that set the colours of a terminal


def shown_length(text: str) -> int:
    """The number of characters that a terminal shows of a line with colours.

    >>> from minifa.text import shown_length
    >>> shown_length("\x1b[1mbold\x1b[0m")
    4
    """
    return len(COLOURS.sub("", text))


class Printable:
    """Text stream that writes `printable` text to another stream.

    Args:
        stream: the underlying stream; all other attributes are taken from it.
        bars: allow a leading carriage return, which a progress bar uses to redraw its line.
    """

    def __init__(self, stream: Any, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        bar = "\r" if self._bars and text.startswith("\r") else ""
        self._stream.write(bar + printable(text[len(bar) :]))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def unescaped(stream: Any) -> Any:
    """The stream below a `Printable`, for text that is printable except for its colours."""
    return stream._stream if isinstance(stream, Printable) else stream


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Context manager that makes standard output and standard error `Printable`."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            stack.enter_context(contextlib.redirect_stdout(Printable(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(Printable(sys.stderr, bars=True)))
        yield


def terminal_width() -> int:
    """The columns of the terminal (or of $COLUMNS); 80 if the output is not a terminal."""
    import shutil  # here: it imports the modules of all archive formats

    return shutil.get_terminal_size((80, 24)).columns


def lines_of(text: str, width: int, indent: str = "", hanging: str = "") -> list[str]:
    """The text in lines of at most ``width`` characters, broken between words only. A longer word has its own line.

    Args:
        text: one paragraph.
        width: at least 1.
        indent: before the first line.
        hanging: before all other lines.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def wrap(text: str, width: int | None = None) -> str:
    """Break every line of the text between words, at ``width`` characters; None: at the width of the terminal.

    >>> from minifa.text import wrap
    >>> print(wrap("one two three\\n\\nfour", 8))
    one two
    three
    <BLANKLINE>
    four
    """
    width = width or terminal_width()
    return "\n".join("\n".join(lines_of(line, width)) for line in text.split("\n"))


def entries(values: Mapping[str, str]) -> str:
    """A line for each name with its text, which is broken between words at the width of the terminal.

    >>> from minifa.text import entries
    >>> print(entries({"python": "3.11", "threads": "2"}))
    python   3.11
    threads  2
    """
    wide = max(map(len, values), default=0) + 2
    hanging = " " * wide
    lines = (lines_of(f"{name:{wide}}{text}", terminal_width(), "", hanging) for name, text in values.items())
    return "\n".join(itertools.chain.from_iterable(lines))


def table(rows: Sequence[Sequence[str]], right_from: int, width: int | None = None) -> str:
    """Format rows as a text table; the first row is the header. Columns from index ``right_from`` on are
    right-aligned.

    In a table that is too wide, the header and the left-aligned cells are broken between words. If that does not
    suffice, the columns that are left over follow below, with the first column repeated.

    Args:
        rows: the cells; every row has as many as the first.
        right_from: index of a column.
        width: the most characters of a line; None: those of the terminal, and at most 80.

    >>> from minifa.text import table
    >>> print(table([("rule", "score", "time"), ("bp", "0.98", "6.8")], right_from=1, width=11))
    rule  score
    ----  -----
    bp     0.98
    <BLANKLINE>
    rule  time
    ----  ----
    bp     6.8
    """
    width = min(WIDEST_TABLE, terminal_width()) if width is None else width
    columns = list(zip(*rows, strict=True))
    natural = [max(map(len, column)) for column in columns]
    fitted = _narrowed(natural, [_least(column, False) for column in columns], width)  # the header alone breaks
    fitted = _narrowed(fitted, [_least(column, i < right_from) for i, column in enumerate(columns)], width)
    if _total(fitted) <= width:
        return _block(columns, fitted, range(len(columns)), right_from)
    blocks = _split(natural, width)
    return "\n\n".join(_block(columns, natural, block, right_from) for block in blocks)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _words(cell: str) -> str:
    """The cell with a space that does not break within ``mean ± sd``."""
    return cell.replace(" ± ", "\u00a0±\u00a0")


def _least(column: Sequence[str], breaks: bool) -> int:
    """The width of the longest word of a column, whose cells break between words or, below the header, do not."""
    head, *cells = column
    least = max(map(len, head.split()), default=0)
    return max([least, *(max(map(len, _words(cell).split(" ")), default=0) if breaks else len(cell) for cell in cells)])


def _narrowed(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """The widths, with the widest made narrower until the table fits or no column can be narrower."""
    fitted = list(widths)
    while _total(fitted) > width:
        wide = [i for i, one in enumerate(fitted) if one > least[i]]
        if not wide:
            break
        fitted[max(wide, key=fitted.__getitem__)] -= 1
    return fitted


def _split(widths: Sequence[int], width: int) -> list[list[int]]:
    """The indices of the columns of every block; each block begins with the first column."""
    blocks = [[0]]
    for i in range(1, len(widths)):
        if len(blocks[-1]) > 1 and _total([widths[one] for one in (*blocks[-1], i)]) > width:
            blocks.append([0])
        blocks[-1].append(i)
    return blocks


def _block(columns: Sequence[Sequence[str]], widths: Sequence[int], shown: Sequence[int], right_from: int) -> str:
    """A table of some of the columns, with these widths."""
    rows = []
    for cells in zip(*(columns[i] for i in shown), strict=True):
        parts = [_cell(cell, widths[i], i >= right_from) for i, cell in zip(shown, cells, strict=True)]
        lines = itertools.zip_longest(*parts)
        rows.append(
            ["  ".join(part or " " * widths[i] for i, part in zip(shown, line, strict=True)).rstrip() for line in lines]
        )
    rule = "  ".join("-" * widths[i] for i in shown)
    return "\n".join([*rows[0], rule, *itertools.chain(*rows[1:])])


def _cell(cell: str, width: int, right: bool) -> list[str]:
    """The lines of a cell, padded to the width."""
    lines = [cell] if len(cell) <= width else lines_of(_words(cell), width)
    return [(line.rjust(width) if right else line.ljust(width)).replace("\u00a0", " ") for line in lines]


def listed(names: Iterable[str], most: int = 12) -> str:
    """Untrusted names as text for a message: at most ``most`` names of at most 80 characters, without control
    characters.

    >>> from minifa.text import listed
    >>> listed(["fc1", "\\x1b[2J"]), listed("abcd", most=2)
    ('fc1, \\\\x1b[2J', 'a, b and 2 more')
    """
    all_names = list(names)
    shown = [printable(name).replace("\n", "\\n").replace("\t", "\\t") for name in all_names[:most]]
    cut = [name if len(name) <= 80 else f"{name[:77]}..." for name in shown]
    return ", ".join(cut) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, without unprintable characters, truncated to ``longest`` characters.

    >>> from minifa.text import one_line
    >>> one_line("no\\tnumber\\x1b[2J\\nin it"), one_line("much too long", 9)
    ('no number [2J in it', 'much t...')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if longest is None or len(line) <= longest else line[: longest - 3] + "..."


def brief(value: Any) -> str:
    """The ``repr`` of a value on one line of at most 60 characters; an array is shown by its shape.

    >>> from minifa.text import brief
    >>> brief([0.5, "a"]), brief(np.ones((2, 3)))
    ("[0.5, 'a']", '<array 2 x 3>')
    """
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and shape:
        return f"<array {' x '.join(map(str, shape))}>"
    return one_line(repr(value), 60)


def install(extra: str) -> str:
    """The command that installs an extra of minifa. minifa is not on PyPI, so it is installed from its source folder.

    >>> from minifa.text import install
    >>> print(install("cluster"))
    pip install ".[cluster]" in the folder of minifa's source
    """
    return f'pip install ".[{extra}]" in the folder of minifa\'s source'
