"""The arrays and numbers of a page: every distinct array once, exactly, in base64.

In the page's list "arrays" an array is [shape, kind, bytes], the bytes little-endian in base64:

    "f4", "f8"      floats
    "u2"            unsigned integers below 65,536
    "u1f4", "u1f8"  with a fourth item, a table of at most 256 distinct floats of kind f4 or f8, also in base64: each
                    byte is an index into the table
"""

from __future__ import annotations

__all__: list[str] = []

import base64
import math
from typing import Any

import numpy
import numpy.typing as npt

MOST_BYTES = 25_000_000  # maximum size of a page, so that browsers open it quickly and it fits into an e-mail

Json = dict[str, Any]


MOST_DISTINCT = 256  # values of an array that is stored as codes of one byte

Key = tuple[tuple[int, ...], str, bytes, bytes]  # shape, kind, bytes, table


class ArrayTable:
    """Table of all distinct arrays; the rest of the page refers to an array by its index."""

    def __init__(self) -> None:
        self.indices: dict[Key, int] = {}
        self.bytes = 0

    def index(self, array: npt.NDArray[Any]) -> int:
        """The index of an array, which is added if it is new. Floats are stored exactly; integers (labels) become
        float64, which represents them exactly."""
        kind = _float_kind(array)
        return self._add((array.shape, kind, array.astype(f"<{kind}").tobytes(), b""))

    def index_coded(self, array: npt.NDArray[Any]) -> int:
        """As `index`, for an array with at most 256 distinct values: each takes one byte. Values are told apart by
        their bits. Raises ValueError for more of them."""
        kind = _float_kind(array)
        bits, codes = numpy.unique(array.astype(f"<{kind}").view(f"<u{kind[1]}"), return_inverse=True)
        if len(bits) > MOST_DISTINCT:
            raise ValueError(f"an array stored as codes must have at most {MOST_DISTINCT} values, got {len(bits)}")
        return self._add((array.shape, f"u1{kind}", codes.astype("u1").tobytes(), bits.tobytes()))

    def index_integers(self, array: npt.NDArray[Any]) -> int:
        """As `index`, for integers from 0 to 65,535, which take two bytes. Raises ValueError for others."""
        if array.size and not 0 <= array.min() <= array.max() < 1 << 16:
            raise ValueError(f"integers of two bytes must lie in 0..65535, got {array.min()}..{array.max()}")
        return self._add((array.shape, "u2", array.astype("<u2").tobytes(), b""))

    def _add(self, key: Key) -> int:
        if key not in self.indices:
            self.indices[key] = len(self.indices)
            self.bytes += 4 * (len(key[2]) + len(key[3])) // 3
            check_size(self.bytes)
        return self.indices[key]

    def packed(self) -> list[Any]:
        """The list of all arrays, see the module."""
        return [
            [shape, kind, *(base64.b64encode(part).decode("ascii") for part in ((bits, table) if table else (bits,)))]
            for shape, kind, bits, table in self.indices
        ]


def _float_kind(array: npt.NDArray[Any]) -> str:
    return "f4" if array.dtype == numpy.float32 else "f8"


def check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(
            f"the page would be larger than {MOST_BYTES / 1e6:.0f} MB: use a smaller network (--hidden, --depth), "
            "a smaller --batch-size or fewer --rules"
        )


def number(value: Any) -> float | str | None:
    """Convert a number for JSON, which does not support nan and inf: those become str."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else str(number)
