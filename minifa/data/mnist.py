"""MNIST and Fashion-MNIST, read from their publishers' IDX files.

    x = (pixel / 255 - mean) / std,   pixel in 0..255

mean and std are the published ones of each training part, rounded.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import DataFileError, Dataset, Examples
from .folders import Source, locate
from .idx import read_idx

N_TRAIN, N_TEST, SIDE = 60_000, 10_000, 28
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

MNIST = Source(
    "mnist",
    FILES,
    (
        "http://yann.lecun.com/exdb/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST = Source(
    "fashion_mnist",
    FILES,
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion",
    ),
    system_folder="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
)
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# SHA-256 of the 10,000 test labels without their header. Both sets use the same file names, and a folder of the
# one must not pass for the other.
TEST_LABELS = {
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion_mnist",
}


def mnist(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, (N, 28, 28, 1) float32, ten classes.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998).

    Args:
        folder: where ``mnist/`` in it or the folder itself holds the four IDX files, .gz or not; by default
            $MINIFA_DATA, else the user's cache.

    Raises:
        DataNotFound: they are missing.
        DataFileError: one is not what it should be.
    """
    train, test = _read(MNIST, folder, MNIST_MEAN, MNIST_STD)
    return Dataset(
        name="mnist",
        train=train,
        test=test,
        classes=tuple("0123456789"),
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document "
        "recognition, Proceedings of the IEEE 86, 2278-2324. MNIST: Y. LeCun, C. Cortes, CC BY-SA 3.0",
    )


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothing, (N, 28, 28, 1) float32, ten classes.

    Source: H. Xiao, K. Rasul, R. Vollgraf (2017), arXiv:1708.07747.

    Args:
        folder: as for `mnist`, with ``fashion_mnist/``; ``/usr/share/datasets/fashion-mnist`` is looked at last.

    Raises:
        DataNotFound, DataFileError: as for `mnist`.
    """
    train, test = _read(FASHION_MNIST, folder, FASHION_MEAN, FASHION_STD)
    return Dataset(
        name="fashion_mnist",
        train=train,
        test=test,
        classes=FASHION_CLASSES,
        citation="H. Xiao, K. Rasul, R. Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking "
        "machine learning algorithms, arXiv:1708.07747. MIT licence, Zalando SE",
    )


def _read(source: Source, folder: str | os.PathLike[str] | None, mean: float, std: float) -> tuple[Examples, Examples]:
    train_images, train_labels, test_images, test_labels = locate(source, folder).values()
    # The labels first: they are small, and tell which of the two sets this is.
    y_test = _labels(test_labels, N_TEST)
    _check_identity(source, test_labels, y_test)
    y_train = _labels(train_labels, N_TRAIN)
    return (
        Examples(_images(train_images, N_TRAIN, mean, std), y_train),
        Examples(_images(test_images, N_TEST, mean, std), y_test),
    )


def _check_identity(source: Source, path: Path, labels: npt.NDArray[np.int64]) -> None:
    found = TEST_LABELS.get(hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest(), source.name)
    if found != source.name:
        raise DataFileError(
            f"'{path}' belongs to '{found}', but '{source.name}' was asked for: the two use the same file names. "
            f"Keep each in a folder of its own, named '{found}' and '{source.name}'"
        )


def _images(path: Path, count: int, mean: float, std: float) -> npt.NDArray[Any]:
    pixels = read_idx(path, (count, SIDE, SIDE))
    # One pass from bytes to float32, then in place: no third array of this size.
    x: npt.NDArray[Any] = np.multiply(pixels, np.float32(1 / (255 * std)), dtype=np.float32)
    x -= np.float32(mean / std)
    return x[..., None]  # (count, 28, 28, 1)


def _labels(path: Path, count: int) -> npt.NDArray[np.int64]:
    labels = read_idx(path, (count,))
    if labels.max() > 9:
        raise DataFileError(f"'{path}' holds the label {labels.max()}; expected 0..9. Fetch it again")
    return labels.astype(np.int64)
