"""Data sets: embedded ones, those read from files, and every way in which a file or an array can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import struct
import tracemalloc
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from conftest import CUPY

from minifa import data
from minifa.data import DataFileError, DataNotFound, Dataset, Examples
from minifa.data.base import held_out, split
from minifa.data.downloads import sources

# `minifa.data.digits` and `minifa.data.mnist` are the functions; these are the files that define them.
digits_file = importlib.import_module("minifa.data.digits")
mnist_file = importlib.import_module("minifa.data.mnist")

RNG = np.random.default_rng(0)


def images(n: int = 20) -> np.ndarray:
    return RNG.standard_normal((n, 4, 4, 1)).astype(np.float32)


# --- the embedded digits ---------------------------------------------------------------------------------------------


def test_digits_counts_shapes_and_types():
    d = data.digits()
    assert (len(d.train), len(d.test)) == (1437, 360)
    assert d.train.x.shape == (1437, 8, 8, 1) and d.test.x.shape == (360, 8, 8, 1)
    assert d.train.x.dtype == d.test.x.dtype == np.float32
    assert d.train.y.dtype == d.test.y.dtype == np.int64
    assert d.input_shape == (8, 8, 1) and d.n_out == 10 and d.classes == tuple("0123456789")
    assert "10.24432/C50P49" in d.citation and d.note == ""


def test_digits_file_is_the_original_and_small():
    values, labels = digits_file.raw_digits()
    assert values.shape == (1797, 8, 8) and values.dtype == np.uint8 and values.min() == 0 and values.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(values.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    sizes = [len(entry.read_bytes()) for entry in files("minifa.data").joinpath("files").iterdir()]
    assert sum(sizes) < 100_000


def test_digits_licence_lies_beside_them():
    text = files("minifa.data").joinpath("files").joinpath("digits.txt").read_text(encoding="utf-8")
    for needed in ("CC BY 4.0", "Alpaydin", "Kaynak", "10.24432/C50P49", "No value was changed"):
        assert needed in text


def test_digits_split_never_moves():
    labels = digits_file.raw_digits()[1]
    positions = held_out(labels, 360)
    assert positions[:10].tolist() == [0, 2, 7, 10, 22, 23, 25, 35, 39, 41]
    assert (
        hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
        == "b11a7da242b196cec6ddf549608d136e9df10afa28273b6bdaa09fb9991a82ad"
    )
    assert (
        hashlib.sha256(data.digits().test.y.astype("<i8").tobytes()).hexdigest()
        == "8fa72efc07f2e78c47531dccfe7014dc2afa31f5470e0b46d235bb22deccab17"
    )


def test_digits_parts_are_the_whole_and_keep_the_classes_balanced():
    d = data.digits()
    assert np.bincount(d.test.y).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    pixels = np.concatenate([d.train.x, d.test.x]) * np.float32(digits_file.STD) + np.float32(digits_file.MEAN)
    restored = np.rint(pixels * 16).astype(np.uint8)[..., 0]
    values = digits_file.raw_digits()[0]
    assert sorted(map(bytes, restored)) == sorted(map(bytes, values))


def test_digits_constants_are_the_training_statistics():
    x = data.digits().train.x.astype(np.float64)
    assert abs(x.mean()) < 2e-4 and abs(x.std() - 1) < 2e-4
    raw = x * digits_file.STD + digits_file.MEAN
    assert round(raw.mean(), 4) == digits_file.MEAN and round(raw.std(), 4) == digits_file.STD


# --- splits ----------------------------------------------------------------------------------------------------------


def test_hold_out_is_deterministic_stratified_and_inside_the_training_part():
    d = data.digits()
    train, validation = d.hold_out(0.1)
    again = d.hold_out(0.1)[1]
    assert (len(train), len(validation)) == (1293, 144)
    assert np.array_equal(validation.x, again.x) and np.array_equal(validation.y, again.y)
    share = np.bincount(d.train.y) * 144 / 1437
    assert np.all(np.abs(np.bincount(validation.y) - share) <= 1)
    both = sorted(map(bytes, [*train.x, *validation.x]))
    assert both == sorted(map(bytes, d.train.x))


def test_hold_out_does_not_follow_a_period_in_the_order_of_the_file():
    # Every fifth example of another kind: an evenly spaced fifth would hold out all of them, or none.
    kind = np.arange(1000) % 5
    _, validation = split(Examples(kind[:, None].astype(np.float32), np.zeros(1000, dtype=np.int64)), 0.2)
    assert np.all(np.abs(np.bincount(validation.x[:, 0].astype(int), minlength=5) - 40) < 20)


def test_hold_out_of_regression():
    train, validation = data.lillicrap(n_train=50, n_test=5).hold_out(0.2)
    assert (len(train), len(validation)) == (40, 10)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), 1e-6, 1 - 1e-6])
def test_hold_out_refuses_fractions_that_leave_a_part_empty(fraction):
    with pytest.raises(ValueError, match="hold out|held-out"):
        data.digits().hold_out(fraction)


@pytest.mark.parametrize("n, count", [(2, 1), (7, 3), (100, 99), (1797, 360)])
def test_held_out_positions_are_distinct_and_in_range(n, count):
    positions = held_out(np.arange(n) % 3, count)
    assert len(np.unique(positions)) == count and positions.min() >= 0 and positions.max() < n
    assert np.all(np.diff(positions) > 0)


# --- Examples and Dataset --------------------------------------------------------------------------------------------


def test_take_and_head():
    e = Examples(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([5, 6, 7]))
    taken = e.take([2, 0])
    assert taken.y.tolist() == [7, 5] and taken.x.tolist() == [[4, 5], [0, 1]]
    taken.x[:] = 9
    assert e.x.max() == 5
    assert len(e.head(2)) == 2 and len(e.head(9)) == 3
    with pytest.raises(ValueError, match="at least 1"):
        e.head(0)


def test_examples_of_different_length_are_refused():
    with pytest.raises(ValueError, match="x has 3 examples and y has 2"):
        Examples(np.zeros((3, 2)), np.zeros(2))


def test_dataset_parts_must_fit_together():
    labels = np.array([0, 1])
    small, large = Examples(np.zeros((2, 3)), labels), Examples(np.zeros((2, 4)), labels)
    with pytest.raises(ValueError, match="'odd'.*inputs.*number of examples"):
        Dataset("odd", small, large, ("a", "b"))
    targets = Examples(np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="labels are int64"):
        Dataset("odd", small, targets, ("a", "b"))
    with pytest.raises(ValueError, match="require class names"):
        Dataset("odd", small, small)
    with pytest.raises(ValueError, match="must have none"):
        Dataset("odd", targets, targets, ("a",))


# --- validate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, np.float64])
def test_validate_converts_once(dtype):
    e = data.validate(np.ones((3, 2), dtype=dtype), np.array([0, 2, 1], dtype=np.uint8), 3)
    assert e.x.dtype == np.float32 and e.y.dtype == np.int64


def test_validate_refuses_arrays_of_the_device():
    with pytest.raises(
        TypeError, match=r"not an array on the host \(Implicit conversion.*: move it with minifa\.to_host"
    ):
        data.validate(CUPY.ones((3, 2)), GOOD_Y)


def test_validate_does_not_copy_valid_arrays():
    x, y = images(3), np.array([0, 1, 2])
    e = data.validate(x, y)
    assert np.shares_memory(e.x, x) and np.shares_memory(e.y, y)


def test_validate_regression():
    e = data.validate([[1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0]])
    assert e.y.dtype == np.float32 and e.y.shape == (2, 2)


GOOD_X, GOOD_Y = np.ones((3, 2)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    "x, y, error, message",
    [
        (np.ones(3), GOOD_Y, ValueError, "expected \\(N, features\\)"),
        (np.ones((3, 2, 2)), GOOD_Y, ValueError, "for grey images with x"),
        (np.float64(1), GOOD_Y, ValueError, "expected \\(N, features\\)"),
        (np.ones((0, 2)), np.array([], dtype=int), ValueError, "at least one example"),
        (np.ones((3, 0)), GOOD_Y, ValueError, "at least one example"),
        (np.ones((4, 2)), GOOD_Y, ValueError, "as many labels or targets as examples"),
        (GOOD_X, np.int64(1), ValueError, "as many labels or targets as examples"),
        (GOOD_X, np.array([], dtype=int), ValueError, "at least one example"),
        (GOOD_X + 1j, GOOD_Y, TypeError, "complex"),
        (GOOD_X.astype(object), GOOD_Y, TypeError, "object"),
        (np.array([["a"]] * 3), GOOD_Y, TypeError, "must be integers or floats"),
        (GOOD_X > 0, GOOD_Y, TypeError, "bool"),
        ([[1.0], [1.0, 2.0], [1.0]], GOOD_Y, ValueError, "rows must have the same length"),
        (np.array([[1, 2], [np.nan, 1], [0, 0]]), GOOD_Y, ValueError, "in 1 of 3 examples, first in example 1"),
        (np.array([[1, 2], [1, 1], [0, -np.inf]]), GOOD_Y, ValueError, "first in example 2"),
        (np.array([[1e300, 2], [1, 1], [0, 0]]), GOOD_Y, ValueError, "too large"),
        (GOOD_X, np.array([0, -1, 1]), ValueError, "from -1 to 1; expected 0..2"),
        (GOOD_X, np.array([0, 3, 1]), ValueError, "from 0 to 3; expected 0..2"),
        (GOOD_X, GOOD_Y[None].repeat(3, 0), ValueError, "y.ravel"),
        (GOOD_X, GOOD_Y > 0, TypeError, "bool"),
        (GOOD_X, GOOD_Y.astype(float), TypeError, "astype\\('int64'\\)"),
    ],
)
def test_validate_refuses_invalid_inputs_with_a_message(x, y, error, message):
    with pytest.raises(error, match=message):
        data.validate(x, y, 3)


@pytest.mark.parametrize(
    "y, message",
    [
        (np.array([0.0, 1.0, 2.0]), "if they are class labels"),
        (np.array([0.5, 1.0, 2.0]), "reshape\\(len\\(y\\), -1\\)"),
        (np.ones((3, 1, 1)), "reshape\\(len\\(y\\), -1\\)"),
        (np.array([[1.0], [np.nan], [2.0]]), "first in example 1"),
        (np.array([0, 2**63, 1], dtype=np.uint64), "expected 0 upwards"),
    ],
)
def test_validate_refuses_invalid_targets_with_a_message(y, message):
    with pytest.raises(ValueError, match=message):
        data.validate(GOOD_X, y)


# --- the IDX format --------------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray, magic: bytes | None = None) -> bytes:
    magic = bytes((0, 0, 8, array.ndim)) if magic is None else magic
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Writes the file gzip-compressed where its name ends in .gz."""
    content = idx_bytes(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
@pytest.mark.parametrize("array", [SMALL, SMALL[0, 0], RNG.integers(0, 256, (30, 300, 300))])
def test_idx_round_trip(tmp_path, name, array):
    read = data.read_idx(write_idx(tmp_path / name, array), array.shape)
    assert read.dtype == np.uint8 and np.array_equal(read, array)


def test_idx_compression_is_detected_by_content(tmp_path):
    path = tmp_path / "a-idx3-ubyte.gz"
    path.write_bytes(idx_bytes(SMALL))
    assert np.array_equal(data.read_idx(path, SMALL.shape), SMALL)
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(gzip.compress(idx_bytes(SMALL)))
    assert np.array_equal(data.read_idx(str(path), SMALL.shape), SMALL)


@pytest.mark.parametrize("content", [idx_bytes(SMALL), gzip.compress(idx_bytes(SMALL))], ids=["plain", "gz"])
def test_idx_truncated_at_every_byte(tmp_path, content):
    path = tmp_path / "cut-idx3-ubyte"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataFileError, match="cut-idx3-ubyte"):
            data.read_idx(path, SMALL.shape)


