"""Recipes: TOML files that describe an experiment, a published table or a sweep, and are validated before a run starts.

Nothing in a recipe is executed. Its entries correspond to the fields of `minifa.experiments.Experiment`:

    title, source, note             descriptive text
    rule = "usf:scale=init"         options after a colon, as on the command line
    [data]       name, folder, augmentation, validation, reconstruct; for a file scale, channels, regression, label
    [model]      name, weights, weights_names, freeze, and the options of the model
    [optimizer]  name, lr, weight_decay, schedule, and the options of the optimizer
    [training]   loss, epochs, patience, batch_size, drop_last, seed, alignment, targets, kernels, statistics
    [[phase]]    name, epochs, and the settings that change in this phase

A recipe with several sections [[phase]] trains one network in phases, in their order. Settings outside them hold in all
phases. A phase may change ``rule``, ``model.freeze`` (the layers that it does not train), ``data.augmentation``, all
settings of the optimizer, and of [training] ``loss``, ``batch_size``, ``drop_last`` and ``patience``:

    [[phase]]
    name = "hidden"
    epochs = 6
    rule = "fa"
    optimizer.lr = 0.1

    [[phase]]
    name = "read-out"
    epochs = 5
    rule = "bp"
    model.freeze = "linear1, linear2"
    optimizer.lr = 0.05
    optimizer.schedule = "cosine:epochs=5"

A phase keeps everything in the network of the phase before (parameters, batch norm's running statistics and other
buffers), and arrays of the rule that both rules have (see `minifa.rules.Rule.carry_over`), unless it has the entry
``carry = false``. It has a fresh optimizer, and its schedule counts its own epochs. Epochs, random draws and history
run on. Early stopping (``patience``) ends its phase only, and the next one begins with the best network. A setting of a
phase is named after it: ``--set phase.read-out.optimizer.lr=0.01``, and likewise in the rows of a table and in [over].

A table (see `minifa.experiments.reproduce`) has a section [table] and one [[row]] per row:

    [table]      measure, seeds, reach, published_by
                 reference = "bp"     the row with which the others are compared; default: the first one with rule bp
                 claims = [{rows = ["usf", "frsf"], within = 2.0}, {rows = ["fa"], behind = 15.0}]
    [[row]]      name, published, seeds, set

A claim is judged by the differences from the reference: at most 2 up or down, worse by at least 15, in the measure. A
sweep (see `minifa.experiments.sweeps`) has sections [sweep], [over] and [[case]]. Paths are relative to the working
directory. A setting has the same name, such as ``"optimizer.lr"``, in files, in ``--set optimizer.lr=0.01`` and in the
rows of a table.

>>> from minifa.experiments import recipes
>>> recipe = recipes.parse('rule = "fa"\\n[data]\\nname = "xor"\\n[model]\\nname = "tiny"')
>>> recipe.experiment.rule, recipe.experiment.data, recipe.experiment.epochs
('fa', 'xor', 15)
>>> recipes.parse('rule = "fo"\\n[training]\\nepochs = 0')
Traceback (most recent call last):
minifa.experiments.recipes.RecipeError: the recipe has 2 problems:
  rule: unknown rule 'fo': did you mean fa?
  training.epochs: a whole number from 1 up is expected, got 0
"""

from __future__ import annotations

__all__ = ["Claim", "Recipe", "RecipeError", "TableRow", "parse", "read", "shipped"]

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import data, rules, schedules
from ..data.batches import count_batches
from ..data.interpretation import CHANNELS
from ..losses import LOSSES
from ..models import MODELS
from ..optim import OPTIMIZERS
from ..registry import option_names, unknown
from ..storage.atomic import expanded
from ..training.phases import check_name
from ..validation import check_list, check_str
from . import schema
from .experiment import (
    DATA_OPTIONS,
    MOST_SEEDS,
    OF_PHASES,
    Experiment,
    build,
    data_key,
    default_optimizer_options,
    load_data,
    parts,
)
from .schema import Problems

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = dict[str, Any]  # name of a setting, such as "optimizer.lr", to its value
RATES = ("lr", "weight_decay")  # of an optimizer: fields of an experiment
NO_PHASES = "the recipe has no phases: each is a section [[phase]] with a name"
MEASURES = ("accuracy", "error", "loss")
BOUNDS = {"within", "behind"}  # of a claim
LARGEST_FILE = 1 << 16  # bytes; recipes are written by hand
DEEPEST = 8  # maximum nesting of sections and lists


