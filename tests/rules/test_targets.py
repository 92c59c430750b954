"""Rules with targets against their written formulas and against results known from theory.

Each known result is in a comment above the assertion that checks it. In the formulas h_l is the output of block l (a
weighted layer with the layers after it), h_L the logits, n the batch size, and n e the error of each example.
"""

from __future__ import annotations

import numpy as np
import pytest
from checks import Invertible, assert_close, data, gradients, linear_net, toeplitz

import minifa as mf
from minifa import ELU, AvgPool, Conv2d, Flatten, LeakyReLU, Linear, MaxPool, Network, ReLU, Tanh
from minifa.jacobians import jacobians
from minifa.rules import DDTP, DRL, DTP, FWDTP, LDRL, make
from minifa.rules.way_back import FORMS
from minifa.testing.examples import batch, chain, mlp, network

pytestmark = pytest.mark.usefixtures("float64")

HALF = mf.HalfSquaredError()
LOSS = mf.SoftmaxCrossEntropy()


def dense(*sizes, activation=Tanh, seed=0):
    """A dense network whose weights are N(0, 1 / fan_in)."""
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [Linear(n_in, n_out), activation()]
    net, rng = Network(layers[:-1], seed=seed), np.random.default_rng(seed)
    for layer in net.weighted:
        layer.W = rng.standard_normal(layer.W.shape) / np.sqrt(layer.W.shape[0])
    return net


def steps_to_targets(net, rule, x, y, loss=LOSS):
    """(h - t) / (n eta), the error at the end of each block, by layer name."""
    rule.gradients(net, x, y, loss)
    activities, targets = rule.activities, rule.targets
    return {name: (activities[name] - targets[name]) / (len(x) * rule.eta) for name in activities}


def set_B(rule, matrices):
    for name, B in matrices.items():
        rule.set_feedback(name, B)


def with_B_at_W(rule, net):
    set_B(rule.attach(net), {name: net[name].W for name in rule.memory})
    return rule


def sample_angle(a, b):
    """The mean over examples of the angle in degrees."""
    return float(mf.metrics.mean_angle(a.reshape(len(a), -1), b.reshape(len(b), -1)))


