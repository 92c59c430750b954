"""Warnings about data conversions: a Python warning attributed to the caller's line; on the command line, a line on
standard error. Worker processes do not repeat the warnings of their parent process.
"""

from __future__ import annotations

__all__ = ["DataWarning"]

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator

_issued: dict[str, None] = {}  # by this process or its parent
_silenced: set[str] = set()


class DataWarning(UserWarning):
    """Data were converted; the message states the conversion, the reason, and how to avoid it."""


def warn(message: str) -> None:
    """Warn of a conversion, unless the parent process has already done so."""
    text = "".join(c if c.isprintable() else "?" for c in message)  # names are user input
    _issued[text] = None
    if text not in _silenced:
        warnings.warn(text, DataWarning, stacklevel=_stack_level())


def _stack_level() -> int:
    """The stacklevel, counted from `warn`, of the first frame outside this package."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minifa."):
        frame, level = frame.f_back, level + 1
    return level


def issued() -> tuple[str, ...]:
    """The warnings issued so far, to be passed to `silence` in another process."""
    return tuple(_issued)


def silence(messages: Iterable[str]) -> None:
    """Suppress these warnings."""
    _silenced.update(messages)
    _issued.update(dict.fromkeys(messages))


@contextlib.contextmanager
def on_stderr(prefix: str) -> Iterator[None]:
    """Context manager: print each `DataWarning` once, as a line on standard error with this prefix."""
    shown: set[str] = set()
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: object) -> None:
            if not issubclass(category, DataWarning):
                others(message, category, *where)  # type: ignore[arg-type]
            elif str(message) not in shown:
                shown.add(str(message))
                print(f"{prefix}: {message}", file=sys.stderr)

        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
