"""Threads of the engine, of BLAS and of the caller: the same seed gives the same bits in each of them, and no thread
waits for another unnecessarily."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from queue import Queue
from types import ModuleType

import numpy as np
import pytest
from checks import assert_same_bits
from conftest import CUPY, install
from threadpoolctl import threadpool_info, threadpool_limits

import minifa as mf
from minifa import backend
from minifa.data.batches import PREFETCH_FROM, Batches
from minifa.parallel import threads
from minifa.parallel.threads import Threads

PATIENCE = 20  # seconds until a wait counts as a deadlock


def in_thread(work, *arguments):
    """Start ``work`` in a new thread. Returns a function that waits for the result, or raises the error."""
    ended = Queue()

    def run():
        try:
            ended.put((work(*arguments), None))
        except BaseException as error:
            ended.put((None, error))

    threading.Thread(target=run, daemon=True).start()

    def result():
        value, error = ended.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return value

    return result


def wait(event):
    assert event.wait(PATIENCE)


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.fixture
def three_of_blas():
    """The main thread has set BLAS to three threads: since threadpoolctl 3.7 no other thread can change that."""
    mf.use("numpy", "float32", threads=2)
    with threadpool_limits(3, user_api="blas"):
        assert blas_threads() == {3}
        yield
        assert blas_threads() == {3}


# --- BLAS -------------------------------------------------------------------------------------------------------------


def seen_in_two_tasks():
    """The number of BLAS threads in the task of this thread and in that of a worker."""
    both, seen = threading.Barrier(2), []

    def task():
        both.wait(PATIENCE)  # so that each of two threads runs one task
        seen.append(blas_threads())

    backend._pool.run([task, task])
    return seen


@pytest.mark.usefixtures("three_of_blas")
def test_blas_has_one_thread_in_the_chunks_of_every_thread():
    assert seen_in_two_tasks() == [{1}, {1}]
    assert blas_threads() == {3}
    assert in_thread(seen_in_two_tasks)() == [{1}, {1}]
    assert blas_threads() == {3}
    assert seen_in_two_tasks() == [{1}, {1}]


def test_a_thread_limit_that_is_never_reset_does_not_apply_in_chunks():
    """It is called without ``with``, as is common: since threadpoolctl 3.7 the main thread keeps control."""
    mf.use("numpy", threads=2)
    limits = threadpool_limits(3, user_api="blas")
    try:
        assert in_thread(seen_in_two_tasks)() == [{1}, {1}]
        assert blas_threads() == {3}
    finally:
        limits.restore_original_limits()


@pytest.mark.usefixtures("three_of_blas")
def test_blas_stays_limited_until_the_last_thread_ends():
    begun, other_has_ended = threading.Event(), threading.Event()

    def longer():
        with backend.blas_limit():
            backend._pool.run([begun.set])
            wait(other_has_ended)
            return blas_threads()

    with backend.blas_limit():
        backend._pool.run([lambda: None])
        result = in_thread(longer)
        wait(begun)
    assert blas_threads() == {1}
    other_has_ended.set()
    assert result() == {1}
    assert blas_threads() == {3}


@pytest.mark.usefixtures("three_of_blas")
def test_a_thread_limit_set_by_other_code_during_a_pass_ends_with_the_next_chunk():
    """scikit-learn sets and resets such limits in the thread in which it runs."""
    with backend.blas_limit():
        assert seen_in_two_tasks() == [{1}, {1}]
        with threadpool_limits(3, user_api="blas"):
            assert seen_in_two_tasks() == [{1}, {1}]


class OfOneThread:
    """A library with a separate number of threads for every calling thread, as MKL."""

    def __init__(self):
        self.own = threading.local()

    def get(self):
        return getattr(self.own, "count", 4)

    def set(self, count):
        self.own.count = count


def test_a_library_with_thread_local_limits_is_limited_and_released_in_each_thread():
    pool, library = Threads(), OfOneThread()
    pool.resize(2)
    pool._blas.libraries = [threads._Library(library.get, library.set, per_thread=True)]
    entered, left = threading.Event(), threading.Event()

    def once():
        both, seen = threading.Barrier(2), []

        def task():
            both.wait(PATIENCE)
            seen.append(library.get())

        pool.run([task, task])
        return seen

    def longer():
        with pool.caller():
            seen = once()
            entered.set()
            wait(left)
            return seen, library.get()

    with pool.caller():
        assert once() == [1, 1]
        result = in_thread(longer)
        wait(entered)
    assert library.get() == 4, "this thread has ended, whatever another one does"
    left.set()
    assert result() == ([1, 1], 1)
    assert in_thread(lambda: (once(), library.get()))() == ([1, 1], 4)


def test_after_a_fork_the_child_releases_the_limits_of_its_parent():
    pool, counts = Threads(), [4]
    pool._blas.libraries = [threads._Library(lambda: counts[0], lambda count: counts.__setitem__(0, count), False)]
    held, forked = threading.Event(), threading.Event()

    def parent():
        with pool.caller():
            pool.run([held.set])
            wait(forked)

    ended = in_thread(parent)
    wait(held)
    pool.reset()  # as the child's main thread does; the parent's other thread does not exist there
    with pool.caller():
        pool.run([lambda: None])
        assert counts == [1]
    assert counts == [4]
    forked.set()
    ended()


@pytest.mark.usefixtures("three_of_blas")
def test_a_fork_inside_a_pass_ends_only_that_pass():
    pool = Threads()
    with pool.caller():
        pool.run([lambda: None])
        pool.reset()
        pool.run([lambda: None])
        assert blas_threads() == {1}
    assert blas_threads() == {3}


# --- the same bits ----------------------------------------------------------------------------------------------------


def trained(batch_size=100, ready=None):
    """With sizes at which OpenBLAS sums in another order on two threads than on one, on every processor."""
    x = np.random.default_rng(0).normal(size=(100, 500)).astype("float32")
    net = mf.Network([mf.Linear(500, 100), mf.Tanh(), mf.Linear(100, 10)], seed=0)
    if ready is not None:
        ready.wait(PATIENCE)
    examples = mf.data.Examples(x, np.arange(100) % 10)
    rule = mf.rules.FA(seed=0).attach(net)
    mf.train(net, rule, examples, mf.SoftmaxCrossEntropy(), mf.SGD(0.1), 2, batch_size=batch_size, progress=False)
    return net.state()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("three_of_blas")
def test_same_seed_same_bits_in_the_main_thread_in_others_and_in_two_at_once(count):
    mf.use("numpy", threads=count)
    first = in_thread(trained)()
    assert_same_bits(first, trained())
    assert_same_bits(first, in_thread(trained)())
    both = threading.Barrier(2)
    for result in [in_thread(trained, 100, both), in_thread(trained, 100, both)]:
        assert_same_bits(first, result())


def test_the_first_computing_thread_may_be_any_thread():
    """In a new process, in which BLAS's threads have not been used yet."""
    code = """if True:
        import threading, numpy as np
        from minifa.parallel import chunks
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(100, 500)).astype("f4"), rng.normal(size=(500, 100)).astype("f4")
        products = []
        for _ in range(2):
            thread = threading.Thread(target=lambda: products.append(chunks.matmul(a, b)))
            thread.start()
            thread.join()
        products.append(chunks.matmul(a, b))
        assert all((one == products[0]).all() for one in products)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def test_an_orthogonal_projection_is_the_same_on_any_number_of_blas_threads():
    """LAPACK's factors of a matrix of 300 columns differed between one and two threads."""
    mf.use("numpy", "float64")
    projections = []
    for count in (1, 3):
        with threadpool_limits(count, user_api="blas"):
            net = mf.Network([mf.Linear(2, 300), mf.Linear(300, 300)], seed=0)
            projections.append(mf.rules.Product(seed=0, fixed="orthogonal").attach(net).memory["linear2/P"])
    np.testing.assert_array_equal(*projections)


