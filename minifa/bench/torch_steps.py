"""The benchmark networks in PyTorch and under BioTorch's rules, for `minifa bench`.

No other module imports these two libraries.
"""

from __future__ import annotations

__all__: list[str] = []

import contextlib
import io
import warnings
from typing import Any

import torch
from torch import nn

from .. import backend
from .networks import CLASSES, SHAPES, Step, batch


class Block(nn.Module):
    """The residual block of `models.resnet20`."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.stride, self.more = width // below, width - below
        self.body = nn.Sequential(
            nn.Conv2d(below, width, 3, self.stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        if self.more:
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return torch.relu(y + x)


def network(model: str) -> Any:
    """The PyTorch version of a network of `minifa.bench.networks.SHAPES`."""
    layers: list[Any] = []
    name, shape, options = SHAPES[model]
    if name == "mlp":
        widths = (*shape, *options["hidden"], CLASSES)
        layers += [one for a, b in zip(widths, widths[1:], strict=False) for one in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1])
    if model == "cnn":
        for a, b in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 4 * 128, CLASSES))
    layers += [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    below = 16
    for width in (16, 32, 64):
        for _ in range(3):
            layers.append(Block(below, width))
            below = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(below, CLASSES))


def torch_step(model: str, batch_size: int, channels_last: bool = False) -> Step:
    """A step of backpropagation, with as many threads as minifa uses."""
    net, x, y = _prepared(network(model), model, batch_size)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        _synchronise()

    return step


def biotorch_step(model: str, rule: str, batch_size: int) -> Step:
    """A step under one of BioTorch's rules (Sanfiz & Akrout 2021), whose modes have the same names as minifa's
    rules."""
    from biotorch.module.biomodule import BioModule

    with contextlib.redirect_stdout(io.StringIO()):  # BioModule prints every layer conversion
        net, x, y = _prepared(BioModule(network(model), mode=rule, output_dim=CLASSES), model, batch_size)
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9), nn.functional.cross_entropy
    warnings.filterwarnings("ignore", "Using a non-full backward hook")  # used by BioTorch's dfa

    def step() -> None:
        optimizer.zero_grad()
        loss(net(x, targets=y, loss_function=loss), y).backward()
        optimizer.step()
        _synchronise()

    return step


def _prepared(net: Any, model: str, batch_size: int) -> tuple[Any, Any, Any]:
    """The network and a batch (x, y) on minifa's device: the CPU, or the GPU under CuPy."""
    torch.set_num_threads(backend.threads())
    device = "cuda" if backend.name() == "cupy" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ImportError("the PyTorch that is installed cannot use the GPU")
    x, y = (torch.from_numpy(array).to(device) for array in batch(SHAPES[model][1], batch_size))
    return net.to(device), x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x, y


def _synchronise() -> None:
    if backend.name() == "cupy":
        torch.cuda.synchronize()


def device_bytes() -> int:
    """The peak GPU memory reserved by PyTorch, in bytes."""
    return torch.cuda.max_memory_reserved()