def isotropic(like, sigma, signs=(1,)):
    """Probes with the covariance sigma^2 I exactly: sigma sqrt(d) times the unit vectors, in turn for each sign."""
    d = like.shape[1]
    probes = np.concatenate([sign * np.eye(d) for sign in signs]) * sigma * np.sqrt(d)
    return np.tile(probes, (len(like) // len(probes), 1))


def probing(kind, signs=(1,)):
    """The rule, whose noise is replaced by isotropic probes."""

    class Probing(kind):
        def noise(self, like, key, step):
            return isotropic(like, self.sigma, signs)

    return Probing


def learn(net, rule, x, steps):
    """Updates of the maps while the weights rest."""
    rule.gradients(net, x, np.zeros((len(x), net.layers[-1].output_shape[0])), HALF)
    for _ in range(steps):
        rule.update_feedback(net)
        net.step += 1  # further noise


# --- exact inverses: the Gauss-Newton direction -----------------------------------------------------------------------


class Inverse(FWDTP):
    """Difference targets through the exact inverse of each block."""

    def send(self, i, y):
        layer, x = self.blocks[i].layer, y.copy()
        for _ in range(100 if self.blocks[i].after else 0):  # Newton's method
            x -= (x + np.tanh(x) / 2 - y) / (1.5 - np.tanh(x) ** 2 / 2)
        return (x - layer.b) @ np.linalg.inv(layer.W)


def test_exact_inverses_of_a_linear_net_make_gauss_newton_targets():
    # h_l - t_l = eta n e @ inv(W_{l+1} ... W_L), far from backpropagation's eta n e @ (W_{l+1} ... W_L).T
    net, (x, y) = linear_net(8, 8, 8, 8), data((8,), n_out=8)
    rule = FWDTP(g="linear").attach(net)
    set_B(rule, {name: np.linalg.inv(net[name].W).T for name in ("linear2", "linear3")})
    found, bp = steps_to_targets(net, rule, x, y, HALF), steps_to_targets(net, make("bp").attach(net), x, y, HALF)
    e, J = rule.error, np.eye(8)
    for name, W in (("linear2", net["linear3"].W), ("linear1", net["linear2"].W)):
        J = W @ J
        np.testing.assert_allclose(found[name], e @ np.linalg.inv(J), rtol=1e-8, atol=1e-8)
        assert sample_angle(found[name], bp[name]) > 50


def test_exact_inverses_of_a_nonlinear_net_make_gauss_newton_targets_up_to_eta():
    # the angle is of the order of eta below a nonlinear block, and zero below a linear one
    net, (x, y) = dense(8, 8, 8, 8, activation=Invertible), data((8,), n_out=8)
    J, angles = jacobians(net, x, ["invertible1", "invertible2"]), []
    for eta in (1e-2, 1e-3, 1e-4):
        rule = Inverse(eta=eta).attach(net)
        found = steps_to_targets(net, rule, x, y, HALF)
        gauss_newton = {name: np.einsum("nuo,no->nu", np.linalg.pinv(J[name]), rule.error) for name in J}
        angles.append([sample_angle(found[name], gauss_newton[name]) for name in J])
    lower, upper = np.transpose(angles)
    assert lower[1] < 0.1 and upper.max() < 1e-5
    np.testing.assert_allclose(lower[:2] / lower[1:], 10, rtol=0.1)


# --- fixed maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta, tolerance", [(1, 1e-13), (0.01, 1e-11)])
def test_linear_maps_are_direct_feedback_alignment(eta, tolerance):
    # F_l = B_{l+1} ... B_L
    net, (x, y) = mlp(), data()
    rule, dfa = FWDTP(eta=eta, g="linear").attach(net), make("dfa").attach(net)
    B2, B3 = rule.B["linear2"], rule.B["linear3"]
    set_B(dfa, {"tanh1": B2 @ B3, "tanh2": B3})
    assert_close(gradients(net, rule, x, y), gradients(net, dfa, x, y), tolerance)


@pytest.mark.parametrize("make_net", [mlp, chain])
@pytest.mark.parametrize("eta, tolerance", [(1, 1e-13), (1e-3, 1e-10)])
def test_gated_maps_are_feedback_alignment(make_net, eta, tolerance):
    # t_{l-1} - h_{l-1} = ((t_l - h_l) * f') @ B.T; with B = W that is backpropagation, for every eta
    net = make_net()
    x, y = batch(shape=net.input_shape)
    rule, fa = FWDTP(eta=eta, g="gated").attach(net), make("fa", seed=1).attach(net)
    set_B(rule, fa.B)
    assert_close(gradients(net, rule, x, y, LOSS), gradients(net, fa, x, y, LOSS), tolerance)
    with_B_at_W(rule, net)
    assert_close(gradients(net, rule, x, y, LOSS), gradients(net, make("bp").attach(net), x, y, LOSS), tolerance)


@pytest.mark.parametrize(
    "activation, g, bounds",
    [
        # a map whose Jacobian is not the transposed one is not backpropagation, although B = W and eta -> 0
        (LeakyReLU, "first", [(0, 0.1), (0, 0.1), (0, 0.1)]),
        (ELU, "first", [(0, 0.1), (2, 20), (4, 30)]),
        (Tanh, "first", [(0, 0.1), (2, 20), (4, 30)]),
        (Tanh, "linear", [(0, 0.1), (10, 40), (15, 50)]),
        (Tanh, "last", [(2, 20), (10, 50), (15, 60)]),
        # an inactive ReLU lies on the kink, and g passes its positive step although f' = 0
        (ReLU, "first", [(0, 0.1), (30, 50), (40, 60)]),
    ],
)
def test_equal_weights_are_not_equal_jacobians(activation, g, bounds):
    net = dense(20, 30, 30, 30, 10, activation=activation)
    x, y = batch(64, (20,), 10)
    found = steps_to_targets(net, with_B_at_W(FWDTP(eta=1e-6, g=g), net), x, y)
    bp = steps_to_targets(net, make("bp").attach(net), x, y)
    hidden = [name for name in found if name != "linear4"][::-1]
    angles = [sample_angle(found[name], bp[name]) for name in hidden]
    assert all(low <= angle <= high for angle, (low, high) in zip(angles, bounds, strict=True)), angles


def test_tanh_maps_to_first_order():
    # delta_{l-1} = (delta_l @ B.T) * (1 - tanh(h_l @ B.T)^2) + O(eta)
    net, (x, y) = dense(20, 30, 10), batch(16, (20,), 10)
    errors = []
    for eta in (1, 0.1, 0.01):
        rule = FWDTP(eta=eta).attach(net)
        found, B = steps_to_targets(net, rule, x, y)["tanh1"], rule.B["linear2"]
        expected = (rule.error @ B.T) * (1 - np.tanh(rule.output @ B.T) ** 2)
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    np.testing.assert_allclose(np.divide(errors[:2], errors[1:]), 10, rtol=0.3)


def test_targets_in_float32_start_from_the_error_of_each_example():
    # the relative error is inverse to eta; from e instead of n e, n = 32, it would be that of an eta 32 times smaller
    found = {}
    for dtype in ("float32", "float64"):
        with mf.using("numpy", dtype):
            for eta in (0.1, 1e-4, 1e-4 / 32):
                net = dense(20, 30, 10)
                x, y = batch(32, (20,), 10)
                found[dtype, eta] = steps_to_targets(net, FWDTP(eta=eta).attach(net), x, y)["tanh1"]
    exact = {eta: found["float64", eta] for _, eta in found}
    errors = {eta: np.linalg.norm(found["float32", eta] - h) / np.linalg.norm(h) for eta, h in exact.items()}
    assert errors[0.1] < 1e-5 and errors[1e-4] < 0.01 and errors[1e-4 / 32] > 0.03


@pytest.mark.parametrize("g", FORMS)
def test_targets_of_a_convolutional_net_against_the_written_formula(g):
    # a target goes back through Flatten, to the maxima of the pooling, and through the transposed convolution
    net = network(
        [Conv2d(2, 3, 3), Tanh(), Conv2d(3, 2, 3), LeakyReLU(0.1), MaxPool(2), Flatten(), Linear(2, 3)], (6, 6, 2)
    )
    x, y = batch(4, (6, 6, 2))
    rule = FWDTP(g=g).attach(net)
    rule.gradients(net, x, y, LOSS)
    h1, h2, logits = (rule.activities[name].reshape(4, -1) for name in ("tanh1", "flatten1", "linear1"))
    T = toeplitz(net["conv2"], rule.B["conv2"], (4, 4, 3), (2, 2, 2)).reshape(48, 8)
    a2 = h1 @ toeplitz(net["conv2"], net["conv2"].W, (4, 4, 3), (2, 2, 2)).reshape(48, 8) + np.tile(net["conv2"].b, 4)
    y2 = np.where(a2 > 0, a2, 0.1 * a2).reshape(4, 4, 2)  # (N, positions, channels), pooled to one position
    winner = (np.arange(4)[:, None] == y2.argmax(axis=1)[:, None, :]).reshape(4, 8)
    f1, f2, slope2 = np.tanh, lambda a: np.where(a > 0, a, 0.1 * a), np.where(a2 > 0, 1, 0.1)

    def g_conv(t):
        t = np.tile(t, 4) * winner
        return {"linear": t @ T.T, "last": f1(t @ T.T), "first": f2(t) @ T.T, "gated": (t * slope2) @ T.T}[g]

    def g_linear(t):
        return f2(t @ rule.B["linear1"].T) if g == "last" else t @ rule.B["linear1"].T

    t3 = logits - rule.eta * 4 * rule.error
    t2 = h2 + g_linear(t3) - g_linear(logits)
    t1 = h1 + g_conv(t2) - g_conv(h2)
    for name, t in (("linear1", t3), ("flatten1", t2), ("tanh1", t1)):
        np.testing.assert_allclose(rule.targets[name].reshape(4, -1), t, rtol=1e-10, atol=1e-12)


# --- learned maps -----------------------------------------------------------------------------------------------------


def test_ldrl_of_a_linear_map_shrinks_the_difference_from_the_weights():
    # with isotropic probes B - W becomes (1 - 2 rate) (B - W) in every step: the mirror's decay
    net, (x, _) = linear_net(5, 8, 6), data((5,), n=24)
    rule = probing(LDRL)(rate=0.05, g="linear").attach(net)
    before = rule.B["linear2"] - net["linear2"].W
    learn(net, rule, x, 100)
    np.testing.assert_allclose(rule.B["linear2"] - net["linear2"].W, 0.9**100 * before, rtol=1e-9)


@pytest.mark.parametrize("g", ["gated", "linear"])
def test_ldrl_of_a_nonlinear_block_learns_the_mean_jacobian(g):
    # gated: B = W; linear: column j of B = column j of W times the mean of f'_j; both up to sigma^2
    net, x = dense(4, 4, 3, 2), np.repeat(data((4,), n=3)[0], 24, axis=0)
    errors = []
    for sigma in (0.1, 0.01):
        rule = probing(LDRL, signs=(1, -1))(rate=0.4, g=g, sigma=sigma).attach(net)
        learn(net, rule, x, 150)
        W, slope = net["linear2"].W, (1 - rule.heard["tanh2"] ** 2).mean(axis=0)
        expected = W if g == "gated" else W * slope
        errors.append(np.linalg.norm(rule.B["linear2"] - expected) / np.linalg.norm(W))
    assert errors[0] < 0.02 and 80 < errors[0] / errors[1] < 120, errors


@pytest.mark.parametrize("after, tolerance", [([], 0.1), ([MaxPool(2)], 0.1), ([AvgPool(2)], 0.5)])
def test_ldrl_learns_convolutions_at_the_rate_of_linear_layers(after, tolerance):
    # 1 - 2 rate per step, without and with pooling. The mean over positions correlates the elements of a kernel: some
    # directions of B are slower.
    net = network([Conv2d(1, 2, 1), Conv2d(2, 4, 3), *after, Flatten(), Linear(36 if after else 144, 2)], (8, 8, 1))
    rule, x = LDRL(rate=0.05, sigma=1e-3).attach(net), batch(16, (8, 8, 1))[0]
    before = np.linalg.norm(rule.B["conv2"] - net["conv2"].W)
    learn(net, rule, x, 10)
    assert np.linalg.norm(rule.B["conv2"] - net["conv2"].W) / before == pytest.approx(0.9**10, rel=tolerance)


def columns_near_orthogonal(net):
    """Weights with singular values between 0.8 and 1.2, so that the maps converge in few steps."""
    for layer in net.weighted:
        u, s, v = np.linalg.svd(layer.W, full_matrices=False)
        layer.W = u * np.linspace(0.8, 1.2, len(s)) @ v


@pytest.mark.parametrize("decay", [0, 0.3])
def test_maps_learned_through_the_output_are_pseudo_inverses(decay):
    # B = K inv(K.T K + decay I), where K is the linear map from the noise to where B starts; pinv(K).T without decay.
    # For the lower map of a chain K contains the map above.
    net, (x, _) = linear_net(5, 6, 3, 3), data((5,), n=6)
    columns_near_orthogonal(net)
    W2, W3 = net["linear2"].W, net["linear3"].W

    def inverse(K):
        return K @ np.linalg.inv(K.T @ K + decay * np.eye(3))

    direct, chained = (probing(kind)(rate=1.0, decay=decay).attach(net) for kind in (DDTP, DRL))
    learn(net, direct, x, 300)
    assert_close(dict(direct.B), {"linear1": inverse(W2 @ W3), "linear2": inverse(W3)}, 1e-9)
    learn(net, chained, x, 500)
    assert_close(dict(chained.B), {"linear2": inverse(W2 @ W3 @ inverse(W3).T), "linear3": inverse(W3)}, 1e-9)


def test_dtp_learns_the_regression_of_the_input_on_the_output():
    # B.T = inv(W.T C W) W.T C with the second moment C = E[h h.T] + sigma^2 I: not the pseudo-inverse of W
    net, sigma = linear_net(6, 6, 3), 0.5
    net["linear1"].W = np.eye(6)
    x = np.repeat(0.5 + data((6,), n=4)[0] @ np.diag([1, 1, 1, 0.3, 0.3, 0.3]), 12, axis=0)
    rule = probing(DTP, signs=(1, -1))(g="linear", rate=1.9, sigma=sigma).attach(net)
    learn(net, rule, x, 600)
    W, C = net["linear2"].W, x.T @ x / len(x) + sigma**2 * np.eye(6)
    np.testing.assert_allclose(rule.B["linear2"].T, np.linalg.solve(W.T @ C @ W, W.T @ C), atol=1e-6)
    assert mf.metrics.angle(rule.B["linear2"], np.linalg.pinv(W).T) > 10


@pytest.mark.parametrize("g, activation", [("last", Tanh), ("last", ReLU), ("linear", Tanh)])
def test_dtp_learns_to_reconstruct_the_input_of_convolutions_and_linear_layers(g, activation):
    # the relative error of the reconstruction becomes smaller in every block, with one rate for all
    layers = [Conv2d(1, 2, 3), activation(), Conv2d(2, 4, 3), activation(), AvgPool(2), Flatten(), Linear(16, 3)]
    net, x = network(layers, (8, 8, 1)), batch(16, (8, 8, 1))[0]
    rule = DTP(g=g, sigma=0.05).attach(net)
    errors = []
    for steps in (1, 60):
        learn(net, rule, x, steps)
        ends = [rule.heard[block.end.name] for block in rule.blocks]
        errors.append(
            [np.linalg.norm(rule.send(i, ends[i]) - ends[i - 1]) / np.linalg.norm(ends[i - 1]) for i in (1, 2)]
        )
    assert all(after < 0.9 * min(before, 1) for before, after in zip(*errors, strict=True)), errors


@pytest.mark.parametrize(
    "make_net, description",
    [(mlp, "dtp"), *((chain, one) for one in ("ldrl", "ldrl:g=first", "drl", "drl:g=gated", "ddtp"))],
)
def test_maps_learn_from_their_inputs_in_the_pass_through_the_moved_weights(make_net, description):
    # all above these inputs is computed anew, and the caches of the pass stay as they are
    states = []
    for repeated in (False, True):
        net = make_net()
        x, y = batch(shape=net.input_shape)
        rule = make(description).attach(net)
        rule.gradients(net, x, y, LOSS)
        heard = dict(rule.heard)
        for layer in net.weighted[1:]:
            layer.W += 0.1
        if repeated:
            rule.gradients(net, x, y, LOSS)  # caches of the moved weights
            rule.heard.update(heard)
        caches = [layer.cache for layer in net]
        rule.update_feedback(net)
        assert all(layer.cache is cache for layer, cache in zip(net, caches, strict=True))
        states.append(rule.state())
    assert_close(*states)


@pytest.mark.parametrize("description", ["dtp:g=linear", "ldrl", "ldrl:g=first", "drl", "ddtp"])
def test_one_update_of_the_maps_against_the_written_formula(description):
    # of a hidden block and of the output block, from their inputs in the pass through the weights before their update
    net, (x, y) = mlp(), data()
    rule = make(description).attach(net)
    rule.gradients(net, x, y, HALF)
    h1, h2 = rule.heard["tanh1"], rule.heard["tanh2"]
    for layer in net.weighted:
        layer.W += 0.1
    (W2, b2), (W3, b3) = ((net[name].W, net[name].b) for name in ("linear2", "linear3"))
    before = {name: B.copy() for name, B in rule.B.items()}
    noise = {name: rule.noise(h, f"{name}/0", 0) for name, h in zip(before, (h1, h2), strict=True)}
    rule.update_feedback(net)

    def f2(h):
        return np.tanh(h @ W2 + b2)

    def f3(h):
        return h @ W3 + b3

    def dtp(name, h, f, *_):
        v, wanted = f(h + noise[name]), h + noise[name]
        return -rule.rate * (v @ before[name].T - wanted).T @ v / (v**2).sum()

    def ldrl(name, h, f, activation, slope):
        shown = f(h)
        dx, dy = rule.noise(h, f"{name}/0/x", 0), rule.noise(shown, f"{name}/0/y", 0)
        df, gate = f(h + dx) - shown, slope(shown)
        v_x, v_y = df * gate, dy * gate
        if rule.g == "first":
            v_x, v_y = activation(shown + df) - activation(shown), activation(shown + dy) - activation(shown)
        m = (dy**2).sum() / dy.shape[1]
        return 2 * rule.rate / m * (dx.T @ v_x - (v_y @ before[name].T).T @ v_y)

    def through_output(B, v, xi):
        decay = len(v) * rule.sigma**2 * rule.decay
        return -rule.rate * ((v @ B.T - xi).T @ v + decay * B) / ((v**2).sum() + decay)

    names = list(before)
    if description == "ddtp":
        v = f3(f2(h1 + noise["tanh1"])) - f3(f2(h1)), f3(h2 + noise["tanh2"]) - f3(h2)
        expected = {name: through_output(before[name], v[i], noise[name]) for i, name in enumerate(names)}
    elif description == "drl":  # the lower map learns first, through the map above as it was
        v = (f3(f2(h1 + noise["linear2"])) - f3(f2(h1))) @ before["linear3"].T, f3(h2 + noise["linear3"]) - f3(h2)
        expected = {name: through_output(before[name], v[i], noise[name]) for i, name in enumerate(names)}
    else:
        one = dtp if description.startswith("dtp") else ldrl
        hidden = one("linear2", h1, f2, np.tanh, lambda shown: 1 - shown**2)
        expected = {"linear2": hidden, "linear3": one("linear3", h2, f3, lambda y: y, np.ones_like)}
    assert_close({name: rule.B[name] - before[name] for name in names}, expected, 1e-10)


def test_each_step_of_the_maps_has_its_own_noise():
    net, (x, y) = mlp(), data()
    rule = make("ddtp:steps=2").attach(net)
    rule.gradients(net, x, y, HALF)
    like = rule.heard["tanh1"]
    draws = [rule.noise(like, *key) for key in (("tanh1/0", 0), ("tanh1/1", 0), ("tanh2/0", 0), ("tanh1/0", 1))]
    assert len({draw.tobytes() for draw in draws}) == 4
    assert draws[0].tobytes() == rule.noise(like, "tanh1/0", 0).tobytes()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["fwdtp", "ldrl", "drl", "ddtp"])
@pytest.mark.parametrize(
    "layer, name",
    [
        (lambda: mf.BatchNorm(4), "BatchNorm 'batchnorm1'"),
        (lambda: mf.LocalResponseNorm(3), "LocalResponseNorm 'localresponse1'"),
        (lambda: mf.Dropout(0.5), "Dropout 'dropout1'"),
        (lambda: mf.Residual([Linear(4, 4)]), "Residual 'residual1'"),
    ],
)
def test_layers_that_send_no_targets_are_refused_by_name(description, layer, name):
    net = Network([Linear(3, 4), layer(), Tanh(), Linear(4, 2)])
    with pytest.raises(ValueError, match=f"the rule '{description}' can send no target through {name}"):
        make(description).attach(net)


@pytest.mark.parametrize(
    "description, sentence",
    [
        ("ldrl:g=last", "g must be 'linear', 'first' or 'gated', got 'last'"),
        ("drl:g=last", "g must be 'linear', 'first' or 'gated', got 'last'"),
        ("ldrl:sigma=0", "sigma must be"),
        ("ddtp:rate=0", "rate must be"),
        ("ddtp:steps=0", "steps must be"),
        ("drl:decay=-1", "decay must be at least 0"),
    ],
)
def test_invalid_options_are_refused(description, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(description)


# --- the digits -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_the_rules_are_known_for_on_the_digits(seed):
    # 64-64-64-64-10 tanh, 10 epochs. Angles between the steps from activity to target, of hidden layers 1, 2, 3.
    digits = mf.data.load("digits")
    x, test = (mf.asarray(digits.transform(part.x).reshape(len(part), -1)) for part in (digits.train, digits.test))
    y, few = digits.train.y, slice(0, 256)

    def run(description):
        """Angles to backpropagation after one epoch and at the end, to Gauss-Newton at the end, and the test error."""
        net = dense(64, 64, 64, 64, 10, seed=seed)
        rule, optimizer, angles = make(description, seed=seed).attach(net), mf.SGD(0.02, momentum=0.9), []
        for epoch in range(10):
            order = np.random.default_rng([seed, epoch]).permutation(len(x))
            for rows in np.array_split(order, len(x) // 32):
                rule.gradients(net, x[rows], y[rows], LOSS)
                optimizer.step(net, rule)
            if epoch in (0, 9):
                with rule.preserved():
                    own = steps_to_targets(net, rule, x[few], y[few])
                bp, hidden = make("bp").attach(net), ("tanh1", "tanh2", "tanh3")
                exact, J = steps_to_targets(net, bp, x[few], y[few]), jacobians(net, x[few], list(hidden))
                newton = {name: np.einsum("nuo,no->nu", np.linalg.pinv(J[name]), bp.error) for name in J}
                angles += [np.array([sample_angle(own[n], other[n]) for n in hidden]) for other in (exact, newton)]
        error = 100 * np.mean(net.predict(test).argmax(axis=1) != digits.test.y)
        return angles[0], angles[2], angles[3], error

    # learned Jacobians come near backpropagation within an epoch, fixed matrices do not
    first, _, _, error = run("ldrl")
    assert (first < [38, 33, 28]).all() and error < 4, (first, error)
    for fixed in ("fa", "fwdtp:g=linear"):
        first, _, _, error = run(fixed)
        assert (first > 70).all() and error < 7, (fixed, first, error)
    # maps learned through the output end nearer the Gauss-Newton direction than the gradient
    _, to_bp, to_newton, error = run("ddtp")
    assert (to_newton < to_bp).all() and to_newton[2] < 12 and error < 4.5, (to_bp, to_newton, error)
    _, to_bp, to_newton, error = run("drl")
    assert to_newton[2] < 20 < to_bp[2] + 5 and error < 5, (to_bp, to_newton, error)
    # without the difference the error of the reconstruction is the target's
    assert run("dtp")[3] < 5 and run("tp")[3] > 70
