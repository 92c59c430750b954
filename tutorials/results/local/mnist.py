"""Rows of `minifa reproduce mnist_local` in PyTorch, written independently, with one seed.

    python tutorials/results/local/mnist.py --rows bp,pred,sim,predsim

784-1024-1024-1024-10, batch norm before the activation, dropout 0.1, shifts of up to 2 pixels, Adam 0.001 times 0.25
at the fractions 0.5, 0.75, 0.89 and 0.94 of the 8 epochs, batch 128; ReLU, under sim and predsim leaky ReLU 0.01. Local
losses by `detach` between the layers: cross-entropy of a linear head, and the squared difference of the similarity
matrices of h @ V and of the one-hot labels, as in the authors' code. The images and their scale are minifa's. Needs
``pip install torch==2.13.0``.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional

import minifa as mf

BETA, EPOCHS, BATCH, RATE, WIDTH = 0.99, 8, 128, 0.001, 1024
WEIGHTS = {"bp": (0.0, 0.0), "pred": (1.0, 0.0), "sim": (0.0, 1.0), "predsim": (1 - BETA, BETA)}  # of pred and of sim


def similarities(rows: torch.Tensor) -> torch.Tensor:
    """The cosines of the rows, each without its mean."""
    rows = rows - rows.mean(dim=1, keepdim=True)
    rows = rows / (1e-8 + rows.norm(dim=1, keepdim=True))
    return rows @ rows.T


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to 2 pixels in both directions, on a border as dark as its darkest pixel."""
    padded = functional.pad(images - images.amin(dim=(1, 2), keepdim=True), (2, 2, 2, 2))
    padded = padded + images.amin(dim=(1, 2), keepdim=True)
    top, left = torch.randint(0, 5, (2, len(images), 1, 1))
    rows, columns = top + torch.arange(28).reshape(1, -1, 1), left + torch.arange(28).reshape(1, 1, -1)
    return padded[torch.arange(len(images)).reshape(-1, 1, 1), rows, columns]


def error(row: str, seed: int) -> float:
    """The test error in per cent after the last epoch."""
    torch.manual_seed(seed)
    data = mf.data.load("mnist")
    x, test = (torch.tensor(data.transform(part.x).reshape(-1, 28, 28)) for part in (data.train, data.test))
    y, test_y = (torch.tensor(part.y).long() for part in (data.train, data.test))
    sizes, (of_pred, of_sim) = [784, WIDTH, WIDTH, WIDTH], WEIGHTS[row]
    blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(0.01) if of_sim else nn.ReLU())
        for a, b in zip(sizes, sizes[1:], strict=False)
    )
    heads = nn.ModuleList(nn.Linear(WIDTH, 10) for _ in blocks)
    V, output = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in blocks), nn.Linear(WIDTH, 10)
    for layer in (*(block[0] for block in blocks), output):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    net = nn.ModuleList([blocks, heads, V, output])
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.25 ** sum(epoch >= EPOCHS * at for at in (0.5, 0.75, 0.89, 0.94))
        net.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            h, labels, loss = shifted(x[rows]).flatten(1), y[rows], 0.0
            targets = similarities(functional.one_hot(labels, 10).float())
            for i, block in enumerate(blocks):
                h = block(h)
                if of_pred:
                    loss = loss + of_pred * functional.cross_entropy(heads[i](h), labels)
                if of_sim:
                    loss = loss + of_sim * functional.mse_loss(similarities(V[i](h)), targets)
                h = functional.dropout(h if row == "bp" else h.detach(), 0.1)
            loss = loss + functional.cross_entropy(output(h), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        h = test.flatten(1)
        for block in blocks:
            h = block(h)
        return 100 * (output(h).argmax(dim=1) != test_y).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default=",".join(WEIGHTS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    mf.use("numpy", threads=1)
    print(f"PyTorch {torch.__version__}: test error in %, seed {given.seed}")
    for row in given.rows.split(","):
        print(f"{row:8} {error(row, given.seed):.2f}", flush=True)


if __name__ == "__main__":
    main()
