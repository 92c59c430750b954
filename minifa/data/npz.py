"""Named arrays in one .npz file: read without pickle, written so that a file is there whole or not at all."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import write_whole
from .base import DataFileError


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file by name.

    Raises:
        DataFileError: the file, which it names, is damaged or holds objects.
        OSError: it cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            found = np.load(stream, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named ones")
            return {key: found[key] for key in found.files}
        # What NumPy and zipfile raise, between them, for a damaged, encrypted or pickled file.
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError, MemoryError) as error:
            raise DataFileError(f"'{path}' cannot be read as .npz ({error})") from error


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the file, whole or not at all. Raises OSError."""
    content = io.BytesIO()
    np.savez(content, **dict[str, Any](arrays))
    write_whole(path, content.getvalue())
