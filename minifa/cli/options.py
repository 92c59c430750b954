"""The command-line options that `train` and `compare` share, and the experiment that they define."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import dataclasses
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
from ..experiments import Experiment
from ..experiments.experiment import DATA_OPTIONS, MOST_SEEDS, default_optimizer_options
from ..experiments.schema import scale, strings
from ..initialisers import INITIALISERS
from ..losses import LOSSES
from ..models import MODELS
from ..models.dense import ACTIVATIONS
from ..optim import OPTIMIZERS
from ..registry import lookup
from ..schedules import SCHEDULES
from ..storage.atomic import expanded
from ..text import wrap
from ..validation import LARGEST

MODEL_OPTIONS = (
    *("depth", "untied", "equal_start", "hidden", "batch_norm", "unit_length", "dropout"),
    *("activation", "output_activation", "init", "first_init", "signs"),
)
FLAT_MODEL = "mlp"  # default model for data that are not images
OPTIMIZER_OPTIONS = (
    *("momentum", "nesterov", "clip_norm", "manhattan", "constrain_weights", "freeze_signs", "decay_bias"),
    *("lr_factors", "share_weights"),
)
ON_BY_DEFAULT = {"decay_bias": True}  # 0 is the default of all other optimizer options
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
        names = dict(pair.split("=") for pair in text.split(",")) if "=" in text else _read_names(expanded(text))
        return strings({key.strip(): layer.strip() for key, layer in strings(names).items()})
    except (ValueError, OSError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"expected features.0=conv1,fc=linear1 or a JSON file ({error})") from None


def lr_factors(text: str) -> dict[str, float]:
    """{pattern: factor} from ``conv*=0.1,linear2.b=0``."""
    pairs = [pair.rpartition("=") for pair in text.split(",")]
    if not all(pattern.strip() for pattern, _, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected factors by names, as conv*=0.1,linear2.b=0, got {text[:100]}")
    return {pattern.strip(): number(factor) for pattern, _, factor in pairs}


def _read_names(path: Path) -> Any:
    if path.stat().st_size > LARGEST_NAMES:
        raise ValueError(f"'{path}' is larger than {LARGEST_NAMES:,} bytes")
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _scale(text: str) -> float | str:
    try:
        return scale(text)
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


def contradictions(given: Mapping[str, Any], stored: Experiment) -> list[str]:
    """The given options that differ from a stored experiment, as ``--lr 0.1 (kept: 0.05)``.

    Args:
        given: values of the options given on the command line, by name.
        stored: the experiment of the run folder.
    """
    model = {key: one.default for key, one in inspect.signature(MODELS[stored.model]).parameters.items()}
    fields = {**vars(stored), "lr": stored.rate(), "weight_decay": stored.decay()}
    there = {
        **model,
        **ON_BY_DEFAULT,
        **fields,
        **stored.data_options,
        **stored.model_options,
        **stored.optimizer_options,
    }
    return [
        f"--{name.replace('_', '-')} {_shown(value)} (kept: {_shown(there.get(name))})"
        for name, value in sorted(given.items())
        if _shown(value) != _shown(there.get(name))
    ]


def _shown(value: Any) -> str:
    """A value as written on the command line: 100,50 for a tuple, or for a list read from JSON."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value).lower()


def add_setting(command: argparse.ArgumentParser) -> None:
    """Add the options that `train`, `compare` and `tune` share."""
    base = Experiment()
    add_network(command, base, f"{base.model} for images, {FLAT_MODEL} for other data")
    how = add_update(command, base)
    how.add_argument("--epochs", type=at_least_one, help=f"passes through the training set (default: {base.epochs})")
    how.add_argument(
        "--schedule",
        help=f"of the learning rate: {', '.join(SCHEDULES)} (cosine:epochs=15), one after another with 'then' "
        f"('warm_up:epochs=2 then cosine:epochs=13') (default: {base.schedule})",
    )


# The options of an experiment have no defaults of their own: an option that is not given is missing in the parsed
# options, and `make_experiment` takes its value from an experiment. The help texts print the values of that experiment.


