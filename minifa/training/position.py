"""The position in a training as JSON values: its examples and batches, and the checks of a loaded position."""

from __future__ import annotations

__all__: list[str] = []

import hashlib
import numbers
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from ..data.base import Examples
from ..data.batches import count_batches

LARGEST_COUNT = 1 << 53  # upper limit for epochs and examples
LARGEST_RATE = float(numpy.finfo(numpy.float32).max)
NUMBERS = (  # columns that must be numeric
    *("lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("seconds", "images_per_second", "diverged", "stopped_early"),
)


def layout(train: Examples, batch_size: int, drop_last: bool = False) -> dict[str, Any]:
    """Identify examples and batches by JSON values: the number of examples, the batch size, a hash of all targets and
    of about 256 evenly spaced inputs, and ``drop_last`` if it is true (older layouts do not have it)."""
    digest = hashlib.sha256(repr((train.x.shape, str(train.x.dtype))).encode())
    digest.update(numpy.ascontiguousarray(train.y).tobytes())
    digest.update(numpy.ascontiguousarray(train.x[:: max(1, len(train) // 256)]).tobytes())
    dropped = {"drop_last": True} if drop_last else {}
    return {"examples": len(train), "batch_size": batch_size, "digest": digest.hexdigest()[:16], **dropped}


def describe_layout(layout: Mapping[str, Any]) -> str:
    dropped = ", without a smaller last one" if layout.get("drop_last") else ""
    return "{examples} examples ({digest}) in batches of {batch_size}".format(**layout) + dropped


def check_ranges(state: Mapping[str, Any]) -> None:
    """Raise ValueError if a trainer's state has values that are impossible in training. Missing entries and wrong types
    are not checked here (see `Trainer.load_state`)."""

    def whole_number(key: str) -> int | None:
        return state[key] if type(state.get(key)) is int else None

    for key in ("epoch", "batch", "seen", "correct"):
        if not 0 <= (whole_number(key) or 0) <= LARGEST_COUNT:
            raise ValueError(f"{key} must lie from 0 to {LARGEST_COUNT}, got {str(state[key])[:30]}")
    finite = sys.float_info.max
    for key, largest in (("base_lr", LARGEST_RATE), ("seconds", finite), ("first_loss", finite)):
        value = state.get(key, 0.0)
        if isinstance(value, (int, float)) and not 0 <= value <= largest:
            raise ValueError(f"{key} must be a finite number from 0 up, got {value}")
    if isinstance(state.get("begun"), str) and not re.fullmatch(r"|from [0-9]{1,16}", state["begun"]):
        raise ValueError(f"begun must be empty or 'from' and a number of updates, got {state['begun'][:100]!r}")
    if not 0 <= (whole_number("phase_start") or 0) <= (whole_number("epoch") or 0):
        raise ValueError(f"phase_start must lie from 0 to epoch, got {str(state['phase_start'])[:30]}")
    _check_local_sums(state.get("local_sums"), whole_number("seen") or 0)
    _check_counts(state.get("layout"), bool(state.get("unfinished")), whole_number)
    _check_history(state.get("history"), whole_number("epoch"), bool(state.get("unfinished")))


def _check_counts(layout: Any, unfinished: bool, whole_number: Callable[[str], int | None]) -> None:
    if (whole_number("correct") or 0) > (whole_number("seen") or 0):
        raise ValueError("correct must be at most the number of examples that were seen")
    if not isinstance(layout, dict) or not (layout or unfinished):
        return
    examples, batch_size = (layout[key] if type(layout.get(key)) is int else 0 for key in ("examples", "batch_size"))
    if examples < 1 or batch_size < 1 or not isinstance(layout.get("digest"), str):
        raise ValueError("layout must hold a number of examples, a batch size and a digest")
    drop_last = layout.get("drop_last", False)
    if not isinstance(drop_last, bool):
        raise ValueError(f"layout must hold true or false as drop_last, got {str(drop_last)[:100]}")
    if unfinished and (whole_number("batch") or 0) > count_batches(examples, batch_size, drop_last):
        raise ValueError(f"batch must be at most the number of batches of {batch_size} in {examples} examples")


def _check_local_sums(sums: Any, seen: int) -> None:
    for column, entry in sums.items() if isinstance(sums, dict) else ():
        total, examples = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if type(total) not in (int, float) or type(examples) is not int or not 0 < examples <= seen:
            raise ValueError(
                f"local_sums must hold a sum and the number of its examples, of the {seen} that were seen, as "
                f"{str(column)[:100]!r}, got {str(entry)[:100]}"
            )


def _check_history(rows: Any, epoch: int | None, unfinished: bool) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return
    epochs = [row.get("epoch") for row in rows]
    if not all(type(one) is int and one >= 0 for one in epochs) or epochs != sorted(set(epochs)):
        raise ValueError("history must have one row for each epoch, in order")
    if epochs and epoch is not None and epochs[-1] > epoch - unfinished:
        raise ValueError(f"history has a row for epoch {epochs[-1]}, which is not finished in epoch {epoch}")
    for row in rows:
        wrong = [key for key in NUMBERS if key in row and not isinstance(row[key], numbers.Real)]
        if wrong:
            raise ValueError(f"history must have a number as {wrong[0]} of epoch {row['epoch']}")


def is_like(value: Any, example: Any) -> bool:
    """Whether a loaded value has the type of the example. An int is accepted for a float, a list must contain
    dictionaries (rows of the history)."""
    if isinstance(example, list):
        return isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return type(value) is type(example) or (type(value) is int and type(example) is float)
