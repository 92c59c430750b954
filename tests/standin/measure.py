"""The coverage of the engine by the tests on the stand-in: `pytest --standin-coverage`, which needs the package
coverage.

Only code that runs while the stand-in is installed counts: a line that a test runs on NumPy alone stays uncovered.
Statements inside functions are counted; those of modules and classes run at import, with any backend.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

import minifa
from minifa import backend

LEAST = 98.0  # percent

# Modules outside the engine: they handle no device arrays, or only convert them to host arrays.
OUTSIDE = """__main__ bench cli comparison console data environment evaluation experiments figures frames imports
    network_files notebook parallel.threads registry representations saved_networks signals storage
    testing text theory tracing.equations tracing.explorer tracing.stepper training.logs validation
    weights.module_order weights.tensors""".split()

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


class Measure:
    """The plugin: selects the tests that use the stand-in, measures while it is installed, reports, fails below
    LEAST."""

    def __init__(self, standin: Any) -> None:
        self.standin = standin
        self.coverage = Coverage(data_file=None, config_file=False, include=[str(path) for path in engine_files()])
        self.coverage.exclude("raise NotImplementedError")  # overridden in a subclass
        self.missed: dict[str, list[int]] = {}
        self.percent = 0.0

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """A test uses it as a variant of the fixture `engine`, or if its source names it."""
        kept = [item for item in items if self._uses_it(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def _uses_it(self, item: Any) -> bool:
        if "engine" in item.fixturenames:
            return item.callspec.params["engine"] == "standin"
        return "standin" in inspect.getsource(item.function)

    def pytest_sessionstart(self) -> None:
        look = backend._update_modules  # called at every change of backend

        def switched(new: Any = None) -> None:
            look(new)
            module = (new or backend._choice()).module
            self.coverage.switch_context("standin" if module is self.standin else "host")

        backend._update_modules = switched
        self.coverage.start()
        self.coverage.switch_context("host")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        data.set_query_contexts(["standin"])
        statements = covered = 0
        for path in engine_files():
            counted = set(self.coverage.analysis2(str(path))[1]) & function_lines(path.read_text(encoding="utf-8"))
            missed = counted - set(data.lines(str(path)) or ())
            statements, covered = statements + len(counted), covered + len(counted) - len(missed)
            if missed:
                self.missed[path.relative_to(PACKAGE).as_posix()] = sorted(missed)
        self.percent = 100 * covered / max(1, statements)
        if self.percent < LEAST:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("engine lines run on the stand-in")
        for name, lines in self.missed.items():
            terminalreporter.write_line(f"{name}: not run {', '.join(map(str, lines))}")
        terminalreporter.write_line(f"{self.percent:.2f} % of the engine's lines, at least {LEAST:g} % are required")
