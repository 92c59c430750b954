"""Learning-rate schedules: pure functions of the epoch (a fraction inside one), giving what the rate is multiplied by.

Being pure, they have no state to save: the position in training is enough.

>>> schedule = mf.schedules.step_decay(10, gamma=0.5)
>>> [schedule(epoch) for epoch in (0, 9.9, 10, 25)]
[1.0, 1.0, 0.5, 0.25]
"""

from __future__ import annotations

__all__ = ["SCHEDULES", "constant", "cosine", "describe", "make", "multi_step", "step_decay", "warm_up"]

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from .registry import keep_table, make_described
from .scalars import above_zero, between

Schedule = Callable[[float], float]
LOOKED_AT = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # epochs by whose values a schedule of one's own is known


def _described(make: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """``make``, whose schedules know their name and options (see `describe`)."""

    @functools.wraps(make)
    def with_description(*given: Any, **options: Any) -> Schedule:
        schedule = make(*given, **options)
        bound = inspect.signature(make).bind(*given, **options)
        bound.apply_defaults()
        described = {key: _plain(value) for key, value in bound.arguments.items()}
        setattr(schedule, "made_of", {"name": make.__name__, **described})  # noqa: B010  a function has no such field
        return schedule

    return with_description


def _plain(option: Any) -> Any:
    """An option in what JSON can hold, equal for equal ones."""
    if option is None or callable(option):
        return None if option is None else describe(option)
    return [float(one) for one in option] if isinstance(option, (list, tuple)) else float(option)


def describe(schedule: Schedule) -> dict[str, Any]:
    """What tells a schedule from another: its name and options or, of one's own, its values at some epochs.

    >>> mf.schedules.describe(mf.schedules.cosine(10))
    {'name': 'cosine', 'epochs': 10.0, 'least': 0.0}
    >>> mf.schedules.describe(lambda epoch: 1 / (1 + epoch))["value at epoch 1"]
    0.5
    """
    known = getattr(schedule, "made_of", None)
    if isinstance(known, dict):
        return known
    return {"name": "one of your own", **{f"value at epoch {epoch}": _value(schedule, epoch) for epoch in LOOKED_AT}}


def _value(schedule: Schedule, epoch: int) -> float | str:
    try:
        value = float(schedule(epoch))
    except Exception as error:  # it may know only the epochs that it was written for
        return type(error).__name__
    return value if math.isfinite(value) else str(value)


@_described
def constant() -> Schedule:
    """Always 1: the learning rate stays."""
    return lambda epoch: 1.0


@_described
def step_decay(size: float, gamma: float = 0.1) -> Schedule:
    """Times gamma every ``size`` epochs (PyTorch's StepLR).

    Raises:
        TypeError: what is no number.
        ValueError: a size that is not above 0, a gamma below 0; when it is called, more than a float holds.
    """
    size, gamma = above_zero(size, "size"), between(gamma, "gamma", 0, math.inf)
    return lambda epoch: _power(gamma, epoch / size)


def _power(gamma: float, times: float) -> float:
    try:
        return gamma ** math.floor(times)
    except OverflowError:
        raise ValueError(f"gamma {gamma:g}, multiplied {times:.0f} times, is more than a float holds") from None


@_described
def multi_step(milestones: float | Sequence[float], gamma: float = 0.1) -> Schedule:
    """Times ``gamma`` at each of the epochs in ``milestones`` (PyTorch's MultiStepLR); a single one may stand without a
    list.

    Raises:
        TypeError: what is no number.
        ValueError: as `step_decay`; an epoch below 0.

    >>> schedule = mf.schedules.multi_step([2, 3], gamma=0.5)
    >>> [schedule(epoch) for epoch in (1, 2, 3, 4)]
    [1.0, 0.5, 0.25, 0.25]
    """
    given = milestones if isinstance(milestones, (list, tuple)) else [milestones]
    epochs = [between(milestone, "each of milestones", 0, math.inf) for milestone in given]
    gamma = between(gamma, "gamma", 0, math.inf)
    return lambda epoch: _power(gamma, sum(epoch >= milestone for milestone in epochs))


@_described
def cosine(epochs: float, least: float = 0.0) -> Schedule:
    """From 1 to ``least`` along half a cosine over so many ``epochs`` (PyTorch's CosineAnnealingLR), then constant.

    Raises:
        TypeError: what is no number.
        ValueError: epochs that are not above 0, a least below 0.

    >>> schedule = mf.schedules.cosine(epochs=10)
    >>> [round(schedule(epoch), 4) for epoch in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """
    epochs, least = above_zero(epochs, "epochs"), between(least, "least", 0, math.inf)
    return lambda epoch: least + (1 - least) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


@_described
def warm_up(epochs: float, then: Schedule | None = None) -> Schedule:
    """A straight line from 0 to 1 over so many ``epochs``, times the schedule that comes ``then`` (which counts from
    the start as well).

    Raises:
        TypeError: what is no number.
        ValueError: epochs that are not above 0, or a ``then`` that is no schedule.

    >>> schedule = mf.schedules.warm_up(2, then=mf.schedules.step_decay(10, gamma=0.5))
    >>> [schedule(epoch) for epoch in (0, 1, 2, 10)]
    [0.0, 0.5, 1.0, 0.5]
    """
    epochs = above_zero(epochs, "epochs")
    if then is not None and not callable(then):
        raise ValueError(f"what follows a warm-up is a schedule made in Python, got {then!r}")
    after = then or constant()
    return lambda epoch: min(epoch / epochs, 1.0) * after(epoch)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step_decay,
    "multi_step": multi_step,
    "cosine": cosine,
    "warm_up": warm_up,
}
keep_table("schedule", SCHEDULES)


def make(description: str) -> Schedule:
    """A schedule from its name and options, ``"cosine:epochs=15"``, ``"multi_step:milestones=10+20,gamma=0.1"``.

    Args:
        description: a name of `SCHEDULES`; after a colon options ``key=value``, separated by commas.

    Raises:
        ValueError: an unknown schedule or option, or a value that it refuses.

    >>> schedule = mf.schedules.make("multi_step:milestones=10+20,gamma=0.5")
    >>> [schedule(epoch) for epoch in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    return make_described(SCHEDULES, description, "schedule")
