"""Direct feedback: the error at the output is broadcast to each hidden layer through a separate matrix.

    dfa     delta at a taught layer = e @ F.T          F (units, n_out) drawn once; e = dL/da at the output layer
    sdfa    delta = (sign(e) / n) @ F.T
    drtp    delta = (t / n) @ F.T                      t the one-hot target: no error is fed back

Nokland 2016, "Direct feedback alignment provides learning in deep neural networks"; Frenkel, Lefebvre & Bol
2021, "Learning without feedback" (sdfa, drtp). The taught error replaces the error from above.
F ~ U[-1/sqrt(d), 1/sqrt(d)] with d the number of units of the taught layer, as in Nokland's code.

Where to teach (the option ``at``): with pooling, "stage" was better than "activation" in a network of six convolutions
(held-out accuracy 0.445 ± 0.093 against 0.272 ± 0.057, five seeds), in the same network with batch norm (0.94 against
0.86) and in LeNet on MNIST (0.946 against 0.944, one seed), each at its own best learning rate (``minifa tune --rules
dfa:at=stage,dfa:at=activation``), and its F is smaller.
"""

from __future__ import annotations

__all__ = ["DFA", "DRTP", "SignDFA"]

import math
from typing import Any

from ..backend import Array, quietly, xp
from ..layers.activations import Activation
from ..layers.base import Layer
from ..layers.pooling import GlobalAvgPool, Pool
from ..layers.weighted import Weighted
from ..losses import Loss
from ..network import Network
from ..parallel.chunks import matmul
from ..rng import gaussian, generator, uniform
from ..validation import check_bool, check_choice, check_positive
from . import direct_recompute
from .base import Rule
from .taught_layers import taught_layers

FAMILIES = {"uniform": uniform, "gaussian": gaussian}
PLACES: dict[str, tuple[type[Layer], ...]] = {"activation": (Activation,), "stage": (Pool, GlobalAvgPool)}


class Direct(Rule):
    """The base class of direct rules: a signal (N, n_out) teaches each taught layer through its F (units, n_out).

    Subclasses set `F` in `draw` and implement `signal`.
    """

    crosses_weights = False
    broadcast = "e"  # the signal in equations
    recompute = False

    def draw(self, net: Network) -> None:
        if self.recompute:
            direct_recompute.check(net)
        self.output_layer, self.output_error = net.output_layer, None
        self.F: dict[str, Array] = {}

    def signal(self) -> Array:
        """The broadcast signal, (N, n_out), including the 1/N of the batch mean."""
        return self.require(self.output_error)

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        if not self.recompute:
            return super().gradients(net, x, y, loss)
        return direct_recompute.gradients(self, net, x, self.check_batch(net, x, y, loss), loss)

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.F

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer is self.output_layer and delta is not None:
            self.output_error = delta.reshape(len(delta), -1)  # e = dL/da, also if layers follow the output layer
        if layer.name not in self.F:
            return delta
        return matmul(self.signal(), self.F[layer.name].T).reshape(-1, *(layer.output_shape or ()))

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        shape = " in the shape of y" if len(layer.output_shape or ()) > 1 else ""
        names = {"e": f"{self.output_layer.name}.delta", "t": "t", "F": f"{layer.name}.B"}
        return f"delta = {self.broadcast} @ F.T{shape}", names

    def feedback(self, layer: Weighted) -> None:
        return None

    def feedback_size(self, layer: Layer) -> int:
        """Number of entries of this layer's F; with ``shared``, other layers may use the same entries."""
        return self.F[layer.name].size if layer.name in self.F else 0


