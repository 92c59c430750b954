"""Plain text: tables, and what must stand in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
    ('fc1, ?[2J', 'a, b and 2 more')
    """
    all_names = list(names)
    shown = ["".join(c if c.isprintable() else "?" for c in name) for name in all_names[:most]]
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
