"""Sweeps: one recipe under many settings, as a grid of all combinations or a random search.
from .experiment import Experiment

A sweep is a recipe (see `minifa.experiments.recipes`) with a section [over] that lists the varied settings and, for a
random search, a section [sweep]:

    [sweep]
    method = "random"         or "grid", the default: all combinations
    runs = 24                 random: number of runs
    seed = 0                  random: seed of the draws

    [over]
    "rule" = ["bp", "fa", "usf:scale=init"]
    "optimizer.lr" = { low = 1e-4, high = 0.1, log = true }     random: a range; whole = true draws ints
    "training.seed" = [0, 1, 2]

The runs of a grid are numbered with seeds outermost, so that an interrupted sweep has all settings. Draws are keyed by
the seed of the sweep, the setting and the number of the run: run 7 of 10 is the same as run 7 of 1,000.

>>> from minifa.experiments import sweeps
>>> over = '[over]\\n"rule" = ["bp", "fa"]\\n"training.seed" = [0, 1]'
>>> [(run.number, *run.settings.values()) for run in sweeps.parse(over).runs]
[(0, 'bp', 0), (1, 'fa', 0), (2, 'bp', 1), (3, 'fa', 1)]
"""

from __future__ import annotations

__all__ = ["Range", "Run", "Sweep", "parse", "read"]

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ..rng import generator
from ..validation import check_bool, check_float, check_str
from . import recipes, resume, schema
from .experiment import Experiment, content_name, data_key
from .recipes import RecipeError, Settings
from .schema import Problems

METHODS = ("grid", "random")
SEED = "training.seed"
LARGEST = 100_000  # maximum number of runs of a sweep
COUNTED = 10**12  # larger counts are not printed exactly: with many settings they have thousands of digits
BUILT = 1_000  # maximum number of networks that are built for validation
DEFAULTS = vars(Experiment())
FIELDS = {  # fields of an experiment when run ids were introduced (see `identify`)
    *("data", "data_dir", "augmentation", "model", "model_options", "weights", "freeze", "rule", "loss", "optimizer"),
    *("schedule", "optimizer_options", "lr", "weight_decay", "epochs", "batch_size", "seed", "validation", "alignment"),
}
DIGITS = 6  # significant digits of a drawn number, so that it does not depend on a machine's rounding


@dataclass(frozen=True)
class Range:
    """Range of a setting, drawn uniformly or log-uniformly.

    Attributes:
        low, high: its limits; for ints both are included.
        log: whether the draw is log-uniform.
        whole: whether ints are drawn.

    Raises:
        TypeError: a limit is not a number, or ``log`` or ``whole`` is not a bool.
        ValueError: ``low`` is not below ``high``, not above 0 with ``log``, or a limit is not an int with ``whole``.

    >>> from minifa.experiments.sweeps import Range
    >>> Range(1, 3, whole=True).draw(np.random.default_rng(0))
    3
    >>> Range(0, 1, log=True)
    Traceback (most recent call last):
    ValueError: a range with log = true begins above 0, got low = 0
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        for key in ("low", "high"):
            check_float(getattr(self, key), f"{key} of a range")
        for key in ("log", "whole"):
            check_bool(getattr(self, key), f"{key} of a range")
        if not self.low < self.high:
            raise ValueError(f"a range goes from low up to high, got low = {self.low} and high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with log = true begins above 0, got low = {self.low}")
        if self.whole and not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise ValueError(f"whole = true needs whole numbers, got low = {self.low} and high = {self.high}")

    def draw(self, rng: numpy.random.Generator) -> float:
        """Draw a number; floats are rounded to six significant digits."""
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high), endpoint=True))
        place, high = rng.random(), self.high + self.whole  # ints are drawn as floats from [low, high + 1) and floored
        drawn = self.low * (high / self.low) ** place if self.log else self.low + (high - self.low) * place
        return min(math.floor(drawn), int(self.high)) if self.whole else float(f"{drawn:.{DIGITS}g}")


Axes = Mapping[str, "list[Any] | Range"]  # varied settings: lists of values, or ranges


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        number: its position in the sweep.
        id: hash of its experiment without the folder of the data; unlike the number, it does not change when runs are
            added to the sweep.
        settings: values of the varied settings, by name.
        experiment: its experiment.
    """

    number: int
    id: str
    settings: Mapping[str, Any]
    experiment: Experiment


@dataclass(frozen=True)
class Sweep:
    """A validated sweep; `check` also validates that every network fits its data.

    Attributes:
        name: name of the file without its suffix.
        place: name of the file in error messages.
        title, note: descriptive text; may be empty.
        base: settings shared by all runs, by name.
        varied: names of the varied settings.
        runs: the runs in the order of their numbers, without duplicate experiments.
        repeated: number of draws that repeated an earlier experiment.
    """

    name: str
    place: str
    title: str
    note: str
    base: Mapping[str, Any]
    varied: tuple[str, ...]
    runs: tuple[Run, ...]
    repeated: int


