"""Validation of the return values of user-defined rules, layers, passes, losses and optimizers, at the call.

The error message names the object, the expected value and the returned value. Without this check, an array of the wrong
shape would be broadcast to a wrong result, or raise an error that names another layer.

The base classes call `guard` for every subclass defined outside of minifa. minifa's own classes are covered by tests
and are not checked at run time.
"""

from __future__ import annotations

__all__: list[str] = []

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from . import backend
from .backend import xp

PACKAGE = __name__.partition(".")[0]
SIMILARITY = 0.85  # similarity from which a method name counts as a misspelling of another one
Check = Callable[..., None]  # called with an object, its method's return value and arguments; raises if it is invalid


# Classes


def guard(cls: type, base: type, checks: Mapping[str, Check], always: tuple[str, ...] = ()) -> None:
    """Validate a user-defined class: the return values and signatures of its methods, and misspelled method names.

    Args:
        cls: a new subclass of ``base``.
        base: the class of minifa whose methods it may override.
        checks: the check of the return value, by method name.
        always: names of methods that are checked even if inherited, because they call user-defined methods.
    """
    if in_minifa(cls):
        return
    for name, meant in misspelled_methods(cls, base).items():
        warnings.warn(f"{cls.__name__}.{name} is never called: did you mean {meant}?", RuntimeWarning, stacklevel=3)
    written = [name for one in cls.__mro__ if not in_minifa(one) for name in vars(one)]  # including mixins
    for name in dict.fromkeys([*written, *always]):
        method = inspect.getattr_static(cls, name)
        parents = [vars(one)[name] for one in cls.__mro__[1:] if name in vars(one) and in_minifa(one)]
        if not inspect.isfunction(method) or not parents or hasattr(method, "is_checked"):
            continue
        if name in written and name != "__init__":
            method = _with_signature_check(f"{cls.__name__}.{name}", method, parents[-1])
        if name in checks:
            method = _with_result_check(method, checks[name])
        setattr(cls, name, method)


