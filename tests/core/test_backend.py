"""The switch between NumPy and CuPy, and the chunks that share work between cores: neither may change a single bit."""

from __future__ import annotations

import io
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import standin
from checks import assert_same_bits, train_a_little, trained_on_numpy
from conftest import CUPY, install
from threadpoolctl import threadpool_info, threadpool_limits

import minifa as mf
from minifa import backend
from minifa.linalg import norm
from minifa.parallel import chunks
from minifa.parallel.chunks import sum_rows
from minifa.testing.examples import ALL_RULES, CHAIN_RULES, RULES, UNIT_LENGTH_RULES, batch, network_for, small_convnet


@pytest.fixture
def many_chunks(monkeypatch):
    """Limits so low that small nets are split into chunks and their products into blocks; a list of the splits."""
    cuts = []
    run = backend._pool.run

    def counted(tasks):
        cuts.append(len(tasks))
        run(tasks)

    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 11)
    monkeypatch.setattr(chunks, "SMALL_PRODUCT", 1 << 9)
    monkeypatch.setattr(backend._pool, "run", counted)
    return cuts


# --- the same numbers on every side -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ALL_RULES)
def test_stand_in_trains_to_the_same_bits(rule, monkeypatch):
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    install("standin")
    assert_same_bits(trained_on_numpy(rule), train_a_little(rule))


@pytest.mark.parametrize("rule", ["bp", "fa", "brsf", "dfa"])
def test_stand_in_trains_to_the_same_bits_in_chunks(rule, many_chunks):
    install("numpy")
    on_numpy = train_a_little(rule, steps=2, n=12)
    assert max(many_chunks) > chunks.LANES, "the batches were not cut"
    install("standin")
    assert_same_bits(on_numpy, train_a_little(rule, steps=2, n=12))


@pytest.mark.parametrize("rule", ["bp", "frsf", "dfa"])
def test_one_chunk_as_on_a_gpu_agrees_with_many(rule, many_chunks):
    """A GPU processes the batch as a whole. Its sums have another order, so results are equal up to rounding."""
    install("standin", dtype="float64", cpu_chunks=True)
    in_chunks = train_a_little(rule)
    assert many_chunks
    many_chunks.clear()
    install("standin", dtype="float64", cpu_chunks=False)
    whole = train_a_little(rule)
    assert not many_chunks
    for key, value in whole.items():
        np.testing.assert_allclose(value, in_chunks[key], rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("rule", ["bp", "usf", "dfa"])
def test_number_of_threads_changes_no_bit(rule, many_chunks):
    results = []
    for threads in (1, 2, 3):
        mf.use("numpy", "float32", threads=threads)
        assert backend.threads() == threads
        results.append(train_a_little(rule, n=12))
    assert max(many_chunks) > 3, "nothing was cut into more pieces than there are threads"
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def clipped(x):
    net = mf.Network([mf.Linear(*x.shape)])
    net.layers[0].grads["W"] = x.copy()
    mf.SGD(1.0, clip_norm=1.0).step(net)
    return net.layers[0].W


def dot(x):
    return chunks.matmul(x.reshape(1, -1), x.reshape(-1, 1))


@pytest.mark.parametrize(
    "compute",
    [norm, clipped, sum_rows, lambda x: sum_rows(x.reshape(-1, 1)), dot],
    ids=["norm", "clip", "sum", "sum 1", "dot"],
)
def test_number_of_blas_threads_changes_no_bit(compute):
    """BLAS shares a long dot product between its own threads: with more cores the order of its sums changes."""
    mf.use("numpy", "float64")
    x = np.random.default_rng(0).standard_normal((300, 400))
    results = []
    for threads in (1, 2, 7):
        with threadpool_limits(threads, user_api="blas"):
            results.append(compute(x))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


# --- operations that are not allowed on a GPU
# --------------------------------------------------------------------------


# without the rules that read the condition of the matrices they invert
@pytest.mark.parametrize("rule", [*RULES, *CHAIN_RULES, *UNIT_LENGTH_RULES])
def test_a_step_reads_nothing_from_the_device_and_creates_no_float64(rule, monkeypatch):
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    install("standin", cpu_chunks=False)
    net, optimizer, loss = network_for(rule), mf.AdamW(clip_norm=1.0), mf.SoftmaxCrossEntropy()
    rule = mf.rules.make(rule).attach(net)
    x, y = batch(shape=net.input_shape)
    rule.gradients(net, x, y, loss)
    optimizer.step(net, rule)
    with standin.no_host_reads(CUPY), standin.forbid_float64(CUPY):
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)


