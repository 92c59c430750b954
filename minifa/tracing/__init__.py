"""One training step, recorded moment by moment: for the terminal, for a page, for your own code."""

# ruff: noqa: F401  what __all__ does not list is for the other packages

from .recorder import Moment, Trace, trace

__all__ = ["Moment", "Trace", "trace"]
