"""Local losses and accuracies of a rule (`Rule.local`): their means over an epoch, in the history, its file and its
figures, in pages and checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints
from minifa.backend import xp
from minifa.experiments import Experiment, resume, run_folder, run_page
from minifa.training import Callback, EarlyStopping, Trainer

CE = mf.SoftmaxCrossEntropy()


class Local(mf.rules.FA):
    """Each hidden layer measures the mean square of its output in the batch; the first one an accuracy, too, except in
    the last batch of an epoch."""

    def gradients(self, net, x, y, loss):
        value = super().gradients(net, x, y, loss)
        h = net["linear2"].cache
        self.local["tanh1"] = {"loss": (h * h).mean(), "accuracy": 0.25 if len(x) == 4 else None}
        self.local["linear1"] = {"loss": float(x[0, 0])}
        return value


def train(rule, stop_after=None, path=None, **options):
    """Two epochs of ten examples in batches of 4, 4 and 2; the trainer, which was stopped, saved and loaded on the way
    if ``path`` is given."""
    rng = np.random.default_rng(0)
    examples = mf.data.from_arrays(rng.normal(size=(12, 3)), np.arange(12) % 2, test_fraction=1 / 6).train

    class Stop(Callback):
        def on_step(self, trainer, n):
            if trainer.net.step == stop_after:
                trainer.stop()

    def fresh():
        net = mf.Network([mf.Linear(3, 5), mf.Tanh(), mf.Linear(5, 2)], seed=0)
        callbacks = [Stop(), *options.get("callbacks", [])]
        return Trainer(
            net, rule().attach(net), CE, mf.SGD(0.1, momentum=0.9), options.get("schedule"), callbacks=callbacks
        )

    trainer = fresh()
    trainer.fit(examples, options.get("epochs", 2), batch_size=4)
    if path is not None:
        assert trainer.stopped
        checkpoints.save(path, trainer)
        trainer = fresh()
        checkpoints.load(path, trainer)
        trainer.fit(examples, 2 - trainer.finished, batch_size=4)
    return trainer


def rows_of(trainer):
    timed = ("seconds", "images_per_second")
    return [{key: value for key, value in row.items() if key not in timed} for row in trainer.history]


def test_the_history_has_the_means_over_the_examples_of_an_epoch(engine):
    values = []

    class Kept(Local):
        def gradients(self, net, x, y, loss):
            value = super().gradients(net, x, y, loss)
            values.append((len(x), *(float(self.local[name]["loss"]) for name in ("linear1", "tanh1"))))
            return value

    history = train(Kept, epochs=1).history
    n, first, second = (np.array(column) for column in zip(*values, strict=True))
    assert n.tolist() == [4, 4, 2]
    assert list(history[1])[-3:] == ["linear1.local_loss", "tanh1.local_loss", "tanh1.local_accuracy"]  # forward order
    assert not any("." in key for key in history[0])
    np.testing.assert_allclose(history[1]["linear1.local_loss"], (n * first).sum() / 10, rtol=1e-12)
    np.testing.assert_allclose(history[1]["tanh1.local_loss"], (n * second).sum() / 10, rtol=1e-12)
    assert history[1]["tanh1.local_accuracy"] == 0.25  # of the batches in which it was measured


def test_target_rules_have_local_losses_and_others_have_no_column():
    history = train(mf.rules.FWDTP).history
    assert [key for key in history[2] if "." in key] == ["tanh1.local_loss"]
    assert history[1]["tanh1.local_loss"] > 0
    assert not any("." in key for key in train(mf.rules.FA).history.columns())


@pytest.mark.parametrize("rule", [Local, mf.rules.DTP])
@pytest.mark.parametrize("stop_after", [1, 5])
def test_training_resumed_within_an_epoch_has_the_same_bits(rule, stop_after, tmp_path, engine):
    resumed = train(rule, stop_after, tmp_path / "one.ckpt")
    assert rows_of(resumed) == rows_of(train(rule))


def test_a_state_of_an_older_version_has_no_local_sums_and_invalid_ones_are_refused():
    trainer = train(Local, stop_after=2)
    state = trainer.state()
    assert state["local_sums"]["tanh1.local_accuracy"] == [2.0, 8]
    for wrong in ([], {"a.local_loss": 3.0}, {"a.local_loss": [1.0, 9]}, {"a.local_loss": [1.0, 0]}, {"a": ["x", 1]}):
        with pytest.raises(ValueError, match="local_sums"):
            trainer.load_state({**state, "local_sums": wrong})
    del state["local_sums"]
    trainer.load_state(state)
    assert trainer.local_sums == {}


@pytest.mark.parametrize(
    "wrong", [{"tanh1": 0.5}, {"tanh1": {"loss": 0.5, "acuracy": 1.0}}, {"tanh1": {"loss": xp.ones(2)}}]
)
def test_local_numbers_of_another_form_are_refused(wrong):
    class Mine(mf.rules.FA):
        def gradients(self, net, x, y, loss):
            value = super().gradients(net, x, y, loss)
            self.local = wrong
            return value

    with pytest.raises(TypeError, match=r"local of the rule 'Mine' must have \{'loss': .* for 'tanh1'"):
        train(Mine)


def test_numbers_of_an_earlier_pass_are_not_counted_again():
    class Once(mf.rules.FA):
        def gradients(self, net, x, y, loss):
            value = super().gradients(net, x, y, loss)
            if net.step == 0:
                self.local["tanh1"] = {"loss": 3.0}
            return value

    history = train(Once).history
    assert history[1]["tanh1.local_loss"] == 3.0 and "tanh1.local_loss" not in history[2]


def test_a_local_loss_may_stop_training_or_lower_the_rate():
    class Grows(mf.rules.FA):
        def gradients(self, net, x, y, loss):
            value = super().gradients(net, x, y, loss)
            self.local["tanh1"] = {"loss": xp.float32(net.step)}
            return value

    measure = "tanh1.local_loss"
    stopped = train(Grows, epochs=9, callbacks=[EarlyStopping(measure, patience=2)])
    assert stopped.history.stopped_early and stopped.epoch == 3
    plateau = mf.schedules.reduce_on_plateau(patience=0, measure=measure)
    rates = train(Grows, epochs=3, schedule=plateau).history.column("lr")
    assert rates[1:3] == [0.1, 0.1] and rates[3] < 0.1


def test_a_local_loss_that_is_not_finite_does_not_stop_the_record(tmp_path):
    class Infinite(mf.rules.FA):
        def gradients(self, net, x, y, loss):
            value = super().gradients(net, x, y, loss)
            self.local["tanh1"] = {"loss": math.inf}
            return value

    history = train(Infinite).history
    history.save_csv(tmp_path / "history.csv")
    assert mf.training.History.read_csv(tmp_path / "history.csv").column("tanh1.local_loss") == [
        None,
        math.inf,
        math.inf,
    ]
    mf.figures.training_curves(history)


def test_figures_and_the_page_of_a_run_show_them(tmp_path):
    history = train(Local).history
    titles = [axes.get_title(loc="left") for axes in mf.figures.training_curves(history).axes]
    assert titles == ["Loss", "Accuracy", "Local loss"]
    aligned = mf.training.History({**row, "linear2.weight_angle": 80.0} for row in history)
    figure = mf.figures.training_curves(aligned)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [*titles[:2], "Angle of W and B", titles[2]]
    assert [line.get_label() for line in figure.axes[3].lines] == ["linear1", "tanh1"]
    np.testing.assert_array_equal(figure.axes[3].lines[1].get_ydata()[1:], history.column("tanh1.local_loss")[1:])
    shown = history.plot(["local_loss", "local_accuracy"]).axes
    assert [axes.get_title(loc="left") for axes in shown] == ["Local loss", "Local accuracy"]
    assert shown[1].get_ylim() == (0, 1.02)
    history.save_csv(tmp_path / "history.csv")
    page = run_page.write(tmp_path).read_text()
    heading, row = (
        "<th>layer</th><th>local loss</th><th>local accuracy</th>",
        "<tr><th>linear1</th><td>{:.4g}</td><td></td>",
    )
    assert heading in page and row.format(history[-1]["linear1.local_loss"]) in page
    assert "Alignment at the end" not in page


def test_comparisons_and_opened_runs_keep_the_columns_and_the_weighted_layers(tmp_path):
    setting = {"data": "xor", "model": "tiny", "lr": 0.3, "epochs": 2}
    compared = mf.compare(["fwdtp", "fa"], "tiny", "xor", seeds=1, epochs=2, lr=0.3, progress=False)
    assert [("tanh1.local_loss" in row) for row in compared.history_rows] == [False, True, True, False, False, False]
    assert "fwdtp" in repr(compared) and compared.figure.axes
    resume.run_in_folder(tmp_path / "run", Experiment(rule="fwdtp", **setting))
    (result,) = run_folder.read_results(tmp_path / "run")
    assert result.layers == ("linear1", "linear2")
