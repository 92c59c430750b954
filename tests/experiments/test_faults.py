"""Full disks, read-only folders, no home folder, clocks that jump, signals in every phase, concurrent processes: only
the work since the last checkpoint is lost, no file is left half-written, and the message names a remedy."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints, cli, environment, experiments, signals
from minifa.cli import exit_codes, pictures
from minifa.experiments import Experiment, resume, run_folder, study, tuning
from minifa.explorer import page as explorer
from minifa.storage import atomic, locks
from minifa.storage.npz import write_arrays
from minifa.tracing.stepper import Replay, Stepper
from minifa.training import History, logs

XOR = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--batch-size", "2"]
TIMES = {"seconds", "images_per_second"}
FAST = pytest.mark.usefixtures("draws_nothing")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def numbers_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [{key: cell for key, cell in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def assert_same_run(one, other):
    assert numbers_of(f"{one}/history.csv") == numbers_of(f"{other}/history.csv")
    with np.load(f"{one}/network.npz") as a, np.load(f"{other}/network.npz") as b:
        assert a.files == b.files and all(np.array_equal(a[key], b[key]) for key in a.files)


def half_written(folder="."):
    """Temporary files."""
    return [path.name for path in Path(folder).rglob("*") if path.suffix in (".tmp", ".part")]


def minifa(*arguments, **environment):
    """Starts the command in a separate process."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1", **environment}
    command = [sys.executable, "-m", "minifa", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=variables
    )


# --- full disks and read-only folders ---------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a small separate file system, ``mounted("16k")``, or remounts it with other options."""
    if not (sys.platform.startswith("linux") and os.geteuid() == 0 and shutil.which("mount")):
        pytest.skip("a small file system can be mounted by root on Linux only")
    place = tmp_path / "small"
    place.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    os.chdir(tmp_path)  # out of it
    if os.path.ismount(place):
        subprocess.run(["umount", place], check=True)


def fill(folder, leave=0):
    """Fills a disk except for the given number of bytes."""
    free = shutil.disk_usage(folder).free - leave
    (folder / "fill").write_bytes(bytes(free))


@FAST
def test_on_a_full_disk_no_run_is_started(mounted, capsys):
    small = mounted("size=16k")
    fill(small)
    assert cli.main(["train", *XOR, "--epochs", "1", "--out", str(small / "run")]) == exit_codes.FAILED
    stderr = capsys.readouterr().err
    assert "No space left on device: '" in stderr and "the disk is full: free some space" in stderr
    assert os.listdir(small) == ["fill"]


@FAST
def test_on_a_disk_that_fills_up_the_last_checkpoint_is_kept_and_resumed(mounted, capsys):
    small, out = mounted("size=1m"), ["--out"]
    given = ["train", "--model", "mlp", "--hidden", "16", "--lr", "0.05", "--checkpoint-every", "30", "--epochs"]
    assert cli.main([*given, "4", *out, "whole"]) == 0
    assert cli.main([*given, "2", *out, str(small / "run")]) == 0
    fill(small, leave=8192)
    before = (small / "run/last.ckpt").read_bytes()
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(small / "run"), "--epochs", "4"]) == exit_codes.FAILED
    stderr = capsys.readouterr().err
    assert (
        "the disk is full: free some space" in stderr
        and f"to resume: minifa train --resume {small / 'run'}\n" in stderr
    )
    assert (small / "run/last.ckpt").read_bytes() == before and not half_written(small)
    (small / "fill").unlink()
    assert cli.main(["train", "--resume", str(small / "run"), "--epochs", "4"]) == 0
    assert_same_run("whole", small / "run")


@FAST
@pytest.mark.parametrize("name", ["history.csv", "log.jsonl"])
def test_a_line_that_does_not_fit_on_the_disk_is_omitted_completely(name, mounted):
    small = mounted("size=8k")
    path = small / name
    path.write_text("whole\n", encoding="utf-8")
    fill(small)  # the file can still use the rest of its page
    with pytest.raises(OSError, match=f"No space left on device: '.*{name}'"):
        atomic.append(path, "x" * 10_000 + "\n")
    assert path.read_text(encoding="utf-8") == "whole\n"


def test_a_table_with_a_torn_last_line_is_read_without_it(tmp_path):
    History([{"epoch": 0, "train_loss": 0.25}, {"epoch": 1, "train_loss": 0.125}]).save_csv("history.csv")
    whole = Path("history.csv").read_bytes()
    Path("history.csv").write_bytes(whole[:-3])  # 0.1 is a valid number too
    assert History.read_csv("history.csv") == [{"epoch": 0, "train_loss": 0.25}]


