"""Checkpoints: resumed training equals uninterrupted training bit for bit, and a wrong file changes nothing."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import zipfile

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool, Network, ReLU, Tanh, checkpoints, experiments
from minifa.checkpoints import CheckpointError, SaveCheckpoints, load, newest, previous_of, read, save
from minifa.data.base import Examples
from minifa.storage import archive
from minifa.storage.atomic import write_atomic
from minifa.testing.examples import ALL_RULES, network_for
from minifa.training import Callback, Trainer

CE = mf.SoftmaxCrossEntropy()
TIMES = {"seconds", "images_per_second"}


def images(n=20, seed=0, shape=(8, 8, 2)):
    """An epoch has three batches of at most 8, the last one smaller."""
    rng = np.random.default_rng(seed)
    return Examples(rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, 3, n))


def numbers(n=20, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.standard_normal((n, 6)).astype(np.float32), rng.integers(0, 3, n))


def convnet_trainer(rule, optimizer=lambda: mf.SGD(0.05, momentum=0.9, weight_decay=1e-3, clip_norm=5.0), **options):
    net = network_for(rule)
    return Trainer(net, mf.rules.make(rule, seed=1).attach(net), CE, optimizer(), seed=2, **options)


def small_trainer(rule="kolen_pollack", seed=0, callbacks=(), optimizer=None, hidden=5):
    net = Network([Linear(6, hidden), BatchNorm(hidden), ReLU(), Dropout(0.3), Linear(hidden, 3)], seed=seed)
    optimizer = optimizer or mf.Adam(0.01)
    return Trainer(net, mf.rules.make(rule, seed).attach(net), CE, optimizer, seed=seed, callbacks=callbacks)


def all_of(trainer):
    """The whole state of a training run except for its times."""
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in trainer.history]
    place = {key: value for key, value in trainer.state().items() if key not in ("history", "seconds")}
    return checkpoints.arrays_of(trainer), trainer.net.step, rows, place


def assert_same_training(one, other):
    (arrays, *rest), (other_arrays, *other_rest) = all_of(one), all_of(other)
    assert_same_bits(arrays, other_arrays)
    assert rest == other_rest


class KeepAll(Callback):
    """Saves a checkpoint after every update and every epoch, or those in ``places``, each in a separate file."""

    def __init__(self, folder, places=None):
        self.folder, self.places, self.paths = folder, places, []

    def keep(self, trainer):
        self.paths.append(self.folder / f"{len(self.paths)}.ckpt")
        if self.places is None or len(self.paths) - 1 in self.places:
            save(self.paths[-1], trainer)

    def on_step(self, trainer, examples):
        self.keep(trainer)

    def on_recorded(self, trainer):
        self.keep(trainer)


def assert_resumes(make, data, path, epochs=3, places=None):
    """Training resumed from each of the checkpoints, or from those in ``places``, has the same result."""
    whole, kept = make(), KeepAll(path, places)
    whole.callbacks.append(kept)
    whole.fit(data, epochs, batch_size=8)
    assert len(kept.paths) == 1 + epochs * 4
    for i in places if places is not None else range(len(kept.paths)):
        resumed = make()
        load(kept.paths[i], resumed)
        if resumed.finished < epochs:
            resumed.fit(data, epochs - resumed.finished, batch_size=8)
        assert_same_training(whole, resumed)


# --- the same bits ----------------------------------------------------------------------------------------------------

# In the middle of epoch 1 and after its end; with every optimizer training is resumed from all places (below).
PLACES = (2, 4)


@pytest.mark.parametrize("rule", ALL_RULES)
def test_every_rule_resumes_bit_for_bit(rule, tmp_path):
    data = images(shape=network_for(rule).input_shape)
    assert_resumes(lambda: convnet_trainer(rule), data, tmp_path, epochs=2, places=PLACES)


def test_every_rule_is_in_the_list():
    assert {name.partition(":")[0] for name in ALL_RULES} == set(mf.rules.RULES)


OPTIMIZERS = {
    "sgd": lambda: mf.SGD(0.05),
    "nesterov": lambda: mf.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: mf.Adam(0.01),
    "adamw": lambda: mf.AdamW(0.01),
    "rmsprop": lambda: mf.RMSprop(0.01, momentum=0.5),
    "constrained": lambda: mf.SGD(0.05, constrain_weights=True, freeze_signs=True, manhattan=True),
    "groups": lambda: mf.AdamW(0.01, decay_bias=False, lr_factors={"linear2": 0.5, "*.b": 0.1}),
}


@pytest.mark.parametrize(
    "schedule", ["cosine:epochs=3", "warm_up:epochs=1 then reduce_on_plateau:patience=0,threshold=9"]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule_resumes_from_every_checkpoint(optimizer, schedule, tmp_path):
    def make():
        one = small_trainer("product", optimizer=OPTIMIZERS[optimizer]())
        one.schedule = mf.schedules.make(schedule)
        return one

    assert_resumes(make, numbers(), tmp_path)


def test_training_resumes_bit_for_bit_on_the_stand_in_for_the_device(engine, tmp_path):
    assert_resumes(lambda: small_trainer("brsf"), numbers(), tmp_path, places=PLACES)


def test_training_resumes_bit_for_bit_in_double_precision(float64, tmp_path):
    assert_resumes(lambda: small_trainer("weight_perturbation"), numbers(), tmp_path, places=PLACES)


@pytest.mark.skipif(
    not hasattr(experiments.Experiment, "augmentation"), reason="this version of minifa has no augmentation"
)
def test_augmented_examples_are_drawn_again_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    data = mf.data.from_arrays(rng.standard_normal((25, 8, 8, 2)), np.arange(25) % 3)
    experiment = experiments.Experiment(
        model="cnn", model_options={"depth": 2}, rule="fa", lr=0.01, epochs=3, batch_size=8, augmentation="crop_flip"
    )

    def make():
        return experiments.trainer_for(experiment, data)

    whole, kept = make(), KeepAll(tmp_path)
    whole.callbacks.append(kept)
    experiments.fit(experiment, data, whole)
    for path in kept.paths:
        resumed = make()
        load(path, resumed)
        experiments.fit(experiment, data, resumed)
        assert_same_training(whole, resumed)


@pytest.mark.parametrize("rule", ["brsf", "stale:every=2", "sham", "dfa:shared=true"])
def test_a_trainer_can_load_an_older_checkpoint(rule, tmp_path):
    """A trainer with more updates loads an older checkpoint, including the first one."""
    whole, kept = small_trainer(rule), KeepAll(tmp_path)
    whole.callbacks.append(kept)
    whole.fit(numbers(), 3, batch_size=8)
    whole.callbacks.clear()
    expected = all_of(whole)
    for i in (10, 0):
        load(kept.paths[i], whole)
        whole.fit(numbers(), 3 - whole.finished, batch_size=8)
        assert_same_bits(all_of(whole)[0], expected[0])
        assert all_of(whole)[1:] == expected[1:]


@pytest.mark.parametrize(
    "forget",
    [
        lambda one: setattr(one, "optimizer", mf.Adam(0.01)),
        lambda one: setattr(one.net, "step", 0),
        lambda one: one.rule.attach(one.net),
        lambda one: setattr(one, "epoch", one.epoch - 1),
        lambda one: one.net.load_state(small_trainer().net.state()),
        lambda one: one.net["batchnorm1"].running_mean.fill(0),
    ],
    ids=["optimizer", "step", "rule", "epoch", "network", "statistics"],
)
def test_every_part_of_a_checkpoint_is_needed(forget, tmp_path):
    """Without any one part the result of training differs, so the tests above can fail."""
    whole, resumed = small_trainer(), small_trainer()
    whole.fit(numbers(), 2, batch_size=8)
    save(tmp_path / "x.ckpt", whole)
    whole.fit(numbers(), 1, batch_size=8)
    load(tmp_path / "x.ckpt", resumed)
    forget(resumed)
    resumed.fit(numbers(), 1, batch_size=8)
    arrays, others = checkpoints.arrays_of(whole), checkpoints.arrays_of(resumed)
    assert any(not np.array_equal(arrays[key], others[key]) for key in arrays)


def test_a_second_trainer_resumes_its_own_order_of_examples(tmp_path):
    """The key of the order of the examples is the step where the trainer began, not the step where it was loaded."""

    def make():
        first = small_trainer()
        first.fit(numbers(), 1, batch_size=8)
        return Trainer(first.net, first.rule, CE, mf.SGD(0.01), seed=0)

    assert_resumes(make, numbers(), tmp_path, epochs=2, places=(0, 2, 6))


# --- stopping ---------------------------------------------------------------------------------------------------------


class StopAt(Callback):
    def __init__(self, *steps):
        self.steps = set(steps)

    def on_step(self, trainer, examples):
        if trainer.net.step in self.steps:
            trainer.stop()


def test_stopping_after_any_update_and_resuming_changes_nothing():
    whole, stopped = small_trainer(), small_trainer(callbacks=[StopAt(1, 3, 5)])
    whole.fit(numbers(), 3, batch_size=8)
    states = []
    while stopped.finished < 3:
        stopped.fit(numbers(), 3 - stopped.finished, batch_size=8)
        states.append((stopped.stopped, stopped.epoch, stopped.batch, stopped.unfinished))
    assert states == [(True, 1, 1, True), (True, 1, 3, True), (True, 2, 2, True), (False, 3, 3, False)]
    assert_same_training(whole, stopped)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("other", [numbers(24), numbers(seed=1)], ids=["more", "others"])
def test_an_epoch_is_finished_with_the_examples_it_began_with(other):
    one = small_trainer(callbacks=[StopAt(2)])
    one.fit(numbers(), 2, batch_size=8)
    with pytest.raises(ValueError, match="epoch 1 was started with 20 examples .* cannot be finished with 2"):
        one.fit(other, 1, batch_size=8)
    with pytest.raises(ValueError, match="in batches of 10"):
        one.fit(numbers(), 1, batch_size=10)
    with pytest.raises(ValueError, match="with 20 examples .* in batches of 8, without a smaller last one"):
        one.fit(numbers(), 1, batch_size=8, drop_last=True)
    one.fit(numbers(), 1, batch_size=8)
    one.fit(other, 1, batch_size=10)  # a new epoch may have other examples
    assert one.history.column("epoch") == [0, 1, 2]


def test_training_without_a_smaller_last_batch(tmp_path):
    """As PyTorch's DataLoader, with the epoch's own examples in its measurements; resumed in an epoch and after it."""
    seen = []

    class Count(Callback):
        def on_step(self, trainer, examples):
            seen.append((examples, trainer.seen))
            save(tmp_path / f"{trainer.net.step}.ckpt", trainer)

    whole = small_trainer(callbacks=[Count()])
    whole.fit(numbers(), 2, batch_size=8, drop_last=True)
    assert seen == [(8, 8), (8, 16)] * 2
    assert (whole.history[1]["train_accuracy"] * 16).is_integer()
    for step in (1, 2, 3):
        resumed = small_trainer()
        load(tmp_path / f"{step}.ckpt", resumed)
        resumed.fit(numbers(), 2 - resumed.finished, batch_size=8, drop_last=True)
        assert_same_training(whole, resumed)


@pytest.mark.usefixtures("engine")
def test_a_last_batch_that_batch_norm_cannot_train_on_can_be_dropped():
    one = small_trainer()
    with pytest.raises(ValueError, match="last batch of 1, .* choose another batch size, or drop_last=True"):
        one.fit(numbers(17), 1, batch_size=8)
    one.fit(numbers(17), 1, batch_size=8, drop_last=True)
    assert one.seen == 16
    with pytest.raises(ValueError, match="17 examples in batches of 18 leave no batch with drop_last=True"):
        one.fit(numbers(17), 1, batch_size=18, drop_last=True)


@pytest.mark.usefixtures("engine")
def test_an_epoch_that_failed_is_not_resumed():
    class Fail(Callback):
        def on_step(self, trainer, examples):
            if trainer.net.step == 2:
                raise OSError("disk full")

        def on_done(self, trainer):
            raise AssertionError("it was not done")

    one = small_trainer(callbacks=[Fail()])
    with pytest.raises(OSError, match="disk full"):
        one.fit(numbers(), 2, batch_size=8)
    one.callbacks.clear()
    assert not one.unfinished
    one.fit(numbers(), 1, batch_size=8)
    assert one.history.column("epoch") == [0, 2]


def test_the_state_of_a_trainer_is_validated():
    one = small_trainer()
    before = one.state()
    for change in ({"epoch": "3"}, {"batch": None}, {"history": {}}, {"history": [1]}, {"colour": 1}, {"layout": []}):
        with pytest.raises(ValueError, match=next(iter(change))):
            one.load_state({**before, **change})
    with pytest.raises(ValueError, match="seen"):
        one.load_state({key: value for key, value in before.items() if key != "seen"})
    assert one.state() == before


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A checkpoint in the middle of an epoch, with the one before it."""
    folder = tmp_path_factory.mktemp("kept")
    one = small_trainer(callbacks=[StopAt(3, 5)])
    for _ in range(2):
        one.fit(numbers(), 3, batch_size=8)
        save(folder / "x.ckpt", one, {"model": "mlp", "hidden": [5]})
    return folder


