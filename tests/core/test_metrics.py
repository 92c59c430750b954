"""Alignment: correct angles, None for undefined ones, and no side effects of a measurement."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest

import minifa as mf
from minifa import BatchNorm, Linear, Network, ReLU, Residual, Tanh, metrics
from minifa.metrics import QUANTITIES, alignment, angle, sign_agreement
from minifa.rules import BP, DFA, FA, make
from minifa.testing.examples import ALL_RULES, batch, inputs, network, network_for, small_convnet

CE = mf.SoftmaxCrossEntropy()


def mlp(**options):
    return network([Linear(4, 5), Tanh(), Linear(5, 6), Tanh(), Linear(6, 3)], (4,), **options)


def degrees_between(a, b):
    """By the arc cosine, which is accurate for angles that are not small."""
    return math.degrees(math.acos((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())))


# --- angles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ([1, 0], [0, 2], 90),
        ([1, 1], [2, 2], 0),
        ([1, 2, 3], [-1, -2, -3], 180),
        ([1, 0], [1, 1], 45),
        ([3, 0], [1, 3**0.5], 60),
        ([[1, 0], [0, 1]], [[1, 0], [0, 0]], 45),
    ],
)
def test_angles_by_hand(a, b, expected, float64):
    result = angle(np.array(a, float), np.array(b, float))
    assert float(result) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("radians", [1e-2, 1e-6, 1e-9])
@pytest.mark.parametrize("around", [0.0, math.pi / 2, math.pi])
def test_small_angles_keep_their_digits(radians, around, float64):
    """The arc cosine of 1 - 5e-13 loses half of the digits, also near 180 degrees."""
    a = np.array([1.0, 0.0])
    b = np.array([math.cos(radians), math.sin(radians)])
    if around == math.pi:
        b = -b
    elif around:
        b = np.array([math.sin(radians), math.cos(radians)])
    expected = {0.0: math.degrees(radians), math.pi: 180 - math.degrees(radians)}.get(
        around, 90 - math.degrees(radians)
    )
    assert float(angle(a, 7 * b)) == pytest.approx(expected, rel=1e-9 if around == 0.0 else 1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_size_of_the_vectors_does_not_matter(scale, engine):
    """In float32 the squares of these would be 0 or infinite."""
    a, b = mf.asarray(np.array([3.0, 0.0]) * scale), mf.asarray(np.array([1.0, 1.0]) * scale)
    assert float(angle(a, b)) == pytest.approx(45, abs=1e-5)


def test_the_angle_of_a_zero_vector_is_none(engine):
    assert math.isnan(float(angle(mf.asarray(np.zeros(3)), mf.asarray(np.ones(3)))))


def test_sign_agreement_counts_entries(engine):
    a, b = mf.asarray(np.array([1.0, -2, 0, 3])), mf.asarray(np.array([5.0, 2, 0, -1]))
    assert float(sign_agreement(a, b)) == 0.5


# --- alignment of a network -------------------------------------------------------------------------------------------


def test_alignment_by_hand(float64):
    net = mlp()
    rule = FA(seed=3).attach(net)
    x, y = batch(shape=(4,))
    result = alignment(net, rule, x, y, CE)
    W1, W2, W3 = (layer.W for layer in net.weighted)
    B2, B3 = rule.B["linear2"], rule.B["linear3"]
    h1 = np.tanh(x @ W1 + net["linear1"].b)
    h2 = np.tanh(h1 @ W2 + net["linear2"].b)
    a = h2 @ W3 + net["linear3"].b
    e = (np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(x)
    fa2, bp2 = e @ B3.T * (1 - h2**2), e @ W3.T * (1 - h2**2)
    fa1, bp1 = fa2 @ B2.T * (1 - h1**2), bp2 @ W2.T * (1 - h1**2)

    def mean_over_examples(u, v):
        return np.mean([degrees_between(one, other) for one, other in zip(u, v, strict=True)])

    expected = {
        "linear1": {
            "weight_angle": None,
            "sign_agreement": None,
            "norm_ratio": None,
            "local_angle": None,  # no layer below learns, so it carries no error
            "true_angle": mean_over_examples(fa1, bp1),
            "gradient_angle": degrees_between(x.T @ fa1, x.T @ bp1),
        },
        "linear2": {
            "weight_angle": degrees_between(W2, B2),
            "sign_agreement": (np.sign(W2) == np.sign(B2)).mean(),
            "norm_ratio": np.linalg.norm(B2) / np.linalg.norm(W2),
            "local_angle": mean_over_examples(fa2 @ B2.T, fa2 @ W2.T),  # from the same delta
            "true_angle": mean_over_examples(fa2, bp2),
            "gradient_angle": degrees_between(h1.T @ fa2, h1.T @ bp2),
        },
        "linear3": {
            "weight_angle": degrees_between(W3, B3),
            "sign_agreement": (np.sign(W3) == np.sign(B3)).mean(),
            "norm_ratio": np.linalg.norm(B3) / np.linalg.norm(W3),
            "local_angle": mean_over_examples(e @ B3.T, e @ W3.T),
            "true_angle": 0.0,  # the output layer receives the true error
            "gradient_angle": 0.0,
        },
    }
    assert result.keys() == expected.keys()
    for name, quantities in expected.items():
        assert tuple(result[name]) == QUANTITIES
        for key, value in quantities.items():
            assert result[name][key] == (None if value is None else pytest.approx(value, abs=1e-9)), (name, key)


@pytest.mark.parametrize("rule", ["bp", "sham"])
def test_backpropagation_is_aligned_with_itself(rule, float64):
    net = small_convnet()
    x, y = batch()
    for name, quantities in alignment(net, make(rule).attach(net), x, y, CE).items():
        expected = {"sign_agreement": 1.0, "norm_ratio": 1.0}
        for key, value in quantities.items():
            if value is None:
                assert name == "conv1" and key not in ("true_angle", "gradient_angle")
            else:
                assert value == pytest.approx(expected.get(key, 0.0), abs=1e-5)


def test_quantities_that_are_undefined_for_a_rule_are_none():
    x, y = batch()
    whole = {"weight_angle", "sign_agreement", "norm_ratio"}

    def missing(description, layer):
        net = small_convnet()
        result = alignment(net, make(description).attach(net), x, y, CE)[layer]
        return {key for key, value in result.items() if value is None}

    assert missing("fa", "linear2") == set()
    assert missing("fa:conv=dense", "residual1.body.conv1") == whole  # B has another shape than the kernel
    assert missing("dfa", "linear2") == whole | {"local_angle"}  # nothing crosses W
    assert missing("shallow", "linear1") == set(QUANTITIES)  # no error arrives
    assert missing("shallow", "linear2") == whole | {"local_angle"}


def test_direct_feedback_of_the_weights_shape_is_not_mistaken_for_theirs():
    """F (units, n_out) teaches the layer it is keyed by; it is not a counterpart of that layer's W, even if the shapes
    agree."""
    net = Network([Linear(3, 3), Linear(3, 3)])
    rule = DFA().attach(net)
    assert rule.B["linear1"].shape == net["linear1"].W.shape
    x, y = batch(shape=(3,))
    assert alignment(net, rule, x, y, CE)["linear1"]["weight_angle"] is None


@pytest.mark.parametrize("rule", ["fa", "usf", "dfa"])
def test_dead_layers_have_no_angles_and_raise_no_warnings(rule, engine):
    """All hidden units are zero, so all errors below are zero. A layer of zero weights has no direction."""
    net = Network([Linear(4, 5), ReLU(), Linear(5, 5), Linear(5, 3)])
    net["linear1"].b[...] = -100
    net["linear2"].W[...] = 0
    x, y = batch(shape=(4,))
    result = alignment(net, make(rule).attach(net), x, y, CE)
    assert result["linear1"]["true_angle"] is None and result["linear1"]["gradient_angle"] is None
    assert result["linear2"]["weight_angle"] is None and result["linear2"]["norm_ratio"] is None
    assert result["linear3"]["true_angle"] == pytest.approx(0, abs=1e-3)


def test_examples_without_an_error_do_not_count(float64):
    """The ReLU blocks the error of one of two examples: the mean is over the other."""
    net = network([Linear(2, 4), ReLU(), Linear(4, 3)], (2,))
    net["linear1"].b[...] = 0
    net["linear1"].W[...] = np.abs(net["linear1"].W)
    rule, y = FA().attach(net), np.array([0, 1])
    both = alignment(net, rule, np.array([[1.0, 2.0], [-1.0, -2.0]]), y, CE)["linear1"]["true_angle"]
    alone = alignment(net, rule, np.array([[1.0, 2.0]]), y[:1], CE)["linear1"]["true_angle"]
    assert both == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("description, corresponds", [("fa", True), ("fwdtp", True), ("dtp", True), ("dfa", False)])
def test_B_is_compared_with_W_where_it_takes_its_place(description, corresponds, float64):
    """Here dfa's F of linear2, (units, n_out), has the shape of its W, and yet takes the place of no weight."""
    net, x, y = network([Linear(4, 3), Linear(3, 3), Linear(3, 3)], (4,)), inputs((4,)), np.array([0, 1, 2])
    rule = make(description).attach(net)
    row, B, W = alignment(net, rule, x, y, CE)["linear2"], rule.B["linear2"], net["linear2"].W
    if corresponds:
        assert row["weight_angle"] == pytest.approx(degrees_between(W, B), abs=1e-9)
        assert row["sign_agreement"] == (np.sign(W) == np.sign(B)).mean()
        assert row["norm_ratio"] == pytest.approx(np.linalg.norm(B) / np.linalg.norm(W))
    else:
        assert (row["weight_angle"], row["sign_agreement"], row["norm_ratio"]) == (None, None, None)


