"""The documentation is run and checked: every example in a docstring has its stated output, and every public name
documents its arguments."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import numpy
import pytest
from conftest import install

import minifa
from minifa import backend

FOLDER = Path(minifa.__file__).parent
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NAMES = {"mf": minifa, "np": numpy}  # the names that an example may use without importing them


def examples(path):
    """The examples of a file by docstring: of the module and of everything in it, private or not."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if ">>>" in text else ():
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ">>>" in (ast.get_docstring(node) or ""):
            name, line = getattr(node, "name", "the module"), node.body[0].lineno - 1
            example = doctest.DocTestParser().get_doctest(ast.get_docstring(node), dict(NAMES), name, path.name, line)
            if example.examples:
                yield example


def run_examples(examples):
    """The failures as reported by doctest; empty if every output is as written."""
    report = []
    examples.globs = dict(NAMES)  # a run leaves them empty
    doctest.DocTestRunner(optionflags=OPTIONS).run(examples, out=report.append)
    return "".join(report)


MODULES = {path.relative_to(FOLDER).as_posix(): list(examples(path)) for path in sorted(FOLDER.rglob("*.py"))}
SHOWING = [module for module, parsed in MODULES.items() if parsed]


@pytest.mark.parametrize("module", SHOWING)
def test_every_example_has_its_stated_output(module):
    before = backend.name(), backend.dtype()
    for example in MODULES[module]:
        wrong = run_examples(example)
        assert not wrong, wrong
        assert (backend.name(), backend.dtype()) == before, f"the example of {example.name} does not tidy up"


@pytest.mark.long
@pytest.mark.parametrize("module", [module for module in SHOWING if module != "bench/memory.py"])  # NumPy's alone
def test_every_example_has_the_same_output_on_the_stand_in(module, monkeypatch):
    """An example that a newcomer copies must run on a GPU unchanged."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    for example in MODULES[module]:
        install("standin")
        wrong = run_examples(example)
        assert not wrong, wrong


def test_a_wrong_example_is_detected(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('def f():\n    """Two.\n\n    >>> 1 + 1\n    3\n    """\n', encoding="utf-8")
    (example,) = examples(module)
    assert example.name == "f" and "Expected:\n    3\nGot:\n    2\n" in run_examples(example)


def test_there_are_many_examples():
    assert sum(len(example.examples) for module in SHOWING for example in MODULES[module]) >= 250
    assert len(SHOWING) >= 35


# The required parts of a docstring


def public(module):
    """The public names of a module: those in its __all__, otherwise those it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]
    return {f"{module.__name__}.{name}": getattr(module, name) for name in names}


def collect(kind, modules):
    """The public objects of the modules, each once, by its shortest name."""
    public_objects = {}
    for module in modules:
        for name, value in public(importlib.import_module(module)).items():
            if kind(value) and all(value is not one for one in public_objects.values()):
                public_objects[name] = value
    return public_objects


FIRST_MET = ["minifa", "minifa.data", "minifa.models", "minifa.rules", "minifa.schedules"]
FIRST_MET += ["minifa.testing", "minifa.weights"]
OTHERS = [
    f"minifa.{name}"
    for name in (
        *("initialisers", "losses", "network", "optim", "tracing", "training", "training.divergence", "training.logs"),
        *("experiments", "checkpoints", "signals", "experiments.resume", "experiments.run_folder", "testing.doctor"),
        *("experiments.schema", "experiments.recipes", "experiments.experiment", "experiments.study"),
        *("experiments.sweep_results", "experiments.sweeps"),
    )
]
CLASSES = collect(inspect.isclass, [*FIRST_MET, *OTHERS])
FUNCTIONS = collect(inspect.isfunction, FIRST_MET)
MET_WITH_AN_EXAMPLE = {
    name: value
    for name, value in {**CLASSES, **FUNCTIONS}.items()
    if name.rpartition(".")[0] in ("minifa", "minifa.rules")
}


def parts(doc):
    """The names that each section explains, ``{"Args": {"eps", "momentum"}}``; several may share a line."""
    sections = {}
    for section, body in re.findall(r"^([A-Z]\w+):\n((?:    .*\n|\n)+)", inspect.cleandoc(doc or "") + "\n", re.M):
        entries = re.findall(r"^    (\w+(?:, \w+)*):\s", body, re.M)
        sections[section] = {name for entry in entries for name in entry.split(", ")}
    return sections


def documented(cls, section):
    """The names documented by a class and its bases: a subclass need not repeat the documentation of a base."""
    return set().union(*(parts(one.__doc__).get(section, set()) for one in cls.__mro__))


def contains_raise(function):
    """Whether it contains a ``raise``. (A constructor made by @dataclass has no source: its __post_init__ has.)"""
    return any(
        isinstance(node, ast.Raise) for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
    )


def test_sections_are_parsed_as_written():
    doc = """Norm.

    Args:
        eps, momentum: numbers,
            b: no name.
        name: a word.

    Raises:
        ValueError: no word.
    """
    assert parts(doc) == {"Args": {"eps", "momentum", "name"}, "Raises": {"ValueError"}}


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS])
def test_a_docstring_begins_with_a_sentence(name):
    doc = {**CLASSES, **FUNCTIONS}[name].__doc__
    assert doc and re.match(r"[^\n](.|\n(?!\n))*[.:](\n\n|$)", inspect.cleandoc(doc))


@pytest.mark.parametrize("name", CLASSES)
def test_the_arguments_and_errors_of_a_constructor_are_documented(name):
    cls = CLASSES[name]
    own = [f for f in (cls.__init__, getattr(cls, "__post_init__", None)) if inspect.isfunction(f)]
    if own:
        assert set(inspect.signature(cls).parameters) <= documented(cls, "Args") | documented(cls, "Attributes")
    if any(contains_raise(f) for f in own if f.__code__.co_filename.startswith(str(FOLDER))):
        assert documented(cls, "Raises")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_of_a_function_are_documented(name):
    """In its docstring, or in that of its module for arguments common to all functions."""
    doc = f"{FUNCTIONS[name].__doc__} {inspect.getmodule(FUNCTIONS[name]).__doc__}"
    assert set(inspect.signature(FUNCTIONS[name]).parameters) <= set(re.findall(r"\w+", doc))


@pytest.mark.parametrize("name", MET_WITH_AN_EXAMPLE)
def test_the_names_that_users_meet_first_have_an_example(name):
    """In its docstring, or for a class in that of a base from the same file."""
    member = MET_WITH_AN_EXAMPLE[name]
    docs = [one.__doc__ for one in getattr(member, "__mro__", [member]) if one.__module__ == member.__module__]
    assert any(">>> " in (doc or "") for doc in docs)


def test_all_public_names_were_checked():
    modules = {name for name in minifa.__all__ if inspect.ismodule(getattr(minifa, name))}
    looked_at = {name.removeprefix("minifa.") for name in [*CLASSES, *FUNCTIONS]}
    assert set(minifa.__all__) - modules <= looked_at
    assert set(minifa.__all__) <= set(re.findall(r"\w+", minifa.__doc__))  # the package defines where each belongs
    assert {"Linear", "rules.FA", "data.Dataset", "data.load", "schedules.cosine", "training.Callback"} <= looked_at
