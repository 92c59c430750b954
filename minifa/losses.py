"""Losses. A loss returns the value of each example and its error dL/d(output); the rule applies the 1/N of the batch
mean.

Targets are class indices on the host, (N,) integers, or floats (N, n_out) in the network's dtype. Class indices are
converted to one-hot rows. Under `SigmoidCrossEntropy` a single output can stand for two classes: it is positive for
class 1, whose target is 1.
"""

from __future__ import annotations

__all__ = ["HalfSquaredError", "LOSSES", "Loss", "MeanSquaredError", "SigmoidCrossEntropy", "SoftmaxCrossEntropy"]

from typing import Any

import numpy

from . import array_checks, backend, extension_checks
from .backend import Array, xp
from .registry import KnownOptions, as_call, register_table
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
    single_output_is_binary = False  # whether the sign of a single output is one of two classes

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        extension_checks.guard(cls, Loss, extension_checks.LOSS_CHECKS)

    def __repr__(self) -> str:
        return as_call(self)

    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        contract = "(self, output, target): each example's value (N,) and error (N, n_out), as a pair"
        raise extension_checks.not_implemented(self, "__call__", contract)

    def check_pair(self, output: Array, target: Array) -> None:
        """Raise TypeError or ValueError unless both are arrays of the same shape (N, n_out)."""
        check_outputs(output)
        array_checks.require_like(target, output.shape, "a loss", "targets")

    def rows(self, y: Any, n: int, n_out: int, dtype: Any) -> Array:
        """Convert targets for outputs (n, n_out) to rows of this dtype on the backend. Class indices become one-hot
        rows.

        Raises:
            ValueError: a different number of targets than outputs, classes outside 0..n_out-1, or a wrong shape.
            TypeError: targets that are neither integers nor floating-point numbers.
        """
        y = y if isinstance(y, (numpy.ndarray, xp.ndarray)) else backend.numbers_of(y, "the targets")
        if y.dtype.kind in "iu":
            classes, is_binary = backend.to_host(y), n_out == 1 and self.single_output_is_binary
            if is_binary:
                check_classes(classes, n, 2)
                return xp.asarray(classes[:, None].astype(dtype))
            hot = one_hot(classes, n_out, dtype) if classes.shape == (n,) else None
            if hot is None or numpy.count_nonzero(hot) < n:  # no entry is 1 for a class outside 0..n_out-1
                check_classes(classes, n, n_out)
            return xp.asarray(hot)
        if y.dtype.kind != "f":
            raise TypeError(f"targets must be class indices (integers) or floating-point rows, got dtype {y.dtype}")
        if y.shape != (n, n_out):
            hint = ": convert class indices to integers, y.astype(int)" if y.ndim == 1 else ""
            raise ValueError(f"targets must have the outputs' shape {(n, n_out)}, got {y.shape}{hint}")
        return backend.asarray(y, dtype)

    def target(self, y: Any, output: Array) -> Array:
        """The targets of a batch as the loss uses them, of the outputs' shape and dtype (see `rows`).

        Raises:
            ValueError, TypeError: as for `rows`.

        >>> mf.HalfSquaredError().target([2, 0], output=mf.asarray(np.zeros((2, 3)))).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        if fit_together(output, y):
            return y
        check_outputs(output)
        n, n_out = output.shape
        return self.rows(y, n, n_out, output.dtype)


def fit_together(output: Any, target: Any) -> bool:
    """Whether both are rows (N, n_out) of the same shape and floating-point dtype on the backend."""
    if not type(output) is type(target) is xp.ndarray:
        return False
    shape, dtype = output.shape, output.dtype
    return len(shape) == 2 and 0 not in shape and shape == target.shape and dtype == target.dtype and dtype.kind == "f"


def check_outputs(output: Any) -> None:
    """Raise TypeError or ValueError unless this is a floating-point array (N, n_out) of the backend."""
    array_checks.require_float(output, "a loss")
    if output.ndim != 2:
        raise ValueError(
            f"a loss expects outputs of shape (N, n_out), got {output.shape}: end the network with a Linear layer"
        )


def check_classes(classes: numpy.ndarray, n: int, n_out: int) -> None:
    """Raise ValueError unless these are n class indices in 0..n_out-1."""
    if classes.shape != (n,):
        hint = ": convert one-hot rows to floats, y.astype('float32')" if classes.ndim == 2 else ""
        raise ValueError(f"class indices for {n} outputs must have shape ({n},), got {classes.shape}{hint}")
    if numpy.maximum.reduce(classes.astype("uint64")) >= n_out:  # as unsigned, a negative number is large
        hint = ": a single output stands for two classes under SigmoidCrossEntropy only" if n_out == 1 else ""
        raise ValueError(f"class indices must lie in 0..{n_out - 1}, got {classes.min()}..{classes.max()}{hint}")


def classes_of(rows: Array) -> Array:
    """The classes of outputs or target rows (N, n_out): the index of the largest entry; with a single output 1 where it
    is above 0, else 0. Integers (N,)."""
    return rows.argmax(axis=1) if rows.shape[1] > 1 else (rows[:, 0] > 0).astype("int64")


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
            raise ValueError(f"label_smoothing must lie in [0, 1], got {label_smoothing}")

    def target(self, y: Any, output: Array) -> Array:
        target = super().target(y, output)
        if self.label_smoothing == 0:
            return target
        return (1 - self.label_smoothing) * target + self.label_smoothing / output.shape[1]

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        if not fit_together(output, target):
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
    without overflow. With a single output, class indices 0 and 1 are its targets t.

    >>> output, target = mf.asarray([[0.0, 0.0]]), mf.asarray([[1.0, 0.0]])
    >>> values, errors = mf.SigmoidCrossEntropy()(output, target)
    >>> round(float(values[0]), 4), errors.tolist()
    (0.6931, [[-0.25, 0.25]])
    """

    name = "sigmoid_cross_entropy"
    equation = "L = mean(-t * log(sigmoid(a)) - (1 - t) * log(1 - sigmoid(a)))"
    error_equation = "e = (sigmoid(a) - t) / n_out / n"
    single_output_is_binary = True

    @backend.quietly
    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        if not fit_together(output, target):
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
        if not fit_together(output, target):
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
        if not fit_together(output, target):
            self.check_pair(output, target)
        difference = output - target
        return (difference * difference).sum(axis=1) / 2, difference


LOSSES: dict[str, type[Loss]] = {
    cls.name: cls for cls in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError, HalfSquaredError)
}
register_table("loss", LOSSES)
