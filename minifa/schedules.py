"""Learning-rate schedules: pure functions that map the epoch (fractional within an epoch) to a factor of the learning
rate. Some, such as `reduce_on_plateau`, are functions of the epoch and the history (see `with_history`).

They have no state to save: the position in training, with its history, is enough.

>>> schedule = mf.schedules.step_decay(10, gamma=0.5)
>>> [schedule(epoch) for epoch in (0, 9.9, 10, 25)]
[1.0, 1.0, 0.5, 0.25]
"""

from __future__ import annotations

__all__ = [
    "SCHEDULES",
    "constant",
    "cosine",
    "describe",
    "make",
    "multi_step",
    "reduce_on_plateau",
    "sequence",
    "step_decay",
    "warm_up",
    "with_history",
]

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .registry import make_described, register_table
from .validation import check_between, check_choice, check_int, check_list, check_positive, check_str

Schedule = Callable[..., float]  # of the epoch or, with the attribute ``uses_history``, of (epoch, history)
Rows = Sequence[Mapping[str, Any]]  # of the history: one per finished epoch, and one before the first update
A_SCHEDULE = "a function of the epoch, such as minifa.schedules.cosine(10)"
THEN = " then "  # separates the schedules of a description
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
    if isinstance(option, (list, tuple)):
        return [_plain(one) for one in option]
    if option is None or isinstance(option, str):
        return option
    return describe(option) if callable(option) else float(option)


def describe(schedule: Schedule) -> dict[str, Any]:
    """Describe a schedule by its name and options, or a user-defined one by its values at some epochs, without a
    history.

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
        value = float(factor_of(schedule, epoch))
    except Exception as error:  # a user-defined schedule may not be defined for all these epochs
        return type(error).__name__
    return value if math.isfinite(value) else str(value)


def with_history(schedule: Schedule) -> Schedule:
    """Mark a schedule as a function of the epoch and the history (a list of rows, see `minifa.training.History`), so
    that it is called with both. Use it as a decorator. The schedule must not depend on anything else: training is then
    resumed with the same rates.

    Raises:
        TypeError: the schedule is not callable.

    >>> @mf.schedules.with_history
    ... def half_when_good(epoch, history=()):
    ...     return 0.5 if any(row.get("train_accuracy", 0) > 0.9 for row in history) else 1.0
    >>> half_when_good(2, [{"epoch": 0}, {"epoch": 1, "train_accuracy": 0.95}])
    0.5
    """
    if not callable(schedule):
        raise TypeError(f"a schedule must be {A_SCHEDULE}, got {schedule!r}")
    setattr(schedule, "uses_history", True)  # noqa: B010  a function has no such field
    return schedule


def factor_of(schedule: Schedule, epoch: float, history: Rows = (), start: float = 0) -> float:
    """The factor of the learning rate at this epoch, with the history up to the last finished epoch, of a schedule
    that counts the epochs from ``start`` on."""
    if not getattr(schedule, "uses_history", False):
        return schedule(epoch - start)
    if start:
        history = [{**row, "epoch": row["epoch"] - start} for row in history if row["epoch"] > start]
    return schedule(epoch - start, history)


def larger_is_better(measure: str) -> bool:
    """Whether this column of a history is an accuracy; everything else counts as a loss."""
    return measure.endswith("accuracy")


def measured_in_training(measure: str) -> bool:
    """Whether this column of a history is measured in epochs of training, so that the row before them lacks it."""
    return measure.startswith("train_") or measure.endswith((".local_loss", ".local_accuracy"))


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
    0). For a schedule that starts after the warm-up see `sequence`.

    Raises:
        TypeError: ``epochs`` is not a number.
        ValueError: ``epochs`` is not above 0, or ``then`` is not callable.

    >>> schedule = mf.schedules.warm_up(2, then=mf.schedules.step_decay(10, gamma=0.5))
    >>> [schedule(epoch) for epoch in (0, 1, 2, 10)]
    [0.0, 0.5, 1.0, 0.5]
    """
    epochs = check_positive(epochs, "epochs")
    if then is not None and not callable(then):
        raise ValueError(
            f"then must be {A_SCHEDULE}, got {then!r}; in a description, write 'warm_up:epochs=2 then cosine:epochs=13'"
        )
    after = then or constant()
    return with_history(lambda epoch, history=(): min(epoch / epochs, 1.0) * factor_of(after, epoch, history))


@_described
def sequence(schedules: Sequence[Schedule], milestones: float | Sequence[float]) -> Schedule:
    """One schedule after another, each from its own epoch 0 (PyTorch's SequentialLR). In a description:
    ``"warm_up:epochs=2 then cosine:epochs=13"``.

    Args:
        schedules: at least one schedule.
        milestones: the increasing epochs, above 0, at which the second and all further schedules start: a list, or a
            single number.

    Raises:
        TypeError: no list of schedules, a schedule that is not callable, or a milestone that is not a number.
        ValueError: milestones that do not increase, or not one fewer than there are schedules.

    >>> schedule = mf.schedules.sequence([mf.schedules.warm_up(2), mf.schedules.step_decay(3, gamma=0.5)], milestones=2)
    >>> [schedule(epoch) for epoch in (0, 1, 2, 4, 5)]
    [0.0, 0.5, 1.0, 1.0, 0.5]
    """
    parts: list[Schedule] = check_list(schedules, Callable, f"each of schedules must be {A_SCHEDULE}")  # type: ignore[arg-type]
    given = milestones if isinstance(milestones, (list, tuple)) else [milestones]
    starts = [0.0, *(check_positive(milestone, "each of milestones") for milestone in given)]
    if len(starts) != len(parts) or starts != sorted(set(starts)):
        raise ValueError(f"{len(parts)} schedules need {len(parts) - 1} increasing milestones, got {list(given)}")

    @with_history
    def schedule(epoch: float, history: Rows = ()) -> float:
        number = sum(epoch >= start for start in starts[1:])
        return factor_of(parts[number], epoch, history, starts[number])

    return schedule


