"""Feedback learned from noise: the formulas of rdd, stdwi, sal and pal, and what is known exactly of each.

Known answers are for a layer of 30 inputs and 20 outputs, W ~ N(0, 2 / 30). F: fan_in, w2: the mean square of W.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import minifa as mf
from minifa import Conv2d, Flatten, Linear, Network, ReLU, Tanh
from minifa.rng import generator
from minifa.rules import make, pal, rdd, sal
from minifa.testing.examples import batch, mlp, network

pytestmark = pytest.mark.usefixtures("float64")

HALF = mf.HalfSquaredError()


def layer_of_30(seed=0):
    """A network whose second layer receives its 30 inputs as they are, if they are not negative."""
    net = Network([Linear(30, 30), ReLU(), Linear(30, 20)], seed=seed)
    net["linear1"].W = np.eye(30)
    return net


def degrees(a, b):
    return float(mf.metrics.angle(a, b))


def degrees_with_noise(mean, v, W):
    """The angle between W and a matrix with this mean, whose entries have noise of the mean square v."""
    return math.degrees(math.acos((mean * W).sum() / np.linalg.norm(W) / math.sqrt((mean * mean).sum() + v * W.size)))


def after_one_phase(description, seed=0):
    """(W, B) after one phase of a rule at rate 1."""
    net = layer_of_30()
    rule = make(f"{description},rate=1,warmup_phases=1", seed=seed).attach(net)
    return net["linear2"].W, rule.B["linear2"]


def passed(rule, net, x):
    """Attach the rule and make one pass for this batch."""
    rule.attach(net).gradients(net, x, np.zeros((len(x), 20)), HALF)
    return rule


# --- formulas ---------------------------------------------------------------------------------------------------------


def groups_net():
    """A linear layer above a convolution with groups above a convolution: W has matrices of two shapes."""
    layers = [Conv2d(1, 4, 3), Tanh(), Conv2d(4, 6, 2, groups=2), Tanh(), Flatten(), Linear(24, 3)]
    return network(layers, (5, 5, 1))


def in_parts(layer, array):
    """The matrix of each group."""
    return np.split(array.reshape(-1, array.shape[-1]), getattr(layer, "groups", 1), axis=1)


def by_hand_sal(rule, layer, W, B, rng, x, start):
    parts = in_parts(layer, W)
    noise, n, found = np.split(rng.standard_normal((rule.samples, len(parts) * len(parts[0]))), len(parts), 1), 10, []
    for Wi, Bi, xi in zip(parts, in_parts(layer, B), noise, strict=True):
        v = rng.standard_normal((n, Wi.shape[1]))
        found.append(Bi + rule.rate * (xi.T @ (xi @ Wi + v) - (v @ Bi.T).T @ v) / n)
    return found


def by_hand_stdwi(rule, layer, W, B, rng, x, start):
    parts, n, r = in_parts(layer, W), 10, 0.2
    spikes = rng.random((n, len(parts) * len(parts[0]))) < r
    found = []
    for Wi, Bi, xi in zip(parts, in_parts(layer, B), np.split(spikes - r, len(parts), 1), strict=True):
        g = 0.3 / 4 / np.sqrt(r * (1 - r) * (Wi**2).sum(0))
        s = rng.random((n, Wi.shape[1])) < np.clip(0.3 + g * (xi @ Wi), 0, 1)
        seen = xi.T @ (s - s.mean(0)) / ((n - 1) * r * (1 - r) * g)
        found.append((1 - rule.rate) * Bi + rule.rate * seen)
    return found


def by_hand_pal(rule, layer, W, B, rng, x, start):
    parts, found = in_parts(layer, W), []
    patches = layer.columns(x) if x.ndim == 2 else None
    if patches is None:  # of each group
        patches = [layer.columns(part) for part in np.split(x, len(parts), axis=-1)]
        chosen = rng.choice(len(patches[0]), 10, replace=False)
        patches = [part[chosen] for part in patches]
    else:
        patches = [patches]
    for Wi, Bi, clean in zip(parts, in_parts(layer, B), patches, strict=True):
        xi = 0.5 * rng.standard_normal(clean.shape)
        y = (clean + xi) @ Wi
        seen = xi.T @ (y - y.mean(0)) / ((len(y) - 1) * 0.25)
        found.append((1 - rule.rate) * Bi + rule.rate * seen)
    return found


def by_hand_rdd(rule, layer, W, B, rng, x, start):
    """Two looks, the first at the start: regressions with the weights rate (1 - rate) and rate of their patterns."""
    parts, found = in_parts(layer, W), []
    shape = rule.samples, len(parts) * len(parts[0])
    looks = []
    for one, weights in ((start, in_parts(layer, rule.net_before)), (rng, parts)):
        u = math.sqrt(0.7) * one.standard_normal(shape) + math.sqrt(0.3) * one.standard_normal((rule.samples, 1))
        looks.append([(d, (d >= 0) @ Wi) for d, Wi in zip(np.split(u - 0.1, len(parts), 1), weights, strict=True)])
    weight = np.repeat([1 - rule.rate, 1], rule.samples)
    for k, Wi in enumerate(parts):
        d, y = (np.concatenate([look[k][i] for look in looks]) for i in (0, 1))
        jump = np.empty_like(Wi)
        for i in range(len(Wi)):
            sides = (d[:, i] >= 0) & (d[:, i] < 0.5), (d[:, i] < 0) & (d[:, i] >= -0.5)
            above, below = (np.polyfit(d[m, i], y[m], 1, w=np.sqrt(weight[m]))[1] for m in sides)
            jump[i] = above - below
        found.append(jump)
    return found


@pytest.mark.parametrize(
    "description, by_hand",
    [
        ("sal:rate=0.3,samples=10,warmup_phases=0", by_hand_sal),
        ("stdwi:rate=0.3,samples=10,warmup_phases=0", by_hand_stdwi),
        ("pal:rate=0.3,samples=10,sigma=0.5", by_hand_pal),
        ("rdd:rate=0.3,samples=60,warmup_phases=1,correlation=0.3,theta=0.1", by_hand_rdd),
    ],
)
def test_the_feedback_learns_by_its_formula(description, by_hand):
    """For each group of a convolution, on patches; after the weights have moved."""
    net, (x, y) = groups_net(), batch(shape=(5, 5, 1))
    before = net.state()
    rule = make(description, seed=4).attach(net)
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    start = rule.state()
    listen = mf.Listen({"tanh1", "flatten1"}, training=True, keep=False)
    net.forward(x, listen)
    mf.SGD(0.1).step(net, rule)
    for name, below in (("conv2", "tanh1"), ("linear1", "flatten1")):
        layer, rule.net_before = net[name], before[f"{name}.W"]
        streams = [generator(4, "noise", *key) for key in ((name, 1), (f"{name}/start0", 0))]
        expected = by_hand(rule, layer, layer.W, start[name], streams[0], listen.outputs[below], streams[1])
        got = np.concatenate(in_parts(layer, rule.B[name]), axis=1)
        np.testing.assert_allclose(got, np.concatenate(expected, axis=1), rtol=1e-9, atol=1e-11, err_msg=name)


def test_phases_have_their_interval_and_change_neither_weights_nor_caches():
    net, (x, y) = mlp(), batch(shape=(4,))
    for description in ("rdd", "stdwi", "sal"):
        rule, moved = make(f"{description}:every=3,samples=50,warmup_phases=0").attach(net), []
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        kept, caches = net.state(), [layer.cache for layer in net]
        for net.step in range(1, 7):
            B = rule.B["linear2"].copy()
            rule.update_feedback(net)
            moved.append(not np.array_equal(B, rule.B["linear2"]))
        assert moved == [False, False, True] * 2
        assert all((net.state()[key] == array).all() for key, array in kept.items())
        assert all(a is b for a, b in zip(caches, [layer.cache for layer in net], strict=True))


def test_moments_are_no_feedback():
    net = layer_of_30()
    rule = make("rdd:samples=8").attach(net)
    assert rule.memory["linear2/moments"].shape == (1, 2, 30, 3 + 2 * 20)
    assert rule.feedback_size(net["linear2"]) == net["linear2"].W.size and rule.B.keys() == {"linear2"}


def test_an_option_outside_its_range_is_refused():
    for description, message in {
        "weight_mirror:correlation=1": "correlation must be at least 0 and below 1, got 1.0",
        "weight_mirror:noise=pink": "noise must be 'gaussian' or 'spikes', got 'pink'",
        "rdd:fit=cubic": "fit must be 'line' or 'constant', got 'cubic'",
        "rdd:window=0": "window must be above 0, got 0",
        "stdwi:samples=1": "samples must be at least 2, got 1",
        "stdwi:r=1": "r must be at least 0 and below 1, got 1.0",
        "stdwi:r_out=0": "r_out must be above 0, got 0",
        "pal:highpass=low": "highpass must be 'mean', 'raw' or 'clean', got 'low'",
    }.items():
        with pytest.raises(ValueError, match=message):
            make(description)


def test_a_rule_is_shown_as_a_call_that_its_class_takes():
    assert repr(make("pal:highpass=raw")) == "<PAL(highpass='raw'), not attached>"  # without `every`, which is fixed


# --- the angle at which B settles -------------------------------------------------------------------------------------

F, OUT, N = 30, 20, 128


def variance_of_a_look(name, W, x):
    """The mean squared error of one estimate of W, relative to w2."""
    w2 = (W * W).mean()
    return {
        "weight_mirror": (F + 1) / N,
        "stdwi": 16 * (1 - 0.3) / 0.3 * F / N,
        "sal": ((F + 1) + (OUT + 1) + 1 / w2) / N,
        "pal": ((x @ W).var(0).mean() + (F + 1) * w2) / (N * w2),
        "rdd": 8 * (others(W) / 4).mean() / (N * 0.19146 * w2),  # the probability of 0 <= u < 0.5
    }[name]


def others(W):
    """sum_{k != i} W_kj^2."""
    return (W * W).sum(0) - W * W


@pytest.mark.parametrize("name", ["weight_mirror", "stdwi", "sal", "pal", "rdd"])
def test_in_equilibrium_the_scatter_of_B_is_that_of_2_over_rate_phases(name):
    # |B - W|^2 / |W|^2 = v rate / (2 - rate) / w2; at rate .1 for a mirror tan .113, 6.4 degrees
    net, rate = layer_of_30(), 0.02 if name == "rdd" else 0.1
    W, x = net["linear2"].W, np.maximum(generator(0, "data").normal(0.3, 1, (N, 30)), 0)
    rule = passed(make(f"{name}:rate={rate},samples={N}"), net, x)
    rule.set_feedback("linear2", W)
    scatter = []
    for net.step in range(1, 401):
        rule.update_feedback(net)
        if net.step > 3 / rate:
            scatter.append(((rule.B["linear2"] - W) ** 2).sum() / (W * W).sum())
    expected = variance_of_a_look(name, W, x) * rate / (2 - rate)
    assert np.mean(scatter) == pytest.approx(expected, rel=0.15)


# --- correlated noise and regression discontinuity --------------------------------------------------------------------


def mixing(off_diagonal):
    return np.full((F, F), off_diagonal) + (1 - off_diagonal) * np.eye(F)


def excess_within(window, c):
    """P(s_k | 0 <= u_i < window) - P(s_k | -window <= u_i < 0) of units with correlation c, by the midpoint rule."""
    u = (np.arange(1000) + 0.5) * window / 1000
    density = np.exp(-u * u / 2)
    phi = [0.5 + 0.5 * math.erf(c * one / math.sqrt(2 * (1 - c * c))) for one in u]
    return 2 * (density @ phi) / density.sum() - 1


@pytest.mark.parametrize("c", [0, 0.3, 0.6])
def test_correlated_noise_misleads_a_mirror_and_not_the_jump_at_the_threshold(c):
    # 20,000 patterns: mirror on spikes -> Cs W, Cs_ik = 2/pi arcsin(c);  jump -> W;  difference of means -> K W
    n, side = 20_000, 20_000 * 0.19146
    for noise, C in (("gaussian", mixing(c)), ("spikes", mixing(2 / math.pi * math.asin(c)))):
        W, B = after_one_phase(f"weight_mirror:samples={n},correlation={c},noise={noise}")
        assert degrees(B, C @ W) < 4
        assert degrees(B, W) == pytest.approx(degrees_with_noise(C @ W, (F + 1) / n * (W * W).mean(), W), abs=1.5)
    # the variance of y given u_i = 0: other units then have the correlation c / (1 + c)
    shared = math.asin(c / (1 + c)) / (2 * math.pi)
    without = [np.delete(W, i, axis=0) for i in range(F)]
    v = np.array([(1 / 4 - shared) * (one * one).sum(0) + shared * one.sum(0) ** 2 for one in without])
    for fit, K, times in (("line", mixing(0), 8), ("constant", mixing(excess_within(0.5, c)), 2)):
        W, B = after_one_phase(f"rdd:samples={n},correlation={c},fit={fit}")
        assert degrees(B, W) == pytest.approx(degrees_with_noise(K @ W, times * v.mean() / side, W), abs=1.5)
        if fit == "line":
            assert (B * W).sum() / (W * W).sum() == pytest.approx(1, abs=0.03)
            assert degrees(B, W) < 8


@pytest.mark.parametrize("fit, times", [("line", 8), ("constant", 2)])
def test_the_variance_of_the_jump(fit, times):
    # E (B - W)_ij^2 = 8 v_ij / m, v_ij = sum_{k != i} W_kj^2 / 4, m patterns on each side; of means 2 v_ij / m
    squares = []
    for seed in range(20):
        W, B = after_one_phase(f"rdd:samples=4000,fit={fit}", seed)
        squares.append((B - W) ** 2)
    expected = times * others(W).mean() / 4 / (4000 * 0.19146)
    assert np.mean(squares) == pytest.approx(expected, rel=0.1)


def test_the_jump_at_another_threshold():
    W, B = after_one_phase("rdd:samples=20000,correlation=0.5,theta=0.7,window=0.4")
    assert (B * W).sum() / (W * W).sum() == pytest.approx(1, abs=0.05) and degrees(B, W) < 12


def test_a_unit_without_two_distances_on_a_side_keeps_its_feedback():
    d = np.array([[0.1, 0.1, -0.1, 0.3], [0.2, 0.1, -0.2, 0.3], [-0.1, -0.1, 0.9, -0.2], [-0.3, -0.2, 0.9, -0.3]])
    W = np.arange(8.0).reshape(4, 2)
    jump, known = rdd.fitted_jump(rdd.moments(d, W, 0.5))
    assert known[:, 0].tolist() == [True, False, False, False] and np.isfinite(jump).all()
    assert rdd.fitted_jump(rdd.moments(d, W, 0.5), "constant")[1][:, 0].tolist() == [True, True, False, True]
    net = layer_of_30()
    rule = make("rdd:samples=10,warmup_phases=0").attach(net)
    before = rule.B["linear2"].copy()
    rule.update_feedback(net)
    moved = (rule.B["linear2"] != before).any(axis=1)
    M = rule.memory["linear2/moments"][0]
    assert moved.any() and not moved.all() and not moved[M[..., 0].min(axis=0) == 0].any()


def test_the_first_phases_count_alike():
    """Moments that start at the first phase instead of zero would keep B at its noise for 1 / rate phases: 53 degrees
    instead of 27 after ten."""
    W, B = layer_of_30()["linear2"].W, make("rdd:warmup_phases=10").attach(layer_of_30()).B["linear2"]
    looks = [after_one_phase("rdd:samples=128", seed)[1] for seed in range(10)]
    assert degrees(B, W) < 35 < 50 < np.mean([degrees(look, W) for look in looks])


# --- spikes that trigger ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2_000, 8_000, 50_000])
def test_the_spike_triggered_mean_is_the_weight(n):
    # E[x_i | j spikes] = r (1 - r) g W_ij / r_out; one bit instead of a number costs 16 (1 - r_out) / r_out patterns
    W, B = after_one_phase(f"stdwi:samples={n}")
    assert degrees(B, W) == pytest.approx(math.degrees(math.atan(math.sqrt(16 * 0.7 / 0.3 * F / n))), abs=1.5)
    slope = (B * W).sum(0) / (W * W).sum(0)  # of each output unit, so that the gains are settled
    assert abs(slope - 1).max() < 4 * math.sqrt(16 * 0.7 / 0.3 / n)


@pytest.mark.parametrize("r_out", [0.1, 0.5, 0.9])
def test_the_size_of_the_weights_is_found_at_any_rate_of_spikes(r_out):
    """A gain of r_out / 4 would clip p at 1 in every third pattern for r_out = 0.9: a slope of 0.67."""
    W, B = after_one_phase(f"stdwi:samples=50000,r_out={r_out}")
    rarer = min(r_out, 1 - r_out)
    expected = math.degrees(math.atan(math.sqrt(16 * (1 - rarer) / rarer * F / 50_000)))
    assert (B * W).sum() / (W * W).sum() == pytest.approx(1, abs=0.02)
    assert degrees(B, W) == pytest.approx(expected, abs=1.5)


def test_a_unit_without_weights_triggers_nothing():
    net = layer_of_30()
    net["linear2"].W[:, 3] = 0
    rule = make("stdwi:rate=1,warmup_phases=1").attach(net)
    assert not rule.B["linear2"][:, 3].any() and np.isfinite(rule.B["linear2"]).all()


# --- what follows minus what precedes ---------------------------------------------------------------------------------


def stationary(W, B, sx=1.0, sy=1.0):
    """The second moments of x(t+1) = y(t) B^T + xi, y(t+1) = x(t) W + zeta."""
    Sxx, Syy = np.eye(len(W)), np.eye(W.shape[1])
    for _ in range(60):
        Sxx, Syy = B @ Syy @ B.T + sx**2 * np.eye(len(W)), W.T @ Sxx @ W + sy**2 * np.eye(W.shape[1])
    return Sxx, Syy


def expected_change(W, B, **noise):
    """Sxx W - B Syy, by the rule's own function on rows with these second moments."""
    x, y = (np.linalg.cholesky(S).T for S in stationary(W, B, **noise))
    return sal.asymmetry(x, x @ W, y @ B.T, y)


