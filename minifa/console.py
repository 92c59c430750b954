"""Handles missing standard streams (a program started by cron, without a console or with ``2>&-``), so that commands
and progress bars work without them."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import importlib.util
import io
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
    """A tqdm progress bar: in a notebook a widget or a line of text, in a terminal a line on standard error, disabled
    elsewhere.

    Args:
        arguments, options: as for ``tqdm.tqdm``.
        hidden: disable the bar in any case.
    """
    from tqdm import tqdm  # imported here to keep the import of minifa fast

    if hidden or not _is_open(sys.stderr):
        return tqdm(*arguments, **options, disable=True)
    if in_notebook():
        return _notebook_bar(*arguments, **options)
    return tqdm(*arguments, **options, disable=None)  # None: disabled unless standard error is a terminal


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (Jupyter, JupyterLab, VS Code, Colab): whether the shell of
    IPython, if that is loaded, is ipykernel's."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_shell is None else get_shell()
    return any(cls.__name__ == "ZMQInteractiveShell" for cls in type(shell).__mro__)


def _notebook_bar(*arguments: Any, **options: Any) -> Any:
    """A bar of ``tqdm.auto``, which is a widget, if ipywidgets is installed; else a line of text that is replaced in
    place. The line that tqdm itself would write, with a warning, is stored in the notebook once for every redrawing."""
    if importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.auto import tqdm as widget

        return widget(*arguments, **options)
    from IPython.display import display
    from tqdm import tqdm

    class Line(tqdm):
        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            shown = {"text/plain": str(self) if msg is None else msg}
            if not hasattr(self, "line"):
                self.line = display(shown, raw=True, display_id=True)
            else:
                self.line.update(shown, raw=True)
            return True

    return Line(*arguments, **options, file=io.StringIO(), mininterval=0.5)  # the file receives line ends only
