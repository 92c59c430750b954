"""phsic and hsic against their written losses and against results known from theory.

Each known result is in a comment above the assertion that checks it. n examples, C classes, H = I - 11^T / n.
"""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close

import minifa as mf
from minifa import Linear, Network, Tanh
from minifa.backend import to_host
from minifa.kernels import Cosine, Gaussian, centred, nhsic
from minifa.rules import make
from minifa.testing.examples import mlp

LOSS = mf.SoftmaxCrossEntropy()
DESCRIPTIONS = (
    *("phsic", "phsic:kernel=gaussian,labels=gaussian", "phsic:groups=3", "phsic:kernel=gaussian,groups=2,power=0.8"),
    *("hsic", "hsic:balance=2,sigma=1,eps=0.001"),
)


def phsic(A, B):
    return ((A - A.mean()) * B).mean()


def hsic(A, B):
    H = np.eye(len(A)) - 1 / len(A)
    return np.trace(A @ H @ B @ H) / len(A) ** 2


def batch(n=7, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), np.arange(n) % classes


def net_of(units=6, seed=1):
    return Network([Linear(4, units), Tanh(), Linear(units, units), Tanh(), Linear(units, 3)], seed=seed)


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_the_gradient_of_a_layer_is_that_of_its_loss_by_central_differences(description, float64):
    # relative to the largest entry: phsic 1e-9, hsic 1e-6 (it inverts matrices)
    net, (x, y) = net_of(), batch()
    rule = make(description).attach(net)
    rule.gradients(net, x, y, LOSS)
    gradients = {name: net[name].grads["W"].copy() for name in ("linear1", "linear2")}
    for name, taught in (("linear1", "tanh1"), ("linear2", "tanh2")):
        W, size = net[name].W.copy(), np.abs(gradients[name]).max()
        for place in ((0, 0), (1, 4), (3, 5)):
            losses = []
            for step in (1e-5, -1e-5):
                moved = W.copy()
                moved[place] += step
                net[name].W = moved
                rule.gradients(net, x, y, LOSS)
                losses.append(float(rule.local[taught]["loss"]))
            net[name].W = W
            assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(
                gradients[name][place], abs=size * (1e-6 if rule.name == "hsic" else 1e-8)
            )


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_the_losses_as_written_in_the_papers(description, float64):
    net, (x, y) = net_of(), batch()
    rule = make(description).attach(net)
    rule.gradients(net, x, y, LOSS)
    z, t = rule.activities["tanh2"], np.eye(3)[y]
    if rule.name == "hsic":
        kernel = Gaussian(rule.sigma)
        K, K_x, K_y = (kernel.matrix(one) for one in (z, x, t))
        expected = nhsic(K_x, K, rule.eps) - rule.balance * nhsic(K_y, K, rule.eps)
    else:
        if rule.groups:  # the equation of the authors' code
            values = z.reshape(7, rule.groups, -1)
            values = values - values.mean(axis=-1, keepdims=True)
            z = (((values**2).sum(axis=-1) + 1) / values.shape[-1]) ** rule.power
        kernels = {"cosine": Cosine(), "gaussian": Gaussian(0.5)}
        K, K_y = kernels[rule.kernel].matrix(z), kernels[rule.labels].matrix(t)
        expected = phsic(K, K) - 2 * phsic(K_y, K)
    assert float(rule.local["tanh2"]["loss"]) == pytest.approx(float(expected), rel=1e-9)


def test_phsic_and_hsic_differ_by_the_covariance_of_row_means(float64):
    rng = np.random.default_rng(0)
    K = Gaussian(0.5).matrix(rng.normal(size=(12, 3)))
    for y, differs in ((np.arange(12) % 3, False), (np.minimum(np.arange(12), 2), True)):
        L = Cosine().matrix(np.eye(3)[y])
        # pHSIC - HSIC = 2 cov_i(row means); balanced labels have equal row means
        covariance = 2 * ((K.mean(axis=1) - K.mean()) * (L.mean(axis=1) - L.mean())).mean()
        assert phsic(L, K) - hsic(L, K) == pytest.approx(covariance, abs=1e-15)
        assert (abs(covariance) > 1e-4) == differs


def test_one_sided_centring_gives_the_same_nhsic(float64):
    rng = np.random.default_rng(1)
    K, L = (Gaussian(1.0).matrix(rng.normal(size=(9, 3))) for _ in range(2))
    H, shift = np.eye(9) - 1 / 9, 9e-5 * np.eye(9)
    one_sided = [A @ H @ np.linalg.inv(A @ H + shift) for A in (K, L)]
    assert np.trace(one_sided[0] @ one_sided[1]) == pytest.approx(float(nhsic(K, L)), rel=1e-9)


def test_what_every_error_of_a_kernel_leaves_alone(float64):
    net, (x, y) = net_of(), batch()
    for description in DESCRIPTIONS:
        rule = make(description).attach(net)
        rule.gradients(net, x, y, LOSS)
        h, error = rule.heard["tanh1"], rule.local_loss(net["tanh1"], rule.heard["tanh1"])[2]
        if description == "phsic":
            # cosine: scaling or shifting an example's activities leaves K
            np.testing.assert_allclose((error * h).sum(axis=1), 0, atol=1e-15)
            np.testing.assert_allclose(error.sum(axis=1), 0, atol=1e-15)
        elif "groups" not in description:
            # gaussian: moving all examples together leaves K
            np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-10 * np.abs(error).max())


