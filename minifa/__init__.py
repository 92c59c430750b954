"""minifa: a layer engine for learning how networks learn, in which the matrix that carries the error backwards is an
object."""

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
    "Network",
    "RMSprop",
    "ReLU",
    "Residual",
    "SGD",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Tanh",
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
    "train",
    "use",
    "using",
]
