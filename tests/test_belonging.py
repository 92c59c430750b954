"""State belongs to what it was made for: what an optimizer, a rule or a trainer remembers of one network is never
another's, and a number is the same number whichever type it comes in."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits, batch
from test_optim import MAKERS

import minifa as mf
from minifa import Linear, Network, Tanh, checkpoints

CE = mf.SoftmaxCrossEntropy()


def mlp(seed=0, hidden=5, scale=1.0):
    net = Network([Linear(4, hidden), Tanh(), Linear(hidden, 3)], seed=seed)
    net["linear1"].W = scale * net["linear1"].W
    return net


def steps(net, rule, optimizer, count=3, start=0):
    for seed in range(start, start + count):
        x, y = batch(shape=(4,), seed=seed)
        rule.gradients(net, x, y, CE)
        optimizer.step(net, rule)


def all_of(net, rule, optimizer):
    return {**net.state(), **{f"rule/{key}": a for key, a in rule.state().items()}, **optimizer.state()}


# --- an optimizer that meets another network --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["bp", "kolen_pollack", "product"])
@pytest.mark.parametrize("name", MAKERS)
def test_an_optimizer_begins_anew_with_another_network(name, rule, engine):
    """The second fold of a cross-validation is as one with an optimizer of its own, to the last bit."""
    used, fresh = MAKERS[name](), MAKERS[name]()
    first = mlp(seed=1, scale=10.0)
    steps(first, mf.rules.make(rule).attach(first), used)
    found = []
    for optimizer in (used, fresh):
        net = mlp()
        one = mf.rules.make(rule).attach(net)
        steps(net, one, optimizer)
        found.append(all_of(net, one, optimizer))
    assert_same_bits(*found)


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimizer_meets_a_network_of_another_width(name, engine):
    optimizer = MAKERS[name]()
    for hidden in (8, 5):
        net = mlp(hidden=hidden)
        steps(net, mf.rules.BP().attach(net), optimizer)
        assert {array.shape for key, array in optimizer.state().items() if "linear1.W" in key} <= {(4, hidden), ()}


def test_norms_are_held_of_the_network_at_hand(float64):
    """Also where they are put back by hand: the norm that this network had, not that of another."""
    optimizer = mf.SGD(0.01, constrain_weights=True, freeze_signs=True)
    steps(large := mlp(scale=10.0), mf.rules.BP().attach(large), optimizer)
    net = mlp(seed=1)
    before = net.state()
    optimizer.constrain(net)
    for key, array in net.state().items():
        np.testing.assert_allclose(array, before[key], rtol=1e-14)


@pytest.mark.parametrize("rule", ["kolen_pollack", "product", "direct_kolen_pollack"])
def test_the_momentum_of_learned_feedback_belongs_to_the_feedback(rule, engine):
    """Another rule on the same network, or the same rule attached anew: the weights go on, the feedback begins."""
    for again in (False, True):
        net, optimizer = mlp(), mf.SGD(0.1, momentum=0.9)
        one = mf.rules.make(rule).attach(net)
        steps(net, one, optimizer)
        one = one.attach(net) if again else mf.rules.make(rule, seed=1).attach(net)
        steps(net, one, optimizer, 1, start=3)
        counts = {key: int(count) for key, count in optimizer.state().items() if key.startswith("count/")}
        assert {count for key, count in counts.items() if "feedback" in key} == {1}
        assert {count for key, count in counts.items() if "feedback" not in key} == {4}
        for name, (_, gradient) in one.parameters().items():  # v = 0.9 * 0 + g
            velocity = optimizer.state()[f"velocity/feedback/{name}"]
            np.testing.assert_array_equal(velocity, mf.to_host(gradient))


@pytest.mark.usefixtures("engine")
def test_a_step_with_the_rule_of_another_network_is_refused():
    (net, rule), (other, theirs) = ((one := mlp(seed), mf.rules.KolenPollack().attach(one)) for seed in (0, 1))
    rule.gradients(net, *batch(shape=(4,)), CE)
    before = net.state()
    for wrong in (theirs, mf.rules.KolenPollack()):
        with pytest.raises(ValueError, match="the rule 'kolen_pollack' is not attached to this network"):
            mf.SGD(0.1).step(net, wrong)
    assert_same_bits(before, net.state())
    assert net.step == 0


@pytest.mark.usefixtures("engine")
def test_a_step_that_leaves_learning_feedback_out_is_refused():
    """Kolen-Pollack stepped without its rule would go on with the B that it was drawn with."""
    net = mlp()
    for name in ("kolen_pollack", "stale", "weight_mirror"):
        rule = mf.rules.make(name).attach(net)
        rule.gradients(net, *batch(shape=(4,)), CE)
        with pytest.raises(ValueError, match=rf"rule '{name}'.* optimizer.step\(net, rule\)"):
            mf.SGD(0.1).step(net)
        with net.preserved(), rule.preserved():
            mf.rules.BP().attach(net).gradients(net, *batch(shape=(4,)), CE)
        with pytest.raises(ValueError, match=f"rule '{name}'"):
            mf.SGD(0.1).step(net)
        mf.SGD(0.1).step(net, rule)
    for name in ("bp", "fa", "usf", "dfa"):
        mf.rules.make(name).attach(net).gradients(net, *batch(shape=(4,)), CE)
        mf.SGD(0.1).step(net)


# --- trainers ---------------------------------------------------------------------------------------------------------


def trainer(optimizer, seed=0, **options):
    data = mf.data.load("xor")
    net = Network([Linear(2, 6), Tanh(), Linear(6, 2)], seed=seed)
    return mf.Trainer(net, mf.rules.make("kolen_pollack").attach(net), CE, optimizer, **options), data.train


def test_nothing_of_another_network_is_kept_in_a_checkpoint(tmp_path):
    """One is written before the first update: what the optimizer remembers then is nothing."""
    optimizer = mf.Adam(0.01)
    first, train = trainer(optimizer)
    first.fit(train, 2)
    second, _ = trainer(optimizer, seed=1)
    checkpoints.save(tmp_path / "new.ckpt", second)
    assert checkpoints.read(tmp_path / "new.ckpt").part("optimizer") == {}
    second.callbacks.append(checkpoints.SaveCheckpoints(tmp_path))
    first.fit(train, 1)
    second.fit(train, 1)
    counts = {key: int(a) for key, a in optimizer.state().items() if key.startswith("count/")}
    assert set(counts.values()) == {1}


def test_a_run_that_diverges_is_made_again_without_the_momentum_of_another():
    """What is looked for is found where an optimizer of its own would have it."""
    x = np.random.default_rng(0).standard_normal((50, 4)).astype("f4")
    train, found = mf.data.validate(x, x[:, :2]), []

    def fit(optimizer, lr, seed=0):
        net = Network([Linear(4, 6), Tanh(), Linear(6, 2)], seed=seed)
        optimizer.lr = lr
        one = mf.Trainer(net, mf.rules.BP().attach(net), mf.HalfSquaredError(), optimizer)
        one.fit(train, 9, batch_size=10)
        return one.divergence, net.state()

    used = mf.SGD(momentum=0.9)
    fit(used, 0.1, seed=1)
    for optimizer in (used, mf.SGD(momentum=0.9)):
        where, state = fit(optimizer, 4.0)
        assert where is not None and where.update > 3
        found.append((where, {key: array.tobytes() for key, array in state.items()}))
    assert found[0] == found[1]


def test_a_rule_that_refuses_a_network_stays_with_its_own():
    """Half of an attachment would train the network that was refused."""
    net = mlp()
    rule = mf.rules.DFA().attach(net)
    before, B = rule.state(), dict(rule.B)
    unreached = Network([Linear(4, 5), mf.BatchNorm(5), Linear(5, 3)])
    with pytest.raises(ValueError, match="no error would reach 'batchnorm1'"):
        rule.attach(unreached)
    assert rule.net is net and rule.state().keys() == before.keys()
    assert all(rule.B[key] is B[key] for key in B)
    rule.gradients(net, *batch(shape=(4,)), CE)
    with pytest.raises(RuntimeError, match="not attached"):
        rule.gradients(unreached, *batch(shape=(4,)), CE)
