"""Programs are started by cron, by a notebook, by a window without a console, from another folder: no finished training
is lost to what is missing there, and what is missing is told in a line."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minifa as mf
from minifa import checkpoints, cli, pictures, runs

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--epochs", "1"]
PNG_END = b"IEND\xaeB`\x82"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def python(code, *arguments, expect=0, **variables):
    """(standard output, standard error) of a Python process with these variables (None: not set)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1", **variables}
    environment = {key: value for key, value in environment.items() if value is not None}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == expect and "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def minifa(*commands, expect=0, **variables):
    """Commands one after the other in one process, since it is the start that takes the time."""
    code = "import json, sys; from minifa import cli; sys.exit(max(map(cli.main, json.loads(sys.argv[1]))))"
    return python(code, json.dumps(commands), expect=expect, **variables)


# --- settings of matplotlib that are not for here ---------------------------------------------------------------------

TRAIN = ["train", *XOR, "--out", "run"]
COMPARE = ["compare", *XOR, "--rules", "bp", "--seeds", "1", "--jobs", "1", "--out", "c"]
MEMORY = ["bench", "--memory", "--depths", "1", "--rules", "bp", "--batch-size", "2"]


@pytest.mark.parametrize("backend", ["module://a_notebook_that_is_not_installed.backend_inline", "no such backend"])
def test_a_backend_that_is_not_there_is_not_missed(backend):
    printed, told = minifa(TRAIN, MPLBACKEND=backend)
    assert "written to run" in printed and not told
    assert Path("run/figures/training.png").read_bytes().endswith(PNG_END)


def test_a_backend_that_is_there_is_still_chosen():
    code = "import minifa.figures, matplotlib, os; print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    assert python(code, MPLBACKEND="svg")[0].split() == ["svg", "svg"]
    chosen = "import matplotlib; matplotlib.use('pdf'); " + code  # by the program, which counts more
    assert python(chosen, MPLBACKEND="svg")[0].split() == ["pdf", "svg"]


def test_tex_is_not_asked_for():
    Path("matplotlibrc").write_text("text.usetex: True\nfont.family: serif\nsavefig.bbox: tight\n", encoding="utf-8")
    settings = {"MATPLOTLIBRC": os.getcwd(), "PATH": "nowhere"}
    memory, figures = [*MEMORY, "--out", "memory.svg"], ["figures", "run", "--format", "pdf"]
    printed, told = minifa(TRAIN, COMPARE, memory, figures, **settings)
    assert "written to run" in printed and "written to c" in printed and "alignment.pdf" in printed and not told
    for picture in ("run/figures/training.png", "c/figures/comparison.png"):
        assert Path(picture).read_bytes().endswith(PNG_END)


def test_a_matplotlib_that_cannot_be_imported_costs_the_picture_alone():
    Path("matplotlib").mkdir()
    Path("matplotlib/__init__.py").write_text("raise AttributeError('of another\\nnumpy')", encoding="utf-8")
    given = TRAIN, COMPARE, [*MEMORY, "--out", "memory.png"], ["figures", "run"]
    printed, told = minifa(*given, expect=cli.FAILED, PYTHONPATH=os.pathsep.join([os.getcwd(), *sys.path]))
    assert "written to run" in printed and "written to c" in printed and "MiB at depth" in printed
    why = "the picture could not be drawn: matplotlib cannot be imported here (AttributeError: of another numpy); "
    assert [line for line in told.splitlines() if line.startswith(why)] == [
        f"{why}the numbers are in run/history.csv; minifa figures run draws it again",
        f"{why}the numbers are in c/runs.csv; minifa figures c draws it again",
        f"{why}the numbers stand above",
    ]
    assert "minifa figures: matplotlib cannot be imported here" in told


@pytest.mark.parametrize("error", [RuntimeError("latex\nwas not found"), MemoryError(), OSError(28, "No space left")])
def test_whatever_breaks_a_picture_the_table_stands(error, monkeypatch, capsys):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(pictures, "save_picture", fails)
    for command in (TRAIN, COMPARE):
        assert cli.main(command) == cli.OK
        printed, told = capsys.readouterr()
        assert re.search(r"^ +1 +\d|^bp +0.1 ", printed, re.M) and f"written to {command[-1]}" in printed
        again = f"the numbers are in .+; minifa figures {command[-1]} draws it again"
        assert re.fullmatch(f"the picture could not be drawn: .+; {again}\n", told)
    assert runs.read_results("run") and runs.read_results("c")


