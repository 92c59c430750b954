"""`minifa step`: walk through one training step under any rule."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import sys

from .. import experiments
from ..experiments import Experiment
from ..text import terminal_width
from .exit_codes import OK
from .options import add_network, add_rule, add_update, from_zero, make_experiment

# The rate is large enough for visible changes of the tiny network.
BASE = Experiment(data="xor", model="tiny", lr=0.5, optimizer_options={}, epochs=1, batch_size=4)


def describe(command: argparse.ArgumentParser) -> None:
    add_network(command, BASE)
    add_update(command, BASE)
    add_rule(command, BASE, "learning rule")
    command.add_argument("--updates", type=from_zero, default=0, help="updates to make before the step that is shown")


def run(options: argparse.Namespace) -> int:
    from ..tracing import stepper

    experiment = make_experiment(options, base=BASE)
    dataset = experiments.load_data(experiment)
    replay = stepper.Replay(experiment, dataset, options.updates)
    if sys.stdin.isatty() and sys.stdout.isatty():
        stepper.Stepper(replay, experiment.rule).cmdloop()
        return OK
    trace = replay.trace(experiment.rule)
    width = terminal_width()
    print(("\n\n" + "-" * min(width, 80) + "\n").join(stepper.page(trace, i, width) for i in range(len(trace))))
    return OK
