"""Tasks side by side in processes of their own: a process that dies costs its own task alone, and none outlives the
process that started it.

The standard library's pools end as a whole when one of their processes is killed, and leave orphans when they are
killed themselves.
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

from . import backend, registry
from .data import notices
from .threads import available_cores

Task = TypeVar("Task")
Answer = TypeVar("Answer")
SECONDS_TO_SAVE = 30.0  # that processes are given when they are told to stop
TICK = 0.5  # seconds between two calls of ``tick``
CANNOT_START = (
    "worker processes cannot start (what they said stands above): a script that uses them needs an "
    "if __name__ == '__main__' guard, because they import it again"
)


class Stopped(Exception):
    """The work was told to stop in its middle, and has saved what it had."""


@dataclass(frozen=True)
class Ended:
    """A process ended before it gave its answer.

    Attributes:
        process: its number.
        exit_code: minus the signal that killed it, or what it returned; None: not known.
    """

    process: int | None
    exit_code: int | None

    def __str__(self) -> str:
        code = self.exit_code
        if code is None or code >= 0:
            how = f"with exit code {code}; what it said of that stands above"
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
    """A process, the pipe to it, and the number of its task."""

    def __init__(self, serving: tuple[Any, ...], number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks that this process' threads hold
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *serving), daemon=True)
        self.process.start()
        theirs.close()  # with the process, the pipe ends now
        self.number, self.started = number, False

    def give(self, task: Any) -> None:
        with contextlib.suppress(OSError):  # it has died, and the next look at the pipe will show that
            self.pipe.send(task)

    def end(self) -> Ended:
        """It has ended, or has a second for it now that its pipe is closed."""
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
    """`side_by_side` on this machine's cores: every process has this one's backend, its share of its threads, and the
    rules, models and the like that somebody has entered in the tables, as far as it can import them.

    Args:
        work: a function of a module; its failures are its own to catch.
        tasks: what it is called with; what can be sent to another process.
        jobs: processes; None: as many as there are cores. One: the work is done here, unless there is a ``tick``.
        tick: called about twice a second, to look at how far the work has come.

    Raises:
        RuntimeError: no process can be started.
    """
    jobs = at_once(jobs, len(tasks))
    if jobs == 1 and tick is None:
        for task in tasks:
            yield task, work(task)
        return
    threads = max(1, backend.threads() // jobs)
    setting = backend.name(), str(backend.dtype()), threads, notices.said(), registry.own_addresses()
    with contextlib.closing(side_by_side(work, tasks, jobs, _begin, setting, tick)) as answers:
        yield from answers


def _begin(name: str, dtype: str, threads: int, said: Sequence[str], own: Sequence[registry.Address]) -> None:
    """The start of every process of `spread`."""
    backend.use(name, dtype, threads)
    notices.silence(said)
    registry.enter(own)


def at_once(jobs: int | None, tasks: int) -> int:
    """How many processes there are for so many tasks; one: it is this one."""
    return max(1, min(jobs or available_cores(), tasks))


def side_by_side(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    jobs: int,
    start: Callable[..., None],
    setting: tuple[Any, ...] = (),
    tick: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Answer | Ended], None, None]:
    """Call ``work`` for every task in ``jobs`` processes; yield each task with its answer, as they come.

    Where a process ended early, its task gets an `Ended` and is not tried again; another process takes its place.
    Closing the iterator tells the processes to stop, by SIGTERM, and gives them time to save: work that answers the
    signal raises `Stopped` when it has, other work ends at once.

    Args:
        work: a function of a module, as processes import it.
        tasks: what each call is given.
        jobs: processes at the same time, from 1 up.
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
                    said = worker.pipe.recv()
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
                yield tasks[number], said
    finally:
        for worker in workers.values():
            worker.process.terminate()
        until = time.monotonic() + SECONDS_TO_SAVE
        for worker in workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.end()


# In the process


def _serve(pipe: Connection, work: Callable[[Any], Any], start: Callable[..., None], setting: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    end_with_parent()
    start(*setting)
    pipe.send(None)  # ready
    with contextlib.suppress(EOFError, Stopped):  # nothing more to do, or nothing more that is wanted
        while True:
            pipe.send(work(pipe.recv()))


def end_with_parent() -> None:
    """Let this process end when the one that started it does, in the middle of whatever it is doing: a parent that was
    killed could not tell it."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="minifa parent", daemon=True).start()
