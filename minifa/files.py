"""Files that are there whole or not at all: written beside their place, forced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: str | Path, content: bytes | str, previous: Path | None = None) -> None:
    """Write a file so that whoever reads it, after a crash or a kill as well, finds all of it or what was there before.

    Args:
        path: its place; ``.tmp`` behind the name is the place beside it. Two writers of one file need a lock.
        content: bytes, or text that is written as UTF-8.
        previous: where the file that was in its place is moved to; None: it is replaced.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    place = Path(path)
    beside = place.with_name(place.name + ".tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and place.exists():
            os.replace(place, previous)
        os.replace(beside, place)
    except BaseException:  # Ctrl-C included: no half-written file stays behind
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    _settle(place.parent)


def _settle(folder: Path) -> None:
    """Force the folder's own entries to the disk, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
