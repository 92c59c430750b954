"""Names with spaces and letters beyond ASCII, an ASCII locale, no display, a narrow terminal, spawned and forked
processes: the same behaviour everywhere."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import cli, experiments
from minifa.cli import program
from minifa.experiments import Experiment, processes, run_folder
from minifa.storage import atomic
from minifa.tracing import pages, stepper

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.1"]
PLACE = "a läuf, Ωμέγα 走"
ASCII_ALONE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PNG_END = b"IEND\xaeB`\x82"


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    place = tmp_path / PLACE
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def minifa(*arguments, expect=0, **variables):
    """The output of the command in a new process, as bytes; its exit code must be ``expect``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1", **variables}
    environment = {key: value for key, value in environment.items() if value is not None}
    command = [sys.executable, "-m", "minifa", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == expect, done.stderr.decode(errors="replace")
    return done.stdout


def write_data(path):
    x = np.random.default_rng(0).standard_normal((40, 5)).astype("float32")
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(int))


LETTERS_ONLY_BYTES_CAN_NAME = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="file names are Unicode there, whatever the locale"
)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("draws_nothing")  # but `minifa figures` does
def test_data_and_folders_may_have_any_name(capsys):
    write_data("meine dät, Ω.npz")
    given = ["--data", "meine dät, Ω.npz", "--model", "mlp", "--hidden", "4", "--lr", "0.1", "--epochs"]
    assert cli.main(["train", *given, "1", "--out", "läuf Ω/eins zwei"]) == 0
    output = capsys.readouterr().out
    assert "meine dät, Ω (32 training" in output and f"written to {Path('läuf Ω/eins zwei')}" in output
    assert cli.main(["train", "--resume", "läuf Ω/eins zwei", "--epochs", "2"]) == 0
    assert run_folder.read_experiment("läuf Ω/eins zwei").data == "meine dät, Ω.npz"
    assert cli.main(["figures", "läuf Ω/eins zwei"]) == 0
    assert cli.main(["compare", *given, "1", "--rules", "bp,fa", "--seeds", "1", "--jobs", "2", "--out", "zwei ü"]) == 0
    page = ["explore", "--data", "meine dät, Ω.npz", "--rules", "bp", "--train-updates", "1", "-o", "süß Ω.html"]
    assert cli.main(page) == 0
    assert json.dumps("meine dät, Ω")[1:-1] in Path("süß Ω.html").read_text(encoding="utf-8")
    assert cli.main(["train", *given, "1"]) == 0
    assert Path("runs/meine-dät-Ω-mlp-hidden4-fa-1").is_dir()


def test_the_printed_resume_command_can_be_pasted(monkeypatch, capsys):
    def broken_off(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(experiments, "fit", broken_off)
        assert cli.main(["train", *XOR, "--epochs", "1", "--out", "it's ü"]) == 130
    command = capsys.readouterr().err.splitlines()[-1].removeprefix("to resume: minifa ")
    assert cli.main(shlex.split(command)) == 0


# --- an ASCII locale --------------------------------------------------------------------------------------------------


@pytest.mark.long
@LETTERS_ONLY_BYTES_CAN_NAME
def test_in_a_locale_of_ascii_alone_every_command_works_and_files_are_utf_8():
    write_data("dät 1.npz")
    given = ["--data", "dät 1.npz", "--model", "mlp", "--hidden", "4", "--lr", "0.1", "--epochs"]
    output = minifa("train", *given, "1", "--out", "läuf 1", **ASCII_ALONE)
    assert output.isascii() and b"written to l??uf 1" in output
    minifa("train", "--resume", "läuf 1", "--epochs", "2", **ASCII_ALONE)
    minifa("train", "--resume", "läuf 1", "--epochs", "3")  # and in another locale
    output = minifa(
        "compare", *given, "1", "--rules", "bp,fa", "--seeds", "2", "--jobs", "2", "--out", "ü", **ASCII_ALONE
    )
    assert b"?" in output and output.isascii()
    assert "±" in Path("ü/table.txt").read_text(encoding="utf-8")
    assert "dät 1 (32 training" in Path("ü/table.txt").read_text(encoding="utf-8")
    minifa("figures", "ü", **ASCII_ALONE)
    for path in [*Path("läuf 1").rglob("*"), *Path("ü").rglob("*")]:
        if path.suffix in (".json", ".jsonl", ".csv", ".txt"):
            path.read_text(encoding="utf-8")
        if path.suffix == ".png":
            assert path.read_bytes().endswith(PNG_END)


@pytest.mark.long
def test_output_is_printed_on_an_ascii_stream():
    for command in (["rules"], ["info"], ["step", "--rule", "fa"], ["--help"], ["train", "--help"]):
        assert minifa(*command, PYTHONIOENCODING="ascii", **ASCII_ALONE).isascii()
    output = minifa("explore", "--rules", "bp", "--train-updates", "1", "-o", "page.html", **ASCII_ALONE)
    assert b"written to page.html" in output


def test_names_are_printed_correctly_in_every_locale():
    assert atomic.stem("d\udcc3\udca4t.npz") == atomic.stem("dät.npz") == "dät"
    assert atomic.stem("d\udcff.npz") == "d\ufffd"
    atomic.write_atomic("config.json", '{"data": "d\udcc3.npz"}')
    assert Path("config.json").read_bytes() == b'{"data": "d\\udcc3.npz"}'


# --- no display -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("wanted", [None, pytest.param("TkAgg", marks=pytest.mark.long)])
def test_pictures_need_no_display(wanted):
    """Not even if matplotlib is configured to open windows."""
    without = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "MPLBACKEND": wanted}
    minifa("train", *XOR, "--epochs", "1", "--out", "run", **without)
    assert b"training.png" in minifa("figures", "run", **without)
    assert all(path.read_bytes().endswith(PNG_END) for path in Path("run/figures").iterdir())


