"""The search path of the publishers' files: the folder given, else $MINIFA_DATA, else the user's cache."""

from __future__ import annotations

__all__ = ["data_folder"]

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import DataNotFound
from ...storage.atomic import expanded


@dataclass(frozen=True)
class Checked:
    """The expected size and checksum of a file.

    Attributes:
        size: in bytes.
        sha256: its checksum in hexadecimal digits.
        md5: for files without a published SHA-256. It distinguishes copies but does not protect against attacks.
    """

    size: int
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Source:
    """The files of one data set and their download locations.

    Attributes:
        name: name of the data set.
        files: names of the files.
        mirrors: base URLs of the downloads, the most reliable first.
        system_folder: folder in which a system package installs the files; "" for none.
        inside: folder of the files within the publisher's archive; "" for none.
        contents: expected size and checksum of each uncompressed file.
        downloads: the files that the mirrors serve, by name: each file with .gz, or one archive of all files.
        citation: the source to cite, and the licence.
    """

    name: str
    files: tuple[str, ...]
    mirrors: tuple[str, ...]
    system_folder: str = ""
    inside: str = ""
    contents: Mapping[str, Checked] = field(default_factory=dict)
    downloads: Mapping[str, Checked] = field(default_factory=dict)
    citation: str = ""

    @property
    def archive(self) -> str:
        """The name of the archive to download; "" if the files are downloaded individually."""
        return next((name for name in self.downloads if name.endswith(".tar.gz")), "")


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets: the one given, else $MINIFA_DATA, else the user's cache for minifa.

    The cache is ``$XDG_CACHE_HOME/minifa`` or ``~/.cache/minifa``, ``~/Library/Caches/minifa`` on macOS, and
    ``%LOCALAPPDATA%\\minifa`` on Windows. It need not exist.

    Args:
        folder: a path; None: the default.

    Raises:
        DataNotFound: no folder is given, and there is no home folder.
    """
    given = os.environ.get("MINIFA_DATA", "") if folder is None else folder
    return _user_cache() / "minifa" if isinstance(given, str) and not given else expanded(given)


def folders_searched(source: Source, folder: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The folders searched for the files of this source, the most specific first."""
    top = data_folder(folder)
    places = (top / source.name, top) + ((Path(source.system_folder),) if source.system_folder else ())
    return tuple(one for place in places for one in ([place / source.inside] if source.inside else []) + [place])


def locate(source: Source, folder: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """The path of each file of the source, all from the first folder that contains every file, plain or with .gz.

    Raises:
        DataNotFound: no folder is complete; the message lists the missing files per folder and the download locations.
    """
    searched = folders_searched(source, folder)
    missing = []
    for place in searched:
        paths = {name: path for name in source.files if (path := plain_or_gz(place / name)) is not None}
        if len(paths) == len(source.files):
            return paths
        absent = [name for name in source.files if name not in paths]
        missing.append(f"  {place}: " + ("none of them" if not paths else "lacks " + ", ".join(absent)))
    raise DataNotFound(
        f"data set '{source.name}' not found. Expected these files, plain or with .gz:\n"
        + "".join(f"  {name}\n" for name in source.files)
        + "in one of these folders:\n"
        + "\n".join(missing)
        + f"\nTo download them: {download_command(source, folder)}\n"
        f"Or put them into {searched[0]}, or set MINIFA_DATA to their folder. Published at:\n"
        + "\n".join(f"  {mirror}{source.archive}" for mirror in source.mirrors)
    )


def download_command(source: Source, folder: str | os.PathLike[str] | None = None) -> str:
    """The command that downloads the data set into the first folder searched."""
    where = [] if folder is None else ["--data-dir", os.fspath(folder)]
    return shlex.join(["minifa", "data", "download", source.name, *where])


def plain_or_gz(path: Path) -> Path | None:
    """The path itself if the file exists, else the path with .gz appended; None if neither exists."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if os.path.isfile(candidate):  # False if it is not accessible, whereas Path.is_file may raise
            return candidate
    return None


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _in_home("AppData\\Local"))
    if sys.platform == "darwin":
        return _in_home("Library/Caches")
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification requires relative paths to be ignored.
    return Path(xdg) if os.path.isabs(xdg) else _in_home(".cache")


def _in_home(name: str) -> Path:
    home = os.path.expanduser("~")
    if home == "~":  # a service or a container: neither $HOME nor the user database defines it
        raise DataNotFound(
            "the user has no home folder, the default location of data files: give their folder with --data-dir or "
            "MINIFA_DATA"
        )
    return Path(home, name)
