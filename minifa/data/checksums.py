"""Whether a file is the publisher's, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from .base import DataFileError
from .folders import Checked
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


def digest_for(expected: Checked) -> hashlib._Hash:
    """The digest that is known of the file, still empty: SHA-256, or MD5 where nothing else was published."""
    return hashlib.sha256() if expected.sha256 else hashlib.md5(usedforsecurity=False)


def _agrees(stream: BinaryIO, expected: Checked) -> bool:
    digest, size = digest_for(expected), 0
    while size <= expected.size and (block := stream.read(min(BLOCK, expected.size + 1 - size))):
        digest.update(block)
        size += len(block)
    return size == expected.size and digest.hexdigest() == (expected.sha256 or expected.md5)
