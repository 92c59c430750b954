"""The figure and the page at the end of a command; if they cannot be made, a message is printed and no result is
lost."""

from __future__ import annotations

__all__: list[str] = []

import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import imports
from ..console import print_stderr
from ..experiments import run_page, survey_page, surveys
from ..storage.atomic import save_picture, with_advice
from ..text import one_line

LONGEST = 300  # maximum length of an error message: matplotlib's list every valid value


def draw(path: str | Path, make: Callable[[ModuleType], Any], otherwise: str) -> bool:
    """Draw a figure and save it to a file.

    Args:
        path: path of the file.
        make: makes the figure, given the module `minifa.figures`.
        otherwise: the location of the numbers and the command that draws them again; printed on standard error after
            the reason if the figure cannot be drawn or written.

    Returns:
        Whether the figure was saved.
    """
    try:
        from .. import figures  # imported here: matplotlib takes longer to import than all other modules

        save_picture(make(figures), path)
    except Exception as error:  # of matplotlib, its settings, its fonts or the disk: the results are already saved
        why = with_advice(error) if isinstance(error, OSError) else f"{error}" or type(error).__name__
        print_stderr(f"the picture could not be drawn: {one_line(why, LONGEST)}; {otherwise}")
        return False
    return True


def show(path: Path) -> None:
    """Print where the picture is that shows the result of the command."""
    print(f"picture: {path.absolute()}")


def write_page(folder: Path) -> None:
    """Write the folder's ``index.html``; if it cannot be written, a message is printed and no result is lost."""
    of_survey = (folder / surveys.TABLE).is_file()
    try:
        (survey_page if of_survey else run_page).write(folder)
    except OSError as error:
        print_stderr(f"the page could not be written: {with_advice(error)}")


def how_to_redraw(folder: Path, numbers: str) -> str:
    """The location of a run folder's numbers, and the command that draws its pictures again."""
    return f"the numbers are in {folder / numbers}; {redraw(folder)} draws it again"


def redraw(folder: Path) -> str:
    """The command that draws all pictures of a run folder."""
    return shlex.join(["minifa", "figures", str(folder), *imports.options()])
