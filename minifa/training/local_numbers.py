"""The local losses and accuracies of layers (`minifa.rules.Rule.local`), averaged over the examples of an epoch.

They are summed on the device, in double precision, so that no update waits for it.
"""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Mapping
from typing import Any

from ..backend import xp
from ..network import Network
from ..rules.base import Rule
from .history import Row

Sums = dict[str, "tuple[Any, int]"]  # by column: the sum over the examples, and their number


def add(sums: Sums, rule: Rule, examples: int) -> None:
    """Add the local numbers of a rule's last pass, with a batch of so many examples.

    Raises:
        TypeError: ``rule.local`` is not as `minifa.rules.Rule` describes it.
    """
    for layer, numbers in rule.local.items():
        is_valid = isinstance(numbers, Mapping) and numbers.keys() <= {"loss", "accuracy"}
        if not is_valid or not all(map(_is_number_or_none, numbers.values())):
            raise TypeError(
                f"local of the rule {rule.label!r} must have {{'loss': ..., 'accuracy': ...}} for each layer, got "
                f"{str(numbers)[:100]} for {layer!r}"
            )
        for kind, value in numbers.items():
            if value is not None:
                total, seen = sums.get(column := f"{layer}.local_{kind}", (0.0, 0))
                sums[column] = total + xp.asarray(value, dtype="float64") * examples, seen + examples


def _is_number_or_none(value: Any) -> bool:
    return value is None or isinstance(value, (int, float)) or getattr(value, "shape", None) == ()


def means(sums: Sums, net: Network) -> Row:
    """The entries of a history's row, in the order of the layers. Waits for the device."""
    places = {layer.name: i for i, layer in enumerate(net)}
    ordered = sorted(sums.items(), key=lambda item: places.get(item[0].rpartition(".")[0], len(places)))
    return {column: float(total) / examples for column, (total, examples) in ordered}
