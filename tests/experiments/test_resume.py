"""A killed, stopped or damaged run, resumed from the command line: only the work since the last checkpoint is lost, and
the result is that of an uninterrupted run."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import installed

import minifa as mf
from minifa import backend, checkpoints, environment, signals
from minifa.cli import compare as compare_command
from minifa.cli import exit_codes, options, pictures, program
from minifa.experiments import Experiment, fit, resume, run_folder, trainer_for
from minifa.training import Callback, History, logs

TIMES = {"seconds", "images_per_second"}
XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--batch-size", "2", "--rule", "bp"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every command runs in an empty folder and draws nothing; the backend is restored afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    before = installed()
    yield
    backend._install(*before)


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [{key: cell for key, cell in row.items() if cell and key not in TIMES} for row in csv.DictReader(file)]


def events_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def assert_same_run(one, other):
    assert rows_of(one / "history.csv") == rows_of(other / "history.csv")
    with np.load(one / "network.npz") as a, np.load(other / "network.npz") as b:
        assert a.files == b.files
        assert all(np.array_equal(a[key], b[key]) for key in a.files)


def minifa(*arguments):
    """Starts the command in a separate process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}
    command = [sys.executable, "-u", "-m", "minifa", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(process, words):
    """Reads the output of the process up to a line with these words."""
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the process ended without {words!r}: {process.communicate()[1]}")


# --- killed -----------------------------------------------------------------------------------------------------------

KILLS = 8


def stamp(path):
    """A value that changes when a checkpoint is written; None without one, or while it is being renamed."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.mark.long
def test_killed_at_random_moments_a_run_loses_only_the_last_steps(tmp_path):
    """The moments were drawn once; test_others_files.py has every moment of the start of a run."""
    assert_nothing_is_lost_though_killed(tmp_path, seed=0, kills=KILLS)


@pytest.mark.fuzz
def test_killed_at_any_moment_a_run_loses_only_the_last_steps(tmp_path):
    assert_nothing_is_lost_though_killed(tmp_path, random.randrange(10**6), kills=20)


def assert_nothing_is_lost_though_killed(tmp_path, seed, kills):
    """kill -9 (on Windows TerminateProcess) at moments of training with a checkpoint at every third update."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 6)).astype("float32")
    np.savez("mine.npz", x=x, y=(x[:, 0] * x[:, 1] > 0).astype(int))
    experiment = ["--data", "mine.npz", "--model", "mlp", "--hidden", "8", "--batch-norm", "--rule", "kolen_pollack"]
    experiment += ["--optimizer", "adam", "--lr", "0.003", "--batch-size", "4", "--epochs", "200"]
    assert program.main(["train", *experiment, "--out", "whole"]) == 0

    print(f"moments drawn with seed {seed}")
    moments, run, last_step, positions = random.Random(seed), tmp_path / "run", -1, set()
    for kill in range(kills):
        which = ["--resume", run] if run.exists() else [*experiment, "--out", run]
        before = stamp(run / "last.ckpt")
        process = minifa("train", *which, "--checkpoint-every", "3")
        wait_for(process, "rate 0.003")  # just before training begins
        if kill % 2:  # later, however slow the machine is
            while stamp(run / "last.ckpt") == before and process.poll() is None:
                time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        out, err = process.communicate(timeout=60)
        killed = -9 if os.name == "posix" else 1
        assert process.returncode == killed, f"kill {kill} came too late, or the run failed: {err}"
        place = checkpoints.newest(run / "last.ckpt")
        if place is not None:
            kept = checkpoints.read(place)
            assert kept.step >= last_step
            last_step = kept.step
            positions.add(kept.training["batch"])
    assert last_step > 0 and len(positions) > 1, "no kill came while it was training"
    assert program.main(["train", "--resume", str(run)]) == 0
    assert_same_run(tmp_path / "whole", run)
    events = events_of(run / "log.jsonl")
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(201))  # none twice
    assert events[-1]["event"] == "end" and sum(event["event"] == "resume" for event in events) > 1


def test_a_run_killed_before_the_first_checkpoint_starts_again(capsys):
    assert program.main(["train", *XOR, "--epochs", "4", "--out", "run"]) == 0
    assert program.main(["train", *XOR, "--epochs", "4", "--out", "whole"]) == 0
    for path in ("run/last.ckpt", "run/last.ckpt.previous", "run/network.npz"):
        os.unlink(path)
    assert program.main(["train", "--resume", "run"]) == 0
    assert "no checkpoint was written" in capsys.readouterr().out
    assert_same_run(Path("whole"), Path("run"))
    assert [event.get("epoch") for event in events_of("run/log.jsonl") if event["event"] == "epoch"] == [0, 1, 2, 3, 4]


