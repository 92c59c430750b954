"""`minifa explore --serve`: the explorer's page with the engine behind it, on this machine.

    GET /            the page. It contains no data; with a wrong token in the address it is refused
    POST /command    one request of `minifa.explorer.session` as JSON; its answers are lines of JSON, sent as they come.
                     {"command": "stop"} ends the current run of the page

Only a page that knows the token gets an answer. The token is in the address that is printed; the page sends it in the
header X-Minifa-Token, and a name that it chose for itself in X-Minifa-Page. Requests with another Host than the address
that is served (a foreign name that was made to point to this machine), or with the Origin of another site, are refused,
and nothing permits other sites to read an answer. No file is read for a request.

A page has at most one run: a new one stops the earlier one, also one that has not begun yet. A run ends before its next
update once its connection is closed. Connections, runs, sizes and times are bounded; what is too much is refused with a
sentence.
"""

from __future__ import annotations

__all__: list[str] = []

import base64
import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import selectors
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from ..console import print_stderr
from ..validation import check_int, check_str, check_type
from .arrays import Json
from .page import fill_template
from .session import Session

MOST_CONNECTIONS = 32  # at once
MOST_WORK = 6  # commands that are worked on at once
MOST_BODY = 4_000_000  # bytes of a request: `MOST_PAINTED` entries of B are 2 MB
MOST_DEPTH = 8  # of nested lists and objects in a request; feedback has 5
MOST_DIGITS = 20  # of an int
REQUEST_SECONDS = 10  # in which a request must be complete
SEND_SECONDS = 30  # in which a page must read an answer
STOP_SECONDS = 10  # in which the update ends that was being made when its run, or the server, was stopped
POLL_SECONDS = 0.25  # between two searches for connections that took too long
PAGE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHUNK = 1 << 16
HTTP_PORT = 80  # is left out of the header Host
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Refused(Exception):
    """A request is refused, with a status and a sentence."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Work:
    """One command that is worked on."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.stop = threading.Event()