class RecipeError(ValueError):
    """A recipe is invalid; the message lists every problem on its own line.

    Args:
        place: name of the recipe in the message.
        problems: the problems.
    """

    def __init__(self, place: str, problems: Sequence[str]) -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        indented = (problem.replace("\n", "\n    ") for problem in problems)  # continuation lines
        super().__init__(f"{place} has {count}:\n" + "\n".join(f"  {problem}" for problem in indented))
        self.problems = list(problems)


@dataclass(frozen=True)
class TableRow:
    """One row of a published table.

    Attributes:
        name: name of the row, and prefix of the folders of its runs.
        experiment: its experiment, with the first seed.
        seeds: number of seeds.
        published: published value in the table's measure; None: no value was published.
        own: names of the settings in which the row differs from the recipe.
    """

    name: str
    experiment: Experiment
    seeds: int
    published: float | None
    own: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Claim:
    """A published claim on the difference between some rows and the table's reference.

    Attributes:
        rows: names of the rows.
        bound: "within": the difference is at most this large, up or down; "behind": the rows are worse by at least
            this.
        size: the bound, in the unit of the table's measure.
    """

    rows: tuple[str, ...]
    bound: str
    size: float


@dataclass(frozen=True)
class Recipe:
    """A validated recipe; `check` also validates that data and network fit together.

    Attributes:
        name: name of the file without its suffix.
        experiment: the experiment it describes.
        title, source, note: its title, its origin and remarks; may be empty.
        measure: measure of the table: "accuracy" or "error", in per cent, or "loss"; all on the test set.
        reach: an accuracy; the table gives the epoch at which each run first reaches it. None: no such column.
        published_by: source of the published values.
        rows: rows of the table; empty: the recipe has no table.
        reference: name of the row that the others are compared with, seed by seed; "": they are not compared.
        claims: published claims on these differences.
        changes: settings that override those of the file, such as ``"training.epochs=20"``.
    """

    name: str
    experiment: Experiment
    title: str = ""
    source: str = ""
    note: str = ""
    measure: str = "accuracy"
    reach: float | None = None
    published_by: str = ""
    rows: tuple[TableRow, ...] = ()
    reference: str = ""
    claims: tuple[Claim, ...] = ()
    changes: tuple[str, ...] = ()


def _data_name(value: Any) -> str:
    if not data.is_file(schema.string(value)) and value not in data.DATASETS:
        raise ValueError(f"{unknown(data.DATASETS, value, 'data set')} (or the path of {data.A_FILE})")
    return value


# Name of a setting to (the field of `Experiment` that it sets, its validation).
SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "rule": ("rule", schema.description(rules.make)),
    "data.name": ("data", _data_name),
    "data.folder": ("data_dir", schema.string),
    "data.scale": ("scale", schema.scale),
    "data.channels": ("channels", schema.choice(CHANNELS, "place of channels")),
    "data.regression": ("regression", schema.boolean),
    "data.label": ("label", schema.string),
    "data.reconstruct": ("reconstruct", schema.boolean),
    "data.augmentation": ("augmentation", schema.description(data.make_augmentation)),
    "data.validation": ("validation", schema.number(0, 1)),
    "model.name": ("model", schema.choice(MODELS, "model")),
    "model.weights": ("weights", schema.string),
    "model.weights_names": ("weights_names", schema.strings),
    "model.freeze": ("freeze", schema.string),
    "optimizer.name": ("optimizer", schema.choice(OPTIMIZERS, "optimizer")),
    "optimizer.lr": ("lr", schema.number(0)),
    "optimizer.weight_decay": ("weight_decay", schema.number(0)),
    "optimizer.schedule": ("schedule", schema.description(schedules.make)),
    "training.loss": ("loss", schema.choice(LOSSES, "loss")),
    "training.epochs": ("epochs", schema.integer(1)),
    "training.patience": ("patience", schema.integer(1)),
    "training.batch_size": ("batch_size", schema.integer(1)),
    "training.drop_last": ("drop_last", schema.boolean),
    "training.seed": ("seed", schema.integer(0)),
    "training.alignment": ("alignment", schema.boolean),
    "training.targets": ("targets", schema.boolean),
    "training.kernels": ("kernels", schema.boolean),
    "training.statistics": ("statistics", schema.boolean),
}
PHASE_SETTINGS = {  # of a section [[phase]]; "epochs" and "carry" are entries without a section, as the name
    "epochs": SETTINGS["training.epochs"],
    "carry": ("carry", schema.boolean),
    **{key: one for key, one in SETTINGS.items() if one[0] in OF_PHASES and one[0] != "epochs"},
}
WORDS = ("title", "source", "note")
SECTIONS = ("data", "model", "optimizer", "training")


