"""fa:angle=a against its formula: the angle is exact, 0 is W, 180 is -W, and without an angle nothing changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import checkpoints, rules
from minifa.layers import Conv2d, Linear, Tanh
from minifa.rules import angled_feedback
from minifa.testing.examples import small_convnet


def net_of(seed=0):
    return mf.Network([Linear(9, 12), Tanh(), Linear(12, 7), Tanh(), Linear(7, 3)], seed=seed)


def batch(n=6):
    rng = np.random.default_rng(3)
    return mf.asarray(rng.normal(size=(n, 9))), rng.integers(0, 3, n)


@pytest.mark.parametrize("degrees", [0, 0.5, 30, 90, 137.5, 180])
@pytest.mark.parametrize("seed", [0, 1])
def test_B_is_at_the_angle_and_has_the_norm_of_W(degrees, seed):
    net = small_convnet()
    rule = rules.make(f"fa:angle={degrees}", seed=seed).attach(net)
    assert list(rule.B) == [layer.name for layer in rule.layers_with_feedback(net)] and len(rule.B) > 1
    for name, B in rule.B.items():
        W = net[name].W.astype("float64")
        measured = float(mf.metrics.angle(W, B.astype("float64")))
        assert measured == pytest.approx(degrees, abs=1e-5)
        assert float(np.linalg.norm(B) / np.linalg.norm(W)) == pytest.approx(1, rel=1e-6)
        assert rule.start_angle(net[name]) == degrees


def test_B_is_the_formula_of_the_matrix_that_is_drawn_without_an_angle(float64):
    net, degrees = net_of(), 40
    drawn = {name: B.copy() for name, B in rules.FA(seed=2).attach(net).B.items()}
    B = rules.FA(seed=2, angle=degrees).attach(net).B
    for name, M in drawn.items():
        W = net[name].W
        rest = M - (M * W).sum() / (W * W).sum() * W
        N = rest * np.sqrt((W * W).sum() / (rest * rest).sum())
        assert abs((N * W).sum()) < 1e-12
        expected = math.cos(math.radians(degrees)) * W + math.sin(math.radians(degrees)) * N
        np.testing.assert_allclose(B[name], expected, rtol=1e-12, atol=1e-14)


def test_0_degrees_is_W_and_180_degrees_is_minus_W():
    net = net_of()
    for degrees, sign in ((0, 1), (180, -1)):
        B = rules.FA(angle=degrees).attach(net).B
        assert_same_bits(dict(B), {name: sign * net[name].W for name in B})


def test_seeds_draw_different_matrices_and_layers_their_own():
    one, other = (rules.FA(seed=seed, angle=90).attach(net_of()).B for seed in (0, 1))
    for name in one:
        angle = float(mf.metrics.angle(one[name], other[name]))
        assert 60 < angle < 120, name


def test_the_first_step_at_0_degrees_is_backpropagation_s_and_the_second_is_not():
    x, y = batch()
    steps = {}
    for name in ("bp", "fa:angle=0"):
        net, optimizer = net_of(), mf.SGD(lr=0.5)
        rule = rules.make(name).attach(net)
        steps[name] = []
        for _ in range(2):
            rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
            optimizer.step(net, rule)
            steps[name].append(net.state())
    assert_same_bits(*(states[0] for states in steps.values()))
    assert any((steps["bp"][1][key] != steps["fa:angle=0"][1][key]).any() for key in steps["bp"][1])


def test_without_an_angle_B_has_the_bits_that_it_always_had():
    """Drawn by hand as in the base class."""
    net = net_of()
    rule = rules.make("fa", seed=5).attach(net)
    assert rule.angle is None
    for name in ("linear2", "linear3"):
        layer, rng = net[name], mf.rng.generator(5, "feedback", name)
        drawn = layer.init.draw(rng, layer.weight_shape, *layer.fans).astype(layer.W.dtype)
        assert_same_bits({name: rule.B[name]}, {name: drawn})


def test_an_angle_of_a_matrix_that_has_none_is_refused():
    rule = rules.FA(angle=30)
    with pytest.raises(ValueError, match="no B has an angle to the W of Linear 'linear2', which is zero: leave out"):
        rule.attach(mf.Network([Linear(3, 2), Tanh(), Linear(2, 2, init="zero")]))
    with pytest.raises(ValueError, match="'linear2', which has a single direction"):
        rule.attach(mf.Network([Linear(3, 1), Tanh(), Linear(1, 1)]))


def test_normalise_keeps_the_angle_and_changes_the_norm():
    net = net_of()
    rule = rules.FA(angle=25, normalise="strict").attach(net)
    start = net["linear2"].W.copy()
    net["linear2"].W = 3 * start
    B = rule.feedback(net["linear2"])
    assert float(mf.metrics.angle(start, B)) == pytest.approx(25, abs=1e-4)
    assert float(np.linalg.norm(B)) == pytest.approx(3 * float(np.linalg.norm(start)), rel=1e-5)


def test_a_checkpoint_belongs_to_its_angle(tmp_path):
    def trainer(description):
        net = net_of()
        return mf.Trainer(net, rules.make(description).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))

    checkpoints.save(tmp_path / "x.ckpt", trainer("fa:angle=30"))
    kept = checkpoints.read(tmp_path / "x.ckpt")
    resumed = trainer("fa:angle=30")
    resumed.rule.set_feedback("linear2", np.zeros((12, 7)))
    checkpoints.restore(kept, resumed)
    assert_same_bits(dict(resumed.rule.B), dict(trainer("fa:angle=30").rule.B))
    for other in ("fa", "fa:angle=31"):
        with pytest.raises(ValueError, match="rule has angle 30.0, but this training has"):
            checkpoints.restore(kept, trainer(other))
    checkpoints.save(tmp_path / "none.ckpt", trainer("fa"))  # as it was written before there was an angle
    assert "angle" not in checkpoints.read(tmp_path / "none.ckpt").components["rule"]


def test_a_trace_shows_the_equation():
    net = net_of()
    x, y = batch()
    trace = mf.trace(net, rules.FA(angle=30).attach(net), x, y, mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))
    moment = next(moment for moment in trace if moment.kind == "feedback")
    assert moment.equation == "B = cos(angle) * W_0 + sin(angle) * N" and moment.terms["angle"] == 30
    assert moment.angles["W and B"] == pytest.approx(30, abs=1e-4)
    both = rules.FA(angle=30, normalise="init").attach(net).feedback_equation(net["linear2"])[0]
    assert both == "M = cos(angle) * W_0 + sin(angle) * N\nB = M * norm(W_0) / norm(M)"


def test_the_orthogonal_part_of_a_kernel(float64):
    layer = Conv2d(3, 4, 3)
    rng = np.random.default_rng(0)
    layer.W = mf.asarray(rng.normal(size=layer.weight_shape))
    N = angled_feedback.orthogonal_part(layer, mf.asarray(rng.normal(size=layer.weight_shape)))
    assert abs((N * layer.W).sum()) < 1e-12 * (N * N).sum()
    assert np.linalg.norm(N) == pytest.approx(np.linalg.norm(layer.W), rel=1e-12)
