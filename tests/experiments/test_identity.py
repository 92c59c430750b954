"""A result is reused only if everything that determines it is equal: data by content, weights, float type, settings,
and the version for a resumed run; tests/golden/before holds files from before these were recorded."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import backend, checkpoints, cli, environment, weights
from minifa.checkpoints import CheckpointError
from minifa.cli import exit_codes, pictures
from minifa.experiments import Experiment, processes, recipes, reproduce, resume, study, sweep_results, sweeps, tuning
from minifa.training import Callback

BEFORE = Path(__file__).parents[1] / "golden" / "before"
TABLE = """
[data]
name = "mine.npz"
[model]
name = "mlp"
hidden = [5]
[training]
epochs = 2
batch_size = 16
[table]
seeds = 2
[[row]]
name = "bp"
[[row]]
name = "fa"
seeds = 1
set = { rule = "fa" }
"""
SWEEP = TABLE[: TABLE.index("[table]")] + '[over]\n"training.seed" = [0, 1]\n'
EXPERIMENT = Experiment(data="mine.npz", model="mlp", model_options={"hidden": (5,)}, epochs=2, batch_size=16, lr=0.1)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test has an empty folder with its own data; all runs are in this process and without pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    monkeypatch.setattr(processes, "spread", lambda work, tasks, *others: ((task, work(task)) for task in tasks))
    monkeypatch.setattr(processes, "side_by_side", lambda work, tasks, *others: ((task, work(task)) for task in tasks))
    write_data()
    Path("table.toml").write_text(TABLE, encoding="utf-8")
    Path("sweep.toml").write_text(SWEEP, encoding="utf-8")


def arrays(seed=0):
    x = np.random.default_rng(seed).standard_normal((90, 4)).astype("f4")
    return {"x": x, "y": (x[:, 0] * x[:, 1] > 0).astype(np.int64)}


def write_data(seed=0, **other):
    np.savez("mine.npz", **{**arrays(seed), **other})


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def all_files(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"}


COMMANDS = {
    "reproduce": ["reproduce", "table.toml", "--out", "out"],
    "sweep": ["sweep", "sweep.toml", "--out", "out"],
    "sweep --keep-runs": ["sweep", "sweep.toml", "--out", "out", "--keep-runs"],
    "sweep --dry-run": ["sweep", "sweep.toml", "--out", "out", "--dry-run"],
    "tune": ["tune", "--data", "mine.npz", "--model", "mlp", "--hidden", "4", "--epochs", "1", "--rules", "bp"]
    + ["--rates", "1e-1:1e-1", "--seeds", "2", "--jobs", "1", "--out", "out"],
    "train": ["train", "--resume", "out", "--epochs", "3"],
}


@pytest.fixture
def made(monkeypatch):
    """A function that runs a command for the first time."""
    monkeypatch.setattr(tuning, "WIDEST", range(-2, -1))

    def make(name):
        first = {
            "train": ["train", "--data", "mine.npz", "--model", "mlp", "--epochs", "2", "--out", "out"],
            "sweep --dry-run": COMMANDS["sweep"],
        }
        assert cli.main(first.get(name, COMMANDS[name])) == 0

    return make


# --- data by content --------------------------------------------------------------------------------------------------


def test_a_digest_depends_on_all_arrays_and_on_nothing_else(tmp_path):
    one = mf.data.load("mine.npz")
    shutil.copy("mine.npz", "copy.npz")
    assert mf.data.load("copy.npz").digest == one.digest == mf.data.load("mine.npz").digest
    assert re.fullmatch("[0-9a-f]{16}", one.digest)
    for part in ("train", "test"):
        for key in ("x", "y"):
            examples = getattr(one, part)
            array = getattr(examples, key).copy()
            array[-1] = 1 - array[-1] if key == "y" else array[-1] + 1e-6
            other = dataclasses.replace(one, **{part: dataclasses.replace(examples, **{key: array})})
            assert other.digest != one.digest, (part, key)
    assert mf.data.load("digits").digest == "020efdbb53cdd1a5"  # the same on every machine


def test_a_digest_is_computed_once(monkeypatch):
    data, made = mf.data.load("mine.npz"), []
    real = mf.data.base.hashlib.sha256
    monkeypatch.setattr(mf.data.base.hashlib, "sha256", lambda *given: made.append(1) or real(*given))
    assert data.digest is data.digest and made == [1]


@pytest.mark.parametrize("name", COMMANDS)
def test_on_replaced_data_no_run_continues_and_no_file_changes(name, made, capsys):
    made(name)
    before = all_files("out")
    write_data(seed=3)
    capsys.readouterr()
    assert cli.main(COMMANDS[name]) == exit_codes.WRONG_USE
    captured = capsys.readouterr()
    assert re.search(r"mine(\.npz has the digest [0-9a-f]{16}, and had [0-9a-f]{16}| is now)", captured.err), (
        captured.err
    )
    assert "±" not in captured.out and all_files("out") == before
    write_data(seed=0)  # the same numbers in a new file
    assert cli.main(COMMANDS[name]) == 0
    assert "not kept" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "reproduce", "sweep"])
def test_the_digest_includes_the_test_examples(name, made, capsys):
    x = arrays()["x"]
    y = arrays()["y"]
    write_data(x_test=x[:20], y_test=y[:20])
    made(name)
    write_data(x_test=x[:20] + np.float32(0.5), y_test=y[:20])
    assert cli.main(COMMANDS[name]) == exit_codes.WRONG_USE
    assert "the digest" in capsys.readouterr().err


def test_the_digest_includes_examples_that_the_layout_check_skips(capsys):
    """In large data sets it checks 256 inputs."""
    x = np.random.default_rng(0).standard_normal((1000, 3)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    np.savez("mine.npz", x=x, y=y, x_test=x[:9], y_test=y[:9])
    assert cli.main(["train", "--data", "mine.npz", "--model", "mlp", "--epochs", "1", "--out", "out"]) == 0
    x[1] += 1
    np.savez("mine.npz", x=x, y=y, x_test=x[:9] - [[1, 1, 1]] * np.eye(9)[1][:, None], y_test=y[:9])
    assert cli.main(COMMANDS["train"]) == exit_codes.WRONG_USE
    assert "was trained on other data than mine is now" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["reproduce", "sweep", "tune", "train"])
def test_replaced_weights_count_as_other_weights(name, made, capsys, monkeypatch):
    pytest.importorskip("safetensors", reason="weights are read with safetensors: pip install '.[safetensors]'")
    hidden = {"tune": 4, "train": 500}.get(name, 5)

    def write_weights(seed):
        net = mf.Network(mf.models.mlp((4,), 2, hidden=(hidden,)), seed=seed)
        Path("w.safetensors").unlink(missing_ok=True)
        weights.save(net, "w.safetensors")

    write_weights(0)
    command = [*COMMANDS[name], "--set", "model.weights=w.safetensors"]
    if name in ("tune", "train"):
        command = [*COMMANDS[name], "--weights", "w.safetensors"]
    first = (
        command
        if name != "train"
        else [*command[:1], "--data", "mine.npz", "--model", "mlp", *command[3:], "--out", "out"]
    )
    assert cli.main(first) == 0
    write_weights(1)
    capsys.readouterr()
    if name == "train":
        command[4] = "4"
    assert cli.main(command) == exit_codes.WRONG_USE
    assert "w.safetensors has the digest" in capsys.readouterr().err


def test_a_folder_of_another_runs_data_is_refused_from_python():
    data, other = mf.data.load("mine.npz"), mf.data.from_arrays(**arrays(3))
    resume.run_in_folder("run", EXPERIMENT, data)
    before = all_files("run")
    assert resume.finished("run", EXPERIMENT, resume.contents(EXPERIMENT, other)) is None
    with pytest.raises(CheckpointError, match="was trained on other data"):
        resume.run_in_folder("run", EXPERIMENT, other)
    assert all_files("run") == before


def test_a_replaced_file_is_loaded_again(monkeypatch):
    """Workers of a cluster outlive a sweep, and so do notebooks."""
    first = resume.load_once("mine.npz")
    assert resume.load_once("mine.npz") is first
    write_data(seed=3)
    assert resume.load_once("mine.npz").digest == mf.data.load("mine.npz").digest != first.digest
    Path("folder").mkdir()
    monkeypatch.chdir("folder")
    write_data(seed=4)
    assert resume.load_once("mine.npz").digest == mf.data.load("mine.npz").digest


def test_a_worker_with_other_data_under_the_same_name_makes_no_run():
    """On another machine, or replaced during the sweep."""
    sweep = sweeps.parse(SWEEP)
    _, contents = sweeps.check(sweep)
    write_data(seed=3)
    made = study.attempt(sweep_results.measure, sweep_results.task_of(sweep.runs[0], contents=contents))
    assert re.match("DataFileError: other data: mine.npz has the digest", made.error) and made.result is None


def test_options_of_a_data_file_reach_the_runs_of_sweeps_and_tables(capsys):
    for kind in ("sweep", "table"):
        path = Path(f"{kind}.toml")
        text = path.read_text(encoding="utf-8").replace('"mine.npz"', '"mine.npz"\nscale = 0.5')
        path.write_text(text, encoding="utf-8")
    assert cli.main(COMMANDS["sweep --keep-runs"]) == 0, capsys.readouterr().err
    digest = json.loads(Path("out/config.json").read_text(encoding="utf-8"))["contents"]["mine.npz (scale=0.5)"]
    assert digest == mf.data.load("mine.npz", scale=0.5).digest
    shutil.rmtree("out")
    assert cli.main(COMMANDS["reproduce"]) == 0
    table = recipes.read("table.toml")
    made = reproduce.finished(table, "out")
    assert len(made) == 3 and all(one.compared for one in made)
    write_data(seed=3)
    with pytest.raises(ValueError, match=r"mine.npz \(scale=0.5\) has the digest"):
        reproduce.finished(table, "out")


def test_a_sweep_over_data_sets_may_be_extended_by_more_data_sets(capsys):
    text = SWEEP.replace('name = "mine.npz"', "").replace("[over]", '[over]\n"data.name" = ["mine.npz"]')
    Path("sweep.toml").write_text(text, encoding="utf-8")
    assert cli.main(COMMANDS["sweep"]) == 0
    shutil.copy("mine.npz", "more.npz")
    Path("sweep.toml").write_text(text.replace('["mine.npz"]', '["mine.npz", "more.npz"]'), encoding="utf-8")
    assert cli.main(COMMANDS["sweep"]) == 0 and len(lines_of("out/sweep.csv")) == 4
    assert json.loads(Path("out/config.json").read_text(encoding="utf-8"))["contents"].keys() == {
        "mine.npz",
        "more.npz",
    }
    os.replace("mine.npz", "more.npz")
    write_data(seed=3)
    np.savez("more.npz", **arrays(4))
    capsys.readouterr()
    assert cli.main(COMMANDS["sweep"]) == exit_codes.WRONG_USE
    assert capsys.readouterr().err.count("has the digest") == 2


def test_a_table_is_shown_after_its_data_were_deleted(capsys):
    assert cli.main(COMMANDS["reproduce"]) == 0
    shown = capsys.readouterr().out
    os.unlink("mine.npz")
    assert cli.main(COMMANDS["reproduce"]) == 0
    captured = capsys.readouterr()
    assert captured.out == shown
    assert captured.err == "note: the data of 3 of 3 finished runs were not kept, or are not here: not compared\n"


# --- float type -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reproduce", "sweep", "tune"])
def test_another_float_type_is_another_result(name, made, capsys):
    made(name)
    before = all_files("out")
    capsys.readouterr()
    assert cli.main([*COMMANDS[name], "--dtype", "float64"]) == exit_codes.WRONG_USE
    message = capsys.readouterr().err
    assert "dtype float32 and not float64" in message or "dtype float64 (there: float32)" in message
    assert all_files("out") == before


def test_another_float_type_is_another_result_from_python():
    resume.run_in_folder("run", EXPERIMENT)
    with mf.using("numpy", "float64"):
        assert resume.finished("run", EXPERIMENT) is None
        with pytest.raises(CheckpointError, match="dtype 'float32'"):
            resume.run_in_folder("run", EXPERIMENT)


# --- versions ---------------------------------------------------------------------------------------------------------


def of_version(monkeypatch, number, commit=None):
    monkeypatch.setattr(environment, "__version__", number)
    monkeypatch.setattr(environment, "commit", lambda: commit)


def test_a_finished_row_of_another_version_is_shown_with_the_version_and_not_run_again(monkeypatch, capsys):
    of_version(monkeypatch, "0.0.9", "abcdef0")
    assert cli.main([*COMMANDS["reproduce"], "--rows", "fa"]) == 0
    of_version(monkeypatch, "0.0.9")
    assert cli.main([*COMMANDS["reproduce"], "--seeds", "1"]) == 0
    before = all_files("out/fa-seed0")
    of_version(monkeypatch, "0.0.10", "1234567")
    capsys.readouterr()
    assert cli.main(COMMANDS["reproduce"]) == 0
    message = capsys.readouterr().out
    assert (
        "made by minifa 0.0.9: bp (seed 0)\n" in message and "made by minifa 0.0.9 (abcdef0): fa (seed 0)\n" in message
    )
    assert all_files("out/fa-seed0") == before
    assert [(row["row"], row["made_by"]) for row in lines_of("out/table.csv")] == [
        ("bp", "0.0.9; 0.0.10 (1234567)"),
        ("fa", "0.0.9 (abcdef0)"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.1.0", False),
        ("0.1.0 (1234567)", False),
        ("0.1.0 (abcdef0)", True),
        ("0.0.9", True),
        ("0.0.9 (1234567)", True),
        ("0.0.9 (1234567), then 0.1.0 (1234567)", True),
    ],
)
def test_commits_are_compared_where_both_are_known(one, other, monkeypatch):
    of_version(monkeypatch, "0.1.0", "1234567")
    assert environment.is_another_version(one) == other


class StopAt(Callback):
    def on_step(self, trainer, examples):
        if trainer.net.step == 6:
            trainer.stop()


def interrupt_training(monkeypatch, call):
    """The call, with training interrupted in its second epoch."""
    fit = resume.fit
    with monkeypatch.context() as patched:
        patched.setattr(
            resume,
            "fit",
            lambda e, data, trainer: (trainer.callbacks.append(StopAt()), fit(e, data, trainer))[1],
        )
        with pytest.raises(processes.Stopped):
            call()


def test_an_unfinished_run_is_resumed_only_by_its_own_version(monkeypatch, capsys):
    task = reproduce.plan(recipes.read("table.toml"), "out")[0]
    of_version(monkeypatch, "0.0.9")
    interrupt_training(monkeypatch, lambda: reproduce.make(task))
    with monkeypatch.context() as patched:
        of_version(patched, "0.1.0")
        assert cli.main([*COMMANDS["reproduce"], "--rows", "bp", "--seeds", "1"]) == exit_codes.FAILED
        message = " ".join(capsys.readouterr().out.split())
        assert "was written by minifa 0.0.9, and this is minifa 0.1.0: resume it with that version" in message
        assert "minifa train --resume out/bp-seed0" in message
    of_version(monkeypatch, "0.0.9", "abcdef0")  # its commit is shown, and is not compared
    assert cli.main([*COMMANDS["reproduce"], "--rows", "bp", "--seeds", "1"]) == 0
    assert "made by minifa 0.0.9, then 0.0.9 (abcdef0): bp (seed 0)" in capsys.readouterr().out


def test_a_run_trained_by_two_versions_records_both(monkeypatch, capsys):
    task = reproduce.plan(recipes.read("table.toml"), "out")[0]
    of_version(monkeypatch, "0.0.9")
    interrupt_training(monkeypatch, lambda: reproduce.make(task))
    of_version(monkeypatch, "0.1.0")
    assert cli.main(["train", "--resume", "out/bp-seed0"]) == 0
    assert "note: the run was started with minifa 0.0.9, now 0.1.0" in capsys.readouterr().err
    assert cli.main([*COMMANDS["reproduce"], "--rows", "bp", "--seeds", "1"]) == 0
    assert "made by minifa 0.0.9, then 0.1.0: bp (seed 0)" in capsys.readouterr().out


def test_a_table_of_another_version_gives_a_note(monkeypatch, capsys):
    of_version(monkeypatch, "0.0.9")
    assert cli.main(COMMANDS["sweep"]) == 0
    of_version(monkeypatch, "0.1.0")
    capsys.readouterr()
    assert cli.main(COMMANDS["sweep"]) == 0
    message = capsys.readouterr().err
    assert (
        message == "note: the table in out: it was started by minifa 0.0.9, and this is minifa 0.1.0: its lines stay\n"
    )


@pytest.mark.parametrize("kind", ["branch", "packed", "detached", "worktree", "none", "damaged"])
def test_the_commit_is_read_from_the_checkout(kind, tmp_path, monkeypatch):
    package, sha = tmp_path / "clone/minifa", "0123456789abcdef0123456789abcdef01234567"
    package.mkdir(parents=True)
    git = tmp_path / "clone/.git"
    monkeypatch.setattr(environment, "__file__", str(package / "runs.py"))
    if kind == "worktree":
        git.write_text("gitdir: ../main/.git/worktrees/clone\n", encoding="utf-8")
        git = tmp_path / "main/.git/worktrees/clone"
        git.mkdir(parents=True)
        (git / "commondir").write_text("../..\n", encoding="utf-8")
        (git / "HEAD").write_text("ref: refs/heads/files\n", encoding="utf-8")
        (tmp_path / "main/.git/refs/heads").mkdir(parents=True)
        (tmp_path / "main/.git/refs/heads/files").write_text(f"{sha}\n", encoding="utf-8")
    elif kind != "none":
        git.mkdir()
        head = {"detached": f"{sha}\n", "damaged": "\xff"}.get(kind, "ref: refs/heads/main\n")
        (git / "HEAD").write_text(head, encoding="latin-1")
    if kind == "branch":
        (git / "refs/heads").mkdir(parents=True)
        (git / "refs/heads/main").write_text(f"{sha}\n", encoding="utf-8")
    if kind == "packed":
        (git / "packed-refs").write_text(f"# pack-refs\n{'f' * 40} refs/heads/main2\n{sha} refs/heads/main\n", "utf-8")
    assert environment.commit.__wrapped__() == (None if kind in ("none", "damaged") else "0123456")


# --- files of earlier versions ----------------------------------------------------------------------------------------


@pytest.fixture
def before(tmp_path, monkeypatch):
    """Folders, tables and a checkpoint that minifa wrote at commit 619e373."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


