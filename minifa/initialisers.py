"""How weights and feedback matrices start: a family (Gaussian or uniform) and a standard deviation read off the fans.

``fan_in`` is what one unit sums over; a convolution's fan_out counts kernel positions, kH * kW * C_out (as in
Xavier's rule).

>>> mf.initialisers.INITIALISERS["he_normal"].sd(8, 100)  # sqrt(2 / fan_in)
0.5
"""

from __future__ import annotations

__all__ = ["INITIALISERS", "Initialiser", "find", "gaussian", "truncated_gaussian", "uniform"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from . import streams
from .registry import lookup
from .scalars import between


@dataclass(frozen=True)
class Initialiser:
    """A distribution with mean 0.

    Attributes:
        name: what it is called.
        family: draws numbers, called with a generator, a shape and a standard deviation.
        sd: the standard deviation, a function of fan_in and fan_out.
    """

    name: str
    family: Callable[[numpy.random.Generator, tuple[int, ...], float], numpy.ndarray]
    sd: Callable[[int, int], float]

    def draw(self, rng: numpy.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> numpy.ndarray:
        """A host array (float64) of the given shape."""
        return self.family(rng, shape, self.sd(fan_in, fan_out))


def _he(fan_in: int, fan_out: int) -> float:
    """He et al. 2015, for layers with ReLU."""
    return math.sqrt(2.0 / fan_in)


def _xavier(fan_in: int, fan_out: int) -> float:
    """Glorot & Bengio 2010, their normalised initialisation."""
    return math.sqrt(2.0 / (fan_in + fan_out))


def _torch(fan_in: int, fan_out: int) -> float:
    """PyTorch's default for Linear and Conv2d: uniform within +-1/sqrt(fan_in)."""
    return 1.0 / math.sqrt(3.0 * fan_in)


def _zero(fan_in: int, fan_out: int) -> float:
    return 0.0


INITIALISERS = {
    one.name: one
    for one in (
        Initialiser("he_normal", streams.gaussian, _he),
        Initialiser("he_uniform", streams.uniform, _he),
        Initialiser("xavier_normal", streams.gaussian, _xavier),
        Initialiser("xavier_uniform", streams.uniform, _xavier),
        Initialiser("torch", streams.uniform, _torch),
        Initialiser("zero", streams.gaussian, _zero),
    )
}


def find(init: str | Initialiser) -> Initialiser:
    """An initialiser by its name: one of `INITIALISERS`, or one that does not look at the fans with its number in
    parentheses.

    Args:
        init: "he_normal", ..., "gaussian(0.01)", "uniform(0.5)", "truncated_gaussian(0.05)"; an initialiser is handed
            back as it is.

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
        raise ValueError(f"an initialiser with a number is written {family}(0.01), with one above 0; got {init!r}")
    return make(size)


def gaussian(sd: float) -> Initialiser:
    """Normal numbers of standard deviation ``sd``, whatever the fans.

    Raises:
        TypeError: what is no number.
        ValueError: a negative number, or none that is finite.
    """
    between(sd, "sd", 0, math.inf)
    return Initialiser(f"gaussian({sd})", streams.gaussian, lambda fan_in, fan_out: sd)


def uniform(limit: float) -> Initialiser:
    """Uniform numbers between -limit and limit, whatever the fans.

    Raises:
        TypeError: what is no number.
        ValueError: a negative number, or none that is finite.

    >>> layer = mf.Linear(300, 200, init=mf.initialisers.uniform(0.5))
    >>> bool(abs(layer.W).max() <= 0.5)
    True
    """
    between(limit, "limit", 0, math.inf)
    return Initialiser(f"uniform({limit})", streams.uniform, lambda fan_in, fan_out: limit / math.sqrt(3.0))


def truncated_gaussian(sd: float) -> Initialiser:
    """Normal numbers of standard deviation ``sd``, those beyond 2 sd drawn again, as TensorFlow's truncated normal.

    What is left has a standard deviation of 0.8796 sd, and that is the `Initialiser.sd` which rules scale B by.

    Raises:
        TypeError: what is no number.
        ValueError: a negative number, or none that is finite.

    >>> layer = mf.Linear(300, 200, init=mf.initialisers.truncated_gaussian(0.05))
    >>> bool(abs(layer.W).max() <= 0.1)
    True
    """
    between(sd, "sd", 0, math.inf)
    return Initialiser(
        f"truncated_gaussian({sd})", streams.truncated_gaussian, lambda fan_in, fan_out: streams.TRUNCATED_SD * sd
    )


BY_NUMBER: dict[str, Callable[[float], Initialiser]] = {
    make.__name__: make for make in (gaussian, uniform, truncated_gaussian)
}
