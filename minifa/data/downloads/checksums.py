"""Comparison of data files with the publisher's checksums."""

from __future__ import annotations

__all__: list[str] = []

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from ...errors import DataFileError
from ..idx import unpacked
from .sources import Checked, Source

BLOCK = 1 << 20


def file_matches(path: Path, expected: Checked) -> bool:
    """Whether the file, without decompression, has the expected size and checksum. Raises OSError if unreadable."""
    with open(path, "rb") as file:
        return _stream_matches(file, expected)


def content_matches(path: Path, expected: Checked) -> bool:
    """Whether the file's content, decompressed if it is gzip, has the expected size and checksum. (The same content can
    be compressed in many ways.)

    At most one byte more than the expected size is decompressed. Raises OSError if the file cannot be read.
    """
    try:
        with unpacked(path) as (stream, _):
            return _stream_matches(stream, expected)
    except DataFileError:  # damaged
        return False


def note_of_copy(name: str, source: Source, paths: Mapping[str, Path]) -> str:
    """The note for results on files that are not identical to the publisher's; empty if they are identical, or if no
    checksums are published. Raises OSError if a file cannot be read."""
    if all(content_matches(paths[file], expected) for file, expected in source.contents.items()):
        return ""
    return f"{name} from a copy: its files are not the publisher's, byte for byte."


class Comparison:
    """Compares content, added block by block, with the expected size and SHA-256 (MD5 if no SHA-256 is published).

    Args:
        expected: the expected size and checksum.
    """

    def __init__(self, expected: Checked) -> None:
        self._expected, self._size = expected, 0
        self._digest = hashlib.sha256() if expected.sha256 else hashlib.md5(usedforsecurity=False)

    def add(self, block: bytes) -> None:
        """Add the next block."""
        self._digest.update(block)
        self._size += len(block)

    def matches(self) -> bool:
        """Whether the concatenated blocks are the expected content."""
        known = self._expected.sha256 or self._expected.md5
        return self._size == self._expected.size and self._digest.hexdigest() == known


def _stream_matches(stream: BinaryIO, expected: Checked) -> bool:
    comparison, remaining = Comparison(expected), expected.size + 1
    while remaining and (block := stream.read(min(BLOCK, remaining))):
        comparison.add(block)
        remaining -= len(block)
    return comparison.matches()
