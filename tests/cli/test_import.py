"""`--import my.py`: rules, models and data sets of a user's file, in this process, in workers and when resuming."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import minifa as mf
from minifa import cli, imports, registry
from minifa.experiments import Experiment, dask_cluster, resume, run_folder, run_many, study

CODE = """
from dataclasses import dataclass

import minifa as mf


@dataclass
class Record:  # it looks its module up
    number: int


assert __name__ != "__main__" and isinstance(Record.__annotations__["number"], type)

class Mine(mf.rules.Rule):
    name = "mine"

    def draw(self, net):
        self.memory = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return self.memory[layer.name]

class Twice(mf.ReLU):
    pass

mf.models.MODELS["double"] = lambda shape, n_out: [mf.Flatten(), mf.Linear(2, 5), Twice(), mf.Linear(5, n_out)]
mf.data.DATASETS["points"] = lambda: mf.data.load("xor")
"""
TRAIN = ["train", "--rule", "mine", "--data", "points", "--model", "double", "--lr", "0.1", "--epochs", "2"]
WITHOUT_THE_FILE = (
    "it was made with my.py: add --import my.py on the command line, or in Python call "
    'minifa.imports.import_file("my.py") first'
)
WITH_ANOTHER_FILE = (
    "other code: my.py has the digest [0-9a-f]{16}, and had [0-9a-f]{16}: restore the file as it was "
    r"\(and restart a Python session that imported the other\), or start a new run"
)


@pytest.fixture(autouse=True)
def empty_process(tmp_path, monkeypatch):
    """A process that has imported no file; what a test imports is removed again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(imports, "FILES", {})
    before = {what: dict(table) for what, table in registry.TABLES.items()}
    yield
    forget(before)


def forget(before):
    for name in [name for name in sys.modules if name.startswith(imports.PREFIX)]:
        del sys.modules[name]
    imports.FILES.clear()
    for what, table in registry.TABLES.items():
        for name in table.keys() - before[what].keys():
            del table[name]


def write(code=CODE, name="my.py"):
    Path(name).write_text(code, encoding="utf-8")
    return name


@pytest.mark.usefixtures("draws_nothing")
def test_commands_know_what_the_file_registers(capsys):
    write()
    assert cli.main([*TRAIN, "--import", "my.py", "--out", "run"]) == 0
    assert cli.main(["rules", "--import", "my.py"]) == 0  # the same file again
    assert "mine" in capsys.readouterr().out
    config = json.loads(Path("run/config.json").read_text())
    assert config["contents"]["my.py"] == imports.digests()["my.py"] and str(Path.cwd()) not in json.dumps(config)


@pytest.mark.usefixtures("draws_nothing")
def test_a_run_is_resumed_only_with_the_same_file(capsys):
    before = {what: dict(table) for what, table in registry.TABLES.items()}
    write()
    assert cli.main([*TRAIN, "--import", "my.py", "--out", "run"]) == 0
    forget(before)
    resuming = ["train", "--resume", "run", "--epochs", "3"]
    for command in (resuming, ["figures", "run"]):
        assert cli.main(command) == 2
        assert capsys.readouterr().err.endswith(f"run cannot be opened: {WITHOUT_THE_FILE}\n")
    write(CODE + "# another")
    assert cli.main([*resuming, "--import", "my.py"]) == 2
    assert re.search(WITH_ANOTHER_FILE, capsys.readouterr().err)
    forget(before)
    write()
    assert cli.main([*resuming, "--import", "my.py"]) == 0


def test_a_run_is_opened_only_with_the_same_file(capsys):
    before = {what: dict(table) for what, table in registry.TABLES.items()}
    write()
    assert cli.main([*TRAIN, "--import", "my.py", "--out", "run"]) == 0
    pictures = {path: path.read_bytes() for path in Path("run/figures").iterdir()}
    checkpoint = Path("run/last.ckpt")
    ways = [
        lambda: mf.load_run("run"),
        lambda: resume.open_checkpoint(checkpoint),
        lambda: run_folder.open_run("run"),
        lambda: run_folder.read_results("run"),
    ]
    forget(before)
    for way in ways:
        with pytest.raises(ValueError, match=re.escape(f"cannot be opened: {WITHOUT_THE_FILE}")):
            way()
    imports.import_file(write(CODE + "# another"))
    for way in ways:
        with pytest.raises(ValueError, match=f"cannot be opened: {WITH_ANOTHER_FILE}"):
            way()
    assert cli.main(["figures", "run", "--import", "my.py"]) == 2
    assert re.search(f"run cannot be opened: {WITH_ANOTHER_FILE}\n$", capsys.readouterr().err)
    assert pictures and pictures == {path: path.read_bytes() for path in Path("run/figures").iterdir()}
    forget(before)
    imports.import_file(write())
    for way in ways:
        way()


def test_the_call_that_messages_name_needs_no_other_import():
    write()
    code = "import minifa; print(minifa.imports.import_file('my.py').Mine.name)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "mine\n", done.stderr


def test_worker_processes_import_the_content_that_this_process_has_executed():
    imports.import_file(write())
    write("raise SystemExit")  # the file changes while workers start
    grid = [
        Experiment(data="points", model="double", rule=rule, lr=0.1, epochs=1, optimizer_options={})
        for rule in ("bp", "mine")
    ]
    assert [study.defined_in_this_process(one) for one in grid] == [[], []]
    apart = {one.experiment.rule: one.history[-1]["train_loss"] for one in run_many(grid, jobs=2)}
    here = {one.experiment.rule: one.history[-1]["train_loss"] for one in run_many(grid, jobs=1)}
    assert apart == here


