"""Generated invalid input: the definition of an entrance, and the judge of its response to a case.

An entrance is a name and a function that makes one case from random numbers. A case is a call with its allowed results:

    it returns                        and `Case.check` accepts the result
    it raises                         one of the documented exceptions, on purpose, with a clear message

Everything else is a defect: another exception, one raised inside a library or unintentionally inside minifa, a call
that does not return, memory beyond the bound, a partially written file. To add an entrance, write a function that makes
a case and add it to a table `ENTRANCES` (see `fuzzing.files`): both `pytest` and `pytest -m fuzz` use it.
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
SECONDS = 20  # after which a call counts as hanging
TIMES, BESIDE = 24, 8 << 20  # memory for reading a file: a multiple of its size, plus a number of bytes


class Hangs(BaseException):
    """A call has not returned in time. (Not an Exception, so that no handler treats it as a result.)"""


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        description: the case, in enough detail to reproduce it.
        call: the call.
        refusals: the exceptions that are documented for it.
        check: raises AssertionError if the return value is wrong.
        must_refuse: whether every return value would be wrong.
        memory: the maximum that the call may allocate, in bytes; None: not measured.
        folder: in which no partially written file may remain.
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
    """The memory that reading ``size`` bytes may take."""
    return times * size + BESIDE


def judge(case: Case) -> str | None:
    """None if the result of the case is allowed, else a description of the defect."""
    try:
        with (
            _measured(case.memory is not None) as peak,
            _in_time(),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")  # NaN input gives NaN output, of which NumPy may warn
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
    return _leftovers(case.folder)


@contextlib.contextmanager
def _measured(enabled: bool) -> Iterator[list[int]]:
    """The peak memory allocated inside, NumPy's arrays included; measuring takes three times as long."""
    peak = [0]
    if not enabled:
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


def _leftovers(folder: Path | None) -> str | None:
    left = [] if folder is None else [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".part")]
    return f"left {', '.join(left)} behind" if left else None


# Whether an exception is an allowed result


def why_not_a_refusal(error: BaseException) -> str | None:
    """None if the exception was raised on purpose, with a clear message; else a description of the defect."""
    if isinstance(error, SystemExit):
        return None if error.code in (0, 2) else f"ended with the exit code {error.code}"
    if isinstance(error, OSError) and error.filename is not None:
        return None  # an error about a path: Python's message is clear
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
    """Judge ``count`` cases of an entrance. Returns at most ``most`` defects of different kinds, each with the seed
    that reproduces it."""
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
