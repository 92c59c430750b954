"""Dense feedback: the error of each later layer reaches each earlier layer, with a separate matrix for each pair.

    delta_l = sum over later weighted layers k of delta_k @ B_lk.T      B_lk (units of l, units of k), drawn once

delta_k is the error at the output of layer k; delta_l is applied where direct rules teach and is then carried through
the activation. With only the output layer's matrix this is direct feedback alignment. Of two parallel branches, neither
is later than the other. Source unverified.
"""

from __future__ import annotations

__all__ = ["Dense"]

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

from .. import backend
from ..backend import Array, xp
from ..layers.base import Layer
from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul
from ..rng import generator, uniform
from .base import Rule
from .direct import PLACES, count_units, direct_sd
from .taught_layers import taught_layers


class Dense(Rule):
    """Dense feedback: each later layer teaches each earlier one. Matrices are keyed ``"lower<-upper"``.

    Args:
        seed: keys all random draws; each matrix is drawn as for `DFA`, uniform with standard deviation
            1 / sqrt(3 units of the lower layer).

    Raises:
        ValueError: at `attach`, maps of unknown size, or matrices that exceed the free memory (the message gives their
            bytes).

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 4), mf.Tanh(), mf.Linear(4, 2)])
    >>> {name: B.shape for name, B in sorted(mf.rules.Dense().attach(net).B.items())}
    {'tanh1<-linear2': (5, 4), 'tanh1<-linear3': (5, 2), 'tanh2<-linear3': (4, 2)}
    """

    name = "dense"
    title = "dense feedback"
    equation = "delta_l = sum_k delta_k B_lk^T, later k"
    paper = "source unverified"
    needs = "a fixed path from every later layer to every earlier one"
    crosses_weights = False

    def draw(self, net: Network) -> None:
        taught = taught_layers(net.layers, net.output_layer, PLACES["activation"])
        self.later: dict[str, list[str]] = {}
        _find_later(net.layers, {layer.name for layer in taught}, [], self.later)
        sizes = {layer.name: count_units(layer) for layer in [*taught, *net.weighted]}
        pairs = {
            f"{lower}<-{upper}": (sizes[lower], sizes[upper]) for lower in self.later for upper in self.later[lower]
        }
        self.memory = draw_matrices(pairs, self.seed, net.dtype)
        self._B.update(self.memory)
        self.errors: dict[str, Array] = {}  # by weighted layer: the error at its output, as rows

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.later

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer.name in self.later:
            uppers = self.later[layer.name]
            parts = (matmul(self.errors[upper], self.memory[f"{layer.name}<-{upper}"].T) for upper in uppers)
            delta = functools.reduce(operator.iadd, parts).reshape(-1, *(layer.output_shape or ()))
        if isinstance(layer, Weighted) and delta is not None:
            self.errors[layer.name] = delta.reshape(len(delta), -1)
        return delta

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        uppers = self.later[layer.name]
        names = {f"delta_{i}": f"{upper}.delta" for i, upper in enumerate(uppers, 1)}
        names.update({f"B_{i}": f"{layer.name}<-{upper}.B" for i, upper in enumerate(uppers, 1)})
        return "delta = " + " + ".join(f"delta_{i} @ B_{i}.T" for i in range(1, len(uppers) + 1)), names

    def feedback(self, layer: Weighted) -> None:
        return None

    def feedback_size(self, layer: Layer) -> int:
        return sum(array.size for key, array in self.memory.items() if key.startswith(f"{layer.name}<-"))


def draw_matrices(shapes: dict[str, tuple[int, int]], seed: int, dtype: Any) -> dict[str, Array]:
    """Draw the matrices of these shapes, by name. Raises ValueError if they take more memory than is free."""
    size = sum(map(math.prod, shapes.values())) * dtype.itemsize
    if size > backend.free_bytes():
        raise ValueError(
            f"dense feedback between all layers of this network would take {size:,} bytes, more than is free: "
            "use a smaller network, or the rule 'dfa'"
        )
    matrices = {}
    for key, shape in shapes.items():
        drawn = uniform(generator(seed, "feedback", key), shape, direct_sd(shape[0]))
        matrices[key] = xp.asarray(drawn.astype(dtype))
    return matrices


def _find_later(layers: Sequence[Layer], taught: set[str], after: list[str], later: dict[str, list[str]]) -> list[str]:
    """Enter into ``later``, for each taught layer, the names of the weighted layers after it. Returns those of the
    weighted layers of this chain, followed by ``after``."""
    for layer in reversed(layers):
        if layer.name in taught:
            later[layer.name] = list(after)
        inside = [layer.name] if isinstance(layer, Weighted) else []
        for _, inner in layer.children():
            branch = _find_later(inner, taught, after, later)
            inside += branch[: len(branch) - len(after)]
        after = inside + after
    return after
