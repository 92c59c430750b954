"""Numbers of other programs as NumPy arrays: safetensors files, and PyTorch's tensors, in types that NumPy lacks too.

    BF16       the upper half of a float32                      sign, 8 bits of exponent, 7 of fraction
    F8_E5M2    the upper half of a float16                      sign, 5, 2
    F8_E4M3    (-1)^s 2^(e - 7) (1 + m/8), 2^-6 m/8 where e = 0, NaN where all bits of e and m are set   sign, 4, 3

All three become float32, which holds each of their numbers exactly. P. Micikevicius et al. (2022), FP8 formats for deep
learning, arXiv:2209.05433.
"""

from __future__ import annotations

__all__: list[str] = []

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from .backend import numbers_of
from .data.base import DataFileError
from .files import expanded
from .text import install

Host = numpy.ndarray

# How the bytes of a tensor are read, by the file's name for its type.
PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
PLAIN |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


def _from_bf16(content: bytes) -> Host:
    return (numpy.frombuffer(content, "<u2").astype(numpy.uint32) << 16).view(numpy.float32)


def _from_e5m2(content: bytes) -> Host:
    return (numpy.frombuffer(content, "u1").astype(numpy.uint16) << 8).view(numpy.float16).astype(numpy.float32)


def _from_e4m3(content: bytes) -> Host:
    return _every_e4m3()[numpy.frombuffer(content, "u1")]


def _every_e4m3() -> Host:
    """The number of each of the 256 patterns of bits."""
    bits = numpy.arange(256)
    sign, exponent, fraction = 1 - 2.0 * (bits >> 7), bits >> 3 & 15, (bits & 7) / 8
    numbers = sign * numpy.where(exponent, 2.0 ** (exponent - 7) * (1 + fraction), 2.0**-6 * fraction)
    return numpy.where((bits & 127) == 127, numpy.nan, numbers).astype(numpy.float32)


NARROW: dict[str, Callable[[bytes], Host]] = {"BF16": _from_bf16, "F8_E5M2": _from_e5m2, "F8_E4M3": _from_e4m3}


def package() -> ModuleType:
    """The package safetensors. Raises ImportError, with what to install."""
    try:
        import safetensors.numpy  # here, so that minifa does without it
    except ImportError as error:
        raise ImportError(f"safetensors files need a package: {install('safetensors')}") from error
    return safetensors


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Host], dict[str, str]]:
    """(arrays by name, metadata) of a safetensors file. The package verifies what its header says; the numbers are read
    here, because its own reader for NumPy knows no bfloat16.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        DataFileError: it is damaged, no safetensors file, or has numbers of another kind than the real ones of NumPy
            and the three above.
        ImportError: the package safetensors is not installed.
    """
    place = expanded(path)
    content, library = _content(place), package()
    try:
        with library.safe_open(place, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        tensors = library.deserialize(content)
    except (library.SafetensorError, TypeError, ValueError, OSError) as error:
        if _is_pickle(place, content):
            raise DataFileError(f"'{path}' {_PICKLE} {_conversion(place)}") from error
        raise DataFileError(f"'{path}' cannot be read as safetensors ({error})") from error
    found = {}
    while tensors:  # each is let go before the next one is read
        name, tensor = tensors.pop()
        try:
            found[name] = _numbers(tensor["dtype"], tensor["data"]).reshape(tensor["shape"])
        except KeyError as error:
            known = ", ".join((*PLAIN, *NARROW))
            raise DataFileError(
                f"'{path}': {name!r} has numbers of the type {error.args[0]}; read are {known}"
            ) from None
    return dict(sorted(found.items())), metadata


def _content(place: Path) -> bytes:
    with place.open("rb") as file:  # whatever is wrong with the path itself, Python says it best
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataFileError(f"'{place}' is not a regular file")
        return file.read()


_PICKLE = (
    "looks like a file of torch.save: a pickle, which could run code and is not read. If it holds a state dict, "
    "convert it once, in a Python with PyTorch:"
)


def _is_pickle(place: Path, content: bytes) -> bool:
    """Whether a file that cannot be read is PyTorch's, by its name or its first bytes."""
    zipped = content[:2] == b"PK" and b"data.pkl" in content[:512]
    return place.suffix in (".pt", ".pth", ".bin") or zipped or content[:1] == b"\x80"


def _conversion(place: Path) -> str:
    """The line of Python that makes a safetensors file of it: in rows and of its own memory, as the package asks."""
    state = f"torch.load(open({str(place)!r}, 'rb'), map_location='cpu', weights_only=True)"
    tensors = f"{{name: tensor.contiguous().clone() for name, tensor in {state}.items()}}"
    return f"import torch, safetensors.torch as s; s.save_file({tensors}, {str(place.with_suffix('.safetensors'))!r})"


def _numbers(dtype: str, content: bytes) -> Host:
    """Raises KeyError for a type that is not read here."""
    return NARROW[dtype](content) if dtype in NARROW else numpy.frombuffer(content, PLAIN[dtype])


def host_array(value: Any, name: str) -> Host:
    """A tensor of PyTorch, or an array, as real numbers on the host. Raises TypeError for what is none, ValueError for
    rows of unequal length.

    Args:
        value: what is given.
        name: of it, in the sentence that refuses it.
    """
    if not hasattr(value, "detach"):
        return numbers_of(value, repr(name))
    try:
        tensor = value.detach().cpu()
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()  # exactly; NumPy has no bfloat16 and no float8
        numbers = tensor.numpy()
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: of what has no numbers, or not in rows
        raise TypeError(f"{name!r} cannot be read as numbers: {error}") from None
    return numbers_of(numbers, repr(name))
