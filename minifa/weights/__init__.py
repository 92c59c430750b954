"""Exchange of weights with other programs: safetensors files, and conversion to and from PyTorch's layout.

    PyTorch                               minifa
    Linear.weight (out, in)               W (in, out)
    Conv2d.weight (out, in, kH, kW)       W (kH, kW, in, out); with groups, in counts the inputs of a group
    BatchNorm.weight, .bias               gamma, beta; also of LayerNorm and GroupNorm
    LayerNorm((C, H, W)).weight, .bias    gamma, beta (H, W, C)
    BatchNorm.running_mean, running_var   the same
    BatchNorm.num_batches_tracked         left out

PyTorch flattens an image channel by channel, minifa pixel by pixel. The input weights of the layer after a `Flatten`
are therefore permuted.

Reading and writing files needs the package safetensors (``pip install ".[safetensors]"`` in the source folder of
minifa); the rest does not.
"""

from __future__ import annotations

__all__ = ["from_torch", "load", "match", "read", "save", "to_torch"]

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from ..backend import numbers_of
from ..layers import Flatten, GroupNorm, LocallyConnected2d, Weighted
from ..layers.base import Layer
from ..layers.normalisation import Norm
from ..network import Network
from ..storage.atomic import write_atomic
from ..text import listed
from ..validation import Shape, check_type
from . import tensors
from .module_order import Shapes, modules_in_order

Host = numpy.ndarray
TORCH_NAMES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}  # running statistics have the same names
A_NETWORK = "net must be a minifa.Network"
LAYOUTS = ("minifa", "torch")


# Between the two layouts


def from_torch(net: Network, state: Any, names: Mapping[str, str] | None = None) -> None:
    """Load the weights of a PyTorch model. Everything is validated first; on an error the network is unchanged.

    Args:
        net: a network with the same layers; if it flattens images, it must know its input shape.
        state: the model, its ``state_dict()``, or arrays with the same names; any real dtype, including bfloat16 and
            float8. Name prefixes from DataParallel and compile are removed.
        names: maps every PyTorch module with weights to a layer: ``{"features.0": "conv1"}``. Default: `match`.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: weights are missing, unknown, of the wrong shape or not finite; or as in `match`.

    >>> net = mf.Network([mf.Linear(2, 3)])
    >>> weight, bias = np.array([[1, 2], [3, 4], [5, 6]]), np.array([7, 8, 9])
    >>> mf.weights.from_torch(net, {"fc.weight": weight, "fc.bias": bias})
    >>> net["linear1"].W.tolist()
    [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    """
    check_type(net, Network, A_NETWORK)
    _load_torch(net, _state_dict(state), names, defined=True)


def _load_torch(net: Network, state: Mapping[str, Any], names: Mapping[str, str] | None, defined: bool) -> None:
    arrays = _arrays(state)
    if names is not None:
        _check_names(net, names)
    names = _match(net, arrays, defined) if names is None else _without_wrapper_prefix(names)
    _check_shapes(net, arrays, names)
    net.load_state({name: _from_torch(arrays[torch_name], image) for name, torch_name, image in _pairs(net, names)})


def _check_shapes(net: Network, arrays: Mapping[str, Host], names: Mapping[str, str]) -> None:
    """Raise ValueError unless the arrays are exactly those of the named layers, with PyTorch's names and shapes."""
    shapes = {
        _joined(module, TORCH_NAMES.get(key, key)): (f"{layer}.{key}", array.shape)
        for module, layer in names.items()
        for key, array in _layer_arrays(net[layer]).items()
    }
    missing, extra = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if missing or extra:
        raise ValueError(
            "the PyTorch weights do not match this network: "
            f"missing {listed(map(repr, missing)) or 'nothing'}, unexpected {listed(map(repr, extra)) or 'nothing'}"
        )
    for torch_name, (name, shape) in shapes.items():
        if arrays[torch_name].shape != _torch_shape(shape):
            raise ValueError(
                f"{torch_name!r} must have the shape {_torch_shape(shape)}, because {name!r} has {shape} in minifa, "
                f"got {arrays[torch_name].shape}"
            )


