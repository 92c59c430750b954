"""Registry of short names for rules, losses, optimizers, models and data sets, used in Python and on the command
line."""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import functools
import importlib
import inspect
import json
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .text import brief
from .validation import as_python_number

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
TABLES: dict[str, dict[str, Any]] = {}  # every table, by the kind of its entries
_SHIPPED: dict[str, dict[str, Any]] = {}
TAKEN = "'{file}' replaces the {what} '{name}', a name that is taken: choose another"
Address = tuple[str, str, str, str]  # kind of an entry, its name, and the module and qualified name to import it from


def register_table(what: str, table: dict[str, Any]) -> None:
    """Register a table. Entries that are added to it later count as user-defined."""
    TABLES[what], _SHIPPED[what] = table, dict(table)


@contextlib.contextmanager
def additions(file: str) -> Iterator[None]:
    """Context manager in which a file adds its entries (see `minifa.imports`). They do not count as user-defined
    afterwards, because other processes import the same file. If the file fails, all tables are as before.

    Args:
        file: the path, for messages.

    Raises:
        ValueError: nothing is added, an existing entry is replaced or removed, or a name cannot be written in a
            description.
    """
    before = {what: dict(table) for what, table in TABLES.items()}
    try:
        yield
        new = {what: table.keys() - before[what].keys() for what, table in TABLES.items()}
        for what, table in TABLES.items():
            changed = [name for name, entry in before[what].items() if table.get(name) is not entry]
            if changed:
                raise ValueError(TAKEN.format(file=file, what=what, name=changed[0]))
            wrong = [name for name in new[what] if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name)]
            if wrong:
                raise ValueError(
                    f"'{file}' gives a {what} the name {wrong[0]!r}: use letters, digits, '_' and '-' only"
                )
        if not any(new.values()):
            raise ValueError(
                f"'{file}' registers nothing: define a subclass of minifa.rules.Rule with a name, or add an entry to a "
                "table, as mf.models.MODELS['mine'] = make_mine or mf.data.DATASETS['mine'] = load_mine"
            )
    except BaseException:
        for what, table in TABLES.items():
            table.clear()
            table.update(before[what])
        raise
    for what, names in new.items():
        _SHIPPED[what].update({name: TABLES[what][name] for name in names})


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry with that name.

    Raises:
        ValueError: an unknown name; the message lists the closest known names, or all of them.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(unknown(table, name, what))


def unknown(names: Iterable[str], name: object, what: str, cutoff: float = 0.5) -> str:
    """The error message for an unknown name, with those that are similar (see `nearest`), or all."""
    known = sorted(names)
    matches = nearest(known, name, cutoff)
    hint = f"did you mean {' or '.join(matches)}?" if matches else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}: {hint}"


def nearest(names: Iterable[str], name: object, cutoff: float = 0.5) -> list[str]:
    """At most three names whose similarity to a name, as `difflib` measures it, is at least ``cutoff``, nearest
    first."""
    import difflib  # here: only messages need it

    return difflib.get_close_matches(str(name).lower(), sorted(names), n=3, cutoff=cutoff)


