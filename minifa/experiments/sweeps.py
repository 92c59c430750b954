"""Sweeps: one recipe under many settings, as a grid of all combinations or a random search.

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

Settings that change together are a case, with a name; a grid has every case with every combination of [over]. Within a
case, a list has the values of a setting that varies; all cases give the settings that vary in one of them:

    [[case]]
    name = "bp-adam"
    optimizer.name = "adam"
    optimizer.lr = [1e-3, 3e-3]

`minifa which-rule` also counts the cases named in ``merged = ["fa", "dfa"]``, an entry of [sweep], as one class.

The runs of a grid are numbered with seeds outermost, so that an interrupted sweep has all settings. Draws are keyed by
the seed of the sweep, the setting and the number of the run: run 7 of 10 is the same as run 7 of 1,000.

>>> from minifa.experiments import sweeps
>>> over = '[over]\\n"rule" = ["bp", "fa"]\\n"training.seed" = [0, 1]'
>>> [(run.number, *run.settings.values()) for run in sweeps.parse(over).runs]
[(0, 'bp', 0), (1, 'fa', 0), (2, 'bp', 1), (3, 'fa', 1)]
>>> cases = '[[case]]\\nname = "slow"\\noptimizer.lr = 0.1\\n[[case]]\\nname = "fast"\\noptimizer.lr = 0.5'
>>> [(run.settings, run.experiment.lr) for run in sweeps.parse(cases).runs]
[({'case': 'slow'}, 0.1), ({'case': 'fast'}, 0.5)]
"""

from __future__ import annotations

__all__ = ["Range", "Run", "Sweep", "parse", "read", "shipped"]

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from ..registry import unknown
from ..rng import generator
from ..validation import check_bool, check_float, check_str
from . import recipes, resume, schema
from .experiment import Experiment, content_name, data_key
from .recipes import RecipeError, Settings
from .schema import Problems

