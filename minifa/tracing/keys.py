"""Single keys of a terminal, without Enter. The terminal is restored after every key, also by Ctrl-C, Ctrl-Z and
exceptions."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

try:
    import select
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # not Windows
    msvcrt = None  # type: ignore[assignment]

POLL = 0.1  # seconds between two looks at the size of the terminal
REST = 0.05  # seconds within which the rest of an escape sequence arrives
END = "\x04"  # Ctrl-D, and the end of the input
NAMES = {
    **dict.fromkeys(("\x1b[A", "\x1bOA", "\xe0H"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB", "\xe0P"), "down"),
    **dict.fromkeys(("\x1b[C", "\x1bOC", "\xe0M"), "right"),
    **dict.fromkeys(("\x1b[D", "\x1bOD", "\xe0K"), "left"),
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\xe0G"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\xe0O"), "end"),
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\x08"), "backspace"),
    " ": "space",
}


def available() -> bool:
    """Whether single keys can be read: standard input and output are a terminal, and this is the main thread, where
    Python handles signals."""
    here = threading.current_thread() is threading.main_thread()
    return here and (termios or msvcrt) is not None and sys.stdin.isatty() and sys.stdout.isatty()


def read(prompt: Callable[[], None], redraw: Callable[[], None]) -> str:
    """Wait for a key: its character, or its name in `NAMES`. An unknown escape sequence is returned as it is.

    Args:
        prompt: called when every key arrives. Before, the terminal would keep some keys for itself (Backspace).
        redraw: called when the size of the terminal has changed, and when the process continues after Ctrl-Z.
    """
    key = _read_windows(prompt, redraw) if msvcrt is not None else _read_posix(prompt, redraw)
    return NAMES.get(key, key)


class _Size:
    """Notices that the terminal has a new size, once it has stopped changing."""

    def __init__(self) -> None:
        self.drawn = self.last = shutil.get_terminal_size()

    def has_changed(self) -> bool:
        size, before = shutil.get_terminal_size(), self.last
        self.last = size
        if size != before or size == self.drawn:
            return False
        self.drawn = size
        return True


def _read_posix(prompt: Callable[[], None], redraw: Callable[[], None]) -> str:
    fd, size = sys.stdin.fileno(), _Size()
    with _without_enter(fd, redraw):
        prompt()
        while not select.select([fd], [], [], POLL)[0]:
            if size.has_changed():
                redraw()
        key = os.read(fd, 1)
        if key in (b"", b"\0"):  # Linux turns a Ctrl-D pressed before `change` into a zero byte
            return END
        first = key[0]
        if first == 0x1B:  # of an arrow, for example
            while len(key) < 8 and not (key[2:] and key[-1:].isalpha() or key.endswith(b"~")):
                if not select.select([fd], [], [], REST)[0]:
                    break
                key += os.read(fd, 1)
        elif first >= 0xC0:  # the other bytes of a character in UTF-8
            key += os.read(fd, 1 + (first >= 0xE0) + (first >= 0xF0))
    return key.decode("utf-8", "replace")


@contextlib.contextmanager
def _without_enter(fd: int, redraw: Callable[[], None]) -> Iterator[None]:
    """Context manager: the terminal passes on every key at once and does not show it. Ctrl-Z restores it, stops the
    process, and sets it again when the process continues."""
    before = termios.tcgetattr(fd)

    def change() -> None:
        modes = termios.tcgetattr(fd)
        modes[3] &= ~(termios.ICANON | termios.ECHO)
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSADRAIN, modes)  # unlike TCSAFLUSH, keeps keys that were pressed before

    def suspend(number: int, frame: FrameType | None) -> None:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process continues
        signal.signal(signal.SIGTSTP, suspend)
        change()
        redraw()

    handler = signal.signal(signal.SIGTSTP, suspend)
    try:
        change()
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTSTP, handler)


def _read_windows(prompt: Callable[[], None], redraw: Callable[[], None]) -> str:
    prompt()
    size = _Size()
    while not msvcrt.kbhit():  # type: ignore[attr-defined]
        time.sleep(POLL)
        if size.has_changed():
            redraw()
    key: str = msvcrt.getwch()  # type: ignore[attr-defined]
    if key == "\x03":
        raise KeyboardInterrupt
    if key in ("\x00", "\xe0"):  # of an arrow, for example
        return "\xe0" + msvcrt.getwch()  # type: ignore[attr-defined]
    return END if key == "\x1a" else key  # Ctrl-Z ends the input on Windows
