"""Every registered rule beside backpropagation on the same network: ``minifa bench --rules all``.

A rule makes matrix products that backpropagation does not make: further passes, the learning of its feedback, the
solution of a system. What else it does (noise, elementwise work, Python) should cost little beside them: its time
relative to backpropagation's, divided by its multiply-adds relative to backpropagation's, should be at most `MOST`.
"""

from __future__ import annotations

__all__: list[str] = []

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import backend, rules, text
from ..losses import HalfSquaredError, Loss, SoftmaxCrossEntropy
from ..models import MODELS
from ..network import Network
from ..testing.examples import Model, model_for
from .alternating import alternately, facts, quartile_range, ratios
from .networks import CLASSES, Step, batch
from .step_time import CONSECUTIVE_STEPS, minifa_step

INPUTS, HIDDEN = 784, (256, 256)
MOST = 2.0  # time relative to backpropagation's, divided by products relative to backpropagation's


@dataclass(frozen=True)
class Beside:
    """A rule beside backpropagation on the same network.

    Attributes:
        rule: its name.
        model: the network's model and its options.
        seconds, bp_seconds: of a step, in every round.
        products: multiply-adds of a step relative to backpropagation's; those of solved systems and pseudo-inverses,
            and of the learning of the feedback, are included.
    """

    rule: str
    model: str
    seconds: list[float]
    bp_seconds: list[float]
    products: float

    @property
    def times(self) -> list[float]:
        """Time relative to backpropagation's, in every round."""
        return ratios(self.seconds, self.bp_seconds)

    @property
    def excess(self) -> list[float]:
        """The same, divided by `products`."""
        return [time / self.products for time in self.times]

    @property
    def median_excess(self) -> float:
        return statistics.median(self.excess)


def report(batch_size: int, repeats: int, progress: Callable[[], object] = lambda: None) -> str:
    """The table of all rules."""
    return f"{facts()}\n\n{table(measure(batch_size, repeats, progress), batch_size)}"


def measure(batch_size: int, repeats: int, progress: Callable[[], object] = lambda: None) -> list[Beside]:
    """Every registered rule but backpropagation, each on the model that `minifa.testing.examples.model_for` names.

    Args:
        repeats: rounds, each of which measures backpropagation and the rule.
        progress: called after every rule, for a progress bar.
    """
    measured = []
    for rule in rules.RULES:
        if rule != "bp":
            measured.append(_beside(rule, batch_size, repeats))
            progress()
    return measured


def _beside(rule: str, batch_size: int, repeats: int) -> Beside:
    model, options = model_for(rule)
    with backend.quiet():  # only the arithmetic is timed, not the learning
        (bp, bp_flops), (own, flops) = (_step((model, options), name, batch_size) for name in ("bp", rule))
        seconds = alternately({"bp": bp, rule: own}, repeats, CONSECUTIVE_STEPS, wait=False)
    described = ", ".join([model, *(f"{key}={value}" for key, value in options.items())])
    return Beside(rule, described, seconds[rule], seconds["bp"], flops / bp_flops)


def _step(model: Model, rule: str, batch_size: int) -> tuple[Step, float]:
    """A step, and the operations of its products."""
    name, options = model
    x, y = batch((INPUTS,), batch_size)
    loss: Loss = SoftmaxCrossEntropy()
    n_out = CLASSES
    if name == "autoencoder":
        y, loss, n_out = x, HalfSquaredError(), INPUTS
    net = Network(MODELS[name]((INPUTS,), n_out, hidden=HIDDEN, **options), seed=0, input_shape=(INPUTS,))
    return minifa_step(net, rule, backend.asarray(x), y, loss)[:2]


def table(measured: Sequence[Beside], batch_size: int) -> str:
    """The table, and sentences that name the networks and the rules above `MOST`."""
    rows: list[tuple[str, ...]] = [
        ("rule", "ms", "bp ms", "time / bp", "products / bp", "time / products", "quartiles")
    ]
    for one in measured:
        rows.append(
            (
                one.rule,
                *(f"{statistics.median(seconds) * 1e3:.2f}" for seconds in (one.seconds, one.bp_seconds)),
                *(f"{number:.2f}" for number in (statistics.median(one.times), one.products, one.median_excess)),
                quartile_range(one.excess),
            )
        )
    widths = "-".join(map(str, HIDDEN))
    title = f"{INPUTS} inputs, hidden layers {widths}, batch {batch_size}, medians of {len(measured[0].seconds)}"
    others = ", ".join(f"{one.rule} ({one.model})" for one in measured if one.model != "mlp")
    networks = f"The network is an mlp with ReLU{f', except under {others}' if others else ''}."
    above = ", ".join(f"{one.rule} {one.median_excess:.2f}" for one in measured if one.median_excess > MOST)
    ending = f"{networks} Time / products above {MOST:g}: {above or 'none'}."
    return f"{title}\n{text.table(rows, right_from=1)}\n\n{ending}"
