"""Dense feedback: the error of each later layer reaches each earlier layer, with a separate matrix for each pair.

    delta_l = sum over later weighted layers k of delta_k @ B_lk.T      B_lk (units of l, units of k), drawn once

delta_k is the error at the output of layer k; delta_l is applied where direct rules teach and is then carried through
the activation. With only the output layer's matrix this is direct feedback alignment. Of two parallel branches, neither
is later than the other. Source unverified.
"""

from __future__ import annotations

__all__ = ["Dense"]

from collections.abc import Sequence

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

    >>> layers = [mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 4), mf.Tanh(), mf.Linear(4, 2)]
    >>> net = mf.Network(layers)
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
        self.later: dict[str, list[Weighted]] = {}
        _find_later(net.layers, {layer.name for layer in taught}, [], self.later)
        sizes = {layer.name: count_units(layer) for layer in [*taught, *net.weighted]}
        entries = sum(sizes[lower] * sizes[upper.name] for lower, uppers in self.later.items() for upper in uppers)
        if entries * net.dtype.itemsize > backend.free_bytes():
            raise ValueError(
                f"dense feedback between all layers of this network would take {entries * net.dtype.itemsize:,} bytes, "
                "more than is free: use a smaller network, or the rule 'dfa'"
            )
        for lower, uppers in self.later.items():
            for upper in uppers:
                key = f"{lower}<-{upper.name}"
                shape = sizes[lower], sizes[upper.name]
                drawn = uniform(generator(self.seed, "feedback", key), shape, direct_sd(shape[0]))
                self.memory[key] = xp.asarray(drawn.astype(net.dtype))
        self._B.update(self.memory)
        self.received: dict[str, Array] = {}

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.later

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer.name in self.later:
            delta = self._gather(layer)
        if isinstance(layer, Weighted) and delta is not None:
            self.received[layer.name] = delta.reshape(len(delta), -1)
        return delta

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        uppers = [upper.name for upper in self.later[layer.name]]
        names = {f"delta_{i}": f"{upper}.delta" for i, upper in enumerate(uppers, 1)}
        names.update({f"B_{i}": f"{layer.name}<-{upper}.B" for i, upper in enumerate(uppers, 1)})
        return "delta = " + " + ".join(f"delta_{i} @ B_{i}.T" for i in range(1, len(uppers) + 1)), names

    def _gather(self, layer: Layer) -> Array:
        """Sum of the errors of all later layers, each carried by its matrix, in forward order."""
        uppers = [upper.name for upper in self.later[layer.name]]
        parts = [matmul(self.received[upper], self.memory[f"{layer.name}<-{upper}"].T) for upper in uppers]
        total = parts[0]
        for part in parts[1:]:
            total += part
        return total.reshape(-1, *(layer.output_shape or ()))

    def feedback(self, layer: Weighted) -> None:
        return None

    def feedback_size(self, layer: Layer) -> int:
        return sum(array.size for key, array in self.memory.items() if key.startswith(f"{layer.name}<-"))


def _find_later(
    layers: Sequence[Layer], taught: set[str], after: list[Weighted], found: dict[str, list[Weighted]]
) -> list[Weighted]:
    """Enter into ``found``, for each taught layer, the weighted layers after it. Returns the weighted layers of this
    chain, followed by ``after``."""
    for layer in reversed(layers):
        if layer.name in taught:
            found[layer.name] = list(after)
        inside = [layer] if isinstance(layer, Weighted) else []
        for _, inner in layer.children():
            branch = _find_later(inner, taught, after, found)
            inside += branch[: len(branch) - len(after)]
        after = inside + after
    return after
