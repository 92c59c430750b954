"""`minifa attack`: how trained networks classify adversarial examples, under every gradient that matters."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import math
from pathlib import Path
from typing import NamedTuple

from .. import attacks, rules
from ..attacks import AttackReport, Victim, written
from ..console import print_stderr
from ..data.augment import AUGMENTATIONS, for_evaluation
from ..data.base import Dataset, Examples
from ..experiments import Experiment, load_run, run_folder
from ..experiments.experiment import augmentation_of, data_key, default_loss
from ..experiments.resume import load_once
from ..losses import LOSSES
from ..network import Network
from ..registry import lookup
from ..rules.base import Rule
from ..saved_networks import load
from ..signals import exit_code
from ..storage.atomic import expanded, make_folder, refuse_link
from ..text import wrap
from . import pictures
from .exit_codes import OK
from .options import at_least_one, seed
from .progress import follow

DEFAULT_EPS = "2/255,8/255"


class Opened(NamedTuple):
    """A run, or a saved network with the settings that the options give it."""

    path: Path
    victim: Victim
    experiment: Experiment
    label: str


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Attack trained networks with FGSM and PGD: along the gradient that the rule computes through its feedback, "
        "along the true gradient of the loss and of the margin, with examples made on another network, and, for "
        "comparison, with random signs. No number shows robustness alone."
    )
    command.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a `minifa train` run, or a file of net.save (with --data)"
    )
    command.add_argument(
        "--eps",
        type=sizes,
        default=DEFAULT_EPS,
        help="sizes of the perturbation, comma-separated: parts of the pixels' range, or units of the network's inputs "
        "if the data set has no pixels",
    )
    command.add_argument("--attack", type=names, default="fgsm,pgd", help="fgsm, pgd or both")
    command.add_argument("--steps", type=at_least_one, default=10, help="of pgd, each a quarter of eps")
    command.add_argument("--examples", type=at_least_one, help="number of test examples, from the first (default: all)")
    command.add_argument(
        "--from", dest="source", metavar="RUN", help="network of the transferred examples (default: the first bp run)"
    )
    command.add_argument("--checkpoint", choices=("last", "best"), default="last", help="of the run folders")
    command.add_argument("--seed", type=seed, default=0, help="of the random signs")
    command.add_argument("--data", help="data set of saved networks")
    command.add_argument(
        "--rule", default="bp", help="of networks that were saved without it; its feedback is drawn from their seed"
    )
    command.add_argument("--data-dir", metavar="DIR", help="where it is looked for")
    command.add_argument(
        "--augmentation", help=f"of saved networks, for its crop in evaluation: {', '.join(AUGMENTATIONS)}"
    )
    command.add_argument(
        "--out",
        help="folder of attack.csv and figures/attack.png (default: the folder of a single run, else a new "
        "one, runs/attack-1, -2, ...)",
    )


def sizes(text: str) -> list[float]:
    try:
        parts = [part.partition("/") for part in text.split(",")]
        given = [float(above) / (float(below) if slash else 1) for above, slash, below in parts]
    except (ValueError, ZeroDivisionError):
        given = [math.nan]
    if not all(0 <= one < math.inf for one in given):
        raise argparse.ArgumentTypeError(f"expected sizes as 2/255,8/255 or 0.1, got {text[:40]}")
    return list(dict.fromkeys(given))


def names(text: str) -> list[str]:
    chosen = [part.strip() for part in text.split(",")]
    if not set(chosen) <= set(attacks.ATTACKS) or len(set(chosen)) < len(chosen):
        raise argparse.ArgumentTypeError(f"expected fgsm, pgd or fgsm,pgd, got {text[:40]}")
    return chosen


def run(options: argparse.Namespace) -> int:
    paths = [expanded(path) for path in options.runs]
    source = [] if options.source is None else [expanded(options.source)]
    opened = _distinguished([_open(path, options) for path in dict.fromkeys([*paths, *source])])
    dataset, examples = _examples(opened)
    if options.examples is not None:
        examples = examples.head(options.examples)
    victims = {one.label: one.victim for one in opened if one.path in paths}
    of_bp = [one for one in opened if type(one.victim.rule) is rules.BP]
    by = next(iter([one for one in opened if one.path in source] or of_bp), None)
    report = AttackReport(attacks.units_of(dataset), "another" if by is None else by.label)
    transferred = None if by is None else by.victim
    total = len(victims) * len(options.eps)
    stop = follow(
        lambda _: attacks.measure_into(
            report, victims, examples, options.eps, options.attack, options.steps, transferred, options.seed
        ),
        lambda row: f"{row['run']}, eps {written(report.units, row['eps'])}",
        desc="attack",
        unit="row",
        total=total,
        quiet=options.quiet,
    )
    if report.rows:
        print(report)
        if by is None:
            print("\nNo network to transfer from: name one with --from RUN, or give a bp run too.")
        if dataset.note:
            print(f"\n{wrap(dataset.note)}")
        _save(report, _folder(options.out, paths))
    if stop is None:
        return OK
    print_stderr(f"interrupted, {len(report.rows)} of {total} rows are finished. The same command starts again")
    return exit_code(stop)


def _folder(out: str | None, paths: list[Path]) -> Path:
    if out is not None:
        return run_folder.new_folder(out)
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0]
    return run_folder.numbered_folder("runs/attack")


def _save(report: AttackReport, folder: Path) -> None:
    refuse_link(folder / "figures")
    make_folder(folder / "figures")
    report.save_csv(folder / "attack.csv")
    picture = folder / "figures" / "attack.png"
    drawn = pictures.draw(
        picture, lambda figures: figures.robustness(report), f"the numbers are in {folder / 'attack.csv'}"
    )
    pictures.write_page(folder)
    print(f"\nwritten to {folder}")
    if drawn:
        pictures.show(picture)


def _open(path: Path, options: argparse.Namespace) -> Opened:
    """A run folder or a saved network, which may have been saved without its rule."""
    if path.is_file():
        if options.data is None:
            raise ValueError(f"'{path}' is a saved network without its data set: name the data set, as --data digits")
        net, rule = load(path)
        rule = _redrawn(net, options.rule) if rule is None else rule
        stage = Experiment(data=options.data, data_dir=options.data_dir, augmentation=options.augmentation)
        label = rule.label
    else:
        net, rule, _, experiment = load_run(path, options.checkpoint)
        stage, label = run_folder.last_stage(path, experiment), experiment.label
    loss = lookup(LOSSES, stage.loss or default_loss(_load(stage)), "loss")()
    return Opened(path, Victim(net, rule, loss), stage, label)


def _redrawn(net: Network, description: str) -> Rule:
    """The rule of a saved network with the feedback that it had in training. It is drawn again from the network's seed,
    after the initial weights, on which it may depend, were also drawn again."""
    rule, trained = rules.make(description, net.seed), net.state()
    if rule.feedback_learns:
        raise ValueError(f"the feedback of the rule {description!r} is learned: save the network with its rule")
    for layer in net:
        layer.initialise(net.seed)
    rule.attach(net)
    net.load_state(trained)
    return rule


def _load(experiment: Experiment) -> Dataset:
    return load_once(experiment.data, experiment.data_dir, **experiment.data_options)


def _distinguished(opened: list[Opened]) -> list[Opened]:
    """With their paths as labels, where several have the same rule."""
    if len({one.label for one in opened}) == len(opened):
        return opened
    return [one._replace(label=str(one.path)) for one in opened]


def _examples(opened: list[Opened]) -> tuple[Dataset, Examples]:
    """The data set of all networks, and its test part as they are evaluated on it."""
    first = opened[0].experiment
    for one in opened:
        if (data_key(one.experiment), one.experiment.augmentation) != (data_key(first), first.augmentation):
            raise ValueError(
                f"all networks must have the same data set and augmentation: '{opened[0].path}' has {first.data}, "
                f"{first.augmentation}, and '{one.path}' has {one.experiment.data}, {one.experiment.augmentation}"
            )
    dataset = _load(first)
    return dataset, Examples(for_evaluation(dataset.test.x, augmentation_of(first)), dataset.test.y)
