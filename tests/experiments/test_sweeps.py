"""Sweeps: the runs that a file describes, the contents of their table, and that a kill or a failing run costs only
the unfinished runs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minifa import data, experiments
from minifa.cli import sweep as sweep_command
from minifa.cli.program import main
from minifa.data.base import DataFileError
from minifa.experiments import dask_cluster as cluster
from minifa.experiments import resume, run_folder, study, sweep_results, sweeps
from minifa.experiments.processes import Stopped
from minifa.experiments.recipes import RecipeError
from minifa.experiments.study import Outcome
from minifa.storage import csv_files

XOR = """
[data]
name = "xor"
[model]
name = "tiny"
[training]
epochs = 3
batch_size = 2
"""
GRID = (
    XOR
    + """
[over]
"rule" = ["bp", "fa"]
"optimizer.lr" = [0.5, 0.1]
"training.seed" = [0, 1]
"""
)
RANDOM = (
    XOR
    + """
[sweep]
method = "random"
runs = {runs}
seed = {seed}
[over]
"rule" = ["bp", "fa", "usf"]
"optimizer.lr" = {{ low = 1e-4, high = 0.1, log = true }}
"optimizer.momentum" = {{ low = 0.5, high = 0.9 }}
"training.seed" = {{ low = 0, high = 3, whole = true }}
"""
)
TIMES = {"seconds"}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resume._load_once.cache_clear()


def write(text, name="xor.toml"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def sweep(*arguments):
    return main(["sweep", *map(str, arguments)])


def lines_of(path="runs/sweep-xor/sweep.csv"):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_times(lines):
    return [{key: cell for key, cell in line.items() if key not in TIMES} for line in lines]


# --- the runs ---------------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_once_with_the_seeds_outermost():
    parsed = sweeps.parse(GRID)
    wanted = [(rule, rate, seed) for seed in (0, 1) for rule in ("bp", "fa") for rate in (0.5, 0.1)]
    assert [tuple(run.settings.values()) for run in parsed.runs] == wanted
    assert [(e.rule, e.lr, e.seed) for e in (run.experiment for run in parsed.runs)] == wanted
    assert {(e.data, e.model, e.epochs, e.batch_size) for e in (run.experiment for run in parsed.runs)} == {
        ("xor", "tiny", 3, 2)
    }
    assert [run.number for run in parsed.runs] == list(range(8)) and len({run.id for run in parsed.runs}) == 8
    nested = GRID.replace('"optimizer.lr"', "optimizer.lr")  # a section of [over] in TOML
    assert [run.id for run in sweeps.parse(nested).runs] == [run.id for run in parsed.runs]


def test_a_longer_sweep_contains_the_shorter_one():
    few, many = sweeps.parse(GRID), sweeps.parse(GRID.replace("[0.5, 0.1]", "[1.0, 0.5, 0.1]"))
    assert {run.id for run in few.runs} < {run.id for run in many.runs}


def test_a_draw_depends_only_on_the_seed_and_its_number():
    few, many, other = (sweeps.parse(RANDOM.format(runs=n, seed=s)) for n, s in ((10, 0), (200, 0), (10, 1)))
    assert [run.settings for run in many.runs[:10]] == [run.settings for run in few.runs]
    assert not {run.id for run in other.runs} & {run.id for run in few.runs}
    without = RANDOM.format(runs=10, seed=0).replace('"rule" = ["bp", "fa", "usf"]', "")
    rates = [run.settings["optimizer.lr"] for run in sweeps.parse(without).runs]
    assert rates == [run.settings["optimizer.lr"] for run in few.runs]


def test_draws_have_the_distribution_of_their_ranges():
    drawn = [run.settings for run in sweeps.parse(RANDOM.format(runs=600, seed=0)).runs]
    rates, momenta, seeds, rules = (np.array([one[key] for one in drawn]) for key in (
        "optimizer.lr", "optimizer.momentum", "training.seed", "rule"))  # fmt: skip
    assert rates.min() >= 1e-4 and rates.max() <= 0.1
    assert 0.25 < np.mean(rates < 1e-3) < 0.42 and 0.25 < np.mean(rates > 1e-2) < 0.42  # a third for each factor of ten
    assert momenta.min() >= 0.5 and momenta.max() <= 0.9 and 0.65 < momenta.mean() < 0.75
    for values, expected in ((seeds, {0, 1, 2, 3}), (rules, {"bp", "fa", "usf"})):
        assert set(values.tolist()) == expected
        assert all(np.mean(values == one) > 0.75 / len(expected) for one in expected)
    assert all(type(one["training.seed"]) is int for one in drawn)
    whole = [sweeps.Range(1, 8, log=True, whole=True).draw(np.random.default_rng(i)) for i in range(900)]
    assert set(whole) == set(range(1, 9)) and whole.count(1) > 2 * whole.count(4) > 0


def test_repeated_draws_are_not_run_again():
    text = XOR + '[sweep]\nmethod = "random"\nruns = 20\n[over]\n"rule" = ["bp", "fa"]\n"training.seed" = [0, 1]'
    parsed = sweeps.parse(text)
    assert len(parsed.runs) == len({run.id for run in parsed.runs}) == 4
    assert parsed.repeated == 16


def test_every_problem_is_reported_at_once(capsys):
    text = """
        [optimizer]
        lr = 0.1
        [sweep]
        runs = 0
        what = 1
        [over]
        "rule" = ["bp", "fo"]
        "optimizer.lr" = [0.1]
        "optimizer.momentum" = [0.9, 0.9]
        "model.depth" = []
        "optimzer.name" = ["adam"]
        "training.epochs" = [0, 3]
        "training.batch_size" = 5
        "training.seed" = { low = 3, high = 1 }
        "data.name" = ["xor\\nfile.npz"]
        "data.validation" = { high = 0.1 }
    """
    with pytest.raises(RecipeError) as caught:
        sweeps.parse(text)
    problems = {problem.split(": ")[0]: problem for problem in caught.value.problems}
    assert len(caught.value.problems) == len(set(caught.value.problems))
    for name, words in {
        "sweep.runs": "a grid has every combination",
        "sweep.what": "unknown entry",
        "over.optimizer.lr": "set for all runs as well",
        "over.optimizer.momentum": "has 0.9 more than once",
        "over.model.depth": "the list is empty",
        "over.training.batch_size": "a list of values is expected, got 5",
        "over.training.seed": "from low up to high",
        "over.data.name": "in one line",
        "over.data.validation": "a range needs low",
        "rule": "did you mean fa?",
        "optimzer.name": "unknown setting",
        "training.epochs": "from 1 up is expected, got 0",
    }.items():
        assert words in problems[name], (name, problems)
    assert sweep(write(text)) == 2
    assert "did you mean fa?" in capsys.readouterr().err and not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "over: it varies nothing"),
        ("over = 3", "over: it varies nothing"),
        ('sweep = 3\n[over]\n"rule" = ["bp"]', "sweep: a section"),
        ('[sweep]\nmethod = "rnd"\n[over]\n"rule" = ["bp"]', "sweep.method: unknown method 'rnd'"),
        ('[sweep]\nmethod = "random"\n[over]\n"rule" = ["bp"]', "sweep.runs: random draws need their number"),
        (
            '[sweep]\nmethod = "random"\nruns = 100_001\n[over]\n"rule" = ["bp"]',
            "100,001 runs are more than the 100,000",
        ),
        ('[over]\n"optimizer.lr" = { low = 1, high = 2 }', 'goes with method = "random"'),
        ('[sweep]\nmethod = "random"\nruns = 2\n[over]\n"optimizer.lr" = { low = 0, high = 1, log = true }', "above 0"),
        ('[sweep]\nmethod = "random"\nruns = 2\n[over]\n"optimizer.lr" = { low = 0.1, high = nan }', "got nan"),
        (
            '[sweep]\nmethod = "random"\nruns = 2\n[over]\n"optimizer.lr" = { low = 0.1, high = 2, whole = true }',
            "whole",
        ),
        ('[sweep]\nmethod = "random"\nruns = 2\n[over]\n"training.epochs" = { low = 1, high = 2 }', "a whole number"),
        ('[over]\n"rule" = ["bp"]\n[table]\n[[row]]\nname = "a"', "table: a file has a table or a sweep"),
        ('[model]\nhidden = [9]\n[over]\n"model.name" = ["mlp", "cnn"]', "unknown option of the model 'cnn'"),
    ],
)
def test_invalid_sweeps_are_refused(text, problem):
    with pytest.raises(RecipeError, match="problem") as caught:
        sweeps.parse(text)
    assert problem in str(caught.value)


def test_settings_that_fit_only_the_varied_values_are_allowed():
    parsed = sweeps.parse('[model]\nhidden = [9]\n[over]\n"model.name" = ["mlp"]')  # the default model has no hidden
    assert parsed.runs[0].experiment.model_options == {"hidden": (9,)}


def test_too_many_runs_are_refused_before_they_are_enumerated():
    many = ", ".join(map(str, range(1000)))
    begun = time.perf_counter()
    with pytest.raises(RecipeError, match="1,000,000 runs are more than the 100,000 of a sweep"):
        sweeps.parse(f'[over]\n"training.seed" = [{many}]\n"model.depth" = [{many}]')
    assert time.perf_counter() - begun < 5


def test_networks_that_do_not_fit_their_data_are_reported_before_any_run(capsys):
    text = '[model]\nname = "tiny"\n[over]\n"data.name" = ["xor", "none.npz"]\n"model.hidden" = [2, 0]'
    assert sweep(write(text)) == 2
    message = capsys.readouterr().err
    assert "xor.toml' has 2 problems" in message and "none.npz" in message and "tiny under bp on xor" in message
    assert not Path("runs").exists()


# --- one run ----------------------------------------------------------------------------------------------------------

DIGITS = """
[data]
name = "digits"
{validation}
[model]
name = "mlp"
hidden = [12, 11]
[training]
epochs = 3
[over]
"rule" = ["fa", "shallow"]
"""


def make(run, folder=None):
    """The outcome of a run of a sweep."""
    return study.attempt(sweep_results.measure, sweep_results.task_of(run, folder))


@pytest.mark.parametrize("validation", ["", "validation = 0.2"])
def test_a_run_in_memory_equals_a_run_in_its_folder(validation, tmp_path):
    for one in sweeps.parse(DIGITS.format(validation=validation)).runs:
        in_memory, in_folder = (make(one, folder).result for folder in (None, tmp_path / one.id))
        assert in_memory.pop("seconds") > 0 and in_folder.pop("seconds") >= 0  # rounded in the folder
        assert in_memory == in_folder
        assert ("validation_loss" in in_memory) == bool(validation)
        assert ("true_angle" in in_memory) == (one.experiment.rule == "fa")  # no error reaches shallow's lowest layer


def test_the_scores_are_those_of_the_experiment():
    (one, _) = sweeps.parse(DIGITS.format(validation="")).runs
    expected, _ = experiments.run(one.experiment)
    result = make(one).result
    last = expected.history[-1]
    assert (result["test_accuracy"], result["test_loss"]) == (last["test_accuracy"], last["test_loss"])
    angles = [value for key, value in last.items() if key.endswith(".weight_angle")]
    assert len(angles) == 2 and result["weight_angle"] == np.mean(angles)
    assert result["true_angle"] == last["linear1.true_angle"] > 10
    assert (result["epochs"], result["best_epoch"], result["diverged"]) == (3, 3, False)


def test_a_data_set_is_loaded_once_for_many_runs(monkeypatch, tmp_path):
    loaded = []
    load = experiments.experiment.data_sets.load
    for module in (experiments.experiment.data_sets, resume):
        monkeypatch.setattr(module, "load", lambda *where, **options: loaded.append(where) or load(*where, **options))
    for one in sweeps.parse(GRID).runs:
        assert make(one).error is None
    assert loaded == [("xor", None)]
    assert make(sweeps.parse(GRID).runs[0], tmp_path / "kept").error is None
    assert loaded == [("xor", None)]


def test_a_diverging_run_is_reported_and_keeps_its_best_network(tmp_path):
    text = DIGITS.format(validation="validation = 0.2").replace('["fa", "shallow"]', '["bp"]')
    (one,) = sweeps.parse(text + '"optimizer.lr" = [1e4]').runs
    in_memory, in_folder = (make(one, folder).result for folder in (None, tmp_path / "run"))
    assert in_memory.pop("seconds") > 0 and in_folder.pop("seconds") >= 0
    assert in_memory == in_folder
    assert in_memory["diverged"] is True and in_memory["best_epoch"] < in_memory["epochs"]


def test_a_run_that_another_process_is_making_is_waited_for(tmp_path, monkeypatch, capsys):
    """A Dask worker finishes its run although the parent was killed, and the next sweep requests the same run. The
    process that holds the run is named once."""
    monkeypatch.setattr(sweep_results, "SECONDS_TO_LOOK", 0.01)
    monkeypatch.setattr(sweep_results, "SECONDS_TO_TELL", 0.05)
    one, outcomes = sweeps.parse(GRID).runs[0], []
    folder = tmp_path / "run"
    folder.mkdir()
    waiting = threading.Thread(target=lambda: outcomes.append(make(one, folder)))
    with run_folder.locked(folder):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not outcomes
    waiting.join(30)
    assert outcomes[0].error is None and outcomes[0].result["epochs"] == 3
    message = f"waiting: {folder} is being written by process {os.getpid()} on "
    assert capsys.readouterr().err.count(message) == 1


def test_a_non_finite_network_is_not_the_best():
    experiment = sweeps.parse(GRID).runs[0].experiment
    trainer, best = experiments.trainer_for(experiment, data.load("xor")), sweep_results._KeepBest()
    trainer.history.append({"epoch": 1, "validation_loss": 2.0})
    trainer.epoch = 1
    best.on_recorded(trainer)
    kept = best.state
    trainer.history.append({"epoch": 2, "validation_loss": 1.0})
    trainer.epoch, trainer.net["linear1"].W[0, 0] = 2, np.inf
    best.on_recorded(trainer)
    assert best.epoch == 1 and best.state is kept and np.isfinite(kept["linear1.W"]).all()


def test_a_run_that_is_asked_to_stop_has_no_result(monkeypatch):
    """It is left for the next sweep and not recorded as failed."""

    def stop(*arguments):
        raise Stopped

    monkeypatch.setattr(sweep_results, "trainer_for", stop)
    with pytest.raises(Stopped):
        make(sweeps.parse(GRID).runs[0])


def test_any_exception_of_a_run_is_recorded_as_its_result(monkeypatch):
    def fail(*arguments):
        raise KeyError("conv9")

    monkeypatch.setattr(sweep_results, "trainer_for", fail)
    assert make(sweeps.parse(GRID).runs[0]).error == "KeyError: 'conv9'"


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_sweep_leaves_a_line_for_every_run_and_a_summary(capsys):
    assert sweep(write(GRID), "--jobs", 2) == 0
    lines, printed = lines_of(), capsys.readouterr().out
    assert sorted(int(line["run"]) for line in lines) == list(range(8))
    for line in lines:
        one = sweeps.parse(GRID).runs[int(line["run"])]
        assert line["id"] == one.id and line["error"] == ""
        assert (line["rule"], float(line["optimizer.lr"])) == (one.experiment.rule, one.experiment.lr)
        wanted = {key: value for key, value in make(one).result.items() if key != "seconds"}
        assert {key: float(line[key]) for key in wanted} == wanted
    scores = [float(one["test_accuracy"]) for one in lines if (one["rule"], one["optimizer.lr"]) == ("fa", "0.1")]
    assert len(scores) == 2
    assert f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}" in printed
    assert "chosen on the test set" in " ".join(printed.split())
    assert Path("runs/sweep-xor/summary.txt").read_text(encoding="utf-8").strip() in printed
    before = Path("runs/sweep-xor/sweep.csv").read_bytes()
    assert sweep("xor.toml") == 0  # all results exist: nothing is run
    assert "0 to run" in capsys.readouterr().out and Path("runs/sweep-xor/sweep.csv").read_bytes() == before


def test_the_best_come_first_and_are_chosen_on_held_out_examples():
    parsed = sweeps.parse(GRID)
    scores = [(0.5, 0.9), (0.7, 0.2), (0.7, 0.4), (0.1, 0.9)]  # held out, test
    lines = []
    for one, (held_out, test) in zip(parsed.runs, scores, strict=False):
        line = dict.fromkeys(sweep_results.columns(parsed), "")
        line.update(run=str(one.number), id=one.id, validation_accuracy=str(held_out), test_accuracy=str(test))
        line.update({name: str(value) for name, value in one.settings.items()})
        lines.append(line)
    lines.append({**lines[0], "run": "4", "validation_accuracy": "", "error": "OSError: gone"})
    text = sweep_results.summary(parsed, lines, ["a copy"])
    shown = [line.split() for line in text.splitlines()[2:6]]
    assert [words[0] for words in shown] == ["1", "2", "0", "3"]
    assert "4 of 8 runs, best first by validation accuracy" in text and "chosen on the test set" not in text
    assert "failed: 1;" in text and text.endswith("a copy")


def test_a_failing_run_is_recorded_and_the_others_continue(capsys):
    text = DIGITS.format(validation="").replace("epochs = 3", "epochs = 1").replace('["fa", "shallow"]', '["bp"]')
    write(text + '"model.batch_norm" = [true]\n"training.batch_size" = [64, 479]')  # 1437 = 3 x 479
    assert sweep("xor.toml", "--jobs", 1) == 0
    write(text + '"model.batch_norm" = [true]\n"training.batch_size" = [64, 479, 718]')  # and 2 x 718 + 1
    assert sweep("xor.toml", "--jobs", 1) == 1
    assert "has no variance" in capsys.readouterr().err
    failed, *succeeded = sorted(lines_of(), key=lambda line: line["error"] == "")
    assert failed["training.batch_size"] == "718" and failed["error"].startswith("ValueError: 1437 examples")
    assert len(succeeded) == 2 and all(line["test_accuracy"] and not line["error"] for line in succeeded)
    assert sweep("xor.toml") == 1  # it stays failed, and is not run again
    assert len(lines_of()) == 3
    assert sweep("xor.toml", "--retry-failed") == 1  # it fails again: one more line, and the last one counts
    assert len(lines_of()) == 4 and lines_of()[-1]["id"] == failed["id"]
    assert "2 of 3 runs" in capsys.readouterr().out


def test_of_many_failures_a_few_are_reported_with_the_file_of_the_others(monkeypatch, capsys):
    monkeypatch.setattr(sweep_command, "ERRORS", 3)
    text = DIGITS.format(validation="").replace('["fa", "shallow"]', '["bp"]')
    write(text + '"model.batch_norm" = [true]\n"training.batch_size" = [718]\n"training.seed" = [0, 1, 2, 3, 4]')
    assert sweep("xor.toml", "--jobs", 1) == 1
    message = capsys.readouterr().err.splitlines()
    assert all(": ValueError: 1437 examples" in line for line in message[:3])
    assert message[3:] == [f"and 2 more: see {Path('runs/sweep-xor/sweep.csv')}"]
    assert len(lines_of()) == 5


def test_the_last_outcome_of_a_run_counts():
    parsed = sweeps.parse(GRID)
    with sweep_results.opened(parsed, "here") as results:
        first, second, *_ = map(sweep_results.task_of, parsed.runs)
        results.add(Outcome(first, error="its worker process (7) was ended\nby \x1b[31m a \udcff \0 signal"))
        results.add(Outcome(second, {"test_loss": 0.5}))
        assert [one.number for one in results.left()] == list(range(2, 8))
        assert [one.number for one in results.left(retry_failed=True)] == [0, *range(2, 8)]
        results.add(Outcome(first, {"test_loss": 0.25, "diverged": True}))
    with sweep_results.opened(parsed, "here") as results:
        assert [one.number for one in results.left(retry_failed=True)] == list(range(2, 8))
        assert [(line["test_loss"], line["diverged"]) for line in results.of_sweep()] == [("0.25", "1"), ("0.5", "")]
    assert lines_of("here/sweep.csv")[0]["error"] == "its worker process (7) was ended by [31m a signal"


def test_a_sweep_can_be_extended_and_finished_runs_are_reused(capsys):
    write(GRID.replace("[0, 1]", "[0]"))
    assert sweep("xor.toml", "--jobs", 1) == 0
    first = Path("runs/sweep-xor/sweep.csv").read_bytes()
    write(GRID.replace("[0.5, 0.1]", "[1.0, 0.5, 0.1]"))
    capsys.readouterr()
    assert sweep("xor.toml", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert printed.count("finished") == 4 and printed.count("to run") == 8
    assert sweep("xor.toml", "--jobs", 1) == 0
    assert "12 runs over rule (2), optimizer.lr (3), training.seed (2); 8 to run" in capsys.readouterr().out
    assert Path("runs/sweep-xor/sweep.csv").read_bytes().startswith(first)
    assert len(lines_of()) == len({line["id"] for line in lines_of()}) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GRID.replace("epochs = 3", "epochs = 4"), "training.epochs 4 (there: 3)"),
        (GRID + '"optimizer.name" = ["adam"]', '(there: ["rule", "optimizer.lr", "training.seed"])'),
    ],
)
def test_a_table_of_another_sweep_is_refused(text, words, capsys):
    assert sweep(write(GRID), "--jobs", 1) == 0
    before = Path("runs/sweep-xor/sweep.csv").read_bytes()
    capsys.readouterr()
    assert sweep(write(text)) == 2
    message = capsys.readouterr().err
    assert "holds another sweep" in message and words in message
    assert sweep("xor.toml", "--dry-run") == 2
    assert sweep(write(GRID), "--dtype", "float64") == 2
    assert Path("runs/sweep-xor/sweep.csv").read_bytes() == before


def test_a_folder_with_other_files_is_refused(capsys):
    Path("here").mkdir()
    Path("here/config.json").write_text('{"experiment": {}}', encoding="utf-8")
    assert sweep(write(GRID), "--out", "here") == 2
    assert "is not a folder of a sweep" in capsys.readouterr().err
    assert not Path("here/sweep.csv").exists()


def test_two_processes_cannot_write_into_one_table(capsys):
    Path("here").mkdir()
    with run_folder.locked("here"):
        assert sweep(write(GRID), "--out", "here") == 1
    assert f"here is being written by process {os.getpid()}" in capsys.readouterr().err
    assert not Path("here/sweep.csv").exists()


def test_a_dry_run_prints_the_runs_and_writes_nothing(capsys):
    assert sweep(write(GRID), "--dry-run") == 0
    printed = capsys.readouterr().out
    for one in sweeps.parse(GRID).runs:
        assert one.id in printed
    assert "8 runs over" in printed and "none was run" in printed and not Path("runs").exists()


def test_saved_runs_have_separate_folders():
    assert sweep(write(GRID), "--jobs", 1, "--keep-runs") == 0
    for line in lines_of():
        kept = json.loads(Path("runs/sweep-xor/runs", line["id"], "result.json").read_text(encoding="utf-8"))
        assert kept["result"]["test_loss"] == float(line["test_loss"])


def test_changes_reach_every_run():
    assert sweep(write(GRID), "--jobs", 1, "--set", "training.epochs=1") == 0
    assert {line["epochs"] for line in lines_of()} == {"1"}


# --- truncated lines and kills ----------------------------------------------------------------------------------------


def test_a_line_truncated_at_any_byte_is_removed_and_the_others_are_kept():
    path, head = Path("table.csv"), ["run", "words", "score"]
    csv_files.open_table(path, head)
    for row in (["0", "a, b", "0.25"], ["1", 'said "so"', "0.125"], ["2", "", "0.5"]):
        csv_files.append(path, row)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        finished = max(0, sum(end <= cut for end in ends) - 1)
        assert len(csv_files.read_table(path, head)) == finished  # reading the table changes nothing
        assert path.read_bytes() == whole[:cut]
        rows = csv_files.open_table(path, head)
        assert [row["score"] for row in rows] == ["0.25", "0.125", "0.5"][:finished]
        csv_files.append(path, ["9", "new", "1.0"])
        assert path.read_bytes() == whole[: ends[finished]] + b"9,new,1.0\n"


def test_a_partially_written_line_is_reported_and_removed(monkeypatch):
    class Full(io.FileIO):
        def write(self, line):
            return super().write(line[:3])

    csv_files.open_table("table.csv", ["run", "score"])
    csv_files.append("table.csv", ["0", "0.25"])
    with monkeypatch.context() as patched:
        patched.setattr(csv_files, "open", lambda path, mode, **how: Full(path, mode.strip("b")), raising=False)
        with pytest.raises(OSError, match="only 3 of 8 bytes of a line could be written: is the disk full"):
            csv_files.append("table.csv", ["1", "0.125"])
    assert Path("table.csv").read_bytes().endswith(b"0,0.25\n1,0")
    assert [row["run"] for row in csv_files.open_table("table.csv", ["run", "score"])] == ["0"]


def test_a_file_that_is_not_a_table_of_a_sweep_is_refused_and_not_truncated():
    path = Path("table.csv")
    for content in (b"nothing that ends", b"run,other\n0,1", b"run,score\n0,1,2\n", b"run,score\n\xff,1\n"):
        path.write_bytes(content)
        with pytest.raises(DataFileError, match=r"table\.csv"):
            csv_files.open_table(path, ["run", "score"])
        assert path.read_bytes() == content
    with pytest.raises(ValueError, match="must not contain a line break"):
        csv_files.append(path, ["0", "a\nb"])


def minifa(*arguments, **options):
    """Starts the command in a separate process group, which can be killed as a whole."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}
    command = [sys.executable, "-m", "minifa", *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True, env=environment, stdout=subprocess.DEVNULL, **options)