def test_a_checkpoint_describes_its_training(kept):
    checkpoint = read(kept / "x.ckpt")
    assert checkpoint.position() == "in epoch 2 after 2 batches, step 5"
    assert read(previous_of(kept / "x.ckpt")).position() == "in epoch 1 after 3 batches, step 3"
    assert checkpoint.experiment == {"model": "mlp", "hidden": [5]}
    assert checkpoint.environment["numpy"] == np.__version__ and checkpoint.environment["minifa"] == mf.__version__
    assert checkpoint.components["rule"]["name"] == "kolen_pollack" and checkpoint.components["trainer"] == {"seed": 0}
    assert checkpoint.part("network")["linear1.W"].shape == (6, 5)
    assert not list(kept.glob("*.tmp"))


def test_numpy_can_open_a_checkpoint(kept):
    with np.load(kept / "x.ckpt", allow_pickle=False) as archive:
        assert archive["network/linear1.W"].shape == (6, 5)


def fresh_with_bits():
    one = small_trainer()
    return one, all_of(one)


def assert_refused(path, words):
    """Asserts that the file is refused with a message that names it and leaves the trainer unchanged; the message."""
    one, before = fresh_with_bits()
    with pytest.raises(CheckpointError, match=words) as caught:
        load(path, one)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    after = all_of(one)
    assert_same_bits(before[0], after[0])
    assert before[1:] == after[1:]
    return str(caught.value)


