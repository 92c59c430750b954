"""Interpretation of user arrays: the channel axis of images, the scale of pixels, and labels versus targets.

Unambiguous input is converted, with a warning (`minifa.data.notices`). Ambiguous input raises an error that names the
option to set: ``channels``, ``scale`` or ``regression``, in Python, in recipes and on the command line.
"""

from __future__ import annotations

__all__: list[str] = []

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backend import from_tensor
from ..text import listed
from ..validation import check_bool, check_choice, check_float
from .notices import warn
from .scaling import SCALES

Array = npt.NDArray[Any]
CHANNELS = ("last", "first")
CHANNEL_COUNTS = (1, 3)  # channels of grey and of colour images
PIXELS = 64  # minimum number of features for which an example may be a flattened image
MAX_SCALED = 127  # upper bound of scaled pixels
LONGEST = 100  # maximum number of characters of a string label
CLASSES = 10  # always allowed; more are rejected if they exceed half of the number of examples


@dataclass(frozen=True)
class Interpretation:
    """Options that determine how ambiguous arrays are interpreted.

    Attributes:
        scale: factor by which x is multiplied, above 0 and at most 1; "standard" or "unit": x is scaled by statistics
            of the training part (see `minifa.data.scaling.fit`); None: x is already scaled.
        channels: position of the channel axis of images, "last" or "first"; None: inferred from the shape.
        regression: whether y holds targets, whatever its values.
        classes: number of classes if y must hold labels, whatever its values; None: inferred from y.
        quiet: whether to suppress warnings about conversions.

    Raises:
        TypeError, ValueError: an invalid value.
    """

    scale: float | str | None = None
    channels: str | None = None
    regression: bool = False
    classes: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.scale, str):
            if self.scale not in SCALES:
                raise ValueError(
                    f"scale must be {', '.join(map(repr, SCALES))} or a number in 0..1, got {self.scale!r}"
                )
        elif self.scale is not None and not 0 < check_float(self.scale, "scale") <= 1:
            raise ValueError(
                f"scale must be above 0 and at most 1, got {self.scale}: x is multiplied by it, so scale=1/255 maps "
                "0..255 to 0..1"
            )
        check_choice(self.channels, "channels", (*CHANNELS, None))
        check_bool(self.regression, "regression")

    def _warn(self, message: str) -> None:
        if not self.quiet:
            warn(message)

    # x

    def images(self, x: Array, what: str) -> Array:
        """Images with channels last; other arrays unchanged. Raises ValueError if the channel axis is ambiguous."""
        if x.ndim != 4:
            if self.channels is not None:
                raise ValueError(
                    f"{what} has shape {x.shape}; channels='{self.channels}' is only for images, of four axes"
                )
            return x
        position = self.channels or _channel_position(*x.shape[1:])
        if position is None:
            raise ValueError(
                f"{what} has shape {x.shape}, in which the channel axis is ambiguous: give channels='first' for "
                "(N, channels, height, width) or channels='last' for (N, height, width, channels) (--channels first)"
            )
        if position == "last":
            return x
        images: Array = np.moveaxis(x, 1, -1)
        if self.channels is None:
            self._warn(
                f"{what} has shape {x.shape} and was converted to {images.shape}: its second axis, of size "
                f"{x.shape[1]}, was taken as the channel axis, because images have 1 or 3 channels and the other axes "
                "are larger than 4; channels='last' (--channels last) keeps the shape"
            )
        return images

    def scaled(self, x: Array, what: str) -> Array:
        """x (float32) multiplied by the scale, if that is a number. Raises ValueError for unscaled pixels without a
        scale."""
        if isinstance(self.scale, str):
            return x
        if self.scale is not None:
            return x * np.float32(self.scale) if self.scale != 1 else x
        top = x.max()
        if top > MAX_SCALED and x.min() >= 0 and (x.ndim == 4 or _like_pixels(x, top)):
            largest = next((full for full in (255, 65535) if top <= full), round(float(top)))
            raise ValueError(
                f"{what} holds values up to {top:g}, probably unscaled pixels, from which a network does not learn: "
                f'give scale=1/{largest} (--scale 1/{largest}; in a recipe scale = "1/{largest}" under [data]) to '
                'multiply x by it, scale="standard" for mean 0 and standard deviation 1, or scale=1 to keep the values'
            )
        return x

    # y

    def labels(self, y: Array, what: str) -> Array | None:
        """The labels (N,), numbers or strings, if y holds labels; None if it holds targets.

        Raises:
            TypeError: floats where labels are required.
            ValueError: one-hot rows, or labels that are not one-dimensional.
        """
        if self.regression:
            return None
        if y.ndim == 2 and y.shape[1] == 1 and self._are_labels(y):
            if y.dtype.kind != "U":  # string labels are reported by `numbered`
                self._warn(
                    f"{what} is a column of integers, of shape {y.shape}, and was converted to class labels; "
                    "regression=True (--regression) keeps them as targets"
                )
            return y[:, 0].astype(np.int64) if y.dtype.kind == "f" else y[:, 0]
        if y.dtype.kind in "iuU":
            return _one_dimensional(y, what)
        if _one_hot(y):
            raise ValueError(
                f"{what} holds one-hot rows, of shape {y.shape}: give the class numbers, y.argmax(axis=1), or "
                "regression=True (--regression) if they are targets"
            )
        if self.classes is not None:
            raise TypeError(
                f"{what} must be integer labels of {self.classes} classes, got dtype {y.dtype}: use y.astype('int64')"
            )
        return None

    def _are_labels(self, column: Array) -> bool:
        return column.dtype.kind != "f" or (
            _are_integers(column) and (self.classes is not None or _like_labels(column))
        )

    def numbered(self, labels: Array, what: str) -> tuple[Array, Array]:
        """(labels 0..K-1 as int64, the K sorted distinct labels as given, numbers or strings).

        Raises:
            ValueError: a single class, negative numbers, unprintable strings, or too many classes for the number of
                examples.
        """
        known: Array = np.unique(labels)
        strings = known.dtype.kind == "U"
        names = class_names(known, what)
        if len(known) == 1:
            raise ValueError(
                f"{what} must hold labels of at least two classes, got {listed(names)} in all {len(labels)} examples: "
                "check y with np.unique(y, return_counts=True), or give regression=True (--regression) if the numbers "
                "are targets"
            )
        if not strings and not 0 <= int(known[0]) <= int(known[-1]) < 2**63:
            raise ValueError(
                f"{what} holds labels from {known[0]} to {known[-1]}; expected 0 upwards: number the classes from 0 "
                "with np.unique(y, return_inverse=True)[1]"
            )
        if not strings and int(known[-1]) == len(known) - 1:
            return np.ascontiguousarray(labels, dtype=np.int64), known
        if len(known) > max(CLASSES, len(labels) // 2):
            raise ValueError(
                f"{what} holds {len(known)} different labels in {len(labels)} examples, {listed(names, 3)}: give "
                "regression=True (--regression) if they are targets; if they are classes, number them from 0 with "
                "np.unique(y, return_inverse=True)[1]"
            )
        kind = "string labels" if strings else f"labels up to {known[-1]} with gaps"
        numbers = listed(map(str, range(len(known))))
        self._warn(f"{what} holds {kind}: {listed(names)} were renumbered to {numbers}; the classes keep their names")
        return np.searchsorted(known, labels).astype(np.int64), known


def class_names(known: Array, what: str) -> tuple[str, ...]:
    """The names of classes. Raises ValueError for unprintable or overlong names."""
    names = tuple(str(one) for one in known.tolist())
    for name in names:
        if not name.isprintable() or len(name) > LONGEST:
            label = ascii(name[:LONGEST])
            raise ValueError(
                f"{what} holds the label {label}; a label must have at most {LONGEST} printable characters"
            )
    return names


def renumbered(labels: Array, known: Array, what: str) -> Array:
    """Labels of a test part in the numbering of the training part. Raises ValueError for a label that it lacks."""
    if (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise ValueError(
            f"{what} has dtype {labels.dtype}, the training labels {known.dtype}; both must be of one kind"
        )
    distinct: Array = np.unique(labels)
    unknown = distinct[~np.isin(distinct, known)]
    if len(unknown):
        if known.dtype.kind != "U" and int(known[-1]) == len(known) - 1:
            raise ValueError(
                f"{what} holds labels from {distinct[0]} to {distinct[-1]}; expected 0..{known[-1]}, as in training"
            )
        expected = listed(class_names(known, what))
        raise ValueError(
            f"{what} holds the labels {listed(class_names(unknown, what))}; expected {expected}, as in training"
        )
    return np.searchsorted(known, labels).astype(np.int64)


def _channel_position(first: int, middle: int, last: int) -> str | None:
    """The position of the channel axis of images of this shape; None: ambiguous."""
    if last == 1 or first == middle != last:  # one channel last; square images with channels last
        return "last"
    if first in CHANNEL_COUNTS and min(middle, last) > 4:
        return "first"
    channels_first = first <= 4 or first != middle == last  # channels and a square image, or an implausible image
    return None if first in CHANNEL_COUNTS or (last > 4 and channels_first) else "last"


def _like_pixels(x: Array, top: float) -> bool:
    """Whether rows (N, features) are likely to be flattened images: many integers up to 255."""
    if x.shape[1] < PIXELS or top > 255:
        return False
    return all(bool((rows == np.floor(rows)).all()) for rows in np.array_split(x, max(1, x.size >> 20)))


def _are_integers(y: Array) -> bool:
    return bool(np.isfinite(y).all() and np.abs(y).max() < 2**53 and (y == np.floor(y)).all())


def _like_labels(y: Array) -> bool:
    """Whether integer-valued floats are labels: none negative, at least two distinct values, at most N / 2."""
    return bool(y.min() >= 0) and 1 < len(np.unique(y)) <= len(y) // 2


def _one_hot(y: Array) -> bool:
    """Whether floats (N, K) have a single 1 in every row and 0 elsewhere."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all() and ((y == 1).sum(axis=1) == 1).all())


def _one_dimensional(y: Array, what: str) -> Array:
    if y.ndim != 1:
        kind = "strings" if y.dtype.kind == "U" else "integers"
        raise ValueError(
            f"{what} holds {kind} of shape {y.shape}; labels must be one-dimensional: use y.ravel() for a row or "
            "column, y.argmax(axis=1) for one-hot rows, regression=True (--regression) for targets"
        )
    return y


def as_strings(y: Any) -> Array | None:
    """y as a string array, if all its elements are strings; else None."""
    try:
        array = np.asarray(from_tensor(y, "y"))
        if isinstance(y, np.ma.MaskedArray) or array.size == 0:
            return None
        if array.dtype.kind in "OT" and all(isinstance(one, str) and len(one) <= LONGEST for one in array.flat):
            return array.astype(str)
        if array.dtype.kind == "S":
            return array.astype(str)
    except (TypeError, ValueError, OverflowError):  # UnicodeDecodeError is a ValueError
        return None  # `as_array` reports the error
    return array if array.dtype.kind == "U" and _is_text(array) else None


def _is_text(array: Array) -> bool:
    """Whether all code points are valid: a file may contain any numbers."""
    codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return bool(codes.max() <= sys.maxunicode)
