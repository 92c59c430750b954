"""The losses of the rule `local`: each of the activity h of one layer and of the targets t of the batch.

    Prediction     a = x @ H + c                     x: h as rows, a large map after average pooling (`pooling`)
                   e_l = dL/da / n                   L: the network's loss, as if a were the network's outputs
                   delta = e_l @ H.T, with fixed heads e_l @ M.T
                   dH = x.T @ e_l, dc = sum(e_l)
    Similarity     S = cosines of s, T = cosines of t            (n, n), as in `minifa.kernels.Cosine`
                   L = mean((S - T)^2) over all pairs, delta = dL/dh
                   s: h, or with a similarity head h @ V; of maps the standard deviation of each channel (`spread`)

A biologically plausible variant replaces the targets by a fixed projection (`Codes`): a predicts b = 1[t @ P > 0], with
the mean of 128 sigmoid cross-entropies as its loss, and T are the cosines of t @ P.
"""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..backend import Array, xp
from ..initialisers import INITIALISERS
from ..kernels import Cosine
from ..layers import AvgPool, Conv2d, Linear
from ..layers.base import Layer, Pass
from ..layers.weighted import Weighted
from ..losses import Loss, SigmoidCrossEntropy, classes_of
from ..network import Network
from ..parallel.chunks import matmul, sum_rows
from ..rng import generator
from ..validation import Shape
from .base import Rule, count_outputs
from .direct import count_units, draw_direct

CODE_LENGTH = 128  # outputs of a head that predicts a code
COSINE = Cosine()
TRAINING = Pass(training=True)
SIMILARITY = (  # the equation of the error of cosines, of rows s
    "z = ({s} - mean({s})) / r\nS = z @ z.T\nG = 2 / n^2 * (S - T)\ng = 2 * G @ z\n"
    "{error} = (g - z * sum(z * g) - mean(g)) / r"
)


class Signals(NamedTuple):
    """What a local loss returns: its value, the accuracy of its prediction or None, dL/dh, the gradients of its arrays
    by their names in the rule's memory, and the arrays that a trace shows, by symbol."""

    loss: Array
    accuracy: Array | None
    error: Array
    gradients: dict[str, Array]
    shown: dict[str, Array]

    def times(self, weight: float) -> Signals:
        """The signals of the loss times a weight; what a trace shows stays."""
        gradients = {name: weight * gradient for name, gradient in self.gradients.items()}
        return self._replace(loss=weight * self.loss, error=weight * self.error, gradients=gradients)


class Targets:
    """The targets t of the batch, as all layers have them."""

    def __init__(self, rule: Rule, net: Network, layer: Layer) -> None:
        self.n_out = self.size = count_outputs(net)
        self.arrays: dict[str, Array] = {}

    def embedding(self, t: Array) -> Array:
        """The rows whose cosines are T."""
        return t

    def predicted(self, t: Array) -> Array:
        """What the head's outputs a (n, size) should be."""
        return t

    def loss(self, loss: Loss) -> Loss:
        """The loss of the head's outputs, given that of the network."""
        return loss

    def scores(self, a: Array) -> Array:
        """A score for each class (n, n_out) from the head's outputs; a single one is above 0 for the second class."""
        return a


class Codes(Targets):
    """Each class as a fixed random code of its own for this layer: the signs of a row of P (n_out, 128)."""

    def __init__(self, rule: Rule, net: Network, layer: Layer) -> None:
        super().__init__(rule, net, layer)
        key, self.size = f"{layer.name}/P", CODE_LENGTH
        rng = generator(rule.seed, "feedback", key)
        P = INITIALISERS["torch"].draw(rng, (self.n_out, self.size), self.n_out, self.size)
        self.P = xp.asarray(P.astype(net.dtype))
        self.arrays = {key: self.P}

    def embedding(self, t: Array) -> Array:
        return matmul(t, self.P)

    def predicted(self, t: Array) -> Array:
        return (self.embedding(t) > 0).astype(t.dtype)

    def loss(self, loss: Loss) -> Loss:
        return SigmoidCrossEntropy()

    def scores(self, a: Array) -> Array:
        return matmul(a, (self.P > 0).T.astype(a.dtype))  # the log-likelihood of each code, up to a common term


