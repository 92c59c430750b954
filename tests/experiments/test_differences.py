"""Differences between rows of a table: closed forms, SciPy, and simulations of what the standard errors claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minifa.experiments import differences
from minifa.experiments.differences import Difference, image_error, paired, t_quantile, unpaired
from minifa.experiments.tables import sample_sd


def test_quantiles_of_one_two_and_four_degrees_of_freedom_have_closed_forms():
    for p in (1e-12, 1e-6, 0.025, 0.3, 0.5, 0.6, 0.9, 0.975, 0.9995):
        assert t_quantile(p, 1) == pytest.approx(-1 / math.tan(math.pi * p), rel=1e-9, abs=1e-12)
        alpha = 4 * p * (1 - p)
        assert t_quantile(p, 2) == pytest.approx(2 * (p - 0.5) * math.sqrt(2 / alpha), rel=1e-9, abs=1e-12)
        root = math.cos(math.acos(math.sqrt(alpha)) / 3) / math.sqrt(alpha)
        expected = math.copysign(2 * math.sqrt(max(root - 1, 0.0)), p - 0.5)
        assert t_quantile(p, 4) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_quantiles_are_those_of_published_tables():
    """The 97.5 % points of tables of Student's distribution."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {df: round(t_quantile(0.975, df), 3) for df in table} == table


def test_quantiles_are_scipys_for_real_degrees_of_freedom():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    for df in (1, 1.2, 1.5, 2.88, 4.5, 30, 359.7, 1e4, 9e4, 2e5, 1e6):
        for p in (1e-9, 1e-4, 0.025, 0.3, 0.4999, 0.5001, 0.8, 0.95, 0.975, 0.9995):
            assert t_quantile(p, df) == pytest.approx(float(stats.t.ppf(p, df)), rel=1e-8), (p, df)


def test_impossible_quantiles_are_refused():
    for p in (0, 1, -0.1, math.nan, 1e-13):
        with pytest.raises(ValueError, match="must lie from 1e-12 to 1 - 1e-12, got"):
            t_quantile(p, 3)
    for df in (0.99, 0, math.inf, math.nan):
        with pytest.raises(ValueError, match="degrees of freedom must be a finite number from 1 up, got"):
            t_quantile(0.5, df)
    with pytest.raises(TypeError, match="degrees of freedom"):
        t_quantile(0.5, "two")


def test_pairs_are_common_seeds_in_any_order():
    one = paired({2: 70.0, 0: 71.0, 1: 72.0, 7: 0.0}, {0: 75.0, 1: 75.0, 2: 75.0, 5: 99.0})
    assert (one.mean, one.n, one.sd, one.df, one.paired) == (-4.0, 3, 1.0, 2.0, True)
    assert one.standard_error == pytest.approx(1 / math.sqrt(3))
    half = 2 * 0.95 * math.sqrt(2 / (1 - 0.95**2)) / 2 / math.sqrt(3)  # closed form of the quantile with df = 2
    assert (one.low, one.high) == (pytest.approx(-4 - half), pytest.approx(-4 + half))


def test_a_common_effect_of_the_seeds_cancels_only_in_pairs():
    effect = {seed: 10.0 * seed for seed in range(4)}
    scores = {seed: value - 1 + 0.1 * (-1) ** seed for seed, value in effect.items()}
    together, apart = paired(scores, effect), unpaired(list(scores.values()), list(effect.values()))
    assert together.mean == pytest.approx(apart.mean) == pytest.approx(-1)
    assert together.high < 0 < apart.high


def test_a_single_pair_has_a_mean_only():
    assert paired({0: 1.0}, {0: 3.0, 1: 4.0}) == Difference(-2.0, 1, None, None, None, None, None, True)
    assert unpaired([1.0], [3.0, 4.0]) == Difference(-2.5, 1, None, None, None, None, None, False)


