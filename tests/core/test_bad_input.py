"""Regression tests for invalid input that was once accepted or raised an unclear error. Found by `fuzzing`."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import sys
import time
import tracemalloc
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from fuzzing import why_not_a_refusal

import minifa as mf
from minifa import cli, losses, metrics, models, rules, schedules
from minifa.cli import rules as rules_command
from minifa.data.base import DataFileError
from minifa.data.batches import Batches
from minifa.experiments import (
    Experiment,
    recipes,
    resume,
    run,
    run_folder,
    run_many,
    schema,
    study,
    sweep_results,
    sweeps,
)
from minifa.parallel import threads
from minifa.storage.npz import read_arrays, read_members
from minifa.testing.examples import GEOMETRIES
from minifa.training import History


def npy(descr="'<f8'", shape="(3,)", values=bytes(24)):
    """The bytes of an .npy file with this header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode("latin-1")
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + values


def archive(path, *members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def refused_within(size, call, *expected):
    """The message of the error that the call raises; the call may allocate at most ``size`` bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(expected) as raised:
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= size, f"{peak:,} bytes were allocated"
    return str(raised.value)


# Arrays in files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(shape="(1000000000,)"), "declares"),
        (npy(shape="(1152921504606846976,)"), "declares"),
        (npy(shape="(99999999999999999999999,)"), "declares"),
        (npy(shape="(0, 1099511627776)", values=b""), "sizes of at least 1"),
        (npy(shape="(1.5,)"), "the shape (1.5,)"),
        (npy(shape="(True, 3)"), "the shape (True, 3)"),
        (npy(shape="5"), "not of an array of numbers"),
        (npy(shape="(3,"), "cannot be read"),
        (npy(shape="(" * 3000), "cannot be read"),
        (npy(descr="'|O'"), "pickled objects are not read"),
        (npy(descr="'<f99'"), "expected numbers"),
        (npy(descr="[('a', '<f8')]"), "pickled objects are not read"),
        (npy(values=bytes(23)), "declares"),
        (npy(values=bytes(25)), "declares"),
        (b"\x93NUMPY\1\0\xff\xff", "header of 65535 bytes"),
        (b"", "is not in NumPy's .npy format"),
    ],
)
def test_an_array_header_that_announces_more_than_its_file_holds_is_refused(tmp_path, content, message):
    path = archive(tmp_path / "data.npz", ("x.npy", content))
    raised_message = refused_within(1 << 20, lambda: read_arrays(path), DataFileError)
    assert "data.npz" in raised_message and message in raised_message, raised_message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_member_beyond_the_ratio_of_deflate_is_refused(tmp_path, method):
    """bzip2 makes 50 bytes of 64 million zeros."""
    bomb = npy(shape=f"({1 << 23},)", values=bytes(1 << 26))
    path = archive(tmp_path / "data.npz", ("x.npy", bomb), method=method)
    assert "a method that NumPy does not use" in refused_within(1 << 20, lambda: read_arrays(path), DataFileError)


def test_a_member_larger_than_its_compressed_bytes_allow_is_refused(tmp_path):
    path = archive(tmp_path / "data.npz", ("x.npy", npy()))
    with zipfile.ZipFile(path) as file:
        (member,) = file.infolist()
        member.file_size = 1033 * member.compress_size
        with pytest.raises(ValueError, match=r"'x\.npy' declares a larger size than its compressed bytes can have"):
            read_members(file)


def test_a_member_that_ends_too_early_is_refused(tmp_path):
    """Its size and its header have the same wrong value; the checksum is that of the bytes present."""
    path = archive(tmp_path / "data.npz", ("x.npy", npy(shape="(4,)")))
    with zipfile.ZipFile(path) as file:
        file.infolist()[0].file_size += 8
        with pytest.raises(ValueError, match=r"the array 'x' ends after 24 of 32 bytes"):
            read_members(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_with_another_checksum_is_refused(tmp_path, method):
    path = archive(tmp_path / "data.npz", ("x.npy", npy()), method=method)
    with zipfile.ZipFile(path) as file:
        file.infolist()[0].CRC ^= 1
        with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
            read_members(file)


def test_two_arrays_with_the_same_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "data.npz", ("x.npy", npy()), ("x.npy", npy()))
    with pytest.raises(DataFileError, match="occurs twice"):
        read_arrays(path)


def test_arrays_of_every_numeric_dtype_are_read(tmp_path):
    kinds = ["?", "i1", "u2", "<i4", ">i8", "f2", ">f4", "f8", "c8"]
    arrays = {kind: np.asfortranarray(np.arange(6).reshape(2, 3).astype(kind)) for kind in kinds}
    arrays["number"] = np.array(3)
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    for name in ("plain.npz", "packed.npz"):
        loaded = read_arrays(tmp_path / name)
        assert loaded.keys() == arrays.keys()
        for key, array in arrays.items():
            assert loaded[key].dtype == array.dtype and np.array_equal(loaded[key], array)


# Run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=2)
    result, trainer = run(experiment)
    run_folder.save(folder, experiment, trainer.history, trainer.net, trainer.rule)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch,loss\n0,1,2\n", "does not match its header"),
        (b"epoch,loss\n0\n", "does not match its header"),
        (b"epoch,epoch\n0,1\n", "a duplicate column"),
        (b"epoch,loss\n0,\xff\n", "is not a table in CSV"),
        (b'epoch,loss\n0,"1\n', "is not a table in CSV"),
        (b"epoch,loss\n0," + b"1" * 200_000 + b"\n", "is not a table in CSV"),
    ],
)
def test_an_invalid_history_is_refused(tmp_path, content, message):
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(DataFileError, match=message):
        History.read_csv(tmp_path / "history.csv")


@pytest.mark.parametrize("column", ["epoch", "test_accuracy", "train_loss", "linear2.true_angle"])
def test_a_word_in_a_numeric_column_of_the_history_is_refused(folder, column):
    history = History.read_csv(folder / "history.csv")
    history[-1][column] = "many"
    history.save_csv(folder / "history.csv")
    with pytest.raises(DataFileError, match="many"):
        run_folder.read_results(folder)


def change_config(folder, **changes):
    """Other values in the experiment of a run folder."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["experiment"].update(changes)
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": 5},
        {"model": ["mlp"]},
        {"model_options": 1.5},
        {"optimizer_options": None},
        {"epochs": True},
        {"epochs": "many"},
        {"freeze": False},
        {"seed": 0.5},
        {"lr": "fast"},
        {"alignment": 1},
    ],
)
def test_an_experiment_with_an_invalid_field_is_refused(folder, changes):
    ((name, value),) = changes.items()
    with pytest.raises(TypeError, match=f"^{name} of an experiment must be a"):
        Experiment(**changes)
    change_config(folder, **changes)
    with pytest.raises(DataFileError, match=name):
        run_folder.open_run(folder)


