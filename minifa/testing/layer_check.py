"""`check_layer`: the checks that every layer of minifa passes, for user-defined layers."""

from __future__ import annotations

__all__ = ["check_layer"]

import copy
from collections.abc import Sequence

from .. import backend
from ..backend import Array
from ..layers import Layer
from ..network import Network
from ..rng import check_seed
from ..validation import Shape, check_int, check_type, example_shape
from .differences import TOLERANCES
from .examples import inputs, numbers
from .failures import checking, on_host, require_array, require_equal
from .gradient_check import check_gradients
from .read_only import ReadOnlyErrors, ReadOnlyPass, read_only
from .runs import passes


def check_layer(layer: Layer, input_shape: Sequence[int], *, batch: int = 4, seed: int = 0) -> None:
    """Check a layer: its passes in float32 and float64, its gradients, its state.

    Copies of the layer are run on NumPy, each in a network of its own. The checks, in this order:

    - passes: in evaluation and in training the output has the shape of `Layer.infer`; output, error below and
      gradients are finite and have the network's dtype; the input, the incoming error and other layers' arrays are
      not written to; no pass changes a parameter, and an evaluation changes no buffer;
    - repetition: a second pass, and a new network from the same seed, give the same bits;
    - state: a new network that loads the state gives the same bits;
    - gradients: those of the input and of every parameter beside central differences, in float64;
    - backend: on another backend than NumPy (`minifa.use`), the numbers of NumPy.

    Args:
        layer: a layer that is not in a network; it is not changed.
        input_shape: shape of one example, (features,) or (height, width, channels).
        batch: number of examples.
        seed: key of the weights and of the inputs, whose magnitudes lie from 0.01 to 2. If a kink of the layer lies
            within a central difference, another seed avoids it.

    Raises:
        AssertionError: a check fails; the message names the check, the expected and the computed result.
        TypeError: an argument of the wrong type.
        ValueError: a size or seed out of range, a layer that is in a network, or that refuses inputs of this shape.

    >>> from minifa.testing import check_layer
    >>> class Double(mf.Layer):
    ...     def forward(self, x, ctx):
    ...         return 2 * x
    ...     def backward(self, delta, rule):
    ...         return 2 * delta
    >>> check_layer(Double(), (5,))
    >>> class Wrong(Double):
    ...     def backward(self, delta, rule):
    ...         return 3 * delta
    >>> check_layer(Wrong(), (5,))
    Traceback (most recent call last):
    AssertionError: the gradient check of Wrong 'layer': wrong gradient of input, shape (4, 5), ... ratio 1.500...
    """
    check_type(layer, Layer, "the layer must be a minifa.Layer, as minifa.Linear(4, 3)")
    shape = example_shape(input_shape, "input_shape")
    batch, seed = check_int(batch, "the batch"), check_seed(seed)
    for dtype in ("float32", "float64"):
        with backend.using("numpy", dtype):
            net, x, error = _example(layer, shape, batch, seed)
            with checking(f"the passes in {dtype}", layer):
                _check_passes(net, x, error)
            with checking(f"the repetition in {dtype}", layer):
                _check_repetition(_network(layer, shape, seed), _network(layer, shape, seed), x, error)
            with checking(f"the state in {dtype}", layer):
                _check_state(net, _network(layer, shape, seed, moved=False), x, error)
    with backend.using("numpy", "float64"), checking("the gradient check", layer):
        net, x, _ = _example(layer, shape, batch, seed)
        check_gradients(net, x, seed)
    if backend.name() != "numpy":
        with checking(f"the comparison of {backend.name()} with NumPy", layer):
            _check_backend(layer, shape, batch, seed)


def _network(layer: Layer, shape: Shape, seed: int, moved: bool = True) -> Network:
    """A network of a copy of the layer on the current backend. ``moved``: its parameters are not those of the start,
    in which a 0 or 1 could hide a term of a derivative."""
    copied = copy.deepcopy(layer)
    _transfer([copied])
    net = Network([copied], seed=seed, input_shape=shape, input_error=True)
    if moved:
        for i, array in enumerate(net.parameters().values()):
            array += 0.1 * numbers(array.shape, seed=i)
    return net


def _transfer(layers: Sequence[Layer]) -> None:
    """Transfer the arrays of these layers to the current backend, on which they need not have been made."""
    for layer in layers:
        for name in (*layer.parameter_names, *layer.buffer_names):
            array = getattr(layer, name, None)
            if array is not None:
                setattr(layer, name, backend.to_host(array))
        for _, inner in layer.children():
            _transfer(inner)


def _example(layer: Layer, shape: Shape, batch: int, seed: int) -> tuple[Network, Array, Array]:
    """(the network of the layer, a batch, an output error)."""
    net = _network(layer, shape, seed)
    return net, inputs(shape, batch, seed), inputs(net.output_shape or (), batch, seed + 1)


def _check_passes(net: Network, x: Array, error: Array) -> None:
    for training in (False, True):
        mode, before = "in training" if training else "in evaluation", on_host(net.state())
        y = net.forward(read_only(x), ReadOnlyPass(training))
        require_array(y, error.shape, net.dtype, f"the output {mode}", "infer returns the shape of the output")
        after, unchanged = net.state(), net.parameters() if training else before
        advice = "a pass changes no parameter, and only a pass with ctx.update_statistics changes a buffer"
        require_equal({name: after[name] for name in unchanged}, {name: before[name] for name in unchanged}, advice)
    below = net.backward(read_only(error), ReadOnlyErrors())
    require_array(below, x.shape, net.dtype, "the error below", "backward returns dL/d(its input)")
    for name, array in net.parameters().items():
        advice = "backward stores it in self.grads"
        require_array(net.gradients()[name], array.shape, net.dtype, f"the gradient of {name}", advice)
    for name, array in net.state().items():
        require_array(array, None, net.dtype, name, "parameters and buffers stay finite")


def _check_repetition(net: Network, other: Network, x: Array, error: Array) -> None:
    """``net`` and ``other``: two new networks from the same seed."""
    advice = "draw random numbers from minifa.rng.generator, keyed by the seed that initialise gets and ctx.step"
    require_equal(other.parameters(), net.parameters(), f"two networks of one seed; {advice}")
    first = on_host(passes(net, x, error, update_statistics=False))
    require_equal(passes(net, x, error, update_statistics=False), first, f"a second pass; {advice}")
    require_equal(passes(other, x, error, update_statistics=False), first, f"a second network; {advice}")


def _check_state(net: Network, other: Network, x: Array, error: Array) -> None:
    passes(net, x, error)
    other.load_state(net.state())
    advice = "an array that training changes must be named in parameter_names or buffer_names"
    restored = on_host(passes(other, x, error, update_statistics=False))
    require_equal(restored, passes(net, x, error, update_statistics=False), advice)


def _check_backend(layer: Layer, shape: Shape, batch: int, seed: int) -> None:
    dtype = str(backend.dtype())
    results = on_host(passes(*_example(layer, shape, batch, seed)))
    with backend.using("numpy", dtype):
        expected = on_host(passes(*_example(layer, shape, batch, seed)))
    advice = "compute with minifa.backend.xp instead of numpy"
    require_equal(results, expected, advice, TOLERANCES[dtype])
