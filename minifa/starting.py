"""Ctrl-C in the half second in which the command is imported and its options are read: a line, and no traceback out of
the middle of an import. What imports minifa for another purpose is left alone."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import signal
import sys
import threading
from types import FrameType


def _is_the_command() -> bool:
    """Whether this process was started as ``minifa`` or ``python -m minifa``, and is not a worker of one that was."""
    words = sys.orig_argv
    script = sys.argv[0] if sys.argv else ""
    named = os.path.basename(script).partition(".")[0] == "minifa" and script in words
    return named or ("-m", "minifa") in zip(words, words[1:], strict=False)


def _answer(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted: nothing was begun\n")
    os._exit(128 + number)


def begin() -> None:
    """From now on Ctrl-C ends the command with a line."""
    here = threading.current_thread() is threading.main_thread()
    if here and _is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _answer)


def done() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _answer:
        signal.signal(signal.SIGINT, signal.default_int_handler)
