"""Named arrays in one .npz file: read without pickle, written atomically."""

from __future__ import annotations

__all__: list[str] = []

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataFileError
from .atomic import write_atomic

CHUNK = 1 << 20
MAX_DEFLATE_RATIO = 1032  # maximum compression ratio of deflate
KINDS = {np.dtype(kind).str[1:] for kind in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"}
MAX_HEADER = 4096  # bytes; 32 sizes of 20 digits take 700
# Exceptions of zipfile for damaged, encrypted or forged archives.
DAMAGED = (
    *(ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, OverflowError),
    *(OSError, MemoryError),
)


def read_arrays(
    path: Path, opener: Callable[[str, int], int] | None = None, strings: bool = False
) -> dict[str, npt.NDArray[Any]]:
    """Read every array of the file, by name. Whatever its headers declare, memory is limited to twice the largest
    size to which the file's bytes can decompress (at most 1,032 times their number).

    Args:
        path: path of the file.
        opener: as for Python's ``open``; `minifa.storage.atomic.plain` for a file that may be another user's link or
            pipe.
        strings: whether to read string arrays as well.

    Raises:
        DataFileError: the file is damaged or contains non-numeric arrays; the message names the file.
        OSError: the file cannot be opened.
    """
    with open(path, "rb", opener=opener) as stream:
        try:
            if stream.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it is a single array, not an archive of named arrays")
            with zipfile.ZipFile(stream) as archive:
                return read_members(archive, strings=strings)
        except DAMAGED as error:
            raise DataFileError(f"'{path}' cannot be read as .npz ({error})") from error


def read_array(path: Path) -> npt.NDArray[Any]:
    """The numbers or strings of a .npy file. Raises as `read_arrays`."""
    with open(path, "rb") as stream:
        try:
            return _read_array(stream, path.stat().st_size, strings=True)
        except DAMAGED as error:
            raise DataFileError(f"'{path}' cannot be read as .npy: it {error}") from error


def read_members(archive: zipfile.ZipFile, skip: str = "", strings: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Every array of an archive by name, except the member ``skip``. Raises ValueError, or one of `DAMAGED`."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if member.filename == skip:
            continue
        if name == member.filename or name in arrays:
            raise ValueError(f"its member {member.filename!r} is not an array, or occurs twice")
        with open_member(archive, member) as stream:
            try:
                arrays[name] = _read_array(stream, member.file_size, strings)
            except ValueError as error:
                raise ValueError(f"the array {name!r} {error}") from None
    return arrays


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Open a member of an archive for reading. Raises as `read_members`, also if its declared size is impossible."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its member {member.filename!r} is compressed by a method that NumPy does not use")
    if member.file_size > MAX_DEFLATE_RATIO * member.compress_size:
        raise ValueError(f"its member {member.filename!r} declares a larger size than its compressed bytes can have")
    return archive.open(member)


def _read_array(stream: IO[bytes], size: int, strings: bool) -> npt.NDArray[Any]:
    """The array of an open .npy file of this size. Memory is allocated only after the header is verified to declare
    exactly this size."""
    header, length = _read_header(stream)
    match header:
        case {"descr": str(kind), "fortran_order": bool(by_columns), "shape": tuple(shape)} if len(header) == 3:
            pass
        case _:
            raise ValueError("has a header that is not of an array of numbers; pickled objects are not read")
    if kind[1:] not in KINDS and not (strings and re.fullmatch("[<>]U[1-9][0-9]{0,5}", kind)):
        raise ValueError(f"is of type {kind[:20]!r}; expected numbers, pickled objects are not read")
    if not all(type(n) is int and n > 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"has the shape {str(shape)[:100]}; expected at most 32 sizes of at least 1")
    dtype = np.dtype(kind)
    declared = length + math.prod(shape) * dtype.itemsize
    if declared != size:
        raise ValueError(f"has {size} bytes; its header declares {declared}")
    values = np.empty(math.prod(shape), dtype)
    _fill(stream, values.view(np.uint8))
    return values.reshape(shape, order="F" if by_columns else "C")


def _read_header(stream: IO[bytes]) -> tuple[Any, int]:
    """(the parsed header of an .npy file, its length in bytes).

    Format: numpy.lib.format, versions 1 and 2; version 3 differs only in the field names of structured arrays.
    """
    start = stream.read(8)
    if start[:6] != np.lib.format.MAGIC_PREFIX or tuple(start[6:]) not in ((1, 0), (2, 0)):
        raise ValueError("is not in NumPy's .npy format")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER:
        raise ValueError(f"has a header of {length} bytes; expected at most {MAX_HEADER}")
    try:
        header = ast.literal_eval(stream.read(length).decode("latin-1"))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("has a header that cannot be read") from None
    return header, 8 + width + length


def _fill(stream: IO[bytes], values: npt.NDArray[np.uint8]) -> None:
    done = 0
    while done < len(values):
        piece = stream.read(min(CHUNK, len(values) - done))
        if not piece:
            raise ValueError(f"ends after {done} of {len(values)} bytes")
        values[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the file atomically. Raises OSError."""
    content = io.BytesIO()
    np.savez(content, **dict[str, Any](arrays))
    write_atomic(path, content.getvalue())
