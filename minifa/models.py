"""Named architectures, as plain lists of layers: each takes ``input_shape``, the shape of one example, and ``n_out``,
the number of outputs.

>>> [layer.kind for layer in mf.models.mlp((28, 28, 1), n_out=10)]
['flatten', 'linear', 'relu', 'linear']
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .initialisers import uniform
from .layers import (
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    PadChannels,
    ReLU,
    Residual,
    Tanh,
)
from .layers.base import Shape, format_shape

Model = list[Layer]


def mlp(input_shape: Shape, n_out: int, hidden: tuple[int, ...] = (500,), batch_norm: bool = False) -> Model:
    """Linear layers with ReLU between them; by default 784-500-10 on MNIST.

    Args:
        hidden: widths of the hidden layers.
        batch_norm: whether one follows every hidden linear layer.
    """
    layers: Model = [Flatten()] if len(input_shape) > 1 else []
    size = math.prod(input_shape)
    for width in hidden:
        layers += [Linear(size, width), *([BatchNorm(width)] if batch_norm else []), ReLU()]
        size = width
    return [*layers, Linear(size, n_out)]


def cnn(input_shape: Shape, n_out: int, depth: int = 6, channels: int = 16, batch_norm: bool = False) -> Model:
    """The default network: ``depth`` 3x3 convolutions of 16 channels, pooling after every second one, one linear layer.

    Pooling stops where the map would become smaller than 2 x 2.

    Args:
        depth: number of convolutions.
        channels: of each.
        batch_norm: whether one follows every convolution.

    Raises:
        ValueError: inputs that are no images.
    """
    height, width, below = _image(input_shape, "cnn")
    layers: Model = []
    for i in range(depth):
        layers += [Conv2d(below, channels, 3, padding=1), *([BatchNorm(channels)] if batch_norm else []), ReLU()]
        below = channels
        if i % 2 == 1 and min(height, width) >= 4 and i < depth - 1:
            layers.append(MaxPool(2))
            height, width = height // 2, width // 2
    return [*layers, Flatten(), Linear(height * width * below, n_out)]


def bench_cnn(input_shape: Shape, n_out: int, channels: tuple[int, ...] = (32, 64, 128)) -> Model:
    """[convolution 3x3, BatchNorm, ReLU, MaxPool] for each width in ``channels``, then one linear layer: the network of
    ``minifa bench``.

    Raises:
        ValueError: inputs that are no images.
    """
    height, width, below = _image(input_shape, "bench_cnn")
    layers: Model = []
    for above in channels:
        layers += [Conv2d(below, above, 3, padding=1), BatchNorm(above), ReLU(), MaxPool(2)]
        height, width, below = height // 2, width // 2, above
    return [*layers, Flatten(), Linear(height * width * below, n_out)]


def resnet20(input_shape: Shape, n_out: int, blocks: int = 3) -> Model:
    """He et al. 2016, section 4.2: three stages of ``blocks`` residual blocks, 16, 32 and 64 channels wide, for images
    of 32 x 32. Shortcuts are identities; where a block halves the map it skips every second pixel and pads channels.

    Args:
        blocks: in each stage; the network has 6 * blocks + 2 weighted layers.

    Raises:
        ValueError: inputs that are no images.

    >>> net = mf.Network(mf.models.resnet20((32, 32, 3), n_out=10))
    >>> len(net.weighted), sum(array.size for array in net.parameters().values())
    (20, 269722)
    """
    below = _image(input_shape, "resnet20")[2]
    layers: Model = [Conv2d(below, 16, 3, padding=1, bias=False), BatchNorm(16), ReLU()]
    below = 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            stride = width // below
            body: Model = [
                Conv2d(below, width, 3, stride=stride, padding=1, bias=False),
                BatchNorm(width),
                ReLU(),
                Conv2d(width, width, 3, padding=1, bias=False),
                BatchNorm(width),
            ]
            shortcut: Model = [MaxPool(1, stride=2), PadChannels(width)] if stride > 1 else []
            layers += [Residual(body, shortcut), ReLU()]
            below = width
    return [*layers, GlobalAvgPool(), Linear(below, n_out)]


def linear_task(input_shape: Shape, n_out: int, hidden: int = 20) -> Model:
    """Lillicrap et al. 2016, task 1: two linear layers without biases (30-20-10), W small and uniform at the start.

    Args:
        hidden: units between them.
    """
    small = uniform(0.01)
    return [
        Linear(math.prod(input_shape), hidden, bias=False, init=small),
        Linear(hidden, n_out, bias=False, init=small),
    ]


def tiny(input_shape: Shape, n_out: int, hidden: int = 4) -> Model:
    """Small enough to read every number: one tanh layer of ``hidden`` units."""
    size = math.prod(input_shape)
    return [*([Flatten()] if len(input_shape) > 1 else []), Linear(size, hidden), Tanh(), Linear(hidden, n_out)]


def _image(shape: Shape, model: str) -> Shape:
    if len(shape) != 3:
        raise ValueError(
            f"the model {model!r} needs images of height x width x channels, got {format_shape(shape)} per example"
        )
    return shape


MODELS: dict[str, Callable[..., Model]] = {
    "mlp": mlp,
    "cnn": cnn,
    "bench_cnn": bench_cnn,
    "resnet20": resnet20,
    "linear_task": linear_task,
    "tiny": tiny,
}
