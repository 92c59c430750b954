"""Synthetic gradients: a linear module at each hidden layer predicts the error that will arrive there.

    p     = h @ A + t @ C + c             the predicted error of each example, from the activity h and the target t
    delta = p / n                         what the layers below learn from, without waiting for the layers above
    dA    = h.T @ (p - n delta_in) / n    delta_in: the error that arrives, carried down by W through one layer
    dC    = t.T @ (p - n delta_in) / n    the module's loss is half the squared error, averaged over the n examples
    dc    = mean(p - n delta_in)
    static     A, C, c are fixed, and no error is carried through any weight

Jaderberg et al. 2017, "Decoupled neural interfaces using synthetic gradients"; static modules: Neven, Verhelst,
Tuytelaars & Goedemé 2020, "Feed-forward on-edge fine-tuning using static synthetic gradient modules". The error that
arrives at a module comes from the predicted error of the layer above; only the highest module receives the true one.
The choices here: modules start at zero, so that hidden layers do not learn in the first step, and the error needs one
step for each layer on its way down; A, C and c are updated with the weights, by the same optimizer; a module reads maps
as one row, so that its A has units^2 entries.

Known equalities, for given weights: in a deep linear network with half the squared error, A = P P.T and C = -P.T with
P = W_{l+1} ... W_L make the rule backpropagation; drtp is a static module with A = 0, c = 0, C = F.T.
"""

from __future__ import annotations

__all__ = ["Synthetic"]

from typing import Any

from .. import backend
from ..backend import Array, xp
from ..initialisers import Initialiser, find
from ..layers.base import Layer, Listen, Pass
from ..layers.weighted import Weighted
from ..network import Network
from ..parallel.chunks import matmul, sum_rows
from ..rng import generator
from ..validation import check_bool, check_choice
from .base import Rule
from .direct import PLACES, count_units
from .taught_layers import taught_layers


class LinearModules(Rule):
    """The base class of `Synthetic`: the modules, their predictions, and the gradients from which they learn.

    Attributes:
        heard: the activities h of the last pass, (N, ...), by the name of the layer that has a module.
        misses: p - n delta_in of the last pass, (N, units), of the modules that learn.
    """

    condition: bool
    static: bool
    at: str
    init: Initialiser

    def draw(self, net: Network) -> None:
        places = taught_layers(net.layers, net.output_layer, PLACES[self.at])
        units = {layer.name: count_units(layer) for layer in places}
        n_out = count_units(net.layers[-1]) if self.condition else 0
        self.memory = draw_modules(units, n_out, self.init, self.seed, net.dtype)
        self._B.update({key: array for key, array in self.memory.items() if array.ndim == 2})
        self.heard: dict[str, Array] = {}
        self.misses: dict[str, Array] = {}

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen({layer.name for layer in net if self.teaches(layer)}, True, net.step, update_statistics)
        self.heard, self.misses = listen.outputs, {}
        return listen

    def teaches(self, layer: Layer) -> bool:
        return f"{layer.name}/A" in self.memory

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if not self.teaches(layer):
            return delta
        name, h = layer.name, self.heard[layer.name]
        p, n = self.predicted(name), len(h)
        if delta is not None and not self.static:
            miss = self.misses[name] = p - n * delta.reshape(p.shape)
            self.local[name] = {"loss": (miss * miss).sum() / (2 * n), "accuracy": None}
        return (p * (1 / n)).reshape(h.shape)

    def predicted(self, name: str) -> Array:
        """p, (N, units), of the module of this layer."""
        h = self.heard[name]
        p = matmul(h.reshape(len(h), -1), self.memory[f"{name}/A"]) + self.memory[f"{name}/c"]
        if self.condition:
            p += matmul(self.require(self.target), self.memory[f"{name}/C"])
        return p

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        gradients: dict[str, Array] = {}
        for name, miss in self.misses.items():
            n = len(miss)
            gradients[f"{name}/A"] = matmul(self.heard[name].reshape(n, -1).T, miss) * (1 / n)
            if self.condition:
                gradients[f"{name}/C"] = matmul(self.require(self.target).T, miss) * (1 / n)
            gradients[f"{name}/c"] = sum_rows(miss) * (1 / n)
        return {key: (self.memory[key], gradient) for key, gradient in gradients.items()}


