"""Every table of tutorials/results/README.md as its CSV files have it: cell by cell, by plain statistics.

A table of the page is a fenced block under a heading. `TABLES` names for every heading the CSV files, and a function
that makes the cells from them: for each part of the block (parts are separated by an empty line) a list of rows, the
first of which is the header. Nothing here uses minifa's own tables or statistics.

To add a table, write an entry; `python tests/support/result_tables.py HEADING-AS-ANCHOR` prints its block.
"""

from __future__ import annotations

import csv
import functools
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "tutorials" / "results"
Line = dict[str, str]
Lines = list[Line]
Groups = dict[str, Lines]  # the lines of each row of the table
Cell = Callable[[str, Lines], str]  # of the name and the lines of a row
Rows = list[list[str]]


class Table(NamedTuple):
    """A block of the page.

    Attributes:
        files: its CSV files, in tutorials/results.
        parts: makes the rows of each part.
        seconds: of training, of all runs together, if they are in the files.
    """

    files: Sequence[str]
    parts: Callable[[], list[Rows]]
    seconds: Callable[[], float] | None = None


# The lines of a file


@functools.cache
def read(name: str) -> tuple[Line, ...]:
    with open(FOLDER / name, newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def grouped(lines: Iterable[Line], *keys: str) -> Groups:
    """By the first key, or by several, joined by a space."""
    groups: Groups = {}
    for line in lines:
        groups.setdefault(" ".join(line[key] for key in keys), []).append(line)
    return groups


def by(name: str, *keys: str, **only: str) -> Groups:
    """The lines of a file with these values, grouped."""
    return grouped((line for line in read(name) if only.items() <= line.items()), *keys)


def at(epoch: int | None, lines: Lines) -> Lines:
    """The lines of this epoch, or of the last epoch of every seed."""
    seeds = grouped(lines, "seed").values()
    return [some[-1] if epoch is None else some[epoch] for some in seeds]


def ends(name: str, key: str = "rule") -> Groups:
    """The last epoch of every run."""
    return {row: at(None, lines) for row, lines in by(name, key).items()}


def best(name: str) -> Groups:
    """By row: of every run the epoch that is best on held-out examples."""

    def accuracy(line: Line) -> float:
        return float(line["validation_accuracy"])

    return {
        row: [max(run, key=accuracy) for run in grouped(lines, "seed").values()]
        for row, lines in by(name, "row").items()
    }


def assert_finished(name: str, epochs: int) -> None:
    assert {line["epoch"] for lines in ends(name, "row").values() for line in lines} == {str(epochs)}


def known(lines: Lines, column: str) -> list[float]:
    return [float(line[column]) for line in lines if line.get(column, "") != ""]


def total_seconds(lines: Iterable[Line]) -> float:
    """Of training: lines are epochs, or rows with a mean over seeds."""
    return sum(float(line["seconds"]) * int(line.get("seeds", 1)) for line in lines if line["seconds"])


def training(*names: str) -> Callable[[], float]:
    """The seconds of training of all runs in these files."""
    return lambda: sum(total_seconds(read(name)) for name in names)


def made_by(line: Line) -> list[tuple[str, str]]:
    """Versions and commits: two of a run that was resumed at another commit."""
    return re.findall(r"([\d.]+) \((\w+)\)", line.get("made_by", ""))


# Cells


def plus_minus(values: Sequence[float], digits: int = 3, scale: float = 1.0) -> str:
    if not values:
        return ""
    mean = f"{scale * statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


def name_of_row(row: str, lines: Lines) -> str:
    return row


def text(column: str) -> Cell:
    return lambda row, lines: lines[0][column]


def number(column: str, form: str = "g", scale: float = 1.0) -> Cell:
    """The value of the first line; empty if there is none."""
    return lambda row, lines: f"{scale * float(lines[0][column]):{form}}" if lines[0].get(column) else ""


def score(column: str, digits: int = 3, scale: float = 1.0) -> Cell:
    """Mean and sd over the lines."""
    return lambda row, lines: plus_minus(known(lines, column), digits, scale)


def stated(digits: int = 2, scale: float = 1.0, mean: str = "mean", sd: str = "sd") -> Cell:
    """Mean and sd as the file has them."""

    def cell(row: str, lines: Lines) -> str:
        if not lines:
            return ""
        centre = f"{scale * float(lines[0][mean]):.{digits}f}"
        return f"{centre} ± {scale * float(lines[0][sd]):.{digits}f}" if lines[0].get(sd) else centre

    return cell


def mean(form: str, *columns: str) -> Cell:
    """Mean over lines and columns; "-" if there is no value."""

    def cell(row: str, lines: Lines) -> str:
        values = [value for column in columns for value in known(lines, column)]
        return form.format(statistics.fmean(values)) if values else "-"

    return cell


def where(groups: Groups, cell: Cell) -> Cell:
    """The cell of the row of this name in other lines; empty if they have none."""
    return lambda row, lines: cell(row, groups[row]) if row in groups else ""


def peer(name: str, scale: float = 1.0, digits: int = 3, **only: str) -> Cell:
    return where(by(name, "rule", **only), stated(digits, scale))


def rows(groups: Groups, *columns: tuple[str, Cell]) -> Rows:
    return [[title for title, _ in columns], *([cell(*one) for _, cell in columns] for one in groups.items())]


# Differences, paired by seed

T_95 = {1: 12.706, 2: 4.303, 4: 2.776}  # quantile 0.975 of Student's t, by degrees of freedom


def paired(lines: Lines, reference: Lines) -> list[str]:
    """Mean difference from the reference, its standard error over the seeds, and the 95 % t interval."""
    others = {line["seed"]: accuracy_of(line) for line in reference}
    centre, error, low, high = interval([accuracy_of(line) - others[line["seed"]] for line in lines])
    return [f"{centre:+.3f}", f"{error:.3f}", f"{low:+.3f} to {high:+.3f}"]


def interval(found: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean, standard error and 95 % t interval of the differences under single seeds."""
    centre, error = statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))
    return centre, error, centre - T_95[len(found) - 1] * error, centre + T_95[len(found) - 1] * error


def in_points(flags: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], digits: int = 1) -> list[str]:
    """Mean difference of two accuracies, standard errors of the seeds and of the test images, and t interval, with so
    many digits, all in points, from the correct answers (1) of both under the same seeds: (seeds, images)."""
    centre, error, low, high = interval(
        [100 * (statistics.fmean(mine) - statistics.fmean(other)) for mine, other in zip(flags, reference, strict=True)]
    )
    images = error_of_images(flags, reference)
    return [f"{centre:+.2f}", f"{error:.2f}", f"{images:.2f}", f"{low:+.{digits}f} to {high:+.{digits}f}"]


def error_of_images(flags: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> float:
    """The standard error of the common test images, in points."""
    by_image = [
        statistics.fmean(mine) - statistics.fmean(other)
        for mine, other in zip(zip(*flags, strict=True), zip(*reference, strict=True), strict=True)
    ]
    return 100 * statistics.stdev(by_image) / math.sqrt(len(by_image))


def bits(digits: str, count: int) -> list[int]:
    """The first ``count`` bits of hexadecimal digits, the highest first."""
    return [int(bit) for bit in f"{int(digits, 16):0{4 * len(digits)}b}"[:count]]


def accuracy_of(line: Line) -> float:
    """At the end of a run: of its last epoch, or the last of all epochs in a cell."""
    return float((line.get("test_accuracy") or line["accuracy"]).split()[-1])


BESIDE_BP = ("from bp", "s.e.", "95 % interval")


def beside_bp(groups: Groups) -> list[tuple[str, Cell]]:
    """Columns of the paired differences from bp."""

    def of(i: int) -> Cell:
        return lambda row, lines: paired(lines, groups["bp"])[i] if row != "bp" else ""

    return [(title, of(i)) for i, title in enumerate(BESIDE_BP)]


IN_POINTS = ("points", "s.e. seeds", "s.e. images", "95 % interval")


# Tables of `minifa compare`


def with_remark(row: str, lines: Lines) -> str:
    diverged = " diverged" if any(line["diverged"] == "1" for line in lines) else ""
    return score("test_accuracy")(row, lines) + diverged


def weight_angle(row: str, lines: Lines) -> str:
    """Mean over layers and seeds."""
    columns = [column for column in lines[0] if column.endswith(".weight_angle")]
    return mean("{:.1f}°", *columns)(row, lines)


def ms_per_step(name: str, batch: int = 64) -> Cell:
    """Median over the seeds of the median over the epochs."""
    groups = by(name, "rule")

    def of_run(lines: Lines) -> float:
        trained = [line for line in lines if line["seconds"]]
        images = round(float(trained[0]["images_per_second"]) * float(trained[0]["seconds"]))
        return 1000 * statistics.median(known(trained, "seconds")) / math.ceil(images / batch)

    return lambda row, lines: f"{statistics.median(map(of_run, grouped(groups[row], 'seed').values())):.1f}"


def compared(name: str, *more: tuple[str, Cell], lowest: str = "conv1") -> Rows:
    """The first table of `minifa compare`."""
    columns = [("rule", name_of_row), ("lr", number("rate")), ("score", with_remark), *more]
    columns += [("weight angle", weight_angle), ("true angle", mean("{:.1f}°", f"{lowest}.true_angle"))]
    return rows(ends(name), *columns, ("ms/step", ms_per_step(name)))


def angles(name: str) -> Rows:
    """Its second table: the angle of the error at every layer."""
    layers = [column[: -len(".true_angle")] for column in read(name)[0] if column.endswith(".true_angle")]
    layers.sort(key=lambda layer: (layer.startswith("linear"), layer))
    return rows(
        ends(name), ("true angle", name_of_row), *((one, mean("{:.1f}", f"{one}.true_angle")) for one in layers)
    )


def reproduced(name: str, published: bool, digits: int = 2) -> list[tuple[str, Cell]]:
    """Columns of a table of `minifa reproduce`."""
    first = [("row", text("row")), ("rule", text("rule")), ("rate", rate), ("seeds", text("seeds"))]
    middle = [("published", number("published", f".{digits}f"))] if published else []
    return [*first, *middle, ("here", stated(digits))]


def rate(row: str, lines: Lines) -> str:
    """The rate, or those of the phases."""
    return " then ".join(f"{float(one):g}" for one in lines[0]["lr"].split(" then "))


FROM_PUBLISHED = [("from published", number("difference", "+.2f")), ("s.e.", number("standard_error", ".2f"))]
MINUTES = ("minutes", number("seconds", ".1f", 1 / 60))


# The tables of the page


def cifar10_20_epochs() -> list[Rows]:
    name = "reproduce-cifar10_moskovitz/table.csv"
    return [rows(by(name, "row"), *reproduced(name, True), *FROM_PUBLISHED, MINUTES)]


C50 = "reproduce-cifar10_moskovitz-50"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLAIMS = {"usf-strict": ("within", 2), "frsf": ("within", 2), "fa-kernel": ("behind", 15), "fa-dense": ("behind", 15)}


def cifar10() -> list[Rows]:
    name, runs = f"{C50}/table.csv", by(f"{C50}/runs.csv", "row")
    assert_finished(f"{C50}/peer.csv", 50)
    torch = ("PyTorch", where(best(f"{C50}/peer.csv"), score("test_accuracy", 2, 100)))
    scores = rows(by(name, "row"), *reproduced(name, True), torch, *FROM_PUBLISHED, MINUTES)
    shares = {row: [list(map(float, line["classes"].split())) for line in lines] for row, lines in runs.items()}
    by_class = [["class", *runs]]
    for i, one in enumerate(CLASSES):
        by_class.append([one, *(plus_minus([share[i] for share in some], 1, 100) for some in shares.values())])
    return [
        scores,
        in_points_beside_bp(runs, CLAIMS),
        by_epoch(f"{C50}/curves.csv"),
        by_class,
        *cifar10_angles([row for row in runs if row in CLAIMS]),
    ]


def by_epoch(name: str) -> Rows:
    """Points behind bp on held-out images, means of the differences of the seeds."""
    epochs = (1, 2, 5, 10, 20, 30, 40, 50)
    curves = {
        row: {(line["seed"], int(line["epoch"])): 100 * float(line["validation_accuracy"]) for line in lines}
        for row, lines in by(name, "row").items()
    }
    found = [["behind bp, held out", *map(str, epochs)]]
    for row, mine in curves.items():
        if row != "bp":
            gaps = {epoch: [curves["bp"][key] - mine[key] for key in mine if key[1] == epoch] for epoch in epochs}
            found.append([row, *(f"{statistics.fmean(gap):.1f}" for gap in gaps.values())])
    return found


def in_points_beside_bp(runs: Groups, claims: Mapping[str, tuple[str, float]] | None = None, digits: int = 1) -> Rows:
    """Differences from bp in points of accuracy on 10,000 test images, and what the t interval says of a claim."""
    flags = {
        row: {line["seed"]: bits(line["correct"], 10_000) for line in sorted(lines, key=lambda line: int(line["seed"]))}
        for row, lines in runs.items()
    }
    found = [["from bp", "seeds", *IN_POINTS, *(("claim", "verdict") if claims else ())]]
    for row in runs:
        if row != "bp":
            seeds = [seed for seed in flags[row] if seed in flags["bp"]]
            cells = in_points([flags[row][seed] for seed in seeds], [flags["bp"][seed] for seed in seeds], digits)
            found.append([row, str(len(seeds)), *cells])
            if claims:
                claim, limits = claims.get(row), map(float, cells[-1].split(" to "))
                found[-1] += [said(claim), verdict(claim, *limits)] if claim else ["", ""]
    return found


def verdict(claim: tuple[str, float], low: float, high: float) -> str:
    """Whether a claim of the recipe about accuracy minus bp's holds in the whole interval, nowhere in it, or in a part
    of it."""
    kind, points = claim
    least, most = (-points, points) if kind == "within" else (-math.inf, -points)
    if least <= low and high <= most:
        return "holds"
    return "not decided" if low <= most and high >= least else "does not hold"


def said(claim: tuple[str, float]) -> str:
    kind, points = claim
    return f"{kind} {points:g}"


def cifar10_angles(some: Sequence[str]) -> list[Rows]:
    """Mean over the seeds at some epochs: of the error, and of W and B with the share of equal signs."""
    curves = by(f"{C50}/curves.csv", "row")
    hidden, feedback = ("conv1", "conv2", "linear1", "linear2"), ("conv2", "linear1", "linear2", "linear3")
    errors = [["angle of the error", "epoch", *hidden]]
    matrices = [["angle of W and B", "epoch", *feedback, "equal signs"]]
    for row in some:
        for epoch in (0, 1, 10, 50):
            lines = [line for line in curves[row] if line["epoch"] == str(epoch)]
            start = [row, str(epoch)]
            errors.append([*start, *(mean("{:.1f}", f"{layer}.true_angle")(row, lines) for layer in hidden)])
            cells = [mean("{:.1f}", f"{layer}.weight_angle")(row, lines) for layer in feedback]
            signs = mean("{:.3f}", *(f"{layer}.sign_agreement" for layer in feedback))(row, lines)
            matrices.append([*start, *cells, signs])
    return [errors, matrices]


KINDS = ("lossless", "copy")


def jpeg() -> list[Rows]:
    """Accuracies in %, and differences in points from the networks trained and tested on lossless images."""
    lines = [{**line, "network": f"{line['rule']} {line['engine']}"} for line in read("jpeg/runs.csv")]
    columns = [("rule", text("rule")), ("engine", text("engine")), ("trained on", text("images"))]
    columns += [(f"tested on {kind}", score(kind, 2, 100)) for kind in KINDS]
    runs = grouped(lines, "network", "images")

    def flags(network: str, trained: str, tested: str) -> list[list[int]]:
        by_seed = sorted(runs[f"{network} {trained}"], key=lambda line: int(line["seed"]))
        return [bits(line[f"correct_{tested}"], 1000) for line in by_seed]

    found = [["difference", *IN_POINTS]]
    for network in grouped(lines, "network"):
        rule, engine = network.split()
        plain = flags(network, "lossless", "lossless")
        for what, *kinds in (
            ("trained and tested on the copy", "copy", "copy"),
            ("trained on the copy", "copy", "lossless"),
            ("tested on the copy", "lossless", "copy"),
        ):
            found.append([f"{rule}, {engine}: {what}", *in_points(flags(network, *kinds), plain)])
    for kind in KINDS:
        two = (flags(f"{rule} minifa", kind, kind) for rule in ("usf", "bp"))
        found.append([f"usf - bp, {kind} images", *in_points(*two)])
    return [rows(runs, *columns), found]


DEPTHS = ("1", "2", "4", "6 or 8")


def deepest(depth: str) -> str:
    return "6 or 8" if depth in ("6", "8") else depth


def depth() -> list[Rows]:
    """Last accuracies, and last angles: with "=" where the mean lies within the means of the ends of chance."""
    cells = grouped(read("explorer/runs.csv"), "family", "rule", "engine")
    scores, errors = [["network", "rule", *DEPTHS]], [["network", "rule", *DEPTHS]]
    for family in ("mlp", "cnn", "cnn-batch-norm"):
        for rule in ("bp", "usf", "frsf", "fa", "dfa", "shallow"):
            for engine, remark in (("minifa", ""), ("PyTorch", ", PyTorch")):
                lines = cells.get(f"{family} {rule} {engine}", [])
                columns = grouped(({**line, "depth": deepest(line["depth"])} for line in lines), "depth")
                if columns:
                    last = [[accuracy_of(line) for line in columns[one]] for one in DEPTHS]
                    scores.append([family, rule + remark, *map(plus_minus, last)])
                if any(line["true_angle"] for line in lines):
                    errors.append([family, rule, *(angle_beside_chance(columns[one]) for one in DEPTHS)])
    return [scores, deepest_beside_bp(cells), errors]


def deepest_beside_bp(cells: Groups) -> Rows:
    found = [["6 or 8", "rule", *BESIDE_BP]]
    for family in ("mlp", "cnn", "cnn-batch-norm"):
        bp = [line for line in cells[f"{family} bp minifa"] if line["depth"] in ("6", "8")]
        for rule in ("usf", "frsf", "fa", "dfa", "shallow"):
            lines = [line for line in cells[f"{family} {rule} minifa"] if line["depth"] in ("6", "8")]
            found.append([family, rule, *paired(lines, bp)])
    return found


def angle_beside_chance(lines: Lines) -> str:
    angle = statistics.fmean(float(line["true_angle"].split()[-1]) for line in lines)
    low, high = (statistics.fmean(float(line["true_chance"].split()[end]) for line in lines) for end in (0, 1))
    return f"{'=' if round(low, 2) <= angle <= round(high, 2) else ''}{angle:.1f}"


def five_seeds() -> list[Rows]:
    groups = ends("compare-digits-cnn-five-seeds/runs.csv")
    columns = [("rule", name_of_row), ("lr", number("rate")), ("minifa", with_remark), *beside_bp(groups)]
    return [rows(groups, *columns, ("PyTorch", peer("peer/first-table.csv")))]


def grid_of_rates() -> list[Rows]:
    """Mean over the seeds of every rate; "*" at the best."""
    found = [["held-out score", *sorted({line["lr"] for line in read("rates/cnn/trials.csv")}, key=float)]]
    for rule in ("bp", "usf", "frsf", "fa", "shallow"):
        some = by("rates/cnn/trials.csv", "lr", rule=rule)
        means = {lr: statistics.fmean(known(some[lr], "score")) for lr in found[0][1:]}
        best = max(means, key=lambda lr: (means[lr], -float(lr)))
        found.append([rule, *(f"{means[lr]:.3f}{'*' if lr == best else ''}" for lr in found[0][1:])])
    found[0][1:] = [f"{float(lr):g}" for lr in found[0][1:]]
    return [found]


def long_adam() -> list[Rows]:
    groups = by("compare-long-adam/runs.csv", "rule")

    def reached(row: str, lines: Lines) -> str:
        runs = grouped(lines, "seed").values()
        return ", ".join(
            str(next(i for i, line in enumerate(run) if float(line["test_accuracy"]) >= 0.9)) for run in runs
        )

    def after(epoch: int) -> tuple[str, Cell]:
        return f"after {epoch}", lambda row, lines: score("test_accuracy")(row, at(epoch, lines))

    ordered = {rule: groups[rule] for rule in ("bp", "fa")}
    columns = [("rule", name_of_row), ("first epoch with 0.9", reached)]
    return [rows(ordered, *columns, *map(after, (15, 60, 150)))]


def deep_adam() -> list[Rows]:
    columns = [("rule", name_of_row), ("minifa", with_remark), ("PyTorch", peer("peer/deep-adam.csv"))]
    return [rows(ends("compare-deep-adam/runs.csv"), *columns)]


def mnist_hidden() -> list[Rows]:
    bp, fa = (read(f"train-mnist-mlp-{rule}/history.csv") for rule in ("bp", "fa"))
    columns = [
        ("epoch", text("epoch")),
        ("bp test accuracy", lambda row, lines: f"{float(lines[1]['test_accuracy']):.4f}"),
        ("fa test accuracy", number("test_accuracy", ".4f")),
        ("fa W,B linear2", mean("{:.1f}°", "linear2.weight_angle")),
        ("fa error at linear1", mean("{:.1f}°", "linear1.true_angle")),
    ]
    only_accuracy = [{"test_accuracy": line["test_accuracy"]} for line in bp]
    return [rows({line["epoch"]: [line, only_accuracy[i]] for i, line in enumerate(fa)}, *columns)]


def lenet_rows() -> Groups:
    """The recipe's rates, and where they belong to another rule, our own."""
    first, own = (by(f"reproduce-mnist_lenet{more}/table.csv", "row") for more in ("", "-own-rates"))
    return {row: first[row] for row in ("bp", "fa", "usf", "frsf")} | {row: own[row] for row in ("brsf", "dfa-stage")}


def lenet() -> list[Rows]:
    return [rows(lenet_rows(), *reproduced("", True))]


def lenet_20(data: str) -> Callable[[], list[Rows]]:
    """Test errors in % beside BioTorch's and PyTorch's, and differences from bp."""

    def parts() -> list[Rows]:
        folder = f"reproduce-{data}_lenet_20"
        peers = ends(f"{folder}/peer.csv", "row")
        assert_finished(f"{folder}/peer.csv", 20)
        errors = {
            row: [{"error": str(100 * (1 - float(line["test_accuracy"])))} for line in lines]
            for row, lines in peers.items()
        }
        columns = [*reproduced("", True), ("PyTorch", where(errors, score("error", 2))), *FROM_PUBLISHED, MINUTES]
        table = rows(by(f"{folder}/table.csv", "row"), *columns)
        return [table, in_points_beside_bp(by(f"{folder}/runs.csv", "row"), digits=2)]

    return parts


def by_data_set() -> list[Rows]:
    """Accuracies in %, points behind bp with their interval, and what it says of the claim, on five networks."""
    found: dict[str, dict[str, dict[str, float]]] = {}  # network, rule, seed
    for title, groups, renamed in (
        ("digits, 8 layers", by("survey/survey.csv", "rule", network="deep-mlp"), {}),
        ("digits, 6 convolutions", ends("compare-digits-cnn-five-seeds/runs.csv"), {}),
        ("MNIST", by("reproduce-mnist_lenet_20/runs.csv", "row"), {}),
        ("Fashion-MNIST", by("reproduce-fashion_lenet_20/runs.csv", "row"), {}),
        ("CIFAR-10", by(f"{C50}/runs.csv", "row"), {"usf": "usf-strict", "fa": "fa-kernel"}),
    ):
        some = {rule: groups.get(renamed.get(rule, rule), []) for rule in ("bp", "usf", "frsf", "fa", "shallow")}
        found[title] = {
            rule: {line["seed"]: 100 * float(line["test_accuracy"]) for line in lines} for rule, lines in some.items()
        }
    digits = {title: 1 if "digits" in title else 2 for title in found}

    def mean_of(title: str, rule: str) -> str:
        return plus_minus([*found[title][rule].values()], digits[title])

    def behind(title: str, rule: str) -> tuple[float, float, float]:
        reference = found[title]["bp"]
        centre, _, low, high = interval([reference[seed] - score for seed, score in found[title][rule].items()])
        return centre, low, high

    def written(title: str, rule: str) -> str:
        return with_interval(behind(title, rule), digits[title]) if found[title][rule] else ""

    def judged(title: str, rule: str) -> str:
        _, low, high = behind(title, rule)
        return verdict(claims[rule], -high, -low)

    def in_pytorch(title: str, rule: str) -> str:
        scores = peers.get(title, {})
        return f"{scores['bp'] - scores[rule]:.{digits[title]}f}" if rule in scores else ""

    peers = means_in_pytorch()
    claims = {"usf": ("within", 2), "frsf": ("within", 2), "fa": ("behind", 15)}
    rules = [*found["MNIST"]]
    return [
        [["accuracy", *found], *([rule, *(mean_of(title, rule) for title in found)] for rule in rules)],
        [
            ["behind bp", *found],
            *([rule, *(written(title, rule) for title in found)] for rule in rules if rule != "bp"),
        ],
        [
            ["claim", *found],
            *([f"{rule} {said(claim)}", *(judged(title, rule) for title in found)] for rule, claim in claims.items()),
        ],
        [
            ["PyTorch, behind bp", *found],
            *([rule, *(in_pytorch(title, rule) for title in found)] for rule in rules if rule != "bp"),
        ],
    ]


def means_in_pytorch() -> dict[str, dict[str, float]]:
    """Accuracies in % by network and rule; on CIFAR-10 there is only bp."""
    means = {}
    for title, name in (("digits, 8 layers", "survey-deep-mlp"), ("digits, 6 convolutions", "first-table")):
        means[title] = {rule: 100 * float(line["mean"]) for rule, (line,) in by(f"peer/{name}.csv", "rule").items()}
    for title, name in (("MNIST", "mnist"), ("Fashion-MNIST", "fashion")):
        runs = ends(f"reproduce-{name}_lenet_20/peer.csv", "row")
        means[title] = {rule: 100 * statistics.fmean(map(accuracy_of, lines)) for rule, lines in runs.items()}
    return means


NETWORKS = ("mlp", "deep-mlp", "cnn", "cnn-batch-norm")


def survey() -> list[Rows]:
    """Accuracies on every network, the other columns on one; below PyTorch's accuracies."""

    def on(network: str, cell: Cell) -> Cell:
        def of_network(row: str, lines: Lines) -> str:
            mine = [line for line in lines if line["network"] == network]
            return mine[0]["not_run"].partition(":")[0] or cell(row, mine)

        return of_network

    def accuracy(row: str, lines: Lines) -> str:
        return score("test_accuracy")(row, lines) + "*" * any(line["diverged"] == "1" for line in lines)

    def measured(column: str, form: str) -> Cell:
        """Mean over seeds on the deep MLP; "-" if a seed has no such number."""

        def cell(row: str, lines: Lines) -> str:
            deep = [line for line in lines if line["network"] == "deep-mlp" and not line["not_run"]]
            values = known(deep, column)
            return form.format(statistics.fmean(values)) if values and len(values) == len(deep) else "-"

        return cell

    columns = [(network, on(network, accuracy)) for network in NETWORKS]
    columns += [("to .9", measured("epochs_to_90", "{:.1f}")), ("angle", measured("true_angle", "{:.1f}"))]
    columns += [("products", measured("products", "{:.2f}")), ("feedback", measured("feedback_numbers", "{:,.0f}"))]
    peers = [(one, peer(f"peer/survey-{one}.csv")) for one in NETWORKS]
    engine = by("peer/survey-mlp.csv", "rule")
    runs_first = sorted(read("survey/survey.csv"), key=lambda line: not line["seed"])  # in the order of the rules
    return [
        rows(grouped(runs_first, "rule"), ("rule", name_of_row), *columns),
        rows(engine, ("PyTorch", name_of_row), *peers),
    ]


def targets_digits() -> list[Rows]:
    """Angles at the activations, or, where a rule computes its errors there, at the weighted layers."""

    def three(quantity: str) -> Cell:
        def cell(row: str, lines: Lines) -> str:
            for layer in ("tanh", "linear"):
                values = [lines[0][f"{layer}{i}.{quantity}"] for i in (1, 2, 3)]
                if all(values):
                    return " ".join(f"{float(value):.0f}" for value in values)
            return "-"

        return cell

    def error(row: str, lines: Lines) -> str:
        """The file has the standard error of the mean in place of the sd."""
        mean, of_mean, n = (float(lines[0][key]) for key in ("mean", "standard_error", "seeds"))
        return f"{mean:.2f} ± {of_mean * math.sqrt(n):.2f}"

    columns = [
        ("row", name_of_row),
        ("error", error),
        ("bp: start", three("bp_angle.0")),
        ("epoch 1", three("bp_angle.1")),
        ("end", three("bp_angle.end")),
        ("GN: end", three("gn_angle.end")),
        ("seconds", number("seconds", ".1f")),
    ]
    return [rows(by("reproduce-digits_targets/targets.csv", "row"), *columns)]


def targets_mnist() -> list[Rows]:
    name = "reproduce-mnist_targets/table.csv"
    more = [*FROM_PUBLISHED, ("PyTorch", peer("peer/mnist-targets.csv", 100, 1)), MINUTES]
    return [rows(by(name, "row"), *reproduced(name, True), *more)]


def parity() -> list[Rows]:
    runs = by("reproduce-digits_parity/curves.csv", "row")

    def two(epoch: int | None) -> Cell:
        def cell(row: str, lines: Lines) -> str:
            some = at(epoch, runs[row])
            shown = [mean("{:.0f}°", f"linear{i}.true_angle")(row, some) for i in (1, 2)]
            return "" if "-" in shown else " ".join(f"{one:>4}" for one in shown).strip()

        return cell

    columns = [
        ("row", name_of_row),
        ("rate", rate),
        ("minifa", where({row: at(None, lines) for row, lines in runs.items()}, score("test_accuracy"))),
        ("PyTorch", peer("peer/digits-parity.csv")),
        ("angles: start", two(0)),
        ("end", two(None)),
    ]
    return [rows(by("reproduce-digits_parity/table.csv", "row"), *columns)]


def forward_forward() -> list[Rows]:
    return [rows(ends("forward_forward/runs.csv"), ("rule", name_of_row), ("score", with_remark))]


def engines(name: str, key: str, column: str) -> tuple[Groups, list[tuple[str, Cell]]]:
    """Rows of minifa, and the columns of both engines."""
    own, other = (by(name, key, engine=engine) for engine in ("minifa", "PyTorch"))
    return own, [("minifa", score(column)), ("PyTorch", where(other, score(column)))]


def local_digits() -> list[Rows]:
    own, scores = engines("local/runs.csv", "rule", "accuracy")
    return [rows(own, ("rule", name_of_row), ("lr", number("lr")), *scores[:1], *beside_bp(own), *scores[1:])]


def local_mnist() -> list[Rows]:
    name = "reproduce-mnist_local/table.csv"
    other = where(by("local/mnist.csv", "row"), number("test_error", ".2f"))
    return [rows(by(name, "row"), *reproduced(name, True), ("PyTorch", other), MINUTES)]


def one_and_eight() -> list[Rows]:
    def remark(row: str, lines: Lines) -> str:
        count = sum(line["diverged"] == "1" for line in lines)
        return score("test_accuracy")(row, lines) + (f", {count} of {len(lines)} diverged" if count else "")

    def part(what: str, name: str) -> Rows:
        other = peer(f"peer/local-{name}.csv")
        columns = [(what, name_of_row), ("lr", number("rate")), ("minifa", remark), ("PyTorch", other)]
        return rows(ends(f"compare-local-digits-{name}/runs.csv"), *columns)

    return [part("500", "mlp"), part("8 x 64", "deep")]


def noise() -> list[Rows]:
    name, common = "noise/runs.csv", "0.005"
    engine = {"minifa": "", "PyTorch": " (PyTorch)"}
    lines = [{**line, "row": line["rule"] + engine[line["engine"]]} for line in read(name)]

    def at_rate(own: bool) -> list[tuple[str, Cell]]:
        def chosen(cell: Cell) -> Cell:
            return lambda row, some: cell(row, [line for line in some if (line["lr"] != common) == own])

        cells = [("lr", number("lr")), ("test accuracy", score("accuracy")), ("angle", mean("{:.1f}", "angle"))]
        return [(title, chosen(cell)) for title, cell in cells]

    return [rows(grouped(lines, "row"), ("rule", name_of_row), *at_rate(False), *at_rate(True))]


def bursts() -> list[Rows]:
    own, scores = engines("burst/runs.csv", "row", "test_accuracy")
    return [rows(own, ("row", name_of_row), *scores)]


HALF_VARIANCE = 16.459  # of the test inputs: tests/docs/test_results.py computes it


def autoencoder() -> list[Rows]:
    own = by("reproduce-digits_autoencoder/table.csv", "row")
    other = by("autoencoder/peer.csv", "rule")
    columns = [
        ("rule", name_of_row),
        ("rate", where(own, rate)),
        ("minifa", where(own, stated(3, 1 / HALF_VARIANCE))),
        ("PyTorch", score("unexplained_variance")),
        ("angle of V and W.T", lambda row, lines: mean("{:.0f}", "angle")(row, lines)),
    ]
    return [rows(other, *columns)]


def attacks(name: str) -> Table:
    def part(eps: str, epsilon: float) -> Rows:
        groups = grouped((line for line in read(name) if float(line["eps"]) == epsilon), "rule")

        def share(column: str) -> Cell:
            return lambda row, lines: number(column, ".3f")(row, lines) or "-"

        columns = [(eps, name_of_row), ("clean", share("clean")), ("signs", share("noise"))]
        for attack in ("fgsm", "pgd"):
            columns.append((f"{attack.upper()} own", share(f"{attack}_own")))
            columns += [(title, share(f"{attack}_{key}")) for title, key in THREE_GRADIENTS]
        return rows(groups, *columns, ("cosine", number("cosine", ".2f")))

    return Table([name], lambda: [part("eps 8/255", 8 / 255), part("eps 2/255", 2 / 255)])


THREE_GRADIENTS = (("true", "true"), ("margin", "margin"), ("from bp", "transfer"))


def which_rule() -> list[Rows]:
    confused = read("which_rule/confusion.csv")
    counts = {line["true"]: sum(int(line[name]) for name in line if name != "true") for line in confused}
    total, alike = sum(counts.values()), counts["fa"] + counts["information_alignment"]

    def share(value: float) -> str:
        return f"{value:.2f}"

    def part(title: str, score: str, sd: str, chance: float) -> Rows:
        found = [[title, *(name for name, _ in SPLITS)]]
        for (features, points), some in FEATURES.items():
            shown = []
            for _, split in SPLITS:
                (line,) = (
                    line
                    for line in read("which_rule/accuracy.csv")
                    if (line["features"], line["points"], line["split"]) == (features, points, split)
                )
                spread = f" ± {float(line[sd]):.2f}" if split == "75/25" else ""
                shown.append(share(float(line[score])) + spread)
            found.append([some, *shown])
        return [*found, ["chance", *[share(chance)] * len(SPLITS)]]

    return [
        part("four rules", "accuracy", "sd", max(counts.values()) / total),
        part("fa = information_alignment", "merged_accuracy", "merged_sd", max(alike, *counts.values()) / total),
    ]


SPLITS = (
    ("75/25", "75/25"),
    ("unseen seed", "unseen seed"),
    ("unseen lr", "unseen lr"),
    ("hidden", "unseen hidden"),
    ("batch_size", "unseen batch_size"),
)
FEATURES = {
    ("weights", "all"): "weights",
    ("activities", "all"): "activities",
    ("both", "all"): "both",
    ("both", "first"): "both, first point only",
    ("both", "first and last"): "both, first and last point",
}


def phases(recipe: str, network: str = "", **of_row: str) -> Callable[[], list[Rows]]:
    """A table of a recipe with phases; rows that have a peer without phases, with its rule."""

    def parts() -> list[Rows]:
        name = f"reproduce-{recipe}/table.csv"
        columns = [("row", text("row")), ("rule", text("rule")), ("rates", rate), ("here", stated())]
        if of_row:
            peers = [line for line in read("peer/phases.csv") if network in line["setting"]]
            some = {row: [line for line in peers if line["rule"] == rule] for row, rule in of_row.items()}
            columns.append(("PyTorch, no phases", where(some, stated(1, 100))))
        return [rows(by(name, "row"), *columns)]

    return parts


def untied() -> list[Rows]:
    lines = read("untied/runs.csv")
    tasks = ("as they are", "shifted")

    def accuracy(task: str) -> Cell:
        return lambda row, some: score("accuracy")(row, [line for line in some if line["task"] == task])

    columns = [(key, text(key)) for key in ("layers", "rule", "engine")]
    return [rows(grouped(lines, "engine", "layers", "rule"), *columns, *((task, accuracy(task)) for task in tasks))]


R20 = "reproduce-cifar10_resnet20-2"


def resnet20() -> list[Rows]:
    """Test errors in %, one seed; differences from bp have the standard error of the test images only."""
    table, runs = by(f"{R20}/table.csv", "row"), by(f"{R20}/runs.csv", "row")
    last, peers = ends(f"{R20}/curves.csv", "row"), best(f"{R20}/peer.csv")
    assert_finished(f"{R20}/peer.csv", 2)
    correct = {row: bits(line["correct"], 10_000) for row, (line,) in runs.items()}
    matrices = [column for column in read(f"{R20}/curves.csv")[0] if column.endswith(".weight_angle")]

    def from_bp(row: str, lines: Lines) -> str:
        if row == "bp":
            return ""
        errors = 100 * (statistics.fmean(correct["bp"]) - statistics.fmean(correct[row]))
        return f"{errors:+.2f} ± {error_of_images([correct[row]], [correct['bp']]):.2f}"

    def error(row: str, lines: Lines) -> str:
        return plus_minus([1 - value for value in known(lines, "test_accuracy")], 2, 100)

    columns = [
        *(*reproduced("", True), ("PyTorch", where(peers, error)), ("from bp", from_bp)),
        ("training loss", where(last, number("train_loss", ".3f"))),
        ("true angle", where(last, mean("{:.1f}", "conv1.true_angle"))),
        ("weight angle", where(last, mean("{:.1f}", *matrices))),
        MINUTES,
    ]
    return [rows(table, *columns)]


def resnet20_one_epoch() -> list[Rows]:
    columns = [
        ("rule", text("rule")),
        ("rate", number("lr")),
        ("training loss", number("training_loss", ".3f")),
        ("held-out loss", number("held_out_loss", ".3f")),
        ("test accuracy, %", number("test_accuracy", ".1f")),
        ("seconds", text("seconds")),
        ("ms/step", text("ms_per_step")),
    ]
    return [rows(by("resnet20/table.csv", "rule"), *columns)]


def of_compare(folder: str, peer_name: str = "", layers: bool = False) -> Table:
    """A table of `minifa compare`, with a column of its peer, or with the angles of all layers."""
    name = f"{folder}/runs.csv"
    files = [name, *([f"peer/{peer_name}.csv"] if peer_name else [])]

    def parts() -> list[Rows]:
        more = [("PyTorch", peer(files[1]))] if peer_name else []
        return [compared(name, *more), *([angles(name)] if layers else [])]

    return Table(files, parts, training(name))


def of_recipe(recipe: str, parts: Callable[[], list[Rows]], *more: str, table: str = "table.csv") -> Table:
    """A table of `minifa reproduce`."""
    name = f"reproduce-{recipe}/table.csv"
    return Table([f"reproduce-{recipe}/{table}", *more], parts, training(name))


TABLES: dict[str, Table] = {
    "rules-by-data-set": Table(
        [
            "survey/survey.csv",
            "compare-digits-cnn-five-seeds/runs.csv",
            *(f"{folder}/runs.csv" for folder in ("reproduce-mnist_lenet_20", "reproduce-fashion_lenet_20", C50)),
            *("peer/survey-deep-mlp.csv", "peer/first-table.csv"),
            *(f"{folder}/peer.csv" for folder in ("reproduce-mnist_lenet_20", "reproduce-fashion_lenet_20")),
        ],
        by_data_set,
    ),
    "cifar-10-with-the-papers-network": of_recipe(
        "cifar10_moskovitz-50", cifar10, *(f"{C50}/{name}.csv" for name in ("runs", "curves", "peer"))
    ),
    "more-rules-20-epochs": of_recipe("cifar10_moskovitz", cifar10_20_epochs),
    "what-the-jpeg-copy-costs": Table(["jpeg/runs.csv"], jpeg, training("jpeg/runs.csv")),
    "depth-convolution-batch-norm": Table(["explorer/runs.csv"], depth, training("explorer/runs.csv")),
    "five-rules-on-six-convolutions": of_compare("compare-digits-cnn", layers=True),
    "five-seeds-beside-pytorch": Table(
        ["compare-digits-cnn-five-seeds/runs.csv", "peer/first-table.csv"],
        five_seeds,
        training("compare-digits-cnn-five-seeds/runs.csv"),
    ),
    "learning-rates": Table(["rates/cnn/trials.csv"], grid_of_rates),
    "six-convolutions-150-epochs": Table(
        ["compare-long-adam/runs.csv"], long_adam, training("compare-long-adam/runs.csv")
    ),
    "twelve-convolutions": Table(
        ["compare-deep-adam/runs.csv", "peer/deep-adam.csv"], deep_adam, training("compare-deep-adam/runs.csv")
    ),
    "two-convolutions": of_compare("compare-digits-cnn-depth-2", "depth-2"),
    "batch-norm": of_compare("compare-digits-cnn-batch_norm-True", "batch-norm"),
    "one-and-eight-hidden-layers": Table(
        [
            "compare-local-digits-mlp/runs.csv",
            "peer/local-mlp.csv",
            "compare-local-digits-deep/runs.csv",
            "peer/local-deep.csv",
        ],
        one_and_eight,
        training("compare-local-digits-mlp/runs.csv", "compare-local-digits-deep/runs.csv"),
    ),
    "mnist-with-one-hidden-layer": Table(
        ["train-mnist-mlp-bp/history.csv", "train-mnist-mlp-fa/history.csv"],
        mnist_hidden,
        training("train-mnist-mlp-bp/history.csv", "train-mnist-mlp-fa/history.csv"),
    ),
    "mnist-with-biotorchs-lenet": of_recipe(
        "mnist_lenet_20", lenet_20("mnist"), "reproduce-mnist_lenet_20/runs.csv", "reproduce-mnist_lenet_20/peer.csv"
    ),
    "five-epochs": Table(
        ["reproduce-mnist_lenet/table.csv", "reproduce-mnist_lenet-own-rates/table.csv"],
        lenet,
        lambda: total_seconds(line for lines in lenet_rows().values() for line in lines),
    ),
    "fashion-mnist-with-biotorchs-lenet": of_recipe(
        "fashion_lenet_20",
        lenet_20("fashion"),
        "reproduce-fashion_lenet_20/runs.csv",
        "reproduce-fashion_lenet_20/peer.csv",
    ),
    "every-rule-on-four-networks": Table(
        ["survey/survey.csv", *(f"peer/survey-{one}.csv" for one in NETWORKS)],
        survey,
        lambda: sum(known(list(read("survey/survey.csv")), "seconds")),
    ),
    "twenty-two-rules-layer-by-layer": of_compare("compare-all-digits-cnn", layers=True),
    "layer-by-layer-with-batch-norm": of_compare("compare-all-digits-cnn-batch_norm-True"),
    "feedback-that-follows-the-weights-more-quickly": of_compare("compare-fresh-feedback"),
    "digits": of_recipe("digits_targets", targets_digits, table="targets.csv"),
    "mnist": of_recipe("mnist_targets", targets_mnist, "peer/mnist-targets.csv"),
    "odd-or-even-digits-with-one-output": of_recipe(
        "digits_parity", parity, "reproduce-digits_parity/curves.csv", "peer/digits-parity.csv"
    ),
    "forward-forward": Table(["forward_forward/runs.csv"], forward_forward, training("forward_forward/runs.csv")),
    "local-losses": Table(["local/runs.csv"], local_digits),
    "local-losses-on-mnist": of_recipe("mnist_local", local_mnist, "local/mnist.csv"),
    "feedback-from-noise": Table(["noise/runs.csv"], noise),
    "bursts": Table(["burst/runs.csv"], bursts),
    "autoencoders": of_recipe("digits_autoencoder", autoencoder, "autoencoder/peer.csv"),
    "the-hsic-bottleneck-then-a-read-out": of_recipe(
        "digits_hsic", phases("digits_hsic", "hidden 64,64,64", random="shallow", bp="bp"), "peer/phases.csv"
    ),
    "synthetic-gradients-then-static-modules": of_recipe(
        "digits_static", phases("digits_static", "hidden 128,128", bp="bp"), "peer/phases.csv"
    ),
    "feedback-learns-first": of_recipe("digits_warm_up", phases("digits_warm_up")),
    "tied-and-untied-weights": Table(["untied/runs.csv"], untied),
    "adversarial-examples-on-cifar-10": attacks("attacks/attack.csv"),
    "attacks-after-50-epochs": attacks("attacks/50-epochs.csv"),
    "which-rule-was-this": Table(["which_rule/accuracy.csv", "which_rule/confusion.csv"], which_rule),
    "resnet-20-on-cifar-10": of_recipe(
        "cifar10_resnet20-2", resnet20, *(f"{R20}/{name}.csv" for name in ("runs", "curves", "peer"))
    ),
    "one-epoch": Table(["resnet20/table.csv"], resnet20_one_epoch, training("resnet20/table.csv")),
}


# Sentences of the page and of the README that repeat numbers


def last_means(name: str, key: str, column: str = "test_accuracy") -> dict[str, float]:
    return {row: statistics.fmean(known(lines, column)) for row, lines in ends(name, key).items()}


def of_recipe_means(recipe: str) -> dict[str, float]:
    return {line["row"]: float(line["mean"]) for line in read(f"reproduce-{recipe}/table.csv")}


def by_depth(network: str, depth: int) -> dict[str, float]:
    """The mean of the last accuracies of every rule."""
    groups = by("explorer/runs.csv", "rule", engine="minifa", family=network, depth=str(depth))
    return {rule: statistics.fmean(map(accuracy_of, lines)) for rule, lines in groups.items()}


def points_behind(folder: str, digits: int = 1) -> dict[str, list[float]]:
    """Points behind backpropagation of the rows of a recipe, with the limits of the interval."""
    behind = {}
    for row, _, centre, _, _, limits, *_ in in_points_beside_bp(by(f"{folder}/runs.csv", "row"), digits=digits)[1:]:
        low, high = map(float, limits.split(" to "))
        behind[row] = [-float(centre), -high, -low]
    return behind


def with_interval(behind: Sequence[float], digits: int = 1) -> str:
    centre, low, high = (f"{one + 0.0:.{digits}f}" for one in behind)
    return f"{centre} ({low} to {high})"


def the_headline() -> list[str]:
    """Also that CIFAR-10 has the verdicts of the sentence, and MNIST and Fashion-MNIST those of theirs."""
    behind, six = points_behind(C50), five_seeds_behind()
    usf, frsf, fa, shallow = (six[rule] for rule in ("usf", "frsf", "fa", "shallow"))
    verdicts = {title: words for title, *words in zip(*by_data_set()[2], strict=True)}
    assert verdicts["CIFAR-10"] == ["holds", "not decided", "not decided"]
    for data in ("MNIST", "Fashion-MNIST"):
        assert verdicts[data] == ["holds", "holds", "does not hold"]
    two = [points_behind(f"reproduce-{data}_lenet_20")["fa"][0] for data in ("mnist", "fashion")]
    return [
        *(with_interval(behind[row]) for row in ("usf-strict", "frsf", "fa-kernel")),
        f"`usf` is {usf[0]:.1f} points behind (95 % interval {usf[1]:.1f} to {usf[2]:.1f})",
        f"`frsf` {frsf[0]:.1f} ({frsf[1]:.1f} to {frsf[2]:.1f})",
        f"feedback alignment {fa[0]:.0f} ({fa[1]:.0f} to {fa[2]:.0f})",
        f"random features is {shallow[0]:.0f} behind",
        f"feedback alignment is only {two[0]:.1f} and {two[1]:.1f} behind",
    ]


def of_data_sets() -> list[str]:
    """Also that `usf` and `frsf` are less than one and less than two points behind, and that in the deep networks `fa`
    is below `shallow` under every seed."""
    accuracies, behind, *_ = by_data_set()
    means = {rule: [float(cell.split()[0]) for cell in cells] for rule, *cells in accuracies[1:]}
    points = {rule: [float(cell.split()[0]) for cell in cells] for rule, *cells in behind[1:]}
    assert max(points["usf"][2:]) < 1 and max(points["frsf"][2:]) < 2
    for scores in (by("survey/survey.csv", "rule", network="deep-mlp"), ends("compare-digits-cnn-five-seeds/runs.csv")):
        fa, shallow = ({line["seed"]: accuracy_of(line) for line in scores[rule]} for rule in ("fa", "shallow"))
        assert all(fa[seed] < shallow[seed] for seed in shallow)
    above = [fa - shallow for fa, shallow in zip(means["fa"][2:], means["shallow"][2:], strict=True)]
    return [f"{min(above):.0f} to {max(above):.0f} points above"]


def five_seeds_behind() -> dict[str, tuple[float, float, float]]:
    """Points behind backpropagation in six convolutions, with the limits of the interval."""
    groups = ends("compare-digits-cnn-five-seeds/runs.csv")
    behind = {}
    for rule in groups:
        if rule != "bp":
            centre, _, limits = paired(groups[rule], groups["bp"])
            low, high = map(float, limits.split(" to "))
            behind[rule] = -100 * float(centre), -100 * high, -100 * low
    return behind


def of_cifar10() -> list[str]:
    behind = points_behind(C50)
    return [with_interval(behind[row]) for row in CLAIMS]


def of_cifar10_20_epochs() -> list[str]:
    means = of_recipe_means("cifar10_moskovitz")
    behind = {row: means["bp"] - mean + 1e-9 for row, mean in means.items()}  # half a tenth counts as more
    three = [f"{behind[row]:.1f}" for row in ("usf-strict", "usf-init", "frsf")]
    return [
        f"`usf-strict`, `usf-init` and `frsf` are {three[0]}, {three[1]} and {three[2]} points behind backpropagation",
        f"{behind['fa-kernel']:.0f} points behind with a kernel and {behind['fa-dense']:.0f} with a dense matrix",
    ]


def of_jpeg() -> list[str]:
    """That every interval contains 0, and the smallest and the largest loss."""
    found = {name: cells for name, *cells in jpeg()[1][1:] if "and tested" in name}
    limits = [[float(one) for one in cells[-1].split(" to ")] for cells in found.values()]
    assert all(low < 0 < high for low, high in limits)
    shared = math.floor(-max(low for low, _ in limits))  # the limits have one decimal
    losses = sorted(-float(cells[0]) for cells in found.values())
    return [
        f"{losses[0]:.1f} to {losses[-1]:.1f} points below that of",
        f"each of the three intervals contains both 0 and a loss of {shared} points",
    ]


def of_depth() -> list[str]:
    mlp, cnn, norm = by_depth("mlp", 8), by_depth("cnn", 6), by_depth("cnn-batch-norm", 6)
    networks = [
        by_depth(name, n) for name, last in (("mlp", 8), ("cnn", 6), ("cnn-batch-norm", 6)) for n in (1, 2, 4, last)
    ]
    least = min(means[rule] for means in networks for rule in ("usf", "frsf"))
    return [
        f"`shallow` falls to {mlp['shallow']:.3f}, {cnn['shallow']:.3f} and {norm['shallow']:.3f}",
        f"keep `usf` and `frsf` at {least:.3f} or above at every depth",
        f"`fa` falls to {mlp['fa']:.3f} and {cnn['fa']:.3f} without batch norm",
    ]


def of_five_seeds() -> list[str]:
    six = five_seeds_behind()
    assert six["usf"][1] < 0 < six["usf"][2], "the interval of usf contains 0"
    frsf = [f"{one:.1f}" for one in six["frsf"]]
    interval = f"95 % interval {frsf[1]} to {frsf[2]}"
    return [f"`frsf` is {frsf[0]} points behind backpropagation ({interval}) and `fa` {six['fa'][0]:.0f}"]


def of_seeds(name: str, rule: str, digits: int = 3, key: str = "rule") -> list[str]:
    return [f"{value:.{digits}f}" for value in known(ends(name, key)[rule], "test_accuracy")]


def of_every_rule() -> list[str]:
    shown = [of_seeds("compare-all-digits-cnn/runs.csv", rule) for rule in ("kolen_pollack", "product")]
    (a, b, c), (d, e, f) = shown
    return [f"`kolen_pollack` has {a}, {b} and {c}, `product` {d}, {e} and {f}"]


def of_every_rule_with_batch_norm() -> list[str]:
    means = last_means("compare-all-digits-cnn-batch_norm-True/runs.csv", "rule")
    below = [rule for rule in means if means[rule] < means["shallow"]]
    assert below == ["pepita", "weight_perturbation"]
    return [
        f"all rules but `pepita` ({means['pepita']:.3f}) and `weight_perturbation` "
        f"({means['weight_perturbation']:.3f}) are above `shallow` ({means['shallow']:.3f})"
    ]


def of_mnist_hidden() -> list[str]:
    bp, fa = (float(read(f"train-mnist-mlp-{rule}/history.csv")[-1]["test_accuracy"]) for rule in ("bp", "fa"))
    return [f"ends {100 * (bp - fa):.1f} points behind"]


def of_lenet() -> list[str]:
    lines = {row: some[0] for row, some in lenet_rows().items()}
    most = max(float(lines[row]["difference"]) for row in ("bp", "usf"))
    behind = [float(lines[row]["mean"]) - float(lines[row]["published"]) for row in ("frsf", "brsf")]
    return [
        f"within {math.ceil(10 * most) / 10:.1f} points of BioTorch",
        f"not for `frsf` and `brsf` ({behind[0]:.1f} and {behind[1]:.1f} behind)",
    ]


def of_mnist_lenet_20() -> list[str]:
    """That the intervals of `usf` and `frsf` contain 0."""
    behind = points_behind("reproduce-mnist_lenet_20", 2)
    assert all(behind[row][1] < 0 < behind[row][2] for row in ("usf", "frsf"))
    return [
        f"`usf` and `frsf` are {behind['usf'][0]:.2f} and {behind['frsf'][0]:.2f} points behind backpropagation",
        f"`fa` is {with_interval(behind['fa'], 2)} points behind",
        f"`shallow`, whose hidden layers do not learn, {behind['shallow'][0]:.0f}",
    ]


def of_fashion_lenet_20() -> list[str]:
    """That the interval of `usf` contains 0, and that of `frsf` does not."""
    behind = points_behind("reproduce-fashion_lenet_20", 2)
    assert behind["usf"][1] < 0 < behind["frsf"][1]
    usf, frsf, fa = (with_interval(behind[row], 2) for row in ("usf", "frsf", "fa"))
    return [f"`usf` is {usf} points behind backpropagation, `frsf` {frsf} and `fa` {fa}"]


def of_twelve() -> list[str]:
    """That the interval of `usf` contains 0, and that of `frsf` does not."""
    groups = ends("compare-deep-adam/runs.csv")
    for rule, contains in (("usf", True), ("frsf", False)):
        low, high = map(float, paired(groups[rule], groups["bp"])[2].split(" to "))
        assert (low < 0 < high) == contains
    a, b, c = of_seeds("compare-deep-adam/runs.csv", "fa", 2)
    return [f"{a}, {b} and {c} under the three seeds"]


def of_local() -> list[str]:
    """That the intervals of two losses contain 0, and that of `local` lies above it."""
    groups = by("local/runs.csv", "rule", engine="minifa")
    limits = {
        rule: [float(one) for one in paired(groups[rule], groups["bp"])[2].split(" to ")]
        for rule in ("local", "local:loss=sim", "local:loss=pred")
    }
    low, high = limits.pop("local")
    assert low > 0 and all(low < 0 < high for low, high in limits.values())
    ahead = float(paired(groups["local"], groups["bp"])[0])
    return [f"{100 * ahead:.1f} points ahead of backpropagation (interval {100 * low:.1f} to {100 * high:.1f})"]


def of_local_mnist() -> list[str]:
    means = of_recipe_means("mnist_local")
    error = 100 * math.sqrt(means["bp"] / 100 * (1 - means["bp"] / 100) / 10_000)
    near = max(abs(means[row] - means["bp"]) for row in ("pred", "predsim"))
    return [
        f"within {math.ceil(10 * near) / 10:.1f} points of backpropagation, and `sim` is "
        f"{means['sim'] - means['bp']:.1f} points behind",
        f"a standard error of {error:.1f}",
    ]


def of_static() -> list[str]:
    first, *others = of_seeds("reproduce-digits_static/curves.csv", "static", 2, "row")
    return [f"to {first}, {' and '.join(others)}", f"stays at {of_recipe_means('digits_static')['fresh'] / 100:.2f}"]


def of_search_without_decay() -> list[str]:
    """The best held-out loss of each search; the score of a run is its negative."""

    def best(folder: str, rule: str) -> float:
        groups = by(f"rates/{folder}/trials.csv", "lr", rule=rule, diverged="0", error="")
        return -max(statistics.fmean(known(lines, "score")) for lines in groups.values())

    with_decay, without = (
        [f"{best(folder, rule):.2f}" for rule in ("bp", "recirculation")]
        for folder in ("autoencoder", "autoencoder-no-decay")
    )
    return [f"recirculation: without it {' and '.join(without)}, with it {' and '.join(with_decay)}"]


JUDGED: dict[str, Callable[[], list[str]]] = {
    "results": the_headline,
    "rules-by-data-set": of_data_sets,
    "cifar-10-with-the-papers-network": of_cifar10,
    "more-rules-20-epochs": of_cifar10_20_epochs,
    "what-the-jpeg-copy-costs": of_jpeg,
    "depth-convolution-batch-norm": of_depth,
    "five-seeds-beside-pytorch": of_five_seeds,
    "twelve-convolutions": of_twelve,
    "twenty-two-rules-layer-by-layer": of_every_rule,
    "layer-by-layer-with-batch-norm": of_every_rule_with_batch_norm,
    "mnist-with-one-hidden-layer": of_mnist_hidden,
    "mnist-with-biotorchs-lenet": of_mnist_lenet_20,
    "five-epochs": of_lenet,
    "fashion-mnist-with-biotorchs-lenet": of_fashion_lenet_20,
    "local-losses": of_local,
    "local-losses-on-mnist": of_local_mnist,
    "synthetic-gradients-then-static-modules": of_static,
    "autoencoders": of_search_without_decay,
}


def block(parts: list[Rows]) -> str:
    """The text of a block: columns of names on the left, of numbers on the right."""
    return "\n\n".join("\n".join(lines_of(part)) for part in parts)


def lines_of(part: Rows) -> list[str]:
    columns = list(zip(*part, strict=True))
    widths = [max(map(len, column)) for column in columns]
    left = [not all(re.match(r"[-+=]?\d|-?$", one) for one in column[1:]) for column in columns]
    shown = [["-" * width for width in widths], *part[1:]]
    return [
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in [part[0], *shown]
    ]


if __name__ == "__main__":
    for heading in sys.argv[1:] or TABLES:
        print(f"{heading}\n\n```\n{block(TABLES[heading].parts())}\n```\n")
