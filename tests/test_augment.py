"""Augmentation: every image by draws of its own, from a stream of its own."""

import numpy as np
import pytest

import minifa as mf
from minifa.data import make_augmentation
from minifa.data.batches import WORTH_A_THREAD, Batches


def numbered(n=500, side=8, channels=2):
    """Images in which every number tells its image, place and channel."""
    return np.arange(1, n * side * side * channels + 1, dtype="float32").reshape(n, side, side, channels)


def test_every_crop_is_a_piece_of_its_image_mirrored_or_not():
    x, size = numbered(), 5
    crops = mf.data.Augmentation(size=size).drawn(x, np.random.default_rng(0))
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
    crops = make_augmentation("crop_flip:padding=3").drawn(x, np.random.default_rng(1))
    assert crops.shape == x.shape and crops.dtype == x.dtype
    zeros = (crops == 0).mean()
    assert zeros == pytest.approx(1 - (1 - 12 / 7 / 8) ** 2, abs=0.02)  # a shift of 0, 1, 2 or 3 each way


def test_what_is_measured_is_the_centre_and_nothing_is_drawn():
    x = numbered(side=32, n=3)
    np.testing.assert_array_equal(make_augmentation("crop24").measured(x), x[:, 4:28, 4:28])
    np.testing.assert_array_equal(make_augmentation("crop_flip").measured(x), x)
    larger = mf.data.Augmentation(padding=2, size=34).measured(x)
    np.testing.assert_array_equal(larger[:, 1:33, 1:33], x)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="crops of 24 x 24 do not fit into images of 8 x 8 x 1"):
        make_augmentation("crop24").shape((8, 8, 1))
    with pytest.raises(ValueError, match="needs images of height x width x channels, got 64"):
        make_augmentation("crop_flip").shape((64,))
    with pytest.raises(ValueError, match="unknown option of augmentation 'crop_flip' 'pading': did you mean padding"):
        make_augmentation("crop_flip:pading=4")


# Batches


def examples(n, side):
    return mf.data.validate(numbered(n, side), np.arange(n) % 7)


@pytest.mark.parametrize("side", [4, 40], ids=["small", "made by a thread"])
@pytest.mark.parametrize("augmentation", [None, "crop_flip"])
def test_batches_are_the_same_from_wherever_one_begins(side, augmentation):
    train = examples(90, side)
    assert (train.x[:32].nbytes >= WORTH_A_THREAD) == (side == 40)
    made = augmentation and make_augmentation(augmentation)
    batches = Batches(train, 32, seed=1, epoch=2, augmentation=made)
    whole = list(batches.ahead())
    assert [len(y) for _, y in whole] == [32, 32, 26]
    late = list(batches.ahead(first=1))
    for (x, y), (x_late, y_late) in zip(whole[1:], late, strict=True):
        np.testing.assert_array_equal(x, x_late)
        np.testing.assert_array_equal(y, y_late)
    other = Batches(train, 32, seed=1, epoch=3, augmentation=made).make(0)
    assert (other[0] != whole[0][0]).any()
    if augmentation is None:
        assert sorted(np.concatenate([x.reshape(len(x), -1)[:, 0] for x, _ in whole])) == sorted(train.x[:, 0, 0, 0])


def test_an_error_in_the_thread_comes_out():
    train = examples(64, 40)
    too_small = mf.data.Augmentation(size=41)
    with pytest.raises(ValueError, match="do not fit"):
        list(Batches(train, 32, seed=0, epoch=1, augmentation=too_small).ahead())


def test_training_may_stop_in_mid_epoch():
    batches = Batches(examples(320, 40), 32, seed=0, epoch=1).ahead()
    next(batches)
    batches.close()  # the thread ends; nothing hangs
