"""Counters of the transfers between host and device: the only state of the imitated device."""

from __future__ import annotations

from collections import Counter


class Counters:
    """d2h and h2d are totals since the last reset(); `operand` counts the host reads by operation."""

    def __init__(self) -> None:
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
