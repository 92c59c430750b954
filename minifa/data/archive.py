"""Files out of a .tar.gz archive, whatever else is in it: by exact name, regular files alone, of the size expected.

An archive is headers of 512 bytes, each followed by its member's content, filled up to a multiple of 512. It is read
here from front to back, one block at a time: nothing in it names a place on the disk, sets a mode, makes a link, or
decides how much is unpacked.
"""

from __future__ import annotations

__all__: list[str] = []

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..files import force_to_disk, move_into_place
from .base import DataFileError
from .checksums import Comparison
from .folders import Checked
from .idx import unpacked

RECORD = 512
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)  # not what isreg() takes for it as well: sparse files
BLOCK = 1 << 20


def extract(archive: Path, wanted: Mapping[str, Checked], inside: str, folder: Path, at_most: int) -> None:
    """Unpack the wanted members into the folder: all of them, or none.

    Args:
        archive: of files in a folder.
        wanted: what each member must be.
        inside: the name of the archive's folder.
        folder: is there. A file of a member's name in it is moved aside, to its name with .replaced behind it.
        at_most: how many bytes may be unpacked before the archive is taken for a trap.

    Raises:
        DataFileError: the archive is damaged, lacks one of them, or holds something else under its name.
        OSError: it cannot be read, or they cannot be written.
    """
    beside = {name: folder / f"{name}.tmp" for name in wanted}
    try:
        with unpacked(archive) as (stream, _):
            _unpack_all(
                stream,
                archive,
                {f"{inside}/{name}": (expected, beside[name]) for name, expected in wanted.items()},
                at_most,
            )
        for name, path in beside.items():
            move_into_place(path, folder / name, previous=folder / f"{name}.replaced")
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)


def _unpack_all(stream: BinaryIO, archive: Path, wanted: Mapping[str, tuple[Checked, Path]], left: int) -> None:
    missing = dict(wanted)
    while missing:
        header = _next_header(stream, archive)
        if header is None:
            raise DataFileError(f"'{archive}' lacks {', '.join(missing)}. Fetch it again")
        filling = -header.size % RECORD
        left -= RECORD + header.size + filling
        if header.size < 0 or left < 0:
            raise DataFileError(f"'{archive}' unpacks to more than was expected. Fetch it again")
        name = header.name.removeprefix("./")
        if name in missing:
            expected, path = missing.pop(name)
            if header.type not in REGULAR or header.size != expected.size:
                raise DataFileError(f"in '{archive}', {name} is no file of {expected.size:,} bytes. Fetch it again")
            _unpack(stream, archive, name, expected, path)
            _pass_over(stream, archive, filling)
        else:
            _pass_over(stream, archive, header.size + filling)


def _next_header(stream: BinaryIO, archive: Path) -> tarfile.TarInfo | None:
    """None where the archive ends."""
    block = _exactly(stream, archive, RECORD)
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DataFileError(f"'{archive}' is a damaged tar file ({error}). Fetch it again") from error


def _unpack(stream: BinaryIO, archive: Path, name: str, expected: Checked, path: Path) -> None:
    comparison = Comparison(expected)
    with open(path, "wb") as file:
        for size in _pieces(expected.size):
            block = _exactly(stream, archive, size)
            comparison.add(block)
            file.write(block)
        force_to_disk(file)
    if not comparison.agrees():
        raise DataFileError(f"in '{archive}', {name} is not the publisher's: its checksum is wrong. Fetch it again")


def _pass_over(stream: BinaryIO, archive: Path, size: int) -> None:
    for piece in _pieces(size):
        _exactly(stream, archive, piece)


def _pieces(size: int) -> Iterator[int]:
    """The lengths of the blocks that make up so many bytes."""
    return (min(BLOCK, size - start) for start in range(0, size, BLOCK))


def _exactly(stream: BinaryIO, archive: Path, size: int) -> bytes:
    block = stream.read(size)
    if len(block) != size:
        raise DataFileError(f"'{archive}' ends within a file. Fetch it again")
    return block
