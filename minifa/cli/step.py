"""`minifa step`: walk through one training step under any rule."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import sys

from .. import experiments, rules
from ..experiments import Experiment
from ..text import terminal_width, unescaped
from ..tracing import colours, pages, stepper
from .exit_codes import OK
from .options import add_network, add_rule, add_update, from_zero, make_experiment

# The rate is large enough for visible changes of the tiny network.
BASE = Experiment(data="xor", model="tiny", lr=0.5, optimizer_options={}, epochs=1, batch_size=4)


def describe(command: argparse.ArgumentParser) -> None:
    add_network(command, BASE)
    add_update(command, BASE)
    add_rule(command, BASE, "learning rule")
    command.add_argument(
        "--rules", help="two rules for the same moment, as bp,fa: side by side in 100 columns, else below each other"
    )
    command.add_argument("--updates", type=from_zero, default=0, help="updates to make before the step that is shown")
    command.add_argument(
        "--color",
        choices=colours.CHOICES,
        default="auto",
        help="colour values by sign and size; auto: on a terminal, unless $NO_COLOR is set",
    )


def run(options: argparse.Namespace) -> int:
    names = _rules(options)
    experiment = make_experiment(options, names[0] if names else None, BASE)
    names = names or [experiment.rule]
    dataset = experiments.load_data(experiment)
    replay = stepper.Replay(experiment, dataset, options.updates)
    color = colours.wanted(options.color, sys.stdout)
    if sys.stdin.isatty() and sys.stdout.isatty():
        stepper.Stepper(replay, ",".join(names), color=color).cmdloop()
        return OK
    traces, width = [replay.trace(name) for name in names], terminal_width()
    texts = (pages.show(traces, i, width, color) for i in range(len(traces[0])))
    text = ("\n\n" + "-" * min(width, 80) + "\n").join(texts)
    print(text, file=unescaped(sys.stdout) if color else sys.stdout)
    return OK


def _rules(options: argparse.Namespace) -> list[str]:
    """The rules of --rules; none without it."""
    if options.rules is None:
        return []
    if "rule" in options:
        raise ValueError("--rule and --rules cannot be given together: name both rules in --rules")
    names = rules.split(options.rules)
    if len(names) > 2:
        raise ValueError(f"--rules shows at most two rules side by side, got {len(names)}")
    return names
