"""Learning rate search: every rule at rates half a decade apart, evaluated on held-out training examples.

    1. every rate of a range, by default from 1e-5 to 1, with two seeds;
    2. while the best rate is the smallest or largest one tried, the next rate beyond it;
    3. the best rate and its two neighbours with five seeds, repeated if another rate becomes the best.

The best rate has the highest mean score; in a tie the smaller one. Seeds start at 100, so that a comparison, whose
seeds start at 0, does not use the seeds of the search. All runs hold out the same part of the training set.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import math
import statistics
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..training.history import Row
from .experiment import Experiment, Result, content_name, describe_options
from .study import run_many
from .tables import sample_sd

RATES = range(-10, 1)  # exponents k of the rates tried first: the rate is 10^(k/2) (see `rate`)
WIDEST = range(-16, 7)  # limits of a search: 1e-8 to 1e3
FIRST_SEED, FEW_SEEDS, MANY_SEEDS = 100, 2, 5
HELD_OUT = 0.15  # fraction of the training set

Trials = Mapping[int, Sequence["Trial"]]  # trials of one rule, by the exponent of the rate


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        experiment: its experiment, with ``lr``, ``seed`` and ``validation``.
        score: score on the held-out examples after the last epoch: accuracy or, without classes, minus the loss.
        diverged: as in `minifa.experiments.Result`.
        error: why the run failed; None: it did not fail.
    """

    experiment: Experiment
    score: float
    diverged: bool = False
    error: str | None = None


def rate(k: int) -> float:
    """The learning rate 10^(k/2), with the mantissa rounded to 3 for odd k.

    >>> from minifa.experiments.tuning import rate
    >>> [rate(k) for k in (-10, -9, -8, -1, 0, 1)]
    [1e-05, 3e-05, 0.0001, 0.3, 1.0, 3.0]
    """
    return float(f"{3 if k % 2 else 1}e{k // 2}")


EXPONENTS = {rate(k): k for k in WIDEST}


def search(
    base: Experiment,
    rules: Iterable[str],
    trials: Sequence[Trial] = (),
    jobs: int | None = None,
    first: Sequence[int] | None = None,
    seeds: int = MANY_SEEDS,
) -> Generator[Trial, None, None]:
    """Run the search for every rule and yield each trial as it ends.

    Args:
        base: the experiment to tune; the search sets its rule, learning rate, seed and validation, and
            turns the measurements (alignment, targets, kernels, statistics) off.
        rules: descriptions of rules.
        trials: trials of an interrupted search, which are not run again.
        jobs: processes, as for `minifa.experiments.run_many`.
        first: exponents of the rates tried first; None: `RATES`.
        seeds: number of seeds for the best rate and its neighbours, at least two.

    >>> from minifa.experiments import Experiment
    >>> from minifa.experiments import tuning
    >>> trials = list(tuning.search(Experiment(model="mlp", model_options={"hidden": (4,)}, epochs=1), ["bp"], jobs=1))
    >>> len(trials) >= 2 * 11 + 3 * 3, {trial.experiment.seed for trial in trials} == {100, 101, 102, 103, 104}
    (True, True)
    """
    known, names = list(trials), list(rules)
    while True:
        wanted = [one for name in names for one in next_runs(base, name, known, first, seeds)]
        if not wanted:
            return
        with contextlib.closing(run_many(wanted, jobs, progress=False)) as results:
            for result in results:
                known.append(_trial(result))
                yield known[-1]


def _trial(result: Result) -> Trial:
    return Trial(result.experiment, result.score, result.diverged, result.error)


def next_runs(
    base: Experiment,
    rule: str,
    trials: Sequence[Trial],
    first: Sequence[int] | None = None,
    seeds: int = MANY_SEEDS,
) -> list[Experiment]:
    """The next runs in the search for one rule, given its trials so far; empty if the search is finished."""
    by_rate = by_exponent(rule, trials)
    wanted = _missing(base, rule, by_rate, RATES if first is None else first, FEW_SEEDS)
    if wanted:
        return wanted
    best = best_exponent(by_rate)
    if best is None:  # every run failed
        return []
    neighbours = [k for k in (best - 1, best + 1) if k in WIDEST]
    return _missing(base, rule, by_rate, neighbours, FEW_SEEDS) or _missing(
        base, rule, by_rate, [best, *neighbours], seeds
    )


def _missing(base: Experiment, rule: str, by_rate: Trials, exponents: Iterable[int], seeds: int) -> list[Experiment]:
    return [
        run_of(base, rule, k, seed)
        for k in exponents
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        if seed not in {trial.experiment.seed for trial in by_rate.get(k, ())}
    ]


def run_of(base: Experiment, rule: str, k: int, seed: int) -> Experiment:
    """The run of a search with this rule, exponent of the rate and seed."""
    # Without early stopping, under which the score is measured on the test set.
    searched = replace(base, rule=rule, lr=rate(k), seed=seed, validation=HELD_OUT, patience=None)
    return replace(searched, alignment=False, targets=False, kernels=False, statistics=False)


def by_exponent(rule: str, trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    """The trials of a rule by the exponent of their rate, smallest first."""
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.experiment.rule == rule:
            groups.setdefault(EXPONENTS[trial.experiment.rate()], []).append(trial)
    return dict(sorted(groups.items()))


def best_exponent(by_rate: Trials) -> int | None:
    """The exponent with the highest mean score, in a tie the smaller one; None if every run failed."""
    means = {k: mean_score(some) for k, some in by_rate.items()}
    return max((k for k in sorted(means) if not math.isnan(means[k])), key=lambda k: means[k], default=None)


def mean_score(trials: Sequence[Trial]) -> float:
    """Mean over the seeds that did not fail; NaN if all failed."""
    scores = _scores(trials)
    return statistics.fmean(scores) if scores else math.nan


def _scores(trials: Sequence[Trial]) -> list[float]:
    """The scores of the runs that did not fail; NaN counts as the worst score, -inf."""
    return [-math.inf if math.isnan(trial.score) else trial.score for trial in trials if trial.error is None]


def rate_table(trials: Sequence[Trial]) -> list[Row]:
    """One row per rule and rate: mean and sample sd (empty for one seed) of the held-out score, number of seeds, number
    of diverged runs, and whether the rate was chosen."""
    rows: list[Row] = []
    for rule in dict.fromkeys(trial.experiment.rule for trial in trials):
        by_rate = by_exponent(rule, trials)
        best = best_exponent(by_rate)
        for k, some in by_rate.items():
            scores, experiment = _scores(some), some[0].experiment
            if scores:
                sd = sample_sd(scores)
                rows.append(
                    {
                        "data": content_name(vars(experiment)),
                        "model": experiment.model,
                        "options": describe_options(experiment.model_options),
                        "rule": rule,
                        "weight_decay": experiment.decay(),
                        "optimizer": experiment.optimizer,
                        "momentum": experiment.optimizer_options.get("momentum", ""),
                        "batch_size": experiment.batch_size,
                        "epochs": experiment.epochs,
                        "lr": experiment.rate(),
                        "seeds": len(scores),
                        "mean": round(statistics.fmean(scores), 6),
                        "sd": "" if sd is None else round(sd, 6),
                        "diverged": sum(trial.diverged for trial in some),
                        "chosen": int(k == best),
                    }
                )
    return rows
