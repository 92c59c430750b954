"""Losses. A loss returns the value of each example and its error dL/d(output); the rule applies the 1/N of the batch
mean.

Targets are class indices on the host, (N,) integers, or floats (N, n_out) in the network's dtype. Class indices are
converted to one-hot rows.
"""

from __future__ import annotations

__all__ = ["HalfSquaredError", "LOSSES", "Loss", "MeanSquaredError", "SigmoidCrossEntropy", "SoftmaxCrossEntropy"]

from typing import Any

import numpy

from . import backend, extension_checks
from .backend import Array, xp
from .registry import KnownOptions, register_table
from .validation import check_float


class Loss(KnownOptions):
    """Base class of losses. Calling a loss with outputs (N, n_out) and targets from `target` returns the per-example
    values (N,) and errors (N, n_out).

    Values and errors (dL/da of each example) are not averaged: the rule divides both by N.

    Attributes:
        equation, error_equation: the mean loss of the batch and its gradient with respect to the outputs a; n is the
            number of examples, n_out the number of outputs.
    """

    name = ""
    equation = ""
    error_equation = ""

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        extension_checks.guard(cls, Loss, extension_checks.LOSS_CHECKS)

    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        told = "(self, output, target): the pair of each example's value (N,) and error (N, n_out)"
        raise extension_checks.not_implemented(self, "__call__", told)

    def check_pair(self, output: Array, target: Array) -> None:
        """Raise TypeError or ValueError unless both are arrays of the same shape (N, n_out)."""
        backend.require_float(output, "a loss")
        backend.require_like(target, output.shape, "a loss", "targets")
        if output.ndim != 2:
            raise ValueError(f"a loss expects outputs of shape (N, n_out), got {output.shape}")

    def check(self, y: Any, n: int, n_out: int) -> None:
        """Raise ValueError or TypeError unless y is a valid target for outputs (n, n_out); see `target`."""
        y = y if isinstance(y, (numpy.ndarray, xp.ndarray)) else backend.numbers_of(y, "what targets are made of")
        if y.dtype.kind in "iu":
            check_classes(backend.to_host(y), n, n_out)
        elif y.dtype.kind != "f":
            raise TypeError(f"targets are class numbers (integers) or floating-point rows, got dtype {y.dtype}")
        elif y.shape != (n, n_out):
            hint = "; class numbers must be integers, y.astype(int)" if y.ndim == 1 else ""
            raise ValueError(f"targets of shape {y.shape} do not fit outputs of shape {(n, n_out)}{hint}")

    def target(self, y: Any, output: Array) -> Array:
        """Convert targets to an array of the outputs' shape and dtype. Class indices become one-hot rows and are
        validated once, on the host.

        Raises:
            ValueError: a different number of targets than outputs, classes outside 0..n_out-1, or a wrong shape.
            TypeError: targets that are neither integers nor floating-point numbers.

        >>> mf.HalfSquaredError().target([2, 0], output=mf.asarray(np.zeros((2, 3)))).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        backend.require_float(output, "a loss")
        if output.ndim != 2:
            raise ValueError(
                f"losses expect outputs of shape (N, n_out), got {output.shape}: end the network with a Linear layer"
            )
        y = y if isinstance(y, (numpy.ndarray, xp.ndarray)) else backend.numbers_of(y, "what targets are made of")
        n, n_out = output.shape
        self.check(y, n, n_out)
        if y.dtype.kind in "iu":
            return xp.asarray(one_hot(backend.to_host(y), n_out, output.dtype))
        return backend.asarray(y, output.dtype)


def check_classes(classes: numpy.ndarray, n: int, n_out: int) -> None:
    """Raise ValueError unless these are n class indices in 0..n_out-1."""
    if classes.shape != (n,):
        hint = "; one-hot rows are floats, y.astype('float32')" if classes.ndim == 2 else ""
        raise ValueError(f"{n} outputs need {n} class numbers in one row, got an array of shape {classes.shape}{hint}")
    if numpy.maximum.reduce(classes.astype("uint64")) >= n_out:  # as unsigned, a negative number is large
        raise ValueError(f"class numbers must lie in 0..{n_out - 1}, got {classes.min()}..{classes.max()}")


def one_hot(classes: numpy.ndarray, n_out: int, dtype: Any) -> numpy.ndarray:
    """Convert class indices (N,) to a one-hot host array (N, n_out) of the given dtype."""
    return (classes[:, None] == numpy.arange(n_out)).astype(dtype)


class SoftmaxCrossEntropy(Loss):
    """L = -sum(t * log softmax(a)); dL/da = softmax(a) - t. Computed through log-softmax, which avoids log(0).

    Args:
        label_smoothing: s in 0..1; targets become (1 - s) t + s / n_out (Szegedy et al. 2016), as in PyTorch.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: s outside 0..1.

    With equal outputs for two classes, the loss is log 2:

    >>> loss, output = mf.SoftmaxCrossEntropy(), mf.asarray([[0.0, 0.0]])
    >>> values, errors = loss(output, loss.target([0], output))
    >>> round(float(values[0]), 4), errors.tolist()
    (0.6931, [[-0.5, 0.5]])
    """

    name = "softmax_cross_entropy"
    equation = "L = mean(-sum(t * log(softmax(a))))"
    error_equation = "e = (softmax(a) - t) / n"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = check_float(label_smoothing, "label_smoothing")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing lies in 0..1, got {label_smoothing}")

    def target(self, y: Any, output: Array) -> Array:
        target = super().target(y, output)
        if self.label_smoothing == 0:
            return target
        return (1 - self.label_smoothing) * target + self.label_smoothing / output.shape[1]

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        self.check_pair(output, target)
        shifted = output - output.max(axis=1, keepdims=True)
        log_softmax = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))
        terms = target * log_softmax
        xp.copyto(terms, 0, where=target == 0)  # 0 * log(0) is 0: a class of probability 0 that is not the target
        errors = xp.exp(log_softmax)
        errors *= target.sum(axis=1, keepdims=True)
        errors -= target
        return -terms.sum(axis=1), errors


class SigmoidCrossEntropy(Loss):
    """Mean over outputs of -(t log s + (1 - t) log(1 - s)), s = sigmoid(a); dL/da = (s - t) / n_out. Computed
    without overflow.

    >>> output, target = mf.asarray([[0.0, 0.0]]), mf.asarray([[1.0, 0.0]])
    >>> values, errors = mf.SigmoidCrossEntropy()(output, target)
    >>> round(float(values[0]), 4), errors.tolist()
    (0.6931, [[-0.25, 0.25]])
    """

    name = "sigmoid_cross_entropy"
    equation = "L = mean(-t * log(sigmoid(a)) - (1 - t) * log(1 - sigmoid(a)))"
    error_equation = "e = (sigmoid(a) - t) / n_out / n"

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        self.check_pair(output, target)
        small = xp.exp(-xp.abs(output))
        wrong = (output > 0) - target  # 0 if the sign of the output agrees with the target
        terms = output * wrong
        xp.copyto(terms, 0, where=wrong == 0)  # an infinite output with the correct sign: inf * 0 is NaN
        sigmoid = xp.exp(xp.minimum(output, 0)) / (1 + small)
        return (terms + xp.log1p(small)).mean(axis=1), (sigmoid - target) / output.shape[1]


class MeanSquaredError(Loss):
    """Mean over outputs of (a - t)^2; dL/da = 2 (a - t) / n_out. PyTorch's MSELoss.

    >>> output, target = mf.asarray([[3.0, 1.0]]), mf.asarray([[1.0, 1.0]])
    >>> values, errors = mf.MeanSquaredError()(output, target)
    >>> values.tolist(), errors.tolist()
    ([2.0], [[2.0, 0.0]])
    """

    name = "mean_squared_error"
    equation = "L = mean((a - t)^2)"
    error_equation = "e = 2 * (a - t) / n_out / n"

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        self.check_pair(output, target)
        difference = output - target
        return (difference * difference).mean(axis=1), difference * (2 / output.shape[1])


class HalfSquaredError(Loss):
    """Half the sum over outputs of (a - t)^2; dL/da = a - t. The loss used in most analyses (Lillicrap et al. 2016).

    >>> output, target = mf.asarray([[4.0, 1.0]]), mf.asarray([[1.0, 1.0]])
    >>> values, errors = mf.HalfSquaredError()(output, target)
    >>> values.tolist(), errors.tolist()
    ([4.5], [[3.0, 0.0]])
    """

    name = "half_squared_error"
    equation = "L = mean(sum((a - t)^2) / 2)"
    error_equation = "e = (a - t) / n"

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        self.check_pair(output, target)
        difference = output - target
        return (difference * difference).sum(axis=1) / 2, difference


LOSSES: dict[str, type[Loss]] = {
    one.name: one for one in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError, HalfSquaredError)
}
register_table("loss", LOSSES)