# --- a narrow terminal ------------------------------------------------------------------------------------------------


def widest(text):
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("rule", ["bp", "fa", "usf", "dfa", "pepita", "kolen_pollack"])
def test_a_traced_step_fits_forty_columns(rule, monkeypatch):
    trace = stepper.Replay(Experiment(data="xor", model="tiny", lr=0.5, batch_size=4), mf.data.load("xor")).trace(rule)
    for i in range(len(trace)):
        page = pages.page(trace, i, 40)
        words = max(map(len, re.findall(r"\S+", page)))  # only text without spaces may be wider
        assert widest(page) <= max(40, words + 8), page


def test_help_fits_forty_columns(monkeypatch, capsys):
    """Except for the names of the options, which argparse does not break, and for single long words."""
    monkeypatch.setenv("COLUMNS", "40")
    for command in ([], *([name] for name in program.COMMANDS)):
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        lines = [line for line in capsys.readouterr().out.splitlines() if not line.lstrip(" [").startswith("-")]
        lines = [line for line in lines if " " in line.strip()]
        assert len(lines) > 5 and max(map(len, lines)) <= 40, lines


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_commands_run_in_a_terminal_of_forty_columns():
    import fcntl
    import pty
    import select
    import struct
    import termios

    def in_terminal(*arguments):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        variables = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        variables |= {"PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1", "TERM": "xterm"}
        command = [sys.executable, "-m", "minifa", *arguments]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
        os.close(theirs)
        printed = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the end of a terminal's output
                break
            if not part:
                break
            printed += part
            if printed.endswith(b"(step) "):
                os.write(ours, b"q\n")
        os.close(ours)
        process.kill()  # no effect if it has already ended
        assert process.wait(60) == 0, printed
        return printed.decode()

    trained = in_terminal("train", *XOR, "--epochs", "2", "--out", "run")
    bars = [line for line in re.split(r"[\r\n]", trained) if "batch/s" in line or "%|" in line]
    assert bars and all(len(bar) <= 40 for bar in bars), bars
    assert "One training step under 'fa'" in in_terminal("step", "--rule", "fa")


# --- spawned and forked -----------------------------------------------------------------------------------------------


def trained(connection=None):
    """The history of a short training run that uses the engine's threads."""
    mf.use("numpy", "float32", threads=2)
    result, trainer = experiments.run(Experiment(model="cnn", rule="fa", lr=0.01, epochs=1, batch_size=256))
    row = {key: value for key, value in result.history[-1].items() if key not in ("seconds", "images_per_second")}
    if connection is None:
        return row
    connection.send(row)
    return None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_process_computes_the_same_however_it_is_started(method):
    here = trained()  # a forked child inherits an engine whose threads have been used
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=trained, args=(theirs,))
    child.start()
    theirs.close()
    assert ours.poll(60), "the child does not answer"
    assert ours.recv() == here
    child.join(30)
    assert child.exitcode == 0


def test_workers_are_spawned_under_every_default(monkeypatch):
    """A fork would copy locks that the parent's threads hold."""
    made = []
    real = multiprocessing.get_context
    monkeypatch.setattr(
        processes.multiprocessing, "get_context", lambda method=None: (made.append(method), real(method))[1]
    )
    grid = [Experiment(data="xor", model="tiny", lr=0.1, epochs=1, seed=seed) for seed in (0, 1)]
    assert sorted(result.experiment.seed for result in experiments.run_many(grid, jobs=2)) == [0, 1]
    assert set(made) == {"spawn"}