def test_the_similarity_loss_is_phsic_with_one_more_term(float64):
    # mean (S - T)^2 = pHSIC(S, S) - 2 pHSIC(T, S) + (mean S - mean T)^2 + a constant, pHSIC(T, T)
    net, (x, y) = net_of(), batch()
    rule = make("phsic:gamma=2").attach(net)
    rule.gradients(net, x, y, LOSS)
    S, T = rule.K["tanh1"], rule.K_y
    rest = ((S - T) ** 2).mean() - float(rule.local["tanh1"]["loss"])
    assert rest == pytest.approx((S.mean() - T.mean()) ** 2 + phsic(T, T), abs=1e-15)


def test_the_equality_of_targets_has_its_centred_values(float64):
    net, (x, _) = net_of(), batch(6)
    for description, other in (("phsic", -0.5), ("phsic:labels=gaussian,sigma=1", np.exp(-2 / (2 * 3)))):
        rule = make(description).attach(net)
        rule.gradients(net, x, [0, 0, 1, 1, 2, 2], LOSS)
        # cosine: 1 and -1 / (C - 1); gaussian: 1 and exp(-1 / (sigma^2 C))
        same = np.kron(np.eye(3), np.ones((2, 2)))
        np.testing.assert_allclose(rule.K_y, np.where(same > 0, 1, other), atol=1e-15)


def test_a_layer_learns_what_it_would_with_any_weights_above(float64):
    x, y = batch()
    for description in ("phsic", "hsic"):
        found = []
        for scale in (1, -3):
            net = net_of()
            for name in ("linear2", "linear3"):
                net[name].W = scale * net[name].W
            make(description).attach(net).gradients(net, x, y, LOSS)
            found.append({"linear1": net["linear1"].grads["W"]})
        assert_close(*found, tolerance=0)


def test_float32_is_enough_for_hsic_with_128_examples():
    errors = {}
    for dtype in ("float32", "float64"):
        with mf.using("numpy", dtype):
            net, (x, y) = net_of(32), batch(128, seed=3)
            make("hsic").attach(net).gradients(net, mf.asarray(x), y, LOSS)
            errors[dtype] = net["linear1"].grads["W"].astype("float64")
    difference = np.linalg.norm(errors["float32"] - errors["float64"]) / np.linalg.norm(errors["float64"])
    assert difference < 2e-3  # seen: 4e-4; on digits 2e-4


@pytest.mark.parametrize("description", [*DESCRIPTIONS, "phsic:labels=gaussian"])
def test_batches_without_differences_have_finite_errors(description, engine):
    """One example, fewer examples than classes, equal rows, rows that are nearly constant, weights that are zero."""
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    for rows in (x[:1], x[:2], np.repeat(x[:1], 4, axis=0), np.ones((4, 4), "float32"), 1 + 1e-7 * x, 1e4 * x):
        for scale in (1, 0):
            net = net_of()
            net["linear1"].W = scale * mf.to_host(net["linear1"].W)
            rule = make(description).attach(net)
            rule.gradients(net, mf.asarray(rows.astype("float32")), np.zeros(len(rows), int), LOSS)
            for gradient in net.gradients().values():
                assert np.isfinite(to_host(gradient)).all()
            assert all(np.isfinite(float(one["loss"])) for one in rule.local.values())
            if len(rows) == 1:  # nothing to compare
                assert not to_host(net["linear1"].grads["W"]).any()


def test_a_frozen_layer_has_no_loss():
    net = net_of()
    net.freeze("linear1")
    rule = make("phsic").attach(net)
    rule.gradients(net, *(np.asarray(one, kind) for one, kind in zip(batch(), ("float32", int), strict=True)), LOSS)
    assert list(rule.local) == ["tanh2"] and net["linear1"].grads["W"] is None


def test_where_phsic_teaches_and_what_it_refuses():
    layers = [mf.Conv2d(1, 4, 3), mf.ReLU(), mf.MaxPool(2), mf.DivisiveNorm(2, 4), mf.Dropout(0.5), mf.Flatten()]
    net = Network([*layers, Linear(16, 3)], input_shape=(6, 6, 1))
    assert list(make("phsic").attach(net).taught) == ["maxpool1"]
    assert list(make("hsic").attach(net).taught) == ["relu1"]
    for groups in (4, 2):
        make(f"phsic:groups={groups}").attach(net)
    with pytest.raises(
        ValueError, match="'maxpool1' must be a multiple of groups, .* got outputs of 2 x 2 x 4 and 3 g"
    ):
        make("phsic:groups=3").attach(net)
    with pytest.raises(ValueError, match="at least two values in each group, got outputs of 5 and 5 groups"):
        make("phsic:groups=5").attach(mlp())
    one_output = Network([Linear(4, 5), Tanh(), Linear(5, 1)])
    with pytest.raises(ValueError, match="this network has one output: use labels='gaussian'"):
        make("phsic").attach(one_output)
    make("phsic:labels=gaussian").attach(one_output)
    make("phsic").attach(Network(mf.models.vector_mlp((4,), 3)))  # its last layer has one unit, a vector of 3 outputs


def test_targets_that_are_numbers_have_kernels_too(float64):
    net, (x, _) = Network([Linear(4, 5), Tanh(), Linear(5, 1)]), batch()
    y = np.linspace(0, 1, 7)[:, None]
    for description in ("phsic:labels=gaussian", "hsic"):
        rule = make(description).attach(net)
        rule.gradients(net, x, y, mf.HalfSquaredError())
        np.testing.assert_allclose(rule.K_y, np.exp(-((y - y.T) ** 2) / (2 * rule.sigma**2)), rtol=1e-12)
        assert np.abs(centred(rule.K_y)).max() > 0 and net["linear1"].grads["W"].any()
