"""Forward-forward beside fflib (pip install fflib, with PyTorch): the same update of one layer from equal weights and
rows.

fflib's FFLinear has the goodness mean(h^2), a threshold, and the mean of the cross-entropies of positive and negative
rows, as `minifa.rules.ForwardForward`. The conventions that differ:

- it divides each row of its input by |x| + 1e-4; here all rows have the length 1 - 1e-4, so that it divides by 1;
- it has its own optimizer, by default Adam: here SGD;
- its layers divide by the length, `minifa.UnitLength` by the root mean square: only the first layer is compared;
- which rows are negative is left to its user: it is given the rows of minifa.
"""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import Linear, Network, ReLU
from minifa.rules import ForwardForward

WHY = "fflib is not installed (pip install --no-deps fflib, with torch)"
torch = pytest.importorskip("torch", reason=WHY)
peer = pytest.importorskip("fflib.nn.ff_linear", reason=WHY)

THRESHOLD, LR, MARK = 0.3, 0.5, 0.6


def test_the_update_of_a_layer_is_that_of_fflib(float64):
    rng = np.random.default_rng(1)
    rest, labels = rng.standard_normal((8, 7)), np.eye(3)[rng.integers(0, 3, 8)]
    rest *= np.sqrt((1 - 1e-4) ** 2 - MARK**2) / np.linalg.norm(rest, axis=1, keepdims=True)
    x = np.hstack([rng.standard_normal((8, 3)), rest])
    net = Network([Linear(10, 6), ReLU(), Linear(6, 3)])
    net["linear1"].b = rng.standard_normal(6)

    rule = ForwardForward(theta=THRESHOLD, mark=MARK).attach(net)
    rows = [torch.tensor(rule.marked(x, one)) for one in (labels, rule.wrong(labels, step=0))]
    layer = peer.FFLinear(10, 6, THRESHOLD, LR, optimizer=torch.optim.SGD, dtype=torch.float64)
    layer.weight.data, layer.bias.data = torch.tensor(net["linear1"].W.T), torch.tensor(net["linear1"].b)
    losses = [layer.goodness(one, inverse=positive)[0] for one, positive in zip(rows, (True, False), strict=True)]
    layer.run_train(*rows)

    rule.gradients(net, x, labels, mf.SoftmaxCrossEntropy())
    np.testing.assert_allclose(rule.local["relu1"]["loss"], torch.cat(losses).mean().item(), rtol=1e-12)
    before = net["linear1"].W.copy()
    mf.SGD(lr=LR).step(net, rule)
    np.testing.assert_allclose(net["linear1"].W, layer.weight.detach().numpy().T, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(net["linear1"].b, layer.bias.detach().numpy(), rtol=1e-12, atol=1e-15)
    assert abs(net["linear1"].W - before).max() > 1e-3
