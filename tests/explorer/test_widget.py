"""`mf.explore`: the explorer in a notebook shows your own objects, which stay as they are; the kernel stays free, and a
run ends when it is stopped, replaced or closed."""

from __future__ import annotations

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from browsers import Keys
from checks import assert_same_bits
from test_session import assert_is_trace, decoded, matrices, snapshots_of

import minifa as mf
from minifa import data, rules
from minifa.explorer import widget as widgets
from minifa.explorer.session import Session
from minifa.explorer.widget import Requests

XOR = data.load("xor")
BATCH = (XOR.train.x, XOR.train.y)
ENDS = ("content", "film", "done", "stopped", "error")
SECONDS = 60


class Halved(rules.FA):
    """A rule of one's own, as in tutorial 12."""

    name = "halved"
    title = "Half of fixed feedback"
    equation = "B = M / 2, M drawn once"

    def feedback(self, layer):
        B = super().feedback(layer)
        return None if B is None else B / 2


def objects(rule=rules.FA, momentum=0.9, hidden=4):
    net = mf.Network([mf.Linear(2, hidden), mf.Tanh(), mf.Linear(hidden, 2)], seed=0)
    return net, rule(seed=0).attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1, momentum=momentum)


class Page:
    """Collects what is sent to the page, and waits for the last answer to a request."""

    def __init__(self):
        self.messages, self.arrived = [], threading.Condition()

    def send(self, message):
        json.dumps(message, allow_nan=False)  # as the kernel will
        with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    def of(self, identity):
        return [message for message in self.messages if message["id"] == identity]

    def until(self, identity, is_reached=lambda answers: any(end in answers[-1] for end in ENDS)):
        """The answers to a request, once the last one, or another, has come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.of(identity) and is_reached(self.of(identity)), SECONDS)
            return self.of(identity)


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def start(page):
    """Makes `Requests` for a session, which are closed after the test."""
    made = []

    def requests_of(session):
        made.append(Requests(session, page.send))
        return made[-1]

    yield requests_of
    for one in made:
        one.close()


def session_of(rule=rules.FA, **options):
    net, attached, loss, optimizer = objects(rule)
    return Session.of_objects(net, attached, loss, optimizer, BATCH, ["bp", "usf"], **options)


def film_of(identity, rule):
    return {"id": identity, "command": "film", "params": {"rule": rule}}


def run_of(identity, updates, **params):
    return {"id": identity, "command": "run", "params": {"updates": updates, **params}}


# Requests


@pytest.mark.parametrize("rule", [rules.FA, rules.DFA, Halved])
def test_the_film_is_the_trace_of_your_own_objects_bit_for_bit(rule, start, page):
    requests = start(session_of(rule))
    requests.receive(film_of(1, rule.name))
    requests.receive(film_of(2, "bp"))
    net, attached, loss, optimizer = objects(rule)
    assert_is_trace(page.until(1)[-1], mf.trace(net, attached, *BATCH, loss, optimizer))
    net, _, loss, optimizer = objects()
    assert_is_trace(page.until(2)[-1], mf.trace(net, rules.BP().attach(net), *BATCH, loss, optimizer))


def test_a_run_is_that_of_the_trainer(start, page):
    start(session_of()).receive(run_of(1, 20))
    answers = snapshots_of(page.until(1))
    net, rule, loss, optimizer = objects()
    for _ in range(20):
        rule.gradients(net, mf.asarray(BATCH[0]), BATCH[1], loss)
        optimizer.step(net, rule)
    last = matrices(answers[-1])
    assert answers[-1]["snapshot"]["update"] == 20
    assert_same_bits({name: last[name] for name in net.parameters()}, net.parameters())


def test_a_new_run_ends_the_run_before_it(start, page):
    requests = start(session_of())
    requests.receive(run_of("long", 20_000))
    page.until("long", snapshots_of)
    requests.receive(run_of("short", 3))
    assert page.until("short")[-1]["done"]
    order = [message["id"] for message in page.messages]
    assert page.of("long")[-1] == {"id": "long", "stopped": True}
    assert order.index("short") > max(i for i, one in enumerate(order) if one == "long")  # one trains at a time


def test_stop_ends_the_run_and_not_a_film(start, page):
    requests = start(session_of())
    requests.receive(run_of(1, 20_000))
    requests.receive(film_of(2, "usf"))
    page.until(1, snapshots_of)
    requests.receive({"id": 3, "command": "stop"})
    assert page.until(3) == [{"id": 3, "done": True}]
    assert page.until(1)[-1] == {"id": 1, "stopped": True}
    assert page.until(2)[-1]["film"]
    requests.receive({"id": 4, "command": "stop"})  # without a run
    assert page.until(4)


class Counting(mf.SGD):
    """Counts its steps."""

    steps = 0

    def step(self, net, rule=None):
        type(self).steps += 1
        super().step(net, rule)


def test_closing_ends_the_work_within_an_update(start, page):
    net, rule, loss, _ = objects()
    requests = start(Session.of_objects(net, rule, loss, Counting(lr=0.1), BATCH))
    Counting.steps = 0
    requests.receive(run_of(1, 20_000))
    page.until(1, snapshots_of)
    requests.close()
    _, thread = requests._run
    thread.join(SECONDS)
    done, sent = Counting.steps, len(page.messages)
    assert not thread.is_alive() and 0 <= done < 20_000
    requests.receive(film_of(2, "bp"))
    time.sleep(0.2)
    assert (Counting.steps, len(page.messages)) == (done, sent)


def test_receiving_does_not_wait_for_the_work(start):
    requests = start(session_of())
    before = time.perf_counter()
    requests.receive(run_of(1, 20_000))
    requests.receive(run_of(2, 20_000))
    requests.receive(film_of(3, "bp"))
    assert time.perf_counter() - before < 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"id": 1, "command": "delete"}, "unknown command 'delete'"),
        ({"id": 1, "command": "film", "params": {"rule": "faa"}}, "did you mean fa"),
        ({"id": 1, "command": "run", "params": {"updates": 0}}, "updates must be at least 1"),
        ({"id": 1, "command": "run", "params": {"hidden": [3]}}, "change its widths where you made it"),
        ({"id": 1, "command": "run", "params": {"noise": 0.5}}, "give data="),
    ],
)
def test_a_request_that_is_wrong_is_answered_with_a_sentence(request_, words, start, page):
    start(session_of()).receive(request_)
    (answer,) = page.until(1)
    assert words in answer["error"]


@pytest.mark.parametrize("request_", [None, [], "film", {}, {"id": [1]}])
def test_what_is_not_a_request_is_answered_too(request_, start, page):
    start(session_of()).receive(request_)
    assert "error" in page.until(None)[0]


def test_the_work_has_the_backend_of_the_cell_that_made_the_widget(page):
    with mf.using("numpy", dtype="float64"):
        requests = Requests(session_of(), page.send)
    requests.receive(film_of(1, "usf"))
    message = page.until(1)[-1]
    assert all(kind == "f8" for _, kind, *_ in message["arrays"])


# Arguments


def test_defaults_follow_the_targets():
    net, rule, *_ = objects()
    assert type(widgets._loss_for(net, BATCH, None)) is mf.SoftmaxCrossEntropy
    assert type(widgets._loss_for(net, (BATCH[0], np.zeros((4, 2))), None)) is mf.HalfSquaredError
    one = mf.Network([mf.Linear(2, 1)])
    assert type(widgets._loss_for(one, BATCH, None)) is mf.SigmoidCrossEntropy
    assert type(widgets._loss_for(one, BATCH, XOR)) is mf.SoftmaxCrossEntropy


def test_the_usual_rules_are_those_that_can_train_the_network():
    net, rule, *_ = objects()
    assert widgets._usual_rules(net, rule) == ["bp", "fa", "usf", "dfa"]
    flat = mf.Network([mf.Flatten(), mf.Linear(4, 3), mf.ReLU(), mf.Linear(3, 2)])  # its input shape is not known
    assert widgets._usual_rules(flat, rules.BP().attach(flat)) == ["bp", "fa", "usf"]


@pytest.mark.parametrize("batch", [BATCH[:1], (*BATCH, None), 3])
def test_a_batch_that_is_no_pair_is_refused(batch, explore):
    net, rule, *_ = objects()
    with pytest.raises((TypeError, ValueError), match=r"the batch must be a pair \(x, y\)"):
        explore(net, rule, batch)


def test_classes_of_rules_become_instances():
    _, own, *_ = objects(partial(rules.FA))
    made = widgets._instances(["bp", Halved, rules.USF(seed=3)], own)
    assert made[0] == "bp" and type(made[1]) is Halved and made[2].seed == 3
    with pytest.raises(TypeError, match="got the class dict"):
        widgets._instances([dict], own)


def test_without_anywidget_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "minifa.explorer.notebook_widget", raising=False)
    net, rule, *_ = objects()
    with pytest.raises(ImportError, match=r'requires the package anywidget: pip install "\.\[notebook\]"'):
        mf.explore(net, rule, BATCH)


def test_importing_minifa_imports_neither_anywidget_nor_the_session():
    import subprocess

    code = "import sys, minifa; print([one for one in sys.modules if 'anywidget' in one or 'minifa.explorer' in one])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


# The widget


@pytest.fixture
def explore():
    pytest.importorskip("anywidget", reason="anywidget is not installed (pip install anywidget)")
    made = []

    def make(*arguments, **options):
        made.append(mf.explore(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_widget_answers_the_messages_of_its_page(explore, page, monkeypatch):
    net, rule, loss, optimizer = objects(Halved)
    before = {name: array.copy() for name, array in {**net.state(), **rule.state()}.items()}
    shown = explore(net, rule, BATCH, loss=loss, optimizer=optimizer, rules=["bp", rules.USF], data=XOR)
    monkeypatch.setattr(shown._requests, "_send_to_page", page.send)
    for request in ({"id": 0, "command": "describe"}, film_of(1, "halved"), run_of(2, 5, rule="usf")):
        shown._handle_custom_msg(request, [])
    content = page.until(0)[-1]["content"]
    assert [one["name"] for one in content["rules"]] == ["halved", "bp", "usf"]
    assert content["rules"][0]["title"] == "Half of fixed feedback"
    film = page.until(1)[-1]
    assert page.until(2)[-1]["done"]
    assert_same_bits({**net.state(), **rule.state()}, before)  # copies were used
    assert_is_trace(film, mf.trace(net, rule, *BATCH, loss, optimizer))
    B = next(moment for moment in film["film"] if moment["kind"] == "feedback")["new"]["linear2.B"]
    np.testing.assert_array_equal(decoded(film, B), rule.memory["linear2"] / 2)


def test_the_widget_carries_the_checked_in_page_and_is_one_line_at_the_prompt(explore):
    net, rule, *_ = objects()
    shown = explore(net, rule, BATCH, rules=[])
    bundle = Path(mf.__file__).parent / "explorer" / "bundle" / "explorer.js"
    assert shown._esm == bundle.read_text(encoding="utf-8")
    assert repr(shown) == "<Explorer of a step under fa>"


NOTEBOOK = """
import threading, time
import numpy as np
import minifa as mf

