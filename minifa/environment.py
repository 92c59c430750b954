"""The environment of a run: versions, backend, threads and machine, on which results depend besides the
configuration."""

from __future__ import annotations

__all__ = ["environment", "version"]

import functools
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy

from . import backend
from .validation import check_mapping

__version__ = "0.1.0"
COMMIT = 7  # digits of an abbreviated commit


@functools.cache
def commit() -> str | None:
    """Abbreviated commit of minifa's checkout at the first call; None if minifa does not run from a checkout."""
    git = Path(__file__).resolve().parents[1] / ".git"
    try:
        if git.is_file():  # a linked worktree
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head[:COMMIT]
        name, shared = head.removeprefix("ref: "), git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
        if (common / name).is_file():
            return (common / name).read_text(encoding="utf-8")[:COMMIT]
        packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line[:COMMIT] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, UnicodeDecodeError):
        return None


def version(environment: Mapping[str, Any] | None = None) -> str:
    """minifa's version, with the commit if it is known: ``0.1.0 (619e373)``.

    Args:
        environment: environment stored with a run; None: the current one.
    """
    known = {"minifa": __version__, "commit": commit()} if environment is None else environment
    check_mapping(known, "an environment")
    number, of_commit = str(known.get("minifa", "?")), known.get("commit")
    return f"{number} ({of_commit})" if of_commit else number


def is_another_version(one: str) -> bool:
    """Whether a version, as returned by `version`, differs from the current one. Commits are compared only if both are
    known.

    >>> from minifa import environment
    >>> environment.is_another_version("0.0.9"), environment.is_another_version(mf.__version__)
    (True, False)
    """
    number, _, of_commit = one.partition(" ")
    current, _, current_commit = version().partition(" ")
    return number != current or bool(of_commit and current_commit and of_commit != current_commit)


def environment() -> dict[str, Any]:
    """The environment of a run, on which results depend besides the configuration: versions, backend, dtype, threads
    and machine; with the date, and the commit if minifa runs from a checkout."""
    of_commit = commit()
    return {
        "minifa": __version__,
        **({"commit": of_commit} if of_commit else {}),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "backend": backend.name(),
        "dtype": str(backend.dtype()),
        "threads": backend.threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
