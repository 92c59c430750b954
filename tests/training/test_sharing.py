"""Averages of untied kernels and sleep, against their closed forms (Pogodin et al. 2021)."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints
from minifa.sharing import groups_of, signal_to_noise, sleep
from minifa.testing.examples import batch

CE = mf.SoftmaxCrossEntropy()
SHAPE = (4, 4, 2)


def net_of(untied):
    """Two convolutions, or the same layers untied, of the same names and so with the same draws."""
    options = {"input_size": 4, "equal_start": True} if untied else {}
    layer = mf.LocallyConnected2d if untied else mf.Conv2d
    layers = [
        *(layer(2, 3, 3, padding=1, name="a", **options), mf.Tanh()),
        *(layer(3, 2, 2, name="b", **options), mf.Tanh(), mf.Flatten(), mf.Linear(18, 3)),
    ]
    return mf.Network(layers, seed=1, input_shape=SHAPE)


def difference_from_a_convolution(rule, make_optimizer, updates):
    """The largest difference between a kernel of untied layers with full sharing and gradient times P and that of the
    convolutions with the same data and optimizer."""
    (conv, untied), (x, y) = (net_of(False), net_of(True)), batch(shape=SHAPE)
    for net, options in ((conv, {}), (untied, {"share_weights": mf.ShareWeights()})):
        attached, optimizer = mf.rules.make(rule, seed=2).attach(net), make_optimizer(**options)
        for _ in range(updates):
            attached.gradients(net, x, y, CE)
            if net is untied:
                for name in "ab":
                    net[name].grads["W"] *= len(net[name].matrices(net[name].W))
            optimizer.step(net, attached)
    return max(abs(untied[name].W - conv[name].W).max() for name in "ab")


@pytest.mark.parametrize("rule", ["bp", "fa", "kolen_pollack"])
def test_full_sharing_after_every_update_is_a_convolution_under_sgd(rule, float64):
    """50 updates: rounding only (measured: 1e-15). With equal_start B has equal kernels, too, and Kolen-Pollack's is
    averaged with W."""

    def sgd(**options):
        return mf.SGD(lr=0.05, momentum=0.9, weight_decay=0.01, **options)

    assert difference_from_a_convolution(rule, sgd, updates=50) < 2e-14


def test_full_sharing_is_no_convolution_under_adam(float64):
    assert difference_from_a_convolution("bp", lambda **options: mf.Adam(lr=0.01, **options), updates=10) > 0.05


@pytest.mark.parametrize("group", ["all", "kernel"])
def test_the_difference_of_weights_and_paired_feedback_is_averaged_and_decays(group, float64):
    """Kolen-Pollack: an update multiplies W - B by 1 - lr * weight_decay, also where B was averaged with W."""
    layers = [mf.Conv2d(2, 2, 1), mf.Tanh(), mf.LocallyConnected2d(2, 3, 2, input_size=4), mf.Flatten()]
    net, (x, y) = mf.Network([*layers, mf.Linear(27, 3)], input_shape=SHAPE), batch(shape=SHAPE)
    rule, layer = mf.rules.KolenPollack(seed=1).attach(net), net["locallyconnected1"]
    optimizer = mf.SGD(lr=0.1, weight_decay=0.5, share_weights=f"every=2,group={group}")
    expected = layer.W - rule.B[layer.name]
    for step in range(1, 7):
        rule.gradients(net, x, y, CE)
        optimizer.step(net, rule)
        expected *= 0.95
        for members in groups_of(layer, expected, group) if step % 2 == 0 else ():
            members[...] = members.mean(axis=(0, 1))
        np.testing.assert_allclose(layer.W - rule.B[layer.name], expected, atol=1e-14)
    assert {len(np.unique(members[..., 0, 0, 0, 0])) for members in groups_of(layer, layer.W, group)} == {1}


def test_only_feedback_that_receives_the_updates_is_averaged(float64):
    net, (x, y) = net_of(True), batch(shape=SHAPE)
    for rule in (mf.rules.FA(init="he_normal").attach(net), mf.rules.WeightMirror().attach(net)):
        rule.gradients(net, x, y, CE)
        mf.SGD(lr=0.1, share_weights="group=all").step(net, rule)
        assert np.ptp(net["b"].W, axis=(0, 1)).max() == 0 < np.ptp(rule.B["b"], axis=(0, 1)).min()


def test_feedback_of_bursts_is_averaged_only_if_it_is_learned(float64):
    for learned in (False, True):
        layers = [mf.LocallyConnected2d(1, 2, 2, input_size=4), mf.Sigmoid()]
        layers += [mf.LocallyConnected2d(2, 2, 2, input_size=3), mf.Sigmoid(), mf.Flatten(), mf.Linear(8, 3)]
        net, (x, y) = mf.Network(layers, input_shape=(4, 4, 1)), batch(shape=(4, 4, 1))
        rule = mf.rules.Burst(learned=learned).attach(net)
        rule.gradients(net, x, y, CE)
        mf.SGD(lr=0.1, share_weights="every=1").step(net, rule)
        assert (np.ptp(rule.B["locallyconnected2"], axis=(0, 1)).max() == 0) == learned


def test_sharing_that_is_set_after_an_update_is_checked_too(engine):
    net, optimizer = mf.Network([mf.Linear(2, 1)]), mf.SGD(lr=0.1)
    optimizer.step(net)
    optimizer.share_weights = "every=2"
    with pytest.raises(ValueError, match="needs locally connected layers"):
        optimizer.step(net)
    assert net.step == 1


@pytest.mark.parametrize("kernel, stride, groups, members", [(3, 1, 9, 4), (3, 2, 4, 2), (1, 1, 1, 36), (7, 1, 4, 1)])
def test_the_patches_of_a_group_do_not_overlap(kernel, stride, groups, members):
    """Positions congruent modulo ceil(kernel / stride): with stride 1 the published groups, as many as a kernel has
    elements, or as there are positions."""
    layer = mf.LocallyConnected2d(1, 1, kernel, stride=stride, padding=kernel // 2 if kernel < 7 else 1, input_size=6)
    numbered = np.arange(layer.W.size).reshape(layer.W.shape)
    found = groups_of(layer, numbered, "kernel")
    assert len(found) == groups and max(one.shape[0] * one.shape[1] for one in found) >= members
    assert sorted(number for one in found for number in one.ravel()) == list(range(layer.W.size))
    layer.forward(np.zeros((1, 6, 6, 1), "f4"), mf.Pass(training=True))
    for i in range(groups):
        mask = np.zeros_like(layer.W)
        groups_of(layer, mask, "kernel")[i][...] = 1
        reads = layer.carry(mask[None, :, :, 0, 0, 0], mask)  # how many patches of the group read a pixel
        assert reads.max() == 1
    assert groups_of(layer, numbered, "all")[0].shape == numbered.shape


def test_frozen_layers_keep_their_kernels_and_the_turn_counts_updates(engine):
    net = mf.Network([mf.LocallyConnected2d(1, 1, 1, input_size=2), mf.LocallyConnected2d(1, 2, 1, input_size=2)])
    net.freeze("locallyconnected1")
    first, second = (layer.W.copy() for layer in net.weighted)
    optimizer = mf.SGD(lr=0.1, share_weights=mf.ShareWeights(every=2))
    for step in (1, 2):
        optimizer.step(net)
        assert bool((net.weighted[0].W == first).all())
        assert bool((net.weighted[1].W == second).all()) == (step == 1)


@pytest.mark.parametrize("part", [{}, {"share_weights": "every=2"}], ids=["as saved", "of other options"])
def test_training_with_sharing_is_resumed_bit_for_bit(part, tmp_path):
    data = mf.data.load("digits")

    def trainer(**options):
        net = mf.Network(mf.models.cnn(data.input_shape, data.n_out, 1, 2, untied=True), input_shape=data.input_shape)
        rule = mf.rules.KolenPollack().attach(net)
        return mf.Trainer(net, rule, CE, mf.SGD(lr=0.1, momentum=0.9, **{"share_weights": "every=3", **options}))

    straight, first, resumed = trainer(), trainer(), trainer(**part)
    straight.fit(data.train.head(50), epochs=2, batch_size=10)
    first.fit(data.train.head(50), epochs=1, batch_size=10)
    checkpoints.save(tmp_path / "x.ckpt", first)
    if part:
        with pytest.raises(checkpoints.CheckpointError, match="share_weights"):
            checkpoints.load(tmp_path / "x.ckpt", resumed)
        return
    checkpoints.load(tmp_path / "x.ckpt", resumed)
    resumed.fit(data.train.head(50), epochs=1, batch_size=10)
    for key, array in straight.net.state().items():
        np.testing.assert_array_equal(resumed.net.state()[key], array)


def test_a_trace_shows_the_average(engine):
    net, (x, y) = net_of(True), batch(shape=SHAPE)
    rule, optimizer = mf.rules.KolenPollack().attach(net), mf.SGD(lr=0.1, share_weights="group=all")
    moments = [moment for moment in mf.trace(net, rule, x, y, CE, optimizer) if moment.title == "Kernels are averaged"]
    (moment,) = moments
    assert {"a.W", "b.W", "b.B"} <= set(moment.new)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: mf.ShareWeights(every=0), ValueError, "every must be at least 1, got 0"),
        (lambda: mf.ShareWeights(group="row"), ValueError, "group must be 'all' or 'kernel', got 'row'"),
        (lambda: mf.SGD(share_weights="evry=2"), ValueError, "unknown option of sharing 'share_weights' 'evry'"),
        (lambda: mf.SGD(share_weights=10), TypeError, "share_weights must be a minifa.ShareWeights, a str such as"),
        (
            lambda: mf.SGD(share_weights="every=2").step(mf.Network([mf.Linear(2, 1)])),
            ValueError,
            "needs locally connected layers, and the network has none: use LocallyConnected2d",
        ),
        (lambda: mf.models.cnn((8, 8, 1), 10, equal_start=True), ValueError, "equal_start .* needs untied=True"),
        (lambda: sleep(np.ones((2, 1, 1)), [], eta=-1, gamma=0), ValueError, "eta must be at least 0"),
    ],
)
def test_unfit_options_are_refused(make, error, message, engine):
    with pytest.raises(error, match=message):
        make()


# --- sleep ------------------------------------------------------------------------------------------------------------


def a_group(fan_in, members=100, n_out=2):
    """(Kernels of a group, their mean, their deviations from it)."""
    kernels = np.random.default_rng(0).standard_normal((members, fan_in, n_out))
    return kernels, kernels.mean(axis=0), kernels - kernels.mean(axis=0)


def test_sleep_keeps_the_mean_and_the_deviations_shrink_by_a_known_factor(float64):
    """For C = 1: what remains to the rest shrinks by 1 - eta (1 + gamma) per step; signal to noise grows by 121."""
    (kernels, mean, deviation), eta, gamma = a_group(fan_in=1), 0.1, 0.1
    rest = gamma / (1 + gamma) * deviation
    for steps in (1, 2, 10, 400):
        w = sleep(kernels, steps * [np.ones(1)], eta, gamma)
        np.testing.assert_allclose(w.mean(axis=0), mean, atol=1e-14)
        expected = rest + (1 - eta * (1 + gamma)) ** steps * (deviation - rest)
        np.testing.assert_allclose(w - mean, expected, atol=1e-13)
    assert float(signal_to_noise(w) / signal_to_noise(kernels)) == pytest.approx(121, rel=1e-9)


def test_the_deviations_that_sleep_leaves(float64):
    """At mean + gamma dev (C + gamma I)^-1 the changes by the patterns of a cycle cancel."""
    (kernels, mean, deviation), gamma, eta = a_group(fan_in=3), 0.2, 1e-6
    patterns = np.random.default_rng(1).standard_normal((5, 3))
    C = patterns.T @ patterns / 5
    rest = mean + np.einsum("ij,njk->nik", gamma * np.linalg.inv(C + gamma * np.eye(3)), deviation)
    moved = [sleep(w, patterns, eta, gamma, start=kernels) - w for w in (rest, kernels)]
    assert abs(moved[0]).max() < 1e-5 * abs(moved[1]).max()  # eta^2 instead of eta
    np.testing.assert_allclose(moved[0].mean(axis=0), 0, atol=1e-15)


def test_sleep_runs_on_every_engine(engine):
    kernels = mf.asarray(np.random.default_rng(0).standard_normal((5, 3, 2)), "float64")
    w = sleep(kernels, 200 * list(mf.asarray(np.eye(3), "float64")), eta=0.5, gamma=0.0)
    np.testing.assert_allclose(mf.to_host(w - kernels.mean(axis=0)), 0, atol=1e-12)
    assert float(signal_to_noise(w)) > 1e12 * float(signal_to_noise(kernels))


def test_the_circuit_at_rest_leaves_a_part_of_the_mean(engine):
    z = mf.asarray(np.random.default_rng(0).standard_normal((7, 3)), "float64")
    r = mf.sharing.lateral_inhibition(z, alpha=10.0, steps=3000)
    np.testing.assert_allclose(mf.to_host(r), mf.to_host(z - 10 / 11 * z.mean(axis=0)), atol=1e-12)
