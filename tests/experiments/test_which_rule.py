"""Rules told apart by statistics of their networks: the features, the splits, the classifier, and the command."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import data
from minifa.cli import pictures
from minifa.cli.program import main
from minifa.experiments import build, softmax_regression, study, sweep_results, sweeps, which_rule
from minifa.experiments.recipes import RecipeError
from minifa.experiments.softmax_regression import SoftmaxRegression
from minifa.experiments.which_rule import Features

SWEEP = """
title = "two rules"
[data]
name = "xor"
[model]
name = "tiny"
[training]
epochs = 2
statistics = true
[sweep]
merged = ["fa", "dfa"]
[over]
"training.seed" = [0, 1, 2]
[[case]]
name = "bp"
rule = "bp"
optimizer.lr = [0.5, 1.0]
[[case]]
name = "fa"
rule = "fa"
optimizer.lr = [0.1, 0.2]
[[case]]
name = "dfa"
rule = "dfa"
optimizer.lr = [0.3, 0.4]
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(softmax_regression, "STEPS", 30)  # enough for the order of the classes, not for convergence


def write(text=SWEEP, name="rules.toml"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def features_of(sweep, x):
    """The same features x of the weights and of the activities of all runs of a sweep, a column for each point."""
    y = np.array([sweep.cases.index(run.settings["case"]) for run in sweep.runs])
    kinds = ("linear1.weight_mean", "relu1.activity_mean")
    points = tuple(str(point) for point in range(x.shape[1]))
    names = tuple(f"{point}.{one}" for point in points for one in kinds)
    return Features(sweep, sweep.runs, names, np.repeat(x, 2, axis=1), y, points, 0)


# --- the classifier ---------------------------------------------------------------------------------------------------


def problem():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 5)) * [1, 10, 0.1, 1, 0] + np.eye(3, 5)[y] * 2 + 3, y


def test_the_classifier_minimises_the_cross_entropy_with_decay(monkeypatch):
    monkeypatch.setattr(softmax_regression, "STEPS", 3000)
    monkeypatch.setattr(softmax_regression, "TOLERANCE", 1e-7)
    x, y = problem()
    fitted = SoftmaxRegression(x, y, decay=0.05)
    z = np.where(x.std(axis=0) > 0, (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-30), 0)
    W, b = fitted.layer.W, fitted.layer.b
    p = np.exp(z @ W + b)
    error = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(y)
    assert np.abs(z.T @ error + 0.05 * W).max() < 1e-6 and np.abs(error.sum(axis=0)).max() < 1e-6
    assert not W[4].any()  # of a feature that does not vary
    assert fitted.predict(x).tolist() == (z @ W + b).argmax(axis=1).tolist()


@pytest.mark.long
def test_the_classifier_is_that_of_scikit_learn(monkeypatch):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    monkeypatch.setattr(softmax_regression, "STEPS", 3000)
    monkeypatch.setattr(softmax_regression, "TOLERANCE", 1e-7)
    x, y = problem()
    fitted = SoftmaxRegression(x, y, decay=0.05)
    z = ((x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1))[:, :4]
    theirs = linear_model.LogisticRegression(C=1 / (0.05 * len(y)), tol=1e-8, max_iter=1000).fit(z, y)
    assert np.abs(theirs.coef_.T - fitted.layer.W[:4]).max() < 1e-4
    assert (
        np.abs((theirs.intercept_ - theirs.intercept_.mean()) - (fitted.layer.b - fitted.layer.b.mean())).max() < 1e-4
    )


def test_the_classifier_has_the_same_bits_in_any_number_of_threads():
    x, y = problem()
    weights = []
    for threads in (1, 2):
        mf.use("numpy", threads=threads)
        weights.append(SoftmaxRegression(x, y).layer.W)
    assert weights[0].dtype == "float64" and np.array_equal(*weights)


# --- features and splits ----------------------------------------------------------------------------------------------


