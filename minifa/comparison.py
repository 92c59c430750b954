"""Comparison of learning rules in Python: one network and data set under several rules and seeds, as a tidy table and
a figure. It makes the runs of `minifa compare`, for rules, models and data that need not be registered."""

from __future__ import annotations

__all__ = ["Comparison", "UntunedRate", "compare"]

import contextlib
import functools
import html
import inspect
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import registry
from .data import is_file
from .data.arrays import from_arrays
from .data.base import Dataset
from .experiments import Experiment, Result, build, load_data, reading, run_many
from .experiments.experiment import default_optimizer_options, unsuited_rates
from .experiments.study import grid_of_rules
from .experiments.tables import describe_setting, final_angles, ms_per_step, summary_table
from .frames import to_frame
from .models import MODELS
from .network import Network
from .notebook.markup import figure_file, image
from .rng import check_seed
from .rules import RULES, Rule
from .training.history import Row
from .validation import check_bool, check_float, check_int, check_list, check_mapping, check_str

BY_NET = ("input_shape", "n_out")  # arguments of a model that the data give
Entry = tuple[str, str, Any]  # kind, name and entry of a registry

RULES_EXPECTED = (
    "rules must be a list of names ('fa', 'usf:scale=init'), classes derived from minifa.rules.Rule, or instances"
)
MODEL_EXPECTED = (
    "model must be a name ('mlp', 'cnn:depth=3'), a pair (name, options), or a function (input_shape, n_out) that "
    "returns a new list of layers"
)
DATA_EXPECTED = (
    "data must be a minifa.data.Dataset, a name ('digits'), the path of an .npz file, or arrays (x, y) or "
    "(x, y, x_test, y_test)"
)


