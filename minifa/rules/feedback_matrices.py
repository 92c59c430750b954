"""The matrices `Rule.B` as a read-only mapping that shows names and shapes."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Iterator, Mapping
from typing import NoReturn

from ..backend import Array
from ..network import Network
from ..registry import unknown
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
        if name not in self._matrices:
            raise KeyError(unknown(self._matrices, name, "matrix of B"))
        return self._matrices[name]

    def __contains__(self, name: object) -> bool:
        return name in self._matrices

    def __setitem__(self, name: str, matrix: object) -> NoReturn:
        raise TypeError(f"rule.B is read-only: rule.set_feedback({name!r}, matrix) replaces a matrix")

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)

    def __repr__(self) -> str:
        shapes = (f"{name} {format_shape(matrix.shape)}" for name, matrix in self._matrices.items())
        return f"<B: {', '.join(shapes) or 'no matrices'}>"