def _joined(module: str, key: str) -> str:
    return f"{module}.{key}" if module else key


def to_torch(net: Network, names: Mapping[str, str] | None = None) -> dict[str, Host]:
    """The weights and running statistics in PyTorch's layout and under PyTorch's names, as NumPy arrays, which
    PyTorch loads as tensors: ``model.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch(net).items()})``.

    Args:
        net: the network; if it flattens images, it must know its input shape.
        names: maps every PyTorch module to a layer, as for `from_torch`. Default: modules have the names of the layers.

    Raises:
        ValueError: ``names`` has unknown layers, or does not have every layer with weights once.

    >>> net = mf.Network([mf.Linear(2, 3)])
    >>> {name: array.shape for name, array in mf.weights.to_torch(net, {"fc": "linear1"}).items()}
    {'fc.weight': (3, 2), 'fc.bias': (3,)}
    """
    check_type(net, Network, A_NETWORK)
    names = {layer.name: layer.name for layer in _layers_with_weights(net)} if names is None else names
    _check_names(net, names)
    state = net.state()
    return {torch_name: _to_torch(state[name], shape) for name, torch_name, shape in _pairs(net, names)}


def match(net: Network, state: Any) -> dict[str, str]:
    """Map every PyTorch module in a state dict to a layer: by name if the names are equal, otherwise by order. Sibling
    modules whose names differ only in numbers (``features.0`` and ``features.3``, ``fc1`` and ``fc2``) are ordered by
    these numbers; others by the dictionary, which has the order of their definition in the model, or by the only order
    that fits the shapes. Ambiguous orders raise an error.

    Args:
        net: the network.
        state: as for `from_torch`.

    Raises:
        TypeError: as in `from_torch`.
        ValueError: the numbers of modules and layers differ, shapes differ, or more than one order fits.

    >>> net = mf.Network([mf.Linear(2, 3, bias=False), mf.ReLU(), mf.Linear(3, 1, bias=False)])
    >>> mf.weights.match(net, {"out.weight": np.zeros((1, 3)), "hidden.weight": np.zeros((3, 2))})
    {'hidden': 'linear1', 'out': 'linear2'}
    """
    check_type(net, Network, A_NETWORK)
    arrays = _arrays(_state_dict(state))
    names = _match(net, arrays, defined=True)
    _check_shapes(net, arrays, names)
    return names


def _match(net: Network, arrays: Mapping[str, Host], defined: bool) -> dict[str, str]:
    """``defined``: whether the arrays are in the order in which the model defines them; files have them sorted."""
    modules = _modules(arrays)
    layers = {layer.name: _torch_shapes(layer) for layer in _layers_with_weights(net)}
    if modules.keys() == layers.keys():
        return {name: name for name in layers}
    if len(modules) != len(layers):
        raise ValueError(
            "the PyTorch model must have as many modules with weights as this network has layers with weights, "
            f"got {len(modules)} modules ({listed(modules)}) and {len(layers)} layers ({listed(layers)})"
        )
    return dict(zip(modules_in_order(modules, layers, defined), layers, strict=True))


def _state_dict(state: Any) -> Mapping[str, Any]:
    """The state dict of a module, or the given state dict. Raises TypeError if ``state`` is neither."""
    arrays = state.state_dict() if hasattr(state, "state_dict") and not isinstance(state, type) else state
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"state must be a PyTorch module or its state dict, got {state!r}: read a file with weights.load"
        )
    for name in arrays:
        if not isinstance(name, str):
            raise TypeError(f"the keys of a state dict must be str, got {name!r}")
    return arrays


def _wrapper_prefix(names: Iterable[str]) -> str:
    """The common prefix added by DataParallel ("module.") and compile ("_orig_mod."), also repeated; "" if none."""
    match = re.match(r"(?:module\.|_orig_mod\.)*", os.path.commonprefix(list(names)))
    return match[0] if match else ""


