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
from ..registry import nearest, unknown
from ..storage.atomic import with_advice
from ..text import escaping, lines_of
from ..validation import check_list
from . import (
    attack,
    bench,
    compare,
    data,
    doctor,
    explore,
    figures,
    info,
    reproduce,
    results,
    rules,
    starting,
    step,
    survey,
    sweep,
    train,
    tune,
    which_rule,
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
    arguments = _joined(arguments) or ["--help"]
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
    """Help texts with the default of every option that has one, broken between words only."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "", []) else super()._get_help_string(action)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return lines_of(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = (lines_of(line, width, indent, indent) for line in text.split("\n"))
        return "\n".join("\n".join(part) for part in parts)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with the nearest name of an unknown command, option or choice."""

    def error(self, message: str) -> Any:
        unrecognized = message.removeprefix("unrecognized arguments: ")
        if unrecognized != message and unrecognized.startswith("-"):
            known = {option.lstrip("-"): option for action in self._actions for option in action.option_strings}
            given = unrecognized.partition(" ")[0].partition("=")[0]
            near = nearest(known, given.lstrip("-"), NEAR)
            hint = f": did you mean {' or '.join(known[name] for name in near)}?" if near else ""
            message = f"unknown option '{given}'{hint}"
        self.exit(WRONG_USE, f"{self.prog}: {message.removeprefix('argument ')} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.dest == "command":
            options = nearest(["--version", "--help"], value, NEAR)  # some write `minifa version`
            self.error(unknown([*COMMANDS, *options], value, "command", NEAR))
        raise argparse.ArgumentError(action, unknown(action.choices, value, "value"))


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minifa",
        formatter_class=_Help,
        description="Learn how networks learn: train them under backpropagation and feedback alignment.",
        epilog=EXAMPLES,
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


NEAR = 0.65  # how similar a command or an option must be to be suggested; names of rules are shorter
EXAMPLES = """examples:
  minifa compare --quick   train one network under five rules, one seed each
  minifa train --rule usf  train it under one rule, into a folder of its own
  minifa step --rule fa    show one training step, moment by moment

minifa COMMAND --help shows the options of a command.
Exit codes: 0 done, 1 failed, 2 usage error,
3 training diverged (compare: every run), 130 interrupted, 143 ended by SIGTERM."""
COMMANDS: dict[str, tuple[ModuleType, str]] = {  # module with `describe` and `run`, summary
    "compare": (compare, "the same network and data under several learning rules and seeds: a table and a figure"),
    "train": (train, "train one network under one rule, into a run folder"),
    "reproduce": (reproduce, "reproduce a published table, beside the published numbers"),
    "tune": (tune, "search the learning rate of every rule, on held-out examples"),
    "survey": (survey, "every rule on four networks, each at its own learning rate: one table"),
    "sweep": (sweep, "one recipe under many settings, a line of a table for each run"),
    "which-rule": (which_rule, "train under several rules, and predict the rule from statistics of the layers"),
    "step": (step, "walk through one training step, moment by moment, under any rule"),
    "explore": (explore, "write a page on which a step and a short training run can be walked through"),
    "attack": (attack, "attack trained networks, along the rule's own and the true gradient: a table and a figure"),
    "results": (results, "the results archive: list its tables, show one, compare your runs with it"),
    "figures": (figures, "draw all pictures of a finished run into its folder"),
    "rules": (rules, "the learning rules: equation, paper, and what each needs"),
    "data": (data, "the data sets: list them, check their files, download them"),
    "info": (info, "versions, backend, threads, and which data sets were found"),
    "bench": (bench, "time a training step, beside PyTorch where it is installed, or measure its memory"),
    "doctor": (doctor, "whether this machine computes what it should, CPU and GPU: a report to send with a bug"),
}