def test_diverged_runs_have_no_interval():
    for bad in (math.nan, math.inf):
        for one in (paired({0: bad, 1: 1.0}, {0: 1.0, 1: 1.0}), unpaired([bad, 1.0], [1.0, 1.0])):
            assert not math.isfinite(one.mean) and one.n == 2
            assert one.sd is one.standard_error is one.df is one.low is one.high is None


def test_equal_differences_have_an_interval_of_no_width():
    one, other = paired({0: 1.0, 1: 2.0}, {0: 3.0, 1: 4.0}), unpaired([1.0, 1.0], [3.0, 3.0, 3.0])
    assert (one.low, one.high, one.sd, one.df) == (-2.0, -2.0, 0.0, 1.0)
    assert (other.low, other.high, other.sd, other.df) == (-2.0, -2.0, 0.0, 3.0)


@pytest.mark.parametrize("scale", [1, 100, 1e-3])
def test_differences_that_are_equal_but_for_rounding_have_an_interval_of_no_width(scale):
    """Accuracies on 360 images are multiples of 1/360: the same difference under two seeds is no rare event."""
    for correct in range(300, 350):
        scores, reference = ({0: scale * (k / 360), 1: scale * ((k + 7) / 360)} for k in (correct + 4, correct))
        one = paired(scores, reference)
        assert one.low == one.high == one.mean == pytest.approx(scale * 4 / 360) and one.sd == 0
    near = paired({0: 1.0, 1: 1.0 + 1e-9}, {0: 0.5, 1: 0.5})
    assert near.sd == pytest.approx(1e-9 / math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("size", [1e-160, 1e-90, 1e90, 1e160])
def test_the_squares_of_very_large_and_small_scores_do_not_overflow(size):
    one, same = unpaired([size, 0.0], [2 * size, 4 * size, size]), unpaired([1.0, 0.0], [2.0, 4.0, 1.0])
    assert (one.df, one.low / size, one.sd / size) == pytest.approx((same.df, same.low, same.sd))


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-160, 1e-3, 1e160, 1e308])
def test_the_sd_of_very_large_and_small_scores_is_exact(size):
    """The squares of the standard library's stdev overflow and underflow before Python 3.11."""
    assert sample_sd([size, 0.0]) == pytest.approx(size / math.sqrt(2), rel=1e-15, abs=5e-324)
    assert paired({0: size, 1: 0.0}, {0: 0.0, 1: 0.0}).sd == sample_sd([size, 0.0])
    assert sample_sd([size, size, size]) == sample_sd([0, 0]) == 0.0


def test_unpaired_groups_of_equal_size_and_variance_have_the_classic_degrees_of_freedom():
    one = unpaired([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    assert (one.mean, one.n, one.df) == (-4.0, 3, pytest.approx(4))
    assert one.standard_error == pytest.approx(math.sqrt(2 / 3)) and one.sd == pytest.approx(math.sqrt(2))


def test_intervals_are_scipys():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    draw = np.random.default_rng(0)
    for n, m in ((2, 2), (3, 5), (9, 4)):
        scores, reference = draw.normal(70, 1, n), draw.normal(72, 3, m)
        mine, theirs = unpaired(scores, reference), stats.ttest_ind(scores, reference, equal_var=False)
        limits = theirs.confidence_interval(0.95)
        assert (mine.df, mine.low, mine.high) == pytest.approx((theirs.df, limits.low, limits.high), rel=1e-9)
        other = draw.normal(72, 3, n)
        mine, theirs = paired(dict(enumerate(scores)), dict(enumerate(other))), stats.ttest_rel(scores, other)
        limits = theirs.confidence_interval(0.95)
        assert (mine.df, mine.low, mine.high) == pytest.approx((theirs.df, limits.low, limits.high), rel=1e-9)


def test_with_one_seed_the_image_error_is_mcnemars():
    draw = np.random.default_rng(1)
    mine, theirs = draw.random((2, 1, 400)) < [[[0.7]], [[0.8]]]
    b, c, n = int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), 400
    mcnemar = math.sqrt(b + c - (b - c) ** 2 / n) / n
    assert b and c
    assert image_error(mine, theirs) == pytest.approx(mcnemar * math.sqrt(n / (n - 1)), rel=1e-12)
    assert image_error(mine, mine) == 0.0 and image_error(mine, theirs) == image_error(theirs, mine)


def test_the_image_error_of_several_seeds_is_that_of_their_mean():
    mine, theirs = [[True, False, True], [True, True, False]], [[False, True, True], [False, True, True]]
    by_example = np.array([1.0, -0.5, -0.5])
    assert image_error(mine, theirs) == pytest.approx(by_example.std(ddof=1) / math.sqrt(3))


def test_the_image_error_is_the_spread_over_other_test_sets():
    """Three fixed networks per row answer a large pool; test sets of 200 examples are drawn from it."""
    draw = np.random.default_rng(2)
    easy = draw.random(100_000)  # examples are of different difficulty, for all networks alike
    mine, theirs = (draw.random((3, 100_000)) < 0.3 * easy + base for base in (0.50, 0.55))
    sets = draw.integers(0, 100_000, (2000, 200))
    means = [(mine[:, one].mean() - theirs[:, one].mean()) for one in sets]
    errors = [image_error(mine[:, one], theirs[:, one]) for one in sets[:300]]
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.05)