@pytest.mark.parametrize(
    "optimizer",
    [mf.SGD(), mf.SGD(momentum=0.5, nesterov=True, weight_decay=0.1), mf.Adam(), mf.RMSprop(momentum=0.5)],
    ids=["sgd", "sgd-nesterov", "adam", "rmsprop-momentum"],
)
@pytest.mark.parametrize(
    "loss", [mf.HalfSquaredError(), mf.MeanSquaredError(), mf.SigmoidCrossEntropy()], ids=lambda loss: loss.name
)
def test_other_losses_and_optimizers_stay_on_the_device_too(optimizer, loss):
    install("standin", cpu_chunks=False)
    net = mf.Network([mf.Linear(4, 5), mf.Sigmoid(), mf.Linear(5, 3)])
    rule = mf.rules.FA().attach(net)
    x, y = batch(shape=(4,))
    with standin.no_host_reads(CUPY), standin.forbid_float64(CUPY):
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)


def test_predict_and_metrics_work_on_the_stand_in():
    install("standin")
    net = small_convnet()
    x, y = batch()
    assert isinstance(net.predict(mf.to_host(x)), np.ndarray)
    angles = mf.metrics.alignment(net, mf.rules.FA().attach(net), x, y, mf.SoftmaxCrossEntropy())
    assert isinstance(angles["linear2"]["true_angle"], float)


# --- work in chunks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 100, 1001])
def test_lanes_cover_every_example_once_and_in_order(n, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 80)
    lanes = chunks._lanes(n, bytes_each=10)  # chunks of at most 8
    rows = [i for lane in lanes for part in lane for i in range(part.start, part.stop)]
    assert rows == list(range(n))
    assert len(lanes) <= chunks.LANES
    sizes = [part.stop - part.start for lane in lanes for part in lane]
    assert max(sizes) <= 8 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "shape", [(600, 20, 30), (30, 20, 600), (40, 300, 40)], ids=["by rows", "by columns", "square"]
)
def test_matmul_equals_the_plain_product(shape, many_chunks):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    out = np.empty((rows, columns))
    product = chunks.matmul(a, b, out=out)
    assert many_chunks, "the product was not cut"
    assert product is out
    np.testing.assert_allclose(product, a @ b, rtol=1e-12)


def test_products_inside_a_chunk_are_not_cut_again(many_chunks):
    """Threads that wait for threads of the same pool could deadlock."""
    a = np.ones((300, 300))
    products = [None] * 4

    def work(rows):
        products[rows.start] = chunks.matmul(a, a)

    chunks.each_chunk(4, 1 << 11, work)
    assert many_chunks == [4]
    chunks.matmul(a, a)
    assert len(many_chunks) == 2, "outside a chunk this product is cut"
    assert all((product == 300).all() for product in products)


def test_an_error_inside_a_chunk_is_raised(many_chunks):
    def fail(rows):
        raise ZeroDivisionError(f"rows from {rows.start}")

    mf.use("numpy", threads=2)
    with pytest.raises(ZeroDivisionError, match="rows from"):
        chunks.each_chunk(100, 1 << 10, fail)
    assert not backend._pool.in_chunk()


def test_an_error_in_a_worker_thread_is_raised_in_the_calling_thread(many_chunks):
    failed = threading.Event()

    def work(rows):
        if threading.current_thread() is threading.main_thread():
            failed.wait(5)
        else:
            failed.set()
            raise ZeroDivisionError("elsewhere")

    mf.use("numpy", threads=2)
    with pytest.raises(ZeroDivisionError, match="elsewhere"):
        chunks.each_chunk(100, 1 << 10, work)
    assert not backend._pool.in_chunk()


