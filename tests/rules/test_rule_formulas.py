"""The rules after feedback alignment against their formulas, computed a second time without the engine.

Every formula is checked in three fully connected layers and in two convolutions below a linear layer. Each convolution
is written as a matrix, entry by entry, so the same formulas apply.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_close, data, gradients, toeplitz

import minifa as mf
from minifa import BatchNorm, Conv2d, Dropout, Flatten, Linear, Network, ReLU, Residual, Tanh
from minifa.rng import generator
from minifa.rules import alignment_penalties, make
from minifa.testing.examples import ALL_RULES, RULES, batch, mlp, network, network_for, small_convnet

pytestmark = pytest.mark.usefixtures("float64")

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()


def convnet(seed=0):
    layers = [
        Conv2d(1, 2, 3, padding=1),
        Tanh(),
        Conv2d(2, 3, 3, stride=(2, 1), padding=(1, 0)),
        Tanh(),
        Flatten(),
        Linear(18, 3),
    ]
    return network(layers, (4, 5, 1), seed=seed)


def grouped_convnet(seed=0):
    layers = [
        Conv2d(1, 4, 3, padding="same", dilation=2),
        Tanh(),
        Conv2d(4, 6, 3, stride=(2, 1), padding=(2, 1), dilation=(2, 1), groups=2),
        Tanh(),
        Flatten(),
        Linear(60, 3),
    ]
    return network(layers, (4, 5, 1), seed=seed)


NETS = {
    "three layers": (mlp, (4,)),
    "convolutions": (convnet, (4, 5, 1)),
    "groups and dilation": (grouped_convnet, (4, 5, 1)),
}


class Plain:
    """A net of three weighted layers with tanh between them, as matrices between flattened activities."""

    def __init__(self, net, x):
        self.layers, self.x = net.weighted, x.reshape(len(x), -1)
        self.M = [self.matrix(layer, layer.W) for layer in self.layers]
        self.h = self.activities(self.x)

    def matrix(self, layer, kernel):
        """The matrix with which the layer with this kernel multiplies flattened activities."""
        if isinstance(layer, Linear):
            return kernel
        return toeplitz(layer, kernel, layer.input_shape, layer.output_shape)

    def fold(self, layer, G):
        """The gradient by the kernel from that by the matrix: the sum over the entries of the matrix that an entry of
        the kernel fills."""
        size = math.prod(layer.weight_shape)
        places = self.matrix(layer, np.arange(1.0, size + 1).reshape(layer.weight_shape)).astype(int)
        return np.bincount(places.ravel(), G.ravel(), size + 1)[1:].reshape(layer.weight_shape)

    def project(self, layer, h, M):
        """h @ M + b, one b for every position of a map."""
        b = layer.b if isinstance(layer, Linear) else np.tile(layer.b, M.shape[1] // len(layer.b))
        return h @ M + b

    def activities(self, x, noise=(0.0, 0.0, 0.0)):
        """[x, h1, h2, output], with noise on the three layers' outputs."""
        h = [x]
        for i, (layer, M) in enumerate(zip(self.layers, self.M, strict=True)):
            a = self.project(layer, h[-1], M) + noise[i]
            h.append(np.tanh(a) if i < 2 else a)
        return h

    def gradients(self, deltas, h=None):
        """dW = h^T delta and db = sum(delta), over examples and positions."""
        result = {}
        for layer, below, delta in zip(self.layers, h or self.h[:3], deltas, strict=True):
            result[f"{layer.name}.W"] = self.fold(layer, below.T @ delta)
            result[f"{layer.name}.b"] = delta.reshape(-1, len(layer.b)).sum(axis=0)
        return result


def slope(h):
    return 1 - h**2


@pytest.fixture(params=NETS)
def case(request):
    """(net, x, targets, its plain reference) of the two nets."""
    make_net, shape = NETS[request.param]
    net, (x, y) = make_net(), data(shape)
    return net, x, y, Plain(net, x)


# --- a matrix per weight: how it carries the error, and how it learns -------------------------------------------------

PER_WEIGHT = [
    "kolen_pollack",
    "product",
    "product:ratio=2",
    "product:fixed=orthogonal",
    "product:fixed=identity",
    "weight_mirror",
    "weight_mirror:rate=0.3,samples=20,sigma=2.0",
    "symmetric_alignment",
    "activation_alignment",
    "information_alignment",
    "information_alignment:rate=0.05",
]