def test_a_table_that_is_made_again_has_its_curves_or_a_line(monkeypatch, capsys):
    monkeypatch.setattr(pictures, "save_picture", lambda figure, path: [][0])
    given = ["--rows", "bp", "--seeds", "1", "--jobs", "1", "--set", "training.epochs=1", "--out", "table"]
    assert cli.main(["reproduce", "lillicrap", *given]) == cli.OK
    printed, told = capsys.readouterr()
    assert "the runs are in table" in printed and "published" in printed
    assert "the numbers are in table/curves.csv, and the same command draws it again" in told


# --- no standard streams ----------------------------------------------------------------------------------------------

NO_STREAMS = {"no errors": "2>&-", "nothing at all": "<&- >&- 2>&-"}


@pytest.mark.skipif(os.name != "posix", reason="a shell closes them here")
@pytest.mark.parametrize("closed", NO_STREAMS.values(), ids=NO_STREAMS)
def test_closed_streams_end_nothing(closed):
    """Each command is done, its files are whole, and a mistake is a mistake still."""
    Path("s.toml").write_text(
        '[data]\nname = "xor"\n[model]\nname = "tiny"\n[training]\nepochs = 1\n[over]\n"training.seed" = [0, 1]\n',
        encoding="utf-8",
    )
    explore = [
        "explore",
        "--data",
        "xor",
        "--model",
        "tiny",
        "--rules",
        "bp",
        "--train-updates",
        "1",
        "-o",
        "page.html",
    ]
    commands = TRAIN, [*COMPARE, "--seeds", "2", "--jobs", "2"], explore, ["sweep", "s.toml", "--out", "s"], ["step"]
    mistake = ["train", "--lr", "-1"]
    code = (
        "import json, os, sys; from minifa import cli; given = json.loads(sys.argv[1]); "
        "codes = [cli.main(one) for one in given]; open('codes.json', 'w').write(json.dumps(codes))"
    )
    shell = f'exec "$0" -c "$1" "$2" {closed}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}
    command = ["sh", "-c", shell, sys.executable, code, json.dumps([*commands, mistake])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    codes = json.loads(Path("codes.json").read_text(encoding="utf-8"))
    assert codes == [0] * len(commands) + [cli.WRONG_USE]
    for picture in ("run/figures/training.png", "c/figures/comparison.png"):
        assert Path(picture).read_bytes().endswith(PNG_END)
    assert checkpoints.read("run/last.ckpt").training["epoch"] == 1
    assert Path("page.html").is_file() and len(Path("s/sweep.csv").read_text(encoding="utf-8").splitlines()) == 3


class Closed(io.StringIO):
    """As a program leaves its streams that has cut itself loose from a terminal."""

    def __init__(self):
        super().__init__()
        self.close()


@pytest.mark.parametrize("stream", [None, Closed()], ids=["none", "closed"])
def test_a_program_without_streams_trains_and_runs_commands(stream, monkeypatch):
    """As under pythonw, and in an executable without a console."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    data = mf.data.load("xor")
    net = mf.Network(mf.models.tiny(data.input_shape, data.n_out))
    history = mf.train(net, mf.rules.BP().attach(net), data.train, mf.SoftmaxCrossEntropy(), mf.SGD(0.1), epochs=2)
    assert len(history) == 3
    assert cli.main(TRAIN) == cli.main(["step"]) == cli.OK and cli.main(["train", "--lr", "-1"]) == cli.WRONG_USE
    assert sys.stdin is sys.stdout is sys.stderr is stream


def test_no_file_of_a_run_gets_the_number_of_a_closed_stream():
    """Libraries in C print into number 2, and so does the answer to Ctrl-C."""
    code = (
        "import os, sys; from minifa.terminal import standard_streams\n"
        "os.close(2)\nwith standard_streams(): number = open('data', 'w').fileno()\n"
        "print(number)"
    )
    assert int(python(code)[0]) > 2


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_errors_that_nobody_reads_leave_the_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken())
    assert cli.main(["train", "--lr", "-1"]) == cli.WRONG_USE
    assert cli.main(["train", "--data", "missing.npz"]) == cli.FAILED
    assert cli.main(["train", "--model", "mlp", "--epochs", "1", "--lr", "1e9"]) == cli.DIVERGED
