"""Named architectures, as plain lists of layers. Each function takes ``input_shape``, the shape of one example, and
``n_out``, the number of outputs.

>>> [layer.kind for layer in mf.models.mlp((28, 28, 1), n_out=10)]
['flatten', 'linear', 'relu', 'linear']
"""

from collections.abc import Callable

from ..registry import register_table
from .base import Model
from .convolutional import alexnet, allconv, bench_cnn, cnn, lenet, lenet_cifar, moskovitz, moskovitz_tf
from .dense import autoencoder, linear_task, mlp, tiny
from .residual import resnet18, resnet20, resnet32, resnet56
from .vectors import vector_mlp

MODELS: dict[str, Callable[..., Model]] = {
    make.__name__: make
    for make in (
        mlp,
        cnn,
        lenet,
        lenet_cifar,
        moskovitz,
        moskovitz_tf,
        alexnet,
        allconv,
        resnet20,
        resnet32,
        resnet56,
        resnet18,
        bench_cnn,
        linear_task,
        tiny,
        vector_mlp,
        autoencoder,
    )
}
register_table("model", MODELS)

__all__ = [
    "MODELS",
    "Model",
    "alexnet",
    "allconv",
    "autoencoder",
    "bench_cnn",
    "cnn",
    "lenet",
    "lenet_cifar",
    "linear_task",
    "mlp",
    "moskovitz",
    "moskovitz_tf",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet56",
    "tiny",
    "vector_mlp",
]
