"""Helpers of the architectures: validation of input shapes, and the number of features before the classifier."""

from __future__ import annotations

__all__: list[str] = []

import math

from ..layers import Layer
from ..layers.base import set_shapes
from ..validation import Shape, example_shape, format_shape

Model = list[Layer]
DEEPEST = 10_000  # maximum number of repeated layers or blocks, so that a mistyped number fails at once


def example(shape: Shape, model: str) -> Shape:
    """The shape of an example as a tuple. Raises TypeError or ValueError if it is invalid."""
    return example_shape(shape, f"input_shape of the model {model!r}")


def image(shape: Shape, model: str) -> Shape:
    """The shape of an image as a tuple. Raises TypeError or ValueError if it is invalid."""
    shape = example(shape, model)
    if len(shape) != 3:
        raise ValueError(
            f"the model {model!r} needs images of height x width x channels, got {format_shape(shape)} per example"
        )
    return shape


def count_features(layers: Model, shape: Shape, model: str) -> int:
    """The number of features these layers output for one image. Raises ValueError if the image is too small."""
    try:
        return math.prod(set_shapes(layers, shape, source="the layer before it"))
    except ValueError as error:
        raise ValueError(f"the model {model!r} cannot take images of {format_shape(shape)}: {error}") from None