def in_groups(layer, array):
    """(..., k) as (..., groups, k / groups)."""
    return array.reshape(*array.shape[:-1], getattr(layer, "groups", 1), -1)


def by_hand(rule, layer):
    """B from the rule's memory."""
    if rule.name != "product":
        return rule.memory[layer.name]
    # B = R P^T, in each group
    R, P = (rule.memory[f"{layer.name}/{key}"] for key in "RP")
    P = P.reshape(getattr(layer, "groups", 1), -1, P.shape[1])
    return np.einsum("...gm,gom->...go", in_groups(layer, R), P).reshape(layer.weight_shape)


@pytest.mark.parametrize("description", PER_WEIGHT)
def test_errors_go_back_through_B(description, case):
    net, x, y, plain = case
    rule = make(description, seed=4).attach(net)
    got = gradients(net, rule, x, y)
    _, h1, h2, output = plain.h
    _, layer2, layer3 = plain.layers
    B2, B3 = (plain.matrix(layer, by_hand(rule, layer)) for layer in (layer2, layer3))
    # e = (output - target) / n;  d2 = (e B3^T) f'(a2);  d1 = (d2 B2^T) f'(a1)
    e = (output - y) / len(x)
    d2 = e @ B3.T * slope(h2)
    d1 = d2 @ B2.T * slope(h1)
    assert_close(got, plain.gradients([d1, d2, e]))


