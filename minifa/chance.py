"""What angles unrelated matrices have, as the reference for measured angles.

    W beside B      two unrelated directions of N entries: 90 degrees, sd about 180 / (pi sqrt(N)) = 57.3 / sqrt(N);
                    with equal kernels at all positions of a locally connected layer N is that of one kernel
    errors          depends on the network: measured with other draws of B, on the same network and batch

An angle is distinguishable from chance if it lies outside the band of two standard deviations.
"""

from __future__ import annotations

__all__ = ["DRAWS", "Band", "angle_sd", "error_bands", "unrelated_entries", "weight_band"]

import copy
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from .backend import Array, numbers_of, quietly, xp
from .layers.base import Layer
from .layers.observer import Observer, observing
from .losses import Loss
from .metrics import flags, mean_angle, to_float
from .network import Network
from .rng import check_seed, generator
from .rules.backprop import BP
from .rules.base import Rule, check_parts
from .validation import check_int

DRAWS = 40  # number of other draws of B
POSITIONS = 6  # axes of the W of a locally connected layer
MOST_WORK = 300_000_000  # multiply-adds of a pass: `DRAWS` larger ones would take minutes


class Band(NamedTuple):
    """The angles that chance gives, in degrees: mean and standard deviation.

    >>> band = mf.chance.Band(90.0, 2.0)
    >>> band.low, band.high, 87.0 in band, 80.0 in band
    (86.0, 94.0, True, False)
    """

    mean: float
    sd: float

    @property
    def low(self) -> float:
        """Two standard deviations below the mean."""
        return self.mean - 2 * self.sd

    @property
    def high(self) -> float:
        """Two standard deviations above the mean."""
        return self.mean + 2 * self.sd

    def __contains__(self, angle: object) -> bool:
        return isinstance(angle, (int, float)) and self.low <= angle <= self.high


def angle_sd(entries: int) -> float:
    """Standard deviation in degrees of the angle between two unrelated arrays: 57.3 / sqrt(entries).

    Args:
        entries: number of entries of each array, at least 1. The formula holds for many entries: the cosine of two
            random directions in N dimensions has the standard deviation 1 / sqrt(N).

    Raises:
        TypeError, ValueError: not an int of at least 1.

    >>> round(mf.chance.angle_sd(8), 1), round(mf.chance.angle_sd(5000), 2)
    (20.3, 0.81)
    """
    return math.degrees(1 / math.sqrt(check_int(entries, "the number of entries")))


def weight_band(entries: int) -> Band:
    """The angles of W beside an unrelated B of this number of entries. Raises TypeError, ValueError as `angle_sd`."""
    return Band(90.0, angle_sd(entries))


@quietly
def unrelated_entries(W: Array, B: Array | None = None) -> int:
    """The number of entries N for `angle_sd` and `weight_band`: that of the arrays, or a smaller one if the kernels of
    B are equal at all positions of a locally connected layer (``equal_start``): these are no independent draws.

    With P equal kernels of k entries in B, W . B is the product of B's kernel with the sum of W's kernels, so that
    N = k P |W|^2 / |sum of W's kernels|^2: k if W's kernels are equal too, k P if they are independent.

    Args:
        W: (..., n_in, n_out), of a locally connected layer (oH, oW, kH, kW, C_in, C_out).
        B: an array of the feedback; one of another shape has no equal kernels. None: drawn as W is.

    Raises:
        TypeError: an argument that is not an array of numbers.

    >>> W = mf.LocallyConnected2d(2, 3, 3, input_size=6, equal_start=True).W
    >>> W.size, mf.chance.unrelated_entries(W)
    (864, 54)
    """
    W = numbers_of(W, "W")
    B = W if B is None else numbers_of(B, "B")
    if W.ndim != POSITIONS or B.shape != W.shape or bool((B != B[:1, :1]).any()):
        return int(W.size)
    scale = abs(W).max()
    total = float(((W / scale).sum(axis=(0, 1)) ** 2).sum())
    each = W.size * float(((W / scale) ** 2).sum())
    return round(each / total) if 0 < each <= W.size * total else int(W.size)


