"""Order of the modules of a PyTorch model. It follows from names that differ only in numbers, and from shapes if only
one order fits the layers. Most models, but not all, define their modules in the order of the forward pass; files do not
store the order.
"""

from __future__ import annotations

__all__: list[str] = []

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..text import listed

Shapes = dict[str, tuple[int, ...]]  # shapes of a module's or layer's arrays, by name
Tree = dict[Any, Any]  # name part to subtree; None to the name of a module that has arrays itself

DEEPEST = 100  # maximum number of parts of a name
MOST_STEPS = 20_000  # limit of the search; a network of a thousand layers takes about two steps per layer


def modules_in_order(modules: Mapping[str, Shapes], layers: Mapping[str, Shapes], defined: bool) -> list[str]:
    """The names of the modules in the order of the layers. If no order fits, they are returned in the given order,
    with numbered names sorted, so that the caller can report the mismatch.

    Args:
        modules, layers: the shapes of their arrays, in PyTorch's layout; equally many modules and layers.
        defined: whether the modules are in the order in which the model defines them. That order is used if it fits,
            unless two sibling modules or blocks could be exchanged.

    Raises:
        ValueError: more than one order fits.

    >>> from minifa.weights.module_order import modules_in_order
    >>> small, large = {"weight": (3, 2)}, {"weight": (1, 3)}
    >>> modules_in_order({"out": large, "hidden": small}, {"linear1": small, "linear2": large}, defined=False)
    ['hidden', 'out']
    """
    tree, wanted = _tree(modules), list(layers.values())
    given = _given_order(tree)
    if defined and [modules[name] for name in given] == wanted:
        exchanged = _exchanged(tree, modules)
        orders = [given, *([[exchanged.get(name, name) for name in given]] if exchanged else [])]
    else:
        orders = _matching_orders(tree, modules, wanted)
    if len(orders) > 1:
        raise ValueError(_ambiguous_order(orders[0], orders[1], list(layers)))
    return orders[0] if orders else given


def _ambiguous_order(one: Sequence[str], other: Sequence[str], layers: Sequence[str]) -> str:
    differ = [(a, layer) for a, b, layer in zip(one, other, layers, strict=True) if a != b]
    return (
        f"the order of the PyTorch modules {listed(module for module, _ in differ)} is ambiguous: their names do not "
        f"determine it, and more than one order fits the shapes; give names="
        f"{{{listed(f'{a!r}: {b!r}' for a, b in differ)}}} or the other way round, and every other module (on the "
        f"command line --weights-names {listed(map('='.join, differ))})"
    )


def _tree(modules: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for module in modules:
        parts = module.split(".")
        if len(parts) > DEEPEST:
            raise ValueError(
                f"a module's name must have at most {DEEPEST} parts, got {len(parts):,}: {module[:60]!r}..."
            )
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[None] = module
    return tree


def _without_numbers(part: str | None) -> str:
    """The name with its numbers removed; siblings with equal results are ordered by their numbers."""
    return "" if part is None else re.sub("[0-9]+", "0", part)


def _queues(tree: Tree) -> tuple[tuple[Any, ...], ...]:
    """The children, in one queue for each set of names that differ only in numbers, ordered by these numbers."""
    queues: dict[str, list[tuple[Any, Any]]] = {}
    for part, inner in tree.items():
        digits = [number.lstrip("0") for number in re.findall("[0-9]+", part or "")]
        numbers = [(len(number), number) for number in digits]  # of any length
        queues.setdefault(_without_numbers(part), []).append((numbers, inner))
    return tuple(tuple(inner for _, inner in sorted(queue, key=lambda one: one[0])) for queue in queues.values())


def _children(tree: Tree) -> list[tuple[str, Any]]:
    """(name without numbers, tree or module) of the children, in the given order, with numbered names sorted."""
    kinds = [_without_numbers(part) for part in tree]
    queues = dict(zip(dict.fromkeys(kinds), map(iter, _queues(tree)), strict=True))
    return [(kind, next(queues[kind])) for kind in kinds]


def _given_order(inner: Any) -> list[str]:
    return [inner] if isinstance(inner, str) else [name for _, one in _children(inner) for name in _given_order(one)]


def _exchanged(tree: Tree, modules: Mapping[str, Shapes]) -> dict[str, str]:
    """Find two siblings that can be exchanged without changing the sequence of shapes. Returns the resulting
    replacement of modules, or {} if there are none."""
    children = _children(tree)
    blocks = [(kind, _given_order(inner)) for kind, inner in children]
    for (i, (kind, one)), (j, (other_kind, other)) in itertools.combinations(enumerate(blocks), 2):
        between = [name for _, block in blocks[i + 1 : j] for name in block]
        here, there = [*one, *between, *other], [*other, *between, *one]
        if kind != other_kind and [modules[name] for name in here] == [modules[name] for name in there]:
            return dict(zip(here, there, strict=True))
    inside = (_exchanged(inner, modules) for _, inner in children if not isinstance(inner, str))
    return next(filter(None, inside), {})


def _matching_orders(tree: Tree, modules: Mapping[str, Shapes], wanted: Sequence[Shapes]) -> list[list[str]]:
    """The orders, at most two, in which every module has the shapes of its layer and blocks stay together.

    Raises:
        ValueError: the search takes more than `MOST_STEPS` steps.
    """
    orders: list[list[str]] = []
    stack: list[Any] = [
        (0, None, (_queues(tree), None))
    ]  # (number placed, linked list of placed modules, remaining queues by level)
    for _ in range(MOST_STEPS):
        if not stack or len(orders) == 2:
            return orders
        count, placed, remaining = stack.pop()
        if remaining is None:
            orders.append(_as_list(placed))
            continue
        queues, outer = remaining
        if not queues:
            stack.append((count, placed, outer))
        for i, (inner, *behind) in reversed([*enumerate(queues)]):  # so that the first is searched first
            rest = (*queues[:i], *([behind] if behind else []), *queues[i + 1 :]), outer
            if not isinstance(inner, str):
                stack.append((count, placed, (_queues(inner), rest)))
            elif modules[inner] == wanted[count]:
                stack.append((count + 1, (placed, inner), rest))
    raise ValueError(
        "the order of these PyTorch modules cannot be determined from their names: give names={'module': 'layer', "
        "...} (on the command line --weights-names)"
    )


def _as_list(placed: Any) -> list[str]:
    names = []
    while placed:
        placed, name = placed
        names.append(name)
    return names[::-1]
