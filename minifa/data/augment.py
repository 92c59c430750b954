"""Augmentation: what is done to a training batch before the network sees it, and to examples that are only measured.

    crop_flip    4 zeros around each image, a random crop of the old size, mirrored half of the time (He et al. 2016)
    crop24       a random crop of 24 x 24, mirrored half of the time; when measured, the centre
                 (Moskovitz et al. 2018's network, as re-implemented by Lance & Kieu 2026)

Draws are made on the host from the stream "augmentation", keyed by seed, epoch and batch. Zeros are what the data set's
mean became when it was normalised. What is measured is the centre, of the size that the network is trained on.
"""

from __future__ import annotations

__all__ = ["Augmentation", "make_augmentation"]

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..layers.base import example_shape, format_shape
from ..registry import keep_table, make_described
from ..scalars import LARGEST, flag

Images = npt.NDArray[Any]


class Augmentation:
    """A random crop after padding, mirrored half of the time.

    Args:
        padding: zeros put around each image before it is cropped.
        size: of the crop, its height and width; None: as before the padding.
        flip: whether half of the images are mirrored, left and right.

    Raises:
        TypeError: a padding or size that is no whole number.
        ValueError: a negative padding, a size below 1; in use, images smaller than the crop, or what are no images.

    >>> crop = mf.data.Augmentation(size=2, flip=False)
    >>> image = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    >>> crop.measured(image)[0, :, :, 0].tolist()  # the centre
    [[5.0, 6.0], [9.0, 10.0]]
    >>> crop.drawn(image, np.random.default_rng(0)).shape
    (1, 2, 2, 1)
    """

    def __init__(self, padding: int = 0, size: int | None = None, flip: bool = True) -> None:
        for what, number in (("padding", padding), ("size", 1 if size is None else size)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{what} is a whole number of pixels, got {number!r}")
        if not 0 <= padding <= LARGEST or (size is not None and not 1 <= size <= LARGEST):
            raise ValueError(f"an augmentation needs padding >= 0 and size >= 1, got padding={padding}, size={size}")
        self.padding, self.size, self.flip = padding, size, flag(flip, "flip")

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What the network is shown of an example of this shape. Raises ValueError where it cannot be cropped."""
        shape = example_shape(shape, "what is cropped")
        if len(shape) != 3:
            raise ValueError(
                f"augmentation needs images of height x width x channels, got {format_shape(shape)} per example: "
                "leave it out, or give images"
            )
        if self.size is None:
            return shape
        if min(shape[:2]) + 2 * self.padding < self.size:
            raise ValueError(f"crops of {self.size} x {self.size} do not fit into images of {format_shape(shape)}")
        return (self.size, self.size, shape[2])

    def drawn(self, x: Images, rng: np.random.Generator) -> Images:
        """A training batch (N, H, W, C): every image cropped and mirrored by its own draws."""
        height, width, _ = self.shape(_images(x).shape[1:])
        x = self._padded(x)
        rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
        top, left = rng.integers(0, rows, len(x)), rng.integers(0, columns, len(x))
        windows = np.lib.stride_tricks.sliding_window_view(
            x, (height, width), axis=(1, 2)
        )  # (N, rows, columns, C, H, W)
        chosen = np.ascontiguousarray(windows[np.arange(len(x)), top, left].transpose(0, 2, 3, 1))
        if self.flip:
            mirrored = rng.random(len(x)) < 0.5
            chosen[mirrored] = chosen[mirrored, :, ::-1]
        return chosen

    def measured(self, x: Images) -> Images:
        """Examples that are only measured, (N, H, W, C): the centre, nothing drawn."""
        height, width, _ = self.shape(_images(x).shape[1:])
        if height > x.shape[1] or width > x.shape[2]:
            x = self._padded(x)
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        return np.ascontiguousarray(x[:, top : top + height, left : left + width])

    def _padded(self, x: Images) -> Images:
        p = self.padding
        return np.pad(x, ((0, 0), (p, p), (p, p), (0, 0))) if p else x


def _images(x: Images) -> Images:
    """x, where it is a batch of images on the host. Raises TypeError, ValueError."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise TypeError(f"augmentation takes images as a NumPy array of numbers, got {type(x).__name__}")
    if x.ndim != 4 or x.size == 0:
        raise ValueError(f"augmentation takes images (N, height, width, channels), got shape {x.shape}")
    return x


def crop_flip(padding: int = 4) -> Augmentation:
    """Put ``padding`` zeros around each image, crop it at random to its old size, mirror half of them.

    >>> mf.data.make_augmentation("crop_flip:padding=2").padding
    2
    """
    return Augmentation(padding)


def crop24(size: int = 24) -> Augmentation:
    """Crop ``size`` x ``size`` at random, mirror half of them.

    >>> mf.data.make_augmentation("crop24").shape((32, 32, 3))
    (24, 24, 3)
    """
    return Augmentation(0, size)


def shown(x: Images, augmentation: Augmentation | None) -> Images:
    """Examples that are only measured, as a network trained under this augmentation is shown them."""
    return x if augmentation is None else augmentation.measured(x)


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {"crop_flip": crop_flip, "crop24": crop24}
keep_table("augmentation", AUGMENTATIONS)


def make_augmentation(description: str) -> Augmentation:
    """An augmentation from its name and options, ``"crop24"``, ``"crop_flip:padding=4"``.

    Args:
        description: a name of `AUGMENTATIONS`; after a colon options ``key=value``, separated by commas.

    Raises:
        ValueError: an unknown name or option, or a value that it refuses.

    >>> mf.data.make_augmentation("crop_flop")
    Traceback (most recent call last):
    ValueError: unknown augmentation 'crop_flop': did you mean crop_flip or crop24?
    """
    return make_described(AUGMENTATIONS, description, "augmentation")
