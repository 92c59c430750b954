"""Imports have one direction: each module imports only modules of its own line of `LEVELS` or of a line above,
annotations and imports inside functions included, and there are no circular imports."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minifa

PACKAGE = Path(minifa.__file__).parent
LEVELS = """
    errors validation text frames representations
    registry
    backend parallel environment
    console storage rng linalg initialisers schedules extension_checks array_checks
    losses layers kernels
    joined network_files
    network
    jacobians
    rules
    sharing optim metrics chance theory models data imports
    target_metrics kernel_metrics layer_statistics attacks
    training weights saved_networks evaluation
    checkpoints signals
    experiments
    figures tracing testing bench
    explorer
    notebook comparison
    cli
"""
LEVEL = {name: number for number, line in enumerate(LEVELS.split("\n")) for name in line.split()}


def imports(package):
    """The imports of every module but the package's own __init__ and __main__: {module: {imported module}}."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__").removesuffix("__init__")] = path
    result = {}
    for module, path in modules.items():
        here = path.relative_to(package).parts[:-1]
        result[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(package.name)):
                base = here[: len(here) - node.level + 1] if node.level else ()
                base += tuple((node.module or "").removeprefix(package.name).lstrip(".").split("."))
                base = [part for part in base if part]
                for alias in node.names:
                    name = ".".join([*base, alias.name])
                    result[module].add(name if name in modules else ".".join(base))
        result[module].discard(module)
    return {module: targets for module, targets in result.items() if module not in ("", "__main__")}


def wrong_ways(imported):
    """The imports that point to a level below, as sentences."""
    for module, targets in imported.items():
        for target in targets:
            one, other = module.partition(".")[0], target.partition(".")[0]
            if LEVEL.get(other, 99) > LEVEL[one]:
                yield f"minifa.{module} imports minifa.{target}"


@pytest.fixture(scope="module")
def imported():
    return imports(PACKAGE)


def test_every_module_has_its_level(imported):
    assert {module.partition(".")[0] for module in imported} == LEVEL.keys()


def test_imports_point_down_only(imported):
    assert not sorted(wrong_ways(imported))


def test_no_modules_import_each_other(imported):
    tuple(graphlib.TopologicalSorter(imported).static_order())  # else a CycleError that names the circle


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from .cli import main\n", ["minifa.network imports minifa.cli"]),
        ("from minifa.rules import BP\n", ["minifa.network imports minifa.rules"]),
        ("def f():\n    from . import rules\n", ["minifa.network imports minifa.rules"]),
        ("from . import backend\nimport numpy\n", []),
    ],
)
def test_a_wrong_import_is_found(text, wrong, tmp_path):
    package = tmp_path / "minifa"
    for name in ("cli", "rules", "backend"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text("", encoding="utf-8")
    (package / "network.py").write_text(text, encoding="utf-8")
    assert list(wrong_ways(imports(package))) == wrong


IN_A_NEW_PROCESS = """
import sys
before = set(sys.modules)  # what the environment's own start imports, such as a measurement of coverage
import minifa as mf
early = {"zipfile", "gzip", "html", "statistics", "difflib", "threadpoolctl", "numpy.polynomial", "matplotlib"}
early |= {f"minifa.{name}" for name in ("attacks", "theory", "weights", "tracing", "notebook", "figures")}
print(sorted(early & (sys.modules.keys() - before)))
print(sorted(set(mf.__all__) - set(dir(mf))), sorted(set(mf.LATER) - set(dir(mf))))
history = mf.training.History([{"epoch": 0, "train_loss": 0.5}])
print(history._repr_html_()[:4], mf.representations.html(object()))
missing = [name for name in mf.__all__ if getattr(mf, name, None) is None]
print(missing, [getattr(mf, name).__name__ for name in mf.LATER])
"""


def test_importing_minifa_imports_only_what_most_programs_need():
    """The other names are listed, and imported at first access; so is what a notebook shows."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", IN_A_NEW_PROCESS]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout
    imported_early, listed, shown, accessed = printed.splitlines()
    assert (imported_early, listed, shown) == ("[]", "[] []", "<div None")
    assert accessed.startswith("[] ['Moment', 'Trace', ") and "'minifa.theory'" in accessed
