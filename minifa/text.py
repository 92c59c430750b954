"""Plain text: tables, and escaping of untrusted text.

Titles, file names and table cells come from files and may contain terminal control sequences, which could clear the
screen or overwrite earlier lines. The command line prints through `escaping`, which shows them as escapes.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

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


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Context manager that makes standard output and standard error `Printable`."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            stack.enter_context(contextlib.redirect_stdout(Printable(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(Printable(sys.stderr, bars=True)))
        yield


def table(rows: Sequence[Sequence[str]], right_from: int) -> str:
    """Format rows as a text table; the first row is the header. Columns from index ``right_from`` on are
    right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i >= right_from else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


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
