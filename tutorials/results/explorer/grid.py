"""The grid of chapter 4 of the explorer: depth x rule x convolution x batch norm, in minifa and in PyTorch.

    python tutorials/results/explorer/grid.py --out tutorials/results/explorer

Digits, 15 epochs, batch 64, SGD with momentum 0.9, seeds 10 to 12, one thread. Every network and rule has the learning
rate of `minifa tune` on held-out digits under the seeds 100 to 104 (minifa/experiments/recipes/rates.csv; its runs:
tutorials/results/rates). The same command resumes: a run that has its line in runs.csv is not made again.

runs.csv has a line for each run, with the values of all epochs in a cell, separated by spaces: test accuracy, the angle
of the errors at the lowest layer (true_angle) and of W and B of the layer above it (weight_angle), before training and
after every epoch; PyTorch's accuracies begin after the first epoch. It also has the angles of chance. table.txt has the
means; minifa/explorer/grid.json, which ships with the package, is written from runs.csv.

PyTorch's side, for bp and fa, is tutorials/results/peer/peer.py, which does not use minifa's engine. Needs ``pip
install torch==2.13.0``; without it, its column is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minifa as mf
from minifa.data.base import Dataset
from minifa.environment import __version__
from minifa.experiments import Experiment, load_data, run, tuning
from minifa.experiments.tables import mean_sd
from minifa.explorer.grid import FAMILIES, RULES, setting
from minifa.explorer.runs import chance_of_run
from minifa.storage import csv_files
from minifa.storage.atomic import write_atomic
from minifa.text import table

HERE = Path(__file__).parent
SHIPPED = HERE.parents[2] / "minifa" / "explorer" / "grid.json"
SEEDS = (10, 11, 12)
PEERS = ("bp", "fa")  # the rules that are also run in PyTorch
KEYS = ("engine", "family", "depth", "rule", "seed")
LISTS = ("accuracy", "true_angle", "weight_angle")
BANDS = ("true_chance", "weight_chance")
DEPTHS = ("1", "2", "4", "6 or 8")
COLUMNS = (*KEYS, "lr", "diverged", *LISTS, *BANDS, "seconds")
Line = dict[str, str]


def in_minifa(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    result, trainer = run(experiment, data)
    lowest, above = (layer.name for layer in trainer.net.weighted[:2])
    chance = chance_of_run(experiment, data)
    history = result.history
    return {
        "diverged": int(result.diverged),
        "accuracy": joined([row["test_accuracy"] for row in history], 4),
        "true_angle": joined([row.get(f"{lowest}.true_angle") for row in history], 2),
        "weight_angle": joined([row.get(f"{above}.weight_angle") for row in history], 2),
        "true_chance": joined(chance[lowest].get("true_angle", []), 2),
        "weight_chance": joined(chance[above].get("weight_angle", []), 2),
    }


def in_pytorch(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    sys.path.append(str(HERE.parent / "peer"))
    import peer
    import torch

    torch.set_num_threads(1)
    return {"diverged": "", "accuracy": joined(peer.accuracies(experiment, data), 4)}


def joined(values: list[float | None], digits: int) -> str:
    """The values in one cell; one that is unknown or not finite is "-"."""
    known = ["-" if one is None or not math.isfinite(one) else f"{one:.{digits}f}" for one in values]
    return "" if set(known) == {"-"} else " ".join(known)


def cells() -> Iterator[tuple[str, int, str]]:
    for family, about in FAMILIES.items():
        for depth in about.depths:
            for rule in RULES:
                yield family, depth, rule


def make_runs(path: Path, engines: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Make the runs that the table lacks, seed by seed."""
    done = {tuple(line[key] for key in KEYS) for line in csv_files.open_table(path, COLUMNS)}
    data = load_data(Experiment())
    for engine, make in engines.items():
        for seed in SEEDS:
            for family, depth, rule in cells():
                key = engine, family, str(depth), rule, str(seed)
                if key in done or (engine == "PyTorch" and rule not in PEERS):
                    continue
                experiment = setting(family, depth, rule, seed)
                started = time.perf_counter()
                line = dict(zip(KEYS, key, strict=True)) | make(experiment, data) | {"lr": f"{experiment.rate():g}"}
                line["seconds"] = f"{time.perf_counter() - started:.2f}"
                csv_files.append(path, [str(line.get(column, "")) for column in COLUMNS])


def numbers(cell: str) -> list[float | None] | None:
    return [None if one == "-" else float(one) for one in cell.split(" ")] if cell else None


