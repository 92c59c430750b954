"""Learning-rate schedules: pure functions of the epoch (a fraction inside one), giving what the rate is multiplied by.

Being pure, they have no state to save: the position in training is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .registry import make_described

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """Always 1."""
    return lambda epoch: 1.0


def step_decay(size: float, gamma: float = 0.1) -> Schedule:
    """Times gamma every ``size`` epochs (PyTorch's StepLR)."""
    if not size > 0:
        raise ValueError(f"size must be above 0 epochs, got {size}")
    return lambda epoch: gamma ** math.floor(epoch / size)


def multi_step(milestones: float | Sequence[float], gamma: float = 0.1) -> Schedule:
    """Times gamma at each of the epochs named (PyTorch's MultiStepLR); a single epoch may stand without a list."""
    milestones = [milestones] if isinstance(milestones, (int, float)) else milestones
    return lambda epoch: gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine(epochs: float, least: float = 0.0) -> Schedule:
    """From 1 to ``least`` along half a cosine (PyTorch's CosineAnnealingLR), then constant."""
    if not epochs > 0:
        raise ValueError(f"a cosine schedule needs more than 0 epochs, got {epochs}")
    return lambda epoch: least + (1 - least) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


def warm_up(epochs: float, then: Schedule | None = None) -> Schedule:
    """A straight line from 0 to 1 over so many epochs, times the schedule that follows (which counts from the start
    as well)."""
    if not epochs > 0:
        raise ValueError(f"a warm-up needs more than 0 epochs, got {epochs}")
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


def make(description: str) -> Schedule:
    """A schedule from its name and options, ``"cosine:epochs=15"``, ``"multi_step:milestones=10+20,gamma=0.1"``.

    Raises:
        ValueError: an unknown schedule or option, or a value that it refuses.
    """
    return make_described(SCHEDULES, description, "schedule")
