"""Data sets by name: one is embedded, one is generated, the others are read from their publishers' files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable

from .arrays import from_arrays, from_npz
from .augment import AUGMENTATIONS, Augmentation, make_augmentation
from .base import DataFileError, DataNotFound, Dataset, Examples, validate
from .cifar import CIFAR10, CIFAR100, cifar10, cifar100
from .digits import digits
from .folders import Source, data_folder, folders_searched, locate
from .idx import read_idx
from .mnist import FASHION_MNIST, MNIST, fashion_mnist, mnist
from .synthetic import lillicrap, lillicrap_teacher, xor

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "lillicrap": lillicrap,
    "xor": xor,
}
SOURCES: dict[str, Source] = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}


def load(name_or_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Dataset:
    """The data set of that name, with its defaults, or the one in an npz file (see `from_npz`).

    Args:
        name_or_path: a name of `DATASETS`, or the path of an npz file.
        folder: where the publishers' files are, for the sets read from files; see `data_folder` for the default.

    Raises:
        ValueError: an unknown name.
        DataNotFound: missing files.
        DataFileError: damaged ones.

    >>> data = mf.data.load("digits")
    >>> data.train.x.shape, data.train.y.shape, len(data.test), data.n_out
    ((1437, 8, 8, 1), (1437,), 360, 10)
    """
    name = os.fspath(name_or_path)
    if name.lower().endswith(".npz"):
        return from_npz(name)
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no data set '{name}'; {hint}Known: {', '.join(DATASETS)}, or the path of a .npz file")
    return DATASETS[name](folder) if name in SOURCES else DATASETS[name]()


def find(folder: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Where each named data set would come from: "embedded", "generated", its folder, or "not found (searched ...)".

    Only names are looked at; whether the files are sound shows when they are loaded.

    Args:
        folder: as for `load`.

    >>> mf.data.find()["digits"], mf.data.find()["xor"]
    ('embedded', 'generated')
    """
    places = dict.fromkeys(DATASETS, "generated") | {"digits": "embedded"}
    return places | {name: _place_of(source, folder) for name, source in SOURCES.items()}


def _place_of(source: Source, folder: str | os.PathLike[str] | None) -> str:
    try:
        searched = ", ".join(map(str, folders_searched(source, folder)))
    except DataNotFound as error:
        return f"not found ({error})"
    try:
        return str(locate(source, folder)[source.files[0]].parent)
    except DataNotFound:
        return f"not found (searched {searched})"


__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "DATASETS",
    "DataFileError",
    "DataNotFound",
    "Dataset",
    "Examples",
    "cifar10",
    "cifar100",
    "data_folder",
    "digits",
    "fashion_mnist",
    "find",
    "from_arrays",
    "from_npz",
    "lillicrap",
    "lillicrap_teacher",
    "load",
    "make_augmentation",
    "mnist",
    "read_idx",
    "validate",
    "xor",
]
