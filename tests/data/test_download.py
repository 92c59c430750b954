"""Downloads from a real server on the loopback interface that closes connections early, stalls, redirects and sends
wrong content."""

import contextlib
import gzip
import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import minifa as mf
from minifa import cli, data
from minifa.data import DataFileError, DownloadError, cifar
from minifa.data.downloads import archive, http, sources
from minifa.data.downloads.sources import Checked

mnist_file = importlib.import_module("minifa.data.mnist")
download_file = importlib.import_module("minifa.data.downloads.fetch")

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = bytes(len(CONTENT))


def checked(content: bytes) -> Checked:
    return Checked(len(content), hashlib.sha256(content).hexdigest())


# --- a server --------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Answers each path as `paths` defines, and records (path, requested range, bytes sent) of every request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths, self.asked, self.released = {}, [], threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        """A client that closes the connection is not an error here."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        self.entry = [self.path, self.start, 0]
        self.server.asked.append(self.entry)
        assert self.headers["User-Agent"].startswith("minifa/")
        self.server.paths.get(self.path, status(404))(self)

    def head(self, code, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, content):
        self.entry[2] += len(content)  # before the client can receive it
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """Records the calls to the disk in order; fsync is skipped, because thousands of calls take a minute."""
    done, replace = [], os.replace
    monkeypatch.setattr("os.fsync", lambda descriptor: done.append("forced"))
    monkeypatch.setattr("os.replace", lambda one, other: (done.append("renamed"), replace(one, other)))
    return done


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(http, "TIMEOUT", 0.3)
    monkeypatch.setattr(http, "PAUSE", 0.001)
    monkeypatch.setattr(http, "PROGRESS_BYTES", 1000)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.released.set()
        one.shutdown()
        thread.join()


# Possible answers of a path.


def from_the_start(content):
    """Ranges are ignored."""

    def answer(handler):
        handler.head(200, Content_Length=len(content))
        handler.body(content)

    return answer


def ranged(content, at_most=None, then=lambda handler: None):
    """Ranges are honoured; an answer that has sent ``at_most`` bytes calls ``then`` and closes the connection."""

    def answer(handler):
        rest = content[handler.start :]
        if handler.start:
            content_range = f"bytes {handler.start}-{len(content) - 1}/{len(content)}"
            handler.head(206, Content_Length=len(rest), Content_Range=content_range)
        else:
            handler.head(200, Content_Length=len(rest))
        handler.body(rest[:at_most])
        if at_most is not None and len(rest) > at_most:
            handler.wfile.flush()
            then(handler)

    return answer


def wait(handler):
    handler.server.released.wait(60)


def status(code):
    return lambda handler: handler.head(code)


def redirect(to, code=302):
    return lambda handler: handler.head(code, Location=to)


