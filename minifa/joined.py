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
        small: list[tuple[Layer, str, Array]] = [
            (layer, key, array)
            for layer in layers
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
    """Neighbouring joined parameters: their names, the indices of their gradients, the part of the joined array that
    they make up, and their slots, joined likewise."""

    names: list[str]
    indices: list[int]
    W: Array
    slots: list[Array]


class Plan:
    """Which parameters an optimizer updates together: runs of neighbours with equal counts and settings.

    Args:
        optimizer: its slots of these parameters become views of one array for each run and slot.
        net: the network.
        gradients: of ``net.trainable_arrays``; None: no update.
        together: False: every parameter is updated alone.

    Attributes:
        runs: what is updated together.
        rest: the index of the gradient and the name of every other parameter that is updated.
    """

    def __init__(self, optimizer: Any, net: Any, gradients: list[Array | None], together: bool) -> None:
        self.arrays, self.counts = optimizer.arrays, optimizer.counts
        self.layers = list(dict.fromkeys(layer for layer, _ in net.trainable_arrays))
        self.facts = self._facts(optimizer, gradients, together)
        self.rest: list[tuple[int, str]] = []
        runs: list[list[tuple[int, str, Place]]] = []
        expected = None
        for i, ((layer, key), gradient) in enumerate(zip(net.trainable_arrays, gradients, strict=True)):
            name, W = f"{layer.name}.{key}", getattr(layer, key)
            place = net.joined.places.get(name) if together else None
            if gradient is None:
                continue
            if place is None or place.view is not W or gradient.shape != W.shape or gradient.dtype != W.dtype:
                self.rest.append((i, name))
                continue
            settings = optimizer.counts.setdefault(name, 0), optimizer._settings(name, W)
            if (place.start, settings) != expected:
                runs.append([])
            runs[-1].append((i, name, place))
            expected = place.stop, settings
        self.runs = [_joined_run(optimizer, net.joined.whole, run) for run in runs]
        self.names = {name for run in self.runs for name in run.names}

    def __reduce__(self) -> Any:
        """As for `JoinedParameters`: a copied optimizer has no plan."""
        return type(None), ()

    def holds(self, optimizer: Any, gradients: list[Array | None], together: bool) -> bool:
        """Whether this is the plan for these gradients of the same network, too."""
        kept = self.arrays is optimizer.arrays and self.counts is optimizer.counts
        return kept and self.facts == self._facts(optimizer, gradients, together)

    def _facts(self, optimizer: Any, gradients: list[Array | None], together: bool) -> tuple[Any, ...]:
        """What the plan depends on, besides the optimizer's state."""
        forms = [None if gradient is None else (gradient.shape, gradient.dtype) for gradient in gradients]
        factors = optimizer.lr_factors and dict(optimizer.lr_factors)
        return [layer.version for layer in self.layers], forms, together, optimizer.decay_bias, factors


def _joined_run(optimizer: Any, whole: Array, run: list[tuple[int, str, Place]]) -> Run:
    indices, names, places = zip(*run, strict=True)
    first = places[0].start
    owned = [
        optimizer.arrays.setdefault(name, optimizer.new_slots(view))
        for name, (view, _, _) in zip(names, places, strict=True)
    ]
    slots = []
    for slot in optimizer.slots:
        joined = xp.concatenate([arrays[slot] for arrays in owned], axis=None)
        for arrays, (view, start, stop) in zip(owned, places, strict=True):
            arrays[slot] = joined[start - first : stop - first].reshape(view.shape)
        slots.append(joined)
    return Run(list(names), list(indices), whole[first : places[-1].stop], slots)
