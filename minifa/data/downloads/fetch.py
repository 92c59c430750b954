"""Download of a whole data set, on request only. `minifa.data.downloads.http` downloads a single file."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import os
from pathlib import Path

from ...errors import DataNotFound, DownloadError
from ...storage import locks
from ...storage.atomic import move_into_place
from .checksums import content_matches, file_matches
from .sources import Source, data_folder, locate, plain_or_gz

ROOM = 1 << 20  # bytes allowed for the headers of an archive and its small files


def modified_files(source: Source, paths: dict[str, Path]) -> list[Path]:
    """The files whose content is not the publisher's. Raises OSError if a file cannot be read."""
    return [path for name, path in paths.items() if not content_matches(path, source.contents[name])]


def fetch_set(source: Source, folder: str | os.PathLike[str] | None = None, progress: bool = False) -> Path:
    """Download the missing files of a data set into the data folder; return the folder of its files.

    If the publisher's files already exist in any searched folder, nothing is downloaded. An archive is deleted after
    its files are extracted. An existing file that is not the publisher's is kept, with .replaced appended to its name.

    Args:
        source: the files and their mirrors.
        folder: as for `minifa.data.load`.
        progress: show a progress bar for each file in a terminal or a notebook.

    Raises:
        DownloadError: no mirror has a file, another process is downloading it, or there is too little disk space.
        DataFileError: the archive has the right checksum but not the expected members.
        OSError: a file cannot be written.
    """
    with contextlib.suppress(DataNotFound):
        paths = locate(source, folder)
        if not modified_files(source, paths):
            return paths[source.files[0]].parent
    top = data_folder(folder) / source.name
    place = top / source.inside
    place.mkdir(parents=True, exist_ok=True)
    with locks.locked(top / ".lock", lambda holder: _in_use(source, holder)):
        missing = [name for name in source.files if not _is_complete(source, place, name)]
        if missing and source.archive:
            _fetch_archive(source, missing, top, progress)
        elif missing:
            _fetch_one_by_one(source, missing, place, progress)
    return place


def _is_complete(source: Source, place: Path, name: str) -> bool:
    path = plain_or_gz(place / name)
    return path is not None and content_matches(path, source.contents[name])


def _fetch_one_by_one(source: Source, missing: list[str], place: Path, progress: bool) -> None:
    from .http import fetch, received  # imported here: only downloads need HTTP

    files = {name: place / f"{name}.gz" for name in missing}
    _check_disk_space(place, sum(source.downloads[path.name].size - received(path) for path in files.values()))
    for name, path in files.items():
        fetch(path, source.downloads[path.name], source.mirrors, progress)
        if os.path.isfile(place / name):  # the plain file would take precedence over the .gz file
            move_into_place(place / name, place / f"{name}.replaced")


def _fetch_archive(source: Source, missing: list[str], top: Path, progress: bool) -> None:
    from .archive import extract
    from .http import fetch, received

    archive, expected = top / source.archive, source.downloads[source.archive]
    contents = {name: source.contents[name] for name in missing}
    unpacked = sum(content.size for content in contents.values())
    if not (os.path.isfile(archive) and file_matches(archive, expected)):
        _check_disk_space(top, expected.size - received(archive) + unpacked)
        fetch(archive, expected, source.mirrors, progress)
    _check_disk_space(top, unpacked)
    total = sum(content.size for content in source.contents.values())
    extract(archive, contents, source.inside, top / source.inside, total + ROOM)
    archive.unlink()


def _check_disk_space(folder: Path, size: int) -> None:
    import shutil  # here: it imports the modules of all archive formats

    free = shutil.disk_usage(folder).free
    if size > free:
        raise DownloadError(
            f"{folder} must have {size / 1e6:,.1f} MB of free space, got {free / 1e6:,.1f} MB: free some, or choose "
            "another folder with --data-dir or MINIFA_DATA"
        )


def _in_use(source: Source, holder: str) -> DownloadError:
    return DownloadError(f"data set '{source.name}' is being downloaded by {holder}: wait until it ends")