def in_turn(*answers):
    """Each answer once, then the last one always."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def if_a_range_is_asked_for(first, second):
    return lambda handler: (first if handler.start else second)(handler)


def endless(handler, **headers):
    handler.head(200, **headers)
    with contextlib.suppress(OSError):
        while not handler.server.released.is_set() and handler.entry[2] < 1 << 26:
            handler.body(bytes(1 << 16))


def fetch(server, folder, *mirrors):
    http.fetch(folder / "file", checked(CONTENT), [f"{server.address}{mirror}/" for mirror in mirrors])
    assert (folder / "file").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["file"]
    return server.asked


def refuse(server, folder, words, *mirrors, kept=None):
    """All mirrors fail; the message contains these words, and the folder holds these files."""
    with pytest.raises(DownloadError, match="(?s)file could not be downloaded:.*" + words) as caught:
        fetch(server, folder, *mirrors)
    part = folder / "file.part"
    assert {path.name for path in folder.iterdir()} == (set() if kept is None else {"file.part"})
    if kept is None:
        assert "nothing was received" in str(caught.value)
    else:
        assert part.read_bytes() == kept
        assert f"{len(kept):,} of 300,000 bytes are kept in {part}: the next" in str(caught.value)
    return server.asked


# --- one file --------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched(server, tmp_path, disk):
    server.paths["/a/file"] = from_the_start(CONTENT)
    assert fetch(server, tmp_path, "a", "b") == [["/a/file", 0, 300_000]]
    assert disk[:2] == ["forced", "renamed"]


@pytest.mark.parametrize("code", [400, 403, 404, 410, 429, 500, 503])
def test_the_next_mirror_is_tried_where_one_lacks_the_file(server, tmp_path, code):
    server.paths |= {"/a/file": status(code), "/b/file": ranged(CONTENT)}
    assert [path for path, _, _ in fetch(server, tmp_path, "a", "b", "c")] == ["/a/file", "/b/file"]


def test_the_message_lists_every_mirror_when_all_fail(server, tmp_path):
    server.paths["/b/file"] = status(503)
    words = f"{server.address}a/file: HTTP status 404 Not Found\n.*b/file: HTTP status 503 Service Unavailable"
    assert len(refuse(server, tmp_path, words, "a", "b")) == 2


def test_a_refused_connection_is_reported(server, tmp_path, monkeypatch):
    gone = Server()
    gone.server_close()
    refuse(gone, tmp_path, "no response .*refused", "a")


def test_a_download_resumes_after_repeated_interruptions(server, tmp_path):
    server.paths["/a/file"] = ranged(CONTENT, at_most=70_000)
    starts = [start for _, start, _ in fetch(server, tmp_path, "a")]
    assert starts == [0, 70_000, 140_000, 210_000, 280_000]


def test_a_connection_closed_before_the_first_byte_is_retried(server, tmp_path):
    server.paths |= {"/a/file": ranged(CONTENT, at_most=0), "/b/file": ranged(CONTENT)}
    assert len(fetch(server, tmp_path, "a", "b")) == 2


def test_repeated_interruptions_at_the_same_byte_are_given_up(server, tmp_path):
    server.paths["/a/file"] = interrupted_from_the_start(100_000)
    asked = refuse(server, tmp_path, "closed before the end of the file", "a", kept=CONTENT[:100_000])
    # The rest is requested once and refused; then the file from the start, until so many tries made no progress.
    assert [start for _, start, _ in asked] == [0, 100_000] + [0] * http.TRIES


def interrupted_from_the_start(at):
    def answer(handler):
        handler.head(200, Content_Length=len(CONTENT))
        handler.body(CONTENT[:at])

    return answer


def test_the_next_mirror_completes_the_partial_file_of_the_previous_one(server, tmp_path):
    server.paths |= {"/a/file": in_turn(ranged(CONTENT, at_most=123_456), status(404)), "/b/file": ranged(CONTENT)}
    assert fetch(server, tmp_path, "a", "b")[-1] == ["/b/file", 123_456, 300_000 - 123_456]


@pytest.mark.parametrize("at", [0, 50_000])
def test_a_stalled_download_times_out(server, tmp_path, at):
    server.paths |= {"/a/file": ranged(CONTENT, at_most=at, then=wait), "/b/file": ranged(CONTENT)}
    begun = time.monotonic()
    fetch(server, tmp_path, *("b", "a")[:: -1 if at == 0 else 1])
    assert time.monotonic() - begun < 5


def test_a_stalled_download_is_reported(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "TRIES", 1)
    monkeypatch.setattr(http, "PROGRESS_BYTES", 1 << 20)
    server.paths |= {"/a/file": wait, "/b/file": ranged(CONTENT, at_most=50_000, then=wait)}
    words = "a/file: no response .no data for 0.3 s.*b/file: the connection was interrupted .no data for 0.3 s"
    refuse(server, tmp_path, words, "a", "b", kept=CONTENT[:50_000])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_their_ranges(server, tmp_path, code):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.paths |= {"/a/file": redirect("/elsewhere?x=1", code), "/elsewhere?x=1": ranged(CONTENT)}
    assert fetch(server, tmp_path, "a")[-1] == ["/elsewhere?x=1", 1000, 299_000]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_redirects_to_other_schemes_than_http_are_refused(server, tmp_path, scheme, code):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)  # even the correct file is not accepted from there
    to = {"file": secret.as_uri(), "ftp": server.address.replace("http", "ftp") + "b/file", "data": "data:,abc"}[scheme]
    server.paths["/a/file"] = redirect(to, code)
    folder = tmp_path / "folder"
    folder.mkdir()
    refuse(server, folder, "not http or https|unknown url type", "a")


@pytest.mark.parametrize(
    "to", ["http://[", "http://127.0.0.1:port/", "http://", "//", "\x1b[31m", "http://" + "a" * 99]
)
def test_redirects_without_a_valid_address_are_refused(server, tmp_path, to):
    server.paths |= {"/a/file": redirect(to), "/b/file": from_the_start(CONTENT)}
    fetch(server, tmp_path, "a", "b")


def test_a_redirect_loop_is_refused(server, tmp_path):
    server.paths |= {"/a/file": redirect("/b/file"), "/b/file": redirect("/a/file")}
    assert len(refuse(server, tmp_path, "HTTP status 302 .a redirect loop", "a")) < 20


def test_the_body_of_a_redirect_is_not_read(server, tmp_path):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", "/b/file")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while handler.entry[2] < 1 << 26:
                handler.body(bytes(1 << 16))

    server.paths |= {"/a/file": answer, "/b/file": from_the_start(CONTENT)}
    fetch(server, tmp_path, "a")
    assert server.asked[0][2] < 1 << 24  # as much as fits into the buffers of the connection


def test_another_file_of_the_same_size_is_deleted(server, tmp_path):
    server.paths |= {"/a/file": ranged(OTHER), "/b/file": ranged(CONTENT)}
    assert [path for path, _, _ in fetch(server, tmp_path, "a", "b")] == ["/a/file", "/b/file"]
    server.asked.clear()
    (tmp_path / "file").unlink()
    refuse(server, tmp_path, "a/file: sent a file of the expected size, but with another SHA-256", "a")


@pytest.mark.parametrize("length", [0, 299_999, 300_001, 10**15, "many", "\x1b[31m"])
def test_a_wrong_length_is_refused_before_any_byte_is_written(server, tmp_path, length):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.paths["/a/file"] = lambda handler: endless(handler, Content_Length=length)
    refuse(server, tmp_path, r"a/file: sends a file of [\w?\[]+ bytes", "a", kept=CONTENT[:1000])


@pytest.mark.parametrize("chunked", [False, True])
def test_never_more_bytes_than_the_size_are_written(server, tmp_path, monkeypatch, chunked):
    largest = 0
    real = http.file_matches

    def file_matches(path, expected):
        nonlocal largest
        largest = max(largest, path.stat().st_size)
        return real(path, expected)

    def answer(handler):
        if not chunked:
            return endless(handler)
        handler.protocol_version = "HTTP/1.1"
        handler.head(200, Transfer_Encoding="chunked", Connection="close")
        with contextlib.suppress(OSError):
            while handler.entry[2] < 1 << 26:
                handler.body(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    monkeypatch.setattr(http, "file_matches", file_matches)
    server.paths["/a/file"] = answer
    refuse(server, tmp_path, "another SHA-256", "a")
    assert largest == 300_000 and server.asked[0][2] < 1 << 24


def test_a_body_without_a_length_is_accepted_if_its_content_is_correct(server, tmp_path):
    def answer(handler):
        handler.head(200)
        handler.body(CONTENT)

    server.paths["/a/file"] = answer
    fetch(server, tmp_path, "a")


def test_garbage_instead_of_http(server, tmp_path):
    server.paths |= {"/a/file": lambda handler: handler.wfile.write(b"\x1b[31m nothing\r\n\r\n" * 10_000)}
    with pytest.raises(DownloadError) as caught:
        fetch(server, tmp_path, "a")
    assert "no response" in str(caught.value) and "\x1b" not in str(caught.value)


# Files that already exist.


def test_a_partial_file_is_resumed(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:200_000])
    server.paths["/a/file"] = ranged(CONTENT)
    assert fetch(server, tmp_path, "a") == [["/a/file", 200_000, 100_000]]


def test_a_complete_partial_file_needs_no_server(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path, "a") == []


@pytest.mark.parametrize("begun", [b"x" * 200_000, OTHER, CONTENT + b"more"])
def test_a_partial_file_of_other_content_is_deleted(server, tmp_path, begun):
    (tmp_path / "file.part").write_bytes(begun)
    server.paths["/a/file"] = ranged(CONTENT)
    assert fetch(server, tmp_path, "a")[-1] == ["/a/file", 0, 300_000]
    assert len(server.asked) == (2 if len(begun) < len(CONTENT) else 1)


def test_after_a_wrong_partial_file_and_a_wrong_mirror_the_next_mirror_is_used(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 200_000)
    server.paths |= {"/a/file": ranged(OTHER), "/b/file": ranged(CONTENT)}
    assert [one[:2] for one in fetch(server, tmp_path, "a", "b")] == [
        ["/a/file", 200_000],
        ["/a/file", 0],
        ["/b/file", 0],
    ]


def with_content_range(content_range, code=206):
    def answer(handler):
        handler.head(code, Content_Range=content_range)
        handler.body(CONTENT[handler.start :])

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        from_the_start(CONTENT),
        status(416),
        with_content_range("bytes 0-299999/300000"),
        with_content_range("bytes 1001-299999/300000"),
        with_content_range("bytes 1000-299999/300001"),
        with_content_range("bytes */300000"),
        with_content_range("pages 1-2/3"),
        with_content_range("bytes 1000-" + "9" * 5000 + "/300000"),
        with_content_range("bytes 1000-299999/300000", code=200),
        lambda handler: handler.head(206),
    ],
)
def test_a_server_without_range_support_is_asked_from_the_start(server, tmp_path, answer):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.paths["/a/file"] = if_a_range_is_asked_for(answer, from_the_start(CONTENT))
    assert [start for _, start, _ in fetch(server, tmp_path, "a")] == [1000, 0]


@pytest.mark.parametrize("total", ["300000", "*"])
def test_a_server_may_send_the_file_in_pieces(server, tmp_path, total):
    def answer(handler):
        end = min(handler.start + 99_000, 300_000)
        handler.head(206, Content_Range=f"bytes {handler.start}-{end - 1}/{total}", Content_Length=end - handler.start)
        handler.body(CONTENT[handler.start : end])

    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.paths["/a/file"] = answer
    assert [start for _, start, _ in fetch(server, tmp_path, "a")] == [1000, 100_000, 199_000, 298_000]


@pytest.mark.parametrize("end", ["999", "0"])
def test_pieces_without_progress_are_given_up(server, tmp_path, end):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.paths["/a/file"] = with_content_range(f"bytes 1000-{end}/300000")
    assert len(refuse(server, tmp_path, "sends only parts", "a", kept=CONTENT[:1000])) <= http.TRIES


def test_a_range_that_was_not_requested_is_refused(server, tmp_path):
    server.paths["/a/file"] = with_content_range("bytes 0-299999/300000")
    assert len(refuse(server, tmp_path, "HTTP status 206 Partial Content", "a")) == 1


def test_416_to_a_request_without_a_range_is_refused(server, tmp_path):
    server.paths["/a/file"] = status(416)
    assert len(refuse(server, tmp_path, "HTTP status 416", "a")) == 1


def test_an_existing_file_is_kept_under_another_name(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    server.paths["/b/file"] = from_the_start(CONTENT)
    with pytest.raises(DownloadError):
        http.fetch(tmp_path / "file", checked(CONTENT), [server.address + "a/"])
    assert (tmp_path / "file").read_bytes() == b"mine"
    http.fetch(tmp_path / "file", checked(CONTENT), [server.address + "b/"])
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert (tmp_path / "file.replaced").read_bytes() == b"mine"


def test_a_full_disk_is_not_reported_as_an_error_of_the_mirror(server, tmp_path):
    (tmp_path / "file.part").mkdir()
    server.paths["/a/file"] = from_the_start(CONTENT)
    with pytest.raises(OSError) as caught:
        http.fetch(tmp_path / "file", checked(CONTENT), [server.address + "a/"])
    assert not isinstance(caught.value, DownloadError)


def test_the_progress_bar_counts_from_the_resumed_byte(server, tmp_path, capsys, monkeypatch):
    tqdm = importlib.import_module("tqdm")
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False})
            bars.append((self, options))

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    (tmp_path / "file.part").write_bytes(b"x" * 200_000)
    server.paths["/a/file"] = ranged(CONTENT)
    fetch(server, tmp_path, "a")
    ((bar, options),) = bars
    assert bar.n == bar.total == 300_000 and options["unit"] == "B" and options["disable"] is True
    assert "200k/300k" in capsys.readouterr().err


# --- archives --------------------------------------------------------------------------------------------------------

MEMBERS = {"one.bin": CONTENT[:5000], "two.bin": CONTENT[5000:5512], "empty.bin": b""}
WANTED = {name: checked(content) for name, content in MEMBERS.items()}


def member(name, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


GOOD = [member(f"in/{name}", content) for name, content in MEMBERS.items()]
AROUND = [member("in", type=tarfile.DIRTYPE), member("in/readme.txt", b"read me")]


def pack(path, members, form=tarfile.USTAR_FORMAT, end=bytes(1024)):
    """Concatenates the members, whatever their headers say."""
    content = b"".join(info.tobuf(form) + body + bytes(-len(body) % 512) for info, body in members) + end
    path.write_bytes(gzip.compress(content, 1))
    return path


def unpack(path, folder, at_most=20_000):
    folder.mkdir(exist_ok=True)
    archive.extract(path, WANTED, "in", folder, at_most)
    return {one.name: one.read_bytes() for one in folder.iterdir()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_only_the_listed_members_are_unpacked(tmp_path, form, disk):
    long = member("in/" + "ü" * 120, b"a name that needs a header of its own")
    assert (
        unpack(pack(tmp_path / "a.tar.gz", AROUND + ([long] if form else []) + GOOD, form), tmp_path / "out") == MEMBERS
    )
    assert disk[:4] == ["forced"] * 3 + ["renamed"]  # all or none


def test_a_real_archive_is_unpacked(tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in MEMBERS.items():
        (tmp_path / "in" / name).write_bytes(content)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        made.add(tmp_path / "in", "./in")
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out") == MEMBERS


def damaged_members():
    """Name of the case, members, and words of the message."""
    content, rest = MEMBERS["one.bin"], GOOD[1:]
    for name in (
        "../in/one.bin",
        "/in/one.bin",
        "in/../in/one.bin",
        "in//one.bin",
        "one.bin",
        "IN/one.bin",
        "in/one.bin\n",
    ):
        yield f"named {name}", [member(name, content), *rest], "lacks in/one.bin"
    kinds = {"symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE}
    kinds |= {"pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE, "sparse": tarfile.GNUTYPE_SPARSE, "odd": b"Z"}
    for kind, code in kinds.items():
        one = member("in/one.bin", content, type=code, linkname="/etc/passwd")
        yield kind, [one, *rest], "in/one.bin is not a regular file of 5,000 bytes"
    yield (
        "empty link",
        [member("in/one.bin", type=tarfile.SYMTYPE, linkname="../secret"), *rest],
        "is not a regular file of",
    )
    yield "short", [member("in/one.bin", content[:-1]), *rest], "is not a regular file of 5,000 bytes"
    yield "long", [member("in/one.bin", content + b"x"), *rest], "is not a regular file of 5,000 bytes"
    yield "other", [member("in/one.bin", content[::-1]), *rest], "in/one.bin is not the publisher's"
    yield "missing", rest, "lacks in/one.bin"
    yield "nothing", [], "lacks in/one.bin, in/two.bin, in/empty.bin"
    yield "bomb", [member("in/zeros", bytes(1 << 22)), *GOOD], "more bytes than expected"
    yield "announced bomb", [member("in/zeros", size=8 << 30 - 1), *GOOD], "more bytes than expected"
    yield "bomb of headers", [member(f"in/{i}") for i in range(100)] + GOOD, "more bytes than expected"
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        yield f"bomb {kind}", [member("in/x", bytes(1 << 20), type=kind), *GOOD], "more bytes than expected"


@pytest.mark.parametrize(("members", "words"), [pytest.param(m, w, id=i) for i, m, w in damaged_members()])
def test_other_archives_are_refused_and_leave_no_files(tmp_path, members, words):
    before = {"one.bin": b"what was there"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one.bin").write_bytes(before["one.bin"])
    path = pack(tmp_path / "a.tar.gz", members)
    with pytest.raises(DataFileError, match="(?s)a.tar.gz.*" + words):
        unpack(path, tmp_path / "out")
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.tar.gz", "out"]


def test_a_negative_size_is_refused(tmp_path):
    path = pack(tmp_path / "a.tar.gz", [member("in/back", size=-1024), *GOOD], tarfile.GNU_FORMAT)
    with pytest.raises(DataFileError, match="more bytes than expected"):
        unpack(path, tmp_path / "out")


def test_an_archive_truncated_at_any_byte_leaves_no_files(tmp_path):
    whole = pack(tmp_path / "a.tar.gz", AROUND + GOOD).read_bytes()
    plain = gzip.decompress(whole)
    cut = [whole[:length] for length in range(0, len(whole) - 20, 97)]
    cut += [gzip.compress(plain[:length], 1) for length in range(0, len(plain) - 1024, 97)]
    for content in cut:
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(DataFileError, match="a.tar.gz"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())


def test_an_archive_with_any_changed_byte_is_refused_or_read_correctly(tmp_path):
    plain = bytearray(gzip.decompress(pack(tmp_path / "a.tar.gz", AROUND + GOOD).read_bytes()))
    refused = 0
    for position in [*range(0, 3072, 7), *range(3072, len(plain), 97)]:
        plain[position] ^= 0x21
        (tmp_path / "a.tar").write_bytes(plain)
        plain[position] ^= 0x21
        try:
            assert unpack(tmp_path / "a.tar", tmp_path / "out") | MEMBERS == MEMBERS
        except DataFileError:
            refused += 1
        for one in (tmp_path / "out").iterdir():
            one.unlink()
    assert refused > 100


# --- whole sets ------------------------------------------------------------------------------------------------------


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(server, tmp_path, monkeypatch):
    """MNIST of 30 + 20 images on the server, with its four files; the data folder is tmp_path/data."""
    rng = np.random.default_rng(1)
    monkeypatch.setattr(mnist_file, "N_TRAIN", 30)
    monkeypatch.setattr(mnist_file, "N_TEST", 20)
    arrays = (
        rng.integers(0, 256, (30, 28, 28)),
        np.arange(30) % 10,
        rng.integers(0, 256, (20, 28, 28)),
        np.arange(20) % 10,
    )
    plain = {name: idx(array) for name, array in zip(mnist_file.FILES, arrays, strict=True)}
    served = {f"{name}.gz": gzip.compress(content, mtime=7) for name, content in plain.items()}
    for name, content in served.items():
        server.paths[f"/mnist/{name}"] = ranged(content)
    source = replace(
        mnist_file.MNIST,
        mirrors=(f"{server.address}mnist/",),
        contents={name: checked(content) for name, content in plain.items()},
        downloads={name: checked(content) for name, content in served.items()},
    )
    monkeypatch.setattr(mnist_file, "MNIST", source)
    monkeypatch.setitem(data.SOURCES, "mnist", source)
    monkeypatch.setenv("MINIFA_DATA", str(tmp_path / "data"))
    return source, plain, served


@pytest.fixture
def small_cifar(server, tmp_path, monkeypatch):
    """CIFAR-10 of 20 records a file, in an archive on the server; the data folder is tmp_path/data."""
    monkeypatch.setattr(cifar, "PER_FILE", 20)
    rng = np.random.default_rng(2)
    records = {name: rng.integers(0, 10, (20, 3073), dtype=np.uint8).tobytes() for name in cifar.CIFAR10.files}
    inside = cifar.CIFAR10.inside
    members = [member(inside, type=tarfile.DIRTYPE), member(f"{inside}/readme.html", b"<html>")]
    members += [member(f"{inside}/{name}", content) for name, content in records.items()]
    served = pack(tmp_path / "served", members).read_bytes()
    server.paths["/cifar/cifar-10-binary.tar.gz"] = ranged(served)
    source = replace(
        cifar.CIFAR10,
        mirrors=(f"{server.address}cifar/",),
        contents={name: Checked(len(c), md5=hashlib.md5(c).hexdigest()) for name, c in records.items()},
        downloads={"cifar-10-binary.tar.gz": checked(served)},
    )
    monkeypatch.setattr(cifar, "CIFAR10", source)
    monkeypatch.setitem(data.SOURCES, "cifar10", source)
    monkeypatch.setenv("MINIFA_DATA", str(tmp_path / "data"))
    return source, records, served


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_the_recorded_sources_are_complete():
    for source in data.SOURCES.values():
        assert list(source.contents) == list(source.files)
        assert list(source.downloads) == ([source.archive] if source.archive else [f"{n}.gz" for n in source.files])
        assert source.citation and all(re.match("https?://.*/$", mirror) for mirror in source.mirrors)
        assert source.mirrors[0].startswith("https:")
        for file in source.downloads.values():  # files from outside are verified by SHA-256
            assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size
        for file in source.contents.values():
            assert re.fullmatch("[0-9a-f]{64}", file.sha256) or re.fullmatch("[0-9a-f]{32}", file.md5)
    assert sum(file.size for file in data.SOURCES["cifar10"].contents.values()) == 60_000 * 3073
    assert sum(file.size for file in data.SOURCES["cifar100"].contents.values()) == 60_000 * 3074


def test_mnist_is_downloaded_and_found(small_mnist, tmp_path):
    source, _, served = small_mnist
    with pytest.raises(data.DataNotFound, match="To download them: minifa data download mnist\n"):
        data.load("mnist")
    assert not (tmp_path / "data").exists()  # only requested files are downloaded
    place = data.download("mnist")
    assert place == tmp_path / "data" / "mnist" and files_in(place) == served
    assert len(data.load("mnist").train) == 30 and data.check("mnist") == "the publisher's files, byte for byte"


def test_existing_files_are_not_downloaded_again(small_mnist, server, tmp_path):
    _, plain, _ = small_mnist
    for place in (tmp_path / "data" / "mnist", tmp_path / "data"):  # both folders are searched
        place.mkdir(exist_ok=True, parents=True)
        for name, content in plain.items():
            (place / f"{name}.gz").write_bytes(gzip.compress(content, 1))  # compressed differently, as by Debian
        assert data.download("mnist") == place and server.asked == []
        for name in plain:
            (place / f"{name}.gz").unlink()


def test_files_that_another_process_has_just_downloaded_are_not_downloaded_again(
    small_mnist, server, tmp_path, monkeypatch
):
    """The other process ended between our check of the folder and our acquisition of the lock."""
    _, plain, _ = small_mnist

    @contextlib.contextmanager
    def taken(path, refused):
        for name, content in plain.items():
            (path.parent / name).write_bytes(content)
        yield

    monkeypatch.setattr("minifa.storage.locks.locked", taken)
    assert data.download("mnist") == tmp_path / "data" / "mnist" and server.asked == []
    assert data.check("mnist") == "the publisher's files, byte for byte"


def test_only_missing_or_wrong_files_are_downloaded(small_mnist, server, tmp_path):
    _, plain, served = small_mnist
    place = tmp_path / "data" / "mnist"
    place.mkdir(parents=True)
    right, wrong, damaged, missing = mnist_file.FILES
    (place / right).write_bytes(plain[right])
    (place / wrong).write_bytes(idx(np.zeros(30)))  # it would be read instead of the .gz beside it
    (place / f"{damaged}.gz").write_bytes(served[f"{damaged}.gz"][:-9])
    assert data.download("mnist") == place
    assert [path for path, _, _ in server.asked] == [f"/mnist/{name}.gz" for name in (wrong, damaged, missing)]
    assert files_in(place) == {
        right: plain[right],
        f"{wrong}.replaced": idx(np.zeros(30)),
        f"{damaged}.gz.replaced": served[f"{damaged}.gz"][:-9],
        **{f"{name}.gz": served[f"{name}.gz"] for name in (wrong, damaged, missing)},
    }
    assert data.check("mnist") == "the publisher's files, byte for byte"


def test_cifar_is_downloaded_unpacked_and_found(small_cifar, tmp_path):
    _, records, _ = small_cifar
    place = data.download("cifar10")
    assert place == tmp_path / "data" / "cifar10" / "cifar-10-batches-bin" and files_in(place) == records
    assert files_in_names(tmp_path / "data" / "cifar10") == [".lock", "cifar-10-batches-bin"]  # the archive was deleted
    assert data.load("cifar10").note == "" and data.check("cifar10") == "the publisher's files, byte for byte"


def files_in_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_stays_beside_the_publishers_files(small_cifar, server, tmp_path):
    _, records, _ = small_cifar
    place = tmp_path / "data" / "cifar10" / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for name, content in records.items():
        (place / name).write_bytes(content[:-1] + b"\xff" if name == "data_batch_4.bin" else content)
    assert "from a copy" in data.check("cifar10")
    data.download("cifar10")
    copied = files_in(place).pop("data_batch_4.bin.replaced")
    assert copied == records["data_batch_4.bin"][:-1] + b"\xff"
    assert data.check("cifar10") == "the publisher's files, byte for byte" and len(files_in(place)) == 7


def test_an_existing_archive_needs_no_server(small_cifar, server, tmp_path):
    _, records, served = small_cifar
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    (tmp_path / "data" / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(served)
    assert files_in(data.download("cifar10")) == records and server.asked == []


def test_an_existing_wrong_archive_is_downloaded_again(small_cifar, server, tmp_path):
    _, records, served = small_cifar
    top = tmp_path / "data" / "cifar10"
    top.mkdir(parents=True)
    (top / "cifar-10-binary.tar.gz").write_bytes(served[:-1])
    assert files_in(data.download("cifar10")) == records and len(server.asked) == 1
    assert (top / "cifar-10-binary.tar.gz.replaced").read_bytes() == served[:-1]


def test_interrupted_unpacking_resumes_from_the_archive(small_cifar, server, monkeypatch):
    _, records, _ = small_cifar

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.download("cifar10")
    assert files_in(data.download("cifar10")) == records and len(server.asked) == 1


@pytest.mark.parametrize("free", [10, 100_000])
def test_a_full_disk_is_reported_before_anything_is_downloaded(small_cifar, server, monkeypatch, free):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": free}))
    with pytest.raises(DownloadError, match=r"cifar10 must have \d\.\d MB of free space, got 0\.\d MB"):
        data.download("cifar10")
    assert server.asked == []


def test_downloaded_bytes_do_not_count_towards_the_required_disk_space(small_mnist, server, tmp_path, monkeypatch):
    source, _, served = small_mnist
    place = tmp_path / "data" / "mnist"
    place.mkdir(parents=True)
    first = next(iter(served))
    (place / f"{first}.part").write_bytes(served[first][:-10])
    left = sum(map(len, served.values())) - len(served[first]) + 10
    for free in (left - 1, left):
        monkeypatch.setattr("shutil.disk_usage", lambda folder, free=free: type("U", (), {"free": free}))
        with pytest.raises(DownloadError) if free < left else contextlib.nullcontext():
            data.download("mnist")
    assert files_in(place) == served


def test_names_that_cannot_be_downloaded_are_refused():
    for function in (data.download, data.check):
        with pytest.raises(ValueError, match="'xor' is included in minifa"):
            function("xor")
        with pytest.raises(ValueError, match="unknown data set 'mnits': did you mean mnist"):
            function("mnits")


# --- the command, and processes --------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = cli.main(["data", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_shows_the_folder_of_each_data_set_and_how_to_download_it(small_mnist, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources.sys, "platform", "linux")
    code, out, _ = run(capsys)
    assert code == 0
    assert re.search(r"^digits +- +embedded$", out, re.M)
    assert re.search(r"^mnist +0\.0 MB +not found: minifa data download mnist$", out, re.M)
    assert re.search(r"^cifar100 +168\.5 MB +not found: minifa data download cifar100$", out, re.M)
    for citation in ("Krizhevsky (2009)", "CC BY-SA 3.0", "MIT licence", "CC BY 4.0"):
        assert citation in out
    data.download("mnist")
    assert re.search(rf"^mnist .*{re.escape(str(tmp_path / 'data' / 'mnist'))}$", run(capsys, "list")[1], re.M)
    elsewhere = str(tmp_path / "else where")
    printed = " ".join(run(capsys, "list", "--data-dir", elsewhere)[1].split())  # a long path begins another line
    assert f"minifa data download mnist --data-dir '{elsewhere}'" in printed


def test_download_then_check_then_damage(small_mnist, tmp_path, capsys):
    assert run(capsys, "check")[:2][0] == 0  # a missing file is not a damaged one
    code, _, err = run(capsys, "check", "mnist")
    assert code == 1 and "minifa data download mnist" in err
    code, out, _ = run(capsys, "download", "mnist")
    assert code == 0 and f"mnist is in {tmp_path / 'data' / 'mnist'}\nto cite: Y. LeCun" in out
    code, out, err = run(capsys, "check", "mnist")
    assert code == 0 and re.search("^mnist +the publisher's files, byte for byte$", out, re.M) and not err
    labels = tmp_path / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.arange(20) % 9)))
    code, out, _ = run(capsys, "check")
    assert code == 0 and re.search("^mnist +MNIST from a copy", out, re.M)
    labels.write_bytes(labels.read_bytes()[:-5])
    for arguments in (["check"], ["check", "mnist"]):
        code, out, err = run(capsys, *arguments)
        assert code == 1 and re.search("^mnist +damaged$", out, re.M)
        assert "damaged gzip" in err and "to replace it: minifa data download mnist" in err
    assert run(capsys, "download", "mnist")[0] == 0 == run(capsys, "check", "mnist")[0]


def test_a_download_that_fails_exits_with_1(small_mnist, server, capsys):
    server.paths.clear()
    code, out, err = run(capsys, "download", "mnist")
    assert code == 1 and not out
    assert err.startswith("minifa data: train-images-idx3-ubyte.gz could not be downloaded:\n") and "404" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download"], "download needs the name of a data set: mnist"),
        (["download", "mnits"], "did you mean mnist"),
        (["check", "digits"], "is included in minifa"),
        (["list", "mnist"], "list takes no name"),
    ],
)
def test_invalid_arguments_exit_with_2(arguments, words, capsys):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and words in err


# A separate process, whose mnist is the small one.
SCRIPT = """
import json, sys
from dataclasses import replace
from minifa import cli, data
from minifa.data.downloads.sources import Checked
given = json.loads(sys.argv[1])
source = replace(data.SOURCES["mnist"], mirrors=tuple(given["mirrors"]), **{
    key: {name: Checked(**one) for name, one in given[key].items()} for key in ("contents", "downloads")})
