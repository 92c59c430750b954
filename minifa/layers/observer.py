"""Observers of forward and backward passes: traces, metrics, the search for the first non-finite value.

An observer receives the results of every layer and the errors that the rule returns, and changes nothing. A rule that
needs activities, or adds noise to them, uses a `minifa.Pass` instead.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ..backend import Array


class Observer:
    """Base class of observers. Override the methods you need; each is called after the event in its name."""

    def on_forward(self, layer: Any, x: Array, y: Array) -> None:
        """A layer has computed its output y for the input x."""

    def on_output(self, layer: Any, y: Array, changed: Array) -> None:
        """The pass has replaced a layer's output y, for example by y plus noise."""

    def on_error(self, rule: Any, loss: Any, output: Array, value: Array) -> None:
        """The rule has computed the loss and the error at the output."""

    def on_teach(self, layer: Any, delta: Array | None, taught: Array | None) -> None:
        """The rule has returned the error at a layer's output, given delta from above."""

    def on_gradients(self, layer: Any, x: Array, delta: Array) -> None:
        """A weighted layer has stored its gradients for the presynaptic activity x and the error delta at its
        output."""

    def on_carry(self, layer: Any, delta: Array, below: Array | None) -> None:
        """The rule has carried delta down through a weighted layer."""

    def on_noise(self, layer: Any, symbol: str, noise: Array) -> None:
        """The rule has drawn noise (n, inputs or outputs), for which its equation has this symbol, from which the
        feedback of a weighted layer learns."""

    def on_backward(self, layer: Any, delta: Array, below: Array | None) -> None:
        """A layer has completed its backward pass; below is the error at its input."""


active: ContextVar[Observer | None] = ContextVar("the observer of this thread's passes", default=None)


@contextlib.contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Context manager: the passes in the with-block are observed, by the innermost observer alone."""
    token = active.set(observer)
    try:
        yield
    finally:
        active.reset(token)
