"""What a notebook shows of an object, and the figure of an object: two functions of its class.

Networks, data sets and rules are defined below the code that draws them. They inherit `HtmlRepr` and know nothing of
HTML; `minifa.notebook`, which is imported when a representation is first asked for, registers a function for each of
these classes:

    @representations.html.register
    def _(net: Network) -> str: ...

IPython calls ``_repr_html_`` of the last value of a cell; elsewhere it shows the ``repr``.
"""

from __future__ import annotations

__all__: list[str] = []

import functools
import importlib
import sys
from typing import Any

NOTEBOOK = f"{__package__}.notebook"


@functools.singledispatch
def html(shown: object) -> str | None:
    """The object as HTML; None if its class has no such function: a notebook then shows the ``repr``."""
    return html(shown) if _more_registered() else None


@functools.singledispatch
def figure(drawn: object, **options: Any) -> Any:
    """The matplotlib figure of an object.

    Raises:
        TypeError: its class has no figure.
    """
    if _more_registered():
        return figure(drawn, **options)
    raise TypeError(f"a {type(drawn).__name__} has no figure of its own: see minifa.figures")


def _more_registered() -> bool:
    """Import `minifa.notebook`; whether this was the first time, so that functions are registered now."""
    first = NOTEBOOK not in sys.modules
    importlib.import_module(NOTEBOOK)
    return first


class HtmlRepr:
    """Base class of objects that a notebook shows as `html`."""

    def _repr_html_(self) -> str | None:
        return html(self)
