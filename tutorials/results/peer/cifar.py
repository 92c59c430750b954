"""Backpropagation in the networks of `minifa reproduce cifar10_moskovitz` and `cifar10_resnet20`, in PyTorch, written
independently.

    python tutorials/results/peer/cifar.py --seeds 3 --out runs/peer-cifar10
    python tutorials/results/peer/cifar.py --recipe cifar10_resnet20 --set training.epochs=4
    python tutorials/results/peer/cifar.py --seeds 0

The recipe's settings: augmentation, optimizer, rate, decay and schedule of its row bp, batch 128, a tenth of the
training images held out (minifa's choice of them). Weights, order, crops and flips are drawn by PyTorch: the paper's
network by PyTorch's own default, but with biases at 0; ResNet-20 as He et al. have them. Only images and settings come
from minifa.

First, in float64 and with minifa's initial weights and augmented batches, the first updates of every parameter are
compared with minifa's; a difference above 1e-5 of their size ends the script. Then `epochs.csv` in --out gets a line
for each epoch, and the table has the accuracy at the epoch that is best on held-out images. The same command resumes.
With ``--seeds 0`` only the updates are compared. Needs ``pip install torch==2.13.0``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import nn
from torch_runs import Row, command

from minifa.bench import torch_steps
from minifa.experiments import recipes


def moskovitz() -> nn.Sequential:
    """ "Architecture 1" of Moskovitz et al. 2018 for crops of 24 x 24, as Lance & Kieu 2026 re-implement it."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 3 * 3, 384), nn.ReLU()),
        *(nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)),
    )
    for module in model:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.zeros_(module.bias)  # as in minifa; PyTorch draws them
    return model


def resnet20() -> nn.Module:
    """The network of the bench, with the weights of He et al. 2015 for ReLU."""
    model = torch_steps.network("resnet20")
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.zeros_(model[-1].bias)
    return model


def cropped(x: torch.Tensor, size: int = 24, padding: int = 0) -> torch.Tensor:
    """A random crop of every image (N, C, H, W), padded with zeros, mirrored with probability 0.5."""
    x = nn.functional.pad(x, (padding,) * 4)
    n, _, height, width = x.shape
    top, left = (torch.randint(0, side - size + 1, (n, 1, 1)) for side in (height, width))
    columns = left + torch.arange(size)
    columns = torch.where(torch.rand(n, 1, 1) < 0.5, columns.flip(2), columns)
    rows = top + torch.arange(size).reshape(1, -1, 1)
    return x[torch.arange(n).reshape(-1, 1, 1), :, rows, columns].permute(0, 3, 1, 2).contiguous()


NETWORKS = {
    "cifar10_moskovitz": (moskovitz, cropped),
    "cifar10_resnet20": (resnet20, functools.partial(cropped, size=32, padding=4)),
}


def rows_of(recipe: recipes.Recipe, names: Sequence[str] = ("bp",)) -> list[Row]:
    """The rows of these names, which are trained by backpropagation."""
    network, augment = NETWORKS[recipe.name]
    return [Row(row.name, row.experiment, network, augment=augment) for row in recipe.rows if row.name in names]


if __name__ == "__main__":
    command(__doc__, [*NETWORKS], rows_of, ["bp"], "bp")
