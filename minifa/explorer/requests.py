"""Answers the requests of a page in a notebook. The work is done in threads, so that the kernel stays free for the next
cell."""

from __future__ import annotations

__all__ = ["Requests"]

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from ..validation import check_type
from .arrays import Json
from .session import Session


class Requests:
    """Answers the requests of a page in threads: films one after another, one run at a time.

    Args:
        session: answers them.
        send: sends a message to the page; called from several threads, one at a time.

    Raises:
        TypeError: an argument of the wrong type.
    """

    def __init__(self, session: Session, send: Callable[[Json], object]) -> None:
        self.session = check_type(session, Session, "the session must be a minifa.explorer.session.Session")
        if not callable(send):
            raise TypeError(f"send must be callable with a message, got {send!r}")
        self._send_to_page = send
        self._context = contextvars.copy_context()  # with the backend of the cell that made the widget
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._run: tuple[threading.Event, threading.Thread] | None = None  # the current one, with what stops it

    def receive(self, request: Any) -> None:
        """Start to answer a request (see `minifa.explorer.session`). A new run, and the command "stop", end the run
        before it; a request with errors is answered with a sentence."""
        command = request.get("command") if isinstance(request, dict) else None
        if self._closed.is_set():
            return
        if command == "stop":
            self.stop()
            self._send({"id": request.get("id"), "done": True})
            return
        stop = threading.Event()
        before = self.stop() if command == "run" else None
        thread = threading.Thread(
            target=self._context.copy().run, args=(self._answer, request, stop, before), name="mf.explore", daemon=True
        )
        if command == "run":
            self._run = stop, thread
        thread.start()

    def stop(self) -> threading.Thread | None:
        """Let the current run end after its update.

        Returns:
            The thread of the run, None without a run.
        """
        if self._run is None:
            return None
        stop, thread = self._run
        stop.set()
        return thread

    def close(self) -> None:
        """End all work after its current update; later requests are ignored."""
        self._closed.set()

    def _answer(self, request: Any, stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        for message in self.session.answers(request, lambda: stop.is_set() or self._closed.is_set()):
            self._send(message)

    def _send(self, message: Json) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._send_to_page(message)
