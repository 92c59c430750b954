"""The command-line options that `train` and `compare` share, and the experiment that they define."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import experiments, rules
from ..data import AUGMENTATIONS, DATASETS
from ..data.base import Dataset
from ..data.interpretation import CHANNELS
from ..experiments import MOST_SEEDS, Experiment
from ..experiments.schema import fraction, strings
from ..losses import LOSSES
from ..models import MODELS
from ..optim import OPTIMIZERS
from ..registry import lookup
from ..schedules import SCHEDULES
from ..storage.atomic import expanded, stem
from ..validation import LARGEST

LARGEST_NAMES = 1 << 20  # maximum bytes of a file of names; a network of a thousand layers needs 50,000


def count(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A parser of an option that is an int from ``least`` to ``most``."""

    def read(text: str) -> int:
        short = text[:20] + "..." * (len(text) > 20)
        if not text.isdecimal() or (len(text) < 20 and int(text) < least):
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} up, got {short}")
        if len(text) >= 20 or int(text) > most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} up to {most:,}, got {short}")
        return int(text)

    return read


at_least_one, from_zero, seeds = count(1), count(0), count(1, MOST_SEEDS)


def number(text: str) -> float:
    """Parse an option that is a number; its range is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text[:20]}") from None


def seed(text: str) -> int:
    """Parse the option --seed, an int >= 0 with any number of digits."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, got {text[:20]}")
    return int(text)


def widths(text: str) -> tuple[int, ...]:
    return tuple(at_least_one(part.strip()) for part in text.split(","))


def layer_names(text: str) -> dict[str, str]:
    """{module: layer} from ``features.0=conv1,fc=linear1``, or from a JSON file that contains the mapping."""
    try:
        found = dict(pair.split("=") for pair in text.split(",")) if "=" in text else _read_names(expanded(text))
        return strings({key.strip(): layer.strip() for key, layer in strings(found).items()})
    except (ValueError, OSError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"expected features.0=conv1,fc=linear1 or a JSON file ({error})") from None


def _read_names(path: Path) -> Any:
    if path.stat().st_size > LARGEST_NAMES:
        raise ValueError(f"'{path}' is larger than {LARGEST_NAMES:,} bytes")
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _fraction(text: str) -> float:
    try:
        return fraction(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def how_often(text: str) -> tuple[float, int | None]:
    """(seconds, None) from ``60s``, ``10m`` or ``1h``; (60, steps) from an integer number of updates."""
    if text.isdecimal() and int(text) > 0:
        return 60.0, int(text)
    try:
        seconds = float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a time as 60s, 10m, 1h, or a number of updates, got {text}")
    return seconds, None


def contradictions(given: Iterable[str], options: argparse.Namespace, kept: Experiment) -> list[str]:
    """The given options that differ from a kept experiment, as ``--lr 0.1 (kept: 0.05)``.

    Args:
        given: the names of the options given on the command line.
        options: all options, including defaults.
        kept: the kept experiment.
    """
    filled = argparse.Namespace(**vars(options))
    for name in {"model", "optimizer", "rule"} - set(given):
        setattr(filled, name, getattr(kept, name))
    asked = make_experiment(filled, filled.rule)
    wanted, there = _by_option(asked), _by_option(kept)
    known = wanted.keys() | there.keys()
    different = [name for name in sorted(given) if name not in known or _shown(wanted, name) != _shown(there, name)]
    return [
        f"--{name.replace('_', '-')} {_shown({**vars(options), **wanted}, name)} (kept: {_shown(there, name)})"
        for name in different
    ]


def _by_option(experiment: Experiment) -> dict[str, Any]:
    """An experiment's values by option name."""
    model = {key: one.default for key, one in inspect.signature(MODELS[experiment.model]).parameters.items()}
    fields = {**vars(experiment), "lr": experiment.rate(), "weight_decay": experiment.decay()}
    return {**model, **fields, **experiment.data_options, **experiment.model_options, **experiment.optimizer_options}


def _shown(values: Mapping[str, Any], name: str) -> str:
    """A value as written on the command line: 100,50 for a tuple, or for a list read from JSON."""
    value = values.get(name)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value).lower()


