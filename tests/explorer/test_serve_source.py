"""The page's source "serve" (web/src/serve.ts) against the real server: in node, and the served page in Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from test_server import XOR, is_idle, serving, wait_until

import minifa as mf
from minifa import data
from minifa.explorer import parameters
from minifa.tracing import stepper

BUNDLE = Path(mf.__file__).parent / "explorer" / "bundle" / "explorer.js"
RUNNER = Path(__file__).with_name("serve_runner.js")
GONE = "The engine has stopped: start `minifa explore --serve` again."


@pytest.fixture(scope="module")
def server():
    with serving() as one:
        yield one


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The bundle and the runner as modules of node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    folder = tmp_path_factory.mktemp("node")
    for source, name in ((BUNDLE, "bundle.mjs"), (RUNNER, "runner.mjs")):
        shutil.copy(source, folder / name)
    return folder


def start(script, address, scenario):
    arguments = ["node", str(script / "runner.mjs"), (script / "bundle.mjs").as_uri(), address, scenario]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(script, address, scenario):
    """What the scenario prints."""
    with start(script, address, scenario) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err[-1000:]
    return [json.loads(line) for line in out.splitlines()]


def as_array(one, like):
    return np.array(one["values"], like.dtype).reshape(one["shape"])


@pytest.fixture
def slow(monkeypatch):
    """The number of updates; each takes a moment, so that a long run does not end by itself."""
    made = []
    step = mf.SGD.step

    def slowly(optimizer, net, rule):
        made.append(rule.label)
        time.sleep(0.002)
        step(optimizer, net, rule)

    monkeypatch.setattr(mf.SGD, "step", slowly)
    return made


def test_a_film_in_the_page_is_the_trace(server, script):
    (film,) = told(script, server.address, "film")
    trace = stepper.Replay(XOR, data.load("xor"), 2).trace("fa")
    assert len(film) == len(trace)
    for shown, moment in zip(film, trace, strict=True):
        assert tuple(shown) == moment.new
        for name in moment.new:
            array = np.asarray(moment.arrays[name])
            assert np.array_equal(as_array(shown[name], array), array)


def test_a_run_in_the_page_is_that_of_the_session(server, script):
    snapshots, chance = told(script, server.address, "run")
    messages = list(server.session.run({"rule": "fa", "updates": 9, "hidden": [3]}))
    expected = [message["snapshot"] for message in messages if "snapshot" in message]
    assert [(one["update"], one["loss"]) for one in snapshots] == [(one["update"], one["loss"]) for one in expected]
    assert chance == json.loads(json.dumps(messages[1]["chance"]))
    net = server.session.setup.training(parameters.read_run({"rule": "fa", "hidden": [3]}, "fa", 1))[0].net
    for layer in net.weighted:  # before the first update
        assert np.array_equal(as_array(snapshots[0]["W"][layer.name], layer.W), layer.W)


@pytest.mark.parametrize("scenario", ["leave", "signal"])
def test_a_run_that_the_page_leaves_ends_in_the_engine(server, script, slow, scenario):
    (count,) = told(script, server.address, scenario)
    assert count >= 4
    wait_until(lambda: is_idle(server))
    assert len(slow) < 10_000


def test_two_runs_of_a_page_are_made_one_after_the_other(server, script, slow):
    assert told(script, server.address, "two") == [[30, 30]]
    assert slow == ["bp"] * 30 + ["fa"] * 30


def test_what_the_engine_refuses_is_a_sentence(server, script):
    can, error = told(script, server.address, "can")
    assert can == [True, True]
    assert error["error"].startswith("Unknown rule 'nope': ") and error["error"].endswith(".")
    (wrong,) = told(script, server.address + "x", "film")
    assert wrong == {"error": "The token is missing or wrong: open the address that minifa explore --serve printed."}


def test_an_engine_that_stops_is_told(script, slow):
    with serving() as server, start(script, server.address, "gone") as process:
        assert process.stdout.readline() == "0\n"
        server.shutdown()
        *_, last = process.communicate(timeout=30)[0].splitlines()
        assert json.loads(last) == {"error": GONE}
        assert told(script, server.address, "film") == [{"error": GONE}]  # nobody listens


def test_the_token_is_taken_from_the_address_once(server, script):
    address = server.address.replace("?", "?only=2&") + "#step/fa/11"
    (shown, kept), version = told(script, address, "token")
    assert shown == [f"http://127.0.0.1:{server.server_port}/?only=2#step/fa/11"]
    assert kept == [["minifa-token", server.token]]
    assert version == mf.__version__


# The page in a browser


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed (pip install selenium)")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip(f"no {'chromedriver' if chromium else 'Chromium'} on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield window
    window.quit()


ASK = """
const [command, done] = arguments;
fetch("/command", {method: "POST", body: JSON.stringify({id: 1, command}), headers: {"X-Minifa-Page": "test",
  "Content-Type": "application/json", "X-Minifa-Token": sessionStorage.getItem("minifa-token")}})
  .then((answer) => answer.text()).then(done, (error) => done(String(error)));
"""


def shown(window, css, seconds=20):
    wait_until(lambda: window.find_elements("css selector", css), seconds)
    return window.find_element("css selector", css).text


def test_the_served_page_in_chromium(window):
    with serving() as server:
        window.get(server.address)
        assert "xor, 2 per example" in shown(window, "footer .facts")
        bare = f"http://127.0.0.1:{server.server_port}/"
        assert window.current_url.split("#")[0] == bare  # the token is not shown
        window.get(bare)  # loaded again
        assert "xor, 2 per example" in shown(window, "footer .facts")
        film = json.loads(window.execute_async_script(ASK, "film"))  # the policy and the origin are those of a browser
        assert film["film"] == json.loads(json.dumps(server.session.film({})["film"]))
        outside = "fetch('https://example.org').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
        window.get_log("browser")
        assert window.execute_async_script(outside) == "refused"
        assert "Content Security Policy" in window.get_log("browser")[0]["message"]
    window.get_log("browser")


def test_a_page_without_its_token_says_what_to_do(window):
    with serving() as server:
        window.get(f"http://127.0.0.1:{server.server_port}/")
        assert "open the address that minifa explore --serve printed" in shown(window, "#page:not(:empty)")


def test_a_page_that_is_closed_ends_its_run(window, slow):
    with serving() as server:
        window.get(server.address)
        shown(window, "footer .facts")
        body = f"const [command, done] = arguments;{ASK.partition(';')[2].partition('.then')[0]}; done()"
        window.execute_async_script(
            body.replace("{id: 1, command}", "{id: 1, command, params: {updates: 20000}}"), "run"
        )
        wait_until(lambda: len(slow) > 5)
        window.get("about:blank")
        wait_until(lambda: is_idle(server))
        assert len(slow) < 10_000