# Reading


def read(path: str | Path, changes: Sequence[str] = ()) -> Sweep:
    """Read a sweep from a file.

    Args:
        path: path of a .toml file.
        changes: settings that override the shared ones, such as ``"training.epochs=3"``.

    Raises:
        FileNotFoundError: the file does not exist.
        RecipeError: the sweep is invalid; the message lists all problems.
    """
    place = recipes.find(path)
    return parse(recipes.read_text(place), changes, place.stem, f"'{place}'")


def parse(text: str, changes: Sequence[str] = (), name: str = "sweep", place: str = "the sweep") -> Sweep:
    """Parse a sweep in TOML.

    Args:
        text: TOML.
        changes: as for `read`.
        name: name of the sweep.
        place: name of the sweep in error messages.

    Raises:
        RecipeError: the sweep is invalid; the message lists all problems.

    >>> from minifa.experiments import sweeps
    >>> sweeps.parse('[over]\\n"rule" = ["bp", "fo"]\\n"optimizer.lr" = []')
    Traceback (most recent call last):
    minifa.experiments.recipes.RecipeError: the sweep has 2 problems:
      over.optimizer.lr: the list is empty
      rule: unknown rule 'fo': did you mean fa?
    """
    check_str(name, "the name of a sweep")
    problems = Problems()
    words, base, parts = recipes.take_apart(text, changes, place, problems)
    if "table" in parts or "row" in parts:
        problems.add("table", "a file has a table or a sweep, not both")
    how = _how(parts.get("sweep", {}), problems)
    axes = _axes(parts.get("over", {}), base, how["method"], problems)
    drawn = list(_settings(axes, how, problems))
    experiments = [recipes.experiment_of({**base, **varied}, problems) for varied in drawn]
    if problems:
        raise RecipeError(place, problems)
    runs: dict[str, Run] = {}
    for number, (varied, experiment) in enumerate(zip(drawn, experiments, strict=True)):
        run = Run(number, identify(experiment), varied, experiment)
        runs.setdefault(run.id, run)
    repeated = len(drawn) - len(runs)
    about = words.get("title", ""), words.get("note", "")
    return Sweep(name, place, *about, base, tuple(axes), tuple(runs.values()), repeated)


def _how(section: Any, problems: Problems) -> Settings:
    """The settings of [sweep], with defaults."""
    how: Settings = {"method": "grid", "runs": None, "seed": 0}
    if not isinstance(section, dict):
        problems.add("sweep", f"a section [sweep] is expected, got {section!r}")
        return how
    checks = {
        "method": schema.choice(METHODS, "method"),
        "runs": schema.integer(1),
        "seed": schema.integer(0),
    }
    values = problems.entries("sweep", section, checks)
    how.update(values)
    if how["method"] == "grid":
        for key in section.keys() & {"runs", "seed"}:
            problems.add(f"sweep.{key}", 'it goes with method = "random"; a grid has every combination once')
    elif how["method"] == "random" and "runs" not in section:
        problems.add("sweep.runs", "random draws need their number, as runs = 24")
    return how


def _axes(section: Any, base: Settings, method: str, problems: Problems) -> Axes:
    """The valid settings of [over], with their values or ranges."""
    if not isinstance(section, dict) or not section:
        problems.add("over", 'it varies nothing: a section [over] is expected, with "rule" = ["bp", "fa"] say')
        return {}
    axes: dict[str, list[Any] | Range] = {}
    for name, value in _by_name(section).items():
        where = f"over.{name}"
        if name in base:
            problems.add(where, "it is varied, and set for all runs as well: leave one of the two out")
        if isinstance(value, dict):
            if method == "grid":
                problems.add(where, 'a range is drawn from, which goes with method = "random"; a grid takes a list')
            axis = _range(where, value, problems)
        else:
            axis = problems.attempt(where, _values, value)
        if axis is not None:
            axes[name] = axis
    return axes


def _by_name(section: Mapping[str, Any]) -> Settings:
    """Flatten nested sections: in TOML ``optimizer.lr = [...]`` is a nested section, and ``"optimizer.lr" = [...]`` a
    key; both are accepted."""
    settings: Settings = {}
    for key, value in section.items():
        if key in recipes.SECTIONS and isinstance(value, dict):
            settings.update({f"{key}.{inner}": one for inner, one in value.items()})
        else:
            settings[key] = value
    return settings