def _without_wrapper_prefix(names: Mapping[str, str]) -> dict[str, str]:
    """Remove the prefix of `_wrapper_prefix` from module names, if they have it."""
    prefix = _wrapper_prefix(f"{module}." for module in names)
    return {f"{module}.".removeprefix(prefix).removesuffix("."): layer for module, layer in names.items()}


def _arrays(state: Mapping[str, Any]) -> dict[str, Host]:
    """Convert arrays or PyTorch tensors to host arrays by name, without batch counters and wrapper prefixes."""
    prefix, arrays = _wrapper_prefix(state), {}
    for name, array in state.items():
        if isinstance(array, Mapping):
            raise ValueError(
                f"{name!r} must be an array, got a dictionary: give state[{name!r}], if that is the state dict"
            )
        if not name.endswith("num_batches_tracked"):
            arrays[name.removeprefix(prefix)] = numbers_of(array, repr(name))
    return arrays


def _modules(arrays: Mapping[str, Host]) -> dict[str, Shapes]:
    """The shapes of every module's arrays: {"features.0": {"weight": (6, 1, 5, 5), "bias": (6,)}}."""
    modules: dict[str, Shapes] = {}
    for name, array in arrays.items():
        module, _, key = name.rpartition(".")
        modules.setdefault(module, {})[key] = array.shape
    return modules


def _torch_shapes(layer: Layer) -> Shapes:
    """The shapes of this layer's arrays in PyTorch, by their PyTorch names."""
    return {TORCH_NAMES.get(key, key): _torch_shape(array.shape) for key, array in _layer_arrays(layer).items()}


def _torch_shape(shape: Shape) -> Shape:
    if len(shape) == 3:  # parameters of a LayerNorm of images
        return (shape[2], *shape[:2])
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _layer_arrays(layer: Layer) -> dict[str, Any]:
    """Parameters and running statistics. Raises ValueError for a layer without a known counterpart in PyTorch."""
    if not isinstance(layer, (Weighted, Norm)) or isinstance(layer, LocallyConnected2d):
        raise ValueError(f"{layer} has no known counterpart in PyTorch")
    return {**layer.parameters(), **layer.buffers()}


def _layers_with_weights(net: Network) -> list[Layer]:
    """The layers that hold weights or running statistics, in forward order."""
    return [layer for layer in net if layer.parameter_names or layer.buffer_names]


def _check_names(net: Network, names: Mapping[str, str]) -> None:
    layers = [layer.name for layer in _layers_with_weights(net)]
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for pair in names.items() for name in pair):
        raise TypeError(f"names must map PyTorch modules to layers, such as {{'fc': 'linear1'}}, got {names!r}")
    given = list(names.values())
    missing, extra = sorted(set(layers) - set(given)), sorted(set(given) - set(layers))
    if missing or extra or len(given) > len(layers):
        raise ValueError(
            "names must contain every layer with weights once: "
            f"missing {missing or 'nothing'}, unknown {extra or 'nothing'}, got {given}"
        )


def _pairs(net: Network, names: Mapping[str, str]) -> Iterator[tuple[str, str, Shape | None]]:
    """(name in minifa, name in PyTorch, shape of the image that was flattened to this array's inputs, or None)."""
    modules = {layer: module for module, layer in names.items()}
    flattened = dict(_after_flatten(net.layers, None))
    for layer in _layers_with_weights(net):
        for key in _layer_arrays(layer):
            module = modules[layer.name]
            image = None if key == "b" else flattened.get(layer.name)
            yield f"{layer.name}.{key}", _joined(module, TORCH_NAMES.get(key, key)), image


