"""Data sets and examples in a notebook: shapes, classes, and a strip of examples."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Sequence

import numpy

from .. import representations
from ..data.base import Dataset, Examples
from ..validation import format_shape
from .markup import block, escaped, image, note, png, table

SHOWN = 10  # examples in a strip, and classes in a table
LARGEST = 64  # pixels along a side; of larger images every second, third, ... pixel is shown


@representations.html.register
def _(data: Dataset) -> str:
    kind = f"{len(data.classes)} classes" if data.classes else f"{data.n_out} target values"
    rows = [_facts("training", data.train.x), _facts("test", data.test.x)]
    shapes = table(["part", *FACTS], rows, right_from=3)
    remark = note(data.note) if data.note else ""
    return block(f"Dataset {data.name!r}: {kind}", shapes, _classes(data), _strip(data.train, data.classes), remark)


@representations.html.register
def _(examples: Examples) -> str:
    arrays = table(["array", *FACTS], [_facts("x", examples.x), _facts("y", examples.y)], right_from=3)
    return block(f"{len(examples):,} examples", arrays, _strip(examples, ()))


FACTS = ("examples", "shape of one", "lowest", "highest")


def _facts(name: str, array: numpy.ndarray) -> list[str]:
    shape = format_shape(array.shape[1:]) if array.ndim > 1 else "a label"
    return [name, f"{len(array):,}", shape, f"{array.min():.4g}", f"{array.max():.4g}"]


def _classes(data: Dataset) -> str:
    """The number of examples of each class."""
    if not data.classes:
        return ""
    shown, rows = data.classes[:SHOWN], []
    for name, part in (("training", data.train), ("test", data.test)):
        labels, counts = numpy.unique(part.y, return_counts=True)
        by_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        rows.append([name, *(f"{by_label.get(label, 0):,}" for label in range(len(shown)))])
    omitted = note(f"{SHOWN} of {len(data.classes)} classes") if len(data.classes) > SHOWN else ""
    return table(["class", *shown], rows, right_from=1) + omitted


def _strip(examples: Examples, classes: Sequence[str]) -> str:
    """Some examples as pictures, with their class below; nothing if the inputs are not images."""
    if examples.x.ndim != 4:
        return ""
    positions = _positions(examples.y)
    x = examples.x[positions]
    channels, step = x.shape[3], -(-max(x.shape[1:3]) // LARGEST)
    shown = x[:, ::step, ::step, : 3 if channels == 3 else 1]
    lowest, highest = float(shown.min()), float(shown.max())
    pixels = numpy.round((shown - lowest) * (255 / ((highest - lowest) or 1))).astype(numpy.uint8)
    width = pixels.shape[2] * max(1, 48 // max(pixels.shape[1:3]))
    figures = [
        _labelled(image(png(one if channels == 3 else one[..., 0]), f"Example {at}: {label}", width, True), label)
        for at, one, label in zip(positions, pixels, _labels(examples.y[positions], classes), strict=True)
    ]
    remarks = [f"{len(positions)} of {len(examples):,} examples"]
    remarks += [f"channel 1 of {channels}"] if channels not in (1, 3) else []
    remarks += [f"1 of {step} pixels along each side"] if step > 1 else []
    return "".join(figures) + note(", ".join(remarks))


def _positions(y: numpy.ndarray) -> numpy.ndarray:
    """The first example of each class, then the second, ...; without classes, the first examples."""
    if y.ndim > 1:
        return numpy.arange(min(SHOWN, len(y)))
    by_class = numpy.argsort(y, kind="stable")
    labels = y[by_class]
    occurrence = numpy.arange(len(y)) - numpy.searchsorted(labels, labels)
    return by_class[numpy.lexsort((labels, occurrence))][:SHOWN]


def _labels(y: numpy.ndarray, classes: Sequence[str]) -> list[str]:
    if y.ndim > 1:
        return ["" for _ in y]
    return [classes[label] if label < len(classes) else str(label) for label in y.tolist()]


def _labelled(picture: str, label: str) -> str:
    style = "display:inline-block;text-align:center;margin:2px 6px 2px 0;font-size:85%"
    return f'<div style="{style}">{picture}<div>{escaped(label)}</div></div>'
