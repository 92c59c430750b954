"""Make the CSV files of the results archive (`minifa results`) from the runs in this folder.

    python tutorials/results/archive.py            write the files that differ
    python tutorials/results/archive.py --check    name them, and exit with 1

To add a table: an entry in minifa/experiments/results/catalogue.toml, whose head explains the keys, and this command.
The forms of a source, its ``file``:

- a file with a column ``epoch``: the histories of `minifa compare`, or, with ``engine``, those of a peer's runs; the
  last epoch of every run counts, of a peer with a column ``validation_accuracy`` the best on held-out examples;
- a folder with table.csv: `minifa reproduce`; scores of the runs from runs.csv (of collect.py), else from the last
  epoch of curves.csv, else only mean and sd. Published numbers become lines of the engine "published";
- .txt: a table of a peer, with its mean ± sd over the seeds that its heading names;
- any other CSV file: a line per run. Where a cell has the numbers of all epochs, the last one counts.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minifa.experiments.results_archive import ENGINE, FOLDER, MEASURES, Measure, catalogue
from minifa.storage import csv_files

HERE = Path(__file__).parent
COLUMNS = ("network", "row", "rule", "lr", "engine", "seed", "score", "sd", "n")
NUMBERS = ("epochs", "epochs_to_90", "true_angle", "weight_angle", "diverged")
ALWAYS = ("row", "rule", "lr", "engine", "seed", "score")
FORMS = {"score": ".6g", "sd": ".6g", "lr": "g", "true_angle": ".1f", "weight_angle": ".1f"}
Line = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and exit with 1 if a file differs")
    args = parser.parse_args()
    differ = [name for name in catalogue() if not is_current(name)]
    for name in differ:
        print(f"{name}.csv {'differs' if args.check else 'written'}")
        if not args.check:
            (FOLDER / f"{name}.csv").write_text(text_of(name), encoding="utf-8", newline="\n")
    return int(args.check and bool(differ))


def is_current(name: str) -> bool:
    """Whether the archive's file of a table is what this script makes."""
    path = FOLDER / f"{name}.csv"
    return path.is_file() and path.read_text(encoding="utf-8") == text_of(name)


def runs_of(name: str) -> list[Line]:
    """The lines of a table, network by network, with the seconds of training where they are known."""
    entry = catalogue()[name]
    lines = [line for source in entry["source"] for line in lines_of(source, MEASURES[entry["measure"]])]
    networks = list(dict.fromkeys(line.get("network", "") for line in lines))
    return sorted(lines, key=lambda line: networks.index(line.get("network", "")))


def text_of(name: str) -> str:
    """The CSV file of a table."""
    lines = runs_of(name)
    used = {column for line in lines for column, cell in line.items() if cell not in (None, "")}
    columns = [column for column in (*COLUMNS, *NUMBERS) if column in used or column in ALWAYS]
    if all(line.get("diverged") in (None, 0) for line in lines):
        columns = [column for column in columns if column != "diverged"]
    return csv_files.text_of([columns, *([written(line.get(key), key) for key in columns] for line in lines)])