# Reading


def shipped() -> dict[str, Path]:
    """The paths of the recipes that ship with minifa, by name.

    >>> from minifa.experiments import recipes

    >>> "mnist_lenet" in recipes.shipped()
    True
    """
    folder = Path(__file__).with_name("recipes")
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read(name_or_path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a file.

    Args:
        name_or_path: a name of `shipped`, or the path of a .toml file.
        changes: settings that override those of the file, such as ``"optimizer.lr=0.01"``.

    Raises:
        ValueError: as in `find`.
        FileNotFoundError: the file does not exist.
        RecipeError: the recipe is invalid; the message lists all problems.
    """
    place = find(name_or_path)
    return parse(read_text(place), changes, place.stem, f"'{place}'")


def find(name_or_path: str | Path, known: Mapping[str, Path] | None = None) -> Path:
    """The path of a recipe's file.

    Args:
        name_or_path: a known name, or the path of a .toml file.
        known: the paths of the known recipes; None: those of `shipped`.

    Raises:
        ValueError: neither a known name nor the path of a .toml file.
        FileNotFoundError: the file does not exist.
    """
    known, place = shipped() if known is None else known, expanded(name_or_path)
    if place.suffix != ".toml":
        if str(name_or_path) not in known:
            raise ValueError(unknown(known, str(name_or_path), "recipe") + ", or the path of a .toml file")
        place = known[str(name_or_path)]
    if not place.is_file():
        raise FileNotFoundError(f"there is no recipe '{place}'; minifa ships {', '.join(known)}")
    return place


def read_text(place: Path) -> str:
    """Read the text of a recipe's file. Raises RecipeError if it is too large or not in UTF-8."""
    if place.stat().st_size > LARGEST_FILE:
        raise RecipeError(f"'{place}'", [f"it is larger than {LARGEST_FILE:,} bytes: no recipe"])
    try:
        return place.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"'{place}'", [f"it is not written in UTF-8 ({error})"]) from error


def parse(text: str, changes: Sequence[str] = (), name: str = "recipe", place: str = "the recipe") -> Recipe:
    """Parse a recipe in TOML.

    Args:
        text: TOML.
        changes: as for `read`.
        name: name of the recipe.
        place: name of the recipe in error messages.

    Raises:
        RecipeError: the recipe is invalid; the message lists all problems.

    >>> from minifa.experiments import recipes

    >>> recipes.parse('[data]\\nname = "xor"', ["training.epochs=3", "rule=usf:scale=init"]).experiment.rule
    'usf:scale=init'
    """
    check_str(name, "the name of a recipe")
    problems = Problems()
    words, settings, parts = take_apart(text, changes, place, problems)
    experiment = experiment_of(settings, problems)
    if parts.keys() & {"over", "sweep", "case"}:
        problems.add("over", "a recipe with this section is a sweep: minifa sweep runs it")
    changed = {change.partition("=")[0].strip() for change in changes}
    table, rows = _table(parts.get("table"), parts.get("row", []), settings, changed, problems)
    if problems:
        raise RecipeError(place, problems)
    return Recipe(name, experiment, **words, **table, rows=rows, changes=tuple(changes))


