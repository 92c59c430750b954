"""What a survey found: its table, read from the folder, and as text."""

from __future__ import annotations

__all__ = ["read"]

import functools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from ..data.base import Dataset
from ..errors import DataFileError
from ..rules import RULES, Rule
from ..storage import csv_files
from ..storage.atomic import expanded, read_bytes
from ..text import printable, table, wrap
from .chance_levels import known_rule
from .differences import Difference, paired
from .experiment import Experiment, load_data
from .surveys import COLUMNS, NETWORKS, TABLE, Line, checked
from .tables import mean_sd, sampling_error

WIDTH = 120  # characters of a line of the table
REFERENCE = "bp"
DETAILED = "deep-mlp"  # the network of the columns that the table has for one network only
FORMS = {  # format of the means of columns
    "epochs_to_90": ".1f",
    "true_angle": ".1f",
    "weight_angle": ".1f",
    "products": ".2f",
    "feedback_numbers": ",.0f",
    "seconds": ".1f",
}
# How an error reaches the layers; `way_of` says which of these it is.
FIXED, LEARNED = "Error down through a B that does not learn", "Error down through a B that learns"
DIRECT, TARGETS = "Error straight to each layer, or to none", "Targets down through a B"
LOCAL, PASSES = "A loss of each layer", "More than one pass for an update"
WAYS = (FIXED, LEARNED, DIRECT, TARGETS, LOCAL, PASSES)


@dataclass(frozen=True)
class Found:
    """What a table says of a rule on a network.

    Attributes:
        runs: the lines of its finished runs, by seed.
        reason: why there are none, as "refused: ...", "no rate: ..." or "failed: ..."; "" if they are not made yet.
    """

    runs: Mapping[int, Line]
    reason: str = ""

    def numbers(self, column: str) -> list[float]:
        """The numbers in a column, without empty cells."""
        return [float(line[column]) for line in self.runs.values() if line[column]]

    def mean(self, column: str) -> float | None:
        """The mean of a column over seeds; None if a run has no such number."""
        values = self.numbers(column)
        return statistics.fmean(values) if values and len(values) == len(self.runs) else None

    def shown(self, column: str) -> str:
        """The mean as text; "" if there is none."""
        mean = self.mean(column)
        return "" if mean is None else format(mean, FORMS[column])

    @property
    def diverged(self) -> bool:
        """Whether a run diverged."""
        return any(self.numbers("diverged"))

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracies by seed."""
        return {seed: float(line["test_accuracy"]) for seed, line in self.runs.items()}

    @property
    def kind(self) -> str:
        """The first word of the reason: "refused", "no rate", "failed" or ""."""
        return self.reason.partition(": ")[0]


@dataclass(frozen=True)
class Survey:
    """A survey's table.

    Attributes:
        lines: its lines, column to cell.
        epochs: epochs of the runs.
        data: name of the data set.
        test_examples: number of examples on which accuracies are measured.
        chance: share of the most frequent class in these.
    """

    lines: Sequence[Line]
    epochs: int
    data: str
    test_examples: int
    chance: float

    @property
    def networks(self) -> list[str]:
        """The networks in the table, in the order of `minifa.experiments.surveys.NETWORKS`."""
        there = {line["network"] for line in self.lines}
        return [name for name in NETWORKS if name in there]

    @property
    def rules(self) -> list[str]:
        """The rules in the table, in the order of `minifa.rules.RULES`."""
        order = {name: number for number, name in enumerate(RULES)}
        names = dict.fromkeys(line["rule"] for line in self.lines)
        return sorted(names, key=lambda name: order.get(name.partition(":")[0], len(order)))

    @property
    def by_way(self) -> dict[str, list[str]]:
        """The rules by how an error reaches the layers, in the order of `WAYS`; rules that this process does not know
        are under "Other rules"."""
        groups: dict[str, list[str]] = {way: [] for way in (*WAYS, "Other rules")}
        for name in self.rules:
            rule = known_rule(name)
            groups["Other rules" if rule is None else way_of(rule)].append(name)
        return {way: names for way, names in groups.items() if names}

    @property
    def detailed(self) -> str:
        """The network of the columns that the table has for one network only."""
        return DETAILED if DETAILED in self.networks else self.networks[0]

    @functools.cached_property
    def seeds(self) -> int:
        """The number of seeds of the rule and network that have most of them."""
        return max((len(self.find(network, rule).runs) for network in self.networks for rule in self.rules), default=0)

    def find(self, network: str, rule: str) -> Found:
        """What the table says of a rule on a network. Of several learning rates, the last one counts."""
        mine = [line for line in self.lines if (line["network"], line["rule"]) == (network, rule)]
        made = [line for line in mine if line["seed"]]
        made = [line for line in made if line["lr"] == made[-1]["lr"]]
        runs = {int(line["seed"]): line for line in made if not line["error"]}
        reasons = [f"failed: {line['error']}" for line in made] or [line["not_run"] for line in mine]
        return Found(dict(sorted(runs.items())), "" if runs or not reasons else reasons[-1])

    def difference(self, network: str, rule: str) -> Difference | None:
        """The difference of a rule's accuracy from backpropagation's on the same network, paired by seed; None without
        a common seed."""
        mine, theirs = (self.find(network, name).accuracies for name in (rule, REFERENCE))
        return paired(mine, theirs) if mine.keys() & theirs.keys() else None

    def reasons(self, rule: str) -> dict[str, list[str]]:
        """The reasons why a rule was not run, each with its networks."""
        where: dict[str, list[str]] = {}
        for network in self.networks:
            if reason := self.find(network, rule).reason:
                where.setdefault(reason, []).append(network)
        return where

    def chance_angles(self, network: str) -> tuple[float, float] | None:
        """The angles, from and to, that random feedback gives between errors at the lowest layer; None if no line has
        them."""
        for line in self.lines:
            if line["network"] == network and line["chance_low"]:
                return float(line["chance_low"]), float(line["chance_high"])
        return None


def way_of(rule: Rule) -> str:
    """How an error reaches the layers under a rule, as its class declares it: one of `WAYS`.

    >>> from minifa.experiments.survey_results import way_of
    >>> way_of(mf.rules.FA()), way_of(mf.rules.DFA())
    ('Error down through a B that does not learn', 'Error straight to each layer, or to none')
    """
    if not rule.one_backward_pass:
        return PASSES
    if rule.crosses_weights:
        return LEARNED if rule.feedback_learns else FIXED
    return LOCAL if rule.B_is_local else TARGETS if rule.B_corresponds_to_W else DIRECT


def of_lines(lines: Sequence[Line], epochs: int, data: Dataset) -> Survey:
    """A survey from the lines of its table."""
    counts = numpy.bincount(data.test.y)
    return Survey(lines, epochs, data.name, len(data.test), float(counts.max() / counts.sum()))


def read(folder: str | Path) -> Survey:
    """The survey in a folder of `minifa survey`, finished or not.

    Raises:
        FileNotFoundError: the folder has no survey.csv.
        DataFileError: the folder holds something else, or its table is damaged.
    """
    place = expanded(folder)
    lines = csv_files.read_table(place / TABLE, COLUMNS)
    try:
        settings = json.loads(read_bytes(place / "config.json").decode())["survey"]
        experiment = Experiment(data=settings["data"], epochs=settings["epochs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataFileError(f"{place} is not a folder of a survey ({type(error).__name__}: {error})") from error
    return of_lines([checked(line, place / TABLE) for line in lines], experiment.epochs, load_data(experiment))


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 rule", "2 rules"."""
    return f"{number} {noun}{'s' * (number != 1)}"


