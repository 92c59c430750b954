"""Every random draw of minifa, each from its own generator on the host.

A draw is named by what it is for: (seed, purpose, layer, step). Nothing else is random state, so the position in
training is all that a checkpoint must remember, a second forward pass meets the same dropout masks, and a GPU run
uses the same numbers as a CPU run.
"""

from __future__ import annotations

__all__ = ["check_seed", "generator"]

import functools
import hashlib
import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy

from .scalars import whole, word
from .threads import pool

BLOCK = 1 << 16  # numbers that one generator draws
PURPOSES = ("weights", "feedback", "order", "augmentation", "dropout", "noise", "data", "sweep")


def generator(seed: int, purpose: str, name: str = "", step: int = 0) -> numpy.random.Generator:
    """The generator of one draw.

    Args:
        seed: any integer from 0 up.
        purpose: one of `PURPOSES`.
        name: the layer's stable name, or "" where no layer is meant.
        step: the update or epoch that the draw belongs to.

    Raises:
        TypeError: a seed, name or step of another kind.
        ValueError: an unknown purpose, or a negative seed or step.

    >>> a, b, c = (mf.streams.generator(0, "noise", "linear1", step) for step in (1, 1, 2))
    >>> number = a.random()
    >>> number == b.random(), number == c.random()
    (True, False)
    """
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r} of a random draw: expected one of {', '.join(PURPOSES)}")
    seed, step = check_seed(seed), whole(step, "the step of a draw", least=0, most=sys.maxsize)
    word(name, "the name of a draw")
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return numpy.random.Generator(numpy.random.PCG64(numpy.random.SeedSequence([seed, step, *words])))


def draw_in_blocks(
    seed: int,
    purpose: str,
    name: str,
    step: int,
    count: int,
    draw: Callable[[numpy.random.Generator, int], numpy.ndarray],
) -> numpy.ndarray:
    """Many numbers of one draw, (count,), made on all cores: each block of fixed size has its own generator.

    For draws that are repeated at every update; the numbers do not depend on how many cores there are.
    """
    result = numpy.empty(count)
    starts = range(0, count, BLOCK)

    def fill(start: int) -> None:
        part = result[start : start + BLOCK]
        part[:] = draw(generator(seed, purpose, f"{name}/{start // BLOCK}", step), len(part))

    pool.run([functools.partial(fill, start) for start in starts])
    return result


def check_seed(seed: Any) -> int:
    """The seed as an int. Raises TypeError for what is no integer, ValueError for a negative one."""
    try:
        value = operator.index(seed)
    except TypeError:
        value = None
    if value is None or isinstance(seed, bool):
        raise TypeError(f"a seed is an integer from 0 up, got {seed!r}")
    if value < 0:
        raise ValueError(f"a seed is an integer from 0 up, got {value}")
    return value


# Draws are made in float64 and rounded by whoever stores them: of one seed, float32 and float64 networks are the same.


def gaussian(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Normal numbers with mean 0 and standard deviation ``sd``."""
    return sd * rng.standard_normal(shape)


def uniform(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Uniform numbers with mean 0 and standard deviation ``sd``, that is, between -sqrt(3) sd and sqrt(3) sd."""
    limit = math.sqrt(3.0) * sd
    return rng.uniform(-limit, limit, shape)


# The standard deviation of a standard normal number known to lie within +-2: 1 - 4 phi(2) / (2 Phi(2) - 1), the root.
TRUNCATED_SD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def truncated_gaussian(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Normal numbers cut at two of their own standard deviations by drawing again; what is left has mean 0 and
    standard deviation ``sd``."""
    drawn = rng.standard_normal(shape)
    while (outside := abs(drawn) > 2).any():
        drawn[outside] = rng.standard_normal(int(outside.sum()))
    return sd / TRUNCATED_SD * drawn
