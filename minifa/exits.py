"""What a command's exit code says."""

__all__: list[str] = []

OK, FAILED, WRONG_USE, DIVERGED = 0, 1, 2, 3  # what a signal ended: see `minifa.interrupts.exit_code`
