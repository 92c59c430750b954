"""Archives of named arrays with a description: a zip file of .npy members whose first member, the manifest, is JSON.
The last 64 bytes are the SHA-256 of everything before them. NumPy and other tools can read the file; no pickle."""

from __future__ import annotations

__all__: list[str] = []

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .atomic import as_bytes
from .npz import DAMAGED, open_member, read_members

Arrays = Mapping[str, npt.NDArray[Any]]
DIGEST_LENGTH = 64  # SHA-256 in hexadecimal
ZIP_SIGNATURE = b"PK\x03\x04"
NAME_AT = 30  # position of the first member's name in a zip file
LIST = "arrays"  # entry of a manifest: the dtype and shape of every array


class Foreign(ValueError):
    """The content does not begin like an archive with this manifest."""


class Damaged(ValueError):
    """The content does not have the checksum at its end."""


def listed(arrays: Arrays) -> dict[str, Any]:
    """The entry `LIST` of a manifest."""
    return {key: [str(array.dtype), list(array.shape)] for key, array in arrays.items()}


def pack(
    member: str, manifest: Mapping[str, Any], arrays: Arrays, default: Callable[[Any], Any] | None = None
) -> bytes:
    """The bytes of an archive.

    Args:
        member: name of the manifest's member.
        manifest: the description, with the entry `LIST`.
        arrays: the arrays by name.
        default: converts values that JSON does not have, as for ``json.dumps``.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        text = json.dumps(manifest, indent=1, ensure_ascii=False, default=default)
        archive.writestr(zipfile.ZipInfo(member), as_bytes(text))
        for key, array in arrays.items():
            of_array = io.BytesIO()
            np.lib.format.write_array(of_array, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), of_array.getbuffer())
        archive.comment = b"0" * DIGEST_LENGTH  # placeholder for the digest, at the end of the file
    content = stream.getbuffer()
    content[-DIGEST_LENGTH:] = digest(content)
    return bytes(content)


def digest(content: bytes | memoryview) -> bytes:
    """The last bytes of an archive with this content."""
    return hashlib.sha256(content[:-DIGEST_LENGTH]).hexdigest().encode()


def unpack(
    member: str, content: bytes, check: Callable[[Any], None]
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """(the manifest, the arrays), verified.

    Args:
        member: name of the manifest's member.
        content: the bytes of the file.
        check: raises ValueError unless the manifest is valid, apart from its entry `LIST`.

    Raises:
        Foreign, Damaged: as described there.
        ValueError: the content is forged.
    """
    if content[:4] != ZIP_SIGNATURE or content[NAME_AT : NAME_AT + len(member)] != member.encode():
        raise Foreign(f"its first bytes are wrong ({len(content)} bytes)")
    if content[-DIGEST_LENGTH:] != digest(content):
        raise Damaged(f"its checksum is wrong ({len(content)} bytes)")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            with open_member(archive, archive.getinfo(member)) as text:
                manifest = json.load(text)
            check(manifest)
            arrays = read_members(archive, skip=member)
        _check_arrays(manifest[LIST], arrays)
    # The exceptions of zipfile and json for a forged file.
    except (*DAMAGED, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return manifest, arrays


def _check_arrays(listed: Mapping[str, Any], arrays: Arrays) -> None:
    missing, extra = sorted(listed.keys() - arrays.keys()), sorted(arrays.keys() - listed.keys())
    if missing or extra:
        raise ValueError(f"missing arrays {missing or 'none'}, arrays that are not in its list {extra or 'none'}")
    for key, array in arrays.items():
        if [str(array.dtype), list(array.shape)] != listed[key]:
            raise ValueError(f"the array {key!r} is {array.dtype} {array.shape}, but its list says {listed[key]}")
