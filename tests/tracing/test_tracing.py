"""A traced step is the training step with listeners: it changes nothing, its values are correct, and its listeners
are removed after the step."""

import re

import numpy as np
import pytest
from checks import assert_same_bits, train_a_little, trained_on_numpy

import minifa as mf
from minifa.layers.local_response_norm import neighbours
from minifa.rules.target_rule import TargetRule
from minifa.testing.examples import ALL_RULES, CHAIN_RULES, batch, network_for, small_convnet
from minifa.tracing.equations import with_numbers


def tiny(rule="fa", optimizer=None, loss=None, layers=None, dtype="float64"):
    """A small net, its rule and a batch; float64 by default."""
    net = mf.Network(layers or [mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)], seed=0, input_shape=(3,))
    rng = np.random.default_rng(1)
    x, y = mf.asarray(rng.standard_normal((5, 3)).astype(dtype)), np.array([0, 1, 1, 0, 1])
    rule = mf.rules.make(rule, seed=2).attach(net)
    return net, rule, x, y, loss or mf.SoftmaxCrossEntropy(), optimizer or mf.SGD(0.5)


@pytest.mark.parametrize("description", ALL_RULES)
def test_a_traced_step_equals_an_untraced_step_bit_for_bit(description, engine):
    traced = train_a_little(description, update=lambda *parts: mf.trace(*parts).value)
    assert_same_bits(traced, trained_on_numpy(description))


