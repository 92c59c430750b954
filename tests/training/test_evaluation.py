"""`mf.evaluate`, the confusion matrix, and `mf.load_run`."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa.experiments import Experiment, resume, tables
from minifa.experiments.resume import open_checkpoint, run_in_folder
from minifa.experiments.run_folder import open_run
from minifa.training import Trainer

CE = mf.SoftmaxCrossEntropy()


@pytest.fixture
def trained():
    data = mf.data.load("digits")
    net = mf.Network(mf.models.mlp(data.input_shape, data.n_out, hidden=(12,)), seed=0, input_shape=data.input_shape)
    trainer = Trainer(net, mf.rules.FA(seed=0).attach(net), CE, mf.SGD(0.01, momentum=0.9))
    trainer.fit(data.train.head(300), epochs=2)
    return trainer, data.test


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_it_equals_the_evaluation_of_a_trainer(trained):
    trainer, test = trained
    expected = trainer.evaluate(test, batch_size=100)
    assert mf.evaluate(trainer.net, test, loss=CE, batch_size=100) == expected
    assert mf.evaluate(trainer.net, test.x, test.y) == {"accuracy": expected["accuracy"]}
    assert mf.evaluate(trainer.net, test.x.astype("f8"), list(test.y), trainer.rule)["accuracy"] == expected["accuracy"]


class Opposite(mf.rules.FA):
    """Its answer is the opposite of the network's output."""

    name = "opposite"

    def predict_batch(self, net, x):
        return -net.forward(x)


def test_a_rule_may_predict_in_its_own_way(trained):
    trainer, test = trained
    net, rule = trainer.net, Opposite(seed=0)
    with pytest.raises(ValueError, match="the rule must be attached to this network"):
        net.predict(test.x, rule=rule)
    rule.attach(net)
    by_hand, before = -net.predict(test.x), vars(rule).copy()
    np.testing.assert_array_equal(rule.predict(net, test.x), by_hand)
    # A BLAS may round the products of a smaller batch differently:
    np.testing.assert_allclose(net.predict(test.x, batch_size=100, rule=rule), by_hand, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.classify(test.x, rule=rule), by_hand.argmax(axis=1))
    accuracy = float((by_hand.argmax(axis=1) == test.y).mean())
    assert accuracy != mf.evaluate(net, test)["accuracy"]
    assert mf.evaluate(net, test, rule=rule) == {"accuracy": accuracy}
    other = Trainer(net, rule, CE, mf.SGD(0.01))
    assert other.evaluate(test) == mf.evaluate(net, test, rule=rule, loss=CE)
    shares = [(by_hand.argmax(axis=1) == test.y)[test.y == k].mean() for k in range(10)]
    assert other.class_accuracies(test) == shares
    assert other.is_correct(test, 100).tolist() == (by_hand.argmax(axis=1) == test.y).tolist()
    assert mf.figures.confusion(mf.metrics.confusion(test.y, net.classify(test.x, rule=rule)))._suptitle.get_text() == (
        f"accuracy {accuracy:.3f}, 360 examples"
    )
    assert vars(rule) == before


def test_a_prediction_may_change_the_state_of_its_rule_and_nothing_else_notices(trained):
    class Counts(mf.rules.BP):
        passes = 0

        def predict_batch(self, net, x):
            self.passes, self.error = self.passes + 1, x
            return net.forward(x, self.training_pass(net))

    trainer, test = trained
    rule = Counts().attach(trainer.net)
    state = trainer.net.state()
    Trainer(trainer.net, rule, CE, mf.SGD(0.01)).evaluate(test)
    rule.predict(trainer.net, test.x)
    assert rule.passes == 0 and rule.error is None
    assert_same_bits(trainer.net.state(), state)


