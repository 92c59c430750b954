"""Experiments: the configuration of a run, running one, and running many in parallel on all cores."""

from __future__ import annotations

__all__ = [
    "Experiment",
    "FailedRun",
    "Result",
    "Run",
    "build",
    "fit",
    "grid_of_rules",
    "load_data",
    "load_run",
    "run",
    "run_many",
    "trainer_for",
]

from .experiment import Experiment, Result, build, fit, load_data, run, trainer_for
from .opened_runs import Run, load_run
from .study import FailedRun, grid_of_rules, run_many