def end_group(process):
    process.kill()
    process.wait(timeout=30)
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def content_of(path):
    return path.read_bytes() if path.exists() else b""


def until(condition, process, seconds=60):
    """Waits for the condition. Returns whether the process was still running."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)
    return process.poll() is None


KILLS = 4


@pytest.mark.long
def test_killed_at_random_moments_a_sweep_has_every_run_in_the_table_once(tmp_path):
    """kill -9 (on Windows TerminateProcess) of the process that writes the table, at moments drawn once."""
    assert_in_the_table_once_though_killed(tmp_path, seed=0)


@pytest.mark.fuzz
def test_killed_at_any_moment_a_sweep_has_every_run_in_the_table_once(tmp_path):
    assert_in_the_table_once_though_killed(tmp_path, random.randrange(10**6))


def assert_in_the_table_once_though_killed(tmp_path, seed):
    text = GRID.replace("epochs = 3", "epochs = 20").replace("[0, 1]", str(list(range(20))))
    write(text)
    print(f"moments drawn with seed {seed}")
    moments, table = random.Random(seed), tmp_path / "runs/sweep-xor/sweep.csv"
    kept, while_running = b"", 0
    for _ in range(KILLS):
        process = minifa("sweep", "xor.toml", "--jobs", 2)
        try:
            until(lambda before=kept: content_of(table).count(b"\n") > before.count(b"\n") + 1, process)
            time.sleep(moments.uniform(0, 0.05))
            while_running += process.poll() is None
        finally:
            end_group(process)
        content = content_of(table)
        assert content.startswith(kept)  # written lines do not change
        kept = content[: content.rfind(b"\n") + 1]
    assert while_running > 1, "no kill came while it was running"
    assert sweep("xor.toml", "--jobs", 1) == 0
    assert content_of(table).startswith(kept)
    lines = lines_of()
    assert sorted(line["id"] for line in lines) == sorted(run.id for run in sweeps.parse(text).runs)
    assert all(line["test_loss"] and not line["error"] for line in lines)


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C cannot be sent to another process")
def test_ctrl_c_keeps_the_finished_runs(tmp_path):
    write(GRID.replace("epochs = 3", "epochs = 300").replace("[0, 1]", str(list(range(20)))))
    process = minifa("sweep", "xor.toml", "--jobs", 1, stderr=subprocess.PIPE, text=True)
    table = tmp_path / "runs/sweep-xor/sweep.csv"
    try:
        assert until(lambda: content_of(table).count(b"\n") > 2, process)
        os.killpg(process.pid, signal.SIGINT)
        _, message = process.communicate(timeout=60)
    finally:
        end_group(process)
    assert process.returncode == 130 and "Traceback" not in message
    assert 2 <= len(lines_of()) < 80 and (tmp_path / "runs/sweep-xor/summary.txt").exists()


# --- on a Dask cluster ------------------------------------------------------------------------------------------------


def test_the_address_of_a_cluster_is_required(capsys):
    assert sweep(write(GRID), "--dask", "10.0.0.1:8786") == 2
    assert "tcp://10.0.0.1:8786" in capsys.readouterr().err
    assert sweep("xor.toml", "--dask", "tcp://127.0.0.1:1", "--jobs", 2) == 2
    assert "--jobs" in capsys.readouterr().err


def test_without_dask_the_message_names_the_package_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert sweep(write(GRID), "--dask", "local") == 1
    assert 'pip install ".[cluster]"' in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_the_message_names_the_address_where_no_scheduler_answers(monkeypatch, capsys):
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.5)
    assert sweep(write(GRID), "--dask", "tcp://127.0.0.1:1") == 1
    message = capsys.readouterr().err
    assert "no Dask scheduler answers at tcp://127.0.0.1:1: " in message and "Traceback" not in message


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_on_this_machine_makes_the_same_table():
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    assert sweep(write(GRID), "--dask", "local", "--jobs", 2, "--out", "dask") == 0
    assert sweep("xor.toml", "--jobs", 1, "--out", "here") == 0
    tables = [
        sorted(({**line, "seconds": ""} for line in lines_of(f"{folder}/sweep.csv")), key=lambda line: line["id"])
        for folder in ("dask", "here")
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 8
    assert sweep("xor.toml", "--dask", "local", "--out", "dask") == 0  # all results exist: no cluster is started


def test_the_outcome_of_a_run_on_a_cluster_is_its_result_or_the_reason_of_its_failure():
    class Lost(Exception):
        allowed_failures = 3

    distributed = SimpleNamespace(KilledWorker=Lost)

    def answer(status, result=None, error=None):
        future = SimpleNamespace(status=status, result=lambda: result, exception=lambda: error)
        return cluster._answer(distributed, future, "tcp://10.0.0.1:8786")

    assert answer("finished", result=7) == 7
    assert answer("error", error=Lost()).startswith("the workers that it was given to were lost, 4 of them")
    assert answer("error", error=ImportError("no minifa here")) == "ImportError: no minifa here"
    with pytest.raises(OSError, match=r"scheduler at tcp://10\.0\.0\.1:8786 was lost"):
        answer("cancelled")


def dask(program, *arguments, how=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    command = [sys.executable, *(how or ("-m", f"distributed.cli.dask_{program}")), *here, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


# A worker as started by another installation.
ANOTHER = """
import sys
import {module}
{module}.__version__ = "0.0.9"
if "minifa" in sys.modules:
    from minifa import environment
    environment.commit, environment.__version__ = lambda: None, sys.modules["minifa"].__version__
