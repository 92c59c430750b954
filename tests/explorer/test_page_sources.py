"""The engines behind the page: the one in the page says how well it agrees, and the served one is the trace."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from minifa import data
from minifa.experiments import Experiment
from minifa.tracing import stepper


@pytest.mark.parametrize("chapter", [0, 5])
def test_the_engine_in_the_page_says_how_well_it_agrees(window, pages, chapter):
    window.open(f"{pages('default')}#chapter-{chapter}")
    window.wait("document.querySelector('main').innerText.includes('agrees with minifa')")
    told = re.search(r"agrees with minifa \S+ to (\d(?:\.\d+)?e-\d+)", window.text("main").replace("−", "-"))
    assert told and float(told[1]) <= 1e-5


def test_both_networks_of_chapter_0_learn_and_the_angle_falls(window, pages):
    window.open(f"{pages('default')}#chapter-0")
    window.wait("document.querySelector('main').innerText.includes('agrees with minifa')")
    window.wait("!document.querySelector('.player [aria-label=Last]').disabled")
    window.wait("[...document.querySelectorAll('.score')].length === 2")
    window.click_on(".player [aria-label=Last]")
    window.wait("document.querySelector('.story').textContent.startsWith('After')", seconds=30)
    bp, fa = (int(one) for one in re.findall(r"(\d+) %\s*right", window.text(".sides")))
    first, last = (float(one) for one in re.findall(r"from ([\d.]+)° to ([\d.]+)°", window.text(".story"))[0])
    assert bp > 85 and fa > 70  # percent, where chance is 10
    assert first == 90 and last < 75


@contextlib.contextmanager
def served(*arguments):
    """The address that ``minifa explore --serve`` prints, in a process of its own."""
    command = [sys.executable, "-m", "minifa", "explore", "--serve", "--quiet", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_the_served_page_shows_the_numbers_of_the_trace(window):
    """Also of a rule and a model of which the page itself has nothing."""
    experiment = Experiment(data="xor", model="tiny", lr=0.5, batch_size=4, optimizer_options={"momentum": 0.0}, seed=3)
    trace = stepper.Replay(experiment, data.load("xor")).trace("frsf")
    carry = next(i for i, moment in enumerate(trace) if moment.kind == "carry")
    options = "--data xor --model tiny --lr 0.5 --batch-size 4 --seed 3 --rules bp,frsf --train-updates 5".split()
    with served(*options) as address:
        window.open(f"{address}#step/frsf/{carry + 1}")
        window.wait(
            "document.querySelector('.moment h2')?.textContent === arguments[0]", trace[carry].title, seconds=30
        )
        window.run("[...document.querySelectorAll(\".matrix[data-symbol='B.T'] button.name\")].at(-1).click()")
        window.wait("document.querySelector('dialog[open] td')")
        rows = window.run(
            """return [...document.querySelectorAll("dialog tbody tr")].map((row) =>
            [...row.querySelectorAll("td")].map((one) => one.textContent.replace("−", "-")))"""
        )
        assert np.array_equal(np.array(rows, np.float32), trace[carry].terms["B"])
        assert "token" not in window.run("return location.href")


@pytest.mark.parametrize(
    "options",
    ["--data xor --model tiny --lr 0.5 --batch-size 4", "--model cnn --depth 2"],
    ids=["widths that nobody chose", "a network of fixed size"],
)
def test_the_served_playground_trains_the_page_s_own_network(chromium, options):
    """Without controls that would change nothing, also where the page has the engine of another network."""
    with served(*options.split(), "--rules", "bp,fa", "--train-updates", "5") as address:
        chromium.open(f"{address}#chapter-5")
        chromium.wait("document.querySelector('.playground .controls')", seconds=60)
        words = chromium.text(".playground .controls")
        assert "Learning rate" in words and "Hidden layers" not in words and "Units in each" not in words
        chromium.run("document.querySelector('.playground button.main').click()")
        chromium.wait("document.querySelector('.playground .story').innerText.startsWith('After 100')", seconds=60)


def test_a_run_that_failed_is_tried_again(chromium):
    """With the same settings, once the engine answers."""
    with served(*"--data xor --model tiny --lr 0.5 --batch-size 4 --rules bp,fa --train-updates 5".split()) as address:
        chromium.open(f"{address}#chapter-5")
        chromium.wait("document.querySelector('.playground .controls')", seconds=60)
        train = "document.querySelector('.playground button.main').click()"
        chromium.run(f"window.real = fetch; window.fetch = () => Promise.reject(new Error('no answer')); {train}")
        chromium.wait("document.querySelector('.playground .story').innerText.startsWith('The engine has stopped')")
        chromium.run(f"window.fetch = window.real; {train}")
        chromium.wait("document.querySelector('.playground .story').innerText.startsWith('After 100')", seconds=60)
