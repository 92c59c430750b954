"""SIGINT (Ctrl-C) and SIGTERM: a network in training finishes its update first; whatever else goes on ends at once, and
puts away what is half-written."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .training import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whatever answers Ctrl-C answers it too."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells count.

    >>> from minifa.interrupts import Terminated, exit_code
    >>> exit_code(KeyboardInterrupt()), exit_code(Terminated())
    (130, 143)
    """
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Inside the with-block SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt. Where it is ignored, and
    outside the main thread, nothing changes.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def answer(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupt:
    """Which signal came.

    Attributes:
        signal: its number; None while none has come.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells count: 130 after Ctrl-C, 143 after SIGTERM; 0 where none has come.

        >>> from minifa.interrupts import Interrupt
        >>> one = Interrupt()
        >>> one.signal = 15
        >>> one.exit_code
        143
        """
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def stopping(trainer: Trainer, aloud: bool = True) -> Iterator[Interrupt]:
    """Inside the with-block the first SIGINT or SIGTERM stops the trainer between two updates, so that its state can
    be kept; a second one does what it always does (Ctrl-C: KeyboardInterrupt at once).

    Outside the main thread, where Python lets no handler be set, nothing changes.

    Args:
        trainer: to stop.
        aloud: whether the first signal is answered on standard error.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def answer(number: int, frame: FrameType | None) -> None:
        interrupt.signal = number
        trainer.stop()
        restore()
        if aloud:
            with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
                os.write(2, b"\nfinishing this update, then saving; once more to end at once\n")

    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:  # what was ignored before (nohup, a shell's background job) is ignored still
        signal.signal(number, answer)

    try:
        yield interrupt
    finally:
        restore()
