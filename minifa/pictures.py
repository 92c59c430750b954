"""The picture with which a command ends: where it cannot be drawn, a line says so and no result is lost."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .files import save_picture, with_advice
from .terminal import tell
from .text import one_line

LONGEST = 300  # letters of what is said of an error: matplotlib's list every value that is known


def draw(path: str | Path, make: Callable[[ModuleType], Any], otherwise: str) -> bool:
    """Draw a picture into a file.

    Args:
        path: of the file.
        make: gives the figure, from the module `minifa.figures`.
        otherwise: where the numbers are and what draws them again, printed on standard error behind the reason where
            the picture cannot be drawn or written.

    Returns:
        Whether it was drawn.
    """
    try:
        from . import figures  # here, because matplotlib takes longer to import than all the rest

        save_picture(make(figures), path)
    except Exception as error:  # of matplotlib, its settings, its fonts or the disk: the results are there already
        why = with_advice(error) if isinstance(error, OSError) else f"{error}" or type(error).__name__
        tell(f"the picture could not be drawn: {one_line(why, LONGEST)}; {otherwise}")
        return False
    return True
