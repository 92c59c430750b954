"""The engine behind a page: its films are those of `minifa.trace` and its runs those of the trainer, bit for bit; what
a page asks for is validated; and your own objects stay as they are."""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import data, experiments, rules
from minifa.data.batches import Batches
from minifa.experiments import Experiment
from minifa.explorer import parameters
from minifa.explorer.arrays import ArrayTable
from minifa.explorer.films import describe_rule
from minifa.explorer.runs import chance_of_run, run
from minifa.explorer.session import Session, Stopped

DIGITS = Experiment(
    data="digits", model="mlp", model_options={"hidden": (6, 5)}, lr=0.05, batch_size=8, optimizer_options={}
)
CNN = replace(DIGITS, model="cnn", model_options={"depth": 1, "batch_norm": True}, batch_size=4)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def session(digits):
    return Session.of_experiment(DIGITS, digits, ["bp", "fa"], train_updates=20)


def decoded(message, place):
    shape, kind, bits, *table = message["arrays"][place]
    if table:
        values = np.frombuffer(base64.b64decode(table[0]), dtype=f"<{kind[2:]}")
        return values[np.frombuffer(base64.b64decode(bits), dtype="u1")].reshape(shape)
    return np.frombuffer(base64.b64decode(bits), dtype=f"<{kind}").reshape(shape)


def assert_is_trace(message, trace):
    """Every array and angle of a film is that of the trace."""
    assert [moment["title"] for moment in message["film"]] == [moment.title for moment in trace]
    for shown, moment in zip(message["film"], trace, strict=True):
        new = {name: np.asarray(moment.arrays[name]) for name in moment.new}
        if "targets" in new:
            new["targets"] = new["targets"].astype(np.float64)  # JavaScript has no other number for labels
        assert_same_bits({name: decoded(message, place) for name, place in shown["new"].items()}, new)
        assert shown["angles"] == moment.angles
        for symbol, value in moment.terms.items():
            if value is not None and np.ndim(value):
                assert np.array_equal(decoded(message, shown["terms"][symbol]["array"]), value)


def matrices(message):
    layers, feedback = message["snapshot"]["layers"], message["snapshot"]["feedback"]
    W = {f"{name}.W": decoded(message, layer["W"]["array"]) for name, layer in layers.items()}
    b = {f"{name}.b": decoded(message, layer["b"]) for name, layer in layers.items() if "b" in layer}
    return {**W, **b, **{f"{name}.B": decoded(message, one["array"]) for name, one in feedback.items()}}


def snapshots_of(messages):
    return [message for message in messages if "snapshot" in message]


# Films


