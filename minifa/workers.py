"""Tasks side by side in processes of their own: a process that dies costs its own task alone, and none outlives the
process that started it.

The standard library's pools end as a whole when one of their processes is killed, and leave orphans when they are
killed themselves.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")
CANNOT_START = (
    "worker processes cannot start (what they said stands above): a script that uses them needs an "
    "if __name__ == '__main__' guard, because they import it again"
)


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


def side_by_side(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    jobs: int,
    start: Callable[..., None],
    setting: tuple[Any, ...] = (),
) -> Generator[tuple[Task, Answer | Ended], None, None]:
    """Call ``work`` for every task in ``jobs`` processes; yield each task with its answer, as they come.

    Where a process ended early, its task gets an `Ended` and is not tried again; another process takes its place.
    Closing the iterator kills the processes.

    Args:
        work: a function of a module, as processes import it.
        tasks: what each call is given.
        jobs: processes at the same time, from 1 up.
        start, setting: ``start(*setting)`` is called in every process before its first task.

    Raises:
        RuntimeError: no process can start here.
    """
    waiting, workers, any_started = deque(range(len(tasks))), dict[Any, _Worker](), False
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _Worker((work, start, setting), waiting.popleft())
                workers[worker.pipe] = worker
            for pipe in wait(list(workers)):
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
            worker.process.kill()
        for worker in workers.values():
            worker.end()


# In the process


def _serve(pipe: Connection, work: Callable[[Any], Any], start: Callable[..., None], setting: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    end_with_parent()
    start(*setting)
    pipe.send(None)  # ready
    with contextlib.suppress(EOFError):  # nothing more to do
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
