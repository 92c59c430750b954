"""Descriptions of experiments in the texts and the file names of the commands."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Sequence

from ..experiments import Experiment
from ..experiments.experiment import rate_differences, shipped_rate
from ..experiments.tables import describe_setting as describe_setting
from ..storage.atomic import stem


def describe_rates(grid: Sequence[Experiment]) -> str:
    """The origin of the learning rates, as a phrase."""
    if all(e.lr is not None for e in grid):
        return "rates as given" if len({e.lr for e in grid}) > 1 else f"rate {grid[0].lr:g}"
    asked = {e.rule: e for e in grid if e.lr is None}
    rates = {rule: shipped_rate(e) for rule, e in asked.items()}
    untuned = sorted(rule for rule, row in rates.items() if row is None)
    if untuned:
        rate = asked[untuned[0]].rate()  # the same for all untuned rules
        return f"rate {rate:g} for {', '.join(untuned)}: no grid was run for this setting (--tune runs one)"
    differ: dict[str, list[str]] = {}
    for rule, row in rates.items():
        if row is not None:
            differ.setdefault(", ".join(rate_differences(asked[rule], row)), []).append(rule)
    differ.pop("", None)
    others = "; ".join(f"{', '.join(some)} with {setting}" for setting, some in differ.items())
    return "rates from the grid kept in minifa/experiments/recipes/rates.csv" + (
        f", which was run for {others}" if others else ""
    )


def label(experiment: Experiment) -> str:
    """Data set, model and model options as part of a file name."""
    parts = [stem(experiment.data), experiment.model, *(f"{k}-{v}" for k, v in experiment.model_options.items())]
    return as_file_name("-".join(parts))


def as_file_name(text: str) -> str:
    """The text with "_" in place of characters that some file systems do not allow."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
