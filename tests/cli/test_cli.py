"""The command line: its output, its files, its answers to invalid arguments, and its exit codes."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import installed

import minifa as mf
from minifa import backend, checkpoints, experiments
from minifa.cli import exit_codes, options, program
from minifa.data.base import DataFileError
from minifa.experiments import run_folder, tables
from minifa.explorer import page as explorer
from minifa.tracing import stepper

SMALL = ["--model", "mlp", "--epochs", "2", "--lr", "0.05"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every command runs in an empty folder, and the backend is restored afterwards."""
    monkeypatch.chdir(tmp_path)
    before = installed()
    yield
    backend._install(*before)


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_compare_writes_table_curves_and_figure(tmp_path, capsys):
    code = program.main(["compare", *SMALL, "--rules", "bp,fa", "--seeds", "2", "--jobs", "1", "--out", "result"])
    printed = capsys.readouterr().out
    assert code == 0
    assert re.search(r"^bp +0\.05 +0\.\d{3} ± 0\.\d{3} +0\.0°", printed, re.M)
    setting, table = (tmp_path / "result/table.txt").read_text(encoding="utf-8").split("\n\n", 1)
    assert setting in printed and table.strip() in printed
    rows = rows_of("result/runs.csv")
    assert {(r["rule"], r["seed"], r["epoch"]) for r in rows} == {
        (rule, seed, epoch) for rule in ("bp", "fa") for seed in "01" for epoch in "012"
    }
    # The printed mean is the mean of the last epochs in the file.
    last = [float(r["test_accuracy"]) for r in rows if r["rule"] == "fa" and r["epoch"] == "2"]
    assert f"{np.mean(last):.3f} ± {np.std(last, ddof=1):.3f}" in printed
    with open("result/figures/comparison.png", "rb") as picture:
        assert picture.read(4) == b"\x89PNG"
    config = json.loads((tmp_path / "result/config.json").read_text(encoding="utf-8"))
    assert [e["rule"] for e in config["experiments"]].count("fa") == 2


@pytest.mark.usefixtures("draws_nothing")
def test_worker_processes_give_the_same_numbers(capsys):
    arguments = ["compare", *SMALL, "--rules", "bp,usf", "--seeds", "1"]
    assert program.main([*arguments, "--jobs", "1", "--out", "one"]) == 0
    assert program.main([*arguments, "--jobs", "2", "--out", "two"]) == 0
    measured = [
        [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
            for row in rows_of(f"{name}/runs.csv")
        ]
        for name in ("one", "two")
    ]
    assert measured[0] == measured[1]  # in the requested order, whichever process was faster


def test_tune_saves_the_search_and_uses_its_best_rate(monkeypatch, capsys):
    monkeypatch.setattr("minifa.experiments.tuning.RATES", range(-8, -7))
    monkeypatch.setattr("minifa.experiments.tuning.WIDEST", range(-8, -6))
    code = program.main(
        ["compare", *SMALL[:4], "--rules", "bp", "--seeds", "1", "--jobs", "1", "--tune", "--out", "tuned"]
    )
    assert code == 0
    rates = rows_of("tuned/rates.csv")
    assert [(float(r["lr"]), r["seeds"]) for r in rates] == [(1e-4, "5"), (3e-4, "5")]
    (best,) = (r for r in rates if r["chosen"] == "1")
    assert {r["rate"] for r in rows_of("tuned/runs.csv")} == {best["lr"]}
    assert {r["seed"] for r in rows_of("tuned/trials.csv")} == {"100", "101", "102", "103", "104"}


def test_the_source_of_the_rates_is_printed(monkeypatch, capsys):
    """The stored grid, the default where no grid was run, or the requested rate."""
    monkeypatch.setattr(experiments, "run_many", lambda grid, jobs, progress: (one for one in ()))
    sources = {}
    for given in (["--rules", "bp,fa"], ["--rules", "bp,fa:sparsity=0.5"], ["--lr", "0.05"], ["--epochs", "60"]):
        assert program.main(["compare", "--data", "digits", "--model", "cnn", *given, "--seeds", "1"]) == 0
        sources[given[-1]] = re.search(r"seed 0, (.*) \d runs?,", " ".join(capsys.readouterr().out.split()))[1]
    assert sources["bp,fa"] == "tuned rates"
    assert sources["bp,fa:sparsity=0.5"] == (
        f"rate {experiments.experiment.UNTUNED_RATE:g} for fa:sparsity=0.5: not tuned for this setting (minifa tune "
        "does that)"
    )
    assert sources["0.05"] == "rate 0.05"
    assert sources["60"] == "tuned rates (with 15 epochs)"


