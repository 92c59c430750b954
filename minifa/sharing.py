"""Weight sharing without shared weights: the kernels of a locally connected layer are made equal from time to time.

    W_p <- mean of W_q over the positions q of p's group               `ShareWeights`, after every k-th update
    dw_i = -eta [ (z_i - mean z) x + gamma (w_i - w_i^start) ]         `sleep`, z_i = w_i . x, for each pattern x

Pogodin, Mehta, Lillicrap & Latham 2021, "Towards biologically plausible convolutional networks". In a phase of sleep,
lateral connections present the same pattern x to all neurons of a group, and a Hebbian rule drives their outputs, and
with them their weights, to the mean of the group; the pull to the weights at the start of the phase keeps the mean.
"""

from __future__ import annotations

__all__ = ["GROUPS", "ShareWeights", "lateral_inhibition", "signal_to_noise", "sleep"]

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .array_checks import require_float, require_like
from .backend import Array, quietly
from .layers.locally_connected import LocallyConnected2d
from .registry import Constructed, as_call, read_options
from .validation import check_between, check_choice, check_int, check_positive, check_str, check_type

if TYPE_CHECKING:
    from .network import Network
    from .rules.base import Rule

GROUPS = ("all", "kernel")


class ShareWeights(Constructed):
    """An option of optimizers (``share_weights=``): averages the kernels of every locally connected layer that learns,
    after every k-th update and before the feedback of the rule learns.

    Feedback that receives W's updates (`minifa.rules.KolenPollack`) is averaged in the same way, so that W - B decays
    as without sharing. All other feedback keeps a matrix for each position.

    Under SGD, momentum and weight decay included, a layer that starts with equal kernels (``equal_start=True``) and
    shares after every update is a convolution whose W has 1 / P of the gradient, P = oH * oW positions. Under Adam,
    AdamW and RMSprop it is not, because they divide the gradient of each position by its own size before the average.

    The mean of N independently drawn kernels has 1 / sqrt(N) of their norm: without ``equal_start`` and without batch
    norm, the activity of a network vanishes with the first sharing.

    Args:
        every: number of updates between two averages, at least 1.
        group: the positions whose kernels are averaged: "all"; or "kernel", the positions whose patches do not overlap,
            that is those congruent modulo ceil(kernel size / stride) in both directions (published: modulo the kernel
            size, with stride 1).

    Raises:
        TypeError: ``every`` is not an int.
        ValueError: ``every`` below 1, or an unknown group.

    >>> net = mf.Network([mf.LocallyConnected2d(1, 1, 1, input_size=2, bias=False)])
    >>> layer, optimizer = net.layers[0], mf.SGD(lr=0.1, share_weights=mf.ShareWeights())
    >>> layer.W = np.reshape([1.0, 2.0, 3.0, 6.0], layer.W.shape)
    >>> optimizer.step(net)
    >>> layer.W.ravel().tolist()
    [3.0, 3.0, 3.0, 3.0]
    """

    def __init__(self, every: int = 1, group: str = "all") -> None:
        self.every, self.group = check_int(every, "every"), check_choice(group, "group", GROUPS)

    @classmethod
    def read(cls, text: str) -> ShareWeights:
        """From options as written on the command line and in recipes. Raises TypeError, ValueError for wrong ones.

        >>> mf.ShareWeights.read("every=10,group=kernel")
        ShareWeights(every=10, group='kernel')
        """
        return cls(**read_options(check_str(text, "share_weights"), ("every", "group"), "sharing", "share_weights"))

    def __repr__(self) -> str:
        return as_call(self)

    def check(self, net: Network) -> None:
        """Raise ValueError if the network has no locally connected layer."""
        if not layers_of(net):
            raise ValueError(
                "share_weights needs locally connected layers, and the network has none: use LocallyConnected2d, or "
                "untied=True in the model cnn"
            )

    def average(self, net: Network, rule: Rule | None = None) -> None:
        """Average W, and the rule's feedback that receives W's updates, if it is the turn of this update."""
        if net.step % self.every:
            return
        for layer in layers_of(net):
            if layer.frozen:
                continue
            arrays = [layer.W]
            if rule is not None and rule.B_receives_updates and layer.name in rule.memory:
                arrays.append(rule.memory[layer.name])
            for array in arrays:
                for group in groups_of(layer, array, self.group):
                    group[...] = group.mean(axis=(0, 1))


def layers_of(net: Network) -> list[LocallyConnected2d]:
    """The locally connected layers of a network."""
    return [layer for layer in net.weighted if isinstance(layer, LocallyConnected2d)]


