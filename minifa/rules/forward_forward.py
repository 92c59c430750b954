"""Forward-forward: each layer learns to tell images with the right label from images with a wrong one, by its activity.

    positive rows    the images, with mark * t in their first C values       t: one-hot labels of C classes
    negative rows    the same images with a wrong label, drawn uniformly among the others
    g                mean(h^2) over the u units of a layer, its goodness     sum(h^2) with goodness="sum"
    loss             of sigmoid(g - theta) against pos = 1, 0: binary cross-entropy, for each layer by itself
    delta            (sigmoid(g - theta) - pos) * (2 / u) h / rows           at the activation's output; without 1/u for
                                                                             the sum; rows = 2 n, both kinds together
    output layer     the true error, in a second pass on images without a label: zeros in the C values
    prediction       the label with the largest goodness, summed over the layers from the second on; C passes

Hinton 2022, "The forward-forward algorithm: some preliminary investigations", section 3.3. theta is 1 for the mean and
u for the sum. No error crosses a layer. Between two hidden layers there must be a `UnitLength`: otherwise the goodness
of a layer is the length of the next layer's input, which could tell right from wrong without learning anything.

Differences from Hinton's code, read in its port to PyTorch (loeweX/Forward-Forward): the first layer's input is not
normalised; the output layer reads the last hidden layer only; inputs without a label have zeros, not 1/C; all layers
are updated at the end of the step. Its peer normalisation is left out: it passes a gradient through units that are off,
which is not the derivative of their layer.
"""

from __future__ import annotations

__all__ = ["ForwardForward"]

import math
from typing import Any

from ..backend import Array, blas_limit, quietly, xp
from ..layers.activations import Activation
from ..layers.base import Layer, Listen, backward_chain, forward_chain
from ..layers.batch_norm import BatchNorm
from ..layers.unit_length import UnitLength, example_means
from ..layers.weighted import Weighted
from ..losses import Loss, SigmoidCrossEntropy
from ..network import Network
from ..rng import generator
from ..validation import check_choice, check_int, check_positive
from .base import Rule
from .taught_layers import hidden_places


