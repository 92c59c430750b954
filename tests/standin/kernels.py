"""Kernels that one training step launches on a real GPU, minifa's on CuPy beside PyTorch's; without one, calls of xp.

    PYTHONPATH=.:tests python -m standin.kernels [--models mlp,cnn,resnet20] [--out FILE.csv]

PyTorch's profiler records every kernel of the process, CuPy's too, so both are counted alike: kernels and memsets,
without copies. If there is no GPU that CuPy and PyTorch can use, the calls on the stand-in (`launches`) and
PyTorch's operators are counted instead; the column "counted" says which.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from minifa import backend
from minifa.bench.networks import SHAPES
from minifa.text import table

from . import launches

HEAD = ("network", "rule", "optimizer", "counted", "minifa", "PyTorch", "minifa / PyTorch")


def why_not() -> str:
    """Why kernels cannot be counted here; empty if they can."""
    status = backend.cupy_status()
    if status.startswith("not usable"):
        return status
    try:
        import torch
    except ImportError:
        return "PyTorch, whose profiler counts the kernels, is not installed"
    return "" if torch.cuda.is_available() else "the PyTorch that is installed cannot use the GPU"


def kernels_of(step: Callable[[], None]) -> int:
    """The kernels of one call of ``step``."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.init()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step()
        backend.synchronise()
        torch.cuda.synchronize()
    return number_of_kernels(profiler.events())


def number_of_kernels(events: Iterable[Any]) -> int:
    """The kernels and fills among a profile's events, without copies and annotations."""
    on_device = [one for one in events if one.device_type.name == "CUDA" and not one.is_user_annotation]
    return sum(not one.name.startswith("Memcpy") for one in on_device)


def kernels_of_all(
    keys: Sequence[launches.Key], pairs: Sequence[tuple[str, str]], batch_size: int
) -> tuple[dict[launches.Key, int], dict[tuple[str, str], int]]:
    """The kernels of minifa's steps by network, rule and optimizer, and of PyTorch's by network and optimizer."""
    from . import operators

    with backend.using("cupy", "float32"):
        own = {key: kernels_of(launches.training_step(*key, batch_size)) for key in keys}
        return own, {pair: kernels_of(operators.training_step(*pair, batch_size, "cuda")) for pair in pairs}


def counts(keys: Sequence[launches.Key], batch_size: int) -> list[tuple[str, ...]]:
    """The rows below HEAD."""
    pairs = sorted({(model, optimizer) for model, _, optimizer in keys})
    counted, reason = "kernels", why_not()
    if not reason:
        own, theirs = kernels_of_all(keys, pairs, batch_size)
        reason = "" if all(own.values()) else "the profiler saw no kernel of CuPy"
    if reason:
        print(f"calls of xp on the stand-in, not kernels: {reason}")
        counted = "calls"
        own = {key: len(launches.counted(*key, launches.SMALL[0]).calls) for key in keys}
        theirs, _ = launches.operators_of(pairs)
    rows = []
    for key, number in own.items():
        other = theirs.get((key[0], key[2]))
        beside = (str(other), f"{number / other:.2f}") if other else ("-", "-")
        rows.append((*key, counted, str(number), *beside))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="standin.kernels", description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(SHAPES), help="mlp, cnn, resnet20, or several")
    parser.add_argument("--rules", default=",".join(launches.RULES), help="rules to count")
    parser.add_argument("--optimizers", default=",".join(launches.OPTIMIZERS_USED), help="sgd (momentum 0.9), adam")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", type=Path, help="CSV file of the table")
    options = parser.parse_args(arguments)
    rows = [HEAD, *counts(launches.keys_of(options), options.batch_size)]
    print(table(rows, right_from=4))
    if options.out:
        launches.write_csv(options.out, rows)


if __name__ == "__main__":
    main()
