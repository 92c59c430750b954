"""Burst-dependent learning: the same units send activity up with their spikes and errors down with their bursts.

    h = sigmoid(a)                   event rate: of single spikes and bursts alike; the activity sent up
    p, p_t                           burst probability without and with the teacher;  b = p h, b_t = p_t h: burst rates
    output, Sigmoid at the end       p = p_b, p_t = p_b (1 + (t - h) (1 - h))             with half the squared error
    output, h = softmax(a)           p = p_b, p_t = min(p_b (1 + kappa (t - h) / h), 1)   with the cross-entropy
    hidden units                     p = sigmoid(u), u = (1 - h) (b_above @ B.T);  p_t in the same way from b_t_above
    hidden units, with inhibition    recurrent inhibition cancels u: p = 1/2, p_t = sigmoid(u_t - u)
    update                           n delta = b - b_t, at a softmax (b - b_t) / kappa;  dW = columns(x).T @ delta

The layer below a softmax divides the change b_t - b that it receives by kappa, as in the authors' code, so that kappa
has no effect while p_t is below 1. The code has kappa = 1e-5, with which it hardly ever is 1; here the default is 0.5.

Payeur, Guerguiev, Zenke, Richards & Naud 2021, "Burst-dependent synaptic plasticity can coordinate learning in
hierarchical circuits". The equations were read in the authors' code, which has rates in the place of spikes, too
(github.com/jordan-g/Burstprop, layers.py; softmax: layers_imagenet.py); the spiking model is not part of this file, and
that inhibition cancels u exactly is our reading of it: there it is learned (R from dR = u.T @ b).

Known equalities. With a Sigmoid at the end the output's error is p_b times backpropagation's. For small errors the rule
is feedback alignment whose error is multiplied by p (1 - p) at each hidden layer on its way down: by 1/4 with
inhibition, a part of the learning rate, otherwise by a number between 0 and 1/4 for each unit and example.

Other differences from the code: it sums over the batch, so that its learning rates, times n, are those for delta here;
B is drawn there from U[-r, r], here from W's initialiser; its hidden layers below a softmax are ReLUs, with (h > 0) / h
in place of 1 - h; the biases of its hidden convolutions learn from backpropagation's error.
"""

from __future__ import annotations

__all__ = ["Burst"]

from typing import Any

from ..backend import Array, xp
from ..layers.activations import Activation, Sigmoid
from ..layers.base import Layer, Listen, Pass
from ..layers.weighted import Weighted
from ..losses import HalfSquaredError, Loss, SoftmaxCrossEntropy
from ..network import Network
from ..validation import check_bool, check_positive
from .burst_rates import SMALLEST, BurstRates, event_rates, hidden_probabilities
from .kolen_pollack import KolenPollack


class BurstUnits(BurstRates):
    """The base class of `Burst`: the rates and the error of its units, from the top down.

    Attributes:
        bursts: b at the place that the backward pass has reached; None with inhibition.
    """

    def draw(self, net: Network) -> None:
        self.top, self.units = find_units(net, self.label)
        self.heard, self.arrived = {}, {}
        self.bursts: Array | None = None
        super().draw(net)

    def check_batch(self, net: Network, x: Array, y: Any, loss: Loss) -> Array:
        if self.net is net and isinstance(loss, Loss):
            check_loss(self, loss)
        return super().check_batch(net, x, y, loss)

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        listen = Listen({*self.units, self.top.name}, True, net.step, update_statistics)
        self.heard, self.arrived, self.bursts = listen.outputs, {}, None
        return listen

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if delta is None:
            return None
        if layer is self.top:
            delta = self._teach_output(layer, delta)
        elif layer.name in self.units:
            delta = self._teach_hidden(layer.name, delta)
        if self.bursts is not None and not isinstance(layer, (Sigmoid, Weighted)):
            self.bursts = layer.backward(self.bursts, self)  # pooling and Flatten
        return delta

    def _teach_output(self, layer: Layer, delta: Array) -> Array:
        """The error at the output of `top`, without the cancellation of the difference b - b_t."""
        h, p_b = event_rates(layer, self.heard[layer.name]), self.baseline
        self.bursts = None if self.inhibition else p_b * h
        if isinstance(layer, Sigmoid):
            return p_b * delta
        return xp.maximum(p_b * delta, h * ((p_b - 1) / (self.kappa * len(delta))))  # the limit is that of p_t = 1

    def _teach_hidden(self, name: str, delta: Array) -> Array:
        """The error at the output of a hidden Sigmoid: divided by 1 - h, because the slope h (1 - h) is to follow."""
        h, n = self.heard[name], len(delta)
        self.arrived[name] = self.bursts, delta
        p, _, change = hidden_probabilities(h, self.bursts, -n * delta)
        if self.bursts is not None:
            self.bursts = p * h
        return change / xp.maximum(1 - h, SMALLEST) * (-1 / n)

    def carry(self, layer: Weighted, delta: Array) -> Array | None:
        if self.bursts is not None:
            self.bursts = layer.carry(self.bursts, self.stored_matrix(layer))
        return super().carry(layer, delta)


