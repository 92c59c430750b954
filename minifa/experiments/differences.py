"""Differences between the scores of two rows of a table, with two standard errors that answer different questions.

From the seeds: the rows were run under the same n seeds, and d_i is the difference under seed i. With the sample
standard deviation sd(d) and the quantile t of Student's distribution with n - 1 degrees of freedom,

    standard error = sd(d) / sqrt(n),    95 % interval = mean(d) ± t(0.975, n - 1) sd(d) / sqrt(n)          (`paired`)

Rows without common seeds have variances v1 and v2 of their n1 and n2 scores (Welch 1947, Satterthwaite 1946):

    standard error = sqrt(v1/n1 + v2/n2),   df = (v1/n1 + v2/n2)² / (v1²/(n1² (n1-1)) + v2²/(n2² (n2-1)))  (`unpaired`)

From the test examples: all runs are measured on the same N examples. c_j is the difference of example j, the mean over
seeds of (1 if correct) - (1 if the reference is correct):

    standard error = sd(c) / sqrt(N)                                                                    (`image_error`)

With one seed this is the standard error of McNemar's comparison (McNemar 1947), times sqrt(N / (N - 1)).

The seeds cover other initial weights, orders of examples and feedback matrices, on these test examples. The examples
cover other test examples of the same kind, for these trained networks. Neither covers another training set.
"""

from __future__ import annotations

__all__ = ["Difference", "image_error", "paired", "t_quantile", "unpaired"]

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backend import numbers_of
from ..validation import check_float, check_list, check_type
from .tables import sample_sd

LEVEL = 0.95  # of the intervals
ROUNDED = 1e-13  # of the largest score: differences that differ by less are equal
STEPS = 100  # at most, of Newton's method: 43 for the smallest tail with df = 1, where a step doubles t at most
LEAST_TAIL = 1e-12
NEARLY_NORMAL = (
    1e5  # degrees of freedom; from here on a correction of the normal quantile has a relative error below 1e-8
)


@dataclass(frozen=True)
class Difference:
    """A mean difference of scores and its t interval, in the unit of the scores.

    ``sd``, ``standard_error``, ``df``, ``low`` and ``high`` are None with a single pair (unpaired: a group of one
    score), or if a score is not finite, as those of diverged runs.

    Attributes:
        mean: mean of the scores minus the reference.
        n: number of pairs; unpaired: number of scores of the smaller group.
        sd: sample standard deviation of the differences between single runs; unpaired: sqrt(v1 + v2).
        standard_error: of the mean, over seeds.
        df: degrees of freedom.
        low, high: limits of the 95 % interval of the mean.
        paired: whether the scores were paired by seed.
    """

    mean: float
    n: int
    sd: float | None
    standard_error: float | None
    df: float | None
    low: float | None
    high: float | None
    paired: bool