@pytest.mark.parametrize(
    "experiment, rule",
    [
        *((DIGITS, rule) for rule in ("bp", "fa", "usf:scale=init", "dfa", "node_perturbation")),
        (CNN, "bp"),
        (CNN, "fa"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.model,
)
def test_a_film_is_the_trace_bit_for_bit(digits, experiment, rule):
    message = Session.of_experiment(experiment, digits, ["bp"]).film({"rule": rule})
    net, attached, loss, optimizer = experiments.build(replace(experiment, rule=rule), digits)
    x, y = Batches(digits.train, experiment.batch_size, 0, 1).make(0)
    assert_is_trace(message, mf.trace(net, attached, x, y, loss, optimizer))


def test_updates_before_the_step_are_made_under_the_first_rule(digits, session):
    message = session.film({"rule": "fa", "updates": 3})
    net, bp, loss, optimizer = experiments.build(replace(DIGITS, rule="bp"), digits)
    batches = Batches(digits.train, 8, 0, 1)
    for update in range(3):
        x, y = batches.make(update)
        bp.gradients(net, x, y, loss)
        optimizer.step(net, bp)
    x, y = batches.make(3)
    assert_is_trace(message, mf.trace(net, rules.make("fa").attach(net), x, y, loss, optimizer))
    assert session.film({"rule": "bp"})["film"][0]["title"] == "A batch of 8"  # back at the first step
    assert session.setup.replay.step == 0


def test_films_for_two_pages_at_once_do_not_mix(session):
    wanted = [{"rule": rule, "updates": updates} for rule in ("bp", "fa") for updates in (0, 2, 1)]
    alone = [session.film(params) for params in wanted]
    together = {}
    threads = [
        threading.Thread(target=lambda i=i, params=params: together.update({i: session.film(params)}))
        for i, params in enumerate(wanted)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(wanted))] == alone


def test_a_film_that_waits_for_another_can_be_stopped(session):
    with session._lock, pytest.raises(Stopped):
        session.film({"rule": "bp"}, lambda: True)


# Runs


@pytest.mark.parametrize(
    "experiment, rule",
    [*((DIGITS, rule) for rule in ("bp", "fa", "kolen_pollack", "dfa")), (CNN, "fa")],
    ids=lambda one: one if isinstance(one, str) else one.model,
)
def test_a_run_has_the_snapshots_of_the_baked_page(digits, experiment, rule):
    messages = list(Session.of_experiment(experiment, digits, ["bp"]).run({"rule": rule, "updates": 4}))
    assert messages[-1] == {"done": True, "diverged": None}
    chosen, table = replace(experiment, rule=rule), ArrayTable()
    baked = run(chosen, digits, 4, table, lambda: None)
    page = {"arrays": table.packed()}
    assert messages[1] == {"chance": chance_of_run(chosen, digits)}
    for message, expected in zip(snapshots_of(messages), baked, strict=True):
        found = {name: one for name, one in matrices(message).items() if not name.endswith(".b")}
        assert_same_bits(found, matrices({**page, "snapshot": expected}))
        numbers = [{key: one[key] for key in ("update", "loss", "accuracy")} for one in (message["snapshot"], expected)]
        assert numbers[0] == numbers[1]
        for name, layer in expected["layers"].items():
            for key in ("weight_angle", "true_angle", "sign_agreement"):
                assert message["snapshot"]["layers"][name][key] == layer[key]


def test_a_run_ends_with_the_weights_of_the_trainer(digits):
    small = replace(digits, train=digits.train.take(range(40)))
    *_, last, _ = Session.of_experiment(DIGITS, small, ["fa"]).run({"updates": 10})
    net, rule, loss, optimizer = experiments.build(replace(DIGITS, rule="fa"), small)
    mf.Trainer(net, rule, loss, optimizer).fit(small.train, epochs=2, batch_size=8)
    found = matrices(last)
    assert_same_bits({name: found[name] for name in net.parameters()}, dict(net.parameters()))


def test_what_a_page_changes_is_what_the_experiment_changes(digits, session):
    wanted = {"rule": "fa", "lr": 0.02, "hidden": [7], "seed": 3, "angle": 30, "updates": 5}
    *_, last, _ = session.run(wanted)
    net, rule, loss, optimizer = experiments.build(
        replace(DIGITS, rule="fa:angle=30", lr=0.02, model_options={"hidden": (7,)}, seed=3), digits
    )
    batches = Batches(digits.train, 8, 3, 1)
    for update in range(5):
        rule.gradients(net, *batches.make(update), loss)
        optimizer.step(net, rule)
    assert_same_bits(matrices(last), {**net.parameters(), **{f"{name}.B": B for name, B in rule.B.items()}})


def test_a_share_of_wrong_labels(digits, session):
    trainer, noisy, batch = session.setup.training(parameters.read_run({"rule": "bp", "noise": 0.25}, ["bp"], 1))
    assert (noisy.train.y != digits.train.y).mean() == pytest.approx(0.25, abs=1 / len(digits.train))
    assert np.array_equal(noisy.test.y, digits.test.y)
    x, y = Batches(noisy.train, 8, 0, 1).make(0)
    assert np.array_equal(batch(0).y, y) and np.array_equal(batch(0).x, x)


def test_entries_of_B_that_the_reader_sets(session):
    drawn, painted = (
        matrices(next(session.run({"rule": "fa", "updates": 1, "feedback": feedback})))["linear3.B"]
        for feedback in ({}, {"linear3": [[0, 0.5], [13, -2]]})
    )
    assert painted.flat[0] == 0.5 and painted.flat[13] == -2
    assert (painted != drawn).sum() == 2


def test_every_message_has_its_own_arrays(session):
    for message in snapshots_of(session.run({"rule": "fa"})):
        for array in matrices(message).values():
            assert array.size
        places = [one["W"]["array"] for one in message["snapshot"]["layers"].values()]
        assert max(places) < len(message["arrays"]) < 12


def test_a_stopped_run_makes_no_further_update(session, monkeypatch):
    made = []
    monkeypatch.setattr(mf.SGD, "step", lambda optimizer, net, rule: made.append(1))
    messages = session.run({"rule": "fa", "updates": 1000}, lambda: len(made) == 7)
    with pytest.raises(Stopped):
        list(messages)
    assert len(made) == 7


def test_a_run_that_is_stopped_before_it_begins_measures_nothing(session, monkeypatch):
    monkeypatch.setattr("minifa.explorer.runs.Snapshots.take", lambda snapshots: pytest.fail("a snapshot was taken"))
    assert list(session.answers({"id": 1, "command": "run"}, lambda: True)) == [{"id": 1, "stopped": True}]


def test_a_run_that_diverges_says_so(digits):
    linear = Experiment(data="lillicrap", model="linear_task", lr=0.01, batch_size=8, optimizer_options={})
    session = Session.of_experiment(linear, data.load("lillicrap"), ["bp"])
    *_, last = session.run({"lr": 100.0, "updates": 400})
    assert last["done"] and "no longer finite" in last["diverged"]


# What is refused

WRONG_RUNS = {
    "no object": ([], "must be a dict"),
    "unknown": ({"rat": 1}, "unknown parameter 'rat'"),
    "an unknown rule": ({"rule": "nope"}, "unknown rule 'nope'"),
    "a rule of another kind": ({"rule": 7}, "the rule must be a str"),
    "a long rule": ({"rule": "f" * 1000}, "at most 200 characters"),
    "an unknown option": ({"rule": "fa:colour=red"}, "unknown option"),
    "an update without end": ({"rule": "pc:steps=1000000000"}, "steps of the rule 'pc' must be at most 1,000"),
    "no rate": ({"lr": 0}, "lr must be above 0"),
    "nan": ({"lr": float("nan")}, "lr must be above 0"),
    "infinity": ({"lr": float("inf")}, "finite"),
    "a word": ({"lr": "fast"}, "must be a number"),
    "many updates": ({"updates": 10**9}, "at most 20,000"),
    "no updates": ({"updates": 0}, "at least 1"),
    "half an update": ({"updates": 1.5}, "must be an int"),
    "a seed below 0": ({"seed": -1}, "at least 0"),
    "a huge seed": ({"seed": 10**30}, "at most"),
    "one width": ({"hidden": 5}, "list of widths"),
    "no unit": ({"hidden": [0]}, "at least 1"),
    "wide": ({"hidden": [100_000]}, "at most 1,024"),
    "deep": ({"hidden": [2] * 9}, "at most 8 widths"),
    "large": ({"hidden": [1024] * 4}, "3,221,504 weights"),
    "true as a width": ({"hidden": [True]}, "must be an int"),
    "noise": ({"noise": 1.5}, "from 0 to 1"),
    "negative noise": ({"noise": -0.1}, "from 0 to 1"),
    "nan of noise": ({"noise": float("nan")}, "from 0 to 1"),
    "an angle": ({"rule": "fa", "angle": 181}, "from 0 to 180"),
    "an angle of bp": ({"rule": "bp", "angle": 30}, "no fixed B"),
    "cells of bp": ({"rule": "bp", "feedback": {"linear2": [[0, 1]]}}, "unknown matrix"),
    "a cell outside": ({"rule": "fa", "feedback": {"linear2": [[30, 1]]}}, "at most 29"),
    "a cell of three": ({"rule": "fa", "feedback": {"linear2": [[1, 2, 3]]}}, "[index, value]"),
    "a cell alone": ({"rule": "fa", "feedback": {"linear2": [1]}}, "must be a list"),
    "a huge cell": ({"rule": "fa", "feedback": {"linear2": [[1, 1e9]]}}, "from -1e+06 to 1e+06"),
    "nan of a cell": ({"rule": "fa", "feedback": {"linear2": [[1, float("nan")]]}}, "must be a number"),
}


@pytest.mark.parametrize("params, words", WRONG_RUNS.values(), ids=list(WRONG_RUNS))
def test_a_wrong_parameter_is_refused_with_a_sentence(session, params, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        session.run(params)  # before the first message
    (answer,) = session.answers({"id": 4, "command": "run", "params": params})
    assert answer["id"] == 4 and words in answer["error"] and len(answer["error"]) <= 500


@pytest.mark.parametrize("params", [{"updates": 10_001}, {"updates": -1}, {"rule": "nope"}, {"lr": 1}, 3])
def test_a_wrong_film_is_refused_with_a_sentence(session, params):
    (answer,) = session.answers({"id": "a", "command": "film", "params": params})
    assert answer["id"] == "a" and len(answer["error"].split()) > 3


@pytest.mark.parametrize(
    "request_",
    [None, 3, [], {}, {"command": "quit"}, {"command": ["run"]}, {"id": {}}, {"id": "x" * 101}, {"id": True}],
)
def test_a_wrong_request_is_answered_with_a_sentence(session, request_):
    (answer,) = session.answers(request_)
    assert set(answer) == {"id", "error"} and answer["error"]


def test_a_rule_of_the_session_may_have_larger_options_than_a_page_may_choose(digits):
    session = Session.of_experiment(DIGITS, digits, ["bp", "stale:every=5000"])
    assert session.film({"rule": "stale:every=5000"})["film"]
    with pytest.raises(ValueError, match="at most 1,000"):
        session.film({"rule": "stale:every=5001"})


def test_a_model_without_widths_refuses_them(digits):
    session = Session.of_experiment(CNN, digits, ["bp"])
    with pytest.raises(ValueError, match="the model 'cnn' has no widths"):
        session.run({"hidden": [5]})
    assert session.describe()["can"]["hidden"] == "the model 'cnn' has no widths that can be chosen here"


def test_targets_cannot_be_wrong_labels():
    linear = Experiment(data="lillicrap", model="linear_task", lr=0.01, batch_size=8, optimizer_options={})
    session = Session.of_experiment(linear, data.load("lillicrap"), ["bp"])
    with pytest.raises(ValueError, match="has targets, not labels"):
        session.run({"noise": 0.1})
    next(session.run({"hidden": [7]}))  # this model has one width, an int
    with pytest.raises(ValueError, match="has one hidden layer"):
        session.run({"hidden": [7, 7]})


def test_snapshots_that_no_message_can_hold_are_refused(digits, monkeypatch):
    monkeypatch.setattr("minifa.explorer.session.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="choose smaller widths"):
        Session.of_experiment(DIGITS, digits, ["bp"]).run({})


def test_no_rule_and_a_rule_twice_are_refused(digits):
    for names in ([], ["fa", "fa"]):
        with pytest.raises(ValueError, match="one or more different names"):
            Session.of_experiment(DIGITS, digits, names)


class Broken(mf.rules.FA):
    """A rule with a defect that appears while it trains."""

    name = "broken"

    def update_feedback(self, net):
        raise RuntimeError("the map /home/me/map.npz\n was lost")


def test_a_defect_of_a_rule_is_told_without_a_traceback(digits, monkeypatch, capsys):
    monkeypatch.setitem(rules.RULES, "broken", Broken)
    session = Session.of_experiment(DIGITS, digits, ["bp"])
    *_, last = session.answers({"id": 1, "command": "run", "params": {"rule": "broken"}})
    assert last == {"id": 1, "error": "the engine stopped with RuntimeError: the map /home/me/map.npz was lost"}
    assert "Traceback" in capsys.readouterr().err  # for the person at the terminal


# What the page starts with


def test_the_description_of_an_experiment(session):
    content = session.describe()
    assert [rule["name"] for rule in content["rules"]] == ["bp", "fa"]
    assert content["films"] == content["runs"] == content["chance"] == {}
    assert content["at"][0] == 0 and content["at"][-1] == 20
    assert content["defaults"] == {
        "rule": "bp", "updates": 0, "train_updates": 20, "lr": 0.05, "hidden": (6, 5), "seed": 0,
    }  # fmt: skip
    assert content["can"] == {"lr": True, "seed": True, "hidden": True, "noise": True}
    assert content["facts"][0] == "digits, 8x8x1 per example" and content["facts"][-1] == "the first step"
    assert [layer["name"] for layer in content["layers"]][:2] == ["flatten1", "linear1"]


# Objects


class Halved(mf.rules.Rule):
    """A rule of one's own, not registered."""

    title, equation, paper, needs = "half of W", "B = W / 2", "none", "nothing"

    def feedback(self, layer):
        return layer.W / 2


def objects(rule=None):
    net = mf.Network([mf.Linear(3, 4, name="below"), mf.Tanh(), mf.Linear(4, 2)], seed=1)
    loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1, momentum=0.9)
    return net, (rule or mf.rules.FA(seed=2)).attach(net), loss, optimizer


BATCH = (np.arange(12, dtype="f4").reshape(4, 3) / 12, np.array([0, 1, 1, 0]))


@pytest.mark.parametrize("make", [mf.rules.FA, Halved, mf.rules.KolenPollack])
def test_a_film_of_objects_is_their_trace_and_leaves_them_alone(make):
    parts = objects(make())
    before = {name: array.copy() for name, array in parts[0].state().items()}
    session = Session.of_objects(*parts, BATCH, rules=["bp", Halved()] if make is not Halved else ["bp"])
    assert_is_trace(session.film({"rule": parts[1].label}), mf.trace(*objects(make())[:2], *BATCH, *objects()[2:]))
    list(session.run({"updates": 3}))
    assert_same_bits(dict(parts[0].state()), before)
    assert parts[0].step == 0 and parts[1].error is None and not parts[3].arrays
    twin = objects(make())
    assert_is_trace(session.film({"rule": "bp"}), mf.trace(twin[0], mf.rules.BP().attach(twin[0]), *BATCH, *twin[2:]))


def test_later_changes_of_the_objects_do_not_change_the_page():
    parts = objects()
    session = Session.of_objects(*parts, BATCH)
    first = session.film({})
    parts[0]["below"].W = np.zeros((3, 4), "f4")
    assert session.film({}) == first


def test_a_run_of_objects_continues_from_where_they_are():
    net, rule, loss, optimizer = objects()
    for _ in range(2):  # they have momentum
        rule.gradients(net, *BATCH, loss)
        optimizer.step(net, rule)
    *_, last, end = Session.of_objects(net, rule, loss, optimizer, BATCH).run({"updates": 3})
    for _ in range(3):
        rule.gradients(net, *BATCH, loss)
        optimizer.step(net, rule)
    assert end["done"] and last["snapshot"]["update"] == 3
    assert_same_bits(matrices(last), {**net.parameters(), "linear2.B": rule.B["linear2"]})


def test_updates_before_the_step_of_objects():
    twin, session = objects(), Session.of_objects(*objects(), BATCH)
    for _ in range(2):
        twin[1].gradients(twin[0], *BATCH, twin[2])
        twin[3].step(twin[0], twin[1])
    assert_is_trace(session.film({"updates": 2}), mf.trace(*twin[:2], *BATCH, *twin[2:]))


def test_objects_with_a_data_set_train_on_it():
    xor = data.load("xor")
    net = mf.Network(mf.models.tiny(xor.input_shape, xor.n_out))
    parts = net, mf.rules.FA().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.5)
    session = Session.of_objects(*parts, (xor.train.x[:2], xor.train.y[:2]), data=xor)
    *_, last, _ = session.run({"updates": 6, "seed": 5, "noise": 0.5, "lr": 0.25})
    parts[3].lr = 0.25
    noisy = session.setup.training(parameters.read_run({"seed": 5, "noise": 0.5}, ["fa"], 1))[1]
    assert (noisy.train.y != xor.train.y).sum() == 2
    for update in range(6):
        batch = Batches(noisy.train, 2, 5, 1 + update // 2).make(update % 2)
        parts[1].gradients(net, *batch, parts[2])
        parts[3].step(net, parts[1])
    assert_same_bits({name: matrices(last)[name] for name in net.parameters()}, dict(net.parameters()))


def test_objects_that_are_not_finite_are_told_with_a_sentence():
    net, rule, loss, optimizer = objects()
    optimizer.lr = 1e300
    (answer,) = Session.of_objects(net, rule, loss, optimizer, BATCH).answers(
        {"id": 1, "command": "film", "params": {"updates": 30}}
    )
    assert "training diverged in update" in answer["error"]
    net["below"].W = np.full((3, 4), np.nan, "f4")
    (answer,) = Session.of_objects(net, rule, loss, optimizer, BATCH).answers({"id": 2, "command": "run"})
    assert "the loss must be finite before the first update, got nan" in answer["error"]


def test_an_angle_is_that_of_the_page_to_its_last_digit(session):
    trainer = session.setup.training(parameters.read_run({"rule": "fa", "angle": 100 / 3}, ["bp"], 1))[0]
    assert trainer.rule.angle == 100 / 3


def test_your_own_rule_keeps_its_options_when_a_page_asks_for_an_angle():
    parts = objects(mf.rules.FA(seed=2, normalise="init"))
    setup = Session.of_objects(*parts, BATCH, rules=[Halved()]).setup
    plain, angled = (
        setup.training(parameters.read_run(params, setup.rules, 1))[0].rule for params in ({}, {"angle": 30})
    )
    assert plain.angle is None and angled.angle == 30
    assert (angled.normalise, angled.seed) == (plain.normalise, plain.seed) == ("init", 2)
    with pytest.raises(ValueError, match="'Halved' has no fixed B at an angle"):
        setup.training(parameters.read_run({"rule": "Halved", "angle": 30}, setup.rules, 1))


def test_two_rules_of_the_same_name_are_refused():
    for given in ([mf.rules.FA(seed=5)], ["bp", mf.rules.BP()], ["bp", "bp"]):
        with pytest.raises(ValueError, match="one or more different names"):
            Session.of_objects(*objects(), BATCH, rules=given)
    assert Session.of_objects(*objects(), BATCH, rules=["fa", "bp"]).setup.rules == ["fa", "bp"]


def test_what_objects_cannot_change_is_refused_with_a_sentence():
    session = Session.of_objects(*objects(), BATCH, rules=["bp"])
    for params, words in (
        ({"hidden": [3]}, "your own network"),
        ({"seed": 1}, "no order"),
        ({"noise": 0.5}, "give data="),
    ):
        with pytest.raises(ValueError, match=words):
            session.run(params)
    described = session.describe()
    assert [rule["name"] for rule in described["rules"]] == ["fa", "bp"]
    assert described["classes"] == ["0", "1"] and described["can"]["lr"] is True
    assert described["facts"][0] == "your network, 3 per example"


def test_objects_that_do_not_fit_are_refused():
    net, rule, loss, optimizer = objects()
    with pytest.raises(ValueError, match=r"pair \(x, y\)"):
        Session.of_objects(net, rule, loss, optimizer, BATCH[:1])
    with pytest.raises(RuntimeError, match="not attached"):
        Session.of_objects(net, mf.rules.FA(), loss, optimizer, BATCH)
    with pytest.raises(ValueError, match="3"):
        Session.of_objects(net, rule, loss, optimizer, (np.ones((4, 5), "f4"), BATCH[1]))
    with pytest.raises(TypeError, match="of_experiment or"):
        Session("digits")


class Untitled(rules.FA):
    """A rule as readers write it, without texts for a page."""

    name, title, equation, paper, needs = "untitled", "", "", "", ""


def test_a_rule_without_a_title_is_told_as_the_reader_s_own():
    assert describe_rule("untitled", Untitled())["title"] == "a rule of your own"
