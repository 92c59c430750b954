"""Local losses: every hidden layer has a loss of its own, and no error travels from layer to layer.

    pred       a = h @ H + c, e_l = dL/da / n                      L: the network's loss of a linear read-out of h
               delta at h = e_l @ H.T; with fixed heads e_l @ M.T  H, c learn; M is drawn once
    sim        L = mean((S - T)^2)                                 S, T (n, n): similarities of the examples' h and t
               delta at h = dL/dh
    predsim    (1 - beta) pred + beta sim                          the gradients of H and c, too

Nokland & Eidnes 2019, "Training neural networks with local error signals"; the parts are in `local_parts`. h is the
output of the activation, after batch norm and before dropout. As published H and c start at zero: under pred no hidden
layer learns in the first update. Differences: all layers are updated together, at the end of the step (published: each
layer before its output is passed on); the output layer receives the true error, not (1 - beta) of it, and starts as the
network draws it (published: at zero); no similarity head V by default; a nearly constant activity, whose similarities
are rounding errors, is not scaled up (`minifa.kernels.Cosine`). The targets are those of the network's loss, which need
not be classes.

Known equalities: with one hidden layer, pred with H, c started at the output layer's W, b is backpropagation, and with
fixed heads feedback alignment with B = M.
"""

from __future__ import annotations

__all__ = ["Local"]

from typing import Any

from ..backend import Array
from ..layers.base import Layer
from ..losses import Loss
from ..network import Network
from ..validation import check_bool, check_choice, check_float, check_int
from .local_losses import LocalLosses
from .local_parts import WEIGHTS, Signals, WeightedSum

HEADS = ("learned", "fixed")


class LocalSums(LocalLosses):
    """The part of `Local` that is independent of its options: each taught layer has a `WeightedSum` of local losses.

    Attributes:
        losses: the losses, by the layer's name.
        criterion: the network's loss in the last pass.
        head_gradients: the gradients of what they learn in the last pass, by the names in `memory`.
    """

    explanations = {
        **LocalLosses.explanations,
        "teach": "The error of the layer's own loss. The error from the layers above is not used. In pred a head H "
        "predicts the targets, and the matrix that carries its error is stored as B. In sim S and T are similarities "
        "of the activities and of the targets, and r are the norms of the rows of h without their means.",
    }

    def draw(self, net: Network) -> None:
        super().draw(net)
        self.losses = {name: WeightedSum(self, net, layer) for name, layer in self.taught.items()}
        for loss in self.losses.values():
            self.memory.update(loss.arrays)
        self._B.update({name: self.memory[name] for name in self.losses if name in self.memory})
        self.head_gradients: dict[str, Array] = {}

    def compute_error(self, output: Array, y: Any, loss: Loss) -> Array:
        self.criterion = loss
        return super().compute_error(output, y, loss)

    def signals(self, layer: Layer, h: Array) -> Signals:
        """The signals of this layer's loss of its activity h, with the targets of the last pass."""
        signals = self.losses[layer.name](h, self.require(self.target), self.criterion)
        of_classes = self.batch is not None and self.batch.of_classes
        return signals if of_classes else signals._replace(accuracy=None)

    def local_loss(self, layer: Layer, h: Array) -> tuple[Array, Array | None, Array]:
        signals = self.signals(layer, h)
        self.head_gradients.update(signals.gradients)
        return signals.loss, signals.accuracy, signals.error

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        return {name: (self.memory[name], gradient) for name, gradient in self.head_gradients.items()}

    def teach_equation(self, layer: Layer) -> tuple[str, dict[str, str]]:
        loss = self.losses[layer.name]
        return loss.equation, loss.names

    def trace_arrays(self, layer: Layer) -> dict[str, Array]:
        return self.signals(layer, self.heard[layer.name]).shown if layer.name in self.losses else {}


class Local(LocalSums):
    """Local error signals.

    Args:
        seed: keys the random streams of M, V and P.
        loss: "predsim", "pred" or "sim".
        heads: what carries the error of pred to the layer: "learned", the head H, or "fixed", a random M. None:
            "learned", with bio "fixed".
        beta: the part of sim in predsim, from 0 to 1. None: 0.99, with bio 0.01 (both as published).
        similarity_head: sim compares h @ V, of maps a convolution of h, with a V that learns (published for the layers
            of all tables without bio).
        bio: predict a random binary code of the class instead of the class (`minifa.rules.local_parts.Codes`).
        dim_in_decoder: most inputs of a head: larger maps are pooled (published: 1024, 2048 or 4096).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown option or one outside its range; at `attach`, maps of unknown size, or sim with one
            output.

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 4), mf.Tanh(), mf.Linear(4, 2)])
    >>> {name: H.shape for name, H in mf.rules.Local().attach(net).B.items()}
    {'tanh1': (5, 2), 'tanh2': (4, 2)}
    """

    name = "local"
    title = "local error signals"
    equation = "delta = dL_l/dh, L_l of the layer's own h"
    paper = "Nokland & Eidnes 2019"
    needs = "the target at every layer, and a read-out or the similarities of a batch there; no error is sent"

    def __init__(
        self,
        seed: int = 0,
        loss: str = "predsim",
        heads: str | None = None,
        beta: float | None = None,
        similarity_head: bool = False,
        bio: bool = False,
        dim_in_decoder: int = 4096,
    ) -> None:
        super().__init__(seed)
        self.loss, self.bio = check_choice(loss, "loss", tuple(WEIGHTS)), check_bool(bio, "bio")
        self.heads = HEADS[self.bio] if heads is None else check_choice(heads, "heads", HEADS)
        self.beta = check_float((0.01 if bio else 0.99) if beta is None else beta, "beta")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must be from 0 to 1, got {self.beta}")
        self.similarity_head = check_bool(similarity_head, "similarity_head")
        self.dim_in_decoder = check_int(dim_in_decoder, "dim_in_decoder")