def test_an_experiment_accepts_numpy_numbers():
    assert Experiment(seed=np.int64(3), lr=np.float32(0.5), validation=0).seed == 3


def test_a_deeply_nested_configuration_is_refused(folder):
    (folder / "config.json").write_text('{"experiment": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(DataFileError, match="config.json"):
        run_folder.read_experiment(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "no such"},
        {"data": "no such"},
        {"model_options": {"hidden": "wide"}},
        {"model_options": {"hidden": 10**12}},
        {"model_options": {"hidden": 10**40}},
        {"model": "cnn", "data": "digits", "model_options": {"depth": 10**9}},
        {"model": "resnet20", "data": "digits", "model_options": {"blocks": 10**9}},
        {"model": "mlp", "model_options": {"hidden": 5}},
    ],
)
def test_a_run_whose_network_cannot_be_built_is_refused_at_once(folder, changes):
    change_config(folder, **changes)
    assert "run cannot be opened" in refused_within(1 << 22, lambda: run_folder.open_run(folder), DataFileError)


def test_weights_that_do_not_fit_another_network_are_refused_with_the_file_named(folder):
    change_config(folder, data="digits")
    with pytest.raises(DataFileError, match="linear1.W"):
        run_folder.open_run(folder)


# Arguments of layers and optimizers


@pytest.mark.parametrize(
    "make",
    [
        lambda: mf.Linear(2.0, 3),
        lambda: mf.Linear(2, True),
        lambda: mf.Linear("2", 3),
        lambda: mf.Conv2d(2, 3.5, 3),
        lambda: mf.BatchNorm(2.5),
        lambda: mf.PadChannels(2.5),
        lambda: mf.LocalResponseNorm(None),
        lambda: mf.SGD(lr="fast"),
        lambda: mf.Adam(eps=None),
        lambda: mf.Adam(betas=0.9),
        lambda: mf.RMSprop(alpha=True),
        lambda: mf.SGD(clip_norm="x"),
    ],
)
def test_sizes_must_be_integers_and_rates_must_be_numbers(make):
    with pytest.raises(TypeError, match="must be (an int|a number|two numbers), got"):
        make()


# Values of each parameter: (a function that uses it, a valid value, invalid values).
NO_NUMBERS = ("x", "2", [], (1,), {}, b"x", 1j, object(), True, np.ones(2), np.array("x"), 10**400)
NO_SIZES = (*NO_NUMBERS, None, 2.5, -1, (1, 2, 3), float("nan"), float("inf"), 10**30)
NO_RATES = (-1, -1e-9, float("nan"), float("inf"))
NO_FLAGS = ("x", "false", 1, 0.0, [], (1,), {}, None, np.ones(2))
NO_WORDS = ("x", "", 1, 0.5, True, [], ("a",), {}, b"x", object(), np.ones(2))
NO_OBJECTS = (None, "x", 1, True, 2.5, [], {}, b"x", object(), np.ones(2))
NO_SHAPES = (
    "x",
    5,
    2.5,
    {},
    object(),
    b"x",
    np.ones(3),
    (32.5, 32, 3),
    (0, 32, 3),
    (32, -1, 3),
    ("a", 1, 1),
    [None],
)
NO_NAMES = (2.5, -1, True, [], ("a",), b"x", object(), np.ones(2), "", "a.b")
NO_LAYERS = ("x", None, 1, True, {}, {1}, b"x", (1,), [None], np.ones(2), np.array(1), mf.Linear)
TWO = mf.Network([mf.Linear(2, 2)])
BP = rules.BP().attach(TWO)


def parts(function, **given):
    """The arguments of this function: a network, its rule, and those of a trainer or a single step."""
    step = {"x": np.ones((3, 2), "f4"), "y": np.array([0, 1, 1])}
    made = {"net": TWO, "rule": BP, "loss": mf.SoftmaxCrossEntropy(), "optimizer": mf.SGD(), **step}
    return {name: one for name, one in made.items() if name in inspect.signature(function).parameters} | given


def fit(**given):
    data = mf.data.load("xor")
    net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
    trainer = mf.Trainer(net, rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD())
    return trainer.fit(**{"train": data.train, "epochs": 1, **given})


def measured(method, batch_size):
    """The measurements of a trainer on four examples in two dimensions."""
    return getattr(mf.Trainer(TWO, BP, mf.SoftmaxCrossEntropy(), mf.SGD()), method)(
        mf.data.load("xor").test, batch_size
    )


IMAGE = (32, 32, 3)


