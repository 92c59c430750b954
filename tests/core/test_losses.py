"""Losses: the error is the derivative of the value, extremes stay finite, and targets are checked once."""

from __future__ import annotations

import numpy as np
import pytest

import minifa as mf
from minifa.losses import LOSSES, one_hot

MAKERS = {**LOSSES, "smoothed": lambda: mf.SoftmaxCrossEntropy(label_smoothing=0.3)}


@pytest.mark.parametrize("name", MAKERS)
def test_the_error_is_the_derivative_of_each_value(name, float64):
    loss, rng = MAKERS[name](), np.random.default_rng(0)
    output, direction = rng.standard_normal((2, 4, 3))
    for target in (rng.random((4, 3)), np.array([0, 2, 1, 1])):
        t = loss.target(target, output)
        values, errors = loss(output, t)
        assert values.shape == (4,) and errors.shape == (4, 3)
        step = 1e-6
        slopes = (loss(output + step * direction, t)[0] - loss(output - step * direction, t)[0]) / (2 * step)
        np.testing.assert_allclose((errors * direction).sum(axis=1), slopes, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_a_confident_wrong_prediction_has_a_finite_loss(name, engine):
    # cross-entropy at distance 1e4 from the target is 1e4 itself, not -log(0)
    loss = LOSSES[name]()
    output = mf.asarray(np.array([[1e4, -1e4]]))
    values, errors = loss(output, loss.target(np.array([1]), output))
    expected = {"softmax_cross_entropy": 2e4, "sigmoid_cross_entropy": 1e4}[name]
    assert float(values[0]) == pytest.approx(expected)
    per_output = 1 if name == "softmax_cross_entropy" else 2
    np.testing.assert_allclose(mf.to_host(errors), np.array([[1, -1]]) / per_output, atol=1e-6)


def test_values_by_hand(float64):
    a, t = np.array([[0.0, np.log(3.0)]]), np.array([0])

    def value(loss):
        return float(loss(a, loss.target(t, a))[0][0])

    assert value(mf.SoftmaxCrossEntropy()) == pytest.approx(np.log(4))  # -log(1 / (1 + 3))
    # smoothing 1/2: targets (3/4, 1/4)
    assert value(mf.SoftmaxCrossEntropy(0.5)) == pytest.approx(0.75 * np.log(4) + 0.25 * np.log(4 / 3))
    assert value(mf.SigmoidCrossEntropy()) == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert value(mf.MeanSquaredError()) == pytest.approx((1 + np.log(3) ** 2) / 2)
    assert value(mf.HalfSquaredError()) == pytest.approx((1 + np.log(3) ** 2) / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_the_batch_enters_once(name, float64):
    """Every example twice: the same mean loss and the same gradients."""
    net = mf.Network([mf.Linear(3, 2)])
    rule, loss = mf.rules.BP().attach(net), LOSSES[name]()
    x, y = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 1, 1, 0])
    value, once = rule.gradients(net, x, y, loss), net.gradients()
    assert rule.gradients(net, np.tile(x, (2, 1)), np.tile(y, 2), loss) == pytest.approx(value)
    np.testing.assert_allclose(net.gradients()["linear1.W"], once["linear1.W"], rtol=1e-12)


@pytest.mark.parametrize(
    "y, error, message",
    [
        (np.array([0, 3]), ValueError, r"class indices must lie in 0\.\.2, got 0\.\.3"),
        (np.array([-1, 2]), ValueError, r"must lie in 0\.\.2, got -1\.\.2"),
        (np.array([0]), ValueError, r"class indices for 2 outputs must have shape \(2,\), got \(1,\)"),
        (np.array([[0], [1]]), ValueError, r"got \(2, 1\)"),
        (np.zeros((2, 2)), ValueError, r"targets must have the outputs' shape \(2, 3\), got \(2, 2\)"),
        (np.array([True, False]), TypeError, "got dtype bool"),
        (np.array(["cat", "dog"]), TypeError, "class indices .integers. or floating-point rows"),
    ],
)
def test_targets_that_do_not_fit_are_refused(engine, y, error, message):
    with pytest.raises(error, match=message):
        mf.MeanSquaredError().target(y, mf.asarray(np.zeros((2, 3))))


@pytest.mark.usefixtures("engine")
def test_losses_refuse_outputs_without_two_dimensions():
    with pytest.raises(ValueError, match="end the network with a Linear layer"):
        mf.SoftmaxCrossEntropy().target(np.array([0]), mf.asarray(np.zeros((1, 2, 2, 3))))
    with pytest.raises(ValueError, match=r"a loss expects outputs of shape \(N, n_out\), got \(2, 3, 4\)"):
        mf.MeanSquaredError()(*2 * [mf.asarray(np.zeros((2, 3, 4)))])
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\], got 2"):
        mf.SoftmaxCrossEntropy(2)


def test_class_indices_and_one_hot_rows_give_the_same_loss(engine):
    output = mf.asarray(np.random.default_rng(0).standard_normal((3, 4)))
    classes, rows = np.array([1, 3, 0], np.uint8), np.eye(4)[[1, 3, 0]]
    np.testing.assert_array_equal(one_hot(classes, 4, "float32"), rows)
    loss = mf.SoftmaxCrossEntropy(0.1)
    for a, b in zip(
        loss(output, loss.target(classes, output)), loss(output, loss.target(mf.asarray(rows), output)), strict=True
    ):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(mf.to_host(a), mf.to_host(b))