class Burst(BurstUnits):
    """Burst-dependent learning, for networks of Sigmoids: with a Sigmoid at the end, for `minifa.HalfSquaredError` and
    targets in 0..1, or without, for `minifa.SoftmaxCrossEntropy`.

    Args:
        seed: keys the random stream of B.
        baseline: burst probability p_b of the output units without the teacher, above 0 and at most 0.5.
        inhibition: whether recurrent inhibition cancels the bursts that arrive at a hidden unit without the teacher.
        learned: whether B learns by Kolen-Pollack, from dW; use an optimizer with weight decay.
        kappa: strength of the teacher at a softmax, above 0 and at most 1.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range; at `attach`, a layer with weights without a Sigmoid after it, or a
            layer through which bursts cannot be sent; in `gradients`, another loss.

    A hidden layer of one unit, under the teacher t = 1: the burst probability rises, and the weight with it.

    >>> net, x, t = mf.Network([mf.Linear(1, 1), mf.Sigmoid(), mf.Linear(1, 1), mf.Sigmoid()]), [[1.0]], [[1.0]]
    >>> rule = mf.rules.Burst().attach(net)
    >>> rule.set_feedback("linear2", [[4.0]])
    >>> value = rule.gradients(net, mf.asarray(x), mf.asarray(t), mf.HalfSquaredError())
    >>> rates, dW = rule.rates("sigmoid1"), net["linear1"].grads["W"]
    >>> bool(rates["p_t"] > rates["p"]), bool(abs(dW + rates["b_t"] - rates["b"]) < 1e-6)
    (True, True)
    """

    name = "burst"
    title = "burst-dependent learning"
    equation = "delta = (p - p_t) h, p = sigmoid((1 - h) (b_above B^T)), b = p h"
    paper = "Payeur et al. 2021"
    needs = "units with bursts beside single spikes, synapses that tell them apart, and feedback to dendrites alone"
    accepts = (
        "networks of Linear, Conv2d, pooling and Flatten whose activations are Sigmoids, one for each hidden layer"
    )
    weight_decay = 0.0
    gives_output_error = False  # p_b times the error

    def __init__(
        self,
        seed: int = 0,
        baseline: float = 0.2,
        inhibition: bool = False,
        learned: bool = False,
        kappa: float = 0.5,
    ) -> None:
        super().__init__(seed)
        self.baseline, self.kappa = check_positive(baseline, "baseline", 0.5), check_positive(kappa, "kappa", 1.0)
        self.inhibition = check_bool(inhibition, "inhibition")
        self.learned = self.feedback_learns = self.B_receives_updates = check_bool(learned, "learned")
        if learned:
            self.weight_decay = KolenPollack.weight_decay

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        return super().parameters() if self.learned else {}


def find_units(net: Network, label: str) -> tuple[Layer, list[str]]:
    """The layer at whose output the teacher acts, the Sigmoid at the end or the last layer, and the names of the hidden
    Sigmoids. Raises ValueError, with the layer's name, if the network is not made of such units."""
    units: list[Layer] = []
    pending: Layer | None = None  # the last layer with weights, while no Sigmoid has followed it
    for layer in net.layers:
        if isinstance(layer, Weighted):
            fits, pending = pending is None, layer
        elif isinstance(layer, Sigmoid) and pending:
            fits, pending = True, None
            units.append(layer)
        elif units or pending:
            fits = layer.sends_targets and not isinstance(layer, Activation)
        else:  # before the first layer with weights
            fits = not any(layer.children())
        if not fits:
            raise ValueError(
                f"under the rule {label!r} one Sigmoid, and besides it only pooling and Flatten, must be between two "
                f"layers with weights, got {layer} in its place: use Sigmoid as the activation (--model mlp "
                "--activation sigmoid)"
            )
    if pending is None and units[-1] is not net.layers[-1]:
        raise ValueError(
            f"under the rule {label!r} the Sigmoid of the output must be the last layer, and {net.layers[-1]} follows "
            f"{units[-1]}"
        )
    top = net.layers[-1] if pending else units.pop()
    return top, [unit.name for unit in units]


def check_loss(rule: BurstUnits, loss: Loss) -> None:
    """Raise ValueError unless the loss sends the error that the output units' equations require."""
    ends_in_sigmoid = isinstance(rule.top, Sigmoid)
    needed = HalfSquaredError if ends_in_sigmoid else SoftmaxCrossEntropy
    if not isinstance(loss, needed):
        other = "without one" if ends_in_sigmoid else "in one (--output-activation sigmoid)"
        raise ValueError(
            f"under the rule {rule.label!r} a network that ends {'in' if ends_in_sigmoid else 'without'} a Sigmoid "
            f"learns from {needed.__name__}, got {loss!r}: use --loss {needed.name}, or a network that ends {other}"
        )