def test_idx_gzip_file_with_any_flipped_bit_is_refused_or_read_correctly(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(SMALL)))
    path, refused = tmp_path / "flipped.gz", 0
    for position in range(len(content)):
        for bit in range(8):
            content[position] ^= 1 << bit
            path.write_bytes(content)
            content[position] ^= 1 << bit
            try:
                assert np.array_equal(data.read_idx(path, SMALL.shape), SMALL)  # a changed time stamp is harmless
            except DataFileError:
                refused += 1
    assert refused > 4 * len(content)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize(
    "content, message",
    [
        (idx_bytes(SMALL, b"\x00\x00\x08\x01"), "starts with the bytes '00 00 08 01'"),
        (idx_bytes(SMALL, b"\x00\x00\x0d\x03"), "starts with '00 00 08 03'"),
        (idx_bytes(SMALL, b"\x01\x00\x08\x03"), "right file"),
        (idx_bytes(SMALL[:1]), "declares the shape \\(1, 3, 4\\); expected \\(2, 3, 4\\)"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + b"\x00" * 24, "declares the shape"),
        (idx_bytes(SMALL) + b"\x00", "declares"),
        (idx_bytes(SMALL) * 2, "declares"),
        (idx_bytes(SMALL)[:-1], "its header declares 40|ends after 23 of the 24 values its header declares"),
    ],
)
def test_idx_with_wrong_content(tmp_path, content, message, compress):
    path = tmp_path / "wrong"
    path.write_bytes(compress(content))
    with pytest.raises(DataFileError, match=message):
        data.read_idx(path, SMALL.shape)


