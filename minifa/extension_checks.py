"""Validation of the return values of user-defined rules, layers, walks, losses and optimizers, at the call.

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
from difflib import get_close_matches
from typing import Any

import numpy

from . import backend
from .backend import xp

OURS = __name__.partition(".")[0]
ALIKE = 0.85  # similarity from which a method name counts as a misspelling of another one
Look = Callable[..., None]  # called with an object, its method's return value and arguments; raises if it is invalid


# Classes


def guard(cls: type, base: type, answers: Mapping[str, Look], always: tuple[str, ...] = ()) -> None:
    """Validate a user-defined class: the return values and signatures of its methods, and misspelled method names.

    Args:
        cls: a new subclass of ``base``.
        base: the class of minifa whose methods it may override.
        answers: the check of the return value, by method name.
        always: names of methods that are checked even if inherited, because they call user-defined methods.
    """
    if _is_ours(cls):
        return
    for name, near in slips(cls, base).items():
        warnings.warn(f"nobody calls {cls.__name__}.{name}: did you mean {near}?", RuntimeWarning, stacklevel=3)
    written = [name for one in cls.__mro__ if not _is_ours(one) for name in vars(one)]  # including mixins
    for name in dict.fromkeys([*written, *always]):
        method = inspect.getattr_static(cls, name)
        parents = [vars(one)[name] for one in cls.__mro__[1:] if name in vars(one) and _is_ours(one)]
        if not inspect.isfunction(method) or not parents or hasattr(method, "looked_at"):
            continue
        if name in written and name != "__init__":
            method = _fitting(f"{cls.__name__}.{name}", method, parents[-1])
        if name in answers:
            method = _looked_at(method, answers[name])
        setattr(cls, name, method)


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == OURS


def slips(cls: type, base: type) -> dict[str, str]:
    """Public methods of ``cls`` that are never called, each with the similarly named method of ``base``."""
    known = [name for name, one in vars(base).items() if inspect.isfunction(one) and name not in vars(cls)]
    own = [name for name, one in vars(cls).items() if inspect.isfunction(one) and name[0] != "_"]
    uncalled = [name for name in own if not any(hasattr(parent, name) for parent in cls.__bases__)]
    near = {name: get_close_matches(name, known, 1, ALIKE) for name in uncalled}
    return {name: found[0] for name, found in near.items() if found}


def require_init(owner: Any, attribute: str) -> None:
    """Raise TypeError if the base constructor, which sets this attribute, was not called."""
    if not hasattr(owner, attribute):
        raise TypeError(f"{type(owner).__name__}.__init__ must call super().__init__() first")


def not_implemented(owner: Any, method: str, told: str) -> NotImplementedError:
    """The exception for a required method that a class does not define; ``told`` gives its arguments and purpose."""
    classes = type(owner).__mro__
    base = next(one for one in reversed(classes) if method in vars(one))
    meant = [name for one in classes for name, near in slips(one, base).items() if near == method]
    hint = f" (did you mean that by {meant[0]}?)" if meant else ""
    return NotImplementedError(f"{type(owner).__name__} does not write {method}{told}{hint}")


def _fitting(name: str, method: Any, base: Any) -> Any:
    """Return the method. If its signature does not accept the arguments it is called with, wrap it to raise a clear
    TypeError."""
    known, own = inspect.signature(base).parameters, inspect.signature(method)
    by_name = {name: None for name, one in known.items() if one.default is not one.empty}
    try:
        own.bind(*[None] * (len(known) - len(by_name)), **by_name)
        return method
    except TypeError:
        pass
    wanted = ", ".join(known)

    @functools.wraps(method)
    def refuse(*given: Any, **options: Any) -> Any:
        try:
            own.bind(*given, **options)
        except TypeError:
            raise TypeError(f"{name} takes {own}, and is called with ({wanted})") from None
        return method(*given, **options)

    return refuse


def _looked_at(method: Any, look: Look) -> Any:
    @functools.wraps(method)
    def answer(self: Any, *given: Any, **options: Any) -> Any:
        answered = method(self, *given, **options)
        if options:
            given = inspect.signature(method).bind(self, *given, **options).args[1:]
        look(self, answered, *given)
        return answered

    answer.looked_at = True  # type: ignore[attr-defined]
    return answer


# Arrays


def fits(answered: Any, shape: tuple[int, ...] | None, dtype: Any) -> bool:
    """Whether this is an array of the backend with this shape (None: any) and dtype."""
    return type(answered) is xp.ndarray and answered.dtype == dtype and (shape is None or answered.shape == shape)


def expect(answered: Any, shape: tuple[int, ...] | None, dtype: Any, who: str, hint: str = "") -> None:
    """Raise TypeError or ValueError unless it `fits`.

    Args:
        who: start of the message: the method and its object.
        hint: remark on the expected shape.
    """
    if fits(answered, shape, dtype):
        return
    wanted = f"expected an array{'' if shape is None else f' of shape {shape}'}"
    if answered is None:
        raise TypeError(f"{who} returned None, {wanted}: is there a return?")
    if not isinstance(answered, xp.ndarray) or isinstance(answered, numpy.ma.MaskedArray):
        raise TypeError(f"{who} returned {_kind(answered)}, {wanted} on the backend {backend.name()!r}{_way(answered)}")
    if answered.dtype != dtype:
        raise TypeError(
            f"{who} returned an array of dtype {answered.dtype}, expected {dtype}: .astype({str(dtype)!r}) makes it one"
        )
    if shape is not None and answered.shape != shape:
        raise ValueError(f"{who} returned an array of shape {answered.shape}, expected {shape}{hint}")


def _kind(answered: Any) -> str:
    cls = type(answered)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _way(answered: Any) -> str:
    """A hint how to return an array of the backend."""
    if isinstance(answered, numpy.ndarray):
        return ": compute with minifa.backend.xp instead of numpy"
    return ": minifa.asarray makes one of numbers" if isinstance(answered, (list, tuple, int, float)) else ""


def nothing(what: str, instead: str) -> Look:
    """A check for methods that must return None, because their return value is ignored."""

    def look(owner: Any, answered: Any, *given: Any) -> None:
        if answered is not None:
            raise TypeError(
                f"{what} of {_name(owner)} returned {_kind(answered)}, which nobody takes: {instead} and return nothing"
            )

    return look


def written_into(what: str, place: int, called: str) -> Look:
    """A check for methods that write into the argument at ``place``; they may return None or that argument."""

    def look(owner: Any, answered: Any, *given: Any) -> None:
        if answered is not None and answered is not given[place]:
            raise TypeError(
                f"{what} of {_name(owner)} returned {_kind(answered)}, which nobody takes: it writes into {called}, "
                f"{called}[...] = ..."
            )

    return look


def _name(owner: Any) -> str:
    """How a message refers to a layer or rule."""
    return f"the rule {owner.label!r}" if hasattr(owner, "label") else str(owner)


# Rules


def _feedback(rule: Any, matrix: Any, layer: Any) -> None:
    shape = rule.feedback_shape(layer)
    if fits(matrix, shape, layer.W.dtype):
        return
    who = f"feedback of the rule {rule.label!r} for {layer}"
    if matrix is not None:
        expect(matrix, shape, layer.W.dtype, who, _advice(matrix, layer))
    elif rule.crosses_weights and rule.requires_errors and not rule.overrides_teach:
        raise TypeError(
            f"{who} returned None, and no error would reach the layers below: return an array of W's shape "
            f"{layer.weight_shape}, or set requires_errors = False in the class"
        )


def _advice(matrix: Any, layer: Any) -> str:
    told = ", W's shape" + (" (fan_in, fan_out)" if len(layer.weight_shape) == 2 else "")
    came = getattr(matrix, "shape", None)
    if came == layer.weight_shape[::-1]:
        return f"{told}: did you return W.T?"
    as_matrix = math.prod(layer.weight_shape[:-1]), layer.weight_shape[-1]
    return told + (": reshape it to layer.weight_shape" if came in (as_matrix, as_matrix[::-1]) else "")


def _teach(rule: Any, taught: Any, layer: Any, delta: Any) -> None:
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


def _carried(rule: Any, below: Any, layer: Any, delta: Any) -> None:
    if below is not None:
        shape = getattr(layer.cache, "shape", None)
        expect(below, shape, delta.dtype, f"carry of the rule {rule.label!r} for {layer}", ", that of its input")


def _parameters(rule: Any, found: Any) -> None:
    who = f"parameters of the rule {rule.label!r}"
    if not isinstance(found, Mapping):
        raise TypeError(f"{who} returned {_kind(found)}, expected a dictionary {{name: (array, gradient)}}")
    for name, pair in found.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{who} returned {_kind(pair)} for {name!r}, expected a pair (array, gradient)")
        array, gradient = pair
        expect(array, None, rule.net.dtype, f"{who}, array {name!r},")
        expect(gradient, array.shape, array.dtype, f"{who}, gradient of {name!r},", ", that of its array")


def _value(rule: Any, value: Any, net: Any, x: Any, y: Any, loss: Any) -> None:
    if getattr(value, "ndim", None) != 0 and not isinstance(value, (float, int)):
        raise TypeError(
            f"gradients of the rule {rule.label!r} returned {_kind(value)}, expected a number: the batch's mean loss, "
            "as self.compute_error(output, y, loss) returns it"
        )
    if (rule.output is None or rule.target is None) and getattr(y, "ndim", 1) == 1:
        raise TypeError(
            f"gradients of the rule {rule.label!r} leaves the output and target of the pass unknown: "
            "self.compute_error(output, y, loss) sets them"
        )


RULE_ANSWERS: dict[str, Look] = {
    "draw": nothing("draw", "enter what is drawn in self.memory"),
    "feedback": _feedback,
    "teach": _teach,
    "carry": _carried,
    "parameters": _parameters,
    "update_feedback": nothing("update_feedback", "change the arrays of self.memory"),
    "gradients": _value,
}


# Layers


def _output(layer: Any, y: Any, x: Any, ctx: Any) -> None:
    known = layer.checked_shapes  # infer is called once per input shape
    shape = known.get(x.shape)
    if shape is None:
        shape = known[x.shape] = (len(x), *layer.infer(tuple(x.shape[1:])))
    if ctx.training:
        known["input"] = x.shape
    if not fits(y, shape, x.dtype):
        expect(y, shape, x.dtype, f"forward of {layer}", f", as its infer({tuple(x.shape[1:])}) has it")


def _below(layer: Any, below: Any, delta: Any, rule: Any) -> None:
    shape, dtype = layer.checked_shapes.get("input"), delta.dtype
    if below is None:
        asks = hasattr(layer, "carry") or any(True for _ in layer.children())  # the rule may send nothing down
        if layer.needs_input_gradient and (getattr(rule, "crosses_weights", False) or not asks):
            raise TypeError(
                f"backward of {layer} returned None, and nothing below it would learn: return dL/d(its input), or "
                "zeros to send nothing"
            )
    elif not fits(below, shape, dtype):
        expect(below, shape, dtype, f"backward of {layer}", ", that of its input")
    for key, array in layer.parameters().items():
        gradient = layer.grads.get(key)
        if gradient is not None and not fits(gradient, array.shape, array.dtype):
            expect(gradient, array.shape, array.dtype, f"backward of {layer}, grads[{key!r}],", f", that of {key}")


def _shape(layer: Any, shape: Any, given: Any) -> None:
    whole = isinstance(shape, tuple) and all(isinstance(size, (int, numpy.integer)) and size > 0 for size in shape)
    if not whole:
        raise TypeError(f"infer of {layer} returned {shape!r}, expected the shape of one example: a tuple of sizes")


LAYER_ANSWERS: dict[str, Look] = {
    "forward": _output,
    "backward": _below,
    "infer": _shape,
    "initialise": nothing("initialise", "assign the arrays"),
    "f": written_into("f", 0, "y"),
    "times_slope": written_into("times_slope", 0, "below"),
}


# Passes, losses, optimizers


def _after(ctx: Any, heard: Any, layer: Any, y: Any) -> None:
    if heard is not y:
        expect(heard, y.shape, y.dtype, f"after of the {type(ctx).__name__} for {layer}", ", that of y")


def _judged(loss: Any, answered: Any, output: Any, target: Any) -> None:
    who = f"the loss {type(loss).__name__}"
    if not isinstance(answered, tuple) or len(answered) != 2:
        raise TypeError(f"{who} returned {_kind(answered)}, expected a pair: values (N,) and errors (N, n_out)")
    expect(answered[0], output.shape[:1], output.dtype, f"{who}, values,", ", one for each example")
    expect(answered[1], output.shape, output.dtype, f"{who}, errors,", ", that of the outputs")


PASS_ANSWERS: dict[str, Look] = {"after": _after}
LOSS_ANSWERS: dict[str, Look] = {"__call__": _judged}
OPTIMIZER_ANSWERS: dict[str, Look] = {"change": written_into("change", 1, "W")}
