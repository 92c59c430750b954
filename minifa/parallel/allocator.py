"""Freed memory is kept for the next step.

The C library returns large freed blocks to the system. The arrays of a training step are freed and allocated again in
every step, and each time the system provides and clears all their pages. Without this, a step of the benchmark's CNN
takes a quarter to a half longer at batch 512, and up to a tenth at batch 128 (two cores).
"""

from __future__ import annotations

__all__: list[str] = []

import ctypes
import os

KEPT = 1 << 30  # bytes: freed memory at the end of the heap beyond this size goes back to the system
LARGEST = (KEPT, 32 << 20)  # bytes: larger arrays get memory of their own; older versions accept at most 32 MiB
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the parameters of mallopt(3) in glibc's malloc.h
CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let the process keep freed memory. Returns whether this was set: not if an environment variable
    (`CHOSEN_BY_USER`) configures the allocator, and only with glibc (Linux); other C libraries have their own rules."""
    if any(name in os.environ for name in CHOSEN_BY_USER):
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError, ValueError):  # another C library, or Windows
        return False
    # In this order: setting either parameter ends glibc's own choice of the other.
    return any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST) and mallopt(TRIM_THRESHOLD, KEPT) == 1
