"""A leading ~ is the home folder in every given path: in functions, on the command line, in recipes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints, cli, figures, weights
from minifa.cli import pictures
from minifa.experiments import Experiment, recipes, resume, run, run_folder, sweeps
from minifa.explorer import page as explorer
from minifa.storage import atomic, csv_files
from minifa.training import History
from minifa.training.logs import TensorBoard, WriteLogs

RATE = ["--seeds=2", "--rates=1e-1:3e-1"]
TINY = ["--data", "xor", "--model", "tiny", "--epochs", "1", "--lr", "0.5"]
RECIPE = '[data]\nname = "~/my.npz"\n[model]\nname = "tiny"\n[training]\nepochs = 1\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder; the current folder is another one, in which no file may appear."""
    there, here = tmp_path / "home", tmp_path / "here"
    there.mkdir(), here.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(there))
    monkeypatch.chdir(here)
    x = np.random.default_rng(0).standard_normal((20, 2))
    np.savez(there / "my.npz", x=x, y=(x[:, 0] > 0).astype(int))
    (there / "my.toml").write_text(RECIPE, encoding="utf-8")
    (there / "swept.toml").write_text(RECIPE + '[over]\nrule = ["bp"]\n', encoding="utf-8")
    (there / "table.toml").write_text(RECIPE + '[table]\n[[row]]\nname = "one"\n', encoding="utf-8")
    yield there
    assert list(here.iterdir()) == []


def trainer_and_experiment():
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=1)
    return run(experiment)[1], experiment


def test_a_path_is_a_string_or_a_path():
    assert atomic.expanded("a/~") == Path("a/~") and atomic.expanded(Path("run")) == Path("run")
    for wrong in (None, 5, b"run", ["run"]):
        with pytest.raises(TypeError, match="a path must be a str or a pathlib.Path, got"):
            atomic.expanded(wrong)


def test_functions_that_read_and_write_files_expand_the_tilde(home):
    trainer, experiment = trainer_and_experiment()
    assert len(mf.data.load("~/my.npz").train) == len(mf.data.from_npz(Path("~/my.npz")).train) == 16
    atomic.write_atomic("~/text", "one\n")
    atomic.append("~/text", "two\n")
    assert (home / "text").read_text(encoding="utf-8") == "one\ntwo\n"
    trainer.history.save_csv("~/history.csv")
    assert History.read_csv("~/history.csv") == trainer.history
    checkpoints.save("~/a.ckpt", trainer)
    checkpoints.load("~/a.ckpt", trainer)
    assert checkpoints.newest("~/a.ckpt") == home / "a.ckpt"
    assert checkpoints.previous_of("~/a.ckpt") == home / "a.ckpt.previous"
    csv_files.append("~/table.csv", ["a"])
    assert csv_files.open_table("~/table.csv", ["a"]) == csv_files.read_table("~/table.csv", ["a"]) == []
    assert explorer.write("page", "~/page.html") == home / "page.html"
    (home / "bits").write_bytes(b"\0\0\x08\x01\0\0\0\1\5")
    assert mf.data.read_idx("~/bits", (1,)) == [5]
    assert recipes.find("~/my.toml") == home / "my.toml" and len(sweeps.read("~/swept.toml").runs) == 1


def test_weights(home):
    pytest.importorskip("safetensors", reason="safetensors files need the package safetensors")
    net = mf.Network([mf.Linear(2, 3)])
    weights.save(net, "~/net.safetensors")
    weights.load(net, "~/net.safetensors")
    assert weights.read(Path("~/net.safetensors"))[0].keys() == net.state().keys()


