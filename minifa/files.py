"""Files that are there whole or not at all: written beside their place, forced to the disk, then renamed; and files of
folders that others may have made, of which only plain ones are opened."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ADVICE = {
    errno.ENOSPC: "the disk is full: make room on it, or choose a folder on another one",
    errno.EDQUOT: "your share of the disk is used up: make room, or choose a folder on another one",
    errno.EEXIST: "a file of that name is there: choose another name",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "nothing can be written there: choose another folder",
    errno.EACCES: "this user may not open it: choose another place, or ask whoever owns it",
}


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as a user gives it, with the home folder in the place of a leading ``~``: a shell does that, except in
    ``--out=~/run`` and in files. Every function that takes a path begins with this.

    Raises:
        TypeError: what is no path.
        ValueError: a path with a NUL, which no system has.

    >>> from minifa.files import expanded
    >>> import pathlib
    >>> expanded("~/my.npz") == pathlib.Path.home() / "my.npz"
    True
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"a path must be text or a pathlib.Path, got {path!r}")
    place = os.fspath(path)
    if "\0" in str(place):
        raise ValueError(f"a path holds no NUL character, got {place!r}")
    return Path(os.path.expanduser(place))


def with_advice(error: OSError) -> str:
    """The error's sentence, with what to do about it where that is known.

    >>> from minifa.files import with_advice
    >>> import errno
    >>> with_advice(OSError(errno.EROFS, "Read-only file system", "runs")).partition("; ")[2]
    'nothing can be written there: choose another folder'
    """
    return f"{error}; {ADVICE[error.errno]}" if error.errno in ADVICE else str(error)


# Where the system has them: follow no link, wait for no other end of a pipe, become no terminal's process.
CAREFULLY = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))
JUNCTION = 0xA0000003  # Windows' link to a folder, which counts as a folder there (IO_REPARSE_TAG_MOUNT_POINT)
DIGITS = 16  # of a digest that tells contents apart; nobody is kept from making two alike
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What stands at a path in the place of a file, in words; None: a file, or nothing."""
    try:
        status = os.lstat(path)
    except OSError:  # whoever opens it is told
        return None
    if getattr(status, "st_reparse_tag", 0) == JUNCTION:
        return KINDS[stat.S_IFLNK]
    return KINDS.get(stat.S_IFMT(status.st_mode))


def plain(path: str, flags: int) -> int:
    """An opener for Python's ``open``, which opens files alone: no link is followed, no device opened, no pipe waited
    for. What others can reach by a second name is not opened for writing.

    Raises:
        OSError: it is something else; or as `os.open`.

    >>> from minifa.files import plain
    >>> open("/", "rb", opener=plain)
    Traceback (most recent call last):
    OSError: '/' is a folder, and no file: nothing else is read or written here
    """
    kind, writes = kind_of(path), flags & (os.O_WRONLY | os.O_RDWR)
    if kind is None:
        descriptor = os.open(path, flags | CAREFULLY, 0o666)
        status = os.fstat(descriptor)  # of what was opened: another may have taken the place since it was looked at
        if stat.S_ISREG(status.st_mode) and not (writes and status.st_nlink > 1):
            return descriptor
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise OSError(f"'{path}' has a second name (a hard link), whose content would change as well: remove it")
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    raise OSError(f"'{path}' is {kind}, and no file: nothing else is read or written here")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All of a file. Raises OSError, as `plain` for what is none."""
    with open(expanded(path), "rb", opener=plain) as file:
        return file.read()


def digest(path: str | os.PathLike[str]) -> str:
    """The first digits of the SHA-256 of a file that the user named. Raises OSError."""
    found = hashlib.sha256()
    with open(expanded(path), "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()[:DIGITS]


def free_name(path: Path) -> Path:
    """The first of ``NAME-1.ending``, ``NAME-2.ending``, ... that nothing has."""
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return free


def make_folder(path: Path) -> Path:
    """A folder inside a folder of minifa's, made where there is none. Raises OSError where a link, or anything else,
    stands in its place."""
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_link(path: Path) -> None:
    """Raise OSError where the path is a link: what is written below it would lie elsewhere."""
    if kind_of(path) == KINDS[stat.S_IFLNK]:
        raise OSError(f"'{path}' is a symbolic link, and no folder: nothing is written through it, remove it")


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Inside the with-block an error in writing says which file it was; a full disk alone does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def as_bytes(text: str) -> bytes:
    """Text as UTF-8. What no text can hold, as Python's stand-ins for the bytes of a file name that the locale cannot
    read, becomes an escape that JSON understands.

    >>> from minifa.files import as_bytes
    >>> as_bytes("d\\u00e4t\\udcff")
    b'd\\xc3\\xa4t\\\\udcff'
    """
    return text.encode(errors="backslashreplace")


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same place, which need not be there."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def stem(path: str | os.PathLike[str]) -> str:
    """The name of a file without its ending, to be shown: what the locale could not read, by UTF-8.

    >>> from minifa.files import stem
    >>> stem("data/mine.npz"), stem("d\\udcc3\\udca4t.npz") == "d\\u00e4t"
    ('mine', True)
    """
    return Path(path).stem.encode(errors="surrogateescape").decode(errors="replace")


def append(path: str | Path, text: str) -> None:
    """Add text to the end of a file; where there is no room for all of it, none is added.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    with named(path), open(expanded(path), "ab", buffering=0, opener=plain) as file:
        before, rest = os.fstat(file.fileno()).st_size, as_bytes(text)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            file.truncate(before)
            raise


def write_whole(path: str | Path, content: bytes | str, previous: Path | None = None) -> None:
    """Write a file so that whoever reads it, after a crash or a kill as well, finds all of it or what was there before.

    Args:
        path: its place; ``.tmp`` behind the name is the place beside it. Two writers of one file need a lock.
        content: bytes, or text that is written as UTF-8.
        previous: where the file that was in its place is moved to; None: it is replaced.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    place = expanded(path)
    if not place.name:
        raise IsADirectoryError(errno.EISDIR, "this is a folder: name a file in it", str(place))
    beside = place.with_name(place.name + ".tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # left by a kill, or a link: what that points to stays as it is
        with named(place), open(beside, "xb") as file:
            file.write(as_bytes(content) if isinstance(content, str) else content)
            force_to_disk(file)
        move_into_place(beside, place, previous)
    except BaseException:  # Ctrl-C included: no half-written file stays behind
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def save_picture(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure, whole or not at all, in the format that the file's ending names. Raises OSError."""
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.removeprefix(".") or None)
    write_whole(path, content.getvalue())


def force_to_disk(file: IO[bytes]) -> None:
    """Let nothing that was written into the file be lost any more, were the machine to stop now. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def move_into_place(beside: Path, place: Path, previous: Path | None = None) -> None:
    """Rename a file that is complete and forced to the disk, and force the renaming to the disk as well.

    Args:
        beside, place: where it is and where it shall be, in one folder.
        previous: where a file that is in its place is moved to; None: it is replaced.

    Raises:
        OSError: it cannot be renamed.
    """
    if previous is not None and place.exists():
        os.replace(place, previous)
    os.replace(beside, place)
    _settle(place.parent)


def _settle(folder: Path) -> None:
    """Force the folder's own entries to the disk, where the system lets a folder be opened (Windows does not)."""
    with contextlib.suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