class MarkedLabels(Rule):
    """The base class: labels in the first inputs, right and wrong ones.

    Args:
        seed, mark: as for `ForwardForward`.
    """

    crosses_weights = False
    one_backward_pass = False

    def __init__(self, seed: int = 0, mark: float = 3.0) -> None:
        super().__init__(seed)
        self.mark = check_positive(mark, "mark")

    def draw(self, net: Network) -> None:
        self.units = units_of_hidden_layers(net, self.label)
        self.classes = math.prod(net.layers[-1].output_shape or ())

    def check_batch(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        labels = super().check_batch(net, x, y, loss)
        are_classes = getattr(getattr(y, "dtype", None), "kind", "") in ("i", "u")  # then nothing waits for the device
        if not are_classes and not bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise ValueError(
                f"the rule {self.label!r} needs classes, whose labels it writes into the input: give class indices or "
                "one-hot rows, or choose another rule for a regression"
            )
        return labels

    def marked(self, x: Array, labels: Array) -> Array:
        """The inputs (N, ...) with ``mark`` times these rows (N, C), or this row (C,), in their first C values."""
        values = x.reshape(len(x), -1).copy()
        values[:, : self.classes] = self.mark * labels
        return values.reshape(x.shape)

    def unmarked(self, x: Array) -> Array:
        """The inputs without a label: zeros in their first C values."""
        return self.marked(x, xp.zeros(self.classes, x.dtype))

    def wrong(self, labels: Array, step: int) -> Array:
        """For each of these rows (N, C) another label, drawn uniformly among the C - 1 others."""
        shifts = generator(self.seed, "noise", "input/labels", step).integers(1, self.classes, (len(labels), 1))
        places = (xp.arange(self.classes) - xp.asarray(shifts)) % self.classes
        return xp.take_along_axis(labels, places, axis=1)


class Goodness(MarkedLabels):
    """The base class: the goodness of a layer, and the error that it makes for the layer.

    Args:
        seed, mark, goodness, theta, prediction, from_layer: as for `ForwardForward`.
    """

    def __init__(
        self,
        seed: int = 0,
        mark: float = 3.0,
        goodness: str = "mean",
        theta: float | None = None,
        prediction: str = "goodness",
        from_layer: int | None = None,
    ) -> None:
        super().__init__(seed, mark)
        self.goodness = check_choice(goodness, "goodness", ("mean", "sum"))
        self.theta = None if theta is None else check_positive(theta, "theta")
        self.prediction = check_choice(prediction, "prediction", ("goodness", "readout"))
        self.from_layer = None if from_layer is None else check_int(from_layer, "from_layer")

    def draw(self, net: Network) -> None:
        super().draw(net)
        thetas = {name: 1.0 if self.goodness == "mean" else float(units) for name, units in self.units.items()}
        self.thetas = thetas if self.theta is None else dict.fromkeys(thetas, self.theta)
        first = min(2, len(self.units)) if self.from_layer is None else self.from_layer
        self.counted = [*self.units][first - 1 :]
        if not self.counted:
            raise ValueError(f"from_layer must be at most {len(self.units)}, the number of hidden layers, got {first}")
        self.g: dict[str, Array] = {}
        self.deltas: dict[str, Array] = {}

    def set_error(self, name: str, h: Array, pos: Array) -> None:
        """Set the error at the output h of this layer, and its `local` numbers; pos (N, 1) is 1 for positive rows."""
        self.g[name], self.pos = goodness_of(h, self.goodness), pos
        logits = (self.g[name] - self.thetas[name]).reshape(-1, 1)
        values, mistakes = SigmoidCrossEntropy()(logits, pos)
        self.local[name] = {"loss": values.mean(), "accuracy": ((logits > 0) == (pos > 0)).mean(dtype=h.dtype)}
        divisor = len(h) / 2 * (self.units[name] if self.goodness == "mean" else 1)
        self.deltas[name] = mistakes.reshape(self.g[name].shape) * h / divisor

    def teaches(self, layer: Layer) -> bool:
        return layer.name in self.units

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        return self.deltas[layer.name] if layer.name in self.units else delta

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        names = {"h": f"{layer.name}.y", "pos": "rule.pos", "theta": f"rule.thetas.{layer.name}"}
        if self.goodness == "sum":
            return "delta = (sigmoid(g - theta) - pos) * h / n", names
        return "delta = (sigmoid(g - theta) - pos) * h / (u * n)", {**names, "u": f"rule.units.{layer.name}"}

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        return {"g": self.g[layer.name]} if layer.name in self.units else {}

    def feedback(self, layer: Weighted) -> None:
        return None


class ForwardForward(Goodness):
    """Forward-forward learning. The loss and accuracy in training are those of the output layer; `local` has those of
    the hidden layers. Their `activities` and `targets` have 2 N rows: positive rows, then negative ones.

    Args:
        seed: keys the wrong labels.
        mark: the value of the label's input, above 0.
        goodness: "mean" or "sum" of the squared activities of a layer.
        theta: the threshold of the goodness; None: 1 for the mean, the number of units for the sum.
        prediction: what `predict` and every evaluation return: the "goodness" of each label, or the "readout", the
            network's outputs for inputs without a label.
        from_layer: the first hidden layer, counted from 1, whose goodness counts there; None: 2, or 1 if it is alone.

    Raises:
        TypeError, ValueError: an invalid option. ValueError: a network or targets that it does not accept.

    >>> net = mf.Network([mf.Linear(3, 4), mf.ReLU(), mf.Linear(4, 2)])
    >>> rule, x = mf.rules.ForwardForward().attach(net), mf.asarray([[9.0, 9.0, 1.0]])
    >>> rule.marked(x, mf.asarray([[0.0, 1.0]])).tolist()  # the second of two labels
    [[0.0, 3.0, 1.0]]
    >>> value = rule.gradients(net, x, [1], mf.SoftmaxCrossEntropy())
    >>> list(rule.local["relu1"])
    ['loss', 'accuracy']
    """

    name = "forward_forward"
    title = "forward-forward"
    equation = "delta = (sigmoid(g - theta) - pos) h / (u n), g = mean(h^2)"
    paper = "Hinton 2022"
    needs = "labels at the input, also wrong ones, and the sum of squares of each layer; no backward path"
    accepts = "classifiers without blocks and batch norm, with UnitLength between hidden layers"

    @quietly
    def gradients(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        labels, split = self.check_batch(net, x, y, loss), net.layers.index(net.output_layer)
        rows = xp.concatenate([self.marked(x, labels), self.marked(x, self.wrong(labels, net.step))])
        pos = (xp.arange(len(rows)) < len(x)).astype(x.dtype).reshape(-1, 1)
        net.clear_gradients()
        with blas_limit():
            forward_chain(net.layers[:split], rows, listen := Listen(self.units, True, net.step))
            for name, h in listen.outputs.items():
                self.set_error(name, h, pos)
            backward_chain(net.layers[:split], None, self)
            value = self.compute_error(net.forward(self.unmarked(x), self.training_pass(net)), labels, loss)
            backward_chain(net.layers[split:], self.error, self)
        return value

    def predict_batch(self, net: Network, x: Array) -> Array:
        if self.prediction == "readout":
            return net.forward(self.unmarked(x))
        totals = []
        for label in xp.eye(self.classes, dtype=x.dtype):
            net.forward(self.marked(x, label), listen := Listen(self.counted))
            totals.append(sum(goodness_of(h, self.goodness).reshape(-1) for h in listen.outputs.values()))
        return xp.stack(totals, axis=1)


def goodness_of(h: Array, kind: str) -> Array:
    """The goodness of each example's activity, "mean" or "sum" of its squares: (N, ...) in, (N, 1, ...) out.

    >>> from minifa.rules.forward_forward import goodness_of
    >>> h = mf.asarray([[3.0, 1.0], [0.0, 0.0]])
    >>> [goodness_of(h, kind).tolist() for kind in ("mean", "sum")]
    [[[5.0], [0.0]], [[10.0], [0.0]]]
    """
    g = example_means(h * h)
    return g if kind == "mean" else g * math.prod(h.shape[1:])


def units_of_hidden_layers(net: Network, label: str) -> dict[str, int]:
    """The number of units of each hidden layer, by the name of the layer whose output is its activity: its first
    activation, else the weighted layer itself.

    Args:
        label: of the rule, for messages.

    Raises:
        ValueError: a network in which the layers cannot learn by forward-forward.
    """
    if net.input_shape is None:
        raise ValueError(f"under {label} the input size must be known: create the network with input_shape=")
    for layer in net:
        if any(layer.children()):
            raise ValueError(
                f"{layer} has a shortcut, which carries the length of an activity on: {label} takes no blocks"
            )
        if isinstance(layer, BatchNorm):
            raise ValueError(
                f"under {label} the examples must be independent, and {layer} mixes right and wrong labels: use a "
                "network without batch norm"
            )
    hidden, classes = hidden_places(net.layers, net.output_layer, (Activation,)), math.prod(net.output_shape or ())
    if not hidden:
        raise ValueError(
            f"the rule {label!r} teaches hidden layers, and the network has none: put one before the output"
        )
    if not 2 <= classes < math.prod(net.input_shape):
        raise ValueError(
            f"the rule {label!r} needs two or more classes and more inputs than classes, because the label takes the "
            f"place of as many inputs: the network has {math.prod(net.input_shape)} inputs and {classes} outputs; give "
            "other data (--data digits)"
        )
    unnormalised = ""
    for layer in net.layers[: net.layers.index(net.output_layer)]:
        if isinstance(layer, Weighted) and unnormalised:
            raise ValueError(
                f"{layer} would receive the length of its input, which is the goodness of {unnormalised!r}, and need "
                "not learn its own: put a UnitLength between them (in the model mlp: unit_length=True, on the "
                "command line --model mlp --unit-length)"
            )
        unnormalised = layer.name if layer in hidden else "" if isinstance(layer, UnitLength) else unnormalised
    return {layer.name: math.prod(layer.output_shape or ()) for layer in hidden}
