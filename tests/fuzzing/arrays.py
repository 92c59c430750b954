"""The entrances that are functions: every public function that takes arrays, discovered automatically.

The parameters of a function or method are read from its signature. Each gets the value that `GIVEN` has under its name,
and one of the arrays is replaced by a hostile one. New functions are therefore fuzzed at once; if one has a parameter
without an entry here, `unfit` names it and a test fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import standin

import minifa as mf
from fuzzing import Case, MakeCase
from minifa import data, figures, losses, metrics, models, optim, rules, target_metrics, tracing, training, weights
from minifa.rules.base import Rule
from minifa.testing.examples import GEOMETRIES, model_for

CUPY = standin.make_cupy()
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError, OSError)

# Methods that get arrays inside a pass, already checked at the public functions: the contract in `minifa.rules.base`
# and `minifa.layers.base` is for authors of rules and layers.
INSIDE = {
    *(
        "f",
        "times_slope",
        "project",
        "weight_gradient",
        "weight_and_bias_gradients",
        "carry",
        "columns",
        "uncolumns",
        "bytes_each",
    ),
    *(
        "teach",
        "compute_error",
        "known",
        "store_gradients",
        "scatter",
        "new_output",
        "elements",
        "feedback",
        "signal",
        "flip_signs",
    ),
    *(
        "change",
        "move",
        "begin",
        "after",
        "numbers",
        "noise",
        "send",
        "learn",
        "learn_block",
        "learn_layer",
        "local_loss",
        "signals",
        "store",
        "rows",
        "to_float",
        "count_correct",
        "layout",
        *("marked", "unmarked", "wrong", "set_error"),  # of forward-forward
        "compare",  # it trains; its arrays are those of from_arrays
        "show_feedback",  # its matrices are those of a file that is validated
        *("matrices", "joined"),  # of a layer with weights: of its own arrays
    ),
    *("check_error", "check_pair"),
    *("local_loss", "objective"),  # of a rule with local losses
}
ELSEWHERE = {"Trainer.load_state"}  # a checkpoint's: see `fuzzing.files`


class Objects:
    """One of every object that functions take, built again for every case: small, and the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        last = mf.Linear(3, 2, init="nonnegative_normal")  # so that every rule accepts the network
        self.net = mf.Network([mf.Linear(4, 3), mf.Tanh(), last], seed=0)
        self.rule: Rule = mf.rules.FA(seed=0).attach(self.net)
        self.loss, self.optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1, momentum=0.5)
        self.x = rng.standard_normal((6, 4)).astype("f4")
        self.y = rng.integers(0, 2, 6)
        self.images = rng.standard_normal((5, 6, 6, 2)).astype("f4")
        self.output, self.target = rng.standard_normal((2, 6, 2)).astype("f4")
        self.examples = data.validate(self.x, self.y)


GIVEN: dict[str, Callable[[Objects], Any]] = {
    "x": lambda w: w.x,
    "y": lambda w: w.y,
    "predicted": lambda w: w.y.copy(),
    "x_test": lambda w: w.x[:3].copy(),
    "y_test": lambda w: w.y[:3].copy(),
    "net": lambda w: w.net,
    "rule": lambda w: w.rule,
    "loss": lambda w: w.loss,
    "names": lambda w: ["tanh1"],
    "optimizer": lambda w: w.optimizer,
    "ctx": lambda w: mf.Pass(training=True),
    "delta": lambda w: w.output,
    "output": lambda w: w.output,
    "target": lambda w: w.target,
    "matrix": lambda w: np.ones((3, 2), "f4"),
    "W": lambda w: np.arange(6, dtype="f4").reshape(3, 2) - 2,
    "B": lambda w: np.arange(6, dtype="f4").reshape(3, 2) - 3,
    **{name: lambda w: np.eye(6, dtype="f4") for name in ("K", "L", "G")},
    "z": lambda w: w.x,
    "a": lambda w: w.output,
    "b": lambda w: w.target,
    "array": lambda w: w.x,
    "state": lambda w: w.net.state(),
    "name": lambda w: "linear2",
    "indices": lambda w: np.array([2, 0, 5]),
    "rng": lambda w: np.random.default_rng(0),
    "train": lambda w: w.examples,
    "examples": lambda w: w.examples,
    "epochs": lambda w: 1,
    "path": lambda w: "true",
    "shape": lambda w: (3, 1, 1),
}
EXAMPLES = ("train", "examples", "validation")  # of which x and y are replaced
STATES = ("state",)  # of which one array is replaced

