"""Convolutional architectures. Each function takes ``input_shape``, the shape of one image (height, width, channels),
and ``n_out``, the number of classes."""

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
    LocallyConnected2d,
    LocalResponseNorm,
    MaxPool,
    ReLU,
)
from ..validation import Shape, check_bool, check_int, check_type
from .base import DEEPEST, Model, count_features, image


def cnn(
    input_shape: Shape,
    n_out: int,
    depth: int = 6,
    channels: int = 16,
    batch_norm: bool = False,
    untied: bool = False,
    equal_start: bool = False,
) -> Model:
    """The default network: ``depth`` 3x3 convolutions of 16 channels, pooling after every second one, one linear layer.

    Pooling is omitted if the map would become smaller than 2 x 2, and after the last convolution.

    Args:
        depth: number of convolutions.
        channels: output channels of each convolution.
        batch_norm: whether a BatchNorm follows every convolution.
        untied: LocallyConnected2d in place of the convolutions.
        equal_start: as for `minifa.LocallyConnected2d`; needs untied.

    Raises:
        TypeError: depth is not an int.
        ValueError: inputs that are not images, a depth below 0 or above 10,000, or equal_start without untied.
    """
    height, width, below = image(input_shape, "cnn")
    batch_norm = check_bool(batch_norm, "batch_norm of the model 'cnn'")
    untied = check_bool(untied, "untied of the model 'cnn'")
    if check_bool(equal_start, "equal_start of the model 'cnn'") and not untied:
        raise ValueError("equal_start of the model 'cnn' needs untied=True: a convolution has one kernel")
    depth = check_int(depth, "the depth of the model 'cnn'", least=0, most=DEEPEST)
    layers: Model = []
    for i in range(depth):
        layer = (
            LocallyConnected2d(below, channels, 3, padding=1, input_size=(height, width), equal_start=equal_start)
            if untied
            else Conv2d(below, channels, 3, padding=1)
        )
        layers += [layer, *([BatchNorm(channels)] if batch_norm else []), ReLU()]
        below = channels
        if i % 2 == 1 and min(height, width) >= 4 and i < depth - 1:
            layers.append(MaxPool(2))
            height, width = height // 2, width // 2
    return [*layers, Flatten(), Linear(height * width * below, n_out)]


def bench_cnn(input_shape: Shape, n_out: int, channels: tuple[int, ...] = (32, 64, 128)) -> Model:
    """The network of ``minifa bench``: [3x3 convolution, BatchNorm, ReLU, MaxPool] for each width in ``channels``, then
    one linear layer.

    Raises:
        ValueError: inputs that are not images.
    """
    height, width, below = image(input_shape, "bench_cnn")
    check_type(
        channels, (tuple, list), "channels of the model 'bench_cnn' must be a tuple of widths, such as (32, 64, 128)"
    )
    layers: Model = []
    for above in channels:
        layers += [Conv2d(below, above, 3, padding=1), BatchNorm(above), ReLU(), MaxPool(2)]
        height, width, below = height // 2, width // 2, above
    return [*layers, Flatten(), Linear(height * width * below, n_out)]


def lenet(input_shape: Shape, n_out: int, init: str = "he_normal") -> Model:
    """The LeNet of BioTorch's MNIST benchmark (Sanfiz & Akrout 2021): 5x5 convolutions of 6, 16 and 120 channels, then
    84 units; ReLU and max pooling in place of LeCun et al. 1998's sigmoids and average pooling.

    It is designed for 32 x 32 pixels. BioTorch resizes MNIST's 28 x 28 images to that size; here the first convolution
    pads 28 x 28 images by two pixels on every side.

    Args:
        init: name of the initialiser of all weights; BioTorch uses "xavier_uniform".

    Raises:
        ValueError: an unknown initialiser; inputs that are not images, or images too small for the convolutions.

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
    without padding, global average pooling, then 256 units.

    Args:
        init: as for `lenet`.

    Raises:
        ValueError: an unknown initialiser; inputs that are not images, or images too small for the convolutions.

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

    Its inputs are crops of 24 x 24 pixels (the augmentation "crop24"). `moskovitz_tf` is another interpretation of the
    paper.

    Args:
        init: name of the initialiser of all weights; the re-implementation uses "torch" (for biases as well, which
            start at 0 here).

    Raises:
        ValueError: an unknown initialiser; inputs that are not images, or images too small for the convolutions.

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

    There are three differences from the tutorial. Pooling pads at the top and left, TensorFlow at the bottom and right:
    the same network for images rotated by 180 degrees. All biases start at 0; in the tutorial those of three layers
    start at 0.1. Weight decay is applied by the optimizer; the tutorial decays two layers only.

    Raises:
        ValueError: inputs that are not images.

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
    """Krizhevsky 2014's single-column AlexNet, adapted to images of 32 x 32 as in W. Yang's pytorch-classification
    (``models/cifar/alexnet.py``): its five convolutions with another padding and 2x2 pooling, and one linear layer
    instead of three, hence no dropout.

    Raises:
        ValueError: inputs that are not images, or images too small for the pooling layers.

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
    """All-CNN-C of Springenberg et al. 2015, table 2: nine convolutions, two of them with stride 2 instead of pooling,
    and global average pooling for the class outputs. Dropout of 0.2 on the image and of 0.5 after each convolution of
    stride 2.

    Raises:
        ValueError: inputs that are not images, or images too small for the convolutions.

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
    layers += _conv_relu(192, n_out, kernel_size=1, padding=0)  # the paper has a ReLU after the last convolution too
    count_features(layers, input_shape, "allconv")
    return [*layers, GlobalAvgPool()]


def _conv_relu(below: int, above: int, kernel_size: int = 3, stride: int = 1, padding: int = 1) -> list[Layer]:
    return [Conv2d(below, above, kernel_size, stride=stride, padding=padding), ReLU()]


def _with_classifier(
    layers: Model, shape: Shape, hidden: tuple[int, ...], n_out: int, model: str, init: str = "he_normal"
) -> Model:
    """The layers, then linear layers of the widths ``hidden``, each with ReLU, and the output layer."""
    size = count_features(layers, shape, model)
    layers = [*layers, Flatten()]
    for width in hidden:
        layers += [Linear(size, width, init=init), ReLU()]
        size = width
    return [*layers, Linear(size, n_out, init=init)]
