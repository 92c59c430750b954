"""Runs in separate processes: a killed process costs only its own run, which is not retried; no process outlives its
parent."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import cli, experiments
from minifa.cli import exit_codes, pictures
from minifa.experiments import Experiment, processes, run_many, study, tables, tuning
from minifa.losses import LOSSES
from minifa.optim import OPTIMIZERS
from minifa.schedules import SCHEDULES

XOR = Experiment(data="xor", model="tiny", lr=0.1, epochs=1, alignment=False)
LONG = Experiment(model="mlp", lr=0.01, epochs=10**6, alignment=False)
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}


def nothing():
    """The initialiser of a process."""


def answer(task):
    """Does a task by its first word, and leaves a trace in its folder."""
    word, folder = task
    with open(Path(folder, word), "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if word.startswith("killed"):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if word == "exits":
        os._exit(3)
    return word.upper()


def broken_start():
    raise ValueError("no such device")


def test_a_killed_process_costs_only_its_own_task_which_is_not_retried(tmp_path):
    words = ["a", "killed 1", "b", "exits", "killed 2", "c", "d"]
    tasks = [(word, tmp_path) for word in words]
    results = {task[0]: result for task, result in processes.side_by_side(answer, tasks, 2, nothing)}
    assert {word: results[word] for word in "abcd"} == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert results["exits"].exit_code == 3 and "exit code 3" in str(results["exits"])
    for word in ("killed 1", "killed 2"):
        assert isinstance(results[word], processes.Ended)
        assert os.name != "posix" or "by the signal SIGKILL; a system that runs out of memory" in str(results[word])
    tried = {word: (tmp_path / word).read_text(encoding="utf-8").splitlines() for word in words}
    assert all(len(pids) == 1 for pids in tried.values())
    assert str(results["killed 1"].process) in tried["killed 1"]
    assert len({pids[0] for pids in tried.values()}) < len(words)  # a living process is reused


def test_a_signal_without_a_name_is_reported_by_its_number():
    assert str(processes.Ended(7, -200)) == "its worker process (7) was ended by the signal 200"


def test_processes_that_cannot_start_end_the_whole_call(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="cannot start .*__main__"):
        list(processes.side_by_side(answer, [("a", tmp_path), ("b", tmp_path)], 2, broken_start))
    assert "no such device" in capfd.readouterr().err and os.listdir(tmp_path) == []


def test_no_tasks_need_no_processes():
    assert list(run_many([])) == list(processes.side_by_side(answer, [], 2, nothing)) == []


@contextlib.contextmanager
def watched(monkeypatch):
    """The processes that are started inside the with-block."""
    started = []
    make = processes._Worker

    class Watched(make):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self.process)

    with monkeypatch.context() as patched:
        patched.setattr(processes, "_Worker", Watched)
        yield started


def test_a_run_whose_process_is_killed_fails_with_a_message_and_the_others_continue(monkeypatch):
    """Killed while it starts, the hardest moment; the other cases are above."""
    with watched(monkeypatch) as started, pytest.warns(experiments.FailedRun, match="seed 0, failed: its worker proc"):
        results, grid = [], [XOR, *(dataclasses.replace(XOR, seed=seed) for seed in (1, 2))]
        for result in run_many([LONG, *grid], jobs=2):  # the long run occupies its process until that is killed
            results.append(result)
            if len(results) == len(grid):
                started[0].kill()
    *succeeded, failed = results
    assert sorted(result.experiment.seed for result in succeeded) == [0, 1, 2] and all(
        r.error is None for r in succeeded
    )
    assert failed.experiment == LONG and math.isnan(failed.score)
    assert f"worker process ({started[0].pid}) was ended" in failed.error


def test_the_failed_seed_is_reported_beside_the_other_seeds(monkeypatch, tmp_path, capsys):
    """The table gives the number of runs of its means, and the command fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)

    def one_fails(grid, jobs=None, progress=True):
        for experiment in grid:
            lost = (experiment.rule, experiment.seed) == ("fa", 1)
            yield study.failed(experiment, "killed") if lost else experiments.run(experiment)[0]

    monkeypatch.setattr(experiments, "run_many", one_fails)
    given = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--epochs", "1", "--rules", "bp,fa", "--out", "both"]
    assert cli.main(["compare", *given]) == exit_codes.FAILED
    out, err = capsys.readouterr()
    assert "fa, seed 1: killed" in err
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith(("bp", "fa"))}
    assert "(2 of 3 runs)" in (tmp_path / "both/table.txt").read_text(encoding="utf-8") and "of 3" not in lines["bp"]


