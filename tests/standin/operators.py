"""The operators of PyTorch's training step on the networks of the benchmark, beside the calls that `launches` counts.

PyTorch's profiler lists the operators of a step on the CPU as a tree. Counted are the leaves that do work: an operator
below which no other operator works. On a GPU such an operator launches at least one kernel. One is counted as a whole:
`_foreach_*`, the optimizer's operators on all parameters together, which are the default on a GPU and stand for one
kernel there, for a loop on a CPU. That of Adam which counts the steps is left out: its numbers stay on the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from minifa.bench import torch_steps
from minifa.bench.networks import SHAPES, batch

NOTE = (
    f"PyTorch {torch.__version__.split('+')[0]}: leaf operators of a step of backpropagation that do work, by "
    "torch.profiler on the CPU; the optimizer with foreach=True, the default on a GPU, where each _foreach operator "
    "counts once; convolution_backward and batch norm count once, although a GPU runs two or three kernels for each"
)
# Views, allocations, and the reading of a number that is on the CPU also with a GPU: nothing is computed.
NO_WORK = {
    f"aten::{name}"
    for name in "_local_scalar_dense _reshape_alias alias as_strided as_strided_ detach detach_ empty empty_like "
    "empty_strided expand expand_as flatten item lift_fresh narrow permute reshape resize_ resolve_conj resolve_neg "
    "result_type select slice squeeze t to transpose unsqueeze view view_as".split()
}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, foreach=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-4, foreach=True),
}


def training_step(model: str, optimizer_name: str, batch_size: int, device: str = "cpu") -> Callable[[], None]:
    """A step of backpropagation on a network of the benchmark, after two others."""
    net = torch_steps.network(model).to(device)
    x, y = (torch.from_numpy(array).to(device) for array in batch(SHAPES[model][1], batch_size))
    x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
    optimizer = OPTIMIZERS[optimizer_name](net.parameters())

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    for _ in range(2):
        step()
    return step


def count(model: str, optimizer_name: str, batch_size: int = 8) -> Counter[str]:
    """How often each operator works in a step. The number does not depend on the batch size."""
    step = training_step(model, optimizer_name, batch_size)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step()
    roots = [event for event in profiler.events() if event.cpu_parent is None]
    return Counter(name for event in roots for name in _working(event))


def _working(event: Any) -> Iterator[str]:
    """The names of the leaves below an operator, or its own, that do work."""
    if event.name.startswith("aten::_foreach_"):
        if not _on_numbers(event):
            yield event.name
        return
    below = [name for child in event.cpu_children for name in _working(child)]
    if below:
        yield from below
    elif event.name.startswith("aten::") and event.name not in NO_WORK:
        yield event.name


def _on_numbers(event: Any) -> bool:
    """Whether a _foreach operator works on 0-d arrays only: the optimizer's numbers of steps."""
    return all(child.input_shapes and child.input_shapes[0] == [] for child in event.cpu_children)