MODULES = (
    *(mf, data, mf.kernels, losses, metrics, models, optim, rules, target_metrics, tracing, training, weights),
    *(mf.kernel_metrics, figures),
)
ARRAYS = ("Array", "NDArray", "Images", "Host", "Examples")


def functions() -> dict[str, Any]:
    """Every public function that takes an array, by its name."""
    result: dict[str, Any] = {}
    for name, value in _public():
        if inspect.isfunction(value) and name not in INSIDE and array_parameters(value):
            result[f"{value.__module__.removeprefix('minifa.')}.{name}"] = value
    return result


def _public() -> Iterator[tuple[str, Any]]:
    """What the modules list as public, or define under a name without underscore."""
    for module in MODULES:
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            own = hasattr(module, "__all__") or getattr(value, "__module__", "") == module.__name__
            if own and not name.startswith("_"):
                yield name, value


def methods() -> dict[str, tuple[type, str]]:
    """Every public method that takes an array, by its name, of the classes that `RECEIVERS` can make."""
    result: dict[str, tuple[type, str]] = {}
    for cls in classes():
        for name, value in inspect.getmembers(cls, inspect.isfunction):
            public = not name.startswith(("_", "on_")) or (name == "__call__" and issubclass(cls, losses.Loss))
            if public and name not in INSIDE and array_parameters(value):
                result[f"{cls.__name__}.{name}"] = cls, name
    return {name: one for name, one in result.items() if name not in ELSEWHERE}


def classes() -> list[type]:
    return list(dict.fromkeys(value for _, value in _public() if inspect.isclass(value)))


def array_parameters(function: Any) -> list[str]:
    """The parameters of a function that are arrays, or contain arrays."""
    result = []
    for name, one in inspect.signature(function).parameters.items():
        annotation = str(one.annotation)
        if name in ("x", "y", "array", *STATES, *EXAMPLES, "matrix", "W", "B") or any(
            kind in annotation for kind in ARRAYS
        ):
            result.append(name)
    return result


# The objects with the methods

Receiver = Callable[[Objects, Random], Any]


def _layer(cls: type) -> Receiver | None:
    made = [(make, shape) for make, shape in GEOMETRIES.values() if [type(one) for one in make()] == [cls]]

    def receiver(objects: Objects, random: Random) -> Any:
        make, shape = random.choice(made)
        (layer,) = make()
        rng = np.random.default_rng(1)
        objects.x = rng.standard_normal((4, *shape)).astype("f4")
        y = mf.Network([layer], input_shape=shape, input_error=True).forward(objects.x, mf.Pass(training=True))
        objects.output = rng.standard_normal(y.shape).astype("f4")
        objects.rule = mf.rules.BP()
        return layer

    return receiver if made else None


def _rule(cls: Any) -> Receiver:
    def receiver(objects: Objects, random: Random) -> Any:
        model, options = model_for(cls.name)
        if (model, options) != ("mlp", {}):
            n_out = 4 if model == "autoencoder" else 2
            objects.net = mf.Network(mf.models.MODELS[model]((4,), n_out, hidden=(2,), **options), seed=0)
        objects.rule = cls(seed=0).attach(objects.net)
        return objects.rule

    return receiver


def _network(objects: Objects, random: Random) -> Any:
    objects.rule.gradients(objects.net, objects.x, objects.y, objects.loss)
    return objects.net