def paired(scores: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """The mean difference ``scores - reference`` over the seeds that both have.

    Args:
        scores, reference: scores by seed, in the same unit.

    Raises:
        TypeError: not mappings of seeds to numbers.
        ValueError: no common seed.

    >>> from minifa.experiments import differences
    >>> one = differences.paired({0: 71.0, 1: 72.0, 2: 70.0}, {0: 75.0, 1: 75.0, 2: 75.0})
    >>> one.mean, one.n, one.sd, one.df, f"{one.low:.2f} to {one.high:.2f}"
    (-4.0, 3, 1.0, 2.0, '-6.48 to -1.52')
    """
    mine, theirs = (by_seed(one, name) for one, name in ((scores, "scores"), (reference, "the reference")))
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        raise ValueError(
            f"paired scores need a common seed, got the seeds {_listed(mine)} and {_listed(theirs)}: use unpaired for "
            "these"
        )
    values = [mine[seed] - theirs[seed] for seed in common]
    mean, sd, df = statistics.fmean(values), sample_sd(values), len(values) - 1
    if sd is None:
        return Difference(mean, len(values), None, None, None, None, None, True)
    largest = max(abs(one[seed]) for one in (mine, theirs) for seed in common)
    if max(values) - min(values) <= ROUNDED * largest:
        sd = 0.0  # else differences that are equal but for rounding would have an interval of a width
    error = sd / math.sqrt(len(values))
    return Difference(mean, len(values), sd, error, float(df), *_interval(mean, error, df), True)


def unpaired(scores: Sequence[float], reference: Sequence[float]) -> Difference:
    """The difference of two means whose runs have no seeds in common, with the degrees of freedom of Welch and
    Satterthwaite; n1 + n2 - 2 if neither group varies.

    Args:
        scores, reference: one score per run, in the same unit.

    Raises:
        TypeError: not lists of numbers.
        ValueError: no scores.

    >>> from minifa.experiments import differences
    >>> one = differences.unpaired([70.0, 72.0, 74.0], [75.0, 77.0])
    >>> one.mean, one.n, f"{one.standard_error:.3f} with {one.df:.2f}"
    (-4.0, 2, '1.528 with 2.88')
    """
    groups = [_values(scores, "scores"), _values(reference, "the reference")]
    mean, n = statistics.fmean(groups[0]) - statistics.fmean(groups[1]), min(map(len, groups))
    sizes, sds = list(map(len, groups)), [sd for sd in map(sample_sd, groups) if sd is not None]
    if len(sds) < len(groups):
        return Difference(mean, n, None, None, None, None, None, False)
    errors = [sd / math.sqrt(size) for sd, size in zip(sds, sizes, strict=True)]
    error = math.hypot(*errors)
    shares = [(one / error) ** 2 if error else 0.0 for one in errors]  # of v/n in the sum: no square overflows
    spread = sum(share**2 / (size - 1) for share, size in zip(shares, sizes, strict=True))
    df = max(1.0, 1 / spread) if spread else float(sum(sizes) - 2)
    return Difference(mean, n, math.hypot(*sds), error, df, *_interval(mean, error, df), False)


def image_error(correct: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The standard error, from the common test examples, of the mean difference of two accuracies, as a share (times
    100: in points).

    Args:
        correct, reference: bool (seeds, N), whether each of the N >= 2 test examples is classified correctly.

    Raises:
        TypeError: arrays that are not bool.
        ValueError: arrays of other or different shapes, or a single example.

    >>> from minifa.experiments import differences
    >>> alone, both = [[True, False, False, False]], [[True, True, False, False]]
    >>> differences.image_error(alone, both)  # of (0, -1, 0, 0)
    0.25
    """
    mine, theirs = _flags(correct, "correct"), _flags(reference, "reference")
    if mine.shape != theirs.shape:
        raise ValueError(f"correct and reference must have one shape, got {mine.shape} and {theirs.shape}")
    by_example = mine.mean(axis=0) - theirs.mean(axis=0)  # (N,)
    return float(by_example.std(ddof=1) / math.sqrt(len(by_example)))


def t_quantile(p: float, df: float) -> float:
    """The quantile of Student's t distribution: P(T <= t) = p.

    Newton's method on the tail, from the normal quantile, which lies nearer to 0. The density falls from there on, so
    that no step passes the quantile.

    Args:
        p: probability, from 1e-12 to 1 - 1e-12.
        df: degrees of freedom, a real number >= 1.

    Raises:
        TypeError: not numbers.
        ValueError: p or df out of range.

    >>> from minifa.experiments.differences import t_quantile
    >>> [round(t_quantile(0.975, df), 3) for df in (1, 2, 4.5, 30)]
    [12.706, 4.303, 2.659, 2.042]
    """
    p, df = check_float(p, "the probability of a quantile"), check_float(df, "the degrees of freedom")
    if not LEAST_TAIL <= p <= 1 - LEAST_TAIL:
        raise ValueError(f"the probability of a quantile must lie from {LEAST_TAIL:g} to 1 - {LEAST_TAIL:g}, got {p:g}")
    if not 1 <= df < math.inf:
        raise ValueError(f"the degrees of freedom must be a finite number from 1 up, got {df:g}")
    tail, sign = min(p, 1 - p), math.copysign(1.0, p - 0.5)
    t = z = -statistics.NormalDist().inv_cdf(tail)
    if df > NEARLY_NORMAL or z == 0:
        return sign * (z + (z**3 + z) / (4 * df))  # Abramowitz & Stegun 1964, 26.7.5
    log_peak = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    for _ in range(STEPS):
        density = math.exp(log_peak - (df + 1) / 2 * math.log1p(t * t / df))
        step = (_upper_tail(t, df) - tail) / density
        t += step
        if abs(step) <= 1e-13 * t:
            break
    return sign * t


def _upper_tail(t: float, df: float) -> float:
    """P(T > t) = I(df / (df + t²); df/2, 1/2) / 2 for t > 0 (Abramowitz & Stegun 1964, 26.7.1)."""
    x, a = df / (df + t * t), df / 2
    if x < (a + 1) / (a + 2.5):  # where the continued fraction converges quickly
        return _incomplete_beta(x, a, 0.5) / 2
    return 0.5 - _incomplete_beta(t * t / (df + t * t), 0.5, a) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function by its continued fraction (Abramowitz & Stegun 1964, 26.5.8)."""
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = 1.0
    for m in range(50 + 5 * math.isqrt(math.ceil(max(a, b))), 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        fraction = 1 + odd / (1 + even / fraction)
    return math.exp(log_front) / (a * fraction)


def _interval(mean: float, error: float, df: float) -> tuple[float, float]:
    half = t_quantile((1 + LEVEL) / 2, df) * error
    return mean - half, mean + half


def by_seed(scores: Any, what: str) -> dict[int, float]:
    """The scores by seed of ``what``. Raises TypeError unless they are a mapping of ints to numbers."""
    check_type(scores, Mapping, f"{what} must be a mapping of seeds to scores, as {{0: 71.5, 1: 72.0}}")
    seeds = check_list(scores, int, f"the seeds of {what} must be ints")
    return {seed: check_float(scores[seed], f"the score of seed {seed} in {what}") for seed in seeds}


def _values(scores: Any, what: str) -> list[float]:
    given = check_list(scores, object, f"{what} must be a list of numbers")
    if not given:
        raise ValueError(f"{what} must hold at least one score, got none")
    return [check_float(one, f"a score in {what}") for one in given]


def _listed(seeds: Mapping[int, float]) -> str:
    return ", ".join(map(str, sorted(seeds))) or "(none)"


def _flags(values: npt.ArrayLike, name: str) -> npt.NDArray[np.bool_]:
    flags = numbers_of(values, name)
    if flags.dtype.kind != "b":
        raise TypeError(f"{name} must be bool, whether each test example is classified correctly, got {flags.dtype}")
    if flags.ndim != 2 or not len(flags) or flags.shape[1] < 2:
        raise ValueError(f"{name} must have the shape (seeds, examples) with at least two examples, got {flags.shape}")
    return flags