def test_a_file_cut_at_any_length_is_refused(kept, tmp_path):
    content = (kept / "x.ckpt").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.ckpt"
    lengths = {
        0,
        1,
        4,
        29,
        30,
        51,
        60,
        len(content) - 1,
        len(content) - 64,
        *rng.integers(0, len(content), 60).tolist(),
    }
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut\.ckpt"):
            read(path)
    path.write_bytes(content + b"\0")
    assert_refused(path, "damaged")


def test_a_file_with_any_byte_changed_is_refused(kept, tmp_path):
    content = bytearray((kept / "x.ckpt").read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.ckpt"
    places = {*range(64), *range(len(content) - 100, len(content)), *rng.integers(0, len(content), 200).tolist()}
    for place in places:
        bit = 1 << int(rng.integers(8))
        content[place] ^= bit
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"flipped\.ckpt"):
            read(path)
        content[place] ^= bit
    path.write_bytes(content)
    assert read(path).step == 5  # the unchanged file is valid


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"epoch,train_loss\n0,1\n", b"PK\x03\x04 nonsense", zipped(a=b"1"), b"\x93NUMPY" + bytes(200)],
    ids=["empty", "text", "nonsense", "zip", "npy"],
)
def test_a_foreign_file_is_refused(content, tmp_path):
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(content)
    assert_refused(path, "is not a checkpoint of minifa")


