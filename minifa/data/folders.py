"""Where the publishers' files are looked for: the folder given, else $MINIFA_DATA, else the user's cache."""

from __future__ import annotations

__all__ = ["data_folder"]

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files import expanded
from .base import DataNotFound


@dataclass(frozen=True)
class Checked:
    """What a file must be.

    Attributes:
        size: in bytes.
        sha256: its checksum in hexadecimal digits.
        md5: for the files of which no SHA-256 is published. It tells copies apart, and protects from no one.
    """

    size: int
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Source:
    """The files of one data set, and where they come from.

    Attributes:
        name: of the data set.
        files: their names.
        mirrors: the folders on the web that serve what is downloaded, the most dependable first.
        system_folder: where a system package puts them; "" for nowhere.
        inside: the folder in which the publisher's archive has them; "" for none.
        contents: what each file must be, unpacked.
        downloads: what the mirrors serve, by name: each file with .gz, or one archive of them all.
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
        """The name of the one archive that is downloaded, "" where the files are downloaded one by one."""
        return next((name for name in self.downloads if name.endswith(".tar.gz")), "")


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets: the one given, else $MINIFA_DATA, else the user's cache for minifa.

    The cache is ``$XDG_CACHE_HOME/minifa`` or ``~/.cache/minifa``, ``~/Library/Caches/minifa`` on macOS, and
    ``%LOCALAPPDATA%\\minifa`` on Windows. It need not exist.

    Args:
        folder: a path; None: the default.

    Raises:
        DataNotFound: none is named, and there is no home folder.
    """
    given = os.environ.get("MINIFA_DATA", "") if folder is None else folder
    return _user_cache() / "minifa" if isinstance(given, str) and not given else expanded(given)


def folders_searched(source: Source, folder: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The folders that may hold the files of this source, the most specific first."""
    top = data_folder(folder)
    places = (top / source.name, top) + ((Path(source.system_folder),) if source.system_folder else ())
    return tuple(one for place in places for one in ([place / source.inside] if source.inside else []) + [place])


def locate(source: Source, folder: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """The path of each file of the source, all from the first folder that holds every one, plain or with .gz.

    Raises:
        DataNotFound: it says what is missing in each folder searched, and where the publisher's files are.
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
        f"Or put them into {searched[0]}, or name their folder in MINIFA_DATA. Published at:\n"
        + "\n".join(f"  {mirror}{source.archive}" for mirror in source.mirrors)
    )


def download_command(source: Source, folder: str | os.PathLike[str] | None = None) -> str:
    """The command that downloads the data set to where it is looked for first."""
    where = [] if folder is None else ["--data-dir", os.fspath(folder)]
    return shlex.join(["minifa", "data", "download", source.name, *where])


def plain_or_gz(path: Path) -> Path | None:
    """The file that is read under this name: the one that is there with it, else that with .gz; None: there is none."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if os.path.isfile(candidate):  # False where it cannot be read, whereas Path.is_file may raise
            return candidate
    return None


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _at_home("AppData\\Local"))
    if sys.platform == "darwin":
        return _at_home("Library/Caches")
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification asks for a relative path to be ignored.
    return Path(xdg) if os.path.isabs(xdg) else _at_home(".cache")


def _at_home(name: str) -> Path:
    home = os.path.expanduser("~")
    if home == "~":  # a service or a container: no variable and no entry among the users says where it is
        raise DataNotFound(
            "there is no home folder here, in which data files would be looked for: name their folder with --data-dir "
            "or in MINIFA_DATA"
        )
    return Path(home, name)
