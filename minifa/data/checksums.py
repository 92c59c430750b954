"""Whether a file is the publisher's, byte for byte."""

from __future__ import annotations

__all__: list[str] = []

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from .base import DataFileError
from .folders import Checked, Source
from .idx import unpacked

BLOCK = 1 << 20


def is_right(path: Path, expected: Checked) -> bool:
    """Whether the file, as it lies there, has the size and the checksum. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return _agrees(file, expected)


def content_is_right(path: Path, expected: Checked) -> bool:
    """Whether the file's content does, which is what a .gz file holds: the same content can be packed in many ways.

    No more of it is unpacked than is expected, and none of it is kept. Raises OSError where it cannot be read.
    """
    try:
        with unpacked(path) as (stream, _):
            return _agrees(stream, expected)
    except DataFileError:  # damaged
        return False


def note_of_copy(name: str, source: Source, paths: Mapping[str, Path]) -> str:
    """What must be said beside numbers that were measured on files which are not the publisher's, byte for byte; empty
    where they are, or where nobody published what they should be. Raises OSError where one cannot be read."""
    if all(content_is_right(paths[file], expected) for file, expected in source.contents.items()):
        return ""
    return f"{name} from a copy: its files are not the publisher's, byte for byte."


class Comparison:
    """Takes content block by block, and says in the end whether it was what is expected: by its size and SHA-256, or
    MD5 where nothing else was published.

    Args:
        expected: what it must be.
    """

    def __init__(self, expected: Checked) -> None:
        self._expected, self._size = expected, 0
        self._digest = hashlib.sha256() if expected.sha256 else hashlib.md5(usedforsecurity=False)

    def add(self, block: bytes) -> None:
        """Take the next block."""
        self._digest.update(block)
        self._size += len(block)

    def agrees(self) -> bool:
        """Whether the blocks, one after the other, were the content expected."""
        known = self._expected.sha256 or self._expected.md5
        return self._size == self._expected.size and self._digest.hexdigest() == known


def _agrees(stream: BinaryIO, expected: Checked) -> bool:
    comparison, left = Comparison(expected), expected.size + 1
    while left and (block := stream.read(min(BLOCK, left))):
        comparison.add(block)
        left -= len(block)
    return comparison.agrees()
