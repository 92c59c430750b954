"""Callbacks that come with minifa: a progress bar, and the alignment of feedback and weights."""

from __future__ import annotations

__all__ = ["ProgressBar", "RecordAlignment"]

import time

from .. import backend, metrics
from ..console import bar
from ..data.augment import for_evaluation
from ..data.base import Examples
from ..validation import check_float, check_str
from .history import Row
from .trainer import Callback, Trainer, check_examples


class ProgressBar(Callback):
    """A tqdm progress bar over all updates, with loss, accuracy and images per second, in a terminal or a notebook.

    Args:
        label: text in front of the bar.
        every: seconds between two readings of the running loss (a reading waits for the device), at least 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: seconds below 0.
    """

    def __init__(self, label: str = "", every: float = 0.5) -> None:
        self.label, self.every = (
            check_str(label, "the label of a bar"),
            check_float(every, "the seconds between two readings"),
        )
        if not self.every >= 0:
            raise ValueError(f"the seconds between two readings must be at least 0, got {every}")

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        done = trainer.batch if trainer.unfinished else 0
        self.bar = bar(total=epochs * batches, initial=done, desc=self.label, unit="batch")
        self.values: dict[str, str] = {}
        self.examples, self.since = 0, time.perf_counter()

    def on_step(self, trainer: Trainer, examples: int) -> None:
        self.examples += examples
        self.bar.update()
        elapsed = time.perf_counter() - self.since
        if self.bar.disable or elapsed < self.every:
            return
        self.values["loss"] = f"{trainer.running_loss():.3f}"
        self.values["images/s"] = f"{self.examples / elapsed:,.0f}"
        self.examples, self.since = 0, time.perf_counter()
        self.bar.set_postfix(self.values, refresh=False)

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        self.values["epoch"] = str(row["epoch"])
        if "train_loss" in row:
            self.values["loss"] = f"{row['train_loss']:.3f}"
        for key, label in (
            ("train_accuracy", "accuracy"),
            ("validation_accuracy", "held-out"),
            ("test_accuracy", "test"),
        ):
            if key in row:
                self.values[label] = f"{row[key]:.3f}"
        self.bar.set_postfix(self.values, refresh=False)

    def on_end(self, trainer: Trainer) -> None:
        self.bar.close()


class RecordAlignment(Callback):
    """Adds the alignment of feedback and weights to every row, as ``<layer>.<quantity>`` (see `minifa.metrics`).

    Args:
        examples: the batch on which errors are compared; the same batch in every epoch.
    """

    def __init__(self, examples: Examples) -> None:
        check_examples(examples)
        self.examples = examples

    def on_epoch(self, trainer: Trainer, row: Row) -> None:
        if trainer.diverged:
            return
        x = backend.asarray(for_evaluation(self.examples.x, trainer.augmentation), trainer.net.dtype)
        alignment = metrics.alignment(trainer.net, trainer.rule, x, self.examples.y, trainer.loss)
        for layer, quantities in alignment.items():
            row.update({f"{layer}.{key}": value for key, value in quantities.items() if value is not None})
