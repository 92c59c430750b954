"""Derivatives of a network's outputs by the activities of its layers, for each example.

    J_l[n, k, i] = d y_k / d h_i        of example n: y the outputs of the network, h the output of layer l

Row k of all J_l comes from one backward pass of backpropagation that starts from the k-th unit vector. The error of an
example that backpropagation gives layer l is e @ J_l, and the Gauss-Newton direction is e @ pinv(J_l).T.
"""

from __future__ import annotations

__all__ = ["jacobians"]

import math
from collections.abc import Sequence

from . import backend
from .backend import Array, xp
from .layers.base import Layer, Pass, Teacher
from .layers.batch_norm import BatchNorm
from .layers.observer import Observer, observing
from .layers.weighted import Weighted
from .network import A_NETWORK, Network
from .validation import check_list, check_type


@backend.quietly
def jacobians(net: Network, x: Array, names: Sequence[str], step: int = 0) -> dict[str, Array]:
    """The derivatives of the outputs by the outputs of the named layers, for a batch x (N, ...) on the backend.

    One forward pass as in training, without an update of statistics, and n_out backward passes. Caches, gradients and
    running statistics of the network are not changed.

    Args:
        names: names of layers of the network.
        step: the number of weight updates so far; dropout's masks depend on it.

    Returns:
        By layer name, an array (N, n_out, units): the outputs and the units are flattened.

    Raises:
        TypeError: a net that is not a Network, names that are not a list of str; a batch as for `Network.forward`.
        KeyError: an unknown layer.
        ValueError: batch norm that is not frozen, because there the outputs of one example depend on the others; a
            layer in a block to which no error is carried, because no layer below it learns.

    >>> from minifa.jacobians import jacobians
    >>> net = mf.Network([mf.Linear(1, 1), mf.Linear(1, 2)])
    >>> net["linear2"].W = mf.asarray([[3.0, 4.0]])
    >>> jacobians(net, mf.asarray([[7.0]]), ["linear1", "linear2"])["linear1"].tolist()
    [[[3.0], [4.0]]]
    """
    check_type(net, Network, A_NETWORK)
    layers = [net[name] for name in check_list(names, str, "names must be a list of layers' names")]
    for layer in net:
        if isinstance(layer, BatchNorm) and not layer.frozen:
            raise ValueError(
                f"the derivatives of each example need independent examples, and {layer} mixes the batch: freeze it, "
                "or use LayerNorm or GroupNorm"
            )
    with net.preserved(), observing(Observer()):
        output = net.forward(x, Pass(training=True, step=step, update_statistics=False))
        return of_last_pass(net, layers, output)


def of_last_pass(net: Network, layers: Sequence[Layer], output: Array) -> dict[str, Array]:
    """The derivatives for the last training pass, whose output (N, ...) is given. Blocks store new gradients; other
    weighted layers do not."""
    n, n_out = len(output), math.prod(output.shape[1:])
    rows: dict[str, list[Array]] = {layer.name: [] for layer in layers}
    with backend.blas_limit():
        for k in range(n_out):
            unit = xp.zeros((n, n_out), output.dtype)
            unit[:, k] = 1
            for name, delta in _backward(net, set(rows), unit.reshape(output.shape)).items():
                rows[name].append(delta.reshape(n, -1))
    if unreached := [name for name, found in rows.items() if not found]:
        raise ValueError(f"no error is carried to {', '.join(unreached)}: no layer below learns")
    return {name: xp.stack(found, axis=1) for name, found in rows.items()}


def _backward(net: Network, names: set[str], delta: Array) -> dict[str, Array]:
    """The errors at the outputs of these layers for the error at the network's output."""
    recorder, below = _Recorder(names), delta
    for layer in reversed(net.layers):
        if (taught := recorder.teach(layer, below)) is None:
            break
        below = layer.carry(taught, layer.W) if isinstance(layer, Weighted) else layer.backward(taught, recorder)
    return recorder.found


class _Recorder(Teacher):
    """Backpropagation as a `Teacher` that records the errors at some layers and stops below the last of them."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.found: dict[str, Array] = {}

    def teach(self, layer: Layer, delta: Array | None) -> Array | None:
        if layer.name in self.names and delta is not None:
            self.found[layer.name] = delta
        return None if self.names == self.found.keys() else delta

    def carry(self, layer: Weighted, delta: Array) -> Array:
        return layer.carry(delta, layer.W)
