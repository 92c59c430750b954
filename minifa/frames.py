"""Tables of rows as pandas data frames, for users who have pandas; minifa itself does not need it."""

from __future__ import annotations

__all__ = ["to_frame"]

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from .validation import check_list


def to_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as a ``pandas.DataFrame``, or a list of dictionaries where pandas is not installed.

    Args:
        rows: one mapping from column to value per row; a column that a row lacks is NaN in the frame.

    Raises:
        TypeError: the rows are not a list of mappings.

    >>> from minifa.frames import to_frame
    >>> len(to_frame([{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}]))
    2
    """
    copies = [dict(row) for row in check_list(rows, Mapping, "the rows of a table must be a list of mappings")]
    if importlib.util.find_spec("pandas") is None:
        return copies
    return importlib.import_module("pandas").DataFrame(copies)
