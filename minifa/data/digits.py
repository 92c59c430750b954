"""The UCI handwritten digits, embedded in the package: 1797 images of 8x8 pixels, usable without a download.

    x = (value / 16 - MEAN) / STD,   value in 0..16

MEAN and STD are the rounded mean and standard deviation of the training part.
"""

from __future__ import annotations

__all__ = ["digits", "digits_parity"]

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Dataset, divide, held_out, validate
from .scaling import normalisation

N_TEST = 360
MEAN, STD = 0.3056, 0.3764


def digits() -> Dataset:
    """1437 training and 360 test images of handwritten digits, (N, 8, 8, 1) float32, ten classes.

    The split is fixed and stratified: `held_out` of the original order. The same writers occur in both parts, so the
    test error does not measure generalisation to new writers. Source: E. Alpaydin, C. Kaynak (1998), the test part of
    "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, DOI 10.24432/C50P49, CC BY 4.0.
    """
    values, labels = raw_digits()
    x = (values[..., None] / np.float32(16) - np.float32(MEAN)) / np.float32(STD)  # (1797, 8, 8, 1)
    train, test = divide(validate(x, labels, 10, name="digits"), held_out(labels, N_TEST))
    return Dataset(
        name="digits",
        train=train,
        test=test,
        classes=tuple("0123456789"),
        citation="E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, DOI 10.24432/C50P49, CC BY 4.0",
        pixel_scaling=normalisation(MEAN, STD),
    )


def digits_parity() -> Dataset:
    """The images of `digits`, in the same parts, with two classes: 0 "even" and 1 "odd". A network has a single output,
    which is positive for odd digits. A linear classifier has a test accuracy of 0.93.

    >>> data = mf.data.digits_parity()
    >>> data.train.y[:5].tolist() == (mf.data.digits().train.y[:5] % 2).tolist(), data.classes, data.n_out
    (True, ('even', 'odd'), 1)
    """
    data = digits()
    train, test = (replace(part, y=part.y % 2) for part in (data.train, data.test))
    classes = ("even", "odd")
    return replace(data, name="digits_parity", train=train, test=test, classes=classes, single_output=True)


def raw_digits() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The embedded arrays in their original order: values (1797, 8, 8) in 0..16 and labels (1797,), both uint8."""
    with np.load(Path(__file__).with_name("files") / "digits.npz", allow_pickle=False) as archive:
        return archive["x"], archive["y"]
