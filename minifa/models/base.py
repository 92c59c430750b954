"""What the architectures share: the check that their inputs are images, and the size at which a classifier begins."""

from __future__ import annotations

__all__: list[str] = []

import math

from ..layers import Layer
from ..layers.base import Shape, example_shape, format_shape, infer_chain

Model = list[Layer]
DEEPEST = 10_000  # repetitions of what an architecture repeats: no number written by mistake runs for hours


def example(shape: Shape, model: str) -> Shape:
    """The shape as a tuple, where it is one of an example. Raises TypeError or ValueError where it is not."""
    return example_shape(shape, f"input_shape of the model {model!r}")


def image(shape: Shape, model: str) -> Shape:
    """The shape as a tuple, where it is one of images. Raises TypeError or ValueError where it is not."""
    shape = example(shape, model)
    if len(shape) != 3:
        raise ValueError(
            f"the model {model!r} needs images of height x width x channels, got {format_shape(shape)} per example"
        )
    return shape


def count_features(layers: Model, shape: Shape, model: str) -> int:
    """How many numbers these layers make of one image. Raises ValueError where it is too small for them."""
    try:
        return math.prod(infer_chain(layers, shape, source="the layer before it"))
    except ValueError as error:
        raise ValueError(f"the model {model!r} cannot take images of {format_shape(shape)}: {error}") from None
