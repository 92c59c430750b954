"""`minifa explore --serve`: what the server answers, what it refuses, that it serves nothing else, and that its work
ends when a page, a connection or the command ends."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import cli, data
from minifa.cli import explore as command
from minifa.experiments import Experiment
from minifa.explorer import server as module
from minifa.explorer.runs import snapshot_updates
from minifa.explorer.server import Server
from minifa.explorer.session import Session
from minifa.tracing import stepper

XOR = Experiment(data="xor", model="tiny", lr=0.5, batch_size=4, optimizer_options={})
LONG = {"rule": "fa", "updates": 20_000}  # takes seconds
AT = snapshot_updates(20_000)


@contextlib.contextmanager
def serving(session=None, **options):
    server = Server(session or Session.of_experiment(XOR, data.load("xor"), ["bp", "fa"], train_updates=5), **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server():
    with serving() as one:
        yield one


@pytest.fixture
def steps(monkeypatch):
    """Counts the updates that the engine makes. Each takes a moment, so that a run does not end by itself."""
    made = []
    step = mf.SGD.step

    def counted(optimizer, net, rule):
        made.append(time.monotonic())
        time.sleep(0.002)
        step(optimizer, net, rule)

    monkeypatch.setattr(mf.SGD, "step", counted)
    return made


def headers_of(server, page="page", **changed):
    headers = {
        "Content-Type": "application/json",
        "X-Minifa-Token": server.token,
        "X-Minifa-Page": page,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    return {name: value for name, value in headers.items() if value is not None}


def ask(server, method="POST", path="/command", body=None, headers=None):
    """(status, headers, body) of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    with contextlib.closing(connection):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, path, body, headers_of(server) if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def command_of(name, params=None, number=1):
    return {"id": number, "command": name, "params": params or {}}


def messages(answer):
    assert answer[0] == 200, answer
    return [json.loads(line) for line in answer[2].splitlines()]


