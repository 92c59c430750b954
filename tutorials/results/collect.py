"""Copy a finished table of `minifa reproduce` into this folder: its tables and pictures, and a line for every run.

    python tutorials/results/collect.py RUNS tutorials/results/reproduce-NAME

table.csv is copied, and table.txt, curves.csv (every epoch of every run), differences.csv, classes.csv, curves.png and
alignment.png if they are there. runs.csv has, for each finished run ROW-seedN, the scores, the accuracy of every class
("classes"), which test examples are classified correctly ("correct": hexadecimal digits, the first example in the
highest bit; empty before `minifa reproduce` has compared the rows), and where the run was made. Existing copies are
replaced.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from minifa.experiments import correct_examples, resume
from minifa.storage import csv_files

COPIED = ("table.csv", "table.txt", "curves.csv", "differences.csv", "classes.csv", "curves.png", "alignment.png")
SETTINGS = ("rule", "lr", "weight_decay", "seed")
SCORES = ("epochs", "best_epoch", "test_loss", "test_accuracy")
FACTS = ("date", "python", "numpy", "dtype", "threads", "machine")
COLUMNS = ("row", *SETTINGS, *SCORES, "classes", "seconds", "diverged", "made_by", *FACTS, "correct")


def line_of(folder: Path) -> dict[str, Any] | None:
    """The line of a run; None if it is not finished, or its result is damaged."""
    run = resume.saved_run(folder)
    if run is None or run.result is None:
        return None
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("environment", {})
    correct = correct_examples.read(folder, run.result)
    shares = run.result.get("class_accuracies", ())
    return {
        "row": folder.name.rpartition("-seed")[0],
        **{key: run.experiment[key] for key in SETTINGS},
        **{key: run.result.get(key, "") for key in SCORES},
        "classes": " ".join("-" if share is None else f"{share:.4f}" for share in shares),
        "seconds": run.result["seconds"],
        "diverged": int(run.result["diverged"]),
        "made_by": run.made_by,
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
    found = [line_of(path.parent) for path in args.runs.glob("*-seed*/result.json")]
    lines = [line for line in found if line is not None and line["row"] in rows]
    lines.sort(key=lambda line: (rows.index(line["row"]), line["seed"]))
    args.target.mkdir(parents=True, exist_ok=True)
    csv_files.write(args.target / "runs.csv", COLUMNS, lines)
    for name in COPIED:
        if (args.runs / name).exists():
            shutil.copyfile(args.runs / name, args.target / name)
    print(f"{len(lines)} runs of {len(rows)} rows: {args.target}")


if __name__ == "__main__":
    main()
