"""One file over HTTP: gone on with where it was cut off, from mirror after mirror, in place only when it is right.

What has come lies beside the file's place, in NAME.part, whoever or whatever ends the process. No server is trusted: of
what they send, at most the file's size is ever written, and size and SHA-256 decide whether it is the file.
"""

from __future__ import annotations

__all__: list[str] = []

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..files import force_to_disk, move_into_place
from ..terminal import bar
from .base import DownloadError
from .checksums import is_right
from .folders import Checked

TIMEOUT = 30.0  # seconds without a byte after which a connection is given up
TRIES = 4  # in a row, of a mirror that had sent something, that bring the file no further
PAUSE = 1.0  # seconds before the second of them, doubled before every other
FURTHER = 1 << 20  # bytes that count as further
BLOCK = 1 << 16
TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)  # beside all of 500 to 599

# What talking to a server may raise; ValueError where it redirects to an address that is none.
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


class _GiveUp(Exception):
    """This mirror cannot help."""


class _TryAgain(Exception):
    """It might, if it is asked once more."""


class _NoResuming(Exception):
    """It does not send the rest of a file."""


def fetch(place: Path, expected: Checked, mirrors: Sequence[str], progress: bool = False) -> None:
    """Download a file into its place, over http or https.

    Args:
        place: its path. Its folder is there, and locked: one process at a time downloads into it. What is in the place
            is moved aside in the end, to the name with .replaced behind it.
        expected: its size and SHA-256.
        mirrors: addresses of folders that have it under its name, asked in this order.
        progress: show a bar, where standard error is a terminal.

    Raises:
        DownloadError: no mirror had it.
        KeyboardInterrupt: it was interrupted; like DownloadError it tells what was kept.
        OSError: it cannot be written.
    """
    how = {"total": expected.size, "initial": received(place), "unit": "B", "unit_scale": True}
    said = []
    with bar(**how, desc=place.name, hidden=not progress) as shown:
        for mirror in mirrors:
            try:
                _fetch_from(mirror + place.name, expected, place, shown)
                break
            except _GiveUp as reason:
                said.append(f"  {mirror}{place.name}: {reason}\n")
            except KeyboardInterrupt as stop:
                raise type(stop)(_kept(place, expected)) from None
        else:
            raise DownloadError(f"{place.name} could not be downloaded:\n{''.join(said)}{_kept(place, expected)}")
    with open(part_of(place), "r+b") as file:
        force_to_disk(file)
    move_into_place(part_of(place), place, previous=place.with_name(place.name + ".replaced"))


def part_of(place: Path) -> Path:
    """Where what has come of a file lies until it is complete."""
    return place.with_name(place.name + ".part")


def received(place: Path) -> int:
    """How many bytes have come of a file that is not complete."""
    try:
        return part_of(place).stat().st_size
    except FileNotFoundError:
        return 0


def _kept(place: Path, expected: Checked) -> str:
    if not received(place):
        return "nothing had come yet"
    amount = f"{received(place):,} of {expected.size:,} bytes"
    return f"{amount} are kept in {part_of(place)}: the next download goes on from there"


def _fetch_from(address: str, expected: Checked, place: Path, bar: Any) -> None:
    """Make the part complete and right, with the help of this mirror alone. Raises _GiveUp, OSError."""
    furthest = received(place)
    mixed = furthest > 0  # whether some of it may be what this mirror would not send
    can_resume, fruitless, tries = True, 0, 1  # a mirror that has sent nothing is asked once
    while True:
        if received(place) >= expected.size:
            if is_right(part_of(place), expected):
                return
            part_of(place).unlink()
            if not mixed:
                raise _GiveUp("sent another file of the right size: its SHA-256 is wrong")
        start = received(place) if can_resume else 0
        mixed = mixed and start > 0
        try:
            _receive(address, expected.size, part_of(place), start, bar)
        except _NoResuming:
            can_resume = False
        except _TryAgain as reason:
            reached = received(place)
            tries = TRIES if reached > start else tries
            fruitless = 0 if reached >= furthest + FURTHER else fruitless + 1
            furthest = max(furthest, reached)
            if fruitless >= tries:
                raise _GiveUp(str(reason)) from reason
            time.sleep(PAUSE * 2**fruitless)


