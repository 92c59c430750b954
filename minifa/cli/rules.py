"""`minifa rules`: list the learning rules, or describe one with its options."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import inspect
import re
import sys

from ..registry import lookup, option_names
from ..rules import RULES, Rule, make
from ..text import lines_of, terminal_width
from .exit_codes import OK


def describe(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="a rule, to see its options; none: all are listed")


def run(options: argparse.Namespace) -> int:
    if options.name is None:
        print("\n\n".join(_summary(rule) for rule in RULES.values()))
        print("\nminifa rules NAME shows the options of a rule")
    else:
        print(_description(lookup(RULES, options.name, "rule")))
    return OK


def _summary(rule: type[Rule]) -> str:
    source = [] if rule.paper in rule.title else [rule.paper]  # of a control: "control"
    return "\n".join([f"{rule.name}: {rule.title}", *_indented(rule.equation, *source, f"needs {rule.needs}")])


def _indented(*paragraphs: str) -> list[str]:
    return [line for text in paragraphs for line in lines_of(text, terminal_width(), " " * 4, " " * 8)]


def _description(rule: type[Rule]) -> str:
    """Equation, requirements and options of a rule, and the text at the top of its file."""
    parameters = inspect.signature(rule).parameters
    passes = "one forward and one backward pass" if rule.one_backward_pass else "not a single backward pass, see below"
    needs_options = any(one.default is one.empty for key, one in parameters.items() if key != "seed")
    learns = rule.feedback_learns if needs_options else make(rule.name).feedback_learns  # an option decides, in burst
    feedback = f"{'learns' if learns else 'does not learn'}; default weight decay {rule.weight_decay:g}"
    networks = [f"accepts: {rule.accepts}"] if rule.accepts else []
    lines = [_summary(rule), *_indented(f"per update of the weights: {passes}", f"feedback: {feedback}", *networks), ""]
    names = [name for name in option_names(rule) if name != "seed"]  # type: ignore[arg-type]  # a class can be hashed
    if names:
        first = f"{rule.name}:{names[0]}={_written(parameters[names[0]].default)}"
        lines += lines_of(
            f"options, behind a colon and separated by commas, as in minifa train --rule {first}:", terminal_width()
        )
        for name in names:
            lines += _indented(f"{name} (default: {_written(parameters[name].default)}): {_meaning(rule, name)}")
    else:
        lines.append(f"no options: minifa train --rule {rule.name}")
    return "\n".join([*lines, "", *_file_description(rule)])


def _written(value: object) -> str:
    """A value as it is written in the description of a rule."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _meaning(rule: type[Rule], option: str) -> str:
    """The text about an option in the docstring of the rule or of a base class."""
    for cls in rule.__mro__:
        _, _, arguments = inspect.cleandoc(cls.__doc__ or "").partition("Args:\n")
        for entry in re.split(r"\n(?=    \w)", arguments.partition("\n\n")[0]):
            names, _, text = entry.partition(": ")
            if option in names.replace(",", " ").split() and not re.fullmatch(r"as for `\w+`\.", text):
                return " ".join(text.split()).replace("`", "")
    return "see its class"


def _file_description(rule: type[Rule]) -> list[str]:
    """The text at the top of the rule's file, with equations and sources."""
    width, lines = terminal_width(), list[str]()
    for paragraph in (sys.modules[rule.__module__].__doc__ or "").replace("`", "").strip().split("\n\n"):
        if paragraph.startswith(" "):  # equations with remarks, in columns where these fit
            rows = paragraph.split("\n")
            lines += rows if max(map(len, rows)) <= width else _rewrapped(rows, width)
        else:
            lines += lines_of(" ".join(paragraph.split()), width)
        lines.append("")
    return lines[:-1]


def _rewrapped(rows: list[str], width: int) -> list[str]:
    """Rows of columns that are too wide, each in lines of its own; rows that continue the one above are indented."""
    lines = list[str]()
    for row in rows:
        indent = " " * 4 if row[4:5].strip() else " " * 8
        lines += lines_of(re.sub(" {3,}", "   ", row.strip()), width, indent, " " * 8)
    return lines