def made_up(kept, change):
    """A file with a valid checksum and invalid content."""
    checkpoint = read(kept / "x.ckpt")
    manifest = {
        "format": 1,
        **{key: getattr(checkpoint, key) for key in ("environment", "experiment", "step", "training")},
        "made_of": checkpoint.components,
        "arrays": {key: [str(array.dtype), list(array.shape)] for key, array in checkpoint.arrays.items()},
    }
    manifest = json.loads(json.dumps(manifest))
    arrays = {key: array.copy() for key, array in checkpoint.arrays.items()}
    change(manifest, arrays)
    return checkpoints.pack(manifest, arrays)


def put(part, **values):
    return lambda manifest, arrays: manifest[part].update(values)


def replace_array(key, array):
    def change(manifest, arrays):
        arrays[key] = array
        manifest["arrays"][key] = [str(array.dtype), list(array.shape)]

    return change


def put_network(**values):
    return lambda manifest, arrays: manifest["made_of"]["network"].update(values)


MADE_UP = {
    "nothing": (lambda m, a: None, None),
    "another format": (lambda m, a: m.update(format=2), "format is 2 .* reads format 1"),
    "no format": (lambda m, a: m.pop("format"), "has no format"),
    "no training": (lambda m, a: m.pop("training"), "missing or unknown entries: .*training"),
    "an unknown entry": (lambda m, a: m.update(colour=1), "missing or unknown entries: .*colour"),
    "arrays no list": (lambda m, a: m.update(arrays=3), "of the wrong type"),
    "a negative step": (lambda m, a: m.update(step=-1), "step"),
    "a missing array": (lambda m, a: a.pop("network/linear1.W"), "missing arrays .*linear1.W"),
    "an extra array": (lambda m, a: a.update({"rule/x": np.zeros(2)}), "not in its list .*rule/x"),
    "another shape than recorded": (lambda m, a: a.update({"network/linear1.b": np.zeros(2)}), "its list says"),
    "a missing array, not listed": (
        lambda m, a: (a.pop("optimizer/mean/linear1.W"), m["arrays"].pop("optimizer/mean/linear1.W")),
        "mean/linear1.W",
    ),
    "an extra array, listed": (replace_array("network/linear9.W", np.zeros(2)), "unknown .*linear9.W"),
    "NaN in the network": (replace_array("network/linear1.b", np.full(5, np.nan, np.float32)), "linear1.b.* finite"),
    "inf in the rule": (replace_array("rule/linear2", np.full((5, 3), np.inf, np.float32)), "linear2.* finite"),
    "NaN in the optimizer": (
        replace_array("optimizer/square/linear1.b", np.full(5, np.nan, np.float32)),
        "square/linear1.b.* finite",
    ),
    "words in an array": (replace_array("network/linear1.b", np.array(["a"] * 5)), "linear1.b"),
    "another rule": (put("made_of", rule={"name": "fa", "seed": 0}), "rule has name 'fa', but this training has"),
    "another seed": (put("made_of", trainer={"seed": 1}), "trainer has seed 1, but this training has 0"),
    "another setting": (put("made_of", loss={"name": "mse"}), "loss has"),
    "another dtype": (put_network(dtype="float64"), "network has dtype 'float64'"),
    "no layers recorded": (
        lambda m, a: m["made_of"]["network"].pop("layers"),
        None,
    ),  # written before layers were saved
    "no schedule recorded": (lambda m, a: (m["made_of"].pop("schedule"), m["made_of"].pop("augmentation")), None),
    "no rate recorded": (lambda m, a: m["made_of"]["optimizer"].pop("lr"), None),
    "no groups recorded": (
        lambda m, a: [m["made_of"]["optimizer"].pop(key) for key in ("decay_bias", "lr_factors")],
        None,
    ),
    "made of nothing": (put("made_of", network=3), "description of the network is missing or invalid"),
    "no epoch": (lambda m, a: m["training"].pop("epoch"), "epoch is missing"),
    "an odd epoch": (put("training", epoch="two"), "epoch is missing, unknown or of the wrong type"),
    # Values outside their range, whatever the checksum says.
    **{
        f"{key} {value}": (put("training", **{key: value}), rf"{key} (is|must)")
        for key, values in {
            "base_lr": (-1.0, float("nan"), float("inf"), 1e300),
            "epoch": (10**30, -5),
            "batch": (-1, 10**30, 4),
            "seen": (-1,),
            "correct": (-1, 10**6),
            "seconds": (-1.0, float("nan")),
            "begun": ("from the start",),
            "layout": (
                {},
                {"examples": 0, "batch_size": 8, "digest": ""},
                {"examples": 20, "batch_size": "8"},
                {"examples": 20, "batch_size": 8, "digest": "", "drop_last": 1},
            ),
        }.items()
        for value in values
    },
    "a step beyond all": (lambda m, a: m.update(step=10**30), "step"),
    "a history of another training": (put("training", history=[{"epoch": 0}, {"epoch": 7}]), "history"),
    "a history that goes back": (put("training", history=[{"epoch": 1}, {"epoch": 0}]), "history"),
    "a history without epochs": (put("training", history=[{"loss": 1}]), "history"),
    "words for a loss": (put("training", history=[{"epoch": 0, "validation_loss": "low"}]), "history"),
    "words for seconds": (put("training", history=[{"epoch": 0}, {"epoch": 1, "seconds": []}]), "history"),
    "doubles in the network": (
        replace_array("network/linear1.b", np.zeros(5)),
        "linear1.b' must be float32 in this training, got float64",
    ),
    "doubles in the rule": (
        replace_array("rule/linear2", np.zeros((5, 3))),
        "linear2' must be float32 in this training, got float64",
    ),
    "doubles in the optimizer": (
        replace_array("optimizer/mean/linear1.b", np.zeros(5)),
        "mean/linear1.b' must be float32 in this training, got float64",
    ),
    "a count that is none": (replace_array("optimizer/count/linear1.b", np.array(2.5)), "count/linear1.b"),
    "a count below 0": (replace_array("optimizer/count/linear1.b", np.array(-1)), "count/linear1.b.* below 0"),
    "a square below 0": (
        replace_array("optimizer/square/linear1.b", np.full(5, -1, np.float32)),
        "square/linear1.b.* below 0",
    ),
    "a variance below 0": (
        replace_array("network/batchnorm1.running_var", np.full(5, -1, np.float32)),
        "running_var.* below 0",
    ),
    "layers of nothing": (put_network(layers=3), "description of the layers is missing or invalid"),
    "layers of words": (put_network(layers=["Linear"]), "description of the layers is missing or invalid"),
    "no layers": (put_network(layers=[]), "the number of its layers is 0, but this training has 5"),
}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("what", MADE_UP)
def test_a_file_with_invalid_content_is_refused(what, kept, tmp_path):
    change, words = MADE_UP[what]
    path = tmp_path / "made_up.ckpt"
    path.write_bytes(made_up(kept, change))
    if words is None:
        assert load(path, small_trainer()).step == 5
    else:
        assert_refused(path, words)


