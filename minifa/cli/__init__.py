"""The command line: one file for each command."""

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``minifa`` with ``arguments`` (default: those of the process); returns its exit code."""
    from . import program  # here, because `minifa.cli.starting` is imported before everything else

    return program.main(arguments)
