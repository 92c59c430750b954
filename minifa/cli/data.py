"""`minifa data`: list the data sets, compare their files with the publishers' checksums, and download them."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from .. import data
from ..console import print_stderr
from ..data.downloads.sources import Source, download_command, locate
from ..signals import exit_code
from ..text import lines_of, table, terminal_width, wrap
from .exit_codes import FAILED, OK


def describe(command: argparse.ArgumentParser) -> None:
    command.description = (
        "list: every data set, where it was found, and its citation. check: whether the files of one, or of all, are "
        "sound and the publisher's; exit code 1 if some are damaged. download: fetch one from its publisher or a "
        "mirror; the same command resumes an interrupted download."
    )
    command.add_argument(
        "action",
        nargs="?",
        metavar="ACTION",
        choices=("list", "check", "download"),
        default="list",
        help="list, check or download",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help=f"to check or download: {', '.join(data.SOURCES)}")
    command.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")


def run(options: argparse.Namespace) -> int:
    if options.action == "list":
        if options.name is not None:
            raise ValueError(f"list takes no name, got '{options.name}': it shows all of them")
        return _list(options.data_dir)
    if options.action == "check":
        return _check(
            [options.name] if options.name else list(data.SOURCES), options.data_dir, options.name is not None
        )
    if options.name is None:
        raise ValueError(f"download needs the name of a data set: {', '.join(data.SOURCES)}")
    return _download(options.name, options.data_dir, options.quiet)


def _list(folder: str | None) -> int:
    rows, citations = [("set", "download", "where")], []
    for name, where in data.find(folder).items():
        source = data.SOURCES.get(name)
        if source is None:
            rows.append((name, "-", where))
            citation = data.load(name).citation
        else:
            rows.append((name, _size(source), _where(source, folder)))
            citation = source.citation
        if citation:
            citations.append(f"{name}: {citation}.")
    print(table(rows, right_from=len(rows)))
    print("\nto cite\n" + "\n".join("\n".join(lines_of(one, terminal_width(), "", "    ")) for one in citations))
    return OK


def _check(names: list[str], folder: str | None, must_be_there: bool) -> int:
    rows, damaged = [("set", "what it is")], []
    for name in names:
        try:
            rows.append((name, data.check(name, folder)))
        except data.DataNotFound:
            if must_be_there:
                raise
            rows.append((name, _where(data.SOURCES[name], folder)))
        except data.DataFileError as error:
            rows.append((name, "damaged"))
            damaged.append(f"{name}: {error}\nto replace it: {download_command(data.SOURCES[name], folder)}")
    print(table(rows, right_from=len(rows)))
    if damaged:
        print_stderr("\n".join(damaged))
    return FAILED if damaged else OK


def _download(name: str, folder: str | None, quiet: bool) -> int:
    try:
        print(f"{name} is in {data.download(name, folder, progress=not quiet)}")
    except KeyboardInterrupt as stop:
        print_stderr(f"\ninterrupted: {stop}" if str(stop) else "\ninterrupted")
        return exit_code(stop)
    print(wrap(f"to cite: {data.SOURCES[name].citation}."))
    return OK


def _where(source: Source, folder: str | None) -> str:
    try:
        return str(locate(source, folder)[source.files[0]].parent)
    except data.DataNotFound:
        return f"not found: {download_command(source, folder)}"


def _size(source: Source) -> str:
    return f"{sum(file.size for file in source.downloads.values()) / 1e6:.1f} MB"
