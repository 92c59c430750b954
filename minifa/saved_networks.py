"""Reading the files of `minifa.Network.save`: the network and its rule, with the same outputs and feedback."""

from __future__ import annotations

__all__ = ["load"]

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import extension_checks, layers, network_files
from .errors import DataFileError
from .layers.base import Layer
from .layers.windows import output_size, pair, window_of
from .network import Network
from .rules import RULES, Rule
from .storage import archive
from .storage.atomic import expanded, read_bytes
from .validation import check_int, check_list

NETWORK_KEYS = {"layers", "seed", "dtype", "step", "input_shape", "input_error", "frozen"}
KEYS = {"format", "environment", "network", "rule", archive.LIST}
OF_MINIFA = {
    cls.__name__: cls
    for cls in (*(getattr(layers, name) for name in layers.__all__), *RULES.values())
    if isinstance(cls, type) and issubclass(cls, (Layer, Rule))
}
# The number of entries of the largest array that each layer allocates, or of all, from its arguments.
SIZES: dict[str, Callable[[Mapping[str, Any]], int]] = {
    "Linear": lambda a: _product(a["in_features"], a["out_features"]),
    "Conv2d": lambda a: (
        _product(*pair(_tuple(a["kernel_size"]), "kernel_size", 1), a["in_channels"], a["out_channels"])
        // _product(a.get("groups", 1))
    ),
    "LocallyConnected2d": lambda a: _product(*_locally_connected(a)) * _product(a["in_channels"], a["out_channels"]),
    "BatchNorm": lambda a: _product(a["features"]),
    "LayerNorm": lambda a: _product(*_sizes(a["normalized_shape"])) if a["elementwise_affine"] else 0,
    "GroupNorm": lambda a: _product(a["num_channels"]) if a["affine"] else 0,
    "VectorLinear": lambda a: (
        _product(a["in_features"], a["out_features"])
        + (_product(a["dimension"], a["out_features"]) if a.get("bias", True) else 0)
    ),
    "Gate": lambda a: _product(a["features"], a["dimension"]),
}


def load(
    path: str | Path, layers: Iterable[type[Layer]] = (), rules: Iterable[type[Rule]] = ()
) -> tuple[Network, Rule | None]:
    """Load a network and its rule from a file of `Network.save`: (network, rule), the rule attached to the network, or
    (network, None) if the file has no rule. Outputs, feedback (`Rule.B`) and all later updates have the same bits as
    those of the saved ones. The optimizer's state is not part of the file; `minifa.checkpoints` saves that too.

    Args:
        path: path of the file.
        layers: the user-defined classes of layers in the file.
        rules: the user-defined classes of rules; not needed for a class that is registered in `minifa.rules.RULES`.

    Raises:
        TypeError: the classes are not a list of classes of layers or rules.
        DataFileError: the file is damaged, is not such a file, or needs a class that was not passed.
        OSError: the file cannot be opened.

    >>> import pathlib, tempfile
    >>> class Double(mf.Layer):
    ...     def forward(self, x, ctx):
    ...         return 2 * x
    ...     def backward(self, delta, rule):
    ...         return 2 * delta
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mf.Network([mf.Linear(1, 1, init="zero"), Double()]).save(pathlib.Path(folder, "net.npz"))
    ...     net, rule = mf.load(pathlib.Path(folder, "net.npz"), layers=[Double])
    >>> net, rule
    (<Network: 2 layers, 2 parameters>, None)
    """
    own = [
        *_classes(layers, Layer, "layers must be a list of classes derived from minifa.Layer, such as [MyLayer]"),
        *_classes(rules, Rule, "rules must be a list of classes derived from minifa.rules.Rule, such as [MyRule]"),
    ]
    place = expanded(path)
    try:
        manifest, arrays = archive.unpack(network_files.MANIFEST, read_bytes(place), _check_manifest)
    except archive.Foreign as error:
        raise DataFileError(
            f"'{place}' is not a file of Network.save: {error}; the weights alone, as np.savez(path, **net.state()) "
            "writes them, are loaded by net.load_state(np.load(path))"
        ) from error
    except archive.Damaged as error:
        raise DataFileError(f"'{place}' is damaged or incomplete: {error}") from error
    except ValueError as error:
        raise DataFileError(f"'{place}' is not a valid file of Network.save: {error}") from error
    try:
        _check_sizes(manifest["network"]["layers"], sum(array.size for array in arrays.values()))
        return network_files.restore(manifest, arrays, Network, lambda name, module: _find_class(name, module, own))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError) as error:
        raise DataFileError(f"'{place}' cannot be loaded: {error}") from error


