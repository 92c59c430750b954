"""Locks between processes: only one at a time writes to a run folder, or downloads a data set."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from ..console import print_stderr
from .atomic import as_bytes, expanded, named, plain


@contextlib.contextmanager
def locked(path: str | Path, error: Callable[[str], OSError]) -> Iterator[None]:
    """Hold an exclusive lock on a file. The operating system releases it when the process ends, for whatever reason, so
    that no stale lock remains; the file contains a description of the holder.

    Args:
        path: path of the lock file, created if it does not exist.
        error: returns the error to raise if another process holds the lock, given a description of that process.

    Raises:
        OSError: the result of ``error``, or the file cannot be opened.
    """
    with open(expanded(path), "a+b", buffering=0, opener=plain) as file:
        if not _try_lock(file.fileno(), path):
            file.seek(0)
            raise error(file.read().decode(errors="replace").strip() or "another process")
        with named(path):
            file.truncate(0)
            file.write(as_bytes(f"process {os.getpid()} on {platform.node()}"))
        yield


def _try_lock(descriptor: int, path: str | Path) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return _try_lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the holder cannot be determined
        _print_once(f"note: the file system of {path} has no locks: do not write there from two processes at once")
    return True


_printed = False  # whether this process has printed that note


def _print_once(text: str) -> None:
    global _printed
    if not _printed:
        print_stderr(text)
    _printed = True


def _try_lock_on_windows(descriptor: int) -> bool:
    import msvcrt

    os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far beyond the text, which must stay readable for other processes
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True
