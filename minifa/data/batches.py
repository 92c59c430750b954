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


def epoch_batches(
    examples: Examples,
    batch_size: int,
    seed: int,
    epoch: int,
    key: str = "",
    augmentation: Augmentation | None = None,
    first: int = 0,
) -> Iterator[Batch]:
    """(x, y) of every batch, on the host.

    Args:
        examples: what there is to learn from.
        batch_size: examples in each; the last may be smaller.
        seed, epoch, key: name the draws.
        augmentation: done to every x; None: nothing.
        first: number of the batch to begin with.

    >>> from minifa.data.batches import epoch_batches
    >>> examples = mf.data.load("xor").train
    >>> whole = [y.tolist() for _, y in epoch_batches(examples, 1, seed=0, epoch=1)]
    >>> whole[2:] == [y.tolist() for _, y in epoch_batches(examples, 1, seed=0, epoch=1, first=2)]
    True
    """
    order = generator(seed, "order", key, epoch).permutation(len(examples))
    numbers = range(first, -(-len(examples) // batch_size))

    def make(number: int) -> Batch:
        rows = order[number * batch_size : (number + 1) * batch_size]
        x = examples.x[rows]
        if augmentation is not None:
            x = augmentation.drawn(x, generator(seed, "augmentation", f"{key}/{epoch}", number))
        return x, examples.y[rows]

    if examples.x[:batch_size].nbytes < WORTH_A_THREAD:
        return map(make, numbers)
    return _ahead(make, numbers)


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
