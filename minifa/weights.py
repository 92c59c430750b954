"""Weights from other programs and for them: safetensors files, and PyTorch's layout of the same numbers.

    PyTorch                               here
    Linear.weight (out, in)               W (in, out)
    Conv2d.weight (out, in, kH, kW)       W (kH, kW, in, out)
    BatchNorm.weight, .bias               gamma, beta
    BatchNorm.running_mean, running_var   the same
    BatchNorm.num_batches_tracked         nothing: it is left out

PyTorch flattens an image channel by channel, minifa pixel by pixel. What stands behind a `Flatten` therefore has its
inputs in another order, and they are put into the right one.

Reading and writing files needs the package safetensors (``pip install "minifa[safetensors]"``); the rest does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from . import tensors
from .files import write_whole
from .layers import BatchNorm, Flatten, Weighted
from .layers.base import Layer, Shape
from .network import Network

Host = numpy.ndarray
THEIRS = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}  # running statistics are called alike
LAYOUTS = ("minifa", "torch")


# Between the two layouts


def from_torch(net: Network, state: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """Take over the weights of a PyTorch model. All is checked first; on an error nothing has changed.

    Args:
        net: a network of the same layers; behind a `Flatten` of images it must know its input shape.
        state: what ``model.state_dict()`` gave, or its arrays by the same names.
        names: for every PyTorch module with weights, the layer here: ``{"features.0": "conv1"}``. Default: `match`.

    Raises:
        ValueError: weights missing or too many, of another shape, or not finite; as `match`.

    >>> net = mf.Network([mf.Linear(2, 3)])
    >>> weight, bias = np.array([[1, 2], [3, 4], [5, 6]]), np.array([7, 8, 9])
    >>> mf.weights.from_torch(net, {"fc.weight": weight, "fc.bias": bias})
    >>> net["linear1"].W.tolist()
    [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    """
    arrays = _arrays(state)
    names = match(net, arrays) if names is None else names
    _check_names(net, names)
    found: dict[str, Host] = {}
    wanted = {ours: (theirs, order) for ours, theirs, order in _pairs(net, names)}
    missing = sorted(theirs for theirs, _ in wanted.values() if theirs not in arrays)
    extra = sorted(arrays.keys() - {theirs for theirs, _ in wanted.values()})
    if missing or extra:
        raise ValueError(
            f"the PyTorch weights do not belong to this network: missing {missing or 'nothing'}, "
            f"unknown {extra or 'nothing'}"
        )
    own = net.state()
    for ours, (theirs, shape) in wanted.items():
        expected = _to_torch(own[ours], shape).shape
        if arrays[theirs].shape != expected:
            raise ValueError(
                f"{theirs!r} has shape {arrays[theirs].shape}; for {ours!r} of shape {own[ours].shape} here, "
                f"PyTorch's is {expected}"
            )
        found[ours] = _from_torch(arrays[theirs], shape)
    net.load_state(found)


def to_torch(net: Network, names: Mapping[str, str] | None = None) -> dict[str, Host]:
    """The weights and running statistics in PyTorch's layout, for ``model.load_state_dict``, as arrays on the host.

    Args:
        net: the network; behind a `Flatten` of images it must know its input shape.
        names: for every PyTorch module the layer here, as for `from_torch`. Default: modules are called as layers are.

    Raises:
        ValueError: names of other layers, or not of all.

    >>> net = mf.Network([mf.Linear(2, 3)])
    >>> {name: array.shape for name, array in mf.weights.to_torch(net, {"fc": "linear1"}).items()}
    {'fc.weight': (3, 2), 'fc.bias': (3,)}
    """
    names = {layer.name: layer.name for layer in _holders(net)} if names is None else names
    _check_names(net, names)
    own = net.state()
    return {theirs: _to_torch(own[ours], shape) for ours, theirs, shape in _pairs(net, names)}


def match(net: Network, state: Mapping[str, Any]) -> dict[str, str]:
    """For every PyTorch module in this state dict, the layer here: by name where they are called alike, else by order.

    The order is that of the numbers where modules are numbered, as in ``nn.Sequential`` (``features.0``,
    ``features.3``), else that of the dictionary: a model's own state dict has its modules in their order. (What was
    read from a file has them sorted by name, which is no order; `load` refuses it.)

    Raises:
        ValueError: another number of modules than layers here.

    >>> net = mf.Network([mf.Linear(2, 3), mf.ReLU(), mf.Linear(3, 1)])
    >>> mf.weights.match(net, {"2.weight": np.zeros((1, 3)), "0.weight": np.zeros((3, 2))})
    {'0': 'linear1', '2': 'linear2'}
    """
    modules, layers = _modules(_arrays(state)), [layer.name for layer in _holders(net)]
    if set(modules) == set(layers):
        return {name: name for name in layers}
    if not _named_siblings(modules):
        modules.sort(key=lambda name: [int(part) if part.isdecimal() else -1 for part in name.split(".")])
    if len(modules) != len(layers):
        raise ValueError(
            f"{len(modules)} PyTorch modules have weights ({', '.join(modules)}), "
            f"and {len(layers)} layers of this network ({', '.join(layers)})"
        )
    return dict(zip(modules, layers, strict=True))


def _modules(arrays: Mapping[str, Any]) -> list[str]:
    """Whose arrays they are, each once: "features.0" of "features.0.weight" and "features.0.bias"."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))