def test_every_command_evaluates_by_the_rule(tmp_path, monkeypatch):
    """Validation accuracy, the best epoch, early stopping and the test accuracy of a run are those of the rule."""
    monkeypatch.setitem(mf.rules.RULES, "opposite", Opposite)
    experiment = Experiment(
        data="xor", model="tiny", rule="opposite", lr=0.3, epochs=6, validation=0.5, patience=2, alignment=False
    )
    result = run_in_folder(tmp_path / "run", experiment)
    history = mf.training.History.read_csv(tmp_path / "run" / "history.csv")
    data = mf.data.load("xor")
    best, rule, _ = open_checkpoint(tmp_path / "run" / "best.ckpt")
    held_out = data.hold_out(0.5)[1]
    measured = history.column("validation_accuracy")
    assert result["best_epoch"] == measured.index(max(measured))
    assert max(measured) == mf.evaluate(best, held_out, rule=rule)["accuracy"]
    assert max(measured) == 1 - mf.evaluate(best, held_out)["accuracy"]
    assert result["test_accuracy"] == mf.evaluate(best, data.test, rule=rule)["accuracy"]
    compared = mf.compare([Opposite, "fa"], "tiny", "xor", seeds=1, epochs=3, lr=0.3, progress=False)
    opposite, fa = (row["score"] for row in compared.rows)
    assert opposite == 1 - fa


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda x: x.tolist(), TypeError, "returned list, expected an array"),
        (lambda x: x.astype("float64"), TypeError, "float64, expected float32"),
        (lambda x: x[:1], ValueError, r"shape \(1, 2\), expected \(4, n_out\): one row for each example"),
        (lambda x: x[:, 0], ValueError, r"shape \(4,\), expected \(4, n_out\)"),
    ],
)
def test_an_invalid_prediction_is_refused(answer, error, message):
    class Mine(mf.rules.FA):
        def predict_batch(self, net, x):
            return answer(x)

    net = mf.Network([mf.Linear(2, 2)])
    with pytest.raises(error, match=f"predict_batch of the rule 'Mine' .*{message}"):
        Mine().attach(net).predict(net, np.ones((4, 2)))


def test_predict_cannot_be_overridden_past_the_evaluations():
    with pytest.raises(TypeError, match="Mine must override predict_batch"):
        type("Mine", (mf.rules.FA,), {"predict": lambda self, net, x, batch_size=256: net.predict(x)})