def in_minifa(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == PACKAGE


def misspelled_methods(cls: type, base: type) -> dict[str, str]:
    """Public methods of ``cls`` that are never called, each with the similarly named method of ``base``."""
    known = [name for name, one in vars(base).items() if inspect.isfunction(one) and name not in vars(cls)]
    from difflib import get_close_matches  # here: `import minifa` then need not import it

    public = [name for name, one in vars(cls).items() if inspect.isfunction(one) and name[0] != "_"]
    uncalled = [name for name in public if not any(hasattr(parent, name) for parent in cls.__bases__)]
    matches = {name: get_close_matches(name, known, 1, SIMILARITY) for name in uncalled}
    return {name: near[0] for name, near in matches.items() if near}


def require_init(owner: Any, attribute: str) -> None:
    """Raise TypeError if the base constructor, which sets this attribute, was not called."""
    if not hasattr(owner, attribute):
        raise TypeError(f"{type(owner).__name__}.__init__ must call super().__init__() first")


def not_implemented(owner: Any, method: str, description: str) -> NotImplementedError:
    """The exception for a required method that a class does not define; ``description`` gives its arguments and
    purpose."""
    classes = type(owner).__mro__
    base = next(one for one in reversed(classes) if method in vars(one))
    meant = [name for one in classes for name, near in misspelled_methods(one, base).items() if near == method]
    hint = f" (is {meant[0]} a misspelling of it?)" if meant else ""
    return NotImplementedError(f"{type(owner).__name__} must define {method}{description}{hint}")


def _with_signature_check(name: str, method: Any, base: Any) -> Any:
    """Return the method. If its signature does not accept the arguments it is called with, wrap it to raise a clear
    TypeError."""
    known, signature = inspect.signature(base).parameters, inspect.signature(method)
    by_name = {name: None for name, one in known.items() if one.default is not one.empty}
    try:
        signature.bind(*[None] * (len(known) - len(by_name)), **by_name)
        return method
    except TypeError:
        pass
    expected = ", ".join(known)

    @functools.wraps(method)
    def refuse(*given: Any, **options: Any) -> Any:
        try:
            signature.bind(*given, **options)
        except TypeError:
            raise TypeError(f"{name} must accept the arguments ({expected}), got the signature {signature}") from None
        return method(*given, **options)

    return refuse


def _with_result_check(method: Any, check: Check) -> Any:
    @functools.wraps(method)
    def wrapper(self: Any, *given: Any, **options: Any) -> Any:
        result = method(self, *given, **options)
        if options:
            given = inspect.signature(method).bind(self, *given, **options).args[1:]
        check(self, result, *given)
        return result

    wrapper.is_checked = True  # type: ignore[attr-defined]
    return wrapper


# Arrays


def fits(result: Any, shape: tuple[int, ...] | None, dtype: Any) -> bool:
    """Whether this is an array of the backend with this shape (None: any) and dtype."""
    return type(result) is xp.ndarray and result.dtype == dtype and (shape is None or result.shape == shape)


def expect(result: Any, shape: tuple[int, ...] | None, dtype: Any, who: str, hint: str = "") -> None:
    """Raise TypeError or ValueError unless it `fits`.

    Args:
        who: start of the message: the method and its object.
        hint: remark on the expected shape.
    """
    if fits(result, shape, dtype):
        return
    expected = f"expected an array{'' if shape is None else f' of shape {shape}'}"
    if result is None:
        raise TypeError(f"{who} returned None, {expected}: is a return statement missing?")
    if not isinstance(result, xp.ndarray) or isinstance(result, numpy.ma.MaskedArray):
        conversion = _conversion_hint(result)
        raise TypeError(
            f"{who} returned {_type_name(result)}, {expected} on the backend {backend.name()!r}{conversion}"
        )
    if result.dtype != dtype:
        raise TypeError(
            f"{who} returned an array of dtype {result.dtype}, expected {dtype}: "
            f"convert it with .astype({str(dtype)!r})"
        )
    if shape is not None and result.shape != shape:
        raise ValueError(f"{who} returned an array of shape {result.shape}, expected {shape}{hint}")


def _type_name(result: Any) -> str:
    cls = type(result)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _conversion_hint(result: Any) -> str:
    """A hint how to return an array of the backend."""
    if isinstance(result, numpy.ndarray):
        return ": compute with minifa.backend.xp instead of numpy"
    return ": convert it with minifa.asarray" if isinstance(result, (list, tuple, int, float)) else ""


def returns_none(what: str, hint: str) -> Check:
    """A check for methods that must return None, because their return value is ignored."""

    def check(owner: Any, result: Any, *given: Any) -> None:
        if result is not None:
            raise TypeError(f"{what} of {_name(owner)} must return None, got {_type_name(result)}: {hint}")

    return check


def returns_none_or_argument(what: str, position: int, argument: str) -> Check:
    """A check for methods that write into the argument at ``position``; they may return None or that argument."""

    def check(owner: Any, result: Any, *given: Any) -> None:
        if result is not None and result is not given[position]:
            raise TypeError(
                f"{what} of {_name(owner)} must return None, got {_type_name(result)}: write into {argument}, "
                f"{argument}[...] = ..."
            )

    return check


def _name(owner: Any) -> str:
    """How a message refers to a layer or rule."""
    return f"the rule {owner.label!r}" if hasattr(owner, "label") else str(owner)


# Rules


def _check_feedback(rule: Any, matrix: Any, layer: Any) -> None:
    shape = rule.feedback_shape(layer)
    if fits(matrix, shape, layer.W.dtype):
        return
    who = f"feedback of the rule {rule.label!r} for {layer}"
    if matrix is not None:
        expect(matrix, shape, layer.W.dtype, who, _shape_hint(matrix, layer))
    elif rule.crosses_weights and rule.requires_errors and not rule.overrides_teach:
        raise TypeError(
            f"{who} returned None, and no error would reach the layers below: return an array of W's shape "
            f"{layer.weight_shape}, or set requires_errors = False in the class"
        )


def _shape_hint(matrix: Any, layer: Any) -> str:
    expected = ", W's shape" + (" (fan_in, fan_out)" if len(layer.weight_shape) == 2 else "")
    shape = getattr(matrix, "shape", None)
    if shape == layer.weight_shape[::-1]:
        return f"{expected}: did you return W.T?"
    as_matrix = math.prod(layer.weight_shape[:-1]), layer.weight_shape[-1]
    return expected + (": reshape it to layer.weight_shape" if shape in (as_matrix, as_matrix[::-1]) else "")


def _check_teach(rule: Any, taught: Any, layer: Any, delta: Any) -> None:
    if taught is delta or (delta is not None and fits(taught, delta.shape, delta.dtype)):
        return
    who = f"teach of the rule {rule.label!r} for {layer}"
    if taught is not None:
        known = layer.output_shape is not None and rule.error is not None
        shape = delta.shape if delta is not None else (len(rule.error), *layer.output_shape) if known else None
        expect(taught, shape, rule.net.dtype if delta is None else delta.dtype, who, ", that of the layer's output")
    elif rule.requires_errors:
        raise TypeError(
            f"{who} returned None where an error arrived, and nothing below would learn: return delta, or set "
            "requires_errors = False in the class"
        )


def _check_carry(rule: Any, below: Any, layer: Any, delta: Any) -> None:
    if below is not None:
        shape = getattr(layer.cache, "shape", None)
        expect(below, shape, delta.dtype, f"carry of the rule {rule.label!r} for {layer}", ", that of its input")


def _check_parameters(rule: Any, result: Any) -> None:
    who = f"parameters of the rule {rule.label!r}"
    if not isinstance(result, Mapping):
        raise TypeError(f"{who} returned {_type_name(result)}, expected a dictionary {{name: (array, gradient)}}")
    for name, pair in result.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{who} returned {_type_name(pair)} for {name!r}, expected a pair (array, gradient)")
        array, gradient = pair
        expect(array, None, rule.net.dtype, f"{who}, array {name!r},")
        expect(gradient, array.shape, array.dtype, f"{who}, gradient of {name!r},", ", that of its array")


def _check_gradients(rule: Any, value: Any, net: Any, x: Any, y: Any, loss: Any) -> None:
    if getattr(value, "ndim", None) != 0 and not isinstance(value, (float, int)):
        raise TypeError(
            f"gradients of the rule {rule.label!r} returned {_type_name(value)}, expected a number: the batch's mean "
            "loss, as self.compute_error(output, y, loss) returns it"
        )
    if (rule.output is None or rule.target is None) and getattr(y, "ndim", 1) == 1:
        raise TypeError(
            f"gradients of the rule {rule.label!r} must set the output and target of the pass: "
            "call self.compute_error(output, y, loss)"
        )


def _check_predict_batch(rule: Any, output: Any, net: Any, x: Any) -> None:
    who = f"predict_batch of the rule {rule.label!r}"
    expect(output, None, net.dtype, who)
    if output.ndim < 2 or len(output) != len(x):
        raise ValueError(
            f"{who} returned an array of shape {output.shape}, expected ({len(x)}, n_out): one row for each example"
        )


RULE_CHECKS: dict[str, Check] = {
    "draw": returns_none("draw", "store the drawn matrices in self.memory"),
    "feedback": _check_feedback,
    "teach": _check_teach,
    "carry": _check_carry,
    "parameters": _check_parameters,
    "constrain": returns_none("constrain", "change the layers' W in place"),
    "update_feedback": returns_none("update_feedback", "update the arrays in self.memory"),
    "gradients": _check_gradients,
    "predict_batch": _check_predict_batch,
}


# Layers


def _check_forward(layer: Any, y: Any, x: Any, ctx: Any) -> None:
    known = layer.checked_shapes  # infer is called once per input shape
    shape = known.get(x.shape)
    if shape is None:
        shape = known[x.shape] = (len(x), *layer.infer(tuple(x.shape[1:])))
    if ctx.training and ctx.keep:  # the backward pass belongs to this pass
        known["input"] = x.shape
    if not fits(y, shape, x.dtype):
        expect(y, shape, x.dtype, f"forward of {layer}", f", as returned by its infer({tuple(x.shape[1:])})")


def _check_backward(layer: Any, below: Any, delta: Any, rule: Any) -> None:
    shape, dtype = layer.checked_shapes.get("input"), delta.dtype
    if below is None:
        may_send_none = hasattr(layer, "carry") or any(True for _ in layer.children())  # the rule may send nothing down
        if layer.needs_input_gradient and (getattr(rule, "crosses_weights", False) or not may_send_none):
            raise TypeError(
                f"backward of {layer} returned None, so no layer below it would learn: return dL/d(its input), or "
                "zeros if it propagates no error"
            )
    elif not fits(below, shape, dtype):
        expect(below, shape, dtype, f"backward of {layer}", ", that of its input")
    for key, array in layer.parameters().items():
        gradient = layer.grads.get(key)
        if gradient is not None and not fits(gradient, array.shape, array.dtype):
            expect(gradient, array.shape, array.dtype, f"backward of {layer}, grads[{key!r}],", f", that of {key}")


def _check_infer(layer: Any, shape: Any, given: Any) -> None:
    valid = isinstance(shape, tuple) and all(isinstance(size, (int, numpy.integer)) and size > 0 for size in shape)
    if not valid:
        raise TypeError(f"infer of {layer} returned {shape!r}, expected the shape of one example: a tuple of sizes")


LAYER_CHECKS: dict[str, Check] = {
    "forward": _check_forward,
    "backward": _check_backward,
    "infer": _check_infer,
    "initialise": returns_none("initialise", "assign the arrays"),
    "f": returns_none_or_argument("f", 0, "y"),
    "times_slope": returns_none_or_argument("times_slope", 0, "below"),
}


# Passes, losses, optimizers


def _check_after(ctx: Any, result: Any, layer: Any, y: Any) -> None:
    if result is not y:
        expect(result, y.shape, y.dtype, f"after of the {type(ctx).__name__} for {layer}", ", that of y")


def _check_loss(loss: Any, result: Any, output: Any, target: Any) -> None:
    who = f"the loss {type(loss).__name__}"
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{who} returned {_type_name(result)}, expected a pair: values (N,) and errors (N, n_out)")
    expect(result[0], output.shape[:1], output.dtype, f"{who}, values,", ", one for each example")
    expect(result[1], output.shape, output.dtype, f"{who}, errors,", ", that of the outputs")


PASS_CHECKS: dict[str, Check] = {"after": _check_after}
LOSS_CHECKS: dict[str, Check] = {"__call__": _check_loss}
OPTIMIZER_CHECKS: dict[str, Check] = {"change": returns_none_or_argument("change", 1, "W")}
