"""What a notebook shows of networks, rules, feedback matrices, data sets, histories and traces: HTML with tables and
small pictures, and the figure of a history. Importing this package registers them (see `minifa.representations`).

All HTML is self-contained: no script, no style sheet, no address. Every name in it is escaped, because names of layers,
classes and data sets are arbitrary text. Text and lines have the colour of the page, and pictures have backgrounds of
their own, so that light and dark themes can show them.
"""

from __future__ import annotations

__all__: list[str] = []

# ruff: noqa: F401  imported to register their functions
from . import data_sets, networks, trainings
