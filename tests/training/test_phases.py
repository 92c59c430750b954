"""Phases of a training: what carries over to the next phase, what starts afresh, and that resuming keeps every bit."""

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints, rules
from minifa.testing.examples import ALL_RULES, batch, network_for
from minifa.training.phases import check_name, starts_of

CE = mf.SoftmaxCrossEntropy()


def examples(n=24):
    x = np.random.default_rng(0).standard_normal((n, 4))
    return mf.data.from_arrays(x, np.arange(n) % 3).train


def trainer(rule="bp", optimizer=None, schedule=None, callbacks=(), phase="", hidden=(6, 5)):
    layers = [mf.Linear(4, hidden[0]), mf.BatchNorm(hidden[0]), mf.Tanh(), mf.Dropout(0.2)]
    layers += [mf.Linear(*hidden), mf.Tanh(), mf.Linear(hidden[-1], 3)]
    net = mf.Network(layers, seed=3)
    optimizer = optimizer or mf.SGD(lr=0.1)
    return mf.Trainer(net, rules.make(rule).attach(net), CE, optimizer, schedule, callbacks=callbacks, phase=phase)


def begin(one, name="second", rule="bp", optimizer=None, **options):
    return one.begin_phase(name, rules.make(rule).attach(one.net), optimizer or mf.SGD(lr=0.1), **options)


def rows(history):
    """The rows without times and without the phase."""
    changing = {"seconds", "images_per_second", "phase"}
    return [{key: value for key, value in row.items() if key not in changing} for row in history]


def assert_same_state(one, other, parts=("net", "rule", "optimizer")):
    for part in parts:
        state, expected = getattr(one, part).state(), getattr(other, part).state()
        assert state.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(state[key], array, err_msg=f"{part}: {key}")
    assert rows(one.history) == rows(other.history) and one.net.step == other.net.step


def test_two_phases_with_the_same_settings_equal_one():
    """Epochs, the order of the examples, dropout's masks, batch norm's statistics and the history run on."""
    one, two = trainer(), trainer(phase="first")
    one.fit(examples(), 4, batch_size=8)
    two.fit(examples(), 1, batch_size=8)
    begin(two, "second")
    two.fit(examples(), 3, batch_size=8)
    assert_same_state(two, one, parts=["net"])
    assert two.history.column("phase") == ["first", "first", "second", "second", "second"]
    assert starts_of(two.history) == [(1, "second")] and starts_of(one.history) == []
    assert "phase" not in one.history.columns()


def test_the_optimizer_starts_afresh_even_if_it_is_the_same():
    one, other = trainer(optimizer=mf.SGD(lr=0.1, momentum=0.9)), trainer(optimizer=mf.SGD(lr=0.1, momentum=0.9))
    for two in (one, other):
        two.fit(examples(), 1, batch_size=8)
    begin(one, optimizer=one.optimizer)
    begin(other, optimizer=mf.SGD(lr=0.1, momentum=0.9))
    assert not one.optimizer.state()
    for two in (one, other):
        two.fit(examples(), 1, batch_size=8)
    assert_same_state(one, other)


def test_a_schedule_counts_the_epochs_of_its_phase():
    one = trainer(schedule="step:size=1,gamma=0.5")
    one.fit(examples(), 2)
    begin(one, optimizer=mf.SGD(lr=0.4), schedule="step:size=1,gamma=0.5")
    one.fit(examples(), 2)
    assert one.history.column("lr") == [None, 0.1, 0.05, 0.4, 0.2]
    seen = []
    watching = mf.schedules.with_history(lambda epoch, history: seen.append([row["epoch"] for row in history]) or 1.0)
    begin(one, "third", schedule=watching)
    one.fit(examples(), 2, batch_size=24)
    assert seen == [[], [], [1], [1]]  # of the phase only, in its own numbers


@pytest.mark.parametrize(
    "before, after, carried, drawn",
    [
        ("kolen_pollack", "fa", ["linear2", "linear3"], []),  # learned B, then fixed
        ("weight_mirror", "kolen_pollack", ["linear2", "linear3"], []),
        ("fa", "frsf", [], ["linear2", "linear3"]),  # frsf keeps magnitudes under the same names
        ("frsf", "frsf:normalise=strict", ["linear2", "linear3"], []),
        ("usf:scale=init", "usf:scale=init", ["linear2/start_norm", "linear3/start_norm"], []),
        ("fa", "dfa", [], ["tanh1", "tanh2"]),
        ("fa", "bp", [], []),
    ],
)
def test_the_memory_of_the_rule_is_carried_over_where_it_means_the_same(before, after, carried, drawn):
    one = trainer(before, optimizer=mf.SGD(lr=0.1, weight_decay=0.1))
    one.fit(examples(), 1)
    old = one.rule.state()
    kept = begin(one, rule=after)
    assert sorted(kept.rule) == carried and sorted(kept.drawn) == drawn
    assert set(kept.network) == one.net.state().keys()
    for name in carried:
        np.testing.assert_array_equal(one.rule.state()[name], old[name])


def test_nothing_is_carried_over_on_request():
    one = trainer("kolen_pollack", optimizer=mf.SGD(lr=0.1, weight_decay=0.1))
    one.fit(examples(), 1)
    fresh = rules.make("fa").attach(one.net).state()
    assert begin(one, rule="fa", carry=False).rule == ()
    assert all((one.rule.state()[key] == array).all() for key, array in fresh.items())


