"""Data sets: validated host arrays, a training part and a test part, class names, a note and a citation.

All arrays are validated once, in this module; the rest of the engine relies on it.
"""

from __future__ import annotations

__all__ = ["DataFileError", "DataNotFound", "Dataset", "DownloadError", "Examples", "validate"]

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backend import from_tensor
from ..errors import DataFileError, DataNotFound, DownloadError
from ..registry import unknown
from ..representations import HtmlRepr
from ..storage.atomic import DIGITS
from ..validation import check_bool, check_float, check_int, check_str, check_type, format_shape
from .interpretation import Interpretation, as_strings
from .scaling import Scaling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Examples(HtmlRepr):
    """Inputs with their labels or targets.

    Attributes:
        x: float32, (N, features) or (N, height, width, channels).
        y: int64 labels (N,), or float32 targets (N, n_out).

    Raises:
        TypeError: x or y is not such an array; `validate` returns them.
        ValueError: x and y have different lengths.

    >>> examples = mf.data.load("xor").train
    >>> examples.take([3, 0]).x.tolist(), len(examples.head(2))
    ([[1.0, 1.0], [-1.0, -1.0]], 2)
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        for what, array, kinds, ndims in (("x", self.x, "f", (2, 4)), ("y", self.y, "iuf", (1, 2))):
            if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds or array.ndim not in ndims:
                given = f"{array.dtype} of shape {array.shape}" if hasattr(array, "dtype") else repr(array)[:100]
                raise TypeError(f"{what} of Examples must be an array as returned by minifa.data.validate, got {given}")
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x has {len(self.x)} examples and y has {len(self.y)}; each example needs exactly one of each"
            )

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"<Examples: {len(self)} of {format_shape(self.x.shape[1:])}>"

    def take(self, indices: npt.ArrayLike) -> Examples:
        """A copy of the examples at these integer positions, in this order.

        Raises:
            TypeError: positions that are not integers.
            ValueError: a position out of range, or no positions.
        """
        chosen = as_array(indices, "the positions of examples")
        if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
            raise TypeError(
                f"the positions of examples must be a list of ints, got {chosen.dtype} of shape {chosen.shape}"
            )
        if chosen.min() < -len(self) or chosen.max() >= len(self):
            raise ValueError(
                f"the positions of {len(self)} examples must lie from {-len(self)} to {len(self) - 1}, "
                f"got {chosen.min()} to {chosen.max()}"
            )
        return Examples(self.x[chosen], self.y[chosen])

    def head(self, n: int) -> Examples:
        """The first n examples (all of them if there are fewer), as views. Raises ValueError unless n >= 1."""
        check_int(n, "the number of examples")
        return Examples(self.x[:n], self.y[:n])


@dataclass(frozen=True)
class Dataset(HtmlRepr):
    """A named data set with a fixed test part.

    Attributes:
        name: name of the data set.
        train, test: the examples of each part.
        classes: one name per label; empty for regression.
        note: a remark that tables print beside every result on this data set (usually empty).
        citation: the source to cite.
        scaling: how x was scaled when the data set was made from arrays; None: not at all.
        features: the columns of x, if the data set was made from a data frame; otherwise empty.
        single_output: whether a network has one output for the two classes, positive for the second one, instead of one
            output for each class. Train it with `minifa.SigmoidCrossEntropy`.
        pixel_scaling: of images whose pixels have a known range, the scaling of pixels from 0 (the smallest possible
            value) to 1 (the largest) to x; None: x is not made of such pixels.

    Raises:
        TypeError: an attribute of the wrong type.
        ValueError: training and test part, or labels and classes, are inconsistent; a single output for other than two
            classes.
    """

    name: str
    train: Examples
    test: Examples
    classes: tuple[str, ...] = ()
    note: str = ""
    citation: str = ""
    scaling: Scaling | None = None
    features: tuple[Any, ...] = ()
    single_output: bool = False
    pixel_scaling: Scaling | None = None

    def __post_init__(self) -> None:
        for key in ("name", "note", "citation"):
            check_str(getattr(self, key), f"the {key} of a data set")
        for part in (self.train, self.test):
            check_type(part, Examples, "train and test must be minifa.data.Examples, as returned by validate")
        check_type(self.classes, tuple, "the classes of a data set must be a tuple of str")
        for scaling in (self.scaling, self.pixel_scaling):
            check_type(
                scaling, (Scaling, type(None)), "the scaling of a data set must be a minifa.data.Scaling or None"
            )
        for what, train, test in (
            ("inputs", self.train.x, self.test.x),
            ("targets" if self.train.y.ndim > 1 else "labels", self.train.y, self.test.y),
        ):
            if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
                raise ValueError(
                    f"data set '{self.name}': the training {what} are {train.dtype} of shape {train.shape}, the test "
                    f"{what} {test.dtype} of shape {test.shape}; they may differ only in the number of examples"
                )
        if bool(self.classes) != (self.train.y.ndim == 1):
            raise ValueError(
                f"data set '{self.name}' has y of shape {self.train.y.shape} and {len(self.classes)} class names; "
                "labels (N,) require class names, targets (N, n_out) must have none"
            )
        if check_bool(self.single_output, "single_output") and len(self.classes) != 2:
            raise ValueError(f"single_output needs two classes, the data set '{self.name}' has {len(self.classes)}")

    def __repr__(self) -> str:
        kind = f"{len(self.classes)} classes" if self.classes else f"{self.n_out} target values"
        shape = format_shape(self.input_shape)
        return (
            f"<Dataset {self.name!r}: {len(self.train)} training and {len(self.test)} test examples of {shape}, {kind}>"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example: (features,), or (height, width, channels)."""
        return self.train.x.shape[1:]

    @property
    def n_out(self) -> int:
        """The number of network outputs for this data set: one per class, one for two classes with `single_output`, or
        the width of the targets."""
        return 1 if self.single_output else len(self.classes) or int(self.train.y.shape[1])

    @functools.cached_property
    def digest(self) -> str:
        """The first digits of the SHA-256 of all arrays: equal for equal contents, independent of file names.
        It is computed once; megabytes take milliseconds.

        >>> mf.data.load("xor").digest == mf.data.load("xor").digest != mf.data.load("digits").digest
        True
        """
        sha256 = hashlib.sha256(str(self.n_out).encode())
        for part in (self.train, self.test):
            for array in (part.x, part.y):
                sha256.update(repr((array.shape, array.dtype.name)).encode())
                sha256.update(np.ascontiguousarray(array).data.cast("B"))
        return sha256.hexdigest()[:DIGITS]

    def transform(self, x: npt.ArrayLike) -> Array:
        """New inputs as a network trained on this data set expects them: float32, scaled as the training part was.

        Args:
            x: unscaled inputs (N, features), images (N, height, width, channels), or grey images (N, height, width);
                the shape of an example must be `input_shape`. For a data set that was made from a data frame also a
                data frame, whose columns are selected by `features`.

        Raises:
            TypeError, ValueError: x is not such an array or frame, or has NaN or infinite values.

        >>> data = mf.data.from_arrays([[0.0], [10.0]], [0, 1], x_test=[[5.0], [20.0]], y_test=[0, 1], scale="unit")
        >>> data.test.x.tolist(), data.transform([[15.0]]).tolist()
        ([[0.5], [2.0]], [[1.5]])
        """
        inputs = as_array(self._select_features(x), "x")
        if inputs.ndim == 3 and len(self.input_shape) == 3:
            inputs = inputs[..., None]
        if inputs.shape[1:] != self.input_shape:
            raise ValueError(
                f"x has shape {inputs.shape}; the examples of the data set '{self.name}' have the shape "
                f"{self.input_shape}, so it must be (N, {', '.join(map(str, self.input_shape))})"
            )
        inputs = _finite_float32(inputs, "x")
        return inputs if self.scaling is None else self.scaling(inputs)

    def _select_features(self, x: Any) -> Any:
        """The columns of a data frame that this data set was made from, in their order; other inputs as they are."""
        if not is_frame(x):
            return x
        if not self.features:
            raise ValueError(
                f"the data set '{self.name}' was not made from a data frame, so that the order of its columns is "
                "unknown: pass an array, such as x.to_numpy()"
            )
        require_columns(x, self.features, "x")
        return np.column_stack([np.asarray(x[feature]) for feature in self.features])

    def reconstruction(self) -> Dataset:
        """The same inputs with themselves as targets, flattened: the task of an autoencoder. Labels are dropped.

        >>> data = mf.data.load("digits").reconstruction()
        >>> data
        <Dataset 'digits reconstruction': 1437 training and 360 test examples of 8 x 8 x 1, 64 target values>
        >>> bool((data.test.y == data.test.x.reshape(360, 64)).all())
        True
        """
        train, test = (replace(part, y=part.x.reshape(len(part), -1)) for part in (self.train, self.test))
        name = f"{self.name} reconstruction"
        return replace(self, name=name, train=train, test=test, classes=(), single_output=False)

    def hold_out(self, fraction: float = 0.1) -> tuple[Examples, Examples]:
        """(training, validation) examples, both from the training part, in its order.

        The test part is not used. The split is deterministic and stratified: each class keeps its share to within one
        example.

        Args:
            fraction: the validation fraction, between 0 and 1.

        Raises:
            ValueError: a part would be empty.

        >>> train, validation = mf.data.load("digits").hold_out(0.1)
        >>> len(train), len(validation)
        (1293, 144)
        """
        return split(self.train, fraction)


