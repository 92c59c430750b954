"""The exit codes of the commands."""

__all__: list[str] = []

OK, FAILED, WRONG_USE, DIVERGED = 0, 1, 2, 3  # for signals see `minifa.signals.exit_code`
