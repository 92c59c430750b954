"""The batches of an epoch in shuffled order, prefetched by a thread while the network trains on the previous batch.

Order and augmentation are drawn for (seed, epoch) and (seed, epoch, batch), so an epoch resumed at any batch yields the
same batches as an uninterrupted epoch.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable, Generator, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from ..parallel.threads import pool
from ..rng import generator
from ..validation import check_batch_size
from .augment import Augmentation
from .base import Examples

PREFETCH_FROM = 1 << 18  # bytes of a batch; for smaller ones the queue costs as much as making the batch
Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def count_batches(n: int, batch_size: int, drop_last: bool = False) -> int:
    """The number of batches in an epoch of ``n`` examples. Raises ValueError if ``drop_last`` leaves none.

    >>> from minifa.data.batches import count_batches
    >>> count_batches(10, 4), count_batches(10, 4, drop_last=True)
    (3, 2)
    """
    if drop_last and n < batch_size:
        raise ValueError(
            f"{n} examples in batches of {batch_size} leave no batch with drop_last=True: choose a smaller batch size, "
            "or drop_last=False"
        )
    return n // batch_size if drop_last else -(-n // batch_size)


class Batches:
    """The batches of one epoch, by index or as an iterator.

    Args:
        examples: the training examples.
        batch_size: examples per batch, at least 1; the last batch may be smaller.
        seed, epoch, key: identify the random streams.
        augmentation: applied to every x; None: no augmentation.
        dtype: dtype of every x; None: that of the examples.
        drop_last: whether a smaller last batch is left out.

    >>> from minifa.data.batches import Batches
    >>> batches = Batches(mf.data.load("xor").train, batch_size=3, seed=0, epoch=1)
    >>> len(batches), [len(y) for _, y in batches.prefetch()]
    (2, [3, 1])
    >>> [y.tolist() for _, y in batches.prefetch(first=1)] == [batches.make(1)[1].tolist()]
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
        dtype: npt.DTypeLike | None = None,
        drop_last: bool = False,
    ) -> None:
        self.examples, self.batch_size, self.augmentation = examples, check_batch_size(batch_size), augmentation
        self.seed, self.name = seed, f"{key}/{epoch}"
        self.dtype = np.dtype(examples.x.dtype if dtype is None else dtype)
        self.order = generator(seed, "order", key, epoch).permutation(len(examples))
        self.count = count_batches(len(examples), self.batch_size, drop_last)

    def __len__(self) -> int:
        return self.count

    def make(self, number: int) -> Batch:
        """(x, y) of the batch with this index (from 0), on the host; deterministic."""
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        x = self.examples.x[rows]
        if self.augmentation is not None:
            x = self.augmentation.augment(x, generator(self.seed, "augmentation", self.name, number))
        return x.astype(self.dtype, copy=False), self.examples.y[rows]

    def prefetch(self, first: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches from index ``first`` on. Large batches are prefetched by a thread; an exception in
        the thread is raised here. If the iteration stops early, close the iterator to end the thread.
        """
        numbers = range(first, len(self))
        large = self.examples.x[: self.batch_size].nbytes >= PREFETCH_FROM
        yield from _prefetched(self.make, numbers) if large else map(self.make, numbers)


def _prefetched(make: Callable[[int], Batch], numbers: range) -> Iterator[Batch]:
    queue: Queue[Batch | BaseException] = Queue(maxsize=1)
    closed = Event()

    def work() -> None:
        for number in numbers:
            if closed.is_set():
                return
            try:
                queue.put(make(number))
            except BaseException as error:  # re-raised in the consumer
                queue.put(error)
                return

    thread = Thread(target=pool.with_context(work), name="minifa batches", daemon=True)
    thread.start()
    try:
        for _ in numbers:
            batch = queue.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:  # also when training stops in mid-epoch
        closed.set()
        while thread.is_alive():
            try:
                queue.get(timeout=0.01)  # the thread may be blocked on a full queue
            except Empty:
                continue
