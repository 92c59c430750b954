"""Targets, local errors and noise of the rules that do more than carry an error down: in snapshots and films."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import backend, data, metrics, rules, target_metrics
from minifa.experiments import Experiment
from minifa.explorer import films, layer_teaching, runs
from minifa.explorer.arrays import ArrayTable
from minifa.testing import examples

WITH_TARGETS = {"fwdtp", "dtp", "tp", "ldrl", "drl", "ddtp"}
WITH_LOCAL_LOSS = {
    *WITH_TARGETS, "synthetic", "local", "phsic", "hsic", "zil", "pc", "forward_forward", "recirculation"
}  # fmt: skip
WITHOUT_OWN_ERRORS = {
    *("bp", "shallow", "sham", "stale", "fa", "usf", "frsf", "brsf", "kolen_pollack", "asap", "weight_mirror", "rdd"),
    *("stdwi", "sal", "pal", "product", "symmetric_alignment", "activation_alignment", "information_alignment"),
    *("weight_perturbation", "perturbed_feedback", "di", "pbp"),
}
NOISE = {"weight_mirror": "x", "rdd": "u", "stdwi": "x", "sal": "v", "pal": "xi"}


def parts(description, n=4):
    net = examples.network_for(description)
    x, y = examples.batch(n, net.input_shape, int(np.prod(net.output_shape)))
    loss = mf.SoftmaxCrossEntropy()
    if description.startswith("recirculation"):
        loss, y = mf.HalfSquaredError(), backend.asarray(np.asarray(x).reshape(n, -1))
    return net, rules.make(description).attach(net), x, y, loss


@pytest.fixture(scope="module")
def all_measured():
    """What is measured under every rule, with its default options."""
    names = {description.partition(":")[0]: description for description in reversed(examples.ALL_RULES)}
    return {name: layer_teaching.measured(*parts(description)) for name, description in names.items()}


def test_every_rule_shows_what_it_has(all_measured):
    assert set(all_measured) == set(rules.RULES)
    keys = {name: {key for entry in found.values() for key in entry} for name, found in all_measured.items()}
    assert {name for name, some in keys.items() if "targets" in some} == WITH_TARGETS
    assert {name for name, some in keys.items() if "local_loss" in some} == WITH_LOCAL_LOSS
    assert {name for name, some in keys.items() if not some} == WITHOUT_OWN_ERRORS
    for name, found in all_measured.items():
        net = parts(name)[0]
        assert set(found) <= {layer.name for layer in net.weighted}
        for entry in found.values():
            for one in (entry.get("targets"), entry.get("local_error")):
                assert one is None or (one["at"] in {layer.name for layer in net} and 0 <= one["angle"] <= 180)
        json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("description", ["dtp", "ddtp"])
def test_targets_are_those_of_target_alignment(description):
    net, rule, x, y, loss = parts(description)
    found = layer_teaching.measured(net, rule, x, y, loss)
    known = target_metrics.target_alignment(net, rule, x, y, loss)
    shown = {entry["targets"]["at"]: entry["targets"] for entry in found.values()}
    assert shown.keys() == known.keys() and len(shown) > 2
    for name, one in shown.items():
        assert one["angle"] == known[name]["bp_angle"] and one["size"] == known[name]["target_size"]


def test_local_errors_are_the_rule_s_errors_beside_backpropagation_s():
    net = mf.Network([mf.Linear(4, 6), mf.Linear(6, 5), mf.Linear(5, 3)])  # taught at the weighted layers themselves
    rule, loss = rules.make("dfa").attach(net), mf.SoftmaxCrossEntropy()
    x, y = examples.batch(8, (4,), 3)
    found = layer_teaching.measured(net, rule, x, y, loss)
    pairs = metrics.errors(net, rule, x, y, loss)
    assert {"linear1", "linear2"} <= set(found)
    for name in ("linear1", "linear2"):
        own, true = pairs[name]
        entry = found[name]["local_error"]
        assert entry["at"] == name
        assert entry["angle"] == pytest.approx(float(metrics.mean_angle(own, true)), abs=1e-4)
        assert entry["size"] == pytest.approx(float(np.linalg.norm(own) / np.linalg.norm(true)), rel=1e-5)


def test_inference_of_one_step_equals_backpropagation():
    """zil: a known answer, angle 0 and size 1 at every layer."""
    for entry in layer_teaching.measured(*parts("zil")).values():
        assert entry["local_error"]["angle"] == pytest.approx(0, abs=0.1)
        assert entry["local_error"]["size"] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("description", ["local", "dtp", "pc:steps=4", "node_perturbation", "forward_forward", "burst"])
def test_measuring_changes_nothing(description):
    net, rule, x, y, loss = parts(description)
    rule.gradients(net, x, y, loss)
    before = net.state(), rule.state(), dict(rule.local), rule.batch
    grads = {name: None if g is None else g.copy() for name, g in net.gradients().items()}
    layer_teaching.measured(net, rule, x, y, loss)
    assert_same_bits(net.state(), before[0])
    assert_same_bits(rule.state(), before[1])
    assert rule.local == before[2] and rule.batch is before[3]
    assert_same_bits(net.gradients(), grads)


@pytest.mark.parametrize(
    "rule, keys",
    [("dtp", {"targets", "local_loss"}), ("local", {"local_error", "local_loss", "local_accuracy"}), ("fa", set())],
)
def test_snapshots_have_them(rule, keys):
    one = Experiment(
        data="digits", model="mlp", model_options={"hidden": (6, 5)}, lr=0.05, batch_size=8, rule=rule,
        optimizer_options={},
    )  # fmt: skip
    snapshots = runs.run(one, data.load("digits"), 2, ArrayTable(), lambda: None)
    for snapshot in snapshots:
        entry = snapshot["layers"]["linear1"]
        assert set(entry) - {"W", "weight_angle", "true_angle", "sign_agreement", "gradient_angle"} == keys
        assert isinstance(entry["gradient_angle"], float)
    if keys:
        assert snapshots[0]["layers"]["linear1"] != snapshots[-1]["layers"]["linear1"]
    again = runs.run(replace(one, rule=rule), data.load("digits"), 2, ArrayTable(), lambda: None)
    assert again == snapshots  # measuring draws nothing


# Noise in films


@pytest.mark.parametrize("name, symbol", NOISE.items())
def test_a_film_shows_the_noise_from_which_feedback_learns(name, symbol):
    net = mf.Network([mf.Linear(4, 6), mf.Tanh(), mf.Linear(6, 3)])
    options = "" if name == "pal" else ",warmup_phases=0"
    rule = rules.make(f"{name}:samples=5{options}").attach(net)
    x, y = examples.batch(8, (4,), 3)
    trace = mf.trace(net, rule, x, y, mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))
    updates = [moment for moment in trace if moment.kind == "feedback_update" and moment.layer == "linear2"]
    for update in updates:
        noise = update.terms[symbol]
        assert noise.shape in ((5, 6), (5, 3)) and noise.std() > 0
        assert f"linear2.{symbol}" in update.new
    film = films.film(trace, {}, ArrayTable())
    shown = next(one for one in film if one["kind"] == "feedback_update")
    assert shown["terms"][symbol]["name"] == f"linear2.{symbol}"


def test_a_mirror_s_update_can_be_worked_out_from_its_noise(float64):
    net = mf.Network([mf.Linear(4, 6), mf.Tanh(), mf.Linear(6, 3)])
    rule = rules.make("weight_mirror:samples=7,warmup_phases=0,sigma=0.5,rate=0.2").attach(net)
    x, y = examples.batch(8, (4,), 3)
    trace = mf.trace(net, rule, x, y, mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))
    (update,) = [moment for moment in trace if moment.kind == "feedback_update"]
    noise, W = update.terms["x"], update.arrays["linear2.W"]
    expected = 0.8 * update.terms["B"] + 0.2 * noise.T @ (noise @ W) / (7 * 0.5**2)
    np.testing.assert_allclose(update.terms["B_new"], expected, rtol=1e-12)


def test_noise_is_drawn_as_without_a_trace():
    states = []
    for traced in (True, False):
        net = mf.Network([mf.Linear(4, 6), mf.Tanh(), mf.Linear(6, 3)])
        rule, optimizer, loss = rules.make("sal").attach(net), mf.SGD(lr=0.1), mf.SoftmaxCrossEntropy()
        x, y = examples.batch(8, (4,), 3)
        if traced:
            mf.trace(net, rule, x, y, loss, optimizer)
        else:
            rule.gradients(net, x, y, loss)
            optimizer.step(net, rule)
        states.append(rule.state())
    assert_same_bits(*states)
