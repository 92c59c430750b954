"""Programs started by cron, from a notebook, without a console or from another folder: no finished training is lost to
a missing stream, font, backend or file, and one line names the missing part."""

from __future__ import annotations

import configparser
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints
from minifa.cli import exit_codes, pictures, program, starting
from minifa.experiments import resume, run_folder, sweeps

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--epochs", "1"]
PNG_END = b"IEND\xaeB`\x82"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
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
    """Several commands in one process, because the start takes most of the time."""
    code = "import json, sys; from minifa import cli; sys.exit(max(map(cli.main, json.loads(sys.argv[1]))))"
    return python(code, json.dumps(commands), expect=expect, **variables)


# --- unsuitable settings of matplotlib --------------------------------------------------------------------------------

TRAIN = ["train", *XOR, "--out", "run"]
COMPARE = ["compare", *XOR, "--rules", "bp", "--seeds", "1", "--jobs", "1", "--out", "c"]
MEMORY = ["bench", "--memory", "--depths", "1", "--rules", "bp", "--batch-size", "2"]


@pytest.mark.long
@pytest.mark.parametrize("backend", ["module://a_notebook_that_is_not_installed.backend_inline", "no such backend"])
def test_a_missing_backend_of_matplotlib_does_not_matter(backend):
    printed, stderr = minifa(TRAIN, MPLBACKEND=backend)
    assert "written to run" in printed and not stderr
    assert Path("run/figures/training.png").read_bytes().endswith(PNG_END)


def test_an_available_backend_of_matplotlib_is_still_used():
    code = "import minifa.figures, matplotlib, os; print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    assert python(code, MPLBACKEND="svg")[0].split() == ["svg", "svg"]
    chosen = "import matplotlib; matplotlib.use('pdf'); " + code  # set by the program, which takes precedence
    assert python(chosen, MPLBACKEND="svg")[0].split() == ["pdf", "svg"]


@pytest.mark.long
def test_tex_is_not_needed():
    Path("matplotlibrc").write_text("text.usetex: True\nfont.family: serif\nsavefig.bbox: tight\n", encoding="utf-8")
    settings = {"MATPLOTLIBRC": os.getcwd(), "PATH": "nowhere"}
    printed, stderr = minifa(TRAIN, COMPARE, [*MEMORY, "--out", "memory.svg"], **settings)
    assert (
        "written to run" in printed and "written to c" in printed and "written to memory.svg" in printed and not stderr
    )
    for picture in ("run/figures/training.png", "c/figures/comparison.png"):
        assert Path(picture).read_bytes().endswith(PNG_END)


def test_without_matplotlib_only_the_picture_is_missing():
    Path("matplotlib").mkdir()
    Path("matplotlib/__init__.py").write_text("raise AttributeError('of another\\nnumpy')", encoding="utf-8")
    given = TRAIN, COMPARE, [*MEMORY, "--out", "memory.png"], ["figures", "run"]
    printed, stderr = minifa(*given, expect=exit_codes.FAILED, PYTHONPATH=os.pathsep.join([os.getcwd(), *sys.path]))
    assert "written to run" in printed and "written to c" in printed and "MiB at depth" in printed
    why = "the picture could not be drawn: matplotlib cannot be imported (AttributeError: of another numpy); "
    assert [line for line in stderr.splitlines() if line.startswith(why)] == [
        f"{why}the numbers are in run/history.csv; minifa figures run draws it again",
        f"{why}the numbers are in c/runs.csv; minifa figures c draws it again",
        f"{why}the numbers stand above",
    ]
    assert "minifa figures: matplotlib cannot be imported" in stderr


@pytest.mark.parametrize("error", [RuntimeError("latex\nwas not found"), MemoryError(), OSError(28, "No space left")])
def test_any_error_in_a_picture_leaves_the_table(error, monkeypatch, capsys):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(pictures, "save_picture", fails)
    for command in (TRAIN, COMPARE):
        assert program.main(command) == exit_codes.OK
        printed, stderr = capsys.readouterr()
        assert re.search(r"^ +1 +\d|^bp +0.1 ", printed, re.M) and f"written to {command[-1]}" in printed
        again = f"the numbers are in .+; minifa figures {command[-1]} draws it again"
        assert re.fullmatch(f"the picture could not be drawn: .+; {again}\n", stderr)
    assert run_folder.read_results("run") and run_folder.read_results("c")


