"""Rules on locally connected layers: a matrix B for each position."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa.testing import check_rule
from minifa.testing.examples import batch, network


def untied_net(seed=0):
    """Two locally connected layers of 4 positions and a linear one, with 141 weights and biases."""
    layers = [
        *(mf.LocallyConnected2d(2, 2, 2, stride=2, input_size=4), mf.Tanh()),
        *(mf.LocallyConnected2d(2, 2, 2, padding="same", input_size=2), mf.LeakyReLU(0.1)),
        *(mf.AvgPool(2, stride=1), mf.Flatten(), mf.Linear(2, 3)),
    ]
    return network(layers, (4, 4, 2), seed=seed)


@pytest.mark.parametrize(
    "description",
    [
        *("fa:conv=dense", "frsf", "brsf", "kolen_pollack", "weight_mirror:warmup_phases=2,samples=8"),
        *("product:fixed=orthogonal", "symmetric_alignment", "local", "dtp"),
    ],
)
def test_rules_run_on_locally_connected_layers(description):
    check_rule(lambda seed: mf.rules.make(description, seed=seed), net=untied_net)


@pytest.mark.parametrize("description", ["di", "dfc"])
def test_rules_that_need_linear_layers_refuse_a_locally_connected_one_by_name(description):
    with pytest.raises(ValueError, match="LocallyConnected2d 'locallyconnected"):
        mf.rules.make(description).attach(untied_net())


def test_a_weight_mirror_looks_at_each_position(float64):
    net = untied_net()
    layer = net["locallyconnected2"]
    B = mf.rules.WeightMirror(warmup_phases=100, samples=128).attach(net).B[layer.name]
    angles = [float(mf.metrics.angle(*pair)) for pair in zip(layer.matrices(layer.W), layer.matrices(B), strict=True)]
    assert len(angles) == 4 and max(angles) < 10


@pytest.mark.parametrize("equal_start", [False, True])
def test_matrices_are_views_of_weights_and_of_feedback(equal_start):
    layers = [mf.LocallyConnected2d(1, 1, 2, input_size=n, equal_start=equal_start) for n in (4, 3)]
    net = mf.Network([*layers, mf.Flatten(), mf.Linear(4, 2)], input_shape=(4, 4, 1))
    layer, B = net["locallyconnected2"], mf.rules.FA().attach(net).B["locallyconnected2"]
    for array in (layer.W, B):
        for matrix in layer.matrices(array):
            matrix[...] = 0
        assert not array.any()


def test_product_feedback_has_factors_for_each_position(float64):
    net = untied_net()
    layer, rule = net["locallyconnected2"], mf.rules.Product(ratio=2).attach(net)
    R, P = rule.memory["locallyconnected2/R"], rule.memory["locallyconnected2/P"]
    assert R.shape == (2, 2, 2, 2, 2, 4) and P.shape == (4 * 2, 4)
    for p, B in enumerate(layer.matrices(rule.B[layer.name])):
        np.testing.assert_allclose(B, layer.matrices(R)[p] @ P.reshape(4, 2, 4)[p].T)
    x, y = batch(shape=(4, 4, 2))
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    dR = rule.parameters()["locallyconnected2/R"][1]
    for p, dW in enumerate(layer.matrices(layer.grads["W"])):
        np.testing.assert_allclose(layer.matrices(dR)[p], dW @ P.reshape(4, 2, 4)[p])