# --- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to one process on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_prints_how_to_resume(number, code, tmp_path):
    process = minifa("train", *XOR, "--epochs", "100000", "--out", "a run")
    wait_for(process, "model tiny")
    while not (tmp_path / "a run/last.ckpt").exists():
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted in epoch" in err and "\nto resume: minifa train --resume 'a run'\n" in err
    kept = checkpoints.read(tmp_path / "a run/last.ckpt")
    event = events_of(tmp_path / "a run/log.jsonl")[-1]
    assert (event["event"], event["step"]) == ("interrupt", kept.step) and kept.step < 200000
    assert len(rows_of(tmp_path / "a run/history.csv")) == len(kept.training["history"])
    net, _, _ = run_folder.open_run(tmp_path / "a run")
    assert np.array_equal(net["linear1"].W, kept.part("network")["linear1.W"])


class SignalAt(Callback):
    """Sends this process a signal after the given number of updates and records the effect."""

    def __init__(self, *steps):
        self.steps = steps

    def on_step(self, trainer, examples):
        if trainer.net.step in self.steps:
            signal.raise_signal(signal.SIGINT)


def signalled(*steps):
    experiment = Experiment(data="xor", model="tiny", lr=0.1, epochs=4, batch_size=2)
    data = mf.data.load("xor")
    trainer = trainer_for(experiment, data)
    trainer.callbacks.append(SignalAt(*steps))
    return trainer, experiment, data


def test_the_first_signal_stops_between_two_updates():
    before = signal.getsignal(signal.SIGINT)
    trainer, experiment, data = signalled(3)
    with signals.stopping(trainer) as interrupt:
        fit(experiment, data, trainer)
    assert trainer.stopped and (trainer.epoch, trainer.batch) == (2, 1)
    assert interrupt.signal == signal.SIGINT and interrupt.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_ends_the_process_immediately():
    trainer, experiment, data = signalled(3)

    class Again(Callback):
        def on_done(self, trainer):
            signal.raise_signal(signal.SIGINT)  # for example while the checkpoint is being saved

    trainer.callbacks.append(Again())
    with pytest.raises(KeyboardInterrupt), signals.stopping(trainer):
        fit(experiment, data, trainer)


