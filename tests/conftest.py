"""Fixtures of all tests: the engine on NumPy and on the strict stand-in for CuPy, restored after each test."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import standin
from explorer_fixtures import _chromium, _firefox, chromium, pages, text_of, window  # noqa: F401  fixtures of tests/explorer

import minifa as mf
from minifa import backend
from minifa.parallel.threads import available_cores

CUPY = standin.make_cupy()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--standin-coverage",
        action="store_true",
        help="run what uses the stand-in for CuPy, and tell which lines of the engine ran on it (standin/measure.py)",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ["COLUMNS"] = "80"  # texts are as wide as the terminal
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would each compile the package again
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited by background jobs of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that the processes of the tests get the default
    if config.getoption("--standin-coverage"):
        try:
            from standin.measure import plugin
        except ModuleNotFoundError as error:
            raise pytest.UsageError(f"--standin-coverage: {error}; pip install coverage") from error
        config.pluginmanager.register(plugin(CUPY))


def pytest_report_header() -> str:
    return standin.HEADER


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the repeats on the stand-in, and skip long tests unless their mark is named, as in ``-m fuzz``, so that
    other selections of tests need not exclude them."""
    for item in items:
        if getattr(item, "callspec", None) and item.callspec.params.get("engine") == "standin":
            item.add_marker("standin")
    unnamed = [mark for mark in ("fuzz", "long") if mark not in config.option.markexpr]
    is_long = [any(item.get_closest_marker(mark) for mark in unnamed) for item in items]
    config.hook.pytest_deselected(items=list(itertools.compress(items, is_long)))
    items[:] = [item for item, left_out in zip(items, is_long, strict=True) if not left_out]


@pytest.fixture(autouse=True)
def _engine_put_back() -> Iterator[None]:
    """A test may choose any backend, dtype and threads; the next one starts as in a new process."""
    before = installed()
    yield
    backend._install(*before)
    threads = int(os.environ.get("MINIFA_THREADS") or available_cores())
    if backend._pool.count not in (0, threads):
        backend._pool.resize(threads)


@pytest.fixture
def draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands draw no pictures, which takes most of the time of a short run."""
    monkeypatch.setattr("minifa.cli.pictures.draw", lambda *arguments: None)


@pytest.fixture
def float64() -> Iterator[None]:
    """NumPy in double precision: for checks against formulas."""
    with mf.using("numpy", "float64"):
        yield


def installed() -> tuple[Any, ...]:
    """The current backend and its settings, as the arguments of `backend._install`."""
    choice = backend._choice()
    return choice.module, choice.cpu_chunks, choice.dtype


def install(name: str, dtype: str = "float32", cpu_chunks: bool = True) -> None:
    """Choose NumPy or the stand-in. With the CPU's chunks both make the same calls, so they must give the same bits."""
    backend._install({"numpy": np, "standin": CUPY}[name], cpu_chunks=cpu_chunks, dtype=dtype)


@pytest.fixture(params=["numpy", "standin"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on NumPy, then on the stand-in, in float32."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)  # the stand-in's device has no memory
    install(request.param)
    return request.param


@pytest.fixture
def count_draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[Any, ...]]]:
    """The (purpose, name) of every generator made so far, recorded inside `minifa.rng` for all callers."""
    made: list[tuple[Any, ...]] = []
    digest = mf.rng.hashlib.sha256

    def record(data: bytes = b"", **kwargs: Any) -> Any:
        made.append(tuple(data.decode().split("/", 1)))
        return digest(data, **kwargs)

    class RecordingHash:
        sha256 = staticmethod(record)

    monkeypatch.setattr(mf.rng, "hashlib", RecordingHash)
    return lambda: made
