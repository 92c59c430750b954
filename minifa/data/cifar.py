"""CIFAR-10 and CIFAR-100, read from the publisher's binary version (never from the pickled one).

    x = (pixel / 255 - mean) / std,   per channel; a record is its label and 1024 red, 1024 green, 1024 blue bytes

CIFAR-10: one label byte, five training files and a test file of 10,000 records each. CIFAR-100: a coarse label byte,
then the fine label byte used here. Copies with lossy compression are in circulation; they are detected by their
checksums, and the data set's note says so beside every result.
"""

from __future__ import annotations

__all__ = ["cifar10", "cifar100"]

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataFileError
from .base import Dataset, Examples
from .downloads.checksums import note_of_copy
from .downloads.sources import Checked, Source, locate
from .idx import unpacked
from .scaling import normalisation

SIDE, PIXELS = 32, 32 * 32 * 3
PER_FILE = 10_000  # records; CIFAR-100's training file contains five times as many
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CITATION = (
    "A. Krizhevsky (2009), Learning multiple layers of features from tiny images, technical report, "
    "University of Toronto. No licence is given"
)
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")

CIFAR10 = Source(
    "cifar10",
    (*TRAIN_FILES, "test_batch.bin"),
    MIRRORS,
    inside="cifar-10-batches-bin",
    contents={
        "data_batch_1.bin": Checked(30_730_000, md5="5dd7e06a14cb22eb9f671a540d1b7c25"),
        "data_batch_2.bin": Checked(30_730_000, md5="5ea93a67294ea407fff1d09f752e9692"),
        "data_batch_3.bin": Checked(30_730_000, md5="942cd6a4bcdd0dd3c604fbe906cb4421"),
        "data_batch_4.bin": Checked(30_730_000, md5="ae636b3ba5c66a11e91e8cb52e771fcb"),
        "data_batch_5.bin": Checked(30_730_000, md5="53f37980c15c3d472c316c40844f3f0d"),
        "test_batch.bin": Checked(30_730_000, md5="803d5f7f4d78ea53de84dbe85f74fb6d"),
    },
    downloads={
        "cifar-10-binary.tar.gz": Checked(
            170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        ),
    },
    citation=CITATION,
)
CIFAR100 = Source(
    "cifar100",
    ("train.bin", "test.bin"),
    MIRRORS,
    inside="cifar-100-binary",
    contents={
        "train.bin": Checked(153_700_000, md5="6172c7755cfe09b2fe270c85cebc1b15"),
        "test.bin": Checked(30_740_000, md5="4499cfba6c016c1be1438163640a0898"),
    },
    downloads={
        "cifar-100-binary.tar.gz": Checked(
            168_513_733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
        ),
    },
    citation=CITATION,
)
# In the order red, green, blue. CIFAR-10: as in Lance & Kieu 2026; CIFAR-100: the commonly used values, not recomputed.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# SHA-256 of CIFAR-10's 50,000 training labels.
TRAIN_LABELS = "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"


def cifar10(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test photographs, (N, 32, 32, 3) float32, ten classes.

    Source: A. Krizhevsky (2009).

    Args:
        folder: a folder that contains the six files of the binary version or their folder ``cifar-10-batches-bin``,
            directly or in the subfolder ``cifar10/``; by default $MINIFA_DATA, else the user's cache.

    Raises:
        DataNotFound: files are missing.
        DataFileError: a file has the wrong size or an invalid label, or is damaged.
    """
    paths = locate(CIFAR10, folder)
    *train_files, test_file = (_read(paths[name], PER_FILE, 1, 10) for name in CIFAR10.files)
    pixels, labels = (np.concatenate(parts) for parts in zip(*train_files, strict=True))
    note = note_of_copy("CIFAR-10", CIFAR10, paths)
    if note and hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest() == TRAIN_LABELS:
        note = "CIFAR-10 from a JPEG copy: the publisher's labels, but not the publisher's pixels."
    statistics = CIFAR10_MEAN, CIFAR10_STD
    train, test = (Examples(_normalised(x, *statistics), y) for x, y in ((pixels, labels), test_file))
    return Dataset("cifar10", train, test, CIFAR10_CLASSES, note, CITATION, pixel_scaling=normalisation(*statistics))


def cifar100(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """CIFAR-100: 50,000 training and 10,000 test photographs, (N, 32, 32, 3) float32, a hundred classes.

    Source: A. Krizhevsky (2009).

    Args:
        folder: as for `cifar10`, with ``cifar100/`` and ``cifar-100-binary``.

    Raises:
        DataNotFound, DataFileError: as for `cifar10`.
    """
    paths = locate(CIFAR100, folder)
    parts = (_read(paths[name], times * PER_FILE, 2, 100) for name, times in zip(CIFAR100.files, (5, 1), strict=True))
    train, test = (Examples(_normalised(x, CIFAR100_MEAN, CIFAR100_STD), y) for x, y in parts)
    classes = tuple(f"class {i}" for i in range(100))
    return Dataset(
        "cifar100",
        train,
        test,
        classes,
        note_of_copy("CIFAR-100", CIFAR100, paths),
        CITATION,
        pixel_scaling=normalisation(CIFAR100_MEAN, CIFAR100_STD),
    )


def _read(path: Path, count: int, label_bytes: int, n_classes: int) -> tuple[Any, npt.NDArray[np.int64]]:
    """(pixels (N, 3, 32, 32) uint8, labels (N,)) of one file; the last label byte of each record is used."""
    record = label_bytes + PIXELS
    expected = count * record
    with unpacked(path) as (stream, _):
        content = stream.read(expected + 1)
    if len(content) != expected:
        size = f"{len(content):,}" if len(content) < expected else f"more than {expected:,}"
        raise DataFileError(
            f"'{path}' holds {size} bytes; expected {expected:,}: {count:,} records of {record} bytes. Download it "
            "again, in the binary version"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= n_classes:
        raise DataFileError(f"'{path}' holds the label {labels.max()}; expected 0..{n_classes - 1}. Download it again")
    return records[:, label_bytes:].reshape(count, 3, SIDE, SIDE), labels


def _normalised(pixels: Any, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[Any]:
    x = np.empty((len(pixels), SIDE, SIDE, 3), np.float32)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        np.multiply(pixels[:, channel], np.float32(1 / (255 * spread)), out=x[..., channel])
        x[..., channel] -= np.float32(centre / spread)
    return x