TARGETS: Mapping[bool, type[Targets]] = {False: Targets, True: Codes}  # by the option ``bio``


class LocalLoss:
    """The base class of the losses of one layer.

    Args:
        rule: the rule `minifa.rules.Local`.
        net: its network.
        layer: the taught layer.
        targets: what this layer learns of the targets.

    Attributes:
        arrays: its arrays, by their names in the rule's memory; they are only ever written in place.
        equation, names: how dL/dh is computed, as `minifa.rules.Rule.teach_equation` describes it.
    """

    def __init__(self, rule: Any, net: Network, layer: Layer, targets: Targets) -> None:
        self.rule, self.layer, self.targets = rule, layer, targets
        self.arrays: dict[str, Array] = {}
        self.equation = ""
        self.names = {"h": f"{layer.name}.y", "t": "t"}

    def __call__(self, h: Array, t: Array, loss: Loss) -> Signals:
        """The signals for the activity h (n, ...), the targets t (n, n_out) and the network's loss."""
        raise NotImplementedError


class Prediction(LocalLoss):
    """The loss of a linear head that predicts the targets. The memory has under the layer's name the matrix that
    carries the local error: the learned H, or with fixed heads M."""

    def __init__(self, rule: Any, net: Network, layer: Layer, targets: Targets) -> None:
        super().__init__(rule, net, layer, targets)
        name, shape = layer.name, shape_of(layer)
        self.pool = pooling(shape, rule.dim_in_decoder)
        u = math.prod(shape if self.pool is None else self.pool.infer(shape))
        self.H, self.c = xp.zeros((u, targets.size), net.dtype), xp.zeros(targets.size, net.dtype)
        self.key, self.carrier, symbol = name, self.H, "H"
        if rule.heads == "fixed":
            self.key, symbol = f"{name}/H", "M"
            self.carrier = draw_direct(rule.seed, name, u, targets.size, net)
        self.arrays = {name: self.carrier, self.key: self.H, f"{name}/c": self.c}
        self.equation = f"a = h @ H + c\ne_l = dL/da / n\ndelta = e_l @ {symbol}.T"
        if len(shape) > 1:
            rows = "h as rows" if self.pool is None else "the rows of h after average pooling"
            self.equation = f"x = {rows}\n{self.equation}, back from x to h".replace("h @ H", "x @ H")
        self.names.update({"H": f"{name}.H", symbol: f"{name}.B", "c": f"{name}.c"})

    def __call__(self, h: Array, t: Array, loss: Loss) -> Signals:
        n, predicted = len(h), self.targets.predicted(t)
        pooled = h if self.pool is None else self.pool.forward(h, TRAINING)
        x = pooled.reshape(n, -1)
        a = matmul(x, self.H) + self.c
        values, errors = self.targets.loss(loss)(a, predicted)
        e_l = errors / n
        delta = matmul(e_l, self.carrier.T).reshape(pooled.shape)
        if self.pool is not None:
            delta = self.pool.backward(delta, self.rule)
        correct = classes_of(self.targets.scores(a)) == classes_of(t)
        gradients = {self.key: matmul(x.T, e_l), f"{self.layer.name}/c": sum_rows(e_l)}
        shown = {"x": x, "a": a, "e_l": e_l}
        return Signals(values.mean(), correct.mean(dtype=h.dtype), delta.reshape(h.shape), gradients, shown)


