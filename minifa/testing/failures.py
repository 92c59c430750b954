"""Messages of failed checks: the check, its object, the expected and the actual value, and advice."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy

from ..backend import to_host
from .differences import largest_difference


@contextlib.contextmanager
def checking(check: str, of: object) -> Iterator[None]:
    """Turn an exception inside the block into an AssertionError that names the check and the object."""
    try:
        yield
    except Exception as error:
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        if "read-only" in message:  # NumPy's ValueError
            message += "; it writes to an array that others use: compute a new array instead"
        raise AssertionError(f"{check} of {of}: {message}") from error


def require_array(array: Any, shape: tuple[int, ...] | None, dtype: Any, what: str, advice: str) -> None:
    """Raise AssertionError unless this is an array of this shape (None: any) and dtype with finite numbers."""
    if array is None:
        raise AssertionError(f"{what} is None, expected an array: {advice}")
    if shape is not None and tuple(array.shape) != tuple(shape):
        raise AssertionError(f"{what} has shape {tuple(array.shape)}, expected {tuple(shape)}: {advice}")
    if array.dtype != dtype:
        raise AssertionError(f"{what} is {array.dtype}, expected {dtype}: compute in the dtype of the input")
    if not numpy.isfinite(to_host(array)).all():
        raise AssertionError(f"{what} has entries that are not finite: avoid overflow and divisions by zero")


def require_equal(these: Any, others: Any, advice: str, tolerance: float = 0.0) -> None:
    """Raise AssertionError if the arrays of one name differ by more than the tolerance; 0: unless all bits are
    equal."""
    most, name = largest_difference(on_host(these), on_host(others))
    if not most <= tolerance:
        expected = f"at most {tolerance:g}" if tolerance else "the same bits"
        raise AssertionError(f"{name} differs by {most:.1e} of its largest entry, expected {expected}: {advice}")


def on_host(arrays: Any) -> dict[str, numpy.ndarray]:
    """Host copies of the arrays that exist."""
    return {name: numpy.array(to_host(array)) for name, array in arrays.items() if array is not None}