OPTIMIZERS = {
    "sgd": lambda: mf.SGD(0.1),
    "momentum": lambda: mf.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: mf.SGD(0.1, momentum=0.9, nesterov=True),
    "manhattan": lambda: mf.SGD(0.1, weight_decay=0.01, manhattan=True),
    "adam": lambda: mf.Adam(0.01, weight_decay=0.01),
    "adamw": lambda: mf.AdamW(0.01),
    "rmsprop": lambda: mf.RMSprop(0.01, momentum=0.5),
    "held": lambda: mf.SGD(0.5, clip_norm=0.01, constrain_weights=True, freeze_signs=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_makes_the_same_update_with_and_without_tracing(name, float64):
    ends = []
    for watched in (True, False):
        parts = tiny("kolen_pollack", OPTIMIZERS[name]())
        net, rule, x, y, loss, optimizer = parts
        for _ in range(2):
            if watched:
                mf.trace(*parts)
            else:
                rule.gradients(net, x, y, loss)
                optimizer.step(net, rule)
        ends.append({**net.state(), **rule.state(), **optimizer.state()})
    assert_same_bits(*ends)


def test_an_update_shows_the_rate_and_the_decay_of_its_group(float64):
    optimizer = mf.SGD(0.5, weight_decay=0.25, decay_bias=False, lr_factors={"linear2": 0.5})
    trace = mf.trace(*tiny("kolen_pollack", optimizer))
    updates = {moment.title: moment for moment in trace if "update" in moment.kind}
    shown = {title: (moment.equation.count("decay"), moment.terms["lr"]) for title, moment in updates.items()}
    assert shown["Update of linear1.W"] == (1, 0.5) and shown["Update of linear1.b"] == (0, 0.5)
    assert shown["Update of linear2.W"] == shown["Update of linear2.B by the optimizer"] == (1, 0.25)
    assert optimizer.lr == 0.5


def listeners(*owners):
    return {
        (type(one).__name__, name)
        for one in owners
        for name in vars(one)
        if callable(vars(one)[name]) and callable(getattr(type(one), name, None))
    }


def test_no_listener_exists_before_or_after_the_step(float64):
    parts = tiny()
    net, rule, *_, optimizer = parts
    assert listeners(*net, rule, optimizer) == set()
    mf.trace(*parts)
    assert listeners(*net, rule, optimizer) == set()


def test_no_listener_remains_after_a_failed_step(float64):
    class FailingSGD(mf.SGD):
        def constrain(self, net):
            super().constrain(net)
            raise RuntimeError("in the middle of the step")

    parts = tiny(optimizer=FailingSGD(0.1))
    with pytest.raises(RuntimeError, match="middle"):
        mf.trace(*parts)
    assert listeners(*parts[0], parts[1], parts[5]) == set()


def test_the_moments_of_feedback_alignment_are_in_order(float64):
    trace = mf.trace(*tiny("fa"))
    assert [(m.kind, m.layer) for m in trace] == [
        ("batch", ""),
        ("forward", "linear1"),
        ("forward", "tanh1"),
        ("forward", "linear2"),
        ("loss", ""),
        ("gradients", "linear2"),
        ("feedback", "linear2"),
        ("carry", "linear2"),
        ("backward", "tanh1"),
        ("gradients", "linear1"),
        ("update", "linear1"),
        ("update", "linear1"),
        ("update", "linear2"),
        ("update", "linear2"),
        ("feedback_update", ""),
    ]


@pytest.mark.parametrize(
    "description, kinds",
    [
        ("bp", {"feedback", "carry"}),
        ("dfa", {"feedback", "teach"}),
        ("shallow", {"feedback"}),
        ("pepita", {"feedback", "teach"}),
        ("dense", {"feedback", "teach"}),
        ("node_perturbation", {"noise", "teach"}),
        ("weight_perturbation", set()),
        ("dtp", {"feedback", "teach"}),
    ],
)
def test_each_rule_has_its_moments_of_the_backward_pass(description, kinds, float64):
    trace = mf.trace(*tiny(description))
    others = {"batch", "forward", "loss", "gradients", "backward", "update", "feedback_update"}
    assert {m.kind for m in trace} - others == kinds


def test_the_second_pass_of_pepita_is_distinguished(float64):
    trace = mf.trace(*tiny("pepita"))
    taught = next(m for m in trace if m.kind == "teach")
    h, h_err = taught.arrays["tanh1.y"], taught.arrays["tanh1.y@2"]
    assert not np.array_equal(h, h_err)
    np.testing.assert_allclose(taught.terms["delta"], (h - h_err) / 5, rtol=1e-12)


@pytest.mark.parametrize("description", [one for one in CHAIN_RULES if isinstance(mf.rules.make(one), TargetRule)])
def test_the_targets_are_in_the_trace_of_a_rule_with_targets(description, float64):
    net = network_for(description)
    rule, loss, optimizer = mf.rules.make(description, seed=2).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.5)
    x, y = batch(shape=net.input_shape)
    rule.gradients(net, x, y, loss)
    activities, targets = rule.activities, rule.targets
    trace = mf.trace(net, rule, x, y, loss, optimizer)
    taught = {m.layer: m for m in trace if m.kind == "teach"}
    assert taught.keys() == targets.keys()
    for name, moment in taught.items():
        h, t = activities[name], moment.arrays[f"{name}.t"]
        np.testing.assert_allclose(t, targets[name], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(moment.terms["ratio"], np.linalg.norm(t - h) / np.linalg.norm(h), rtol=1e-9)
        np.testing.assert_allclose(moment.terms["delta"], (h - t) / (len(x) * rule.eta), rtol=1e-9, atol=1e-12)
        assert {"h", "t"} <= moment.terms.keys() and moment.why.startswith("The target of the layer's output")


def test_the_way_of_a_target_down_its_maps_and_their_update_are_shown(float64):
    layers = [mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 3), mf.Tanh(), mf.Linear(3, 2)]
    trace = mf.trace(*tiny("dtp:sigma=0.25", layers=layers))
    taught = {m.layer: m for m in trace if m.kind == "teach"}
    assert taught["linear3"].equation == "t = h - eta * n * e\nratio = norm(t - h) / norm(h)"
    shown, above = taught["tanh1"].terms, taught["tanh2"].terms
    np.testing.assert_array_equal(shown["t_above"], above["t"])
    for symbol in ("t", "h"):
        np.testing.assert_allclose(shown[f"g_{symbol}"], np.tanh(shown[f"{symbol}_above"] @ shown["B"].T), rtol=1e-12)
    np.testing.assert_allclose(shown["t"], shown["h"] + shown["g_t"] - shown["g_h"], rtol=1e-12)
    feedback = next(m for m in trace if m.kind == "feedback")
    assert feedback.equation == "g(y) = f(y @ B.T)" and feedback.why.endswith("the layers below receive targets.")
    assert feedback.angles["W and B"] == mf.metrics.to_float(mf.metrics.angle(*map(feedback.terms.get, "WB")))
    update = [m for m in trace if m.kind == "feedback_update"]
    assert [m.title for m in update] == ["Update of linear2.B by the rule", "Update of linear3.B by the rule"]
    assert update[0].equation.startswith("B_new = B - rate * dB") and update[0].terms["sigma"] == 0.25
    assert (update[0].terms["B_new"] != update[0].terms["B"]).any()
    control = next(m for m in mf.trace(*tiny("tp")) if m.kind == "teach" and m.layer == "tanh1")
    assert control.equation.startswith("t = f(t_above @ B.T)\nratio") and "g_h" not in control.terms


def test_noise_is_traced_in_every_layer(float64):
    trace = mf.trace(*tiny("node_perturbation"))
    perturbed = [m for m in trace if m.kind == "noise"]
    assert [m.layer for m in perturbed] == ["linear1", "linear2"]
    for moment in perturbed:
        np.testing.assert_array_equal(moment.terms["y_shaken"], moment.terms["y"] + moment.terms["xi"])


def test_the_noise_of_perturbed_feedback_is_traced_after_the_backward_pass(float64):
    trace = mf.trace(*tiny("perturbed_feedback"))
    kinds = [m.kind for m in trace]
    (noise,) = [m for m in trace if m.kind == "noise"]
    assert noise.layer == "linear2" and noise.why.startswith("The noise on the input, times W.")
    assert kinds.index("carry") < kinds.index("noise") < kinds.index("feedback_update")
    update = trace[kinds.index("feedback_update")]
    assert update.title == "Update of linear2.B by the rule" and update.terms["rate"] == 0.1


def test_the_update_of_a_module_is_traced_by_the_symbols_of_its_equation(float64):
    trace = mf.trace(*tiny("synthetic"))
    updates = [m for m in trace if m.kind == "feedback_update"]
    assert [m.title for m in updates] == [f"Update of tanh1.{symbol} by the optimizer" for symbol in "ACc"]
    for moment, symbol in zip(updates, "ACc", strict=True):
        assert (
            moment.equation == f"{symbol}_new = {symbol} - lr * d{symbol}" and check_equation(moment, sum_over=0) == 1
        )
        assert f"tanh1.{symbol}" in trace[0].arrays and moment.new == (f"tanh1.{symbol}",)


def test_an_array_is_none_until_it_is_computed_and_then_stays(float64):
    trace = mf.trace(*tiny("fa"))
    names = set(trace[0].arrays)
    for before, after in zip(trace, trace[1:], strict=False):
        assert set(after.arrays) == names
        for name in names:
            if before.arrays[name] is not None:
                assert after.arrays[name] is not None
            elif after.arrays[name] is not None:
                assert name in after.new
            if name not in after.new:
                assert after.arrays[name] is before.arrays[name]
    first, last = trace[0].arrays, trace[-1].arrays
    assert first["linear1.y"] is first["linear1.dW"] is first["e"] is None
    assert first["linear1.W"] is not None and first["linear2.B"] is not None
    assert all(array is not None for array in last.values())


def test_arrays_are_copies_of_what_training_used(float64):
    net, rule, x, y, loss, optimizer = tiny("fa")
    start, B = net.state(), rule.B["linear2"].copy()
    trace = mf.trace(net, rule, x, y, loss, optimizer)
    last = trace[-1].arrays
    np.testing.assert_array_equal(trace[0].arrays["linear1.W"], start["linear1.W"])
    np.testing.assert_array_equal(last["linear1.W"], net["linear1"].W)
    np.testing.assert_array_equal(last["linear1.dW"], net["linear1"].grads["W"])
    np.testing.assert_array_equal(last["linear2.B"], B)
    net["linear1"].W[...] = 0
    assert np.any(last["linear1.W"])


def test_the_delta_of_backpropagation_is_shown_beside_that_of_the_rule(float64):
    net, rule, x, y, loss, optimizer = tiny("fa")
    bp_net, bp = tiny("bp")[:2]
    other = mf.trace(bp_net, bp, x, y, loss, mf.SGD(0.5))[-1].arrays
    own = mf.trace(net, rule, x, y, loss, optimizer)[-1].arrays
    for layer in ("linear1", "tanh1", "linear2"):
        np.testing.assert_array_equal(own[f"{layer}.delta_bp"], other[f"{layer}.delta"])
    assert not np.allclose(own["linear1.delta"], own["linear1.delta_bp"])


def test_the_angles_are_those_of_the_metrics(float64):
    net, rule, x, y, loss, optimizer = tiny("fa")
    measured = mf.metrics.alignment(net, rule, x, y, loss)
    trace = mf.trace(net, rule, x, y, loss, optimizer)
    angles = {m.kind: m.angles for m in trace if m.kind in ("feedback", "carry", "backward")}
    assert angles["feedback"]["W and B"] == pytest.approx(measured["linear2"]["weight_angle"], abs=1e-9)
    assert angles["carry"]["what B and W carry"] == pytest.approx(measured["linear2"]["local_angle"], abs=1e-9)
    assert angles["backward"]["this delta and backpropagation's"] == pytest.approx(
        measured["linear1"]["true_angle"], abs=1e-9
    )


# The equations hold ----------------------------------------------------------------------------------------------


def softmax(a):
    return np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)