def test_the_row_of_a_rule_whose_every_run_failed_gives_the_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    make = experiments.run

    def fails(experiment):
        if experiment.rule == "fa":
            raise OSError("gone")
        return make(experiment)

    monkeypatch.setattr(study, "run", fails)
    monkeypatch.setattr(tuning, "RATES", range(-2, -1))  # 0.1
    monkeypatch.setattr(tuning, "WIDEST", range(-2, -1))
    given = ["--data", "xor", "--model", "tiny", "--epochs", "1", "--rules", "bp,fa", "--seeds", "2", "--jobs", "1"]
    assert cli.main(["compare", *given, "--lr", "0.1", "--out", "both"]) == exit_codes.FAILED
    table = (tmp_path / "both/table.txt").read_text(encoding="utf-8")
    assert [line.split()[1:] for line in table.splitlines() if line.startswith("fa")] == [
        ["failed:", "OSError:", "gone"]
    ]
    capsys.readouterr()
    data = tmp_path / "two.npz"  # large enough for held-out examples
    np.savez(data, x=np.eye(40, 2, dtype="float32"), y=np.arange(40) % 2)
    assert cli.main(["compare", "--data", str(data), *given[2:], "--tune", "--out", "tuned"]) == exit_codes.FAILED
    assert (tmp_path / "tuned/rates.csv").read_text(encoding="utf-8").count("\n") == 2  # bp at 0.1, and the head
    assert re.search(r"^bp +0.1 ", capsys.readouterr().out, re.M)


# --- user-defined rules, models and so on -----------------------------------------------------------------------------