def test_objects_are_never_unpickled(kept, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([Trap()], dtype=object), allow_pickle=True)
    content = (kept / "x.ckpt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        manifest = whole.read(checkpoints.MANIFEST)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as forged:
        forged.writestr(zipfile.ZipInfo(checkpoints.MANIFEST), manifest)
        forged.writestr("network/linear1.W.npy", stream.getvalue())
        forged.comment = b"0" * 64
    path = tmp_path / "trap.ckpt"
    path.write_bytes(packed.getvalue()[:-64] + archive.digest(packed.getvalue()))
    assert_refused(path, "pickled objects are not read")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: small_trainer(hidden=4), "BatchNorm 'batchnorm1' has features 5, but this training has 4"),
        (lambda: small_trainer("fa"), "rule has name"),
        (lambda: small_trainer(seed=1), "seed"),
        (lambda: small_trainer(optimizer=mf.SGD(0.01)), "optimizer has"),
        (lambda: small_trainer(optimizer=mf.Adam(0.01, betas=(0.8, 0.9))), "optimizer has betas"),
        (lambda: small_trainer(optimizer=mf.Adam(0.01, weight_decay=0.1)), "optimizer has weight_decay"),
        (lambda: small_trainer(optimizer=mf.Adam(0.01, decay_bias=False)), "optimizer has decay_bias True, but"),
        (lambda: small_trainer(optimizer=mf.Adam(0.01, lr_factors={"linear2": 2})), "optimizer has lr_factors {}, but"),
        (lambda: convnet_trainer("kolen_pollack"), "belongs to another training"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(other, words, kept):
    one = other()
    before = all_of(one)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(kept / "x.ckpt", one)
    assert "belongs to another training" in str(caught.value)
    assert_same_bits(before[0], all_of(one)[0])
    assert before[1:] == all_of(one)[1:]


def test_a_checkpoint_of_a_mirror_from_before_its_noise_had_options_is_loaded(tmp_path):
    one = small_trainer("weight_mirror")
    save(tmp_path / "x.ckpt", one)
    checkpoint = checkpoints.read(tmp_path / "x.ckpt")
    for option in ("correlation", "noise"):
        checkpoint.components["rule"].pop(option)
    checkpoints.restore(checkpoint, small_trainer("weight_mirror"))
    with pytest.raises(ValueError, match="rule has correlation 0.0, but this training has 0.5"):
        checkpoints.restore(checkpoint, small_trainer("weight_mirror:correlation=0.5"))


def plain_trainer(layers=None, freeze=(), schedule=None, rate=0.05, augmentation=None, shape=(6,)):
    """A training whose arrays have the same names and shapes for every change."""
    net = Network(layers() if layers else [Linear(6, 4), Tanh(), Linear(4, 3)], seed=0, input_shape=shape)
    net.freeze(*freeze)
    rule = mf.rules.BP(seed=0).attach(net)
    optimizer = mf.SGD(rate, momentum=0.9)
    return Trainer(net, rule, CE, optimizer, schedule, augmentation=augmentation)


def dense(*middle):
    return lambda: [Linear(6, 4), *(make() for make in middle), Linear(4, 3)]


def conv(**options):
    return lambda: [Conv2d(2, 3, 3, **options), MaxPool(2), Flatten(), Linear(12, 3)]


def own(after):
    return lambda epoch: 1.0 if epoch < after else 0.1


SCHEDULES = mf.schedules
ANOTHER = {
    "activation": (
        {"layers": dense(Tanh)},
        {"layers": dense(ReLU)},
        "its layer 2 is a Tanh, but this training has a ReLU",
    ),
    "slope": (
        {"layers": dense(lambda: mf.LeakyReLU(0.1))},
        {"layers": dense(lambda: mf.LeakyReLU(0.2))},
        "its LeakyReLU 'leakyrelu1' has negative_slope 0.1, but this training has 0.2",
    ),
    "dropout": (
        {"layers": dense(Tanh, lambda: Dropout(0.5))},
        {"layers": dense(Tanh, lambda: Dropout(0.25))},
        "its Dropout 'dropout1' has p 0.5, but this training has 0.25",
    ),
    "name": (
        {"layers": dense(lambda: Dropout(0.5, name="first"))},
        {"layers": dense(lambda: Dropout(0.5))},
        "its layer 2 is named 'first', but this training has 'dropout1'",
    ),
    "another layer": ({}, {"layers": dense(Tanh, Tanh)}, "its layer 3 is a Linear, but this training has a Tanh"),
    "one layer more": (
        {"layers": lambda: [Linear(6, 3)]},
        {"layers": lambda: [Linear(6, 3), ReLU()]},
        "the number of its layers is 1, but this training has 2",
    ),
    "statistics": (
        {"layers": dense(lambda: BatchNorm(4, momentum=0.1))},
        {"layers": dense(lambda: BatchNorm(4, momentum=0.2))},
        "its BatchNorm 'batchnorm1' has momentum 0.1, but this training has 0.2",
    ),
    "stride": (
        {"layers": conv(padding=0), "shape": (6, 6, 2)},
        {"layers": conv(padding=1, stride=2), "shape": (8, 8, 2)},
        "its Conv2d 'conv1' has padding [0, 0], but this training has [1, 1]",
    ),
    "alpha": (
        {"layers": dense(lambda: mf.ELU(0.1))},
        {"layers": dense(lambda: mf.ELU(0.2))},
        "its ELU 'elu1' has alpha 0.1, but this training has 0.2",
    ),
    "approximation": (
        {"layers": dense(mf.GELU)},
        {"layers": dense(lambda: mf.GELU("tanh"))},
        "its GELU 'gelu1' has approximate 'none', but this training has 'tanh'",
    ),
    "number of groups": (
        {"layers": dense(lambda: mf.GroupNorm(1, 4))},
        {"layers": dense(lambda: mf.GroupNorm(2, 4))},
        "its GroupNorm 'groupnorm1' has num_groups 1, but this training has 2",
    ),
    "dilation": (
        {"layers": conv(padding="same"), "shape": (4, 4, 2)},
        {"layers": conv(padding="same", dilation=2), "shape": (4, 4, 2)},
        "its Conv2d 'conv1' has dilation [1, 1], but this training has [2, 2]",
    ),
    "padding": (
        {"layers": conv(padding="same"), "shape": (4, 4, 2)},
        {"layers": conv(padding=1), "shape": (4, 4, 2)},
        "its Conv2d 'conv1' has padding 'same', but this training has [1, 1]",
    ),
    "frozen": ({"freeze": ["linear1"]}, {}, "its Linear 'linear1' has frozen True, but this training has False"),
    "not frozen": ({}, {"freeze": ["linear1"]}, "its Linear 'linear1' has frozen False, but this training has True"),
    "rate": ({"rate": 0.05}, {"rate": 0.1}, "its optimizer has lr 0.05, but this training has 0.1"),
    "schedule": (
        {"schedule": SCHEDULES.cosine(5)},
        {"schedule": SCHEDULES.step_decay(5)},
        "its schedule has name 'cosine', but this training has 'step_decay'",
    ),
    "no schedule": (
        {"schedule": SCHEDULES.cosine(5)},
        {},
        "its schedule has name 'cosine', but this training has 'constant'",
    ),
    "another gamma": (
        {"schedule": SCHEDULES.step_decay(50, 0.5)},
        {"schedule": SCHEDULES.make("step:size=50")},
        "its schedule has gamma 0.5, but this training has 0.1",
    ),
    "milestones": (
        {"schedule": SCHEDULES.multi_step([30])},
        {"schedule": SCHEDULES.multi_step([40])},
        "its schedule has milestones [30.0], but this training has [40.0]",
    ),
    "after the warm-up": (
        {"schedule": SCHEDULES.warm_up(2, SCHEDULES.cosine(9))},
        {"schedule": SCHEDULES.warm_up(2, SCHEDULES.cosine(8))},
        "its schedule has then {'name': 'cosine', 'epochs': 9.0, 'least': 0.0}, but this training has",
    ),
    "one schedule after another": (
        {"schedule": SCHEDULES.make("warm_up:epochs=2 then cosine:epochs=9")},
        {"schedule": SCHEDULES.make("warm_up:epochs=3 then cosine:epochs=9")},
        "its schedule has milestones [2.0], but this training has [3.0]",
    ),
    "patience on a plateau": (
        {"schedule": SCHEDULES.reduce_on_plateau(patience=2)},
        {"schedule": SCHEDULES.reduce_on_plateau(patience=3)},
        "its schedule has patience 2.0, but this training has 3.0",
    ),
    "measure of a plateau": (
        {"schedule": SCHEDULES.reduce_on_plateau(measure="train_loss")},
        {"schedule": SCHEDULES.reduce_on_plateau()},
        "its schedule has measure 'train_loss', but this training has None",
    ),
    "a schedule of one's own": (
        {"schedule": own(8)},
        {"schedule": own(20)},
        "its schedule has value at epoch 10 0.1, but this training has 1.0",
    ),
    "augmentation": (
        {"layers": conv(), "shape": (6, 6, 2), "augmentation": mf.data.make_augmentation("crop_flip:padding=2")},
        {"layers": conv(), "shape": (6, 6, 2)},
        "its augmentation has name 'Augmentation', but this training has 'none'",
    ),
    "padding of images": (
        {"layers": conv(), "shape": (6, 6, 2), "augmentation": mf.data.make_augmentation("crop_flip:padding=2")},
        {"layers": conv(), "shape": (6, 6, 2), "augmentation": mf.data.make_augmentation("crop_flip:padding=1")},
        "its augmentation has padding 2, but this training has 1",
    ),
}


@pytest.mark.parametrize("what", ANOTHER)
def test_a_checkpoint_of_other_layers_rates_or_schedules_is_refused(what, tmp_path):
    """Its arrays have the same names and shapes, and it was loaded."""
    options, others, words = ANOTHER[what]
    save(tmp_path / "x.ckpt", plain_trainer(**options))
    load(tmp_path / "x.ckpt", plain_trainer(**options))
    one = plain_trainer(**others)
    before = all_of(one)
    with pytest.raises(CheckpointError, match="belongs to another training: " + re.escape(words)):
        load(tmp_path / "x.ckpt", one)
    assert_same_bits(before[0], all_of(one)[0])
    assert before[1:] == all_of(one)[1:]


def test_equal_schedules_are_equal_however_they_were_constructed(tmp_path):
    made = (
        (SCHEDULES.multi_step(3, 0.5), SCHEDULES.make("multi_step:milestones=3,gamma=0.5")),
        (SCHEDULES.cosine(np.int64(5)), SCHEDULES.cosine(epochs=5.0, least=0)),
        (SCHEDULES.warm_up(2), SCHEDULES.warm_up(2, None)),
        (SCHEDULES.constant(), None),
        (own(8), own(8)),
        (lambda epoch: [1.0, 0.5][int(epoch)], lambda epoch: np.float32([1.0, 0.5][int(epoch)])),
    )
    for one, other in made:
        save(tmp_path / "x.ckpt", plain_trainer(schedule=one))
        load(tmp_path / "x.ckpt", plain_trainer(schedule=other))


def test_more_epochs_and_a_deliberate_change_of_the_rate_are_allowed(tmp_path):
    """The rate set after loading is the rate of the training from then on."""
    one, other = plain_trainer(), plain_trainer()
    one.fit(numbers(), 2, batch_size=8)
    save(tmp_path / "x.ckpt", one)
    load(tmp_path / "x.ckpt", other)
    other.optimizer.lr = 0.02
    other.fit(numbers(), 3, batch_size=8)
    assert other.history.column("lr")[1:] == [0.05] * 2 + [0.02] * 3
    save(tmp_path / "y.ckpt", other)
    third = plain_trainer()
    load(tmp_path / "y.ckpt", third)
    assert third.fit(numbers(), 1, batch_size=8)[-1]["lr"] == 0.02


def test_a_rate_changed_by_a_callback_is_resumed(tmp_path):
    class Halve(Callback):
        def on_recorded(self, trainer):
            trainer.base_lr /= 2

    def make():
        one = plain_trainer()
        one.callbacks.append(Halve())
        return one

    whole, kept = make(), KeepAll(tmp_path)
    whole.callbacks.append(kept)
    whole.fit(numbers(), 3, batch_size=8)
    resumed = make()
    load(kept.paths[6], resumed)
    resumed.fit(numbers(), 3 - resumed.finished, batch_size=8)
    assert_same_bits(all_of(whole)[0], all_of(resumed)[0])


def test_a_layer_with_a_counter_does_not_prevent_resuming(tmp_path):
    class Counting(ReLU):
        def forward(self, x, ctx):
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x, ctx)

    one = plain_trainer(dense(Counting))
    one.fit(numbers(), 1, batch_size=8)
    save(tmp_path / "x.ckpt", one)
    one.fit(numbers(), 1, batch_size=8)
    for other in (one, plain_trainer(dense(Counting))):
        load(tmp_path / "x.ckpt", other)


