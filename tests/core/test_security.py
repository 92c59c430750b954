"""The promises of SECURITY.md, checked in the syntax tree of every file of the package: no pickle, no code made from
text, no shell, no unverified download."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import minifa

PACKAGE = Path(minifa.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
NETWORK = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "urllib3", "ftplib", "socket", "ssl"}
LISTENS = PACKAGE / "explorer" / "server.py"  # `minifa explore --serve`
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "runpy.run_path", "runpy.run_module", "code.interact"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
COMPARES = "file_matches"  # of minifa/data/downloads/checksums.py
STARTS = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")}
MAY_PICKLE = {"load", "save", "read_array", "write_array"}  # NumPy's, unless called with allow_pickle=False
SAFER_ONES = {
    "tempfile.mktemp": "another process may take the name: tempfile.mkstemp",
    "torch.load": "weights_only=True",
    "yaml.load": "yaml.safe_load",
}


def imported(tree):
    """The imported object of each name in this file: {"np": "numpy", "load": "numpy.load"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name.partition(".")[0]: one.name for one in node.names if one.asname} | {
                one.name.partition(".")[0]: one.name.partition(".")[0] for one in node.names if not one.asname
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def modules(tree):
    """Every module that the file imports, or imports names from."""
    result = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            result |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            result |= {node.module} | {f"{node.module}.{one.name}" for one in node.names}
    return result


def dotted(node, names):
    """``np.lib.format.read_array`` as "numpy.lib.format.read_array"; "" for an expression without a dotted name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def complaints(text):
    """The problems in a file's text, each with its line."""
    tree = ast.parse(text)
    names, problems = imported(tree), []
    brought_in = modules(tree)
    if pickles := {module.partition(".")[0] for module in brought_in} & PICKLES:
        problems.append(f"it imports {', '.join(pickles)}")
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    called = {dotted(node.func, names) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    if brought_in & NETWORK and "sha256" not in attributes and COMPARES not in called:
        problems.append(f"it reads from the network ({', '.join(brought_in & NETWORK)}) and compares no SHA-256")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func, names), {one.arg: one.value for one in node.keywords}
        if name in RUNS_TEXT or name in SHELLS or name.startswith(("os.exec", "os.spawn")):
            problems.append(f"line {node.lineno}: {name}")
        if name in STARTS and not _starts_this_python(node, names):
            problems.append(f"line {node.lineno}: {name} starts something else than this Python, or through a shell")
        if name.startswith("numpy.") and name.rpartition(".")[2] in MAY_PICKLE:
            if not is_constant(given.get("allow_pickle"), False):
                problems.append(f"line {node.lineno}: {name} without allow_pickle=False")
        if name in SAFER_ONES and not is_constant(given.get("weights_only"), True):
            problems.append(f"line {node.lineno}: {name}; {SAFER_ONES[name]}")
        if name.endswith((".extractall", ".extract")) and "filter" not in given:
            problems.append(f"line {node.lineno}: {name} unpacks wherever the archive says")
    return problems


def _starts_this_python(call, names):
    """``subprocess.run([sys.executable, ...])``, and no shell=True."""
    command = call.args[0] if call.args else None
    own = isinstance(command, ast.List) and command.elts and dotted(command.elts[0], names) == "sys.executable"
    return bool(own) and "shell" not in {one.arg for one in call.keywords}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_breaks_a_promise_of_the_security_policy(path):
    problems = complaints(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "imports.py":  # the option --import executes the file that the user names
        problems = [one for one in problems if one.partition(": ")[2] not in ("exec", "compile")]
    assert problems == []


def test_only_a_command_line_can_name_a_file_to_import():
    calls = {"import_file", "import_content"}
    callers = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {*calls, *(f"imports.{one}" for one in calls)}
    }
    assert callers == {"cli/program.py", "experiments/dask_imports.py", "experiments/processes.py", "imports.py"}


def test_one_file_at_most_reads_from_the_network():
    reads = [p for p in FILES if modules(ast.parse(p.read_text(encoding="utf-8"))) & NETWORK and p != LISTENS]
    assert len(reads) <= 1, reads


def test_the_file_that_listens_connects_to_nothing_and_opens_no_file():
    tree = ast.parse(LISTENS.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"connect", "connect_ex", "create_connection", "urlopen", "open", "read_text", "read_bytes"}
    assert not modules(tree) & (NETWORK - {"socket"})


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import joblib as tools",
        "eval('1')",
        "exec(text)",
        "f = compile(text, '', 'exec')",
        "import os\nos.system('ls')",
        "from os import popen\npopen('ls')",
        "import os as o\no.execv('a', [])",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess, sys\nsubprocess.run([sys.executable], shell=True)",
        "from subprocess import Popen as P\nP(['git', 'log'])",
        "import numpy as np\nnp.load(path)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "from numpy import load\nload(path)",
        "import numpy as np\nnp.lib.format.read_array(f)",
        "import torch\ntorch.load(path)",
        "import tempfile\ntempfile.mktemp()",
        "archive.extractall(folder)",
        "import urllib.request\nurllib.request.urlopen(a)",
        "from urllib.request import urlopen",
        "from urllib import request",
    ],
)
def test_forbidden_code_is_found(text):
    assert complaints(text)


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'minifa'])",
        "import hashlib, urllib.request\nhashlib.sha256(urllib.request.urlopen(a).read())",
        "import torch\ntorch.load(path, weights_only=True)",
        "json.load(file)",
    ],
)
def test_permitted_code_is_accepted(text):
    assert complaints(text) == []


def test_every_file_is_checked():
    assert len(FILES) > 60 and {"checkpoints.py", "npz.py", "processes.py"} <= {path.name for path in FILES}


class Bomb:
    """An object that records its unpickling."""

    opened: list[int] = []

    def __reduce__(self):
        return Bomb.opened.append, (1,)


@pytest.mark.parametrize("kind", ["data", "network.npz"])
def test_a_pickle_in_a_file_is_refused_and_not_loaded(kind, tmp_path):
    path = tmp_path / ("mine.npz" if kind == "data" else kind)
    np.savez(path, x=np.array([Bomb()], dtype=object), y=np.array([0]))
    with pytest.raises(minifa.data.DataFileError, match=path.name):
        minifa.data.load(str(path)) if kind == "data" else minifa.storage.npz.read_arrays(path)
    assert Bomb.opened == []
