"""Append-only CSV tables that survive a kill: each line is written as a whole and forced to disk before the next one,
and an incomplete last line, after a kill or on a full disk, is removed when the table is opened again.

>>> from minifa.storage import csv_rows
>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "runs.csv")
...     csv_rows.open_table(path, ["run", "score"])
...     csv_rows.append(path, ["0", "0.93"])
...     size = path.write_bytes(path.read_bytes() + b"1,0.9")  # killed in the middle of a line
...     csv_rows.open_table(path, ["run", "score"])
[]
[{'run': '0', 'score': '0.93'}]
"""

from __future__ import annotations

__all__: list[str] = []

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataFileError
from .atomic import expanded, plain, read_bytes


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
    content = read_bytes(place)
    complete = content[: content.rfind(b"\n") + 1]
    if not complete and not _line(columns).startswith(content):
        raise DataFileError(f"'{place}' is not a table with the columns {_joined(columns)}")
    try:
        lines = list(csv.reader(io.StringIO(complete.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(f"'{place}' is not a CSV table ({error})") from error
    if lines and lines[0] != list(columns):
        raise DataFileError(f"'{place}' must have the columns {_joined(columns)}, got {_joined(lines[0])}")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(columns):
            raise DataFileError(
                f"'{place}', line {number}, must have {len(columns)} cells, as the header, got {len(line)}: correct or "
                "remove the line"
            )
    return [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def append(path: str | Path, cells: Sequence[str]) -> None:
    """Append a line, which is on disk when this returns.

    Args:
        path: path of the CSV file, created if it does not exist.
        cells: cells of the line, without line breaks.

    Raises:
        ValueError: a cell has a line break, so that an incomplete line could not be detected.
        OSError: the line cannot be written completely.
    """
    line = _line(cells)
    if line.count(b"\n") != 1 or b"\r" in line:
        raise ValueError(f"a cell of a table must not contain a line break, got {list(cells)}")
    with open(expanded(path), "ab", buffering=0, opener=plain) as file:
        written = file.write(line)
        if written != len(line):
            raise OSError(
                f"'{path}': only {written} of {len(line)} bytes of a line could be written: is the disk full?"
            )
        os.fsync(file.fileno())


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _remove_incomplete_line(place: Path) -> None:
    with open(place, "r+b", opener=plain) as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            file.truncate(end)
            os.fsync(file.fileno())


def _joined(columns: Sequence[str]) -> str:
    return ", ".join(columns)
