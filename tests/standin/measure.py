"""The coverage of the engine by the tests on the stand-in, which needs the package coverage:

    pytest --standin-coverage                      runs what uses the stand-in, and reports
    coverage run -m pytest --standin-coverage      runs all tests: after `coverage combine`, report with
    PYTHONPATH=tests python -m standin.measure     this

Only code that runs while the stand-in is installed counts: a line that a test runs on NumPy alone stays uncovered.
Statements inside functions are counted; those of modules and classes run at import, with any backend.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

import minifa
from minifa import backend

LEAST = 98.0  # percent
CONTEXT = "standin"  # of the lines that ran on it

# Modules outside the engine: they handle no device arrays, or only convert them to host arrays.
OUTSIDE = """__main__ bench cli comparison console data environment evaluation experiments figures frames imports
    network_files notebook parallel.allocator parallel.threads registry representations saved_networks signals storage
    testing text theory tracing.colours tracing.equations tracing.keys tracing.pages tracing.stepper explorer
    training.logs validation weights.module_order weights.tensors""".split()

PACKAGE = Path(minifa.__file__).parent


def engine_files() -> list[Path]:
    """Every source file of minifa except those in OUTSIDE: new files count until they are listed there."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [path for path in paths if not is_outside(".".join(path.relative_to(PACKAGE).with_suffix("").parts))]


def is_outside(module: str) -> bool:
    """Whether this module, or one of its parent packages, is in OUTSIDE."""
    return any(module == one or module.startswith(f"{one}.") for one in OUTSIDE)


def function_lines(source: str) -> set[int]:
    """The lines inside functions, without their signatures."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines.update(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    return lines


def distinguish(standin: Any, coverage: Coverage) -> None:
    """From now on lines have the context `CONTEXT` while the stand-in is installed."""
    look, current = backend._update_modules, ""  # called at every change of backend

    def switched(new: Any = None) -> None:
        nonlocal current
        look(new)
        context = CONTEXT if (new or backend._choice()).module is standin else "host"
        if context != current:
            coverage.switch_context(context)
            current = context

    backend._update_modules = switched
    switched()


def engine_coverage(data: Any = None) -> Coverage:
    """Of the engine's files; with the data of the file ``data``, or without any."""
    coverage = Coverage(data_file=data, config_file=False, include=[str(path) for path in engine_files()])
    coverage.exclude("raise NotImplementedError")  # overridden in a subclass
    return coverage


def report(coverage: Coverage, write: Callable[[str], Any]) -> bool:
    """Write the lines that did not run on the stand-in, and their share. Returns whether it is at least LEAST."""
    data = coverage.get_data()
    data.set_query_contexts([CONTEXT])
    statements = covered = 0
    for path in engine_files():
        counted = set(coverage.analysis2(str(path))[1]) & function_lines(path.read_text(encoding="utf-8"))
        missed = counted - set(data.lines(str(path)) or ())
        statements, covered = statements + len(counted), covered + len(counted) - len(missed)
        if missed:
            write(f"{path.relative_to(PACKAGE).as_posix()}: not run {', '.join(map(str, sorted(missed)))}")
    percent = 100 * covered / max(1, statements)
    write(f"{percent:.2f} % of the engine's lines ran on the stand-in, at least {LEAST:g} % are required")
    return percent >= LEAST


def plugin(standin: Any) -> Distinguish | Measure:
    """Of pytest, under ``coverage run`` or alone."""
    running = Coverage.current()
    return Measure(standin) if running is None else Distinguish(standin, running)


class Distinguish:
    """Under ``coverage run`` all tests are run; `report` reads the combined data."""

    def __init__(self, standin: Any, coverage: Coverage) -> None:
        self.standin, self.coverage = standin, coverage

    def pytest_sessionstart(self) -> None:
        distinguish(self.standin, self.coverage)


class Measure:
    """Selects the tests that use the stand-in, measures while it is installed, reports, fails below LEAST."""

    def __init__(self, standin: Any) -> None:
        self.standin, self.coverage, self.lines = standin, engine_coverage(), list[str]()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """A test uses it as a variant of the fixture `engine`, or if its source names it."""
        uses = {item: self._uses_it(item) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if not uses[item]])
        items[:] = [item for item in items if uses[item]]

    def _uses_it(self, item: Any) -> bool:
        if "engine" in item.fixturenames:
            return item.callspec.params["engine"] == "standin"
        return "standin" in inspect.getsource(item.function)

    def pytest_sessionstart(self) -> None:
        self.coverage.start()
        distinguish(self.standin, self.coverage)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.coverage.stop()
        if not report(self.coverage, self.lines.append):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("engine lines run on the stand-in")
        for line in self.lines:
            terminalreporter.write_line(line)


if __name__ == "__main__":
    combined = engine_coverage(".coverage")
    combined.load()
    sys.exit(not report(combined, print))
