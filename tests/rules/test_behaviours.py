"""Published behaviours of feedback alignment, reproduced on small problems.

Every test names the layer and the angle that it measures. Seeds are fixed: a claim holds for each of the listed seeds,
or for their mean where stated.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import minifa as mf
from minifa import Linear, Network, ReLU, Tanh
from minifa.initialisers import gaussian, uniform
from minifa.metrics import alignment, angle
from minifa.rules import FA, make

HALF, CE = mf.HalfSquaredError(), mf.SoftmaxCrossEntropy()


# --- align, then memorise ---------------------------------------------------------------------------------------------


def student_and_teacher(name, seed, N=300, batch=30, until=60):
    """(error, cosine of readout and feedback) at every full unit of time, examples seen / N, of a student of two units.

    Refinetti, d'Ascoli, Ohana & Goldt 2021, "Align, then memorise": first-layer weights and readout ~ N(0, 1/N), the
    teacher's readout 1/sqrt(2), F ~ N(0, 1), rates 0.1 / sqrt(N) and 0.1 / N. Their inputs are divided by sqrt(N);
    here the weights are, which makes both rates 0.1 / N. Their units are error functions, these are tanh; and the
    examples come by the batch.
    """
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal((N, 2)) / math.sqrt(N)
    F = rng.standard_normal((2, 1))
    net = Network(
        [
            Linear(N, 2, bias=False, init=gaussian(1 / N)),
            Tanh(),
            Linear(2, 1, bias=False, init=gaussian(1 / math.sqrt(N))),
        ],
        seed=seed,
    )
    rule, optimizer = make(name).attach(net), mf.SGD(0.1 / N * batch)
    if name == "fa":
        rule.memory["linear2"][...] = F
    v, test = net["linear2"].W, rng.standard_normal((1000, N))

    def output(x):
        return np.tanh(x @ teacher).sum(axis=1, keepdims=True) / math.sqrt(2)

    history = []
    for step in range(until * N // batch + 1):
        if step * batch % N == 0:
            error = ((net.predict(test) - output(test)) ** 2).mean()
            history.append((error, math.cos(math.radians(float(angle(v, F))))))
        x = rng.standard_normal((batch, N))
        rule.gradients(net, x, output(x), HALF)
        optimizer.step(net, rule)
    return np.array(history).T


@pytest.mark.parametrize("seed", range(3))
def test_feedback_alignment_aligns_first_and_fits_afterwards(seed, float64):
    error, cosine = student_and_teacher("fa", seed)
    aligned = int(np.argmax(cosine > 0.9))
    assert cosine[aligned] > 0.9 and aligned <= 20
    assert error[aligned] > 0.6 * error[0], "the readout is aligned while most of the error is left"
    assert error[60] < 0.12 * error[0] and cosine[aligned:].min() > 0.9, "and stays so while the error falls"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_backpropagation_fits_without_aligning(seed, float64):
    error, cosine = student_and_teacher("bp", seed, until=100)
    assert error[100] < 0.12 * error[0]
    assert np.ptp(cosine) < 0.1


# --- the task that feedback alignment was first shown on --------------------------------------------------------------


def test_the_feedback_angle_falls_from_ninety_to_thirty_degrees_in_lillicrap_s_task(float64):
    """30-20-10, linear, online, rate 1e-3. The angle between what B and what W send down from the same error at the
    output, over 100 examples: 90 degrees in the first steps, about 30 to 36 in the last (mean of four seeds), while
    the normalised error falls more than tenfold (some hundredfold); backpropagation at the same rate lags behind.
    """
    early, late, left, left_bp = [], [], [], []
    for seed in range(4):
        task = mf.data.lillicrap(seed=seed, n_train=2000, n_test=100)
        (x, y), (x_test, y_test) = ((part.x.astype(float), part.y.astype(float)) for part in (task.train, task.test))
        for rule in (FA(seed=seed, init=uniform(0.5)), make("bp")):
            net = Network(mf.models.linear_task((30,), 10), seed=seed)
            rule.attach(net)
            optimizer = mf.SGD(1e-3)
            for step in range(2000):
                if rule.name == "fa" and (step < 20 or step >= 1800) and step % 10 == 0:
                    degrees = alignment(net, rule, x_test, y_test, HALF)["linear2"]["local_angle"]
                    (early if step < 20 else late).append(degrees)
                rule.gradients(net, x[step : step + 1], y[step : step + 1], HALF)
                optimizer.step(net, rule)
            error = ((net.predict(x_test) - y_test) ** 2).sum() / (y_test**2).sum()
            (left if rule.name == "fa" else left_bp).append(error)
    assert 80 < np.mean(early) < 95
    assert 28 < np.mean(late) < 38
    assert max(left) < 0.01
    assert np.mean(left_bp) > 10 * np.mean(left)


# --- signs ------------------------------------------------------------------------------------------------------------


def test_signs_agree_in_the_readout_and_remain_at_chance_in_a_wide_hidden_layer():
    """64-200-200-10 on the digits. At linear2, between the hidden layers, the angle between what B and what W send
    down falls from about 90 degrees to below 75, while half of their signs agree, as by chance; in the readout more
    than 0.65 agree. Means of three seeds."""
    digits = mf.data.digits()
    x, y = digits.train.x.reshape(-1, 64), digits.train.y
    start, end = [], []
    for seed in range(3):
        sizes = (64, 200, 200, 10)
        layers = [one for pair in itertools.pairwise(sizes) for one in (Linear(*pair, init="torch"), ReLU())][:-1]
        net = Network(layers, seed=seed)
        rule, optimizer, rng = make("fa", seed=seed).attach(net), mf.SGD(0.1, momentum=0.5), np.random.default_rng(seed)
        start.append(alignment(net, rule, x[:500], y[:500], CE))
        for _ in range(8):
            order = rng.permutation(len(x))
            for i in range(0, len(x), 32):
                rule.gradients(net, x[order[i : i + 32]], y[order[i : i + 32]], CE)
                optimizer.step(net, rule)
        end.append(alignment(net, rule, x[:500], y[:500], CE))

    def mean(rows, layer, quantity):
        return np.mean([row[layer][quantity] for row in rows])

    assert 86 < mean(start, "linear2", "local_angle") < 94
    assert 60 < mean(end, "linear2", "local_angle") < 75
    assert abs(mean(end, "linear2", "sign_agreement") - 0.5) < 0.03
    assert abs(mean(start, "linear3", "sign_agreement") - 0.5) < 0.03
    assert 0.65 < mean(end, "linear3", "sign_agreement") < 0.8
    # the expected agreement of a Gaussian pair at this angle
    for layer in ("linear2", "linear3"):
        expected = 1 - mean(end, layer, "weight_angle") / 180
        assert mean(end, layer, "sign_agreement") == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("K, chance", [(2, 1 / 4), (3, 1 / 2), (4, 11 / 16)])
def test_a_relu_student_succeeds_if_enough_of_its_feedback_has_the_right_sign(K, chance, float64):
    """The teacher adds two rectified units. A student's readout takes the sign of its feedback, and no positive
    rescaling corrects a wrong one: two of the K signs must be correct, P = 2^-K sum_{k >= 2} C(K, k) of all
        patterns."""
    succeeded = 0
    for pattern in itertools.product((1.0, -1.0), repeat=K):
        rng = np.random.default_rng(K)
        teacher = np.linalg.qr(rng.standard_normal((4, 2)))[0]
        small = gaussian(0.05)
        net = Network([Linear(4, K, bias=False, init=small), ReLU(), Linear(K, 1, bias=False, init=small)], seed=K)
        rule, optimizer = make("fa").attach(net), mf.SGD(0.3)
        rule.memory["linear2"][:, 0] = pattern
        for _ in range(300):
            x = rng.standard_normal((20, 4))
            y = np.maximum(x @ teacher, 0).sum(axis=1, keepdims=True)
            rule.gradients(net, x, y, HALF)
            optimizer.step(net, rule)
        x = rng.standard_normal((1000, 4))
        y = np.maximum(x @ teacher, 0).sum(axis=1, keepdims=True)
        left = ((net.predict(x) - y) ** 2).mean() / (y**2).mean()
        works = left < 0.01  # about 1e-4 or less; the error of a failure is 0.1 or more
        assert works == (pattern.count(1.0) >= 2) and (works or left > 0.05), (pattern, left)
        succeeded += works
    assert succeeded / 2**K == chance
