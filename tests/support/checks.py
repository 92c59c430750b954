"""Functions that several tests share: gradients and targets for a formula, a short training run, comparisons of
arrays."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minifa as mf
from minifa import Linear, Network
from minifa.layers.activations import Activation
from minifa.testing.examples import batch, network_for

HALF = mf.HalfSquaredError()

# Rules and their formulas


def data(shape: tuple[int, ...] = (4,), n: int = 8, n_out: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Normal random inputs and rows of targets."""
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, *shape)), rng.standard_normal((n, n_out))


def gradients(net: Network, rule: Any, x: Any, y: Any, loss: Any = HALF) -> dict[str, np.ndarray]:
    """Copies of the gradients of one batch."""
    rule.gradients(net, x, y, loss)
    return {name: gradient.copy() for name, gradient in net.gradients().items()}


def linear_net(*sizes: int, init: str = "he_normal") -> Network:
    return Network([Linear(a, b, bias=False, init=init) for a, b in zip(sizes, sizes[1:], strict=False)])


class Invertible(Activation):
    """f(x) = x + tanh(x) / 2."""

    kind = "invertible"
    slope_of_input = True

    def f(self, y: np.ndarray, x: np.ndarray) -> None:
        y[...] = x + np.tanh(x) / 2

    def times_slope(self, below: np.ndarray, delta: np.ndarray, x: np.ndarray) -> None:
        below[...] = delta * (1.5 - np.tanh(x) ** 2 / 2)


def toeplitz(layer: Any, B: np.ndarray, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> np.ndarray:
    """The matrix (inputs, outputs) that equals a convolution with kernel B, filled position by position."""
    T = np.zeros((*in_shape, *out_shape))
    (kh, kw), (sh, sw), (p, q), (dh, dw), _ = layer.window
    each_in, each_out = B.shape[2], B.shape[3] // layer.groups
    connected = np.zeros((kh, kw, in_shape[2], out_shape[2]))  # an output channel reads the channels of its group
    for g in range(layer.groups):
        outs = slice(g * each_out, (g + 1) * each_out)
        connected[:, :, g * each_in : (g + 1) * each_in, outs] = B[..., outs]
    for oi in range(out_shape[0]):
        for oj in range(out_shape[1]):
            for i in range(kh):
                for j in range(kw):
                    row, column = oi * sh + i * dh - p, oj * sw + j * dw - q
                    if 0 <= row < in_shape[0] and 0 <= column < in_shape[1]:
                        T[row, column, :, oi, oj, :] += connected[i, j]
    return T.reshape(math.prod(in_shape), math.prod(out_shape))


def assert_close(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 1e-12) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name)


# A short training run with every kind of layer


def update(net: Network, rule: Any, x: Any, y: Any, loss: Any, optimizer: Any) -> float:
    """One weight update as in training. Returns the loss."""
    value = rule.gradients(net, x, y, loss)
    optimizer.step(net, rule)
    return float(value)


def train_a_little(
    description: str, steps: int = 3, n: int = 8, update: Callable[..., float] = update
) -> dict[str, np.ndarray]:
    """All state after a short training run, on the host: of net, optimizer and rule, gradients, losses."""
    net = network_for(description)
    rule = mf.rules.make(description, seed=1).attach(net)
    loss, optimizer = (
        mf.SoftmaxCrossEntropy(label_smoothing=0.1),
        mf.SGD(0.05, momentum=0.9, weight_decay=1e-3, clip_norm=5.0),
    )
    losses = []
    for step in range(steps):
        x, y = batch(n, net.input_shape, seed=step)
        losses.append(update(net, rule, x, y, loss, optimizer))
    grads = {f"gradient of {name}": mf.to_host(g) for name, g in net.gradients().items() if g is not None}
    return {**net.state(), **optimizer.state(), **rule.state(), **grads, "losses": np.array(losses)}


@functools.cache
def trained_on_numpy(description: str) -> dict[str, np.ndarray]:
    """The result of `train_a_little` on NumPy in float32, with which tests compare others; not to be changed."""
    with mf.using("numpy", "float32"):
        return train_a_little(description)


def assert_same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Assert that two dictionaries of arrays are bit-identical; the error lists every name that differs."""
    assert a.keys() == b.keys()
    differ = [f"{key}: by up to {np.abs(a[key] - b[key]).max():.3e}" for key in a if not np.array_equal(a[key], b[key])]
    assert not differ, "\n".join(differ)
