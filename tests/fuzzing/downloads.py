"""The entrances for downloads: archives, and the responses of servers while a file is fetched."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import socket
import tarfile
import tempfile
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from fuzzing import Case, MakeCase, bound, mutations
from minifa.data.base import DataFileError, DownloadError
from minifa.data.downloads import archive, http
from minifa.data.downloads.sources import Checked

# Archives

INSIDE = "set"
CONTENTS = {"one.bin": bytes(range(256)) * 3, "two.bin": b"x" * 512, "three.bin": b"\0" * 1025}
WANTED = {name: Checked(len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()}
AT_MOST = 1 << 16
KINDS = (
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE),
    *(tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE),
    *(tarfile.CONTTYPE, b"Z", b"\xff"),
)
NAMES = (
    *("../evil", "/tmp/minifa-evil", f"{INSIDE}/../../evil", f"{INSIDE}/one.bin", f"./{INSIDE}/one.bin", "one.bin", ""),
    *(f"{INSIDE}//one.bin", f"{INSIDE}/one.bin/", f"././{INSIDE}/one.bin", "C:\\evil", "a" * 300, "\udcff", "é"),
)


def tar(random: Random) -> bytes:
    """A valid archive, as published: other files before and between the wanted ones, none after them."""
    return ustar_members([("readme", b"words"), *((f"{INSIDE}/{name}", content) for name, content in CONTENTS.items())])


def ustar_members(members: list[tuple[str, bytes]]) -> bytes:
    """The archive's members in USTAR, without the two empty records of its end."""
    stream = b""
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        stream += info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % archive.RECORD)
    return stream


def mutate_tar(random: Random, good: bytes) -> bytes:
    """Other members: links, devices, sparse files, paths outside the folder, wrong sizes, bombs."""
    members = [("readme", b"words"), *((f"{INSIDE}/{name}", content) for name, content in CONTENTS.items())]
    random.shuffle(members)
    victim, stream = random.randrange(len(members)), b""
    change = random.randrange(6)
    for i, (name, content) in enumerate(members):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        form = random.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        if i == victim:
            if change == 0:
                info.type = random.choice(KINDS)
                info.linkname = random.choice(("/etc/passwd", "../evil", ""))
            elif change == 1:
                info.name = random.choice(NAMES)
            elif change == 2:
                info.size, form = random.choice((0, 1, 1 << 20, 1 << 33, 1 << 62)), tarfile.GNU_FORMAT
            elif change == 3:
                content = random.choice((b"", content[:-1], content + b"x", bytes(len(content)), bytes(1 << 22)))
                info.size = len(content)
            elif change == 4:
                info.mode, info.uid, info.mtime = 0o7777, 0, random.choice((-1, 1 << 40))
                form = tarfile.GNU_FORMAT
        form = tarfile.GNU_FORMAT if info.size > 0o77777777777 or len(info.name) > 100 else form
        stream += info.tobuf(form, errors="surrogateescape") + content + bytes(-len(content) % archive.RECORD)
        if i == victim and change == 5:  # a header with a correct checksum and any other content
            stream = _reworked(random, stream, info)
    stream += bytes(2 * archive.RECORD)
    return gzip.compress(stream, mtime=0) if random.random() < 0.5 else stream


