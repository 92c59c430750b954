"""`minifa step`: walk through one training step under any rule."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import shutil
import sys

from .. import experiments, rules
from .exit_codes import OK
from .options import add_network, add_update, from_zero, make_experiment


def describe(command: argparse.ArgumentParser) -> None:
    add_network(command, data="xor", model="tiny")
    add_update(command, batch_size=4, lr="0.5 for sgd, else the optimizer's own")
    command.add_argument("--rule", default="bp", help=f"learning rule: {', '.join(rules.RULES)}")
    command.add_argument("--updates", type=from_zero, default=0, help="updates to make before the step that is shown")
    command.set_defaults(momentum=0.0, epochs=1, schedule="constant")


def run(options: argparse.Namespace) -> int:
    from ..tracing import stepper

    if options.lr is None and options.optimizer == "sgd":
        options.lr = 0.5  # large enough for visible changes of the tiny network
    experiment = make_experiment(options, options.rule)
    dataset = experiments.load_data(experiment)
    replay = stepper.Replay(experiment, dataset, options.updates)
    if sys.stdin.isatty() and sys.stdout.isatty():
        stepper.Stepper(replay, experiment.rule).cmdloop()
        return OK
    trace = replay.under(experiment.rule)
    width = shutil.get_terminal_size((100, 24)).columns
    print(("\n\n" + "-" * min(width, 80) + "\n").join(stepper.page(trace, i, width) for i in range(len(trace))))
    return OK
