"""Each learning rule against its formula, and controls that no rule is equal to backpropagation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from checks import assert_close, data, gradients, linear_net, toeplitz

import minifa as mf
from minifa import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Network,
    Pass,
    ReLU,
    Residual,
    Tanh,
)
from minifa.rules import BP, BRSF, DFA, FA, FRSF, USF, Shallow, Sham, dense_kernel, make
from minifa.testing.examples import (
    ALL_RULES,
    UNIT_LENGTH_RULES,
    VECTOR_RULES,
    batch,
    inputs,
    mlp,
    network,
    network_for,
    small_convnet,
)
from minifa.testing.read_only import ReadOnlyErrors, ReadOnlyPass, read_only

pytestmark = pytest.mark.usefixtures("float64")

HALF = mf.HalfSquaredError()
DIRECT_STAGES = {"maxpool1", "residual1.body.relu1", "relu2", "avgpool1", "tanh1"}  # of examples.small_convnet


# --- the controls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_net", [mlp, small_convnet], ids=["mlp", "residual convolutional net"])
def test_sham_is_backpropagation_and_fa_is_not(make_net):
    # B = W before every pass: delta @ B.T = delta @ W.T, also after the weights have moved
    net = make_net()
    x, y = batch(shape=net.input_shape)
    sham, bp, fa = Sham().attach(net), BP().attach(net), FA().attach(net)
    optimizer = mf.SGD(0.1)
    for _ in range(2):
        rule_gradients = {rule.name: gradients(net, rule, x, y, mf.SoftmaxCrossEntropy()) for rule in (sham, bp, fa)}
        assert_close(rule_gradients["sham"], rule_gradients["bp"])
        different = {key for key, g in rule_gradients["fa"].items() if not np.allclose(g, rule_gradients["bp"][key])}
        top = net.output_layer.name
        assert f"{net.weighted[0].name}.W" in different and f"{net.weighted[-2].name}.W" in different
        assert {f"{top}.W", f"{top}.b"} & different == set(), "the output layer receives the true error"
        optimizer.step(net, sham)


@pytest.mark.parametrize(
    "rule, moves",
    [(BP, True), (FA, False), (DFA, False), (USF, True), (FRSF, True)],
    ids=lambda v: getattr(v, "name", v),
)
def test_overwriting_a_weight_after_the_forward_pass(rule, moves):
    """If the error below changes with W, W carried it. Feedback alignment's must not change; the sign rules use W's
    signs."""
    errors = []
    for overwrite in (False, True):
        net = mlp()
        one = rule().attach(net)
        x, y = data()
        one.compute_error(net.forward(x, Pass(training=True)), y, HALF)
        if overwrite:
            for layer in net.weighted[1:]:
                layer.W[...] = -3 * layer.W + 1
        net.backward(one.error, one)
        errors.append(net["linear1"].grads["W"].copy())
    assert np.array_equal(*errors) != moves


@pytest.mark.parametrize("description", [d for d in ALL_RULES if make(d).one_backward_pass])
def test_no_rule_writes_into_shared_arrays(description):
    """No rule writes into a shared array, and the output layer's gradient is the true one under every rule that
    gives it the true error: h^T e, sum(e)."""
    net = network_for(description)
    rule = make(description).attach(net)

    class Frozen(type(rule)):
        def teach(self, layer, delta):
            return ReadOnlyErrors.teach(self, layer, super().teach(layer, delta))

    rule.__class__ = Frozen
    x, y = batch(shape=net.input_shape)
    rule.check_batch(net, x, y, mf.SoftmaxCrossEntropy())
    ctx = rule.training_pass(net)
    ctx.__class__ = type("ReadOnly", (ReadOnlyPass, type(ctx)), {})
    rule.compute_error(net.forward(read_only(x), ctx), y, mf.SoftmaxCrossEntropy())
    net.backward(rule.error, rule)
    if rule.gives_output_error:
        output = net.output_layer
        e = rule.error.reshape(-1, *output.output_shape)  # in a vector network (N, K, 1)
        h, examples_and_components = output.cache, [*range(e.ndim - 1)]
        true = np.tensordot(h, e, [examples_and_components] * 2)
        np.testing.assert_allclose(output.grads["W"], true, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(output.grads["b"], e.sum(axis=0), rtol=1e-12, atol=1e-15)


def test_a_rule_must_be_attached_to_the_same_network():
    net, x, y = mlp(), *data()
    with pytest.raises(RuntimeError, match="the rule 'fa' is not attached to this network"):
        FA().gradients(net, x, y, HALF)
    rule = FA().attach(net)
    assert rule.error is None and rule.target is None
    with pytest.raises(RuntimeError, match="not attached"):
        rule.gradients(mlp(), x, y, HALF)


def record_carried(net, used, monkeypatch):
    """From now on, record in ``used`` the matrix with which each layer carries an error."""
    dense = dense_kernel.carry
    monkeypatch.setattr(
        dense_kernel,
        "carry",
        lambda layer, delta, matrix: used.update({layer.name: matrix}) or dense(layer, delta, matrix),
    )
    for layer in net.weighted:

        def carry(delta, matrix, layer=layer):
            used[layer.name] = matrix
            return type(layer).carry(layer, delta, matrix)

        layer.carry = carry


@pytest.mark.parametrize("description", ALL_RULES)
def test_B_holds_exactly_the_matrices_that_carried_the_error(description, monkeypatch):
    net = network_for(description)
    rule = make(description).attach(net)
    x, y = batch(shape=net.input_shape)
    used = {}
    record_carried(net, used, monkeypatch)
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    if rule.name == "recirculation":  # the encoders themselves carry the errors
        assert used == {} and rule.B.keys() == {"linear3", "linear4"}
        assert np.shares_memory(rule.B["linear3"], net["linear2"].W)
        assert np.shares_memory(rule.B["linear4"], net["linear1"].W)
    elif rule.crosses_weights:
        carriers = {key for key in rule.B if "/" not in key}  # the others are modules, which carry nothing
        assert used.keys() == carriers == {layer.name for layer in net.weighted if layer.needs_input_gradient}
        assert all(rule.B[name] is matrix for name, matrix in used.items())
    elif rule.B_corresponds_to_W:  # it carries targets
        assert all(used[name] is matrix for name, matrix in rule.B.items())
    elif rule.name in ("ddtp", "dfc"):  # W carries the derivatives J of the outputs in dfc, nothing in ddtp
        assert rule.B.keys() == ({"maxpool1", "flatten1", "tanh2"} if rule.name == "ddtp" else {"tanh1", "tanh2"})
    else:
        assert used == {}
        direct = {"relu1", "residual1.body.relu1", "relu2", "leakyrelu1", "tanh1"}
        special = {description: direct for description in ALL_RULES if make(description).name == "local"}
        special |= {"dfa:at=activation,family=gaussian": direct, "local:loss=sim": set()}
        special |= {"pepita": {"input"}, "pepita:output=second": {"input"}}
        special |= dict.fromkeys(VECTOR_RULES, {"gate1", "gate2"})
        special |= dict.fromkeys(("shallow", "weight_perturbation", "node_perturbation", *UNIT_LENGTH_RULES), set())
        special |= dict.fromkeys((one for one in ALL_RULES if "hsic" in one), set())
        special["mdfa"] = {"maxpool1", "avgpool1", "tanh2"}
        if description == "dense":
            assert {key.split("<-")[0] for key in rule.B} == direct
        elif rule.name == "synthetic":
            assert rule.B.keys() == {f"{name}/{key}" for name in DIRECT_STAGES for key in "AC"}
        else:
            assert rule.B.keys() == special.get(description, DIRECT_STAGES)


# --- feedback alignment -----------------------------------------------------------------------------------------------


def test_fa_by_hand_in_three_layers():
    net, x, y = mlp(), *data()
    rule = FA(seed=4).attach(net)
    got = gradients(net, rule, x, y)
    W1, W2, W3 = (layer.W for layer in net.weighted)
    b1, b2, b3 = (layer.b for layer in net.weighted)
    B2, B3 = rule.B["linear2"], rule.B["linear3"]
    h1 = np.tanh(x @ W1 + b1)
    h2 = np.tanh(h1 @ W2 + b2)
    # e = (output - target) / N;  d2 = (e B3^T) (1 - h2^2);  d1 = (d2 B2^T) (1 - h1^2);  dW = h^T d
    e = (h2 @ W3 + b3 - y) / len(x)
    d2 = e @ B3.T * (1 - h2**2)
    d1 = d2 @ B2.T * (1 - h1**2)
    formula = {"linear3": (h2, e), "linear2": (h1, d2), "linear1": (x, d1)}
    assert_close(
        got,
        {f"{name}.W": h.T @ d for name, (h, d) in formula.items()}
        | {f"{name}.b": d.sum(0) for name, (_, d) in formula.items()},
    )
    np.testing.assert_array_equal(rule.error, e)


def test_convolutional_fa_is_dense_fa_with_the_toeplitz_matrix_of_B():
    def build():
        layers = [
            Conv2d(1, 2, 3),
            Tanh(),
            Conv2d(2, 3, 3, stride=(2, 1), padding=(1, 0)),
            Tanh(),
            Flatten(),
            Linear(9, 3),
        ]
        return network(layers, (8, 5, 1))

    net, other = build(), build()
    kernel, dense = FA().attach(net), FA(conv="dense").attach(other)
    conv = net["conv2"]
    assert dense.B["conv2"].shape == (6 * 3 * 2, 3 * 1 * 3)
    x, y = data((8, 5, 1))
    before = gradients(other, dense, x, y)
    expected = gradients(net, kernel, x, y)
    assert not np.allclose(before["conv1.W"], expected["conv1.W"])
    # delta_below = delta @ T(B)^T over the flattened maps
    dense.memory["conv2"][...] = toeplitz(conv, kernel.B["conv2"], conv.input_shape, conv.output_shape)
    dense.memory["linear1"][...] = kernel.B["linear1"]
    assert_close(gradients(other, dense, x, y), expected)


def test_dense_fa_needs_known_maps_and_memory_for_them(monkeypatch):
    def build(shape):
        return Network([Conv2d(1, 2, 3), ReLU(), Conv2d(2, 2, 3), GlobalAvgPool(), Linear(2, 2)], input_shape=shape)

    with pytest.raises(ValueError, match="map sizes of Conv2d 'conv2' must be known for a dense B"):
        FA(conv="dense").attach(build(None))
    monkeypatch.setattr(mf.backend, "free_bytes", lambda: 100)
    # 6 x 6 x 2 inputs, 4 x 4 x 2 outputs, 8 bytes each
    with pytest.raises(
        ValueError, match=f"Conv2d 'conv2' between maps of 6 x 6 x 2 and 4 x 4 x 2 would take {72 * 32 * 8:,} bytes"
    ):
        FA(conv="dense").attach(build((8, 8, 1)))


def test_fa_normalised_sparse_and_correlated():
    net = Network([Linear(40, 50), Linear(50, 60)])
    layer = net["linear2"]
    W0 = layer.W.copy()
    B = {}
    for name, options in {
        "plain": {},
        "strict": {"normalise": "strict"},
        "init": {"normalise": "init"},
        "sparse": {"sparsity": 0.75},
        "sparse as it is": {"sparsity": 0.75, "rescale_sparse": False},
        "correlated": {"correlation": 0.6},
        "xavier": {"init": "xavier_uniform"},
    }.items():
        layer.W[...] = W0
        rule = FA(seed=2, **options).attach(net)
        layer.W *= 2
        B[name] = rule.feedback(layer)
    plain = B["plain"]
    norm = np.linalg.norm
    np.testing.assert_allclose(norm(plain), norm(W0), rtol=0.05)  # B is drawn like W
    # strict: B norm(W_t) / norm(B), here W_t = 2 W_0; init: B norm(W_0) / norm(B)
    np.testing.assert_allclose(B["strict"], plain * 2 * norm(W0) / norm(plain), rtol=1e-12)
    np.testing.assert_allclose(B["init"], plain * norm(W0) / norm(plain), rtol=1e-12)
    # a fraction q is zero, the others are B / sqrt(1 - q) = 2 B
    kept = B["sparse"] != 0
    assert abs(kept.mean() - 0.25) < 4 * (0.25 * 0.75 / 3000) ** 0.5
    np.testing.assert_allclose(B["sparse"][kept], 2 * plain[kept], rtol=1e-12)
    np.testing.assert_array_equal(B["sparse as it is"], np.where(kept, plain, 0))
    # rho W_0 + sqrt(1 - rho^2) B
    np.testing.assert_allclose(B["correlated"], 0.6 * W0 + 0.8 * plain, rtol=1e-12)
    # another initialiser: uniform within sqrt(6 / (50 + 60))
    assert 0.99 < abs(B["xavier"]).max() / (6 / 110) ** 0.5 <= 1


def test_B_does_not_change_under_fa_and_does_not_depend_on_the_batch():
    net = mlp()
    rule, optimizer = FA().attach(net), mf.Adam(0.05)
    before = rule.state()
    for seed in range(3):
        x, y = batch(shape=(4,), seed=seed)
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        optimizer.step(net, rule)
    assert before.keys() == {"linear2", "linear3"}
    for name, array in rule.state().items():
        np.testing.assert_array_equal(array, before[name])
    assert (FA(seed=1).attach(mlp()).B["linear2"] != rule.B["linear2"]).all()
    assert (rule.B["linear2"] != mlp(seed=0)["linear2"].W).all(), (
        "rule and net of one seed must not draw the same matrix"
    )


# --- known results ----------------------------------------------------------------------------------------------------


def test_the_invariant_of_two_linear_layers_drifts_by_the_square_of_the_step():
    # I = W2 B^T + B W2^T - W1^T W1 changes in one SGD step by exactly -dW1^T dW1 (Lillicrap et al. 2016)
    net, (x, y) = linear_net(4, 5, 3), data()
    rule, optimizer = FA().attach(net), mf.SGD(0.1)
    W1, W2, B = net["linear1"].W, net["linear2"].W, rule.B["linear2"]

    def invariant():
        return W2 @ B.T + B @ W2.T - W1.T @ W1

    for _ in range(3):
        before, start = invariant(), W1.copy()
        rule.gradients(net, x, y, HALF)
        optimizer.step(net, rule)
        moved = W1 - start
        np.testing.assert_allclose(invariant() - before, -moved.T @ moved, atol=1e-13)
        assert abs(moved).max() > 1e-3


def test_fa_leaves_the_saddle_at_zero_weights_and_backpropagation_does_not():
    for rule, moving in ((BP(), set()), (FA(init="he_normal"), {"linear1.W"})):
        net = Network([Linear(4, 5, bias=False, init="zero"), Tanh(), Linear(5, 3, bias=False, init="zero")])
        got = gradients(net, rule.attach(net), *data())
        assert {name for name, g in got.items() if abs(g).max() > 0} == moving


def test_dfa_in_a_deep_linear_net_from_zero_keeps_the_weights_between_their_feedbacks():
    # W_1 = A_1 F_1^T and W_l = F_{l-1} A_l F_l^T exactly; W_L = F_{L-1} A_L
    net, (x, y) = linear_net(4, 6, 7, 3, init="zero"), data()
    rule, optimizer = DFA().attach(net), mf.SGD(0.5)
    for _ in range(10):
        rule.gradients(net, x, y, HALF)
        optimizer.step(net, rule)
    W1, W2, W3 = (layer.W for layer in net.weighted)
    F1, F2 = rule.B["linear1"], rule.B["linear2"]
    P1, P2 = (F @ np.linalg.pinv(F) for F in (F1, F2))
    np.testing.assert_allclose(W1 @ P1, W1, atol=1e-13)
    np.testing.assert_allclose(P1 @ W2 @ P2, W2, atol=1e-13)
    np.testing.assert_allclose(P2 @ W3, W3, atol=1e-13)
    assert min(abs(W).max() for W in (W1, W2, W3)) > 1e-3


# --- direct feedback alignment ----------------------------------------------------------------------------------------


def test_dfa_with_one_hidden_layer_is_fa():
    # e F^T with F = B
    net, x, y = mlp(hidden=(5,)), *data()
    fa, dfa = FA().attach(net), DFA().attach(net)
    expected = gradients(net, fa, x, y)
    assert not np.allclose(gradients(net, dfa, x, y)["linear1.W"], expected["linear1.W"])
    assert dfa.B["tanh1"].shape == (5, 3)
    dfa.B["tanh1"][...] = fa.B["linear2"]
    assert_close(gradients(net, dfa, x, y), expected)


def test_dfa_by_hand_in_three_layers():
    net, x, y = mlp(), *data()
    rule = DFA(seed=1).attach(net)
    got = gradients(net, rule, x, y)
    h1, h2 = net["tanh1"].cache, net["tanh2"].cache
    # d_l = (e F_l^T) f'(u_l)
    d1, d2 = (rule.error @ rule.B[name].T * (1 - h**2) for name, h in (("tanh1", h1), ("tanh2", h2)))
    np.testing.assert_allclose(got["linear1.W"], x.T @ d1, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(got["linear2.W"], h1.T @ d2, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(got["linear3.W"], h2.T @ rule.error, rtol=1e-12, atol=1e-15)


def test_size_of_direct_feedback():
    # U[-1/sqrt(d), 1/sqrt(d)] with d the number of units fed; or the requested standard deviation
    net = Network([Linear(10, 400), ReLU(), Linear(400, 50)])
    F = DFA().attach(net).B["relu1"]
    assert F.shape == (400, 50) and 0.99 < abs(F).max() * 400**0.5 <= 1
    for family, kurtosis in (("gaussian", 3.0), ("uniform", 1.8)):
        F = DFA(family=family, sd=0.3).attach(net).B["relu1"]
        assert abs(F.std() / 0.3 - 1) < 0.02
        assert abs((F**4).mean() / (F**2).mean() ** 2 - kurtosis) < 0.15


def conv(*sizes):
    return Conv2d(*sizes, 3, padding=1)


LAYOUTS = {
    "activation after each layer": (
        lambda: [Linear(4, 5), ReLU(), Linear(5, 5), Tanh(), Linear(5, 3)],
        (4,),
        ["relu1", "tanh1"],
    ),
    "the first of two activations": (lambda: [Linear(4, 5), ReLU(), Tanh(), Linear(5, 3)], (4,), ["relu1"]),
    "no activation": (lambda: [Linear(4, 5), Linear(5, 3)], (4,), ["linear1"]),
    "beyond norm and pooling": (
        lambda: [conv(1, 2), BatchNorm(2), MaxPool(2), ReLU(), Flatten(), Linear(8, 3)],
        (4, 4, 1),
        ["relu1"],
    ),
    "residual sum and the middle of its body": (
        lambda: [conv(1, 2), ReLU(), Residual([conv(2, 2), ReLU(), conv(2, 2)]), ReLU(), Flatten(), Linear(32, 3)],
        (4, 4, 1),
        ["relu1", "residual1.body.relu1", "relu2"],
    ),
    "residual sum without activation": (
        lambda: [conv(1, 2), ReLU(), Residual([conv(2, 2)]), Flatten(), Linear(32, 3)],
        (4, 4, 1),
        ["relu1", "residual1"],
    ),
    "body that ends in norm": (
        lambda: [
            conv(1, 2),
            ReLU(),
            Residual([conv(2, 2), BatchNorm(2)], [conv(2, 2)]),
            ReLU(),
            Flatten(),
            Linear(32, 3),
        ],
        (4, 4, 1),
        ["relu1", "relu2"],
    ),
    "residual in residual": (
        lambda: [
            Linear(4, 4),
            ReLU(),
            Residual([Linear(4, 4), Tanh(), Residual([Linear(4, 4)])]),
            Tanh(),
            Linear(4, 3),
        ],
        (4,),
        ["relu1", "residual1.body.tanh1", "tanh1"],
    ),
    "two blocks in a row": (
        lambda: [Linear(4, 4), Residual([Linear(4, 4)]), Residual([Linear(4, 4), ReLU()]), Linear(4, 3)],
        (4,),
        ["linear1", "residual1", "residual2.body.relu1", "residual2"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_where_direct_rules_teach(name):
    layers, shape, taught = LAYOUTS[name]
    net = network(layers(), shape)
    rule = DFA(at="activation").attach(net)
    assert list(rule.B) == taught
    x, y = batch(shape=shape)
    got = gradients(net, rule, x, y, mf.SoftmaxCrossEntropy())
    assert all(abs(g).max() > 0 for key, g in got.items() if "conv" not in key or key.endswith("W")), (
        "a layer was taught nothing"
    )


def test_teaching_at_the_stage_is_at_its_pooling():
    layers = [
        conv(1, 2),
        ReLU(),
        MaxPool(2),
        conv(2, 2),
        ReLU(),
        conv(2, 2),
        AvgPool(2),
        ReLU(),
        Flatten(),
        Linear(2, 3),
    ]
    net = Network(layers, input_shape=(4, 4, 1))
    rule = DFA().attach(net)
    assert list(rule.B) == ["maxpool1", "relu2", "avgpool1"]
    assert rule.B["maxpool1"].shape == (2 * 2 * 2, 3)


def test_the_taught_error_replaces_the_error_of_a_shortcut():
    """Below a block the delta is e F^T alone, although the identity shortcut also carries an error."""
    net = network([Linear(4, 4), Tanh(), Residual([Linear(4, 4)]), Tanh(), Linear(4, 3)], (4,))
    x, y = data()
    rule = DFA().attach(net)
    got = gradients(net, rule, x, y)
    h = net["tanh1"].cache
    np.testing.assert_allclose(
        got["linear1.W"], x.T @ (rule.error @ rule.B["tanh1"].T * (1 - h**2)), rtol=1e-12, atol=1e-15
    )
    # and the body receives the error taught to its sum: (e F^T) f'
    sum_error = rule.error @ rule.B["tanh2"].T * (1 - net["tanh2"].cache ** 2)
    np.testing.assert_allclose(got["residual1.body.linear1.W"], h.T @ sum_error, rtol=1e-12, atol=1e-15)


def test_dfa_refuses_by_name_a_layer_that_receives_no_error():
    net = Network([Linear(4, 5), BatchNorm(5), Linear(5, 5), ReLU(), BatchNorm(5), Linear(5, 3)])
    with pytest.raises(ValueError, match="'dfa' would carry no error to 'batchnorm1', 'batchnorm2'"):
        DFA().attach(net)
    for rule in (BP(), FA(), Shallow()):
        rule.attach(net)
    with pytest.raises(ValueError, match="output size of.*relu1.*must be known: create the network with input_shape="):
        DFA().attach(Network([Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(8, 2)]))


# --- sign-concordant feedback -----------------------------------------------------------------------------------------


def one_layer(rule, init="he_normal", shape=(30, 40)):
    """(layer, rule) of a net in which one layer carries an error."""
    net = Network([Linear(4, shape[0]), Linear(*shape, init=init)])
    return net["linear2"], rule.attach(net)


def test_usf_formulas():
    layer, rule = one_layer(USF())
    W0, norm = layer.W.copy(), np.linalg.norm
    # strict: norm(W) sign(W) / norm(sign(W)): the norms agree, and W -> cW scales B by c
    B = rule.feedback(layer)
    np.testing.assert_allclose(norm(B), norm(W0), rtol=1e-14)
    np.testing.assert_allclose(B, norm(W0) / W0.size**0.5 * np.sign(W0), rtol=1e-13)
    layer.W *= 3
    np.testing.assert_allclose(rule.feedback(layer), 3 * B, rtol=1e-13)
    # a weight of exactly zero has B = 0, and the norm is that of the others
    layer.W[0] = 0
    B = rule.feedback(layer)
    assert (B[0] == 0).all()
    np.testing.assert_allclose(norm(B), norm(layer.W), rtol=1e-14)
    # all weights zero: B = 0, without dividing by zero
    layer.W[...] = 0
    np.testing.assert_array_equal(rule.feedback(layer), np.zeros_like(W0))

    for scale, magnitude in (("init", norm(W0) / W0.size**0.5), ("std", math.sqrt(2 / 30)), (0.25, 0.25)):
        layer, rule = one_layer(USF(scale=scale))
        layer.W *= -2
        np.testing.assert_allclose(rule.feedback(layer), -magnitude * np.sign(W0), rtol=1e-13)


def test_usf_of_a_kernel_uses_the_norm_of_the_whole_kernel():
    net = Network([conv(1, 2), ReLU(), conv(2, 3), Flatten(), Linear(48, 2)], input_shape=(4, 4, 1))
    rule = USF().attach(net)
    W, B = net["conv2"].W, rule.B["conv2"]
    assert B.shape == W.shape == (3, 3, 2, 3)
    np.testing.assert_allclose(B, np.linalg.norm(W) / 54**0.5 * np.sign(W), rtol=1e-13)


def test_frsf_has_constant_magnitudes_and_the_signs_of_the_weights():
    # B = |M| sign(W), M drawn once like W
    layer, rule = one_layer(FRSF(seed=5))
    M = rule.memory["linear2"].copy()
    assert (M > 0).all() and abs(np.sqrt((M**2).mean()) / math.sqrt(2 / 30) - 1) < 0.1
    np.testing.assert_array_equal(rule.feedback(layer), M * np.sign(layer.W))
    layer.W[...] = np.random.default_rng(1).standard_normal(layer.W.shape)
    np.testing.assert_array_equal(rule.feedback(layer), M * np.sign(layer.W))
    np.testing.assert_array_equal(rule.memory["linear2"], M)
    layer, strict = one_layer(FRSF(seed=5, normalise="strict"))
    np.testing.assert_allclose(
        strict.feedback(layer), rule.memory["linear2"] * np.sign(layer.W) * np.linalg.norm(layer.W) / np.linalg.norm(M)
    )


def test_initial_signs_do_not_follow_the_weights():
    for rule in (USF(scale=1.0, signs="initial"), FRSF(signs="initial")):
        layer, rule = one_layer(rule)
        before = rule.feedback(layer).copy()
        layer.W *= -1
        np.testing.assert_array_equal(rule.feedback(layer), before)


@pytest.mark.parametrize("p", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("rule", [USF, FRSF, BRSF])
def test_concordance_is_the_fraction_of_agreeing_signs_forever(rule, p):
    layer, rule = one_layer(rule(concordance=p), shape=(100, 120))

    def agreement():
        return (np.sign(rule.feedback(layer)) == np.sign(layer.W)).mean()

    first = agreement()
    assert abs(first - p) <= 4 * (p * (1 - p) / layer.W.size) ** 0.5
    layer.W *= -1  # the disagreeing positions were drawn once: they disagree with any sign of W
    assert agreement() == first


def test_brsf_draws_once_per_update_and_never_in_a_measurement(count_draws):
    net = network([Linear(4, 5), Tanh(), Linear(5, 6), Tanh(), Linear(6, 3)], (4,))
    rule, optimizer, loss = BRSF().attach(net), mf.SGD(0.1), mf.SoftmaxCrossEntropy()
    x, y = batch(shape=(4,))
    made = count_draws()
    made.clear()
    seen = []
    for _ in range(3):
        rule.gradients(net, x, y, loss)
        seen.append(rule.B["linear2"].copy())
        rule.gradients(net, x, y, loss)  # a second pass before the update uses the same B
        np.testing.assert_array_equal(rule.B["linear2"], seen[-1])
        net.predict(x)
        mf.metrics.alignment(net, rule, x, y, loss)
        optimizer.step(net, rule)
    # no draw for the first update (attach made it), then one for each layer that carries an error
    assert made == [("feedback", "linear3/0"), ("feedback", "linear2/0")] * 2
    magnitudes = [abs(B) for B in seen]
    assert (magnitudes[0] != magnitudes[1]).all() and (magnitudes[1] != magnitudes[2]).all()


def test_brsf_continues_with_the_same_draws_after_loading():
    def run(split):
        net = mlp()
        rule, optimizer = BRSF(seed=3).attach(net), mf.SGD(0.1)
        for i in range(4):
            if split and i == 2:
                weights, kept, step = net.state(), rule.state(), net.step
                net = mlp(seed=8)
                net.load_state(weights)
                net.step = step
                rule = BRSF(seed=3).attach(net)
                rule.load_state(kept)
            x, y = batch(shape=(4,), seed=i)
            rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
            optimizer.step(net, rule)
        return net.state()

    whole, resumed = run(False), run(True)
    for key, array in whole.items():
        np.testing.assert_array_equal(array, resumed[key])


# --- angles at the start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, init, cosine",
    [
        ("usf", "he_normal", math.sqrt(2 / math.pi)),  # 37.07 degrees
        ("usf", "he_uniform", math.sqrt(3) / 2),  # 30.00
        ("frsf", "he_normal", 2 / math.pi),  # 50.46
        ("frsf", "he_uniform", 3 / 4),  # 41.41
        ("brsf", "he_normal", 2 / math.pi),
        ("fa", "he_normal", 0.0),  # 90
        ("fa:correlation=0.3", "he_normal", 0.3),
        ("fa:angle=72", "he_normal", math.cos(math.radians(72))),
        ("usf:concordance=0.75", "he_normal", 0.5 * math.sqrt(2 / math.pi)),  # (2 p - 1) times p = 1
        ("frsf:concordance=0.9", "he_uniform", 0.8 * 0.75),
        ("usf:concordance=0.5,scale=init", "he_normal", 0.0),
        ("sham", "he_normal", 1.0),
    ],
)
def test_initial_angle_between_weights_and_feedback(rule, init, cosine):
    """The standard deviation of a cosine over 200,000 entries is at most 0.0023."""
    layer, rule = one_layer(make(rule, seed=1), init=init, shape=(400, 500))
    degrees = float(mf.metrics.angle(layer.W, rule.B["linear2"]))
    assert abs(math.cos(math.radians(degrees)) - cosine) < 4 * 0.0023


def test_every_matrix_is_drawn_independently():
    """Layers of one shape, and one layer under other seeds, have matrices that share nothing."""
    layers = lambda: [Linear(9, 9), Tanh(), Linear(9, 9), Tanh(), Linear(9, 9), Tanh(), Linear(9, 9)]  # noqa: E731
    for description in ("fa", "frsf", "brsf", "usf:concordance=0.6", "product", "dfa", "dense", "direct_kolen_pollack"):
        drawn = [
            mf.to_host(array).ravel()
            for seed in (0, 1)
            for array in make(description, seed=seed).attach(Network(layers(), input_shape=(9,))).memory.values()
        ]
        shared = [np.mean(a == b) for i, a in enumerate(drawn) for b in drawn[:i] if a.size == b.size]
        assert len(shared) >= 6 and max(shared) < (0.8 if "concordance" in description else 0.01), description


# --- shallow ----------------------------------------------------------------------------------------------------------


def test_shallow_trains_the_output_layer_alone():
    net = small_convnet()
    rule, optimizer = Shallow().attach(net), mf.SGD(0.1, momentum=0.9, weight_decay=0.1)
    before = net.state()
    for seed in range(2):
        x, y = batch(seed=seed)
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        optimizer.step(net, rule)
    moved = {
        key for key, array in net.state().items() if not np.array_equal(array, before[key]) and "running" not in key
    }
    assert moved == {"linear2.W", "linear2.b"}
    assert rule.B == {}


def test_gradients_of_a_previous_rule_are_cleared():
    """After backpropagation, `shallow` must clear the hidden gradients before the optimizer uses them."""
    net, x, y = mlp(), *data()
    BP().attach(net).gradients(net, x, y, HALF)
    Shallow().attach(net).gradients(net, x, y, HALF)
    assert {name for name, g in net.gradients().items() if g is not None} == {"linear3.W", "linear3.b"}


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ALL_RULES)
def test_loading_a_state_makes_two_rules_equal(description):
    net = network_for(description)
    x, y = batch(shape=net.input_shape)
    kept, other = (make(description, seed=seed).attach(net) for seed in (1, 2))
    other.load_state(kept.state())
    other.seed = kept.seed  # of the draws that some rules make in every pass
    first = gradients_or_none(net, kept, x, y)
    for key, gradient in gradients_or_none(net, other, x, y).items():
        np.testing.assert_array_equal(gradient, first[key])
    state = kept.state()
    assert all(type(array) is np.ndarray for array in state.values())
    for array in state.values():
        array[...] = 7
    assert all((mf.to_host(array) != 7).any() for array in kept.memory.values()), "the state is not a copy"


@pytest.mark.parametrize("description", ALL_RULES)
def test_B_is_updated_as_soon_as_a_state_is_loaded(description):
    """B will carry the next error, and for some rules it is computed from the loaded state."""
    kept, other = (make(description, seed=seed).attach(network_for(description)) for seed in (1, 2))
    if description != "brsf":  # its draws depend on the seed
        other.load_state(kept.state())
        for name, matrix in kept.B.items():
            np.testing.assert_array_equal(mf.to_host(other.B[name]), mf.to_host(matrix))


def gradients_or_none(net, rule, x, y):
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    return dict(net.gradients())


@pytest.mark.parametrize(
    "corrupt, message",
    [
        (lambda s: s.pop("linear2"), r"does not belong to the rule 'fa': missing \['linear2'\]"),
        (lambda s: s.update(linear1=np.zeros((4, 5))), r"unknown \['linear1'\]"),
        (
            lambda s: s.update(linear3=np.zeros((3, 6))),
            r"'linear3' of the rule 'fa' must have shape \(6, 3\), got \(3, 6\)",
        ),
        (lambda s: s.update(linear3=np.full((6, 3), np.inf)), "'linear3' of the rule 'fa' must hold finite numbers"),
    ],
    ids=["missing", "unknown", "shape", "infinite"],
)
def test_a_state_that_does_not_fit_changes_nothing(corrupt, message):
    rule = FA().attach(mlp())
    before, state = rule.state(), FA(seed=1).attach(mlp()).state()
    corrupt(state)
    with pytest.raises(ValueError, match=message):
        rule.load_state(state)
    for name, array in rule.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_attaching_to_a_new_network_draws_new_feedback():
    rule = FA().attach(mlp())
    first = rule.B["linear2"]
    rule.attach(mlp(hidden=(5,)))
    assert rule.B.keys() == rule.memory.keys() == {"linear2"} and rule.B["linear2"].shape == (5, 3) != first.shape


def test_the_number_of_entries_of_the_feedback():
    net = mlp()  # 4-5-6-3
    W = 5 * 6 + 6 * 3
    for description, count in (
        ("bp", 0),
        ("fa", W),
        ("fa:normalise=init", W),
        ("usf", 0),
        ("usf:scale=init", 0),
        ("frsf", W),
        ("frsf:concordance=0.7", 2 * W),
        ("dfa", (5 + 6) * 3),
    ):
        rule = make(description).attach(net)
        assert sum(rule.feedback_size(layer) for layer in net) == count, description


# --- by name ----------------------------------------------------------------------------------------------------------


def test_a_rule_from_its_name_and_options():
    rule = make("fa:conv=kernel,sparsity=0.5,rescale_sparse=false,normalise=none,init=xavier_normal", seed=3)
    assert (rule.name, rule.seed, rule.sparsity, rule.rescale_sparse, rule.normalise) == ("fa", 3, 0.5, False, None)
    assert rule.init.name == "xavier_normal"
    assert make("usf:scale=init").scale == "init" and make("usf:scale=2").scale == 2
    assert {name: make(name).name for name in mf.rules.RULES} == {name: name for name in mf.rules.RULES}


@pytest.mark.parametrize(
    "description, message",
    [
        ("fas", "unknown rule 'fas': did you mean .*fa"),
        ("quantum", "unknown rule 'quantum': known: .*bp, brsf, .*dfa, "),
        ("fa:sparsty=0.5", "unknown option of rule 'fa' 'sparsty': did you mean sparsity"),
        ("bp:scale=1", "the rule 'bp' takes no options"),
        ("usf:scale", "an option of a rule must be written key=value, got 'scale'"),
        ("usf:scale=strickt", "scale must be 'strict', 'init', 'std' or a number above 0, got 'strickt'"),
        ("usf:scale=0", "scale must be above 0, got 0"),
        ("usf:scale=nan", "scale must be above 0, got nan"),
        ("usf:concordance=0.3", "from 0.5 .chance. to 1, got 0.3"),
        ("frsf:signs=dead", "signs must be 'live' or 'initial', got 'dead'"),
        ("frsf:normalise=always", "normalise must be None, 'strict' or 'init', got 'always'"),
        ("fa:sparsity=1", "sparsity must be at least 0 and below 1, got 1"),
        ("fa:correlation=2", r"correlation must lie in \[-1, 1\], got 2"),
        ("fa:angle=181", r"angle must lie in \[0, 180\], got 181"),
        ("fa:angle=-1", r"angle must lie in \[0, 180\], got -1"),
        ("fa:angle=30,sparsity=0.5", "exact only without correlation and sparsity, got angle=30.0, correlation=0.0"),
        ("fa:angle=30,correlation=0.5", "give the angle alone"),
        ("fa:angle=30,conv=dense", "a dense B is not of W's shape: correlation, angle and normalise need"),
        ("fa:conv=toeplitz", "conv must be 'kernel' or 'dense', got 'toeplitz'"),
        ("fa:conv=dense,normalise=strict", "a dense B is not of W's shape"),
        ("fa:init=henormal", "unknown initialiser 'henormal': did you mean he_normal"),
        ("fa:init=3", "unknown initialiser 3: known: .*he_normal"),
        ("dfa:at=output", "at must be 'activation' or 'stage', got 'output'"),
        ("dfa:family=cauchy", "family must be 'uniform' or 'gaussian', got 'cauchy'"),
        ("dfa:sd=0", "sd must be above 0, got 0"),
        ("fa:sparsity=half", "the rule 'fa' cannot take the options 'sparsity=half'"),
        ("usf:scale=none", "the rule 'usf' cannot take the options 'scale=none'"),
        ("product:ratio=0", "ratio must be at least 1, got 0"),
        ("product:fixed=identity,ratio=2", "ratio must be 1 for fixed='identity', got 2"),
        ("product:fixed=sparse", "fixed must be 'gaussian', 'orthogonal' or 'identity', got 'sparse'"),
        ("weight_mirror:rate=0", "rate must be above 0, got 0"),
        ("weight_mirror:rate=1.5", "rate must be at most 1, got 1.5"),
        ("weight_mirror:sigma=0", "sigma must be above 0, got 0"),
        ("weight_mirror:every=0", "every must be at least 1, got 0"),
        ("symmetric_alignment:rate=0", "rate must be above 0, got 0"),
        ("information_alignment:rate=nan", "rate must be above 0, got nan"),
        ("pepita:scale=0", "scale must be above 0, got 0"),
        ("pepita:output=third", "output must be 'first' or 'second', got 'third'"),
        ("node_perturbation:sigma=0", "sigma must be above 0, got 0"),
        ("weight_perturbation:sigma=-1", "sigma must be above 0, got -1"),
        ("direct_kolen_pollack:shared=true", "unknown option"),
        ("kolen_pollack:rate=1", "takes no options"),
    ],
)
def test_unknown_names_and_options_of_rules_are_refused_with_a_hint(description, message):
    with pytest.raises(ValueError, match=message):
        make(description)


@pytest.mark.parametrize("name", mf.rules.RULES)
def test_every_rule_has_a_description(name):
    rule = mf.rules.RULES[name]
    assert rule.title and rule.equation and rule.paper and rule.needs
    assert "\n" not in rule.equation


# --- input error ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["bp", "fa", "usf", "frsf"])
def test_the_error_at_the_input_is_carried_by_the_first_feedback_matrix(description):
    net = network([Linear(4, 5), Tanh(), Linear(5, 3)], (4,), input_error=True)
    rule = make(description).attach(net)
    x, y = data()
    rule.gradients(net, x, y, HALF)
    below = net.backward(rule.error, rule)
    # delta_0 = ((e B2^T) f'(u1)) B1^T
    B1, B2 = rule.B["linear1"], rule.B["linear2"]
    np.testing.assert_allclose(
        below, (rule.error @ B2.T * (1 - net["tanh1"].cache ** 2)) @ B1.T, rtol=1e-12, atol=1e-15
    )


def test_rules_learn_a_task_that_the_output_layer_alone_cannot():
    """The parity of four signs: unless hidden layers learn, eight random features are no better than chance, log 2."""
    x = np.array(list(itertools.product((-1.0, 1.0), repeat=4)))
    y = (x.prod(axis=1) > 0).astype(int)
    final = {}
    for name in ("bp", "fa", "usf", "frsf", "brsf", "dfa", "shallow"):
        net = Network([Linear(4, 8), Tanh(), Linear(8, 2)], seed=1)
        rule, optimizer = make(name, seed=1).attach(net), mf.SGD(0.3, momentum=0.9)
        for _ in range(300):
            final[name] = float(rule.gradients(net, x, y, mf.SoftmaxCrossEntropy()))
            optimizer.step(net, rule)
    assert final.pop("shallow") > 0.6, final
    assert max(final.values()) < 0.1, final


def test_inputs_helper_avoids_kinks():
    x = inputs((50,), n=20)
    assert abs(x).min() >= 0.01 and len(np.unique(x)) == x.size


def test_stale_copies_the_weights_every_k_updates():
    """B(t) = W(k floor(t / k))."""
    net, x, y = mlp(), *data()
    rule = make("stale:every=3").attach(net)
    optimizer, weights = mf.SGD(lr=0.1), []
    for step in range(7):
        weights.append(net["linear2"].W.copy())
        rule.gradients(net, x, y, HALF)
        np.testing.assert_array_equal(rule.B["linear2"], weights[3 * (step // 3)])
        optimizer.step(net, rule)


# --- assigned matrices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["fa", "dfa", "kolen_pollack", "weight_mirror", "symmetric_alignment"])
def test_an_assigned_matrix_carries_the_error(description):
    net, x, y = mlp(), *data()
    rule = make(description).attach(net)
    name = next(iter(rule.B))
    mine = np.arange(rule.B[name].size, dtype=float).reshape(rule.B[name].shape)
    before = gradients(net, rule, x, y)
    rule.set_feedback(name, mine.copy(order="F"))
    after = gradients(net, rule, x, y)
    np.testing.assert_array_equal(rule.B[name], mine)
    assert any(not np.array_equal(before[key], after[key]) for key in before)


def test_invalid_assignments_of_feedback_raise_a_clear_error():
    net = mlp()
    rule = FA().attach(net)
    with pytest.raises(TypeError):
        rule.B["linear2"] = net["linear2"].W
    for corrupt in (lambda: setattr(rule, "B", {}), lambda: rule.B.update(linear2=1), lambda: rule.B.pop("linear2")):
        with pytest.raises((TypeError, AttributeError)):  # an entry there would not be used
            corrupt()
    assert list(rule.B) == ["linear2", "linear3"] and len(rule.B) == 2
    assert rule.B["linear2"] is rule.feedback(net["linear2"])
    with pytest.raises(ValueError, match="'linear2' of .*'fa' must have shape"):
        rule.set_feedback("linear2", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="the rule 'usf' stores no matrix 'linear2'"):
        USF().attach(net).set_feedback("linear2", net["linear2"].W)
    with pytest.raises(RuntimeError, match="has no matrix for Linear 'linear'"):
        FA().feedback(Linear(3, 4))


def two_weights(rule):
    """(layer, rule) of a net whose second layer has the weights 3 and -4."""
    net = Network([Linear(2, 2), Linear(2, 1)])
    net["linear2"].W = [[3.0], [-4.0]]
    return net["linear2"], rule.attach(net)


@pytest.mark.parametrize("options", [{}, {"normalise": "strict"}, {"normalise": "init"}], ids=str)
def test_frsf_uses_the_magnitudes_of_a_matrix_with_any_signs(options, engine):
    """B = abs(M) sign(W), also if M was assigned or loaded."""
    layer, rule = two_weights(FRSF(**options))
    size = 5 / math.sqrt(50) if options else 1.0  # B is scaled to W's norm, 5
    rule.set_feedback("linear2", [[-5.0], [-5.0]])
    for B in (rule.feedback(layer), rule.B["linear2"]):
        np.testing.assert_allclose(mf.to_host(B), [[5 * size], [-5 * size]], rtol=1e-6)
    layer, rule = two_weights(FRSF(**options))
    rule.load_state({**rule.state(), "linear2": np.array([[-5.0], [5.0]])})
    np.testing.assert_allclose(mf.to_host(rule.B["linear2"]), [[5 * size], [-5 * size]], rtol=1e-6)
    rule = FRSF(concordance=0.5).attach(small_convnet())
    kept = rule.state()
    rule.load_state(kept)  # the mask keeps its signs
    for key, array in rule.state().items():
        np.testing.assert_array_equal(array, kept[key])


@pytest.mark.parametrize("made", [0, 1])
def test_brsf_refuses_a_matrix_that_it_would_overwrite(made, engine):
    """It draws B again for every update, also in a resumed run, so an assigned matrix could not be kept."""
    layer, rule = two_weights(BRSF(concordance=0.75))
    for _ in range(made):
        mf.SGD(0.1).step(rule.net, rule)
    before = mf.to_host(rule.B["linear2"]).copy()
    with pytest.raises(
        ValueError, match="'brsf' cannot be set, because it redraws them for every update: use the rule 'frsf'"
    ):
        rule.set_feedback("linear2", [[5.0], [5.0]])
    np.testing.assert_array_equal(mf.to_host(rule.B["linear2"]), before)
    rule.set_feedback("linear2/mask", [[-1.0], [1.0]])  # the mask is drawn once
    assert np.sign(mf.to_host(rule.B["linear2"])).ravel().tolist() == [-1, -1]


@pytest.mark.parametrize("description", ALL_RULES)
def test_B_holds_the_matrix_of_the_next_backward_pass(description, engine, monkeypatch):
    """After an assignment, loaded weights, assigned or loaded feedback: before the first pass and between two
    passes."""
    net = network_for(description)
    rule = make(description).attach(net)
    x, y = batch(shape=net.input_shape)

    def carried():
        used = {}
        with net.preserved(), rule.preserved(), monkeypatch.context() as patched:
            record_carried(net, used, patched)
            rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        for layer in net.weighted:
            del layer.carry
        return {name: mf.to_host(matrix).copy() for name, matrix in used.items()}

    def check(why):
        shown = {name: mf.to_host(rule.B[name]).copy() for name in rule.B}
        used = carried()
        for name in used.keys() & shown.keys():
            np.testing.assert_array_equal(shown[name], used[name], err_msg=f"{name} {why}")

    second = net.weighted[-1] if description in VECTOR_RULES else net["linear2"]
    for passes in range(2):
        check("at the start")
        second.W = -2 * second.W
        check("after an assignment")
        net.load_state(network_for(description, seed=5 + passes).state())
        check("after loading weights")
        rule.load_state(make(description, seed=3).attach(network_for(description, seed=8)).state())
        check("after loading feedback")
        if not passes:
            net["linear1"].W *= -3
            check("after a change in place, before the first pass")
        for key, array in rule.state().items():
            if description != "brsf" or "/" in key:
                rule.set_feedback(key, -array if array.ndim > 1 else array)
        check("after feedback was given")
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())


def test_B_of_the_last_pass_is_kept_until_feedback_is_assigned():
    """An update changes the weights, but not the matrix that carried the last error."""
    net, x, y = mlp(), *data()
    rule = FRSF().attach(net)
    rule.gradients(net, x, y, HALF)
    B = rule.B["linear2"]
    mf.SGD(10.0).step(net, rule)
    assert rule.B["linear2"] is B and (rule.feedback(net["linear2"]) != B).any()


def test_a_rule_may_compute_its_feedback_from_B():
    """`feedback` may read the current B while the new one is computed."""

    class Fading(FA):
        def feedback(self, layer):
            return self.B.get(layer.name, super().feedback(layer)) * 0.5

    net, x, y = mlp(), *data()
    rule = Fading().attach(net)
    first = rule.memory["linear2"]
    rule.gradients(net, x, y, HALF)
    assert (abs(rule.B["linear2"]) < abs(first)).all()


@pytest.mark.parametrize("behind", [mf.Sigmoid, lambda: Residual([mf.Sigmoid()])], ids=["layer", "block"])
def test_direct_rules_broadcast_the_error_of_the_output_layer_also_before_an_activation(behind):
    """[Linear, Tanh, Linear, Sigmoid]: e = dL/da of the last Linear, so DFA with F = B is FA."""
    net = network([Linear(4, 5), Tanh(), Linear(5, 3), behind()], (4,))
    x, y = data(n_in=4) if "n_in" in data.__code__.co_varnames else batch(shape=(4,))
    y = np.eye(3)[y] if y.ndim == 1 else y
    fa, dfa = FA().attach(net), DFA().attach(net)
    dfa.set_feedback("tanh1", fa.B["linear2"])
    first, second = (gradients(net, rule, x, y) for rule in (fa, dfa))
    for key in first:
        np.testing.assert_allclose(first[key], second[key], rtol=1e-12, err_msg=key)


@pytest.mark.parametrize("description", ["fa", "pepita", "weight_perturbation"])
def test_invalid_targets_are_refused_before_anything_changes(description):
    net, (x, y) = small_convnet(), batch()
    rule = make(description).attach(net)
    before = net.state()
    for bad in (y + 100, y[:-1], y[:, None], y.astype(float)):
        with pytest.raises(ValueError):
            rule.gradients(net, x, bad, mf.SoftmaxCrossEntropy())
    assert all(np.array_equal(array, before[key]) for key, array in net.state().items())


def test_b_names_its_matrices_and_points_to_set_feedback():
    rule = FA(seed=0).attach(mlp())
    with pytest.raises(KeyError, match="unknown matrix of B 'linear9': did you mean linear"):
        rule.B["linear9"]
    with pytest.raises(TypeError, match=r"rule.B is read-only: rule.set_feedback\('linear2', matrix\) replaces"):
        rule.B["linear2"] = 0
    assert "linear2" in rule.B and "linear9" not in rule.B and rule.B.get("linear9") is None
    with pytest.raises(KeyError, match="known: none"):
        FA().B["linear2"]
