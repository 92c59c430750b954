"""Counters of the transfers between host and device, and a log of calls: the only state of the imitated device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

Log = Callable[[str, Any, Any, bool], None]


class Counters:
    """d2h and h2d are totals since the last reset(); `operand` counts the host reads by operation.

    log(name, arguments, result, written) is called for every ufunc, function, method and operator on device arrays,
    with NumPy arrays; written: the result is not a view, although it may share memory with an argument. None: no log.
    """

    def __init__(self) -> None:
        self.log: Log | None = None
        self.reads_are_errors = False
        self.float64_is_an_error = False
        self.reset()

    def reset(self) -> None:
        self.h2d = 0
        self.operand: Counter[str] = Counter()

    @property
    def d2h(self) -> int:
        return sum(self.operand.values())

    def read(self, operation: str) -> None:
        if self.reads_are_errors:
            raise AssertionError(f"the host read a device array: {operation}")
        self.operand[operation] += 1


counters = Counters()