def expected_after_a_step(rule, layer, before, dW, x, lr, decay):
    """The rule's expected memory for this layer after one step of SGD; W and b are those after the step."""
    name, n = layer.name, len(x)
    W, b = layer.W.reshape(-1, layer.W.shape[-1]), layer.b
    if rule.name == "product":
        # dR = dW P, with the same decay; P is constant
        R, P = before[f"{name}/R"], before[f"{name}/P"]
        of_groups = P.reshape(getattr(layer, "groups", 1), -1, P.shape[1])
        step = np.einsum("...go,gom->...gm", in_groups(layer, dW), of_groups).reshape(R.shape)
        return {f"{name}/R": R - lr * (step + decay * R), f"{name}/P": P}
    B = before[name]
    if rule.name == "kolen_pollack":
        # dB = dW, with the same decay
        return {name: B - lr * (dW + decay * B)}
    if rule.name == "weight_mirror":
        # B <- (1 - rate) B + rate xi^T (xi W) / (n sigma^2),  xi ~ N(0, sigma^2) drawn for this layer and step
        groups = getattr(layer, "groups", 1)  # each group of channels has a noise of its own
        xi = rule.sigma * generator(rule.seed, "noise", name, 1).standard_normal((rule.samples, groups * len(W)))
        parts = zip(np.split(xi, groups, axis=1), np.split(W, groups, axis=1), strict=True)
        seen = np.concatenate([xi.T @ (xi @ W) for xi, W in parts], axis=1).reshape(B.shape)
        seen /= rule.samples * rule.sigma**2
        return {name: (1 - rule.rate) * B + rule.rate * seen}
    plain = Plain.__new__(Plain)
    M, B_matrix = plain.matrix(layer, layer.W), plain.matrix(layer, B)
    h = layer.cache.reshape(n, -1)
    bias = np.tile(b, M.shape[1] // len(b))
    y, seen = h @ M + bias, h @ B_matrix + bias
    decay_ = 2 * B
    self_ = -layer.W
    amp = plain.fold(layer, -h.T @ y / n)
    sparse = plain.fold(layer, 2 * h.T @ seen / n)
    null = plain.fold(layer, 2 * (y @ B_matrix.T).T @ y / n)
    moved = {
        "symmetric_alignment": 1e-3 * decay_ + 2e-3 * self_,
        "activation_alignment": 1e-3 * sparse + 2e-3 * amp,
        "information_alignment": 2e-3 * amp + 1e-3 * null + 1e-3 * decay_,
    }
    return {name: B - rule.rate * moved[rule.name]}


@pytest.mark.parametrize("description", PER_WEIGHT)
def test_the_feedback_learns_by_its_formula(description, case):
    net, x, y, plain = case
    rule, optimizer = make(description, seed=4).attach(net), mf.SGD(0.1, weight_decay=0.03)
    before, got = rule.state(), gradients(net, rule, x, y)
    optimizer.step(net, rule)
    expected = {}
    for layer in plain.layers[1:]:
        expected |= expected_after_a_step(rule, layer, before, got[f"{layer.name}.W"], x, lr=0.1, decay=0.03)
    assert_close(rule.state(), expected)
    moving = [key for key in before if not key.endswith("/P")]
    assert all((rule.memory[key] != before[key]).any() for key in moving)
    # and the next backward pass uses the learned feedback
    rule.gradients(net, x, y, HALF)
    for layer in plain.layers[1:]:
        np.testing.assert_allclose(rule.B[layer.name], by_hand(rule, layer), rtol=1e-12, atol=1e-15)


def test_kolen_pollack_uses_the_clipped_gradient():
    net, (x, y) = mlp(), data()
    rule, optimizer = make("kolen_pollack").attach(net), mf.SGD(1.0, clip_norm=1e-3)
    before, W = rule.state(), net["linear2"].W.copy()
    rule.gradients(net, x, y, HALF)
    optimizer.step(net, rule)
    np.testing.assert_allclose(rule.memory["linear2"] - before["linear2"], net["linear2"].W - W, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("fixed", ["gaussian", "orthogonal", "identity"])
def test_product_feedback_starts_as_large_as_the_weights(fixed):
    """P P^T is the identity on average (exactly, if orthogonal), and B's entries have the variance of W's."""
    net = Network([Linear(10, 200), Tanh(), Linear(200, 100)])
    rule = make(f"product:fixed={fixed}").attach(net)
    P = rule.memory["linear2/P"]
    assert P.shape == (100, 1000 if fixed == "gaussian" else 100)
    # entries of P P^T have standard deviation 1 / sqrt(n_mid)
    np.testing.assert_allclose(P @ P.T, np.eye(100), atol=0.25 if fixed == "gaussian" else 1e-12)
    assert abs(rule.B["linear2"].std() / math.sqrt(2 / 200) - 1) < 0.04
    assert (fixed == "identity") == np.array_equal(P, np.eye(100))


# --- direct feedback --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["dfa", "dfa:shared=true", "sdfa", "drtp", "direct_kolen_pollack"])
def test_direct_rules_by_hand(description, case):
    net, x, y, plain = case
    rule = make(description, seed=4).attach(net)
    y = np.eye(3)[np.arange(len(x)) % 3] if description == "drtp" else y
    got = gradients(net, rule, x, y)
    _, h1, h2, output = plain.h
    e = (output - y) / len(x)
    if description == "dfa:shared=true":
        # F_l: the first rows of one matrix
        assert rule.memory.keys() == {"shared"} and rule.memory["shared"].shape == (max(h1.shape[1], h2.shape[1]), 3)
        F1, F2 = (rule.memory["shared"][: h.shape[1]] for h in (h1, h2))
    else:
        F1, F2 = rule.memory["tanh1"], rule.memory["tanh2"]
    # dfa: e F^T;  sdfa: sign(e) F^T / n;  drtp: y* F^T / n
    signal = {"sdfa": np.sign(output - y) / len(x), "drtp": y / len(x)}.get(description, e)
    assert_close(got, plain.gradients([signal @ F1.T * slope(h1), signal @ F2.T * slope(h2), e]))


def test_direct_kolen_pollack_learns_activity_times_error(case):
    # F <- F - lr (h^T e + decay F),  h the taught layer's activity
    net, x, y, plain = case
    rule, optimizer = make("direct_kolen_pollack").attach(net), mf.SGD(0.1, weight_decay=0.03)
    before = rule.state()
    rule.gradients(net, x, y, HALF)
    optimizer.step(net, rule)
    _, h1, h2, output = plain.h
    e = (output - y) / len(x)
    expected = {n: before[n] - 0.1 * (h.T @ e + 0.03 * before[n]) for n, h in (("tanh1", h1), ("tanh2", h2))}
    assert_close(rule.state(), expected)


@pytest.mark.parametrize("description", ["direct_kolen_pollack", "kolen_pollack", "product", "information_alignment"])
def test_a_measurement_between_a_pass_and_its_step_changes_no_feedback(description):
    """The following step must learn from the pass before the measurement."""
    states = []
    for measured in (False, True):
        net, (x, y) = mlp(), data()
        rule, optimizer = make(description).attach(net), mf.SGD(0.1)
        rule.gradients(net, x, y, HALF)
        if measured:
            mf.metrics.alignment(net, rule, 2 * x[:5], y[:5], HALF)
        optimizer.step(net, rule)
        states.append(rule.state())
    assert_close(*states, tolerance=0)


def test_dense_by_hand(case):
    net, x, y, plain = case
    rule = make("dense", seed=4).attach(net)
    got = gradients(net, rule, x, y)
    _, h1, h2, output = plain.h
    names = [layer.name for layer in plain.layers]
    B12, B13, B23 = (rule.memory[key] for key in (f"tanh1<-{names[1]}", f"tanh1<-{names[2]}", f"tanh2<-{names[2]}"))
    # d2 = (e B23^T) f'(a2);  d1 = (d2 B12^T + e B13^T) f'(a1)
    e = (output - y) / len(x)
    d2 = e @ B23.T * slope(h2)
    d1 = (d2 @ B12.T + e @ B13.T) * slope(h1)
    assert_close(got, plain.gradients([d1, d2, e]))
    assert rule.memory.keys() == {f"tanh1<-{names[1]}", f"tanh1<-{names[2]}", f"tanh2<-{names[2]}"}


def test_dense_with_the_output_s_matrices_alone_is_direct_feedback(case):
    net, x, y, plain = case
    dense, dfa = make("dense").attach(net), make("dfa", seed=3).attach(net)
    *_, middle, top = (layer.name for layer in plain.layers)
    dense.memory[f"tanh1<-{middle}"][...] = 0
    for name in ("tanh1", "tanh2"):
        dense.memory[f"{name}<-{top}"][...] = dfa.memory[name]
    assert_close(gradients(net, dense, x, y), gradients(net, dfa, x, y))


def test_dense_feedback_around_residual_blocks():
    """The order of layers: branches are parallel, a block's sum comes after both, and no layer receives its own
    error."""
    layers = [
        Linear(4, 4),
        Tanh(),
        Residual([Linear(4, 4), Tanh(), Linear(4, 4)], [Linear(4, 4)]),
        Tanh(),
        Linear(4, 3),
    ]
    net, (x, y) = network(layers, (4,)), data()
    rule = make("dense").attach(net)
    body1, body2, short, top = (
        "residual1.body.linear1",
        "residual1.body.linear2",
        "residual1.shortcut.linear1",
        "linear2",
    )
    assert rule.memory.keys() == {
        *(f"tanh1<-{upper}" for upper in (body1, body2, short, top)),
        *(f"residual1.body.tanh1<-{upper}" for upper in (body2, top)),
        f"tanh2<-{top}",
    }
    got, B = gradients(net, rule, x, y), rule.memory
    h1, h, h2 = (net[name].cache for name in ("tanh1", "residual1.body.tanh1", "tanh2"))
    # the sum receives s = (e B^T) f', so do both branches' ends; the body's middle receives those of its end and of the
    # output
    e = rule.error
    s = e @ B[f"tanh2<-{top}"].T * slope(h2)
    d_body = (s @ B[f"residual1.body.tanh1<-{body2}"].T + e @ B[f"residual1.body.tanh1<-{top}"].T) * slope(h)
    d1 = sum(
        delta @ B[f"tanh1<-{upper}"].T for upper, delta in ((body1, d_body), (body2, s), (short, s), (top, e))
    ) * slope(h1)
    expected = {"linear1": (x, d1), body1: (h1, d_body), body2: (h, s), short: (h1, s), top: (h2, e)}
    for name, (below, delta) in expected.items():
        np.testing.assert_allclose(got[f"{name}.W"], below.T @ delta, rtol=1e-12, atol=1e-15, err_msg=name)


def test_the_number_of_entries_of_dense_feedback():
    net = mlp()  # 4-5-6-3: the first layer receives 6 + 3 units, the second 3
    rule = make("dense").attach(net)
    assert [rule.feedback_size(layer) for layer in net] == [0, 5 * (6 + 3), 0, 6 * 3, 0]


# --- two passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_pass", ["first", "second"])
def test_pepita_by_hand(output_pass, case):
    net, x, y, plain = case
    rule = make(f"pepita:output={output_pass},scale=0.5", seed=4).attach(net)
    got = gradients(net, rule, x, y)
    # e per example;  second pass on x + e F^T;  d_l = (h_l - h_l') / n with the second pass's activity
    e = plain.h[3] - y
    second = plain.activities(plain.x + e @ rule.memory["input"].T)
    d1, d2 = ((plain.h[i] - second[i]) / len(x) for i in (1, 2))
    e_top = (e if output_pass == "first" else second[3] - y) / len(x)
    assert_close(got, plain.gradients([d1, d2, e_top], second[:3]))
    assert abs(d1).max() > 1e-3
    # F ~ scale * U[-sqrt(6 / n_in), sqrt(6 / n_in)]
    limit = 0.5 * math.sqrt(6 / plain.x.shape[1])
    assert 0.7 * limit < abs(rule.memory["input"]).max() <= limit


def test_node_perturbation_by_hand(case):
    net, x, y, plain = case
    net.step = 7
    rule = make("node_perturbation:sigma=0.1", seed=4).attach(net)
    got = gradients(net, rule, x, y)
    # d_l = (L(xi) - L) / sigma^2 * xi_l / n, each example its own L, with the clean pass's activity
    xi = [
        0.1 * generator(4, "noise", layer.name, 7).standard_normal((len(x), *layer.output_shape)).reshape(len(x), -1)
        for layer in plain.layers
    ]
    clean, noisy = (((h[3] - y) ** 2).sum(axis=1) / 2 for h in (plain.h, plain.activities(plain.x, xi)))
    credit = (noisy - clean)[:, None] / 0.1**2 / len(x)
    assert_close(got, plain.gradients([credit * one for one in xi]), tolerance=1e-11)


def test_weight_perturbation_by_hand(case):
    net, x, y, plain = case
    net.step = 7
    rule = make("weight_perturbation:sigma=0.1", seed=4).attach(net)
    got = gradients(net, rule, x, y)
    # dW = mean(L(W + xi) - L) / sigma^2 * xi
    xi = {name: 0.1 * generator(4, "noise", name, 7).standard_normal(a.shape) for name, a in net.parameters().items()}
    for name, array in net.parameters().items():
        array += xi[name]
    noisy = Plain(net, x).h[3]
    rise = (((noisy - y) ** 2 - (plain.h[3] - y) ** 2).sum(axis=1) / 2).mean()
    assert_close(got, {name: rise / 0.1**2 * one for name, one in xi.items()}, tolerance=1e-11)


class Recorder(Dropout):
    """Dropout that records every mask it used."""

    def __init__(self, p):
        super().__init__(p)
        self.masks = []

    def forward(self, x, ctx):
        y = super().forward(x, ctx)
        self.masks.append(self.cache)
        return y


TWO_PASSES = ["pepita", "pepita:output=second", "node_perturbation", "weight_perturbation", "perturbed_feedback"]


@pytest.mark.parametrize("description", TWO_PASSES)
def test_both_passes_of_a_step_drop_the_same_units(description):
    net, (x, y) = network([Linear(4, 20), Recorder(0.5), Tanh(), Linear(20, 3)], (4,)), data()
    rule = make(description).attach(net)
    for step in range(2):
        net.step = step
        rule.gradients(net, x, y, HALF)
    first, second, *next_step = net["dropout1"].masks
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(*next_step)
    assert (first != next_step[0]).any()


@pytest.mark.parametrize("description", [name for name in RULES if name != "bp"])
def test_batch_norm_s_statistics_are_updated_once_by_the_clean_pass(description):
    after = []
    for one in (description, "bp"):
        net = small_convnet()
        rule = make(one).attach(net)
        rule.gradients(net, *batch(), CE)
        after.append({key: array for key, array in net.state().items() if "running" in key})
    assert_close(*after, tolerance=1e-15)


@pytest.mark.parametrize("description", ["node_perturbation:sigma=2", "weight_perturbation:sigma=2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_perturbation_restores_weights_and_the_activity_of_the_clean_pass(description, dtype):
    with mf.using("numpy", dtype):
        net = network([Linear(4, 5), Dropout(0.3), Tanh(), Linear(5, 3)], (4,))
        x, y = batch(shape=(4,))
        before, rule = net.state(), make(description).attach(net)
        rule.gradients(net, x, y, CE)
        for key, array in net.state().items():
            np.testing.assert_array_equal(array, before[key], err_msg=key)
        perturbed = [layer.cache for layer in net]
        rule.compute_error(net.forward(x, rule.training_pass(net)), y, CE)
        for layer, cache in zip(net, perturbed, strict=True):
            np.testing.assert_array_equal(cache, layer.cache, err_msg=layer.name)


@pytest.mark.parametrize("description", ["node_perturbation:sigma=1e-4", "weight_perturbation:sigma=1e-4"])
def test_perturbation_estimates_the_gradient_without_bias(description):
    """The mean over many draws has the component 1 along backpropagation's gradient, and only noise orthogonal to
    it."""
    net, (x, y) = network([Linear(3, 3), Tanh(), Linear(3, 2)], (3,)), data((3,), n=4, n_out=2)
    true = np.concatenate([g.ravel() for g in gradients(net, make("bp").attach(net), x, y).values()])
    rule, draws = make(description).attach(net), []
    for net.step in range(1500):
        rule.gradients(net, x, y, HALF)
        draws.append(np.concatenate([g.ravel() for g in net.gradients().values()]))
    draws = np.array(draws)
    along = draws @ true / (true @ true)
    error = along.std() / math.sqrt(len(along))
    assert error < 0.05 and abs(along.mean() - 1) < 4.5 * error
    z = (draws.mean(axis=0) - true) / (draws.std(axis=0) / math.sqrt(len(draws)))
    assert abs(z).max() < 4.5


def test_pepita_is_direct_feedback_with_a_learned_matrix_to_first_order(case):
    # (h - h') / eps = -f'(a) (e F^T W1) + O(eps)
    net, x, y, plain = case
    rule = make("pepita").attach(net)
    F = rule.memory["input"].copy()
    first_order = -slope(plain.h[1]) * ((plain.h[3] - y) @ F.T @ plain.M[0])
    assert abs(first_order).max() > 0.03
    left = []
    for eps in (1e-1, 1e-2, 1e-3, 1e-4):
        rule.memory["input"][...] = eps * F
        rule.gradients(net, x, y, HALF)
        delta = rule.change["tanh1"].reshape(len(x), -1) * len(x) / eps
        left.append(abs(delta - first_order).max())
    assert 1e-4 < left[0] < 1
    np.testing.assert_allclose(np.divide(left[:-1], left[1:]), 10, rtol=0.1)


# --- weight mirrors ---------------------------------------------------------------------------------------------------


def test_a_mirror_s_noise_depends_on_layer_and_step_and_changes_nothing_else():
    net, x, y = small_convnet(), *batch()
    rule = make("weight_mirror:warmup_phases=0").attach(net)
    rule.gradients(net, x, y, CE)
    caches, kept, grads = [layer.cache for layer in net], net.state(), dict(net.gradients())
    seen = {}
    start = rule.state()
    for step in (1, 1, 2):
        for key, array in rule.memory.items():
            array[...] = start[key]
        net.step = step
        rule.update_feedback(net)
        if step in seen:
            assert_close(rule.state(), seen[step], tolerance=0)
        seen[step] = rule.state()
    assert all((seen[1][key] != seen[2][key]).any() for key in start)
    assert all(layer.cache is cache for layer, cache in zip(net, caches, strict=True))
    assert all(net.gradients()[key] is gradient for key, gradient in grads.items())
    assert_close(net.state(), kept, tolerance=0)


def test_a_mirror_estimates_the_weights_at_the_set_interval():
    net = mlp()
    rule, moved = make("weight_mirror:every=3").attach(net), []
    for net.step in range(1, 7):
        before = rule.state()
        rule.update_feedback(net)
        moved.append(bool((rule.memory["linear2"] != before["linear2"]).any()))
    assert moved == [False, False, True] * 2


@pytest.mark.parametrize("sigma", [1.0, 0.1])
@pytest.mark.parametrize("net", NETS)
def test_the_mean_of_the_mirror_estimates_is_the_weight(net, sigma):
    """E[x^T x W] / (n sigma^2) = W. Also for a kernel, although the layer pads its images with zeros."""
    net = NETS[net][0]()
    layer = net.weighted[1]
    rule = make(f"weight_mirror:rate=1,samples=50,warmup_phases=0,sigma={sigma}").attach(net)
    looks = []
    for net.step in range(1, 400):
        rule.update_feedback(net)
        looks.append(rule.memory[layer.name].copy())
    z = (np.mean(looks, axis=0) - layer.W) / (np.std(looks, axis=0) / math.sqrt(len(looks)))
    assert abs(z).max() < 4.5
    assert float(mf.metrics.angle(np.mean(looks, axis=0), layer.W)) < 3


# --- the primitives of Kunin et al. -----------------------------------------------------------------------------------

# name: the penalty whose gradient by B the primitive is. x, y: flattened activity before and after the layer, n rows.
PENALTIES = {
    "decay": lambda layer, B, M, x, y: (B**2).sum(),  # ||B||^2
    "self_alignment": lambda layer, B, M, x, y: -(layer.W * B).sum(),  # -sum(W * B)
    "amp": lambda layer, B, M, x, y: -(y * (x @ M)).sum() / len(x),  # -mean(y . (x B))
    "sparse": lambda layer, B, M, x, y: (Plain.project(None, layer, x, M) ** 2).sum() / len(x),  # mean ||x B + b||^2
    "null": lambda layer, B, M, x, y: ((y @ M.T) ** 2).sum() / len(x),  # mean ||y B^T||^2
}
GEOMETRIES = {
    "linear": (lambda: [Linear(4, 3)], (4,)),
    "convolution": (lambda: [Conv2d(2, 3, 3)], (5, 4, 2)),
    "groups and dilation": (lambda: [Conv2d(2, 4, 3, padding=1, dilation=2, groups=2)], (5, 4, 2)),
    "padded, strided convolution": (lambda: [Conv2d(2, 2, 3, stride=(2, 1), padding=(1, 2))], (5, 4, 2)),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", PENALTIES)
def test_primitives_are_the_gradients_of_their_penalties(name, geometry):
    layers, shape = GEOMETRIES[geometry]
    net = network(layers(), shape)
    (layer,), x, rng = net.weighted, data(shape)[0], np.random.default_rng(8)
    y = net.forward(x, mf.Pass(training=True))
    B = rng.standard_normal(layer.W.shape)
    got = getattr(alignment_penalties, name)(layer, B, x, y)
    plain, flat = Plain(net, x), (x.reshape(len(x), -1), y.reshape(len(x), -1))
    for _ in range(5):  # the penalties are quadratic in B: central differences are exact with any step
        direction = rng.standard_normal(B.shape)
        above, below = (
            PENALTIES[name](layer, B + step, plain.matrix(layer, B + step), *flat) for step in (direction, -direction)
        )
        assert (got * direction).sum() == pytest.approx((above - below) / 2, rel=1e-11, abs=1e-11)


def test_primitives_work_without_a_bias():
    net = network([Linear(4, 3, bias=False)], (4,))
    x, B = data()[0], np.ones((4, 3))
    np.testing.assert_allclose(
        alignment_penalties.sparse(net["linear1"], B, x, x @ B), 2 * x.T @ x @ B / len(x), rtol=1e-12
    )


# --- residual nets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ALL_RULES)
def test_every_layer_learns_and_no_rule_equals_backpropagation(description):
    net = network_for(description)
    x, y = batch(shape=net.input_shape)
    rule = make(description, seed=1).attach(net)
    value = rule.gradients(net, x, y, CE)
    got, true = dict(net.gradients()), gradients(net, make("bp").attach(net), x, y, CE)
    assert np.isfinite(value)
    hidden = {f"{layer.name}.W" for layer in net.weighted[:-1]}
    if description == "shallow":
        assert {key for key, g in got.items() if g is not None} == {"linear2.W", "linear2.b"}
        return
    for key, gradient in got.items():
        assert gradient is not None and gradient.shape == true[key].shape and np.isfinite(gradient).all(), key
    assert all(abs(got[key]).max() > 0 for key in hidden), "a layer was taught nothing"
    same = {key for key in hidden if np.allclose(got[key], true[key], rtol=1e-2, atol=1e-9)}
    if description == "dualprop":  # nearly equal for a small beta (tests/rules/test_relaxation.py)
        return
    # A stale copy is still fresh at the first update.
    is_transport = description in ("bp", "sham", "stale:every=2", "zil")
    assert same == (hidden if is_transport else set())


@pytest.mark.parametrize(
    "description",
    ["fa", "kolen_pollack", "weight_mirror", "product:fixed=identity", "product", "product:fixed=orthogonal"]
    + ["symmetric_alignment", "activation_alignment", "information_alignment"],
)
def test_with_B_at_W_learned_feedback_is_backpropagation_through_body_and_shortcut(description):
    net, (x, y) = small_convnet(), batch()
    rule = make(description, seed=1).attach(net)
    for layer in rule.layers_with_feedback(net):
        if rule.name == "product":  # R P^T = W
            P = rule.memory[f"{layer.name}/P"]
            rule.memory[f"{layer.name}/R"][...] = layer.W @ np.linalg.pinv(P.T)
        else:
            rule.memory[layer.name][...] = layer.W
    got, true = (gradients(net, one, x, y, CE) for one in (rule, make("bp").attach(net)))
    assert {"residual1.body.conv1.W", "residual2.shortcut.conv1.W"} < got.keys()
    assert_close(got, true, tolerance=1e-11)


# --- errors -----------------------------------------------------------------------------------------------------------


def images(shape=None):
    return Network([Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(8, 2)], input_shape=shape)


@pytest.mark.parametrize(
    "description, message",
    [
        ("dfa:shared=true", "output size of ReLU 'relu1' must be known: create the network with input_shape="),
        ("sdfa", "output size of ReLU 'relu1' must be known"),
        ("drtp", "output size of ReLU 'relu1' must be known"),
        ("direct_kolen_pollack", "output size of ReLU 'relu1' must be known"),
        ("dense", "output size of ReLU 'relu1' must be known"),
        ("pepita", "create the network with input_shape="),
    ],
)
def test_maps_of_unknown_size_are_refused(description, message):
    with pytest.raises(ValueError, match=message):
        make(description).attach(images())
    make(description).attach(images((4, 4, 1)))


@pytest.mark.parametrize("description", ["sdfa", "drtp", "direct_kolen_pollack", "dense", "pepita"])
def test_a_layer_that_receives_no_error_is_refused_by_name(description):
    net = Network([Linear(4, 5), Tanh(), BatchNorm(5), Linear(5, 3)])
    with pytest.raises(ValueError, match=f"'{description}' would carry no error to 'batchnorm1': put an activation"):
        make(description).attach(net)
    make("kolen_pollack").attach(net)


def test_node_perturbation_refuses_batch_norm_by_name():
    with pytest.raises(ValueError, match="BatchNorm 'residual1.body.batchnorm1' mixes the batch"):
        make("node_perturbation").attach(Network([Linear(4, 4), Residual([BatchNorm(4), ReLU()]), Linear(4, 2)]))


def test_node_perturbation_accepts_norms_of_single_examples():
    layers = [Linear(4, 4), mf.LayerNorm(4), mf.GELU(), Linear(4, 4), mf.GroupNorm(2, 4), Linear(4, 2)]
    net = Network(layers)
    rule = make("node_perturbation").attach(net)
    x = mf.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    rule.gradients(net, x, [0, 1, 1], mf.SoftmaxCrossEntropy())
    assert np.isfinite(mf.to_host(net["linear1"].grads["W"])).all()


def test_dense_feedback_that_does_not_fit_in_memory_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(mf.backend, "free_bytes", lambda: 100)
    with pytest.raises(
        ValueError,
        match=f"would take {(5 * 9 + 6 * 3) * 8:,} bytes, more than is free: use a smaller network, or the rule 'dfa'$",
    ):
        make("dense").attach(mlp())


@pytest.mark.parametrize("description", ["kolen_pollack", "product"])
def test_a_step_before_any_gradient_changes_nothing(description):
    net = mlp()
    rule = make(description).attach(net)
    before = {**net.state(), **rule.state()}
    mf.SGD(lr=0.1, weight_decay=0.1).step(net, rule)
    assert all(np.array_equal(array, before[key]) for key, array in {**net.state(), **rule.state()}.items())


def test_weight_perturbation_restores_the_weights_when_a_pass_fails(monkeypatch):
    net, x, y = mlp(), *data()
    rule = make("weight_perturbation").attach(net)
    before = net.state()
    monkeypatch.setattr(net, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rule.gradients(net, x, y, mf.HalfSquaredError())
    assert all(np.array_equal(array, before[key]) for key, array in net.state().items())


def test_the_summary_counts_direct_feedback_also_where_it_is_shared():
    net = mlp()
    for description in ("dfa", "dfa:shared=true"):
        rule = make(description).attach(net)
        assert sum(rule.feedback_size(layer) for layer in net) == sum(F.size for F in rule.B.values()) > 0
