"""Sign-concordant feedback: B agrees with the forward weights in sign, not in magnitude.

    usf     B = s * sign(W_t)         s: "strict" norm(W_t) / norm(sign(W_t)), "init" norm(W_0) / norm(sign(W_t)),
                                      "std" of W's initialiser, or a number
    frsf    B = |M| * sign(W_t)       M drawn once, from W's own initialiser or another; or given
    brsf    B = |M_t| * sign(W_t)     M drawn anew for every weight update

Moskovitz, Litwin-Kumar & Abbott 2018, "Feedback alignment in deep convolutional networks" (strict normalisation, as
re-implemented by Lance & Kieu 2026, eq. 6, whose "uSF Init" is frsf, eq. 5); Liao, Leibo & Poggio 2016, "How important
is weight symmetry in backpropagation?" (usf, frsf, brsf, concordance); scale="std" as in Xiao et al. 2018. sign(0) = 0.
"""

from __future__ import annotations

__all__ = ["BRSF", "FRSF", "USF"]

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..backend import Array, elementwise, xp
from ..initialisers import Initialiser, find
from ..layers.base import Weighted
from ..network import Network
from ..scalars import above_zero, by_name, one_of, real
from ..streams import TRUNCATED_SD, draw_in_blocks, gaussian, generator, truncated_gaussian, uniform
from .base import Rule
from .scaling import check_normalise, keep_start_norm, norm, norm_and_count, normalised

# mean |w| / sd of a family: the cosine between W and sign(W)
MEAN_MAGNITUDE: dict[Callable[..., Any], float] = {
    gaussian: math.sqrt(2 / math.pi),
    uniform: math.sqrt(3) / 2,
    truncated_gaussian: math.sqrt(2 / math.pi) * (1 - math.exp(-2)) / math.erf(math.sqrt(2)) / TRUNCATED_SD,
}


