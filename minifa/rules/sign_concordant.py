"""Sign-concordant feedback: B has the signs of the forward weights, but not their magnitudes.

    usf     B = s * sign(W_t)         s: "strict" norm(W_t) / norm(sign(W_t)), "init" norm(W_0) / norm(sign(W_t)),
                                      "std": the standard deviation of W's initialiser; or a number
    frsf    B = |M| * sign(W_t)       M drawn once, from W's initialiser or ``init``
    brsf    B = |M_t| * sign(W_t)     M redrawn for each weight update

Moskovitz, Litwin-Kumar & Abbott 2018, "Feedback alignment in deep convolutional networks" (strict normalisation, as
re-implemented by Lance & Kieu 2026, eq. 6, whose "uSF Init" is frsf, eq. 5); Liao, Leibo & Poggio 2016, "How important
is weight symmetry in backpropagation?" (usf, frsf, brsf, concordance); scale="std" as in Xiao et al. 2018. sign(0) = 0.
"""

from __future__ import annotations

__all__ = ["BRSF", "FRSF", "USF"]

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..backend import Array, xp
from ..initialisers import Initialiser, find
from ..layers.weighted import Weighted
from ..linalg import norm, norm_and_count
from ..network import Network
from ..parallel.chunks import elementwise
from ..rng import TRUNCATED_SD, draw_in_blocks, gaussian, generator, truncated_gaussian, uniform
from ..validation import check_choice, check_float, check_mapping, check_positive
from .base import Rule
from .scaling import check_normalise, normalised, store_start_norm

# mean |w| / sd by family of distributions: the cosine between W and sign(W)
MEAN_MAGNITUDE: dict[Callable[..., Any], float] = {
    gaussian: math.sqrt(2 / math.pi),
    uniform: math.sqrt(3) / 2,
    truncated_gaussian: math.sqrt(2 / math.pi) * (1 - math.exp(-2)) / math.erf(math.sqrt(2)) / TRUNCATED_SD,
}


class SignConcordant(Rule):
    """The base class of the three rules: it provides the signs, subclasses the magnitudes.

    Args:
        seed: keys all random draws.
        concordance: probability p that an entry's sign agrees with W's, from 1/2 (chance) to 1; drawn once per entry.
        signs: "live" (the signs of the current W) or "initial" (of the initial W, as a control).

    Raises:
        TypeError, ValueError: an option of the wrong type or outside its range.
    """

    paper = "Moskovitz et al. 2018; Liao et al. 2016"
    needs = "the sign of every forward weight at its feedback connection"

    def __init__(self, seed: int = 0, concordance: float = 1.0, signs: str = "live") -> None:
        super().__init__(seed)
        self.concordance = check_float(concordance, "concordance")
        if not 0.5 <= concordance <= 1:
            raise ValueError(f"concordance must be a probability from 0.5 (chance) to 1, got {concordance}")
        self.signs = check_choice(signs, "signs", ("live", "initial"))

    def draw(self, net: Network) -> None:
        for layer in self.layers_with_feedback(net):
            if self.concordance < 1:
                rng = generator(self.seed, "feedback", layer.name + "/mask")
                agrees = rng.random(layer.weight_shape) < self.concordance
                self.memory[f"{layer.name}/mask"] = xp.asarray((2.0 * agrees - 1.0).astype(layer.W.dtype))
            if self.signs == "initial":
                self.memory[f"{layer.name}/signs"] = xp.sign(layer.W)

    def start_angle(self, layer: Weighted) -> float | None:
        """The arc cosine of (2 p - 1) m, with m = mean |w| / sd of W's family, multiplied by the same ratio of M's
        family if B's magnitudes are drawn. For p = 1 and Gaussian or uniform weights: 37.07 or 30 degrees; with
        magnitudes from W's family: 50.46 or 41.41 degrees."""
        families = [init.family for init in (layer.init, *self.magnitude_initialisers(layer))]
        if layer.init.sd(*layer.fans) == 0 or any(family not in MEAN_MAGNITUDE for family in families):
            return None
        cosine = math.prod(MEAN_MAGNITUDE[family] for family in families)
        return math.degrees(math.acos((2 * self.concordance - 1) * cosine))

    def magnitude_initialisers(self, layer: Weighted) -> list[Initialiser]:
        """The initialiser of B's magnitudes, as a list; empty if all magnitudes are equal."""
        return []

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feedback_equation(layer)
        if self.signs == "initial":
            equation, names["W_0"] = equation.replace("sign(W)", "sign(W_0)"), f"{layer.name}.signs"
        if self.concordance < 1:
            equation, names["mask"] = equation.replace("B = ", "B = mask * "), f"{layer.name}.mask"
        return equation, {**names, "M": f"{layer.name}.M"}

    def sign_source(self, layer: Weighted) -> Array:
        """The array that gives B its signs: W, or the signs of the initial W."""
        return self.memory[f"{layer.name}/signs"] if self.signs == "initial" else layer.W

    def flip_signs(self, layer: Weighted, matrix: Array) -> Array:
        """Flip the signs of the disagreeing entries."""
        return matrix if self.concordance == 1 else matrix * self.memory[f"{layer.name}/mask"]


