"""Handling of SIGINT (Ctrl-C) and SIGTERM: training finishes its current update; other work ends at once and removes
incomplete files."""

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
    """SIGTERM was received. Handlers of KeyboardInterrupt catch it too."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 plus the signal number, as in shells.

    >>> from minifa.signals import Terminated, exit_code
    >>> exit_code(KeyboardInterrupt()), exit_code(Terminated())
    (130, 143)
    """
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Inside the with-block SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt. If SIGTERM is ignored, and
    outside the main thread, nothing changes.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupt:
    """The received signal.

    Attributes:
        signal: its number; None if no signal was received.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """128 plus the signal number, as in shells: 130 after Ctrl-C, 143 after SIGTERM; 0 if no signal was received.

        >>> from minifa.signals import Interrupt
        >>> interrupt = Interrupt()
        >>> interrupt.signal = 15
        >>> interrupt.exit_code
        143
        """
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def stopping(trainer: Trainer, verbose: bool = True) -> Iterator[Interrupt]:
    """Inside the with-block the first SIGINT or SIGTERM stops the trainer between two updates, so that its state can
    be saved; a second one has its usual effect (Ctrl-C: KeyboardInterrupt at once).

    Outside the main thread, where Python does not allow signal handlers to be set, nothing changes.

    Args:
        trainer: the trainer to stop.
        verbose: whether the first signal prints a message to standard error.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        interrupt.signal = number
        trainer.stop()
        restore()
        if verbose:
            with contextlib.suppress(OSError):  # not print, which is not reentrant
                os.write(2, b"\nfinishing the current update, then saving; interrupt again to exit at once\n")

    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:  # ignored signals (nohup, background jobs) stay ignored
        signal.signal(number, handle)

    try:
        yield interrupt
    finally:
        restore()
