"""Random numbers. Every draw has its own generator on the host.

A draw is keyed by (seed, purpose, layer, step). There is no other random state, so a checkpoint stores only the
position in training, a second forward pass uses the same dropout masks, and a GPU run uses the same numbers as a CPU
run.
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

from .parallel.threads import pool
from .validation import check_int, check_str

BLOCK = 1 << 16  # numbers drawn by one generator
PURPOSES = ("weights", "feedback", "order", "augmentation", "dropout", "noise", "data", "sweep", "chance")


def generator(seed: int, purpose: str, name: str = "", step: int = 0) -> numpy.random.Generator:
    """The generator of one draw.

    Args:
        seed: an int, at least 0.
        purpose: one of `PURPOSES`.
        name: the layer's name, or "" if the draw does not belong to a layer.
        step: the update or epoch of the draw, at least 0.

    Raises:
        TypeError: a seed, name or step of the wrong type.
        ValueError: an unknown purpose, or a negative seed or step.

    >>> a, b, c = (mf.rng.generator(0, "noise", "linear1", step) for step in (1, 1, 2))
    >>> number = a.random()
    >>> number == b.random(), number == c.random()
    (True, False)
    """
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r} of a random draw: expected one of {', '.join(PURPOSES)}")
    seed, step = check_seed(seed), check_int(step, "the step of a draw", least=0, most=sys.maxsize)
    check_str(name, "the name of a draw")
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
    """Draw an array (count,) on all cores; each block of fixed size has its own generator.

    Used for draws that are repeated at every update. The numbers do not depend on the number of cores.
    """
    result = numpy.empty(count)
    starts = range(0, count, BLOCK)

    def fill(start: int) -> None:
        part = result[start : start + BLOCK]
        part[:] = draw(generator(seed, purpose, f"{name}/{start // BLOCK}", step), len(part))

    pool.run([functools.partial(fill, start) for start in starts])
    return result


def check_seed(seed: Any) -> int:
    """The seed as an int. Raises TypeError if it is not an int, ValueError if it is negative."""
    try:
        value = operator.index(seed)
    except TypeError:
        value = None
    if value is None or isinstance(seed, bool):
        raise TypeError(f"a seed must be an int, got {seed!r}")
    if value < 0:
        raise ValueError(f"a seed must be at least 0, got {value}")
    return value


# Draws are float64 and rounded when stored, so that float32 and float64 networks of one seed have the same weights.


def gaussian(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Normally distributed numbers with mean 0 and standard deviation ``sd``."""
    return sd * rng.standard_normal(shape)


def uniform(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Uniformly distributed numbers with mean 0 and standard deviation ``sd``: between -sqrt(3) sd and sqrt(3) sd."""
    limit = math.sqrt(3.0) * sd
    return rng.uniform(-limit, limit, shape)


def nonnegative_gaussian(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Absolute values of `gaussian` numbers, whose root mean square is ``sd`` and whose mean is sqrt(2 / pi) sd."""
    return abs(gaussian(rng, shape, sd))


def nonnegative_uniform(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Absolute values of `uniform` numbers: between 0 and sqrt(3) sd, with root mean square ``sd``."""
    return abs(uniform(rng, shape, sd))


# Standard deviation of a standard normal number truncated to +-2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
TRUNCATED_SD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def truncated_gaussian(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Normally distributed numbers truncated at two standard deviations of the untruncated distribution, by drawing
    again. The result has mean 0 and standard deviation ``sd``."""
    drawn = rng.standard_normal(shape)
    while (outside := abs(drawn) > 2).any():
        drawn[outside] = rng.standard_normal(int(outside.sum()))
    return sd / TRUNCATED_SD * drawn


def opposite_pairs(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Normally distributed numbers with standard deviation ``sd``, the columns in pairs (w, -w); a vector is
    drawn without pairs.

    Raises:
        ValueError: an odd number of columns.
    """
    if len(shape) == 1:
        return gaussian(rng, shape, sd)
    if shape[-1] % 2:
        raise ValueError(f"weights in pairs (w, -w) need an even number of outputs, got {shape[-1]}")
    half = gaussian(rng, (*shape[:-1], shape[-1] // 2), sd)
    return numpy.stack((half, -half), axis=-1).reshape(shape)


def on_off_blocks(rng: numpy.random.Generator, shape: tuple[int, ...], sd: float) -> numpy.ndarray:
    """Non-negative numbers, whose root mean square is ``sd``, in 2x2 blocks [w+, w-; w-, w+] for each pair of inputs
    and each pair of outputs, where w is normally distributed, w+ = max(w, 0) and w- = max(-w, 0). A single output has
    the blocks [w+; w-].

    For inputs (h, -h) the outputs are w h and -w h, as with a weight w of mixed sign between half as many units. A
    vector is drawn without blocks.

    Raises:
        ValueError: an odd number of inputs, or an odd number of outputs above 1.
    """
    if len(shape) == 1:
        return numpy.maximum(gaussian(rng, shape, math.sqrt(2) * sd), 0)
    n_in, n_out = shape[-2:]
    if n_in % 2 or (n_out % 2 and n_out > 1):
        raise ValueError(
            f"ON/OFF weights need an even number of inputs, and of outputs unless there is one, got {n_in} and {n_out}"
        )
    w = gaussian(rng, (*shape[:-2], n_in // 2, max(1, n_out // 2)), math.sqrt(2) * sd)
    on, off = numpy.maximum(w, 0), numpy.maximum(-w, 0)
    numbers = numpy.empty(shape)
    for i in range(2):
        for j in range(min(2, n_out)):
            numbers[..., i::2, j::2] = on if i == j else off
    return numbers
