"""The printed tables of a peer as CSV, number by number: NAME.csv beside every NAME.txt.

    python tutorials/results/peer/to_csv.py tutorials/results/peer/*.txt

Reads what peer.py and attacks.py print. A line of the CSV is a row of the text. Its first column, setting, is the line
above the table (network, epochs, optimizer, seeds); "mean ± sd" becomes the columns mean and sd; lists over seeds stay
in one cell, separated by spaces. Where a table was too wide and its columns stand in several blocks under each other,
they are joined by the name of the rule.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

Line = dict[str, str]


def lines_of(text: str) -> list[Line]:
    """The rows of all tables of a printed output."""
    found: dict[tuple[str, str], Line] = {}
    setting, lines = "", text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("PyTorch "):
            setting = line
        if not re.fullmatch(r"-+( +-+)*", line):
            continue
        spans = [match.span() for match in re.finditer("-+", line)]
        names = [lines[i - 1][start:end].strip() for start, end in spans]
        for row in lines[i + 1 :]:
            if not row or row.startswith("PyTorch "):
                break
            cells = dict(zip(names, (row[start:end].strip() for start, end in spans), strict=True))
            found.setdefault((setting, cells[names[0]]), {"setting": setting}).update(split(cells))
    return list(found.values())


def split(cells: Line) -> Line:
    """The score as mean and sd."""
    score = cells.pop("score", None)
    mean_sd = dict(zip(("mean", "sd"), score.split(" ± "), strict=True)) if score else {}
    return {**dict(list(cells.items())[:2]), **mean_sd, **dict(list(cells.items())[2:])}


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        rows = lines_of(path.read_text(encoding="utf-8"))
        with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
