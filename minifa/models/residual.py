"""Residual networks (He et al. 2016). Each function takes ``input_shape``, the shape of one image (height, width,
channels), and ``n_out``, the number of classes.

There are two families with similar names. The networks of section 4.2 (resnet20, 32, 56) are narrow, designed for
images of 32 x 32, and have shortcuts without parameters ("option A"). resnet18 is one of the ImageNet networks: its
last stage is 512 channels wide (resnet20: 64), with projection shortcuts where a block halves the map ("option B").
"""

from __future__ import annotations

__all__ = ["resnet18", "resnet20", "resnet32", "resnet56"]

from ..layers import BatchNorm, Conv2d, GlobalAvgPool, Linear, MaxPool, PadChannels, ReLU, Residual
from ..validation import Shape, check_choice, check_int
from .base import DEEPEST, Model, image


def resnet20(input_shape: Shape, n_out: int, blocks: int = 3) -> Model:
    """He et al. 2016, section 4.2: three stages of ``blocks`` residual blocks, 16, 32 and 64 channels wide, for images
    of 32 x 32. Shortcuts are identities; where a block halves the map, the shortcut takes every second pixel and pads
    the channels with zeros.

    Args:
        blocks: number of blocks per stage; the network has 6 * blocks + 2 weighted layers.

    Raises:
        TypeError: blocks is not an int.
        ValueError: inputs that are not images, or blocks below 1 or above 10,000.

    >>> net = mf.Network(mf.models.resnet20((32, 32, 3), n_out=10))
    >>> len(net.weighted), sum(array.size for array in net.parameters().values())
    (20, 269722)
    """
    layers = _stem(image(input_shape, "resnet20")[2], 16)
    blocks = check_int(blocks, "the number of blocks of a residual network's stage", most=DEEPEST)
    below = 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            stride = width // below
            shortcut: Model = [MaxPool(1, stride=2), PadChannels(width)] if stride > 1 else []
            layers += [Residual(_body(below, width, stride), shortcut), ReLU()]
            below = width
    return [*layers, GlobalAvgPool(), Linear(below, n_out)]


def resnet32(input_shape: Shape, n_out: int) -> Model:
    """`resnet20` with five blocks in each stage (He et al. 2016, table 6: 0.46 M parameters).

    Raises:
        ValueError: inputs that are not images.
    """
    return resnet20(image(input_shape, "resnet32"), n_out, blocks=5)


def resnet56(input_shape: Shape, n_out: int) -> Model:
    """`resnet20` with nine blocks in each stage (He et al. 2016, table 6: 0.85 M parameters).

    Raises:
        ValueError: inputs that are not images.
    """
    return resnet20(image(input_shape, "resnet56"), n_out, blocks=9)


def resnet18(input_shape: Shape, n_out: int, stem: str = "small") -> Model:
    """He et al. 2016, table 1: four stages of two residual blocks, 64 to 512 channels wide, with batch-normalised 1x1
    projections as shortcuts where a block halves the map.

    Args:
        stem: the first layers. "imagenet", as published for images of 224 x 224: a 7x7 convolution of stride 2 and 3x3
            pooling of stride 2. "small", the common variant for images of 32 x 32: one 3x3 convolution, no pooling.

    Raises:
        ValueError: inputs that are not images, or an unknown stem.

    >>> net = mf.Network(mf.models.resnet18((32, 32, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    11173962
    """
    channels = image(input_shape, "resnet18")[2]
    if check_choice(stem, "the stem of the model 'resnet18'", ("small", "imagenet")) == "small":
        layers = _stem(channels, 64)
    else:
        layers = [Conv2d(channels, 64, 7, stride=2, padding=3, bias=False), BatchNorm(64), ReLU()]
        layers.append(MaxPool(3, stride=2, padding=1))
    below = 64
    for width in (64, 64, 128, 128, 256, 256, 512, 512):
        stride = width // below
        projection: Model = [Conv2d(below, width, 1, stride=stride, bias=False), BatchNorm(width)]
        layers += [Residual(_body(below, width, stride), projection if stride > 1 else []), ReLU()]
        below = width
    return [*layers, GlobalAvgPool(), Linear(below, n_out)]


def _stem(below: int, width: int) -> Model:
    return [Conv2d(below, width, 3, padding=1, bias=False), BatchNorm(width), ReLU()]


def _body(below: int, width: int, stride: int) -> Model:
    """The residual branch of a block: two 3x3 convolutions."""
    return [
        Conv2d(below, width, 3, stride=stride, padding=1, bias=False),
        BatchNorm(width),
        ReLU(),
        Conv2d(width, width, 3, padding=1, bias=False),
        BatchNorm(width),
    ]
