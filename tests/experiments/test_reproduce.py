"""minifa reproduce: every row and seed of a table in its own folder, resumed, and the numbers side by side."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minifa import checkpoints, cli, data, figures
from minifa.checkpoints import CheckpointError
from minifa.experiments import Experiment, recipes, reproduce, resume, run, run_folder, study, target_tables
from minifa.training import History

TABLE = """
title = "A table of the exclusive or"
note = "made for a test"

[data]
name = "xor"

[model]
name = "tiny"

[optimizer]
lr = 0.5

[training]
epochs = 4

[table]
measure = "accuracy"
published_by = "nobody"
seeds = 2

[[row]]
name = "bp"
published = 90.0

[[row]]
name = "fa"
seeds = 1
set = { rule = "fa" }
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.toml").write_text(TABLE, encoding="utf-8")
    return recipes.read("table.toml")


def outcomes_of(recipe, folder, **options):
    return [reproduce.make(task) for task in reproduce.plan(recipe, folder, **options)]


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_runs_once_before_further_seeds(table):
    planned = [task.folder.name for task in reproduce.plan(table, "out")]
    assert planned == ["bp-seed0", "fa-seed0", "bp-seed1"]
    assert [t.folder.name for t in reproduce.plan(table, "out", rows=["fa"], seeds=2)] == ["fa-seed0", "fa-seed1"]
    with pytest.raises(ValueError, match="unknown row of 'table' 'usf'"):
        reproduce.plan(table, "out", rows=["usf"])


def test_the_pictures_name_rows_and_know_their_rules(tmp_path):
    named = recipes.parse(TABLE.replace('name = "bp"', 'name = "exact"').replace('name = "fa"', 'name = "random"'))
    results = reproduce.results_of(outcomes_of(named, tmp_path))
    assert {(one.name, one.experiment.rule) for one in results} == {("exact", "bp"), ("random", "fa")}
    for draw in (figures.learning_curves, figures.alignment_curves, figures.comparison):
        (legend,) = draw(results).legends
        assert [text.get_text() for text in legend.get_texts()][:2] == ["exact", "random"]


def test_a_change_without_effect_on_any_row_is_refused_and_others_are_reported(table):
    with pytest.raises(ValueError, match="rule=usf changes nothing: every row"):
        reproduce.plan(recipes.parse(TABLE, ["rule=usf"]), "out", rows=["fa"])
    changed = recipes.parse(TABLE, ["rule=usf", "training.epochs=1"])  # the row of bp does not set a rule
    tasks = reproduce.plan(changed, "out")
    assert {task.name: task.experiment.rule for task in tasks} == {"bp": "usf", "fa": "fa"}
    result = {"test_accuracy": 0.9, "test_examples": 10, "seconds": 1.0, "diverged": False, "note": ""}
    outcomes = [study.Outcome(task, result) for task in tasks]
    text = reproduce.table_text(changed, reproduce.rows_of(changed, outcomes), outcomes)
    assert "changed from the recipe: rule=usf, training.epochs=1" in text


def test_the_epoch_that_reaches_an_accuracy_is_shown_seed_by_seed(tmp_path):
    text = TABLE.replace('measure = "accuracy"', 'measure = "accuracy"\nreach = 0.75')
    recipe = recipes.parse(text.replace("epochs = 4", "epochs = 12"))
    outcomes = outcomes_of(recipe, tmp_path)
    (bp, fa) = reproduce.rows_of(recipe, outcomes)
    for row in (bp, fa):
        for seed, shown in enumerate(row["reached"].split()):
            history = run_folder.read_results(tmp_path / f"{row['row']}-seed{seed}")[0].history
            first = [one["epoch"] for one in history if one["test_accuracy"] >= 0.75][:1]
            assert shown == (str(first[0]) if first else "-")
    assert len(bp["reached"].split()) == 2 and bp["reached"] != "- -"
    table_text = reproduce.table_text(recipe, [bp, fa], outcomes)
    assert (
        "reached: the first epoch with an accuracy of 0.75, seed by seed" in table_text and bp["reached"] in table_text
    )
    plain = recipes.parse(TABLE)
    assert "reached" not in reproduce.table_text(plain, reproduce.rows_of(plain, outcomes), outcomes)