def test_layers_that_are_frozen_for_a_phase_stay():
    one = trainer("kolen_pollack", optimizer=mf.SGD(lr=0.1, weight_decay=0.1))
    one.fit(examples(), 1)
    one.net.freeze("linear1", "batchnorm1", "linear2")
    before = one.net.state()
    assert begin(one, rule="kolen_pollack").rule == ()  # no error goes below linear3
    one.fit(examples(), 1)
    changed = [key for key, array in one.net.state().items() if not np.array_equal(array, before[key])]
    assert changed == ["linear3.W", "linear3.b"]
    one.net.unfreeze("linear1", "batchnorm1", "linear2")
    begin(one, "third", rule="fa")
    one.fit(examples(), 1)
    assert not np.array_equal(one.net.state()["linear1.W"], before["linear1.W"])


class StopAt(mf.training.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, examples):
        if trainer.net.step == self.step:
            trainer.stop()


@pytest.mark.parametrize("description", {one.partition(":")[0]: one for one in ALL_RULES}.values())
def test_a_second_phase_resumes_with_the_same_bits_under_every_rule(description, tmp_path):
    """The rule is attached to a trained network in the uninterrupted run, and to a new one on resuming: nothing but its
    memory may depend on that. Neither does it matter for what is carried over whether a pass was made."""
    net = network_for(description)
    x, y = batch(8, net.input_shape)
    train = mf.data.Examples(mf.to_host(x), y)

    def start():
        net = network_for(description)
        return mf.Trainer(net, rules.make("bp").attach(net), CE, mf.SGD(lr=0.01))

    def shown(rule):
        return {name for name, B in rule._B.items() if rule.memory.get(name) is B}

    whole, resumed = start(), start()
    whole.fit(train, 1, batch_size=4)
    begin(whole, rule=description, optimizer=mf.SGD(lr=0.01, momentum=0.5))
    before = shown(whole.rule)
    whole.callbacks = [StopAt(3)]
    whole.fit(train, 1, batch_size=4)
    assert shown(whole.rule) == before
    checkpoints.save(tmp_path / "a.ckpt", whole)
    begin(resumed, rule=description, optimizer=mf.SGD(lr=0.01, momentum=0.5), carry=False)
    checkpoints.load(tmp_path / "a.ckpt", resumed)
    whole.callbacks = []
    for one in (whole, resumed):
        one.fit(train, 1, batch_size=4)
    assert_same_state(resumed, whole)


def test_what_cannot_be_a_phase_is_refused():
    one = trainer(callbacks=[StopAt(2)])
    for name in ("", " a", "a ", "1", "nan", "inf", "a,b", "a.b", "a\n"):
        with pytest.raises(ValueError, match="the name of a phase must begin with a letter"):
            check_name(name)
    unattached = rules.make("fa")
    with pytest.raises(ValueError, match="the rule 'fa' must be attached to the trainer's network"):
        one.begin_phase("second", unattached, mf.SGD())
    with pytest.raises(TypeError, match="the optimizer must be"):
        begin(one, optimizer="sgd")
    one.fit(examples(), 1, batch_size=8)
    with pytest.raises(RuntimeError, match="epoch 1 must be finished before another phase begins: call fit"):
        begin(one)
    state = one.state()
    assert (state["phase"], state["phase_start"]) == ("", 0)
    other = trainer(phase="first")
    with pytest.raises(ValueError, match="one of the phase '', but this training is in the phase 'first'"):
        other.load_state(state)
    del state["phase"], state["phase_start"]  # of a version without phases
    trainer().load_state(state)
    with pytest.raises(ValueError, match="phase_start must lie from 0 to epoch"):
        trainer().load_state({**state, "phase_start": 2})


def test_callbacks_are_told_of_a_phase():
    told = []

    class Tell(mf.training.Callback):
        def on_phase(self, trainer, carried):
            told.append((trainer.phase, trainer.rule.label, carried.rule))

    one = trainer("kolen_pollack", callbacks=[Tell()])
    carried = begin(one, rule="fa")
    assert told == [("second", "fa", ("linear2", "linear3"))]
    assert str(carried).startswith("carried over: all 10 arrays of the network; of the rule linear2, linear3; ")


def test_a_refused_phase_leaves_the_optimizer_as_it_was():
    one = trainer(optimizer=mf.SGD(lr=0.1, momentum=0.9))
    one.fit(examples(), 1, batch_size=8)
    state = {key: array.copy() for key, array in one.optimizer.state().items()}
    with pytest.raises(TypeError, match="a schedule must be"):
        one.begin_phase("second", one.rule, one.optimizer, schedule=3)
    one.optimizer.bind(one.net, one.rule)  # as the next step does
    assert state and all((one.optimizer.state()[key] == array).all() for key, array in state.items())


def test_early_stopping_starts_afresh_in_each_phase():
    """The best network of a phase is one of its own epochs, and has the arrays of its own rule."""
    stop = mf.training.EarlyStopping("train_loss", patience=2)
    one = trainer("kolen_pollack", callbacks=[stop], phase="first")
    one.fit(examples(), 3, batch_size=8)
    best = stop.best_epoch
    begin(one, rule="dfa", optimizer=mf.SGD(lr=1e-9))
    assert best > 0 and (stop.best, stop.best_epoch, stop.waited) == (None, 0, 0)
    one.fit(examples(), 2, batch_size=8)
    assert stop.best_epoch > 3
