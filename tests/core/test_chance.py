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


@pytest.mark.parametrize("equal_W", [True, False])
@pytest.mark.parametrize("equal_B", [True, False])
def test_equal_kernels_scatter_as_one_kernel(equal_W, equal_B):
    """16 positions with kernels of 54 entries: the angle of equal kernels is that of two kernels."""

    def drawn(seed, equal):
        return mf.LocallyConnected2d(2, 3, 3, input_size=6, equal_start=equal).init.draw(
            np.random.default_rng(seed), (4, 4, 3, 3, 2, 3), 18, 27
        )

    W = drawn(0, equal_W)
    draws = [drawn(1 + seed, equal_B) for seed in range(400)]
    sd = statistics.stdev(float(metrics.angle(mf.asarray(W), mf.asarray(B))) for B in draws)
    entries = chance.unrelated_entries(W, draws[0])
    assert entries == (54 if equal_W and equal_B else pytest.approx(864, rel=0.25))
    assert sd == pytest.approx(chance.angle_sd(entries), rel=0.12)


def test_other_draws_of_equal_kernels_are_equal_kernels():
    layers = [mf.LocallyConnected2d(2, 2, 2, input_size=n, equal_start=True) for n in (5, 4)]
    net, (x, y) = Network([*layers, mf.Flatten(), Linear(18, 3)], input_shape=(5, 5, 2)), batch(16, (5, 5, 2))
    bands = chance.error_bands(net, mf.rules.FA().attach(net), x, y, CE)
    B = mf.rules.FA().attach(net).B["locallyconnected2"]
    other = chance._shuffled(B, 0, "locallyconnected2", 0)
    assert (other == other[:1, :1]).all() and sorted(abs(other[0, 0]).ravel()) == sorted(abs(B[0, 0]).ravel())
    drawn = []
    for seed in range(40):
        angles = metrics.alignment(net, mf.rules.FA(seed=1000 + seed).attach(net), x, y, CE)
        drawn.append(angles["locallyconnected1"]["true_angle"])
    assert bands["locallyconnected1"].sd == pytest.approx(statistics.stdev(drawn), rel=0.6)


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