def test_rules_all_omits_unsuitable_rules_and_prints_the_reason(monkeypatch, capsys, tmp_path):
    asked = []

    def listen(grid, jobs, progress):
        asked.extend(grid)
        yield from ()

    monkeypatch.setattr(experiments, "run_many", listen)
    given = ["--data", "digits", "--model", "mlp", "--batch-norm", "--lr", "0.05", "--seeds", "1"]
    assert program.main(["compare", "--rules", "all", *given]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    refusing = [name for name, rule in mf.rules.RULES.items() if rule.accepts and name not in ("di", "pbp")]
    assert all(f"left out {name}: " in printed for name in refusing)
    assert (
        "left out node_perturbation: under node perturbation the examples must be independent, and BatchNorm "
        "'batchnorm1' mixes the batch: use a network without batch norm"
    ) in printed
    assert "left out dtp: the rule 'dtp' can send no target through BatchNorm 'batchnorm1'" in printed
    assert [one.rule for one in asked] == [name for name in mf.rules.RULES if name not in refusing]
    shown = []
    monkeypatch.setattr(explorer, "explore", lambda experiment, data, names, *rest: shown.extend(names) or "")
    page = tmp_path / "page.html"
    assert program.main(["explore", "--rules", "all", *given[:-2], "-o", str(page)]) == 0
    assert capsys.readouterr().out.count("left out") == len(refusing) and shown == [one.rule for one in asked]


@pytest.mark.usefixtures("draws_nothing")
def test_a_model_of_one_hidden_layer_takes_one_width(tmp_path):
    given = ["--data", "xor", "--model", "tiny", "--hidden", "7", "--lr", "0.1", "--epochs", "1"]
    assert program.main(["train", *given, "--out", "run"]) == 0
    net, _, experiment = run_folder.open_run("run")
    assert experiment.model_options == {"hidden": 7} and net["linear1"].W.shape == (2, 7)


@pytest.mark.usefixtures("draws_nothing")
def test_a_frozen_layer_does_not_get_the_angle_of_another_layer(capsys):
    given = ["--data", "xor", "--model", "tiny", "--freeze", "linear1", "--lr", "0.1", "--epochs", "1", "--jobs", "1"]
    assert program.main(["compare", "--rules", "bp", "--seeds", "1", *given]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^bp +0\.1 +\d\.\d+ +- +- +[\d.]+$", printed, re.M)
    assert re.search(r"^bp +- +0\.0$", printed, re.M)


@pytest.mark.usefixtures("draws_nothing")
def test_train_writes_a_run_that_can_be_opened(tmp_path, capsys):
    assert program.main(["train", *SMALL, "--rule", "fa", "--seed", "3", "--out", "run"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"linear2 +Linear +10 +5,010 +5,000", printed)  # the summary, with feedback beside the parameters
    history = rows_of("run/history.csv")
    assert [row["epoch"] for row in history] == ["0", "1", "2"]
    net, rule, experiment = run_folder.open_run("run")
    data = mf.data.load("digits")
    accuracy = (net.predict(data.test.x).argmax(axis=1) == data.test.y).mean()
    assert accuracy == pytest.approx(float(history[-1]["test_accuracy"]))
    angle = mf.metrics.alignment(net, rule, data.train.x[:256], data.train.y[:256], mf.SoftmaxCrossEntropy())
    assert angle["linear2"]["weight_angle"] == pytest.approx(float(history[-1]["linear2.weight_angle"]))
    assert experiment.seed == 3


def test_an_existing_folder_is_never_overwritten(tmp_path):
    for expected in ("run", "run-2", "run-3"):
        assert run_folder.new_folder("run").name == expected


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda folder: (folder / "network.npz").write_bytes(b"PK\x03\x04 nonsense"), DataFileError),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), DataFileError),
        (lambda folder: (folder / "config.json").write_text('{"experiment": {"colour": 1}}'), DataFileError),
        (lambda folder: (folder / "network.npz").unlink(), FileNotFoundError),
    ],
)
@pytest.mark.usefixtures("draws_nothing")
def test_a_damaged_run_is_refused_by_name(tmp_path, damage, error):
    program.main(["train", *SMALL[:2], "--epochs", "1", "--out", "run"])
    damage(tmp_path / "run")
    with pytest.raises(error, match="run"):
        run_folder.open_run(tmp_path / "run")


