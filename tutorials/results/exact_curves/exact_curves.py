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


def wide_linear(name: str, gamma0: float, units: int, seed: int, until: float = 8.0, dt: float = 0.01) -> Curves:
    """Two linear layers of this many units under a rule: t, error, H, G and cosine as in `theory.LinearCurves`."""
    init = gaussian(1 / math.sqrt(units))
    net = mf.Network([mf.Linear(3, units, bias=False, init=init), mf.Linear(units, 1, bias=False, init=init)], seed)
    rule, optimizer = mf.rules.make(name, seed=seed).attach(net), mf.SGD(lr=len(TARGETS) * dt)
    x, y, size = np.eye(3), gamma0 * TARGETS, np.linalg.norm(TARGETS)
    rows = []
    for step in range(round(until / dt) + 1):
        rule.gradients(net, x, y, HALF)
        W1, W2, B = net["linear1"].W, net["linear2"].W, rule.B["linear2"]
        H, G = (np.linalg.norm(TARGETS.T @ W1) / size) ** 2, float((W2 * B).sum())
        error = np.linalg.norm(rule.error) * len(x) / gamma0
        rows.append((step * dt, error, H, G, G / np.linalg.norm(W2) / np.linalg.norm(B)))
        optimizer.step(net, rule)
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
    name: str,
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
    rule, optimizer = mf.rules.make(name).attach(net), mf.SGD(lr, lr_factors={"linear2": 1 / inputs})
    if name != "bp":
        rule.set_feedback("linear2" if name == "fa" else "erf1", B)
    rows, between = [], round(every * inputs)
    for step in range(round(until * inputs) + 1):
        if step % between == 0:
            W1, W2 = net["linear1"].W, net["linear2"].W
            cosine = float((W2 * B).sum() / np.linalg.norm(W2) / np.linalg.norm(B))
            rows.append((step / inputs, theory.online_error(W1, W2, teacher_W1, teacher_W2), cosine))
        x = rng.standard_normal((1, inputs)) / math.sqrt(inputs)
        y = Erf().forward(x @ teacher_W1, mf.Pass()) @ teacher_W2
        rule.gradients(net, x, y, HALF)
        optimizer.step(net, rule)
    return dict(zip(("t", "error", "cosine"), np.array(rows).T, strict=True))


def mode(name: str, target: float, feedback: float = 1.0, start: float = 0.0, until=15.0, dt=0.01) -> Curves:
    """One mode of two linear layers under a rule: t and the fraction of the target that is learned."""
    net = mf.Network([mf.Linear(1, 1, bias=False, init="zero"), mf.Linear(1, 1, bias=False, init="zero")])
    for layer in net.weighted:
        layer.W = np.full((1, 1), math.sqrt(start))
    rule, optimizer = mf.rules.make(name).attach(net), mf.SGD(dt)
    if name == "fa":
        rule.set_feedback("linear2", [[feedback]])
    fraction = []
    for _ in range(round(until / dt) + 1):
        rule.gradients(net, np.ones((1, 1)), np.full((1, 1), float(target)), HALF)
        fraction.append(float(rule.output[0, 0]) / target)
        optimizer.step(net, rule)
    return {"t": np.arange(len(fraction)) * dt, "fraction": np.array(fraction)}


def half_time(curves: Curves) -> float:
    """The time at which half of the target is learned."""
    return float(np.interp(0.5, curves["fraction"], curves["t"]))


# Pictures

GAMMA0, UNITS, INPUTS, START = 3.0, 4000, 500, 1e-3
LINE, POINTS = {"linewidth": 1.5}, {"linestyle": "", "markersize": 4.5, "markerfacecolor": "white"}


def draw(axes, i: int, label: str, curve, simulation, every: int) -> float:
    """A curve as a line and a simulation as points, each (t, values). Returns their largest distance."""
    style = mf.figures.look(i)
    axes.plot(*curve, color=style["color"], label=label, **LINE)
    t, values = (array[::every] for array in simulation)
    axes.plot(t, values, color=style["color"], marker=style["marker"], **POINTS)
    return float(np.abs(np.interp(simulation[0], *curve) - simulation[1]).max())


