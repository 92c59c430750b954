"""Convolutional architectures: each takes ``input_shape``, the shape of one image (height, width, channels), and
``n_out``, the number of classes."""

from __future__ import annotations

__all__ = ["alexnet", "allconv", "bench_cnn", "cnn", "lenet", "lenet_cifar", "moskovitz", "moskovitz_tf"]

from ..initialisers import truncated_gaussian
from ..layers import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool,
    ReLU,
)
from ..layers.base import Shape
from ..scalars import flag, instance_of, whole
from .base import DEEPEST, Model, count_features, image


def cnn(input_shape: Shape, n_out: int, depth: int = 6, channels: int = 16, batch_norm: bool = False) -> Model:
    """The default network: ``depth`` 3x3 convolutions of 16 channels, pooling after every second one, one linear layer.

    Pooling stops where the map would become smaller than 2 x 2.

    Args:
        depth: number of convolutions.
        channels: of each.
        batch_norm: whether one follows every convolution.

    Raises:
        TypeError: a depth that is no whole number.
        ValueError: inputs that are no images, or a depth below 0 or above 10,000.
    """
    height, width, below = image(input_shape, "cnn")
    batch_norm = flag(batch_norm, "batch_norm of the model 'cnn'")
    depth = whole(depth, "the depth of the model 'cnn'", least=0, most=DEEPEST)
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
    height, width, below = image(input_shape, "bench_cnn")
    instance_of(channels, (tuple, list), "channels of the model 'bench_cnn' are widths, as (32, 64, 128)")
    layers: Model = []
    for above in channels:
        layers += [Conv2d(below, above, 3, padding=1), BatchNorm(above), ReLU(), MaxPool(2)]
        height, width, below = height // 2, width // 2, above
    return [*layers, Flatten(), Linear(height * width * below, n_out)]


def lenet(input_shape: Shape, n_out: int, init: str = "he_normal") -> Model:
    """The LeNet of BioTorch's MNIST benchmark (Sanfiz & Akrout 2021): 5x5 convolutions of 6, 16 and 120 channels, then
    84 units; ReLU and max-pooling where LeCun et al. 1998 had sigmoids and averages.

    It is made for 32 x 32 pixels. BioTorch enlarges MNIST's 28 x 28 to that size; here the first convolution pads
    images of 28 x 28 by two pixels on every side.

    Args:
        init: name of the initialiser of all weights; BioTorch's is "xavier_uniform".

    Raises:
        ValueError: an unknown initialiser; inputs that are no images, or smaller ones than its convolutions need.

    >>> net = mf.Network(mf.models.lenet((28, 28, 1), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    61706
    """
    height, width, below = image(input_shape, "lenet")
    layers = [
        Conv2d(below, 6, 5, padding=2 if (height, width) == (28, 28) else 0, init=init),
        ReLU(),
        MaxPool(2),
        Conv2d(6, 16, 5, init=init),
        ReLU(),
        MaxPool(2),
        Conv2d(16, 120, 5, init=init),
        ReLU(),
    ]
    return _with_classifier(layers, input_shape, (84,), n_out, "lenet", init)


def lenet_cifar(input_shape: Shape, n_out: int, init: str = "he_normal") -> Model:
    """The LeNet of BioTorch's CIFAR-10 benchmark (Sanfiz & Akrout 2021): 3x3 convolutions of 32, 64 and 128 channels
    without padding, the mean of each map, then 256 units.

    Args:
        init: as for `lenet`.

    Raises:
        ValueError: an unknown initialiser; inputs that are no images, or smaller ones than its convolutions need.

    >>> net = mf.Network(mf.models.lenet_cifar((32, 32, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    128842
    """
    below = image(input_shape, "lenet_cifar")[2]
    layers = [
        Conv2d(below, 32, 3, init=init),
        ReLU(),
        MaxPool(2),
        Conv2d(32, 64, 3, init=init),
        ReLU(),
        MaxPool(2),
        Conv2d(64, 128, 3, init=init),
        ReLU(),
        GlobalAvgPool(),
    ]
    count_features(layers, input_shape, "lenet_cifar")
    return [*layers, Linear(128, 256, init=init), ReLU(), Linear(256, n_out, init=init)]


def moskovitz(input_shape: Shape, n_out: int, init: str = "he_normal") -> Model:
    """ "Architecture 1" of Moskovitz, Litwin-Kumar & Abbott 2018 as Lance & Kieu 2026 re-implement it: two 5x5
    convolutions of 64 channels without padding, each with ReLU and 2x2 pooling, then 384 and 192 units.

    Its images are crops of 24 x 24 pixels (the augmentation "crop24"). `moskovitz_tf` is another reading.

    Args:
        init: name of the initialiser of all weights; "torch" is the re-implementation's (there for biases as well, here
            they start at 0).

    Raises:
        ValueError: an unknown initialiser; inputs that are no images, or smaller ones than its convolutions need.

    >>> net = mf.Network(mf.models.moskovitz((24, 24, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    404746
    """
    below = image(input_shape, "moskovitz")[2]
    layers = [
        Conv2d(below, 64, 5, init=init),
        ReLU(),
        MaxPool(2),
        Conv2d(64, 64, 5, init=init),
        ReLU(),
        MaxPool(2),
    ]
    return _with_classifier(layers, input_shape, (384, 192), n_out, "moskovitz", init)


