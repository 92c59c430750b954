"""CIFAR in its publisher's binary format, from files written here."""

import gzip
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

import minifa as mf
from minifa.data import DataFileError, DataNotFound, cifar
from minifa.data.downloads.sources import Checked

N = 200  # records in a file; the real ones hold 10,000


@pytest.fixture(autouse=True)
def few_records(monkeypatch):
    assert cifar.PER_FILE == 10_000
    monkeypatch.setattr(cifar, "PER_FILE", N)


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A data folder with six files of random labels and pixels."""
    top = tmp_path_factory.mktemp("data")
    folder = top / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in cifar.CIFAR10.files:
        records = rng.integers(0, 256, (N, 3073), dtype="uint8")
        records[:, 0] %= 10
        records.tofile(folder / name)
    return top


def test_pixels_labels_and_normalisation(top):
    data = mf.data.load("cifar10", top)
    assert data.train.x.shape == (5 * N, 32, 32, 3) and data.test.x.shape == (N, 32, 32, 3)
    assert data.train.x.dtype == np.float32 and data.train.x.flags.c_contiguous and data.n_out == 10
    records = np.fromfile(top / "cifar10" / "cifar-10-batches-bin" / "data_batch_2.bin", "uint8").reshape(-1, 3073)
    np.testing.assert_array_equal(data.train.y[N : 2 * N], records[:, 0])
    red, green, blue = records[7, 1:].reshape(3, 32, 32)  # row by row
    for channel, plane in enumerate((red, green, blue)):
        expected = (plane / 255 - cifar.CIFAR10_MEAN[channel]) / cifar.CIFAR10_STD[channel]
        np.testing.assert_allclose(data.train.x[N + 7, :, :, channel], expected, atol=1e-5)
    assert mf.data.find(top)["cifar10"].endswith("cifar-10-batches-bin")


@pytest.mark.parametrize("place", ["cifar10", "cifar-10-batches-bin", ""])
def test_the_files_are_found_in_each_supported_folder(place, top, tmp_path):
    there = tmp_path / place
    there.mkdir(exist_ok=True)
    for name in cifar.CIFAR10.files:
        (there / name).hardlink_to(top / "cifar10" / "cifar-10-batches-bin" / name)
    assert mf.data.find(tmp_path)["cifar10"] == str(there)


def test_compressed_files_are_read(top, tmp_path):
    """The message about missing files promises it."""
    for name in cifar.CIFAR10.files:
        content = (top / "cifar10" / "cifar-10-batches-bin" / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    np.testing.assert_array_equal(mf.data.cifar10(tmp_path).train.x, mf.data.cifar10(top).train.x)
    (tmp_path / "test_batch.bin.gz").write_bytes(gzip.compress(content + b"x", 1))
    with pytest.raises(DataFileError, match=r"test_batch\.bin.gz' holds more than 614,600 bytes; expected 614,600"):
        mf.data.cifar10(tmp_path)


def test_copies_are_recognised_by_their_checksums(top, monkeypatch):
    assert "copy" in mf.data.load("cifar10", top).note
    folder = top / "cifar10" / "cifar-10-batches-bin"
    labels = np.concatenate([np.fromfile(folder / name, "uint8")[::3073] for name in cifar.TRAIN_FILES])
    monkeypatch.setattr(cifar, "TRAIN_LABELS", hashlib.sha256(labels.tobytes()).hexdigest())
    assert "JPEG copy" in mf.data.load("cifar10", top).note
    contents = {
        name: Checked(N * 3073, md5=hashlib.md5((folder / name).read_bytes()).hexdigest())
        for name in cifar.CIFAR10.files
    }
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, contents=contents))
    assert mf.data.load("cifar10", top).note == ""


def test_damaged_files_are_refused(top, tmp_path):
    for name in cifar.CIFAR10.files:
        (tmp_path / name).hardlink_to(top / "cifar10" / "cifar-10-batches-bin" / name)
    short = tmp_path / "data_batch_3.bin"
    whole = short.read_bytes()
    short.unlink()
    short.write_bytes(whole[:-1])
    with pytest.raises(DataFileError, match=r"data_batch_3\.bin' holds 614,599 bytes; expected 614,600"):
        mf.data.cifar10(tmp_path)
    short.write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(DataFileError, match="holds the label 11; expected 0..9"):
        mf.data.cifar10(tmp_path)
    short.unlink()
    with pytest.raises(DataNotFound, match=re.compile("cifar10.*lacks data_batch_3.bin", re.DOTALL)):
        mf.data.cifar10(tmp_path)


def test_cifar100_takes_the_fine_label(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "note_of_copy", lambda name, source, paths: "")
    rng = np.random.default_rng(0)
    for name, count in (("train.bin", 5 * N), ("test.bin", N)):
        records = rng.integers(0, 100, (count, 3074), dtype="uint8")
        records[:, 0] %= 20
        records.tofile(tmp_path / name)
    data = mf.data.load("cifar100", tmp_path)
    np.testing.assert_array_equal(data.test.y, records[:, 1])
    assert data.n_out == 100 and data.train.x.shape == (5 * N, 32, 32, 3)