# --- the engine's workers ---------------------------------------------------------------------------------------------


def test_a_finished_caller_does_not_wait_for_a_busy_worker():
    pool = Threads()
    pool.resize(2)
    kept, free = threading.Barrier(3), threading.Event()

    def long_task():
        kept.wait(PATIENCE)
        wait(free)

    busy = in_thread(pool.run, [long_task, long_task])
    kept.wait(PATIENCE)  # the pool's only worker is in a long task
    done = []
    in_thread(pool.run, [lambda: done.append(1), lambda: done.append(2)])()
    assert done == [1, 2]
    free.set()
    busy()


def test_workers_dismissed_before_their_job_arrives_are_not_waited_for(monkeypatch):
    pool = Threads()
    pool.resize(2)
    hire = pool._start_workers

    def hired_and_dismissed(count):
        hire(count)
        pool.resize(1)

    monkeypatch.setattr(pool, "_start_workers", hired_and_dismissed)
    done = []
    in_thread(pool.run, [lambda: done.append(1), lambda: done.append(2)])()
    assert done == [1, 2]


def test_tasks_that_ask_for_more_tasks_do_them_themselves():
    pool, done = Threads(), []
    pool.resize(2)

    def task():
        pool.run([lambda: done.append(threading.current_thread())] * 2)
        assert pool.in_chunk()
        return threading.current_thread()

    in_thread(pool.run, [task] * 4)()
    assert len(done) == 8
    assert not pool.in_chunk()


