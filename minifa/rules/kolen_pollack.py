"""Kolen-Pollack learning: the feedback receives the update of the weights, and decay removes their difference.

    dW = columns(x).T @ delta      dB = dW           both with the optimizer's weight decay, which shrinks W - B
    direct form                    dF = h.T @ e      h the taught layer's activity; same weight decay

Kolen & Pollack 1994, "Backpropagation without weight transport"; Akrout et al. 2019, "Deep learning without weight
transport"; the direct form: Webster, Choi & Ahn 2021, "Learning the connections in direct feedback alignment". Without
weight decay W - B is constant, and the angle decreases only because the shared part of W and B grows.
"""

from __future__ import annotations

__all__ = ["DirectKolenPollack", "KolenPollack"]

from ..backend import Array
from ..layers.base import Listen, Pass
from ..network import Network
from ..parallel.chunks import matmul
from .direct import DFA
from .learned_feedback import LearnedFeedback


class KolenPollack(LearnedFeedback):
    """B is drawn at random and receives W's gradient, through the same optimizer with a separate state. Use an
    optimizer with weight decay.

    Each SGD update multiplies the difference W - B by 1 - lr * weight_decay:

    >>> net, one = mf.Network([mf.Linear(1, 1), mf.Linear(1, 1)]), mf.asarray([[1.0]])
    >>> net["linear2"].W = 4 * one
    >>> rule = mf.rules.KolenPollack().attach(net)
    >>> rule.set_feedback("linear2", 0 * one)
    >>> value = rule.gradients(net, one, one, mf.HalfSquaredError())
    >>> mf.SGD(lr=0.5, weight_decay=0.5).step(net, rule)
    >>> round((net["linear2"].W - rule.B["linear2"]).item(), 4)
    3.0
    """

    name = "kolen_pollack"
    title = "Kolen-Pollack"
    equation = "dB = dW, both decay"
    paper = "Kolen & Pollack 1994; Akrout et al. 2019"
    needs = "the forward synapse's update at the feedback synapse, and weight decay at both; no weight transport"
    weight_decay = 0.01
    B_receives_updates = True

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        assert self.net is not None
        learning = [layer for layer in self.layers_with_feedback(self.net) if layer.grads["W"] is not None]
        return {layer.name: (self.memory[layer.name], layer.grads["W"]) for layer in learning}


class DirectKolenPollack(DFA):
    """Direct feedback with learned matrices: dF = h.T @ e, updated by the optimizer with weight decay like the weights.

    Args:
        seed, at, family, sd: as for `DFA`.
        recompute: as for `DFA`; the activities of the taught layers are kept nevertheless, because dF needs them.

    For the layer below the output layer, the gradient of F equals that of the output layer's W:

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, x = mf.rules.DirectKolenPollack().attach(net), mf.asarray([[1.0, 2.0, 3.0]])
    >>> value = rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    >>> F, gradient = rule.parameters()["tanh1"]
    >>> bool((gradient == net["linear2"].grads["W"]).all())
    True
    """

    name = "direct_kolen_pollack"
    title = "direct Kolen-Pollack"
    equation = "delta = e F^T, dF = h^T e, decay"
    paper = "Webster et al. 2021"
    needs = "the output's error at every layer, and each unit's activity at its feedback synapses"
    weight_decay = 0.01

    def __init__(
        self,
        seed: int = 0,
        at: str = "stage",
        family: str = "uniform",
        sd: float | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(seed, at, family, sd, recompute=recompute)  # learned matrices cannot be slices of a shared one

    def training_pass(self, net: Network, update_statistics: bool | None = None) -> Pass:
        recording = Listen(self.F, True, net.step, update_statistics)
        self.activity = recording.outputs
        return recording

    def parameters(self) -> dict[str, tuple[Array, Array]]:
        error = self.require(self.output_error)
        return {name: (F, matmul(self.activity[name].reshape(len(error), -1).T, error)) for name, F in self.F.items()}