@pytest.mark.long
def test_intervals_cover_the_true_difference_in_95_of_100_repetitions():
    """Three pairs, and groups of three and five with different variances: of 2,000 intervals, sd 0.5 %."""
    draw = np.random.default_rng(3)
    inside = {"paired": 0, "unpaired": 0}
    for _ in range(2000):
        seeds = draw.normal(0, 5, 3)
        mine, theirs = seeds + draw.normal(-2, 1, 3), seeds + draw.normal(0, 1, 3)
        one = paired(dict(enumerate(mine)), dict(enumerate(theirs)))
        inside["paired"] += one.low <= -2 <= one.high
        other = unpaired(draw.normal(-2, 1, 3), draw.normal(0, 2, 5))
        inside["unpaired"] += other.low <= -2 <= other.high
    assert inside["paired"] / 2000 == pytest.approx(0.95, abs=0.02)
    assert inside["unpaired"] / 2000 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: paired({0: 1.0}, {1: 1.0}),
            ValueError,
            "need a common seed, got the seeds 0 and 1: use unpaired for these",
        ),
        (lambda: paired({}, {}), ValueError, r"got the seeds \(none\) and \(none\)"),
        (lambda: paired([1.0], {0: 1.0}), TypeError, "scores must be a mapping of seeds to scores"),
        (lambda: paired({0: 1.0}, {"0": 1.0}), TypeError, "the seeds of the reference must be ints"),
        (lambda: paired({0: "a"}, {0: 1.0}), TypeError, "the score of seed 0 in scores"),
        (lambda: unpaired([], [1.0]), ValueError, "scores must hold at least one score, got none"),
        (lambda: unpaired(1.0, [1.0]), TypeError, "scores must be a list of numbers"),
        (lambda: unpaired([1.0], ["a"]), TypeError, "a score in the reference"),
        (lambda: image_error([[1, 0]], [[True, False]]), TypeError, "correct must be bool, .*, got int"),
        (lambda: image_error([True, False], [True, False]), ValueError, r"shape \(seeds, examples\).*, got \(2,\)"),
        (lambda: image_error([[True]], [[True]]), ValueError, "at least two examples, got"),
        (lambda: image_error([[True, False]], [[True] * 3]), ValueError, r"one shape, got \(1, 2\) and \(1, 3\)"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_numpy_scores_are_accepted():
    seeds, scores = np.arange(3), np.array([1.0, 2.0, 4.0], "f4")
    assert paired(dict(zip(seeds.tolist(), scores, strict=True)), dict.fromkeys(range(3), np.float64(1))).mean > 0
    assert differences.unpaired(scores, np.zeros(3)).n == 3