def _after_flatten(layers: Sequence[Layer], image: Shape | None) -> Iterator[tuple[str, Shape | None]]:
    """(name, image shape) of every layer; None as shape if its inputs are not a flattened image."""
    for layer in layers:
        if isinstance(layer, Flatten):
            if layer.input_shape is None:
                raise ValueError(
                    f"the input shape of {layer} is not known: create the network with input_shape=, "
                    "so that its rows can be converted to PyTorch's order"
                )
            shape = layer.input_shape
            if len(shape) == 3 and shape[2] > 1 and shape[0] * shape[1] > 1:  # otherwise both orders are equal
                image = shape
        yield layer.name, image
        if image is not None and isinstance(layer, GroupNorm) and layer.num_groups > 1:
            raise ValueError(f"{layer} takes a flattened image: its groups are others than in PyTorch")
        for _, inner in layer.children():
            if image is not None:
                raise ValueError(f"{layer} takes a flattened image: its order in PyTorch is not known")
            yield from _after_flatten(inner, None)
        if isinstance(layer, Weighted):
            image = None


def _to_torch(array: Host, image: Shape | None) -> Host:
    """Convert an array to PyTorch's layout."""
    if image is not None:  # flattened inputs (H, W, C) become (C, H, W)
        rest = array.shape[1:]
        array = numpy.moveaxis(array.reshape(*image, *rest), 2, 0).reshape(-1, *rest)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 3:
        array = array.transpose(2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return numpy.ascontiguousarray(array)


def _from_torch(array: Host, image: Shape | None) -> Host:
    """Inverse of `_to_torch`."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 3:
        array = array.transpose(1, 2, 0)
    elif array.ndim == 2:
        array = array.T
    if image is not None:
        height, width, channels = image
        rest = array.shape[1:]
        array = numpy.moveaxis(array.reshape(channels, height, width, *rest), 0, 2).reshape(-1, *rest)
    return numpy.ascontiguousarray(array)


# Files


def save(net: Network, path: str | Path, layout: str = "minifa", names: Mapping[str, str] | None = None) -> None:
    """Write every parameter and running statistic to a safetensors file, atomically.

    Args:
        net: the network.
        path: path of the file; an existing file is replaced.
        layout: "minifa", arrays as in `Network.state`; or "torch", as in `to_torch`.
        names: for the layout "torch", as for `to_torch`.

    Raises:
        ValueError: an unknown layout; or as in `to_torch`.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    check_type(net, Network, A_NETWORK)
    if not isinstance(layout, str) or layout not in LAYOUTS or (names is not None and layout != "torch"):
        raise ValueError(f"layout must be 'minifa', or 'torch' with or without names, got {layout!r}, names {names}")
    arrays = net.state() if layout == "minifa" else to_torch(net, names)
    metadata = {"format": "minifa" if layout == "minifa" else "pt"}  # PyTorch's tools expect "pt"
    write_atomic(path, tensors.package().numpy.save(arrays, metadata))


def load(net: Network, path: str | Path, names: Mapping[str, str] | None = None) -> None:
    """Load the weights of a safetensors file of minifa or of a PyTorch model; the kind is detected from the file.

    Args:
        net: a network with the same layers; on an error it is unchanged.
        path: path of the file.
        names: for a PyTorch file, as for `from_torch`.

    Raises:
        FileNotFoundError: the file does not exist.
        DataFileError: the file is damaged, or is not a safetensors file.
        ValueError: the weights belong to another network; or as in `from_torch`.
        ImportError: the package safetensors is not installed.
    """
    check_type(net, Network, A_NETWORK)
    arrays, metadata = read(path)
    try:
        bare = _arrays(arrays)
        if metadata.get("format") != "minifa" and bare.keys() != net.state().keys():
            _load_torch(net, arrays, names, defined=False)
        elif names is not None:
            raise ValueError("names are only for weights in PyTorch's layout, and the file has minifa's")
        else:
            net.load_state(bare)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None


def read(path: str | Path) -> tuple[dict[str, Host], dict[str, str]]:
    """(arrays by name, metadata) of the safetensors file at ``path``; bfloat16 and float8 as float32.

    Raises:
        FileNotFoundError, DataFileError, ImportError: as in `load`.
    """
    return tensors.read(path)