from distributed.cli.dask_worker import main
sys.argv[0] = "dask worker"
main()
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", ["minifa", "numpy"])
def test_a_worker_of_another_version_is_refused_by_name_before_any_run(module, tmp_path, capsys):
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    write(GRID)
    with dask_cluster(tmp_path, 1, "-c", ANOTHER.format(module=module)) as (address, _, _):
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            (worker,) = client.nthreads()
        assert sweep("xor.toml", "--dask", address) == 1
    message = capsys.readouterr().err
    name = {"minifa": "minifa", "numpy": "NumPy"}[module]
    assert (
        f"the worker at {worker} has minifa " in message and f"{name} 0.0.9" in message and "Traceback" not in message
    )
    assert lines_of() == []


@pytest.mark.filterwarnings("ignore")
def test_a_worker_of_another_version_that_joins_late_is_refused(tmp_path, capsys, monkeypatch):
    """Jobs in a queue join late, so they are not in the initial check."""
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(cluster, "_check_workers", lambda client: None)
    write(GRID)
    with dask_cluster(tmp_path, 1, "-c", ANOTHER.format(module="minifa")) as (address, _, _):
        assert sweep("xor.toml", "--dask", address) == 1
    assert "has minifa 0.0.9" in capsys.readouterr().err and lines_of() == [] and distributed.__version__