def _named_siblings(modules: Sequence[str]) -> list[str]:
    """The first modules beside each other that have names in the place of numbers; none where numbers tell the
    order."""
    siblings: dict[tuple[str, ...], dict[str, None]] = {}
    for module in modules:
        path = tuple(module.split("."))
        for depth, part in enumerate(path):
            siblings.setdefault(path[:depth], {})[part] = None
    for parts in siblings.values():
        if len(parts) > 1 and not all(part.isdecimal() for part in parts):
            return list(parts)
    return []


def _arrays(state: Mapping[str, Any]) -> dict[str, Host]:
    """Host arrays by name, from tensors of PyTorch too, without what counts batches."""
    wanted = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    return {name: tensors.host_array(array, name) for name, array in wanted.items()}


def _holders(net: Network) -> list[Layer]:
    """The layers that hold weights, in forward order."""
    return [layer for layer in net if layer.trainable]


def _check_names(net: Network, names: Mapping[str, str]) -> None:
    layers = [layer.name for layer in _holders(net)]
    given = list(names.values())
    missing, extra = sorted(set(layers) - set(given)), sorted(set(given) - set(layers))
    if missing or extra or len(given) > len(layers):
        raise ValueError(
            "names must give every layer with weights once: "
            f"missing {missing or 'nothing'}, unknown {extra or 'nothing'}, given {given}"
        )


def _pairs(net: Network, names: Mapping[str, str]) -> Iterator[tuple[str, str, Shape | None]]:
    """(name here, name there, shape of the image that was flattened into this array's inputs, or None)."""
    modules = {layer: module for module, layer in names.items()}
    flattened = dict(_behind_flatten(net.layers, None))
    for layer in _holders(net):
        if not isinstance(layer, (Weighted, BatchNorm)):
            raise ValueError(f"{layer} has no counterpart in PyTorch that is known here")
        for key in (*layer.parameters(), *layer.statistics()):
            module = modules[layer.name]
            theirs = f"{module}.{THEIRS.get(key, key)}" if module else THEIRS.get(key, key)
            yield f"{layer.name}.{key}", theirs, None if key == "b" else flattened.get(layer.name)


