"""Reading a user's arrays from a file: .npz, .csv, or .npy with a second file for the labels. Nothing is unpickled."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataFileError, DataNotFound
from ..registry import unknown
from ..storage import csv_files
from ..text import listed
from .interpretation import LONGEST, Array

# Names of inputs and labels in an npz file: minifa's, scikit-learn's (of its variables and of a Bunch), and Keras'.
TRAINING = [("x", "y"), ("X", "y"), ("data", "target"), ("images", "labels"), ("x_train", "y_train")]
TRAINING += [("X_train", "y_train"), ("train_images", "train_labels")]
TEST = [("x_test", "y_test"), ("X_test", "y_test"), ("test_images", "test_labels")]
BUNCH = {"target_names", "feature_names", "images", "DESCR"}  # further entries of a Bunch with data and target
LABELS = ("label", "target", "class", "y")  # columns that hold the labels unless another one is named
Parts = tuple[Any, Any, Any, Any]  # x, y, x_test, y_test; the test part may be None
AS_ARRAYS = "from arrays of numbers, not of objects; labels may be strings, y.astype(str)"


def is_file(name: str) -> bool:
    """Whether the string is the path of a file with arrays rather than the name of a data set."""
    return Path(name).suffix.lower() in READERS


def paths_of(path: Path, label: str | None) -> list[Path]:
    """The files that are read for the data set in this file."""
    return [path, _path_of_labels(path, label)] if path.suffix.lower() == ".npy" else [path]


def read(path: Path, label: str | None) -> Parts:
    """The arrays of a data set in a file.

    Args:
        path: path of the file.
        label: the column (.csv) or the file (.npy) that holds the labels; None: by their usual names.

    Raises:
        DataNotFound: a file does not exist.
        DataFileError: a file is damaged, contains pickled objects, or does not contain such arrays.
        ValueError: the suffix is unknown, or the label is not in the file.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"'{path}' must be a {listed(READERS)} file")
    for one in paths_of(path, label):
        if not one.is_file():
            raise DataNotFound(f"the file '{one}' does not exist; {EXPECTED[path.suffix.lower()]}")
    return reader(path, label)


def _read_npz(path: Path, label: str | None) -> Parts:
    if label is not None:
        raise ValueError(f"label={label!r} is for .csv and .npy files; in '{path}' the labels must be named y")
    from ..storage.npz import read_arrays  # here: it imports zipfile

    try:
        arrays = read_arrays(path, strings=True)
    except DataFileError as error:
        raise DataFileError(f"{error}. Write it with np.savez(path, x=..., y=...), {AS_ARRAYS}") from error
    known = arrays.keys() - (BUNCH if {"data", "target"} <= arrays.keys() else set())
    training, test = ([pair for pair in pairs if known.issuperset(pair)] for pairs in (TRAINING, TEST))
    if len(training) != 1 or len(test) > 1 or known != {*training[0], *(test[0] if test else ())}:
        names = ", ".join(f"{x} and {y}" for x, y in TRAINING[2:])
        raise DataFileError(
            f"'{path}' holds the arrays {listed(sorted(arrays)) or '(none)'}; expected only x and y, and optionally "
            f"x_test and y_test (x and y may also be named {names})"
        )
    x, y = (arrays[name] for name in training[0])
    x_test, y_test = (arrays[name] for name in test[0]) if test else (None, None)
    return x, y, x_test, y_test


def _path_of_labels(path: Path, label: str | None) -> Path:
    """The .npy file of labels beside one of inputs: the named one, or y.npy."""
    return path.with_name("y.npy") if label is None else path.parent / label


def _read_npy(path: Path, label: str | None) -> Parts:
    from ..storage.npz import read_array

    try:
        x, y = (read_array(one) for one in paths_of(path, label))
    except DataFileError as error:
        raise DataFileError(f"{error}. Write it with np.save, {AS_ARRAYS}") from error
    return x, y, None, None