def _augmentation(objects: Objects, random: Random) -> Any:
    objects.x = objects.images
    return mf.data.Augmentation(padding=1, size=random.choice((None, 4)))


def _jitter(objects: Objects, random: Random) -> Any:
    objects.x = objects.images
    return mf.data.Jitter(pixels=random.choice((1, 2)))


def _optimizer(cls: Any) -> Receiver:
    def receiver(objects: Objects, random: Random) -> Any:
        objects.optimizer = cls(lr=0.1)
        objects.rule.gradients(objects.net, objects.x, objects.y, objects.loss)
        objects.optimizer.step(objects.net, objects.rule)
        return objects.optimizer

    return receiver


def _trainer(objects: Objects, random: Random) -> Any:
    return mf.Trainer(objects.net, objects.rule, objects.loss, objects.optimizer)


def receiver_of(cls: Any) -> Receiver | None:
    """A function that makes an instance of this class; None if the class is not used alone."""
    if issubclass(cls, mf.Layer):
        return _layer(cls)
    if issubclass(cls, Rule):
        return _rule(cls) if cls.name else None
    if issubclass(cls, optim.Optimizer):
        return _optimizer(cls) if cls.name else None
    if issubclass(cls, losses.Loss):
        return (lambda objects, random: cls()) if cls.name else None
    if issubclass(cls, mf.kernels.Kernel):
        options = (mf.kernels.Cosine(), 2) if cls is mf.kernels.Grouped else ()
        return (lambda objects, random: cls(*options)) if cls is not mf.kernels.Kernel else None
    known: dict[Any, Receiver] = {
        mf.Network: _network,
        mf.Trainer: _trainer,
        mf.data.Augmentation: _augmentation,
        mf.data.Jitter: _jitter,
        mf.data.Examples: lambda objects, random: objects.examples,
    }
    return known.get(cls)


def unfit() -> list[str]:
    """Public functions and methods that take arrays and cannot be fuzzed, with the missing entry."""
    result = []
    for name, function in functions().items():
        result += [f"{name} takes {one!r}: give it in GIVEN" for one in _missing(function)]
    for name, (cls, method) in methods().items():
        if receiver_of(cls) is None and not inspect.isabstract(cls) and cls not in BASES:
            result.append(f"{name}: say in receiver_of how a {cls.__name__} is made")
        result += [f"{name} takes {one!r}: give it in GIVEN" for one in _missing(getattr(cls, method))]
    return result


# Base classes, parts of others, and classes that only observe
BASES = (
    *(mf.Layer, mf.Weighted, Rule, optim.Optimizer, losses.Loss, mf.Pass, mf.Trace, mf.Moment, mf.data.Dataset),
    *(training.Callback, training.ProgressBar, training.RecordAlignment, training.RecordTargets),
    *(training.RecordKernels, training.RecordStatistics, training.History, mf.kernels.Kernel),
)


def _missing(function: Any) -> list[str]:
    return [
        name
        for name, one in inspect.signature(function).parameters.items()
        if name != "self" and one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD and name not in GIVEN
    ]


# Hostile arrays: a description, and the array


def in_another_layout(random: Random, good: np.ndarray) -> Any:
    """The same numbers in another memory layout: the result must be the same."""
    way = random.randrange(5)
    if way == 0 or good.ndim == 0:
        return np.asfortranarray(good)
    if way == 1:
        twice = np.zeros((*good.shape[:-1], 2 * good.shape[-1]), good.dtype)
        twice[..., ::2] = good
        return twice[..., ::2]
    if way == 2:
        return np.ascontiguousarray(good[::-1])[::-1]
    if way == 3:
        frozen = good.copy()
        frozen.flags.writeable = False
        return frozen
    shifted = np.zeros(good.nbytes + 1, np.uint8)[1:].view(good.dtype).reshape(good.shape)  # not aligned
    shifted[...] = good
    return shifted


