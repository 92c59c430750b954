"""The training loop: reproducible bit for bit, evaluated without side effects, and with clear errors."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import BatchNorm, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear, Network, ReLU, Tanh
from minifa.data.base import Examples
from minifa.parallel import chunks
from minifa.testing.examples import small_convnet
from minifa.training import Callback, History, ProgressBar, RecordAlignment, RecordTargets, Trainer, train
from minifa.training.trainer import count_correct

CE = mf.SoftmaxCrossEntropy()


def examples(n=50, shape=(6,), classes=3, seed=0):
    """Learnable classes: the index of the largest of the first inputs."""
    x = np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)
    return Examples(x, x.reshape(n, -1)[:, :classes].argmax(axis=1))


def mlp(seed=0):
    return Network([Linear(6, 12), BatchNorm(12), ReLU(), Dropout(0.1), Linear(12, 3)], seed=seed)


def trainer(rule="fa", seed=0, net=None, lr=0.1, **options):
    net = net or mlp(seed)
    return Trainer(net, mf.rules.make(rule, seed).attach(net), CE, mf.SGD(lr, momentum=0.9), seed=seed, **options)


# --- reproducible -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["bp", "fa", "usf", "brsf", "dfa", "shallow"])
def test_equal_seeds_give_equal_bits_and_different_seeds_do_not(rule, engine):
    def run(seed):
        one = trainer(rule, seed)
        one.fit(examples(), epochs=2, batch_size=16)
        return {**one.net.state(), "losses": np.array(one.history.column("train_loss")[1:])}

    first = run(0)
    assert_same_bits(first, run(0))
    assert (run(1)["linear1.W"] != first["linear1.W"]).all()


@pytest.mark.parametrize("part", ["weights", "feedback", "order"])
def test_each_seed_changes_only_its_own_part(part):
    net = mlp(seed=int(part == "weights"))
    one = Trainer(net, mf.rules.FA(int(part == "feedback")).attach(net), CE, mf.SGD(0.1), seed=int(part == "order"))
    other = trainer(lr=0.1)
    same_start = np.array_equal(one.net["linear1"].W, other.net["linear1"].W)
    same_feedback = np.array_equal(one.rule.B["linear2"], other.rule.B["linear2"])
    assert (same_start, same_feedback) == (part != "weights", part != "feedback")
    for each in (one, other):
        each.optimizer = mf.SGD(0.1)
        each.fit(examples(), 1, batch_size=16)
    assert (one.net["linear1"].W != other.net["linear1"].W).any()


def test_training_in_two_calls_equals_training_in_one():
    once, twice = trainer(), trainer()
    once.fit(examples(), epochs=4, batch_size=16)
    twice.fit(examples(), epochs=1, batch_size=16)
    twice.fit(examples(), epochs=3, batch_size=16)
    assert_same_bits(once.net.state(), twice.net.state())
    assert twice.history.column("epoch") == [0, 1, 2, 3, 4]


def test_every_epoch_uses_every_example_once_in_a_new_order():
    seen = []

    class Listening(mf.rules.BP):
        def gradients(self, net, x, y, loss):
            seen.append(x[:, 0].copy())
            return super().gradients(net, x, y, loss)

    data = Examples(np.arange(10, dtype=np.float32).reshape(10, 1), np.zeros(10, np.int64))
    net = Network([Linear(1, 2)])
    Trainer(net, Listening().attach(net), CE, mf.SGD(0.0)).fit(data, epochs=2, batch_size=4)
    assert [len(rows) for rows in seen] == [4, 4, 2] * 2  # the smaller last batch is used too
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert (first != second).any() and (first != np.arange(10)).any()


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_changes_nothing_and_draws_nothing(count_draws, engine):
    one = trainer("brsf")
    one.fit(examples(), 1, batch_size=16)
    before = {**one.net.state(), **one.rule.state(), **one.optimizer.state()}
    held = one.net.gradients(), dict(one.rule.B), one.rule.error
    made = count_draws()
    made.clear()
    measured = one.evaluate(examples(seed=1), batch_size=16)
    assert made == []
    assert_same_bits(before, {**one.net.state(), **one.rule.state(), **one.optimizer.state()})
    assert all(a is b for a, b in zip(held[0].values(), one.net.gradients().values(), strict=True))
    assert held[1] == one.rule.B or all(held[1][key] is one.rule.B[key] for key in held[1])
    assert held[2] is one.rule.error
    assert measured == one.evaluate(examples(seed=1), batch_size=16)


def test_evaluation_by_hand(float64):
    net = Network([Linear(2, 2, bias=False)])
    net["linear1"].W[...] = np.eye(2)
    one = Trainer(net, mf.rules.BP().attach(net), CE, mf.SGD())
    data = Examples(np.array([[2.0, 0], [0, 1], [3, 0]], np.float32), np.array([0, 1, 1]))
    # -log softmax of the right class: log(1 + e^-2), log(1 + e^-1), log(1 + e^3); two of three are right
    expected = np.mean([math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1)), math.log(1 + math.exp(3))])
    for batch_size in (1, 2, 256):
        assert one.evaluate(data, batch_size) == {"loss": pytest.approx(expected), "accuracy": pytest.approx(2 / 3)}


def test_regression_targets_have_a_loss_and_no_accuracy():
    x = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    data = Examples(x, x[:, :3])
    net = Network([Linear(6, 3)])
    history = train(
        net, mf.rules.BP().attach(net), data, mf.HalfSquaredError(), mf.SGD(0.5), 3, 10, data, progress=False
    )
    assert history.columns()[:2] == ["epoch", "validation_loss"]
    assert not any("accuracy" in column for column in history.columns())
    assert history[-1]["validation_loss"] < 0.1 * history[0]["validation_loss"]


def test_count_correct_compares_the_largest_entries(engine):
    output = mf.asarray(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]))
    assert int(count_correct(output, mf.asarray(np.eye(2)[[1, 0, 0]]))) == 2


# --- the history ------------------------------------------------------------------------------------------------------


def test_history_has_a_row_per_epoch_and_one_before_the_first(tmp_path):
    one = trainer(schedule=mf.schedules.step_decay(1, 0.5))
    history = one.fit(examples(), epochs=3, batch_size=16, validation=examples(20, seed=1))
    assert history is one.history
    assert list(history[0]) == ["epoch", "validation_loss", "validation_accuracy"]
    assert history.column("epoch") == [0, 1, 2, 3]
    assert history.column("lr") == [None, 0.1, 0.05, 0.025]
    assert all(0 <= row["train_accuracy"] <= 1 and row["images_per_second"] > 0 for row in history[1:])
    assert len(set(history.column("validation_loss"))) == 4
    history.save_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == history.columns()
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0]["train_loss"] == "" and float(rows[3]["train_loss"]) == history[3]["train_loss"]


def test_the_train_loss_is_the_mean_over_examples_not_over_batches():
    """Batches of 4 and 1: the example of the smaller batch must not count four times."""
    data, net = examples(5), Network([Linear(6, 3)])
    one = Trainer(net, mf.rules.BP().attach(net), CE, mf.SGD(0.0))
    history = one.fit(data, 1, batch_size=4, validation=data)
    assert history[1]["train_loss"] == pytest.approx(history[1]["validation_loss"], rel=1e-5)
    assert history[1]["train_accuracy"] == history[1]["validation_accuracy"]


def test_alignment_is_recorded_in_every_row():
    data = examples(20)
    history = trainer(callbacks=[RecordAlignment(data.head(8))]).fit(data, 2, batch_size=10)
    angles = history.column("linear2.weight_angle")
    assert len(angles) == 3 and all(isinstance(value, float) for value in angles) and len(set(angles)) == 3
    assert "linear1.weight_angle" not in history.columns()


@pytest.mark.parametrize("rule", ["fa", "fwdtp"])
def test_targets_are_recorded_in_every_row_without_an_effect_on_training(rule):
    data = examples(20)

    def fit(*callbacks):
        net = Network([Linear(6, 12), Tanh(), Linear(12, 3)])
        one = trainer(rule, net=net, callbacks=callbacks)
        return one.fit(data, 2, batch_size=10), one

    (history, measured), (_, plain) = fit(RecordTargets(data.head(8), damping=0.1)), fit()
    quantities = ("bp_angle", "gn_angle", "target_size")
    columns = [name for name in history.columns() if name.endswith(quantities)]
    assert columns == [f"{layer}.{key}" for layer in ("tanh1", "linear2") for key in quantities]
    assert all(isinstance(row[name], float) for row in history for name in columns)
    net, x = measured.net, mf.asarray(data.x[:8])
    now = mf.target_metrics.target_alignment(net, measured.rule, x, data.y[:8], CE, damping=0.1)
    assert history[-1]["tanh1.gn_angle"] == now["tanh1"]["gn_angle"]
    for key, array in plain.net.state().items():
        np.testing.assert_array_equal(array, net.state()[key])


def test_callbacks_are_called_in_order_even_when_training_fails():
    calls = []

    class Recorder(Callback):
        def on_start(self, trainer, epochs, batches):
            calls.append(("start", epochs, batches))

        def on_step(self, trainer, examples):
            calls.append(("step", examples))
            if trainer.epoch == 2:
                raise KeyboardInterrupt

        def on_epoch(self, trainer, row):
            calls.append(("epoch", row["epoch"]))

        def on_end(self, trainer):
            calls.append("end")

    one = trainer(callbacks=[Recorder()])
    with pytest.raises(KeyboardInterrupt):
        one.fit(examples(20), epochs=3, batch_size=15)
    assert calls == [("start", 3, 2), ("epoch", 0), ("step", 15), ("step", 5), ("epoch", 1), ("step", 15), "end"]
    assert one.history.column("epoch") == [0, 1]


# --- failing ----------------------------------------------------------------------------------------------------------


def test_a_schedule_can_be_given_by_its_description():
    one = trainer(schedule="warm_up:epochs=2 then cosine:epochs=8")
    assert mf.schedules.describe(one.schedule) == mf.schedules.describe(
        mf.schedules.make("warm_up:epochs=2 then cosine:epochs=8")
    )
    with pytest.raises(
        TypeError, match="a schedule must be a function of the epoch.*or a str such as 'cosine:epochs=10'"
    ):
        trainer(schedule=3)
    with pytest.raises(ValueError, match="unknown schedule 'cosin': did you mean cosine"):
        trainer(schedule="cosin")


@pytest.mark.parametrize("factor", [-1.0, math.nan])
def test_an_increasing_schedule_is_refused(factor):
    one = trainer(schedule=lambda epoch: factor if epoch >= 1 else 1.0)
    with pytest.raises(ValueError, match="the learning rate of the schedule must be at least 0, got .* in epoch 2"):
        one.fit(examples(), epochs=3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_diverging_run_stops_and_keeps_its_history(threads, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 10)
    mf.use("numpy", threads=threads)
    net = Network([Linear(6, 12), ReLU(), Linear(12, 3)])
    one = trainer("bp", net=net, lr=1e30, callbacks=[RecordAlignment(examples(8))])
    history = one.fit(examples(), epochs=5, batch_size=16, validation=examples(10, seed=1))
    assert one.diverged
    assert history.column("epoch") == [0, 1]
    assert not math.isfinite(history[1]["train_loss"])
    assert "linear2.weight_angle" in history[0] and "linear2.weight_angle" not in history[1]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("epochs, batch_size", [(0, 8), (1, 0), (-1, 8)])
def test_invalid_arguments_are_refused(epochs, batch_size):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        trainer().fit(examples(), epochs, batch_size)


@pytest.mark.usefixtures("engine")
def test_a_batch_size_may_be_arbitrarily_large():
    """Larger than the data, larger than 32 bits: recipes accept such a number, so trainers do too."""
    data = mf.data.load("xor")
    net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
    one = Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD())
    assert one.fit(data.train, epochs=1, batch_size=1 << 40).column("epoch") == [0, 1]


def test_a_last_batch_of_one_is_refused_before_the_first_step():
    one = trainer()
    before = one.net.state()
    with pytest.raises(
        ValueError, match="21 examples in batches of 20 leave a last batch of 1, on which BatchNorm 'batchnorm1'"
    ):
        one.fit(examples(21), 1, batch_size=20)
    assert_same_bits(before, one.net.state())
    assert one.history == []
    one.fit(examples(22), 1, batch_size=20)
    with pytest.raises(ValueError, match="leave a last batch of 1"):
        trainer().fit(examples(1), 1, batch_size=20)


@pytest.mark.parametrize("input_shape", [(4, 4, 1), None], ids=["known shape", "unknown shape"])
def test_a_last_batch_of_one_image_has_a_variance(input_shape):
    """One image has many positions; only channels with a single number cannot be normalised."""
    layers = [Conv2d(1, 2, 3), BatchNorm(2), Tanh(), GlobalAvgPool(), Linear(2, 3)]
    net = Network(layers, input_shape=input_shape)
    history = trainer("bp", net=net).fit(examples(21, (4, 4, 1)), 1, batch_size=20)
    assert math.isfinite(history[1]["train_loss"])
    one_position = Network([Conv2d(1, 2, 4), BatchNorm(2), Flatten(), Linear(2, 3)], input_shape=input_shape)
    with pytest.raises(ValueError, match="leave a last batch of 1"):
        trainer("bp", net=one_position).fit(examples(21, (4, 4, 1)), 1, batch_size=20)


def test_labels_outside_the_outputs_of_the_network_are_refused():
    with pytest.raises(ValueError, match=r"class indices must lie in 0\.\.2"):
        trainer().fit(Examples(np.zeros((4, 6), np.float32), np.array([0, 1, 2, 3])), 1)


# --- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_silent_without_a_terminal(terminal, monkeypatch, capsys):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    net = mlp()
    train(net, mf.rules.FA().attach(net), examples(), CE, mf.SGD(0.1), epochs=2, batch_size=16, validation=examples(8))
    assert capsys.readouterr().out == ""
    written = stream.getvalue()
    if terminal:
        assert "fa" in written and "8/8" in written and "loss=" in written and "held-out=" in written
    else:
        assert written == ""


@pytest.mark.usefixtures("engine")
def test_the_progress_bar_shows_throughput(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    trainer(callbacks=[ProgressBar("label", every=0.0)]).fit(examples(), 1, batch_size=10)
    assert "label" in stream.getvalue() and "images/s=" in stream.getvalue()


def test_history_columns_are_in_the_order_of_first_appearance():
    history = History([{"a": 1}, {"b": 2, "a": 3}])
    assert history.columns() == ["a", "b"] and history.column("b") == [None, 2]


def test_a_convolutional_net_learns_under_every_hidden_rule():
    """The loss on the training images must fall from the same start, not merely be computed."""
    data = examples(48, (8, 8, 2))
    for rule in ("bp", "fa", "usf", "frsf", "brsf", "dfa"):
        net = small_convnet()
        history = Trainer(net, mf.rules.make(rule).attach(net), CE, mf.Adam(0.01)).fit(
            data, 20, 16
        )  # four seeds: 0.26 to 0.92
        assert history[-1]["train_loss"] < 0.9 * history[1]["train_loss"], rule


def test_a_second_trainer_of_a_network_uses_another_order_of_the_examples():
    """Training in a notebook, one epoch at a time, must not repeat the first epoch."""
    seen = []

    class Watch(Callback):
        def on_step(self, trainer, count):
            seen.append(np.asarray(trainer.rule.target).argmax(axis=1).tolist())

    net = mlp()
    rule = mf.rules.BP().attach(net)
    for _ in range(2):
        Trainer(net, rule, CE, mf.SGD(0.1), callbacks=[Watch()]).fit(examples(64), epochs=1, batch_size=16)
    assert seen[:4] != seen[4:] and sorted(sum(seen[:4], [])) == sorted(sum(seen[4:], []))
