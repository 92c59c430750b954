"""minifa: a layer engine for learning how networks learn, in which the matrix that carries the error backwards is an
object.

A network takes its layers, a rule is attached to it, and the matrix that carries the error lies beside the weight:

>>> data = mf.data.load("xor")
>>> net = mf.Network([mf.Linear(2, 4), mf.Tanh(), mf.Linear(4, 2)], seed=0)
>>> rule = mf.rules.FA(seed=0).attach(net)
>>> net["linear2"].W.shape, rule.B["linear2"].shape
((4, 2), (4, 2))
>>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
>>> history = mf.train(net, rule, data.train, loss, optimizer, epochs=100, progress=False)
>>> net.predict(data.test.x).argmax(axis=1).tolist()  # it has learnt the exclusive or
[0, 1, 1, 0]

Where to look:

- **A network:** `Network` and its layers `Linear`, `Conv2d`, `ReLU`, `LeakyReLU`, `Tanh`, `Sigmoid`, `BatchNorm`,
  `LocalResponseNorm`, `MaxPool`, `AvgPool`, `GlobalAvgPool`, `Flatten`, `PadChannels`, `Dropout`, `Residual`;
  ready-made lists of them in `minifa.models`; a layer of your own is a `Layer` or a `Weighted` one, and a `Walk` goes
  through them.
- **What carries the error:** `minifa.rules`, one file for each family, with its equation on top.
- **How wrong, and which way:** `SoftmaxCrossEntropy`, `SigmoidCrossEntropy`, `MeanSquaredError`, `HalfSquaredError`.
- **An update:** `SGD`, `Adam`, `AdamW`, `RMSprop`, all of them a `minifa.optim.Optimizer`; learning rates over time in
  `minifa.schedules`.
- **Training:** `train`, `Trainer`; kept in a file and gone on with: `minifa.checkpoints`; one step watched: `trace`,
  which makes a `Trace` of `Moment`s.
- **Data:** `minifa.data`. **Weights in and out:** `minifa.weights`. **What can be measured:** `minifa.metrics`.
  **What can be drawn:** `minifa.figures`.
- **Where arrays live:** `use`, `using`, `asarray`, `to_host`.

The examples take it for granted that minifa was imported as ``mf`` and NumPy as ``np``.
"""

import importlib
from types import ModuleType

from . import starting

starting.begin()  # before the imports that take their time

# ruff: noqa: E402
from . import data, metrics, models, optim, rules, schedules, weights
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
    LocalResponseNorm,
    MaxPool,
    PadChannels,
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
    "LocalResponseNorm",
    "MaxPool",
    "MeanSquaredError",
    "Moment",
    "Network",
    "PadChannels",
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
    "weights",
]


def __getattr__(name: str) -> ModuleType:
    """``minifa.figures`` and ``minifa.checkpoints``, imported when they are first asked for: matplotlib takes longer to
    import than all the rest."""
    if name in ("checkpoints", "figures"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