class SignConcordant(Rule):
    """What the three rules share: the signs. Subclasses give the magnitudes.

    Args:
        seed: keys every draw.
        concordance: probability p that a sign agrees with W's; the places that disagree are drawn once. From 1/2
            (chance) to 1.
        signs: "live" (sign of W as it is now) or "initial" (of W at the start: the control).

    Raises:
        TypeError: an option of another kind.
        ValueError: an option outside its range.
    """

    paper = "Moskovitz et al. 2018; Liao et al. 2016"
    needs = "the sign of every forward weight at its feedback connection"

    def __init__(self, seed: int = 0, concordance: float = 1.0, signs: str = "live") -> None:
        super().__init__(seed)
        self.concordance = real(concordance, "concordance")
        if not 0.5 <= concordance <= 1:
            raise ValueError(f"concordance is a probability from 0.5 (chance) to 1, got {concordance}")
        self.signs = one_of(signs, "signs", ("live", "initial"))

    def draw(self, net: Network) -> None:
        for layer in self.senders(net):
            if self.concordance < 1:
                agrees = (
                    generator(self.seed, "feedback", layer.name + "/mask").random(layer.weight_shape) < self.concordance
                )
                self.memory[f"{layer.name}/mask"] = xp.asarray((2.0 * agrees - 1.0).astype(layer.W.dtype))
            if self.signs == "initial":
                self.memory[f"{layer.name}/signs"] = xp.sign(layer.W)

    def start_angle(self, layer: Weighted) -> float | None:
        """The arc cosine of (2 p - 1) m, m = mean |w| / sd of W's family, times the same of M's family where B's
        magnitudes are drawn too: with p = 1 for Gaussian and uniform weights 37.07 and 30 degrees, with magnitudes of
        W's own family 50.46 and 41.41."""
        families = [init.family for init in (layer.init, *self.magnitudes_from(layer))]
        if layer.init.sd(*layer.fans) == 0 or any(family not in MEAN_MAGNITUDE for family in families):
            return None
        cosine = math.prod(MEAN_MAGNITUDE[family] for family in families)
        return math.degrees(math.acos((2 * self.concordance - 1) * cosine))

    def magnitudes_from(self, layer: Weighted) -> list[Initialiser]:
        """The initialiser that B's magnitudes come from; none where they are all the same."""
        return []

    def feeding(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feeding(layer)
        if self.signs == "initial":
            equation, names["W_0"] = equation.replace("sign(W)", "sign(W_0)"), f"{layer.name}.signs"
        if self.concordance < 1:
            equation, names["mask"] = equation.replace("B = ", "B = mask * "), f"{layer.name}.mask"
        return equation, {**names, "M": f"{layer.name}.M"}

    def signs_of(self, layer: Weighted) -> Array:
        """The array whose signs B takes over: W, or the signs that W had at the start."""
        return self.memory[f"{layer.name}/signs"] if self.signs == "initial" else layer.W

    def masked(self, layer: Weighted, matrix: Array) -> Array:
        """The matrix with the signs turned that are not to agree."""
        return matrix if self.concordance == 1 else matrix * self.memory[f"{layer.name}/mask"]


def _sign_times(out: Array, w: Array, magnitude: Array | float) -> None:
    """out = sign(w) * magnitude."""
    xp.sign(w, out=out)
    out *= magnitude


class USF(SignConcordant):
    """Uniform sign-concordant feedback: every entry has the same magnitude.

    Args:
        scale: "strict" (B keeps W's present norm), "init" (W's norm at the start), "std" (the initialiser's standard
            deviation), or a positive number.
        seed, concordance, signs: as for `SignConcordant`.

    >>> net = mf.Network([mf.Linear(1, 2), mf.Linear(2, 1)])
    >>> net["linear2"].W = mf.asarray([[3.0], [-4.0]])
    >>> mf.rules.USF(scale=0.5).attach(net).B["linear2"].tolist()
    [[0.5], [-0.5]]
    >>> B = mf.rules.USF().attach(net).B["linear2"]  # of W's norm, 5
    >>> [round(b.item(), 4) for b in B]
    [3.5355, -3.5355]
    """

    name = "usf"
    title = "uniform sign-concordant feedback"
    equation = "B = s sign(W)"

    def __init__(
        self, seed: int = 0, scale: str | float = "strict", concordance: float = 1.0, signs: str = "live"
    ) -> None:
        super().__init__(seed, concordance, signs)
        if isinstance(scale, str) and scale not in ("strict", "init", "std"):
            raise ValueError(f"scale is 'strict', 'init', 'std' or a positive number, got {scale!r}")
        self.scale = scale if isinstance(scale, str) else above_zero(scale, "scale")

    def draw(self, net: Network) -> None:
        super().draw(net)
        if self.scale == "init":
            for layer in self.senders(net):
                keep_start_norm(self.memory, layer, "init")

    def feedback(self, layer: Weighted) -> Array:
        s = self.magnitude(layer)
        return self.masked(layer, elementwise(lambda out, w: _sign_times(out, w, s), self.signs_of(layer)))

    def magnitude(self, layer: Weighted) -> Array | float:
        """s, the one magnitude of all entries; norm(sign(W)) is the root of the number of entries that are not zero."""
        if self.scale in ("strict", "init"):
            size, count = norm_and_count(self.signs_of(layer))
            if self.signs == "initial":
                size = norm(layer.W)
            if self.scale == "init":
                size = self.memory[f"{layer.name}/start_norm"]
            return size / xp.sqrt(xp.maximum(count, 1))
        return float(layer.init.sd(*layer.fans) if self.scale == "std" else self.scale)


class FRSF(SignConcordant):
    """Fixed random magnitudes under live signs.

    Args:
        normalise: None, "strict" or "init", as for `FA`.
        init: initialiser of M or its name, "gaussian(0.1)" for instance; None: W's own.
        seed, concordance, signs: as for `SignConcordant`.

    >>> net = mf.Network([mf.Linear(1, 9), mf.Linear(9, 1)])
    >>> layer, rule = net["linear2"], mf.rules.FRSF(seed=0).attach(net)
    >>> B = rule.feedback(layer)
    >>> layer.W = -10 * layer.W  # B's signs follow, its magnitudes do not
    >>> bool((rule.feedback(layer) == -B).all())
    True
    """

    name = "frsf"
    title = "fixed random magnitudes, sign-concordant"
    equation = "B = abs(M) sign(W), M drawn once"

    def __init__(
        self,
        seed: int = 0,
        normalise: str | None = None,
        concordance: float = 1.0,
        signs: str = "live",
        init: str | Initialiser | None = None,
    ) -> None:
        super().__init__(seed, concordance, signs)
        self.normalise = check_normalise(normalise)
        self.init = None if init is None else find(init)

    def magnitudes_from(self, layer: Weighted) -> list[Initialiser]:
        return [self.init or layer.init]

    def feeding(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feeding(layer)
        size = {"strict": ", scaled to norm(W)", "init": ", scaled to norm(W_0)"}.get(self.normalise or "", "")
        return equation + size, names

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.senders(net):
            self.memory[layer.name] = xp.abs(self.draw_matrix(layer, self.init))
            keep_start_norm(self.memory, layer, self.normalise)

    def _take(self, name: str, array: Array) -> None:
        super()._take(name, array if "/" in name else xp.abs(array))

    def magnitude(self, layer: Weighted) -> Array:
        """|M| for this layer."""
        return self.memory[layer.name]

    def feedback(self, layer: Weighted) -> Array:
        matrix = elementwise(_sign_times, self.signs_of(layer), self.magnitude(layer))
        return normalised(self.masked(layer, matrix), self.normalise, layer, self.memory)


class BRSF(FRSF):
    """Random magnitudes drawn anew for every weight update: once per update, however often B is asked for.

    >>> net = mf.Network([mf.Linear(1, 9), mf.Linear(9, 1)])
    >>> rule = mf.rules.BRSF(seed=0).attach(net)
    >>> B = rule.feedback(net["linear2"])
    >>> bool((rule.feedback(net["linear2"]) == B).all())
    True
    >>> mf.SGD().step(net, rule)
    >>> bool((rule.feedback(net["linear2"]) == B).any())
    False
    """

    name = "brsf"
    title = "batchwise random magnitudes, sign-concordant"
    equation = "B = abs(M_t) sign(W), M_t drawn at every update"

    def draw(self, net: Network) -> None:
        super().draw(net)
        self._start()

    def set_feedback(self, name: str, matrix: Any) -> None:
        """As `Rule.set_feedback`, of what is drawn once (the masks, the signs at the start). M is not: a ValueError."""
        if name in self.memory and "/" not in name:
            raise ValueError(
                f"the rule {self.label!r} draws its magnitudes anew for every update, and would forget those of "
                f"{name!r} that it is given: use the rule 'frsf', which keeps them"
            )
        super().set_feedback(name, matrix)

    def load_state(self, state: Mapping[str, Any]) -> None:
        by_name(state, "a state")
        self._start()  # what was drawn for step 0 of another training is no draw for step 0 of this one
        super().load_state(state)

    def _start(self) -> None:
        self.drawn: dict[str, tuple[int, Array]] = {name: (0, array) for name, array in self.memory.items()}

    def magnitude(self, layer: Weighted) -> Array:
        """|M_t|. It follows from seed, layer and step, so it is no state: a resumed run draws the same."""
        assert self.net is not None
        step = self.net.step
        if self.drawn[layer.name][0] != step:
            drawn = draw_in_blocks(
                self.seed,
                "feedback",
                layer.name,
                step,
                layer.W.size,
                lambda rng, n: (self.init or layer.init).draw(rng, (n,), *layer.fans),
            )
            self.drawn[layer.name] = step, xp.asarray(abs(drawn).astype(layer.W.dtype)).reshape(layer.weight_shape)
        return self.drawn[layer.name][1]
