"""MNIST and Fashion-MNIST, read from their publishers' IDX files.

    x = (pixel / 255 - mean) / std,   pixel in 0..255

mean and std are the rounded published values of each training part.
"""

from __future__ import annotations

__all__ = ["fashion_mnist", "mnist"]

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataFileError
from .base import Dataset, Examples
from .downloads.checksums import note_of_copy
from .downloads.sources import Checked, Source, locate
from .idx import read_idx
from .scaling import normalisation

N_TRAIN, N_TEST, SIDE = 60_000, 10_000, 28
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

MNIST = Source(
    "mnist",
    FILES,
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",  # the publisher's server, often unavailable
    ),
    contents={
        FILES[0]: Checked(47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        FILES[1]: Checked(60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        FILES[2]: Checked(7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        FILES[3]: Checked(10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
    downloads={
        f"{FILES[0]}.gz": Checked(9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        f"{FILES[1]}.gz": Checked(28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        f"{FILES[2]}.gz": Checked(1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        f"{FILES[3]}.gz": Checked(4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document "
    "recognition, Proceedings of the IEEE 86, 2278-2324. MNIST: Y. LeCun, C. Cortes, CC BY-SA 3.0",
)
FASHION_MNIST = Source(
    "fashion_mnist",
    FILES,
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    system_folder="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
    contents={
        FILES[0]: Checked(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        FILES[1]: Checked(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        FILES[2]: Checked(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        FILES[3]: Checked(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    },
    downloads={
        f"{FILES[0]}.gz": Checked(26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        f"{FILES[1]}.gz": Checked(29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        f"{FILES[2]}.gz": Checked(4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        f"{FILES[3]}.gz": Checked(5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    },
    citation="H. Xiao, K. Rasul, R. Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking "
    "machine learning algorithms, arXiv:1708.07747. MIT licence, Zalando SE",
)
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# SHA-256 of the 10,000 test labels without their header. Both data sets use the same file names and must not be
# confused.
TEST_LABELS = {
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion_mnist",
}


def mnist(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, (N, 28, 28, 1) float32, ten classes.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998).

    Args:
        folder: a folder that contains the four IDX files, plain or .gz, directly or in the subfolder ``mnist/``; by
            default $MINIFA_DATA, else the user's cache.

    Raises:
        DataNotFound: files are missing.
        DataFileError: a file is damaged, has the wrong shape or an invalid label, or belongs to Fashion-MNIST.
    """
    train, test, note = _read("MNIST", MNIST, folder, MNIST_MEAN, MNIST_STD)
    return Dataset(
        name="mnist",
        train=train,
        test=test,
        classes=tuple("0123456789"),
        note=note,
        citation=MNIST.citation,
        pixel_scaling=normalisation(MNIST_MEAN, MNIST_STD),
    )


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothing, (N, 28, 28, 1) float32, ten classes.

    Source: H. Xiao, K. Rasul, R. Vollgraf (2017), arXiv:1708.07747.

    Args:
        folder: as for `mnist`, with ``fashion_mnist/``; ``/usr/share/datasets/fashion-mnist`` is searched last.

    Raises:
        DataNotFound, DataFileError: as for `mnist`.
    """
    train, test, note = _read("Fashion-MNIST", FASHION_MNIST, folder, FASHION_MEAN, FASHION_STD)
    return Dataset(
        name="fashion_mnist",
        train=train,
        test=test,
        classes=FASHION_CLASSES,
        note=note,
        citation=FASHION_MNIST.citation,
        pixel_scaling=normalisation(FASHION_MEAN, FASHION_STD),
    )


def _read(
    name: str, source: Source, folder: str | os.PathLike[str] | None, mean: float, std: float
) -> tuple[Examples, Examples, str]:
    """(training examples, test examples, the note of a copy that is not the publisher's)."""
    paths = locate(source, folder)
    train_images, train_labels, test_images, test_labels = paths.values()
    # The labels first: they are small and identify the data set.
    y_test = _labels(test_labels, N_TEST)
    _check_identity(source, test_labels, y_test)
    y_train = _labels(train_labels, N_TRAIN)
    return (
        Examples(_images(train_images, N_TRAIN, mean, std), y_train),
        Examples(_images(test_images, N_TEST, mean, std), y_test),
        note_of_copy(name, source, paths),
    )


def _check_identity(source: Source, path: Path, labels: npt.NDArray[np.int64]) -> None:
    owner = TEST_LABELS.get(hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest(), source.name)
    if owner != source.name:
        raise DataFileError(
            f"'{path}' belongs to '{owner}', but '{source.name}' was requested: both use the same file names. "
            f"Keep them in separate folders, named '{owner}' and '{source.name}'"
        )


def _images(path: Path, count: int, mean: float, std: float) -> npt.NDArray[Any]:
    pixels = read_idx(path, (count, SIDE, SIDE))
    # One pass from bytes to float32, then in place, to avoid a third array of this size.
    x: npt.NDArray[Any] = np.multiply(pixels, np.float32(1 / (255 * std)), dtype=np.float32)
    x -= np.float32(mean / std)
    return x[..., None]  # (count, 28, 28, 1)


def _labels(path: Path, count: int) -> npt.NDArray[np.int64]:
    labels = read_idx(path, (count,))
    if labels.max() > 9:
        raise DataFileError(f"'{path}' holds the label {labels.max()}; expected 0..9. Download it again")
    return labels.astype(np.int64)
