"""`minifa results`: the results archive: list its tables, show one, and compare one's own runs with it."""

from __future__ import annotations

__all__: list[str] = []

import argparse
from collections.abc import Iterable, Sequence

from ..experiments import results_archive, score_files
from ..experiments.differences import Difference
from ..experiments.results_archive import ENGINE, SAME, Key, RowComparison, Table
from ..experiments.row_differences import NO_WIDTH
from ..experiments.score_files import UNITS, FileScores
from ..storage import csv_files
from ..text import entries, listed, table, terminal_width, wrap
from .exit_codes import OK

UNKNOWN = "not recorded"
FACTS: tuple[str, ...] = ("command", "commit", "added", "version", "data", "network", "epochs", "machine", "date")
FACTS += ("wall_time", "training", "peer")
SHOWN_AS = {
    "added": "in the repository since",
    "wall_time": "wall time",
    "training": "training, all runs",
    "peer": "peers",
}
NAMES = {"list": "", "show": "NAME", "compare": "MY.csv NAME"}  # what each action is given


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "list: the tables of the results archive. show NAME: one of them, with what is known of its runs. compare "
        "MY.csv NAME: your own runs beside a table: runs.csv of minifa compare, table.csv or curves.csv of minifa "
        "reproduce, sweep.csv, survey.csv, or any CSV file with the columns rule (or row), seed and score. In a "
        "history the last epoch of each run counts."
    )
    command.add_argument("action", nargs="?", choices=NAMES, default="list", metavar="ACTION", help=", ".join(NAMES))
    command.add_argument("names", nargs="*", metavar="NAME", help="of a table; to compare: MY.csv NAME")
    command.add_argument("--csv", action="store_true", help="show: print the runs of the table as CSV")
    command.add_argument("--score", metavar="COLUMN", help="compare: the column of MY.csv with the scores")
    command.add_argument(
        "--unit", choices=UNITS, help="compare: the unit of the scores (default: percent if one is above 1)"
    )
    command.add_argument("--network", help="compare: one of several networks of the table, or of MY.csv")


def run(options: argparse.Namespace) -> int:
    wanted = NAMES[options.action].split()
    if len(options.names) != len(wanted):
        given = " ".join(options.names) or "nothing"
        raise ValueError(f"expected minifa results {options.action} {' '.join(wanted)}".rstrip() + f", got {given}")
    for option, action in {"csv": "show", "score": "compare", "unit": "compare", "network": "compare"}.items():
        if getattr(options, option) and options.action != action:
            raise ValueError(f"--{option} belongs to minifa results {action}, not to {options.action}")
    if options.action == "list":
        print(_list())
        return OK
    chosen = results_archive.load(options.names[-1])
    if options.action == "compare":
        print(_compare(options, chosen))
    elif options.csv:
        columns = list(chosen.lines[0])
        print(csv_files.text_of([columns, *([line[key] for key in columns] for line in chosen.lines)]), end="")
    else:
        print(_show(chosen))
    return OK


def _list() -> str:
    lines = {}
    for name in results_archive.names():
        one = results_archive.load(name)
        counts = sorted({scores.n for scores in one.scores().values()})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seed{'s' * (counts[0] > 1)}"
        lines[name] = f"{one.facts['title']}: {one.measure.name}, {len(one.scores())} rows, {seeds}"
    hint = "minifa results show NAME shows a table, minifa results compare MY.csv NAME compares your runs with it"
    return f"{entries(lines)}\n\n{wrap(hint)}"


# A table


def _show(one: Table) -> str:
    scores, differences = one.scores(), one.from_reference()
    peers = {engine: one.scores(engine) for engine in one.engines if engine != ENGINE}
    reference = one.facts.get("reference", "bp")
    columns = ("row", "lr", "runs", "score", f"vs {reference}", "s.e.", "95 % interval", "df", *peers)
    rows = []
    for key, mine in scores.items():
        diverged = f", {one.diverged(key)} diverged" if one.diverged(key) else ""
        cells = (one.value(key, "lr"), f"{mine.n}{diverged}", mine.shown(one.measure))
        beside = [theirs[key].shown(one.measure) if key in theirs else "" for theirs in peers.values()]
        rows.append((key, (*cells, *_difference(differences.get(key), one), *beside)))
    shown = _by_network(columns, rows, right_from=2)
    texts = wrap(one.facts["title"]), shown, wrap(_legend(one)), _facts(one), wrap(one.facts.get("judgement", UNKNOWN))
    return "\n\n".join(texts)


def _by_network(columns: Sequence[str], rows: Sequence[tuple[Key, Sequence[str]]], right_from: int) -> str:
    """A text table of the rows of every network, below its name."""
    blocks = []
    for network in dict.fromkeys(key[0] for key, _ in rows):
        lines = [columns, *((key[1], *cells) for key, cells in rows if key[0] == network)]
        blocks += [network] if network else []
        blocks.append(table(lines, right_from=right_from, width=terminal_width()))
    return "\n\n".join(blocks)


def _difference(difference: Difference | None, one: Table) -> tuple[str, str, str, str]:
    """Mean, standard error, interval and degrees of freedom as cells; * behind the mean of unpaired runs."""
    if difference is None:
        return "", "", "", ""
    mean = one.measure.shown(difference.mean, "+") + "*" * (not difference.paired)
    if difference.low is None or difference.high is None or difference.standard_error is None:
        return mean, "-", "-", "-"
    if difference.standard_error < SAME * one.measure.full:
        return mean, one.measure.shown(0.0), NO_WIDTH, f"{difference.df:.3g}"
    return (
        mean,
        one.measure.shown(difference.standard_error),
        f"{difference.low:+.{one.measure.decimals}f} to {difference.high:+.{one.measure.decimals}f}",  # -0.00: below 0
        f"{difference.df:.3g}",
    )


