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

from ..text import listed
from ..validation import check_bool, check_choice, check_float
from .notices import tell

Array = npt.NDArray[Any]
CHANNELS = ("last", "first")
COLOURS = (1, 3)  # channels of grey and of colour images
PIXELS = 64  # minimum number of features for which an example may be a flattened image
BRIGHT = 127  # upper bound of scaled pixels
LONGEST = 100  # maximum number of characters of a string label
CLASSES = 10  # always allowed; more are rejected if they exceed half of the number of examples


@dataclass(frozen=True)
class Meaning:
    """Options that determine how ambiguous arrays are interpreted.

    Attributes:
        scale: factor by which x is multiplied, above 0 and at most 1; None: x is already scaled.
        channels: position of the channel axis of images, "last" or "first"; None: inferred from the shape.
        regression: whether y holds targets, whatever its values.
        classes: number of classes if y must hold labels, whatever its values; None: inferred from y.
        quiet: whether to suppress warnings about conversions.

    Raises:
        TypeError, ValueError: an invalid value.
    """

    scale: float | None = None
    channels: str | None = None
    regression: bool = False
    classes: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < check_float(self.scale, "scale") <= 1:
            raise ValueError(
                "scale must be above 0 and at most 1: x is multiplied by it, and 0..255 becomes 0..1 by scale=1/255; "
                f"got {self.scale}"
            )
        check_choice(self.channels, "channels", (*CHANNELS, None))
        check_bool(self.regression, "regression")

    def _tell(self, sentence: str) -> None:
        if not self.quiet:
            tell(sentence)

    # x

    def images(self, x: Array, what: str) -> Array:
        """Images with channels last; other arrays unchanged. Raises ValueError if the channel axis is ambiguous."""
        if x.ndim != 4:
            if self.channels is not None:
                raise ValueError(f"{what} has shape {x.shape}: channels='{self.channels}' is for images, of four axes")
            return x
        place = self.channels or _place_of_channels(*x.shape[1:])
        if place is None:
            raise ValueError(
                f"{what} has shape {x.shape}, whose channels may be in front or behind: give channels='first' for "
                "(N, channels, height, width) or channels='last' for (N, height, width, channels) (--channels first)"
            )
        if place == "last":
            return x
        images: Array = np.moveaxis(x, 1, -1)
        if self.channels is None:
            self._tell(
                f"{what} has shape {x.shape} and became {images.shape}: its second axis, {x.shape[1]}, is that of the "
                f"channels, because images have 1 or 3 of them and the other axes are larger than 4; channels='last' "
                "(--channels last) leaves it as it is"
            )
        return images

    def scaled(self, x: Array, what: str) -> Array:
        """x (float32) multiplied by the scale. Raises ValueError for unscaled pixels without a scale."""
        if self.scale is not None:
            return x * np.float32(self.scale) if self.scale != 1 else x
        top = x.max()
        if top > BRIGHT and x.min() >= 0 and (x.ndim == 4 or _row_of_pixels(x, top)):
            largest = next((full for full in (255, 65535) if top <= full), round(float(top)))
            raise ValueError(
                f"{what} holds values up to {top:g}, as pixels do that are not scaled, and a network does not learn "
                f'from them: give scale=1/{largest} (--scale 1/{largest}; in a recipe scale = "1/{largest}" under '
                "[data]), by which x is multiplied; scale=1 leaves them as they are"
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
                self._tell(
                    f"{what} is a column of whole numbers, {y.shape}, and was taken as class labels; regression=True "
                    "(--regression) takes them as targets"
                )
            return y[:, 0].astype(np.int64) if y.dtype.kind == "f" else y[:, 0]
        if y.dtype.kind in "iuU":
            return _in_a_row(y, what)
        if _one_hot(y):
            raise ValueError(
                f"{what} holds one-hot rows, {y.shape}: give the class numbers, y.argmax(axis=1), or regression=True "
                "(--regression) where they are targets"
            )
        if self.classes is not None:
            raise TypeError(
                f"{what} holds {y.dtype} values; labels of {self.classes} classes are integers, use y.astype('int64')"
            )
        return None

    def _are_labels(self, column: Array) -> bool:
        return column.dtype.kind != "f" or (_whole(column) and (self.classes is not None or _like_labels(column)))

    def numbered(self, labels: Array, what: str) -> tuple[Array, Array]:
        """(labels 0..K-1 as int64, the K sorted distinct labels as given, numbers or strings).

        Raises:
            ValueError: a single class, negative numbers, unprintable strings, or too many classes for the number of
                examples.
        """
        known: Array = np.unique(labels)
        words = known.dtype.kind == "U"
        names = names_of(known, what)
        if len(known) == 1:
            raise ValueError(
                f"{what} holds a single class, {listed(names)}, in all {len(labels)} examples, and there is nothing to "
                "tell apart: np.unique(y, return_counts=True) shows what y holds; regression=True (--regression) takes "
                "numbers as targets"
            )
        if not words and not 0 <= int(known[0]) <= int(known[-1]) < 2**63:
            raise ValueError(
                f"{what} holds labels from {known[0]} to {known[-1]}; expected 0 upwards. Number the classes from 0, "
                "np.unique(y, return_inverse=True)[1]"
            )
        if not words and int(known[-1]) == len(known) - 1:
            return np.ascontiguousarray(labels, dtype=np.int64), known
        if len(known) > max(CLASSES, len(labels) // 2):
            raise ValueError(
                f"{what} holds {len(known)} different labels in {len(labels)} examples, {listed(names, 3)}: give "
                "regression=True (--regression) if they are targets; if they are classes, number them from 0, "
                "np.unique(y, return_inverse=True)[1]"
            )
        why = "words for labels" if words else f"labels up to {known[-1]} and leaves some out"
        numbers = listed(map(str, range(len(known))))
        self._tell(f"{what} holds {why}: {listed(names)} became {numbers}, and the classes are called as they were")
        return np.searchsorted(known, labels).astype(np.int64), known


def names_of(known: Array, what: str) -> tuple[str, ...]:
    """The names of classes. Raises ValueError for unprintable or overlong names."""
    names = tuple(str(one) for one in known.tolist())
    for name in names:
        if not name.isprintable() or len(name) > LONGEST:
            told = ascii(name[:LONGEST])
            raise ValueError(f"{what} holds the label {told}: a label has up to {LONGEST} characters that can be shown")
    return names


def renumbered(labels: Array, known: Array, what: str) -> Array:
    """Labels of a test part in the numbering of the training part. Raises ValueError for a label that it lacks."""
    if (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise ValueError(f"{what} holds {labels.dtype} for labels, the training part {known.dtype}; give the same kind")
    found: Array = np.unique(labels)
    absent = found[~np.isin(found, known)]
    if len(absent):
        if known.dtype.kind != "U" and int(known[-1]) == len(known) - 1:
            raise ValueError(
                f"{what} holds labels from {found[0]} to {found[-1]}; expected 0..{known[-1]}, as in training"
            )
        expected = listed(names_of(known, what))
        raise ValueError(
            f"{what} holds the labels {listed(names_of(absent, what))}; expected {expected}, as in training"
        )
    return np.searchsorted(known, labels).astype(np.int64)


def _place_of_channels(first: int, middle: int, last: int) -> str | None:
    """The position of the channel axis of images of this shape; None: ambiguous."""
    if last == 1 or first == middle != last:  # one channel last; square images with channels last
        return "last"
    if first in COLOURS and min(middle, last) > 4:
        return "first"
    strip = first <= 4 or first != middle == last  # channels and a square image, or an implausible image
    return None if first in COLOURS or (last > 4 and strip) else "last"


def _row_of_pixels(x: Array, top: float) -> bool:
    """Whether rows (N, features) are likely to be flattened images: many integers up to 255."""
    if x.shape[1] < PIXELS or top > 255:
        return False
    return all(bool((rows == np.floor(rows)).all()) for rows in np.array_split(x, max(1, x.size >> 20)))


def _whole(y: Array) -> bool:
    return bool(np.isfinite(y).all() and np.abs(y).max() < 2**53 and (y == np.floor(y)).all())


def _like_labels(y: Array) -> bool:
    """Whether integer-valued floats are labels: none negative, at least two distinct values, at most N / 2."""
    return bool(y.min() >= 0) and 1 < len(np.unique(y)) <= len(y) // 2


def _one_hot(y: Array) -> bool:
    """Whether floats (N, K) have a single 1 in every row and 0 elsewhere."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all() and ((y == 1).sum(axis=1) == 1).all())


def _in_a_row(y: Array, what: str) -> Array:
    if y.ndim != 1:
        kind = "words" if y.dtype.kind == "U" else "integers"
        raise ValueError(
            f"{what} holds {kind} of shape {y.shape}; labels are one-dimensional. Use y.ravel() for a row or column, "
            "y.argmax(axis=1) for one-hot rows, regression=True (--regression) for targets"
        )
    return y


def words_of(y: Any) -> Array | None:
    """y as a string array, if all its elements are strings; else None."""
    try:
        array = np.asarray(y)
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