@pytest.mark.usefixtures("draws_nothing")
def test_user_data_are_read_from_a_file(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5)).astype("float32")
    np.savez(tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    given = ["--data", "mine.npz", "--lr", "0.05", "--epochs", "1", "--batch-size", "16"]
    assert program.main(["train", *given]) == 0  # the model fits the data: no images, hence no cnn
    assert program.main(["compare", *given, "--rules", "bp", "--seeds", "1", "--jobs", "1"]) == 0
    assert (tmp_path / "runs/mine-mlp-fa-1/network.npz").is_file()


def test_regression_has_no_accuracy(capsys):
    assert program.main(["compare", "--data", "lillicrap", "--model", "linear_task", "--rules", "bp,fa", "--seeds", "1",
                     "--lr", "0.001", "--epochs", "1", "--jobs", "1"]) == 0  # fmt: skip
    assert "minus loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["comprae"], 2, "unknown command 'comprae': did you mean compare?"),
        (["compare", "--rulse", "fa"], 2, "unknown option '--rulse': did you mean --rules"),
        (["compare", "--rules", "bp,uff"], 2, "unknown rule 'uff': did you mean usf"),
        (["compare", "--rules", "fa:sparsty=0.5"], 2, "unknown option of rule 'fa' 'sparsty': did you mean sparsity"),
        (["compare", "--rules", "fa:sparsity=2"], 2, "sparsity must be at least 0 and below 1, got 2"),
        (["compare", "--rules", "bp,bp"], 2, "one twice"),
        (["train", "--data", "digit"], 2, "did you mean"),
        (["train", "--model", "cn"], 2, "unknown model 'cn': did you mean cnn"),
        (["train", "--model", "mlp", "--depth", "3"], 2, "depth"),
        (["train", "--optimizer", "sdg"], 2, "unknown optimizer 'sdg': did you mean sgd"),
        (["train", "--rule", "fx"], 2, "unknown rule 'fx': did you mean"),
        (["train", "--schedule", "warm_up:epochs=2,then=cosine"], 2, "then must be a function of the epoch"),
        (["train", "--epochs", "x"], 2, "from 1 up"),
        (["train", "--lr", "-1"], 2, "lr must be at least"),
        (["train", "--lr", "-1e-3"], 2, "lr must be at least 0 and finite, got -0.001"),
        (["step", "--lr", "-inf"], 2, "lr must be at least 0 and finite, got -inf"),
        (["train", "--lr", "ten"], 2, "--lr: expected a number, got ten"),
        (["train", "--momentum", "-1e-1"], 2, "momentum must be at least 0 and below 1, got -0.1"),
        (["train", "--weight-decay", "-1E-4"], 2, "weight_decay must be at least 0 and finite, got -0.000"),
        (["train", "--clip-norm", "-.5e1"], 2, "clip_norm must be above 0, got -5.0"),
        (["train", "--validation", "-1e-1"], 2, "the held-out fraction must be above 0 and below 1, got -0.1"),
        (["train", "--seed", "-1"], 2, "--seed: expected a whole number from 0 up, got -1"),
        (["train", "--seed", "-1e3"], 2, "--seed: expected a whole number from 0 up, got -1e3"),
        *(
            ([command, option, "-1e1"], 2, f"{option}: expected a whole number from {least} up, got -1e1")
            for command, option, least in (
                ("train", "--epochs", 1),
                ("train", "--batch-size", 1),
                ("train", "--threads", 1),
                ("train", "--depth", 1),
                ("train", "--hidden", 1),
                ("compare", "--seeds", 1),
                ("compare", "--jobs", 1),
                ("tune", "--seeds", 2),
                ("step", "--updates", 0),
                ("explore", "--train-updates", 1),
                ("bench", "--repeats", 1),
                ("bench", "--depths", 1),
            )
        ),
        (["tune", "--rates", "-1e-3:1"], 2, "--rates: expected two rates as 1e-4:3e-2"),
        (["train", "--checkpoint-every", "-1e1s"], 2, "expected a time as 60s, 10m, 1h, or a number of updates"),
        (["train", "--schedule", "step:size=1,gamma=-1"], 2, "gamma must be at least 0 and finite, got -1"),
        (["train", "--schedule", "multi_step:milestones=2+-1"], 2, "each of milestones must be at least 0 and finite"),
        (["train", "--schedule", "cosine:epochs=2,least=nan"], 2, "least must be at least 0 and finite"),
        (["train", "--epochs", "0"], 2, "from 1 up"),
        (["train", "--data", "missing.npz"], 1, "missing.npz"),
        (["compare", "--model", "cnn", "--data", "lillicrap"], 2, "needs images"),
        (["compare", "--model", "lenet", "--rules", "all"], 2, "cannot take images of 8 x 8 x 1"),
        (["train", "--model", "tiny", "--hidden", "5,3"], 2, "'tiny' has one hidden layer, got 2 widths"),
        (["bench", "--models", "vgg"], 2, "unknown bench network vgg"),
        (["info", "--backend", "cupy"], 1, "cupy"),
    ],
)
def test_invalid_arguments_give_a_message_and_write_nothing(tmp_path, arguments, code, words, capsys):
    if "cupy" in arguments and "not usable" not in backend.cupy_status():
        pytest.skip("CuPy can be used here, so asking for it is no mistake")
    try:
        given = program.main(arguments)
    except SystemExit as stop:  # the exit of argparse
        given = stop.code
    assert given == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_diverging_run_is_saved_and_reported(capsys):
    code = program.main(["train", "--model", "mlp", "--rule", "bp", "--epochs", "3", "--lr", "1e9", "--out", "run"])
    assert code == exit_codes.DIVERGED == 3
    assert re.search(
        r"training diverged: in update \d+ .* in the \w+.* of '\w+'; try a smaller --lr", capsys.readouterr().err
    )
    assert len(rows_of("run/history.csv")) == 2  # the start and the epoch of the divergence


