"""Two real browsers for tests and screenshots of the explorer's page, with the same methods: Chromium through Selenium
and chromedriver, Firefox over WebDriver BiDi, which it speaks itself (no geckodriver). Where one does not start,
`Missing` says why."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 60
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIREFOX = ("firefox-esr", "firefox")
CHROMIUM_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
FIREFOX_PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "remote.prefs.recommended": True,
    "ui.useOverlayScrollbars": 1,  # a window as wide as asked for
}


class Keys:
    """The code points by which WebDriver names keys without a character."""

    TAB, ENTER, ESCAPE, SHIFT = "\ue004", "\ue007", "\ue00c", "\ue008"
    END, HOME, LEFT, UP, RIGHT, DOWN = "\ue010", "\ue011", "\ue012", "\ue013", "\ue014", "\ue015"


class Missing(Exception):
    """A browser, its driver or its Python package is missing or does not start; the message says which."""


class Window:
    """One window. Coordinates are CSS pixels of the viewport."""

    name = ""
    run_json: Callable[[str, str], str]  # (function of a text as source, text) -> text, awaited
    perform: Callable[[list[dict[str, Any]]], object]  # actions of WebDriver
    resize: Callable[[int, int], None]  # the size of the viewport
    messages: Callable[[], list[str]]  # of the console since the last call, errors of scripts included
    close: Callable[[], None]

    def go(self, address: str) -> None:
        raise NotImplementedError

    def reload(self) -> None:
        """Load the page again, and wait until it is loaded: a script of `location.reload()` returns before."""
        raise NotImplementedError

    def picture(self, whole: bool = False) -> bytes:
        """PNG of the viewport, or of the whole document."""
        raise NotImplementedError

    def media(self, **features: str) -> None:
        """Emulate media features, underscores for hyphens: ``forced_colors="active"``; none: the browser's own."""
        raise Missing(f"{self.name} cannot emulate media features while it runs")

    def open(self, address: str) -> None:
        self.go("about:blank")  # otherwise another fragment would not load the page again
        self.messages()
        self.go(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """The result of a function's body; `arguments` and the result are JSON."""
        function = (
            "async (text) => JSON.stringify((await (async function () {\n"
            + script
            + "\n}).apply(null, JSON.parse(text))) ?? null)"
        )
        return json.loads(self.run_json(function, json.dumps(arguments)))

    def wait(self, condition: str, *arguments: Any, seconds: float = 10.0) -> None:
        """Until an expression is true; it is asked for every 20 ms."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})", *arguments):
            if time.monotonic() > end:
                raise AssertionError(f"not true in {self.name} after {seconds:g} s: {condition} {list(arguments)}")
            time.sleep(0.02)

    def hear(self, text: str, times: int = 1, seconds: float = 10.0) -> list[str]:
        """All messages since the last call, as soon as this text is in so many of them: what a browser itself reports,
        as a request that it stops, comes after the answer to the script."""
        end, heard = time.monotonic() + seconds, self.messages()
        while sum(text in message for message in heard) < times:
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} not heard {times} times in {self.name} after {seconds:g} s: {heard}")
            time.sleep(0.02)
            heard += self.messages()
        return heard

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        self.run("await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def press(self, *keys: str, holding: str = "") -> None:
        """Keys to the element with the focus; `holding` is pressed meanwhile."""
        actions = [
            *({"type": "keyDown", "value": key} for key in holding),
            *({"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")),
            *({"type": "keyUp", "value": key} for key in reversed(holding)),
        ]
        self.perform([{"type": "key", "id": "keys", "actions": actions}])

    def point(self, x: float, y: float) -> None:
        self._pointer([_move(x, y)])

    def click(self, x: float, y: float) -> None:
        self._pointer([_move(x, y), _button("pointerDown"), _button("pointerUp")])

    def drag(self, places: Sequence[tuple[float, float]]) -> None:
        """The button is pressed at the first place and released at the last one."""
        first, *others = (_move(x, y) for x, y in places)
        self._pointer([first, _button("pointerDown"), *others, _button("pointerUp")])

    def _pointer(self, actions: list[dict[str, Any]]) -> None:
        parameters = {"pointerType": "mouse"}
        self.perform([{"type": "pointer", "id": "mouse", "parameters": parameters, "actions": actions}])

    def middle(self, css: str, number: int = 0) -> tuple[float, float]:
        """The middle of an element, which is scrolled into view."""
        box = self.run(
            """const found = [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility());
            const one = found[arguments[1]];
            if (!one) return null;
            one.scrollIntoView({block: "center", inline: "nearest", behavior: "instant"});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]""",
            css,
            number,
        )
        assert box, f"{self.name} shows no element number {number} of {css}"
        return box[0], box[1]

    def click_on(self, css: str, number: int = 0) -> None:
        self.click(*self.middle(css, number))

    def text(self, css: str) -> str:
        """The visible text of the first such element, with an ASCII minus sign."""
        return self.run("return document.querySelector(arguments[0]).innerText", css).replace("−", "-")


def _move(x: float, y: float) -> dict[str, Any]:
    return {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}


def _button(kind: str) -> dict[str, Any]:
    return {"type": kind, "button": 0}


class Chromium(Window):
    name = "Chromium"

    def __init__(self) -> None:
        try:
            from selenium import webdriver
        except ImportError as error:
            raise Missing("Selenium is not installed (pip install selenium)") from error
        chromium, driver = _program(CHROMIUM), _program(("chromedriver",))
        if not chromium or not driver:
            raise Missing(f"no {'chromedriver' if chromium else 'Chromium'} on this machine")
        self.folder = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in [*CHROMIUM_OPTIONS.split(), f"--user-data-dir={self.folder.name}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
        except Exception as error:
            self.folder.cleanup()
            raise Missing(f"Chromium does not start: {str(error).splitlines()[0]}") from error
        self.driver.set_script_timeout(START_SECONDS)
        self.command = self.driver.execute_cdp_cmd

    def go(self, address: str) -> None:
        self.driver.get(address)

    def reload(self) -> None:
        self.driver.refresh()

    def run_json(self, function: str, text: str) -> str:
        return self.driver.execute_script(f"return ({function})(arguments[0])", text)

    def perform(self, actions: list[dict[str, Any]]) -> None:
        from selenium.webdriver.remote.command import Command

        self.driver.execute(Command.W3C_ACTIONS, {"actions": actions})

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", size)

    def media(self, **features: str) -> None:
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", {"features": wanted})

    def picture(self, whole: bool = False) -> bytes:
        options: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.command("Page.getLayoutMetrics", {})["cssContentSize"]
            options |= {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.command("Page.captureScreenshot", options)["data"])

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def close(self) -> None:
        self.driver.quit()
        self.folder.cleanup()


class Firefox(Window):
    """Preferences such as ``{"ui.systemUsesDarkTheme": 1, "ui.prefersReducedMotion": 1}`` hold from the start."""

    name = "Firefox"

    def __init__(self, **preferences: Any) -> None:
        try:
            import websocket
        except ImportError as error:
            raise Missing("websocket-client is not installed (pip install selenium)") from error
        firefox = _program(FIREFOX)
        if not firefox:
            raise Missing("no Firefox on this machine")
        self.folder = tempfile.TemporaryDirectory(prefix="firefox", ignore_cleanup_errors=True)
        write_preferences(Path(self.folder.name), preferences)
        self.log = (Path(self.folder.name) / "stderr").open("w+")
        command = [firefox, "--headless", "--no-remote", "--profile", self.folder.name, "--remote-debugging-port=0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        self.socket: Any = None
        self.count, self.heard, self.size = 0, list[str](), (1280, 900)
        try:
            address = self._address()
            self.socket = websocket.create_connection(
                f"{address}/session", suppress_origin=True, timeout=START_SECONDS, skip_utf8_validation=True
            )
            self.command("session.new", capabilities={})
            self.context = self.command("browsingContext.getTree")["contexts"][0]["context"]
            self.command("session.subscribe", events=["log.entryAdded"])
        except Exception as error:
            self.close()
            raise Missing(f"Firefox does not start: {error}") from error

    def _address(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"WebDriver BiDi listening on (ws://\S+)", Path(self.log.name).read_text())
            if found:
                return found[1]
            time.sleep(0.05)
        raise OSError(f"it told no address: {Path(self.log.name).read_text()[-300:]}")

    def command(self, method: str, **parameters: Any) -> Any:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("method") == "log.entryAdded":
                self.heard.append(answer["params"]["text"] or "")
            elif answer.get("id") == self.count:
                if answer["type"] == "error":
                    raise AssertionError(f"{method}: {answer['error']}: {answer['message']}")
                return answer["result"]

    def open(self, address: str) -> None:
        """In a new tab: it has the focus, which the tab key may have taken out of the old one."""
        old = self.context
        self.context = self.command("browsingContext.create", type="tab", background=False)["context"]
        self.command("browsingContext.close", context=old)
        self.resize(*self.size)
        self.messages()
        self.go(address)

    def go(self, address: str) -> None:
        self.command("browsingContext.navigate", context=self.context, url=address, wait="complete")

    def reload(self) -> None:
        self.command("browsingContext.reload", context=self.context, wait="complete")

    def run_json(self, function: str, text: str) -> str:
        answer = self.command(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[{"type": "string", "value": text}],
            target={"context": self.context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise AssertionError(answer["exceptionDetails"]["text"])
        return answer["result"]["value"]

    def perform(self, actions: list[dict[str, Any]]) -> None:
        self.command("input.performActions", context=self.context, actions=actions)

    def resize(self, width: int, height: int) -> None:
        self.size = (width, height)
        size = {"width": width, "height": height}
        self.command("browsingContext.setViewport", context=self.context, viewport=size)

    def picture(self, whole: bool = False) -> bytes:
        origin = "document" if whole else "viewport"
        return base64.b64decode(
            self.command("browsingContext.captureScreenshot", context=self.context, origin=origin)["data"]
        )

    def messages(self) -> list[str]:
        self.run("return null")  # messages before this answer have arrived
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()


@contextmanager
def opened(make: Callable[[], Window]) -> Iterator[Window]:
    """A browser that is closed at the end."""
    window = make()
    try:
        yield window
    finally:
        window.close()


def picture_by_command(address: str, path: Path, width: int, height: int) -> None:
    """``firefox --headless --screenshot``: the last resort where Firefox starts but cannot be driven."""
    firefox = _program(FIREFOX)
    if not firefox:
        raise Missing("no Firefox on this machine")
    with tempfile.TemporaryDirectory(prefix="firefox", ignore_cleanup_errors=True) as profile:
        write_preferences(Path(profile), {})
        size = f"--window-size={width},{height}"
        command = [firefox, "--headless", "--no-remote", "--profile", profile, "--screenshot", str(path), size, address]
        try:
            subprocess.run(command, check=True, timeout=2 * START_SECONDS, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise Missing(f"Firefox takes no screenshot: {error}") from error


def write_preferences(profile: Path, preferences: dict[str, Any]) -> None:
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});"
        for name, value in {**FIREFOX_PREFERENCES, **preferences}.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))


def _program(names: Sequence[str]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)
