"""Bad input, made by the thousand: what an entrance is, and the judge of what it did with a case.

An entrance is a name and a way to make one case out of random numbers. A case is a call, with what it may answer:

    it works                          and `Case.check` finds the result right
    it refuses                        one of the documented exceptions, raised on purpose by minifa, with a sentence

Everything else is a defect: another exception, one that comes from the depths of a library or of minifa itself, a call
that does not return, memory beyond the bound, a file left half written. To add an entrance, write a function that makes
a case and put it into a table `ENTRANCES` (see `fuzzing.files`): both `pytest` and `pytest -m fuzz` find it there.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import signal
import threading
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

import numpy as np

import minifa

PACKAGE = Path(minifa.__file__).parent
SECONDS = 20  # after which a call hangs
TIMES, BESIDE = 24, 8 << 20  # memory that reading a file may take: so many times its size, and so many bytes beside


class Hangs(BaseException):
    """A call has not returned in time. (No Exception: nobody may take it for an answer.)"""


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        description: the case, so that it can be made again by hand.
        call: the call.
        refusals: the exceptions that are documented for it.
        check: raises AssertionError where what the call returned is not right.
        must_refuse: whether any answer would be wrong.
        memory: the most that the call may allocate, in bytes; None: not measured.
        folder: in which nothing half written may be left behind.
    """

    description: str
    call: Callable[[], Any]
    refusals: tuple[type[BaseException], ...] = (ValueError, TypeError)
    check: Callable[[Any], None] = lambda result: None
    must_refuse: bool = False
    memory: int | None = None
    folder: Path | None = None


MakeCase = Callable[[Random, Path], Case]


def bound(size: int, times: int = TIMES) -> int:
    """The memory that reading so many bytes may take."""
    return times * size + BESIDE


def judge(case: Case) -> str | None:
    """None where the case was answered as it may be; else what is wrong, in words."""
    try:
        with (
            _measured(case.memory is not None) as peak,
            _in_time(),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")  # NaN in, NaN out: NumPy may say so
            result = case.call()
    except Hangs:
        return f"has not returned after {SECONDS} s"
    except case.refusals as error:
        wrong = why_not_a_refusal(error)
        if wrong:
            return wrong
    except Exception as error:
        return f"an exception that is not documented\n{_message(error)}"
    else:
        if case.must_refuse:
            return f"was accepted, and gave {str(result)[:300]}"
        try:
            case.check(result)
        except AssertionError as error:
            return f"a wrong answer: {error}"
    if case.memory is not None and peak[0] > case.memory:
        return f"took {peak[0]:,} bytes of memory; the bound is {case.memory:,}"
    return _left_behind(case.folder)


@contextlib.contextmanager
def _measured(wanted: bool) -> Iterator[list[int]]:
    """The most memory that was allocated inside, NumPy's arrays included; measuring takes three times as long."""
    peak = [0]
    if not wanted:
        yield peak
        return
    tracemalloc.start(1)
    try:
        yield peak
    finally:
        peak[0] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _left_behind(folder: Path | None) -> str | None:
    left = [] if folder is None else [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".part")]
    return f"left {', '.join(left)} behind" if left else None


# Whether an exception is an answer


def why_not_a_refusal(error: BaseException) -> str | None:
    """None where an exception was raised on purpose, with a sentence; else what is wrong with it."""
    if isinstance(error, SystemExit):
        return None if error.code in (0, 2) else f"ended with the exit code {error.code}"
    if isinstance(error, OSError) and error.filename is not None:
        return None  # of a path: Python says it best
    last = _last(error.__traceback__)
    if not _on_purpose(last.tb_frame.f_code.co_filename, last.tb_lineno):
        return f"an exception from the depths\n{_message(error)}"
    if len(str(error).split()) < 4:
        return f"an exception without a sentence: {type(error).__name__}({error})"
    return None


def _last(tb: TracebackType | None) -> TracebackType:
    assert tb is not None
    while tb.tb_next is not None:
        tb = tb.tb_next
    return tb


def _on_purpose(file: str, line: int) -> bool:
    """Whether this line of minifa is a ``raise``."""
    return PACKAGE in Path(file).parents and any(first <= line <= last for first, last in _raises(file))


@functools.cache
def _raises(file: str) -> list[tuple[int, int]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def _message(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return "".join(lines)[-2500:]


# Many cases


def campaign(name: str, make: MakeCase, count: int, seed: int, folder: Path, most: int = 5) -> list[str]:
    """Judge ``count`` cases of an entrance; what was wrong, each with the seed that makes it again, at most so many of
    different kinds."""
    wrong: dict[str, str] = {}
    for number in range(count):
        case = make(Random(f"{seed}/{name}/{number}"), folder)
        problem = judge(case)
        if problem is not None:
            kind = re.sub("[0-9]+", "", problem.strip().splitlines()[-1])[:60]
            wrong.setdefault(kind, f"{name}, seed {seed}, case {number}: {case.description[:600]}\n{problem}")
            if len(wrong) >= most:
                break
    return list(wrong.values())
