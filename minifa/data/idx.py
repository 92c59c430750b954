"""The IDX format of the MNIST family: a four-byte magic number, the dimensions, then the values.

    0, 0, 0x08 (unsigned byte), number of dimensions | each dimension as a big-endian uint32 | the values, row-major

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

__all__ = ["read_idx"]

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ..errors import DataFileError
from ..storage.atomic import expanded
from ..validation import check_int, check_list

UNSIGNED_BYTE = 0x08
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip-compressed (detected from the content, not the name).

    Args:
        path: path of the file.
        shape: the expected shape, such as (60000, 28, 28). Memory is allocated only after the header is verified to
            declare this shape, and no more than that is decompressed into memory.

    Raises:
        TypeError: shape is not a tuple of ints.
        DataFileError: another magic number or shape, missing or surplus bytes, or a damaged gzip stream.
        OSError: the file cannot be opened or read.
    """
    path = expanded(path)
    sizes = check_list(shape, object, "the shape of an IDX file must be a tuple of ints")
    shape = tuple(check_int(size, "every size in the shape of an IDX file", least=0) for size in sizes)
    with unpacked(path) as (stream, plain_size):
        header_size = 4 + 4 * len(shape)
        _check_header(path, stream.read(header_size), shape)
        expected = header_size + math.prod(shape)
        if plain_size is not None and plain_size != expected:
            raise DataFileError(f"'{path}' has {plain_size} bytes; its header declares {expected}. Download it again")
        values = np.empty(math.prod(shape), dtype=np.uint8)
        _fill(path, stream, values)
        # Reading one more byte also makes gzip verify its checksum.
        if stream.read(1):
            raise DataFileError(f"'{path}' has more than the {expected} bytes its header declares. Download it again")
    return values.reshape(shape)


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """(the decompressed stream, the file's size; None if it is compressed). Raises DataFileError if the gzip stream is
    damaged, while it is read."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not compressed:
            yield raw, os.fstat(raw.fileno()).st_size
            return
        import gzip  # here: most data sets are not read from such files

        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(BinaryIO, unpacked), None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataFileError(f"'{path}' is a damaged gzip file ({error}). Download it again") from error


def _check_header(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    magic = bytes((0, 0, UNSIGNED_BYTE, len(shape)))
    if not header.startswith(magic):
        raise DataFileError(
            f"'{path}' starts with the bytes '{header[:4].hex(' ')}'; an IDX file of unsigned bytes in {len(shape)} "
            f"dimension(s) starts with '{magic.hex(' ')}'. Is this the right file?"
        )
    if len(header) < 4 + 4 * len(shape):
        raise DataFileError(f"'{path}' ends within its header. Download it again")
    declared = struct.unpack(f">{len(shape)}I", header[4:])
    if declared != shape:
        raise DataFileError(f"'{path}' declares the shape {declared}; expected {shape}. Is this the right file?")


def _fill(path: Path, stream: BinaryIO, values: npt.NDArray[np.uint8]) -> None:
    done = 0
    while done < len(values):
        piece = stream.read(min(CHUNK, len(values) - done))
        if not piece:
            raise DataFileError(
                f"'{path}' ends after {done} of the {len(values)} values its header declares. Download it again"
            )
        values[done : done + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        done += len(piece)