def validate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    n_classes: int | None = None,
    name: str = "x, y",
    scale: float | None = None,
    channels: str | None = None,
    regression: bool = False,
) -> Examples:
    """Validate inputs and labels or targets, and convert them to `Examples`. A `DataWarning` reports each conversion of
    unambiguous input: channels-first images, a column of labels, string labels, non-contiguous label numbers.

    Args:
        x: real numbers, (N, features) or (N, height, width, channels); becomes float32.
        y: labels (N,), integers or strings, which become int64 labels in 0..n_classes-1; or floats (N, n_out), which
            become float32 targets.
        n_classes: if given, y must hold labels, and integers are not renumbered.
        name: name of the pair in messages, such as "training part".
        scale: factor by which x is multiplied, above 0 and at most 1: 1/255 for pixels, 1 to leave x unchanged.
        channels: position of the channel axis of images, "first" or "last"; None: inferred from the shape.
        regression: whether y holds targets, (N,) or (N, n_out), even if all its values are integers.

    Raises:
        TypeError: values of the wrong type.
        ValueError: a wrong shape, a wrong length, an empty array, NaN or infinity, a label out of range, a single
            class, one-hot rows, pixels without a scale, or images with an ambiguous channel axis.

    >>> mf.data.validate([[0.5], [1.5]], [0, 2], n_classes=2)
    Traceback (most recent call last):
    ValueError: y (x, y) holds labels from 0 to 2; expected 0..1: number the classes from 0
    """
    check_str(name, "the name of examples")
    n_classes = None if n_classes is None else check_int(n_classes, "n_classes")
    interpretation = Interpretation(scale, channels, regression, classes=n_classes)
    if isinstance(scale, str):
        raise ValueError(f"scale={scale!r} needs a training part: use minifa.data.from_arrays")
    if n_classes is not None and regression:
        raise ValueError(f"n_classes and regression exclude each other: y ({name}) holds either labels or targets")
    inputs, outputs = inputs_and_outputs(x, y, name, interpretation)
    if outputs.dtype.kind == "f":
        return Examples(inputs, outputs)
    if n_classes is not None and outputs.dtype.kind != "U":
        return Examples(inputs, _labels(outputs, n_classes, f"y ({name})"))
    numbers, known = interpretation.numbered(outputs, f"y ({name})")
    if n_classes is not None and len(known) != n_classes:
        raise ValueError(f"y ({name}) holds {len(known)} different strings; expected the names of {n_classes} classes")
    return Examples(inputs, numbers)


