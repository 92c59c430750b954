"""User-defined data sets from arrays in memory or from one npz file. Nothing is ever unpickled."""

from __future__ import annotations

__all__ = ["from_arrays", "from_npz"]

import os
from dataclasses import replace

import numpy.typing as npt

from ..errors import DataFileError, DataNotFound
from ..storage.atomic import expanded, stem
from ..storage.npz import read_arrays
from ..text import listed
from ..validation import check_float, check_str
from .base import Array, Dataset, Examples, as_array, inputs_and_outputs, split
from .interpretation import Interpretation, class_names, renumbered

REQUIRED, OPTIONAL = ("x", "y"), ("x_test", "y_test")


def from_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    name: str = "arrays",
    test_fraction: float = 0.2,
    scale: float | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Dataset:
    """Build a data set from arrays. They are not normalised: scale them to about zero mean and unit variance
    beforehand. A `DataWarning` reports each conversion (see `validate`).

    Args:
        x: (N, features), images (N, height, width, channels), or grey images (N, height, width), to which a channel
            axis is added.
        y: labels (N,), integers or strings, or float targets (N, n_out). The classes are named after the labels.
            Strings and non-contiguous integers are renumbered, and the classes keep their names.
        x_test, y_test: the test part, likewise; its labels must all occur in the training part.
        name: name of the data set.
        test_fraction: fraction of the examples used as the test part if x_test and y_test are None, between 0 and 1.
            The split is deterministic and stratified by class.
        scale, channels, regression: as for `validate`, for both parts.

    Raises:
        TypeError, ValueError: the arrays are not as described (see `validate`) or are inconsistent with each other.

    >>> data = mf.data.from_arrays(np.zeros((50, 3)), np.arange(50) % 5)
    >>> len(data.train), len(data.test), data.input_shape, data.n_out
    (40, 10, (3,), 5)
    >>> np.bincount(data.test.y).tolist()  # each class in proportion
    [2, 2, 2, 2, 2]
    """
    check_str(name, "the name of a data set")
    if (x_test is None) != (y_test is None):
        raise ValueError(f"'{name}' has only one of x_test and y_test; give both, or neither to split x and y")
    test_fraction = check_float(test_fraction, "test_fraction")
    interpretation = Interpretation(scale, channels, regression)
    train, known = _read(x, y, f"{name}, training", interpretation)
    if x_test is None or y_test is None:
        train, test = split(train, test_fraction)
    else:
        for_test = replace(
            interpretation, regression=known is None, classes=None if known is None else len(known), quiet=True
        )
        test, _ = _read(x_test, y_test, f"{name}, test", for_test, known)
    return Dataset(name, train, test, classes=() if known is None else class_names(known, f"y ({name})"))


def _read(
    x: npt.ArrayLike, y: npt.ArrayLike, name: str, interpretation: Interpretation, known: Array | None = None
) -> tuple[Examples, Array | None]:
    """(examples, the sorted distinct labels as given; None for targets). For the test part, ``known`` holds the labels
    of the training part."""
    images = as_array(x, f"x ({name})")
    if images.ndim == 3:
        images, interpretation = images[..., None], replace(interpretation, channels="last")
    inputs, outputs = inputs_and_outputs(images, y, name, interpretation)
    if outputs.dtype.kind == "f":
        return Examples(inputs, outputs), None
    if known is not None:
        return Examples(inputs, renumbered(outputs, known, f"y ({name})")), known
    numbers, known = interpretation.numbered(outputs, f"y ({name})")
    return Examples(inputs, numbers), known


def from_npz(
    path: str | os.PathLike[str],
    test_fraction: float = 0.2,
    scale: float | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Dataset:
    """Load a data set from an npz file with the arrays x and y, and optionally x_test and y_test, as in `from_arrays`.

    Args:
        path: path of the file; the data set is named after it.
        test_fraction, scale, channels, regression: as for `from_arrays`.

    Raises:
        DataNotFound: the file does not exist.
        DataFileError: the file is not a readable npz file, contains pickled objects, or contains other arrays.
        TypeError, ValueError: as for `from_arrays`.
    """
    path = expanded(path)
    if not path.is_file():
        raise DataNotFound(f"the file '{path}' does not exist; expected a .npz file with the arrays x and y")
    try:
        arrays = read_arrays(path, strings=True)
    except DataFileError as error:
        raise DataFileError(
            f"{error}. Write it with np.savez(path, x=..., y=...), from arrays of numbers, not of objects; labels may "
            "be strings, y.astype(str)"
        ) from error
    if not set(REQUIRED) <= arrays.keys() <= {*REQUIRED, *OPTIONAL}:
        raise DataFileError(
            f"'{path}' holds the arrays {listed(sorted(arrays)) or '(none)'}; expected only x and y, and "
            "optionally x_test and y_test"
        )
    x, y, x_test, y_test = arrays["x"], arrays["y"], arrays.get("x_test"), arrays.get("y_test")
    return from_arrays(x, y, x_test, y_test, stem(path), test_fraction, scale, channels, regression)