def test_a_comparison_of_diverging_runs_ends_with_their_exit_code(capsys):
    setting = ["--data", "xor", "--model", "tiny", "--epochs", "2", "--seeds", "1", "--jobs", "1", "--lr", "1e30"]
    assert program.main(["compare", *setting, "--rules", "bp,fa"]) == exit_codes.DIVERGED
    printed = capsys.readouterr().out
    assert "Every run diverged; a smaller --lr may help." in printed and "best score" not in printed


def test_rules_and_info_print_the_rules_and_the_environment(capsys):
    assert program.main(["rules"]) == 0 == program.main(["info"])
    printed = capsys.readouterr().out
    for rule in mf.rules.RULES.values():
        assert rule.name in printed and rule.equation in printed and rule.paper in printed
    assert program.main(["rules", "dtp"]) == 0
    assert "accepts: networks of Linear, Conv2d, LocallyConnected2d, activations" in capsys.readouterr().out
    assert "embedded" in printed and np.__version__ in printed


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_keeps_the_finished_runs(tmp_path):
    """Interrupted after the first finished run, compare writes that run and reports the interruption."""
    command = [sys.executable, "-u", "-m", "minifa", "compare", *SMALL[:2], "--lr", "0.01", "--epochs", "8"]
    command += ["--rules", "bp,fa", "--seeds", "40", "--jobs", "2", "--out", "cut"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    process.stdout.readline()  # the setting: the runs begin now
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = int(re.search(r"interrupted: (\d+) of 80 runs", err)[1])
    finished = {(r["rule"], r["seed"]) for r in rows_of("cut/runs.csv")} if kept else set()
    assert len(finished) == kept < 80


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_in_training_keeps_the_epochs_before_it(tmp_path):
    command = [
        sys.executable,
        "-u",
        "-m",
        "minifa",
        "train",
        "--model",
        "mlp",
        "--lr",
        "0.01",
        "--epochs",
        "5000",
        "--out",
        "cut",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while not process.stdout.readline().startswith("digits ("):  # the setting: training begins now
        pass
    log = Path("cut/log.jsonl")
    while not (log.exists() and '"event": "epoch"' in log.read_text(encoding="utf-8")):
        assert process.poll() is None, "training ended before its first epoch"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted in epoch" in err
    history = rows_of("cut/history.csv")
    assert 1 <= len(history) < 5000
    assert run_folder.open_run("cut")[0]["linear1"].W.shape == (64, 500)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bp,fa", ["bp", "fa"]),
        ("bp fa:sparsity=0.5,normalise=strict,usf", ["bp", "fa:sparsity=0.5,normalise=strict", "usf"]),
        ("all", list(mf.rules.RULES)),
    ],
)
def test_a_list_of_rules_is_split_at_the_start_of_each_rule(text, expected):
    assert mf.rules.split(text) == expected


def test_options_at_their_defaults_find_the_stored_rates():
    def rate_of(*arguments):
        parsed = program.make_parser().parse_args(["train", *arguments])
        return options.make_experiment(parsed, "fa").rate()

    assert rate_of() == rate_of("--depth", "6") != rate_of("--depth", "2")
    assert rate_of("--optimizer", "adam") == 1e-2  # from its own grid
    assert rate_of("--optimizer", "rmsprop") == 0.01  # its own default