def _classes(given: Any, base: type, what: str) -> list[type]:
    classes = check_list(given, type, what)
    for cls in classes:
        if not issubclass(cls, base):
            raise TypeError(f"{what}, got the item {cls!r}")
    return classes


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != network_files.FORMAT:
        raise ValueError(f"its {network_files.MANIFEST} is not of format {network_files.FORMAT}")
    about, rule = manifest.get("network"), manifest.get("rule")
    if manifest.keys() != KEYS or not isinstance(about, dict) or about.keys() != NETWORK_KEYS:
        raise ValueError(f"its {network_files.MANIFEST} has missing or unknown entries")
    if not isinstance(rule, (dict, type(None))) or not all(
        isinstance(about[key], list) for key in ("layers", "frozen")
    ):
        raise ValueError(f"its {network_files.MANIFEST} has entries of the wrong type")
    check_int(about["step"], "the step of a network", least=0, most=sys.maxsize)


def _check_sizes(described: Any, entries: int) -> None:
    """Raise ValueError unless the layers together have at most as many weights as the file, before any is created."""
    total = sum(
        SIZES[layer["class"]](layer["arguments"])
        for layer in _layers_in(described)
        if layer.get("class") in SIZES and "module" not in layer
    )
    if total > entries:
        raise ValueError(f"its layers have {total:,} weights, but its arrays have {entries:,} numbers")


def _layers_in(described: Any) -> Iterator[Mapping[str, Any]]:
    """Every description of a layer, those inside blocks included."""
    if isinstance(described, dict):
        if isinstance(described.get("arguments"), dict):
            yield described
        for inner in described.values():
            yield from _layers_in(inner)
    elif isinstance(described, list):
        for inner in described:
            yield from _layers_in(inner)


def _product(*sizes: Any) -> int:
    return math.prod(check_int(size, "a size of a layer") for size in sizes)


def _locally_connected(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """The positions and the kernel of a locally connected layer."""
    kernel_size, stride, padding, input_size = (
        _tuple(arguments[key]) for key in ("kernel_size", "stride", "padding", "input_size")
    )
    window = window_of(kernel_size, stride, padding)
    return *output_size(pair(input_size, "input_size", 1), *window), *window[0]


def _sizes(value: Any) -> Any:
    """The sizes of a shape that may be a single number."""
    value = _tuple(value)
    return value if isinstance(value, (tuple, list)) else (value,)


def _tuple(value: Any) -> Any:
    return tuple(value["tuple"]) if isinstance(value, dict) else value


def _find_class(name: str, module: str | None, own: list[type]) -> type:
    if module is None:
        if name not in OF_MINIFA:
            raise ValueError(f"it needs the class {name!r}, which this version of minifa does not have")
        return OF_MINIFA[name]
    registered = [cls for cls in RULES.values() if isinstance(cls, type) and not extension_checks.in_minifa(cls)]
    for cls in (*own, *registered):
        if cls.__name__ == name:
            return cls
    raise ValueError(
        f"it needs the class {name!r}, which was defined in {module!r}: import it and pass it, as in "
        f"minifa.load(path, layers=[{name}]) for a layer, minifa.load(path, rules=[{name}]) for a rule"
    )
