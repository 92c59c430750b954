"""CSV files: files that are written as a whole, and tables that grow line by line.

A table survives a kill: each line is written as a whole and forced to disk before the next one, and an incomplete last
line, after a kill or on a full disk, is removed when the table is opened again.

>>> from minifa.storage import csv_files
>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "runs.csv")
...     csv_files.open_table(path, ["run", "score"])
...     csv_files.append(path, ["0", "0.93"])
...     size = path.write_bytes(path.read_bytes() + b"1,0.9")  # killed in the middle of a line
...     csv_files.open_table(path, ["run", "score"])
[]
[{'run': '0', 'score': '0.93'}]
"""

from __future__ import annotations

__all__: list[str] = []

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataFileError
from .atomic import expanded, plain, read_bytes, write_atomic


def read(path: str | Path) -> list[list[str]]:
    """The lines of a CSV file, its header included. An incomplete last line, as left by a crash, is left out.

    Raises:
        FileNotFoundError: the file does not exist.
        DataFileError: the file is not in CSV.
    """
    content = read_bytes(expanded(path))
    return [cells for _, cells in parse(content[: content.rfind(b"\n") + 1], path)]


def parse(content: bytes, path: str | Path) -> list[tuple[int, list[str]]]:
    """(number, cells) of every line. Raises DataFileError, naming ``path``, if the content is not in CSV."""
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        return [(lines.line_num, cells) for cells in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(f"'{path}' is not a table in CSV ({error})") from error


def write(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with a header and a line per row; missing cells are empty."""
    write_atomic(path, text_of([columns, *([row.get(key, "") for key in columns] for row in rows)]))


def text_of(lines: Iterable[Sequence[Any]]) -> str:
    """Format lines of cells.

    >>> from minifa.storage import csv_files
    >>> csv_files.text_of([["rule", "lr"], ["fa:conv=kernel,sparsity=0.5", 0.1]])
    'rule,lr\\n"fa:conv=kernel,sparsity=0.5",0.1\\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


# Tables that grow


def open_table(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Open a table, or create it with its header, and return its rows. An incomplete last line is removed. Processes
    that write to the same table need a lock.

    Args:
        path: path of the CSV file.
        columns: column names.

    Raises:
        DataFileError: the file has other columns, or a line that does not fit them.
        OSError: the file cannot be read or written.
    """
    place = expanded(path)
    if place.exists():
        read_table(place, columns)  # validate before the file is changed
        _remove_incomplete_line(place)
    if not place.exists() or not place.stat().st_size:
        append(place, columns)
    return read_table(place, columns)


def read_table(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table, which another process may be writing: an incomplete last line is left out.

    Args:
        path, columns: as for `open_table`.

    Raises:
        FileNotFoundError: the file does not exist.
        DataFileError: as in `open_table`.
    """
    place = expanded(path)
    lines = read(place)
    if not lines and not text_of([columns]).encode().startswith(read_bytes(place)):  # else killed while it was created
        raise DataFileError(f"'{place}' is not a table with the columns {_joined(columns)}")
    if lines and lines[0] != list(columns):
        raise DataFileError(f"'{place}' must have the columns {_joined(columns)}, got {_joined(lines[0])}")
    for number, cells in enumerate(lines, start=1):
        if len(cells) != len(columns):
            raise DataFileError(
                f"'{place}', line {number}, must have {len(columns)} cells, as the header, got {len(cells)}: "
                "correct or remove the line"
            )
    return [dict(zip(columns, cells, strict=True)) for cells in lines[1:]]


def append(path: str | Path, cells: Sequence[str]) -> None:
    """Append a line, which is on disk when this returns.

    Args:
        path: path of the CSV file, created if it does not exist.
        cells: cells of the line, without line breaks.

    Raises:
        ValueError: a cell has a line break, so that an incomplete line could not be detected.
        OSError: the line cannot be written completely.
    """
    content = text_of([cells]).encode()
    if content.count(b"\n") != 1 or b"\r" in content:
        raise ValueError(f"a cell of a table must not contain a line break, got {list(cells)}")
    with open(expanded(path), "ab", buffering=0, opener=plain) as file:
        written = file.write(content)
        if written != len(content):
            raise OSError(
                f"'{path}': only {written} of {len(content)} bytes of a line could be written: is the disk full?"
            )
        os.fsync(file.fileno())


def is_number(cell: str) -> bool:
    """Whether a cell is a number or empty."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def _remove_incomplete_line(place: Path) -> None:
    with open(place, "r+b", opener=plain) as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            file.truncate(end)
            os.fsync(file.fileno())


def _joined(columns: Sequence[str]) -> str:
    return ", ".join(columns)