def test_idx_gzip_checksum_and_trailing_bytes(tmp_path):
    path = tmp_path / "wrong.gz"
    good = gzip.compress(idx_bytes(SMALL))
    for content in (good[:-8] + bytes(4) + good[-4:], good + b"more", good + gzip.compress(b"x")):
        path.write_bytes(content)
        with pytest.raises(DataFileError, match="wrong.gz"):
            data.read_idx(path, SMALL.shape)


@pytest.mark.parametrize("declared", [SMALL.shape, (2**31, 2**31, 2**31)], ids=["honest", "lying"])
def test_idx_gzip_bomb_is_not_unpacked(tmp_path, declared):
    path = tmp_path / "bomb.gz"
    header = b"\x00\x00\x08\x03" + struct.pack(">3I", *declared)
    path.write_bytes(gzip.compress(header + bytes(50_000_000), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match="bomb.gz"):
            data.read_idx(path, SMALL.shape)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_idx_missing_file_stays_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_idx(tmp_path / "none", (1,))


# --- MNIST and Fashion-MNIST -----------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """MNIST's loaders for 30 + 20 examples, in an environment without real data."""
    monkeypatch.setattr(mnist_file, "N_TRAIN", 30)
    monkeypatch.setattr(mnist_file, "N_TEST", 20)
    empty = tmp_path / "nobody"
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(empty))
    monkeypatch.delenv("MINIFA_DATA", raising=False)
    fashion = sources.Source("fashion_mnist", mnist_file.FILES, ("https://example.org/",), str(tmp_path / "system"))
    monkeypatch.setattr(mnist_file, "FASHION_MNIST", fashion)
    monkeypatch.setitem(data.SOURCES, "fashion_mnist", fashion)
    return tmp_path


