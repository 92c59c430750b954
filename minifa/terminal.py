"""Standard input, output and error, which a program started by cron, without a console or with ``2>&-`` may lack: a
command works the same without them, and so does training with a progress bar."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from .text import printable

NAMES = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their numbers


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Inside the with-block the null device takes the place of a standard stream that is closed or not there."""
    for number in range(len(NAMES)):
        try:
            os.fstat(number)
        except OSError:  # else a file of the run would get the number, into which libraries in C print
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    with contextlib.ExitStack() as put_back:
        for name, mode in NAMES.items():
            stream = getattr(sys, name)
            if not _is_open(stream):
                setattr(sys, name, put_back.enter_context(open(os.devnull, mode, encoding="utf-8")))
                put_back.callback(setattr, sys, name, stream)
        yield


def _is_open(stream: Any) -> bool:
    return stream is not None and not getattr(stream, "closed", False)


def tell(text: str) -> None:
    """Print on standard error; where nobody can read it, how a command ends stays as it is."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)


def bar(*arguments: Any, hidden: bool = False, **options: Any) -> Any:
    """A tqdm bar on standard error, silent where that is no terminal.

    Args:
        arguments, options: of ``tqdm.tqdm``.
        hidden: whether it is silent in any case.
    """
    from tqdm import tqdm  # here, so that importing minifa stays quick

    return tqdm(*arguments, **options, disable=True if hidden or not _is_open(sys.stderr) else None)
