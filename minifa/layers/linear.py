"""A fully connected layer: y = x @ W + b."""

from __future__ import annotations

__all__ = ["Linear"]

from ..backend import Array
from ..initialisers import Initialiser
from ..parallel.chunks import matmul, sum_rows
from ..validation import Shape, format_shape
from .weighted import Weighted


class Linear(Weighted):
    """A fully connected layer, y = x @ W + b; W has shape (in_features, out_features), the transpose of PyTorch's.

    Args:
        in_features, out_features: number of inputs and outputs per example.
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name ("he_normal", "xavier_uniform", "torch", ...).
        name: overrides the default name that the network assigns.

    Raises:
        ValueError: a size below 1, an unknown initialiser; in `forward`, inputs of a different size.

    >>> layer = mf.Linear(2, 3)
    >>> layer.W = mf.asarray([[1.0, 0.0, 2.0], [0.0, 1.0, 3.0]])
    >>> layer.forward(mf.asarray([[1.0, 10.0]]), mf.Pass()).tolist()
    [[1.0, 10.0, 32.0]]
    """

    kind = "linear"
    operand = "x"
    error_term = "{}"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: str | Initialiser = "he_normal",
        name: str | None = None,
    ) -> None:
        super().__init__((in_features, out_features), bias, init, name)

    def infer(self, shape: Shape) -> Shape:
        if shape != self.weight_shape[:1]:
            hint = ": put a Flatten before it" if len(shape) > 1 else ""
            raise ValueError(
                f"{self} expects {self.weight_shape[0]} inputs per example, got {format_shape(shape)}{hint}"
            )
        return self.weight_shape[1:]

    # The three products of `Weighted`, here of matrices (N, in_features) and (N, out_features).

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        y = matmul(x, matrix)
        if bias is not None:
            y += bias
        return y

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array | None]:
        return matmul(x.T, delta), sum_rows(delta) if self.has_bias else None

    def carry(self, delta: Array, matrix: Array) -> Array:
        return matmul(delta, matrix.T)