def write_set(folder: Path, ending: str = ".gz", value: int = 0, **changed: np.ndarray) -> None:
    """Four IDX files of 30 + 20 images whose pixels are all `value`; labels run 0..9."""
    parts = {
        "train_images": np.full((30, 28, 28), value),
        "train_labels": np.arange(30) % 10,
        "test_images": np.full((20, 28, 28), value),
        "test_labels": np.arange(20) % 10,
    } | changed
    for name, array in zip(mnist_file.FILES, parts.values(), strict=True):
        write_idx(folder / (name + ending), array)


def pixel(d: Dataset, mean: float, std: float) -> int:
    """The constant pixel of a set that `write_set` wrote."""
    return round(255 * (float(d.test.x.mean(dtype=np.float64)) * std + mean))


def mnist_pixel(folder=None) -> int:
    return pixel(data.mnist(folder), mnist_file.MNIST_MEAN, mnist_file.MNIST_STD)


def test_mnist_has_the_published_sizes():
    assert (mnist_file.N_TRAIN, mnist_file.N_TEST, mnist_file.SIDE) == (60_000, 10_000, 28)
    assert len(mnist_file.FASHION_CLASSES) == 10
    assert mnist_file.FASHION_MNIST.system_folder == "/usr/share/datasets/fashion-mnist"
    assert set(mnist_file.TEST_LABELS.values()) == {"mnist", "fashion_mnist"}


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_files_become_normalised_images(tiny, ending):
    write_set(tiny / "mnist", ending, train_images=np.arange(30 * 784).reshape(30, 28, 28) % 256)
    d = data.mnist(tiny)
    assert d.train.x.shape == (30, 28, 28, 1) and d.test.x.shape == (20, 28, 28, 1)
    assert d.train.x.dtype == np.float32 and d.train.x.flags.c_contiguous
    assert d.train.y.dtype == np.int64 and d.train.y.tolist() == [i % 10 for i in range(30)]
    expected = (np.arange(30 * 784) % 256 / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(d.train.x.ravel(), expected, rtol=1e-5, atol=1e-6)
    assert d.n_out == 10 and d.input_shape == (28, 28, 1) and "LeCun" in d.citation


def test_fashion_mnist_has_names_and_its_own_constants(tiny):
    write_set(tiny / "fashion_mnist", value=51)
    d = data.load("fashion_mnist", tiny)
    assert d.classes[0] == "T-shirt/top" and d.classes[9] == "Ankle boot"
    np.testing.assert_allclose(d.train.x, (0.2 - 0.2860) / 0.3530, rtol=1e-5)


def test_fashion_mnist_is_found_in_the_folder_of_the_system_package(tiny):
    write_set(tiny / "system")
    assert len(data.fashion_mnist().train) == 30
    with pytest.raises(DataNotFound):
        data.mnist()


def test_folder_priority_argument_then_environment_then_cache(tiny, monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    cache = tiny / "nobody" / "minifa" / "mnist"
    write_set(cache, value=10)
    assert mnist_pixel() == 10
    write_set(tiny / "environment" / "mnist", value=20)
    monkeypatch.setenv("MINIFA_DATA", str(tiny / "environment"))
    assert mnist_pixel() == 20
    write_set(tiny / "argument", value=30)
    assert mnist_pixel(tiny / "argument") == 30
    assert mnist_pixel(str(tiny / "argument")) == 30
    write_set(tiny / "argument" / "mnist", value=40)
    assert mnist_pixel(tiny / "argument") == 40
    # A folder given explicitly is not silently replaced by another.
    with pytest.raises(DataNotFound):
        data.mnist(tiny / "elsewhere")
    monkeypatch.setenv("MINIFA_DATA", str(tiny / "elsewhere"))
    with pytest.raises(DataNotFound):
        data.mnist()
    monkeypatch.setenv("MINIFA_DATA", "")
    assert mnist_pixel() == 10


@pytest.mark.parametrize(
    "platform, variables, expected",
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/minifa"),
        ("linux", {"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/minifa"),
        ("linux", {"HOME": "/h"}, "/h/.cache/minifa"),
        ("darwin", {"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/Library/Caches/minifa"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/minifa"),
        ("linux", {"MINIFA_DATA": "~/sets", "HOME": "/h"}, "/h/sets"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths written the POSIX way")
def test_data_folder_on_each_platform(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(sources.sys, "platform", platform)
    for name in ("MINIFA_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert data.data_folder() == Path(expected)


def test_missing_files_are_explained(tiny):
    with pytest.raises(FileNotFoundError) as caught:
        data.mnist(tiny / "here")
    message = str(caught.value)
    assert isinstance(caught.value, DataNotFound)
    for needed in (str(tiny / "here" / "mnist"), *mnist_file.FILES, ".gz", "https://ossci-datasets", "MINIFA_DATA"):
        assert needed in message


def test_an_incomplete_folder_gives_a_message_that_lists_the_missing_files(tiny):
    write_set(tiny / "mnist")
    (tiny / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFound, match="lacks t10k-labels-idx1-ubyte\n"):
        data.mnist(tiny)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"train_labels": np.full(30, 10)}, "train-labels.*holds the label 10; expected 0..9"),
        ({"test_labels": np.full(20, 255)}, "t10k-labels.*holds the label 255"),
        ({"train_labels": np.zeros(29)}, "train-labels.*\\(29,\\); expected \\(30,\\)"),
        ({"train_images": np.zeros((31, 28, 28))}, "train-images.*\\(31, 28, 28\\); expected \\(30, 28, 28\\)"),
        ({"test_images": np.zeros((20, 28, 27))}, "t10k-images.*\\(20, 28, 27\\)"),
        ({"test_images": np.zeros(20)}, "t10k-images.*starts with"),
    ],
)
def test_inconsistent_files_are_refused(tiny, changed, message):
    write_set(tiny / "mnist", **changed)
    with pytest.raises(DataFileError, match=message):
        data.mnist(tiny)


def test_the_files_of_one_data_set_are_refused_as_another(tiny, monkeypatch):
    write_set(tiny)
    digest = hashlib.sha256((np.arange(20) % 10).astype(np.uint8).tobytes()).hexdigest()
    monkeypatch.setitem(mnist_file.TEST_LABELS, digest, "fashion_mnist")
    assert len(data.fashion_mnist(tiny).train) == 30
    with pytest.raises(DataFileError, match="belongs to 'fashion_mnist', but 'mnist' was requested"):
        data.mnist(tiny)


# --- Lillicrap's linear task -----------------------------------------------------------------------------------------


def test_lillicrap_is_the_documented_linear_teacher():
    d, teacher = data.lillicrap(seed=3), data.lillicrap_teacher(3)
    assert teacher.shape == (30, 10) and teacher.dtype == np.float32
    assert -1 <= teacher.min() < -0.9 and 0.9 < teacher.max() <= 1
    assert (len(d.train), len(d.test)) == (2000, 500) and d.input_shape == (30,) and d.n_out == 10 and d.classes == ()
    for part in (d.train, d.test):
        assert part.x.dtype == part.y.dtype == np.float32
        np.testing.assert_allclose(part.y, part.x @ teacher, atol=1e-5)
    assert abs(d.train.x.mean()) < 0.02 and abs(d.train.x.std() - 1) < 0.02


def test_lillicrap_depends_on_the_seed_alone():
    a, b = data.lillicrap(0, n_train=10, n_test=4), data.lillicrap(0, n_train=20, n_test=4)
    assert np.array_equal(a.train.x, b.train.x[:10]) and np.array_equal(a.test.y, b.test.y)
    assert not np.array_equal(a.train.x[:4], a.test.x)
    assert not np.array_equal(a.train.x, data.lillicrap(1, n_train=10).train.x)
    assert not np.array_equal(data.lillicrap_teacher(0), data.lillicrap_teacher(1))
    with pytest.raises(ValueError, match="train part must be at least 1, got 0"):
        data.lillicrap(n_train=0)


# --- user-defined arrays ----------------------------------------------------------------------------------------------


def test_from_arrays_splits_without_a_test_part():
    y = np.repeat([0, 1], 50)
    d = data.from_arrays(RNG.standard_normal((100, 3)), y, name="mine")
    assert (d.name, d.classes, len(d.train), len(d.test)) == ("mine", ("0", "1"), 80, 20)
    assert np.bincount(d.test.y).tolist() == [10, 10]


def test_from_arrays_keeps_a_given_test_part():
    d = data.from_arrays(images(6), np.arange(6) % 3, images(4), np.array([0, 0, 1, 2]))
    assert (len(d.train), len(d.test), d.n_out) == (6, 4, 3)


@pytest.mark.parametrize("as_given", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
def test_grey_images_get_a_channel(as_given):
    d = data.from_arrays(as_given(np.ones((10, 5, 4))), np.arange(10) % 2)
    assert d.input_shape == (5, 4, 1)


def test_from_arrays_regression():
    d = data.from_arrays(np.ones((10, 3)), np.ones((10, 2)))
    assert d.classes == () and d.n_out == 2 and d.test.y.dtype == np.float32


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((GOOD_X, GOOD_Y, GOOD_X), ValueError, "only one of x_test and y_test"),
        ((GOOD_X, GOOD_Y, None, GOOD_Y), ValueError, "only one of x_test and y_test"),
        ((GOOD_X, GOOD_Y, GOOD_X, GOOD_Y + 1), ValueError, "test.*from 1 to 3; expected 0..2"),
        ((GOOD_X, GOOD_Y, np.ones((3, 5)), GOOD_Y), ValueError, "may differ only in the number"),
        ((GOOD_X, GOOD_Y, GOOD_X, np.ones((3, 2))), TypeError, "must be integer labels of 3 classes"),
        ((GOOD_X, np.ones((3, 2)), GOOD_X, GOOD_Y), ValueError, "may differ only in the number"),
        ((GOOD_X, GOOD_Y.astype(float)), ValueError, "if they are class labels"),
    ],
)
def test_from_arrays_refuses_arrays_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        data.from_arrays(*arguments)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, save):
    path, x, y = tmp_path / "mine.npz", images(20), np.arange(20) % 4
    save(path, x=x, y=y)
    d = data.load(path)
    assert d.name == "mine" and (len(d.train), len(d.test), d.n_out) == (16, 4, 4)
    assert np.array_equal(data.load(str(path)).test.x, d.test.x)
    save(path, x=x, y=y, x_test=x[:5], y_test=y[:5])
    assert np.array_equal(data.from_npz(path).test.x, x[:5])


def test_npz_with_other_arrays_gives_a_message_that_names_them(tmp_path):
    path = tmp_path / "mine.npz"
    for keys in (("x_train", "y"), ("x",), ("x", "y", "xtest")):
        np.savez(path, **dict.fromkeys(keys, np.ones(3)))
        with pytest.raises(
            DataFileError, match="holds the arrays " + ", ".join(sorted(keys)) + "; expected only x and y"
        ):
            data.from_npz(path)
    np.savez(path)
    with pytest.raises(DataFileError, match="\\(none\\)"):
        data.from_npz(path)
    np.savez(path, x=GOOD_X, y=GOOD_Y, x_test=GOOD_X)
    with pytest.raises(DataFileError, match="holds the arrays x, x_test, y; expected"):
        data.from_npz(path)


def test_npz_with_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.array([[{}]] * 3, dtype=object), y=GOOD_Y)
    with pytest.raises(DataFileError, match="pickled objects are not read"):
        data.from_npz(path)
    path.write_bytes(b"\x80\x04N.")  # a bare pickle
    with pytest.raises(DataFileError, match="mine.npz"):
        data.from_npz(path)


def test_npz_with_bad_values(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.full((3, 2), np.nan), y=GOOD_Y)
    with pytest.raises(ValueError, match="NaN"):
        data.load(path)


def test_files_that_are_not_npz_files_are_refused(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(DataNotFound, match="mine.npz"):
        data.from_npz(path)
    with path.open("wb") as stream:
        np.save(stream, GOOD_X)
    with pytest.raises(DataFileError, match="single array"):
        data.from_npz(path)


def test_npz_truncated_at_every_byte(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x=GOOD_X, y=GOOD_Y)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataFileError, match="mine.npz"):
            data.from_npz(path)


# --- by name ---------------------------------------------------------------------------------------------------------


def test_load_by_name():
    assert data.load("digits").name == "digits" and data.load("lillicrap").name == "lillicrap"
    assert data.load("digits", folder="/nowhere").name == "digits"
    known = {"digits", "digits_parity", "mnist", "fashion_mnist", "cifar10", "cifar100", "lillicrap", "xor"}
    assert set(data.DATASETS) == known


def test_xor_is_one_example_per_corner_and_no_line_separates_it():
    corners = data.load("xor").train
    assert sorted(map(tuple, corners.x)) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    np.testing.assert_array_equal(corners.y, corners.x[:, 0] != corners.x[:, 1])
    centred = corners.y - corners.y.mean()
    np.testing.assert_array_equal(corners.x.T @ centred, 0)  # neither input alone carries information about the class


def test_unknown_names_get_the_nearest_known_one():
    with pytest.raises(ValueError, match="unknown data set 'Fashion-MNIST': did you mean fashion_mnist"):
        data.load("Fashion-MNIST")
    with pytest.raises(ValueError, match="unknown data set 'zzz': known: digits, digits_parity, mnist"):
        data.load("zzz")


def test_find_reports_the_source_of_each_data_set(tiny):
    locations = data.find(tiny)
    assert locations["digits"] == locations["digits_parity"] == "embedded" and locations["lillicrap"] == "generated"
    assert locations["mnist"] == f"not found (searched {tiny / 'mnist'}, {tiny})"
    assert str(tiny / "system") in locations["fashion_mnist"]
    write_set(tiny / "mnist")
    assert data.find(tiny)["mnist"] == str(tiny / "mnist")


def test_a_missing_home_folder_is_not_searched(tiny, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.find()["mnist"].startswith("not found")
    assert not (tiny / "nobody").exists()
