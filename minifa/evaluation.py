"""Evaluation of a trained network on examples, without a trainer."""

from __future__ import annotations

__all__ = ["evaluate"]

from typing import Any

import numpy

from . import backend
from .data.base import Dataset, Examples
from .losses import Loss, check_classes, classes_of
from .network import A_NETWORK, Network
from .rules.base import A_LOSS, Rule
from .validation import check_batch_size, check_type


@backend.quietly
def evaluate(
    net: Network,
    x: Any,
    y: Any = None,
    rule: Rule | None = None,
    loss: Loss | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """The accuracy and, if a loss is given, the mean loss of a network. The network is not modified.

    Args:
        net: the network.
        x: inputs (N, ...), or `minifa.data.Examples` (such as ``data.test``) with their targets.
        y: class indices, integers (N,), or targets (N, n_out); left out if x is Examples. The sign of a single output
            is one of the classes 0 and 1.
        rule: the attached rule that computes the outputs, as for `Network.predict`; None: they are the network's.
        loss: the loss function; needed if the targets are not classes.
        batch_size: examples per forward pass; it limits the memory used.

    Returns:
        ``{"accuracy": ...}`` for classes, with ``"loss"`` if a loss is given; ``{"loss": ...}`` for other targets.

    Raises:
        TypeError: an argument of the wrong type; labels that are strings.
        ValueError: inputs and targets that do not match the network or each other; targets without a loss.

    >>> data = mf.data.load("xor")
    >>> net = mf.Network([mf.Linear(2, 2, init="zero")])  # its outputs are 0, and ties go to class 0
    >>> {key: round(value, 4) for key, value in mf.evaluate(net, data.test, loss=mf.SoftmaxCrossEntropy()).items()}
    {'loss': 0.6931, 'accuracy': 0.5}
    """
    check_type(net, Network, A_NETWORK)
    x, y = _pair(x, y)
    if loss is not None:
        check_type(loss, Loss, A_LOSS)
    batch_size = check_batch_size(batch_size)
    is_classes = y.dtype.kind in "iu"
    if not is_classes and loss is None:
        raise ValueError(
            f"targets of dtype {y.dtype} need a loss, such as minifa.HalfSquaredError(); for an accuracy, give class "
            "indices: y.argmax(axis=1) of one-hot rows"
        )
    outputs = net.predict(x, batch_size, rule)
    if len(outputs) != len(y):
        raise ValueError(f"x has {len(outputs)} examples and y has {len(y)}; give as many targets as inputs")
    measures: dict[str, float] = {}
    if loss is not None:
        measures["loss"] = _mean_loss(loss, outputs, y, batch_size)
    if is_classes:
        if outputs.ndim != 2:
            raise ValueError(f"classes need outputs of shape (N, n_out), got {outputs.shape}")
        check_classes(y, len(outputs), max(2, outputs.shape[1]))
        measures["accuracy"] = float((classes_of(outputs) == y).mean())
    return measures


def _pair(x: Any, y: Any) -> tuple[Any, numpy.ndarray]:
    if isinstance(x, Dataset):
        raise TypeError(f"x must be one part of a data set, data.train or data.test, got all of {x.name!r}")
    if isinstance(x, Examples):
        if y is not None:
            raise TypeError("y must be left out if x is minifa.data.Examples, which have their targets")
        return x.x, x.y
    try:
        targets = numpy.empty(()) if y is None else backend.numbers_of(y, "y")
    except TypeError as error:
        raise TypeError(f"{error}; class names become class indices by np.unique(y, return_inverse=True)[1]") from None
    if targets.ndim == 0:
        raise TypeError(f"y must be class indices (N,) or targets (N, n_out), got {y!r}")
    return x, targets


def _mean_loss(loss: Loss, outputs: numpy.ndarray, y: numpy.ndarray, batch_size: int) -> float:
    """Summed batch by batch in double precision, as `minifa.Trainer.evaluate` does."""
    total: Any = 0.0
    for i in range(0, len(outputs), batch_size):
        batch = backend.asarray(outputs[i : i + batch_size], outputs.dtype)
        total = total + loss(batch, loss.target(y[i : i + batch_size], batch))[0].sum(dtype="float64")
    return float(total) / len(outputs)