def _read_csv(path: Path, label: str | None) -> Parts:
    lines = csv_files.parse(path.read_bytes(), path)
    numbered = [(number, [cell.strip() for cell in cells]) for number, cells in lines if cells]
    if len(numbered) < 2:
        raise DataFileError(f"'{path}' has {len(numbered)} lines; expected the names of the columns and examples")
    (_, header), *rows = numbered
    _check_header(header, path)
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataFileError(
                f"'{path}', line {number}, must have {len(header)} cells, as the header, got {len(cells)}"
            )
        longest = max(map(len, cells))
        if longest > LONGEST:
            raise DataFileError(
                f"'{path}', line {number}, has a cell of {longest} characters; expected numbers and labels of at most "
                f"{LONGEST}"
            )
        if "" in cells:
            column = header[cells.index("")]
            raise DataFileError(
                f"'{path}', line {number}, has no value in the column {listed([column])}: add it, or remove the line"
            )
    name = label_among(header, label, f"'{path}'")
    columns = dict(zip(header, zip(*(cells for _, cells in rows), strict=True), strict=True))
    y = _labels(columns.pop(name))
    return features({key: _numbers(cells) for key, cells in columns.items()}, f"'{path}'"), y, None, None


def _check_header(header: Sequence[str], path: Path) -> None:
    """Raise DataFileError unless these are the names of at least two columns."""
    if len(header) < 2:
        raise DataFileError(
            f"'{path}' has the single column {listed(header)}: expected features and labels, separated by commas"
        )
    if _numbers(header).dtype.kind != "U":
        raise DataFileError(f"'{path}' must begin with the names of its columns, got {listed(header, 4)}")
    if "" in header:
        raise DataFileError(
            f"'{path}': column {header.index('') + 1} has no name; if it holds the numbers of the rows, remove it "
            "(pandas: to_csv(path, index=False)), else name it"
        )
    repeated = [name for name in header if header.count(name) > 1] if len(set(header)) < len(header) else []
    if repeated:
        raise DataFileError(f"'{path}' has more than one column named {listed(repeated[:1])}")


def _numbers(cells: Sequence[str]) -> Array:
    """Cells as integers or floats; as strings if one of them is not a number."""
    words = np.array(cells)
    for kind in (np.int64, np.float64):
        try:
            return words.astype(kind)
        except (ValueError, OverflowError):
            continue
    return words


def _labels(cells: Sequence[str]) -> Array:
    """A column of labels: integers or strings (N,), floats (N, 1)."""
    labels = _numbers(cells)
    return labels[:, None] if labels.dtype.kind == "f" else labels


# Tables in memory and in files


def label_among(columns: Sequence[str], label: str | None, place: str) -> str:
    """The name of the column that holds the labels.

    Args:
        columns: the names of all columns.
        label: the wanted one; None: the only one of `LABELS`.
        place: description of the table, for messages.

    Raises:
        ValueError: there is no such column, or more than one.
    """
    if label is not None:
        if label not in columns:
            raise ValueError(f"{place}: {unknown(columns, label, 'column')}")
        return label
    usual = [name for name in LABELS if name in columns]
    if len(usual) != 1:
        found = f"more than one of these columns: {', '.join(usual)}" if usual else f"no column {', '.join(LABELS)}"
        raise ValueError(
            f"{place} has {found}; give the column that holds the labels, label={(usual or columns)[-1]!r} "
            f"(--label {(usual or columns)[-1]}); its columns are {listed(columns)}"
        )
    return usual[0]


def features(columns: Mapping[str, Any], place: str) -> Array:
    """The columns side by side, (N, features). Raises ValueError for one that does not hold numbers.

    Args:
        columns: the columns by name.
        place: description of the table, for messages.
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    for name, array in arrays.items():
        if array.ndim != 1:
            raise ValueError(f"{place} has more than one column named {listed([name])}")
        if array.dtype.kind not in "iufb":
            raise ValueError(
                f"{place}: the column {listed([str(name)])} holds {listed([str(array[0])])} and is not numeric: remove "
                "it, or replace it by numbers (one column of 0 and 1 for each value)"
            )
    return np.column_stack(list(arrays.values()))


READERS: dict[str, Callable[[Path, str | None], Parts]] = {".npz": _read_npz, ".csv": _read_csv, ".npy": _read_npy}
EXPECTED = {
    ".npz": "expected a .npz file with the arrays x and y",
    ".csv": "expected a .csv file with named columns",
    ".npy": "expected the inputs in one .npy file and the labels in another one beside it, y.npy or that of label= "
    "(--label)",
}
