"""The batches of an epoch, in its order, the next one being made while the network trains on the last.

Order and augmentation are drawn for (seed, epoch) and (seed, epoch, batch): from whichever batch one begins, the
batches are those of an epoch that began at the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import Any

from ..streams import generator
from .augment import Augmentation
from .base import Examples

WORTH_A_THREAD = 1 << 18  # bytes of a batch; below, handing it over takes as long as making it
Batch = tuple[Any, Any]


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Batches:
    """The batches of one epoch, (x, y) on the host.

    Args:
        examples: what there is to learn from.
        batch_size: examples in each; the last may be smaller.
        seed, epoch, key: name the draws.
        augmentation: done to every x; None: nothing.

    >>> from minifa.data.batches import Batches
    >>> batches = Batches(mf.data.load("xor").train, batch_size=1, seed=0, epoch=1)
    >>> whole = [y.tolist() for _, y in batches.ahead()]
    >>> [y.tolist() for _, y in batches.ahead(first=2)] == whole[2:]
    True
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int,
        epoch: int,
        key: str = "",
        augmentation: Augmentation | None = None,
    ) -> None:
        self.examples, self.batch_size, self.augmentation = examples, batch_size, augmentation
        self.seed, self.epoch, self.key = seed, epoch, key
        self.order = generator(seed, "order", key, epoch).permutation(len(examples))

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def make(self, number: int) -> Batch:
        """The batch of that number, the same however often it is made."""
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        x = self.examples.x[rows]
        if self.augmentation is not None:
            x = self.augmentation.drawn(x, generator(self.seed, "augmentation", f"{self.key}/{self.epoch}", number))
        return x, self.examples.y[rows]

    def ahead(self, first: int = 0) -> Iterator[Batch]:
        """The batches from the ``first`` on, where it pays each made while the one before is in use."""
        numbers = range(first, len(self))
        if self.examples.x[: self.batch_size].nbytes < WORTH_A_THREAD:
            return map(self.make, numbers)
        return _ahead(self.make, numbers)


def _ahead(make: Any, numbers: range) -> Iterator[Batch]:
    """What ``make`` gives for each number, made one ahead by a thread; its error comes out here."""
    made: Queue[Any] = Queue(maxsize=1)
    wanted = True

    def work() -> None:
        try:
            for number in numbers:
                made.put(make(number))
                if not wanted:
                    return
        except BaseException as error:  # told where the batch was asked for
            made.put(_Failed(error))

    thread = Thread(target=work, name="minifa batches", daemon=True)
    thread.start()
    try:
        for _ in numbers:
            batch = made.get()
            if isinstance(batch, _Failed):
                raise batch.error
            yield batch
    finally:  # also where whoever trains has stopped in mid-epoch
        wanted = False
        while thread.is_alive():
            if not made.empty():
                made.get()
            thread.join(0.01)
