"""Predictive coding beside pclib (pip install pclib, with PyTorch): the same inference and the same update from equal
weights.

pclib's FCPCN has value nodes before the activation function, the energy sum |eps|^2 / 2 (the mean over the batch), and
steps in which all nodes move at once and the errors follow, as `minifa.rules.PC`. The conventions that differ:

- predictions go from the top of its stack down, so that with ``inverted=True`` the input is at the top;
- it applies f to the input, too: it is given atanh(x);
- it adds noise to its first errors and, depending on a temperature, in each step: here its own functions are called
  without a temperature;
- its ``forward`` would also reduce gamma for an example whose energy rises.
"""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import Linear, Network, Tanh
from minifa.rules import PC

WHY = "pclib is not installed (pip install --no-deps pclib, with torch)"
torch = pytest.importorskip("torch", reason=WHY)
models = pytest.importorskip("pclib.nn.models", reason=WHY)

SIZES, GAMMA, STEPS, LR = (5, 7, 6, 3), 0.1, 20, 0.5


def inference(peer, x, targets):
    """The states of pclib's layers after STEPS steps, from the output (the lowest layer) to the input."""
    state = peer.init_state(torch.tensor(np.arctanh(x)), torch.tensor(targets))
    for i, above in enumerate(peer.layers[1:]):
        peer.layers[i].update_e(state[i], above.predict(state[i + 1]))  # the first errors, without noise
    gamma = torch.full((len(x),), GAMMA, dtype=torch.float64)
    for _ in range(STEPS):
        peer.step(state, gamma, pin_obs=True, pin_target=True)
    return state


def test_inference_and_update_are_those_of_pclib(float64):
    rng = np.random.default_rng(1)
    x, targets = rng.uniform(-0.9, 0.9, (8, 5)), rng.standard_normal((8, 3))
    net = Network([Linear(5, 7), Tanh(), Linear(7, 6), Tanh(), Linear(6, 3)])
    for layer in net.weighted:
        layer.b = rng.standard_normal(layer.b.shape)

    peer = models.FCPCN(sizes=[*reversed(SIZES)], inverted=True, dtype=torch.float64)
    pairs = list(zip(net.weighted, peer.layers[:0:-1], strict=True))  # its lowest layer has no weights
    for own, layer in pairs:
        layer.weight.data, layer.bias.data = torch.tensor(own.W), torch.tensor(own.b)
    state = inference(peer, x, targets)
    optimizer = torch.optim.SGD(peer.parameters(), lr=LR)
    peer.vfe(state).backward()
    optimizer.step()

    rule = PC(gamma=GAMMA, steps=STEPS).attach(net)
    rule.gradients(net, x, targets, mf.HalfSquaredError())  # its clamp a - n e is the target
    mf.SGD(lr=LR).step(net, rule)

    for (own, layer), node in zip(pairs, state[-2::-1], strict=True):
        x, mu = rule.nodes[own.name], rule.predictions[own.name]
        found = ((x, node["x"]), (x - mu, node["e"]), (own.W, layer.weight), (own.b, layer.bias))
        for array, expected in found:
            np.testing.assert_allclose(array, expected.detach().numpy(), rtol=1e-10, atol=1e-13, err_msg=own.name)
