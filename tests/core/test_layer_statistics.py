"""Statistics of weights and activities, beside their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import minifa as mf
from minifa.backend import to_host
from minifa.experiments import Experiment, run
from minifa.layer_statistics import QUANTITIES, hidden_statistics
from minifa.testing.examples import batch, small_convnet
from minifa.training import RecordStatistics

# 1, 2, 3, 10: mean 4, squared deviations 9, 4, 1, 36
BY_HAND = {
    "mean": 4.0,
    "median": 2.5,
    "third_quartile": 4.75,
    "abs_mean": 4.0,
    "norm": math.sqrt(114 / 4),
    "variance": 12.5,
    "skewness": 3 * 1.5 / math.sqrt(12.5),
    "kurtosis": (81 + 16 + 1 + 1296) / 4 / 12.5**2,
}


def layers(*weights):
    """A layer with these weights for a single input, and an output layer."""
    net = mf.Network([mf.Linear(1, len(weights), bias=False), mf.ReLU(), mf.Linear(len(weights), 2)])
    net["linear1"].W = np.array([weights], "float64")
    return net


def test_the_statistics_are_those_of_values_computed_by_hand(float64):
    measured = hidden_statistics(layers(1, 2, 3, 10), np.array([[1.0]]))
    assert list(measured) == ["linear1", "relu1"]
    for layer, kind in (("linear1", "weight"), ("relu1", "activity")):
        assert measured[layer] == pytest.approx({f"{kind}_{name}": BY_HAND[name] for name in QUANTITIES})


def test_activities_are_measured_for_each_example_and_then_averaged(float64):
    measured = hidden_statistics(layers(-1, -2, -3, 10), np.array([[1.0], [-1.0]]))["relu1"]  # 0 0 0 10, 1 2 3 0
    assert measured["activity_mean"] == (2.5 + 1.5) / 2
    assert measured["activity_norm"] == pytest.approx((5 + math.sqrt(14 / 4)) / 2)
    assert measured["activity_median"] == (0 + 1.5) / 2


def test_without_variance_there_are_no_skewness_and_kurtosis(float64):
    x = np.array([[1.0], [-1.0]])  # the second example gives no activity
    measured = hidden_statistics(layers(1, 2, 3, 10), x)
    undefined = {key for layer in measured.values() for key, value in layer.items() if value is None}
    assert undefined == {"activity_skewness", "activity_kurtosis"}
    assert measured["relu1"]["activity_variance"] == 12.5 / 2


def test_measuring_changes_nothing(engine):
    net = small_convnet()
    x, _ = batch()
    before = net.state()
    measured = hidden_statistics(net, x)
    weighted = [layer.name for layer in net.weighted][:-1]
    assert list(measured) == [*weighted, "relu1", "residual1.body.relu1", "relu2", "leakyrelu1", "tanh1"]
    W = np.asarray(to_host(net["conv1"].W), "float64")
    assert measured["conv1"]["weight_variance"] == pytest.approx(W.var())
    assert all(np.array_equal(array, before[name]) for name, array in net.state().items())


def test_statistics_are_recorded_on_test_examples_and_only_when_asked_for():
    data = mf.data.load("digits")
    setting = Experiment(model="mlp", model_options={"hidden": (8,)}, epochs=1, lr=0.1, alignment=False)
    plain, _ = run(setting, data)
    measured, trainer = run(replace(setting, statistics=True), data)
    assert not any("weight_mean" in key for row in plain.history for key in row)
    now = hidden_statistics(trainer.net, mf.asarray(data.test.x[:256]))
    expected = {f"{name}.{key}": value for name, one in now.items() for key, value in one.items() if value is not None}
    assert {key: measured.history[-1][key] for key in expected} == expected
    assert plain.score == measured.score
    assert "statistics" not in setting.settings() and replace(setting, statistics=True).settings()["statistics"]
    with pytest.raises(TypeError, match="the examples must be one part of a data set"):
        RecordStatistics(data)