def _sign_times(out: Array, w: Array, magnitude: Array | float) -> None:
    """out = sign(w) * magnitude."""
    xp.sign(w, out=out)
    out *= magnitude


class USF(SignConcordant):
    """Uniform sign-concordant feedback: all entries have the same magnitude.

    Args:
        scale: "strict" (B has the norm of the current W), "init" (the norm of the initial W), "std" (the standard
            deviation of W's initialiser), or a positive number.
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
            raise ValueError(f"scale must be 'strict', 'init', 'std' or a number above 0, got {scale!r}")
        self.scale = scale if isinstance(scale, str) else check_positive(scale, "scale")

    def draw(self, net: Network) -> None:
        super().draw(net)
        if self.scale == "init":
            for layer in self.layers_with_feedback(net):
                store_start_norm(self.memory, layer, "init")

    def feedback(self, layer: Weighted) -> Array:
        s = self.magnitude(layer)
        return self.flip_signs(layer, elementwise(lambda out, w: _sign_times(out, w, s), self.sign_source(layer)))

    def magnitude(self, layer: Weighted) -> Array | float:
        """The magnitude s of all entries; norm(sign(W)) is the square root of the number of nonzero entries."""
        if self.scale in ("strict", "init"):
            target, count = norm_and_count(self.sign_source(layer))
            if self.signs == "initial":
                target = norm(layer.W)
            if self.scale == "init":
                target = self.memory[f"{layer.name}/start_norm"]
            return target / xp.sqrt(xp.maximum(count, 1))
        return float(layer.init.sd(*layer.fans) if self.scale == "std" else self.scale)


class FRSF(SignConcordant):
    """Fixed random magnitudes with the signs of the current W.

    Args:
        normalise: None, "strict" or "init", as for `FA`.
        init: initialiser of M or its name, for example "gaussian(0.1)"; None: W's initialiser.
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

    def magnitude_initialisers(self, layer: Weighted) -> list[Initialiser]:
        return [self.init or layer.init]

    def feedback_equation(self, layer: Weighted) -> tuple[str, dict[str, str]]:
        equation, names = super().feedback_equation(layer)
        size = {"strict": ", scaled to norm(W)", "init": ", scaled to norm(W_0)"}.get(self.normalise or "", "")
        return equation + size, names

    def draw(self, net: Network) -> None:
        super().draw(net)
        for layer in self.layers_with_feedback(net):
            self.memory[layer.name] = xp.abs(self.draw_matrix(layer, self.init))
            store_start_norm(self.memory, layer, self.normalise)

    def _store(self, name: str, array: Array) -> None:
        super()._store(name, array if "/" in name else xp.abs(array))

    def magnitude(self, layer: Weighted) -> Array:
        """|M| for this layer."""
        return self.memory[layer.name]

    def feedback(self, layer: Weighted) -> Array:
        matrix = elementwise(_sign_times, self.sign_source(layer), self.magnitude(layer))
        return normalised(self.flip_signs(layer, matrix), self.normalise, layer, self.memory)


class BRSF(FRSF):
    """Random magnitudes M, redrawn once per weight update; M is constant between updates, however often B is computed.

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
        self._discard_draws()

    def set_feedback(self, name: str, matrix: Any) -> None:
        """As `Rule.set_feedback`, for the arrays that are drawn once: the masks and the initial signs. Raises
        ValueError for M, which is redrawn."""
        if name in self.memory and "/" not in name:
            raise ValueError(
                f"the magnitudes {name!r} of the rule {self.label!r} cannot be set, because it redraws them for every "
                "update: use the rule 'frsf', which draws them once"
            )
        super().set_feedback(name, matrix)

    def load_state(self, state: Mapping[str, Any]) -> None:
        check_mapping(state, "a state")
        self._discard_draws()  # step 0 uses the loaded magnitudes
        super().load_state(state)

    def _discard_draws(self) -> None:
        self.drawn: dict[str, tuple[int, Array]] = {name: (0, array) for name, array in self.memory.items()}

    def magnitude(self, layer: Weighted) -> Array:
        """|M_t|, a function of seed, layer and step. It is not part of the state: a resumed run draws the same."""
        assert self.net is not None
        step = self.net.step
        if self.drawn[layer.name][0] != step:
            init = self.init or layer.init
            drawn = draw_in_blocks(
                self.seed, "feedback", layer.name, step, layer.W.size, lambda rng, n: init.draw(rng, (n,), *layer.fans)
            )
            self.drawn[layer.name] = step, xp.asarray(abs(drawn).astype(layer.W.dtype)).reshape(layer.weight_shape)
        return self.drawn[layer.name][1]
