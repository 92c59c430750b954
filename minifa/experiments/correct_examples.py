"""``test_correct.npz`` of a run folder: which test examples the network of ``result.json`` classifies correctly.

With it, two runs can be compared example by example (`minifa.experiments.differences.image_error`).
"""

from __future__ import annotations

__all__: list[str] = []

from pathlib import Path

import numpy as np

from ..errors import DataFileError
from ..storage.atomic import plain
from ..storage.npz import read_arrays, write_arrays
from ..training.history import Row

FILE = "test_correct.npz"
ROUNDED = 1e-3  # share of examples near a boundary that another processor may classify differently


def keep(folder: Path, correct: np.ndarray) -> None:
    """Write the file. Raises OSError.

    Args:
        folder: run folder.
        correct: bool (N,), in the order of the test set.
    """
    write_arrays(folder / FILE, {"bits": np.packbits(correct), "examples": np.array([len(correct)])})


def read(folder: Path, result: Row) -> np.ndarray | None:
    """Read the file: bool (N,). None if it is missing, damaged or of another result.

    Args:
        folder: run folder.
        result: the result of the run.

    Raises:
        OSError: the file is not a regular file, but a link, for example.
    """
    try:
        arrays = read_arrays(folder / FILE, plain)
    except (FileNotFoundError, DataFileError):
        return None
    bits, n = arrays.get("bits"), result["test_examples"]
    if bits is None or bits.dtype != np.uint8 or bits.shape != ((n + 7) // 8,):
        return None
    if "examples" not in arrays or arrays["examples"].tolist() != [n]:
        return None
    correct = np.unpackbits(bits, count=n).astype(bool)
    return correct if belongs(correct, result) else None


def belongs(correct: np.ndarray, result: Row) -> bool:
    """Whether these are the answers of the network that has this result."""
    accuracy = result.get("test_accuracy")
    return (
        accuracy is not None and len(correct) == result["test_examples"] and abs(correct.mean() - accuracy) <= ROUNDED
    )
