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
from .allocator import keep_freed_memory

MAX_THREADS = 1024  # threads; operating systems allow a process a few thousand


@dataclass(frozen=True)
class _Library:
    """A BLAS library: get and set its number of threads, and whether that number is local to the calling thread."""

    get: Callable[[], int]
    set: Callable[[int], Any]
    per_thread: bool


def _library(controller: Any) -> _Library:
    """The `_Library` of a controller of threadpoolctl."""
    if controller.internal_api == "openblas" and controller.threading_layer != "openmp":
        # OpenBLAS's functions are called directly: threadpoolctl from 3.7 on takes effect in only one thread of the
        # process.
        getter = next(name for name in controller.check_symbols if hasattr(controller.dynlib, name))
        setter = getter.replace("_get_", "_set_")
        return _Library(getattr(controller.dynlib, getter), getattr(controller.dynlib, setter), per_thread=False)
    per_thread = controller.internal_api == "openblas" or "MKL_Set_Num_Threads_Local" in controller.check_symbols
    return _Library(controller.get_num_threads, controller.set_num_threads, per_thread)


class _Blas:
    """Limits BLAS to one thread while any thread holds it, and restores the previous number afterwards.

    Most libraries have one number for the process: the first holder saves it and the last one restores it. Other
    libraries have one number per calling thread, which each thread saves and restores. Every thread that computes
    therefore sets 1.
    """

    def __init__(self) -> None:
        self.libraries: list[_Library] | None = None  # detected at first use
        self.saved: list[int] | None = None  # numbers of threads before the first holder
        self.reset(0)

    def reset(self, holders: int) -> None:
        """Reset after a fork. holders: number of holding threads that exist in the child."""
        self._lock = threading.Lock()
        self._holders = holders

    def acquire(self) -> list[int]:
        """Limit BLAS to one thread. Returns the previous numbers of threads, to be passed to `release`."""
        with self._lock:
            if self.libraries is None:
                controllers = ThreadpoolController().select(user_api="blas").lib_controllers
                self.libraries = [_library(controller) for controller in controllers]
                keep_freed_memory()  # here, because importing minifa changes nothing in the process
            counts = [library.get() for library in self.libraries]
            if self.saved is None:
                self.saved = counts
            self._holders += 1
            self.set_one_thread()
            return counts

    def set_one_thread(self) -> None:
        """Set one thread while BLAS is already held: in a worker, or after other code (scikit-learn) may have changed
        it."""
        for library in self.libraries or ():
            library.set(1)

    def release(self, counts: list[int]) -> None:
        """Restore the numbers of threads, ``counts`` as returned by `acquire`."""
        with self._lock:
            self._holders -= 1
            for library, count, saved in zip(self.libraries or (), counts, self.saved or counts, strict=True):
                if library.per_thread:
                    library.set(count)
                elif self._holders == 0:
                    library.set(saved)
            if self._holders == 0:
                self.saved = None


class _Caller:
    """State of a thread that requests or does work. In ``with caller:``, BLAS stays held until the block ends once
    `limit_blas` was called."""

    __slots__ = ("blas", "choice", "counts", "depth", "in_chunk")

    def __init__(self, blas: _Blas) -> None:
        self.blas = blas
        self.choice: Any = None  # the thread's backend and dtype; managed by backend.py
        self.in_chunk = False
        self.depth = 0  # of with-blocks
        self.counts: list[int] | None = None  # while BLAS is held: the numbers of threads to restore

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.counts is not None:
            counts, self.counts = self.counts, None
            self.blas.release(counts)

    def limit_blas(self) -> None:
        if self.counts is None:
            self.counts = self.blas.acquire()
        else:
            self.blas.set_one_thread()


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
        self.reset()

    def reset(self) -> None:
        """Reset to no worker threads. After a fork, the child has only the forking thread, which may hold BLAS."""
        self._lock = threading.Lock()
        self._n_workers = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._blas.reset(holders=0 if self.caller().counts is None else 1)

    def size(self) -> int:
        if self.count == 0:
            setting = os.environ.get("MINIFA_THREADS") or str(available_cores())
            if not setting.isdecimal() or len(setting) > 9 or not 1 <= int(setting) <= MAX_THREADS:
                raise ValueError(f"MINIFA_THREADS must be an int from 1 to {MAX_THREADS}, got {setting[:20]!r}")
            self.count = int(setting)
        return self.count

    def resize(self, count: int) -> None:
        count = check_int(count, "threads", most=MAX_THREADS)
        with self._lock:
            self.count = count
            for _ in range(self._n_workers):
                self._jobs.put(None)
            self._n_workers = 0

    def caller(self) -> _Caller:
        """The state of this thread."""
        return self.callers.this

    def in_chunk(self) -> bool:
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
        results: SimpleQueue[BaseException | None] = SimpleQueue()

        def work() -> None:
            thread = self.caller()
            thread.in_chunk = True
            try:
                for task in remaining:
                    task()
            finally:
                thread.in_chunk = False

        def job(work: Callable[[], None]) -> None:
            if next(slots, None) is None:
                return  # all tasks are done already
            try:
                self._blas.set_one_thread()
                work()
            except BaseException as error:  # raised in the calling thread
                results.put(error)
            else:
                results.put(None)

        with caller:
            caller.limit_blas()
            n_workers = min(self.size(), len(tasks)) - 1
            slots = iter(range(n_workers))  # atomic too: each slot goes to a worker or is taken back below
            self._start_workers(n_workers)
            for _ in range(n_workers):
                self._jobs.put(functools.partial(job, self.with_context(work)))
            try:
                work()
            finally:
                for _ in remaining:  # after an error, no further task starts
                    pass
                # Do not wait for workers that have not started: they may be busy for another caller, or have ended.
                errors = [results.get() for _ in range(n_workers - sum(1 for _ in slots))]
            for error in errors:
                if error is not None:
                    raise error

    def with_context(self, work: Callable[[], None]) -> Callable[[], None]:
        """Wrap ``work`` so that a worker thread runs it with this thread's context: backend, dtype and
        numpy.errstate."""
        choice, context = self.caller().choice, contextvars.copy_context()

        def run_with_context() -> None:
            caller = self.caller()
            caller.choice = choice
            try:
                context.run(work)
            finally:
                caller.choice = None

        return run_with_context

    def _start_workers(self, count: int) -> None:
        if self._n_workers < count:
            with self._lock:
                while self._n_workers < count:
                    threading.Thread(target=_worker_loop, args=(self._jobs,), name="minifa", daemon=True).start()
                    self._n_workers += 1


def _worker_loop(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """Loop of a worker: run jobs until it receives None."""
    while (job := jobs.get()) is not None:
        job()
        del job  # free its arrays while waiting for the next job


pool = Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.reset)  # threads do not survive a fork


def available_cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