def of_another_shape(random: Random, good: np.ndarray) -> Any:
    if good.ndim == 0:
        return random.choice((good[None], np.stack([good, good]), np.zeros((0,), good.dtype)))
    ways = [
        *(good[:1], good[:0], good[..., :1], good[..., None], good.reshape(-1), good.T, good[None], good[0], good[:-1]),
        *(np.concatenate([good, good]), np.float32(1), np.array(1.0), np.zeros((0, 0), good.dtype), good[..., :0]),
        *(np.concatenate([good, good], axis=-1), np.zeros((1,) * 20, good.dtype)),
        np.broadcast_to(good[:1, ...], (9, *good.shape[1:])),
    ]  # fmt: skip
    return random.choice([one for one in ways if np.shape(one) != good.shape])


def of_another_type(random: Random, good: np.ndarray) -> Any:
    kind = random.choice(
        ("?", "i1", "u8", "f2", "f8", "g", "c8", "c16", "O", "U5", "S3", "M8[s]", "m8[s]", ">f4", ">i8", "V4")
    )
    if kind[0] in "Mm":
        return np.zeros(good.shape, kind)
    return good.astype(kind)


def of_other_values(random: Random, good: np.ndarray) -> Any:
    bad = good.copy()
    if bad.dtype.kind == "f":
        values = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0)
    else:
        values = (-1, 2, 9, 2**31, 2**62, -(2**63), 127)
    for _ in range(random.choice((1, 1, bad.size))):
        bad.reshape(-1)[random.randrange(bad.size)] = random.choice(values)
    return bad


def not_an_array(random: Random, good: np.ndarray) -> Any:
    """Values that are not arrays of the backend."""
    return random.choice(
        (
            *(None, 5, -0.5, "abc", b"abc", {}, {"x": 1}, set(), object(), iter([1, 2]), [[1.0], [1.0, 2.0]], [], [[]]),
            *([None], [["a"]], range(3), lambda: None, np.ma.masked_array(good, good > 0), memoryview(b"abc")),
            *(type, 10**400),
            *(CUPY.asarray(good) if good.dtype.kind in "iuf" else None, good.tolist()),
        )
    )  # fmt: skip


BADNESS: dict[str, Callable[[Random, np.ndarray], Any]] = {
    "in_another_layout": in_another_layout,
    "of_another_shape": of_another_shape,
    "of another type": of_another_type,
    "of other values": of_other_values,
    "not_an_array": not_an_array,
}
# Input for which any result would be wrong: numbers would be broadcast, truncated or misinterpreted.
MUST_REFUSE = {"of_another_shape": {"delta", "target", "output", "state", "y", "matrix", "B", "b"}}
# Functions for which another shape is also a valid input.
ANY_SHAPE = {
    "data.arrays.from_arrays",
    "data.base.validate",
    "Examples",
    "weights.match",
    "figures.matrices.kernels",
} | {
    f"{cls.__name__}.target"
    for cls in losses.LOSSES.values()  # any number of outputs
}


def entrance(name: str, take: Callable[[Objects, Random], Any]) -> MakeCase:
    """Cases of one function: ``take(objects, random)`` returns it, bound to its object."""

    def case(random: Random, folder: Path) -> Case:
        draws, objects = random.random(), Objects()
        function = take(objects, Random(draws))
        arguments = _arguments(function, objects)
        which = random.choice(array_parameters(function))
        badness = random.choice(list(BADNESS))
        description = _replace_array(arguments, which, BADNESS[badness], random)
        before = _memory(objects)

        def call() -> Any:
            try:
                return function(**arguments)
            except REFUSALS as error:
                now = _memory(objects)
                changed = [key for key, array in before.items() if not _equal(array, now[key])]
                assert not changed, f"refused ({error}), but {', '.join(changed)} had changed"
                raise

        def check(result: Any) -> None:
            if badness != "in_another_layout":
                return
            twin = Objects()
            good = take(twin, Random(draws))
            expected, actual = _flat([good(**_arguments(good, twin)), _memory(twin)]), _flat([result, _memory(objects)])
            assert len(actual) == len(expected), "another number of arrays"
            for ours, theirs in zip(actual, expected, strict=True):
                assert _equal(ours, theirs), f"the same numbers, laid out otherwise, gave {ours} and not {theirs}"

        refused = which in MUST_REFUSE.get(badness, ()) and name not in ANY_SHAPE
        return Case(f"{which} {badness}: {description}", call, REFUSALS, check, refused)

    return case


