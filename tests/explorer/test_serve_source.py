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
from minifa.cli.explore import BASE
from minifa.explorer import parameters
from minifa.explorer.session import Session
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
    snapshots, (before, chance) = told(script, server.address, "run")
    messages = list(server.session.run({"rule": "fa", "updates": 9, "hidden": [3]}))
    expected = [message["snapshot"] for message in messages if "snapshot" in message]
    assert [(one["update"], one["loss"]) for one in snapshots] == [(one["update"], one["loss"]) for one in expected]
    assert before is None and chance == next(
        message["chance"] for message in server.session.run({"rule": "fa"}) if "chance" in message
    )
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


@pytest.mark.long
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

FACTS = "document.querySelector('footer .facts')?.innerText"
ASK = """
const answer = await fetch("/command", {method: "POST", body: JSON.stringify(arguments[0]), headers: {
  "X-Minifa-Page": "test", "Content-Type": "application/json",
  "X-Minifa-Token": sessionStorage.getItem("minifa-token")}});
return await answer.text()
"""


@pytest.fixture(scope="module")
def digits():
    """A server of the network that `minifa explore` shows by default, trained for a short time."""
    session = Session.of_experiment(BASE, data.load("digits"), ["bp", "fa"], train_updates=20)
    with serving(session) as one:
        yield one


def test_the_served_page(server, window):
    window.open(server.address)
    window.wait(FACTS)
    assert "xor, 2 per example" in window.text("footer .facts")
    assert window.run("return location.href") == f"http://127.0.0.1:{server.server_port}/"  # the token is not shown
    window.reload()
    window.wait(FACTS)
    assert "xor, 2 per example" in window.text("footer .facts")
    film = json.loads(window.run(ASK, {"id": 1, "command": "film"}))  # with the origin that a browser sends
    assert film["film"] == json.loads(json.dumps(server.session.film({})["film"]))
    assert window.run("return await fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"
    heard = window.hear("Policy")
    assert all("https://example.org" in message for message in heard)


def test_a_page_without_its_token_says_what_to_do(server, window):
    window.open(server.address.partition("?")[0])
    window.run("sessionStorage.clear()")
    window.reload()
    expected = "The token is missing or wrong: open the address that minifa explore --serve printed."
    window.wait("document.body.innerText.trim() === arguments[0]", expected)
    if window.name == "Chromium":  # Firefox does not report the status
        assert len(window.hear("403")) == 1


def test_a_page_that_is_closed_ends_its_run(server, window, slow):
    window.open(server.address)
    window.wait(FACTS)
    window.run(
        ASK.partition(";\nreturn")[0].replace("await fetch", "fetch"), {"command": "run", "params": {"updates": 20_000}}
    )
    wait_until(lambda: len(slow) > 5)
    window.go("about:blank")
    wait_until(lambda: is_idle(server))
    assert len(slow) < 10_000
    window.messages()


def test_the_step_on_a_served_page_is_the_trace(digits, window):
    window.open(f"{digits.address}#step/fa/11")
    window.wait("document.querySelector('#moment h2')")
    moment = digits.session.film({"rule": "fa"})["film"][10]
    assert window.text("#moment h2") == moment["title"] == "Backward through linear3"
    assert f"{moment['angles']['what B and W carry']:.1f}°" in window.text("main")


def test_the_engine_trains_for_chapters_3_and_5(digits, window):
    window.open(f"{digits.address}#training/fa/linear3/20")
    window.wait("document.querySelector('[aria-labelledby=why-3] svg')", seconds=60)
    *_, last, _ = digits.session.run({"rule": "fa"})
    angle = last["snapshot"]["layers"]["linear3"]["weight_angle"]
    assert f"{angle:.1f}°" in window.text("[aria-labelledby=why-3]")
    window.run("location.hash = 'chapter-5/rule=fa/rate=0.02/hidden=8/epochs=1'")
    window.wait("document.querySelector('button.main')")
    window.click_on("button.main")
    window.wait("document.querySelector('.story').innerText.startsWith('After 180 updates')", seconds=60)
    *_, last, _ = digits.session.run({"rule": "fa", "lr": 0.02, "hidden": [8], "seed": 0, "updates": 180})
    assert f"{round(100 * last['snapshot']['accuracy'])} % of the test digits are right" in window.text(".story")


def test_a_page_whose_engine_stops_says_so(chromium):
    session = Session.of_experiment(BASE, data.load("digits"), ["bp", "fa"])
    with serving(session) as server:
        chromium.open(f"{server.address}#chapter-5")
        chromium.wait("document.querySelector('button.main')", seconds=30)
    chromium.click_on("button.main")
    chromium.wait("document.querySelector('.story').innerText === arguments[0]", GONE)
    assert len(chromium.hear("ERR_CONNECTION_REFUSED")) == 1
