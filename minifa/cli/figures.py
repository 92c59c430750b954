"""`minifa figures`: draw all pictures of a finished run into its folder, with a page that shows them."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from ..experiments import run_page
from ..storage.atomic import expanded, make_folder, refuse_link, save_picture
from . import pictures
from .exit_codes import OK


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_folder", metavar="RUN", help="folder of a finished `minifa train`, `compare` or `survey`")
    command.add_argument("--dark", action="store_true", help="for dark pages; the files' names end in -dark")
    command.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="of the files")


def run(options: argparse.Namespace) -> int:
    from ..figures import of_run  # imported here: matplotlib is slow to import

    folder = expanded(options.run_folder) / "figures"
    refuse_link(folder)
    drawn = of_run(options.run_folder, dark=options.dark)
    make_folder(folder)
    for name, figure in drawn.items():
        path = folder / f"{name}{'-dark' if options.dark else ''}.{options.format}"
        save_picture(figure, path)
        print(path)
    pictures.write_page(folder.parent)
    print(folder.parent / run_page.PAGE)
    return OK
