"""`minifa rules`: list the learning rules."""

from __future__ import annotations

__all__: list[str] = []

import argparse

from ..rules import RULES
from .exit_codes import OK


def describe(command: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(options: argparse.Namespace) -> int:
    for rule in RULES.values():
        print(f"{rule.name:10} {rule.equation}\n{'':10} {rule.title}; {rule.paper}\n{'':10} needs {rule.needs}\n")
    return OK