def test_a_table_written_again_has_its_curves_or_a_message(monkeypatch, capsys):
    monkeypatch.setattr(pictures, "save_picture", lambda figure, path: [][0])
    given = ["--rows", "bp", "--seeds", "1", "--jobs", "1", "--set", "training.epochs=1", "--out", "table"]
    assert program.main(["reproduce", "lillicrap", *given]) == exit_codes.OK
    printed, stderr = capsys.readouterr()
    assert "the runs are in table" in printed and "published" in printed
    assert "the numbers are in table/curves.csv, and the same command draws it again" in stderr


# --- no standard streams ----------------------------------------------------------------------------------------------

NO_STREAMS = {"no errors": "2>&-", "nothing at all": "<&- >&- 2>&-"}


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="a shell closes them here")
@pytest.mark.parametrize("closed", NO_STREAMS.values(), ids=NO_STREAMS)
def test_closed_streams_interrupt_no_command(closed):
    """Each command completes, its files are complete, and an invalid argument is still an error."""
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
    assert codes == [0] * len(commands) + [exit_codes.WRONG_USE]
    for picture in ("run/figures/training.png", "c/figures/comparison.png"):
        assert Path(picture).read_bytes().endswith(PNG_END)
    assert checkpoints.read("run/last.ckpt").training["epoch"] == 1
    assert Path("page.html").is_file() and len(Path("s/sweep.csv").read_text(encoding="utf-8").splitlines()) == 3


class Closed(io.StringIO):
    """A stream of a program that has detached itself from its terminal."""

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
    assert (
        program.main(TRAIN) == program.main(["step"]) == exit_codes.OK
        and program.main(["train", "--lr", "-1"]) == exit_codes.WRONG_USE
    )
    assert sys.stdin is sys.stdout is sys.stderr is stream


def test_no_file_of_a_run_gets_the_number_of_a_closed_stream():
    """C libraries print to number 2, and so does the handler of Ctrl-C."""
    code = (
        "import os, sys; from minifa.console import standard_streams\n"
        "os.close(2)\nwith standard_streams(): number = open('data', 'w').fileno()\n"
        "print(number)"
    )
    assert int(python(code)[0]) > 2


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_broken_stderr_does_not_change_the_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken())
    assert program.main(["train", "--lr", "-1"]) == exit_codes.WRONG_USE
    assert program.main(["train", "--data", "missing.npz"]) == exit_codes.FAILED
    assert program.main(["train", "--model", "mlp", "--rule", "bp", "--epochs", "1", "--lr", "1e9"]) == 3


