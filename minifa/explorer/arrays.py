"""The arrays and numbers of a page: every distinct array once, exactly, in base64."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "ArrayTable", "Json", "check_size", "number"]

import base64
import math
from typing import Any

import numpy
import numpy.typing as npt

MOST_BYTES = 25_000_000  # maximum size of a page, so that browsers open it quickly and it fits into an e-mail

Json = dict[str, Any]


class ArrayTable:
    """Table of all distinct arrays; the rest of the page refers to an array by its index."""

    def __init__(self) -> None:
        self.indices: dict[tuple[tuple[int, ...], str, bytes], int] = {}
        self.bytes = 0

    def index(self, array: npt.NDArray[Any]) -> int:
        """The index of an array, which is added if it is new. Floats are stored exactly; integers (labels) become
        float64, which represents them exactly."""
        kind = "f4" if array.dtype == numpy.float32 else "f8"
        key = array.shape, kind, array.astype(f"<{kind}").tobytes()
        if key not in self.indices:
            self.indices[key] = len(self.indices)
            self.bytes += 4 * len(key[2]) // 3
            check_size(self.bytes)
        return self.indices[key]

    def packed(self) -> list[Any]:
        """A list [shape, "f4" or "f8", little-endian bytes in base64] for each array."""
        return [[shape, kind, base64.b64encode(bits).decode("ascii")] for shape, kind, bits in self.indices]


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
