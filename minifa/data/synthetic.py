"""Synthetic tasks, generated rather than read from files.

`lillicrap` is the first task of the feedback alignment paper: learning a random linear map from examples.

    t = x T,   T_ij ~ U[-1, 1],   x ~ N(0, I)

T. Lillicrap, D. Cownden, D. Tweed, C. Akerman (2016), Nature Communications 7:13276, task 1 (a 30-20-10 linear
network). Examples are rows here, so T is (30, 10), the transpose of the paper's matrix.

`xor` is the smallest task that needs a hidden layer: four examples, few enough to inspect a whole batch by hand.
"""

from __future__ import annotations

__all__ = ["lillicrap", "lillicrap_teacher", "xor"]

from typing import Any

import numpy as np
import numpy.typing as npt

from ..validation import check_int
from .base import Dataset, Examples, validate

N_IN, N_OUT = 30, 10


def lillicrap_teacher(seed: int = 0) -> npt.NDArray[Any]:
    """The linear map T of `lillicrap` with the same ``seed``: (30, 10) float32, uniform in [-1, 1].

    >>> test, T = mf.data.lillicrap(seed=1).test, mf.data.lillicrap_teacher(seed=1)
    >>> bool(np.allclose(test.x @ T, test.y, atol=1e-4))
    True
    """
    from .. import rng

    teacher = rng.generator(seed, "data", "lillicrap teacher").uniform(-1.0, 1.0, (N_IN, N_OUT))
    return teacher.astype(np.float32)


def lillicrap(seed: int = 0, n_train: int = 2000, n_test: int = 500) -> Dataset:
    """Regression onto a random linear map: x (N, 30), targets x @ T (N, 10), float32, without noise.

    The map and the test part do not depend on n_train; a longer part begins with the shorter one.

    Args:
        seed: seed of the map and the inputs.
        n_train, n_test: number of examples in each part, at least 1.

    Raises:
        ValueError: a part would be empty.
    """
    teacher = lillicrap_teacher(seed)
    return Dataset(
        name="lillicrap",
        train=_examples(teacher, seed, "train", n_train),
        test=_examples(teacher, seed, "test", n_test),
        citation="T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman (2016), Random synaptic feedback weights "
        "support error backpropagation for deep learning, Nature Communications 7:13276",
    )


def _examples(teacher: npt.NDArray[Any], seed: int, part: str, count: int) -> Examples:
    from .. import rng

    count = check_int(count, f"the number of examples of lillicrap's {part} part")
    x = rng.generator(seed, "data", f"lillicrap {part}").standard_normal((count, N_IN)).astype(np.float32)
    # float64 sums, so that the rounded targets do not depend on the machine's order of summation.
    targets = x.astype(np.float64) @ teacher.astype(np.float64)
    return validate(x, targets, name=f"lillicrap {part}")


def xor() -> Dataset:
    """Whether two signs differ: x (4, 2) holds the four corners (+-1, +-1), the labels (4,) are 0 "same" and 1
    "different"; the test part is the training part.

    >>> data = mf.data.xor()
    >>> data.train.x.tolist(), data.train.y.tolist()
    ([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    corners = validate([[-1, -1], [-1, 1], [1, -1], [1, 1]], [0, 1, 1, 0], n_classes=2, name="xor")
    return Dataset(name="xor", train=corners, test=corners, classes=("same", "different"))
