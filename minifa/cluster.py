"""A sweep's runs on a Dask cluster: its scheduler hands them to its workers, and to others where a worker is lost.

On one machine, with ``pip install ".[cluster]"`` in the folder of minifa's source:

    minifa sweep SWEEP.toml --dask local --jobs 8

On several: a scheduler and workers are started first, with the same minifa, NumPy and Dask everywhere, and `minifa
sweep` is told where the scheduler is. It refuses workers that have another minifa or NumPy, and makes no run on other
data than its own. A worker makes one run at a time, so it needs one thread of Dask's; the runs' own threads are
``--threads``. The files of the data, and with ``--keep-runs`` the folder of the table, must be under the same absolute
path on all machines.

    dask scheduler                                                 # on one; it prints its address
    dask worker tcp://10.0.0.1:8786 --nworkers 8 --nthreads 1      # on each
    minifa sweep SWEEP.toml --dask tcp://10.0.0.1:8786 --threads 4

Under SLURM, all in one job of 16 workers with 4 cores each, whose table is gone on with when the job's time was too
short and it is submitted once more. The scheduler's port is the job's own, so that two jobs on one machine do not meet,
and it ends with the script, since not every SLURM ends it:

    #!/bin/bash
    #SBATCH --ntasks=16 --cpus-per-task=4 --time=04:00:00
    scheduler="tcp://$(hostname):$((20000 + SLURM_JOB_ID % 10000))"
    dask scheduler --port "${scheduler##*:}" &
    trap "kill $!" EXIT
    srun --cpus-per-task=4 dask worker "$scheduler" --nthreads 1 --local-directory "$TMPDIR" &
    minifa sweep SWEEP.toml --dask "$scheduler" --threads 4

or with workers that come as jobs of their own, as the queue lets them (``pip install dask-jobqueue``), from a Python
that stays open while `minifa sweep` runs beside it:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=1, processes=1, job_cpu=4, memory="8GB", walltime="04:00:00")
    cluster.scale(jobs=16)
    print(cluster.scheduler_address)                               # what --dask is told

A worker that is lost, with its node or at the end of its time, loses the run it was making, which begins anew on
another (with ``--keep-runs``: goes on from its checkpoint). A scheduler that is lost ends the sweep; the same command
goes on with it.

Tasks and answers travel as Dask sends them, pickled: whoever can reach the scheduler or a worker can run what they like
there, as you. Connect only to clusters that you trust, and where others use the network as well let Dask talk by
certificates (``tls://``, see Dask's page on TLS).
"""

from __future__ import annotations

__all__: list[str] = []

import asyncio
import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy

from . import backend, runs
from .data import notices
from .terminal import tell
from .text import install
from .threads import available_cores

Task = TypeVar("Task")
Answer = TypeVar("Answer")

LOCAL = "local"
SECONDS_TO_CONNECT = 60  # a scheduler may be starting, as in the job above
SECONDS_TO_TELL = 5.0  # after which is told who is waited for
SECONDS_TO_GIVE_UP = 300.0  # without a word from the scheduler
MISSING = f"a Dask cluster needs the package distributed: {install('cluster')}"
SAME_EVERYWHERE = "Install the same everywhere, and give the same command again"
_GOES_ON = "what is finished is in the table, and the same command goes on"
_one_at_a_time = threading.Lock()  # the number of threads is the process's, not that of a thread of its worker


def check_place(place: str) -> None:
    """Raise ValueError where this is neither ``"local"`` nor the address of a scheduler.

    >>> from minifa import cluster
    >>> cluster.check_place("tcp://10.0.0.1:8786")
    """
    if place != LOCAL and not place.startswith(("tcp://", "tls://")):
        raise ValueError(f"--dask is {LOCAL}, or a scheduler's address as tcp://10.0.0.1:8786, got {place!r}")


