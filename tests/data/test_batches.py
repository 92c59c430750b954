"""Batches of an epoch: the same from any starting batch, prefetched by a thread that ends and hides no errors."""

import threading
import time

import numpy as np
import pytest

import minifa as mf
from minifa.data import Augmentation, Examples, make_augmentation
from minifa.data.batches import PREFETCH_FROM, Batches
from minifa.rng import generator


def examples(n, side, channels=2):
    """Images in which every number identifies its image, position and channel."""
    x = np.arange(1, n * side * side * channels + 1, dtype="float32").reshape(n, side, side, channels)
    return mf.data.validate(x, np.arange(n) % 7, scale=1)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "minifa batches"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not threads()


@pytest.mark.parametrize("side", [4, 40], ids=["small", "made by a thread"])
@pytest.mark.parametrize("augmentation", [None, "crop_flip"])
def test_batches_are_the_same_from_any_starting_batch(side, augmentation):
    train = examples(90, side)
    assert (train.x[:32].nbytes >= PREFETCH_FROM) == (side == 40)
    made = augmentation and make_augmentation(augmentation)
    batches = Batches(train, 32, seed=1, epoch=2, augmentation=made)
    whole = list(batches.prefetch())
    assert [len(y) for _, y in whole] == [32, 32, 26] and len(batches) == 3
    late = list(Batches(train, 32, seed=1, epoch=2, augmentation=made).prefetch(first=1))
    for selected in (late, [batches.make(2), batches.make(1)][::-1]):  # by number, in any order
        for (x, y), (other_x, other_y) in zip(whole[1:], selected, strict=True):
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)
    assert list(batches.prefetch(first=3)) == []
    if augmentation is None:
        order = generator(1, "order", "", 2).permutation(90)
        np.testing.assert_array_equal(np.concatenate([x for x, _ in whole]), train.x[order])


def test_every_seed_epoch_and_trainer_draws_its_own():
    train, crop = examples(32, 8), make_augmentation("crop_flip")
    draws = [
        Batches(train, 32, seed=seed, epoch=epoch, key=key, augmentation=crop).make(0)[0]
        for seed, epoch, key in [(0, 1, ""), (1, 1, ""), (0, 2, ""), (0, 1, "from 5")]
    ]
    assert len({draw.tobytes() for draw in draws}) == 4
    one_image = Examples(np.repeat(train.x[:1], 64, axis=0), np.repeat(train.y[:1], 64))
    crops = [x.tobytes() for x, _ in Batches(one_image, 32, seed=0, epoch=1, augmentation=crop).prefetch()]
    assert crops[0] != crops[1]  # every batch its own, and in it every image
    assert len({one.tobytes() for one in Batches(one_image, 64, 0, 1, augmentation=crop).make(0)[0]}) > 40


def test_augmentation_changes_no_other_random_draw():
    train = examples(20, 8)
    plain, cropped = (Batches(train, 8, 0, 1, augmentation=one) for one in (None, make_augmentation("crop_flip")))
    for (_, y), (_, other) in zip(plain.prefetch(), cropped.prefetch(), strict=True):
        np.testing.assert_array_equal(y, other)


def test_inputs_have_the_type_asked_for():
    assert Batches(examples(8, 4), 4, 0, 1).make(0)[0].dtype == np.float32
    assert Batches(examples(8, 4), 4, 0, 1, dtype="float64").make(0)[0].dtype == np.float64


def test_the_next_batch_is_prepared_while_the_previous_one_is_in_use():
    makers, made = set(), threading.Semaphore(0)

    class Listening(Augmentation):
        def augment(self, x, rng):
            makers.add(threading.current_thread().name)
            made.release()
            return x

    ahead = Batches(examples(320, 40), 32, 0, 1, augmentation=Listening()).prefetch()
    next(ahead)
    assert all(made.acquire(timeout=10) for _ in range(2))  # the second batch has not been requested yet
    assert makers == {"minifa batches"}
    ahead.close()


def test_only_a_few_batches_are_held_in_memory():
    class Counting(Augmentation):
        made = 0

        def augment(self, x, rng):
            self.made += 1
            return x

    counting = Counting()
    ahead = Batches(examples(640, 40), 32, 0, 1, augmentation=counting).prefetch()
    next(ahead)
    time.sleep(0.2)
    assert counting.made <= 3  # the batch in use, one in the queue, one waiting for a place in the queue
    ahead.close()


def test_an_error_in_the_thread_is_raised_where_the_batch_is_requested():
    class Failing(Augmentation):
        def augment(self, x, rng):
            raise MemoryError(f"no room for {len(x)} images")

    with pytest.raises(MemoryError, match="no room for 32 images") as caught:
        list(Batches(examples(64, 40), 32, 0, 1, augmentation=Failing()).prefetch())
    assert any(entry.name == "augment" for entry in caught.traceback)  # the message names the place


