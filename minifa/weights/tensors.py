"""Conversion of safetensors files to NumPy arrays, including dtypes that NumPy does not have.

    BF16       the upper half of a float32                      sign, 8 exponent bits, 7 fraction bits
    F8_E5M2    the upper half of a float16                      sign, 5, 2
    F8_E4M3    (-1)^s 2^(e - 7) (1 + m/8), 2^-6 m/8 where e = 0, NaN where all bits of e and m are set   sign, 4, 3

All three are converted to float32, which represents each of their values exactly. P. Micikevicius et al. (2022), FP8
formats for deep learning, arXiv:2209.05433.
"""

from __future__ import annotations

__all__: list[str] = []

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy

from ..errors import DataFileError
from ..storage.atomic import expanded
from ..text import install

Host = numpy.ndarray

# safetensors dtype to NumPy dtype.
PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
PLAIN |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


def _from_bf16(content: bytes) -> Host:
    return (numpy.frombuffer(content, "<u2").astype(numpy.uint32) << 16).view(numpy.float32)


def _from_e5m2(content: bytes) -> Host:
    return (numpy.frombuffer(content, "u1").astype(numpy.uint16) << 8).view(numpy.float16).astype(numpy.float32)


def _from_e4m3(content: bytes) -> Host:
    return _e4m3_values()[numpy.frombuffer(content, "u1")]


def _e4m3_values() -> Host:
    """The values of all 256 bit patterns."""
    bits = numpy.arange(256)
    sign, exponent, fraction = 1 - 2.0 * (bits >> 7), bits >> 3 & 15, (bits & 7) / 8
    numbers = sign * numpy.where(exponent, 2.0 ** (exponent - 7) * (1 + fraction), 2.0**-6 * fraction)
    return numpy.where((bits & 127) == 127, numpy.nan, numbers).astype(numpy.float32)


NARROW: dict[str, Callable[[bytes], Host]] = {"BF16": _from_bf16, "F8_E5M2": _from_e5m2, "F8_E4M3": _from_e4m3}


def package() -> ModuleType:
    """Import the package safetensors. Raises ImportError with the command to install it."""
    try:
        import safetensors.numpy  # local, because the package is optional
    except ImportError as error:
        raise ImportError(f"safetensors files require the package safetensors: {install('safetensors')}") from error
    return safetensors


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Host], dict[str, str]]:
    """(arrays by name, metadata) of a safetensors file. The package validates the header; the arrays are decoded here,
    because its NumPy reader does not support bfloat16.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        DataFileError: the file is damaged, is not a safetensors file, or has a dtype other than NumPy's real ones and
            the three above.
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
    arrays = {}
    while tensors:  # pop, to free each tensor before the next is decoded
        name, tensor = tensors.pop()
        try:
            arrays[name] = _numbers(tensor["dtype"], tensor["data"]).reshape(tensor["shape"])
        except KeyError as error:
            known = ", ".join((*PLAIN, *NARROW))
            raise DataFileError(
                f"'{path}': the dtype of {name!r} must be one of {known}, got {error.args[0]}"
            ) from None
    return dict(sorted(arrays.items())), metadata


def _content(place: Path) -> bytes:
    with place.open("rb") as file:  # path errors are left to Python
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataFileError(f"'{place}' is not a regular file")
        return file.read()


_PICKLE = (
    "looks like a file of torch.save: a pickle, which could run code and is not read. If it holds a state dict, "
    "convert it once, in a Python environment with PyTorch:"
)


def _is_pickle(place: Path, content: bytes) -> bool:
    """Whether an unreadable file is a PyTorch pickle, judged by its suffix or first bytes."""
    zipped = content[:2] == b"PK" and b"data.pkl" in content[:512]
    return place.suffix in (".pt", ".pth", ".bin") or zipped or content[:1] == b"\x80"


def _conversion(place: Path) -> str:
    """Python code that converts the file to safetensors; the package requires contiguous tensors that do not share
    memory."""
    state = f"torch.load(open({str(place)!r}, 'rb'), map_location='cpu', weights_only=True)"
    tensors = f"{{name: tensor.contiguous().clone() for name, tensor in {state}.items()}}"
    return f"import torch, safetensors.torch as s; s.save_file({tensors}, {str(place.with_suffix('.safetensors'))!r})"


def _numbers(dtype: str, content: bytes) -> Host:
    """Decode the bytes of a tensor. Raises KeyError for an unsupported dtype."""
    return NARROW[dtype](content) if dtype in NARROW else numpy.frombuffer(content, PLAIN[dtype])
