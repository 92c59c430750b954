"""--quiet: no progress bar under any command, and the results as without it; bars in Python are switched off by
``progress=False``."""

import contextlib

import pytest
import tqdm

from minifa import cli
from minifa.experiments import Experiment, run_many
from minifa.testing import doctor

XOR = ["--data", "xor", "--model", "tiny", "--epochs", "1", "--lr", "0.1"]
SWEEP = '[data]\nname = "xor"\n[model]\nname = "tiny"\n[training]\nepochs = 1\n[over]\n"optimizer.lr" = [0.1]\n'
TABLE = SWEEP.partition("[over]")[0] + '[optimizer]\nlr = 0.1\n[[row]]\nname = "bp"\nseeds = 1\n'
COMMANDS = {
    "train": ["train", *XOR],
    "compare": ["compare", *XOR, "--rules", "bp", "--seeds", "1", "--jobs", "1"],
    "tune": ["tune", *XOR[:-2], "--rules", "bp", "--rates", "1e-1:1e-1", "--seeds", "2", "--jobs", "1"],
    "sweep": ["sweep", "sweep.toml", "--jobs", "1"],
    "reproduce": ["reproduce", "table.toml", "--jobs", "1"],
    "explore": ["explore", *XOR[:4], "--rules", "bp", "--train-updates", "1"],
    "bench": ["bench", "--memory", "--depths", "1", "--rules", "bp", "--batch-size", "2"],
    "doctor": ["doctor"],
}


@pytest.fixture
def bars(monkeypatch):
    """Whether each bar that is made is switched off, in any terminal."""
    made = []

    class Recorded(tqdm.tqdm):
        def __init__(self, *given, disable=None, **options):
            made.append(bool(disable))
            super().__init__(*given, disable=True, **options)

    monkeypatch.setattr(tqdm, "tqdm", Recorded)
    monkeypatch.setattr(doctor, "checks", lambda: [])
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    (tmp_path / "table.toml").write_text(TABLE, encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("draws_nothing")
def test_under_quiet_a_command_shows_no_bar_but_its_results(name, bars, folder, capsys):
    assert cli.main([*COMMANDS[name], "--quiet"]) == 0
    assert bars == [] if name == "train" else set(bars) == {True}
    printed = capsys.readouterr().out
    assert printed.strip() and "to run, the table is" not in printed


@pytest.mark.usefixtures("draws_nothing")
def test_otherwise_it_shows_a_bar(bars, folder):
    assert cli.main(COMMANDS["train"]) == 0
    assert bars == [False]


@pytest.mark.parametrize("progress", [True, False])
def test_many_runs_show_a_bar_unless_it_is_switched_off(progress, bars):
    with contextlib.closing(run_many([Experiment(data="xor", model="tiny", epochs=1)], 1, progress)) as results:
        assert [result.error for result in results] == [None]
    assert bars == [not progress]
