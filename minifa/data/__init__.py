"""Data sets by name: embedded (digits, digits_parity), generated (lillicrap, xor), or read from publishers' files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import DataFileError, DataNotFound, DownloadError
from ..registry import register_table
from ..validation import check_bool, check_str
from . import user_files
from .arrays import from_arrays, from_file, from_npz
from .augment import AUGMENTATIONS, Augmentation, Jitter, make_augmentation
from .base import Dataset, Examples, validate
from .cifar import CIFAR10, CIFAR100, cifar10, cifar100
from .digits import digits, digits_parity
from .downloads.fetch import fetch_set, modified_files
from .downloads.sources import Source, data_folder, folders_searched, locate
from .idx import read_idx
from .mnist import FASHION_MNIST, MNIST, fashion_mnist, mnist
from .notices import DataWarning
from .scaling import Scaling
from .synthetic import lillicrap, lillicrap_teacher, xor

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "digits_parity": digits_parity,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "lillicrap": lillicrap,
    "xor": xor,
}
register_table("data set", DATASETS)
A_FILE = "a .npz, .csv or .npy file"
SOURCES: dict[str, Source] = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}


def is_file(name: str) -> bool:
    """Whether the string is the path of a file with arrays (.npz, .csv, .npy) rather than the name of a data set.

    >>> mf.data.is_file("digits"), mf.data.is_file("mine.npz")
    (False, True)
    """
    return user_files.is_file(check_str(name, "the name of a data set"))


def load(
    name_or_path: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    scale: float | str | None = None,
    channels: str | None = None,
    regression: bool = False,
    label: str | None = None,
    reconstruct: bool = False,
) -> Dataset:
    """Load a named data set with its defaults, or the data set in a user's file (see `from_file`).

    Args:
        name_or_path: a name of `DATASETS`, or the path of a .npz, .csv or .npy file.
        folder: the folder of the publishers' files, for the sets read from files; see `data_folder` for the default.
        scale, channels, regression, label: for a user's file only, as for `from_file`.
        reconstruct: whether the targets are the inputs instead, as an autoencoder needs (`Dataset.reconstruction`).

    Raises:
        TypeError: name_or_path is neither a string nor a path.
        ValueError: an unknown name; scale, channels, regression or label given for a named data set.
        DataNotFound: the files are missing.
        DataFileError: a file is damaged.

    >>> data = mf.data.load("digits")
    >>> data.train.x.shape, data.train.y.shape, len(data.test), data.n_out
    ((1437, 8, 8, 1), (1437,), 360, 10)
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"name_or_path must be a str or a path, got {name_or_path!r}")
    name = os.fspath(name_or_path)
    if check_bool(reconstruct, "reconstruct"):
        return load(name, folder, scale, channels, regression, label).reconstruction()
    if is_file(name):
        return from_file(name, label, scale=scale, channels=channels, regression=regression)
    if name not in DATASETS:
        raise ValueError(f"{_unknown_name(name)}, or the path of {A_FILE}")
    if any(option is not None for option in (scale, channels, label)) or check_bool(regression, "regression"):
        raise ValueError(f"scale, channels, regression and label are only for files, not for the data set '{name}'")
    return DATASETS[name](folder) if name in SOURCES else DATASETS[name]()


def find(folder: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """The source of each named data set: "embedded", "generated", its folder, or "not found (searched ...)".

    Only file names are checked; the contents are validated on loading.

    Args:
        folder: as for `load`.

    >>> mf.data.find()["digits"], mf.data.find()["xor"]
    ('embedded', 'generated')
    """
    sources = dict.fromkeys(DATASETS, "generated") | dict.fromkeys(("digits", "digits_parity"), "embedded")
    return sources | {name: _location(source, folder) for name, source in SOURCES.items()}


def _location(source: Source, folder: str | os.PathLike[str] | None) -> str:
    try:
        searched = ", ".join(map(str, folders_searched(source, folder)))
    except DataNotFound as error:
        return f"not found ({error})"
    try:
        return str(locate(source, folder)[source.files[0]].parent)
    except DataNotFound:
        return f"not found (searched {searched})"


def download(name: str, folder: str | os.PathLike[str] | None = None, progress: bool = False) -> Path:
    """Download the missing files of a data set, as `minifa data download` does; return the folder of its files.

    An interrupted download is resumed by the next call. A file is moved to its final path only when its size and
    SHA-256 match. An existing file that is not the publisher's is kept beside it, with .replaced appended to its name.
    If the publisher's files already exist in any folder that `load` searches, nothing is downloaded.

    Args:
        name: mnist, fashion_mnist, cifar10 or cifar100.
        folder: the data folder; the set is stored in its subfolder ``name``. See `data_folder` for the default.
        progress: show a progress bar for each file in a terminal or a notebook.

    Raises:
        ValueError: an unknown name, or a set that is included in minifa.
        DownloadError: no mirror has a file, another process is downloading it, or there is too little disk space.
        OSError: the folder is not writable.

    >>> mf.data.download("digits")
    Traceback (most recent call last):
    ValueError: 'digits' is included in minifa: it has no files to download or check
    """
    return fetch_set(_source(name), folder, check_bool(progress, "progress"))


def check(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """Check whether the files of a data set are the publisher's; return the result as a sentence.

    Args:
        name: mnist, fashion_mnist, cifar10 or cifar100.
        folder: as for `load`.

    Raises:
        ValueError: an unknown name, or a set that is included in minifa.
        DataNotFound: the files are missing.
        DataFileError: a file is damaged, or is not a file of this data set.

    >>> mf.data.check("cifar")
    Traceback (most recent call last):
    ValueError: unknown data set 'cifar': did you mean cifar10 or cifar100? Known: digits, ...
    """
    source = _source(name)
    if not modified_files(source, locate(source, folder)):
        return "the publisher's files, byte for byte"
    return load(name, folder).note


def _source(name: str) -> Source:
    if check_str(name, "the name of a data set") not in DATASETS:
        raise ValueError(_unknown_name(name))
    if name not in SOURCES:
        raise ValueError(f"'{name}' is included in minifa: it has no files to download or check")
    return SOURCES[name]


def _unknown_name(name: str) -> str:
    import difflib  # here: only this message needs it

    matches = difflib.get_close_matches(name.lower(), DATASETS, n=2)
    hint = f"did you mean {' or '.join(matches)}? Known" if matches else "known"
    return f"unknown data set '{name}': {hint}: {', '.join(DATASETS)}"


__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "DATASETS",
    "DataFileError",
    "DataNotFound",
    "DataWarning",
    "Dataset",
    "DownloadError",
    "Examples",
    "Jitter",
    "Scaling",
    "check",
    "cifar10",
    "cifar100",
    "data_folder",
    "digits",
    "digits_parity",
    "download",
    "fashion_mnist",
    "find",
    "from_arrays",
    "from_file",
    "from_npz",
    "is_file",
    "lillicrap",
    "lillicrap_teacher",
    "load",
    "make_augmentation",
    "mnist",
    "read_idx",
    "validate",
    "xor",
]