@pytest.mark.parametrize("left", [0, 12])
def test_pictures_and_pages_are_complete_or_absent(left, mounted, capsys):
    assert cli.main(["train", *XOR, "--epochs", "1", "--out", "run"]) == 0
    small = mounted("size=96k")
    for path in Path("run/figures").iterdir():
        path.unlink()
    shutil.copytree("run", small / "run")
    page = (small / "run/index.html").read_bytes()
    fill(small, leave=left << 10)
    capsys.readouterr()
    assert cli.main(["figures", str(small / "run")]) == exit_codes.FAILED
    assert "the disk is full: free some space" in capsys.readouterr().err
    for path in (small / "run/figures").iterdir():  # the files that fitted
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    assert (small / "run/index.html").read_bytes() == page
    with pytest.raises(OSError, match="No space left on device: '.*page.html'"):
        explorer.write("<p>" * 30_000, small / "page.html")
    assert sorted(os.listdir(small)) == ["fill", "run"] and not half_written(small)


@FAST
def test_a_read_only_folder_gives_a_message_with_a_remedy(mounted, capsys, monkeypatch):
    small = mounted("size=4m")
    assert cli.main(["train", *XOR, "--epochs", "1", "--out", str(small / "run")]) == 0
    mounted("remount,ro")
    commands = {
        "train": [*XOR, "--out", str(small / "new")],
        "train ": ["--resume", str(small / "run"), "--epochs", "2"],
        "compare": [*XOR, "--rules", "bp", "--seeds", "1", "--epochs", "1", "--jobs", "1", "--out", str(small / "new")],
        "explore": ["--rules", "bp", "--train-updates", "1", "-o", str(small / "page.html")],
        "figures": [str(small / "run")],
    }
    for command, given in commands.items():
        capsys.readouterr()
        assert cli.main([command.strip(), *given]) == exit_codes.FAILED
        stderr = capsys.readouterr().err
        assert "Read-only file system: '" in stderr and "the file system is read-only: choose another folder" in stderr
    monkeypatch.chdir(small)  # where runs/ would go
    assert cli.main(["train", *XOR, "--epochs", "1"]) == exit_codes.FAILED
    assert "choose another folder" in capsys.readouterr().err


@FAST
def test_a_comparison_that_can_no_longer_be_written_keeps_its_finished_runs(mounted, capsys, monkeypatch):
    small = mounted("size=64k")
    make = experiments.run

    def fills_up(experiment):
        if experiment.seed == 2:
            fill(small)
        return make(experiment)

    monkeypatch.setattr(study, "run", fills_up)
    given = ["--rules", "bp", "--epochs", "1", "--jobs", "1", "--seeds", "3", "--out", str(small / "c")]
    assert cli.main(["compare", *XOR, *given]) == exit_codes.FAILED
    stderr = capsys.readouterr().err
    assert "the disk is full" in stderr and f"finished runs are kept in {small / 'c'}" in stderr
    assert [result.experiment.seed for result in run_folder.read_results(small / "c")] == [0, 1]


def test_written_files_are_readable_by_others_and_no_temporary_file_remains(tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("", encoding="utf-8")
    write_arrays(tmp_path / "network.npz", {"W": np.ones(3)})
    atomic.write_atomic(tmp_path / "table.txt", "")
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["plain.txt", "network.npz", "table.txt"], plain.stat().st_mode)


# --- signals, in every phase ------------------------------------------------------------------------------------------


def once(number, call):
    """The function, preceded by a signal to this process at its first call."""
    waiting = [number]

    def with_signal(*arguments, **options):
        if waiting:
            signal.raise_signal(waiting.pop())
        return call(*arguments, **options)

    return with_signal


PHASES = {  # by name: the call that the signal precedes, and words of the message
    "loading": ("minifa.data.load", "the same command starts again"),
    "building": ("minifa.experiments.experiment.build", "the same command starts again"),
    "making the folder": ("minifa.experiments.run_folder.write_config", "the same command starts again"),
    "training": ("minifa.optim.SGD.step", "to resume: minifa train --resume run"),
    "measuring": ("minifa.metrics.alignment", "to resume: minifa train --resume run"),
    "keeping a checkpoint": ("minifa.checkpoints.pack", "to resume: minifa train --resume run"),
    "saving": ("minifa.experiments.run_folder.save", "to resume: minifa train --resume run"),
    "in the middle of a file": ("minifa.experiments.run_folder.write_arrays", "to resume: minifa train --resume run"),
    "drawing": ("minifa.figures.training_curves", "to resume: minifa train --resume run"),
}
LATE = ("saving", "drawing")


