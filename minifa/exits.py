"""What a command's exit code says."""

OK, FAILED, WRONG_USE, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 130
