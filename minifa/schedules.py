"""Learning-rate schedules: pure functions that map the epoch (fractional within an epoch) to a factor of the learning
rate.

They have no state to save: the position in training is enough.

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

from .registry import make_described, register_table
from .validation import check_between, check_positive

Schedule = Callable[[float], float]
SAMPLED_EPOCHS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # epochs whose values identify a user-defined schedule


def _described(make: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Wrap ``make`` so that its schedules store their name and options (see `describe`)."""

    @functools.wraps(make)
    def with_description(*given: Any, **options: Any) -> Schedule:
        schedule = make(*given, **options)
        bound = inspect.signature(make).bind(*given, **options)
        bound.apply_defaults()
        described = {key: _plain(value) for key, value in bound.arguments.items()}
        options_text = ", ".join(f"{key}={value}" for key, value in described.items())
        schedule.__qualname__ = f"{make.__name__}({options_text})"  # which its `repr` shows
        setattr(schedule, "description", {"name": make.__name__, **described})  # noqa: B010  a function has no such field
        return schedule

    return with_description


def _plain(option: Any) -> Any:
    """Convert an option to a JSON value; equal options give equal values."""
    if option is None or callable(option):
        return None if option is None else describe(option)
    return [float(one) for one in option] if isinstance(option, (list, tuple)) else float(option)


def describe(schedule: Schedule) -> dict[str, Any]:
    """Describe a schedule by its name and options, or a user-defined one by its values at some epochs.

    >>> mf.schedules.describe(mf.schedules.cosine(10))
    {'name': 'cosine', 'epochs': 10.0, 'least': 0.0}
    >>> mf.schedules.describe(lambda epoch: 1 / (1 + epoch))["value at epoch 1"]
    0.5
    """
    known = getattr(schedule, "description", None)
    if isinstance(known, dict):
        return known
    return {
        "name": "one of your own",
        **{f"value at epoch {epoch}": _value(schedule, epoch) for epoch in SAMPLED_EPOCHS},
    }


def _value(schedule: Schedule, epoch: int) -> float | str:
    try:
        value = float(schedule(epoch))
    except Exception as error:  # a user-defined schedule may not be defined for all these epochs
        return type(error).__name__
    return value if math.isfinite(value) else str(value)


@_described
def constant() -> Schedule:
    """Always 1: a constant learning rate."""
    return lambda epoch: 1.0


@_described
def step_decay(size: float, gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` every ``size`` epochs (PyTorch's StepLR).

    Raises:
        TypeError: an argument that is not a number.
        ValueError: a size that is not above 0, or a gamma below 0. The schedule raises it on a float overflow.
    """
    size, gamma = check_positive(size, "size"), check_between(gamma, "gamma", 0, math.inf)
    return lambda epoch: _power(gamma, epoch / size)


def _power(gamma: float, times: float) -> float:
    try:
        return gamma ** math.floor(times)
    except OverflowError:
        raise ValueError(f"gamma {gamma:g} to the power {times:.0f} must be finite: a float overflows") from None


@_described
def multi_step(milestones: float | Sequence[float], gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` at each epoch in ``milestones``, a list or a single number (PyTorch's MultiStepLR).

    Raises:
        TypeError: an argument that is not a number.
        ValueError: as for `step_decay`, or an epoch below 0.

    >>> schedule = mf.schedules.multi_step([2, 3], gamma=0.5)
    >>> [schedule(epoch) for epoch in (1, 2, 3, 4)]
    [1.0, 0.5, 0.25, 0.25]
    """
    given = milestones if isinstance(milestones, (list, tuple)) else [milestones]
    epochs = [check_between(milestone, "each of milestones", 0, math.inf) for milestone in given]
    gamma = check_between(gamma, "gamma", 0, math.inf)
    return lambda epoch: _power(gamma, sum(epoch >= milestone for milestone in epochs))


@_described
def cosine(epochs: float, least: float = 0.0) -> Schedule:
    """Anneal from 1 to ``least`` along half a cosine over ``epochs`` (PyTorch's CosineAnnealingLR), then constant.

    Raises:
        TypeError: an argument that is not a number.
        ValueError: ``epochs`` is not above 0, or ``least`` is below 0.

    >>> schedule = mf.schedules.cosine(epochs=10)
    >>> [round(schedule(epoch), 4) for epoch in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """
    epochs, least = check_positive(epochs, "epochs"), check_between(least, "least", 0, math.inf)
    return lambda epoch: least + (1 - least) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


@_described
def warm_up(epochs: float, then: Schedule | None = None) -> Schedule:
    """Increase linearly from 0 to 1 over ``epochs``, multiplied by the schedule ``then`` (which also starts at epoch
    0).

    Raises:
        TypeError: ``epochs`` is not a number.
        ValueError: ``epochs`` is not above 0, or ``then`` is not callable.

    >>> schedule = mf.schedules.warm_up(2, then=mf.schedules.step_decay(10, gamma=0.5))
    >>> [schedule(epoch) for epoch in (0, 1, 2, 10)]
    [0.0, 0.5, 1.0, 0.5]
    """
    epochs = check_positive(epochs, "epochs")
    if then is not None and not callable(then):
        raise ValueError(f"then must be a schedule (a function of the epoch), got {then!r}")
    after = then or constant()
    return lambda epoch: min(epoch / epochs, 1.0) * after(epoch)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step_decay,
    "multi_step": multi_step,
    "cosine": cosine,
    "warm_up": warm_up,
}
register_table("schedule", SCHEDULES)


def make(description: str) -> Schedule:
    """Create a schedule from its name and options, for example ``"cosine:epochs=15"`` or
    ``"multi_step:milestones=10+20,gamma=0.1"``.

    Args:
        description: a name in `SCHEDULES`, optionally followed by a colon and options ``key=value``, separated by
            commas.

    Raises:
        TypeError: the description is not a str.
        ValueError: an unknown schedule or option, or an invalid value.

    >>> schedule = mf.schedules.make("multi_step:milestones=10+20,gamma=0.5")
    >>> [schedule(epoch) for epoch in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    return make_described(SCHEDULES, description, "schedule")