def side_by_side(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    place: str,
    jobs: int | None = None,
    threads: int | None = None,
) -> Generator[tuple[Task, Answer | str], None, None]:
    """Call ``work`` for every task on the cluster; yield each task with its answer, as they come.

    A task whose worker is lost is given to another, by the scheduler; when that has happened more often than its
    setting ``distributed.scheduler.allowed-failures`` allows (3 times), the task gets a sentence for its answer.
    Closing the iterator takes back what is not finished.

    Args:
        work: a function of a module that the workers can import.
        tasks: what each call is given.
        place: the scheduler's address; ``"local"``: one is started here, with its workers.
        jobs: workers of a local one; None: as many as there are cores.
        threads: of each task; None: the cores of its worker's machine, divided among the workers that are there when
            all begins.

    Raises:
        ImportError: Dask's package distributed is not there.
        OSError: no scheduler answers, or it is lost on the way; a worker has another minifa, or another NumPy.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError(MISSING) from error
    if not tasks:
        return
    with _client(distributed, place, min(jobs or available_cores(), len(tasks))) as client:
        _check_workers(client)
        neighbours = Counter(map(distributed.comm.get_address_host, client.nthreads()))
        setting = backend.name(), str(backend.dtype()), threads or neighbours, notices.said()
        futures = client.map(_on_worker, tasks, work=work, setting=setting, versions=_versions(), pure=False)
        by_key = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        waiting = distributed.as_completed(futures)
        del futures  # so that what has been written is forgotten
        for future in _watched(waiting, client, place):
            answer = _answer(distributed, future, place)
            if isinstance(answer, _Stranger):
                raise OSError(answer.said)
            yield by_key.pop(future.key), answer


@dataclass(frozen=True)
class _Stranger:
    """The answer of a worker with another version, which made no run.

    Attributes:
        said: the sentence.
    """

    said: str


def _versions() -> tuple[str, str]:
    return runs.version(), numpy.__version__


def _check_workers(client: Any) -> None:
    """Raise OSError where a worker that is there has other versions than this process: it would give other numbers."""

    def asked() -> tuple[str, str]:  # inside a function, so that it is sent itself: a worker may have an older one
        import numpy

        import minifa
        from minifa import runs

        return getattr(runs, "version", lambda: minifa.__version__)(), numpy.__version__

    for address, found in client.run(asked, on_error="return").items():
        if isinstance(found, BaseException):
            why = f"cannot be asked for its version ({type(found).__name__}: {found})"
            raise OSError(f"the worker at {address} {why}: nothing was run")
        if _are_others(found):
            raise OSError(f"{_describe(address, found, _versions())}: nothing was run. {SAME_EVERYWHERE}")


def _are_others(versions: tuple[str, str]) -> bool:
    of_minifa, of_numpy = versions
    return runs.is_another_version(of_minifa) or of_numpy != numpy.__version__


def _describe(address: str, has: tuple[str, str], here: tuple[str, str]) -> str:
    """Which worker has what."""
    return f"the worker at {address} has minifa {has[0]} and NumPy {has[1]}, and this is {here[0]} and {here[1]}"


def _answer(distributed: Any, future: Any, place: str) -> Any:
    while future.status in ("lost", "pending"):  # its worker was lost with the answer, and another makes it again
        future.exception()  # waits until it has
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        if isinstance(error, distributed.KilledWorker):
            return f"the workers that it was given to were lost, {error.allowed_failures + 1} of them: out of memory?"
        return f"{type(error).__name__}: {error}"
    raise OSError(f"the Dask scheduler at {place} was lost, or took the runs back: {_GOES_ON}")


def _watched(waiting: Any, client: Any, place: str) -> Iterator[Any]:
    """What is ready, as it comes. What is waited for is told, once, where the scheduler is silent or has no workers.

    Raises:
        OSError: the scheduler has been silent for too long.
    """
    began = time.monotonic()
    heard, staffed, ended, told = [began], [began], threading.Event(), set[str]()

    def ask() -> None:
        with contextlib.suppress(Exception):  # it is lost: the runs' answers say so
            while not ended.wait(SECONDS_TO_TELL / 5):
                count = len(client.nthreads())
                heard[0] = time.monotonic()
                staffed[0] = heard[0] if count else staffed[0]

    def tell_once(what: str) -> None:
        if what not in told:
            tell(f"waiting: the Dask scheduler at {place} {what}. Ctrl-C stops, and the same command goes on")
            told.add(what)

    threading.Thread(target=ask, name="minifa scheduler", daemon=True).start()
    try:
        while waiting.count():
            if waiting.has_ready():
                yield next(waiting)
                continue
            time.sleep(0.02)
            silent = time.monotonic() - heard[0]
            if silent > SECONDS_TO_GIVE_UP:
                raise OSError(f"the Dask scheduler at {place} has not answered for {silent:.0f} seconds: {_GOES_ON}")
            if silent > SECONDS_TO_TELL:
                tell_once("does not answer")
            elif heard[0] - staffed[0] > SECONDS_TO_TELL:
                tell_once("has no workers")
    finally:
        ended.set()


def _wait_for_scheduler(distributed: Any, place: str) -> None:
    """Return when it answers. Dask's client would wait for ever where one takes the connection and then says nothing.

    Raises:
        OSError: it does not answer in time.
    """

    async def ask() -> None:
        arguments = distributed.Security().get_connection_args("client")
        async with distributed.rpc(place, timeout=SECONDS_TO_CONNECT, connection_args=arguments) as scheduler:
            await scheduler.identity()

    why = list[BaseException]()

    def answered() -> None:
        try:
            asyncio.run(asyncio.wait_for(ask(), SECONDS_TO_CONNECT))
        except Exception as error:
            why.append(error)

    asking = threading.Thread(target=answered, name="minifa scheduler", daemon=True)  # a notebook has a loop running
    asking.start()
    asking.join(SECONDS_TO_TELL)
    if asking.is_alive():
        tell(f"waiting: no Dask scheduler answers at {place} yet; for {SECONDS_TO_CONNECT} seconds, and Ctrl-C stops")
        asking.join()
    if why:
        said = f"{why[0]}" or f"nothing came in {SECONDS_TO_CONNECT} seconds"
        raise OSError(f"no Dask scheduler answers at {place}: {said}") from why[0]


@contextlib.contextmanager
def _client(distributed: Any, place: str, jobs: int) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        address: Any = place
        if place == LOCAL:  # on this machine alone: nothing listens to others
            here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
            address = stack.enter_context(distributed.LocalCluster(jobs, 1, **here, preload=[__name__]))
        else:
            _wait_for_scheduler(distributed, place)
        try:
            client = distributed.Client(address, timeout=SECONDS_TO_CONNECT)
        except (OSError, TimeoutError) as error:
            raise OSError(f"no Dask scheduler answers at {place}: {error}") from error
        yield stack.enter_context(client)


# On the worker


def dask_setup(worker: Any) -> None:
    """Called by Dask when a worker of a local cluster starts: Ctrl-C is its parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_worker(
    task: Any,
    work: Callable[[Any], Any],
    setting: tuple[str, str, int | Mapping[str, int], Sequence[str]],
    versions: tuple[str, str],
) -> Any:
    if _are_others(versions):  # it came when the others had been asked
        return _Stranger(f"{_describe(_own_address(), _versions(), versions)}. {SAME_EVERYWHERE}")
    backend_name, dtype, threads, said = setting
    with _one_at_a_time:
        backend.use(backend_name, dtype, threads if isinstance(threads, int) else _share(threads))
        notices.silence(said)
        return work(task)


def _own_address() -> str:
    try:
        from distributed import get_worker

        return str(get_worker().address)
    except (ImportError, ValueError):
        return "an address that is not known"


def _share(neighbours: Mapping[str, int]) -> int:
    """The threads of a worker that has so many on its machine, by the machine's address."""
    from distributed import get_worker
    from distributed.comm import get_address_host

    return max(1, available_cores() // neighbours.get(get_address_host(get_worker().address), 1))
