"""`minifa info`: versions, backend, threads, and the data sets that were found."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from .. import backend, data, environment
from ..text import entries
from .exit_codes import OK


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")


def run(options: argparse.Namespace) -> int:
    facts = {key: str(value) for key, value in environment.environment().items()}
    print(entries({**facts, "cupy": backend.cupy_status()}))
    print(f"\ndata\n{entries(data.find(options.data_dir))}")
    return OK
