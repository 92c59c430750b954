"""Setuptools as the build backend, with the sources of the explorer's page in the sdist only; the wheel has the bundle.
Setuptools alone knows no such files: what it lists as package data is in both, what it excludes is in neither."""

from collections.abc import Sequence
from pathlib import Path

from setuptools.build_meta import *  # noqa: F403
from setuptools.command.sdist import sdist

WEB = Path("minifa/explorer/web")


class WithSources(sdist):
    """The command that setup.cfg names under cmdclass."""

    def make_release_tree(self, base_dir: str, files: Sequence[str]) -> None:
        web = [path for path in sorted(WEB.rglob("*")) if path.is_file() and "node_modules" not in path.parts]
        more = [Path(".ci/build_backend.py"), *web]  # this file builds the wheel from the sdist
        super().make_release_tree(base_dir, [*files, *(str(path) for path in more)])