@quietly
def error_bands(
    net: Network, rule: Rule, x: Array, y: Any, loss: Loss, draws: int = DRAWS, seed: int = 0
) -> dict[str, Band]:
    """The angles between the errors of other draws of B and backpropagation's errors, for the same network and batch.

    Another draw has no relation to W. For a rule that carries errors through the layers, it is B with its entries in a
    random order and with random signs, so that B keeps its scale. For a direct rule it is drawn under another seed.
    As in `minifa.metrics.alignment`, an angle is a mean over examples, and no state is changed.

    Args:
        net, rule, x, y, loss: as for `minifa.metrics.errors`.
        draws: number of other draws, at least 2.
        seed: of the other draws.

    Returns:
        By layer name, for the layers at whose output the error depends on B: mean and standard deviation over the
        draws. Empty for a rule without feedback matrices or without a backward pass.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: fewer than two draws, or a batch that does not fit the network.

    >>> net = mf.Network([mf.Linear(4, 50), mf.Tanh(), mf.Linear(50, 3)])
    >>> rule, loss = mf.rules.FA().attach(net), mf.SoftmaxCrossEntropy()
    >>> x = mf.asarray(np.eye(4))
    >>> bands = mf.chance.error_bands(net, rule, x, [0, 1, 2, 0], loss)
    >>> list(bands), 85 < bands["linear1"].mean < 95  # at the output layer all rules have the same error
    (['linear1', 'tanh1'], True)
    """
    check_parts(net, rule, loss)
    draws, seed = check_int(draws, "the number of draws", least=2), check_seed(seed)
    if not rule.one_backward_pass or not rule.B:
        return {}
    with net.preserved(), rule.preserved():
        output = net.forward(x, rule.training_pass(net, update_statistics=False))
        rule.compute_error(output, y, loss)
        true = _errors(net, BP(), rule.error)
        angles: dict[str, list[float]] = {layer.name: [] for layer in net}
        listens = type(rule).training_pass is not Rule.training_pass  # then each draw needs activities of its own
        for drawn in _other_draws(net, rule, draws, seed):
            if listens:
                output = net.forward(x, drawn.training_pass(net, update_statistics=False))
            drawn.compute_error(output, y, loss)
            own = _errors(net, drawn, drawn.error)
            for name, known in angles.items():
                angle = to_float(mean_angle(own.get(name), true.get(name)))
                if angle is not None:
                    known.append(angle)
    import statistics  # here: it imports the modules of fractions and decimal numbers

    # Where no B takes part, as at the output layer, all draws give the same angle.
    spread = {name: known for name, known in angles.items() if len(known) > 1 and max(known) - min(known) > 1e-3}
    return {name: Band(statistics.fmean(known), statistics.stdev(known)) for name, known in spread.items()}


def bands_in_time(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Band]:
    """`error_bands` for figures and pages; empty if they would take minutes, because of a large network and batch."""
    forward = sum(
        layer.fans[0] * layer.weight_shape[-1] * math.prod((layer.output_shape or (1,))[:-1]) for layer in net.weighted
    )
    backward = sum(B.size for B in rule.B.values())  # of more than the weights if it is dense between maps
    return error_bands(net, rule, x, y, loss) if (forward + backward) * len(x) <= MOST_WORK else {}


def _other_draws(net: Network, rule: Rule, draws: int, seed: int) -> Iterator[Rule]:
    """Copies of the rule with other matrices; the rule itself is not changed."""
    for number in range(draws):
        other = copy.copy(rule)
        if rule.crosses_weights:
            matrices = {name: _shuffled(B, seed, name, number) for name, B in rule.B.items()}
            vars(other).update(feedback=lambda layer, drawn=matrices: drawn.get(layer.name), _B={}, _versions=None)
        else:
            other.seed = int(generator(seed, "chance", "", number).integers(2**31))
            other.attach(net)
        yield other


def _shuffled(B: Array, seed: int, name: str, number: int) -> Array:
    """The entries of B in a random order and with random signs."""
    rng = generator(seed, "chance", name, number)
    equal = unrelated_entries(B) < B.size  # then another draw has equal kernels, too
    drawn = B[0, 0] if equal else B
    order, signs = rng.permutation(drawn.size), 2.0 * rng.integers(2, size=drawn.size) - 1.0
    shuffled = (drawn.reshape(-1)[xp.asarray(order)] * xp.asarray(signs.astype(B.dtype))).reshape(drawn.shape)
    return xp.ascontiguousarray(xp.broadcast_to(shuffled, B.shape)) if equal else shuffled


class _Errors(Observer):
    """Records the error at the output of every layer."""

    def __init__(self) -> None:
        self.delta: dict[str, Array] = {}

    def on_teach(self, layer: Layer, delta: Array | None, taught: Array | None) -> None:
        if taught is not None:
            self.delta[layer.name] = taught


def _errors(net: Network, rule: Rule, error: Array | None) -> dict[str, Array]:
    recorder = _Errors()
    net.clear_gradients()
    # Frozen: no dW, a third of the work. The errors do not depend on it.
    with observing(recorder), flags(net.weighted, frozen=True):
        net.backward(rule.require(error), rule)
    return recorder.delta
