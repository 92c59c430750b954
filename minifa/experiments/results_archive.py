"""The results archive: the score of every run in the project's tables, for comparison with one's own runs.

``results/catalogue.toml`` states what is known of each table: command, commit, data, machine. ``results/NAME.csv`` has
its runs: row of the table, rule, learning rate, seed, score, and other numbers. Rows of another ``engine`` are peers:
the same setting in PyTorch, or published numbers. ``tutorials/results/archive.py`` makes the CSV files.

>>> from minifa.experiments import results_archive
>>> table = results_archive.load("digits-cnn")
>>> table.measure.name, table.scores()["", "fa"].n, round(table.scores()["", "fa"].mean, 3)
('accuracy', 5, 0.348)
>>> results_archive.compare({"fa": {0: 0.61, 1: 0.58, 2: 0.65}}, table).common[0].verdict
'higher by 0.266 (better)'
"""

from __future__ import annotations

__all__ = [
    "ENGINE",
    "MEASURES",
    "Key",
    "Measure",
    "RowComparison",
    "RowScores",
    "Table",
    "TableComparison",
    "compare",
    "load",
    "names",
]

import functools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..registry import unknown
from ..storage import csv_files
from ..storage.atomic import read_bytes
from ..text import listed
from ..validation import check_choice, check_float, check_type
from . import differences
from .differences import Difference
from .recipes import tomllib
from .tables import sample_sd

FOLDER = Path(__file__).with_name("results")
ENGINE = "minifa"
SAME = 1e-5  # relative difference of equal scores: the archive keeps six digits
Key = tuple[str, str]  # network ("" in a table with a single one) and row