def _receive(address: str, size: int, part: Path, start: int, bar: Any) -> None:
    """Add to the part what one answer brings of the bytes from ``start`` to ``size``, never more.

    Raises:
        _GiveUp, _TryAgain, _NoResuming: what was received till then is in the part.
        OSError: the part cannot be written.
    """
    with _ask(address, start) as response:
        end = _end_of(response, start, size)
        bar.n = start
        bar.refresh()
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            while start < end:
                block = _read(response, min(BLOCK, end - start))
                file.write(block)
                file.flush()  # so that nothing is lost if we are killed
                start += len(block)
                bar.update(len(block))
    if end < size:
        raise _TryAgain("sends only pieces of the file")


def _ask(address: str, start: int) -> http.client.HTTPResponse:
    """The answer to a request for the file from that byte on."""
    from .. import __version__

    headers = {"User-Agent": f"minifa/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _NoResuming from error
        again = error.code in TRANSIENT or 500 <= error.code < 600
        raise (_TryAgain if again else _GiveUp)(_refusal(error.code)) from error
    except NETWORK_ERRORS as error:
        raise _TryAgain(f"no answer ({_in_words(error)})") from error
    return response


def _end_of(response: http.client.HTTPResponse, start: int, size: int) -> int:
    """Where in the file the answer's body ends, if it is what was asked for. Raises _GiveUp, _NoResuming."""
    if start:
        told = response.headers.get("Content-Range", "")
        found = re.fullmatch(rf"bytes {start}-([0-9]{{1,15}})/(?:{size}|\*)", told)
        # 200: this server sends files from the beginning only. Anything else than the bytes from start on is no use.
        if response.status != HTTPStatus.PARTIAL_CONTENT or found is None:
            raise _NoResuming
        return min(int(found[1]) + 1, size)
    length = response.headers.get("Content-Length", str(size))
    if response.status != HTTPStatus.OK:
        raise _GiveUp(_refusal(response.status))
    if length != str(size):
        raise _GiveUp(f"sends another file: of {_printable(length)} bytes, where {size} are expected")
    return size


def _read(response: http.client.HTTPResponse, at_most: int) -> bytes:
    """Some bytes, as soon as there are any."""
    try:
        block = response.read1(at_most)
    except NETWORK_ERRORS as error:
        raise _TryAgain(f"the connection broke off ({_in_words(error)})") from error
    if not block:
        raise _TryAgain("the connection ended before the file did")
    return block


class _Redirects(urllib.request.HTTPRedirectHandler):
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 knows the first four alone

    def redirect_request(self, req: Any, fp: Any, code: int, *answer: Any) -> urllib.request.Request | None:
        fp.close()  # its body would be read to the end, however long it is
        return super().redirect_request(req, fp, 307 if code == 308 else code, *answer)


def _opener() -> urllib.request.OpenerDirector:
    """Speaks http and https, through the proxies of the environment, and nothing else: wherever a server redirects to,
    no file of this machine is opened."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _refusal(code: int) -> str:
    if 300 <= code < 400:
        return f"answers {code}: redirects in a circle, or to what is neither http nor https"
    known = code in set(HTTPStatus)
    return f"answers {code}{' ' + HTTPStatus(code).phrase if known else ''}"


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"silent for {TIMEOUT:g} s"
    return _printable(str(getattr(error, "reason", error))) or type(error).__name__


def _printable(text: str) -> str:
    """The text without what would move a terminal's cursor: a server wrote it."""
    return "".join(c if c.isprintable() else "?" for c in text)
