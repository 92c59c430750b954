"""Which part of its large arrays a page keeps, so that it stays small: what is kept is exact.

Feature maps        the first examples of the batch
matrices, kernels   a block: the first rows and columns, or input and output channels; of kernels that differ between
                    positions those of the first position

The block has at most as many entries as fit into the budget when all larger arrays are cut to the same number. Small
networks are kept whole.
"""

from __future__ import annotations

__all__: list[str] = []

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import numpy.typing as npt

from ..tracing.recorder import Moment, Trace

FILM_BYTES, RUN_BYTES = 1_400_000, 1_600_000  # budgets of the films and of the runs of a page
BYTES_OF_ENTRY = 16 / 3  # of four bytes in base64
KEPT_EXAMPLES = 2
LEAST = 64  # entries that are kept of every array


@dataclass(frozen=True)
class Excerpt:
    """Cuts arrays. By default everything is kept.

    Attributes:
        most: number of entries that are kept of an array.
        maps: shapes (N, H, W, C) of feature maps.
        examples: number of examples that are kept of a feature map.
    """

    most: int = sys.maxsize
    maps: frozenset[tuple[int, ...]] = frozenset()
    examples: int = sys.maxsize

    def is_map(self, array: npt.NDArray[Any]) -> bool:
        """Whether it holds the feature maps of a batch."""
        return array.shape in self.maps

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of the array that is kept; the array itself if that is all of it."""
        if self.is_map(array):
            return array[: self.examples]
        return array[block(array.shape, self.most)] if array.size > self.most else array


def block(shape: Sequence[int], most: int) -> tuple[slice, ...]:
    """The slices of the first entries of an array, at most ``most`` of them (at least 1): about as many rows as
    columns, which are the last two axes, of all elements of a kernel.

    >>> from minifa.explorer.excerpts import block
    >>> [part.stop for part in block((1024, 10), 1000)], [part.stop for part in block((3, 3, 64, 64), 1000)]
    ([100, 10], [3, 3, 11, 10])
    """
    if len(shape) < 2 or math.prod(shape) <= most:
        return tuple(slice(min(size, most)) for size in shape)
    *outer, rows, columns = shape
    outer[:-2] = [1] * len(outer[:-2])  # the first position of kernels that differ between positions
    while math.prod(outer) > most:
        first = next(i for i, size in enumerate(outer) if size > 1)
        outer[first] = 1
    left = max(1, most // math.prod(outer))
    wide = min(columns, math.isqrt(left))
    high = min(rows, left // wide)
    return tuple(map(slice, (*outer, high, min(columns, left // high))))


def largest_cut(sizes: Iterable[int], entries: float) -> int:
    """The largest number to which all larger sizes can be cut so that their sum is at most ``entries``; at least
    `LEAST`.

    >>> from minifa.explorer.excerpts import largest_cut
    >>> largest_cut([100, 1000, 2000], 1100), largest_cut([100, 1000], 2000)
    (500, 9223372036854775807)
    """
    ordered = sorted(sizes)
    for i, size in enumerate(ordered):
        share = entries / (len(ordered) - i)
        if size > share:
            return max(LEAST, int(share))
        entries -= size
    return sys.maxsize


def of_films(traces: Sequence[Trace]) -> Excerpt:
    """What a page keeps of the arrays of these traces, which are of the same batch."""
    batch = len(traces[0][0].terms["x"])
    shapes = [shape for _, _, shape in traces[0].net_layers if shape is not None]
    maps = frozenset((batch, *shape) for shape in [traces[0][0].terms["x"].shape[1:], *shapes] if len(shape) == 3)
    distinct = {_key(array): array.shape for trace in traces for moment in trace for array in _arrays(moment)}
    one_example = sum(math.prod(shape[1:]) for shape in distinct.values() if shape in maps)
    entries = FILM_BYTES / BYTES_OF_ENTRY
    examples = next((kept for kept in (batch, KEPT_EXAMPLES) if kept * one_example <= entries / 2), 1)
    others = [math.prod(shape) for shape in distinct.values() if shape not in maps]
    return Excerpt(largest_cut(others, max(entries / 2, entries - examples * one_example)), maps, examples)


def of_runs(traces: Sequence[Trace], snapshots: int) -> Excerpt:
    """What a page keeps of W and B in so many snapshots of a training run under the rule of each trace."""
    sizes = [
        array.size
        for trace in traces
        for name, array in trace[-1].arrays.items()
        if array is not None and name.endswith((".W", ".B"))
    ]
    return Excerpt(largest_cut(sizes, RUN_BYTES / BYTES_OF_ENTRY / snapshots))


def _arrays(moment: Moment) -> Iterable[npt.NDArray[Any]]:
    new: Mapping[str, Any] = {name: moment.arrays[name] for name in moment.new}
    return [numpy.asarray(one) for one in [*new.values(), *moment.terms.values()] if numpy.shape(one)]


def _key(array: npt.NDArray[Any]) -> tuple[Any, ...]:
    return array.shape, hash(array.tobytes())
