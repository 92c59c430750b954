"""The command-line interface. Everything it does is also available from Python."""

from __future__ import annotations

__all__ = ["main"]

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .. import backend, experiments, imports, signals
from ..console import print_stderr, standard_streams
from ..data import notices
from ..environment import __version__
from ..parallel import threads
from ..registry import unknown
from ..storage.atomic import with_advice
from ..text import escaping
from ..validation import check_list
from . import (
    bench,
    compare,
    data,
    doctor,
    explore,
    figures,
    info,
    reproduce,
    rules,
    starting,
    step,
    sweep,
    train,
    tune,
)
from .exit_codes import FAILED, OK, WRONG_USE
from .options import count


@escaping()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 usage error, 3 training diverged, 130 interrupted,
    143 terminated by SIGTERM."""
    given = sys.argv[1:] if arguments is None else check_list(arguments, str, "the arguments of a command are words")
    with standard_streams():
        return _run(given)


def _run(arguments: Sequence[str]) -> int:
    arguments = _joined(arguments)
    for stream in (sys.stdout, sys.stderr):  # an encoding without ± or ° must not end a run
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        options.parser.error("unrecognized arguments: " + " ".join(rest))
    try:
        starting.done()
        with signals.terminating(), notices.on_stderr(f"minifa {options.command}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", experiments.FailedRun)  # every command reports failed runs at its end
            backend.use(options.backend or backend.chosen_by_environment(), options.dtype, options.threads)
            for path in options.imports:
                imports.import_file(path)
            return options.run(options)
    except BrokenPipeError:  # the reading process (head, less) has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt as stop:
        how = "ended by SIGTERM" if isinstance(stop, signals.Terminated) else "interrupted"
        print_stderr(f"\n{how}: no file is left half-written, and the same command starts again")
        return signals.exit_code(stop)
    except OSError as error:
        print_stderr(f"minifa {options.command}: {with_advice(error)}")
        return FAILED
    except (ValueError, TypeError, ImportError, MemoryError, backend.BackendError) as error:
        message = str(error) or "memory does not suffice: a smaller network or --batch-size needs less"
        print_stderr(f"minifa {options.command}: {message}")
        return WRONG_USE if isinstance(error, ValueError) else FAILED


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--lr -1e-3`` as ``--lr=-1e-3``: argparse treats arguments with a leading minus as options, unless they are
    simple numbers such as -1."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.match(r"-(\.?\d|inf|nan)", argument) and re.fullmatch(r"--[a-z][a-z-]*", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "", []) else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that suggests similar names for an unknown command or option."""

    def error(self, message: str) -> Any:
        if "invalid choice:" in message and self._subparsers is not None:
            given = message.split("invalid choice: ")[1].split("'")[1]
            message = unknown(COMMANDS, given, "command")
        elif message.startswith("unrecognized arguments: "):
            given = message.removeprefix("unrecognized arguments: ").partition(" ")[0]
            known = [option for action in self._actions for option in action.option_strings]
            message = unknown(known, given, "option") if given.startswith("-") else message
        self.print_usage(sys.stderr)
        self.exit(WRONG_USE, f"{self.prog}: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minifa",
        description="Learn how networks learn: train them under backpropagation and feedback alignment.",
        epilog="Try: minifa compare. Exit codes: 0 done, 1 failed, 2 usage error, 3 training diverged, "
        "130 interrupted, 143 ended by SIGTERM.",
    )
    parser.add_argument("--version", action="version", version=f"minifa {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, formatter_class=_Help)
        command.set_defaults(run=module.run, parser=command)
        where = command.add_argument_group("where it runs")
        where.add_argument(
            "--backend", choices=("numpy", "cupy"), help="where arrays live (default: $MINIFA_BACKEND, else numpy)"
        )
        where.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="floating-point type")
        where.add_argument(
            "--threads",
            type=count(1, threads.MAX_THREADS),
            help="threads of the CPU (default: $MINIFA_THREADS, else all cores)",
        )
        command.add_argument("--quiet", action="store_true", help="no progress bars and no lines about progress")
        where.add_argument(
            "--import",
            dest="imports",
            action="append",
            default=[],
            metavar="FILE.py",
            help="execute this Python file first, and know its rules, models and data sets by their names; may be "
            "given more than once",
        )
        module.describe(command)
    return parser


COMMANDS: dict[str, tuple[ModuleType, str]] = {  # module with `describe` and `run`, summary
    "compare": (compare, "the same network and data under several learning rules and seeds: a table and a figure"),
    "train": (train, "train one network under one rule, into a run folder"),
    "reproduce": (reproduce, "reproduce a published table, beside the published numbers"),
    "tune": (tune, "search the learning rate of every rule, on held-out examples"),
    "sweep": (sweep, "one recipe under many settings, a line of a table for each run"),
    "step": (step, "walk through one training step, moment by moment, under any rule"),
    "explore": (explore, "write a page on which a step and a short training run can be walked through"),
    "figures": (figures, "draw all pictures of a finished run into its folder"),
    "rules": (rules, "the learning rules: equation, paper, and what each needs"),
    "data": (data, "the data sets: list them, check their files, download them"),
    "info": (info, "versions, backend, threads, and which data sets were found"),
    "bench": (bench, "time a training step, beside PyTorch where it is installed, or measure its memory"),
    "doctor": (doctor, "whether this machine computes what it should, CPU and GPU: a report to send with a bug"),
}
