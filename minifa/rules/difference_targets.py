"""Difference target propagation: targets go down through a map g_l for each block.

    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)        g_l with a matrix B of W_l's shape, in one of four forms (way_back)

    fwdtp    B drawn once
    dtp      B learns to reconstruct: loss sum((g_l(f_l(h + sigma xi)) - (h + sigma xi))^2) / (2 n), xi ~ N(0, 1)
    tp       as dtp, without the difference: t_{l-1} = g_l(t_l)        a control

Without the difference the error of the reconstruction, divided by eta, is part of each local error. With eta = 0.1, the
default, tp does not learn on the digits: its hidden units saturate. With a large eta it does.

Lee, Zhang, Fischer & Bengio 2015, "Difference target propagation"; Shibuya, Inoue, Kawakami & Sato 2023, "Fixed-weight
difference target propagation". Differences from their codes: the local error is divided by eta (`target_rule`); Lee's
penultimate target comes from the true gradient, here from g_L too ("simplified" DTP, Bartunov et al. 2018); Shibuya's
batch normalisation of activities and targets is left out; g has no bias; B learns by normalised gradient descent
(`way_back.curvature`) instead of with a rate tuned for each layer: without the normalisation the first steps of a
convolution, whose gradient is a sum over positions, were so large that every ReLU of g stayed inactive.

Known equalities, for every eta: with g gated fwdtp is feedback alignment with B; with g linear it is direct feedback
alignment with F_l = B_{l+1} B_{l+2} ... B_L (without max pooling, whose maxima depend on the example).
"""

from __future__ import annotations

__all__ = ["DTP", "FWDTP", "TP"]

from ..backend import Array
from ..layers.weighted import Weighted
from ..network import Network
from ..validation import check_choice, check_int, check_positive
from .blocks import run
from .target_rule import TargetRule
from .target_trace import TracedMaps
from .way_back import FORMS, reconstruction_step, send_down


class FWDTP(TracedMaps, TargetRule):
    """Difference target propagation with fixed random maps.

    Args:
        seed: keys the random stream of B.
        eta: step from the outputs to their targets, per example.
        g: form of the maps: "linear", "last", "first" or "gated" (`minifa.rules.way_back`).

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an unknown form; at `attach`, a layer that sends no targets.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, x = mf.rules.FWDTP().attach(net), mf.asarray([[1.0, 2.0, 3.0]])
    >>> value = rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    >>> list(rule.targets)
    ['tanh1', 'linear2']
    """

    name = "fwdtp"
    title = "fixed-weight difference target propagation"
    equation = "t = h + g(t_above) - g(h_above), B of g fixed"
    paper = "Shibuya et al. 2023"
    needs = "a fixed feedback path that carries targets, used twice: for the target and for the activity"
    B_corresponds_to_W = True  # it carries targets
    forms: tuple[str, ...] = FORMS

    def __init__(self, seed: int = 0, eta: float = 0.1, g: str = "last") -> None:
        super().__init__(seed, eta)
        self.g = check_choice(g, "g", self.forms)

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            self.memory[layer.name] = self._B[layer.name] = self.draw_matrix(layer)

    def sends(self) -> list[int]:
        """The indices of the blocks whose map g sends a target down, in forward order."""
        return [i for i, block in enumerate(self.blocks) if i > 0 and block.layer.name in self.memory]

    def send(self, i: int, y: Array) -> Array:
        """g of block i."""
        block = self.blocks[i]
        return send_down(block, self.blocks[i - 1], y, self.stored_matrix(block.layer), self.g, self)

    def target_of(self, i: int) -> Array:
        above, h = self.blocks[i + 1].end.name, self.heard[self.blocks[i].end.name]
        return h + self.send(i + 1, self.sent[above]) - self.send(i + 1, self.heard[above])

    def start_angle(self, layer: Weighted) -> float | None:
        return None if layer.init.is_nonnegative else 90.0


class DTP(FWDTP):
    """Difference target propagation: each map learns to reconstruct the input of its block.

    After every weight update, B makes ``steps`` steps of normalised gradient descent on the reconstruction loss, on the
    batch's activities with noise, through the updated weights.

    Args:
        seed: keys the random streams of B and of the noise.
        eta, g: as for `FWDTP`.
        rate: learning rate of B, relative to the curvature of its loss: 1 is a full step, from 2 on B may diverge.
        sigma: standard deviation of the noise.
        steps: updates of B per weight update.

    Raises:
        TypeError, ValueError: as for `FWDTP`.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, x = mf.rules.DTP().attach(net), mf.asarray([[1.0, 2.0, 3.0]])
    >>> B, value = rule.B["linear2"].copy(), rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    >>> mf.SGD(lr=0.1).step(net, rule)
    >>> bool((rule.B["linear2"] != B).any())
    True
    """

    name = "dtp"
    title = "difference target propagation"
    equation = "t = h + g(t_above) - g(h_above), g reconstructs"
    paper = "Lee et al. 2015"
    needs = "a feedback path that learns to invert the forward one, noise at every layer, and targets sent down"
    update_equation = (
        "B_new = B - rate * dB / curvature, repeated steps times\n"
        "dB from the gradient of the sum of (g(f(h + sigma * xi)) - (h + sigma * xi))^2 / 2"
    )

    def __init__(
        self,
        seed: int = 0,
        eta: float = 0.1,
        g: str = "last",
        rate: float = 1.0,
        sigma: float = 0.1,
        steps: int = 1,
    ) -> None:
        super().__init__(seed, eta, g)
        self.rate, self.sigma = check_positive(rate, "rate"), check_positive(sigma, "sigma")
        self.steps = check_int(steps, "steps")

    def update_feedback(self, net: Network) -> None:
        self.require(self.output)
        for i in self.sends():
            for k in range(self.steps):
                self.learn_map(i, f"{self.blocks[i].layer.name}/{k}", net.step)

    def learn_map(self, i: int, key: str, step: int) -> None:
        """One update of B of block i; the key and the step key the noise."""
        below, block = self.blocks[i - 1], self.blocks[i]
        h, B = self.heard[below.end.name], self.memory[block.layer.name]
        noisy = h + self.noise(h, key, step)
        y = run(block.layers, noisy, step)
        B -= self.rate * reconstruction_step(block, below, y, noisy, B, self.g, self)


class TP(DTP):
    """Control: target propagation without the difference, t = g(t_above). The error of the reconstruction becomes part
    of the target.

    Args:
        seed, eta, g, rate, sigma, steps: as for `DTP`.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 2)])
    >>> rule, x = mf.rules.TP().attach(net), mf.asarray([[1.0, 2.0, 3.0]])
    >>> value = rule.gradients(net, x, [0], mf.SoftmaxCrossEntropy())
    >>> bool((rule.sent["tanh1"] == rule.send(1, rule.sent["linear2"])).all())
    True
    """

    name = "tp"
    title = "target propagation without the difference (control)"
    equation = "t = g(t_above), g reconstructs"
    paper = "Bengio 2014; control of Lee et al. 2015"
    needs = "as dtp, and an exact inverse of each layer, which no learned g is"

    def target_of(self, i: int) -> Array:
        return self.send(i + 1, self.sent[self.blocks[i + 1].end.name])

    def target_equation(self, i: int) -> tuple[str, dict[str, str]]:
        equation, names = super().target_equation(i)
        return equation.partition("\n")[0].replace("g_t", "t", 1), names
