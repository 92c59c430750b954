"""Layers of vector networks (Clark, Abbott & Chung 2021): a unit is a vector of K numbers, and a weight is one number
for each pair of units.

    Vectors        (N, K m) -> (N, K, m)      the output of an ordinary layer as m units
    VectorLinear   y = x @ W + b              W (m_in, m_out) is shared by the K components, b (K, m_out) is not
    Gate           y = x * 1[t . x >= 0]      t (K, m) of -1 and 1, drawn once; t . x is the sum over the components

With K classes, a VectorLinear of one output and a Flatten give the K outputs. Under backpropagation the error at the
outputs of the gates is e (x) g: the output error e (N, K) times one number for each unit, g (N, m). With W >= 0 above
the first layer g >= 0, so that e has the sign of the error at every unit (`minifa.rules.GEVB`).

The units form pairs, ON (2j) and OFF (2j + 1), with opposite t. With opposite activities, which the initialisers
``onoff_input`` and ``onoff`` give, both gates of a pair are open at the same time.
"""

from __future__ import annotations

__all__ = ["Gate", "VectorLinear", "Vectors"]

from typing import Any

from ..backend import Array, quietly, xp
from ..initialisers import Initialiser
from ..parallel.chunks import join_chunks, matmul, sum_rows
from ..rng import generator
from ..validation import Shape, check_int
from .activations import Activation
from .base import Layer, Pass, Teacher, array_property, new_parameter
from .weighted import Weighted


class Vectors(Layer):
    """The features of an example as K-vectors: (N, K m) to (N, K, m), component by component.

    Args:
        dimension: K, the number of components of a vector; for `minifa.rules.GEVB` the number of outputs.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: a dimension that is not an int.
        ValueError: a dimension below 1; in use, a number of features that is not a multiple of it.

    >>> x = mf.asarray([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])
    >>> mf.Vectors(2).forward(x, mf.Pass()).tolist()  # three units; the vector of the first is (1, 10)
    [[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]]
    """

    kind = "vectors"
    sends_targets = True
    equation = "y = x as vectors of K components"
    error_equation = "delta_below = delta in the shape of x"

    def __init__(self, dimension: int, name: str | None = None) -> None:
        super().__init__(name)
        self.dimension = check_int(dimension, f"the dimension of {self}")

    def infer(self, shape: Shape) -> Shape:
        if len(shape) != 1 or shape[0] % self.dimension:
            raise self.shape_error(f"a multiple of {self.dimension} features", shape)
        return self.dimension, shape[0] // self.dimension

    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        self.cache = x.shape if ctx.training else None
        return x.reshape(len(x), *self.infer(x.shape[1:]))

    def backward(self, delta: Array, rule: Teacher) -> Array:
        n, features = self.cached()
        self.check_error(delta, (n, *self.infer((features,))))
        return delta.reshape(n, features)


class VectorLinear(Weighted):
    """A linear layer between units that are K-vectors, y = x @ W + b: (N, K, in_features) to (N, K, out_features).

    W (in_features, out_features) is shared by the K components; the bias (K, out_features) is a vector for each unit.
    Rules that carry or broadcast errors run on it as on `Linear`.

    Args:
        in_features, out_features: number of units below and in the layer.
        dimension: K, the number of components of a vector.
        bias: whether b is added; it is initialised to zero.
        init: an initialiser or its name; "onoff" for weights that are at least 0.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: a size that is not an int.
        ValueError: a size below 1, an unknown initialiser; in `forward`, an input of another shape.

    >>> layer = mf.VectorLinear(2, 1, dimension=3)
    >>> layer.W, layer.b = mf.asarray([[1.0], [2.0]]), mf.asarray([[0.0], [0.0], [7.0]])
    >>> x = mf.asarray([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])  # the vectors (1, 2, 3) and (10, 20, 30)
    >>> layer.forward(x, mf.Pass()).tolist()
    [[[21.0], [42.0], [70.0]]]
    """

    kind = "vectorlinear"
    operand = "x"
    error_term = "{}"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        dimension: int,
        bias: bool = True,
        init: str | Initialiser = "he_normal",
        name: str | None = None,
    ) -> None:
        self.dimension = check_int(dimension, "the dimension of a VectorLinear")
        super().__init__((in_features, out_features), bias, init, name)

    @property
    def bias_shape(self) -> Shape:
        return self.dimension, self.weight_shape[1]

    @property
    def gradient_equation(self) -> str:
        """The equation of the gradients that `store_gradients` computes."""
        bias = "\ndb = sum of delta over the examples" if self.has_bias else ""
        return "dW = sum of x_k.T @ delta_k over the components k" + bias

    def infer(self, shape: Shape) -> Shape:
        if shape != (self.dimension, self.weight_shape[0]):
            hint = f": put Vectors({self.dimension}) before it" if len(shape) == 1 else ""
            error = self.shape_error(f"{self.dimension} components x {self.weight_shape[0]} units", shape)
            raise ValueError(f"{error}{hint}")
        return self.bias_shape

    def columns(self, x: Array) -> Array:
        return x.reshape(-1, x.shape[-1])

    def uncolumns(self, columns: Array, shape: Shape) -> Array:
        return columns.reshape(shape)

    def positions(self, x_shape: Shape) -> Shape:
        """Output positions of a batch with this input shape: (N, K)."""
        return x_shape[:2]

    def project(self, x: Array, matrix: Array, bias: Array | None = None) -> Array:
        y = super().project(x, matrix)
        if bias is not None:
            y += bias
        return y

    def weight_and_bias_gradients(self, x: Array, delta: Array) -> tuple[Array, Array | None]:
        product = matmul(self.columns(x).T, self.columns(delta))
        return product, sum_rows(delta.reshape(len(delta), -1)).reshape(delta.shape[1:]) if self.has_bias else None