FUNCTIONS = {
    "softmax": softmax,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "max": np.maximum,
    "where": np.where,
    "mean": lambda a: a.mean(axis=0) if a.ndim > 1 else a.mean(),
    "norm": np.linalg.norm,
    "abs": np.abs,
}


def check_equation(moment, sum_over):
    """Asserts that the formulas of the moment's equation hold for its terms. Returns the number of formulas."""
    names = {**FUNCTIONS, "sum": lambda a: a.sum(axis=sum_over), **moment.terms}
    if moment.kind == "loss":
        names["mean"] = np.mean
    checked = 0
    for line in moment.equation.replace("^", "**").split("\n"):
        left, _, right = line.partition(" = ")
        right = right.split(", M")[0].replace(") sign", ") * sign")  # as written in papers
        symbols = set(re.findall(r"(?<![.\w])[A-Za-z]\w*", right))
        if moment.terms.get(left) is None or any(names.get(one) is None for one in symbols):
            continue
        value = eval(right, {"__builtins__": {}}, names)
        np.testing.assert_allclose(moment.terms[left], value, rtol=1e-9, atol=1e-12, err_msg=moment.title)
        checked += 1
    return checked


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("activation", [mf.Tanh, mf.ReLU, mf.Sigmoid])
def test_equations_hold_for_the_shown_numbers(name, activation, float64):
    layers = [mf.Linear(3, 4), activation(), mf.Linear(4, 4, bias=False), activation(), mf.Linear(4, 2)]
    parts = tiny("kolen_pollack", OPTIMIZERS[name](), layers=layers)
    for _ in range(2):  # the second step has a velocity from the first
        trace = mf.trace(*parts)
    counts = {}
    for moment in trace:
        checked = check_equation(moment, sum_over=1 if moment.kind == "loss" else 0)
        counts[moment.kind] = counts.get(moment.kind, 0) + checked
    lines = parts[5].equation.count("\n") + 1
    expected = {
        "batch": 0,
        "forward": 5,
        "loss": 2,
        "gradients": 5,
        "feedback": 0,
        "carry": 2,
        "backward": 2,
        "update": 5 * lines,
        "feedback_update": 2 * lines,
    }
    if name == "held":
        expected.update(clip=0, constrain=0)
    assert counts == expected


