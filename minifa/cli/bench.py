"""`minifa bench`: time a training step, or measure its memory."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from .. import rules
from ..console import bar
from ..registry import unknown
from ..storage.atomic import expanded
from ..text import wrap
from . import pictures
from .exit_codes import FAILED, OK
from .options import at_least_one, widths


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", help="mlp, cnn, resnet20, small, or several (default: mlp,cnn)")
    command.add_argument(
        "--rules",
        help="rules to set beside each other (default: bp,fa; with --memory bp,dfa,dfa:recompute=true); all: each rule "
        "beside bp on a network of linear layers that it accepts, with the time and the products of a step",
    )
    command.add_argument("--batch-size", type=at_least_one, help="examples per step (default: 128; with --memory 32)")
    command.add_argument(
        "--repeats", type=at_least_one, default=15, help="timed steps of each; their median is printed"
    )
    command.add_argument(
        "--against",
        help="torch, biotorch, or torch,biotorch: print every performance target with its measured value (minutes)",
    )
    memory = command.add_argument_group("memory instead of time")
    memory.add_argument(
        "--memory", action="store_true", help="peak memory of a step's activations, by the depth of a convolutional net"
    )
    memory.add_argument("--depths", type=widths, default="8,16,32,64", help="numbers of convolutions")
    memory.add_argument("--out", help="draw it into this file (.png, .svg, .pdf)")


def run(options: argparse.Namespace) -> int:
    from ..bench import step_time, targets

    if options.memory:
        return _bench_memory(options)
    if options.out:
        raise ValueError("only --memory draws a picture: --out needs it")
    batch_size = options.batch_size or 128
    if options.against:
        against = options.against.split(",")
        if strange := set(against) - {"torch", "biotorch"}:
            raise ValueError(unknown(("torch", "biotorch"), min(strange), "contestant"))
        print(wrap(targets.report(against, options.repeats, batch_size, progress=not options.quiet)))
        return OK
    if options.rules == "all":
        return _bench_every_rule(options, batch_size)
    names, models = rules.split(options.rules or "bp,fa"), (options.models or "mlp,cnn").split(",")
    print(wrap(step_time.report(models, names, batch_size, options.repeats)))
    return OK


def _bench_every_rule(options: argparse.Namespace, batch_size: int) -> int:
    from ..bench import every_rule

    if options.models:
        raise ValueError("with --rules all each rule has a network that it accepts: leave out --models")
    with bar(total=len(rules.RULES) - 1, desc="bench", unit="rule", hidden=options.quiet) as shown:
        print(wrap(every_rule.report(batch_size, options.repeats, shown.update)))
    return OK


def _bench_memory(options: argparse.Namespace) -> int:
    from ..bench import memory

    names = rules.split(options.rules or ",".join(memory.RULES))
    batch_size = options.batch_size or memory.BATCH_SIZE
    with bar(total=len(names) * len(set(options.depths)), desc="bench", unit="net", hidden=options.quiet) as shown:
        peaks = memory.measure(options.depths, names, batch_size, shown.update)
    about = memory.describe(batch_size, names)
    print(wrap(f"{about}\n\n{memory.table(peaks)}\n\n{memory.read(peaks)}"))
    if options.out:
        title = "Memory for activations in a training step"
        drawn = pictures.draw(
            expanded(options.out),
            lambda figures: figures.activation_memory(peaks, title, about),
            "the numbers stand above",
        )
        if not drawn:
            return FAILED
        print(f"\nwritten to {options.out}")
        pictures.show(expanded(options.out))
    return OK
