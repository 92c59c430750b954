"""Descriptions of experiments in the texts and the file names of the commands."""

from __future__ import annotations

__all__: list[str] = []

import re
from collections.abc import Sequence
from typing import Any

from ..experiments import Experiment
from ..experiments.experiment import unsuited_rates
from ..experiments.tables import describe_setting as describe_setting
from ..storage.atomic import stem


def describe_rates(grid: Sequence[Experiment]) -> str:
    """The origin of the learning rates, as a phrase."""
    if all(e.lr is not None for e in grid):
        return "rates as given" if len({e.lr for e in grid}) > 1 else f"rate {grid[0].lr:g}"
    asked = {e.rule: e for e in grid if e.lr is None}
    untuned, settings = unsuited_rates(list(asked.values()))
    if untuned:
        rate = asked[untuned[0]].rate()  # the same for all untuned rules
        return f"rate {rate:g} for {', '.join(sorted(untuned))}: not tuned for this setting (minifa tune does that)"
    differ: dict[str, list[str]] = {}
    for rule, setting in settings.items():
        differ.setdefault(setting, []).append(rule)
    tuned = "tuned rates" if len(asked) > 1 else f"tuned rate {next(iter(asked.values())).rate():g}"
    if differ and len(next(iter(differ.values()))) == len(asked):
        return f"{tuned} (with {next(iter(differ))})"
    others = "; ".join(f"{', '.join(some)} with {setting}" for setting, some in differ.items())
    return tuned + (f" ({others})" if others else "")


def label(experiment: Experiment) -> str:
    """Data set, model and model options as part of a file name: ``digits-cnn-depth2``."""
    options = (f"{key}{_written(value)}" for key, value in experiment.model_options.items())
    return as_file_name("-".join([stem(experiment.data), experiment.model, *options]))


def _written(value: Any) -> str:
    if value is True:
        return ""
    return "-".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def as_file_name(text: str) -> str:
    """The text with "-" in place of characters that some file systems do not allow.

    >>> from minifa.cli.descriptions import as_file_name
    >>> as_file_name("usf:scale=init,concordance=0.9")
    'usf-scale-init-concordance-0.9'
    """
    return re.sub(r"[^\w.-]+", "-", text)