def test_features_that_one_run_lacks_are_dropped_for_all():
    rows = [{"epoch": 0, "linear1.weight_mean": 1.0, "relu1.activity_kurtosis": 3.0, "test_loss": 9.0}]
    sweep = sweeps.parse(SWEEP)
    with sweep_results.opened(sweep, "out") as results:
        for number, run in enumerate(sweep.runs):
            history = [{**rows[0], "linear1.weight_mean": float(number)}]
            if number == 4:
                del history[0]["relu1.activity_kurtosis"]
            result = {"test_loss": 1.0, "diverged": number == 0, "history": history}
            which_rule.add(results, study.Outcome(sweep_results.task_of(run), result))
        found = which_rule.collect(results)
    assert found.names == ("0.linear1.weight_mean",) and found.dropped == 1
    assert found.x[:, 0].tolist() == list(range(1, 18))  # without the one that diverged
    found.save(Path("features.csv"))
    line = lines_of("features.csv")[0]
    assert line == {
        "id": sweep.runs[1].id,
        "case": "bp",
        "optimizer.lr": "1.0",
        "training.seed": "0",
        found.names[0]: "1.0",
    }


def test_sets_of_features_are_chosen_by_kind_and_by_point():
    features = features_of(sweeps.parse(SWEEP), np.zeros((18, 3)))
    chosen = {key: np.flatnonzero(features.columns(*key)).tolist() for key in which_rule.ROWS}
    assert chosen == {
        ("weights", "all"): [0, 2, 4],
        ("activities", "all"): [1, 3, 5],
        ("both", "all"): [0, 1, 2, 3, 4, 5],
        ("both", "first"): [0, 1],
        ("both", "first and last"): [0, 1, 4, 5],
    }


def test_splits_leave_out_a_quarter_or_all_runs_with_one_value():
    features = features_of(sweeps.parse(SWEEP), np.zeros((18, 1)))
    splits = which_rule.splits(features)
    assert {name: len(some) for name, some in splits.items()} == {"75/25": 10, "unseen lr": 2, "unseen seed": 3}
    for name, some in splits.items():
        for fit, test in some:
            assert sorted([*fit, *test]) == list(range(18))  # disjoint, and all of them
        if name != "75/25":
            assert sorted(np.concatenate([test for _, test in some])) == list(range(18))
    lower = [features.runs[i].settings["optimizer.lr"] for i in splits["unseen lr"][0][1]]
    assert set(lower) == {0.5, 0.1, 0.3}  # the first rate of each case
    assert len({tuple(test) for _, test in splits["75/25"]}) == 10 and len(splits["75/25"][0][1]) == 4


def test_classes_that_differ_are_told_apart_and_merged_ones_count_as_one():
    sweep = sweeps.parse(SWEEP)
    y = np.array([sweep.cases.index(run.settings["case"]) for run in sweep.runs])
    features = features_of(sweep, np.stack([np.zeros(18), 1.0 * (y > 0)], axis=1))
    rows = {(row["features"], row["points"], row["split"]): row for row, _ in which_rule.classify(features)}
    apart = rows["both", "all", "unseen seed"]
    assert apart["merged_accuracy"] == 1 and apart["accuracy"] == pytest.approx(2 / 3)
    assert which_rule.chances(features) == [1 / 3, 2 / 3]
    assert rows["both", "first", "unseen seed"]["accuracy"] == pytest.approx(1 / 3)
    text = which_rule.text_of(features, list(rows.values()))
    assert "fa = dfa" in text and "unseen seed" in text and "two rules" in text and "± 0.00" in text


