"""Worker threads of the CPU, with BLAS held to one thread while they work, so that sums depend on shapes alone."""

from __future__ import annotations

import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import ThreadpoolController


class Threads:
    """A pool of worker threads, made at first use. The calling thread works too, so one thread means no pool."""

    def __init__(self) -> None:
        self.count = 0
        self._blas: Any = None
        self.forget()

    def forget(self) -> None:
        """Begin without worker threads."""
        self._executor: ThreadPoolExecutor | None = None
        self._inside = threading.local()

    def size(self) -> int:
        if self.count == 0:
            wished = os.environ.get("MINIFA_THREADS") or str(available_cores())
            if not wished.isdecimal() or int(wished) < 1:
                raise ValueError(f"MINIFA_THREADS is a number of threads from 1 up, got {wished!r}")
            self.count = int(wished)
        return self.count

    def resize(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"threads must be at least 1, got {count}")
        self.count = count
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def working(self) -> bool:
        """Whether this thread is inside a chunk already (its products must not be cut again)."""
        return getattr(self._inside, "chunk", False)

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Run every task, on all threads, with BLAS held to one thread each. The first error raised comes out."""
        remaining = iter(tasks)  # next() on a list iterator is atomic: each task is taken once

        def work() -> None:
            self._inside.chunk = True
            try:
                for task in remaining:
                    task()
            finally:
                self._inside.chunk = False

        if self._blas is None:
            self._blas = ThreadpoolController()
        with self._blas.limit(limits=1, user_api="blas"):
            helpers = min(self.size(), len(tasks)) - 1
            if helpers > 0 and self._executor is None:
                self._executor = ThreadPoolExecutor(self.size() - 1, thread_name_prefix="minifa")
            # Each helper works in a copy of the caller's context, so that numpy.errstate holds in it as well.
            contexts = [contextvars.copy_context() for _ in range(helpers)]
            futures = [self._executor.submit(context.run, work) for context in contexts] if self._executor else []
            try:
                work()
            finally:
                for _ in remaining:  # after an error nobody starts another task, and none goes on behind our back
                    pass
                concurrent.futures.wait(futures)
            for future in futures:
                future.result()


pool = Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)  # threads do not survive a fork


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
