"""Seconds of candidates that are measured alternately, their ratios and quartiles.

On a shared machine the clock rate and the neighbours' work change from second to second. Candidates are therefore
measured in rounds, each of which measures all of them, and are compared within rounds.
"""

from __future__ import annotations

__all__: list[str] = []

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .. import environment

K = TypeVar("K")

IDLE = 0.02  # seconds; the system may account for the work of other threads only every 0.01 s
LONGEST_WAIT = 0.2  # seconds


def facts() -> str:
    """The machine, the settings, and the load: on a busy machine PyTorch's threads wait for each other, and its steps
    take longer than minifa's by more than their share."""
    known = environment.environment()
    if hasattr(os, "getloadavg"):
        known["load"] = f"{os.getloadavg()[0]:.1f}"
    return ", ".join(f"{key} {value}" for key, value in known.items())


def alternately(
    candidates: Mapping[K, Callable[[], Any]], rounds: int, consecutive: int = 1, wait: bool = True
) -> dict[K, list[float]]:
    """The mean seconds of ``consecutive`` calls of each candidate, in every round.

    Rounds go through the candidates forwards and backwards in turn, so that a steady drift of the machine's speed
    favours none. Before its timed calls a candidate makes one call that is not timed, which fills the caches.

    Args:
        wait: whether to wait for idle threads before that; minifa's own threads sleep between steps.
    """
    seconds: dict[K, list[float]] = {key: [] for key in candidates}
    order = list(candidates)
    for work in candidates.values():
        work()
    for _ in range(rounds):
        for key in order:
            if wait:
                wait_for_idle_threads()
            work = candidates[key]
            work()
            started = time.perf_counter()
            for _ in range(consecutive):
                work()
            seconds[key].append((time.perf_counter() - started) / consecutive)
        order.reverse()
    return seconds


def wait_for_idle_threads() -> None:
    """Wait until no thread of this process works. PyTorch's threads spin for about 15 ms after a step, waiting for the
    next one, and would take a core from the candidate that follows."""
    for _ in range(round(LONGEST_WAIT / IDLE)):
        before = time.process_time()
        time.sleep(IDLE)
        if time.process_time() - before < IDLE / 10:
            return


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratios of values from the same round, so that drift cancels."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper quartile; of a single value the value itself."""
    if len(values) == 1:
        return values[0], values[0]
    lower, _, upper = statistics.quantiles(values, method="inclusive")
    return lower, upper


def quartile_range(values: Sequence[float]) -> str:
    """The quartiles as text: ``"0.93-0.99"``."""
    return "-".join(f"{quartile:.2f}" for quartile in quartiles(values))
