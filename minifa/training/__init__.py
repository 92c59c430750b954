"""Training: the loop, its callbacks, its history, and training that diverges."""

from __future__ import annotations

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "ProgressBar",
    "RecordAlignment",
    "RecordKernels",
    "RecordStatistics",
    "RecordTargets",
    "Trainer",
    "train",
]

import warnings

from ..data.base import Examples
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..rules.base import Rule
from ..validation import check_bool
from .callbacks import EarlyStopping, ProgressBar, RecordAlignment, RecordKernels, RecordStatistics, RecordTargets
from .history import History
from .trainer import Callback, Trainer


def train(
    net: Network,
    rule: Rule,
    train: Examples,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 64,
    validation: Examples | None = None,
    seed: int = 0,
    progress: bool = True,
    drop_last: bool = False,
) -> History:
    """Train a network under a rule with a progress bar, and return the history. For more control use `Trainer`.

    Args:
        net, rule, loss, optimizer, seed: as for `Trainer`.
        train, epochs, batch_size, validation, drop_last: as for `Trainer.fit`.
        progress: whether to show the bar, in a terminal or a notebook; nothing is shown elsewhere.

    Raises:
        ValueError, TypeError, RuntimeError: as for `Trainer.fit` and `minifa.rules.Rule.gradients`.

    Warns:
        RuntimeWarning: training diverged (see `History.diverged`).

    >>> data = mf.data.load("xor")
    >>> net = mf.Network(mf.models.tiny(data.input_shape, data.n_out), seed=0)
    >>> rule = mf.rules.FA(seed=0).attach(net)
    >>> loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
    >>> history = mf.train(net, rule, data.train, loss, optimizer, epochs=100, progress=False)
    >>> history[-1]["train_accuracy"]
    1.0
    """
    trainer = Trainer(net, rule, loss, optimizer, seed=seed)
    if check_bool(progress, "progress"):
        trainer.callbacks.append(ProgressBar(rule.label))
    history = trainer.fit(train, epochs, batch_size, validation, drop_last)
    if trainer.diverged:
        warnings.warn(
            f"training diverged: {trainer.divergence}; try a smaller learning rate", RuntimeWarning, stacklevel=2
        )
    return history