def of_norm(shape, norm, seed):
    matrix = generator(seed, "weights").standard_normal(shape)
    return norm * matrix / np.linalg.norm(matrix, 2)


def test_in_the_closed_loop_feedback_equal_to_the_weights_is_the_fixed_point():
    W, B = of_norm((12, 8), 0.6, 0), of_norm((12, 8), 0.6, 1)
    assert abs(expected_change(W, W)).max() < 2e-15
    for _ in range(150):
        B = B + 0.3 * expected_change(W, B)
    assert abs(B - W).max() < 1e-14
    # unequal noises: (sx / sy)^2 W, and no fixed point where that has a gain of 1 around the loop
    assert abs(expected_change(W, 1.3 * W, sx=math.sqrt(1.3))).max() < 1e-14
    Sxx, _ = stationary(W, 4 * W, sy=0.5)
    assert abs(Sxx).max() > 1e6


@pytest.mark.long
def test_the_sampled_closed_loop_aligns():
    # 200 copies, 6,000 steps, a rate that falls: 2.8 degrees, norm ratio 1.003
    W, B, rng = of_norm((12, 8), 0.6, 0), of_norm((12, 8), 0.6, 1), generator(0, "noise")
    x, y = np.zeros((200, 12)), np.zeros((200, 8))
    for t in range(6_000):
        x_after = y @ B.T + rng.standard_normal(x.shape)
        y_after = x @ W + rng.standard_normal(y.shape)
        B = B + 0.1 / (1 + t / 100) * sal.asymmetry(x, y_after, x_after, y) / 200
        x, y = x_after, y_after
    assert degrees(B, W) < 4 and np.linalg.norm(B) / np.linalg.norm(W) == pytest.approx(1, abs=0.02)


