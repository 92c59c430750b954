"""Initialisers of weights and feedback matrices: a family (Gaussian or uniform, or the absolute values of such numbers)
and a standard deviation computed from fan_in and fan_out.

``fan_in`` is the number of inputs of one unit; the fan_out of a convolution is kH * kW * C_out (as in Xavier
initialisation).

>>> mf.initialisers.INITIALISERS["he_normal"].sd(8, 100)  # sqrt(2 / fan_in)
0.5
"""

from __future__ import annotations

__all__ = ["INITIALISERS", "Initialiser", "find", "gaussian", "truncated_gaussian", "uniform"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy

from . import rng
from .registry import lookup
from .validation import check_between


@dataclass(frozen=True)
class Initialiser:
    """A distribution with mean 0, or of non-negative numbers.

    Attributes:
        name: the name of the initialiser.
        family: function that draws the numbers, called with a generator, a shape and a root mean square.
        sd: function of fan_in and fan_out that returns the root mean square: the standard deviation if the mean is 0.
    """

    name: str
    family: Callable[[numpy.random.Generator, tuple[int, ...], float], numpy.ndarray] = field(repr=False)
    sd: Callable[[int, int], float] = field(repr=False)

    @property
    def is_nonnegative(self) -> bool:
        """Whether it draws no negative number, so that its mean is above 0."""
        return self.family in (rng.nonnegative_gaussian, rng.nonnegative_uniform, rng.on_off_blocks)

    def draw(self, rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> numpy.ndarray:
        """Draw a host array (float64) of the given shape."""
        return self.family(rng, shape, self.sd(fan_in, fan_out))


def _he(fan_in: int, fan_out: int) -> float:
    """He et al. 2015, for layers with ReLU."""
    return math.sqrt(2.0 / fan_in)


def _lecun(fan_in: int, fan_out: int) -> float:
    """LeCun, Bottou, Orr & Müller 1998: outputs with the variance of the inputs."""
    return math.sqrt(1.0 / fan_in)


def _xavier(fan_in: int, fan_out: int) -> float:
    """Glorot & Bengio 2010, normalised initialisation."""
    return math.sqrt(2.0 / (fan_in + fan_out))


def _torch(fan_in: int, fan_out: int) -> float:
    """PyTorch's default for Linear and Conv2d: uniform within +-1/sqrt(fan_in)."""
    return 1.0 / math.sqrt(3.0 * fan_in)


def _over_fan_in(fan_in: int, fan_out: int) -> float:
    """He's standard deviation over sqrt(fan_in): the mean input of a unit does not grow with the number of inputs,
    which saturates tanh."""
    return math.sqrt(2.0) / fan_in


def _zero(fan_in: int, fan_out: int) -> float:
    return 0.0


INITIALISERS = {
    initialiser.name: initialiser
    for initialiser in (
        Initialiser("he_normal", rng.gaussian, _he),
        Initialiser("he_uniform", rng.uniform, _he),
        Initialiser("lecun_normal", rng.gaussian, _lecun),
        Initialiser("xavier_normal", rng.gaussian, _xavier),
        Initialiser("xavier_uniform", rng.uniform, _xavier),
        Initialiser("torch", rng.uniform, _torch),
        Initialiser("onoff_input", rng.opposite_pairs, _lecun),  # Clark, Abbott & Chung 2021
        Initialiser("onoff", rng.on_off_blocks, _he),  # the w of the blocks has the variance 4 / fan_in
        Initialiser("nonnegative_normal", rng.nonnegative_gaussian, _over_fan_in),
        Initialiser("nonnegative_uniform", rng.nonnegative_uniform, _torch),
        Initialiser("zero", rng.gaussian, _zero),
    )
}


def find(init: str | Initialiser) -> Initialiser:
    """Look up an initialiser by name: one of `INITIALISERS`, or a family with its number in parentheses, which is
    independent of the fans.

    Args:
        init: "he_normal", ..., "gaussian(0.01)", "uniform(0.5)", "truncated_gaussian(0.05)"; an Initialiser is
            returned as is.

    Raises:
        ValueError: an unknown name, or a number that is not above 0.

    >>> mf.initialisers.find("gaussian(0.01)").sd(8, 100)
    0.01
    """
    if isinstance(init, Initialiser):
        return init
    if not isinstance(init, str) or "(" not in init:
        return lookup(INITIALISERS, init, "initialiser")
    family, _, number = init.partition("(")
    make = lookup(BY_NUMBER, family, "initialiser with a number")
    try:
        size = float(number.removesuffix(")"))
    except ValueError:
        size = 0.0
    if not (0 < size < math.inf and number.endswith(")")):
        raise ValueError(
            f"an initialiser with a number must be written {family}(0.01), with a number above 0, got {init!r}"
        )
    return make(size)


def gaussian(sd: float) -> Initialiser:
    """Normally distributed numbers with standard deviation ``sd``, independent of the fans.

    Raises:
        TypeError: ``sd`` is not a number.
        ValueError: ``sd`` is negative or not finite.
    """
    check_between(sd, "sd", 0, math.inf)
    return Initialiser(f"gaussian({sd})", rng.gaussian, lambda fan_in, fan_out: sd)


def uniform(limit: float) -> Initialiser:
    """Uniformly distributed numbers between -limit and limit, independent of the fans.

    Raises:
        TypeError: ``limit`` is not a number.
        ValueError: ``limit`` is negative or not finite.

    >>> layer = mf.Linear(300, 200, init=mf.initialisers.uniform(0.5))
    >>> bool(abs(layer.W).max() <= 0.5)
    True
    """
    check_between(limit, "limit", 0, math.inf)
    return Initialiser(f"uniform({limit})", rng.uniform, lambda fan_in, fan_out: limit / math.sqrt(3.0))


def truncated_gaussian(sd: float) -> Initialiser:
    """Normally distributed numbers with standard deviation ``sd``; numbers beyond 2 sd are drawn again, as in
    TensorFlow's truncated normal.

    The truncated distribution has a standard deviation of 0.8796 sd. This value is the `Initialiser.sd` by which rules
    scale B.

    Raises:
        TypeError: ``sd`` is not a number.
        ValueError: ``sd`` is negative or not finite.

    >>> layer = mf.Linear(300, 200, init=mf.initialisers.truncated_gaussian(0.05))
    >>> bool(abs(layer.W).max() <= 0.1)
    True
    """
    check_between(sd, "sd", 0, math.inf)
    return Initialiser(
        f"truncated_gaussian({sd})", rng.truncated_gaussian, lambda fan_in, fan_out: rng.TRUNCATED_SD * sd
    )


BY_NUMBER: dict[str, Callable[[float], Initialiser]] = {
    make.__name__: make for make in (gaussian, uniform, truncated_gaussian)
}
