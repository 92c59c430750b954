"""Results that are known from theory, checked with the engine.

Each result is in a comment above the assertion that checks it. Some known results are checked elsewhere: that
sham feedback is backpropagation, that a convolution's feedback is its Toeplitz matrix, the invariant of two linear
layers, the angles at the start and their factor 2 p - 1 (test_rules), gradients of every layer (test_layers), and
that PEPITA is direct feedback to first order (test_rule_formulas).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_close, data, gradients, linear_net

import minifa as mf
from minifa import Linear, Network, ReLU, Sigmoid, Tanh
from minifa.optim import OPTIMIZERS
from minifa.rules import make
from minifa.testing.examples import inputs, mlp, network
from minifa.testing.gradient_check import check_gradients

pytestmark = pytest.mark.usefixtures("float64")

HALF = mf.HalfSquaredError()


def train(net, rule, optimizer, x, y, steps, loss=HALF, rates=None):
    for step in range(steps):
        if rates is not None:
            optimizer.lr = rates[step % len(rates)]
        rule.gradients(net, x, y, loss)
        optimizer.step(net, rule)


def cosine(a, b):
    return math.cos(math.radians(float(mf.metrics.angle(a, b))))


# --- rules that must agree --------------------------------------------------------------------------------------------


def test_feedback_alignment_with_B_at_W_before_every_step_is_backpropagation():
    # delta B^T = delta W^T: the same numbers to the last bit
    states = []
    for name in ("fa", "bp"):
        net, (x, y) = mlp(), data()
        rule, optimizer = make(name).attach(net), mf.SGD(0.2, momentum=0.9, weight_decay=0.01)
        for _ in range(5):
            for key, B in rule.memory.items():
                B[...] = net[key].W
            train(net, rule, optimizer, x, y, 1)
        states.append(net.state())
    assert_close(*states, tolerance=0)


def test_gradients_of_a_tanh_net_agree_with_differences():
    # 6-8-7-4, central differences with step 1e-6: errors of about 1e-9
    net = network([Linear(6, 8), Tanh(), Linear(8, 7), Tanh(), Linear(7, 4)], (6,), input_error=True)
    check_gradients(net, inputs((6,), n=5), step=1e-6, tolerance=1e-8)


@pytest.mark.parametrize("layerwise, direct", [("fa", "dfa"), ("kolen_pollack", "direct_kolen_pollack")])
@pytest.mark.parametrize(
    "make_optimizer", [lambda: mf.SGD(0.2, momentum=0.9, weight_decay=0.1), mf.Adam], ids=["momentum", "adam"]
)
def test_with_one_hidden_layer_direct_feedback_is_layerwise_feedback(layerwise, direct, make_optimizer):
    # with F = B: e F^T = e B^T, and h^T e is both dF and dW
    states = []
    for name in (layerwise, direct):
        net, (x, y) = mlp(hidden=(5,)), data()
        rule = make(name).attach(net)
        (F,) = rule.memory.values()
        F[...] = np.random.default_rng(1).standard_normal(F.shape)
        train(net, rule, make_optimizer(), x, y, 6)
        states.append(net.state() | {"F": F})
    assert_close(*states)


# --- learned feedback -------------------------------------------------------------------------------------------------

RATES = [0.1, 0.05, 0.2]
DECAY = 0.3


def differences(description, optimizer, steps=7):
    """W - B (of product feedback: W P - R) in every layer that carries an error, before the first step and after the
    last."""
    net, (x, y) = mlp(), data()
    rule = make(description).attach(net)

    def difference():
        result = {}
        for layer in net.weighted[1:]:
            if rule.name == "product":
                result[layer.name] = layer.W @ rule.memory[f"{layer.name}/P"] - rule.memory[f"{layer.name}/R"]
            else:
                result[layer.name] = layer.W - rule.memory[layer.name]
        return result

    before, W = difference(), net["linear2"].W.copy()
    train(net, rule, optimizer, x, y, steps, rates=RATES)
    assert abs(net["linear2"].W - W).max() > 1e-3
    return before, difference()


LEARNED = ["kolen_pollack", "product", "product:fixed=orthogonal", "product:fixed=identity"]


@pytest.mark.parametrize("description", LEARNED)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_weights_and_feedback_converge_at_the_rate_of_the_decay(description, decay, clip_norm):
    # D = W - B, or W P - R:  D_t = prod(1 - lr_t decay) D_0; without decay D is conserved
    before, after = differences(description, mf.SGD(weight_decay=decay, clip_norm=clip_norm))
    factor = math.prod(1 - decay * RATES[step % 3] for step in range(7))
    assert_close(after, {name: factor * D for name, D in before.items()}, tolerance=1e-13)


@pytest.mark.parametrize("description", LEARNED)
@pytest.mark.parametrize("nesterov", [False, True])
def test_under_momentum_weights_and_feedback_converge_as_a_damped_oscillator(description, nesterov):
    # v <- mu v + decay D, D <- D - lr v; Nesterov: D <- D - lr (decay D + mu v)
    mu = 0.8
    before, after = differences(description, mf.SGD(0.1, momentum=mu, weight_decay=DECAY, nesterov=nesterov))
    expected = {}
    for name, D in before.items():
        v = 0 * D
        for step in range(7):
            pull = DECAY * D
            v = mu * v + pull
            D = D - RATES[step % 3] * (pull + mu * v if nesterov else v)
        expected[name] = D
    assert_close(after, expected, tolerance=1e-13)


@pytest.mark.parametrize("description", ["kolen_pollack", "product:fixed=identity"])
def test_decoupled_decay_makes_weights_and_feedback_converge_under_adam(description):
    # AdamW: D_t = prod(1 - lr_t decay) D_0
    before, after = differences(description, mf.AdamW(weight_decay=DECAY))
    factor = math.prod(1 - DECAY * RATES[step % 3] for step in range(7))
    assert_close(after, {name: factor * D for name, D in before.items()}, tolerance=1e-12)


@pytest.mark.parametrize(
    "description, make_optimizer",
    [
        ("kolen_pollack", lambda: mf.Adam(weight_decay=DECAY)),  # the decay is divided by each entry's own size
        ("kolen_pollack", lambda: mf.SGD(weight_decay=DECAY, constrain_weights=True)),  # W is rescaled and B is not
        ("kolen_pollack", lambda: mf.SGD(weight_decay=DECAY, freeze_signs=True)),
        ("product", lambda: mf.AdamW(weight_decay=DECAY)),  # no longer linear in the gradient: dW P is not adapted dW
        ("product:fixed=orthogonal", lambda: mf.AdamW(weight_decay=DECAY)),
        ("product", lambda: mf.RMSprop(weight_decay=DECAY)),
    ],
    ids=["adam", "constrained", "frozen signs", "product, adamw", "orthogonal, adamw", "product, rmsprop"],
)
def test_weights_and_feedback_do_not_converge_by_a_common_factor_without_plain_decay(description, make_optimizer):
    before, after = differences(description, make_optimizer())
    for name, D in before.items():
        factors = after[name] / D
        assert np.ptp(factors) > 0.01, name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_product_feedback_through_the_identity_is_kolen_pollack(optimizer):
    states = []
    for description in ("kolen_pollack", "product:fixed=identity"):
        net, (x, y) = mlp(), data()
        rule = make(description).attach(net)
        for key, array in rule.memory.items():
            if not key.endswith("/P"):
                array[...] = 0.5 * np.random.default_rng(2).standard_normal(array.shape)
        train(net, rule, OPTIMIZERS[optimizer](weight_decay=0.1), x, y, 6)
        states.append(net.state())
    assert_close(*states, tolerance=1e-10)


@pytest.mark.parametrize("ratio, degrees", [(1, 45.0), (2, 35.3), (10, 17.5)])
def test_product_feedback_aligns_as_far_as_its_ratio_allows(ratio, degrees):
    # R -> W P: cos(W, R P^T) = 1 / sqrt(1 + n_out / n_mid)
    net = network([Linear(4, 150), Tanh(), Linear(150, 120)], (4,))
    rule, (x, y) = make(f"product:ratio={ratio}").attach(net), data(n=400, n_out=120)
    assert float(mf.metrics.angle(net["linear2"].W, rule.B["linear2"])) == pytest.approx(90, abs=2)
    optimizer = mf.SGD(0.05, weight_decay=4.0)
    for _ in range(60):  # both initial values shrink to a millionth; the layer below is constant
        rule.gradients(net, x, y, HALF)
        net["linear1"].grads = dict.fromkeys(net["linear1"].grads)
        optimizer.step(net, rule)
    rule.gradients(net, x, y, HALF)
    assert float(mf.metrics.angle(net["linear2"].W, rule.B["linear2"])) == pytest.approx(degrees, abs=1.5)


@pytest.mark.parametrize("samples", [30, 300, 3000])
def test_the_angle_between_weights_and_one_mirror_estimate(samples):
    # B = x^T (x W) / n, x Gaussian: tan(angle) = sqrt((n_in + 1) / n)
    net = Network([Linear(4, 60), Tanh(), Linear(60, 50), Tanh(), Linear(50, 3)])
    rule = make(f"weight_mirror:rate=1,warmup_phases=1,samples={samples}").attach(net)
    for name, n_in in (("linear2", 60), ("linear3", 50)):
        angle = float(mf.metrics.angle(net[name].W, rule.B[name]))
        assert math.tan(math.radians(angle)) == pytest.approx(math.sqrt((n_in + 1) / samples), rel=0.15)


# --- two linear layers ------------------------------------------------------------------------------------------------


def scalar_net(A=0.0, W=0.0, B=1.0):
    """(net, FA rule, one example) of y = x A W with feedback B."""
    net = linear_net(1, 1, 1, init="zero")
    net["linear1"].W[...], net["linear2"].W[...] = A, W
    rule = make("fa").attach(net)
    rule.memory["linear2"][...] = B
    return net, rule, np.ones((1, 1))


@pytest.mark.parametrize("B, T", [(1.0, 1.0), (0.5, 2.0), (2.0, -1.0), (-1.0, 0.5)])
def test_one_scalar_hidden_unit_converges_from_zero_to_its_fixed_point(B, T):
    # dA/dt = B T - A^3 / 2:  A* = (2 B T)^(1/3), W* = A*^2 / (2 B), W* A* = T; a step's deviation is O(lr)
    A_star = math.copysign(abs(2 * B * T) ** (1 / 3), B * T)
    W_star = A_star**2 / (2 * B)
    assert W_star * A_star == pytest.approx(T)
    off = []
    for lr in (0.02, 0.01):
        net, rule, x = scalar_net(B=B)
        train(net, rule, mf.SGD(lr), x, np.full((1, 1), T), round(12 / lr))
        A, W = net["linear1"].W.item(), net["linear2"].W.item()
        assert A * W == pytest.approx(T, abs=1e-6)
        off.append((A - A_star, W - W_star))
    assert 0.001 < np.abs(off[1]).max() < 0.02
    np.testing.assert_allclose(np.divide(*off), 2, rtol=0.1)


def test_the_scalar_invariant_and_its_effect_on_the_loss():
    rng = np.random.default_rng(0)
    for A, W, B, T in rng.uniform(0.3, 1.5, (5, 4)) * rng.choice([-1, 1], (5, 4)):
        net, rule, x = scalar_net(A, W, B)
        e = A * W - T
        train(net, rule, mf.SGD(0.1), x, np.full((1, 1), T), 1)
        A2, W2 = net["linear1"].W.item(), net["linear2"].W.item()
        # 2 B W - A^2 changes in a step by exactly -lr^2 B^2 e^2
        assert (2 * B * W2 - A2**2) - (2 * B * W - A**2) == pytest.approx(-(0.1**2) * B**2 * e**2, rel=1e-10)

        # where it is zero: the hidden weight's FA gradient times BP's is e^2 A^2 / 2, never against it, and the loss
        # falls at (3/2) e^2 A^2
        net, rule, x = scalar_net(A, A**2 / (2 * B), B)
        y = np.full((1, 1), T)
        e = A * A**2 / (2 * B) - T
        fa = gradients(net, rule, x, y)
        bp = gradients(net, make("bp").attach(net), x, y)
        assert (fa["linear1.W"] * bp["linear1.W"]).item() == pytest.approx(e**2 * A**2 / 2, rel=1e-10)
        assert sum((fa[key] * bp[key]).item() for key in fa) == pytest.approx(1.5 * e**2 * A**2, rel=1e-10)


def test_feedback_can_point_the_wrong_way_and_a_large_step_can_leave_the_valley():
    # A = 0, W = -1, B = T = 1: FA's gradient times BP's is -1
    net, rule, x = scalar_net(A=0.0, W=-1.0)
    fa = gradients(net, rule, x, x)["linear1.W"]
    bp = gradients(net, make("bp").attach(net), x, x)["linear1.W"]
    assert (fa * bp).item() == -1
    # A = 1, W = 1/2: the loss is 1/8, and 512 after one step of 10
    net, rule, x = scalar_net(A=1.0, W=0.5)
    optimizer = mf.SGD(10.0)
    assert float(rule.gradients(net, x, x, HALF)) == 1 / 8
    optimizer.step(net, rule)
    assert float(rule.gradients(net, x, x, HALF)) == 512


@pytest.mark.parametrize(
    "activation, bp_moves, fa_moves",
    [
        (None, set(), {"linear1.W"}),
        (Tanh, set(), {"linear1.W"}),
        (ReLU, set(), set()),  # f'(0) = 0
        (Sigmoid, {"linear2.W"}, {"linear1.W", "linear2.W"}),  # f(0) = 1/2
    ],
    ids=["linear", "tanh", "relu", "sigmoid"],
)
def test_which_parameters_are_updated_from_zero_weights(activation, bp_moves, fa_moves):
    """Backpropagation is at a saddle; feedback alignment updates the hidden layer first, unless the units' derivative
    is 0."""
    for name, moves in (("bp", bp_moves), ("fa", fa_moves)):
        between = [activation()] if activation else []
        net = Network([Linear(4, 5, bias=False, init="zero"), *between, Linear(5, 3, bias=False, init="zero")])
        rule, (x, y) = make(name).attach(net), data()
        if name == "fa":
            rule.memory["linear2"][...] = np.random.default_rng(0).standard_normal((5, 3))
        got = gradients(net, rule, x, y)
        assert {key for key, g in got.items() if abs(g).max() > 0} == moves
        if name == "fa" and activation in (None, Tanh):
            # dA = x^T e B^T with e = -y / n
            np.testing.assert_allclose(got["linear1.W"], x.T @ (-y / len(x)) @ rule.B["linear2"].T, rtol=1e-12)


@pytest.mark.parametrize("rank", [3, 8, 15, 18])
def test_a_narrow_linear_net_learns_a_random_projection_of_its_task(rank):
    """Feedback alignment with x = I learns T projected on the column space of T B^T: worse than the best of its rank
    as long as the rank is too low, and T itself otherwise."""
    rng = np.random.default_rng(0)
    T = rng.standard_normal((20, 15))
    net = linear_net(20, rank, 15, init="zero")
    rule, x = make("fa").attach(net), np.eye(20)
    B = rule.memory["linear2"]
    B[...] = rng.standard_normal(B.shape) / math.sqrt(15)
    train(net, rule, mf.SGD(0.1, momentum=0.9), x, T, 1000)
    learned = net["linear1"].W @ net["linear2"].W
    Q, _ = np.linalg.qr(T @ B.T)
    # limit = Q Q^T T
    np.testing.assert_allclose(learned, Q @ Q.T @ T, atol=1e-8 if rank != 15 else 1e-3)  # a square B: slow
    error, best = np.linalg.norm(learned - T), math.sqrt((np.linalg.svd(T)[1][rank:] ** 2).sum())
    if rank < 15:
        assert error > 1.05 * best
    else:
        assert error < 0.01


def test_from_some_starts_small_components_are_learned_before_large_ones():
    """Implicit anti-regularisation (Girotti, Mitliagkas & Gidel 2021 describe it; no formula is checked here).

    Two uncoupled scalar nets, T = 1 and T = 0.1, B = 1. From zero the large one is learned first. From A = -1 the
    large error must first drive A through zero, while the small one needs no such change.
    """
    order = {}
    for start in (0.0, -1.0):
        net = linear_net(2, 2, 2, init="zero")
        net["linear1"].W[...] = start * np.eye(2)
        rule = make("fa").attach(net)
        rule.memory["linear2"][...] = np.eye(2)
        T, optimizer, learned = np.diag([1.0, 0.1]), mf.SGD(0.1), []
        for step in range(400):
            train(net, rule, optimizer, np.eye(2), T, 1)
            left = np.abs(np.diag(rule.error) * 2 / np.diag(T))
            learned += [(step, mode) for mode in (0, 1) if left[mode] < 0.1 and mode not in [m for _, m in learned]]
        order[start] = [mode for _, mode in learned]
    assert order == {0.0: [0, 1], -1.0: [1, 0]}


# --- deep linear nets -------------------------------------------------------------------------------------------------


def test_direct_feedback_from_zero_aligns_every_layer_with_its_two_feedbacks():
    # after fitting: W_l ~ F_{l-1} F_l^T, the readout ~ F_{L-1} (0.92, 0.87, 0.86 in one run of 12-16-16-16-5)
    cosines = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((200, 12))
        y = x @ rng.standard_normal((12, 5)) / math.sqrt(12)
        net = linear_net(12, 16, 16, 16, 5, init="zero")
        rule = make("dfa:family=gaussian,sd=0.25", seed=seed).attach(net)
        train(net, rule, mf.SGD(0.1), x, y, 500)
        assert float(rule.gradients(net, x, y, HALF)) < 0.01 * (y**2).sum(axis=1).mean() / 2
        W2, W3, W4 = (layer.W for layer in net.weighted[1:])
        F1, F2, F3 = (rule.B[f"linear{i}"] for i in (1, 2, 3))
        cosines.append([cosine(W2, F1 @ F2.T), cosine(W3, F2 @ F3.T), cosine(W4, F3)])
        # and at every time W_l = F_{l-1} A_l F_l^T: nothing outside the feedbacks' spaces
        P1, P2, P3 = (F @ np.linalg.pinv(F) for F in (F1, F2, F3))
        for left, W, right in ((P1, W2, P2), (P2, W3, P3), (P3, W4, np.eye(5))):
            np.testing.assert_allclose(left @ W @ right, W, atol=1e-12)
    assert np.min(cosines) > 0.8 and np.mean(cosines) > 0.88, cosines


@pytest.mark.parametrize("description, rho", [("fa:correlation=0.8", 0.8), ("usf", math.sqrt(2 / math.pi))])
def test_the_cosine_of_the_error_falls_by_the_same_factor_in_every_layer(description, rho):
    # in wide linear layers at the start: cosine after k layers = rho^k
    net = linear_net(10, 600, 600, 600, 600, init="xavier_normal")
    rule, (x, y) = make(description).attach(net), data((10,), n=20, n_out=600)
    angles = mf.metrics.alignment(net, rule, x, y, HALF)
    for k, name in enumerate(["linear4", "linear3", "linear2", "linear1"]):
        assert math.cos(math.radians(angles[name]["true_angle"])) == pytest.approx(rho**k, abs=0.03)


# --- direct random targets, perturbation ------------------------------------------------------------------------------


def test_random_targets_are_the_error_s_sign_up_to_a_factor_and_a_constant():
    # sign(yhat - y*) = 1 - 2 y* for yhat in (0, 1), so sdfa's signal is -2 y* F^T + the row sums of F
    net, loss = mlp(), mf.SigmoidCrossEntropy()
    x, y = data()[0], np.arange(8) % 3
    taught = {}
    for name in ("sdfa", "drtp"):
        rule = make(name, seed=1).attach(net)
        rule.gradients(net, x, y, loss)
        taught[name] = rule.teach(net["tanh1"], None), rule.B["tanh1"]
    (sdfa, F), (drtp, same) = taught["sdfa"], taught["drtp"]
    np.testing.assert_array_equal(F, same)
    np.testing.assert_allclose(sdfa, -2 * drtp + F.sum(axis=1) / len(x), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(drtp * len(x), F.T[y])


@pytest.mark.parametrize("n, seeds", [(10, 40), (100, 20), (1000, 5), (10000, 2)])
def test_the_number_of_draws_that_node_perturbation_needs(n, seeds):
    # cosine to the gradient after n draws in d units: 1 / sqrt(1 + (d + 1) / n) = 0.22, 0.58, 0.91, 0.99 for d = 200
    net = network([Linear(5, 150), Tanh(), Linear(150, 50)], (5,))
    x, y = (np.repeat(one, n, axis=0) for one in data((5,), n=1, n_out=50))

    def errors(rule):
        rule.gradients(net, x, y, HALF)
        return np.concatenate([net["linear1"].grads["b"], net["linear2"].grads["b"]])  # the mean errors of the units

    # the noise is added to the units' inputs, before tanh
    true = errors(make("bp").attach(net))
    cosines = [cosine(errors(make("node_perturbation:sigma=1e-5", seed=s).attach(net)), true) for s in range(seeds)]
    assert np.mean(cosines) == pytest.approx(1 / math.sqrt(1 + 201 / n), abs=3.5 * 0.07 / math.sqrt(seeds))


# --- norms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "description", ["usf", "fa:normalise=strict", "frsf:normalise=strict", "brsf:normalise=strict"]
)
def test_strict_normalisation_keeps_the_feedback_as_large_as_the_weights(description):
    net, (x, y) = mlp(), data()
    rule, optimizer = make(description).attach(net), mf.SGD(0.5)
    for _ in range(3):
        rule.gradients(net, x, y, HALF)
        for name, B in rule.B.items():
            # norm(B) = norm(W_t); W -> c W: B -> c B
            W = net[name].W
            assert np.linalg.norm(B) == pytest.approx(np.linalg.norm(W), rel=1e-13)
            before = B.copy()
            W *= 3
            np.testing.assert_allclose(rule.feedback(net[name]), 3 * before, rtol=1e-12)
            W /= 3
        optimizer.step(net, rule)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("description", ["bp", "usf", "kolen_pollack"])
def test_constrained_weights_keep_their_initial_norm(description, optimizer):
    # norm(W_t) = norm(W_0) after every step
    net, (x, y) = mlp(), data()
    rule, optimizer = make(description).attach(net), OPTIMIZERS[optimizer](weight_decay=0.1, constrain_weights=True)
    start = {layer.name: (np.linalg.norm(layer.W), layer.W.copy()) for layer in net.weighted}
    for _ in range(5):
        train(net, rule, optimizer, x, y, 1)
        for layer in net.weighted:
            assert np.linalg.norm(layer.W) == pytest.approx(start[layer.name][0], rel=1e-13)
    assert all((layer.W != start[layer.name][1]).all() for layer in net.weighted)