# The table as text


def summary(survey: Survey) -> str:
    """The table, one row per rule, with the meaning of its columns and the reasons of the runs that were not made. Its
    lines have at most `WIDTH` characters."""
    head = ("rule", *survey.networks, "epochs to .9", "true angle", "products", "feedback")
    band = survey.chance_angles(survey.detailed)
    chance = "" if band is None else f"random feedback, mean ± 2 sd: {band[0]:.1f} to {band[1]:.1f}; "
    meaning = (
        f"Test accuracy after {counted(survey.epochs, 'epoch')}, mean ± sd over seeds; each rule at its "
        f"own learning rate. The other columns are for {survey.detailed}: the first epoch with an accuracy of 0.9 "
        "(-: a seed did not reach it); the angle in degrees between the rule's error and backpropagation's at the "
        f"lowest layer ({chance}-: there is none, or a run diverged); the multiply-adds of a training step relative to "
        "backpropagation's; the numbers that the rule keeps for the way back, besides W. A star: a run diverged. The "
        f"most frequent class has a share of {survey.chance:.3f}. {sampling_error(survey.test_examples)}."
    )
    notes = [note for name in survey.rules for note in _notes(survey, name)]
    parts = [
        table([head, *(_row(survey, name) for name in survey.rules)], right_from=1, width=WIDTH),
        wrap(meaning, WIDTH),
        wrap("\n".join(notes), WIDTH),
    ]
    return printable("\n\n".join(filter(None, parts)))


def _row(survey: Survey, name: str) -> tuple[str, ...]:
    cells = [_accuracy(survey.find(network, name)) for network in survey.networks]
    found = survey.find(survey.detailed, name)
    columns = ("epochs_to_90", "true_angle", "products", "feedback_numbers")
    return name, *cells, *(found.shown(column) or "-" for column in columns)


def _accuracy(found: Found) -> str:
    if not found.runs:
        return found.kind or "-"
    return mean_sd(list(found.accuracies.values())) + "*" * found.diverged


def _notes(survey: Survey, name: str) -> Iterator[str]:
    """Why a rule was not run on some networks, which networks it accepts, and where it has fewer seeds than others."""
    for network in survey.networks:
        if 0 < (seeds := len(survey.find(network, name).runs)) < survey.seeds:
            yield f"{name} on {network}: {seeds} of {survey.seeds} seeds"
    reasons, rule = survey.reasons(name), known_rule(name)
    for reason, networks in reasons.items():
        yield f"{name} on {', '.join(networks)}: {reason}"
    if rule is not None and rule.accepts and reasons and not any(rule.accepts in reason for reason in reasons):
        yield f"{name} accepts {rule.accepts}"