data.SOURCES["mnist"] = source
sys.exit(cli.main(["data", "download", "mnist", "--data-dir", sys.argv[2]]))
"""


def start(source, folder):
    given = {"mirrors": source.mirrors}
    for key in ("contents", "downloads"):
        given[key] = {name: vars(one) for name, one in getattr(source, key).items()}
    command = [sys.executable, "-c", SCRIPT, json.dumps(given), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def stalling(small_mnist, server):
    """The first file stops after fewer bytes than the buffer of a file holds."""
    source, _, served = small_mnist
    first, n_bytes = next(iter(served)), 1000
    server.paths[f"/mnist/{first}"] = in_turn(ranged(served[first], n_bytes, then=wait), ranged(served[first]))
    return source, served, first, n_bytes


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to one process on Windows")
def test_a_killed_download_resumes(stalling, server, tmp_path, how):
    source, served, first, n_bytes = stalling
    place = tmp_path / "data" / "mnist"
    part = place / f"{first}.part"
    process = start(source, tmp_path / "data")
    until(lambda: part.exists() and part.stat().st_size == n_bytes)
    process.send_signal(getattr(signal, how))
    _, err = process.communicate(timeout=20)
    number = getattr(signal, how)
    assert process.returncode == (-number if how == "SIGKILL" else 128 + number)
    assert files_in(place) == {f"{first}.part": served[first][:n_bytes]}
    if how != "SIGKILL":
        kept = f"interrupted: {n_bytes:,} of {len(served[first]):,} bytes are kept in {part}: the next download resumes"
        assert kept in err and "Traceback" not in err
    data.download("mnist")
    assert server.asked[1] == [f"/mnist/{first}", n_bytes, len(served[first]) - n_bytes]
    assert files_in(place) == served


@pytest.mark.long
def test_two_processes_do_not_disturb_each_other(stalling, server, tmp_path):
    source, served, first, n_bytes = stalling
    place = tmp_path / "data" / "mnist"
    one = start(source, tmp_path / "data")
    until(lambda: (place / f"{first}.part").exists() and (place / f"{first}.part").stat().st_size == n_bytes)
    two = start(source, tmp_path / "data")
    _, err = two.communicate(timeout=20)
    assert two.returncode == 1
    assert f"data set 'mnist' is being downloaded by process {one.pid} on" in err
    server.released.set()
    _, err = one.communicate(timeout=20)
    assert one.returncode == 0, err
    assert files_in(place) == served


def test_many_processes_may_download_at_once(small_mnist, server, tmp_path):
    source, _, served = small_mnist
    several = [start(source, tmp_path / "data") for _ in range(3)]
    ended = [(process.communicate(timeout=30)[1], process.returncode) for process in several]
    assert any(code == 0 for _, code in ended)
    assert all(code == 0 or "is being downloaded by process" in err for err, code in ended)
    assert files_in(tmp_path / "data" / "mnist") == served
    assert mf.data.check("mnist") == "the publisher's files, byte for byte"
