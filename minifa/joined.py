"""The small parameters of a network as views of one array, which an optimizer updates in one operation.

An elementwise update gives the same bits for an array as for its parts. For small parameters most of its time is spent
in the calls, each of which is a launch on a GPU: a network with batch norm has dozens of small parameters.

A parameter is joined if the layer holds the view that was made for it when the network was created. After an assignment
or `Layer.initialise` it has an array of its own and is updated alone: correct, but slower. So are all parameters of a
network that was copied with `copy.deepcopy`, and those of user-defined layers, which may know their arrays under other
names, too.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .backend import Array, dtype, xp
from .extension_checks import in_minifa
from .layers.base import Layer

SMALL = 1 << 12  # numbers of a parameter: above, the arithmetic of an update takes longer than its calls
Update = tuple[str, Array, Any]  # name of a parameter, its array, and its gradient: an array, or a number


def updates_of(layers: Iterable[Layer]) -> list[Update]:
    """The updates of these layers. Raises AttributeError if a key of ``grads`` is no attribute of its layer."""
    return [
        (f"{layer.name}.{key}", getattr(layer, key), gradient)
        for layer in layers
        for key, gradient in layer.grads.items()
        if gradient is not None
    ]


class Place(NamedTuple):
    """The place of a parameter in the joined array: ``view`` is the layer's array, start and stop are its indices."""

    view: Array
    start: int
    stop: int


class JoinedParameters:
    """Replaces the small parameters of some layers by views of one array.

    Args:
        layers: layers with names and initialised parameters. User-defined layers keep their arrays.

    Attributes:
        whole: the array, (numbers of all small parameters,); None if there are none.
        places: the place of each parameter by its name, in the order of ``whole``.
    """

    def __init__(self, layers: Iterable[Layer] = ()) -> None:
        self.whole: Array | None = None
        self.places: dict[str, Place] = {}
        small: list[tuple[Layer, str, Array]] = [
            (layer, key, array)
            for layer in layers
            if in_minifa(type(layer))
            for key, array in layer.parameters().items()
            if array.size <= SMALL and array.dtype == dtype() and getattr(layer, f"_{key}", None) is array
        ]
        if not small:
            return
        self.whole = whole = xp.concatenate([array for _, _, array in small], axis=None)
        start = 0
        for layer, key, array in small:
            stop = start + array.size
            view = whole[start:stop].reshape(array.shape)
            setattr(layer, f"_{key}", view)
            self.places[f"{layer.name}.{key}"] = Place(view, start, stop)
            start = stop

    def __reduce__(self) -> Any:
        """Copied views are arrays of their own, so a copied network has no joined parameters."""
        return JoinedParameters, ()


class Run(NamedTuple):
    """Neighbouring joined parameters: their names, the indices of their updates, the part of the joined array that they
    make up, and their slots, joined likewise."""

    names: list[str]
    indices: list[int]
    W: Array
    slots: list[Array]


def facts_of(optimizer: Any, updates: list[Update], together: bool) -> tuple[Any, ...]:
    """What a plan depends on, besides the numbers in arrays and the counts. The joined views and the optimizer's
    dictionaries count by their id, which no later object has: the plan keeps them."""
    forms = [
        (name, id(W), type(gradient), getattr(gradient, "shape", None), getattr(gradient, "dtype", None))
        for name, W, gradient in updates
    ]
    factors = optimizer.lr_factors and dict(optimizer.lr_factors)
    return forms, together, optimizer.decay_bias, factors, id(optimizer.arrays), id(optimizer.counts)


class Plan:
    """Which parameters an optimizer updates together: runs of neighbours with equal counts and settings.

    Args:
        optimizer: its slots of these parameters become views of one array for each run and slot.
        joined: the joined parameters of the network.
        updates: the parameters that have a gradient.
        together: False: every parameter is updated alone.
        settings: of a parameter by its name and array, whatever they are: those of a run are equal.

    Attributes:
        facts: of `facts_of`, when the plan was made: while they are the same, it is the plan of the same network.
        runs: what is updated together.
        rest: the indices of all other updates.
    """

    def __init__(
        self,
        optimizer: Any,
        joined: JoinedParameters,
        updates: list[Update],
        together: bool,
        settings: Callable[[str, Array], Any],
    ) -> None:
        self.arrays, self.counts, self.places = optimizer.arrays, optimizer.counts, joined.places
        self.facts = facts_of(optimizer, updates, together)
        self.rest: list[int] = []
        runs: list[list[tuple[int, str, Place]]] = []
        expected = None
        for i, (name, W, gradient) in enumerate(updates):
            place = self.places.get(name) if together else None
            if place is None or place.view is not W or not _is_like(gradient, W):
                self.rest.append(i)
                continue
            group = self.counts.setdefault(name, 0), settings(name, W)
            if (place.start, group) != expected:
                runs.append([])
            runs[-1].append((i, name, place))
            expected = place.stop, group
        self.runs = [_joined_run(optimizer, joined.whole, run) for run in runs]
        self.names = {name for run in self.runs for name in run.names}

    def __reduce__(self) -> Any:
        """As for `JoinedParameters`: a copied optimizer has no plan."""
        return type(None), ()


def _is_like(gradient: Any, W: Array) -> bool:
    return type(gradient) is xp.ndarray and gradient.shape == W.shape and gradient.dtype == W.dtype


def _joined_run(optimizer: Any, whole: Array, run: list[tuple[int, str, Place]]) -> Run:
    indices, names, places = zip(*run, strict=True)
    first = places[0].start
    for name, place in zip(names, places, strict=True):
        if name not in optimizer.arrays:
            optimizer.arrays[name] = optimizer.new_slots(place.view)
    owned = [optimizer.arrays[name] for name in names]
    slots = []
    for slot in optimizer.slots:
        joined = xp.concatenate([arrays[slot] for arrays in owned], axis=None)
        for arrays, (view, start, stop) in zip(owned, places, strict=True):
            arrays[slot] = joined[start - first : stop - first].reshape(view.shape)
        slots.append(joined)
    return Run(list(names), list(indices), whole[first : places[-1].stop], slots)
