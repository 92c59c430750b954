"""User-defined data sets from arrays in memory, data frames, or one file. Nothing is ever unpickled."""

from __future__ import annotations

__all__ = ["from_arrays", "from_file", "from_npz"]

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backend import from_tensor
from ..storage.atomic import expanded, stem
from ..validation import check_float, check_str
from . import scaling, user_files
from .base import (
    Array,
    Dataset,
    Examples,
    as_array,
    inputs_and_outputs,
    is_frame,
    require_columns,
    split,
)
from .interpretation import Interpretation, class_names, renumbered


def from_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    name: str = "arrays",
    test_fraction: float = 0.2,
    scale: float | str | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Dataset:
    """Build a data set from arrays or data frames. They are not normalised unless ``scale`` is given; a network learns
    best from inputs of about zero mean and unit variance. A `DataWarning` reports each conversion (see `validate`).

    Args:
        x: (N, features), images (N, height, width, channels), or grey images (N, height, width), to which a channel
            axis is added. Or a data frame with numeric columns, as of pandas.
        y: labels (N,), integers or strings, or float targets (N, n_out). The classes are named after the labels.
            Strings and non-contiguous integers are renumbered, and the classes keep their names.
            For a data frame, also the name of the column that holds them; the other columns are the features.
        x_test, y_test: the test part, likewise; its labels must all occur in the training part.
        name: name of the data set.
        test_fraction: fraction of the examples used as the test part if x_test and y_test are None, between 0 and 1.
            The split is deterministic and stratified by class.
        scale: "standard": mean 0 and standard deviation 1, of each feature or each channel of images. "unit": from 0 to
            1, by the range of the type for uint8 and uint16, else by the smallest and the largest value, of each
            feature or of all pixels of images. All of these are computed from the training part only, and
            `Dataset.transform` applies them to new inputs. A number: x is multiplied by it, as for `validate`.
        channels, regression: as for `validate`, for both parts.

    Raises:
        TypeError, ValueError: the arrays are not as described (see `validate`) or are inconsistent with each other.

    >>> data = mf.data.from_arrays(np.zeros((50, 3)), np.arange(50) % 5)
    >>> len(data.train), len(data.test), data.input_shape, data.n_out
    (40, 10, (3,), 5)
    >>> np.bincount(data.test.y).tolist()  # each class in proportion
    [2, 2, 2, 2, 2]
    """
    check_str(name, "the name of a data set")
    features: list[Any] = []
    if is_frame(x):
        names = list(getattr(x, "columns", ()))
        features = [column for column in names if not isinstance(y, str) or column != y]
        x, y = _of_frame(x, y, features, f"{name}, training")
        if x_test is not None:
            x_test, y_test = _of_frame(x_test, y_test, features, f"{name}, test")
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
    given = train.x.dtype if scale is None else np.asarray(from_tensor(x, "x")).dtype  # converts lists again
    scaled = scaling.fit(scale, train.x, given)
    are_pixels = train.x.ndim == 4 and given in scaling.PIXELS
    if scaled is not None and isinstance(scale, str):  # a number has been applied by `_read`
        train, test = (replace(part, x=scaled(part.x)) for part in (train, test))
    classes = () if known is None else class_names(known, f"y ({name})")
    return Dataset(
        name,
        train,
        test,
        classes=classes,
        scaling=scaled,
        features=tuple(features),
        pixel_scaling=scaling.of_fractions(scaled, np.iinfo(given).max) if scaled is not None and are_pixels else None,
    )


def _of_frame(frame: Any, y: Any, features: Sequence[Any], name: str) -> tuple[Array, Any]:
    """(the features of a data frame side by side, its labels: the column named ``y``, or ``y`` itself)."""
    place = f"the data frame ({name})"
    if not is_frame(frame):
        raise TypeError(f"x ({name}) must be a data frame, as that of the training part, got {type(frame).__name__}")
    require_columns(frame, (*features, *([y] if isinstance(y, str) else [])), place)
    rows: Any = getattr(frame, "index", None)
    theirs: Any = getattr(y, "index", None)  # of a list it is a method
    if hasattr(rows, "equals") and hasattr(theirs, "equals") and not rows.equals(theirs):
        raise ValueError(
            f"{place} and y have different indices: sort y by that of the frame, y.loc[frame.index], or pass "
            "y.to_numpy()"
        )
    x = user_files.features({column: frame[column] for column in features}, place)
    return x, frame[y] if isinstance(y, str) else y


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


def from_file(
    path: str | os.PathLike[str],
    label: str | None = None,
    test_fraction: float = 0.2,
    scale: float | str | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Dataset:
    """Load a data set from a file; everything else is as in `from_arrays`.

    - **.npz:** the arrays x and y, and optionally x_test and y_test, under these names, those of Keras (x_train,
      y_train, ...), of scikit-learn (data and target), or images and labels.
    - **.csv:** a line with the names of the columns, then a line for each example. The column ``label`` holds the
      labels (numbers or words) or targets, all others are numeric features.
    - **.npy:** the inputs; the labels are in the .npy file ``label`` beside it.

    Args:
        path: path of the file; the data set is named after it.
        label: name of the column or of the file with the labels; None: the column label, target, class or y, or the
            file y.npy.
        test_fraction, scale, channels, regression: as for `from_arrays`.

    Raises:
        DataNotFound: a file does not exist.
        DataFileError: a file is damaged, contains pickled objects, or does not contain such arrays.
        TypeError, ValueError: as for `from_arrays`; or there is no such label.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flowers.csv")
    ...     _ = path.write_text("length,width,species\\n" + "1.4,0.2,0\\n4.7,1.4,1\\n" * 5)
    ...     data = mf.data.from_file(path, label="species", scale="standard")
    >>> data
    <Dataset 'flowers': 8 training and 2 test examples of 2, 2 classes>
    >>> data.classes, np.unique(data.train.x.round(3)).tolist()  # half of the examples have each value
    (('0', '1'), [-1.0, 1.0])
    """
    path = expanded(path)
    label = None if label is None else check_str(label, "label")
    x, y, x_test, y_test = user_files.read(path, label)
    return from_arrays(x, y, x_test, y_test, stem(path), test_fraction, scale, channels, regression)


def from_npz(
    path: str | os.PathLike[str],
    test_fraction: float = 0.2,
    scale: float | str | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Dataset:
    """`from_file` for an npz file, which needs no label.

    Args:
        path, test_fraction, scale, channels, regression: as for `from_file`.

    Raises:
        DataNotFound, DataFileError, TypeError, ValueError: as for `from_file`.
    """
    return from_file(path, None, test_fraction, scale, channels, regression)