class Similarity(LocalLoss):
    """The loss of the similarities between the examples of the batch. A similarity head V is a linear layer without
    bias, of maps a convolution with 3 x 3 kernels; it is drawn as PyTorch draws it, and it learns."""

    def __init__(self, rule: Any, net: Network, layer: Layer, targets: Targets) -> None:
        super().__init__(rule, net, layer, targets)
        if targets.size == 1:
            raise ValueError(
                f"the similarities of the targets need at least two outputs, got one: use {rule.label}:loss=pred"
            )
        self.pool = pooling(shape_of(layer), rule.dim_in_decoder) if rule.bio else None
        self.V = similarity_head(layer) if rule.similarity_head else None
        if self.V is not None:
            self.V.W = rule.draw_matrix(self.V)
            self.arrays = {self.V.name: self.V.W}
            self.names["V"] = f"{layer.name}.V"
        self.equation = SIMILARITY.format(s="h", error="delta")
        if len(layer.output_shape or ()) == 3:
            s = "the standard deviation of each channel of " + ("h" if self.V is None else "conv(h, V)")
            self.equation = f"s = {s}\n{SIMILARITY.format(s='s', error='delta_s')}\ndelta = dL/dh"
        elif self.V is not None:
            self.equation = f"s = h @ V\n{SIMILARITY.format(s='s', error='delta_s')}\ndelta = delta_s @ V.T"

    def __call__(self, h: Array, t: Array, loss: Loss) -> Signals:
        pooled = h if self.pool is None else self.pool.forward(h, TRAINING)
        x = pooled if isinstance(self.V, Conv2d) else pooled.reshape(len(h), -1)
        y = pooled if self.V is None else self.V.forward(x, TRAINING)
        s = spread(y) if has_spread(y) else y.reshape(len(y), -1)
        z, r = COSINE.rows(s)
        S, T = matmul(z, z.T), COSINE.matrix(self.targets.embedding(t))
        difference = S - T
        G = difference * (2 / S.size)
        delta_s = COSINE.error(s, S, G)
        delta = spread_error(y, s, delta_s) if has_spread(y) else delta_s.reshape(y.shape)
        gradients = {}
        if self.V is not None:
            gradients[self.V.name] = self.V.weight_gradient(x, delta)
            delta = self.V.carry(delta, self.V.W).reshape(pooled.shape)
        if self.pool is not None:
            delta = self.pool.backward(delta, self.rule)
        shown = {"s": s, "r": r, "z": z, "S": S, "T": T, "G": G, "delta_s": delta_s}
        return Signals((difference * difference).mean(), None, delta, gradients, shown)


def shape_of(layer: Layer) -> Shape:
    """The shape of one example's output. Raises ValueError if it is not known."""
    count_units(layer)
    assert layer.output_shape is not None
    return layer.output_shape


