"""The widget of `mf.explore`: carries the messages of a page in a notebook.

`mf.explore` imports this module: it needs the package anywidget, which notebooks of all kinds can show (JupyterLab,
Notebook, VS Code, Colab, marimo).
"""

from __future__ import annotations

__all__: list[str] = []

import importlib.resources
from typing import Any

import anywidget

from .session import Session
from .widget import Requests

BUNDLE = importlib.resources.files("minifa").joinpath("explorer/bundle/explorer.js")


class Explorer(anywidget.AnyWidget):
    """A page in a notebook. Attributes: ``session``, which answers its requests."""

    _esm = BUNDLE.read_text(encoding="utf-8")

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._requests = Requests(session, self.send)
        self.on_msg(self._receive)

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        self._requests.receive(content)

    def close(self) -> None:
        """End all work and remove the widget from the notebook."""
        self._requests.close()
        super().close()

    def __repr__(self) -> str:
        return f"<Explorer of a step under {', '.join(self.session.setup.rules)}>"