def outputs(model):
    """A number of outputs that the model accepts for `IMAGE`."""
    return math.prod(IMAGE) if model == "autoencoder" else 10


PARAMETERS = {
    "features of Linear": (lambda value: mf.Linear(value, 2), 3, (*NO_SIZES, 0)),
    "bias of Linear": (lambda value: mf.Linear(2, 2, bias=value), False, NO_FLAGS),
    "init of Linear": (lambda value: mf.Linear(2, 2, init=value), "zero", (None, [], {}, np.ones(2), 5, "gaussian(")),
    "channels of Conv2d": (lambda value: mf.Conv2d(2, value, 2), 3, (*NO_SIZES, 0)),
    "kernel of Conv2d": (lambda value: mf.Conv2d(2, 2, value), (2, 1), (*NO_SIZES, 0)),
    "stride of Conv2d": (lambda value: mf.Conv2d(2, 2, 2, stride=value), (2, 1), (*NO_SIZES, 0)),
    "padding of Conv2d": (lambda value: mf.Conv2d(2, 2, 2, padding=value), (0, 1), NO_SIZES),
    "dilation of Conv2d": (lambda value: mf.Conv2d(2, 2, 2, dilation=value), (2, 1), (*NO_SIZES, 0)),
    "groups of Conv2d": (lambda value: mf.Conv2d(2, 2, 2, groups=value), 2, (*NO_SIZES[: len(NO_NUMBERS)], None, 0, 3)),
    "window of MaxPool": (lambda value: mf.MaxPool(value), (2, 1), (*NO_SIZES, 0)),
    "stride of AvgPool": (lambda value: mf.AvgPool(2, stride=value), None, NO_SIZES[len(NO_NUMBERS) + 1 :]),
    "padding of MaxPool": (lambda value: mf.MaxPool(2, padding=value), 1, (*NO_SIZES, 2)),
    "features of BatchNorm": (lambda value: mf.BatchNorm(value), 3, (*NO_SIZES, 0)),
    "eps of BatchNorm": (lambda value: mf.BatchNorm(2, eps=value), 1e-3, (*NO_NUMBERS, None, 0, np.nan, np.inf)),
    "momentum of BatchNorm": (lambda value: mf.BatchNorm(2, momentum=value), 1, (*NO_NUMBERS, None, -1, 1.5, np.nan)),
    "slope of LeakyReLU": (lambda value: mf.LeakyReLU(value), 0.5, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "shape of LayerNorm": (
        lambda value: mf.LayerNorm(value),
        (2, 3, 4),
        ("x", [], {}, None, 2.5, -1, 0, (1, 2), (0,), 10**30),
    ),
    "groups of GroupNorm": (lambda value: mf.GroupNorm(value, 4), 2, (*NO_SIZES, 0, 3)),
    "groups of DivisiveNorm": (lambda value: mf.DivisiveNorm(value, 4), 2, (*NO_SIZES, 0, 3)),
    "power of DivisiveNorm": (lambda value: mf.DivisiveNorm(2, 4, value), 1, (*NO_NUMBERS, -0.1, np.inf, np.nan)),
    "smoothing of DivisiveNorm": (lambda value: mf.DivisiveNorm(2, 4, smoothing=value), 1, (*NO_NUMBERS, 0, np.inf)),
    "alpha of ELU": (lambda value: mf.ELU(value), -0.5, (*NO_NUMBERS, None, np.nan, np.inf)),
    "beta of Softplus": (lambda value: mf.Softplus(value), 0.5, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "threshold of Softplus": (lambda value: mf.Softplus(threshold=value), -1, (*NO_NUMBERS, None, np.nan, np.inf)),
    "p of Dropout": (lambda value: mf.Dropout(value), 0, (*NO_NUMBERS, None, 1, -0.1, np.nan)),
    "channels of PadChannels": (lambda value: mf.PadChannels(value), 3, (*NO_SIZES, 0)),
    "size of LocalResponseNorm": (lambda value: mf.LocalResponseNorm(value), 3, (*NO_SIZES, 0)),
    "beta of LocalResponseNorm": (lambda value: mf.LocalResponseNorm(3, beta=value), 0, (*NO_NUMBERS, -1, np.inf)),
    "k of LocalResponseNorm": (lambda value: mf.LocalResponseNorm(3, k=value), 2, (*NO_NUMBERS, None, 0, np.nan)),
    "body of Residual": (lambda value: mf.Residual(value), (mf.ReLU(),), (*NO_LAYERS, [])),
    "shortcut of Residual": (lambda value: mf.Residual([mf.ReLU()], value), [], NO_LAYERS),
    "name of ReLU": (lambda value: mf.ReLU(name=value), "über", NO_NAMES),
    "lr of SGD": (lambda value: mf.SGD(lr=value), np.float32(0.5), (*NO_NUMBERS, None, -1, np.nan, np.inf)),
    "nesterov of SGD": (lambda value: mf.SGD(momentum=0.9, nesterov=value), np.True_, NO_FLAGS),
    "manhattan of Adam": (lambda value: mf.Adam(manhattan=value), True, NO_FLAGS),
    "eps of Adam": (lambda value: mf.Adam(eps=value), 1, (*NO_NUMBERS, None, 0, np.nan)),
    "sparsity of FA": (lambda value: rules.FA(sparsity=value), 0, (*NO_NUMBERS, None, 1, -0.1, np.nan)),
    "correlation of FA": (lambda value: rules.FA(correlation=value), -1, (*NO_NUMBERS, None, -1.5, np.nan, np.inf)),
    "rescale_sparse of FA": (lambda value: rules.FA(rescale_sparse=value), False, NO_FLAGS),
    "conv of FA": (lambda value: rules.FA(conv=value), "dense", NO_WORDS),
    "normalise of FA": (lambda value: rules.FA(normalise=value), None, NO_WORDS),
    "init of FA": (lambda value: rules.FA(init=value), None, ([], {}, np.ones(2), 5, "gaussian(")),
    "scale of USF": (lambda value: rules.USF(scale=value), 0.5, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "concordance of USF": (lambda value: rules.USF(concordance=value), 0.5, (*NO_NUMBERS, None, 0.4, np.nan)),
    "signs of FRSF": (lambda value: rules.FRSF(signs=value), "initial", (*NO_WORDS, None)),
    "at of DFA": (lambda value: rules.DFA(at=value), "stage", (*NO_WORDS, None)),
    "family of DFA": (lambda value: rules.DFA(family=value), "gaussian", (*NO_WORDS, None)),
    "sd of DFA": (lambda value: rules.DFA(sd=value), None, (*NO_NUMBERS, 0, -1, np.nan, np.inf)),
    "shared of DFA": (lambda value: rules.DFA(shared=value), True, NO_FLAGS),
    "recompute of DFA": (lambda value: rules.DFA(recompute=value), True, NO_FLAGS),
    "ratio of Product": (lambda value: rules.Product(ratio=value), None, (*NO_NUMBERS, 2.5, 0, -1, np.nan, 10**30)),
    "fixed of Product": (lambda value: rules.Product(fixed=value), "identity", (*NO_WORDS, None)),
    "rate of WeightMirror": (lambda value: rules.WeightMirror(rate=value), 1, (*NO_NUMBERS, None, 0, 1.5, np.nan)),
    "samples of WeightMirror": (lambda value: rules.WeightMirror(samples=value), 3, (*NO_SIZES, 0)),
    "sigma of WeightMirror": (lambda value: rules.WeightMirror(sigma=value), 2, (*NO_NUMBERS, None, 0, np.nan, np.inf)),
    "every of WeightMirror": (lambda value: rules.WeightMirror(every=value), 3, (*NO_SIZES, 0)),
    "warmup_phases of WeightMirror": (lambda value: rules.WeightMirror(warmup_phases=value), 0, NO_SIZES),
    "correlation of WeightMirror": (
        lambda value: rules.WeightMirror(correlation=value),
        0.5,
        (*NO_NUMBERS, None, -0.1, 1, np.nan),
    ),
    "noise of WeightMirror": (lambda value: rules.WeightMirror(noise=value), "spikes", (*NO_WORDS, None)),
    "theta of RDD": (lambda value: rules.RDD(theta=value), -1, (*NO_NUMBERS, None, 4, np.nan, np.inf)),
    "window of RDD": (lambda value: rules.RDD(window=value), 2, (*NO_NUMBERS, None, 0, np.nan, np.inf)),
    "fit of RDD": (lambda value: rules.RDD(fit=value), "constant", (*NO_WORDS, None)),
    "samples of STDWI": (lambda value: rules.STDWI(samples=value), 3, (*NO_SIZES, 0, 1)),
    "r of STDWI": (lambda value: rules.STDWI(r=value), 0.5, (*NO_NUMBERS, None, 0, 1, np.nan)),
    "r_out of STDWI": (lambda value: rules.STDWI(r_out=value), 0.5, (*NO_NUMBERS, None, 0, 1, np.nan)),
    "rate of SAL": (lambda value: rules.SAL(rate=value), 1, (*NO_NUMBERS, None, 0, 1.5, np.nan)),
    "samples of PAL": (lambda value: rules.PAL(samples=value), 2, (*NO_SIZES, 0, 1)),
    "sigma of PAL": (lambda value: rules.PAL(sigma=value), 2, (*NO_NUMBERS, None, 0, np.nan, np.inf)),
    "highpass of PAL": (lambda value: rules.PAL(highpass=value), "raw", (*NO_WORDS, None)),
    "every of Stale": (lambda value: rules.Stale(every=value), 3, (*NO_SIZES, 0)),
    "rate of SymmetricAlignment": (lambda value: rules.SymmetricAlignment(rate=value), None, (*NO_NUMBERS, 0, np.inf)),
    "scale of PEPITA": (lambda value: rules.PEPITA(scale=value), 1, (*NO_NUMBERS, None, 0, np.nan, np.inf)),
    "output of PEPITA": (lambda value: rules.PEPITA(output=value), "second", (*NO_WORDS, None)),
    "sigma of NodePerturbation": (lambda value: rules.NodePerturbation(sigma=value), 1, (*NO_NUMBERS, None, 0, np.inf)),
    "seed of BP": (lambda value: rules.BP(seed=value), np.int64(3), (*NO_NUMBERS[:-1], None, 2.5, -1, np.nan)),
    "smoothing of a loss": (lambda value: mf.SoftmaxCrossEntropy(value), 1, (*NO_NUMBERS, None, -1, 1.5, np.nan)),
    "size of a schedule": (schedules.step_decay, 2.5, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "gamma of a schedule": (lambda value: schedules.step_decay(2, gamma=value), 2, (*NO_NUMBERS, None, *NO_RATES)),
    "milestones of a schedule": (
        schedules.multi_step,
        [1, 2.5],
        (*NO_NUMBERS[:2], {}, None, ["a"], np.ones(2), -1, [2, np.nan], [np.inf]),
    ),
    "epochs of a schedule": (schedules.cosine, 2, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "least of a schedule": (lambda value: schedules.cosine(2, least=value), 0.5, (*NO_NUMBERS, None, *NO_RATES)),
    "epochs of a warm-up": (schedules.warm_up, 2, (*NO_NUMBERS, None, 0, -1, np.nan, np.inf)),
    "name of a rule": (rules.make, "fa", NO_WORDS),
    "name of a schedule": (schedules.make, "cosine:epochs=2", (*NO_WORDS, None)),
    "name of an augmentation": (mf.data.make_augmentation, "crop_flip", NO_WORDS),
    "batch_norm of mlp": (lambda value: models.mlp((4,), 2, batch_norm=value), True, NO_FLAGS),
    "batch_norm of cnn": (lambda value: models.cnn((8, 8, 1), 2, batch_norm=value), True, NO_FLAGS),
    "channels of bench_cnn": (lambda value: models.bench_cnn((8, 8, 1), 2, value), (2, 3), (5, "x", None, (0,), ["a"])),
    "stem of resnet18": (lambda value: models.resnet18((32, 32, 3), 2, value), "imagenet", (*NO_WORDS, None)),
    **{
        f"input_shape of {name}": (lambda value, name=name: models.MODELS[name](value, outputs(name)), IMAGE, NO_SHAPES)
        for name in models.MODELS
    },
    **{
        f"n_out of {name}": (lambda value, name=name: models.MODELS[name](IMAGE, value), outputs(name), (*NO_SIZES, 0))
        for name in models.MODELS
    },
    "layers of Network": (lambda value: mf.Network(deepcopy(value)), (mf.Linear(2, 2),), (*NO_LAYERS, [])),
    "seed of Network": (lambda value: mf.Network([mf.ReLU()], seed=value), 3, (*NO_NUMBERS[:-1], None, 2.5, -1)),
    "input_shape of Network": (lambda value: mf.Network([mf.ReLU()], input_shape=value), None, NO_SHAPES),
    "input_error of Network": (lambda value: mf.Network([mf.ReLU()], input_error=value), True, NO_FLAGS),
    "net of attach": (lambda value: rules.FA().attach(value), mf.Network([mf.Linear(2, 2)]), (*NO_OBJECTS, mf.ReLU())),
    **{
        f"{name} of {function.__name__}": (
            lambda value, name=name, function=function: function(**parts(function, **{name: value})), good, bad
        )
        for name, good, bad in (
            ("net", TWO, (*NO_OBJECTS, mf.ReLU())),
            ("rule", BP, (*NO_OBJECTS, mf.rules.FA, mf.ReLU())),
            ("loss", mf.MeanSquaredError(), (*NO_OBJECTS, mf.MeanSquaredError, mf.rules.FA())),
            ("optimizer", mf.Adam(), (*NO_OBJECTS, mf.Adam, 0.1)),
            ("schedule", mf.schedules.cosine(3), NO_OBJECTS[1:]),
            ("seed", 3, (*NO_NUMBERS[:-1], None, 2.5, -1)),
            ("callbacks", [mf.training.Callback()], (*NO_OBJECTS[:5], {}, [mf.training.Callback], ["x"])),
            ("check_every", None, (*NO_SIZES[: len(NO_NUMBERS)], 0, 2.5)),
            ("augmentation", None, (*NO_OBJECTS[1:], "crop_flip")),
        )
        for function in (mf.Trainer, mf.trace, mf.metrics.alignment, mf.metrics.errors)
        if name in inspect.signature(function).parameters
    },
    "sd of an initialiser": (mf.initialisers.gaussian, 0, (*NO_NUMBERS, None, -1, np.nan, np.inf)),
    "limit of an initialiser": (mf.initialisers.uniform, 0.5, (*NO_NUMBERS, None, -1, np.nan, np.inf)),
    "sd of a truncated one": (mf.initialisers.truncated_gaussian, 0.5, (*NO_NUMBERS, None, -1, np.nan, np.inf)),
    "experiment of run": (run, Experiment(data="xor", model="tiny", epochs=1), NO_OBJECTS),
    "experiments of run_many": (lambda value: list(run_many(value, jobs=1)), [], (*NO_OBJECTS[:5], {}, ["x"], "a.b")),
    "epochs of fit": (lambda value: fit(epochs=value), 1, (*NO_SIZES, 0)),
    "batch_size of fit": (lambda value: fit(batch_size=value), 2, (*NO_SIZES, 0)),
    **{
        f"batch_size of {name}": (call, 2, (*NO_SIZES, 0))
        for name, call in (
            ("evaluate", lambda value: measured("evaluate", value)),
            ("class_accuracies", lambda value: measured("class_accuracies", value)),
            ("is_correct", lambda value: measured("is_correct", value)),
            ("predict", lambda value: TWO.predict(np.ones((3, 2)), value)),
            ("Batches", lambda value: Batches(mf.data.load("xor").train, value, seed=0, epoch=1)),
        )
    },
    "validation of fit": (lambda value: fit(validation=value), None, NO_OBJECTS[1:]),
    "padding of Augmentation": (lambda value: mf.data.Augmentation(padding=value), 0, NO_SIZES),
    "flip of Augmentation": (lambda value: mf.data.Augmentation(flip=value), False, NO_FLAGS),
    "step of Pass": (lambda value: mf.Pass(step=value), sys.maxsize, (*NO_SIZES, sys.maxsize + 1)),
}  # fmt: skip


LARGE = ("n_out of resnet18", "n_out of alexnet", "n_out of moskovitz_tf")  # each call draws millions of weights


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in LARGE else name for name in PARAMETERS]
)
def test_invalid_parameters_are_refused_by_the_call_that_receives_them(name):
    """Many of them raised an error of Python's, or were stored until a pass failed."""
    make, good, bad = PARAMETERS[name]
    make(good)
    complaints = [defect_of(make, value) for value in bad]
    assert not any(complaints), "\n".join(filter(None, complaints))


def defect_of(make, value):
    """The defect in the response to an invalid value; None: it is refused with a message of minifa."""
    try:
        make(value)
    except (TypeError, ValueError) as error:
        wrong = why_not_a_refusal(error)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = "was accepted"
    return wrong and f"{str(value)[:30]!r} {wrong.strip().splitlines()[-1]}"


def test_more_weights_than_memory_holds_are_refused_before_they_are_drawn():
    assert "more than is free" in refused_within(1 << 20, lambda: mf.Linear(10**6, 10**7), ValueError)


# Arrays


def after_a_pass(layer, shape):
    """A layer after a training pass, and the shape of its output."""
    net = mf.Network([layer], input_shape=shape, input_error=True)
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype("f4")
    return net.forward(x, mf.Pass(training=True)).shape


@pytest.mark.parametrize("name", GEOMETRIES)
def test_backward_refuses_an_error_without_the_shape_of_the_output(name):
    """An error of one example, or of one channel, was broadcast to the others."""
    make, shape = GEOMETRIES[name]
    if len(make()) > 1:
        pytest.skip("a whole network")
    (layer,) = make()
    wanted = after_a_pass(layer, shape)
    for wrong in ((1, *wanted[1:]), (*wanted[:-1], 1), (*wanted, 1), (wanted[0], int(np.prod(wanted[1:])) + 1), ()):
        if wrong != wanted:
            with pytest.raises(ValueError, match="expects a"):
                layer.backward(np.ones(wrong, "f4"), mf.rules.BP())
    for invalid in (5, [[1.0]], np.ones(wanted, "i8"), np.ma.masked_array(np.ones(wanted, "f4"))):
        with pytest.raises(TypeError, match="expects"):
            layer.backward(invalid, mf.rules.BP())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_layer_refuses_an_empty_batch(name):
    make, shape = GEOMETRIES[name]
    for wrong in (np.zeros((0, *shape), "f4"), np.float64(1)):
        with pytest.raises((ValueError, TypeError), match="expects"):
            make()[0].forward(wrong, mf.Pass(training=True))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_broadcasts_nothing(name):
    loss, output = losses.LOSSES[name](), np.ones((3, 2), "f4")
    for target in (np.ones((1, 2), "f4"), np.ones((3, 1), "f4"), np.ones((2,), "f4")):
        with pytest.raises(ValueError, match="targets of shape"):
            loss(output, target)
    with pytest.raises(TypeError, match="a loss expects"):
        loss(output.tolist(), output)
    with pytest.raises(ValueError, match="regular array"):
        loss.target([[1.0], [1.0, 2.0]], output)


@pytest.mark.parametrize("compare", [metrics.angle, metrics.sample_angles, metrics.mean_angle, metrics.sign_agreement])
def test_comparisons_refuse_arrays_of_different_shapes(compare):
    a = np.ones((3, 2), "f4")
    for b in (a[:1], a[:, :1], a[None], a[:0]):
        with pytest.raises(ValueError, match="a comparison expects"):
            compare(a, b)
    with pytest.raises(TypeError, match="a comparison expects"):
        compare(a, a.astype("S3"))


def test_examples_must_hold_validated_arrays():
    x, y = np.ones((3, 2), "f4"), np.arange(3)
    for wrong in (x.tolist(), x.astype("O"), x.astype("i8"), x[0]):
        with pytest.raises(TypeError, match="^x of Examples must be an array"):
            mf.data.Examples(wrong, y)
    with pytest.raises(TypeError, match="^y of Examples must be an array"):
        mf.data.Examples(x, y.tolist())
    examples = mf.data.Examples(x, y)
    for positions in ([0.5], [True, False, True], [[0]], "ab"):
        with pytest.raises((TypeError, ValueError), match="positions of examples"):
            examples.take(positions)
    with pytest.raises(ValueError, match="must lie from -3 to 2, got 0 to 3"):
        examples.take([0, 3])


def test_training_accepts_only_examples():
    net = mf.Network([mf.Linear(2, 2)])
    trainer = mf.Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD())
    examples = mf.data.validate(np.ones((3, 2)), [0, 1, 0])
    with pytest.raises(TypeError, match="must be minifa.data.Examples"):
        trainer.fit((examples.x, examples.y), 1)
    with pytest.raises(TypeError, match="must be minifa.data.Examples"):
        trainer.fit(examples, 1, validation=set())
    with pytest.raises(TypeError, match="must be minifa.data.Examples"):
        trainer.evaluate(None)


def test_masked_arrays_are_refused():
    """NumPy drops the mask, so the masked values were used in training."""
    masked = np.ma.masked_array(np.ones((3, 2)), [[True, False]] * 3)
    for call in (
        lambda: mf.data.validate(masked, [0, 1, 0]),
        lambda: mf.Network([mf.Linear(2, 1)]).predict(masked),
        lambda: mf.Network([mf.Linear(2, 1)]).load_state({"linear1.W": masked[:2, :1], "linear1.b": np.zeros(1)}),
    ):
        with pytest.raises((TypeError, ValueError), match="mask|real numbers"):
            call()


def test_arrays_of_time_spans_are_refused():
    days = np.ones((3, 2), "m8[D]")
    for call in (lambda: mf.data.validate(days, [0, 1, 0]), lambda: mf.data.from_arrays(np.ones((3, 2)), days[:, 0])):
        with pytest.raises(TypeError, match="dtype timedelta64"):
            call()


def test_assigned_feedback_must_be_finite():
    net = mf.Network([mf.Linear(3, 2), mf.Linear(2, 1)])
    rule = mf.rules.FA().attach(net)
    before = rule.B["linear2"].copy()
    with pytest.raises(ValueError, match="finite"):
        rule.set_feedback("linear2", [[np.nan], [1.0]])
    for wrong in ("abc", {1}, [["a"], ["b"]]):
        with pytest.raises(TypeError, match="must be real numbers"):
            rule.set_feedback("linear2", wrong)
    assert np.array_equal(rule.B["linear2"], before)


def test_augmentation_accepts_only_images_on_the_host():
    crop = mf.data.Augmentation(padding=1)
    with pytest.raises(TypeError, match="images to augment must"):
        crop.augment([[1.0]], np.random.default_rng(0))
    with pytest.raises(ValueError, match="images to augment must"):
        crop.centre_crop(np.ones((2, 2), "f4"))


# The result in a run folder


@pytest.mark.parametrize(
    ("original", "replacement"),
    [
        ('"test_accuracy": ', '"test_accuracy": 0.5, "x": '),
        ('"best_epoch": 2', '"best_epoch": "x"'),
        ('"test_loss"', '"test_lots"'),
        ('"result": {', '"result": {}, "x": {'),
        ('"result": {', '"result": [], "x": {'),
        ('"experiment": {', '"experiment": ' + "[" * 100_000),
        ('{\n  "experiment"', '[{\n  "experiment"'),
        ("", "[]"),
    ],
)
def test_a_run_whose_result_was_changed_is_repeated(tmp_path, original, replacement):
    """It was accepted if the experiment was the requested one."""
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=2)
    right = resume.run_in_folder(tmp_path, experiment)
    path = tmp_path / resume.RESULT
    text = path.read_text(encoding="utf-8")
    assert original in text
    path.write_text(text.replace(original, replacement, 1) if original else replacement, encoding="utf-8")
    assert resume.run_in_folder(tmp_path, experiment) == right
    assert path.read_text(encoding="utf-8") == text, "and written again"


# Recipes, tables and sweeps


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1" * 5000, "thousands of digits"),
        ("1" * 400, "64 bits"),
        ("0x" + "f" * 5000, "64 bits"),
        ("9223372036854775808", "64 bits"),
        ("[" * 20 + "]" * 20, "nested too deeply"),
        ("{" + "a." * 3000 + "a = 1}", "nested too deeply"),
    ],
)
def test_a_recipe_with_an_invalid_setting_is_refused(value, message):
    """Huge integers raised a ValueError or an OverflowError of Python's."""
    for text in (f"[optimizer]\nlr = {value}", f'[over]\n"training.epochs" = [{value}]'):
        for parse in (recipes.parse, sweeps.parse):
            with pytest.raises(recipes.RecipeError, match=message):
                parse(text)
    with pytest.raises(recipes.RecipeError, match="training.seed: a whole number"):
        recipes.parse("", [f"training.seed={value}"])