class Synthetic(LinearModules):
    """Synthetic gradients, from modules that learn or from static ones.

    Args:
        seed: keys the random streams of A and C, unless they start at zero.
        condition: whether the modules read the target, through C.
        static: whether the modules stay as they are. `load_state` gives them those of a rule that has learned.
        at: where the modules are, as for `DFA`.
        init: initialiser of A and C or its name.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown option; at `attach`, maps of unknown size, modules that exceed the free memory (the
            message gives their bytes), or, if static, a layer that no error reaches.

    A module at zero misses the whole error, here W (0 - 1) = -2. Its loss is half the square:

    >>> net, one = mf.Network([mf.Linear(1, 1, init="zero"), mf.Tanh(), mf.Linear(1, 1)]), mf.asarray([[1.0]])
    >>> net["linear2"].W = [[2.0]]
    >>> rule = mf.rules.Synthetic().attach(net)
    >>> value = rule.gradients(net, one, one, mf.HalfSquaredError())
    >>> net["linear1"].grads["W"].tolist(), float(rule.local["tanh1"]["loss"])
    ([[0.0]], 2.0)
    >>> {name: gradient.tolist() for name, (_, gradient) in rule.parameters().items()}
    {'tanh1/A': [[0.0]], 'tanh1/C': [[2.0]], 'tanh1/c': [2.0]}
    """

    name = "synthetic"
    title = "synthetic gradients"
    equation = "delta = (h A + t C + c) / n, A, C, c learn"
    paper = "Jaderberg et al. 2017; static: Neven et al. 2020"
    needs = "the target at every layer (with condition), and weight transport through one layer to train the module"

    def __init__(
        self,
        seed: int = 0,
        condition: bool = True,
        static: bool = False,
        at: str = "stage",
        init: str | Initialiser = "zero",
    ) -> None:
        super().__init__(seed)
        self.condition, self.static = check_bool(condition, "condition"), check_bool(static, "static")
        self.at, self.init = check_choice(at, "at", tuple(PLACES)), find(init)
        self.crosses_weights = self.B_corresponds_to_W = self.feedback_learns = not self.static

    def feedback(self, layer: Weighted) -> Array | None:
        return None if self.static else layer.W

    def start_angle(self, layer: Weighted) -> float | None:
        return None if self.static else 0.0

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        return "B = W", super().feedback_equation(layer)[1]

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        maps = len(layer.output_shape or ()) > 1
        p = f"{'rows(h)' if maps else 'h'} @ A{' + t @ C' if self.condition else ''} + c"
        modules = {key.split("/")[1]: key.replace("/", ".") for key in self.memory if key.startswith(f"{layer.name}/")}
        return f"delta = ({p}) / n{' in the shape of y' if maps else ''}", {"h": f"{layer.name}.y", "t": "t", **modules}


def draw_modules(units: dict[str, int], n_out: int, init: Initialiser, seed: int, dtype: Any) -> dict[str, Array]:
    """A (units, units), C (n_out, units) and c (units,), which is zero, of each module, by ``"name/A"``; without C if
    n_out is 0. Raises ValueError if they take more memory than is free."""
    size = sum(u * (u + n_out + 1) for u in units.values()) * dtype.itemsize
    if size > backend.free_bytes():
        raise ValueError(
            f"the modules of synthetic gradients would take {size:,} bytes, more than is free, most of them at "
            f"{max(units, key=lambda name: units[name])!r}: use smaller layers, or pooling with at='stage'"
        )
    modules: dict[str, Array] = {}
    for name, u in units.items():
        for key, rows in {"A": u, "C": n_out}.items():
            if rows:
                drawn = init.draw(generator(seed, "feedback", f"{name}/{key}"), (rows, u), rows, u)
                modules[f"{name}/{key}"] = xp.asarray(drawn.astype(dtype))
        modules[f"{name}/c"] = xp.zeros(u, dtype)
    return modules