def test_a_run_ended_immediately_prints_how_to_resume(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("minifa.experiments.fit", interrupted)
        given = ["--epochs", "2", "--dtype", "float64", "--out", "run"]
        assert program.main(["train", *XOR, *given]) == 130
    assert "ended at once" in (message := capsys.readouterr().err)
    command = message.splitlines()[-1].removeprefix("to resume: minifa ").split()
    assert command == ["train", "--resume", "run", "--dtype", "float64"]
    assert program.main(command) == 0 and len(rows_of("run/history.csv")) == 3


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trainer, experiment, data = signalled(3)
        with signals.stopping(trainer):
            fit(experiment, data, trainer)
        assert not trainer.stopped and trainer.finished == 4
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_more_epochs_extend_a_run(tmp_path, capsys):
    assert program.main(["train", *XOR, "--rule", "fa", "--epochs", "7", "--out", "whole"]) == 0
    assert program.main(["train", *XOR, "--rule", "fa", "--epochs", "3", "--out", "run"]) == 0
    assert program.main(["train", "--resume", "run", "--epochs", "7"]) == 0
    assert "resuming after epoch 3, step 6" in capsys.readouterr().out
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert run_folder.read_experiment("run").epochs == 7
    assert sorted(os.listdir(tmp_path)) == ["run", "whole"]  # no folder run-2


def test_another_numpy_is_reported_when_a_run_resumes(monkeypatch, capsys):
    assert program.main(["train", *XOR, "--epochs", "1", "--out", "run"]) == 0
    assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert "note:" not in capsys.readouterr().err
    now = {**environment.environment(), "numpy": "9.0"}
    monkeypatch.setattr(environment, "environment", lambda: now)
    assert program.main(["train", "--resume", "run", "--epochs", "3"]) == 0
    message = f"note: the run was started with numpy {np.__version__}, now 9.0: the last bits may differ"
    assert message in capsys.readouterr().err


def test_the_best_network_is_opened_from_its_checkpoint():
    given = ["--model", "mlp", "--hidden", "16", "--rule", "fa", "--lr", "0.05", "--validation", "0.2", "--epochs", "4"]
    assert program.main(["train", *given, "--out", "run"]) == 0
    net, rule, experiment = resume.open_checkpoint("run/best.ckpt")
    held_out = mf.data.load("digits").hold_out(0.2)[1]
    accuracy = (net.predict(held_out.x).argmax(axis=1) == held_out.y).mean()
    assert accuracy == pytest.approx(max(float(row["validation_accuracy"]) for row in rows_of("run/history.csv")))
    assert experiment.rule == rule.name == "fa" and experiment.epochs == 4
    with pytest.raises(checkpoints.CheckpointError, match="keeps no experiment"):
        one = trainer_for(experiment, mf.data.load("digits"))
        checkpoints.save("bare.ckpt", one)
        resume.open_checkpoint("bare.ckpt")
    checkpoints.save("later.ckpt", one, {"colour": "blue"})
    with pytest.raises(
        checkpoints.CheckpointError, match=r"'later\.ckpt' has an experiment .* does not know: .*colour"
    ):
        resume.open_checkpoint("later.ckpt")


def test_a_finished_run_is_unchanged(tmp_path):
    assert program.main(["train", *XOR, "--epochs", "3", "--out", "run"]) == 0
    before = rows_of("run/history.csv"), Path("run/last.ckpt").read_bytes()
    os.unlink("run/network.npz")  # killed after the last epoch, before the result was written
    assert program.main(["train", "--resume", "run"]) == 0
    assert (rows_of("run/history.csv"), Path("run/last.ckpt").read_bytes()) == before
    assert (tmp_path / "run/network.npz").is_file()


def test_a_finished_run_is_reported_as_finished(capsys):
    assert program.main(["train", *XOR, "--epochs", "3", "--out", "run"]) == 0
    capsys.readouterr()
    assert program.main(["train", "--resume", "run"]) == 0
    printed = capsys.readouterr().out
    assert "finished already, with 3 epochs; --epochs 6 continues\n" in printed and "resuming" not in printed
    assert re.search(r"^ +3 +0\.\d", printed, re.M) and "written to run" in printed
    assert program.main(["train", "--resume", "run", "--epochs", "6"]) == 0
    assert "resuming after epoch 3" in capsys.readouterr().out


def test_a_run_that_ended_as_useless_is_reported_again(monkeypatch, capsys):
    monkeypatch.setattr("minifa.training.trainer.PATIENCE", (1, 1))
    useless = ["--model", "cnn", "--rule", "fa", "--lr", "1", "--epochs", "3"]
    assert program.main(["train", *useless, "--out", "run"]) == exit_codes.DIVERGED
    ended, before = capsys.readouterr().err, rows_of("run/history.csv")
    assert re.search(r"training diverged: in epoch 1 the loss was .+, no better than chance; try a smaller --lr", ended)
    assert before[-1]["diverged"] == "1" and len(before) == 2
    assert run_folder.read_results("run")[0].diverged
    assert program.main(["train", "--resume", "run", "--epochs", "5"]) == exit_codes.DIVERGED
    printed, message = capsys.readouterr()
    assert "ended as diverged in epoch 1: start again with a smaller --lr and another --out" in printed
    assert message == ended and rows_of("run/history.csv") == before


@pytest.mark.parametrize("damage", ["", "  \n", "{", "[]", '{"experiment": 7}'])
def test_a_damaged_description_of_a_run_is_read_from_its_checkpoint(damage, tmp_path, capsys):
    assert program.main(["train", *XOR, "--rule", "fa", "--epochs", "4", "--out", "whole"]) == 0
    assert program.main(["train", *XOR, "--rule", "fa", "--epochs", "2", "--out", "run"]) == 0
    config = tmp_path / "run/config.json"
    config.write_text(damage)
    (tmp_path / "run/last.ckpt").rename(tmp_path / "run/last.ckpt.previous")  # as after a kill between two renamings
    assert program.main(["train", "--resume", "run", "--epochs", "4"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert run_folder.read_experiment("run").epochs == 4
    config.write_text(damage)
    for name in ("last.ckpt", "last.ckpt.previous"):
        (tmp_path / "run" / name).write_bytes(b"damaged")
    capsys.readouterr()
    assert program.main(["train", "--resume", "run"]) == 2
    message = capsys.readouterr().err
    why = "it is empty" if not damage.strip() else ""
    assert f"config.json is not the configuration of a run ({why}" in message
    assert "no checkpoint in 'run' says what it was: move the folder away, and make the run again" in message


def test_a_folder_deleted_during_a_run_is_reported_as_gone(monkeypatch, capsys):
    real = mf.metrics.alignment

    def alignment(*arguments):
        shutil.rmtree("run", ignore_errors=True)
        return real(*arguments)

    monkeypatch.setattr("minifa.metrics.alignment", alignment)
    assert program.main(["train", *XOR, "--epochs", "2", "--out", "run"]) == exit_codes.FAILED
    message = capsys.readouterr().err
    assert (
        "history.csv" in message
        and "run is gone, with what was written there: the same command starts again" in message
    )
    assert "nothing was written" not in message
    monkeypatch.setattr(
        compare_command, "_save_runs", lambda folder, results: (shutil.rmtree(folder), open(folder / "runs.csv"))
    )
    compare = ["compare", *XOR, "--rules", "bp", "--seeds", "1", "--epochs", "1", "--jobs", "1", "--out", "c"]
    assert program.main(compare) == exit_codes.FAILED
    assert "c/runs.csv" in capsys.readouterr().err.replace(os.sep, "/")  # and not the deleted folder


def test_the_same_options_may_be_given_again():
    given = ["--rule", "usf:scale=init", "--momentum", "0.5", "--nesterov", "--clip-norm", "3"]
    assert program.main(["train", *XOR, *given, "--epochs", "1", "--out", "run"]) == 0
    assert program.main(["train", *XOR, *given, "--epochs", "2", "--resume", "run"]) == 0
    assert len(rows_of("run/history.csv")) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--lr", "0.2"], "leave out --lr 0.2 (kept: 0.1)"),
        (["--rule", "fa"], "--rule fa (kept: bp)"),
        (["--seed", "1", "--batch-size", "4"], "--batch-size 4 (kept: 2), --seed 1 (kept: 0)"),
        (["--model", "mlp"], "--model mlp (kept: tiny)"),
        (["--depth", "3"], "--depth 3 (kept: none)"),
        (["--momentum", "0.5"], "--momentum 0.5 (kept: 0.9)"),
        (["--nesterov"], "--nesterov true (kept: none)"),
        (["--weight-decay", "0.1"], "--weight-decay 0.1 (kept: 0.0)"),
        (["--validation", "0.5"], "--validation 0.5 (kept: 0.0)"),
        (["--out", "elsewhere"], "--out elsewhere"),
        (["--epochs", "1"], "--epochs 1 (kept: 2, and only more may be asked for)"),
        (["--dtype", "float64"], "network has dtype 'float32', but this training has 'float64'"),
    ],
)
def test_options_that_contradict_are_refused(given, words, capsys):
    assert program.main(["train", *XOR, "--epochs", "2", "--out", "run"]) == 0
    before = {name: Path(f"run/{name}").read_bytes() for name in ("last.ckpt", "history.csv", "config.json")}
    capsys.readouterr()
    assert program.main(["train", "--resume", "run", *given]) == 2
    assert words in capsys.readouterr().err
    assert before == {name: Path(f"run/{name}").read_bytes() for name in before}


def test_a_changed_experiment_or_changed_data_is_refused(tmp_path, capsys):
    x = np.random.default_rng(0).standard_normal((50, 3)).astype("float32")
    np.savez("mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    assert program.main(["train", "--data", "mine.npz", *XOR[2:], "--epochs", "1", "--out", "run"]) == 0
    np.savez("mine.npz", x=x[::-1], y=(x[::-1, 0] > 0).astype(int))
    assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 2
    assert "was trained on other data than mine is now" in capsys.readouterr().err
    np.savez("mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    config = tmp_path / "run/config.json"
    config.write_text(config.read_text().replace('"lr": 0.1', '"lr": 0.3'))
    assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 2
    assert "another experiment than run describes: it has lr 0.1 and not 0.3" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_and_the_previous_one_offered(tmp_path, capsys):
    assert program.main(["train", *XOR, "--rule", "fa", "--epochs", "4", "--out", "whole"]) == 0
    assert (
        program.main(["train", *XOR, "--rule", "fa", "--epochs", "4", "--out", "run", "--checkpoint-every", "3"]) == 0
    )
    last = tmp_path / "run/last.ckpt"
    last.write_bytes(last.read_bytes()[:-7])
    capsys.readouterr()
    assert program.main(["train", "--resume", "run"]) == 2
    message = capsys.readouterr().err
    assert "last.ckpt' is damaged" in message and "last.ckpt.previous', is valid" in message and "--previous" in message
    assert program.main(["train", "--resume", "run", "--previous"]) == 0
    assert "resuming in epoch 3 after 2 batches, step 6" in capsys.readouterr().out
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--resume", "nowhere"], 1, "nowhere is not a folder of a run: it has no config.json"),
        (["--previous"], 2, "--previous goes with --resume RUN"),
        (["--checkpoint-every", "often"], 2, "expected a time as 60s, 10m, 1h, or a number of updates, got often"),
        (["--checkpoint-every", "0"], 2, "expected a time"),
        (["--checkpoint-every", "-5s"], 2, "expected"),
        (["--validation", "1.5"], 2, "above 0 and below 1"),
    ],
)
def test_invalid_arguments_give_a_message_and_write_nothing(arguments, code, words, tmp_path, capsys):
    try:
        given = program.main(["train", *XOR, *arguments])
    except SystemExit as stop:
        given = stop.code
    assert given == code and words in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_comparison_is_not_a_single_run(capsys):
    arguments = ["compare", *XOR, "--rules", "bp,fa", "--seeds", "1", "--epochs", "1", "--jobs", "1", "--out", "both"]
    assert program.main(arguments) == 0
    assert program.main(["train", "--resume", "both"]) == 2
    assert "both holds 2 experiments, and only a single run can be resumed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"), [("60s", (60, None)), ("1.5m", (90, None)), ("2h", (7200, None)), ("500", (60, 500))]
)
def test_checkpoint_intervals_are_parsed(text, expected):
    assert options.how_often(text) == expected


