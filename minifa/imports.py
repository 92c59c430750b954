"""Importing a user's Python file into this process, as the option ``--import my.py`` of every command does.

The file is executed once, as a module of its own. Its rules (subclasses of `minifa.rules.Rule` with a ``name``) are
registered; models, data sets and so on it registers itself: ``mf.models.MODELS["mine"] = make_mine``. Layers need no
registration, because only models make them.

A file is only ever named by the user, on the command line or in a call. Run folders store its name and a digest of its
content, which is compared when a run is resumed or opened; no path from a file is imported.
"""

from __future__ import annotations

__all__ = ["import_file"]

import hashlib
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from . import registry
from .rules.base import Rule
from .storage.atomic import DIGITS, expanded
from .text import listed, one_line

PREFIX = "minifa_import_"  # of the names of the modules; they do not count as minifa's own
OF_A_PROBLEM = 300  # maximum length of the message of an exception


@dataclass(frozen=True)
class Imported:
    """An imported file.

    Attributes:
        path: its absolute path.
        content: the bytes that were executed.
    """

    path: str
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:DIGITS]


FILES: dict[str, Imported] = {}  # the files that this process has imported, by their names


def import_file(path: str | os.PathLike[str]) -> ModuleType:
    """Import a Python file and register its rules, as ``--import`` does. The same file is imported once per process.

    Only this file identifies the experiments that use it. What it imports itself must be installed, or lie in a folder
    that Python searches.

    Args:
        path: path of a .py file. It is executed: import only files that you trust.

    Returns:
        The module.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a .py file, raises an exception, registers nothing, or uses a name that is taken; or it
            was imported with another content before.
    """
    place = expanded(path).absolute()
    if place.suffix != ".py":
        raise ValueError(f"a file to import (--import) must be a .py file, got '{path}'")
    if not place.is_file():
        raise FileNotFoundError(f"the file '{path}' to import (--import) does not exist")
    return import_content(Imported(str(place), place.read_bytes()))


def import_content(file: Imported) -> ModuleType:
    """Import the content of a file, in another process than the one that read it. Raises as `import_file`."""
    name = Path(file.path).name
    module_name = PREFIX + re.sub(r"\W", "_", Path(file.path).stem)
    if name in FILES:
        if FILES[name].digest != file.digest:
            raise ValueError(
                f"'{file.path}' cannot be imported: another '{name}' was imported before, from {FILES[name].path}; "
                "rename one of them, or start Python again if the file was changed"
            )
        return sys.modules[module_name]
    if module_name in sys.modules:
        raise ValueError(f"'{file.path}' cannot be imported: another file has nearly the same name; rename one of them")
    module = ModuleType(module_name)
    module.__file__ = file.path
    sys.modules[module_name] = module  # before the execution: dataclasses look their module up
    try:
        with registry.additions(file.path):
            _execute(file, module)
            _register_rules(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    FILES[name] = file
    return module


def _execute(file: Imported, module: ModuleType) -> None:
    """Execute the file in the module. Raises ValueError with the line in which it fails."""
    try:
        exec(compile(file.content, file.path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file.path]
        if isinstance(error, SyntaxError) and error.filename == file.path:
            lines.append(error.lineno)
        where = f", line {lines[-1]}" if lines else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(
            f"'{file.path}'{where}: {type(error).__name__}: {one_line(what, OF_A_PROBLEM)}; the file cannot be imported"
        ) from error


def _register_rules(module: ModuleType) -> None:
    """Register the rules that the file defines, and does not register itself, under their names."""
    table = registry.TABLES["rule"]
    for rule in vars(module).values():
        is_rule = isinstance(rule, type) and issubclass(rule, Rule) and rule.__module__ == module.__name__
        name = vars(rule).get("name") if is_rule and rule not in table.values() else None  # not that of a base class
        if isinstance(name, str):
            if name in table:
                raise ValueError(registry.TAKEN.format(file=module.__file__, what="rule", name=name))
            table[name] = rule


# The digests of imported files, among the other inputs of an experiment


def is_import(name: str) -> bool:
    """Whether the name of an input is that of an imported file."""
    return name.endswith(".py")


def digests() -> dict[str, str]:
    """The digests of the files that this process has imported, by their names."""
    return {name: file.digest for name, file in FILES.items()}


def unlike(stored: Mapping[str, str]) -> list[str]:
    """The names of stored imported files that this process has not imported, or with another content."""
    return [name for name in stored if is_import(name) and digests().get(name) != stored[name]]


def differences(stored: Mapping[str, str]) -> list[str]:
    """One phrase for each stored imported file that is missing in this process, or has another content."""
    return [_difference(name, str(stored[name])) for name in unlike(stored)]


def _difference(name: str, had: str) -> str:
    file, shown = FILES.get(name), listed([name])
    if file is None:
        return (
            f"it was made with {shown}: add --import {shown} on the command line, or in Python call "
            f'minifa.imports.import_file("{shown}") first'
        )
    return (
        f"other code: {shown} has the digest {file.digest}, and had {listed([had])}: restore the file as it was "
        "(and restart a Python session that imported the other), or start a new run"
    )


def require_same(stored: Mapping[str, str], what: str | os.PathLike[str]) -> None:
    """Raise ValueError if a file that ``what`` was made with is missing in this process, or has another content."""
    differ = differences(stored)
    if differ:
        raise ValueError(f"{what} cannot be opened: {'; '.join(differ)}")


def options() -> list[str]:
    """The options of a command that imports the same files."""
    return [word for file in FILES.values() for word in ("--import", _short(file.path))]


def _short(path: str) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return path


def snapshot() -> list[Imported]:
    """The imported files, for `import_content` in another process."""
    return list(FILES.values())
