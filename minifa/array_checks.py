"""Checks of arrays where they come in: of the backend, floating-point, of a required shape."""

from __future__ import annotations

__all__: list[str] = []

from typing import Any

import numpy

from .backend import dtype, name, xp


def require_like(array: Any, shape: tuple[int, ...], who: object, what: str) -> None:
    """`require_float`, and ValueError for another shape, because NumPy could broadcast it to a wrong result.

    Args:
        array: the array to check. shape: the required shape.
        who, what: start of the error message, for example a layer (formatted only on an error) and ``"an error"``.
    """
    require_float(array, who)
    if array.shape != shape:
        raise ValueError(f"{who} expects {what} of shape {shape}, got {array.shape}")


def require_float(array: Any, who: object) -> None:
    """Validate that this is a non-empty floating-point array of the backend.

    Raises:
        TypeError: the array is on the wrong side (host or device), or is not a floating-point array.
        ValueError: the array is empty or 0-dimensional.
    """
    if not isinstance(array, xp.ndarray) or isinstance(array, numpy.ma.MaskedArray):
        given = f"{type(array).__module__}.{type(array).__name__}"
        raise TypeError(
            f"{who} expects an array of the backend {name()!r}, got {given}: move it with minifa.asarray(x)"
        )
    if array.dtype.kind != "f":
        raise TypeError(
            f"{who} expects floating-point numbers, got dtype {array.dtype}: convert it with x.astype({str(dtype())!r})"
        )
    if array.size == 0 or array.ndim == 0:
        raise ValueError(f"{who} expects a batch (N, ...) of at least one example, got an array of shape {array.shape}")