@pytest.mark.parametrize("loss", [mf.MeanSquaredError, mf.HalfSquaredError, mf.SigmoidCrossEntropy])
def test_the_other_losses_equations_hold(loss, float64):
    net, rule, x, _, _, optimizer = tiny("bp")
    targets = np.random.default_rng(3).random((5, 2))
    moment = next(m for m in mf.trace(net, rule, x, targets, loss(), optimizer) if m.kind == "loss")
    assert check_equation(moment, sum_over=1) == 2


@pytest.mark.parametrize(
    "description, holds",
    [
        ("bp", 1),
        ("usf", 0),  # its s is a number that is not stored
        ("usf:concordance=0.6", 0),
        ("frsf", 1),
        ("frsf:concordance=0.6", 1),
        ("frsf:signs=initial", 1),
        ("fa:normalise=strict", 1),
        ("product", 1),
        ("brsf", 0),
        ("stale:every=3", 0),
        ("kolen_pollack", 0),
    ],
)
def test_the_equation_of_b_holds(description, holds, float64):
    parts = tiny(description)
    mf.trace(*parts)
    B = parts[1].feedback(parts[0]["linear2"]).copy()
    (moment,) = [m for m in mf.trace(*parts) if m.kind == "feedback"]
    assert check_equation(moment, sum_over=0) == holds
    np.testing.assert_array_equal(moment.terms["B"], B)
    assert moment.terms["W"] is not None  # shown beside it


