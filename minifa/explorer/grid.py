"""Where feedback fails: training runs over depth, rule, convolution and batch norm, read from ``grid.json``.

The runs are made by ``python tutorials/results/explorer/grid.py``, each at a learning rate that was best for its
network and rule on held-out examples; a page only shows them. The content of the file, which a page has as "grid":

    meta      data, train, test (numbers of examples), classes, optimizer, batch_size, epochs, seeds, held_out and
              search_seeds (of the search for the rates), command, minifa (version), commit, date, torch (version)
    rules     {name, title}, in the order of the rows; the last one is the control, which trains the output layer only
    families  {name, title, unit, units, kind, depths}: unit and units are what depth counts, singular and plural; kind
              follows it in a sentence ("with batch norm") or is ""
    cells     one for each family, depth and rule:
        family, depth, rule, lr
        accuracy      for each seed a list over epochs, of test accuracies: before training, after epoch 1, ...
        true_angle    the same, of angles in degrees between the rule's error and backpropagation's at the output of the
                      lowest layer; null if the rule sends no error there, or for an epoch in which all errors are zero
        weight_angle  the same, of angles between W and B of the layer above it, through which the error arrives;
                      null if no B of this layer corresponds to W
        layers        {true_angle, weight_angle}: the names of the two layers
        chance        {true_angle, weight_angle}: [lowest, highest] angle of chance, mean over the seeds, or null. For
                      errors from 40 other draws of B in the network before training, for weights from their number
        diverged      number of seeds whose loss became infinite or not a number; their lists may be shorter
        peer          for each seed the last test accuracy in PyTorch, with its own draws; null if it was not run
"""

from __future__ import annotations

__all__ = ["FAMILIES", "RULES", "read", "setting"]

import importlib.resources
import json
from typing import Any, NamedTuple

from ..experiments import Experiment
from ..validation import check_choice, check_int
from .arrays import Json

WIDTH = 64
RULES = ("bp", "usf", "frsf", "fa", "dfa", "shallow")


class Family(NamedTuple):
    """Networks that differ in their depth.

    Attributes:
        title: what they have in common.
        unit, units: what the depth counts, singular and plural.
        kind: what distinguishes them from other networks of this unit, in a sentence after it; may be "".
        depths: the depths of the grid.
        model: name of the architecture.
        options: its options other than the depth.
    """

    title: str
    unit: str
    units: str
    kind: str
    depths: tuple[int, ...]
    model: str
    options: Json


FAMILIES = {
    "mlp": Family("Fully connected", "hidden layer", "hidden layers", "", (1, 2, 4, 8), "mlp", {}),
    "cnn": Family(
        "Convolutions without batch norm",
        "convolution",
        "convolutions",
        "without batch norm",
        (1, 2, 4, 6),
        "cnn",
        {},
    ),
    "cnn-batch-norm": Family(
        "Convolutions with batch norm",
        "convolution",
        "convolutions",
        "with batch norm",
        (1, 2, 4, 6),
        "cnn",
        {"batch_norm": True},
    ),
}


def setting(family: str, depth: int, rule: str, seed: int = 0) -> Experiment:
    """The experiment of a cell, with the learning rate of the shipped search.

    Args:
        family: a key of `FAMILIES`.
        depth: number of hidden layers (64 units each) or convolutions (16 channels each), one of the family's depths.
        rule: one of `RULES`.
        seed: seed of all random draws.

    Raises:
        TypeError: a depth or seed that is not an int.
        ValueError: a family, depth or rule that the grid does not have.

    >>> from minifa.explorer import grid
    >>> grid.setting("mlp", 2, "fa").model_options
    {'hidden': (64, 64)}
    """
    known = FAMILIES[check_choice(family, "the family", tuple(FAMILIES))]
    if check_int(depth, "the depth") not in known.depths:
        raise ValueError(f"the family {family!r} has the depths {', '.join(map(str, known.depths))}, got {depth}")
    check_choice(rule, "the rule", RULES)
    layers: dict[str, Any] = {"hidden": (WIDTH,) * depth} if known.model == "mlp" else {"depth": depth}
    return Experiment(model=known.model, model_options={**known.options, **layers}, rule=rule, seed=seed)


def read() -> Json:
    """The grid that ships with the package, in the form above.

    >>> from minifa.explorer import grid
    >>> sorted(grid.read())
    ['cells', 'families', 'meta', 'rules']
    """
    return json.loads(importlib.resources.files("minifa").joinpath("explorer/grid.json").read_text(encoding="utf-8"))