def _values(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list of values is expected, got {value!r}")
    if not value:
        raise ValueError("the list is empty")
    written = [recipes.write_value(one) for one in value]
    twice = [one for one, count in Counter(written).items() if count > 1]
    if twice:
        raise ValueError(f"the list has {', '.join(twice)} more than once")
    if any(character < " " for one in written for character in one):
        raise ValueError("a value of a sweep stands in one line, without control characters")
    return value


def _range(where: str, entries: Settings, problems: Problems) -> Range | None:
    number = schema.number(-math.inf)
    checks = {
        "low": lambda value: value if isinstance(value, int) and number(value) == value else number(value),
        "high": lambda value: value if isinstance(value, int) and number(value) == value else number(value),
        "log": schema.boolean,
        "whole": schema.boolean,
    }
    before = len(problems)
    values = problems.entries(where, entries, checks)
    for key in ("low", "high"):
        if key not in entries:
            problems.add(where, f"a range needs {key}: {{ low = 1e-4, high = 0.1 }}")
    if len(problems) > before:
        return None
    return problems.attempt(where, lambda given: Range(**given), values)


# The runs


def _settings(axes: Axes, how: Settings, problems: Problems) -> Iterator[Settings]:
    """The varied settings of every run, in order. If there are problems or too many runs, only as many as are needed to
    validate every value once."""
    grid = how["method"] == "grid"
    count = math.prod(len(axis) for axis in axes.values() if isinstance(axis, list)) if grid else how["runs"] or 0
    if count > LARGEST:
        number = f"{count:,}" if count < COUNTED else f"over {COUNTED:,}"
        problems.add("over" if grid else "sweep.runs", f"{number} runs are more than the {LARGEST:,} of a sweep")
    if problems:
        return _every_value_once(axes)
    return _grid(axes) if grid else (_draw(axes, how["seed"], number) for number in range(count))


def _grid(axes: Axes) -> Iterator[Settings]:
    outermost_first = sorted(axes, key=lambda name: name != SEED)
    for values in itertools.product(*(axes[name] for name in outermost_first)):  # type: ignore[arg-type]
        chosen = dict(zip(outermost_first, values, strict=True))
        yield {name: chosen[name] for name in axes}


def _draw(axes: Axes, seed: int, number: int) -> Settings:
    settings: Settings = {}
    for name, axis in axes.items():
        rng = generator(seed, "sweep", name, number)
        settings[name] = axis.draw(rng) if isinstance(axis, Range) else axis[int(rng.integers(len(axis)))]
    return settings


def _every_value_once(axes: Axes) -> Iterator[Settings]:
    lists = {name: axis if isinstance(axis, list) else [axis.low, axis.high] for name, axis in axes.items()}
    for i in range(min(LARGEST, max(map(len, lists.values()), default=1))):
        yield {name: values[min(i, len(values) - 1)] for name, values in lists.items()}


def identify(experiment: Experiment) -> str:
    """Hash of an experiment, twelve hexadecimal digits; the folder of the data is ignored.

    >>> from minifa.experiments import Experiment
    >>> from minifa.experiments.sweeps import identify
    >>> identify(Experiment(data_dir="here")) == identify(Experiment()) != identify(Experiment(seed=1))
    True
    """
    in_force = {"lr": experiment.rate(), "weight_decay": experiment.decay(), "data_dir": None}
    in_force |= {key: value for key, value in experiment.as_config().items() if key == "phases"}
    # Fields added later are hashed only if they differ from their defaults, so that ids in older tables stay valid.
    fields = {key: value for key, value in vars(experiment).items() if key in FIELDS or value != DEFAULTS[key]}
    config = json.dumps({**fields, **in_force}, sort_keys=True, default=str)
    return hashlib.sha256(config.encode()).hexdigest()[:12]


# Validation of networks against their data


def check(sweep: Sweep) -> tuple[list[str], dict[str, str]]:
    """Build the network of one run of each kind (see `minifa.experiments.recipes.of_each_kind`) on its data, so that
    errors are reported before any run starts; of more than a thousand kinds, a thousand evenly spaced ones.

    Args:
        sweep: the sweep to run.

    Returns:
        (notes of the data sets, to be shown with their results, without duplicates; digests of all input files, by
        name, as returned by `minifa.experiments.resume.contents`).

    Raises:
        RecipeError: as in `minifa.experiments.recipes.check`.
    """
    kinds = recipes.of_each_kind([run.experiment for run in sweep.runs])
    step = max(1.0, len(kinds) / BUILT)
    some = [kinds[int(i * step)] for i in range(min(len(kinds), BUILT))]
    sets = recipes.check(some, sweep.place)
    contents: dict[str, str] = {}
    for one in some:
        if content_name(vars(one)) not in contents or (one.weights is not None and one.weights not in contents):
            contents.update(resume.contents(one, sets[data_key(one)]))
    return sorted({one.note for one in sets.values() if one.note}), contents