def content(lines: list[Line]) -> dict[str, Any]:
    """The content of grid.json (see `minifa.explorer.grid`)."""
    families = [
        {"name": name, **{key: getattr(one, key) for key in ("title", "unit", "units", "kind", "depths")}}
        for name, one in FAMILIES.items()
    ]
    rules = [{"name": name, "title": mf.rules.make(name).title} for name in RULES]
    return {"meta": meta(), "rules": rules, "families": families, "cells": [cell(lines, *key) for key in cells()]}


def cell(lines: list[Line], family: str, depth: int, rule: str) -> dict[str, Any]:
    runs = {
        (line["engine"], line["seed"]): line
        for line in lines
        if (line["family"], line["depth"], line["rule"]) == (family, str(depth), rule)
    }
    own = [runs["minifa", str(seed)] for seed in SEEDS]
    peers = [numbers(runs["PyTorch", str(seed)]["accuracy"]) for seed in SEEDS if ("PyTorch", str(seed)) in runs]
    net = mf.experiments.build(setting(family, depth, rule), load_data(Experiment()))[0]
    lists = {name: [numbers(line[name]) for line in own] for name in LISTS}
    lowest, above = (layer.name for layer in net.weighted[:2])
    return {
        "family": family,
        "depth": depth,
        "rule": rule,
        "lr": float(own[0]["lr"]),
        **{name: None if None in some else some for name, some in lists.items()},
        "layers": {"true_angle": lowest, "weight_angle": above},
        "chance": {
            "true_angle": mean_band([line["true_chance"] for line in own]),
            "weight_angle": mean_band([line["weight_chance"] for line in own]),
        },
        "diverged": sum(int(line["diverged"]) for line in own),
        "peer": [one[-1] for one in peers if one] or None,
    }


def mean_band(bands: list[str]) -> list[float] | None:
    known = [numbers(band) for band in bands]
    return None if None in known else [round(statistics.fmean(ends), 2) for ends in zip(*known, strict=True)]


def meta() -> dict[str, Any]:
    data, base = load_data(Experiment()), Experiment()
    last = tuning.FIRST_SEED + tuning.MANY_SEEDS - 1
    return {
        "data": data.name,
        "train": len(data.train),
        "test": len(data.test),
        "classes": data.n_out,
        "optimizer": f"SGD, momentum {base.optimizer_options['momentum']:g}",
        "batch_size": base.batch_size,
        "epochs": base.epochs,
        "seeds": SEEDS,
        "held_out": tuning.HELD_OUT,
        "search_seeds": list(range(tuning.FIRST_SEED, last + 1)),
        "command": "python tutorials/results/explorer/grid.py --out tutorials/results/explorer",
        "minifa": __version__,
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "torch": importlib.util.find_spec("torch") and importlib.import_module("torch").__version__.partition("+")[0],
    }


def described(grid: dict[str, Any]) -> str:
    """Tables by depth: the last test accuracy, and the angle of the errors at the lowest layer."""
    scores = [("network", "rule", *DEPTHS)]
    angles = [("network", "rule", *DEPTHS)]
    for family in FAMILIES:
        for rule in RULES:
            some = [one for one in grid["cells"] if (one["family"], one["rule"]) == (family, rule)]
            scores.append((family, rule, *(mean_sd([run[-1] for run in one["accuracy"]]) for one in some)))
            if all(one["peer"] for one in some):
                scores.append((family, f"{rule}, PyTorch", *(mean_sd(one["peer"]) for one in some)))
            if some[0]["true_angle"]:
                angles.append((family, rule, *map(error_angle, some)))
    return "\n\n".join(table(rows, right_from=2, width=100) for rows in (scores, angles))


def error_angle(cell: dict[str, Any]) -> str:
    """Mean over the seeds after the last epoch; "=" if it is an angle of chance."""
    angle = statistics.fmean(run[-1] for run in cell["true_angle"])
    low, high = cell["chance"]["true_angle"]
    return f"{'=' if low <= angle <= high else ''}{angle:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."))
    given = parser.parse_args()
    mf.use("numpy", threads=1)
    engines: dict[str, Callable[..., dict[str, Any]]] = {"minifa": in_minifa}
    if importlib.util.find_spec("torch"):
        engines["PyTorch"] = in_pytorch
    runs = given.out / "runs.csv"
    make_runs(runs, engines)
    grid = content(csv_files.read_table(runs, COLUMNS))
    write_atomic(given.out / "table.txt", f"{described(grid)}\n")
    write_atomic(SHIPPED, json.dumps(grid, allow_nan=False, separators=(",", ":")) + "\n")
    print(described(grid))


if __name__ == "__main__":
    main()
