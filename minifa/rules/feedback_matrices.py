"""The matrices `Rule.B` as a read-only mapping that shows names and shapes."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Iterator, Mapping

from ..backend import Array
from ..network import Network
from ..representations import HtmlRepr
from ..validation import format_shape


class FeedbackMatrices(Mapping[str, Array], HtmlRepr):
    """A read-only view of the feedback matrices of a rule, by the name of the layer.

    Args:
        matrices: the dictionary of the rule.
        net: the network of the rule, whose weights are displayed beside the matrices; None: not attached.
    """

    def __init__(self, matrices: dict[str, Array], net: Network | None) -> None:
        self._matrices, self.net = matrices, net

    def __getitem__(self, name: str) -> Array:
        return self._matrices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)

    def __repr__(self) -> str:
        shapes = (f"{name} {format_shape(matrix.shape)}" for name, matrix in self._matrices.items())
        return f"<B: {', '.join(shapes) or 'no matrices'}>"