def new_figure(*titles: str):
    figure, axes = plt.subplots(1, len(titles), figsize=(9, 3), layout="constrained", squeeze=False)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("time")
    return figure, axes[0]


def draw_flow():
    """Two wide linear layers: (figure, distances)."""
    figure, axes = new_figure("Error", "Features, H", "Overlap of W2 and B, G", "Cosine of W2 and B")
    size, distances = float(np.linalg.norm(TARGETS)), {}
    for i, (rule, curves) in enumerate(
        {
            "fa": theory.wide_linear_fa(size, 0.0, GAMMA0, until=4.0),
            "fa:correlation=0.5": theory.wide_linear_fa(size, 0.5, GAMMA0, until=4.0),
            "bp": theory.wide_linear_bp(size, GAMMA0, until=4.0),
        }.items()
    ):
        simulation = wide_linear(rule, GAMMA0, UNITS, seed=0, until=4.0)
        label = rule.replace("fa:correlation=", "fa, rho ")
        for ax, name in zip(axes, ("error", "H", "G", "cosine"), strict=True):
            pairs = (curves.t, getattr(curves, name)), (simulation["t"], simulation[name])
            distances[f"{label}, {name}"] = draw(ax, i, label, *pairs, every=25)
    axes[0].legend()
    return figure, distances


def draw_online():
    """A network that learns a teacher online: (figure, distances)."""
    figure, axes = new_figure("Test error", "Cosine of W2 and B, which bp does not use")
    _, *networks, B = draws(INPUTS, seed=0)
    distances = {}
    for i, rule in enumerate(("fa", "bp")):
        simulation = online(rule, INPUTS, seed=0)
        curves = theory.online_erf(*networks, B=B if rule == "fa" else None)
        for ax, name, values in zip(axes, ("error", "cosine"), (curves.error, curves.cosine(B)), strict=True):
            pairs = (curves.t, values), (simulation["t"], simulation[name])
            distances[f"{rule}, {name}"] = draw(ax, i, rule, *pairs, every=15)
    axes[0].legend()
    return figure, distances


def draw_modes():
    """Modes of two linear layers: (figure, distances)."""
    figure, (ax,) = new_figure("Fraction of the target that is learned")
    fractions = np.concatenate([np.linspace(0, 0.8, 200) ** 3, 1 - np.geomspace(0.48, 1e-12, 1000)])
    after = fractions[fractions > START]
    lines = {
        f"fa: T {T:g}, B {B:g}": (
            ([theory.fa_learning_time(T, B, q) for q in fractions], fractions),
            mode("fa", T, B, until=8.0),
        )
        for T, B in ((0.2, 20.0), (1.0, 1.0), (1.0, 0.1))
    }
    curve = [theory.bp_learning_time(1.0, START, q) for q in after], after
    lines["bp: T 1"] = curve, mode("bp", 1.0, start=START, until=8.0)
    distances = {}
    for i, (label, (curve, simulation)) in enumerate(lines.items()):
        points = simulation["t"], simulation["fraction"]
        distances[f"{label}, fraction"] = draw(ax, i, label, curve, points, every=40)
    ax.set_xlim(0, 8)
    ax.legend()
    return figure, distances


def main(folder: Path) -> None:
    plt.rcParams.update(mf.figures.STYLE)
    text = "Largest distance between simulation (seed 0) and curve\n"
    with mf.using("numpy", "float64"):
        for name, drawn in (("flow", draw_flow), ("online", draw_online), ("modes", draw_modes)):
            figure, distances = drawn()
            figure.savefig(folder / f"{name}.png", dpi=100)
            text += "".join(f"{name}: {what}: {distance:.4f}\n" for what, distance in distances.items())
    (folder / "distances.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
