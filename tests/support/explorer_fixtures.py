"""Pages and browsers that the tests of the explorer share: fixtures that tests/conftest.py imports. A conftest.py in
tests/explorer would hide the other one from the tests that import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from browsers import Chromium, Firefox, Missing, Window
from explorer_pages import PAGES

from minifa import cli


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


@pytest.fixture(scope="session")
def text_of(pages: Callable[[str], str]) -> Callable[[str], str]:
    """The text of a page of `PAGES`."""
    return lambda name: Path(unquote(urlparse(pages(name)).path)).read_text(encoding="utf-8")