class UntunedRate(UserWarning):
    """A learning rate was not searched for this setting; the message says for which rules."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of `compare`.

    Attributes:
        results: one `minifa.experiments.Result` per run, with its experiment and history; all rules of the first seed
            first.
        setting: data, model and training in one line.
        entries: the rules, the model and the data set that are not registered, as (kind, name, object).
    """

    results: tuple[Result, ...]
    setting: str
    entries: tuple[Entry, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """One row per run: rule, seed, learning rate, epochs; the final score and the part of the data on which it was
        ``measured`` (accuracy or, without classes, minus the loss); the final angle between W and B (mean over the
        layers) and between the rule's error and backpropagation's at the lowest layer, in degrees, None where the rule
        defines none; milliseconds per training step; whether it diverged; the error of a run that failed."""
        return [_row_of(result) for result in self.results]

    @property
    def history_rows(self) -> list[Row]:
        """One row per run and epoch: rule, seed, and the columns of the history (``lr``, ``train_loss``,
        ``linear1.weight_angle``, ...)."""
        return [{**_name(result), **row} for result in self.results for row in result.history]

    def to_frame(self) -> Any:
        """`rows` as a ``pandas.DataFrame``; a list of dictionaries where pandas is not installed."""
        return to_frame(self.rows)

    def history_frame(self) -> Any:
        """`history_rows` as a ``pandas.DataFrame``; a list of dictionaries where pandas is not installed."""
        return to_frame(self.history_rows)

    def plot(self, title: str | None = None, *, dark: bool = False) -> Any:
        """A new matplotlib Figure: `minifa.figures.comparison` or, for more than eight rules, `minifa.figures.survey`.

        Args:
            title: the heading; None: the setting.
            dark: whether to draw for a dark background.

        Raises:
            ValueError: no run has finished.
        """
        from .figures.curves import overview  # here: matplotlib takes longer to import than everything else

        with registry.registered(self.entries):
            return overview(self.results, self.setting if title is None else title, dark=dark)

    @property
    def figure(self) -> Any:
        """The figure of `plot`, drawn anew at each access."""
        return self.plot()

    def __repr__(self) -> str:
        seeds = sorted({result.experiment.seed for result in self.results})
        which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        return f"{self.setting}, {which}\n\n{summary_table(self.results)}"

    def _repr_html_(self) -> str:
        picture = ""
        with contextlib.suppress(ValueError):  # no run has finished
            picture = image(figure_file(self.plot(title="")), self.setting)
        table = f'<div style="font-family:monospace"><pre>{html.escape(repr(self))}</pre></div>'  # for its columns
        return table + picture


def _name(result: Result) -> Row:
    return {"rule": result.experiment.rule, "seed": result.experiment.seed}


def _row_of(result: Result) -> Row:
    angles, lowest = final_angles(result, "weight_angle"), final_angles(result, "true_angle", first_only=True)
    timed = any("seconds" in row for row in result.history)
    return {
        **_name(result),
        "lr": result.experiment.rate(),
        "epochs": result.history[-1]["epoch"] if result.history else 0,
        "measured": result.measured,
        "score": result.score,
        "weight_angle": math.fsum(angles) / len(angles) if angles else None,
        "true_angle": lowest[0] if lowest else None,
        "ms_per_step": ms_per_step(result) if timed else None,
        "diverged": result.diverged,
        "error": result.error,
    }


def compare(
    rules: Iterable[Any],
    model: Any,
    data: Any,
    seeds: int | Sequence[int] = 3,
    epochs: int = 15,
    batch_size: int = 64,
    lr: float | Mapping[str, float] | None = None,
    optimizer: str = "sgd",
    optimizer_options: Mapping[str, Any] | None = None,
    weight_decay: float | None = None,
    schedule: str = "constant",
    augmentation: str | None = None,
    loss: str | None = None,
    validation: float = 0.0,
    alignment: bool = True,
    jobs: int | None = 1,
    progress: bool = True,
    targets: bool = False,
) -> Comparison:
    """Train one network under several rules and seeds, and return the table and the figure, as `minifa compare` does.

    Equal arguments give bit-identical results, also with other ``jobs``. A run that fails gives a warning
    (`minifa.experiments.FailedRun`) and a row with its error; the others continue.

    Args:
        rules: names (``"fa"``, ``"usf:scale=init"``), classes of rules (``MyRule``), or instances with options
            (``MyRule(noise=2)``), of which every run gets a new one with the run's seed.
        model: a name (``"cnn"``, ``"cnn:depth=3"``), a pair of a name and options (``("mlp", {"hidden": (100, 50)})``),
            or a function (input_shape, n_out) that returns a new list of layers.
        data: a `minifa.data.Dataset`, a name, the path of an .npz file, or arrays (x, y), of which a fifth of every
            class is held out as the test part (see `minifa.data.from_arrays`), or (x, y, x_test, y_test).
        seeds: number of seeds 0, 1, ..., or the seeds; a seed determines the weights, the feedback and the order of the
            examples.
        epochs: passes through the training set.
        batch_size: examples per weight update.
        lr: learning rate; one for all rules, or by rule (``{"fa": 0.001}``). None: the stored rate of the rule, where
            a grid was run on this data and model (see `minifa tune`); otherwise 0.01 (sgd) or the optimizer's default,
            with an `UntunedRate` warning.
        optimizer: name of the optimizer.
        optimizer_options: its other options; None: momentum 0.9 for sgd.
        weight_decay: weight decay; None: each rule's default.
        schedule, augmentation, loss: as for `minifa.experiments.Experiment`.
        validation: fraction of the training set that is held out and evaluated instead of the test set.
        alignment: whether the angles of every layer are measured after every epoch.
        jobs: number of processes; 1: this process. None: one per core; a script then needs an
            ``if __name__ == "__main__"`` guard, and runs with a rule or model that is defined in a notebook or inside a
            function are made in this process.
        progress: whether to show a progress bar.
        targets: whether the targets of every layer are measured after every epoch, beside those of backpropagation and
            Gauss-Newton; ``mf.figures.target_curves(comparison.results)`` draws them.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an unknown name or option; a rule, model and data set that do not fit each other.
        DataNotFound, DataFileError: as in `minifa.data.load`.

    Warns:
        UntunedRate: ``lr`` is None and no rate was searched for this setting.
        RuntimeWarning: runs diverged (see `minifa.training.History.diverged`); the message names their rules.

    >>> rates = {"bp": 0.5, "fa": 0.5}
    >>> comparison = mf.compare(["bp", "fa"], "tiny", "xor", seeds=2, epochs=60, lr=rates, progress=False)
    >>> [(row["rule"], row["seed"], row["score"]) for row in comparison.rows]
    [('bp', 0, 1.0), ('fa', 0, 1.0), ('bp', 1, 1.0), ('fa', 1, 1.0)]
    >>> figure = comparison.plot()  # figure.savefig("comparison.png"); comparison.to_frame() is a table of pandas
    """
    named_rules, (data_name, data_entries) = _named_rules(rules), _named_data(data)
    model_name, model_options, model_entries = _named_model(model)
    entries = (*(entry for entry in named_rules.values() if entry is not None), *data_entries, *model_entries)
    options = default_optimizer_options(check_str(optimizer, "the optimizer"))
    if optimizer_options is not None:
        options = dict(check_mapping(optimizer_options, "optimizer_options"))
    base = Experiment(
        data=data_name,
        model=model_name,
        model_options=model_options,
        optimizer=optimizer,
        optimizer_options=options,
        weight_decay=weight_decay,
        schedule=schedule,
        augmentation=augmentation,
        loss=loss,
        epochs=check_int(epochs, "the number of epochs"),
        batch_size=check_int(batch_size, "the batch size"),
        validation=check_float(validation, "the validation fraction"),
        alignment=check_bool(alignment, "alignment"),
        targets=check_bool(targets, "targets"),
    )
    rates, check_progress = _rates(lr, named_rules), check_bool(progress, "progress")
    grid = [
        replace(one, lr=rates.get(one.rule))
        for seed in _seeds(seeds)
        for one in grid_of_rules(replace(base, seed=seed), named_rules, seeds=1)
    ]
    with registry.registered(entries):
        dataset = load_data(base)
        for one in grid[: len(named_rules)]:
            build(one, dataset)  # so that a mistake is reported before the first run
        _warn_of_rates([one for one in grid[: len(named_rules)] if one.lr is None])
        grid = [replace(one, lr=one.rate(), weight_decay=one.decay()) for one in grid]  # known without the registry
        results = _run_in_order(grid, jobs, check_progress)
        if diverged := reading.diverged_rules(results):
            warnings.warn(
                f"training diverged under {diverged}; try a smaller learning rate", RuntimeWarning, stacklevel=2
            )
        return Comparison(results, describe_setting(base, dataset), entries)


def _run_in_order(grid: list[Experiment], jobs: int | None, progress: bool) -> tuple[Result, ...]:
    results: dict[int, Result] = {}
    with contextlib.closing(run_many(grid, jobs, progress)) as arriving:
        for result in arriving:
            results[grid.index(result.experiment)] = result
    return tuple(results[number] for number in sorted(results))


# Names of what is given, as an `Experiment` takes them


def _named_rules(rules: Any) -> dict[str, Entry | None]:
    """The description of every rule, with an entry for the registry if its class is not registered."""
    named: dict[str, Entry | None] = {}
    for rule in check_list(rules, object, RULES_EXPECTED):
        if isinstance(rule, str):
            description, entry = rule, None
        elif isinstance(rule, type) and issubclass(rule, Rule):
            description, entry = _name_of_class(rule)
        elif isinstance(rule, Rule):
            name, entry = _name_of_class(type(rule))
            description = registry.write_description(name, _options_of(rule))
        else:
            raise TypeError(f"{RULES_EXPECTED}, got the item {rule!r}")
        if description in named:
            raise ValueError(f"the rule {description!r} occurs twice: give one of them other options")
        if entry is not None and any(one and one[1] == entry[1] and one != entry for one in named.values()):
            raise ValueError(
                f"two classes of rules have the name {entry[1]!r}: give one of them another class attribute name"
            )
        named[description] = entry
    if not named:
        raise ValueError("rules must have at least one rule, got none")
    return named


def _name_of_class(cls: type[Rule]) -> tuple[str, Entry | None]:
    for name, registered in RULES.items():
        if registered is cls:
            return name, None
    name = vars(cls).get("name") or cls.__name__
    _refuse_name_of_minifa("rule", name, f"the class {cls.__name__}", "a class attribute name = 'mine'")
    return name, ("rule", name, cls)


def _options_of(rule: Rule) -> dict[str, Any]:
    """The constructor's arguments that differ from their defaults, without the seed."""
    parameters = inspect.signature(type(rule)).parameters
    arguments = registry.constructor_arguments(rule)
    return {
        key: getattr(value, "name", value)  # of an initialiser
        for key, value in arguments.items()
        if key != "seed" and (type(value) is not type(parameters[key].default) or value != parameters[key].default)
    }


def _named_model(model: Any) -> tuple[str, dict[str, Any], list[Entry]]:
    """(name, options, entries for the registry)."""
    if isinstance(model, str):
        name, _, written = model.partition(":")
        known = [key for key in registry.option_names(registry.lookup(MODELS, name, "model")) if key not in BY_NET]
        return name, registry.read_options(written, known, "model", name), []
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], str):
        return model[0], dict(check_mapping(model[1], "the options of a model")), []
    if isinstance(model, functools.partial) and not model.args:
        name, options, entries = _named_model(model.func)
        return name, {**options, **model.keywords}, entries
    hint = ""
    if isinstance(model, Network):
        hint = ": a network belongs to one run, and every run needs a new one"
    elif isinstance(model, list):
        hint = ": layers belong to one network, and every run needs new ones"
    if hint or not callable(model) or isinstance(model, type):
        raise TypeError(f"{MODEL_EXPECTED}, got {str(model)[:100]}{hint}")
    for name, make in MODELS.items():
        if make is model:
            return name, {}, []
    name = getattr(model, "__name__", type(model).__name__).strip("<>")
    _refuse_name_of_minifa("model", name, f"the function {name}", "another name")
    return name, {}, [("model", name, model)]


