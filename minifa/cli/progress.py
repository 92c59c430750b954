"""The progress bar of the commands that make many runs."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ..console import bar

Outcome = TypeVar("Outcome")


def follow(
    start: Callable[[Callable[[], None]], Generator[Outcome, None, None]],
    save: Callable[[Outcome], str],
    position: Callable[[], int] | None = None,
    *,
    quiet: bool,
    **shown: Any,
) -> KeyboardInterrupt | None:
    """Make runs, save each outcome as soon as it arrives, and show a progress bar.

    Args:
        start: ``start(tick)`` returns the outcomes; it may call ``tick`` while it waits for them.
        save: saves an outcome and returns a text about it, which is shown beside the bar.
        position: returns the position of the bar; None: it moves by one with every outcome.
        quiet: show no bar (the option --quiet).
        shown: options of `minifa.console.bar`.

    Returns:
        The interrupt (Ctrl-C or SIGTERM) that ended the runs; None if all ended.
    """
    with bar(hidden=quiet, **shown) as progress:

        def tick() -> None:
            if position is not None:
                progress.update(position() - progress.n)
            progress.refresh()

        try:
            with contextlib.closing(start(tick)) as outcomes:
                for outcome in outcomes:
                    text = save(outcome)
                    progress.update(1 if position is None else position() - progress.n)
                    progress.set_postfix_str(text)
        except KeyboardInterrupt as stop:
            return stop
    return None
