"""A residual block (He et al. 2016): y = body(x) + shortcut(x). The error is carried down both branches, and the two
results are added at the input of the block."""

from __future__ import annotations

__all__ = ["Residual"]

from collections.abc import Iterator, Sequence

from ..backend import Array, xp
from ..parallel.chunks import elementwise
from ..validation import Shape, format_shape
from .base import Layer, Pass, Teacher, backward_chain, forward_chain, infer_chain


class Residual(Layer):
    """A residual block, body(x) + shortcut(x); an empty shortcut is the identity. Blocks can be nested to any depth.

    Args:
        body, shortcut: lists of layers in forward order; both branches must end in the same shape.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: a branch that is not a list or tuple of layers.
        ValueError: an empty body; in use, branches that end in different shapes.

    With zero weights in the body, the output is that of the shortcut:

    >>> block = mf.Residual([mf.Linear(2, 2, init="zero"), mf.ReLU()])
    >>> block.forward(mf.asarray([[3.0, -4.0]]), mf.Pass()).tolist()
    [[3.0, -4.0]]
    >>> [layer.name for layer in mf.Network([block])]
    ['residual1', 'residual1.body.linear1', 'residual1.body.relu1']
    """

    kind = "residual"
    equation = "y = body(x) + shortcut(x)"
    error_equation = "delta_below = error below the body + error below the shortcut"

    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer] = (), name: str | None = None) -> None:
        super().__init__(name)
        for what, layers in (("body", body), ("shortcut", shortcut)):
            if not isinstance(layers, (list, tuple)) or not all(isinstance(layer, Layer) for layer in layers):
                raise TypeError(f"the {what} of {self} must be a list of layers, got {layers!r}")
        if not body:
            raise ValueError(f"the body of {self} must have at least one layer, got {body!r}")
        self.body, self.shortcut = list(body), list(shortcut)

    def children(self) -> Iterator[tuple[str, list[Layer]]]:
        yield "body", self.body
        yield "shortcut", self.shortcut

    def infer(self, shape: Shape) -> Shape:
        ends = [infer_chain(layers, shape, f"the input of {self.name!r}") for _, layers in self.children()]
        if ends[0] != ends[1]:
            raise ValueError(
                f"body and shortcut of {self} must have the same output shape, got {format_shape(ends[0])} and "
                f"{format_shape(ends[1])} per example"
            )
        return ends[0]

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = forward_chain(self.body, x, ctx)
        shortcut = forward_chain(self.shortcut, x, ctx)
        if y.shape != shortcut.shape:
            self.infer(x.shape[1:])  # raises ValueError
        return _sum(y, shortcut)

    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        branches = [backward_chain(layers, delta, rule) for _, layers in self.children()]
        errors = [below for below in branches if below is not None]
        if not self.needs_input_gradient or not errors:
            return None
        return errors[0] if len(errors) == 1 else _sum(*errors)


def _sum(a: Array, b: Array) -> Array:
    return elementwise(lambda out, a, b: xp.add(a, b, out=out), a, b)
