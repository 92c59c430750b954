"""minifa: a layer engine for learning how networks learn, in which the matrix that carries the error backwards is an
object."""

import importlib
from types import ModuleType

from . import data, metrics, models, optim, rules, schedules
from .backend import asarray, to_host, use, using
from .layers import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
    Walk,
    Weighted,
)
from .losses import HalfSquaredError, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from .network import Network
from .optim import SGD, Adam, AdamW, RMSprop
from .tracing import Moment, Trace, trace
from .training import Trainer, train

__version__ = "0.1.0"

__all__ = [
    "Adam",
    "AdamW",
    "AvgPool",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "HalfSquaredError",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MaxPool",
    "MeanSquaredError",
    "Moment",
    "Network",
    "RMSprop",
    "ReLU",
    "Residual",
    "SGD",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Tanh",
    "Trace",
    "Trainer",
    "Walk",
    "Weighted",
    "asarray",
    "data",
    "metrics",
    "models",
    "optim",
    "rules",
    "schedules",
    "to_host",
    "trace",
    "train",
    "use",
    "using",
]


def __getattr__(name: str) -> ModuleType:
    """``minifa.figures``, imported when it is first asked for: matplotlib takes longer to import than all the rest."""
    if name == "figures":
        return importlib.import_module(".figures", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
