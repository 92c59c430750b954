"""Simulations beside the curves of `minifa.theory`, and their pictures.

    python tutorials/results/exact_curves/exact_curves.py [FOLDER]

trains minifa's networks with minifa's rules, and writes flow.png, online.png and modes.png into the folder (default:
this one) and the distances between simulations and curves into distances.txt. It takes about a minute of one core.
tests/rules/test_theory.py uses the same simulations.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minifa as mf
from minifa import theory
from minifa.initialisers import gaussian
from minifa.layers.activations import Activation

Curves = dict[str, np.ndarray]
TARGETS = np.array([[1.0], [0.5], [-0.8]])
HALF = mf.HalfSquaredError()


class Erf(Activation):
    """g(x) = erf(x / sqrt(2)), g'(x) = sqrt(2 / pi) exp(-x^2 / 2)."""

    kind = "erf"
    slope_of_input = True

    def f(self, y, x):
        y[...] = [[math.erf(value / math.sqrt(2)) for value in row] for row in x.tolist()]

    def times_slope(self, below, delta, x):
        below[...] = delta * math.sqrt(2 / math.pi) * np.exp(-x * x / 2)


def wide_linear(rule: str, gamma0: float, units: int, seed: int, until: float = 8.0, dt: float = 0.01) -> Curves:
    """Two linear layers of this many units under a rule: t, H, G and cosine as in `theory.LinearCurves`."""
    init = gaussian(1 / math.sqrt(units))
    net = mf.Network([mf.Linear(3, units, bias=False, init=init), mf.Linear(units, 1, bias=False, init=init)], seed)
    learning, optimizer = mf.rules.make(rule, seed=seed).attach(net), mf.SGD(lr=len(TARGETS) * dt)
    x, y, size = np.eye(3), gamma0 * TARGETS, np.linalg.norm(TARGETS)
    rows = []
    for step in range(round(until / dt) + 1):
        learning.gradients(net, x, y, HALF)
        W1, W2, B = net["linear1"].W, net["linear2"].W, learning.B["linear2"]
        H, G = (np.linalg.norm(TARGETS.T @ W1) / size) ** 2, float((W2 * B).sum())
        error = np.linalg.norm(learning.error) * len(x) / gamma0
        rows.append((step * dt, error, H, G, G / np.linalg.norm(W2) / np.linalg.norm(B)))
        optimizer.step(net, learning)
    return dict(zip(("t", "error", "H", "G", "cosine"), np.array(rows).T, strict=True))


def draws(inputs: int, seed: int, size: float | None = None, units: int = 2):
    """(rng, W1, W2, teacher_W1, teacher_W2, B) of a network with weights of this size, by default 1 / sqrt(inputs), and
    of its teacher."""
    rng = np.random.default_rng(seed)
    teacher, W1 = (rng.standard_normal((units, inputs)).T for _ in range(2))
    W2, B = rng.standard_normal((2, units, 1))
    size = 1 / math.sqrt(inputs) if size is None else size
    return rng, W1 * size, W2 * size, teacher, np.full((units, 1), 1 / math.sqrt(units)), B


def online(
    rule: str,
    inputs: int,
    seed: int,
    until: float = 60.0,
    lr: float = 0.1,
    every: float = 0.2,
    size: float | None = None,
) -> Curves:
    """A network that learns a teacher online under a rule: t, error and the cosine of W2 and B, at multiples of
    ``every``."""
    rng, W1, W2, teacher_W1, teacher_W2, B = draws(inputs, seed, size)
    net = mf.Network([mf.Linear(inputs, 2, bias=False), Erf(), mf.Linear(2, 1, bias=False)])
    net["linear1"].W, net["linear2"].W = W1, W2
    learning, optimizer = mf.rules.make(rule).attach(net), mf.SGD(lr, lr_factors={"linear2": 1 / inputs})
    if rule != "bp":
        learning.set_feedback("linear2" if rule == "fa" else "erf1", B)
    rows, between = [], round(every * inputs)
    for step in range(round(until * inputs) + 1):
        if step % between == 0:
            W1, W2 = net["linear1"].W, net["linear2"].W
            cosine = float((W2 * B).sum() / np.linalg.norm(W2) / np.linalg.norm(B))
            rows.append((step / inputs, theory.online_error(W1, W2, teacher_W1, teacher_W2), cosine))
        x = rng.standard_normal((1, inputs)) / math.sqrt(inputs)
        y = Erf().forward(x @ teacher_W1, mf.Pass()) @ teacher_W2
        learning.gradients(net, x, y, HALF)
        optimizer.step(net, learning)
    return dict(zip(("t", "error", "cosine"), np.array(rows).T, strict=True))


def mode(rule: str, target: float, feedback: float = 1.0, start: float = 0.0, until=15.0, dt=0.01) -> Curves:
    """One mode of two linear layers under a rule: t and the fraction of the target that is learned."""
    net = mf.Network([mf.Linear(1, 1, bias=False, init="zero"), mf.Linear(1, 1, bias=False, init="zero")])
    for layer in net.weighted:
        layer.W = np.full((1, 1), math.sqrt(start))
    learning, optimizer = mf.rules.make(rule).attach(net), mf.SGD(dt)
    if rule == "fa":
        learning.set_feedback("linear2", [[feedback]])
    fraction = []
    for _ in range(round(until / dt) + 1):
        learning.gradients(net, np.ones((1, 1)), np.full((1, 1), float(target)), HALF)
        fraction.append(float(learning.output[0, 0]) / target)
        optimizer.step(net, learning)
    return {"t": np.arange(len(fraction)) * dt, "fraction": np.array(fraction)}