@_described
def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    least: float = 0.0,
    measure: str | None = None,
) -> Schedule:
    """Multiply by ``factor`` whenever a measure has not improved for more than ``patience`` epochs (PyTorch's
    ReduceLROnPlateau, stepped after every epoch).

    Args:
        factor: in 0..1, excluding 1.
        patience: number of epochs without improvement that change nothing, at least 0.
        threshold: smallest improvement that counts, at least 0.
        threshold_mode: ``"rel"``: the threshold is a fraction of the best value; ``"abs"``: a difference from it.
        cooldown: epochs after a reduction that do not count as epochs without improvement, at least 0.
        least: the smallest factor, at least 0 (PyTorch's ``min_lr`` divided by the learning rate).
        measure: column of the history. An accuracy must increase (PyTorch's mode "max"), everything else decrease.
            None: the validation loss or, without validation examples, the training loss.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument out of its range. The schedule raises it if the history does not have the measure.

    >>> schedule = mf.schedules.reduce_on_plateau(factor=0.5, patience=1)
    >>> losses = [3.0, 2.0, 2.0, 2.0, 1.0]
    >>> rows = [{"epoch": epoch, "train_loss": loss} for epoch, loss in enumerate(losses, start=1)]
    >>> [schedule(epoch, rows[:epoch]) for epoch in range(6)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    factor, least = check_between(factor, "factor", 0, 1), check_between(least, "least", 0, math.inf)
    patience, cooldown = check_int(patience, "patience", least=0), check_int(cooldown, "cooldown", least=0)
    threshold = check_between(threshold, "threshold", 0, math.inf)
    check_choice(threshold_mode, "threshold_mode", ("rel", "abs"))
    sign = 1 if larger_is_better(check_str(measure or "", "measure")) else -1

    @with_history
    def schedule(epoch: float, history: Rows = ()) -> float:
        rate, best, waited, pause = 1.0, -sign * math.inf, 0, 0
        for value in _measured(history, measure):
            needed = best * (1 + sign * threshold) if threshold_mode == "rel" else best + sign * threshold
            waited += 1
            if sign * value > sign * needed:
                best, waited = value, 0
            if pause:
                pause, waited = pause - 1, 0
            if waited > patience:
                rate, waited, pause = min(rate, max(rate * factor, least)), 0, cooldown
        return rate

    return schedule


def _measured(history: Rows, measure: str | None) -> list[float]:
    """The measure in every row after epoch 0. Raises ValueError if the last row should have it and does not."""
    rows = [row for row in history if row["epoch"] > 0]
    last = history[-1] if history else {}
    column = measure or ("validation_loss" if "validation_loss" in last else "train_loss")
    if history and column not in last and (rows or not measured_in_training(column)):
        raise ValueError(
            f"the schedule reduce_on_plateau needs {column!r} in the history, which has {', '.join(last)}: give "
            "validation examples, or another measure"
        )
    return [row[column] for row in rows if column in row]


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step_decay,
    "multi_step": multi_step,
    "cosine": cosine,
    "warm_up": warm_up,
    "reduce_on_plateau": reduce_on_plateau,
}
register_table("schedule", SCHEDULES)


def make(description: str) -> Schedule:
    """Create a schedule from its name and options, for example ``"cosine:epochs=15"``,
    ``"multi_step:milestones=10+20,gamma=0.1"`` or ``"warm_up:epochs=2 then cosine:epochs=13"``.

    Args:
        description: a name in `SCHEDULES`, optionally followed by a colon and options ``key=value``, separated by
            commas. ``then`` between two schedules makes a `sequence`: the second starts when the first has ended, which
            must have the option ``epochs``.

    Raises:
        TypeError: the description is not a str.
        ValueError: an unknown schedule or option, or an invalid value.

    >>> schedule = mf.schedules.make("multi_step:milestones=10+20,gamma=0.5")
    >>> [schedule(epoch) for epoch in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    >>> schedule = mf.schedules.make("warm_up:epochs=2 then cosine:epochs=4")
    >>> [round(schedule(epoch), 4) for epoch in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    parts = description.split(THEN) if isinstance(description, str) else [description]
    made = [make_described(SCHEDULES, part, "schedule") for part in parts]
    lengths = [describe(one).get("epochs") for one in made[:-1]]
    if None in lengths:
        raise ValueError(
            f"{parts[lengths.index(None)]!r} before 'then' must have the option epochs=, which says when the next "
            "schedule starts, such as 'warm_up:epochs=2 then cosine:epochs=13'"
        )
    return sequence(made, list(itertools.accumulate(lengths))) if lengths else made[0]
