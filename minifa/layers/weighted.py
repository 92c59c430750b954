"""Layers with weights: the three matrix products of the forward pass, the weight gradient and the error below.

In the backward pass such a layer gets the error below it from the learning rule, which carries it with a matrix B.
"""

from __future__ import annotations

__all__ = ["Weighted"]

import math
from collections.abc import Sequence

from .. import backend, initialisers
from ..backend import Array, xp
from ..initialisers import Initialiser
from ..linalg import as_matrix
from ..parallel.chunks import matmul, sum_rows
from ..rng import generator
from ..validation import Shape, check_bool, check_int, check_list, format_shape
from .base import Layer, Pass, Teacher, array_property, new_parameter
from .observer import active

DRAW_BYTES = 8  # bytes per weight while it is drawn, in float64
SMALL = 1 << 28  # bytes: smaller weights are not checked against the free memory


class Weighted(Layer):
    """A layer with the output ``columns(x) @ W + b``: a linear layer, or a convolution as a linear layer on patches.

    The forward pass, the weight gradient and the error below are three matrix products. Learning rules differ in the
    matrix B of the last one:

        project            columns(x) @ W            forward pass
        weight_gradient    columns(x).T @ delta      the gradient of W: presynaptic activity times error
        carry              uncolumns(delta @ B.T)    the error below; backpropagation takes B = W

    A row of `columns` is the example itself or one patch of it; `uncolumns` is the adjoint and adds each row back to
    the positions it was read from. W has shape (..., n_in, n_out); as a matrix it is (fan_in, n_out), and so is
    any B. A convolution with groups has such a matrix for each group, a locally connected layer one for each position
    (`matrices`).

    Args:
        shape: of W.
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: a size that is not an int.
        ValueError: a size below 1, weights that exceed the free memory, an unknown initialiser.

    The same error, carried down by W and by a different matrix B:

    >>> layer, x, delta = mf.Linear(2, 1), mf.asarray([[1.0, 1.0]]), mf.asarray([[3.0]])
    >>> layer.W, B = mf.asarray([[1.0], [2.0]]), mf.asarray([[10.0], [-10.0]])
    >>> y = layer.forward(x, mf.Pass(training=True))
    >>> layer.carry(delta, layer.W).tolist(), layer.carry(delta, B).tolist()
    ([[3.0, 6.0]], [[30.0, -30.0]])
    """

    parameter_names: tuple[str, ...] = ("W", "b")
    optional = ("b",)
    operand = "columns(x)"  # name of the matrix product's left operand in equations
    error_term = "uncolumns({})"
    smaller = "a smaller layer"  # what to use if the weights exceed the free memory

    def __init__(self, shape: Shape, bias: bool, init: str | Initialiser, name: str | None) -> None:
        super().__init__(name)
        if len(check_list(shape, object, f"the weight shape of {self} must be a tuple of sizes")) < 2:
            raise ValueError(f"the weight shape of {self} must have at least two sizes, got {shape!r}")
        self.weight_shape = tuple(check_int(size, f"every size of {self}") for size in shape)
        needed = math.prod(self.weight_shape) * DRAW_BYTES
        if needed > SMALL and needed > backend.free_bytes():
            raise ValueError(
                f"the weights of {self}, {format_shape(shape)}, would take {needed:,} bytes, more than is free: "
                f"use {self.smaller}"
            )
        self.has_bias = check_bool(bias, f"the bias of {self}")
        if not self.has_bias:
            self.parameter_names = tuple(key for key in self.parameter_names if key != "b")
        self.init = initialisers.find(init)
        self.initialise(seed=0)

    W = array_property("W", "The weights. An assigned array is copied in the layer's dtype; its shape must match.")
    b = array_property("b", "The bias, of `bias_shape`, or None if the layer has no bias; assigned like `W`.")

    def shape_of(self, name: str) -> Shape | None:
        shapes = {"W": self.weight_shape, "b": self.bias_shape}
        return shapes[name] if name in shapes else super().shape_of(name)

    @property
    def bias_shape(self) -> Shape:
        """The shape of b: one number for each output of a row of `columns`."""
        return self.weight_shape[-1:]

    @property
    def equation(self) -> str:  # type: ignore[override]  # it depends on whether there is a bias
        return f"y = {self.operand} @ W" + (" + b" if self.has_bias else "")

    @property
    def gradient_equation(self) -> str:
        """The equation of the gradients that `store_gradients` computes."""
        return f"dW = {self.operand}.T @ delta" + ("\ndb = sum(delta)" if self.has_bias else "")

    @property
    def error_equation(self) -> str:  # type: ignore[override]
        return f"delta_below = {self.error_term.format('delta @ B.T')}"

    @property
    def fans(self) -> tuple[int, int]:
        """(fan_in, fan_out) for initialisers; in a convolution, both count the kernel positions."""
        *kernel, n_in, n_out = self.weight_shape
        positions = math.prod(kernel)
        return positions * n_in, positions * n_out

    def initialise(self, seed: int) -> None:
        self.dtype = backend.dtype()
        rng = generator(seed, "weights", self.name)
        self._W = new_parameter(self.init.draw(rng, self.weight_shape, *self.fans))
        self._b = xp.zeros(self.bias_shape, self.dtype) if self.has_bias else None
        self.grads = dict.fromkeys(self.parameters())

    def matrices(self, array: Array) -> list[Array]:
        """W, or another array of its fan_in (..., k), as matrices: one (fan_in, k), or for a convolution with groups
        one (fan_in, k / groups) for each group, or for a locally connected layer one (fan_in, k) for each position.
        They are views of the array."""
        return [as_matrix(array)]

    def joined(self, matrices: Sequence[Array]) -> Array:
        """The inverse of `matrices`: the array (..., k) that has these matrices."""
        return matrices[0].reshape(*self.weight_shape[:-1], -1)

    # The three products. Layers on images compute them in chunks, and for each of their matrices.

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        """columns(x) @ matrix + bias, for any matrix with W's fan_in. (N, ...) in, (N, ..., k) out."""
        y = matmul(self.columns(x), matrix.reshape(-1, matrix.shape[-1]))
        if bias is not None:
            y += bias
        return y if x.ndim == 2 else y.reshape(*self.positions(x.shape), y.shape[1])

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array | None]:
        """Return columns(x).T @ delta, summed over examples and positions, and the sum of delta, the bias gradient;
        None if the layer has no bias. The product has W's shape if delta has n_out channels."""
        delta = delta.reshape(-1, delta.shape[-1])
        product = matmul(self.columns(x).T, delta)
        return product.reshape(*self.weight_shape[:-1], delta.shape[1]), sum_rows(delta) if self.has_bias else None

    def carry(self, delta: Array, matrix: Array) -> Array:
        """The error below: uncolumns(delta @ matrix.T), for any matrix with W's fan_in and delta's width."""
        below = matmul(delta.reshape(-1, delta.shape[-1]), matrix.reshape(-1, matrix.shape[-1]).T)
        return self.uncolumns(below, self.cached().shape)

    def columns(self, x: Array) -> Array:
        """The rows of the product, (positions, fan_in). Default: the examples themselves."""
        return x

    def uncolumns(self, columns: Array, shape: Shape) -> Array:
        """The adjoint of `columns`: add each row back to the positions it was read from; shape is the batch's input
        shape."""
        return columns

    def positions(self, x_shape: Shape) -> Shape:
        """Output positions of a batch with this input shape: (N,), or (N, H, W) for images."""
        return x_shape[:1]

    def weight_gradient(self, x: Array, delta: Array) -> Array:
        """The first result of `weight_and_bias_gradients`."""
        return self.weight_and_bias_gradients(x, delta)[0]

    def forward(self, x: Array, ctx: Pass) -> Array:
        if not ctx.inputs_checked:  # `check_input` tests it too; here it saves the call
            self.check_input(x, ctx)
        y = self.project(x, self.W, self.b)
        self.cache = x if ctx.training else None
        return y

    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        if (x := self.cache) is not None:
            positions = x.shape[:1] if x.ndim == 2 else self.positions(x.shape)
            self.check_error(delta, (*positions, self.weight_shape[-1]))
        presynaptic = getattr(rule, "presynaptic", None)  # a teacher may have none
        if presynaptic and self.name in presynaptic:
            self.store_gradients(delta, presynaptic[self.name])
        else:  # also for layers whose `store_gradients` knows no x
            self.store_gradients(delta)
        if not self.needs_input_gradient:
            return None
        below = rule.carry(self, delta)
        if (observer := active.get()) is not None:
            observer.on_carry(self, delta, below)
        return below

    def store_gradients(self, delta: Array, x: Array | None = None) -> None:
        """Compute the gradients from this error and the presynaptic activity x (N, ...), by default that of the last
        forward pass, and store them in ``grads``; a frozen layer computes none."""
        if self.frozen:
            return
        x = self.cached() if x is None else x
        self.grads["W"], total = self.weight_and_bias_gradients(x, delta)
        if self.b is not None:
            self.grads["b"] = total
        if (observer := active.get()) is not None:
            observer.on_gradients(self, x, delta)
