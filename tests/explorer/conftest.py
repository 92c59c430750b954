"""Pages and browsers that the tests of the explorer share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsers import Chromium, Firefox, Missing, Window

from minifa import cli

ELEVEN = "bp fa usf frsf brsf kolen_pollack weight_mirror dfa sdfa drtp pepita".split()
PAGES = {
    "default": [],
    "tiny": ["--data", "xor", "--model", "tiny", "--batch-size", "4", "--lr", "0.5", "--train-updates", "20"],
    "cnn": ["--model", "cnn", "--depth", "2", "--rules", "bp,fa", "--train-updates", "2"],
    "deep": ["--model", "cnn", "--depth", "6", "--batch-norm", "--rules", "bp,fa", "--train-updates", "2"],
    "rules": ["--rules", ",".join(ELEVEN), "--train-updates", "100"],
}


def started(make: Callable[[], Window]) -> Iterator[Window]:
    try:
        window = make()
    except Missing as error:
        pytest.skip(str(error))
    yield window
    window.close()


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Window]:
    yield from started(Chromium)


@pytest.fixture(scope="session")
def _firefox() -> Iterator[Window]:
    yield from started(Firefox)


@pytest.fixture
def chromium(_chromium: Chromium) -> Iterator[Chromium]:
    """Chromium at 1280 x 900; no page may write to its console."""
    yield from fresh(_chromium)


@pytest.fixture(params=["chromium", "firefox"])
def window(request: pytest.FixtureRequest) -> Iterator[Window]:
    """Both browsers at 1280 x 900; no page may write to their consoles."""
    yield from fresh(request.getfixturevalue(f"_{request.param}"))


def fresh(window: Window) -> Iterator[Window]:
    window.go("about:blank")
    window.resize(1280, 900)
    if isinstance(window, Chromium):
        window.media()
    window.messages()
    yield window
    assert window.messages() == []


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The address of a page of `PAGES`, written by ``minifa explore`` when it is first asked for."""
    written: dict[str, Path] = {}

    def address(name: str) -> str:
        if name not in written:
            path = tmp_path_factory.mktemp("pages") / f"{name}.html"
            assert cli.main(["explore", *PAGES[name], "--quiet", "-o", str(path)]) == 0
            written[name] = path
        return written[name].as_uri()

    return address
