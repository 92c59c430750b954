"""`minifa attack`: its table, its files, and what it refuses."""

import csv

import pytest
from conftest import installed

import minifa as mf
from minifa import attacks, backend
from minifa.cli import program

TRAIN = ["--data", "xor", "--model", "mlp", "--hidden", "4", "--epochs", "1", "--lr", "0.1", "--quiet"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = installed()
    yield
    backend._install(*before)


def trained(*rules, data="xor", options=()):
    for rule in rules:
        command = ["train", *TRAIN, "--data", data, "--rule", rule, "--out", f"runs/{rule}", *options]
        assert program.main(command) == 0


def attack(capsys, *arguments):
    code = program.main(["attack", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_several_runs_are_attacked_into_a_new_folder_with_a_table_a_csv_file_and_a_figure(tmp_path, capsys):
    trained("bp", "dfa")
    capsys.readouterr()
    code, out, err = attack(capsys, "runs/bp", "runs/dfa", "--eps", "1/4,2", "--steps", "3")
    assert code == 0 and not err
    assert "eps in units of the network's inputs, which are not clipped" in " ".join(out.split())
    assert "FGSM" in out and "PGD" in out and "dfa: the rule 'dfa' carries no error to the inputs" in out
    folder = tmp_path / "runs/attack-1"
    assert (folder / "figures/attack.png").read_bytes()[:4] == b"\x89PNG"
    with open(folder / "attack.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["eps"]) for row in rows] == [
        (run, eps) for run in ("bp", "dfa") for eps in ("0.25", "2.0")
    ]
    # The same as in Python, from the same runs.
    opened = {name: mf.load_run(f"runs/{name}") for name in ("bp", "dfa")}
    networks = {name: (run.net, run.rule, mf.SoftmaxCrossEntropy()) for name, run in opened.items()}
    data = mf.data.load("xor")
    report = mf.attacks.measure(
        networks, data.test, [0.25, 2.0], mf.attacks.units_of(data), steps=3, source=networks["bp"]
    )
    for row, same in zip(rows, report.rows, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in same.items()}


def test_one_run_is_attacked_in_its_folder_and_saved_networks_with_a_data_set(tmp_path, capsys):
    trained("fa", data="digits")
    run = mf.load_run("runs/fa")
    run.net.save("fa.npz", run.rule)
    run.net.save("plain.npz")
    capsys.readouterr()
    few = ["--examples", "20", "--eps", "8/255", "--attack", "fgsm", "--from", "plain.npz", "--data", "digits"]
    code, out, err = attack(capsys, "runs/fa", *few)
    assert (code, err) == (0, "") and "8/255" in out and "from bp" in " ".join(out.split())
    assert "PGD" not in out
    page = (tmp_path / "runs/fa/index.html").read_text(encoding="utf-8")
    assert (tmp_path / "runs/fa/attack.csv").is_file() and 'href="attack.csv"' in page and "attack.png" in page
    code, again, _ = attack(capsys, "fa.npz", *few, "--out", "mine")
    assert code == 0 and (tmp_path / "mine/attack.csv").read_bytes() == (tmp_path / "runs/fa/attack.csv").read_bytes()
    assert again.partition("written to")[0] == out.partition("written to")[0]
    # The feedback is drawn again where the rule was not saved.
    code, _, _ = attack(capsys, "plain.npz", *few[:-4], "--data", "digits", "--rule", "fa", "--out", "redrawn")
    redrawn, saved = (mf.training.History.read_csv(tmp_path / name / "attack.csv")[0] for name in ("redrawn", "mine"))
    assert code == 0 and all(redrawn[key] == saved[key] for key in ("fgsm_own", "fgsm_margin", "cosine"))
    # Two networks of the same rule are told apart by their paths.
    code, out, _ = attack(capsys, "fa.npz", "runs/fa", "--examples", "5", "--attack", "fgsm", "--data", "digits")
    assert code == 0 and "No network to transfer from" in out
    assert out.count("\nfa.npz ") == out.count("\nruns/fa ") == 2


def test_an_interrupted_attack_keeps_its_rows_and_says_how_many_there_are(tmp_path, monkeypatch, capsys):
    trained("bp")
    measure_into = attacks.measure_into

    def interrupted(*arguments):
        yield next(measure_into(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(attacks, "measure_into", interrupted)
    capsys.readouterr()
    code, out, err = attack(capsys, "runs/bp", "--eps", "1,2,1", "--attack", "fgsm")
    assert code == 130 and "interrupted, 1 of 2 rows are finished" in err and "FGSM" in out
    with open(tmp_path / "runs/bp/attack.csv", encoding="utf-8", newline="") as file:
        assert [row["eps"] for row in csv.DictReader(file)] == ["1.0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder of a run"),
        (["net.npz"], "'net.npz' is a saved network without its data set: name the data set, as --data digits"),
        (["runs/bp", "--eps", "8/0"], "expected sizes as 2/255,8/255 or 0.1, got 8/0"),
        (["runs/bp", "--eps", "nan"], "expected sizes as 2/255,8/255 or 0.1, got nan"),
        (["runs/bp", "--attack", "fgms"], "expected fgsm, pgd or fgsm,pgd, got fgms"),
        (
            ["net.npz", "--data", "digits", "--rule", "kolen_pollack"],
            "the feedback of the rule 'kolen_pollack' is lear",
        ),
        (["runs/bp", "net.npz", "--data", "digits"], "all networks must have the same data set and augmentation"),
    ],
)
def test_what_cannot_be_attacked_is_refused_in_a_sentence(arguments, message, capsys):
    if "runs/bp" in arguments and "net.npz" in arguments:
        trained("bp")
    mf.Network([mf.Flatten(), mf.Linear(64, 10)], input_shape=(8, 8, 1)).save("net.npz")
    capsys.readouterr()
    try:
        code, _, err = attack(capsys, *arguments)
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code != 0 and message in err