TERM, CTRL_C = (signal.SIGTERM, 143), (signal.SIGINT, 130)
WHOLE = ["train", *XOR, "--rule", "fa", "--epochs", "3", "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert cli.main([*WHOLE, str(folder)]) == 0
    return folder


@pytest.mark.parametrize("phase, number, code", [*((p, *TERM) for p in PHASES), *((p, *CTRL_C) for p in LATE)])
def test_a_signal_in_any_phase_loses_no_finished_work(phase, number, code, whole, request, monkeypatch, capsys):
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    capsys.readouterr()
    place, words = PHASES[phase]
    if phase not in LATE:  # in these the picture is drawn once more
        request.getfixturevalue("draws_nothing")
    with monkeypatch.context() as patched:
        patched.setattr(place, once(number, pkgutil.resolve_name(place)))
        assert cli.main([*WHOLE, "run"]) == code
    stderr = capsys.readouterr().err
    assert words in stderr and "Traceback" not in stderr
    assert {one: signal.getsignal(one) for one in before} == before
    assert not half_written()
    if "--resume" in words:
        assert cli.main(["train", "--resume", "run"]) == 0
    else:
        assert not Path("run").exists()
        assert cli.main([*WHOLE, "run"]) == 0
    assert_same_run(whole, "run")
    if phase in LATE:
        assert Path("run/figures/training.png").read_bytes().endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("phase, number, code", [("a run", *TERM), ("drawing", *TERM), ("a run", *CTRL_C)])
def test_a_signalled_comparison_keeps_its_finished_runs(phase, number, code, monkeypatch, capsys):
    given = ["--rules", "bp,fa", "--epochs", "1", "--jobs", "1", "--seeds", "2", "--out", "c"]
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        if phase == "drawing":
            patched.setattr(pictures, "draw", once(number, pictures.draw))
        else:
            make, made = experiments.run, []

            def run(experiment):
                made.append(experiment)
                if len(made) == 4:
                    signal.raise_signal(number)
                return make(experiment)

            patched.setattr(study, "run", run)
            patched.setattr(pictures, "draw", lambda *arguments: None)
        assert cli.main(["compare", *XOR, *given]) == code
    finished = {(result.experiment.rule, result.experiment.seed) for result in run_folder.read_results("c")}
    stderr = capsys.readouterr().err
    if phase == "drawing":
        assert len(finished) == 4 and "to draw them: minifa figures c" in stderr
        assert cli.main(["figures", "c"]) == 0
    else:
        assert finished == {("bp", 0), ("fa", 0), ("bp", 1)} and "3 of 4 runs were finished and kept" in stderr
    assert not half_written() and signal.getsignal(signal.SIGTERM) is before


def test_a_signal_in_the_grid_search_keeps_the_rates_and_starts_no_comparison(monkeypatch, capsys):
    make, made = experiments.run, []

    def run(experiment):
        made.append(experiment.rate())
        if len(made) == 3:
            signal.raise_signal(signal.SIGINT)
        return make(experiment)

    monkeypatch.setattr(study, "run", run)
    monkeypatch.setattr(tuning, "RATES", range(-2, 1))
    given = ["--model", "mlp", "--hidden", "4", "--rules", "bp", "--epochs", "1", "--seeds", "1", "--jobs", "1"]
    assert cli.main(["compare", *given, "--tune", "--out", "c"]) == 130
    assert made == [0.1, 0.1, 0.3] and not Path("c/runs.csv").exists()
    with open("c/rates.csv", encoding="utf-8", newline="") as file:
        assert [(row["lr"], row["seeds"]) for row in csv.DictReader(file)] == [("0.1", "2")]
    assert "0.1" in capsys.readouterr().out


def test_a_signal_ends_the_stepper_which_answers_ctrl_c_itself(monkeypatch, capsys):
    class Keyboard(io.StringIO):
        pressed = iter([signal.SIGINT, signal.SIGTERM])

        def readline(self, *size):
            signal.raise_signal(next(self.pressed))

    replay = Replay(Experiment(data="xor", model="tiny", lr=0.5, batch_size=4), mf.data.load("xor"))
    stepper = Stepper(replay, "fa", stdin=Keyboard(), stdout=io.StringIO())
    with pytest.raises(signals.Terminated), signals.terminating():
        stepper.cmdloop()
    assert stepper.stdout.getvalue().count("^C") == 1


def test_an_ignored_termination_signal_stays_ignored():
    """As under programs like nohup, or by the caller's choice."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signals.terminating():
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_signal_handlers_are_unchanged():
    seen = []

    def elsewhere():
        with signals.terminating():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@FAST
def test_a_killed_comparison_keeps_its_finished_runs(monkeypatch):
    """Tested by another process that reads the folder between two runs."""
    seen = []
    make = experiments.run

    def run(experiment):
        seen.append([r.experiment.seed for r in run_folder.read_results("c")] if Path("c/runs.csv").exists() else [])
        return make(experiment)

    monkeypatch.setattr(study, "run", run)
    given = ["--rules", "bp", "--epochs", "1", "--jobs", "1", "--seeds", "3", "--out", "c"]
    assert cli.main(["compare", *XOR, *given]) == 0
    assert seen == [[], [0], [0, 1]]


@pytest.mark.parametrize("command", [["train"], ["compare", "--rules", "bp", "--seeds", "2", "--jobs", "1"]])
def test_a_closed_output_pipe_is_not_an_error(command):
    process = minifa(*command, *XOR, "--epochs", "1", "--out", "run")
    while not Path("run/config.json").is_file() and process.poll() is None:
        time.sleep(0.001)
    process.stdout.close()  # as `head` does
    with process.stderr as stderr:
        assert stderr.read() == ""
    assert process.wait(60) == 0
    assert run_folder.read_results("run")[0].score >= 0


def test_an_oserror_without_a_file_name_is_not_blamed_on_the_lock(tmp_path):
    with pytest.raises(OSError) as raised, run_folder.locked(tmp_path):
        raise OSError(28, "No space left on device")
    assert raised.value.filename is None


# --- concurrent processes ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_two_processes_with_the_same_folder_name_get_one_folder_each():
    together = [minifa("train", *XOR, "--epochs", "2", "--out", "run") for _ in range(2)]
    for process in together:
        assert process.communicate(timeout=60) and process.returncode == 0
    assert sorted(path.name for path in Path().iterdir()) == ["run", "run-2"]
    assert_same_run("run", "run-2")


class Msvcrt(ModuleType):
    """Windows' locks on parts of a file: each belongs to the open file that acquired it, and ends with it."""

    LK_NBLCK = 2

    def __init__(self):
        super().__init__("msvcrt")
        self.held = {}

    def locking(self, descriptor, mode, count):
        place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR), count
        if self.held.get(place, descriptor) in self._others(descriptor):
            raise PermissionError(errno.EACCES, "Permission denied")
        self.held[place] = descriptor

    def _others(self, descriptor):
        """The other open handles of the same file."""
        for other in set(self.held.values()) - {descriptor}:
            with contextlib.suppress(OSError):
                if os.path.sameopenfile(other, descriptor):
                    yield other


