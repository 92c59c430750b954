"""Handles missing standard streams (a program started by cron, without a console or with ``2>&-``), so that commands
and progress bars work without them."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from .text import printable

NAMES = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their file descriptors


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Context manager that replaces closed or missing standard streams by the null device."""
    for number in range(len(NAMES)):
        try:
            os.fstat(number)
        except OSError:  # otherwise a file of the run gets this descriptor, and C libraries print to it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    with contextlib.ExitStack() as restore:
        for name, mode in NAMES.items():
            stream = getattr(sys, name)
            if not _is_open(stream):
                setattr(sys, name, restore.enter_context(open(os.devnull, mode, encoding="utf-8")))
                restore.callback(setattr, sys, name, stream)
        yield


def _is_open(stream: Any) -> bool:
    return stream is not None and not getattr(stream, "closed", False)


def print_stderr(text: str) -> None:
    """Print to standard error. A failure to write is ignored, so that it does not change the exit status."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)


def bar(*arguments: Any, hidden: bool = False, **options: Any) -> Any:
    """A tqdm progress bar on standard error, disabled if that is not a terminal.

    Args:
        arguments, options: as for ``tqdm.tqdm``.
        hidden: disable the bar in any case.
    """
    from tqdm import tqdm  # imported here to keep the import of minifa fast

    return tqdm(*arguments, **options, disable=True if hidden or not _is_open(sys.stderr) else None)
