"""Augmentation: every image has its own random draws, from a separate random stream."""

import numpy as np
import pytest

import minifa as mf
from minifa.data import make_augmentation


def numbered(n=500, side=8, channels=2):
    """Images in which every number identifies its image, position and channel."""
    return np.arange(1, n * side * side * channels + 1, dtype="float32").reshape(n, side, side, channels)


def test_every_crop_is_a_window_of_its_image_possibly_mirrored():
    x, size = numbered(), 5
    crops = mf.data.Augmentation(size=size).augment(x, np.random.default_rng(0))
    seen = set()
    for image, crop in zip(x, crops, strict=True):
        pieces = {}
        for top in range(4):
            for left in range(4):
                piece = image[top : top + size, left : left + size]
                pieces[piece.tobytes()], pieces[piece[:, ::-1].tobytes()] = (top, left, False), (top, left, True)
        seen.add(pieces[crop.tobytes()])
    assert len(seen) == 4 * 4 * 2  # all occur: 500 draws of 32


def test_crop_flip_keeps_the_size_and_shows_the_border():
    x = numbered()
    crops = make_augmentation("crop_flip:padding=3").augment(x, np.random.default_rng(1))
    assert crops.shape == x.shape and crops.dtype == x.dtype
    zeros = (crops == 0).mean()
    assert zeros == pytest.approx(1 - (1 - 12 / 7 / 8) ** 2, abs=0.02)  # a shift of 0, 1, 2 or 3 each way


def test_evaluation_uses_the_centre_crop_and_draws_no_random_numbers():
    x = numbered(side=32, n=3)
    np.testing.assert_array_equal(make_augmentation("crop24").centre_crop(x), x[:, 4:28, 4:28])
    np.testing.assert_array_equal(make_augmentation("crop_flip").centre_crop(x), x)
    larger = mf.data.Augmentation(padding=2, size=34).centre_crop(x)
    np.testing.assert_array_equal(larger[:, 1:33, 1:33], x)


def test_images_and_paddings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="crops of 24 x 24 do not fit into images of 8 x 8 x 1"):
        make_augmentation("crop24").shape((8, 8, 1))
    with pytest.raises(ValueError, match="needs images of height x width x channels, got 64 per example"):
        make_augmentation("crop_flip").shape((64,))
    with pytest.raises(ValueError, match="unknown option of augmentation 'crop_flip' 'pading': did you mean padding"):
        make_augmentation("crop_flip:pading=4")
    for wrong in ("padding=2.5", "padding=true", "padding=wide", "padding=-1"):
        with pytest.raises(ValueError, match="padding"):
            make_augmentation(f"crop_flip:{wrong}")
    for wrong in ("size=0", "size=1.5"):
        with pytest.raises(ValueError, match="size"):
            make_augmentation(f"crop24:{wrong}")


@pytest.mark.parametrize("dark", [0.0, -0.5])  # of pixels, and after a normalisation
def test_jitter_shifts_each_image_on_a_border_as_dark_as_its_darkest_pixel(dark):
    x = numbered(side=8)
    x[:, 3, 3] = dark
    shifted = make_augmentation("jitter").augment(x, np.random.default_rng(0))
    assert shifted.shape == x.shape and shifted.dtype == x.dtype
    seen = set()
    for image, moved in zip(x, shifted, strict=True):
        framed = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=dark)  # as if padded before the normalisation
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(moved, framed[top : top + 8, left : left + 8])
        ]
        seen.update(found)
        assert len(found) == 1
    assert len(seen) == 25  # -2 to 2 in each direction: 500 draws


def test_jitter_flips_on_request_and_leaves_images_unchanged_in_evaluation():
    x = numbered(n=200)
    jitter = make_augmentation("jitter:pixels=1,flip=true")
    rising = np.diff(jitter.augment(x, np.random.default_rng(0))[:, 4, 2:6, 0], axis=1) > 0
    assert 0.3 < rising.all(axis=1).mean() < 0.7 and (~rising).all(axis=1).any()
    np.testing.assert_array_equal(jitter.centre_crop(x), x)


def test_a_jitter_beyond_the_image_is_refused():
    with pytest.raises(ValueError, match=r"a shift by 8 pixels .* images of 8 x 8 x 1: .* must be below 8"):
        make_augmentation("jitter:pixels=8").shape((8, 8, 1))
    for wrong, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="pixels"):
            mf.data.Jitter(pixels=wrong)
