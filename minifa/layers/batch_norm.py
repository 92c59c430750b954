"""Batch normalisation (Ioffe & Szegedy 2015), over the batch and, for images, over all positions: one mean and
variance per feature or channel.

    xhat = (x - mean) / sqrt(var + eps)        y = gamma * xhat + beta
    dL/dgamma = sum(delta * xhat)              dL/dbeta = sum(delta)
    dL/dx = gamma / sqrt(var + eps) * (delta - mean(delta) - xhat * mean(delta * xhat))

A frozen layer normalises with its running statistics in training and in evaluation and does not update them: mean and
var are constants, and dL/dx = gamma / sqrt(var + eps) * delta.

The derivative is exact under every learning rule, although gamma multiplies the error and could be regarded as a
weight.
"""

from __future__ import annotations

__all__ = ["BatchNorm"]

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .. import backend
from ..backend import Array, quietly, xp
from ..linalg import as_matrix
from ..parallel.chunks import add_each, by_rows, each_chunk, reduce_chunks, sum_rows
from ..validation import Shape, check_bool, check_float, check_int
from .base import Pass, Teacher, array_property
from .normalisation import Norm

FAR = 16  # standard deviations from zero; on the CPU a mean nearer to zero is accurate and stays as it is computed


class BatchNorm(Norm):
    """Batch normalisation of inputs (N, features) or images (N, H, W, features), with the parameters of PyTorch.

    Args:
        features: number of features per example, or of channels.
        eps: added to the variance.
        momentum: running = (1 - momentum) * running + momentum * batch; the running variance is unbiased.
        affine: whether the layer has gamma and beta.
        name: overrides the default name that the network assigns.

    Raises:
        TypeError: features that is not an int.
        ValueError: fewer than one feature, momentum outside 0..1, eps not positive; in use, inputs of a different
            width, or training on a single value per feature (a batch of one without positions), which has no variance.

    >>> layer = mf.BatchNorm(1, momentum=0.5)
    >>> y = layer.forward(mf.asarray([[10.0], [14.0]]), mf.Pass(training=True))
    >>> [round(float(one), 3) for one in y[:, 0]]
    [-1.0, 1.0]
    >>> float(layer.running_mean[0]), float(layer.running_var[0])  # 12 / 2; 1 / 2 + 8 / 2
    (6.0, 4.5)
    """

    kind = "batchnorm"
    buffer_names = ("running_mean", "running_var")
    running_mean = array_property("running_mean", "The mean used in evaluation (features,).")
    running_var = array_property("running_var", "The variance used in evaluation (features,).")

    def __init__(
        self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, name: str | None = None
    ) -> None:
        super().__init__(eps, name)
        self.features = check_int(features, f"the number of features of {self}")
        self.affine = check_bool(affine, f"affine of {self}")
        self.momentum = check_float(momentum, f"momentum of {self}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"{self} must have momentum in [0, 1], got momentum={momentum}")
        self._create_parameters((self.features,), self.affine, self.affine)

    @property
    def error_equation(self) -> str:  # type: ignore[override]  # it depends on whether the layer is frozen
        scale = "gamma / sqrt(var + eps)" if self.affine else "1 / sqrt(var + eps)"
        if self.frozen:
            return f"delta_below = {scale} * delta"
        return f"delta_below = {scale} * (delta - mean(delta) - xhat * mean(delta * xhat)){self.gradient_equation}"

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.running_var, self.running_mean = numpy.ones(self.features), numpy.zeros(self.features)

    def infer(self, shape: Shape) -> Shape:
        if len(shape) not in (1, 3) or shape[-1] != self.features:
            raise self.shape_error(f"{self.features} features or images of {self.features} channels", shape)
        return shape

    @quietly
    def forward(self, x: Array, ctx: Pass) -> Array:
        self.check_input(x, ctx)
        self.cache = None
        if not ctx.training or self.frozen:
            mean, inverse = self.running_mean, 1 / xp.sqrt(self.running_var + self.eps)
            self.cache = (x, mean, inverse) if ctx.training else None
            return self._normalise(x, mean, inverse)
        flat = as_matrix(x)
        n = len(flat)
        if n == 1:
            raise ValueError(
                f"a training batch of {self} must have two or more values per feature, got one: use a larger batch"
            )
        mean, var = _moments(flat)
        if ctx.update_statistics:
            self._update_running(self.running_mean, mean)
            self._update_running(self.running_var, var, n / (n - 1))
        inverse = 1 / xp.sqrt(var + self.eps)
        self.cache = x, mean, inverse
        return self._normalise(x, mean, inverse)

    def _normalise(self, x: Array, mean: Array, inverse: Array) -> Array:
        """gamma * (x - mean) * inverse + beta."""
        scale = self._scaled(inverse)
        return _in_chunks(_affine, (x,), (scale, (self.beta if self.affine else 0) - mean * scale))

    def _scaled(self, inverse: Array) -> Array:
        return self.gamma * inverse if self.affine else inverse

    def _update_running(self, running: Array, batch: Array, factor: float = 1.0) -> None:
        running *= 1 - self.momentum
        running += (self.momentum * factor) * batch

    @quietly
    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        x, mean, inverse = self.cached()
        self.check_error(delta, x.shape)
        if self.frozen:
            return delta * self._scaled(inverse) if self.needs_input_gradient else None
        flat_x, flat_delta = as_matrix(x), as_matrix(delta)
        n = len(flat_x)
        beta_grad, by_centred = _sums(flat_x, mean, flat_delta)
        gamma_grad = by_centred * inverse
        if self.affine:
            self.grads = {"gamma": gamma_grad, "beta": beta_grad}
        if not self.needs_input_gradient:
            return None
        scale = self._scaled(inverse)
        factor = scale * (-1 / n)
        by_x = factor * inverse * gamma_grad  # the factor of x in the exact derivative
        shift = factor * beta_grad - mean * by_x
        return _in_chunks(_combine, (x, delta), (by_x, scale, shift))

    def symbols(self) -> dict[str, Any]:
        if self.cache is None:
            return {}
        x, mean, inverse = self.cache
        return {"mu": mean, "var": 1 / inverse**2 - self.eps, "eps": self.eps, "xhat": (x - mean) * inverse}

    def varies(self, batch: int) -> bool:
        """Whether training is possible with this batch size: more than one value per feature, or a frozen layer."""
        positions = math.prod(self.output_shape[:-1]) if self.output_shape else 1
        return self.frozen or batch * positions > 1


def _in_chunks(write: Callable[..., None], arrays: Sequence[Array], vectors: Sequence[Array]) -> Array:
    """A new array of the arrays' shape, (N, ..., features), filled in chunks by ``write(out, *arrays, *vectors)``."""
    out = xp.empty(arrays[-1].shape, arrays[-1].dtype)

    def piece(rows: slice) -> None:
        by_rows(write, [as_matrix(array[rows]) for array in (out, *arrays)], vectors)

    each_chunk(len(out), (1 + len(arrays)) * arrays[0].nbytes // len(out), piece)
    return out


def _affine(out: Array, x: Array, scale: Array, shift: Array) -> None:
    """out = x * scale + shift."""
    xp.multiply(x, scale, out=out)
    out += shift


def _combine(out: Array, x: Array, delta: Array, by_x: Array, by_delta: Array, shift: Array) -> None:
    """out = x * by_x + delta * by_delta + shift."""
    _affine(out, x, by_x, shift)
    out += delta * by_delta


def _minus(x: Array, mean: Array) -> Array:
    """x - mean for each row of x."""
    out = xp.empty(x.shape, x.dtype)
    by_rows(lambda out, x, mean: xp.subtract(x, mean, out=out), (out, x), (mean,))
    return out


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each column, in one pass over memory.

    Each chunk yields its mean and the sum of squares about it; two chunks are merged as in Chan, Golub & LeVeque 1983,
    which avoids cancellation. If the mean is many standard deviations from zero, rounding in its sum is large compared
    with the standard deviation; the mean of the centred values corrects it. A device always makes this correction, so
    that its means may differ from NumPy's in the last bits.
    """

    def piece(rows: slice) -> tuple[int, Array, Array]:
        part = x[rows]
        mean = sum_rows(part) / len(part)
        centred = _minus(part, mean)
        squares = sum_rows(centred, centred)
        if not backend.cpu_chunks():  # on a device the correction costs less than the question whether it is needed
            mean = mean + sum_rows(centred) / len(part)
        elif (far := mean * mean * len(part) > FAR**2 * squares).any():
            mean = mean + far * (sum_rows(centred) / len(part))
        return len(part), mean, squares

    def join(a: tuple[int, Array, Array], b: tuple[int, Array, Array]) -> tuple[int, Array, Array]:
        n, shift = a[0] + b[0], b[1] - a[1]
        return n, a[1] + shift * (b[0] / n), a[2] + b[2] + shift * shift * (a[0] * b[0] / n)

    n, mean, squares = reduce_chunks(len(x), 2 * x.shape[1] * x.dtype.itemsize, piece, join)
    return mean, squares / n


def _sums(x: Array, mean: Array, delta: Array) -> list[Array]:
    """sum(delta) and sum(delta * (x - mean)) over the rows."""

    def piece(rows: slice) -> list[Array]:
        part = delta[rows]
        return [sum_rows(part), sum_rows(part, _minus(x[rows], mean))]

    return reduce_chunks(len(x), 3 * x.shape[1] * x.dtype.itemsize, piece, add_each)