data = mf.data.load("xor")
net = mf.Network([mf.Linear(2, 4), mf.Tanh(), mf.Linear(4, 2)], seed=0)
rule = mf.rules.FA(seed=0).attach(net)
loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1)
widget = mf.explore(net, rule, (data.train.x, data.train.y), loss=loss, optimizer=optimizer, data=data)
widget
---
sent = []
really_send = widget._requests._send_to_page
widget._requests._send_to_page = lambda message: (sent.append(message), really_send(message))
widget._handle_custom_msg({"id": 1, "command": "film", "params": {"rule": "fa"}}, [])
widget._handle_custom_msg({"id": 2, "command": "run", "params": {"rule": "fa", "updates": 20000}}, [])
started = time.perf_counter()
sum(range(1000))
assert time.perf_counter() - started < 5  # the kernel is free
while not any("film" in one for one in sent) or not any("snapshot" in one for one in sent):
    time.sleep(0.01)
---
widget.close()
for thread in threading.enumerate():
    if thread.name == "mf.explore":
        thread.join(30)
assert not any(thread.name == "mf.explore" for thread in threading.enumerate())
---
import base64
film = next(one for one in sent if "film" in one)
def array_of(place):
    shape, kind, bits = film["arrays"][place]
    return np.frombuffer(base64.b64decode(bits), "<" + kind).reshape(shape)
