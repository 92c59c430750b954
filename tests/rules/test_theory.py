"""The curves of `minifa.theory` beside simulations with minifa's networks and rules, and beside independent formulas.

The simulations are those of tutorials/results/exact_curves/exact_curves.py. Other exact results, of two linear layers
and of deep ones, are in test_known_answers.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import theory

SCRIPT = Path(__file__).parents[2] / "tutorials" / "results" / "exact_curves" / "exact_curves.py"
_spec = importlib.util.spec_from_file_location("exact_curves", SCRIPT)
simulated = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = simulated
_spec.loader.exec_module(simulated)

pytestmark = pytest.mark.usefixtures("float64")

SIZE = float(np.linalg.norm(simulated.TARGETS))  # of the targets (1, 0.5, -0.8)


# --- two wide linear layers -------------------------------------------------------------------------------------------

FLOWS = {
    "fa": theory.wide_linear_fa,
    "fa:correlation=0.5": lambda target, **options: theory.wide_linear_fa(target, 0.5, **options),
    "fa:correlation=1": lambda target, **options: theory.wide_linear_fa(target, 1.0, **options),
    "bp": theory.wide_linear_bp,
}


def distances(rule, gamma0, units, seed, until):
    """By quantity, the largest distance in time between simulation and curve."""
    curves = FLOWS[rule](SIZE, gamma0=gamma0, until=until)
    simulation = simulated.wide_linear(rule, gamma0, units, seed, until)
    return {name: np.abs(simulation[name] - getattr(curves, name)).max() for name in simulation}


@pytest.mark.parametrize(
    "rule, gamma0", [("fa", 3.0), ("fa:correlation=0.5", 1.0), ("fa:correlation=1", 3.0), ("bp", 3.0)]
)
def test_training_of_two_wide_linear_layers_follows_the_flow(rule, gamma0):
    # fluctuations of H and G are of the order sqrt(2 / N) = 0.022; a flow with H instead of 2 H is 0.8 off
    off = distances(rule, gamma0, units=4000, seed=0, until=3.0)
    assert off["t"] < 1e-9 and off["error"] < 0.03 and off["H"] < 0.07 and off["G"] < 0.07 and off["cosine"] < 0.02


@pytest.mark.long
@pytest.mark.parametrize("gamma0", [1.0, 3.0])
@pytest.mark.parametrize("rule", FLOWS)
def test_training_follows_the_flow_to_its_end(rule, gamma0):
    for seed in range(3):
        off = distances(rule, gamma0, units=4000, seed=seed, until=8.0)
        assert off["error"] < 0.03 and off["H"] < 0.07 and off["G"] < 0.07 and off["cosine"] < 0.02


@pytest.mark.long
@pytest.mark.parametrize("rule", FLOWS)
def test_the_distance_to_the_flow_falls_with_the_number_of_units(rule):
    # like 1 / sqrt(N): by a factor of 4 from 250 to 4,000 units
    mean = {
        units: np.mean([distances(rule, 3.0, units, seed, until=1.6)["error"] for seed in range(12)])
        for units in (250, 4000)
    }
    assert mean[4000] < 0.015 and 2.5 < mean[250] / mean[4000] < 6


@pytest.mark.parametrize("curves", [theory.wide_linear_fa(SIZE, 0.3, 2.0), theory.wide_linear_bp(SIZE, 2.0)])
def test_the_error_falls_at_the_rate_of_features_plus_overlap(curves):
    # error' = -(H + G) error, for both rules
    slope = np.gradient(np.log(curves.error[:200]), curves.t[:200])
    np.testing.assert_allclose(slope[1:-1], -(curves.H + curves.G)[1:199], atol=2e-3)


def test_correlated_feedback_aligns_more_and_moves_the_features_less():
    # at the end a^3 / 2 + (1 + rho) a = gamma0 |y|
    ends = []
    for rho in (-1.0, 0.0, 0.5, 1.0):
        curves = theory.wide_linear_fa(SIZE, rho, 3.0, until=12.0, dt=0.02)
        a = math.sqrt(curves.H[-1] - 1)
        assert a**3 / 2 + (1 + rho) * a == pytest.approx(3 * SIZE, rel=1e-9)
        assert (curves.G[0], curves.cosine[0]) == (rho, rho)
        ends.append((curves.G[-1], -curves.H[-1]))
    assert ends[1:] == sorted(ends[1:]) and ends[1][1] < ends[2][1] < ends[3][1]


@pytest.mark.parametrize(
    "flow, power, factor", [(theory.wide_linear_bp, 1, 1.0), (theory.wide_linear_fa, 2 / 3, 2 ** (2 / 3))]
)
def test_features_move_less_under_feedback_alignment_when_much_is_to_be_learned(flow, power, factor):
    # H - 1 -> gamma0 |y| under backpropagation, (2 gamma0 |y|)^(2/3) under feedback alignment
    ends = [flow(1.0, gamma0=gamma0, until=20 / gamma0**power, dt=0.02 / gamma0**power).H[-1] for gamma0 in (1e4, 1e6)]
    assert math.log((ends[1] - 1) / (ends[0] - 1), 100) == pytest.approx(power, abs=2e-3)
    assert ends[1] - 1 == pytest.approx(factor * 1e6**power, rel=2e-3)


# --- online learning of a teacher -------------------------------------------------------------------------------------


def test_the_means_over_gaussian_fields_are_those_of_a_sample():
    rng = np.random.default_rng(0)
    fields = rng.standard_normal((50_000, 3)) @ rng.normal(size=(3, 3))  # covariances that are not 1
    exact = np.cov(fields.T, bias=True) + np.outer(fields.mean(axis=0), fields.mean(axis=0))
    g = np.vectorize(math.erf)(fields / math.sqrt(2))
    slope = math.sqrt(2 / math.pi) * np.exp(-fields * fields / 2)
    pairs = {"i2": "na,nb->ab", "i3": "na,nb,nc->abc", "i4": "na,nb,nc,nd->abcd"}
    for (name, indices), parts in zip(pairs.items(), ((g, g), (slope, fields, g), (slope, slope, g, g)), strict=True):
        sampled = np.einsum(indices, *parts, optimize=True) / len(fields)
        np.testing.assert_allclose(getattr(theory, name)(exact), sampled, atol=0.02, err_msg=name)


def test_the_test_error_is_that_of_a_large_sample():
    rng, *networks, _ = simulated.draws(50, seed=0, size=0.7)
    W1, W2, teacher_W1, teacher_W2 = networks
    x, g = rng.standard_normal((20_000, 50)) / math.sqrt(50), np.vectorize(math.erf)
    outputs = [g(x @ one / math.sqrt(2)) @ two for one, two in ((W1, W2), (teacher_W1, teacher_W2))]
    halves = (outputs[0] - outputs[1]) ** 2 / 2
    assert theory.online_error(*networks) == pytest.approx(halves.mean(), abs=4 * halves.std() / math.sqrt(20_000))


@pytest.mark.parametrize("rule", ["fa", "bp"])
def test_online_learning_follows_its_equations(rule):
    # at this rate the term in lr^2 matters: with lr in its place the error is off by 0.06
    simulation = simulated.online(rule, inputs=100, seed=1, until=6.0, lr=5.0, size=0.5)
    _, *networks, B = simulated.draws(100, seed=1, size=0.5)
    curves = theory.online_erf(*networks, B=B if rule == "fa" else None, lr=5.0, until=6.0, dt=0.2)
    np.testing.assert_allclose(curves.t, simulation["t"], atol=1e-12)
    np.testing.assert_allclose(curves.error, simulation["error"], atol=0.02)
    np.testing.assert_allclose(curves.cosine(B), simulation["cosine"], atol=0.2)
    assert simulation["error"][-1] < 0.1 * simulation["error"][0]


def test_the_step_of_the_integration_and_the_rule_s_kind_do_not_matter():
    _, *networks, B = simulated.draws(100, seed=0)
    fine, coarse = (theory.online_erf(*networks, B=B, until=4.0, dt=dt) for dt in (0.1, 0.2))
    np.testing.assert_allclose(fine.error[::2], coarse.error, atol=1e-9)
    fa, dfa = (simulated.online(rule, inputs=50, seed=0, until=2.0) for rule in ("fa", "dfa"))
    np.testing.assert_allclose(fa["error"], dfa["error"], rtol=1e-12)  # one hidden layer


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_online_learning_from_small_weights_aligns_first_and_learns_afterwards(seed):
    simulation = simulated.online("dfa", inputs=500, seed=seed)
    _, *networks, B = simulated.draws(500, seed)
    curves = theory.online_erf(*networks, B=B, dt=0.05)
    np.testing.assert_allclose(curves.error[::4], simulation["error"], atol=0.0015)
    np.testing.assert_allclose(curves.cosine(B)[::4], simulation["cosine"], atol=0.03)
    if seed == 0:
        at = [round(t / 0.2) for t in (0, 5, 10, 20, 60)]
        np.testing.assert_allclose(simulation["error"][at], [0.1635, 0.1554, 0.1258, 0.0566, 0.0074], atol=6e-5)
        np.testing.assert_allclose(simulation["cosine"][at], [0.374, 0.894, 0.992, 1.000, 0.996], atol=6e-4)
    # aligned when more than 90 % of the error is left; backpropagation is still on its plateau at the end
    aligned = int(np.argmax(simulation["cosine"] > 0.9))
    assert aligned > 0 and simulation["error"][aligned] > 0.9 * simulation["error"][0] > 9 * simulation["error"][-1]
    assert theory.online_erf(*networks).error[-1] > 0.85 * simulation["error"][0]


# --- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, feedback, known", [(0.1, 1.0, 5.484), (1.0, 1.0, 1.181), (2.0, 0.3, 1.661)])
def test_half_of_a_mode_is_learned_after_the_half_time(target, feedback, known):
    # t = 2 I (2 B T)^(-2/3), I = 0.93771; a step of 0.01 shifts it by less than 0.001
    time = theory.fa_learning_time(target, feedback)
    assert time == pytest.approx(known, abs=6e-4)
    assert time == pytest.approx(2 * 0.93771 * (2 * feedback * target) ** (-2 / 3), rel=1e-5)
    assert simulated.half_time(simulated.mode("fa", target, feedback, until=1.1 * time)) == pytest.approx(
        time, abs=1.5e-3
    )


def test_the_learning_time_is_the_integral_of_the_flow():
    # A' = B T - A^3 / 2 by the midpoint rule
    u = (np.arange(100_000) + 0.5) / 100_000
    for fraction in (0.01, 0.5, 0.99):
        end = fraction ** (1 / 3)
        integral = (end / (1 - (end * u) ** 3)).mean()
        expected = 2 * (2 * 0.7 * 0.3) ** (-2 / 3) * integral
        assert theory.fa_learning_time(0.7, -0.3, fraction) == pytest.approx(expected, rel=1e-7)
    assert theory.fa_learning_time(1.0, 1.0, 0.0) == pytest.approx(0, abs=1e-15)


def test_under_feedback_alignment_a_small_mode_with_a_large_B_comes_first():
    # the order follows B T: 0.2 * 20 = 4 before 1 * 1 before 1 * 0.1; backpropagation has no such order
    modes = [(0.2, 20.0), (1.0, 1.0), (1.0, 0.1)]
    times = [simulated.half_time(simulated.mode("fa", *mode, until=6.0, dt=0.02)) for mode in modes]
    np.testing.assert_allclose(times, [theory.fa_learning_time(*mode) for mode in modes], atol=6e-3)
    assert times == sorted(times)


def test_backpropagation_has_a_plateau_that_grows_as_the_start_shrinks_and_feedback_alignment_has_none():
    # half-time log(T / start - 1) / (2 T)
    for start in (1e-2, 1e-4):
        time = theory.bp_learning_time(1.0, start)
        simulation = simulated.mode("bp", 1.0, start=start, until=1.1 * time)
        assert simulated.half_time(simulation) == pytest.approx(time, rel=5e-3)
        simulation = simulated.mode("fa", 1.0, start=start, until=1.5)
        assert simulated.half_time(simulation) < theory.fa_learning_time(1.0, 1.0)
    plateau = theory.bp_learning_time(1.0, 1e-4) - theory.bp_learning_time(1.0, 1e-2)
    assert plateau == pytest.approx(math.log(101) / 2)


# --- the kernel of the first step -------------------------------------------------------------------------------------


def layer_kernels(cosine, hidden):
    """Of a deep ReLU net with He's initialisation, for inputs of this cosine: activities Phi of the layers 0 to
    ``hidden``, and the errors G at the outputs of the layers after each of them (Cho & Saul's arc-cosine kernels)."""
    Phi, slopes = [cosine], []
    for _ in range(hidden):
        angle = math.acos(Phi[-1])
        slopes.append(1 - angle / math.pi)
        Phi.append((math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi)
    return Phi, [math.prod(slopes[layer:]) for layer in range(hidden + 1)]


@pytest.mark.parametrize("rule, rho", [("bp", 1.0), ("fa:correlation=0.6", 0.6), ("fa", 0.0), ("dfa", 0.0)])
def test_the_first_step_of_a_wide_network_has_the_kernel_of_its_rule(rule, rho):
    # df = -lr K e with K = sum_l rho^(L-l) G^(l+1) Phi^l; without correlation only the read-out's Phi^L
    units, hidden, cosine, lr = 300, 2, 0.4, 1e-6
    rng, measured = np.random.default_rng(0), []
    a, b = np.linalg.qr(rng.standard_normal((units, 2)))[0].T
    x = math.sqrt(units) * np.stack([a, cosine * a + math.sqrt(1 - cosine**2) * b])
    for seed in range(12):
        layers = [part for _ in range(hidden) for part in (mf.Linear(units, units, bias=False), mf.ReLU())]
        net = mf.Network([*layers, mf.Linear(units, 1, bias=False, init="he_normal")], seed)
        attached, before = mf.rules.make(rule, seed=seed).attach(net), net.forward(x)
        attached.gradients(net, x, before - np.array([[1.0], [0.0]]), mf.HalfSquaredError())  # e = (1, 0)
        mf.SGD(lr * len(x)).step(net, attached)
        measured.append((before - net.forward(x))[:, 0] / lr / units)
    expected = []
    for one in (1.0, cosine):
        Phi, G = layer_kernels(one, hidden)
        expected.append(sum(rho ** (hidden - layer) * G[layer] * Phi[layer] for layer in range(hidden + 1)))
    np.testing.assert_allclose(np.mean(measured, axis=0), expected, rtol=0.1)


# --- invalid input ----------------------------------------------------------------------------------------------------

ONE = np.ones((3, 1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.wide_linear_fa(1.0, correlation=1.5), r"correlation must lie in \[-1, 1\], got 1.5"),
        (lambda: theory.wide_linear_bp(1.0, until=1.0, dt=1e-9), "until / dt must be at most 1,000,000 steps"),
        (lambda: theory.wide_linear_bp(1.0, gamma0=1e4), "steps of dt=0.01 is unstable: choose a smaller dt"),
        (lambda: theory.online_erf(ONE, [1.0, 2.0], ONE, [1.0]), r"W2 must be an array of shape 1, got \(2,\)"),
        (lambda: theory.online_erf(ONE, [1.0], ONE[:2], [1.0]), "teacher_W1 must be an array of shape 3 x any size"),
        (lambda: theory.online_erf(ONE, [1.0], ONE, [1.0], B=[math.nan]), "B must have finite entries"),
        (lambda: theory.online_error(ONE, ["a"], ONE, [1.0]), "W2 must be an array of real numbers, got list of dtype"),
        (lambda: theory.fa_learning_time(1.0, 0.0), "target and feedback must be finite numbers other than 0"),
        (lambda: theory.bp_learning_time(1.0, 2.0), "start must be below the target of 1, got 2.0"),
        (lambda: theory.bp_learning_time(1.0, 0.5, 0.2), "fraction must be at least 0.5, the start's, and below 1"),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_weights_on_the_device_are_accepted(engine):
    W1, W2 = mf.asarray([[3.0], [4.0]]), mf.asarray([[0.5]])
    assert theory.online_error(W1, W2, W1, W2) == 0
    curves = theory.online_erf(W1, W2, W1, W2, B=W2, until=1.0)
    assert curves.cosine(W2)[-1] == pytest.approx(1) and type(curves.error) is np.ndarray


def test_the_pictures_and_distances_are_committed():
    kept = {path.name for path in SCRIPT.parent.iterdir() if path.suffix in (".png", ".txt")}
    assert kept == {"flow.png", "online.png", "modes.png", "distances.txt"}
    rows = [line.rsplit(": ", 1) for line in (SCRIPT.parent / "distances.txt").read_text("utf-8").splitlines()[1:]]
    assert len(rows) == 20 and max(float(distance) for _, distance in rows) < 0.05  # the guide's number
