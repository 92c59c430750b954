"""`minifa explore`: write a page on which a step and a short training run can be walked through."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from pathlib import Path

from .. import experiments, rules
from ..console import bar
from ..experiments import Experiment
from ..storage.atomic import stem
from .descriptions import as_file_name
from .exit_codes import OK
from .options import (
    add_network,
    add_update,
    at_least_one,
    from_zero,
    make_experiment,
    possible_rules,
)

BASE = Experiment(
    model="mlp",
    model_options={"hidden": (16, 12)},  # small enough to show every number
    lr=0.05,
    optimizer_options={},
    epochs=1,
    batch_size=8,
)


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write one self-contained page: a training step as a film that can be stopped and rewound, under every rule "
        "from the same weights, and a short training run. Here the model mlp has hidden layers of 16 and 12."
    )
    add_network(command, BASE)
    how = add_update(command, BASE)
    command.add_argument(
        "--rules", default="bp,fa,usf,dfa", help="comma-separated, the one that is shown first in front"
    )
    command.add_argument("-o", "--out", help="the page (default: runs/explore-DATA-MODEL.html); never overwritten")
    how.add_argument(
        "--updates", type=from_zero, default=0, help="updates under the first rule before the step that is shown"
    )
    how.add_argument("--train-updates", type=at_least_one, default=1000, help="length of the training run")


def run(options: argparse.Namespace) -> int:
    from ..explorer import page

    names = rules.split(options.rules)
    experiment = make_experiment(options, names[0], BASE)
    dataset = experiments.load_data(experiment)
    names = possible_rules(experiment, names, dataset, leave_out=options.rules == "all")
    total = len(names) * (1 + options.train_updates)
    with bar(total=total, desc="explore", unit="update", hidden=options.quiet) as shown:
        text = page.explore(experiment, dataset, names, options.updates, options.train_updates, shown.update)
    name = f"explore-{as_file_name(stem(experiment.data))}-{experiment.model}.html"
    path = page.write(text, options.out or Path("runs", name))
    print(f"written to {path} ({len(text) / 1e6:.1f} MB)\nopen it in a browser: {path.resolve().as_uri()}")
    return OK
