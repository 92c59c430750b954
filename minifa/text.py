"""Plain text: tables, and what may be printed of words that others wrote.

Titles, names of files and cells of tables come from files, and a terminal obeys what is in them: a word could clear the
screen, or write over the line above. The command line prints through `escaping`, so that it shows them instead.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# Control characters but for the ends of lines and tabs, and what turns the direction of writing or ends a line.
_OBEYED = [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _OBEYED if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """The text with escapes for the characters that a terminal obeys.

    >>> from minifa.text import printable
    >>> print(printable("red \\x1b[31mtitle"))
    red \\x1b[31mtitle
    """
    return text.translate(_ESCAPES)


class Printable:
    """A stream of text that writes `printable` text into another one.

    Args:
        stream: where it is written; all else of it is this one's too.
        bars: whether a text may begin with a carriage return, by which a progress bar writes its line again.
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
    """Inside the with-block standard output and standard error are `Printable`."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            stack.enter_context(contextlib.redirect_stdout(Printable(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(Printable(sys.stderr, bars=True)))
        yield


def table(rows: Sequence[Sequence[str]], right_from: int) -> str:
    """Rows under a head, in columns; those from number ``right_from`` on are lined up at the right."""
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
    """Names out of a file of others, to be shown: not too many, none too long, and nothing that moves a cursor.

    >>> from minifa.text import listed
    >>> listed(["fc1", "\\x1b[2J"]), listed("abcd", most=2)
    ('fc1, \\\\x1b[2J', 'a, b and 2 more')
    """
    all_names = list(names)
    shown = [printable(name).replace("\n", "\\n").replace("\t", "\\t") for name in all_names[:most]]
    cut = [name if len(name) <= 80 else f"{name[:77]}..." for name in shown]
    return ", ".join(cut) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")


def one_line(text: str, longest: int | None = None) -> str:
    """The text in one line, without what cannot be printed, cut to so many letters.

    >>> from minifa.text import one_line
    >>> one_line("no\\tnumber\\x1b[2J\\nin it"), one_line("much too long", 9)
    ('no number [2J in it', 'much t...')
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if longest is None or len(line) <= longest else line[: longest - 3] + "..."


def install(extra: str) -> str:
    """How to get what an extra of minifa's needs. It is not on PyPI: pip finds it in its source.

    >>> from minifa.text import install
    >>> print(install("cluster"))
    pip install ".[cluster]" in the folder of minifa's source
    """
    return f'pip install ".[{extra}]" in the folder of minifa\'s source'
