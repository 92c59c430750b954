"""`mf.compare`: rules, models and data of the user's own, in this process and in worker processes."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

import minifa as mf
from minifa import registry
from minifa.comparison import Comparison, UntunedRate
from minifa.experiments import FailedRun


def problem(n=60, features=6, classes=3):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    return rng.normal(size=(n, features)) + 2 * np.eye(classes, features)[y], y


class Noisy(mf.rules.Rule):
    def __init__(self, seed=0, noise=1.0):
        super().__init__(seed)
        self.noise = noise

    def draw(self, net):
        self.memory = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return layer.W + self.noise * self.memory[layer.name]


def two_layers(input_shape, n_out, width=5):
    return [mf.Linear(*input_shape, width), mf.Tanh(), mf.Linear(width, n_out)]


def compare(rules=("bp", "fa"), model=two_layers, data=None, **options):
    options = {"seeds": 1, "epochs": 1, "batch_size": 16, "lr": 0.1, "progress": False, **options}
    return mf.compare(rules, model, problem() if data is None else data, **options)


def tables():
    return {what: dict(table) for what, table in registry.TABLES.items()}


def without_times(rows):
    times = {"ms_per_step", "seconds", "images_per_second"}
    return [{key: value for key, value in row.items() if key not in times} for row in rows]


# --- rules, models and data -------------------------------------------------------------------------------------------


def test_the_table_has_a_row_per_rule_and_seed_and_the_history_one_per_epoch():
    before = tables()
    rules = ["bp", Noisy, Noisy(noise=2.0), mf.rules.FA(sparsity=0.5), mf.rules.FA, "dfa:sd=1.0"]
    comparison = compare(rules, seeds=[3, 5], epochs=2)
    assert tables() == before  # nothing stays registered
    names = ["bp", "Noisy", "Noisy:noise=2.0", "fa:sparsity=0.5", "fa", "dfa:sd=1.0"]
    assert [(row["rule"], row["seed"]) for row in comparison.rows] == [(name, s) for s in (3, 5) for name in names]
    row = comparison.rows[2]
    last = comparison.results[2].history[-1]
    assert (row["lr"], row["epochs"], row["measured"], row["diverged"]) == (0.1, 2, "test", False)
    assert row["score"] == last["test_accuracy"] and row["weight_angle"] == last["linear2.weight_angle"]
    assert row["true_angle"] == last["linear1.true_angle"] and row["ms_per_step"] > 0
    assert comparison.rows[5]["weight_angle"] is None  # a direct rule has no B beside W
    epochs = [(one["rule"], one["seed"], one["epoch"]) for one in comparison.history_rows]
    assert epochs == [(name, s, epoch) for s in (3, 5) for name in names for epoch in (0, 1, 2)]


def test_the_rules_are_those_of_the_user():
    comparison = compare([Noisy(noise=0.0), Noisy(noise=50.0), "bp"], epochs=2)
    angles = [row["true_angle"] for row in comparison.rows]
    assert angles[0] == pytest.approx(0.0, abs=1e-3) and angles[1] > 30 and angles[2] == 0.0
    assert comparison.rows[0]["score"] == comparison.rows[2]["score"]


def test_worker_processes_give_the_same_bits():
    """With data and a model that are in this module, and a rule that only this process knows."""

    class Local(Noisy):
        pass

    data = mf.data.from_arrays(*problem())
    one = compare(["bp", Noisy], data=data, jobs=1)
    assert without_times(one.history_rows) == without_times(compare(["bp", Noisy], data=data, jobs=2).history_rows)
    with pytest.warns(UserWarning, match="the rule 'Local': defined in a notebook, at the prompt or inside a function"):
        assert compare(["bp", Local], data=data, jobs=2).rows[1]["error"] is None


@pytest.mark.parametrize(
    ("model", "name", "options"),
    [
        ("mlp", "mlp", {}),
        ("tiny:hidden=3", "tiny", {"hidden": 3}),
        (("mlp", {"hidden": (4, 3)}), "mlp", {"hidden": (4, 3)}),
        (mf.models.mlp, "mlp", {}),
        (functools.partial(mf.models.mlp, hidden=(4,)), "mlp", {"hidden": (4,)}),
        (functools.partial(two_layers, width=2), "two_layers", {"width": 2}),
        (lambda input_shape, n_out: two_layers(input_shape, n_out), "lambda", {}),
    ],
)
def test_models(model, name, options):
    experiment = compare(["bp"], model).results[0].experiment
    assert (experiment.model, experiment.model_options) == (name, options)


def test_data(tmp_path):
    x, y = problem()
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    arrays = compare(["bp"])
    for data in (tmp_path / "mine.npz", str(tmp_path / "mine.npz"), mf.data.from_arrays(x, y)):
        assert without_times(compare(["bp"], data=data).rows) == without_times(arrays.rows)
    assert "45 training, 15 test" in compare(["bp"], data=(x[:45], y[:45], x[45:], y[45:])).setting
    xor = mf.data.load("xor")
    other = mf.data.Dataset("xor", xor.train.take([0, 1, 2]), xor.test, xor.classes)
    names = [compare(["bp"], "tiny", data).results[0].experiment.data for data in ("xor", xor, other)]
    assert names == ["xor", "xor", "xor-given"]  # other arrays under a known name are another data set


# --- learning rates ---------------------------------------------------------------------------------------------------


def test_rates_are_given_by_rule_stored_or_announced():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = compare(["bp", "fa"], lr={"bp": 0.1, "fa": 0.02}).rows
    assert [row["lr"] for row in rows] == [0.1, 0.02]
    with pytest.warns(UntunedRate, match="no learning rate was searched for fa, Noisy on this data and model: 0.01"):
        assert [row["lr"] for row in compare(["bp", "fa", Noisy], lr={"bp": 0.1}).rows] == [0.1, 0.01, 0.01]
    digits = mf.data.load("digits")
    with pytest.warns(UntunedRate, match="were searched with other settings: fa with 15 epochs, batch size 64"):
        rows = compare(["fa"], ("cnn", {}), digits, lr=None, batch_size=512, alignment=False).rows
    assert rows[0]["lr"] == 0.001  # of the shipped grid


def test_targets_are_measured_on_request():
    compared = compare(["bp"], lr=0.1, targets=True)
    assert all(result.experiment.targets for result in compared.results)
    assert any(key.endswith(".target_size") for key in compared.results[0].history[-1])
    assert mf.figures.target_curves(compared.results)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_it_shows_the_table_of_the_command_and_draws_its_figure():
    comparison = compare(["bp", Noisy], seeds=2)
    text = repr(comparison)
    assert text.startswith("arrays (48 training, 12 test examples), model two_layers, 1 epoch, batch 16, sgd, seeds 0")
    assert "rule   lr   score" in text and "Noisy  0.1" in text
    assert repr(compare(["bp"], seeds=[4])).splitlines()[0].endswith("sgd, seed 4")
    figure = comparison.plot("mine")
    assert [axes.get_title(loc="left") for axes in figure.axes][1] == "Final test accuracy"
    assert figure._suptitle.get_text().strip() == "mine"
    shown = comparison._repr_html_()
    assert "<pre>arrays" in shown and 'src="data:image/png;base64,' in shown


def test_more_rules_than_can_be_told_apart_are_drawn_as_a_survey():
    figure = compare([Noisy(noise=float(i + 1)) for i in range(9)], seeds=1).plot()
    assert [axes.get_title(loc="left") for axes in figure.axes][1] == "Angle of W and B"


def test_frames(monkeypatch):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    comparison = compare(["bp"])
    assert isinstance(comparison.to_frame(), pandas.DataFrame) and len(comparison.to_frame()) == 1
    assert list(comparison.history_frame()["epoch"]) == [0, 1]


def test_regression_is_scored_by_minus_the_loss():
    x, y = problem()
    row = compare(["bp"], data=mf.data.from_arrays(x, x[:, :2] * 0.5, regression=True)).rows[0]
    assert row["score"] < 0


# --- mistakes ---------------------------------------------------------------------------------------------------------


class Broken(Noisy):
    def feedback(self, layer):
        if self.net.step > 2:
            raise RuntimeError("no signal")
        return super().feedback(layer)


def test_a_run_that_fails_warns_and_the_others_continue():
    with pytest.warns(FailedRun, match="the run of Broken, seed 0, failed: RuntimeError: no signal"):
        comparison = compare([Broken, "bp"], epochs=2)
    assert [row["error"] is None for row in comparison.rows] == [False, True]
    assert np.isnan(comparison.rows[0]["score"]) and comparison.rows[0]["weight_angle"] is None
    assert "failed: RuntimeError: no" in repr(comparison)
    with pytest.warns(FailedRun):
        nothing = compare([Broken], epochs=2)
    assert isinstance(nothing, Comparison) and "<img" not in nothing._repr_html_()
    with pytest.raises(ValueError, match="must contain a finished run"):
        nothing.plot()


def test_diverged_runs_warn_and_are_marked():
    with pytest.warns(RuntimeWarning, match="^training diverged under fa; try a smaller learning rate$") as caught:
        rows = compare(lr={"bp": 0.1, "fa": 1e38}, epochs=2).rows
    assert [row["diverged"] for row in rows] == [False, True]
    assert [one.filename for one in caught] == [__file__]


NAMED_FA = type("Mine", (Noisy,), {"name": "fa"})


def mlp(input_shape, n_out):
    return two_layers(input_shape, n_out)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rules": "fa"}, "rules must be a list of names"),
        ({"rules": []}, "rules must have at least one rule"),
        ({"rules": [3]}, "rules must be a list of names.*got the item 3"),
        ({"rules": ["fa", "fa"]}, "the rule 'fa' occurs twice"),
        ({"rules": ["fo"]}, "unknown rule 'fo': did you mean fa"),
        ({"rules": ["fa:sparse=1"]}, "unknown option of rule 'fa' 'sparse': did you mean sparsity"),
        ({"rules": [Noisy(noise=2.0), type("Noisy", (Noisy,), {})]}, "two classes of rules have the name 'Noisy'"),
        ({"rules": [NAMED_FA]}, "the class Mine has the name 'fa' of minifa's own rule: give it a class attribute"),
        ({"model": [mf.Linear(2, 2)]}, "model must be a name.*layers belong to one network"),
        ({"model": mf.Network}, "model must be a name"),
        ({"model": mf.Network([mf.Linear(2, 2)])}, "function .input_shape, n_out.*a network belongs to one run"),
        ({"schedule": mf.schedules.cosine(1)}, "schedule of an experiment must be a str such as 'cosine:epochs=10'"),
        ({"model": "mpl"}, "unknown model 'mpl': did you mean mlp"),
        ({"model": "mlp:hiden=3"}, "unknown option of model 'mlp' 'hiden': did you mean hidden"),
        ({"model": ("mlp", {"hiden": 3})}, "unknown option of the model 'mlp' 'hiden': did you mean hidden"),
        ({"model": ("mlp", {"untied": True})}, "the model 'mlp' has no option 'untied': use a model that has it, cnn"),
        ({"model": mlp}, "the function mlp has the name 'mlp' of minifa's own model: give it another name"),
        ({"data": 3}, "data must be a minifa.data.Dataset"),
        ({"data": problem()[0]}, "data must be a minifa.data.Dataset"),
        ({"data": "digit"}, "unknown data set 'digit': did you mean digits"),
        ({"seeds": 0}, "the number of seeds must be at least 1"),
        ({"seeds": [1, 1]}, "a list of different seeds"),
        ({"seeds": "12"}, "the number of seeds must be an int"),
        ({"epochs": 0}, "the number of epochs must be at least 1"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": {"bq": 1}}, "unknown rule in lr 'bq': did you mean bp"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg': did you mean sgd"),
        ({"optimizer_options": {"momentun": 1}}, "momentun"),
        ({"progress": "no"}, "progress must be a bool"),
    ],
)
def test_mistakes_are_named_before_the_first_run(options, sentence):
    before = tables()
    with pytest.raises((TypeError, ValueError), match=sentence):
        compare(**options)
    assert tables() == before


@pytest.mark.parametrize("value", [True, False, None, 2, 0.25, -1e-30, "gaussian(0.1)", [0.5, 1.0], (2.0, 3.0)])
def test_a_description_holds_the_options_of_an_instance(value):
    description = registry.write_description("mine", {"option": value, "other": 1})
    options = registry.read_options(description.partition(":")[2], ["option", "other"], "rule", "mine")
    assert options == {"option": list(value) if isinstance(value, tuple) else value, "other": 1}
    assert type(options["option"]) is (list if isinstance(value, tuple) else type(value))


@pytest.mark.parametrize("value", ["a,b", "1", [0.5], np.ones(2), {"a": 1}, "None"])
def test_options_that_a_description_cannot_hold_are_refused(value):
    with pytest.raises(ValueError, match="cannot be written in a description"):
        registry.write_description("mine", {"option": value})


def test_shipped_entries_are_known():
    assert registry.is_shipped("rule", "fa") and registry.is_shipped("model", "cnn")
    assert not registry.is_shipped("model", "mine")
