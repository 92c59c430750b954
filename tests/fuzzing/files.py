"""The entrances that are files: data sets, weights, run folders, checkpoints."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib
import io
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np

import minifa as mf
from fuzzing import Case, MakeCase, bound, mutations
from minifa import checkpoints, experiments
from minifa.data import cifar
from minifa.data.base import DataFileError, Dataset
from minifa.experiments import resume, run_folder
from minifa.storage.npz import read_array, read_arrays
from minifa.training import History

mnist = importlib.import_module("minifa.data.mnist")  # the function of the same name hides it
UNPACKED = 1100  # times the size: deflate can expand a byte to 1032
OF_TEXT = 400  # times the size: Python objects made from one or two characters
READING = (DataFileError, OSError)


def of_file(
    make: Callable[[Random], bytes],
    ways: Sequence[mutations.Bytes],
    call: Callable[[Path], Any],
    refusals: tuple[type[BaseException], ...] = READING,
    check: Callable[[Any], None] = lambda result: None,
    times: int = 24,
    name: str = "file",
    whole: bool = False,
) -> MakeCase:
    """Cases of an entrance that reads one file: a valid one, or a mutation of it.

    Args:
        whole: whether the file protects all of its bytes, so that every change must be refused.
    """

    def case(random: Random, folder: Path) -> Case:
        good = make(random)
        way = random.choice((*ways, _unchanged))
        content = way(random, good)
        path = folder / name
        path.write_bytes(content)
        description = f"{way.__name__}: {len(content)} bytes {content[:400]!r}"
        refused = whole and content != good
        return Case(description, lambda: call(path), refusals, check, refused, bound(len(content), times), folder)

    return case


def _unchanged(random: Random, good: bytes) -> bytes:
    return good


# IDX and CIFAR

SHAPE = (7, 3, 2)


def idx(random: Random) -> bytes:
    values = bytes(random.choices(range(10), k=math.prod(SHAPE)))
    return b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in SHAPE) + values


def idx_gz(random: Random) -> bytes:
    return gzip.compress(idx(random), mtime=0)


def check_idx(array: Any) -> None:
    assert array.shape == SHAPE and array.dtype == np.uint8, f"{array.dtype} {array.shape}"


def read_idx(path: Path) -> Any:
    return mf.data.read_idx(path, SHAPE)


def mnist_case(random: Random, folder: Path) -> Case:
    """The four files, made for the test with few images; one of them is corrupted."""
    place = Path(tempfile.mkdtemp(dir=folder))
    shapes = ((6, 28, 28), (6,), (4, 28, 28), (4,))
    for name, shape in zip(mnist.FILES, shapes, strict=True):
        head = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        content = head + bytes(random.choices(range(10), k=math.prod(shape)))
        (place / name).write_bytes(content)
    description = _corrupt(random, place / random.choice(mnist.FILES), (*mutations.ANY, _gzipped))

    def call() -> Dataset:
        with mock.patch.multiple(mnist, N_TRAIN=6, N_TEST=4):
            return mf.data.mnist(place)

    return Case(description, call, (*READING,), check_dataset, memory=bound(20_000, UNPACKED))


def _gzipped(random: Random, good: bytes) -> bytes:
    return random.choice(mutations.ANY)(random, gzip.compress(good, mtime=0))


def cifar_case(random: Random, folder: Path) -> Case:
    place = Path(tempfile.mkdtemp(dir=folder))
    hundred = random.random() < 0.5
    files = cifar.CIFAR100.files if hundred else cifar.CIFAR10.files
    for name in files:
        records = (10 if name == "train.bin" else 2), (2 if hundred else 1) + cifar.PIXELS
        content = np.frombuffer(random.randbytes(math.prod(records)), np.uint8).reshape(records).copy()
        content[:, :2] %= 10
        (place / name).write_bytes(content.tobytes())
    description = _corrupt(random, place / random.choice(files), mutations.ANY)

    def call() -> Dataset:
        with mock.patch.object(cifar, "PER_FILE", 2):
            return (mf.data.cifar100 if hundred else mf.data.cifar10)(place)

    return Case(description, call, READING, check_dataset, memory=bound(80_000))


def _corrupt(random: Random, path: Path, ways: Sequence[mutations.Bytes]) -> str:
    way = random.choice((*ways, _unchanged))
    content = way(random, path.read_bytes())
    path.write_bytes(content)
    return f"{way.__name__} of {path.name}: {len(content)} bytes {content[:300]!r}"


def check_dataset(data: Any) -> None:
    """The properties of every data set, from any source."""
    assert isinstance(data, Dataset)
    for part in (data.train, data.test):
        assert part.x.dtype == np.float32 and part.x.ndim in (2, 4) and len(part.x) == len(part.y) > 0
        assert np.isfinite(part.x).all(), "numbers that are not finite"
        if data.classes:
            assert part.y.dtype == np.int64 and part.y.ndim == 1, f"labels of {part.y.dtype} {part.y.shape}"
            assert 0 <= part.y.min() <= part.y.max() < data.n_out, "a label that is not a class"
        else:
            assert part.y.dtype == np.float32 and part.y.ndim == 2 and np.isfinite(part.y).all()


# npz


def npz(random: Random) -> bytes:
    if random.random() < 0.1:  # the real one
        return (Path(mf.__file__).parent / "data" / "files" / "digits.npz").read_bytes()
    n = random.choice((6, 12))
    rng = np.random.default_rng(random.randrange(99))
    x = rng.standard_normal(random.choice(((n, 3), (n, 2, 2), (n, 2, 2, 1), (n, 3, 5, 5))))
    labels = rng.permutation(n) % 2
    ys = (
        labels,
        labels * 3,
        labels[:, None],
        labels + 1.0,
        np.array(["a", "bc"])[labels],
        np.array(["é"] * n).astype(">U2"),
    )
    y = random.choice(ys) if random.random() < 0.7 else rng.standard_normal((n, 2))
    dtype = random.choice(("f4", "f8", ">f4", "u1"))
    arrays = {"x": (np.abs(x) if dtype == "u1" else x).astype(dtype), "y": y}
    if random.random() < 0.3:
        arrays |= {"x_test": x[:3], "y_test": y[:3]}
    return mutations.zipped([(f"{key}.npy", mutations.npy(array)) for key, array in arrays.items()])


def csv_table(random: Random) -> bytes:
    rows = [f"{random.randrange(99)},{random.random()},{random.choice(('a', 'b'))}" for _ in range(12)]
    return "\n".join(["age,height,label", *rows, "1,2,a", "1,2,b"]).encode()


ZIP = (*mutations.ANY, *(mutations.mutate_zip,) * 12)


# Weights


@functools.cache
def _saved(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        net = small_net()
        if kind == "safetensors":
            mf.weights.save(net, path)
        elif kind == "torch":
            mf.weights.save(net, path, layout="torch")
        elif kind == "network":
            net.save(path, mf.rules.USF(seed=1).attach(net))
        else:
            mf.checkpoints.save(path, small_trainer(trained=True))
        return path.read_bytes()


def small_net(seed: int = 0) -> Any:
    layers = [mf.Conv2d(1, 2, 2), mf.BatchNorm(2), mf.ReLU(), mf.Flatten(), mf.Linear(8, 3)]
    return mf.Network(layers, seed=seed, input_shape=(3, 3, 1))


def small_trainer(trained: bool = False) -> Any:
    net = small_net()
    rule = mf.rules.KolenPollack(seed=0).attach(net)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.Adam(lr=0.01))
    if trained:
        rng = np.random.default_rng(0)
        trainer.fit(mf.data.validate(rng.standard_normal((8, 3, 3, 1)), np.arange(8) % 3), epochs=2, batch_size=4)
    return trainer


def safetensors_of(kind: str) -> Callable[[Random], bytes]:
    return lambda random: _saved(kind) if kind != "narrow" else narrow(_saved("torch"), random)


def narrow(good: bytes, random: Random) -> bytes:
    """The file as a wrapped model has it in bfloat16 or float8: a part of the bits, under longer names."""
    dtype, width = random.choice((("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1)))
    length = int.from_bytes(good[:8], "little")
    header, at, body = json.loads(good[8 : 8 + length]), 0, b""
    del header["__metadata__"]
    for entry in header.values():
        first, last = entry["data_offsets"]
        values = np.frombuffer(good[8 + length + first : 8 + length + last], np.uint8).reshape(-1, 4)
        body += (values[:, 4 - width :] & 0x3F).tobytes()  # no exponent is at its maximum, so all are finite
        entry["dtype"], entry["data_offsets"], at = dtype, [at, len(body)], len(body)
    text = json.dumps({f"module.{name}": entry for name, entry in header.items()}).encode()
    return len(text).to_bytes(8, "little") + text + body


def mutate_safetensors(random: Random, good: bytes) -> bytes:
    """Another header: types, shapes, offsets, names, metadata."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    name = random.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    change = random.randrange(8)
    if change == 0:
        entry["dtype"] = random.choice(
            ("F64", "F16", "BF16", "I64", "I8", "BOOL", "F8_E4M3", "U64", "C64", "x", "", 4, "F32")
        )
    elif change == 1:
        entry["shape"] = random.choice(([], [0], [1 << 60], [-1], [2, 1 << 62], [1.5], "x", None, [1, *entry["shape"]]))
    elif change == 2:
        entry["data_offsets"] = random.choice(([0, 0], [0, 1 << 60], [-1, 4], [8, 4], [0], None, "x", [0, 4, 8]))
    elif change == 3:
        header[random.choice(("x", "", "é", "a." * 500, "linear1.W", "conv1.weight", "1.num_batches_tracked"))] = (
            header.pop(name)
        )
    elif change == 4:
        header["__metadata__"] = random.choice(
            ({}, {"format": "pt"}, {"format": 5}, [], None, {"format": "minifa"}, {"x": "y"})
        )
    elif change == 5:
        del header[name]
    text = json.dumps(header).encode("utf-8", "replace")
    if change == 6:
        text = mutations.mutate_json(random, text)
    if change == 7:
        text = random.choice((b"", b"{" * 50_000, text + b" " * 1000, b"[]", b"{}", text[:-1]))
    size = len(text) if random.random() < 0.95 else random.choice(mutations.SIZES)
    return size.to_bytes(8, "little") + text + good[8 + length :]