@pytest.mark.parametrize("description", ["node_perturbation", "weight_perturbation"])
def test_the_equations_of_a_perturbed_net_hold(description, float64):
    trace = mf.trace(*tiny(description))
    moments = [m for m in trace if m.kind == ("teach" if description == "node_perturbation" else "gradients")]
    assert [check_equation(m, sum_over=0) for m in moments] == (
        [1, 1] if description == "node_perturbation" else [2, 2]
    )
    titles = [m.title for m in trace if m.kind == "forward"]
    assert ("parameters perturbed" in titles[0]) == (description == "weight_perturbation")
    assert "perturbed" not in titles[-1]


def test_batch_norm_dropout_and_leaky_slopes_appear_in_their_equations(float64):
    layers = [mf.Linear(3, 4), mf.BatchNorm(4), mf.LeakyReLU(0.2), mf.Dropout(0.3), mf.Linear(4, 2)]
    moments = [m for m in mf.trace(*tiny("bp", layers=layers)) if m.kind in ("forward", "backward")]
    checked = {(m.kind, m.layer): check_equation(m, sum_over=0) for m in moments if not m.layer.startswith("linear")}
    assert checked == {
        ("forward", "batchnorm1"): 2,
        ("forward", "leakyrelu1"): 1,
        ("forward", "dropout1"): 1,
        ("backward", "dropout1"): 1,
        ("backward", "leakyrelu1"): 1,
        ("backward", "batchnorm1"): 3,
    }


def test_response_normalisation_appears_in_its_equations(float64, monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "neighbours", lambda a: neighbours(a, 1, 0))  # of a size of 2
    monkeypatch.setitem(FUNCTIONS, "back_from_neighbours", lambda a: neighbours(a, 0, 1))
    layers = [mf.Linear(3, 4), mf.LocalResponseNorm(2, alpha=0.5), mf.Linear(4, 2)]
    moments = [m for m in mf.trace(*tiny("bp", layers=layers)) if m.layer == "localresponse1"]
    assert [(m.kind, check_equation(m, sum_over=0)) for m in moments] == [("forward", 2), ("backward", 1)]


def test_divisive_normalisation_appears_in_its_equations(float64):
    layers = [mf.Linear(3, 4), mf.DivisiveNorm(1, 4), mf.Linear(4, 2)]
    (forward,) = (m for m in mf.trace(*tiny("bp", layers=layers)) if m.layer == "divisivenorm1" and m.kind == "forward")
    c, v, p, y = (np.asarray(forward.terms[key]) for key in ("c", "v", "p", "y"))
    np.testing.assert_allclose(v[:, 0], (c * c).mean(axis=1) + forward.terms["delta"] / forward.terms["n"])
    np.testing.assert_allclose(y, c / v**p)