def test_the_variance_of_a_look_in_both_directions():
    # at B = W: ((F + 1) w2 + (out + 1) w2 + 1) / n, with n = 128 and w2 = 2 / 30 .034, twice a mirror's .016
    net, squares = layer_of_30(), []
    W = net["linear2"].W
    rule = make("sal:rate=1,warmup_phases=0").attach(net)
    for net.step in range(200):
        rule.set_feedback("linear2", W)
        rule.update_feedback(net)
        squares.append(((rule.B["linear2"] - W) ** 2).mean())
    assert np.mean(squares) == pytest.approx(((F + OUT + 2) * (W * W).mean() + 1) / 128, rel=0.03)


# --- noise that rides on the signal -----------------------------------------------------------------------------------


@pytest.mark.parametrize("highpass", ["raw", "mean", "clean"])
def test_the_signal_is_noise_for_the_noise(highpass):
    # tan^2 = (P / sigma^2 + (F + 1) w2) / (n w2), P = what the high pass leaves of the signal: 19, 15 and 2 degrees
    net, n, sigma = layer_of_30(), 20_000, 0.1
    W, x = net["linear2"].W, np.maximum(generator(0, "data").normal(0.3, 1, (n, 30)), 0)
    rule = passed(make(f"pal:rate=1,samples={n},sigma={sigma},highpass={highpass}"), net, x)
    looks = []
    for net.step in range(8):
        rule.update_feedback(net)
        looks.append(math.tan(math.radians(degrees(rule.B["linear2"], W))) ** 2)
    y, w2 = x @ W, (W * W).mean()
    P = {"raw": (y * y).mean(), "mean": y.var(0).mean(), "clean": 0}[highpass]
    expected = math.degrees(math.atan(math.sqrt((P / sigma**2 + (F + 1) * w2) / (n * w2))))
    measured = math.degrees(math.atan(math.sqrt(np.mean(looks))))
    assert measured == pytest.approx(expected, abs=0.1 if highpass == "clean" else 1)