def test_rules_with_different_options_are_distinguished(tmp_path):
    save(tmp_path / "x.ckpt", small_trainer("stale:every=2"))
    with pytest.raises(CheckpointError, match="its rule has every 2, but this training has 3"):
        load(tmp_path / "x.ckpt", small_trainer("stale:every=3"))


def test_a_rule_with_a_counter_outside_its_state_is_refused(tmp_path):
    """Its counter would be lost, so an error is better than resuming."""

    class Counting(mf.rules.FA):
        count = 0

        def gradients(self, *arguments):
            self.count += 1
            return super().gradients(*arguments)

    def make():
        one = small_trainer("fa")
        one.rule = Counting(0).attach(one.net)
        return one

    one = make()
    one.fit(numbers(), 1, batch_size=8)
    save(tmp_path / "x.ckpt", one)
    with pytest.raises(CheckpointError, match=r"its rule has count 3, but this training has '\(none\)'"):
        load(tmp_path / "x.ckpt", make())


@pytest.mark.usefixtures("engine")
def test_the_previous_checkpoint_is_offered_if_it_is_valid(kept, tmp_path):
    path, before = tmp_path / "x.ckpt", tmp_path / "x.ckpt.previous"
    path.write_bytes((kept / "x.ckpt").read_bytes()[:-1])
    assert "previous checkpoint" not in assert_refused(path, "damaged")
    before.write_bytes((kept / "x.ckpt.previous").read_bytes())
    message = assert_refused(path, "damaged")
    assert (
        "the previous checkpoint" in message
        and str(before) in message
        and "in epoch 1 after 3 batches, step 3" in message
    )
    before.write_bytes(b"text")
    assert "previous checkpoint" not in assert_refused(path, "damaged")