def test_runs_that_start_alike_are_below_chance_at_random_and_at_chance_at_unseen_seeds():
    """The first point: a value for each seed, the same under all rules."""
    text = SWEEP.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]")
    sweep = sweeps.parse(text)
    seeds = np.array([run.settings["training.seed"] for run in sweep.runs])
    features = features_of(sweep, np.eye(6)[seeds] + 0.1)
    rows = {row["split"]: row["accuracy"] for row, _ in which_rule.classify(features) if row["features"] == "weights"}
    assert rows["75/25"] < 0.2 and rows["unseen seed"] == pytest.approx(1 / 3)


def test_a_run_has_test_scores_also_if_examples_are_held_out():
    experiment = replace(sweeps.parse(SWEEP).runs[0].experiment, validation=0.5)
    result = which_rule.measure(study.Task(experiment)).result
    assert {"test_loss", "validation_loss", "seconds", "diverged"} <= result.keys() and result["epochs"] == 2
    assert [row["epoch"] for row in result["history"]] == [0, 1, 2] and "linear1.weight_norm" in result["history"][0]


# --- sweeps with cases ------------------------------------------------------------------------------------------------


def test_cases_are_combined_with_the_grid_seeds_outermost():
    sweep = sweeps.parse(SWEEP)
    assert sweep.varied == ("case", "optimizer.lr", "training.seed") and sweep.cases == ("bp", "fa", "dfa")
    rates = [("bp", 0.5), ("bp", 1.0), ("fa", 0.1), ("fa", 0.2), ("dfa", 0.3), ("dfa", 0.4)]
    assert [tuple(run.settings.values()) for run in sweep.runs] == [(*one, seed) for seed in (0, 1, 2) for one in rates]
    assert all(run.experiment.rule == run.settings["case"] for run in sweep.runs) and len(sweep.runs) == 18


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "fa"\n', "", "case 2: a name of letters, digits and -_.:=, is expected, as name = 'bp', got None"),
        ('name = "fa"', 'name = "bp"', "case: 2 cases are called 'bp'"),
        ("optimizer.lr = [0.1, 0.2]\n", "", "case fa: it has no optimizer.lr, which varies in another case"),
        ("optimizer.lr = [0.1, 0.2]", "optimizer.lr = []", "case fa.optimizer.lr: the list is empty"),
        ('rule = "fa"', 'rule = "fo"', "rule: unknown rule 'fo': did you mean fa?"),
        ('rule = "fa"', "training.epochs = 3", "case fa.training.epochs: it is set for all runs, or in"),
        ('["fa", "dfa"]', '["fa", "usf"]', "sweep.merged: unknown case 'usf'"),
        ('["fa", "dfa"]', '["fa"]', "sweep.merged: names of at least two cases are expected"),
        ("[sweep]\n", '[sweep]\nmethod = "random"\nruns = 3\n', 'case: it goes with method = "grid", the default'),
        ("statistics = true", "", "training.statistics: it must be true, because the statistics of each run"),
        (SWEEP[SWEEP.index("[[case]]") :], "", "case: at least two sections [[case]] are classes to tell apart, got 0"),
    ],
)  # fmt: skip
def test_invalid_sweeps_are_refused_with_the_problem(old, new, problem):
    text = SWEEP.replace(old, new)
    if "[[case]]" not in text:
        text = text.replace('merged = ["fa", "dfa"]', "")
    with pytest.raises(RecipeError) as refused:
        which_rule.read(write(text))
    assert problem in str(refused.value)


def test_a_sweep_is_no_recipe_of_a_single_run():
    with pytest.raises(RecipeError, match="minifa sweep runs it"):
        mf.experiments.recipes.parse('[[case]]\nname = "a"')


@pytest.mark.parametrize("name", sweeps.shipped())
def test_every_shipped_sweep_is_valid(name):
    sweep = which_rule.read(name)
    digits = data.load("digits")
    for case in sweep.cases:
        build(next(run.experiment for run in sweep.runs if run.settings["case"] == case), digits)
    assert len(sweep.runs) == 128 and sweep.title and sweep.merged


# --- the command ------------------------------------------------------------------------------------------------------