def _refuse_name_of_minifa(what: str, name: str, given: str, way: str) -> None:
    if registry.is_shipped(what, name):
        raise ValueError(f"{given} has the name {name!r} of minifa's own {what}: give it {way}")


def _named_data(data: Any) -> tuple[str, list[Entry]]:
    """(name or path, entries for the registry)."""
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data), []
    if isinstance(data, (tuple, list)) and len(data) in (2, 4):
        data = from_arrays(*data)
    if not isinstance(data, Dataset):
        raise TypeError(f"{DATA_EXPECTED}, got {repr(data)[:100]}")
    name = data.name
    if registry.is_shipped("data set", name):
        if _is_shipped_data(data):
            return name, []
        name = f"{name}-given"
    name = f"{name}-given" if is_file(name) or not name else name
    return name, [("data set", name, registry.Held(data))]


def _is_shipped_data(data: Dataset) -> bool:
    """Whether `minifa.data.load` gives the same arrays under this name."""
    try:
        return load_data(Experiment(data=data.name)).digest == data.digest
    except (OSError, ValueError):  # its files are not in the default folders
        return False


def _seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, Iterable) and not isinstance(seeds, (str, bytes)):
        chosen = [check_seed(seed) for seed in seeds]
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"seeds must be a number of seeds or a list of different seeds, got {seeds!r}")
        return chosen
    return list(range(check_int(seeds, "the number of seeds")))