def _behind_flatten(layers: Sequence[Layer], image: Shape | None) -> Iterator[tuple[str, Shape | None]]:
    """For every layer, the shape of the image whose pixels its inputs are in a row; None: they are not."""
    for layer in layers:
        if isinstance(layer, Flatten):
            if layer.input_shape is None:
                raise ValueError(
                    f"what {layer} flattens is not known: make the network with input_shape=, "
                    "so that its rows can be put into PyTorch's order"
                )
            shape = layer.input_shape
            if len(shape) == 3 and shape[2] > 1 and shape[0] * shape[1] > 1:  # else both orders are the same
                image = shape
        yield layer.name, image
        for _, inner in layer.children():
            if image is not None:
                raise ValueError(f"{layer} has the pixels of an image in a row: its order in PyTorch is not known")
            yield from _behind_flatten(inner, None)
        if isinstance(layer, Weighted):
            image = None


def _to_torch(array: Host, image: Shape | None) -> Host:
    """One of our arrays in PyTorch's layout."""
    if image is not None:  # inputs (H, W, C), in a row, become (C, H, W)
        rest = array.shape[1:]
        array = numpy.moveaxis(array.reshape(*image, *rest), 2, 0).reshape(-1, *rest)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return numpy.ascontiguousarray(array)


def _from_torch(array: Host, image: Shape | None) -> Host:
    """The reverse of `_to_torch`."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
        array = array.T
    if image is not None:
        height, width, channels = image
        rest = array.shape[1:]
        array = numpy.moveaxis(array.reshape(channels, height, width, *rest), 0, 2).reshape(-1, *rest)
    return numpy.ascontiguousarray(array)


# Files


def save(net: Network, path: str | Path, layout: str = "minifa", names: Mapping[str, str] | None = None) -> None:
    """Write every parameter and running statistic into a safetensors file: whole, or not at all.

    Args:
        net: the network.
        path: the file; one that is there is replaced.
        layout: "minifa", arrays as `Network.state` has them; or "torch", as `to_torch` has them.
        names: for the layout "torch", as for `to_torch`.

    Raises:
        ValueError: another layout; as `to_torch`.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    if layout not in LAYOUTS or (names is not None and layout != "torch"):
        raise ValueError(f"the layout is 'minifa', or 'torch' with or without names, got {layout!r}, names {names}")
    arrays = net.state() if layout == "minifa" else to_torch(net, names)
    metadata = {"format": "minifa" if layout == "minifa" else "pt"}  # "pt" is what PyTorch's tools look for
    write_whole(path, tensors.package().numpy.save(arrays, metadata))


def load(net: Network, path: str | Path, names: Mapping[str, str] | None = None) -> None:
    """Take over the weights of a safetensors file, of minifa or of a PyTorch model; what kind it is, the file tells.

    Args:
        net: a network of the same layers. On an error nothing in it has changed.
        path: the file.
        names: for a file of PyTorch's, as for `from_torch`.

    Raises:
        FileNotFoundError: there is no such file.
        DataFileError: it is damaged, or no safetensors file.
        ValueError: it belongs to another network; as `from_torch`.
        ImportError: the package safetensors is not installed.
    """
    arrays, metadata = read(path)
    try:
        if metadata.get("format") != "minifa":
            modules = _modules(_arrays(arrays))
            if names is None and set(modules) != {layer.name for layer in _holders(net)} and _named_siblings(modules):
                raise ValueError(
                    f"the names {', '.join(_named_siblings(modules))} do not tell the order of these PyTorch modules, "
                    "and a file keeps none: give names={'their module': 'layer here', ...}"
                )
            from_torch(net, arrays, names)
        elif names is not None:
            raise ValueError("names are for PyTorch's weights, and these are minifa's")
        else:
            net.load_state(arrays)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None


def read(path: str | Path) -> tuple[dict[str, Host], dict[str, str]]:
    """(arrays by name, metadata) of the safetensors file at ``path``; bfloat16 and float8 as float32.

    Raises:
        FileNotFoundError, DataFileError, ImportError: as `load`.
    """
    return tensors.read(path)
