"""Input that is refused on NumPy is refused on the stand-in with the same message: imported weights, files and unusual
values."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import array_checks, checkpoints, weights
from minifa.data import DataFileError
from minifa.training import History

CE = mf.SoftmaxCrossEntropy()


def trainer(*layers, **options):
    net = mf.Network([*(layers or (mf.Linear(2, 3), mf.Tanh())), mf.Linear(3, 2)], seed=0)
    return mf.Trainer(net, mf.rules.BP().attach(net), CE, mf.SGD(), **options)


def state(prefix=""):
    return {f"{prefix}fc.weight": np.ones((3, 2)), f"{prefix}fc.bias": np.ones(3)}


@pytest.mark.parametrize(
    ("given", "names", "error"),
    [
        ([1], None, TypeError),
        ({1: np.ones(3)}, None, TypeError),
        ({"model": state()}, None, ValueError),
        (state(), [("fc", "linear1")], TypeError),
    ],
    ids=["a list", "a number for a name", "a dictionary in it", "names as pairs"],
)
def test_invalid_state_dicts_are_refused(engine, given, names, error):
    with pytest.raises(error):
        weights.from_torch(mf.Network([mf.Linear(2, 3)]), given, names)


def test_prefixes_of_a_wrapped_model_are_removed(engine):
    net = mf.Network([mf.Linear(2, 3)])
    weights.from_torch(net, state("module."), {"fc": "linear1"})
    assert float(net["linear1"].W.sum()) == 6


def test_a_layer_s_name_is_a_word_and_is_shown(engine):
    with pytest.raises(TypeError, match="name must be a str"):
        mf.Linear(1, 1, name=3)
    assert repr(mf.Linear(1, 1)) == "<Linear 'linear': W 1 x 1, b 1>"


def test_without_classes_no_class_has_an_accuracy(engine):
    targets = mf.data.validate(np.eye(2, dtype="float32"), np.eye(2, dtype="float32"), regression=True)
    assert trainer().class_accuracies(targets) == []
    with pytest.raises(TypeError, match="minifa.data.from_arrays"):
        trainer().evaluate([1, 2])


def test_an_invalid_augmentation_is_refused(engine):
    with pytest.raises(TypeError, match="augmentation"):
        trainer(augmentation="crop_flip")


@pytest.mark.parametrize("text", ["", "epoch,epoch\n1,2\n", 'epoch\n"1\n'])
def test_a_history_that_is_not_a_table_is_refused(engine, tmp_path, text):
    (tmp_path / "history.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError):
        History.read_csv(tmp_path / "history.csv")


def test_arrays_of_another_shape_are_refused(engine):
    with pytest.raises(ValueError, match="expects"):
        array_checks.require_like(mf.asarray(np.ones((2, 3))), (2, 4), "a comparison", "a second array")


def test_a_checkpoint_stores_numbers_and_refuses_other_layers(engine, tmp_path):
    path, one = tmp_path / "one.ckpt", trainer()
    checkpoints.save(path, one, {"lr": np.float32(0.5)})
    assert checkpoints.read(path).experiment == {"lr": 0.5}
    with pytest.raises(TypeError, match="must consist of numbers"):
        checkpoints.save(tmp_path / "other.ckpt", one, {"lr": object()})
    for layers in ((mf.Linear(2, 3), mf.ReLU()), (mf.Linear(2, 3), mf.Tanh(name="squash"))):
        with pytest.raises(ValueError, match="its layer"):
            checkpoints.load(path, trainer(*layers))