class DFA(Direct):
    """Direct feedback alignment.

    Args:
        seed: keys the random stream of F.
        at: where each hidden weighted layer or residual sum is taught. "activation": at the output of the first
            activation after it, else at its own output. "stage": at the pooling layer before the next weighted layer
            (Nokland's layout), else as "activation".
        family: "uniform" or "gaussian".
        sd: standard deviation of F; None: Nokland's, 1 / sqrt(3 d).
        shared: store one matrix as large as the largest layer needs; each F is a slice of it (Launay et al. 2020).
        recompute: discard the activations of the forward pass and recompute them block by block: bitwise the same
            gradients, with memory for the activations of one block (`minifa.rules.direct_recompute`).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown option; at `attach`, a layer that no error reaches, or maps of unknown size; with
            ``recompute``, an output layer inside a residual block.

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 4), mf.Tanh(), mf.Linear(4, 2)])
    >>> {name: F.shape for name, F in mf.rules.DFA().attach(net).B.items()}
    {'tanh1': (5, 2), 'tanh2': (4, 2)}
    """

    name = "dfa"
    title = "direct feedback alignment"
    equation = "delta = e F^T, F drawn once"
    paper = "Nokland 2016"
    needs = "the output's error at every layer (a global signal), and no backward path"

    def __init__(
        self,
        seed: int = 0,
        at: str = "stage",
        family: str = "uniform",
        sd: float | None = None,
        shared: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__(seed)
        self.at, self.family = check_choice(at, "at", tuple(PLACES)), check_choice(family, "family", tuple(FAMILIES))
        self.sd = None if sd is None else check_positive(sd, "sd")
        self.shared, self.recompute = check_bool(shared, "shared"), check_bool(recompute, "recompute")

    def draw(self, net: Network) -> None:
        super().draw(net)
        self.F, stored = draw_matrices(self, net)
        self.memory.update(stored)
        self._B.update(self.F)

    def _draw_matrix(self, name: str, units: int, n_out: int, net: Network) -> Array:
        """Draw F (units, n_out)."""
        return draw_direct(self.seed, name, units, n_out, net, self.sd, self.family)


def draw_direct(
    seed: int, name: str, units: int, n_out: int, net: Network, sd: float | None = None, family: str = "uniform"
) -> Array:
    """Draw a matrix (units, n_out) from the outputs to the layer of this name, with the options of `DFA`."""
    sd = direct_sd(units) if sd is None else sd
    drawn = FAMILIES[family](generator(seed, "feedback", name), (units, n_out), sd)
    return xp.asarray(drawn.astype(net.dtype))


def draw_matrices(rule: DFA, net: Network) -> tuple[dict[str, Array], dict[str, Array]]:
    """Draw F of each taught layer. Returns F by layer, and the arrays to store: F itself, or the shared matrix."""
    taught = taught_layers(net.layers, net.output_layer, PLACES[rule.at])
    units, n_out = {layer.name: count_units(layer) for layer in taught}, count_units(net.output_layer)
    if not rule.shared or not units:
        F = {name: rule._draw_matrix(name, count, n_out, net) for name, count in units.items()}
        return F, F
    shared = rule._draw_matrix("shared", max(units.values()), n_out, net)
    return {name: shared[:count] for name, count in units.items()}, {"shared": shared}


class SignDFA(DFA):
    """Direct feedback of only the sign of the error (Frenkel et al. 2021).

    >>> net = mf.Network([mf.Linear(1, 3), mf.Tanh(), mf.Linear(3, 2, init="zero")])
    >>> rule = mf.rules.SignDFA().attach(net)
    >>> x, target = mf.asarray([[1.0]]), mf.asarray([[0.1, -30.0]])  # the output is 0
    >>> value = rule.gradients(net, x, target, mf.HalfSquaredError())
    >>> rule.signal().tolist()
    [[-1.0, 1.0]]
    """

    name = "sdfa"
    title = "direct feedback of the error's sign"
    equation = "delta = sign(e) F^T / n"
    paper = "Frenkel et al. 2021"
    needs = "the sign of the output's error at every layer (a global signal), and no backward path"
    broadcast = "sign(e) / n"

    def signal(self) -> Array:
        error = self.require(self.output_error)
        return xp.sign(error) / len(error)


class DRTP(DFA):
    """Direct random target projection: hidden layers are taught by the target, so they need not wait for the output.

    >>> net = mf.Network([mf.Linear(1, 3), mf.Tanh(), mf.Linear(3, 4)])
    >>> rule, x = mf.rules.DRTP().attach(net), mf.asarray([[1.0], [5.0]])
    >>> value = rule.gradients(net, x, [2, 0], mf.SoftmaxCrossEntropy())
    >>> rule.signal().tolist()  # 1 / n at the class
    [[0.0, 0.0, 0.5, 0.0], [0.5, 0.0, 0.0, 0.0]]
    """

    name = "drtp"
    title = "direct random target projection"
    equation = "delta = t F^T / n"
    paper = "Frenkel et al. 2021"
    needs = "the target at every layer; no error, no backward path and no update locking"
    broadcast = "t / n"

    def signal(self) -> Array:
        target = self.require(self.target)
        return target / len(target)


def direct_sd(units: int) -> float:
    """Standard deviation of U[-1/sqrt(units), 1/sqrt(units)], Nokland's choice."""
    return 1 / math.sqrt(3 * units)


def count_units(layer: Layer) -> int:
    """Number of output units per example. Raises ValueError if the output shape is not known."""
    if layer.output_shape is None:
        raise ValueError(f"the output size of {layer} must be known: create the network with input_shape=")
    return math.prod(layer.output_shape)
