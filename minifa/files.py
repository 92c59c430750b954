"""Files that are there whole or not at all: written beside their place, forced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO


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
            force_to_disk(file)
        move_into_place(beside, place, previous)
    except BaseException:  # Ctrl-C included: no half-written file stays behind
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def force_to_disk(file: IO[bytes]) -> None:
    """Let nothing that was written into the file be lost any more, were the machine to stop now. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def move_into_place(beside: Path, place: Path, previous: Path | None = None) -> None:
    """Rename a file that is complete and forced to the disk, and force the renaming to the disk as well.

    Args:
        beside, place: where it is and where it shall be, in one folder.
        previous: where a file that is in its place is moved to; None: it is replaced.

    Raises:
        OSError: it cannot be renamed.
    """
    if previous is not None and place.exists():
        os.replace(place, previous)
    os.replace(beside, place)
    _settle(place.parent)


def _settle(folder: Path) -> None:
    """Force the folder's own entries to the disk, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