def pooling(shape: Shape, most: int) -> AvgPool | None:
    """Average pooling after which a map (H, W, C) has at most ``most`` values, if its channels permit it: height and
    width of the window are doubled in turn. None for small maps, and for activities that are no maps.

    The size is rounded up, with a border of zeros that counts as part of the mean, as published.

    >>> from minifa.rules.local_parts import pooling
    >>> pool = pooling((28, 28, 32), most=4096)
    >>> pool.kernel, pool.infer((28, 28, 32))
    ((4, 2), (7, 14, 32))
    """
    if len(shape) != 3 or math.prod(shape) <= most:
        return None
    size, channels, kernel = shape[:2], shape[2], [1, 1]

    def pooled() -> list[int]:
        return [math.ceil(length / k) for length, k in zip(size, kernel, strict=True)]

    while channels * math.prod(pooled()) > most and max(pooled()) > 1:
        axis = 0 if kernel[0] <= kernel[1] else 1
        kernel[axis] *= 2
    padding = [k * (up - length // k) // 2 for length, up, k in zip(size, pooled(), kernel, strict=True)]
    return AvgPool((kernel[0], kernel[1]), padding=(padding[0], padding[1]))


def similarity_head(layer: Layer) -> Weighted:
    """The layer V, not drawn, of the outputs of this layer."""
    shape = shape_of(layer)
    head: Weighted
    if len(shape) == 3:
        head = Conv2d(shape[2], shape[2], 3, padding=1, bias=False, init="torch")
    else:
        u = math.prod(shape)
        head = Linear(u, u, bias=False, init="torch")
    head.name = f"{layer.name}/V"
    return head


def has_spread(y: Array) -> bool:
    """Whether the standard deviation of each channel takes the place of the activity: of maps (n, H, W, C) with more
    than three channels and more than one position."""
    return y.ndim == 4 and y.shape[3] > 3 and y.shape[1] * y.shape[2] > 1


def spread(y: Array) -> Array:
    """The standard deviation over the positions of each channel, (n, H, W, C) to (n, C), with the divisor H W - 1.

    >>> from minifa.rules.local_parts import spread
    >>> spread(mf.asarray([[[[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]]]])).tolist()  # three positions of two channels
    [[2.0, 0.0]]
    """
    deviations = _deviations(y)
    return xp.sqrt((deviations * deviations).sum(axis=1) / (deviations.shape[1] - 1))


def spread_error(y: Array, s: Array, delta_s: Array) -> Array:
    """dL/dy, of y's shape, from s = `spread` (y) and dL/ds (n, C): 0 in a constant channel."""
    factor = delta_s / xp.where(s > 0, s, xp.ones_like(s)) / (y.shape[1] * y.shape[2] - 1)
    return (_deviations(y) * factor[:, None]).reshape(y.shape)


def _deviations(y: Array) -> Array:
    """y minus its mean over positions, (n, positions, C); exactly 0 in a constant channel."""
    rows = y.reshape(len(y), -1, y.shape[3])
    rows = rows - rows[:, :1]
    return rows - rows.mean(axis=1, keepdims=True)


LOSSES: Mapping[str, type[LocalLoss]] = {"pred": Prediction, "sim": Similarity}
WEIGHTS: Mapping[str, Callable[[float], dict[str, float]]] = {  # of these, by the option ``loss``, given beta
    "predsim": lambda beta: {"pred": 1 - beta, "sim": beta},
    "pred": lambda beta: {"pred": 1.0},
    "sim": lambda beta: {"sim": 1.0},
}


class WeightedSum(LocalLoss):
    """The loss of a layer: the weighted sum that the rule's option ``loss`` names."""

    def __init__(self, rule: Any, net: Network, layer: Layer) -> None:
        super().__init__(rule, net, layer, TARGETS[rule.bio](rule, net, layer))
        self.weights = WEIGHTS[rule.loss](rule.beta)
        self.parts = {key: LOSSES[key](rule, net, layer, self.targets) for key in self.weights}
        self.arrays.update(self.targets.arrays)
        for part in self.parts.values():
            self.arrays.update(part.arrays)
            self.names.update(part.names)
        if len(self.parts) == 1:
            (self.equation,) = (part.equation for part in self.parts.values())
        else:
            lines = [part.equation.replace("delta =", f"delta_{key} =") for key, part in self.parts.items()]
            self.equation = "\n".join([*lines, "delta = (1 - beta) * delta_pred + beta * delta_sim"])
            self.names["beta"] = "rule.beta"

    def __call__(self, h: Array, t: Array, loss: Loss) -> Signals:
        signals = {key: part(h, t, loss) for key, part in self.parts.items()}
        first, *others = weighted = [one.times(self.weights[key]) for key, one in signals.items()]
        return Signals(
            loss=sum((one.loss for one in others), first.loss),
            accuracy=first.accuracy,
            error=sum((one.error for one in others), first.error),
            gradients={name: gradient for one in weighted for name, gradient in one.gradients.items()},
            shown={
                **{symbol: array for one in weighted for symbol, array in one.shown.items()},
                **{f"delta_{key}": one.error for key, one in signals.items()},
            },
        )