METHODS = ("grid", "random")
SEED, CASE = "training.seed", "case"
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
        settings: values of the varied settings, by name; with cases, ``"case"`` has the name of its case.
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
        varied: names of the varied settings; with cases, "case" is the first one.
        runs: the runs in the order of their numbers, without duplicate experiments.
        repeated: number of draws that repeated an earlier experiment.
        cases: names of the cases, in order; may be empty.
        merged: names of the cases that `minifa which-rule` also counts as one class; may be empty.
    """

    name: str
    place: str
    title: str
    note: str
    base: Mapping[str, Any]
    varied: tuple[str, ...]
    runs: tuple[Run, ...]
    repeated: int
    cases: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """Settings that change together: those of all its runs, and those that it varies. Without cases, a sweep is one
    without a name."""

    name: str | None
    fixed: Settings
    axes: Axes

    def label(self) -> Settings:
        return {} if self.name is None else {CASE: self.name}


# Reading


def shipped() -> dict[str, Path]:
    """The paths of the sweeps that ship with minifa, by name.

    >>> from minifa.experiments import sweeps
    >>> list(sweeps.shipped())
    ['which_rule']
    """
    return {path.stem: path for path in sorted(Path(__file__).with_name("recipes").glob("sweeps/*.toml"))}


def read(path: str | Path, changes: Sequence[str] = ()) -> Sweep:
    """Read a sweep from a file.

    Args:
        path: a name of `shipped`, or the path of a .toml file.
        changes: settings that override the shared ones, such as ``"training.epochs=3"``.

    Raises:
        ValueError: neither a known name nor the path of a .toml file.
        FileNotFoundError: the file does not exist.
        RecipeError: the sweep is invalid; the message lists all problems.
    """
    place = recipes.find(path, shipped())
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
    cases = _cases(parts, base, how, problems)
    drawn = list(_settings(cases, how, problems))
    experiments = [recipes.experiment_of({**base, **case.fixed, **varied}, problems) for case, varied in drawn]
    if problems:
        raise RecipeError(place, problems)
    runs: dict[str, Run] = {}
    for number, ((case, varied), experiment) in enumerate(zip(drawn, experiments, strict=True)):
        run = Run(number, identify(experiment), {**case.label(), **varied}, experiment)
        runs.setdefault(run.id, run)
    repeated = len(drawn) - len(runs)
    about = words.get("title", ""), words.get("note", "")
    varied_names = (*cases[0].label(), *cases[0].axes)
    names = tuple(case.name for case in cases if case.name is not None)
    return Sweep(name, place, *about, base, varied_names, tuple(runs.values()), repeated, names, tuple(how["merged"]))


def _how(section: Any, problems: Problems) -> Settings:
    """The settings of [sweep], with defaults."""
    how: Settings = {"method": "grid", "runs": None, "seed": 0, "merged": ()}
    if not isinstance(section, dict):
        problems.add("sweep", f"a section [sweep] is expected, got {section!r}")
        return how
    checks = {
        "method": schema.choice(METHODS, "method"),
        "runs": schema.integer(1),
        "seed": schema.integer(0),
        "merged": _names,
    }
    values = problems.entries("sweep", section, checks)
    how.update(values)
    if how["method"] == "grid":
        for key in section.keys() & {"runs", "seed"}:
            problems.add(f"sweep.{key}", 'it goes with method = "random"; a grid has every combination once')
    elif how["method"] == "random" and "runs" not in section:
        problems.add("sweep.runs", "random draws need their number, as runs = 24")
    return how


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(one, str) for one in value):
        raise ValueError(f'names of at least two cases are expected, ["fa", "dfa"], got {value!r}')
    return value


def _cases(parts: Mapping[str, Any], base: Settings, how: Settings, problems: Problems) -> list[_Case]:
    """The cases of a sweep, each with all varied settings, those of [over] included."""
    sections = parts.get("case", [])
    if not isinstance(sections, list) or not all(isinstance(section, dict) for section in sections):
        problems.add("case", "each case is a section [[case]], with two brackets on each side")
        sections = []
    over = _axes(parts.get("over", {}), base, how["method"], problems, is_needed=not sections)
    if sections and how["method"] != "grid":
        problems.add("case", 'it goes with method = "grid", the default')
    flat = [_by_name(section) for section in sections]
    varied = list(dict.fromkeys(name for one in flat for name, value in one.items() if isinstance(value, list)))
    cases = [_case(number, section, varied, {**base, **over}, problems) for number, section in enumerate(flat, start=1)]
    names = [case.name for case in cases]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.add("case", f"{names.count(name)} cases are called {name!r}")
    for name in how["merged"] or ():
        if name not in names:
            problems.add("sweep.merged", unknown([str(one) for one in names], name, "case"))
    return [replace(case, axes={**case.axes, **over}) for case in cases] or [_Case(None, {}, over)]


def _case(number: int, section: Settings, varied: Sequence[str], elsewhere: Settings, problems: Problems) -> _Case:
    """A case with the settings that vary in it or in another one; ``elsewhere`` has those of all runs and of [over]."""
    settings = dict(section)
    name = problems.attempt(f"case {number}", _case_name, settings.pop("name", None), default=str(number))
    where, axes = f"case {name}", dict[str, Any]()
    for key in sorted(settings.keys() & elsewhere.keys()):
        problems.add(f"{where}.{key}", "it is set for all runs, or in [over], as well: leave one of the two out")
    for key in varied:
        if key not in settings:
            problems.add(where, f"it has no {key}, which varies in another case")
            continue
        value = settings.pop(key)
        values = problems.attempt(f"{where}.{key}", _values, value if isinstance(value, list) else [value])
        if values is not None:
            axes[key] = values
    return _Case(name, settings, axes)


def _case_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:=, -]+", value):
        raise ValueError(f"a name of letters, digits and -_.:=, is expected, as name = 'bp', got {value!r}")
    return value


def _axes(section: Any, base: Settings, method: str, problems: Problems, is_needed: bool) -> Axes:
    """The valid settings of [over], with their values or ranges."""
    if not isinstance(section, dict) or (is_needed and not section):
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


def _settings(cases: Sequence[_Case], how: Settings, problems: Problems) -> Iterator[tuple[_Case, Settings]]:
    """The case and the varied settings of every run, in order. If there are problems or too many runs, only as many as
    are needed to validate every value once."""
    grid = how["method"] == "grid"
    count = sum(_count(case.axes) for case in cases) if grid else how["runs"] or 0
    if count > LARGEST:
        number = f"{count:,}" if count < COUNTED else f"over {COUNTED:,}"
        problems.add("over" if grid else "sweep.runs", f"{number} runs are more than the {LARGEST:,} of a sweep")
    if problems:
        return ((case, settings) for case in cases for settings in _every_value_once(case.axes))
    if grid:
        return _grid(cases)
    (case,) = cases
    return ((case, _draw(case.axes, how["seed"], number)) for number in range(count))


def _count(axes: Axes) -> int:
    return math.prod(len(axis) for axis in axes.values() if isinstance(axis, list))


def _grid(cases: Sequence[_Case]) -> Iterator[tuple[_Case, Settings]]:
    """Every combination of each case, seeds outermost."""
    numbered = []
    for case in cases:
        lists = {name: axis for name, axis in case.axes.items() if isinstance(axis, list)}  # in a grid, all of them
        for chosen in itertools.product(*map(enumerate, lists.values())):
            places = {name: place for name, (place, _) in zip(lists, chosen, strict=True)}
            settings = {name: value for name, (_, value) in zip(lists, chosen, strict=True)}
            numbered.append((places.get(SEED, 0), case, settings))
    return ((case, settings) for _, case, settings in sorted(numbered, key=lambda one: one[0]))


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