@dataclass(frozen=True)
class Measure:
    """What a score is.

    Attributes:
        kind: "accuracy", "error" (1 - accuracy) or "loss".
        full: the score of an accuracy or error of 1: 1, or 100 for one in percent.
        decimals: shown decimals.
    """

    kind: str
    full: float = 1.0
    decimals: int = 3

    @property
    def name(self) -> str:
        """The name in the catalogue."""
        return f"{self.kind} in %" if self.full == 100 else self.kind

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is better."""
        return self.kind == "accuracy"

    def shown(self, value: float, sign: str = "") -> str:
        """The value as text, with the measure's decimals.

        Args:
            value: a score, or a difference of scores.
            sign: "+": with its sign; "": without that of a positive number.

        Raises:
            TypeError: the value is not a number.
            ValueError: no such sign.
        """
        value, sign = check_float(value, "a score"), check_choice(sign, "the sign of a score", ("", "+"))
        return f"{round(value, self.decimals) + 0.0:{sign}.{self.decimals}f}"  # + 0.0: no -0.00

    def from_accuracy(self, accuracy: float) -> float:
        """The score of an accuracy between 0 and 1. Raises TypeError if it is not a number, ValueError if it is out of
        range, or for a loss.

        >>> from minifa.experiments.results_archive import MEASURES
        >>> MEASURES["error in %"].from_accuracy(0.75)
        25.0
        """
        if self.kind == "loss":
            raise ValueError("a loss does not follow from an accuracy")
        if not 0 <= check_float(accuracy, "an accuracy") <= 1:
            raise ValueError(f"an accuracy must be between 0 and 1, got {accuracy}")
        return self.full * (accuracy if self.kind == "accuracy" else 1 - accuracy)


MEASURES = {
    one.name: one
    for one in (Measure("accuracy"), Measure("accuracy", 100, 2), Measure("error", 100, 2), Measure("loss"))
}


@dataclass(frozen=True)
class RowScores:
    """The scores of the runs of one row.

    Attributes:
        by_seed: score of every seed; empty if only mean and sd are known.
        mean: mean over the runs.
        sd: sample standard deviation; None for a single run.
        n: number of runs.
        rate: learning rate; "" if it is not known.
    """

    by_seed: Mapping[int, float]
    mean: float
    sd: float | None
    n: int
    rate: str = ""

    @classmethod
    def of(cls, by_seed: Mapping[int, float], rate: str = "") -> RowScores:
        """The scores of runs by seed.

        Args:
            by_seed: score of every seed, at least one.
            rate: learning rate as text; "" if it is not known.

        Raises:
            TypeError: not a mapping of seeds to numbers, or a rate that is not a str.
            ValueError: no score.
        """
        known = differences.by_seed(by_seed, "a row")
        if not known:
            raise ValueError("a row must have the score of at least one seed, got none")
        check_type(rate, str, "a rate must be a str")
        return cls(known, statistics.fmean(known.values()), sample_sd(list(known.values())), len(known), rate)

    def sample(self) -> list[float]:
        """The scores; if only mean and sd are known, n numbers with this mean and sd. Welch's interval depends on
        nothing else.

        >>> from minifa.experiments.results_archive import RowScores
        >>> RowScores({}, 70.0, 1.0, 3).sample()
        [69.0, 71.0, 70.0]
        """
        if self.by_seed or self.sd is None:
            return list(self.by_seed.values()) or [self.mean]
        away = self.sd * math.sqrt((self.n - 1) / 2)
        return [self.mean - away, self.mean + away, *[self.mean] * (self.n - 2)]

    def shown(self, measure: Measure) -> str:
        """Mean ± sd as text. Raises TypeError if ``measure`` is not a `Measure`."""
        check_type(measure, Measure, "measure must be a Measure, as table.measure")
        return measure.shown(self.mean) + ("" if self.sd is None else f" ± {measure.shown(self.sd)}")

    def minus(self, other: RowScores) -> Difference:
        """The difference of the means: paired over the common seeds, unpaired (Welch) if there are none. Raises
        TypeError if ``other`` is not a `RowScores`."""
        check_type(other, RowScores, "other must be a RowScores, as table.scores() has them")
        if self.by_seed.keys() & other.by_seed.keys():
            return differences.paired(self.by_seed, other.by_seed)
        return differences.unpaired(self.sample(), other.sample())


@dataclass(frozen=True)
class Table:
    """A table of the archive.

    Attributes:
        name: its name.
        facts: the entry in the catalogue; what is missing is not recorded.
        lines: the lines of its CSV file, column to cell.
    """

    name: str
    facts: Mapping[str, Any]
    lines: Sequence[Mapping[str, str]]

    @property
    def measure(self) -> Measure:
        """What the scores are."""
        return MEASURES[self.facts["measure"]]

    @property
    def engines(self) -> list[str]:
        """minifa, and the peers."""
        return list(dict.fromkeys([ENGINE, *(line["engine"] for line in self.lines)]))

    @property
    def networks(self) -> list[str]:
        """The networks of the rows; [""] in a table with a single one."""
        return list(dict.fromkeys(network for network, _ in self.scores()))

    def scores(self, engine: str = ENGINE) -> dict[Key, RowScores]:
        """The scores of every row.

        Args:
            engine: minifa, or one of the peers.

        Returns:
            ``{(network, row): scores}``; network is "" in a table with a single one.

        Raises:
            ValueError: the table has no such engine.
        """
        if engine not in self.engines:
            raise ValueError(unknown(self.engines, engine, f"engine of the table '{self.name}'"))
        groups: dict[Key, list[Mapping[str, str]]] = {}
        for line in self.lines:
            if line["engine"] == engine:
                groups.setdefault(_key(line), []).append(line)
        return {key: _scores(lines) for key, lines in groups.items()}

    def value(self, key: Key, column: str) -> str:
        """A cell of the row's first line, such as its "rule" or "lr"; "" if the table has no such column.

        Args:
            key: network and row.
            column: name of a column of the CSV file.

        Raises:
            TypeError: not a tuple of two str, or a column that is not a str.
            ValueError: the table has no such row.
        """
        return self._runs(key)[0].get(check_type(column, str, "column must be a str"), "")

    def diverged(self, key: Key) -> int:
        """The number of runs of a row that diverged.

        Args:
            key: network and row.

        Raises:
            TypeError: not a tuple of two str.
            ValueError: the table has no such row.
        """
        return sum(line.get("diverged") == "1" for line in self._runs(key))

    def from_reference(self) -> dict[Key, Difference]:
        """The difference of every row from the reference row of its network, which is ``bp`` unless the catalogue names
        another one. Rows without a reference are left out."""
        scores, reference = self.scores(), self.facts.get("reference", "bp")
        return {
            (network, row): mine.minus(scores[network, reference])
            for (network, row), mine in scores.items()
            if row != reference and (network, reference) in scores
        }

    def _runs(self, key: Key) -> list[Mapping[str, str]]:
        """The lines of minifa's runs of a row."""
        _check_key(key, "a row must be a tuple of the names of network and row")
        runs = [line for line in self.lines if line["engine"] == ENGINE and _key(line) == key]
        if not runs:
            raise ValueError(f"'{self.name}' has no row {key!r}: expected one of {listed(map(str, self.scores()))}")
        return runs