# --- the start of the command -----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a signal to one process")
def test_ctrl_c_while_the_command_is_imported_prints_one_line():
    """Ctrl-C is sent at the first slow import."""
    Path("numpy").mkdir()
    Path("numpy/__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}

    def started(*command):
        return subprocess.run(
            [sys.executable, *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    Path("minifa").write_text("from minifa.cli import main", encoding="utf-8")  # the start of the installed script
    for command in (["-m", "minifa", "train"], ["-X", "dev", "-m", "minifa"], ["./minifa", "train"]):
        done = started(*command)
        assert (done.returncode, done.stderr) == (130, "\ninterrupted: nothing was started\n"), done
    for command in (["-c", "import minifa", "minifa"], ["-c", "import sys; sys.argv = ['minifa']; import minifa"]):
        done = started(*command)
        assert "KeyboardInterrupt" in done.stderr and "nothing was started" not in done.stderr


def test_a_started_command_handles_ctrl_c_itself(monkeypatch, capsys):
    before = signal.signal(signal.SIGINT, starting._answer)
    try:
        monkeypatch.setattr("minifa.data.load", lambda *arguments: signal.raise_signal(signal.SIGINT))
        assert program.main(TRAIN) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted: no file is left half-written, and the same command starts again" in capsys.readouterr().err


# --- optional dependencies --------------------------------------------------------------------------------------------


def test_no_message_refers_to_a_package_index_for_minifa():
    """It is in none: `pip install minifa[x]` finds no package, or one by somebody else."""
    root = Path(mf.__file__).parents[1]
    files = [*(root / "minifa").rglob("*.py"), *root.glob("*.md"), *root.glob("tutorials/*.py")]
    assert len(files) > 100
    matches = [path for path in files if re.search(r"pip install[^\n]*minifa\[", path.read_text(encoding="utf-8"))]
    assert matches == []
    extras = configparser.ConfigParser()
    extras.read(root / "setup.cfg", encoding="utf-8")
    for path in files:
        for extra in re.findall(r"install\('(\w+)'\)|install \"?\.\[(\w+)\]", path.read_text(encoding="utf-8")):
            assert max(extra) in extras["options.extras_require"], path


# --- another folder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def project():
    """A folder ``here`` with data and weights, and a run of two epochs that was started in it."""
    x = np.random.default_rng(0).standard_normal((40, 5)).astype("float32")
    Path("here").mkdir()
    np.savez("here/mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    mf.weights.save(mf.Network(mf.models.tiny((5,), 2), seed=7), "here/start.safetensors")
    os.chdir("here")
    files = ["--data", "mine.npz", "--weights", "start.safetensors"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *given: None)  # most of the time, and no test looks at them
        for epochs, folder in (("2", "cli/run"), ("4", "whole")):
            command = ["train", *files, "--model", "tiny", "--lr", "0.1", "--epochs", epochs, "--out", folder]
            assert program.main(command) == 0
    os.chdir("..")


def numbers(folder):
    with open(Path(folder, "history.csv"), newline="", encoding="utf-8") as file:
        return [(row["epoch"], row["train_loss"], row["test_loss"]) for row in csv.DictReader(file)]


def resumed_numbers(folder, *given):
    assert program.main(["train", "--resume", str(folder), "--epochs", "4", *given]) == 0
    return numbers(folder)


def test_a_run_resumes_from_any_folder(project):
    whole = numbers("here/whole")
    shutil.copytree("here", "there")
    assert resumed_numbers("here/cli/run") == whole
    assert run_folder.open_run("here/cli/run")[2].data == os.path.join("here", "mine.npz")
    os.chdir("there/cli")
    assert resumed_numbers("run") == whole


def test_a_run_that_was_moved_with_its_data_resumes(project, tmp_path, monkeypatch):
    whole = numbers("here/whole")
    shutil.move("here", "moved")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert resumed_numbers("../moved/cli/run") == whole
    assert run_folder.open_run("../moved/cli/run")[2].data == os.path.join("..", "moved", "mine.npz")
    assert resume.open_checkpoint("../moved/cli/run/last.ckpt")[2].weights.endswith("start.safetensors")
    monkeypatch.chdir(tmp_path)
    shutil.move("moved", "again")  # it was resumed from another folder meanwhile
    assert program.main(["train", "--resume", "again/cli/run", "--epochs", "5"]) == 0
    assert run_folder.open_run("again/cli/run")[2].data == os.path.join("again", "mine.npz")


def test_data_that_were_moved_alone_are_named_and_compared(project, capsys):
    whole = numbers("here/whole")
    shutil.move("here/mine.npz", "renamed.npz")
    assert program.main(["train", "--resume", "here/cli/run", "--epochs", "4"]) == exit_codes.FAILED
    message = capsys.readouterr().err
    assert "the file 'mine.npz' does not exist" in message and "; --data FILE says where it is now" in message
    assert resumed_numbers("here/cli/run", "--data", "renamed.npz") == whole
    assert run_folder.read_experiment("here/cli/run").data == "renamed.npz"
    with np.load("renamed.npz") as kept:
        np.savez("other.npz", x=kept["x"] + 1, y=kept["y"])
    before = Path("here/cli/run/config.json").read_bytes()
    assert (
        program.main(["train", "--resume", "here/cli/run", "--epochs", "5", "--data", "other.npz"])
        == exit_codes.WRONG_USE
    )
    assert "was trained on other data than other is now" in capsys.readouterr().err
    assert program.main(["train", "--resume", "here/cli/run", "--epochs", "5", "--data", "xor"]) == exit_codes.WRONG_USE
    assert "leave out --data xor (kept: renamed.npz)" in capsys.readouterr().err
    assert Path("here/cli/run/config.json").read_bytes() == before


def test_another_file_of_the_same_name_is_not_used(project):
    """The file in the folder where the run was started is used, not the one in the current folder."""
    np.savez("mine.npz", x=np.zeros((9, 5), "float32"), y=np.arange(9) % 2)
    assert resumed_numbers("here/cli/run") == numbers("here/whole")


def test_an_older_run_without_recorded_paths_resumes_beside_its_data(project, monkeypatch):
    config = Path("here/cli/run/config.json")
    described = json.loads(config.read_text(encoding="utf-8"))
    del described["files"]
    config.write_text(json.dumps(described), encoding="utf-8")
    assert resumed_numbers("here/cli/run") == numbers("here/whole")


def test_a_tilde_is_replaced_by_the_home_folder(project, monkeypatch, capsys):
    monkeypatch.setenv("HOME", os.path.abspath("here"))
    monkeypatch.setenv("USERPROFILE", os.path.abspath("here"))
    train = ["train", "--data=~/mine.npz", "--weights=~/start.safetensors", "--model", "tiny", "--lr", "0.1"]
    assert program.main([*train, "--epochs", "4", "--out=~/new"]) == 0
    assert numbers("here/new") == numbers("here/whole")
    assert program.main(["train", "--resume=~/cli/run", "--epochs", "4"]) == 0
    recipe = (
        '[data]\nname = "~/mine.npz"\n[model]\nname = "tiny"\nweights = "~/start.safetensors"\n[training]\nepochs = 1\n'
    )
    Path("here/r.toml").write_text(recipe, encoding="utf-8")
    Path("here/s.toml").write_text(recipe + '[over]\n"training.seed" = [0]\n', encoding="utf-8")
    assert program.main(["train", "--recipe=~/r.toml", "--out=~/from"]) == 0
    assert program.main(["sweep", "~/s.toml", "--out=~/swept", "--jobs", "1"]) == 0
    net = mf.Network(mf.models.tiny((5,), 2))
    mf.weights.load(net, "~/start.safetensors")
    mf.weights.save(net, "~/copy.safetensors")
    assert (
        len(mf.data.load("~/mine.npz").train) and run_folder.open_run("~/new") and checkpoints.read("~/new/last.ckpt")
    )
    assert sorted(os.listdir()) == ["here"] and Path("here/copy.safetensors").is_file()


def test_workers_on_a_cluster_receive_the_paths_of_files(project, monkeypatch):
    monkeypatch.chdir("here")
    text = '[data]\nname = "mine.npz"\n[model]\nname = "tiny"\nweights = "start.safetensors"\n[training]\nepochs = 1\n'
    Path("s.toml").write_text(text + '[over]\n"training.seed" = [0, 1]\n', encoding="utf-8")
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()

    def side_by_side(work, tasks, place, *others):
        with monkeypatch.context() as worker:
            worker.chdir(elsewhere)
            answers = [(task, work(task)) for task in tasks]
        yield from answers

    monkeypatch.setattr("minifa.experiments.dask_cluster.side_by_side", side_by_side)
    assert program.main(["sweep", "s.toml", "--dask", "tcp://10.0.0.1:8786", "--keep-runs", "--out", "s"]) == 0
    with open("s/sweep.csv", newline="", encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids == [run.id for run in sweeps.read("s.toml").runs]  # as without a cluster