@pytest.mark.parametrize("description", ["bp", "fa", "dfa", "pepita", "pepita:output=second"])
def test_an_error_and_its_angle_belong_to_the_moment_that_sent_it(description, engine):
    """Also at the fork of a block: the error that its shortcut received is not the error that its body sent."""
    net = small_convnet()
    trace = mf.trace(
        net, mf.rules.make(description, seed=1).attach(net), *batch(), mf.SoftmaxCrossEntropy(), mf.SGD(0.1)
    )
    compared = 0
    for moment in trace:
        sent = moment.terms.get("delta" if moment.kind == "teach" else "delta_below")
        if sent is not None and moment.terms.get("delta_bp") is not None:
            assert sent.shape == moment.terms["delta_bp"].shape
            angle = mf.metrics.mean_angle(*(mf.asarray(one) for one in (sent, moment.terms["delta_bp"])))
            assert moment.angles["this delta and backpropagation's"] == mf.metrics.to_float(angle)
            compared += 1
        assert moment.kind not in ("forward", "gradients", "feedback") or not any(
            "delta" in name for name in moment.new
        )
    assert compared > 3


def test_backpropagation_has_no_feedback_that_learns(float64):
    assert [m.title for m in mf.trace(*tiny("bp")) if m.kind == "feedback_update"] == [
        "The feedback is not updated in this step"
    ]


def test_user_attributes_of_an_object_are_kept(float64):
    parts = tiny()
    optimizer, calls = parts[5], []
    optimizer.clip = lambda net: calls.append(net)
    mf.trace(*parts)
    optimizer.step(parts[0], parts[1])
    assert len(calls) == 2


@pytest.mark.parametrize(
    "description",
    ["dfa", "sdfa", "drtp", "dense", "direct_kolen_pollack", "pepita", "synthetic:init=he_normal"]
    + ["synthetic:condition=false,init=he_normal"],
)
def test_teaching_equations_hold(description, float64):
    layers = [mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 4), mf.Tanh(), mf.Linear(4, 2)]
    taught = [m for m in mf.trace(*tiny(description, layers=layers)) if m.kind == "teach"]
    assert len(taught) == 2
    assert [check_equation(m, sum_over=0) for m in taught] == [1, 1]


def test_batch_norm_dropout_and_residual_sums_show_their_gradients(engine):
    net = small_convnet()
    rule = mf.rules.FA(seed=1).attach(net)
    last = mf.trace(net, rule, *batch(), mf.SoftmaxCrossEntropy(), mf.SGD(0.1))[-1].arrays
    for name, gradient in net.gradients().items():
        layer, _, key = name.rpartition(".")
        np.testing.assert_array_equal(last[f"{layer}.d{key}"], mf.to_host(gradient))
    for layer in net:
        assert last[f"{layer.name}.delta"].shape[1:] == layer.output_shape


def test_clipping_and_constraints_are_separate_moments(float64):
    parts = tiny("fa", OPTIMIZERS["held"]())
    trace = mf.trace(*parts)
    kinds = [m.kind for m in trace]
    assert kinds.index("clip") < kinds.index("update") < kinds.index("constrain")
    clipped = trace[kinds.index("clip")]
    squares = sum(
        (clipped.arrays[name] ** 2).sum() for name in clipped.arrays if re.fullmatch(r"linear\d\.d[Wb]", name)
    )
    assert np.sqrt(squares) == pytest.approx(0.01, rel=1e-3)


