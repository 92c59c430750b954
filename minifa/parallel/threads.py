"""CPU worker threads. BLAS is limited to one thread while they work, so that sums depend on shapes alone."""

from __future__ import annotations

__all__: list[str] = []

import contextvars
import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from threadpoolctl import ThreadpoolController

from ..validation import check_int

MOST = 1024  # threads; operating systems allow a process a few thousand


@dataclass(frozen=True)
class _Library:
    """A BLAS library: get and set its number of threads, and whether that number is local to the calling thread."""

    get: Callable[[], int]
    set: Callable[[int], Any]
    per_thread: bool


def _library(found: Any) -> _Library:
    """The `_Library` of a controller of threadpoolctl."""
    if found.internal_api == "openblas" and found.threading_layer != "openmp":
        # OpenBLAS's functions are called directly: threadpoolctl from 3.7 on takes effect in only one thread of the
        # process.
        get = next(name for name in found.check_symbols if hasattr(found.dynlib, name))
        ask, tell = (getattr(found.dynlib, name) for name in (get, get.replace("_get_", "_set_")))
        return _Library(ask, tell, per_thread=False)
    per_thread = found.internal_api == "openblas" or "MKL_Set_Num_Threads_Local" in found.check_symbols
    return _Library(found.get_num_threads, found.set_num_threads, per_thread)


class _Blas:
    """Limits BLAS to one thread while any thread holds it, and restores the previous number afterwards.

    Most libraries have one number for the process: the first holder saves it and the last one restores it. Other
    libraries have one number per calling thread, which each thread saves and restores. Every thread that computes
    therefore sets 1.
    """

    def __init__(self) -> None:
        self.libraries: list[_Library] | None = None  # detected at first use
        self.before: list[int] | None = None  # numbers of threads before the first holder
        self.forget(0)

    def forget(self, holders: int) -> None:
        """Reset after a fork. holders: number of holding threads that exist in the child."""
        self._lock = threading.Lock()
        self._holders = holders

    def hold(self) -> list[int]:
        """Limit BLAS to one thread. Returns the previous numbers of threads, to be passed to `let_go`."""
        with self._lock:
            if self.libraries is None:
                self.libraries = [
                    _library(one) for one in ThreadpoolController().select(user_api="blas").lib_controllers
                ]
            found = [one.get() for one in self.libraries]
            if self.before is None:
                self.before = found
            self._holders += 1
            self.to_one()
            return found

    def to_one(self) -> None:
        """Set one thread while BLAS is already held: in a worker, or after other code (scikit-learn) may have changed
        it."""
        for one in self.libraries or ():
            one.set(1)

    def let_go(self, found: list[int]) -> None:
        with self._lock:
            self._holders -= 1
            for one, own, first in zip(self.libraries or (), found, self.before or found, strict=True):
                if one.per_thread:
                    one.set(own)
                elif self._holders == 0:
                    one.set(first)
            if self._holders == 0:
                self.before = None


class _Caller:
    """State of a thread that requests or does work. In ``with caller:``, BLAS stays held until the block ends once
    `hold` was called."""

    __slots__ = ("blas", "choice", "depth", "found", "in_chunk")

    def __init__(self, blas: _Blas) -> None:
        self.blas = blas
        self.choice: Any = None  # the thread's backend and dtype; managed by backend.py
        self.in_chunk = False
        self.depth = 0  # of with-blocks
        self.found: list[int] | None = None  # while BLAS is held: the numbers of threads to restore

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.found is not None:
            found, self.found = self.found, None
            self.blas.let_go(found)

    def hold(self) -> None:
        if self.found is None:
            self.found = self.blas.hold()
        else:
            self.blas.to_one()


class _Callers(threading.local):
    def __init__(self, blas: _Blas) -> None:  # called in every thread at its first access
        self.this = _Caller(blas)


class Threads:
    """Pool of worker threads, started at first use. The calling thread works too, so one thread means no workers.

    Several threads may request work at the same time; they share the workers.

    Jobs are passed through a plain queue: an executor's futures took 0.2 ms more per run, and a training step makes
    dozens of runs. For the same reason, ``with pool.caller():`` around a pass through a network holds BLAS once instead
    of once per run.
    """

    def __init__(self) -> None:
        self.count = 0
        self._blas = _Blas()
        self.callers = _Callers(self._blas)
        self.forget()

    def forget(self) -> None:
        """Reset to no worker threads. After a fork, the child has only the forking thread, which may hold BLAS."""
        self._lock = threading.Lock()
        self._hired = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._blas.forget(holders=0 if self.caller().found is None else 1)

    def size(self) -> int:
        if self.count == 0:
            wished = os.environ.get("MINIFA_THREADS") or str(available_cores())
            if not wished.isdecimal() or len(wished) > 9 or not 1 <= int(wished) <= MOST:
                raise ValueError(f"MINIFA_THREADS is a number of threads from 1 to {MOST}, got {wished[:20]!r}")
            self.count = int(wished)
        return self.count

    def resize(self, count: int) -> None:
        count = check_int(count, "threads", most=MOST)
        with self._lock:
            self.count = count
            for _ in range(self._hired):
                self._jobs.put(None)
            self._hired = 0

    def caller(self) -> _Caller:
        """The state of this thread."""
        return self.callers.this

    def working(self) -> bool:
        """Whether this thread is inside a chunk, where products must not be split again."""
        return self.callers.this.in_chunk

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Run all tasks on all threads, with BLAS limited to one thread each. The first error is raised here."""
        caller = self.caller()
        if caller.in_chunk:
            for task in tasks:
                task()
            return
        remaining = iter(tasks)  # next() on a list iterator is atomic: each task is taken once
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def work() -> None:
            this = self.caller()
            this.in_chunk = True
            try:
                for task in remaining:
                    task()
            finally:
                this.in_chunk = False

        def help_out(work: Callable[[], None]) -> None:
            if next(places, None) is None:
                return  # all tasks are done already
            try:
                self._blas.to_one()
                work()
            except BaseException as error:  # raised in the calling thread
                ended.put(error)
            else:
                ended.put(None)

        with caller:
            caller.hold()
            helpers = min(self.size(), len(tasks)) - 1
            places = iter(range(helpers))  # atomic too: each place goes to a helper or is taken back below
            self._hire(helpers)
            for _ in range(helpers):
                self._jobs.put(functools.partial(help_out, self.as_here(work)))
            try:
                work()
            finally:
                for _ in remaining:  # after an error, no further task starts
                    pass
                # Do not wait for workers that have not started: they may be busy for another caller, or have ended.
                errors = [ended.get() for _ in range(helpers - sum(1 for _ in places))]
            for error in errors:
                if error is not None:
                    raise error

    def as_here(self, work: Callable[[], None]) -> Callable[[], None]:
        """Wrap ``work`` so that a worker thread runs it with this thread's context: backend, dtype and
        numpy.errstate."""
        choice, context = self.caller().choice, contextvars.copy_context()

        def there() -> None:
            caller = self.caller()
            caller.choice = choice
            try:
                context.run(work)
            finally:
                caller.choice = None

        return there

    def _hire(self, count: int) -> None:
        if self._hired < count:
            with self._lock:
                while self._hired < count:
                    threading.Thread(target=_work_through, args=(self._jobs,), name="minifa", daemon=True).start()
                    self._hired += 1


def _work_through(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """Loop of a worker: run jobs until it receives None."""
    while (job := jobs.get()) is not None:
        job()
        del job  # free its arrays while waiting for the next job


pool = Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)  # threads do not survive a fork


def available_cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