def add_setting(command: argparse.ArgumentParser) -> None:
    """Add the options that `train` and `compare` share."""
    add_network(command, data="digits", model="cnn")
    how = add_update(command, batch_size=64)
    how.add_argument("--epochs", type=at_least_one, default=15, help="passes through the training set")
    how.add_argument(
        "--schedule", default="constant", help=f"of the learning rate: {', '.join(SCHEDULES)} (cosine:epochs=15)"
    )


def add_network(command: argparse.ArgumentParser, data: str, model: str) -> None:
    """Add the options for the data set and the network."""
    what = command.add_argument_group("what is trained")
    what.add_argument("--data", default=data, help=f"a data set ({', '.join(DATASETS)}) or a file my.npz with x and y")
    what.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")
    what.add_argument(
        "--scale",
        type=_fraction,
        metavar="NUMBER",
        help="of a file: what x is multiplied by, 1/255 for pixels; 1 leaves them as they are",
    )
    what.add_argument(
        "--channels", choices=CHANNELS, help="of a file: where its images have their channels (default: by their shape)"
    )
    what.add_argument(
        "--regression", action="store_true", help="of a file: y holds targets, even if its numbers are whole"
    )
    what.add_argument(
        "--augment",
        "--augmentation",
        dest="augmentation",
        help=f"of the training images: {', '.join(AUGMENTATIONS)}; with options: crop_flip:padding=4 (default: none)",
    )
    what.add_argument("--model", default=model, help=f"architecture: {', '.join(MODELS)}")
    what.add_argument("--depth", type=at_least_one, help="convolutions of the model cnn (default: 6)")
    what.add_argument(
        "--hidden", type=widths, help="widths of the hidden layers of the model mlp, as 100,50 (default: 500)"
    )
    what.add_argument("--weights", metavar="FILE", help="safetensors file of weights to start from")
    what.add_argument(
        "--weights-names",
        type=layer_names,
        metavar="NAMES",
        help="for every module of PyTorch in that file the layer here, where its own names do not tell: "
        'features.0=conv1,fc=linear1, or a file names.json with {"features.0": "conv1", ...}',
    )
    what.add_argument("--freeze", metavar="LAYERS", help="layers or blocks that do not learn, as conv1,residual2")
    what.add_argument(
        "--batch-norm", action="store_true", help="batch norm after every hidden weighted layer (cnn, mlp)"
    )


def add_update(
    command: argparse.ArgumentParser, batch_size: int, lr: str = "the one kept from the grid for each rule"
) -> argparse._ArgumentGroup:
    """Add the options for weight updates. ``lr`` describes the default learning rate in the help text."""
    how = command.add_argument_group("how it is trained")
    how.add_argument("--batch-size", type=at_least_one, default=batch_size, help="examples per weight update")
    how.add_argument("--lr", type=number, help=f"learning rate (default: {lr})")
    how.add_argument("--optimizer", default="sgd", help=", ".join(OPTIMIZERS))
    how.add_argument("--momentum", type=number, help="of sgd and rmsprop (default: 0.9 for sgd in training)")
    how.add_argument("--nesterov", action="store_true", help="of sgd")
    how.add_argument("--clip-norm", type=number, help="largest joint norm of the gradients")
    how.add_argument("--manhattan", action="store_true", help="move by the sign of the batch's gradient")
    how.add_argument("--constrain-weights", action="store_true", help="keep every W at the norm it starts with")
    how.add_argument("--freeze-signs", action="store_true", help="no weight changes its sign")
    how.add_argument("--weight-decay", type=number, help="default: what the rule asks for (0 for most)")
    how.add_argument("--loss", help=f"default: by the data; {', '.join(LOSSES)}")
    how.add_argument("--seed", type=seed, default=0, help="the first seed")
    return how


def add_changes(command: argparse._ActionsContainer) -> None:
    """Add the option that changes settings of a recipe."""
    command.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the recipe, as training.epochs=20; may be given more than once",
    )


