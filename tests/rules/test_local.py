"""The rule `local` against its written formulas, against PyTorch's derivatives of its authors' losses, and against
results known from theory, each in a comment above its assertion.

h is the activity of a taught layer, t the one-hot targets, S and T the similarities of h and t between the n examples.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_close, gradients

import minifa as mf
from minifa import Conv2d, Dropout, Flatten, Linear, Network, ReLU, Tanh
from minifa.kernels import Cosine
from minifa.rules import make
from minifa.rules.local_parts import pooling
from minifa.testing.examples import batch, mlp, network, small_convnet

pytestmark = pytest.mark.usefixtures("float64")

CE, N = mf.SoftmaxCrossEntropy(), 8


def convnet(channels=5, size=(4, 3)):
    layers = [Conv2d(2, channels, 3, padding=1), Tanh(), Flatten(), Linear(channels * math.prod(size), 3)]
    return network(layers, (*size, 2))


NETS = {
    "linear": mlp,
    "maps": convnet,
    "maps of three channels": lambda: convnet(3),
    "maps of one position": lambda: convnet(size=(1, 1)),
}
OPTIONS = [
    "loss=pred",
    "loss=pred,dim_in_decoder=40",
    "loss=sim",
    "loss=sim,similarity_head=true",
    "similarity_head=true,beta=0.25",
    "bio=true,beta=0.5,dim_in_decoder=40",
]


def with_random_heads(options, net):
    """The rule after a pass, with random H and c, and M = H."""
    rule, rng = make(f"local:{options}").attach(net), np.random.default_rng(4)
    for name in rule.memory:
        if name.endswith(("/c", "/H")) or name in rule.B:
            rule.set_feedback(name, 0.3 * rng.standard_normal(rule.memory[name].shape))
    for name in rule.B:
        if f"{name}/H" in rule.memory:
            rule.set_feedback(name, rule.memory[f"{name}/H"])
    rule.gradients(net, *batch(N, net.input_shape), CE)
    return rule


# --- the derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("options", OPTIONS)
def test_errors_and_gradients_are_the_derivatives_of_the_local_loss(options, make_net):
    # L1: against central differences
    net, rng = make_net(), np.random.default_rng(5)
    rule = with_random_heads(options, net)
    layer, h = net["tanh1"], rule.heard["tanh1"].copy()
    signals = rule.signals(layer, h)

    def slope(array):
        """The difference of the loss along a random direction of this array, per length; and the direction."""
        direction, losses = rng.standard_normal(array.shape), []
        for step in (1e-6, -2e-6):
            array += step * direction
            losses.append(float(rule.signals(layer, h).loss))
        array += 1e-6 * direction
        return (losses[0] - losses[1]) / 2e-6, direction

    for array, gradient in [(h, signals.error), *((rule.memory[key], g) for key, g in signals.gradients.items())]:
        expected, direction = slope(array)
        assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def authors_similarity(torch, x):
    """As in the code of Nokland & Eidnes 2019, written anew: maps are (n, C, H, W)."""
    if x.dim() == 4:
        spread = x.shape[1] > 3 and x.shape[2] > 1
        x = x.flatten(2).std(dim=2) if spread else x.flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    x = x / (1e-8 + (x**2).sum(dim=1, keepdim=True).sqrt())
    return (x @ x.T).clamp(-1, 1)


@pytest.mark.parametrize("make_net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("options", [*OPTIONS, "loss=sim,bio=true,dim_in_decoder=40"])
def test_errors_and_gradients_against_the_authors_definition_in_pytorch(options, make_net):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = make_net()
    rule = with_random_heads(options, net)
    signals = rule.signals(net["tanh1"], rule.heard["tanh1"])
    leaf = {key: torch.tensor(array, requires_grad=True) for key, array in rule.memory.items()}
    h = torch.tensor(rule.heard["tanh1"], requires_grad=True)
    maps = h.permute(0, 3, 1, 2) if h.dim() == 4 else h
    t = torch.tensor(rule.target)
    P = leaf["tanh1/P"].detach() if rule.bio else None
    pool = pooling(net["tanh1"].output_shape, rule.dim_in_decoder)
    pooled = maps if pool is None else torch.nn.functional.avg_pool2d(maps, pool.kernel, padding=pool.padding)
    loss, beta = 0, {"pred": 0, "sim": 1, "predsim": rule.beta}[rule.loss]
    if rule.loss != "sim":
        x = pooled if pooled.dim() == 2 else pooled.permute(0, 2, 3, 1).flatten(1)  # H has its rows in NHWC order
        a = x @ leaf.get("tanh1/H", leaf["tanh1"]) + leaf["tanh1/c"]
        if rule.bio:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(a, (t @ P > 0).double())
        else:
            loss = torch.nn.functional.cross_entropy(a, t.argmax(dim=1))
    if rule.loss != "pred":
        z = pooled if rule.bio else maps
        if rule.similarity_head:
            V = leaf["tanh1/V"]
            z = torch.nn.functional.conv2d(z, V.permute(3, 2, 0, 1), padding=1) if z.dim() == 4 else z @ V
        targets = t @ P if rule.bio else t
        difference = authors_similarity(torch, z) - authors_similarity(torch, targets)
        loss = (1 - beta) * loss + beta * (difference**2).mean()
    loss.backward()
    assert float(signals.loss) == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(signals.error, h.grad.numpy(), rtol=1e-5, atol=1e-7)
    for key, gradient in signals.gradients.items():
        np.testing.assert_allclose(gradient, leaf[key].grad.numpy(), rtol=1e-5, atol=1e-7)


# --- similarities -----------------------------------------------------------------------------------------------------


def sim(h, y, classes, dtype=np.float64):
    """The loss and the error of sim for these activities, as a Local rule computes them."""
    net = Network([Linear(h.shape[1], h.shape[1], bias=False), Tanh(), Linear(h.shape[1], classes)])
    rule = make("local:loss=sim").attach(net)
    rule.gradients(net, mf.asarray(h), y, CE)
    return rule.signals(net["tanh1"], mf.asarray(h.astype(dtype)))


def test_the_error_of_sim_is_orthogonal_to_what_similarities_ignore():
    # L2: no part along the mean of an example's units, none along its activity; h -> 2 h halves it; constants in an
    # example change nothing (the mean is over units, not over the batch)
    rng = np.random.default_rng(0)
    h, y = rng.standard_normal((7, 5)), [0, 1, 2, 0, 1, 2, 0]
    loss, _, delta, *_ = sim(h, y, 3)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose((delta * h).sum(axis=1), 0, atol=1e-15)
    for other, factor in ((2 * h, 0.5), (h + rng.standard_normal((7, 1)), 1)):
        assert float(sim(other, y, 3).loss) == pytest.approx(float(loss), rel=1e-12)
        np.testing.assert_allclose(sim(other, y, 3).error, factor * delta, rtol=1e-9, atol=1e-15)
    assert float(sim(h + rng.standard_normal(5), y, 3).loss) != pytest.approx(float(loss), rel=1e-3)


@pytest.mark.parametrize("classes, n, expected", [(2, 100, 0.99), (10, 100, 0.101111)])
def test_similarities_of_classes_and_the_loss_of_unrelated_examples(classes, n, expected):
    # L3: T is 1 within a class and -1/(C - 1) between classes
    y = np.arange(n) % classes
    T = Cosine().matrix(mf.asarray(np.eye(classes)[y]))
    np.testing.assert_allclose(T, np.where(y[:, None] == y, 1, -1 / (classes - 1)), rtol=1e-12)
    # L4: S = identity has L = (1/C - 1/n) + (1 - 1/C) / (C - 1)^2
    basis = np.linalg.qr(np.column_stack([np.ones(n + 1), np.eye(n + 1)[:, :n]]))[0]
    loss = float(sim(basis[:, 1:].T, y, classes).loss)
    assert loss == pytest.approx(1 / classes - 1 / n + (1 - 1 / classes) / (classes - 1) ** 2, rel=1e-9)
    assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-5])
def test_nearly_constant_activities_get_bounded_errors(noise):
    # without the least norm, 1e-3, the errors are 2.9e5
    with mf.using("numpy", "float32"):
        h = (1 + noise * np.random.default_rng(1).standard_normal((8, 20))).astype("float32")
        error = sim(h, np.arange(8) % 3, 3, "float32").error
    assert np.isfinite(error).all() and abs(error).max() < 8 / (8 * 1e-3)


def test_one_example_and_a_constant_channel_get_no_error():
    h = np.random.default_rng(2).standard_normal((1, 5))
    signals = sim(h, [1], 3)
    assert float(signals.loss) == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(signals.error, 0, atol=1e-12)
    net = convnet()
    rule = with_random_heads("loss=sim", net)
    maps = rule.heard["tanh1"].copy()
    maps[0, :, :, 1] = 0.3
    error = rule.signals(net["tanh1"], maps).error
    assert (error[0, :, :, 1] == 0).all() and abs(error).max() > 0


# --- equalities with backpropagation and feedback alignment -----------------------------------------------------------


@pytest.mark.parametrize("optimizer", [lambda: mf.SGD(0.1, momentum=0.9, weight_decay=0.01), lambda: mf.Adam(0.01)])
@pytest.mark.parametrize("heads, other", [("learned", "bp"), ("fixed", "fa")])
def test_with_one_hidden_layer_pred_is_backpropagation_or_feedback_alignment_for_ever(heads, other, optimizer):
    # L5, L6: heads that start as the output layer stay equal to it; with fixed M the rule is FA with B = M
    states = []
    for description in (f"local:loss=pred,heads={heads}", other):
        net = mlp(hidden=(6,))
        rule, steps = make(description, seed=3).attach(net), optimizer()
        if heads == "fixed":
            rule.set_feedback("tanh1" if rule.name == "local" else "linear2", np.arange(18).reshape(6, 3) / 18)
        if rule.name == "local":
            head = "tanh1/H" if heads == "fixed" else "tanh1"
            rule.set_feedback(head, net["linear2"].W)
            rule.set_feedback("tanh1/c", net["linear2"].b)
        for step in range(200):
            rule.gradients(net, *batch(N, (4,), seed=step), CE)
            steps.step(net, rule)
        states.append(net.state())
        if rule.name == "local":
            assert (rule.memory[head] == net["linear2"].W).all() and (rule.memory["tanh1/c"] == net["linear2"].b).all()
    assert_close(*states, 0)


def test_heads_start_at_zero_and_hidden_layers_wait_for_them():
    # L7
    net = mlp()
    rule, optimizer, before = make("local:loss=pred").attach(net), mf.SGD(0.1), net.state()
    assert not any(array.any() for array in rule.memory.values())
    rule.gradients(net, *batch(N, (4,)), CE)
    optimizer.step(net, rule)
    moved = {name for name, array in net.state().items() if (array != before[name]).any()}
    assert moved == {"linear3.W", "linear3.b"} and all(array.any() for array in rule.memory.values())
    rule.gradients(net, *batch(N, (4,)), CE)
    optimizer.step(net, rule)
    assert all((array != before[name]).any() for name, array in net.state().items())


@pytest.mark.parametrize("options", ["loss=pred", "loss=sim", "bio=true"])
def test_the_gradients_of_a_layer_do_not_depend_on_the_weights_above(options):
    # L8
    net = small_convnet()
    rule = with_random_heads(options, net)
    before = gradients(net, rule, *batch(), CE)
    for layer in net.weighted[4:]:
        layer.W = 3 * layer.W
    after = gradients(net, rule, *batch(), CE)
    kept = [f"{layer.name}.W" for layer in net.weighted[:4]]
    assert kept[-1].startswith("residual2") and (after["linear2.W"] != before["linear2.W"]).any()
    assert_close({name: after[name] for name in kept[:3]}, {name: before[name] for name in kept[:3]}, 0)


def test_the_biologically_plausible_prediction_against_its_formula():
    # L9: e_l = (sigmoid(a) - b) / (128 n), b = 1[t @ P > 0]; delta = e_l @ M.T
    net = mlp()
    rule, (x, y) = make("local:loss=pred,bio=true").attach(net), batch(N, (4,))
    rng = np.random.default_rng(6)
    H, c = rng.standard_normal((5, 128)), rng.standard_normal(128)
    rule.set_feedback("tanh1/H", H)
    rule.set_feedback("tanh1/c", c)
    rule.gradients(net, x, y, CE)
    h, P, M = rule.heard["tanh1"], rule.memory["tanh1/P"], rule.B["tanh1"]
    b, a = (P > 0)[y], h @ H + c
    e_l = (1 / (1 + np.exp(-a)) - b) / (128 * N)
    signals = rule.signals(net["tanh1"], h)
    np.testing.assert_allclose(signals.error, e_l @ M.T, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(signals.gradients["tanh1/H"], h.T @ e_l, rtol=1e-9, atol=1e-16)
    # the accuracy is that of the class whose code is nearest in the head's loss
    losses = [(np.logaddexp(0, a) - a * code).sum(axis=1) for code in P > 0]
    assert rule.local["tanh1"]["accuracy"] == np.mean(np.argmin(losses, axis=0) == y)
    assert abs(M).max() <= 1 / math.sqrt(5) and abs(P).max() <= 1 / math.sqrt(3)


@pytest.mark.parametrize("beta, loss", [(0, "pred"), (1, "sim")])
def test_predsim_lies_between_pred_and_sim(beta, loss):
    # L10, and the part of each in between, of the gradients of the heads, too
    net = mlp()
    rule, other = with_random_heads(f"beta={beta}", net), with_random_heads(f"loss={loss}", net)
    assert_close(gradients(net, rule, *batch(N, (4,)), CE), gradients(net, other, *batch(N, (4,)), CE), 1e-15)
    both, pred = with_random_heads("beta=0.75", net), with_random_heads("loss=pred", net)
    np.testing.assert_allclose(both.parameters()["tanh1"][1], 0.25 * pred.parameters()["tanh1"][1], rtol=1e-12)
    np.testing.assert_array_equal(both.error, pred.error)  # the output layer has the true error, not 1 - beta of it


# --- the heads --------------------------------------------------------------------------------------------------------


def authors_pooling(channels, size, most):
    """Kernel, padding and output size of square maps, as in the authors' code."""
    kernel, out = [1, 1], [size, size]
    while channels * math.prod(out) > most and kernel[0] < size:
        for axis in (0, 1):
            if channels * math.prod(out) > most:
                kernel[axis] *= 2
                out[axis] = math.ceil(size / kernel[axis])
    return tuple(kernel), tuple(k * (o - size // k) // 2 for k, o in zip(kernel, out, strict=True)), tuple(out)


def test_large_maps_are_pooled_as_published():
    for size in range(1, 34):
        for most in (8, 100, 1024, 4096):
            pool, (kernel, padding, out) = pooling((size, size, 8), most), authors_pooling(8, size, most)
            if pool is None:
                assert kernel == (1, 1)
            else:
                assert (pool.kernel, pool.padding, pool.infer((size, size, 8))[:2]) == (kernel, padding, out)
    assert pooling((5000,), 10) is None
    assert pooling((2, 64, 8), 64).infer((2, 64, 8)) == (1, 8, 8)  # no further along a side of one position


@pytest.mark.parametrize(
    "options, keys, shown",
    [
        ("loss=pred", {"tanh1", "tanh1/c"}, {"tanh1": (5, 3)}),
        ("loss=pred,heads=fixed", {"tanh1", "tanh1/H", "tanh1/c"}, {"tanh1": (5, 3)}),
        ("loss=sim", set(), {}),
        ("loss=sim,similarity_head=true", {"tanh1/V"}, {}),
        ("similarity_head=true", {"tanh1", "tanh1/c", "tanh1/V"}, {"tanh1": (5, 3)}),
        ("bio=true", {"tanh1", "tanh1/H", "tanh1/c", "tanh1/P"}, {"tanh1": (5, 128)}),
        ("loss=sim,bio=true", {"tanh1/P"}, {}),
    ],
)
def test_the_names_of_heads_what_B_shows_and_which_learn(options, keys, shown):
    net = mlp(hidden=(5,))
    rule = make(f"local:{options}").attach(net)
    assert rule.state().keys() == keys and {name: B.shape for name, B in rule.B.items()} == shown
    before = rule.state()
    for step in range(2):
        rule.gradients(net, *batch(N, (4,), seed=step), CE)
        mf.SGD(0.5).step(net, rule)
    learned = {name for name, array in rule.state().items() if (array != before[name]).any()}
    assert learned == {name for name in keys if not name.endswith("/P")} - (
        {"tanh1"} if rule.heads == "fixed" else set()
    )
    assert rule.feedback_size(net["tanh1"]) == sum(array.size for array in before.values())
    # evaluation takes the network's outputs, not a head's
    x = batch(N, (4,))[0]
    np.testing.assert_array_equal(rule.predict(net, x), net.predict(x))


@pytest.mark.parametrize(
    "frozen, taught",
    [
        ([], ["relu1", "residual1.body.relu1", "relu2", "leakyrelu1", "tanh1"]),
        (["conv1", "batchnorm1"], ["residual1.body.relu1", "relu2", "leakyrelu1", "tanh1"]),
        (["residual1"], ["relu1", "leakyrelu1", "tanh1"]),
        (["residual1.body.conv2"], ["relu1", "residual1.body.relu1", "leakyrelu1", "tanh1"]),
        (["linear1"], ["relu1", "residual1.body.relu1", "relu2", "leakyrelu1"]),
    ],
)
def test_no_head_is_drawn_for_frozen_layers(frozen, taught):
    net = small_convnet()
    net.freeze(*frozen)
    rule = make("local").attach(net)
    assert list(rule.taught) == taught
    assert {name.partition("/")[0] for name in rule.memory} == set(taught)


def test_the_error_enters_at_the_activation_before_dropout():
    net = Network([Linear(4, 6), ReLU(), Dropout(0.5), Linear(6, 3)])
    rule, (x, y) = make("local:loss=pred,heads=fixed").attach(net), batch(64, (4,))
    rule.gradients(net, x, y, CE)
    h = np.maximum(x @ net["linear1"].W + net["linear1"].b, 0)
    np.testing.assert_allclose(rule.heard["relu1"], h, rtol=1e-12)
    e_l = (1 / 3 - np.eye(3)[y]) / 64  # of the head at zero
    np.testing.assert_allclose(net["linear1"].grads["W"], x.T @ (e_l @ rule.B["relu1"].T * (h > 0)), atol=1e-15)


def test_the_loss_is_that_of_the_network_and_accuracies_are_those_of_classes():
    net, (x, y) = mlp(), batch(N, (4,))
    rule = with_random_heads("loss=pred", net)
    a = rule.heard["tanh1"] @ rule.B["tanh1"] + rule.memory["tanh1/c"]
    for targets, rows in ((y, np.eye(3)[y]), (np.arange(24.0).reshape(8, 3), np.arange(24.0).reshape(8, 3))):
        rule.gradients(net, x, targets, mf.HalfSquaredError())
        local = rule.local["tanh1"]
        assert float(local["loss"]) == pytest.approx(((a - rows) ** 2).sum() / 16, rel=1e-12)
        assert local["accuracy"] == (np.mean(a.argmax(axis=1) == y) if targets is y else None)


@pytest.mark.parametrize("options", ["loss=pred", "loss=pred,bio=true"])
def test_the_sign_of_a_single_output_is_one_of_two_classes(options):
    net, (x, y) = network([Linear(4, 5), Tanh(), Linear(5, 1)], (4,)), batch(N, (4,), classes=2)
    rule = make(f"local:{options}").attach(net)
    head = "tanh1/H" if rule.bio else "tanh1"
    rule.set_feedback(head, np.random.default_rng(1).standard_normal(rule.memory[head].shape))
    rule.gradients(net, x, y, mf.SigmoidCrossEntropy())
    a = rule.heard["tanh1"] @ rule.memory[head]
    evidence = a @ (rule.memory["tanh1/P"] > 0).T if rule.bio else a
    assert rule.local["tanh1"]["accuracy"] == np.mean((evidence[:, 0] > 0) == y) != 1


@pytest.mark.parametrize(
    "options", ["loss=pred", "loss=pred,heads=fixed", "loss=sim", "beta=0.25", "similarity_head=true,loss=sim"]
)
def test_a_trace_shows_how_the_local_error_was_computed(options):
    net = mlp()
    rule = with_random_heads(options, net)
    trace = mf.trace(net, rule, *batch(N, (4,)), CE, mf.SGD(0.1))
    moment = next(m for m in trace if m.kind == "teach" and m.layer == "tanh1")
    terms, n, lines = moment.terms, N, moment.equation.splitlines()
    assert "own loss" in moment.why
    values = {"mean": lambda a: a.mean(axis=-1, keepdims=True), "sum": lambda a: a.sum(axis=-1, keepdims=True)}
    for line in lines:  # with the numbers shown for its symbols
        if line == "e_l = dL/da / n":
            continue
        name, formula = line.split(" = ")
        value = eval(formula.replace("^", "**"), values, {**terms, **values, "n": n})
        values[name] = value
        if name in terms:
            np.testing.assert_allclose(value, terms[name], rtol=1e-9, atol=1e-14, err_msg=line)
    assert {"delta", "h"} <= terms.keys() and name == "delta"


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, sentence",
    [
        ("loss=similarity", "loss must be 'predsim', 'pred' or 'sim', got 'similarity'"),
        ("heads=random", "heads must be 'learned' or 'fixed', got 'random'"),
        ("beta=1.5", "beta must be from 0 to 1, got 1.5"),
        ("dim_in_decoder=0", "dim_in_decoder must be"),
    ],
)
def test_invalid_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(f"local:{options}")


@pytest.mark.parametrize(
    "options, net, sentence",
    [
        (
            "loss=pred",
            Network([Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(8, 2)]),
            "output size of ReLU 'relu1' must be",
        ),
        (
            "loss=sim",
            Network([Linear(3, 4), ReLU(), Linear(4, 1)]),
            "need at least two outputs, got one: use local:loss",
        ),
        ("loss=pred", Network([Linear(3, 4), mf.BatchNorm(4), Linear(4, 2)]), "would carry no error to 'batchnorm1'"),
    ],
)
def test_networks_that_cannot_be_taught_are_refused(options, net, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(f"local:{options}").attach(net)


# --- the digits -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_eight_layers_learn_the_digits_although_no_error_passes_a_layer():
    # Adam 1e-3, 20 epochs: the rules with local losses come near backpropagation, direct feedback does not
    digits, accuracies = mf.data.load("digits"), {}
    for description in ("bp", "local", "local:loss=sim", "local:loss=pred", "local:heads=fixed,loss=pred", "dfa"):
        hidden = [layer for _ in range(8) for layer in (Linear(64, 64), ReLU())]
        net = Network([Flatten(), *hidden, Linear(64, 10)], seed=0, input_shape=(8, 8, 1))
        trainer = mf.Trainer(net, make(description).attach(net), CE, mf.Adam(1e-3))
        trainer.fit(digits.train, epochs=20, batch_size=64)
        accuracies[description] = trainer.evaluate(digits.test)["accuracy"]
    least = {"bp": 0.93, "local": 0.93, "local:loss=sim": 0.91, "local:loss=pred": 0.88}
    assert all(accuracies[description] > bound for description, bound in least.items()), accuracies
    assert accuracies["local:heads=fixed,loss=pred"] > 0.8 and accuracies["dfa"] < 0.8, accuracies