def _check_key(key: Any, what: str) -> None:
    if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(name, str) for name in key)):
        raise TypeError(f"{what}, got the row {key!r}")


def _key(line: Mapping[str, str]) -> Key:
    return line.get("network", ""), line["row"]


def _scores(lines: Sequence[Mapping[str, str]]) -> RowScores:
    first = lines[0]
    if first["seed"]:
        return RowScores.of({int(line["seed"]): float(line["score"]) for line in lines}, first.get("lr", ""))
    sd = first.get("sd", "")
    return RowScores({}, float(first["score"]), float(sd) if sd else None, int(first["n"]), first.get("lr", ""))


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """What is known of every table, by its name; see the head of ``catalogue.toml``."""
    entries = tomllib.loads(read_bytes(FOLDER / "catalogue.toml").decode())["table"]
    return {entry["name"]: entry for entry in entries}


def names() -> list[str]:
    """The names of the archive's tables.

    >>> from minifa.experiments import results_archive
    >>> "digits-cnn" in results_archive.names()
    True
    """
    return list(catalogue())


def load(name: str) -> Table:
    """A table of the archive.

    Args:
        name: one of `names`.

    Raises:
        TypeError: the name is not a str.
        ValueError: the archive has no such table.
    """
    if check_type(name, str, "the name of a table must be a str") not in catalogue():
        raise ValueError(unknown(names(), name, "table of the results archive"))
    columns, *lines = csv_files.read(FOLDER / f"{name}.csv")
    return Table(name, catalogue()[name], [dict(zip(columns, cells, strict=True)) for cells in lines])


# Comparison with other runs


@dataclass(frozen=True)
class RowComparison:
    """One row of a table beside the same row of other runs.

    Attributes:
        key: network and row in the archive.
        mine: the scores of the other runs.
        archived: those of the archive.
        difference: mine - archived, with Welch's interval.
        verdict: the difference in words.
    """

    key: Key
    mine: RowScores
    archived: RowScores
    difference: Difference
    verdict: str


@dataclass(frozen=True)
class TableComparison:
    """A table beside other runs.

    Attributes:
        common: the rows that both have.
        only_mine: the other runs' rows that the table does not have.
        only_archived: the table's rows that the other runs do not have.
    """

    common: list[RowComparison]
    only_mine: list[Key]
    only_archived: list[Key]


def compare(mine: Mapping[Any, Mapping[int, float] | RowScores], table: Table) -> TableComparison:
    """Compare scores with a table of the archive, row by row.

    Args:
        mine: the score of every seed by row, in the table's measure, ``{"fa": {0: 0.61, 1: 0.58}}``; for a table with
            several networks by network and row, ``{("cnn", "fa"): {0: 0.61}}``. Also as ``read_scores(...).scores`` of
            `minifa.experiments.score_files`. A row that the table does not have is looked for among its rules.
        table: a table of the archive.

    Raises:
        TypeError: not a mapping of rows to scores by seed, or not a `Table`.
        ValueError: a row without scores or given twice, a network that is not named, or a score out of range.

    >>> from minifa.experiments import results_archive
    >>> own = {"fa": {0: 0.61, 1: 0.58, 2: 0.65}}
    >>> found = results_archive.compare(own, results_archive.load("digits-cnn"))
    >>> found.common[0].verdict, len(found.only_archived)
    ('higher by 0.266 (better)', 4)
    """
    check_type(table, Table, "table must be a Table of the archive, as results_archive.load returns it")
    scores = _by_key(mine, table)
    archived = table.scores()
    partner = {key: _partner(key, table, archived) for key in scores}
    common = []
    for key, match in partner.items():
        if match is not None:
            difference = differences.unpaired(scores[key].sample(), archived[match].sample())
            verdict = _verdict(scores[key], archived[match], difference, table.measure)
            common.append(RowComparison(match, scores[key], archived[match], difference, verdict))
    found = set(partner.values())
    only_mine = [key for key in scores if partner[key] is None]
    return TableComparison(common, only_mine, [key for key in archived if key not in found])


