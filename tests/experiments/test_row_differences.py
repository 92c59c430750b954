"""The differences, claims and classes that `minifa reproduce` adds to a table."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest

from minifa import cli, data
from minifa.experiments import (
    class_tables,
    correct_examples,
    differences,
    recipes,
    reproduce,
    resume,
    row_differences,
    study,
)
from minifa.experiments.recipes import Claim, RecipeError
from minifa.experiments.row_differences import outcome_of
from minifa.storage.npz import write_arrays

TABLE = """
[data]
name = "digits"

[model]
name = "mlp"
hidden = [8]

[optimizer]
lr = 0.1

[training]
epochs = 1

[table]
seeds = 3
claims = [{ rows = ["fa"], within = 90.0 }, { rows = ["fa", "out"], behind = 0.001 }]

[[row]]
name = "out"
seeds = 1
set = { rule = "shallow" }

[[row]]
name = "exact"

[[row]]
name = "fa"
set = { rule = "fa" }
"""
COMMAND = ["reproduce", "table.toml", "--out", "out", "--jobs", "1", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the table and its finished runs, not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    recipe = recipes.parse(TABLE)
    outcomes = [reproduce.make(task) for task in reproduce.plan(recipe, folder)]
    reproduce.write(recipe, folder, outcomes)
    return folder, recipe, outcomes


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores_of(outcomes, name):
    mine = [one for one in outcomes if one.task.name == name]
    return {one.task.experiment.seed: 100 * one.result["test_accuracy"] for one in mine}


def invented(recipe, scores, **entries):
    """Outcomes with these test accuracies by row and seed, without run folders."""
    result = {"test_examples": 100, "seconds": 1.0, "diverged": False, "note": "", **entries}
    return [
        study.Outcome(task, {**result, "test_accuracy": scores[task.name][task.experiment.seed]}, compared=False)
        for task in reproduce.plan(recipe, "nowhere")
    ]


def test_every_row_is_compared_with_the_first_row_of_backpropagation(made):
    folder, recipe, outcomes = made
    assert recipe.reference == "exact"
    out, fa = rows_of(folder / "differences.csv")
    assert (out["row"], out["pairs"], out["low"], fa["row"], fa["pairs"]) == ("out", "1", "", "fa", "3")
    expected = differences.paired(scores_of(outcomes, "fa"), scores_of(outcomes, "exact"))
    for key in ("mean", "sd", "standard_error", "df", "low", "high"):
        assert float(fa[key]) == getattr(expected, key)
    assert float(out["mean"]) == scores_of(outcomes, "out")[0] - scores_of(outcomes, "exact")[0]


def test_the_standard_error_from_the_images_is_that_of_the_networks(made):
    folder, _, outcomes = made
    test = data.load("digits").test
    correct = {}
    for one in outcomes:
        net, *_ = resume.open_checkpoint(one.task.folder / "last.ckpt")
        correct.setdefault(one.task.name, []).append(net.predict(test.x).argmax(axis=1) == test.y)
        assert (correct_examples.read(one.task.folder, one.result) == correct[one.task.name][-1]).all()
    by_example = np.mean(correct["fa"], axis=0) - np.mean(correct["exact"], axis=0)
    out, fa = rows_of(folder / "differences.csv")
    assert float(fa["mean"]) == pytest.approx(100 * by_example.mean())
    assert float(fa["image_error"]) == pytest.approx(100 * by_example.std(ddof=1) / np.sqrt(len(test)))
    first = [correct[name][:1] for name in ("out", "exact")]  # of their only common seed
    assert float(out["image_error"]) == pytest.approx(100 * differences.image_error(*first))


def test_the_block_explains_its_columns_and_judges_the_claims(made):
    folder, _, _ = made
    text = " ".join((folder / "table.txt").read_text(encoding="utf-8").split())
    assert "differences from exact, paired by seed, in points of test accuracy" in text
    assert "what other initial weights, orders of examples and feedback matrices would change, on these test" in text
    assert "what other test examples would change, for these trained networks: sd over" in text
    out, fa = rows_of(folder / "differences.csv")
    low, high = (f"{float(fa[key]):+.2f}" for key in ("low", "high"))
    assert (
        f"claim: fa within 90 points of exact: holds ({float(fa['mean']):+.2f}, 95 % interval {low} to {high}" in text
    )
    assert (
        f"s.e. from the images {float(out['image_error']):.2f}; not decided, because one seed gives no interval" in text
    )
    assert max(map(len, (folder / "table.txt").read_text(encoding="utf-8").splitlines())) <= 80


def test_the_accuracy_of_every_class_is_written(made):
    folder, _, outcomes = made
    rows = rows_of(folder / "classes.csv")
    assert [row["class"] for row in rows if row["row"] == "fa"] == list(data.load("digits").classes)
    threes = [100 * one.result["class_accuracies"][3] for one in outcomes if one.task.name == "fa"]
    (three,) = (row for row in rows if (row["row"], row["class"]) == ("fa", "3"))
    assert float(three["mean"]) == statistics.fmean(threes) and float(three["sd"]) == statistics.stdev(threes)
    assert {row["sd"] for row in rows if row["row"] == "out"} == {""}


@pytest.mark.long
def test_runs_of_an_earlier_version_are_classified_again_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("table.toml").write_text(TABLE, encoding="utf-8")
    assert cli.main(COMMAND) == 0
    assert "classified again" not in capsys.readouterr().err
    before, kept = Path("out/differences.csv").read_bytes(), Path("out/fa-seed1/test_correct.npz").read_bytes()
    Path("out/fa-seed1/test_correct.npz").unlink()
    Path("out/exact-seed2/test_correct.npz").write_bytes(b"damaged")
    write_arrays(Path("out/out-seed0/test_correct.npz"), {"bits": np.zeros(45, "u1"), "examples": np.array([360])})
    assert cli.main(COMMAND) == 0
    assert "the test examples of 3 finished runs are classified again, once" in capsys.readouterr().err
    assert Path("out/differences.csv").read_bytes() == before
    assert Path("out/fa-seed1/test_correct.npz").read_bytes() == kept
    assert cli.main(COMMAND) == 0
    assert "classified again" not in capsys.readouterr().err


def test_runs_without_a_partner_are_not_classified_again(made, tmp_path):
    folder, recipe, outcomes = made
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.glob("*/test_correct.npz"):
        path.unlink()
    there = [
        study.Outcome(dataclasses.replace(one.task, folder=copy / one.task.folder.name), one.result) for one in outcomes
    ]
    alone = [one for one in there if one.task.name == "exact"]
    others = [one for one in there if one.task.name != "exact"]
    assert row_differences.to_classify(recipe, alone) == row_differences.to_classify(recipe, others) == 0
    only_seed = [one for one in there if one.task.name in ("exact", "out")]  # out has the seed 0 only
    assert row_differences.to_classify(recipe, only_seed) == 2
    assert row_differences.to_classify(recipe, there) == 7


@pytest.mark.long
def test_without_checkpoint_or_data_there_is_no_error_from_the_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("table.toml").write_text(TABLE, encoding="utf-8")
    assert cli.main(COMMAND) == 0
    for name in ("last.ckpt", "last.ckpt.previous", "test_correct.npz"):
        Path("out/fa-seed1", name).unlink()
    assert cli.main(COMMAND) == 0
    out, fa = rows_of("out/differences.csv")
    assert out["image_error"] and not fa["image_error"] and fa["low"]
    assert "no s.e. (images) for fa: the folder of a run" in " ".join(capsys.readouterr().out.split())


def test_a_checkpoint_of_other_answers_than_the_result_is_not_used(made, tmp_path):
    _, _, outcomes = made
    one = next(one for one in outcomes if one.task.name == "fa")
    other = study.Outcome(one.task, {**one.result, "test_accuracy": one.result["test_accuracy"] + 0.01})
    assert row_differences.correct_of(one) is not None and row_differences.correct_of(other) is None


def test_a_run_on_data_that_may_be_others_is_not_classified_again(made, tmp_path):
    _, _, outcomes = made
    one = next(one for one in outcomes if one.task.name == "fa")
    copied = dataclasses.replace(one.task, folder=Path(shutil.copytree(one.task.folder, tmp_path / "run")))
    (tmp_path / "run" / "test_correct.npz").unlink()
    assert row_differences.correct_of(study.Outcome(copied, one.result, compared=False)) is None
    assert row_differences.correct_of(study.Outcome(copied, one.result)) is not None


def test_with_held_out_examples_the_answers_are_those_of_the_best_network(tmp_path):
    recipe = recipes.parse(TABLE, ["data.validation=0.2", "training.epochs=6", "optimizer.lr=0.3"])
    one = reproduce.make(reproduce.plan(recipe, tmp_path, rows=["exact"], seeds=1)[0])
    assert one.result["best_epoch"] < 6, "this run does not tell best from last"
    kept = correct_examples.read(one.task.folder, one.result)
    (one.task.folder / "test_correct.npz").unlink()
    assert (row_differences.correct_of(one) == kept).all() and kept.mean() == one.result["test_accuracy"]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_in_the_place_of_the_answers_is_refused(tmp_path):
    (tmp_path / "test_correct.npz").symlink_to(tmp_path / "elsewhere.npz")
    (tmp_path / "elsewhere.npz").write_bytes(b"")
    with pytest.raises(OSError, match=r"test_correct\.npz"):
        correct_examples.read(tmp_path, {"test_examples": 4, "test_accuracy": 0.5})


@pytest.mark.parametrize(
    ("bound", "low", "high", "measure", "expected"),
    [
        ("within", -1.9, 1.9, "accuracy", "holds"),
        ("within", -2.0, 0.0, "accuracy", "holds"),
        ("within", -2.1, 1.0, "accuracy", "not decided by these seeds"),
        ("within", -9.0, 9.0, "accuracy", "not decided by these seeds"),
        ("within", 2.1, 3.0, "accuracy", "does not hold"),
        ("within", -3.0, -2.1, "accuracy", "does not hold"),
        ("behind", -9.0, -2.0, "accuracy", "holds"),
        ("behind", -9.0, -1.9, "accuracy", "not decided by these seeds"),
        ("behind", -1.9, 9.0, "accuracy", "does not hold"),
        ("behind", 2.0, 9.0, "error", "holds"),
        ("behind", 1.9, 9.0, "loss", "not decided by these seeds"),
        ("behind", -9.0, 1.9, "loss", "does not hold"),
        ("within", 1.0, 1.0, "accuracy", "not decided by these seeds"),
    ],
)
def test_a_claim_holds_if_the_whole_interval_does(bound, low, high, measure, expected):
    assert outcome_of(Claim(("fa",), bound, 2.0), low, high, measure) == expected


def test_diverged_losses_decide_nothing():
    recipe = recipes.parse(TABLE.replace("seeds = 3", 'seeds = 2\nmeasure = "loss"'))
    outcomes = [
        study.Outcome(task, {"test_loss": loss, "test_examples": 9, "seconds": 1.0, "diverged": False, "note": ""})
        for task, loss in zip(reproduce.plan(recipe, "nowhere"), (2.0, 0.5, float("nan"), 0.5, 1.0), strict=True)
    ]
    rows = row_differences.rows_of(recipe, outcomes)
    assert [row["row"] for row in rows] == ["out", "fa"] and "low" not in rows[1]
    (first, *others) = (one for one in row_differences.notes(recipe, rows) if one.startswith("claim"))
    assert first == "claim: fa within 90 of exact: +nan; not decided, because a run diverged"
    assert others[1] == "claim: out at least 0.001 behind exact: +1.5; not decided, because one seed gives no interval"
    assert "in test loss" in row_differences.text_of(recipe, rows)


def test_diverged_runs_and_equal_differences_are_said():
    """A claim that holds because of them would be no finding."""
    recipe = recipes.parse(TABLE)
    scores = {"out": [0.5], "exact": [0.7, 0.8, 0.9], "fa": [0.1, 0.1, 0.1]}
    outcomes = invented(recipe, scores)
    assert not any(one.startswith(("diverged", "no width")) for one in _notes(recipe, outcomes))
    outcomes[-1].result["diverged"] = True
    rows = row_differences.rows_of(recipe, outcomes)
    assert [row.get("diverged") for row in rows] == [None, 1]
    assert "diverged, in fa or the reference: such runs count with their last score" in _notes(recipe, outcomes)
    equal = invented(recipe, {**scores, "fa": [0.7 - 7 / 360, 0.8 - 7 / 360, 0.9 - 7 / 360]})
    assert "no width" in row_differences.text_of(recipe, row_differences.rows_of(recipe, equal))
    notes = _notes(recipe, equal)
    assert "no width: the difference is the same under every seed, from which no interval follows" in notes
    assert "claim: fa within 90 points of exact: not decided by these seeds (-1.94, 95 % interval no width" in " ".join(
        notes
    )


def _notes(recipe, outcomes):
    return row_differences.notes(recipe, row_differences.rows_of(recipe, outcomes))


def test_a_changed_rule_leaves_no_reference():
    recipe = recipes.parse(TABLE.replace("claims", "# claims"), ["rule=usf"])
    scores = {"out": [0.5], "exact": [0.7, 0.8, 0.9], "fa": [0.6, 0.6, 0.6]}
    assert recipe.reference == "" and row_differences.rows_of(recipe, invented(recipe, scores)) == []
    named = recipes.parse(TABLE.replace("seeds = 3", 'seeds = 3\nreference = "fa"').replace("claims", "# claims"))
    out, exact = row_differences.rows_of(named, invented(named, scores))
    assert (exact["row"], exact["reference"]) == ("exact", "fa") and exact["mean"] == pytest.approx(20)
    assert (out["pairs"], out["mean"]) == (1, pytest.approx(-10)) and "image_error" not in out


def test_with_many_classes_there_is_no_table_of_them():
    recipe = recipes.parse(TABLE)
    scores = {"out": [0.5], "exact": [0.7, 0.8, 0.9], "fa": [0.6, 0.6, 0.6]}
    for count in (20, 21):
        shares = [0.5] * (count - 1) + [None]
        rows = class_tables.rows_of(recipe, invented(recipe, scores, class_accuracies=shares))
        assert [row["class"] for row in rows if row["row"] == "fa"] == [str(k) for k in range(19)] * (count == 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = 3", 'seeds = 3\nreference = "exat"'), "table.reference: unknown row 'exat': did you mean exact?"),
        (("seeds = 3", "seeds = 3\nreference = 4"), "table.reference: a word is expected, got 4"),
        (('"fa", "out"', '"fa", "ot"'), "table.claims: unknown row 'ot': did you mean out?"),
        (('"fa", "out"', '"exact"'), "table.claims: 'exact' is the reference"),
        (('name = "exact"', 'name = "exact"\nset = { rule = "usf" }'), "table.claims: a claim is on differences from"),
        (("within = 90.0", "within = -1"), "table.claims: a number from 0 up is expected, got -1"),
        (("within = 90.0", 'within = "2"'), "table.claims: a number from 0 up is expected, got '2'"),
        (("within = 90.0", "near = 2"), "table.claims: a claim has rows and one bound"),
        (("within = 90.0", "within = 2, behind = 3"), "table.claims: a claim has rows and one bound"),
        (('rows = ["fa"]', "rows = []"), "table.claims: a claim has rows and one bound"),
        (('rows = ["fa"]', "rows = [1]"), "table.claims: a word is expected, got 1"),
        (('rows = ["fa"]', 'rows = "fa"'), "table.claims: a claim has rows and one bound"),
        (('{ rows = ["fa"], within = 90.0 }', "3"), "table.claims: a claim has rows and one bound"),
        (("claims = [", 'claims = "all" # ['), "table.claims: a list of claims is expected, got 'all'"),
    ],
)
def test_references_and_claims_are_validated(change, words):
    assert change[0] in TABLE
    with pytest.raises(RecipeError) as error:
        recipes.parse(TABLE.replace(*change, 1))
    assert words in str(error.value)


def test_the_papers_claim_is_an_entry_of_its_recipe():
    recipe = recipes.read("cifar10_moskovitz")
    assert recipe.reference == "bp"
    assert [(claim.rows, claim.bound, claim.size) for claim in recipe.claims] == [
        (("usf-strict", "frsf"), "within", 2.0),
        (("fa-kernel", "fa-dense"), "behind", 15.0),
    ]
