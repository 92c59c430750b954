"""Layers: forward and backward pass side by side, in NumPy or CuPy. None of them knows a learning rule."""

from .activations import LeakyReLU, ReLU, Sigmoid, Tanh
from .base import Layer, Walk, Weighted
from .conv import Conv2d
from .linear import Linear
from .norm import BatchNorm
from .pooling import AvgPool, GlobalAvgPool, MaxPool
from .residual import Residual
from .response import LocalResponseNorm
from .shape import Dropout, Flatten, PadChannels

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool",
    "PadChannels",
    "ReLU",
    "Residual",
    "Sigmoid",
    "Tanh",
    "Walk",
    "Weighted",
]