def make_experiment(options: argparse.Namespace, rule: str) -> Experiment:
    lookup(MODELS, options.model, "model")
    lookup(OPTIMIZERS, options.optimizer, "optimizer")
    known = inspect.signature(MODELS[options.model]).parameters
    given = {"depth": options.depth, "hidden": _hidden(options, known), "batch_norm": options.batch_norm or None}
    model_options = {
        key: value
        for key, value in given.items()
        if value is not None and (key not in known or value != known[key].default)
    }
    return Experiment(
        data=options.data,
        data_dir=options.data_dir,
        data_options={
            key: getattr(options, key) for key in experiments.DATA_OPTIONS if getattr(options, key) not in (None, False)
        },
        augmentation=options.augmentation,
        model=options.model,
        model_options=model_options,
        weights=options.weights,
        weights_names=options.weights_names or {},
        freeze=options.freeze,
        rule=rule,
        loss=options.loss,
        optimizer=options.optimizer,
        schedule=options.schedule,
        optimizer_options=_optimizer_options(options),
        lr=options.lr,
        epochs=options.epochs,
        batch_size=options.batch_size,
        weight_decay=options.weight_decay,
        seed=options.seed,
        validation=getattr(options, "validation", 0.0),
    )


def _hidden(options: argparse.Namespace, known: Mapping[str, inspect.Parameter]) -> Any:
    """The widths as the model's argument: a tuple, or an int for a model with one hidden layer."""
    if options.hidden is None or "hidden" not in known or not isinstance(known["hidden"].default, int):
        return options.hidden
    if len(options.hidden) > 1:
        raise ValueError(f"the model {options.model!r} has one hidden layer, got {len(options.hidden)} widths")
    return options.hidden[0]


def _optimizer_options(options: argparse.Namespace) -> dict[str, Any]:
    """The given optimizer options; the default momentum of sgd is 0.9."""
    momentum = 0.9 if options.momentum is None and options.optimizer == "sgd" else options.momentum
    keys = ("nesterov", "clip_norm", "manhattan", "constrain_weights", "freeze_signs")
    given = {"momentum": momentum, **{key: getattr(options, key) for key in keys}}
    return {key: value for key, value in given.items() if value not in (None, False)}


def split_rules(text: str) -> list[str]:
    """The rules in an option, separated by commas or spaces; an item ``key=value`` belongs to the preceding rule.

    Raises:
        ValueError: an unknown rule or option, no rule, or a rule given twice.
    """
    names: list[str] = list(rules.RULES) if text == "all" else []
    for piece in text.replace(",", " ").split() if text != "all" else []:
        if "=" in piece and ":" not in piece and names:
            names[-1] += f",{piece}"  # a further option of the preceding rule
        else:
            names.append(piece)
    for name in names:
        rules.make(name)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--rules names no rule, or one twice: {text!r}")
    return names


def possible_rules(base: Experiment, names: Sequence[str], dataset: Dataset, leave_out: bool) -> list[str]:
    """The rules that can be attached to the experiment's network.

    Args:
        base: the experiment; only its rule is changed.
        names: descriptions of rules.
        dataset: the data set of the experiment.
        leave_out: whether to omit the other rules, printing the reason, instead of raising.

    Raises:
        ValueError: a rule cannot be attached and leave_out is false, or no rule can be attached.
    """
    left_out: dict[str, ValueError] = {}
    for name in names:
        try:
            experiments.build(replace(base, rule=name), dataset)
        except ValueError as error:
            left_out[name] = error
            if not leave_out or len(left_out) == len(names):
                raise
    for name, why in left_out.items():
        print(f"left out {name}: {why}")
    return [name for name in names if name not in left_out]


def label(experiment: Experiment) -> str:
    """Data set, model and model options as part of a file name."""
    parts = [stem(experiment.data), experiment.model, *(f"{k}-{v}" for k, v in experiment.model_options.items())]
    return as_file_name("-".join(parts))


def as_file_name(text: str) -> str:
    """The text with "_" in place of characters that some file systems do not allow."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
