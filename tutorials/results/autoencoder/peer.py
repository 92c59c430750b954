"""The table of `minifa reproduce digits_autoencoder` in PyTorch, and the closed form of a linear autoencoder.

    cd tutorials/results/autoencoder && python peer.py peer.csv > peer.txt

peer.csv has a line for each run.

Nothing of minifa is used but the images: gradients and optimizer are PyTorch's, initial weights and the order of the
examples are drawn by PyTorch. `recirculation` is written from its two rounds, in another way than in minifa. The best
linear autoencoder projects onto the 32 principal components of the training part. Needs ``pip install torch==2.13.0``.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics

import torch
from torch.nn import functional

import minifa as mf

RATES = {"recirculation": 0.03, "bp": 0.01, "fa": 0.01, "shallow": 0.03}  # of the recipe
UNITS, EPOCHS, BATCH, DECAY, LAMBDA, SEEDS = 32, 60, 64, 0.001, 0.9, 5


class FeedbackLinear(torch.autograd.Function):
    """h @ V, whose error is carried by B."""

    @staticmethod
    def forward(ctx, h, V, B):
        ctx.save_for_backward(h, B)
        return h @ V

    @staticmethod
    def backward(ctx, delta):
        h, B = ctx.saved_tensors
        return delta @ B.T, h.T @ delta, None


def set_gradients(rule, x, W, b, V, c, B):
    """The gradients of one batch under this rule."""
    if rule == "recirculation":
        with torch.no_grad():
            h1 = torch.sigmoid(x @ W + b)
            r = h1 @ V + c
            x2 = LAMBDA * x + (1 - LAMBDA) * r
            h3 = LAMBDA * h1 + (1 - LAMBDA) * torch.sigmoid(x2 @ W + b)
            encoder = (h3 - h1) / ((1 - LAMBDA) ** 2 * len(x))
            decoder = (r - x) / len(x)
            W.grad, b.grad, V.grad, c.grad = x2.T @ encoder, encoder.sum(0), h1.T @ decoder, decoder.sum(0)
        return
    h = torch.sigmoid(x @ W + b)
    h = h.detach() if rule == "shallow" else h
    r = FeedbackLinear.apply(h, V, B if rule == "fa" else V.detach().clone()) + c
    (functional.mse_loss(r, x, reduction="sum") / (2 * len(x))).backward()


def unexplained(output, x):
    return float(((output - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())


def train(rule, seed, x, x_test):
    """(the unexplained variance of the test part, the angle between V and W.T in degrees) after training."""
    torch.manual_seed(seed)
    n = x.shape[1]
    W, V, B = (math.sqrt(2 / rows) * torch.randn(rows, columns) for rows, columns in [(n, UNITS)] + 2 * [(UNITS, n)])
    parameters = [one.requires_grad_() for one in (W, torch.zeros(UNITS), V, torch.zeros(n))]
    learning = parameters[2:] if rule == "shallow" else parameters
    optimizer = torch.optim.SGD(learning, RATES[rule], momentum=0.9, weight_decay=DECAY)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            set_gradients(rule, x[chosen], *parameters, B)
            optimizer.step()
    with torch.no_grad():
        output = torch.sigmoid(x_test @ W + parameters[1]) @ V + parameters[3]
        cosine = functional.cosine_similarity(W.T.flatten(), V.flatten(), dim=0)
    return unexplained(output, x_test), math.degrees(math.acos(float(cosine)))


def principal_components(x, x_test):
    """The unexplained variance of the test part by the first principal components of the training part."""
    mean = x.mean(0)
    directions = torch.linalg.svd(x - mean, full_matrices=False)[2][:UNITS]
    return unexplained((x_test - mean) @ directions.T @ directions + mean, x_test)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", help="file of the runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = mf.data.load("digits")
    x, x_test = (torch.from_numpy(part.x.reshape(len(part), -1)) for part in (data.train, data.test))
    print(f"PyTorch {torch.__version__}: 64-{UNITS}-64, {EPOCHS} epochs, decay {DECAY}, seeds 0 to {SEEDS - 1}")
    print("\nrule           rate  unexplained variance  angle of V and W.T")
    lines = []
    for rule, rate in RATES.items():
        ends, angles = zip(*(train(rule, seed, x, x_test) for seed in range(SEEDS)), strict=True)
        mean, sd = statistics.fmean(ends), statistics.stdev(ends)
        print(f"{rule:13}  {rate:4}        {mean:.4f} ± {sd:.4f}           {statistics.fmean(angles):9.1f}", flush=True)
        lines += [(rule, rate, i, f"{ends[i]:.6f}", f"{angles[i]:.2f}") for i in range(SEEDS)]
    components = principal_components(x.double(), x_test.double())
    print(f"\n{UNITS} principal components, closed form: {components:.4f}")
    lines.append(("principal components", "", "", f"{components:.6f}", ""))
    with open(given.csv, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("rule", "rate", "seed", "unexplained_variance", "angle"))
        writer.writerows(lines)


if __name__ == "__main__":
    main()