@functools.cache  # a sweep calls it a hundred thousand times
def option_names(make: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the parameters, including those that a class passes to its bases as ``**options``."""
    names: dict[str, None] = {}
    for function in make.__mro__ if isinstance(make, type) else (make,):
        parameters = inspect.signature(function).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        names.update(dict.fromkeys(named))
        if len(named) == len(parameters):
            break
    return tuple(names)


class _ConstructorSignature:
    """Makes the signature of a class that of its constructor. Python 3.10 and early 3.11 would use ``__new__`` if the
    constructor is inherited."""

    def __get__(self, instance: object, cls: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # of a callable instance: Python finds its signature itself
        if cls.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class KnownOptions:
    """Base class that rejects unknown constructor options and suggests the closest known one. Python's own error would
    name the base class that ``**options`` is passed to.

    >>> mf.SGD(lr=0.1, nesterow=True)
    Traceback (most recent call last):
    TypeError: unknown option of SGD 'nesterow': did you mean nesterov?
    """

    __signature__ = _ConstructorSignature()

    def __new__(cls, *given: Any, **options: Any) -> Any:
        if options and cls.__module__.partition(".")[0] == PACKAGE:  # a user-defined class may take more
            known = option_names(cls)  # type: ignore[arg-type]  # a class can be hashed
            for key in options:
                if not known:
                    raise TypeError(f"{cls.__name__} takes no options, got {key!r}")
                if key not in known:
                    raise TypeError(unknown(known, key, f"option of {cls.__name__}"))
        return super().__new__(cls)


class Constructed(KnownOptions):
    """Base class that records the arguments of the constructor, so that a file can describe the object.

    >>> from minifa.registry import constructor_arguments
    >>> constructor_arguments(mf.MaxPool(3, padding=1))
    {'kernel_size': 3, 'stride': None, 'padding': 1, 'name': None}
    """

    constructed_with: dict[str, Any]

    def __new__(cls, *given: Any, **options: Any) -> Any:
        instance = super().__new__(cls, *given, **options)
        instance.constructed_with = {"given": given, "options": options}
        return instance


def constructor_arguments(instance: Constructed) -> dict[str, Any]:
    """The arguments with which the constructor was called, by name, with the defaults of the others.

    Raises:
        TypeError: the class takes any number of arguments, which have no names.
    """
    signature = inspect.signature(type(instance))
    call = instance.constructed_with
    bound = signature.bind(*call["given"], **call["options"])
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(f"{type(instance).__name__} takes *{parameter.name}: give its arguments names to save it")
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name))
    return arguments


def plain_settings(owner: Any) -> dict[str, Any]:
    """The attributes that are numbers, strings or tuples, as JSON restores them. Attributes that are None are left out,
    because None also stands for arrays that are not allocated yet."""
    return _as_json_restores(vars(owner))


def constructor_settings(owner: Any) -> dict[str, Any]:
    """The attributes of `plain_settings` that the constructor sets from an argument of this name or of NAME_size,
    without counters and values cached in a pass."""
    parameters = _parameters_of_constructors(type(owner))  # type: ignore[arg-type]  # a class can be hashed
    own = {key: value for key, value in vars(owner).items() if key in parameters or f"{key}_size" in parameters}
    return _as_json_restores(own)


def _as_json_restores(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (bool, int, float, str, tuple)
    settings = {key: value for key, value in attributes.items() if type(value) in kinds}
    return json.loads(json.dumps(settings, default=repr))


@functools.cache  # a checkpoint asks for every layer
def _parameters_of_constructors(cls: type) -> frozenset[str]:
    constructors = [vars(one)["__init__"] for one in cls.__mro__ if "__init__" in vars(one)]
    return frozenset(name for one in constructors for name in inspect.signature(one).parameters)


def as_call(instance: Any) -> str:
    """The constructor call of an object with the options that differ from their defaults, for its ``repr``.

    >>> mf.SGD(lr=0.1, clip_norm=1.0)
    SGD(lr=0.1, clip_norm=1.0)
    """
    parameters: dict[str, inspect.Parameter] = {}
    for cls in type(instance).__mro__[:-1]:  # without `object`
        if "__init__" in vars(cls):
            own = inspect.signature(vars(cls)["__init__"]).parameters
            for key, parameter in own.items():
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    parameters.setdefault(key, parameter)
            if not any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in own.values()):
                break  # options of the classes above are none of the call's
    values = {key: vars(instance)[key] for key in parameters if key in vars(instance)}
    changed = [f"{key}={brief(value)}" for key, value in values.items() if not _equal(value, parameters[key].default)]
    return f"{type(instance).__name__}({', '.join(changed)})"


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # an array, which has no single truth value
        return False


def make_described(table: Mapping[str, Callable[..., T]], description: str, what: str, **given: Any) -> T:
    """Call an entry with the options of a description, ``"name:key=value,key=value"``. The options in ``given`` are set
    by the caller and cannot be part of the description.

    Raises:
        TypeError: the description is not a str.
        ValueError: an unknown name or option (with the closest known ones), or an invalid value.
    """
    if not isinstance(description, str):
        raise TypeError(f"the description of a {what} must be a str, such as 'name:key=value', got {description!r}")
    name, _, written = description.partition(":")
    make = lookup(table, name, what)
    if not callable(make):
        raise ValueError(f"the {what} {name!r} must be registered as a class or function, got {make!r}")
    parameters = inspect.signature(make).parameters
    missing = [key for key in given if key not in parameters]
    if missing and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        raise ValueError(f"the {what} {name!r} must have the parameter {missing[0]}=, which every {what} gets")
    known = [key for key in parameters if key not in given]
    options = read_options(written, known, what, name)
    needed = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in options]
    if needed:
        raise ValueError(f"the {what} {name!r} needs {' and '.join(f'{key}=' for key in needed)}, got {description!r}")
    try:
        return make(**given, **options)
    except TypeError as error:
        raise ValueError(f"the {what} {name!r} cannot take the options {written!r}: {error}") from error


def read_options(written: str, known: Sequence[str], what: str, name: str) -> dict[str, Any]:
    """The options of a description, ``"key=value,key=value"``, by name. Raises ValueError for one that is not known."""
    options = {}
    for item in filter(None, written.split(",")):
        key, equals, value = item.partition("=")
        if not known:
            raise ValueError(f"the {what} {name!r} takes no options")
        if key not in known:
            raise ValueError(unknown(known, key, f"option of {what} {name!r}"))
        if not equals:
            raise ValueError(f"an option of a {what} must be written key=value, got {item!r}")
        options[key] = _read_value(value)
    return options


def write_description(name: str, options: Mapping[str, Any]) -> str:
    """The description from which `make_described` reads these options.

    Raises:
        ValueError: an option has a value that cannot be written there.

    >>> from minifa.registry import write_description
    >>> write_description("fa", {"sparsity": 0.5, "normalise": None}), write_description("bp", {})
    ('fa:sparsity=0.5,normalise=none', 'bp')
    """
    written = []
    for key, value in options.items():
        many = isinstance(value, (list, tuple))
        text = "+".join(map(str, value)) if many else str(value)
        text = text.lower() if value is None or isinstance(value, bool) else text
        read, expected = _read_value(text), list(value) if many else as_python_number(value)
        if "," in text or type(read) is not type(expected) or read != expected:
            raise ValueError(
                f"the option {key}={value!r} of {name!r} cannot be written in a description: register a subclass with "
                "this default in its place"
            )
        written.append(f"{key}={text}")
    return f"{name}:{','.join(written)}" if written else name


def _read_value(text: str) -> Any:
    """Parse the value of an option: true, false, none, a number, numbers joined by + (a list), or a str."""
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    for read in (int, float, lambda many: [float(one) for one in many.split("+")]):
        try:
            return read(text)
        except ValueError:
            continue
    return text


# User-defined entries


@dataclass(frozen=True, eq=False)
class Held:
    """An entry that returns an object in memory, such as a data set. Worker processes receive a copy of it."""

    value: Any

    def __call__(self) -> Any:
        return self.value


@contextlib.contextmanager
def registered(entries: Sequence[tuple[str, str, Any]]) -> Iterator[None]:
    """Inside the with-block these entries (kind, name, entry) are registered; afterwards the tables are as before."""
    before = {(what, name): TABLES[what].get(name) for what, name, _ in entries}
    try:
        for what, name, entry in entries:
            TABLES[what][name] = entry
        yield
    finally:
        for (what, name), entry in before.items():
            if entry is None:
                del TABLES[what][name]
            else:
                TABLES[what][name] = entry


def is_shipped(what: str, name: str) -> bool:
    """Whether minifa itself has an entry with this name."""
    return name in _SHIPPED[what]


# User-defined entries in other processes


def is_user_defined(what: str, name: str) -> bool:
    """Whether the entry with this name is user-defined: added after minifa was imported."""
    return name in TABLES[what] and TABLES[what][name] is not _SHIPPED[what].get(name)


def address(what: str, name: str) -> Address | None:
    """The address from which other processes can import an entry; None if they cannot, because it was defined in a
    notebook, at the prompt or inside a function."""
    entry = TABLES[what][name]
    module, path = getattr(entry, "__module__", ""), getattr(entry, "__qualname__", "")
    try:
        imported = operator.attrgetter(path)(sys.modules[module])
    except (AttributeError, KeyError, TypeError):
        return None
    return (what, name, module, path) if imported is entry and _can_be_imported(module, entry) else None


def held_entries() -> list[tuple[str, str, Held]]:
    """The entries (kind, name, entry) that other processes receive as copies."""
    return [(what, name, one) for what, table in TABLES.items() for name, one in table.items() if isinstance(one, Held)]


def only_here(what: str, name: str) -> bool:
    """Whether an entry is user-defined and other processes can neither import nor receive it."""
    return is_user_defined(what, name) and not isinstance(TABLES[what][name], Held) and address(what, name) is None


def _can_be_imported(module: str, entry: Any) -> bool:
    """Whether a new process can import the file that defines this entry. It imports a script as ``__main__``."""
    file = getattr(sys.modules[module], "__file__", None)
    if file is None or not os.path.isfile(file):
        return False
    if module == "__main__":
        try:
            return bool(inspect.getsource(entry))  # fails if it was typed at the prompt after the script ran
        except (OSError, TypeError):
            return False
    top = module.partition(".")[0]
    specs = (finder.find_spec(top, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec = next((spec for spec in specs if spec is not None), None)
    return spec is not None and spec.origin == getattr(sys.modules.get(top), "__file__", None)


def user_defined_addresses() -> list[Address]:
    """The addresses of all user-defined entries that other processes can import."""
    entries = [(what, name) for what, table in TABLES.items() for name in table if is_user_defined(what, name)]
    addresses = (address(*entry) for entry in entries)
    return [one for one in addresses if one is not None]


def register_entries(addresses: Iterable[Address], held: Iterable[tuple[str, str, Held]] = ()) -> None:
    """In a new process: add the user-defined entries of the process that started it."""
    for what, name, entry in held:
        TABLES[what][name] = entry
    for what, name, module, path in addresses:
        TABLES[what][name] = operator.attrgetter(path)(importlib.import_module(module))