# Learning rates


def _rates(lr: Any, rules: Iterable[str]) -> dict[str, float]:
    """The given learning rates by rule."""
    if lr is None:
        return {}
    if not isinstance(lr, Mapping):
        rate = check_float(lr, "lr")
        return dict.fromkeys(rules, rate)
    for rule in check_mapping(lr, "lr"):
        if rule not in rules:
            raise ValueError(registry.unknown(rules, rule, "rule in lr"))
    return {rule: check_float(rate, f"lr of {rule}") for rule, rate in lr.items()}


def _warn_of_rates(experiments: Sequence[Experiment]) -> None:
    """Warn if the learning rates of these experiments, one per rule, were not searched for their setting."""
    untuned, differ = unsuited_rates(experiments)
    if untuned:
        rate = next(one.rate() for one in experiments if one.rule == untuned[0])  # the same for all untuned rules
        warnings.warn(
            f"no learning rate was searched for {', '.join(untuned)} on this data and model: {rate:g} is used, which "
            "can favour one rule over another; give lr={rule: rate}, from a search such as minifa tune",
            UntunedRate,
            stacklevel=3,
        )
    if differ:
        warnings.warn(
            "the stored learning rates were searched with other settings: "
            + "; ".join(f"{rule} with {settings}" for rule, settings in differ.items()),
            UntunedRate,
            stacklevel=3,
        )
