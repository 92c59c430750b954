"""Files of one network and, if given, its rule: the description that rebuilds both, and all of their arrays.

    minifa-network.json   format, versions, and for every layer and the rule its class and the constructor's arguments
    network/...           parameters and running statistics, one .npy each
    rule/...              the rule's memory: drawn or learned feedback
    feedback/...          the matrices of `Rule.B` from the last pass, where the next pass would have others

A file holds no code and no pickle: a class is looked up by its name among those of minifa and those that the reader
passes. `minifa.Network.save` writes it and `minifa.load` reads it.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from . import backend, extension_checks
from .environment import environment
from .initialisers import Initialiser, find
from .layers.base import Layer
from .registry import Constructed, constructor_arguments, constructor_settings
from .storage.atomic import write_atomic
from .validation import as_python_number

FORMAT = 1
MANIFEST = "minifa-network.json"
NETWORK, RULE, FEEDBACK = "network/", "rule/", "feedback/"  # prefixes of arrays
SCALARS = (bool, int, float, str, type(None))
FindClass = Callable[[str, "str | None"], type]  # a class by its name, and its module unless it is minifa's

# The description of an object: its class and the arguments of its constructor. JSON has neither tuples nor objects;
# these are dictionaries with one entry.


def describe(instance: Constructed, what: str) -> dict[str, Any]:
    """The class and constructor arguments of a layer or rule. Raises TypeError, ValueError if an argument cannot be
    described."""
    cls = type(instance)
    where = {} if extension_checks.in_minifa(cls) else {"module": cls.__module__}
    arguments = {
        key: _encode(value, f"the argument {key} of {what}") for key, value in constructor_arguments(instance).items()
    }
    return {"class": cls.__name__, **where, "arguments": arguments}


def _encode(value: Any, what: str) -> Any:
    value = as_python_number(value)
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Layer):
        return {"layer": describe(value, str(value))}
    if isinstance(value, Initialiser):
        find(value.name)  # raises ValueError for an initialiser of the user's own
        return {"initialiser": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(one, what) for one in value]}
    if isinstance(value, list):
        return [_encode(one, what) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(one, what) for key, one in value.items()}}
    raise TypeError(
        f"{what} cannot be saved: it must be a number, a str, a layer, an initialiser, or a list, tuple or dict of "
        f"these, got {value!r}"
    )


def build(description: Mapping[str, Any], find_class: FindClass) -> Any:
    """The object of a description. Raises KeyError, TypeError, ValueError if it is invalid."""
    cls = find_class(description["class"], description.get("module"))
    return cls(**{key: _decode(value, find_class) for key, value in description["arguments"].items()})


def _decode(value: Any, find_class: FindClass) -> Any:
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, list):
        return [_decode(one, find_class) for one in value]
    ((kind, content),) = value.items()
    if kind == "layer":
        return build(content, find_class)
    if kind == "initialiser":
        return find(content)
    if kind == "tuple":
        return tuple(_decode(one, find_class) for one in content)
    if kind == "dict":
        return {key: _decode(one, find_class) for key, one in content.items()}
    raise ValueError(f"unknown kind of argument {kind!r}")


# A network with its rule


def write(path: str | Path, net: Any, rule: Any) -> None:
    """Write the file atomically, after it was read back in memory. The arguments and errors are those of
    `minifa.Network.save`."""
    from .storage import archive  # here: few programs save a network, and it imports zipfile

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "environment": environment(),
        "network": {
            "layers": [describe(layer, str(layer)) for layer in net.layers],
            "seed": net.seed,
            "dtype": str(net.dtype),
            "step": net.step,
            "input_shape": None if net.input_shape is None else list(net.input_shape),
            "input_error": net.input_error,
            "frozen": [layer.name for layer in net if layer.frozen],
        },
        "rule": None if rule is None else describe(rule, f"the rule {rule.label!r}"),
    }
    arrays = {f"{NETWORK}{key}": array for key, array in net.state().items()}
    if rule is not None:
        arrays.update({f"{RULE}{key}": array for key, array in rule.state().items()})
    wrong = [key for key, array in arrays.items() if not numpy.isfinite(array).all()]
    if wrong:
        raise ValueError(f"'{path}' is not written: {', '.join(wrong[:3])} must contain only finite numbers")
    classes = {type(one).__name__: type(one) for one in (*net, *([] if rule is None else [rule]))}
    copy, rule_copy = restore(manifest, arrays, type(net), lambda name, module: classes[name])
    for ours, theirs in zip(net, copy, strict=True):
        _require_same_settings(ours, theirs, str(ours))
    if rule is not None:
        _require_same_settings(rule, rule_copy, f"the rule {rule.label!r}")
        arrays.update(_feedback_of_last_pass(rule, rule_copy))
    manifest[archive.LIST] = archive.listed(arrays)
    write_atomic(path, archive.pack(MANIFEST, manifest, arrays))


def _require_same_settings(ours: Any, theirs: Any, what: str) -> None:
    """Raise ValueError if a copy has another option, because an attribute was assigned after construction."""
    rebuilt = constructor_settings(theirs)
    for key, value in constructor_settings(ours).items():
        if rebuilt.get(key) != value:
            raise ValueError(
                f"{what} has {key} {value!r}, but its constructor was called with {rebuilt.get(key)!r}, and a file "
                f"holds the constructor's arguments: create it with this {key}"
            )


def _feedback_of_last_pass(rule: Any, copy: Any) -> dict[str, numpy.ndarray]:
    """The matrices of B that the memory does not give, because the weights were updated since the last pass."""
    last, upcoming = ({name: backend.to_host(B) for name, B in one.B.items()} for one in (rule, copy))
    return {
        f"{FEEDBACK}{name}": B
        for name, B in last.items()
        if name in upcoming and not numpy.array_equal(B, upcoming[name])
    }


def restore(
    manifest: Mapping[str, Any], arrays: Mapping[str, numpy.ndarray], make: Callable[..., Any], find_class: FindClass
) -> tuple[Any, Any]:
    """The network and the rule (or None) of a file's content.

    Args:
        manifest, arrays: the content, after `check_manifest`.
        make: the constructor of the network.
        find_class: returns the class of a layer or rule.

    Raises:
        KeyError, TypeError, ValueError: the content is inconsistent.
    """
    about = manifest["network"]
    in_dtype = about["dtype"] == str(backend.dtype())
    with contextlib.nullcontext() if in_dtype else backend.using(backend.name(), about["dtype"]):
        layers: Sequence[Layer] = [build(one, find_class) for one in about["layers"]]
        net = make(layers, about["seed"], about["input_shape"], about["input_error"])
        net.freeze(*(name for name in about["frozen"] if net[name].parameter_names or net[name].buffer_names))
        net.step = about["step"]  # first: some feedback depends on it
        net.load_state(_part(arrays, NETWORK))  # some rules refuse weights, as those before training may be
        rule = None if manifest["rule"] is None else build(manifest["rule"], find_class).attach(net)
    if rule is not None:
        rule.load_state(_part(arrays, RULE))
        feedback = _part(arrays, FEEDBACK)
        if feedback:
            rule.show_feedback({**rule.B, **{name: backend.asarray(B) for name, B in feedback.items()}})
    return net, rule


def _part(arrays: Mapping[str, numpy.ndarray], prefix: str) -> dict[str, numpy.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