def test_noise_before_the_activation_sees_its_slope():
    # B -> diag(E f'(a)) W: for tanh and inputs of sd .5 to 3 at 19 degrees to W
    W, rng = layer_of_30()["linear2"].W, generator(0, "data")
    sd = np.linspace(0.5, 3, F)
    a, xi = sd * rng.standard_normal((20_000, F)), 0.1 * rng.standard_normal((20_000, F))
    moved = (np.tanh(a + xi) - np.tanh(a)) @ W
    B = pal.correlation(xi, np.tanh(a) @ W, moved, "clean")[0]
    limit = (1 - np.tanh(a) ** 2).mean(0)[:, None] * W
    assert degrees(B, limit) < 4 and degrees(B, W) == pytest.approx(degrees(limit, W), abs=1) and degrees(B, W) > 15


def test_the_noise_does_not_enter_the_forward_pass():
    net, (x, y) = mlp(), batch(shape=(4,))
    values = []
    for name in ("pal", "fa"):
        rule = make(name, seed=3).attach(net)
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        values.append({key: array.copy() for key, array in net.gradients().items()})
    assert all((values[0][key] == array).all() for key, array in values[1].items())


def test_a_batch_of_one_example_has_no_mean_to_subtract():
    net = layer_of_30()
    for highpass, moves in (("mean", False), ("raw", True)):
        rule = passed(make(f"pal:highpass={highpass}"), net, np.ones((1, 30)))
        before = rule.B["linear2"].copy()
        rule.update_feedback(net)
        assert np.array_equal(rule.B["linear2"], before) is not moves