def test_the_errors_of_gated_maps_with_B_at_W_are_backpropagation_s(float64):
    net, x, y = mlp(), inputs((4,)), np.array([0, 1, 2])
    rule = make("fwdtp:g=gated").attach(net)
    assert alignment(net, rule, x, y, CE)["linear1"]["true_angle"] > 10
    for name, B in rule.B.items():
        B[...] = net[name].W
    for row in alignment(net, rule, x, y, CE).values():
        assert row["true_angle"] == pytest.approx(0, abs=1e-5) == row["gradient_angle"]


# --- no side effects --------------------------------------------------------------------------------------------------


def everything(net, rule):
    """All state that a measurement could change, by name; arrays as copies."""
    kept = {**net.state(), **{f"memory {key}": array for key, array in rule.state().items()}}
    kept |= {f"B {key}": mf.to_host(array).copy() for key, array in rule.B.items()}
    kept |= {f"gradient {key}": mf.to_host(g).copy() for key, g in net.gradients().items() if g is not None}
    kept |= {f"rule {key}": mf.to_host(getattr(rule, key)).copy() for key in ("error", "output", "target")}
    return kept | {"step": np.array(net.step)}


@pytest.mark.parametrize("after", ["a pass", "a step"])
@pytest.mark.parametrize("description", ALL_RULES)
def test_measuring_changes_nothing(description, after, engine):
    net = network_for(description)
    rule, optimizer = make(description).attach(net), mf.SGD(0.1)
    rule.gradients(net, *batch(shape=net.input_shape), CE)
    if after == "a step":
        optimizer.step(net, rule)
        if description in ("bp",):  # whose B are the live weights
            for name, array in rule.B.items():
                rule._B[name] = array.copy()
    before, caches = everything(net, rule), [layer.cache for layer in net]
    flags = [(layer.frozen, layer.needs_input_gradient) for layer in net]
    alignment(net, rule, *batch(shape=net.input_shape, seed=9), CE)
    for path in metrics.PATHS:
        with contextlib.suppress(metrics.NoInputGradient):
            metrics.input_gradient(net, rule, *batch(shape=net.input_shape, seed=9), CE, path)
    now = everything(net, rule)
    assert flags == [(layer.frozen, layer.needs_input_gradient) for layer in net]
    assert now.keys() == before.keys()
    changed = [key for key in before if not np.array_equal(now[key], before[key])]
    assert not changed
    assert all(layer.cache is cache for layer, cache in zip(net, caches, strict=True))