def which(*arguments):
    return main(["which-rule", write(), "--jobs", "1", "--out", "out", *arguments])


@pytest.fixture
def without_processes(monkeypatch):
    """Without processes and pictures, which take longer than the runs."""

    def run_all(work, tasks, jobs, tick):
        yield from (study.attempt(work, task) for task in tasks)

    monkeypatch.setattr(study, "run_all", run_all)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: True)


def kept(folder="out"):
    names = ("features.csv", "accuracy.csv", "confusion.csv", "table.txt")
    return {name: Path(folder, name).read_bytes() for name in names}


def test_an_interrupted_command_is_resumed_to_the_same_bits(request, monkeypatch, capsys):
    monkeypatch.setattr(which_rule, "ROWS", which_rule.ROWS[2:4])
    assert which() == 0
    whole, out = kept(), " ".join(capsys.readouterr().out.split())
    assert "18 to run" in out and "unseen lr" in out and "picture: " in out
    assert {path.name for path in Path("out").glob("*.png")} == {"accuracy.png", "confusion.png"}
    assert sum(int(cell) for row in lines_of("out/confusion.csv") for cell in list(row.values())[1:]) == 18
    which_rule.history_of(Path("out"), sweeps.parse(SWEEP).runs[0]).unlink()
    request.getfixturevalue("without_processes")  # the first time in worker processes, now in this one
    table = Path("out/sweep.csv").read_text().splitlines(keepends=True)
    Path("out/sweep.csv").write_text("".join(table[:-4]))
    assert which() == 0
    assert " 5 to run" in " ".join(capsys.readouterr().out.split())
    assert kept() == whole


def test_failed_runs_are_left_out_and_named(without_processes, monkeypatch, capsys):
    measure, failing = which_rule.measure, [0.5, 0.1]

    def failing_measure(task):
        if task.experiment.seed == 0 and task.experiment.lr in failing:
            raise ValueError("a reason")
        return measure(task)

    monkeypatch.setattr(which_rule, "measure", failing_measure)
    monkeypatch.setattr(which_rule, "ROWS", which_rule.ROWS[2:3])
    assert which() == 1
    printed = capsys.readouterr()
    assert "16 of 18 runs" in printed.out and printed.err.count("a reason") == 2
    failing.clear()
    assert which("--retry-failed", "--quiet") == 0
    quiet = capsys.readouterr().out
    assert "18 of 18 runs" in quiet and "to run" not in quiet


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SWEEP.replace("[0, 1, 2]", "[0]").replace("[0.1, 0.2]", "[0.1]"), "case fa: it has 1 run"),
        (SWEEP.replace('rule = "dfa"', 'rule = "fa"').replace("[0.3, 0.4]", "[0.1, 0.2]"), "case dfa: it has no run"),
    ],
    ids=["one run", "the runs of another case"],
)
def test_a_sweep_with_too_few_runs_of_a_case_is_refused_before_the_first_run(text, problem, capsys):
    assert main(["which-rule", write(text), "--out", "out"]) == 2
    assert problem in capsys.readouterr().err and not Path("out").exists()


def test_too_few_finished_runs_of_a_case_are_refused(without_processes, monkeypatch, capsys):
    measure = which_rule.measure

    def failing_measure(task):
        if task.experiment.rule == "fa" and task.experiment.seed:
            raise ValueError("a reason")
        return measure(task)

    monkeypatch.setattr(which_rule, "measure", failing_measure)
    text = SWEEP.replace("[0, 1, 2]", "[0, 1]").replace("[0.1, 0.2]", "[0.1]")
    assert main(["which-rule", write(text), "--jobs", "1"]) == 2
    assert "each case needs at least two finished runs to be told apart, 'fa' has 1" in capsys.readouterr().err


def test_an_unknown_sweep_is_refused_by_name(capsys):
    assert main(["which-rule", "which_rle"]) == 2
    assert "did you mean which_rule?" in capsys.readouterr().err
