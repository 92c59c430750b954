"""What a rule teaches hidden layers with besides feedback matrices: targets, errors of its own, losses of single
layers."""

from __future__ import annotations

__all__: list[str] = []

import math
from typing import Any

from ..backend import Array, xp
from ..layers.observer import Observer, observing
from ..layers.weighted import Weighted
from ..linalg import norm
from ..losses import Loss
from ..metrics import mean_angle, to_float
from ..network import Network
from ..rules.backprop import BP
from ..rules.base import Rule
from ..rules.recorded_targets import activities_and_errors
from ..rules.target_trace import TracedTargets
from ..target_metrics import mean_ratio
from .arrays import Json, number


def measured(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Json]:
    """By weighted layer, the entries "targets", "local_error", "local_loss" and "local_accuracy" of a snapshot (see
    `minifa.explorer.runs`). Empty for rules that only carry the output's error down. No state is changed.

    Args:
        net, rule, loss: as for `minifa.metrics.alignment`.
        x: a batch (N, ...) on the backend.
        y: its targets.
    """
    if rule.one_backward_pass and not rule.overrides_teach:
        return {}
    owners, found = _weighted_below(net), dict[str, Json]()
    for name, entry in _errors(net, rule, x, y, loss).items():
        key = "targets" if isinstance(rule, TracedTargets) else "local_error"
        found.setdefault(owners[name], {}).setdefault(key, {"at": name, **entry})
    for name, numbers in _local(net, rule, x, y, loss).items():
        for key, value in numbers.items():
            if value is not None:
                found.setdefault(owners[name], {})[f"local_{key}"] = value
    return found


def _errors(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Json]:
    """Angle and size of the error, or of the step to the target, at each layer where the rule computes one. Rules that
    compute it for other examples than those of x have none."""
    pairs = activities_and_errors(rule, net, x, y, loss)
    own = {name: pair for name, pair in pairs.items() if len(pair[0]) == len(x)}
    true = activities_and_errors(BP().attach(net), net, x, y, loss, own) if own else {}
    entries = {}
    for name, (h, delta) in own.items():
        other = true[name][1] if name in true else None
        if isinstance(rule, TracedTargets):
            size = mean_ratio((rule.eta * len(h)) * delta, h)
        else:
            size = None if other is None else norm(delta) / xp.where(norm(other) > 0, norm(other), math.nan)
        entries[name] = {"angle": to_float(mean_angle(delta, other)), "size": number(to_float(size))}
    return entries


def _local(net: Network, rule: Rule, x: Array, y: Any, loss: Loss) -> dict[str, Json]:
    """`Rule.local` after a pass on this batch."""
    with net.preserved(), rule.preserved(), observing(Observer()):
        rule.gradients(net, x, y, loss)
        return {name: {key: number(to_float(value)) for key, value in one.items()} for name, one in rule.local.items()}


def _weighted_below(net: Network) -> dict[str, str]:
    """By the name of each layer, the last weighted layer up to it, else the first one."""
    below, last = {}, net.weighted[0].name
    for layer in net:
        last = layer.name if isinstance(layer, Weighted) else last
        below[layer.name] = last
    return below
