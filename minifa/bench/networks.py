"""The networks of the benchmark, and their batches."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable
from typing import Any

import numpy

SHAPES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "mlp": ("mlp", (784,), {"hidden": (1000, 1000)}),
    "cnn": ("bench_cnn", (32, 32, 3), {}),
    "resnet20": ("resnet20", (32, 32, 3), {}),
    "small": ("mlp", (64,), {"hidden": (32,)}),
}
CLASSES = 10
Step = Callable[[], None]


def batch(shape: tuple[int, ...], batch_size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    return rng.standard_normal((batch_size, *shape), dtype="float32"), rng.integers(0, CLASSES, batch_size)
