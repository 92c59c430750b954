"""BioTorch's LeNet in PyTorch, written independently, with BioTorch's own layers for feedback alignment and the
sign-concordant rules: the rows of a recipe of minifa, with its rates, schedule and data.

    python tutorials/results/peer/lenet.py --recipe mnist_lenet_20 --seeds 3 --out runs/peer-mnist-lenet
    python tutorials/results/peer/lenet.py --recipe fashion_lenet_20 --rules bp --set training.epochs=2
    python tutorials/results/peer/lenet.py --seeds 0

Trained with SGD, scored at the last epoch. Weights, feedback and order are drawn by PyTorch. The images and their scale
are minifa's: 28 x 28, padded by the first convolution. ``usf`` is minifa's "usf:scale=std".

First, in float64 and with minifa's initial weights, feedback and batches, the first updates of every parameter are
compared with minifa's; a difference above 1e-5 of their size ends the script. That of brsf is left out: it draws its
feedback for every update. Then `epochs.csv` in --out gets a line for each epoch. The same command resumes. With
``--seeds 0`` only the updates are compared.

Needs ``pip install torch==2.13.0`` and, for all rules but bp, ``pip install --no-deps biotorch==0.0.16``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch_runs import Row, command

from minifa.experiments import recipes

RECIPES = ("mnist_lenet", "mnist_lenet_20", "fashion_lenet_20")
# What of minifa's B is BioTorch's `weight_backward`.
MATRICES: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "bp": None,
    "usf": None,  # made from W
    "frsf": torch.abs,
    "brsf": None,  # drawn in every update
    "fa": torch.clone,
}


def lenet(conv: Callable[..., nn.Module] = nn.Conv2d, linear: Callable[..., nn.Module] = nn.Linear) -> nn.Sequential:
    """The network of ``biotorch/models/le_net.py`` for images of 28 x 28, which are padded to 32 x 32."""
    model = nn.Sequential(
        *(conv(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(conv(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(conv(16, 120, 5), nn.ReLU(), nn.Flatten()),
        *(linear(120, 84), nn.ReLU(), linear(84, 10)),
    )
    for module in model:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def biotorch_lenet(rule: str) -> nn.Sequential:
    from biotorch.layers import fa_constructor

    made: dict[str, Any] = {"layer_config": {"type": rule}}
    return lenet(functools.partial(fa_constructor.Conv2d, **made), functools.partial(fa_constructor.Linear, **made))


def rows_of(recipe: recipes.Recipe, rules: Sequence[str]) -> list[Row]:
    """The recipe's rows of these rules."""
    experiments = {row.name: row.experiment for row in recipe.rows}
    return [
        Row(
            rule,
            experiments[rule],
            lenet if rule == "bp" else functools.partial(biotorch_lenet, rule),
            MATRICES[rule],
        )
        for rule in rules
    ]


if __name__ == "__main__":
    command(__doc__, RECIPES, rows_of, [*MATRICES], "bp,usf,frsf,fa", incomparable=["brsf"])