def test_a_setting_beyond_the_range_of_floats_is_refused():
    for value in (10**400, -(10**400)):
        problems = []
        recipes.experiment_of({"optimizer.lr": value}, problems)
        assert "optimizer.lr: a number from 0 up is expected" in problems[0]
        with pytest.raises(ValueError, match="finite number"):
            schema.number(-np.inf)(value)


@pytest.mark.parametrize("name", ["x" * 5000, "\0", ".", "no\0ne.safetensors"])
def test_weights_with_an_impossible_file_name_are_listed_with_the_other_problems(name):
    """The system's error for a name that is too long was the only problem reported."""
    experiment = Experiment(data="xor", model="tiny", weights=name)
    with pytest.raises(recipes.RecipeError, match="2 problems.*\n.*\n.*there is no file"):
        recipes.check([Experiment(data="no.npz"), experiment], "the recipe")


@pytest.fixture
def swept(tmp_path):
    """A sweep, and the folder with the table of its runs."""
    sweep = sweeps.parse('[data]\nname = "xor"\n[model]\nname = "tiny"\n[over]\nrule = ["bp", "fa"]')
    with sweep_results.opened(sweep, tmp_path / "swept") as results:
        for run in sweep.runs:
            result = {"test_loss": 0.5, "test_accuracy": 0.75, "epochs": 1, "diverged": False}
            results.add(study.Outcome(sweep_results.task_of(run), result))
    return sweep, tmp_path / "swept"


