"""The attacks of `minifa attack` in plain PyTorch, from the weights of a saved network.

    python tutorials/results/peer/attacks.py bp.npz --data digits --eps 8/255
    python tutorials/results/peer/attacks.py bp.npz --data cifar10 --augmentation crop24 --examples 1000

Weights and images come from minifa; the network, its gradients and the attacks are PyTorch's. It knows networks of
convolutions with padding, ReLUs, max pooling and linear layers, and it has no rule: the gradients are the true ones.
Needs ``pip install torch==2.13.0``.
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction

import torch
from torch import nn
from torch.nn import functional

import minifa as mf
from minifa.text import table


class FlattenedLikeMinifa(nn.Module):
    """Flatten images with the channels last."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


def twin_of(net: mf.Network) -> nn.Sequential:
    """The same network in PyTorch."""
    modules: list[nn.Module] = []
    for layer in net:
        if isinstance(layer, mf.Conv2d):
            channels = layer.weight_shape[2:]
            modules.append(nn.Conv2d(*channels, layer.kernel, layer.stride, layer.padding, bias=layer.has_bias))
            weight = layer.W.transpose(3, 2, 0, 1)
        elif isinstance(layer, mf.Linear):
            modules.append(nn.Linear(*layer.weight_shape, bias=layer.has_bias))
            weight = layer.W.T
        else:
            known = {mf.ReLU: nn.ReLU, mf.Flatten: FlattenedLikeMinifa}
            is_pool = isinstance(layer, mf.MaxPool)
            modules.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.padding) if is_pool else known[type(layer)]())
            continue
        with torch.no_grad():
            modules[-1].weight.copy_(torch.tensor(weight.copy()))
            if layer.has_bias:
                modules[-1].bias.copy_(torch.tensor(layer.b))
    return nn.Sequential(*modules).eval()


def objective(output, labels, name):
    if name == "loss":
        return functional.cross_entropy(output, labels, reduction="sum")
    true = functional.one_hot(labels, output.shape[1]).bool()
    return (output.masked_fill(true, -math.inf).amax(dim=1) - output[true]).sum()


def attack(model, x, labels, name, eps, low, high, steps, step):
    low, high = torch.maximum(x - eps, torch.minimum(x, low)), torch.minimum(x + eps, torch.maximum(x, high))
    moved = x.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(model(moved), labels, name), moved)
        with torch.no_grad():
            moved = torch.clip(moved + step * eps * gradient.sign(), low, high)
    return moved


def accuracy(model, x, labels):
    with torch.no_grad():
        return (model(x).argmax(dim=1) == labels).sum().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--data", required=True)
    parser.add_argument("--augmentation")
    parser.add_argument("--eps", default="2/255,8/255")
    parser.add_argument("--examples", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    net, _ = mf.load(options.file)
    model, data = twin_of(net), mf.data.load(options.data)
    images = data.test.x[: options.examples]
    if options.augmentation:
        images = mf.data.make_augmentation(options.augmentation).centre_crop(images)
    x = torch.tensor(images)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    labels, scaling = torch.tensor(data.test.y[: options.examples]), data.pixel_scaling
    channels = (-1, 1, 1)
    ends = [torch.tensor(scaling(scaling.shift * 0 + end)).reshape(channels) for end in (0, 1)]
    factor = torch.tensor(scaling.factor).reshape(channels)
    rows = [["eps", "clean", *(f"{attack} {what}" for attack in ("fgsm", "pgd") for what in ("true", "margin"))]]
    for text in options.eps.split(","):
        eps = float(Fraction(text)) * factor
        correct = [0] * 5
        for i in range(0, len(x), 250):
            images, y = x[i : i + 250], labels[i : i + 250]
            correct[0] += accuracy(model, images, y)
            for j, (steps, step) in enumerate(((1, 1.0), (10, 0.25))):
                for k, name in enumerate(("loss", "margin")):
                    moved = attack(model, images, y, name, eps, *ends, steps, step)
                    correct[1 + 2 * j + k] += accuracy(model, moved, y)
        rows.append([text, *(f"{count / len(x):.4f}" for count in correct)])
    print(f"PyTorch {torch.__version__.partition('+')[0]}: {options.file}, {options.data}, {len(x):,} test images\n")
    print(table(rows, right_from=1))


if __name__ == "__main__":
    main()