def test_no_chunk_is_still_running_once_an_error_has_been_raised(many_chunks):
    """A caller that catches the error may write into the same arrays again."""
    started, finished = threading.Event(), []

    def work(rows):
        if threading.current_thread() is threading.main_thread():
            started.wait(5)
            raise ZeroDivisionError
        started.set()
        time.sleep(0.05)
        finished.append(time.perf_counter())

    mf.use("numpy", threads=2)
    with pytest.raises(ZeroDivisionError):
        chunks.each_chunk(8, 1 << 10, work)
    caught = time.perf_counter()
    time.sleep(0.3)
    assert finished and all(moment <= caught for moment in finished)


def test_warnings_that_the_caller_silenced_are_silent_in_every_thread():
    both = threading.Barrier(2)  # so that each of two threads runs one task

    def overflow():
        both.wait(5)
        np.float32(3e38) * np.ones(3, np.float32) * np.float32(10)

    mf.use("numpy", threads=2)
    with np.errstate(over="ignore"):
        backend._pool.run([overflow, overflow])


# --- the switch -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_use_refuses_unknown_backends_and_dtypes():
    with pytest.raises(ValueError, match="unknown backend 'jax'"):
        mf.use("jax")
    with pytest.raises(ValueError, match="dtype 'float16' is not supported"):
        mf.use("numpy", "float16")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        mf.use("numpy", threads=0)


def test_using_restores_the_backend_after_an_error():
    before = backend.name(), backend.dtype()
    with pytest.raises(KeyError), mf.using("numpy", "float64"):
        assert backend.dtype() == np.float64
        raise KeyError
    assert (backend.name(), backend.dtype()) == before


def test_missing_package_and_missing_device_have_different_messages(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # its import fails
    with pytest.raises(mf.backend.BackendError, match="cannot be imported .*pip install"):
        mf.use("cupy")
    monkeypatch.setitem(sys.modules, "cupy", standin.make_cupy(device_count=0))
    with pytest.raises(mf.backend.BackendError, match="driver is missing or too old"):
        mf.use("cupy")
    assert backend.cupy_status().startswith("not usable: CuPy 14")
    runtime = SimpleNamespace(getDeviceCount=lambda: 0)
    hidden = SimpleNamespace(__version__="14", is_available=lambda: False, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", hidden)
    with pytest.raises(
        mf.backend.BackendError, match=r"driver are installed, but no usable device is visible \(0 found\)"
    ):
        mf.use("cupy")
    assert backend.name() == "numpy"
    monkeypatch.setitem(sys.modules, "cupy", CUPY)
    assert backend.cupy_status() == "CuPy 14.2.0 on stand-in"


@pytest.mark.parametrize(
    "meminfo, sysconf, expected",
    [
        ("MemTotal: 90 kB\nMemAvailable: 12 kB\n", None, 12 << 10),
        ("MemTotal: 90 kB\n", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}, 12 << 10),
        (None, {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}, 12 << 10),
        (None, {"SC_PHYS_PAGES": -1, "SC_PAGE_SIZE": 4096}, 8 << 30),
        (None, None, 8 << 30),
    ],
    ids=["Linux", "an old Linux", "macOS", "a system that does not know", "Windows"],
)
def test_free_memory_is_read_from_the_system_or_is_the_installed_memory(meminfo, sysconf, expected, monkeypatch):
    def opened(path, **options):
        if meminfo is None:
            raise FileNotFoundError(path)
        return io.StringIO(meminfo)

    monkeypatch.setattr(backend, "open", opened, raising=False)
    monkeypatch.setattr(backend, "os", SimpleNamespace(sysconf=sysconf.get) if sysconf else SimpleNamespace())
    assert backend.free_bytes() == expected


def test_asarray_converts_floats_to_the_dtype_of_the_engine_and_keeps_integers(engine):
    assert mf.asarray([1.0, 2.0]).dtype == np.float32
    assert mf.asarray(np.arange(3)).dtype == np.arange(3).dtype
    assert mf.asarray(np.arange(3), "float32").dtype == np.float32
    x = mf.asarray(np.ones(3))
    assert mf.asarray(x) is x, "an array that is right already is not copied"
    assert mf.asarray(x, "float64").dtype == np.float64
    assert type(mf.to_host(x)) is np.ndarray


def test_arrays_of_the_wrong_backend_or_dtype_are_refused_with_a_remedy(engine):
    layer = mf.Linear(3, 2, name="readout")
    other = CUPY.ones((2, 3)) if engine == "numpy" else np.ones((2, 3))
    with pytest.raises(TypeError, match=r"Linear 'readout' expects an array of the backend .*minifa\.asarray"):
        layer.forward(other, mf.Pass())
    with pytest.raises(TypeError, match="expects floating-point numbers, got dtype int"):
        layer.forward(mf.asarray(np.ones((2, 3), int)), mf.Pass())


# --- random draws -----------------------------------------------------------------------------------------------------


def test_a_random_stream_depends_on_every_part_of_its_key():
    from minifa.rng import generator

    first = generator(1, "weights", "conv1", 2).random()
    others = [
        (2, "weights", "conv1", 2),
        (1, "feedback", "conv1", 2),
        (1, "weights", "conv2", 2),
        (1, "weights", "conv1", 3),
    ]
    assert generator(1, "weights", "conv1", 2).random() == first
    assert len({first, *(generator(*one).random() for one in others)}) == 5


@pytest.mark.usefixtures("engine")
def test_seeds_and_purposes_are_checked():
    from minifa.rng import generator

    with pytest.raises(ValueError, match="unknown purpose 'wieghts'"):
        generator(0, "wieghts")
    with pytest.raises(ValueError, match="a seed must be at least 0, got -1"):
        generator(-1, "weights")
    with pytest.raises(TypeError, match="a seed must be an int"):
        mf.rules.FA(seed=0.5)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "name, sd",
    [
        ("he_normal", 0.1),
        ("lecun_normal", 1 / 200**0.5),
        ("onoff_input", 1 / 200**0.5),
        ("he_uniform", 0.1),
        ("xavier_normal", 1 / 15),
        ("torch", 1 / 600**0.5),
    ],
)
def test_initialisers_have_the_standard_deviation_of_their_formula(name, sd):
    """fan_in 200, fan_out 250. He: sqrt(2/200) = 0.1; LeCun: sqrt(1/200); Xavier: sqrt(2/450) = 1/15; PyTorch:
    1/sqrt(3 * 200)."""
    W = mf.Linear(200, 250, init=name).W
    assert abs(W.std() / sd - 1) < 0.02 and abs(W.mean()) < 4 * sd / 50000**0.5
    if "normal" not in name and name != "onoff_input":
        assert abs(W).max() <= 3**0.5 * sd * (1 + 1e-6)