def test_a_table_of_an_earlier_version_is_collected_and_its_unfinished_run_is_resumed(before, capsys):
    finished = all_files("table/bp-seed0")
    assert cli.main(["reproduce", "table.toml", "--out", "table"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("the data of 1 of 1 finished runs were not kept") == 1
    assert all_files("table/bp-seed0") == finished
    assert [(row["row"], row["seeds"]) for row in lines_of("table/table.csv")] == [("bp", "2"), ("kolen_pollack", "1")]
    assert float(lines_of("table/table.csv")[0]["mean"]) > 0
    events = [
        json.loads(line)["event"] for line in Path("table/kolen_pollack-seed0/log.jsonl").read_text().splitlines()
    ]
    assert events.count("resume") == 1 and events.count("start") == 1  # it was not started again
    (task,) = reproduce.plan(recipes.read("table.toml"), "whole", rows=["kolen_pollack"])
    whole, resumed = reproduce.make(task).result, resume.saved_run("table/kolen_pollack-seed0").result
    assert resumed["best_epoch"] == whole["best_epoch"]
    assert resumed["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-4)  # the last bits differ between machines
    write_data(seed=3)  # they are recorded from now on
    assert cli.main(["reproduce", "table.toml", "--out", "table"]) == exit_codes.WRONG_USE
    assert "bp-seed1 holds a run with other data: mine.npz" in capsys.readouterr().err


def test_a_row_of_an_earlier_version_in_another_float_type_is_refused(before, capsys):
    assert cli.main(["reproduce", "table.toml", "--out", "table", "--dtype", "float64"]) == exit_codes.WRONG_USE
    assert "bp-seed0 holds a run with dtype float32 and not float64" in capsys.readouterr().err


def test_an_unfinished_run_of_an_earlier_version_on_other_data_is_refused(before):
    write_data(seed=3)
    (task,) = reproduce.plan(recipes.read("table.toml"), "table", rows=["kolen_pollack"])
    assert "was trained on other data than mine is now" in reproduce.make(task).error


def test_a_sweep_of_an_earlier_version_is_continued_and_its_lines_are_kept(before, capsys):
    lines = Path("sweep/sweep.csv").read_bytes()
    for again in (False, True):
        assert cli.main(["sweep", "sweep.toml", "--out", "sweep"]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("the data on which it was started are unknown") == (0 if again else 1)  # printed once
    assert "0 to run" in captured.out and Path("sweep/sweep.csv").read_bytes().startswith(lines)
    assert len(lines_of("sweep/sweep.csv")) == 4
    write_data(seed=3)
    assert cli.main(["sweep", "sweep.toml", "--out", "sweep"]) == exit_codes.WRONG_USE


def test_saved_runs_of_a_sweep_of_an_earlier_version_are_collected(before):
    finished = all_files("kept/runs/3c97fd512efe")
    assert cli.main(["sweep", "sweep.toml", "--out", "kept", "--keep-runs", "--set", "training.epochs=1"]) == 0
    assert all_files("kept/runs/3c97fd512efe") == finished
    assert (
        "3c97fd512efe" in {line["id"] for line in lines_of("kept/sweep.csv")} and len(lines_of("kept/sweep.csv")) == 4
    )


def test_a_search_of_an_earlier_version_is_continued(before, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "WIDEST", range(-5, -2))
    trials = Path("tune/trials.csv").read_bytes()
    command = ["tune", "--data", "mine.npz", "--model", "mlp", "--hidden", "5", "--epochs", "1", "--rules", "bp"]
    assert cli.main([*command, "--rates", "1e-2:3e-2", "--seeds", "2", "--jobs", "1", "--out", "tune"]) == 0
    assert "the data on which it was started are unknown" in capsys.readouterr().err
    assert Path("tune/trials.csv").read_bytes().startswith(trials)


def test_a_checkpoint_of_an_earlier_version_is_loaded(before):
    net = mf.Network([mf.Linear(4, 6), mf.BatchNorm(6), mf.Tanh(), mf.Dropout(0.3), mf.Linear(6, 2)], seed=3)
    net.freeze("linear1")
    rule, schedule = mf.rules.KolenPollack(seed=3).attach(net), mf.schedules.step_decay(2, 0.5)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.SGD(0.05, momentum=0.9), schedule, seed=3)
    checkpoints.load("python.ckpt", trainer)
    last = trainer.fit(mf.data.load("mine.npz").train, 1, batch_size=16)[-1]
    assert last["epoch"] == 4 and last["lr"] == 0.025
    assert last["train_loss"] == pytest.approx(0.8160379197862413, rel=1e-4)


def test_a_setting_added_later_counts_if_it_differs_from_the_earlier_behaviour(monkeypatch):
    kept = {key: value for key, value in EXPERIMENT.as_config().items() if key not in ("freeze", "augmentation")}
    assert resume.setting_differences(kept, EXPERIMENT) == []
    later = dataclasses.replace(EXPERIMENT, freeze="linear1")
    assert resume.setting_differences(kept, later) == ["freeze None and not linear1"]

    @dataclasses.dataclass(frozen=True)
    class Later(Experiment):
        scale: float = 1.0

    monkeypatch.setattr(sweeps, "DEFAULTS", vars(Later()))
    one, same, other = Experiment(data="xor"), Later(data="xor"), Later(data="xor", scale=2.0)
    assert sweeps.identify(one) == sweeps.identify(same) != sweeps.identify(other)


def test_an_extended_run_does_not_count_as_the_shorter_one(monkeypatch):
    """It was interrupted in the third epoch of four: that network is not the one after two epochs."""
    longer, fit = dataclasses.replace(EXPERIMENT, epochs=4), resume.fit
    assert resume.run_in_folder("run", EXPERIMENT)["epochs"] == 2

    def stopped(experiment, data, trainer):
        trainer.stop()
        return fit(experiment, data, trainer)

    with monkeypatch.context() as patched:
        patched.setattr(resume, "fit", stopped)
        with pytest.raises(processes.Stopped):
            resume.run_in_folder("run", longer)
    assert resume.finished("run", EXPERIMENT) is None is resume.finished("run", longer)
    with pytest.raises(CheckpointError, match="holds 3 epochs, more than the 2"):
        resume.run_in_folder("run", EXPERIMENT)
    assert resume.run_in_folder("run", longer)["epochs"] == 4


@pytest.mark.parametrize(
    "change",
    [{"test_loss": "low"}, {"test_examples": 0}, {"epochs": "2"}, {"diverged": 3}, {"note": None}, {"seconds": []}],
)
def test_a_forged_result_is_computed_again(change):
    """Its checksum is valid."""
    first = resume.run_in_folder("run", EXPERIMENT)
    made = json.loads(Path("run/result.json").read_text(encoding="utf-8"))
    del made["sha256"]
    made["result"].update(change)
    Path("run/result.json").write_text(json.dumps({**made, "sha256": resume._checksum(made)}), encoding="utf-8")
    assert resume.finished("run", EXPERIMENT) is None
    assert resume.run_in_folder("run", EXPERIMENT) == first


# --- damaged folders of a table ---------------------------------------------------------------------------------------


def test_with_a_damaged_checkpoint_a_run_resumes_from_the_previous_one_to_the_same_numbers(monkeypatch):
    task = reproduce.plan(recipes.read("table.toml"), "out")[0]
    interrupt_training(monkeypatch, lambda: reproduce.make(task))
    last = task.folder / "last.ckpt"
    assert checkpoints.previous_of(last).is_file()
    last.write_bytes(last.read_bytes()[:-9])
    whole = reproduce.make(dataclasses.replace(task, folder=Path("whole"))).result
    assert {**reproduce.make(task).result, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"experiment": 3}', b"\xff"])
def test_a_damaged_description_of_a_run_does_not_block_the_table(content, capsys):
    assert cli.main(COMMANDS["reproduce"]) == 0
    shown = capsys.readouterr().out
    Path("out/bp-seed0/config.json").write_bytes(content)  # the result itself records its experiment
    assert cli.main(COMMANDS["reproduce"]) == 0
    assert capsys.readouterr().out == shown
    os.unlink("out/bp-seed0/result.json")  # now only the checkpoint records it
    assert cli.main(COMMANDS["reproduce"]) == 0
    assert re.sub(r" +\d\.\d\n", "\n", capsys.readouterr().out) == re.sub(r" +\d\.\d\n", "\n", shown)
    assert resume.saved_run("out/bp-seed0").contents and str(backend.dtype()) == "float32"
