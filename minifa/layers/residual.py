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
    error_equation = "delta_below = what the body sends + what the shortcut sends"

    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer] = (), name: str | None = None) -> None:
        super().__init__(name)
        for what, layers in (("body", body), ("shortcut", shortcut)):
            if not isinstance(layers, (list, tuple)) or not all(isinstance(one, Layer) for one in layers):
                raise TypeError(f"the {what} of {self} is a list of layers, got {layers!r}")
        if not body:
            raise ValueError(f"{self} needs at least one layer in its body")
        self.body, self.shortcut = list(body), list(shortcut)

    def children(self) -> Iterator[tuple[str, list[Layer]]]:
        yield "body", self.body
        yield "shortcut", self.shortcut

    def infer(self, shape: Shape) -> Shape:
        ends = [infer_chain(layers, shape, f"the input of {self.name!r}") for _, layers in self.children()]
        if ends[0] != ends[1]:
            raise ValueError(
                f"{self}: its body ends in {format_shape(ends[0])}, its shortcut in {format_shape(ends[1])} per example"
            )
        return ends[0]

    def forward(self, x: Array, ctx: Pass) -> Array:
        y = forward_chain(self.body, x, ctx)
        past = forward_chain(self.shortcut, x, ctx)
        if y.shape != past.shape:
            self.infer(x.shape[1:])
        return _sum(y, past)

    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        through_body = backward_chain(self.body, delta, rule)
        past = backward_chain(self.shortcut, delta, rule)
        if not self.needs_input_gradient or past is None:
            return through_body if self.needs_input_gradient else None
        return past if through_body is None else _sum(through_body, past)


def _sum(a: Array, b: Array) -> Array:
    return elementwise(lambda out, a, b: xp.add(a, b, out=out), a, b)