def test_the_table_of_targets(tmp_path, monkeypatch, capsys):
    """Means over seeds with their standard errors, and the angles of the layers below the output."""
    monkeypatch.chdir(tmp_path)
    text = (
        TABLE.replace("epochs = 4", "epochs = 2\ntargets = true") + '[[row]]\nname = "out"\nset = { rule = "shallow" }'
    )
    Path("table.toml").write_text(text, encoding="utf-8")
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "1", "--quiet"]) == 0
    assert Path("out/targets.png").read_bytes().startswith(b"\x89PNG")
    bp, fa, shallow = rows_of("out/targets.csv")
    runs = [run_folder.read_results(f"out/bp-seed{seed}")[0].history for seed in (0, 1)]
    scores = [100 * history[-1]["test_accuracy"] for history in runs]
    assert float(bp["mean"]) == sum(scores) / 2
    assert float(bp["standard_error"]) == pytest.approx(abs(scores[0] - scores[1]) / 2)
    assert float(bp["seconds"]) == pytest.approx(sum(row.get("seconds", 0) for one in runs for row in one) / 2)
    for column, epoch in (("tanh1.bp_angle.0", 0), ("tanh1.gn_angle.end", -1), ("tanh1.bp_angle.1", 1)):
        measured = [history[epoch][column.rpartition(".")[0]] for history in runs]
        assert float(bp[column]) == pytest.approx(sum(measured) / 2)
    assert fa["standard_error"] == shallow["tanh1.bp_angle.0"] == "" and "linear2.bp_angle.0" not in bp
    lines = [line.split() for line in Path("out/table.txt").read_text(encoding="utf-8").splitlines()]
    *_, line = (line for line in lines if line[:1] == ["out"])
    assert line[4:8] == ["-"] * 4
    (line,) = (line for line in lines if line[:1] == ["fa"] and len(line) == 7)
    assert line[2:6] == [f"{float(fa[key]):.0f}" for key in fa if key.startswith("tanh1")]


def test_rules_without_targets_have_no_picture_of_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = TABLE.partition("[[row]]")[0].replace("epochs = 4", "epochs = 1\ntargets = true")
    Path("table.toml").write_text(text + '[[row]]\nname = "out"\nset = { rule = "weight_perturbation" }')
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "1", "--quiet"]) == 0
    assert not Path("out/targets.png").exists() and "could not be drawn" not in capsys.readouterr().err


def test_the_table_of_targets_leaves_out_the_output_layer_of_initial_weights_of_zero(tmp_path):
    """Its outputs are zero then, and have no size in the first row."""
    task = study.Task(Experiment(data="xor", model="tiny", targets=True), tmp_path / "run", name="bp")
    history = History([{"epoch": 0, "tanh1.gn_angle": 30.0, "tanh1.target_size": 0.1, "linear2.bp_angle": 0.0}])
    history.append({"epoch": 1, "tanh1.gn_angle": 20.0, "tanh1.target_size": 0.1, "linear2.target_size": 0.1})
    (tmp_path / "run").mkdir()
    history.save_csv(tmp_path / "run" / "history.csv")
    outcome = study.Outcome(task, {"score": 0.5})
    (row,) = target_tables.rows_of([{"row": "bp", "rule": "bp", "seeds": 1, "mean": 50.0}], [outcome])
    assert row["tanh1.gn_angle.end"] == 20.0 and not any(key.startswith("linear2") for key in row)


def test_the_accuracy_of_every_class_is_recorded(tmp_path):
    experiment = Experiment(model="mlp", model_options={"hidden": (8,)}, lr=0.1, epochs=1)
    result = resume.run_in_folder(tmp_path / "run", experiment)
    test = data.load("digits").test
    net = run_folder.open_run(tmp_path / "run")[0]
    right = net.predict(test.x).argmax(axis=1) == test.y
    assert result["class_accuracies"] == [pytest.approx(right[test.y == k].mean(), abs=1e-6) for k in range(10)]
    assert min(result["class_accuracies"]) < result["test_accuracy"] < max(result["class_accuracies"]) <= 1
    assert resume.finished(tmp_path / "run", experiment) == result


def test_without_classes_there_are_no_class_accuracies(tmp_path):
    result = resume.run_in_folder(
        tmp_path / "run",
        Experiment(data="lillicrap", model="linear_task", lr=0.001, batch_size=64, epochs=1, alignment=False),
    )
    assert "class_accuracies" not in result and "test_accuracy" not in result


def test_a_recipe_without_a_table_is_refused():
    with pytest.raises(ValueError, match="has no table"):
        reproduce.plan(recipes.parse(""), "out")


