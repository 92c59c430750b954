"""The table of tutorial 23 at each rule's own rate, and backpropagation in PyTorch, written independently.

    python tutorials/results/noise/digits.py --seeds 5 --out tutorials/results/noise

64-48-48-48-10 ReLUs, digits, SGD with momentum 0.9, 12 epochs, batch 64, test accuracy after the last epoch, and the
mean angle between B and W over the layers. Once at the rate 0.005 for all, once at each rule's best of the search in
tutorials/results/rates/noise-mlp-48 (held-out digits, seeds 100 to 102). PyTorch's side does not use minifa's engine;
it needs ``pip install torch==2.13.0``, and without it its rows are missing.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from pathlib import Path

import minifa as mf
from minifa.experiments.tables import mean_sd
from minifa.text import table

EPOCHS, BATCH, HIDDEN, COMMON = 12, 64, (48, 48, 48), 0.005
SEARCH = Path(__file__).parents[1] / "rates" / "noise-mlp-48" / "rates.csv"
with open(SEARCH, newline="", encoding="utf-8") as file:
    RATES = {row["rule"]: float(row["lr"]) for row in csv.DictReader(file) if row["chosen"] == "1"}
RULES = [
    *("bp", "fa", "weight_mirror", "weight_mirror:correlation=0.3", "weight_mirror:correlation=0.3,noise=spikes"),
    *("rdd:correlation=0.3", "stdwi", "sal", "pal", "pal:sigma=0.3"),
]


def in_minifa(description: str, lr: float, seed: int) -> tuple[float, float]:
    """Accuracy and mean angle between B and W in degrees."""
    data = mf.data.load("digits")
    net = mf.Network(mf.models.mlp(data.input_shape, 10, HIDDEN), seed, data.input_shape)
    rule = mf.rules.make(description, seed=seed).attach(net)
    trainer = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.SGD(lr, momentum=0.9), seed=seed)
    trainer.fit(data.train, EPOCHS, batch_size=BATCH)
    angles = [float(mf.metrics.angle(net[name].W, B)) for name, B in rule.B.items()]
    return trainer.evaluate(data.test)["accuracy"], sum(angles) / len(angles)


def in_pytorch(description: str, lr: float, seed: int) -> tuple[float, float]:
    """The same of backpropagation, the only rule here that PyTorch has."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = mf.data.load("digits")
    x, test = (torch.tensor(data.transform(part.x).reshape(len(part), -1)) for part in (data.train, data.test))
    y, test_y = (torch.tensor(part.y).long() for part in (data.train, data.test))
    layers: list[nn.Module] = []
    for n_in, n_out in zip((64, *HIDDEN), (*HIDDEN, 10), strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        nn.init.zeros_(layers[-2].bias)
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return (net(test).argmax(dim=1) == test_y).double().mean().item(), 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("."))
    given = parser.parse_args()
    mf.use("numpy", threads=1)
    engines = {"minifa": (in_minifa, RULES)}
    if importlib.util.find_spec("torch"):
        engines["PyTorch"] = (in_pytorch, ["bp"])
    runs = []
    for engine, (run, rules) in engines.items():
        for rule in rules:
            for lr in dict.fromkeys([COMMON, RATES[rule]]):
                for seed in range(given.seeds):
                    accuracy, degrees = run(rule, lr, seed)
                    numbers = {"accuracy": round(accuracy, 6), "angle": round(degrees, 2)}
                    runs.append({"rule": rule, "engine": engine, "lr": lr, "seed": seed, **numbers})
    with open(given.out / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(runs[0]))
        writer.writeheader()
        writer.writerows(runs)
    rows = []
    for engine, (_, rules) in engines.items():
        for rule in rules:
            cells = [f"{rule} ({engine})" if engine != "minifa" else rule]
            for lr in (COMMON, RATES[rule]):
                same = [one for one in runs if (one["rule"], one["engine"], one["lr"]) == (rule, engine, lr)]
                angle = sum(one["angle"] for one in same) / len(same)
                cells += [f"{lr:g}", mean_sd([one["accuracy"] for one in same]), f"{angle:.1f}"]
            rows.append(cells)
    text = table([["rule", *("lr", "test accuracy", "angle") * 2], *rows], right_from=9, width=120)
    print(text)
    (given.out / "table.txt").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