class Gate(Activation):
    """The nonlinearity of vector units, y = x * 1[t . x >= 0]: a vector passes or is set to zero as a whole.

    t (K, features), with entries -1 and 1, is drawn once from the network's seed and is part of the network's state.
    Neighbouring units 2j and 2j + 1 have opposite t; an odd last unit has no partner.

    Args:
        features: number m of units.
        dimension: K, the number of components of a vector.
        name: overrides the default name that the network assigns.

    Attributes:
        t: the fixed vectors (K, features).

    Raises:
        TypeError: a size that is not an int.
        ValueError: a size below 1; in use, an input of another shape.

    >>> gate = mf.Gate(2, dimension=3)
    >>> gate.t = [[1, -1], [1, -1], [1, -1]]
    >>> x = mf.asarray([[[4.0, 4.0], [-3.0, -3.0], [2.0, 2.0]]])  # the vector (4, -3, 2) at both units
    >>> gate.forward(x, mf.Pass()).tolist()  # t . x is 3 and -3
    [[[4.0, 0.0], [-3.0, -0.0], [2.0, 0.0]]]
    """

    kind = "gate"
    sends_targets = False  # no function of single numbers, as the rules with targets expect of an activation
    buffer_names = ("t",)
    equation = "y = x * open, open = 1 where the sum of t * x over the components is >= 0, else 0"
    error_equation = "delta_below = delta * open"
    t = array_property("t", "The fixed vectors (K, features). An assigned array is copied; its shape must match.")

    def __init__(self, features: int, dimension: int, name: str | None = None) -> None:
        super().__init__(name)
        self.features = check_int(features, f"the number of features of {self}")
        self.dimension = check_int(dimension, f"the dimension of {self}")
        self.initialise(seed=0)

    def initialise(self, seed: int) -> None:
        t = 2.0 * generator(seed, "weights", self.name).integers(0, 2, (self.dimension, self.features)) - 1.0
        pairs = self.features // 2 * 2
        t[:, 1:pairs:2] = -t[:, 0:pairs:2]
        self._t = new_parameter(t)

    def infer(self, shape: Shape) -> Shape:
        if shape != (self.dimension, self.features):
            raise self.shape_error(f"{self.dimension} components x {self.features} units", shape)
        return shape

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        n, bytes_each = len(x), self.t.size * x.dtype.itemsize
        is_open = join_chunks(
            (n, 1, self.features), bool, bytes_each, lambda rows: xp.einsum("nkj,kj->nj", x[rows], self.t)[:, None] >= 0
        )
        self.cache = is_open if ctx.training else None
        return self._times(x, is_open)

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array:
        is_open = self.cached()
        self.check_error(delta, (len(is_open), self.dimension, self.features))
        return self._times(delta, is_open)

    def _times(self, vectors: Array, is_open: Array) -> Array:
        """vectors (N, K, m) * is_open (N, 1, m)."""
        bytes_each = self.t.size * vectors.dtype.itemsize
        return join_chunks(vectors.shape, vectors.dtype, bytes_each, lambda rows: vectors[rows] * is_open[rows])

    def symbols(self) -> dict[str, Any]:
        return {} if self.cache is None else {"t": self.t, "open": self.cache}