def groups_of(layer: LocallyConnected2d, array: Array, group: str) -> list[Array]:
    """Views (rows, columns, kH, kW, C_in, C_out) of an array of W's shape, each with the kernels of one group of
    positions, as for `ShareWeights`."""
    apart = [1, 1]
    if group == "kernel":
        apart = [math.ceil(k / s) for k, s in zip(layer.kernel, layer.stride, strict=True)]
    rows, columns = (range(min(step, length)) for step, length in zip(apart, layer.size, strict=True))
    return [array[i :: apart[0], j :: apart[1]] for i in rows for j in columns]


def sleep(kernels: Array, patterns: Iterable[Array], eta: float, gamma: float, start: Array | None = None) -> Array:
    """The weights of a group of neurons after a phase of sleep:

        dw_i = -eta [ (z_i - mean z) x + gamma (w_i - w_i^start) ],   z_i = w_i . x

    It keeps the mean of the group. The deviations from it tend to gamma (C + gamma I)^-1 of those at the start, where C
    is the mean of x x^T: for C = I to a fraction gamma / (1 + gamma), and `signal_to_noise` to ((1 + gamma) / gamma)^2
    times its value.

    Args:
        kernels: (members, fan_in, n_out); each of the n_out outputs is a group of its own. They are not changed.
        patterns: the x, (fan_in,) each, in their order.
        eta: step size, at least 0.
        gamma: strength of the pull to the weights at the start, at least 0.
        start: the weights at the start of the phase, if ``kernels`` are those within it; None: ``kernels``.

    Raises:
        TypeError, ValueError: a number that is out of range, or arrays of another shape or type.

    >>> kernels = mf.asarray(np.reshape([1.0, 3.0], (2, 1, 1)))
    >>> mf.sharing.sleep(kernels, 100 * [mf.asarray([1.0])], eta=0.5, gamma=0.0).ravel().tolist()
    [2.0, 2.0]
    """
    check_between(eta, "eta", 0, math.inf)
    check_between(gamma, "gamma", 0, math.inf)
    require_float(kernels, "sleep")
    if kernels.ndim != 3:
        raise ValueError(f"sleep expects kernels of shape (members, fan_in, n_out), got {kernels.shape}")
    start, w = kernels if start is None else start, kernels.copy()
    require_like(start, kernels.shape, "sleep", "weights at the start")
    for x in check_type(patterns, Iterable, "patterns must be the patterns of a phase of sleep, one after another"):
        require_like(x, kernels.shape[1:2], "sleep", "a pattern")
        z = (w * x[:, None]).sum(axis=1)  # (members, n_out)
        w -= eta * ((z - z.mean(axis=0))[:, None] * x[:, None] + gamma * (w - start))
    return w


def lateral_inhibition(z: Array, alpha: float = 10.0, tau: float = 30.0, b: float = 1.0, steps: int = 150) -> Array:
    """The z_i - mean z of `sleep` from a circuit with one inhibitory neuron, r_i - b after some steps of

        tau r_i' = -r_i + z_i - alpha r_inh + b        tau r_inh' = -r_inh + mean r - b

    At rest r_i - b = z_i - alpha / (1 + alpha) mean z: a finite alpha leaves a part of the mean, so that the mean of
    the weights drifts.

    Args:
        z: (members, ...), the neurons' inputs.
        alpha, tau, b, steps: strength of the inhibition, time constant in steps, resting rate and number of steps of
            Euler's method; the defaults are published.

    Raises:
        TypeError, ValueError: a number that is out of range, or a z that is not an array of floating-point numbers.

    >>> r = mf.sharing.lateral_inhibition(mf.asarray([1.0, 3.0]), alpha=1.0, steps=1000)
    >>> [round(one, 4) for one in r.tolist()]  # the mean is 2, half of it is subtracted
    [0.0, 2.0]
    """
    require_float(z, "a circuit")
    for value, what in ((alpha, "alpha"), (b, "b")):
        check_between(value, what, 0, math.inf)
    check_positive(tau, "tau")
    r, inhibitory = z * 0 + b, z[0] * 0
    for _ in range(check_int(steps, "steps")):
        change, of_inhibitory = z - r - alpha * inhibitory + b, r.mean(axis=0) - b - inhibitory
        r, inhibitory = r + change / tau, inhibitory + of_inhibitory / tau
    return r - b


@quietly
def signal_to_noise(kernels: Array) -> Array:
    """The mean over all weights of one kernel of mean^2 / variance over the members of a group, a scalar on the
    backend; infinite if all members are equal.

    Args:
        kernels: (members, ...), at least two members.

    Raises:
        TypeError, ValueError: not an array of floating-point numbers, or an empty one.

    >>> round(float(mf.sharing.signal_to_noise(mf.asarray([[1.0, 2.0], [3.0, 6.0]]))), 6)
    4.0
    """
    require_float(kernels, "a signal-to-noise ratio")
    return (kernels.mean(axis=0) ** 2 / kernels.var(axis=0)).mean()
