"""`minifa doctor`: the report of `minifa.testing.doctor` on this machine, for bug reports."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import json

from .. import backend
from ..console import bar
from ..storage.atomic import expanded, write_atomic
from ..text import wrap


def describe(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.add_argument("--out", metavar="FILE", help="write the report into this file too (.txt, .json)")


def run(options: argparse.Namespace) -> int:
    """Check NumPy, and CuPy if it is usable (or the backend given by --backend). Returns 0 if all comparisons pass,
    else 1."""
    from ..testing import doctor

    out = None if options.out is None else expanded(options.out)
    if out is not None and out.suffix not in (".txt", ".json"):
        raise ValueError(f"--out writes .txt or .json, got {options.out!r}")
    chosen = options.backend or (None if backend.name() == "numpy" else backend.name())
    usable = ["numpy"] if backend.cupy_status().startswith("not usable") else ["numpy", "cupy"]
    backends = [chosen] if chosen else usable
    with bar(total=len(doctor.checks()) * len(backends), desc="doctor", unit="check", hidden=options.quiet) as shown:
        report = doctor.examine(backends, shown.update)
    text = wrap(report.text())
    print(text)
    if out is not None:
        as_json = json.dumps(report.as_dict(), indent=1, ensure_ascii=False)
        write_atomic(out, (as_json if out.suffix == ".json" else text) + "\n")
        print(f"\nwritten to {out}")
    return 0 if report.healthy else 1