def safetensors_case(kind: str) -> MakeCase:
    own = {"conv1": "conv1", "batchnorm1": "batchnorm1", "linear1": "linear1"}
    names = None if kind in ("safetensors", "narrow") else own

    def load(path: Path) -> Any:
        net = small_net(seed=5)
        before = net.state()
        try:
            mf.weights.load(net, path, names)
        except ValueError as error:
            _assert_unchanged(before, net.state(), error)
            raise
        return net

    return of_file(
        safetensors_of(kind),
        (*mutations.ANY, *(_no_numbers, *(mutate_safetensors,) * 8)),
        load,
        (ValueError, OSError),
        check_net,
    )


def _no_numbers(random: Random, good: bytes) -> bytes:
    at = len(good) - 4 * random.randrange(1, 20)
    return good[:at] + random.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff")) + good[at + 4 :]


def _assert_unchanged(before: dict[str, Any], now: dict[str, Any], error: BaseException) -> None:
    changed = [key for key in before if not np.array_equal(before[key], now[key])]
    if changed:
        raise AssertionError(f"refused ({error}), but {', '.join(changed)} had changed")


def check_net(net: Any) -> None:
    assert all(np.isfinite(array).all() for array in net.state().values()), "weights that are not finite"


# Checkpoints: corrupted after the checksum, or with an invented manifest and a correct checksum