def test_a_missing_file_is_not_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.ckpt"):
        read(tmp_path / "x.ckpt")
    assert newest(tmp_path / "x.ckpt") is None


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_existing_files(kept, tmp_path, monkeypatch):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save(path, small_trainer())
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["x.ckpt"]


def test_between_the_two_renamings_the_previous_checkpoint_exists(tmp_path, monkeypatch):
    """A kill between them leaves no file at the path itself."""
    path = tmp_path / "x.ckpt"
    save(path, small_trainer())
    content, replace, calls = path.read_bytes(), os.replace, itertools.count()

    def once(a, b):
        if next(calls):
            raise KeyboardInterrupt
        replace(a, b)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        save(path, small_trainer())
    assert newest(path) == previous_of(path) and previous_of(path).read_bytes() == content


def test_a_file_is_flushed_to_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (done.append(name), original(*a)))
    write_atomic(tmp_path / "x", "text")
    assert done[:2] == ["fsync", "replace"]
    assert (tmp_path / "x").read_text() == "text"


def test_states_with_non_finite_numbers_are_not_saved(tmp_path):
    one = small_trainer()
    one.net["linear1"].W[0, 0] = np.nan
    with pytest.raises(CheckpointError, match=r"network/linear1\.W must contain only finite numbers"):
        save(tmp_path / "x.ckpt", one)
    assert os.listdir(tmp_path) == []


