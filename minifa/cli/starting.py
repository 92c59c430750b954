"""Handles Ctrl-C during the half second in which the command imports its modules and parses its options: it prints one
line instead of a traceback from an import. Programs that import minifa as a library are not affected."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import signal
import sys
import threading
from types import FrameType


def _is_the_command() -> bool:
    """Whether this process was started as ``minifa`` or ``python -m minifa`` and is not a worker of such a process."""
    words = sys.orig_argv
    script = sys.argv[0] if sys.argv else ""
    named = os.path.basename(script).partition(".")[0] == "minifa" and script in words
    return named or ("-m", "minifa") in zip(words, words[1:], strict=False)


def _answer(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted: nothing was started\n")
    os._exit(128 + number)


def begin() -> None:
    """Install the handler: Ctrl-C prints one line and ends the command."""
    here = threading.current_thread() is threading.main_thread()
    if here and _is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _answer)


def done() -> None:
    """Remove the handler: Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _answer:
        signal.signal(signal.SIGINT, signal.default_int_handler)