def _reworked(random: Random, stream: bytes, info: tarfile.TarInfo) -> bytes:
    at = stream.rfind(info.name.encode("utf-8", "replace")[:90])
    block = bytearray(stream[at : at + archive.RECORD])
    field, width = random.choice(((100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (257, 8), (329, 8), (386, 97)))
    block[field : field + width] = random.choice(
        (b"\xff" * width, b"\x80" * width, b"9" * width, random.randbytes(width))
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return stream[:at] + bytes(block) + stream[at + archive.RECORD :]


def packed(random: Random, good: bytes) -> bytes:
    """Compressed with gzip, then corrupted."""
    return random.choice(mutations.ANY)(random, gzip.compress(good, mtime=0))


def bomb(random: Random, good: bytes) -> bytes:
    """A few kilobytes of gzip that would unpack to gigabytes of zeros or of files."""
    many = [(random.choice((f"{INSIDE}/x", "x")), b"")] * 3000
    return gzip.compress(ustar_members(random.choice((many, [("x", bytes(1 << 23))]))) + good, mtime=0)


def unpack(path: Path) -> Path:
    """The folder that the archive was unpacked into."""
    place = path.parent / "unpacked"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    try:
        archive.extract(path, WANTED, INSIDE, place, AT_MOST)
    except (DataFileError, OSError):
        assert not list(place.iterdir()), "refused, and something was unpacked"
        raise
    return place


def check_unpacked(place: Path) -> None:
    unpacked = {one.name: one.read_bytes() for one in place.iterdir()}
    assert unpacked == CONTENTS, f"unpacked: {[(name, len(content)) for name, content in unpacked.items()]}"


def archived(random: Random, folder: Path) -> Case:
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "inner").mkdir()
    path = home / "inner" / "set.tar"
    good = tar(random)
    way = random.choice((*mutations.ANY, *(mutate_tar,) * 30, packed, bomb))
    content = way(random, good)
    path.write_bytes(content)

    def check(place: Path) -> None:
        check_unpacked(place)
        assert sorted(one.name for one in home.rglob("*")) == sorted(("inner", "set.tar", "unpacked", *CONTENTS))

    description = f"{way.__name__}: {len(content)} bytes"
    memory = bound(len(content), 24)
    return Case(description, lambda: unpack(path), (DataFileError, OSError), check, memory=memory, folder=home)


# Downloads: the responses are real HTTP, the sockets are fake

CONTENT = bytes(range(256)) * 20
EXPECTED = Checked(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class FakeSocket:
    """The part of a connection that http.client needs: it returns a prepared response."""

    def __init__(self, response: bytes, ends: Exception | None) -> None:
        self.response, self.ends = response, ends

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self.response, self.ends))

    def sendall(self, data: Any) -> None:
        pass

    def setsockopt(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


class _Raw(io.RawIOBase):
    def __init__(self, response: bytes, ends: Exception | None) -> None:
        self.stream, self.ends = io.BytesIO(response), ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.stream.readinto(buffer)
        if not count and self.ends is not None:
            raise self.ends
        return count


STATUS = (
    "200 OK",
    "206 Partial Content",
    "200",
    "416 x",
    "404 x",
    "500 x",
    "429 x",
    "301 x",
    "308 x",
    "999 x",
    "204 x",
    "100 x",
)
LENGTHS = ("", str(len(CONTENT)), "0", "-1", "9" * 30, "x", "1" * 5000, "\x1b[2J", "5, 5")
RANGES = (
    "",
    "bytes 0-5119/5120",
    "bytes 100-5119/5120",
    "bytes 100-99/5120",
    "bytes 100-9999999/5120",
    "bytes 100-200/*",
    "x",
)
PLACES = (
    "",
    "http://a/b",
    "file:///etc/passwd",
    "http://[",
    "ftp://a/b",
    "//",
    "\x1b[2J",
    "http://a:99999/b",
    "http://a b/",
)


def response(random: Random) -> bytes:
    """One response of a server: valid, hostile, or noise."""
    start = random.choice((0, 0, 100, 5119))
    body = random.choice((CONTENT[start:], CONTENT[start:], CONTENT[:99], b"", CONTENT * 3, bytes(len(CONTENT)), b"x"))
    head = [f"HTTP/{random.choice(('1.1', '1.1', '1.1', '1.0', '0.9', 'x'))} {random.choice((*STATUS[:2], *STATUS))}"]
    for name, values in (("Content-Length", LENGTHS), ("Content-Range", RANGES), ("Location", PLACES)):
        value = random.choice((values[0], values[1], *values))
        head += [f"{name}: {value}"] if value else []
    if random.random() < 0.1:
        head += [
            random.choice(("Transfer-Encoding: chunked", "Content-Encoding: gzip", "x" * 70_000, "a: b\r\n" * 200, ":"))
        ]
    whole = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
    return random.choice(mutations.ANY)(random, whole) if random.random() < 0.1 else whole


GOOD = (
    f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT,
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-5119/5120\r\n\r\n" + CONTENT[100:],
)


def fetched(random: Random, folder: Path) -> Case:
    place = Path(tempfile.mkdtemp(dir=folder)) / "file.gz"
    responses = [
        random.choice(GOOD) if random.random() < 0.3 else response(random) for _ in range(random.randrange(1, 6))
    ]
    ends = random.choice((None, None, OSError("broken"), TimeoutError("timed out"), ConnectionResetError(104, "reset")))
    begun = random.choice((None, b"", CONTENT[:100], bytes(100), CONTENT[:5119], CONTENT, CONTENT + b"x", bytes(9000)))
    if begun is not None:
        http.part_of(place).write_bytes(begun)
    left = list(responses)

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        if not left:
            raise ConnectionRefusedError(111, "refused")
        return FakeSocket(left.pop(0), ends)

    def call() -> Path:
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(socket, "create_connection", connect))
            stack.enter_context(mock.patch.object(http, "PAUSE", 0.0))
            stack.enter_context(mock.patch("urllib.request.getproxies", dict))
            try:
                http.fetch(place, EXPECTED, ("http://one.test/", "http://two.test/"))
            except (DownloadError, OSError) as error:
                assert not place.exists(), "refused, and the file is there"
                assert all(c.isprintable() or c == "\n" for c in str(error)), f"control characters in {str(error)!r}"
                assert http.received(place) <= max(EXPECTED.size, len(begun or b"")), "more than the file was kept"
                raise
        return place

    def check(file: Path) -> None:
        assert file.read_bytes() == CONTENT, "another file is in its place"
        assert [one.name for one in file.parent.iterdir()] == [file.name], "something lies beside it"

    description = (
        f"part {None if begun is None else len(begun)}, {ends!r}, responses {[one[:200] for one in responses]}"
    )
    return Case(description, call, (DownloadError,), check, memory=bound(math.prod((9, len(CONTENT)))))


ENTRANCES: dict[str, tuple[MakeCase, float]] = {"tar": (archived, 8), "download": (fetched, 6)}

BEGINNINGS = {"tar": (tar, unpack, (DataFileError,))}