def test_a_table_is_continued_only_with_the_same_file(capsys):
    imports.import_file(write())
    study.claim_folder(Path(), "tune", {"lr": 1}, imports.digests(), exists=False)
    imports.FILES.clear()
    with pytest.raises(ValueError, match=re.escape(WITHOUT_THE_FILE)):
        study.claim_folder(Path(), "tune", {"lr": 1}, {}, exists=True)


def test_a_dask_worker_without_the_file_is_refused_by_name():
    worker = {"setting": ("numpy", "float32", 1, ()), "versions": dask_cluster._versions()}
    answer = dask_cluster._on_worker(3, work=str, imported={"my.py": "02ab"}, **worker)
    how = "start the worker with --preload minifa.experiments.dask_imports --import my.py"
    assert "has not imported my.py with the content" in answer.message and how in answer.message
    imports.import_file(write())
    assert dask_cluster._on_worker(3, work=str, imported=imports.digests(), **worker) == "3"
    assert how in dask_cluster._on_worker(3, work=str, imported={"my.py": "02ab"}, **worker).message
    cluster = SimpleNamespace(run=lambda function, *given, **_: {"a": ["my.py"] if given else dask_cluster._versions()})
    with pytest.raises(OSError, match=r"the worker at a has not imported my\.py .*Nothing was run"):
        dask_cluster._check_workers(cluster)


@pytest.mark.long
def test_a_sweep_on_a_local_dask_cluster_imports_the_file(capsys):
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    text = '[data]\nname = "points"\n[model]\nname = "double"\n[training]\nepochs = 1\n[over]\n"rule" = ["bp", "mine"]'
    write(text, "mine.toml")
    command = [sys.executable, "-m", "minifa", "sweep", "mine.toml", "--dask", "local", "--jobs", "1", "--out", "s"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIFA_THREADS": "1"}
    subprocess.run([*command, "--import", write()], check=True, env=environment, capture_output=True, timeout=100)
    assert Path("s/sweep.csv").read_text().count("mine") == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\ny = z\n", "my.py', line 2: NameError: name 'z' is not defined"),
        ("x = 1\nif:\n", "my.py', line 2: SyntaxError: invalid syntax"),
        ("import not_there_at_all", "my.py', line 1: ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise SystemExit(3)", "my.py', line 1: SystemExit: 3"),
        ("\0", "my.py'"),
        ("x = 1", "my.py' registers nothing: define a subclass of minifa.rules.Rule with a name, or add an entry"),
        ("import minifa as mf\nclass A(mf.rules.FA):\n    name = 'fa'", "my.py' replaces the rule 'fa', a name that"),
        ("import minifa as mf\nmf.models.MODELS['cnn'] = 3", "my.py' replaces the model 'cnn', a name that is taken"),
        ("import minifa as mf\ndel mf.rules.RULES['fa']", "my.py' replaces the rule 'fa'"),
        ("import minifa as mf\nmf.models.MODELS['a b'] = 3", "my.py' gives a model the name 'a b': use letters"),
        ("import minifa as mf\nclass A(mf.rules.FA):\n    name = 'a:b'", "my.py' gives a rule the name 'a:b': use"),
        (
            "import minifa as mf\nclass A(mf.rules.FA):\n    name = 'a'\nclass B(A):\n    name = 'a'",
            "the rule 'a', a name",
        ),
        ("import minifa as mf\nclass A(mf.rules.FA):\n    name = 3", "my.py' registers nothing"),
        ("import minifa as mf\nclass A(mf.rules.FA): pass", "my.py' registers nothing"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_in_a_sentence_and_changes_nothing(code, message, capsys):
    before = {what: dict(table) for what, table in registry.TABLES.items()}
    write(code)
    assert cli.main(["rules", "--import", "my.py"]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.count("\n") == 1
    assert before == registry.TABLES and not imports.FILES
    assert not [name for name in sys.modules if name.startswith(imports.PREFIX)]


def test_a_missing_file_another_kind_of_file_and_a_second_of_the_same_name_are_refused(capsys):
    assert cli.main(["rules", "--import", "nowhere.py"]) == 1
    assert "the file 'nowhere.py' to import (--import) does not exist" in capsys.readouterr().err
    assert cli.main(["rules", "--import", "my"]) == 2
    assert "a file to import (--import) must be a .py file, got 'my'" in capsys.readouterr().err
    Path("other").mkdir()
    files = [write(), write(CODE.replace("mine", "yours"), "other/my.py")]
    assert cli.main(["rules", "--import", files[0], "--import", files[1]]) == 2
    assert "another 'my.py' was imported before" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['import = "my.py"', '[training]\nimport = "my.py"', '[import]\nfile = "my.py"'])
def test_no_recipe_can_import(text):
    write()
    with pytest.raises(ValueError, match="import"):
        mf.experiments.recipes.parse(text)
    assert not imports.FILES


def test_the_command_that_resumes_has_the_option():
    imports.import_file(write())
    Path("run").mkdir()
    Path("run/config.json").touch()
    assert cli.train._how_to_resume(Path("run")).endswith("train --resume run --import my.py")
    assert resume.content_differences(imports.digests(), {}) == []
