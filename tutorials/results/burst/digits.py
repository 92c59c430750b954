"""The table of tutorial 25 with more seeds, and two of its rules in PyTorch, written independently.

    python tutorials/results/burst/digits.py --seeds 5 --out tutorials/results/burst

64 hidden Sigmoids and ten at the output, Xavier normal weights, half the squared error, SGD with momentum 0.8, batch
32, 20 epochs on the digits, test accuracy after the last one. The rates of `burst`, `learned` and `shallow` are the
best of a grid on held-out digits (15 %, seeds 100 and 101, output 0.3 or 1, hidden layer 3 to 100 times as much, for
`shallow` 0.1 to 1); `fa / 4` and `bp / 4` have those of `burst` times p_b = 0.2 at the output and p_b / 4 below.

PyTorch's side does not use minifa's engine: layers, initial weights, B, the order of the examples and SGD are its own;
the errors of `burst` are the authors' equations, summed over the batch as there, with rates divided by its size. Needs
``pip install torch==2.13.0``; without it the PyTorch column is missing.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from pathlib import Path

import numpy as np

import minifa as mf
from minifa.experiments.tables import mean_sd
from minifa.text import table

EPOCHS, BATCH, WIDTH, MOMENTUM, P_B = 20, 32, 64, 0.8, 0.2
ROWS = {  # rule, rates of the output and of the hidden layer, weight decay
    "burst": ("burst", 1.0, 30.0, 0.0),
    "burst, inhibition": ("burst:inhibition=true", 1.0, 30.0, 0.0),
    "fa / 4": ("fa", P_B, 30 * P_B / 4, 0.0),
    "learned": ("burst:learned=true", 1.0, 10.0, 1e-4),
    "bp / 4": ("bp", P_B, 30 * P_B / 4, 0.0),
    "shallow": ("shallow", 0.3, 0.0, 0.0),
}


def in_minifa(row: str, seed: int, data: mf.data.Dataset) -> float:
    """The test accuracy of one run."""
    description, output, hidden, decay = ROWS[row]
    layers = mf.models.mlp(
        data.input_shape, 10, (WIDTH,), activation="sigmoid", output_activation="sigmoid", init="xavier_normal"
    )
    net = mf.Network(layers, seed, data.input_shape)
    rule = mf.rules.make(description, seed=seed).attach(net)
    optimizer = mf.SGD(output, MOMENTUM, weight_decay=decay, lr_factors={"linear1": hidden / output})
    trainer = mf.Trainer(net, rule, mf.HalfSquaredError(), optimizer, seed=seed)
    trainer.fit(data.train, EPOCHS, batch_size=BATCH)
    return trainer.evaluate(data.test)["accuracy"]


def in_pytorch(row: str, seed: int, data: mf.data.Dataset) -> float:
    """The test accuracy of one run of `burst` or `bp / 4`."""
    import torch

    torch.manual_seed(seed)
    first, second = torch.nn.Linear(64, WIDTH), torch.nn.Linear(WIDTH, 10)
    for layer in (first, second):
        torch.nn.init.xavier_normal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    B = torch.nn.init.xavier_normal_(torch.empty(10, WIDTH))
    _, output, hidden, _ = ROWS[row]
    groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in ((first, hidden), (second, output))]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)
    x = torch.tensor(np.array(data.train.x)).reshape(-1, 64)
    t = torch.nn.functional.one_hot(torch.tensor(np.array(data.train.y)), 10).float()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(x)).split(BATCH):
            h1 = first(x[part]).sigmoid()
            h2 = second(h1).sigmoid()
            optimizer.zero_grad()
            if row == "burst":
                learn_from_bursts(first, second, B, x[part], h1.detach(), h2.detach(), t[part])
            else:
                (((h2 - t[part]) ** 2).sum() / 2 / len(part)).backward()
            optimizer.step()
    test = torch.tensor(np.array(data.test.x)).reshape(-1, 64)
    with torch.no_grad():
        answers = second(first(test).sigmoid()).argmax(dim=1).numpy()
    return float((answers == data.test.y).mean())


def learn_from_bursts(first, second, B, x, h1, h2, t) -> None:
    """The gradients of the authors' equations: the sum over the batch of b - b_t, here divided by its size."""
    import torch

    b, b_t = P_B * h2, P_B * (1 + (t - h2) * (1 - h2)) * h2
    p, p_t = torch.sigmoid((1 - h1) * (b @ B)), torch.sigmoid((1 - h1) * (b_t @ B))
    for layer, below, delta in ((second, h1, b - b_t), (first, x, (p - p_t) * h1)):
        layer.weight.grad, layer.bias.grad = delta.T @ below / len(x), delta.sum(dim=0) / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    mf.use("numpy", threads=1)
    data, runs = mf.data.load("digits"), []
    engines = {"minifa": (in_minifa, ROWS)}
    if importlib.util.find_spec("torch"):
        engines["PyTorch"] = in_pytorch, ("burst", "bp / 4")
    for engine, (run, rows) in engines.items():
        runs += [(engine, row, seed, run(row, seed, data)) for row in rows for seed in range(options.seeds)]
    scores = {(engine, row): [r[3] for r in runs if r[:2] == (engine, row)] for engine, row, *_ in runs}
    lines = [("row", *engines)]
    for row in ROWS:
        lines.append((row, *(mean_sd(scores[one, row]) if (one, row) in scores else "" for one in engines)))
    text = table(lines, right_from=1)
    (options.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    with open(options.out / "runs.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("engine", "row", "seed", "test_accuracy"), *runs])
    print(text)


if __name__ == "__main__":
    main()