def add_network(command: argparse.ArgumentParser, base: Experiment, model: str = "") -> None:
    """Add the options for the data set and the network; ``base`` has their defaults, ``model`` describes that of the
    model."""
    what = command.add_argument_group("data and network", argument_default=argparse.SUPPRESS)
    what.add_argument(
        "--data",
        help=f"a data set ({', '.join(DATASETS)}) or a file: my.npz with x and y, my.csv with named columns, or x.npy "
        f"beside y.npy (default: {base.data})",
    )
    what.add_argument(
        "--label",
        metavar="NAME",
        help="of a file: the column of my.csv, or the file beside x.npy, that holds the labels (default: label, "
        "target, class or y; y.npy)",
    )
    what.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")
    what.add_argument(
        "--scale",
        type=_scale,
        metavar="SCALE",
        help="of a file: standard (mean 0, standard deviation 1), unit (from 0 to 1), or what x is multiplied by, "
        "1/255 for pixels; 1 leaves them as they are",
    )
    what.add_argument(
        "--channels", choices=CHANNELS, help="of a file: where its images have their channels (default: by their shape)"
    )
    what.add_argument(
        "--regression", action="store_true", help="of a file: y holds targets, even if its numbers are whole"
    )
    what.add_argument(
        "--reconstruct",
        action="store_true",
        help="the targets are the inputs instead of the labels, as the model autoencoder needs",
    )
    what.add_argument(
        "--augment",
        "--augmentation",
        dest="augmentation",
        help=f"of the training images: {', '.join(AUGMENTATIONS)}; with options: crop_flip:padding=4 (default: none)",
    )
    _add_model(what, model or base.model)


def _add_model(what: argparse._ArgumentGroup, default: str) -> None:
    what.add_argument("--model", help=f"architecture: {', '.join(MODELS)} (default: {default})")
    what.add_argument("--depth", type=at_least_one, help="convolutions of the model cnn (default: 6)")
    what.add_argument(
        "--untied", action="store_true", help="locally connected layers in place of the convolutions of the model cnn"
    )
    what.add_argument(
        "--equal-start", action="store_true", help="of --untied: all kernels of a layer start equal, and so do its B"
    )
    what.add_argument(
        "--hidden",
        type=widths,
        help="widths of the hidden layers of mlp (default: 500) or vector_mlp, as 100,50; of the encoder of "
        "autoencoder (default: 32)",
    )
    what.add_argument(
        "--activation", help=f"of the models mlp (default: relu) and autoencoder (sigmoid): {', '.join(ACTIVATIONS)}"
    )
    what.add_argument(
        "--output-activation",
        metavar="NAME",
        help="after its last layer: sigmoid with --loss half_squared_error (default: none)",
    )
    what.add_argument(
        "--init", help=f"initialiser of the weights of the model mlp: {', '.join(INITIALISERS)} (default: he_normal)"
    )
    what.add_argument("--first-init", help="initialiser of its first layer's weights (default: as --init)")
    what.add_argument("--signs", help="of the weights of the model vector_mlp: nonnegative (default) or mixed")
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
    what.add_argument(
        "--unit-length",
        action="store_true",
        help="UnitLength after every activation of the model mlp, as the rule forward_forward requires",
    )
    what.add_argument("--dropout", type=number, help="probability of dropout in the model mlp (default: 0)")


def add_update(command: argparse.ArgumentParser, base: Experiment) -> argparse._ArgumentGroup:
    """Add the options for weight updates; ``base`` has their defaults."""
    lr = f"{base.lr} for {base.optimizer}, else the optimizer's own"
    momentum = default_optimizer_options("sgd")["momentum"]
    how = command.add_argument_group("training", argument_default=argparse.SUPPRESS)
    how.add_argument("--batch-size", type=at_least_one, help=f"examples per weight update (default: {base.batch_size})")
    how.add_argument("--drop-last", action="store_true", help="leave out a smaller last batch of an epoch")
    how.add_argument(
        "--lr",
        type=number,
        help=f"learning rate (default: {'the one kept from the grid for each rule' if base.lr is None else lr})",
    )
    how.add_argument("--optimizer", help=f"{', '.join(OPTIMIZERS)} (default: {base.optimizer})")
    how.add_argument("--momentum", type=number, help=f"of sgd and rmsprop (default: {momentum} for sgd in training)")
    how.add_argument("--nesterov", action="store_true", help="of sgd")
    how.add_argument("--clip-norm", type=number, help="largest joint norm of the gradients")
    how.add_argument("--manhattan", action="store_true", help="move by the sign of the batch's gradient")
    how.add_argument("--constrain-weights", action="store_true", help="keep every W at the norm it starts with")
    how.add_argument("--freeze-signs", action="store_true", help="no weight changes its sign")
    how.add_argument("--weight-decay", type=number, help="default: the rule's own (0 for most)")
    how.add_argument(
        "--decay-bias",
        action=argparse.BooleanOptionalAction,
        help="weight decay for biases and for gamma and beta of norm layers, too, or for weights only (default: too)",
    )
    how.add_argument(
        "--lr-factors",
        type=lr_factors,
        metavar="FACTORS",
        help="factors of the learning rate by the names of layers or parameters: 'conv*=0.1,linear2.b=0'",
    )
    how.add_argument(
        "--share-weights",
        metavar="OPTIONS",
        help="average the kernels of locally connected layers: every=10,group=kernel (after every 10th update, over "
        "positions whose patches do not overlap) or group=all (after every update, over all positions)",
    )
    how.add_argument("--loss", help=f"default: by the data; {', '.join(LOSSES)}")
    how.add_argument("--seed", type=seed, help="the first seed")
    return how