def test_run_folders_expand_the_tilde(home):
    trainer, experiment = trainer_and_experiment()
    assert run_folder.new_folder("~/run") == home / "run"
    with run_folder.locked("~/run"):
        resume.attach_callbacks("~/run", experiment, trainer)
        run_folder.save("~/run", experiment, trainer.history, trainer.net, trainer.rule)
    assert run_folder.read_experiment("~/run") == run_folder.open_run("~/run")[2]
    assert len(run_folder.read_results("~/run")) == 1 and figures.of_run("~/run")
    first = resume.run_in_folder("~/kept", experiment)
    assert resume.finished("~/kept", experiment) == first
    assert resume.open_checkpoint("~/kept/last.ckpt")[2].model == "tiny"


def test_callbacks_expand_the_tilde(home):
    pytest.importorskip("tensorboardX", reason="event files need the package tensorboardX")
    experiment = Experiment(data="xor", model="tiny", lr=0.5, epochs=1)
    (home / "kept").mkdir()
    trainer = run(experiment)[1]
    trainer.callbacks += [WriteLogs("~/kept"), checkpoints.SaveCheckpoints("~/kept"), TensorBoard("~/kept/board")]
    trainer.fit(mf.data.load("xor").train, 1, 4)
    assert {path.name for path in (home / "kept").iterdir()} >= {"history.csv", "log.jsonl", "last.ckpt", "board"}


def test_folders_of_data_expand_the_tilde(home, monkeypatch):
    monkeypatch.delenv("MINIFA_DATA", raising=False)
    message = f"not found (searched {home / 'sets' / 'cifar10'}"
    assert mf.data.find("~/sets")["cifar10"].startswith(message)
    monkeypatch.setenv("MINIFA_DATA", "~/sets")
    assert mf.data.find()["cifar10"].startswith(message)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["train", *TINY, "--data=~/my.npz", "--out=~/run"], "run/network.npz"),
        (["train", "--recipe=~/my.toml", "--out=~/run"], "run/network.npz"),
        (["train", "--recipe=~/my.toml", "--set", "data.name=~/my.npz", "--out=~/run"], "run/network.npz"),
        (["compare", *TINY, "--rules=bp", "--seeds=1", "--jobs=1", "--out=~/compared"], "compared/runs.csv"),
        (["explore", "--rules=bp", "--train-updates=1", "--out=~/page.html"], "page.html"),
        (["explore", "--rules=bp", "--train-updates=1", "-o", "~/page.html"], "page.html"),
        (["tune", "--data=~/my.npz", *TINY[2:6], "--rules=bp", "--jobs=1", *RATE, "--out=~/tuned"], "tuned/rates.csv"),
        (["sweep", "~/swept.toml", "--jobs=1", "--out=~/swept"], "swept/sweep.csv"),
        (["reproduce", "~/table.toml", "--jobs=1", "--out=~/made"], "made/table.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:1] + value[-1:]),
)
def test_commands_expand_the_tilde(home, words, made, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: None)
    assert cli.main(words) == 0
    assert (home / made).is_file(), sorted(os.listdir(home))


def test_commands_that_resume_expand_the_tilde(home, monkeypatch):
    monkeypatch.setattr(figures, "of_run", lambda folder, dark: {})  # drawn above; only the paths are checked here
    monkeypatch.setattr(pictures, "draw", lambda *_: None)
    assert cli.main(["train", *TINY, "--out=~/run"]) == 0
    assert cli.main(["train", "--resume", "~/run", "--epochs=2"]) == 0
    assert len(History.read_csv(home / "run" / "history.csv")) == 3
    assert cli.main(["figures", "~/run"]) == 0


def test_weights_of_a_command_expand_the_tilde(home):
    pytest.importorskip("safetensors", reason="safetensors files need the package safetensors")
    data = mf.data.load("~/my.npz")
    weights.save(mf.Network(mf.models.tiny(data.input_shape, data.n_out)), home / "start.safetensors")
    start = ["--weights=~/start.safetensors", "--out=~/run"]
    assert cli.main(["train", *TINY, "--data=~/my.npz", *start]) == 0
    changes = ["--set", "model.weights=~/start.safetensors"]
    assert cli.main(["train", "--recipe=~/my.toml", *changes, "--out=~/of-recipe"]) == 0
