"""Worker processes: tasks run in parallel; if a worker dies, only its task is lost, and no worker outlives its parent.

The pools of the standard library fail as a whole when one of their processes is killed, and leave orphans when their
parent is killed.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from .. import backend, imports, registry
from ..data import notices
from ..parallel.threads import available_cores

Task = TypeVar("Task")
Answer = TypeVar("Answer")
SECONDS_TO_SAVE = 30.0  # grace period for workers after SIGTERM
TICK = 0.5  # seconds between two calls of ``tick``
CANNOT_START = (
    "worker processes cannot start (their messages stand above): a script that uses them needs an "
    "if __name__ == '__main__' guard, because they import it again"
)


class Stopped(Exception):
    """The work was interrupted by a signal and has saved its state."""


@dataclass(frozen=True)
class Ended:
    """A process ended before it returned an answer.

    Attributes:
        process: process id.
        exit_code: minus the number of the signal that killed it, or its exit status; None: unknown.
    """

    process: int | None
    exit_code: int | None

    def __str__(self) -> str:
        code = self.exit_code
        if code is None or code >= 0:
            how = f"with exit code {code}; its messages stand above"
        else:
            how = f"by the signal {_name_of(-code)}"
        kills = "; a system that runs out of memory ends processes so, and fewer at once need less of it"
        killed = code is not None and -code == getattr(signal, "SIGKILL", 0)
        return f"its worker process ({self.process}) was ended {how}{kills if killed else ''}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class _Worker:
    """A process, its pipe, and the index of its task."""

    def __init__(self, serving: tuple[Any, ...], number: int) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy locks held by other threads
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *serving), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe is closed when the process ends
        self.number, self.started = number, False

    def give(self, task: Any) -> None:
        with contextlib.suppress(OSError):  # the process died; the next read of the pipe detects that
            self.pipe.send(task)

    def end(self) -> Ended:
        """Close the pipe, which ends the process; kill it if it is still running after a second."""
        self.pipe.close()
        self.process.join(1)
        self.process.kill()
        self.process.join()
        return Ended(self.process.pid, self.process.exitcode)


def spread(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    jobs: int | None = None,
    tick: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Answer | Ended], None, None]:
    """`side_by_side` on the cores of this machine. Every worker gets this process's backend, an equal share of its
    threads, the imported files (see `minifa.imports`), and the user-defined rules, models and so on that it can import.

    Args:
        work: an importable function, which must handle its own exceptions.
        tasks: its arguments, which must be picklable.
        jobs: number of processes; None: one per core. One: the work is done in this process, unless ``tick`` is given.
        tick: called about twice a second, to report progress.

    Raises:
        RuntimeError: no process can be started.
    """
    jobs = at_once(jobs, len(tasks))
    if jobs == 1 and tick is None:
        for task in tasks:
            yield task, work(task)
        return
    threads = max(1, backend.threads() // jobs)
    own = imports.snapshot(), registry.user_defined_addresses()
    setting = backend.name(), str(backend.dtype()), threads, notices.issued(), *own
    with contextlib.closing(side_by_side(work, tasks, jobs, _begin, setting, tick)) as answers:
        yield from answers


def _begin(
    name: str,
    dtype: str,
    threads: int,
    notices_given: Sequence[str],
    files: Sequence[imports.Imported],
    own: Sequence[registry.Address],
) -> None:
    """Initialise a worker of `spread`."""
    backend.use(name, dtype, threads)
    notices.silence(notices_given)
    for file in files:
        imports.import_content(file)
    registry.register_entries(own)


def at_once(jobs: int | None, tasks: int) -> int:
    """Number of processes for a number of tasks; 1 means this process."""
    return max(1, min(jobs or available_cores(), tasks))


def side_by_side(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    jobs: int,
    start: Callable[..., None],
    setting: tuple[Any, ...] = (),
    tick: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Answer | Ended], None, None]:
    """Call ``work`` for every task in ``jobs`` processes; yield each task with its answer, as they arrive.

    If a process ends early, the answer of its task is an `Ended`; the task is not retried, and a new process replaces
    the old one. Closing the iterator sends SIGTERM to the processes and gives them time to save: work that handles the
    signal saves and raises `Stopped`, other work ends at once.

    Args:
        work: an importable function.
        tasks: the arguments of the calls.
        jobs: number of parallel processes, at least 1.
        start, setting: ``start(*setting)`` is called in every process before its first task.
        tick: called about twice a second.

    Raises:
        RuntimeError: no process can start here.
    """
    waiting, workers, any_started = deque(range(len(tasks))), dict[Any, _Worker](), False
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _Worker((work, start, setting), waiting.popleft())
                workers[worker.pipe] = worker
            ready = wait(list(workers), TICK if tick else None)
            if tick:
                tick()
            for pipe in ready:
                worker = workers[pipe]
                number = worker.number
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    ended = worker.end()
                    if not any_started and (ended.exit_code or 0) > 0:
                        raise RuntimeError(CANNOT_START) from None
                    yield tasks[number], ended
                    continue
                if not worker.started:
                    worker.started = any_started = True
                    worker.give(tasks[number])
                    continue
                if waiting:
                    worker.number = waiting.popleft()
                    worker.give(tasks[worker.number])
                else:
                    del workers[pipe]
                    worker.end()
                yield tasks[number], answer
    finally:
        for worker in workers.values():
            worker.process.terminate()
        until = time.monotonic() + SECONDS_TO_SAVE
        for worker in workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.end()


# In the worker process


def _serve(pipe: Connection, work: Callable[[Any], Any], start: Callable[..., None], setting: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    end_with_parent()
    start(*setting)
    pipe.send(None)  # ready
    with contextlib.suppress(EOFError, Stopped):  # no more tasks, or stopped by a signal
        while True:
            pipe.send(work(pipe.recv()))


def end_with_parent() -> None:
    """End this process as soon as its parent ends, because a killed parent cannot stop its workers."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="minifa parent", daemon=True).start()
