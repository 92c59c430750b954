"""Worker threads of the CPU, with BLAS held to one thread while they work, so that sums depend on shapes alone."""

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

from .scalars import whole

MOST = 1024  # threads: systems give a process some thousands


@dataclass(frozen=True)
class _Library:
    """A BLAS: how many threads it has, how to change that, and whether that is a number of the calling thread's own."""

    get: Callable[[], int]
    set: Callable[[int], Any]
    per_thread: bool


def _library(found: Any) -> _Library:
    """A library that threadpoolctl found."""
    if found.internal_api == "openblas" and found.threading_layer != "openmp":
        # OpenBLAS's own functions: threadpoolctl from 3.7 on obeys one thread of the process and ignores the others.
        get = next(name for name in found.check_symbols if hasattr(found.dynlib, name))
        ask, tell = (getattr(found.dynlib, name) for name in (get, get.replace("_get_", "_set_")))
        return _Library(ask, tell, per_thread=False)
    per_thread = found.internal_api == "openblas" or "MKL_Set_Num_Threads_Local" in found.check_symbols
    return _Library(found.get_num_threads, found.set_num_threads, per_thread)


class _Blas:
    """The threads of BLAS: one, as long as any thread holds it; afterwards as many as there were.

    Most libraries have one number for the process: whoever comes first notes it, whoever goes last puts it back. Others
    have one for each thread that calls them, which is set and put back in each. So every thread that computes sets 1.
    """

    def __init__(self) -> None:
        self.libraries: list[_Library] | None = None  # looked for at first use
        self.before: list[int] | None = None  # what the first holder found
        self.forget(0)

    def forget(self, holders: int) -> None:
        """After a fork: of the parent's threads that held it, so many are here."""
        self._lock = threading.Lock()
        self._holders = holders

    def hold(self) -> list[int]:
        """One thread from now on. Returns what `let_go` must be given."""
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
        """Where it is held already: in a worker, and again after others may have changed it, as scikit-learn does."""
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
    """A thread that asks for work, or does it. Inside ``with caller:`` BLAS, once held, is held to the block's end."""

    __slots__ = ("blas", "choice", "depth", "found", "in_chunk")

    def __init__(self, blas: _Blas) -> None:
        self.blas = blas
        self.choice: Any = None  # of backend and dtype, which is the backend's affair
        self.in_chunk = False
        self.depth = 0  # of with-blocks
        self.found: list[int] | None = None  # while it holds BLAS: what to give back

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
    def __init__(self, blas: _Blas) -> None:  # in every thread, when it first asks
        self.this = _Caller(blas)


class Threads:
    """Worker threads, made at first use. The calling thread works too, so one thread means no workers.

    Any thread may ask for work to be done, several at once as well: they share the workers.

    Jobs go through a plain queue: an executor's futures took a fifth of a millisecond more for every run, and a
    training step makes dozens. For the same reason ``with pool.caller():`` around a pass through a network holds BLAS
    once, and not for each of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._blas = _Blas()
        self._callers = _Callers(self._blas)
        self.forget()

    def forget(self) -> None:
        """Begin without worker threads. After a fork there is one thread, in the midst of what it was doing."""
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
        count = whole(count, "threads", most=MOST)
        with self._lock:
            self.count = count
            for _ in range(self._hired):
                self._jobs.put(None)
            self._hired = 0

    def caller(self) -> _Caller:
        """This thread."""
        return self._callers.this

    def working(self) -> bool:
        """Whether this thread is inside a chunk already (its products must not be cut again)."""
        return self._callers.this.in_chunk

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Run every task, on all threads, with BLAS held to one thread each. The first error raised comes out."""
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
                return  # too late: all is done
            try:
                self._blas.to_one()
                work()
            except BaseException as error:  # told where the work was asked for
                ended.put(error)
            else:
                ended.put(None)

        with caller:
            caller.hold()
            helpers = min(self.size(), len(tasks)) - 1
            places = iter(range(helpers))  # atomic as well: each is a helper's, or taken back
            self._hire(helpers)
            for _ in range(helpers):
                self._jobs.put(functools.partial(help_out, self.as_here(work)))
            try:
                work()
            finally:
                for _ in remaining:  # after an error nobody starts another task, and none goes on behind our back
                    pass
                # A worker that has not begun is not waited for: another caller may keep it, or it has been dismissed.
                errors = [ended.get() for _ in range(helpers - sum(1 for _ in places))]
            for error in errors:
                if error is not None:
                    raise error

    def as_here(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work``, to be done by a thread of the engine's own with what holds in this one: the backend and dtype that
        are chosen, numpy.errstate."""
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
    """What a worker does until it is told None."""
    while (job := jobs.get()) is not None:
        job()
        del job  # with what it holds, while the next one is waited for


pool = Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)  # threads do not survive a fork


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
