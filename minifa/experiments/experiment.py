"""An experiment: the configuration of a run, its defaults, and running it."""

from __future__ import annotations

__all__ = ["Experiment", "Result", "build", "fit", "load_data", "run", "trainer_for"]

import functools
import inspect
import math
import numbers
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .. import data as data_sets
from .. import rules, schedules, weights
from ..data.augment import Augmentation, make_augmentation
from ..data.base import Dataset, Examples
from ..losses import LOSSES, Loss
from ..models import MODELS
from ..network import Network
from ..optim import OPTIMIZERS, Optimizer
from ..registry import KnownOptions, lookup, unknown
from ..rules.base import Rule
from ..storage import csv_files
from ..storage.atomic import expanded
from ..text import one_line
from ..training import (
    Callback,
    EarlyStopping,
    ProgressBar,
    RecordAlignment,
    RecordKernels,
    RecordStatistics,
    RecordTargets,
    Trainer,
)
from ..training.history import Row, best_row
from ..training.phases import check_name
from ..validation import as_python_number, check_bool, check_int, check_mapping, check_type, format_shape

AN_EXPERIMENT = "the experiment must be a minifa.experiments.Experiment"
A_DATASET = "data must be a minifa.data.Dataset, as returned by minifa.data.load"
UNTUNED_RATE = 0.01
MOST_SEEDS = 10_000  # per rule or row: the list of all runs is built before the first one starts
MEASURED_ON = 256  # examples on which alignment, targets and statistics are measured after every epoch
DATA_OPTIONS = ("scale", "channels", "regression", "label", "reconstruct")
# Fields that run folders of earlier versions do not have.
LATER = frozenset(
    {"data_options", "weights_names", "drop_last", "patience", "targets", "kernels", "statistics", "phases"}
)
# Fields that a phase may change.
OF_PHASES = (
    *("rule", "loss", "optimizer", "optimizer_options", "lr", "weight_decay", "schedule", "freeze", "augmentation"),
    *("epochs", "batch_size", "drop_last", "patience"),
)

# Types accepted for the fields of an experiment, by annotation; values from files and callers are validated.
KINDS: dict[str, Any] = {
    "str": str,
    "int": numbers.Integral,
    "float": numbers.Real,
    "bool": bool,
    "Mapping[str, Any]": Mapping,
    "Sequence[Mapping[str, Any]]": (list, tuple),
    "None": type(None),
}
KINDS_IN_WORDS = {
    "str": "a str",
    "str | None": "a str or None",
    "int": "an int",
    "int | None": "an int or None",
    "float": "a number",
    "float | None": "a number or None",
    "bool": "a bool",
    "Mapping[str, Any]": "a mapping of options",
    "Sequence[Mapping[str, Any]]": "a list of mappings",
}
OF_A_RATE = ("data", "model", "options", "rule", "weight_decay", "optimizer")  # columns that a stored rate belongs to
DESCRIPTIONS = {"rule": "usf:scale=init", "schedule": "cosine:epochs=10"}  # of objects that Python code has at hand


def _is(value: Any, kind: str) -> bool:
    """Whether a value is of this kind; bools do not count as numbers."""
    return isinstance(value, KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))


def default_optimizer_options(optimizer: str) -> dict[str, Any]:
    """The options of an optimizer in an experiment that gives none: sgd has momentum."""
    return {"momentum": 0.9} if optimizer == "sgd" else {}


