"""Extraction of selected members of a .tar.gz archive: matched by exact name, regular files only, of the expected size.

An archive is a sequence of 512-byte headers, each followed by its member's content, padded to a multiple of 512 bytes.
It is read sequentially, one block at a time. The archive cannot choose a path on the disk, set a mode, create a link,
or determine how much is unpacked.
"""

from __future__ import annotations

__all__: list[str] = []

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ...errors import DataFileError
from ...storage.atomic import force_to_disk, move_into_place
from ..idx import unpacked
from .checksums import Comparison
from .sources import Checked

RECORD = 512
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)  # TarInfo.isreg() also accepts sparse files
BLOCK = 1 << 20


def extract(archive: Path, wanted: Mapping[str, Checked], inside: str, folder: Path, at_most: int) -> None:
    """Unpack the wanted members into the folder: all of them, or none.

    Args:
        archive: path of the archive, whose members lie in one folder.
        wanted: expected size and checksum of each member, by name.
        inside: name of the folder within the archive.
        folder: an existing folder. A file there with a member's name is renamed, with .replaced appended.
        at_most: maximum number of bytes to unpack; protects against decompression bombs.

    Raises:
        DataFileError: the archive is damaged, lacks a wanted member, or a member has the wrong type, size or checksum.
        OSError: the archive cannot be read, or the members cannot be written.
    """
    temporary = {name: folder / f"{name}.tmp" for name in wanted}
    try:
        with unpacked(archive) as (stream, _):
            _unpack_all(
                stream,
                archive,
                {f"{inside}/{name}": (expected, temporary[name]) for name, expected in wanted.items()},
                at_most,
            )
        for name, path in temporary.items():
            move_into_place(path, folder / name, previous=folder / f"{name}.replaced")
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _unpack_all(stream: BinaryIO, archive: Path, wanted: Mapping[str, tuple[Checked, Path]], limit: int) -> None:
    missing = dict(wanted)
    while missing:
        header = _next_header(stream, archive)
        if header is None:
            raise DataFileError(f"'{archive}' lacks {', '.join(missing)}. Download it again")
        filling = -header.size % RECORD
        limit -= RECORD + header.size + filling
        if header.size < 0 or limit < 0:
            raise DataFileError(f"'{archive}' unpacks to more bytes than expected. Download it again")
        name = header.name.removeprefix("./")
        if name in missing:
            expected, path = missing.pop(name)
            if header.type not in REGULAR or header.size != expected.size:
                raise DataFileError(
                    f"in '{archive}', {name} is not a regular file of {expected.size:,} bytes. Download it again"
                )
            _unpack(stream, archive, name, expected, path)
            _skip(stream, archive, filling)
        else:
            _skip(stream, archive, header.size + filling)


def _next_header(stream: BinaryIO, archive: Path) -> tarfile.TarInfo | None:
    """The next member's header; None at the end of the archive."""
    block = _read_exactly(stream, archive, RECORD)
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DataFileError(f"'{archive}' is a damaged tar file ({error}). Download it again") from error


def _unpack(stream: BinaryIO, archive: Path, name: str, expected: Checked, path: Path) -> None:
    comparison = Comparison(expected)
    with open(path, "wb") as file:
        for size in _block_sizes(expected.size):
            block = _read_exactly(stream, archive, size)
            comparison.add(block)
            file.write(block)
        force_to_disk(file)
    if not comparison.matches():
        raise DataFileError(f"in '{archive}', {name} is not the publisher's: its checksum is wrong. Download it again")


def _skip(stream: BinaryIO, archive: Path, size: int) -> None:
    for block_size in _block_sizes(size):
        _read_exactly(stream, archive, block_size)


def _block_sizes(size: int) -> Iterator[int]:
    """The lengths of the blocks into which ``size`` bytes are divided."""
    return (min(BLOCK, size - start) for start in range(0, size, BLOCK))


def _read_exactly(stream: BinaryIO, archive: Path, size: int) -> bytes:
    block = stream.read(size)
    if len(block) != size:
        raise DataFileError(f"'{archive}' ends within a file. Download it again")
    return block
