"""minifa: a NumPy layer engine for studying learning rules, in which the matrix that carries the error backwards is a
separate object.

A network is built from layers and a rule is attached to it. The rule's feedback matrix has the shape of the weight:

>>> data = mf.data.load("xor")
>>> net = mf.Network([mf.Linear(2, 4), mf.Tanh(), mf.Linear(4, 2)], seed=0)
>>> rule = mf.rules.FA(seed=0).attach(net)
>>> net["linear2"].W.shape, rule.B["linear2"].shape
((4, 2), (4, 2))
>>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
>>> history = mf.train(net, rule, data.train, loss, optimizer, epochs=100, progress=False)
>>> net.predict(data.test.x).argmax(axis=1).tolist()  # it has learnt the exclusive or
[0, 1, 1, 0]

Overview:

- **Networks:** `Network` and its layers `Linear`, `Conv2d`, `LocallyConnected2d`; `ReLU`, `LeakyReLU`, `ELU`, `GELU`,
  `SiLU`, `Softplus`, `Tanh`, `Sigmoid`; `BatchNorm`, `LayerNorm`, `GroupNorm`, `DivisiveNorm`, `LocalResponseNorm`,
  `UnitLength`; `MaxPool`, `AvgPool`, `GlobalAvgPool`, `Flatten`, `PadChannels`, `Dropout`, `Residual`; `Vectors`,
  `VectorLinear` and `Gate` of vector networks; ready-made models in `minifa.models`. User-defined layers derive from
  `Layer` or `Weighted`. A `Pass` holds the options of a forward pass and a hook that is called after every layer; a
  `Listen` is a pass that records outputs.
- **Learning rules:** `minifa.rules`, one file per family, with its equation at the top.
- **Losses:** `SoftmaxCrossEntropy`, `SigmoidCrossEntropy`, `MeanSquaredError`, `HalfSquaredError`.
- **Optimizers:** `SGD`, `Adam`, `AdamW`, `RMSprop`, all derived from `minifa.optim.Optimizer`, with `ShareWeights` as
  an option; learning-rate schedules in `minifa.schedules`.
- **Training:** `train`, `Trainer`; checkpoints and resuming in `minifa.checkpoints`; `trace` records one step as a
  `Trace` of `Moment`s, `explore` shows it in a notebook.
- **Comparison of rules:** `compare` returns a table and a figure. **Evaluation:** `evaluate`, `minifa.metrics`,
  `minifa.target_metrics`, `minifa.kernel_metrics` (with `minifa.kernels`), `minifa.layer_statistics`, adversarial
  examples in `minifa.attacks`, the angles that chance gives in `minifa.chance`, and learning curves that are known
  exactly in `minifa.theory`.
- **Files:** `Network.save` and `load` for a network and its rule, `load_run` for the folder of a run, `minifa.weights`
  for PyTorch's weights.
- **Data:** `minifa.data`. **Figures:** `minifa.figures`.
- **Backend:** `use`, `using`, `asarray`, `to_host`.

The examples assume that minifa is imported as ``mf`` and NumPy as ``np``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .cli import starting

starting.begin()  # before the slow imports

# ruff: noqa: E402
from . import (
    chance,
    data,
    kernel_metrics,
    kernels,
    layer_statistics,
    metrics,
    models,
    optim,
    rules,
    schedules,
    target_metrics,
)
from .backend import asarray, to_host, use, using
from .environment import __version__ as __version__
from .evaluation import evaluate
from .layers import (
    ELU,
    GELU,
    AvgPool,
    BatchNorm,
    Conv2d,
    DivisiveNorm,
    Dropout,
    Flatten,
    Gate,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Listen,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxPool,
    PadChannels,
    Pass,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    UnitLength,
    VectorLinear,
    Vectors,
    Weighted,
)
from .losses import HalfSquaredError, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy
from .network import Network
from .optim import SGD, Adam, AdamW, RMSprop
from .sharing import ShareWeights
from .training import Trainer, train

if TYPE_CHECKING:
    from . import attacks, theory, weights
    from . import imports as imports  # messages name minifa.imports.import_file
    from .comparison import compare
    from .experiments import load_run
    from .explorer.widget import explore
    from .saved_networks import load
    from .tracing import Moment, Trace, trace

__all__ = [
    "Adam",
    "AdamW",
    "AvgPool",
    "BatchNorm",
    "Conv2d",
    "DivisiveNorm",
    "Dropout",
    "ELU",
    "Flatten",
    "GELU",
    "Gate",
    "GlobalAvgPool",
    "GroupNorm",
    "HalfSquaredError",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Listen",
    "LocalResponseNorm",
    "LocallyConnected2d",
    "MaxPool",
    "MeanSquaredError",
    "Moment",
    "Network",
    "PadChannels",
    "RMSprop",
    "ReLU",
    "Residual",
    "SGD",
    "SiLU",
    "Sigmoid",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "ShareWeights",
    "Softplus",
    "Tanh",
    "Trace",
    "Trainer",
    "Pass",
    "UnitLength",
    "VectorLinear",
    "Vectors",
    "Weighted",
    "asarray",
    "attacks",
    "chance",
    "compare",
    "data",
    "evaluate",
    "explore",
    "kernel_metrics",
    "kernels",
    "layer_statistics",
    "load",
    "load_run",
    "metrics",
    "models",
    "optim",
    "rules",
    "schedules",
    "target_metrics",
    "theory",
    "to_host",
    "trace",
    "train",
    "use",
    "using",
    "weights",
]


# Imported at first access, because few programs need them and some take longer to import than everything else: name to
# module.
LATER = {
    "Moment": "tracing",
    "Trace": "tracing",
    "attacks": "attacks",
    "checkpoints": "checkpoints",
    "compare": "comparison",
    "explore": "explorer.widget",
    "figures": "figures",
    "imports": "imports",
    "load": "saved_networks",
    "load_run": "experiments",
    "notebook": "notebook",
    "saved_networks": "saved_networks",
    "theory": "theory",
    "trace": "tracing",
    "tracing": "tracing",
    "weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{LATER[name]}", __name__)
    return module if name == LATER[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
