"""Early stopping: when it ends training, what it restores, and that an interrupted training ends with the same bits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import checkpoints, cli, experiments
from minifa.checkpoints import CheckpointError
from minifa.cli import pictures
from minifa.data.base import Examples
from minifa.experiments import Experiment, recipes, resume, run_folder, study, sweep_results, tuning
from minifa.training import Callback, EarlyStopping, Trainer

NAN = float("nan")


def examples(n=20, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.standard_normal((n, 6)).astype(np.float32), rng.integers(0, 3, n))


def trainer_with(*callbacks, rule="kolen_pollack", schedule=None, optimizer=None):
    net = mf.Network([mf.Linear(6, 5), mf.BatchNorm(5), mf.ReLU(), mf.Dropout(0.3), mf.Linear(5, 3)], seed=0)
    optimizer = optimizer or mf.SGD(0.05, momentum=0.9)
    rule = mf.rules.make(rule, seed=0).attach(net)
    return Trainer(net, rule, mf.SoftmaxCrossEntropy(), optimizer, schedule, callbacks=list(callbacks))


def arrays_of(trainer):
    return {**trainer.net.state(), **{f"rule/{key}": a for key, a in trainer.rule.state().items()}}


class Score(Callback):
    """Sets a column of the history, and keeps a copy of the network and feedback of every epoch."""

    def __init__(self, column, values):
        self.column, self.values, self.copies = column, values, []

    def on_epoch(self, trainer, row):
        self.copies.append(arrays_of(trainer))
        row[self.column] = self.values[row["epoch"]]


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, examples):
        if trainer.net.step == self.step:
            trainer.stop()


@pytest.mark.parametrize(
    ("column", "values", "options", "last", "best"),
    [
        ("validation_accuracy", [0.1, 0.5, 0.4, 0.5, 0.9], {"patience": 2}, 3, 1),  # an equal value is no improvement
        ("validation_accuracy", [0.1, 0.5, 0.4, 0.6, 0.5, 0.5], {"patience": 2}, 5, 3),
        ("validation_loss", [3.0, 2.0, 2.5, 1.0, 1.5], {"patience": 2}, 4, 3),  # the last epoch: not early
        ("validation_loss", [3.0, 2.0, 1.9, 1.7, 1.6], {"patience": 2, "min_delta": 0.25}, 4, 3),
        ("validation_loss", [1.0, 2.0, NAN, 0.5, 0.5], {"patience": 2}, 2, 0),  # before the first update was the best
        ("validation_loss", [NAN, NAN, 2.0, NAN, NAN], {"patience": 2}, 4, 2),
        ("test_accuracy", [0.5, 0.4, 0.3, 0.6, 0.6], {"patience": 2, "measure": "test_accuracy"}, 2, 0),
    ],
)
def test_training_ends_when_the_measure_has_not_improved(column, values, options, last, best):
    score, stop = Score(column, values), EarlyStopping(**options)
    one = trainer_with(score, stop)
    history = one.fit(examples(), len(values) - 1, batch_size=8)
    waited = last - best >= options["patience"]
    assert (history[-1]["epoch"], stop.best_epoch, history.stopped_early) == (last, best, waited)
    assert history.column("stopped_early") == [None] * last + [1 if waited else None]
    assert not one.stopped and not one.unfinished and one.finished == last
    assert_same_bits(arrays_of(one), score.copies[best])  # weights, running statistics and learned feedback


def test_the_last_network_is_kept_on_request_and_after_an_interruption(engine):
    values = [0.1, 0.5, 0.4, 0.3, 0.2]
    score = Score("validation_accuracy", values)
    one = trainer_with(score, EarlyStopping(patience=2, restore_best=False))
    one.fit(examples(), 4, batch_size=8)
    assert one.history.stopped_early
    assert_same_bits(arrays_of(one), score.copies[3])
    score = Score("validation_accuracy", values)
    two = trainer_with(score, EarlyStopping(patience=4), StopAt(9))  # at the end of epoch 3
    two.fit(examples(), 4, batch_size=8)
    assert two.stopped and not two.history.stopped_early
    assert_same_bits(arrays_of(one), arrays_of(two))
    two.fit(examples(), 4 - two.finished, batch_size=8)
    assert_same_bits(arrays_of(two), score.copies[1])


@pytest.mark.usefixtures("engine")
def test_a_further_fit_waits_anew_and_another_trainer_starts_anew():
    stop = EarlyStopping(patience=1)
    one = trainer_with(Score("validation_loss", [3.0, 1.0, 2.0, 2.0, 0.5, 0.5]), stop)
    for last in (2, 3):
        one.fit(examples(), 9, batch_size=8)
        assert (one.history.stopped_early, one.finished, stop.best_epoch) == (True, last, 1)
    one.fit(examples(), 1, batch_size=8)
    assert not one.history.stopped_early and stop.best == 0.5
    other = trainer_with(Score("validation_loss", [9.0, 8.0]), stop)
    other.fit(examples(), 1, batch_size=8)
    assert stop.best == 8.0


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("options", [{}, {"measure": "validation_accuracy"}])
def test_training_without_validation_examples_is_refused_before_it_starts(options):
    one = trainer_with(EarlyStopping(**options))
    before = arrays_of(one)
    needs = "EarlyStopping needs 'validation_accuracy'.*, which has epoch: give fit validation"
    with pytest.raises(ValueError, match=needs) as refused:
        one.fit(examples(), 2)
    assert ("'validation_loss'" in str(refused.value)) == (not options)
    assert_same_bits(arrays_of(one), before)
    assert one.net.step == 0 and not one.history
    one.fit(examples(), 2, validation=examples(seed=1))
    of_training = trainer_with(EarlyStopping("train_loss", patience=1))
    of_training.fit(examples(), 2)  # needs none


@pytest.mark.parametrize(
    ("measure", "similar"),
    [("validation_los", "validation_loss"), ("train_los", "train_loss"), ("trian_loss", "train_loss")],
)
def test_a_misspelt_measure_is_answered_with_the_columns_of_the_history(measure, similar):
    one = trainer_with(EarlyStopping(measure))
    with pytest.raises(ValueError, match=f"unknown measure of EarlyStopping '{measure}': did you mean {similar}"):
        one.fit(examples(), 1, validation=examples(seed=1))


def test_its_repr_is_its_call():
    assert repr(EarlyStopping()) == "EarlyStopping()"
    assert repr(EarlyStopping("train_loss", patience=2)) == "EarlyStopping(measure='train_loss', patience=2)"


# --- checkpoints ------------------------------------------------------------------------------------------------------


class KeepAll(Callback):
    """Saves a checkpoint after every update and every epoch. It comes before early stopping in the list."""

    def __init__(self, folder):
        self.folder, self.paths = folder, []

    def keep(self, trainer):
        self.paths.append(self.folder / f"{len(self.paths)}.ckpt")
        checkpoints.save(self.paths[-1], trainer)

    def on_step(self, trainer, examples):
        self.keep(trainer)

    def on_recorded(self, trainer):
        self.keep(trainer)


@pytest.mark.parametrize("rule", ["kolen_pollack", "product", "brsf"])
def test_every_option_together_resumes_bit_for_bit(rule, tmp_path):
    """From the middle and the end of every epoch; the score is best in epoch 2, and training ends after epoch 5."""

    def make(*others):
        schedule = mf.schedules.make("warm_up:epochs=1 then reduce_on_plateau:patience=0,threshold=0.3,factor=0.5")
        groups = {"decay_bias": False, "lr_factors": {"linear2": 0.5, "*.b": 0.1}}
        optimizer = mf.AdamW(0.02, weight_decay=0.1, **groups)
        score = Score("score_accuracy", [0.1, 0.2, 0.9, 0.3, 0.3, 0.3, 0.3, 0.3])
        stop = EarlyStopping("score_accuracy", patience=3)
        return trainer_with(*others, score, stop, rule=rule, schedule=schedule, optimizer=optimizer), stop

    def fit(one):
        if not one.history.stopped_early:
            one.fit(examples(), 7 - one.finished, 8, examples(seed=1), drop_last=True)

    kept = KeepAll(tmp_path)
    whole, stop = make(kept)
    fit(whole)
    assert len(kept.paths) == 1 + 5 * 3 and whole.history.stopped_early
    assert len(set(whole.history.column("lr"))) > 3, "the rate was never reduced: the test tests nothing"
    times = {"seconds", "images_per_second"}
    for path in kept.paths:
        resumed, other = make()
        checkpoints.load(path, resumed)
        fit(resumed)
        other.restore(resumed)  # the last checkpoint is of a training that has ended
        assert_same_bits(checkpoints.arrays_of(whole), checkpoints.arrays_of(resumed))
        rows = [[{k: v for k, v in row.items() if k not in times} for row in one.history] for one in (whole, resumed)]
        assert rows[0] == rows[1] and (other.best, other.best_epoch, other.waited) == (0.9, 2, 3)


@pytest.mark.usefixtures("engine")
def test_a_checkpoint_of_another_early_stopping_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    with_validation = {"validation": examples(seed=1), "batch_size": 8}
    one = trainer_with(EarlyStopping(patience=3))
    one.fit(examples(), 2, **with_validation)
    checkpoints.save(path, one)
    waited = checkpoints.read(path).arrays["callbacks/EarlyStopping/waited"]
    assert waited == one.callbacks[0].waited == 2 - one.callbacks[0].best_epoch
    for other in (trainer_with(EarlyStopping(patience=4)), trainer_with()):
        with pytest.raises(CheckpointError, match="its trainer has EarlyStopping {.*'patience': 3.*}, but this"):
            checkpoints.load(path, other)
    checkpoints.load(path, trainer_with(EarlyStopping(patience=3)))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"waited": np.array(-1)}, "must be at least 0"),
        ({"waited": np.array(1.5)}, "'waited' of EarlyStopping must be int64"),
        ({"best": np.array(NAN)}, "'best' of EarlyStopping must hold finite numbers"),
        ({"network/linear1.W": np.zeros((2, 2), "f4")}, "must have shape"),
        ({"network/linear9.W": np.zeros((2, 2), "f4")}, "unknown"),
        ({"waited": None}, "missing"),
    ],
)
def test_invalid_arrays_are_refused_before_anything_changes(change, words):
    one, stop = trainer_with(EarlyStopping(patience=3)), EarlyStopping(patience=3)
    one.fit(examples(), 2, 8, examples(seed=1))
    arrays = {**one.callbacks[0].on_save(one), **change}
    arrays = {key: array for key, array in arrays.items() if array is not None}
    with pytest.raises(ValueError, match=words):
        stop.on_load(one, arrays)
    assert (stop.best, stop.trainer, stop.arrays) == (None, None, {})


def test_callbacks_with_a_state_are_named_by_their_class(tmp_path):
    class Count(Callback):
        def __init__(self, start=0):
            self.count = start

        def on_step(self, trainer, examples):
            self.count += 1

        def on_save(self, trainer):
            return {"count": self.count}

        def on_load(self, trainer, arrays):
            self.count = int(arrays["count"])

    one, other = (trainer_with(Count(), Count(10), rule="fa") for _ in range(2))
    one.fit(examples(), 1, batch_size=8)
    checkpoints.save(tmp_path / "x.ckpt", one)
    assert checkpoints.callbacks_of(one).keys() == {"Count", "Count-2"}
    checkpoints.load(tmp_path / "x.ckpt", other)
    assert [callback.count for callback in other.callbacks] == [3, 13]
    other.callbacks[0].count = "three"
    with pytest.raises(TypeError, match=r"the state of Count \(on_save\) must consist of numbers, got 'three'"):
        checkpoints.save(tmp_path / "y.ckpt", other)


# --- experiments ------------------------------------------------------------------------------------------------------

EARLY = Experiment(
    model="mlp", model_options={"hidden": (8,)}, rule="kolen_pollack", lr=0.3, epochs=40, validation=0.2, patience=2
)


@pytest.fixture
def quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)


def test_a_run_measures_the_best_network_in_memory_and_in_a_folder(quick):
    result, trainer = experiments.run(EARLY)
    best = result.final["epoch"]
    assert result.measured == "test" and best < len(result.history) - 1 < EARLY.epochs
    assert result.score == result.final["test_accuracy"] == trainer.evaluate(mf.data.load("digits").test)["accuracy"]
    row = resume.run_in_folder("run", EARLY)
    assert (row["best_epoch"], row["epochs"], row["test_accuracy"]) == (best, best + 2, result.score)
    legend = [text.get_text() for text in mf.figures.learning_curves([result]).legends[0].get_texts()]
    assert (legend[0], legend[-1]) == ("kolen_pollack", "stopped early")
    net, rule, _ = run_folder.open_run("run")
    assert_same_bits(net.state(), trainer.net.state())
    assert_same_bits(rule.state(), trainer.rule.state())
    assert run_folder.read_results("run")[0].score == result.score
    for folder in (None, run_folder.Path("run")):
        line = sweep_results.measure(study.Task(EARLY, folder)).result
        assert (line["best_epoch"], line["epochs"], line["test_accuracy"]) == (best, best + 2, result.score)
        assert line["true_angle"] == result.final["linear1.true_angle"]


def test_an_experiment_without_held_out_examples_is_refused(capsys, quick):
    assert cli.main(["train", "--patience", "2"]) == 2
    assert "early stopping (patience) needs held-out examples: set validation" in capsys.readouterr().err
    recipe = recipes.parse("[training]\npatience = 2\n[data]\nvalidation = 0.1")
    assert (recipe.experiment.patience, recipe.experiment.measured) == (2, "test")
    assert tuning.run_of(recipe.experiment, "bp", 0, 0).measured == "validation"  # a search never sees the test set


def test_the_commands_end_early_and_say_so(quick, capsys):
    options = ["--model", "mlp", "--hidden", "8", "--lr", "0.3", "--epochs", "40", "--validation", "0.2"]
    early = [*options, "--patience", "2"]
    assert cli.main(["train", "--rule", "fa", *early, "--out", "run"]) == 0
    last = run_folder.read_results("run")[0].history[-1]["epoch"]
    told = f"stopped early after epoch {last}: no better value on the held-out examples since epoch {last - 2}, whose"
    printed = capsys.readouterr().out
    printed = " ".join(printed.split())  # without its line breaks
    assert told in printed and "at most 40 epochs (patience 2)" in printed
    end = json.loads((run_folder.Path("run") / "log.jsonl").read_text().splitlines()[-1])
    assert (end["event"], end["epoch"], end["stopped_early"]) == ("end", last, True)
    network = (run_folder.Path("run") / "network.npz").read_bytes()
    assert cli.main(["train", "--resume", "run", "--epochs", "50"]) == 0  # it has ended: only the results are written
    assert f"{told} network is restored; to train longer, start again" in capsys.readouterr().out
    assert (run_folder.Path("run") / "network.npz").read_bytes() == network
    assert cli.main(["compare", "--rules", "bp", "--seeds", "1", "--jobs", "1", *early, "--out", "compared"]) == 0
    assert "test accuracy at the epoch that was best on held-out examples" in capsys.readouterr().out
    (result,) = run_folder.read_results("compared")
    assert result.history[-1]["stopped_early"] == 1 and result.score == result.final["test_accuracy"]
