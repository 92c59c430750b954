"""Your own arrays as a data set: from memory, or from one npz file. Nothing is ever unpickled."""

from __future__ import annotations

import os
from typing import Any

import numpy.typing as npt

from ..files import expanded, stem
from .base import DataFileError, DataNotFound, Dataset, Examples, as_array, split, validate
from .npz import read_arrays

REQUIRED, OPTIONAL = ("x", "y"), ("x_test", "y_test")


def from_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    name: str = "arrays",
    test_fraction: float = 0.2,
) -> Dataset:
    """A data set out of arrays, used as they are: scale them to about zero mean and unit variance beforehand.

    Args:
        x: (N, features), images (N, height, width, channels), or grey images (N, height, width), which get a channel.
        y: integer labels (N,), numbered from 0, or float targets (N, n_out).
        x_test, y_test: the same for the test part.
        name: of the data set.
        test_fraction: without a test part this share of the examples, the same ones every time and every class alike,
            becomes one; between 0 and 1.

    Raises:
        TypeError, ValueError: the arrays are not as described (see `validate`) or do not fit together.

    >>> data = mf.data.from_arrays(np.zeros((50, 3)), np.arange(50) % 5)
    >>> len(data.train), len(data.test), data.input_shape, data.n_out
    (40, 10, (3,), 5)
    >>> np.bincount(data.test.y).tolist()  # every class gives its share
    [2, 2, 2, 2, 2]
    """
    if (x_test is None) != (y_test is None):
        raise ValueError(f"'{name}' has only one of x_test and y_test; give both, or neither to split x and y")
    train = validate(_with_channel(x, f"x ({name})"), y, name=f"{name}, training")
    n_classes = _n_classes(train, name)
    if x_test is None or y_test is None:
        train, test = split(train, test_fraction)
    else:
        test = validate(_with_channel(x_test, f"x_test ({name})"), y_test, n_classes, name=f"{name}, test")
    return Dataset(name, train, test, classes=tuple(str(label) for label in range(n_classes or 0)))


def from_npz(path: str | os.PathLike[str], test_fraction: float = 0.2) -> Dataset:
    """A data set out of an npz file with the arrays x and y, and optionally x_test and y_test, as in `from_arrays`.

    Args:
        path: of the file; the set is named after it.
        test_fraction: as for `from_arrays`.

    Raises:
        DataNotFound: there is no such file.
        DataFileError: it is not a readable npz file, holds pickled objects, or holds other arrays than these.
        TypeError, ValueError: as `from_arrays`.
    """
    path = expanded(path)
    if not path.is_file():
        raise DataNotFound(f"no file '{path}'; expected a .npz with the arrays x and y")
    try:
        arrays = read_arrays(path)
    except DataFileError as error:
        raise DataFileError(
            f"{error}. Write it with np.savez(path, x=..., y=...), from arrays of numbers, not of objects"
        ) from error
    if not set(REQUIRED) <= arrays.keys() <= {*REQUIRED, *OPTIONAL}:
        raise DataFileError(
            f"'{path}' holds the arrays {', '.join(sorted(arrays)) or '(none)'}; expected x and y, and optionally "
            "x_test and y_test, and no others"
        )
    name, x, y = stem(path), arrays["x"], arrays["y"]
    return from_arrays(x, y, arrays.get("x_test"), arrays.get("y_test"), name=name, test_fraction=test_fraction)


def _with_channel(x: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    array = as_array(x, what)
    return array[..., None] if array.ndim == 3 else array


def _n_classes(train: Examples, name: str) -> int | None:
    if train.y.ndim != 1:
        return None
    n_classes = int(train.y.max()) + 1
    if n_classes > len(train):
        raise ValueError(
            f"'{name}' has the label {n_classes - 1} but only {len(train)} examples; number the classes from 0 "
            "without gaps, np.unique(y, return_inverse=True)[1] does it"
        )
    return n_classes
