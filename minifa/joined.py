"""The small parameters of a network as views of one array, which an optimizer updates in one operation.

An elementwise update gives the same bits for an array as for its parts. For small parameters most of its time is spent
in the calls, each of which is a launch on a GPU: a network with batch norm has dozens of small parameters.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Iterable
from typing import Any, NamedTuple

from .backend import Array, dtype, xp
from .layers.base import Layer

SMALL = 1 << 12  # numbers of a parameter: above, the arithmetic of an update takes longer than its calls


class Place(NamedTuple):
    """The place of a parameter in the joined array: ``view`` is the layer's array, start and stop are its indices."""

    view: Array
    start: int
    stop: int


class JoinedParameters:
    """Replaces the small parameters of some layers by views of one array. A parameter that is assigned later has an
    array of its own and is no longer joined.

    Args:
        layers: layers with names and initialised parameters.

    Attributes:
        whole: the array, (numbers of all small parameters,); None if there are none.
        places: the place of each parameter by its name, in the order of ``whole``.
    """

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        self.whole: Array | None = None
        self.places: dict[str, Place] = {}
        small = [
            (layer, key, array)
            for layer in layers
            for key, array in layer.parameters().items()
            if array.size <= SMALL and array.dtype == dtype() and array is getattr(layer, f"_{key}", None)
        ]
        if not small:
            return
        self.whole = xp.concatenate([array for _, _, array in small], axis=None)
        start = 0
        for layer, key, array in small:
            stop = start + array.size
            view = self.whole[start:stop].reshape(array.shape)
            setattr(layer, f"_{key}", view)
            self.places[f"{layer.name}.{key}"] = Place(view, start, stop)
            start = stop

    def __reduce__(self) -> Any:
        """Copied views are arrays of their own, so a copied network has no joined parameters."""
        return JoinedParameters, ()


class Run(NamedTuple):
    """Neighbouring joined parameters, by name: the places of their gradients in the list of all gradients, and the
    parts of the joined arrays that they make up together."""

    names: list[str]
    gradients: list[int]
    W: Array
    slots: list[Array]


class Plan:
    """Which parameters an optimizer updates together: runs of neighbours whose counts and settings are equal.

    Args:
        optimizer: its slots of these parameters become views of one array for each run and slot.
        joined: the network's joined parameters.
        form: of each gradient (layer, key, the layer's version, shape, dtype).
        alone: whether to update every parameter alone.

    Attributes:
        runs: the runs.
        rest: of each other gradient its place in ``form``, and the name of the parameter.
    """

    def __init__(self, optimizer: Any, joined: JoinedParameters, form: list[tuple[Any, ...]], alone: bool) -> None:
        self.of = joined, optimizer.arrays, optimizer.counts
        self.form, self.options = form, self._options(optimizer, alone)
        self.names: set[str] = set()
        self.rest: list[tuple[int, str]] = []
        runs: list[list[tuple[int, str, Place]]] = []
        expected = None
        for i, (layer, key, _, shape, dtype) in enumerate(form):
            name = f"{layer.name}.{key}"
            place = None if alone else joined.places.get(name)
            if place is None or getattr(layer, key) is not (W := place.view) or (shape, dtype) != (W.shape, W.dtype):
                self.rest.append((i, name))  # an update with another gradient raises an error, or converts it
                continue
            count, settings = optimizer.counts.setdefault(name, 0), optimizer.settings(name, W)
            if (place.start, count, settings) != expected:
                runs.append([])
            runs[-1].append((i, name, place))
            self.names.add(name)
            expected = place.stop, count, settings
        self.runs = [self._run(optimizer, joined, run) for run in runs]

    @staticmethod
    def _options(optimizer: Any, alone: bool) -> tuple[Any, ...]:
        return alone, optimizer.decay_bias, optimizer.lr_factors and dict(optimizer.lr_factors)

    @staticmethod
    def _run(optimizer: Any, joined: JoinedParameters, run: list[tuple[int, str, Place]]) -> Run:
        first, last = run[0][2].start, run[-1][2].stop
        owned = [optimizer.arrays.setdefault(name, optimizer.new_slots(place.view)) for _, name, place in run]
        slots = []
        for slot in optimizer.slots:
            whole = xp.concatenate([arrays[slot] for arrays in owned], axis=None)
            for arrays, (_, _, place) in zip(owned, run, strict=True):
                arrays[slot] = whole[place.start - first : place.stop - first].reshape(place.view.shape)
            slots.append(whole)
        assert joined.whole is not None
        return Run([name for _, name, _ in run], [i for i, _, _ in run], joined.whole[first:last], slots)

    def holds(self, optimizer: Any, joined: JoinedParameters, form: list[tuple[Any, ...]], alone: bool) -> bool:
        """Whether this is still the plan for gradients of this form."""
        ours, arrays, counts = self.of
        same = ours is joined and arrays is optimizer.arrays and counts is optimizer.counts
        return same and self.form == form and self.options == self._options(optimizer, alone)