# Invalid input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(x=np.zeros((5, 7))), ValueError, "expects 3 per example"),
        (dict(y=np.array([0, 1, 2, 0, 1])), ValueError, "0..1"),
        (dict(y=np.array([0, 1])), ValueError, "class indices for 5 outputs"),
    ],
)
def test_invalid_input_is_refused_and_nothing_changes(change, error, words, float64):
    net, rule, x, y, loss, optimizer = tiny()
    before = net.state()
    given = {"x": x, "y": y, **change}
    with pytest.raises(error, match=words):
        mf.trace(net, rule, given["x"], given["y"], loss, optimizer)
    assert_same_bits(before, net.state())
    assert net.step == 0 and listeners(*net, rule, optimizer) == set()


def test_a_rule_of_another_network_is_refused(float64):
    net, _, x, y, loss, optimizer = tiny()
    with pytest.raises(RuntimeError, match="not attached"):
        mf.trace(net, tiny()[1], x, y, loss, optimizer)


# Comparing steps -------------------------------------------------------------------------------------------------


def test_the_same_moment_is_located_under_another_rule(float64):
    fa, dfa = mf.trace(*tiny("fa")), mf.trace(*tiny("dfa"))
    for i, moment in enumerate(fa):
        there = dfa[dfa.matching_index(fa, i)]
        if moment.kind == "carry":  # direct feedback carries no error: its corresponding moment
            assert (there.kind, there.layer) == ("feedback", "linear2")
        else:
            assert (there.kind, there.layer, there.title.split(":")[0]) == (
                moment.kind,
                moment.layer,
                moment.title.split(":")[0],
            )


# The numbers in the equation -------------------------------------------------------------------------------------


def test_numbers_replace_the_symbols():
    text = with_numbers("y = x @ W + b", {"y": np.array([[2.5]]), "x": np.ones((1, 2)), "W": np.array([[1.0], [1.5]])})
    assert text.split("\n") == ["[2.500] = [1 1] @ [1.000] + b", "                  [1.500]"]


def test_a_transposed_symbol_is_shown_transposed():
    assert with_numbers("W.T", {"W": np.array([[1, 2], [3, 4]])}) == "[1 3]\n[2 4]"


def test_large_arrays_are_shown_by_their_shape():
    assert with_numbers("x @ W", {"x": np.zeros((100, 3)), "W": np.zeros((3, 3, 2))}) == "<100 x 3> @ <3 x 3 x 2>"


def test_small_numbers_are_not_hidden_and_zero_has_no_sign():
    assert with_numbers("a", {"a": np.array([1e-7, 2e-7])}) == "[1.00e-07 2.00e-07]"
    assert with_numbers("a", {"a": np.array([-1e-9, 0.5])}) == "[0.000 0.500]"


@pytest.mark.parametrize("width", [30, 40, 80])
def test_lines_fit_into_the_width(width):
    terms = {name: np.random.default_rng(0).standard_normal((4, 2)) for name in "abcdef"}
    lines = with_numbers("a = b + c * d - e @ f", terms, width).split("\n")
    assert max(map(len, lines)) <= width
    assert sum(line.count("[") for line in lines) == 6 * 4


def test_arrays_outside_the_equation_are_listed_after_it():
    text = with_numbers("B = M, M drawn once", {"B": np.array([1.0]), "W": np.array([2.0])})
    assert text == "[1] = M, M drawn once\n\nW = [2]"


def test_feedback_of_a_layer_in_a_block_that_the_optimizer_updates_is_called_B():
    """The name of such a layer has dots."""
    layers = [mf.Linear(3, 4), mf.Residual([mf.Linear(4, 4), mf.Tanh(), mf.Linear(4, 4)]), mf.Linear(4, 2)]
    net = mf.Network(layers, input_shape=(3,))
    rule = mf.rules.KolenPollack().attach(net)
    trace = mf.trace(net, rule, [[1.0, 2.0, 3.0]], [0], mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))
    moments = [moment for moment in trace if moment.kind == "feedback_update"]
    assert {moment.layer for moment in moments} == {"residual1.body.linear1", "residual1.body.linear2", "linear2"}
    for moment in moments:
        assert moment.equation == "B_new = B - lr * dB" and moment.new == (f"{moment.layer}.B",)
        assert moment.title == f"Update of {moment.layer}.B by the optimizer"
