"""ASAP: which activity each layer learns from, its shape, and the published behaviour in residual networks."""

from __future__ import annotations

import numpy as np
import pytest
from checks import data, gradients

import minifa as mf
from minifa import BatchNorm, Conv2d, Flatten, Linear, Network, Residual, Tanh
from minifa.rules import make
from minifa.rules.asap import fitted
from minifa.testing.examples import inputs, mlp, network

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()


def residual_net(seed=0):
    """Two blocks of two linear layers, 134 weights and biases."""

    def block():
        return [Residual([Linear(4, 4), Tanh(), Linear(4, 4)]), Tanh()]

    return network([Linear(4, 4), Tanh(), *block(), *block(), Linear(4, 3)], (4,), seed=seed)


def conv_net():
    """A block that halves the map and doubles the channels, a block that keeps them, and linear layers."""
    halving = [Conv2d(4, 8, 3, stride=2, padding=1), Tanh(), Conv2d(8, 8, 3, padding=1)]
    keeping = [Conv2d(8, 8, 3, padding=1), Tanh(), Conv2d(8, 8, 3, padding=1)]
    layers = [
        *(Conv2d(2, 4, 3, padding=1), Tanh()),
        *(Residual(halving, [Conv2d(4, 8, 1, stride=2)]), Tanh()),
        *(Residual(keeping), Tanh(), Flatten()),
        *(Linear(32, 5), Tanh(), Linear(5, 6), Tanh(), Linear(6, 3)),
    ]
    return network(layers, (4, 4, 2))


def chain_of(count):
    return Network([Linear(4, 3), *(one for _ in range(count) for one in (Tanh(), Linear(3, 3))), Linear(3, 2)])


# --- which activity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_net", "options", "expected"),
    [
        # c1 and c2 of a block, c1 of the next: its own input, then the blocks' inputs, each for two layers
        (
            residual_net,
            "k=2",
            {
                "residual1.body.linear2": "tanh1",
                "residual2.body.linear1": "tanh1",
                "residual2.body.linear2": "tanh2",
            },
        ),
        (residual_net, "k=2,lag=0", {"residual1.body.linear2": "tanh1", "residual2.body.linear2": "tanh2"}),
        (residual_net, "k=1", {}),
        (
            lambda: chain_of(6),
            "k=2",
            {"linear3": "tanh1", "linear4": "tanh1", "linear5": "tanh3", "linear6": "tanh3", "linear7": "tanh5"},
        ),
        (lambda: chain_of(6), "k=4", {f"linear{i}": "tanh1" for i in (3, 4, 5, 6)} | {"linear7": "tanh5"}),
        (lambda: chain_of(6), "k=4,lag=0", {f"linear{i}": "tanh1" for i in (3, 4, 5)} | {"linear7": "tanh5"}),
        # the shortcut's convolution has the input of the block; the linear layers are counted anew
        (
            conv_net,
            "k=2",
            {
                "residual1.body.conv2": "tanh1",
                "residual2.body.conv1": "tanh1",
                "residual2.body.conv2": "tanh2",
                "linear2": "flatten1",
            },
        ),
    ],
)
def test_the_layers_that_share_an_activity(make_net, options, expected):
    assert make(f"asap:{options}").attach(make_net()).sources == expected


def test_an_activity_is_tiled_and_max_pooled_as_in_the_published_code():
    torch = pytest.importorskip("torch")
    shared = inputs((6, 9, 3), 2)
    maps = torch.tensor(mf.to_host(shared)).permute(0, 3, 1, 2)
    published = torch.nn.functional.max_pool2d(torch.cat([maps] * 2, 1), 3)
    np.testing.assert_array_equal(mf.to_host(fitted(shared, (2, 2, 3, 6))), published.permute(0, 2, 3, 1))
    adaptive = torch.nn.functional.adaptive_max_pool2d(torch.cat([maps] * 2, 1)[:, :5], (4, 5))
    np.testing.assert_array_equal(mf.to_host(fitted(shared, (2, 4, 5, 5))), adaptive.permute(0, 2, 3, 1))


