"""Work done side by side in processes of this machine, each with its share of the cores."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import TypeVar

from . import backend
from .threads import available_cores

Task = TypeVar("Task")
Value = TypeVar("Value")

SECONDS_TO_SAVE = 30.0  # that workers are given when they are told to stop
TICK = 0.5  # seconds between two calls of ``tick``


class Stopped(Exception):
    """The work was told to stop in its middle, and what it had has been saved."""


def side_by_side(
    work: Callable[[Task], Value],
    tasks: Sequence[Task],
    jobs: int | None = None,
    tick: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Value], None, None]:
    """Do the work for every task in ``jobs`` processes, and yield (task, what came of it) as it comes.

    Closing the iterator (Ctrl-C in the caller) tells the processes to stop, by SIGTERM, and waits for them to save.

    Args:
        work: a function of a module; its failures are its own to catch.
        tasks: what it is called with; what can be sent to another process.
        jobs: processes; None: as many as there are cores. One: the work is done here, unless there is a ``tick``.
        tick: called about twice a second, to look at how far the work has come.

    Raises:
        RuntimeError: a process ended early.
    """
    jobs = max(1, min(jobs or available_cores(), len(tasks)))
    if jobs == 1 and tick is None:
        for task in tasks:
            yield task, work(task)
        return
    setting = backend.name(), str(backend.dtype()), max(1, available_cores() // jobs)
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=setting)
    try:
        pending: dict[Future[Value], Task] = {pool.submit(_in_worker, work, task): task for task in tasks}
        while pending:
            done, _ = wait(pending, timeout=TICK if tick else None, return_when=FIRST_COMPLETED)
            for future in done:
                task = pending.pop(future)
                try:
                    value = future.result()
                except BrokenProcessPool:
                    raise RuntimeError(
                        "a worker process ended early: out of memory, or a script without its "
                        "if __name__ == '__main__' guard, which worker processes import again"
                    ) from None
                yield task, value
            if tick:
                tick()
    finally:
        processes = list(pool._processes.values())  # before shutdown, which forgets them
        pool.shutdown(wait=False, cancel_futures=True)
        _end(processes)


def _end(processes: Sequence[BaseProcess]) -> None:
    """A worker in the middle of its work would keep us waiting: it is told to stop, and given time to save."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + SECONDS_TO_SAVE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))


def _start_worker(backend_name: str, dtype: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    backend.use(backend_name, dtype, threads)


def _in_worker(work: Callable[[Task], Value], task: Task) -> Value:
    try:
        return work(task)
    except Stopped:
        os._exit(128 + signal.SIGTERM)  # not the next task: the pool may have handed it over already
