"""The tables of tutorial 24 with five seeds, and backpropagation in PyTorch, written independently.

    python tutorials/results/untied/tied_weights.py --seeds 5 --out tutorials/results/untied

Digits: 600 training examples as they are (10 epochs), or with every image shifted by up to two pixels in both
directions, at random but once and for all (40 epochs). Two 3x3 layers of 12 channels, mean pooling, one linear layer;
SGD without momentum, batch 32; accuracy on the 360 test examples after the last epoch. The W of an untied layer has
eight times the rate of the other parameters, because the gradient of one position is smaller than a convolution's,
which is the sum over 64.

Rates: the best on held-out digits, seeds 100 and 101 (rates.csv; for the shifted digits some of the other rates have
one seed only, and 0.5 is the largest that was tried). The layers "shared" have the convolution's rate.

PyTorch's side does not use minifa's engine: `unfold` and `einsum` for the untied layers, and PyTorch's own order of the
examples. Needs ``pip install torch==2.13.0``; without it its rows are missing.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

import minifa as mf
from minifa.data.base import Dataset
from minifa.experiments.tables import mean_sd
from minifa.text import table

SIZE, CHANNELS, BATCH, FACTOR = 8, 12, 32, 8.0
EPOCHS = {"as they are": 10, "shifted": 40}
RATES = {  # by layers, rule and task
    ("conv", "bp"): {"as they are": 0.2, "shifted": 0.5},
    ("conv", "fa"): {"as they are": 0.05, "shifted": 0.05},
    ("untied", "bp"): {"as they are": 0.2, "shifted": 0.5},
    ("untied", "fa"): {"as they are": 0.1, "shifted": 0.1},
}
RATES["shared", "fa"] = RATES["conv", "fa"]


def shifted(x: np.ndarray, seed: int, by: int = 2) -> np.ndarray:
    """Every image shifted by up to ``by`` pixels in both directions; its edge is repeated."""
    padded = np.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="edge")
    places = np.random.default_rng(seed).integers(0, 2 * by + 1, (len(x), 2))
    return np.stack([padded[i, a : a + SIZE, b : b + SIZE] for i, (a, b) in enumerate(places)])


def digits(task: str) -> Dataset:
    data = mf.data.load("digits")
    x, x_test = data.train.x[:600], data.test.x
    if task == "shifted":
        x, x_test = shifted(x, 1), shifted(x_test, 2)
    return mf.data.from_arrays(x, data.train.y[:600], x_test=x_test, y_test=data.test.y)


def in_minifa(layers: str, description: str, task: str, seed: int) -> float:
    """``layers``: "conv"; "untied"; "shared": untied with equal kernels, averaged after every update."""
    data, is_shared = digits(task), layers == "shared"

    def layer(below: int) -> mf.Layer:
        if layers == "conv":
            return mf.Conv2d(below, CHANNELS, 3, padding=1)
        return mf.LocallyConnected2d(below, CHANNELS, 3, padding=1, input_size=SIZE, equal_start=is_shared)

    tail = mf.AvgPool(2), mf.Flatten(), mf.Linear(192, 10)
    net = mf.Network([layer(1), mf.ReLU(), layer(CHANNELS), mf.ReLU(), *tail], seed, data.input_shape)
    if is_shared:
        description += ":init=he_normal"  # B of its own at each position
    rule = mf.rules.make(description, seed=seed).attach(net)
    options: dict[str, Any] = {} if layers == "conv" else {"lr_factors": {"locallyconnected*.W": FACTOR}}
    if is_shared:  # times P: the gradient of a convolution
        options = {"lr_factors": {"locallyconnected*.W": SIZE**2}, "share_weights": mf.ShareWeights()}
    optimizer = mf.SGD(RATES[layers, description.partition(":")[0]][task], **options)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), optimizer, seed=seed)
    trainer.fit(data.train, EPOCHS[task], BATCH)
    return trainer.evaluate(data.test)["accuracy"]


def in_pytorch(layers: str, description: str, task: str, seed: int) -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = digits(task)
    x, test = (torch.tensor(part.x).permute(0, 3, 1, 2) for part in (data.train, data.test))
    y, test_y = (torch.tensor(part.y).long() for part in (data.train, data.test))
    positions = () if layers == "conv" else (SIZE**2,)
    kernels = [
        nn.Parameter(torch.randn(CHANNELS, below, 3, 3, *positions) * (2 / (9 * below)) ** 0.5)
        for below in (1, CHANNELS)
    ]
    biases = [nn.Parameter(torch.zeros(CHANNELS, 1, 1)) for _ in kernels]
    output = nn.Linear(192, 10)
    nn.init.kaiming_normal_(output.weight, nonlinearity="relu")
    nn.init.zeros_(output.bias)

    def forward(h: torch.Tensor) -> torch.Tensor:
        for W, b in zip(kernels, biases, strict=True):
            if layers == "conv":
                z = functional.conv2d(h, W, padding=1)
            else:
                patches = functional.unfold(h, 3, padding=1).unflatten(1, (h.shape[1], 3, 3))
                z = torch.einsum("ncklp,dcklp->ndp", patches, W).unflatten(2, (SIZE, SIZE))
            h = torch.relu(z + b)
        return output(functional.avg_pool2d(h, 2).flatten(1))

    rate = RATES[layers, description][task]
    faster = {"params": kernels, "lr": rate * (1.0 if layers == "conv" else FACTOR)}
    optimizer = torch.optim.SGD([faster, {"params": [*biases, *output.parameters()]}], lr=rate)
    for _ in range(EPOCHS[task]):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(forward(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return (forward(test).argmax(dim=1) == test_y).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("."))
    given = parser.parse_args()
    mf.use("numpy", threads=1)
    engines = {"minifa": (in_minifa, list(RATES))}
    if importlib.util.find_spec("torch"):
        engines["PyTorch"] = (in_pytorch, [("conv", "bp"), ("untied", "bp")])
    runs = []
    with open(given.out / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["engine", "layers", "rule", "task", "lr", "seed", "accuracy"])
        writer.writeheader()
        for seed in range(given.seeds):
            for task in EPOCHS:
                for engine, (run, rows) in engines.items():
                    for layers, rule in rows:
                        row = {"engine": engine, "layers": layers, "rule": rule, "task": task}
                        accuracy = round(run(layers, rule, task, seed), 6)
                        runs.append({**row, "lr": RATES[layers, rule][task], "seed": seed, "accuracy": accuracy})
                        writer.writerow(runs[-1])
                        file.flush()
    (given.out / "table.txt").write_text(f"{described(runs)}\n", encoding="utf-8")
    print(described(runs))


def described(runs: list[dict[str, Any]]) -> str:
    """The table of these runs: mean and standard deviation over the seeds."""
    rows: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for one in runs:
        row = rows.setdefault((one["layers"], one["rule"], one["engine"]), {task: [] for task in EPOCHS})
        row[one["task"]].append(float(one["accuracy"]))
    cells = [[*key, *(mean_sd(scores) for scores in row.values())] for key, row in rows.items()]
    return table([["layers", "rule", "engine", *EPOCHS], *cells], right_from=3)


if __name__ == "__main__":
    main()
