"""Folders and files made by others: no link, pipe or device in a run folder is followed, written to or waited for,
and no control character of their contents is printed."""

from __future__ import annotations

import contextlib
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
from minifa import checkpoints, cli, text
from minifa.cli import exit_codes, pictures
from minifa.experiments import Experiment, processes, recipes, reproduce, resume, run_folder, sweeps
from minifa.storage import atomic, csv_files
from minifa.training import History

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.5"]
posix = pytest.mark.skipif(os.name != "posix", reason="symbolic links and named pipes as POSIX has them")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    monkeypatch.setattr(processes, "spread", lambda work, tasks, *others: ((task, work(task)) for task in tasks))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    resume.run_in_folder(folder, experiment(2))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run, which a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def experiment(epochs):
    return Experiment(data="xor", model="tiny", lr=0.5, epochs=epochs)


@contextlib.contextmanager
def at_most(seconds):
    """Interrupts and fails a test that waits for a pipe."""

    def waited(*arguments):
        raise AssertionError(f"it waited for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- links, pipes and devices -----------------------------------------------------------------------------------------

IN_A_RUN = (
    ".lock",
    "config.json",
    "history.csv",
    "log.jsonl",
    "last.ckpt",
    "last.ckpt.tmp",
    "last.ckpt.previous",
    "history.csv.tmp",
    "log.jsonl.tmp",
    "config.json.tmp",
    "network.npz",
    "network.npz.tmp",
    "result.json",
    "test_correct.npz",
)


USES = {
    "resume": lambda run: cli.main(["train", "--resume", str(run), "--epochs", "3"]),
    "read": run_folder.read_results,
    "open": run_folder.open_run,
    "table": lambda run: resume.run_in_folder(run, experiment(4)),
}


def refusal_of(use, run):
    """The message of the refusal, or None if the use succeeded."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            code = USES[use](run)
    except (OSError, ValueError) as error:
        return str(error)
    return stderr.getvalue() if use == "resume" and code else None


@posix
@pytest.mark.parametrize("name", IN_A_RUN)
def test_no_file_outside_is_written_or_emptied_through_a_link(name, run, capsys):
    """The run is resumed, or the link is refused with a message; its target stays unchanged."""
    precious = Path("precious.txt")
    precious.write_bytes(b"precious")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(precious.resolve())
    for use in USES:
        refusal = refusal_of(use, run)
        assert precious.read_bytes() == b"precious" and not precious.is_symlink()
        assert refusal is None or re.search(rf"run/{name}' is a symbolic link", refusal), refusal


@posix
@pytest.mark.parametrize("name", IN_A_RUN)
def test_no_pipe_is_waited_for(name, run):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for use in USES:
        with at_most(30):
            refusal = refusal_of(use, run)
        assert refusal is None or name in refusal, refusal


@posix
@pytest.mark.parametrize("name", ["figures", "tensorboard"])
def test_no_folder_outside_gets_files_through_a_link(name, run, capsys):
    if name == "tensorboard":
        pytest.importorskip("tensorboardX", reason="event files need tensorboardX: pip install '.[tensorboard]'")
    outside = Path("outside")
    outside.mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(outside.resolve())
    more = ["--tensorboard"] if name == "tensorboard" else []
    assert cli.main(["train", "--resume", "run", "--epochs", "3", *more]) == exit_codes.FAILED
    assert f"run/{name}' is a symbolic link" in capsys.readouterr().err
    if name == "figures":
        assert cli.main(["figures", "run"]) == exit_codes.FAILED
        with pytest.raises(OSError, match="is a symbolic link"):
            resume.run_in_folder(run, experiment(3))
    assert os.listdir(outside) == []


@posix
def test_a_run_folder_of_a_table_or_a_sweep_that_is_a_link_is_refused(finished, capsys):
    outside = Path(shutil.copytree(finished, "outside"))
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    Path("table.toml").write_text(TABLE, encoding="utf-8")
    Path("out").mkdir()
    Path("out/bp-seed0").symlink_to(outside.resolve())
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "1"]) != 0
    assert "out/bp-seed0' is a symbolic link" in capsys.readouterr().err
    Path("sweep.toml").write_text(SWEEP, encoding="utf-8")
    Path("swept").mkdir()
    Path("swept/runs").symlink_to(outside.resolve())
    assert cli.main(["sweep", "sweep.toml", "--out", "swept", "--keep-runs", "--jobs", "1"]) != 0
    assert "swept/runs' is a symbolic link" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}


TABLE = """
[data]
name = "xor"
[model]
name = "tiny"
[training]
epochs = 3
[table]
seeds = 1
[[row]]
name = "bp"
"""
SWEEP = """
[data]
name = "xor"
[model]
name = "tiny"
[training]
epochs = 2
[over]
"training.seed" = [0]
"""


@posix
@pytest.mark.parametrize("name", ["sweep.csv", "config.json", ".lock", "summary.txt.tmp"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_sweep_folder_is_protected_in_the_same_way(name, kind, capsys):
    Path("sweep.toml").write_text(SWEEP, encoding="utf-8")
    assert cli.main(["sweep", "sweep.toml", "--out", "swept", "--jobs", "1"]) == 0
    content = Path("swept/sweep.csv").read_bytes() if name == "sweep.csv" else b"precious"
    Path("precious.txt").write_bytes(content)
    Path("swept", name).unlink(missing_ok=True)
    if kind == "link":
        Path("swept", name).symlink_to(Path("precious.txt").resolve())
    else:
        os.mkfifo(Path("swept", name))
    Path("sweep.toml").write_text(SWEEP.replace("[0]", "[0, 1]"), encoding="utf-8")
    with at_most(60):
        code = cli.main(["sweep", "sweep.toml", "--out", "swept", "--jobs", "1"])
    stderr = capsys.readouterr().err
    assert Path("precious.txt").read_bytes() == content
    assert code == 0 or (name in stderr and "Traceback" not in stderr), stderr


@posix
def test_links_pipes_and_folders_in_place_of_files_are_refused_by_kind(tmp_path):
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("link").symlink_to("nowhere")
    for name, words in {"pipe": "a pipe", "link": "a symbolic link", "folder": "a folder"}.items():
        for read in (checkpoints.read, History.read_csv, lambda path: csv_files.read_table(path, ["a"])):
            with at_most(10), pytest.raises(OSError, match=f"'{name}' is {words}, not a regular file"):
                read(name)
        with at_most(10), pytest.raises(OSError, match=f"'{name}' is {words}"):
            atomic.append(name, "text")
    with pytest.raises(OSError, match="'/dev/null' is a device"):
        checkpoints.read("/dev/null")
    assert not Path("nowhere").exists()


@posix
def test_a_file_with_a_hard_link_is_not_changed_in_place(run, capsys):
    """A hard link cannot be distinguished from the file it shares."""
    Path("precious.txt").write_bytes(b"precious")
    (run / ".lock").unlink()
    os.link("precious.txt", run / ".lock")
    assert cli.main(["train", "--resume", "run", "--epochs", "3"]) == exit_codes.FAILED
    assert "run/.lock' has a second hard link" in capsys.readouterr().err
    assert Path("precious.txt").read_bytes() == b"precious"
    assert atomic.read_bytes("precious.txt") == b"precious"  # reading it is allowed


@posix
def test_the_given_folder_may_be_a_link(finished):
    """It was given by the user; only links inside it are not followed."""
    shutil.copytree(finished, "elsewhere")
    Path("here").symlink_to("elsewhere")
    assert cli.main(["train", "--resume", "here", "--epochs", "3"]) == 0
    assert len(History.read_csv("elsewhere/history.csv")) == 4


# --- a run folder is created atomically -------------------------------------------------------------------------------

KILLED = """
import os, sys
os.environ["MINIFA_THREADS"] = "1"
from minifa import cli, data
from pathlib import Path
cli._draw = lambda *arguments: None
calls = ("mkdir", "rename", "replace", "fsync", "unlink", "open")

def killed_at(number, command):
    # The exit code of the command in a process that ends, as by kill -9, when it has made so many calls.
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    made = [0]
    def counted(call):
        def ends(*arguments, **options):
            made[0] += 1
            if made[0] > number:
                os._exit(9)
            return call(*arguments, **options)
        return ends
    for name in calls:
        setattr(os, name, counted(getattr(os, name)))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        os._exit(cli.main(command))
    except SystemExit as stop:
        os._exit(stop.code or 0)

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.5", "--epochs", "1"]
number, code = 0, 9
while code == 9:
    out = f"run{number}"
    code = killed_at(number, ["train", *XOR, "--out", out])
    there = Path(out).exists()
    again = killed_at(10**6, ["train", "--resume", out] if there else ["train", *XOR, "--out", out])
    rows = len(Path(out, "history.csv").read_text().splitlines())
    print(number, code, int(there), again, rows, int(Path(out + "-2").exists()))
    number += 7 if Path(out, "last.ckpt").exists() and there else 1
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_kill_before_any_system_call_leaves_nothing_or_a_run_to_resume():
    """Every call until the folder exists, then every seventh call up to the last file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) > 10 and lines[-1][1] == 0, done.stderr
    assert {there for _, code, there, *_ in lines if code == 9} == {0, 1}
    for number, _, _, again, rows, second in lines:
        assert (again, rows, second) == (0, 3, 0), f"after {number} calls: {done.stderr[-2000:]}"


def test_an_existing_folder_is_never_used_even_if_it_is_empty():
    Path("run").mkdir()
    Path("run-2").write_text("", encoding="utf-8")
    assert run_folder.new_folder("run", {"experiment": {}}).name == "run-3"
    assert sorted(os.listdir("run-3")) == ["config.json", "figures"] and os.listdir("run") == []
    assert sorted(os.listdir()) == ["run", "run-2", "run-3"]  # and no temporary folder remains beside them


def test_a_folder_that_another_process_creates_meanwhile_is_left_to_it(monkeypatch):
    """The other process creates it between the check and the renaming."""
    looked, made = os.path.lexists, []

    def late(path):
        there = looked(path)
        if not made:
            made.append(run_folder.new_folder("run", {"experiment": {"first": 1}}))
        return there

    with monkeypatch.context() as patched:
        patched.setattr(os.path, "lexists", lambda path: (patched.undo(), late(path))[1])
        second = run_folder.new_folder("run", {"experiment": {"second": 1}})
    assert (made[0].name, second.name) == ("run", "run-2")
    assert "first" in Path("run/config.json").read_text(encoding="utf-8")


# --- printed output ---------------------------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202etxt.exe\x7f"


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\x9b", "\x7f", "\x08", "\r", "\u202e", "\u2066", "\u2028"])
def test_control_characters_are_printed_as_escapes(character):
    assert (
        text.printable(f"a{character}b\n\tc")
        == f"a{ascii(character)[1:-1].replace(chr(92) + 'r', chr(92) + 'x0d')}b\n\tc"
    )


def test_words_of_every_script_are_unchanged():
    plain = "mean ± sd, 90°, größer, 学習, नमस्ते, 👩\u200d🔬\n"
    assert text.printable(plain) == plain


def assert_harmless(captured):
    output = captured.out + captured.err
    assert output and not set(output) & set("\x1b\x07\x9b\x7f\u202e"), ascii(output)
    assert "\r" not in captured.out
    return output


def toml(string):
    return json.dumps(string)


def test_titles_notes_and_authors_of_a_recipe_are_printed_harmlessly(capsys):
    body = TABLE.replace("[table]", f"[table]\npublished_by = {toml(EVIL)}")
    Path("table.toml").write_text(f"title = {toml(EVIL)}\nnote = {toml(EVIL)}\n{body}", encoding="utf-8")
    assert cli.main(["reproduce", "table.toml", "--out", "out", "--jobs", "1"]) == 0
    output = assert_harmless(capsys.readouterr())
    assert output.count("\\x1b[2J") == 3
    kept = Path("out/table.txt").read_text(encoding="utf-8")  # as `cat` would print it
    assert "\x1b" not in kept and kept.count("\\x1b[2J") == 3
    Path("sweep.toml").write_text(f"title = {toml(EVIL)}\nnote = {toml(EVIL)}\n{SWEEP}", encoding="utf-8")
    assert cli.main(["sweep", "sweep.toml", "--out", "swept", "--jobs", "1"]) == 0
    output = assert_harmless(capsys.readouterr())
    assert output.count("\\x1b[2J") == 2 and "\x1b" not in Path("swept/summary.txt").read_text(encoding="utf-8")


def test_unknown_settings_are_printed_harmlessly(capsys):
    Path("table.toml").write_text(f"[optimizer]\n{toml(EVIL)} = 1\n{TABLE}", encoding="utf-8")
    for command in (["reproduce", "table.toml"], ["train", "--recipe", "table.toml"], ["sweep", "table.toml"]):
        assert cli.main(command) == exit_codes.WRONG_USE
        assert "\\x1b[2J" in assert_harmless(capsys.readouterr())


@posix
def test_names_of_files_and_of_their_parts_are_printed_harmlessly(capsys):
    for name, arrays in {
        "evil.npz": {EVIL: np.ones(2)},
        f"{EVIL[:-8].replace('/', '')}.npz": {"y": np.ones(2)},
    }.items():
        with open(name, "wb") as file:
            np.savez(file, **arrays)
        assert cli.main(["train", "--data", name, "--model", "mlp"]) != 0
        assert "\\x1b" in assert_harmless(capsys.readouterr())
    with pytest.raises(SystemExit):
        cli.main(["train", "--" + EVIL])
    assert_harmless(capsys.readouterr())


@posix
def test_the_output_of_a_run_on_a_file_with_an_evil_name_is_harmless(capsys):
    """Also standard output, the output of successful commands."""
    name = f"{EVIL[:-8]}$\\no$.npz"  # text between dollar signs is a formula in a picture
    x = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
    np.savez(name, x=x, y=np.arange(40) % 2 * 2)
    given = ["--data", name, "--model", "tiny", "--lr", "0.1", "--epochs", "1"]
    for command in (
        ["train", *given, "--out", f"run{EVIL}"],
        ["train", "--resume", f"run{EVIL}", "--epochs", "2"],
        ["compare", *given, "--rules", "bp", "--seeds", "1", "--jobs", "1", "--out", "c"],
        ["figures", "c"],
    ):
        assert cli.main(command) == exit_codes.OK
        output = assert_harmless(capsys.readouterr())
        assert ("\\x1b[2J" in output or command[1] == "c") and "could not be drawn" not in output, output


def test_the_contents_of_a_run_folder_are_printed_harmlessly(run, capsys):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["experiment"]["rule"] = EVIL
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert cli.main(["train", "--resume", "run"]) != 0
    assert_harmless(capsys.readouterr())
    (run / "history.csv").write_text(f"epoch,train_loss\n0,{EVIL[:5]}\n", encoding="utf-8")
    assert cli.main(["figures", "run"]) != 0
    assert_harmless(capsys.readouterr())


def test_a_progress_bar_still_returns_to_the_start_of_its_line():
    written = io.StringIO()
    stream = text.Printable(written, bars=True)
    print("\r50 %", end="", file=stream)
    print("a\rb\x1b", file=stream)
    assert written.getvalue() == "\r50 %a\\x0db\\x1b\n"
    assert (
        stream.isatty() is False and stream.getvalue() == written.getvalue()
    )  # all other attributes are those of the stream


def test_the_streams_are_restored(capsys):
    before = sys.stdout, sys.stderr
    assert cli.main(["rules"]) == 0
    assert (sys.stdout, sys.stderr) == before
    assert mf.__version__ and capsys.readouterr().out and recipes.shipped() and reproduce.COLUMNS and sweeps.METHODS