def _legend(one: Table) -> str:
    measure, when = one.measure, one.facts.get("measured", UNKNOWN)
    better = "higher" if measure.higher_is_better else "lower"
    differences = one.from_reference().values()
    texts = [f"score: {measure.name} ({when}), mean ± sd over runs, each from another seed; {better} is better."]
    if any(one.diverged(key) for key in one.scores()):
        texts.append("A run that diverged counts with its last score.")
    if differences:
        reference = one.facts.get("reference", "bp")
        texts.append(
            f"vs {reference}: mean difference from {reference}, paired by seed, over the seeds that both rows have, "
            "with its standard error, 95 % t interval and degrees of freedom. They are about other seeds, not about "
            "other test examples."
        )
    if not all(difference.paired for difference in differences):
        texts.append("*: not paired (Welch), because no common seed is recorded.")
    if any(difference.low is None for difference in differences):
        texts.append("-: one pair or one run gives no interval.")
    if any(NO_WIDTH in _difference(difference, one) for difference in differences):
        texts.append(f"{NO_WIDTH}: the difference is the same under every seed, from which no interval follows.")
    peers = [engine for engine in one.engines if engine != ENGINE]
    texts += [f"{' and '.join(peers)}: scores from elsewhere, see peers."] if peers else []
    texts.append("minifa rules explains the rules.")
    return " ".join(texts)


def _facts(one: Table) -> str:
    seeds = sorted({seed for scores in one.scores().values() for seed in scores.by_seed})
    by_default = ", ".join(map(str, seeds)) or UNKNOWN
    known = {SHOWN_AS.get(key, key): str(one.facts.get(key, UNKNOWN)) for key in FACTS}
    files = ", ".join(dict.fromkeys(source["file"] for source in one.facts["source"]))
    return entries({**known, "seeds": one.facts.get("seeds", by_default), "in tutorials/results": files})


# Comparison


def _compare(options: argparse.Namespace, one: Table) -> str:
    path = options.names[0]
    mine = score_files.read_scores(path, one.measure, options.score, options.unit)
    scores = results_archive.of_network(mine.scores, one, options.network)
    found = results_archive.compare(scores, one)
    if not found.common:
        raise ValueError(
            f"'{path}' and the table {one.name} have no row in common: {_listed(scores)} in the file, "
            f"{_listed(one.scores())} in the table"
        )
    columns = ("row", "mine", "archive", "verdict", "difference", "s.e.", "95 % interval", "df")
    rows = []
    for row in found.common:
        both = [f"{some.shown(one.measure)} ({some.n})" for some in (row.mine, row.archived)]
        mean, *others = _difference(row.difference, one)
        words = (cell.replace(" ", "\u00a0") for cell in (*both, row.verdict))  # a line break inside is hard to read
        rows.append((row.key, (*words, mean.rstrip("*"), *others)))
    networks = {key[0] for key in scores}
    missing = [key for key in found.only_archived if key[0] in networks]
    notes = _notes(one, mine, found.common, found.only_mine, missing)
    shown = _by_network(columns, rows, right_from=4)
    return "\n".join([wrap(f"{path} beside {one.name}: {one.facts['title']}"), "", shown, "", *map(wrap, notes)])


def _listed(keys: Iterable[Key], most: int = 12) -> str:
    return listed((" ".join(filter(None, key)) for key in keys), most)


def _other_rates(common: Sequence[RowComparison]) -> list[str]:
    """The rows with a known learning rate in the file that is not the archive's."""
    return [
        f"{' '.join(filter(None, row.key))} {row.mine.rate} (archive: {row.archived.rate})"
        for row in common
        if row.mine.rate and row.archived.rate and _rate(row.mine.rate) != _rate(row.archived.rate)
    ]


def _rate(cell: str) -> float | str:
    """A rate as a number with six digits; text as it is, as "0.003 then 0.001" of phases."""
    try:
        return float(f"{float(cell):.6g}")
    except ValueError:
        return cell


def _notes(
    one: Table,
    mine: FileScores,
    common: Sequence[RowComparison],
    only_mine: Sequence[Key],
    only_archived: Sequence[Key],
) -> list[str]:
    measure = one.measure
    unit = f" ({mine.unit})" if mine.unit else ""
    better = "higher" if measure.higher_is_better else "lower"
    notes = [
        f"mine: the column {mine.column}{unit}, as {measure.name}; archive: {measure.name} "
        f"({one.facts.get('measured', UNKNOWN)}); mean ± sd (number of runs); {better} is better. difference: mine - "
        "archive, with Welch's standard error, 95 % t interval and degrees of freedom; seeds are not paired. A "
        "difference is shown if the interval excludes 0; by chance it does in one of twenty rows without any."
    ]
    epochs = one.facts.get("epochs")
    if mine.epochs and epochs is not None and mine.epochs != [epochs]:
        notes.append(f"epochs: {', '.join(map(str, mine.epochs[:8]))} in the file, {epochs} in the archive")
    rates = _other_rates(common)
    notes += [f"other learning rates, which may explain a difference: {listed(rates)}"] if rates else []
    several = "in the whole file, " * (len({key[0] for key in mine.scores}) > 1)
    shared = sorted({seed for row in common for seed in row.mine.by_seed.keys() & row.archived.by_seed.keys()})
    if shared:
        notes.append(
            f"seeds in both: {listed(map(str, shared))}. Under one seed minifa starts from the same weights, but the "
            "interval takes all runs as independent: give your runs other seeds"
        )
    notes += [several + note for note in mine.notes]
    notes += [f"only in the file: {_listed(only_mine)}"] if only_mine else []
    notes += [f"only in the archive: {_listed(only_archived)}"] if only_archived else []
    return notes