# --- while training ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("column", "scores", "best"),
    [
        ("validation_accuracy", [0.1, 0.3, 0.5, 0.4, 0.5], 2),  # the first of equally good ones
        ("validation_loss", [3.0, 2.0, 2.5, 1.0, 1.5], 3),
        ("test_accuracy", [0.1, 0.3, 0.5, 0.4, 0.5], None),  # the test set selects nothing
    ],
)
def test_the_last_and_the_best_checkpoint_are_saved(column, scores, best, tmp_path):
    class Score(Callback):
        def on_epoch(self, trainer, row):
            row[column] = scores[row["epoch"]]

    one = small_trainer(callbacks=[Score(), SaveCheckpoints(tmp_path, {"a": 1}, every_steps=2)])
    one.fit(numbers(), 4, batch_size=8)
    last = read(tmp_path / "last.ckpt")
    assert last.training["epoch"] == 4 and not last.training["unfinished"] and last.experiment == {"a": 1}
    assert (tmp_path / "best.ckpt").exists() == (best is not None)
    if best is not None:
        assert read(tmp_path / "best.ckpt").training["epoch"] == best


@pytest.mark.parametrize(("options", "expected"), [({"every_steps": 2}, [2, 4, 6]), ({"every_seconds": 1e9}, [])])
def test_checkpoints_are_written_at_the_given_interval(options, expected, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoints, "save", lambda path, trainer, experiment: written.append(trainer.net.step))
    monkeypatch.setattr(checkpoints, "EPOCH_PAUSE", 1e9)
    small_trainer(callbacks=[SaveCheckpoints(tmp_path, **options)]).fit(numbers(), 2, batch_size=8)
    # the start, the requested intervals, and the end
    assert written == [0, *expected] + [6]


def test_checkpoints_by_epoch_and_by_time_alone_are_allowed(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        checkpoints, "save", lambda path, trainer, experiment: written.append((trainer.epoch, trainer.batch))
    )
    monkeypatch.setattr(checkpoints, "EPOCH_PAUSE", 0.0)
    small_trainer(callbacks=[SaveCheckpoints(tmp_path)]).fit(numbers(), 2, batch_size=8)
    assert written == [(0, 0), (1, 3), (2, 3)]
    written.clear()
    small_trainer(callbacks=[SaveCheckpoints(tmp_path, every_seconds=1e-9)]).fit(numbers(), 1, batch_size=8)
    assert written == [(0, 0), (1, 1), (1, 2), (1, 3), (1, 3)]


def test_a_stop_saves_a_checkpoint(tmp_path):
    one = small_trainer(callbacks=[StopAt(5), SaveCheckpoints(tmp_path)])
    one.fit(numbers(), 9, batch_size=8)
    assert read(tmp_path / "last.ckpt").position() == "in epoch 2 after 2 batches, step 5"


@pytest.mark.usefixtures("engine")
def test_a_diverging_training_keeps_its_last_finite_checkpoint(tmp_path):
    net = Network([Linear(6, 5), ReLU(), Linear(5, 3)])
    rule = mf.rules.BP().attach(net)
    one = Trainer(net, rule, CE, mf.SGD(1e30), callbacks=[SaveCheckpoints(tmp_path, every_steps=1)])
    one.fit(numbers(), 3, batch_size=8)
    assert one.diverged
    assert read(tmp_path / "last.ckpt").step < 3


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("options", [{"every_seconds": 0}, {"every_steps": 0}, {"every_seconds": float("nan")}])
def test_impossible_intervals_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match="every_(seconds|steps) must be"):
        SaveCheckpoints(tmp_path, **options)