def test_a_run_gives_the_numbers_of_the_experiment_and_is_not_repeated(table, tmp_path):
    task = reproduce.plan(table, tmp_path / "out")[0]
    result = reproduce.make(task).result
    alone, _ = run(task.experiment)
    assert result["test_accuracy"] == alone.score and result["epochs"] == result["best_epoch"] == 4
    written = (task.folder / "last.ckpt").stat().st_mtime_ns
    assert reproduce.make(task).result == result
    assert (task.folder / "last.ckpt").stat().st_mtime_ns == written


def test_with_held_out_examples_the_best_network_is_measured_on_the_test_set(tmp_path):
    experiment = Experiment(model="mlp", model_options={"hidden": (8,)}, lr=0.3, epochs=6, validation=0.2)
    result = resume.run_in_folder(tmp_path / "run", experiment)
    history = run_folder.read_results(tmp_path / "run")[0].history
    best = max(history, key=lambda row: row["validation_accuracy"])  # the first of equal scores
    assert result["best_epoch"] == best["epoch"] != history[-1]["epoch"], "this run does not tell best from last"
    net, rule, _ = resume.open_checkpoint(tmp_path / "run" / "best.ckpt")
    test = data.load("digits").test
    assert result["test_accuracy"] == (net.predict(test.x).argmax(axis=1) == test.y).mean()
    assert result["test_examples"] == len(test)


def test_more_epochs_resume_a_run_and_fewer_are_refused(tmp_path):
    def wanted(epochs):
        return Experiment(data="xor", model="tiny", lr=0.5, epochs=epochs)

    resume.run_in_folder(tmp_path / "run", wanted(3))
    more = resume.run_in_folder(tmp_path / "run", wanted(5))
    assert more["epochs"] == 5
    assert more["test_loss"] == resume.run_in_folder(tmp_path / "whole", wanted(5))["test_loss"]
    with pytest.raises(CheckpointError, match="holds 5 epochs, more than the 4"):
        resume.run_in_folder(tmp_path / "run", wanted(4))


def test_another_experiments_folder_is_refused(tmp_path):
    resume.run_in_folder(tmp_path / "run", Experiment(data="xor", model="tiny", lr=0.5, epochs=2))
    with pytest.raises(CheckpointError, match="another experiment"):
        resume.run_in_folder(tmp_path / "run", Experiment(data="xor", model="tiny", lr=0.4, epochs=2))


def test_a_damaged_result_is_computed_again_from_the_checkpoint(tmp_path):
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=2)
    first = resume.run_in_folder(tmp_path / "run", experiment)
    (tmp_path / "run" / "result.json").write_text('{"experiment": ', encoding="utf-8")
    assert resume.run_in_folder(tmp_path / "run", experiment) == first


