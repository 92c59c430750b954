"""Gives a Dask worker the option ``--import`` of minifa's commands, when Dask loads this module by ``--preload``:

    dask worker tcp://10.0.0.1:8786 --preload minifa.experiments.dask_imports --import my.py

Only a Dask worker imports this module: it needs click, which Dask's package distributed brings along.
"""

from __future__ import annotations

__all__: list[str] = []

from typing import Any

import click

from .. import imports


@click.command()
@click.option("--import", "files", multiple=True, required=True, metavar="FILE.py", help="Python file to execute first")
def dask_setup(worker: Any, files: tuple[str, ...]) -> None:
    """Called by Dask when the worker starts."""
    for file in files:
        imports.import_file(file)