def test_an_activity_of_another_width_is_tiled_and_cut_off(engine):
    shared = mf.asarray([[1.0, 2.0, 3.0]])
    assert fitted(shared, (1, 7)).tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert fitted(shared, (1, 2)).tolist() == [[1, 2]]
    assert fitted(mf.asarray([[[[1.0], [5.0]], [[3.0], [2.0]]]]), (1, 1, 1, 1)).tolist() == [[[[5.0]]]]


# --- the updates ------------------------------------------------------------------------------------------------------


def test_gradients_by_hand(float64):
    """dW = s^T delta with the inputs of the blocks as s, and delta carried by B; biases as ever."""
    net, (x, y) = residual_net(), data()
    rule = make("asap", seed=4).attach(net)
    got, B = gradients(net, rule, x, y), rule.B
    h0 = np.tanh(x @ net["linear1"].W + net["linear1"].b)
    h, inner = [h0], []
    for i in (1, 2):
        a, b = (net[f"residual{i}.body.linear{j}"] for j in (1, 2))
        inner.append(np.tanh(h[-1] @ a.W + a.b))
        h.append(np.tanh(h[-1] + inner[-1] @ b.W + b.b))
    e = (h[2] @ net["linear2"].W + net["linear2"].b - y) / len(x)
    delta, expected = e @ B["linear2"].T, {"linear2.W": h[2].T @ e, "linear2.b": e.sum(0)}
    for i, first in ((2, h[0]), (1, h[0])):  # the first layer of block 2 learns from the input of block 1
        delta = delta * (1 - h[i] ** 2)
        lower = delta @ B[f"residual{i}.body.linear2"].T * (1 - inner[i - 1] ** 2)
        for name, s, error in (("linear2", h[i - 1], delta), ("linear1", first, lower)):
            expected[f"residual{i}.body.{name}.W"] = s.T @ error
            expected[f"residual{i}.body.{name}.b"] = error.sum(0)
        delta = delta + lower @ B[f"residual{i}.body.linear1"].T
    delta = delta * (1 - h0**2)
    expected |= {"linear1.W": x.T @ delta, "linear1.b": delta.sum(0)}
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-11, atol=1e-13, err_msg=name)