def half_time(curves: Curves) -> float:
    """The time at which half of the target is learned."""
    return float(np.interp(0.5, curves["fraction"], curves["t"]))


# Pictures

FLOWS = {"fa, rho 0": 0.0, "fa, rho 0.5": 0.5, "bp": None}
GAMMA0, UNITS, INPUTS = 3.0, 4000, 500
MODES = {
    "fa: T 0.2, B 20": (0.2, 20.0),
    "fa: T 1, B 1": (1.0, 1.0),
    "fa: T 1, B 0.1": (1.0, 0.1),
    "bp: T 1": (1.0, None),
}
START = 1e-3  # of the mode under backpropagation, which would stay at zero
LINE, POINTS = {"linewidth": 1.5}, {"linestyle": "", "markersize": 4.5, "markerfacecolor": "white"}


def draw(axes, i: int, label: str, curve, simulation, every: int) -> float:
    """A curve as a line and a simulation as points, each (t, values). Returns their largest distance."""
    style = mf.figures.look(i)
    axes.plot(*curve, color=style["color"], label=label, **LINE)
    t, values = (array[::every] for array in simulation)
    axes.plot(t, values, color=style["color"], marker=style["marker"], **POINTS)
    return float(np.abs(np.interp(simulation[0], *curve) - simulation[1]).max())


def new_figure(panels: int):
    figure, axes = plt.subplots(1, panels, figsize=(9, 3), layout="constrained")
    for ax in axes if panels > 1 else [axes]:
        ax.set_xlabel("time")
    return figure, axes


def draw_flow():
    """Two wide linear layers: (figure, distances)."""
    figure, axes = new_figure(4)
    size, distances = float(np.linalg.norm(TARGETS)), {}
    for i, (label, rho) in enumerate(FLOWS.items()):
        rule = "bp" if rho is None else f"fa:correlation={rho}"
        simulation = wide_linear(rule, GAMMA0, UNITS, seed=0, until=4.0)
        curve = (
            theory.wide_linear_bp(size, GAMMA0, 4.0) if rho is None else theory.wide_linear_fa(size, rho, GAMMA0, 4.0)
        )
        for ax, name in zip(axes, ("error", "H", "G", "cosine"), strict=True):
            pairs = (curve.t, getattr(curve, name)), (simulation["t"], simulation[name])
            distances[f"{label}, {name}"] = draw(ax, i, label, *pairs, every=25)
    titles = ("Error", "Features, H", "Overlap of W2 and B, G", "Cosine of W2 and B")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9.5)
    axes[0].legend()
    return figure, distances


def draw_online():
    """A network that learns a teacher online: (figure, distances)."""
    figure, axes = new_figure(2)
    distances = {}
    _, *networks, B = draws(INPUTS, seed=0)
    for i, rule in enumerate(("fa", "bp")):
        simulation = online(rule, INPUTS, seed=0)
        curve = theory.online_erf(*networks, B if rule == "fa" else None)
        curves = {"error": curve.error, "cosine": curve.cosine(B)}
        for ax, name in zip(axes, curves, strict=True):
            pairs = (curve.t, curves[name]), (simulation["t"], simulation[name])
            distances[f"{rule}, {name}"] = draw(ax, i, rule, *pairs, every=15)
    for ax, title in zip(axes, ("Test error", "Cosine of W2 and B, which bp does not use"), strict=True):
        ax.set_title(title)
    axes[0].legend()
    return figure, distances


def draw_modes():
    """Modes of two linear layers: (figure, distances)."""
    figure, axes = new_figure(1)
    distances, fractions = {}, np.linspace(0, 0.99, 100)
    for i, (label, (target, feedback)) in enumerate(MODES.items()):
        rule, start = ("fa", 0.0) if feedback else ("bp", START)
        simulation = mode(rule, target, feedback, start, until=8.0)
        if feedback:
            known = fractions
            times = [theory.fa_learning_time(target, feedback, fraction) for fraction in known]
        else:
            known = fractions[fractions >= start / target]
            times = [theory.bp_learning_time(target, start, fraction) for fraction in known]
        inside = simulation["t"] <= times[-1]
        pairs = (times, known), (simulation["t"][inside], simulation["fraction"][inside])
        distances[f"{label}, fraction"] = draw(axes, i, label, *pairs, every=40)
    axes.set(xlim=(0, 8), title="Fraction of the target that is learned")
    axes.legend()
    return figure, distances


def main(folder: Path) -> None:
    plt.rcParams.update(mf.figures.STYLE)
    lines = []
    with mf.using("numpy", "float64"):
        for name, one in (("flow", draw_flow), ("online", draw_online), ("modes", draw_modes)):
            figure, distances = one()
            figure.savefig(folder / f"{name}.png", dpi=100)
            lines += [f"{name}: {what}: {distance:.4f}" for what, distance in distances.items()]
    text = "Largest distance between simulation and curve\n" + "".join(f"{line}\n" for line in lines)
    (folder / "distances.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if len(sys.argv) > 1 else Path(__file__).parent)
