"""Download of one file over HTTP: resumable, with fallback mirrors, moved to its final path only after verification.

Received bytes are stored beside the final path, in NAME.part, and survive the end of the process. Servers are not
trusted: at most the file's expected size is written, and size and SHA-256 are verified.
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

from ...console import bar
from ...environment import __version__
from ...errors import DownloadError
from ...storage.atomic import force_to_disk, move_into_place
from .checksums import file_matches
from .sources import Checked

TIMEOUT = 30.0  # seconds without data after which a connection is abandoned
TRIES = 4  # consecutive attempts without progress at a mirror that has sent something
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
PROGRESS_BYTES = 1 << 20  # bytes that count as progress
BLOCK = 1 << 16
TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)  # in addition to 500..599

# Exceptions of HTTP requests; ValueError for a redirect to an invalid URL.
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


class _PermanentError(Exception):
    """A permanent error of a mirror."""


class _TransientError(Exception):
    """A transient error of a mirror; the request may be retried."""


class _NoRangeSupport(Exception):
    """The mirror does not support range requests for this file."""


def fetch(place: Path, expected: Checked, mirrors: Sequence[str], progress: bool = False) -> None:
    """Download a file over http or https.

    Args:
        place: path of the file. The folder exists and is locked: one process at a time downloads into it. An existing
            file is renamed after the download, with .replaced appended to its name.
        expected: size and SHA-256 of the file.
        mirrors: base URLs of folders that contain the file under its name, tried in this order.
        progress: show a progress bar in a terminal or a notebook.

    Raises:
        DownloadError: no mirror provided the file; the message says how much was kept.
        KeyboardInterrupt: the download was interrupted; the message says how much was kept.
        OSError: the file cannot be written.
    """
    options = {"total": expected.size, "initial": received(place), "unit": "B", "unit_scale": True}
    errors = []
    with bar(**options, desc=place.name, hidden=not progress) as progress_bar:
        for mirror in mirrors:
            try:
                _fetch_from(mirror + place.name, expected, place, progress_bar)
                break
            except _PermanentError as reason:
                errors.append(f"  {mirror}{place.name}: {reason}\n")
            except KeyboardInterrupt as stop:
                raise type(stop)(_kept_message(place, expected)) from None
        else:
            raise DownloadError(
                f"{place.name} could not be downloaded:\n{''.join(errors)}{_kept_message(place, expected)}"
            )
    with open(part_of(place), "r+b") as file:
        force_to_disk(file)
    move_into_place(part_of(place), place, previous=place.with_name(place.name + ".replaced"))


def part_of(place: Path) -> Path:
    """The path of the partial file."""
    return place.with_name(place.name + ".part")


def received(place: Path) -> int:
    """The size of the partial file in bytes; 0 if there is none."""
    try:
        return part_of(place).stat().st_size
    except FileNotFoundError:
        return 0


def _kept_message(place: Path, expected: Checked) -> str:
    if not received(place):
        return "nothing was received"
    amount = f"{received(place):,} of {expected.size:,} bytes"
    return f"{amount} are kept in {part_of(place)}: the next download resumes from there"


def _fetch_from(address: str, expected: Checked, place: Path, bar: Any) -> None:
    """Complete and verify the partial file from this mirror alone. Raises _PermanentError, OSError."""
    furthest = received(place)
    mixed = furthest > 0  # whether some bytes may come from another mirror
    can_resume, failures, tries = True, 0, 1  # a mirror that has sent nothing is tried once
    while True:
        if received(place) >= expected.size:
            if file_matches(part_of(place), expected):
                return
            part_of(place).unlink()
            if not mixed:
                raise _PermanentError("sent a file of the expected size, but with another SHA-256")
        start = received(place) if can_resume else 0
        mixed = mixed and start > 0
        try:
            _receive(address, expected.size, part_of(place), start, bar)
        except _NoRangeSupport:
            can_resume = False
        except _TransientError as reason:
            reached = received(place)
            tries = TRIES if reached > start else tries
            failures = 0 if reached >= furthest + PROGRESS_BYTES else failures + 1
            furthest = max(furthest, reached)
            if failures >= tries:
                raise _PermanentError(str(reason)) from reason
            time.sleep(PAUSE * 2**failures)


def _receive(address: str, size: int, part: Path, start: int, bar: Any) -> None:
    """Append one response's bytes from ``start`` up to at most ``size`` to the partial file.

    Raises:
        _PermanentError, _TransientError, _NoRangeSupport: the request failed; the bytes received so far are in the
            partial file.
        OSError: the partial file cannot be written.
    """
    with _request(address, start) as response:
        end = _end_of(response, start, size)
        bar.n = start
        bar.refresh()
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            while start < end:
                block = _read(response, min(BLOCK, end - start))
                file.write(block)
                file.flush()  # so that no data are lost if the process is killed
                start += len(block)
                bar.update(len(block))
    if end < size:
        raise _TransientError("sends only parts of the file")


def _request(address: str, start: int) -> http.client.HTTPResponse:
    """The response to a request for the file from byte ``start`` on."""
    headers = {"User-Agent": f"minifa/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _NoRangeSupport from error
        transient = error.code in TRANSIENT or 500 <= error.code < 600
        raise (_TransientError if transient else _PermanentError)(_describe_status(error.code)) from error
    except NETWORK_ERRORS as error:
        raise _TransientError(f"no response ({_describe(error)})") from error
    return response


def _end_of(response: http.client.HTTPResponse, start: int, size: int) -> int:
    """The end position in the file of the response's body, after validation. Raises _PermanentError,
    _NoRangeSupport."""
    if start:
        header = response.headers.get("Content-Range", "")
        match = re.fullmatch(rf"bytes {start}-([0-9]{{1,15}})/(?:{size}|\*)", header)
        # 200: this server ignores range requests. Only a response with the bytes from start on can be appended.
        if response.status != HTTPStatus.PARTIAL_CONTENT or match is None:
            raise _NoRangeSupport
        return min(int(match[1]) + 1, size)
    length = response.headers.get("Content-Length", str(size))
    if response.status != HTTPStatus.OK:
        raise _PermanentError(_describe_status(response.status))
    if length != str(size):
        raise _PermanentError(f"sends a file of {_printable(length)} bytes, expected {size}")
    return size


def _read(response: http.client.HTTPResponse, at_most: int) -> bytes:
    """The next bytes of the body, as soon as any are available, at most ``at_most``."""
    try:
        block = response.read1(at_most)
    except NETWORK_ERRORS as error:
        raise _TransientError(f"the connection was interrupted ({_describe(error)})") from error
    if not block:
        raise _TransientError("the connection was closed before the end of the file")
    return block


class _Redirects(urllib.request.HTTPRedirectHandler):
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 does not handle 308

    def redirect_request(self, req: Any, fp: Any, code: int, *args: Any) -> urllib.request.Request | None:
        fp.close()  # otherwise its body would be read to the end, however long
        return super().redirect_request(req, fp, 307 if code == 308 else code, *args)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only, with the proxies of the environment: a redirect cannot open a local file."""
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


def _describe_status(code: int) -> str:
    if 300 <= code < 400:
        return f"HTTP status {code} (a redirect loop, or a redirect to an address that is not http or https)"
    known = code in set(HTTPStatus)
    return f"HTTP status {code}{' ' + HTTPStatus(code).phrase if known else ''}"


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"no data for {TIMEOUT:g} s"
    return _printable(str(getattr(error, "reason", error))) or type(error).__name__


def _printable(text: str) -> str:
    """The text with unprintable characters replaced: a server's text may contain terminal control sequences."""
    return "".join(c if c.isprintable() else "?" for c in text)
