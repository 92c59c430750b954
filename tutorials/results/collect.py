"""Copy a finished table of `minifa reproduce` into this folder: its tables and pictures, and a line for every run.

    python tutorials/results/collect.py RUNS tutorials/results/reproduce-NAME

table.csv, table.txt, curves.csv (every epoch of every run), differences.csv, classes.csv, curves.png and alignment.png
are copied if they are there. runs.csv has, for each finished run ROW-seedN, the scores, the accuracy of every class
("classes"), which test examples are classified correctly ("correct": hexadecimal digits, the first example in the
highest bit), and where the run was made. Existing copies are replaced.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from minifa.experiments import correct_examples
from minifa.storage import csv_files

COPIED = ("table.csv", "table.txt", "curves.csv", "differences.csv", "classes.csv", "curves.png", "alignment.png")
SETTINGS = ("rule", "lr", "weight_decay", "seed")
SCORES = ("epochs", "best_epoch", "test_loss", "test_accuracy")
FACTS = ("date", "python", "numpy", "dtype", "threads", "machine")
COLUMNS = ("row", *SETTINGS, *SCORES, "classes", "seconds", "diverged", "made_by", *FACTS, "correct")


def line_of(folder: Path) -> dict[str, Any]:
    """The line of a finished run."""
    outcome, config = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("result", "config")
    )
    settings, scores, facts = outcome["experiment"], outcome["result"], config["environment"]
    correct = correct_examples.read(folder, scores)
    return {
        "row": folder.name.rpartition("-seed")[0],
        **{key: settings[key] for key in SETTINGS},
        **{key: scores.get(key, "") for key in SCORES},
        "classes": " ".join(f"{share:.4f}" for share in scores.get("class_accuracies", ())),
        "seconds": scores["seconds"],
        "diverged": int(scores["diverged"]),
        "made_by": outcome["made_by"],
        **{key: facts.get(key, "") for key in FACTS},
        "correct": "" if correct is None else np.packbits(correct).tobytes().hex(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    columns, *table = csv_files.read(args.runs / "table.csv")
    rows = [line[columns.index("row")] for line in table]
    finished = [path.parent for path in args.runs.glob("*-seed*/result.json")]
    lines = [line for line in map(line_of, finished) if line["row"] in rows]
    lines.sort(key=lambda line: (rows.index(line["row"]), line["seed"]))
    args.target.mkdir(parents=True, exist_ok=True)
    csv_files.write(args.target / "runs.csv", COLUMNS, lines)
    for name in COPIED:
        if (args.runs / name).exists():
            shutil.copyfile(args.runs / name, args.target / name)
    print(f"{len(lines)} runs of {len(rows)} rows: {args.target}")


if __name__ == "__main__":
    main()