def _arguments(function: Any, objects: Objects) -> dict[str, Any]:
    """The valid value of every parameter that has one in `GIVEN`."""
    given = {name: GIVEN[name](objects) for name in inspect.signature(function).parameters if name in GIVEN}
    owner = getattr(function, "__self__", None)
    return {**given, "state": owner.state()} if "state" in given and hasattr(owner, "state") else given


def _replace_array(
    arguments: dict[str, Any], which: str, way: Callable[[Random, np.ndarray], Any], random: Random
) -> str:
    """Replace one array by a hostile one. Returns its description."""
    good = arguments.get(which)
    if isinstance(good, data.Examples):
        arrays = {"x": good.x, "y": good.y}
        key = random.choice(list(arrays))
        arrays[key] = bad = way(random, arrays[key])
        description = f"{key} is {_words(bad)}"
        try:
            arguments[which] = data.Examples(**arrays)
        except (ValueError, TypeError):  # refused by its constructor, which is a separate entrance
            return "left alone"
        return description
    if isinstance(good, dict) and not good:
        arguments[which] = {"linear2": np.zeros((3, 2), "f4")}
        return "an array too many"
    if which in STATES and isinstance(good, dict):
        key = random.choice(list(good))
        arguments[which] = {**good, key: (bad := way(random, np.asarray(good[key])))}
        return f"{key} is {_words(bad)}"
    bad = way(random, np.zeros((3, 2), "f4") if good is None else np.asarray(good))
    arguments[which] = bad
    return _words(bad)


def _words(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} strides {value.strides} {str(value)[:200]}"
    return f"{type(value).__module__}.{type(value).__name__} {str(value)[:200]}"


def _memory(objects: Objects) -> dict[str, Any]:
    return {**objects.net.state(), **{f"rule/{key}": array for key, array in objects.rule.state().items()}}


def _flat(value: Any) -> list[np.ndarray]:
    """Every array inside, in order."""
    if isinstance(value, (np.ndarray, np.generic, float, int)):
        return [np.asarray(value)]
    if isinstance(value, Mapping):
        timed = ("seconds", "images_per_second")
        return [array for key, inner in value.items() if key not in timed for array in _flat(inner)]
    if isinstance(value, (list, tuple)):
        return [array for inner in value for array in _flat(inner)]
    if isinstance(value, data.Examples):
        return [value.x, value.y]
    if isinstance(value, data.Dataset):
        return [*_flat(value.train), *_flat(value.test)]
    return []


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)


def _function(function: Any) -> Callable[[Objects, Random], Any]:
    return lambda objects, random: function


def _method(cls: type, name: str) -> Callable[[Objects, Random], Any]:
    receiver = receiver_of(cls)
    assert receiver is not None

    def take(objects: Objects, random: Random) -> Any:
        return getattr(receiver(objects, random), name)

    return take


def _constructor(cls: Any) -> Callable[[Objects, Random], Any]:
    return lambda objects, random: cls


def entrances() -> dict[str, tuple[MakeCase, float]]:
    result = {
        name: (entrance(name, _function(function)), 0.2 if name.startswith("figures") else 4)  # drawing is slow
        for name, function in functions().items()
    }
    result["Examples"] = entrance("Examples", _constructor(data.Examples)), 4
    for name, (cls, method) in methods().items():
        if receiver_of(cls) is not None:
            result[name] = entrance(name, _method(cls, method)), 1
    return result


ENTRANCES = entrances()