@pytest.mark.parametrize(
    ("original", "replacement", "message"),
    [
        (b"0.75", b"many", "line 2: test_accuracy is 'many', and no number"),
        (b"0.75", b"\0", "no number|not a table in CSV"),  # Python 3.10's own reader refuses it
        (b",0,\n", b",no,\n", "diverged is 'no'"),
        (b"0.75,0.5", b",", "line 2: it has no test_loss and no error"),
    ],
)
def test_a_sweep_table_with_an_invalid_cell_is_refused(swept, original, replacement, message):
    """The summary ended with an error of Python's about a float, or was left out."""
    sweep, folder = swept
    path = folder / sweep_results.TABLE
    content = path.read_bytes()
    assert original in content
    path.write_bytes(content.replace(original, replacement, 1))
    with pytest.raises(DataFileError, match="sweep.csv.*" + message):
        sweep_results.lines_in(sweep, folder)
    with pytest.raises(DataFileError, match="sweep.csv.*" + message), sweep_results.opened(sweep, folder):
        pass


def test_a_deeply_nested_sweep_is_refused(swept):
    sweep, folder = swept
    (folder / "config.json").write_text('{"sweep": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(DataFileError, match="is not a folder of a sweep"):
        sweep_results.lines_in(sweep, folder)


def test_a_sweep_with_too_many_runs_is_refused():
    """2 to the power of 3,000 has a number of digits, 2 to the power of 20,000 more than Python writes."""
    for axes in (30, 3000):
        text = "[over]\n" + "".join(f'"x{i}" = [1, 2]\n' for i in range(axes))
        with pytest.raises(recipes.RecipeError) as raised:
            sweeps.parse(text)
        (message,) = [one for one in raised.value.problems if "of a sweep" in one]
        assert "runs are more than the 100,000 of a sweep" in message and len(message) < 100


def test_a_long_list_of_values_is_checked_in_linear_time():
    text = '[over]\n"training.seed" = [' + ", ".join(map(str, range(10_000))) + ", 7]"
    started = time.perf_counter()
    with pytest.raises(recipes.RecipeError, match="the list has 7 more than once"):
        sweeps.parse(text)
    assert time.perf_counter() - started < 1


# The command line


QUICK = ["--data", "xor", "--model", "tiny", "--epochs", "1"]
RECIPE = '[data]\nname = "xor"\n[model]\nname = "tiny"\n[training]\nepochs = 1\n'
WITH = {  # arguments with which a command ends quickly
    "train": ["train", *QUICK],
    "compare": ["compare", *QUICK, "--rules", "bp", "--seeds", "1", "--jobs", "1"],
    "step": ["step"],
    "explore": ["explore", "--train-updates", "1"],
    "sweep": ["sweep", "swept.toml"],
    "reproduce": ["reproduce", "table.toml"],
}
NO_COUNTS = ("-1", "x", "", " ", "1.5", "nan", "²", "1_0", "99999999999", "9" * 30, "1" * 5000)
COUNTS = [
    *(("train", "--epochs"), ("train", "--threads"), ("train", "--batch-size"), ("compare", "--epochs")),
    *(("compare", "--seeds"), ("compare", "--jobs"), ("compare", "--threads"), ("step", "--updates")),
    *(("step", "--threads"), ("explore", "--updates"), ("explore", "--train-updates"), ("sweep", "--jobs")),
    *(("sweep", "--threads"), ("reproduce", "--jobs"), ("reproduce", "--seeds")),
]


@pytest.fixture
def recipe_folder(tmp_path, monkeypatch):
    """A folder of recipes, as the working directory."""
    (tmp_path / "swept.toml").write_text(RECIPE + '[over]\nrule = ["bp"]\n', encoding="utf-8")
    (tmp_path / "table.toml").write_text(RECIPE + '[table]\n[[row]]\nname = "one"\n', encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(words, capsys):
    """The exit code of a command, and the last line of its error output."""
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(("command", "option"), COUNTS)
def test_an_invalid_count_is_refused_before_anything_runs(recipe_folder, capsys, command, option):
    there = sorted(recipe_folder.iterdir())
    for value in (*NO_COUNTS, *(() if option == "--updates" else ("0",))):
        code, message = run_command([*WITH[command], option, value], capsys)
        assert code == 2 and message.startswith(f"minifa {command}: {option}: expected a whole number"), message
        assert len(message) < 200
    assert sorted(recipe_folder.iterdir()) == there


@pytest.mark.parametrize(
    ("command", "option"), [("train", "--threads"), ("compare", "--seeds"), ("reproduce", "--seeds")]
)
def test_a_count_beyond_its_maximum_is_refused_before_anything_runs(recipe_folder, capsys, command, option):
    """A billion seeds filled the memory with the list of runs."""
    code, message = run_command([*WITH[command], option, "1000000000"], capsys)
    assert code == 2 and "up to" in message and "got 1000000000" in message
    with pytest.raises(recipes.RecipeError, match="seeds: a whole number from 1 to 10000 is expected"):
        recipes.parse("[table]\nseeds = 1000000000\n[[row]]\nname = 'one'")


@pytest.mark.parametrize("value", ["0", "x", "-1", "9" * 30, "1" * 5000, "1000000000", "²", ""])
def test_an_invalid_number_of_threads_in_the_environment_is_refused(monkeypatch, value):
    monkeypatch.setenv("MINIFA_THREADS", value)
    pool = threads.Threads()
    if value:
        with pytest.raises(ValueError, match="MINIFA_THREADS must be an int from 1 to 1024, got"):
            pool.size()
    for wrong in (0, -1, 1 << 40):
        with pytest.raises(ValueError, match="threads must be at least 1 and at most 1,024"):
            pool.resize(wrong)


@pytest.mark.parametrize("command", ["train", "compare", "explore", "sweep", "reproduce"])
@pytest.mark.parametrize("path", ["file/run", "x" * 300, "file/../file/run"])
def test_an_output_path_that_cannot_be_created_is_reported_with_a_remedy(recipe_folder, capsys, command, path):
    there = sorted(recipe_folder.iterdir())
    code, message = run_command([*WITH[command], "--out", path], capsys)
    assert code == 1 and message.startswith(f"minifa {command}: [Errno") and "; " in message, message
    assert sorted(recipe_folder.iterdir()) == there


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("path", [".", "/", "./"])
def test_an_output_folder_without_a_name_is_refused(recipe_folder, capsys, command, path):
    """``--out .`` raised an error of pathlib's about a name."""
    code, message = run_command([*WITH[command], "--out", path], capsys)
    assert code == 2 and "has no name of its own: name a new folder in it" in message, message


@pytest.mark.parametrize("name", ["data.name", "data.folder", "model.weights"])
def test_a_path_with_a_null_byte_is_refused(name):
    with pytest.raises(recipes.RecipeError, match=f"{name}: a word is expected"):
        recipes.parse("", [name + '="a\\u0000.npz"'])


@pytest.mark.parametrize("words", [["rules", " "], ["rules", ""], ["rules", "\t"], [" "], [""]])
def test_an_empty_argument_is_refused(words, capsys):
    code, message = run_command(words, capsys)
    assert code == 2 and "Traceback" not in message


def test_running_out_of_memory_is_reported(monkeypatch, capsys):
    def run(options):
        raise MemoryError

    monkeypatch.setattr(rules_command, "run", run)
    assert cli.main(["rules"]) == 1
    assert "memory does not suffice" in capsys.readouterr().err
