"""Difference target propagation whose maps are learned through the output: they approach the pseudo-inverse of all
blocks above, and the steps to the targets approach the Gauss-Newton direction instead of the gradient's.

    drl      noise at h_{l-1}, a pass to the outputs, and back down: t'_{k-1} = h_{k-1} + g_k(t'_k) - g_k(h_k)
             loss sum((g_l(t'_l) - g_l(h_l) - sigma xi)^2) / (n sigma^2) + decay |B_l|^2,  t'_L the noisy outputs
    ddtp     one matrix Q_l (units, n_out) from the outputs to each block: t_l = h_l + (t_L - h_L) @ Q_l.T
             loss sum(((y' - y) @ Q_l.T - sigma xi)^2) / (n sigma^2) + decay |Q_l|^2,  y' the outputs with noise at h_l

DRL: the difference reconstruction loss. Only the map of block l learns from its loss. In a linear network Q_l = J.T @
inv(J @ J.T + decay I) with y = h_l @ J.T; a chain of maps that each invert one block would not invert the chain. ddtp
teaches delta_l = e @ Q_l.T: direct feedback alignment with learned matrices.

Meulemans, Carzaniga, Suykens, Sacramento & Grewe 2020, "A theoretical framework for target propagation". Differences
from their code: sums over units, not means; normalised gradient descent (`way_back.curvature`) instead of Adam, because
|J| grows many times during training; the maps start at the logits; they learn after the weights. Each map needs a pass
with noise and a clean one, from its h through the moved weights to the outputs; the activities above h, and on the way
down the derivatives and the maxima of pooling, are those of the clean pass.
The rates are from a trial of 0.2, 0.5 and 1 on the digits: with ddtp's the targets were nearest the Gauss-Newton
direction, with drl's the test error was about as low as with 1 and the targets nearer that direction.
"""

from __future__ import annotations

__all__ = ["DDTP", "DRL"]

import itertools
import math

from ..backend import Array
from ..network import Network
from ..parallel.chunks import matmul
from ..validation import check_between, check_int, check_positive
from .blocks import caches_restored, run
from .difference_targets import DTP
from .direct import count_units, draw_direct
from .target_rule import TargetRule
from .way_back import LINEAR_IN_B, curvature, to_weights

UPDATE = (
    "{symbol}_new = {symbol} - rate * d{symbol} / curvature, repeated steps times\n"
    "d{symbol} from the gradient of the sum of ({change} - sigma * xi)^2 / 2 and of decay * {symbol}^2"
)


class DRL(DTP):
    """Difference target propagation with the difference reconstruction loss: a chain of maps, learned through the
    output.

    Args:
        seed: keys the random streams of B and of the noise.
        eta: step from the outputs to their targets, per example.
        g: form of the maps: "linear", "first" or "gated" (`minifa.rules.way_back`).
        rate: learning rate of B, relative to the curvature of its loss: 1 is a full step, from 2 on B may diverge.
        sigma: standard deviation of the noise.
        steps: updates of B per weight update.
        decay: of B, in its loss; it bounds the maps where J has small singular values.

    Raises:
        TypeError, ValueError: as for `FWDTP`; a decay below 0.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, x = mf.rules.DRL().attach(net), mf.asarray([[1.0, 2.0, 3.0]])
    >>> B, value = rule.B["linear2"].copy(), rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    >>> mf.SGD(lr=0.1).step(net, rule)
    >>> bool((rule.B["linear2"] != B).any())
    True
    """

    name = "drl"
    title = "difference reconstruction loss"
    equation = "t = h + g(t_above) - g(h_above), g inverts all above"
    paper = "Meulemans et al. 2020"
    needs = "noise at one layer at a time, a pass to the outputs and back, and targets sent down"
    update_equation = UPDATE.format(symbol="B", change="g(t') - g(h)")
    forms = LINEAR_IN_B

    def __init__(
        self,
        seed: int = 0,
        eta: float = 0.1,
        g: str = "linear",
        rate: float = 0.5,
        sigma: float = 0.1,
        steps: int = 1,
        decay: float = 1e-3,
    ) -> None:
        super().__init__(seed, eta, g, rate, sigma, steps)
        self.decay = check_between(decay, "decay", 0, math.inf)

    def learn_map(self, i: int, key: str, step: int) -> None:
        chain, h = self.blocks[i:], self.heard[self.blocks[i - 1].end.name]
        layer, layers = chain[0].layer, [layer for block in chain for layer in block.layers]
        with caches_restored(layers):
            y = [h]  # the clean activities: y[k] is the input of chain[k]
            for block in chain:
                y.append(run(block.layers, y[-1], step, keep=True))
            noise = self.noise(h, key, step)
            t = run(layers, h + noise, step)
            for k in range(len(chain) - 1, 0, -1):
                t = y[k] + self.send(i + k, t) - self.send(i + k, y[k + 1])
            v = to_weights(chain[0], t, self.g, self) - to_weights(chain[0], y[1], self.g, self)
            gradient = layer.weight_gradient(layer.carry(v, self.memory[layer.name]) - noise, v)
        descend(self, self.memory[layer.name], gradient, curvature(v, layer), len(h))


