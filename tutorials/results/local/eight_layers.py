"""The table of tutorial 20 with more seeds, and two of its rules in PyTorch, written independently.

    python tutorials/results/local/eight_layers.py --seeds 5 --out tutorials/results/local

Eight hidden layers of 64 ReLUs, digits, Adam, 15 epochs, batch 64, test accuracy after the last epoch. Rates: the best
of `minifa tune --optimizer adam --model mlp --hidden 64,64,64,64,64,64,64,64` on held-out digits (seeds 100 to 104).

PyTorch's side does not use minifa's engine: layers, initial weights, the order of the examples and Adam are PyTorch's.
Local prediction is `detach` between the layers and the sum of all losses: autograd then gives each layer the derivative
of its own loss alone. Needs ``pip install torch==2.13.0``; without it the PyTorch rows are missing.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from pathlib import Path

import minifa as mf
from minifa.experiments import Experiment
from minifa.experiments.tables import mean_sd
from minifa.text import table

EPOCHS, BATCH, DEPTH, WIDTH = 15, 64, 8, 64
RULES = (
    *("bp", "local", "local:loss=sim", "local:loss=pred", "local:loss=pred,heads=fixed"),
    *("dfa", "fa", "shallow"),
)
RATES = {  # those of the shipped searches
    rule: Experiment(
        rule=rule,
        model="mlp",
        model_options={"hidden": (WIDTH,) * DEPTH},
        optimizer="adam",
        optimizer_options={},
        epochs=EPOCHS,
    ).rate()
    for rule in RULES
}


def in_minifa(description: str, seed: int) -> float:
    data = mf.data.load("digits")
    net = mf.Network(mf.models.mlp(data.input_shape, 10, (WIDTH,) * DEPTH), seed, data.input_shape)
    rule = mf.rules.make(description, seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.Adam(RATES[description]), seed=seed)
    trainer.fit(data.train, EPOCHS, batch_size=BATCH)
    return trainer.evaluate(data.test)["accuracy"]


def in_pytorch(description: str, seed: int) -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = mf.data.load("digits")
    x, test = (torch.tensor(data.transform(part.x).reshape(len(part), -1)) for part in (data.train, data.test))
    y, test_y = (torch.tensor(part.y).long() for part in (data.train, data.test))
    layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))
    output, is_local = nn.Linear(WIDTH, 10), description != "bp"
    heads = nn.ModuleList(nn.Linear(WIDTH, 10) for _ in range(DEPTH if is_local else 0))
    for layer in (*layers, output):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    parameters = [*layers.parameters(), *output.parameters(), *heads.parameters()]
    optimizer = torch.optim.Adam(parameters, RATES[description])
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            h, loss = x[rows], 0.0
            for i, layer in enumerate(layers):
                h = torch.relu(layer(h))
                if is_local:
                    loss = loss + functional.cross_entropy(heads[i](h), y[rows])
                    h = h.detach()
            loss = loss + functional.cross_entropy(output(h), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        h = test
        for layer in layers:
            h = torch.relu(layer(h))
        return (output(h).argmax(dim=1) == test_y).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("."))
    given = parser.parse_args()
    mf.use("numpy", threads=1)
    engines = {"minifa": (in_minifa, list(RATES))}
    if importlib.util.find_spec("torch"):
        engines["PyTorch"] = (in_pytorch, ["bp", "local:loss=pred"])
    runs = [
        {"rule": rule, "engine": engine, "lr": RATES[rule], "seed": seed, "accuracy": round(run(rule, seed), 6)}
        for engine, (run, rules) in engines.items()
        for rule in rules
        for seed in range(given.seeds)
    ]
    with open(given.out / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(runs[0]))
        writer.writeheader()
        writer.writerows(runs)
    rows = []
    for rule, rate in RATES.items():
        scores = [
            [one["accuracy"] for one in runs if (one["rule"], one["engine"]) == (rule, engine)] for engine in engines
        ]
        rows.append([rule, f"{rate:g}", *(mean_sd(some) if some else "-" for some in scores)])
    text = table([["rule", "lr", *engines], *rows], right_from=4)
    print(text)
    (given.out / "table.txt").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