trace = mf.trace(net, rule, data.train.x, data.train.y, loss, optimizer)
assert len(trace) == len(film["film"])
for shown, moment in zip(film["film"], trace):
    assert shown["angles"] == moment.angles
    for name, place in shown["new"].items():
        assert np.array_equal(array_of(place), moment.arrays[name]), name
print("equal in", len(trace), "moments")
"""


@pytest.mark.long  # starts a kernel
def test_an_executed_notebook_gets_the_film_of_mf_trace():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (pip install nbclient)")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install nbclient)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (pip install ipykernel)")
    pytest.importorskip("anywidget", reason="anywidget is not installed (pip install anywidget)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one.strip()) for one in NOTEBOOK.split("---")])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, *_, last = notebook.cells
    (view,) = [output for output in first.outputs if output.output_type == "execute_result"]
    assert "application/vnd.jupyter.widget-view+json" in view.data
    assert last.outputs[-1].text == "equal in 15 moments\n"


# The page in a notebook, with a model that answers with what the engine answered before

HTML = """<!doctype html><meta charset="utf-8"><title>A notebook</title>
<body style="margin: 8px; background: BACKGROUND; font-family: serif">
<button id="other">A button of the notebook</button><div id="out" style="width: 860px"></div>
<script type="application/json" id="given">GIVEN</script>
<script type="module">
const { bundle, recorded } = JSON.parse(document.getElementById("given").textContent);
const { default: page } = await import(URL.createObjectURL(new Blob([bundle], { type: "text/javascript" })));
const heard = new Set();
window.sent = [];
const model = {
  send(message) {
    sent.push(message);
    const wanted = message.params?.rule;
    for (const one of recorded)
      if (one.command === message.command && (one.rule ?? wanted) === wanted)
        setTimeout(() => heard.forEach((hear) => hear({ ...one.message, id: message.id })), 5);
  },
  on(event, hear) { heard.add(hear); },
  off(event, hear) { heard.delete(hear); },
};
const el = document.getElementById("out");
window.leave = page.render({ model, el });
window.page = el.shadowRoot;
window.listeners = heard;
</script>
"""


@pytest.fixture(scope="module")
def recorded():
    net, rule, loss, optimizer = objects(Halved)
    session = Session.of_objects(net, rule, loss, optimizer, BATCH, ["bp", "usf"], XOR)
    asked = [{"command": "describe"}, *(film_of(0, one) for one in ("halved", "bp", "usf")), run_of(0, 100, rule="usf")]
    return [
        {"command": one["command"], "rule": one.get("params", {}).get("rule"), "message": message}
        for one in asked
        for message in session.answers({"id": 0, **one})
    ]


@pytest.fixture
def notebook(window, recorded, tmp_path):
    """Opens a page that loads the bundle as anywidget does."""
    bundle = (Path(mf.__file__).parent / "explorer" / "bundle" / "explorer.js").read_text(encoding="utf-8")

    def opened(background="white", answers=recorded):
        given = json.dumps({"bundle": bundle, "recorded": answers}).replace("<", "\\u003c")
        path = tmp_path / "notebook.html"
        path.write_text(HTML.replace("BACKGROUND", background).replace("GIVEN", given), encoding="utf-8")
        window.open(path.as_uri())
        window.wait("window.page?.querySelector('h1')")
        return window

    return opened


def text_of(window, css):
    return window.run("return page.querySelector(arguments[0])?.textContent ?? null", css)


def test_the_page_in_a_notebook_shows_the_step_under_your_rule(notebook):
    shown = notebook()
    shown.wait("page.querySelector('#moment h2')")
    assert text_of(shown, "h1") == "One step, number by number"
    assert "your network, 2 per example" in text_of(shown, "footer")
    commands = shown.run("return sent.map(({ command, params }) => [command, params.rule ?? null])")
    assert commands == [["describe", None], ["film", "halved"], ["film", "bp"]]
    assert text_of(shown, "output.where") == "1 of 15"
    shown.run("page.querySelector('[aria-label=Last]').click()")
    shown.wait("page.querySelector('output.where').textContent === '15 of 15'")
    assert shown.run("return location.hash") == ""  # the notebook's own address


def test_keys_belong_to_the_notebook_until_the_page_has_the_focus(notebook):
    shown = notebook()
    shown.wait("page.querySelector('#moment h2')")
    shown.run("document.getElementById('other').focus()")
    shown.press(Keys.RIGHT)
    shown.settle()
    assert text_of(shown, "output.where") == "1 of 15"
    shown.run("page.querySelector('h1').focus()")
    shown.press(Keys.RIGHT)
    shown.wait("page.querySelector('output.where').textContent === '2 of 15'")
    assert shown.run("return document.getElementById('out').dataset.lmSuppressShortcuts") == "true"


def test_training_in_a_notebook_shows_the_numbers_of_the_engine(notebook, recorded):
    shown = notebook()
    shown.run("[...page.querySelectorAll('nav a')].at(-1).click()")
    shown.wait("page.querySelector('.playground')")
    shown.run("[...page.querySelectorAll('.playground input[value=usf]')][0].click()")
    shown.run("[...page.querySelectorAll('.playground input')].find((one) => one.value === '100').click()")
    shown.run("page.querySelector('.button.main').click()")
    shown.wait("page.querySelector('.story').textContent.startsWith('After 100 updates')")
    last = [one["message"]["snapshot"] for one in recorded if "snapshot" in one["message"]][-1]
    assert f"{100 * last['accuracy']:.0f} % of the examples are right" in text_of(shown, ".story")
    assert f"linear2: {last['layers']['linear2']['weight_angle']:.1f}°" in text_of(shown, ".pairs")
    request = shown.run("return sent.at(-1)")
    assert request["params"] == {
        **{"rule": "usf", "lr": 0.1, "noise": 0, "seed": 0, "updates": 100, "hidden": None, "angle": None},
        "feedback": {},
    }


def test_an_error_of_the_engine_is_a_sentence_on_the_page(notebook, recorded):
    error = {"command": "film", "rule": "halved", "message": {"error": "the rule cannot train this network"}}
    shown = notebook(answers=[error if one["rule"] == "halved" else one for one in recorded])
    shown.wait("page.querySelector('[role=alert]')")
    assert text_of(shown, "[role=alert]") == "The rule cannot train this network."


@pytest.mark.parametrize(("background", "theme"), [("white", "light"), ("rgb(17, 17, 17)", "dark")])
def test_the_page_is_as_dark_as_the_notebook(notebook, background, theme):
    assert notebook(background).run("return page.querySelector('.mf').dataset.theme") == theme


def test_a_view_that_is_closed_stops_its_run_and_listens_no_more(notebook):
    shown = notebook()
    shown.run("leave()")
    assert shown.run("return [sent.at(-1).command, listeners.size, page.querySelector('.mf')]") == ["stop", 0, None]
