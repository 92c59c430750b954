"""Data augmentation: random transforms of training batches, and the matching deterministic transform for evaluation.

    crop_flip    zero padding of 4 pixels, a random crop of the original size, a horizontal flip with probability 0.5
                 (He et al. 2016)
    crop24       a random crop of 24 x 24, a horizontal flip with probability 0.5; a centre crop for evaluation
                 (Moskovitz et al. 2018's network, as re-implemented by Lance & Kieu 2026)
    jitter       a shift by -2 to 2 pixels in each direction on a dark border (Nokland & Eidnes 2019, for MNIST)

Random numbers are drawn on the host from the stream "augmentation", keyed by seed, epoch and batch. The padding value 0
of the crops is the data set's mean after normalisation. For evaluation, a centre crop of the training size is used:
the unchanged image, except for crop24.
"""

from __future__ import annotations

__all__ = ["Augmentation", "Jitter", "make_augmentation"]

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..registry import make_described, register_table
from ..validation import LARGEST, check_bool, check_int, example_shape, format_shape

Images = npt.NDArray[Any]


class Augmentation:
    """Zero padding, a random crop, and a horizontal flip with probability 0.5.

    Args:
        padding: pixels of zero padding on each side before cropping.
        size: height and width of the crop; None: the size before padding.
        flip: whether to flip each image horizontally with probability 0.5.

    Raises:
        TypeError: padding or size is not an int.
        ValueError: a negative padding, a size below 1; in use, images smaller than the crop, or inputs that are not
            images.

    >>> crop = mf.data.Augmentation(size=2, flip=False)
    >>> image = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    >>> crop.centre_crop(image)[0, :, :, 0].tolist()  # the centre
    [[5.0, 6.0], [9.0, 10.0]]
    >>> crop.augment(image, np.random.default_rng(0)).shape
    (1, 2, 2, 1)
    """

    def __init__(self, padding: int = 0, size: int | None = None, flip: bool = True) -> None:
        for what, number in (("padding", padding), ("size", 1 if size is None else size)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{what} must be an int (pixels), got {number!r}")
        if not 0 <= padding <= LARGEST or (size is not None and not 1 <= size <= LARGEST):
            raise ValueError(f"padding must be at least 0 and size at least 1, got padding={padding}, size={size}")
        self.padding, self.size, self.flip = padding, size, check_bool(flip, "flip")

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an augmented example, given its shape. Raises ValueError if it cannot be cropped."""
        shape = example_shape(shape, "shape")
        if len(shape) != 3:
            raise ValueError(
                f"augmentation needs images of height x width x channels, got {format_shape(shape)} per example: "
                "omit the augmentation, or use images"
            )
        if self.size is None:
            return shape
        if min(shape[:2]) + 2 * self.padding < self.size:
            raise ValueError(f"crops of {self.size} x {self.size} do not fit into images of {format_shape(shape)}")
        return (self.size, self.size, shape[2])

    def augment(self, x: Images, rng: np.random.Generator) -> Images:
        """Augment a training batch (N, H, W, C): each image is cropped and flipped independently."""
        height, width, _ = self.shape(_images(x).shape[1:])
        x = self._padded(x)
        rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
        top, left = rng.integers(0, rows, len(x)), rng.integers(0, columns, len(x))
        windows = np.lib.stride_tricks.sliding_window_view(
            x, (height, width), axis=(1, 2)
        )  # (N, rows, columns, C, H, W)
        chosen = np.ascontiguousarray(windows[np.arange(len(x)), top, left].transpose(0, 2, 3, 1))
        if self.flip:
            flipped = rng.random(len(x)) < 0.5
            chosen[flipped] = chosen[flipped, :, ::-1]
        return chosen

    def centre_crop(self, x: Images) -> Images:
        """The centre crop of examples (N, H, W, C), for evaluation; deterministic."""
        height, width, _ = self.shape(_images(x).shape[1:])
        if height > x.shape[1] or width > x.shape[2]:
            x = self._padded(x)
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        return np.ascontiguousarray(x[:, top : top + height, left : left + width])

    def _padded(self, x: Images) -> Images:
        p = self.padding
        return np.pad(x, ((0, 0), (p, p), (p, p), (0, 0))) if p else x


class Jitter(Augmentation):
    """A shift of each image by a whole number of pixels, uniform from -pixels to pixels, in each direction.

    The places that the image leaves are filled with its darkest value (of each channel). Nokland & Eidnes pad with
    black before they normalise (``RandomCrop(28, padding=2)``); images in minifa are already normalised, and black is
    then another number in every data set, but the darkest value of nearly every image of MNIST and Fashion-MNIST.
    Repeating the edge pixel would stretch whatever reaches the edge, as most of Fashion-MNIST does. For images on a
    light background this border is unsuitable.

    Args:
        pixels: the largest shift in each direction, at least 1.
        flip: whether to flip each image horizontally with probability 0.5, too.

    Raises:
        TypeError: pixels is not an int, or flip not a bool.
        ValueError: pixels is below 1; in use, images that are not larger than the shift.

    >>> jitter = mf.data.Jitter(pixels=1)
    >>> image = np.array([[5.0, 9.0], [8.0, 7.0]], "float32").reshape(1, 2, 2, 1)
    >>> jitter.augment(image, np.random.default_rng(0))[0, :, :, 0].tolist()  # a row up
    [[8.0, 7.0], [5.0, 5.0]]
    >>> jitter.centre_crop(image)[0, :, :, 0].tolist()  # in evaluation: no shift
    [[5.0, 9.0], [8.0, 7.0]]
    """

    def __init__(self, pixels: int = 2, flip: bool = False) -> None:
        super().__init__(check_int(pixels, "pixels (the largest shift)"), flip=flip)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = super().shape(shape)
        if min(shape[:2]) <= self.padding:
            raise ValueError(
                f"a shift by {self.padding} pixels can leave nothing of images of {format_shape(shape)}: the largest "
                f"shift (pixels) must be below {min(shape[:2])}"
            )
        return shape

    def _padded(self, x: Images) -> Images:
        n, height, width, channels = x.shape
        padded = np.empty((n, height + 2 * self.padding, width + 2 * self.padding, channels), x.dtype)
        padded[:] = x.min(axis=(1, 2), keepdims=True)
        padded[:, self.padding : self.padding + height, self.padding : self.padding + width] = x
        return padded


def _images(x: Images) -> Images:
    """x, if it is a batch of images on the host. Raises TypeError, ValueError."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise TypeError(f"images to augment must be a NumPy array of numbers, got {type(x).__name__}")
    if x.ndim != 4 or x.size == 0:
        raise ValueError(f"images to augment must have the shape (N, height, width, channels), got {x.shape}")
    return x


def crop_flip(padding: int = 4) -> Augmentation:
    """Zero padding of ``padding`` pixels, a random crop to the original size, a horizontal flip with probability 0.5.

    >>> mf.data.make_augmentation("crop_flip:padding=2").padding
    2
    """
    return Augmentation(padding)


def crop24(size: int = 24) -> Augmentation:
    """A random crop of ``size`` x ``size``, a horizontal flip with probability 0.5.

    >>> mf.data.make_augmentation("crop24").shape((32, 32, 3))
    (24, 24, 3)
    """
    return Augmentation(0, size)


def for_evaluation(x: Images, augmentation: Augmentation | None) -> Images:
    """The examples as a network trained with this augmentation is evaluated on them."""
    return x if augmentation is None else augmentation.centre_crop(x)


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {"crop_flip": crop_flip, "crop24": crop24, "jitter": Jitter}
register_table("augmentation", AUGMENTATIONS)


def make_augmentation(description: str) -> Augmentation:
    """Make an augmentation from its name and options, such as ``"crop24"`` or ``"crop_flip:padding=4"``.

    Args:
        description: a name of `AUGMENTATIONS`, optionally followed by a colon and comma-separated ``key=value``
            options.

    Raises:
        ValueError: an unknown name or option, or an invalid value.

    >>> mf.data.make_augmentation("crop_flop")
    Traceback (most recent call last):
    ValueError: unknown augmentation 'crop_flop': did you mean crop_flip or crop24?
    """
    return make_described(AUGMENTATIONS, description, "augmentation")