class DDTP(TargetRule):
    """Direct difference target propagation: each layer gets its target from the outputs, through one linear map.

    Args:
        seed: keys the random streams of Q and of the noise.
        eta, rate, sigma, steps, decay: as for `DRL`; rate, steps and decay of Q.

    Raises:
        TypeError, ValueError: as for `DRL`; at `attach`, maps of unknown size.

    >>> net = mf.Network([mf.Linear(9, 5), mf.Tanh(), mf.Linear(5, 4), mf.Tanh(), mf.Linear(4, 2)])
    >>> {name: Q.shape for name, Q in mf.rules.DDTP().attach(net).B.items()}
    {'tanh1': (5, 2), 'tanh2': (4, 2)}
    """

    name = "ddtp"
    title = "direct difference target propagation"
    equation = "t = h + (t_out - h_out) Q^T, Q inverts all above"
    paper = "Meulemans et al. 2020"
    needs = "noise at one layer at a time, and the change of the outputs at every layer"
    update_equation = UPDATE.format(symbol="Q", change="(y' - y) @ Q.T")

    def __init__(
        self,
        seed: int = 0,
        eta: float = 0.1,
        rate: float = 0.2,
        sigma: float = 0.1,
        steps: int = 1,
        decay: float = 1e-3,
    ) -> None:
        super().__init__(seed, eta)
        self.rate, self.sigma = check_positive(rate, "rate"), check_positive(sigma, "sigma")
        self.steps, self.decay = check_int(steps, "steps"), check_between(decay, "decay", 0, math.inf)

    def draw(self, net: Network) -> None:
        super().draw(net)
        self._B |= draw_matrices(self, net)

    def target_equation(self, i: int) -> tuple[str, dict[str, str]]:
        end, top = self.blocks[i].end.name, self.blocks[-1].end.name
        return "t = h + (t_L - h_L) @ Q.T", {"t_L": f"{top}.t", "h_L": f"{top}.y", "Q": f"{end}.B"}

    def target_of(self, i: int) -> Array:
        end, top = self.blocks[i].end.name, self.blocks[-1].end.name
        h, step = self.heard[end], (self.sent[top] - self.heard[top]).reshape(len(self.heard[top]), -1)
        return h + matmul(step, self.stored_matrix(self.blocks[i].end).T).reshape(h.shape)

    def update_feedback(self, net: Network) -> None:
        self.require(self.output)
        for name, k in itertools.product(self.memory, range(self.steps)):
            self.learn_map(name, f"{name}/{k}", net.step)

    def learn_map(self, name: str, key: str, step: int) -> None:
        """One update of the Q of a layer; the key and the step key the noise."""
        layers = [layer for block in self.blocks[self.ends[name] + 1 :] for layer in block.layers]
        h, Q, n = self.heard[name], self.memory[name], len(self.heard[name])
        noise = self.noise(h, key, step)
        v = (run(layers, h + noise, step) - run(layers, h, step)).reshape(n, -1)
        descend(self, Q, matmul((matmul(v, Q.T) - noise.reshape(n, -1)).T, v), curvature(v), n)


def draw_matrices(rule: DDTP, net: Network) -> dict[str, Array]:
    """Draw the Q (units, n_out) of each taught layer, as for direct feedback alignment, into the rule's memory."""
    n_out = count_units(net.layers[-1])
    for layer in filter(rule.teaches, net.layers):
        rule.memory[layer.name] = draw_direct(rule.seed, layer.name, count_units(layer), n_out, net)
    return rule.memory


def descend(rule: DRL | DDTP, B: Array, gradient: Array, curvature: Array, n: int) -> None:
    """One step of normalised gradient descent on the reconstruction loss and the decay: B -= rate * d(loss)/dB / its
    curvature, both times n sigma^2 / 2, in place."""
    decay = n * rule.sigma**2 * rule.decay
    B -= rule.rate * (gradient + decay * B) / (curvature + decay)