def inputs_and_outputs(x: Any, y: Any, name: str, interpretation: Interpretation) -> tuple[Array, Array]:
    """(x as float32, y as labels (N,), integers or strings, or as float32 targets (N, n_out)). Raises TypeError,
    ValueError as `validate`."""
    inputs, strings = as_array(x, f"x ({name})"), as_strings(y)
    outputs = as_array(y, f"y ({name})") if strings is None else strings
    if inputs.ndim not in (2, 4):
        raise ValueError(
            f"x ({name}) has shape {inputs.shape}; expected (N, features), or images (N, height, width, channels): "
            "reshape it, for grey images with x[..., None]"
        )
    if outputs.ndim == 0 or len(inputs) != len(outputs):
        raise ValueError(
            f"x ({name}) has shape {inputs.shape} and y has shape {outputs.shape}; "
            "give as many labels or targets as examples"
        )
    inputs = _finite_float32(interpretation.images(inputs, f"x ({name})"), f"x ({name})")
    labels = interpretation.labels(outputs, f"y ({name})")
    targets = _targets(outputs, interpretation.regression, f"y ({name})") if labels is None else labels
    return interpretation.scaled(inputs, f"x ({name})"), targets


def held_out(labels: Array, count: int) -> npt.NDArray[np.int64]:
    """The ascending positions of ``count`` held-out examples, computed in integer arithmetic only.

    Positions are sorted by label and, within a label, by a fixed hash of the position; the elements
    (2 i + 1) N // (2 count), i = 0..count-1, of that order are selected. The split is therefore stratified to within
    one example per class, independent of periodic patterns in the file's order, and independent of the state of any
    random generator.

    Args:
        labels: integers (N,); all equal if there are no classes.
        count: from 1 to N - 1.

    Raises:
        ValueError: count is out of range.
    """
    n = len(labels)
    if not 1 <= count < n:
        raise ValueError(f"cannot hold out {count} of {n} examples: each part needs at least one")
    order = np.lexsort((_position_hash(n), labels))
    chosen = (2 * np.arange(count, dtype=np.int64) + 1) * n // (2 * count)
    return np.sort(order[chosen]).astype(np.int64)