@dataclass(frozen=True)
class Experiment(KnownOptions):
    """Configuration of a run. On one machine, equal experiments give bit-identical results.

    Attributes:
        data: name of a data set, or path of a .npz, .csv or .npy file.
        data_dir: folder with its files; None: the default locations.
        data_options: options of the data (see `minifa.data.load`): reconstruct, and for a file scale, channels,
            regression, label.
        augmentation: name of an augmentation with its options, ``"crop_flip:padding=4"``; None: none.
        model: name of an architecture.
        model_options: options of the model (depth, batch_norm, hidden, ...).
        weights: safetensors file with the initial parameters (see `minifa.weights`); None: random initialisation.
        weights_names: for a PyTorch file, maps each of its modules to a layer; empty: by `minifa.weights.match`.
        freeze: layers and blocks that are not trained, comma-separated: ``"conv1,residual2"``; None: all are trained.
        rule: name of a rule with its options, ``"fa"`` or ``"usf:scale=init"``.
        loss: name of a loss; None: that of the data (`default_loss`).
        optimizer: name of an optimizer.
        schedule: name of a schedule with its options, ``"cosine:epochs=15"``.
        optimizer_options: options of the optimizer other than learning rate and weight decay.
        lr: learning rate; None: the best of the shipped grid for this rule (see `default_rate`).
        weight_decay: weight decay; None: the rule's default (0 for most; Kolen-Pollack needs it to align).
        epochs: passes through the training set; with phases, the sum of theirs.
        batch_size: examples per weight update.
        drop_last: whether a smaller last batch of an epoch is left out.
        seed: seed of all random draws.
        validation: fraction of the training set that is held out and evaluated instead of the test set (for tuning).
        alignment: whether the alignment of every layer is measured after every epoch.
        patience: number of epochs without a better value on the held-out part after which training ends, with the best
            network (see `minifa.training.EarlyStopping`); the test set is then measured as well. None: no early
            stopping.
        targets: whether the rule's targets are measured after every epoch, beside those of backpropagation and
            Gauss-Newton (see `minifa.training.RecordTargets`); a measurement takes n_out backward passes.
        kernels: whether the dependence of every hidden layer on inputs and labels is measured after every epoch (see
            `minifa.training.RecordKernels`).
        statistics: whether statistics of the weights and activities of every hidden layer are measured after every
            epoch, on 256 test examples (see `minifa.training.RecordStatistics`).
        phases: phases of the training, one after the other, each a mapping with its ``name``, its ``epochs``, and the
            fields that it changes: rule, loss, optimizer, optimizer_options, lr, weight_decay, schedule, freeze,
            augmentation, batch_size, drop_last, patience. Other fields are those of the experiment. See
            `minifa.Trainer.begin_phase` for what a phase has from the phase before; with ``"carry": False`` its rule
            draws all its arrays anew. Empty: a single phase.

    Raises:
        TypeError: a value does not have the annotated type.
        ValueError: a phase without a name or epochs, with the name of another one, or with a field that phases do not
            change.

    >>> from minifa.experiments import Experiment
    >>> Experiment(rule="kolen_pollack").decay(), Experiment(rule="fa").decay()
    (0.01, 0.0)
    >>> hidden = {"name": "hidden", "epochs": 6, "rule": "fa"}
    >>> both = Experiment(phases=[hidden, {"name": "read-out", "epochs": 3, "freeze": "conv1"}])
    >>> both.label, both.epochs, [(stage.rule, stage.epochs, stage.freeze) for stage in both.stages()]
    ('fa then bp', 9, [('fa', 6, None), ('bp', 3, 'conv1')])
    """

    data: str = "digits"
    data_dir: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str | None = None
    model: str = "cnn"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    weights_names: Mapping[str, Any] = field(default_factory=dict)
    freeze: str | None = None
    rule: str = "bp"
    loss: str | None = None
    optimizer: str = "sgd"
    schedule: str = "constant"
    optimizer_options: Mapping[str, Any] = field(default_factory=lambda: default_optimizer_options("sgd"))
    lr: float | None = None
    weight_decay: float | None = None
    epochs: int = 15
    batch_size: int = 64
    seed: int = 0
    validation: float = 0.0
    alignment: bool = True
    drop_last: bool = False
    patience: int | None = None
    targets: bool = False
    kernels: bool = False
    statistics: bool = False
    phases: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        for one in fields(self):
            value, wanted = as_python_number(getattr(self, one.name)), str(one.type)
            object.__setattr__(self, one.name, value)  # the dataclass is frozen
            if not any(_is(value, kind) for kind in wanted.split(" | ")):
                example = f" such as {DESCRIPTIONS[one.name]!r}" if one.name in DESCRIPTIONS else ""
                raise TypeError(
                    f"{one.name} of an experiment must be {KINDS_IN_WORDS[wanted]}{example}, got {repr(value)[:100]}"
                )
        object.__setattr__(self, "phases", tuple(_check_phase(phase) for phase in self.phases))
        if self.phases:
            names = [phase["name"] for phase in self.phases]
            if len(set(names)) < len(names):
                raise ValueError(f"each phase of an experiment needs a name of its own, got {', '.join(names)}")
            object.__setattr__(self, "epochs", sum(stage.epochs for stage in self.stages()))

    def stages(self) -> list[Experiment]:
        """The experiments of the phases, in order; without phases, the experiment itself. Options of the optimizer and
        a learning rate belong to the optimizer for which they were given."""
        return [replace(self, phases=(), **self._changes(phase)) for phase in self.phases] or [self]

    def _changes(self, phase: Mapping[str, Any]) -> dict[str, Any]:
        changes = {key: value for key, value in phase.items() if key in OF_PHASES}
        optimizer, lr, options = changes.get("optimizer", self.optimizer), self.lr, self.optimizer_options
        if optimizer != self.optimizer:
            lr, options = None, default_optimizer_options(optimizer)
        return {"lr": lr, **changes, "optimizer_options": {**options, **changes.get("optimizer_options", {})}}

    def stage(self, name: str | None) -> Experiment:
        """The experiment of the phase of this name; without phases, the experiment itself. Raises TypeError for a name
        that is neither a str nor None, ValueError for one that no phase has."""
        return self.stages()[self.number_of(name)]

    def number_of(self, name: str | None) -> int:
        """The index of the phase of this name; 0 without phases. Raises TypeError, ValueError, as `stage` does."""
        check_type(name, (str, type(None)), "the name of a phase must be a str or None")
        names = [phase["name"] for phase in self.phases]
        if self.phases and name not in names:
            raise ValueError(unknown(names, str(name), "phase"))
        return names.index(name) if names else 0

    @property
    def label(self) -> str:
        """The rule or, with phases, the rules in the order of their phases: ``"fa then bp"``."""
        return " then ".join(dict.fromkeys(stage.rule for stage in self.stages()))

    def __repr__(self) -> str:
        default = vars(Experiment())
        changed = [f"{key}={value!r}" for key, value in vars(self).items() if value != default[key]]
        return f"Experiment({', '.join(changed)})"

    def rate(self) -> float:
        """The learning rate in force."""
        return default_rate(self)[0] if self.lr is None else self.lr

    def decay(self) -> float:
        """The weight decay in force."""
        known = rules.make(self.rule).weight_decay
        return known if self.weight_decay is None else self.weight_decay

    @property
    def measured(self) -> str:
        """What the score is measured on: "test" or "validation"."""
        return "validation" if self.validation and not self.stops_early else "test"

    @property
    def stops_early(self) -> bool:
        """Whether a phase, or the experiment without phases, has early stopping."""
        return any(stage.patience is not None for stage in self.stages())

    def settings(self) -> dict[str, Any]:
        """The fields by name. Fields in `LATER` are left out when empty, so that a configuration saved before they
        existed compares equal to the same experiment today."""
        return {key: value for key, value in asdict(self).items() if value or key not in LATER}

    def as_config(self) -> dict[str, Any]:
        """A JSON-serialisable dictionary, with the learning rates and weight decays in force."""
        config = {**self.settings(), "lr": self.rate(), "weight_decay": self.decay()}
        for phase, stage in zip(config.get("phases", ()), self.stages(), strict=False):
            phase.update(lr=stage.rate(), weight_decay=stage.decay())
        return config


