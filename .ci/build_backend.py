"""Setuptools as the build backend, with the sources of the explorer's page in the sdist only; the wheel has the bundle.
Setuptools alone knows no such files: what it lists as package data is in both, what it excludes is in neither.

The wheel has the chosen learning rates only: the others of each grid, nine tenths of the file, are not read."""

import csv
from collections.abc import Sequence
from pathlib import Path

from setuptools.build_meta import *  # noqa: F403
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

WEB = Path("minifa/explorer/web")
RATES = "minifa/experiments/recipes/rates.csv"


class WithSources(sdist):
    """The command that setup.cfg names under cmdclass."""

    def make_release_tree(self, base_dir: str, files: Sequence[str]) -> None:
        web = [path for path in sorted(WEB.rglob("*")) if path.is_file() and "node_modules" not in path.parts]
        more = [Path(".ci/build_backend.py"), *web]  # this file builds the wheel from the sdist
        super().make_release_tree(base_dir, [*files, *(str(path) for path in more)])


class WithChosenRates(build_py):
    """The other command that setup.cfg names there."""

    def build_package_data(self) -> None:
        super().build_package_data()
        if self.editable_mode:  # no files are copied
            return
        with open(RATES, encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        built = Path(self.build_lib, RATES)
        built.unlink()  # it may be a hard link to the source
        with open(built, "w", encoding="utf-8", newline="") as file:
            chosen = header.index("chosen")
            csv.writer(file, lineterminator="\n").writerows([header, *(row for row in rows if row[chosen] == "1")])