def test_damaged_checkpoints_give_a_message_with_a_remedy_of_the_command(table, tmp_path):
    (task, *_) = reproduce.plan(table, "out")
    whole = reproduce.make(task).result
    Path(task.folder, "result.json").unlink()
    last = Path(task.folder, "last.ckpt")
    last.write_bytes(last.read_bytes()[:-7])
    assert {**reproduce.make(task).result, "seconds": 0} == {
        **whole,
        "seconds": 0,
    }  # from the previous checkpoint
    Path(task.folder, "result.json").unlink()
    for name in ("last.ckpt", "last.ckpt.previous"):
        Path(task.folder, name).write_bytes(b"damaged")
    error = reproduce.make(task).error
    assert error.endswith(f"; without the folder '{task.folder}' the same command makes this run again")
    assert "--previous" not in error
    shutil.rmtree(task.folder)
    assert {**reproduce.make(task).result, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.long
def test_an_empty_description_of_a_run_does_not_block_a_table(table, capsys):
    given = ["reproduce", "table.toml", "--out", "out", "--rows", "bp", "--jobs", "1", "--seeds", "2"]
    assert cli.main(given) == 0
    before = rows_of("out/table.csv")
    capsys.readouterr()
    for kept in (["history.csv", "last.ckpt", "result.json"], ["history.csv", "last.ckpt"], []):
        for path in Path("out/bp-seed1").iterdir():
            if path.is_file() and path.name not in kept:
                path.unlink()
        Path("out/bp-seed1/config.json").write_bytes(b"")
        assert cli.main(given) == 0
        assert [(row["seeds"], row["mean"]) for row in rows_of("out/table.csv")] == [("2", before[0]["mean"])]
        assert "the runs are in out" in capsys.readouterr().out


def test_a_table_has_the_mean_and_the_standard_error(table):
    outcomes = [
        study.Outcome(task, {"test_accuracy": score, "test_examples": 400, "seconds": 60.0, "diverged": False})
        for task, score in zip(reproduce.plan(table, "out"), (0.80, 0.60, 0.90), strict=True)
    ]
    bp, fa = reproduce.rows_of(table, outcomes)
    assert (bp["mean"], bp["difference"], bp["seeds"]) == (pytest.approx(85), pytest.approx(-5), 2)
    sd = math.sqrt(2) * 5  # of 80 and 90
    assert bp["sd"] == pytest.approx(sd)
    assert bp["standard_error"] == pytest.approx(sd * math.sqrt(1 / 2 + 1))
    assert fa["mean"] == pytest.approx(60) and "difference" not in fa and "sd" not in fa
    close = [study.Outcome(one.task, {**one.result, "test_accuracy": 0.5}) for one in outcomes]
    least = 100 * math.sqrt(0.5 * 0.5 / 400)  # two seeds with equal scores by chance
    assert reproduce.rows_of(table, close)[0]["standard_error"] == pytest.approx(least * math.sqrt(1.5))


def test_runs_that_diverged_have_no_spread(table):
    changed = recipes.parse(TABLE.replace('"accuracy"', '"loss"'))
    result = {"test_loss": math.nan, "test_examples": 4, "seconds": 1.0, "diverged": True, "note": ""}
    outcomes = [study.Outcome(task, result) for task in reproduce.plan(changed, "out")]
    text = reproduce.table_text(changed, reproduce.rows_of(changed, outcomes), outcomes)
    assert "nan diverged" in text and "±" not in text.splitlines()[4]


def test_scores_of_only_0_or_100_have_no_standard_error(table):
    result = {"test_accuracy": 1.0, "test_examples": 4, "seconds": 1.0, "diverged": False}
    row = reproduce.rows_of(table, [study.Outcome(reproduce.plan(table, "out")[0], result)])[0]
    assert row["difference"] == pytest.approx(10) and "standard_error" not in row


@pytest.mark.long
def test_a_table_keeps_every_finished_run_whatever_is_requested_next(table, capsys):
    assert cli.main(["reproduce", "table.toml", "--out", "out"]) == 0
    for more in (["--rows", "fa"], ["--seeds", "1"], ["--rows", "fa", "--seeds", "2"]):
        assert cli.main(["reproduce", "table.toml", "--out", "out", *more]) == 0
    assert [(row["row"], row["seeds"]) for row in rows_of("out/table.csv")] == [("bp", "2"), ("fa", "2")]


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rule=usf", "rule bp and not usf"),
        ("training.epochs=3", "epochs 4 and not 3"),
        ("optimizer.lr=1", "lr 0.5 and"),
    ],
)
def test_another_request_leaves_the_folder_of_a_table_alone(table, capsys, change, words):
    assert cli.main(["reproduce", "table.toml", "--out", "out"]) == 0
    before = Path("out/table.txt").read_text(encoding="utf-8")
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--set", change]) == 2
    assert words in capsys.readouterr().err
    assert Path("out/table.txt").read_text(encoding="utf-8") == before


def test_errors_and_losses_are_measured_as_requested(table):
    task = reproduce.plan(table, "out")[0]
    result = {"test_accuracy": 0.97, "test_loss": 0.25, "test_examples": 100, "seconds": 1.0, "diverged": False}
    for measure, expected in (("error", 3.0), ("loss", 0.25)):
        changed = recipes.parse(TABLE.replace('"accuracy"', f'"{measure}"'))
        row = reproduce.rows_of(changed, [study.Outcome(task, result)])[0]
        assert row["mean"] == pytest.approx(expected)
        assert ("standard_error" in row) == (measure == "error")


def test_the_command_writes_the_table_and_prints_all_notes(table, capsys):
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "2"]) == 0
    text = capsys.readouterr().out
    assert "90.00" in text and "made for a test" in text and "published: nobody" in text
    assert [row["row"] for row in rows_of("out/table.csv")] == ["bp", "fa"]
    curves = rows_of("out/curves.csv")
    assert [(r["row"], r["seed"], r["epoch"]) for r in curves if r["epoch"] == "4"] == [
        ("bp", "0", "4"),
        ("fa", "0", "4"),
        ("bp", "1", "4"),
    ]
    with open("out/table.txt", encoding="utf-8") as file:
        assert file.read().strip() in text
    assert os.path.getsize("out/curves.png") > 0
    assert os.path.getsize("out/alignment.png") > 0