def leave_pid():
    """Writes the id of this process to the file named by the environment, if any."""
    with open(os.environ["MINIFA_TEST_PIDS"], "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


class Halved(mf.rules.Rule):
    """A rule in a file that other processes import."""

    name = "halved"

    def draw(self, net):
        leave_pid()

    def feedback(self, layer):
        return layer.W * layer.W.dtype.type(0.5)


class Doubled(mf.Layer):
    kind = "doubled"

    def forward(self, x, ctx):
        return 2 * x

    def backward(self, delta, rule):
        return 2 * delta


def own_model(input_shape, n_out):
    return [mf.Linear(*input_shape, 3), Doubled(), mf.Tanh(), mf.Linear(3, n_out)]


TABLES = {
    "rule": mf.rules.RULES,
    "model": mf.models.MODELS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


@pytest.fixture
def entered(monkeypatch, tmp_path):
    """A function that registers a user-defined entry in a table, as a cell of a notebook or a script's main does."""
    monkeypatch.setenv("MINIFA_TEST_PIDS", str(tmp_path / "pids"))
    (tmp_path / "pids").touch()
    return lambda what, name, entry: monkeypatch.setitem(TABLES[what], name, entry)


def pids(tmp_path):
    return {int(pid) for pid in (tmp_path / "pids").read_text(encoding="utf-8").split()}


def scores(results):
    assert all(result.error is None for result in results), [result.error for result in results]
    return sorted((r.experiment.rule, r.experiment.seed, r.history[-1]["train_loss"]) for r in results)


def test_registered_entries_reach_the_processes_that_can_import_them(entered, tmp_path):
    entered("rule", "halved", Halved)
    entered("model", "own", own_model)
    grid = [dataclasses.replace(XOR, rule=rule, model="own", seed=seed) for rule in ("halved", "bp") for seed in (0, 1)]
    outcomes = scores(run_many(grid, jobs=2))
    assert pids(tmp_path) and os.getpid() not in pids(tmp_path)
    assert outcomes == scores(run_many(grid, jobs=1)) and os.getpid() in pids(tmp_path)


def test_entries_that_other_processes_cannot_import_run_in_this_process(entered, tmp_path):
    """A class of a notebook has no file; here it is defined inside a function."""

    class Hidden(Halved):
        name = "hidden"

    entered("rule", "hidden", Hidden)
    grid = [dataclasses.replace(XOR, rule=rule, seed=seed) for rule in ("bp", "hidden") for seed in (0, 1)]
    with pytest.warns(UserWarning, match="^the rule 'hidden': defined in a notebook.*Its runs are made in this"):
        outcomes = scores(run_many(grid, jobs=2))
    assert pids(tmp_path) == {os.getpid()}
    assert outcomes == scores(run_many(grid, jobs=1))


@pytest.mark.parametrize(
    ("what", "entry"),
    [
        ("model", lambda input_shape, n_out: [mf.Linear(*input_shape, n_out)]),
        ("loss", type("Mine", (mf.HalfSquaredError,), {})),
        ("optimizer", functools.partial(mf.SGD, nesterov=True)),
        ("schedule", lambda: lambda epoch: 0.5),
        ("rule", type("Mine", (mf.rules.FA,), {"__module__": "__main__"})),
    ],
)
def test_every_kind_of_registered_entry_is_available_to_its_run(what, entry, entered):
    entered(what, "mine", entry)
    grid = [dataclasses.replace(XOR, **{what: "mine"}, seed=seed) for seed in (0, 1)]
    with pytest.warns(UserWarning, match=f"^the {what} 'mine': defined in a notebook"):
        scores(run_many(grid, jobs=2))


SCRIPT = """
import os, sys, warnings
import minifa as mf
from minifa.experiments import Experiment, run_many

warnings.simplefilter("ignore", UserWarning)

class Mine(mf.rules.Rule):
    def feedback(self, layer):
        return layer.W

def main():
    class Inside(Mine):
        pass
    mf.rules.RULES["mine"] = Mine
    mf.rules.RULES["inside"] = Inside
    mf.models.MODELS["own"] = lambda input_shape, n_out: [mf.Linear(*input_shape, n_out)]
    base = dict(data="xor", model="tiny", lr=0.1, epochs=1, alignment=False)
    grid = [Experiment(**{**base, **one}) for one in (dict(rule="mine"), dict(rule="inside"), dict(model="own"), {})]
    results = list(run_many(grid, jobs=2))
    print(sorted((r.experiment.rule, r.error) for r in results))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", ["a script", "standard input", "-c"])
def test_rules_of_a_script_s_main_and_of_a_prompt_are_available(how, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    arguments = {"a script": ["script.py"], "standard input": ["-"], "-c": ["-c", SCRIPT]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=ENVIRONMENT, input=SCRIPT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[('bp', None), ('bp', None), ('inside', None), ('mine', None)]", done.stderr


COMMAND = """
import minifa as mf
from minifa import cli

class Slow(mf.rules.FA):
    name = "slow"

if __name__ == "__main__":
    mf.rules.RULES["slow"] = Slow
    raise SystemExit(cli.main())
"""


def test_a_user_script_can_be_a_command_line_with_its_rule(tmp_path):
    (tmp_path / "slow.py").write_text(COMMAND, encoding="utf-8")
    given = ["--data", "xor", "--model", "tiny", "--lr", "0.1", "--epochs", "1", "--seeds", "1", "--jobs", "2"]
    command = [sys.executable, "slow.py", "compare", "--rules", "bp,slow", *given, "--out", "both"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and re.search("^slow +0.1 +[01]", done.stdout, re.M), done.stderr + done.stdout


def test_a_module_not_imported_by_its_name_is_not_searched_for(tmp_path, entered):
    """In another process the name does not exist or belongs to another file."""
    (tmp_path / "numpy.py").write_text(SCRIPT, encoding="utf-8")
    for name in ("no_such_module", "json"):
        spec = importlib.util.spec_from_file_location(name, tmp_path / "numpy.py")
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
            entered("rule", "mine", module.Mine)
            assert study.defined_in_this_process(dataclasses.replace(XOR, rule="mine:seed=1")) == ["the rule 'mine'"]


def test_a_failing_run_gives_a_warning_and_its_table_stays_narrow(entered):
    class Broken(mf.rules.Rule):
        def feedback(self, layer):
            raise ValueError("far " * 100)

    entered("rule", "broken", Broken)
    grid = [dataclasses.replace(XOR, rule=rule, seed=seed) for rule in ("broken", "bp") for seed in (0, 7)]
    with pytest.warns(
        experiments.FailedRun, match="the run of broken, seed [07], failed: ValueError: far far"
    ) as caught:
        results = list(run_many(grid, jobs=1))
    assert len(caught) == 2 and all(one.filename == __file__ for one in caught)
    table = tables.summary_table(results)
    assert max(map(len, table.splitlines())) < 80 and "failed: ValueError: far ..." in table


@pytest.mark.parametrize("worst", [-math.inf, math.inf, math.nan])
def test_a_score_that_is_not_finite_stays_visible_in_the_table(worst):
    """As of a diverged regression, whose score is a loss."""
    results = list(run_many([dataclasses.replace(XOR, seed=seed) for seed in (0, 7)], jobs=1))
    results[1] = dataclasses.replace(results[1], score=worst, diverged=True)
    table = tables.summary_table(results)
    assert f" {worst:.3f}" in table and "±" not in table
    assert " ± " in tables.summary_table([results[0], dataclasses.replace(results[0], score=0.3)])


def alive(pid):
    """Whether the process exists and is not a zombie waiting for its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    """All processes below this one."""
    below = [int(p) for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
    return [*below, *(lower for one in below for lower in children_of(one))]


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
@pytest.mark.parametrize("stop", ["SIGKILL", "SIGTERM"])
def test_no_process_outlives_its_parent(stop, tmp_path):
    command = [sys.executable, "-u", "-m", "minifa", "compare", "--model", "mlp", "--lr", "0.01", "--epochs", "1000000"]
    command += ["--rules", "bp,fa", "--seeds", "1", "--jobs", "2", "--out", "cut"]
    parent = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while b", seed 0, " not in parent.stdout.readline():
            pass
        deadline = time.monotonic() + 30
        while len(below := children_of(parent.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        while sum(processor_seconds(one) > 1.5 for one in below) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)  # both train when they have used more than the imports need
        assert len(below) >= 2 and all(map(alive, below))
        parent.send_signal(getattr(signal, stop))
        parent.communicate(timeout=30)
        deadline = time.monotonic() + 5
        while any(map(alive, below)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, below)), "orphans are left"
    finally:
        parent.kill()


def test_a_process_without_a_parent_does_not_wait_for_one():
    before = set(threading.enumerate())
    processes.end_with_parent()
    for watching in set(threading.enumerate()) - before:
        watching.join(5)
        assert not watching.is_alive()


def test_a_closed_iterator_leaves_no_process(monkeypatch):
    with watched(monkeypatch) as started:
        results = run_many([XOR, LONG], jobs=2)
        assert next(results).score == pytest.approx(np.float64(next(run_many([XOR], jobs=1)).score))
        results.close()
    assert [process.is_alive() for process in started] == [False, False]


def test_the_epochs_of_runs_in_other_processes_are_counted():
    """For a bar that moves before the first run is finished."""
    grid, counts = [dataclasses.replace(XOR, epochs=3, seed=seed) for seed in (0, 1)], []
    with study.EpochCount() as count:
        assert count.epochs() == 0
        results = list(study.run_counted(grid, 2, count.folder, lambda: counts.append(count.epochs())))
        assert count.epochs() == 6  # without the measurement before training
    assert counts == sorted(counts) and not count.folder.exists()
    assert [one.score for one in results] and count.epochs() == 0