def _by_key(mine: Any, table: Table) -> dict[Key, RowScores]:
    """The scores by network and row, checked."""
    expected = 'scores must be a mapping of rows to scores by seed, as {"fa": {0: 0.61, 1: 0.58}}'
    scores: dict[Key, RowScores] = {}
    for row, some in check_type(mine, Mapping, expected).items():
        if isinstance(row, str) and table.networks != [""]:
            raise ValueError(
                f"'{table.name}' has the networks {listed(table.networks)}: name one with each row, as in "
                f"{{({table.networks[0]!r}, {row!r}): ...}}"
            )
        key = ("", row) if isinstance(row, str) else row
        _check_key(key, expected)
        if key in scores:
            raise ValueError(f"the row {row!r} is given twice, with and without the network ''")
        scores[key] = some if isinstance(some, RowScores) else RowScores.of(some)
        _check_range(scores[key], row, table.measure)
    return scores


def _check_range(scores: RowScores, row: Any, measure: Measure) -> None:
    for score in scores.by_seed.values() or [scores.mean]:
        if measure.kind != "loss" and not -SAME <= score / measure.full <= 1 + SAME:
            raise ValueError(
                f"the scores of the table are its {measure.name}, from 0 to {measure.full:g}; row {row!r} has {score:g}"
            )


def _partner(key: Key, table: Table, archived: Collection[Key]) -> Key | None:
    """The row of the table with this name, else the only one with this rule."""
    if key in archived:
        return key
    network, rule = key
    same = [one for one in archived if one[0] == network and table.value(one, "rule") == rule]
    return same[0] if len(same) == 1 else None


def _verdict(mine: RowScores, archived: RowScores, difference: Difference, measure: Measure) -> str:
    both = [(mine.mean, archived.mean), *((mine.by_seed[seed], archived.by_seed.get(seed)) for seed in mine.by_seed)]
    same = [other is not None and math.isclose(one, other, rel_tol=SAME) for one, other in both]
    if all(same[1:]) and mine.by_seed.keys() == archived.by_seed.keys() and mine.by_seed:
        return "the same under every seed"
    if not math.isfinite(difference.mean):
        return "a score is not finite"
    if difference.low is None or difference.high is None:
        return "one run: no interval"
    if same[0] or difference.low <= 0 <= difference.high:
        return "no difference shown"
    if not difference.standard_error:
        return "no spread: no interval"
    way = "higher" if difference.mean > 0 else "lower"
    good = "better" if (difference.mean > 0) == measure.higher_is_better else "worse"
    return f"{way} by {measure.shown(abs(difference.mean))} ({good})"


def of_network(mine: Mapping[Key, RowScores], table: Table, network: str | None = None) -> dict[Key, RowScores]:
    """The scores with networks as in the table: those of one network, or of all.

    Args:
        mine: scores by network and row; network is "" where a file does not name any.
        table: a table of the archive.
        network: the network of the table, or of ``mine``, which is compared; None: all of them.

    Raises:
        ValueError: no such network, or no way to tell which one is meant.
    """
    own = list(dict.fromkeys(key[0] for key in mine))
    known = [one for one in dict.fromkeys([*table.networks, *own]) if one]
    if network is not None and network not in known:
        raise ValueError(unknown(known, network, "network"))
    if network is None and table.networks != [""] and own == [""]:
        raise ValueError(f"'{table.name}' has several networks: give --network one of {', '.join(table.networks)}")
    if network is None and table.networks == [""] and len(own) > 1:
        raise ValueError(f"'{table.name}' has a single network, the file several: give --network one of {listed(own)}")
    if network is not None and not {"", network} & set(own):
        raise ValueError(
            f"the file has no network {network!r}, only {listed(own)}: name it in the file as in the table"
        )
    chosen = own if network is None else [network if network in own else ""]
    name = "" if table.networks == [""] else network
    return {(key[0] if name is None else name, key[1]): scores for key, scores in mine.items() if key[0] in chosen}