def test_a_table_whose_errors_are_those_of_backpropagation_has_no_picture_of_angles(table):
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--rows", "bp", "--seeds", "1", "--jobs", "1"]) == 0
    assert os.path.getsize("out/curves.png") > 0 and not Path("out/alignment.png").exists()


def test_folders_without_a_run_of_the_table_are_ignored(table, capsys):
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--seeds", "1"]) == 0
    for name in ("bp-seed-notes", "bp-seedling", "bp-seed7"):
        Path("out", name).mkdir()
    assert [one.task.folder.name for one in reproduce.finished(table, "out")] == ["bp-seed0", "fa-seed0"]


def test_a_table_with_only_failures_reports_it_and_draws_nothing(table, monkeypatch, capsys):
    def fail(work, tasks, jobs, tick):
        return (study.Outcome(task, None, "OSError: gone") for task in tasks)

    monkeypatch.setattr(study, "run_all", fail)
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--rows", "fa", "--jobs", "1"]) == 1
    (row,) = rows_of("out/table.csv")
    assert row["seeds"] == "0" and row["error"] == "seed 0: OSError: gone" and "mean" not in row
    assert re.search(r"^fa +fa +0\.5 +0 +failed$", capsys.readouterr().out, re.M)
    assert not Path("out/curves.png").exists()


def test_a_copy_of_the_data_is_reported_under_the_table(table):
    note = "CIFAR-10 from a JPEG copy"
    result = {"test_accuracy": 0.9, "test_examples": 10, "seconds": 1.0, "diverged": False, "note": note}
    outcomes = [study.Outcome(task, result) for task in reproduce.plan(table, "out")]
    text = reproduce.table_text(table, reproduce.rows_of(table, outcomes), outcomes)
    assert text.count(note) == 1


def test_a_failing_run_is_reported_and_the_others_continue(table, tmp_path, capsys):
    resume.run_in_folder("out/bp-seed0", reproduce.plan(table, "out")[0].experiment)
    for name in ("last.ckpt", "last.ckpt.previous", "result.json"):
        (tmp_path / "out" / "bp-seed0" / name).write_bytes(b"damaged")
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "2"]) == 1
    assert "bp: seed 0: CheckpointError" in capsys.readouterr().out
    assert [row["seeds"] for row in rows_of("out/table.csv")] == ["1", "1"]


def test_all_tables_are_listed(capsys):
    assert cli.main(["reproduce"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes.shipped())


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent to a group of processes, which Windows does otherwise")
def test_after_ctrl_c_the_same_command_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TABLE.replace('"xor"', '"digits"').replace('"tiny"', '"mlp"').replace("epochs = 4", "epochs = 80")
    (tmp_path / "table.toml").write_text(text.replace("lr = 0.5", "lr = 0.01"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "minifa", "reproduce", "table.toml", "--jobs", "2", "--out"]

    def start(folder):
        return subprocess.Popen(
            [*command, folder], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    broken = start("broken")
    place = tmp_path / "broken" / "bp-seed0" / "last.ckpt"
    for _ in range(600):
        if place.is_file() and checkpoints.read(place).training["epoch"] >= 1:
            break
        time.sleep(0.1)
    os.killpg(broken.pid, signal.SIGINT)  # to the workers too, as the terminal does
    out, err = broken.communicate(timeout=60)
    assert broken.returncode == 130, err
    assert b"The same command resumes" in err
    kept = checkpoints.read(place)
    assert kept.training["epoch"] < 80 and not (tmp_path / "broken" / "bp-seed0" / "result.json").exists()

    for folder in ("broken", "whole"):
        process = start(folder)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    for name in ("bp-seed0", "bp-seed1", "fa-seed0"):
        one, other = (json.loads((tmp_path / f / name / "result.json").read_text()) for f in ("broken", "whole"))
        for kept in (one, other):  # the checksum includes the seconds
            del kept["result"]["seconds"], kept["sha256"]
        assert one == other
    events = (tmp_path / "broken" / "bp-seed0" / "log.jsonl").read_text().splitlines()
    assert "resume" in [json.loads(line)["event"] for line in events]
