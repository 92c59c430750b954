"""Worker threads of the CPU, with BLAS held to one thread while they work, so that sums depend on shapes alone."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from threadpoolctl import ThreadpoolController


class _Inside(threading.local):
    chunk = False  # whether this thread is inside a chunk


MOST = 1024  # threads: systems give a process some thousands


class Threads:
    """Worker threads, made at first use. The calling thread works too, so one thread means no workers.

    Jobs go through a plain queue: an executor's futures took a fifth of a millisecond more for every run, and a
    training step makes dozens. For the same reason BLAS, once held, is let go only at the end of the outermost
    with-block: ``with pool:`` around a pass through a network holds it once.
    """

    def __init__(self) -> None:
        self.count = 0
        self._blas: Any = None
        self.forget()

    def forget(self) -> None:
        """Begin without worker threads."""
        self._lock = threading.Lock()
        self._depth = 0
        self._limit: Any = None
        self._hired = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._inside = _Inside()

    def size(self) -> int:
        if self.count == 0:
            wished = os.environ.get("MINIFA_THREADS") or str(available_cores())
            if not wished.isdecimal() or len(wished) > 9 or not 1 <= int(wished) <= MOST:
                raise ValueError(f"MINIFA_THREADS is a number of threads from 1 to {MOST}, got {wished[:20]!r}")
            self.count = int(wished)
        return self.count

    def resize(self, count: int) -> None:
        if not 1 <= count <= MOST:
            raise ValueError(f"threads must be at least 1 and at most {MOST:,}, got {count}")
        self.count = count
        for _ in range(self._hired):
            self._jobs.put(None)
        self._hired = 0

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._limit is not None:
                self._limit.restore_original_limits()
                self._limit = None

    def _hold_blas(self) -> None:
        with self._lock:
            if self._limit is None:
                self._blas = self._blas or ThreadpoolController()
                self._limit = self._blas.limit(limits=1, user_api="blas")

    def working(self) -> bool:
        """Whether this thread is inside a chunk already (its products must not be cut again)."""
        return self._inside.chunk

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Run every task, on all threads, with BLAS held to one thread each. The first error raised comes out."""
        remaining = iter(tasks)  # next() on a list iterator is atomic: each task is taken once
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def work() -> None:
            self._inside.chunk = True
            try:
                for task in remaining:
                    task()
            finally:
                self._inside.chunk = False

        def help_out(context: contextvars.Context) -> None:
            try:
                context.run(work)
            except BaseException as error:  # told where the work was asked for
                ended.put(error)
            else:
                ended.put(None)

        with self:
            self._hold_blas()
            helpers = min(self.size(), len(tasks)) - 1
            self._hire(helpers)
            for _ in range(helpers):
                # Each helper works in a copy of the caller's context, so that numpy.errstate holds in it as well.
                self._jobs.put(functools.partial(help_out, contextvars.copy_context()))
            try:
                work()
            finally:
                for _ in remaining:  # after an error nobody starts another task, and none goes on behind our back
                    pass
                errors = [ended.get() for _ in range(helpers)]
            for error in errors:
                if error is not None:
                    raise error

    def _hire(self, count: int) -> None:
        while self._hired < count:
            threading.Thread(target=_work_through, args=(self._jobs,), name="minifa", daemon=True).start()
            self._hired += 1


def _work_through(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """What a worker does until it is told None."""
    for job in iter(jobs.get, None):
        job()


pool = Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)  # threads do not survive a fork


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