@pytest.mark.parametrize("description", ["fa", "brsf", "dfa"])
def test_training_is_the_same_with_and_without_measuring(description):
    results = []
    for measured in (False, True):
        net = small_convnet()
        rule, optimizer = make(description).attach(net), mf.SGD(0.1, momentum=0.9)
        for seed in range(3):
            if measured:
                alignment(net, rule, *batch(seed=20), CE)
            rule.gradients(net, *batch(seed=seed), CE)
            optimizer.step(net, rule)
        results.append(net.state())
    for key, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][key])


def test_measuring_an_untrained_network_leaves_gradients_uncomputed():
    net = Network([Residual([Linear(4, 4), BatchNorm(4)]), ReLU(), Linear(4, 3)])
    rule = FA().attach(net)
    alignment(net, rule, *batch(shape=(4,)), CE)
    assert set(net.gradients().values()) == {None} and rule.error is None
    assert all(layer.cache is None for layer in net)


def test_metrics_read_the_matrices_in_B_without_a_copy(float64):
    """Changing the matrix that carried the error changes the measurement: there is no second copy."""
    net = mlp()
    rule = FA().attach(net)
    x, y = inputs((4,)), np.array([0, 1, 2])
    rule.B["linear2"][...] = net["linear2"].W
    assert alignment(net, rule, x, y, CE)["linear2"]["weight_angle"] == pytest.approx(0, abs=1e-5)
    assert metrics.alignment(net, BP().attach(net), x, y, CE)["linear2"]["local_angle"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("description", ["bp", "fa", "shallow", "node_perturbation"])
def test_the_signs_of_the_gradients_of_single_examples_are_counted_where_the_true_gradient_is_not_0(
    description, engine
):
    net, (x, y) = network([Linear(4, 5), ReLU(), Linear(5, 6), ReLU(), Linear(6, 3)], (4,)), batch(6, (4,))
    rule, before = make(description, seed=2).attach(net), net.state()
    found = metrics.gradient_signs(net, rule, x, y, CE)
    assert rule.error is None and all((array == before[name]).all() for name, array in net.state().items())
    agree = {layer.name: [] for layer in net.weighted}
    for i in range(len(x)):
        rule.gradients(net, x[i : i + 1], y[i : i + 1], CE)
        own = {layer.name: layer.grads["W"] for layer in net.weighted}
        BP().attach(net).gradients(net, x[i : i + 1], y[i : i + 1], CE)
        for layer in net.weighted:
            if own[layer.name] is not None:
                true = mf.to_host(layer.grads["W"])
                agree[layer.name] += [*(np.sign(mf.to_host(own[layer.name])) == np.sign(true))[true != 0]]
    assert found == {name: pytest.approx(np.mean(one)) if one else None for name, one in agree.items()}
    assert found["linear3"] == 1 or description == "node_perturbation"


def test_the_unexplained_variance_is_one_minus_r_squared(engine):
    rng = np.random.default_rng(2)
    target, output = rng.standard_normal((2, 30, 4)) * [1.0, 2.0, 3.0, 4.0] + 5
    r_squared = 1 - ((output - target) ** 2).sum() / (target.var(axis=0) * 30).sum()
    measured = metrics.unexplained_variance(mf.asarray(output), mf.asarray(target))
    assert float(measured) == pytest.approx(1 - r_squared, rel=1e-5)
    mean = np.broadcast_to(target.mean(axis=0), target.shape)
    assert float(metrics.unexplained_variance(mf.asarray(mean), mf.asarray(target))) == pytest.approx(1, rel=1e-5)
    with pytest.raises(ValueError, match="shape"):
        metrics.unexplained_variance(mf.asarray(output), mf.asarray(target[:, :2]))