@pytest.mark.usefixtures("engine")
def test_on_off_weights_have_the_mean_and_root_mean_square_of_rectified_gaussians():
    """w ~ N(0, 4 / 200): the mean of max(w, 0) is sd / sqrt(2 pi), the mean of its square sd^2 / 2."""
    layer, sd = mf.Linear(200, 250, init="onoff"), 0.02**0.5
    assert abs(layer.W.mean() / sd * (2 * np.pi) ** 0.5 - 1) < 0.02 and (layer.W >= 0).all()
    assert abs((layer.W**2).mean() / (sd**2 / 2) - 1) < 0.02
    assert layer.init.sd(*layer.fans) == pytest.approx(sd / 2**0.5) and layer.init.is_nonnegative


def test_float32_and_float64_networks_of_one_seed_have_the_same_weights():
    single = mf.Linear(5, 4).W
    with mf.using("numpy", "float64"):
        double = mf.Linear(5, 4).W
    assert double.dtype == np.float64
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_the_blas_library_of_numpy_is_detected():
    """It must be limited to one thread within a chunk: a library that is not detected uses all cores in every worker
    process."""
    assert [one for one in threadpool_info() if one["user_api"] == "blas"]


@pytest.mark.usefixtures("engine")
def test_a_quiet_function_computes_although_numpy_is_set_to_raise():
    """NumPy stores its settings in one context variable; if it had another name, `quietly` would use errstate."""
    exp = backend.quietly(lambda x: backend.xp.exp(-x))
    with np.errstate(all="raise"):
        assert mf.to_host(exp(mf.asarray([200.0]))).tolist() == [0.0]
        assert np.geterr()["under"] == "raise"
    assert len(backend._quiet_settings()) == 1


@pytest.mark.usefixtures("engine")
def test_a_schedule_that_fails_at_some_epochs_is_described_by_its_error_there():
    described = mf.schedules.describe(lambda epoch: 1 / epoch)
    assert described["value at epoch 0"] == "ZeroDivisionError" and described["value at epoch 2"] == 0.5