def written(value: Any, column: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return format(value, FORMS.get(column, "")) if isinstance(value, float) else str(value)


def lines_of(source: Mapping[str, Any], measure: Measure) -> list[Line]:
    """The lines of one source, those of the rows that it names."""
    path = HERE / source["file"]
    if path.is_dir():
        lines = list(of_reproduce(path, measure))
    elif path.suffix == ".txt":
        lines = list(of_peer(path.read_text(encoding="utf-8"), source, measure))
    else:
        table = [row for row in read(path) if all(row[key] == value for key, value in source.get("where", {}).items())]
        if "epoch" not in table[0]:
            lines = list(of_runs(table, source, measure))
        elif "engine" in source:
            lines = list(of_runs(runs_in(table), source, measure))
        else:
            lines = list(of_compare(table, measure))
    rows, names = source.get("rows"), source.get("rename", {})
    return [{**line, "row": names.get(line["row"], line["row"])} for line in lines if not rows or line["row"] in rows]


def read(path: Path) -> list[dict[str, str]]:
    columns, *lines = csv_files.read(path)
    return [dict(zip(columns, cells, strict=True)) for cells in lines]


def score_of(row: Mapping[str, Any], measure: Measure) -> float:
    if measure.kind == "loss":
        return float(row["test_loss"])
    return measure.from_accuracy(float(row["test_accuracy"]))


# minifa compare and minifa reproduce


def by_run(epochs: Iterable[Mapping[str, str]], name: str) -> dict[tuple[str, int], list[Mapping[str, str]]]:
    """The epochs of every run, by row and seed."""
    runs: dict[tuple[str, int], list[Mapping[str, str]]] = {}
    for epoch in epochs:
        runs.setdefault((epoch[name], int(epoch["seed"])), []).append(epoch)
    return runs


def of_compare(table: Sequence[Mapping[str, str]], measure: Measure) -> Iterator[Line]:
    for (rule, seed), epochs in by_run(table, "rule").items():
        last = epochs[-1]
        facts = {"row": rule, "rule": rule, "lr": float(last["rate"]), "engine": ENGINE, "seed": seed}
        more = {
            "diverged": int(last["diverged"]),
            "seconds": sum(float(one["seconds"]) for one in epochs if one["seconds"]),
        }
        yield {**facts, "score": score_of(last, measure), **numbers_of(epochs), **more}


def numbers_of(epochs: Sequence[Mapping[str, str]]) -> Line:
    """Epochs, the first with an accuracy of 0.9, and angles at the end."""
    last = epochs[-1]
    weight_angles = [float(cell) for key, cell in last.items() if key.endswith(".weight_angle") and cell]
    reached = [int(one["epoch"]) for one in epochs if float(one.get("test_accuracy") or 0) >= 0.9]
    return {
        "epochs": int(last["epoch"]),
        "epochs_to_90": reached[0] if reached else None,
        "true_angle": angle_at_the_lowest_layer(last),
        "weight_angle": statistics.fmean(weight_angles) if weight_angles else None,
    }


def angle_at_the_lowest_layer(epoch: Mapping[str, str]) -> float | None:
    """The true angle of conv1, else of linear1: the lowest layers of the models. None if it was not measured there."""
    layers = {key.removesuffix(".true_angle") for key in epoch if key.endswith(".true_angle")}
    lowest = "conv1" if "conv1" in layers else "linear1"
    cell = epoch.get(f"{lowest}.true_angle")
    return float(cell) if cell else None


def of_reproduce(folder: Path, measure: Measure) -> Iterator[Line]:
    curves = folder / "curves.csv"
    runs = by_run(read(curves), "row") if curves.is_file() else {}
    results = read(folder / "runs.csv") if (folder / "runs.csv").is_file() else []
    ends = {(one["row"], int(one["seed"])): one for one in results}
    for row in read(folder / "table.csv"):
        lr = float(row["lr"]) if " " not in row["lr"] else row["lr"]  # of phases: "0.003 then 0.001"
        facts: Line = {"row": row["row"], "rule": row["rule"], "lr": lr}
        yield from ({**facts, **line} for line in of_row(folder, row, runs, ends, measure))
        if row.get("published"):
            yield {**facts, "lr": None, "engine": "published", "score": float(row["published"]), "n": 1}


def of_row(
    folder: Path,
    row: Mapping[str, str],
    runs: Mapping[tuple[str, int], Sequence[Mapping[str, str]]],
    ends: Mapping[tuple[str, int], Mapping[str, str]],
    measure: Measure,
) -> Iterator[Line]:
    """The runs of a row of `minifa reproduce`; a single line if only their mean and sd are known."""
    mine, seconds = {seed: epochs for (name, seed), epochs in runs.items() if name == row["row"]}, float(row["seconds"])
    scores: dict[int, float] = {}
    for seed, epochs in mine.items():
        if (row["row"], seed) in ends:
            scores[seed] = score_of(ends[row["row"], seed], measure)
        elif "validation_accuracy" not in epochs[-1]:  # else the table has the epoch that was best on held-out examples
            scores[seed] = score_of(epochs[-1], measure)
        elif len(mine) == 1:
            scores[seed] = float(row["mean"])
    if scores.keys() != mine.keys() or not scores:
        n = int(row["seeds"])
        numbers = {"sd": float(row["sd"]) if n > 1 else None, "n": n, "epochs": int(row["epochs"])}
        yield {"engine": ENGINE, "score": float(row["mean"]), **numbers, "seconds": n * seconds}
        return
    if not math.isclose(statistics.fmean(scores.values()), float(row["mean"]), rel_tol=1e-9):
        raise ValueError(f"{folder}, row {row['row']}: the scores of the runs do not have the mean of table.csv")
    for seed, score in scores.items():
        yield {"engine": ENGINE, "seed": seed, "score": score, **numbers_of(mine[seed]), "seconds": seconds}


# Lines of single runs, and tables of peers


def runs_in(table: Sequence[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    """A line for each run of a peer: its last epoch, or the best on held-out examples if there are any, with the number
    of all epochs and their seconds."""
    for epochs in by_run(table, "row").values():
        held_out = epochs[0].get("validation_accuracy")
        counted = max(epochs, key=lambda one: float(one["validation_accuracy"])) if held_out else epochs[-1]
        seconds = sum(float(one["seconds"]) for one in epochs)
        yield {**counted, "epochs": epochs[-1]["epoch"], "seconds": str(seconds)}


def of_runs(table: Iterable[Mapping[str, str]], source: Mapping[str, Any], measure: Measure) -> Iterator[Line]:
    """A line per run with a score. ``row`` and ``network`` of the source are built from its columns, ``score`` names
    one with accuracies."""
    for cells in table:
        last = {key: cell.split()[-1] if " " in cell else cell for key, cell in cells.items()}
        accuracy = last[source.get("score", "test_accuracy")]
        if not accuracy:  # of a run that failed, or of a rule that refused the network
            continue
        line: Line = {
            "network": source.get("network", "").format(**cells),
            "row": source.get("row", "{rule}").format(**cells),
            "rule": cells["rule"],
            "lr": float(cells["lr"]) if cells.get("lr") else None,
            "engine": source.get("engine", cells.get("engine", ENGINE)),
            "seed": int(cells.get("seed", 0)),
            "score": measure.from_accuracy(float(accuracy)),
        }
        numbers = {key: float(last[key]) for key in ("true_angle", "weight_angle", "seconds") if last.get(key)}
        whole = {key: int(float(last[key])) for key in ("epochs", "epochs_to_90", "diverged") if last.get(key)}
        yield {**line, **numbers, **whole}


def of_peer(text: str, source: Mapping[str, Any], measure: Measure) -> Iterator[Line]:
    """The rows below a heading "PyTorch 2.13.0: ..., seeds 0 to 4" that contains the source's ``block``. Scores are
    accuracies, unless the heading says "error in %" or the source has a ``factor``."""
    engine, seeds, factor = "", list[int](), 0.0
    for line in text.splitlines():
        heading = re.search(r"^(\w+) [\d.]+\S*: .*seeds? (\d+)(?: to (\d+))?", line)
        if heading:
            engine, seeds = heading[1], list(range(int(heading[2]), int(heading[3] or heading[2]) + 1))
            seeds = seeds if source.get("block", "") in line else []
            factor = 1.0 if "error in %" in line else source.get("factor", 0.0)
        cells = re.split(r"\s{2,}", line.strip())
        if heading or not seeds or len(cells) < 2 or not re.match(r"\d", cells[1]):
            continue
        facts: Line = {"network": source.get("network", ""), "row": cells[0], "rule": cells[0], "engine": engine}
        facts |= {"lr": float(cells[1])} if len(cells) > 2 else {}
        mean, _, sd = cells[2 if len(cells) > 2 else 1].partition(" ± ")
        score, n = converted(float(mean), factor, measure), len(seeds)
        yield {**facts, "score": score, "sd": float(sd) * (factor or measure.full) if n > 1 else None, "n": n}


def converted(value: float, factor: float, measure: Measure) -> float:
    return factor * value if factor else measure.from_accuracy(value)


if __name__ == "__main__":
    sys.exit(main())