# --- use and using ----------------------------------------------------------------------------------------------------


def chosen():
    return backend.name(), str(backend.dtype()), str(mf.Linear(2, 3).W.dtype)


@pytest.fixture
def two_backends(monkeypatch):
    """``cupy`` is the stand-in."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    monkeypatch.setitem(sys.modules, "cupy", CUPY)
    install("numpy")


def test_a_thread_keeps_its_backend_and_later_threads_get_the_one_set_by_use():
    begun, chosen_elsewhere = threading.Event(), threading.Event()

    def earlier():
        before = chosen()
        begun.set()
        wait(chosen_elsewhere)
        return before, chosen()

    install("numpy", "float32")
    result = in_thread(earlier)
    wait(begun)
    mf.use("numpy", "float64")
    chosen_elsewhere.set()
    single, double = ("numpy", "float32", "float32"), ("numpy", "float64", "float64")
    assert result() == (single, single)
    assert in_thread(chosen)() == chosen() == double


def test_using_applies_only_to_its_own_thread(two_backends):
    """Names looked up in one thread are not used in the other."""
    both = threading.Barrier(3)

    def inside(name, dtype):
        with mf.using(name, dtype):
            seen = []
            for _ in range(3):
                both.wait(PATIENCE)
                seen.append((*chosen(), type(backend.xp.ones(1)).__module__.split(".")[0]))
            return set(seen), mf.Linear(2, 3).W.dtype

    results = [in_thread(inside, "numpy", "float64"), in_thread(inside, "cupy", "float32")]
    for _ in range(3):
        both.wait(PATIENCE)
        assert chosen() == ("numpy", "float32", "float32")
        assert type(backend.xp.ones(1)) is np.ndarray
    (numpy_side, _), (cupy_side, _) = (result() for result in results)
    assert numpy_side == {("numpy", "float64", "float64", "numpy")}
    assert cupy_side == {("cupy", "float32", "float32", "cupy")}
    assert in_thread(chosen)() == ("numpy", "float32", "float32")


def test_using_applies_only_to_its_own_coroutine(two_backends):
    async def inside(name, dtype):
        with mf.using(name, dtype):
            for _ in range(3):
                await asyncio.sleep(0)
                seen = chosen()[:2], type(backend.xp.ones(1)) is np.ndarray
        return seen

    async def together():
        return await asyncio.gather(inside("numpy", "float64"), inside("cupy", "float32"), inside("numpy", "float32"))

    assert asyncio.run(together()) == [
        (("numpy", "float64"), True),
        (("cupy", "float32"), False),
        (("numpy", "float32"), True),
    ]


def test_use_inside_using_applies_in_the_block_and_after_it_with_the_dtype_of_each():
    install("numpy", "float32")
    with mf.using("numpy", "float64"):
        mf.use("numpy", threads=2)
        assert backend.dtype() == np.float64 and in_thread(backend.dtype)() == np.float32
    assert backend.dtype() == np.float32
    with mf.using("numpy"):
        mf.use("numpy", "float64")
        assert backend.dtype() == np.float64
    assert backend.dtype() == in_thread(backend.dtype)() == np.float64


def test_workers_compute_in_the_backend_and_dtype_of_the_caller(two_backends):
    mf.use("numpy", threads=2)

    def inside(name, dtype):
        both, choices = threading.Barrier(2), []

        def task():
            both.wait(PATIENCE)
            choices.append(chosen())

        with mf.using(name, dtype):
            backend._pool.run([task, task])
        return choices

    assert inside("numpy", "float64") == [("numpy", "float64", "float64")] * 2
    assert in_thread(inside, "cupy", "float32")() == [("cupy", "float32", "float32")] * 2
    assert inside("numpy", "float32") == [("numpy", "float32", "float32")] * 2


def test_prefetched_batches_use_the_backend_and_dtype_of_the_caller():
    class Augmentation:
        name, made = "", []

        def augment(self, x, rng):
            self.made.append((threading.current_thread().name, str(backend.dtype())))
            return x

    side = 64
    examples = mf.data.Examples(np.zeros((64, side, side, 1), "float32"), np.arange(64) % 2)
    assert examples.x[:32].nbytes >= PREFETCH_FROM
    with mf.using("numpy", "float64"):
        list(Batches(examples, 32, seed=0, epoch=1, augmentation=Augmentation()).prefetch())
    assert set(Augmentation.made) == {("minifa batches", "float64")}


def test_a_name_looked_up_during_a_backend_switch_is_not_cached(two_backends):
    """The other thread switches between the lookup in the module and the caching of its result."""
    chosen_in_between = []

    class Slow(ModuleType):
        def __getattr__(self, name):
            if name == "ones" and not chosen_in_between:
                chosen_in_between.append(in_thread(mf.use, "cupy")())
            return getattr(np, name)

    backend._install(Slow("numpy"), cpu_chunks=True)
    assert type(backend.xp.ones(1)) is np.ndarray
    assert chosen_in_between
    assert in_thread(lambda: type(backend.xp.ones(1)))() is CUPY.ndarray
    assert type(backend.xp.ones(1)) is np.ndarray, "this thread has its own choice"


def test_names_are_cached_again_once_all_threads_use_one_backend(two_backends):
    assert backend.xp.ones is np.ones
    with mf.using("cupy"):
        assert backend.xp.ones is CUPY.ones and backend.xp.zeros is CUPY.zeros
        assert not vars(backend.xp)
    assert backend.xp.ones is np.ones
    assert vars(backend.xp) == {"ones": np.ones}
    with mf.using("numpy", "float64"):
        assert vars(backend.xp), "of one backend the names are the same in every dtype"
    mf.use("cupy")
    assert backend.xp.ones is CUPY.ones
    assert vars(backend.xp) == {"ones": CUPY.ones}


def test_use_while_another_thread_computes_disturbs_nothing():
    """It raised RecursionError in three of five runs."""
    install("numpy", "float32")
    begun, ended = threading.Event(), threading.Event()

    def compute():
        try:
            assert backend.dtype() == np.float32
            begun.set()
            return [trained(batch_size=16) for _ in range(3)]
        finally:
            ended.set()

    expected = trained(batch_size=16)
    result = in_thread(compute)
    wait(begun)
    while not ended.is_set():
        mf.use("numpy", "float64", threads=2)
        mf.use("numpy", "float32", threads=1)
    for state in result():
        assert_same_bits(expected, state)