def take_apart(
    text: str, changes: Sequence[str], place: str, problems: Problems
) -> tuple[dict[str, Any], Settings, dict[str, Any]]:
    """Split a recipe into (title, source and note; settings with changes, not yet validated; raw sections of a table or
    sweep).

    Args:
        text, changes, place: as for `parse`.
        problems: list to which problems with descriptive texts and changes are added.

    Raises:
        RecipeError: the text is not valid TOML.
    """
    check_str(place, "the place of a recipe")
    check_list(changes, str, "changes must be a list of settings, as ['optimizer.lr=0.01']")
    try:
        tree = _read_toml(check_str(text, "a recipe"))
    except ValueError as error:
        raise RecipeError(place, [f"it is not written in TOML: {error}"]) from error
    parts: Settings = {key: tree.pop(key) for key in ("table", "row", "sweep", "over", "case") if key in tree}
    words = {key: problems.attempt(key, schema.string, tree.pop(key), "") for key in WORDS if key in tree}
    phases = _flat_phases(tree.pop("phase", []), problems)
    return words, {**_flat(tree), **phases, **_changes(changes, problems)}, parts


def _read_toml(text: str) -> Settings:
    """Parse TOML. Raises ValueError if the text is not valid TOML, is nested too deeply or holds too large an int."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:  # Python limits the digits of an int
        raise ValueError("a number in it has thousands of digits") from error
    _refuse_the_boundless(tree, DEEPEST)
    return tree


def _refuse_the_boundless(value: Any, levels: int) -> None:
    """Reject ints of more than 64 bits, which Python's parser accepts, and deep nesting, as by ``a.a.a = 1``."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a whole number in it does not fit into 64 bits")
    if isinstance(value, (dict, list)):
        if not levels:
            raise ValueError("it is nested too deeply")
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_the_boundless(inner, levels - 1)


def _flat(tree: Mapping[str, Any]) -> Settings:
    """Flatten sections to settings: {"optimizer": {"lr": 1}} becomes {"optimizer.lr": 1}."""
    settings: Settings = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            settings.update({f"{key}.{inner}": one for inner, one in value.items()})
        elif value != {}:
            settings[key] = value
    return settings


def _flat_phases(phases: Any, problems: Problems) -> Settings:
    """Flatten the sections [[phase]], in their order: {"phase.hidden.name": "hidden", "phase.hidden.epochs": 6}."""
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        problems.add("phase", "each phase is a section [[phase]], with two brackets on each side")
        return {}
    settings: Settings = {}
    for number, phase in enumerate(phases, start=1):
        name = problems.attempt(f"phase {number}", _phase_name, phase.get("name"))
        if f"phase.{name}.name" in settings:
            problems.add("phase", f"two phases are called {name!r}")
        if name is not None:
            settings.update({f"phase.{name}.{key}": value for key, value in _flat(phase).items()})
    return settings


def _phase_name(value: Any) -> str:
    if value is None:
        raise ValueError("it has no name")
    return check_name(schema.string(value))


def _changes(changes: Sequence[str], problems: Problems) -> Settings:
    settings: Settings = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            problems.add("", f"a change is written NAME=VALUE, optimizer.lr=0.01, got {change!r}")
        else:
            settings[key.strip()] = read_value(value.strip())
    return settings


def read_value(text: str) -> Any:
    """Parse a TOML value; text that is not valid TOML is returned as a string.

    >>> from minifa.experiments import recipes

    >>> [recipes.read_value(text) for text in ("0.01", "true", "[100, 50]", "usf:scale=init")]
    [0.01, True, [100, 50], 'usf:scale=init']
    """
    try:
        return _read_toml(f"value = {text}")["value"] if "\n" not in text else text
    except ValueError:
        return text