class Server(ThreadingHTTPServer):
    """Serves one page with a session behind it, until it is closed.

    Args:
        session: answers the commands.
        host: address to listen on. Another address than this machine's own (127.0.0.1) can be reached by others, who
            need the token.
        port: port to listen on; 0: a free one.

    Attributes:
        address: the address of the page, with its token.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a port out of range.
        OSError: the address cannot be listened on, for example because the port is in use.
    """

    daemon_threads = True  # nothing interrupts an update: one that takes too long does not keep the process
    allow_reuse_address = os.name != "nt"  # there, another process could listen on the same port
    request_queue_size = 16

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 0) -> None:
        self.session = check_type(session, Session, "the session must be a minifa.explorer.session.Session")
        check_str(host, "the host")
        port = check_int(port, "the port", least=0, most=65535)
        self.token = secrets.token_urlsafe(32)
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.connections: dict[socket.socket, float | None] = {}  # by each: when its request must be complete
        self.works: set[Work] = set()
        self.work_ended = threading.Condition(self.lock)  # or is no longer wanted
        self.connection_ended = threading.Condition(self.lock)
        self.page, self.policy = _page_and_policy()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except UnicodeError:
            raise OSError(f"the host {host!r} is not a name or an address") from None
        machine = socket.gethostname().lower()
        self.names = {_as_written(host).lower(), *LOOPBACK_NAMES, *([] if is_loopback(host) else [machine])}
        self.shown_name = machine if _is_any(host) else _as_written(host)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(str(self.server_address[0]))

    @property
    def address(self) -> str:
        return f"http://{self.shown_name}:{self.server_port}/?token={self.token}"

    def serve(self) -> None:
        """Serve until an exception such as KeyboardInterrupt; then all work is stopped and its threads have ended."""
        try:
            self.serve_forever(POLL_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        """Stop all work, close all connections, and wait for their threads, but at most `STOP_SECONDS`."""
        self.closing.set()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            _cut(connection)
        self.server_close()
        with self.lock:
            self.connection_ended.wait_for(lambda: not self.connections, STOP_SECONDS)

    # Connections

    def server_bind(self) -> None:
        """Bind without looking up a name for the address, as the base class does, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            accepted = len(self.connections) < MOST_CONNECTIONS
            if accepted:
                self.connections[request] = time.monotonic() + REQUEST_SECONDS
        if accepted:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.connections.pop(request, None)
            self.connection_ended.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between two connections: close those whose requests take too long, however slowly their bytes come."""
        now = time.monotonic()
        with self.lock:
            late = [one for one, until in self.connections.items() if until is not None and until < now]
        for connection in late:
            _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a defect in the terminal, and nothing for a connection that broke."""
        if not isinstance(sys.exc_info()[1], OSError):
            print_stderr(traceback.format_exc())

    def request_arrived(self, connection: socket.socket) -> None:
        """The request of this connection is complete: from now on only the work and the sending have limits."""
        with self.lock:
            if connection in self.connections:
                self.connections[connection] = None

    # Work

    @contextlib.contextmanager
    def working(self, page: str, is_run: bool) -> Iterator[Work]:
        """Work for a page. A new run starts when the page's earlier ones have ended; one that is stopped meanwhile, as
        by a newer run, has its turn at once and finds that it is stopped."""
        work = Work(page if is_run else "")
        with self.lock:
            earlier = self._stop(page) if is_run else set()
            if len(self.works - earlier) >= MOST_WORK:
                raise Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"the engine works on {MOST_WORK} requests already: stop the run of another page, or close it",
                )
            self.works.add(work)
        try:
            with self.lock:
                if not self.work_ended.wait_for(
                    lambda: work.stop.is_set() or earlier.isdisjoint(self.works), STOP_SECONDS
                ):
                    raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the earlier run of this page has not ended yet")
            yield work
        finally:
            with self.lock:
                self.works.discard(work)
                self.work_ended.notify_all()

    def stop(self, page: str) -> None:
        """Stop the run of a page, if it has one, and those that wait for it."""
        with self.lock:
            self._stop(page)

    def _stop(self, page: str) -> set[Work]:
        """Stop the runs of a page, and return them. The lock is held."""
        runs = {work for work in self.works if work.page == page}
        for work in runs:
            work.stop.set()
        self.work_ended.notify_all()
        return runs


class Handler(BaseHTTPRequestHandler):
    """Answers one request, then closes the connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        with self._refusing():
            self._check_host()
            path, _, query = self.path.partition("?")
            if path != "/":
                raise Refused(HTTPStatus.NOT_FOUND, "there is only the page / here")
            tokens = parse_qs(query, keep_blank_values=True).get("token", [])
            if not all(self._is_token(token) for token in tokens):
                raise Refused(HTTPStatus.FORBIDDEN, WRONG_TOKEN)
            self.server.request_arrived(self.connection)
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)

    def do_POST(self) -> None:
        with self._refusing():
            self._check_host()
            self._check_sender()
            if self.path != "/command":
                raise Refused(HTTPStatus.NOT_FOUND, "commands go to /command")
            page = self.headers.get("X-Minifa-Page", "")
            if not PAGE_NAME.fullmatch(page):
                raise Refused(
                    HTTPStatus.BAD_REQUEST, "the header X-Minifa-Page must be 1 to 64 letters, digits, - or _"
                )
            request = self._request()
            self.server.request_arrived(self.connection)
            command = request.get("command") if isinstance(request, dict) else None
            if command == "stop":
                self.server.stop(page)
                self._send(HTTPStatus.OK, LINES, _line({"id": request.get("id"), "done": True}))
                return
            with self.server.working(page, command == "run") as work:
                self._answer(request, work)

    # What is refused

    def _check_host(self) -> None:
        """Raise Refused unless the request was sent to this server by one of its own names or by its address. A foreign
        name can be made to point to this machine."""
        hosts = self.headers.get_all("Host") or []
        known = {*self.server.names, _as_written(str(self.connection.getsockname()[0]))}
        port = self.server.server_port
        own = {f"{name}:{port}" for name in known} | (known if port == HTTP_PORT else set())
        if len(hosts) != 1 or hosts[0].lower() not in own:
            raise Refused(
                HTTPStatus.FORBIDDEN, "this server answers to the address that minifa explore --serve printed only"
            )

    def _check_sender(self) -> None:
        """Raise Refused unless the request was made by a page of this server that has the token."""
        own = f"http://{self.headers['Host']}".lower()
        if any(origin.lower() != own for origin in self.headers.get_all("Origin") or []):
            raise Refused(HTTPStatus.FORBIDDEN, "pages of other sites may not use this server")
        tokens = self.headers.get_all("X-Minifa-Token") or []
        if len(tokens) != 1 or not self._is_token(tokens[0]):
            raise Refused(HTTPStatus.FORBIDDEN, WRONG_TOKEN)

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.server.token.encode())

    def _request(self) -> Any:
        """The body as JSON."""
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a command must have the Content-Type application/json")
        lengths = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,12}", lengths[0]):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a command must have one Content-Length, and comes in one piece")
        length = int(lengths[0])
        if length > MOST_BODY:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a command must have at most {MOST_BODY:,} bytes, got {length:,}"
            )
        body = self.rfile.read(length)
        if len(body) < length:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the command has {len(body)} bytes, and {length} were announced")
        return read_json(body)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Answer a refused request; a broken connection needs no answer."""
        self.close_connection = True
        try:
            yield
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except OSError:
            pass

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Send a sentence, then read on for a moment: if a connection is closed before all was read, the other side may
        lose the sentence."""
        with contextlib.suppress(OSError):
            self._send(status, "text/plain; charset=utf-8", f"{why}\n".encode())
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(MOST_BODY // CHUNK):
                if not self.connection.recv(CHUNK):
                    break

    # Answers

    def _answer(self, request: Any, work: Work) -> None:
        """Send the answers of the session as they come. Without a length: the end of the connection is the end, and a
        last message tells it from a broken one."""
        self.connection.settimeout(SEND_SECONDS)
        self._send_head(HTTPStatus.OK, LINES, None)
        with _is_closed(self.connection) as gone:
            ends = self.server.closing.is_set, work.stop.is_set, gone
            for message in self.server.session.answers(request, lambda: any(end() for end in ends)):
                if "stopped" in message and self.server.closing.is_set():
                    return  # the connection ends without a last message: the page tells that the engine is gone
                self.wfile.write(_line(message))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._send_head(status, kind, len(body))
        self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, **HEADERS, "Content-Security-Policy": self.server.policy}
        if length is not None:
            headers["Content-Length"] = str(length)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, POST"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The errors of the base class (an unreadable request, another method), as sentences."""
        self.close_connection = True
        status = HTTPStatus(code)
        text = "the request cannot be read"
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status, text = HTTPStatus.METHOD_NOT_ALLOWED, "this server knows GET / and POST /command only"
        self._refuse(status, text)

    def version_string(self) -> str:
        return "minifa"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: an address has the token."""


WRONG_TOKEN = "the token is missing or wrong: open the address that minifa explore --serve printed"
LINES = "application/x-ndjson"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Connection": "close",
}


def read_json(body: bytes) -> Any:
    """Parse the body of a command. Raises Refused for what is not JSON, is nested too deep, or has NaN or infinity."""
    try:
        text = body.decode("utf-8")
        depth = _depth(text)
        if depth > MOST_DEPTH:
            raise Refused(HTTPStatus.BAD_REQUEST, f"a command must be nested at most {MOST_DEPTH} deep, got {depth}")
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_short_int)
    except (UnicodeError, ValueError, RecursionError) as error:
        what = "is not UTF-8" if isinstance(error, UnicodeError) else "is not valid JSON"
        raise Refused(HTTPStatus.BAD_REQUEST, f"the command {what}") from None


def _depth(text: str) -> int:
    """The depth of nested lists and objects. Brackets in strings do not count: closing ones would hide others."""
    depth = deepest = 0
    for found in re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', text, re.S):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _short_int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"an int of {len(text)} digits is too large")
    return int(text)


def _line(message: Json) -> bytes:
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"


@contextlib.contextmanager
def _is_closed(connection: socket.socket) -> Iterator[Callable[[], bool]]:
    """A function that tells, without waiting, whether the other side has closed the connection or sent more than its
    request."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        yield lambda: bool(selector.select(0))


def _cut(connection: socket.socket) -> None:
    """End a connection from another thread, which then fails to read or write."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def _is_any(host: str) -> bool:
    """Whether this address stands for all addresses of the machine."""
    with contextlib.suppress(ValueError):
        return not host or ipaddress.ip_address(host).is_unspecified
    return False


def _as_written(host: str) -> str:
    """A host as in an address of the web: that of IPv6 has brackets."""
    return f"[{host}]" if ":" in host else host


def _page_and_policy() -> tuple[bytes, str]:
    """The page without data, and the content security policy that permits its own scripts and requests to this server
    only."""
    page = fill_template({"source": "serve"})
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", page, re.S)
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page).encode(), policy
