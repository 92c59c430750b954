"""Derivatives of the outputs by the activities of each layer."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close

import minifa as mf
from minifa.jacobians import jacobians
from minifa.layers.observer import Observer, observing
from minifa.testing.examples import batch, chain, mlp, small_convnet


class Errors(Observer):
    """The errors at the outputs of all layers."""

    def __init__(self):
        self.deltas = {}

    def on_teach(self, layer, delta, taught):
        self.deltas[layer.name] = mf.to_host(taught)


@pytest.mark.parametrize("make", [lambda: small_convnet(batch_norm=False), chain, mlp])
def test_the_errors_of_backpropagation_are_the_output_errors_times_the_jacobians(make, engine):
    net, step = make(), 3
    x = batch(4, shape=net.input_shape)[0]
    rng = np.random.default_rng(0)
    y, errors = net.forward(x, mf.Pass(training=True, step=step)), Errors()
    e = rng.standard_normal(y.shape).astype("f4")
    with observing(errors):
        net.backward(mf.asarray(e), mf.rules.BP().attach(net))
    found = jacobians(net, x, [layer.name for layer in net], step)
    carried = {name: np.einsum("no,nou->nu", e, mf.to_host(J)) for name, J in found.items()}
    assert_close(carried, {name: delta.reshape(4, -1) for name, delta in errors.deltas.items()}, 1e-5)


def test_jacobians_change_nothing_and_report_nothing_to_observers():
    net = small_convnet()
    net.freeze("batchnorm1", "residual1.body.batchnorm1")
    x, y = batch()
    rule = mf.rules.BP().attach(net)
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    before = [(layer.cache, dict(layer.grads)) for layer in net], net.state()
    errors = Errors()
    with observing(errors):
        jacobians(net, x, ["conv1", "residual2.body.conv1"])
    after = [(layer.cache, dict(layer.grads)) for layer in net], net.state()
    assert all(a[0] is b[0] and a[1] == b[1] for a, b in zip(before[0], after[0], strict=True))
    assert_close(after[1], before[1], tolerance=0)
    assert not errors.deltas


def test_batch_norm_and_layers_without_an_error_are_refused():
    net = small_convnet()
    with pytest.raises(ValueError, match="BatchNorm 'batchnorm1' mixes the batch: freeze it"):
        jacobians(net, batch()[0], ["linear1"])
    net = small_convnet(batch_norm=False)
    net.freeze("conv1", "residual1")
    with pytest.raises(ValueError, match=r"no error is carried to residual1.body.conv1: no layer below learns"):
        jacobians(net, batch()[0], ["residual1.body.conv1"])
