"""File access: atomic writing (temporary file, fsync, rename), and opening of regular files only, since folders may
come from other users."""

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
    errno.ENOSPC: "the disk is full: free some space, or choose a folder on another disk",
    errno.EDQUOT: "the disk quota is exceeded: free some space, or choose a folder on another disk",
    errno.EEXIST: "a file of that name exists: choose another name",
    errno.ENOTDIR: "part of the path is a file, not a folder: choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "this user lacks the permission: choose another path, or ask the owner",
}


def expanded(path: str | os.PathLike[str]) -> Path:
    """Convert a user's path to a Path and expand a leading ``~``, which a shell does not do in ``--out=~/run`` or in
    files. Every function that takes a path calls this first.

    Raises:
        TypeError: ``path`` is not a str or os.PathLike.
        ValueError: the path contains a NUL character.

    >>> from minifa.storage.atomic import expanded
    >>> import pathlib
    >>> expanded("~/my.npz") == pathlib.Path.home() / "my.npz"
    True
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"a path must be a str or a pathlib.Path, got {path!r}")
    place = os.fspath(path)
    if "\0" in str(place):
        raise ValueError(f"a path must not contain a NUL character, got {place!r}")
    return Path(os.path.expanduser(place))


def with_advice(error: OSError) -> str:
    """The error message, with advice if there is any for this error.

    >>> from minifa.storage.atomic import with_advice
    >>> import errno
    >>> with_advice(OSError(errno.EROFS, "Read-only file system", "runs")).partition("; ")[2]
    'the file system is read-only: choose another folder'
    """
    return f"{error}; {ADVICE[error.errno]}" if error.errno in ADVICE else str(error)


# If available: do not follow links, do not block on pipes, do not acquire a controlling terminal.
SAFE_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))
JUNCTION = 0xA0000003  # a Windows junction, which os.lstat reports as a folder (IO_REPARSE_TAG_MOUNT_POINT)
DIGITS = 16  # of a digest; detects changed content, but is not collision-resistant
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Describe an object at a path that is not a regular file; None if it is a regular file or does not exist."""
    try:
        status = os.lstat(path)
    except OSError:  # reported when the path is opened
        return None
    if getattr(status, "st_reparse_tag", 0) == JUNCTION:
        return KINDS[stat.S_IFLNK]
    return KINDS.get(stat.S_IFMT(status.st_mode))


def plain(path: str, flags: int) -> int:
    """An opener for Python's ``open`` that opens only regular files, not links, devices or pipes. Files with a second
    hard link are not opened for writing.

    Raises:
        OSError: the path is not a regular file; or as in `os.open`.

    >>> from minifa.storage.atomic import plain
    >>> open("/", "rb", opener=plain)
    Traceback (most recent call last):
    OSError: '/' is a folder, not a regular file: only regular files are read and written
    """
    kind, writes = kind_of(path), flags & (os.O_WRONLY | os.O_RDWR)
    if kind is None:
        descriptor = os.open(path, flags | SAFE_FLAGS, 0o666)
        status = os.fstat(descriptor)  # of the open file: the path may have been replaced since the check
        if stat.S_ISREG(status.st_mode) and not (writes and status.st_nlink > 1):
            return descriptor
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise OSError(f"'{path}' has a second hard link, whose content would change as well: remove that link")
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
    raise OSError(f"'{path}' is {kind}, not a regular file: only regular files are read and written")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file. Raises OSError as in `plain`."""
    with open(expanded(path), "rb", opener=plain) as file:
        return file.read()


def digest(path: str | os.PathLike[str]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a user's file. Raises OSError."""
    sha256 = hashlib.sha256()
    with open(expanded(path), "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()[:DIGITS]


def free_name(path: Path) -> Path:
    """The first of ``NAME-1.SUFFIX``, ``NAME-2.SUFFIX``, ... that does not exist."""
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return free


def make_folder(path: Path) -> Path:
    """Create a folder inside a folder of minifa, unless it exists. Raises OSError if the path is a link or anything
    else that is not a folder."""
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_link(path: Path) -> None:
    """Raise OSError if the path is a link, because files written below it would be elsewhere."""
    if kind_of(path) == KINDS[stat.S_IFLNK]:
        raise OSError(f"'{path}' is a symbolic link, not a folder, and is not written through: remove it")


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Inside the with-block, add the path to an OSError without a file name, as for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def as_bytes(text: str) -> bytes:
    """Encode text as UTF-8. Lone surrogates, which Python uses for undecodable bytes of file names, become escapes that
    are valid in JSON.

    >>> from minifa.storage.atomic import as_bytes
    >>> as_bytes("d\\u00e4t\\udcff")
    b'd\\xc3\\xa4t\\\\udcff'
    """
    return text.encode(errors="backslashreplace")


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are equal or refer to the same file; they need not exist."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def stem(path: str | os.PathLike[str]) -> str:
    """The name of a file without its suffix, for display; undecodable bytes are decoded as UTF-8.

    >>> from minifa.storage.atomic import stem
    >>> stem("data/mine.npz"), stem("d\\udcc3\\udca4t.npz") == "d\\u00e4t"
    ('mine', True)
    """
    return Path(path).stem.encode(errors="surrogateescape").decode(errors="replace")


def append(path: str | Path, text: str) -> None:
    """Append text to a file, completely or not at all.

    Raises:
        OSError: the text cannot be written; the file is unchanged.
    """
    with named(path), open(expanded(path), "ab", buffering=0, opener=plain) as file:
        before, rest = os.fstat(file.fileno()).st_size, as_bytes(text)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            file.truncate(before)
            raise


def write_atomic(path: str | Path, content: bytes | str, previous: Path | None = None) -> None:
    """Write a file atomically: readers see the complete new file or the old one, even after a crash or a kill.

    Args:
        path: path of the file; the temporary file has the suffix ``.tmp``. Concurrent writers of a file need a lock.
        content: bytes, or text to be written as UTF-8.
        previous: path to which an existing file is moved; None: it is replaced.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    place = expanded(path)
    if not place.name:
        raise IsADirectoryError(errno.EISDIR, "the path is a folder: give the path of a file", str(place))
    temporary = place.with_name(place.name + ".tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # left by a kill; if it is a link, its target is unchanged
        with named(place), open(temporary, "xb") as file:
            file.write(as_bytes(content) if isinstance(content, str) else content)
            force_to_disk(file)
        move_into_place(temporary, place, previous)
    except BaseException:  # including Ctrl-C: leave no incomplete file
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def save_picture(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure atomically, in the format given by the file suffix. Raises OSError."""
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.removeprefix(".") or None)
    write_atomic(path, content.getvalue())


def force_to_disk(file: IO[bytes]) -> None:
    """Flush the file and force it to disk with fsync, so that it survives a crash of the machine. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def move_into_place(temporary: Path, place: Path, previous: Path | None = None) -> None:
    """Rename a file that is complete and on disk, and force the rename to disk as well.

    Args:
        temporary, place: current and final path, in the same folder.
        previous: path to which an existing file is moved; None: it is replaced.

    Raises:
        OSError: the file cannot be renamed.
    """
    if previous is not None and place.exists():
        os.replace(place, previous)
    os.replace(temporary, place)
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """Force the entries of a folder to disk, on systems where a folder can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