def test_the_versions_of_workers_are_compared_and_reported():
    here = cluster._versions()

    def check(**versions):
        cluster._check_workers(SimpleNamespace(run=lambda function, on_error: versions))

    check()
    check(a=here, b=here)
    for other, message in (
        (("0.0.9", here[1]), "has minifa 0.0.9 and NumPy"),
        ((here[0], "1.9"), "and NumPy 1.9, and this is"),
        (ImportError("no minifa here"), "cannot be asked for its version (ImportError: no minifa here)"),
    ):
        with pytest.raises(OSError, match="the worker at b ") as caught:
            check(a=here, b=other)
        assert message in str(caught.value) and "nothing was run" in str(caught.value)
    assert cluster._on_worker(3, work=str, setting=("numpy", "float32", 1, ()), versions=here, imported={}) == "3"
    other = {"versions": ("0.0.9", here[1]), "imported": {}}
    stranger = cluster._on_worker(3, work=str, setting=("numpy", "float32", 1, ()), **other)
    assert isinstance(stranger, cluster._Stranger)


@contextlib.contextmanager
def dask_cluster(tmp_path, count, *how):
    """A scheduler and its workers, separate processes that communicate over TCP: the address, and the processes. how:
    the Python code of a worker; none: Dask's own."""
    file = tmp_path / "scheduler.json"
    scheduler = dask("scheduler", "--port", 0, "--scheduler-file", file)
    worker = ["--scheduler-file", file, "--no-nanny", "--nthreads", 1, "--local-directory", tmp_path / "dask"]
    workers = [dask("worker", *worker, how=how) for _ in range(count)]
    try:
        assert until(lambda: content_of(file).rstrip().endswith(b"}"), scheduler)
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
        assert address.startswith("tcp://127.0.0.1:")
        yield address, scheduler, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait(timeout=30)


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_on_a_cluster_a_killed_worker_loses_no_run_and_duplicates_none(tmp_path, capsys):
    """One of three workers is killed in the middle of runs."""
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    text = GRID.replace("epochs = 3", "epochs = 100").replace("[0, 1]", "[0, 1, 2, 3, 4, 5]")
    write(text)
    table = tmp_path / "runs/sweep-xor/sweep.csv"
    killed, ended = [], threading.Event()

    def kill_a_busy_worker():
        while not ended.is_set() and not killed:
            busy = [address for address, keys in client.processing().items() if keys]
            if len(busy) == 3 and content_of(table).count(b"\n") > 2:
                os.kill(processes[busy[0]], getattr(signal, "SIGKILL", signal.SIGTERM))
                killed.append(content_of(table).count(b"\n") - 1)

    with dask_cluster(tmp_path, 3) as (address, scheduler, workers):
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
            processes = client.run(os.getpid)
            assert set(processes.values()) == {one.pid for one in workers}
            killer = threading.Thread(target=kill_a_busy_worker)
            killer.start()
            try:
                assert sweep("xor.toml", "--dask", address) == 0
            finally:
                ended.set()
                killer.join()
        lines = lines_of()
        assert killed and killed[0] < 24, "no worker was killed in the middle"
        assert sum(one.poll() is not None for one in workers) == 1
        assert sorted(line["id"] for line in lines) == sorted(run.id for run in sweeps.parse(text).runs)
        one = sweeps.parse(text).runs[int(lines[-1]["run"])]
        assert float(lines[-1]["test_loss"]) == make(one).result["test_loss"]  # the same numbers as in this process
        # A task that ends each of its workers is given up after two of them, with a message:
        ((_, answer),) = cluster.side_by_side(os._exit, [3], address)
        assert answer.startswith("the workers that it was given to were lost, 2 of them")
        threading.Timer(0.5, scheduler.kill).start()  # no worker is left
        with pytest.raises(OSError, match=r"scheduler at tcp://127\.0\.0\.1:\d+ was lost"):
            list(cluster.side_by_side(os._exit, [3], address))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_a_stopped_scheduler_is_reported_awaited_and_finally_given_up(tmp_path, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(cluster, "SECONDS_TO_TELL", 1.0)
    with dask_cluster(tmp_path, 1) as (address, scheduler, _):
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        answers = cluster.side_by_side(time.sleep, [0.1, 0.2, 2.5], address)
        assert next(answers) == (0.1, None)
        scheduler.send_signal(signal.SIGSTOP)
        threading.Timer(4, scheduler.send_signal, [signal.SIGCONT]).start()
        assert sorted(answers) == [(0.2, None), (2.5, None)]
        message = (
            f"waiting: the Dask scheduler at {address} does not answer. Ctrl-C stops, and the same command resumes\n"
        )
        assert capsys.readouterr().err.count(message) == 1

        monkeypatch.setattr(cluster, "SECONDS_TO_GIVE_UP", 3.0)
        answers = cluster.side_by_side(time.sleep, [0.1, 600], address)
        assert next(answers) == (0.1, None)
        scheduler.send_signal(signal.SIGSTOP)
        with pytest.raises(OSError, match="has not answered for 3 seconds: finished runs are in the table"):
            next(answers)
        assert message in capsys.readouterr().err
        monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 2)
        with pytest.raises(OSError, match="no Dask scheduler answers at "):
            next(cluster.side_by_side(time.sleep, [0.1], address))
        assert f"waiting: no Dask scheduler answers at {address} yet; for 2 seconds" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_without_workers_is_reported(tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    monkeypatch.setattr(cluster, "SECONDS_TO_TELL", 0.5)
    with dask_cluster(tmp_path, 0) as (address, _, _):
        file, late = tmp_path / "scheduler.json", []
        worker = ["--scheduler-file", file, "--no-nanny", "--nthreads", 1, "--local-directory", tmp_path / "dask"]
        timer = threading.Timer(2, lambda: late.append(dask("worker", *worker)))
        timer.start()
        try:
            assert list(cluster.side_by_side(time.sleep, [0.1], address)) == [(0.1, None)]
        finally:
            timer.join()
            late[0].kill()
            late[0].wait(timeout=30)
    assert capsys.readouterr().err.count(f"waiting: the Dask scheduler at {address} has no workers. Ctrl-C") == 1


@pytest.mark.filterwarnings("ignore")
def test_a_result_lost_with_its_worker_before_it_is_fetched_is_computed_again(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
    seconds = [0.5, 0.51, 0.52, 0.53, 0.54, 0.55]
    with (
        dask_cluster(tmp_path, 2) as (address, scheduler, _),
        distributed.Client(address, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        answers = cluster.side_by_side(time.sleep, seconds, address)
        answered = [next(answers)]
        assert until(lambda: sum(map(len, client.has_what().values())) >= len(seconds) - 1, scheduler)
        held = {address: len(keys) for address, keys in client.has_what().items()}
        os.kill(client.run(os.getpid)[max(held, key=held.get)], getattr(signal, "SIGKILL", signal.SIGTERM))
        assert until(lambda: len(client.nthreads()) == 1, scheduler)
        answered += answers
    assert sorted(answered) == [(one, None) for one in seconds]