def add_early_stopping(command: argparse.ArgumentParser) -> None:
    """Add the options for held-out examples and early stopping."""
    group = command.add_argument_group("early stopping", argument_default=argparse.SUPPRESS)
    group.add_argument(
        "--validation",
        type=number,
        help="share of the training set that is held out and measured instead of the test set (default: none)",
    )
    group.add_argument(
        "--patience",
        type=at_least_one,
        metavar="EPOCHS",
        help="end training after so many epochs without a better accuracy (without classes: loss) on the held-out "
        "examples, with the best network, which is measured on the test set; needs --validation",
    )


def add_measurements(command: argparse.ArgumentParser) -> None:
    """Add the options for measurements of targets, kernels and layers."""
    command.add_argument(
        "--targets",
        action="store_true",
        default=argparse.SUPPRESS,
        help="measure after every epoch how far the targets of each layer are from those of backpropagation and of "
        "the Gauss-Newton method; as many backward passes as outputs",
    )
    command.add_argument(
        "--kernels",
        action="store_true",
        default=argparse.SUPPRESS,
        help="measure after every epoch how much the activities of each layer depend on the inputs and on the labels: "
        "nHSIC and CKA, on 512 examples",
    )
    command.add_argument(
        "--statistics",
        action="store_true",
        default=argparse.SUPPRESS,
        help="measure after every epoch mean, variance, kurtosis and other statistics of the weights and activities of "
        "each hidden layer, for history.csv",
    )


def add_rule(command: argparse.ArgumentParser, base: Experiment, what: str) -> None:
    """Add the option for the rule; ``base`` has its default, ``what`` is the first part of its help text."""
    names = ", ".join(rules.RULES)
    command.add_argument("--rule", default=argparse.SUPPRESS, help=f"{what}: {names} (default: {base.rule})")


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


def make_experiment(options: argparse.Namespace, rule: str | None = None, base: Experiment | None = None) -> Experiment:
    """The experiment that the options describe.

    Args:
        options: the parsed options, without those that were not given.
        rule: description of its rule; None: that of the options.
        base: the experiment with the values of the options that were not given; None: that of `Experiment`. Its model
            options belong to its model, its learning rate and optimizer options to its optimizer.

    Raises:
        ValueError: an unknown model or optimizer, or too many hidden layers for the model.
    """
    base, given = base or Experiment(), vars(options)
    fields = _chosen(given, (one.name for one in dataclasses.fields(Experiment)))
    experiment = replace(base, **{**fields, "rule": rule or given.get("rule", base.rule)})
    lookup(MODELS, experiment.model, "model")
    lookup(OPTIMIZERS, experiment.optimizer, "optimizer")
    if experiment.optimizer != base.optimizer:
        ours = default_optimizer_options(experiment.optimizer)
        experiment = replace(experiment, lr=given.get("lr"), optimizer_options=ours)
    return replace(
        experiment,
        data_options=_chosen(given, DATA_OPTIONS),
        model_options=_model_options(given, experiment.model, base),
        optimizer_options={
            key: value
            for key, value in {**experiment.optimizer_options, **_chosen(given, OPTIMIZER_OPTIONS)}.items()
            if value != ON_BY_DEFAULT.get(key, 0)
        },
    )


def make_fitting_experiment(
    options: argparse.Namespace,
    rule: str | None = None,
    base: Experiment | None = None,
    load: Callable[[Experiment], Dataset] = experiments.load_data,
) -> tuple[Experiment, Dataset]:
    """The experiment that the options describe, and its data. If no model is given, the model fits the data: a
    multilayer perceptron for examples that are not images.

    Args:
        options, rule, base: as for `make_experiment`.
        load: loads the data set of an experiment.

    Raises:
        ValueError, OSError: as for `make_experiment` and `minifa.data.load`.
    """
    experiment = make_experiment(options, rule, base)
    dataset = load(experiment)
    if "model" not in vars(options) and len(dataset.input_shape) == 1:
        experiment = make_experiment(options, rule, replace(base or Experiment(), model=FLAT_MODEL))
    return experiment, dataset


def _chosen(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _model_options(given: Mapping[str, Any], model: str, base: Experiment) -> dict[str, Any]:
    """The options of the model that differ from its defaults."""
    known = inspect.signature(MODELS[model]).parameters
    options = {**(base.model_options if model == base.model else {}), **_chosen(given, MODEL_OPTIONS)}
    if "hidden" in given and "hidden" in known and isinstance(known["hidden"].default, int):
        if len(given["hidden"]) > 1:
            raise ValueError(f"the model {model!r} has one hidden layer, got {len(given['hidden'])} widths")
        options["hidden"] = given["hidden"][0]
    return {key: value for key, value in options.items() if key not in known or value != known[key].default}


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
        print(wrap(f"left out {name}: {why}"))
    return [name for name in names if name not in left_out]
