"""The stand-in for CuPy must detect the listed mistakes, and otherwise give exactly NumPy's results.

Each line of MISTAKES is code that runs under NumPy and fails, or copies and synchronises implicitly, under CuPy.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import standin
from standin.contract import TABLE

cupy = standin.make_cupy()
HOST = np.arange(12, dtype=np.float32).reshape(3, 4) / 7 - 0.5


@pytest.fixture
def names():
    """The names used in the mistakes below: device arrays x (3, 4), v (4,), i (int), mask, s (0-d) and the host array
    h."""
    x = cupy.asarray(HOST)
    return {
        "np": np,
        "xp": cupy,
        "math": math,
        "x": x,
        "v": x[0].copy(),
        "i": cupy.asarray([2, 0, 2]),
        "mask": x > 0,
        "s": x.sum(),
        "n": cupy.asarray(2),
        "h": HOST.copy(),
        "np_idx": np.array([0, 1]),
        "big": cupy.asarray([0, 9]),
        "rng": cupy.random.default_rng(0),
        "byte": cupy.zeros(3, dtype="int8"),
    }


MISTAKES = [
    # unintended conversion to the host
    ("np.asarray(x)", TypeError, "Implicit conversion"),
    ("np.array([s, s])", TypeError, "Implicit conversion"),
    ("h[i]", TypeError, "Implicit conversion"),
    ("np.testing.assert_array_equal(x, h)", TypeError, "device array|Implicit conversion"),
    ("[1, 2, 3][n]", TypeError, "indices must be integers"),
    ("range(n)", TypeError, "interpreted as an integer"),
    ("x[:n]", TypeError, "__index__"),
    ("xp.zeros(n)", TypeError, "interpreted as an integer"),
    ("x.reshape(n, 6)", TypeError, "interpreted as an integer"),
    ("xp.zeros((n, 3))", TypeError, "interpreted as an integer"),
    ("round(s)", TypeError, "__round__"),
    ("pickle(x)", TypeError, "save NumPy arrays"),
    # host arrays and NumPy's functions instead of the device's
    ("x + h", TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    ("h + x", TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    ("h @ x.T", TypeError, "Unsupported type"),
    ("h.__iadd__(x)", TypeError, "Unsupported type"),
    ("x.__iadd__(h)", TypeError, "Unsupported type"),
    ("x == h", TypeError, "Unsupported type"),
    ("x + [1, 2, 3, 4]", TypeError, "Unsupported type <class 'list'>"),
    ("x * np.array(2.0)", TypeError, "Unsupported type"),
    ("np.exp(x)", TypeError, "write xp.exp"),
    ("np.add(2.0, x)", TypeError, "write xp.add"),
    ("np.sum(x)", TypeError, "write xp.sum"),
    ("np.einsum('ij->i', x)", TypeError, "write xp.einsum"),
    ("xp.exp(h)", TypeError, "Unsupported type"),
    ("xp.sum(h)", TypeError, "Unsupported type"),
    ("xp.sum([1, 2])", TypeError, "Unsupported type"),
    ("xp.sum(2.0)", TypeError, "Unsupported type"),
    ("xp.where(mask, x, h)", TypeError, "Unsupported type"),
    ("xp.einsum('ij,ij', x, h)", TypeError, "Unsupported type"),
    ("xp.concatenate([x, h])", TypeError, "Only cupy arrays"),
    ("xp.asarray([v, h[0]])", TypeError, "Unsupported type"),
    ("xp.asarray(['a'])", ValueError, "Unsupported dtype"),
    ("xp.exp(x, out=h)", TypeError, "Unsupported type"),
    ("xp.matmul(x, x.T, out=h)", TypeError, "Unsupported type"),
    ("xp.sum(x, out=h)", TypeError, "Unsupported type"),
    ("xp.add.at(x, i, h)", TypeError, "Unsupported type"),
    # indices
    ("x[np_idx]", TypeError, "an index is"),
    ("x[[0, 1]]", TypeError, "an index is"),
    ("x[:, [0, 1]]", TypeError, "an index is"),
    ("x[h > 0]", TypeError, "an index is"),
    ("x.take(np_idx)", TypeError, "Unsupported type"),
    ("x.take([0, 1])", TypeError, "Unsupported type"),
    ("xp.add.at(x, np_idx, 1)", TypeError, "an index is"),
    ("x[big]", IndexError, "out of bounds"),
    ("v[4]", IndexError, "out of bounds"),
    ("xp.take(x, big, axis=0)", IndexError, "out of bounds"),
    ("x[mask, mask]", ValueError, "only one boolean array"),
    ("x[v]", IndexError, "integer or boolean"),
    ("x.__setitem__(slice(None), h)", TypeError, "Unsupported type"),
    ("x.__setitem__(0, [1, 2, 3, 4])", TypeError, "Unsupported type"),
    ("x.__setitem__(i, x)", IndexError, "duplicate"),
    ("x.__setitem__((slice(None), i), x[:, :3])", IndexError, "duplicate"),
    ("xp.put_along_axis(x, i[:, None] * xp.ones((1, 2), dtype=int), x[:, :2], axis=1)", IndexError, "duplicate"),
    ("x.__setitem__(big, v)", IndexError, "out of bounds"),
    # names CuPy lacks
    ("xp.errstate()", AttributeError, "no attribute 'errstate'"),
    ("xp.block([[x]])", AttributeError, "no attribute 'block'"),
    ("xp.vecdot(x, x)", AttributeError, "no attribute 'vecdot'"),
    ("xp.linalg.multi_dot([x, x.T])", AttributeError, "no attribute 'multi_dot'"),
    ("xp.linalg.svdvals(x)", AttributeError, "no attribute 'svdvals'"),
    ("x.resize((4, 3))", AttributeError, "resize"),
    ("x.setflags(write=False)", AttributeError, "setflags"),
    ("xp.no_such_name", AttributeError, "no_such_name"),
    ("xp.cuda.cudnn", AttributeError, "cudnn"),
    ("rng.normal(size=3)", AttributeError, "normal"),
    ("rng.permutation(3)", AttributeError, "permutation"),
    ("rng.shuffle(v)", AttributeError, "shuffle"),
    ("rng.choice(3)", AttributeError, "choice"),
    ("xp.random.SeedSequence(0)", AttributeError, "SeedSequence"),
    # keywords and methods CuPy lacks
    ("xp.exp(x, where=mask)", TypeError, "Wrong arguments"),
    ("xp.sum(x, where=mask)", TypeError, "where"),
    ("x.sum(initial=0)", TypeError, "initial"),
    ("xp.max(x, initial=0)", TypeError, "initial"),
    ("xp.clip(x, min=0, max=1)", TypeError, "min|needs 3"),
    ("xp.clip(x, 0)", TypeError, "needs 3 arguments"),
    ("xp.take(x, i, mode='clip')", TypeError, "mode"),
    ("xp.einsum('ij->i', x, out=v)", TypeError, "out"),
    ("xp.sort(x, stable=True)", TypeError, "stable"),
    ("xp.zeros(3, device='cpu')", TypeError, "device"),
    ("xp.lib.stride_tricks.as_strided(x, (2,), (4,), writeable=False)", TypeError, "writeable"),
    ("xp.count_nonzero(x, keepdims=True)", TypeError, "keepdims"),
    ("xp.linalg.svd(x, hermitian=True)", TypeError, "hermitian"),
    ("xp.reshape(x, shape=(4, 3))", TypeError, "shape"),
    ("xp.argmax(x, 1, v)", TypeError, "positional"),
    ("xp.random.uniform(endpoint=1)", TypeError, "endpoint"),
    ("rng.random(3, out=h)", TypeError, "Unsupported type"),
    ("xp.maximum.reduce(x)", NotImplementedError, "not supported"),
    ("xp.maximum.accumulate(x)", NotImplementedError, "not supported"),
    ("xp.multiply.at(x, i, 2)", NotImplementedError, "not supported"),
    ("xp.add.at(byte, i, 1)", TypeError, "no kernel"),
    ("xp.dot(x, x.T, out=xp.zeros((3, 3)))", ValueError, "acceptable"),
    # exists, but is not imitated: reported as such
    ("xp.RawKernel", NotImplementedError, "not imitated"),
    ("xp.save('x.npy', x)", NotImplementedError, "not imitated"),
    ("x.put(i, 0)", NotImplementedError, "not imitated"),
]


@pytest.mark.parametrize("code, error, message", MISTAKES, ids=[code for code, *_ in MISTAKES])
def test_mistake_is_caught(names, code, error, message):
    with pytest.raises(error, match=message):
        eval(code, {"pickle": pickle.dumps}, names)


HOST_READS = [
    "x.get()",
    "xp.asnumpy(x)",
    "float(s)",
    "int(s)",
    "bool(s)",
    "s.item()",
    "x.tolist()",
    "f'{s:.3f}'",
    "list(v)",
    "repr(x)",
    "str(x)",
    "1 if s else 2",
    "math.sqrt(abs(s))",
    "max(s, s)",
    "0 in v",
    "x[mask]",
    "x.nonzero()",
    "x.__setitem__(mask, 0)",
    "xp.nonzero(x)",
    "xp.where(mask)",
    "xp.unique(x)",
    "xp.bincount(i)",
]


@pytest.mark.parametrize("code", HOST_READS)
def test_host_reads_are_counted_and_can_be_forbidden(names, code):
    before = cupy.counters.d2h
    eval(code, {}, names)
    assert cupy.counters.d2h > before
    with standin.no_host_reads(cupy), pytest.raises(AssertionError, match="the host read a device array: "):
        eval(code, {}, names)


def test_counters_name_the_transfers():
    cupy.counters.reset()
    x = cupy.asarray(HOST)
    cupy.asarray(x)
    cupy.array(x)
    float((x * 2).sum())
    assert cupy.counters.h2d == 1
    assert cupy.counters.d2h == 1
    assert cupy.counters.operand == {"float()": 1}


@pytest.mark.parametrize(
    "code",
    [
        "x * np.float64(2)",
        "np.float64(2) * x",
        "x * np.sqrt(2)",
        "x * i[:, None]",
        "xp.zeros(3)",
        "x.astype(float)",
        "xp.asarray([1.0])",
        "rng.random(3)",
        "i.mean()",
    ],
)
def test_float64_is_caught(names, code):
    eval(code, {}, names)
    with standin.forbid_float64(cupy), pytest.raises(AssertionError, match="float64"):
        eval(code, {}, names)


def test_float32_stays_float32_and_is_allowed(names):
    with standin.forbid_float64(cupy), standin.no_host_reads(cupy):
        for code in (
            "x * 2.0",
            "np.float32(2) * x",
            "x * math.sqrt(2)",
            "x.mean(axis=0)",
            "xp.where(mask, x, 0.0)",
            "rng.random(3, dtype=np.float32)",
            "xp.random.normal(size=3, dtype=np.float32)",
        ):
            assert eval(code, {}, names).dtype == np.float32


SAME = [
    "x @ x.T",
    "xp.einsum('ij,kj->ik', x, x, optimize=True)",
    "xp.tensordot(x, x, axes=([1], [1]))",
    "xp.exp(x) - x / 3",
    "2 - x",
    "1 / (x + 2)",
    "x ** 2",
    "-x",
    "abs(x)",
    "x.sum()",
    "x.mean(axis=(0, 1))",
    "x.var(axis=0, keepdims=True)",
    "xp.argmax(x, axis=1)",
    "x.argmax(axis=1)",
    "xp.maximum(x, 0)",
    "xp.where(x > 0, x, 0.1 * x)",
    "x[1]",
    "x[:, ::2]",
    "x[xp.arange(3), xp.asarray([2, 0, 1])]",
    "x[..., None]",
    "x[x > 0]",
    "x.T.reshape(-1)",
    "x.transpose(1, 0)",
    "xp.pad(x, ((1, 1), (0, 2)), mode='constant', constant_values=3)",
    "xp.concatenate([x, x], axis=1)",
    "xp.stack([x, x])",
    "xp.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(0, 1))",
    "xp.linalg.norm(x)",
    "xp.linalg.qr(x.T)[0]",
    "xp.linalg.svd(x)[1]",
    "xp.eye(3, dtype=np.float32)",
    "xp.arange(5)",
    "xp.full((2, 2), 7.0, dtype=np.float32)",
    "xp.zeros_like(x)",
    "xp.ones((2, 3))",
    "xp.clip(x, -0.1, 0.2)",
    "x.clip(-0.1, 0.2)",
    "xp.take_along_axis(x, x.argsort(), 1)",
    "xp.cumsum(x, axis=1)",
    "xp.add.reduce(x, axis=1)",
    "xp.split(x, 2, axis=1)[1]",
    "divmod(x, 0.3)[1]",
    "xp.sign(x)",
    "xp.count_nonzero(x)",
    "xp.allclose(x, x)",
    "xp.logical_not(x)",
    "xp.outer(x[0], x[1])",
    "x.astype('int32') // 2",
    "xp.moveaxis(x[None], 0, -1)",
    "xp.broadcast_to(x[0], (5, 4))",
    "xp.linspace(0, 1, 5)",
    "xp.fft.rfft(x)",
    "xp.sinc(x)",
]


@pytest.mark.parametrize("code", SAME)
def test_values_are_numpys(code):
    device = eval(code, {"np": np}, {"xp": cupy, "x": cupy.asarray(HOST)})
    host = np.asarray(eval(code, {"np": np}, {"xp": np, "x": HOST}))
    assert isinstance(device, cupy.ndarray)  # 0-d results too
    assert device.shape == host.shape and device.dtype == host.dtype
    np.testing.assert_array_equal(device.get(), host)


def writes(xp, x):
    """Every way to write in place, through views; returns the written arrays and the pairs that must be the same
    object."""
    rows = x[1:]
    xp.matmul(x[:2, :2], x[:2, :2].copy(), out=rows[:, :2])
    out = rows[0]
    same = [(xp.add(x[0], x[1], out), out)]
    same.append((xp.maximum(x[0], 0, out=out), out))
    same.append((xp.sum(x, axis=0, out=out), out))
    rows += 1
    rows[:, 0] = 5
    x.reshape(-1)[3] = 9
    x.T[0, 1] = -4
    xp.add.at(x, (xp.asarray([0, 0]), xp.asarray([1, 1])), 1.5)
    strided = xp.lib.stride_tricks.as_strided(x, shape=(3,), strides=(x.strides[0],))
    strided *= 3
    x[xp.asarray([0, 0])] = 7.0  # one value, so the order does not matter
    xp.copyto(x[2], x[1])
    alias = x
    alias -= 2
    return x, same


def test_writes_go_through_views_and_out_is_returned():
    device, same = writes(cupy, cupy.asarray(HOST))
    assert all(result is given for result, given in same)
    np.testing.assert_array_equal(device.get(), writes(np, HOST.copy())[0])


def test_an_element_is_a_view_and_matmul_does_not_write_in_place():
    """Where CuPy differs from NumPy: x[0] of a vector can be written through, `a @= b` rebinds the name."""
    v = cupy.asarray(HOST[0])
    first = v[0]
    first += 1
    assert v.get()[0] == HOST[0, 0] + 1
    x = cupy.asarray(HOST)
    corner = x[0, 1]
    corner += 1
    assert x.get()[0, 1] == HOST[0, 1] + 1
    a = alias = cupy.eye(2)
    a @= cupy.ones((2, 2))
    assert a is not alias and alias.get()[0, 1] == 0


def test_nothing_is_shared_with_the_host_and_empty_holds_invalid_values():
    host = HOST.copy()
    x = cupy.asarray(host)
    host[:] = 0
    x.get()[:] = 0
    cupy.asnumpy(x)[:] = 0
    np.testing.assert_array_equal(x.get(), HOST)
    assert cupy.asarray(x) is x and cupy.array(x) is not x and copy.deepcopy(x) is not x
    assert np.isnan(cupy.empty(3).get()).all() and np.isnan(cupy.empty_like(x).get()).all()
    assert (cupy.empty(3, dtype=np.int32).get() == np.iinfo(np.int32).max).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda xp: xp.random.default_rng(0).random(4),
        lambda xp: xp.random.RandomState(0).normal(size=4),
        lambda xp: xp.random.default_rng(0).standard_normal(4, dtype=np.float32),
    ],
)
def test_draws_repeat_and_are_not_numpys(draw):
    first, again = draw(cupy), draw(cupy)
    np.testing.assert_array_equal(first.get(), again.get())
    assert first.dtype == draw(np).dtype
    assert not np.array_equal(first.get(), draw(np))


def test_module_level_draws():
    cupy.random.seed(3)
    first = cupy.random.permutation(20)
    cupy.random.seed(3)
    np.testing.assert_array_equal(first.get(), cupy.random.permutation(20).get())
    assert sorted(first.tolist()) == list(range(20))
    assert cupy.random.rand(2, 3, dtype=np.float32).shape == (2, 3)


def test_devices_and_pools():
    assert cupy.is_available() and cupy.cuda.is_available() and cupy.cuda.runtime.getDeviceCount() == 1
    with cupy.cuda.Device(0) as device, cupy.cuda.Stream():
        device.synchronize()
    cupy.cuda.Stream.null.synchronize()
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    assert pool.used_bytes() == 0
    assert cupy.get_array_module(cupy.zeros(2)) is cupy and cupy.get_array_module(HOST) is np
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)


def test_no_device():
    broken = standin.make_cupy(device_count=0)
    assert not broken.is_available() and not broken.cuda.is_available()
    assert broken.result_type(np.float32, 1.0) == np.float32
    assert broken.asnumpy(HOST) is HOST and broken.get_array_module(HOST) is np
    for attempt in (
        broken.cuda.runtime.getDeviceCount,
        broken.cuda.Device,
        broken.get_default_memory_pool().used_bytes,
        lambda: broken.zeros(3),
        lambda: broken.asarray(HOST),
        lambda: broken.random.default_rng(0),
    ):
        with pytest.raises(broken.cuda.runtime.CUDARuntimeError, match="no CUDA-capable device"):
            attempt()


def test_the_stand_in_has_no_names_that_cupy_lacks():
    table = {*TABLE["cupy.ndarray"], *TABLE["cupy.ndarray.dunders"], "_a", "_read", "__annotations__"}
    table |= {"__static_attributes__", "__firstlineno__"}  # attributes that Python 3.13 adds to every class
    assert set(dir(cupy.ndarray)) - set(dir(object)) <= table
    assert set(vars(cupy)) - {"counters", "_twin", "_device_count"} - set(dir(type(cupy))) <= {
        *TABLE["cupy"],
        "__builtins__",
        "__loader__",
        "__name__",
        "__package__",
        "__spec__",
        "__version__",
        "__file__",
    }
    assert not hasattr(cupy.ndarray, "__index__") and not hasattr(cupy.ndarray, "__contains__")


# The environment of a process that measures its own coverage, also if that of these tests is measured.
NOT_MEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.mark.long
def test_the_stand_in_coverage_lists_the_lines_that_did_not_run():
    """`pytest --standin-coverage` over one file runs only the variants on the stand-in, whose coverage is too low."""
    pytest.importorskip("coverage", reason="--standin-coverage needs the package coverage")
    command = [sys.executable, "-m", "pytest", "-q", "--standin-coverage", "tests/core/test_losses.py"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=NOT_MEASURED,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 1 and "deselected" in done.stdout and "failed" not in done.stdout, done.stdout
    not_run = dict(re.findall(r"^(\S+\.py): not run (.*)$", done.stdout, re.M))
    assert len(not_run["layers/conv.py"].split()) > 30 and len(not_run.get("losses.py", "").split()) < 20
    (percent,) = re.findall(r"^([\d.]+) % of the engine's lines", done.stdout, re.M)
    assert 0 < float(percent) < 50


@pytest.mark.long
def test_the_coverage_of_all_tests_contains_that_on_the_stand_in(tmp_path):
    """The same lines, from the processes of pytest-xdist, which run on NumPy, too."""
    pytest.importorskip("coverage", reason="--standin-coverage needs the package coverage")
    tests = Path(__file__).parents[1]
    (tmp_path / "settings").write_text("[run]\nbranch = True\nsource = minifa\nparallel = True\npatch = subprocess\n")
    environment = NOT_MEASURED | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}

    def run(*command):
        command = [sys.executable, "-m", *command]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=300
        )

    options = ["-q", "-n2", "--standin-coverage", f"--rootdir={tests.parent}", f"-c{tests.parent / 'setup.cfg'}"]
    all_tests = ["-m", "pytest", *options, f"{tests / 'core' / 'test_losses.py'}"]
    done = run("coverage", "run", "--rcfile=settings", *all_tests)
    assert done.returncode == 0 and "deselected" not in done.stdout, done.stdout + done.stderr
    assert run("coverage", "combine", "--rcfile=settings").returncode == 0
    done = run("standin.measure")
    assert done.returncode == 1, done.stderr
    not_run = dict(re.findall(r"^(\S+\.py): not run (.*)$", done.stdout, re.M))
    assert len(not_run["layers/conv.py"].split()) > 30 and len(not_run.get("losses.py", "").split()) < 20


def test_only_lines_inside_functions_are_counted():
    pytest.importorskip("coverage", reason="--standin-coverage needs the package coverage")
    from standin.measure import function_lines

    source = "import os\n\nclass A:\n    x = 1\n\n    def f(\n        self,\n    ):\n        y = 2\n        return y\n"
    assert function_lines(source) == {9, 10}


def train(xp):
    """Forty steps of a two-layer network under feedback alignment."""
    draw = np.random.default_rng(0)
    net = SimpleNamespace(W1=(64, 128), W2=(128, 10), B=(128, 10))
    for name, shape in vars(net).items():
        setattr(net, name, xp.asarray(draw.normal(0, 0.1, shape).astype(np.float32)))
    x = xp.asarray(draw.normal(size=(64, 64)).astype(np.float32))
    y = xp.asarray(np.eye(10, dtype=np.float32)[np.arange(64) % 10])
    losses = xp.zeros(40, dtype=xp.float32)
    for step in range(40):
        h = xp.maximum(x @ net.W1, 0)
        z = h @ net.W2
        z -= z.max(axis=1, keepdims=True)
        p = xp.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        losses[step] = -xp.log((p * y).sum(axis=1)).mean()
        e = (p - y) / 64
        delta = (e @ net.B.T) * (h > 0)
        net.W2 -= 0.5 * (h.T @ e)
        net.W1 -= 0.5 * (x.T @ delta)
    return losses


def test_training_is_numpys_bit_for_bit():
    with standin.forbid_float64(cupy), standin.no_host_reads(cupy):
        losses = train(cupy)
    np.testing.assert_array_equal(losses.get(), train(np))
    assert losses.get()[-1] < 0.5 * losses.get()[0]