# --- concurrent processes ---------------------------------------------------------------------------------------------


def test_a_folder_in_use_by_another_process_is_refused(capsys):
    assert program.main(["train", *XOR, "--epochs", "1", "--out", "run"]) == 0
    before = Path("run/log.jsonl").read_bytes()
    with run_folder.locked("run"):
        assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 1
        assert f"run is being written by process {os.getpid()} on" in capsys.readouterr().err
    assert Path("run/log.jsonl").read_bytes() == before
    assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 0


def test_a_killed_process_leaves_no_lock(tmp_path):
    process = minifa("train", *XOR, "--epochs", "100000", "--out", "run")
    wait_for(process, "model tiny")
    while not (tmp_path / "run/last.ckpt").exists():
        time.sleep(0.01)
    with pytest.raises(run_folder.RunInUse, match=f"process {process.pid} on"), run_folder.locked("run"):
        pass
    process.kill()
    process.communicate(timeout=60)
    with run_folder.locked("run"):
        pass


# --- logs -------------------------------------------------------------------------------------------------------------


def test_the_logs_are_written_after_every_epoch(tmp_path):
    """The table is always what `History.save_csv` would write, and grows a line at a time."""
    seen = []

    class Look(Callback):
        def on_recorded(self, trainer):
            trainer.history.save_csv("expected.csv")
            assert (tmp_path / "history.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
            seen.append([event["event"] for event in events_of("log.jsonl")])

    experiment, data = Experiment(data="xor", model="tiny", rule="fa", lr=0.1, epochs=2), mf.data.load("xor")
    trainer = trainer_for(experiment, data)
    trainer.callbacks += [logs.WriteLogs(tmp_path), Look()]
    result = fit(experiment, data, trainer)
    assert seen == [["start", "epoch"], ["start", "epoch", "epoch"], ["start", "epoch", "epoch", "epoch"]]
    start, *epochs, end = events_of("log.jsonl")
    assert start["environment"]["numpy"] == np.__version__ and start["epochs"] == 2
    assert [{key: one[key] for key in row} for one, row in zip(epochs, result.history, strict=True)] == result.history
    assert (end["event"], end["step"], end["diverged"]) == ("end", 2, False)


def test_a_non_finite_number_is_a_string_in_the_log(tmp_path):
    assert program.main(["train", *XOR[:4], "--lr", "1e30", "--loss", "half_squared_error", "--out", "run"]) == 3
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert events[-1]["diverged"] is True and events[-2]["train_loss"] in ("nan", "inf")


def test_numpy_scalars_in_a_row_are_numbers_in_the_log_and_in_a_checkpoint(tmp_path):
    class Measure(Callback):
        def on_epoch(self, trainer, row):
            row.update(share=np.float32(0.5), count=np.int64(3), lost=np.float32(np.nan))

    experiment, data = Experiment(data="xor", model="tiny", lr=0.1, epochs=1), mf.data.load("xor")
    trainer = trainer_for(experiment, data)
    trainer.callbacks += [Measure(), logs.WriteLogs(tmp_path)]
    fit(experiment, data, trainer)
    logged = [event for event in events_of("log.jsonl") if event["event"] == "epoch"][-1]
    assert (logged["share"], logged["count"], logged["lost"]) == (0.5, 3, "nan")
    checkpoints.save("one.ckpt", trainer)
    kept = checkpoints.read("one.ckpt").training["history"][-1]
    assert (kept["share"], kept["count"]) == (0.5, 3) and type(kept["count"]) is int and np.isnan(kept["lost"])
    trainer.history[-1]["seen"] = {1, 2}
    with pytest.raises(TypeError, match=r"must consist of numbers, strings, lists and dictionaries, got \{1, 2\}"):
        checkpoints.save("two.ckpt", trainer)
    assert not (tmp_path / "two.ckpt").exists()


def test_logs_are_truncated_to_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = ['{"event": "start"}', '{"event": "epoch", "epoch": 1}', '{"event": "epoch", "epoch": 2}']
    path.write_text("\n".join([*lines, '{"event": "interrupt"}', "[3]", '{"event": "epo']))
    assert logs.lines_of(path, [0, 1]) == [*lines[:2], '{"event": "interrupt"}']
    assert logs.lines_of(tmp_path / "none.jsonl", [0]) == []


def test_an_older_checkpoint_truncates_the_table(tmp_path):
    assert program.main(["train", *XOR, "--epochs", "6", "--out", "run"]) == 0
    whole = rows_of("run/history.csv")
    one = History.read_csv("run/history.csv")
    experiment, data = run_folder.read_experiment("run"), mf.data.load("xor")
    trainer = trainer_for(experiment, data)
    resume.resume_training("run", experiment, data, trainer, previous=True)
    assert trainer.finished < len(one) - 1
    resume.attach_callbacks("run", experiment, trainer)
    trainer.stop()
    fit(experiment, data, trainer)
    assert rows_of("run/history.csv") == whole[: trainer.finished + 1]
    assert program.main(["train", "--resume", "run"]) == 0
    assert rows_of("run/history.csv") == whole
    epochs = [event["epoch"] for event in events_of("run/log.jsonl") if event["event"] == "epoch"]
    assert epochs == list(range(7))


def scalars_of(folder):
    """(tag, step) to value of all event files in order, without the values purged by a later file, as in TensorBoard.
    A record is a length, its checksum, an event and its checksum."""
    from tensorboardX.proto import event_pb2

    scalars = {}
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack("<Q", content[place : place + 8])
            event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
            place += length + 16
            if event.HasField("session_log"):
                scalars = {key: value for key, value in scalars.items() if key[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in scalars
                scalars[value.tag, event.step] = value.simple_value
    return scalars


def test_tensorboard_receives_every_number_with_angles_by_layer(tmp_path):
    pytest.importorskip("tensorboardX", reason="event files need tensorboardX: pip install '.[tensorboard]'")
    given = ["--rule", "fa", "--epochs", "2", "--out", "run", "--tensorboard"]
    assert program.main(["train", *XOR, *given]) == 0
    assert program.main(["train", "--resume", "run", "--epochs", "3", "--tensorboard"]) == 0
    scalars, rows = scalars_of(tmp_path / "run/tensorboard"), rows_of("run/history.csv")
    for epoch, row in enumerate(rows):
        assert scalars["weight_angle/linear2", epoch] == pytest.approx(float(row["linear2.weight_angle"]), rel=1e-6)
        assert scalars["accuracy/test", epoch] == pytest.approx(float(row["test_accuracy"]))
    assert {epoch for _, epoch in scalars} == {0, 1, 2, 3}
    assert {tag for tag, _ in scalars} >= {"loss/train", "lr", "true_angle/linear1"}


def test_without_the_writer_tensorboard_is_refused_with_a_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert program.main(["train", *XOR, "--tensorboard"]) == 2
    assert re.search(r"need the package tensorboardX: pip install \"\.\[tensorboard\]\"", capsys.readouterr().err)
    assert os.listdir(tmp_path) == []