def moskovitz_tf(input_shape: Shape, n_out: int) -> Model:
    """The network of TensorFlow's CIFAR-10 tutorial (``tutorials/image/cifar10/cifar10.py`` in tensorflow/models), of
    which `moskovitz` may be a simplification: padded convolutions, overlapping pooling, local response normalisation,
    weights from a truncated normal distribution.

    Three things differ from the tutorial. Padding of the pooling is above and left of the image, where TensorFlow's
    is below and right: the same network for images turned by 180 degrees. All biases start at 0, where three layers'
    start at 0.1. Weight decay is the optimizer's, where the tutorial decays two layers only.

    Raises:
        ValueError: inputs that are no images.

    >>> net = mf.Network(mf.models.moskovitz_tf((24, 24, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())  # the tutorial's text gives the same number
    1068298
    """
    below = image(input_shape, "moskovitz_tf")[2]
    layers = [
        Conv2d(below, 64, 5, padding=2, init=truncated_gaussian(0.05)),
        ReLU(),
        MaxPool(3, stride=2, padding=1),
        LocalResponseNorm(9, alpha=1e-3, beta=0.75),
        Conv2d(64, 64, 5, padding=2, init=truncated_gaussian(0.05)),
        ReLU(),
        LocalResponseNorm(9, alpha=1e-3, beta=0.75),
        MaxPool(3, stride=2, padding=1),
    ]
    size = count_features(layers, input_shape, "moskovitz_tf")
    return [
        *layers,
        Flatten(),
        Linear(size, 384, init=truncated_gaussian(0.04)),
        ReLU(),
        Linear(384, 192, init=truncated_gaussian(0.04)),
        ReLU(),
        Linear(192, n_out, init=truncated_gaussian(1 / 192)),
    ]


def alexnet(input_shape: Shape, n_out: int) -> Model:
    """Krizhevsky 2014's single-column AlexNet, cut down to images of 32 x 32 as in W. Yang's pytorch-classification
    (``models/cifar/alexnet.py``): its five convolutions with another padding and 2x2 pooling, and one linear layer in
    place of three, so that its dropout goes as well.

    Raises:
        ValueError: inputs that are no images, or smaller ones than its poolings need.

    >>> net = mf.Network(mf.models.alexnet((32, 32, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    2472266
    """
    below = image(input_shape, "alexnet")[2]
    layers = [
        Conv2d(below, 64, 11, stride=4, padding=5),
        ReLU(),
        MaxPool(2),
        Conv2d(64, 192, 5, padding=2),
        ReLU(),
        MaxPool(2),
        Conv2d(192, 384, 3, padding=1),
        ReLU(),
        Conv2d(384, 256, 3, padding=1),
        ReLU(),
        Conv2d(256, 256, 3, padding=1),
        ReLU(),
        MaxPool(2),
    ]
    return _with_classifier(layers, input_shape, (), n_out, "alexnet")


def allconv(input_shape: Shape, n_out: int) -> Model:
    """All-CNN-C of Springenberg et al. 2015, table 2: nine convolutions, two of stride 2 in the place of pooling, and
    the mean of each map as the class's output. 0.2 of the image are dropped, and half after each convolution of
    stride 2.

    Raises:
        ValueError: inputs that are no images, or smaller ones than its convolutions need.

    >>> net = mf.Network(mf.models.allconv((32, 32, 3), n_out=10))
    >>> sum(array.size for array in net.parameters().values())
    1369738
    """
    below = image(input_shape, "allconv")[2]
    layers: Model = [Dropout(0.2)]
    for width in (96, 192):
        layers += _conv_relu(below, width) + _conv_relu(width, width) + _conv_relu(width, width, stride=2)
        layers.append(Dropout(0.5))
        below = width
    layers += _conv_relu(192, 192, padding=0)
    layers += _conv_relu(192, 192, kernel_size=1, padding=0)
    layers += _conv_relu(192, n_out, kernel_size=1, padding=0)  # a ReLU behind the last one too, as in the paper
    count_features(layers, input_shape, "allconv")
    return [*layers, GlobalAvgPool()]


def _conv_relu(below: int, above: int, kernel_size: int = 3, stride: int = 1, padding: int = 1) -> list[Layer]:
    return [Conv2d(below, above, kernel_size, stride=stride, padding=padding), ReLU()]


def _with_classifier(
    layers: Model, shape: Shape, hidden: tuple[int, ...], n_out: int, model: str, init: str = "he_normal"
) -> Model:
    """Behind the convolutions: linear layers of these widths with ReLU between them, and one for the classes."""
    size = count_features(layers, shape, model)
    layers = [*layers, Flatten()]
    for width in hidden:
        layers += [Linear(size, width, init=init), ReLU()]
        size = width
    return [*layers, Linear(size, n_out, init=init)]