def checkpoint(random: Random) -> bytes:
    return _saved("checkpoint")


def network_file(random: Random) -> bytes:
    return _saved("network")


def load_network(path: Path) -> Any:
    return mf.load(path)[0]


def made_up(random: Random, good: bytes) -> bytes:
    """A checkpoint or a file of a network with another manifest or other arrays, and a correct checksum."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    if random.random() < 0.6:
        members[0] = members[0][0], mutations.mutate_json(random, members[0][1])
        content = mutations.zipped(members)
    else:
        content = mutations.mutate_zip(random, good)
    content = content[:-2] + (64).to_bytes(2, "little")  # the comment's length
    return content + hashlib.sha256(content).hexdigest().encode()


def load_checkpoint(path: Path) -> Any:
    trainer = small_trainer()
    before = {**trainer.net.state(), **trainer.rule.state()}
    try:
        mf.checkpoints.load(path, trainer)
    except checkpoints.CheckpointError as error:
        _assert_unchanged(before, {**trainer.net.state(), **trainer.rule.state()}, error)
        raise
    return trainer.net


# Run folders


@functools.cache
def _run_folder() -> Path:
    """A finished run, made once; every case uses a copy."""
    folder = Path(tempfile.mkdtemp(prefix="minifa-fuzz-"))
    experiment = experiments.Experiment(
        data="xor", model="tiny", model_options={"hidden": 3}, rule="kolen_pollack", lr=0.1, epochs=3
    )
    data = mf.data.load("xor")
    trainer = experiments.trainer_for(experiment, data)
    resume.attach_callbacks(folder, experiment, trainer)
    experiments.fit(experiment, data, trainer)
    run_folder.save(folder, experiment, trainer.history, trainer.net, trainer.rule)
    return folder


def run_case(
    file: str, ways: Sequence[mutations.Bytes], *calls: Callable[[Path], Any], times: int = OF_TEXT
) -> MakeCase:
    def case(random: Random, folder: Path) -> Case:
        place = folder / "run"
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(_run_folder(), place)
        description = _corrupt(random, place / file, ways)
        call = random.choice(calls)
        # The data set and the network of the run are built as well: a few megabytes for files of any size.
        size = (place / file).stat().st_size
        return Case(
            f"{call.__name__}, {description}",
            lambda: call(place),
            READING,
            check_run,
            memory=bound(size, times),
            folder=folder,
        )

    return case


def check_run(result: Any) -> None:
    for one in result if isinstance(result, list) and not isinstance(result, History) else ():
        assert isinstance(one.score, (int, float)), f"the score is {one.score!r}"
        assert all(isinstance(row["epoch"], int) for row in one.history), "an epoch that is not a number"
    if isinstance(result, tuple):
        check_net(result[0])


def _of_run(name: str) -> bytes:
    return (_run_folder() / name).read_bytes()


def read_history(path: Path) -> Any:
    return History.read_csv(path / "history.csv")


JSON = (*mutations.ANY, *(mutations.mutate_json,) * 12)
TABLE = (*mutations.ANY, *(mutations.mutate_csv,) * 8)

# name: (make a case, its share of all cases)
ENTRANCES: dict[str, tuple[MakeCase, int]] = {
    "idx": (of_file(idx, mutations.ANY, read_idx, check=check_idx), 4),
    "idx, gzip": (of_file(idx_gz, mutations.ANY, read_idx, check=check_idx), 4),
    "mnist": (mnist_case, 2),
    "cifar": (cifar_case, 1),
    "npz of a data set": (
        of_file(npz, ZIP, mf.data.from_npz, (ValueError, TypeError, OSError), check_dataset, UNPACKED, "data.npz"),
        8,
    ),
    "csv of a data set": (
        of_file(csv_table, TABLE, mf.data.from_file, (ValueError, TypeError, OSError), check_dataset, 400, "data.csv"),
        6,
    ),
    "safetensors": (safetensors_case("safetensors"), 4),
    "safetensors of PyTorch": (safetensors_case("torch"), 2),
    "safetensors in bfloat16 and float8": (safetensors_case("narrow"), 2),
    "checkpoint": (
        of_file(checkpoint, mutations.ANY, load_checkpoint, (checkpoints.CheckpointError,), whole=True, times=50),
        3,
    ),
    "checkpoint, made up": (
        of_file(checkpoint, (made_up,), load_checkpoint, (checkpoints.CheckpointError,), check_net, UNPACKED),
        5,
    ),
    "network file": (of_file(network_file, mutations.ANY, load_network, whole=True, times=50), 2),
    "network file, made up": (of_file(network_file, (made_up,), load_network, READING, check_net, UNPACKED), 5),
    "config.json": (
        run_case("config.json", JSON, run_folder.read_experiment, run_folder.read_results, run_folder.open_run),
        8,
    ),
    "history.csv": (run_case("history.csv", TABLE, run_folder.read_results, read_history), 6),
    "network.npz": (run_case("network.npz", ZIP, run_folder.open_run, times=UNPACKED), 5),
}

# Files that are tested with every truncation: (a function that makes one, a function that reads one)
BEGINNINGS: dict[str, tuple[Callable[[Random], bytes], Callable[[Path], Any], tuple[type[BaseException], ...]]] = {
    "idx": (idx, read_idx, READING),
    "idx, gzip": (idx_gz, read_idx, READING),
    "npz": (npz, read_arrays, READING),
    "npy": (lambda random: mutations.npy(np.arange(6.0)), read_array, READING),
    "safetensors": (safetensors_of("safetensors"), mf.weights.read, READING),
    "checkpoint": (checkpoint, checkpoints.read, (checkpoints.CheckpointError,)),
    "network file": (network_file, mf.load, READING),
    "history.csv": (lambda random: _of_run("history.csv"), History.read_csv, READING),
    "config.json": (
        lambda random: _of_run("config.json"),
        lambda path: run_folder.read_experiment(path.parent),
        READING,
    ),
}
