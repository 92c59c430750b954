"""The chance levels of results, for figures and sentences: of accuracies, of angles between W and B, and of angles
between errors."""

from __future__ import annotations

__all__: list[str] = []

import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from .. import backend, rules
from ..chance import DRAWS, Band, bands_in_time, unrelated_entries, weight_band
from ..data.augment import for_evaluation
from ..layers.weighted import Weighted
from ..network import Network
from ..rules.base import Rule
from .experiment import MEASURED_ON, Experiment, Result, augmentation_of, build, files_of, load_data, parts

TARGET_ANGLES = ("bp_angle", "gn_angle")  # of `minifa.target_metrics`


@dataclass(frozen=True)
class Levels:
    """The chance levels of a network and its data.

    Attributes:
        layers: weighted layers by name, of the network before training; empty if the data are not available.
        angles: by quantity ("weight_angle", "true_angle", "bp_angle", "gn_angle") and layer: the band of the angles
            that chance gives.
        accuracy: share of the most frequent class in the examples that are measured; None if unknown.
        examples: number of examples on which the angles of errors were measured.
    """

    layers: Mapping[str, Weighted] = field(default_factory=dict)
    angles: Mapping[str, Mapping[str, Band]] = field(default_factory=dict)
    accuracy: float | None = None
    examples: int = 0

    def describe(self, *quantities: str) -> str:
        """The meaning of the grey bands of these quantities; "" if there are none."""
        sources = {
            "weight_angle": "for W and B, those of as many unrelated entries",
            "true_angle": f"for errors, those of {DRAWS} other draws of B in the network before training, on the same "
            f"{self.examples} examples",
            **dict.fromkeys(TARGET_ANGLES, "for targets, those of as many unrelated entries as the layer has units"),
        }
        meanings = dict.fromkeys(sources[one] for one in quantities if self.angles.get(one))
        return f"Grey: angles by chance, mean ± 2 sd: {'; '.join(meanings)}." if meanings else ""


def levels_of(groups: Mapping[str, Sequence[Result]]) -> Levels:
    """The chance levels for these results, which share a network and data. The other draws of B are those of the first
    rule that has feedback matrices."""
    first = next(iter(groups.values()))[0].experiment.stages()[0]
    stages = [stage for some in groups.values() for result in some for stage in result.experiment.stages()]
    names = tuple(dict.fromkeys(stage.rule for stage in stages))
    setting = json.dumps(replace(first, rule="bp").settings(), sort_keys=True, default=str)
    return _levels(setting, names, _versions(first), backend.name(), str(backend.dtype()))


def _versions(experiment: Experiment) -> tuple[int, ...]:
    """The times of the last changes of its files, so that changed data are read again."""
    return tuple(
        os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in files_of(vars(experiment)).values()
    )


@functools.lru_cache(maxsize=4)  # `minifa figures` draws several figures of the same results
def _levels(setting: str, names: Sequence[str], *state: Any) -> Levels:
    experiment = Experiment(**json.loads(setting))
    try:
        data = load_data(experiment)
        net, _, loss, _ = build(experiment, data)
    except (OSError, ValueError):
        return Levels()
    layers = {layer.name: layer for layer in net.weighted}
    examples = data.train.head(MEASURED_ON)
    x = backend.asarray(for_evaluation(examples.x, augmentation_of(experiment)), net.dtype)
    every = filter(None, (known_rule(name, net) for name in names))
    bands = (bands_in_time(net, rule, x, examples.y, loss) for rule in every)
    sizes = [(layer, math.prod(layer.output_shape or ())) for layer in net]
    with backend.quiet():
        angles = {
            "weight_angle": {name: weight_band(unrelated_entries(layer.W)) for name, layer in layers.items()},
            "true_angle": next(filter(None, bands), {}),
            **dict.fromkeys(TARGET_ANGLES, {layer.name: weight_band(units) for layer, units in sizes}),
        }
    measured = parts(experiment, data)[1] or data.test
    accuracy = numpy.bincount(measured.y).max() / len(measured) if data.classes else None
    return Levels(layers, angles, accuracy, len(examples))


def known_rule(name: str, net: Network | None = None) -> Rule | None:
    """The rule of a result, attached to the network; None if this process does not know it, as a rule that a user has
    defined elsewhere, or if it cannot train the network."""
    try:
        rule = rules.make(name)
        return rule if net is None else rule.attach(net)
    except ValueError:
        return None