def test_targets_are_measured_by_a_loss(engine):
    net = mf.Network([mf.Linear(3, 2, init="zero")])
    assert mf.evaluate(net, np.ones((4, 3)), np.full((4, 2), 3.0), loss=mf.HalfSquaredError()) == {"loss": 9.0}


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (lambda w: ("net", w.x, w.y), TypeError, "the network must be a minifa.Network"),
        (lambda w: (w.net, w.data), TypeError, "x must be one part of a data set, data.train or data.test"),
        (lambda w: (w.net, w.data.test, w.y), TypeError, "y must be left out if x is minifa.data.Examples"),
        (lambda w: (w.net, w.x), TypeError, "y must be class indices"),
        (lambda w: (w.net, w.x, ["a", "b", "a", "b"]), TypeError, "np.unique"),
        (lambda w: (w.net, w.x, w.y[:2]), ValueError, "x has 4 examples and y has 2"),
        (lambda w: (w.net, w.x, w.y + 7), ValueError, r"class indices must lie in 0..1"),
        (lambda w: (w.net, w.x, np.eye(2)[w.y]), ValueError, r"need a loss.*y.argmax\(axis=1\)"),
        (lambda w: (w.net, w.x, w.y, "fa"), TypeError, "the rule must be a minifa.rules.Rule"),
        (lambda w: (w.net, w.x, w.y, None, "mse"), TypeError, "the loss must be a minifa.losses.Loss"),
        (lambda w: (w.net, w.x, w.y, None, None, 0), ValueError, "the batch size must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, sentence):
    class World:
        data = mf.data.load("xor")
        net, x, y = mf.Network([mf.Linear(2, 2)]), data.test.x, data.test.y

    with pytest.raises(error, match=sentence):
        mf.evaluate(*arguments(World))


# --- the confusion matrix ---------------------------------------------------------------------------------------------


def test_rows_are_true_classes_and_columns_predicted_ones_as_in_scikit_learn():
    y, predicted = [0, 0, 0, 1, 1, 3], [0, 1, 1, 1, 0, 3]
    by_hand = [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert mf.metrics.confusion(y, predicted).tolist() == by_hand
    assert mf.metrics.confusion(y, predicted, classes=6).shape == (6, 6)


def test_its_diagonal_gives_the_accuracies_of_a_run(trained):
    trainer, test = trained
    matrix = mf.metrics.confusion(test.y, trainer.net.classify(test.x), classes=10)
    assert (matrix.diagonal() / matrix.sum(axis=1)).tolist() == trainer.class_accuracies(test)
    assert matrix.trace() / matrix.sum() == mf.evaluate(trainer.net, test)["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (([0, 1], [0, 1, 1]), ValueError, "class indices for 2 outputs"),
        (([0, 2], [0, 1], 2), ValueError, r"must lie in 0..1"),
        (([0, -1], [0, 1]), ValueError, r"must lie in 0..1"),
        ((["cat"], ["cat"]), TypeError, "the true classes must be real numbers"),
        (([0.0], [0]), TypeError, "the true classes must be integers"),
        (([], []), TypeError, "the true classes must be integers"),
        (([[0, 1]], [[0, 1]]), ValueError, "must have shape"),
        (([0], [0], 0), ValueError, "the number of classes must be at least 1"),
    ],
)
def test_wrong_classes_are_refused(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        mf.metrics.confusion(*arguments)


def test_the_table_names_the_classes_and_shows_a_class_without_examples():
    text = tables.confusion_table(mf.metrics.confusion([0, 0], [0, 1], classes=3), ["cat", "dog", "emu"])
    assert text.splitlines()[2].split() == ["cat", "1", "1", "0", "0.500"] and text.splitlines()[4].endswith("-")
    with pytest.raises(ValueError, match="of 2 classes needs 2 names, got 1"):
        tables.confusion_table([[1, 0], [0, 1]], ["cat"])


# --- a run folder -----------------------------------------------------------------------------------------------------


def test_a_run_is_opened_with_its_network_rule_history_and_experiment(tmp_path):
    run = tmp_path / "run"
    resume.run_in_folder(run, Experiment(data="xor", model="tiny", rule="fa", lr=0.5, epochs=4))
    net, rule, history, experiment = mf.load_run(run)
    expected, expected_rule, _ = open_run(run)
    assert np.array_equal(net["linear1"].W, expected["linear1"].W) and net.step == 4
    assert np.array_equal(rule.B["linear2"], expected_rule.B["linear2"]) and rule.net is net
    assert history.column("epoch") == [0, 1, 2, 3, 4] and experiment.rule == "fa"
    with pytest.raises(FileNotFoundError, match=r"has no best.ckpt: it is written when a part of the training set"):
        mf.load_run(run, "best")
    for path in run.glob("last.ckpt*"):  # deleted to save space: the network is in network.npz, too
        path.unlink()
    assert np.array_equal(mf.load_run(run).net["linear1"].W, expected["linear1"].W)
    with pytest.raises(ValueError, match="the checkpoint of a run must be 'last' or 'best', got 'first'"):
        mf.load_run(run, "first")


def test_the_best_checkpoint_is_the_one_of_the_result(tmp_path):
    experiment = Experiment(model="mlp", model_options={"hidden": (8,)}, lr=0.05, epochs=3, validation=0.2)
    result = resume.run_in_folder(tmp_path / "run", experiment)
    best, data = mf.load_run(tmp_path / "run", "best"), mf.data.load("digits")
    assert mf.evaluate(best.net, data.test)["accuracy"] == result["test_accuracy"]
    assert len(best.history) == 4 and best.experiment.validation == 0.2


def test_an_interrupted_run_is_opened_at_its_last_checkpoint(tmp_path):
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=2)
    resume.run_in_folder(tmp_path / "run", experiment)
    for name in ("network.npz", "result.json"):  # as if it had been killed
        (tmp_path / "run" / name).unlink()
    assert mf.load_run(tmp_path / "run").net.step == 2


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder of a run: it has no config.json"):
        mf.load_run(tmp_path)
