"""Layers: forward and backward pass side by side, in NumPy or CuPy, independent of the learning rule."""

from .activations import ELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .base import Layer, Listen, Pass, Teacher
from .batch_norm import BatchNorm
from .conv import Conv2d
from .divisive_norm import DivisiveNorm
from .dropout import Dropout
from .gelu import GELU
from .layer_norm import GroupNorm, LayerNorm
from .linear import Linear
from .local_response_norm import LocalResponseNorm
from .locally_connected import LocallyConnected2d
from .pooling import AvgPool, GlobalAvgPool, MaxPool
from .residual import Residual
from .shape import Flatten, PadChannels
from .unit_length import UnitLength
from .vectors import Gate, VectorLinear, Vectors
from .weighted import Weighted

__all__ = [
    "ELU",
    "GELU",
    "AvgPool",
    "BatchNorm",
    "Conv2d",
    "DivisiveNorm",
    "Dropout",
    "Flatten",
    "Gate",
    "GlobalAvgPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Listen",
    "LocalResponseNorm",
    "LocallyConnected2d",
    "MaxPool",
    "PadChannels",
    "ReLU",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Teacher",
    "Pass",
    "VectorLinear",
    "Vectors",
    "UnitLength",
    "Weighted",
]
