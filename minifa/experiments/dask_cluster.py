"""Sweeps on a Dask cluster: the scheduler distributes the runs to its workers, and reassigns those of a lost worker.

On one machine, after ``pip install ".[cluster]"`` in the source folder of minifa:

    minifa sweep SWEEP.toml --dask local --jobs 8

On several machines: first start a scheduler and workers, with the same versions of minifa, NumPy and Dask everywhere,
and pass the address of the scheduler to `minifa sweep`. It rejects workers with another version of minifa or NumPy, and
no run is made on data that differ from its own. A worker makes one run at a time and needs one Dask thread;
``--threads`` sets the threads of each run. The data files and, with ``--keep-runs``, the folder of the table must have
the same absolute path on all machines.

    dask scheduler                                                 # on one; it prints its address
    dask worker tcp://10.0.0.1:8786 --nworkers 8 --nthreads 1      # on each
    minifa sweep SWEEP.toml --dask tcp://10.0.0.1:8786 --threads 4

The workers do not receive files that the sweep imports (``--import my.py``): give every worker the same files when it
is started. It rejects workers without them, and workers whose file has another content.

    dask worker tcp://10.0.0.1:8786 --preload minifa.experiments.dask_imports --import my.py

Under SLURM, in one job with 16 workers of 4 cores each. If the time limit is too short, submitting the job again
continues the table. The port of the scheduler is derived from the job id, so that two jobs on one machine do not
conflict. The script ends the scheduler, because not every SLURM installation does:

    #!/bin/bash
    #SBATCH --ntasks=16 --cpus-per-task=4 --time=04:00:00
    scheduler="tcp://$(hostname):$((20000 + SLURM_JOB_ID % 10000))"
    dask scheduler --port "${scheduler##*:}" &
    trap "kill $!" EXIT
    srun --cpus-per-task=4 dask worker "$scheduler" --nthreads 1 --local-directory "$TMPDIR" &
    minifa sweep SWEEP.toml --dask "$scheduler" --threads 4

Or with workers as separate jobs, which start as the queue permits (``pip install dask-jobqueue``), from a Python
session that stays open while `minifa sweep` runs:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=1, processes=1, job_cpu=4, memory="8GB", walltime="04:00:00")
    cluster.scale(jobs=16)
    print(cluster.scheduler_address)                               # pass it to --dask

If a worker is lost, with its node or at its time limit, its current run restarts on another worker (with
``--keep-runs``: resumes from its checkpoint). If the scheduler is lost, the sweep ends; the same command continues it.

Dask sends tasks and answers pickled: anyone who can reach the scheduler or a worker can run arbitrary code there, with
your permissions. Connect only to clusters that you trust and, on a shared network, use certificates (``tls://``, see
Dask's page on TLS).
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy

from .. import backend, environment, imports
from ..console import print_stderr
from ..data import notices
from ..parallel.threads import available_cores
from ..text import install

Task = TypeVar("Task")
Answer = TypeVar("Answer")

LOCAL = "local"
IMPORTS = f"{__package__}.dask_imports"
SECONDS_TO_CONNECT = 60  # the scheduler may still be starting, as in the job above
SECONDS_TO_TELL = 5.0  # before a message about waiting is printed
SECONDS_TO_GIVE_UP = 300.0  # without an answer from the scheduler
MISSING = f"a Dask cluster needs the package distributed: {install('cluster')}"
SAME_EVERYWHERE = "Install the same everywhere, and give the same command again"
_RESUMES = "finished runs are in the table, and the same command resumes"
_one_at_a_time = threading.Lock()  # the number of threads is global to the process


def check_place(place: str) -> None:
    """Raise ValueError unless ``place`` is ``"local"`` or the address of a scheduler.

    >>> from minifa.experiments import dask_cluster
    >>> dask_cluster.check_place("tcp://10.0.0.1:8786")
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
    """Call ``work`` for every task on the cluster; yield each task with its answer, as they arrive.

    The scheduler reassigns a task whose worker is lost. After more losses than its setting
    ``distributed.scheduler.allowed-failures`` permits (3), the answer is a message. Closing the iterator cancels
    unfinished tasks.

    Args:
        work: a function that the workers can import.
        tasks: the arguments of the calls.
        place: address of the scheduler; ``"local"``: a scheduler and its workers are started on this machine.
        jobs: number of workers of a local cluster; None: one per core.
        threads: threads per task; None: the cores of the worker's machine, divided among the workers on it at the
            start.

    Raises:
        ImportError: Dask's package distributed is not installed.
        OSError: no scheduler answers, or it is lost; or a worker has another version of minifa or NumPy.
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
        setting = backend.name(), str(backend.dtype()), threads or neighbours, notices.issued()
        here = {"versions": _versions(), "imported": imports.digests()}
        futures = client.map(_on_worker, tasks, work=work, setting=setting, **here, pure=False)
        by_key = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        waiting = distributed.as_completed(futures)
        del futures  # so that answers that were yielded are released
        for future in _watched(waiting, client, place):
            answer = _answer(distributed, future, place)
            if isinstance(answer, _Stranger):
                raise OSError(answer.message)
            yield by_key.pop(future.key), answer


@dataclass(frozen=True)
class _Stranger:
    """The answer of a worker with another version or other imported files, which made no run.

    Attributes:
        message: a description of the difference.
    """

    message: str


def _versions() -> tuple[str, str]:
    return environment.version(), numpy.__version__


def _check_workers(client: Any) -> None:
    """Raise OSError if a connected worker has other versions or imported files than this process, because its results
    would differ."""

    def asked() -> tuple[str, str]:  # local, so that Dask sends its code: a worker may have an older minifa
        import numpy

        import minifa

        try:
            from minifa.environment import version
        except ImportError:
            return minifa.__version__, numpy.__version__
        return version(), numpy.__version__

    for address, answer in client.run(asked, on_error="return").items():
        if isinstance(answer, BaseException):
            why = f"cannot be asked for its version ({type(answer).__name__}: {answer})"
            raise OSError(f"the worker at {address} {why}: nothing was run")
        if _are_others(answer):
            raise OSError(f"{_describe(address, answer, _versions())}: nothing was run. {SAME_EVERYWHERE}")
    if imports.FILES:
        for address, names in client.run(imports.unlike, imports.digests()).items():
            if names:
                raise OSError(f"{_describe_imports(address, names)}. Nothing was run")


def _describe_imports(address: str, names: Sequence[str]) -> str:
    """Describe a worker that has not imported these files."""
    how = " ".join(f"--import {name}" for name in names)
    return (
        f"the worker at {address} has not imported {' and '.join(names)} with the content that it has here: start the "
        f"worker with --preload {IMPORTS} {how}"
    )


def _are_others(versions: tuple[str, str]) -> bool:
    of_minifa, of_numpy = versions
    return environment.is_another_version(of_minifa) or of_numpy != numpy.__version__


def _describe(address: str, has: tuple[str, str], here: tuple[str, str]) -> str:
    """Describe the versions of a worker and of this process."""
    return f"the worker at {address} has minifa {has[0]} and NumPy {has[1]}, and this is {here[0]} and {here[1]}"


def _answer(distributed: Any, future: Any, place: str) -> Any:
    while future.status in ("lost", "pending"):  # lost with its worker; another worker repeats it
        future.exception()  # blocks until it is done
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        if isinstance(error, distributed.KilledWorker):
            return f"the workers that it was given to were lost, {error.allowed_failures + 1} of them: out of memory?"
        return f"{type(error).__name__}: {error}"
    raise OSError(f"the Dask scheduler at {place} was lost, or took the runs back: {_RESUMES}")


def _watched(waiting: Any, client: Any, place: str) -> Iterator[Any]:
    """Yield finished futures as they arrive. Print a message, once each, if the scheduler is silent or has no workers.

    Raises:
        OSError: the scheduler was silent for `SECONDS_TO_GIVE_UP`.
    """
    began = time.monotonic()
    last_answer, staffed, ended, printed = [began], [began], threading.Event(), set[str]()

    def ask() -> None:
        with contextlib.suppress(Exception):  # a lost scheduler is reported by the answers
            while not ended.wait(SECONDS_TO_TELL / 5):
                count = len(client.nthreads())
                last_answer[0] = time.monotonic()
                staffed[0] = last_answer[0] if count else staffed[0]

    def tell_once(what: str) -> None:
        if what not in printed:
            print_stderr(f"waiting: the Dask scheduler at {place} {what}. Ctrl-C stops, and the same command resumes")
            printed.add(what)

    threading.Thread(target=ask, name="minifa scheduler", daemon=True).start()
    try:
        while waiting.count():
            if waiting.has_ready():
                yield next(waiting)
                continue
            time.sleep(0.02)
            silent = time.monotonic() - last_answer[0]
            if silent > SECONDS_TO_GIVE_UP:
                raise OSError(f"the Dask scheduler at {place} has not answered for {silent:.0f} seconds: {_RESUMES}")
            if silent > SECONDS_TO_TELL:
                tell_once("does not answer")
            elif last_answer[0] - staffed[0] > SECONDS_TO_TELL:
                tell_once("has no workers")
    finally:
        ended.set()


def _wait_for_scheduler(distributed: Any, place: str) -> None:
    """Wait until the scheduler answers. Dask's client would wait forever for one that accepts the connection and stays
    silent.

    Raises:
        OSError: the scheduler does not answer in time.
    """
    import asyncio  # here: only a sweep on a cluster needs it, and it is slow to import

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

    asking = threading.Thread(target=answered, name="minifa scheduler", daemon=True)  # a notebook has a running loop
    asking.start()
    asking.join(SECONDS_TO_TELL)
    if asking.is_alive():
        print_stderr(
            f"waiting: no Dask scheduler answers at {place} yet; for {SECONDS_TO_CONNECT} seconds, and Ctrl-C stops"
        )
        asking.join()
    if why:
        reason = f"{why[0]}" or f"nothing came in {SECONDS_TO_CONNECT} seconds"
        raise OSError(f"no Dask scheduler answers at {place}: {reason}") from why[0]


@contextlib.contextmanager
def _client(distributed: Any, place: str, jobs: int) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        address: Any = place
        if place == LOCAL:  # listen only on this machine
            here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
            arguments = [word for file in imports.FILES.values() for word in ("--import", file.path)]
            loaded = {__name__: list[str](), **({IMPORTS: arguments} if arguments else {})}
            preload = {"preload": list(loaded), "preload_argv": list(loaded.values())}
            address = stack.enter_context(distributed.LocalCluster(jobs, 1, **here, **preload))
        else:
            _wait_for_scheduler(distributed, place)
        try:
            client = distributed.Client(address, timeout=SECONDS_TO_CONNECT)
        except (OSError, TimeoutError) as error:
            raise OSError(f"no Dask scheduler answers at {place}: {error}") from error
        yield stack.enter_context(client)


# On the worker


def dask_setup(worker: Any) -> None:
    """Called by Dask when a worker of a local cluster starts; makes it ignore Ctrl-C, which its parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_worker(
    task: Any,
    work: Callable[[Any], Any],
    setting: tuple[str, str, int | Mapping[str, int], Sequence[str]],
    versions: tuple[str, str],
    imported: Mapping[str, str],
) -> Any:
    if _are_others(versions):  # it connected after the check
        return _Stranger(f"{_describe(_own_address(), _versions(), versions)}. {SAME_EVERYWHERE}")
    if names := imports.unlike(imported):
        return _Stranger(_describe_imports(_own_address(), names))
    backend_name, dtype, threads, notices_given = setting
    with _one_at_a_time:
        backend.use(backend_name, dtype, threads if isinstance(threads, int) else _share(threads))
        notices.silence(notices_given)
        return work(task)


def _own_address() -> str:
    try:
        from distributed import get_worker

        return str(get_worker().address)
    except (ImportError, ValueError):
        return "an address that is not known"


def _share(neighbours: Mapping[str, int]) -> int:
    """The number of threads of this worker, given the number of workers by machine address."""
    from distributed import get_worker
    from distributed.comm import get_address_host

    return max(1, available_cores() // neighbours.get(get_address_host(get_worker().address), 1))
