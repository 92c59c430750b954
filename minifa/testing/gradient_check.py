"""Gradients compared with central differences in float64."""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from ..backend import Array
from ..layers import ELU, LeakyReLU, MaxPool, Pass, ReLU
from ..network import Network
from ..rules import BP

Arrays = Mapping[str, Any]
STEP = 1e-5
DIRECTIONS = 3
WORST = 20  # entries of a wrong gradient that are reported


def central_difference(value: Callable[[], float], array: Array, direction: Array, step: float = STEP) -> float:
    """The derivative of a value along a direction in which one of its arrays is moved."""
    original = array.copy()
    try:
        array[...] = original + step * direction
        above = value()
        array[...] = original - step * direction
        return (above - value()) / (2 * step)
    finally:
        array[...] = original


def slopes(
    arrays: Arrays, gradients: Arrays, value: Callable[[], float], seed: int = 0, step: float = STEP
) -> tuple[dict[str, float], dict[str, float]]:
    """For each array, the derivative of the value along a random direction: by its gradient, and by central
    differences."""
    given, numeric = {}, {}
    for i, (name, array) in enumerate(arrays.items()):
        direction = numpy.random.default_rng((seed, i)).standard_normal(array.shape)
        direction /= numpy.sqrt((direction**2).sum())
        given[name] = float((gradients[name] * direction).sum())
        numeric[name] = central_difference(value, array, direction, step)
    return given, numeric


def check_gradients(net: Network, x: Array, seed: int = 0, step: float = STEP, tolerance: float = 1e-7) -> None:
    """Compare backpropagation's gradients of L = sum(c * output) with central differences along random directions.

    Every parameter and the input are checked, each along three directions. The network needs ``input_error=True`` and
    float64.

    Raises:
        AssertionError: a gradient differs (with all numbers) or is missing, an array is not float64, or a kink lies
            within the step.
    """
    ctx = Pass(training=True, step=1, update_statistics=False)
    output = net.forward(x, ctx)
    if output.dtype != numpy.float64:
        raise AssertionError(f"gradients are checked in float64, the output is {output.dtype}")
    c = numpy.random.default_rng(seed).standard_normal(output.shape)
    sides = _sides(net)
    net.clear_gradients()
    arrays = {"input": x, **net.parameters()}
    gradients = {"input": net.backward(c, BP()), **net.gradients()}
    for name, array in arrays.items():
        gradient = gradients[name]
        if gradient is None:
            raise AssertionError(f"no gradient of {name}")
        if gradient.shape != array.shape:
            raise AssertionError(f"{name} has shape {array.shape}, its gradient {gradient.shape}")

    def value() -> float:
        loss = float((c * net.forward(x, ctx)).sum())
        for layer, before, now in zip(net, sides, _sides(net), strict=True):
            if not numpy.array_equal(before, now):
                raise AssertionError(f"a kink of {layer} lies within the step: choose other numbers")
        return loss

    for number in range(DIRECTIONS):
        given, numeric = slopes(arrays, gradients, value, seed + number, step)
        for name in arrays:
            if not abs(given[name] - numeric[name]) <= tolerance * max(1.0, abs(numeric[name])):
                message = f"wrong gradient of {name}, shape {arrays[name].shape}, seed {seed}, step {step:g}"
                entries = _entries(arrays[name], gradients[name], value, step)
                raise AssertionError(
                    f"{message}: along a random direction the gradient gives {given[name]:+.9e} and central "
                    f"differences give {numeric[name]:+.9e}, ratio "
                    f"{given[name] / (numeric[name] or math.nan):.9f}\n{entries}"
                )


def _sides(net: Network) -> list[Any]:
    """The side of its kinks on which every layer stands: the sign of a rectifier's output (of an ELU's input), the
    winners of a max pooling."""
    return [
        layer.cache > 0
        if isinstance(layer, (ReLU, LeakyReLU, ELU))
        else layer.cache[1].copy()
        if isinstance(layer, MaxPool)
        else None
        for layer in net
    ]


def _entries(array: Array, gradient: Array, value: Callable[[], float], step: float) -> str:
    """The entries that differ most: the gradient, and central differences."""
    numeric = numpy.zeros(array.size)
    for i in range(array.size):
        direction = numpy.zeros(array.size)
        direction[i] = 1
        numeric[i] = central_difference(value, array, direction.reshape(array.shape), step)
    given = gradient.reshape(-1)
    worst = numpy.argsort(-abs(numeric - given))[:WORST]
    lines = [
        f"  {tuple(map(int, numpy.unravel_index(i, array.shape)))}: gradient {given[i]:+.9e}, "
        f"differences {numeric[i]:+.9e}"
        for i in worst
    ]
    return "\n".join([f"the {len(worst)} worst of {array.size} entries:", *lines])