@pytest.mark.parametrize("used", [0, 1, 3])
def test_training_may_end_in_the_middle_of_an_epoch(used):
    ahead = Batches(examples(320, 40), 32, 0, 1).prefetch()
    for _ in range(used):
        next(ahead)
    ahead.close()
    assert not threads()


def test_the_end_of_training_waits_for_the_batch_in_preparation():
    making = threading.Event()

    class Slow(Augmentation):
        def augment(self, x, rng):
            if making.is_set():
                time.sleep(0.2)
            making.set()
            return x

    ahead = Batches(examples(96, 40), 32, 0, 1, augmentation=Slow()).prefetch()
    next(ahead)
    ahead.close()  # the second one takes a while
    assert not threads()


# In training


def images(n=70):
    """Learnable classes (which half is bright) in images large enough for the thread."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 40, 40, 2)).astype("float32"), np.arange(n) % 2
    x[y == 1, :20] += 1
    return Examples(x, y)


def trainer(augmentation=None, callbacks=()):
    layers = [mf.Conv2d(2, 3, 3), mf.ReLU(), mf.GlobalAvgPool(), mf.Linear(3, 2)]
    net = mf.Network(layers, seed=0)
    made = augmentation and make_augmentation(augmentation)
    rule, loss, optimizer = mf.rules.FA(0).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.05)
    return mf.Trainer(net, rule, loss, optimizer, seed=3, callbacks=callbacks, augmentation=made)


def test_training_equals_a_plain_loop_bit_for_bit(engine):
    train, one, by_hand = images(), trainer(), trainer()
    one.fit(train, epochs=2, batch_size=32)
    for epoch in (1, 2):
        order = generator(3, "order", "", epoch).permutation(len(train))
        for start in range(0, len(train), 32):
            rows = order[start : start + 32]
            x = mf.asarray(train.x[rows])
            by_hand.rule.gradients(by_hand.net, x, train.y[rows], by_hand.loss)
            by_hand.optimizer.step(by_hand.net, by_hand.rule)
    for name, array in one.net.state().items():
        np.testing.assert_array_equal(array, by_hand.net.state()[name], err_msg=name)


def test_augmented_training_is_reproducible_bit_for_bit_and_differs_from_training_without_it():
    train = images()
    runs = [trainer(augmentation) for augmentation in ("crop_flip", "crop_flip", None)]
    for run in runs:
        run.fit(train, epochs=2, batch_size=32)
    first, again, plain = (run.net.state()["conv1.W"] for run in runs)
    np.testing.assert_array_equal(first, again)
    assert (first != plain).any()


def test_an_interrupted_training_leaves_no_thread():
    class Interrupt(mf.training.Callback):
        def on_step(self, trainer, examples):
            assert threads()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(callbacks=[Interrupt()]).fit(images(160), epochs=1, batch_size=32)
    assert not threads()


def test_training_uses_crops_and_evaluation_uses_centres():
    """The network of `crop24` always has inputs of 24 x 24 x 3, and its evaluation equals that of centre crops cut by
    hand."""
    from minifa.experiments import Experiment, run

    rng = np.random.default_rng(0)
    data = mf.data.from_arrays(rng.standard_normal((40, 32, 32, 3)), np.arange(40) % 4)
    experiment = Experiment(model="cnn", model_options={"depth": 2}, augmentation="crop24", epochs=1, batch_size=16)
    result, one = run(experiment, data)
    assert one.net.input_shape == (24, 24, 3)
    centres = Examples(data.test.x[:, 4:28, 4:28], data.test.y)
    one.augmentation = None
    assert one.evaluate(centres)["accuracy"] == result.history[-1]["test_accuracy"]
    assert one.evaluate(centres)["loss"] == pytest.approx(result.history[-1]["test_loss"], rel=1e-6)
    assert "conv1.true_angle" in result.history[-1]  # evaluated on centre crops as well


def test_images_that_cannot_be_cropped_are_refused_before_training():
    from minifa.experiments import Experiment, run

    with pytest.raises(ValueError, match="crops of 24 x 24 do not fit into images of 8 x 8 x 1"):
        run(Experiment(augmentation="crop24"))
    with pytest.raises(ValueError, match="needs images of height x width x channels, got 2 per example"):
        run(Experiment(data="xor", model="tiny", augmentation="crop_flip"))
    with pytest.raises(ValueError, match="unknown augmentation 'crop_flop': did you mean crop_flip"):
        run(Experiment(augmentation="crop_flop"))