def test_on_windows_the_second_process_is_refused_and_can_read_the_holder(monkeypatch):
    msvcrt = Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    Path("run").mkdir()
    for _ in range(2):  # the lock of the first holder ends with it
        with run_folder.locked("run"):
            with (
                pytest.raises(run_folder.RunInUse, match=f"written by process {os.getpid()} on"),
                run_folder.locked("run"),
            ):
                pass
            written = Path("run/.lock").read_bytes()
    ((_, start, count),) = msvcrt.held
    assert start > len(written) and count == 1  # Windows lets no process read a locked region


def test_without_file_locks_no_process_is_refused_and_one_note_is_printed(monkeypatch, capsys):
    fcntl = pytest.importorskip("fcntl", reason="flock is a Unix thing")

    def no_locks(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(locks, "_printed", False)
    Path("run").mkdir()
    with run_folder.locked("run"), run_folder.locked("run"):
        assert f"process {os.getpid()}" in Path("run/.lock").read_text(encoding="utf-8")
    stderr = capsys.readouterr().err
    assert stderr.startswith("note: the file system of run/.lock has no locks") and stderr.count("\n") == 1


@pytest.mark.long
@FAST
def test_a_run_that_another_process_resumes_is_left_to_it(capsys):
    assert cli.main(["train", *XOR, "--epochs", "1", "--out", "run"]) == 0
    assert cli.main(["train", *XOR, "--epochs", "200", "--out", "whole"]) == 0
    other = minifa("train", "--resume", "run", "--epochs", "200")
    deadline = time.monotonic() + 30
    while '"resume"' not in Path("run/log.jsonl").read_text(encoding="utf-8") and time.monotonic() < deadline:
        time.sleep(0.01)
    capsys.readouterr()
    assert cli.main(["train", "--resume", "run", "--epochs", "200"]) == exit_codes.FAILED
    stderr = capsys.readouterr().err
    assert f"run is being written by process {other.pid} on" in stderr and "wait until it has finished" in stderr
    assert other.communicate(timeout=60) and other.returncode == 0
    assert_same_run("whole", "run")


# --- no home, and clocks that jump ------------------------------------------------------------------------------------

HOMELESS = """
import os, pathlib, sys
os.environ.pop("HOME", None), os.environ.pop("USERPROFILE", None)
def nobody(*arguments): raise KeyError("no such user")
try:
    import pwd
    pwd.getpwuid = pwd.getpwnam = nobody
except ImportError:
    pass
from minifa import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def homeless(*arguments, **variables):
    kept = {key: value for key, value in os.environ.items() if key not in ("MINIFA_DATA", "XDG_CACHE_HOME")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run(
        [sys.executable, "-c", HOMELESS, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="the home folder comes from elsewhere")
def test_without_a_home_folder_everything_else_works(tmp_path):
    trained = homeless("train", *XOR, "--epochs", "1", "--out", "run")
    assert trained.returncode == 0 and Path("run/figures/training.png").is_file(), trained.stderr
    stderr = homeless("info")
    assert stderr.returncode == 0 and "no home folder" in stderr.stdout, stderr.stderr
    missing = homeless("train", "--data", "mnist")
    assert missing.returncode == 1
    assert "no home folder" in missing.stderr and "MINIFA_DATA" in missing.stderr and "Traceback" not in missing.stderr
    assert os.listdir(tmp_path) == ["run"]  # no folder "~"


@FAST
def test_clocks_that_jump_change_no_number_and_no_checkpoint(monkeypatch):
    given = ["train", *XOR, "--rule", "fa", "--epochs", "6", "--checkpoint-every", "3", "--out"]
    assert cli.main([*given, "whole"]) == 0
    real, jumps = time.time, [0, 10**7, -(10**8), 3 * 10**8, -4 * 10**9]

    class Jumping(logs.datetime):
        @classmethod
        def now(cls, zone=None):
            jumps.append(jumps.pop(0))
            return logs.datetime.fromtimestamp(max(0.0, real() + jumps[0]), zone)

    monkeypatch.setattr(time, "time", lambda: real() + jumps[0])
    monkeypatch.setattr(logs, "datetime", Jumping)
    monkeypatch.setattr(environment, "datetime", Jumping)
    assert cli.main([*given[:-3], "--checkpoint-every", "3", "--out", "run"]) == 0
    events = [json.loads(line) for line in Path("run/log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["time"] for event in events] != sorted(event["time"] for event in events)  # the clock did jump
    assert_same_run("whole", "run")
    for path in Path("run").iterdir():  # and files from the future
        os.utime(path, (4e9, 4e9))
    assert checkpoints.read("run/last.ckpt").step == checkpoints.read("whole/last.ckpt").step
    assert cli.main(["train", "--resume", "run", "--epochs", "8"]) == 0
    assert cli.main(["train", "--resume", "whole", "--epochs", "8"]) == 0
    assert_same_run("whole", "run")


@pytest.mark.parametrize("jump", [-(10**6), 10**6])
def test_the_time_between_checkpoints_does_not_come_from_the_calendar(jump, monkeypatch):
    experiment = Experiment(data="xor", model="tiny", lr=0.1, epochs=3, alignment=False)
    trainer = experiments.trainer_for(experiment, mf.data.load("xor"))
    Path("run").mkdir()
    resume.attach_callbacks("run", experiment, trainer)
    real, written = time.time, []
    monkeypatch.setattr(time, "time", lambda: real() + jump * len(written))
    monkeypatch.setattr(checkpoints, "save", lambda path, *rest: written.append(Path(path).name))
    experiments.fit(experiment, mf.data.load("xor"), trainer)
    assert written == ["last.ckpt", "last.ckpt"]  # at the first epoch and at the end
