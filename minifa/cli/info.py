"""`minifa info`: versions, backend, threads, and the data sets that were found."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from .. import backend, data, environment
from .exit_codes import OK


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")


def run(options: argparse.Namespace) -> int:
    for key, value in environment.environment().items():
        print(f"{key:10} {value}")
    print(f"{'cupy':10} {backend.cupy_status()}")
    print("\ndata")
    for name, where in data.find(options.data_dir).items():
        print(f"{name:14} {where}")
    return OK
