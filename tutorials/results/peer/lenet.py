"""BioTorch's LeNet in PyTorch, written independently, with BioTorch's own layers for feedback alignment and the
sign-concordant rules.

    python tutorials/results/peer/lenet.py --data mnist --epochs 20 --seeds 3 --out runs/peer-lenet-mnist
    python tutorials/results/peer/lenet.py --data fashion_mnist --epochs 20 --rates bp=0.03,usf=0.03,fa=0.003

Settings of `minifa reproduce mnist_lenet`, except for epochs and rates where they are given: SGD with momentum 0.9 and
decay 0.001, batch 64, Xavier's uniform weights and biases at 0, the last epoch. Weights, feedback and order are drawn
by PyTorch. The images and their scale are minifa's: 28 x 28, padded by the first convolution. ``usf`` is minifa's
"usf:scale=std".

First, in float64 and with minifa's initial weights, feedback and batches, the first updates of every parameter are
compared with minifa's; a difference above 1e-5 of their size ends the script. That of brsf is left out: it draws its
feedback for every update. Then `epochs.csv` in --out gets a line for each epoch. The same command resumes. With
``--epochs 0`` only the updates are compared.

Needs ``pip install torch==2.13.0`` and, for all rules but bp, ``pip install --no-deps biotorch==0.0.16``.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_runs import Row, check_updates, make_runs, write_table

import minifa as mf
from minifa.experiments import recipes
from minifa.registry import unknown

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


def rows_of(rules: list[str], rates: dict[str, float], data: str = "mnist", epochs: int = 1) -> list[Row]:
    """The recipe's rows of these rules."""
    recipe = recipes.read("mnist_lenet", [f"data.name={data}", f"training.epochs={epochs}", "training.alignment=false"])
    experiments = {row.name: row.experiment for row in recipe.rows}
    return [
        Row(
            rule,
            replace(experiments[rule], lr=rates.get(rule, experiments[rule].lr)),
            lenet if rule == "bp" else functools.partial(biotorch_lenet, rule),
            MATRICES[rule],
        )
        for rule in rules
    ]


def rules_of(text: str) -> list[str]:
    rules = text.split(",")
    for rule in rules:
        if rule not in MATRICES:
            raise argparse.ArgumentTypeError(unknown(MATRICES, rule, "rule"))
    return rules


def rates_of(text: str) -> dict[str, float]:
    pairs = [part.partition("=") for part in text.split(",")]
    rules_of(",".join(rule for rule, _, _ in pairs))
    return {rule: float(rate) for rule, _, rate in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=("mnist", "fashion_mnist"))
    parser.add_argument("--rules", type=rules_of, default="bp,usf,frsf,brsf,fa", help=f"of {', '.join(MATRICES)}")
    parser.add_argument("--rates", type=rates_of, default={}, help="as bp=0.1,fa=0.001 (default: the recipe's)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir", help="where the data set is looked for (default: $MINIFA_DATA, else the cache)")
    parser.add_argument("--out", type=Path, help="default: runs/peer-lenet-DATA")
    given = parser.parse_args()
    torch.set_num_threads(1)
    mf.use("numpy", threads=1)
    out = given.out or Path(f"runs/peer-lenet-{given.data}")
    rows = rows_of(given.rules, given.rates, given.data, max(1, given.epochs))
    data = mf.data.load(given.data, given.data_dir)
    notes = check_updates([row for row in rows if row.name != "brsf"], data)
    if given.epochs:
        make_runs(rows, range(given.seed, given.seed + given.seeds), data, out, None)
        title = f"{given.data}, model lenet, {given.epochs} epochs, batch 64, sgd: test error in %"
        write_table(title, rows, out, ["here: at the last epoch, mean ± sd over seeds", *notes], errors=True)


if __name__ == "__main__":
    main()
