"""Vector networks and `gevb` against the equations and the claims of Clark, Abbott & Chung 2021."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_same_bits, gradients, update

import minifa as mf
from minifa import Flatten, Gate, Linear, Network, Tanh, VectorLinear, Vectors
from minifa.cli import program
from minifa.experiments import run_folder
from minifa.layers.observer import Observer, observing
from minifa.rules import BP, DFA, GEVB, make
from minifa.testing.examples import CHAIN_RULES, LINEAR_RULES, RULES

pytestmark = pytest.mark.usefixtures("float64")

CE = mf.SoftmaxCrossEntropy()
SIGNS = {"nonnegative": True, "mixed": False}


def net_of(*hidden, signs="nonnegative", K=4, n_in=10, seed=0):
    return Network(mf.models.vector_mlp((n_in,), K, hidden, signs), seed=seed, input_shape=(n_in,))


def gates_of(net):
    return [layer for layer in net if isinstance(layer, Gate)]


def examples(n, K=4, n_in=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_in)), rng.integers(0, K, n)


def both(net, x, y, nonnegative=True):
    """The gradients of W by backpropagation and by gevb, as pairs by layer."""
    true, own = (gradients(net, rule.attach(net), x, y, CE) for rule in (BP(), GEVB(nonnegative=nonnegative)))
    return {layer.name: (true[f"{layer.name}.W"], own[f"{layer.name}.W"]) for layer in net.weighted}


def cosines(pairs):
    return [math.cos(math.radians(float(mf.metrics.angle(true, own)))) for true, own in pairs.values()]


# --- the equation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", SIGNS)
def test_the_gradients_are_gated_products_of_the_error_with_the_activities(signs):
    net, (x, y) = net_of(6, 4, signs=signs), examples(7)
    rule = GEVB(nonnegative=SIGNS[signs]).attach(net)
    seen = mf.Listen({"gate1", "gate2", "vectors1", "vectorlinear1"})
    net.forward(x, seen)
    h1, h2, a1, a2 = (seen.outputs[name] for name in ("gate1", "gate2", "vectors1", "vectorlinear1"))
    got, e = gradients(net, rule, x, y, CE), rule.error
    open1, open2 = ((np.einsum("kj,nkj->nj", net[name].t, a) >= 0) for name, a in (("gate1", a1), ("gate2", a2)))
    expected = {
        "vectorlinear2.W": np.einsum("nk,nkj->j", e, h2)[:, None],
        "vectorlinear2.b": e.sum(axis=0)[:, None],
        "vectorlinear1.W": np.einsum("ni,nk,nkj->ji", open2, e, h1),
        "vectorlinear1.b": np.einsum("ni,nk->ki", open2, e),
        "linear1.W": np.einsum("nj,nk,nx->xkj", open1, e, x).reshape(10, -1),
        "linear1.b": np.einsum("nj,nk->kj", open1, e).ravel(),
    }
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(got[name], gradient, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("recompute", [False, True])
def test_gevb_is_dfa_with_an_identity_matrix_repeated_for_the_units(recompute):
    ends = []
    for rule in (GEVB(nonnegative=False, recompute=recompute), DFA(at="activation")):
        net = net_of(6, 4, signs="mixed")
        rule.attach(net)
        if type(rule) is DFA:
            for gate in gates_of(net):
                rule.set_feedback(gate.name, np.kron(np.eye(4), np.ones((gate.features, 1))))
        optimizer = mf.Adam(0.01)
        for step in range(3):  # every error is that of the present outputs
            update(net, rule, *examples(5, seed=step), CE, optimizer)
        ends.append({**net.state(), **optimizer.state(), **rule.B})
    assert_same_bits(*ends)


def test_nothing_is_stored_and_B_shows_stripes():
    net = net_of(6, 4)
    rule = GEVB().attach(net)
    assert rule.memory == rule.state() == {} and {rule.feedback_size(layer) for layer in net} == {0}
    assert {name: F.shape for name, F in rule.B.items()} == {"gate1": (24, 4), "gate2": (16, 4)}
    F = np.asarray(rule.B["gate2"]).reshape(4, 4, 4)  # (component, unit, output)
    assert (F == np.eye(4)[:, None]).all()


# --- known answers ----------------------------------------------------------------------------------------------------


class Errors(Observer):
    def __init__(self):
        self.at = {}

    def on_teach(self, layer, delta, taught):
        self.at[layer.name] = taught


@pytest.mark.parametrize("signs", SIGNS)
def test_the_error_of_backpropagation_is_the_output_error_times_a_number_for_each_unit(signs):
    """G1: rank 1 over the components. The numbers g are at least 0 with non-negative weights."""
    net, (x, y) = net_of(8, 6, 6, signs=signs), examples(9)
    rule = BP().attach(net)
    with observing(seen := Errors()):
        rule.gradients(net, x, y, CE)
    e = rule.error
    for gate in gates_of(net):
        delta = seen.at[gate.name]
        g = np.einsum("nk,nkj->nj", e, delta) / (e * e).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(delta, e[:, :, None] * g[:, None], rtol=1e-12, atol=1e-16)
        assert (g >= -1e-16).all() == SIGNS[signs]


@pytest.mark.parametrize("signs", SIGNS)
def test_with_non_negative_weights_every_sign_of_the_gradient_of_an_example_is_right(signs):
    """G2. With mixed signs about half of them are right."""
    net = net_of(16, 12, 12, signs=signs)
    rule = GEVB(nonnegative=SIGNS[signs]).attach(net)
    *hidden, output = mf.metrics.gradient_signs(net, rule, *examples(20), CE).values()
    assert output == 1
    if SIGNS[signs]:
        assert hidden == [1, 1, 1]
    else:
        assert all(0.25 < one < 0.75 for one in hidden)


def check_cosines(width, lowest):
    """The last hidden layer is just below the output layer, half of whose weights are 0 and half |Gaussian|."""
    found = np.mean([cosines(both(net_of(*3 * [width], seed=s), *examples(32, seed=s))) for s in range(3)], axis=0)
    assert found[0] > lowest[0] and found[1] > lowest[1] and found[3] == pytest.approx(1)
    assert found[2] == pytest.approx(1 / math.sqrt(math.pi), abs=0.03)
    return found


def test_the_gradient_tends_to_that_of_backpropagation_with_the_width_but_not_in_the_last_hidden_layer():
    """G4: cosines at the start, of four layers, 32 examples and four classes."""
    narrow, wide = check_cosines(64, (0.93, 0.87)), check_cosines(256, (0.98, 0.965))
    assert (wide[:2] > narrow[:2]).all()


@pytest.mark.long
def test_the_cosines_at_a_width_of_1024():
    check_cosines(1024, (0.995, 0.99))


def half_network(net):
    """The network of half the widths and of mixed signs that an ON/OFF network equals at the start."""
    K, n_in = net.output_layer.dimension, net.input_shape[0]
    widths = [gate.features // 2 for gate in gates_of(net)]
    layers = [Linear(n_in, K * widths[0]), Vectors(K)]
    for below, width in zip(widths, [*widths[1:], 1], strict=True):
        layers += [Gate(below, K), VectorLinear(below, width, K)]
    half = Network([*layers, Flatten()])
    half["linear1"].W = net["linear1"].W.reshape(n_in, K, -1)[:, :, ::2].reshape(n_in, -1)
    for mine, its in zip(gates_of(half), gates_of(net), strict=True):
        mine.t = its.t[:, ::2]
    for mine, its in zip(half.weighted[1:], net.weighted[1:], strict=True):
        mine.W = its.W[::2, ::2] - its.W[1::2, ::2]
    return half


def test_an_on_off_network_starts_as_its_half_of_mixed_signs():
    net, (x, _) = net_of(8, 6), examples(20)
    half = half_network(net)
    np.testing.assert_allclose(net.forward(x), half.forward(x), rtol=1e-13, atol=1e-15)
    for W in (layer.W for layer in net.weighted[1:]):
        assert (W >= 0).all() and (np.minimum(W[::2], W[1::2]) == 0).all()  # of each pair one weight is 0
    first = net["gate1"]
    t = first.t
    assert (t[:, ::2] == -t[:, 1::2]).all() and set(t.ravel()) == {-1, 1}
    first.t = np.where(np.arange(8) == 3, -t, t)  # one pair with equal t: one of its gates is always closed
    assert abs(net.forward(x) - half.forward(x)).max() > 1e-3


# --- the clamp --------------------------------------------------------------------------------------------------------


def test_weights_above_the_first_layer_are_clamped_after_the_optimizer_has_moved_them():
    """The moments of Adam are those of the unclamped gradients; the first layer and frozen layers are not clamped."""
    ends = []
    for nonnegative in (True, False):
        net = net_of(6, 4)
        optimizer = mf.Adam(0.1)
        update(net, GEVB(nonnegative=nonnegative).attach(net), *examples(5), CE, optimizer)
        ends.append(({name: array for name, array in net.parameters().items() if name.endswith("W")}, optimizer))
    (clamped, one), (free, other) = ends
    assert_same_bits(one.state(), other.state())
    assert min(free[name].min() for name in ("vectorlinear1.W", "vectorlinear2.W")) < 0 > clamped["linear1.W"].min()
    assert_same_bits(clamped, {name: W if name == "linear1.W" else np.maximum(W, 0) for name, W in free.items()})

    net = net_of(6, 4)
    rule = GEVB().attach(net)
    net.freeze("vectorlinear1")
    net["vectorlinear1"].W[0, 0] = -1
    rule.constrain(net)
    assert net["vectorlinear1"].W[0, 0] == -1


@pytest.mark.long
def test_it_learns_the_digits_and_its_weights_stay_non_negative():
    data = mf.data.load("digits")
    with mf.using("numpy", "float32"):
        net = Network(mf.models.vector_mlp(data.input_shape, 10), seed=0, input_shape=data.input_shape)
        rule = GEVB().attach(net)
        mf.train(net, rule, data.train, CE, mf.Adam(3e-3), epochs=10, seed=0, progress=False)
        assert (net.predict(data.test.x).argmax(axis=1) == data.test.y).mean() > 0.95
        assert min(layer.W.min() for layer in net.weighted[1:]) == 0


# --- networks ---------------------------------------------------------------------------------------------------------


def vectors(*after, K=3):
    return [Linear(2, 2 * K), Vectors(K), *after]


@pytest.mark.parametrize(
    "layers, message",
    [
        ([Linear(2, 6), Tanh(), Linear(6, 3)], "components, one for each output, .* got <Linear 'linear2': W 6 x 3"),
        (vectors(Gate(2, 3), VectorLinear(2, 2, 3), Flatten()), "vectors of 6 .* got <VectorLinear 'vectorlinear1'"),
        (vectors(VectorLinear(2, 1, 3, init="onoff"), Flatten()), "got Linear 'linear1': put Vectors.3. behind"),
        (vectors(Tanh(), VectorLinear(2, 1, 3, init="onoff"), Flatten()), "teaches at a Gate .* got Tanh 'tanh1'"),
        (
            [Linear(2, 12), Vectors(3), Gate(4, 3), VectorLinear(4, 2, 3), Gate(2, 3), VectorLinear(2, 1, 3)],
            "at least 0 above the first layer, got -.* in VectorLinear 'vectorlinear1': create it with init='onoff'",
        ),
    ],
)
def test_other_networks_are_refused_by_the_name_of_the_layer(layers, message):
    with pytest.raises(ValueError, match=f"the rule 'gevb' .*{message}"):
        GEVB().attach(Network(layers, seed=1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: net_of(6, 5), "widths of the model 'vector_mlp' must be even with signs='nonnegative', got 5"),
        (lambda: net_of(6, signs="positive"), "signs of the model 'vector_mlp' must be 'nonnegative' or 'mixed'"),
        (lambda: VectorLinear(3, 2, 4, init="onoff"), "even number of inputs, and of outputs .* got 3 and 2"),
        (lambda: VectorLinear(4, 3, 4, init="onoff"), "even number of inputs, and of outputs .* got 4 and 3"),
        (lambda: Linear(3, 5, init="onoff_input"), r"pairs \(w, -w\) need an even number of outputs, got 5"),
    ],
)
def test_units_without_a_partner_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_odd_widths_with_mixed_signs_and_no_hidden_layer_at_all():
    for hidden in ((5, 3), ()):
        net = net_of(*hidden, signs="mixed")
        update(net, GEVB(nonnegative=False).attach(net), *examples(3), CE, mf.SGD(0.1))
        assert net.output_shape == (4,)


@pytest.mark.parametrize("description", [name for name in RULES if not name.startswith("pepita")])
def test_the_other_rules_run_on_a_vector_network(description):
    net, (x, y) = net_of(8, 8, signs="mixed"), examples(5)
    rule, before = make(description).attach(net), net["linear1"].W.copy()
    for _ in range(2):
        assert np.isfinite(update(net, rule, x, y, CE, mf.SGD(0.1)))
    assert (net["linear1"].W != before).any() == (description != "shallow")
    if rule.crosses_weights:
        assert {name: B.shape for name, B in rule.B.items() if "/" not in name} == {
            "vectorlinear1": (8, 8),
            "vectorlinear2": (8, 1),
        }


@pytest.mark.parametrize("description", [*CHAIN_RULES, *LINEAR_RULES])
def test_rules_with_targets_and_inverses_refuse_a_vector_network_by_the_name_of_a_layer(description):
    with pytest.raises(ValueError, match="no target through Gate 'gate1'|cannot invert VectorLinear 'vectorlinear1'"):
        make(description).attach(net_of(4, 4, signs="mixed"))


def test_with_the_weights_as_feedback_fa_is_backpropagation_on_a_vector_network():
    net, (x, y) = net_of(6, 4), examples(5)
    true, sham = (gradients(net, make(name).attach(net), x, y, CE) for name in ("bp", "sham"))
    assert_same_bits(true, sham)


def test_the_command_line_trains_a_vector_network_of_either_sign(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["train", "--data", "xor", "--model", "vector_mlp", "--hidden", "8,4", "--lr", "0.1", "--epochs", "1"]
    for signs, rule in (("nonnegative", "gevb"), ("mixed", "gevb:nonnegative=false")):
        assert program.main([*given, "--signs", signs, "--rule", rule, "--out", signs]) == 0
        net = run_folder.open_run(signs)[0]
        assert (net["vectorlinear1"].W.min() < 0) == (signs == "mixed") and net["gate2"].t.shape == (2, 4)
    assert program.main([*given, "--signs", "mixed", "--rule", "gevb"]) == 2
    assert "in the model vector_mlp signs='nonnegative'" in " ".join(capsys.readouterr().err.split())