def test_a_convolution_learns_from_the_pooled_maps_of_its_group(float64):
    torch = pytest.importorskip("torch")
    net, x = conv_net(), inputs((4, 4, 2), 3)
    rule = make("asap").attach(net)
    rule.gradients(net, x, [0, 1, 2], CE)
    h, t = rule.activities, rule.targets
    maps = torch.tensor(h["tanh1"]).permute(0, 3, 1, 2)
    shared = torch.nn.functional.max_pool2d(torch.cat([maps, maps], 1), 2)
    delta = (h["tanh2"] - t["tanh2"]) / len(x) * (1 - h["tanh2"] ** 2)
    delta = torch.tensor(delta).permute(0, 3, 1, 2)
    expected = torch.nn.grad.conv2d_weight(shared, (8, 8, 3, 3), delta, padding=1).permute(2, 3, 1, 0)
    np.testing.assert_allclose(net["residual1.body.conv2"].grads["W"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make_net", [residual_net, mlp])
def test_groups_of_one_layer_are_kolen_pollack(make_net):
    # A1: 100 steps with momentum and weight decay, to the last bit
    states = []
    for name in ("asap:k=1", "asap:k=1,lag=0", "kolen_pollack"):
        net, (x, y) = make_net(), data()
        rule, optimizer = make(name, seed=2).attach(net), mf.SGD(0.05, momentum=0.9, weight_decay=0.01)
        for _ in range(100):
            rule.gradients(net, mf.asarray(x), mf.asarray(y), HALF)
            optimizer.step(net, rule)
        states.append({**net.state(), **{f"B of {key}": B for key, B in rule.state().items()}})
    for other in states[:2]:
        assert all((other[key] == array).all() for key, array in states[2].items())


@pytest.mark.parametrize("options", ["k=2", "k=2,lag=0", "k=4"])
def test_the_difference_of_W_and_B_decays(options, float64):
    # A2: W - B is multiplied by 1 - lr decay in every step, whatever activity W and B learn from
    net, (x, y) = residual_net(), data()
    rule, optimizer = make(f"asap:{options}").attach(net), mf.SGD(0.1, weight_decay=0.1)
    start = {name: net[name].W - B for name, B in rule.B.items()}
    for _ in range(40):
        rule.gradients(net, x, y, HALF)
        optimizer.step(net, rule)
    for name, difference in start.items():
        np.testing.assert_allclose(net[name].W - rule.B[name], 0.99**40 * difference, rtol=0, atol=5e-15)
        assert not np.shares_memory(net[name].W, rule.memory[name])


def test_a_measurement_shares_the_activities_of_its_own_batch(float64):
    """Between updates alignment is measured with other examples, of another number, than the last batch."""
    net, y = residual_net(), np.arange(6) % 3
    rule, x, few = make("asap").attach(net), inputs((4,), 6), inputs((4,), 4, seed=1)
    own, true = (gradients(net, one, few, y[:4], CE) for one in (rule, mf.rules.BP().attach(net)))
    rule.gradients(net, x, y, CE)
    shared = dict(rule.presynaptic)
    measured = mf.metrics.alignment(net, rule, few, y[:4], CE)
    for layer in net.weighted:
        angle = float(mf.metrics.angle(own[f"{layer.name}.W"], true[f"{layer.name}.W"]))
        assert measured[layer.name]["gradient_angle"] == pytest.approx(angle, abs=1e-9)
    assert all(rule.presynaptic[name] is array for name, array in shared.items())


def test_layers_share_above_frozen_layers_too():
    """Where no error is carried further down, a layer still learns from the shared activity."""
    got = []
    for frozen in ("", "linear1,residual1"):
        net, (x, y) = residual_net(), data()
        net.freeze(*(name for name in frozen.split(",") if name))
        rule = make("asap").attach(net)
        rule.gradients(net, mf.asarray(x), mf.asarray(y), HALF)
        got.append({name: net[f"residual2.body.{name}"].grads["W"] for name in ("linear1", "linear2")})
    assert all((got[0][name] == got[1][name]).all() for name in got[0])


def test_a_residual_network_of_convolutions_trains():
    net = Network(mf.models.resnet20((8, 8, 1), 3, blocks=1), input_shape=(8, 8, 1))
    rule, optimizer = make("asap").attach(net), mf.SGD(0.05, momentum=0.9, weight_decay=0.01)
    assert len(rule.sources) == 5 and any(isinstance(layer, BatchNorm) for layer in net)
    x, y = inputs((8, 8, 1), 6), np.arange(6) % 3
    losses = []
    for _ in range(12):
        losses.append(float(rule.gradients(net, x, y, CE)))
        optimizer.step(net, rule)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.long
def test_shared_activities_teach_residual_networks_better_than_chains():
    """Six blocks of two tanh layers of 64 units, and six such layers in a chain, on the digits: SGD at 0.005 with
    momentum, 20 epochs, two seeds. Shortcuts keep a common basis, so that a neighbour's activity will do."""
    digits, accuracy = mf.data.load("digits"), {}
    for kind in ("residual", "chain"):
        for name in ("fa", "kolen_pollack", "asap", "asap:k=4"):
            scores = []
            for seed in (200, 201):
                layers = [Flatten(), Linear(64, 64), Tanh()]
                for _ in range(6):
                    body = [Linear(64, 64), Tanh()]
                    layers += body if kind == "chain" else [Residual([*body, Linear(64, 64)]), Tanh()]
                net = Network([*layers, Linear(64, 10)], seed=seed, input_shape=(8, 8, 1))
                rule = make(name, seed=seed).attach(net)
                trainer = mf.Trainer(net, rule, CE, mf.SGD(0.005, 0.9, weight_decay=rule.weight_decay), seed=seed)
                trainer.fit(digits.train, epochs=20, batch_size=64)
                scores.append(trainer.evaluate(digits.test)["accuracy"])
            accuracy[kind, name] = np.mean(scores)
    for name in ("asap", "asap:k=4"):
        assert accuracy["residual", name] > accuracy["residual", "kolen_pollack"] - 0.02
        assert accuracy["residual", name] > accuracy["residual", "fa"] + 0.05
    assert accuracy["chain", "asap"] < accuracy["chain", "kolen_pollack"] - 0.02
