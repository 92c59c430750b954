"""What is said when data are taken in another form than they were given in: a Python warning, from the line that gave
them; on the command line a line on standard error. What a process has said, those that it starts do not say again.
"""

from __future__ import annotations

__all__ = ["DataWarning"]

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator

_said: dict[str, None] = {}  # in this process, or in the one that started it
_silent: set[str] = set()


class DataWarning(UserWarning):
    """Data were taken in another form than they were given in; the sentence says which, why, and how to keep theirs."""


def tell(sentence: str) -> None:
    """Warn of a conversion, unless the process that started this one has."""
    text = "".join(c if c.isprintable() else "?" for c in sentence)  # names come from anywhere
    _said[text] = None
    if text not in _silent:
        warnings.warn(text, DataWarning, stacklevel=_outside())


def _outside() -> int:
    """How far above `tell` the first line is that is not of this package."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minifa."):
        frame, level = frame.f_back, level + 1
    return level


def said() -> tuple[str, ...]:
    """What has been said so far, for `silence` in another process."""
    return tuple(_said)


def silence(sentences: Iterable[str]) -> None:
    """Say nothing more of this."""
    _silent.update(sentences)
    _said.update(dict.fromkeys(sentences))


@contextlib.contextmanager
def on_stderr(who: str) -> Iterator[None]:
    """Inside the with-block each of these warnings is one line on standard error, once, begun with ``who``."""
    shown: set[str] = set()
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: object) -> None:
            if not issubclass(category, DataWarning):
                others(message, category, *where)  # type: ignore[arg-type]
            elif str(message) not in shown:
                shown.add(str(message))
                print(f"{who}: {message}", file=sys.stderr)

        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