def divide(examples: Examples, positions: npt.NDArray[np.int64]) -> tuple[Examples, Examples]:
    """(the remaining examples, the examples at these positions), each in the original order."""
    others = np.ones(len(examples), dtype=bool)
    others[positions] = False
    return examples.take(np.flatnonzero(others)), examples.take(positions)


def split(examples: Examples, fraction: float) -> tuple[Examples, Examples]:
    """(the remaining examples, the held-out ``fraction``), by `held_out`. Raises ValueError if one is empty."""
    fraction = check_float(fraction, "the held-out fraction")
    if not 0 < fraction < 1:
        raise ValueError(f"the held-out fraction must be above 0 and below 1, got {fraction}")
    labels = examples.y if examples.y.ndim == 1 else np.zeros(len(examples), dtype=np.int64)
    return divide(examples, held_out(labels, round(fraction * len(examples))))


def is_frame(x: Any) -> bool:
    """Whether this is a data frame of pandas or of another library with named columns."""
    return hasattr(x, "columns") and hasattr(x, "__getitem__") and not isinstance(x, np.ndarray)


def require_columns(frame: Any, columns: Sequence[Any], place: str) -> None:
    """Raise ValueError, with a message that starts with ``place``, unless a data frame has these columns."""
    known = list(frame.columns)
    for column in columns:
        if column not in known:
            raise ValueError(f"{place}: {unknown(map(str, known), str(column), 'column')}")


def as_array(values: npt.ArrayLike, what: str) -> Array:
    """The values as a non-empty array of integers or floats. Raises TypeError, ValueError."""
    values = from_tensor(values, what)
    try:
        array = np.asarray(values)
    except TypeError as error:
        raise TypeError(f"{what} is not an array on the host ({error}): move it with minifa.to_host") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what} is not a regular array ({error}): all rows must have the same length") from error
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{what} must not be a masked array: remove the masked values, or replace them with .filled")
    if array.dtype.kind not in "iuf":  # not np.issubdtype: it counts timedelta64 as an integer
        raise TypeError(f"{what} must be integers or floats, got dtype {array.dtype}: convert it with .astype")
    if array.size == 0:
        raise ValueError(f"{what} must have at least one example, got shape {array.shape}")
    return array


def _position_hash(n: int) -> npt.NDArray[np.uint64]:
    # The 64-bit finaliser of MurmurHash3 (A. Appleby, public domain): a bijection, so no two positions tie.
    h = np.arange(1, n + 1, dtype=np.uint64)
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h ^= h >> np.uint64(33)
        h *= np.uint64(multiplier)
    h ^= h >> np.uint64(33)
    return h


def _finite_float32(array: Array, what: str) -> Array:
    with np.errstate(all="ignore"):  # overflow becomes infinite and is reported below
        converted = np.ascontiguousarray(array, dtype=np.float32)
    # min and max propagate NaN and infinity without a temporary array of the size of the images.
    if not (np.isfinite(converted.min()) and np.isfinite(converted.max())):
        bad: Array = np.logical_not(np.isfinite(converted.reshape(len(converted), -1)).all(axis=1))
        raise ValueError(
            f"{what} has NaN, infinite or too large values for float32 in {bad.sum()} of {len(bad)} examples, "
            f"first in example {int(bad.argmax())}; remove or replace them"
        )
    return converted


def _labels(y: Array, n_classes: int, what: str) -> Array:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"{what} holds labels from {low} to {high}; expected 0..{n_classes - 1}: number the classes from 0"
        )
    return np.ascontiguousarray(y, dtype=np.int64)


def _targets(y: Array, regression: bool, what: str) -> Array:
    if y.ndim == 1 and regression:
        y = y[:, None]
    if y.dtype.kind == "U":
        raise ValueError(f"{what} holds strings; regression targets must be numbers")
    if y.ndim == 1 and np.array_equal(y, np.floor(y)):
        raise ValueError(
            f"{what} holds integers stored as {y.dtype}; use y.astype('int64') if they are class labels, "
            "regression=True (--regression) if they are regression targets"
        )
    if y.ndim != 2:
        raise ValueError(
            f"{what} has shape {y.shape}; regression targets must be (N, n_out): use y.reshape(len(y), -1)"
        )
    return _finite_float32(y, what)