def test_training_options_reach_the_optimizer():
    arguments = ["train", "--nesterov", "--clip-norm", "2", "--manhattan", "--constrain-weights", "--freeze-signs"]
    experiment = options.make_experiment(program.make_parser().parse_args(arguments), "bp")
    _, _, _, optimizer = experiments.build(experiment, mf.data.load("digits"))
    assert optimizer.nesterov and optimizer.manhattan and optimizer.constrain_weights and optimizer.freeze_signs
    assert (optimizer.clip_norm, optimizer.momentum, optimizer.decay_bias, optimizer.lr_factors) == (2, 0.9, True, None)


@pytest.mark.usefixtures("draws_nothing")
def test_a_smaller_last_batch_is_dropped_in_a_run_and_when_it_is_resumed(capsys):
    """An epoch has 1,000 of the 1,437 training examples."""
    small = ["--model", "mlp", "--hidden", "2", "--batch-size", "1000", "--drop-last", "--lr", "0.1"]
    assert program.main(["train", *small, "--epochs", "1", "--out", "run"]) == 0
    assert "batch 1000 (a smaller last one is dropped)" in " ".join(capsys.readouterr().out.split())
    assert program.main(["train", "--resume", "run", "--epochs", "2"]) == 0
    (result,) = run_folder.read_results("run")
    assert result.experiment.drop_last and len(result.history) == 3
    assert checkpoints.read("run/last.ckpt").training["seen"] == 1000
    assert tables.ms_per_step(result) > 0
    later = {"drop_last", "targets", "kernels"}  # not in configurations of earlier versions
    assert not later & experiments.Experiment().as_config().keys()
    with pytest.raises(ValueError, match="1437 examples in batches of 2000 leave no batch"):
        stepper.Replay(dataclasses.replace(result.experiment, batch_size=2000), mf.data.load("digits")).batch()


def test_untied_layers_and_their_sharing_are_options(tmp_path, capsys):
    setting = ["--data", "digits", "--model", "cnn", "--depth", "1", "--untied", "--equal-start", "--rule", "fa"]
    sharing = ["--share-weights", "every=10,group=kernel", "--epochs", "1", "--batch-size", "300", "--quiet"]
    assert program.main(["train", *setting, *sharing, "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"locallyconnected1 +LocallyConnected2d .* 9,232 ", capsys.readouterr().out)
    net, _, experiment = run_folder.open_run(tmp_path / "run")
    assert net["locallyconnected1"].W.shape == (8, 8, 3, 3, 1, 16) and net["locallyconnected1"].equal_start
    _, _, _, optimizer = experiments.build(experiment, mf.data.load("digits"))
    assert repr(optimizer.share_weights) == "ShareWeights(every=10, group='kernel')"


def test_parameter_groups_are_options(capsys):
    def made(*arguments):
        parsed = program.make_parser().parse_args(["train", *arguments])
        return options.make_experiment(parsed, "bp")

    experiment = made("--no-decay-bias", "--lr-factors", "conv*=0.1, linear1.b=0")
    _, _, _, optimizer = experiments.build(experiment, mf.data.load("digits"))
    assert (optimizer.decay_bias, optimizer.lr_factors) == (False, {"conv*": 0.1, "linear1.b": 0.0})
    assert made("--decay-bias") == made()  # the default is not stored
    assert options.contradictions({"decay_bias": False}, made()) == ["--decay-bias false (kept: true)"]
    with pytest.raises(ValueError, match="did you mean linear1"):
        experiments.build(made("--lr-factors", "linera1=0"), mf.data.load("digits"))
    with pytest.raises(SystemExit):
        made("--lr-factors", "0.1")
    assert "expected factors by names, as conv*=0.1,linear2.b=0, got 0.1" in capsys.readouterr().err


@pytest.mark.usefixtures("draws_nothing")
def test_the_printed_rate_is_the_rate_in_use(capsys):
    """RMSprop, for which no grid was run, keeps its own default, and the output says so."""
    assert program.main(["train", "--model", "mlp", "--optimizer", "rmsprop", "--epochs", "1", "--out", "run"]) == 0
    assert "rate 0.01 for fa: not tuned for this setting" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("draws_nothing")
def test_a_copy_of_the_data_is_reported_beside_every_number(monkeypatch, capsys):
    copied = dataclasses.replace(mf.data.load("digits"), note="digits from a copy")
    monkeypatch.setattr(mf.data, "load", lambda *arguments: copied)
    assert program.main(["train", *SMALL, "--out", "run"]) == 0
    assert "\n\ndigits from a copy\n" in capsys.readouterr().out
    assert program.main(["compare", *SMALL, "--rules", "bp", "--seeds", "1", "--jobs", "1", "--out", "both"]) == 0
    assert "\n\ndigits from a copy\n" in capsys.readouterr().out