def raw(server, sent, timeout=20, half=False):
    """All bytes that come back for these bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=timeout) as connection:
        connection.sendall(sent)
        if half:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
        return received


def head(server, *lines, method="POST /command", length=None):
    """The head of a request with a valid token, and these lines."""
    body = [] if length is None else [f"Content-Length: {length}"]
    fields = [f"{name}: {value}" for name, value in headers_of(server).items()]
    host = f"Host: 127.0.0.1:{server.server_port}"
    return "\r\n".join([f"{method} HTTP/1.1", host, *fields, *body, *lines, "", ""]).encode("latin-1")


def started(server, page="page", update=AT[3]):
    """A connection on which a long run sends snapshots, after the snapshot of this update."""
    body = json.dumps(command_of("run", LONG)).encode()
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    connection.sendall(
        head(server, length=len(body)).replace(b"X-Minifa-Page: page", f"X-Minifa-Page: {page}".encode())
    )
    connection.sendall(body)
    stream = connection.makefile("rb")
    while not (line := stream.readline()).startswith(f'{{"id":1,"snapshot":{{"update":{update},'.encode()):
        assert line, "the run ended"
    return connection, stream


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def is_idle(server):
    with server.lock:
        return not server.works


# What it answers


def test_the_page_is_served_at_its_address(server):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", server.address)
    status, headers, body = ask(server, "GET", f"/?token={server.token}", headers={})
    page = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.startswith("<!doctype html>") and '{"source":"serve"}' in page
    assert server.token not in page  # the page takes it from its address
    assert "http-equiv" not in page  # the policy is in the headers
    assert ask(server, "GET", "/", headers={})[2] == body  # a page that is loaded again has the token already


def test_every_answer_has_the_headers_that_protect_it(server):
    answers = [
        ask(server, "GET", "/", headers={}),
        ask(server, body=command_of("film")),
        ask(server, "GET", "/nothing"),
        ask(server, "PUT", "/"),
    ]
    for _, headers, _ in answers:
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer" and headers["Connection"] == "close"
        assert headers["Server"] == "minifa"
        assert not any(name.lower().startswith("access-control") or name == "Set-Cookie" for name in headers)


def test_the_policy_names_the_script_of_the_page(server):
    """Otherwise no browser executes it."""
    page = ask(server, "GET", "/", headers={})[2].decode()
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, re.S)
    digest = base64.b64encode(module.hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in server.policy


def test_the_film_of_the_server_is_the_trace(server):
    (message,) = messages(ask(server, body=command_of("film", {"rule": "fa", "updates": 2}, number="a")))
    trace = stepper.Replay(XOR, data.load("xor"), 2).trace("fa")
    assert message["id"] == "a" and len(message["film"]) == len(trace)
    for shown, moment in zip(message["film"], trace, strict=True):
        for name, place in shown["new"].items():
            shape, kind, text = message["arrays"][place]
            array = np.frombuffer(base64.b64decode(text), dtype=f"<{kind}").reshape(shape)
            if name != "targets":
                assert_same_bits({name: array}, {name: np.asarray(moment.arrays[name])})


def test_a_run_is_that_of_the_session(server):
    params = {"rule": "fa", "updates": 9, "lr": 0.25, "seed": 4}
    expected = [{"id": 1, **message} for message in server.session.run(params)]
    assert messages(ask(server, body=command_of("run", params))) == json.loads(json.dumps(expected))
    assert expected[-1] == {"id": 1, "done": True, "diverged": None}


def test_snapshots_are_sent_as_they_come(server, steps):
    connection, stream = started(server)
    with connection, stream:
        assert len(steps) < 20_000 and not is_idle(server)
    wait_until(lambda: is_idle(server))


def test_the_description_is_sent(server):
    (message,) = messages(ask(server, body=command_of("describe")))
    assert [rule["name"] for rule in message["content"]["rules"]] == ["bp", "fa"]


# What it refuses

REFUSED_HEADERS = {
    "no token": ({"X_Minifa_Token": None}, 403, b"token"),
    "a wrong token": ({"X_Minifa_Token": "x" * 43}, 403, b"token"),
    "an empty token": ({"X_Minifa_Token": ""}, 403, b"token"),
    "letters beyond ASCII": ({"X_Minifa_Token": "\xe9" * 43}, 403, b"token"),
    "another site": ({"Origin": "https://evil.example"}, 403, b"other sites"),
    "a file": ({"Origin": "null"}, 403, b"other sites"),
    "another port": ({"Origin": "http://127.0.0.1:1"}, 403, b"other sites"),
    "a foreign name for this machine": ({"Host": "evil.example"}, 403, b"answers to the address"),
    "a name without a port": ({"Host": "127.0.0.1"}, 403, b"answers to the address"),
    "no name": ({"Host": ""}, 403, b"answers to the address"),
    "a form": ({"Content_Type": "application/x-www-form-urlencoded"}, 415, b"application/json"),
    "text": ({"Content_Type": "text/plain"}, 415, b"application/json"),
    "no kind": ({"Content_Type": None}, 415, b"application/json"),
    "no page": ({"X_Minifa_Page": None}, 400, b"X-Minifa-Page"),
    "a page with a path": ({"X_Minifa_Page": "../a"}, 400, b"X-Minifa-Page"),
    "a long page": ({"X_Minifa_Page": "a" * 65}, 400, b"X-Minifa-Page"),
}


@pytest.mark.parametrize("changed, status, words", REFUSED_HEADERS.values(), ids=list(REFUSED_HEADERS))
def test_a_request_with_wrong_headers_is_refused(server, steps, changed, status, words):
    found, headers, body = ask(server, body=command_of("run", LONG), headers=headers_of(server, **changed))
    assert found == status and words in body and headers["Content-Type"].startswith("text/plain")
    assert not steps


def test_the_own_origin_and_other_names_of_this_machine_are_accepted(server):
    for host in (f"127.0.0.1:{server.server_port}", f"localhost:{server.server_port}"):
        headers = headers_of(server, Host=host, Origin=f"http://{host}")
        assert ask(server, body=command_of("film"), headers=headers)[0] == 200
    mixed = headers_of(server, Origin=f"http://localhost:{server.server_port}")
    assert ask(server, body=command_of("film"), headers=mixed)[0] == 403


def test_a_token_given_twice_or_a_host_given_twice_is_refused(server):
    for line in (f"X-Minifa-Token: {server.token}", "Host: evil.example"):
        assert b" 403 " in raw(server, head(server, line, length=2) + b"{}").splitlines()[0]


@pytest.mark.parametrize("token", ["wrong", "", "a&token=b"])
def test_a_page_with_a_wrong_token_in_its_address_is_refused(server, token):
    assert ask(server, "GET", f"/?token={token}", headers={})[0] == 403
    assert ask(server, "GET", f"/?token={server.token}&token={token}", headers={})[0] == 403


PATHS = (
    "/index.html", "/command", "//", "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/", "/page.html", "/.",
    "/?/../", "/static/", "/\\..\\", "http://[", "*", "/command/", "/;", "/\x7f",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_nothing_but_the_page_is_served(server, path):
    answer = raw(server, head(server, method=f"GET {path}"))
    first, body = answer.splitlines()[0], answer.partition(b"\r\n\r\n")[2]
    assert first.split()[1] in (b"404", b"400") or body == server.page
    assert b"root:" not in answer and b"Traceback" not in answer
    assert b" 404 " in raw(
        server, head(server, method=f"POST {path}", length=2).replace(b"POST /command", b"POST /x") + b"{}"
    )


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "BREW", "get"])
def test_other_methods_are_refused(server, method):
    answer = raw(server, head(server, method=f"{method} /"))
    assert b" 405 " in answer.splitlines()[0] and b"Allow: GET, POST" in answer
    assert b"Access-Control" not in answer


BODIES = {
    "nothing": (b"", 400, b"not valid JSON"),
    "no JSON": (b"run", 400, b"not valid JSON"),
    "half a JSON": (b'{"command": "run"', 400, b"not valid JSON"),
    "two": (b"{}{}", 400, b"not valid JSON"),
    "bytes": (b"\xff\xfe", 400, b"not UTF-8"),
    "NaN": (b'{"command": "run", "params": {"lr": NaN}}', 400, b"not valid JSON"),
    "infinity": (b'{"command": "run", "params": {"lr": 1e999}}', 400, b"not valid JSON"),
    "many digits": (b'{"id": ' + b"1" * 5000 + b"}", 400, b"not valid JSON"),
    "a deep nest": (b"[" * 100_000, 400, b"nested at most 8 deep, got 100000"),
    "a deep nest that ends": (b"[" * 9 + b"]" * 9, 400, b"nested at most 8 deep, got 9"),
    "a deep nest behind brackets in a text": (
        b'{"id": "' + b"]" * 90 + b'\\"]", "params": ' + b"[" * 50 + b"]" * 50 + b"}",
        400,
        b"nested at most 8 deep, got 51",
    ),
    "brackets in a text": (b'{"id": "' + b"[" * 90 + b'", "command": "exec"}', 200, b"unknown command 'exec'"),
    "a list": (b"[]", 200, b"must be a JSON object"),
    "a number": (b"3", 200, b"must be a JSON object"),
    "an unknown command": (b'{"id": 3, "command": "exec"}', 200, b"unknown command 'exec'"),
    "a command of another kind": (b'{"command": {"a": 1}}', 200, b"unknown command"),
    "a long command": (b'{"command": "' + b"x" * 100_000 + b'"}', 200, b"unknown command"),
    "wrong params": (b'{"command": "run", "params": {"updates": "10"}}', 200, b"must be an int"),
    "half a letter": (b'{"command": "film", "params": {"rule": "\\ud800"}}', 200, b"unknown rule"),
    "terminal escapes": (b'{"command": "film", "params": {"rule": "\\u001b[2J"}}', 200, b"unknown rule"),
}


@pytest.mark.parametrize("body, status, words", BODIES.values(), ids=list(BODIES))
def test_a_wrong_body_is_refused(server, body, status, words):
    found, _, answer = ask(server, body=body)
    assert found == status and words in answer and len(answer) < 2000
    assert b"Traceback" not in answer and b"\x1b" not in answer


LENGTHS = {
    "none": [],
    "a word": ["Content-Length: many"],
    "negative": ["Content-Length: -1"],
    "two": ["Content-Length: 2", "Content-Length: 2"],
    "signed": ["Content-Length: +2"],
    "chunks": ["Transfer-Encoding: chunked"],
    "chunks and a length": ["Transfer-Encoding: chunked", "Content-Length: 2"],
}


@pytest.mark.parametrize("lines", LENGTHS.values(), ids=list(LENGTHS))
def test_a_body_without_one_clear_length_is_refused(server, lines):
    assert b" 411 " in raw(server, head(server, *lines) + b"zz\r\n{}garbage\r\n\r\n").splitlines()[0]


def test_a_huge_body_is_refused_before_it_is_read(server):
    assert b" 413 " in raw(server, head(server, length=10**11)).splitlines()[0]
    found, _, answer = ask(server, body=b"x" * (module.MOST_BODY + 1))
    assert found == 413 and b"at most 4,000,000 bytes" in answer


GARBAGE = {
    "no request": b"\r\n\r\n",
    "bytes": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
    "a long line": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\n evil: b\r\n\r\n",
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_is_refused(server, sent, capsys):
    answer = raw(server, sent, half=True)
    assert b" 200 " not in answer.partition(b"\n")[0] and b"Traceback" not in answer and b"aaaa" not in answer
    assert ask(server, "GET", "/", headers={})[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def test_headers_cannot_be_injected(server):
    for page in ("a\r\nX-Evil: 1", "a\nX-Evil: 1"):
        answer = raw(
            server, head(server, length=2).replace(b"X-Minifa-Page: page", f"X-Minifa-Page: {page}".encode()) + b"{}"
        )
        assert b"X-Evil" not in answer
    answer = raw(server, head(server, method="GET /%0d%0aX-Evil:%201?token=%0d%0aX-Evil:1"))
    assert b"X-Evil" not in answer


# Limits


def test_a_request_that_takes_too_long_is_cut_off(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    with serving() as server:
        for sent in (b"", b"GET / HTTP/1.1\r\n", head(server, length=100) + b"{"):
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
                begun = time.monotonic()
                connection.sendall(sent)
                with contextlib.suppress(ConnectionError):
                    while time.monotonic() < begun + 5:  # a byte at a time never waits for long
                        connection.sendall(b"a")
                        time.sleep(0.1)
                assert time.monotonic() - begun < 4
        wait_until(lambda: not server.connections)


def test_the_number_of_connections_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 3)
    with serving() as server, contextlib.ExitStack() as stack:
        address = "127.0.0.1", server.server_port
        for _ in range(3):
            stack.enter_context(socket.create_connection(address))
        wait_until(lambda: len(server.connections) == 3)
        assert raw(server, b"") == b""  # the fourth is closed at once
        stack.close()
        wait_until(lambda: not server.connections)
        assert ask(server, "GET", "/", headers={})[0] == 200


def test_the_work_at_once_is_bounded(server, steps, monkeypatch):
    monkeypatch.setattr(module, "MOST_WORK", 2)
    with contextlib.ExitStack() as stack:
        for page in ("one", "two"):
            for opened in started(server, page):
                stack.enter_context(opened)
        status, _, body = ask(server, body=command_of("film"))
        assert status == 503 and b"works on 2 requests already" in body
    wait_until(lambda: is_idle(server))
    assert ask(server, body=command_of("film"))[0] == 200


# The end of work


def test_a_client_that_vanishes_ends_its_run_before_the_next_update(server, steps):
    last = next(update for update, next_ in itertools.pairwise(AT) if next_ - update > 200)
    connection, stream = started(server, update=last)
    stream.close()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a killed browser: no goodbye
    connection.close()
    wait_until(lambda: is_idle(server))
    made = len(steps)
    assert made < last + 100  # long before it would send the next snapshot
    time.sleep(0.1)
    assert len(steps) == made


def test_a_connection_that_is_closed_in_one_direction_ends_its_run(server, steps):
    connection, stream = started(server)
    with connection, stream:
        connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: is_idle(server))
        assert json.loads(stream.read().splitlines()[-1]) == {"id": 1, "stopped": True}
    assert len(steps) < 20_000


def test_a_page_that_does_not_read_does_not_keep_its_run(steps, monkeypatch):
    monkeypatch.setattr(module, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(Session, "answers", lambda *given: iter([{"text": "x" * 10**7}] * 100))
    with serving() as server, socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(head(server, length=2) + b"{}")
        wait_until(lambda: not is_idle(server))
        wait_until(lambda: is_idle(server), 5)


def test_a_new_run_of_a_page_ends_its_earlier_one(server, steps):
    connection, stream = started(server)
    with connection, stream:
        short = messages(ask(server, body=command_of("run", {"updates": 3}, number=2)))
        assert short[-1]["done"]
        assert json.loads(stream.read().splitlines()[-1]) == {"id": 1, "stopped": True}
    assert len(steps) < 20_000


@pytest.fixture
def held(monkeypatch):
    """Every update waits until the test lets it go on; the other event tells that one has begun."""
    begun, go_on = threading.Event(), threading.Event()

    def waiting(optimizer, net, rule):
        begun.set()
        assert go_on.wait(20)

    monkeypatch.setattr(mf.SGD, "step", waiting)
    yield begun, go_on
    go_on.set()


def test_a_run_that_waits_for_the_earlier_one_is_given_up_for_a_newer_one(server, held):
    begun, go_on = held
    runs = [command_of("run", {"updates": 2}, number) for number in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, server, body=runs[0])
        assert begun.wait(20)
        second = pool.submit(ask, server, body=runs[1])
        wait_until(lambda: len(server.works) == 2)
        third = pool.submit(ask, server, body=runs[2])
        assert messages(second.result(5)) == [{"id": 2, "stopped": True}]  # at once, without any work
        assert not first.done() and not third.done()
        go_on.set()
        assert messages(first.result())[-1] == {"id": 1, "stopped": True}
        assert messages(third.result())[-1]["done"]


def test_stopping_a_page_also_stops_the_run_that_waits(server, held):
    begun, go_on = held
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, body=command_of("run", {"updates": 2}))
        assert begun.wait(20)
        second = pool.submit(ask, server, body=command_of("run", {"updates": 2}, number=2))
        wait_until(lambda: len(server.works) == 2)
        ask(server, body=command_of("stop"))
        assert messages(second.result(5)) == [{"id": 2, "stopped": True}]
        go_on.set()
        assert messages(first.result())[-1] == {"id": 1, "stopped": True}


def test_two_pages_train_at_the_same_time(server, steps):
    first, first_stream = started(server, "one")
    with first, first_stream:
        assert messages(ask(server, body=command_of("run", {"updates": 3}), headers=headers_of(server, "two")))[-1][
            "done"
        ]
        assert messages(ask(server, body=command_of("stop", number=7), headers=headers_of(server, "two"))) == [
            {"id": 7, "done": True}
        ]
        assert not is_idle(server)  # the first page's run goes on
        ask(server, body=command_of("stop"), headers=headers_of(server, "one"))
        assert json.loads(first_stream.read().splitlines()[-1]) == {"id": 1, "stopped": True}
    wait_until(lambda: is_idle(server))


def test_closing_the_server_ends_all_work(steps):
    with serving() as server:
        opened = [started(server, page) for page in ("one", "two")]
        server.shutdown()
        wait_until(lambda: not server.connections and is_idle(server))
    made = len(steps)
    time.sleep(0.05)
    assert len(steps) == made
    for connection, stream in opened:
        connection.close()
        stream.close()
    wait_until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))


def test_closing_does_not_wait_for_an_update_without_end(held, monkeypatch):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.3)
    begun, go_on = held
    server = Server(Session.of_experiment(XOR, data.load("xor"), ["fa"]))
    serving = threading.Thread(target=server.serve)
    serving.start()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ask, server, body=command_of("run"))
        assert begun.wait(20)
        server.shutdown()
        serving.join(5)
        assert not serving.is_alive()
        assert all(thread.daemon for thread in threading.enumerate() if "process_request_thread" in thread.name)
        go_on.set()
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            run.result()
    wait_until(lambda: not server.connections)


def test_a_defect_of_the_engine_reaches_the_terminal_only(server, monkeypatch, capsys):
    def broken(*given):
        raise KeyError("/home/me/secret")

    monkeypatch.setattr(Session, "answers", broken)
    assert b"secret" not in ask(server, body=command_of("film"))[2]
    wait_until(lambda: is_idle(server))
    wait_until(lambda: "KeyError" in capsys.readouterr().err)
    monkeypatch.undo()
    assert ask(server, body=command_of("film"))[0] == 200


# The address


@pytest.mark.parametrize(
    "text, expected",
    [
        ("8000", ("127.0.0.1", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("localhost", ("localhost", 0)),
        ("127.0.0.1:", ("127.0.0.1", 0)),
        ("10.0.0.5:80", ("10.0.0.5", 80)),
        ("[::1]:8000", ("::1", 8000)),
        ("my-host.example:9", ("my-host.example", 9)),
    ],
)
def test_an_address_to_serve_at(text, expected):
    assert command.host_and_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "::", "127.0.0.1:65536", "a:b", "a b:3", "/etc", "127.0.0.1:-1", "[::1]8000"]
)
def test_a_wrong_address_is_a_wrong_use(text, capsys):
    assert run_command("explore", "--serve", text) == 2
    assert "expected HOST:PORT" in capsys.readouterr().err


def run_command(*arguments):
    try:
        return cli.main(list(arguments))
    except SystemExit as stop:
        return stop.code


def test_options_that_do_not_go_together_are_a_wrong_use(capsys):
    assert run_command("explore", "--open") == 2
    assert "add --serve" in capsys.readouterr().err
    assert run_command("explore", "--serve", "-o", "page.html") == 2
    assert "omit -o" in capsys.readouterr().err


def test_a_port_in_use_is_a_failure_with_a_sentence(server, capsys):
    assert run_command("explore", "--data", "xor", "--serve", f"127.0.0.1:{server.server_port}") == 1
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_only_a_server_that_others_reach_is_warned_about(host, capsys):
    try:
        session = Session.of_experiment(XOR, data.load("xor"), ["bp"])
        public, private = Server(session, host), Server(session, "localhost")
    except OSError as error:
        pytest.skip(f"this machine cannot listen there: {error}")
    options = type("Options", (), {"quiet": True})
    with contextlib.closing(public), contextlib.closing(private):
        command._announce(private, options)
        assert capsys.readouterr() == (f"{private.address}\n", "")
        command._announce(public, options)
        printed = capsys.readouterr()
        assert "other machines can reach this address" in printed.err and "not encrypted" in printed.err
        assert socket.gethostname().lower() in printed.out


def test_a_public_server_answers_to_its_own_address_only():
    with serving(host="0.0.0.0") as server:
        for host, status in (("127.0.0.1", 200), (socket.gethostname(), 200), ("evil.example", 403)):
            headers = headers_of(server, Host=f"{host}:{server.server_port}")
            assert ask(server, body=command_of("film"), headers=headers)[0] == status


def test_wrong_arguments_of_the_server():
    session = Session.of_experiment(XOR, data.load("xor"), ["bp"])
    for arguments, error in (
        ((None,), TypeError),
        ((session, 3), TypeError),
        ((session, "localhost", 70_000), ValueError),
    ):
        with pytest.raises(error):
            Server(*arguments)
    for host in ("no.such.host.invalid", "a" * 300, "..."):
        with pytest.raises(OSError):
            Server(session, host)


# The command


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals that a process can send to another one")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("quiet", [[], ["--quiet"]], ids=["", "quiet"])
def test_a_signal_ends_the_command_and_its_runs(number, code, quiet):
    arguments = [sys.executable, "-m", "minifa", "explore", "--data", "xor", "--model", "tiny", "--serve", *quiet]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(.*)", address).groups()
        if not quiet:
            assert "Ctrl-C" in process.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        headers = {"Content-Type": "application/json", "X-Minifa-Token": token, "X-Minifa-Page": "page"}
        connection.request("POST", "/command", json.dumps(command_of("run", LONG)), headers)
        assert b"snapshot" in connection.getresponse().readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    connection.close()
    assert process.returncode == code and "Traceback" not in err and out == ""


def test_a_browser_is_opened_only_if_asked_for(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    monkeypatch.setattr(Server, "serve", lambda server: server.server_close())
    for option, expected in (([], 0), (["--open"], 1)):
        assert run_command("explore", "--data", "xor", "--model", "tiny", "--serve", *option) == 0
        wait_until(lambda expected=expected: len(opened) == expected)
    assert opened[0] == capsys.readouterr().out.splitlines()[-2]