def test_before_the_first_batch_there_is_no_activity():
    net = layer_of_30()
    with pytest.raises(RuntimeError, match="has not computed a batch yet"):
        make("pal").attach(net).update_feedback(net)


def test_feedback_of_the_first_layer_learns_from_the_network_s_input():
    net = Network([Linear(5, 4), Tanh(), Linear(4, 3)], input_error=True)
    rule, (x, y) = make("pal:rate=1,samples=5000").attach(net), batch(5000, shape=(5,))
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    rule.update_feedback(net)
    assert degrees(rule.B["linear1"], net["linear1"].W) < 5


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_feedback_from_few_patterns_stops_the_learning_of_deep_networks():
    """Four hidden layers of 48 on the digits, SGD at 0.005 with momentum, 12 epochs."""
    digits, accuracy = mf.data.load("digits"), {}
    with mf.using("numpy", "float32"):
        for description in ("rdd", "rdd:rate=1", "stdwi", "stdwi:rate=0.1"):
            net = Network(mf.models.mlp((8, 8, 1), 10, hidden=(48,) * 4), input_shape=(8, 8, 1))
            trainer = mf.Trainer(net, make(description).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.005, 0.9))
            trainer.fit(digits.train, epochs=12, batch_size=64)
            accuracy[description] = trainer.evaluate(digits.test)["accuracy"]
    assert accuracy["rdd"] > 0.9 > 0.5 > accuracy["rdd:rate=1"], accuracy
    assert accuracy["stdwi"] > 0.9 > 0.5 > accuracy["stdwi:rate=0.1"], accuracy
