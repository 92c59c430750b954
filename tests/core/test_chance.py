"""The angles that chance gives: by the number of entries for W and B, by other draws of B for errors."""

import copy
import statistics

import numpy as np
import pytest

import minifa as mf
from minifa import Linear, Network, Tanh, chance, metrics
from minifa.testing.examples import batch, network_for

CE = mf.SoftmaxCrossEntropy()


@pytest.mark.parametrize("entries", [50, 2000])
def test_the_angle_of_unrelated_arrays_has_the_sd_of_the_formula(entries):
    rng = np.random.default_rng(0)
    angles = metrics.sample_angles(*(mf.asarray(rng.normal(size=(2000, entries))) for _ in range(2)))
    assert float(np.std(mf.to_host(angles))) == pytest.approx(chance.angle_sd(entries), rel=0.06)
    assert float(np.mean(mf.to_host(angles))) == pytest.approx(90, abs=4 * chance.angle_sd(entries) / 2000**0.5)


def deep_net():
    return Network([Linear(6, 40), Tanh(), Linear(40, 30), Tanh(), Linear(30, 4)])


@pytest.mark.parametrize("rule", ["fa", "bp", "usf", "dfa", "dense"])
def test_the_bands_are_those_of_rules_with_other_seeds(rule):
    """Also for rules whose B depends on W: their other draws have no relation to W, as those of feedback alignment."""
    net, (x, y) = deep_net(), batch(32, (6,), classes=4)
    bands = chance.error_bands(net, mf.rules.make(rule).attach(net), x, y, CE)
    reference = mf.rules.make(rule if rule in ("dfa", "dense") else "fa")
    drawn = []
    for seed in range(40):
        other = copy.copy(reference)
        other.seed = 1000 + seed
        drawn.append(metrics.alignment(net, other.attach(net), x, y, CE))
    for name in ("linear1", "linear2"):
        angles = [one[name]["true_angle"] for one in drawn]
        assert bands[name].sd == pytest.approx(statistics.stdev(angles), rel=0.6)  # 4 sd of an sd of 40 draws: 0.45
        assert bands[name].mean == pytest.approx(statistics.fmean(angles), abs=bands[name].sd)
    assert "linear3" not in bands  # at the output layer no B takes part
    assert bands == chance.error_bands(net, mf.rules.make(rule).attach(net), x, y, CE)  # the same bits


@pytest.mark.parametrize("rule", ["fa:conv=dense", "usf", "dfa:shared=true", "direct_kolen_pollack", "drtp", "dtp"])
def test_the_other_draws_leave_no_side_effects(rule, engine):
    net = network_for(rule)
    rule = mf.rules.make(rule).attach(net)
    x, y = batch(4, net.input_shape)
    rule.gradients(net, x, y, CE)
    before = net.state(), rule.state(), {name: mf.to_host(B).copy() for name, B in rule.B.items()}, vars(rule).keys()
    assert chance.error_bands(net, rule, x, y, CE, draws=2)
    after = net.state(), rule.state(), {name: mf.to_host(B) for name, B in rule.B.items()}, vars(rule).keys()
    for one, other in zip(before[:3], after[:3], strict=True):
        np.testing.assert_equal(one, other)
    assert before[3] == after[3] and rule.error is not None


@pytest.mark.parametrize("rule", ["shallow", "pepita", "node_perturbation"])
def test_rules_without_feedback_or_backward_pass_have_no_bands(rule):
    net = deep_net()
    x, y = batch(4, (6,), classes=4)
    assert chance.error_bands(net, mf.rules.make(rule).attach(net), x, y, CE) == {}


def test_wrong_arguments_are_refused():
    net = deep_net()
    x, y = batch(4, (6,), classes=4)
    with pytest.raises(ValueError, match="the number of draws must be at least 2, got 1"):
        chance.error_bands(net, mf.rules.FA().attach(net), x, y, CE, draws=1)
    with pytest.raises(ValueError, match="the number of entries must be at least 1, got 0"):
        chance.angle_sd(0)
