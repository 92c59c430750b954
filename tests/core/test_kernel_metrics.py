"""How much layers depend on inputs and labels, beside the definitions and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import minifa as mf
from minifa.backend import to_host
from minifa.experiments import Experiment, run
from minifa.kernel_metrics import dependence, hidden_activities
from minifa.testing.examples import batch, small_convnet
from minifa.training import RecordKernels

LOSS = mf.SoftmaxCrossEntropy()


def linear_cka(z, t):
    """Kornblith et al. 2019: |t^T z|^2 / (|z^T z| |t^T t|) of centred columns, Frobenius norms."""
    z, t = (array - array.mean(axis=0) for array in (z, t))
    norm = np.linalg.norm
    return norm(t.T @ z) ** 2 / (norm(z.T @ z) * norm(t.T @ t))


def gaussian_nhsic(a, b, sigma=5.0, eps=1e-5):
    """Ma, Lewis & Kleijn 2020, with the inverse of the authors' code."""
    n, Kt = len(a), []
    H = np.eye(n) - 1 / n
    for one in (a, b):
        squares = ((one[:, None] - one[None]) ** 2).sum(axis=-1)
        K = np.exp(-squares / (2 * sigma**2 * one.shape[1])) @ H
        Kt.append(K @ np.linalg.inv(K + eps * n * np.eye(n)))
    return (Kt[0] * Kt[1].T).sum()


def test_the_measures_of_every_layer_are_those_of_the_definitions(float64):
    net = mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 6), mf.Linear(6, 3)])
    x, y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3
    measured, activities = dependence(net, x, y, LOSS), hidden_activities(net, x)
    assert list(measured) == list(activities) == ["tanh1", "linear2"]
    for name, z in activities.items():
        expected = {
            "nhsic_input": gaussian_nhsic(x, z),
            "nhsic_label": gaussian_nhsic(np.eye(3)[y], z),
            "cka_input": linear_cka(z, x),
            "cka_label": linear_cka(z, np.eye(3)[y]),
        }
        assert measured[name] == pytest.approx(expected, rel=1e-6)


def test_a_layer_that_holds_the_labels_depends_on_them_as_they_on_themselves(float64):
    # nHSIC(Y, Y) of C = 4 balanced classes: 2.976024
    net = mf.Network([mf.Linear(4, 4, bias=False), mf.Linear(4, 4)])
    net["linear1"].W = np.eye(4)
    y = np.arange(24) % 4
    measured = dependence(net, np.eye(4)[y], y, LOSS)["linear1"]
    assert measured["nhsic_input"] == pytest.approx(2.976024, abs=1e-6)
    assert measured["nhsic_label"] == pytest.approx(2.976024, abs=1e-6)
    assert measured["cka_label"] == pytest.approx(1, abs=1e-12)


def test_measuring_changes_nothing_and_includes_frozen_layers(engine):
    net = small_convnet()
    net.freeze("conv1")
    x, y = batch()
    rule = mf.rules.BP().attach(net)
    rule.gradients(net, x, y, LOSS)
    before = {**net.state(), **{name: to_host(one) for name, one in net.gradients().items() if one is not None}}
    caches = {layer.name: layer.cache for layer in net}
    measured = dependence(net, x, y, LOSS)
    assert list(measured) == ["relu1", "residual1.body.relu1", "relu2", "leakyrelu1", "tanh1"]
    assert all(0 <= value < 8 for one in measured.values() for value in one.values())
    after = {**net.state(), **{name: to_host(one) for name, one in net.gradients().items() if one is not None}}
    assert all(np.array_equal(array, after[name]) for name, array in before.items())
    assert all(layer.cache is caches[layer.name] for layer in net)


def test_numbers_as_targets_and_values_that_are_not_finite():
    net = mf.Network([mf.Linear(4, 5), mf.Tanh(), mf.Linear(5, 1)])
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    measured = dependence(net, x, np.linspace(0, 1, 6)[:, None], mf.HalfSquaredError())["tanh1"]
    assert all(value > 0 for value in measured.values())
    net["linear1"].W = np.full((4, 5), np.nan)
    found = dependence(net, x, np.linspace(0, 1, 6)[:, None], mf.HalfSquaredError())["tanh1"]
    assert set(found.values()) == {None}
    with pytest.raises(ValueError, match="takes at most 4,096 examples, got 5,000: use fewer"):
        dependence(net, np.ones((5000, 4), "float32"), np.ones((5000, 1)), mf.HalfSquaredError())


def test_kernels_are_recorded_on_at_most_512_examples_and_only_when_asked_for():
    data = mf.data.load("digits")
    assert len(RecordKernels(data.train).examples) == 512
    setting = Experiment(model="mlp", model_options={"hidden": (8,)}, epochs=1, lr=0.1, alignment=False)
    plain, _ = run(setting, data)
    measured, trainer = run(replace(setting, kernels=True), data)
    assert not any("nhsic" in key for row in plain.history for key in row)
    x, y = mf.asarray(data.train.x[:512]), data.train.y[:512]
    now = dependence(trainer.net, x, y, LOSS)["relu1"]
    assert {key: measured.history[-1][f"relu1.{key}"] for key in now} == now
    assert plain.score == measured.score