def _check_phase(phase: Any) -> dict[str, Any]:
    """The phase of an experiment as a dictionary, its name and the names of its fields validated."""
    phase = check_mapping(phase, "a phase of an experiment")
    if "name" not in phase or "epochs" not in phase:
        raise ValueError(f"a phase of an experiment needs a name and a number of epochs, got {repr(phase)[:100]}")
    known = ("name", "carry", *OF_PHASES)
    for key in phase:
        if key not in known:
            raise ValueError(unknown(known, key, f"field of the phase {phase['name']!r}"))
    check_bool(phase.get("carry", True), f"carry of the phase {phase['name']!r}")
    check_int(phase["epochs"], f"the number of epochs of the phase {phase['name']!r}", most=sys.maxsize)
    return {**phase, "name": check_name(phase["name"])}


def files_of(described: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a configuration that are paths of files or folders, with their values.

    >>> from minifa.experiments.experiment import files_of
    >>> files_of({"data": "xor", "weights": "w.safetensors", "lr": 0.1}), files_of({"data": "mine.npz"})
    ({'weights': 'w.safetensors'}, {'data': 'mine.npz'})
    """
    words = {key: one for key in ("data", "data_dir", "weights") if isinstance(one := described.get(key), str)}
    return {key: one for key, one in words.items() if key != "data" or data_sets.is_file(one)}


def content_name(described: Mapping[str, Any]) -> str:
    """The name under which the digest of an experiment's data set is stored: a file with its options, because they
    determine what is read from it.

    >>> from minifa.experiments.experiment import content_name
    >>> content_name({"data": "xor"}), content_name({"data": "mine.csv", "data_options": {"label": "kind"}})
    ('xor', 'mine.csv (label=kind)')
    """
    name, options = str(described.get("data")), described.get("data_options")
    return f"{name} ({describe_options(options)})" if options and isinstance(options, Mapping) else name


def input_names(described: Mapping[str, Any]) -> dict[str, str]:
    """The names under which the digests of an experiment's files are stored, by field, as `files_of`."""
    files = files_of(described)
    return {**files, "data": content_name(described)} if "data" in files else files


def with_whole_paths(experiment: Experiment) -> Experiment:
    """The experiment with absolute paths, for a process with another working directory."""
    whole: dict[str, Any] = {key: str(expanded(path).absolute()) for key, path in files_of(vars(experiment)).items()}
    return replace(experiment, **whole)


def renamed(by_file: Mapping[str, str], before: Experiment, now: Experiment) -> dict[str, str]:
    """Digests by the names of one experiment's inputs, rekeyed by the names that another has for the same files."""
    old, new = (input_names(vars(one)) for one in (before, now))
    names = {old[key]: new[key] for key in old}
    return {names.get(name, name): value for name, value in by_file.items()}


@dataclass(frozen=True)
class Result:
    """Result of one experiment.

    Attributes:
        experiment: its configuration.
        history: a row per epoch.
        score: accuracy (or, without classes, minus the loss) on the test set, or on the held-out part.
        measured: which of the two: "test" or "validation".
        seconds: training time, including measurements.
        layers: names of the weighted layers, in forward order.
        diverged: whether the loss became non-finite, or training ended with a useless epoch.
        error: why it failed; None: it did not fail.
        name: label in tables and figures, such as the name of a table row; empty: the name of the rule.
    """

    experiment: Experiment
    history: list[Row]
    score: float
    measured: str
    seconds: float
    layers: tuple[str, ...] = ()
    diverged: bool = False
    error: str | None = None
    name: str = ""

    def __repr__(self) -> str:
        e = self.experiment
        name = self.name or e.label
        end = f"failed: {one_line(self.error, 80)}" if self.error else f"{self.measured} score {self.score:.4g}"
        return f"<Result of {name!r}, seed {e.seed}: {end}{', diverged' if self.diverged else ''}>"

    @property
    def final(self) -> Row:
        """The row of the network that training ended with (see `final_row`)."""
        return final_row(self.experiment, self.history)


def final_row(experiment: Experiment, history: Sequence[Row]) -> Row:
    """The row of the network that training ended with: under early stopping the best one of the last phase, otherwise
    the last."""
    best = None if experiment.stage(history[-1].get("phase")).patience is None else best_row(history)
    return history[-1] if best is None else best


def load_data(experiment: Experiment) -> Dataset:
    """Load the data set of an experiment with its options. Raises the same errors as `minifa.data.load`.

    >>> from minifa.experiments import Experiment, load_data
    >>> load_data(Experiment(data="xor")).name
    'xor'
    """
    for name in check_type(experiment, Experiment, AN_EXPERIMENT).data_options:
        if name not in DATA_OPTIONS:
            raise ValueError(unknown(DATA_OPTIONS, name, "option of data"))
    return data_sets.load(experiment.data, experiment.data_dir, **experiment.data_options)


def data_key(experiment: Experiment) -> tuple[Any, ...]:
    """Name, folder and options of an experiment's data set, as a key for the data sets that have been loaded."""
    return experiment.data, experiment.data_dir, *sorted(experiment.data_options.items())


def data_for(experiment: Experiment, data: Dataset | None) -> Dataset:
    """Return ``data``, or load the experiment's data set when it is None. Raises TypeError if ``data`` is not a
    Dataset or ``experiment`` is not an Experiment."""
    check_type(experiment, Experiment, AN_EXPERIMENT)
    return load_data(experiment) if data is None else check_type(data, Dataset, A_DATASET)


def build(experiment: Experiment, data: Dataset) -> tuple[Network, Rule, Loss, Optimizer]:
    """Build the network, rule (attached), loss and optimizer of an experiment; with phases, those of the first one,
    after all others were built as a check.

    Raises:
        TypeError: ``experiment`` is not an Experiment, or ``data`` is not a Dataset.
        ValueError: an unknown name, or an invalid option.
        FileNotFoundError, ImportError: as in `minifa.weights.load`, when weights are given.
    """
    data_for(experiment, check_type(data, Dataset, A_DATASET))
    first = experiment.stages()[0]
    for phase, stage in zip(experiment.phases, experiment.stages(), strict=False):
        try:
            net = _network(stage, data)
            _components(stage, net, data)
        except ValueError as error:
            raise ValueError(f"phase {phase['name']!r}: {error}") from error
        shape, wanted = _input_shape(stage, data), _input_shape(first, data)
        if shape != wanted:
            raise ValueError(
                f"phase {phase['name']!r} has inputs of {format_shape(shape)} and the first phase of "
                f"{format_shape(wanted)}: the augmentations of all phases must give images of the same size"
            )
    net = _network(first, data)
    return net, *_components(first, net, data)


def _input_shape(experiment: Experiment, data: Dataset) -> tuple[int, ...]:
    augmentation = augmentation_of(experiment)
    return data.input_shape if augmentation is None else augmentation.shape(data.input_shape)


def _network(experiment: Experiment, data: Dataset) -> Network:
    """The network of an experiment before training."""
    make_model = lookup(MODELS, experiment.model, "model")
    input_shape = _input_shape(experiment, data)
    try:
        layers = make_model(input_shape, data.n_out, **experiment.model_options)
    except TypeError as error:
        raise ValueError(_no_option(experiment) or str(error).replace("()", "")) from None
    net = Network(layers, seed=experiment.seed, input_shape=input_shape)
    if experiment.weights is not None:
        weights.load(net, experiment.weights, experiment.weights_names or None)
    elif experiment.weights_names:
        raise ValueError("names of a file's modules (weights_names) go with the file: give weights as well")
    return net


def _no_option(experiment: Experiment) -> str:
    """The message for the first option that the model does not have, with the models that have it; "" if it has all."""
    own = inspect.signature(MODELS[experiment.model]).parameters
    key = next((key for key in experiment.model_options if key not in own), None)
    having = [name for name, make in MODELS.items() if key in inspect.signature(make).parameters]
    if key is None or not having:
        return "" if key is None else unknown(own, key, f"option of the model {experiment.model!r}")
    return f"the model {experiment.model!r} has no option {key!r}: use a model that has it, {' or '.join(having)}"


def _components(experiment: Experiment, net: Network, data: Dataset) -> tuple[Rule, Loss, Optimizer]:
    """The rule (attached), loss and optimizer with which an experiment trains this network, after its layers were
    frozen."""
    make_optimizer = lookup(OPTIMIZERS, experiment.optimizer, "optimizer")
    make_loss = lookup(LOSSES, experiment.loss or default_loss(data), "loss")
    schedules.make(experiment.schedule)  # validate now rather than when training starts
    if experiment.patience is not None and not experiment.validation:
        raise ValueError(
            "early stopping (patience) needs held-out examples: set validation, the fraction of the training set that "
            "is held out, for example to 0.1"
        )
    try:
        optimizer = make_optimizer(
            lr=experiment.rate(), weight_decay=experiment.decay(), **experiment.optimizer_options
        )
    except TypeError as error:  # an option that the optimizer does not have
        raise ValueError(str(error).replace("()", "")) from None
    net.unfreeze(*(layer.name for layer in net if layer.frozen))
    if experiment.freeze is not None:
        net.freeze(*(name.strip() for name in experiment.freeze.split(",")))
    rule = rules.make(experiment.rule, seed=experiment.seed).attach(net)
    optimizer.bind(net, rule)  # checks the names in its options
    return rule, make_loss(), optimizer


def default_loss(data: Dataset) -> str:
    """The name of the loss for a data set: softmax cross-entropy for classes, sigmoid cross-entropy for two classes
    with a single output, half squared error for regression."""
    if not data.classes:
        return "half_squared_error"
    return "sigmoid_cross_entropy" if data.single_output else "softmax_cross_entropy"


def augmentation_of(experiment: Experiment) -> Augmentation | None:
    """The augmentation of an experiment, or None. Raises ValueError for an unknown one, or if inputs are targets."""
    if experiment.augmentation is not None and experiment.data_options.get("reconstruct"):
        raise ValueError(
            f"the augmentation {experiment.augmentation!r} would change the inputs and leave their copies, the "
            "targets, as they were: omit reconstruct=True (--reconstruct) or the augmentation (--augment)"
        )
    return None if experiment.augmentation is None else make_augmentation(experiment.augmentation)


class MeasureTest(Callback):
    """Adds loss and accuracy on the test set of ``data`` to every row. They do not influence training.

    Args:
        data: the data set.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        row.update({f"test_{key}": value for key, value in trainer.evaluate(self.data.test).items()})


def trainer_for(experiment: Experiment, data: Dataset, progress: bool = False) -> Trainer:
    """A trainer for an experiment, with the callbacks for its measurements; with phases, for the first one."""
    net, rule, loss, optimizer = build(experiment, data)
    stage, phase = experiment.stages()[0], experiment.phases[0]["name"] if experiment.phases else ""
    callbacks: list[Callback] = [MeasureTest(data)] if experiment.measured == "test" else []
    callbacks += _early_stopping(stage)
    if experiment.alignment:
        callbacks.append(RecordAlignment(data.train.head(MEASURED_ON)))
    if experiment.targets:
        callbacks.append(RecordTargets(data.train.head(MEASURED_ON)))
    if experiment.kernels:
        callbacks.append(RecordKernels(data.train))
    if experiment.statistics:
        callbacks.append(RecordStatistics(data.test.head(MEASURED_ON)))
    if check_bool(progress, "progress"):
        callbacks.append(ProgressBar(phase or experiment.rule))
    schedule, augmentation = schedules.make(stage.schedule), augmentation_of(stage)
    return Trainer(
        net, rule, loss, optimizer, schedule, experiment.seed, callbacks, augmentation=augmentation, phase=phase
    )


def _early_stopping(experiment: Experiment) -> list[Callback]:
    return [] if experiment.patience is None else [EarlyStopping(patience=experiment.patience)]


def begin_phase(experiment: Experiment, name: str, data: Dataset, trainer: Trainer, is_restored: bool = False) -> None:
    """Begin the phase of this name with the network of the trainer; ``is_restored``: a checkpoint of the phase, which
    has the arrays of its rule, is loaded next."""
    stage, phase = experiment.stage(name), experiment.phases[experiment.number_of(name)]
    rule, loss, optimizer = _components(stage, trainer.net, data)
    carry = not is_restored and phase.get("carry", True)
    kept = [one for one in trainer.callbacks if not isinstance(one, EarlyStopping)]
    place = sum(isinstance(one, MeasureTest) for one in kept)  # early stopping comes next, as in `trainer_for`
    trainer.callbacks = [*kept[:place], *_early_stopping(stage), *kept[place:]]
    trainer.begin_phase(name, rule, optimizer, loss, stage.schedule, augmentation_of(stage), carry)


def run(experiment: Experiment, data: Dataset | None = None, progress: bool = False) -> tuple[Result, Trainer]:
    """Run one experiment in this process. The returned trainer holds the trained network and rule.

    Args:
        experiment: the experiment to run.
        data: its data set, if already loaded.
        progress: whether to show a progress bar.

    Raises:
        TypeError: ``experiment`` is not an Experiment.

    >>> from minifa.experiments import Experiment, run
    >>> result, trainer = run(Experiment(data="xor", model="tiny", lr=0.5, epochs=20))
    >>> result.score, len(result.history)  # four of four; a row before training, one per epoch
    (1.0, 21)
    """
    data = data_for(experiment, data)
    trainer = trainer_for(experiment, data, progress)
    return fit(experiment, data, trainer), trainer


def fit(experiment: Experiment, data: Dataset, trainer: Trainer) -> Result:
    """Train for the epochs of the experiment, phase by phase; a resumed trainer runs the remaining ones.

    Args:
        experiment: the experiment to run.
        data: its data set.
        trainer: its trainer, from `trainer_for`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the trainer is in a phase that the experiment does not have.
    """
    data = data_for(experiment, check_type(data, Dataset, A_DATASET))
    check_type(trainer, Trainer, "the trainer must be a minifa.Trainer")
    started = time.perf_counter()
    train_phases(experiment, data, trainer)
    return result_of(experiment, trainer, time.perf_counter() - started)


def train_phases(experiment: Experiment, data: Dataset, trainer: Trainer) -> None:
    """Train the rest of the trainer's phase, and all further phases. A phase that is interrupted or diverges is the
    last one; early stopping ends its phase only, and the next one begins with the best network."""
    train, held_out = parts(experiment, data)
    number = experiment.number_of(trainer.phase)
    for following, stage in enumerate(experiment.stages()[number:]):
        if following:
            begin_phase(experiment, experiment.phases[number + following]["name"], data, trainer)
        _train_phase(stage, train, held_out, trainer)
        if trainer.stopped or trainer.diverged:
            return


def _train_phase(stage: Experiment, train: Examples, held_out: Examples | None, trainer: Trainer) -> None:
    left = stage.epochs - (trainer.finished - trainer.phase_start)
    has_begun = trainer.finished > trainer.phase_start
    has_ended = has_begun and (trainer.cannot_continue or trainer.history.stopped_early)
    if (left > 0 and not has_ended) or not has_begun:
        trainer.fit(train, left, stage.batch_size, held_out, stage.drop_last)
    else:
        for callback in trainer.callbacks:
            if isinstance(callback, EarlyStopping):
                callback.restore(trainer)


def parts(experiment: Experiment, data: Dataset) -> tuple[Examples, Examples | None]:
    """(training examples, validation examples or None)."""
    return data.hold_out(experiment.validation) if experiment.validation else (data.train, None)


def result_of(experiment: Experiment, trainer: Trainer, seconds: float) -> Result:
    """The result of a trainer's history, which needs at least one row."""
    history = trainer.history
    score = score_of(final_row(experiment, history), experiment.measured)
    layers = tuple(layer.name for layer in trainer.net.weighted)
    return Result(experiment, list(history), score, experiment.measured, seconds, layers, trainer.diverged)


def score_of(row: Row, measured: str) -> float:
    """Accuracy, or minus the loss if there are no classes. Raises KeyError if neither was measured."""
    accuracy = row.get(f"{measured}_accuracy")
    return -row[f"{measured}_loss"] if accuracy is None else accuracy


# Learning rates: each rule's default is the best of a grid that ships with the package (see
# `minifa.experiments.tuning`).


def describe_options(options: Mapping[str, Any]) -> str:
    """Options as one string for tables: ``batch_norm=True hidden=16,12``; "" if there are none."""
    return " ".join(
        f"{key}={','.join(map(str, value)) if isinstance(value, (tuple, list)) else value}"
        for key, value in sorted(options.items())
    )


@functools.cache
def shipped_rates() -> dict[tuple[str, ...], list[Row]]:
    """The learning rates that ship with the package, by the values of `OF_A_RATE`: each is the chosen one of a grid,
    all of which are in tutorials/results/rates/grid.csv."""
    columns, *lines = csv_files.read(Path(__file__).with_name("recipes") / "rates.csv")
    rates: dict[tuple[str, ...], list[Row]] = {}
    for line in lines:
        row = dict(zip(columns, line, strict=True))
        rates.setdefault(tuple(row[key] for key in OF_A_RATE), []).append(row)
    return rates


def shipped_rate(experiment: Experiment) -> Row | None:
    """The row of the learning rate chosen for this data, model, rule, weight decay and optimizer; None if no grid was
    run.

    If several grids were run, the one with the nearest number of epochs is used; ties are broken by the fewest other
    differences, such as batch size and momentum.
    """
    wanted = (
        content_name(vars(experiment)),
        experiment.model,
        describe_options(_changed_options(experiment)),
        experiment.rule,
        str(float(experiment.decay())),
        experiment.optimizer,
    )
    return min(
        shipped_rates().get(wanted, []),
        key=lambda row: (abs(math.log(int(row["epochs"]) / experiment.epochs)), len(rate_differences(experiment, row))),
        default=None,
    )


def _changed_options(experiment: Experiment) -> dict[str, Any]:
    """The model's options that differ from their defaults."""
    known = inspect.signature(lookup(MODELS, experiment.model, "model")).parameters
    return {
        key: value for key, value in experiment.model_options.items() if key not in known or value != known[key].default
    }


def unsuited_rates(experiments: Sequence[Experiment]) -> tuple[list[str], dict[str, str]]:
    """(the rules without a stored rate, the other rules whose rate was searched under other settings, with these).

    Args:
        experiments: one for each rule, without a learning rate.
    """
    rows = {experiment.rule: (experiment, shipped_rate(experiment)) for experiment in experiments}
    untuned = [rule for rule, (_, row) in rows.items() if row is None]
    differ = {rule: ", ".join(rate_differences(one, row)) for rule, (one, row) in rows.items() if row is not None}
    return untuned, {rule: settings for rule, settings in differ.items() if settings}


def rate_differences(experiment: Experiment, row: Row) -> list[str]:
    """Settings in which an experiment differs from the grid of a stored rate, with the grid's values: ``["15
    epochs"]``."""
    options = dict(experiment.optimizer_options)
    momentum = options.pop("momentum", "")
    differ = [f"{row['epochs']} epochs"] if int(row["epochs"]) != experiment.epochs else []
    differ += [f"batch size {row['batch_size']}"] if int(row["batch_size"]) != experiment.batch_size else []
    differ += [f"momentum {row['momentum'] or 0}"] if row["momentum"] != str(momentum) else []
    differ += [f"no {', '.join(options)}"] if options else []
    differ += ["a constant schedule"] if experiment.schedule != "constant" else []
    return differ + (["no augmentation"] if experiment.augmentation else [])


def default_rate(experiment: Experiment) -> tuple[float, bool]:
    """(learning rate, whether a grid was run for this rule, model, data and optimizer). If not, the rate is
    `UNTUNED_RATE` for sgd, and the optimizer's own default for others."""
    row = shipped_rate(experiment)
    if row is not None:
        return float(row["lr"]), True
    if experiment.optimizer == "sgd":
        return UNTUNED_RATE, False
    make = lookup(OPTIMIZERS, experiment.optimizer, "optimizer")
    return inspect.signature(make).parameters["lr"].default, False
