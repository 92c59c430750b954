"""Backpropagation in the network of `minifa reproduce cifar10_moskovitz`, in PyTorch, written independently.

    python tutorials/results/peer/cifar.py --epochs 50 --seeds 3 --out runs/peer-cifar10

The recipe's settings: crops of 24 x 24 and flips, Adam with the row's rate and decay, batch 128, a tenth of the
training images held out (minifa's choice of them), biases at 0, the epoch that is best on held-out images. Weights (by
its own default), order, crops and flips are drawn by PyTorch. Only images and settings come from minifa.

First, in float64 and with minifa's initial weights and augmented batches, the first updates of every parameter are
compared with minifa's; a difference above 1e-5 of their size ends the script. Then `epochs.csv` in --out gets a line
for each epoch. The same command resumes. With ``--epochs 0`` only the updates are compared. Needs ``pip install
torch==2.13.0``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch_runs import Row, check_updates, make_runs, write_table

import minifa as mf
from minifa.experiments import recipes

SIZE = 24  # pixels of a crop


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


def cropped(x: torch.Tensor) -> torch.Tensor:
    """A random crop of every image (N, C, H, W), mirrored with probability 0.5."""
    n, _, height, width = x.shape
    top, left = (torch.randint(0, side - SIZE + 1, (n, 1, 1)) for side in (height, width))
    columns = left + torch.arange(SIZE)
    columns = torch.where(torch.rand(n, 1, 1) < 0.5, columns.flip(2), columns)
    rows = top + torch.arange(SIZE).reshape(1, -1, 1)
    return x[torch.arange(n).reshape(-1, 1, 1), :, rows, columns].permute(0, 3, 1, 2).contiguous()


def row_of(row: str) -> Row:
    """A row of the recipe that is trained by backpropagation."""
    recipe = recipes.read("cifar10_moskovitz")
    experiment = next(one.experiment for one in recipe.rows if one.name == row)
    return Row(row, replace(experiment, alignment=False), moskovitz)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lr", type=float, help="default: the recipe's")
    parser.add_argument("--data-dir", help="where CIFAR-10 is looked for (default: $MINIFA_DATA, else the cache)")
    parser.add_argument("--out", type=Path, default=Path("runs/peer-cifar10"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    mf.use("numpy", threads=1)
    row, data = row_of("bp"), mf.data.load("cifar10", given.data_dir)
    experiment = replace(row.experiment, lr=given.lr or row.experiment.lr, epochs=max(1, given.epochs))
    rows = [row._replace(experiment=experiment)]
    notes = check_updates(rows, data)
    if given.epochs:
        make_runs(rows, range(given.seed, given.seed + given.seeds), data, given.out, cropped)
        title = f"cifar10, model moskovitz, crop24, {given.epochs} epochs, batch 128, adam: test accuracy in %"
        best = "here: at the epoch that was best on held-out images, mean ± sd over seeds"
        write_table(title, rows, given.out, [best, *notes, data.note])


if __name__ == "__main__":
    main()