def write_value(value: Any) -> str:
    """Format a value for a table cell: strings unchanged, other values as JSON.

    >>> from minifa.experiments import recipes
    >>> [recipes.write_value(value) for value in ("fa", 0.1, True, [100, 50])]
    ['fa', '0.1', 'true', '[100, 50]']
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def experiment_of(settings: Mapping[str, Any], problems: list[str]) -> Experiment:
    """The experiment described by the settings; problems with them are added to ``problems``.

    Args:
        settings: settings by name, ``{"optimizer.lr": 0.01}``; missing ones have the defaults of `Experiment`.
        problems: list to which problems are added.

    >>> from minifa.experiments import recipes

    >>> recipes.experiment_of({"data.name": "xor", "model.depth": 3, "optimizer.lr": 0.1}, []).model_options
    {'depth': 3}
    """
    collected = problems if isinstance(problems, Problems) else Problems()
    options: dict[str, Settings] = {"model": {}, "optimizer": {}}
    of_all = {key: value for key, value in settings.items() if not key.startswith("phase.")}
    fields = _fields(of_all, SETTINGS, options, "", collected)
    chosen = {key: value for key, value in fields.items() if value is not None}
    data_options = {key: chosen.pop(key) for key in DATA_OPTIONS if key in chosen}
    experiment = replace(Experiment(), **chosen, data_options=data_options, model_options=options["model"])
    if fields.get("model", "") is not None:  # None: the model is invalid, so its options are unknown
        _check_options(experiment.model, MODELS, options["model"], "model", ("input_shape", "n_out"), collected)
    if fields.get("optimizer", "") is not None:
        _check_options(experiment.optimizer, OPTIMIZERS, options["optimizer"], "optimizer", RATES, collected)
    defaults = default_optimizer_options(experiment.optimizer)
    experiment = replace(experiment, optimizer_options={**defaults, **options["optimizer"]})
    phases = _phases(settings, experiment.optimizer, collected)
    if phases and "training.epochs" in settings:
        first = phases[0]["name"]
        collected.add("training.epochs", f"each phase has its own epochs: phase.{first}.epochs")
    if collected is not problems:
        problems += collected
    return experiment if collected else replace(experiment, phases=phases)


def _fields(
    settings: Mapping[str, Any],
    known: Mapping[str, tuple[str, Callable[[Any], Any]]],
    options: dict[str, Settings],
    prefix: str,
    problems: Problems,
) -> dict[str, Any]:
    """The fields of an experiment that these settings give, None where a value is invalid. Options of a section, such
    as "optimizer.momentum", are added to ``options``."""
    fields: dict[str, Any] = {}
    for key, value in settings.items():
        section, _, inner = key.partition(".")
        if key in known:
            name, check = known[key]
            fields[name] = problems.attempt(prefix + key, check, value)
        elif section in options and inner and key not in SETTINGS:
            options[section][inner] = tuple(value) if isinstance(value, list) else value
        else:
            problems.add(prefix + key, unknown(known, key, "setting"))
    return fields


def _phases(settings: Mapping[str, Any], optimizer: str, problems: Problems) -> list[dict[str, Any]]:
    """The phases of an experiment with this optimizer, from the settings ``phase.NAME.SETTING``."""
    by_name: dict[str, Settings] = {}
    for key, value in settings.items():
        start, _, rest = key.partition(".")
        name, _, setting = rest.partition(".")
        if start == "phase" and setting:
            by_name.setdefault(name, {})[setting] = value
        elif start == "phase" and rest:
            problems.add(key, "a setting of a phase has its name and that of the setting, phase.NAME.optimizer.lr")
    declared = [name for name, own in by_name.items() if own.get("name") == name]
    phases = []
    for name, own in by_name.items():
        if name not in declared:
            problems.add(f"phase.{name}", f"{unknown(declared, name, 'phase')}" if declared else NO_PHASES)
            continue
        options: dict[str, Settings] = {"optimizer": {}}
        changes = {key: value for key, value in own.items() if key != "name"}
        fields = _fields(changes, PHASE_SETTINGS, options, f"phase.{name}.", problems)
        if "epochs" not in fields:
            problems.add(f"phase.{name}", "it has no epochs")
        kind = fields.get("optimizer", optimizer)
        if kind is not None:
            _check_options(kind, OPTIMIZERS, options["optimizer"], "optimizer", RATES, problems)
        extra = {"optimizer_options": options["optimizer"]} if options["optimizer"] else {}
        phases.append({"name": name, **fields, **extra})
    return phases


def _check_options(
    name: str,
    table: Mapping[str, Callable[..., Any]],
    options: Settings,
    section: str,
    not_options: tuple[str, ...],
    problems: Problems,
) -> None:
    known = [key for key in option_names(table[name]) if key not in not_options]
    named = [key.partition(".")[2] for key in SETTINGS if key.startswith(f"{section}.")]
    for key in options:
        if key not in known:
            problems.add(f"{section}.{key}", unknown([*known, *named], key, f"option of the {section} {name!r}"))


# Tables


def _table(
    about: Any, rows: Any, settings: Settings, changed: Set[str], problems: Problems
) -> tuple[dict[str, Any], tuple[TableRow, ...]]:
    """(settings of [table], rows of the table)."""
    if about is None and rows == []:
        return {}, ()
    about = {} if about is None else about
    if not isinstance(about, dict) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.add("table", "a table is a section [table] with a section [[row]] for each of its rows")
        return {}, ()
    checks: dict[str, Callable[[Any], Any]] = {
        "measure": schema.choice(MEASURES, "measure"),
        "reach": schema.number(0, 1),
        "published_by": schema.string,
        "seeds": schema.integer(1, MOST_SEEDS),
        "reference": schema.string,
        "claims": _claims,
    }
    entries = problems.entries("table", about, checks)
    seeds = entries.pop("seeds", 1)
    if not rows:
        problems.add("table", "it has no [[row]]")
    table_rows = tuple(_row(i, row, seeds, settings, changed, problems) for i, row in enumerate(rows, start=1))
    names = [row.name for row in table_rows]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add("row", f"{names.count(name)} rows are called {name!r}")
    if "reference" not in entries:
        entries["reference"] = next((row.name for row in table_rows if row.experiment.label == "bp"), "")
    _check_names(entries, names, problems)
    return entries, table_rows


def _check_names(about: Mapping[str, Any], names: Sequence[str], problems: Problems) -> None:
    """Add a problem for every name in the reference and the claims of a table that is not a row to compare."""
    reference, claims = about["reference"], about.get("claims") or ()
    if reference and reference not in names:
        problems.add("table.reference", unknown(names, reference, "row"))
    if claims and not reference:
        problems.add("table.claims", "a claim is on differences from a reference, and no row has the rule bp")
    for name in dict.fromkeys(name for claim in claims for name in claim.rows):
        if name not in names:
            problems.add("table.claims", unknown(names, name, "row"))
        elif name == reference:
            problems.add("table.claims", f"{name!r} is the reference, which has no difference from itself")


def _claims(value: Any) -> tuple[Claim, ...]:
    if not isinstance(value, list):
        raise ValueError(f"a list of claims is expected, got {value!r}")
    return tuple(map(_claim, value))


def _claim(value: Any) -> Claim:
    match value:
        case {"rows": [_, *_] as rows, **bounds} if len(bounds) == 1 and bounds.keys() <= BOUNDS:
            ((bound, size),) = bounds.items()
            return Claim(tuple(map(schema.string, rows)), str(bound), schema.number(0)(size))
    raise ValueError(
        'a claim has rows and one bound, {rows = ["fa"], within = 2.0} or {rows = ["fa"], behind = 15.0}, '
        f"got {value!r}"
    )


def _row(
    number: int, row: Mapping[str, Any], seeds: int, settings: Settings, changed: Set[str], problems: Problems
) -> TableRow:
    where = f"row {row.get('name', number)}"
    checks = {
        "name": _row_name,
        "published": schema.number(-math.inf),
        "seeds": schema.integer(1, MOST_SEEDS),
        "set": _section,
    }
    entries = problems.entries(where, row, checks)
    if "name" not in row:
        problems.add(where, "it has no name")
    of_row = Problems()
    experiment = experiment_of({**settings, **(entries.get("set") or {})}, of_row)
    for problem in of_row:
        if problem not in problems:  # report the problems of the base settings once
            problems.add(where, problem)
    name, own = entries.get("name") or str(number), frozenset(entries.get("set") or {})
    other_setting = (changed - own) & {"rule", "data.name", "model.name"}  # published values do not apply to these
    published = None if other_setting else entries.get("published")
    return TableRow(name, experiment, entries.get("seeds") or seeds, published, own)


def _row_name(value: Any) -> str:
    if not all(c.isascii() and (c.isalnum() or c in "-_.") for c in schema.string(value)) or value.startswith("."):
        raise ValueError(f"a row's name becomes a folder's: letters, digits, '-', '_' and '.', got {value!r}")
    return value


def _section(value: Any) -> Settings:
    if not isinstance(value, dict):
        raise ValueError(f'settings by their names are expected, {{"optimizer.lr" = 0.01}}, got {value!r}')
    return value


# Validation of networks against their data


def check(experiments_: Sequence[Experiment], place: str) -> dict[tuple[Any, ...], data.Dataset]:
    """Build every network with its rule and optimizer once, on its data, so that errors are reported before any run
    starts.

    Args:
        experiments_: the experiments to run; one `of_each_kind` is built.
        place: name of the recipe in error messages.

    Returns:
        The loaded data sets by (name, folder), followed by their options if there are any.

    Raises:
        RecipeError: all problems: missing files, invalid options, networks that do not fit their data.
    """
    problems = Problems()
    sets: dict[tuple[Any, ...], data.Dataset] = {}
    failed: set[tuple[Any, ...]] = set()
    refused: dict[tuple[str, str, str], list[str]] = {}  # (model, data, reason) to rules
    for experiment in of_each_kind(experiments_):
        where = data_key(experiment)
        if where not in sets and where not in failed:
            try:
                sets[where] = load_data(experiment)
            except (ValueError, OSError) as error:
                problems.add("data", error)
                failed.add(where)
        if experiment.weights is not None and not os.path.isfile(os.path.expanduser(experiment.weights)):
            problems.add("model.weights", f"there is no file '{experiment.weights}'")
        elif where in sets:
            reason = _try(experiment, sets[where])
            if reason is not None:
                refused.setdefault((experiment.model, experiment.data, reason), []).append(experiment.label)
    for (model, name, reason), under in refused.items():  # report a reason once for all rules
        problems.add(f"{model} under {', '.join(dict.fromkeys(under))} on {name}", reason)
    if problems:
        raise RecipeError(place, problems)
    return sets


def of_each_kind(experiments_: Sequence[Experiment]) -> list[Experiment]:
    """One experiment of each group that differs only in settings that do not affect building: seed, learning rate,
    epochs, measurements, schedule and, unless a smaller last batch is dropped, batch size.

    >>> from minifa.experiments import recipes
    >>> from minifa.experiments import Experiment
    >>> some = [Experiment(rule=rule, seed=seed) for rule in ("bp", "fa") for seed in (0, 1, 2)]
    >>> [(one.rule, one.seed) for one in recipes.of_each_kind(some)]
    [('bp', 0), ('fa', 0)]
    """
    kinds: dict[str, Experiment] = {}
    for experiment in experiments_:
        size = experiment.batch_size if experiment.drop_last else 1
        alike = replace(experiment, seed=0, lr=0.01, epochs=1, batch_size=size, schedule="constant")
        alike = replace(alike, alignment=False, targets=False, kernels=False, statistics=False)
        kinds.setdefault(repr(alike), experiment)
    return list(kinds.values())


def _try(experiment: Experiment, dataset: data.Dataset) -> str | None:
    """The reason why the experiment cannot be built; None if it can."""
    try:
        train, _ = parts(experiment, dataset)
        for stage in experiment.stages():
            count_batches(len(train), stage.batch_size, stage.drop_last)
        build(experiment, dataset)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return str(error)
    return None
